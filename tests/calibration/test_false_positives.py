"""A/A experiments through the scorecard: each estimator rejects a true null as often as its level says, at every ICC."""

from __future__ import annotations

import numpy as np
import pytest

from jurat.experiments.effects import FEW_EVENTS, Scorecard
from jurat.experiments.simpson import _standardised
from jurat.stats.buckets import bucket_bootstrap, bucket_sums
from jurat.stats.interval import clustered_proportion
from jurat.stats.moments import Moments, MomentTable, functional_interval, smooth
from jurat.stats.mover import mover_difference
from jurat.stats.result import Interval
from jurat.stats.score import score_statistic
from tests.calibration.card import crossed_card, open_card, with_sums
from tests.calibration.rates import Record, at_most, nominal
from tests.calibration.worlds import ICC, Sums, binary_sums, normal_sums, ratio_sums

pytestmark = [pytest.mark.slow, pytest.mark.calibration]

EXPERIMENTS = 6_000
CLUSTERS = 200
Z = 1.959963984540054


def excludes_zero(i: Interval) -> bool:
    assert i.low is not None and i.high is not None, i.reason
    return i.low > 0 or i.high < 0


def one(sums: Sums, arm: int, i: int, names: tuple[str, ...]) -> Sums:
    return {name: sums[name][arm, i] for name in names}


def rejections(card: Scorecard, metric: str, sums: Sums, names: tuple[str, ...]) -> np.ndarray:
    """Whether each experiment's effect leaves out zero."""
    count = sums[names[0]].shape[1]
    return np.array(
        [
            excludes_zero(
                with_sums(card, metric, {arm: one(sums, a, i, names) for a, arm in enumerate("ab")})
                .effect(metric, "b")
                .effect
            )
            for i in range(count)
        ]
    )


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Scorecard:
    return open_card(tmp_path_factory.mktemp("card"))


@pytest.mark.parametrize("icc", ICC)
def test_a_mean_over_clusters(card: Scorecard, icc: float, record_property: Record) -> None:
    sums = normal_sums(np.random.default_rng(101), (2, EXPERIMENTS, CLUSTERS), icc)
    nominal(record_property, f"mean, CR1, ICC {icc}", rejections(card, "y", sums, ("y", "n")))


def test_a_mean_over_skewed_clusters(card: Scorecard, record_property: Record) -> None:
    sums = normal_sums(np.random.default_rng(102), (2, EXPERIMENTS, CLUSTERS), 0.3, skewed=True)
    nominal(record_property, "mean, CR1, skewed clusters, ICC 0.3", rejections(card, "y", sums, ("y", "n")))


@pytest.mark.parametrize("icc", ICC)
def test_a_mean_with_a_covariate(card: Scorecard, icc: float, record_property: Record) -> None:
    sums = normal_sums(np.random.default_rng(103), (2, EXPERIMENTS, CLUSTERS), icc)
    hits = rejections(card, "y_adjusted", sums, ("y", "n", "x", "xn"))
    nominal(record_property, f"mean, CUPED, ICC {icc}", hits)


@pytest.mark.parametrize("icc", ICC)
def test_a_ratio(card: Scorecard, icc: float, record_property: Record) -> None:
    sums = ratio_sums(np.random.default_rng(104), (2, EXPERIMENTS, CLUSTERS), icc)
    nominal(record_property, f"ratio, delta CR1, ICC {icc}", rejections(card, "cost", sums, ("num", "den")))


@pytest.mark.parametrize("icc", ICC)
def test_a_ratio_with_a_covariate(card: Scorecard, icc: float, record_property: Record) -> None:
    sums = ratio_sums(np.random.default_rng(105), (2, EXPERIMENTS, CLUSTERS), icc)
    hits = rejections(card, "cost_adjusted", sums, ("num", "den", "x", "xn"))
    nominal(record_property, f"ratio, delta CUPED, ICC {icc}", hits)


@pytest.mark.parametrize("icc", ICC)
def test_a_proportion_with_many_events(card: Scorecard, icc: float, record_property: Record) -> None:
    sums = binary_sums(np.random.default_rng(106), (2, EXPERIMENTS, CLUSTERS), icc, 0.3)
    assert float(sums["k"].sum(axis=2).min()) > FEW_EVENTS
    nominal(record_property, f"proportion .3, CR1, ICC {icc}", rejections(card, "bad", sums, ("k", "n")))


@pytest.mark.parametrize("icc", ICC)
def test_a_proportion_with_just_enough_events(card: Scorecard, icc: float, record_property: Record) -> None:
    """About forty events an arm, in clumps: still above the count below which the delta method is left."""
    sums = binary_sums(np.random.default_rng(113), (2, EXPERIMENTS, CLUSTERS), icc, 0.04)
    nominal(record_property, f"proportion .04, mostly CR1, ICC {icc}", rejections(card, "bad", sums, ("k", "n")))


@pytest.mark.parametrize("icc", ICC)
def test_a_proportion_with_few_events(card: Scorecard, icc: float, record_property: Record) -> None:
    """About ten events an arm: Newcombe's form on effective sample sizes, discrete and therefore below the level."""
    sums = binary_sums(np.random.default_rng(107), (2, EXPERIMENTS, CLUSTERS), icc, 0.01)
    hits = rejections(card, "bad", sums, ("k", "n"))
    at_most(record_property, f"proportion .01, few events, MOVER of Wilson, ICC {icc}", hits)


@pytest.mark.parametrize("icc", ICC)
def test_a_proportion_by_its_score_interval_on_the_effective_sample_size(icc: float, record_property: Record) -> None:
    sums = binary_sums(np.random.default_rng(108), (2, EXPERIMENTS, CLUSTERS), icc, 0.1)
    hits = [
        excludes_zero(mover_difference(*(clustered_proportion(sums["k"][a, i], sums["n"][a, i]) for a in (0, 1))))
        for i in range(EXPERIMENTS)
    ]
    nominal(record_property, f"proportion .1, score on effective n (MOVER), ICC {icc}", np.array(hits))


def test_a_proportion_of_independent_units_by_the_score_test(record_property: Record) -> None:
    rng = np.random.default_rng(109)
    counts = rng.binomial(2_000, 0.1, size=(2, 100_000))
    statistic = score_statistic(counts[0], 2_000, counts[1], 2_000)
    nominal(record_property, "proportion .1, Miettinen–Nurminen score, independent", np.abs(statistic) > Z)


@pytest.mark.parametrize("icc", ICC)
def test_the_cluster_bootstrap_by_buckets(icc: float, record_property: Record) -> None:
    """Ratio of sums over 1,000 clusters an arm in 250 buckets, as the sensitivity table draws it."""
    rng = np.random.default_rng(110)
    hits = []
    for i in range(2_000):
        sums = normal_sums(rng, (2, 1_000), icc)
        groups = [
            bucket_sums(np.arange(1_000), np.column_stack([sums["y"][a], sums["n"][a]]), buckets=250, seed=i)
            for a in (0, 1)
        ]
        hits.append(
            excludes_zero(
                bucket_bootstrap(
                    list(groups),
                    lambda t, c: t[0] / t[1] - c[0] / c[1],
                    replicates=1_000,
                    seed=i,
                    n=2_000,
                    n_clusters=2_000,
                )
            )
        )
    nominal(record_property, f"mean, bucket bootstrap, ICC {icc}", np.array(hits))


@pytest.fixture(scope="module")
def crossed(tmp_path_factory: pytest.TempPathFactory) -> Scorecard:
    return open_card(tmp_path_factory.mktemp("crossed"), inference__crossed="prompt")


@pytest.mark.parametrize("icc", ICC)
def test_a_mean_with_two_crossed_clusters(crossed: Scorecard, icc: float, record_property: Record) -> None:
    """Users in one arm each, prompts in both; users vary, and what an arm does varies with the prompt."""
    rng = np.random.default_rng(111)
    users, prompts, each = 240, 150, 8
    user = np.repeat(np.arange(users), each)
    arm = user % 2
    hits = []
    for _ in range(3_000):
        prompt = rng.integers(0, prompts, users * each)
        own, shared = rng.normal(size=users), rng.normal(size=(2, prompts))
        y = np.sqrt(icc / 2) * (own[user] + shared[arm, prompt]) + np.sqrt(1 - icc) * rng.normal(size=users * each)
        pair = np.unique(user * prompts + prompt, return_inverse=True)[1]
        tables = []
        for codes, size in ((user, users), (prompt, prompts), (pair, int(pair.max()) + 1)):
            tables.append(
                {
                    name: {
                        "y": np.bincount(codes, weights=y * (arm == a), minlength=size),
                        "n": np.bincount(codes, weights=1.0 * (arm == a), minlength=size),
                    }
                    for a, name in enumerate("ab")
                }
            )
        hits.append(excludes_zero(crossed_card(crossed, "y", tables).effect("y", "b").effect))
    nominal(record_property, f"mean, two-way CR1 (240 x 150), ICC {icc}", np.array(hits))


@pytest.mark.parametrize("icc", ICC)
def test_an_effect_standardised_over_strata(icc: float, record_property: Record) -> None:
    """Four strata of other levels, whose mix differs by chance between the arms."""
    rng = np.random.default_rng(112)
    levels, chances = np.array([0.0, 1.0, 2.0, 4.0]), np.array([0.4, 0.3, 0.2, 0.1])
    keys = [(arm, f"{kind}{k}") for arm in "ba" for k in range(4) for kind in ("s", "d")]
    hits = []
    for _ in range(EXPERIMENTS):
        groups = {}
        for arm in "ab":
            sums = normal_sums(rng, (CLUSTERS,), icc)
            stratum = rng.choice(4, CLUSTERS, p=chances)
            inside = stratum[None, :] == np.arange(4)[:, None]
            y = sums["y"] + levels[stratum] * sums["n"]
            groups[arm] = Moments.from_clusters(
                {f"s{k}": y * inside[k] for k in range(4)} | {f"d{k}": sums["n"] * inside[k] for k in range(4)}
            )
        table = MomentTable(groups=groups, arms=("a", "b"))
        effect = smooth(table, keys, lambda x: _standardised(x, 4))
        found = functional_interval(table, effect, level=0.95, n=400, n_clusters=400, method="standardised")
        hits.append(excludes_zero(found))
    nominal(record_property, f"mean, standardised over 4 strata, ICC {icc}", np.array(hits))
