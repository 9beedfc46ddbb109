"""Looked at every day: what claims to hold at all looks together is wrong at any of them at most as often as its level says."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from jurat.experiments.effects import Scorecard
from jurat.simulate.randomness import clustered_probability
from jurat.stats.group_sequential import boundaries
from jurat.stats.moments import Moments, MomentTable, ratio_of, variance_and_df
from jurat.stats.rare import anytime_proportion
from jurat.stats.sample_ratio import sequential_sample_ratio_p
from jurat.stats.sequential import always_valid_p, confidence_sequence, mixture_sprt
from tests.calibration.card import open_card, with_sums
from tests.calibration.rates import Record, at_least, at_most, nominal
from tests.calibration.worlds import ICC

pytestmark = [pytest.mark.slow, pytest.mark.calibration]

DAYS = 28
USERS = 400


def rows_by_day(rng: np.random.Generator, arriving: bool) -> np.ndarray:
    """Rows of each user up to each day, shape (arms, users, days): a row a day from the day of arrival on."""
    first = rng.integers(0, DAYS, (2, USERS, 1)) if arriving else np.zeros((2, USERS, 1), dtype=np.int64)
    day = np.arange(DAYS)
    fresh = np.where(day == first, 1 + rng.poisson(0.5, (2, USERS, DAYS)), rng.poisson(1.0, (2, USERS, DAYS)))
    return np.where(day >= first, fresh, 0)


def looks(sums: np.ndarray, rows: np.ndarray) -> list[tuple[float, float, int]]:
    """Effect, standard error and clusters at each day, by the moments of the clusters seen so far."""
    found = []
    for day in range(DAYS):
        groups = {}
        for a, arm in enumerate("ab"):
            seen = rows[a, :, day] > 0
            groups[arm] = Moments.from_clusters({"s": sums[a, seen, day], "n": rows[a, seen, day]})
        table = MomentTable(groups=groups, arms=("a", "b"))
        effect = ratio_of(table, "b", "s", "n") - ratio_of(table, "a", "s", "n")
        variance, _ = variance_and_df(table, effect)
        found.append((effect.value, float(np.sqrt(variance)), sum(table.clusters(arm) for arm in "ab")))
    return found


@pytest.mark.parametrize("arriving", [True, False], ids=["arriving", "all there"])
@pytest.mark.parametrize("icc", ICC)
def test_the_confidence_sequence_of_a_clustered_mean(icc: float, arriving: bool, record_property: Record) -> None:
    """28 daily looks; users arrive over four weeks, or all are there from the first day and only add rows."""
    rng = np.random.default_rng(401)
    out, by_p, naive = [], [], []
    for _ in range(1_500):
        fresh = rows_by_day(rng, arriving)
        own = np.sqrt(icc) * rng.normal(size=(2, USERS, 1))
        sums = (fresh * own + np.sqrt(fresh * (1 - icc)) * rng.normal(size=fresh.shape)).cumsum(axis=2)
        seen = looks(sums, fresh.cumsum(axis=2).astype(np.float64))
        bounds = [confidence_sequence(v, se, n, n_clusters=n, planned_n=2 * USERS) for v, se, n in seen]
        out.append(any(i.low is not None and i.high is not None and not i.low <= 0 <= i.high for i in bounds))
        by_p.append(min(always_valid_p(v, se, n, planned_n=2 * USERS) for v, se, n in seen) <= 0.05)
        naive.append(any(abs(v) > 1.96 * se for v, se, n in seen))
    name = f"{'arriving' if arriving else 'all there'}, ICC {icc}"
    at_most(record_property, f"confidence sequence, 28 looks, {name}", np.array(out))
    at_most(record_property, f"always-valid p-value, 28 looks, {name}", np.array(by_p))
    at_least(record_property, f"interval for one look, read at 28 looks, {name} (the fault)", np.array(naive), 0.08)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Scorecard:
    return open_card(
        tmp_path_factory.mktemp("watched"), data__time="day", inference__method="confidence_sequence",
        inference__planned_clusters=2 * USERS,
    )  # fmt: skip


@pytest.mark.parametrize("share", [0.002, 0.02])
@pytest.mark.parametrize("icc", ICC)
def test_rare_events_of_two_arms_watched_daily(
    watched: Scorecard, icc: float, share: float, record_property: Record
) -> None:
    """Beta-binomial mixtures of the two arms while events are few, the confidence sequence once they are not."""
    rng = np.random.default_rng(402)
    hits = []
    for _ in range(600):
        fresh = rows_by_day(rng, True)
        p = clustered_probability(rng.random((2, USERS, 1)), share, correlation=icc) if icc else share
        events = rng.binomial(fresh, p).cumsum(axis=2)
        rows = fresh.cumsum(axis=2)
        hit = False
        for day in range(DAYS):
            arms = {
                arm: {"k": 1.0 * events[a, :, day][seen], "n": 1.0 * rows[a, :, day][seen]}
                for a, arm in enumerate("ab")
                for seen in [rows[a, :, day] > 0]
            }
            found = with_sums(watched, "bad", arms).effect("bad", "b").sequence
            assert found is not None
            hit |= found.low is not None and found.high is not None and not found.low <= 0 <= found.high
        hits.append(hit)
    at_most(record_property, f"share {share}, anytime bounds of two arms, 28 looks, ICC {icc}", np.array(hits))


@cache
def rare_bounds(successes: int, n: int) -> tuple[float, float]:
    found = anytime_proportion(successes, n)
    assert found.low is not None and found.high is not None
    return found.low, found.high


@pytest.mark.parametrize("p", [1e-4, 1e-2])
def test_the_beta_binomial_mixture_at_every_look(p: float, record_property: Record) -> None:
    """200 looks up to a hundred expected events: the truth stays inside at all of them."""
    rng = np.random.default_rng(403)
    step = round(0.5 / p)
    events = rng.binomial(step, p, size=(10_000, 200)).cumsum(axis=1)
    out = np.zeros(len(events), dtype=np.bool_)
    for look in range(200):
        counts, place = np.unique(events[:, look], return_inverse=True)
        bounds = [rare_bounds(int(k), step * (look + 1)) for k in counts]
        out |= np.array([not low <= p <= high for low, high in bounds])[place]
    at_most(record_property, f"beta-binomial mixture, p = {p:g}, 200 looks", out)


@pytest.mark.parametrize("concentration", [None, 400.0])
@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.8, 0.1, 0.1)], ids=["two arms", "three arms"])
@pytest.mark.parametrize("alpha", [0.05, 0.001])
def test_the_multinomial_mixture_of_the_split(
    concentration: float | None, shares: tuple[float, ...], alpha: float, record_property: Record
) -> None:
    rng = np.random.default_rng(404)
    counts = rng.multinomial(1_000, shares, size=(20_000, DAYS)).cumsum(axis=1)
    last = sequential_sample_ratio_p(counts, shares, concentration=concentration)[:, -1]
    name = f"multinomial split, {len(shares)} arms, concentration {concentration or 'default'}, 28 looks"
    at_most(record_property, f"{name}, alpha {alpha}", last <= alpha, alpha)


def test_the_mixture_sprt_of_two_means(record_property: Record) -> None:
    rng = np.random.default_rng(405)
    gaps = (rng.normal(size=(10_000, DAYS)) * np.sqrt(2 * 100)).cumsum(axis=1) / (100 * np.arange(1, DAYS + 1))
    hits = [
        min(mixture_sprt(float(d), 100 * (t + 1), 1.0, 0.01).p_value for t, d in enumerate(row)) <= 0.05 for row in gaps
    ]
    at_most(record_property, "mixture SPRT, 28 looks", np.array(hits))


@pytest.mark.parametrize("kind", ["lan-demets-obrien-fleming", "lan-demets-pocock"])
def test_a_group_sequential_design_spends_exactly_its_error(kind: str, record_property: Record) -> None:
    rng = np.random.default_rng(406)
    design = boundaries(5, level=0.95, kind=kind)  # type: ignore[arg-type]
    z = rng.normal(size=(100_000, 5)).cumsum(axis=1) / np.sqrt(np.arange(1, 6))
    hits = np.any(np.abs(z) > np.asarray(design.critical), axis=1)
    nominal(record_property, f"group-sequential, {kind}, 5 looks", hits)
