"""Random numbers that stay put: a generator for each named part, and probabilities that cluster by user.

A part of the world draws from the generator of its own name, so a draw added in one part leaves every other
part as it was. Probabilities that cluster follow a Beta law over users, for which the intraclass correlation
of the binary outcome is exact: X | p ~ Bernoulli(p), p ~ Beta(a, b) has mean a/(a+b) and correlation
1/(a+b+1) within a user (Skellam, 1948).
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv

__all__ = ["clustered_probability", "generator"]


def generator(seed: int, name: str) -> np.random.Generator:
    """Return the random generator of one named part of a world.

    Parameters
    ----------
    seed
        Seed of the world, at least 0.
    name
        Name of the part; another name gives an independent stream.

    Examples
    --------
    >>> bool(generator(7, "errors").random() == generator(7, "errors").random())
    True
    >>> bool(generator(7, "errors").random() == generator(7, "tokens").random())
    False
    """
    part = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "big")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, part])))


def clustered_probability(
    quantile: npt.NDArray[np.float64], mean: float, *, correlation: float
) -> npt.NDArray[np.float64]:
    """Return the probability of each user, at the user's quantile of the Beta law of all users.

    Parameters
    ----------
    quantile
        Position of each user among all users, uniform in (0, 1). The same quantiles with another mean give
        the same users' probabilities in the other world.
    mean
        Mean probability over users.
    correlation
        Intraclass correlation of the outcome within a user, in [0, 1).

    Returns
    -------
    numpy.ndarray
        As many probabilities as quantiles.

    Examples
    --------
    >>> u = (np.arange(1000) + 0.5) / 1000
    >>> p = clustered_probability(u, 0.04, correlation=0.1)
    >>> round(float(p.mean()), 3), round(float(p.var() / (0.04 * 0.96)), 2)
    (0.04, 0.1)
    """
    if correlation == 0.0 or mean in (0.0, 1.0):
        return np.full(quantile.shape, mean)
    total = 1.0 / correlation - 1.0
    probability: npt.NDArray[np.float64] = betaincinv(mean * total, (1.0 - mean) * total, quantile)
    return probability
