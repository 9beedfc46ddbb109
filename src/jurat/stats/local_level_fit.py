"""How far does a level wander, and how much noise lies around it?

The local-level model with regressors: a Kalman filter with an exact diffuse start, and maximum likelihood over the one
number that is left when scale and coefficients are concentrated out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt
from scipy import optimize

from jurat.stats.mean import Floats

__all__ = [
    "FEWEST_PERIODS",
    "LocalLevelFit",
    "SolvedLevel",
    "best_share",
    "check_before",
    "checked_columns",
    "described",
    "fit_local_level",
    "solve_at",
]

_GRID = 41
FEWEST_PERIODS = 5
"""Periods needed to tell a level from noise at all; two more for each regressor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalLevelFit:
    """A local-level model with its maximum-likelihood estimates.

    Attributes
    ----------
    observation_variance
        Variance of the noise around the level.
    level_variance
        Variance of the level's step from one period to the next.
    coefficients
        Of the regressors, shape (k,).
    log_likelihood
        Diffuse log-likelihood at the optimum.
    n
        Periods.
    """

    observation_variance: float
    level_variance: float
    coefficients: tuple[float, ...]
    log_likelihood: float
    n: int


@numba.njit(cache=True, nogil=True)
def _filter(columns: Floats, share: float) -> tuple[Floats, Floats, Floats, float]:
    """Kalman filter of every column at once, diffuse start, variances (1 − share) and share.

    Returns innovations and their variances from the second period on, the level after the last period, and its
    variance. The first period fixes the diffuse level: its innovation carries no information.
    """
    n, k = columns.shape
    innovations = np.empty((n - 1, k))
    variances = np.empty(n - 1)
    level = columns[0].copy()
    spread = 1.0 - share
    for t in range(1, n):
        spread += share
        total = spread + 1.0 - share
        gain = spread / total
        variances[t - 1] = total
        for j in range(k):
            innovations[t - 1, j] = columns[t, j] - level[j]
            level[j] += gain * innovations[t - 1, j]
        spread *= 1.0 - gain
    return innovations, variances, level, spread


@dataclass(frozen=True, slots=True)
class SolvedLevel:
    """Everything at one share: generalised least squares on the innovations."""

    log_likelihood: float
    restricted: float
    scale: float
    coefficients: Floats
    covariance: Floats
    level: Floats
    spread: float


def solve_at(columns: Floats, share: float) -> SolvedLevel:
    """Solve for scale and coefficients, given the level's share of the variance."""
    innovations, variances, level, spread = _filter(columns, share)
    whitened = innovations / np.sqrt(variances)[:, None]
    target, regressors = whitened[:, 0], whitened[:, 1:]
    gram = regressors.T @ regressors
    coefficients = np.linalg.solve(gram, regressors.T @ target) if gram.size else np.zeros(0)
    residuals = target - regressors @ coefficients
    n, count = len(columns), len(target)
    scale = float(residuals @ residuals) / count
    if float(residuals @ residuals) <= 1e-20 * float(target @ target):
        raise ValueError("the series does not vary beyond its regressors before treatment: nothing to forecast from")
    # The first period's diffuse term is −log(2π)/2 alone.
    log_likelihood = -0.5 * (
        n * math.log(2 * math.pi) + count * (math.log(scale) + 1.0) + float(np.log(variances).sum())
    )
    covariance = np.linalg.inv(gram) if gram.size else gram
    freedom = count - len(coefficients)
    restricted = -0.5 * (
        freedom * math.log(scale)
        + float(np.log(variances).sum())
        + float(np.linalg.slogdet(gram)[1] if gram.size else 0)
    )
    return SolvedLevel(log_likelihood, restricted, scale, coefficients, covariance, level, spread)


def best_share(columns: Floats) -> tuple[float, SolvedLevel]:
    """Share of the level in the variance, by a grid and then Brent's method between its neighbours."""
    # Close to the ends in proportion: a level that hardly moves and one that moves freely are both common.
    grid = 1.0 / (1.0 + np.exp(-np.linspace(-14.0, 14.0, _GRID)))
    grid[0], grid[-1] = 0.0, 1.0
    heights = [solve_at(columns, float(s)).log_likelihood for s in grid]
    best = int(np.argmax(heights))
    low, high = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, _GRID - 1)])
    found = optimize.minimize_scalar(
        lambda s: -solve_at(columns, float(s)).log_likelihood, bounds=(low, high), method="bounded",
        options={"xatol": 1e-12 + 1e-9 * high},
    )  # fmt: skip
    share = float(found.x) if -float(found.fun) > heights[best] else float(grid[best])
    return share, solve_at(columns, share)


def checked_columns(series: npt.ArrayLike, controls: npt.ArrayLike | None) -> Floats:
    """Put the series in front of its controls, all checked."""
    y = np.asarray(series, dtype=np.float64)
    if y.ndim != 1 or not np.all(np.isfinite(y)):
        raise ValueError(f"series must be a finite vector, got shape {y.shape}")
    if controls is None:
        return np.ascontiguousarray(y[:, None])
    x = np.asarray(controls, dtype=np.float64)
    x = x[:, None] if x.ndim == 1 else x
    if x.ndim != 2 or len(x) != len(y) or not np.all(np.isfinite(x)):
        raise ValueError(f"controls must be finite and of shape ({len(y)}, k), got {x.shape}")
    return np.ascontiguousarray(np.column_stack([y, x]))


def check_before(columns: Floats) -> None:
    """Enough periods, and regressors that are not determined by each other, to fit before treatment."""
    n, k = columns.shape
    if n < FEWEST_PERIODS + 2 * (k - 1):
        raise ValueError(
            f"{n} periods are too few for a level and {k - 1} regressors: need {FEWEST_PERIODS + 2 * (k - 1)}"
        )
    steps = np.diff(columns[:, 1:], axis=0)
    norms = np.linalg.norm(steps, axis=0)
    if np.any(norms == 0) or (k > 1 and np.linalg.matrix_rank(steps / norms, tol=1e-9) < k - 1):
        raise ValueError("a control does not change before treatment, or is determined by the others: drop it")


def fit_local_level(series: npt.ArrayLike, *, controls: npt.ArrayLike | None = None) -> LocalLevelFit:
    """Fit a wandering level with noise by maximum likelihood.

    Parameters
    ----------
    series
        Equally spaced, finite, shape (n,), n at least 5.
    controls
        Regressors, shape (n,) or (n, k); the constant is the level's, so leave it out.

    Returns
    -------
    LocalLevelFit

    Raises
    ------
    ValueError
        Where shapes differ, a value is not finite, there are too few periods, or the series does not vary.

    Notes
    -----
    :math:`y_t = \\mu_t + x_t'\\beta + \\varepsilon_t,\\ \\mu_{t+1} = \\mu_t + \\eta_t`, with
    :math:`\\varepsilon_t \\sim N(0, \\sigma^2_\\varepsilon),\\ \\eta_t \\sim N(0, \\sigma^2_\\eta)` and a diffuse
    :math:`\\mu_1`. The sum of the variances and :math:`\\beta` are concentrated out, so that one number is searched: the
    level's share of the variance, its ends 0 and 1 included.

    References
    ----------
    Durbin, J. and Koopman, S. J. (2012). Time Series Analysis by State Space Methods, 2nd ed., chapter 2.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> fit = fit_local_level(rng.normal(0, 1, 500).cumsum() + rng.normal(0, 2, 500))
    >>> round(fit.observation_variance, 1), round(fit.level_variance, 1)
    (4.5, 0.6)
    """
    columns = checked_columns(series, controls)
    check_before(columns)
    share, solved = best_share(columns)
    return described(share, solved, len(columns))


def described(share: float, solved: SolvedLevel, n: int) -> LocalLevelFit:
    """Describe a solution by its variances."""
    return LocalLevelFit(
        observation_variance=solved.scale * (1.0 - share),
        level_variance=solved.scale * share,
        coefficients=tuple(solved.coefficients.tolist()),
        log_likelihood=solved.log_likelihood,
        n=n,
    )
