"""What the planner promises is what happens: realised power within two points, at the size that it asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jurat.experiments.effects import Scorecard
from jurat.experiments.plan import ClaimPlan, plan_experiment
from jurat.stats.power import non_inferiority_size, two_proportions_size
from jurat.stats.score import score_statistic
from tests.calibration.card import METRICS, open_card, with_sums
from tests.calibration.rates import Record, within
from tests.calibration.worlds import Sums, binary_sums, cluster_sizes

pytestmark = [pytest.mark.slow, pytest.mark.calibration]

EXPERIMENTS = 10_000
Z = 1.959963984540054


@pytest.mark.parametrize(("p1", "p2"), [(0.10, 0.12), (0.50, 0.54), (0.02, 0.01)])
def test_two_proportions(p1: float, p2: float, record_property: Record) -> None:
    rng = np.random.default_rng(601)
    n = two_proportions_size(p1, p2, formula="pooled").n
    assert n is not None
    k1, k2 = rng.binomial(n, p1, 100_000), rng.binomial(n, p2, 100_000)
    hits = np.abs(score_statistic(k1, n, k2, n)) > Z
    within(record_property, f"power, two proportions {p1} and {p2}, n = {n:,} an arm", hits, 0.8)


@pytest.mark.parametrize(("p", "margin"), [(0.40, 0.03), (0.02, 0.005)])
def test_non_inferiority(p: float, margin: float, record_property: Record) -> None:
    rng = np.random.default_rng(602)
    n = non_inferiority_size(p, p, margin).n
    assert n is not None
    k1, k2 = rng.binomial(n, p, 100_000), rng.binomial(n, p, 100_000)
    hits = score_statistic(k1, n, k2, n, null=-margin) > Z
    within(record_property, f"power, non-inferiority {p} by {margin}, n = {n:,} an arm", hits, 0.8)


def planned(folder: Path, clusters: int, metrics: dict[str, Any], **demands: Any) -> tuple[Scorecard, list[ClaimPlan]]:
    """A spec with one value and one risk claim at so many clusters, and its plan."""
    bar = {
        "name": "bar",
        "value": {"metric": demands["value"], "test": "superior", "mde": demands["mde"]},
        "risk": {"metric": "bad", "test": "noninferior", "margin": demands["margin"], "rationale": "because"},
    }
    card = open_card(
        folder, bar=[bar], metrics=METRICS | metrics, inference__planned_clusters=clusters,
        traffic={"rows_per_cluster": 5.0, "cluster_size_cv": 0.6},
    )  # fmt: skip
    return card, list(plan_experiment(card.experiment).claims)


def enough(folder: Path, metrics: dict[str, Any], place: int, **demands: Any) -> tuple[Scorecard, ClaimPlan]:
    """The same at the even number of clusters that the planner asks of one claim."""
    asked = planned(folder, 100, metrics, **demands)[1][place].clusters
    assert asked is not None
    card, claims = planned(folder, 2 * ((asked + 1) // 2), metrics, **demands)
    return card, claims[place]


def clears(card: Scorecard, metric: str, arms: list[Sums], margin: float, better: str) -> np.ndarray:
    """Whether the deciding interval of each experiment lies beyond the margin on the good side."""
    hits = []
    for i in range(len(next(iter(arms[0].values())))):
        one = {arm: {k: v[i] for k, v in arms[a].items()} for a, arm in enumerate("ab")}
        against = with_sums(card, metric, one).effect(metric, "b").at(margin, card.experiment.level, "absolute")
        assert against.low is not None and against.high is not None
        hits.append(against.low > 0 if better == "higher" else against.high < 0)
    return np.array(hits)


@pytest.mark.parametrize("icc", [0.0, 0.05, 0.3])
def test_a_clustered_proportion(tmp_path: Path, icc: float, record_property: Record) -> None:
    metrics = {
        "good": {"kind": "proportion", "value": "bad", "better": "higher", "role": "value", "baseline": 0.6, "icc": icc}
    }
    metrics |= {"bad": METRICS["bad"] | {"baseline": 0.3, "icc": icc}}
    card, claim = enough(tmp_path, metrics, 0, value="good", mde="+6pp", margin="+5pp")
    rng = np.random.default_rng(603)
    each = card.experiment.document.inference.planned_clusters // 2
    arms = [binary_sums(rng, (EXPERIMENTS, each), icc, p) for p in (0.6, 0.66)]
    assert claim.power is not None
    hits = clears(card, "good", arms, 0.0, "higher")
    within(record_property, f"power, clustered proportion, ICC {icc}, {2 * each} clusters", hits, claim.power)


@pytest.mark.parametrize("icc", [0.0, 0.05, 0.3])
def test_non_inferiority_of_a_clustered_proportion(tmp_path: Path, icc: float, record_property: Record) -> None:
    metrics = {
        "good": {"kind": "proportion", "value": "bad", "better": "higher", "role": "value", "baseline": 0.6, "icc": icc}
    }
    metrics |= {"bad": METRICS["bad"] | {"baseline": 0.3, "icc": icc}}
    card, claim = enough(tmp_path, metrics, 1, value="good", mde="+6pp", margin="+5pp")
    rng = np.random.default_rng(604)
    each = card.experiment.document.inference.planned_clusters // 2
    arms = [binary_sums(rng, (EXPERIMENTS, each), icc, 0.3) for _ in range(2)]
    assert claim.power is not None
    hits = clears(card, "bad", arms, 0.05, "lower")
    within(record_property, f"power, non-inferiority, clustered, ICC {icc}, {2 * each} clusters", hits, claim.power)


@pytest.mark.parametrize("icc", [0.0, 0.05, 0.3])
def test_a_ratio(tmp_path: Path, icc: float, record_property: Record) -> None:
    """The standard deviation that the planner asks for is that of a row's linearised value, (value - ratio * per) / mean(per)."""
    deviation, effect = 1.5, 0.2
    metrics = {
        "cost": METRICS["cost"]
        | {"role": "value", "better": "higher", "baseline": 2.0, "standard_deviation": deviation, "icc": icc},
        "bad": METRICS["bad"] | {"baseline": 0.3, "icc": icc},
    }
    card, claim = enough(tmp_path, metrics, 0, value="cost", mde=f"+{effect}", margin="+5pp")
    rng = np.random.default_rng(605)
    each = card.experiment.document.inference.planned_clusters // 2
    arms = []
    for level in (2.0, 2.0 + effect):
        rows = cluster_sizes(rng, (EXPERIMENTS, each))
        per = rng.gamma(4 * rows) / 4  # one a row on average
        own = rows * np.sqrt(icc) * rng.normal(size=rows.shape) + np.sqrt(rows * (1 - icc)) * rng.normal(
            size=rows.shape
        )
        arms.append({"num": level * per + deviation * own, "den": per})
    assert claim.power is not None
    hits = clears(card, "cost", arms, 0.0, "higher")
    within(record_property, f"power, ratio, ICC {icc}, {2 * each} clusters", hits, claim.power)
