"""Means and covariances of per-cluster sums, and every estimator that is a smooth function of them.

Data of any size shrink to one small table per arm: the number of clusters, the mean of each per-cluster sum and their
covariance matrix, centred. A mean over rows, a ratio, a covariate-adjusted difference and the trade-off of two metrics are
all functions of those means; their variance follows by the delta method from the covariances. Rows never enter, so the
clusters are the units of every standard error by construction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from jurat.stats.mean import t_interval
from jurat.stats.result import Interval

__all__ = [
    "Functional", "MomentTable", "Moments", "adjusted_difference", "covariance", "functional_interval", "joint_covariance",
    "ratio_of", "smooth", "variance_and_df",
]  # fmt: skip

Floats = npt.NDArray[np.float64]
Key = tuple[str, str]

_ROUNDING = 1e-13
"""Share of the terms of a covariance below which their sum is rounding: a few hundred units in the last place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """First and second moments of per-cluster sums in one group of independent clusters.

    Attributes
    ----------
    names
        The variables.
    clusters
        Number of clusters, :math:`G`.
    rows
        Rows behind them.
    mean
        Mean of each variable over clusters, shape (variables,).
    covariance
        Sample covariance over clusters (divisor :math:`G - 1`), shape (variables, variables).
    """

    names: tuple[str, ...]
    clusters: int
    rows: int
    mean: Floats
    covariance: Floats

    @classmethod
    def from_clusters(cls, sums: Mapping[str, npt.ArrayLike], *, rows: int | None = None) -> Moments:
        """Compute the moments from per-cluster sums held in memory.

        Parameters
        ----------
        sums
            One vector of shape (clusters,) per variable.
        rows
            Rows behind the sums; the number of clusters by default.

        Raises
        ------
        ValueError
            Where there is no cluster, lengths differ, or a sum is not finite.

        Examples
        --------
        >>> Moments.from_clusters({"s": [1.0, 2.0, 6.0]}).covariance.tolist()
        [[7.0]]
        """
        matrix = np.array([np.asarray(v, dtype=np.float64) for v in sums.values()])
        if matrix.ndim != 2 or matrix.shape[1] == 0 or not np.all(np.isfinite(matrix)):
            raise ValueError(f"need finite vectors of one length, got an array of shape {matrix.shape}")
        count = matrix.shape[1]
        centred = matrix - matrix.mean(axis=1, keepdims=True)
        spread = centred @ centred.T / (count - 1) if count > 1 else np.zeros((len(matrix), len(matrix)))
        return cls(
            names=tuple(sums),
            clusters=count,
            rows=count if rows is None else rows,
            mean=matrix.mean(axis=1),
            covariance=spread,
        )

    def merge(self, other: Moments) -> Moments:
        """Combine the moments of two disjoint sets of clusters by the pairwise update (Chan et al., 1983)."""
        if self.names != other.names:
            raise ValueError(f"the two tables must hold the same variables, got {self.names} and {other.names}")
        a, b = self.clusters, other.clusters
        total = a + b
        delta = other.mean - self.mean
        squares = (a - 1) * self.covariance + (b - 1) * other.covariance + np.outer(delta, delta) * (a * b / total)
        return Moments(
            names=self.names,
            clusters=total,
            rows=self.rows + other.rows,
            mean=self.mean + delta * (b / total),
            covariance=squares / max(total - 1, 1),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MomentTable:
    """The moments of an experiment: one group per arm, or one group in which clusters span the arms.

    Attributes
    ----------
    groups
        Moments by group. In a ``joint`` table the one group's variables are named ``arm/variable``.
    arms
        The arms.
    joint
        Whether a cluster may hold rows of several arms; their covariance is then part of every variance.
    """

    groups: Mapping[str, Moments]
    arms: tuple[str, ...]
    joint: bool = False

    def locate(self, key: Key) -> tuple[str, int]:
        """Group and position of an arm's variable."""
        arm, variable = key
        group, name = ("", f"{arm}/{variable}") if self.joint else (arm, variable)
        return group, self.groups[group].names.index(name)

    def mean(self, arm: str, variable: str) -> float:
        """Mean over clusters of an arm's variable."""
        group, position = self.locate((arm, variable))
        return float(self.groups[group].mean[position])

    def clusters(self, arm: str) -> int:
        """Clusters of an arm (in a joint table: of all arms together)."""
        return self.groups["" if self.joint else arm].clusters


@dataclass(frozen=True, slots=True)
class Functional:
    """A smooth function of the means: its value and its gradient.

    Attributes
    ----------
    value
        At the observed means.
    gradient
        Partial derivative with respect to the mean of each (arm, variable).

    Examples
    --------
    >>> f = Functional(2.0, {("a", "s"): 1.0}) - 3 * Functional(0.5, {("b", "s"): 2.0})
    >>> f.value, f.gradient
    (0.5, {('a', 's'): 1.0, ('b', 's'): -6.0})
    """

    value: float
    gradient: Mapping[Key, float]

    def __add__(self, other: Functional) -> Functional:
        gradient = dict(self.gradient)
        for key, slope in other.gradient.items():
            gradient[key] = gradient.get(key, 0.0) + slope
        return Functional(self.value + other.value, gradient)

    def __rmul__(self, factor: float) -> Functional:
        return Functional(factor * self.value, {key: factor * slope for key, slope in self.gradient.items()})

    def __sub__(self, other: Functional) -> Functional:
        return self + (-1.0) * other


def ratio_of(table: MomentTable, arm: str, numerator: str, denominator: str) -> Functional:
    r"""Ratio of two sums on one arm: a mean over rows where the denominator counts them.

    Parameters
    ----------
    table
        The moments.
    arm, numerator, denominator
        Which sums.

    Raises
    ------
    ZeroDivisionError
        Where the denominator is zero.

    Notes
    -----
    :math:`R = \bar s / \bar d`, with gradient :math:`(1/\bar d, -R/\bar d)`.

    References
    ----------
    Deng, A., Knoblich, U. and Lu, J. (2018). Applying the delta method in metric analytics. KDD 2018.
    """
    above, below = table.mean(arm, numerator), table.mean(arm, denominator)
    if below == 0:
        raise ZeroDivisionError(f"the denominator {denominator} of {arm} is zero")
    value = above / below
    return Functional(value, {(arm, numerator): 1 / below, (arm, denominator): -value / below})


def smooth(table: MomentTable, keys: Sequence[Key], function: Callable[[npt.NDArray[Any]], Any]) -> Functional:
    r"""Take any analytic function of the means as a functional; its gradient is exact to rounding.

    Parameters
    ----------
    table
        The moments.
    keys
        The (arm, variable) whose means the function takes, in order.
    function
        From an array of shape (keys,) to a number, built of arithmetic that works on complex numbers.

    Notes
    -----
    Complex-step derivative: :math:`f'(x) = \mathrm{Im} f(x + ih) / h` with :math:`h = 10^{-30}`, free of cancellation.

    References
    ----------
    Squire, W. and Trapp, G. (1998). Using complex variables to estimate derivatives of real functions. SIAM Review 40.

    Examples
    --------
    >>> m = Moments.from_clusters({"s": [1.0, 3.0], "d": [2.0, 2.0]})
    >>> f = smooth(MomentTable(groups={"a": m}, arms=("a",)), [("a", "s"), ("a", "d")], lambda x: x[0] / x[1])
    >>> f.value, f.gradient
    (1.0, {('a', 's'): 0.5, ('a', 'd'): -0.5})
    """
    means = np.array([table.mean(*key) for key in keys])
    gradient: dict[Key, float] = {}
    for i, key in enumerate(keys):
        stepped = means.astype(np.complex128)
        stepped[i] += 1e-30j
        gradient[key] = gradient.get(key, 0.0) + float(np.imag(function(stepped))) / 1e-30
    return Functional(float(function(means)), gradient)


def covariance(table: MomentTable, first: Functional, second: Functional) -> dict[str, float]:
    """Covariance of two functionals, by group; independent groups add up.

    Raises
    ------
    ValueError
        Where a needed covariance was not computed.
    """
    found: dict[str, float] = {}
    for group, moments in table.groups.items():
        left, right = _weights(table, group, first), _weights(table, group, second)
        rows, columns = np.flatnonzero(left), np.flatnonzero(right)
        if not len(rows) or not len(columns):
            continue
        block = moments.covariance[np.ix_(rows, columns)]
        if np.any(np.isnan(block)):
            raise ValueError(f"a covariance between {first.gradient.keys()} and {second.gradient.keys()} is missing")
        total = float(left[rows] @ block @ right[columns])
        # What the terms leave after cancelling to their last digits is rounding, not spread.
        rounding = _ROUNDING * float(np.abs(left[rows]) @ np.abs(block) @ np.abs(right[columns]))
        found[group] = 0.0 if abs(total) <= rounding else total / moments.clusters
    return found


def _weights(table: MomentTable, group: str, functional: Functional) -> Floats:
    weights = np.zeros(len(table.groups[group].names))
    for key, slope in functional.gradient.items():
        at, position = table.locate(key)
        if at == group:
            weights[position] += slope
    return weights


def variance_and_df(table: MomentTable, functional: Functional) -> tuple[float, float]:
    """Variance of a functional, and its degrees of freedom by Satterthwaite (1946) over the groups.

    Raises
    ------
    ValueError
        Where a group that takes part has a single cluster.
    """
    parts = covariance(table, functional, functional)
    for group in parts:
        if table.groups[group].clusters < 2:
            raise ValueError(f"one cluster cannot show how clusters vary, got 1 in {group or 'the data'}")
    # Rounding can leave a tiny negative where all clusters are alike.
    parts = {group: max(part, 0.0) for group, part in parts.items()}
    total = sum(parts.values())
    if total == 0.0:
        return 0.0, float(sum(table.groups[g].clusters - 1 for g in parts))
    df = total**2 / sum(part**2 / (table.groups[g].clusters - 1) for g, part in parts.items())
    return total, df


def functional_interval(
    table: MomentTable, functional: Functional, *, level: float, n: int, n_clusters: int, method: str
) -> Interval:
    """Interval of a functional: delta method, t with Satterthwaite's degrees of freedom.

    Parameters
    ----------
    table, functional
        What is estimated from what.
    level
        Two-sided coverage.
    n, n_clusters
        Units and clusters, as they will be shown.
    method
        Name of the method.

    Returns
    -------
    Interval
        Without bounds, and with a reason, where a group has one cluster or all clusters are alike.
    """
    try:
        variance, df = variance_and_df(table, functional)
    except ValueError as error:
        return Interval(
            value=functional.value, low=None, high=None, level=level, n=n, n_clusters=n_clusters, method=method,
            reason=str(error),
        )  # fmt: skip
    if variance <= 1e-24 * max(functional.value**2, 1e-300):
        return Interval(
            value=functional.value, low=None, high=None, level=level, n=n, n_clusters=n_clusters, method=method,
            reason="all clusters are alike: the sample shows no spread",
        )  # fmt: skip
    return t_interval(functional.value, math.sqrt(variance), df, level=level, n=n, n_clusters=n_clusters, method=method)


def adjusted_difference(
    table: MomentTable,
    treatment: Functional,
    control: Functional,
    covariates: Sequence[tuple[Functional, Functional]],
) -> tuple[Functional, Floats]:
    r"""Treatment minus control, less what covariates from before the treatment explain (CUPED).

    Parameters
    ----------
    table
        The moments.
    treatment, control
        The metric on the two arms.
    covariates
        Each covariate on the two arms (treatment, control); means or ratios.

    Returns
    -------
    tuple
        The adjusted difference, and the coefficients :math:`\theta`, shape (covariates,).

    Notes
    -----
    :math:`\hat\Delta = \Delta_Y - \theta^\top \Delta_X` with :math:`\theta` from the covariances of the linearised metric
    and covariates, pooled within arms with weights :math:`G_a - 1`. A covariate that does not vary, or repeats others,
    gets no weight (minimum-norm solution).

    References
    ----------
    Deng, A., Xu, Y., Kohavi, R. and Walker, T. (2013). Improving the sensitivity of online controlled experiments by
    utilizing pre-experiment data. WSDM 2013.

    Examples
    --------
    >>> y = Moments.from_clusters({"y": [1.0, 2.0, 3.0, 4.0], "x": [1.0, 2.0, 3.0, 4.5], "n": [1.0] * 4})
    >>> t = MomentTable(groups={"a": y, "b": y}, arms=("a", "b"))
    >>> f = [ratio_of(t, arm, v, "n") for v in "yx" for arm in "ab"]
    >>> effect, theta = adjusted_difference(t, f[0], f[1], [(f[2], f[3])])
    >>> effect.value, round(float(theta[0]), 4)
    (0.0, 0.8598)
    """
    difference = treatment - control
    if not covariates:
        return difference, np.zeros(0)
    arms = [treatment, control]
    by_arm = [[pair[i] for pair in covariates] for i in range(2)]
    size = len(covariates)
    gram, cross = np.zeros((size, size)), np.zeros(size)
    for metric, xs in zip(arms, by_arm, strict=True):
        for i, x in enumerate(xs):
            cross[i] += _pooled(table, x, metric)
            for j in range(size):
                gram[i, j] += _pooled(table, x, xs[j])
    scale = np.sqrt(np.where(np.diag(gram) > 0, np.diag(gram), 1.0))
    theta = np.linalg.lstsq(gram / np.outer(scale, scale), cross / scale, rcond=1e-10)[0] / scale
    for weight, (first, second) in zip(theta, covariates, strict=True):
        difference = difference - float(weight) * (first - second)
    return difference, theta


def _pooled(table: MomentTable, first: Functional, second: Functional) -> float:
    """Within-arm covariance of the linearised values, weighted by degrees of freedom."""
    parts = covariance(table, first, second)
    return sum(part * table.groups[g].clusters * (table.groups[g].clusters - 1) for g, part in parts.items())


def joint_covariance(table: MomentTable, functionals: Sequence[Functional]) -> Floats:
    """Covariance matrix of several functionals, shape (functionals, functionals)."""
    size = len(functionals)
    found = np.zeros((size, size))
    for i in range(size):
        for j in range(i, size):
            found[i, j] = found[j, i] = sum(covariance(table, functionals[i], functionals[j]).values())
        found[i, i] = max(found[i, i], 0.0)
    return found
