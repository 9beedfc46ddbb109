"""A/A worlds as per-cluster sums, all experiments at once.

Values of a cluster share a random part whose variance is the intraclass correlation; given the sizes, sums over a cluster
are drawn from their exact law, so rows need not exist. Nothing differs between the arms.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jurat.simulate.randomness import clustered_probability

__all__ = ["ICC", "Sums", "binary_sums", "cluster_sizes", "normal_sums", "ratio_sums"]

Floats = npt.NDArray[np.float64]
Shape = tuple[int, ...]
Sums = dict[str, Floats]

ICC = (0.0, 0.05, 0.3)
"""Intraclass correlations that every estimator is tried at."""


def cluster_sizes(rng: np.random.Generator, shape: Shape, mean: float = 5.0, cv: float = 0.6) -> Floats:
    """Whole sizes of at least one with about the given mean and coefficient of variation."""
    extra = (mean * cv) ** 2 - mean  # the part of the variance beyond Poisson's
    if extra <= 0:
        return 1.0 + rng.poisson(mean - 1, shape)
    shape_parameter = (mean - 1) ** 2 / extra
    return 1.0 + rng.poisson(rng.gamma(shape_parameter, (mean - 1) / shape_parameter, shape))


def normal_sums(rng: np.random.Generator, shape: Shape, icc: float, *, skewed: bool = False) -> Sums:
    """A mean with row variance 1, and a covariate seen on other rows of the same cluster before the treatment.

    The cluster's part is normal, or (``skewed``) a centred exponential.
    """
    n, before = cluster_sizes(rng, shape), cluster_sizes(rng, shape)
    shared = rng.exponential(size=shape) - 1 if skewed else rng.normal(size=shape)
    own = np.sqrt(icc) * shared
    y = n * (10 + own) + np.sqrt(n * (1 - icc)) * rng.normal(size=shape)
    x = before * (3 + own + 0.3 * rng.normal(size=shape)) + np.sqrt(before) * rng.normal(size=shape)
    return {"y": y, "n": n, "x": x, "xn": before}


def ratio_sums(rng: np.random.Generator, shape: Shape, icc: float) -> Sums:
    """A ratio, cost per token, whose clusters differ in both parts, and a covariate from before the treatment."""
    rows, before = cluster_sizes(rng, shape), cluster_sizes(rng, shape)
    length = rng.gamma(4.0, 0.25, shape)  # how long the answers of this cluster are
    shared = rng.normal(size=shape)
    den = rng.gamma(3 * rows * length) / 3
    num = (2 + np.sqrt(icc) * shared) * den + np.sqrt((1 - icc) * rows) * rng.normal(size=shape)
    x = before * (np.sqrt(icc) * shared + 0.3 * rng.normal(size=shape)) + np.sqrt(before) * rng.normal(size=shape)
    return {"num": num, "den": den, "x": x, "xn": before}


def binary_sums(
    rng: np.random.Generator, shape: Shape, icc: float, share: float, *, mean: float = 5.0, cv: float = 0.6
) -> Sums:
    """Events per cluster: Beta-binomial, for which the intraclass correlation of rows is exact."""
    n = cluster_sizes(rng, shape, mean, cv)
    p = clustered_probability(rng.random(shape), share, correlation=icc) if icc else share
    return {"k": rng.binomial(n.astype(np.int64), p).astype(np.float64), "n": n}
