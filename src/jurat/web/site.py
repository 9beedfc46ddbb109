"""What all pages share: the lake, who is asking, how a page is drawn, and the list of pages."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote

import jinja2
from fastapi import Request
from fastapi.responses import HTMLResponse

from jurat.errors import JuratError
from jurat.evidence.wording import amount, three_digits
from jurat.stats.result import Interval
from jurat.store.control import Control, Role
from jurat.store.lake import Lake
from jurat.telemetry.ingest import Ingest
from jurat.web.bodies import BadBody, Limits, read_body
from jurat.web.panels import PanelBuilder, Reading, plain
from jurat.web.sessions import Person, Sessions
from jurat.web.visible import visible

__all__ = [
    "Forbidden",
    "Fragments",
    "LoginNeeded",
    "NavItem",
    "Site",
    "cookie_name",
    "header_token",
    "is_foreign",
    "request_token",
    "safe_next",
]

Result = TypeVar("Result")
Fragments = Callable[[Person, Mapping[str, str]], Mapping[str, str]]
"""Renders the parts of a page that change: id of the element to its new HTML. Runs in a worker thread."""

_FORM = Limits(packed_bytes=64 << 10, unpacked_bytes=64 << 10)
_ORDER = ("/", "/alerts", "/conversations", "/releases", "/cost", "/ledger", "/metric-files", "/ingestion")
_STATIC = ("look.css", "jurat.js")


class LoginNeeded(JuratError):
    """Nobody is logged in; a browser is sent to the login, and comes back.

    Attributes
    ----------
    back
        Where it wanted to go.
    """

    def __init__(self, back: str) -> None:
        super().__init__("log in first", next_step="open the address that jurat serve printed, or use an API key")
        self.back = back


class Forbidden(JuratError):
    """Who asks is known and may not do this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NavItem:
    """A page in the masthead: its path, its name, and the letter that opens it after ``g``."""

    path: str
    name: str
    letter: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The web face of one lake.

    Attributes
    ----------
    lake
        Folder of the lake.
    ingest
        Its writer.
    control
        Keys and settings.
    home
        Folder of signing key, secrets, alerts' memory.
    sessions
        Who is logged in.
    nav
        Pages, in the order of the masthead; see `enter`.
    panels
        Builders of panels by key: ``site.panels["now-refusals"] = build``.
    live
        Renderers of changing fragments by the name of the page: ``site.live["now"] = render``.
    stopping
        Set when the server is about to stop: live pages then end by themselves.
    """

    lake: Path
    ingest: Ingest
    control: Control
    home: Path
    sessions: Sessions
    nav: list[NavItem] = field(default_factory=list)
    panels: dict[str, PanelBuilder] = field(default_factory=dict)
    live: dict[str, Fragments] = field(default_factory=dict)
    stopping: threading.Event = field(default_factory=threading.Event)
    environment: jinja2.Environment = field(init=False)
    statics: dict[str, bytes] = field(init=False)

    def __post_init__(self) -> None:
        folder = resources.files("jurat.web") / "static"
        object.__setattr__(self, "statics", {name: (folder / name).read_bytes() for name in _STATIC})
        digest = hashlib.sha256(b"".join(self.statics.values())).hexdigest()[:12]
        environment = jinja2.Environment(
            loader=jinja2.PackageLoader("jurat.web"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters |= {
            "visible": visible,
            "utc": utc,
            "amount": amount,
            "plain": plain,
            "digits": three_digits,
        }
        environment.globals |= {"reading": _reading, "static_version": digest}
        object.__setattr__(self, "environment", environment)

    def enter(self, path: str, name: str, letter: str) -> None:
        """Put a page into the masthead.

        Parameters
        ----------
        path, name
            Its address and what it is called.
        letter
            Opens it after ``g``; each page its own.
        """
        if any(item.letter == letter or item.path == path for item in self.nav):
            raise ValueError(f"path and letter of a page must be its own, got {path!r} and {letter!r}")
        self.nav.append(NavItem(path=path, name=name, letter=letter))
        self.nav.sort(key=lambda item: (_ORDER.index(item.path) if item.path in _ORDER else len(_ORDER), item.name))

    def open_lake(self) -> Lake:
        """The lake, to read."""
        return self.ingest.lake

    async def person(self, request: Request, role: Role) -> Person:
        """Who asks, by session or by API key.

        Parameters
        ----------
        request
            The request.
        role
            What one must be allowed to do.

        Raises
        ------
        LoginNeeded
            Where nobody is known: browsers are sent to the login, others get 401.
        Forbidden
            Where the person lacks the role.
        AccessDenied
            Where a key in a header does not open this.
        """
        token = request_token(request)
        if token:
            key = await self.run(lambda: self.control.verify_key(token, role=role))
            person = Person(name=key.owner, tenant=key.tenant, roles=key.roles)
        else:
            cookie = request.cookies.get(cookie_name(request))
            found = await self.run(self.sessions.person, cookie) if cookie else None
            if found is None:
                raise LoginNeeded(request.url.path + (f"?{request.url.query}" if request.url.query else ""))
            person = found
        if role not in person.roles:
            raise Forbidden(f"this needs the role {role}", seen=", ".join(sorted(person.roles)))
        request.state.person = person
        return person

    async def form(self, request: Request, role: Role) -> tuple[Person, dict[str, str]]:
        """Who posts, and the fields of the form; the form must carry this session's token.

        Raises
        ------
        Forbidden
            Where the token is missing or another's, or another site sent the form.
        BadBody
            Where the body is no form, or too large.
        """
        person = await self.person(request, role)
        fields = await self.fields(request)
        # Another site can make a browser send a cookie, or a password it remembers; a key in a header of its own it cannot.
        if person.csrf:
            self.check_form(request, fields, person.csrf)
        elif is_foreign(request):
            raise Forbidden("the form is from another site", next_step="send it from this one")
        return person, fields

    async def fields(self, request: Request) -> dict[str, str]:
        """Fields of a form, read to a limit; the last of several of one name counts."""
        media = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if media != "application/x-www-form-urlencoded":
            raise BadBody("a form comes as application/x-www-form-urlencoded", status=415, seen=media[:60] or "nothing")
        body = await read_body(request.stream(), _FORM)
        try:
            return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=200))
        except ValueError as error:
            raise BadBody("the body is no form", seen=str(error)[:80]) from error

    def check_form(self, request: Request, fields: Mapping[str, str], expected: str) -> None:
        """Refuse a form that this site did not hand out."""
        given = fields.get("csrf", "").encode()
        if is_foreign(request) or not hmac.compare_digest(given, expected.encode()):
            raise Forbidden("the form is not from this session", next_step="load the page again and repeat")

    async def run(self, function: Callable[..., Result], *args: Any) -> Result:
        """Run what computes or reads in a worker thread, so that requests go on being taken."""
        return await asyncio.get_running_loop().run_in_executor(None, partial(function, *args))

    def page(self, request: Request, template: str, *, title: str, status: int = 200, **context: Any) -> HTMLResponse:
        """Draw a page in the frame of the site.

        Parameters
        ----------
        request
            The request, after `person` was asked.
        template
            Name of the file in ``templates``; it extends ``base.html``.
        title
            Of the page.
        status
            Status of the answer.
        context
            What the template speaks of; all of it is escaped.
        """
        person = getattr(request.state, "person", None)
        text = self.environment.get_template(template).render(
            title=title,
            person=person,
            csrf=person.csrf if person else "",
            nav=self.nav if person else [],
            path=request.url.path,
            theme=theme if (theme := request.cookies.get("jurat_theme", "")) in ("light", "dark") else "",
            rendered=utc(datetime.now(UTC)),
            **context,
        )
        return HTMLResponse(text, status_code=status)

    def fragment(self, template: str, **context: Any) -> str:
        """Draw a part of a page, for `live`."""
        return self.environment.get_template(template).render(**context)


def utc(time: datetime | int | float | None, form: str = "seconds") -> str:
    """Write a time (or seconds since 1970) as ISO 8601 in UTC.

    Examples
    --------
    >>> utc(1_770_000_000), utc(1_770_000_000, "minutes"), utc(None)
    ('2026-02-02T02:40:00Z', '2026-02-02T02:40Z', '–')
    """
    if time is None:
        return "–"
    moment = time if isinstance(time, datetime) else datetime.fromtimestamp(time, UTC)
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=form) + "Z"


def _reading(given: Any, shape: str = "number", scale: str = "") -> Reading:
    """What `estimate` in ``parts.html`` shows: a reading, or an interval or estimate with its unit."""
    if isinstance(given, Reading):
        return given
    parts = ("value", "low", "high", "level", "n", "method", "reason")
    interval = given if isinstance(given, Interval) else Interval(**{name: getattr(given, name) for name in parts})
    return Reading(interval=interval, shape="share" if shape == "share" else "number", scale=scale)


def is_foreign(request: Request) -> bool:
    """Whether a browser says that another site made it send this."""
    site = request.headers.get("sec-fetch-site", "same-origin")
    origin = request.headers.get("origin", "null")
    return site not in ("same-origin", "none") or (
        origin != "null" and origin.partition("://")[2] != request.headers.get("host", "")
    )


def cookie_name(request: Request) -> str:
    """Name of the session's cookie: ports share cookies, so it holds the port."""
    return f"jurat_session_{request.url.port or 0}"


def request_token(request: Request) -> str:
    """The key of a request: a bearer token, the header X-API-Key, or the password of basic authentication."""
    return header_token(request.headers)


def header_token(headers: Mapping[str, str]) -> str:
    """The key among headers, their names in lower case.

    Examples
    --------
    >>> header_token({"authorization": "Bearer a-key"}), header_token({"x-api-key": "another"}), header_token({})
    ('a-key', 'another', '')
    """
    if given := headers.get("x-api-key"):
        return given
    scheme, _, rest = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(rest, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""


_NEXT = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*")


def safe_next(given: str | None) -> str:
    """Where to go after the login: a path of this site, or the first page.

    Examples
    --------
    >>> [safe_next(x) for x in ("/alerts?a=b", "//evil.example", "https://evil.example", r"/\\evil.example", None)]
    ['/alerts?a=b', '/', '/', '/', '/']
    """
    path = quote(given or "", safe="/?&=%#+:,;@!$'()*~-._[]")
    return path if given and _NEXT.fullmatch(path) and given[:1] == "/" and "\\" not in given else "/"
