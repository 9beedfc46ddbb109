"""What do clusters and erring annotators cost in sample size?

Rows of one cluster repeat each other; labels that are sometimes wrong blur a difference. Both are known before the
experiment and belong into its size.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import stats as sps

from jurat.stats.interval import tail_probability
from jurat.stats.mean import cluster_codes, undefined
from jurat.stats.result import Interval

__all__ = ["accuracy_from_agreement", "design_effect", "intraclass_correlation", "read_through_annotators"]


def design_effect(mean_cluster_size: float, icc: float, *, size_cv: float = 0.0) -> float:
    r"""Factor by which clusters inflate the variance of a mean over rows.

    Parameters
    ----------
    mean_cluster_size
        Mean rows per cluster, at least 1.
    icc
        Intraclass correlation within a cluster, in [0, 1].
    size_cv
        Coefficient of variation of the cluster sizes, at least 0.

    Raises
    ------
    ValueError
        For values that cannot be.

    Notes
    -----
    :math:`1 + ((1 + CV^2) m - 1) \rho`.

    References
    ----------
    Eldridge, S. M., Ashby, D. and Kerry, S. (2006). Sample size for cluster randomized trials: effect of coefficient of
    variation of cluster size and analysis method. International Journal of Epidemiology 35, 1292–1300.

    Examples
    --------
    >>> design_effect(8, 0.1), design_effect(8, 0.1, size_cv=1.0)
    (1.7000000000000002, 2.5)
    """
    if not (math.isfinite(mean_cluster_size) and mean_cluster_size >= 1):
        raise ValueError(f"the mean cluster size must be at least 1, got {mean_cluster_size!r}")
    if not 0 <= icc <= 1:
        raise ValueError(f"the intraclass correlation must lie in [0, 1], got {icc!r}")
    if not (math.isfinite(size_cv) and size_cv >= 0):
        raise ValueError(f"the coefficient of variation must be at least 0, got {size_cv!r}")
    return 1 + ((1 + size_cv**2) * mean_cluster_size - 1) * icc


def read_through_annotators(p: float, accuracy: float) -> float:
    r"""Share that annotators report of a true share, each label right with the same probability.

    Parameters
    ----------
    p
        True share, in [0, 1].
    accuracy
        Probability that a label is right, in (0.5, 1].

    Raises
    ------
    ValueError
        For values that cannot be, or labels no better than a coin.

    Notes
    -----
    :math:`p' = p a + (1 - p)(1 - a)`; a difference shrinks by :math:`2a - 1`.

    References
    ----------
    Bross, I. (1954). Misclassification in 2 × 2 tables. Biometrics 10, 478–486.

    Examples
    --------
    >>> round(read_through_annotators(0.52, 0.9), 3)
    0.516
    """
    if not 0 <= p <= 1:
        raise ValueError(f"a share must lie in [0, 1], got {p!r}")
    if not 0.5 < accuracy <= 1:
        raise ValueError(f"the accuracy must lie in (0.5, 1], got {accuracy!r}")
    return p * accuracy + (1 - p) * (1 - accuracy)


def accuracy_from_agreement(agreement: Interval) -> Interval:
    r"""Accuracy of two equally good annotators of a yes/no question, from how often they agree.

    Parameters
    ----------
    agreement
        Share of items on which both said the same, with its interval, as from `jurat.stats.interval.proportion` or, with
        clusters, `jurat.stats.interval.clustered_proportion`.

    Returns
    -------
    Interval
        Undefined with a reason where they agree on less than half; a bound below half is shown as 0.5, a coin.

    Raises
    ------
    ValueError
        Where the agreement lies outside [0, 1].

    Notes
    -----
    With errors that are independent and as likely for yes as for no, :math:`A = a^2 + (1 - a)^2`, so that
    :math:`a = (1 + \sqrt{2A - 1})/2`, which rises with A: bounds map to bounds. Errors that two annotators share (an item that
    misleads both) raise their agreement and flatter the accuracy.

    References
    ----------
    Bross, I. (1954). Misclassification in 2 × 2 tables. Biometrics 10, 478–486. Dawid, A. P. and Skene, A. M. (1979). Applied
    Statistics 28, 20–28 (annotators who are not equally good).

    Examples
    --------
    >>> from jurat.stats.interval import proportion
    >>> print(accuracy_from_agreement(proportion(410, 500)))
    0.9 [0.8768, 0.919] 0.95 n=500 accuracy from agreement, Wilson
    """
    method = f"accuracy from agreement, {agreement.method}"
    known = [x for x in (agreement.low, agreement.value, agreement.high) if x is not None]
    if any(not 0 <= x <= 1 for x in known):
        raise ValueError(f"the agreement must be a share within [0, 1], got {agreement}")
    if agreement.value is None or agreement.value < 0.5:
        reason = agreement.reason or "agreement below one half cannot come from independent errors of equal size"
        return undefined(reason, level=agreement.level, n=agreement.n, method=method, n_clusters=agreement.n_clusters)

    def accuracy(share: float | None) -> float | None:
        return None if share is None else (1 + math.sqrt(max(2 * share - 1, 0.0))) / 2

    return Interval(
        value=accuracy(agreement.value), low=accuracy(agreement.low), high=accuracy(agreement.high),
        level=agreement.level, n=agreement.n, n_clusters=agreement.n_clusters, method=method, reason=agreement.reason,
    )  # fmt: skip


def intraclass_correlation(values: npt.ArrayLike, cluster: npt.ArrayLike, *, level: float = 0.95) -> Interval:
    r"""How alike the values of one cluster are: the one-way intraclass correlation.

    Parameters
    ----------
    values
        Shape (n,), finite; yes/no outcomes as 0 and 1.
    cluster
        Cluster label of each value, shape (n,).
    level
        Two-sided coverage.

    Returns
    -------
    Interval
        The estimate may lie below 0, where clusters are more alike than chance would have them: take 0 for a plan. Undefined
        with a reason where there are fewer than two clusters, no cluster has two values, or all values are equal; without
        bounds where values do not vary within clusters.

    Raises
    ------
    ValueError
        For values that are not finite, or shapes that differ.

    Notes
    -----
    With mean squares between and within G clusters and :math:`n_0 = (N - \sum n_g^2/N)/(G - 1)`,
    :math:`\hat\rho = (MSB - MSW)/(MSB + (n_0 - 1) MSW)`. Bounds: with :math:`s^2` the variance of the cluster means,
    :math:`\tilde n` the harmonic mean size, :math:`F = \tilde n s^2/MSW` and quantiles q of F(G − 1, N − G),
    :math:`(F/q - 1)/(F/q + \tilde n - 1)` (Thomas and Hultquist), exact for normal values in clusters of one size, close
    otherwise. Skewed or rare outcomes have wider doubts than these.

    References
    ----------
    Donner, A. (1986). A review of inference procedures for the intraclass correlation coefficient in the one-way random
    effects model. International Statistical Review 54, 67–82. Thomas, J. D. and Hultquist, R. A. (1978). Interval estimation
    for the unbalanced case of the one-way random effects model. Annals of Statistics 6, 582–587.

    Examples
    --------
    >>> rng = np.random.default_rng(3)
    >>> user = np.repeat(np.arange(60), 5)
    >>> print(intraclass_correlation(rng.normal(size=60)[user] + rng.normal(size=300), user))
    0.5034 [0.3863, 0.6252] 0.95 n=300 clusters=60 ANOVA, Thomas–Hultquist
    """
    tail, method = tail_probability(level), "ANOVA, Thomas–Hultquist"
    x = np.asarray(values, dtype=np.float64)
    codes = np.unique(cluster_codes(cluster), return_inverse=True)[1]
    if x.ndim != 1 or codes.shape != x.shape or not np.all(np.isfinite(x)):
        raise ValueError(f"need finite values, a cluster for each, got shapes {x.shape} and {codes.shape}")
    sizes = np.bincount(codes).astype(np.float64)
    n, groups = len(x), len(sizes)

    def without(reason: str, value: float | None = None) -> Interval:
        return undefined(reason, level=level, n=n, method=method, value=value, n_clusters=groups)

    if groups < 2 or n == groups:
        return without("there are fewer than two clusters" if groups < 2 else "no cluster holds two values")
    centred = x - x.mean()
    means = np.bincount(codes, weights=centred) / sizes
    between = float(sizes @ means**2) / (groups - 1)
    within = float(np.sum((centred - means[codes]) ** 2)) / (n - groups)
    # Beyond rounding of the mean, equal values have no spread.
    if between + within <= (1e-14 * max(abs(float(x.mean())), 1e-300)) ** 2:
        return without("all values are equal")
    typical = (n - float(sizes @ sizes) / n) / (groups - 1)
    value = (between - within) / (between + (typical - 1) * within)
    if within == 0:
        return without("values do not vary within clusters", value)
    harmonic = groups / float(np.sum(1 / sizes))
    f = harmonic * float(np.var(means, ddof=1)) / within
    bounds = [f / float(q(tail, groups - 1, n - groups)) for q in (sps.f.isf, sps.f.ppf)]
    low, high = ((b - 1) / (b + harmonic - 1) for b in bounds)
    return Interval(
        value=value, low=min(low, value), high=max(high, value), level=level, n=n, n_clusters=groups, method=method
    )
