"""Organisations, activity and the split."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from jurat.simulate.parameters import TrafficModel
from jurat.simulate.population import draw_population, split_users


@pytest.mark.parametrize("users", [1, 2, 19, 5_000])
def test_every_user_has_one_organisation_and_organisations_have_no_gaps(users: int) -> None:
    population = draw_population(users, seed=3, traffic=TrafficModel())
    sizes = np.bincount(population.organisation)
    assert sizes.sum() == users
    assert sizes.min() >= 1
    assert sizes.max() <= max(1, users // 20)
    assert population.activity.sum() == pytest.approx(1.0)


def test_sizes_are_heavy_tailed_and_a_tier_belongs_to_an_organisation() -> None:
    population = draw_population(20_000, seed=4, traffic=TrafficModel())
    sizes = np.sort(np.bincount(population.organisation))[::-1]
    assert sizes[: len(sizes) // 100].sum() > 0.3 * sizes.sum()
    assert np.median(sizes) <= 2
    for organisation in range(200):
        assert len(set(population.tier[population.organisation == organisation].tolist())) == 1


@pytest.mark.parametrize("share", [0.0, 0.44, 0.5, 1.0])
def test_the_split_gives_exactly_the_stated_share_of_the_seen(share: float) -> None:
    seen = np.arange(0, 1_000, 2)
    candidate = split_users(seen, share=share, users=1_000, seed=5)
    assert candidate.sum() == round(share * 500)
    assert not candidate[1::2].any()


def test_the_split_is_a_lottery_that_takes_no_account_of_who_a_user_is() -> None:
    users = 10_000
    population = draw_population(users, seed=6, traffic=TrafficModel())
    candidate = split_users(np.arange(users), share=0.5, users=users, seed=6)
    table = np.array([np.bincount(population.tier[arm], minlength=3) for arm in (candidate, ~candidate)])
    assert stats.chi2_contingency(table).pvalue > 1e-4
    assert np.flatnonzero(candidate).mean() == pytest.approx(users / 2, abs=4 * users / np.sqrt(12 * users))
    assert not np.array_equal(candidate, split_users(np.arange(users), share=0.5, users=users, seed=7))
