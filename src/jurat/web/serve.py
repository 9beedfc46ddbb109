"""``jurat serve``: the server on this machine: telemetry in, pages out."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
import threading
import webbrowser
from json import dumps
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

    from jurat.web.grpc_server import GrpcServer

__all__ = ["key", "serve"]


def serve(
    lake: Path = Path("lake"),
    /,
    *,
    host: str = "127.0.0.1",
    port: int = 4318,
    grpc_port: int | None = None,
    prices: Path | None = None,
    keep_text: bool = True,
    flush_seconds: float = 5.0,
    bar: list[Path] | None = None,
    operations: Path | None = None,
    usage: list[Path] | None = None,
    invoice: list[Path] | None = None,
    live: bool = False,
    browser: bool = False,
    json: bool = False,
) -> int:
    """Take OpenTelemetry traces and feedback in, commit them to a lake, and show it as pages.

    Parameters
    ----------
    lake
        Folder of the lake; made where it is missing.
    host
        Address to listen on; other machines reach it only if you name one of theirs.
    port
        Port; 4318 is where OpenTelemetry exporters send by default.
    grpc_port
        Port for OTLP over gRPC, 4317 by custom; none unless named (extra grpc).
    prices
        Price book (TOML) for costs.
    keep_text
        Whether prompts and responses are kept, redacted, at all.
    flush_seconds
        How often what was logged is committed.
    bar
        Launch bar whose [monitor] section is carried out on what comes in, and whose margins the comparison of releases
        shows; several may be named.
    operations
        File that says whom alarms tell and which features may be pulled.
    usage
        Records of schedulers and of tokens for the page of costs; several may be named.
    invoice
        Invoices with FOCUS 1.2 columns for the page of costs; several may be named.
    live
        Tell people and pull features; without it alarms are found and written down, in shadow.
    browser
        Open the pages in a browser.
    json
        Print on stopping what was taken in, as JSON.
    """
    try:
        import uvicorn  # noqa: F401 - whether it is there
    except ImportError as error:
        from jurat.errors import MissingExtra

        raise MissingExtra("uvicorn", "web") from error
    from jurat.evidence.keys import home
    from jurat.store.control import Control
    from jurat.telemetry.cost_books import CostBooks
    from jurat.telemetry.derive import Settings
    from jurat.telemetry.ingest import Ingest
    from jurat.telemetry.prices import load_prices
    from jurat.telemetry.users import load_user_secret
    from jurat.web.app import create_app
    from jurat.web.grpc_server import GrpcServer
    from jurat.web.sessions import Sessions
    from jurat.web.watch import sentinel_for

    control = Control(home() / "control.sqlite")
    if not any("ingest" in known.roles and known.revoked is None for known in control.keys()):  # noqa: SIM118 - not a dict
        made = control.create_key(owner="first run", roles={"ingest", "analyse"})
        _say(
            f"first run: send with the header  Authorization: Bearer {made.token}\n(shown once; jurat key makes others)"
        )
    settings = Settings(
        user_secret=load_user_secret(home()),
        prices=None if prices is None else load_prices(prices),
        keep_text=keep_text,
    )
    ingest = Ingest(lake, settings, flush_seconds=flush_seconds)
    _say(f"taking OTLP at http://{host}:{port}/v1/traces into {lake}; stop with Ctrl-C")
    sessions = Sessions(control)
    calls: GrpcServer | None = None
    try:
        sentinel = sentinel_for(ingest, bars=bar or (), operations=operations, home=home(), live=live)
        if grpc_port is not None:
            calls = GrpcServer(ingest, control, host=host, port=grpc_port)
            _say(f"taking OTLP by gRPC at {host}:{calls.port}")
    except BaseException:
        ingest.close()
        raise
    app = create_app(
        ingest,
        control,
        sessions=sessions,
        home=home(),
        sentinel=sentinel,
        bars=bar or (),
        costs=CostBooks(usage or (), invoice or ()),
    )
    shown = "127.0.0.1" if host in ("0.0.0.0", "::", "localhost") else host  # noqa: S104 - compared, not bound
    address = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}/?token={sessions.first_token}"
    _say(f"pages at {address}\n(the token works until this server stops; who has it can read everything)")
    if browser:
        threading.Timer(1.0, webbrowser.open, [address]).start()
    try:
        with contextlib.suppress(KeyboardInterrupt):
            _server(app, host, port, calls).run()
    finally:
        if calls is not None:
            calls.stop()
        ingest.close()
    counts = ingest.counts
    _say(f"{counts.requests:,} requests, {counts.spans:,} spans, {counts.dead:,} dead letters; everything is committed")
    if json:
        print(dumps({"requests": counts.requests, "spans": counts.spans, "dead": counts.dead}))
    return 0


def key(owner: str, /, *, role: list[str] | None = None, tenant: str = "default", json: bool = False) -> int:
    """Make a key for someone or something; its token is shown once.

    Parameters
    ----------
    owner
        The person or program it is for.
    role
        What it may do: ingest, annotate, analyse, approve, admin; ingest if none is named.
    tenant
        Whose data it reaches.
    json
        Print token, number and roles as JSON.
    """
    from jurat.evidence.keys import home
    from jurat.store.control import Control

    made = Control(home() / "control.sqlite").create_key(owner=owner, roles=set(role or ["ingest"]), tenant=tenant)  # type: ignore[arg-type]
    roles = sorted(made.key.roles)
    whole = {"token": made.token, "id": made.key.id, "owner": owner, "roles": roles}
    print(dumps(whole) if json else made.token)
    _say(f"key {made.key.id} of {owner}, roles {', '.join(roles)}; it is not shown again")
    sys.stdout.flush()
    return 0


def _server(app: FastAPI, host: str, port: int, calls: GrpcServer | None) -> uvicorn.Server:
    import uvicorn

    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        # A page that is slow to end is cut.
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(config)
    begin, end = server.startup, server.shutdown

    def handle_exit(number: int, _: FrameType | None) -> None:
        # The server's own would send the signal once more, before the last words are said.
        app.state.site.stopping.set()
        server.force_exit = server.should_exit and number == signal.SIGINT
        server.should_exit = True

    async def startup(sockets: list[socket.socket] | None = None) -> None:
        await begin(sockets)
        if calls is not None:
            calls.start()

    async def shutdown(sockets: list[socket.socket] | None = None) -> None:
        # The application closes the ingest as it ends; calls end before that.
        if calls is not None:
            await asyncio.get_running_loop().run_in_executor(None, calls.stop)
        await end(sockets)

    server.handle_exit = handle_exit  # type: ignore[assignment]
    server.startup = startup  # type: ignore[method-assign]
    server.shutdown = shutdown  # type: ignore[method-assign]
    return server


def _say(text: str) -> None:
    print(text, file=sys.stderr)
