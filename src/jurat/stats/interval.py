"""How sure can one be of a share?

Wilson's score interval is the default; Clopper–Pearson where the guarantee must hold at every n; Jeffreys for rare harm
read as a posterior. The Wald interval is refused: at n = 30, p = 0.01 it covers 26 times in 100. Clustered shares use
Wilson's form on the effective sample size (Korn and Graubard, 1998), so that zero events never give a zero width.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import special
from scipy import stats as sps

from jurat.stats.cluster import cluster_spread
from jurat.stats.result import Interval

__all__ = ["clustered_proportion", "proportion", "proportion_from_spread", "tail_probability", "zero_failure_bound"]

Side = Literal["two-sided", "lower", "upper"]
_METHODS = ("wilson", "clopper-pearson", "jeffreys")


def tail_probability(level: float, side: str = "two-sided") -> float:
    """Probability left outside at each closed end; the one check of ``level`` and ``side``."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie in (0, 1), got {level!r}")
    if side not in ("two-sided", "lower", "upper"):
        raise ValueError(f"side must be 'two-sided', 'lower' or 'upper', got {side!r}")
    return (1 - level) / 2 if side == "two-sided" else 1 - level


def _check_counts(successes: float, n: float) -> None:
    if not (math.isfinite(n) and 0 <= successes <= n and successes == int(successes) and n == int(n)):
        raise ValueError(f"need whole numbers 0 <= successes <= n, got successes={successes!r}, n={n!r}")


def proportion(
    successes: int,
    n: int,
    *,
    level: float = 0.95,
    method: str = "wilson",
    side: Side = "two-sided",
) -> Interval:
    """Interval of a share from independent yes/no units.

    Parameters
    ----------
    successes, n
        Counts.
    level
        Coverage; of a one-sided bound where ``side`` is not ``"two-sided"``.
    method
        ``"wilson"`` (default), ``"clopper-pearson"`` (at least ``level`` at every p), ``"jeffreys"`` (equal-tailed
        posterior under Beta(1/2, 1/2), with 0 and 1 at the ends).
    side
        ``"lower"`` or ``"upper"`` for a one-sided bound.

    Returns
    -------
    Interval
        ``value`` is ``None`` with a reason where ``n`` is 0.

    Raises
    ------
    ValueError
        For impossible counts, an unknown method, or ``"wald"``, which is refused.

    Notes
    -----
    Wilson: :math:`\\frac{\\hat p + z^2/2n \\pm z\\sqrt{\\hat p(1-\\hat p)/n + z^2/4n^2}}{1 + z^2/n}`.
    Clopper–Pearson: quantiles of Beta(k, n − k + 1) and Beta(k + 1, n − k).

    References
    ----------
    Wilson, E. B. (1927). JASA 22, 209–212. Clopper, C. J. and Pearson, E. S. (1934). Biometrika 26, 404–413.
    Brown, L. D., Cai, T. T. and DasGupta, A. (2001). Statistical Science 16, 101–133.

    Examples
    --------
    >>> print(proportion(0, 10_000, level=0.95, method="clopper-pearson", side="upper"))
    0 [−∞, 0.0002995] 0.95 n=10000 Clopper–Pearson
    >>> round(proportion(8, 250).high, 4)
    0.0619
    """
    _check_counts(successes, n)
    tail = tail_probability(level, side)
    if method == "wald":
        raise ValueError(
            "the Wald interval is refused: it covers far below its level for small n or rare events; "
            "use 'wilson', 'clopper-pearson' or 'jeffreys'"
        )
    if method not in _METHODS:
        raise ValueError(f"method must be one of {', '.join(_METHODS)}, got {method!r}")
    names = {"wilson": "Wilson", "clopper-pearson": "Clopper–Pearson", "jeffreys": "Jeffreys"}
    if n == 0:
        return Interval(
            value=None, low=None, high=None, level=level, n=0, method=names[method], reason="there are no units"
        )
    bounds = {"wilson": _wilson, "clopper-pearson": _clopper_pearson, "jeffreys": _jeffreys}[method]
    low, high = bounds(float(successes), float(n), tail)
    return Interval(
        value=successes / n,
        low=None if side == "upper" else low,
        high=None if side == "lower" else high,
        level=level,
        n=int(n),
        method=names[method],
    )


def _wilson(k: float, n: float, tail: float, quantile: float | None = None) -> tuple[float, float]:
    z = float(sps.norm.isf(tail)) if quantile is None else quantile
    p = k / n
    centre = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # At the ends one bound is exactly the edge; rounding must not move it.
    low = 0.0 if k == 0 else max((centre - half) / scale, 0.0)
    high = 1.0 if k == n else min((centre + half) / scale, 1.0)
    return low, high


def _clopper_pearson(k: float, n: float, tail: float) -> tuple[float, float]:
    low = 0.0 if k == 0 else float(special.betaincinv(k, n - k + 1, tail))
    high = 1.0 if k == n else float(special.betainccinv(k + 1, n - k, tail))
    return low, high


def _jeffreys(k: float, n: float, tail: float) -> tuple[float, float]:
    low = 0.0 if k == 0 else float(special.betaincinv(k + 0.5, n - k + 0.5, tail))
    high = 1.0 if k == n else float(special.betainccinv(k + 0.5, n - k + 0.5, tail))
    return low, high


def zero_failure_bound(
    n: int, *, level: float = 0.95, method: Literal["exact", "jeffreys", "uniform", "poisson"] = "exact"
) -> Interval:
    """Upper bound of a failure rate after ``n`` trials without a failure.

    Parameters
    ----------
    n
        Trials, at least 1.
    level
        One-sided level.
    method
        ``"exact"``: :math:`1 - \\alpha^{1/n}` (one-sided Clopper–Pearson; about 3/n at 95 %). ``"poisson"``:
        :math:`-\\ln(\\alpha)/n`. ``"uniform"`` and ``"jeffreys"``: posterior quantile under Beta(1, 1) and
        Beta(1/2, 1/2).

    Raises
    ------
    ValueError
        Where ``n`` is below 1 or the method is unknown.

    References
    ----------
    Hanley, J. A. and Lippman-Hand, A. (1983). If nothing goes wrong, is everything all right? JAMA 249, 1743–1745.

    Examples
    --------
    >>> round(zero_failure_bound(10_000).high, 10)
    0.0002995284
    """
    if n < 1 or n != int(n):
        raise ValueError(f"n must be a whole number of at least 1, got {n!r}")
    alpha = tail_probability(level, "upper")
    if method == "exact":
        high = -math.expm1(math.log(alpha) / n)
    elif method == "poisson":
        high = min(-math.log(alpha) / n, 1.0)
    elif method == "uniform":
        high = float(special.betainccinv(1.0, n + 1.0, alpha))
    elif method == "jeffreys":
        high = float(special.betainccinv(0.5, n + 0.5, alpha))
    else:
        raise ValueError(f"method must be 'exact', 'jeffreys', 'uniform' or 'poisson', got {method!r}")
    return Interval(value=0.0, low=None, high=high, level=level, n=int(n), method=f"zero-failure, {method}")


def clustered_proportion(
    successes: npt.ArrayLike,
    n: npt.ArrayLike,
    *,
    level: float = 0.95,
    side: Side = "two-sided",
) -> Interval:
    """Interval of a share whose units come in clusters.

    Parameters
    ----------
    successes, n
        Counts per cluster, each of shape (clusters,); clusters without units are left out.
    level, side
        As in `proportion`.

    Returns
    -------
    Interval
        With ``n_clusters``; bounds are ``None`` with a reason where there is one cluster.

    Raises
    ------
    ValueError
        Where counts are impossible or shapes differ.

    Notes
    -----
    With the linearised cluster variance :math:`v = \\sum_g (k_g - \\hat p n_g)^2 / (1 - n_g/n) / n^2` (CR2) the design
    effect is :math:`d = v / (\\hat p (1 - \\hat p) / n)` and the effective sample size :math:`n^* = n/d`, never more
    than ``n``. Wilson's form is taken at :math:`(\\hat p n^*, n^*)` with the quantile of t at Satterthwaite's degrees of
    freedom in place of z: with a dozen unequal clusters, G − 1 are too many. At zero or all successes the sample cannot
    show its design effect; the clusters themselves are then taken as the units
    (:math:`n^* = G`, or the Kish-effective number of clusters where sizes differ), which is the most cautious choice.
    It is more cautious than the estimated design effect at one success, which is always near 1: the upper bound at no
    success can lie above the one at a single success.

    References
    ----------
    Korn, E. L. and Graubard, B. I. (1998). Survey Methodology 24, 193–201. Franco, C. et al. (2019). Journal of Survey
    Statistics and Methodology 7, 334–364 (Wilson with design effect).

    Examples
    --------
    >>> interval = clustered_proportion([3, 0, 5, 2, 4, 1], [10, 4, 12, 9, 15, 5])
    >>> interval.n, interval.n_clusters, round(interval.low, 3), round(interval.high, 3)
    (55, 6, 0.143, 0.457)
    """
    k = np.asarray(successes, dtype=np.float64)
    m = np.asarray(n, dtype=np.float64)
    if k.shape != m.shape or k.ndim != 1:
        raise ValueError(f"successes and n must be vectors of one length, got shapes {k.shape} and {m.shape}")
    possible = np.isfinite(m) & (k >= 0) & (k <= m)
    if not np.all(possible):
        worst = int(np.argmin(possible))
        raise ValueError(f"need 0 <= successes <= n, got {k[worst]:g} of {m[worst]:g} in cluster {worst}")
    k, m = k[m > 0], m[m > 0]
    tail_probability(level, side)
    clusters, total = len(m), float(m.sum())
    method = "Wilson, effective sample size"
    if clusters < 2:
        reason = "there are no units" if clusters == 0 else "one cluster cannot show how clusters vary"
        value = None if clusters == 0 else float(k.sum() / total)
        return Interval(
            value=value,
            low=None,
            high=None,
            level=level,
            n=int(total),
            n_clusters=clusters,
            method=method,
            reason=reason,
        )
    p = float(k.sum() / total)
    se, df = cluster_spread(m, k - p * m, "CR2")
    alike = total**2 / float(np.sum(m**2))
    return proportion_from_spread(
        p, se, df, n=int(total), n_clusters=clusters, level=level, side=side, effective_at_edge=alike
    )


def proportion_from_spread(
    p: float,
    se: float,
    df: float,
    *,
    n: int,
    n_clusters: int,
    level: float = 0.95,
    side: Side = "two-sided",
    effective_at_edge: float | None = None,
) -> Interval:
    """Interval of a share from its cluster-robust standard error: Wilson's form on the effective sample size.

    Parameters
    ----------
    p
        The share.
    se, df
        Its cluster-robust standard error and degrees of freedom.
    n, n_clusters
        Units and clusters.
    level, side
        As in `proportion`.
    effective_at_edge
        Effective sample size where the share is 0 or 1 and its error cannot be seen; the clusters by default.

    Notes
    -----
    See `clustered_proportion`, which computes ``se`` and ``df`` from per-cluster counts.

    Examples
    --------
    >>> print(proportion_from_spread(0.2, 0.03, 99.0, n=400, n_clusters=100))
    0.2 [0.1473, 0.2657] 0.95 n=400 clusters=100 Wilson, effective sample size
    """
    tail = tail_probability(level, side)
    if p in (0.0, 1.0):
        effective, df = float(n_clusters if effective_at_edge is None else effective_at_edge), n_clusters - 1.0
    else:
        # Clusters more alike than chance would have them are no reason to count more units than there are.
        effective = float(n) if p * (1 - p) >= n * se**2 else p * (1 - p) / se**2
    low, high = _wilson(p * effective, effective, tail, quantile=float(sps.t.isf(tail, df)))
    low, high = 0.0 if p == 0.0 else low, 1.0 if p == 1.0 else high
    return Interval(
        value=p,
        low=None if side == "upper" else min(low, p),
        high=None if side == "lower" else max(high, p),
        level=level,
        n=n,
        n_clusters=n_clusters,
        method="Wilson, effective sample size",
        se=se if se > 0 else None,
        df=df,
    )
