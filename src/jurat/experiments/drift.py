"""Does the effect stay? Arm by day, the novelty slope, and how much of a change over time is mix.

An effect that is an average over a fading one promises what will not last. Every day's effect comes from the same users, so
the days' covariances are estimated; a slope over them has an honest interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jurat.experiments.data import ExperimentData, quoted
from jurat.experiments.effects import spans_arms
from jurat.experiments.moments import Layout, Sums, moment_table, population_sql, stratum_condition
from jurat.experiments.spec import Experiment
from jurat.stats.moments import Functional, MomentTable, functional_interval
from jurat.stats.result import Interval

__all__ = ["Drift", "drift"]

MOST_PERIODS = 28
"""Beyond so many days, weeks are the periods: a covariance matrix of a hundred days says nothing that weeks do not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How an effect moved over the window.

    Attributes
    ----------
    metric, treatment
        What was looked at.
    periods
        First day of each period, and the effect in it.
    slope
        Change of the effect from the first to the last period, by least squares over the periods.
    halves
        Effect in the second half less that in the first.
    trend
        The control arm's level in the second half less that in the first: what time did without the treatment.
    verdict
        ``"stable"``, ``"fading"``, ``"growing"`` or ``"undecided"``.
    """

    metric: str
    treatment: str
    periods: tuple[tuple[str, Interval], ...]
    slope: Interval
    halves: Interval
    trend: Interval
    verdict: str


def drift(experiment: Experiment, data: ExperimentData, metric: str, treatment: str) -> Drift | None:
    """Follow an effect over the days of an experiment.

    Parameters
    ----------
    experiment, data
        The spec, with a time column, and its rows.
    metric
        A mean, ratio or proportion.
    treatment
        The arm.

    Returns
    -------
    Drift or None
        ``None`` without a time column, or with fewer than three periods in both arms.
    """
    time = experiment.document.data.time
    if time is None:
        return None
    day = f"CAST(CAST({quoted(time)} AS DATE) AS VARCHAR)"
    rows = population_sql(experiment, {"s__": day})
    days = [r["s"] for r in data.query(f"SELECT s__ AS s FROM ({rows}) AS r GROUP BY s__ ORDER BY s__")]
    if any(d is None for d in days) or len(days) < 3:
        return None
    size = 1 if len(days) <= MOST_PERIODS else 7
    groups = [days[i : i + size] for i in range(0, len(days), size)]
    layout = Layout(data)
    parts = [layout.metric(experiment, metric, condition=_any_of(group)) for group in groups]
    layout.pair(v for sums in parts for v in (sums.numerator, sums.denominator))
    table = moment_table(experiment, data, layout, joint=spans_arms(experiment, data), strata={"s__": day}).table
    control = experiment.document.assignment.control
    kept = [i for i, s in enumerate(parts) if all(table.mean(a, s.denominator) > 0 for a in (treatment, control))]
    if len(kept) < 3:
        return None
    return _followed(experiment, table, metric, treatment, [(groups[i][0], parts[i]) for i in kept])


def _any_of(days: Sequence[str]) -> str:
    return "(" + " OR ".join(stratum_condition("s__", d) for d in days) + ")"


def _followed(
    experiment: Experiment, table: MomentTable, metric: str, treatment: str, periods: Sequence[tuple[str, Sums]]
) -> Drift:
    control, level = experiment.document.assignment.control, experiment.level
    joint = table.joint
    clusters = table.clusters(treatment) + (0 if joint else table.clusters(control))

    def shown(functional: Functional, sums: Sequence[Sums], name: str) -> Interval:
        rows = sum(round(table.mean(a, s.denominator) * table.clusters(a)) for a in (treatment, control) for s in sums)
        return functional_interval(table, functional, level=level, n=rows, n_clusters=clusters, method=name)

    every = [s for _, s in periods]
    effects = [s.value(table, treatment) - s.value(table, control) for s in every]
    x = np.linspace(-0.5, 0.5, len(periods))
    slope = _combined(effects, list(x / float(x @ x)))
    middle = len(periods) // 2
    late_early = [-1 / middle] * middle + [1 / (len(periods) - middle)] * (len(periods) - middle)
    found = shown(slope, every, "least-squares slope over periods, CR1")
    overall = _combined(effects, [1 / len(effects)] * len(effects))
    return Drift(
        metric=metric,
        treatment=treatment,
        periods=tuple((day, shown(e, [s], "CR1")) for (day, s), e in zip(periods, effects, strict=True)),
        slope=found,
        halves=shown(_combined(effects, late_early), every, "second half less first, CR1"),
        trend=shown(
            _combined([s.value(table, control) for s in every], late_early),
            every,
            "control, second half less first, CR1",
        ),
        verdict=_verdict(found, overall.value),
    )


def _combined(functionals: Sequence[Functional], weights: Sequence[float]) -> Functional:
    total = float(weights[0]) * functionals[0]
    for functional, weight in zip(functionals[1:], weights[1:], strict=True):
        total = total + float(weight) * functional
    return total


def _verdict(slope: Interval, overall: float) -> str:
    if slope.low is None or slope.high is None:
        return "undecided"
    if slope.low <= 0 <= slope.high:
        # Stable is a claim too: the slope must be small beside the effect, not merely unproven.
        return "stable" if max(-slope.low, slope.high) < abs(overall) else "undecided"
    return "growing" if (slope.low > 0) == (overall > 0) else "fading"
