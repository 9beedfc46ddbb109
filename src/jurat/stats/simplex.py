"""The nearest weighted average: least squares with weights that are not negative and sum to one.

Solved exactly by Wolfe's algorithm for the point of least norm in a convex hull: finitely many steps, each an
unconstrained least-squares problem on the few columns in use. The answer carries its own proof of optimality, the
residual of the Karush–Kuhn–Tucker conditions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jurat.stats.mean import Floats

__all__ = ["SimplexFit", "simplex_least_squares"]

_TOLERANCE = 1e-14
_ACCEPTED = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class SimplexFit:
    """Weights on the simplex.

    Attributes
    ----------
    weights
        Not negative, sum 1, shape (p,); exactly 0 where a column is not used.
    objective
        :math:`\\lVert Aw - b\\rVert^2 + \\text{ridge}\\,\\lVert w\\rVert^2` at the optimum.
    kkt_residual
        Largest decrease that moving all weight to one column promises to first order, as a share of the largest
        squared distance of a column from the target. It bounds, on that scale, how far the objective is from its
        minimum.
    steps
        Least-squares problems solved.
    """

    weights: Floats
    objective: float
    kkt_residual: float
    steps: int


def simplex_least_squares(A: npt.ArrayLike, b: npt.ArrayLike, *, ridge: float = 0.0) -> SimplexFit:
    """Find the weighted average of columns that lies nearest to a target.

    Parameters
    ----------
    A
        One column per candidate, shape (n, p).
    b
        Target, shape (n,).
    ridge
        Penalty on the squared weights, at least 0; above 0 the optimum is unique.

    Returns
    -------
    SimplexFit

    Raises
    ------
    ValueError
        Where shapes differ, a value is not finite, there is no column, or ``ridge`` is negative.

    Notes
    -----
    As weights sum to one, :math:`Aw - b = \\sum_j w_j (a_j - b)`: the optimum is the point of least norm in the convex
    hull of :math:`p_j = (a_j - b, \\sqrt{\\text{ridge}}\\, e_j)`. With x that point, optimality is
    :math:`p_j'x \\ge x'x` for all j.

    References
    ----------
    Wolfe, P. (1976). Finding the nearest point in a polytope. Mathematical Programming 11, 128–149.

    Examples
    --------
    >>> fit = simplex_least_squares([[0.0, 4.0, 0.0], [0.0, 0.0, 4.0]], [1.0, 2.0])
    >>> fit.weights.round(12).tolist(), fit.kkt_residual < 1e-12
    ([0.25, 0.25, 0.5], True)
    """
    matrix, target = np.asarray(A, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if matrix.ndim != 2 or target.shape != (matrix.shape[0],) or 0 in matrix.shape:
        raise ValueError(f"need A of shape (n, p) and b of shape (n,), got {matrix.shape} and {target.shape}")
    if not (np.all(np.isfinite(matrix)) and np.all(np.isfinite(target))):
        raise ValueError("A and b must be finite")
    if not (np.isfinite(ridge) and ridge >= 0):
        raise ValueError(f"ridge must be finite and at least 0, got {ridge!r}")
    points = (matrix - target[:, None]).T
    if ridge > 0:
        points = np.hstack([points, np.sqrt(ridge) * np.eye(len(points))])
    weights, steps = _wolfe(points)
    nearest = weights @ points
    scale = float(np.max(np.einsum("ij,ij->i", points, points)))
    gap = float(nearest @ nearest - np.min(points @ nearest))
    residual = 0.0 if scale == 0 else max(2 * gap / scale, 0.0)
    if residual > _ACCEPTED:
        raise ValueError(
            f"the weights did not reach their optimum (residual {residual:.2g}): are the columns on one scale?"
        )
    return SimplexFit(weights=weights, objective=float(nearest @ nearest), kkt_residual=residual, steps=steps)


def _wolfe(points: Floats) -> tuple[Floats, int]:
    """Weights of the point of least norm in the hull of the rows, and the number of problems solved."""
    squares = np.einsum("ij,ij->i", points, points)
    scale = float(squares.max())
    used = [int(np.argmin(squares))]
    weights = np.array([1.0])
    nearest, steps = points[used[0]], 0
    for _ in range(100 * len(points)):
        products = points @ nearest
        entering = int(np.argmin(products))
        if entering in used or float(nearest @ nearest) - float(products[entering]) <= _TOLERANCE * scale:
            break
        trial, trial_weights = [*used, entering], np.append(weights, 0.0)
        while True:
            steps += 1
            affine = _affine_minimum(points[trial])
            if np.all(affine > 0):
                trial_weights = affine
                break
            # Walk towards the minimum of the plane until the first weight reaches 0, and drop that column.
            falling = affine <= 0
            share = trial_weights[falling] / (trial_weights[falling] - affine[falling])
            step = float(share.min())
            trial_weights = np.maximum((1 - step) * trial_weights + step * affine, 0.0)
            trial_weights[np.flatnonzero(falling)[int(np.argmin(share))]] = 0.0
            kept = trial_weights > 0
            trial = [j for j, k in zip(trial, kept, strict=True) if k]
            trial_weights = trial_weights[kept] / trial_weights[kept].sum()
        new = trial_weights @ points[trial]
        if float(new @ new) >= float(nearest @ nearest):
            break  # the norm falls at every step but for rounding: what is left is rounding
        used, weights, nearest = trial, trial_weights, new
    full = np.zeros(len(points))
    full[used] = weights
    return full, steps


def _affine_minimum(points: Floats) -> Floats:
    """Weights, of either sign and sum 1, of the point of least norm in the plane through the rows."""
    if len(points) == 1:
        return np.array([1.0])
    # Relative to one of the points, so that the squares of their common part never enter.
    offsets = points[1:] - points[0]
    free = np.linalg.lstsq(offsets.T, -points[0], rcond=None)[0]
    return np.concatenate([[1.0 - free.sum()], free])
