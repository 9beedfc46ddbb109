"""Source mappings: an import is whole, happens once, and loses nothing on the way."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from jurat.errors import DataError, JuratError, SpecError, UnknownName
from jurat.store.coercion import coerce
from jurat.store.lake import Lake
from jurat.store.source import import_source, load_source, read_source

SOURCE = """
name = "demo"
table = "eval_result"
[[files]]
pattern = "{arm}.jsonl"
constants = { run = "r", scorer = "human" }
columns = { item = "id", value = "score" }
[rules]
unique = ["arm", "item"]
required = ["item"]
tolerance = 0.2
"""


def written(folder: Path, records: list[Any], text: str = SOURCE) -> Path:
    (folder / "data").mkdir(exist_ok=True)
    lines = [r if isinstance(r, str) else json.dumps(r) for r in records]
    (folder / "data" / "a.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "source.toml").write_text(text, encoding="utf-8")
    return folder / "source.toml"


def test_the_same_files_brought_in_twice_count_once(tmp_path: Path) -> None:
    source = load_source(written(tmp_path, [{"id": "q1", "score": 1}, {"id": "q2", "score": 0}]))
    lake = Lake(tmp_path / "lake")
    first, second = (import_source(source, tmp_path / "data", lake) for _ in range(2))
    assert (first.rows, second.rows) == (2, 0) and first.version == second.version
    assert lake.read("eval_result").num_rows == 2


def test_a_share_of_unreadable_records_may_be_allowed_and_no_more(tmp_path: Path) -> None:
    good = [{"id": f"q{i}", "score": 1} for i in range(9)]
    table, report = read_source(load_source(written(tmp_path, [*good, "not json"])), tmp_path / "data")
    assert table.num_rows == 9 and len(report.rejected) == 1
    with pytest.raises(DataError, match="20 % allowed"):
        read_source(load_source(written(tmp_path, [*good, *["broken"] * 3])), tmp_path / "data")


def test_a_key_that_stands_twice_in_one_object_is_refused(tmp_path: Path) -> None:
    text = SOURCE.replace("tolerance = 0.2", "tolerance = 0")
    with pytest.raises(DataError, match="stands twice"):
        read_source(load_source(written(tmp_path, ['{"id": "q1", "id": "q2", "score": 1}'], text)), tmp_path / "data")


def test_a_column_that_no_record_has_is_an_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="score"):
        read_source(load_source(written(tmp_path, [{"id": "q1", "scor": 1}])), tmp_path / "data")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('run = "r"', 'epoch = "first"', "not a whole number"),
        ('run = "r"', 'arm = "b"', "more than once"),
        ('run = "r"', 'run = "{amr}"', "did you mean 'arm'"),
        ("tolerance = 0.2", "tolerance = 1.5", "tolerance"),
    ],
)
def test_what_can_be_known_without_the_data_is_told_without_them(old: str, new: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load_source(written(tmp_path, [], SOURCE.replace(old, new)))
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "kind", "told"),
    [
        ("1_000", pa.int64(), "not a whole number"),
        (2**31, pa.int32(), "does not fit"),
        (True, pa.int64(), "not a whole number"),
        (float("inf"), pa.float64(), "not a finite number"),
        ([1], pa.string(), "not text"),
        ("\ud800", pa.string(), "surrogate"),
        (5, pa.timestamp("us", tz="UTC"), "bare number"),
        ("maybe", pa.bool_(), "neither true nor false"),
        ("x", pa.list_(pa.float64()), "not a list"),
    ],
    ids=["underscore", "overflow", "bool", "inf", "list", "surrogate", "epoch", "word", "scalar"],
)
def test_nothing_is_rounded_wrapped_or_guessed(raw: Any, kind: pa.DataType, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        coerce(raw, kind)


def test_whole_decimals_and_numbers_written_as_text_are_taken() -> None:
    assert coerce(Decimal("7"), pa.int32()) == 7
    assert coerce(" 7.5 ", pa.float64()) == 7.5
    assert coerce(["1", 2], pa.list_(pa.float64())) == [1.0, 2.0]
    assert coerce(dt.datetime(2026, 5, 1, tzinfo=dt.UTC), pa.timestamp("us", tz="UTC")) == dt.datetime(
        2026, 5, 1, tzinfo=dt.UTC
    )


def test_a_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "source.toml").write_bytes(b'name = "\xff"')
    with pytest.raises(JuratError, match="is not valid TOML"):
        load_source(tmp_path / "source.toml")
