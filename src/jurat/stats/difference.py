"""Do two means or ratios differ, when units are paired or come in clusters?

Differences are first minus second. Every clustered estimator works on per-cluster sums, which is all a query engine has
to return.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from jurat.stats.mean import Floats, clustered_mean_from_sums, mean, t_interval, undefined
from jurat.stats.result import Interval

__all__ = [
    "clustered_difference",
    "clustered_paired_difference",
    "difference_of_means",
    "paired_mean",
    "ratio",
]


def _finite(name: str, values: npt.ArrayLike) -> Floats:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or not np.all(np.isfinite(x)):
        raise ValueError(f"{name} must be a finite vector, got shape {x.shape}")
    return x


def difference_of_means(first: npt.ArrayLike, second: npt.ArrayLike, *, level: float = 0.95) -> Interval:
    """Difference of the means of two independent groups with Welch's interval.

    Parameters
    ----------
    first, second
        Values of the groups, shapes (n1,) and (n2,).
    level
        Two-sided coverage.

    References
    ----------
    Welch, B. L. (1947). Biometrika 34, 28–35.

    Examples
    --------
    >>> print(difference_of_means([5.0, 7.0, 6.0, 8.0], [4.0, 5.0, 4.0, 3.0]))
    2.5 [0.5447, 4.455] 0.95 n=8 Welch
    """
    return _welch(mean(first, level=level), mean(second, level=level), level, "Welch")


def _welch(a: Interval, b: Interval, level: float, method: str) -> Interval:
    """Combine two independent estimates by Satterthwaite's degrees of freedom."""
    n = a.n + b.n
    clusters = None if a.n_clusters is None or b.n_clusters is None else a.n_clusters + b.n_clusters
    if a.value is None or b.value is None:
        reason = a.reason or b.reason or "a group is empty"
        return undefined(reason, level=level, n=n, method=method, n_clusters=clusters)
    value = a.value - b.value
    if a.se is None or b.se is None or a.df is None or b.df is None:
        reason = a.reason or b.reason or "a group shows no spread"
        return undefined(reason, level=level, n=n, method=method, value=value, n_clusters=clusters)
    v1, v2 = a.se**2, b.se**2
    se = math.sqrt(v1 + v2)
    df = a.df + b.df if se == 0 else (v1 + v2) ** 2 / (v1**2 / a.df + v2**2 / b.df)
    return t_interval(value, se, df, level=level, n=n, n_clusters=clusters, method=method)


def paired_mean(first: npt.ArrayLike, second: npt.ArrayLike, *, level: float = 0.95) -> Interval:
    """Mean difference of the same units under two conditions, with the paired t interval.

    Parameters
    ----------
    first, second
        Values of each unit under the conditions, both of shape (n,).
    level
        Two-sided coverage.

    Raises
    ------
    ValueError
        Where the lengths differ.

    References
    ----------
    Student (1908). The probable error of a mean. Biometrika 6, 1–25.

    Examples
    --------
    >>> print(paired_mean([5.0, 7.0, 6.0, 8.0], [4.0, 5.0, 6.0, 5.0]))
    1.5 [-0.5543, 3.554] 0.95 n=4 paired t
    """
    x, y = _finite("first", first), _finite("second", second)
    if x.shape != y.shape:
        raise ValueError(f"paired values must have one length, got {len(x)} and {len(y)}")
    found = mean(x - y, level=level)
    if found.se is None or found.df is None or found.value is None:
        reason = found.reason or "there are no pairs"
        return undefined(reason, level=level, n=found.n, method="paired t", value=found.value)
    return t_interval(found.value, found.se, found.df, level=level, n=found.n, method="paired t")


def clustered_difference(
    n_1: npt.ArrayLike,
    total_1: npt.ArrayLike,
    n_2: npt.ArrayLike,
    total_2: npt.ArrayLike,
    *,
    level: float = 0.95,
    correction: str = "auto",
) -> Interval:
    """Difference of the means of two independent groups whose units come in clusters.

    Parameters
    ----------
    n_1, total_1, n_2, total_2
        Units and sums per cluster of each group; no cluster stands in both.
    level
        Two-sided coverage.
    correction
        As in `jurat.stats.mean.clustered_mean`, chosen for each group.

    Notes
    -----
    The groups' cluster-robust variances add; degrees of freedom by Satterthwaite (1946).

    Examples
    --------
    >>> print(clustered_difference([3, 2, 4], [6.0, 5.0, 9.0], [2, 3, 3], [3.0, 4.0, 4.0]))
    0.8472 [0.3893, 1.305] 0.95 n=17 clusters=6 CR2, Welch–Satterthwaite
    """
    a = clustered_mean_from_sums(n_1, total_1, level=level, correction=correction)
    b = clustered_mean_from_sums(n_2, total_2, level=level, correction=correction)
    kinds = a.method if a.method == b.method else f"{a.method}/{b.method}"
    return _welch(a, b, level, f"{kinds}, Welch–Satterthwaite")


def ratio(
    numerator: npt.ArrayLike, denominator: npt.ArrayLike, *, level: float = 0.95, correction: str = "auto"
) -> Interval:
    """Ratio of two sums over clusters by the delta method.

    Parameters
    ----------
    numerator, denominator
        Sums per independent unit or cluster, both of shape (clusters,); denominators at least 0.
    level, correction
        As in `jurat.stats.mean.clustered_mean`.

    Returns
    -------
    Interval
        ``n`` and ``n_clusters`` count the clusters.

    Raises
    ------
    ValueError
        Where shapes differ or a denominator is negative.

    Notes
    -----
    Linearised, the ratio is the mean of the numerator per unit of the denominator with the denominators as cluster
    sizes: :math:`\\operatorname{se} = \\sqrt{\\tfrac{G}{G-1} \\sum_g (y_g - R x_g)^2} / \\sum_g x_g`.

    References
    ----------
    Cochran, W. G. (1977). Sampling Techniques, 3rd ed., section 6.3. Deng, A. et al. (2018). KDD (delta method).

    Examples
    --------
    >>> r = ratio([3, 0, 5, 2, 7, 1, 4, 6], [10, 4, 12, 9, 15, 5, 11, 14], correction="CR1")
    >>> r.value, round(r.se, 10)
    (0.35, 0.040155946)
    """
    y, x = _finite("numerator", numerator), _finite("denominator", denominator)
    if np.any(x < 0):
        raise ValueError(f"denominators must not be negative, got {x.min()!r}")
    clusters = int(np.count_nonzero(x))
    if clusters == 0:
        return undefined("the denominator is zero", level=level, n=0, method="delta", n_clusters=0)
    found = clustered_mean_from_sums(x, y, level=level, correction=correction)
    # A ratio has no units but its clusters: the sum of the denominators is not a count.
    return Interval(
        value=found.value,
        low=found.low,
        high=found.high,
        level=level,
        n=clusters,
        n_clusters=clusters,
        method=f"delta, {found.method}",
        se=found.se,
        df=found.df,
        reason=found.reason,
    )


def clustered_paired_difference(
    n_1: npt.ArrayLike,
    total_1: npt.ArrayLike,
    n_2: npt.ArrayLike,
    total_2: npt.ArrayLike,
    *,
    level: float = 0.95,
    correction: str = "auto",
) -> Interval:
    """Difference of two means where the same clusters stand under both conditions.

    Parameters
    ----------
    n_1, total_1, n_2, total_2
        Units and sums per cluster under each condition, all of shape (clusters,), cluster by cluster.
    level, correction
        As in `jurat.stats.mean.clustered_mean`.

    Notes
    -----
    Each cluster's influence is :math:`u_g = (S_{1g} - \\bar y_1 n_{1g})/N_1 - (S_{2g} - \\bar y_2 n_{2g})/N_2`; the
    variance is :math:`\\frac{G}{G-1}\\sum u_g^2` with t(G − 1). Where both conditions have the same cluster sizes, the
    paired differences are one clustered mean, and CR2 applies below 40 clusters.

    References
    ----------
    Miller, E. (2024). Adding error bars to evals, section on paired differences. Bell and McCaffrey (2002).

    Examples
    --------
    >>> print(clustered_paired_difference([3, 2, 4], [6.0, 5.0, 9.0], [3, 2, 4], [3.0, 4.0, 4.0]))
    1 [0.08731, 1.913] 0.95 n=9 clusters=3 CR2, paired
    """
    n1, y1 = _finite("n_1", n_1), _finite("total_1", total_1)
    n2, y2 = _finite("n_2", n_2), _finite("total_2", total_2)
    if not (n1.shape == y1.shape == n2.shape == y2.shape):
        raise ValueError("the four vectors must have one length, cluster by cluster")
    if np.array_equal(n1, n2):
        found = clustered_mean_from_sums(n1, y1 - y2, level=level, correction=correction)
        method = f"{found.method}, paired"
        if found.value is None or found.se is None or found.df is None:
            reason = found.reason or "there are no units"
            return undefined(
                reason, level=level, n=found.n, method=method, value=found.value, n_clusters=found.n_clusters
            )
        return t_interval(
            found.value, found.se, found.df, level=level, n=found.n, n_clusters=found.n_clusters, method=method
        )
    total_1_n, total_2_n, clusters = float(n1.sum()), float(n2.sum()), len(n1)
    method = "CR1, paired"
    if total_1_n == 0 or total_2_n == 0:
        return undefined("a condition has no units", level=level, n=int(total_1_n + total_2_n), method=method)
    m1, m2 = y1.sum() / total_1_n, y2.sum() / total_2_n
    value = float(m1 - m2)
    if clusters < 2:
        reason = "one cluster cannot show how clusters vary"
        return undefined(reason, level=level, n=int(total_1_n), method=method, value=value, n_clusters=clusters)
    influence = (y1 - m1 * n1) / total_1_n - (y2 - m2 * n2) / total_2_n
    se = math.sqrt(clusters / (clusters - 1) * float(influence @ influence))
    return t_interval(value, se, clusters - 1.0, level=level, n=int(total_1_n), n_clusters=clusters, method=method)
