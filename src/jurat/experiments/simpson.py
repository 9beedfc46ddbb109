"""Does the whole say the same as its parts?

For each stratifier that was fixed before the treatment: the crude difference beside the one at a common mix of strata, and
how much of the crude one is mix and how much is rate. Where the sign turns, or the gap exceeds half the margin, the headline
is the standardised effect, with the reason. Covariances across strata are estimated, so users who hold conversations in
several strata are no problem.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from jurat.errors import DataError
from jurat.experiments.data import ExperimentData, quoted
from jurat.experiments.effects import spans_arms
from jurat.experiments.moments import Layout, Scan, Sums, moment_table, population_sql, stratum_condition
from jurat.experiments.spec import Experiment
from jurat.stats.moments import Functional, Key, MomentTable, functional_interval, smooth
from jurat.stats.result import Interval
from jurat.stats.standardise import kitagawa_parts

__all__ = ["MOST_STRATA", "SimpsonScan", "Stratum", "simpson_scan"]

MOST_STRATA = 20
"""More categories than this are refused: a stratifier with hundreds of values is an identifier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """One stratum: its name, its share of each arm, and the levels and difference inside it."""

    name: str
    shares: Mapping[str, float]
    levels: Mapping[str, Interval]
    effect: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class SimpsonScan:
    """Crude against standardised, for one metric and one stratifier.

    Attributes
    ----------
    metric, stratifier, treatment
        What was looked at.
    crude
        Difference of the two arms as they are.
    standardised
        Difference at the pooled mix of strata.
    mix, rate
        Parts of the crude difference: because the arms hold different strata, and because strata differ (Kitagawa, 1955).
    strata
        The parts.
    left_out
        Strata that one arm lacks, which nothing can be said about.
    alarm
        Why the crude number must not be the headline; ``None`` where it may.
    """

    metric: str
    stratifier: str
    treatment: str
    crude: Interval
    standardised: Interval
    mix: Interval
    rate: Interval
    strata: tuple[Stratum, ...]
    left_out: tuple[str, ...]
    alarm: str | None


def simpson_scan(
    experiment: Experiment, data: ExperimentData, metric: str, stratifier: str, treatment: str, *, margin: float | None
) -> SimpsonScan:
    r"""Compare the crude effect with the standardised one.

    Parameters
    ----------
    experiment, data
        The spec and its rows.
    metric
        A mean, ratio or proportion.
    stratifier
        A column fixed before the treatment.
    treatment
        The arm.
    margin
        Absolute margin of the metric's claim; ``None`` where it has none.

    Raises
    ------
    DataError
        Where the stratifier has more than `MOST_STRATA` values, or no stratum is in both arms.

    Notes
    -----
    With shares :math:`p_{ak}` and levels :math:`R_{ak}` of stratum k in arm a, the standardised difference is
    :math:`\sum_k w_k (R_{tk} - R_{ck})` with :math:`w_k` the pooled shares; Kitagawa's parts are
    :math:`\sum_k \tfrac{p_{tk} + p_{ck}}{2} (R_{tk} - R_{ck})` and :math:`\sum_k \tfrac{R_{tk} + R_{ck}}{2} (p_{tk} - p_{ck})`,
    which add up to the crude difference. All are smooth functions of per-cluster sums, with delta-method intervals.

    References
    ----------
    Kitagawa, E. M. (1955). Components of a difference between two rates. JASA 50, 1168–1194. Simpson, E. H. (1951). The
    interpretation of interaction in contingency tables. JRSS B 13, 238–241.
    """
    control = experiment.document.assignment.control
    values = _categories(experiment, data, stratifier)
    layout = Layout(data)
    parts = {v: layout.metric(experiment, metric, condition=stratum_condition("s__", v)) for v in values}
    layout.pair(v for sums in parts.values() for v in (sums.numerator, sums.denominator))
    scan = moment_table(
        experiment, data, layout, joint=spans_arms(experiment, data),
        strata={"s__": f"CAST({quoted(stratifier)} AS VARCHAR)"},
    )  # fmt: skip
    table = scan.table
    kept = [v for v in values if all(table.mean(arm, parts[v].denominator) > 0 for arm in (treatment, control))]
    if not kept:
        raise DataError(
            f"no value of {stratifier} stands in both arms",
            seen=", ".join(map(str, values)),
            next_step="take the stratifier out of simpson.stratifiers: the arms cannot be compared within it",
        )
    return _compared(experiment, scan, metric, stratifier, treatment, kept, values, parts, margin)


def _categories(experiment: Experiment, data: ExperimentData, stratifier: str) -> list[str | None]:
    rows = population_sql(experiment, {"s__": f"CAST({quoted(stratifier)} AS VARCHAR)"})
    found = data.query(
        f"SELECT s__ AS s FROM ({rows}) AS r GROUP BY s__ ORDER BY s__ NULLS LAST LIMIT {MOST_STRATA + 1}"
    )
    if len(found) > MOST_STRATA:
        raise DataError(
            f"the stratifier {stratifier} has more than {MOST_STRATA} values",
            seen=", ".join(str(r["s"]) for r in found[:4]) + ", …",
            next_step="group its values into a column of a few, or leave it out",
        )
    return [row["s"] for row in found]


def _compared(
    experiment: Experiment,
    scan: Scan,
    metric: str,
    stratifier: str,
    treatment: str,
    kept: Sequence[str | None],
    values: Sequence[str | None],
    parts: Mapping[str | None, Sums],
    margin: float | None,
) -> SimpsonScan:
    control, table, level = experiment.document.assignment.control, scan.table, experiment.level
    keys: list[Key] = [
        (arm, name) for arm in (treatment, control) for v in kept for name in (parts[v].numerator, parts[v].denominator)
    ]
    rows, clusters = _units(table, treatment, control, [parts[v].denominator for v in kept])

    def interval(functional: Functional, name: str) -> Interval:
        return functional_interval(table, functional, level=level, n=rows, n_clusters=clusters, method=name)

    crude = smooth(table, keys, lambda x: _crude(x, len(kept)))
    standard = smooth(table, keys, lambda x: _standardised(x, len(kept)))
    mix = smooth(table, keys, lambda x: _kitagawa(x, len(kept))[0])
    rate = smooth(table, keys, lambda x: _kitagawa(x, len(kept))[1])
    found = interval(standard, "direct standardisation, CR1")
    first = interval(crude, "CR1")
    return SimpsonScan(
        metric=metric,
        stratifier=stratifier,
        treatment=treatment,
        crude=first,
        standardised=found,
        mix=interval(mix, "Kitagawa, CR1"),
        rate=interval(rate, "Kitagawa, CR1"),
        strata=tuple(_stratum(scan, str(v), parts[v], treatment, control, level, kept, parts) for v in kept),
        left_out=tuple(str(v) for v in values if v not in kept),
        alarm=_alarm(first, found, margin, stratifier),
    )


def _units(table: MomentTable, treatment: str, control: str, denominators: Sequence[str]) -> tuple[int, int]:
    rows = sum(round(table.mean(a, d) * table.clusters(a)) for a in (treatment, control) for d in denominators)
    clusters = table.clusters(treatment)
    return rows, clusters if table.joint else clusters + table.clusters(control)


def _split(x: npt.NDArray[Any], strata: int) -> tuple[Any, Any, Any, Any]:
    """Sums and sizes of the treatment's and the control's strata."""
    shaped = x.reshape(2, strata, 2)
    return shaped[0, :, 0], shaped[0, :, 1], shaped[1, :, 0], shaped[1, :, 1]


def _crude(x: npt.NDArray[Any], strata: int) -> Any:
    s_t, d_t, s_c, d_c = _split(x, strata)
    return s_t.sum() / d_t.sum() - s_c.sum() / d_c.sum()


def _standardised(x: npt.NDArray[Any], strata: int) -> Any:
    s_t, d_t, s_c, d_c = _split(x, strata)
    weights = (d_t + d_c) / (d_t + d_c).sum()
    return (weights * (s_t / d_t - s_c / d_c)).sum()


def _kitagawa(x: npt.NDArray[Any], strata: int) -> tuple[Any, Any]:
    return kitagawa_parts(*_split(x, strata))


def _stratum(
    scan: Scan,
    name: str,
    sums: Sums,
    treatment: str,
    control: str,
    level: float,
    kept: Sequence[str | None],
    parts: Mapping[str | None, Sums],
) -> Stratum:
    table = scan.table
    totals = {arm: sum(table.mean(arm, parts[v].denominator) for v in kept) for arm in (treatment, control)}

    def shown(functional: Functional, arms: Sequence[str]) -> Interval:
        rows = sum(round(table.mean(a, sums.denominator) * table.clusters(a)) for a in arms)
        clusters = sum(table.clusters(a) for a in arms) if not table.joint else table.clusters(arms[0])
        return functional_interval(table, functional, level=level, n=rows, n_clusters=clusters, method="CR1")

    return Stratum(
        name=name,
        shares={arm: table.mean(arm, sums.denominator) / totals[arm] for arm in (treatment, control)},
        levels={arm: shown(sums.value(table, arm), [arm]) for arm in (treatment, control)},
        effect=shown(sums.value(table, treatment) - sums.value(table, control), [treatment, control]),
    )


def _alarm(crude: Interval, standard: Interval, margin: float | None, stratifier: str) -> str | None:
    assert crude.value is not None and standard.value is not None  # noqa: S101 - means of non-empty strata
    gap = crude.value - standard.value
    clear = standard.low is not None and standard.high is not None and (standard.low > 0 or standard.high < 0)
    if np.sign(crude.value) != np.sign(standard.value) and clear:
        return (
            f"the sign turns within {stratifier}: the crude difference comes from the arms' different mix, not from the "
            "treatment"
        )
    if margin and abs(gap) > abs(margin) / 2:
        return (
            f"crude and standardised differ by {gap:+.3g}, more than half the margin: the arms hold another mix of "
            f"{stratifier}"
        )
    return None
