"""Rates of events: published digits, scipy, exact coverage by enumeration of the Poisson law."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as sps

from jurat.stats.poisson import event_rate, rate_ratio, rate_ratio_test

CASE = (60, 51_477.5, 30, 54_308.7)


def test_case_10_two_rates_and_garwoods_interval() -> None:
    assert rate_ratio_test(*CASE).p_value == pytest.approx(6.7518265869e-4, rel=1e-8)
    assert rate_ratio_test(*CASE, method="mid-p").p_value == pytest.approx(5.5726240662e-4, rel=1e-8)
    assert rate_ratio_test(*CASE, method="score").p_value == pytest.approx(6.3221888205e-4, rel=1e-8)
    found = rate_ratio(*CASE)
    assert (found.low, found.high) == pytest.approx((1.3659624312, 3.2593061483), rel=1e-8)
    three = event_rate(3, 1.0)
    assert (three.low, three.high) == pytest.approx((0.6186721229, 8.7672730697), rel=1e-8)


def test_the_rate_of_no_event_is_bounded_as_the_zero_failure_rule_says() -> None:
    found = event_rate(0, 10_000, side="upper")
    assert (found.value, found.low) == (0.0, None)
    assert found.high == pytest.approx(-math.log(0.05) / 10_000, rel=1e-12)
    assert event_rate(0, 2.0).low == 0.0
    assert event_rate(4, 2.0, side="lower").high is None


@given(events=st.integers(1, 10_000), exposure=st.floats(1e-6, 1e9), level=st.sampled_from([0.8, 0.95, 0.999]))
def test_garwoods_bounds_are_quantiles_of_chi_squared(events: int, exposure: float, level: float) -> None:
    found = event_rate(events, exposure, level=level)
    tail = (1 - level) / 2
    assert found.low == pytest.approx(sps.chi2.ppf(tail, 2 * events) / 2 / exposure, rel=1e-9)
    assert found.high == pytest.approx(sps.chi2.isf(tail, 2 * events + 2) / 2 / exposure, rel=1e-9)


@pytest.mark.parametrize("mean", [0.05, 0.7, 3.0, 17.5])
def test_garwoods_interval_covers_at_least_its_level(mean: float) -> None:
    counts = range(120)
    covers = [found.low <= mean <= found.high for found in (event_rate(k, 1.0) for k in counts)]  # type: ignore[operator]
    assert float(sps.poisson.pmf(np.arange(120), mean)[covers].sum()) >= 0.95


@given(x=st.integers(0, 40), y=st.integers(0, 40), exposure=st.floats(0.05, 20.0))
def test_the_exact_test_is_scipys_binomial_test(x: int, y: int, exposure: float) -> None:
    if x + y == 0:
        assert rate_ratio_test(x, exposure, y, 1.0).p_value == 1.0
        return
    for alternative in ("two-sided", "less", "greater"):
        expected = sps.binomtest(x, x + y, exposure / (exposure + 1.0), alternative=alternative).pvalue
        found = rate_ratio_test(x, exposure, y, 1.0, alternative=alternative)  # type: ignore[arg-type]
        assert found.p_value == pytest.approx(expected, rel=1e-8, abs=1e-300)
        assert found.n == x + y


def test_the_methods_agree_with_statsmodels() -> None:
    rates = pytest.importorskip("statsmodels.stats.rates")
    x, t, y, s = CASE
    for method, theirs in (("exact", "exact-cond"), ("mid-p", "cond-midp"), ("score", "score")):
        expected = rates.test_poisson_2indep(x, t, y, s, method=theirs, compare="ratio")
        found = rate_ratio_test(*CASE, method=method)  # type: ignore[arg-type]
        assert found.p_value == pytest.approx(expected.pvalue, rel=1e-8)
    expected_ci = rates.confint_poisson_2indep(x, t, y, s, method="score", compare="ratio")
    found_ci = rate_ratio(*CASE)
    assert (found_ci.low, found_ci.high) == pytest.approx(expected_ci, rel=1e-6)


@given(x=st.integers(0, 60), y=st.integers(1, 60), exposure=st.floats(0.1, 10.0))
def test_the_score_interval_ends_where_the_score_test_is_at_its_level(x: int, y: int, exposure: float) -> None:
    found = rate_ratio(x, exposure, y, 1.0, level=0.9)
    assert found.low is not None and found.high is not None and found.value is not None
    assert found.low <= found.value <= found.high
    for bound in (found.low, found.high):
        if bound > 0:
            p = rate_ratio_test(x, exposure, y, 1.0, null=bound, method="score").p_value
            assert p == pytest.approx(0.1, rel=1e-7)


@given(x=st.integers(1, 60), y=st.integers(1, 60), exposure=st.floats(0.1, 10.0))
def test_the_exact_interval_ends_where_the_one_sided_exact_tests_are_at_their_level(
    x: int, y: int, exposure: float
) -> None:
    found = rate_ratio(x, exposure, y, 1.0, method="exact")
    assert found.low is not None and found.high is not None
    low = rate_ratio_test(x, exposure, y, 1.0, null=found.low, alternative="greater").p_value
    high = rate_ratio_test(x, exposure, y, 1.0, null=found.high, alternative="less").p_value
    assert (low, high) == pytest.approx((0.025, 0.025), rel=1e-7)


def test_exchanging_the_groups_inverts_the_ratio() -> None:
    for method in ("score", "exact"):
        one = rate_ratio(*CASE, method=method)  # type: ignore[arg-type]
        other = rate_ratio(*CASE[2:], *CASE[:2], method=method)  # type: ignore[arg-type]
        assert one.low is not None and one.high is not None
        assert (other.low, other.high) == pytest.approx((1 / one.high, 1 / one.low), rel=1e-9)


@pytest.mark.parametrize(("first", "second"), [(2.0, 2.0), (6.0, 3.0), (12.0, 9.0)])
def test_exact_tests_keep_the_type_one_error_by_enumeration(first: float, second: float) -> None:
    ratio = first / second
    rejected = {"exact": 0.0, "mid-p": 0.0, "score": 0.0}
    missed = 0.0
    for x in range(45):
        for y in range(45):
            weight = float(sps.poisson.pmf(x, first) * sps.poisson.pmf(y, second))
            if weight < 1e-9:
                continue
            for method in rejected:
                test = rate_ratio_test(x, 1.0, y, 1.0, null=ratio, method=method)  # type: ignore[arg-type]
                rejected[method] += weight * (test.p_value <= 0.05)
            found = rate_ratio(x, 1.0, y, 1.0, method="exact")
            missed += weight * (
                (found.low is not None and found.low > ratio) or (found.high is not None and found.high < ratio)
            )
    assert rejected["exact"] <= 0.05
    assert rejected["exact"] <= rejected["mid-p"] <= 0.06
    assert rejected["score"] <= 0.065
    assert missed <= 0.05


def test_one_group_without_events_leaves_a_bound_and_none_at_all_leaves_nothing() -> None:
    without_second = rate_ratio(5, 1.0, 0, 1.0)
    assert (without_second.value, without_second.high) == (None, None)
    assert without_second.low is not None and without_second.low > 1
    assert "second group" in (without_second.reason or "")
    without_first = rate_ratio(0, 1.0, 5, 1.0)
    assert (without_first.value, without_first.low) == (0.0, 0.0)
    assert without_first.high is not None and without_first.high < 1
    nothing = rate_ratio(0, 1.0, 0, 1.0)
    assert (nothing.value, nothing.low, nothing.high) == (None, None, None)
    assert "no events" in (nothing.reason or "")


def test_one_sided_bounds_are_those_of_twice_the_error() -> None:
    both = rate_ratio(*CASE, level=0.9)
    assert rate_ratio(*CASE, side="lower").low == pytest.approx(both.low, rel=1e-12)
    assert rate_ratio(*CASE, side="upper").high == pytest.approx(both.high, rel=1e-12)
    assert rate_ratio(*CASE, side="upper").low is None


def test_impossible_counts_exposures_and_options_are_refused() -> None:
    with pytest.raises(ValueError, match="events must be a whole number"):
        event_rate(-1, 1.0)
    with pytest.raises(ValueError, match="events_2 must be a whole number"):
        rate_ratio(1, 1.0, 1.5, 1.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="exposure_1 must be positive"):
        rate_ratio_test(1, 0.0, 1, 1.0)
    with pytest.raises(ValueError, match="exposure must be positive"):
        event_rate(1, math.inf)
    with pytest.raises(ValueError, match="method must be 'score' or 'exact'"):
        rate_ratio(1, 1.0, 1, 1.0, method="wald")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="method must be 'exact'"):
        rate_ratio_test(1, 1.0, 1, 1.0, method="wald")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="null must be a positive"):
        rate_ratio_test(1, 1.0, 1, 1.0, null=0.0)
    with pytest.raises(ValueError, match="alternative must be"):
        rate_ratio_test(1, 1.0, 1, 1.0, alternative="more")  # type: ignore[arg-type]
