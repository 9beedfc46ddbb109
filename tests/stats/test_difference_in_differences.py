"""Differences in differences against published figures, statsmodels and the paired form of the same question."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import statsmodels.api as sm

from jurat.stats.difference import difference_of_means
from jurat.stats.difference_in_differences import difference_in_differences
from tests.conftest import data_folder


@pytest.fixture(scope="module")
def stores() -> dict[str, np.ndarray]:
    """Fast-food stores in New Jersey and Pennsylvania (Card and Krueger, 1994); both waves list them in one order."""
    with (data_folder("experiments") / "njmin3.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream, delimiter=";"))
    later = np.array([int(r["d"]) for r in rows])
    store = np.empty(len(rows), dtype=int)
    for wave in (0, 1):
        store[later == wave] = np.arange(np.sum(later == wave))
    return {
        "y": np.array([float(r["fte"].replace(",", ".")) if r["fte"] else np.nan for r in rows]),
        "nj": np.array([int(r["nj"]) for r in rows]),
        "later": later,
        "store": store,
    }


def test_case_36_minimum_wages_agree_with_published_figures(stores: dict[str, np.ndarray]) -> None:
    seen = np.isfinite(stores["y"])
    y, nj, later, store = (stores[k][seen] for k in ("y", "nj", "later", "store"))
    found = difference_in_differences(y, nj, later, se="classic")
    assert len(stores["y"]) == 820
    assert found.effect.value == pytest.approx(2.7536057830, rel=1e-10)
    assert found.effect.se == pytest.approx(1.6884091309, rel=1e-10)
    assert difference_in_differences(y, nj, later).effect.se == pytest.approx(1.7954508096, rel=1e-10)
    cells = (found.control_before, found.control_after, found.treated_before, found.treated_after)
    assert [c.value for c in cells] == pytest.approx([23.3312, 21.1656, 20.4394, 21.0274], abs=5e-5)
    clustered = difference_in_differences(y, nj, later, cluster=store).effect
    assert (clustered.method, clustered.n_clusters) == ("DiD, CR1", len(np.unique(store)))


def test_case_36_on_stores_seen_twice_is_welchs_test_of_their_changes(stores: dict[str, np.ndarray]) -> None:
    y, nj, later, store = (stores[k] for k in ("y", "nj", "later", "store"))
    before, after = y[later == 0], y[later == 1]
    twice = np.isfinite(before) & np.isfinite(after)
    kept = twice[store]
    found = difference_in_differences(y[kept], nj[kept], later[kept], cluster=store[kept], se="CR2").effect
    change, group = (after - before)[twice], nj[later == 0][twice]
    welch = difference_of_means(change[group == 1], change[group == 0])
    assert twice.sum() == 384
    assert (found.value, found.se) == pytest.approx((2.75, 1.3423409769), rel=1e-10)
    assert (found.value, found.se) == pytest.approx((welch.value, welch.se), rel=1e-10)


def test_standard_errors_are_those_of_statsmodels() -> None:
    rng = np.random.default_rng(1)
    unit = np.repeat(np.arange(50), 4)
    treated, after = unit < 20, np.tile([0, 0, 1, 1], 50)
    y = rng.normal(size=50)[unit] + treated * after + rng.normal(size=200)
    model = sm.OLS(y, np.column_stack([np.ones(200), treated, after, treated * after]))
    assert difference_in_differences(y, treated, after, se="HC1").effect.se == pytest.approx(
        model.fit(cov_type="HC1").bse[3], rel=1e-10
    )
    clustered = model.fit(cov_type="cluster", cov_kwds={"groups": unit})
    found = difference_in_differences(y, treated, after, cluster=unit, se="CR1").effect
    assert (found.value, found.se) == pytest.approx((clustered.params[3], clustered.bse[3]), rel=1e-10)


def test_few_clusters_choose_cr2_and_one_treated_place_gives_no_bounds() -> None:
    rng = np.random.default_rng(2)
    place = np.repeat(np.arange(10), 6)
    after = np.tile([0, 1], 30)
    y = rng.normal(size=60)
    assert difference_in_differences(y, place < 4, after, cluster=place).effect.method == "DiD, CR2"
    alone = difference_in_differences(y, place < 1, after, cluster=place).effect
    assert alone.value is not None and alone.low is None and alone.high is None
    assert "treated group is one cluster" in alone.reason


def test_case_37_one_treated_state_has_an_estimate_and_no_interval() -> None:
    with (data_folder("experiments") / "prop99.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream, delimiter=";"))
    y = [float(r["PacksPerCapita"]) for r in rows]
    state = np.array([r["State"] for r in rows])
    late = [int(r["Year"]) >= 1989 for r in rows]
    found = difference_in_differences(y, state == "California", late, cluster=state).effect
    assert found.value == pytest.approx(-27.3491110836, rel=1e-10)
    assert found.low is None and found.n_clusters == 39


def test_shifting_the_outcome_changes_nothing() -> None:
    rng = np.random.default_rng(3)
    y, t, a = rng.normal(size=80), np.arange(80) % 2, np.arange(80) // 40
    here, far = (difference_in_differences(y + shift, t, a).effect for shift in (0.0, 1e8))
    assert far.value == pytest.approx(here.value, abs=1e-6)
    assert far.se == pytest.approx(here.se, rel=1e-6)


@pytest.mark.parametrize("se", ["HC1", "CR2"])
def test_intervals_cover_at_their_level(se: str) -> None:
    hits = 0
    unit = np.repeat(np.arange(24), 2)
    after = np.tile([0, 1], 24)
    for seed in range(300):
        rng = np.random.default_rng(seed)
        level = rng.normal(size=24)[unit] if se == "CR2" else 0.0
        y = level + rng.normal(size=48)
        cluster = unit if se == "CR2" else None
        found = difference_in_differences(y, unit < 9, after, cluster=cluster, se=se).effect
        hits += found.low <= 0 <= found.high
    assert 0.915 <= hits / 300 <= 0.98


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"outcome": [1.0, np.inf, 2, 3, 4, 5, 6, 7]}, "row 1"),
        ({"outcome": [[1.0] * 8]}, "vector"),
        ({"treated": [2, 0, 0, 0, 1, 1, 1, 1]}, "treated must be 0 or 1"),
        ({"after": [1] * 8}, "both periods"),
        ({"after": [0, 0, 0, 0, 1, 1, 0, 0]}, "four cells"),
        ({"se": "HC3"}, "HC3"),
        ({"se": "CR1"}, "needs the cluster"),
        ({"se": "HC1", "cluster": [1] * 8}, "rows as independent"),
        ({"cluster": [1, 2]}, "length 8"),
    ],
    ids=["inf", "matrix", "arms", "periods", "cells", "unknown se", "no cluster", "ignored cluster", "short cluster"],
)
def test_impossible_input_is_named(change: dict, said: str) -> None:
    given = {"outcome": np.arange(8.0), "treated": [0, 0, 0, 0, 1, 1, 1, 1], "after": [0, 1] * 4} | change
    outcome, treated, after = (given.pop(k) for k in ("outcome", "treated", "after"))
    with pytest.raises(ValueError, match=said):
        difference_in_differences(outcome, treated, after, **given)


def test_four_rows_say_why_they_have_no_interval() -> None:
    found = difference_in_differences([1.0, 2, 3, 5], [0, 0, 1, 1], [0, 1, 0, 1]).effect
    assert found.value == 1.0 and found.low is None and found.reason
