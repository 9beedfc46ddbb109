"""The cluster bootstrap against a plain reference, full enumeration, scipy, published examples, and its coverage."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as sps

from jurat.stats import resample
from jurat.stats.mean import clustered_mean_from_sums
from jurat.stats.resample import bootstrap_mean, bootstrap_ratio, bootstrap_statistic, bootstrap_sums

MASK = (1 << 64) - 1
# Efron and Tibshirani (1993), table 14.1: the spatial test, item A.
SPATIAL_A = [48, 36, 20, 29, 42, 42, 20, 42, 22, 41, 45, 14, 6, 0, 33, 28, 34, 4, 32, 24, 47, 41, 24, 26, 30, 41]


def _plain_pair(rows: list[tuple[float, float]], seed: int) -> list[float]:
    """What the kernel does, in whole numbers of Python."""
    size, state, drawn = len(rows), seed, 0
    totals = [[0.0, 0.0], [0.0, 0.0]]  # of the upper halves and of the lower ones
    while drawn < size:
        state = (state + 0x9E3779B97F4A7C15) & MASK
        mixed = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & MASK
        mixed ^= mixed >> 31
        for total, bits in zip(totals, (mixed >> 32, mixed & 0xFFFFFFFF), strict=True):
            if drawn < size and (bits * size) % (1 << 32) >= (1 << 32) % size:
                for j in (0, 1):
                    total[j] += rows[(bits * size) >> 32][j]
                drawn += 1
    return [totals[0][j] + totals[1][j] for j in (0, 1)]


@given(
    rows=st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=1, max_size=50),
    seeds=st.lists(st.integers(0, MASK), min_size=1, max_size=5),
)
@settings(max_examples=50, deadline=None)
def test_the_kernel_equals_its_plain_reference_bit_for_bit(rows: list[tuple[float, float]], seeds: list[int]) -> None:
    found = resample._resampled_pair(np.array(rows), np.array(seeds, dtype=np.uint64))
    assert found.tolist() == [_plain_pair(rows, seed) for seed in seeds]


def test_every_cluster_is_drawn_equally_often() -> None:
    size, replicates = 7, 4_000
    counts = resample._drawn_totals(np.eye(size), replicates, np.random.default_rng(1))
    assert np.all(counts.sum(axis=1) == size)
    assert sps.chisquare(counts.sum(axis=0)).pvalue > 1e-3
    # Multinomial counts: variance (1 − 1/G), covariance −1/G.
    np.testing.assert_allclose(np.cov(counts.T), np.eye(size) - 1 / size, atol=0.09)


def test_an_odd_number_of_columns_is_drawn_with_the_same_clusters() -> None:
    first = np.random.default_rng(2).normal(size=40)
    totals = resample._drawn_totals(np.column_stack([first, 2 * first, 3 * first]), 50, np.random.default_rng(3))
    np.testing.assert_allclose(totals[:, 1], 2 * totals[:, 0])
    np.testing.assert_allclose(totals[:, 2], 3 * totals[:, 0])


def test_the_replicates_follow_the_full_enumeration_of_all_resamples() -> None:
    top, bottom = np.array([3.0, 0.0, 5.0, 2.0, 7.0]), np.array([10.0, 4.0, 12.0, 9.0, 15.0])
    everything = np.array([top[list(c)].sum() / bottom[list(c)].sum() for c in itertools.product(range(5), repeat=5)])
    found = bootstrap_ratio(top, bottom, rng=np.random.default_rng(4), replicates=40_000, method="percentile")
    assert found.replicates.mean() == pytest.approx(everything.mean(), abs=4 * everything.std() / 200)
    assert found.interval.se == pytest.approx(everything.std(), rel=0.02)
    assert sps.ks_2samp(found.replicates, everything).statistic < 0.02


def test_clusters_that_are_alike_are_drawn_from_the_same_law_by_either_way() -> None:
    rng = np.random.default_rng(5)
    n = rng.integers(1, 4, 600).astype(float)
    sums = np.column_stack([rng.binomial(n.astype(int), 0.3), n]).astype(float)
    counted = resample._resampled_totals(sums, 6_000, np.random.default_rng(6))
    drawn = resample._drawn_totals(sums, 6_000, np.random.default_rng(7))
    for j in (0, 1):
        assert sps.ks_2samp(counted[:, j], drawn[:, j]).pvalue > 1e-3
    assert np.corrcoef(counted.T)[0, 1] == pytest.approx(np.corrcoef(drawn.T)[0, 1], abs=0.05)


@pytest.mark.parametrize(("method", "theirs"), [("bca", "BCa"), ("basic", "basic"), ("percentile", "percentile")])
def test_the_bounds_are_those_of_scipy_for_the_same_replicates(method: resample.Method, theirs: str) -> None:
    x = np.random.default_rng(8).gamma(1.5, size=60)
    expected = sps.bootstrap(
        (x,), np.mean, n_resamples=999, method=theirs, confidence_level=0.9, rng=np.random.default_rng(9)
    )
    left_out = (x.sum() - x) / (len(x) - 1) if method == "bca" else None
    found = resample._interval(
        float(x.mean()), expected.bootstrap_distribution, left_out, level=0.9, clusters=60, method=method
    ).interval
    interval = expected.confidence_interval
    assert (found.low, found.high) == (pytest.approx(interval.low, rel=1e-9), pytest.approx(interval.high, rel=1e-9))
    assert found.se == pytest.approx(expected.standard_error, rel=1e-12)


def test_the_spatial_test_of_efron_and_tibshirani_1993_has_the_published_bca_interval() -> None:
    found = bootstrap_statistic(
        SPATIAL_A, None, lambda x: float(np.var(x)), rng=np.random.default_rng(10), replicates=8_000, level=0.9
    )
    assert found.interval.value == pytest.approx(171.5, abs=0.05)
    assert found.acceleration == pytest.approx(0.061, abs=0.0006)
    assert found.bias_correction == pytest.approx(0.146, abs=0.06)
    # Published (115.8, 259.6) from 2,000 replicates; both carry Monte-Carlo error.
    assert found.interval.low == pytest.approx(115.8, abs=5)
    assert found.interval.high == pytest.approx(259.6, abs=6)


def test_the_standard_error_of_a_ratio_is_near_the_delta_method() -> None:
    rng = np.random.default_rng(11)
    n = rng.poisson(9, 2_000) + 1.0
    total = n * rng.normal(1.0, 0.4, 2_000)
    expected = clustered_mean_from_sums(n, total, correction="CR1")
    found = bootstrap_mean(n, total, rng=rng, replicates=4_000).interval
    assert found.value == pytest.approx(expected.value, rel=1e-12)
    assert found.se == pytest.approx(expected.se, rel=0.05)
    assert (found.n, found.n_clusters) == (int(n.sum()), 2_000)


@pytest.mark.parametrize("method", ["bca", "basic", "percentile"])
def test_the_same_seed_gives_the_same_interval(method: resample.Method) -> None:
    n, total = np.arange(1.0, 51.0), np.random.default_rng(12).normal(size=50)
    one, two = (bootstrap_mean(n, total, rng=np.random.default_rng(13), method=method).interval for _ in range(2))
    assert one == two


def test_clusters_without_units_are_left_out() -> None:
    full, padded = (
        bootstrap_mean(n, total, rng=np.random.default_rng(14)).interval
        for n, total in (([2, 3, 4, 5], [1, 2, 2, 4]), ([2, 0, 3, 4, 0, 5], [1, 0, 2, 2, 0, 4]))
    )
    assert full == padded


def test_a_statistic_of_rows_agrees_with_that_of_sums() -> None:
    rng = np.random.default_rng(15)
    code = np.repeat(np.arange(80), rng.integers(1, 6, 80))
    x = rng.normal(size=len(code)) + rng.normal(size=80)[code]
    rows = bootstrap_statistic(x, code, lambda v: float(v.mean()), rng=rng, replicates=3_000)
    sums = bootstrap_mean(np.bincount(code), np.bincount(code, weights=x), rng=rng, replicates=3_000)
    assert rows.interval.se == pytest.approx(sums.interval.se, rel=0.08)
    assert rows.acceleration == pytest.approx(sums.acceleration, rel=1e-9)
    assert (rows.interval.n, rows.interval.n_clusters) == (sums.interval.n, sums.interval.n_clusters)


def test_leaving_out_groups_of_many_clusters_changes_the_bounds_little() -> None:
    x = np.random.default_rng(16).lognormal(size=900)
    grouped = bootstrap_statistic(x, None, lambda v: float(v.mean()), rng=np.random.default_rng(17))
    exact = bootstrap_mean(np.ones(900), x, rng=np.random.default_rng(17))
    assert grouped.acceleration is not None and exact.acceleration is not None
    assert grouped.acceleration == pytest.approx(exact.acceleration, abs=0.02)
    assert grouped.interval.n_clusters is None


@pytest.mark.parametrize(
    ("n", "total", "reason"),
    [
        ([], [], "no units"),
        ([5], [2], "one cluster"),
        ([4, 4, 4], [0, 0, 0], "do not vary"),
        ([4, 7, 9], [4, 7, 9], "do not vary"),
    ],
)
def test_what_the_bootstrap_cannot_see_is_left_open_with_a_reason(
    n: list[float], total: list[float], reason: str
) -> None:
    for method in ("bca", "basic", "percentile"):
        found = bootstrap_mean(n, total, rng=np.random.default_rng(18), method=method).interval  # type: ignore[arg-type]
        assert (found.low, found.high) == (None, None)
        assert reason in (found.reason or "")


def test_a_statistic_that_some_replicates_leave_undefined_has_no_bounds() -> None:
    found = bootstrap_ratio([1.0, 2.0, 3.0], [0.0, 0.0, 5.0], rng=np.random.default_rng(19)).interval
    assert found.value == pytest.approx(1.2)
    assert found.low is None and "undefined" in (found.reason or "")
    assert bootstrap_ratio([1.0, 1.0], [0.0, 0.0], rng=np.random.default_rng(20)).interval.value is None


def test_a_statistic_of_rows_that_is_undefined_says_so() -> None:
    def spread(v: npt.NDArray[np.float64]) -> float:
        return float(v.sum() / v.var()) if v.var() > 0 else math.nan

    rng = np.random.default_rng(22)
    assert bootstrap_statistic([2.0, 2.0], None, spread, rng=rng).interval.value is None
    assert bootstrap_statistic([], None, spread, rng=rng).interval.reason == "there are no units"
    assert bootstrap_statistic([1.0, 2.0], [0, 0], spread, rng=rng).interval.low is None


def test_options_outside_their_range_are_refused() -> None:
    rng = np.random.default_rng(21)
    with pytest.raises(ValueError, match="at least 39 replicates"):
        bootstrap_mean([1, 1], [0, 1], rng=rng, replicates=38)
    with pytest.raises(ValueError, match="method must be"):
        bootstrap_mean([1, 1], [0, 1], rng=rng, method="normal")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="finite matrix"):
        bootstrap_sums([[1.0, math.nan]], lambda t: t[:, 0], rng=rng)
    with pytest.raises(ValueError, match="must match"):
        bootstrap_mean([1, -1], [0, 1], rng=rng)
    with pytest.raises(ValueError, match="must match"):
        bootstrap_ratio([1, 2, 3], [0, 1], rng=rng)
    with pytest.raises(ValueError, match="a cluster for each row"):
        bootstrap_statistic([1.0, 2.0], [0], lambda v: float(v.mean()), rng=rng)


def _misses(method: resample.Method, clusters: int, runs: int, *, seed: int) -> npt.NDArray[np.int64]:
    """Misses below and above of the mean of skewed values in clusters of one to nine units."""
    rng, missed = np.random.default_rng(seed), np.zeros(2, dtype=np.int64)
    for _ in range(runs):
        n = rng.integers(1, 10, clusters)
        total = rng.gamma(0.5 * n, 2.0) + 0.5 * n * rng.exponential(size=clusters)
        found = bootstrap_mean(n, total, rng=rng, replicates=799, method=method).interval
        assert found.low is not None and found.high is not None
        missed += (found.low > 1.5, found.high < 1.5)
    return missed


def test_bca_covers_skewed_clustered_means_nearly_as_promised() -> None:
    runs = 800
    missed = _misses("bca", 80, runs, seed=31)
    # The BCa interval errs by O(1/G): at 80 clusters about one point.
    assert missed.sum() <= sps.binom.isf(1e-3, runs, 0.062)


@pytest.mark.slow
def test_bca_balances_its_misses_better_than_the_percentile_interval() -> None:
    runs = 6_000
    bca, percentile = (_misses(m, 60, runs, seed=32) for m in ("bca", "percentile"))
    assert bca.sum() <= sps.binom.isf(1e-3, runs, 0.065)
    assert abs(int(bca[1] - bca[0])) < abs(int(percentile[1] - percentile[0]))
