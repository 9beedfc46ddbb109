"""What did the treatment do, when nobody drew lots for it?

Model who was treated (inverse-probability weights), or that and the outcome as well (augmented weights, sound if either
model is right); `jurat.stats.regression_adjustment` models the outcome alone. None of them can see what was not measured:
`e_value` says how strong that would have to be. Effects are treated minus control.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from jurat.stats.mean import Floats
from jurat.stats.propensity import Link, PropensityModel, covariate_matrix, fit_propensity
from jurat.stats.regression_adjustment import (
    CausalData,
    PotentialMean,
    WeightedEffect,
    checked_data,
    effect_of,
    lin_regression_adjustment,
    outcome_model,
    regression_adjustment,
)

__all__ = [
    "EValue",
    "WeightedEffect",
    "augmented_inverse_probability_weighting",
    "e_value",
    "inverse_probability_weighting",
    "lin_regression_adjustment",
    "regression_adjustment",
]


def inverse_probability_weighting(
    outcome: npt.ArrayLike,
    treated: npt.ArrayLike,
    covariates: npt.ArrayLike,
    *,
    link: Link = "logit",
    cluster: npt.ArrayLike | None = None,
    level: float = 0.95,
) -> WeightedEffect:
    """Average effect by weighting each row by the inverse of its chance of being in its arm (Hájek's form).

    Parameters
    ----------
    outcome, treated, covariates, cluster, level
        As in `jurat.stats.regression_adjustment.regression_adjustment`.
    link
        ``"logit"`` or ``"probit"`` model of treatment.

    Returns
    -------
    WeightedEffect

    Raises
    ------
    ValueError
        As in `jurat.stats.regression_adjustment.regression_adjustment` and
        `jurat.stats.propensity.fit_propensity`.

    Notes
    -----
    :math:`\\hat\\mu_1 = \\sum_i t_i y_i/\\hat e_i \\,/\\, \\sum_i t_i/\\hat e_i` and likewise for the controls. The
    standard error counts the estimation of the propensity, which makes it smaller, not larger.

    References
    ----------
    Hájek, J. (1971). Comment on a paper by D. Basu. Lunceford, J. K. and Davidian, M. (2004). Stratification and
    weighting via the propensity score. Statistics in Medicine 23, 2937–2960.

    Examples
    --------
    >>> rng = np.random.default_rng(7)
    >>> x = rng.normal(size=400)
    >>> t = rng.random(400) < 1 / (1 + np.exp(-x))
    >>> found = inverse_probability_weighting(1.0 * t + x + rng.normal(size=400), t, x)
    >>> found.effect.low < 1.0 < found.effect.high
    True
    """
    data = checked_data(outcome, treated, cluster, level)
    model = fit_propensity(data.arms, covariates, link=link)
    design = covariate_matrix(covariates, len(data.y))
    means = []
    for arm in (True, False):
        weight, change = _weights(data, model, arm)
        total = float(weight.mean())
        value = float(weight @ data.y) / (len(data.y) * total)
        residual = (data.y - value) / total
        by_propensity = model.influence @ ((change * residual) @ design / len(data.y))
        means.append(PotentialMean(value, weight * residual + by_propensity))
    return effect_of(data, means[0], means[1], f"IPW, Hájek, {link}", model)


def _weights(data: CausalData, model: PropensityModel, arm: bool) -> tuple[Floats, Floats]:
    """Inverse-probability weights of one arm, and their derivative in the linear index."""
    own = data.arms == arm
    chance = model.propensity if arm else 1.0 - model.propensity
    if float(chance[own].min()) < 1e-12:
        raise ValueError("a row has next to no chance of the arm it is in: there is no overlap to weight by")
    weight = np.where(own, 1.0 / np.where(own, chance, 1.0), 0.0)
    return weight, (-1.0 if arm else 1.0) * weight**2 * model.slope


def augmented_inverse_probability_weighting(
    outcome: npt.ArrayLike,
    treated: npt.ArrayLike,
    propensity_covariates: npt.ArrayLike,
    outcome_covariates: npt.ArrayLike | None = None,
    *,
    link: Link = "logit",
    se: Literal["influence", "stacked"] = "influence",
    cluster: npt.ArrayLike | None = None,
    level: float = 0.95,
) -> WeightedEffect:
    """Average effect from a model of the outcome and one of treatment; right if either of them is.

    Parameters
    ----------
    outcome, treated, cluster, level
        As in `jurat.stats.regression_adjustment.regression_adjustment`.
    propensity_covariates
        Covariates of the model of treatment, shape (n,) or (n, p), without a constant column.
    outcome_covariates
        Covariates of the lines per arm; the same as of the propensity by default.
    link
        ``"logit"`` or ``"probit"`` model of treatment.
    se
        ``"influence"``: from the efficient influence function, as both models are taken to be right. ``"stacked"``:
        counts the estimation of both models, sound where one of them is wrong.

    Returns
    -------
    WeightedEffect

    Raises
    ------
    ValueError
        As in `jurat.stats.regression_adjustment.regression_adjustment` and
        `jurat.stats.propensity.fit_propensity`, or for an unknown ``se``.

    Notes
    -----
    :math:`\\hat\\mu_1 = \\frac1n\\sum_i \\{\\hat m_1(x_i) + t_i (y_i - \\hat m_1(x_i))/\\hat e_i\\}`. ``"influence"`` is the
    sample standard deviation of the influence function over :math:`\\sqrt n`; ``"stacked"`` divides by n throughout.

    References
    ----------
    Robins, J. M., Rotnitzky, A. and Zhao, L. P. (1994). Estimation of regression coefficients when some regressors are
    not always observed. JASA 89, 846–866. Lunceford and Davidian (2004), as in `inverse_probability_weighting`.

    Examples
    --------
    >>> rng = np.random.default_rng(7)
    >>> x = rng.normal(size=400)
    >>> t = rng.random(400) < 1 / (1 + np.exp(-x))
    >>> found = augmented_inverse_probability_weighting(1.0 * t + x + rng.normal(size=400), t, x)
    >>> found.effect.low < 1.0 < found.effect.high
    True
    """
    if se not in ("influence", "stacked"):
        raise ValueError(f"se must be 'influence' or 'stacked', got {se!r}")
    data = checked_data(outcome, treated, cluster, level)
    n = len(data.y)
    model = fit_propensity(data.arms, propensity_covariates, link=link)
    treatment_design = covariate_matrix(propensity_covariates, n, "propensity_covariates")
    same = propensity_covariates if outcome_covariates is None else outcome_covariates
    outcome_design = covariate_matrix(same, n, "outcome_covariates")
    means = []
    for arm in (True, False):
        lines = outcome_model(data, outcome_design, arm)
        weight, change = _weights(data, model, arm)
        residual = data.y - lines.prediction
        each = lines.prediction + weight * residual
        influence = each - each.mean()
        if se == "influence" and cluster is None:
            influence = influence * math.sqrt(n / (n - 1))
        if se == "stacked":
            influence = influence + model.influence @ ((change * residual) @ treatment_design / n)
            influence += lines.influence @ ((1.0 - weight) @ outcome_design / n)
        means.append(PotentialMean(float(each.mean()), influence))
    return effect_of(data, means[0], means[1], f"AIPW, {link}, {se}", model)


@dataclass(frozen=True, slots=True, kw_only=True)
class EValue:
    """How strong an unmeasured confounder would have to be.

    Attributes
    ----------
    point
        Smallest risk ratio that it must have with both treatment and outcome to explain the estimate away.
    bound
        The same for the end of the interval nearest 1: 1 where the interval holds 1, ``None`` where none was given.
    """

    point: float
    bound: float | None


def e_value(risk_ratio: float, low: float | None = None, high: float | None = None) -> EValue:
    """E-value of a risk ratio and of its interval.

    Parameters
    ----------
    risk_ratio
        Estimate, above 0.
    low, high
        Its bounds, where known.

    Returns
    -------
    EValue

    Raises
    ------
    ValueError
        Where a ratio is not positive and finite, or the bounds do not enclose the estimate.

    Notes
    -----
    :math:`RR + \\sqrt{RR(RR - 1)}`, with 1/RR in place of a ratio below 1.

    References
    ----------
    VanderWeele, T. J. and Ding, P. (2017). Sensitivity analysis in observational research: introducing the E-value.
    Annals of Internal Medicine 167, 268–274.

    Examples
    --------
    >>> found = e_value(3.9, 1.8, 8.7)
    >>> round(found.point, 2), round(found.bound, 2)
    (7.26, 3.0)
    """
    for name, x in (("risk_ratio", risk_ratio), ("low", low), ("high", high)):
        if x is not None and not (math.isfinite(x) and x > 0):
            raise ValueError(f"{name} must be a finite ratio above 0, got {x!r}")
    if (low is not None and low > risk_ratio) or (high is not None and high < risk_ratio):
        raise ValueError(f"the bounds must enclose the estimate, got {risk_ratio!r} in [{low!r}, {high!r}]")
    nearest = low if risk_ratio >= 1 else high
    if nearest is None:
        bound = None
    else:
        crosses = nearest <= 1 if risk_ratio >= 1 else nearest >= 1
        bound = 1.0 if crosses else _strength(nearest)
    return EValue(point=_strength(risk_ratio), bound=bound)


def _strength(ratio: float) -> float:
    larger = max(ratio, 1.0 / ratio)
    return larger + math.sqrt(larger * (larger - 1.0))
