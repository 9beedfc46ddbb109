"""Named streams and clustered probabilities against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from jurat.simulate.randomness import clustered_probability, generator


def test_streams_of_different_names_and_seeds_differ() -> None:
    draws = {(seed, name): generator(seed, name).random() for seed in (1, 2) for name in ("errors", "tokens")}
    assert len(set(draws.values())) == 4


def test_a_stream_does_not_depend_on_other_streams() -> None:
    generator(3, "new part").random(1_000)
    first = generator(3, "errors").random(5)
    assert np.array_equal(first, generator(3, "errors").random(5))


@pytest.mark.parametrize(("mean", "correlation"), [(0.02, 0.05), (0.06, 0.15), (0.82, 0.2)])
def test_clustered_probabilities_follow_the_beta_law_of_scipy(mean: float, correlation: float) -> None:
    quantile = np.linspace(0.01, 0.99, 99)
    a, b = mean * (1 / correlation - 1), (1 - mean) * (1 / correlation - 1)
    expected = stats.beta(a, b).ppf(quantile)
    assert clustered_probability(quantile, mean, correlation=correlation) == pytest.approx(expected, rel=1e-9)
    assert stats.beta(a, b).var() == pytest.approx(correlation * mean * (1 - mean))


@pytest.mark.parametrize(("mean", "correlation"), [(0.3, 0.0), (0.0, 0.4), (1.0, 0.4)])
def test_without_correlation_or_at_the_ends_all_users_are_alike(mean: float, correlation: float) -> None:
    probability = clustered_probability(np.array([0.1, 0.9]), mean, correlation=correlation)
    assert probability.tolist() == [mean, mean]
