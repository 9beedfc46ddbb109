"""Where does the slow tail begin?

Latency and token counts are skewed: their quantiles say what a mean hides. Independent values: the exact interval
between two order statistics, free of any assumption on the distribution. Clustered values: Woodruff's interval, which
turns the cluster-robust interval of "share of values at or below the quantile" into values; the slower check is
`jurat.stats.resample.bootstrap_statistic` over clusters.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats as sps

from jurat.stats.mean import Floats, Side, cluster_codes, undefined
from jurat.stats.result import Interval

__all__ = ["Ranks", "order_statistic_ranks", "quantile", "quantile_from_histogram"]


def _check(q: float, level: float) -> None:
    if not 0.0 < q < 1.0:
        raise ValueError(f"q must lie in (0, 1), got {q!r}")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie in (0, 1), got {level!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """Order statistics that hold a quantile.

    Attributes
    ----------
    low, high
        Ranks from 1; ``None`` where the sample is too small for a bound on that side.
    coverage
        Exact chance that the quantile of a continuous distribution lies between them.
    """

    low: int | None
    high: int | None
    coverage: float


def order_statistic_ranks(n: int, q: float, *, level: float = 0.95) -> Ranks:
    r"""Ranks of the order statistics that hold a quantile, and their exact coverage.

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
    Ranks
        For B binomial(n, q): the largest r with :math:`P(B < r) \le (1 - level)/2` and the smallest s with
        :math:`P(B \ge s) \le (1 - level)/2`; the coverage is :math:`P(r \le B < s)`.

    Notes
    -----
    Each tail keeps to its half, so that each bound alone is valid at (1 + level)/2 and a higher level never narrows the
    interval. The narrowest pair of ranks would promise neither.

    References
    ----------
    David, H. A. and Nagaraja, H. N. (2003). Order Statistics, 3rd ed., section 7.1.

    Examples
    --------
    >>> ranks = order_statistic_ranks(1000, 0.95)
    >>> ranks.low, ranks.high, round(ranks.coverage, 10)
    (936, 964, 0.9580952682)
    """
    _check(q, level)
    tail = (1 - level) / 2
    low, high = int(sps.binom.ppf(tail, n, q)), int(sps.binom.isf(tail, n, q)) + 1
    coverage = sps.binom.cdf(min(high - 1, n), n, q) - (sps.binom.cdf(low - 1, n, q) if low >= 1 else 0.0)
    return Ranks(low=low if low >= 1 else None, high=high if high <= n else None, coverage=float(coverage))


def quantile(
    values: npt.ArrayLike,
    q: float,
    *,
    cluster: npt.ArrayLike | None = None,
    level: float = 0.95,
    side: Side = "two-sided",
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
    level, side
        Coverage, and whether a one-sided bound is wanted.

    Notes
    -----
    See `quantile_from_histogram`.

    References
    ----------
    As in `quantile_from_histogram`.

    Examples
    --------
    >>> print(quantile(np.arange(1.0, 101.0), 0.5))
    50.5 [40, 61] 0.95 n=100 order statistics
    """
    x = np.asarray(values, dtype=np.float64)
    return quantile_from_histogram(x, np.ones_like(x), q, cluster=cluster, level=level, side=side)


def quantile_from_histogram(
    value: npt.ArrayLike,
    count: npt.ArrayLike,
    q: float,
    *,
    cluster: npt.ArrayLike | None = None,
    level: float = 0.95,
    side: Side = "two-sided",
) -> Interval:
    r"""Quantile from rows of (value, count), with an interval.

    Parameters
    ----------
    value, count
        Values and how often each occurs, both of shape (rows,); counts are whole and not negative.
    q
        In (0, 1).
    cluster
        Cluster of each row, where values come in clusters.
    level, side
        Coverage, and whether a one-sided bound (level above 0.5) is wanted.

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
    Independent: order statistics (`order_statistic_ranks`). Clustered: with :math:`z_g = \sum_{i \in g} (1[x_i <
    \hat x_q] + c\, 1[x_i = \hat x_q] - q)`, c such that they sum to zero, the share at or below the quantile has standard error
    :math:`s = \sqrt{\tfrac{G}{G-1}\sum z_g^2}/n`; the bounds are the sample quantiles at :math:`q \mp t_{G-1} s`. Where
    :math:`q + t_{G-1} s \ge 1`, the largest value is a bound only if :math:`q^m` is at most the tail, with :math:`m =
    q(1-q)/s^2` effective units; else the bound is open. The lower end likewise.

    References
    ----------
    Woodruff, R. S. (1952). Confidence intervals for medians and other position measures. JASA 47, 635–646.
    Hyndman, R. J. and Fan, Y. (1996). Sample quantiles in statistical packages. American Statistician 50, 361–365.

    Examples
    --------
    >>> user = np.arange(300) % 60
    >>> seconds = np.random.default_rng(2).lognormal(0.01 * user, 0.5)
    >>> print(quantile_from_histogram(seconds, np.ones(300), 0.9, cluster=user))
    2.677 [2.361, 3.017] 0.95 n=300 clusters=60 Woodruff, clustered
    """
    if side not in ("two-sided", "lower", "upper"):
        raise ValueError(f"side must be 'two-sided', 'lower' or 'upper', got {side!r}")
    if side != "two-sided":
        if not 0.5 < level < 1.0:
            raise ValueError(f"a one-sided level must lie in (0.5, 1), got {level!r}")
        both = quantile_from_histogram(value, count, q, cluster=cluster, level=2 * level - 1)
        low, high = (both.low, None) if side == "lower" else (None, both.high)
        reason = both.reason if low is None and high is None else None
        return dataclasses.replace(both, level=level, low=low, high=high, reason=reason)
    _check(q, level)
    x, m = np.asarray(value, dtype=np.float64), np.asarray(count, dtype=np.float64)
    if x.shape != m.shape or x.ndim != 1 or not np.all(np.isfinite(x)):
        raise ValueError(f"value and count must be finite vectors that match, got {x.shape} and {m.shape}")
    if np.any(m < 0) or np.any(m != np.floor(m)):
        raise ValueError(f"counts must be whole and not negative, got {m.min()!r}")
    keep = m > 0
    x, m = x[keep], m[keep]
    n = int(m.sum())
    method = "order statistics" if cluster is None else "Woodruff, clustered"
    if n == 0:
        return Interval(value=None, low=None, high=None, level=level, n=0, method=method, reason="there are no units")
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


def _exact(sorted_x: Floats, cumulative: Floats, n: int, q: float, estimate: float, level: float) -> Interval:
    ranks = order_statistic_ranks(n, q, level=level)
    low = None if ranks.low is None else min(_rank(sorted_x, cumulative, ranks.low), estimate)
    high = None if ranks.high is None else max(_rank(sorted_x, cumulative, ranks.high), estimate)
    return Interval(
        value=estimate,
        low=low,
        high=high,
        level=level,
        n=n,
        method="order statistics",
        reason=_open_reason(low, high, f"{n} values are too few", q),
    )


def _open_reason(low: float | None, high: float | None, cause: str, q: float) -> str | None:
    missing = [name for name, bound in (("a lower", low), ("an upper", high)) if bound is None]
    return f"{cause} for {' or '.join(missing)} bound of the {q:g} quantile" if missing else None


def _share_below(x: Floats, m: Floats, estimate: float, q: float) -> Floats:
    """How much of each value lies at or below the quantile: of values that equal it, the part that makes the mean q.

    Without that part, buckets and whole numbers, where many values equal the quantile, would hide how clusters vary.
    """
    below, equal = x < estimate, x == estimate
    units = float(m[equal].sum())
    part = (q * float(m.sum()) - float(m[below].sum())) / units if units else 0.0
    share: Floats = below + min(max(part, 0.0), 1.0) * equal
    return share


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
    sums = np.bincount(codes, weights=m * (_share_below(x, m, estimate, q) - q))
    clusters = int(np.count_nonzero(np.bincount(codes, weights=m)))
    if clusters < 2:
        reason = "one cluster cannot show how clusters vary"
        return undefined(reason, level=level, n=n, method=method, value=estimate, n_clusters=clusters)
    tail, independent = (1 - level) / 2, math.sqrt(q * (1 - q) / n)
    # Clusters that balance exactly would claim certainty: then units are taken as independent.
    se = math.sqrt(clusters / (clusters - 1) * float(sums @ sums)) / n or independent
    half = float(sps.t.isf(tail, clusters - 1)) * se
    effective = min(q * (1 - q) / se**2, n)
    low = high = None
    if q - half > 0 or (1 - q) ** effective <= tail:
        low = min(_rank(sorted_x, cumulative, max(math.floor(n * (q - half)), 1)), estimate)
    if q + half < 1 or q**effective <= tail:
        high = max(_rank(sorted_x, cumulative, min(math.ceil(n * (q + half)) + 1, n)), estimate)
    return Interval(
        value=estimate,
        low=low,
        high=high,
        level=level,
        n=n,
        n_clusters=clusters,
        method=method,
        df=clusters - 1.0,
        reason=_open_reason(low, high, f"{clusters} clusters vary too much", q),
    )
