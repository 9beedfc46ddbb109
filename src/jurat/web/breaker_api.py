"""What a gateway asks before it serves a feature: ``GET /v1/breaker/<feature>``. Answered from memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from jurat.errors import IntegrityError, JuratError
from jurat.store.control import AccessDenied
from jurat.web.site import request_token

if TYPE_CHECKING:
    from jurat.store.control import Role
    from jurat.telemetry.sentinel import Sentinel
    from jurat.web.site import Site

__all__ = ["register"]

_LONGEST_NAME = 200
_ROLES: tuple[Role, ...] = ("ingest", "analyse")


def register(app: FastAPI, site: Site) -> None:
    """Add the address."""
    sentinel: Sentinel = app.state.sentinel

    async def ask(request: Request) -> Response:
        await _known(site, request)
        feature = request.path_params["feature"]
        if len(feature) > _LONGEST_NAME:
            return JSONResponse({"error": "that is no feature's name"}, status_code=400)
        try:
            # The ledger is read again only where it changed; in a thread all the same, because it may be long.
            answer = await site.run(sentinel.answer, feature)
        except IntegrityError as error:
            # Neither open nor closed can be sworn: the gateway goes by its own rule for silence.
            headers = {"Retry-After": "5"}
            return JSONResponse({"error": error.what, "seen": error.seen}, status_code=503, headers=headers)
        return JSONResponse(answer)

    async def every(request: Request) -> Response:
        await _known(site, request)
        names = sorted(sentinel.breakers.policies) if sentinel.breakers is not None else []
        return JSONResponse({"features": [await site.run(sentinel.answer, name) for name in names]})

    app.add_api_route("/v1/breaker", every, methods=["GET"])
    app.add_api_route("/v1/breaker/{feature:path}", ask, methods=["GET"])


async def _known(site: Site, request: Request) -> None:
    """Let in who sends and who reads: a gateway holds a key for sending anyway."""
    token = request_token(request)
    if not token:
        await site.person(request, "analyse")
        return
    last: JuratError | None = None
    for role in _ROLES:
        try:
            await site.run(lambda wanted=role: site.control.verify_key(token, role=wanted))
        except AccessDenied as error:
            last = error
        else:
            return
    if last is not None:
        raise last
