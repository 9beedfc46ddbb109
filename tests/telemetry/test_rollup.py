"""Minutes against plain counting; quantiles within one per cent; parts that add up whatever came when."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jurat.store.schema import TABLES
from jurat.telemetry.rollup import GAMMA, bucket_of, minute_rollup, rollup_quantile


def _spans(n: int = 400, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)

    def some(values: list[object]) -> list[object]:
        return [values[i] for i in rng.integers(0, len(values), n)]

    latency = rng.lognormal(6, 1, n)
    rows = {
        "span_id": [f"s{i}" for i in range(n)],
        "endpoint": some(["/chat", "/agent", None]),
        "tier": some(["free", "pro"]),
        "release": some(["r1", "r2"]),
        "ts_s": (1_770_000_000 + rng.integers(0, 300, n)).tolist(),
        "status": some(["ok", "ok", "ok", "error", None]),
        "refused": some([True, False, None]),
        "blocked": some([True, False, None]),
        "tokens_in": some([1, 2, None]),
        "tokens_out": some([0, 1, 2, 50, None]),
        "latency_ms": [float(x) if rng.random() > 0.1 else None for x in latency],
        "ttft_ms": [float(x) / 4 if rng.random() > 0.5 else None for x in latency],
        "cost_usd": some([0.5, None]),
    }
    return pa.table({f.name: pa.array(rows.get(f.name, [None] * n), f.type) for f in TABLES["spans"]})


def test_counts_sums_and_histograms_are_those_of_plain_counting() -> None:
    spans = _spans()
    n: Counter[tuple[object, ...]] = Counter()
    total: dict[tuple[object, ...], float] = defaultdict(float)

    def add(row: dict[str, object], measure: str, bucket: int | None, value: float) -> None:
        minute = int(row["ts_s"]) // 60 * 60  # type: ignore[call-overload]
        key = (minute, row["endpoint"], row["tier"], row["release"], row["org_id"], measure, bucket)
        n[key] += 1
        total[key] += value

    for row in spans.to_pylist():
        add(row, "requests", None, 1)
        for measure, holds in (("errors", row["status"] == "error"), ("labelled", row["refused"] is not None),
                               ("refused", row["refused"]), ("blocked", row["blocked"])):  # fmt: skip
            if holds:
                add(row, measure, None, 1)
        for measure in ("tokens_in", "tokens_out", "cost_usd"):
            if row[measure] is not None:
                add(row, measure, None, row[measure])
        if row["status"] != "ok":
            continue
        for measure in ("latency_ms", "ttft_ms"):
            if row[measure]:
                add(row, measure, bucket_of(row[measure]), row[measure])
        if row["ttft_ms"] is not None and row["latency_ms"] is not None and (row["tokens_out"] or 0) > 1:
            per = (row["latency_ms"] - row["ttft_ms"]) / (row["tokens_out"] - 1)
            add(row, "tpot_ms", bucket_of(per), per)
    rolled = minute_rollup(spans)
    assert rolled.schema.equals(TABLES["rollup_1m"])
    found = {
        (
            int(r["minute"].timestamp()),
            r["endpoint"],
            r["tier"],
            r["release"],
            r["org_id"],
            r["measure"],
            r["bucket"],
        ): r
        for r in rolled.to_pylist()
    }
    assert {key: r["n"] for key, r in found.items()} == dict(n)
    assert all(math.isclose(r["total"], total[key], rel_tol=1e-12) for key, r in found.items())


def test_parts_add_up_to_the_whole_whatever_came_when() -> None:
    spans = _spans(300, seed=1)
    parts = pa.concat_tables([minute_rollup(spans.slice(0, 70)), minute_rollup(spans.slice(70))])
    keys = ["minute", "endpoint", "tier", "release", "measure", "bucket"]

    def added(table: pa.Table) -> list[dict[str, object]]:
        summed = table.group_by(keys, use_threads=False).aggregate([("n", "sum")])
        return summed.sort_by([(k, "ascending") for k in keys]).to_pylist()

    assert added(parts) == added(minute_rollup(spans))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(1e-3, 1e7), min_size=1, max_size=60), st.floats(0, 1))
def test_a_quantile_is_within_one_per_cent_of_the_value_of_its_rank(values: list[float], q: float) -> None:
    exact = sorted(values)[max(1, math.ceil(q * len(values) - 1e-9)) - 1]
    found = rollup_quantile([bucket_of(v) for v in values], [1] * len(values), q)
    assert abs(found / exact - 1) <= GAMMA - 1


def test_nothing_and_nonsense_are_refused_or_empty() -> None:
    assert len(minute_rollup(_spans().slice(0, 0))) == 0
    with pytest.raises(ValueError, match="0 values"):
        rollup_quantile([], [], 0.5)
    with pytest.raises(ValueError, match=r"q = 1\.5"):
        rollup_quantile([1], [1], 1.5)
