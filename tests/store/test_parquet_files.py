"""Parquet files of the lake: bounded, ordered, with statistics a foreign reader can trust."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

from jurat.store import parquet_files
from jurat.store.parquet_files import file_name, place_in_table, row_groups, write_files


def _names(version: int = 1) -> Iterator[str]:
    return (file_name(version, place) for place in count())


@settings(deadline=None, max_examples=50)
@given(sizes=st.lists(st.integers(0, 40), max_size=12))
def test_row_groups_hold_every_row_once_in_order_and_are_full_but_the_last(sizes: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet_files, "GROUP_ROWS", 16)
        start, parts = 0, []
        for size in sizes:
            parts.append(pa.table({"x": pa.array(range(start, start + size), pa.int64())}))
            start += size
        groups = list(row_groups(parts))
    assert [value for group in groups for value in group["x"].to_pylist()] == list(range(start))
    assert all(group.num_rows == 16 for group in groups[:-1])
    assert all(0 < group.num_rows <= 16 for group in groups)


def test_row_groups_of_long_texts_are_bounded_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_files, "GROUP_BYTES", 10_000)
    table = pa.table({"text": ["x" * 999] * 100})
    groups = list(row_groups([table]))
    assert sum(group.num_rows for group in groups) == 100
    assert all(group.nbytes <= 12_000 for group in groups)


def test_one_row_larger_than_a_group_is_still_written() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet_files, "GROUP_BYTES", 10)
        groups = list(row_groups([pa.table({"text": ["x" * 100, "y" * 100]})]))
    assert [group.num_rows for group in groups] == [1, 1]


def test_names_sort_in_the_order_of_rows() -> None:
    places = [(v, p) for v in (1, 2, 9, 10, 99_999) for p in (0, 1, 10, 1_000)]
    names = [file_name(*place) for place in places]
    assert sorted(names) == names
    assert [place_in_table(name) for name in names] == places


def test_a_file_is_closed_once_it_is_long_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_files, "GROUP_ROWS", 100)
    monkeypatch.setattr(parquet_files, "FILE_BYTES", 1)
    table = pa.table({"x": range(250)})
    actions = write_files(tmp_path, [table], table.schema, names=_names())
    assert [json.loads(action.stats)["numRecords"] for action in actions] == [100, 100, 50]
    assert pa.concat_tables(pq.read_table(tmp_path / action.path) for action in actions).equals(table)


def test_the_file_with_the_last_name_takes_all_that_remains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_files, "GROUP_ROWS", 100)
    monkeypatch.setattr(parquet_files, "FILE_BYTES", 1)
    table = pa.table({"x": range(350)})
    actions = write_files(tmp_path, [table], table.schema, names=iter(["a", "b"]))
    assert [(action.path, json.loads(action.stats)["numRecords"]) for action in actions] == [("a", 100), ("b", 250)]


def test_nothing_is_left_where_the_rows_fail_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_files, "GROUP_ROWS", 10)
    monkeypatch.setattr(parquet_files, "FILE_BYTES", 1)
    table = pa.table({"x": range(25)})

    def parts() -> Iterator[pa.Table]:
        yield table
        raise RuntimeError("the source broke off")

    with pytest.raises(RuntimeError, match="broke off"):
        write_files(tmp_path, parts(), table.schema, names=_names())
    assert list(tmp_path.iterdir()) == []


def test_no_rows_make_no_file(tmp_path: Path) -> None:
    schema = pa.schema({"x": pa.int64()})
    assert write_files(tmp_path, [schema.empty_table()], schema, names=_names()) == []
    assert list(tmp_path.iterdir()) == []


def test_statistics_are_those_that_delta_rs_itself_would_write(tmp_path: Path) -> None:
    table = pa.table(
        {
            "number": pa.array([3, None, -2], pa.int32()),
            "score": [0.5, -1.5, None],
            "text": ["b", None, "a"],
            "flag": [True, None, False],
            "nothing": pa.nulls(3, pa.string()),
            "when": pa.array(
                [dt.datetime(2026, 1, 1, 1, 2, 3, 456_789, dt.UTC), None, dt.datetime(2025, 1, 1, tzinfo=dt.UTC)],
                pa.timestamp("us", tz="UTC"),
            ),
        }
    )
    (action,) = write_files(tmp_path, [table], table.schema, names=_names())
    write_deltalake(tmp_path / "oracle", table)
    entry = (tmp_path / "oracle" / "_delta_log" / f"{0:020d}.json").read_text().splitlines()
    oracle = next(json.loads(line)["add"]["stats"] for line in entry if "add" in json.loads(line))
    assert _times(json.loads(action.stats)) == _times(json.loads(oracle))


def _times(stats: dict[str, Any]) -> dict[str, Any]:
    """Statistics with times read as times, since both write them in forms of their own."""
    for end in ("minValues", "maxValues"):
        stats[end]["when"] = dt.datetime.fromisoformat(stats[end]["when"])
    return stats


def test_long_texts_have_no_bounds_rather_than_wrong_ones(tmp_path: Path) -> None:
    table = pa.table({"text": ["x" * 1_000, "y"], "list": [[1], [2]]})
    (action,) = write_files(tmp_path, [table], table.schema, names=_names())
    stats = json.loads(action.stats)
    assert (stats["minValues"], stats["maxValues"]) == ({}, {})
    assert stats["nullCount"] == {"text": 0}


def test_a_foreign_reader_sees_the_statistics(tmp_path: Path) -> None:
    table = pa.table({"x": pa.array([5, 7], pa.int64())})
    DeltaTable.create(tmp_path / "t", schema=table.schema)
    actions = write_files(tmp_path / "t", [table], table.schema, names=_names())
    delta = DeltaTable(tmp_path / "t")
    delta.create_write_transaction(actions, "append", table.schema)
    (seen,) = pa.table(DeltaTable(tmp_path / "t").get_add_actions(flatten=True)).to_pylist()
    assert (seen["num_records"], seen["min.x"], seen["max.x"], seen["null_count.x"]) == (2, 5, 7, 0)
