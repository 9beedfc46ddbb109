"""What was billed, as panels: by day, by whom, against the invoice to the cent, and against the tokens that were seen."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jurat.errors import UnknownName
from jurat.telemetry.cost_books import Books, invoice_checks, token_checks
from jurat.telemetry.cost_lines import Total
from jurat.telemetry.cost_records import minor_digits, money_text
from jurat.telemetry.spend import DIMENSIONS, OTHERS
from jurat.telemetry.tenant_view import HOUSE_TENANT, open_tenant_view
from jurat.web.cost_figures import Part, dollars, parts_of_a_whole, share_of, stacked_bars
from jurat.web.panels import Panel, Reading
from jurat.web.visible import visible

if TYPE_CHECKING:
    from jurat.web.site import Site

__all__ = [
    "WHO", "WINDOWS", "Asked", "Tile", "billed_attribution", "billed_by_day", "billed_invoices", "billed_tiles", "billed_tokens",
]  # fmt: skip

WINDOWS = {"24h": "last 24 hours", "7d": "last 7 days", "30d": "last 30 days", "90d": "last 90 days", "all": "all time"}
"""Windows of the page, and what they are called."""

WHO = ("experiment", "person", "run", "service")
"""What billed amounts can be added up by."""

_MOST_LINES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the address asks for."""

    window: str
    by: str
    who: str

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Asked:
        """Read the query of an address.

        Raises
        ------
        UnknownName
            For a window or a dimension that there is not.
        """
        asked = cls(window=query.get("window", "30d"), by=query.get("by", "model"), who=query.get("who", "experiment"))
        for value, what, known in ((asked.window, "window", WINDOWS), (asked.by, "dimension", DIMENSIONS)):
            if value not in known:
                raise UnknownName(what, visible(value)[:40], known)
        if asked.who not in WHO:
            raise UnknownName("dimension", visible(asked.who)[:40], WHO)
        return asked

    @property
    def query(self) -> dict[str, str]:
        """The same as parts of an address."""
        return {"window": self.window, "by": self.by, "who": self.who}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A number at the top of the page: a reading, or a value that is no estimate; its state, and a line below."""

    title: str
    value: str = ""
    reading: Reading | None = None
    kind: str = "none"
    word: str = ""
    detail: str = ""


def billed_tiles(found: Books) -> list[Tile]:
    """A tile an invoice: what it comes to, and whether its lines add up."""
    tiles = []
    for check in invoice_checks(found.whole):
        exact = check.difference == 0
        tiles.append(
            Tile(
                title=f"Invoice {check.invoice or '(no name)'}",
                value=money_text(check.billed, check.currency),
                kind="ok" if exact else "bad",
                word="adds up" if exact else "does not add up",
                detail=f"idle {money_text(check.idle, check.currency)}, unattributed "
                f"{money_text(check.unattributed, check.currency)}",
            )
        )
    return tiles[:4]


def billed_attribution(found: Books, asked: Asked) -> Panel:
    """Who used what was paid for, over all charges."""
    totals = found.whole.by(asked.who)
    first = totals[0].currency if totals else "USD"
    whole = {c: sum(t.minor for t in totals if t.currency == c) for c in {t.currency for t in totals}}
    rows = [
        {
            "name": _who(total), "kind": total.kind, "cost": money_text(total.minor, total.currency),
            "share": share_of(total.minor, whole[total.currency]),
            "gpu_hours": round(total.gpu_hours, 3) or None, "tokens": round(total.tokens) or None,
        }
        for total in totals
    ]  # fmt: skip
    of_first = [t for t in totals if t.currency == first]
    named = [t for t in of_first if t.kind == "attributed"]
    parts = [
        (_who(t), float(t.minor), f"part part-{min(place, _MOST_LINES - 1)}", money_text(t.minor, t.currency))
        for place, t in enumerate(named)
    ]
    parts += [
        (_who(t), float(t.minor), f"part {t.kind}", money_text(t.minor, t.currency))
        for t in of_first
        if t.kind != "attributed"
    ]
    return _book_panel(
        found, asked, key="cost-attribution", title=f"Billed, by {asked.who}",
        question=f"Which {asked.who} used what was paid for, and what did nobody use?",
        rows=rows, note=" ".join(f"{text}." for text in found.whole.notes),
        columns={"name": asked.who, "kind": "kind", "cost": "billed", "share": "share", "gpu_hours": "GPU-hours",
                 "tokens": "tokens"},
        svg=parts_of_a_whole(parts, label=f"Billed by {asked.who}: {', '.join(f'{p[0]} {p[3]}' for p in parts)}"),
    )  # fmt: skip


def billed_by_day(found: Books, asked: Asked) -> Panel:
    """Spend over time of what was billed: the largest by name, the rest together, idle and unattributed above all."""
    currency = min({line.currency for line in found.whole.lines}, default="USD")
    days = [day.day for day in found.days]
    sums: dict[tuple[str, str], list[int]] = {}
    for place, day in enumerate(found.days):
        for total in day.attribution.by(asked.who):
            if total.currency == currency:
                sums.setdefault((total.kind, _who(total)), [0] * len(days))[place] += total.minor
    named = sorted((key for key in sums if key[0] == "attributed"), key=lambda key: (-sum(sums[key]), key))
    scale = 10 ** minor_digits(currency)

    def part(name: str, kind: str, keys: Sequence[tuple[str, str]]) -> Part:
        minor = [sum(column) for column in zip(*(sums[k] for k in keys), strict=True)]
        return Part(
            name=name,
            values=tuple(m / scale for m in minor),
            kind=f"part {kind}",
            total=money_text(sum(minor), currency),
        )

    parts = [part(key[1], f"part-{place}", [key]) for place, key in enumerate(named[:_MOST_LINES])]
    parts += [part(OTHERS, "others", named[_MOST_LINES:])] if named[_MOST_LINES:] else []
    parts += [part(kind, kind, [key]) for kind in ("unattributed", "idle") for key in sums if key[0] == kind]
    rows = [
        {"day": day, "kind": kind, "name": name, "cost": money_text(amounts[place], currency)}
        for place, day in enumerate(days)
        for (kind, name), amounts in sorted(sums.items())
        if amounts[place]
    ]
    return _book_panel(
        found, asked, key="cost-by-day", title=f"Billed over time, by {asked.who}",
        question="What was billed each day, who used it, and how much stood idle?",
        rows=rows, columns={"day": "day", "kind": "kind", "name": asked.who, "cost": "billed"},
        note="A charge counts on the day it begins. Each day is rounded by itself; the table of the whole is exact.",
        svg=stacked_bars([dt.date.fromisoformat(day).strftime("%d %b") for day in days], parts, unit=currency,
                         label=f"Billed by day and {asked.who}",
                         written=lambda x: money_text(round(x * scale), currency)),
    )  # fmt: skip


def billed_invoices(found: Books, asked: Asked) -> Panel:
    """Every invoice against its lines."""
    rows = [
        {
            "invoice": check.invoice or "(no name)",
            "billed": money_text(check.billed, check.currency),
            "attributed": money_text(check.attributed, check.currency),
            "unattributed": money_text(check.unattributed, check.currency),
            "idle": money_text(check.idle, check.currency),
            "difference": money_text(check.difference, check.currency),
            "state": "● adds up" if check.difference == 0 else "■ does not add up",
        }
        for check in invoice_checks(found.whole)
    ]
    return _book_panel(
        found, asked, key="cost-invoices", title="Invoices, to the cent",
        question="Do attributed, unattributed and idle add up to what was billed?", rows=rows,
        note="Shares of a charge are counted in billionths of a cent; cents are made once an invoice, by largest remainders.",
    )  # fmt: skip


def billed_tokens(site: Site, found: Books, asked: Asked) -> Panel:
    """Tokens as billed against tokens as seen: what an invoice holds and the turns do not."""
    lake = site.open_lake()
    versions = {"spans": lake.version("spans")} if "spans" in lake.tables() else {}
    view = open_tenant_view(site.lake, tenant=HOUSE_TENANT, tables=("spans",), versions=versions)
    rows = [
        {
            "model": check.sku,
            "billed": money_text(check.billed, check.currency),
            "billed_tokens": check.billed_tokens,
            "turns": check.turns,
            "tokens": check.tokens,
            "list_cost": None if check.list_cost is None else dollars(check.list_cost),
            "unseen": None if check.billed_tokens is None else check.billed_tokens - check.tokens,
        }
        for check in token_checks(found.charges, view)
    ]
    return _book_panel(
        found, asked, key="cost-tokens", title="Tokens: billed and seen", rows=rows,
        question="Do the turns in the lake explain the tokens that were billed in the same period?",
        columns={"model": "model", "billed": "billed", "billed_tokens": "tokens billed", "turns": "turns",
                 "tokens": "tokens seen", "list_cost": "by the list", "unseen": "not seen"},
        note="A model is matched by its name in SkuId. What was billed and not seen was used elsewhere, or counted otherwise.",
    )  # fmt: skip


def _book_panel(found: Books, asked: Asked, **more: Any) -> Panel:
    receipt = {
        "kind": "attribution",
        "usage_records": len(found.usage),
        "charges": len(found.charges),
        "invoices": {
            f"{name or '(no name)'} {currency}": minor for (name, currency), minor in found.whole.invoices.items()
        },
    }
    sql = (
        "-- made from usage and invoice files, not from the lake:\n-- jurat telemetry cost USAGE --invoice INVOICE --by "
        + asked.who
    )
    return Panel(sql=sql, receipt=receipt, page="/cost", query=asked.query, **more)


def _who(total: Total) -> str:
    return total.name or ("(no name)" if total.kind == "attributed" else total.kind)
