"""Intervals of shares of one in ten thousand: how often they hold the truth.

For one look the coverage is summed over the binomial law itself, so it has no Monte-Carlo error; only the bound that may be
read at any time is simulated.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import stats as sps

from jurat.stats.interval import clustered_proportion, proportion
from jurat.stats.rare import anytime_proportion
from jurat.stats.score import score_difference
from tests.calibration.rates import Record, at_least
from tests.calibration.worlds import binary_sums

pytestmark = [pytest.mark.slow, pytest.mark.calibration]

P = 1e-4
SIZES = (3_000, 10_000, 20_000, 30_000, 50_000, 100_000, 200_000, 500_000, 1_000_000)
"""From 0.3 to 100 expected events."""


def _support(n: int, p: float) -> np.ndarray:
    return np.arange(int(sps.binom.isf(1e-12, n, p)) + 2)


def coverage(method: str, n: int, side: str = "two-sided") -> float:
    """Exact chance that the interval holds the truth."""
    total = 0.0
    for k in _support(n, P):
        i = proportion(int(k), n, method=method, side=side)  # type: ignore[arg-type]
        held = (i.low is None or i.low <= P) and (i.high is None or i.high >= P)
        total += float(sps.binom.pmf(k, n, P)) * held
    return total


def _recorded(record: Record, name: str, found: list[float]) -> None:
    text = f"lowest {100 * min(found):.2f} %, mean {100 * float(np.mean(found)):.2f} % over {len(found)} cases (exact sums)"
    record("calibration", f"{name:<62} {text}")


@pytest.mark.parametrize("side", ["two-sided", "lower", "upper"])
def test_the_exact_interval_never_falls_short(side: str, record_property: Record) -> None:
    found = [coverage("clopper-pearson", n, side) for n in SIZES]
    _recorded(record_property, f"coverage at 1e-4, Clopper–Pearson, {side}", found)
    assert min(found) >= 0.95


@pytest.mark.parametrize("method", ["jeffreys", "wilson"])
def test_jeffreys_and_wilson_are_right_on_average(method: str, record_property: Record) -> None:
    """Over sizes of a fine grid, as discreteness makes each single size waver (Brown, Cai and DasGupta, 2001)."""
    sizes = np.unique(np.geomspace(3_000, 1_000_000, 120).astype(int))
    found = [coverage(method, int(n)) for n in sizes]
    _recorded(record_property, f"coverage at 1e-4, {method}", found)
    assert 0.94 <= float(np.mean(found)) <= 0.975
    assert min(found) >= 0.84


@cache
def score_bounds(k1: int, n1: int, k2: int, n2: int, side: str) -> tuple[float, float]:
    i = score_difference(k1, n1, k2, n2, side=side)  # type: ignore[arg-type]
    return (-1.0 if i.low is None else i.low, 1.0 if i.high is None else i.high)


def difference_coverage(n1: int, n2: int, p1: float, p2: float, side: str) -> float:
    """Exact chance that the two-sample score interval holds the true difference (pairs rarer than 1e-9 left out)."""
    first, second = (sps.binom.pmf(_support(n, p), n, p) for n, p in ((n1, p1), (n2, p2)))
    total = 0.0
    for k1, a in enumerate(first):
        for k2, b in enumerate(second):
            if a * b < 1e-9:
                continue
            low, high = score_bounds(k1, n1, k2, n2, side)
            total += float(a * b) * (low <= p1 - p2 <= high)
    return total


@pytest.mark.parametrize(("side", "least"), [("two-sided", 0.94), ("upper", 0.935)])
def test_the_two_sample_score_interval(side: str, least: float, record_property: Record) -> None:
    cases = [
        (10_000, 10_000, P, P), (20_000, 20_000, P, P), (50_000, 50_000, P, P), (100_000, 100_000, P, P),
        (50_000, 50_000, P, 2 * P), (100_000, 100_000, 2 * P, P), (100_000, 20_000, P, P),
    ]  # fmt: skip
    found = [difference_coverage(*case, side) for case in cases]
    _recorded(record_property, f"coverage at 1e-4, Miettinen–Nurminen, {side}", found)
    assert float(np.mean(found)) >= 0.95
    assert min(found) >= least


def test_the_anytime_bounds_hold_at_all_looks(record_property: Record) -> None:
    """100 looks, a tenth of an expected event to ten events: the truth stays inside at all of them."""
    rng = np.random.default_rng(501)
    events = rng.binomial(1_000, P, size=(20_000, 100)).cumsum(axis=1)
    for side in ("two-sided", "upper"):
        held = np.ones(len(events), dtype=np.bool_)
        for look in range(100):
            counts, place = np.unique(events[:, look], return_inverse=True)
            bounds = [anytime_proportion(int(k), 1_000 * (look + 1), side=side) for k in counts]  # type: ignore[arg-type]
            inside = [(i.low is None or i.low <= P) and (i.high is None or i.high >= P) for i in bounds]
            held &= np.array(inside)[place]
        at_least(record_property, f"coverage at 1e-4, anytime, {side}, 100 looks together", held, 0.95)


@pytest.mark.parametrize("icc", [0.0, 0.05])
def test_the_clustered_interval_of_a_rare_share(icc: float, record_property: Record) -> None:
    """10,000 clusters of five: five events, a few of them together in one cluster."""
    rng = np.random.default_rng(502)
    held = []
    for _ in range(3_000):
        sums = binary_sums(rng, (10_000,), icc, P)
        i = clustered_proportion(sums["k"], sums["n"])
        assert i.low is not None and i.high is not None
        held.append(i.low <= P <= i.high)
    at_least(record_property, f"coverage at 1e-4, Wilson on effective n, clustered, ICC {icc}", np.array(held), 0.94)
