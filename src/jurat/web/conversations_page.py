"""*Conversations*: who talked with the model and how it went; text only for those who may, with a reason, on record."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from jurat.errors import JuratError, SpecError, UnknownName, UsageError
from jurat.store.control import AccessDenied
from jurat.telemetry.conversation_filter import (
    CONVERSATION_COLUMNS,
    FUNCTIONS,
    TURN_COLUMNS,
    ConversationFilter,
    parse_filter,
)
from jurat.telemetry.conversations import (
    ConversationPage,
    TurnPage,
    conversation_row,
    conversation_turns,
    count_conversations,
    export_conversations,
    list_conversations,
)
from jurat.telemetry.reveal import REVEALING_ROLES, Reader, Revealed, ledger_of_reveals, reveal_conversation
from jurat.telemetry.tenant_view import TenantView, open_tenant_view
from jurat.web.addressed import from_address, to_address
from jurat.web.panels import Panel, lake_receipt
from jurat.web.sessions import Person
from jurat.web.site import Forbidden, Site
from jurat.web.turn_strip import turn_strip
from jurat.web.visible import csv_cell, visible

if TYPE_CHECKING:
    from jurat.store.lake import Lake

__all__ = ["conversation_address", "register"]

_WINDOWS = {"all": None, "1h": 3_600, "24h": 86_400, "7d": 7 * 86_400, "30d": 30 * 86_400}
_WINDOW_WORDS = {
    "all": "all time",
    "1h": "last hour",
    "24h": "last 24 hours",
    "7d": "last 7 days",
    "30d": "last 30 days",
}
_TABLES = ("spans", "span_text", "feedback")
_PAGE, _TURNS_PAGE, _MOST_EXPORTED = 50, 100, 100_000
_EXAMPLES = (
    ("refused", "refused"),
    ("failed", "status = 'error'"),
    ("blocked", "blocked"),
    ("slow", "latency_ms > 10000"),
    ("high risk", "worst_risk_tier >= 3"),
    ("thumbs down", "thumbs_down > 0"),
    ("long", "turns >= 10"),
)


def conversation_address(identifier: str) -> str:
    """Address of a conversation's page."""
    return f"/conversations/{to_address(identifier)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What the address of the list asks for."""

    where: ConversationFilter
    window: str
    since_us: int | None
    after: str | None

    @classmethod
    def of(cls, query: Mapping[str, str]) -> _Asked:
        window = query.get("window", "all")
        if window not in _WINDOWS:
            raise UnknownName("window", visible(window)[:20], _WINDOWS)
        seconds = _WINDOWS[window]
        since = None if seconds is None else int((time.time() - seconds) * 1e6)
        return cls(
            where=parse_filter(query.get("where", "")), window=window, since_us=since, after=query.get("after") or None
        )

    def query(self, **changed: str) -> dict[str, str]:
        """The same as parts of an address; empty ones are left out."""
        kept = {
            "where": self.where.text,
            "window": "" if self.window == "all" else self.window,
            "after": self.after or "",
        }
        return {name: value for name, value in {**kept, **changed}.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listed:
    """The list as it is drawn."""

    page: ConversationPage
    matching: int
    all: int
    panel: Panel


def register(app: FastAPI, site: Site) -> None:
    """Add the list, its exports, the view of turns, and the reveal."""
    site.enter("/conversations", "Conversations", "c")
    site.panels["conversations"] = lambda person, query: _listed(site, person, _Asked.of(query)).panel
    site.panels["conversation-turns"] = lambda person, query: _turns(site, person, query)[1]

    async def conversations(request: Request) -> Response:
        person = await site.person(request, "analyse")
        query = dict(request.query_params)
        context: dict[str, Any] = {"told": None, "listed": None, "asked": None, "status": 200}
        try:
            context["asked"] = _Asked.of(query)
            context["listed"] = await site.run(_listed, site, person, context["asked"])
        except (UsageError, SpecError) as error:
            context |= {"told": error, "status": 400}
        return site.page(
            request, "conversations.html", title="Conversations", typed=query.get("where", ""),
            window=query.get("window", "all"), windows=_WINDOW_WORDS, examples=_EXAMPLES, address=conversation_address,
            turn_columns=TURN_COLUMNS, conversation_columns=CONVERSATION_COLUMNS, functions=FUNCTIONS,
            encoded=urlencode, **context,
        )  # fmt: skip

    async def exported(request: Request) -> Response:
        person = await site.person(request, "analyse")
        form = request.path_params["form"]
        try:
            asked = _Asked.of(dict(request.query_params))
        except (UsageError, SpecError) as error:
            return _told(error)
        name = {"Content-Disposition": f'attachment; filename="conversations.{form}"'}
        lines = _csv_lines if form == "csv" else _json_lines
        media = "text/csv; charset=utf-8" if form == "csv" else "application/x-ndjson"
        return StreamingResponse(lines(_rows(site, person, asked)), media_type=media, headers=name)

    async def conversation(request: Request) -> Response:
        person = await site.person(request, "analyse")
        return await _conversation(request, person, None)

    async def reveal(request: Request) -> Response:
        person, fields = await site.form(request, "analyse")
        identifier = from_address(request.path_params["name"], "conversation")
        try:
            shown = await site.run(_revealed, site, person, identifier, fields.get("reason", ""))
        except AccessDenied as error:
            raise Forbidden("reading text needs the role annotate or approve", next_step=error.next_step) from error
        except UsageError as error:
            return await _conversation(request, person, None, told=error, status=400)
        except UnknownName as error:
            return _gone(request, site, error)
        return await _conversation(request, person, shown)

    async def _conversation(
        request: Request, person: Person, shown: Revealed | None, *, told: JuratError | None = None, status: int = 200
    ) -> Response:
        query = {**request.query_params, "conversation": from_address(request.path_params["name"], "conversation")}
        try:
            page, panel = await site.run(_turns, site, person, query)
        except (UsageError, SpecError) as error:
            return _gone(request, site, error)
        return site.page(
            request, "conversation.html", title=f"Conversation {visible(page.conversation.id)[:60]}", status=status,
            page=page, panel=panel, shown=shown, told=told, may=bool(REVEALING_ROLES & person.roles),
            address=conversation_address(page.conversation.id), passed=_passed(query),
        )  # fmt: skip

    app.add_api_route("/conversations", conversations, methods=["GET"])
    for form in ("csv", "jsonl"):
        app.add_api_route(f"/conversations.{form}", _as(form, exported), methods=["GET"])
    app.add_api_route("/conversations/{name}", conversation, methods=["GET"])
    app.add_api_route("/conversations/{name}/reveal", reveal, methods=["POST"])


def _as(form: str, answer: Any) -> Any:
    async def endpoint(request: Request) -> Response:
        request.path_params["form"] = form
        answered: Response = await answer(request)
        return answered

    return endpoint


def _told(error: JuratError) -> Response:
    parts = {"error": error.what, "seen": error.seen, "next_step": error.next_step}
    return JSONResponse({name: visible(value) for name, value in parts.items() if value}, status_code=400)


def _gone(request: Request, site: Site, error: JuratError) -> Response:
    status = 404 if isinstance(error, UnknownName) else 400
    what = "There is no such conversation, or it is not yours to see." if status == 404 else error.what
    return site.page(request, "told.html", title="Not found", status=status, what=what, next_step=None)


# Reading the lake ------------------------------------------------------------------------------------------------------


def _opened(site: Site, person: Person) -> tuple[Lake, dict[str, int], TenantView]:
    """The lake at its newest versions, as the person's tenant sees it."""
    lake = site.open_lake()
    held = set(lake.tables())
    versions = {table: lake.version(table) for table in _TABLES if table in held}
    return lake, versions, open_tenant_view(site.lake, tenant=person.tenant, tables=_TABLES, versions=versions)


def _listed(site: Site, person: Person, asked: _Asked) -> _Listed:
    started = time.perf_counter()
    lake, versions, view = _opened(site, person)
    with view:
        page = list_conversations(view, where=asked.where, since_us=asked.since_us, after=asked.after, limit=_PAGE)
        matching = count_conversations(view, where=asked.where, since_us=asked.since_us)
        every = matching if not asked.where.text else count_conversations(view, since_us=asked.since_us)
    receipt = lake_receipt(
        lake, versions, page.sql, page.parameters, seconds=time.perf_counter() - started,
        provisional=site.ingest.lag_bytes() > 0,
    )  # fmt: skip
    panel = Panel(
        key="conversations",
        title="Conversations",
        question="Who talked with the model, and how did it go? The latest first; no text.",
        rows=[conversation_row(one) for one in page.conversations],
        sql=page.sql,
        parameters=page.parameters,
        receipt=receipt,
        page="/conversations",
        query=asked.query(),
    )
    return _Listed(page=page, matching=matching, all=every, panel=panel)


def _passed(query: Mapping[str, str]) -> int:
    given = query.get("passed", "0")
    if not (given.isascii() and given.isdigit() and len(given) < 10):
        raise UsageError("not a number of turns", seen=visible(given)[:20])
    return int(given)


def _turns(site: Site, person: Person, query: Mapping[str, str]) -> tuple[TurnPage, Panel]:
    started = time.perf_counter()
    identifier = query.get("conversation", "")
    lake, versions, view = _opened(site, person)
    with view:
        page = conversation_turns(view, identifier, passed=_passed(query), limit=_TURNS_PAGE)
    rows = [
        {
            "turn": turn.number,
            **{name: turn.facts.get(name) for name in _SHOWN},
            "prompt_characters": turn.prompt_characters,
            "response_characters": turn.response_characters,
            "feedback": ", ".join(one.kind for one in turn.feedback),
        }
        for turn in page.turns
    ]
    receipt = lake_receipt(
        lake, versions, page.sql, page.parameters, seconds=time.perf_counter() - started,
        provisional=site.ingest.lag_bytes() > 0,
    )  # fmt: skip
    panel = Panel(
        key="conversation-turns",
        title="Turns",
        question="How long did each turn take, and how did it end?",
        rows=rows,
        sql=page.sql,
        parameters=page.parameters,
        receipt=receipt,
        svg=turn_strip(page.turns),
        page=conversation_address(identifier),
        query={name: value for name, value in query.items() if name in ("conversation", "passed")},
    )
    return page, panel


_SHOWN = (
    "span_id", "ts", "status", "error_type", "refused", "blocked", "risk_tier", "latency_ms", "ttft_ms", "tokens_in",
    "tokens_out", "cost_usd", "model", "release", "endpoint", "tier",
)  # fmt: skip


def _revealed(site: Site, person: Person, identifier: str, reason: str) -> Revealed:
    _, __, view = _opened(site, person)
    reader = Reader(name=person.name, tenant=person.tenant, roles=person.roles)
    with view:
        return reveal_conversation(view, identifier, reader=reader, reason=reason, record=ledger_of_reveals(site.home))


# Exports ---------------------------------------------------------------------------------------------------------------


def _rows(site: Site, person: Person, asked: _Asked) -> Iterator[dict[str, Any]]:
    _, __, view = _opened(site, person)
    with view:
        yield from export_conversations(view, where=asked.where, since_us=asked.since_us, most=_MOST_EXPORTED)


def _csv_lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Rows as CSV: what a spreadsheet would run, or a terminal obey, is text."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    for number, row in enumerate(rows):
        if number == 0:
            writer.writerow(row)
        writer.writerow([csv_cell(value) for value in row.values()])
        yield out.getvalue()
        out.seek(0)
        out.truncate()


def _json_lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Rows as JSON, one a line; everything but ASCII is escaped, so no terminal reads a command or turns the line round."""
    for row in rows:
        yield json.dumps(row, ensure_ascii=True) + "\n"
