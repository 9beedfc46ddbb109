"""The decoder beside protobuf's own, on what exporters send and on what nobody should."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("opentelemetry.proto")

from benchmarks.bench_wire import PythonDecoder, equal, payload, python_value
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from jurat.errors import DataError, UsageError
from jurat.telemetry.aliases import load_aliases
from jurat.telemetry.wire import SPAN_COLUMNS, decode_traces

ALIASES = load_aliases()
KEYS = [
    "gen_ai.system",
    "gen_ai.provider.name",
    "gen_ai.usage.input_tokens",
    "user.id",
    "x",
    "é",
    "error.type",
    "http.route",
]
TEXTS = st.text(max_size=12)
SCALARS = st.one_of(
    TEXTS.map(lambda v: AnyValue(string_value=v)),
    st.booleans().map(lambda v: AnyValue(bool_value=v)),
    st.integers(-(2**63), 2**63 - 1).map(lambda v: AnyValue(int_value=v)),
    st.floats(allow_nan=False, allow_infinity=False).map(lambda v: AnyValue(double_value=v)),
    st.binary(max_size=9).map(lambda v: AnyValue(bytes_value=v)),
    st.just(AnyValue()),
)


def _list(values):
    out = AnyValue()
    out.array_value.SetInParent()
    out.array_value.values.extend(values)
    return out


def _map(values):
    out = AnyValue()
    out.kvlist_value.SetInParent()
    for key, value in values.items():
        out.kvlist_value.values.add(key=key, value=value)
    return out


VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(_list), st.dictionaries(TEXTS, inner, max_size=3).map(_map)
    ),
    max_leaves=6,
)


@st.composite
def requests(draw):
    request = ExportTraceServiceRequest()
    for _ in range(draw(st.integers(0, 2))):
        group = request.resource_spans.add()
        for key in draw(st.lists(st.sampled_from(["service.name", "host.id"]), max_size=2)):
            group.resource.attributes.add(key=key, value=draw(VALUES))
        for _ in range(draw(st.integers(0, 3))):
            span = group.scope_spans.add().spans.add()
            span.trace_id = draw(st.binary(min_size=16, max_size=16))
            span.span_id = draw(st.one_of(st.binary(min_size=8, max_size=8), st.binary(max_size=9)))
            span.start_time_unix_nano = draw(st.integers(0, 2**64 - 1))
            span.end_time_unix_nano = draw(st.integers(0, 2**64 - 1))
            span.status.code = draw(st.integers(0, 2))
            for key in draw(st.lists(st.sampled_from(KEYS), max_size=5)):
                span.attributes.add(key=key, value=draw(VALUES))
    return request


def _json_value(value):
    """What raw attributes say of a value: bytes in base64."""
    if isinstance(value, AnyValue):
        import base64

        kind = value.WhichOneof("value")
        if kind == "array_value":
            return [_json_value(one) for one in value.array_value.values]
        if kind == "kvlist_value":
            return {one.key: _json_value(one.value) for one in value.kvlist_value.values}
        return base64.b64encode(value.bytes_value).decode() if kind == "bytes_value" else python_value(value)
    return value


def _same(request, decoded):
    spans = [s for g in request.resource_spans for scope in g.scope_spans for s in scope.spans]
    refused = {i for i, _ in decoded.rejected}
    for i, span in enumerate(spans):
        good = len(span.trace_id) == 16 and any(span.trace_id) and len(span.span_id) == 8 and any(span.span_id)
        good = good and len(span.parent_span_id) in (0, 8) and span.start_time_unix_nano > 0
        assert (i not in refused) == bool(good), (i, decoded.rejected)
    kept = [span for i, span in enumerate(spans) if i not in refused]
    assert decoded.spans.schema == SPAN_COLUMNS
    assert decoded.spans["span_id"].to_pylist() == [s.span_id.hex() for s in kept]
    assert decoded.spans["trace_id"].to_pylist() == [s.trace_id.hex() for s in kept]
    assert decoded.spans["ts_us"].to_pylist() == [s.start_time_unix_nano // 1000 for s in kept]
    for raw, span in zip(decoded.spans["attributes"].to_pylist(), kept, strict=True):
        found = json.loads(raw)
        found.pop("@resource", None)
        assert found == {one.key: _json_value(one.value) for one in span.attributes}


def _decode(data, encoding="protobuf"):
    return decode_traces(data, encoding=encoding, aliases=ALIASES)


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(requests())
def test_ids_times_and_raw_attributes_of_any_request_are_those_that_protobuf_reads(request_):
    data = request_.SerializeToString()
    _same(request_, _decode(data))


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(requests(), st.randoms(use_true_random=False))
def test_mutated_bytes_never_break_the_decoder_and_what_protobuf_still_reads_is_a_superset(request_, draw):
    data = bytearray(request_.SerializeToString() or b"\x0a\x00")
    for _ in range(draw.randint(1, 4)):
        place = draw.randrange(len(data))
        action = draw.randrange(4)
        if action == 0:
            data[place] = draw.randrange(256)
        elif action == 1:
            data[place:place] = bytes([draw.choice([0xFF, 0x80, 0x0A, 0x0B])] * draw.randint(1, 11))
        elif action == 2 and len(data) > 1:
            del data[place]
        else:
            data = data[: place + 1]
    decoded = _decode(bytes(data))
    decoded.spans.validate(full=True)
    for raw in decoded.spans["attributes"].to_pylist():
        json.loads(raw)
    try:
        theirs = ExportTraceServiceRequest.FromString(bytes(data))
    except DecodeError:
        return
    ids = {span.span_id.hex() for g in theirs.resource_spans for scope in g.scope_spans for span in scope.spans}
    assert set(decoded.spans["span_id"].to_pylist()) <= ids


@pytest.mark.parametrize("kind", ["wide", "small", "messages"])
def test_every_column_of_chat_spans_equals_a_loop_over_protobufs_objects(kind):
    data = payload(kind, 40)
    decoded = _decode(data)
    assert decoded.rejected == [] and decoded.unmapped == {"app.flag": 40}
    equal(decoded.spans, PythonDecoder(ALIASES)(data))


def test_each_cut_of_a_request_keeps_the_spans_that_lie_before_the_cut():
    data = payload("small", 4)
    counts = []
    for stop in range(0, len(data), 13):
        decoded = _decode(data[:stop])
        counts.append(len(decoded.spans))
        assert len(decoded.spans) == 4 or decoded.rejected or stop == 0
    assert counts == sorted(counts) and counts[-1] == 3
    assert len(_decode(data).spans) == 4


def _field(number, body):
    size, out = len(body), bytearray()
    while size > 127:
        out.append(size & 127 | 128)
        size >>= 7
    out.append(size)
    return bytes([number << 3 | 2]) + bytes(out) + body


GOOD = _field(1, b"t" * 16) + _field(2, b"s" * 8) + b"\x39" + (5_000).to_bytes(8, "little")


@pytest.mark.parametrize(
    ("span", "reason"),
    [
        (_field(1, b"t" * 15) + _field(2, b"s" * 8), "trace_id"),
        (_field(1, b"t" * 16) + _field(2, bytes(8)), "span_id"),
        (_field(1, b"t" * 16) + _field(2, b"s" * 8), "start_time"),
        (GOOD + _field(4, b"p"), "parent"),
        (GOOD + b"\x4a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "cut off"),
        (GOOD + b"\x4a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "cut off"),
        (GOOD + b"\x50" + b"\xff" * 11, "cut off"),
        (GOOD + b"\x03", "cut off"),
        (GOOD + _field(9, _field(1, b"\xff")), "UTF-8"),
        (GOOD + _field(9, _field(1, b"k") + _field(2, _field(1, b"a") + _field(1, b"b"))), "more than one"),
    ],
    ids=[
        "short-trace",
        "zero-span",
        "no-start",
        "parent",
        "length-max",
        "length-63",
        "varint",
        "group",
        "utf8",
        "twice",
    ],
)
def test_a_bad_span_is_rejected_with_its_reason_and_its_neighbours_are_kept(span, reason):
    decoded = _decode(_field(1, _field(2, _field(2, GOOD) + _field(2, span) + _field(2, GOOD))))
    assert len(decoded.spans) == 2
    ((number, why),) = decoded.rejected
    assert number == 1 and reason in why


def test_unknown_fields_are_skipped_and_of_a_key_that_stands_twice_the_last_counts():
    def attribute(key, value):
        return _field(9, _field(1, key) + _field(2, _field(1, value)))

    unknown = b"\xf8\x07\x05" + b"\xfd\x07abcd" + b"\xf9\x0712345678" + b"\xfa\x07\x03xyz"
    span = unknown + GOOD + attribute(b"user.id", b"a") + unknown + attribute(b"user.id", b"b")
    decoded = _decode(unknown + _field(1, unknown + _field(2, unknown + _field(2, span))))
    assert decoded.rejected == [] and decoded.spans["user_id"].to_pylist() == ["b"]


def test_nesting_beyond_the_limit_is_refused_and_just_within_it_is_read():
    def nested(depth):
        value = _field(1, b"x")
        for _ in range(depth):
            value = _field(5, _field(1, value))
        return _field(1, _field(2, _field(2, GOOD + _field(9, _field(1, b"k") + _field(2, value)))))

    assert len(_decode(nested(32)).spans) == 1
    assert "deeper" in _decode(nested(33)).rejected[0][1]
    assert "deeper" in _decode(nested(2000)).rejected[0][1]


def test_many_empty_spans_are_counted_and_not_listed_one_by_one():
    decoded = _decode(_field(1, _field(2, b"\x12\x00" * 5_000)))
    assert len(decoded.rejected) == 1001 and "4,000 more" in decoded.rejected[-1][1]


def test_a_long_resource_is_not_repeated_for_each_span():
    attribute = _field(1, _field(1, b"service.name") + _field(2, _field(1, b"n" * 5_000)))
    decoded = _decode(_field(1, _field(1, attribute) + _field(2, _field(2, GOOD) * 50)))
    assert decoded.spans["service"].null_count == 50 and decoded.spans["attributes"].to_pylist() == ["{}"] * 50


def test_json_says_the_same_as_protobuf_in_camel_case_and_with_underscores():
    request = ExportTraceServiceRequest.FromString(payload("small", 6))
    for keep in (False, True):
        document = MessageToDict(request, preserving_proto_field_name=keep)
        for group in document["resource_spans" if keep else "resourceSpans"]:
            for scope in group["scope_spans" if keep else "scopeSpans"]:
                for span, binary in zip(scope["spans"], request.resource_spans[0].scope_spans[0].spans, strict=True):
                    for name in ("trace_id", "span_id", "parent_span_id"):
                        first, *rest = name.split("_")
                        span[name if keep else first + "".join(w.title() for w in rest)] = getattr(binary, name).hex()
                    span["kind"] = 3
        decoded = _decode(json.dumps(document).encode(), "json")
        assert decoded.rejected == []
        equal(decoded.spans, _decode(request.SerializeToString()).spans)


def test_a_bad_span_in_json_is_rejected_by_itself_and_what_is_no_json_raises():
    good = {"traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331", "startTimeUnixNano": "1000"}
    spans = [good, good | {"spanId": "zz"}, good | {"attributes": 5}, 7, good | {"startTimeUnixNano": "9" * 30}, good]
    body = {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}
    decoded = _decode(json.dumps(body).encode(), "json")
    assert len(decoded.spans) == 2 and [i for i, _ in decoded.rejected] == [1, 2, 3, 4]
    for broken in (b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"resourceSpans": 3}'):
        with pytest.raises(DataError):
            _decode(broken, "json")
    with pytest.raises(UsageError):
        _decode(b"", "xml")


def test_an_empty_request_is_an_empty_table():
    decoded = _decode(b"")
    assert len(decoded.spans) == 0 and decoded.rejected == [] and decoded.spans.schema == SPAN_COLUMNS


def test_random_bytes_never_break_the_decoder():
    draw = random.Random(3)
    for _ in range(300):
        _decode(draw.randbytes(draw.randrange(200))).spans.validate(full=True)


def _request(attributes, events=()):
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add()
    span.trace_id, span.span_id, span.start_time_unix_nano = b"t" * 16, b"s" * 8, 1000
    for key, value in attributes.items():
        span.attributes.add(key=key, value=value)
    for key, value in events:
        span.events.add().attributes.add(key=key, value=value)
    return request


def test_columns_that_are_left_out_fill_their_columns_and_are_not_repeated() -> None:
    text = AnyValue(string_value="secret words")
    request = _request(
        {
            "input.value": text,
            "user.id": text,
            "llm.input_messages.0.message.role": AnyValue(string_value="user"),
            "llm.input_messages.0.message.content": text,
            "gen_ai.output.messages": _list([text]),
            "gen_ai.system": AnyValue(string_value="openai"),
            "mine": AnyValue(int_value=3),
        }
    )
    body = request.SerializeToString()
    whole = decode_traces(body, encoding="protobuf", aliases=ALIASES).spans.to_pylist()[0]
    lean = decode_traces(
        body, encoding="protobuf", aliases=ALIASES, leave_out=("prompt", "response", "system", "user_id")
    ).spans.to_pylist()[0]
    assert json.loads(lean.pop("attributes")) == {"gen_ai.system": "openai", "mine": 3}
    assert whole.pop("attributes").count("secret words") >= 3 and whole == lean
    assert "secret words" in lean["prompt"] and lean["user_id"] == "secret words"


@pytest.mark.parametrize("leave_out", [(), ("prompt",)])
def test_text_that_is_not_utf8_rejects_the_span_whether_written_or_not(leave_out: tuple[str, ...]) -> None:
    mark = AnyValue(string_value="MARK")
    for request in (
        _request({"input.value": mark}),
        _request({"input.value": _list([_map({"k": mark})])}),
        _request({}, [("e", mark)]),
        _request({}, [("e", _list([_map({"k": mark})]))]),
    ):
        body = request.SerializeToString().replace(b"MARK", b"\xff\xfeAB")
        decoded = decode_traces(body, encoding="protobuf", aliases=ALIASES, leave_out=leave_out)
        assert len(decoded.spans) == 0 and decoded.rejected == [(0, "a text is not UTF-8")]
