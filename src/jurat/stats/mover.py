"""How far apart are two quantities, when each has a good interval of its own?

The method of variance estimates recovery (MOVER) builds the interval of a difference from the intervals of its two
parts. With Wilson intervals it is Newcombe's hybrid score method; with cluster-adjusted Wilson intervals or
order-statistic quantile intervals it keeps their good behaviour near the edge, where a symmetric interval fails.
"""

from __future__ import annotations

import math

from jurat.stats.result import Interval

__all__ = ["mover_difference"]


def mover_difference(first: Interval, second: Interval) -> Interval:
    """Interval of ``first − second`` for two independent estimates, from their own intervals.

    Parameters
    ----------
    first, second
        Two-sided intervals at the same level, of independent quantities.

    Returns
    -------
    Interval
        At the common level; bounds are ``None`` with a reason where a part lacks one.

    Raises
    ------
    ValueError
        Where the levels differ.

    Notes
    -----
    With estimates :math:`a, b` and intervals :math:`(l_1, u_1), (l_2, u_2)`,

    .. math::
        L = a - b - \\sqrt{(a - l_1)^2 + (u_2 - b)^2}, \\qquad
        U = a - b + \\sqrt{(u_1 - a)^2 + (b - l_2)^2}.

    References
    ----------
    Zou, G. Y. and Donner, A. (2008). Construction of confidence limits about effect measures: a general approach.
    Statistics in Medicine 27, 1693–1702. Newcombe, R. G. (1998). Statistics in Medicine 17, 873–890 (method 10).

    Examples
    --------
    >>> from jurat.stats.interval import proportion
    >>> d = mover_difference(proportion(56, 70), proportion(48, 80))
    >>> round(d.low, 4), round(d.high, 4)
    (0.0524, 0.3339)
    """
    if first.level != second.level:
        raise ValueError(f"the two intervals must have one level, got {first.level!r} and {second.level!r}")
    clusters = None
    if first.n_clusters is not None and second.n_clusters is not None:
        clusters = first.n_clusters + second.n_clusters
    a, b = first.value, second.value
    n, method = first.n + second.n, f"MOVER of {first.method}"
    if a is None or b is None:
        reason = first.reason if a is None else second.reason
        return Interval(
            value=None, low=None, high=None, level=first.level, n=n, n_clusters=clusters, method=method, reason=reason
        )
    bounds = (first.low, first.high, second.low, second.high)
    if any(bound is None for bound in bounds):
        reason = first.reason or second.reason or "a part has no two-sided interval"
        return Interval(
            value=a - b, low=None, high=None, level=first.level, n=n, n_clusters=clusters, method=method, reason=reason
        )
    low_1, high_1, low_2, high_2 = (float(x) for x in bounds if x is not None)
    return Interval(
        value=a - b,
        low=a - b - math.hypot(a - low_1, high_2 - b),
        high=a - b + math.hypot(high_1 - a, b - low_2),
        level=first.level,
        n=n,
        n_clusters=clusters,
        method=method,
    )
