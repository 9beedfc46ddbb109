"""Synthetic difference in differences on Proposition 99, against a general solver and on known truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize

from jurat.stats.synthetic_difference_in_differences import synthetic_difference_in_differences
from tests.stats.test_synthetic_control import proposition_99


def test_case_37_proposition_99_is_the_published_estimate_at_its_exact_optimum() -> None:
    y, states = proposition_99()
    found = synthetic_difference_in_differences(y, states.index("California"), 19)
    assert found.att.value == pytest.approx(-15.6054, abs=5e-5)
    assert found.att.value == pytest.approx(-15.60383, abs=2e-3)  # published; its solver stops early
    assert found.kkt_residual < 1e-12
    assert found.att.se == pytest.approx(8.4, abs=1.5)  # published from 200 random placebos; here all 38
    assert len(found.placebo_atts) == 38 and found.placebo.p_value == 2 / 39
    assert np.mean(found.effects[19:]) == pytest.approx(found.att.value)
    years = {1970 + i: round(w, 3) for i, w in enumerate(found.time_weights) if w > 1e-3}
    assert years == {1986: 0.366, 1987: 0.206, 1988: 0.427}
    assert found.in_time.low < 0 < found.in_time.high


def test_weights_are_those_of_a_general_solver() -> None:
    rng = np.random.default_rng(1)
    y = rng.normal(size=(8, 2)) @ rng.normal(size=(2, 14)) + rng.normal(size=(8, 14))
    found = synthetic_difference_in_differences(y, [6, 7], 9)
    controls, target = y[:6], y[6:, :9].mean(axis=0)
    sigma = np.std(np.diff(controls[:, :9], axis=1), ddof=1)
    assert found.zeta == pytest.approx((2 * 5) ** 0.25 * sigma)

    def loss(v: np.ndarray) -> float:
        return np.sum((v[0] + v[1:] @ controls[:, :9] - target) ** 2) + found.zeta**2 * 9 * v[1:] @ v[1:]

    general = optimize.minimize(
        loss,
        np.r_[0.0, np.full(6, 1 / 6)],
        bounds=[(None, None)] + [(0, 1)] * 6,
        constraints={"type": "eq", "fun": lambda v: v[1:].sum() - 1},
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 1000},
    )
    assert np.array(found.weights)[:6] == pytest.approx(general.x[1:], abs=1e-5)
    assert found.weights[6:] == (0.0, 0.0)


def test_the_jackknife_leaves_out_one_unit_at_a_time_with_weights_in_proportion() -> None:
    rng = np.random.default_rng(2)
    y = rng.normal(size=(10, 2)) @ rng.normal(size=(2, 12)) + rng.normal(size=(10, 12))
    rows = [1, 4, 7]
    found = synthetic_difference_in_differences(y, rows, 8, se="jackknife", replicates=5)
    omega, lam = np.array(found.weights), np.array(found.time_weights)
    change = y[:, 8:].mean(axis=1) - y[:, :8] @ lam
    left = []
    for i in range(10):
        treated = [r for r in rows if r != i]
        w = np.where(np.arange(10) == i, 0.0, omega)
        left.append(change[treated].mean() - w @ change / w.sum())
    assert found.att.se == pytest.approx(np.sqrt(9 / 10 * np.sum((np.array(left) - found.att.value) ** 2)), rel=1e-9)
    assert found.att.df == 2.0


def test_it_covers_the_truth_where_levels_and_trends_differ() -> None:
    hits = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        slopes = rng.normal(size=(14, 1))
        y = 5 * rng.normal(size=(14, 1)) + slopes * np.linspace(0, 3, 20) + rng.normal(size=(14, 20))
        y[0, 14:] += 4.0
        found = synthetic_difference_in_differences(y, 0, 14)
        hits += found.att.low <= 4.0 <= found.att.high
    assert hits / 60 > 0.87


def test_placebo_draws_repeat_with_their_seed() -> None:
    y = np.random.default_rng(3).normal(size=(12, 10))
    first, again, other = (
        synthetic_difference_in_differences(y, [0, 1], 6, replicates=30, seed=s).placebo_atts for s in (1, 1, 2)
    )
    assert first == again != other


@pytest.mark.parametrize(
    ("rows", "options", "said"),
    [
        ([0], {"se": "jackknife"}, "two treated"),
        ([0], {"se": "bootstrap"}, "bootstrap"),
        ([0, 1, 2], {}, "two controls more"),
        ([0, 0], {}, "distinct"),
        ([], {}, "distinct"),
    ],
    ids=["jackknife of one", "unknown", "few controls", "twice", "none"],
)
def test_impossible_input_is_named(rows: list[int], options: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        synthetic_difference_in_differences(np.random.default_rng(0).normal(size=(7, 9)), rows, 5, **options)
