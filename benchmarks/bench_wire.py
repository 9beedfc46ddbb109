"""Our decoder beside protobuf (upb) with a Python loop, on the same requests of 500 spans; equality is asserted first.

Both make the same table: every column of `SPAN_COLUMNS` and the raw attributes as JSON.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from benchmarks.record import Row, report, side_by_side
from jurat.telemetry.aliases import SPAN_COLUMNS, AliasTable, load_aliases
from jurat.telemetry.cells import flatten_messages
from jurat.telemetry.wire import decode_traces

SPANS = 500
WORDS = [
    "the",
    "model",
    "answers",
    "what",
    "a",
    "person",
    "asked",
    "and",
    "says",
    "why",
    "it",
    "is",
    "not",
    "sure",
    "about",
    "some",
    "of",
    "it",
    "“quoted”\nline\tα",
    "β",
]


def python_value(value: Any) -> Any:
    """Value of an AnyValue message."""
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [python_value(one) for one in value.array_value.values]
    if kind == "kvlist_value":
        return {one.key: python_value(one.value) for one in value.kvlist_value.values}
    return getattr(value, kind)


class PythonDecoder:
    """What one writes with the generated classes: parse, loop, look names up, build the table."""

    def __init__(self, aliases: AliasTable) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        self.request = ExportTraceServiceRequest
        order = list(aliases.columns)
        self.names: dict[str, tuple[str, int, float]] = {
            name: (order[column], int(rank), float(factor))
            for name, column, rank, factor in zip(
                aliases.names, aliases.column_of, aliases.rank_of, aliases.factor_of, strict=True
            )
            if column >= 0
        }
        self.kinds = aliases.columns

    def __call__(self, payload: bytes) -> pa.Table:
        columns: dict[str, list[Any]] = {field.name: [] for field in SPAN_COLUMNS}
        for resource_spans in self.request.FromString(payload).resource_spans:
            resource = {one.key: python_value(one.value) for one in resource_spans.resource.attributes}
            for scope in resource_spans.scope_spans:
                for span in scope.spans:
                    row = self.row(span, resource)
                    for name, values in columns.items():
                        values.append(row.get(name))
        return pa.table(columns, schema=SPAN_COLUMNS)

    def row(self, span: Any, resource: dict[str, Any]) -> dict[str, Any]:
        own = {one.key: python_value(one.value) for one in span.attributes}
        row: dict[str, Any] = {
            "span_id": span.span_id.hex(),
            "trace_id": span.trace_id.hex(),
            "parent_id": span.parent_span_id.hex() or None,
            "ts_us": span.start_time_unix_nano // 1000,
            "end_us": span.end_time_unix_nano // 1000 or None,
        }
        if span.end_time_unix_nano >= span.start_time_unix_nano:
            row["latency_ms"] = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6
        self.mapped(resource.items(), row, {}, 2000)
        taken: dict[str, int] = {}
        self.mapped(own.items(), row, taken, 0)
        for event in span.events:
            self.mapped(((one.key, python_value(one.value)) for one in event.attributes), row, taken, 1000)
        failed = span.status.code == 2 or (span.status.code == 0 and row.get("error_type") is not None)
        row["status"] = "error" if failed else "ok"
        row["attributes"] = json.dumps({**own, "@resource": resource} if resource else own, ensure_ascii=False)
        return row

    def mapped(self, items: Iterable[tuple[str, Any]], row: dict[str, Any], taken: dict[str, int], base: int) -> None:
        for key, value in items:
            found = self.names.get(key)
            if found is None or value is None or value == "":
                continue
            column, rank, factor = found
            if base + rank > taken.get(column, 1 << 30):
                continue
            taken[column] = base + rank
            kind = self.kinds[column]
            if kind == "integer":
                row[column] = int(value)
            elif kind == "real":
                row[column] = value * factor
            elif kind == "messages" and value[0] in "[{":
                text, system = flatten_messages(
                    json.loads(value), labelled=column == "prompt", split=column == "prompt"
                )
                row[column] = text
                if system:
                    row["system"] = system
            elif isinstance(value, list):
                row[column] = value[0]
            else:
                row[column] = value


def payload(kind: str, spans: int = SPANS, seed: int = 7) -> bytes:
    """A request of chat spans with 23 attributes: ``wide`` (5 KB of text), ``small``, or ``messages`` (wide, as JSON)."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    draw = random.Random(seed)
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()

    def put(target: Any, key: str, value: Any) -> None:
        one = target.add()
        one.key = key
        if isinstance(value, list):
            for item in value:
                one.value.array_value.values.add().string_value = item
        else:
            name = {bool: "bool_value", int: "int_value", float: "double_value", str: "string_value"}[type(value)]
            setattr(one.value, name, value)

    for key, value in {
        "service.name": "chat",
        "service.version": "2026.11",
        "deployment.environment.name": "prod",
    }.items():
        put(group.resource.attributes, key, value)
    scope = group.scope_spans.add()
    for _ in range(spans):
        span = scope.spans.add()
        span.trace_id, span.span_id, span.parent_span_id = (draw.randbytes(n) for n in (16, 8, 8))
        span.name, span.kind = "chat gpt", 3
        span.start_time_unix_nano = 1_790_000_000_000_000_000 + draw.randrange(10**12)
        span.end_time_unix_nano = span.start_time_unix_nano + draw.randrange(10**10)
        length = 2350 if kind != "small" else 20
        texts = []
        for _side in range(2):
            text = ""
            while len(text) < length:
                text += draw.choice(WORDS) + " "
            texts.append(text[:length])
        if kind == "messages":
            texts = [
                json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]}], ensure_ascii=False)
                for role, text in zip(("user", "assistant"), texts, strict=True)
            ]
        attributes = {
            "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "m-large",
            "gen_ai.response.model": "m-large-2026", "gen_ai.response.id": f"resp-{draw.randrange(10**9)}",
            "gen_ai.conversation.id": f"c{draw.randrange(10**5)}", "user.id": f"u{draw.randrange(10**4)}",
            "session.id": f"s{draw.randrange(10**5)}", "gen_ai.usage.input_tokens": draw.randrange(4000),
            "gen_ai.usage.output_tokens": draw.randrange(2000), "gen_ai.response.finish_reasons": ["stop"],
            "gen_ai.response.time_to_first_chunk": round(draw.random(), 4), "gen_ai.request.temperature": 0.7,
            "gen_ai.request.max_tokens": 1024, "gen_ai.request.stream": True, "http.route": "/v1/chat",
            "jurat.tier": draw.choice(["free", "pro"]), "jurat.org_id": f"o{draw.randrange(200)}", "jurat.region": "eu",
            "server.port": 443, "app.flag": False, "gen_ai.input.messages": texts[0], "gen_ai.output.messages": texts[1],
        }  # fmt: skip
        for key, value in attributes.items():
            put(span.attributes, key, value)
    return bytes(request.SerializeToString())


def equal(ours: pa.Table, theirs: pa.Table) -> None:
    """Assert that two tables say the same; JSON by what it means."""
    assert ours.schema == theirs.schema
    for name in SPAN_COLUMNS.names:
        a, b = ours[name].to_pylist(), theirs[name].to_pylist()
        if name == "attributes":
            a, b = [json.loads(x) for x in a], [json.loads(x) for x in b]
        assert a == b, name


def rows(kinds: Iterable[tuple[str, float | None]]) -> list[Row]:
    aliases = load_aliases()
    peer = PythonDecoder(aliases)
    found = []
    for kind, goal in kinds:
        body = payload(kind)
        equal(decode_traces(body, encoding="protobuf", aliases=aliases).spans, peer(body))
        print(f"{kind}: {len(body) / SPANS:.0f} bytes a span, tables equal", file=sys.stderr)
        found.append(
            side_by_side(
                f"decode {SPANS * 10:,} spans, {kind}, {len(body) / SPANS / 1000:.1f} KB each",
                lambda body=body: [decode_traces(body, encoding="protobuf", aliases=aliases) for _ in range(10)],
                lambda body=body: [peer(body) for _ in range(10)],
                peer_name="protobuf upb + Python loop",
                goal=goal,
                rounds=int(os.environ.get("ROUNDS", "5")),
            )
        )
    return found


if __name__ == "__main__":
    report("bench-wire", rows([("wide", 4.0), ("small", 10.0), ("messages", None)]))
