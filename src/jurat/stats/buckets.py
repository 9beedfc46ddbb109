"""The bootstrap of a million clusters in a matrix product.

Clusters are thrown into a couple of thousand buckets by a hash of their name; the buckets, not the clusters, are drawn with
replacement. Bucket totals are means of many independent clusters, so their bootstrap has the clusters' variance, and a
thousand replicates are one product of a matrix of multinomial counts with the table of bucket sums.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from jurat.stats.interval import tail_probability
from jurat.stats.result import Interval

__all__ = ["bucket_bootstrap", "bucket_sums"]

Floats = npt.NDArray[np.float64]
_FEWEST = 200


def bucket_sums(codes: npt.ArrayLike, sums: npt.ArrayLike, *, buckets: int = 2_000, seed: int = 0) -> Floats:
    """Throw clusters into buckets and add them up.

    Parameters
    ----------
    codes
        A number for each cluster that has nothing to do with its outcome (its place, an identifier), shape (clusters,).
    sums
        Per-cluster sums, shape (clusters, variables).
    buckets
        Number of buckets.
    seed
        Another seed throws in another way.

    Returns
    -------
    numpy.ndarray
        Shape (buckets, variables).

    Examples
    --------
    >>> bucket_sums([1, 2, 3], [[1.0], [2.0], [4.0]], buckets=2).sum()
    np.float64(7.0)
    """
    number = np.asarray(codes).astype(np.uint64) + np.uint64(seed)
    rows = np.asarray(sums, dtype=np.float64)
    if rows.ndim != 2 or len(rows) != len(number):
        raise ValueError(f"need one row of sums for each cluster, got shapes {number.shape} and {rows.shape}")
    with np.errstate(over="ignore"):
        # SplitMix64 (Steele, Lea & Flood, 2014): neighbours fall into unrelated buckets.
        number = (number ^ (number >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        number = (number ^ (number >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    place = ((number ^ (number >> np.uint64(31))) % np.uint64(buckets)).astype(np.int64)
    return np.stack([np.bincount(place, weights=rows[:, j], minlength=buckets) for j in range(rows.shape[1])], axis=1)


def bucket_bootstrap(
    groups: list[npt.ArrayLike],
    statistic: Callable[..., npt.NDArray[Any]],
    *,
    replicates: int = 1_000,
    level: float = 0.95,
    seed: int = 0,
    n: int,
    n_clusters: int,
) -> Interval:
    r"""Percentile interval of a function of totals, by drawing buckets with replacement.

    Parameters
    ----------
    groups
        Bucket sums of each independent group, each of shape (buckets, variables), from `bucket_sums`.
    statistic
        Takes one array of shape (variables, replicates) per group, returns shape (replicates,).
    replicates
        Number of bootstrap draws.
    level
        Two-sided coverage.
    seed
        Seed of the draws.
    n, n_clusters
        Units and clusters, as they will be shown.

    Returns
    -------
    Interval
        With ``se``, the spread of the draws.

    Raises
    ------
    ValueError
        With fewer than 200 buckets in a group: their totals would be too few to draw from.

    Notes
    -----
    With B buckets and weights from a multinomial law, the variance of a resampled total is :math:`\sum_b (T_b - \bar T)^2`,
    whose expectation is that of the cluster bootstrap up to a factor :math:`1 - 1/B`.

    References
    ----------
    Efron, B. and Tibshirani, R. J. (1993). An Introduction to the Bootstrap. Kleiner, A. et al. (2014). A scalable bootstrap
    for massive data. JRSS B 76, 795–816.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> sums = bucket_sums(np.arange(50_000), np.column_stack([rng.normal(5, 1, 50_000), np.ones(50_000)]))
    >>> found = bucket_bootstrap([sums], lambda t: t[0] / t[1], n=50_000, n_clusters=50_000, seed=2)
    >>> round(found.se, 4)
    0.0046
    """
    rng = np.random.default_rng(seed)
    tables = [np.asarray(g, dtype=np.float64) for g in groups]
    if any(len(t) < _FEWEST for t in tables):
        raise ValueError(f"need at least {_FEWEST} buckets a group, got {[len(t) for t in tables]}")
    drawn = []
    for table in tables:
        counts = rng.multinomial(len(table), np.full(len(table), 1 / len(table)), size=replicates)
        drawn.append((counts.astype(np.float64) @ table).T)
    values = np.asarray(statistic(*drawn), dtype=np.float64)
    value = float(np.asarray(statistic(*[t.sum(axis=0)[:, None] for t in tables]))[0])
    tail = tail_probability(level)
    low, high = (float(np.quantile(values, q)) for q in (tail, 1 - tail))
    return Interval(
        value=value, low=min(low, value), high=max(high, value), level=level, n=n, n_clusters=n_clusters,
        method=f"bucket bootstrap, percentile, {replicates:,} draws", se=float(values.std(ddof=1)),
    )  # fmt: skip
