"""Switchbacks: brute force, equality with the clustered estimator, and type I error in noise that lasts."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats as sps

from jurat.stats.difference import clustered_difference
from jurat.stats.switchback import randomisation_test, switchback_effect, switchback_schedule


def _noise(rng: np.random.Generator, shape: tuple[int, int], correlation: float) -> np.ndarray:
    """First-order autoregression with unit variance, along the last axis."""
    shocks = rng.normal(size=shape)
    noise = np.empty(shape)
    noise[:, 0] = shocks[:, 0]
    for t in range(1, shape[1]):
        noise[:, t] = correlation * noise[:, t - 1] + math.sqrt(1 - correlation**2) * shocks[:, t]
    return noise


@pytest.mark.parametrize(("periods", "block"), [(20, 1), (20, 5), (23, 5), (9, 3)])
def test_a_schedule_is_balanced_whole_in_its_blocks_and_repeatable(periods: int, block: int) -> None:
    found = switchback_schedule(periods, block=block, seed=4)
    assert found.shape == (periods,)
    starts = found[::block]
    assert abs(2 * int(starts.sum()) - len(starts)) <= 1
    assert np.array_equal(np.repeat(starts, block)[:periods], found)
    assert np.array_equal(found, switchback_schedule(periods, block=block, seed=4))


def test_every_balanced_schedule_is_equally_likely() -> None:
    drawn = [tuple(switchback_schedule(4, seed=seed).tolist()) for seed in range(1200)]
    counts = [drawn.count(x) for x in sorted(set(drawn))]
    assert len(counts) == 6
    assert sps.chisquare(counts).pvalue > 0.001


def test_chance_gives_the_odd_block_to_either_arm() -> None:
    treated = {int(switchback_schedule(5, seed=seed).sum()) for seed in range(30)}
    assert treated == {2, 3}


def test_the_effect_is_the_clustered_difference_over_blocks() -> None:
    rng = np.random.default_rng(1)
    arm = switchback_schedule(24, block=3, seed=2)
    n = rng.integers(5, 40, size=24)
    total = rng.normal(size=24) * n
    found = switchback_effect(total, n, arm, block=3)
    size, summed, starts = n.reshape(8, 3).sum(axis=1), total.reshape(8, 3).sum(axis=1), arm[::3]
    expected = clustered_difference(size[starts], summed[starts], size[~starts], summed[~starts])
    assert (found.value, found.low, found.high) == pytest.approx((expected.value, expected.low, expected.high))
    assert (found.n, found.n_clusters) == (int(n.sum()), 8)
    labelled = switchback_effect(total, n, arm, block=np.repeat(list("hgfedcba"), 3))
    assert (labelled.low, labelled.high) == pytest.approx((found.low, found.high))


@pytest.mark.parametrize(("block", "dropped"), [(3, [0, 3, 6, 9]), (None, [0, 3, 9])])
def test_washed_out_periods_do_not_count(block: int | None, dropped: list[int]) -> None:
    """At the start of every block; without blocks, of every run under one arm."""
    arm = np.array([0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0], dtype=bool)
    total, n = np.arange(12.0), np.full(12, 2)
    kept = np.setdiff1d(np.arange(12), dropped)
    total[dropped] = 1e6
    found = switchback_effect(total, n, arm, washout=1, block=block)
    assert found.value == pytest.approx(total[kept][arm[kept]].mean() / 2 - total[kept][~arm[kept]].mean() / 2)
    assert found.n == 2 * len(kept)
    assert found.n_clusters == len(dropped)


def test_an_arm_that_is_washed_out_leaves_no_effect() -> None:
    found = switchback_effect([1.0, 2.0, 3.0, 4.0], [1, 1, 1, 1], [0, 1, 1, 1], washout=1)
    assert found.value is None
    assert found.low is None
    assert found.reason


def test_an_arm_with_a_single_block_has_no_bounds() -> None:
    found = switchback_effect([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1] * 6, [0, 0, 1, 1, 0, 0], block=2)
    assert found.value == pytest.approx(0.0)
    assert found.low is None
    assert found.reason


def test_periods_without_units_keep_their_place() -> None:
    whole = switchback_effect([1.0, 2.0, 0.0, 4.0, 6.0, 1.0], [1, 1, 0, 2, 2, 1], [0, 1, 0, 1, 0, 1])
    assert whole.n == 7
    assert whole.n_clusters == 5


@pytest.mark.parametrize("washout", [0, 1])
@pytest.mark.parametrize("block", [2, None])
@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_the_randomisation_test_equals_brute_force(washout: int, block: int | None, alternative: str) -> None:
    rng = np.random.default_rng(3)
    size = block or 1
    periods = 8 * size
    y = rng.normal(size=periods) + 1e6
    arm = switchback_schedule(periods, block=size, seed=8)

    def difference(assigned: np.ndarray) -> float:
        kept = {0: [], 1: []}
        for t in range(periods):
            past = assigned[max(t - washout, 0) : t + 1]
            settled = t % size >= washout if block else t >= washout and len(set(past.tolist())) == 1
            if settled:
                kept[int(assigned[t])].append(y[t])
        return float(np.mean(kept[1]) - np.mean(kept[0])) if kept[0] and kept[1] else math.nan

    seen = difference(arm)
    drawn = []
    for chosen in itertools.combinations(range(8), 4):
        starts = np.zeros(8, dtype=bool)
        starts[list(chosen)] = True
        drawn.append(difference(np.repeat(starts, size)))
    far = {
        "two-sided": [not abs(d) < abs(seen) - 1e-7 for d in drawn],
        "greater": [not d < seen - 1e-7 for d in drawn],
        "less": [not d > seen + 1e-7 for d in drawn],
    }[alternative]
    found = randomisation_test(y, arm, block=block, washout=washout, alternative=alternative)
    assert found.p_value == pytest.approx(np.mean(far))
    assert found.statistic == pytest.approx(seen, abs=1e-8)
    assert found.n_clusters == 8


def test_single_periods_equal_scipy_permutation_test() -> None:
    rng = np.random.default_rng(6)
    y = rng.normal(size=11)
    arm = switchback_schedule(11, seed=1)
    expected = sps.permutation_test(
        (y[arm], y[~arm]), lambda a, b, axis: np.mean(a, axis=axis) - np.mean(b, axis=axis), n_resamples=np.inf,
        vectorized=True, alternative="greater",
    )  # fmt: skip
    assert randomisation_test(y, arm, alternative="greater").p_value == pytest.approx(expected.pvalue)


def test_drawn_assignments_come_close_to_all_and_are_repeatable() -> None:
    rng = np.random.default_rng(7)
    y = rng.normal(size=40)
    arm = switchback_schedule(40, seed=3)
    y[arm] += 0.5
    with pytest.raises(ValueError, match="pass a generator"):
        randomisation_test(y, arm)
    found = randomisation_test(y, arm, np.random.default_rng(1))
    again = randomisation_test(y, arm, np.random.default_rng(1))
    assert found.p_value == again.p_value
    t_test = sps.ttest_ind(y[arm], y[~arm])
    assert found.p_value == pytest.approx(t_test.pvalue, abs=0.02)


def test_a_listed_mechanism_is_used_as_given() -> None:
    y = np.array([1.0, 5.0, 2.0, 6.0])
    listed = [[0, 1, 0, 1], [1, 0, 1, 0], [0, 0, 1, 1]]
    found = randomisation_test(y, listed[0], listed, alternative="greater")
    assert found.p_value == pytest.approx(1 / 3)
    assert found.statistic == pytest.approx(4.0)
    with pytest.raises(ValueError, match="hold the one that was made"):
        randomisation_test(y, [1, 1, 0, 0], listed)
    with pytest.raises(ValueError, match="every block one arm"):
        randomisation_test(y, [0, 0, 1, 1], listed, block=2)


def test_no_difference_at_all_has_a_p_value_of_one() -> None:
    assert randomisation_test([3.3] * 8, [0, 1] * 4).p_value == 1.0


@pytest.mark.parametrize(("block", "washout"), [(4, 1), (None, 1), (1, 0)])
def test_the_randomisation_test_keeps_its_level_exactly_whatever_the_noise(block: int | None, washout: int) -> None:
    """Over all assignments that could have been made, with one and the same noise that lasts and drifts."""
    size = block or 1
    y = _noise(np.random.default_rng(41), (1, 8 * size), 0.9)[0] + np.linspace(0, 2, 8 * size)
    p = []
    for chosen in itertools.combinations(range(8), 4):
        arm = np.repeat(np.isin(np.arange(8), chosen), size)
        try:
            p.append(randomisation_test(y, arm, block=block, washout=washout).p_value)
        except ValueError:  # the wash-out leaves an arm without periods: no test, so no rejection
            p.append(1.0)
    for alpha in (0.03, 0.05, 0.1, 0.2, 0.5):
        assert np.mean(np.array(p) <= alpha) <= alpha
    assert np.mean(np.array(p) <= 0.5) > 0.3


@pytest.mark.slow
def test_the_randomisation_test_keeps_its_level_over_many_experiments_with_lasting_noise() -> None:
    rng = np.random.default_rng(42)
    p = [
        randomisation_test(y, switchback_schedule(40, block=4, seed=seed), block=4, washout=1).p_value
        for seed, y in enumerate(_noise(rng, (4000, 40), 0.8))
    ]
    # 252 assignments in pairs of equal distance: the largest level at or below 0.05 is 12/252.
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(12 / 252, abs=3 * math.sqrt(0.05 * 0.95 / 4000))


def _rejections(block_given: int | None, experiments: int, seed: int, washout: int = 2) -> float:
    """Share of A/A switchbacks of 40 blocks of 6 periods called different; noise that lasts, unequal sizes."""
    rng = np.random.default_rng(seed)
    y = _noise(rng, (experiments, 240), 0.8)
    n = rng.integers(20, 60, size=(experiments, 240))
    called = 0
    for i in range(experiments):
        arm = switchback_schedule(240, block=6, seed=seed * 10_000 + i)
        found = switchback_effect(y[i] * n[i], n[i], arm, washout=washout, block=block_given)
        called += (found.low or 0.0) > 0 or (found.high or 0.0) < 0
    return called / experiments


def test_blocks_as_clusters_keep_the_level_in_lasting_noise_and_periods_do_not() -> None:
    allowed = 0.05 + 2 * math.sqrt(0.05 * 0.95 / 500)
    assert _rejections(6, 500, seed=1) <= allowed
    # Runs as clusters, where the blocks are not known, err on the wide side.
    assert _rejections(None, 500, seed=1) <= allowed
    assert _rejections(None, 500, seed=1, washout=0) > 0.15


@pytest.mark.slow
def test_blocks_as_clusters_keep_the_level_over_many_experiments() -> None:
    assert _rejections(6, 4000, seed=2) == pytest.approx(0.05, abs=0.012)


def test_the_wash_out_takes_away_the_bias_of_an_effect_that_lasts() -> None:
    """Half of the effect of the arm before stays for two periods; the truth is the effect of one arm all the time."""
    rng = np.random.default_rng(9)
    raw, washed, covered = [], [], 0
    for seed, noise in enumerate(_noise(rng, (300, 240), 0.6)):
        arm = switchback_schedule(240, block=6, seed=seed)
        before = [np.concatenate([np.zeros(lag), arm[:-lag]]) for lag in (1, 2)]
        y = noise + 0.5 * arm + 0.25 * before[0] + 0.25 * before[1]
        raw.append(switchback_effect(y, np.ones(240), arm, block=6).value)
        found = switchback_effect(y, np.ones(240), arm, block=6, washout=2)
        washed.append(found.value)
        covered += (found.low or 0.0) <= 1.0 <= (found.high or 0.0)
    assert np.mean(raw) < 0.93
    assert np.mean(washed) == pytest.approx(1.0, abs=3 * np.std(washed) / math.sqrt(300))
    assert covered / 300 >= 0.95 - 2 * math.sqrt(0.05 * 0.95 / 300)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: switchback_schedule(3, block=3, seed=1), "two blocks"),
        (lambda: switchback_schedule(6, block=0, seed=1), "block"),
        (lambda: switchback_effect([1.0, 2.0], [1, 1], [0, 1, 1]), "one length"),
        (lambda: switchback_effect([1.0, math.nan], [1, 1], [0, 1]), "finite"),
        (lambda: switchback_effect([1.0, 2.0], [1, 1], [0, 2]), "treated"),
        (lambda: switchback_effect([1.0, 2.0], [1, 1], [0, 1], block=2), "mixes both"),
        (lambda: switchback_effect([1.0, 2.0], [1, 1], [0, 1], block=0), "at least 1"),
        (lambda: switchback_effect([1.0, 2.0], [1, 1], [0, 1], block=[1, 2, 3]), "label per period"),
        (lambda: switchback_effect([1.0, 2.0], [1, 1], [0, 1], washout=-1), "washout"),
        (lambda: switchback_effect([1.0, 2.0], [1, -1], [0, 1]), "cluster"),
        (lambda: randomisation_test([1.0, 2.0], [0, 1], washout=1), "without periods"),
        (lambda: randomisation_test([1.0, 2.0], [0, 1, 1]), "one length"),
        (lambda: randomisation_test([1.0, 2.0], [0, 1], alternative="more"), "alternative"),
        (lambda: randomisation_test([1.0, 2.0], [0, 1], [[0, 1, 1]]), "assignments"),
        (
            lambda: randomisation_test(np.arange(40.0), [0, 1] * 20, np.random.default_rng(1), replicates=0),
            "replicates",
        ),
    ],
    ids=range(15),
)
def test_impossible_designs_are_refused(call, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
