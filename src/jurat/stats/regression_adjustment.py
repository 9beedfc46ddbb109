"""What did the treatment do, at equal covariates?

One least-squares line per arm, read off at everybody's covariates: for data without randomisation
(`regression_adjustment`), and for an experiment whose covariates should sharpen the answer (`lin_regression_adjustment`).
What the weighted estimators share, checked data and intervals from influence values, stands here as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from jurat.stats.cluster import chosen_correction
from jurat.stats.mean import Floats, cluster_codes, cluster_robust_ols, t_interval, undefined
from jurat.stats.propensity import Overlap, PropensityModel, binary_arms, covariate_matrix, overlap_summary
from jurat.stats.result import Interval

__all__ = [
    "CausalData",
    "OutcomeModel",
    "PotentialMean",
    "WeightedEffect",
    "checked_data",
    "effect_of",
    "lin_regression_adjustment",
    "outcome_model",
    "regression_adjustment",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedEffect:
    """The average effect over all rows, and the two means it is the difference of.

    Attributes
    ----------
    effect
        Mean outcome were all treated, less were none treated.
    treated_mean, control_mean
        The two means.
    overlap
        Where the arms overlap; ``None`` for regression adjustment, which has no propensity.
    propensity
        The model of treatment; ``None`` for regression adjustment.
    """

    effect: Interval
    treated_mean: Interval
    control_mean: Interval
    overlap: Overlap | None = None
    propensity: PropensityModel | None = None


@dataclass(frozen=True, slots=True)
class CausalData:
    """Checked input."""

    y: Floats
    arms: npt.NDArray[np.bool_]
    cluster: npt.ArrayLike | None
    level: float


@dataclass(frozen=True, slots=True)
class PotentialMean:
    """A potential-outcome mean and each row's influence on it."""

    value: float
    influence: Floats


def checked_data(
    outcome: npt.ArrayLike, treated: npt.ArrayLike, cluster: npt.ArrayLike | None, level: float
) -> CausalData:
    """Check outcome, arms and level; clusters are checked where they are used."""
    y = np.asarray(outcome, dtype=np.float64)
    if y.ndim != 1 or not np.all(np.isfinite(y)):
        raise ValueError(f"outcome must be a finite vector, got shape {y.shape}")
    if not 0 < level < 1:
        raise ValueError(f"level must lie in (0, 1), got {level!r}")
    return CausalData(y, binary_arms(treated, len(y)), cluster, level)


def _interval(data: CausalData, mean: PotentialMean, method: str, arms: tuple[bool, ...] = (True, False)) -> Interval:
    """Lay a t interval from influence values, summed by cluster where there are clusters.

    Degrees of freedom are those of the arm with fewer independent units: a million controls do not tell how five
    treated rows vary.
    """
    n, clusters = len(data.y), None
    scale, summed = 1.0, mean.influence
    counts = [int(np.count_nonzero(data.arms == a)) for a in arms]
    if data.cluster is not None:
        codes = cluster_codes(data.cluster)
        if len(codes) != n:
            raise ValueError(f"cluster must have length {n}, got {len(codes)}")
        counts = [len(np.unique(codes[data.arms == a])) for a in arms]
        present = np.bincount(codes) > 0
        clusters = int(present.sum())
        summed = np.asarray(np.bincount(codes, weights=mean.influence)[present], dtype=np.float64)
        scale = clusters / max(clusters - 1, 1)
    units = "row" if clusters is None else "cluster"
    if min(counts) < 2:
        reason = f"an arm of one {units} cannot show how {units}s vary"
        return undefined(reason, level=data.level, n=n, method=method, value=mean.value, n_clusters=clusters)
    se = math.sqrt(scale * float(summed @ summed)) / n
    if se <= 1e-13 * float(np.abs(data.y).max()):
        reason = "the outcome does not vary beyond what the model explains"
        return undefined(reason, level=data.level, n=n, method=method, value=mean.value, n_clusters=clusters)
    return t_interval(mean.value, se, min(counts) - 1.0, level=data.level, n=n, n_clusters=clusters, method=method)


def effect_of(
    data: CausalData, one: PotentialMean, zero: PotentialMean, method: str, model: PropensityModel | None = None
) -> WeightedEffect:
    """Take the difference of two potential-outcome means, with all three intervals."""
    difference = PotentialMean(one.value - zero.value, one.influence - zero.influence)
    return WeightedEffect(
        effect=_interval(data, difference, method),
        treated_mean=_interval(data, one, method, (True,)),
        control_mean=_interval(data, zero, method, (False,)),
        overlap=None if model is None else overlap_summary(model.propensity, data.arms),
        propensity=model,
    )


@dataclass(frozen=True, slots=True)
class OutcomeModel:
    """Least squares within one arm: predictions for all rows, and each row's influence on the coefficients."""

    prediction: Floats
    influence: Floats


def outcome_model(data: CausalData, design: Floats, arm: bool) -> OutcomeModel:
    """Fit one arm's line, and predict every row by it."""
    own = data.arms == arm
    rows, columns = int(own.sum()), design.shape[1]
    name = "treated" if arm else "control"
    if rows <= columns:
        raise ValueError(f"the {name} arm has {rows} rows for {columns} coefficients: leave out covariates")
    beta, _, rank, _ = np.linalg.lstsq(design[own], data.y[own], rcond=None)
    if rank < columns:
        raise ValueError(f"in the {name} arm a covariate is determined by the others: drop it")
    prediction = design @ beta
    scores = np.where(own, data.y - prediction, 0.0)[:, None] * design
    gram = design[own].T @ design[own]
    return OutcomeModel(prediction, len(data.y) * np.linalg.solve(gram, scores.T).T)


def regression_adjustment(
    outcome: npt.ArrayLike,
    treated: npt.ArrayLike,
    covariates: npt.ArrayLike,
    *,
    cluster: npt.ArrayLike | None = None,
    level: float = 0.95,
) -> WeightedEffect:
    """Average effect from one least-squares line per arm, read off at everybody's covariates.

    Parameters
    ----------
    outcome
        Shape (n,), finite.
    treated
        0 or 1 (or booleans), shape (n,).
    covariates
        Known before treatment, shape (n,) or (n, p), without a constant column.
    cluster
        Labels of independent clusters, shape (n,); rows are independent where it is ``None``.
    level
        Two-sided coverage.

    Returns
    -------
    WeightedEffect
        Without overlap: a line extrapolates in silence, so look at `overlap_summary` as well.

    Raises
    ------
    ValueError
        Where shapes differ, a value is not finite, an arm is empty or has no more rows than coefficients.

    Notes
    -----
    :math:`\\hat\\mu_a = \\bar x'\\hat\\beta_a`; the variance stacks the mean over rows with both arms' normal equations.

    References
    ----------
    Wooldridge, J. M. (2010). Econometric Analysis of Cross Section and Panel Data, 2nd ed., section 21.3.

    Examples
    --------
    >>> print(regression_adjustment([1, 2, 4, 3, 5, 7], [0, 0, 0, 1, 1, 1], [1, 2, 3, 1, 2, 4]).effect)
    2.202 [1.125, 3.28] 0.95 n=6 regression adjustment
    """
    data = checked_data(outcome, treated, cluster, level)
    design = covariate_matrix(covariates, len(data.y))
    means = []
    for arm in (True, False):
        model = outcome_model(data, design, arm)
        value = float(model.prediction.mean())
        means.append(PotentialMean(value, model.prediction - value + model.influence @ design.mean(axis=0)))
    return effect_of(data, means[0], means[1], "regression adjustment")


def lin_regression_adjustment(
    outcome: npt.ArrayLike,
    treated: npt.ArrayLike,
    covariates: npt.ArrayLike,
    *,
    cluster: npt.ArrayLike | None = None,
    level: float = 0.95,
) -> Interval:
    """Effect of a randomised treatment, adjusted by covariates that may work differently in each arm.

    Parameters
    ----------
    outcome, treated, covariates, cluster, level
        As in `regression_adjustment`.

    Returns
    -------
    Interval
        Coefficient of treatment with the HC2 standard error and Bell and McCaffrey's degrees of freedom; with clusters,
        CR1 from 40 clusters on and CR2 below.

    Raises
    ------
    ValueError
        As in `jurat.stats.mean.cluster_robust_ols`.

    Notes
    -----
    Least squares of y on 1, t, :math:`x - \\bar x` and :math:`t(x - \\bar x)`. HC2 is CR2 with each row as its cluster.

    References
    ----------
    Lin, W. (2013). Agnostic notes on regression adjustments to experimental data. Annals of Applied Statistics 7,
    295–318.

    Examples
    --------
    >>> print(lin_regression_adjustment([1, 2, 4, 3, 5, 7], [0, 0, 0, 1, 1, 1], [1, 2, 3, 1, 2, 4]))
    2.202 [0.5093, 3.896] 0.95 n=6 Lin, HC2
    """
    data = checked_data(outcome, treated, cluster, level)
    design = covariate_matrix(covariates, len(data.y))
    t, centred = data.arms.astype(np.float64), design[:, 1:] - design[:, 1:].mean(axis=0)
    full = np.column_stack([np.ones(len(t)), t, centred, t[:, None] * centred])
    if cluster is None:
        found = cluster_robust_ols(full, data.y, np.arange(len(t)), correction="CR2").interval(1, level=level)
        return replace(found, n_clusters=None, method="Lin, HC2")
    codes = cluster_codes(cluster)
    chosen = chosen_correction("auto", int(np.count_nonzero(np.bincount(codes))))
    correction: Literal["CR1", "CR2"] = "CR1" if chosen == "CR1" else "CR2"
    found = cluster_robust_ols(full, data.y, codes, correction=correction).interval(1, level=level)
    return replace(found, method=f"Lin, {chosen}")
