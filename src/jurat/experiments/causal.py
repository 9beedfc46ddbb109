"""An effect without a randomised trial, with the assumption it stands on and a test that could have shown it false.

Six methods, one shape of answer: the effect with its interval, the identifying assumption in a sentence, a placebo test
where no effect may show, and a cap on what a claim about risk may say. Comparisons over time with other units stand in
`jurat.experiments.causal_panels`; here are the two without a panel, covariates known before treatment and a series'
own past.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy import stats as sps

from jurat.errors import DataError, SpecError, UnknownName
from jurat.experiments.causal_answer import CausalAnswer, PlaceboCheck, RiskPolicy, check_null_effect, risk_cap
from jurat.experiments.causal_columns import (
    Floats,
    arm_column,
    label_codes,
    label_column,
    matrix,
    number_column,
    told_as_data_error,
)
from jurat.experiments.causal_panels import (
    analyse_difference_in_differences,
    analyse_event_study,
    analyse_synthetic_control,
    analyse_synthetic_difference_in_differences,
)
from jurat.stats.local_level import intervention_effect
from jurat.stats.propensity import Link
from jurat.stats.weighting import (
    EValue,
    WeightedEffect,
    augmented_inverse_probability_weighting,
    e_value,
    inverse_probability_weighting,
    regression_adjustment,
)

__all__ = [
    "CausalAnswer",
    "PlaceboCheck",
    "analyse_difference_in_differences",
    "analyse_event_study",
    "analyse_local_level",
    "analyse_synthetic_control",
    "analyse_synthetic_difference_in_differences",
    "analyse_weighting",
]

Estimator = Literal["aipw", "ipw", "regression"]
_NAMES = {
    "aipw": "augmented inverse-probability weighting",
    "ipw": "inverse-probability weighting",
    "regression": "regression adjustment",
}

_IGNORABLE = (
    "Given the covariates, who was treated has nothing to do with how they would have fared, and everyone had a chance of "
    "either arm."
)
_CONTINUES = (
    "Without the intervention the series would have gone on as it moved before, in its level and its relation to the "
    "controls, which the intervention did not touch; and nothing else happened at the same time."
)


def analyse_weighting(
    table: pa.Table,
    outcome: str,
    treated: str,
    covariates: Sequence[str],
    *,
    estimator: Estimator = "aipw",
    link: Link = "logit",
    placebo_outcome: str | None = None,
    cluster: str | None = None,
    level: float = 0.95,
    risk_policy: RiskPolicy = "capped",
) -> CausalAnswer:
    """Compare treated and untreated at equal covariates.

    Parameters
    ----------
    table
        One row per unit.
    outcome, treated
        Columns: the outcome, and whether the unit was treated.
    covariates
        Columns known before treatment; text is taken as categories.
    estimator
        ``"aipw"`` (both models, with the standard error that holds where one is wrong), ``"ipw"`` or ``"regression"``.
    link
        ``"logit"`` or ``"probit"`` model of treatment.
    placebo_outcome
        Column that the treatment cannot have moved, as it was measured before; not one of the covariates.
    cluster
        Column of what is independent; rows where it is ``None``.
    level, risk_policy
        As in `analyse_difference_in_differences`.

    Returns
    -------
    CausalAnswer
        With overlap and E-value among the diagnostics.

    Raises
    ------
    UnknownName
        Where a column does not exist.
    DataError
        Where values are null or not finite, an arm is missing, or the covariates separate the arms.
    SpecError
        Where a column is of the wrong type, or the estimator is unknown.

    Examples
    --------
    >>> rng = np.random.default_rng(7)
    >>> x = rng.normal(size=400)
    >>> t = rng.random(400) < 1 / (1 + np.exp(-x))
    >>> rows = {"x": x, "t": t, "y": 1.0 * t + x + rng.normal(size=400), "before": x + rng.normal(size=400)}
    >>> answer = analyse_weighting(pa.table(rows), "y", "t", ["x"], placebo_outcome="before")
    >>> answer.effect.low < 1.0 < answer.effect.high, answer.placebo.passes
    (True, True)
    """
    place = "weighting"
    if estimator not in _NAMES:
        raise SpecError(f"{place}: estimator must be 'aipw', 'ipw' or 'regression'", seen=repr(estimator))
    taken = {outcome, treated, *([placebo_outcome] if placebo_outcome else [])} & set(covariates)
    if taken:
        raise SpecError(
            f"{place}: outcome, treatment and placebo outcome cannot be covariates", seen=", ".join(sorted(taken))
        )
    arms, x = arm_column(table, treated, place), matrix(table, covariates, place)
    clusters = None if cluster is None else label_codes(label_column(table, cluster, place))

    def estimate(y: Floats) -> WeightedEffect:
        with told_as_data_error(place):
            if estimator == "ipw":
                return inverse_probability_weighting(y, arms, x, link=link, cluster=clusters, level=level)
            if estimator == "regression":
                return regression_adjustment(y, arms, x, cluster=clusters, level=level)
            return augmented_inverse_probability_weighting(
                y, arms, x, link=link, se="stacked", cluster=clusters, level=level
            )

    y = number_column(table, outcome, place)
    found = estimate(y)
    if placebo_outcome is None:
        reason = "no outcome from before the treatment was given"
        placebo = PlaceboCheck(test="no effect on an earlier outcome", passes=None, reason=reason)
    else:
        earlier = estimate(number_column(table, placebo_outcome, place)).effect
        placebo = check_null_effect(f"no effect on {placebo_outcome}, measured before", earlier)
    return CausalAnswer(
        method=_NAMES[estimator],
        effect=found.effect,
        assumption=_IGNORABLE,
        placebo=placebo,
        diagnostics=_weighting_diagnostics(found, y, arms),
        cap=risk_cap(risk_policy, placebo, place),
        result=found,
    )


def _weighting_diagnostics(
    found: WeightedEffect, y: Floats, arms: npt.NDArray[np.bool_]
) -> tuple[tuple[str, float | str | None], ...]:
    raw = float(y[arms].mean() - y[~arms].mean())
    rows: list[tuple[str, float | str | None]] = [
        ("unadjusted difference", raw),
        ("mean if all treated", found.treated_mean.value),
        ("mean if none treated", found.control_mean.value),
    ]
    strength = _e_value(found, y)
    rows.append(("E-value", None if strength is None else strength.point))
    rows.append(("E-value of the bound", None if strength is None else strength.bound))
    if found.overlap is not None:
        overlap = found.overlap
        rows += [
            ("effective treated rows", overlap.effective_treated),
            ("effective control rows", overlap.effective_control),
            (f"share with a propensity outside [{overlap.floor:g}, {1 - overlap.floor:g}]", overlap.share_outside),
            ("smallest propensity", overlap.smallest),
            ("largest propensity", overlap.largest),
        ]
    return tuple(rows)


def _e_value(found: WeightedEffect, y: Floats) -> EValue | None:
    """E-value of the ratio of means for yes/no outcomes, else of exp(0.91 d) (VanderWeele and Ding, 2017)."""
    effect, one, zero = found.effect, found.treated_mean, found.control_mean
    if effect.value is None or effect.se is None or effect.df is None:
        return None
    quantile = float(sps.t.isf((1 - effect.level) / 2, effect.df))
    if np.all((y == 0) | (y == 1)):
        if one.value is None or zero.value is None or one.value <= 0 or zero.value <= 0:
            return None
        if one.se is None or zero.se is None:
            return None
        centre = math.log(one.value / zero.value)
        # The covariance of the two means follows from the three standard errors.
        shared = (one.se**2 + zero.se**2 - effect.se**2) / 2
        variance = one.se**2 / one.value**2 + zero.se**2 / zero.value**2 - 2 * shared / (one.value * zero.value)
        spread = quantile * math.sqrt(max(variance, 0.0))
    else:
        deviation = float(y.std(ddof=1))
        centre, spread = 0.91 * effect.value / deviation, 0.91 * quantile * effect.se / deviation
    if abs(centre) + spread > 300:
        return None
    return e_value(math.exp(centre), math.exp(centre - spread), math.exp(centre + spread))


def analyse_local_level(
    table: pa.Table,
    outcome: str,
    time: str,
    *,
    first_treated_time: Any,
    controls: Sequence[str] = (),
    level: float = 0.95,
    risk_policy: RiskPolicy = "capped",
) -> CausalAnswer:
    """Compare one series with the forecast from its own past, and from series that were not touched.

    Parameters
    ----------
    table
        One row per time, in any order; times are numbers or dates at equal distances.
    outcome, time
        Columns.
    first_treated_time
        First treated time, as it stands in the table.
    controls
        Columns of series that the intervention did not touch.
    level, risk_policy
        As in `analyse_difference_in_differences`.

    Returns
    -------
    CausalAnswer
        ``effect`` is the mean effect per treated period; the placebo is a made-up earlier start.

    Raises
    ------
    UnknownName
        Where a column or the time does not exist.
    DataError
        Where values are null or not finite, a time occurs twice or is left out, or too few come before.

    Examples
    --------
    >>> rng = np.random.default_rng(4)
    >>> y = rng.normal(0, 1, 80) + 3.0 * (np.arange(80) >= 60)
    >>> answer = analyse_local_level(pa.table({"y": y, "day": np.arange(80)}), "y", "day", first_treated_time=60)
    >>> answer.effect.low < 3.0 < answer.effect.high, answer.placebo.passes
    (True, True)
    """
    place = "local level"
    labels = label_column(table, time, place)
    order = np.array(sorted(range(len(labels)), key=lambda i: labels[i]))
    times = labels[order].tolist()
    _check_spacing(times, place)
    if first_treated_time not in times:
        raise UnknownName("time", str(first_treated_time), [str(t) for t in times], place=place)
    y = number_column(table, outcome, place)[order]
    x = matrix(table, controls, place)[order] if controls else None
    first = times.index(first_treated_time)
    with told_as_data_error(place):
        found = intervention_effect(y, first, controls=x, level=level)
    at = found.in_time_start
    start = "an earlier, made-up start" if at is None else f"a made-up start at {times[at]}"
    placebo = check_null_effect(f"no effect of {start}", found.in_time)
    return CausalAnswer(
        method="local-level forecast",
        effect=found.average,
        assumption=_CONTINUES,
        placebo=placebo,
        diagnostics=(
            ("sum of effects", found.total.value),
            ("observation variance", found.fit.observation_variance),
            ("level variance", found.fit.level_variance),
            ("periods before", float(first)),
            ("periods after", float(len(y) - first)),
            *((f"coefficient of {c}", b) for c, b in zip(controls, found.fit.coefficients, strict=True)),
        ),
        cap=risk_cap(risk_policy, placebo, place),
        result=found,
    )


def _check_spacing(times: list[Any], place: str) -> None:
    """Refuse times that occur twice or leave a gap; months may differ in length."""
    try:
        gaps = [b - a for a, b in pairwise(times)]
    except TypeError:
        raise SpecError(f"{place}: times must be numbers or dates", seen=type(times[0]).__name__) from None
    lengths = [g.total_seconds() if isinstance(g, datetime.timedelta) else float(g) for g in gaps]
    if not lengths:
        raise DataError(f"{place}: one time is no series")
    if min(lengths) <= 0:
        raise DataError(f"{place}: a time occurs twice", seen=str(times[int(np.argmin(lengths))]))
    if max(lengths) > 1.2 * min(lengths):
        i = int(np.argmax(lengths))
        raise DataError(
            f"{place}: times must be equally spaced", seen=f"a gap between {times[i]} and {times[i + 1]}",
            next_step="fill in the times that are left out",
        )  # fmt: skip
