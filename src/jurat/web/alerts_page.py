"""*Alerts*: what stands, what it means, who answered it, and the breakers that pull features."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast, get_args

from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse, Response
from markupsafe import Markup

from jurat.errors import DataError, JuratError, UnknownName
from jurat.experiments.axes import Axes, padded
from jurat.stats.result import Interval
from jurat.telemetry.alert_view import AlertCard, MinuteLevel, card_of, cards, minutes_around
from jurat.telemetry.breaker import BreakerState, Outcome, Wish
from jurat.telemetry.watching import PersonsWish
from jurat.web.panels import Panel, Reading, lake_receipt
from jurat.web.site import Forbidden
from jurat.web.visible import visible

if TYPE_CHECKING:
    from jurat.telemetry.sentinel import Sentinel
    from jurat.web.sessions import Person
    from jurat.web.site import Site

__all__ = ["minutes_panel", "register", "whole_lake"]

_KEY = "alert-minutes"
_PICTURES, _MOST_FIGURES = 8, 64
_LONGEST_NOTE = 500
_LONGEST_MINUTES = 7 * 1_440
_TOLD = {
    "acknowledged": ("ok", "The alarm is acknowledged; it goes on to be watched, and resolves by itself."),
    "resolved": ("ok", "The alarm is resolved. It fires again if the evidence comes again."),
    "opened": ("bad", "The breaker is open: gateways that ask are told not to serve the feature."),
    "closed": ("ok", "The breaker is closed: the feature is served again."),
    "proposed": ("watch", "Written down as a proposal. A second person must agree before anything changes."),
    "nothing": ("none", "Nothing to do: it is so already, or a proposal waits for a second person."),
    "would-opened": ("none", "Dry run: the breaker would open now. Nothing was written."),
    "would-closed": ("none", "Dry run: the breaker would close now. Nothing was written."),
    "would-proposed": ("none", "Dry run: this would be a proposal for a second person. Nothing was written."),
    "would-nothing": ("none", "Dry run: nothing would change."),
}


def register(app: FastAPI, site: Site) -> None:
    """Add the pages, their panel and their live parts."""
    sentinel: Sentinel = app.state.sentinel
    site.enter("/alerts", "Alerts", "a")

    figures = _Figures(site, sentinel)

    def panel(person: Person, query: Mapping[str, str]) -> Panel:
        whole_lake(person)
        return figures.of(card_of(sentinel, query.get("id", "")))

    def drawn(person: Person, _: Mapping[str, str]) -> dict[str, str]:
        whole_lake(person)
        told = _everything(sentinel, figures)
        parts = ("alarms", "others", "breakers", "watching")
        return {part: site.fragment(f"alerts_{part}.html", person=person, csrf=person.csrf, **told) for part in parts}

    site.panels[_KEY] = panel
    site.live["alerts"] = drawn

    async def inbox(request: Request) -> Response:
        person = await site.person(request, "analyse")
        whole_lake(person)
        told = await site.run(_everything, sentinel, figures)
        return site.page(request, "alerts.html", title="Alerts", notice=_TOLD.get(_query(request, "told")), **told)

    async def one(request: Request) -> Response:
        person = await site.person(request, "analyse")
        whole_lake(person)
        return await _one(request, notice=_TOLD.get(_query(request, "told")))

    async def _one(request: Request, *, notice: tuple[str, str] | None, status: int = 200) -> Response:
        card = await site.run(card_of, sentinel, request.path_params["id"])
        figure = await site.run(figures.of, card)
        return site.page(
            request, "alert.html", title=card.title, status=status, card=card, figure_of=figure, notice=notice,
            level=_observed(card), baseline=_baseline(card), live=sentinel.live,
            readings=[_reading(card, Interval(**c["observed"])) if c["observed"] else None for c in card.history],
        )  # fmt: skip

    async def answer(request: Request) -> Response:
        person, fields = await site.form(request, "analyse")
        whole_lake(person)
        wish = fields.get("wish", "")
        card = await site.run(card_of, sentinel, request.path_params["id"])
        try:
            if wish not in get_args(PersonsWish):
                raise DataError("an alarm is acknowledged, resolved or accepted", seen=wish[:40])
            note = fields.get("note", "").strip()[:_LONGEST_NOTE]
            change = await site.run(
                lambda: sentinel.act(card.monitor, card.key, cast(PersonsWish, wish), by=person.name, note=note)
            )
        except JuratError as error:
            return await _one(request, notice=("bad", _said(error)), status=409)
        return RedirectResponse(f"/alerts/{card.id}?told={change.after}", status_code=303)

    async def pull(request: Request) -> Response:
        person, fields = await site.form(request, "approve")
        whole_lake(person)
        try:
            outcome = await site.run(_pulled, sentinel, person.name, fields)
        except UnknownName:
            raise
        except JuratError as error:
            told = await site.run(_everything, sentinel, figures)
            notice = ("bad", _said(error))
            return site.page(request, "alerts.html", title="Alerts", status=409, notice=notice, **told)
        return RedirectResponse(
            f"/alerts?told={'would-' if outcome.dry_run else ''}{outcome.done}#breakers", status_code=303
        )

    app.add_api_route("/alerts", inbox, methods=["GET"])
    app.add_api_route("/alerts/breaker", pull, methods=["POST"])
    app.add_api_route("/alerts/{id}", one, methods=["GET"])
    app.add_api_route("/alerts/{id}", answer, methods=["POST"])


def whole_lake(person: Person) -> None:
    """Let in who may see the whole lake: alarms, breakers and ledger belong to no tenant.

    Raises
    ------
    Forbidden
        For a key of one tenant.
    """
    if person.only_org is not None:
        raise Forbidden(
            "this is about the whole lake, and your key opens one tenant's part",
            next_step="ask for a key of the default tenant",
        )


def _query(request: Request, name: str) -> str:
    return request.query_params.get(name, "")


def _said(error: JuratError) -> str:
    return " · ".join(str(part) for part in (error.what, error.seen, error.next_step) if part)


def _pulled(sentinel: Sentinel, by: str, fields: Mapping[str, str]) -> Outcome:
    wish = fields.get("wish", "")
    if wish not in get_args(Wish):
        raise DataError("a breaker is opened or closed", seen=wish[:40])
    given = fields.get("minutes", "").strip()
    try:
        minutes = float(given) if given else None
    except ValueError as error:
        raise DataError("minutes are a number", seen=given[:40]) from error
    if minutes is not None and not 0 < minutes <= _LONGEST_MINUTES:
        raise DataError("a breaker opens for more than 0 minutes, and at most a week", seen=given[:40])
    return sentinel.pull(
        fields.get("feature", ""),
        cast(Wish, wish),
        by=by,
        reason=fields.get("reason", "").strip()[:_LONGEST_NOTE],
        minutes=minutes,
        dry_run=fields.get("dry_run") == "yes",
    )


class _Figures:
    """Minutes of alarms, asked for again only when a minute was taken in or the alarm changed: a page that lives asks often."""

    def __init__(self, site: Site, sentinel: Sentinel) -> None:
        self.site, self.sentinel = site, sentinel
        self._held: dict[str, tuple[tuple[int | None, int], Panel]] = {}

    def of(self, card: AlertCard) -> Panel:
        """The figure of one alarm."""
        watching, _ = self.sentinel.find(card.monitor)
        stamp = (watching.states[card.monitor].minute, len(card.history))
        held = self._held.get(card.id)
        if held is None or held[0] != stamp:
            if len(self._held) >= _MOST_FIGURES:
                self._held.clear()
            held = self._held[card.id] = (stamp, minutes_panel(self.site, self.sentinel, card))
        return held[1]


def _everything(sentinel: Sentinel, figures: _Figures) -> dict[str, Any]:
    """What the inbox shows; pictures for the newest alarms, and links for the others."""
    found = cards(sentinel)
    standing = [card for card in found if card.stands]
    return {
        "alarms": [
            {
                "card": card,
                "level": _observed(card),
                "baseline": _baseline(card),
                "panel": figures.of(card) if number < _PICTURES else None,
            }
            for number, card in enumerate(standing)
        ],
        "others": [
            {"card": card, "level": _observed(card), "baseline": _baseline(card)}
            for card in found
            if card.status in ("warning", "resolved", "no data")
        ],
        "well": sum(card.status == "ok" for card in found),
        "breakers": _breakers(sentinel),
        "plan": [{"watch": watch, "budget": watch.monitor.false_alarms_per_week} for _, watch in sentinel.watches()],
        "health": sentinel.health(),
        "live": sentinel.live,
        "channels": [notifier.name for notifier in sentinel.operations.notifiers],
    }


def _breakers(sentinel: Sentinel) -> list[dict[str, Any]]:
    if sentinel.breakers is None:
        return []
    rows: list[dict[str, Any]] = []
    states: list[BreakerState] = sentinel.breaker_states()
    history = sentinel.breakers.history()
    for state in states:
        policy = sentinel.breakers.policies[state.feature]
        acts = [entry for entry in history if entry["feature"] == state.feature]
        rows.append({"state": state, "policy": policy, "acts": acts[::-1][:20], "more": max(0, len(acts) - 20)})
    return rows


def _reading(card: AlertCard, level: Interval) -> Reading:
    return Reading(interval=level, shape="share" if card.kind == "share" else "number", scale=card.scale)


def _observed(card: AlertCard) -> Reading | None:
    return None if card.observed is None else _reading(card, card.observed)


def _baseline(card: AlertCard) -> str | None:
    """The baseline in the metric's unit: a number that the bar names, or one whose bound the test already allows for."""
    if card.baseline is None:
        return None
    exact = Interval(value=card.baseline, low=card.baseline, high=card.baseline, level=0.95, n=0, method="baseline")
    return _reading(card, exact).value


def minutes_panel(site: Site, sentinel: Sentinel, card: AlertCard) -> Panel:
    """The minutes around an alarm's onset as a figure."""
    began = dt.datetime.now(dt.UTC)
    found = minutes_around(sentinel, card)
    seconds = (dt.datetime.now(dt.UTC) - began).total_seconds()
    lake = site.open_lake()
    versions = {"spans": lake.version("spans")} if found.sql else {}
    where = f", {visible(card.where)}" if card.where else ""
    return Panel(
        key=_KEY,
        title=f"{card.title} by the minute",
        question=f"{card.title}{where}: what did it do around the onset?",
        rows=[{"minute": at.minute, "level": _reading(card, at.level)} for at in found.levels],
        columns={"minute": "minute (UTC)", "level": "level"},
        sql=found.sql or "-- nothing was asked: the lake has no spans",
        parameters=dict(found.parameters),
        receipt=lake_receipt(
            lake, versions, found.sql, dict(found.parameters), seconds=seconds, provisional=True
        ),
        svg=_picture(card, found.levels),
        note="Bands are 95 % intervals of independent turns; the alarm itself allows for turns that come in clusters.",
        page=f"/alerts/{card.id}",
        query={"id": card.id},
    )  # fmt: skip


def _picture(card: AlertCard, levels: tuple[MinuteLevel, ...]) -> Markup:
    """Draw the minutes, the baseline, the onset and the alarm."""
    scale = 100.0 if card.kind == "share" else 1.0
    points = [
        (at.minute.timestamp() / 60, scale * at.level.low, scale * at.level.value, scale * at.level.high)
        for at in levels
        if at.level.value is not None and at.level.low is not None and at.level.high is not None
    ]
    if len(points) < 2:
        return Markup()
    values = [x for _, low, _, high in points for x in (low, high)]
    baseline = None if card.baseline is None else scale * card.baseline
    low, high = padded([*values, *([] if baseline is None else [baseline])])
    low = max(low, 0.0) if min(values) >= 0 else low
    first, last = points[0][0], points[-1][0]
    axes = Axes(
        x_range=(first, last), y_range=(low, high), height=230, top=26,
        label=f"{card.title} by the minute, {len(points)} minutes, with the baseline and the onset of the alarm",
    )  # fmt: skip
    axes.y_grid("%" if card.kind == "share" else card.scale)
    whole = [m for m in range(int(first), int(last) + 1) if m % 15 == 0]
    axes.x_labels([(m, f"{dt.datetime.fromtimestamp(m * 60, dt.UTC):%H:%M}") for m in whole])
    _shaded(axes, card, (first, last))
    axes.band([(x, a, b) for x, a, _, b in points], "band")
    axes.line([(x, v) for x, _, v, _ in points], "series")
    if baseline is not None:
        axes.line([(first, baseline), (last, baseline)], "bar-line")
        axes.text(first, baseline, f"baseline {_baseline(card)}", "mark-label soft", dx=6, dy=-5)
    return Markup(axes.svg())  # noqa: S704 - drawn here, every text in it escaped


def _shaded(axes: Axes, card: AlertCard, ends: tuple[float, float]) -> None:
    """Shade the time of the alarm, and name its beginning."""
    times = {name: _minute(getattr(card, name)) for name in ("onset", "fired", "ended")}
    onset = times["onset"]
    if onset is None or not ends[0] <= onset <= ends[1]:
        return
    until = min(times["ended"] or ends[1], ends[1])
    left, right = axes.x(onset), axes.x(max(until, onset))
    height = axes.height - axes.bottom - axes.top
    axes.add(f'<rect class="alarmed" x="{left}" y="{axes.top}" width="{right - left:.1f}" height="{height}"/>')
    top = axes.y_range[1]
    axes.text(onset, top, f"onset {card.onset[11:16] if card.onset else ''}", "mark-label end", dx=-4, dy=-8)
    fired = times["fired"]
    if fired is not None and ends[0] <= fired <= ends[1]:
        axes.line([(fired, axes.y_range[0]), (fired, top)], "series bad")
        axes.text(fired, top, f"alarm {card.fired[11:16] if card.fired else ''}", "mark-label", dx=4, dy=-8)


def _minute(time: str | None) -> float | None:
    return None if time is None else dt.datetime.fromisoformat(time).timestamp() / 60
