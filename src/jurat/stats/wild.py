"""Is a coefficient what the hypothesis says, with few clusters?

With fewer than about 40 clusters the sandwich's t test rejects too often. The restricted wild cluster bootstrap-t keeps its
level: residuals of the model *with the hypothesis imposed* are multiplied by a random sign per cluster, and the t statistic
is refitted each time. Up to 12 clusters all sign patterns are enumerated, so the p-value has no randomness at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import optimize

from jurat.stats.mean import Floats, checked_regression, clustered_mean, undefined, whitening_matrix
from jurat.stats.result import Interval, Test

__all__ = ["ENUMERATED", "wild_cluster_mean", "wild_cluster_test"]

ENUMERATED = 4_096
"""Sign patterns up to which all are tried."""

_FAR = 1e9
"""Standard errors from the estimate at which every test that can reject does."""


@dataclass(frozen=True, slots=True)
class _Design:
    """What the refits share: with one set of weights a matrix, t statistics of all patterns come from products."""

    X: Floats
    y: Floats
    scores: Floats
    codes: npt.NDArray[np.int64]
    bread: Floats
    scale: float
    index: int


def _enumerable(clusters: int) -> bool:
    return 1 << clusters <= ENUMERATED


def _signs(clusters: int, rng: np.random.Generator | None, replicates: int) -> Floats:
    if _enumerable(clusters):
        patterns = (np.arange(2**clusters)[:, None] >> np.arange(clusters)) & 1
        return np.asarray(1.0 - 2.0 * patterns, dtype=np.float64)
    if rng is None:
        raise ValueError(f"{clusters} clusters have more than {ENUMERATED} sign patterns: pass rng to draw from them")
    return rng.choice(np.array([-1.0, 1.0]), size=(replicates, clusters))


def wild_cluster_test(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    cluster: npt.ArrayLike,
    *,
    coefficient: int,
    null: float = 0.0,
    rng: np.random.Generator | None = None,
    replicates: int = 9_999,
    ties: Literal["count", "ignore"] = "count",
) -> Test:
    """Restricted wild cluster bootstrap-t test of one coefficient (WCR, Rademacher weights).

    Parameters
    ----------
    X
        Design matrix with its constant column, shape (n, p).
    y
        Response, shape (n,).
    cluster
        Cluster labels, shape (n,).
    coefficient
        Column of the coefficient that is tested.
    null
        Its value under the hypothesis.
    rng
        Needed above 12 clusters, where patterns are drawn.
    replicates
        Patterns to draw.
    ties
        Whether replicates equal to the sample's statistic count against it (``"count"``, which is the valid choice) or not
        (``"ignore"``, as some packages do).

    Raises
    ------
    ValueError
        Where shapes differ, or ``rng`` is missing where it is needed.

    References
    ----------
    Cameron, A. C., Gelbach, J. B. and Miller, D. L. (2008). Bootstrap-based improvements for inference with clustered
    errors. Review of Economics and Statistics 90, 414–427. Roodman, D. et al. (2019). Stata Journal 19, 4–60.

    Examples
    --------
    >>> X = np.column_stack([np.ones(8), np.arange(8.0)])
    >>> y = np.array([0.1, 1.2, 1.9, 3.3, 3.8, 5.1, 6.2, 6.8])
    >>> wild_cluster_test(X, y, [0, 0, 1, 1, 2, 2, 3, 3], coefficient=1, null=1.0).p_value
    0.25
    """
    if ties not in ("count", "ignore"):
        raise ValueError(f"ties must be 'count' or 'ignore', got {ties!r}")
    design = _prepare(X, y, cluster, coefficient)
    clusters = int(design.codes.max()) + 1
    signs = _signs(clusters, rng, replicates)
    observed, drawn = _statistics(design, null, signs)
    return Test(
        statistic=observed,
        p_value=_p_value(observed, drawn, ties, _enumerable(clusters)),
        alternative="two-sided",
        n=len(design.y),
        n_clusters=clusters,
        method="wild cluster bootstrap-t, restricted" + (", enumerated" if _enumerable(clusters) else ""),
    )


def _p_value(observed: float, drawn: Floats, ties: str, enumerated: bool) -> float:
    """Share of patterns at least as extreme; the sample itself counts as one unless all were enumerated."""
    tolerance = 1e-10 * max(abs(observed), 1.0)
    threshold = abs(observed) - tolerance if ties == "count" else abs(observed) + tolerance
    hits = int(np.count_nonzero(np.abs(drawn) >= threshold))
    # All patterns hold the sample's own; drawn ones need not (Davison and Hinkley, 1997, section 4.2).
    own = 0 if enumerated else 1
    return (hits + own) / (len(drawn) + own)


def _prepare(X: npt.ArrayLike, y: npt.ArrayLike, cluster: npt.ArrayLike, index: int) -> _Design:
    design, response, labels, clusters = checked_regression(X, y, cluster)
    codes = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    n, p = design.shape
    if not 0 <= index < p:
        raise ValueError(f"coefficient must be a column of X, 0 to {p - 1}, got {index!r}")
    whitening = whitening_matrix(design)
    bread: Floats = whitening @ whitening.T
    # Row i's part in coefficient `index`: its influence before the residual.
    influence = design @ bread[:, index]
    scale = clusters / (clusters - 1) * (n - 1) / (n - p)
    return _Design(X=design, y=response, scores=influence, codes=codes, bread=bread, scale=scale, index=index)


def _statistics(d: _Design, null: float, signs: Floats) -> tuple[float, Floats]:
    """t statistic of the sample, and of every sign pattern, against the hypothesis."""
    clusters = signs.shape[1]
    target = d.y - null * d.X[:, d.index]
    restricted = target.copy()
    others = np.delete(d.X, d.index, axis=1)
    if others.shape[1]:
        restricted = target - others @ np.linalg.lstsq(others, target, rcond=None)[0]

    def summed(rows: Floats) -> Floats:
        return np.column_stack([np.bincount(d.codes, weights=column, minlength=clusters) for column in rows.T])

    # Coefficient shift and summed scores are linear in the signs, so all patterns come from a few products.
    shift = summed((d.scores * restricted)[:, None])[:, 0]
    fitted = summed(d.X * restricted[:, None])
    refit = summed(d.X * d.scores[:, None]) @ d.bread

    def t(s: Floats) -> Floats:
        scores = s * shift - (s @ fitted) @ refit.T
        variance = d.scale * np.sum(scores**2, axis=1)
        result: Floats = (s @ shift) / np.sqrt(np.maximum(variance, np.finfo(np.float64).tiny))
        return result

    return float(t(np.ones((1, clusters)))[0]), t(signs)


def wild_cluster_mean(
    values: npt.ArrayLike,
    cluster: npt.ArrayLike,
    *,
    level: float = 0.95,
    rng: np.random.Generator | None = None,
    replicates: int = 1_999,
) -> Interval:
    """Mean with the interval of values that the wild cluster bootstrap does not reject.

    Parameters
    ----------
    values, cluster
        Shapes (n,).
    level
        Two-sided coverage.
    rng, replicates
        As in `wild_cluster_test`; all tests of one interval use the same draws.

    Returns
    -------
    Interval
        Bounds are ``None`` with a reason where clusters (or ``replicates``) are so few that no p-value can fall to
        ``1 - level``: below six clusters at 95 %.

    Raises
    ------
    ValueError
        Where shapes differ, or ``rng`` is missing above 12 clusters.

    References
    ----------
    Cameron, Gelbach and Miller (2008); MacKinnon, J. G. (2015), on inverting the test.

    Examples
    --------
    >>> rng = np.random.default_rng(3)
    >>> cluster = np.repeat(np.arange(8), 5)
    >>> values = rng.normal(size=40) + rng.normal(size=8)[cluster]
    >>> found = wild_cluster_mean(values, cluster)
    >>> found.low < found.value < found.high
    True
    """
    start = clustered_mean(values, cluster, level=level, correction="CR1")
    clusters, centre = start.n_clusters or 0, start.value
    method = "wild cluster bootstrap-t"
    if centre is None or start.se is None:
        return replace(start, method=method)
    if start.se == 0.0:
        return replace(start, method=method, df=None)
    x = np.asarray(values, dtype=np.float64) - centre
    d = _prepare(np.ones((len(x), 1)), x, cluster, 0)
    signs = _signs(clusters, rng, replicates)

    def excess(null: float) -> float:
        return _p_value(*_statistics(d, null, signs), "count", _enumerable(clusters)) - (1 - level)

    if max(excess(-_FAR * start.se), excess(_FAR * start.se)) > 0:
        reason = f"{len(signs)} sign patterns of {clusters} clusters are too few for level {level:g}"
        return undefined(reason, level=level, n=start.n, method=method, value=centre, n_clusters=clusters)
    low, high = (_edge(excess, sign * start.se) for sign in (-1.0, 1.0))
    return replace(start, low=centre + low, high=centre + high, method=method, df=None)


def _edge(excess: Callable[[float], float], step: float) -> float:
    """Distance from the estimate, in the direction of ``step``, from which on the test rejects."""
    far = 2.0
    while excess(far * step) > 0:
        far *= 2
    return step * float(optimize.bisect(lambda u: excess(u * step), 0.0, far, xtol=1e-9))
