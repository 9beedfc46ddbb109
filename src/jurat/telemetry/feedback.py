"""What people say of an answer: thumbs, ratings, edits, regenerations, copies, reports; keyed by response, however late."""

from __future__ import annotations

import datetime as dt
import hashlib
import sys
from collections.abc import Mapping
from typing import Any, Protocol

import pyarrow as pa

from jurat.errors import DataError
from jurat.store.schema import TABLES
from jurat.telemetry.redaction import redact_text
from jurat.telemetry.users import user_key

__all__ = ["FEEDBACK_KINDS", "check_feedback", "feedback_rows"]

FEEDBACK_KINDS = ("thumb", "rating", "edit", "regenerate", "copy", "report")
"""What feedback may be. A thumb's value is 1 or -1, a rating's any number; the others need none."""

_KEYS = {"response_id", "conversation_id", "kind", "value", "text", "user_id", "feedback_id", "time"}
_MOST_TEXT = 64 << 10
_LARGEST = sys.float_info.max


class _Settings(Protocol):
    @property
    def user_secret(self) -> bytes: ...

    @property
    def keep_text(self) -> bool: ...


class _Received(Protocol):
    @property
    def tenant(self) -> str: ...

    @property
    def received_us(self) -> int: ...

    @property
    def offset(self) -> int: ...


def check_feedback(document: Any) -> list[Mapping[str, Any]]:
    """Check a request's JSON: one piece of feedback or a list of them.

    Parameters
    ----------
    document
        As parsed.

    Returns
    -------
    list
        The pieces.

    Raises
    ------
    DataError
        Naming the piece, the key and the value that does not fit.

    Examples
    --------
    >>> check_feedback({"response_id": "r1", "kind": "thumb", "value": 1})[0]["kind"]
    'thumb'
    >>> check_feedback({"response_id": "r1", "kind": "thump"})
    Traceback (most recent call last):
    jurat.errors.DataError: feedback 0: unknown kind
      seen: 'thump'
      next: one of thumb, rating, edit, regenerate, copy, report
    """
    pieces = document if isinstance(document, list) else [document]
    for place, piece in enumerate(pieces):
        if not isinstance(piece, Mapping):
            raise DataError(f"feedback {place} is not an object", seen=type(piece).__name__)
        unknown = sorted(set(piece) - _KEYS)
        if unknown:
            raise DataError(
                f"feedback {place}: unknown key", seen=repr(unknown[0]), next_step=f"one of {', '.join(sorted(_KEYS))}"
            )
        if piece.get("kind") not in FEEDBACK_KINDS:
            raise DataError(
                f"feedback {place}: unknown kind",
                seen=repr(piece.get("kind")),
                next_step=f"one of {', '.join(FEEDBACK_KINDS)}",
            )
        if not isinstance(piece.get("response_id"), str) or not piece["response_id"]:
            raise DataError(
                f"feedback {place} names no response", seen=repr(piece.get("response_id")), next_step="send response_id"
            )
        _check_value(piece, place)
    return list(pieces)


def _check_value(piece: Mapping[str, Any], place: int) -> None:
    value = piece.get("value")
    number = isinstance(value, int | float) and not isinstance(value, bool) and -_LARGEST <= value <= _LARGEST
    if value is not None and not number:
        raise DataError(f"feedback {place}: the value is no number", seen=repr(value)[:60])
    if piece["kind"] == "thumb" and value not in (1, -1):
        raise DataError(f"feedback {place}: a thumb is 1 or -1", seen=repr(value))
    if piece["kind"] == "rating" and value is None:
        raise DataError(f"feedback {place}: a rating needs a value", seen="null")
    if piece.get("text") is not None and (not isinstance(piece["text"], str) or len(piece["text"]) > _MOST_TEXT):
        raise DataError(f"feedback {place}: the text is no text, or longer than {_MOST_TEXT:,} characters")
    for name in ("conversation_id", "user_id", "feedback_id", "time"):
        if piece.get(name) is not None and not isinstance(piece[name], str):
            raise DataError(f"feedback {place}: {name} is no text", seen=repr(piece[name])[:60])
    if piece.get("time") is not None:
        _moment(piece["time"], place)


def _moment(text: str, place: int) -> dt.datetime:
    try:
        moment = dt.datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise DataError(f"feedback {place}: the time has no zone", seen=repr(text)[:60], next_step="end it with Z")
        return moment.astimezone(dt.UTC)
    except (ValueError, OverflowError) as error:
        raise DataError(f"feedback {place}: the time is not ISO 8601", seen=repr(text)[:60]) from error


def feedback_rows(document: Any, received: _Received, settings: _Settings) -> pa.Table:
    """Rows of the table ``feedback``.

    Parameters
    ----------
    document
        A request's JSON; it is checked.
    received
        The record of the log it came in.
    settings
        Secret of user keys, and whether text is kept (redacted).
    """
    pieces = check_feedback(document)
    texts = redact_text(pa.array([p.get("text") if settings.keep_text else None for p in pieces], pa.string()))[
        0
    ].to_pylist()
    rows = []
    for place, (piece, text) in enumerate(zip(pieces, texts, strict=True)):
        own = f"{received.tenant}\0{received.offset}\0{place}"
        time = piece.get("time")
        rows.append(
            {
                "feedback_id": piece.get("feedback_id") or hashlib.sha256(own.encode()).hexdigest()[:32],
                "span_id": piece["response_id"],
                "conversation_id": piece.get("conversation_id"),
                "user_id": user_key(settings.user_secret, received.tenant, piece.get("user_id")),
                "kind": piece["kind"],
                "value": None if piece.get("value") is None else float(piece["value"]),
                "text": text,
                "ts": _moment(time, place) if time else dt.datetime.fromtimestamp(received.received_us / 1e6, dt.UTC),
            }
        )
    return pa.Table.from_pylist(rows, schema=TABLES["feedback"])
