"""A server over a lake with some conversations, two releases and two tenants; and what strangers may write everywhere."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from fastapi.testclient import TestClient

from jurat.store.control import Control
from jurat.store.lake import Lake
from jurat.store.schema import TABLES, conform
from jurat.telemetry.derive import Settings
from jurat.telemetry.ingest import Ingest
from jurat.web.app import create_app

FIRST_US = 1_793_000_000_000_000
HOSTILE = {
    "script": "<script>alert('mark-script')</script>",
    "handler": "\"'><img src=x onerror=alert('mark-handler')>",
    "svg": "<svg onload=alert('mark-svg')><animate onbegin=alert(1)></svg>",
    "markdown": "[mark-markdown](javascript:alert(1)) ![x](https://evil.example/p.png) **b** `c`",
    "terminal": "mark-terminal \x1b[31;5mred\x1b[0m \x1b]0;title\x07 \x9b2J \x08\x08",
    "bidi": "mark-bidi \u202egpj.exe\u2066\u200f\u200bzero\u2069",
    "formula": '=HYPERLINK("https://evil.example","mark-formula")',
    "plus": "+mark-plus|cmd!A1",
    "at": "@mark-at(1)",
    "tab": "\t=mark-tab",
    "sql": "'; DROP TABLE spans; -- mark-sql",
    "template": "{{ 7*7 }}mark-template{% raw %}${7*7}",
    "entity": "&lt;b&gt;mark-entity&#x3c;script&#x3e;",
    "unclosed": "</textarea></title></style><!-- mark-unclosed",
    "path": "../../../etc/passwd%00mark-path",
    "header": "mark-header\r\nSet-Cookie: a=b",
}
"""Words that some program somewhere would obey; each holds its own mark."""


def table(name: str, rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Rows as a table of the lake; missing columns are null."""
    schema = TABLES[name]
    columns = {f.name: pa.array([row.get(f.name) for row in rows], type=f.type) for f in schema}
    return conform(pa.table(columns), schema, table=name)


def turn(number: int, **facts: Any) -> dict[str, Any]:
    """A turn, its facts filled in."""
    us = FIRST_US + number * 60_000_000
    return {
        "span_id": f"s{number}", "trace_id": f"t{number}", "conversation_id": f"talk-{number // 4}", "turn": number % 4 + 1,
        "user_id": f"u{number % 17}", "org_id": "acme" if number % 3 else "globex", "tier": "free" if number % 2 else "pro",
        "endpoint": "chat" if number % 5 else "extract", "release": f"r{1 + number // 4 % 2}", "model": "m-1", "ts": us,
        "ts_us": us, "ts_s": us // 10**6, "day": "2026-10-26", "latency_ms": 500.0 + 40 * (number % 60), "ttft_ms": 90.0,
        "tokens_in": 20, "tokens_out": 30 + number % 7, "status": "error" if number % 29 == 0 else "ok",
        "refused": None if number % 29 == 0 else number % 6 == 0, "blocked": number % 31 == 0, "risk_tier": number % 4,
        "cost_usd": 0.001, **facts,
    }  # fmt: skip


@dataclass
class Served:
    """A client that is logged in as the owner, the keys of others, and where the home is."""

    client: TestClient
    control: Control
    home: Path
    ingest: Ingest

    def key(self, *roles: Any, tenant: str = "default", owner: str = "ada") -> dict[str, str]:
        """Header of a new key."""
        token = self.control.create_key(owner=owner, roles=set(roles), tenant=tenant).token
        return {"authorization": f"Bearer {token}"}

    def csrf(self, path: str) -> str:
        """Token of the forms of a page."""
        found = re.search(r'name="csrf" value="([^"]+)"', self.client.get(path).text)
        assert found is not None
        return found[1]


@contextmanager
def serving(
    folder: Path, rows: Sequence[dict[str, Any]], *, feedback: Sequence[dict[str, Any]] = (), bars: Sequence[Path] = ()
) -> Iterator[Served]:
    """Serve a lake with these turns; each has the text "prompt of <span>" unless the row says its own."""
    lake = Lake(folder / "lake")
    texts = [
        {"span_id": r["span_id"], "prompt": r.pop("prompt", f"prompt of {r['span_id']}"),
         "response": r.pop("response", f"response of {r['span_id']}"), "sha256": "0" * 64}
        for r in rows
    ]  # fmt: skip
    if rows:
        lake.append("spans", table("spans", rows))
        lake.append("span_text", table("span_text", texts))
    if feedback:
        lake.append("feedback", table("feedback", feedback))
    control = Control(folder / "control.sqlite")
    ingest = Ingest(folder / "lake", Settings(user_secret=b"s" * 32), start=False)
    client = TestClient(create_app(ingest, control, bars=bars), headers={"accept": "text/html"})
    token = client.app.state.site.sessions.first_token  # type: ignore[attr-defined]
    assert client.get("/login", params={"token": token}, follow_redirects=False).status_code == 303
    try:
        yield Served(client=client, control=control, home=folder, ingest=ingest)
    finally:
        ingest.close()
