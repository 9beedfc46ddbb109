"""Change detection: ratios against scipy, expectations by summation, and the budget of false alarms by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats as sps

from jurat.stats.change_detection import (
    MIXTURE,
    advance_evidence,
    binomial_log_ratio,
    evidence_threshold,
    mixture_evidence,
    normal_log_ratio,
    shifted_shares,
)


def test_the_mixtures_weights_are_a_distribution() -> None:
    assert sum(weight for _, weight in MIXTURE) == pytest.approx(1.0)
    assert [size for size, _ in MIXTURE] == sorted(size for size, _ in MIXTURE)


@pytest.mark.parametrize(
    ("k", "n", "null", "alternative"), [(48, 600, 0.05, 0.08), (0, 10, 0.2, 0.5), (7, 7, 0.9, 0.99)]
)
def test_the_ratio_of_shares_is_that_of_scipys_binomial(k: int, n: int, null: float, alternative: float) -> None:
    expected = sps.binom.logpmf(k, n, alternative) - sps.binom.logpmf(k, n, null)
    assert binomial_log_ratio(k, n, null, alternative) == pytest.approx(expected)
    assert binomial_log_ratio(k, n, null, alternative, dispersion=2.5) == pytest.approx(expected / 2.5)


@pytest.mark.parametrize("true", [0.01, 0.04, 0.05])
@pytest.mark.parametrize("dispersion", [1.0, 3.0])
def test_a_step_adds_nothing_in_expectation_under_every_share_up_to_the_null(true: float, dispersion: float) -> None:
    n = 80
    chance = sps.binom.pmf(np.arange(n + 1), n, true)
    for alternative in shifted_shares(0.05, 0.05, 0.03):
        ratios = [binomial_log_ratio(k, n, 0.05, alternative, dispersion=dispersion) for k in range(n + 1)]
        expected = float(chance @ np.exp(ratios))
        assert expected <= 1 + 1e-9
        if true == 0.05 and dispersion == 1.0:
            assert expected == pytest.approx(1.0)


@pytest.mark.parametrize("shift", [0.01, 0.3, 5.0])
def test_a_step_of_normal_sums_adds_nothing_in_expectation_and_its_tilt_is_held(shift: float) -> None:
    n, null, variance = 50, 10.0, 4.0
    z = np.linspace(-12, 12, 40_001)
    totals = n * null + z * math.sqrt(n * variance)
    ratios = np.array([normal_log_ratio(t, n, null, shift, variance) for t in totals])
    assert np.trapezoid(np.exp(ratios) * sps.norm.pdf(z), z) == pytest.approx(1.0, abs=1e-6)
    assert max(np.diff(ratios) / np.diff(z)) == pytest.approx(min(shift * math.sqrt(n / variance), 2.0))


def test_false_alarms_keep_to_the_budget_though_every_step_is_looked_at() -> None:
    draw = np.random.default_rng(20)
    steps, budget, runs = 2_000, 1.0, 60
    threshold = evidence_threshold(budget, steps)
    shares = shifted_shares(0.05, 0.05, 0.03)
    alarms = 0
    for _ in range(runs):
        evidence = tuple(0.0 for _ in MIXTURE)
        for k in draw.binomial(60, 0.05, steps):
            evidence = advance_evidence(evidence, [binomial_log_ratio(int(k), 60, 0.05, p) for p in shares])
            if mixture_evidence(evidence) >= threshold:
                alarms += 1
                evidence = tuple(0.0 for _ in MIXTURE)
    assert alarms / runs <= budget + 2 * math.sqrt(budget / runs)


def test_a_share_of_the_budget_and_a_memory_only_lower_the_evidence() -> None:
    full = mixture_evidence(advance_evidence((4.0,) * 4, (0.5,) * 4))
    assert mixture_evidence(advance_evidence((4.0,) * 4, (0.5,) * 4, share=0.25)) < full
    assert mixture_evidence(advance_evidence((4.0,) * 4, (0.5,) * 4, memory=10)) < full
    assert all(math.isfinite(e) for e in advance_evidence((1e300,) * 4, (1e6,) * 4))


def test_arguments_out_of_range_are_refused() -> None:
    for wrong in (
        lambda: evidence_threshold(0, 10),
        lambda: evidence_threshold(math.inf, 10),
        lambda: evidence_threshold(1, 0),
        lambda: shifted_shares(0.0, 0.0, 0.1),
        lambda: shifted_shares(0.5, 0.5, 0.0),
        lambda: binomial_log_ratio(3, 2, 0.1, 0.2),
        lambda: binomial_log_ratio(1, 2, 0.1, 1.0),
        lambda: binomial_log_ratio(1, 2, 0.1, 0.2, dispersion=0.5),
        lambda: normal_log_ratio(1, 0, 0, 1, 1),
        lambda: normal_log_ratio(1, 1, 0, 1, 0),
        lambda: advance_evidence((1.0,), (0.0,), share=0),
        lambda: advance_evidence((1.0,), (0.0,), memory=0),
    ):
        with pytest.raises(ValueError, match=r"need|must"):
            wrong()


def test_shares_near_one_stay_between_the_null_and_one() -> None:
    for null in (0.2, 0.9, 1 - 1e-6):
        assert all(null < p < 1 for p in shifted_shares(null, null, 0.3))
