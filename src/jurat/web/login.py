"""The way in: the token from the terminal or an API key, exchanged for a cookie that no script can read."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response

from jurat.store.control import AccessDenied
from jurat.web.sessions import LIFE_SECONDS, TooManyTries
from jurat.web.site import Forbidden, LoginNeeded, cookie_name, safe_next

if TYPE_CHECKING:
    from jurat.web.site import Site

__all__ = ["enter_by_token", "register"]

_LOG = logging.getLogger("jurat.web")


def register(app: FastAPI, site: Site) -> None:
    """Add the login, the logout, and what unknown people are told."""

    async def form(request: Request) -> Response:
        if "token" in request.query_params:
            return await enter_by_token(request, site)
        return _page(request, site, back=safe_next(request.query_params.get("next")))

    async def enter(request: Request) -> Response:
        fields = await site.fields(request)
        site.check_form(request, fields, site.sessions.form_token)
        back = safe_next(fields.get("next"))
        return await _opened(request, site, fields.get("key", "").strip(), back)

    async def leave(request: Request) -> Response:
        cookie = request.cookies.get(cookie_name(request))
        person = site.sessions.person(cookie)
        if person is not None:
            site.check_form(request, await site.fields(request), person.csrf)
        site.sessions.close(cookie)
        answer = RedirectResponse("/login", status_code=303)
        answer.delete_cookie(cookie_name(request), path="/", httponly=True, samesite="strict")
        return answer

    async def unknown(request: Request, error: Exception) -> Response:
        if isinstance(error, LoginNeeded) and request.method == "GET" and _is_browser(request):
            back = error.back if error.back != "/" else ""
            return RedirectResponse(f"/login{f'?next={_quoted(back)}' if back else ''}", status_code=303)
        headers = {"WWW-Authenticate": "Bearer"}
        return JSONResponse({"error": "log in first, or send an API key"}, status_code=401, headers=headers)

    async def forbidden(request: Request, error: Exception) -> Response:
        what, next_step = getattr(error, "what", "not allowed"), getattr(error, "next_step", None)
        if _is_browser(request):
            return site.page(request, "told.html", title="Not allowed", status=403, what=what, next_step=next_step)
        return JSONResponse({"error": what, "next_step": next_step}, status_code=403)

    app.add_api_route("/login", form, methods=["GET"])
    app.add_api_route("/login", enter, methods=["POST"])
    app.add_api_route("/logout", leave, methods=["POST"])
    app.add_exception_handler(LoginNeeded, unknown)
    app.add_exception_handler(Forbidden, forbidden)


async def enter_by_token(request: Request, site: Site) -> Response:
    """Exchange the token of the terminal in the address for a cookie, and lose it from the address.

    API keys are not taken from addresses: those are remembered, and a stranger's link could log somebody in as the stranger.
    """
    if not site.sessions.is_first(request.query_params.get("token", "")):
        return _page(request, site, back="/", told="That token opens nothing here.", status=401)
    return await _opened(request, site, request.query_params.get("token", ""), safe_next(request.url.path))


async def _opened(request: Request, site: Site, secret: str, back: str) -> Response:
    address = request.client.host if request.client else "unknown"
    back = "/" if back.startswith("/login") else back
    old = request.cookies.get(cookie_name(request))
    try:
        cookie = await site.run(lambda: site.sessions.open(secret, address=address, replaces=old))
    except AccessDenied:
        _LOG.warning("a login from %s was refused", address)
        return _page(request, site, back=back, told="That key opens nothing here.", status=401)
    except TooManyTries as error:
        answer = _page(request, site, back=back, told=f"Too many wrong tries: wait {error.retry_after} s.", status=429)
        answer.headers["Retry-After"] = str(error.retry_after)
        return answer
    answer = RedirectResponse(back, status_code=303)
    answer.set_cookie(
        cookie_name(request),
        cookie,
        max_age=LIFE_SECONDS,
        path="/",
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer


def _page(request: Request, site: Site, *, back: str, told: str = "", status: int = 200) -> Response:
    return site.page(
        request, "login.html", title="Log in", status=status, back=back, told=told, form_token=site.sessions.form_token
    )


def _is_browser(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "")


def _quoted(path: str) -> str:
    return quote(path, safe="/")
