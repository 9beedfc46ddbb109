"""OTLP logs and metrics as tables: what was said of an answer, what an inference held, and the points of each metric.

They come at a small fraction of the rate of spans, so they are read message by message.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from jurat.errors import DataError, UsageError
from jurat.telemetry.otlp_json import json_to_wire, parse_message, read_field

__all__ = [
    "INFERENCE_COLUMNS",
    "METRIC_COLUMNS",
    "SCORE_COLUMNS",
    "DecodedLogs",
    "DecodedMetrics",
    "decode_logs",
    "decode_metrics",
]

_S, _L, _F = pa.string(), pa.int64(), pa.float64()
SCORE_COLUMNS = pa.schema(
    [
        ("trace_id", _S), ("span_id", _S), ("response_id", _S), ("ts_us", _L), ("name", _S), ("value", _F), ("label", _S),
        ("explanation", _S), ("kind", _S), ("attributes", _S),
    ]
)  # fmt: skip
"""One row an evaluation; ``kind`` is who judged: human, llm, code, or nothing."""

INFERENCE_COLUMNS = pa.schema(
    [
        ("trace_id", _S),
        ("span_id", _S),
        ("ts_us", _L),
        ("event", _S),
        ("response_id", _S),
        ("body", _S),
        ("attributes", _S),
    ]
)
"""One row an event of a model's turn; the span it belongs to is named."""

METRIC_COLUMNS = pa.schema(
    [
        ("name", _S), ("unit", _S), ("kind", _S), ("attributes", _S), ("ts_us", _L), ("value", _F), ("count", _L),
        ("sum", _F), ("buckets", _S), ("service", _S),
    ]
)  # fmt: skip
"""One row a data point."""

_EVALUATION = "gen_ai.evaluation.result"
_KINDS = ("gauge", "sum", "histogram", "exponential_histogram", "summary")
_MOST_LISTED = 1000
_Encoding = Literal["protobuf", "json"] | str


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedLogs:
    """What a request of logs holds.

    Attributes
    ----------
    scores
        Evaluations, with the schema `SCORE_COLUMNS`.
    events
        Other events whose name begins with ``gen_ai.``, with the schema `INFERENCE_COLUMNS`.
    rejected
        Number and reason of each record that could not be read; -1 for a group of them.
    skipped
        Names of the other events, ``""`` for plain log lines, and how many there were.
    """

    scores: pa.Table
    events: pa.Table
    rejected: list[tuple[int, str]]
    skipped: Counter[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedMetrics:
    """What a request of metrics holds.

    Attributes
    ----------
    points
        A row a data point, with the schema `METRIC_COLUMNS`.
    rejected
        Number and reason of each metric that could not be read; -1 for a group of them.
    """

    points: pa.Table
    rejected: list[tuple[int, str]]


def decode_logs(payload: bytes, *, encoding: _Encoding) -> DecodedLogs:
    """Decode an ExportLogsServiceRequest.

    Parameters
    ----------
    payload
        The request's body, uncompressed.
    encoding
        ``"protobuf"`` or ``"json"``.

    Returns
    -------
    DecodedLogs

    Raises
    ------
    DataError
        Where JSON is not JSON.
    UsageError
        Where the encoding is unknown.

    Notes
    -----
    Who judged is read from ``gen_ai.evaluation.kind`` or OpenInference's ``annotation.annotator_kind``.

    Examples
    --------
    >>> body = b'{"resourceLogs": [{"scopeLogs": [{"logRecords": [{"eventName": "gen_ai.evaluation.result", "attributes": [{"key": "gen_ai.evaluation.name", "value": {"stringValue": "thumb"}}, {"key": "gen_ai.evaluation.score.value", "value": {"doubleValue": 1}}]}]}]}]}'
    >>> decode_logs(body, encoding="json").scores.select(["name", "value"]).to_pylist()
    [{'name': 'thumb', 'value': 1.0}]
    """  # noqa: E501
    data, reasons = _binary("LogsRequest", payload, encoding)
    rejected: list[tuple[int, str]] = []
    scores, events, skipped = [], [], Counter[str]()
    for _, _, record in _items(data, ("LogRecord", 2), reasons, rejected):
        attributes = record.get("attributes", {})
        name = record.get("event_name") or attributes.get("event.name") or ""
        time = record.get("time_unix_nano") or record.get("observed_time_unix_nano") or 0
        shared = {
            "trace_id": record.get("trace_id") or None,
            "span_id": record.get("span_id") or None,
            "response_id": _word(attributes.get("gen_ai.response.id")),
            "ts_us": time // 1000 or None,
            "attributes": _json(attributes),
        }
        if name == _EVALUATION:
            scores.append(shared | _score(attributes))
        elif str(name).startswith("gen_ai."):
            body = record.get("body")
            events.append(shared | {"event": name, "body": None if body is None else _json(body)})
        else:
            skipped[str(name)[:256]] += 1
    return DecodedLogs(
        scores=pa.Table.from_pylist(scores, SCORE_COLUMNS),
        events=pa.Table.from_pylist(events, INFERENCE_COLUMNS),
        rejected=rejected,
        skipped=skipped,
    )


def _score(attributes: Mapping[str, Any]) -> dict[str, Any]:
    kind = attributes.get("gen_ai.evaluation.kind", attributes.get("annotation.annotator_kind"))
    return {
        "name": _word(attributes.get("gen_ai.evaluation.name")),
        "value": _finite(attributes.get("gen_ai.evaluation.score.value")),
        "label": _word(attributes.get("gen_ai.evaluation.score.label")),
        "explanation": _word(attributes.get("gen_ai.evaluation.explanation")),
        "kind": kind.lower() if isinstance(kind, str) else None,
    }


def decode_metrics(payload: bytes, *, encoding: _Encoding) -> DecodedMetrics:
    """Decode an ExportMetricsServiceRequest.

    Parameters
    ----------
    payload
        The request's body, uncompressed.
    encoding
        ``"protobuf"`` or ``"json"``.

    Returns
    -------
    DecodedMetrics
        Gauges and sums have a value, the others count, sum and buckets: JSON with ``bounds`` and ``counts`` (histogram),
        ``scale``, ``zero``, ``positive`` and ``negative`` (exponential), or ``quantiles`` (summary).

    Raises
    ------
    DataError
        Where JSON is not JSON.
    UsageError
        Where the encoding is unknown.

    Examples
    --------
    >>> body = b'{"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "m", "unit": "s", "gauge": {"dataPoints": [{"timeUnixNano": "5000", "asInt": "3"}]}}]}]}]}'
    >>> decode_metrics(body, encoding="json").points.select(["name", "ts_us", "value"]).to_pylist()
    [{'name': 'm', 'ts_us': 5, 'value': 3.0}]
    """  # noqa: E501
    data, reasons = _binary("MetricsRequest", payload, encoding)
    rejected: list[tuple[int, str]] = []
    rows = []
    for _, resource, metric in _items(data, ("Metric", 2), reasons, rejected):
        for kind in _KINDS:
            for point in metric.get(kind, {}).get("data_points", []):
                rows.append(
                    {
                        "name": metric.get("name") or None,
                        "unit": metric.get("unit") or None,
                        "kind": kind,
                        "attributes": _json(point.get("attributes", {})),
                        "ts_us": point.get("time_unix_nano", 0) // 1000 or None,
                        "value": _finite(point.get("as_double", point.get("as_int"))),
                        "count": _whole(point.get("count")),
                        "sum": _finite(point.get("sum")),
                        "buckets": _buckets(kind, point),
                        "service": _word(resource.get("service.name")),
                    }
                )
    return DecodedMetrics(points=pa.Table.from_pylist(rows, METRIC_COLUMNS), rejected=rejected)


def _buckets(kind: str, point: Mapping[str, Any]) -> str | None:
    if kind == "histogram":
        return _json({"bounds": point.get("explicit_bounds", []), "counts": point.get("bucket_counts", [])})
    if kind == "exponential_histogram":
        sides = {
            side: {"offset": one.get("offset", 0), "counts": one.get("bucket_counts", [])}
            for side in ("positive", "negative")
            if (one := point.get(side))
        }
        return _json({"scale": point.get("scale", 0), "zero": point.get("zero_count", 0), **sides})
    if kind == "summary":
        quantiles = [[one.get("quantile", 0.0), one.get("value", 0.0)] for one in point.get("quantile_values", [])]
        return _json({"quantiles": quantiles})
    return None


def _binary(message: str, payload: bytes, encoding: str) -> tuple[bytes, dict[int, str]]:
    if encoding == "json":
        return json_to_wire(message, payload)
    if encoding != "protobuf":
        raise UsageError("unknown encoding", seen=repr(encoding), next_step="use 'protobuf' or 'json'")
    return payload, {}


def _items(
    data: bytes, wanted: tuple[str, int], reasons: Mapping[int, str], rejected: list[tuple[int, str]]
) -> Iterator[tuple[int, Mapping[str, Any], dict[str, Any]]]:
    """Number, resource's attributes and fields of each record; what cannot be read goes into ``rejected``."""
    message, field = wanted
    number = 0
    for group in _bodies(data, 1, rejected):
        resource: Mapping[str, Any] = {}
        for body in _bodies(group, 1, rejected):
            try:
                resource = parse_message("Resource", body).get("attributes", {})
            except ValueError as error:
                _reject(rejected, -1, f"resource: {error}")
        for scope in _bodies(group, 2, []):
            for body in _bodies(scope, field, rejected):
                try:
                    if number in reasons:
                        raise DataError(reasons[number])
                    yield number, resource, parse_message(message, body)
                except (ValueError, DataError) as error:
                    _reject(rejected, number, str(error))
                number += 1


def _bodies(data: bytes, number: int, rejected: list[tuple[int, str]]) -> Iterator[bytes]:
    """Bodies of a field; where the rest cannot be read that is told, and what came before stands."""
    try:
        yield from _fields(data, number)
    except ValueError as error:
        _reject(rejected, -1, str(error))


def _fields(data: bytes, number: int) -> Iterator[bytes]:
    place = 0
    while place < len(data):
        found, wire, body, place = read_field(data, place)
        if found == number and wire == 2 and isinstance(body, bytes):
            yield body


def _reject(rejected: list[tuple[int, str]], number: int, reason: str) -> None:
    if len(rejected) < _MOST_LISTED:
        rejected.append((number, reason))


def _json(value: Any) -> str:
    return json.dumps(_sayable(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _sayable(value: Any) -> Any:
    """Bounds and sums that JSON has no number for, as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, list):
        return [_sayable(one) for one in value]
    return {key: _sayable(one) for key, one in value.items()} if isinstance(value, dict) else value


def _word(value: Any) -> str | None:
    return None if value in (None, "") else value if isinstance(value, str) else _json(value)


def _finite(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and abs(value) < 1 << 63 else None
