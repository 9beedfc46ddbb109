"""Do two shares differ, and by how much?

Independent groups: Newcombe's hybrid score interval. The same units under both conditions: Tango's score interval, which
stays sound with few discordant pairs, and McNemar's test; pairs in clusters keep Tango's form on their effective number.
Differences are first minus second everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import optimize
from scipy import stats as sps

from jurat.stats.cluster import cluster_spread
from jurat.stats.interval import proportion, tail_probability
from jurat.stats.mover import mover_difference
from jurat.stats.result import Interval, Test

__all__ = ["clustered_paired_proportions", "difference_of_proportions", "mcnemar", "paired_proportions"]


def difference_of_proportions(
    successes_1: int, n_1: int, successes_2: int, n_2: int, *, level: float = 0.95
) -> Interval:
    """Difference of two independent shares by Newcombe's hybrid score method.

    Parameters
    ----------
    successes_1, n_1, successes_2, n_2
        Counts of the two groups.
    level
        Two-sided coverage.

    Returns
    -------
    Interval
        Of :math:`p_1 - p_2`; undefined with a reason where a group is empty.

    References
    ----------
    Newcombe, R. G. (1998). Interval estimation for the difference between independent proportions. Statistics in
    Medicine 17, 873–890 (method 10).

    Examples
    --------
    >>> print(difference_of_proportions(56, 70, 48, 80))
    0.2 [0.05243, 0.3339] 0.95 n=150 Newcombe
    """
    found = mover_difference(proportion(successes_1, n_1, level=level), proportion(successes_2, n_2, level=level))
    return Interval(
        value=found.value,
        low=found.low,
        high=found.high,
        level=level,
        n=found.n,
        method="Newcombe",
        reason=found.reason,
    )


def _check_cells(*cells: int) -> None:
    if any(c < 0 or c != int(c) for c in cells):
        raise ValueError(f"cells of the table must be whole numbers of at least 0, got {cells!r}")


def mcnemar(only_first: int, only_second: int, *, method: Literal["mid-p", "exact", "chi2"] = "mid-p") -> Test:
    """Test whether two shares of the same units are equal.

    Parameters
    ----------
    only_first, only_second
        Discordant pairs: success under the first condition only, under the second only.
    method
        ``"mid-p"`` (default), ``"exact"`` (conservative) or ``"chi2"`` (large samples, no correction).

    Raises
    ------
    ValueError
        For impossible counts or an unknown method.

    References
    ----------
    McNemar, Q. (1947). Psychometrika 12, 153–157. Fagerland, M. W., Lydersen, S. and Laake, P. (2013). BMC Medical
    Research Methodology 13, 91 (mid-p).

    Examples
    --------
    >>> mcnemar(86, 150, method="chi2").statistic
    17.35593220338983
    """
    _check_cells(only_first, only_second)
    n = only_first + only_second
    if method not in ("mid-p", "exact", "chi2"):
        raise ValueError(f"method must be 'mid-p', 'exact' or 'chi2', got {method!r}")
    name = f"McNemar {method}"
    if n == 0:
        return Test(statistic=None, p_value=1.0, alternative="two-sided", n=0, method=name)
    if method == "chi2":
        statistic = (only_first - only_second) ** 2 / n
        return Test(
            statistic=statistic,
            p_value=float(sps.chi2.sf(statistic, 1)),
            alternative="two-sided",
            n=n,
            method=name,
            df=1.0,
        )
    low = min(only_first, only_second)
    p = 2 * float(sps.binom.cdf(low, n, 0.5))
    if method == "mid-p":
        p -= float(sps.binom.pmf(low, n, 0.5))
    return Test(statistic=None, p_value=min(p, 1.0), alternative="two-sided", n=n, method=name)


def paired_proportions(
    both: int,
    only_first: int,
    only_second: int,
    neither: int,
    *,
    level: float = 0.95,
    method: Literal["tango", "newcombe"] = "tango",
) -> Interval:
    """Difference of two shares of the same units.

    Parameters
    ----------
    both, only_first, only_second, neither
        Pairs by outcome under the two conditions.
    level
        Two-sided coverage.
    method
        ``"tango"`` (default; the score interval) or ``"newcombe"`` (hybrid of two Wilson intervals with the
        correlation of the pairs, method 10).

    Returns
    -------
    Interval
        Of :math:`p_1 - p_2`, ``n`` counting pairs; undefined with a reason where there are none.

    Raises
    ------
    ValueError
        For counts that are negative or not whole, or an unknown method.

    Notes
    -----
    Tango's bounds are the two roots in :math:`\\Delta` of

    .. math::
        \\frac{b - c - n\\Delta}{\\sqrt{n(2\\tilde q(\\Delta) + \\Delta(1 - \\Delta))}} = \\pm z,
        \\qquad \\tilde q = \\frac{\\sqrt{B^2 - 4AC} - B}{2A},

    with :math:`A = 2n`, :math:`B = -b - c + (2n - b + c)\\Delta`, :math:`C = -c\\Delta(1 - \\Delta)`;
    :math:`\\tilde q` is the maximum-likelihood estimate of the second discordant share given :math:`\\Delta`. Without
    discordant pairs the bounds are :math:`\\pm z^2/(n + z^2)`.

    References
    ----------
    Tango, T. (1998). Equivalence test and confidence interval for the difference in proportions for the paired-sample
    design. Statistics in Medicine 17, 891–908. Newcombe, R. G. (1998). Improved confidence intervals for the difference
    between binomial proportions based on paired data. Statistics in Medicine 17, 2635–2650.

    Examples
    --------
    >>> print(paired_proportions(43, 0, 7, 0))
    -0.14 [-0.2619, -0.05866] 0.95 n=50 Tango
    """
    _check_cells(both, only_first, only_second, neither)
    if method not in ("tango", "newcombe"):
        raise ValueError(f"method must be 'tango' or 'newcombe', got {method!r}")
    z = float(sps.norm.isf(tail_probability(level)))
    n = both + only_first + only_second + neither
    name = "Tango" if method == "tango" else "Newcombe, paired"
    if n == 0:
        return Interval(value=None, low=None, high=None, level=level, n=0, method=name, reason="there are no pairs")
    if method == "tango":
        low, high = _tango(float(only_first), float(only_second), float(n), z)
    else:
        low, high = _newcombe_paired((both, only_first, only_second, neither), level)
    return Interval(value=(only_first - only_second) / n, low=low, high=high, level=level, n=n, method=name)


def clustered_paired_proportions(
    n: npt.ArrayLike, only_first: npt.ArrayLike, only_second: npt.ArrayLike, *, level: float = 0.95
) -> Interval:
    """Difference of two shares of the same units, where the units come in clusters.

    Parameters
    ----------
    n, only_first, only_second
        Pairs, and discordant pairs of either kind, per cluster, each of shape (clusters,).
    level
        Two-sided coverage.

    Returns
    -------
    Interval
        Of :math:`p_1 - p_2`, ``n`` counting pairs; bounds are ``None`` with a reason where there is one cluster.

    Raises
    ------
    ValueError
        For counts that are impossible or of different lengths.

    Notes
    -----
    With :math:`d = (b - c)/n`, the variance over clusters (Obuchowski, 1998, with CR2's weights) is
    :math:`v = \\sum_g (b_g - c_g - d n_g)^2 / (1 - n_g/n) / n^2` and that of independent pairs
    :math:`v_0 = ((b + c)/n - d^2)/n`; the effective number of pairs is :math:`n^* = n v_0 / v`, never more than n. Tango's
    bounds are taken at :math:`(b, c, n) \\cdot n^*/n` with t at Satterthwaite's degrees of freedom in place of z. Where no
    pair or every pair is discordant in one direction, the data cannot show a design effect: the (Kish-effective) number
    of clusters is then taken for :math:`n^*`. So two conditions without a single failure are never called equal for certain.

    References
    ----------
    Obuchowski, N. A. (1998). On the comparison of correlated proportions for clustered data. Statistics in Medicine 17,
    1495–1507. Tango (1998), as in `paired_proportions`; Korn and Graubard (1998), as in
    `jurat.stats.interval.clustered_proportion`.

    Examples
    --------
    >>> print(clustered_paired_proportions([5, 4, 6, 5, 7, 3], [2, 0, 1, 1, 2, 0], [0, 1, 0, 0, 1, 0]))
    0.1333 [-0.1404, 0.3961] 0.95 n=30 clusters=6 Tango, effective number of pairs
    """
    m, b, c = (np.asarray(x, dtype=np.float64) for x in (n, only_first, only_second))
    if m.ndim != 1 or not m.shape == b.shape == c.shape:
        raise ValueError(f"the counts must be vectors of one length, got shapes {m.shape}, {b.shape} and {c.shape}")
    possible = np.isfinite(m) & (b >= 0) & (c >= 0) & (b + c <= m)
    if not np.all(possible):
        g = int(np.argmin(possible))
        raise ValueError(f"cluster {g} has {m[g]:g} pairs but {b[g]:g} and {c[g]:g} discordant ones")
    m, b, c = m[m > 0], b[m > 0], c[m > 0]
    clusters, total, quantile_tail = len(m), float(m.sum()), tail_probability(level)
    method = "Tango, effective number of pairs"
    difference = float((b - c).sum() / total) if clusters else None
    low = high = se = df = None
    reason = "there are no pairs" if clusters == 0 else "one cluster cannot show how clusters vary"
    if difference is not None and clusters > 1:
        se, df = cluster_spread(m, b - c - difference * m, "CR2")
        variance = se**2
        independent = (float((b + c).sum()) / total - difference**2) / total
        if independent <= 0.0:
            effective, df = total**2 / float(np.sum(m**2)), clusters - 1.0
        else:
            effective = total if independent >= variance else total * independent / variance
        share = effective / total
        t = float(sps.t.isf(quantile_tail, df))
        low, high = _tango(float(b.sum()) * share, float(c.sum()) * share, effective, t)
        low, high = min(low, difference), max(high, difference)
        se = se if se > 0 else None
    return Interval(
        value=difference,
        low=low,
        high=high,
        level=level,
        n=int(total),
        n_clusters=clusters,
        method=method,
        se=se,
        df=df,
        reason=reason if low is None else None,
    )


def _tango(b: float, c: float, n: float, z: float) -> tuple[float, float]:
    """Tango's bounds; the counts need not be whole."""
    value = (b - c) / n
    low = -1.0 if value <= -1.0 else _root(lambda delta: _tango_statistic(b, c, n, delta) - z, -1.0, value)
    high = 1.0 if value >= 1.0 else _root(lambda delta: _tango_statistic(b, c, n, delta) + z, value, 1.0)
    return min(low, value), max(high, value)


def _tango_statistic(b: float, c: float, n: float, delta: float) -> float:
    """Score statistic of the hypothesis that the difference is ``delta``; decreasing in ``delta``."""
    half = (-b - c + (2 * n - b + c) * delta) / 2
    product = -2 * n * c * delta * (1 - delta)
    root = math.sqrt(max(half * half - product, 0.0))
    # Of the two forms of the larger root, the one that adds numbers of one sign.
    q = (root - half) / (2 * n) if half <= 0 else -product / (2 * n * (root + half))
    variance = n * (2 * q + delta * (1 - delta))
    top = b - c - n * delta
    if variance <= 0.0:
        return 0.0 if top == 0 else math.copysign(math.inf, top)
    return top / math.sqrt(variance)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Find the sign change between two ends; an end that is infinite counts by its sign."""

    def bounded(x: float) -> float:
        return max(min(function(x), 1e12), -1e12)

    if bounded(low) * bounded(high) > 0:
        # No crossing: the bound is the end of the parameter space.
        return low if abs(low) == 1.0 else high
    return float(optimize.brentq(bounded, low, high, xtol=1e-20, rtol=1e-14, maxiter=500))


def _newcombe_paired(cells: tuple[int, int, int, int], level: float) -> tuple[float, float]:
    """Newcombe's paired method 10: Wilson intervals of the two shares, and the continuity-corrected correlation."""
    a, b, c, d = cells
    n = a + b + c + d
    first, second = proportion(a + b, n, level=level), proportion(a + c, n, level=level)
    bounds = (first.value, first.low, first.high, second.value, second.low, second.high)
    p1, low1, high1, p2, low2, high2 = (float(x) for x in bounds if x is not None)
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    excess = float(a * d - b * c)
    if excess > 0:
        excess = max(excess - n / 2, 0.0)
    phi = excess / math.sqrt(margins) if margins else 0.0

    def reach(x: float, y: float) -> float:
        return math.sqrt(max(x * x - 2 * phi * x * y + y * y, 0.0))

    value = (b - c) / n
    return value - reach(p1 - low1, high2 - p2), value + reach(high1 - p1, p2 - low2)
