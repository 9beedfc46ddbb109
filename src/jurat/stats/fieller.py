"""How sure can one be of a ratio of two estimates?

Fieller's interval: the set of ratios r for which the linear contrast *numerator − r × denominator* is not significantly
different from zero. It stays honest where the denominator may be near zero, and then says that a side is open.
"""

from __future__ import annotations

import math

from scipy import stats as sps

from jurat.stats.interval import tail_probability
from jurat.stats.result import Interval

__all__ = ["fieller"]


def fieller(
    numerator: float,
    denominator: float,
    covariance: tuple[float, float, float],
    *,
    df: float = math.inf,
    level: float = 0.95,
    n: int,
    n_clusters: int | None = None,
) -> Interval:
    r"""Interval of a ratio of two jointly normal estimates.

    Parameters
    ----------
    numerator, denominator
        The estimates.
    covariance
        Variance of the numerator, covariance, variance of the denominator.
    df
        Degrees of freedom of the variances; normal where infinite.
    level
        Two-sided coverage.
    n, n_clusters
        Units and clusters, as they will be shown.

    Returns
    -------
    Interval
        Without bounds, and with the reason, where the denominator is not told apart from zero at this level: the set of
        ratios is then unbounded.

    Raises
    ------
    ValueError
        Where a variance is negative.

    Notes
    -----
    Solves :math:`(a - r b)^2 = t^2 (v_{aa} - 2 r v_{ab} + r^2 v_{bb})` for :math:`r`.

    References
    ----------
    Fieller, E. C. (1954). Some problems in interval estimation. Journal of the Royal Statistical Society B 16, 175–185.

    Examples
    --------
    >>> print(fieller(2.0, 4.0, (0.04, 0.0, 0.04), n=100))
    0.5 [0.3946, 0.6151] 0.95 n=100 Fieller
    >>> fieller(2.0, 0.1, (0.04, 0.0, 0.04), n=100).reason
    'the denominator is not told apart from zero, so the ratio is unbounded'
    """
    v_aa, v_ab, v_bb = covariance
    if v_aa < 0 or v_bb < 0:
        raise ValueError(f"variances must not be negative, got {v_aa!r} and {v_bb!r}")
    tail = tail_probability(level)
    t2 = float(sps.norm.isf(tail) if math.isinf(df) else sps.t.isf(tail, df)) ** 2
    value = numerator / denominator if denominator != 0 else None
    a, b, c = denominator**2 - t2 * v_bb, numerator * denominator - t2 * v_ab, numerator**2 - t2 * v_aa
    if a <= 0 or value is None:
        reason = "the denominator is not told apart from zero, so the ratio is unbounded"
        return Interval(
            value=value, low=None, high=None, level=level, n=n, n_clusters=n_clusters, method="Fieller", reason=reason
        )
    # Never negative for a proper covariance; rounding may leave a speck.
    root = math.sqrt(max(b * b - a * c, 0.0))
    return Interval(
        value=value,
        low=min((b - root) / a, value),
        high=max((b + root) / a, value),
        level=level,
        n=n,
        n_clusters=n_clusters,
        method="Fieller",
        df=None if math.isinf(df) else df,
    )
