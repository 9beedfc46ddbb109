"""Designs for dependence, and effects that are no means: nothing happened, and the methods say so at their level."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from scipy import signal
from scipy import stats as sps

from jurat.experiments.data import ExperimentData
from jurat.experiments.effects import Scorecard
from jurat.experiments.interference import spillover_slope
from jurat.experiments.quantiles import ArmQuantiles
from jurat.stats.difference_in_differences import difference_in_differences
from jurat.stats.mover import mover_difference
from jurat.stats.quantile import quantile
from jurat.stats.sample_ratio import sample_ratio_test
from jurat.stats.switchback import randomisation_test, switchback_effect, switchback_schedule
from tests.calibration.card import open_card
from tests.calibration.rates import Record, at_most, nominal
from tests.calibration.test_false_positives import excludes_zero
from tests.calibration.worlds import ICC

pytestmark = [pytest.mark.slow, pytest.mark.calibration]


@pytest.mark.parametrize("units", [24, 120])
@pytest.mark.parametrize("icc", ICC)
def test_difference_in_differences(icc: float, units: int, record_property: Record) -> None:
    """Units seen four times before and four times after; what a unit is, and how it drifts, is its own."""
    rng = np.random.default_rng(301)
    unit, after = np.repeat(np.arange(units), 8), np.tile(np.arange(8) >= 4, units)
    treated = unit % 2
    hits = []
    for _ in range(4_000):
        level, drift = rng.normal(size=(2, units)) * np.sqrt(icc)
        y = level[unit] + drift[unit] * after + 0.5 * after + np.sqrt(1 - icc) * rng.normal(size=8 * units)
        hits.append(excludes_zero(difference_in_differences(y, treated, after, cluster=unit).effect))
    nominal(record_property, f"difference in differences, {units} units, ICC {icc}", np.array(hits))


def switched(rng: np.random.Generator, seed: int, blocks: int, icc: float, memory: float) -> tuple[Any, ...]:
    """Blocks of six periods of twenty units; a block has a part of its own, and the noise of time remembers."""
    periods = 6 * blocks
    arm = switchback_schedule(periods, block=6, seed=seed)
    shocks = rng.normal(size=periods + 50) * np.sqrt(1 - memory**2)
    time = signal.lfilter([1.0], [1.0, -memory], shocks)[50:] if memory else np.zeros(periods)
    own = np.repeat(rng.normal(size=blocks), 6) * np.sqrt(icc)
    mean = own + 0.3 * time + rng.normal(size=periods) * np.sqrt((1 - icc) / 20)
    return mean, arm


@pytest.mark.parametrize("blocks", [24, 80])
@pytest.mark.parametrize("icc", ICC)
def test_a_switchback(icc: float, blocks: int, record_property: Record) -> None:
    rng = np.random.default_rng(302)
    hits = []
    for seed in range(4_000):
        mean, arm = switched(rng, seed, blocks, icc, 0.0)
        hits.append(excludes_zero(switchback_effect(20 * mean, np.full(len(mean), 20.0), arm, block=6, washout=2)))
    nominal(record_property, f"switchback, {blocks} blocks, ICC {icc}", np.array(hits))


def test_a_switchback_in_noise_that_lasts(record_property: Record) -> None:
    rng = np.random.default_rng(303)
    hits = []
    for seed in range(4_000):
        mean, arm = switched(rng, seed, 60, 0.05, 0.9)
        hits.append(excludes_zero(switchback_effect(20 * mean, np.full(len(mean), 20.0), arm, block=6, washout=2)))
    nominal(record_property, "switchback, 60 blocks, noise that lasts (.9), ICC 0.05", np.array(hits))


@pytest.mark.parametrize("icc", ICC)
def test_a_switchback_of_twelve_blocks_by_its_randomisation(icc: float, record_property: Record) -> None:
    rng = np.random.default_rng(304)
    hits = []
    for seed in range(4_000):
        mean, arm = switched(rng, seed, 12, icc, 0.9)
        hits.append(randomisation_test(mean, arm, block=6, washout=2).p_value <= 0.05)
    nominal(record_property, f"switchback, randomisation test, 12 blocks, ICC {icc}", np.array(hits))


class InMemory(ArmQuantiles):
    """The production quantile on rows held here instead of in an engine."""

    def __init__(self, card: Scorecard, values: np.ndarray, cluster: np.ndarray) -> None:
        super().__init__(card.experiment, card.data, "slow", "a")
        self._seen, self._cluster = values, cluster

    def value(self, share: float) -> float:
        """The quantile at a share, as DuckDB's QUANTILE_CONT interpolates it."""
        return float(np.quantile(self._seen, share))

    def spread(self, value: float) -> tuple[float, int, int]:
        """Standard error of the share at or below a value, rows, clusters."""
        below, size = np.bincount(self._cluster, self._seen <= value), np.bincount(self._cluster)
        share = below.sum() / size.sum()
        residual = below - share * size
        clusters = len(size)
        return float(np.sqrt(clusters / (clusters - 1) * (residual @ residual)) / size.sum()), len(self._seen), clusters


@pytest.fixture(scope="module")
def slow_card(tmp_path_factory: pytest.TempPathFactory) -> Scorecard:
    metrics = {
        "slow": {"kind": "quantile", "value": "y", "q": 0.9, "better": "lower", "role": "value"},
        "bad": {"kind": "proportion", "value": "bad", "better": "lower", "role": "risk"},
    }
    bar = [
        {
            "name": "slow against bad",
            "value": {"metric": "slow", "test": "superior"},
            "risk": {"metric": "bad", "test": "noninferior", "margin": "+5pp", "rationale": "because"},
        }
    ]
    return open_card(tmp_path_factory.mktemp("slow"), metrics=metrics, bar=bar)


@pytest.mark.parametrize("q", [0.5, 0.9])
@pytest.mark.parametrize("icc", ICC)
def test_a_quantile_of_skewed_rows(slow_card: Scorecard, icc: float, q: float, record_property: Record) -> None:
    """Lognormal latencies of 300 users an arm; MOVER of Woodruff's intervals errs a little to the wide side."""
    rng = np.random.default_rng(305)
    user = np.repeat(np.arange(300), 5)
    mine, theirs = [], []
    for _ in range(4_000):
        arms = []
        for _ in range(2):
            log = np.sqrt(icc) * rng.normal(size=300)[user] + np.sqrt(1 - icc) * rng.normal(size=1_500)
            arms.append(np.exp(0.7 * log))
        mine.append(excludes_zero(mover_difference(*(InMemory(slow_card, x, user).fixed(q, 0.95) for x in arms))))
        theirs.append(excludes_zero(mover_difference(*(quantile(x, q, cluster=user) for x in arms))))
    nominal(record_property, f"quantile {q}, Woodruff in the engine, MOVER, ICC {icc}", np.array(mine))
    at_most(record_property, f"quantile {q}, Woodruff in memory, MOVER, ICC {icc}", np.array(theirs))


class Rows:
    """Answers the spill-over check's one question with simulated groups."""

    def __init__(self, rows: list[dict[str, float]]) -> None:
        self._rows = rows

    def query(self, sql: str, **parameters: object) -> list[dict[str, float]]:
        """The rows, whatever is asked."""
        return self._rows


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Scorecard:
    return open_card(
        tmp_path_factory.mktemp("designs"),
        checks=["spillover"],
        assignment__group="stratum",
        inference__cluster="stratum",
    )


@pytest.mark.parametrize("shares", ["two-stage", "by chance"])
@pytest.mark.parametrize("icc", ICC)
def test_the_spill_over_check_without_spill_over(
    card: Scorecard, icc: float, shares: str, record_property: Record
) -> None:
    """300 organisations of 10 to 30 users, a fifth or four fifths treated by design, or about half by chance."""
    rng = np.random.default_rng(306)
    slopes, alarms = [], []
    for _ in range(4_000):
        size = rng.integers(10, 31, 300)
        treated = rng.binomial(size, np.where(np.arange(300) % 2, 0.8, 0.2) if shares == "two-stage" else 0.5)
        n = (size - treated).astype(float)
        s = n * np.sqrt(icc) * rng.normal(size=300) + np.sqrt(n * (1 - icc)) * rng.normal(size=300)
        rows = [
            {"units": float(u), "treated": float(t), "s": float(a), "n": float(b)}
            for u, t, a, b in zip(size, treated, s, n, strict=True)
        ]
        found = spillover_slope(card.experiment, cast(ExperimentData, Rows(rows)), "y", "stratum")
        slopes.append(excludes_zero(found))
        assert found.value is not None and found.se is not None and found.df is not None
        alarms.append(2 * sps.t.sf(abs(found.value) / found.se, found.df) < 0.01)
    nominal(record_property, f"spill-over slope, {shares}, ICC {icc}", np.array(slopes))
    nominal(record_property, f"spill-over alarm (p < .01), {shares}, ICC {icc}", np.array(alarms), 0.01)


def test_the_split_test_at_one_look(record_property: Record) -> None:
    rng = np.random.default_rng(307)
    counts = rng.multinomial(9_000, [0.5, 0.3, 0.2], size=40_000)
    hits = [sample_ratio_test(row, [0.5, 0.3, 0.2]).p_value <= 0.05 for row in counts]
    nominal(record_property, "sample ratio, Pearson, 3 arms, one look", np.array(hits))
