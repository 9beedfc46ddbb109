"""What a hostile sender may try against the ingestion, and what must come of it: nothing lost, nothing doubled, nothing told."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from jurat.errors import DataError, UsageError
from jurat.store.control import Control
from jurat.telemetry import ingest as ingest_module
from jurat.telemetry import responses as responses_module
from jurat.telemetry import waiting as waiting_module
from jurat.telemetry.conversation_filter import parse_filter
from jurat.telemetry.derive import Settings
from jurat.telemetry.feedback import check_feedback
from jurat.telemetry.ingest import Ingest
from jurat.telemetry.redaction import redact_json
from jurat.telemetry.wal import WriteAheadLog

_MAIL = "ann.canary@example.org"
_START = 1_793_000_000_000_000_000


@pytest.fixture
def ingest(tmp_path: Path) -> Iterator[Ingest]:
    opened = Ingest(tmp_path / "lake", Settings(user_secret=b"s" * 32), start=False)
    yield opened
    opened.close()


def _spans(attributes: dict[str, Any], **fields: Any) -> bytes:
    span = {
        "traceId": "02" * 16, "spanId": "01" * 8, "name": "chat", "startTimeUnixNano": str(_START),
        "endTimeUnixNano": str(_START + 10**9),
        "attributes": [{"key": k, "value": {"stringValue": v}} for k, v in attributes.items()], **fields,
    }  # fmt: skip
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()


def _feedback(*pieces: dict[str, Any]) -> bytes:
    return json.dumps([{"response_id": "r", "kind": "thumb", "value": 1, **piece} for piece in pieces]).encode()


def _sent(ingest: Ingest, kind: str, body: bytes, tenant: str = "acme") -> None:
    ingest.receive(kind, body, tenant=tenant).result(timeout=10)
    ingest.flush()


def _all_text(ingest: Ingest) -> str:
    """Every text of every table, payloads decoded."""
    found = []
    for table in ingest.lake.tables():
        for row in ingest.lake.read(table).to_pylist():
            payload = row.pop("payload", None)
            found += [base64.b64decode(payload).decode(errors="replace")] if payload else []
            found += [value for value in row.values() if isinstance(value, str)]
    return "\n".join(found)


@pytest.mark.parametrize(
    "piece",
    [{"time": "0001-01-01T00:00:00+14:00"}, {"time": "9999-12-31T23:59:59-14:00"},
     {"kind": "rating", "value": 10**400}, {"kind": "rating", "value": -(10**400)}],
    ids=["before all time", "after all time", "huge", "hugely negative"],
)  # fmt: skip
def test_feedback_that_no_clock_and_no_number_can_hold_is_refused_with_its_reason(piece: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="feedback 0"):
        check_feedback({"response_id": "r", "kind": "thumb", "value": 1, **piece})


@pytest.mark.parametrize("time", ["0001-01-01T00:00+14:00", "9999-12-31T23:59-14:00"])
def test_a_filter_with_a_time_outside_the_calendar_is_refused(time: str) -> None:
    with pytest.raises(UsageError, match="not a time"):
        parse_filter(f"ts > '{time}'")


@pytest.mark.parametrize("before", ["\n", "\t", "\x08", '"'], ids=["line", "tab", "backspace", "quote"])
@pytest.mark.parametrize(
    "secret", ["203.0.113.7", "+1 555 123 4567", "4111 1111 1111 1111", "AKIAIOSFODNN7EXAMPLE"],
    ids=["address", "phone", "card", "key"],
)  # fmt: skip
def test_an_escape_before_personal_data_does_not_hide_them_in_json(before: str, secret: str) -> None:
    column = pa.array([json.dumps({"a": f"x{before}{secret}"}), '{"b":"plain"}'])
    cleaned = redact_json(column)[0].to_pylist()
    assert secret not in cleaned[0] and cleaned[1] == '{"b":"plain"}'


def test_labels_of_metrics_scores_and_reasons_of_dead_letters_hold_no_addresses(ingest: Ingest) -> None:
    point = {
        "timeUnixNano": str(_START),
        "asDouble": 1,
        "attributes": [{"key": "who", "value": {"stringValue": f"met\n{_MAIL}"}}],
    }
    metric = {"name": "m", "gauge": {"dataPoints": [point]}}
    _sent(
        ingest,
        "metrics/json",
        json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]}).encode(),
    )
    said = {"gen_ai.evaluation.name": "judge", "gen_ai.evaluation.score.label": f"label {_MAIL}"}
    record = {
        "eventName": "gen_ai.evaluation.result", "timeUnixNano": str(_START), "spanId": "01" * 8,
        "attributes": [{"key": k, "value": {"stringValue": v}} for k, v in said.items()],
    }  # fmt: skip
    logs = {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}
    _sent(ingest, "logs/json", json.dumps(logs).encode())
    _sent(ingest, "traces/json", _spans({"gen_ai.operation.name": "chat"}, startTimeUnixNano=f"when {_MAIL}"))
    assert (ingest.counts.points, ingest.counts.scores, ingest.counts.dead) == (1, 1, 1)
    assert "example.org" not in _all_text(ingest)


def test_without_text_no_table_quotes_what_was_sent(tmp_path: Path) -> None:
    ingest = Ingest(tmp_path / "lake", Settings(user_secret=b"s" * 32, keep_text=False), start=False)
    secret = {"gen_ai.operation.name": "chat", "gen_ai.prompt": "canary one", "input.value": "canary two"}
    _sent(ingest, "traces/json", _spans(secret))
    _sent(ingest, "traces/json", _spans(secret, startTimeUnixNano="canary three"))
    _sent(ingest, "feedback/json", _feedback({"text": "canary four"}))
    _sent(ingest, "traces/json", b'{"canary": ' + b"[" * 2000)
    assert ingest.counts.dead >= 2 and "canary" not in _all_text(ingest)
    ingest.close()


def test_names_of_attributes_that_senders_invent_do_not_fill_the_memory(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_module, "_MOST_UNMAPPED", 50)
    for part in range(3):
        _sent(ingest, "traces/json", _spans({f"name-{part}-{i}-{'x' * 500}": "v" for i in range(100)}))
    counts = ingest.counts.unmapped
    assert len(counts) <= 51 and counts.total() == 300
    assert max(map(len, counts)) <= 200 and counts["(others)"] >= 250


def test_feedback_of_turns_that_never_come_waits_only_as_long_as_there_is_room(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_module, "_MOST_CHARACTERS", 20_000)
    for part in range(5):
        _sent(
            ingest, "feedback/json", _feedback(*({"response_id": f"r{part}-{i}", "text": "x" * 900} for i in range(10)))
        )
    assert 0 < ingest.counts.waiting <= 14
    _sent(ingest, "traces/json", _spans({"gen_ai.operation.name": "chat", "gen_ai.response.id": "r4-9"}))
    # Acknowledged feedback is in the table once: what was let through, and what met its turn.
    table = ingest.lake.read("feedback").to_pylist()
    assert len({row["feedback_id"] for row in table}) == len(table) == 50 - ingest.counts.waiting
    assert "0101010101010101" in {row["span_id"] for row in table}


def test_feedback_of_one_tenant_does_not_swallow_that_of_another(ingest: Ingest) -> None:
    piece = {"feedback_id": "f-1", "time": "2026-11-02T09:30:00Z"}
    _sent(ingest, "feedback/json", _feedback(piece), tenant="mallory")
    _sent(ingest, "feedback/json", _feedback(piece, {**piece, "response_id": "r2"}), tenant="acme")
    _sent(ingest, "feedback/json", _feedback(piece), tenant="acme")  # sent again: still one
    assert ingest.counts.waiting == 3
    lake = ingest.lake
    assert len(waiting_module.WaitingFeedback.load(lake)) == 3
    _sent(ingest, "traces/json", _spans({"gen_ai.operation.name": "chat", "gen_ai.response.id": "r"}), tenant="acme")
    assert (ingest.counts.waiting, len(ingest.lake.read("feedback"))) == (2, 1)
    assert len(waiting_module.WaitingFeedback.load(lake)) == 2


def test_long_response_ids_are_looked_up_and_not_held(ingest: Ingest) -> None:
    long = "r" * (responses_module._LONGEST_HELD + 1)
    _sent(ingest, "traces/json", _spans({"gen_ai.operation.name": "chat", "gen_ai.response.id": long}))
    assert all(len(name) < 256 for _, name in ingest._responses._recent)
    _sent(ingest, "feedback/json", _feedback({"response_id": long}))
    assert ingest.lake.read("feedback").to_pylist()[0]["span_id"] == "01" * 8


def test_a_sender_that_goes_away_does_not_stop_the_log(tmp_path: Path) -> None:
    log = WriteAheadLog(tmp_path / "wal", window_seconds=0.05)
    gone, stays = log.append(b"first"), log.append(b"second")
    assert not gone.cancel()
    stays.result(timeout=5)
    assert log.append(b"third").result(timeout=5) > 0
    log.close()
    assert [record.payload for record in log.read(0)] == [b"first", b"second", b"third"]


@pytest.mark.parametrize("tenant", ["", " ", "*"])
def test_nobody_can_be_the_tenant_that_means_all(tmp_path: Path, tenant: str) -> None:
    with pytest.raises(UsageError, match="tenant"):
        Control(tmp_path / "control.sqlite").create_key(owner="ada", roles={"analyse"}, tenant=tenant)
