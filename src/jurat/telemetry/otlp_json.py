"""OTLP as JSON turned into its binary form, and the binary form of any message turned into Python values.

One table of messages drives both. Everything is read by one decoder after that, so a request means the same in either form.
Names may be in camel case or with underscores; ids are hexadecimal; 64-bit numbers may be text; what is not known is skipped.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

from jurat.errors import DataError

__all__ = ["MOST_DEPTH", "json_to_wire", "parse_message", "read_field"]

MOST_DEPTH = 100
"""Messages within messages; deeper ones are refused, as protobuf's own parsers do."""

_WIRE = {
    "string": 2, "bytes": 2, "hex": 2, "message": 2, "bool": 0, "int64": 0, "enum": 0, "sint32": 0, "fixed64": 1,
    "sfixed64": 1, "double": 1,
}  # fmt: skip
_STRUCT = {"fixed64": struct.Struct("<Q"), "sfixed64": struct.Struct("<q"), "double": struct.Struct("<d")}
_ENUMS = {"STATUS_CODE_UNSET": 0, "STATUS_CODE_OK": 1, "STATUS_CODE_ERROR": 2}
_WHOLE = (1 << 64) - 1


class _Field(NamedTuple):
    name: str
    number: int
    kind: str
    message: str = ""
    many: bool = False


def _message(text: str) -> dict[int, _Field]:
    """Read a message's fields from lines of: number, name, kind or message, and ``*`` where it repeats."""
    fields = {}
    for line in text.split(";"):
        number, name, kind, *rest = line.split()
        known = kind in _WIRE
        fields[int(number)] = _Field(
            name, int(number), kind if known else "message", "" if known else kind, rest == ["*"]
        )
    return fields


_POINT_TIMES = "2 start_time_unix_nano fixed64; 3 time_unix_nano fixed64"
_MESSAGES = {
    "TracesRequest": _message("1 resource_spans ResourceSpans *"),
    "ResourceSpans": _message("1 resource Resource; 2 scope_spans ScopeSpans *"),
    "ScopeSpans": _message("2 spans Span *"),
    "Span": _message(
        "1 trace_id hex; 2 span_id hex; 4 parent_span_id hex; 5 name string; 6 kind int64; 7 start_time_unix_nano fixed64;"
        "8 end_time_unix_nano fixed64; 9 attributes KeyValue *; 11 events Event *; 15 status Status"
    ),
    "Event": _message("1 time_unix_nano fixed64; 2 name string; 3 attributes KeyValue *"),
    "Status": _message("2 message string; 3 code enum"),
    "Resource": _message("1 attributes KeyValue *"),
    "KeyValue": _message("1 key string; 2 value AnyValue"),
    "AnyValue": _message(
        "1 string_value string; 2 bool_value bool; 3 int_value int64; 4 double_value double; 5 array_value ArrayValue;"
        "6 kvlist_value KeyValueList; 7 bytes_value bytes"
    ),
    "ArrayValue": _message("1 values AnyValue *"),
    "KeyValueList": _message("1 values KeyValue *"),
    "LogsRequest": _message("1 resource_logs ResourceLogs *"),
    "ResourceLogs": _message("1 resource Resource; 2 scope_logs ScopeLogs *"),
    "ScopeLogs": _message("2 log_records LogRecord *"),
    "LogRecord": _message(
        "1 time_unix_nano fixed64; 11 observed_time_unix_nano fixed64; 5 body AnyValue; 6 attributes KeyValue *; 9 trace_id hex;"
        "10 span_id hex; 12 event_name string"
    ),
    "MetricsRequest": _message("1 resource_metrics ResourceMetrics *"),
    "ResourceMetrics": _message("1 resource Resource; 2 scope_metrics ScopeMetrics *"),
    "ScopeMetrics": _message("2 metrics Metric *"),
    "Metric": _message(
        "1 name string; 3 unit string; 5 gauge Numbers; 7 sum Numbers; 9 histogram Histogram;"
        "10 exponential_histogram ExponentialHistogram; 11 summary Summary"
    ),
    "Numbers": _message("1 data_points NumberPoint *"),
    "Histogram": _message("1 data_points HistogramPoint *"),
    "ExponentialHistogram": _message("1 data_points ExponentialPoint *"),
    "Summary": _message("1 data_points SummaryPoint *"),
    "NumberPoint": _message(f"{_POINT_TIMES}; 7 attributes KeyValue *; 4 as_double double; 6 as_int sfixed64"),
    "HistogramPoint": _message(
        f"{_POINT_TIMES}; 9 attributes KeyValue *; 4 count fixed64; 5 sum double; 6 bucket_counts fixed64 *;"
        "7 explicit_bounds double *; 11 min double; 12 max double"
    ),
    "ExponentialPoint": _message(
        f"{_POINT_TIMES}; 1 attributes KeyValue *; 4 count fixed64; 5 sum double; 6 scale sint32; 7 zero_count fixed64;"
        "8 positive Buckets; 9 negative Buckets; 12 min double; 13 max double"
    ),
    "Buckets": _message("1 offset sint32; 2 bucket_counts int64 *"),
    "SummaryPoint": _message(
        f"{_POINT_TIMES}; 7 attributes KeyValue *; 4 count fixed64; 5 sum double; 6 quantile_values Quantile *"
    ),
    "Quantile": _message("1 quantile double; 2 value double"),
}
_FOUND = {"Span": "span", "LogRecord": "log record", "Metric": "metric"}


def json_to_wire(message: str, payload: bytes) -> tuple[bytes, dict[int, str]]:
    """Turn a request in JSON into the binary form.

    Parameters
    ----------
    message
        ``"TracesRequest"``, ``"LogsRequest"`` or ``"MetricsRequest"``.
    payload
        The JSON text, UTF-8.

    Returns
    -------
    tuple
        The binary request, and the reason for each span, log record or metric (by its number in the request) that cannot be
        read; such a one is an empty message there, so that numbers stay what they are.

    Raises
    ------
    DataError
        Where the payload is no JSON object, or its containers are not what they must be.

    Examples
    --------
    >>> json_to_wire("TracesRequest", b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "xyz"}]}]}]}')
    (b'...', {0: "traceId: not hexadecimal: 'xyz'"})
    """
    try:
        document = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise DataError("the payload is not JSON", seen=str(error)[:200]) from error
    if not isinstance(document, Mapping):
        raise DataError("the payload is not a JSON object", seen=type(document).__name__)
    writer = _Writer()
    try:
        return writer.message(message, document, 0), writer.rejected
    except (ValueError, RecursionError) as error:
        raise DataError("the request's structure cannot be read", seen=str(error)[:200]) from error


class _Writer:
    """Writes messages; counts spans (log records, metrics) and collects what is wrong with them."""

    def __init__(self) -> None:
        self.count = 0
        self.rejected: dict[int, str] = {}

    def message(self, name: str, document: Any, depth: int) -> bytes:
        if depth > MOST_DEPTH:
            raise ValueError(f"nested deeper than {MOST_DEPTH} levels")
        if not isinstance(document, Mapping):
            raise ValueError(f"{name} must be an object, not {type(document).__name__}")
        parts = []
        for field in _MESSAGES[name].values():
            camel = _camel(field.name)
            value = document.get(camel, document.get(field.name))
            if value is None:
                continue
            if field.many and not isinstance(value, list):
                raise ValueError(f"{camel} must be a list, not {type(value).__name__}")
            for one in value if field.many else [value]:
                parts.append(self._field(field, camel, one, depth))
        return b"".join(parts)

    def _field(self, field: _Field, camel: str, value: Any, depth: int) -> bytes:
        tag = _varint(field.number << 3 | _WIRE[field.kind])
        if field.message in _FOUND:
            number, self.count = self.count, self.count + 1
            try:
                body = self.message(field.message, value, depth + 1)
            except (ValueError, RecursionError) as error:
                self.rejected[number] = str(error)[:200]
                body = b""
            return tag + _varint(len(body)) + body
        if field.message:
            body = self.message(field.message, value, depth + 1)
            return tag + _varint(len(body)) + body
        try:
            return tag + _scalar(field.kind, value)
        except (TypeError, OverflowError, struct.error) as error:
            raise ValueError(f"{camel}: not a {field.kind}: {value!r:.80}") from error
        except ValueError as error:
            raise ValueError(f"{camel}: {error}") from error


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _scalar(kind: str, value: Any) -> bytes:
    """Bytes of a value that is no message, with its length where the wire type has one."""
    if kind == "string":
        body = _text(value).encode()
    elif kind == "hex":
        try:
            body = bytes.fromhex(_text(value))
        except ValueError as error:
            raise ValueError(f"not hexadecimal: {value!r:.80}") from error
    elif kind == "bytes":
        try:
            body = base64.b64decode(_text(value).replace("-", "+").replace("_", "/"), validate=True)
        except binascii.Error as error:
            raise ValueError(f"not base64: {value!r:.80}") from error
    elif kind == "double":
        if isinstance(value, bool):
            raise TypeError
        return _STRUCT[kind].pack(float(value))
    elif kind in _STRUCT:
        return _STRUCT[kind].pack(_number(value))
    elif kind == "bool":
        if not isinstance(value, bool):
            raise TypeError
        return _varint(int(value))
    else:
        number = _ENUMS[value] if kind == "enum" and value in _ENUMS else _number(value)
        if not -(1 << 63) <= number < 1 << 63:
            raise OverflowError
        return _varint((number << 1 ^ number >> 63) & _WHOLE if kind == "sint32" else number & _WHOLE)
    return _varint(len(body)) + body


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str | float):
        raise TypeError
    if isinstance(value, str) and len(value) > 40:
        raise OverflowError
    if isinstance(value, float) and not value.is_integer():
        raise TypeError
    return int(value)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def parse_message(message: str, data: bytes) -> dict[str, Any]:
    """Read a binary message into a dictionary; lists for what repeats, Python values for attributes.

    Parameters
    ----------
    message
        Name of the message.
    data
        Its bytes.

    Returns
    -------
    dict
        Fields by their names with underscores; those not there are left out. Values of type AnyValue become Python's; lists
        of KeyValue dictionaries (of a name that stands twice the last counts); ids hexadecimal text.

    Raises
    ------
    ValueError
        Where a field is cut off, a number impossible, a text not UTF-8, or nesting too deep.

    Examples
    --------
    >>> parse_message("KeyValue", bytes.fromhex("0a0161 1202 1802"))
    {'key': 'a', 'value': 2}
    """
    return _parse(message, data, 0)


def _parse(message: str, data: bytes, depth: int) -> dict[str, Any]:
    if depth > MOST_DEPTH:
        raise ValueError(f"nested deeper than {MOST_DEPTH} levels")
    fields, place = _MESSAGES[message], 0
    found: dict[str, Any] = {}
    while place < len(data):
        number, wire, body, place = read_field(data, place)
        field = fields.get(number)
        if field is None:
            continue
        packed = field.many and wire == 2 and _WIRE[field.kind] != 2
        if packed:
            found.setdefault(field.name, []).extend(_unpack(field.kind, _as_bytes(body)))
        elif wire == _WIRE[field.kind]:
            value = _value(field, body, depth)
            if field.many:
                found.setdefault(field.name, []).append(value)
            else:
                found[field.name] = value
    if "attributes" in found:
        found["attributes"] = {one.get("key", ""): one.get("value") for one in found["attributes"]}
    return found


def read_field(data: bytes, place: int) -> tuple[int, int, int | bytes, int]:
    """Read the field at ``place``: its number, wire type, value or bytes, and the place behind it.

    Raises
    ------
    ValueError
        Where it is cut off or impossible.
    """
    tag, place = _read_varint(data, place)
    if tag >> 3 == 0 or tag >> 32:
        raise ValueError(f"impossible field number {tag >> 3}")
    body, place = _read_body(data, place, tag & 7)
    return tag >> 3, tag & 7, body, place


def _read_varint(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    for i in range(10):
        if place + i >= len(data):
            raise ValueError("a number is cut off")
        byte = data[place + i]
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return value & _WHOLE, place + i + 1
    raise ValueError("a number is longer than ten bytes")


def _read_body(data: bytes, place: int, wire: int) -> tuple[int | bytes, int]:
    if wire == 0:
        return _read_varint(data, place)
    if wire == 2:
        size, place = _read_varint(data, place)
    elif wire in (1, 5):
        size = 8 if wire == 1 else 4
    else:
        raise ValueError(f"wire type {wire} is not read")
    if size > len(data) - place:
        raise ValueError("a field is cut off")
    return data[place : place + size], place + size


def _unpack(kind: str, body: bytes) -> list[Any]:
    if kind in _STRUCT:
        if len(body) % 8:
            raise ValueError("a packed list is cut off")
        return [value for (value,) in _STRUCT[kind].iter_unpack(body)]
    values, place = [], 0
    while place < len(body):
        value, place = _read_varint(body, place)
        values.append(value)
    return values


def _as_bytes(body: int | bytes) -> bytes:
    return body if isinstance(body, bytes) else b""


def _value(field: _Field, body: int | bytes, depth: int) -> Any:
    if isinstance(body, int):
        if field.kind == "bool":
            return body != 0
        if field.kind == "sint32":
            return (body & 0xFFFFFFFF) >> 1 ^ -(body & 1)
        return body - (1 << 64) if body >> 63 else body
    if field.kind == "message":
        found = _parse(field.message, body, depth + 1)
        return _plain(found) if field.message == "AnyValue" else found
    if field.kind == "string":
        return body.decode()
    if field.kind == "hex":
        return body.hex()
    return body if field.kind == "bytes" else _STRUCT[field.kind].unpack(body)[0]


def _plain(found: Mapping[str, Any]) -> Any:
    """Value of an AnyValue, as JSON can say it: bytes in base64, numbers that JSON lacks as text."""
    for name, value in found.items():
        if name == "array_value":
            return value.get("values", [])
        if name == "kvlist_value":
            return {one.get("key", ""): one.get("value") for one in value.get("values", [])}
        if name == "bytes_value":
            return base64.b64encode(value).decode()
        if name == "double_value" and not math.isfinite(value):
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        return value
    return None
