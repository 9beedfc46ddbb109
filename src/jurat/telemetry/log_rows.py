"""OTLP logs as rows of the lake: evaluations become scores, what people said becomes feedback, messages become text."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from jurat.errors import DataError
from jurat.store.schema import TABLES
from jurat.telemetry.cells import flatten_messages
from jurat.telemetry.derive import HOUSE_TENANT, Settings
from jurat.telemetry.feedback import FEEDBACK_KINDS, feedback_rows
from jurat.telemetry.otlp_signals import decode_logs
from jurat.telemetry.redaction import redact_text
from jurat.telemetry.wal import Record

__all__ = ["LogRows", "log_rows"]

_ASKED = {f"gen_ai.{role}.message": role for role in ("system", "user", "assistant", "tool")}
"""Messages that a model was given, the assistant's earlier ones too, and who speaks."""

_ANSWERED = "gen_ai.choice"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRows:
    """What a request of logs becomes.

    Attributes
    ----------
    scores
        Evaluations by machines, with the schema of ``scores``; the subject is a span's id or, without one, a response's.
    feedback
        Evaluations by people, with the schema of ``feedback``, the turn named as it came.
    texts
        Messages that came as events of a span, redacted, with the schema of ``span_text``.
    rejected
        Number and reason of records that could not be read.
    skipped
        Names of other events, and how often each came.
    n_redactions
        Places that were redacted.
    """

    scores: pa.Table
    feedback: pa.Table
    texts: pa.Table
    rejected: list[tuple[int, str]]
    skipped: Counter[str]
    n_redactions: int


def log_rows(record: Record, encoding: str, settings: Settings) -> LogRows:
    """Decode a request of logs.

    Parameters
    ----------
    record
        The record of the write-ahead log it came in.
    encoding
        ``"protobuf"`` or ``"json"``.
    settings
        Secret of user keys, and whether text is kept.
    """
    decoded = decode_logs(record.payload, encoding=encoding)
    scores, opinions = [], []
    for place, one in enumerate(decoded.scores.to_pylist()):
        piece = _opinion(one, place)
        try:
            if piece is None:
                raise DataError("not an opinion")
            opinions.append(feedback_rows(piece, record, settings))
        except DataError:
            # What a person said in a form that feedback has not is a score like any other.
            scores.append(_score(one, record, place))
    labels, hidden_labels = redact_text(pa.array([score["label"] for score in scores], pa.string()))
    for score, label in zip(scores, labels.to_pylist(), strict=True):
        score["label"] = label
    texts, hidden = _texts(decoded.events.to_pylist(), record) if settings.keep_text else (_no_texts(), 0)
    return LogRows(
        scores=pa.Table.from_pylist(scores, schema=TABLES["scores"]),
        feedback=pa.concat_tables([TABLES["feedback"].empty_table(), *opinions]),
        texts=texts,
        rejected=decoded.rejected,
        skipped=Counter({f"log event {name or 'without a name'}": n for name, n in decoded.skipped.items()}),
        n_redactions=hidden + hidden_labels,
    )


def _opinion(one: Mapping[str, Any], place: int) -> dict[str, Any] | None:
    """A piece of feedback, where a person gave it in one of its kinds."""
    about = one["span_id"] or one["response_id"]
    if one["kind"] != "human" or one["name"] not in FEEDBACK_KINDS or not about:
        return None
    piece = {"response_id": about, "kind": one["name"], "value": one["value"], "text": one["explanation"]}
    own = json.dumps([place, one["ts_us"], about, one["name"]])
    piece["feedback_id"] = hashlib.sha256(own.encode()).hexdigest()[:32]
    if one["ts_us"]:
        piece["time"] = _moment(one["ts_us"]).isoformat()
    return piece


def _score(one: Mapping[str, Any], record: Record, place: int) -> dict[str, Any]:
    own = f"{record.tenant}\0{record.offset}\0{place}"
    return {
        "score_id": hashlib.sha256(own.encode()).hexdigest()[:32],
        "subject_id": one["span_id"] or one["response_id"],
        "scorer": one["name"],
        "value": one["value"],
        "label": one["label"],
        "judge": one["kind"],
        "recorded_at": _moment(one["ts_us"] or record.received_us),
    }


def _texts(events: list[dict[str, Any]], record: Record) -> tuple[pa.Table, int]:
    """Prompt and response of each span that has messages among its events."""
    spoken: dict[str, tuple[list[Any], list[Any], int]] = {}
    for event in events:
        if not event["span_id"]:
            continue
        asked, answered = _messages(event)
        held = spoken.setdefault(event["span_id"], ([], [], event["ts_us"] or record.received_us))
        held[0].extend(asked)
        held[1].extend(answered)
    rows = [
        (
            span,
            flatten_messages(asked, labelled=True, split=True)[0],
            flatten_messages(answered, labelled=False, split=False)[0],
            when,
        )
        for span, (asked, answered, when) in spoken.items()
    ]
    rows = [row for row in rows if row[1] or row[2]]
    if not rows:
        return _no_texts(), 0
    prompts, hidden = redact_text(pa.array([row[1] for row in rows], pa.string()))
    responses, hidden_too = redact_text(pa.array([row[2] for row in rows], pa.string()))
    digests = [
        hashlib.sha256(f"{p or ''}\0{r or ''}".encode("utf-8", "surrogatepass")).hexdigest()
        for p, r in zip(prompts.to_pylist(), responses.to_pylist(), strict=True)
    ]
    days = [_moment(row[3]).strftime("%Y-%m-%d") for row in rows]
    # Words of the house may be of any organisation's turn; a tenant's are its own.
    whose = pa.array([None if record.tenant in ("", HOUSE_TENANT) else record.tenant] * len(rows), pa.string())
    columns = [pa.array([row[0] for row in rows]), pa.array(days), prompts, responses, pa.array(digests), whose]
    return pa.table(columns, schema=TABLES["span_text"]), hidden + hidden_too


def _messages(event: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    """What was asked and what was answered, in an event of either form of the conventions."""
    attributes = json.loads(event["attributes"] or "{}")
    body = json.loads(event["body"]) if event["body"] else None
    said = []
    for name in ("gen_ai.input.messages", "gen_ai.output.messages"):
        given = attributes.get(name, body.get(name) if isinstance(body, dict) else None)
        if isinstance(given, str):
            with contextlib.suppress(ValueError, RecursionError):
                given = json.loads(given)
        said.append(given if isinstance(given, list) else [given] if given else [])
    own = body.get("message", body) if isinstance(body, dict) else body
    if own and event["event"] in _ASKED:
        said[0].append({"role": _ASKED[event["event"]], "content": own})
    elif own and event["event"] == _ANSWERED:
        said[1].append(own)
    return said[0], said[1]


def _no_texts() -> pa.Table:
    return TABLES["span_text"].empty_table()


def _moment(microseconds: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(microseconds / 1e6, dt.UTC)
