"""Simplex least squares: the conditions of optimality, brute force, and a general solver."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import optimize

from jurat.stats.simplex import simplex_least_squares


def _brute_force(A: np.ndarray, b: np.ndarray, ridge: float) -> float:
    """Smallest objective over every face of the simplex, by its equality-constrained optimum where that is feasible."""
    best, p = np.inf, A.shape[1]
    for size in range(1, p + 1):
        for face in itertools.combinations(range(p), size):
            F = A[:, face]
            system = np.block(
                [[F.T @ F + ridge * np.eye(size), np.ones((size, 1))], [np.ones((1, size)), np.zeros((1, 1))]]
            )
            w = np.linalg.lstsq(system, np.append(F.T @ b, 1.0), rcond=None)[0][:size]
            if np.all(w >= -1e-12) and abs(w.sum() - 1) < 1e-9:
                best = min(best, float(np.sum((F @ w - b) ** 2) + ridge * w @ w))
    return best


@pytest.mark.parametrize("seed", range(30))
def test_no_face_of_the_simplex_does_better(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, p, ridge = int(rng.integers(1, 7)), int(rng.integers(1, 7)), float(rng.choice([0.0, 0.1, 3.0]))
    A, b = rng.normal(size=(n, p)), rng.normal(size=n)
    found = simplex_least_squares(A, b, ridge=ridge)
    assert found.objective == pytest.approx(_brute_force(A, b, ridge), rel=1e-9, abs=1e-12)
    assert found.objective == pytest.approx(
        np.sum((A @ found.weights - b) ** 2) + ridge * found.weights @ found.weights
    )


@pytest.mark.parametrize(("n", "p"), [(19, 38), (5, 200), (120, 40), (60, 150)])
def test_the_conditions_of_optimality_hold_on_many_columns(n: int, p: int) -> None:
    rng = np.random.default_rng(n * p)
    A = 100 + rng.normal(size=(n, p)).cumsum(axis=0)
    b = A[:, :3].mean(axis=1) + rng.normal(0, 0.5, n)
    found = simplex_least_squares(A, b)
    assert found.weights.min() >= 0 and found.weights.sum() == pytest.approx(1.0, abs=1e-12)
    gradient = 2 * A.T @ (A @ found.weights - b)
    used = found.weights > 0
    slack = 1e-8 * np.abs(A - b[:, None]).max() ** 2 * n
    assert np.ptp(gradient[used]) <= slack
    assert gradient[~used].min(initial=np.inf) >= gradient[used].max() - slack
    assert 0 <= found.kkt_residual < 1e-12


def test_a_general_solver_finds_nothing_better() -> None:
    rng = np.random.default_rng(5)
    A, b = rng.normal(size=(12, 8)), rng.normal(size=12)
    found = simplex_least_squares(A, b, ridge=0.2)
    general = optimize.minimize(
        lambda w: np.sum((A @ w - b) ** 2) + 0.2 * w @ w,
        np.full(8, 1 / 8),
        bounds=[(0, 1)] * 8,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert found.objective <= general.fun + 1e-10
    assert found.weights == pytest.approx(general.x, abs=1e-5)


def test_a_target_inside_the_hull_is_met_and_a_corner_is_kept() -> None:
    corners = np.eye(4)
    inside = np.array([0.1, 0.2, 0.3, 0.4])
    assert simplex_least_squares(corners, inside).weights == pytest.approx(inside, abs=1e-12)
    assert simplex_least_squares(corners, [5.0, 0, 0, 0]).weights.tolist() == [1.0, 0.0, 0.0, 0.0]
    assert simplex_least_squares([[2.0]], [1.0]).weights.tolist() == [1.0]


def test_equal_columns_and_a_perfect_match_end_without_fuss() -> None:
    same = simplex_least_squares(np.ones((3, 5)), [2.0, 2.0, 2.0])
    assert same.weights.sum() == pytest.approx(1.0) and same.objective == pytest.approx(3.0)
    even = simplex_least_squares(np.ones((3, 4)), [2.0, 2.0, 2.0], ridge=1.0)
    assert even.weights == pytest.approx([0.25] * 4)
    assert simplex_least_squares(np.ones((3, 2)), np.ones(3)).objective == 0.0


@pytest.mark.parametrize("scale", [1e-8, 1e-3, 1e6, 1e12])
def test_units_of_measurement_do_not_matter(scale: float) -> None:
    rng = np.random.default_rng(6)
    A, b = rng.normal(size=(15, 25)), rng.normal(size=15)
    plain, scaled = simplex_least_squares(A, b), simplex_least_squares(scale * A + 3 * scale, scale * b + 3 * scale)
    assert scaled.weights == pytest.approx(plain.weights, abs=1e-8)


@pytest.mark.parametrize(
    ("A", "b", "ridge", "said"),
    [
        ([1.0], [1.0], 0, "shape"),
        (np.ones((2, 3)), [1.0], 0, "shape"),
        (np.ones((2, 0)), [1.0, 2.0], 0, "shape"),
        ([[np.nan]], [1.0], 0, "finite"),
        ([[1.0]], [1.0], -1, "ridge"),
    ],
    ids=["vector", "lengths", "no column", "nan", "ridge"],
)
def test_impossible_input_is_named(A: object, b: object, ridge: float, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        simplex_least_squares(A, b, ridge=ridge)
