"""What a page about now asks of the minutes: sums, histograms, refusals by cell, errors by type; each with its SQL."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import scipy.stats as sps

from jurat.stats.multiplicity import benjamini_hochberg
from jurat.stats.quantile import quantile_from_histogram
from jurat.stats.result import Interval
from jurat.telemetry.readings import Usual, share
from jurat.telemetry.recent import DAY, WEEK, View, iso_minute
from jurat.telemetry.rollup import GAMMA

__all__ = [
    "CELLS_SQL",
    "ERRORS_SQL",
    "HISTOGRAM_SQL",
    "SUMS_SQL",
    "TURNS_SQL",
    "Cell",
    "Histogram",
    "KnownSlices",
    "Slice",
    "Sums",
    "errors_by_type",
    "histogram",
    "known_slices",
    "minute_sums",
    "quantile_of",
    "refusal_cells",
    "slow_counts",
    "usual_span",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Span = tuple[int, int]

_OF_SLICE = """($endpoint = '*' OR COALESCE(endpoint, '') = $endpoint)
  AND ($tier = '*' OR COALESCE(tier, '') = $tier)
  AND ($release = '*' OR COALESCE(release, '') = $release)
  AND ($org = '*' OR COALESCE(org_id, '') = $org)"""

_IN_SPANS = """(minute >= CAST($start AS TIMESTAMPTZ) AND minute < CAST($until AS TIMESTAMPTZ)
    OR minute >= CAST($week_start AS TIMESTAMPTZ) AND minute < CAST($week_until AS TIMESTAMPTZ))"""

SUMS_SQL = f"""SELECT CAST(EPOCH(minute) AS BIGINT) // 60 AS at_minute, measure, CAST(SUM(n) AS BIGINT) AS n, SUM(total) AS total
FROM rollup_1m
WHERE bucket IS NULL
  AND {_IN_SPANS}
  AND {_OF_SLICE}
GROUP BY at_minute, measure
ORDER BY at_minute, measure"""  # noqa: S608 - constants
"""Counts and sums by minute, around now and a week before."""

HISTOGRAM_SQL = f"""SELECT CAST(EPOCH(minute) AS BIGINT) // 60 AS at_minute, bucket, CAST(SUM(n) AS BIGINT) AS n
FROM rollup_1m
WHERE measure = $measure
  AND {_IN_SPANS}
  AND {_OF_SLICE}
GROUP BY at_minute, bucket
ORDER BY at_minute, bucket"""  # noqa: S608 - constants
"""Buckets by minute, around now and a week before."""

CELLS_SQL = f"""SELECT endpoint, tier, minute >= CAST($start AS TIMESTAMPTZ) AND minute < CAST($until AS TIMESTAMPTZ) AS now,
  measure, CAST(SUM(n) AS BIGINT) AS n
FROM rollup_1m
WHERE measure IN ('labelled', 'refused')
  AND {_IN_SPANS}
  AND {_OF_SLICE}
GROUP BY ALL
ORDER BY ALL"""  # noqa: S608 - constants
"""Refusals by endpoint and tier, now and in the span that is usual."""

ERRORS_SQL = f"""SELECT error_type, minute >= CAST($start AS TIMESTAMPTZ) AND minute < CAST($until AS TIMESTAMPTZ) AS now,
  CAST(SUM(n) AS BIGINT) AS n
FROM turns
WHERE {_IN_SPANS}
  AND {_OF_SLICE}
  AND ($model = '*' OR COALESCE(model, '') = $model)
GROUP BY ALL
ORDER BY ALL"""  # noqa: S608 - constants
"""Turns by type of error (null where none failed)."""

TURNS_SQL = """WITH turns AS (
  SELECT TO_TIMESTAMP(ts_s // 60 * 60) AS minute, endpoint, tier, release, org_id, model,
    CASE WHEN status = 'error' THEN COALESCE(error_type, 'unknown') END AS error_type, COUNT(*) AS n
  FROM spans
  GROUP BY ALL
)
"""
"""What ``turns`` are: put before `ERRORS_SQL`, it runs over the lake as it is."""

_SLICES_SQL = """SELECT DISTINCT endpoint, tier, release, model FROM turns
WHERE ($org = '*' OR COALESCE(org_id, '') = $org)"""

_REACH_HOURS = 27
_LEAST_USUAL_TURNS, _LEAST_USUAL_MINUTES = 200, 15
_MANY_MINUTES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Which turns: ``"*"`` for all, the empty string for those of unknown value."""

    endpoint: str = "*"
    tier: str = "*"
    release: str = "*"
    org: str = "*"

    def parameters(self) -> dict[str, str]:
        """Values for the SQL."""
        return {"endpoint": self.endpoint, "tier": self.tier, "release": self.release, "org": self.org}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """Counts and totals of every minute of two spans, zeros where nothing was.

    Attributes
    ----------
    now, week
        The spans: the hours before, and those around the same time a week ago.
    n, total
        By measure: one array for each span.
    parameters
        What was bound to `SUMS_SQL`.
    """

    now: Span
    week: Span
    n: Mapping[str, tuple[Ints, Ints]]
    total: Mapping[str, tuple[Floats, Floats]]
    parameters: Mapping[str, str]

    def counts(self, measure: str, span: Span) -> Ints:
        """Counts of a measure, minute by minute."""
        return _cut(self.n[measure], span, self.now, self.week)

    def totals(self, measure: str, span: Span) -> Floats:
        """Totals of a measure, minute by minute."""
        return _cut(self.total[measure], span, self.now, self.week)


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Values in logarithmic buckets by minute: three arrays of one length, and what was bound to `HISTOGRAM_SQL`."""

    at: Ints
    bucket: Ints
    n: Ints
    parameters: Mapping[str, str]

    def within(self, span: Span) -> Histogram:
        """The rows of a span."""
        low, high = np.searchsorted(self.at, span)
        return replace(self, at=self.at[low:high], bucket=self.bucket[low:high], n=self.n[low:high])


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Refusals of one endpoint and tier.

    Attributes
    ----------
    endpoint, tier
        Which; ``None`` where not known.
    now, usual
        Rates in the window and in the span that is usual.
    q_value
        Against no difference, adjusted for looking at all cells (Benjamini–Hochberg); ``None`` without both.
    """

    endpoint: str | None
    tier: str | None
    now: Interval
    usual: Interval
    q_value: float | None = None

    @property
    def evidence(self) -> int:
        """0 none, 1 at five, 2 at one, 3 at a tenth of a per cent of false discoveries; negative for fewer refusals."""
        if self.q_value is None or self.now.value is None or self.usual.value is None:
            return 0
        strength = sum(self.q_value < limit for limit in (0.05, 0.01, 0.001))
        return strength if self.now.value > self.usual.value else -strength


def _bound(slice_: Slice, now: Span, week: Span) -> dict[str, str]:
    return {
        "start": iso_minute(now[0]),
        "until": iso_minute(now[1]),
        "week_start": iso_minute(week[0]),
        "week_until": iso_minute(week[1]),
        **slice_.parameters(),
    }


def _cut(
    arrays: tuple[npt.NDArray[np.generic], npt.NDArray[np.generic]], span: Span, now: Span, week: Span
) -> npt.NDArray:  # type: ignore[type-arg]
    for values, held in zip(arrays, (now, week), strict=True):
        if held[0] <= span[0] and span[1] <= held[1]:
            return values[span[0] - held[0] : span[1] - held[0]]
    raise ValueError(f"minutes {span} are not held: {now} and {week} are")


def minute_sums(view: View, slice_: Slice) -> Sums:
    """Read counts and totals of a slice: the last 27 hours, and five hours around the same time a week ago."""
    now = (view.until - _REACH_HOURS * 60, view.until)
    week = (view.until - WEEK - 4 * 60, view.until - WEEK + 60)
    parameters = _bound(slice_, now, week)
    rows = view.query(SUMS_SQL, parameters=parameters)
    at, n, total = (rows[name].to_numpy() for name in ("at_minute", "n", "total"))
    measure = np.asarray(rows["measure"].to_pylist(), dtype=object)
    counts: dict[str, tuple[Ints, Ints]] = {}
    totals: dict[str, tuple[Floats, Floats]] = {}
    for name in ("requests", "errors", "labelled", "refused", "blocked", "tokens_in", "tokens_out", "cost_usd"):
        mine = measure == name
        parts = []
        for start, until in (now, week):
            inside = mine & (at >= start) & (at < until)
            k, t = np.zeros(until - start, np.int64), np.zeros(until - start)
            k[at[inside] - start] = n[inside]
            t[at[inside] - start] = total[inside]
            parts.append((k, t))
        counts[name] = (parts[0][0], parts[1][0])
        totals[name] = (parts[0][1], parts[1][1])
    return Sums(now=now, week=week, n=counts, total=totals, parameters=parameters)


def histogram(view: View, slice_: Slice, measure: str, usual: Usual, *, minutes: int = 180) -> Histogram:
    """Read the buckets of ``latency_ms``, ``ttft_ms`` or ``tpot_ms``: some minutes, what is usual, and a week ago.

    Parameters
    ----------
    view, slice_
        What is asked, and which turns.
    measure
        Name of the histogram.
    usual
        Its span is read as well.
    minutes
        Minutes before now, and the same a week ago.
    """
    since, week = view.until - minutes, (view.until - WEEK - minutes, view.until - WEEK)
    if usual.span is not None and usual.span[1] <= week[1] + 60:
        week = (min(week[0], usual.span[0]), max(week[1], usual.span[1]))
    elif usual.span is not None:
        since = min(since, usual.span[0])
    now = (since, view.until)
    parameters = {**_bound(slice_, now, week), "measure": measure}
    rows = view.query(HISTOGRAM_SQL, parameters=parameters)
    at, bucket, n = (rows[name].to_numpy().astype(np.int64) for name in ("at_minute", "bucket", "n"))
    return Histogram(at=at, bucket=bucket, n=n, parameters=parameters)


def usual_span(sums: Sums, window: Span) -> Usual:
    """Choose what a window is held against: the same time a week ago, half an hour around it; else the day before.

    Parameters
    ----------
    sums
        Of the slice.
    window
        The minutes that are shown as now.

    Returns
    -------
    Usual
        The hour before the window is left out of *the day before*, so that a change is not compared with itself. It begins with
        the first turn: the silence before a service began is not what is usual.
    """
    week = (max(window[0] - WEEK - 30, sums.week[0]), min(window[1] - WEEK + 30, sums.week[1]))
    before = (max(window[0] - 60 - DAY, sums.now[0]), window[0] - 60)
    for span, name in ((week, "the same hour last week"), (before, "the day before")):
        n = sums.counts("requests", span)
        if int(n.sum()) >= _LEAST_USUAL_TURNS and int(np.count_nonzero(n)) >= _LEAST_USUAL_MINUTES:
            first = int(np.flatnonzero(n)[0])
            return Usual(span=(span[0] + first, span[1]), name=name, minutes=int(np.count_nonzero(n)))
    return Usual(span=None, name="nothing to compare with yet")


def quantile_of(values: Histogram, q: float) -> Interval:
    """Quantile of what lies in buckets, minutes taken as clusters where there are enough of them.

    Parameters
    ----------
    values
        Rows of one span.
    q
        In (0, 1).
    """
    many = len(np.unique(values.at)) >= _MANY_MINUTES
    middle = GAMMA ** (values.bucket + 0.5)
    return quantile_from_histogram(middle, values.n, q, cluster=values.at if many else None)


def slow_counts(values: Histogram, limit_bucket: int, span: Span) -> tuple[Ints, Ints]:
    """Turns of each minute, and those that lie in a later bucket than the limit."""
    inside = values.within(span)
    minutes = span[1] - span[0]
    place = inside.at - span[0]
    late = np.where(inside.bucket > limit_bucket, inside.n, 0)
    n = np.bincount(place, inside.n, minlength=minutes).astype(np.int64)
    k = np.bincount(place, late, minlength=minutes).astype(np.int64)
    return n, k


def refusal_cells(view: View, slice_: Slice, window: Span, usual: Usual) -> tuple[tuple[Cell, ...], dict[str, str]]:
    """Refusals by endpoint and tier, each held against what is usual for it.

    Parameters
    ----------
    view, slice_
        What is asked, and which turns.
    window
        The minutes that are now.
    usual
        With the dispersion of refusals.

    Returns
    -------
    tuple
        Cells in order of endpoint and tier, and what was bound to `CELLS_SQL`.

    Notes
    -----
    Shares are compared by the score test with counts divided by the dispersion, by Fisher's exact test where a cell would
    expect fewer than five; p-values are adjusted over all cells.
    """
    parameters = _bound(slice_, window, usual.span or (window[0], window[0]))
    counts: dict[tuple[str | None, str | None], dict[tuple[str, bool], int]] = {}
    for row in view.query(CELLS_SQL, parameters=parameters).to_pylist():
        cell = counts.setdefault((row["endpoint"], row["tier"]), {})
        cell[row["measure"], row["now"]] = row["n"]
    made, p_values = [], []
    for (endpoint, tier), cell in sorted(counts.items(), key=lambda item: tuple(str(part or "") for part in item[0])):
        n_1, k_1 = cell.get(("labelled", True), 0), cell.get(("refused", True), 0)
        n_0, k_0 = cell.get(("labelled", False), 0), cell.get(("refused", False), 0)
        made.append(Cell(endpoint=endpoint, tier=tier, now=share(k_1, n_1, usual), usual=share(k_0, n_0, usual)))
        p_values.append(_p_of_difference(k_1, n_1, k_0, n_0, usual.dispersion))
    known = [i for i, p in enumerate(p_values) if p is not None]
    if known:
        adjusted = benjamini_hochberg([p for p in p_values if p is not None]).adjusted
        for i, q in zip(known, adjusted, strict=True):
            made[i] = replace(made[i], q_value=float(q))
    return tuple(made), parameters


def _p_of_difference(k_1: int, n_1: int, k_0: int, n_0: int, dispersion: float) -> float | None:
    if not n_1 or not n_0:
        return None
    k = (k_1 + k_0) / (n_1 + n_0)
    if min(k, 1 - k) * min(n_1, n_0) / dispersion < 5:
        table = [[round(x / dispersion) for x in (k_i, n_i - k_i)] for k_i, n_i in ((k_1, n_1), (k_0, n_0))]
        return float(sps.fisher_exact(table).pvalue)
    spread = math.sqrt(dispersion * k * (1 - k) * (1 / n_1 + 1 / n_0))
    return float(2 * sps.norm.sf(abs(k_1 / n_1 - k_0 / n_0) / spread))


def errors_by_type(
    view: View, slice_: Slice, window: Span, usual: Usual
) -> tuple[list[tuple[str, Interval, Interval]], dict[str, str]]:
    """Share of turns that failed, by type: type, now, usual; most frequent first; and what was bound to `ERRORS_SQL`."""
    parameters = {**_bound(slice_, window, usual.span or (window[0], window[0])), "model": view.model}
    rows = view.query(ERRORS_SQL, parameters=parameters).to_pylist()
    n = {now: sum(row["n"] for row in rows if row["now"] is now) for now in (True, False)}
    kinds = sorted({row["error_type"] for row in rows if row["error_type"] is not None})
    found = []
    for kind in kinds:
        k = {now: sum(r["n"] for r in rows if r["now"] is now and r["error_type"] == kind) for now in (True, False)}
        found.append((str(kind), share(k[True], n[True], usual), share(k[False], n[False], usual)))
    return sorted(found, key=lambda item: (-(item[1].value or 0.0), -(item[2].value or 0.0), item[0])), parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownSlices:
    """Values there are to choose from, each list in order."""

    endpoint: Sequence[str] = ()
    tier: Sequence[str] = ()
    release: Sequence[str] = ()
    model: Sequence[str] = field(default=())


def known_slices(view: View, org: str = "*") -> KnownSlices:
    """List endpoints, tiers, releases and models that the last day or the day a week ago had."""
    rows = view.query(_SLICES_SQL, parameters={"org": org})
    lists = {}
    for name in ("endpoint", "tier", "release", "model"):
        lists[name] = sorted({value or "" for value in rows[name].to_pylist()})
    return KnownSlices(**lists)
