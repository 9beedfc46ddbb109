"""The bootstrap over buckets: sums lost nowhere, the spread of the delta method, the coverage of its level."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from jurat.stats.buckets import bucket_bootstrap, bucket_sums
from jurat.stats.moments import Moments, MomentTable, functional_interval, ratio_of

Floats = npt.NDArray[np.float64]


def clusters(count: int, seed: int) -> Floats:
    """Per-cluster sums and sizes of a ratio whose numerator clumps."""
    rng = np.random.default_rng(seed)
    size = 1 + rng.poisson(4, count)
    return np.column_stack([rng.binomial(size, rng.beta(2, 3, count)), size]).astype(np.float64)


def ratio(totals: Floats) -> Floats:
    found: Floats = totals[0] / totals[1]
    return found


def test_every_sum_lands_in_one_bucket_and_none_is_lost() -> None:
    rows = clusters(20_000, 1)
    found = bucket_sums(np.arange(20_000), rows, buckets=500)
    assert found.shape == (500, 2)
    assert found.sum(axis=0).tolist() == rows.sum(axis=0).tolist()


def test_neighbours_fall_into_unrelated_buckets_evenly() -> None:
    counts = bucket_sums(np.arange(100_000), np.ones((100_000, 1)), buckets=1_000)[:, 0]
    # Chi-square of an even throw, 999 degrees of freedom: within five standard errors.
    assert abs(((counts - 100) ** 2 / 100).sum() - 999) < 5 * math.sqrt(2 * 999)
    halves = bucket_sums(np.arange(100_000), (np.arange(100_000)[:, None] < 50_000).astype(float), buckets=1_000)[:, 0]
    assert abs(np.corrcoef(halves, counts - halves)[0, 1]) < 0.2


def test_a_seed_throws_anew_and_the_same_seed_throws_alike() -> None:
    rows = clusters(5_000, 2)
    a, b, c = (bucket_sums(np.arange(5_000), rows, seed=s) for s in (0, 0, 1))
    assert np.array_equal(a, b) and not np.array_equal(a, c)


def test_negative_codes_are_codes_too() -> None:
    found = bucket_sums(np.array([-1, -2, 3]), np.ones((3, 1)), buckets=10)
    assert found.sum() == 3.0


def test_the_spread_is_that_of_the_delta_method() -> None:
    rows = clusters(60_000, 3)
    sums = bucket_sums(np.arange(60_000), rows)
    found = bucket_bootstrap([sums], ratio, n=int(rows[:, 1].sum()), n_clusters=60_000, replicates=4_000, seed=1)
    table = MomentTable(groups={"a": Moments.from_clusters({"s": rows[:, 0], "d": rows[:, 1]})}, arms=("a",))
    delta = functional_interval(
        table, ratio_of(table, "a", "s", "d"), level=0.95, n=1, n_clusters=60_000, method="delta"
    )
    assert found.value == pytest.approx(rows[:, 0].sum() / rows[:, 1].sum(), rel=1e-12)
    assert found.se == pytest.approx(delta.se, rel=0.06)
    assert found.low == pytest.approx(delta.low, abs=0.25 * (delta.se or 0))
    assert found.high == pytest.approx(delta.high, abs=0.25 * (delta.se or 0))


def test_two_arms_are_drawn_apart() -> None:
    a, b = (bucket_sums(np.arange(20_000), clusters(20_000, s)) for s in (4, 5))
    both = bucket_bootstrap([a, b], lambda x, y: ratio(y) - ratio(x), n=1, n_clusters=1, replicates=3_000, seed=2)
    each = [bucket_bootstrap([g], ratio, n=1, n_clusters=1, replicates=3_000, seed=3).se for g in (a, b)]
    assert both.se == pytest.approx(math.hypot(*[s or 0.0 for s in each]), rel=0.06)


def test_the_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(7)
    worlds, hits = 200, 0
    for w in range(worlds):
        rows = np.column_stack([rng.exponential(1.0, 3_000), np.ones(3_000)])
        sums = bucket_sums(np.arange(3_000), rows, buckets=300, seed=w)
        found = bucket_bootstrap([sums], ratio, n=3_000, n_clusters=3_000, replicates=300, level=0.9, seed=w)
        assert found.low is not None and found.high is not None
        hits += found.low <= 1.0 <= found.high
    assert abs(hits / worlds - 0.9) < 0.02 + 3 * math.sqrt(0.09 / worlds)


def test_the_same_seed_gives_the_same_interval_and_the_shown_numbers_are_those_given() -> None:
    sums = bucket_sums(np.arange(3_000), clusters(3_000, 8))
    a, b = (bucket_bootstrap([sums], ratio, n=11, n_clusters=22, seed=5, level=0.8) for _ in range(2))
    assert a == b and (a.n, a.n_clusters, a.level) == (11, 22, 0.8) and "1,000 draws" in a.method


def test_too_few_buckets_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 200 buckets a group, got \\[100\\]"):
        bucket_bootstrap([np.ones((100, 2))], ratio, n=1, n_clusters=1)


@pytest.mark.parametrize("sums", [np.ones(3), np.ones((2, 1))])
def test_sums_that_do_not_fit_their_clusters_are_refused(sums: Floats) -> None:
    with pytest.raises(ValueError, match="one row of sums for each cluster"):
        bucket_sums([1, 2, 3], sums)


def test_a_statistic_that_is_not_defined_is_refused_and_not_shown() -> None:
    sums = np.zeros((300, 2))
    with np.errstate(invalid="ignore"), pytest.raises(ValueError):
        bucket_bootstrap([sums], ratio, n=1, n_clusters=1)
