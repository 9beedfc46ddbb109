"""Sample sizes against published digits, statsmodels, and the power that they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as sps

from jurat.stats.interval import proportion
from jurat.stats.mean import clustered_mean
from jurat.stats.power import (
    non_inferiority_size,
    paired_proportions_size,
    two_proportions_size,
    units_to_decide,
)
from jurat.stats.result import Interval


@pytest.mark.parametrize(
    ("p1", "p2", "formula", "power", "expected"),
    [
        (0.52, 0.53, "pooled", 0.8, 39_145.1087176),  # R power.prop.test
        (0.52, 0.53, "unpooled", 0.8, 39_142.3632352),
        (0.52, 0.53, "unpooled", 0.9, 52_400.5188),
        (0.001, 0.002, "pooled", 0.8, 23_510.1402730),
        (0.001, 0.002, "unpooled", 0.8, 23_507.3948),
    ],
)
def test_two_proportions_need_what_r_and_the_textbook_say(
    p1: float, p2: float, formula: str, power: float, expected: float
) -> None:
    found = two_proportions_size(p1, p2, power=power, formula=formula)  # type: ignore[arg-type]
    assert found.exact == pytest.approx(expected, rel=1e-8)
    assert found.n == math.ceil(expected)
    assert formula in found.formula


def test_the_arcsine_formula_agrees_with_pwr_of_r_and_with_statsmodels() -> None:
    power = pytest.importorskip("statsmodels.stats.power")
    proportion_module = pytest.importorskip("statsmodels.stats.proportion")
    effect = proportion_module.proportion_effectsize(0.3, 0.25)
    # Both also count the chance of a rejection on the wrong side, about one in a million.
    assert two_proportions_size(0.52, 0.53, formula="arcsine").exact == pytest.approx(39_144.8737838, rel=1e-5)
    expected = power.NormalIndPower().solve_power(effect, alpha=0.05, power=0.8)
    assert two_proportions_size(0.3, 0.25, formula="arcsine").exact == pytest.approx(expected, rel=1e-5)


def test_non_inferiority_needs_the_published_size() -> None:
    assert non_inferiority_size(0.02, 0.02, 0.005).exact == pytest.approx(12_307.0434235, rel=1e-9)


def test_the_arcsine_formula_is_refused_below_one_per_cent() -> None:
    with pytest.raises(ValueError, match="refused below 1 %"):
        two_proportions_size(0.001, 0.002, formula="arcsine")


@pytest.mark.parametrize(("p1", "p2"), [(0.5, 0.5), (0.0, 0.1), (0.2, 1.0)])
def test_two_equal_or_impossible_shares_are_refused(p1: float, p2: float) -> None:
    with pytest.raises(ValueError, match="two different shares"):
        two_proportions_size(p1, p2)


def test_a_margin_within_the_true_difference_is_refused() -> None:
    with pytest.raises(ValueError, match="must exceed the true difference"):
        non_inferiority_size(0.02, 0.03, 0.01)


@pytest.mark.parametrize(("only_first", "only_second"), [(0.06, 0.03), (0.2, 0.1), (0.01, 0.03)])
def test_mcnemar_has_the_promised_power_by_exact_enumeration(only_first: float, only_second: float) -> None:
    n = paired_proportions_size(only_first, only_second).n
    assert n is not None
    discordant = only_first + only_second
    power = 0.0
    for m in range(1, n + 1):
        weight = sps.binom.pmf(m, n, discordant)
        if weight > 1e-12:
            b = np.arange(m + 1)
            rejects = np.abs(2 * b - m) / math.sqrt(m) >= sps.norm.isf(0.025)
            power += weight * sps.binom.pmf(b, m, only_first / discordant)[rejects].sum()
    assert power == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize(("a", "b"), [(0.1, 0.1), (-0.1, 0.1), (0.7, 0.4)])
def test_impossible_pairs_are_refused(a: float, b: float) -> None:
    with pytest.raises(ValueError, match="together at most 1"):
        paired_proportions_size(a, b)


def test_the_units_to_decide_decide_as_often_as_promised() -> None:
    rng = np.random.default_rng(12)
    seen = proportion(60, 1_000)  # the bar is 0.05: not yet shown to be above
    assert seen.low is not None and seen.low < 0.05
    n = units_to_decide(seen, 0.05).n
    assert n is not None and n > 1_000
    lows = [proportion(int(k), n).low for k in rng.binomial(n, 0.06, 4_000)]
    share = np.mean([low is not None and low > 0.05 for low in lows])
    assert share == pytest.approx(0.8, abs=0.05)


def test_clusters_grow_in_step_with_units() -> None:
    rng = np.random.default_rng(3)
    cluster = np.repeat(np.arange(50), 8)
    interval = clustered_mean(rng.normal(0.1, 1, 400) + rng.normal(size=50)[cluster], cluster)
    found = units_to_decide(interval, interval.value + 0.1)  # type: ignore[operator]
    assert found.n is not None and found.exact is not None and found.n_clusters is not None
    assert found.n_clusters == math.ceil(50 * found.exact / 400)


def test_halving_the_gap_needs_four_times_the_units() -> None:
    interval = Interval(value=1.0, low=0.8, high=1.2, level=0.95, n=100, method="t")
    near, far = units_to_decide(interval, 0.9), units_to_decide(interval, 0.8)
    assert near.exact is not None and far.exact is not None
    assert near.exact / far.exact == pytest.approx(4.0, rel=1e-12)


@pytest.mark.parametrize(
    ("interval", "threshold", "reason"),
    [
        (Interval(value=0.5, low=0.4, high=0.6, level=0.95, n=50, method="t"), 0.5, "sits on the bar"),
        (Interval(value=0.0, low=0.0, high=0.1, level=0.95, n=50, method="exact"), 0.0, "sits on the bar"),
        (Interval(value=0.5, low=None, high=0.6, level=0.95, n=50, method="t"), 0.4, "open"),
        (Interval(value=None, low=None, high=None, level=0.95, n=0, method="t", reason="empty"), 0.4, "no estimate"),
    ],
)
def test_where_no_number_would_decide_the_reason_is_given(interval: Interval, threshold: float, reason: str) -> None:
    found = units_to_decide(interval, threshold)
    assert found.n is None
    assert reason in (found.reason or "")


def test_a_power_that_is_none_and_a_bar_that_is_nowhere_are_refused() -> None:
    interval = Interval(value=0.5, low=0.4, high=0.6, level=0.95, n=50, method="t")
    with pytest.raises(ValueError, match="power must lie"):
        units_to_decide(interval, 0.4, power=0.5)
    with pytest.raises(ValueError, match="threshold must be finite"):
        units_to_decide(interval, math.nan)
