"""*Ledger*: what was sworn, newest first, and whether the chain holds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.responses import Response

from jurat.errors import UnknownName
from jurat.evidence.canonical import canonical_json, digest
from jurat.evidence.chain import Entry
from jurat.evidence.ledger_view import LedgerView, LedgerViews
from jurat.web.alerts_page import whole_lake

if TYPE_CHECKING:
    from jurat.web.site import Site

__all__ = ["register"]

_PAGE = 50
_SHOWN = 160


def register(app: FastAPI, site: Site) -> None:
    """Add the page and the envelopes."""
    site.enter("/ledger", "Ledger", "l")
    sentinel = app.state.sentinel
    views = LedgerViews(
        {
            "home": site.home / "ledger.jsonl",
            "breakers": sentinel.folder / "breakers" / "breaker.jsonl",
        }
    )

    async def page(request: Request) -> Response:
        whole_lake(await site.person(request, "analyse"))
        query = request.query_params
        name, kind, number = query.get("ledger", "home"), query.get("kind", ""), query.get("page", "1")
        told = await site.run(_told, views, name, kind, int(number) if number.isdecimal() else 1)
        return site.page(request, "ledger.html", title="Ledger", **told)

    async def envelope(request: Request) -> Response:
        whole_lake(await site.person(request, "analyse"))
        name, index = request.path_params["name"], request.path_params["index"]
        view = await site.run(views.view, name)
        if not index.isdecimal():
            raise UnknownName("entry", index[:20], [])
        line = view.envelope(int(index))
        return Response(
            line + b"\n",
            media_type="application/vnd.dsse.envelope+json",
            headers={"Content-Disposition": f'attachment; filename="{name}-{int(index)}.dsse.json"'},
        )

    app.add_api_route("/ledger", page, methods=["GET"])
    app.add_api_route("/ledger/{name}/{index}.json", envelope, methods=["GET"])


def _told(views: LedgerViews, name: str, kind: str, number: int) -> dict[str, Any]:
    shown = views.view(name)
    entries, pages = shown.page(number, size=_PAGE, kind=kind)
    return {
        "ledgers": views.every(),
        "shown": shown,
        "kinds": shown.kinds(),
        "kind": kind,
        "number": min(max(number, 1), pages),
        "pages": pages,
        "rows": [_row(shown, entry) for entry in entries],
        "key": shown.report.keyid if shown.report else "",
    }


def _row(view: LedgerView, entry: Entry) -> dict[str, Any]:
    signatures = json.loads(view.lines[entry.index])["signatures"]
    body = dict(entry.body)
    return {
        "entry": entry,
        "gist": _gist(entry.kind, body),
        "signers": [str(signature.get("keyid", ""))[:16] for signature in signatures],
        "digest": digest(body),
        "body": json.dumps(json.loads(canonical_json(body)), ensure_ascii=False, indent=2),
    }


def _gist(kind: str, body: dict[str, Any]) -> str:
    """One line of what an entry says; fields that nobody foresaw are shown as they stand."""
    if kind == "alert":
        return str(body.get("headline", ""))
    if kind == "breaker":
        who = " and ".join(map(str, body.get("by", []))) or "by itself"
        return f"{body.get('feature')} {body.get('did')}, {who}: {body.get('reason')}"
    if kind == "genesis":
        return "the chain begins; this entry carries the public key"
    plain = {name: value for name, value in body.items() if isinstance(value, str | int | float | bool)}
    text = ", ".join(f"{name} {value}" for name, value in plain.items())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
