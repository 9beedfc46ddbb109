"""The world as a whole: reproducible, well-formed, split as planned, written as it is."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from scipy import stats

from jurat.errors import UnknownName, UsageError
from jurat.simulate.assistant import World, simulate_assistant, simulate_preset, write_world
from jurat.simulate.presets import PRESETS
from jurat.simulate.truth import Truth
from jurat.store.lake import Lake
from jurat.store.schema import TABLES, content_digest

START = datetime(2026, 11, 2, tzinfo=UTC)


def _digests(world: World) -> dict[str, str]:
    return {name: table["content_digest"] for name, table in world.truth.tables.items()}


def test_the_same_seed_gives_the_same_world_bit_for_bit() -> None:
    first, second = (simulate_assistant(turns=5_000, seed=3, start=START) for _ in range(2))
    assert first.truth == second.truth
    for name, table in first.tables.items():
        assert table.equals(second.tables[name])
    other = _digests(simulate_assistant(turns=5_000, seed=4, start=START))
    assert not set(_digests(first).values()) & set(other.values())


def test_another_process_draws_the_same_world() -> None:
    program = (
        "from datetime import UTC, datetime; import json;"
        "from jurat.simulate.assistant import simulate_assistant as draw;"
        "start = datetime(2026, 11, 2, tzinfo=UTC);"
        "print(json.dumps(dict(draw(turns=500, seed=3, start=start).truth.tables)))"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert json.loads(printed) == simulate_assistant(turns=500, seed=3, start=START).truth.tables


@pytest.mark.parametrize("turns", [1, 2, 3, 50])
def test_even_a_tiny_world_is_whole(turns: int) -> None:
    world = simulate_assistant(turns=turns, seed=1, start=START, days=1)
    assert world.tables["spans"].num_rows == turns
    json.dumps(world.truth.to_json(), allow_nan=False)


@pytest.mark.parametrize("name", ["spans", "exposures", "feedback", "labels"])
def test_tables_have_the_schema_of_the_lake_and_no_number_is_nan(world: World, name: str) -> None:
    table = world.tables[name]
    assert table.schema.equals(TABLES[name])
    assert table.num_rows > 0
    table.validate(full=True)
    for column in table.columns:
        if pa.types.is_floating(column.type):
            assert not pc.any(pc.is_nan(column)).as_py()
    assert content_digest(table) == world.truth.tables[name]["content_digest"]


def test_identifiers_are_unique_and_refer_to_spans(world: World) -> None:
    spans, labels, feedback = (world.tables[name] for name in ("spans", "labels", "feedback"))
    for column in (spans["span_id"], spans["trace_id"], labels["label_id"], feedback["feedback_id"]):
        assert pc.count_distinct(column).as_py() == len(column)
    assert pc.all(pc.is_in(labels["subject_id"], spans["span_id"].combine_chunks())).as_py()
    assert pc.all(pc.is_in(feedback["span_id"], spans["span_id"].combine_chunks())).as_py()


@pytest.mark.parametrize(
    ("name", "column"), [("spans", "ts"), ("exposures", "ts"), ("feedback", "ts"), ("labels", "recorded_at")]
)
def test_all_times_lie_in_the_window_in_utc(world: World, name: str, column: str) -> None:
    times = world.tables[name][column]
    assert times.type == pa.timestamp("us", tz="UTC")
    extremes = pc.min_max(times).as_py()
    assert extremes["min"] >= START
    assert extremes["max"] < START + timedelta(days=14)


def test_derived_times_agree_with_the_timestamp(world: World) -> None:
    for row in world.tables["spans"].slice(0, 500).to_pylist():
        moment = row["ts"]
        assert str(row["day"]) == moment.date().isoformat()
        assert row["ts_us"] == (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        assert row["ts_s"] == math.floor(row["ts_us"] / 1_000_000)


def test_labels_and_thumbs_come_after_the_turn_they_speak_of(world: World) -> None:
    spans = {row["span_id"]: row["ts"] for row in world.tables["spans"].select(["span_id", "ts"]).to_pylist()}
    for name, subject, time in (("labels", "subject_id", "recorded_at"), ("feedback", "span_id", "ts")):
        for row in world.tables[name].select([subject, time]).to_pylist():
            assert row[time] >= spans[row[subject]]


def test_every_user_is_exposed_once_at_the_first_turn_and_stays_in_that_arm(world: World) -> None:
    spans, exposures = world.tables["spans"], world.tables["exposures"]
    arms = dict(zip(exposures["unit_id"].to_pylist(), exposures["arm"].to_pylist(), strict=True))
    assert len(arms) == exposures.num_rows
    served = spans.group_by("user_id").aggregate([("release", "count_distinct"), ("release", "min"), ("ts", "min")])
    assert set(served["release_count_distinct"].to_pylist()) == {1}
    assert arms == dict(zip(served["user_id"].to_pylist(), served["release_min"].to_pylist(), strict=True))
    first = dict(zip(served["user_id"].to_pylist(), served["ts_min"].to_pylist(), strict=True))
    assert first == dict(zip(exposures["unit_id"].to_pylist(), exposures["ts"].to_pylist(), strict=True))


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_the_split_is_as_planned_except_where_it_is_planted_broken(preset: str) -> None:
    world = simulate_preset(preset, seed=5, start=START, turns=min(PRESETS[preset].turns, 20_000))
    counts = world.tables["exposures"]["arm"].value_counts().to_pylist()
    assert world.truth.design["split"]["users"] == {c["values"]: c["counts"] for c in counts}
    p_value = stats.chisquare([c["counts"] for c in counts]).pvalue
    assert (p_value < 0.001) == (preset == "broken_split")


def test_writing_a_world_keeps_its_tables_and_its_truth(tmp_path: Path) -> None:
    world = simulate_assistant(turns=400, seed=6, start=START)
    lake = Lake(tmp_path / "lake")
    write_world(world, lake, tmp_path / "truth.json")
    assert Truth.from_json(json.loads((tmp_path / "truth.json").read_text())) == world.truth
    assert set(world.tables) <= set(lake.tables())
    for name, table in world.tables.items():
        assert lake.read(name).equals(table)


def test_writing_a_world_twice_appends_it_once(tmp_path: Path) -> None:
    world, lake = simulate_assistant(turns=50, seed=6, start=START), Lake(tmp_path / "lake")
    for _ in range(2):
        write_world(world, lake, tmp_path / "truth.json")
    assert lake.read("spans").num_rows == 50
    write_world(simulate_assistant(turns=50, seed=7, start=START), lake, tmp_path / "truth.json")
    assert lake.read("spans").num_rows == 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"turns": 0}, "turns is out of range"),
        ({"turns": 20_000_001}, "turns is out of range"),
        ({"seed": -1}, "seed is out of range"),
        ({"days": 0}, "days is out of range"),
        ({"start": datetime(2026, 11, 2)}, "start is not in UTC"),  # noqa: DTZ001 - the point of the test
        ({"start": datetime(2026, 11, 2, tzinfo=timezone(timedelta(hours=1)))}, "start is not in UTC"),
    ],
)
def test_a_wrong_argument_is_refused_with_the_next_step(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message) as refusal:
        simulate_assistant(**({"turns": 10, "seed": 1, "start": START} | arguments))  # type: ignore[arg-type]
    assert refusal.value.next_step


def test_an_unknown_preset_names_a_near_one() -> None:
    with pytest.raises(UnknownName, match="did you mean 'harm_up'"):
        simulate_preset("harmup", seed=1, start=START)
