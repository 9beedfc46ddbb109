"""The server's face: OTLP and feedback in, health and figures out. No route but health answers without a key.

The work is done elsewhere: a request is checked, logged and acknowledged once the log is on disk.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from jurat.errors import DataError, EngineError, JuratError
from jurat.store.control import AccessDenied, ApiKey, Control, Role
from jurat.telemetry.feedback import check_feedback
from jurat.telemetry.ingest import Ingest
from jurat.telemetry.wal import LogFull
from jurat.web.bodies import BadBody, Limits, check_json, check_protobuf, read_body, unpack
from jurat.web.figures import prometheus_text

__all__ = ["create_app"]

_PROTOBUF = "application/x-protobuf"


def create_app(ingest: Ingest, control: Control, *, limits: Limits | None = None) -> FastAPI:
    """Make the application.

    Parameters
    ----------
    ingest
        The writer of the lake; it is closed with the application.
    control
        Where keys are kept.
    limits
        What a request may weigh.

    Returns
    -------
    FastAPI
        Paths: ``/v1/traces``, ``/v1/logs``, ``/v1/metrics`` (OTLP over HTTP, protobuf and JSON), the same traces under
        ``/api/public/otel/v1/traces``, ``/v1/feedback``, ``/metrics``, ``/healthz``, ``/readyz``.
    """

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.get_running_loop().run_in_executor(None, ingest.close)

    app = FastAPI(title="Jurat", docs_url=None, redoc_url=None, openapi_url=None, lifespan=life)
    face = _Face(ingest, control, limits or Limits())
    for path in ("/v1/traces", "/api/public/otel/v1/traces"):
        app.add_api_route(path, face.traces, methods=["POST"])
    for path in ("/v1/logs", "/v1/metrics"):
        app.add_api_route(path, face.other, methods=["POST"])
    app.add_api_route("/v1/feedback", face.feedback, methods=["POST"])
    app.add_api_route("/metrics", face.figures, methods=["GET"])
    app.add_api_route("/healthz", face.health, methods=["GET"])
    app.add_api_route("/readyz", face.ready, methods=["GET"])
    app.add_exception_handler(JuratError, _told)
    return app


class _Face:
    def __init__(self, ingest: Ingest, control: Control, limits: Limits) -> None:
        self.ingest, self.control, self.limits = ingest, control, limits

    async def traces(self, request: Request) -> Response:
        return await self._otlp(request, "traces")

    async def other(self, request: Request) -> Response:
        return await self._otlp(request, "other")

    async def feedback(self, request: Request) -> Response:
        key = await self._key(request, "ingest")
        body = await self._body(request)
        try:
            document = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise BadBody("the body is not JSON", seen=str(error)[:80]) from error
        pieces = check_feedback(document)
        await self._log("feedback/json", body, key)
        return JSONResponse({"accepted": len(pieces)})

    async def figures(self, request: Request) -> Response:
        await self._key(request, "analyse")
        return PlainTextResponse(prometheus_text(self.ingest), media_type="text/plain; version=0.0.4")

    async def health(self) -> Response:
        return JSONResponse({"status": "alive"})

    async def ready(self) -> Response:
        behind = self.ingest.log.waiting_bytes
        full = behind >= self.ingest.log.most_bytes
        return JSONResponse({"status": "full" if full else "ready"}, status_code=503 if full else 200)

    async def _otlp(self, request: Request, kind: str) -> Response:
        key = await self._key(request, "ingest")
        media = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if media not in (_PROTOBUF, "application/json"):
            raise BadBody("OTLP comes as protobuf or JSON", status=415, seen=media[:60] or "no content type")
        body = await self._body(request)
        encoding = "protobuf" if media == _PROTOBUF else "json"
        (check_protobuf if encoding == "protobuf" else check_json)(body)
        if body:
            await self._log(f"{kind}/{encoding}", body, key)
        return Response(b"", media_type=_PROTOBUF) if encoding == "protobuf" else JSONResponse({})

    async def _body(self, request: Request) -> bytes:
        body = await read_body(request.stream(), self.limits)
        return unpack(body, request.headers.get("content-encoding", ""), self.limits)

    async def _log(self, kind: str, body: bytes, key: ApiKey) -> None:
        await asyncio.wrap_future(self.ingest.receive(kind, body, tenant=key.tenant))

    async def _key(self, request: Request, role: Role) -> ApiKey:
        token = _token(request)
        return await asyncio.get_running_loop().run_in_executor(None, lambda: self.control.verify_key(token, role=role))


def _token(request: Request) -> str:
    """The key of a request: a bearer token, the header X-API-Key, or the password of basic authentication."""
    if given := request.headers.get("x-api-key"):
        return given
    scheme, _, rest = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(rest, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""


async def _told(request: Request, error: Exception) -> Response:
    """Errors as JSON: what, the value seen, the next step; never a stack."""
    headers: dict[str, str] = {}
    if isinstance(error, LogFull):
        status, headers["Retry-After"] = 429, str(error.retry_after)
    elif isinstance(error, AccessDenied):
        status, headers["WWW-Authenticate"] = 401, "Bearer"
    elif isinstance(error, BadBody):
        status = error.status
    else:
        status = 400 if isinstance(error, DataError) else 503 if isinstance(error, EngineError) else 500
    content: dict[str, Any] = {"error": getattr(error, "what", "failed")}
    for name in ("seen", "next_step"):
        if getattr(error, name, None):
            content[name] = getattr(error, name)
    return JSONResponse(content, status_code=status, headers=headers)
