"""OTLP over gRPC with the stock exporters: the same turns in the lake as over HTTP, the same keys, the same limits."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("grpc")
pytest.importorskip("opentelemetry.exporter.otlp.proto.grpc.trace_exporter")

import grpc
from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from jurat.errors import MissingExtra, UsageError
from jurat.store.control import Control
from jurat.store.lake import Lake
from jurat.telemetry.ingest import Ingest
from jurat.web.bodies import Limits
from jurat.web.grpc_server import GrpcServer, retry_details
from tests.telemetry.served import SETTINGS, free_port, token_of
from tests.telemetry.test_server_faults import request

TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
METRICS = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
LIMITS = Limits(packed_bytes=200_000, unpacked_bytes=400_000)


class Opened:
    """A server by gRPC over a lake, and what a test needs to reach it."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.token, self.reader = token_of(folder), token_of(folder, "analyse")
        limits = options.pop("limits", LIMITS)
        self.ingest = Ingest(folder / "lake", SETTINGS, start=False, **options)
        control = Control(folder / "control.sqlite")
        self.server = GrpcServer(self.ingest, control, port=0, limits=limits)
        self.server.start()
        self.address = f"127.0.0.1:{self.server.port}"
        self.channel = grpc.insecure_channel(self.address)

    def call(self, body: bytes, path: str = TRACES, *, key: str | None = None, **options: Any) -> bytes:
        metadata = (("authorization", f"Bearer {self.token if key is None else key}"),)
        return bytes(self.channel.unary_unary(path)(body, metadata=metadata, timeout=20, **options))

    def refused(self, *given: Any, **options: Any) -> Any:
        with pytest.raises(grpc.RpcError) as told:
            self.call(*given, **options)
        return told.value

    def close(self) -> None:
        self.channel.close()
        self.server.stop()
        self.ingest.close()


@pytest.fixture
def opening(tmp_path: Path) -> Iterator[Callable[..., Opened]]:
    made: list[Opened] = []

    def make(**options: Any) -> Opened:
        made.append(Opened(tmp_path / str(len(made)), **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize("packing", ["NoCompression", "Gzip"])
def test_stock_exporters_send_traces_and_logs_unchanged(opening: Callable[..., Opened], packing: str) -> None:
    opened = opening()
    resource = Resource.create({"service.name": "shop", "service.version": "2.1"})
    headers = {"authorization": f"Bearer {opened.token}"}
    sending: dict[str, Any] = {"endpoint": opened.address, "insecure": True, "headers": headers}
    sending["compression"] = getattr(grpc.Compression, packing)
    spans, logs = TracerProvider(resource=resource), LoggerProvider(resource=resource)
    spans.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(**sending)))
    logs.add_log_record_processor(SimpleLogRecordProcessor(OTLPLogExporter(**sending)))
    with spans.get_tracer("shop").start_as_current_span("chat") as span:
        span.set_attribute("gen_ai.operation.name", "chat")
        span.set_attribute("gen_ai.response.model", "m-1")
        span.set_attribute("gen_ai.usage.input_tokens", 11)
        judged = {"gen_ai.evaluation.name": "tone", "gen_ai.evaluation.score.value": 0.5}
        logs.get_logger("shop").emit(LogRecord(event_name="gen_ai.evaluation.result", attributes=judged))
        number = f"{span.get_span_context().span_id:016x}"
    spans.shutdown()
    logs.shutdown()
    opened.ingest.flush()
    (row,) = opened.ingest.lake.read("spans").to_pylist()
    assert (row["model"], row["tokens_in"], row["release"], row["org_id"]) == ("m-1", 11, "2.1", "acme")
    (score,) = opened.ingest.lake.read("scores").to_pylist()
    assert (score["subject_id"], score["scorer"], score["value"]) == (number, "tone", 0.5)


def test_metrics_come_too_and_an_empty_request_is_answered(opening: Callable[..., Opened]) -> None:
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    opened = opening()
    message = ExportMetricsServiceRequest()
    metric = message.resource_metrics.add().scope_metrics.add().metrics.add(name="gpu.busy")
    metric.gauge.data_points.add(time_unix_nano=5000, as_double=0.25)
    assert opened.call(message.SerializeToString(), METRICS) == b"" == opened.call(b"", METRICS)
    opened.ingest.flush()
    assert opened.ingest.lake.read("metric_points")["value"].to_pylist() == [0.25]


def test_an_answer_comes_once_the_log_is_on_disk(opening: Callable[..., Opened]) -> None:
    opened = opening()
    before = opened.ingest.log.end
    opened.call(request(0))
    assert opened.ingest.log.end > before, "it was answered before it was logged"
    opened.server.stop()
    assert opened.ingest.flush() == 5


def test_spans_that_cannot_be_read_are_told_and_the_rest_is_kept(opening: Callable[..., Opened]) -> None:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    opened = opening()
    message = ExportTraceServiceRequest.FromString(request(0, 3))
    message.resource_spans[0].scope_spans[0].spans[1].span_id = b"short"
    answer = ExportTraceServiceResponse.FromString(opened.call(message.SerializeToString()))
    assert answer.partial_success.rejected_spans == 1 and "span_id" in answer.partial_success.error_message
    assert opened.ingest.flush() == 2


def test_only_a_key_that_may_send_opens_it(opening: Callable[..., Opened]) -> None:
    opened = opening()
    for key in ("", "nonsense", opened.reader, opened.token[:-1] + "x"):
        error = opened.refused(request(0), key=key)
        assert error.code() == grpc.StatusCode.UNAUTHENTICATED and (not key or key not in error.details())
    sent = opened.channel.unary_unary(TRACES)(request(0), metadata=(("x-api-key", opened.token),), timeout=20)
    assert sent == b"" and opened.ingest.counts.requests == 1
    with pytest.raises(grpc.RpcError) as told:
        opened.channel.unary_unary(TRACES.replace("Export", "Delete"))(b"", timeout=20)
    assert told.value.code() == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("body", "packing", "code"),
    [
        (b"<html>", "NoCompression", "INVALID_ARGUMENT"),
        (b"\x0a\x7fshort", "NoCompression", "INVALID_ARGUMENT"),
        (b"\0" * 300_000, "NoCompression", "RESOURCE_EXHAUSTED"),
        (b"\0" * 50_000_000, "Gzip", "RESOURCE_EXHAUSTED"),
    ],
    ids=["no message", "cut short", "too large", "a bomb"],
)
def test_hostile_messages_are_refused_in_words(
    opening: Callable[..., Opened], body: bytes, packing: str, code: str
) -> None:
    opened = opening()
    error = opened.refused(body, compression=getattr(grpc.Compression, packing))
    assert error.code().name == code and error.details() and "Traceback" not in error.details()
    assert not any(name == "grpc-status-details-bin" for name, _ in error.trailing_metadata() or ()), (
        "nobody retries it"
    )
    assert opened.ingest.counts.requests == 0 and opened.call(request(0)) == b""


def test_a_full_log_says_when_to_come_back_and_takes_again_after_a_flush(opening: Callable[..., Opened]) -> None:
    from google.rpc.error_details_pb2 import RetryInfo
    from google.rpc.status_pb2 import Status

    opened = opening(most_waiting_bytes=3000)
    taken = 0
    while True:
        try:
            opened.call(request(5 * taken))
            taken += 1
        except grpc.RpcError as error:
            told: Any = error
            break
    assert taken > 0 and told.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    status = Status.FromString(dict(told.trailing_metadata())["grpc-status-details-bin"])
    info = RetryInfo()
    assert status.details[0].Unpack(info) and info.retry_delay.seconds == 5
    assert status.SerializeToString() == retry_details(8, status.message, 5)
    assert opened.ingest.flush() == 5 * taken
    assert opened.call(request(100)) == b""


def test_a_stock_exporter_comes_back_after_an_overload(opening: Callable[..., Opened]) -> None:
    opened = opening(most_waiting_bytes=3000)
    with contextlib.suppress(grpc.RpcError):
        while True:
            opened.call(request(5 * opened.ingest.counts.requests, 1))
    committed = opened.ingest.counts.requests
    provider = TracerProvider()
    headers = {"authorization": f"Bearer {opened.token}"}
    exporter = OTLPSpanExporter(endpoint=opened.address, insecure=True, headers=headers, timeout=20)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    relief = threading.Timer(0.5, opened.ingest.flush)
    relief.start()
    with provider.get_tracer("shop").start_as_current_span("chat") as span:
        span.set_attribute("gen_ai.operation.name", "chat")
    provider.shutdown()
    relief.join()
    opened.ingest.flush()
    assert opened.ingest.counts.requests == committed + 1
    assert opened.ingest.counts.spans == committed + 1


def test_who_sends_no_message_is_hung_up_on(opening: Callable[..., Opened]) -> None:
    opened = opening(limits=Limits(seconds=0.2))
    waiting = threading.Event()

    def never() -> Iterator[bytes]:
        waiting.wait(10)
        yield b""

    metadata = (("authorization", f"Bearer {opened.token}"),)
    start = time.monotonic()
    with pytest.raises(grpc.RpcError) as told:
        opened.channel.stream_unary(TRACES)(never(), metadata=metadata, timeout=20)
    waiting.set()
    assert told.value.code() != grpc.StatusCode.DEADLINE_EXCEEDED and time.monotonic() - start < 8
    assert opened.call(request(0)) == b""


def test_a_disk_that_is_full_is_told_as_something_to_retry(
    opening: Callable[..., Opened], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = opening()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", full)
        error = opened.refused(request(0))
    assert error.code() == grpc.StatusCode.UNAVAILABLE and "make room" in error.details()
    assert opened.call(request(0)) == b"" and opened.ingest.flush() == 5


def test_many_at_once_lose_and_double_nothing_while_it_stops(opening: Callable[..., Opened]) -> None:
    opened = opening()

    def send(number: int) -> bool:
        try:
            opened.call(request(5 * number))
        except grpc.RpcError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        sending = [pool.submit(send, number) for number in range(300)]
        while sum(one.done() for one in sending) < 60:
            time.sleep(0.005)
        opened.server.stop()
        opened.ingest.close()
        acknowledged = {n for n, one in enumerate(sending) if one.result()}
    found = opened.ingest.lake.read("spans")["tokens_out"].to_pylist()
    assert len(found) == len(set(found)) and len(acknowledged) >= 60
    assert {5 * n + i for n in acknowledged for i in range(5)} <= set(found)


def test_a_port_that_is_taken_and_a_missing_package_are_told(
    opening: Callable[..., Opened], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    opened = opening()
    caplog.set_level(logging.CRITICAL)
    control = Control(tmp_path / "control.sqlite")
    with pytest.raises(UsageError, match="nothing can listen there"):
        GrpcServer(opened.ingest, control, port=opened.server.port)
    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(MissingExtra, match=r"jurat\[grpc\]"):
        GrpcServer(opened.ingest, control, port=0)


def test_the_command_takes_both_and_commits_everything_as_it_ends(tmp_path: Path) -> None:
    port, calls = free_port(), free_port()
    token = token_of(tmp_path / "home")
    program = [sys.executable, "-W", "ignore", "-m", "jurat", "serve", str(tmp_path / "lake"), "--port", str(port),
               "--grpc-port", str(calls), "--flush-seconds", "60"]  # fmt: skip
    environment = os.environ | {"JURAT_HOME": str(tmp_path / "home")}
    process = subprocess.Popen(program, stderr=subprocess.PIPE, env=environment, text=True)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{calls}") as channel:
            send = channel.unary_unary(TRACES)
            metadata = (("authorization", f"Bearer {token}"),)
            assert send(request(0), metadata=metadata, timeout=60, wait_for_ready=True) == b""
    finally:
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 0, said
    assert f"taking OTLP by gRPC at 127.0.0.1:{calls}" in said and "everything is committed" in said
    assert len(Lake(tmp_path / "lake").read("spans")) == 5
