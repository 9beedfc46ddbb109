r"""Where is the lowest point of the scaling-law objective?

The loss law is fitted on the log scale, :math:`f_i = \log(e^{a - \alpha x_i} + e^{b - \beta z_i} + e^{e})` with x and z the
centred logs of parameters and tokens, by weighted Huber loss. With a Huber width far below the noise the objective is nearly
a sum of absolute values: quasi-Newton methods stop early on its creases. Two damped second-order methods are chained here:
iteratively reweighted Gauss–Newton (Holland and Welsch, 1977), which finds the valley from anywhere, then Newton's method
with the exact Hessian, which finds its lowest point to rounding. One kernel serves the grid of starts and all resamples.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

__all__ = ["descend_all", "objective_and_gradient", "refit_all"]

Floats = npt.NDArray[np.float64]

_DAMPING_FLOOR, _DAMPING_CEILING = 1e-12, 1e12
_SETTLED = 1e-4
"""Relative decrease of a reweighted step below which Newton's method takes over."""


@numba.njit(cache=True, nogil=True)
def _evaluate(theta: Floats, runs: Floats, delta: float, gradient: Floats, reweighted: Floats, exact: Floats) -> float:
    """Objective; fills the gradient, the Gauss–Newton matrix under Huber weights and the exact Hessian.

    ``runs`` has columns x, z, log-loss, weight. Only the lower triangles are filled.
    """
    gradient[:] = 0.0
    reweighted[:] = 0.0
    exact[:] = 0.0
    jacobian = np.empty(5)
    total = 0.0
    for i in range(len(runs)):
        x, z, weight = runs[i, 0], runs[i, 1], runs[i, 3]
        u, v, e = theta[0] - theta[3] * x, theta[1] - theta[4] * z, theta[2]
        top = max(u, v, e)
        p, q, s = np.exp(u - top), np.exp(v - top), np.exp(e - top)
        whole = p + q + s
        p, q, s = p / whole, q / whole, s / whole
        residual = runs[i, 2] - top - np.log(whole)
        size = abs(residual)
        if size <= delta:
            total += weight * 0.5 * residual * residual
            slope, curvature, huber = residual, 1.0, 1.0
        else:
            total += weight * delta * (size - 0.5 * delta)
            slope, curvature, huber = delta if residual > 0 else -delta, 0.0, delta / size
        jacobian[0], jacobian[1], jacobian[2], jacobian[3], jacobian[4] = p, q, s, -x * p, -z * q
        outer, inner = weight * (curvature + slope), weight * slope
        for j in range(5):
            gradient[j] -= inner * jacobian[j]
            for k in range(j + 1):
                product = jacobian[j] * jacobian[k]
                reweighted[j, k] += weight * huber * product
                exact[j, k] += outer * product
        exact[0, 0] -= inner * p
        exact[3, 0] += inner * p * x
        exact[3, 3] -= inner * p * x * x
        exact[1, 1] -= inner * q
        exact[4, 1] += inner * q * z
        exact[4, 4] -= inner * q * z * z
        exact[2, 2] -= inner * s
    return total


@numba.njit(cache=True, nogil=True)
def _solve(matrix: Floats, metric: Floats, damping: float, gradient: Floats, step: Floats) -> bool:
    """Cholesky solution of (matrix + damping · diag(metric)) step = −gradient; False where not positive definite."""
    lower = np.zeros((5, 5))
    for j in range(5):
        for k in range(j + 1):
            value = matrix[j, k] + (damping * metric[j] if j == k else 0.0)
            for m in range(k):
                value -= lower[j, m] * lower[k, m]
            if j != k:
                lower[j, k] = value / lower[k, k]
            elif value > 1e-14 * metric[j]:
                lower[j, j] = np.sqrt(value)
            else:
                return False
    for j in range(5):
        value = -gradient[j]
        for m in range(j):
            value -= lower[j, m] * step[m]
        step[j] = value / lower[j, j]
    for j in range(4, -1, -1):
        value = step[j]
        for m in range(j + 1, 5):
            value -= lower[m, j] * step[m]
        step[j] = value / lower[j, j]
    return True


@numba.njit(cache=True, nogil=True)
def _descend(theta: Floats, runs: Floats, delta: float, steps: int, tolerance: float) -> tuple[float, float]:
    """Move ``theta`` downhill in place; return the objective and the largest entry of the gradient."""
    gradient, trial_gradient, step = np.empty(5), np.empty(5), np.empty(5)
    matrices, trial_matrices = np.empty((2, 5, 5)), np.empty((2, 5, 5))
    metric = np.empty(5)
    value = _evaluate(theta, runs, delta, gradient, matrices[0], matrices[1])
    damping, newton = 1e-3, 0
    for _ in range(steps):
        if np.max(np.abs(gradient)) <= tolerance:
            break
        largest = 0.0
        for j in range(5):
            largest = max(largest, matrices[0, j, j])
        for j in range(5):
            metric[j] = max(matrices[0, j, j], 1e-9 * largest)
        if not _solve(matrices[newton], metric, damping, gradient, step):
            damping = max(8.0 * damping, 1e-6)
            if damping > _DAMPING_CEILING:
                break
            continue
        trial = theta + step
        found = _evaluate(trial, runs, delta, trial_gradient, trial_matrices[0], trial_matrices[1])
        smaller = np.max(np.abs(trial_gradient)) < np.max(np.abs(gradient))
        # Close to the optimum the objective no longer resolves a step that the gradient still does.
        if found < value or (found <= value + 1e-14 * abs(value) and smaller):
            if newton == 0 and value - found <= _SETTLED * value:
                newton = 1
            value = found
            theta[:] = trial
            gradient[:] = trial_gradient
            matrices[:] = trial_matrices
            damping = max(0.1 * damping, _DAMPING_FLOOR)
        elif damping > _DAMPING_CEILING:
            break
        else:
            damping = max(8.0 * damping, 1e-6)
            # A reweighted step that no longer descends has done what it can.
            newton = 1
    return value, np.max(np.abs(gradient))


@numba.njit(cache=True, nogil=True)
def descend_all(thetas: Floats, runs: Floats, delta: float, steps: int, tolerance: float) -> Floats:
    """Move every start downhill in place, ``steps`` at most.

    Parameters
    ----------
    thetas
        Starts (a, b, e, alpha, beta) on centred logs, shape (starts, 5); moved in place.
    runs
        Columns: centred log parameters, centred log tokens, log-loss, weight; shape (runs, 4).
    delta
        Huber width on log-loss.
    steps
        Steps at most, tried ones included.
    tolerance
        Stop where no entry of the gradient exceeds this.

    Returns
    -------
    ndarray
        Objective and largest gradient entry of each, shape (starts, 2).
    """
    out = np.empty((len(thetas), 2))
    for i in range(len(thetas)):
        out[i, 0], out[i, 1] = _descend(thetas[i], runs, delta, steps, tolerance)
    return out


@numba.njit(cache=True, nogil=True)
def refit_all(counts: Floats, starts: Floats, runs: Floats, delta: float, steps: int, tolerance: float) -> Floats:
    """Refit resamples from several starts each and keep the best.

    Parameters
    ----------
    counts
        How often each run was drawn, shape (replicates, runs).
    starts
        Shape (starts, 5), the same for every resample.
    runs, delta, steps, tolerance
        As in `descend_all`; the weights in ``runs`` are multiplied by the counts.

    Returns
    -------
    ndarray
        Columns a, b, e, alpha, beta, objective, largest gradient entry; shape (replicates, 7).
    """
    out = np.empty((len(counts), 7))
    for r in range(len(counts)):
        drawn = runs[counts[r] > 0.0].copy()
        drawn[:, 3] *= counts[r][counts[r] > 0.0]
        out[r, 5] = np.inf
        for s in range(len(starts)):
            theta = starts[s].copy()
            value, slope = _descend(theta, drawn, delta, steps, tolerance)
            # Of two starts that meet in one optimum, the one that came closer to it counts.
            if value < out[r, 5] * (1 - 1e-12) or (value <= out[r, 5] * (1 + 1e-12) and slope < out[r, 6]):
                out[r, :5] = theta
                out[r, 5], out[r, 6] = value, slope
    return out


def objective_and_gradient(theta: Floats, runs: Floats, delta: float) -> tuple[float, Floats]:
    """Objective and gradient at one point.

    Examples
    --------
    >>> runs = np.array([[0.0, 0.0, 1.0, 1.0], [1.0, -1.0, 0.9, 1.0]])
    >>> value, gradient = objective_and_gradient(np.zeros(5), runs, 1e-3)
    >>> round(value, 6), gradient.round(6).tolist()
    (0.000296, [0.000667, 0.000667, 0.000667, -0.000333, 0.000333])
    """
    gradient = np.empty(5)
    value = float(_evaluate(theta, runs, delta, gradient, np.empty((5, 5)), np.empty((5, 5))))
    return value, gradient
