"""Applications with stock instrumentations, unchanged but for an endpoint and a header, and what of them is in the lake."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from tests.telemetry.served import served
from tests.telemetry.stub_model import MODEL, PLAIN, STREAMED, stub_model

pytest.importorskip("openai")
pytest.importorskip("opentelemetry.exporter.otlp.proto.http.trace_exporter")

_NEW = {"OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental"}
_CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
VARIANTS = {
    "openinference": {},
    "openai-v2": {_CAPTURE: "true"},
    "openai-v2 new, text in spans": _NEW | {_CAPTURE: "span_only"},
    "openai-v2 new, text in events": _NEW | {_CAPTURE: "event_only"},
    "openai-v2 without text": {_CAPTURE: "false"},
}
"""Each is a service of that name, with these variables."""

TALK = "user: Count to two.\n\nassistant: One, two.\n\nuser: To three?"


@dataclass
class Found:
    """What an application got, and the rows of the lake that speak of it, by what it did: plain, stream, broken."""

    got: dict[str, Any]
    spans: dict[str, dict[str, Any]]
    texts: dict[str, list[dict[str, Any]]]
    raw: dict[str, dict[str, Any]]
    feedback: dict[str, list[dict[str, Any]]]


def _reason(variant: str) -> str:
    """Why a variant cannot run here; nothing if it can."""
    if variant == "openinference":
        return "" if importlib.util.find_spec("openinference") else "openinference-instrumentation-openai is missing"
    try:
        version("opentelemetry-instrumentation-openai-v2")
        fits = int(version("opentelemetry-util-genai").split(".")[0]) < 1
    except PackageNotFoundError:
        return "opentelemetry-instrumentation-openai-v2 is missing"
    return "" if fits else "openai-v2 2.x imports what opentelemetry-util-genai had before 1.0"


def _start(variant: str, url: str, token: str, stub: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")} | VARIANTS[
        variant
    ]
    environment |= {
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{token}",
        "OTEL_SERVICE_NAME": variant,
        "OTEL_RESOURCE_ATTRIBUTES": "service.version=2.1",
    }
    program = [sys.executable, str(Path(__file__).with_name("instrumented_app.py")), variant, stub]
    return subprocess.Popen(program, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Found]:
    folder = tmp_path_factory.mktemp("instrumented")
    with stub_model() as stub, served(folder, flush_seconds=60) as server:
        running = {one: _start(one, server.url, server.token, stub) for one in VARIANTS if not _reason(one)}
        got = {}
        for one, process in running.items():
            out, err = process.communicate(timeout=120)
            assert process.returncode == 0, err[-2000:]
            assert "Failed to export" not in err, err[-2000:]
            got[one] = json.loads(out)
        for answer in got.values():
            for what in ("plain", "stream"):
                body = {"response_id": answer[what], "kind": "thumb", "value": 1}
                sent = httpx.post(
                    f"{server.url}/v1/feedback", json=body, headers={"authorization": f"Bearer {server.token}"}
                )
                assert sent.json() == {"accepted": 1}
        server.ingest.flush()
        assert not server.ingest.lake.read("dead_letters").num_rows and not server.ingest.counts.unmapped
        tables = {
            name: server.ingest.lake.read(name).to_pylist()
            for name in ("spans", "span_text", "span_attributes", "feedback")
        }
    return {one: _found(one, got[one], tables) for one in got}


def _found(variant: str, got: dict[str, Any], tables: dict[str, list[dict[str, Any]]]) -> Found:
    raw = {row["span_id"]: json.loads(row["attributes"]) for row in tables["span_attributes"]}
    own = [row for row in tables["spans"] if raw[row["span_id"]]["@resource"]["service.name"] == variant]
    assert len(own) == 3
    spans = dict(zip(("plain", "stream", "broken"), sorted(own, key=lambda row: row["ts_us"]), strict=True))
    by_turn = {
        name: {what: [row for row in tables[name] if row["span_id"] == span["span_id"]] for what, span in spans.items()}
        for name in ("span_text", "feedback")
    }
    return Found(
        got=got,
        spans=spans,
        texts=by_turn["span_text"],
        raw={what: raw[span["span_id"]] for what, span in spans.items()},
        feedback=by_turn["feedback"],
    )


@pytest.fixture(params=list(VARIANTS))
def variant(request: pytest.FixtureRequest) -> str:
    if reason := _reason(request.param):
        pytest.skip(reason)
    return str(request.param)


def test_the_application_got_its_answers_as_if_nobody_watched(everything: dict[str, Found], variant: str) -> None:
    got = everything[variant].got
    assert (got["said"], got["error"]) == (STREAMED, "RateLimitError")
    assert got["plain"].startswith("chatcmpl-") and got["stream"] != got["plain"]


def test_model_tokens_release_and_times_are_facts(everything: dict[str, Found], variant: str) -> None:
    spans = everything[variant].spans
    for what, tokens in (("plain", (21, 8)), ("stream", (14, 6))):
        row = spans[what]
        assert (row["model"], row["tokens_in"], row["tokens_out"]) == (MODEL, *tokens), what
        assert (row["status"], row["release"], row["org_id"]) == ("ok", "2.1", "acme")
        assert 0 < row["latency_ms"] < 60_000


def test_a_turn_that_failed_is_an_error_of_the_model_that_was_asked(everything: dict[str, Found], variant: str) -> None:
    row = everything[variant].spans["broken"]
    assert row["status"] == "error" and row["error_type"].rpartition(".")[2] == "RateLimitError"
    assert row["model"] == "broken" and row["tokens_out"] is None


def test_feedback_by_the_id_of_the_answer_ends_on_its_turn(everything: dict[str, Found], variant: str) -> None:
    found = everything[variant]
    for what in ("plain", "stream"):
        (piece,) = found.feedback[what]
        assert (piece["kind"], piece["value"]) == ("thumb", 1.0)
    assert found.feedback["broken"] == []


def test_text_is_redacted_and_kept_apart_whichever_way_it_came(everything: dict[str, Found], variant: str) -> None:
    found = everything[variant]
    if variant == "openai-v2 without text":
        assert not any(found.texts.values())
        return
    said = {what: [(row["prompt"], row["response"]) for row in rows] for what, rows in found.texts.items()}
    assert said["plain"] == [("Whom do I ask? I am <email>.", PLAIN)]
    assert said["stream"] == [(TALK, STREAMED)]
    assert said["broken"] == [("Will it work?", None)]


def test_raw_attributes_are_kept_without_the_text(everything: dict[str, Found], variant: str) -> None:
    raw = everything[variant].raw
    named = {"openinference": ("llm.model_name", "llm.token_count.completion")}
    model, tokens = named.get(variant, ("gen_ai.response.model", "gen_ai.usage.output_tokens"))
    assert (raw["plain"][model], raw["plain"][tokens]) == (MODEL, 8)
    assert raw["plain"]["@resource"]["telemetry.sdk.language"] == "python"
    kept = json.dumps(raw)
    for words in ("example.org", "Whom do I ask", PLAIN, STREAMED, "You are brief", "Count to two"):
        assert words not in kept, words
