"""Synthetic control on Proposition 99 and on panels whose truth is known."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from jurat.stats.simplex import simplex_least_squares
from jurat.stats.synthetic_control import synthetic_control
from tests.conftest import data_folder


def proposition_99() -> tuple[np.ndarray, list[str]]:
    """Packs of cigarettes per head, 39 states by 31 years (Abadie, Diamond and Hainmueller, 2010)."""
    with (data_folder("experiments") / "prop99.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream, delimiter=";"))
    states = sorted({r["State"] for r in rows})
    y = np.full((len(states), 31), np.nan)
    for r in rows:
        y[states.index(r["State"]), int(r["Year"]) - 1970] = float(r["PacksPerCapita"])
    return y, states


def test_case_37_proposition_99_reaches_the_true_optimum() -> None:
    y, states = proposition_99()
    found = synthetic_control(y, states.index("California"), 19)
    assert y.shape == (39, 31)
    assert found.att.value == pytest.approx(-19.5137, abs=1e-4)
    assert found.pre_rmspe == pytest.approx(1.6564, abs=5e-5)
    weights = {s: round(w, 4) for s, w in zip(states, found.weights, strict=True) if w > 0}
    assert weights == {
        "Utah": 0.3939,
        "Montana": 0.2318,
        "Nevada": 0.2049,
        "Connecticut": 0.1091,
        "New Hampshire": 0.0454,
        "Colorado": 0.0148,
    }
    assert found.kkt_residual < 1e-12
    assert np.mean(found.effects[19:]) == pytest.approx(found.att.value)
    assert (found.placebo_rank, found.placebo.p_value) == (3, 3 / 39)
    assert found.in_time_start == 12 and found.in_time.low < 0 < found.in_time.high


def test_placebos_are_the_same_estimate_for_each_other_unit_without_the_treated_one() -> None:
    rng = np.random.default_rng(1)
    y = rng.normal(size=(7, 20)).cumsum(axis=1)
    y[2, 14:] += 50.0
    found = synthetic_control(y, 2, 14)
    others = [0, 1, 3, 4, 5, 6]
    ratios = []
    for i, unit in enumerate(others):
        donors = [j for j in others if j != unit]
        w = simplex_least_squares(y[donors, :14].T, y[unit, :14]).weights
        gap = y[unit] - w @ y[donors]
        assert found.placebo_atts[i] == pytest.approx(gap[14:].mean(), abs=1e-9)
        ratios.append(np.sqrt(np.mean(gap[14:] ** 2) / np.mean(gap[:14] ** 2)))
    assert found.placebo_rank == 1 + sum(r >= found.placebo.statistic for r in ratios)
    assert found.att.se == pytest.approx(np.std(found.placebo_atts), rel=1e-9)
    assert found.weights[2] == 0.0 and sum(found.weights) == pytest.approx(1.0)


def test_under_no_effect_the_placebo_p_value_is_uniform_and_the_interval_covers() -> None:
    p_values, hits = [], 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        y = rng.normal(size=(10, 3)) @ rng.normal(size=(3, 24)) + rng.normal(size=(10, 24))
        found = synthetic_control(y, 0, 16)
        p_values.append(found.placebo.p_value)
        hits += found.att.low <= 0 <= found.att.high
    assert np.mean(np.array(p_values) <= 0.1) == pytest.approx(0.1, abs=0.07)
    assert np.mean(p_values) == pytest.approx(0.55, abs=0.07)
    assert hits / 150 > 0.89


def test_a_perfect_twin_has_no_ratio_but_a_rank() -> None:
    rng = np.random.default_rng(2)
    y = rng.integers(0, 9, size=(6, 12)).astype(float)
    y[0] = y[1]
    y[0, 9:] += 2.0
    found = synthetic_control(y, 0, 9)
    assert found.att.value == pytest.approx(2.0)
    assert found.pre_rmspe < 1e-9 and found.placebo_rank == 1


def test_with_few_periods_or_no_spread_the_answer_says_what_is_missing() -> None:
    rng = np.random.default_rng(3)
    short = synthetic_control(rng.normal(size=(5, 4)), 0, 2)
    assert short.in_time.value is None and short.in_time_start is None and "too few" in short.in_time.reason
    flat = synthetic_control(np.ones((5, 8)), 0, 5)
    assert flat.att.value == pytest.approx(0.0) and flat.att.low is None and "no spread" in flat.att.reason


@pytest.mark.parametrize(
    ("shape", "row", "first", "said"),
    [
        ((4, 6), 4, 3, "0 to 3"),
        ((4, 6), -1, 3, "0 to 3"),
        ((4, 6), 0, 1, "at least two before"),
        ((4, 6), 0, 6, "at least two before"),
        ((2, 6), 0, 3, "two units"),
        ((6,), 0, 3, "matrix"),
    ],
    ids=["row", "negative row", "early", "late", "units", "vector"],
)
def test_impossible_input_is_named(shape: tuple[int, ...], row: int, first: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        synthetic_control(np.random.default_rng(0).normal(size=shape), row, first)


def test_a_value_that_is_not_finite_is_refused() -> None:
    y = np.ones((4, 6))
    y[1, 1] = np.nan
    with pytest.raises(ValueError, match="finite"):
        synthetic_control(y, 0, 3)
