"""A server whose lake holds the last hours of traffic with a refusal spike that still goes on, and the bar that watches it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from fastapi.testclient import TestClient

from jurat.store.control import Control
from jurat.store.schema import TABLES, conform
from jurat.telemetry.derive import Settings
from jurat.telemetry.ingest import Ingest
from jurat.telemetry.rollup import minute_rollup
from jurat.telemetry.sentinel import Sentinel
from jurat.web.app import create_app
from jurat.web.sessions import Sessions
from jurat.web.watch import sentinel_for

HOSTILE = '/v1/<script>alert(1)</script>\x1b[31m\u202e"=cmd()'
BAR = """
title = "Assistant"
question = "May it stay?"
owner = "release"
plan = { population = "turns", unit = "turn", cluster = "user" }
arms = { column = "release", baseline = "a", candidate = "b" }
[[pair]]
name = "help against harm"
value = { metric = "over_refusal_rate", comparison = "superior", margin = 0 }
risk = { metric = "harmful_compliance_rate", comparison = "non-inferior", margin = 0.01 }
[monitor]
owner = "on call"
[[monitor.watch]]
metric = "refusal_rate"
window = "60 minutes"
trigger = "above baseline by 5pp, by endpoint"
action = "alert and open breaker assistant"
"""
OPERATIONS = """
command = [{ name = "page", arguments = ["true"] }]
feature = [
  { name = "assistant", two_person = ["close"] },
  { name = "chat/v1", two_person = ["open", "close"], open_minutes = 30 },
]
"""


def spans(
    now: float, *, hours: float = 4, a_minute: int = 60, spike_minutes: int = 25, seed: int = 3, hostile: bool = False
) -> pa.Table:
    """Turns of three endpoints until now; refusals of the first rise from 4 to 20 % in the last minutes."""
    draw = np.random.default_rng(seed)
    n = int(hours * 60 * a_minute)
    seconds = np.sort(draw.uniform(now - hours * 3600, now, n))
    names = np.array(["/v1/chat", "/v1/summarise", HOSTILE if hostile else "/v1/agent"])
    endpoint = names[draw.choice(3, n, p=[0.6, 0.3, 0.1])]
    chance = np.where((endpoint == names[0]) & (seconds > now - spike_minutes * 60), 0.2, 0.04)
    stamps = (seconds * 1e6).astype(np.int64)
    rows = {
        "span_id": [f"{i:016x}" for i in range(n)],
        "trace_id": [f"{i:032x}" for i in range(n)],
        "user_id": [f"u{i}" for i in draw.integers(0, 4_000, n)],
        "tier": draw.choice(["free", "pro"], n),
        "endpoint": endpoint,
        "release": ["2026.11"] * n,
        "ts": pa.array(stamps).cast(pa.timestamp("us", tz="UTC")),
        "ts_us": stamps,
        "ts_s": stamps // 1_000_000,
        "latency_ms": draw.lognormal(6.5, 0.5, n),
        "status": ["ok"] * n,
        "refused": draw.random(n) < chance,
        "blocked": [False] * n,
    }
    return conform(pa.table(rows), TABLES["spans"], table="spans")


@dataclass
class Watched:
    """Everything a test may want to reach."""

    folder: Path
    ingest: Ingest
    control: Control
    sessions: Sessions
    sentinel: Sentinel
    client: TestClient

    def login(self, *roles: str, owner: str = "ada", tenant: str = "default") -> TestClient:
        """A browser of a person, logged in."""
        wanted: Any = set(roles or ("analyse", "approve"))
        token = self.control.create_key(owner=owner, roles=wanted, tenant=tenant).token
        browser = TestClient(self.client.app, headers={"accept": "text/html"})
        page = browser.get("/login").text
        browser.post("/login", data={"csrf": csrf(page), "key": token})
        return browser

    def key(self, *roles: str, tenant: str = "default") -> dict[str, str]:
        """Headers of a program."""
        wanted: Any = set(roles)
        token = self.control.create_key(owner="program", roles=wanted, tenant=tenant).token
        return {"authorization": f"Bearer {token}"}


def csrf(page: str) -> str:
    """Token of the forms of a page."""
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    assert found is not None
    return found[1]


@contextmanager
def watched(
    folder: Path, *, live: bool = False, hostile: bool = False, look: bool = True, **options: Any
) -> Iterator[Watched]:
    """Make the lake, look once, and serve."""
    now = time.time()
    (folder / "bar.toml").write_text(BAR, encoding="utf-8")
    (folder / "operations.toml").write_text(OPERATIONS, encoding="utf-8")
    home = folder / "home"
    home.mkdir()
    control = Control(home / "control.sqlite")
    ingest = Ingest(folder / "lake", Settings(user_secret=b"s" * 32), start=False)
    turns = spans(now, hostile=hostile, **options)
    ingest.lake.append("spans", turns)
    ingest.lake.append("rollup_1m", minute_rollup(turns))
    sentinel = sentinel_for(
        ingest, bars=[folder / "bar.toml"], operations=folder / "operations.toml", home=home, live=live
    )
    if look:
        sentinel.look()
    sessions = Sessions(control, token="from-the-terminal")
    try:
        app = create_app(ingest, control, sessions=sessions, home=home, sentinel=sentinel)
        # Without entering the client, the application's life does not begin: nothing looks behind a test's back.
        yield Watched(folder, ingest, control, sessions, sentinel, TestClient(app))
    finally:
        ingest.close()
