"""What ``jurat serve --bar … --operations …`` watches: the monitoring plans of some bars, over the lake it writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from jurat.evidence.keys import load_or_create_key
from jurat.launch.bar import load_bar
from jurat.launch.freeze import bar_catalog
from jurat.telemetry.ingest import Ingest
from jurat.telemetry.minutes import MinuteSource
from jurat.telemetry.operations import Operations, load_operations
from jurat.telemetry.sentinel import CommittedUntil, Sentinel
from jurat.telemetry.watch_plan import watches_of
from jurat.telemetry.watching import Watching, wall_clock

__all__ = ["WATCH_FOLDER", "sentinel_for"]

WATCH_FOLDER = "_watch"
"""Folder within a lake where its monitors, alerts and breakers are remembered."""


def sentinel_for(
    ingest: Ingest,
    *,
    bars: Sequence[Path] = (),
    operations: Path | None = None,
    home: Path,
    live: bool = False,
    lag_seconds: float = 30.0,
) -> Sentinel:
    """Monitors and breakers of a server.

    Parameters
    ----------
    ingest
        The writer of the lake.
    bars
        Launch bars with a ``[monitor]`` section.
    operations
        File that says whom to tell and which features may be pulled.
    home
        Folder of the signing key and of the home ledger, where every change of an alarm is sworn.
    live
        Tell people and pull features; in shadow otherwise.
    lag_seconds
        How long after its end a minute is closed.

    Raises
    ------
    SpecError
        Where a bar has no plan, or bar or operations cannot be followed.
    UnknownName
        Where a plan names a metric, slice or feature that there is not.
    """
    loaded = [load_bar(path) for path in bars]
    held = Operations() if operations is None else load_operations(operations)
    key = load_or_create_key(home)
    folder = ingest.lake.root / WATCH_FOLDER
    names = Counter(bar.path.stem for bar in loaded)
    watchings = []
    for number, bar in enumerate(loaded, start=1):
        source = MinuteSource(
            ingest.lake.root, metrics=bar_catalog(bar), parameters=dict(bar.document.data.parameters), lake=True
        )
        plan = bar.document.monitor
        stem = bar.path.stem if names[bar.path.stem] == 1 else f"{bar.path.stem} {number}"
        watches = watches_of(
            () if plan is None else plan.watch,
            source.kind,
            place=bar.path.name,
            prefix=f"{stem}: " if len(loaded) > 1 else "",
        )
        for watch in watches:
            source.check_slices(watch.monitor.metric, watch.monitor.by)
        watchings.append(
            Watching(
                watches,
                source,
                operations=held,
                folder=folder,
                key=key,
                ledger=home / "ledger.jsonl",
                live=live,
                clock=wall_clock,
            )
        )
    return Sentinel(
        watchings,
        folder=folder,
        key=key,
        operations=held,
        live=live,
        committed_until=CommittedUntil(ingest),
        lag_seconds=lag_seconds,
    )
