"""The content digest sees what a table says and nothing else."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jurat.errors import DataError
from jurat.store.content import ContentDigest, content_digest

SCHEMA = pa.schema(
    {
        "flag": pa.bool_(),
        "count": pa.int32(),
        "score": pa.float64(),
        "text": pa.string(),
        "when": pa.timestamp("us", tz="UTC"),
        "vector": pa.list_(pa.float32()),
        "pair": pa.struct({"name": pa.string(), "size": pa.int64()}),
    }
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "flag": st.none() | st.booleans(),
            "count": st.none() | st.integers(-(2**31), 2**31 - 1),
            "score": st.none() | st.floats(allow_nan=False, allow_infinity=False),
            "text": st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
            "when": st.none() | st.datetimes(timezones=st.just(dt.UTC)),
            "vector": st.none() | st.lists(st.none() | st.floats(width=32, allow_nan=False), max_size=3),
            "pair": st.none()
            | st.fixed_dictionaries(
                {"name": st.none() | st.text("ab\x00", max_size=3), "size": st.none() | st.integers(0, 3)}
            ),
        }
    ),
    max_size=12,
)


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _meaning(rows: list[dict[str, Any]]) -> str:
    """Plain-Python reference: equal where, and only where, the rows are the same bit for bit."""
    return repr(rows)


@settings(deadline=None, max_examples=60)
@given(rows=ROWS, cuts=st.lists(st.integers(0, 12), max_size=4))
def test_chunks_and_batches_do_not_count(rows: list[dict[str, Any]], cuts: list[int]) -> None:
    table = _table(rows)
    ends = sorted({0, len(rows), *(min(c, len(rows)) for c in cuts)})
    parts = [table.slice(a, b - a) for a, b in pairwise(ends)]
    digest = ContentDigest(SCHEMA)
    for part in parts:
        digest.update(part)
    assert digest.hexdigest() == content_digest(table)
    assert digest.rows == len(rows)
    if parts:
        assert content_digest(pa.concat_tables(parts)) == content_digest(table)


@settings(deadline=None, max_examples=60)
@given(first=ROWS, second=ROWS)
def test_two_tables_have_one_digest_only_if_they_say_the_same(
    first: list[dict[str, Any]], second: list[dict[str, Any]]
) -> None:
    same = _meaning(_table(first).to_pylist()) == _meaning(_table(second).to_pylist())
    assert (content_digest(_table(first)) == content_digest(_table(second))) is same


@pytest.mark.parametrize(
    "variant",
    [
        pa.array(["a", None, "ß", "a"]).dictionary_encode(),
        pa.array(["a", None, "ß", "a"], pa.large_string()),
        pa.array(["a", None, "ß", "a"], pa.string_view()),
        pa.array(["x", "a", None, "ß", "a"]).slice(1),
    ],
)
def test_encodings_and_offsets_do_not_count(variant: pa.Array) -> None:
    plain = pa.table({"x": pa.array(["a", None, "ß", "a"])})
    assert content_digest(pa.table({"x": variant})) == content_digest(plain)


def test_list_variants_and_element_names_do_not_count() -> None:
    values = [[1.0, 2.0], [3.0, None]]
    tables = [
        pa.table({"v": pa.array(values, kind)})
        for kind in (
            pa.list_(pa.float32()),
            pa.large_list(pa.float32()),
            pa.list_(pa.float32(), 2),
            pa.list_(pa.field("element", pa.float32())),
        )
    ]
    assert len({content_digest(table) for table in tables}) == 1


def test_what_lies_under_a_null_does_not_count() -> None:
    valid = pa.py_buffer(b"\x01")
    a = pa.Array.from_buffers(pa.int32(), 2, [valid, pa.py_buffer(b"\x01\0\0\0\x07\0\0\0")])
    b = pa.Array.from_buffers(pa.int32(), 2, [valid, pa.py_buffer(b"\x01\0\0\0\x09\0\0\0")])
    assert content_digest(pa.table({"x": a})) == content_digest(pa.table({"x": b}))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"x": [1, 2]}, {"x": [2, 1]}),
        ({"x": [1]}, {"y": [1]}),
        ({"x": pa.array([1], pa.int32())}, {"x": pa.array([1], pa.int64())}),
        ({"x": [None, 0]}, {"x": [0, None]}),
        ({"x": ["ab", "c"]}, {"x": ["a", "bc"]}),
        ({"x": ["", None]}, {"x": [None, ""]}),
        ({"x": [[1], [2, 3]]}, {"x": [[1, 2], [3]]}),
        ({"x": [[], None]}, {"x": [None, []]}),
        ({"x": [0.0]}, {"x": [-0.0]}),
        ({"a": [1], "b": [2]}, {"b": [2], "a": [1]}),
        ({"x": pa.array([], pa.int32())}, {"x": pa.array([], pa.string())}),
        ({"x": [{"a": 1}]}, {"x": [{"b": 1}]}),
    ],
)
def test_a_difference_shows(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert content_digest(pa.table(one)) != content_digest(pa.table(other))


def test_one_long_text_cannot_pass_for_two_rows() -> None:
    """Without the number of rows, lengths and text of one row could be read as those of two."""
    text = "\x00\x7a" + "\x00" * 254
    assert content_digest(pa.table({"x": [text]})) != content_digest(pa.table({"x": ["\x00" * 128, "\x00" * 128]}))


def test_the_digest_is_the_same_for_ever() -> None:
    """Golden value: evidence that was sworn names it."""
    table = pa.table({"item": ["a", None], "value": [0.5, 1.0]})
    assert content_digest(table) == "e5680a2bbc0e11b3d417476adcfc0ef3866c45fefd3fc4e4d2255ab4b7c3d50e"


def test_a_type_without_canonical_bytes_is_refused() -> None:
    with pytest.raises(DataError, match="cannot be hashed"):
        content_digest(pa.table({"x": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64()))}))
