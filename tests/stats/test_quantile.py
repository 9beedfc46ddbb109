"""Quantile intervals against published ranks, scipy, brute force, and their own coverage."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats as sps

from jurat.stats.quantile import order_statistic_ranks, quantile, quantile_from_histogram
from jurat.stats.resample import bootstrap_statistic


def test_the_ranks_of_the_95th_percentile_of_a_thousand_values_are_the_published_ones() -> None:
    ranks = order_statistic_ranks(1000, 0.95)
    assert (ranks.low, ranks.high) == (936, 964)
    assert ranks.coverage == pytest.approx(0.9580952682, abs=5e-11)


@given(n=st.integers(1, 60), q=st.floats(0.02, 0.98), level=st.floats(0.5, 0.99))
@settings(max_examples=80, deadline=None)
def test_ranks_are_the_tightest_that_keep_each_tail_by_brute_force(n: int, q: float, level: float) -> None:
    pmf = [math.comb(n, k) * q**k * (1 - q) ** (n - k) for k in range(n + 1)]
    tail = (1 - level) / 2
    below = [sum(pmf[:r]) for r in range(n + 2)]  # P(B < r)
    above = [sum(pmf[s:]) for s in range(n + 2)]  # P(B >= s)
    assume(min(abs(x - tail) for x in below + above) > 1e-9)
    low = max((r for r in range(1, n + 1) if below[r] <= tail), default=None)
    high = min((s for s in range(1, n + 1) if above[s] <= tail), default=None)
    ranks = order_statistic_ranks(n, q, level=level)
    assert (ranks.low, ranks.high) == (low, high)
    assert ranks.coverage == pytest.approx(sum(pmf[low or 0 : n + 1 if high is None else high]), abs=1e-9)


@pytest.mark.parametrize("q", [0.1, 0.5, 0.9, 0.95])
@pytest.mark.parametrize("n", [80, 333])
def test_the_interval_is_that_of_scipy(n: int, q: float) -> None:
    x = np.random.default_rng(n).lognormal(size=n)
    expected = sps.quantile_test(x, q=0.0, p=q).confidence_interval(0.95)
    found = quantile(x, q)
    assert (found.low, found.high) == (expected.low, expected.high)
    assert found.value == pytest.approx(np.quantile(x, q), rel=1e-12)


@given(
    rows=st.lists(st.tuples(st.integers(-5, 5), st.integers(0, 9)), min_size=1, max_size=40),
    q=st.floats(0.05, 0.95),
    clustered=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_a_histogram_says_what_its_expanded_rows_say(rows: list[tuple[int, int]], q: float, clustered: bool) -> None:
    value = np.array([v for v, _ in rows], dtype=float)
    count = np.array([c for _, c in rows])
    group = np.arange(len(rows)) % 5
    assume(count.sum() > 0)
    folded = quantile_from_histogram(value, count, q, cluster=group if clustered else None)
    expanded = quantile(np.repeat(value, count), q, cluster=np.repeat(group, count) if clustered else None)
    assert folded == expanded
    assert folded.value == pytest.approx(np.quantile(np.repeat(value, count), q), abs=1e-9)


@pytest.mark.parametrize("clustered", [False, True])
def test_a_higher_level_never_narrows_the_interval(clustered: bool) -> None:
    rng = np.random.default_rng(4)
    x, cluster = rng.lognormal(size=300), np.arange(300) % 60 if clustered else None
    intervals = [quantile(x, 0.8, cluster=cluster, level=level) for level in (0.5, 0.8, 0.9, 0.95, 0.99)]
    lows, highs = [i.low for i in intervals], [i.high for i in intervals]
    assert lows == sorted(lows, reverse=True)  # type: ignore[type-var]
    assert highs == sorted(highs)  # type: ignore[type-var]


@pytest.mark.parametrize("clustered", [False, True])
def test_a_one_sided_bound_is_the_end_of_the_two_sided_interval_of_twice_the_tail(clustered: bool) -> None:
    x = np.random.default_rng(5).lognormal(size=400)
    cluster = np.arange(400) % 80 if clustered else None
    both = quantile(x, 0.9, cluster=cluster, level=0.9)
    upper = quantile(x, 0.9, cluster=cluster, level=0.95, side="upper")
    lower = quantile(x, 0.9, cluster=cluster, level=0.95, side="lower")
    assert (upper.low, upper.high, upper.level) == (None, both.high, 0.95)
    assert (lower.low, lower.high) == (both.low, None)


def test_an_interval_moves_with_the_scale_of_the_values() -> None:
    x, cluster = np.random.default_rng(6).normal(size=200), np.arange(200) % 40
    for group in (None, cluster):
        a, b = quantile(x, 0.7, cluster=group), quantile(8 * x + 2, 0.7, cluster=group)
        assert (b.low, b.high) == pytest.approx((8 * a.low + 2, 8 * a.high + 2))  # type: ignore[operator]


def test_too_few_values_leave_a_side_open_and_say_so() -> None:
    found = quantile(np.arange(20.0), 0.95)
    assert found.low is not None and found.high is None
    assert found.reason == "20 values are too few for an upper bound of the 0.95 quantile"
    assert quantile([3.0], 0.5).low is None
    assert quantile([], 0.5).reason == "there are no units"


def test_one_cluster_has_no_interval() -> None:
    found = quantile(np.arange(50.0), 0.5, cluster=np.zeros(50))
    assert (found.low, found.high) == (None, None)
    assert "one cluster" in (found.reason or "")


def test_clusters_that_balance_exactly_never_give_a_width_of_zero() -> None:
    found = quantile(np.tile(np.arange(10.0), 20), 0.5, cluster=np.repeat(np.arange(20), 10))
    assert found.low is not None and found.high is not None and found.low < found.high


def test_the_largest_value_of_wild_clusters_is_no_upper_bound() -> None:
    # Eight clusters, each of one value: nothing supports a bound of the 95th percentile from above.
    found = quantile(np.repeat(np.arange(8.0), 50), 0.95, cluster=np.repeat(np.arange(8), 50))
    assert found.high is None
    assert "upper" in (found.reason or "")


@pytest.mark.parametrize(
    ("value", "count", "q", "match"),
    [
        ([1.0], [1.5], 0.5, "whole"),
        ([1.0], [-1], 0.5, "whole"),
        ([1.0, 2.0], [1], 0.5, "match"),
        ([math.inf], [1], 0.5, "finite"),
        ([1.0], [1], 1.0, "q must lie"),
    ],
)
def test_impossible_histograms_are_refused(value: list[float], count: list[float], q: float, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        quantile_from_histogram(value, count, q)


def _users(rng: np.random.Generator, clusters: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Log-normal seconds with intraclass correlation 0.3 on the logarithm, about ten a user."""
    code = np.repeat(np.arange(clusters), rng.poisson(9, clusters) + 1)
    return np.exp(math.sqrt(0.3) * rng.normal(size=clusters)[code] + math.sqrt(0.7) * rng.normal(size=len(code))), code


def _misses(q: float, clusters: int, runs: int, *, seed: int, clustered: bool = True) -> int:
    rng, truth, misses = np.random.default_rng(seed), math.exp(sps.norm.ppf(q)), 0
    for _ in range(runs):
        x, code = _users(rng, clusters)
        found = quantile(x, q, cluster=code if clustered else None)
        misses += (found.low is not None and found.low > truth) or (found.high is not None and found.high < truth)
    return misses


@pytest.mark.parametrize(("q", "clusters"), [(0.5, 20), (0.95, 60), (0.95, 200)])
def test_the_clustered_interval_covers_as_promised(q: float, clusters: int) -> None:
    runs = 500
    assert _misses(q, clusters, runs, seed=21) <= sps.binom.isf(1e-3, runs, 0.055)


@pytest.mark.slow
@pytest.mark.parametrize(("q", "clusters"), [(0.5, 20), (0.9, 40), (0.95, 60), (0.99, 400)])
def test_the_clustered_interval_covers_as_promised_in_many_runs(q: float, clusters: int) -> None:
    runs = 5_000
    assert _misses(q, clusters, runs, seed=22) <= sps.binom.isf(1e-3, runs, 0.055)


def test_without_its_clusters_the_interval_of_clustered_values_is_too_narrow() -> None:
    runs = 300
    assert _misses(0.5, 60, runs, seed=23, clustered=False) >= sps.binom.isf(1e-3, runs, 0.05)


def test_woodruff_agrees_with_the_cluster_bootstrap() -> None:
    x, code = _users(np.random.default_rng(24), 300)
    linear = quantile(x, 0.9, cluster=code)
    resampled = bootstrap_statistic(
        x, code, lambda v: float(np.quantile(v, 0.9)), rng=np.random.default_rng(25), method="percentile"
    ).interval
    assert linear.value == pytest.approx(resampled.value)
    widths = [i.high - i.low for i in (linear, resampled)]  # type: ignore[operator]
    assert widths[0] == pytest.approx(widths[1], rel=0.2)


@pytest.mark.parametrize("q", [0.5, 0.9])
def test_the_clustered_interval_covers_where_values_are_a_few_buckets(q: float) -> None:
    rng, runs, misses = np.random.default_rng(26), 400, 0
    edges = np.array([0.5, 1.0, 2.0, 4.0])
    truth = edges[np.searchsorted(edges, math.exp(sps.norm.ppf(q)))] if q < 0.9 else 4.0
    for _ in range(runs):
        x, code = _users(rng, 50)
        bucket = np.append(edges, 8.0)[np.searchsorted(edges, x)]
        found = quantile(bucket, q, cluster=code)
        misses += (found.low is not None and found.low > truth) or (found.high is not None and found.high < truth)
    assert misses <= sps.binom.isf(1e-3, runs, 0.055)
