"""What is the mean, when units come in clusters?

Rows of one user, conversation or document resemble each other, so the clusters are what is independent. The standard
error is the cluster-robust sandwich: CR1 with t(G − 1) from 40 clusters on, below that CR2 (Bell and McCaffrey, 2002)
with Satterthwaite's degrees of freedom, which keep coverage with a dozen unequal clusters. Sums are centred before they
are squared, so shifting a metric by 1e8 does not change its standard error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numba
import numpy as np
import numpy.typing as npt
from scipy import stats as sps

from jurat.stats.result import Interval

__all__ = [
    "ClusterRobustFit",
    "cluster_codes",
    "cluster_robust_ols",
    "clustered_mean",
    "clustered_mean_from_sums",
    "mean",
    "mean_from_sums",
]

Side = Literal["two-sided", "lower", "upper"]
Floats = npt.NDArray[np.float64]

FEW_CLUSTERS = 40
"""Below this, CR1 with t(G − 1) is too narrow (Cameron, Gelbach and Miller, 2008)."""


def _vector(name: str, values: npt.ArrayLike) -> Floats:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1:
        raise ValueError(f"{name} must be a vector, got shape {x.shape}")
    if not np.all(np.isfinite(x)):
        row = int(np.argmin(np.isfinite(x)))
        raise ValueError(f"{name} must be finite, got {x[row]!r} in row {row}")
    return x


def t_interval(
    value: float,
    se: float,
    df: float,
    *,
    level: float,
    n: int,
    method: str,
    side: str = "two-sided",
    n_clusters: int | None = None,
) -> Interval:
    """Lay a t interval around a value; the one place where it is written down."""
    if side not in ("two-sided", "lower", "upper"):
        raise ValueError(f"side must be 'two-sided', 'lower' or 'upper', got {side!r}")
    tail = (1 - level) / 2 if side == "two-sided" else 1 - level
    half = float(sps.t.isf(tail, df)) * se
    return Interval(
        value=value,
        low=None if side == "upper" else value - half,
        high=None if side == "lower" else value + half,
        level=level,
        n=n,
        n_clusters=n_clusters,
        method=method,
        se=se,
        df=df,
    )


def undefined(
    reason: str, *, level: float, n: int, method: str, value: float | None = None, n_clusters: int | None = None
) -> Interval:
    """Build an interval that says why it has no bounds."""
    return Interval(
        value=value, low=None, high=None, level=level, n=n, n_clusters=n_clusters, method=method, reason=reason
    )


def mean(values: npt.ArrayLike, *, level: float = 0.95, side: Side = "two-sided") -> Interval:
    """Mean of independent values with Student's t interval.

    Parameters
    ----------
    values
        Shape (n,), finite.
    level, side
        Coverage, and whether a one-sided bound is wanted.

    Raises
    ------
    ValueError
        Where a value is not finite.

    References
    ----------
    Student (1908). The probable error of a mean. Biometrika 6, 1–25.

    Examples
    --------
    >>> print(mean([2.0, 4.0, 4.0, 5.0, 7.0]))
    4.4 [2.144, 6.656] 0.95 n=5 t
    """
    x = _vector("values", values)
    if len(x) == 0:
        return undefined("there are no units", level=level, n=0, method="t")
    value = float(x.mean())
    if len(x) == 1:
        return undefined("one unit cannot show how units vary", level=level, n=1, method="t", value=value)
    se = float(x.std(ddof=1)) / math.sqrt(len(x))
    return t_interval(value, se, len(x) - 1, level=level, n=len(x), method="t", side=side)


def mean_from_sums(n: int, total: float, total_sq: float, *, level: float = 0.95, side: Side = "two-sided") -> Interval:
    """Mean and t interval from n, the sum and the sum of squares.

    Parameters
    ----------
    n
        Units.
    total, total_sq
        Sum of the values, and of their squares. Prefer sums of centred values where the mean is large against the
        spread: the subtraction loses as many digits as mean²/variance has.
    level, side
        As in `mean`.

    Raises
    ------
    ValueError
        Where the sums cannot come from real values (negative variance beyond rounding).

    Examples
    --------
    >>> print(mean_from_sums(5, 22.0, 110.0))
    4.4 [2.144, 6.656] 0.95 n=5 t
    """
    if n == 0:
        return undefined("there are no units", level=level, n=0, method="t")
    value = total / n
    if n == 1:
        return undefined("one unit cannot show how units vary", level=level, n=1, method="t", value=value)
    centred = total_sq - total * value
    if centred < -1e-9 * max(abs(total_sq), 1.0):
        raise ValueError(f"sums cannot be of real values: sum {total!r}, sum of squares {total_sq!r}, n {n}")
    se = math.sqrt(max(centred, 0.0) / (n - 1) / n)
    return t_interval(value, se, n - 1, level=level, n=n, method="t", side=side)


def cluster_codes(cluster: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Turn cluster labels of any type into integers from 0.

    Non-negative integers that are not much larger than their number are taken as they are, which costs nothing.

    Examples
    --------
    >>> cluster_codes(["b", "a", "b"]).tolist()
    [1, 0, 1]
    """
    return _codes_and_count(cluster)[0]


def _codes_and_count(cluster: npt.ArrayLike) -> tuple[npt.NDArray[np.int64], int]:
    """Codes, and a number they all lie below; each pass over the labels is made once."""
    labels = np.asarray(cluster)
    if labels.ndim != 1:
        raise ValueError(f"cluster must be a vector, got shape {labels.shape}")
    if labels.dtype.kind in "iu" and len(labels) > 0:
        largest = int(labels.max())
        if largest < 4 * len(labels) and int(labels.min()) >= 0:
            return labels.astype(np.int64, copy=False), largest + 1
    found, codes = np.unique(labels, return_inverse=True)
    return codes.astype(np.int64, copy=False), len(found)


def clustered_mean(
    values: npt.ArrayLike,
    cluster: npt.ArrayLike,
    *,
    level: float = 0.95,
    side: Side = "two-sided",
    correction: str = "auto",
) -> Interval:
    """Mean of values that come in clusters.

    Parameters
    ----------
    values
        Shape (n,), finite.
    cluster
        Label of each value's cluster, shape (n,).
    level, side
        As in `mean`.
    correction
        ``"auto"`` (CR1 from 40 clusters, else CR2), ``"CR1"``, ``"CR2"``.

    Raises
    ------
    ValueError
        Where shapes differ, a value is not finite, or the correction is unknown.

    Notes
    -----
    See `clustered_mean_from_sums`; values are centred at their mean first.

    References
    ----------
    Liang, K.-Y. and Zeger, S. L. (1986). Biometrika 73, 13–22. Miller, E. (2024). Adding error bars to evals.

    Examples
    --------
    >>> print(clustered_mean([3, 2, 4, 1, 2, 5, 4, 5], ["a", "a", "a", "b", "b", "c", "c", "c"]))
    3.25 [-0.5467, 7.047] 0.95 n=8 clusters=3 CR2
    """
    x = np.ascontiguousarray(values, dtype=np.float64)
    codes, clusters = _codes_and_count(cluster)
    if x.ndim != 1 or codes.shape != x.shape:
        raise ValueError(f"values and cluster must be vectors of one length, got {x.shape} and {codes.shape}")
    if len(x) == 0:
        return undefined("there are no units", level=level, n=0, method="CR1", n_clusters=0)
    # Any centre near the mean keeps the digits; the mean of a few rows costs nothing.
    pilot = float(x[:1024].mean())
    sums, finite = _centred_sums(x, codes, pilot if math.isfinite(pilot) else 0.0, clusters)
    if not finite:
        _vector("values", x)
    shifted = clustered_mean_from_sums(sums[:, 0], sums[:, 1], level=level, side=side, correction=correction)
    return _shift(shifted, pilot)


@numba.njit(cache=True, nogil=True)
def _centred_sums(values: Floats, codes: npt.NDArray[np.int64], centre: float, clusters: int) -> tuple[Floats, bool]:
    """Units and sum of centred values per cluster, side by side in memory, in one pass over the rows."""
    sums = np.zeros((clusters, 2))
    finite = True
    for i in range(len(values)):
        deviation = values[i] - centre
        finite &= deviation - deviation == 0.0
        g = codes[i]
        sums[g, 0] += 1.0
        sums[g, 1] += deviation
    return sums, finite


def _shift(interval: Interval, by: float) -> Interval:
    return Interval(
        value=None if interval.value is None else interval.value + by,
        low=None if interval.low is None else interval.low + by,
        high=None if interval.high is None else interval.high + by,
        level=interval.level,
        n=interval.n,
        n_clusters=interval.n_clusters,
        method=interval.method,
        se=interval.se,
        df=interval.df,
        reason=interval.reason,
    )


def clustered_mean_from_sums(
    n: npt.ArrayLike,
    total: npt.ArrayLike,
    *,
    level: float = 0.95,
    side: Side = "two-sided",
    correction: str = "auto",
) -> Interval:
    """Mean over all units from each cluster's size and sum.

    Parameters
    ----------
    n, total
        Units and sum of values per cluster, each of shape (clusters,); clusters without units are left out.
    level, side, correction
        As in `clustered_mean`.

    Notes
    -----
    With :math:`e_g = S_g - \\bar y n_g` and :math:`N = \\sum n_g`: CR1 has
    :math:`v = \\frac{G}{G-1}\\frac{N-1}{N-1}\\sum e_g^2 / N^2` and t(G − 1). CR2 divides each :math:`e_g^2` by
    :math:`1 - n_g/N` and takes Satterthwaite's degrees of freedom under independent units,
    :math:`(\\operatorname{tr} B)^2 / \\operatorname{tr} B^2` with :math:`B_{gh} = w_g w_h p_{gh}`.

    References
    ----------
    Bell, R. M. and McCaffrey, D. F. (2002). Survey Methodology 28, 169–181. Imbens, G. W. and Kolesár, M. (2016).
    Review of Economics and Statistics 98, 701–712.

    Examples
    --------
    >>> print(clustered_mean_from_sums([3, 2, 3], [9.0, 3.0, 14.0]))
    3.25 [-0.5467, 7.047] 0.95 n=8 clusters=3 CR2
    """
    if correction not in ("auto", "CR1", "CR2"):
        raise ValueError(f"correction must be 'auto', 'CR1' or 'CR2', got {correction!r}")
    sizes, sums = _vector("n", n), _vector("total", total)
    if sizes.shape != sums.shape:
        raise ValueError(f"n and total must have one length, got {len(sizes)} and {len(sums)}")
    sizes, sums = sizes[sizes > 0], sums[sizes > 0]
    clusters, units = len(sizes), int(sizes.sum())
    chosen = ("CR1" if clusters >= FEW_CLUSTERS else "CR2") if correction == "auto" else correction
    if clusters == 0:
        return undefined("there are no units", level=level, n=0, method=chosen, n_clusters=0)
    value = float(sums.sum() / units)
    if clusters == 1:
        reason = "one cluster cannot show how clusters vary"
        return undefined(reason, level=level, n=units, method=chosen, value=value, n_clusters=1)
    residual = sums - value * sizes
    if chosen == "CR1":
        se = math.sqrt(clusters / (clusters - 1) * float(residual @ residual)) / units
        df = float(clusters - 1)
    else:
        se, df = _cr2(sizes, residual)
    return t_interval(value, se, df, level=level, n=units, n_clusters=clusters, method=chosen, side=side)


def _cr2(sizes: Floats, residual: Floats) -> tuple[float, float]:
    """Standard error and degrees of freedom of CR2 for a mean.

    For the constant regressor the adjustment of cluster g is 1/sqrt(1 − n_g/N) on its summed residual. Under
    independent units the summed residuals have covariance n_g δ_gh − n_g n_h / N, which gives the matrix B.
    """
    share = sizes / sizes.sum()
    weight = 1.0 / (1.0 - share)
    se = math.sqrt(float(weight @ residual**2)) / float(sizes.sum())
    # B_gh = a_g a_h (n_g δ_gh − n_g n_h / N) up to a constant, a_g = (1 − share_g)^(−1/2); its diagonal is n_g.
    trace = float(sizes.sum())
    cross = weight * sizes * share
    trace_of_square = float(np.sum(sizes**2)) + (float(np.sum(cross)) ** 2 - float(np.sum(cross**2)))
    # Off-diagonal: a_g² a_h² (n_g n_h / N)² = (w_g n_g s_g)(w_h n_h s_h), as (n_g n_h / N)² = n_g s_g n_h s_h.
    return se, trace**2 / trace_of_square


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterRobustFit:
    """Least squares with cluster-robust covariance.

    Attributes
    ----------
    coefficients
        Shape (p,).
    covariance
        Shape (p, p).
    standard_errors
        Shape (p,).
    df
        Degrees of freedom of each coefficient's t statistic, shape (p,).
    n, n_clusters
        Rows and clusters.
    method
        ``"CR1"`` or ``"CR2"``.
    """

    coefficients: Floats
    covariance: Floats
    standard_errors: Floats
    df: Floats
    n: int
    n_clusters: int
    method: str


def cluster_robust_ols(
    X: npt.ArrayLike, y: npt.ArrayLike, cluster: npt.ArrayLike, *, correction: Literal["CR1", "CR2"] = "CR1"
) -> ClusterRobustFit:
    """Ordinary least squares with the cluster-robust sandwich.

    Parameters
    ----------
    X
        Design matrix with its constant column, shape (n, p), of full rank.
    y
        Response, shape (n,).
    cluster
        Cluster labels, shape (n,).
    correction
        ``"CR1"`` uses :math:`\\frac{G}{G-1}\\frac{n-1}{n-p}` and t(G − 1); ``"CR2"`` Bell and McCaffrey's adjustment
        with Satterthwaite's degrees of freedom per coefficient.

    Raises
    ------
    ValueError
        Where shapes differ, the design is singular, or there are fewer than two clusters.

    References
    ----------
    Liang and Zeger (1986); Bell and McCaffrey (2002); Imbens and Kolesár (2016), as in `clustered_mean_from_sums`.

    Examples
    --------
    >>> X = np.column_stack([np.ones(6), [0, 1, 2, 3, 4, 5]])
    >>> fit = cluster_robust_ols(X, [1.0, 1.5, 3.2, 3.9, 5.1, 5.8], [0, 0, 1, 1, 2, 2])
    >>> fit.coefficients.round(4).tolist(), fit.standard_errors.round(4).tolist()
    ([0.881, 1.0143], [0.1544, 0.0283])
    """
    design = np.asarray(X, dtype=np.float64)
    response = _vector("y", y)
    codes = cluster_codes(cluster)
    if design.ndim != 2 or len(design) != len(response) or len(codes) != len(response):
        raise ValueError(f"need X of shape (n, p) with y and cluster of length n, got {design.shape}, {len(response)}")
    n, p = design.shape
    gram = design.T @ design
    if np.linalg.matrix_rank(gram) < p:
        raise ValueError("the design matrix is singular: drop a column that the others determine")
    bread: Floats = np.asarray(np.linalg.inv(gram), dtype=np.float64)
    beta = bread @ (design.T @ response)
    residual = response - design @ beta
    counts = np.bincount(codes)
    clusters = int(np.count_nonzero(counts))
    if clusters < 2:
        raise ValueError(f"need at least two clusters, got {clusters}")
    if correction == "CR1":
        scores = np.column_stack([np.bincount(codes, weights=design[:, j] * residual) for j in range(p)])
        covariance = clusters / (clusters - 1) * (n - 1) / (n - p) * (bread @ (scores.T @ scores) @ bread)
        df = np.full(p, clusters - 1.0)
    elif correction == "CR2":
        covariance, df = _cr2_ols(design, residual, codes, bread)
    else:
        raise ValueError(f"correction must be 'CR1' or 'CR2', got {correction!r}")
    return ClusterRobustFit(
        coefficients=beta,
        covariance=covariance,
        standard_errors=np.sqrt(np.diag(covariance)),
        df=df,
        n=n,
        n_clusters=clusters,
        method=correction,
    )


def _cr2_ols(design: Floats, residual: Floats, codes: npt.NDArray[np.int64], bread: Floats) -> tuple[Floats, Floats]:
    """CR2 covariance and degrees of freedom, cluster by cluster."""
    p = design.shape[1]
    meat = np.zeros((p, p))
    # Column g of G_j is the projection of cluster g's adjusted weights for coefficient j: (I − H)_g' A_g X_g b_j.
    projections: list[Floats] = []
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        block = design[rows]
        leverage = block @ bread @ block.T
        values, vectors = np.linalg.eigh(np.eye(len(rows)) - leverage)
        root = np.where(values > 1e-10, 1.0 / np.sqrt(np.maximum(values, 1e-10)), 0.0)
        adjust = (vectors * root) @ vectors.T
        score = block.T @ adjust @ residual[rows]
        meat += np.outer(score, score)
        weights = adjust @ block @ bread
        full = -(design @ (bread @ (block.T @ weights)))
        full[rows] += weights
        projections.append(full)
    stacked = np.stack(projections)
    df = np.empty(p)
    for j in range(p):
        inner = stacked[:, :, j] @ stacked[:, :, j].T
        df[j] = np.trace(inner) ** 2 / np.sum(inner**2)
    return bread @ meat @ bread, df
