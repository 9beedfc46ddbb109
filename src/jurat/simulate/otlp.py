"""Calls as OpenTelemetry export requests, with the GenAI attributes that stock instrumentations write."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from jurat.errors import MissingExtra
from jurat.simulate.identifiers import mix
from jurat.simulate.wording import ANSWERS, ASKED, BLOCKED, HARMFUL, REFUSALS, pick

__all__ = ["SERVICE", "export_request", "feedback_pieces"]

SERVICE = "simulated-assistant"
"""Name of the service that the resource of every request bears."""

_TEXTS = {
    "gen_ai.request.model": "model",
    "gen_ai.response.model": "model",
    "gen_ai.response.id": "span_id",
    "gen_ai.conversation.id": "conversation_id",
    "user.id": "user_id",
    "http.route": "endpoint",
    "jurat.tier": "tier",
    "jurat.org_id": "org_id",
}
_NUMBERS = {"gen_ai.usage.input_tokens": "tokens_in", "gen_ai.usage.output_tokens": "tokens_out"}


def export_request(spans: pa.Table, *, with_text: bool = True) -> bytes:
    """One OTLP trace export request, in protobuf.

    Parameters
    ----------
    spans
        Rows of the table ``spans``; those of one release share a resource.
    with_text
        Whether prompts and answers go along; without them a server cannot know what was refused.

    Raises
    ------
    MissingExtra
        Where ``opentelemetry-proto`` is not installed.
    """
    try:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    except ImportError as error:
        raise MissingExtra("opentelemetry-proto", "web") from error
    request = ExportTraceServiceRequest()
    rows = spans.to_pylist()
    texts = _texts(rows) if with_text else [(None, None)] * len(rows)
    scopes: dict[str | None, Any] = {}
    for row, (prompt, answer) in zip(rows, texts, strict=True):
        if row["release"] not in scopes:
            group = request.resource_spans.add()
            _text(group.resource.attributes, "service.name", SERVICE)
            if row["release"] is not None:
                _text(group.resource.attributes, "service.version", row["release"])
            scopes[row["release"]] = group.scope_spans.add()
            scopes[row["release"]].scope.name = "jurat.simulate"
        _fill(scopes[row["release"]].spans.add(), row, prompt, answer)
    return bytes(request.SerializeToString())


def _text(attributes: Any, key: str, value: str) -> None:
    one = attributes.add()
    one.key = key
    one.value.string_value = value


def _fill(span: Any, row: dict[str, Any], prompt: str | None, answer: str | None) -> None:
    """Write one call into a span message."""
    span.trace_id, span.span_id = bytes.fromhex(row["trace_id"]), bytes.fromhex(row["span_id"])
    span.name, span.kind = f"chat {row['model']}", 3
    span.start_time_unix_nano = row["ts_us"] * 1000
    span.end_time_unix_nano = row["ts_us"] * 1000 + round((row["latency_ms"] or 0.0) * 1e6)
    attributes = span.attributes
    _text(attributes, "gen_ai.operation.name", "chat")
    _text(attributes, "gen_ai.provider.name", "example")
    for key, name in _TEXTS.items():
        if row[name] is not None:
            _text(attributes, key, row[name])
    for key, name in _NUMBERS.items():
        if row[name] is not None:
            one = attributes.add()
            one.key = key
            one.value.int_value = row[name]
    if row["ttft_ms"] is not None:
        one = attributes.add()
        one.key = "gen_ai.response.time_to_first_chunk"
        one.value.double_value = row["ttft_ms"] / 1000
    if prompt is not None:
        _text(attributes, "gen_ai.input.messages", _message("user", prompt))
    if row["status"] == "error":
        span.status.code = 2
        _text(attributes, "error.type", row["error_type"] or "upstream")
        return
    if answer is not None:
        _text(attributes, "gen_ai.output.messages", _message("assistant", answer))
    reasons = attributes.add()
    reasons.key = "gen_ai.response.finish_reasons"
    reasons.value.array_value.values.add().string_value = "content_filter" if row["blocked"] else "stop"


def _message(role: str, text: str) -> str:
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]}])


def _texts(rows: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """Prompt and answer of each call, fixed by its identifier."""
    numbers = mix(np.array([int(row["span_id"][:15], 16) for row in rows]), key=0x544558)
    shifted = numbers >> np.uint64(16)
    texts = []
    for row, a, b in zip(rows, numbers, shifted, strict=True):
        worse = row["intent"] == "harmful" or ((row["risk_tier"] or 0) > 1 and row["refused"])
        asked = HARMFUL if worse else ASKED.get(row["endpoint"] or "", ASKED["/v1/chat"])
        said = BLOCKED if row["blocked"] else REFUSALS if row["refused"] else ANSWERS
        texts.append((pick(asked, np.array([a]))[0], pick(said, np.array([b]))[0]))
    return texts


def feedback_pieces(feedback: pa.Table) -> list[dict[str, Any]]:
    """Thumbs as ``/v1/feedback`` takes them: 1 or -1, keyed by the response."""
    return [
        {
            "feedback_id": row["feedback_id"],
            "response_id": row["span_id"],
            "conversation_id": row["conversation_id"],
            "user_id": row["user_id"],
            "kind": row["kind"],
            "value": 1 if row["value"] > 0 else -1,
            "time": row["ts"].isoformat(),
        }
        for row in feedback.to_pylist()
    ]
