"""Dialects of instrumentation, one fixture each, and the table of names itself."""

from __future__ import annotations

import json

import pytest

from jurat.errors import SpecError, UnknownName
from jurat.telemetry.aliases import load_aliases
from jurat.telemetry.wire import decode_traces

START = 1_790_000_000_000_000_000


def _any(value):
    if isinstance(value, list):
        return {"arrayValue": {"values": [_any(one) for one in value]}}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"doubleValue": value} if isinstance(value, float) else {"stringValue": value}


def _attributes(values):
    return [{"key": key, "value": _any(value)} for key, value in values.items()]


def _row(attributes, resource=None, events=()):
    span = {
        "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331", "startTimeUnixNano": START,
        "endTimeUnixNano": START + 2_000_000_000, "attributes": _attributes(attributes),
        "events": [{"name": name, "attributes": _attributes(values)} for name, values in events],
    }  # fmt: skip
    group = {"resource": {"attributes": _attributes(resource or {})}, "scopeSpans": [{"spans": [span]}]}
    decoded = decode_traces(json.dumps({"resourceSpans": [group]}).encode(), encoding="json", aliases=load_aliases())
    assert decoded.rejected == []
    row = decoded.spans.to_pylist()[0]
    return {k: v for k, v in row.items() if v is not None}, decoded.unmapped


MESSAGES = json.dumps(
    [
        {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]},
        {"role": "user", "parts": [{"type": "text", "content": "Hi ☕"}, {"type": "blob", "data": "AA"}]},
        {"role": "assistant", "parts": [{"type": "text", "content": "Yes?"}]},
    ]
)


def test_new_names_of_otel_win_over_old_ones_and_seconds_become_milliseconds():
    row, unmapped = _row(
        {
            "gen_ai.system": "old", "gen_ai.provider.name": "new", "gen_ai.usage.prompt_tokens": 1,
            "gen_ai.usage.input_tokens": 2, "gen_ai.response.time_to_first_chunk": 0.25, "gen_ai.request.stream": True,
            "gen_ai.response.finish_reasons": ["stop", "length"], "gen_ai.input.messages": MESSAGES,
            "gen_ai.output.messages": json.dumps([{"role": "assistant", "parts": [{"type": "text", "content": "Hm"}]}]),
            "my.own": 3,
        }
    )  # fmt: skip
    assert (row["provider"], row["tokens_in"], row["ttft_ms"], row["stream"]) == ("new", 2, 250.0, True)
    assert (row["finish_reason"], row["response"], row["system"]) == ("stop", "Hm", "Be brief.")
    assert row["prompt"] == "user: Hi ☕\n\nassistant: Yes?"
    assert row["latency_ms"] == 2000.0 and row["status"] == "ok" and unmapped == {"my.own": 1}


def test_openinference_messages_in_pieces_are_joined_in_the_order_of_their_numbers():
    pieces = {
        f"llm.input_messages.{i}.message.{part}": value
        for i in (10, 2, 0)
        for part, value in (("content", f"text {i}"), ("role", "system" if i == 0 else "user"))
    }
    documents = {
        "retrieval.documents.1.document.id": "b", "retrieval.documents.0.document.id": "a",
        "retrieval.documents.0.document.score": 0.5,
    }  # fmt: skip
    row, unmapped = _row(
        pieces | documents | {
            "openinference.span.kind": "LLM", "llm.model_name": "m", "llm.token_count.prompt": 5,
            "llm.output_messages.0.message.contents.0.message_content.text": "one",
            "llm.output_messages.0.message.contents.1.message_content.text": "two",
            "input.value": "whole", "session.id": "s", "metadata": '{"tier": "pro"}',
        }
    )  # fmt: skip
    assert row["prompt"] == "user: text 2\n\nuser: text 10" and row["system"] == "text 0"
    assert row["response"] == "one\ntwo" and row["tier"] == "pro" and row["tokens_in"] == 5
    assert json.loads(row["retrieved"]) == [{"id": "a", "score": 0.5}, {"id": "b"}]
    assert (row["model_requested"], row["session_id"], unmapped) == ("m", "s", {})


def test_the_answer_of_a_models_server_gives_its_id_and_the_output_of_a_tool_gives_none():
    answer = {"id": "chatcmpl-1", "model": "m-1", "choices": []}
    row, unmapped = _row({"output.value": json.dumps(answer), "llm.invocation_parameters": '{"model": "m", "seed": 1}'})
    assert (row["response_id"], row["model_requested"]) == ("chatcmpl-1", "m") and not unmapped
    named, _ = _row({"output.value": json.dumps(answer), "gen_ai.response.id": "own", "llm.model_name": "asked"})
    assert named["response_id"] == "own"
    for output in ('{"id": "order-7", "total": 3}', '["chatcmpl-1"]', "chatcmpl-1", '{"id": "chatcmpl-1", "model'):
        row, _ = _row({"output.value": output})
        assert "response_id" not in row, output


def test_langfuse_usage_and_the_time_of_the_first_token_are_read_from_json():
    row, unmapped = _row(
        {
            "langfuse.observation.type": "generation", "langfuse.observation.model.name": "m",
            "langfuse.observation.usage_details": '{"input": 11, "output": 7, "total": 18}',
            "langfuse.observation.completion_start_time": '"2026-09-21T14:13:20.500000Z"',
            "langfuse.observation.input": '[{"role": "user", "content": "Q"}]', "langfuse.observation.output": "A",
            "langfuse.environment": "prod", "langfuse.trace.metadata.tier": "free", "user.id": "u",
        }
    )  # fmt: skip
    assert (row["tokens_in"], row["tokens_out"], row["model"], row["prompt"], row["response"]) == (11, 7, "m", "Q", "A")
    assert row["ttft_ms"] == pytest.approx(500.0, abs=1e-3)
    assert (row["environment"], row["tier"], row["user_id"], unmapped) == ("prod", "free", "u", {})


def test_openllmetry_prompts_in_pieces_and_association_properties_are_read():
    row, _ = _row(
        {
            "gen_ai.system": "OpenAI", "gen_ai.prompt.0.role": "user", "gen_ai.prompt.0.content": "Q",
            "gen_ai.completion.0.content": "A", "gen_ai.completion.0.role": "assistant",
            "gen_ai.completion.0.finish_reason": "stop", "llm.is_streaming": False, "gen_ai.usage.completion_tokens": "12",
            "traceloop.association.properties.user_id": "u1",
        }
    )  # fmt: skip
    assert (row["prompt"], row["response"], row["finish_reason"], row["stream"]) == ("Q", "A", "stop", False)
    assert (row["tokens_out"], row["user_id"], row["provider"]) == (12, "u1", "OpenAI")


def test_a_resource_stands_below_the_span_and_an_exception_makes_an_error():
    resource = {"service.name": "svc", "service.version": "9", "deployment.environment": "test"}
    row, _ = _row({"langfuse.environment": "prod"}, resource, [("exception", {"exception.type": "TimeoutError"})])
    assert (row["service"], row["release"], row["environment"]) == ("svc", "9", "prod")
    assert (row["error_type"], row["status"]) == ("TimeoutError", "error")
    assert json.loads(row["attributes"]) == {"langfuse.environment": "prod", "@resource": resource}


def test_numbers_that_are_none_are_counted_and_leave_the_cell_empty():
    row, unmapped = _row({"gen_ai.usage.input_tokens": "many", "gen_ai.usage.output_tokens": 1.5})
    assert "tokens_in" not in row and "tokens_out" not in row
    assert unmapped == {"gen_ai.usage.input_tokens (unreadable)": 1}


def test_a_table_with_an_unknown_column_a_name_twice_or_no_version_is_refused(tmp_path):
    file = tmp_path / "a.toml"
    for text, error in (
        ('version = 1\n[text]\ntear = ["a"]', UnknownName),
        ('version = 1\n[text]\ntier = ["a", "a"]', SpecError),
        ('[text]\ntier = ["a"]', SpecError),
        ("version =", SpecError),
        ("version = 1\n[texts]", UnknownName),
    ):
        file.write_text(text)
        with pytest.raises(error):
            load_aliases(file)
