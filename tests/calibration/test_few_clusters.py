"""Twelve clusters: where the plain sandwich rejects too often, CR2 and the wild cluster bootstrap keep the level."""

from __future__ import annotations

import numpy as np
import pytest

import jurat.experiments.effects as effects
from jurat.experiments.effects import Scorecard
from jurat.stats.mean import cluster_robust_ols, clustered_mean_from_sums
from jurat.stats.wild import wild_cluster_test
from tests.calibration.card import open_card, with_clusters
from tests.calibration.rates import Record, at_least, at_most, nominal
from tests.calibration.test_false_positives import excludes_zero, one
from tests.calibration.worlds import ICC, Sums, normal_sums

pytestmark = [pytest.mark.slow, pytest.mark.calibration]

EXPERIMENTS = 6_000
CLUSTERS = 12


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Scorecard:
    return open_card(tmp_path_factory.mktemp("few"))


def rejections(
    card: Scorecard, monkeypatch: pytest.MonkeyPatch, sums: Sums, metric: str, names: tuple[str, ...]
) -> np.ndarray:
    hits = []
    for i in range(sums["y"].shape[1]):
        found, table = with_clusters(card, metric, {arm: one(sums, a, i, names) for a, arm in enumerate("ab")})
        monkeypatch.setattr(effects, "cluster_sums", lambda *_, rows=table, **__: rows)
        effect = found.effect(metric, "b").effect
        assert effect.method.startswith("CR2")
        hits.append(excludes_zero(effect))
    return np.array(hits)


@pytest.mark.parametrize("each", [6, 12])
@pytest.mark.parametrize("icc", ICC)
def test_the_effect_on_a_mean_by_cr2(
    card: Scorecard, monkeypatch: pytest.MonkeyPatch, icc: float, each: int, record_property: Record
) -> None:
    sums = normal_sums(np.random.default_rng(201), (2, EXPERIMENTS, each), icc)
    hits = rejections(card, monkeypatch, sums, "y", ("y", "n"))
    if each == 12:
        nominal(record_property, f"mean, CR2, 12 clusters an arm, ICC {icc}", hits)
        return
    # Welch's degrees of freedom are estimated too, which with six clusters an arm costs up to a point on the safe side.
    at_most(record_property, f"mean, CR2, 6 clusters an arm, ICC {icc}", hits)
    at_least(record_property, f"mean, CR2, 6 clusters an arm, ICC {icc}", hits, 0.04)


@pytest.mark.parametrize("icc", ICC)
def test_a_level_by_cr2(icc: float, record_property: Record) -> None:
    sums = normal_sums(np.random.default_rng(203), (EXPERIMENTS, CLUSTERS), icc)
    hits = [
        not i.low <= 10 <= i.high
        for i in (clustered_mean_from_sums(n, y, correction="CR2") for n, y in zip(sums["n"], sums["y"], strict=True))
        if i.low is not None and i.high is not None
    ]
    nominal(record_property, f"level, CR2, 12 clusters, ICC {icc}", np.array(hits))


def test_a_level_by_cr1_would_reject_too_often(record_property: Record) -> None:
    """What the corrections are for: the sandwich without them."""
    sums = normal_sums(np.random.default_rng(204), (2, EXPERIMENTS, 6), 0.3)
    hits = []
    for i in range(EXPERIMENTS):
        size, y = np.concatenate(sums["n"][:, i]), np.concatenate(sums["y"][:, i])
        X = np.column_stack([np.ones(CLUSTERS), np.repeat([0.0, 1.0], 6)]) * np.sqrt(size)[:, None]
        fit = cluster_robust_ols(X, y / np.sqrt(size), np.arange(CLUSTERS))
        hits.append(abs(fit.coefficients[1]) > 1.96 * fit.standard_errors[1])
    at_least(record_property, "mean, CR1 with z = 1.96, 12 clusters, ICC 0.3 (the fault)", np.array(hits), 0.08)


@pytest.mark.parametrize("icc", ICC)
def test_the_effect_on_a_mean_by_the_wild_bootstrap(icc: float, record_property: Record) -> None:
    """Six clusters of five an arm, all 4,096 sign patterns, from sums as the sensitivity table does it."""
    rng = np.random.default_rng(205)
    n = np.full((2, EXPERIMENTS, 6), 5.0)
    y = n * np.sqrt(icc) * rng.normal(size=n.shape) + np.sqrt(n * (1 - icc)) * rng.normal(size=n.shape)
    nominal(record_property, f"mean, wild cluster bootstrap, 12 even clusters, ICC {icc}", wild(n, y))


@pytest.mark.parametrize("icc", ICC)
def test_the_wild_bootstrap_with_uneven_clusters(icc: float, record_property: Record) -> None:
    """Sizes with a coefficient of variation of .6 cost it about a point (MacKinnon and Webb, 2017, J. Applied Econometrics)."""
    sums = normal_sums(np.random.default_rng(205), (2, EXPERIMENTS, 6), icc)
    hits = wild(sums["n"], sums["y"])
    at_most(record_property, f"mean, wild cluster bootstrap, 12 uneven clusters, ICC {icc}", hits, 0.06)


def wild(n: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Whether the wild cluster bootstrap rejects that two arms are alike, from each cluster's size and sum."""
    hits = []
    for i in range(n.shape[1]):
        root, total = np.sqrt(np.concatenate(n[:, i])), np.concatenate(y[:, i])
        design = np.column_stack([root, root * np.repeat([0.0, 1.0], 6)])
        hits.append(wild_cluster_test(design, total / root, np.arange(CLUSTERS), coefficient=1).p_value <= 0.05)
    return np.array(hits)


@pytest.mark.parametrize("icc", ICC)
def test_a_level_by_the_wild_bootstrap(icc: float, record_property: Record) -> None:
    sums = normal_sums(np.random.default_rng(206), (EXPERIMENTS, CLUSTERS), icc)
    hits = []
    for n, y in zip(sums["n"], sums["y"], strict=True):
        root = np.sqrt(n)
        hits.append(
            wild_cluster_test(root[:, None], y / root, np.arange(CLUSTERS), coefficient=0, null=10.0).p_value <= 0.05
        )
    nominal(record_property, f"level, wild cluster bootstrap, 12 clusters, ICC {icc}", np.array(hits))


def test_uneven_arms_by_cr2(card: Scorecard, monkeypatch: pytest.MonkeyPatch, record_property: Record) -> None:
    """Four clusters against eight: Satterthwaite's degrees of freedom carry the smaller arm."""
    rng = np.random.default_rng(207)
    small, large = normal_sums(rng, (EXPERIMENTS, 4), 0.3), normal_sums(rng, (EXPERIMENTS, 8), 0.3)
    hits = []
    for i in range(EXPERIMENTS):
        arms = {"a": {k: large[k][i] for k in ("y", "n")}, "b": {k: small[k][i] for k in ("y", "n")}}
        found, table = with_clusters(card, "y", arms)
        monkeypatch.setattr(effects, "cluster_sums", lambda *_, rows=table, **__: rows)
        hits.append(excludes_zero(found.effect("y", "b").effect))
    at_most(record_property, "mean, CR2, 4 against 8 clusters, ICC 0.3", np.array(hits))
