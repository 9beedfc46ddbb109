"""The whole against its parts: reversals flagged, decompositions that add up, stratifiers from before the treatment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from jurat.errors import DataError, SpecError
from jurat.experiments.analyse import analyse_file
from jurat.experiments.simpson import SimpsonScan, simpson_scan
from jurat.experiments.spec import load_spec
from tests.experiments.case import opened, spec_of, users_table, write_case, write_spec


def reversal(seed: int, *, hard_treated: float = 0.8, hard_control: float = 0.2) -> pa.Table:
    """Users with easy (level 10) and hard (level 6) tasks; treatment adds 0.5 to each but has far more of the hard."""
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(600), 6)
    treated = user % 2 == 1
    hard = rng.random(len(user)) < np.where(treated, hard_treated, hard_control)
    y = 10 - 4 * hard + 0.5 * treated + rng.normal(size=600)[user] + rng.normal(size=len(user))
    return pa.table(
        {
            "user": [f"u{i}" for i in user], "arm": np.where(treated, "b", "a"), "y": y, "task": np.where(hard, "hard", "easy"),
            "bad": rng.random(len(user)) < 0.1,
        }
    )  # fmt: skip


def scanned(folder: Path, table: pa.Table, *, margin: float | None = None, **changes: Any) -> SimpsonScan:
    experiment, data = opened(folder, {"outcomes": table}, **changes)
    stratifier = changes.get("simpson__stratifiers", ["task"])[0]
    return simpson_scan(experiment, data, "y", stratifier, "b", margin=margin)


def test_a_reversal_is_flagged_and_the_sign_turns(tmp_path: Path) -> None:
    found = scanned(tmp_path, reversal(1))
    assert found.crude.high is not None and found.crude.high < 0
    assert found.standardised.low is not None and found.standardised.high is not None
    assert found.standardised.low > 0
    assert found.standardised.low < 0.5 < found.standardised.high
    assert "the sign turns within task" in str(found.alarm)
    assert all(s.effect.value is not None and s.effect.value > 0 for s in found.strata)
    assert {s.name: round(s.shares["b"], 1) for s in found.strata} == {"easy": 0.2, "hard": 0.8}


def test_a_reversal_holds_a_pass_back_with_the_reason(tmp_path: Path) -> None:
    table = reversal(2, hard_treated=0.2, hard_control=0.8)
    plain = analyse_file(write_case(tmp_path / "plain", {"outcomes": table}))
    assert plain.answer == "pass"  # the crude gain is mix, and nobody asked
    # Without strata's own gain the treatment does nothing: the whole 2.4 points are mix.
    gain = 0.5 * (np.array(table["arm"].to_pylist()) == "b")
    table = table.set_column(table.schema.get_field_index("y"), "y", pa.array(table["y"].to_numpy() - 2 * gain))
    found = analyse_file(write_case(tmp_path / "asked", {"outcomes": table}, simpson__stratifiers=["task"]))
    assert found.answer == "not enough evidence"
    assert any("y by task: the sign turns within task" in reason for reason in found.verdicts[0].reasons)


def test_mix_and_rate_add_up_to_the_crude_difference_and_agree_with_kitagawa_by_hand(tmp_path: Path) -> None:
    table = reversal(3)
    found = scanned(tmp_path, table)
    values = (found.crude.value, found.mix.value, found.rate.value)
    assert values[0] is not None and values[1] is not None and values[2] is not None
    assert values[1] + values[2] == pytest.approx(values[0], abs=1e-12)
    y, arm, task = table["y"].to_numpy(), np.array(table["arm"].to_pylist()), np.array(table["task"].to_pylist())
    mix = rate = 0.0
    for name in ("easy", "hard"):
        cells = {a: (arm == a) & (task == name) for a in "ab"}
        level = {a: y[cells[a]].mean() for a in "ab"}
        share = {a: cells[a].sum() / (arm == a).sum() for a in "ab"}
        mix += (level["a"] + level["b"]) / 2 * (share["b"] - share["a"])
        rate += (share["a"] + share["b"]) / 2 * (level["b"] - level["a"])
    assert values[1] == pytest.approx(mix, rel=1e-9)
    assert values[2] == pytest.approx(rate, rel=1e-9)
    # 4 points of level on 0.6 of mix, against half a point of gain.
    assert values[1] == pytest.approx(-2.4, abs=0.3) and values[2] == pytest.approx(0.5, abs=0.3)


def test_equal_mixes_raise_no_alarm(tmp_path: Path) -> None:
    alarms = []
    for seed in range(10, 16):
        alarms.append(
            scanned(tmp_path / str(seed), reversal(seed, hard_treated=0.4, hard_control=0.4), margin=1.0).alarm
        )
    assert alarms == [None] * 6


def test_a_gap_beyond_half_the_margin_is_flagged_without_a_reversal(tmp_path: Path) -> None:
    table = reversal(4, hard_treated=0.45, hard_control=0.4)
    # A gap of about 4 × 0.05 points.
    assert scanned(tmp_path / "wide", table, margin=2.0).alarm is None
    narrow = scanned(tmp_path / "narrow", table, margin=0.1)
    assert "more than half the margin" in str(narrow.alarm)
    assert scanned(tmp_path / "none", table).alarm is None


@pytest.mark.parametrize(
    "changes",
    [
        {"simpson__stratifiers": ["task"], "simpson__post_treatment": ["task"]},
        {"simpson__stratifiers": ["task"], "treatment__fingerprint": ["task"]},
    ],
    ids=["declared", "fingerprint"],
)
def test_a_stratifier_from_after_the_treatment_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(SpecError) as caught:
        load_spec(write_spec(tmp_path, spec_of(**changes)))
    assert "task comes after the treatment and cannot be a stratifier" in caught.value.what
    assert "simpson.stratifiers" in str(caught.value.seen)
    assert "before assignment" in str(caught.value.next_step)


@pytest.mark.parametrize("value", ["y", "CASE WHEN y > 3 THEN 1 ELSE 0 END"])
def test_a_stratifier_that_is_an_outcome_is_refused(tmp_path: Path, value: str) -> None:
    changes = {"simpson__stratifiers": ["y"], "metrics__y__value": value}
    with pytest.raises(SpecError, match="y is an outcome and cannot be a stratifier") as caught:
        load_spec(write_spec(tmp_path, spec_of(**changes)))
    assert "the metric y is computed from it" in str(caught.value.seen)


def test_a_stratum_that_one_arm_lacks_is_left_out_and_named(tmp_path: Path) -> None:
    table = reversal(5)
    task = np.array(table["task"].to_pylist(), dtype=object)
    lone = (np.array(table["arm"].to_pylist()) == "b") & (np.arange(len(task)) % 10 == 0)
    task[lone] = "new"
    table = table.set_column(table.schema.get_field_index("task"), "task", pa.array(task.tolist()))
    found = scanned(tmp_path, table)
    assert found.left_out == ("new",)
    assert {s.name for s in found.strata} == {"easy", "hard"}


def test_rows_of_unknown_stratum_are_a_stratum(tmp_path: Path) -> None:
    table = reversal(6)
    task = table["task"].to_pylist()
    table = table.set_column(
        table.schema.get_field_index("task"), "task", pa.array([t if i % 5 else None for i, t in enumerate(task)])
    )
    found = scanned(tmp_path, table)
    assert {s.name for s in found.strata} == {"easy", "hard", "None"}
    assert sum(s.shares["a"] for s in found.strata) == pytest.approx(1)


def test_an_identifier_is_no_stratifier(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="more than 20 values"):
        scanned(tmp_path, users_table(60, 1), simpson__stratifiers=["user"])


def test_users_with_rows_in_several_strata_are_counted_once_in_the_error(tmp_path: Path) -> None:
    table = reversal(7, hard_treated=0.5, hard_control=0.5)
    by_user = scanned(tmp_path / "user", table).standardised
    by_row = scanned(tmp_path / "row", table, inference__cluster="none").standardised
    assert by_user.se is not None and by_row.se is not None
    # Each user's level counts in both strata: six rows, an intraclass correlation of one half.
    assert by_user.se / by_row.se == pytest.approx(np.sqrt(1 + 5 * 0.5), rel=0.1)
    assert by_user.value == pytest.approx(by_row.value, rel=1e-9)
