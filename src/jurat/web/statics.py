"""Style and script of the pages: a fixed list of files read at the start, so no name in an address reaches the disk."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

if TYPE_CHECKING:
    from jurat.web.site import Site

__all__ = ["register"]

_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}


def register(app: FastAPI, site: Site) -> None:
    """Add the files, each under its own name."""

    async def file(request: Request) -> Response:
        name = request.path_params["name"]
        body = site.statics.get(name)
        if body is None:
            return JSONResponse({"error": "there is no such file"}, status_code=404)
        tag = f'"{hashlib.sha256(body).hexdigest()[:24]}"'
        headers = {"ETag": tag, "Cache-Control": "public, max-age=3600"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(body, media_type=_TYPES[name.rsplit(".", 1)[-1]], headers=headers)

    app.add_api_route("/static/{name}", file, methods=["GET"])
