"""Fieller's interval: the roots of its own equation, coverage near a weak denominator, open sides said as open."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as sps

from jurat.stats.fieller import fieller

CASES = [
    (2.0, 4.0, (0.04, 0.0, 0.04)), (-1.0, 2.0, (0.1, 0.05, 0.2)), (0.0, 3.0, (0.5, -0.1, 0.3)), (5.0, -2.0, (0.4, 0.1, 0.3)),
]  # fmt: skip


@pytest.mark.parametrize(("numerator", "denominator", "covariance"), CASES)
@pytest.mark.parametrize(("df", "level"), [(math.inf, 0.95), (9.0, 0.9)])
def test_the_ends_are_the_ratios_that_are_just_not_rejected(
    numerator: float, denominator: float, covariance: tuple[float, float, float], df: float, level: float
) -> None:
    found = fieller(numerator, denominator, covariance, df=df, level=level, n=10)
    critical = float((sps.norm if math.isinf(df) else sps.t(df)).isf((1 - level) / 2))

    def t(ratio: float) -> float:
        aa, ab, bb = covariance
        return abs(numerator - ratio * denominator) / math.sqrt(aa - 2 * ratio * ab + ratio**2 * bb)

    assert found.value == numerator / denominator and found.low is not None and found.high is not None
    assert t(found.low) == pytest.approx(critical, rel=1e-9) and t(found.high) == pytest.approx(critical, rel=1e-9)
    for ratio in np.linspace(found.low, found.high, 20)[1:-1]:
        assert t(float(ratio)) < critical
    assert found.df == (None if math.isinf(df) else df)


def test_a_certain_denominator_gives_the_plain_interval() -> None:
    found = fieller(3.0, 2.0, (0.25, 0.0, 0.0), n=5)
    half = 1.959963984540054 * 0.5 / 2
    assert (found.low, found.high) == (pytest.approx(1.5 - half), pytest.approx(1.5 + half))


def test_turning_both_signs_leaves_the_ratio_and_turning_one_mirrors_it() -> None:
    a = fieller(2.0, 4.0, (0.3, 0.1, 0.2), n=5)
    b = fieller(-2.0, -4.0, (0.3, 0.1, 0.2), n=5)
    c = fieller(-2.0, 4.0, (0.3, -0.1, 0.2), n=5)
    assert (a.value, a.low, a.high) == (b.value, b.low, b.high)
    assert c.low is not None and c.high is not None
    assert (c.low, c.high) == (pytest.approx(-(a.high or 0)), pytest.approx(-(a.low or 0)))


def test_scales_are_carried_through() -> None:
    a = fieller(2.0, 4.0, (0.3, 0.1, 0.2), n=5)
    b = fieller(2e6, 4e-3, (0.3e12, 0.1e3, 0.2e-6), n=5)
    assert b.low == pytest.approx((a.low or 0) * 1e9) and b.high == pytest.approx((a.high or 0) * 1e9)


@pytest.mark.parametrize("denominator", [0.0, 0.1, -0.3])
def test_a_denominator_that_may_be_zero_leaves_the_ratio_unbounded_and_says_so(denominator: float) -> None:
    found = fieller(2.0, denominator, (0.04, 0.0, 0.04), n=10)
    assert found.low is None and found.high is None and "unbounded" in str(found.reason)
    assert (found.value is None) == (denominator == 0)


def test_coverage_holds_near_a_weak_denominator() -> None:
    """A denominator two and a half errors from zero; a set without bounds covers too."""
    rng = np.random.default_rng(6)
    draws = rng.multivariate_normal([1.0, 2.5], [[1.0, 0.8], [0.8, 1.0]], 4_000)
    covered = 0
    for a, b in draws:
        found = fieller(float(a), float(b), (1.0, 0.8, 1.0), n=10)
        critical = abs(a - 0.4 * b) / math.sqrt(1 - 0.8 * 0.8 + 0.16)
        inside = found.low is None or found.high is None or found.low <= 0.4 <= found.high
        covered += inside
        if found.low is not None:
            assert inside == (critical <= 1.959963984540054)
    assert covered / 4_000 >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / 4_000)


@pytest.mark.parametrize("covariance", [(-0.1, 0.0, 1.0), (1.0, 0.0, -0.1)])
def test_a_negative_variance_is_refused(covariance: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        fieller(1.0, 2.0, covariance, n=10)


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0])
def test_an_impossible_level_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match="level"):
        fieller(1.0, 2.0, (1.0, 0.0, 1.0), level=level, n=10)


@pytest.mark.parametrize("numbers", [(math.nan, 2.0, 1.0), (1.0, math.inf, 1.0), (1.0, 2.0, math.nan)])
def test_what_is_not_finite_gives_no_interval(numbers: tuple[float, float, float]) -> None:
    a, b, v = numbers
    with pytest.raises(ValueError):
        fieller(a, b, (v, 0.0, 1.0), n=10)
