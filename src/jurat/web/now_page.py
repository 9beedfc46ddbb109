"""*Now*: how the product behaves at this moment, against the same hour last week."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from fastapi import FastAPI, Request
from fastapi.responses import Response
from markupsafe import Markup

from jurat.telemetry.alerts import Alert, AlertStore
from jurat.telemetry.standout import Standout
from jurat.telemetry.tiles import Tile
from jurat.web.login import enter_by_token
from jurat.web.now_data import WINDOWS, Now, NowData
from jurat.web.now_panels import FIGURES, MATRIX, TILES, named, tile_panel, tile_reading
from jurat.web.panels import Panel, Reading
from jurat.web.sessions import Person
from jurat.web.site import utc
from jurat.web.watch import WATCH_FOLDER

if TYPE_CHECKING:
    from jurat.web.site import Site

__all__ = ["register"]

_STATES = {
    "ok": ("ok", "as usual"),
    "warning": ("watch", "watch"),
    "firing": ("bad", "too high"),
    "no data": ("none", "no data"),
    "unknown": ("none", "no baseline yet"),
}
_SHORT = {"the same hour last week": "last week", "the day before": "day before"}


def _matrix(now: Now) -> dict[str, Any]:
    """Cells by endpoint (rows) and tier (columns)."""
    tiers = sorted({named(cell.tier) for cell in now.cells[0]})
    table: dict[str, dict[str, Any]] = {}
    for cell in now.cells[0]:
        strength = cell.evidence
        shade = "" if strength == 0 else f"{'up' if strength > 0 else 'down'}-{abs(strength)}"
        usual = Reading(interval=cell.usual, shape="share")
        table.setdefault(named(cell.endpoint), {})[named(cell.tier)] = {
            "now": Reading(interval=cell.now, shape="share"),
            "shade": shade,
            "said": f"{'▲ up' if strength > 0 else '▼ down'} from {usual.value}" if strength else "",
        }
    return {"tiers": tiers, "rows": dict(sorted(table.items()))}


def _drawn(tile: Tile, panel: Panel) -> dict[str, Any]:
    """What the template needs of a tile."""
    kind, word = _STATES[tile.status]
    detail = []
    if tile.usual is not None and tile.usual.value is not None:
        usual = tile_reading(tile, tile.usual)
        detail.append((_SHORT.get(tile.usual_name, tile.usual_name), f"{usual.value} {usual.range}"))
    if tile.beside is not None:
        label, interval, shape, scale = tile.beside
        beside = Reading(interval=interval, shape=shape, scale=scale)
        if beside.defined:
            detail.append((label, f"{beside.value} {beside.range}"))
    if tile.key == "now-traffic" and tile.now.n:
        detail.append(("silence would show", "in 10 min"))
    if tile.shift and tile.now.n:
        detail.append((f"{tile.shift} would show", _within(tile.detect)))
    return {
        "panel": panel,
        "tile": tile,
        "kind": kind,
        "word": word,
        "now": tile_reading(tile, tile.now),
        "detail": detail,
    }


def _within(minutes: int | None) -> str:
    if minutes is None:
        return "only after days: too little traffic"
    if minutes < 120:
        return f"in {minutes} min"
    return f"in {minutes / 60:.0f} h"


def _shown(now: Now) -> dict[str, Any]:
    """The line under the title: what is shown, of which version, and whether all of it is committed."""
    window = now.board.window
    silent = now.board.silent_minutes
    late = silent is not None and silent > 2
    return {
        "window": f"{WINDOWS[now.asked.minutes]} to {utc(window[1] * 60, 'minutes')}",
        "turns": f"{now.board.turns:,} turns",
        "releases": "release " + now.asked.slice.release if now.asked.slice.release != "*" else "all releases",
        "version": now.view.versions.get("rollup_1m"),
        "committed": "committed"
        if not now.provisional
        else f"provisional: {now.provisional:,} bytes wait to be committed",
        "late": f"the newest turn is {_ago(silent)} old" if late and silent is not None else "",
        "empty": now.view.newest is None,
    }


def _ago(minutes: int) -> str:
    if minutes < 120:
        return f"{minutes} minutes"
    return f"{minutes / 60:.0f} hours" if minutes < 2880 else f"{minutes / 1440:.0f} days"


def _standout(found: Standout, alerts: Sequence[Alert]) -> dict[str, Any]:
    """The notice of what stands out: where, from what to what, since when, and when the detector saw it."""
    cell = found.cell
    place = {"endpoint": cell.endpoint or "", "tier": cell.tier or ""}
    told = [a for a in alerts if a.change["metric"] == "refusal_rate" and a.slice.items() <= place.items()]
    return {
        "alert": told[0] if told else None,
        "where": f"{named(cell.endpoint)} for {named(cell.tier)}",
        "before": Reading(interval=cell.usual, shape="share"),
        "rate": Reading(interval=found.rate, shape="share"),
        "since": utc(found.since * 60, "minutes")[11:],
        "seen": None if found.seen is None else utc((found.seen + 1) * 60, "minutes")[11:],
        "took": None if found.seen is None else found.seen + 1 - found.since,
        "query": urlencode(place),
    }


def _alerts(site: Site, person: Person) -> list[Alert]:
    """Alarms that stand, for whom the whole lake belongs to: monitors do not know tenants."""
    path = site.lake / WATCH_FOLDER / "alerts.sqlite"
    return AlertStore(path).alerts() if path.exists() and person.only_org is None else []


def _parts(site: Site, page: NowData, now: Now, person: Person) -> dict[str, Markup]:
    """The page's changing parts by id."""
    macros = site.environment.get_template("now_parts.html").module
    alerts = _alerts(site, person)
    standout = None if now.standout is None else _standout(now.standout, alerts)
    others = [alert for alert in alerts if standout is None or alert is not standout["alert"]]
    parts = {
        "shown": macros.shown(_shown(now)),  # type: ignore[attr-defined]
        "notices": macros.notices(standout, others),  # type: ignore[attr-defined]
    }
    for tile in now.board.tiles:
        parts[tile.key] = macros.tile(_drawn(tile, tile_panel(page, now, tile)))  # type: ignore[attr-defined]
    for key, build in FIGURES.items():
        panel = build(page, now)
        if key == MATRIX:
            parts[key] = macros.matrix(panel, _matrix(now))  # type: ignore[attr-defined]
        else:
            parts[key] = macros.plain_figure(panel)  # type: ignore[attr-defined]
    return {name: Markup(part) for name, part in parts.items()}  # noqa: S704 - drawn by escaping templates


def register(app: FastAPI, site: Site) -> None:
    """Add the page, its panels and its live parts."""
    page = NowData(site)
    site.enter("/", "Now", "n")

    def drawn(person: Person, query: Mapping[str, str]) -> tuple[Now, dict[str, Markup]]:
        now = page.now(person, query)
        return now, _parts(site, page, now, person)

    async def show(request: Request) -> Response:
        if "token" in request.query_params:
            return await enter_by_token(request, site)
        person = await site.person(request, "analyse")
        query = dict(request.query_params)
        now, parts = await site.run(drawn, person, query)
        tiles = [parts[tile.key] for tile in now.board.tiles]
        live = "&".join(["/events?page=now", *([request.url.query] if request.url.query else [])])
        return site.page(
            request,
            "now.html",
            title="Now",
            parts=parts,
            tiles=tiles,
            figures=[parts[key] for key in FIGURES],
            asked=now.asked,
            known=now.known,
            windows=WINDOWS,
            live="" if now.asked.until is not None else live,
            empty=now.view.newest is None,
        )

    def tile_builder(key: str) -> Callable[[Person, Mapping[str, str]], Panel]:
        def build(person: Person, query: Mapping[str, str]) -> Panel:
            now = page.now(person, query)
            return tile_panel(page, now, now.board.tile(key))

        return build

    for key in TILES:
        site.panels[key] = tile_builder(key)
    for key, figure in FIGURES.items():
        site.panels[key] = partial(_figure_of, page, figure)
    site.live["now"] = lambda person, query: drawn(person, query)[1]
    app.add_api_route("/", show, methods=["GET"])


def _figure_of(
    page: NowData, figure: Callable[[NowData, Now], Panel], person: Person, query: Mapping[str, str]
) -> Panel:
    return figure(page, page.now(person, query))
