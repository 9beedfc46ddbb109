"""Random traffic for the metrics' tests: NULLs, ties, day edges, turns without labels and labels without turns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from jurat.store.schema import TABLES, conform

__all__ = ["DAY_US", "FIRST_US", "world"]

DAY_US = 86_400_000_000
FIRST_US = 1_774_656_000_000_000
"""28 March 2026, 00:00 UTC: a Saturday."""

_TIME = pa.timestamp("us", tz="UTC")


def world(seed: int = 11, turns: int = 4_000, users: int = 300) -> dict[str, pa.Table]:
    """Spans, labels and feedback of 23 days; few users, conversations and organisations, so that windows are full."""
    rng = np.random.default_rng(seed)

    def some(values: list[Any], missing: float = 0.05) -> list[Any]:
        picked = [values[i] for i in rng.integers(0, len(values), turns)]
        return [None if rng.random() < missing else value for value in picked]

    day = np.minimum(rng.geometric(0.12, turns) - 1, 22)
    # The first and last microseconds of a day among them, whole half hours, and moments all close together.
    within = rng.choice([0, 1, DAY_US // 2, DAY_US - 1, *(1_800_000_000 * np.arange(1, 9))], turns)
    ts = FIRST_US + day * DAY_US + within + rng.choice([0, 0, 1, 90_000_000], turns)
    known = rng.random(turns) > 0.01
    latency = rng.choice(rng.lognormal(6, 1, 200), turns)
    spans = {
        "span_id": [f"s{i}" for i in rng.permutation(turns)],
        "conversation_id": some([f"c{i}" for i in range(turns // 5)]),
        "turn": pa.array(some([1, 2, 3]), pa.int32()),
        "release": some(["r1", "r2", "r3"]),
        "endpoint": some(["/chat", "/agent"]),
        "tier": some(["free", "pro", ""], missing=0.2),
        "user_id": some([f"u{i}" for i in range(users)]),
        "org_id": some([f"o{i}" for i in range(9)] + ["test-1", "test-2"]),
        "status": some(["ok", "ok", "ok", "error"]),
        "error_type": some(["timeout", "upstream"], missing=0.5),
        "refused": some([True, False, False]),
        "blocked": some([True, False]),
        "risk_tier": pa.array(some([0, 1, 2, 2, 3]), pa.int32()),
        "latency_ms": [None if rng.random() < 0.05 else x for x in latency],
        "ttft_ms": [None if rng.random() < 0.1 else x for x in latency * rng.choice([0, 0.1, 0.5, 1, 1.1], turns)],
        "tokens_in": some([0, 3, 50, 1_000]),
        "tokens_out": some([0, 1, 17, 100, 4_096, 3_000_000_000]),
        "cost_usd": some([0.0, 0.001, 0.02]),
        "ts": pa.array(ts, _TIME, mask=~known),
        "ts_us": pa.array(ts, mask=~known),
        "ts_s": pa.array(ts // 1_000_000, mask=~known),
        "day": pa.array([str(np.datetime64(int(t), "us"))[:10] for t in ts], mask=~known),
    }
    recorded = pa.array(FIRST_US + rng.integers(0, 3, turns) * DAY_US).cast(_TIME)
    kinds = {
        "audit": ["harmful_compliance", "harmful_refused", "benign_answered", "benign_refused"],
        "backtrack": ["held", "held", "corrected", "caved", "taken_back", "unclear"],
        "thumb": ["up"],
    }
    kind = some(["audit", "audit", "backtrack", "thumb"])
    labels = {
        "label_id": [f"l{i}" for i in range(turns)],
        "subject_id": [f"s{i}" for i in rng.integers(0, turns + 500, turns)],
        "kind": kind,
        "source": some(["human", "human", "judge"]),
        "value": [None if k is None or rng.random() < 0.05 else str(rng.choice(kinds[k])) for k in kind],
        # Few distinct times, so that two labels of one turn are often recorded at one time.
        "recorded_at": recorded,
    }
    feedback = {
        "feedback_id": [f"f{i}" for i in range(turns)],
        "span_id": [f"s{i}" for i in rng.integers(0, turns + 500, turns)],
        "kind": some(["thumb", "thumb", "rating", "copy", "regenerate"]),
        "value": some([1.0, -1.0, 0.0, 4.0]),
        "ts": pa.array(FIRST_US + rng.integers(0, 3, turns) * DAY_US).cast(_TIME),
    }
    tables = {"spans": spans, "labels": labels, "feedback": feedback}
    return {name: conform(pa.table(columns), TABLES[name], table=name) for name, columns in tables.items()}
