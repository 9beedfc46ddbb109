"""*Cost*: what turns cost by the list, what was billed, and who used what was paid for, with what nobody used on its own line."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.responses import Response

from jurat.errors import JuratError, UsageError
from jurat.evidence.estimate import Estimate
from jurat.stats.result import Interval
from jurat.telemetry.cost_books import Books, CostBooks
from jurat.telemetry.spend import (
    DIMENSIONS,
    OTHERS,
    Spend,
    SpendLine,
    cost_of_turns,
    newest_turn_us,
    spend_over_time,
    spend_sql,
)
from jurat.telemetry.tenant_view import HOUSE_TENANT, TenantView, open_tenant_view
from jurat.web.billed_panels import (
    WHO,
    WINDOWS,
    Asked,
    Tile,
    billed_attribution,
    billed_by_day,
    billed_invoices,
    billed_tiles,
    billed_tokens,
)  # fmt: skip
from jurat.web.cost_figures import Mark, Part, dollars, dots, share_of, stacked_bars
from jurat.web.panels import Panel, Reading, lake_receipt
from jurat.web.sessions import Person
from jurat.web.visible import visible

if TYPE_CHECKING:
    from jurat.web.site import Site

__all__ = ["register"]

_DAYS = {"24h": 1, "7d": 7, "30d": 30, "90d": 90}
_HOUR, _DAY = 3_600, 86_400
_MOST_PERIODS = 120
_MOST_LINES = 5
_LIST = "By the list of prices at the time of each turn: what a turn would cost there, not what was billed."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """Turns of a person's tenant in the window, and what they were read from."""

    view: TenantView
    versions: Mapping[str, int]
    since_us: int | None
    until_us: int | None
    width: int


def register(app: FastAPI, site: Site) -> None:
    """Add the page and its panels; ``app.state.cost_books`` holds usage and invoices, where they were given."""
    books: CostBooks = getattr(app.state, "cost_books", CostBooks())
    site.enter("/cost", "Cost", "o")
    site.panels["cost-over-time"] = lambda person, query: _over_time(site, person, Asked.of(query))[0]
    site.panels["cost-per-turn"] = lambda person, query: _per_turn(site, person, Asked.of(query))
    for key, build in (
        ("cost-by-day", billed_by_day), ("cost-attribution", billed_attribution), ("cost-invoices", billed_invoices),
    ):  # fmt: skip
        site.panels[key] = _of_house(books, build)
    site.panels["cost-tokens"] = lambda person, query: billed_tokens(site, _house(books, person), Asked.of(query))

    async def cost(request: Request) -> Response:
        person = await site.person(request, "analyse")
        shown = await site.run(_page, site, person, books, dict(request.query_params))
        return site.page(request, "cost.html", title="Cost", **shown)

    app.add_api_route("/cost", cost, methods=["GET"])


def _of_house(books: CostBooks, build: Any) -> Any:
    return lambda person, query: build(_house(books, person), Asked.of(query))


def _house(books: CostBooks, person: Person) -> Books:
    """Usage and invoices, which belong to those who run the lake and to no other tenant."""
    if person.only_org is not None:
        raise UsageError("invoices belong to the house", seen=f"tenant {visible(person.tenant)}")
    if not books:
        raise UsageError("no invoice was given", next_step="start with jurat serve --invoice FILE --usage FILE")
    return books.read()


def _page(site: Site, person: Person, books: CostBooks, query: Mapping[str, str]) -> dict[str, Any]:
    """Everything the template shows."""
    asked = Asked.of(query)
    over_time, spend = _over_time(site, person, asked)
    shown: dict[str, Any] = {
        "asked": asked, "windows": WINDOWS, "dimensions": list(DIMENSIONS), "whos": WHO, "spend": spend,
        "panels": [over_time, _per_turn(site, person, asked)], "house": [], "told": None,
        "tiles": _tiles(site, person, asked, spend), "with_books": bool(books) and person.only_org is None,
    }  # fmt: skip
    if shown["with_books"]:
        try:
            found = books.read()
            tokens = billed_tokens(site, found, asked)
            shown["house"] = [
                billed_by_day(found, asked),
                billed_attribution(found, asked),
                billed_invoices(found, asked),
            ]
            shown["house"] += [tokens] if tokens.rows else []
            shown["tiles"] += billed_tiles(found)
        except JuratError as error:
            shown["told"] = error
    return shown


# What was seen of the lake ---------------------------------------------------------------------------------------------


def _seen(site: Site, person: Person, asked: Asked) -> _Seen:
    """Turns of the window, which ends with the newest turn: a lake of last month is not empty."""
    lake = site.open_lake()
    versions = {"spans": lake.version("spans")} if "spans" in lake.tables() else {}
    view = open_tenant_view(site.lake, tenant=person.only_org or HOUSE_TENANT, tables=("spans",), versions=versions)
    newest = newest_turn_us(view)
    if asked.window == "all" or newest is None:
        oldest = view.query("SELECT MIN(ts_s) AS oldest FROM spans")["oldest"][0].as_py()
        days = 1 if newest is None else (newest // 1_000_000 - oldest) // _DAY + 1
        width = _DAY * max(1, -(-days // _MOST_PERIODS))
        return _Seen(view=view, versions=versions, since_us=None, until_us=newest, width=width)
    width = _HOUR if asked.window == "24h" else _DAY
    # Whole periods, so that the first bar is not lower than it was.
    since = (newest // 1_000_000 // width * width - (_DAYS[asked.window] * _DAY - width)) * 1_000_000
    return _Seen(view=view.narrowed(since_us=since), versions=versions, since_us=since, until_us=newest, width=width)


def _panel(
    site: Site, asked: Asked, seen: _Seen, begun: float, sql: str, bound: Mapping[str, Any], **more: Any
) -> Panel:
    whole, own = seen.view.statement(sql)
    parameters = {**bound, **own}
    receipt = lake_receipt(
        site.open_lake(), seen.versions, whole, parameters, seconds=time.monotonic() - begun,
        provisional=site.ingest.lag_bytes() > 0,
    )  # fmt: skip
    return Panel(sql=whole, parameters=parameters, receipt=receipt, page="/cost", query=asked.query, **more)


def _over_time(site: Site, person: Person, asked: Asked) -> tuple[Panel, Spend]:
    begun = time.monotonic()
    seen = _seen(site, person, asked)
    spend = spend_over_time(seen.view, asked.by, width_seconds=seen.width, most_lines=_MOST_LINES)
    names = [_period(at, seen.width) for at in spend.periods]
    parts = [
        Part(
            name=line.name, values=line.costs, total=_told(line, spend),
            kind="part others" if line.name == OTHERS else f"part part-{place}",
        )
        for place, line in enumerate(spend.lines)
    ]  # fmt: skip
    rows = [
        {
            "name": line.name,
            "cost": round(line.cost, 6),
            "share": share_of(line.cost, spend.cost),
            "turns": line.turns,
            "unpriced": line.turns - line.priced,
            "tokens_in": line.tokens_in,
            "tokens_out": line.tokens_out,
        }
        for line in spend.lines
    ]
    note = f"{_LIST} A sum of all turns is no estimate and has no interval."
    if spend.unpriced:
        note += f" {spend.unpriced:,} of {spend.turns:,} turns have no price and are not in the sum."
    panel = _panel(
        site, asked, seen, begun, spend_sql(asked.by), {"width": seen.width},
        key="cost-over-time", title=f"Spend over time by {asked.by}",
        question=f"What did the turns cost by the list of prices, {WINDOWS[asked.window]}, and what were they spent on?",
        rows=rows, note=note,
        columns={"name": asked.by, "cost": "US$", "share": "share", "turns": "turns", "unpriced": "without price",
                 "tokens_in": "tokens in", "tokens_out": "tokens out"},
        svg=stacked_bars(names, parts, unit="US$", written=dollars,
                         label=f"Spend by {asked.by}: {dollars(spend.cost)} in {len(names)} periods"),
    )  # fmt: skip
    return panel, spend


def _told(line: SpendLine, spend: Spend) -> str:
    """What stands below a name beside the bars; without a price there is no cost, not one of 0."""
    if not line.priced:
        return f"no price · {line.turns:,} turns"
    return f"{dollars(line.cost)} · {share_of(line.cost, spend.cost)}"


def _per_turn(site: Site, person: Person, asked: Asked) -> Panel:
    begun = time.monotonic()
    seen = _seen(site, person, asked)
    estimates, measured = cost_of_turns(seen.view, asked.by)
    ordered = sorted(estimates, key=lambda e: -(e.value or 0.0))[:12]
    rows = [{"name": e.slice["release"], "cost": _reading(e), "users": e.n_clusters} for e in ordered]
    marks = [
        Mark(
            name=e.slice["release"],
            value=1000 * e.value,
            low=_thousand(e.low),
            high=_thousand(e.high),
            written=f"{_reading(e).value} {_reading(e).range} n={e.n:,}",
        )
        for e in ordered
        if e.value is not None
    ]
    left = f" {len(estimates) - len(ordered)} cheaper ones are not shown." if len(estimates) > len(ordered) else ""
    return _panel(
        site, asked, seen, begun, measured.sql, {},
        key="cost-per-turn", title=f"Cost of a turn by {asked.by}",
        question="What do a thousand turns cost by the list of prices, in US dollars, failed turns included?",
        rows=rows, columns={"name": asked.by, "cost": "US$ a turn", "users": "users"},
        note="Mean of a turn with 95 % interval (the axis is for a thousand); turns of one user are taken as dependent. "
        f"Turns without a price do not count.{left}",
        svg=dots(marks, label=f"US dollars a thousand turns by {asked.by}"),
    )  # fmt: skip


def _thousand(x: float | None) -> float | None:
    return None if x is None else 1000 * x


def _reading(e: Estimate) -> Reading:
    interval = Interval(
        value=e.value, low=e.low, high=e.high, level=e.level, n=e.n, n_clusters=e.n_clusters, method=e.method,
        reason=e.reason,
    )  # fmt: skip
    return Reading(interval=interval, scale="$")


def _tiles(site: Site, person: Person, asked: Asked, spend: Spend) -> list[Tile]:
    estimates, _ = cost_of_turns(_seen(site, person, asked).view)
    tokens_in, tokens_out = (sum(getattr(line, name) for line in spend.lines) for name in ("tokens_in", "tokens_out"))
    per = f"{dollars(1e6 * spend.cost / (tokens_in + tokens_out))} a million tokens" if tokens_in + tokens_out else ""
    priced = spend.turns - spend.unpriced
    return [
        Tile(title="Spend by the list", value=dollars(spend.cost), detail=f"{priced:,} priced turns; a sum, no estimate"),
        Tile(title="Cost of a turn", reading=_reading(estimates[0]) if estimates else None, detail="list price, by user"),
        Tile(
            title="Tokens", value=_count(tokens_in + tokens_out),
            detail=f"{_count(tokens_in)} in, {_count(tokens_out)} out" + (f"; {per}" if per else ""),
        ),
        Tile(
            title="No price", value=f"{spend.unpriced:,} turns", kind="watch" if spend.unpriced else "ok",
            word="not in the sums" if spend.unpriced else "every turn has one",
            detail="a model that the list does not have, or tokens that nobody told" if spend.unpriced else "",
        ),
    ]  # fmt: skip


# How things are written ------------------------------------------------------------------------------------------------


def _period(at: int, width: int) -> str:
    moment = dt.datetime.fromtimestamp(at, dt.UTC)
    return moment.strftime("%d %b" if width >= _DAY else "%H:%M")


def _count(n: int) -> str:
    """A count in three digits: 1.23 M."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if n >= size:
            return f"{n / size:.3g} {letter}"
    return str(n)
