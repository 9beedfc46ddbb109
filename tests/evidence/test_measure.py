"""Which interval for what: every kind of metric, paired or not, clustered or not, by its own oracle."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from jurat.errors import DataError, UnknownName
from jurat.evidence.measure import contrast, level_of_arm
from jurat.evidence.validity import complete_pairs, sample_ratio
from jurat.metrics.loader import parse_metric
from jurat.metrics.run import Measurement, run
from jurat.stats.compare import difference_of_proportions, paired_proportions
from jurat.stats.difference import clustered_difference, difference_of_means, paired_mean
from jurat.stats.interval import clustered_proportion, proportion
from jurat.stats.mean import mean
from jurat.stats.mover import mover_difference
from jurat.stats.quantile import quantile
from jurat.store.engine import DuckDB

COLUMNS = {
    "proportion": "CAST(COUNT(*) AS BIGINT) AS n, CAST(COUNT(*) FILTER (WHERE y > 0) AS BIGINT) AS k",
    "mean": "CAST(COUNT(*) AS BIGINT) AS n, SUM(y) AS sum, SUM(y * y) AS sum_sq",
    "quantile": "y AS value, CAST(COUNT(*) AS BIGINT) AS n",
    "rate": "day AS period, CAST(COUNT(*) AS BIGINT) AS n",
}


def measured(kind: str, table: pa.Table, *, cluster: bool = False, pair: bool = False) -> Measurement:
    """A metric of a kind, written and run on a table of arm, user, item, day and y."""
    keys = ["arm"] + (["user_id"] if cluster else []) + (["item"] if pair else [])
    keys += {"quantile": ["y"], "rate": ["day"]}.get(kind, [])
    selected = ["arm"] + (["user_id AS cluster"] if cluster else []) + (["item AS pair"] if pair else [])
    text = f"""/*---
title = "T"
question = "Q?"
kind = "{kind}"
better = "higher"
role = "value"
unit = "turn"
cluster = "{"user" if cluster else "none"}"
{'pair = "item"' if pair else ""}
slices = ["arm"]
owner = "o"
source = "s"
{"quantiles = [0.9]" if kind == "quantile" else ""}

[needs.facts]
arm = "string"
user_id = "string"
item = "string"
day = "string"
y = "double"
---*/
SELECT {", ".join(selected)}, {COLUMNS[kind]}
FROM facts
GROUP BY {", ".join(keys)}
"""
    metric = parse_metric("t", text, place="t.sql")
    return run(metric, DuckDB.from_tables({"facts": table}), slices=("arm",))


@pytest.fixture
def facts() -> pa.Table:
    rng = np.random.default_rng(11)
    n = 400
    user = rng.integers(0, 60, n)
    arm = np.where(user % 2 == 0, "a", "b")
    y = np.round(rng.normal(0.2, 1, n) + rng.normal(size=60)[user], 3)
    days = [f"2026-01-{1 + i % 9:02d}" for i in range(n)]
    return pa.table(
        {"arm": arm, "user_id": [f"u{u}" for u in user], "item": [f"i{i}" for i in range(n)], "day": days, "y": y}
    )


def _arm(facts: pa.Table, arm: str) -> tuple[np.ndarray, np.ndarray]:
    keep = np.array(facts["arm"].to_pylist()) == arm
    return facts["y"].to_numpy()[keep], np.array(facts["user_id"].to_pylist())[keep]


def _equal(estimate: object, interval: object) -> None:
    for name in ("n", "n_clusters", "method"):
        assert getattr(estimate, name) == getattr(interval, name), name
    for name in ("value", "low", "high"):
        assert getattr(estimate, name) == pytest.approx(getattr(interval, name), rel=1e-9), name


def test_independent_shares_are_wilson_and_newcombe(facts: pa.Table) -> None:
    m = measured("proportion", facts)
    (a, _), (b, _) = _arm(facts, "a"), _arm(facts, "b")
    _equal(level_of_arm(m, arm_column="arm", arm="a"), proportion(int((a > 0).sum()), len(a)))
    expected = difference_of_proportions(int((a > 0).sum()), len(a), int((b > 0).sum()), len(b))
    _equal(contrast(m, arm_column="arm", candidate="a", baseline="b"), expected)


def test_small_or_extreme_shares_are_clopper_pearson(facts: pa.Table) -> None:
    few = measured("proportion", facts.slice(0, 30))
    assert level_of_arm(few, arm_column="arm", arm="a").method == "Clopper–Pearson"
    none = measured("proportion", facts.set_column(4, "y", pa.array([-1.0] * 400)))
    assert level_of_arm(none, arm_column="arm", arm="a").method == "Clopper–Pearson"


def test_clustered_shares_use_the_design_effect_and_mover(facts: pa.Table) -> None:
    m = measured("proportion", facts, cluster=True)
    parts = []
    for arm in "ab":
        y, user = _arm(facts, arm)
        codes = np.unique(user, return_inverse=True)[1]
        parts.append(clustered_proportion(np.bincount(codes, weights=y > 0), np.bincount(codes)))
        _equal(level_of_arm(m, arm_column="arm", arm=arm), parts[-1])
    _equal(contrast(m, arm_column="arm", candidate="a", baseline="b"), mover_difference(*parts))


def test_means_are_t_welch_or_clustered(facts: pa.Table) -> None:
    (a, ua), (b, ub) = _arm(facts, "a"), _arm(facts, "b")
    m = measured("mean", facts)
    _equal(level_of_arm(m, arm_column="arm", arm="a"), mean(a))
    clustered = measured("mean", facts, cluster=True)
    sums = []
    for y, user in ((a, ua), (b, ub)):
        codes = np.unique(user, return_inverse=True)[1]
        sums += [np.bincount(codes), np.bincount(codes, weights=y)]
    _equal(contrast(clustered, arm_column="arm", candidate="a", baseline="b"), clustered_difference(*sums))


def test_quantiles_come_from_the_histogram_and_their_difference_from_mover(facts: pa.Table) -> None:
    m = measured("quantile", facts)
    parts = [quantile(_arm(facts, arm)[0], 0.9) for arm in "ab"]
    _equal(level_of_arm(m, arm_column="arm", arm="a"), parts[0])
    _equal(contrast(m, arm_column="arm", candidate="a", baseline="b"), mover_difference(*parts))


def test_rates_are_means_over_periods(facts: pa.Table) -> None:
    m = measured("rate", facts)
    counts = {
        arm: np.unique(
            np.array(facts["day"].to_pylist())[np.array(facts["arm"].to_pylist()) == arm], return_counts=True
        )[1]
        for arm in "ab"
    }
    _equal(level_of_arm(m, arm_column="arm", arm="a"), mean(counts["a"].astype(float)))
    expected = difference_of_means(counts["a"].astype(float), counts["b"].astype(float))
    _equal(contrast(m, arm_column="arm", candidate="a", baseline="b"), expected)


def _paired(y: np.ndarray, z: np.ndarray) -> pa.Table:
    n = len(y)
    items = [f"i{i:03d}" for i in range(n)]
    order = np.random.default_rng(0).permutation(2 * n)
    table = pa.table({
        "arm": ["a"] * n + ["b"] * n, "user_id": ["u"] * 2 * n, "item": items + items, "day": ["d"] * 2 * n,
        "y": np.r_[y, z],
    })  # fmt: skip
    return table.take(pa.array(order))


def test_paired_shares_are_tango_whatever_the_order_of_rows() -> None:
    rng = np.random.default_rng(1)
    y, z = (rng.random(90) < 0.7).astype(float), (rng.random(90) < 0.5).astype(float)
    found = contrast(measured("proportion", _paired(y, z), pair=True), arm_column="arm", candidate="a", baseline="b")
    cells = [int(np.sum((y == i) & (z == j))) for i, j in ((1, 1), (1, 0), (0, 1), (0, 0))]
    _equal(found, paired_proportions(*cells))
    assert found.contrast is not None and found.contrast.paired


def test_paired_means_are_t_on_differences() -> None:
    rng = np.random.default_rng(2)
    y, z = rng.normal(size=40), rng.normal(size=40)
    found = contrast(measured("mean", _paired(y, z), pair=True), arm_column="arm", candidate="a", baseline="b")
    _equal(found, paired_mean(y, z))


def test_units_that_differ_between_the_arms_are_refused_with_their_names() -> None:
    table = _paired(np.ones(5), np.zeros(5))
    table = table.filter(pa.array([not (r["arm"] == "b" and r["item"] == "i002") for r in table.to_pylist()]))
    with pytest.raises(DataError, match="'i002'"):
        contrast(measured("proportion", table, pair=True), arm_column="arm", candidate="a", baseline="b")


def test_an_unknown_arm_is_refused_with_the_known_ones(facts: pa.Table) -> None:
    with pytest.raises(UnknownName, match="known: a, b"):
        level_of_arm(measured("mean", facts), arm_column="arm", arm="c")


def test_a_threshold_is_decided_as_its_interval_decides_it(facts: pa.Table) -> None:
    m = measured("mean", facts, cluster=True)
    plain = contrast(m, arm_column="arm", candidate="a", baseline="b")
    assert plain.low is not None and plain.high is not None
    for null in np.linspace(plain.low - 0.3, plain.high + 0.3, 13):
        held = contrast(m, arm_column="arm", candidate="a", baseline="b", threshold=float(null)).threshold
        assert held is not None
        assert (held.p_greater < 0.025) == (plain.low > null)
        assert (held.p_less < 0.025) == (plain.high < null)


def test_sample_ratio_reference_digits() -> None:
    check = sample_ratio({"a": 10_000, "b": 10_500}, {"a": 1, "b": 1})
    assert check.p_value == pytest.approx(4.7914643e-4, rel=1e-7)
    assert not check.passed
    assert sample_ratio({"a": 10_000, "b": 10_100}, {"a": 1, "b": 1}).passed


def test_sample_ratio_refuses_arms_nobody_planned_and_empty_data() -> None:
    with pytest.raises(UnknownName, match="unknown arm"):
        sample_ratio({"a": 5, "c": 5}, {"a": 1, "b": 1})
    with pytest.raises(DataError, match="nothing to test"):
        sample_ratio({"a": 0}, {"a": 1})


def test_a_unit_that_stands_twice_breaks_the_pairs() -> None:
    check = complete_pairs({"a": ["q", "q"], "b": ["q"]}, unit="prompt")
    assert not check.passed and "more than once" in check.detail


def test_two_arms_without_an_event_in_clusters_do_not_look_certain_to_be_equal() -> None:
    table = _paired(np.zeros(60), np.zeros(60))
    users = pa.array([f"u{int(item[1:]) % 12}" for item in table["item"].to_pylist()])
    table = table.set_column(1, "user_id", users)
    found = contrast(
        measured("proportion", table, cluster=True, pair=True),
        arm_column="arm",
        candidate="a",
        baseline="b",
        threshold=0.02,
    )
    assert found.low is not None and found.high is not None
    assert found.low < -0.05 and found.high > 0.05 and found.n_clusters == 12


def test_units_that_are_all_alike_give_a_value_without_bounds() -> None:
    alike = pa.table(
        {"arm": ["a"] * 9, "user_id": ["u"] * 9, "item": list("abcdefghi"), "day": ["d"] * 9, "y": [1.0] * 9}
    )
    found = level_of_arm(measured("mean", alike), arm_column="arm", arm="a", threshold=0.5)
    assert found.value == 1.0 and found.low is None and found.high is None
    assert "no spread" in (found.reason or "")
    assert found.threshold is not None and found.threshold.p_greater == 1.0
