"""Do two shares differ, and by how much?

Independent groups: Newcombe's hybrid score interval. The same units under both conditions: Tango's score interval, which
stays sound with few discordant pairs, and McNemar's test. Differences are first minus second everywhere.
"""

from __future__ import annotations

import math
from typing import Literal

from scipy import optimize
from scipy import stats as sps

from jurat.stats.interval import proportion
from jurat.stats.mover import mover_difference
from jurat.stats.result import Interval, Test

__all__ = ["difference_of_proportions", "mcnemar", "paired_proportions"]


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


def paired_proportions(both: int, only_first: int, only_second: int, neither: int, *, level: float = 0.95) -> Interval:
    """Difference of two shares of the same units by Tango's score interval.

    Parameters
    ----------
    both, only_first, only_second, neither
        Pairs by outcome under the two conditions.
    level
        Two-sided coverage.

    Returns
    -------
    Interval
        Of :math:`p_1 - p_2`, ``n`` counting pairs; undefined with a reason where there are none.

    Raises
    ------
    ValueError
        For counts that are negative or not whole.

    Notes
    -----
    The bounds are the two roots in :math:`\\Delta` of

    .. math::
        \\frac{b - c - n\\Delta}{\\sqrt{n(2\\tilde q(\\Delta) + \\Delta(1 - \\Delta))}} = \\pm z,
        \\qquad \\tilde q = \\frac{\\sqrt{B^2 - 4AC} - B}{2A},

    with :math:`A = 2n`, :math:`B = -b - c + (2n - b + c)\\Delta`, :math:`C = -c\\Delta(1 - \\Delta)`;
    :math:`\\tilde q` is the maximum-likelihood estimate of the second discordant share given :math:`\\Delta`.

    References
    ----------
    Tango, T. (1998). Equivalence test and confidence interval for the difference in proportions for the paired-sample
    design. Statistics in Medicine 17, 891–908.

    Examples
    --------
    >>> print(paired_proportions(43, 0, 7, 0))
    -0.14 [-0.2619, -0.05866] 0.95 n=50 Tango
    """
    _check_cells(both, only_first, only_second, neither)
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie in (0, 1), got {level!r}")
    n = both + only_first + only_second + neither
    if n == 0:
        return Interval(value=None, low=None, high=None, level=level, n=0, method="Tango", reason="there are no pairs")
    b, c = float(only_first), float(only_second)
    value = (b - c) / n
    z = float(sps.norm.isf((1 - level) / 2))

    def excess(delta: float) -> float:
        return _tango_statistic(b, c, float(n), delta)

    low = -1.0 if value == -1.0 else _root(lambda d: excess(d) - z, -1.0, value)
    high = 1.0 if value == 1.0 else _root(lambda d: excess(d) + z, value, 1.0)
    return Interval(value=value, low=min(low, value), high=max(high, value), level=level, n=n, method="Tango")


def _tango_statistic(b: float, c: float, n: float, delta: float) -> float:
    """Score statistic of the hypothesis that the difference is ``delta``; decreasing in ``delta``."""
    a_ = 2 * n
    b_ = -b - c + (2 * n - b + c) * delta
    c_ = -c * delta * (1 - delta)
    q = (math.sqrt(max(b_ * b_ - 4 * a_ * c_, 0.0)) - b_) / (2 * a_)
    variance = n * (2 * q + delta * (1 - delta))
    top = b - c - n * delta
    if variance <= 0.0:
        return 0.0 if top == 0 else math.copysign(math.inf, top)
    return top / math.sqrt(variance)


def _root(function: object, low: float, high: float) -> float:
    """Find the sign change between two ends; an end that is infinite counts by its sign."""
    assert callable(function)  # noqa: S101 - narrows the type

    def bounded(x: float) -> float:
        return float(max(min(function(x), 1e12), -1e12))

    if bounded(low) * bounded(high) > 0:
        # No crossing: the bound is the end of the parameter space.
        return low if abs(low) == 1.0 else high
    return float(optimize.brentq(bounded, low, high, xtol=1e-14, rtol=1e-14, maxiter=500))
