"""Rank comparisons against published digits, an independent library, brute force and simulation."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats as sps

from jurat.stats.pairwise import nth_difference
from jurat.stats.rank import brunner_munzel, hodges_lehmann, mann_whitney, probability_of_superiority

Floats = npt.NDArray[np.float64]
X = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46]
Y = [1.15, 0.88, 0.90, 0.74, 1.21]


def test_case_26_rank_sum_test_and_shift() -> None:
    two, greater = mann_whitney(X, Y), mann_whitney(X, Y, alternative="greater")
    assert two.statistic == 35
    assert two.p_value == pytest.approx(0.2544122544, rel=1e-8)
    assert greater.p_value == pytest.approx(0.1272061272, rel=1e-8)
    assert probability_of_superiority(X, Y).value == pytest.approx(0.70)
    shift = hodges_lehmann(X, Y)
    assert (shift.value, shift.low, shift.high) == pytest.approx((0.305, -0.15, 0.76))


@pytest.mark.parametrize("alternative", ["two-sided", "less", "greater"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_ties_and_large_groups_agree_with_an_independent_library(alternative: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 9, 60).astype(float), rng.integers(0, 10, 45).astype(float)
    mine, theirs = mann_whitney(x, y, alternative=alternative), sps.mannwhitneyu(x, y, alternative=alternative)  # type: ignore[arg-type]
    assert (mine.statistic, mine.p_value) == pytest.approx((theirs.statistic, theirs.pvalue), rel=1e-10)
    bm = brunner_munzel(x, y, alternative=alternative)  # type: ignore[arg-type]
    oracle = sps.brunnermunzel(x, y, alternative=alternative)
    # Their statistic speaks for the second sample, their alternative for the first.
    assert (bm.statistic, bm.p_value) == pytest.approx((-oracle.statistic, oracle.pvalue), rel=1e-8)


def test_the_exact_test_counts_all_orders() -> None:
    pooled = np.array([0.3, 1.1, 1.7, 2.2, 2.9, 3.5, 4.4])
    observed = mann_whitney(pooled[[1, 3, 5, 6]], pooled[[0, 2, 4]], alternative="greater")
    counts = []
    for chosen in itertools.combinations(range(7), 4):
        rest = [i for i in range(7) if i not in chosen]
        counts.append(sum(pooled[i] > pooled[j] for i in chosen for j in rest))
    assert observed.p_value == pytest.approx(np.mean(np.array(counts) >= observed.statistic))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("tied", [False, True])
def test_the_nth_difference_is_that_of_the_sorted_matrix(seed: int, tied: bool) -> None:
    rng = np.random.default_rng(seed)
    for n, m in ((1, 1), (1, 9), (17, 4), (60, 50), (2_500, 1_300)):
        x, y = (rng.integers(-3, 4, k) * 0.5 if tied else rng.standard_cauchy(k) for k in (n, m))
        x, y = np.sort(x), np.sort(y)
        matrix = np.sort((x[:, None] - y).ravel())
        for k in {1, n * m, (n * m + 1) // 2, *rng.integers(1, n * m + 1, 5).tolist()}:
            assert nth_difference(x, y, int(k)) == matrix[k - 1]


def test_a_rank_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="1 to 2"):
        nth_difference(np.array([1.0]), np.array([1.0, 2.0]), 3)


def test_the_shift_moves_with_the_values_and_turns_with_the_groups() -> None:
    rng = np.random.default_rng(5)
    x, y = rng.lognormal(size=80), rng.lognormal(size=70)
    one, moved, turned = hodges_lehmann(x, y), hodges_lehmann(x + 3, y), hodges_lehmann(y, x)
    assert one.value == pytest.approx(np.median(x[:, None] - y))
    assert (moved.value, moved.low) == pytest.approx((one.value + 3, one.low + 3))  # type: ignore[operator]
    assert (turned.value, turned.low, turned.high) == pytest.approx((-one.value, -one.high, -one.low))  # type: ignore[operator]


def clustered(
    rng: np.random.Generator, users: int, shift: float, *, spanning: bool
) -> tuple[Floats, Floats, Floats, Floats]:
    """Skewed values of users with 1 to 8 rows each; the users of both groups are the same where they span."""
    user = np.repeat(np.arange(users), rng.integers(1, 9, users))
    treated = rng.random(len(user)) < 0.5 if spanning else user % 2 == 1
    values = np.exp(rng.normal(size=users)[user] + 0.5 * rng.normal(size=len(user))) + shift * treated
    return values[treated], values[~treated], user[treated], user[~treated]


@pytest.mark.parametrize("spanning", [False, True])
def test_clustered_intervals_cover_and_single_values_do_not(spanning: bool) -> None:
    rng, hits, naive, runs = np.random.default_rng(6), np.zeros(2), 0, 250
    for _ in range(runs):
        x, y, one, two = clustered(rng, 80, 0.4, spanning=spanning)
        shift = hodges_lehmann(x, y, cluster_1=one, cluster_2=two)
        # At the true shift the groups are alike.
        chance = probability_of_superiority(x - 0.4, y, cluster_1=one, cluster_2=two)
        assert shift.low is not None and shift.high is not None and chance.low is not None and chance.high is not None
        hits += (shift.low <= 0.4 <= shift.high, chance.low <= 0.5 <= chance.high)
        plain = probability_of_superiority(x - 0.4, y)
        naive += (plain.low or 0) <= 0.5 <= (plain.high or 0)
    assert np.all(hits / runs >= 0.91) and np.all(hits / runs <= 0.985)
    # Rows of users in one arm are too sure of themselves; users in both arms cancel out.
    assert naive / runs > 0.93 if spanning else naive / runs < 0.88


def test_the_clustered_error_is_that_of_a_bootstrap_over_clusters() -> None:
    rng = np.random.default_rng(7)
    for spanning in (False, True):
        x, y, one, two = clustered(rng, 120, 0.3, spanning=spanning)
        found = probability_of_superiority(x, y, cluster_1=one, cluster_2=two)
        drawn = []
        for _ in range(400):
            chosen = rng.integers(0, 120, 120)
            weight = np.bincount(chosen, minlength=120)
            wx, wy = weight[one.astype(int)], weight[two.astype(int)]
            drawn.append(wx @ (x[:, None] > y) @ wy / (wx.sum() * wy.sum()))
        assert found.se == pytest.approx(np.std(drawn), rel=0.15)


def test_a_cluster_for_each_value_is_no_cluster() -> None:
    rng = np.random.default_rng(8)
    x, y = rng.normal(size=50), rng.normal(0.3, 2, size=60)
    plain = probability_of_superiority(x, y)
    each = probability_of_superiority(x, y, cluster_1=np.arange(50), cluster_2=50 + np.arange(60))
    assert (each.se, each.low) == pytest.approx((plain.se, plain.low))


def test_groups_without_overlap_keep_a_width() -> None:
    found = probability_of_superiority([1.0, 2.0, 3.0], [5.0, 6.0, 7.0])
    assert (found.value, found.low) == (0.0, 0.0)
    assert found.high is not None and 0.2 < found.high < 0.9
    wide = probability_of_superiority([5.0, 6.0], [1.0, 2.0], cluster_1=["a", "b"], cluster_2=["c", "d"])
    assert wide.high == 1.0 and wide.low is not None and wide.low < 0.8
    test = brunner_munzel([1.0, 2.0, 3.0], [5.0, 6.0, 7.0])
    assert test.statistic is None and test.p_value == pytest.approx(2 / 20)
    assert brunner_munzel([1.0, 1.0], [1.0, 1.0]).p_value == 1.0


def test_what_cannot_be_compared_is_undefined_with_a_reason() -> None:
    assert probability_of_superiority([], [1.0]).value is None
    assert hodges_lehmann([1.0], []).reason == "a group has no values"
    one = probability_of_superiority([1.0], [1.0, 2.0])
    assert one.value == 0.25 and one.low is None and one.reason
    few = hodges_lehmann([1.0, 2.5], [0.5, 2.0])
    assert few.value is not None and few.low is None and "too few" in str(few.reason)
    single = hodges_lehmann([1.0, 2.0], [0.0, 3.0], cluster_1=["a", "a"], cluster_2=["b", "b"])
    assert single.low is None and "cluster" in str(single.reason)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        hodges_lehmann([np.nan], [1.0])
    with pytest.raises(ValueError, match="ties"):
        mann_whitney([1.0, 1.0], [1.0, 2.0], method="exact")
    with pytest.raises(ValueError, match="both groups or of none"):
        probability_of_superiority([1.0], [2.0], cluster_1=["a"])
    with pytest.raises(ValueError, match="one type"):
        probability_of_superiority([1.0], [2.0], cluster_1=["a"], cluster_2=[1])
    with pytest.raises(ValueError, match="alternative"):
        mann_whitney([1.0], [2.0], alternative="more")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="both groups need values"):
        mann_whitney([], [2.0])
