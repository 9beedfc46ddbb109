"""Standardisation and Kitagawa's parts against published digits, brute force and simulation."""

from __future__ import annotations

import numpy as np
import pytest

from jurat.stats.compare import difference_of_proportions
from jurat.stats.standardise import kitagawa, standardised_difference
from tests.stats.test_stratify import MEN, WOMEN


def test_case_31_berkeley_admissions_at_one_mix_of_departments() -> None:
    found = standardised_difference(*MEN, *WOMEN)
    assert found.first.value == pytest.approx(0.3873185827, rel=1e-8)
    assert found.second.value == pytest.approx(0.4299553805, rel=1e-8)
    assert found.difference.high is not None and found.difference.high < 0
    crude = kitagawa(*MEN, *WOMEN).crude.value
    assert crude == pytest.approx(0.4451876626 - 0.3035422343, rel=1e-8)


def test_one_stratum_is_the_difference_of_two_shares() -> None:
    found, plain = standardised_difference([56], [70], [48], [80]).difference, difference_of_proportions(56, 70, 48, 80)
    assert (found.value, found.low, found.high) == pytest.approx((plain.value, plain.low, plain.high))


def test_weights_of_a_group_leave_its_own_share_as_it_is() -> None:
    assert standardised_difference(*MEN, *WOMEN, weights="first").first.value == pytest.approx(1198 / 2691)
    assert standardised_difference(*MEN, *WOMEN, weights="second").second.value == pytest.approx(557 / 1835)
    given = standardised_difference(*MEN, *WOMEN, weights=MEN[1])
    assert given.difference == standardised_difference(*MEN, *WOMEN, weights="first").difference


def test_the_standardised_interval_covers_with_rare_events() -> None:
    rng, covered = np.random.default_rng(3), 0
    p1, p2, n = np.array([0.02, 0.1, 0.3]), np.array([0.01, 0.05, 0.3]), np.array([120, 80, 60])
    truth = float(n / n.sum() @ (p1 - p2))
    for _ in range(500):
        d = standardised_difference(rng.binomial(n, p1), n, rng.binomial(n, p2), n).difference
        assert d.low is not None and d.high is not None
        covered += d.low <= truth <= d.high
    assert covered / 500 >= 0.93


def test_a_stratum_without_a_group_leaves_the_difference_undefined_unless_its_weight_is_zero() -> None:
    found = standardised_difference([3, 5], [10, 10], [2, 0], [10, 0])
    assert found.difference.value is None and "stratum 1" in str(found.difference.reason)
    assert standardised_difference([3, 5], [10, 10], [2, 0], [10, 0], weights=[1, 0]).difference.value is not None


@pytest.mark.parametrize("weights", ["both", [1.0], [1.0, -1.0], [0.0, 0.0]])
def test_weights_that_make_no_mix_are_refused(weights: object) -> None:
    with pytest.raises(ValueError, match="weight"):
        standardised_difference([3, 5], [10, 10], [2, 1], [10, 10], weights=weights)  # type: ignore[arg-type]


def test_kitagawas_parts_are_those_of_the_definition_and_add_up() -> None:
    found = kitagawa(*MEN, *WOMEN)
    k1, n1, k2, n2 = (np.array(x, dtype=float) for x in (*MEN, *WOMEN))
    mix = sum((k1 / n1 + k2 / n2) / 2 * (n1 / n1.sum() - n2 / n2.sum()))
    rate = sum((n1 / n1.sum() + n2 / n2.sum()) / 2 * (k1 / n1 - k2 / n2))
    assert found.mix.value == pytest.approx(mix)
    assert found.rate.value == pytest.approx(rate)
    assert found.crude.value == pytest.approx(mix + rate)


def test_kitagawas_errors_are_those_of_a_bootstrap_over_units() -> None:
    k1, n1, k2, n2 = [80, 10, 30], [100, 100, 40], [45, 15, 20], [50, 150, 60]
    found, rng = kitagawa(k1, n1, k2, n2), np.random.default_rng(4)

    def drawn(k: list[int], n: list[int]) -> tuple[np.ndarray, np.ndarray]:
        cells = np.array([*k, *(np.array(n) - k)])
        sample = rng.multinomial(sum(n), cells / sum(n), size=4_000).astype(float)
        return sample[:, :3], sample[:, :3] + sample[:, 3:]

    (a, b), (c, d) = drawn(k1, n1), drawn(k2, n2)
    w1, w2 = b / b.sum(1, keepdims=True), d / d.sum(1, keepdims=True)
    mix = ((a / b + c / d) / 2 * (w1 - w2)).sum(1)
    rate = ((w1 + w2) / 2 * (a / b - c / d)).sum(1)
    assert found.mix.se == pytest.approx(mix.std(), rel=0.05)
    assert found.rate.se == pytest.approx(rate.std(), rel=0.05)
    crude = np.sqrt(sum(p * (1 - p) / (n - 1) for p, n in ((120 / 240, 240), (80 / 260, 260))))
    assert found.crude.se == pytest.approx(crude)


def test_a_stratum_that_a_group_lacks_has_no_rate_to_compare() -> None:
    with pytest.raises(ValueError, match="units of both groups"):
        kitagawa([3, 5], [10, 10], [2, 0], [10, 0])
