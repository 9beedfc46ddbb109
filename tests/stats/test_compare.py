"""Differences: published digits, independent libraries, the score equation itself, coverage by enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats as sps
from statsmodels.stats.contingency_tables import mcnemar as sm_mcnemar
from statsmodels.stats.proportion import confint_proportions_2indep
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from jurat.stats.compare import _tango_statistic, difference_of_proportions, mcnemar, paired_proportions
from jurat.stats.difference import (
    clustered_difference,
    clustered_paired_difference,
    difference_of_means,
    paired_mean,
    ratio,
)
from jurat.stats.interval import proportion
from jurat.stats.inversion import FLOOR, one_sided_p_values
from jurat.stats.mean import cluster_robust_ols, clustered_mean, mean
from jurat.stats.mover import mover_difference


def test_newcombe_1998_method_10_worked_example() -> None:
    found = difference_of_proportions(56, 70, 48, 80)
    assert (found.low, found.high) == pytest.approx((0.0524314724, 0.3338726540), rel=1e-8)


@pytest.mark.parametrize("cells", [(56, 70, 48, 80), (9, 10, 3, 10), (5, 56, 0, 29), (0, 10, 0, 20), (10, 10, 0, 20)])
def test_newcombe_equals_statsmodels(cells: tuple[int, int, int, int]) -> None:
    expected = confint_proportions_2indep(*cells, method="newcomb", compare="diff")
    found = difference_of_proportions(*cells)
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("b", "c"), [(86, 150), (3, 9), (0, 4), (7, 7)])
def test_mcnemar_equals_statsmodels_and_mid_p_its_definition(b: int, c: int) -> None:
    table = np.array([[10, b], [c, 20]])
    assert mcnemar(b, c, method="exact").p_value == pytest.approx(sm_mcnemar(table, exact=True).pvalue, rel=1e-9)
    chi2 = sm_mcnemar(table, exact=False, correction=False)
    assert mcnemar(b, c, method="chi2").statistic == pytest.approx(chi2.statistic, rel=1e-12)
    mid = min(1.0, 2 * sps.binom.cdf(min(b, c), b + c, 0.5) - sps.binom.pmf(min(b, c), b + c, 0.5))
    assert mcnemar(b, c).p_value == pytest.approx(mid, rel=1e-12)


def test_mcnemar_reference_digits() -> None:
    assert mcnemar(86, 150, method="chi2").statistic == pytest.approx(17.3559322034, rel=1e-10)
    assert mcnemar(86, 150, method="exact").p_value == pytest.approx(3.7159361396e-5, rel=1e-9)


@pytest.mark.parametrize(("b", "c", "n"), [(0, 7, 50), (4, 0, 200), (3, 9, 60), (40, 3, 44), (0, 0, 30), (1, 1, 2)])
def test_tango_bounds_solve_the_score_equation(b: int, c: int, n: int) -> None:
    found = paired_proportions((n - b - c) // 2, b, c, n - b - c - (n - b - c) // 2)
    z = sps.norm.isf(0.025)
    assert found.low is not None and found.high is not None
    for bound, sign in ((found.low, 1), (found.high, -1)):
        if abs(bound) < 1:
            assert _tango_statistic(b, c, n, bound) == pytest.approx(sign * z, abs=1e-6)


def test_tango_1998_agrees_with_mcnemar_at_zero() -> None:
    assert _tango_statistic(86, 150, 1_600, 0.0) ** 2 == pytest.approx(mcnemar(86, 150, method="chi2").statistic)


@pytest.mark.parametrize(("p1", "p2", "n"), [(0.9, 0.8, 30), (0.1, 0.1, 30), (0.5, 0.3, 60)])
def test_tango_covers_by_enumeration_of_every_table(p1: float, p2: float, n: int) -> None:
    both = p1 * p2 + 0.3 * min(p1 * (1 - p2), p2 * (1 - p1))
    cells = np.array([both, p1 - both, p2 - both, 1 - p1 - p2 + both])
    coverage = 0.0
    for b, c in itertools.product(range(n + 1), repeat=2):
        if b + c <= n:
            mass = sps.multinomial.pmf([b, c, n - b - c], n, [cells[1], cells[2], cells[0] + cells[3]])
            if mass > 1e-9:
                found = paired_proportions(n - b - c, b, c, 0)
                assert found.low is not None and found.high is not None
                coverage += mass * (found.low <= p1 - p2 <= found.high)
    assert coverage >= 0.935


def test_means_equal_scipy_and_statsmodels() -> None:
    rng = np.random.default_rng(5)
    x, y = rng.normal(1, 2, 40), rng.normal(0, 1, 25)
    welch = CompareMeans(DescrStatsW(x), DescrStatsW(y)).tconfint_diff(usevar="unequal")
    found = difference_of_means(x, y)
    assert (found.low, found.high) == pytest.approx(welch, rel=1e-9)
    paired = sps.ttest_rel(x[:25], y).confidence_interval(0.95)
    mine = paired_mean(x[:25], y)
    assert (mine.low, mine.high) == pytest.approx((paired.low, paired.high), rel=1e-9)


def test_the_clustered_difference_of_equal_sized_clusters_is_welch_on_cluster_means() -> None:
    rng = np.random.default_rng(6)
    a, b = rng.normal(size=50), rng.normal(size=60)
    found = clustered_difference(np.full(50, 4), 4 * a, np.full(60, 4), 4 * b, correction="CR1")
    welch = difference_of_means(a, b)
    assert (found.low, found.high) == pytest.approx((welch.low, welch.high), rel=1e-9)


def test_the_paired_clustered_difference_is_the_clustered_mean_of_differences() -> None:
    rng = np.random.default_rng(7)
    cluster = np.repeat(np.arange(15), rng.integers(1, 8, 15))
    x, y = rng.normal(size=len(cluster)), rng.normal(size=len(cluster))
    n, s, t = (np.bincount(cluster, weights=w) for w in (np.ones(len(x)), x, y))
    found, expected = clustered_paired_difference(n, s, n, t), clustered_mean(x - y, cluster)
    assert (found.value, found.se, found.df) == pytest.approx((expected.value, expected.se, expected.df), rel=1e-9)


def test_a_ratio_equals_intercept_only_least_squares_on_its_rows() -> None:
    y, x = [3, 0, 5, 2, 7, 1, 4, 6], [10, 4, 12, 9, 15, 5, 11, 14]
    found = ratio(y, x, correction="CR1")
    assert (found.value, found.se) == pytest.approx((0.35, 0.0401559460105), rel=1e-10)
    rows = np.concatenate([np.r_[np.ones(k), np.zeros(m - k)] for k, m in zip(y, x, strict=True)])
    fit = cluster_robust_ols(np.ones((80, 1)), rows, np.repeat(np.arange(8), x))
    assert found.se == pytest.approx(fit.standard_errors[0], rel=1e-12)


def test_mover_keeps_the_reason_of_a_part_and_refuses_two_levels() -> None:
    assert mover_difference(proportion(0, 0), proportion(1, 2)).reason == "there are no units"
    with pytest.raises(ValueError, match="one level"):
        mover_difference(proportion(1, 2, level=0.9), proportion(1, 2))


def test_a_p_value_by_inversion_is_the_t_tests_own() -> None:
    x = np.random.default_rng(8).normal(0.4, 1, 30)
    found = one_sided_p_values(lambda level: mean(x, level=level), 0.1)
    assert found.p_greater == pytest.approx(sps.ttest_1samp(x, 0.1, alternative="greater").pvalue, rel=1e-6)
    assert found.p_less == pytest.approx(sps.ttest_1samp(x, 0.1, alternative="less").pvalue, rel=1e-6)


def test_a_p_value_and_its_interval_never_disagree() -> None:
    for k in range(60):
        for null in (0.1, 0.25, 0.5):
            found = proportion(k, 60)
            p = one_sided_p_values(lambda level, k=k: proportion(k, 60, level=level), null)
            assert found.low is not None and found.high is not None
            assert (p.p_greater < 0.025) == (found.low > null)
            assert (p.p_less < 0.025) == (found.high < null)


def test_what_is_undefined_convinces_nobody_and_nothing_is_surer_than_the_floor() -> None:
    nothing = one_sided_p_values(lambda level: proportion(0, 0, level=level), 0.5)
    assert (nothing.p_greater, nothing.p_less) == (1.0, 1.0)
    sure = one_sided_p_values(lambda level: proportion(5_000, 5_000, level=level), 0.01)
    assert sure.p_greater == FLOOR
