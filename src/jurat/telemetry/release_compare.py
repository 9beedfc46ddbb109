"""Two releases side by side: what got better, and what it cost.

Every metric that can be cut by release is measured on both, value beside risk, by the same files and the same intervals as a
launch review; turns hang together by user. Traffic is not an experiment: nobody drew who got which release, so a difference
is first of all an observation. How far the two saw other traffic is shown, and beside each crude difference stands the one
at a common mix of endpoints and tiers.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.special import ndtr, ndtri

from jurat.errors import UnknownName, UsageError
from jurat.evidence.estimate import Contrast, Estimate
from jurat.evidence.measure import contrast, level_of_arm
from jurat.metrics.loader import Metric
from jurat.metrics.run import Measurement, run
from jurat.stats.multiplicity import benjamini_hochberg
from jurat.stats.result import Interval
from jurat.store.engine import Scalar
from jurat.telemetry.common_mix import at_common_mix
from jurat.telemetry.tenant_view import TenantView

__all__ = [
    "ARM_COLUMNS", "Arm", "ComparedMetric", "Margin", "Mix", "ReleaseComparison", "Stratum", "comparable_metrics",
    "compare_releases", "known_arms",
]  # fmt: skip

ARM_COLUMNS = ("release", "model")
"""Columns of a turn by which two sides can be told apart."""

_TURN_LIKE = frozenset({"turn", "audited turn", "turn with a thumb", "labelled turn after push-back", "conversation"})
"""Units that are one row of traffic: where nobody is named, the conversation stands for the user."""

_LEFT_OUT = frozenset({"error_rate_by_type"})
"""Asks for one kind of error, which nobody chose here."""

_ROLES = {"value": 0, "risk": 1, "guardrail": 2}
_MIX_SEEN = 0.05
_DAY_US = 86_400_000_000
Outcome = Literal["clears", "violated", "undecided", "better", "worse", "changed", "open", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """A name that a side can have, its turns and users, and when it was seen (UTC)."""

    name: str
    turns: int
    users: int
    first: dt.datetime
    last: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """What a launch bar asks of a difference.

    Attributes
    ----------
    name
        Of the clause.
    metric
        Of which metric.
    direction, threshold
        The difference must lie above (``"greater"``) or below (``"less"``) the number.
    where
        Slice the clause is limited to.
    minimum_n
        Units of each side below which nothing is decided.
    """

    name: str
    metric: str
    direction: Literal["greater", "less"]
    threshold: float
    where: Mapping[str, str] = field(default_factory=dict)
    minimum_n: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedMetric:
    """One metric on both sides.

    Attributes
    ----------
    metric
        Its definition.
    where
        Slice it is limited to; empty for all traffic.
    candidate, baseline
        The two levels.
    difference
        Candidate minus baseline.
    standardised
        The same at a common mix of endpoint and tier; ``None`` for kinds and cuts that have none.
    covered
        Share of all units that lie in strata both sides have, on which ``standardised`` rests.
    margin
        What a bar asks; ``None`` without one.
    outcome
        With a margin: ``"clears"``, ``"violated"``, ``"undecided"``. Without: ``"better"``, ``"worse"`` or ``"changed"``
        (for a metric without a better side) where the difference holds at a false discovery rate of 1 − level over all
        rows, else ``"open"``. ``"none"`` where nothing was measured.
    reversed
        Whether crude and standardised difference are both told from 0 and point opposite ways (Simpson's paradox).
    sql
        The statement that was run.
    """

    metric: Metric
    where: Mapping[str, str]
    candidate: Estimate
    baseline: Estimate
    difference: Estimate
    standardised: Interval | None
    covered: float | None
    margin: Margin | None
    outcome: Outcome
    reversed: bool
    sql: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """Turns of both sides at one endpoint and tier; ``None`` where they are not known."""

    endpoint: str | None
    tier: str | None
    candidate: int
    baseline: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """Which traffic the two sides saw.

    Attributes
    ----------
    strata
        The largest first.
    distance
        Share of one side's turns that would have to lie elsewhere for the mixes to agree (total variation), 0 to 1;
        ``None`` where a side has no turns.
    """

    strata: tuple[Stratum, ...]
    distance: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseComparison:
    """Two sides compared.

    Attributes
    ----------
    by, candidate, baseline
        The column, and the two names in it.
    since_us, until_us
        Window, microseconds since 1970; ``None`` for open.
    level
        Two-sided coverage of every interval.
    rows
        Value metrics first, then risks, then guardrails.
    mix
        The traffic of the two.
    shared_users
        Users who met both.
    overlap
        Share of the candidate's turns that fall into the time in which both ran.
    warnings
        What keeps the differences from being effects, in sentences.
    parameters
        Values bound to the statements.
    """

    by: str
    candidate: str
    baseline: str
    since_us: int | None
    until_us: int | None
    level: float
    rows: tuple[ComparedMetric, ...]
    mix: Mix
    shared_users: int
    overlap: float | None
    warnings: tuple[str, ...]
    parameters: Mapping[str, Scalar]


def known_arms(view: TenantView, *, by: str = "release", most: int = 200) -> tuple[Arm, ...]:
    """List the names that turns have in a column, those first seen last first.

    Parameters
    ----------
    view
        A lake as a tenant sees it.
    by
        One of `ARM_COLUMNS`.
    most
        Names at most.

    Raises
    ------
    UnknownName
        For another column.
    """
    column = _column(by)
    sql = (
        f'SELECT "{column}" AS name, COUNT(*) AS turns, COUNT(DISTINCT user_id) AS users, MIN(ts_us) AS first_us, '  # noqa: S608
        f'MAX(ts_us) AS last_us FROM spans WHERE "{column}" IS NOT NULL AND ts_us IS NOT NULL GROUP BY ALL '
        "ORDER BY first_us // $day DESC, name DESC LIMIT $most"
    )
    # Two releases of one day, as in a split of traffic, come in the order of their names: versions count up.
    rows = view.query(sql, parameters={"most": most, "day": _DAY_US}).to_pylist()
    return tuple(
        Arm(
            name=row["name"], turns=row["turns"], users=row["users"], first=_moment(row["first_us"]), last=_moment(row["last_us"])
        )
        for row in rows
    )  # fmt: skip


def _column(by: str) -> str:
    if by not in ARM_COLUMNS:
        raise UnknownName("column", by, ARM_COLUMNS, place="comparison")
    return by


def _moment(us: int) -> dt.datetime:
    return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=us)


def comparable_metrics(metrics: Mapping[str, Metric]) -> list[Metric]:
    """Those that can be cut by release and are not counted per day; value first, then risk, then guardrail.

    Examples
    --------
    >>> from jurat.metrics.loader import catalog
    >>> [m.role for m in comparable_metrics(catalog())][0]
    'value'
    """
    found = [
        m for m in metrics.values()
        if "release" in m.slices and m.kind != "rate" and m.pair is None and m.name not in _LEFT_OUT
    ]  # fmt: skip
    return sorted(found, key=lambda m: (_ROLES[m.role], m.name))


def compare_releases(
    view: TenantView,
    metrics: Mapping[str, Metric],
    *,
    candidate: str,
    baseline: str,
    by: str = "release",
    cluster: Literal["user", "conversation"] = "user",
    margins: Sequence[Margin] = (),
    level: float = 0.95,
) -> ReleaseComparison:
    """Compare two releases (or models) on every metric that can be cut so.

    Parameters
    ----------
    view
        A lake as a tenant sees it, with the window that is compared.
    metrics
        Definitions by name.
    candidate, baseline
        The two names; differences are candidate minus baseline.
    by
        One of `ARM_COLUMNS`.
    cluster
        What turns hang together by. Turns of nobody in particular hang together by conversation in any case.
    margins
        What a launch bar asks; each stands on its metric's row, or on a row of its own where it is limited to a slice.
    level
        Two-sided coverage.

    Returns
    -------
    ReleaseComparison

    Raises
    ------
    UsageError
        Where a release is compared with itself.
    UnknownName
        For a column or a name that there is not, or a margin on a metric that cannot be compared.

    Notes
    -----
    Intervals are those of `jurat.evidence.measure`. Marks without a margin hold at a false discovery rate of 1 − level
    (Benjamini and Hochberg, 1995); their p-values are read off the shown bound that faces 0 on a normal scale, so that no
    mark contradicts its interval. Users who met both releases make the two sides dependent; the crude intervals take no
    credit for that and are rather too wide, the standardised ones follow each user across both.

    References
    ----------
    Benjamini, Y. and Hochberg, Y. (1995). JRSS B 57, 289–300.
    """
    if candidate == baseline:
        raise UsageError("a release is compared with itself", seen=candidate[:80], next_step="name two")
    column = _column(by)
    chosen = comparable_metrics(metrics)
    for margin in margins:
        if margin.metric not in {m.name for m in chosen}:
            raise UnknownName("metric", margin.metric, [m.name for m in chosen], place=margin.name)
    sides = view if column == "release" else view.narrowed(replaced={"release": f'"{column}"'})
    mix, overlap, shared = _traffic(sides, candidate, baseline)
    for name, turns in (
        (candidate, sum(s.candidate for s in mix.strata)),
        (baseline, sum(s.baseline for s in mix.strata)),
    ):
        if not turns:
            raise UnknownName(by, name, [arm.name for arm in known_arms(view, by=by)], place="this window")
    wanted: list[tuple[Metric, Mapping[str, str], Margin | None]] = [
        (m, {}, margin) for m in chosen for margin in _of_metric(margins, m.name)
    ]
    wanted += [(metrics[m.metric], m.where, m) for m in margins if m.where]
    wanted.sort(key=lambda one: (_ROLES[one[0].role], one[0].name))
    measured: dict[str, Measurement] = {}
    rows = []
    for metric, where, asked in wanted:
        if metric.name not in measured:
            measured[metric.name] = _measured(sides, metric, cluster)
        rows.append(_row(measured[metric.name], where, asked, candidate=candidate, baseline=baseline, level=level))
    rows = _marked(rows, level)
    return ReleaseComparison(
        by=by,
        candidate=candidate,
        baseline=baseline,
        since_us=view.since_us,
        until_us=view.until_us,
        level=level,
        rows=tuple(rows),
        mix=mix,
        shared_users=shared,
        overlap=overlap,
        warnings=tuple(_warnings(by, rows, mix, overlap, shared)),
        parameters=sides.statement("SELECT 1 AS one FROM spans")[1],
    )


def _of_metric(margins: Sequence[Margin], metric: str) -> list[Margin | None]:
    """Margins on all traffic of a metric; one row without a margin where there is none."""
    return [m for m in margins if m.metric == metric and not m.where] or [None]


def _measured(view: TenantView, metric: Metric, cluster: str) -> Measurement:
    """Run a metric at its finest cut by endpoint and tier; the SQL is the view's whole statement."""
    if metric.unit in _TURN_LIKE:
        known = "user_id, " if cluster == "user" else ""
        view = view.narrowed(replaced={"user_id": f"COALESCE({known}conversation_id, trace_id, span_id)"})
    slices = [s for s in ("release", "endpoint", "tier") if s in metric.slices]
    found = run(metric, view, slices=slices)
    return replace(found, sql=view.statement(found.sql)[0])


def _row(
    found: Measurement, where: Mapping[str, str], margin: Margin | None, *, candidate: str, baseline: str, level: float
) -> ComparedMetric:
    metric, table = found.metric, found.table
    table = table.filter(pc.is_in(table["release"], pa.array([candidate, baseline], table["release"].type)))
    for name, value in where.items():
        table = table.filter(pc.equal(table[name], value)) if name in table.column_names else table.slice(0, 0)
    if "cluster" in table.column_names:
        table = table.filter(pc.is_valid(table["cluster"]))
    found = replace(found, table=table)
    held = {str(x) for x in pc.unique(table["release"]).to_pylist()}
    levels = {
        name: level_of_arm(found, arm_column="release", arm=name, level=level)
        if name in held else _unmeasured(metric, level, name)
        for name in (candidate, baseline)
    }  # fmt: skip
    missing = [name for name in (candidate, baseline) if levels[name].n == 0]
    standard, covered = None, None
    if missing:
        difference = _unmeasured(metric, level, missing[0])
    else:
        difference = contrast(found, arm_column="release", candidate=candidate, baseline=baseline, level=level)
        standard, covered = at_common_mix(metric, table, candidate=candidate, baseline=baseline, level=level)
    difference = replace(difference, contrast=Contrast(candidate=candidate, baseline=baseline))
    return ComparedMetric(
        metric=metric,
        where=where,
        candidate=levels[candidate],
        baseline=levels[baseline],
        difference=difference,
        standardised=standard,
        covered=covered,
        margin=margin,
        outcome="none" if missing else _against(margin, difference, [x.n for x in levels.values()]),
        reversed=_side(difference) * _side(standard) < 0,
        sql=found.sql,
    )


def _unmeasured(metric: Metric, level: float, arm: str) -> Estimate:
    plural = metric.unit if " " in metric.unit else f"{metric.unit}s"
    return Estimate(
        metric=metric.name, value=None, low=None, high=None, level=level, n=0, unit=metric.unit, cluster=metric.cluster,
        method="none", reason=f"not measured: no {plural} of {arm[:60]}",
    )  # fmt: skip


def _side(found: Estimate | Interval | None) -> int:
    """Whether an interval lies above 0, below it, or holds it."""
    if found is None or found.low is None or found.high is None:
        return 0
    return int(found.low > 0) - int(found.high < 0)


def _against(margin: Margin | None, difference: Estimate, units: Sequence[int]) -> Outcome:
    if margin is None:
        return "open"
    if min(units) < margin.minimum_n or difference.low is None or difference.high is None:
        return "undecided"
    above, below = difference.low > margin.threshold, difference.high < margin.threshold
    if not (above or below):
        return "undecided"
    return "clears" if above == (margin.direction == "greater") else "violated"


def _marked(rows: Sequence[ComparedMetric], level: float) -> list[ComparedMetric]:
    """Mark what is told from 0 among the rows without a margin, corrected for their number."""
    places = [i for i, row in enumerate(rows) if row.outcome == "open" and row.difference.low is not None]
    if not places:
        return list(rows)
    p_values = [_p_value(rows[i].difference) for i in places]
    rejected = benjamini_hochberg(p_values).rejected(1 - level)
    marked = list(rows)
    for i, told in zip(places, rejected.tolist(), strict=True):
        row = rows[i]
        # A score interval may hold 0 where its normal reading does not quite: the interval decides.
        if told and _side(row.difference):
            good = row.metric.better == ("higher" if _side(row.difference) > 0 else "lower")
            outcome: Outcome = "changed" if row.metric.better == "neither" else "better" if good else "worse"
            marked[i] = replace(row, outcome=outcome)
    return marked


def _p_value(found: Estimate) -> float:
    """Two-sided p-value against 0, from the bound that faces 0."""
    value, low, high = float(found.value or 0.0), float(found.low or 0.0), float(found.high or 0.0)
    reach = value - low if value > 0 else high - value
    if value == 0 or reach <= 0:
        return 1.0
    return float(2 * ndtr(-abs(value) / reach * ndtri(0.5 + found.level / 2)))


# What the two sides saw ------------------------------------------------------------------------------------------------


def _traffic(view: TenantView, candidate: str, baseline: str) -> tuple[Mix, float | None, int]:
    names: dict[str, Scalar] = {"candidate": candidate, "baseline": baseline}
    rows = view.query(_STRATA, parameters=names).to_pylist()
    strata = tuple(
        Stratum(endpoint=r["endpoint"], tier=r["tier"], candidate=r["candidate"], baseline=r["baseline"]) for r in rows
    )
    sizes = np.array([[s.candidate for s in strata], [s.baseline for s in strata]], dtype=np.float64)
    distance = None
    if sizes.size and sizes.sum(axis=1).all():
        shares = sizes / sizes.sum(axis=1, keepdims=True)
        distance = float(np.abs(shares[0] - shares[1]).sum() / 2)
    both = view.query(_OVERLAP, parameters=names).to_pylist()[0]
    overlap = both["inside"] / both["turns"] if both["turns"] else None
    shared = int(view.query(_SHARED, parameters=names).column("n")[0].as_py())
    return Mix(strata=strata, distance=distance), overlap, shared


_STRATA = """SELECT
  endpoint,
  tier,
  COUNT(*) FILTER (WHERE release = $candidate) AS candidate,
  COUNT(*) FILTER (WHERE release = $baseline) AS baseline
FROM spans WHERE release IN ($candidate, $baseline)
GROUP BY endpoint, tier ORDER BY COUNT(*) DESC, endpoint NULLS LAST, tier NULLS LAST"""
_OVERLAP = """WITH ran AS (
  SELECT release, MIN(ts_us) AS first_us, MAX(ts_us) AS last_us FROM spans
  WHERE release IN ($candidate, $baseline) GROUP BY release
),
both_ran AS (
  SELECT MAX(first_us) AS first_us, MIN(last_us) AS last_us FROM ran
)
SELECT
  COUNT(*) AS turns,
  COUNT(*) FILTER (WHERE s.ts_us BETWEEN b.first_us AND b.last_us) AS inside
FROM spans AS s CROSS JOIN both_ran AS b WHERE s.release = $candidate AND $baseline IS NOT NULL"""
_SHARED = """SELECT COUNT(*) AS n FROM (
  SELECT user_id FROM spans WHERE release IN ($candidate, $baseline) AND user_id IS NOT NULL
  GROUP BY user_id HAVING COUNT(DISTINCT release) = 2
) AS met_both"""


def _warnings(by: str, rows: Sequence[ComparedMetric], mix: Mix, overlap: float | None, shared: int) -> list[str]:
    said = [
        f"Nothing here drew at random which turns got which {by}: who got which may be in every difference. An experiment "
        "draws; a launch is decided by jurat review on its bar."
    ]
    if mix.distance is not None and mix.distance >= _MIX_SEEN:
        said.append(
            f"The two saw different traffic: {100 * mix.distance:.0f} % of the turns of one lie at other endpoints or tiers. "
            "Read the differences at the common mix."
        )
    if overlap is not None and overlap < 1 - _MIX_SEEN:
        said.append(
            f"Only {100 * overlap:.0f} % of the candidate's turns fall into the time in which both ran: "
            "what else changed with the calendar is in the differences too."
        )
    if shared:
        said.append(
            f"{shared:,} users met both. Crude intervals take the sides for independent, and are rather too wide for that; "
            "those at the common mix follow each user across both."
        )
    for row in rows:
        if row.reversed:
            said.append(
                f"{row.metric.title}: the crude difference and the one at the common mix point opposite ways "
                "(Simpson's paradox). The mix makes the crude one."
            )
    thin = [row.covered for row in rows if row.covered is not None and row.covered < 1 - _MIX_SEEN]
    if thin:
        said.append(
            f"Some endpoints and tiers were seen by one side only; the common mix rests on {100 * min(thin):.0f} % of the units "
            "or more."
        )
    return said
