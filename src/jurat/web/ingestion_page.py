"""*Ingestion*: what came in, how far behind the lake is, and what could not be read."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.responses import Response

from jurat.telemetry.dead_letters import NEWEST_SQL, REASONS_SQL, dead_letters, dead_reasons
from jurat.telemetry.sentinel import CommittedUntil
from jurat.web.alerts_page import whole_lake
from jurat.web.panels import Panel, Reading, lake_receipt
from jurat.web.visible import visible

if TYPE_CHECKING:
    from jurat.telemetry.sentinel import Sentinel
    from jurat.web.sessions import Person
    from jurat.web.site import Site

__all__ = ["register"]

_MOST_UNMAPPED = 200
_SLOW_SECONDS, _STUCK_SECONDS = 30.0, 300.0
_FULL, _NEARLY_FULL = 0.9, 0.5
_AHEAD_SECONDS = 2.0


def register(app: FastAPI, site: Site) -> None:
    """Add the page, its panels and its live parts."""
    sentinel: Sentinel = app.state.sentinel
    site.enter("/ingestion", "Ingestion", "i")
    until = CommittedUntil(site.ingest)
    until()

    def reasons(person: Person, _: Mapping[str, str]) -> Panel:
        return _reasons_panel(site, person)

    def letters(person: Person, _: Mapping[str, str]) -> Panel:
        return _letters_panel(site, person)

    def unmapped(person: Person, _: Mapping[str, str]) -> Panel:
        whole_lake(person)
        return _unmapped_panel(site)

    def drawn(person: Person, _: Mapping[str, str]) -> dict[str, str]:
        told = _everything(site, sentinel, until, person)
        return {
            "tiles": site.fragment("ingestion_tiles.html", **told),
            "dead": site.fragment("ingestion_dead.html", **told),
            "unmapped": site.fragment("ingestion_unmapped.html", **told),
        }

    site.panels.update({"dead-reasons": reasons, "dead-letters": letters, "unmapped": unmapped})
    site.live["ingestion"] = drawn

    async def page(request: Request) -> Response:
        person = await site.person(request, "analyse")
        told = await site.run(_everything, site, sentinel, until, person)
        return site.page(request, "ingestion.html", title="Ingestion", **told)

    app.add_api_route("/ingestion", page, methods=["GET"])


def _everything(site: Site, sentinel: Sentinel, until: CommittedUntil, person: Person) -> dict[str, Any]:
    told: dict[str, Any] = {
        "whole": person.only_org is None,
        "reasons": _reasons_panel(site, person),
        "letters": _letters_panel(site, person),
        "tiles": [],
        "unmapped": None,
    }
    if person.only_org is None:
        told["tiles"] = _tiles(site, sentinel, until)
        told["unmapped"] = _unmapped_panel(site)
    return told


def _tile(title: str, kind: str, word: str, value: str, detail: str, **more: Any) -> dict[str, Any]:
    return {"title": title, "kind": kind, "word": word, "value": value, "detail": detail, "reading": None, **more}


def _tiles(site: Site, sentinel: Sentinel, until: CommittedUntil) -> list[dict[str, Any]]:
    """The server's own state. These are counts and clocks, not estimates; the two delays have intervals."""
    ingest = site.ingest
    counts, lag = ingest.counts, ingest.lag_bytes()
    behind = max(0.0, time.time() - until()) if lag else 0.0
    share = ingest.log.waiting_bytes / ingest.log.most_bytes
    seen, health = ingest.arrivals.report(), sentinel.health()
    stuck = "bad" if behind > _STUCK_SECONDS else "watch" if behind > _SLOW_SECONDS else "ok"
    full = "bad" if share > _FULL else "watch" if share > _NEARLY_FULL else "ok"
    return [
        _tile(
            "Behind the senders", stuck, {"ok": "keeps up", "watch": "slow", "bad": "stuck"}[stuck], f"{behind:.0f} s",
            f"{lag:,} bytes are acknowledged and not yet in every table",
        ),
        _tile(
            "Accepted since the start", "ok", "taken in", f"{counts.spans:,} spans",
            f"{counts.requests:,} requests, {counts.received_bytes:,} bytes, {counts.feedback:,} pieces of feedback",
        ),
        _tile(
            "Dead letters since the start", "watch" if counts.dead else "ok", "look" if counts.dead else "none",
            f"{counts.dead:,}", "parts of requests that nothing could read; kept below with their reason",
        ),
        _tile(
            "Write-ahead log", full, {"ok": "room", "watch": "filling", "bad": "nearly full"}[full],
            f"{ingest.log.waiting_bytes:,} bytes",
            f"{100 * share:.1f} % of {ingest.log.most_bytes:,}; when it is full, senders are told to wait (429)",
        ),
        _tile(
            "Failed flushes", "bad" if lag and counts.flush_errors and behind > _SLOW_SECONDS else
            "watch" if counts.flush_errors else "ok", "some failed" if counts.flush_errors else "none",
            f"{counts.flush_errors:,} of {counts.flushes + counts.flush_errors:,}",
            f"last: {visible(counts.last_error)[:200]}" if counts.last_error else "batches that failed are tried again",
        ),
        _tile(
            "From a turn's end to its arrival", "ok" if seen.n else "none", "p95" if seen.n else "no data", "",
            f"the last {seen.requests:,} requests, clustered by request; "
            f"a turn later than {sentinel.lag_seconds:.0f} s misses its minute",
            reading=Reading(interval=seen.p95_seconds, scale="s"),
        ),
        _tile(
            "Clocks ahead of ours", "watch" if seen.most_ahead_seconds > _AHEAD_SECONDS else "ok" if seen.n else "none",
            "skewed" if seen.most_ahead_seconds > _AHEAD_SECONDS else "in time" if seen.n else "no data",
            f"{seen.ahead:,} turns",
            f"of the last {seen.n:,} ended after they arrived, by {seen.most_ahead_seconds:.1f} s at most",
        ),
        _tile(
            "Late for the monitors", "watch" if health.late else "ok", "some" if health.late else "none",
            f"{health.late:,} units", "came after their minute was closed; rollups and pages count them, alarms do not",
        ),
    ]  # fmt: skip


def _tenant(person: Person) -> str:
    return person.only_org or "*"


def _versions(site: Site) -> dict[str, int]:
    lake = site.open_lake()
    return {"dead_letters": lake.version("dead_letters")} if "dead_letters" in lake.tables() else {}


def _panel(site: Site, sql: str, person: Person, rows: list[dict[str, Any]], seconds: float, **words: Any) -> Panel:
    parameters = {"tenant": _tenant(person)}
    receipt = lake_receipt(site.open_lake(), _versions(site), sql, parameters, seconds=seconds, provisional=True)
    return Panel(rows=rows, sql=sql, parameters=parameters, receipt=receipt, page="/ingestion", **words)


def _reasons_panel(site: Site, person: Person) -> Panel:
    began = time.monotonic()
    found = dead_reasons(site.open_lake(), person.only_org)
    rows = [{"reason": r.reason, "kind": r.kind, "n": r.n, "first": r.first, "last": r.last} for r in found]
    return _panel(
        site, REASONS_SQL, person, rows, time.monotonic() - began,
        key="dead-reasons", title="Dead letters by reason", question="What could not be read, and why?",
        columns={"reason": "reason", "kind": "kind", "n": "parts", "first": "first (UTC)", "last": "last (UTC)"},
    )  # fmt: skip


def _letters_panel(site: Site, person: Person) -> Panel:
    began = time.monotonic()
    found = dead_letters(site.open_lake(), person.only_org)
    rows = [
        {
            "received": d.received, "kind": d.kind, "tenant": d.tenant, "offset": d.offset, "place": d.place,
            "reason": d.reason, "preview": d.preview,
        }
        for d in found
    ]  # fmt: skip
    return _panel(
        site, NEWEST_SQL, person, rows, time.monotonic() - began,
        key="dead-letters", title="The newest dead letters", question="What did they look like?",
        note="Previews are the readable beginning of what came, as text; whatever stands in them is shown and never run.",
    )  # fmt: skip


def _unmapped_panel(site: Site) -> Panel:
    found = site.ingest.counts.unmapped.most_common(_MOST_UNMAPPED)
    return Panel(
        key="unmapped",
        title="Attributes that no alias knows",
        question="What do senders say that no column holds? Raw attributes are counted here since the server started.",
        rows=[{"attribute": name, "n": n} for name, n in found],
        columns={"attribute": "attribute", "n": "times"},
        sql="-- counted in the server's memory since its start, not in the lake",
        receipt={"kind": "panel", "tables": {}, "provisional": True},
        page="/ingestion",
    )
