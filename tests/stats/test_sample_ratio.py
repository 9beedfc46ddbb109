"""Sample-ratio tests: reference digits, independent libraries, and type I error under continuous peeking."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate
from scipy import stats as sps

from jurat.evidence.validity import sample_ratio
from jurat.stats.sample_ratio import sample_ratio_test, sequential_sample_ratio_p, sequential_sample_ratio_test


def test_case_29_the_fixed_test_has_the_reference_digits() -> None:
    found = sample_ratio_test([10_000, 10_500], [0.5, 0.5])
    assert found.statistic == pytest.approx(12.1951219512, rel=1e-10)
    assert found.p_value == pytest.approx(4.7914643e-4, rel=1e-8)
    assert (found.n, found.df) == (20_500, 1.0)


def test_case_29_the_same_counts_are_no_alarm_while_the_experiment_runs() -> None:
    """With the uniform prior, the research's anytime p of about 0.26."""
    assert sequential_sample_ratio_test([10_000, 10_500], [0.5, 0.5]).p_value == pytest.approx(0.26, abs=0.005)


@pytest.mark.parametrize(
    ("counts", "shares"),
    [([480, 520], [1, 1]), ([3, 9, 20], [1, 2, 3]), ([0, 30], [0.3, 0.7]), ([7, 7, 7, 9], [1] * 4)],
)
def test_the_fixed_test_equals_scipy_and_the_check_of_the_evidence(counts: list[int], shares: list[float]) -> None:
    found = sample_ratio_test(counts, shares)
    expected = sps.chisquare(counts, np.array(shares) / sum(shares) * sum(counts))
    assert (found.statistic, found.p_value) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-12)
    arms = [f"arm {i}" for i in range(len(counts))]
    check = sample_ratio(dict(zip(arms, counts, strict=True)), dict(zip(arms, shares, strict=True)))
    assert check.p_value == pytest.approx(found.p_value, rel=1e-12)


@pytest.mark.parametrize("concentration", [None, 2.0, 40.0])
def test_the_bayes_factor_equals_scipy_dirichlet_multinomial(concentration: float | None) -> None:
    shares, counts = np.array([0.2, 0.3, 0.5]), np.array([30, 20, 60])
    found = sequential_sample_ratio_test(counts, shares, concentration=concentration)
    c = 3.0 if concentration is None else concentration
    log = sps.dirichlet_multinomial(c * shares, 110).logpmf(counts) - sps.multinomial(110, shares).logpmf(counts)
    assert found.statistic == pytest.approx(math.exp(log), rel=1e-9)


def test_the_bayes_factor_equals_the_integral_over_the_prior() -> None:
    share, counts = 0.3, (14, 16)
    prior = sps.beta(5 * share, 5 * (1 - share))

    def integrand(p: float) -> float:
        return float(prior.pdf(p)) * (p / share) ** counts[0] * ((1 - p) / (1 - share)) ** counts[1]

    expected = integrate.quad(integrand, 0, 1)[0]
    found = sequential_sample_ratio_test(counts, [share, 1 - share], concentration=5.0)
    assert found.statistic == pytest.approx(expected, rel=1e-7)


def test_looks_equal_the_single_test_and_their_minimum_runs() -> None:
    rng = np.random.default_rng(1)
    counts = np.cumsum(rng.multinomial(50, [0.5, 0.3, 0.2], size=40), axis=0)
    single = [sequential_sample_ratio_test(row, [0.4, 0.35, 0.25]).p_value for row in counts]
    found = sequential_sample_ratio_p(counts, [0.4, 0.35, 0.25])
    assert found.tolist() == pytest.approx(np.minimum.accumulate(single).tolist(), rel=1e-12)


@given(
    steps=st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=20),
    share=st.floats(0.05, 0.95),
)
def test_p_values_never_rise_and_ignore_the_order_of_the_arms(steps: list[tuple[int, int]], share: float) -> None:
    counts = np.cumsum(np.array(steps), axis=0)
    p = sequential_sample_ratio_p(counts, [share, 1 - share])
    assert np.all(np.diff(p) <= 0)
    assert np.all((p >= 0) & (p <= 1))
    swapped = sequential_sample_ratio_p(counts[:, ::-1], [1 - share, share])
    assert swapped.tolist() == pytest.approx(p.tolist(), rel=1e-9)


def test_no_units_are_no_evidence() -> None:
    found = sequential_sample_ratio_test([0, 0], [1, 1])
    assert (found.p_value, found.n) == (1.0, 0)
    assert found.statistic == pytest.approx(1.0)


def test_a_gross_mismatch_stays_a_number() -> None:
    found = sequential_sample_ratio_test([10_000_000, 0], [1, 1])
    assert found.p_value == 0.0
    assert math.isfinite(found.statistic or math.inf)


def test_the_mixture_is_a_martingale_under_the_plan() -> None:
    """Exactly: over all sequences of twelve units the mean of the Bayes factor is 1."""
    share, n = 0.35, 12
    factors = [
        sps.binom.pmf(k, n, share) * (sequential_sample_ratio_test([k, n - k], [share, 1 - share]).statistic or 0.0)
        for k in range(n + 1)
    ]
    assert sum(factors) == pytest.approx(1.0, rel=1e-10)


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.1, 0.9), (0.5, 0.3, 0.2)], ids=["equal", "unequal", "three"])
@pytest.mark.parametrize("concentration", [None, 200.0], ids=["default", "200"])
def test_looking_after_every_unit_keeps_the_level(shares: tuple[float, ...], concentration: float | None) -> None:
    rng = np.random.default_rng(29)
    arms = rng.choice(len(shares), p=shares, size=(600, 1500))
    counts = np.cumsum(arms[:, :, None] == np.arange(len(shares)), axis=1)
    p = sequential_sample_ratio_p(counts, shares, concentration=concentration)[:, -1]
    for alpha in (0.05, 0.2):
        error = 2 * math.sqrt(alpha * (1 - alpha) / 600)
        assert np.mean(p <= alpha) <= alpha + error


def test_the_fixed_test_read_after_every_unit_would_not_keep_it() -> None:
    rng = np.random.default_rng(30)
    first = np.cumsum(rng.random((600, 1500)) < 0.5, axis=1)
    n = np.arange(1, 1501)
    chi_squared = ((2 * first - n) ** 2 / n)[:, 99:]
    assert np.mean(np.any(chi_squared > sps.chi2.isf(0.05, 1), axis=1)) > 0.2


def test_a_real_mismatch_is_found_and_sooner_with_a_fitting_concentration() -> None:
    rng = np.random.default_rng(31)
    arms = rng.random((100, 20_000)) < 0.52
    looks = np.arange(100, 20_001, 100)
    first = np.cumsum(arms, axis=1)[:, looks - 1]
    counts = np.stack([first, looks - first], axis=-1)
    default = sequential_sample_ratio_p(counts, [1, 1]) <= 0.05
    fitting = sequential_sample_ratio_p(counts, [1, 1], concentration=2500.0) <= 0.05
    assert default[:, -1].mean() > 0.9
    assert fitting.mean() > default.mean()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: sample_ratio_test([1, 2, 3], [1, 1]), "one column per share"),
        (lambda: sample_ratio_test([0, 0], [1, 1]), "a unit in all"),
        (lambda: sample_ratio_test([1.5, 2], [1, 1]), "whole"),
        (lambda: sample_ratio_test([-1, 2], [1, 1]), "whole"),
        (lambda: sample_ratio_test([1, 2], [1, 0]), "positive"),
        (lambda: sample_ratio_test([1], [1]), "two or more"),
        (lambda: sequential_sample_ratio_test([[1, 2]], [1, 1]), "one count per arm"),
        (lambda: sequential_sample_ratio_test([1, 2], [1, 1], concentration=0.0), "concentration"),
        (lambda: sequential_sample_ratio_p([1, 2], [1, 1]), "looks and arms"),
        (lambda: sequential_sample_ratio_p([[5, 5], [4, 6]], [1, 1]), "cumulative"),
    ],
    ids=range(10),
)
def test_impossible_counts_are_refused(call, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
