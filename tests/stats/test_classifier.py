"""Predictive values and corrected prevalence: published digits, identities, and coverage by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jurat.stats.classifier import PredictiveValues, predictive_values, rogan_gladen
from jurat.stats.interval import proportion

RATES = st.floats(0.01, 0.99)


@pytest.mark.parametrize(
    ("sensitivity", "expected"), [(0.95, 0.1610169492), (0.99, 1 / 6), (0.80, 0.1391304348), (1.0, 0.1680672269)]
)
def test_case_06_most_flags_of_a_rare_harm_are_false(sensitivity: float, expected: float) -> None:
    found = predictive_values(sensitivity, 0.95, 0.01)
    assert found.ppv.value == pytest.approx(expected, rel=1e-8)
    assert (found.ppv.low, found.ppv.high, found.ppv.method) == (found.ppv.value, found.ppv.value, "known rates")
    if sensitivity == 0.95:
        assert found.npv.value == pytest.approx(0.9994686504, rel=1e-8)


def test_case_06_rogan_and_gladens_correction() -> None:
    found = rogan_gladen(600, 10_000, sensitivity=0.95, specificity=0.95)
    assert found.value == pytest.approx(0.011111111111, rel=1e-8)


@given(sensitivity=RATES, specificity=RATES, prevalence=RATES)
def test_predictive_values_are_bayes_theorem_on_a_table_of_shares(
    sensitivity: float, specificity: float, prevalence: float
) -> None:
    table = np.array([[sensitivity, 1 - sensitivity], [1 - specificity, specificity]])
    table = table * np.array([[prevalence], [1 - prevalence]])
    found = predictive_values(sensitivity, specificity, prevalence)
    assert isinstance(found, PredictiveValues)
    assert found.ppv.value == pytest.approx(table[0, 0] / table[:, 0].sum(), rel=1e-12)
    assert found.npv.value == pytest.approx(table[1, 1] / table[:, 1].sum(), rel=1e-12)
    assert found.flagged_share.value == pytest.approx(table[:, 0].sum(), rel=1e-12)


def test_a_single_counted_rate_gives_jeffreys_interval_carried_over() -> None:
    share = proportion(95, 100, method="jeffreys")
    assert share.low is not None and share.high is not None
    found = predictive_values(0.9, (95, 100), 0.1, draws=400_000, seed=3)
    ends = [0.09 / (0.09 + (1 - sp) * 0.9) for sp in (share.low, share.high)]
    assert (found.ppv.low, found.ppv.high) == pytest.approx(ends, rel=0.01)
    assert found.ppv.n == 100


def test_the_same_seed_gives_the_same_interval() -> None:
    one = predictive_values((90, 100), (950, 1_000), (12, 900), seed=5)
    assert one == predictive_values((90, 100), (950, 1_000), (12, 900), seed=5)
    other = predictive_values((90, 100), (950, 1_000), (12, 900), seed=6)
    assert one.ppv.low != other.ppv.low
    assert (one.ppv.low, one.ppv.high) == pytest.approx((other.ppv.low, other.ppv.high), rel=0.03)


def test_a_classifier_without_an_error_seen_keeps_its_value_within_the_interval() -> None:
    found = predictive_values((50, 50), (300, 300), 0.01)
    assert found.ppv.value == found.ppv.high == 1.0
    assert found.ppv.low is not None and found.ppv.low < 0.8
    assert found.npv.value == found.npv.high == 1.0


def test_where_nothing_is_flagged_the_value_of_a_flag_is_undefined() -> None:
    found = predictive_values(0.0, 1.0, 0.2)
    assert found.ppv.value is None and found.ppv.reason == "nothing would be flagged"
    assert found.npv.value == pytest.approx(0.8)
    counted = predictive_values((0, 10), (20, 20), 0.2)
    assert (counted.ppv.value, counted.ppv.low, counted.ppv.high) == (None, None, None)
    everything = predictive_values(1.0, 0.0, 0.2)
    assert everything.npv.reason == "nothing would be passed"
    assert everything.flagged_share.value == 1.0


@pytest.mark.parametrize(
    ("sensitivity", "specificity", "prevalence"),
    [((0.9, 100), (0.95, 500), (0.01, None)), ((0.95, 60), (0.999, 1_000), (0.001, 20_000))],
)
def test_predictive_values_cover_the_truth_as_promised(
    sensitivity: tuple[float, int], specificity: tuple[float, int], prevalence: tuple[float, int | None]
) -> None:
    rng = np.random.default_rng(8)
    se, sp, pi = sensitivity[0], specificity[0], prevalence[0]
    truth = predictive_values(se, sp, pi)
    runs, covered = 600, {"ppv": 0, "npv": 0, "flagged_share": 0}

    def counted(rate: float, n: int | None) -> float | tuple[int, int]:
        return rate if n is None else (int(rng.binomial(n, rate)), n)

    for run in range(runs):
        found = predictive_values(
            counted(*sensitivity), counted(*specificity), counted(*prevalence), draws=1_500, seed=run
        )
        for name in covered:
            interval, value = getattr(found, name), getattr(truth, name).value
            covered[name] += interval.low <= value <= interval.high
    for count in covered.values():
        assert 0.915 <= count / runs <= 0.995


# Worked examples in the documentation of epiR's epi.prev: brucellosis in cows; antibodies to Helicobacter in children.
@pytest.mark.parametrize(
    ("positives", "n", "rates", "value", "high"),
    [(23, 150, (0.96, 0.89), 5.1, 13.0), (6, 151, (0.964, 0.927), 0.0, 1.3)],
)
def test_known_rates_agree_with_published_examples(
    positives: int, n: int, rates: tuple[float, float], value: float, high: float
) -> None:
    found = rogan_gladen(positives, n, sensitivity=rates[0], specificity=rates[1])
    assert found.value is not None and found.high is not None
    assert 100 * found.value == pytest.approx(value, abs=0.05)
    assert found.low == 0.0
    assert 100 * found.high == pytest.approx(high, abs=0.5)
    assert found.method == "Rogan–Gladen, Wilson, truncated to [0, 1]"


@given(k=st.integers(0, 200), sensitivity=st.floats(0.6, 1.0), specificity=st.floats(0.6, 1.0))
def test_the_corrected_share_read_through_the_classifier_is_the_share_that_was_flagged(
    k: int, sensitivity: float, specificity: float
) -> None:
    found = rogan_gladen(k, 200, sensitivity=sensitivity, specificity=specificity)
    assert found.value is not None and 0 <= found.value <= 1
    if found.reason is None:
        flagged = predictive_values(sensitivity, specificity, found.value).flagged_share.value
        assert flagged == pytest.approx(k / 200, abs=1e-12)


def test_a_perfect_classifier_changes_nothing() -> None:
    found, plain = rogan_gladen(7, 90, sensitivity=1.0, specificity=1.0), proportion(7, 90)
    assert (found.value, found.low, found.high) == pytest.approx((plain.value, plain.low, plain.high), rel=1e-12)


def _delta_width(positives: int, n: int, se: tuple[int, int], sp: tuple[int, int], z: float) -> float:
    """Half-width by the delta method with numerical derivatives."""
    shares = np.array([positives / n, se[0] / se[1], sp[0] / sp[1]])
    variances = shares * (1 - shares) / np.array([n, se[1], sp[1]])

    def corrected(x: np.ndarray) -> float:
        return float((x[0] + x[2] - 1) / (x[1] + x[2] - 1))

    steps = np.eye(3) * 1e-6
    slopes = np.array([(corrected(shares + h) - corrected(shares - h)) / 2e-6 for h in steps])
    return float(z * np.sqrt((slopes**2 * variances).sum()))


def test_large_labelled_samples_give_the_delta_method() -> None:
    se, sp = (54_000, 60_000), (74_000, 80_000)
    found = rogan_gladen(30_000, 100_000, sensitivity=se, specificity=sp)
    assert found.low is not None and found.high is not None
    assert (found.high - found.low) / 2 == pytest.approx(_delta_width(30_000, 100_000, se, sp, 1.959964), rel=1e-3)
    known = rogan_gladen(30_000, 100_000, sensitivity=0.9, specificity=0.925)
    assert known.low is not None and known.high is not None
    assert known.high - known.low < found.high - found.low


def test_the_interval_for_counts_is_lang_and_reiczigels() -> None:
    # Worked by hand from their equations 6, 7, 16 and 17: 40 of 200 flagged, 45 of 50 and 90 of 100 right, z = 1.959964.
    z2 = 1.959963984540054**2
    a, se, sp = (40 + z2 / 2) / (200 + z2), 46 / 52, 91 / 102
    prevalence = (a + sp - 1) / (se + sp - 1)
    shift = 2 * z2 * (prevalence * se * (1 - se) / 52 - (1 - prevalence) * sp * (1 - sp) / 102)
    variance = (
        a * (1 - a) / (200 + z2) + prevalence**2 * se * (1 - se) / 52 + (1 - prevalence) ** 2 * sp * (1 - sp) / 102
    )
    half = np.sqrt(z2 * variance) / (se + sp - 1)
    found = rogan_gladen(40, 200, sensitivity=(45, 50), specificity=(90, 100))
    assert (found.low, found.high) == pytest.approx((prevalence + shift - half, prevalence + shift + half), rel=1e-12)
    assert found.value == pytest.approx(0.125)


@pytest.mark.parametrize(
    ("prevalence", "n", "se", "sp"),
    [
        (0.01, 2_000, (0.95, 200), (0.95, 2_000)),
        (0.3, 300, (0.8, 50), (0.9, 50)),
        (0.001, 10_000, (0.9, 100), (0.999, 5_000)),
        (0.02, 500, (0.95, None), (0.95, None)),
        (0.1, 400, (0.9, 80), (0.95, None)),
    ],
)
def test_the_corrected_prevalence_covers_as_promised(
    prevalence: float, n: int, se: tuple[float, int | None], sp: tuple[float, int | None]
) -> None:
    rng = np.random.default_rng(9)
    runs, covered = 2_000, 0

    def counted(rate: float, m: int | None) -> float | tuple[int, int]:
        return rate if m is None else (int(rng.binomial(m, rate)), m)

    flagged = prevalence * se[0] + (1 - prevalence) * (1 - sp[0])
    for _ in range(runs):
        x = int(rng.binomial(n, flagged))
        found = rogan_gladen(x, n, sensitivity=counted(*se), specificity=counted(*sp))
        covered += found.low is not None and found.high is not None and found.low <= prevalence <= found.high
    assert 0.935 <= covered / runs <= 0.99


def test_truncation_is_told_and_the_estimate_before_it_is_kept() -> None:
    found = rogan_gladen(40, 1_000, sensitivity=0.9, specificity=0.95)
    assert (found.value, found.low) == (0.0, 0.0)
    assert found.high is not None and found.high > 0
    assert found.method.endswith("truncated to [0, 1]")
    assert "-0.01176" in (found.reason or "")
    whole = rogan_gladen(100, 2_000, sensitivity=0.95, specificity=0.95)
    assert whole.value == 0.0 and whole.reason is None


def test_an_interval_all_below_zero_is_no_evidence_of_no_harm() -> None:
    found = rogan_gladen(5, 1_000, sensitivity=0.9, specificity=0.95)
    assert (found.value, found.low, found.high) == (0.0, None, None)
    assert "the rates do not fit" in (found.reason or "")
    above = rogan_gladen(990, 1_000, sensitivity=0.8, specificity=0.95)
    assert (above.value, above.low, above.high) == (1.0, None, None)


def test_labelled_samples_that_show_nothing_give_no_bounds() -> None:
    found = rogan_gladen(30, 100, sensitivity=(300, 1_000), specificity=(3, 4))
    assert (found.low, found.high) == (None, None)
    assert "too small" in (found.reason or "")


def test_no_units_are_told() -> None:
    found = rogan_gladen(0, 0, sensitivity=0.9, specificity=(9, 10))
    assert (found.value, found.low, found.high, found.n) == (None, None, None, 0)


@pytest.mark.parametrize(("se", "sp"), [(0.5, 0.5), (0.3, 0.7), ((1, 10), (5, 10)), (0.0, 1.0)])
def test_a_classifier_no_better_than_chance_is_refused(
    se: float | tuple[int, int], sp: float | tuple[int, int]
) -> None:
    with pytest.raises(ValueError, match="must exceed 1"):
        rogan_gladen(5, 100, sensitivity=se, specificity=sp)


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan"), (3, 2), (0, 0), (1.5, 2), (-1, 5)])
def test_impossible_rates_and_counts_are_refused(rate: float | tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="sensitivity"):
        predictive_values(rate, 0.9, 0.1)
    with pytest.raises(ValueError, match="specificity"):
        rogan_gladen(5, 100, sensitivity=0.9, specificity=rate)


def test_too_few_draws_and_impossible_levels_are_refused() -> None:
    with pytest.raises(ValueError, match="draws must be"):
        predictive_values((9, 10), 0.9, 0.1, draws=10)
    with pytest.raises(ValueError, match="level must lie"):
        predictive_values(0.9, 0.9, 0.1, level=1.0)
    with pytest.raises(ValueError, match="need whole numbers"):
        rogan_gladen(11, 10, sensitivity=0.9, specificity=0.9)
