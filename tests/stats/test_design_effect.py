"""What clusters and annotators cost: published digits, exact special cases and simulation."""

from __future__ import annotations

import numpy as np
import pytest

from jurat.stats.design_effect import (
    accuracy_from_agreement,
    design_effect,
    intraclass_correlation,
    read_through_annotators,
)
from jurat.stats.interval import proportion
from jurat.stats.power import two_proportions_size


@pytest.mark.parametrize(("accuracy", "size"), [(0.90, 61_217.3374881), (0.85, 79_988.5740976)])
def test_case_14_a_difference_read_through_annotators(accuracy: float, size: float) -> None:
    shares = [read_through_annotators(p, accuracy) for p in (0.52, 0.53)]
    assert two_proportions_size(*shares).exact == pytest.approx(size, rel=1e-8)


def test_case_15_eight_conversations_per_user() -> None:
    plain = two_proportions_size(0.52, 0.53).exact
    assert plain is not None
    assert design_effect(8, 0.1) == pytest.approx(1.7)
    assert plain * design_effect(8, 0.1) == pytest.approx(66_542.0174998, rel=1e-8)
    assert plain * design_effect(8, 0.1) / 8 == pytest.approx(8_317.7521875, rel=1e-8)
    assert plain * design_effect(8, 0.1, size_cv=1.0) == pytest.approx(97_855.9080880, rel=1e-8)


def test_the_analysis_of_variance_is_that_of_its_definition() -> None:
    values, cluster = np.array([9.0, 10, 7, 4, 5, 2, 8, 6, 7, 1]), np.array([0, 0, 0, 1, 1, 2, 2, 2, 2, 3])
    groups = [values[cluster == g] for g in range(4)]
    between = sum(len(g) * (g.mean() - values.mean()) ** 2 for g in groups) / 3
    within = sum(((g - g.mean()) ** 2).sum() for g in groups) / 6
    typical = (10 - sum(len(g) ** 2 for g in groups) / 10) / 3
    found = intraclass_correlation(values, cluster)
    assert found.value == pytest.approx((between - within) / (between + (typical - 1) * within))
    assert found.n_clusters == 4


@pytest.mark.parametrize("even", [True, False])
def test_the_interval_covers_the_correlation(even: bool) -> None:
    rng, covered = np.random.default_rng(1), 0
    for _ in range(600):
        sizes = np.full(25, 6) if even else rng.integers(1, 12, 25)
        user = np.repeat(np.arange(25), sizes)
        values = np.sqrt(0.3) * rng.normal(size=25)[user] + np.sqrt(0.7) * rng.normal(size=len(user))
        found = intraclass_correlation(1e6 + values, user)
        assert found.low is not None and found.high is not None
        covered += found.low <= 0.3 <= found.high
    assert 0.93 <= covered / 600 <= 0.975


def test_the_correlation_predicts_the_design_effect() -> None:
    rng = np.random.default_rng(2)
    user = np.repeat(np.arange(4_000), 5)
    values = rng.normal(size=4_000)[user] + 2 * rng.normal(size=20_000)
    found = intraclass_correlation(values, user).value
    assert found is not None
    seen = float(np.var(values.reshape(-1, 5).mean(axis=1))) / (float(np.var(values)) / 5)
    assert design_effect(5, found) == pytest.approx(seen, rel=0.01)


def test_clusters_that_cannot_show_a_correlation_say_so() -> None:
    assert intraclass_correlation([1.0, 2.0], [0, 0]).value is None
    assert "two values" in str(intraclass_correlation([1.0, 2.0], [0, 1]).reason)
    assert intraclass_correlation([3.0] * 4, [0, 0, 1, 1]).value is None
    alike = intraclass_correlation([1.0, 1.0, 2.0, 2.0], [0, 0, 1, 1])
    assert alike.value == pytest.approx(1) and alike.low is None and alike.reason
    apart = intraclass_correlation([1.0, 2.0, 1.0, 2.0], [0, 0, 1, 1])
    assert apart.value == pytest.approx(-1)


@pytest.mark.parametrize("accuracy", [0.5, 0.6, 0.85, 0.99])
def test_two_annotators_of_known_accuracy_are_found_again(accuracy: float) -> None:
    agreement = accuracy**2 + (1 - accuracy) ** 2
    found = accuracy_from_agreement(proportion(round(agreement * 10**9), 10**9))
    assert found.value == pytest.approx(accuracy, abs=1e-4)
    assert found.low is not None and found.high is not None and found.low <= accuracy + 1e-4 <= found.high + 2e-4


def test_agreement_below_one_half_has_no_accuracy_and_a_bound_below_it_is_a_coin() -> None:
    below = accuracy_from_agreement(proportion(40, 100))
    assert below.value is None and below.reason
    assert accuracy_from_agreement(proportion(52, 100)).low == 0.5
    assert accuracy_from_agreement(proportion(0, 0)).reason == "there are no units"
