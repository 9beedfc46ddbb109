"""Minutes: counts, sums and histograms of turns, small enough for a page to read, exact enough to add up.

Rows are only ever added: what arrives late adds to its minute, and a sum over rows is right whatever came when. Latencies go
into logarithmic buckets two per cent wide, so any quantile of any slice of any span of minutes is within one per cent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jurat.store.schema import TABLES

__all__ = ["GAMMA", "MEASURES", "bucket_of", "minute_rollup", "rollup_quantile"]

GAMMA = 1.02
"""Ratio of a bucket's bounds: a value read from its bucket is at most one per cent off."""

MEASURES = {
    "requests": "turns",
    "errors": "turns that failed",
    "labelled": "turns with a refusal label",
    "refused": "turns labelled as refused",
    "blocked": "turns that a filter blocked",
    "tokens_in": "tokens of prompts (total)",
    "tokens_out": "tokens of responses (total)",
    "cost_usd": "list cost (total)",
    "latency_ms": "histogram of durations, failed turns left out",
    "ttft_ms": "histogram of times to the first token",
    "tpot_ms": "histogram of times per output token after the first",
}
"""What the rows of ``rollup_1m`` measure."""

_SLICES = ("endpoint", "tier", "release", "org_id")


def bucket_of(value: float) -> int:
    """Number of the bucket of a positive value: ``floor(ln value / ln gamma)``.

    Examples
    --------
    >>> bucket_of(1.0), bucket_of(100.0), abs(GAMMA ** (bucket_of(100.0) + 0.5) / 100 - 1) < 0.01
    (0, 232, True)
    """
    return math.floor(math.log(value) / math.log(GAMMA))


def minute_rollup(spans: pa.Table) -> pa.Table:
    """Roll turns up to minutes.

    Parameters
    ----------
    spans
        Rows of the table ``spans``.

    Returns
    -------
    Table
        Rows of ``rollup_1m``: one for each minute, slice and measure, and for histograms each bucket. ``n`` counts turns,
        ``total`` adds values up; slices of unknown value are null.
    """
    if len(spans) == 0:
        return TABLES["rollup_1m"].empty_table()
    ok = pc.fill_null(pc.equal(spans["status"], "ok"), False)
    after_first = pc.subtract(spans["latency_ms"], spans["ttft_ms"])
    more = pc.subtract(pc.cast(spans["tokens_out"], pa.float64()), 1.0)
    per_token = pc.divide(after_first, pc.if_else(pc.greater(more, 0), more, pa.scalar(None, pa.float64())))
    minute = pc.multiply(pc.divide(spans["ts_s"], 60), 60_000_000)
    base = pa.table({"minute": minute, **{name: spans[name] for name in _SLICES}})
    ones = pa.array(np.ones(len(spans)))
    counted = {
        "requests": pa.chunked_array([ones]),
        "errors": pc.cast(pc.equal(spans["status"], "error"), pa.float64()),
        "labelled": pc.cast(pc.is_valid(spans["refused"]), pa.float64()),
        "refused": pc.cast(spans["refused"], pa.float64()),
        "blocked": pc.cast(spans["blocked"], pa.float64()),
    }
    summed = {name: pc.cast(spans[name], pa.float64()) for name in ("tokens_in", "tokens_out", "cost_usd")}
    parts = [_sums(base, name, values, counts=True) for name, values in counted.items()]
    parts += [_sums(base, name, values, counts=False) for name, values in summed.items()]
    timed = {"latency_ms": spans["latency_ms"], "ttft_ms": spans["ttft_ms"], "tpot_ms": per_token}
    parts += [_histogram(base, name, values, ok) for name, values in timed.items()]
    rows = pa.concat_tables(parts)
    keys = [(name, "ascending") for name in ("minute", *_SLICES, "measure", "bucket")]
    return rows.sort_by(keys)


def rollup_quantile(
    buckets: Sequence[int] | NDArray[np.int64], counts: Sequence[int] | NDArray[np.int64], q: float
) -> float:
    """Quantile of values that lie in buckets.

    Parameters
    ----------
    buckets, counts
        Numbers of buckets and values in each; a bucket may stand several times.
    q
        Between 0 and 1.

    Returns
    -------
    float
        The middle of the bucket that holds the value of rank ``ceil(q n)``; within one per cent of that value.

    Raises
    ------
    ValueError
        Where there is no value, or q is outside its range.

    Examples
    --------
    >>> values = np.arange(1, 1001)
    >>> abs(rollup_quantile([bucket_of(v) for v in values], np.ones(1000, int), 0.95) / 950 - 1) < 0.011
    True
    """
    numbers, each = np.asarray(buckets, np.int64), np.asarray(counts, np.int64)
    total = int(each.sum())
    if total == 0 or not 0 <= q <= 1:
        raise ValueError(f"a quantile needs values and a q between 0 and 1, got {total} values and q = {q}")
    order = np.argsort(numbers, kind="stable")
    place = int(np.searchsorted(np.cumsum(each[order]), max(1, math.ceil(q * total - 1e-9))))
    return float(GAMMA ** (int(numbers[order][place]) + 0.5))


def _sums(base: pa.Table, measure: str, values: pa.ChunkedArray, *, counts: bool) -> pa.Table:
    """One row a minute and slice; counts only where there is something to count."""
    known = base.append_column("v", values).filter(pc.is_valid(values))
    if counts:
        known = known.filter(pc.greater(known["v"], 0))
    keys = ["minute", *_SLICES]
    grouped = known.group_by(keys, use_threads=False).aggregate([("v", "count"), ("v", "sum")])
    return _rows(grouped, measure, None, grouped["v_count"], grouped["v_sum"])


def _histogram(base: pa.Table, measure: str, values: pa.ChunkedArray, ok: pa.ChunkedArray) -> pa.Table:
    positive = pc.and_(ok, pc.fill_null(pc.greater(values, 0), False))
    known = base.append_column("v", values).filter(positive)
    bucket = pc.cast(pc.floor(pc.divide(pc.ln(known["v"]), math.log(GAMMA))), pa.int32())
    keys = ["minute", *_SLICES, "bucket"]
    grouped = (
        known.append_column("bucket", bucket)
        .group_by(keys, use_threads=False)
        .aggregate([("v", "count"), ("v", "sum")])
    )
    return _rows(grouped, measure, grouped["bucket"], grouped["v_count"], grouped["v_sum"])


def _rows(
    grouped: pa.Table, measure: str, bucket: pa.ChunkedArray | None, n: pa.ChunkedArray, total: pa.ChunkedArray
) -> pa.Table:
    size = len(grouped)
    columns = {
        "minute": pc.cast(grouped["minute"], pa.timestamp("us", tz="UTC")),
        **{name: grouped[name] for name in _SLICES},
        "measure": pa.array([measure] * size, pa.string()),
        "bucket": pa.nulls(size, pa.int32()) if bucket is None else bucket,
        "n": n,
        "total": total,
    }
    schema = TABLES["rollup_1m"]
    return pa.table({f.name: columns[f.name] for f in schema}).cast(schema)
