"""The server's face: OTLP and feedback in, pages and figures out. No route but health, the login and its style answers without
a key or a session.

The work is done elsewhere: a request is checked, logged and acknowledged once the log is on disk.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException

from jurat.errors import DataError, EngineError, JuratError, UnknownName, UsageError
from jurat.store.control import AccessDenied, ApiKey, Control, Role
from jurat.telemetry.cost_books import CostBooks
from jurat.telemetry.feedback import check_feedback
from jurat.telemetry.ingest import Ingest
from jurat.telemetry.sentinel import Sentinel
from jurat.telemetry.wal import LogFull
from jurat.web import (
    alerts_page,
    breaker_api,
    compare_page,
    conversations_page,
    cost_page,
    events,
    ingestion_page,
    ledger_page,
    login,
    metrics_page,
    now_page,
    panels,
    statics,
)
from jurat.web.bodies import BadBody, Limits, check_json, check_protobuf, partial_success, read_body, unpack
from jurat.web.figures import prometheus_text
from jurat.web.headers import SecureHeaders
from jurat.web.sessions import Sessions
from jurat.web.site import Site, request_token
from jurat.web.visible import visible
from jurat.web.watch import WATCH_FOLDER

__all__ = ["create_app"]

_PROTOBUF = "application/x-protobuf"

_PAGES = (now_page, metrics_page, conversations_page, compare_page, cost_page, alerts_page, ledger_page, ingestion_page)
"""Each adds its addresses, panels and place in the masthead."""


def create_app(
    ingest: Ingest,
    control: Control,
    *,
    limits: Limits | None = None,
    sessions: Sessions | None = None,
    home: Path | None = None,
    sentinel: Sentinel | None = None,
    bars: Sequence[Path] = (),
    costs: CostBooks | None = None,
) -> FastAPI:
    """Make the application.

    Parameters
    ----------
    ingest
        The writer of the lake; it is closed with the application.
    control
        Where keys are kept.
    limits
        What a request may weigh.
    sessions
        Who is logged in; its first token opens the pages. New ones by default.
    home
        Folder of secrets and of the home ledger; that of the control plane by default.
    sentinel
        What is watched and what may be pulled (`jurat.web.watch.sentinel_for`); nothing by default.
    bars
        Launch bars whose margins the comparison of releases may show; an address can name no other file.
    costs
        Usage records and invoices for the page of costs.

    Returns
    -------
    FastAPI
        Its site is ``app.state.site``. Paths: the pages, their panels and ``/events``;
        ``/v1/traces``, ``/v1/logs``, ``/v1/metrics`` (OTLP over HTTP, protobuf and JSON), the same traces under
        ``/api/public/otel/v1/traces``, ``/v1/feedback``, ``/v1/breaker/<feature>``, ``/metrics``, ``/healthz``, ``/readyz``.
    """
    watching = sentinel or Sentinel(folder=ingest.lake.root / WATCH_FOLDER)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        if watching.watchings or watching.breakers is not None:
            watching.start()
        yield
        await asyncio.get_running_loop().run_in_executor(None, watching.stop)
        await asyncio.get_running_loop().run_in_executor(None, ingest.close)

    app = FastAPI(title="Jurat", docs_url=None, redoc_url=None, openapi_url=None, lifespan=life)
    face = _Face(ingest, control, limits or Limits(), watching)
    for path in ("/v1/traces", "/api/public/otel/v1/traces"):
        app.add_api_route(path, face.traces, methods=["POST"])
    app.add_api_route("/v1/logs", face.logs, methods=["POST"])
    app.add_api_route("/v1/metrics", face.metrics, methods=["POST"])
    app.add_api_route("/v1/feedback", face.feedback, methods=["POST"])
    app.add_api_route("/metrics", face.figures, methods=["GET"])
    app.add_api_route("/healthz", face.health, methods=["GET"])
    app.add_api_route("/readyz", face.ready, methods=["GET"])
    site = Site(
        lake=ingest.lake.root,
        ingest=ingest,
        control=control,
        home=home or control.path.parent,
        sessions=sessions or Sessions(control),
    )
    app.state.site, app.state.sentinel = site, watching
    app.state.bars = compare_page.named_bars(bars)
    app.state.cost_books = costs or CostBooks()
    for part in (login, statics, panels, events, breaker_api, *_PAGES):
        part.register(app, site)
    app.add_exception_handler(JuratError, _told)
    app.add_exception_handler(HTTPException, _not_here)
    app.add_middleware(SecureHeaders)
    return app


class _Face:
    def __init__(self, ingest: Ingest, control: Control, limits: Limits, sentinel: Sentinel) -> None:
        self.ingest, self.control, self.limits, self.sentinel = ingest, control, limits, sentinel

    async def traces(self, request: Request) -> Response:
        return await self._otlp(request, "traces")

    async def logs(self, request: Request) -> Response:
        return await self._otlp(request, "logs")

    async def metrics(self, request: Request) -> Response:
        return await self._otlp(request, "metrics")

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
        return PlainTextResponse(prometheus_text(self.ingest, self.sentinel), media_type="text/plain; version=0.0.4")

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
        if encoding == "json":
            return JSONResponse({})
        count, reason = 0, ""
        if kind == "traces" and body:
            count, reason = await asyncio.get_running_loop().run_in_executor(None, self.ingest.unreadable, body)
        return Response(partial_success(count, reason) if count else b"", media_type=_PROTOBUF)

    async def _body(self, request: Request) -> bytes:
        body = await read_body(request.stream(), self.limits)
        return unpack(body, request.headers.get("content-encoding", ""), self.limits)

    async def _log(self, kind: str, body: bytes, key: ApiKey) -> None:
        await asyncio.wrap_future(self.ingest.receive(kind, body, tenant=key.tenant))

    async def _key(self, request: Request, role: Role) -> ApiKey:
        token = request_token(request)
        return await asyncio.get_running_loop().run_in_executor(None, lambda: self.control.verify_key(token, role=role))


async def _told(request: Request, error: Exception) -> Response:
    """Errors as JSON, or as a page for a browser: what, the value seen, the next step; never a stack."""
    headers: dict[str, str] = {}
    if isinstance(error, LogFull):
        status, headers["Retry-After"] = 429, str(error.retry_after)
    elif isinstance(error, AccessDenied):
        status, headers["WWW-Authenticate"] = 401, "Bearer"
    elif isinstance(error, BadBody):
        status = error.status
    else:
        status = (
            404
            if isinstance(error, UnknownName)
            else 400
            if isinstance(error, DataError | UsageError)
            else 503
            if isinstance(error, EngineError)
            else 500
        )
    return _answer(request, error, status, headers)


async def _not_here(request: Request, error: Exception) -> Response:
    """Addresses and methods that do not exist, told like everything else."""
    status = getattr(error, "status_code", 404)
    headers = dict(getattr(error, "headers", None) or {})
    seen = f"{request.method} {request.url.path[:200]}"
    if status == 405:
        told = UsageError(
            "this address does not take the method", seen=seen, next_step=f"use {headers.get('Allow', 'another')}"
        )
    else:
        told = UsageError("there is no such address", seen=seen, next_step="begin at /")
    return _answer(request, told, status, headers)


def _answer(request: Request, error: Exception, status: int, headers: dict[str, str]) -> Response:
    content: dict[str, Any] = {"error": getattr(error, "what", "failed")}
    for name in ("seen", "next_step"):
        if getattr(error, name, None):
            content[name] = visible(getattr(error, name))
    if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        site: Site = request.app.state.site
        what = " · ".join(str(content[name]) for name in ("error", "seen") if name in content)
        title = "Not found" if status == 404 else "This cannot be shown"
        page = site.page(
            request, "told.html", title=title, status=status, what=what, next_step=content.get("next_step")
        )
        page.headers.update(headers)
        return page
    return JSONResponse(content, status_code=status, headers=headers)
