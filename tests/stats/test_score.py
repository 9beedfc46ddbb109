"""Score intervals of a difference of shares: published digits, a numerical maximiser, exact fractions, exact coverage."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize
from scipy import stats as sps

from jurat.stats.compare import difference_of_proportions
from jurat.stats.score import restricted_shares, score_difference, score_statistic, score_test

COUNTS = st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@pytest.mark.parametrize(
    ("variance", "expected"),
    [
        ("miettinen-nurminen", (0.0528297132, 0.3381729400)),
        ("mee", (0.0533338493, 0.3377294637)),
    ],
)
def test_case_07_newcombes_example_has_the_published_bounds(variance: str, expected: tuple[float, float]) -> None:
    found = score_difference(56, 70, 48, 80, variance=variance)  # type: ignore[arg-type]
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-8)
    assert found.value == pytest.approx(0.2)
    newcombe = difference_of_proportions(56, 70, 48, 80)
    assert (newcombe.low, newcombe.high) == pytest.approx((0.0524314724, 0.3338726540), rel=1e-8)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ((5, 56, 0, 29), (-0.0325965617, 0.1933309767)),
        ((3, 10_000, 0, 10_000), (-8.4075169396e-5, 8.8175746655e-4)),
    ],
)
def test_case_08_rare_events_against_none(cells: tuple[int, int, int, int], expected: tuple[float, float]) -> None:
    found = score_difference(*cells)
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ((10, 10, 0, 20), (0.7156186605, 1.0)),
        ((0, 10, 0, 20), (-0.1657602275, 0.2843813395)),
        ((7, 34, 1, 34), (0.0270416266, 0.3452912170)),
    ],
)
def test_case_09_edge_cells(cells: tuple[int, int, int, int], expected: tuple[float, float]) -> None:
    found = score_difference(*cells)
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-8)


def test_case_30_retention_passes_a_margin_of_four_points_and_fails_one_of_three() -> None:
    found = score_difference(3800, 10_000, 4000, 10_000)
    # The reference's last digit is one too large: in exact fractions, the bound is −0.00648059699.
    assert (found.low, found.high) == pytest.approx((-0.0335125022, -0.0064805971), rel=2e-8)
    assert score_test(3800, 10_000, 4000, 10_000, null=-0.03, alternative="greater").p_value > 0.025
    assert score_test(3800, 10_000, 4000, 10_000, null=-0.04, alternative="greater").p_value < 0.025


def _by_maximiser(x1: int, n1: int, x2: int, n2: int, d: float) -> tuple[float, float]:
    """Restricted shares by numerical maximisation of the log-likelihood."""

    def loss(p: float) -> float:
        p1 = p + d
        terms = ((x1, p1), (n1 - x1, 1 - p1), (x2, p), (n2 - x2, 1 - p))
        return -sum(k * np.log(max(share, 1e-300)) for k, share in terms if k)

    low, high = max(0.0, -d), min(1.0, 1 - d)
    inside = optimize.minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-13}).x
    best = min((low, high, inside), key=loss)
    return best + d, best


@settings(max_examples=150, deadline=None)
@given(first=COUNTS, second=COUNTS, d=st.floats(-0.99, 0.99))
def test_restricted_shares_are_where_a_numerical_maximiser_finds_them(
    first: tuple[int, int], second: tuple[int, int], d: float
) -> None:
    found = restricted_shares(*first, *second, d)
    expected = _by_maximiser(*first, *second, d)
    # The likelihood is flat at its maximum: half of the digits are all that a maximiser can find.
    assert tuple(found) == pytest.approx(expected, abs=2e-6)
    assert found[0] - found[1] == pytest.approx(d, abs=1e-15)


def _exact(x1: int, n1: int, x2: int, n2: int, d: Fraction) -> Fraction:
    """Second restricted share by bisection of the slope in exact fractions."""
    low, high = max(Fraction(0), -d), min(Fraction(1), 1 - d)

    def slope(p: Fraction) -> Fraction:
        return (x1 - n1 * (p + d)) * p * (1 - p) + (x2 - n2 * p) * (p + d) * (1 - p - d)

    width = high - low
    if width == 0 or slope(low + width / 2**300) <= 0:
        return low
    if slope(high - width / 2**300) >= 0:
        return high
    for _ in range(110):
        middle = Fraction(round((low + high) / 2 * 2**140), 2**140)
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    return low


@pytest.mark.parametrize("n1", [1, 30, 1_000_000])
@pytest.mark.parametrize("n2", [5, 1_000_000])
def test_the_variance_keeps_its_digits_next_to_the_edges(n1: int, n2: int) -> None:
    for x1 in {0, 1, n1 // 2, n1 - 1, n1}:
        for x2 in {0, min(3, n2), n2 - 1, n2}:
            for d in (-0.7, -1e-3, -3e-7, 1e-6, 2e-4, 0.05, 0.9):
                p2 = _exact(x1, n1, x2, n2, Fraction(d))
                p1 = p2 + Fraction(d)
                spread = float(p1 * (1 - p1) / n1 + p2 * (1 - p2) / n2)
                gap = x1 / n1 - x2 / n2 - d
                found = float(score_statistic(x1, n1, x2, n2, null=d, variance="mee"))
                assert found == pytest.approx(gap / spread**0.5, rel=1e-9, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(first=COUNTS, second=COUNTS, level=st.sampled_from([0.8, 0.95, 0.999]))
def test_the_interval_holds_exactly_the_nulls_that_the_test_keeps(
    first: tuple[int, int], second: tuple[int, int], level: float
) -> None:
    found = score_difference(*first, *second, level=level)
    assert found.low is not None and found.high is not None and found.value is not None
    assert -1 <= found.low <= found.value <= found.high <= 1
    for null in np.linspace(-0.995, 0.995, 41):
        p = score_test(*first, *second, null=float(null)).p_value
        if abs(p - (1 - level)) > 1e-6:
            assert (p > 1 - level) == (found.low <= null <= found.high)


@settings(max_examples=60, deadline=None)
@given(first=COUNTS, second=COUNTS)
def test_exchanging_groups_or_outcomes_turns_the_interval_round(
    first: tuple[int, int], second: tuple[int, int]
) -> None:
    found = score_difference(*first, *second)
    assert found.low is not None and found.high is not None
    swapped = score_difference(*second, *first)
    failures = score_difference(first[1] - first[0], first[1], second[1] - second[0], second[1])
    for other in (swapped, failures):
        assert (other.low, other.high) == pytest.approx((-found.high, -found.low), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("cells", [(0, 1, 0, 1), (1, 1, 1, 1), (0, 1, 1, 1), (0, 1_000_000, 0, 10), (7, 7, 9, 9)])
@pytest.mark.parametrize("level", [0.5, 0.95, 1 - 1e-12])
def test_cells_without_failures_or_successes_never_fail_and_never_give_a_zero_width(
    cells: tuple[int, int, int, int], level: float
) -> None:
    found = score_difference(*cells, level=level)
    assert found.low is not None and found.high is not None
    assert -1 <= found.low < found.high <= 1


@pytest.mark.parametrize("variance", ["miettinen-nurminen", "mee"])
def test_one_sided_bounds_are_those_of_the_two_sided_interval_at_twice_the_error(variance: str) -> None:
    two = score_difference(3, 400, 9, 380, level=0.9, variance=variance)  # type: ignore[arg-type]
    lower = score_difference(3, 400, 9, 380, level=0.95, side="lower", variance=variance)  # type: ignore[arg-type]
    upper = score_difference(3, 400, 9, 380, level=0.95, side="upper", variance=variance)  # type: ignore[arg-type]
    assert (lower.low, lower.high) == (pytest.approx(two.low, rel=1e-12), None)
    assert (upper.low, upper.high) == (None, pytest.approx(two.high, rel=1e-12))


def test_the_test_of_no_difference_is_the_pooled_z_test() -> None:
    pooled = sps.chi2_contingency([[56, 14], [48, 32]], correction=False)
    found = score_test(56, 70, 48, 80, variance="mee")
    assert found.statistic is not None
    assert found.statistic**2 == pytest.approx(pooled.statistic, rel=1e-12)
    assert found.p_value == pytest.approx(pooled.pvalue, rel=1e-10)
    assert score_test(56, 70, 48, 80).statistic == pytest.approx(found.statistic * (149 / 150) ** 0.5, rel=1e-12)


def test_one_sided_p_values_add_to_one_and_many_pairs_equal_one_at_a_time() -> None:
    less = score_test(5, 56, 0, 29, null=0.02, alternative="less").p_value
    greater = score_test(5, 56, 0, 29, null=0.02, alternative="greater").p_value
    assert less + greater == pytest.approx(1.0, abs=1e-14)
    counts = np.arange(57)
    many = score_statistic(counts, 56, 3, 29, null=-0.1)
    assert many.shape == (57,)
    assert many.tolist() == pytest.approx(
        [score_test(int(k), 56, 3, 29, null=-0.1).statistic for k in counts], rel=1e-12
    )
    assert np.all(np.diff(many) > 0)


def _coverage(n1: int, p1: float, n2: int, p2: float, level: float) -> float:
    """Exact coverage: the interval covers where the test of the true difference does not reject."""
    k1, k2 = np.arange(n1 + 1), np.arange(n2 + 1)
    weight = np.outer(sps.binom.pmf(k1, n1, p1), sps.binom.pmf(k2, n2, p2))
    statistic = score_statistic(k1[:, None], n1, k2[None, :], n2, null=p1 - p2)
    return float(weight[np.abs(statistic) <= sps.norm.isf((1 - level) / 2)].sum())


@pytest.mark.parametrize(
    ("n1", "p1", "n2", "p2"),
    [(30, 0.5, 30, 0.3), (50, 0.1, 80, 0.05), (40, 0.95, 60, 0.9), (100, 0.02, 100, 0.02), (20, 0.7, 90, 0.6)],
)
def test_exact_coverage_is_near_the_level(n1: int, p1: float, n2: int, p2: float) -> None:
    assert 0.935 <= _coverage(n1, p1, n2, p2, 0.95) <= 0.995


def test_a_margin_for_a_harm_of_one_in_ten_thousand_is_passed_wrongly_no_more_often_than_promised() -> None:
    n, p, margin = 60_000, 1e-4, 2e-4
    k1, k2 = np.arange(60), np.arange(40)
    weight = np.outer(sps.binom.pmf(k1, n, p + margin), sps.binom.pmf(k2, n, p))
    passes = score_statistic(k1[:, None], n, k2[None, :], n, null=margin) < -sps.norm.isf(0.025)
    assert weight.sum() == pytest.approx(1.0, abs=1e-6)
    assert float(weight[passes].sum()) <= 0.027


def test_an_empty_group_gives_no_interval_and_no_test() -> None:
    found = score_difference(0, 0, 3, 10)
    assert (found.value, found.low, found.high, found.n) == (None, None, None, 10)
    assert found.reason == "a group is empty"
    with pytest.raises(ValueError, match="units in both groups"):
        score_test(3, 10, 0, 0)


@pytest.mark.parametrize("cells", [(-1, 10, 0, 10), (11, 10, 0, 10), (1, 10, 2.5, 10), (1, 10, 0, float("nan"))])
def test_impossible_counts_are_refused(cells: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="need whole numbers"):
        score_difference(*cells)
    with pytest.raises(ValueError, match="need whole numbers"):
        score_test(*cells)


def test_unknown_options_and_nulls_beyond_the_edges_are_refused() -> None:
    with pytest.raises(ValueError, match="variance must be"):
        score_difference(1, 10, 2, 10, variance="wald")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="variance must be"):
        score_statistic(1, 10, 2, 10, variance="wald")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="side must be"):
        score_difference(1, 10, 2, 10, side="left")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="alternative must be"):
        score_test(1, 10, 2, 10, alternative="more")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"null must lie in \(-1, 1\)"):
        score_test(1, 10, 2, 10, null=1.0)
    with pytest.raises(ValueError, match=r"must lie in \[-1, 1\]"):
        restricted_shares(1, 10, 2, 10, 1.5)
    with pytest.raises(ValueError, match="got 11 of 10"):
        restricted_shares([1, 11], 10, 2, 10, 0.0)
