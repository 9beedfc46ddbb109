"""Logs, metrics, raw attributes and feedback on their way into the lake, whatever comes first and whatever is killed."""

from __future__ import annotations

import base64
import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("opentelemetry.proto")

import httpx2 as httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from jurat.telemetry.derive import Settings
from jurat.telemetry.ingest import Ingest
from jurat.telemetry.reveal import Reader, reveal_conversation
from jurat.telemetry.tenant_view import open_tenant_view
from tests.telemetry.served import served

SETTINGS = Settings(user_secret=b"s" * 32)
START = 1_790_000_000_000_000_000


def trace(span: str, attributes: dict[str, Any], *, second: int = 0) -> bytes:
    pairs = [
        {"key": k, "value": {"intValue": str(v)} if isinstance(v, int) else {"stringValue": v}}
        for k, v in attributes.items()
    ]
    one = {"traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": span,
           "startTimeUnixNano": str(START + second * 10**9), "endTimeUnixNano": str(START + (second + 1) * 10**9),
           "attributes": pairs}  # fmt: skip
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [one]}]}]}).encode()


def logs(*records: dict[str, Any]) -> bytes:
    return json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": list(records)}]}]}).encode()


def event(name: str, attributes: dict[str, Any], *, span: str = "", body: Any = None) -> dict[str, Any]:
    def value(v: Any) -> dict[str, Any]:
        if isinstance(v, dict):
            return {"kvlistValue": {"values": [{"key": k, "value": value(one)} for k, one in v.items()]}}
        return {"doubleValue": v} if isinstance(v, float) else {"stringValue": v}

    found = {"eventName": name, "timeUnixNano": str(START), "spanId": span,
             "attributes": [{"key": k, "value": value(v)} for k, v in attributes.items()]}  # fmt: skip
    return found | ({"body": value(body)} if body is not None else {})


def opened(folder: Path, settings: Settings = SETTINGS) -> Ingest:
    return Ingest(folder / "lake", settings, start=False)


def send(ingest: Ingest, kind: str, body: bytes, tenant: str = "default") -> None:
    ingest.receive(kind, body, tenant=tenant).result(10)


def thumb(response: str, **more: Any) -> bytes:
    return json.dumps({"response_id": response, "kind": "thumb", "value": 1, **more}).encode()


def rows(ingest: Ingest, table: str) -> list[dict[str, Any]]:
    return ingest.lake.read(table).to_pylist() if table in ingest.lake.tables() else []


@pytest.mark.parametrize("order", ["before", "together", "after", "after a restart", "before a restart"])
def test_feedback_finds_its_turn_by_the_response_id(tmp_path: Path, order: str) -> None:
    ingest = opened(tmp_path)
    turn = trace("00f067aa0ba902b7", {"gen_ai.response.id": "chatcmpl-1"})
    steps = [("feedback/json", thumb("chatcmpl-1")), ("traces/json", turn)]
    for kind, body in steps if order.startswith(("before", "together")) else reversed(steps):
        send(ingest, kind, body)
        if order != "together":
            ingest.flush()
        if order == "before":
            assert ingest.counts.waiting == (1 if kind.startswith("feedback") else 0)
        if order.endswith("restart"):
            ingest.close()
            ingest = opened(tmp_path)
    ingest.flush()
    assert [row["span_id"] for row in rows(ingest, "feedback")] == ["00f067aa0ba902b7"]
    assert ingest.counts.waiting == 0
    ingest.close()
    again = opened(tmp_path)
    again.flush()
    assert len(rows(again, "feedback")) == 1 and again.counts.waiting == 0
    again.close()


def test_a_tenant_speaks_of_its_own_turns_only_and_the_house_of_all(tmp_path: Path) -> None:
    ingest = opened(tmp_path)
    theirs = "00f067aa0ba902b7"
    send(
        ingest, "traces/json", trace(theirs, {"gen_ai.response.id": "r1", "input.value": "my question"}), tenant="acme"
    )
    for tenant, about in (("acme", theirs), ("acme", "r1"), ("other", theirs), ("other", "r1"), ("default", theirs)):
        send(ingest, "feedback/json", thumb(about, feedback_id=f"{tenant} {about}"), tenant=tenant)
    injected = event("gen_ai.choice", {}, span=theirs, body={"message": {"content": "I said something else"}})
    judged = {
        "gen_ai.evaluation.name": "quality",
        "gen_ai.evaluation.score.value": 0.0,
        "gen_ai.evaluation.kind": "llm",
    }
    send(ingest, "logs/json", logs(injected, event("gen_ai.evaluation.result", judged, span=theirs)), tenant="other")
    ingest.flush()
    matched = {row["feedback_id"] for row in rows(ingest, "feedback") if row["span_id"] == theirs}
    assert matched == {f"acme {theirs}", "acme r1", f"default {theirs}"}
    assert {row["tenant"] for row in rows(ingest, "waiting_feedback")} == {"other"} and ingest.counts.waiting == 2
    assert [row["subject_id"] for row in rows(ingest, "scores")] == [None]
    assert {row["org_id"]: row["prompt"] or row["response"] for row in rows(ingest, "span_text")} == {
        "acme": "my question", "other": "I said something else",
    }  # fmt: skip
    for tenant in ("acme", "default"):
        with open_tenant_view(tmp_path / "lake", tenant=tenant, tables=("spans", "span_text", "feedback")) as view:
            told = reveal_conversation(
                view,
                "0af7651916cd43dd8448eb211c80319c",
                reader=Reader(name="ann", tenant=tenant, roles=("approve",)),
                reason="a complaint, ticket 5",
                record=lambda *_: None,
            )
            assert "something else" not in str(told) and "my question" in str(told)
    ingest.close()


def test_what_waited_is_not_lost_where_a_commit_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ingest = opened(tmp_path)
    send(ingest, "feedback/json", thumb("r1"))
    ingest.flush()
    send(ingest, "traces/json", trace("00f067aa0ba902b7", {"gen_ai.response.id": "r1"}))
    append, failed = ingest.lake.append, []

    def broken(table: str, *arguments: Any, **named: Any) -> int:
        if table == "rollup_1m" and not failed:
            failed.append(table)
            raise OSError(28, "No space left on device")
        return append(table, *arguments, **named)

    monkeypatch.setattr(ingest.lake, "append", broken)
    with pytest.raises(OSError, match="No space"):
        ingest.flush()
    ingest.flush()
    assert failed and len(rows(ingest, "feedback")) == 1 and len(rows(ingest, "spans")) == 1
    assert ingest.counts.waiting == 0
    ingest.close()


def test_raw_attributes_are_kept_without_text_names_and_personal_data(tmp_path: Path) -> None:
    said = {"gen_ai.system": "openai", "user.id": "ann", "input.value": "my question", "support.mail": "to bob@example.org",
            "order": 4111111111111111, "x.api_key": "api_key=sk4f9Gh2Kq8Zt1Lw7Yp3Rb6"}  # fmt: skip
    ingest = opened(tmp_path)
    send(ingest, "traces/json", trace("00f067aa0ba902b7", said), tenant="acme")
    ingest.flush()
    (row,) = rows(ingest, "span_attributes")
    kept = json.loads(row["attributes"])
    assert (
        kept["gen_ai.system"] == "openai" and kept["order"] == 4111111111111111 and kept["support.mail"] == "to <email>"
    )
    assert "sk4f9" not in row["attributes"] and not {"user.id", "input.value"} & kept.keys()
    assert row["org_id"] == "acme" and row["span_id"] == "00f067aa0ba902b7"
    ingest.close()
    bare = opened(tmp_path / "bare", Settings(user_secret=b"s" * 32, keep_text=False))
    send(bare, "traces/json", trace("00f067aa0ba902b7", said))
    bare.flush()
    assert len(rows(bare, "spans")) == 1 and not rows(bare, "span_attributes") and not rows(bare, "span_text")
    bare.close()


def test_a_tenant_cannot_write_among_anothers_turns(tmp_path: Path) -> None:
    ingest = opened(tmp_path)
    for tenant, span in (("acme", "00f067aa0ba902b7"), ("default", "b7ad6b7169203331")):
        send(ingest, "traces/json", trace(span, {"jurat.org_id": "victim", "tenant.id": "victim"}), tenant=tenant)
    ingest.flush()
    whose = {row["span_id"]: row["org_id"] for row in rows(ingest, "spans")}
    assert whose["00f067aa0ba902b7"] == "acme" and whose["b7ad6b7169203331"] in ("victim", "default")
    ingest.close()


def test_evaluations_become_scores_and_what_people_said_becomes_feedback(tmp_path: Path) -> None:
    ingest = opened(tmp_path)
    send(ingest, "traces/json", trace("00f067aa0ba902b7", {"gen_ai.response.id": "r1"}))
    send(
        ingest,
        "logs/json",
        logs(
            event("gen_ai.evaluation.result", {"gen_ai.evaluation.name": "relevance", "gen_ai.evaluation.score.value": 0.7,
                  "gen_ai.evaluation.score.label": "good", "gen_ai.response.id": "r1", "gen_ai.evaluation.kind": "LLM"}),
            event("gen_ai.evaluation.result", {"gen_ai.evaluation.name": "thumb", "gen_ai.evaluation.score.value": -1.0,
                  "annotation.annotator_kind": "HUMAN", "gen_ai.evaluation.explanation": "write me at eve@example.org"},
                  span="00f067aa0ba902b7"),
            event("gen_ai.evaluation.result", {"gen_ai.evaluation.name": "thumb", "gen_ai.evaluation.score.value": 0.4,
                  "gen_ai.evaluation.kind": "human"}, span="00f067aa0ba902b7"),
            event("app.started", {}),
        ),
    )  # fmt: skip
    ingest.flush()
    scores = {row["judge"]: row for row in rows(ingest, "scores")}
    assert scores["llm"]["subject_id"] == "00f067aa0ba902b7" and scores["llm"]["value"] == 0.7
    assert scores["human"]["value"] == 0.4, "a thumb that is neither up nor down is a score"
    (opinion,) = rows(ingest, "feedback")
    assert (
        opinion["value"] == -1.0
        and opinion["text"] == "write me at <email>"
        and opinion["span_id"] == "00f067aa0ba902b7"
    )
    assert ingest.counts.unmapped["log event app.started"] == 1 and not rows(ingest, "dead_letters")
    ingest.close()


def test_messages_that_come_as_events_are_the_text_of_their_span(tmp_path: Path) -> None:
    ingest = opened(tmp_path)
    span = "00f067aa0ba902b7"
    send(
        ingest,
        "logs/json",
        logs(
            event("gen_ai.user.message", {}, span=span, body={"content": "mail ann@example.org please"}),
            event("gen_ai.choice", {}, span=span, body={"message": {"role": "assistant", "content": "Done."}}),
            event("gen_ai.client.inference.operation.details", {"gen_ai.input.messages": json.dumps(
                [{"role": "user", "parts": [{"type": "text", "content": "Why?"}]}]), "gen_ai.output.messages": json.dumps(
                [{"role": "assistant", "parts": [{"type": "text", "content": "Because."}]}])}, span="b7ad6b7169203331"),
        ),
    )  # fmt: skip
    ingest.flush()
    texts = {row["span_id"]: (row["prompt"], row["response"]) for row in rows(ingest, "span_text")}
    assert texts == {span: ("mail <email> please", "Done."), "b7ad6b7169203331": ("Why?", "Because.")}
    ingest.close()


def test_points_of_metrics_are_rows(tmp_path: Path) -> None:
    point = {"timeUnixNano": str(START), "count": "3", "sum": 6.0, "bucketCounts": ["1", "2"], "explicitBounds": [1.0]}
    body = {"resourceMetrics": [{"scopeMetrics": [{"metrics": [
        {"name": "gen_ai.client.operation.duration", "unit": "s", "histogram": {"dataPoints": [point]}},
        {"name": "queue", "gauge": {"dataPoints": [{"timeUnixNano": str(START), "asInt": "5"}]}}]}]}]}  # fmt: skip
    ingest = opened(tmp_path)
    send(ingest, "metrics/json", json.dumps(body).encode(), tenant="acme")
    ingest.flush()
    found = {row["name"]: row for row in rows(ingest, "metric_points")}
    assert (found["queue"]["value"], found["queue"]["tenant"], ingest.counts.points) == (5.0, "acme", 2)
    duration = found["gen_ai.client.operation.duration"]
    assert (duration["count"], duration["sum"], json.loads(duration["buckets"])["counts"]) == (3, 6.0, [1, 2])
    ingest.close()


def test_the_answer_says_how_many_spans_were_not_taken(tmp_path: Path) -> None:
    request = ExportTraceServiceRequest()
    for place in range(3):
        span = request.resource_spans.add().scope_spans.add().spans.add()
        span.trace_id, span.span_id, span.start_time_unix_nano = b"t" * 16, bytes([place + 1] * 8), START
    request.resource_spans[1].scope_spans[0].spans[0].ClearField("span_id")
    with served(tmp_path) as server:
        answer = httpx.post(f"{server.url}/v1/traces", content=request.SerializeToString(), headers=server.headers)
        partial = ExportTraceServiceResponse.FromString(answer.content).partial_success
        assert answer.status_code == 200 and (partial.rejected_spans, partial.error_message) == (
            1, "span_id is not 8 bytes, or all zero",
        )  # fmt: skip
        server.ingest.flush()
        assert server.ingest.lake.read("spans").num_rows == 2 and server.ingest.counts.dead == 1


def test_a_restart_reads_nothing_again_that_every_table_holds(tmp_path: Path) -> None:
    ingest = opened(tmp_path)
    send(ingest, "traces/json", trace("00f067aa0ba902b7", {"mine": 1}))
    ingest.flush()
    ingest.close()
    again = opened(tmp_path)
    assert again.lag_bytes() == 0 and again.flush() == 0 and again.counts.flushes == 0
    again.close()
    (tmp_path / "lake" / "_wal" / "applied.json").write_text("not JSON", encoding="utf-8")
    third = opened(tmp_path)
    assert third.flush() == 0 and len(rows(third, "spans")) == 1 and len(rows(third, "span_attributes")) == 1
    third.close()


def test_the_server_merges_its_small_files_and_outlives_any_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest = Ingest(tmp_path / "lake", SETTINGS, flush_seconds=0.02, upkeep_commits=3)
    failed: list[int] = []
    commit = Ingest._commit

    def broken(self: Ingest, batch: Any) -> int:
        if not failed:
            failed.append(1)
            raise NameError("a defect")
        return commit(self, batch)

    monkeypatch.setattr(Ingest, "_commit", broken)
    for second in range(8):
        span = f"00f067aa0ba902{second:02x}"
        send(ingest, "traces/json", trace(span, {"gen_ai.conversation.id": "c", "user.id": "u"}, second=second))
        deadline = time.monotonic() + 30
        while ingest.counts.spans <= second and time.monotonic() < deadline:
            time.sleep(0.01)
    deadline = time.monotonic() + 30
    while len(ingest.lake.paths("spans")) >= 8 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(ingest.lake.paths("spans")) < 8 and ingest.counts.flush_errors == 1
    assert ingest.counts.last_error == "NameError: a defect"
    ingest.close()
    turns = [row["turn"] for row in rows(ingest, "spans")]
    assert len(turns) == 8 and turns[:3] == [1, 2, 3]


@pytest.mark.parametrize("copy", [False, True])
def test_a_log_that_was_lost_or_is_an_older_copy_loses_nothing_new(tmp_path: Path, copy: bool) -> None:
    log = tmp_path / "lake" / "_wal"
    ingest = opened(tmp_path)
    send(ingest, "traces/json", trace("00f067aa0ba902b7", {"mine": 1}))
    if copy:
        shutil.copytree(log, tmp_path / "copy")
    ingest.flush()
    send(ingest, "traces/json", trace("00f067aa0ba902b8", {"mine": 2}))
    ingest.close()
    shutil.rmtree(log)
    if copy:
        shutil.copytree(tmp_path / "copy", log)
    for number in range(3):
        again = opened(tmp_path)
        assert again.lag_bytes() == 0
        send(again, "traces/json", trace(f"00f067aa0ba902c{number}", {"mine": 3}))
        again.close()
    spans = [row["span_id"] for row in rows(opened(tmp_path), "spans")]
    assert sorted(spans) == ["00f067aa0ba902b7", "00f067aa0ba902b8", *(f"00f067aa0ba902c{n}" for n in range(3))]


@pytest.mark.parametrize("keep_text", [True, False])
def test_nothing_raw_stays_on_disk_once_it_is_in_the_lake(tmp_path: Path, keep_text: bool) -> None:
    ingest = opened(tmp_path, Settings(user_secret=b"s" * 32, keep_text=keep_text))
    good = trace("00f067aa0ba902b7", {"input.value": "my secret plan, by ann@example.org", "user.id": "ann-the-user"})
    send(ingest, "traces/json", good)
    bad = json.loads(good)
    bad["resourceSpans"][0]["scopeSpans"][0]["spans"].append({"spanId": "short"})
    send(ingest, "traces/json", json.dumps(bad).encode())
    send(ingest, "logs/json", b'{"resourceLogs": "from eve@example.org, a secret plan"}')
    ingest.flush()
    assert len(rows(ingest, "dead_letters")) >= 2
    ingest.close()
    found = b"".join(path.read_bytes() for path in (tmp_path / "lake" / "_wal").rglob("*") if path.is_file())
    letters = [base64.b64decode(r["payload"]) for r in rows(opened(tmp_path), "dead_letters") if r["payload"]]
    assert b"secret" not in found and b"ann" not in found
    assert not any(b"example.org" in letter or b"ann-the-user" in letter for letter in letters)
    assert keep_text or not letters
