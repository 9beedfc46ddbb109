"""A real browser against a real server with the world outside cut off; what the browser complains of fails the test."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pytest

from jurat.store.control import Control
from jurat.store.lake import Lake
from jurat.store.schema import TABLES, conform
from jurat.telemetry.derive import Settings
from jurat.telemetry.ingest import Ingest
from tests.telemetry.minutes_case import add, make_lake, turns
from tests.web.watched import BAR, OPERATIONS

HOSTILE = "<img src=x onerror=alert(1)>\u202e\x1b[31m=cmd()"
_TELL_POLICY = """document.addEventListener("securitypolicyviolation", (event) =>
  console.error("policy: " + event.violatedDirective + " " + event.blockedURI))"""
_CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


@dataclass
class Served:
    """A server that runs: its address, the token that opens it, its parts, and a conversation that has text."""

    url: str
    token: str
    app: Any
    ingest: Ingest
    control: Control
    conversation: str


@dataclass
class Complaints:
    """What the browser said while a page was open."""

    console: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def unexpected(self) -> list[str]:
        return [c for c in self.console if not any(part in c for part in self.expected)]


def _chromium() -> str:
    for name in _CHROMIUM:
        if found := shutil.which(name):
            return found
    pytest.skip("no Chromium on this machine: install chromium to run the browser tests")


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server over a lake whose newest turn is of this minute, with an incident and hostile names."""
    uvicorn = pytest.importorskip("uvicorn")
    from jurat.web.app import create_app
    from jurat.web.watch import sentinel_for

    folder = tmp_path_factory.mktemp("browser")
    now = int(time.time()) // 60
    lake = make_lake(folder / "lake", until=now)
    add(lake, _named(turns(now - 10, now, per_minute=5, seed=50, name="h")), 50)
    conversation = _texts(lake)
    ingest = Ingest(folder / "lake", Settings(user_secret=b"s" * 32), start=False)
    control = Control(folder / "control.sqlite")
    (folder / "bar.toml").write_text(BAR, encoding="utf-8")
    (folder / "operations.toml").write_text(OPERATIONS, encoding="utf-8")
    sentinel = sentinel_for(
        ingest, bars=[folder / "bar.toml"], operations=folder / "operations.toml", home=folder, lag_seconds=0.0
    )
    sentinel.look()
    app = create_app(ingest, control, home=folder, sentinel=sentinel)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.02)
    assert server.started, "the server did not start"
    yield Served(f"http://127.0.0.1:{port}", app.state.site.sessions.first_token, app, ingest, control, conversation)
    server.should_exit = True
    thread.join(30)
    ingest.close()


def _named(spans: pa.Table) -> pa.Table:
    """Turns whose names a stranger chose."""
    for column in ("endpoint", "tier", "model"):
        values = pa.array([HOSTILE] * len(spans), pa.string())
        spans = spans.set_column(spans.schema.get_field_index(column), column, values)
    return spans


def _texts(lake: Lake) -> str:
    """Write hostile prompts and responses of the newest turns; return a conversation that has some."""
    spans = lake.read("spans").sort_by([("ts_us", "descending")]).slice(0, 400)
    n = len(spans)
    rows = pa.table(
        {
            "span_id": spans["span_id"],
            "day": spans["day"],
            "prompt": [f"{HOSTILE} question {i}" for i in range(n)],
            "response": [f"</p><script>alert({i})</script> answer" for i in range(n)],
            "sha256": ["0" * 64] * n,
        }
    )
    lake.append("span_text", conform(rows, TABLES["span_text"], table="span_text"))
    return str(spans["conversation_id"][0].as_py())


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, once for all tests of a worker."""
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright to run the browser tests")
    path = _chromium()
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.fixture
def complaints() -> Complaints:
    """What the browser said; a test may name what it expects."""
    return Complaints()


@pytest.fixture
def open_page(browser: Any, served: Served, complaints: Complaints) -> Iterator[Callable[..., Any]]:
    """Open a page: logged in unless told otherwise, with everything outside the server refused."""
    contexts = []

    def opened(path: str = "/", *, login: bool = True, **options: Any) -> Any:
        context = browser.new_context(viewport=options.pop("viewport", {"width": 1280, "height": 900}), **options)
        contexts.append(context)

        def answer(route: Any) -> None:
            if route.request.url.startswith((served.url, "data:")):
                route.continue_()
            else:
                complaints.outside.append(route.request.url)
                route.abort()

        context.route("**/*", answer)
        page = context.new_page()
        page.on(
            "console",
            lambda m: complaints.console.append(f"{m.type}: {m.text}") if m.type in ("error", "warning") else None,
        )
        page.on("pageerror", lambda e: complaints.console.append(f"exception: {e}"))
        page.on("dialog", lambda d: (complaints.console.append(f"dialog: {d.message}"), d.dismiss()))
        page.add_init_script(_TELL_POLICY)
        if login:
            page.goto(f"{served.url}/?token={served.token}")
        if path != "/" or not login:
            page.goto(served.url + path)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints.outside == [], "the page asked for something outside"
    assert complaints.unexpected() == []
