"""Paired shares: Tango's and Newcombe's intervals at their edges, and Tango's on an effective number of pairs."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from scipy import stats as sps

from jurat.stats.compare import clustered_paired_proportions, paired_proportions
from jurat.stats.interval import clustered_proportion


def _score(b: int, c: int, n: int, delta: float) -> float:
    """Tango's (1998) statistic in fifty digits."""
    with localcontext() as context:
        context.prec = 50
        d = Decimal(delta)
        first, last = -b - c + (2 * n - b + c) * d, -c * d * (1 - d)
        q = ((first * first - 8 * n * last).sqrt() - first) / (4 * n)
        return float((b - c - n * d) / (n * (2 * q + d * (1 - d))).sqrt())


@pytest.mark.parametrize(("b", "c", "n"), [(3, 0, 10**9), (2, 5, 10**8), (0, 1, 10**6), (40, 3, 44), (1, 1, 2)])
@pytest.mark.parametrize("level", [0.5, 0.95, 1 - 1e-9])
def test_tango_bounds_solve_the_score_equation_in_fifty_digits(b: int, c: int, n: int, level: float) -> None:
    found, z = paired_proportions(0, b, c, n - b - c, level=level), sps.norm.isf((1 - level) / 2)
    assert found.low is not None and found.high is not None
    assert _score(b, c, n, found.low) == pytest.approx(z, rel=1e-6)
    assert _score(b, c, n, found.high) == pytest.approx(-z, rel=1e-6)


@pytest.mark.parametrize("n", [1, 30, 10_000])
def test_without_discordant_pairs_tango_ends_at_z_squared_over_n_plus_z_squared(n: int) -> None:
    found, z = paired_proportions(0, 0, 0, n), sps.norm.isf(0.025)
    assert found.high == pytest.approx(z**2 / (n + z**2), rel=1e-9)
    assert found.low == pytest.approx(-(z**2) / (n + z**2), rel=1e-9)


@pytest.mark.parametrize("method", ["tango", "newcombe"])
def test_all_pairs_discordant_in_one_direction_end_at_one(method: str) -> None:
    found = paired_proportions(0, 20, 0, 0, method=method)  # type: ignore[arg-type]
    assert found.value == 1.0 and found.high == pytest.approx(1.0) and found.low is not None and 0.6 < found.low < 0.9
    mirrored = paired_proportions(0, 0, 20, 0, method=method)  # type: ignore[arg-type]
    assert (mirrored.low, mirrored.high) == pytest.approx((-(found.high or 0), -found.low))


@pytest.mark.parametrize("method", ["tango", "newcombe"])
@pytest.mark.parametrize(("p11", "p10", "p01"), [(0.6, 0.2, 0.1), (0.05, 0.1, 0.1), (0.9, 0.05, 0.01)])
def test_paired_intervals_cover_by_enumeration_of_every_table(method: str, p11: float, p10: float, p01: float) -> None:
    n, coverage = 20, 0.0
    p00 = 1 - p11 - p10 - p01
    law = sps.multinomial(n, [p11, p10, p01, p00])
    for b in range(n + 1):
        for c in range(n + 1 - b):
            for a in range(n + 1 - b - c) if method == "newcombe" else [-1]:
                # Tango's interval does not look at the concordant pairs: their law is summed at once.
                cells = [a, b, c, n - a - b - c] if a >= 0 else [n - b - c, b, c, 0]
                weight = law.pmf(cells) if a >= 0 else sps.multinomial(n, [p11 + p00, p10, p01]).pmf([n - b - c, b, c])
                if weight > 1e-9:
                    found = paired_proportions(*cells, method=method)  # type: ignore[arg-type]
                    coverage += weight * (found.low <= p10 - p01 <= found.high)  # type: ignore[operator]
    # Both are approximate: Newcombe (1998) and Tango (1998) report minima near 0.93 at such sizes.
    assert 0.925 <= coverage <= 1.0


def test_newcombe_without_correlation_is_the_independent_interval() -> None:
    from jurat.stats.compare import difference_of_proportions

    # ad = bc: the two answers are unrelated, so phi is zero.
    found, plain = paired_proportions(12, 18, 8, 12, method="newcombe"), difference_of_proportions(30, 50, 20, 50)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), rel=1e-12)


def test_clusters_of_one_pair_give_tango_with_t_for_z() -> None:
    b, c = np.repeat([1, 0], [9, 291]), np.repeat([0, 1, 0], [9, 4, 287])
    found, plain = clustered_paired_proportions(np.ones(300), b, c), paired_proportions(287, 9, 4, 0)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), rel=0.03)


def test_two_conditions_without_a_failure_are_never_called_equal_for_certain() -> None:
    found = clustered_paired_proportions([50] * 20, [0] * 20, [0] * 20)
    t = sps.t.isf(0.025, 19)
    assert found.value == 0.0 and found.high == pytest.approx(t**2 / (20 + t**2)) and found.low == -(found.high or 0)
    # Beside it, the upper bound of either share on the same clusters.
    assert found.high == pytest.approx(clustered_proportion([0] * 20, [50] * 20).high)


def test_one_cluster_of_pairs_has_a_value_and_no_bounds() -> None:
    found = clustered_paired_proportions([10], [3], [1])
    assert (found.value, found.low, found.high, found.n_clusters) == (0.2, None, None, 1)
    assert "one cluster" in (found.reason or "")
    assert clustered_paired_proportions([0], [0], [0]).value is None


def test_impossible_pairs_are_refused_with_their_cluster() -> None:
    with pytest.raises(ValueError, match="cluster 1 has 2 pairs but 2 and 1"):
        clustered_paired_proportions([5, 2], [0, 2], [0, 1])
    with pytest.raises(ValueError, match="one length"):
        clustered_paired_proportions([5, 2], [0], [0, 1])
    with pytest.raises(ValueError, match="nan"):
        clustered_paired_proportions([5, math.nan], [0, 0], [0, 0])


@pytest.mark.parametrize(("clusters", "b", "c"), [(12, 0.1, 0.05), (40, 0.02, 0.02), (200, 0.01, 0.005)])
def test_clustered_pairs_cover_under_an_intraclass_correlation_of_a_tenth(clusters: int, b: float, c: float) -> None:
    rng = np.random.default_rng(6)
    runs, concentration = 1_000, 1 / 0.1 - 1
    n = rng.geometric(0.1, (runs, clusters)) + 1
    shares = np.stack([rng.gamma(p * concentration, size=n.shape) for p in (b, c, 1 - b - c)])
    shares /= shares.sum(axis=0)
    first = rng.binomial(n, shares[0])
    second = rng.binomial(n - first, np.minimum(shares[1] / (1 - shares[0]), 1.0))
    held = 0
    for i in range(runs):
        found = clustered_paired_proportions(n[i], first[i], second[i])
        held += found.low <= b - c <= found.high  # type: ignore[operator]
    assert held / runs >= 0.94 - 3 * math.sqrt(0.95 * 0.05 / runs)
