"""Mantel–Haenszel and Breslow–Day against published digits, an independent library and simulation."""

from __future__ import annotations

import numpy as np
import pytest

from jurat.stats.stratify import breslow_day, mantel_haenszel

MEN = [512, 353, 120, 138, 53, 22], [825, 560, 325, 417, 191, 373]
WOMEN = [89, 17, 202, 131, 94, 24], [108, 25, 593, 375, 393, 341]


def test_case_31_berkeley_admissions_within_departments() -> None:
    found = mantel_haenszel(*MEN, *WOMEN)
    o = found.odds_ratio
    assert (o.value, o.low, o.high) == pytest.approx((0.9046968283, 0.7719073618, 1.0603297644), rel=1e-8)
    assert found.corrected.statistic == pytest.approx(1.4269462, abs=5e-8)
    assert found.corrected.p_value == pytest.approx(0.2322635, abs=5e-8)
    assert breslow_day(*MEN, *WOMEN, tarone=False).statistic == pytest.approx(18.8255137052, rel=1e-8)


def random_tables(seed: int, strata: int = 5) -> tuple[list[int], list[int], list[int], list[int]]:
    rng = np.random.default_rng(seed)
    n1, n2 = rng.integers(8, 60, strata), rng.integers(8, 60, strata)
    k1, k2 = rng.binomial(n1, rng.uniform(0.2, 0.8, strata)), rng.binomial(n2, rng.uniform(0.2, 0.8, strata))
    return k1.tolist(), n1.tolist(), k2.tolist(), n2.tolist()


@pytest.mark.parametrize("seed", range(5))
def test_every_number_agrees_with_an_independent_library(seed: int) -> None:
    contingency = pytest.importorskip("statsmodels.stats.contingency_tables")
    k1, n1, k2, n2 = (np.array(x) for x in random_tables(seed))
    oracle = contingency.StratifiedTable(
        [np.array([[a, n - a], [c, m - c]]) for a, n, c, m in zip(k1, n1, k2, n2, strict=True)]
    )
    found = mantel_haenszel(k1, n1, k2, n2, level=0.9)
    low, high = oracle.oddsratio_pooled_confint(alpha=0.1)
    o = found.odds_ratio
    assert (o.value, o.low, o.high) == pytest.approx((oracle.oddsratio_pooled, low, high), rel=1e-10)
    assert found.test.statistic == pytest.approx(oracle.test_null_odds(correction=False).statistic, rel=1e-10)
    # They take the correction off even where it exceeds the gap, and find a difference of the other sign.
    if found.corrected.p_value < 1:
        assert found.corrected.p_value == pytest.approx(oracle.test_null_odds(correction=True).pvalue, rel=1e-10)
    for tarone in (False, True):
        expected = oracle.test_equal_odds(adjust=tarone)
        mine = breslow_day(k1, n1, k2, n2, tarone=tarone)
        assert (mine.statistic, mine.p_value) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-8)


def test_the_risk_difference_covers_a_common_difference_in_many_small_strata() -> None:
    rng, covered = np.random.default_rng(1), 0
    for _ in range(600):
        base = rng.uniform(0.1, 0.7, 60)
        n1, n2 = rng.integers(1, 6, 60), rng.integers(1, 6, 60)
        found = mantel_haenszel(rng.binomial(n1, base + 0.15), n1, rng.binomial(n2, base), n2).risk_difference
        assert found.low is not None and found.high is not None
        covered += found.low <= 0.15 <= found.high
    assert 0.925 <= covered / 600 <= 0.975


def test_swapping_the_groups_inverts_the_odds_ratio_and_turns_the_difference() -> None:
    k1, n1, k2, n2 = random_tables(9)
    one, two = mantel_haenszel(k1, n1, k2, n2), mantel_haenszel(k2, n2, k1, n1)
    assert one.odds_ratio.value is not None and one.odds_ratio.low is not None and one.risk_difference.value is not None
    assert two.odds_ratio.value == pytest.approx(1 / one.odds_ratio.value)
    assert two.odds_ratio.high == pytest.approx(1 / one.odds_ratio.low)
    assert two.risk_difference.value == pytest.approx(-one.risk_difference.value)
    assert two.risk_difference.se == pytest.approx(one.risk_difference.se)


def test_a_stratum_that_a_group_lacks_changes_nothing() -> None:
    whole = mantel_haenszel([3, 5, 9], [10, 12, 20], [2, 7, 0], [9, 15, 0])
    part = mantel_haenszel([3, 5], [10, 12], [2, 7], [9, 15])
    assert whole == part


def test_an_odds_ratio_without_a_finite_value_says_so() -> None:
    never = mantel_haenszel([3, 2], [10, 10], [0, 0], [10, 10])
    assert never.odds_ratio.value is None and "finite" in str(never.odds_ratio.reason)
    assert never.risk_difference.value == pytest.approx(0.25)
    empty = mantel_haenszel([], [], [], [])
    assert empty.odds_ratio.value is None and empty.risk_difference.value is None
    assert empty.test.p_value == 1.0
    nothing = mantel_haenszel([0, 0], [5, 5], [0, 0], [5, 5])
    assert nothing.odds_ratio.value is None and nothing.test.p_value == 1.0
    assert nothing.risk_difference.low is None and nothing.risk_difference.reason


def test_one_stratum_has_nothing_to_be_unequal_with() -> None:
    found = breslow_day([3], [10], [5], [10])
    assert found.statistic is None and found.p_value == 1.0


def test_tarones_term_keeps_the_test_of_equal_odds_at_its_level() -> None:
    rng, rejected = np.random.default_rng(2), 0
    odds = np.array([0.3, 0.6, 1.0, 2.0])
    for _ in range(500):
        k2, k1 = rng.binomial(60, odds / (1 + odds)), rng.binomial(60, 2 * odds / (1 + 2 * odds))
        rejected += breslow_day(k1, [60] * 4, k2, [60] * 4).p_value < 0.05
    assert 0.025 <= rejected / 500 <= 0.08


@pytest.mark.parametrize(
    "counts", [([3], [2], [1], [5]), ([-1], [2], [1], [5]), ([1.5], [2], [1], [5]), ([1], [2, 3], [1], [5])]
)
def test_impossible_counts_are_refused(counts: tuple[list[float], ...]) -> None:
    with pytest.raises(ValueError, match="need"):
        mantel_haenszel(*counts)
