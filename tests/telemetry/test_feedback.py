"""Feedback: checked piece by piece, keyed by response, without names and personal data."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from jurat.errors import DataError
from jurat.store.schema import TABLES
from jurat.telemetry.derive import Settings
from jurat.telemetry.feedback import check_feedback, feedback_rows
from jurat.telemetry.users import user_key
from jurat.telemetry.wal import Record

SETTINGS = Settings(user_secret=b"s" * 32)
RECEIVED = Record(offset=7, end=9, received_us=1_770_000_000_000_000, tenant="acme", kind=3, payload=b"")


def test_rows_have_the_schema_a_key_for_the_user_and_redacted_text() -> None:
    rows = feedback_rows(
        [
            {"response_id": "r1", "kind": "thumb", "value": -1, "user_id": "ann", "text": "mail me: ann@example.org"},
            {"response_id": "r1", "kind": "edit", "text": "better words", "time": "2026-02-02T05:00:00+02:00"},
        ],
        RECEIVED,
        SETTINGS,
    )
    assert rows.schema.equals(TABLES["feedback"])
    first, second = rows.to_pylist()
    assert first["user_id"] == user_key(b"s" * 32, "acme", "ann") and "ann@" not in first["text"]
    assert (first["span_id"], first["value"], first["ts"].year) == ("r1", -1.0, 2026)
    assert second["ts"] == dt.datetime(2026, 2, 2, 3, 0, tzinfo=dt.UTC)
    assert first["feedback_id"] != second["feedback_id"]
    assert feedback_rows({"response_id": "r", "kind": "copy"}, RECEIVED, SETTINGS)["feedback_id"].to_pylist() == [
        first["feedback_id"]
    ]


def test_text_is_dropped_where_no_text_is_kept() -> None:
    bare = Settings(user_secret=b"s" * 32, keep_text=False)
    rows = feedback_rows({"response_id": "r", "kind": "report", "text": "secret"}, RECEIVED, bare)
    assert rows["text"].to_pylist() == [None]


@pytest.mark.parametrize(
    ("piece", "message"),
    [
        (3, "not an object"),
        ({"kind": "thumb", "value": 1}, "names no response"),
        ({"response_id": "r", "kind": "like"}, "unknown kind"),
        ({"response_id": "r", "kind": "thumb", "value": 2}, "a thumb is 1 or -1"),
        ({"response_id": "r", "kind": "thumb"}, "a thumb is 1 or -1"),
        ({"response_id": "r", "kind": "rating"}, "needs a value"),
        ({"response_id": "r", "kind": "rating", "value": "5"}, "no number"),
        ({"response_id": "r", "kind": "rating", "value": True}, "no number"),
        ({"response_id": "r", "kind": "rating", "value": float("nan")}, "no number"),
        ({"response_id": "r", "kind": "copy", "txt": ""}, "unknown key"),
        ({"response_id": "r", "kind": "edit", "text": 5}, "no text"),
        ({"response_id": "r", "kind": "edit", "text": "x" * 70_000}, "longer than"),
        ({"response_id": "r", "kind": "copy", "time": "yesterday"}, "not ISO 8601"),
        ({"response_id": "r", "kind": "copy", "time": "2026-02-02T05:00:00"}, "no zone"),
        ({"response_id": "r", "kind": "copy", "user_id": 5}, "user_id is no text"),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(piece: Any, message: str) -> None:
    with pytest.raises(DataError, match=f"feedback 1.*{message}"):
        check_feedback([{"response_id": "r", "kind": "copy"}, piece])
