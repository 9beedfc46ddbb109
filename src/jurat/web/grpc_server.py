"""OTLP over gRPC: the same bytes as over HTTP, by the same way, with the same keys and limits (extra ``grpc``).

The three services need no generated code: a message is taken as bytes, and what it holds is read where bodies of HTTP are read.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NoReturn

from jurat.errors import JuratError, MissingExtra, UsageError
from jurat.store.control import AccessDenied, Control
from jurat.telemetry.ingest import Ingest
from jurat.telemetry.wal import LogFull
from jurat.web.bodies import BadBody, Limits, check_protobuf, length_delimited, partial_success
from jurat.web.site import header_token
from jurat.web.visible import visible

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["GrpcServer", "retry_details"]

_SERVICES = {
    "opentelemetry.proto.collector.trace.v1.TraceService": "traces",
    "opentelemetry.proto.collector.logs.v1.LogsService": "logs",
    "opentelemetry.proto.collector.metrics.v1.MetricsService": "metrics",
}
_RESOURCE_EXHAUSTED = 8
_MOST_CALLS, _THREADS = 64, 16


class GrpcServer:
    """Takes traces, logs and metrics by gRPC.

    Parameters
    ----------
    ingest
        The writer of the lake; it is not closed here.
    control
        Where keys are kept; a call carries one as metadata, ``authorization: Bearer …`` or ``x-api-key``.
    host, port
        Where to listen; port 0 is any that is free.
    limits
        What a message may weigh, and how long it may take to come: who is slower is hung up on, for each waits in a thread.
        ``packed_bytes`` hold for the unpacked message too, which is refused before it is whole.

    Attributes
    ----------
    port
        Where it listens.

    Raises
    ------
    MissingExtra
        Where grpcio is not installed.
    UsageError
        Where the port cannot be listened on.
    """

    def __init__(
        self,
        ingest: Ingest,
        control: Control,
        *,
        host: str = "127.0.0.1",
        port: int = 4317,
        limits: Limits | None = None,
    ) -> None:
        try:
            import grpc  # type: ignore[import-untyped,import-not-found,unused-ignore]
        except ImportError as error:
            raise MissingExtra("grpcio", "grpc") from error
        self._grpc, self._ingest, self._control = grpc, ingest, control
        limits = limits or Limits()
        self._slow_seconds = limits.seconds
        self._server = grpc.server(
            ThreadPoolExecutor(_THREADS, thread_name_prefix="grpc"),
            maximum_concurrent_rpcs=_MOST_CALLS,
            options=[
                # Two servers on one port would each take half of the calls.
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", limits.packed_bytes),
                ("grpc.max_metadata_size", 16 << 10),
            ],
        )
        for service, kind in _SERVICES.items():
            # A stream of one message, by name: it is then received, and unpacked, only once the key was looked at.
            export = grpc.stream_unary_rpc_method_handler(self._exporter(kind))
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": export}),))
        place = f"{f'[{host}]' if ':' in host else host}:{port}"
        try:
            self.port = int(self._server.add_insecure_port(place))
        except RuntimeError as error:
            raise UsageError("nothing can listen there", seen=place, next_step="name another --grpc-port") from error

    def start(self) -> None:
        """Begin to take calls."""
        self._server.start()

    def stop(self, grace_seconds: float = 5.0) -> None:
        """Take no more calls, and end those under way; to be called before the ingest is closed. Twice does no harm.

        Parameters
        ----------
        grace_seconds
            After as long, what has not ended is cut off; it was not acknowledged.
        """
        self._server.stop(grace_seconds).wait(grace_seconds + 5)

    def _exporter(self, kind: str) -> Callable[[Iterator[bytes], Any], bytes]:
        def export(messages: Iterator[bytes], context: Any) -> bytes:
            try:
                return self._take(kind, messages, context)
            except JuratError as error:
                self._refuse(context, error)

        return export

    def _take(self, kind: str, messages: Iterator[bytes], context: Any) -> bytes:
        given = {name: value for name, value in context.invocation_metadata() if isinstance(value, str)}
        key = self._control.verify_key(header_token(given), role="ingest")
        body = self._message(messages, context)
        check_protobuf(body)
        if not body:
            return b""
        self._ingest.receive(f"{kind}/protobuf", body, tenant=key.tenant).result()
        count, reason = self._ingest.unreadable(body) if kind == "traces" else (0, "")
        return partial_success(count, reason) if count else b""

    def _message(self, messages: Iterator[bytes], context: Any) -> bytes:
        late = threading.Timer(self._slow_seconds, context.cancel)
        late.daemon = True
        late.start()
        try:
            body = next(messages, None)
        finally:
            late.cancel()
        if body is None:
            raise BadBody("no message came")
        return body

    def _refuse(self, context: Any, error: JuratError) -> NoReturn:
        codes = self._grpc.StatusCode
        if isinstance(error, LogFull):
            code = codes.RESOURCE_EXHAUSTED
            details = retry_details(_RESOURCE_EXHAUSTED, error.what, error.retry_after)
            context.set_trailing_metadata((("grpc-status-details-bin", details),))
        elif isinstance(error, AccessDenied):
            code = codes.UNAUTHENTICATED
        elif isinstance(error, BadBody):
            code = codes.INVALID_ARGUMENT
        else:
            # The disk, or the server is about to stop: the same message may do later.
            code = codes.UNAVAILABLE
        parts = (error.what, error.seen, error.next_step)
        with contextlib.suppress(ValueError):  # the call is gone already
            context.abort(code, "; ".join(str(visible(part)) for part in parts if part))
        raise error


def retry_details(code: int, message: str, seconds: int) -> bytes:
    """A google.rpc.Status with a RetryInfo, in protobuf: exporters send again only where they are told when.

    Parameters
    ----------
    code
        Number of the status.
    message
        What is wrong.
    seconds
        When to try again.

    Examples
    --------
    >>> retry_details(8, "full", 5)[:8]
    b'\\x08\\x08\\x12\\x04full'
    """
    delay = length_delimited(1, b"\x08" + bytes([min(max(seconds, 1), 127)]))
    kind = b"type.googleapis.com/google.rpc.RetryInfo"
    detail = length_delimited(1, kind) + length_delimited(2, delay)
    return b"\x08" + bytes([code]) + length_delimited(2, message.encode()) + length_delimited(3, detail)
