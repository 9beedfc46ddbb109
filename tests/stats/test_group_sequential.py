"""Group-sequential boundaries: published tables, simulated Brownian motion, and exact properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize
from scipy import stats as sps

from jurat.stats.group_sequential import SequentialPower, boundaries, sequential_power

KINDS = ("pocock", "obrien-fleming", "lan-demets-pocock", "lan-demets-obrien-fleming")


@pytest.mark.parametrize(("kind", "last"), [("pocock", 2.41318), ("obrien-fleming", 2.04008)])
def test_case_25_five_looks_have_the_reference_boundaries(kind: str, last: float) -> None:
    found = boundaries(5, kind=kind)
    assert found.critical[-1] == pytest.approx(last, abs=1e-5)
    assert found.spent[-1] == pytest.approx(0.05, abs=1e-9)


@pytest.mark.parametrize(
    ("looks", "level", "constant"),
    [(2, 0.95, 2.178), (3, 0.95, 2.289), (4, 0.95, 2.361), (10, 0.95, 2.555), (5, 0.99, 2.986), (5, 0.90, 2.122)],
)
def test_pocock_constants_equal_jennison_and_turnbull_table_2_1(looks: int, level: float, constant: float) -> None:
    assert boundaries(looks, level=level, kind="pocock").critical[0] == pytest.approx(constant, abs=6e-4)


@pytest.mark.parametrize(
    ("looks", "level", "constant"), [(2, 0.95, 1.977), (3, 0.95, 2.004), (4, 0.95, 2.024), (10, 0.95, 2.087)]
)
def test_obrien_fleming_constants_equal_jennison_and_turnbull_table_2_3(
    looks: int, level: float, constant: float
) -> None:
    assert boundaries(looks, level=level).critical[-1] == pytest.approx(constant, abs=6e-4)


@pytest.mark.parametrize(
    ("kind", "critical"),
    [
        ("lan-demets-obrien-fleming", [4.8769, 3.3569, 2.6803, 2.2898, 2.0310]),
        ("lan-demets-pocock", [2.4380, 2.4268, 2.4101, 2.3966, 2.3859]),
    ],
)
def test_spending_functions_give_the_published_boundaries_of_proschan_lan_and_wittes(
    kind: str, critical: list[float]
) -> None:
    assert boundaries(5, kind=kind).critical.tolist() == pytest.approx(critical, abs=1.5e-4)


@pytest.mark.parametrize(
    ("kind", "looks", "power", "inflation"),
    [
        ("pocock", 5, 0.9, 1.207),
        ("pocock", 5, 0.8, 1.229),
        ("pocock", 2, 0.9, 1.100),
        ("obrien-fleming", 5, 0.9, 1.026),
        ("obrien-fleming", 5, 0.8, 1.028),
        ("obrien-fleming", 2, 0.9, 1.007),
    ],
)
def test_sample_size_inflation_equals_jennison_and_turnbull_tables_2_2_and_2_4(
    kind: str, looks: int, power: float, inflation: float
) -> None:
    """Their power counts rejections on the side of the effect."""
    design = boundaries(looks, kind=kind)
    drift = optimize.brentq(lambda x: sequential_power(design, x).reject_above.sum() - power, 1.0, 6.0)
    fixed = sps.norm.isf(0.025) + sps.norm.ppf(power)
    assert (drift / fixed) ** 2 == pytest.approx(inflation, abs=6e-4)


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("drift", [0.0, 1.0, 2.8])
def test_crossings_equal_simulated_brownian_motion(sides: int, drift: float) -> None:
    information = [0.1, 0.35, 0.5, 0.9, 1.0]
    design = boundaries(5, kind="lan-demets-pocock", information=information, sides=sides)
    found = sequential_power(design, drift)
    rng = np.random.default_rng(25)
    steps, times = np.diff(information, prepend=0.0), np.array(information)
    paths = 200_000
    score = np.cumsum(rng.normal(size=(paths, 5)) * np.sqrt(steps) + drift * steps, axis=1)
    z = score / np.sqrt(times)
    crossed = (np.abs(z) if sides == 2 else z) >= design.critical
    stopped = np.where(crossed.any(axis=1), crossed.argmax(axis=1), 4)
    error = 4 * 0.5 / math.sqrt(paths)
    assert found.power == pytest.approx(crossed.any(axis=1).mean(), abs=error)
    assert found.expected_information == pytest.approx(times[stopped].mean(), abs=error)
    first_above = crossed[np.arange(paths), stopped] & (z[np.arange(paths), stopped] > 0)
    simulated = np.bincount(stopped[first_above], minlength=5) / paths
    assert found.reject_above.tolist() == pytest.approx(simulated.tolist(), abs=error)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("looks", [1, 2, 28])
def test_all_looks_together_spend_the_level(kind: str, sides: int, looks: int) -> None:
    found = boundaries(looks, kind=kind, sides=sides, level=0.99)
    assert found.spent[-1] == pytest.approx(0.01, abs=1e-10)
    assert np.all(np.diff(found.spent) >= 0)
    assert np.all(np.isfinite(found.critical))
    under_null = sequential_power(found, 0.0)
    assert under_null.power == pytest.approx(0.01, abs=1e-10)


@pytest.mark.parametrize("kind", KINDS[2:])
def test_a_hundred_looks_are_no_trouble(kind: str) -> None:
    found = boundaries(100, kind=kind)
    assert found.spent[-1] == pytest.approx(0.05, abs=1e-10)
    assert np.all(np.isfinite(found.critical))


@pytest.mark.parametrize("kind", KINDS)
def test_one_look_is_the_ordinary_test(kind: str) -> None:
    assert boundaries(1, kind=kind).critical.tolist() == pytest.approx([sps.norm.isf(0.025)], abs=1e-10)
    assert boundaries(1, kind=kind, sides=1).critical.tolist() == pytest.approx([sps.norm.isf(0.05)], abs=1e-10)
    assert sequential_power(boundaries(1, kind=kind, sides=1), 2.0).power == pytest.approx(
        sps.norm.sf(sps.norm.isf(0.05) - 2.0), abs=1e-12
    )


def test_two_looks_equal_the_bivariate_normal_distribution() -> None:
    design = boundaries(2, kind="lan-demets-pocock", information=[0.3, 1.0])
    c1, c2 = design.critical.tolist()
    correlation = math.sqrt(0.3)
    both = sps.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]])
    stays = both.cdf([c1, c2], lower_limit=[-c1, -c2])
    assert 1 - stays == pytest.approx(0.05, abs=1e-6)


@pytest.mark.parametrize("kind", ["lan-demets-pocock", "lan-demets-obrien-fleming"])
def test_spending_follows_its_function(kind: str) -> None:
    times = np.array([0.05, 0.2, 0.21, 0.7, 1.0])
    found = boundaries(5, kind=kind, information=times)
    if kind == "lan-demets-pocock":
        expected = 0.05 * np.log(1 + (math.e - 1) * times)
    else:
        expected = 2 * 2 * sps.norm.sf(sps.norm.isf(0.0125) / np.sqrt(times))
    assert found.spent.tolist() == pytest.approx(expected.tolist(), rel=1e-7)


def test_boundaries_do_not_depend_on_the_future_of_a_spending_function() -> None:
    early = boundaries(3, kind="lan-demets-obrien-fleming", information=[0.3, 0.6, 1.0]).critical
    later = boundaries(4, kind="lan-demets-obrien-fleming", information=[0.3, 0.6, 0.601, 1.0]).critical
    assert later[:2].tolist() == pytest.approx(early[:2].tolist(), abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(drift=st.floats(-30, 30), kind=st.sampled_from(KINDS), sides=st.sampled_from([1, 2]), looks=st.integers(1, 8))
def test_power_mirrors_and_stays_within_its_bounds(drift: float, kind: str, sides: int, looks: int) -> None:
    design = boundaries(looks, kind=kind, sides=sides)
    found = sequential_power(design, drift)
    assert isinstance(found, SequentialPower)
    assert 0.0 <= found.power <= 1.0
    assert design.information[0] - 1e-9 <= found.expected_information <= 1.0 + 1e-9
    if sides == 2:
        mirrored = sequential_power(design, -drift)
        assert mirrored.power == pytest.approx(found.power, abs=1e-9)
        assert mirrored.reject_above.tolist() == pytest.approx(found.reject_below.tolist(), abs=1e-9)
    else:
        assert not np.any(found.reject_below)


def test_power_rises_with_the_drift() -> None:
    design = boundaries(6, kind="pocock", sides=1)
    power = [sequential_power(design, x).power for x in np.linspace(-4, 8, 25)]
    assert np.all(np.diff(power) > -1e-12)


def test_a_design_prints_as_a_table() -> None:
    lines = str(boundaries(4)).splitlines()
    assert len(lines) == 5
    assert lines[0].split() == ["information", "critical", "z", "spent"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"looks": 0}, "looks"),
        ({"looks": 101}, "looks"),
        ({"looks": 3, "level": 1.0}, "level"),
        ({"looks": 3, "kind": "haybittle"}, "kind"),
        ({"looks": 3, "sides": 3}, "sides"),
        ({"looks": 3, "kind": "lan-demets-pocock", "information": [0.5, 1.0]}, "one fraction per look"),
        ({"looks": 2, "kind": "lan-demets-pocock", "information": [0.5, 0.9]}, "rise to 1"),
        ({"looks": 2, "kind": "lan-demets-pocock", "information": [0.9999, 1.0]}, "steps of at least"),
        ({"looks": 2, "kind": "pocock", "information": [0.4, 1.0]}, "spending function"),
    ],
    ids=range(9),
)
def test_impossible_designs_are_refused(arguments: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        boundaries(**arguments)


@pytest.mark.parametrize("drift", [math.nan, math.inf, 31.0])
def test_impossible_drifts_are_refused(drift: float) -> None:
    with pytest.raises(ValueError, match="drift"):
        sequential_power(boundaries(2), drift)
