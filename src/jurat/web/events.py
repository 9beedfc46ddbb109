"""Live parts of pages: when the lake commits, the changed fragments are drawn again and pushed to who is looking."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from jurat.errors import JuratError, UnknownName
from jurat.web.sessions import Person
from jurat.web.visible import visible

if TYPE_CHECKING:
    from jurat.web.site import Site

__all__ = ["register"]

_LOOK_SECONDS, _BEAT_SECONDS, _LIFE_SECONDS = 1.0, 15.0, 3600.0
_MOST_LISTENERS = 64
_WATCHED = ("rollup_1m", "feedback", "spans")


def register(app: FastAPI, site: Site) -> None:
    """Add ``/events``: server-sent events for a page, named in the query with the page's own parameters."""
    listeners = asyncio.Semaphore(_MOST_LISTENERS)

    async def events(request: Request) -> Response:
        person = await site.person(request, "analyse")
        query = dict(request.query_params)
        page = query.pop("page", "")
        if page not in site.live:
            raise UnknownName("live page", visible(page)[:60], site.live)
        if listeners.locked():
            return JSONResponse({"error": "too many are listening"}, status_code=503, headers={"Retry-After": "60"})
        headers = {"X-Accel-Buffering": "no"}
        return _Live(
            _stream(request, site, person, page, query, listeners), media_type="text/event-stream", headers=headers
        )

    app.add_api_route("/events", events, methods=["GET"])


class _Live(StreamingResponse):
    """A stream that has no end of its own: when the server stops and cancels it, it ends as if it had one."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except asyncio.CancelledError:
            with contextlib.suppress(OSError, RuntimeError):
                await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _stream(
    request: Request, site: Site, person: Person, page: str, query: Mapping[str, str], listeners: asyncio.Semaphore
) -> AsyncIterator[str]:
    loop = asyncio.get_running_loop()
    ends, beaten = loop.time() + _LIFE_SECONDS, loop.time()
    seen: tuple[int, ...] = ()
    sent: Mapping[str, str] = {}
    async with listeners:
        yield "retry: 3000\n\n"
        while loop.time() < ends and not site.stopping.is_set() and not await request.is_disconnected():
            state = _state(site)
            if state != seen:
                # Whoever logged out or lost the key meanwhile is shown no more.
                try:
                    await site.person(request, "analyse")
                    drawn = await site.run(site.live[page], person, query)
                except JuratError:
                    yield "event: gone\ndata: {}\n\n"
                    return
                seen = state
                changed = {name: html for name, html in drawn.items() if sent.get(name) != html}
                sent = dict(drawn)
                if changed:
                    yield f"event: fragments\ndata: {json.dumps(changed)}\n\n"
                beaten = loop.time()
            elif loop.time() - beaten > _BEAT_SECONDS:
                yield ": here\n\n"
                beaten = loop.time()
            await asyncio.sleep(_LOOK_SECONDS)


def _state(site: Site) -> tuple[int, ...]:
    """What changes with every commit, of this process or another: when the tables' logs were last written to."""
    logs = (site.lake / table / "_delta_log" for table in _WATCHED)
    return tuple(log.stat().st_mtime_ns if log.is_dir() else 0 for log in logs)
