"""Turns of a small product around a moment and a week before it, in a lake; one cell may refuse more at the end."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa

from jurat.store.lake import Lake
from jurat.store.schema import TABLES, conform
from jurat.telemetry.recent import WEEK
from jurat.telemetry.rollup import minute_rollup

__all__ = ["UNTIL", "make_lake", "turns"]

UNTIL = int(dt.datetime(2026, 11, 18, 14, 20, tzinfo=dt.UTC).timestamp()) // 60
"""First minute after the newest turn."""


def turns(
    start: int,
    until: int,
    *,
    per_minute: float,
    seed: int,
    risen_from: int | None = None,
    name: str = "s",
    size: float = 0.45,
) -> pa.Table:
    """Rows of ``spans`` between two minutes; from ``risen_from`` on, ``/chat`` for ``pro`` refuses more."""
    rng = np.random.default_rng(seed)
    n = int(rng.poisson(per_minute * (until - start)))
    us = np.sort(rng.integers(start * 60_000_000, until * 60_000_000, n))
    endpoint = rng.choice(["/chat", "/code"], n)
    tier = rng.choice(["free", "pro"], n)
    high = (endpoint == "/chat") & (tier == "pro") & (us >= (risen_from or until) * 60_000_000)
    failed = rng.random(n) < 0.03
    latency = rng.lognormal(7, 0.5, n)
    tokens = rng.integers(1, 400, n)
    columns = {
        "span_id": [f"{name}{start}-{i}" for i in range(n)],
        "trace_id": ["t"] * n,
        "conversation_id": [f"{name}{start}-{i // 3}" for i in range(n)],
        "user_id": [f"u{i}" for i in rng.integers(0, 40, n)],
        "org_id": rng.choice(["acme", "other"], n),
        "tier": tier,
        "endpoint": pa.array(endpoint, mask=rng.random(n) < 0.05),
        "release": np.where(us >= (until - 30) * 60_000_000, "r2", "r1"),
        "model": rng.choice(["large", "small"], n),
        "ts": pa.array(us).cast(pa.timestamp("us", tz="UTC")),
        "ts_us": us,
        "ts_s": us // 1_000_000,
        "day": np.datetime_as_string(us.astype("datetime64[us]"), unit="D"),
        "latency_ms": latency,
        "ttft_ms": latency * 0.2,
        "tokens_in": tokens,
        "tokens_out": tokens,
        "status": np.where(failed, "error", "ok"),
        "error_type": pa.array(rng.choice(["timeout", "overload"], n), mask=~failed),
        "refused": pa.array(rng.random(n) < np.where(high, size, 0.05), mask=failed),
        "blocked": rng.random(n) < 0.01,
        "cost_usd": tokens * 1e-5,
    }
    return conform(pa.table(columns), TABLES["spans"], table="spans")


def _thumbs(spans: pa.Table, seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    some = spans.take(np.flatnonzero(rng.random(len(spans)) < 0.2))
    n = len(some)
    return pa.table(
        {
            "feedback_id": [f"f{i}" for i in some["span_id"].to_pylist()],
            "span_id": some["span_id"],
            "user_id": some["user_id"],
            "kind": ["thumb"] * n,
            "value": np.where(rng.random(n) < 0.7, 1.0, -1.0),
            "ts": some["ts"],
        }
    )


def add(lake: Lake, spans: pa.Table, seed: int = 0) -> None:
    """Commit turns with their minutes and some thumbs."""
    lake.append("spans", spans)
    lake.append("rollup_1m", minute_rollup(spans))
    lake.append("feedback", _thumbs(spans, seed))


def make_lake(
    folder: Path, *, per_minute: float = 25.0, until: int = UNTIL, week: bool = True, risen: bool = True
) -> Lake:
    """A lake with four hours before a moment in three commits, and five hours a week before."""
    lake = Lake(folder)
    if week:
        add(lake, turns(until - WEEK - 240, until - WEEK + 60, per_minute=per_minute, seed=1, name="w"), 1)
    for i, (start, end) in enumerate(((until - 240, until - 120), (until - 120, until - 20), (until - 20, until))):
        risen_from = until - 12 if risen and end == until else None
        add(lake, turns(start, end, per_minute=per_minute, seed=2 + i, risen_from=risen_from), 2 + i)
    return lake
