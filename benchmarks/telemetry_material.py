"""What the telemetry benchmark sends and reads: requests of 500 spans of 5 KB, narrow turns by the million, lakes of them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jurat.store.lake import Lake
from jurat.store.schema import TABLES
from jurat.telemetry.rollup import minute_rollup

TEXT_BYTES = 2350
DAY_S = 86_400
WORDS = (
    "the model answers what a person asked and says why it is not sure about some of these things when they come late "
    "paper river seven window garden engine copper violet harbour ladder winter pocket silver bridge candle forest "
    "measure balance carry listen begin return gather explain compare decide wander notice wonder follow build"
)


def word_text(size: int, seed: int) -> str:
    """Words drawn by a law like that of real text (rank to the power of -1), long enough to cut ``size`` characters from."""
    rng = np.random.default_rng(seed)
    many = np.array([f"{a}{b}" for a in WORDS.split() for b in ("", "s", "ing", "ly", "er", "ed", "ness", "un")])
    weight = 1.0 / np.arange(1, len(many) + 1)
    chosen = rng.choice(len(many), size // 4, p=weight / weight.sum())
    return " ".join(many[chosen].tolist())[:size]


def bodies(requests: int, spans: int, *, seed: int, start_ns: int, text_bytes: int = TEXT_BYTES) -> list[bytes]:
    """Export requests of GenAI spans with 23 attributes, in traces of five spans each; no span is like another."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    draw = np.random.default_rng(seed)
    text = word_text(requests * spans * 2 * text_bytes + 1, seed)
    made, place, number = [], 0, 0
    for _ in range(requests):
        request = ExportTraceServiceRequest()
        group = request.resource_spans.add()
        for key, value in (("service.name", "bench"), ("service.version", "2026.11.1")):
            one = group.resource.attributes.add()
            one.key, one.value.string_value = key, value
        scope = group.scope_spans.add()
        numbers = draw.integers(1, 2000, size=(spans, 4)).tolist()
        root = b""
        for i in range(spans):
            span = scope.spans.add()
            span.span_id = (seed << 40 | number + 1).to_bytes(8, "big")
            root = span.span_id if i % 5 == 0 else root
            span.trace_id = root + root
            if i % 5:
                span.parent_span_id = root
            span.name, span.kind = "chat", 3
            span.start_time_unix_nano = start_ns + number * 10**6
            span.end_time_unix_nano = span.start_time_unix_nano + numbers[i][0] * 10**6
            texts = text[place : place + text_bytes], text[place + text_bytes : place + 2 * text_bytes]
            place += 2 * text_bytes
            _fill(span.attributes, number, numbers[i], texts)
            number += 1
        made.append(bytes(request.SerializeToString()))
    return made


def _fill(attributes: object, number: int, drawn: list[int], texts: tuple[str, str]) -> None:
    add = attributes.add  # type: ignore[attr-defined]
    strings = {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "example", "gen_ai.request.model": "assistant-base",
        "gen_ai.response.model": "assistant-base-2026", "gen_ai.response.id": f"resp-{number}",
        "gen_ai.conversation.id": f"c{number // 4}", "user.id": f"u{number % 997}", "session.id": f"s{number // 4}",
        "http.route": "/v1/chat", "jurat.tier": ("free", "pro")[number % 2], "jurat.org_id": f"o{number % 53}",
        "jurat.region": "eu", "gen_ai.response.finish_reasons": "stop", "gen_ai.input.messages": texts[0],
        "gen_ai.output.messages": texts[1],
    }  # fmt: skip
    for key, value in strings.items():
        one = add()
        one.key, one.value.string_value = key, value
    whole = {"gen_ai.usage.input_tokens": drawn[1], "gen_ai.usage.output_tokens": drawn[2]}
    whole |= {"gen_ai.request.max_tokens": 1024, "server.port": 443}
    for key, count in whole.items():
        one = add()
        one.key, one.value.int_value = key, count
    for key, real in {
        "gen_ai.request.temperature": 0.7,
        "gen_ai.response.time_to_first_chunk": drawn[3] / 4000,
    }.items():
        one = add()
        one.key, one.value.double_value = key, real
    for key in ("gen_ai.request.stream", "app.flag"):
        one = add()
        one.key, one.value.bool_value = key, True


def narrow(rows: int, users: int, days: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Users (codes) and seconds of turns: users differ in activity, and speak in bursts, so that there are sessions."""
    rng = np.random.default_rng(seed)
    sessions = rows * 23 // 100  # about 4.3 turns a session, as in the store measurements
    owner = np.minimum((users * rng.random(sessions) ** 2).astype(np.int64), users - 1)
    begin = rng.integers(0, days * DAY_S, sessions)
    which = rng.integers(0, sessions, rows)
    return owner[which], begin[which] + rng.integers(0, 1500, rows) + 1_790_000_000


def span_parts(spans: int, end: dt.datetime, days: int, *, part: int = 500_000, seed: int = 3) -> Iterator[pa.Table]:
    """Rows of the table ``spans``, in order of time, up to a moment; parts of half a million."""
    rng = np.random.default_rng(seed)
    schema = TABLES["spans"]
    width = days * DAY_S * 1_000_000 / spans
    origin = int(end.timestamp() * 1e6) - days * DAY_S * 1_000_000
    endpoints, tiers = ["/v1/chat", "/v1/summarise", "/v1/extract", "/v1/agent"], ["free", "pro", "enterprise"]
    releases, orgs = ["2026.11.1", "2026.11.2"], ["org-0", "org-1", "org-2", "org-3"]

    def words(values: list[str], shares: list[float] | None, n: int) -> pa.Array:
        codes = rng.choice(len(values), n, p=shares).astype(np.int32)
        return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(values)).cast(pa.string())

    for first in range(0, spans, part):
        n = min(part, spans - first)
        ts = origin + ((first + np.arange(n) + rng.random(n)) * width).astype(np.int64)
        latency = np.round(1800 * np.exp(0.5 * rng.standard_normal(n)), 3)
        out = rng.integers(20, 600, n)
        failed = rng.random(n) < 0.004
        stamps = pa.array(ts).cast(pa.timestamp("us", tz="UTC"))
        columns = {
            "span_id": pc.cast(pa.array(np.arange(first, first + n)), pa.string()),
            "user_id": words([f"user-{i}" for i in range(5000)], None, n),
            "org_id": words(orgs, [0.7, 0.15, 0.1, 0.05], n), "tier": words(tiers, [0.6, 0.3, 0.1], n),
            "endpoint": words(endpoints, [0.6, 0.2, 0.12, 0.08], n), "release": words(releases, None, n),
            "model": words(["assistant-base", "assistant-large"], [0.9, 0.1], n),
            "ts": stamps, "ts_us": pa.array(ts), "ts_s": pa.array(ts // 1_000_000),
            "day": pc.strftime(stamps, format="%Y-%m-%d"), "latency_ms": pa.array(latency),
            "ttft_ms": pa.array(np.round(latency * 0.2, 3)), "tokens_in": pa.array(rng.integers(20, 2000, n)),
            "tokens_out": pa.array(out), "status": pc.if_else(pa.array(failed), "error", "ok"),
            "error_type": pc.if_else(pa.array(failed), pa.scalar("timeout"), pa.scalar(None, pa.string())),
            "refused": pa.array(rng.random(n) < 0.05), "blocked": pa.array(rng.random(n) < 0.01),
            "cost_usd": pa.array(out * 2.4e-6),
        }  # fmt: skip
        yield pa.table({f.name: columns.get(f.name, pa.nulls(n, f.type)) for f in schema}).cast(schema)


def build_lake(folder: Path, spans: int, end: dt.datetime, *, days: int = 9) -> Lake:
    """A lake of spans and their minutes, as ingest would have left it; one that is there with as many is used again."""
    lake = Lake(folder)
    marker = folder / f"{spans}-{days}-{end:%Y%m%d%H}.done"
    if marker.is_file():
        return lake
    for table in span_parts(spans, end, days):
        lake.append("spans", table)
        lake.append("rollup_1m", minute_rollup(table))
    marker.touch()
    return lake
