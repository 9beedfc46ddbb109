"""The live half of the demo: a server of its own, the traffic of the past hours with a refusal spike, and who caught it."""

from __future__ import annotations

import contextlib
import datetime as dt
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jurat.cli.output import note

if TYPE_CHECKING:
    from jurat.simulate.calls import Calls
    from jurat.simulate.replay import Replayed, Sender
    from jurat.telemetry.ingest import Ingest
    from jurat.telemetry.sentinel import Sentinel

__all__ = ["Live", "run_live"]

_HOURS, _RATE, _AGO = 6.0, 1.5, 40.0
_ENDPOINT, _TIER, _SIZE = "/v1/chat", "free", 0.25
_START_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """What was seen.

    Attributes
    ----------
    lines
        For people.
    document
        For machines.
    """

    lines: tuple[str, ...]
    document: dict[str, Any]


@dataclass(slots=True, kw_only=True)
class _Stage:
    """A running server: its address, the token of its pages, the key of who sends, its writer and its monitors."""

    address: str
    token: str
    key: str
    ingest: Ingest
    sentinel: Sentinel
    complete: list[bool]


def run_live(out: Path, bar: Path, *, seed: int, stay: bool, say: Callable[[tuple[str, ...]], None]) -> Live:
    """Start a server, replay the past hours into it, and let the bar's monitor look.

    Parameters
    ----------
    out
        Folder of the demo: ``live`` becomes the lake, ``server`` keeps keys and alerts.
    bar
        The bar whose monitoring plan is carried out.
    seed
        Seed of the traffic.
    stay
        Whether to keep the server, with live traffic, until it is stopped by hand.
    say
        Told what was seen, as soon as it was.

    Returns
    -------
    Live

    Raises
    ------
    MissingExtra
        Where the packages of the server are not installed.
    """
    from jurat.simulate.incidents import PlantedIncident
    from jurat.simulate.replay import Sender, replay, window_start

    with _serving(out, bar) as stage:
        spike = PlantedIncident(
            kind="refusal spike", onset=_HOURS * 60 - _AGO, minutes=_AGO, size=_SIZE, endpoint=_ENDPOINT, tier=_TIER
        )
        start = window_start(_HOURS / 24, None, now=dt.datetime.now(dt.UTC))
        calls = _calls(start, _HOURS, seed, (spike,))
        note(f"replaying {calls.spans.num_rows:,} calls of the last {_HOURS:.0f} hours as OpenTelemetry traces")
        with Sender(stage.address, stage.key) as sender:
            done = replay(calls.spans, calls.feedback, sender=sender)
            stage.ingest.flush()
            stage.complete[0] = True
            stage.sentinel.look()
            seen = _seen(calls, done, out, bar, stage, stay=stay)
            say(seen.lines)
            if stay:
                with contextlib.suppress(KeyboardInterrupt):
                    _go_on(sender, seed)
                note("stopping; what was received is committed")
    return seen


def _calls(start: dt.datetime, hours: float, seed: int, incidents: tuple[Any, ...] = ()) -> Calls:
    """Calls with a load that is about the same at any hour of any day: a demo is run whenever it is run."""
    from jurat.simulate.calls import QUIET, simulate_calls

    even = replace(QUIET, traffic=replace(QUIET.traffic, daily_swing=0.2, weekend_load=1.0))
    return simulate_calls(start=start, days=hours / 24, rate=_RATE, seed=seed, incidents=incidents, parameters=even)


@contextlib.contextmanager
def _serving(out: Path, bar: Path) -> Iterator[_Stage]:
    """Run the server in a thread of this process, on a free port of the loopback."""
    from jurat.errors import EngineError, MissingExtra

    try:
        import opentelemetry.proto  # noqa: F401 - what the replay builds its requests with
        import uvicorn

        from jurat.web.app import create_app
        from jurat.web.sessions import Sessions
        from jurat.web.watch import sentinel_for
    except ImportError as error:
        raise MissingExtra(error.name or "uvicorn", "web") from error
    from jurat.store.control import Control

    home = out / "server"
    ingest = _ingest(out, home)
    try:
        control = Control(home / "control.sqlite")
        sessions = Sessions(control)
        key = control.create_key(owner="demo traffic", roles={"ingest"}).token
        sentinel = sentinel_for(ingest, bars=[bar], home=home)
        # While hours are replayed in seconds, the lake lags behind the clock: until they are in, no minute is closed.
        complete, until = [False], sentinel.committed_until
        sentinel.committed_until = lambda: until() if complete[0] else 0.0
        app = create_app(ingest, control, sessions=sessions, home=home, sentinel=sentinel, bars=[bar])
        config = uvicorn.Config(
            app, host="127.0.0.1", port=0, log_level="warning", access_log=False, server_header=False,
            timeout_graceful_shutdown=3,
        )  # fmt: skip
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, name="demo server", daemon=True)
        thread.start()
        deadline = time.monotonic() + _START_SECONDS
        while not server.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                raise EngineError("the demo's server did not start", next_step="try jurat serve, and read what it says")
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        address = f"http://127.0.0.1:{port}"
        try:
            yield _Stage(
                address=address,
                token=sessions.first_token,
                key=key,
                ingest=ingest,
                sentinel=sentinel,
                complete=complete,
            )
        finally:
            server.should_exit = True
            thread.join(_START_SECONDS)
    finally:
        ingest.close()


def _ingest(out: Path, home: Path) -> Ingest:
    """The writer of the demo's lake, with prices of the simulated models."""
    from jurat.simulate.calls import price_book
    from jurat.store.durable import make_folder, write_atomically
    from jurat.telemetry.derive import Settings
    from jurat.telemetry.ingest import Ingest
    from jurat.telemetry.prices import load_prices
    from jurat.telemetry.users import load_user_secret

    make_folder(home)
    write_atomically(home / "prices.toml", price_book().encode())
    settings = Settings(user_secret=load_user_secret(home), prices=load_prices(home / "prices.toml"))
    return Ingest(out / "live", settings, flush_seconds=2.0)


def _seen(calls: Calls, done: Replayed, out: Path, bar: Path, stage: _Stage, *, stay: bool) -> Live:
    """Put what was caught beside what was planted."""
    planted = calls.truth["incidents"][0]
    fired = [
        change
        for _, watch in stage.sentinel.watches()
        for change in stage.sentinel.store.history(watch.monitor.name)
        if change["after"] == "firing" and change["before"] != "firing"
    ]
    caught = next((c for c in fired if c["slice"] == {"endpoint": _ENDPOINT, "tier": _TIER}), None)
    onset = dt.datetime.fromisoformat(planted["onset"])
    page = f"{stage.address}/?token={stage.token}"
    reopen = f"JURAT_HOME={out / 'server'} jurat serve {out / 'live'} --bar {bar} --prices {out / 'server/prices.toml'}"
    lines = [
        f"live: {done.spans:,} calls and {done.feedback:,} thumbs taken as OpenTelemetry in {done.seconds:.1f} s",
        f"planted at {onset:%H:%M}Z: {planted['changed']} of {planted['calls']} calls at {_ENDPOINT}, tier {_TIER}, refused "
        f"that were not",
    ]
    minutes = None
    if caught is None:
        lines.append("not caught: too little came in to tell")
    else:
        moment = dt.datetime.fromisoformat(caught["time"])
        minutes = (moment - onset).total_seconds() / 60
        lines.append(f"caught at {moment:%H:%M}Z, {minutes:.0f} min later: {_level(caught)}")
    # The page opens with the token of this start; a server that was stopped is reopened, and prints another.
    lines += [f"see it    {page}", "stop      Ctrl-C; until then traffic goes on"] if stay else [f"see it    {reopen}"]
    document = {
        "address": page if stay else None,
        "reopen": reopen,
        "spans": done.spans,
        "feedback": done.feedback,
        "planted": planted,
        "caught": caught,
        "minutes_to_detect": minutes,
        "other_alarms": len(fired) - (caught is not None),
    }
    return Live(lines=tuple(lines), document=document)


def _level(change: dict[str, Any]) -> str:
    """Where a change was seen, with value, interval and number of calls, against what is usual."""
    where = ", ".join(change["slice"].values())
    seen, usual = change["observed"], change["baseline"]
    if seen is None or seen["value"] is None or seen["low"] is None or seen["high"] is None or usual is None:
        return f"{change['metric']} at {where} is {change['reason']}"
    level = f"{100 * seen['value']:.1f} % [{100 * seen['low']:.1f}, {100 * seen['high']:.1f}], n = {seen['n']:,}"
    return f"{change['metric']} at {where} {level}, against {100 * usual:.1f} %"


def _go_on(sender: Sender, seed: int) -> None:
    """Send calls as they happen, until stopped."""
    from jurat.simulate.replay import replay

    for number in range(1, 1_000_000):
        calls = _calls(dt.datetime.now(dt.UTC), 12.0, seed + number)
        replay(calls.spans, calls.feedback, sender=sender, speed=1.0)
