"""How sure are we of a number that has no formula for its error?

The bootstrap over clusters: whole clusters are drawn with replacement, and the spread of the recomputed
statistic is the doubt. A statistic of cluster sums (mean, ratio, difference of ratios) never touches the rows
again: the resampled sums are drawn exactly, by a kernel, or from the multinomial law of the distinct clusters
where many are alike (yes/no labels). `bootstrap_statistic` takes any function of the rows, for small data.

Bounds: percentile, basic, or BCa (Efron, 1987) with the jackknife over clusters. With fewer than about 20
clusters all three are too narrow; `jurat.stats.mean.clustered_mean` (CR2) is then the better choice.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numba
import numpy as np
import numpy.typing as npt
from scipy import stats as sps

from jurat.stats.mean import Floats, cluster_codes, undefined
from jurat.stats.result import Interval

__all__ = ["Bootstrap", "bootstrap_mean", "bootstrap_ratio", "bootstrap_statistic", "bootstrap_sums"]

Method = Literal["bca", "basic", "percentile"]
_NAMES = {"bca": "bootstrap, BCa", "basic": "bootstrap, basic", "percentile": "bootstrap, percentile"}

ALIKE = 16
"""Where clusters outnumber their distinct rows by this factor, one multinomial draw beats drawing each."""

JACKKNIFE_GROUPS = 200
"""More clusters than this are left out in groups when the statistic has to be recomputed from the rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bootstrap:
    """A bootstrap interval with what it was read from.

    Attributes
    ----------
    interval
        The estimate; ``se`` is the standard deviation of the replicates.
    replicates
        The recomputed statistic, shape (replicates,), finite.
    bias_correction, acceleration
        Efron's :math:`z_0` and :math:`a`; ``None`` unless the method is BCa.
    """

    interval: Interval
    replicates: Floats
    bias_correction: float | None = None
    acceleration: float | None = None


def _check(method: str, level: float, replicates: int) -> None:
    if method not in _NAMES:
        raise ValueError(f"method must be 'bca', 'basic' or 'percentile', got {method!r}")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie in (0, 1), got {level!r}")
    least = math.ceil(2 / (1 - level) - 1e-9) - 1
    if replicates < least:
        raise ValueError(f"a {level:.4g} interval needs at least {least} replicates, got {replicates!r}")


@numba.njit(nogil=True, cache=True)  # type: ignore[misc, unused-ignore]
def _resampled_pair(rows: Floats, seeds: npt.NDArray[np.uint64]) -> Floats:
    """Sum two columns over clusters drawn with replacement, one row a seed.

    Each replicate has its own SplitMix64 stream (Steele, Lea and Flood, 2014), so the result depends neither on order nor
    on threads. Each half of a 64-bit number draws a cluster by Lemire's (2019) multiplication with rejection: no modulo
    bias. The halves add up apart, so that one addition need not wait for the other.
    """
    size, left_at_first = np.uint64(len(rows)), len(rows)
    low_bits, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    rejected = (np.uint64(0x100000000) - size) % size
    out = np.empty((len(seeds), 2), dtype=np.float64)
    for r in range(len(seeds)):
        state, left = seeds[r], left_at_first
        a, b, c, d = 0.0, 0.0, 0.0, 0.0
        while left > 0:
            state += np.uint64(0x9E3779B97F4A7C15)
            mixed = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            mixed ^= mixed >> np.uint64(31)
            upper, lower = (mixed >> half) * size, (mixed & low_bits) * size
            if (upper & low_bits) >= rejected:
                a += rows[upper >> half, 0]
                b += rows[upper >> half, 1]
                left -= 1
            if left > 0 and (lower & low_bits) >= rejected:
                c += rows[lower >> half, 0]
                d += rows[lower >> half, 1]
                left -= 1
        out[r, 0], out[r, 1] = a + c, b + d
    return out


def _drawn_totals(sums: Floats, replicates: int, rng: np.random.Generator) -> Floats:
    """Draw every cluster: column sums over resampled clusters, shape (replicates, columns)."""
    seeds = rng.integers(0, 2**64, size=replicates, dtype=np.uint64)
    columns = sums.shape[1]
    padded = np.column_stack([sums, np.zeros(len(sums))]) if columns % 2 else sums
    # The same seeds draw the same clusters, so columns may be summed two by two.
    pairs = [_resampled_pair(np.ascontiguousarray(padded[:, j : j + 2]), seeds) for j in range(0, columns, 2)]
    return np.hstack(pairs)[:, :columns]


def _resampled_totals(sums: Floats, replicates: int, rng: np.random.Generator) -> Floats:
    """Column sums over resampled clusters, by the cheaper of two exact ways."""
    order = np.lexsort(sums.T)
    ordered = sums[order]
    starts = np.flatnonzero(np.concatenate([[True], np.any(ordered[1:] != ordered[:-1], axis=1)]))
    if len(starts) * ALIKE > len(sums):
        return _drawn_totals(sums, replicates, rng)
    # Clusters with equal sums are interchangeable: only how many of each kind are drawn matters.
    counts = np.diff(np.append(starts, len(sums)))
    drawn: Floats = rng.multinomial(len(sums), counts / len(sums), size=replicates).astype(np.float64)
    return drawn @ ordered[starts]


def bootstrap_sums(
    sums: npt.ArrayLike,
    statistic: Callable[[Floats], Floats],
    *,
    rng: np.random.Generator,
    replicates: int = 1_000,
    level: float = 0.95,
    method: Method = "bca",
) -> Bootstrap:
    r"""Bootstrap a function of column sums, resampling clusters.

    Parameters
    ----------
    sums
        One row a cluster, one column a quantity summed within it, shape (clusters, columns), finite.
    statistic
        Maps totals of shape (m, columns) to values of shape (m,), row by row.
    rng
        Source of randomness.
    replicates
        At least 2/(1 − level) − 1, so that the bounds lie within the replicates.
    level
        Two-sided coverage.
    method
        ``"bca"``, ``"basic"`` or ``"percentile"``.

    Returns
    -------
    Bootstrap
        Bounds are ``None`` with a reason where there are fewer than two clusters, a replicate is undefined,
        or the replicates do not vary. ``n`` counts clusters.

    Raises
    ------
    ValueError
        Where sums are not a finite matrix, or an option is outside its range.

    Notes
    -----
    Percentile: the :math:`\alpha/2` and :math:`1 - \alpha/2` quantiles (type 7) of the replicates; basic:
    their mirror images at the estimate; BCa: the quantiles at
    :math:`\Phi\left(z_0 + \frac{z_0 + z}{1 - a(z_0 + z)}\right)` for :math:`z = \pm z_{1-\alpha/2}`, with
    :math:`z_0 = \Phi^{-1}(\#\{\theta^* < \hat\theta\}/B)`, ties counted half, and
    :math:`a = \sum d_g^3 / (6 (\sum d_g^2)^{3/2})`, :math:`d_g` the mean of the leave-one-out
    values less the one without cluster g.

    References
    ----------
    Efron, B. (1987). Better bootstrap confidence intervals. JASA 82, 171–185. Davison, A. C. and
    Hinkley, D. V. (1997). Bootstrap Methods and their Application, sections 3.8 and 5.3.

    Examples
    --------
    Ratio of tokens to requests, per user:

    >>> rng = np.random.default_rng(7)
    >>> requests = rng.poisson(5, 300) + 1
    >>> tokens = rng.gamma(2.0, 50.0, 300) * requests
    >>> found = bootstrap_sums(np.column_stack([tokens, requests]), lambda t: t[:, 0] / t[:, 1], rng=rng)
    >>> print(found.interval)
    99.7 [92.49, 108.2] 0.95 n=300 clusters=300 bootstrap, BCa
    """
    _check(method, level, replicates)
    matrix = np.asarray(sums, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[1] == 0 or not np.all(np.isfinite(matrix)):
        raise ValueError(f"sums must be a finite matrix (clusters, columns), got shape {matrix.shape}")
    clusters, name = len(matrix), _NAMES[method]
    totals = matrix.sum(axis=0, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(statistic(totals)[0]) if clusters else math.nan
        if not math.isfinite(value):
            reason = "there are no units" if clusters == 0 else "the statistic is undefined for these totals"
            return _without(reason, None, level, clusters, name)
        if clusters < 2:
            return _without("one cluster cannot show how clusters vary", value, level, clusters, name)
        drawn = np.asarray(statistic(_resampled_totals(matrix, replicates, rng)), dtype=np.float64)
        left_out = np.asarray(statistic(totals - matrix), dtype=np.float64) if method == "bca" else None
    return _interval(value, drawn, left_out, level=level, clusters=clusters, method=method)


def bootstrap_ratio(
    numerator: npt.ArrayLike,
    denominator: npt.ArrayLike,
    *,
    rng: np.random.Generator,
    replicates: int = 1_000,
    level: float = 0.95,
    method: Method = "bca",
) -> Bootstrap:
    """Bootstrap a ratio of two totals, resampling clusters.

    Parameters
    ----------
    numerator, denominator
        Sums per cluster, both of shape (clusters,).
    rng, replicates, level, method
        As in `bootstrap_sums`.

    Raises
    ------
    ValueError
        Where shapes differ or a sum is not finite.

    References
    ----------
    As in `bootstrap_sums`.

    Examples
    --------
    >>> numerator, denominator = [3, 0, 5, 2, 7, 1, 4, 6], [10, 4, 12, 9, 15, 5, 11, 14]
    >>> found = bootstrap_ratio(numerator, denominator, rng=np.random.default_rng(1))
    >>> round(found.interval.value, 10), round(found.interval.se, 2)
    (0.35, 0.04)
    """
    top, bottom = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    if top.ndim != 1 or top.shape != bottom.shape:
        raise ValueError(f"numerator and denominator must match, got shapes {top.shape} and {bottom.shape}")
    sums = np.column_stack([top, bottom])
    return bootstrap_sums(sums, _quotient, rng=rng, replicates=replicates, level=level, method=method)


def _quotient(totals: Floats) -> Floats:
    return totals[:, 0] / totals[:, 1]


def bootstrap_mean(
    n: npt.ArrayLike,
    total: npt.ArrayLike,
    *,
    rng: np.random.Generator,
    replicates: int = 1_000,
    level: float = 0.95,
    method: Method = "bca",
) -> Bootstrap:
    """Bootstrap the mean over all units, resampling clusters.

    Parameters
    ----------
    n, total
        Units and sum of values per cluster, each of shape (clusters,); clusters without units are left out.
    rng, replicates, level, method
        As in `bootstrap_sums`.

    Raises
    ------
    ValueError
        Where shapes differ, a sum is not finite, or a count is negative.

    References
    ----------
    As in `bootstrap_sums`.

    Examples
    --------
    >>> rng = np.random.default_rng(3)
    >>> n = rng.integers(1, 9, 400)
    >>> found = bootstrap_mean(n, rng.binomial(n, rng.beta(2, 6, 400)), rng=rng)
    >>> print(found.interval)
    0.2469 [0.2227, 0.2723] 0.95 n=1794 clusters=400 bootstrap, BCa
    """
    sizes, sums = np.asarray(n, dtype=np.float64), np.asarray(total, dtype=np.float64)
    if sizes.ndim != 1 or sizes.shape != sums.shape or np.any(sizes < 0):
        raise ValueError(f"n (not negative) and total must match, got shapes {sizes.shape} and {sums.shape}")
    keep = sizes > 0
    found = bootstrap_ratio(sums[keep], sizes[keep], rng=rng, replicates=replicates, level=level, method=method)
    return dataclasses.replace(found, interval=dataclasses.replace(found.interval, n=int(sizes.sum())))


def bootstrap_statistic(
    values: npt.ArrayLike,
    cluster: npt.ArrayLike | None,
    statistic: Callable[[npt.NDArray[np.float64]], float],
    *,
    rng: np.random.Generator,
    replicates: int = 1_000,
    level: float = 0.95,
    method: Method = "bca",
) -> Bootstrap:
    """Bootstrap any function of the rows, resampling clusters; for small data.

    Parameters
    ----------
    values
        Shape (n,) or (n, columns), finite.
    cluster
        Cluster labels, shape (n,); ``None`` where rows are independent.
    statistic
        Function of resampled rows (a median, a correlation); their number varies as clusters differ in size.
    rng, replicates, level, method
        As in `bootstrap_sums`.

    Raises
    ------
    ValueError
        Where shapes differ or a value is not finite.

    Notes
    -----
    As in `bootstrap_sums`. The statistic is recomputed for each replicate and, for BCa, for each cluster left
    out; more than 200 clusters are left out in 200 random groups of nearly equal size.

    References
    ----------
    As in `bootstrap_sums`; Shao, J. and Tu, D. (1995). The Jackknife and Bootstrap, section 2.3 (groups).

    Examples
    --------
    >>> rng = np.random.default_rng(5)
    >>> seconds = rng.lognormal(0.0, 1.0, 120)
    >>> user = np.repeat(np.arange(40), 3)
    >>> found = bootstrap_statistic(seconds, user, lambda x: float(np.median(x)), rng=rng)
    >>> print(found.interval)
    0.7772 [0.6374, 0.9585] 0.95 n=120 clusters=40 bootstrap, BCa
    """
    _check(method, level, replicates)
    x = np.asarray(values, dtype=np.float64)
    codes = np.arange(len(x)) if cluster is None else cluster_codes(cluster)
    if x.ndim not in (1, 2) or codes.shape != x.shape[:1] or not np.all(np.isfinite(x)):
        raise ValueError(f"need finite values, a cluster for each row, got shapes {x.shape}, {codes.shape}")
    order = np.argsort(codes, kind="stable")
    blocks = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1) if len(x) else []
    n, groups, name = len(x), len(blocks), _NAMES[method]
    value = float(statistic(x)) if groups else math.nan
    if not math.isfinite(value):
        reason = "the statistic is undefined for these rows" if groups else "there are no units"
        return _without(reason, None, level, n, name, groups)
    if groups < 2:
        return _without("one cluster cannot show how clusters vary", value, level, n, name, groups)

    def recomputed(chosen: npt.NDArray[np.int64]) -> float:
        return float(statistic(x[np.concatenate([blocks[g] for g in chosen])]))

    drawn = np.array([recomputed(rng.integers(0, groups, groups)) for _ in range(replicates)])
    left_out = None
    if method == "bca":
        folds = np.array_split(rng.permutation(groups), min(groups, JACKKNIFE_GROUPS))
        left_out = np.array([recomputed(np.setdiff1d(np.arange(groups), fold)) for fold in folds])
    found = _interval(value, drawn, left_out, level=level, clusters=groups, method=method)
    n_clusters = None if cluster is None else groups
    return dataclasses.replace(found, interval=dataclasses.replace(found.interval, n=n, n_clusters=n_clusters))


def _without(
    reason: str, value: float | None, level: float, n: int, method: str, clusters: int | None = None
) -> Bootstrap:
    interval = undefined(
        reason, level=level, n=n, method=method, value=value, n_clusters=n if clusters is None else clusters
    )
    return Bootstrap(interval=interval, replicates=np.empty(0))


def _interval(
    value: float, drawn: Floats, left_out: Floats | None, *, level: float, clusters: int, method: Method
) -> Bootstrap:
    """Read the bounds from the replicates; ``left_out`` holds the jackknife values for BCa."""
    name, tail = _NAMES[method], (1 - level) / 2
    lost = int(np.count_nonzero(~np.isfinite(drawn)))
    if lost or (left_out is not None and not np.all(np.isfinite(left_out))):
        reason = f"the statistic is undefined in {lost} of {len(drawn)} replicates or without one cluster"
        return _without(reason, value, level, clusters, name)
    # A constant statistic leaves replicates that differ by rounding alone.
    if float(np.ptp(drawn)) <= 1e-12 * max(abs(value), float(np.max(np.abs(drawn)))):
        return _without("the replicates do not vary: clusters like these hide the error", value, level, clusters, name)
    tails, bias, acceleration = (tail, 1 - tail), None, None
    if left_out is not None:
        bias = _bias_correction(drawn, value)
        if not math.isfinite(bias):
            return _without("all replicates lie on one side of the estimate", value, level, clusters, name)
        acceleration = _acceleration(left_out)
        tails = (_adjusted(tail, bias, acceleration), _adjusted(1 - tail, bias, acceleration))
    low, high = (float(b) for b in np.quantile(drawn, tails))
    if method == "basic":
        low, high = 2 * value - high, 2 * value - low
    interval = Interval(
        value=value,
        low=low,
        high=high,
        level=level,
        n=clusters,
        n_clusters=clusters,
        method=name,
        se=float(np.std(drawn, ddof=1)),
    )
    return Bootstrap(interval=interval, replicates=drawn, bias_correction=bias, acceleration=acceleration)


def _bias_correction(drawn: Floats, value: float) -> float:
    below = np.count_nonzero(drawn < value) + 0.5 * np.count_nonzero(drawn == value)
    return float(sps.norm.ppf(below / len(drawn)))


def _acceleration(left_out: Floats) -> float:
    gaps = left_out.mean() - left_out
    spread = float(np.sum(gaps**2))
    return float(np.sum(gaps**3)) / (6 * spread**1.5) if spread > 0 else 0.0


def _adjusted(tail: float, bias: float, acceleration: float) -> float:
    shifted = bias + float(sps.norm.ppf(tail))
    room = 1 - acceleration * shifted
    # Beyond the pole of the transformation the bound is the outermost replicate.
    return float(sps.norm.cdf(bias + shifted / room)) if room > 0 else float(shifted > 0)
