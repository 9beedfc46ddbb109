"""Effects from panels: units seen over time, some of them treated from a time on.

Two groups and two periods, an event study, synthetic control and synthetic difference in differences, each as a
`CausalAnswer`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from jurat.errors import DataError, SpecError, UnknownName
from jurat.experiments.causal_answer import CausalAnswer, PlaceboCheck, RiskPolicy, check_null_effect, risk_cap
from jurat.experiments.causal_columns import (
    Floats,
    LongPanel,
    arm_column,
    label_codes,
    label_column,
    long_panel,
    number_column,
    told_as_data_error,
)
from jurat.stats.difference_in_differences import difference_in_differences
from jurat.stats.event_study import event_study
from jurat.stats.synthetic_control import synthetic_control
from jurat.stats.synthetic_difference_in_differences import synthetic_difference_in_differences

__all__ = [
    "analyse_difference_in_differences",
    "analyse_event_study",
    "analyse_synthetic_control",
    "analyse_synthetic_difference_in_differences",
]

PLACEBO_ALPHA = 0.05

_PARALLEL = (
    "Without the treatment, the treated and the others would have changed by the same amount, and nothing else befell "
    "only one of them."
)
_TWIN = (
    "The weighted average that tracked the treated unit before would have gone on tracking it without the treatment, and "
    "the treatment did not touch the units in it."
)
_WEIGHTED_PARALLEL = (
    "Without the treatment, the treated would have changed by as much as the weighted others, from the weighted earlier "
    "periods on, and the treatment did not touch the others."
)


def analyse_difference_in_differences(
    table: pa.Table,
    outcome: str,
    treated: str,
    after: str,
    *,
    cluster: str | None = None,
    level: float = 0.95,
    risk_policy: RiskPolicy = "capped",
) -> CausalAnswer:
    """Compare the change of a treated group with the change of another.

    Parameters
    ----------
    table
        One row per unit and period.
    outcome, treated, after
        Columns: the outcome; whether the row's unit is of the treated group; whether it was seen after the start.
    cluster
        Column of what is independent: the unit, or the place whose units were treated together.
    level
        Two-sided coverage.
    risk_policy
        ``"capped"``, ``"if placebo passes"`` or ``"uncapped"``.

    Returns
    -------
    CausalAnswer
        Two periods leave nothing to test the assumption with, so its placebo is not tested; with more periods see
        `analyse_event_study`.

    Raises
    ------
    UnknownName
        Where a column does not exist.
    DataError
        Where a column has nulls or values that are not finite, or one of the four cells is empty.

    Examples
    --------
    >>> rows = {"y": [1.0, 2.0, 2.0, 3.0, 5.0, 6.0, 9.0, 8.0], "t": [0] * 4 + [1] * 4, "later": [0, 0, 1, 1] * 2}
    >>> answer = analyse_difference_in_differences(pa.table(rows), "y", "t", "later")
    >>> answer.effect.value, answer.placebo.passes, answer.cap
    (2.0, None, 'not enough evidence')
    """
    place = "difference in differences"
    arms, later = arm_column(table, treated, place), arm_column(table, after, place)
    labels = None if cluster is None else label_codes(label_column(table, cluster, place))
    with told_as_data_error(place):
        found = difference_in_differences(
            number_column(table, outcome, place), arms, later, cluster=labels, level=level
        )
    placebo = PlaceboCheck(
        test="parallel change before treatment",
        passes=None,
        reason="two periods show one change only; give more periods before treatment to test it",
    )
    cells = (found.treated_before, found.treated_after, found.control_before, found.control_after)
    names = ("treated, before", "treated, after", "others, before", "others, after")
    return CausalAnswer(
        method="difference in differences",
        effect=found.effect,
        assumption=_PARALLEL,
        placebo=placebo,
        diagnostics=tuple((f"mean of {name}", cell.value) for name, cell in zip(names, cells, strict=True)),
        cap=risk_cap(risk_policy, placebo, place),
        result=found,
    )


def analyse_event_study(
    table: pa.Table,
    outcome: str,
    unit: str,
    time: str,
    adoption: str,
    *,
    base_period: int = -1,
    level: float = 0.95,
    risk_policy: RiskPolicy = "capped",
) -> CausalAnswer:
    """Follow the effect by its distance from adoption, against units that never adopt.

    Parameters
    ----------
    table
        One row per unit and time.
    outcome, unit, time
        Columns. Times may be numbers or dates; event times count the periods that occur in the table.
    adoption
        Column with the first treated time of the row's unit; null for units never treated.
    base_period
        Event time against which effects are taken.
    level, risk_policy
        As in `analyse_difference_in_differences`.

    Returns
    -------
    CausalAnswer
        ``effect`` is the mean from adoption on; the placebo is the joint test of all effects before it.

    Raises
    ------
    UnknownName, DataError
        As in `analyse_difference_in_differences`, or where the panel is not balanced, or no unit is (never) treated.

    Examples
    --------
    >>> rows = {"y": [1.0, 2.0, 5.0, 1.5, 2.0, 5.5, 0.0, 1.0, 2.2, 1.0, 2.5, 3.0], "u": list("aaabbbcccddd")}
    >>> rows |= {"t": [1, 2, 3] * 4, "from": [3] * 6 + [None] * 6}
    >>> answer = analyse_event_study(pa.table(rows), "y", "u", "t", "from")
    >>> round(answer.effect.value, 2), answer.placebo.passes
    (2.4, True)
    """
    place = "event study"
    panel = long_panel(table, outcome, unit, time, place)
    first = _adoption_columns(table, panel, (unit, adoption), base_period, place)
    rows, columns = np.divmod(np.arange(panel.outcomes.size), len(panel.times))
    with told_as_data_error(place):
        found = event_study(panel.outcomes.ravel(), rows, columns, first[rows], base_period=base_period, level=level)
    test = found.pre_trend
    placebo = PlaceboCheck(
        test="all effects before adoption are 0",
        passes=None if test is None else test.p_value >= PLACEBO_ALPHA,
        p_value=None if test is None else test.p_value,
        reason=found.pre_trend_reason,
    )
    sizes = ", ".join(f"{panel.times[g]}: {n}" for g, n in found.cohorts)
    return CausalAnswer(
        method="event study",
        effect=found.average,
        assumption=_PARALLEL,
        placebo=placebo,
        diagnostics=(("units never treated", float(found.never_treated)), ("units by adoption", sizes)),
        cap=risk_cap(risk_policy, placebo, place),
        result=found,
    )


def _adoption_columns(
    table: pa.Table, panel: LongPanel, columns: tuple[str, str], base_period: int, place: str
) -> Floats:
    """Column of the first period at or after each unit's adoption; infinite where it never adopts."""
    unit, adoption = columns
    if adoption not in table.column_names:
        raise UnknownName("column", adoption, table.column_names, place=place)
    own: dict[Any, Any] = {}
    for label, start in zip(table.column(unit).to_pylist(), table.column(adoption).to_pylist(), strict=True):
        if own.setdefault(label, start) != start:
            raise DataError(
                f"{place}: column {adoption!r} changes within a unit", seen=f"{own[label]} and {start} for {label}"
            )
    first = np.full(len(panel.units), math.inf)
    for i, u in enumerate(panel.units):
        if own[u] is None:
            continue
        try:
            first[i] = sum(t < own[u] for t in panel.times)
        except TypeError:
            raise SpecError(f"{place}: column {adoption!r} must have the type of the times") from None
        if first[i] + base_period < 0:
            raise DataError(
                f"{place}: a unit was not seen in its base period, {-base_period} before adoption",
                seen=f"{u} adopts at {own[u]}, first seen at {panel.times[0]}",
                next_step="leave the unit out, or take an earlier start of the data",
            )
    return first


def _largest_weights(panel: LongPanel, weights: Sequence[float], kept: int = 5) -> tuple[tuple[str, float], ...]:
    order = sorted(range(len(weights)), key=lambda i: -weights[i])[:kept]
    return tuple((f"weight of {panel.units[i]}", float(weights[i])) for i in order if weights[i] > 0)


def _at(panel: LongPanel, column: int | None) -> str:
    return "an earlier, made-up start" if column is None else f"a made-up start at {panel.times[column]}"


def analyse_synthetic_control(
    table: pa.Table,
    outcome: str,
    unit: str,
    time: str,
    *,
    treated_unit: Any,
    first_treated_time: Any,
    level: float = 0.95,
    risk_policy: RiskPolicy = "capped",
) -> CausalAnswer:
    """Compare one treated unit with the weighted average of others that tracked it before.

    Parameters
    ----------
    table
        One row per unit and time.
    outcome, unit, time
        Columns.
    treated_unit
        Label of the treated unit.
    first_treated_time
        Its first treated time, as it stands in the table.
    level, risk_policy
        As in `analyse_difference_in_differences`.

    Returns
    -------
    CausalAnswer
        The placebo is a made-up earlier start; the rank among units, each taken as treated, is a diagnostic.

    Raises
    ------
    UnknownName
        Where a column, the unit or the time does not exist.
    DataError
        Where values are null or not finite, or the panel is not balanced or too small.

    Examples
    --------
    >>> rng = np.random.default_rng(5)
    >>> y = rng.normal(size=(8, 20)).cumsum(axis=1)
    >>> y[0] = (y[1] + y[2]) / 2 + 4.0 * (np.arange(20) >= 15)
    >>> rows = {"y": y.ravel(), "u": np.repeat(list("abcdefgh"), 20), "t": np.tile(np.arange(20), 8)}
    >>> answer = analyse_synthetic_control(pa.table(rows), "y", "u", "t", treated_unit="a", first_treated_time=15)
    >>> round(answer.effect.value, 6), dict(answer.diagnostics)["in-space rank"]
    (4.0, 1.0)
    """
    place = "synthetic control"
    panel = long_panel(table, outcome, unit, time, place)
    row, first = panel.unit_row(treated_unit, place), panel.time_column(first_treated_time, place)
    with told_as_data_error(place):
        found = synthetic_control(panel.outcomes, row, first, level=level)
    placebo = check_null_effect(f"no effect of {_at(panel, found.in_time_start)}", found.in_time)
    return CausalAnswer(
        method="synthetic control",
        effect=found.att,
        assumption=_TWIN,
        placebo=placebo,
        diagnostics=(
            ("RMSPE before", found.pre_rmspe),
            ("in-space rank", float(found.placebo_rank)),
            ("in-space p", found.placebo.p_value),
            ("units", float(len(panel.units))),
            ("KKT residual", found.kkt_residual),
            *_largest_weights(panel, found.weights),
        ),
        cap=risk_cap(risk_policy, placebo, place),
        result=found,
    )


def analyse_synthetic_difference_in_differences(
    table: pa.Table,
    outcome: str,
    unit: str,
    time: str,
    *,
    treated_units: Sequence[Any],
    first_treated_time: Any,
    level: float = 0.95,
    risk_policy: RiskPolicy = "capped",
) -> CausalAnswer:
    """Compare treated units with weighted others, and the treated periods with weighted earlier ones.

    Parameters
    ----------
    table, outcome, unit, time, first_treated_time, level, risk_policy
        As in `analyse_synthetic_control`.
    treated_units
        Labels of the units treated from that time on.

    Returns
    -------
    CausalAnswer

    Raises
    ------
    UnknownName, DataError
        As in `analyse_synthetic_control`.

    Examples
    --------
    >>> rng = np.random.default_rng(5)
    >>> y = rng.normal(size=(12, 1)) * np.arange(24) + rng.normal(size=(12, 24))
    >>> y[0, 16:] += 8.0
    >>> rows = {"y": y.ravel(), "u": np.repeat(np.arange(12), 24), "t": np.tile(np.arange(24), 12)}
    >>> answer = analyse_synthetic_difference_in_differences(
    ...     pa.table(rows), "y", "u", "t", treated_units=[0], first_treated_time=16
    ... )
    >>> answer.effect.low < 8.0 < answer.effect.high
    True
    """
    place = "synthetic difference in differences"
    if isinstance(treated_units, str) or len(treated_units) == 0:
        raise SpecError(f"{place}: treated_units must be a list of at least one unit", seen=repr(treated_units))
    panel = long_panel(table, outcome, unit, time, place)
    rows = [panel.unit_row(u, place) for u in treated_units]
    first = panel.time_column(first_treated_time, place)
    with told_as_data_error(place):
        found = synthetic_difference_in_differences(panel.outcomes, rows, first, level=level)
    placebo = check_null_effect(f"no effect of {_at(panel, found.in_time_start)}", found.in_time)
    return CausalAnswer(
        method="synthetic difference in differences",
        effect=found.att,
        assumption=_WEIGHTED_PARALLEL,
        placebo=placebo,
        diagnostics=(
            ("in-space p", found.placebo.p_value),
            ("zeta", found.zeta),
            ("KKT residual", found.kkt_residual),
            *_largest_weights(panel, found.weights),
        ),
        cap=risk_cap(risk_policy, placebo, place),
        result=found,
    )
