"""Do two means or ratios differ, when units are paired or come in clusters?

Differences are first minus second. Every clustered estimator works on per-cluster sums, which is all a query engine has
to return.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from jurat.stats.cluster import check_cluster_sums, chosen_correction
from jurat.stats.mean import (
    Floats,
    clustered_mean_from_sums,
    mean,
    ratio_of_sums,
    t_interval,
    undefined,
)
from jurat.stats.result import Interval

__all__ = [
    "clustered_difference",
    "clustered_paired_difference",
    "difference_of_means",
    "paired_mean",
    "ratio",
    "ratio_of_means",
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
        ``n`` and ``n_clusters`` count the clusters; those with nothing above and below the line are left out, while
        one with a zero denominator alone counts with its numerator.

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
    if x.shape != y.shape:
        raise ValueError(f"numerator and denominator must have one length, got {len(y)} and {len(x)}")
    if np.any(x < 0):
        raise ValueError(f"denominators must not be negative, got {x.min()!r}")
    kept = (x != 0) | (y != 0)
    clusters = int(np.count_nonzero(kept))
    if not np.any(x):
        return undefined("the denominator is zero", level=level, n=clusters, method="delta", n_clusters=clusters)
    # A ratio has no units but its clusters: the sum of the denominators is not a count.
    found = ratio_of_sums(y[kept], x[kept], units=clusters, level=level, side="two-sided", correction=correction)
    return replace(found, method=f"delta, {found.method}")


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
        Units and sums per cluster under each condition, all of shape (clusters,), cluster by cluster. A cluster may
        have units under one condition only.
    level, correction
        As in `jurat.stats.mean.clustered_mean`.

    Returns
    -------
    Interval
        ``n`` counts pairs where every cluster has as many units under both conditions, else the units of both.

    Raises
    ------
    ValueError
        Where shapes differ, a size is negative, a cluster without units has a sum, or the correction is unknown.

    Notes
    -----
    Each cluster's influence is :math:`u_g = (S_{1g} - \\bar y_1 n_{1g})/N_1 - (S_{2g} - \\bar y_2 n_{2g})/N_2`. CR1:
    variance :math:`\\frac{G}{G-1}\\sum u_g^2` and t(G − 1). CR2: each part of :math:`u_g` is divided by
    :math:`\\sqrt{1 - n_{ag}/N_a}` and Satterthwaite's degrees of freedom are taken under independent units, as in a
    regression on the two conditions (Bell and McCaffrey, 2002). With equal sizes this is CR2 of the mean difference.

    References
    ----------
    Miller, E. (2024). Adding error bars to evals, section on paired differences. Bell and McCaffrey (2002).

    Examples
    --------
    >>> print(clustered_paired_difference([3, 2, 4], [6.0, 5.0, 9.0], [3, 2, 4], [3.0, 4.0, 4.0]))
    1 [0.08731, 1.913] 0.95 n=9 clusters=3 CR2, paired
    """
    arms = _two_arms(n_1, total_1, n_2, total_2)
    found = _paired_contrast(arms, (1.0, 1.0), correction)
    return _paired_interval(found, arms, level, "paired")


def ratio_of_means(
    n_1: npt.ArrayLike,
    total_1: npt.ArrayLike,
    n_2: npt.ArrayLike,
    total_2: npt.ArrayLike,
    *,
    level: float = 0.95,
    paired: bool = False,
    correction: str = "auto",
) -> Interval:
    """Ratio of two means, first over second, whose units come in clusters: 1.05 is a lift of 5 %.

    Parameters
    ----------
    n_1, total_1, n_2, total_2
        Units and sums per cluster of each group. Independent groups may differ in length; paired ones stand cluster by
        cluster, as in `clustered_paired_difference`.
    level
        Two-sided coverage.
    paired
        Whether the same clusters stand under both conditions.
    correction
        As in `jurat.stats.mean.clustered_mean`.

    Returns
    -------
    Interval
        On the ratio's scale, with ``se`` that of its logarithm; undefined with a reason unless both means are positive.

    Raises
    ------
    ValueError
        As in `clustered_paired_difference`.

    Notes
    -----
    Delta method on the logarithm: :math:`v = v_1/\\bar y_1^2 + v_2/\\bar y_2^2` for independent groups, with
    Satterthwaite's degrees of freedom; for paired ones the variance of
    :math:`u_{1g}/\\bar y_1 - u_{2g}/\\bar y_2`. The interval is symmetric on the logarithm, so exchanging the groups
    gives its reciprocal.

    References
    ----------
    Deng, A., Knoblich, U. and Lu, J. (2018). Applying the delta method in metric analytics. KDD 2018, 233–242.

    Examples
    --------
    >>> print(ratio_of_means([3, 2, 4], [6.0, 5.0, 9.0], [2, 3, 3], [3.0, 4.0, 4.0]))
    1.616 [1.334, 1.957] 0.95 n=17 clusters=6 CR2, log delta
    """
    first, second = (
        clustered_mean_from_sums(n, total, level=level, correction=correction)
        for n, total in ((n_1, total_1), (n_2, total_2))
    )
    n, clusters = first.n + second.n, (first.n_clusters or 0) + (second.n_clusters or 0)
    m1, m2 = first.value, second.value
    if m1 is None or m2 is None or m1 <= 0 or m2 <= 0:
        reason = first.reason if m1 is None else second.reason if m2 is None else "a ratio needs two positive means"
        return undefined(reason or "there are no units", level=level, n=n, method="log delta", n_clusters=clusters)
    if paired:
        arms = _two_arms(n_1, total_1, n_2, total_2)
        log = _paired_interval(_paired_contrast(arms, (1 / m1, 1 / m2), correction), arms, level, "paired, log delta")
    else:
        parts = [
            replace(x, value=math.log(m), low=None, high=None, se=None if x.se is None else x.se / m)
            for x, m in ((first, m1), (second, m2))
        ]
        kinds = first.method if first.method == second.method else f"{first.method}/{second.method}"
        log = _welch(parts[0], parts[1], level, f"{kinds}, log delta")
    value = m1 / m2
    if log.se is None or log.df is None:
        return replace(log, value=value)
    reach = t_interval(0.0, log.se, log.df, level=level, n=log.n, method=log.method).high or 0.0
    return replace(log, value=value, low=value * math.exp(-reach), high=value * math.exp(reach))


def _two_arms(
    n_1: npt.ArrayLike, total_1: npt.ArrayLike, n_2: npt.ArrayLike, total_2: npt.ArrayLike
) -> tuple[Floats, Floats, Floats, Floats]:
    """Sizes and sums of both conditions, of the clusters that have units under one of them."""
    n1, y1 = _finite("n_1", n_1), _finite("total_1", total_1)
    n2, y2 = _finite("n_2", n_2), _finite("total_2", total_2)
    if not (n1.shape == y1.shape == n2.shape == y2.shape):
        raise ValueError("the four vectors must have one length, cluster by cluster")
    check_cluster_sums(n1, y1)
    check_cluster_sums(n2, y2)
    kept = (n1 > 0) | (n2 > 0)
    return n1[kept], y1[kept], n2[kept], y2[kept]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Contrast:
    """Weighted difference of two means over the same clusters; ``se`` is ``None`` with a reason."""

    value: float | None
    se: float | None = None
    df: float | None = None
    correction: str
    reason: str | None = None


def _paired_contrast(
    arms: tuple[Floats, Floats, Floats, Floats], weights: tuple[float, float], correction: str
) -> _Contrast:
    n1, y1, n2, y2 = arms
    clusters, whole_1, whole_2 = len(n1), float(n1.sum()), float(n2.sum())
    chosen = chosen_correction(correction, clusters)
    if whole_1 == 0 or whole_2 == 0:
        return _Contrast(value=None, correction=chosen, reason="a condition has no units")
    m1, m2 = float(y1.sum()) / whole_1, float(y2.sum()) / whole_2
    value = m1 * weights[0] - m2 * weights[1]
    share_1, share_2 = n1 / whole_1, n2 / whole_2
    influence_1 = weights[0] * (y1 - m1 * n1) / whole_1
    influence_2 = weights[1] * (y2 - m2 * n2) / whole_2
    alone = "one cluster cannot show how clusters vary" if clusters == 1 else None
    if alone is None and chosen == "CR2" and max(share_1.max(), share_2.max()) == 1.0:
        alone = "all units of a condition stand in one cluster, which cannot show how clusters vary"
    if alone is not None:
        return _Contrast(value=value, correction=chosen, reason=alone)
    if chosen == "CR1":
        influence = influence_1 - influence_2
        se = math.sqrt(clusters / (clusters - 1) * float(influence @ influence))
        return _Contrast(value=value, se=se, df=clusters - 1.0, correction=chosen)
    inflate_1, inflate_2 = 1 / np.sqrt(1 - share_1), 1 / np.sqrt(1 - share_2)
    se = float(np.linalg.norm(influence_1 * inflate_1 - influence_2 * inflate_2))
    # As in a regression on the two conditions: B = diag(d) − QQ' with two columns of Q, one a condition.
    scales = (weights[0] / math.sqrt(whole_1), weights[1] / math.sqrt(whole_2))
    Q = np.column_stack([share_1 * inflate_1 * scales[0], -share_2 * inflate_2 * scales[1]])
    d = Q[:, 0] * inflate_1 * scales[0] - Q[:, 1] * inflate_2 * scales[1]
    q = np.sum(Q**2, axis=1)
    trace_of_square = float(np.sum(d * d - 2 * d * q)) + float(np.sum((Q.T @ Q) ** 2))
    return _Contrast(value=value, se=se, df=float((d - q).sum()) ** 2 / trace_of_square, correction=chosen)


def _paired_interval(
    found: _Contrast, arms: tuple[Floats, Floats, Floats, Floats], level: float, method: str
) -> Interval:
    n1, _, n2, _ = arms
    n = int(n1.sum()) if np.array_equal(n1, n2) else int(n1.sum() + n2.sum())
    name = f"{found.correction}, {method}"
    if found.value is None or found.se is None or found.df is None:
        reason = found.reason or "there are no units"
        return undefined(reason, level=level, n=n, method=name, value=found.value, n_clusters=len(n1))
    return t_interval(found.value, found.se, found.df, level=level, n=n, n_clusters=len(n1), method=name)
