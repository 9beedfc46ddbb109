"""Where does the slow tail begin?

Latency and token counts are skewed: their quantiles say what a mean hides. Independent values: the exact interval between
two order statistics, free of any assumption on the distribution. Clustered values: Woodruff's interval, which turns the
cluster-robust interval of "share of values at or below the quantile" into values.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import stats as sps

from jurat.stats.mean import Floats, cluster_codes
from jurat.stats.result import Interval

__all__ = ["order_statistic_ranks", "quantile", "quantile_from_histogram"]


def _check(q: float, level: float) -> None:
    if not 0.0 < q < 1.0:
        raise ValueError(f"q must lie in (0, 1), got {q!r}")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie in (0, 1), got {level!r}")


def order_statistic_ranks(n: int, q: float, *, level: float = 0.95) -> tuple[int, int, float] | None:
    """Ranks of the order statistics that hold a quantile, and their exact coverage.

    Parameters
    ----------
    n
        Values.
    q
        Quantile, in (0, 1).
    level
        Coverage that must at least be reached.

    Returns
    -------
    tuple of int, int, float, or None
        Ranks from 1, and :math:`P(r \\le B < s)` for B binomial(n, q); ``None`` where n is too small for the level.

    Notes
    -----
    The narrowest pair (in ranks) around the quantile that reaches the level; of equally narrow ones the pair with the
    larger coverage.

    References
    ----------
    David, H. A. and Nagaraja, H. N. (2003). Order Statistics, 3rd ed., section 7.1.

    Examples
    --------
    >>> r, s, coverage = order_statistic_ranks(1000, 0.95)
    >>> r, s, round(coverage, 10)
    (937, 964, 0.9504167703)
    """
    _check(q, level)
    cdf = sps.binom.cdf(np.arange(-1, n + 1), n, q)  # cdf[i] = P(B <= i − 1)
    if cdf[n] - cdf[1] < level:
        return None
    best: tuple[int, int, float] | None = None
    # For each lower rank r the smallest s with P(r <= B <= s − 1) >= level; both move upwards together.
    upper = np.searchsorted(cdf, cdf[1 : n + 1] + level - 1e-15)
    for r, s in zip(range(1, n + 1), upper.tolist(), strict=True):
        if s > n:
            break
        coverage = float(cdf[s] - cdf[r])
        if best is None or (s - r, -coverage) < (best[1] - best[0], -best[2]):
            best = (r, s, coverage)
    return best


def quantile(
    values: npt.ArrayLike, q: float, *, cluster: npt.ArrayLike | None = None, level: float = 0.95
) -> Interval:
    """Quantile of values, with an interval.

    Parameters
    ----------
    values
        Shape (n,), finite.
    q
        In (0, 1).
    cluster
        Cluster labels, shape (n,), where values come in clusters.
    level
        Two-sided coverage.

    Notes
    -----
    See `quantile_from_histogram`.

    Examples
    --------
    >>> print(quantile(np.arange(1.0, 101.0), 0.5))
    50.5 [40, 60] 0.95 n=100 order statistics
    """
    x = np.asarray(values, dtype=np.float64)
    return quantile_from_histogram(x, np.ones_like(x), q, cluster=cluster, level=level)


def quantile_from_histogram(
    value: npt.ArrayLike,
    count: npt.ArrayLike,
    q: float,
    *,
    cluster: npt.ArrayLike | None = None,
    level: float = 0.95,
) -> Interval:
    """Quantile from rows of (value, count), with an interval.

    Parameters
    ----------
    value, count
        Values and how often each occurs, both of shape (rows,); counts are whole and not negative.
    q
        In (0, 1).
    cluster
        Cluster of each row, where values come in clusters.
    level
        Two-sided coverage.

    Returns
    -------
    Interval
        The estimate interpolates linearly between order statistics (type 7); bounds are ``None`` with a reason where
        the sample is too small for the level.

    Raises
    ------
    ValueError
        For values that are not finite, impossible counts, or ``q`` outside (0, 1).

    Notes
    -----
    Independent: order statistics (`order_statistic_ranks`). Clustered: with :math:`z_g = \\sum_{i \\in g} (1[x_i \\le
    \\hat x_q] - q)`, the share at or below the quantile has standard error
    :math:`s = \\sqrt{\\tfrac{G}{G-1}\\sum z_g^2}/n`; the bounds are the sample quantiles at :math:`q \\mp t_{G-1} s`.

    References
    ----------
    Woodruff, R. S. (1952). Confidence intervals for medians and other position measures. JASA 47, 635–646.
    Hyndman, R. J. and Fan, Y. (1996). Sample quantiles in statistical packages. American Statistician 50, 361–365.

    Examples
    --------
    >>> print(quantile_from_histogram([10.0, 20.0, 30.0], [50, 40, 10], 0.9, cluster=[0, 1, 2]))
    21 [10, 30] 0.95 n=100 clusters=3 Woodruff, clustered
    """
    _check(q, level)
    x, m = np.asarray(value, dtype=np.float64), np.asarray(count, dtype=np.float64)
    if x.shape != m.shape or x.ndim != 1 or not np.all(np.isfinite(x)):
        raise ValueError(f"value and count must be finite vectors of one length, got shapes {x.shape} and {m.shape}")
    if np.any(m < 0) or np.any(m != np.floor(m)):
        raise ValueError(f"counts must be whole and not negative, got {m.min()!r}")
    keep = m > 0
    x, m = x[keep], m[keep]
    n = int(m.sum())
    method = "order statistics" if cluster is None else "Woodruff, clustered"
    if n == 0:
        return Interval(
            value=None, low=None, high=None, level=level, n=0, method=method, reason="there are no units"
        )
    order = np.argsort(x, kind="stable")
    sorted_x, cumulative = x[order], np.cumsum(m[order])
    estimate = _type_7(sorted_x, cumulative, n, q)
    if cluster is None:
        return _exact(sorted_x, cumulative, n, q, estimate, level)
    return _woodruff((sorted_x, cumulative), x, m, cluster_codes(cluster)[keep], q, estimate, level)


def _rank(sorted_x: Floats, cumulative: Floats, rank: int) -> float:
    return float(sorted_x[np.searchsorted(cumulative, rank, side="left")])


def _type_7(sorted_x: Floats, cumulative: Floats, n: int, q: float) -> float:
    position = (n - 1) * q
    below = math.floor(position)
    low = _rank(sorted_x, cumulative, below + 1)
    high = _rank(sorted_x, cumulative, min(below + 2, n))
    return low + (position - below) * (high - low)


def _exact(
    sorted_x: Floats, cumulative: Floats, n: int, q: float, estimate: float, level: float
) -> Interval:
    ranks = order_statistic_ranks(n, q, level=level)
    if ranks is None:
        reason = f"{n} values are too few for a {level:.4g} interval of the {q:g} quantile"
        return Interval(
            value=estimate, low=None, high=None, level=level, n=n, method="order statistics", reason=reason
        )
    low, high = (_rank(sorted_x, cumulative, r) for r in ranks[:2])
    return Interval(
        value=estimate, low=min(low, estimate), high=max(high, estimate), level=level, n=n, method="order statistics"
    )


def _woodruff(
    ordered: tuple[Floats, Floats],
    x: Floats,
    m: Floats,
    codes: npt.NDArray[np.int64],
    q: float,
    estimate: float,
    level: float,
) -> Interval:
    sorted_x, cumulative = ordered
    n, method = int(m.sum()), "Woodruff, clustered"
    sums = np.bincount(codes, weights=m * ((x <= estimate) - q))
    clusters = int(np.count_nonzero(np.bincount(codes, weights=m)))
    if clusters < 2:
        reason = "one cluster cannot show how clusters vary"
        return Interval(
            value=estimate, low=None, high=None, level=level, n=n, n_clusters=clusters, method=method, reason=reason
        )
    se = math.sqrt(clusters / (clusters - 1) * float(sums @ sums)) / n
    half = float(sps.t.isf((1 - level) / 2, clusters - 1)) * se
    low = _rank(sorted_x, cumulative, max(math.floor(n * (q - half)), 1))
    high = _rank(sorted_x, cumulative, min(math.ceil(n * (q + half)) + 1, n))
    return Interval(
        value=estimate,
        low=min(low, estimate),
        high=max(high, estimate),
        level=level,
        n=n,
        n_clusters=clusters,
        method=method,
        df=clusters - 1.0,
    )
