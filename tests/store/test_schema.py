"""What may go into a table, and how a refusal reads."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pytest

from jurat.errors import DataError, UnknownName
from jurat.store.schema import TABLES, conform, schema_of

SCORES = schema_of("scores")


def test_columns_come_in_the_order_of_the_schema_and_missing_ones_are_null() -> None:
    table = conform(pa.table({"value": [1.0], "score_id": ["a"]}), SCORES, table="scores")
    assert table.schema.equals(SCORES)
    assert table.to_pylist()[0]["score_id"] == "a"
    assert table["judge"].null_count == 1


@pytest.mark.parametrize("name", sorted(TABLES))
def test_every_table_takes_its_own_empty_table_unchanged(name: str) -> None:
    empty = TABLES[name].empty_table()
    assert conform(empty, TABLES[name], table=name).equals(empty)


def test_an_unknown_table_or_column_names_the_near_one() -> None:
    with pytest.raises(UnknownName, match="did you mean 'scores'"):
        schema_of("score")
    with pytest.raises(UnknownName, match="did you mean 'score_id'"):
        conform(pa.table({"scoreid": ["a"]}), SCORES, table="scores")


def test_a_column_given_twice_is_refused() -> None:
    twice = pa.Table.from_arrays([pa.array([1.0]), pa.array([2.0])], names=["value", "value"])
    with pytest.raises(DataError, match="twice"):
        conform(twice, SCORES, table="scores")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_not_finite_is_refused_with_its_row(bad: float) -> None:
    data = pa.table({"value": pa.chunked_array([[1.0, None], [], [2.0, bad]])})
    with pytest.raises(DataError, match=r"column value of table scores .*\n.* in row 3\n"):
        conform(data, SCORES, table="scores")
    with pytest.raises(DataError, match="in row 1003"):
        conform(data, SCORES, table="scores", first_row=1000)


def test_a_number_that_is_not_finite_inside_a_list_is_refused_with_its_row() -> None:
    vectors = pa.array([[1.0], None, [], [2.0, float("nan")]], pa.list_(pa.float32()))
    with pytest.raises(DataError, match="nan in row 3"):
        conform(pa.table({"vector": vectors}), schema_of("embeddings"), table="embeddings")


def test_null_is_how_an_undefined_number_is_written() -> None:
    assert conform(pa.table({"value": [None, 1.0]}), SCORES, table="scores")["value"].null_count == 1


@pytest.mark.parametrize(
    ("table", "column", "values"),
    [
        ("spans", "turn", pa.array([2**31])),
        ("spans", "turn", pa.array([1.5])),
        ("spans", "turn", pa.array(["one"])),
        ("spans", "latency_ms", pa.array([2**53 + 1])),
        ("spans", "ts", pa.array([1], pa.timestamp("ns", tz="UTC"))),
        ("spans", "user_id", pa.array([[1]])),
    ],
)
def test_a_cast_that_would_lose_something_is_refused(table: str, column: str, values: pa.Array) -> None:
    with pytest.raises(DataError, match=f"column {column} of table {table}"):
        conform(pa.table({column: values}), schema_of(table), table=table)


@pytest.mark.parametrize(
    ("table", "column", "values", "kept"),
    [
        ("spans", "turn", pa.array([3], pa.int64()), [3]),
        ("spans", "turn", pa.array([3.0]), [3]),
        ("spans", "latency_ms", pa.array([7], pa.int16()), [7.0]),
        ("spans", "user_id", pa.array(["u", "u"]).dictionary_encode(), ["u", "u"]),
        (
            "spans",
            "ts",
            pa.array([dt.datetime(2026, 7, 1, 12, tzinfo=dt.UTC)], pa.timestamp("ms", tz="Europe/Zurich")),
            [dt.datetime(2026, 7, 1, 12, tzinfo=dt.UTC)],
        ),
    ],
)
def test_a_cast_that_loses_nothing_is_made(table: str, column: str, values: pa.Array, kept: list[object]) -> None:
    assert conform(pa.table({column: values}), schema_of(table), table=table)[column].to_pylist() == kept


def test_the_tables_the_contract_names_are_there() -> None:
    named = {"spans", "span_text", "feedback", "labels", "scores", "eval_result", "exposures", "usage", "documents"}
    assert named | {"embeddings", "rollup_1m"} <= set(TABLES)
    assert TABLES["eval_result"].field("epoch").type == pa.int32()
    assert TABLES["eval_result"].field("started").type == pa.timestamp("us", tz="UTC")
