"""Who uses the assistant: organisations of heavy-tailed size, their users, and the split of the experiment.

Sizes of organisations follow a Pareto law, activity of users a lognormal one. The split is a complete
randomisation of the users who were seen: exactly the stated share of them (to the nearest user) gets the
candidate, so a sound split can never show a sample-ratio mismatch by chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jurat.simulate.parameters import TrafficModel
from jurat.simulate.randomness import generator

__all__ = ["TIERS", "Population", "draw_population", "split_users"]

TIERS = ("free", "pro", "enterprise")
_LARGEST_SHARE = 0.05  # of all users in one organisation: one customer must not be the whole world
# Cumulative probability of free and of pro by size of the organisation: one user, up to 20, more.
_TIER_LIMITS = np.array([[0.75, 1.0], [0.30, 0.92], [0.0, 0.20]])
_SIZE_BOUNDS = np.array([2, 21])


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """Users before any of them has spoken.

    Attributes
    ----------
    organisation
        Organisation of each user, as a number from 0.
    tier
        Tier of each user's organisation, as an index into `TIERS`.
    activity
        Share of all conversations that each user starts; adds up to 1.
    """

    organisation: npt.NDArray[np.int64]
    tier: npt.NDArray[np.int64]
    activity: npt.NDArray[np.float64]

    @property
    def users(self) -> int:
        """Number of users."""
        return len(self.organisation)


def draw_population(users: int, *, seed: int, traffic: TrafficModel) -> Population:
    """Draw users, the organisations they belong to and how active each of them is.

    Parameters
    ----------
    users
        Number of users, at least 1.
    seed
        Seed of the world.
    traffic
        Tail of the organisation sizes and spread of the activity.

    Examples
    --------
    >>> population = draw_population(1000, seed=1, traffic=TrafficModel())
    >>> int(np.bincount(population.organisation).max()), round(float(population.activity.sum()), 6)
    (50, 1.0)
    """
    sizes = _organisation_sizes(users, traffic.organisation_tail, generator(seed, "organisations"))
    organisation = np.repeat(np.arange(len(sizes)), sizes)
    band = np.searchsorted(_SIZE_BOUNDS, sizes, side="right")
    position = generator(seed, "tiers").random(len(sizes))
    tier = (position[:, None] >= _TIER_LIMITS[band]).sum(axis=1)
    activity = np.exp(traffic.activity_sigma * generator(seed, "activity").standard_normal(users))
    return Population(organisation=organisation, tier=tier[organisation], activity=activity / activity.sum())


def _organisation_sizes(users: int, tail: float, draw: np.random.Generator) -> npt.NDArray[np.int64]:
    """Sizes of at least 1 that add up to the number of users."""
    largest = max(1, int(users * _LARGEST_SHARE))
    pareto = np.minimum(1.0 + draw.pareto(tail, size=users), largest)
    sizes = np.floor(pareto).astype(np.int64)
    ends = np.cumsum(sizes)
    last = int(np.searchsorted(ends, users))
    sizes = sizes[: last + 1]
    sizes[-1] -= ends[last] - users
    return sizes


def split_users(seen: npt.NDArray[np.int64], *, share: float, users: int, seed: int) -> npt.NDArray[np.bool_]:
    """Give a share of the users who were seen to the candidate, by complete randomisation.

    Parameters
    ----------
    seen
        Distinct users with at least one turn.
    share
        Share of them that gets the candidate.
    users
        Number of all users, seen or not.
    seed
        Seed of the world.

    Returns
    -------
    numpy.ndarray
        For each user, whether the candidate serves them.

    Examples
    --------
    >>> int(split_users(np.arange(10), share=0.5, users=12, seed=3).sum())
    5
    """
    candidate = np.zeros(users, dtype=np.bool_)
    shuffled = generator(seed, "split").permutation(seen)
    candidate[shuffled[: round(share * len(seen))]] = True
    return candidate
