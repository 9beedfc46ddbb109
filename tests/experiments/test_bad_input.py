"""Bad input gets a clear error or a verdict that holds back: never a silent number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from jurat.errors import DataError, EngineError, JuratError, SpecError, UnknownName
from jurat.evidence.keys import SigningKey
from jurat.experiments.analyse import Analysis, analyse_file
from jurat.experiments.monitor import monitor
from jurat.experiments.registration import load_lock, lock_spec, standing
from jurat.experiments.spec import load_spec
from tests.experiments.case import opened, users_table, write_case

RATE = {"kind": "ratio", "value": "num", "per": "den", "better": "higher"}


def replaced(table: pa.Table, name: str, values: Any) -> pa.Table:
    column = values if isinstance(values, pa.Array) else pa.array(values, from_pandas=False)
    place = table.schema.get_field_index(name)
    return table.append_column(name, column) if place < 0 else table.set_column(place, name, column)


def with_first(table: pa.Table, name: str, value: Any) -> pa.Table:
    """Put a value into the first row of a column."""
    return replaced(table, name, pa.array([value, *table[name].to_pylist()[1:]], from_pandas=False))


def analysed(folder: Path, table: pa.Table, **changes: Any) -> Analysis:
    return analyse_file(write_case(folder, {"outcomes": table}, **changes))


def refused(folder: Path, table: pa.Table, kind: type[JuratError] = DataError, **changes: Any) -> JuratError:
    """The refusal, which names what is wrong, what was seen, and the next step."""
    with pytest.raises(kind) as caught:
        analysed(folder, table, **changes)
    assert caught.value.what and caught.value.seen and caught.value.next_step
    return caught.value


# Unknown metric or column.


@pytest.mark.parametrize(
    ("changes", "name", "place"),
    [
        ({"metrics__y__value": "yy"}, "yy", "metrics.y"),
        ({"metrics__y__value": "CASE WHEN barred THEN 1 ELSE 0 END"}, "barred", "metrics.y"),
        ({"metrics__y__covariates": ["xx"]}, "xx", "metrics.y"),
        ({"metrics__rate": {**RATE, "per": "dem"}}, "dem", "metrics.rate"),
        ({"assignment__unit": "usr"}, "usr", "assignment.unit"),
        ({"assignment__arm": "arms"}, "arms", "assignment.arm"),
        ({"inference__cluster": "users"}, "users", "inference.cluster"),
        ({"inference__crossed": "items"}, "items", "inference.crossed"),
        ({"data__time": "days"}, "days", "data.time"),
        ({"simpson__stratifiers": ["strata"]}, "strata", "simpson.stratifiers"),
        ({"treatment__fingerprint": ["model"]}, "model", "treatment.fingerprint"),
        ({"population__where": "country = 'x'"}, "country", "population.where"),
    ],
)
def test_an_unknown_column_is_named_with_its_place_and_near_names(
    tmp_path: Path, changes: dict[str, Any], name: str, place: str
) -> None:
    found = refused(tmp_path, users_table(40, 1), UnknownName, **changes)
    assert "unknown column" in found.what and place in found.what and "experiment.toml" in found.what
    assert found.seen == repr(name)
    assert "known: " in str(found.next_step)


def test_an_unknown_metric_is_named_with_near_ones(tmp_path: Path) -> None:
    bar = {
        "name": "bar",
        "value": {"metric": "why", "test": "superior"},
        "risk": {"metric": "bad", "test": "noninferior", "margin": "+5pp", "rationale": "r"},
    }
    found = refused(tmp_path, users_table(40, 1), UnknownName, bar=[bar])
    assert "bar / value: unknown metric" in found.what and found.seen == "'why'"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    found = refused(tmp_path, users_table(40, 1), data__outcomes="results.parquet")
    assert found.what == "no file for the outcomes" and "results.parquet" in str(found.seen)


# Arms.


def test_an_arm_that_is_missing_is_named(tmp_path: Path) -> None:
    table = users_table(60, 1)
    table = table.filter(pa.array(np.array(table["arm"].to_pylist()) == "a"))
    found = refused(tmp_path, table)
    assert found.what == "the arm b has no rows" and str(found.seen).startswith("a: ")


@pytest.mark.parametrize("cluster", ["user", "none", "org"])
def test_no_rows_at_all_are_told(tmp_path: Path, cluster: str) -> None:
    table = users_table(40, 1)
    table = replaced(table, "org", np.arange(table.num_rows) % 7).slice(0, 0)
    assert "has no rows" in refused(tmp_path, table, inference__cluster=cluster).what


@pytest.mark.parametrize("cluster", ["user", "none"])
def test_an_arm_that_the_spec_does_not_know_is_named(tmp_path: Path, cluster: str) -> None:
    found = refused(tmp_path, with_first(users_table(60, 1), "arm", "c"), inference__cluster=cluster)
    assert found.what == "the data hold an arm that the spec does not know"
    assert "'c' with 1 rows; the spec has a, b" in str(found.seen)


@pytest.mark.parametrize("cluster", ["user", "none"])
def test_an_arm_that_is_null_is_counted(tmp_path: Path, cluster: str) -> None:
    found = refused(tmp_path, with_first(users_table(60, 1), "arm", None), inference__cluster=cluster)
    assert found.what.startswith("1 rows have no arm")


# Clusters.


@pytest.mark.parametrize("column", ["user", "org"])
def test_a_cluster_that_is_null_is_counted(tmp_path: Path, column: str) -> None:
    table = users_table(60, 1)
    table = replaced(table, "org", [f"o{i % 9}" for i in range(table.num_rows)])
    found = refused(tmp_path, with_first(table, column, None), inference__cluster=column)
    assert found.what == f"1 rows have no arm or no {column}"
    assert "population.where" in str(found.next_step)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"metrics__y__covariates": ["x"], "checks": ["preperiod_balance", "missing_outcomes"]},
        {"metrics__rate": RATE},
        {"metrics__q": {"kind": "quantile", "value": "y", "q": 0.5, "better": "higher"}},
    ],
    ids=["mean", "covariate", "ratio", "quantile"],
)
def test_one_cluster_in_an_arm_has_no_error_and_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    table = users_table(200, 1)
    kept = [a == "a" or u == "u1" for a, u in zip(table["arm"].to_pylist(), table["user"].to_pylist(), strict=True)]
    found = refused(tmp_path, table.filter(pa.array(kept)), **changes)
    assert found.what.startswith("the arm b has one cluster (user)")
    assert "in 1 cluster" in str(found.seen) and "bring more clusters" in str(found.next_step)


def test_one_cluster_for_both_arms_is_refused(tmp_path: Path) -> None:
    table = users_table(60, 1)
    table = replaced(table, "org", ["o"] * table.num_rows)
    assert "has one cluster (org)" in refused(tmp_path, table, inference__cluster="org").what


# Values without spread.


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e8 + 0.1, -7.0])
@pytest.mark.parametrize("covariates", [[], ["x"]], ids=["plain", "cuped"])
def test_values_that_are_all_alike_decide_nothing(tmp_path: Path, constant: float, covariates: list[str]) -> None:
    table = replaced(users_table(300, 1), "y", np.full(users_table(300, 1).num_rows, constant))
    found = analysed(tmp_path, table, metrics__y__covariates=covariates)
    effect = found.effect("y", "b").effect
    assert effect.low is None and effect.high is None
    assert "no spread" in str(effect.reason)
    value = next(j for j in found.judged if j.claim.metric == "y")
    assert value.outcome == "undecided" and value.p_value == 1.0
    assert found.answer == "not enough evidence"


def test_a_ratio_of_columns_in_proportion_decides_nothing(tmp_path: Path) -> None:
    table = users_table(300, 1)
    table = replaced(table, "num", table["den"].to_numpy() * 0.3)
    effect = analysed(tmp_path, table, metrics__rate=RATE).effect("rate", "b").effect
    assert effect.low is None and "no spread" in str(effect.reason)


@pytest.mark.parametrize("events", [False, True], ids=["none", "all"])
@pytest.mark.parametrize("method", ["fixed", "confidence_sequence"])
def test_events_that_never_or_always_happen_keep_an_interval_with_width(
    tmp_path: Path, events: bool, method: str
) -> None:
    table = users_table(300, 1)
    table = replaced(table, "bad", np.full(table.num_rows, events))
    found = analysed(tmp_path, table, inference__method=method, inference__planned_clusters=300)
    effect = found.effect("bad", "b").deciding
    assert effect.value == pytest.approx(0, abs=1e-12)
    assert effect.low is not None and effect.high is not None
    # Three hundred users cannot rule out a share of three in the number of users of an arm.
    assert effect.high - effect.low > 2 * 3 / 300


# Values that a metric cannot hold.


@pytest.mark.parametrize("cluster", ["user", "none"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")], ids=["nan", "inf", "minus inf"])
@pytest.mark.parametrize("column", ["y", "x", "num", "den"])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, cluster: str, value: float, column: str) -> None:
    changes: dict[str, Any] = {"metrics__y__covariates": ["x"], "metrics__rate": RATE, "inference__cluster": cluster}
    found = refused(tmp_path, with_first(users_table(40, 1), column, value), **changes)
    assert found.what == "a metric holds values that are not finite"
    assert "leave unknown values null" in str(found.next_step)


def test_values_whose_squares_no_double_can_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(JuratError) as caught:
        analysed(tmp_path, with_first(users_table(40, 1), "y", 1e200))
    assert caught.value.seen and caught.value.next_step


@pytest.mark.parametrize(
    ("metric", "column"),
    [
        ({"kind": "mean", "value": "num", "better": "lower", "non_negative": True}, "num"),
        ({**RATE, "non_negative": True}, "num"),
        ({**RATE, "non_negative": True}, "den"),
        ({"kind": "quantile", "value": "num", "q": 0.5, "better": "lower", "non_negative": True}, "num"),
    ],
    ids=["mean", "numerator", "denominator", "quantile"],
)
def test_values_below_zero_are_refused_where_the_spec_rules_them_out(
    tmp_path: Path, metric: dict[str, Any], column: str
) -> None:
    found = refused(tmp_path, with_first(users_table(40, 1), column, -0.5), metrics__m=metric)
    assert found.what == "the metric m holds values that it cannot have"
    assert "below 0" in str(found.seen)


@pytest.mark.parametrize("value", [0.5, 2.0, -1.0, float("nan")])
def test_a_share_of_something_else_than_zero_and_one_is_refused(tmp_path: Path, value: float) -> None:
    table = users_table(40, 1)
    table = with_first(replaced(table, "bad", table["bad"].to_numpy(zero_copy_only=False).astype(float)), "bad", value)
    found = refused(tmp_path, table)
    assert found.what == "the metric bad holds values that it cannot have"
    assert found.seen == "1 rows neither 0 nor 1"


def test_a_metric_of_text_is_refused_with_the_text(tmp_path: Path) -> None:
    metric = {"kind": "mean", "value": "stratum", "better": "higher"}
    found = refused(tmp_path, users_table(40, 1), EngineError, metrics__m=metric)
    assert "stratum" in str(found.seen) and "DOUBLE" in str(found.seen)


@pytest.mark.parametrize("arm", ["a", "b"])
def test_a_metric_that_an_arm_never_has_is_refused(tmp_path: Path, arm: str) -> None:
    table = users_table(60, 1)
    empty = np.array(table["arm"].to_pylist()) == arm
    table = replaced(table, "m", pa.array(np.ones(table.num_rows), mask=empty))
    found = refused(tmp_path, table, metrics__m={"kind": "mean", "value": "m", "better": "higher"})
    assert found.what == "the metric m has nothing to divide by" and f"of {arm} is zero" in str(found.seen)


def test_a_ratio_over_nothing_is_refused(tmp_path: Path) -> None:
    table = users_table(60, 1)
    found = refused(tmp_path, replaced(table, "den", np.zeros(table.num_rows)), metrics__rate=RATE)
    assert found.what == "the metric rate has nothing to divide by"


# Shares, margins.


def test_shares_that_do_not_add_up_are_refused(tmp_path: Path) -> None:
    found = refused(tmp_path, users_table(40, 1), SpecError, assignment__arms={"a": 0.5, "b": 0.4})
    assert "add up to one" in found.what and "sum 0.9" in str(found.seen)


@pytest.mark.parametrize(("margin", "side"), [("-5pp", "above 0"), (-0.05, "above 0"), (0.0, "above 0")])
def test_a_margin_of_the_wrong_sign_is_refused(tmp_path: Path, margin: str | float, side: str) -> None:
    risk = {"metric": "bad", "test": "noninferior", "margin": margin, "rationale": "r"}
    bar = {"name": "bar", "value": {"metric": "y", "test": "superior"}, "risk": risk}
    found = refused(tmp_path, users_table(40, 1), SpecError, bar=[bar])
    assert "bar / risk: the margin has the wrong sign" in found.what
    assert "better = 'lower'" in str(found.seen) and side in str(found.next_step)


def test_a_risk_without_a_margin_is_refused(tmp_path: Path) -> None:
    bar = {
        "name": "bar",
        "value": {"metric": "y", "test": "superior"},
        "risk": {"metric": "bad", "test": "noninferior", "rationale": "r"},
    }
    found = refused(tmp_path, users_table(40, 1), SpecError, bar=[bar])
    assert "bar / risk: a non-inferiority test needs its margin" in found.what and found.seen == "no margin"


# Time: outcomes before exposure, looks before the minimum.


def exposed(table: pa.Table, first: str) -> pa.Table:
    users = sorted(set(table["user"].to_pylist()), key=lambda u: int(u[1:]))
    at = np.full(len(users), np.datetime64(first, "us"))
    return pa.table({"user": users, "arm": ["ab"[int(u[1:]) % 2] for u in users], "day": pa.array(at)})


def test_outcomes_from_before_the_exposure_void_the_comparison(tmp_path: Path) -> None:
    table = users_table(200, 1)
    tables = {"outcomes": table, "exposures": exposed(table, "2026-03-05T00:00:00")}
    changes = {"data__exposures": "exposures.parquet", "data__time": "day", "checks": ["exposure"]}
    found = analyse_file(write_case(tmp_path, tables, **changes))
    assert found.answer == "invalid"
    early = int((table["day"].to_numpy() < np.datetime64("2026-03-05")).sum())
    assert f"{early:,} from before their unit's first exposure" in found.verdicts[0].reasons[0]


def test_exposures_after_every_outcome_leave_no_rows(tmp_path: Path) -> None:
    table = users_table(200, 1)
    tables = {"outcomes": table, "exposures": exposed(table, "2027-01-01T00:00:00")}
    changes = {"data__exposures": "exposures.parquet", "data__time": "day", "checks": ["exposure"]}
    with pytest.raises(DataError, match="has no rows"):
        analyse_file(write_case(tmp_path, tables, **changes))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"data__time": "day", "stopping__minimum_days": 12}, "day 10 of at least 12"),
        ({"stopping__minimum_clusters": 500}, "400 clusters of at least 500"),
        ({"inference__planned_clusters": 900}, "due at 900 clusters and there are 400"),
        (
            {"inference__method": "group_sequential", "inference__planned_clusters": 4_000},
            "the first of 5 looks is due at 800 clusters",
        ),
    ],
    ids=["days", "clusters", "fixed horizon", "group sequential"],
)
def test_a_look_before_the_minimum_never_passes(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    table = users_table(400, 1, effect=1.0, bad=0.02)
    assert analysed(tmp_path / "due", table).answer == "pass"
    found = analysed(tmp_path / "early", table, **changes)
    assert found.answer == "not enough evidence"
    assert any(reason in r for r in found.verdicts[0].reasons)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"inference__method": "fixed", "data__time": "day"}, "does not allow daily looks"),
        ({"inference__method": "confidence_sequence"}, "needs the time of the outcomes"),
    ],
)
def test_looks_that_the_spec_does_not_allow_are_refused(tmp_path: Path, changes: dict[str, Any], what: str) -> None:
    experiment, data = opened(tmp_path, {"outcomes": users_table(60, 1)}, **changes)
    with pytest.raises(SpecError, match=what):
        monitor(experiment, data)


# A spec changed after its lock.


KEY = SigningKey.generate()


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JURAT_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    path = write_case(tmp_path / "case", {"outcomes": users_table(200, 1)})
    lock_spec(load_spec(path), KEY, underpowered="a test")
    return path


def test_a_spec_changed_after_its_lock_makes_results_exploratory(locked: Path) -> None:
    assert standing(load_lock(load_spec(locked)), "2999-01-01")[0] == "confirmatory"
    locked.write_text(locked.read_text(encoding="utf-8").replace("+5pp", "+50pp"), encoding="utf-8")
    found = analyse_file(locked)
    assert found.lock is not None and not found.lock.holds
    status, why = standing(found.lock, "2999-01-01")
    assert status == "exploratory" and "edited after version 1 was locked" in why


def test_a_spec_locked_after_the_first_outcome_is_exploratory(locked: Path) -> None:
    status, why = standing(load_lock(load_spec(locked)), "2020-01-01")
    assert status == "exploratory" and "after the first outcome of 2020-01-01" in why


def test_a_lock_is_not_made_twice_and_a_changed_spec_needs_to_say_again(locked: Path) -> None:
    with pytest.raises(JuratError, match="locked already"):
        lock_spec(load_spec(locked), KEY, underpowered="a test")
    locked.write_text(locked.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    with pytest.raises(JuratError, match="an earlier version of the spec is locked"):
        lock_spec(load_spec(locked), KEY, underpowered="a test")
    lock, _ = lock_spec(load_spec(locked), KEY, again=True, underpowered="a test")
    assert lock.version == 2 and lock.holds


# Strata that are none.


def test_a_stratifier_of_very_many_values_is_refused(tmp_path: Path) -> None:
    found = refused(tmp_path, users_table(60, 1), simpson__stratifiers=["user"])
    assert "more than 20 values" in found.what and "u0" in str(found.seen)


def test_a_stratifier_that_no_two_arms_share_is_refused(tmp_path: Path) -> None:
    found = refused(tmp_path, users_table(60, 1), simpson__stratifiers=["arm"])
    assert found.what == "no value of arm stands in both arms" and found.seen == "a, b"
