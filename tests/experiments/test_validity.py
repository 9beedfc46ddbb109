"""Every flaw that can be planted is caught and voids the comparison; a clean experiment raises no alarm."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from jurat.experiments.analyse import Analysis, analyse
from jurat.experiments.data import open_data
from jurat.experiments.effects import scan_scorecard
from jurat.experiments.spec import CHECKS, load_spec
from jurat.experiments.validity import ValidityCheck, run_checks
from jurat.simulate.experiment import FLAWS, ExperimentParameters, simulate_experiment, write_experiment
from tests.experiments.case import users_table, write_case

Edit = Callable[[str], str]
Change = Callable[[dict[str, pa.Table]], None]


def planted(
    folder: Path,
    flaws: tuple[str, ...] = (),
    *,
    users: int = 2_000,
    seed: int = 1,
    edit: Edit = str,
    change: Change = lambda _: None,
    **parameters: float,
) -> Path:
    """Write a world, with its spec and its tables changed; returns the spec."""
    p = ExperimentParameters(**{"conversations": 3.0, **parameters})
    world = simulate_experiment(users=users, seed=seed, flaws=flaws, parameters=p)
    tables = dict(world.tables)
    change(tables)
    write_experiment(replace(world, tables=tables), folder)
    spec = folder / "experiment.toml"
    spec.write_text(edit(spec.read_text(encoding="utf-8")), encoding="utf-8")
    return spec


def analysed(spec: Path, *, panels: bool = False) -> Analysis:
    experiment = load_spec(spec)
    data = open_data(experiment)
    try:
        return analyse(experiment, data, panels=panels)
    finally:
        data.close()


def checked(spec: Path) -> dict[str, ValidityCheck]:
    experiment = load_spec(spec)
    data = open_data(experiment)
    try:
        return {check.name: check for check in run_checks(scan_scorecard(experiment, data))}
    finally:
        data.close()


def with_groups(text: str) -> str:
    """Analyse by organisation, and ask for the check of spill-over."""
    return (
        text.replace('"preperiod_balance",', '"preperiod_balance", "spillover",')
        .replace('unit = "user_id"', 'unit = "user_id"\ngroup = "org_id"')
        .replace('cluster = "user_id"', 'cluster = "org_id"')
    )


def column(table: pa.Table, name: str, values: object) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, values)


CAUGHT: dict[str, tuple[str, dict[str, object], str]] = {
    "sample_ratio": ("sample_ratio", {"users": 9_000, "conversations": 1.5}, "do not agree with the planned 0.5 : 0.5"),
    "fingerprint": ("fingerprint", {}, "filter_version of treatment was v7 and v7.1, first on 2026-03-09"),
    "contamination": ("retrain_contamination", {}, "treatment "),
    "judge_drift": ("judge_anchor", {}, "from 2026-03-09 on"),
    "missing": ("missing_outcomes", {}, "helpful is missing in "),
    "both_arms": ("multiple_exposure", {}, "were in more than one arm, for example"),
    "interference": (
        "spillover",
        {"users": 3_000, "edit": with_groups, "helpful_effect": 0.2, "spill_over": 1.0},
        "helpful of control units changes by +",
    ),
}


@pytest.mark.parametrize("flaw", sorted(CAUGHT))
def test_a_planted_flaw_fails_its_check_and_voids_the_comparison(tmp_path: Path, flaw: str) -> None:
    check, options, seen = CAUGHT[flaw]
    found = analysed(planted(tmp_path / "w", (flaw,), **options))  # type: ignore[arg-type]
    failed = {c.name: c for c in found.checks if c.status == "failed"}
    assert check in failed
    assert seen in failed[check].detail
    assert found.answer == "invalid" and not found.valid
    # No effect without its warning: the reasons of the verdict are the checks, not the claims.
    assert found.verdicts[0].reasons == tuple(f"{c.name}: {c.detail}" for c in failed.values())


def test_flaws_that_no_check_voids_are_caught_by_strata_and_by_drift() -> None:
    """An effect that fades is an effect, and unequal mixes can be standardised: see test_drift and test_simpson."""
    assert set(FLAWS) - set(CAUGHT) == {"fading", "simpson"}


def test_an_effect_that_fades_is_said_and_does_not_pass(tmp_path: Path) -> None:
    found = analysed(planted(tmp_path / "w", ("fading",), users=3_000, helpful_effect=0.3), panels=True)
    assert found.valid
    assert next(d for d in found.drifts if d.metric == "helpful").verdict == "fading"


def test_arms_with_another_mix_are_held_back_with_the_reason(tmp_path: Path) -> None:
    found = analysed(planted(tmp_path / "w", ("simpson",)), panels=True)
    assert found.answer == "not enough evidence"
    assert any("helpful by intent" in reason and "mix" in reason for reason in found.verdicts[0].reasons)


@pytest.mark.parametrize("seed", range(20, 28))
def test_a_clean_experiment_raises_no_alarm(tmp_path: Path, seed: int) -> None:
    found = checked(planted(tmp_path / "w", seed=seed))
    assert {c.status for c in found.values()} == {"passed"}, [c.detail for c in found.values()]
    assert list(found) == [c for c in CHECKS if c in found]


def test_a_clean_experiment_of_organisations_raises_no_alarm_of_spill_over(tmp_path: Path) -> None:
    found = checked(planted(tmp_path / "w", edit=with_groups))
    assert found["spillover"].status == "passed"


def test_checks_are_made_in_their_order_whatever_the_order_in_the_file(tmp_path: Path) -> None:
    def reversed_order(text: str) -> str:
        start, end = text.index("checks = ["), text.index("]", text.index("checks = ["))
        names = [n for n in CHECKS if n != "spillover"]
        return text[:start] + "checks = [" + ", ".join(f'"{n}"' for n in reversed(names)) + text[end:]

    found = checked(planted(tmp_path / "w", users=300, edit=reversed_order))
    assert list(found) == [c for c in CHECKS if c != "spillover"]
    assert CHECKS[:6] == (
        "sample_ratio", "exposure", "multiple_exposure", "fingerprint", "retrain_contamination", "judge_anchor",
    )  # fmt: skip


def test_reasons_stand_in_the_order_of_the_checks(tmp_path: Path) -> None:
    found = analysed(planted(tmp_path / "w", ("missing", "judge_drift", "fingerprint", "both_arms")))
    names = [reason.split(":")[0] for reason in found.verdicts[0].reasons]
    assert names == [c for c in CHECKS if c in names]
    assert {"multiple_exposure", "fingerprint", "judge_anchor", "missing_outcomes"} <= set(names)


# What the data do not allow is not assessed, and that is no pass.


@pytest.mark.parametrize(
    ("check", "why"),
    [
        ("exposure", "no exposures with a time"),
        ("fingerprint", "no columns that make up a treatment"),
        ("retrain_contamination", "lineage is unknown"),
        ("judge_anchor", "no anchor set"),
        ("preperiod_balance", "no metric has a covariate"),
    ],
)
def test_what_was_asked_for_and_cannot_be_assessed_holds_a_pass_back(tmp_path: Path, check: str, why: str) -> None:
    table = users_table(400, 1, effect=1.0, bad=0.02)
    plain = analysed(write_case(tmp_path / "plain", {"outcomes": table}))
    assert plain.answer == "pass"
    found = analysed(write_case(tmp_path / "asked", {"outcomes": table}, checks=["multiple_exposure", check]))
    assert found.answer == "not enough evidence"
    assert next(c for c in found.checks if c.name == check).status == "not assessed"
    (reason,) = found.verdicts[0].reasons
    assert reason.startswith(f"{check} was asked for and is not assessed") and why in reason


def test_training_rows_without_a_shared_identifier_are_not_assessed(tmp_path: Path) -> None:
    def rename(tables: dict[str, pa.Table]) -> None:
        names = ["row" if c == "conversation_id" else c for c in tables["training"].column_names]
        tables["training"] = tables["training"].rename_columns(names)

    found = checked(planted(tmp_path / "w", users=300, change=rename))
    assert found["retrain_contamination"].status == "not assessed"


def test_an_anchor_set_scored_on_one_day_is_not_assessed(tmp_path: Path) -> None:
    def first_day(tables: dict[str, pa.Table]) -> None:
        tables["anchor"] = tables["anchor"].slice(0, 200)

    found = checked(planted(tmp_path / "w", users=300, change=first_day))["judge_anchor"]
    assert found.status == "not assessed" and "one day only" in found.detail


def test_an_anchor_without_scores_is_not_assessed(tmp_path: Path) -> None:
    def lose(tables: dict[str, pa.Table]) -> None:
        tables["anchor"] = tables["anchor"].drop_columns(["score"])

    found = checked(planted(tmp_path / "w", users=300, change=lose))["judge_anchor"]
    assert found.status == "not assessed" and "lacks score" in found.detail


# Single checks, at their edges.


def test_a_judge_that_moves_every_item_by_as_much_is_caught(tmp_path: Path) -> None:
    def lift(tables: dict[str, pa.Table]) -> None:
        late = np.repeat(np.arange(14), 200) >= 7
        tables["anchor"] = column(tables["anchor"], "score", pa.array(np.where(late, 0.75, 0.5)))

    found = checked(planted(tmp_path / "w", users=300, change=lift))["judge_anchor"]
    assert found.status == "failed"
    assert "+25.0 points" in found.detail and "2026-03-09" in found.detail


def test_a_judge_that_never_moves_passes(tmp_path: Path) -> None:
    def still(tables: dict[str, pa.Table]) -> None:
        tables["anchor"] = column(tables["anchor"], "score", pa.array(np.full(14 * 200, 0.5)))

    assert checked(planted(tmp_path / "w", users=300, change=still))["judge_anchor"].status == "passed"


def test_anchor_scores_that_are_null_are_left_out(tmp_path: Path) -> None:
    def holes(tables: dict[str, pa.Table]) -> None:
        mask = np.arange(14 * 200) % 7 == 0
        score = tables["anchor"]["score"].to_numpy()
        tables["anchor"] = column(tables["anchor"], "score", pa.array(score, mask=mask))

    found = checked(planted(tmp_path / "w", users=300, change=holes))["judge_anchor"]
    assert found.status == "passed" and found.n == int((np.arange(14 * 200) % 7 != 0).sum())


def earlier(tables: dict[str, pa.Table]) -> None:
    """Fifty outcomes come a month before their unit met its arm."""
    ts = tables["outcomes"]["ts"].to_numpy().copy()
    ts[:50] -= np.timedelta64(30, "D")
    tables["outcomes"] = column(tables["outcomes"], "ts", pa.array(ts, pa.timestamp("us", tz="UTC")))


def test_outcomes_from_before_the_exposure_void_the_comparison(tmp_path: Path) -> None:
    found = analysed(planted(tmp_path / "w", users=500, change=earlier))
    assert found.answer == "invalid"
    assert "exposure: " in found.verdicts[0].reasons[0] and "50 from before" in found.verdicts[0].reasons[0]


def test_outcomes_from_before_the_exposure_are_left_out_where_the_spec_says_so(tmp_path: Path) -> None:
    def exclude(text: str) -> str:
        return text.replace('time = "ts"', 'time = "ts"\nbefore_exposure = "exclude"')

    plain = analysed(planted(tmp_path / "plain", users=500))
    found = analysed(planted(tmp_path / "w", users=500, edit=exclude, change=earlier))
    check = next(c for c in found.checks if c.name == "exposure")
    assert check.status == "passed" and "50 from before" in check.detail and "left out" in check.detail
    assert sum(found.window.rows.values()) == sum(plain.window.rows.values()) - 50


def test_an_exposure_without_a_time_loses_rows_and_is_not_passed_over(tmp_path: Path) -> None:
    def undated(tables: dict[str, pa.Table]) -> None:
        exposures = tables["exposures"]
        mask = np.arange(exposures.num_rows) < 20
        tables["exposures"] = column(
            exposures, "ts", pc.if_else(pa.array(mask), pa.scalar(None, exposures["ts"].type), exposures["ts"])
        )

    found = checked(planted(tmp_path / "w", users=500, change=undated))["exposure"]
    assert found.status == "failed" and "whose exposure has no time" in found.detail


def test_outcomes_without_a_time_fail_the_check_of_exposure(tmp_path: Path) -> None:
    def timeless(tables: dict[str, pa.Table]) -> None:
        ts = tables["outcomes"]["ts"]
        mask = pa.array(np.arange(len(ts)) < 3)
        tables["outcomes"] = column(tables["outcomes"], "ts", pc.if_else(mask, pa.scalar(None, ts.type), ts))

    found = checked(planted(tmp_path / "w", users=500, change=timeless))["exposure"]
    assert found.status == "failed" and "3 without a time" in found.detail


def test_outcomes_of_units_that_were_never_exposed_are_counted(tmp_path: Path) -> None:
    def forget(tables: dict[str, pa.Table]) -> None:
        tables["exposures"] = tables["exposures"].slice(25)

    found = checked(planted(tmp_path / "w", users=500, change=forget))["exposure"]
    assert found.status == "passed"
    assert "0 of units that were never exposed" not in found.detail and "never exposed (left out)" in found.detail


def test_a_refresh_that_the_spec_allows_passes_and_is_still_told(tmp_path: Path) -> None:
    def allow(text: str) -> str:
        return text.replace('"judge_version"]', '"judge_version"]\nallow_refresh = true')

    found = checked(planted(tmp_path / "w", ("fingerprint",), users=500, edit=allow))["fingerprint"]
    assert found.status == "passed" and "v7.1" in found.detail


def test_the_split_may_be_read_every_day_and_says_when_it_went_wrong(tmp_path: Path) -> None:
    found = checked(planted(tmp_path / "w", ("sample_ratio",), users=9_000, conversations=1.5))["sample_ratio"]
    assert found.method == "Dirichlet–multinomial mixture"
    assert found.p_value is not None and found.p_value < 0.001
    last = found.timeline[-1]
    assert (last["control"] + last["treatment"], last["p"]) == (found.n, found.p_value)
    assert found.timeline[0]["p"] > last["p"]
    assert found.timeline[0]["day"] == dt.date(2026, 3, 2).isoformat()


def test_a_split_that_was_planned_unequal_is_held_against_the_plan(tmp_path: Path) -> None:
    table = users_table(900, 2)
    code = np.array([int(u[1:]) for u in table["user"].to_pylist()])
    table = column(table, "arm", pa.array(np.where(code % 3 == 0, "b", "a")))
    shares = {"a": 2 / 3, "b": 1 / 3}
    kept = checked(write_case(tmp_path / "kept", {"outcomes": table}, checks=["sample_ratio"], assignment__arms=shares))
    broken = checked(write_case(tmp_path / "broken", {"outcomes": table}, checks=["sample_ratio"]))
    assert (kept["sample_ratio"].status, broken["sample_ratio"].status) == ("passed", "failed")


def test_an_unbalanced_covariate_voids_the_comparison(tmp_path: Path) -> None:
    table = users_table(800, 3)
    shifted = table["x"].to_numpy() + 0.6 * (np.array(table["arm"].to_pylist()) == "b")
    table = column(table, "x", pa.array(shifted))
    spec = write_case(tmp_path, {"outcomes": table}, checks=["preperiod_balance"], metrics__y__covariates=["x"])
    found = analysed(spec)
    assert found.answer == "invalid" and found.verdicts[0].reasons[0].startswith("preperiod_balance: x ")


def test_outcomes_missing_as_often_in_both_arms_pass(tmp_path: Path) -> None:
    table = users_table(800, 4)
    hole = np.random.default_rng(5).random(table.num_rows) < 0.2
    table = column(table, "y", pa.array(table["y"].to_numpy(), mask=hole))
    found = checked(write_case(tmp_path, {"outcomes": table}, checks=["missing_outcomes"]))["missing_outcomes"]
    assert found.status == "passed" and "y is missing in " in found.detail


def test_outcomes_that_one_arm_never_lacks_are_caught(tmp_path: Path) -> None:
    table = users_table(800, 6)
    treated = np.array(table["arm"].to_pylist()) == "b"
    hole = treated & (np.random.default_rng(7).random(table.num_rows) < 0.05)
    table = column(table, "y", pa.array(table["y"].to_numpy(), mask=hole))
    found = analysed(write_case(tmp_path, {"outcomes": table}, checks=["missing_outcomes"]))
    assert found.answer == "invalid" and "y is missing" in found.verdicts[0].reasons[0]


def test_a_check_is_plain_json(tmp_path: Path) -> None:
    import json

    for check in checked(planted(tmp_path / "w", users=300)).values():
        assert json.loads(json.dumps(check.to_json(), allow_nan=False))["name"] == check.name
