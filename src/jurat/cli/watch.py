"""``jurat launch watch``: the monitoring plan of a bar, carried out on minute counts or a lake."""

from __future__ import annotations

import json as json_module
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jurat.cli.output import note

if TYPE_CHECKING:
    from jurat.launch.bar import Bar
    from jurat.telemetry.minutes import MinuteSource
    from jurat.telemetry.watch_plan import Watch
    from jurat.telemetry.watching import Told, Watching

__all__ = ["plan_of", "watch"]

_FIRED, _UNWATCHED = 3, 4


def watch(
    bar: Path,
    *,
    data: Path,
    state: Path | None = None,
    operations: Path | None = None,
    live: bool = False,
    clock: Literal["wall", "data"] = "wall",
    follow: bool = False,
    poll_seconds: float = 5.0,
    lag_seconds: float = 30.0,
    stop_after: float | None = None,
    json: bool = False,
) -> int:
    """Watch what a bar's monitoring plan names; print every change of state.

    Exit code 0 nothing fired, 3 something did, 4 nothing could be watched (no data, or no baseline yet).

    Parameters
    ----------
    bar
        The launch bar (TOML) with a [monitor] section.
    data
        Minute counts (Parquet, CSV, JSON lines, or a folder of them), or a lake with spans.
    state
        Folder that remembers monitors, alerts and breakers, so that the next call goes on where this one ended.
    operations
        File that says whom to tell and which features may be pulled.
    live
        Tell people and open breakers; without it everything happens in shadow.
    clock
        What time it is for breakers: the wall's, or that of the data (a drill).
    follow
        Go on as minutes close, until stopped.
    poll_seconds
        Time between two looks.
    lag_seconds
        How long after its end a minute is closed.
    stop_after
        Seconds after which to stop following.
    json
        Print each change as a line of JSON.
    """
    from jurat.evidence.keys import load_or_create_key
    from jurat.launch.bar import load_bar
    from jurat.launch.freeze import bar_catalog
    from jurat.telemetry.minutes import MinuteSource
    from jurat.telemetry.operations import load_operations
    from jurat.telemetry.watching import Watching, wall_clock

    loaded = load_bar(bar)
    source = MinuteSource(data, metrics=bar_catalog(loaded), parameters=dict(loaded.document.data.parameters))
    watching = Watching(
        plan_of(loaded, source),
        source,
        operations=None if operations is None else load_operations(operations),
        folder=state,
        key=None if state is None else load_or_create_key(),
        live=live,
        clock=wall_clock if clock == "wall" and live else None,
    )
    fired = _follow(watching, poll_seconds, lag_seconds, stop_after, json) if follow else _once(watching, json)
    waiting = watching.deliver(patience_seconds=0.0 if follow else 30.0)
    if waiting:
        note(f"{waiting} messages still wait; the next call tries again")
    return _summary(watching, fired, json)


def plan_of(bar: Bar, source: MinuteSource) -> list[Watch]:
    """Monitors and actions of a bar's plan (`jurat.telemetry.watch_plan.watches_of`)."""
    from jurat.telemetry.watch_plan import watches_of

    plan = bar.document.monitor
    return watches_of(() if plan is None else plan.watch, source.kind, place=bar.path.name)


def _once(watching: Watching, as_json: bool) -> bool:
    return _print(watching.advance(), watching, as_json)


def _follow(
    watching: Watching, poll_seconds: float, lag_seconds: float, stop_after: float | None, as_json: bool
) -> bool:
    """Look again and again; people are told at each look, and what fails is tried at the next."""
    began, fired = time.monotonic(), False
    while True:
        before = int((time.time() - lag_seconds) // 60)
        fired |= _print(watching.advance(before=before), watching, as_json)
        watching.deliver()
        if stop_after is not None and time.monotonic() - began + poll_seconds > stop_after:
            return fired
        time.sleep(poll_seconds)


def _print(told: list[Told], watching: Watching, as_json: bool) -> bool:
    from jurat.telemetry.alerts import change_document
    from jurat.telemetry.monitors import WATCHED

    kinds = {w.monitor.name: w.monitor.kind for w in watching.watches}
    for one in told:
        if as_json:
            document = {**change_document(one.change), "done": one.done, "live": watching.live}
            print(json_module.dumps(document, ensure_ascii=False, allow_nan=False), flush=True)
        elif one.change.reason != WATCHED:
            print(_line(one, share=kinds[one.change.monitor] == "share"), flush=True)
    return any(one.change.after == "firing" for one in told)


def _line(one: Told, *, share: bool) -> str:
    from jurat.telemetry.alerts import change_document

    c, document = one.change, change_document(one.change)
    where = ", ".join(f"{column}={_plain(value)}" for column, value in c.slice)
    parts = [
        f"{document['time'][:16]}Z",
        c.after.ljust(12),
        c.monitor + (f" [{where}]" if where else "") + ":",
        c.reason,
    ]
    if c.observed is not None and c.observed.value is not None and c.baseline is not None:
        level = c.observed
        bounds = f"[{_number(level.low, share)}, {_number(level.high, share)}]"
        since = f"{c.minute + 1 - c.onset} min" if c.onset is not None else ""
        parts.append(
            f"· {_number(level.value, share)}{' %' if share else ''} {bounds} over {since}, n = {level.n:,}, against "
            f"{_number(c.baseline, share)}"
        )
    if one.done:
        parts.append(f"· {one.done}")
    return " ".join(parts)


def _plain(text: str) -> str:
    """A value from traffic with what a terminal would obey taken out."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _number(value: float | None, share: bool) -> str:
    if value is None:
        return "–"
    return f"{100 * value:.1f}" if share else f"{value:.4g}"


def _summary(watching: Watching, fired: bool, as_json: bool) -> int:
    rows: list[dict[str, Any]] = []
    for w in watching.watches:
        held = watching.states[w.monitor.name]
        statuses = [s.status for s in held.slices.values()]
        rows.append({"monitor": w.monitor.name, "slices": len(statuses), "late": held.late, "beyond": held.beyond})
        counts = ", ".join(f"{statuses.count(s)} {s}" for s in dict.fromkeys(sorted(statuses))) or "no data"
        m = w.monitor
        if not as_json:
            print(
                f"{m.name}: {counts}; at most {m.false_alarms_per_week:.2g} false alarms expected a week"
                + (f"; {held.late:,} units came late" if held.late else "")
                + (f"; {held.beyond:,} units beyond {m.max_slices} slices" if held.beyond else "")
            )
    watched = any(
        s.status != "no data" for w in watching.watches for s in watching.states[w.monitor.name].slices.values()
    )
    if fired:
        return _FIRED
    return 0 if watched else _UNWATCHED
