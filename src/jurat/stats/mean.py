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

from jurat.stats.cluster import check_cluster_sums, chosen_correction, cluster_spread
from jurat.stats.interval import Side as Side
from jurat.stats.interval import tail_probability
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

Floats = npt.NDArray[np.float64]


def _vector(name: str, values: npt.ArrayLike) -> Floats:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1:
        raise ValueError(f"{name} must be a vector, got shape {x.shape}")
    if not np.all(np.isfinite(x)):
        row = int(np.argmin(np.isfinite(x)))
        raise ValueError(f"{name} must be finite, got {float(x[row])!r} in row {row}")
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
    half = float(sps.t.isf(tail_probability(level, side), df)) * se
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
        Where ``n`` is not a whole number of at least 0, or the sums cannot come from real values (negative variance
        beyond rounding).

    Examples
    --------
    >>> print(mean_from_sums(5, 22.0, 110.0))
    4.4 [2.144, 6.656] 0.95 n=5 t
    """
    if not (math.isfinite(n) and n >= 0 and n == int(n)):
        raise ValueError(f"n must be a whole number of at least 0, got {n!r}")
    if n == 0:
        return undefined("there are no units", level=level, n=0, method="t")
    value = total / n
    if n == 1:
        return undefined("one unit cannot show how units vary", level=level, n=1, method="t", value=value)
    centred = total_sq - total * value
    if centred < -1e-9 * max(abs(total_sq), abs(total * value)):
        raise ValueError(f"sums cannot be of real values: sum {total!r}, sum of squares {total_sq!r}, n {n}")
    se = math.sqrt(max(centred, 0.0) / (n - 1) / n)
    return t_interval(value, se, n - 1, level=level, n=n, method="t", side=side)


def cluster_codes(cluster: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Turn cluster labels of any type into integers from 0.

    Non-negative integers that are not much larger than their number are taken as they are, which costs nothing.

    Raises
    ------
    ValueError
        Where a label is missing (``None`` or NaN): rows of unknown clusters are no cluster of their own.

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
    if labels.dtype.kind in "fO":
        missing = np.fromiter((x is None or x != x for x in labels.tolist()), dtype=np.bool_, count=len(labels))
        if np.any(missing):
            raise ValueError(f"cluster label missing in row {int(np.argmax(missing))}: every row needs its cluster")
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
    :math:`v = \\frac{G}{G-1}\\sum e_g^2 / N^2` and t(G − 1). CR2 divides each :math:`e_g^2` by :math:`1 - n_g/N`
    instead, and takes Satterthwaite's degrees of freedom under independent units,
    :math:`(\\operatorname{tr} B)^2 / \\operatorname{tr} B^2` with :math:`B_{gg} = n_g` and
    :math:`B_{gh} = -a_g a_h n_g n_h / N`, :math:`a_g = (1 - n_g/N)^{-1/2}`.

    Raises
    ------
    ValueError
        Where shapes differ, a size is negative, a cluster without units has a sum, or the correction is unknown.

    References
    ----------
    Bell, R. M. and McCaffrey, D. F. (2002). Survey Methodology 28, 169–181. Imbens, G. W. and Kolesár, M. (2016).
    Review of Economics and Statistics 98, 701–712.

    Examples
    --------
    >>> print(clustered_mean_from_sums([3, 2, 3], [9.0, 3.0, 14.0]))
    3.25 [-0.5467, 7.047] 0.95 n=8 clusters=3 CR2
    """
    sizes, sums = _vector("n", n), _vector("total", total)
    check_cluster_sums(sizes, sums)
    kept = sizes > 0
    units = round(float(sizes.sum()))
    return ratio_of_sums(sums[kept], sizes[kept], units=units, level=level, side=side, correction=correction)


def ratio_of_sums(
    numerator: Floats, denominator: Floats, *, units: int, level: float, side: Side, correction: str
) -> Interval:
    """Ratio of two sums over clusters, linearised; ``units`` is what is reported as n.

    Denominators need be neither whole nor positive in every cluster: one with nothing below the line still adds to the
    numerator and to its spread.
    """
    clusters, whole = len(denominator), float(denominator.sum())
    chosen = chosen_correction(correction, clusters)
    if clusters == 0 or whole == 0:
        return undefined("there are no units", level=level, n=0, method=chosen, n_clusters=0)
    value = float(numerator.sum() / whole)
    alone = "one cluster cannot show how clusters vary" if clusters == 1 else None
    if alone is None and chosen == "CR2" and float(denominator.max()) == whole:
        alone = "all units stand in one cluster, which cannot show how clusters vary"
    if alone is not None:
        return undefined(alone, level=level, n=units, method=chosen, value=value, n_clusters=clusters)
    residual = numerator - value * denominator
    se, df = cluster_spread(denominator, residual, chosen)
    return t_interval(value, se, df, level=level, n=units, n_clusters=clusters, method=chosen, side=side)


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

    def interval(self, coefficient: int, *, level: float = 0.95, side: Side = "two-sided") -> Interval:
        """t interval of one coefficient, by its column in the design."""
        return t_interval(
            float(self.coefficients[coefficient]),
            float(self.standard_errors[coefficient]),
            float(self.df[coefficient]),
            level=level,
            n=self.n,
            n_clusters=self.n_clusters,
            method=self.method,
            side=side,
        )


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
        Where shapes differ, the design is singular or has no more rows than columns, there are fewer than two
        clusters, or (CR2) a coefficient rests on one cluster alone.

    Notes
    -----
    With :math:`(X'X)^{-1} = LL'` and :math:`Z = XL`, the adjustment :math:`(I - H_{gg})^{-1/2}` of a cluster acts on
    the columns of :math:`Z_g` as the p × p matrix :math:`R_g = (I - Z_g'Z_g)^{-1/2}`. CR2 and its degrees of freedom
    therefore cost :math:`O(np^2 + Gp^3)`, whatever the size of the clusters.

    References
    ----------
    Liang and Zeger (1986); Bell and McCaffrey (2002); Imbens and Kolesár (2016), as in `clustered_mean_from_sums`.
    Pustejovsky, J. E. and Tipton, E. (2018). Journal of Business and Economic Statistics 36, 672–683.

    Examples
    --------
    >>> X = np.column_stack([np.ones(6), [0, 1, 2, 3, 4, 5]])
    >>> fit = cluster_robust_ols(X, [1.0, 1.5, 3.2, 3.9, 5.1, 5.8], [0, 0, 1, 1, 2, 2])
    >>> fit.coefficients.round(4).tolist(), fit.standard_errors.round(4).tolist()
    ([0.881, 1.0143], [0.1544, 0.0283])
    """
    design, response, codes, clusters = checked_regression(X, y, cluster)
    n, p = design.shape
    whitening = whitening_matrix(design)
    beta, scores = _least_squares(design, response, codes, whitening)
    if correction == "CR1":
        scale = clusters / (clusters - 1) * (n - 1) / (n - p)
        covariance = scale * (whitening @ (scores.T @ scores) @ whitening.T)
        df = np.full(p, clusters - 1.0)
    elif correction == "CR2":
        covariance, df = _bell_mccaffrey(design @ whitening, scores, codes, whitening)
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


def checked_regression(
    X: npt.ArrayLike, y: npt.ArrayLike, cluster: npt.ArrayLike
) -> tuple[Floats, Floats, npt.NDArray[np.int64], int]:
    """Return design, response, cluster codes and the number of clusters, or say what is wrong with them."""
    design, response, codes = np.asarray(X, dtype=np.float64), _vector("y", y), cluster_codes(cluster)
    if design.ndim != 2 or len(design) != len(response) or len(codes) != len(response):
        raise ValueError(f"need X of shape (n, p) with y and cluster of length n, got {design.shape}, {len(response)}")
    n, p = design.shape
    if p == 0 or n <= p:
        raise ValueError(f"need more rows than columns and at least one column, got shape {design.shape}")
    clusters = int(np.count_nonzero(np.bincount(codes)))
    if clusters < 2:
        raise ValueError(f"need at least two clusters, got {clusters}")
    return design, response, codes, clusters


def whitening_matrix(design: Floats) -> Floats:
    """Upper triangular L with (X'X)⁻¹ = LL', so that the columns of XL are orthonormal.

    Cholesky's factor of X'X where that keeps ten digits, which is one pass over the rows; Householder's QR otherwise,
    as for a column of dates beside the constant.

    Raises
    ------
    ValueError
        Where an entry is not finite or a column is determined by the others.
    """
    gram = design.T @ design
    if not np.all(np.isfinite(gram)):
        raise ValueError("X must be finite, and its squares must fit a double")
    norms = np.sqrt(np.diag(gram))
    singular = "the design matrix is singular: drop a column that the others determine"
    if np.any(norms == 0):
        raise ValueError(singular)
    scaled = gram / np.outer(norms, norms)
    eigenvalues = np.linalg.eigvalsh(scaled)
    if eigenvalues[0] > 1e-6 * eigenvalues[-1]:
        triangle: Floats = np.linalg.cholesky(scaled).T
    else:
        triangle = np.asarray(np.linalg.qr(design / norms, mode="r"))
        spread = np.linalg.svd(triangle, compute_uv=False)
        if spread[-1] <= spread[0] * max(design.shape) * np.finfo(np.float64).eps:
            raise ValueError(singular)
    inverse: Floats = np.linalg.inv(triangle) / norms[:, None]
    return inverse


def _least_squares(
    design: Floats, response: Floats, codes: npt.NDArray[np.int64], whitening: Floats
) -> tuple[Floats, Floats]:
    """Coefficients by the corrected seminormal equations (Björck, 1987), and each cluster's summed scores Z_g'e_g."""
    clusters = int(codes.max()) + 1
    clusters = int(codes.max()) + 1
    beta: Floats = whitening @ (whitening.T @ (response @ design))
    scores = _cluster_scores(design, response, codes, beta, clusters) @ whitening
    # At the solution the scores sum to zero; what is left of them, in units of their spread, is the correction.
    drift = scores.sum(axis=0)
    if np.linalg.norm(drift) > 1e-10 * np.linalg.norm(scores):
        beta = beta + whitening @ drift
        scores = _cluster_scores(design, response, codes, beta, clusters) @ whitening
    return beta, scores


@numba.njit(cache=True, nogil=True)
def _cluster_scores(
    design: Floats, response: Floats, codes: npt.NDArray[np.int64], beta: Floats, clusters: int
) -> Floats:
    """Sum x_i (y_i − x_i'β) by cluster in one pass over the rows."""
    n, p = design.shape
    scores = np.zeros((clusters, p))
    for i in range(n):
        residual = response[i]
        for j in range(p):
            residual -= design[i, j] * beta[j]
        for j in range(p):
            scores[codes[i], j] += design[i, j] * residual
    return scores


def _summed(codes: npt.NDArray[np.int64], rows: Floats) -> Floats:
    """Sum rows by cluster: shape (clusters, columns)."""
    return np.column_stack([np.bincount(codes, weights=column) for column in rows.T])


def _bell_mccaffrey(
    Z: Floats, scores: Floats, codes: npt.NDArray[np.int64], whitening: Floats
) -> tuple[Floats, Floats]:
    """CR2 covariance and degrees of freedom from p × p matrices and summed scores Z_g'e_g of each cluster.

    Under independent rows the adjusted cluster scores of coefficient j have covariance
    ``B = diag(d) − QQ'`` with row ``Q_g = Z_g'Z_g R_g l_j``, ``d_g = (R_g l_j)'Q_g`` and ``l_j`` row j of L.
    """
    p = Z.shape[1]
    outer = _summed(codes, (Z[:, :, None] * Z[:, None, :]).reshape(len(Z), p * p)).reshape(-1, p, p)
    leverage, vectors = np.linalg.eigh(outer)
    free = 1.0 - leverage > 1e-10
    for g in np.flatnonzero(~free.all(axis=1)):
        # A direction that one cluster determines alone leaves no residual: what loads on it shows no spread.
        lost = np.linalg.norm(whitening @ vectors[g][:, ~free[g]], axis=1) / np.linalg.norm(whitening, axis=1)
        if np.any(lost > 1e-6):
            j = int(np.argmax(lost))
            raise ValueError(f"coefficient {j} rests on one cluster alone, which cannot show how clusters vary")
    root = np.where(free, 1.0 / np.sqrt(np.where(free, 1.0 - leverage, 1.0)), 0.0)
    R = (vectors * root[:, None, :]) @ vectors.transpose(0, 2, 1)
    adjusted = np.einsum("gij,gj->gi", R, scores)
    weights = R @ whitening.T
    Q = outer @ weights
    d, q = np.einsum("gij,gij->gj", weights, Q), np.einsum("gij,gij->gj", Q, Q)
    trace = (d - q).sum(axis=0)
    trace_of_square = (d * d - 2 * d * q).sum(axis=0) + np.sum(np.einsum("gij,gkj->jik", Q, Q) ** 2, axis=(1, 2))
    return whitening @ (adjusted.T @ adjusted) @ whitening.T, trace**2 / trace_of_square
