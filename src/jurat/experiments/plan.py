"""Will this experiment answer its question? Power for every claim at the planned size, and the size that would do.

For each claim the planner finds the standard error that a number of clusters gives (two shares, a mean, a ratio; clusters
with their intraclass correlation and uneven sizes; labels read through annotators who err) and the critical value that the
spec's way of looking costs. Hard lines on rare events are planned exactly, by failures that may be allowed. The error of the
whole is shared: with k claims that must all clear, each is powered for beta/k.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from scipy import special
from scipy import stats as sps

from jurat.experiments.judgement import SPENDING
from jurat.experiments.spec import Claim, Experiment, MetricSpec
from jurat.stats.group_sequential import boundaries
from jurat.stats.rare import anytime_proportion, failure_plan
from jurat.stats.sequential import mixture_precision, sequence_half_width

__all__ = ["ClaimPlan", "Plan", "plan_experiment", "power_at"]

_MOST = 1e12
_MOST_FAILURES = 200
_MOST_UNITS = 1 << 40


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimPlan:
    """The plan of one claim.

    Attributes
    ----------
    name, role, metric
        Which claim.
    formula
        What the numbers rest on, in words.
    power
        At the planned clusters; ``None`` with a reason where it cannot be computed.
    target
        Power this claim needs, its share of the whole.
    clusters
        Clusters of all arms that reach the target; ``None`` with a reason.
    rows
        Rows behind them.
    minimum_detectable_effect
        The true difference that the planned clusters would find with the target power (for non-inferiority: the margin they
        could exclude), absolute.
    days
        Until the clusters have arrived; ``None`` where the spec does not say how many come.
    reason
        Why a number is missing.
    """

    name: str
    role: str
    metric: str
    formula: str
    target: float
    power: float | None
    clusters: int | None
    rows: int | None
    minimum_detectable_effect: float | None
    days: float | None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The plans of all claims.

    Attributes
    ----------
    planned_clusters
        Of the spec.
    claims
        In the order of the spec, each hard line after its claim.
    sufficient
        Whether every value and risk claim has its power.
    shortfalls
        Which have not.
    remedy
        What would help.
    design_effect
        Smallest and largest design effect of the metrics.
    """

    planned_clusters: int
    claims: tuple[ClaimPlan, ...]
    sufficient: bool
    shortfalls: tuple[str, ...]
    remedy: str
    design_effects: tuple[tuple[str, float], ...]


def plan_experiment(experiment: Experiment) -> Plan:
    r"""Plan an experiment from its spec.

    Parameters
    ----------
    experiment
        The spec. Each claimed metric needs ``baseline`` (and ``standard_deviation`` for means and ratios), and ``icc`` where
        rows cluster.

    Returns
    -------
    Plan
        A claim that cannot be planned says why, and counts as a shortfall if it is of value or risk.

    Notes
    -----
    With N clusters, of which a share :math:`\pi_a` in arm a, of m rows on average, a row variance :math:`\sigma_a^2` and
    design effect :math:`D = 1 + ((1 + CV^2) m - 1)\rho`, the difference has
    :math:`se^2 = D \sum_a \sigma_a^2 / (N \pi_a m)`; power is :math:`\Phi((\delta - margin)/se - c)` with c the critical value
    of the spec's method at N. For one look and even shares this is the unpooled formula of two proportions.

    References
    ----------
    Donner, A. and Klar, N. (2000). Design and Analysis of Cluster Randomization Trials in Health Research. Eldridge, S. M.
    et al. (2006). International Journal of Epidemiology 35, 1292–1300 (uneven clusters). Schultzberg, M. et al. (2024).
    arXiv:2402.11609 (several guardrails).
    """
    i = experiment.document.inference
    target = 1 - (1 - i.power) / len(experiment.claims)
    claims: list[ClaimPlan] = []
    for claim in experiment.claims:
        claims.append(_comparison(experiment, claim, target))
        if claim.max_upper_bound is not None:
            claims.append(_line(experiment, claim, target))
    needed = [c for c in claims if c.role in ("value", "risk")]
    short = [c for c in needed if c.power is None or c.power < target - 1e-9]
    shortfalls = tuple(
        f"{c.name}: {c.reason}" if c.power is None else f"{c.name}: power {c.power:.2f}, needed {target:.2f}"
        for c in short
    )
    return Plan(
        planned_clusters=i.planned_clusters,
        claims=tuple(claims),
        sufficient=not short,
        shortfalls=shortfalls,
        remedy=_remedy(experiment, short),
        design_effects=tuple(
            (name, effect)
            for name, metric in experiment.document.metrics.items()
            if (effect := _design_effect(experiment, metric)) is not None
        ),
    )


def _remedy(experiment: Experiment, short: list[ClaimPlan]) -> str:
    if not short:
        return "nothing to mend"
    known = [c.clusters for c in short if c.clusters is not None]
    if any(c.power is None for c in short):
        return "give what the plan needs to know (baseline, standard_deviation, icc, mde), or mend what cannot be shown"
    if not known:
        return "accept a wider margin or look for a larger mde: no affordable number of clusters would do"
    largest = max(known)
    t = experiment.document.traffic.units_per_day
    days = "" if t is None else f" ({largest / t:,.0f} days at {t:,.0f} a day)"
    return f"plan {largest:,} clusters{days}, accept a wider margin or a larger mde, or add covariates from before the treatment"


def _design_effect(experiment: Experiment, metric: MetricSpec) -> float | None:
    traffic = experiment.document.traffic
    if experiment.cluster is None:
        return 1.0
    if metric.icc is None:
        return 1.0 if traffic.rows_per_cluster == 1 else None
    return 1 + ((1 + traffic.cluster_size_cv**2) * traffic.rows_per_cluster - 1) * metric.icc


def _critical(experiment: Experiment) -> Callable[[float], float]:
    """Standard errors that the estimate must be away from the margin, by the number of clusters."""
    i, level = experiment.document.inference, experiment.level
    if i.method == "confidence_sequence":
        rho = mixture_precision(i.planned_clusters, level=level)
        return lambda n: float(sequence_half_width(1.0, n, rho, level=level)) * math.sqrt(n)
    z = float(sps.norm.isf(i.alpha / 2))
    if i.method == "group_sequential":
        z = float(boundaries(i.looks, level=level, kind=SPENDING[i.spending]).critical[-1])
    return lambda n: z


def _variances(experiment: Experiment, claim: Claim, truth: float) -> tuple[float, float, float] | str:
    """Row variance of control and treatment, and what annotators leave of a difference; or what is not known."""
    metric = experiment.metric(claim.metric)
    if metric.kind == "quantile":
        return "a quantile's error needs the density at it: run a pilot, or plan by the other claims"
    if metric.kind == "proportion":
        if metric.baseline is None:
            return f"metrics.{claim.metric}.baseline is not given"
        if not 0 < metric.baseline + truth < 1 or not 0 < metric.baseline < 1:
            return f"shares of {metric.baseline:g} and {metric.baseline + truth:g} cannot both be"
        accuracy = 1.0 if metric.annotator_accuracy is None else metric.annotator_accuracy
        seen = [p * accuracy + (1 - p) * (1 - accuracy) for p in (metric.baseline, metric.baseline + truth)]
        return seen[0] * (1 - seen[0]), seen[1] * (1 - seen[1]), 2 * accuracy - 1
    if metric.standard_deviation is None:
        return f"metrics.{claim.metric}.standard_deviation is not given"
    return metric.standard_deviation**2, metric.standard_deviation**2, 1.0


def _truth_and_margin(experiment: Experiment, claim: Claim) -> tuple[float, float] | str:
    """The difference the plan takes for true, and the margin, both absolute."""
    metric = experiment.metric(claim.metric)
    relative = [m for m in (claim.margin, claim.mde) if m is not None and m.scale == "relative"]
    if relative and metric.baseline is None:
        return f"{relative[0].text} is relative: metrics.{claim.metric}.baseline is not given"
    base = metric.baseline or 0.0
    margin = claim.margin.absolute(base)
    if claim.test == "superior":
        if claim.mde is None:
            return "the claim says no mde, the effect it is looking for"
        return claim.mde.absolute(base), margin
    # Non-inferiority is planned for no true difference, whatever one hopes for.
    return 0.0, margin


@dataclass(frozen=True, slots=True)
class _Measure:
    """What a comparison's power rests on: room for the estimate, its error with one cluster, what labels leave of it."""

    room: float
    unit: float
    kept: float
    effect: float
    rows_per_cluster: float

    def power(self, clusters: float, critical: Callable[[float], float]) -> float:
        return float(sps.norm.cdf(self.room / (self.unit / math.sqrt(clusters)) - critical(clusters)))


def _measure(experiment: Experiment, claim: Claim) -> _Measure | str:
    """Everything the formula needs, or what is not known."""
    shape = _truth_and_margin(experiment, claim)
    if isinstance(shape, str):
        return shape
    parts = _variances(experiment, claim, shape[0])
    if isinstance(parts, str):
        return parts
    effect = _design_effect(experiment, experiment.metric(claim.metric))
    if effect is None:
        return f"metrics.{claim.metric}.icc is not given"
    (truth, margin), (v_control, v_treatment, kept) = shape, parts
    treatment, control, m = _arrivals(experiment)
    unit = math.sqrt(effect * (v_treatment / treatment + v_control / control) / m)
    # Room on the side that the claim wants: an effect short of its margin has none, however large the experiment.
    room = truth - margin if experiment.metric(claim.metric).better == "higher" else margin - truth
    if room <= 0:
        return f"the expected effect {truth:g} does not lie beyond the margin {margin:g}: no size would show it"
    return _Measure(room * kept, unit, kept, effect, m)


def _arrivals(experiment: Experiment) -> tuple[float, float, float]:
    """Share of the smallest treatment and of control, and rows per cluster."""
    shares = experiment.shares()
    m = experiment.document.traffic.rows_per_cluster if experiment.cluster is not None else 1.0
    return min(shares[t] for t in experiment.treatments), shares[experiment.document.assignment.control], m


def _comparison(experiment: Experiment, claim: Claim, target: float) -> ClaimPlan:
    i = experiment.document.inference
    found = _measure(experiment, claim)
    if isinstance(found, str):
        return _unplanned(claim.name, claim, target, found)
    critical, planned = _critical(experiment), i.planned_clusters
    clusters = _smallest(lambda n: found.power(n, critical) >= target)
    z = critical(planned) + float(sps.norm.ppf(target))
    looks = {
        "confidence_sequence": "read at the planned size of a confidence sequence",
        "fixed": "one look",
        "group_sequential": f"last of {i.looks} looks, {i.spending} spending",
    }[i.method]
    kind = "non-inferiority" if claim.test == "noninferior" else "superiority"
    design = "" if found.effect == 1 else f", design effect {found.effect:.3g}"
    noisy = "" if found.kept == 1 else f", labels right {100 * (1 + found.kept) / 2:.0f} % of the time"
    traffic = experiment.document.traffic.units_per_day
    return ClaimPlan(
        name=claim.name,
        role=claim.role,
        metric=claim.metric,
        formula=f"{kind}, unpooled, {looks}{design}{noisy}",
        target=target,
        power=found.power(planned, critical),
        clusters=clusters,
        rows=None if clusters is None else math.ceil(clusters * found.rows_per_cluster),
        minimum_detectable_effect=z * found.unit / math.sqrt(planned) / found.kept,
        days=None if clusters is None or traffic is None else clusters / traffic,
        reason=None if clusters is not None else "no affordable number of clusters would do",
    )


def _smallest(enough: Callable[[float], bool]) -> int | None:
    """Smallest number of clusters that is enough; power grows with the number."""
    high = 2.0
    while not enough(high):
        high *= 2
        if high > _MOST:
            return None
    low = high / 2
    while high - low > 0.5:
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return math.ceil(high - 1e-6)


def _line(experiment: Experiment, claim: Claim, target: float) -> ClaimPlan:
    """Rows of the treatment that show its rate below the line, with as few allowed failures as give the power."""
    metric, name = experiment.metric(claim.metric), f"{claim.name}, hard line"
    bound = claim.max_upper_bound
    assert bound is not None  # noqa: S101 - asked for
    shape = _truth_and_margin(experiment, claim)
    effect = _design_effect(experiment, metric)
    if metric.kind != "proportion" or metric.baseline is None or effect is None:
        return _unplanned(name, claim, target, f"metrics.{claim.metric} is no proportion with baseline and icc")
    rate = metric.baseline + (0.0 if isinstance(shape, str) else shape[0])
    if not 0 <= rate < bound < 1:
        return _unplanned(name, claim, target, f"the expected rate {rate:g} is not below the line {bound:g}")
    level = 1 - experiment.document.inference.alpha / 2
    # Read at every look, the bound is wider: a plan by the exact one would promise what the analysis cannot keep.
    watched = experiment.document.inference.method == "confidence_sequence"
    found = _failures(bound, rate, level, target, watched=watched)
    share, _, m = _arrivals(experiment)
    units = math.floor(experiment.document.inference.planned_clusters * share * m / effect)
    allowed = _allowed(bound, units, level, watched=watched)
    power = 0.0 if allowed is None else float(_at_most(allowed, units, rate))
    if found is None:
        return _unplanned(name, claim, target, "the line is too near the expected rate for an exact plan")
    failures, n = found
    clusters = math.ceil(n * effect / (share * m))
    traffic = experiment.document.traffic.units_per_day
    return ClaimPlan(
        name=name,
        role=claim.role,
        metric=claim.metric,
        formula=f"{'anytime bound, read at the end' if watched else 'exact, one look'}, {failures} failures allowed at a true "
        f"rate of {rate:g}, design effect {effect:.3g}",
        target=target,
        power=power,
        clusters=clusters,
        rows=math.ceil(clusters * m),
        minimum_detectable_effect=None,
        days=None if traffic is None else clusters / traffic,
    )


def _at_most(failures: int, units: int, rate: float) -> float:
    """Chance of at most so many failures; the incomplete Beta function holds where counts outgrow 32 bits."""
    return 1.0 if failures >= units else float(special.betaincc(failures + 1, units - failures, rate))


def _shows(failures: int, units: int, bound: float, level: float, *, watched: bool) -> bool:
    """Whether so many failures among so many units show the rate below the bound."""
    if units < 1 or failures >= units:
        return False
    if not watched:
        return _at_most(failures, units, bound) <= 1 - level
    high = anytime_proportion(failures, units, level=2 * level - 1).high
    return high is not None and high < bound


def _allowed(bound: float, units: int, level: float, *, watched: bool) -> int | None:
    """Most failures among so many units that still show the rate below the bound; ``None`` where not even none would."""
    low, high = -1, units + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _shows(middle, units, bound, level, watched=watched) else (low, middle)
    return None if low < 0 else low


def _failures(bound: float, rate: float, level: float, power: float, *, watched: bool) -> tuple[int, int] | None:
    """Fewest failures to allow so that a true rate passes with the power, and the units that it takes."""
    least = 1
    for failures in range(_MOST_FAILURES):
        n = _units_for(failures, bound, level, least) if watched else failure_plan(bound, failures, level=level).n
        if n is None:
            continue
        if float(_at_most(failures, n, rate)) >= power:
            return failures, n
        least = n
    return None


def _units_for(failures: int, bound: float, level: float, least: int) -> int | None:
    """Fewest units among which so many failures show the rate below the bound at any time."""
    high = max(2 * least, failures + 2)
    while not _shows(failures, high, bound, level, watched=True):
        high *= 2
        if high > _MOST_UNITS:
            return None
    low = least - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _shows(failures, middle, bound, level, watched=True) else (middle, high)
    return high


def _unplanned(name: str, claim: Claim, target: float, reason: str) -> ClaimPlan:
    return ClaimPlan(
        name=name, role=claim.role, metric=claim.metric, formula="none", target=target, power=None, clusters=None,
        rows=None, minimum_detectable_effect=None, days=None, reason=reason,
    )  # fmt: skip


def power_at(experiment: Experiment, claim: Claim, clusters: list[float]) -> list[float] | None:
    """Power of a claim's comparison at several numbers of clusters, for the curve; ``None`` where it cannot be planned."""
    found = _measure(experiment, claim)
    if isinstance(found, str):
        return None
    critical = _critical(experiment)
    return [found.power(n, critical) for n in clusters]
