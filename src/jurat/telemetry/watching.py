"""A plan carried out: minutes in, changes out, people told and breakers opened.

By default everything happens in shadow: it is found and written down, and nobody is told and nothing is pulled. Live, an alarm
on data that are older than `Watching.stale_minutes` still tells people, but pulls nothing: what was true hours ago is no ground
to act now.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jurat.errors import JuratError, UnknownName, UsageError
from jurat.evidence.keys import SigningKey
from jurat.evidence.ledger import Ledger
from jurat.telemetry.alerts import AlertStore, change_document, headline
from jurat.telemetry.breaker import Breakers
from jurat.telemetry.minutes import MinuteSource, minute_events
from jurat.telemetry.monitors import (
    Acknowledge,
    Change,
    Minute,
    Monitor,
    MonitorState,
    Resolve,
    SliceKey,
    replay,
    step,
)
from jurat.telemetry.operations import Operations
from jurat.telemetry.watch_plan import Watch

__all__ = ["PersonsWish", "Told", "Watching", "wall_clock"]

PersonsWish = Literal["acknowledge", "resolve", "accept"]
_LEARNED_MINUTES = 9 * 1_440
"""Minutes of the past that a new monitor of a live lake learns from: a week and the hours around it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A change, and what was done about it.

    Attributes
    ----------
    change
        The change.
    done
        In words: ``"breaker assistant opened"``, ``"breaker assistant would be opened"``; empty where nothing was due.
    """

    change: Change
    done: str = ""


class Watching:
    """Monitors over one source.

    Parameters
    ----------
    watches
        What is watched and what is done.
    source
        Where the counts come from.
    operations
        Whom to tell and what may be pulled.
    folder
        Keeps ``alerts.sqlite`` and the breakers' ledger; without it nothing outlives the object.
    key
        Signs the ledgers; needed where breakers may be opened.
    ledger
        Where every change of an alarm is sworn; ``ledger.jsonl`` in the folder by default.
    live
        Tell people and pull features.
    clock
        What time it is: the end of the changed minute by default (a drill, a replay), or the wall's.
    stale_minutes
        Oldest alarm that still pulls a feature, by the clock.

    Raises
    ------
    UsageError
        Where live watching has no folder to remember in.
    UnknownName
        Where an action names a feature that the operations do not have.
    """

    def __init__(
        self,
        watches: Sequence[Watch],
        source: MinuteSource,
        *,
        operations: Operations | None = None,
        folder: Path | None = None,
        key: SigningKey | None = None,
        ledger: Path | None = None,
        live: bool = False,
        clock: Callable[[], dt.datetime] | None = None,
        stale_minutes: float = 15.0,
    ) -> None:
        self.watches = tuple(watches)
        self.source = source
        self.operations = operations or Operations()
        self.live = live
        self.clock = clock
        self.stale_minutes = stale_minutes
        if live and (folder is None or key is None):
            raise UsageError(
                "live watching needs a folder to remember in", seen="none", next_step="name one with --state"
            )
        self.store = None if folder is None else AlertStore(folder / "alerts.sqlite")
        self.breakers = (
            None
            if folder is None or key is None or not self.operations.features
            else Breakers(folder / "breakers", key, self.operations.features)
        )
        self.ledger = (
            None
            if folder is None or key is None
            else Ledger(folder / "ledger.jsonl" if ledger is None else ledger, key)
        )
        self._check_features()
        self.states: dict[str, MonitorState] = {
            w.monitor.name: (self.store.state(w.monitor) if self.store else None) or MonitorState()
            for w in self.watches
        }

    def _check_features(self) -> None:
        known = [policy.feature for policy in self.operations.features]
        for watch in self.watches:
            feature = watch.action.feature
            if feature is not None and feature not in known and (self.live or known):
                raise UnknownName("feature", feature, known, place=f"the action of {watch.monitor.name}")

    def advance(self, *, before: int | None = None) -> list[Told]:
        """Take in every minute that was closed since the last time.

        Parameters
        ----------
        before
            First minute (since 1970) that still goes on; all are taken where ``None``.

        Returns
        -------
        list of Told
            In order of time.
        """
        told: list[Told] = []
        for watch in self.watches:
            monitor = watch.monitor
            state = self.states[monitor.name]
            new = state.minute is None and before is not None and self.clock is not None
            after = before - _LEARNED_MINUTES if new and before is not None else state.minute
            table = self.source.read(monitor.metric, monitor.by, after=after, before=before)
            events = list(minute_events(table))
            if before is not None:
                events = _filled(events, state.minute, before)
            done = replay(monitor, events, state=state)
            # Pulled first, then written down: a kill between the two pulls again, which changes nothing.
            told += [Told(change=change, done=self._act(watch, change)) for change in done.changes]
            if events:
                # Who begins to watch learns from the past, and tells nobody of what is long known.
                told_from = before - int(self.stale_minutes) if new and before is not None else 0
                self._record(monitor, done.state, done.changes, told_from=told_from)
        if self.store is not None and self.ledger is not None:
            self.store.swear(self.ledger)
        if self.breakers is not None and self.live and self.watches:
            self.breakers.settle(now=self._now(max(s.minute or 0 for s in self.states.values())))
        return sorted(told, key=lambda t: t.change.minute)

    def act(self, name: str, key: SliceKey, wish: PersonsWish, *, by: str, note: str) -> Change:
        """Let a person acknowledge an alarm, resolve it, or accept what is now as usual.

        Parameters
        ----------
        name, key
            Monitor and slice.
        wish
            ``"acknowledge"``, ``"resolve"``, or ``"accept"``: resolve, and learn the baseline anew.
        by, note
            Who, and why; both go into history and ledger.

        Raises
        ------
        UnknownName
            For a monitor that is not watched.
        UsageError
            Without person or note, or where the slice is not alarmed.
        """
        watched = {w.monitor.name: w.monitor for w in self.watches}
        if name not in watched:
            raise UnknownName("monitor", name, watched)
        if not by.strip() or not note.strip():
            raise UsageError("an alarm is answered by a person with a note", seen=f"by={by!r}, note={note!r}")
        state = self.states[name]
        minute = state.minute or 0
        event = (
            Acknowledge(minute=minute, slice=key, by=by, note=note)
            if wish == "acknowledge"
            else Resolve(minute=minute, slice=key, by=by, note=note, accept=wish == "accept")
        )
        try:
            done = step(watched[name], state, event)
        except ValueError as error:
            raise UsageError(str(error), next_step="load the page again: it may be over") from error
        self._record(watched[name], done.state, done.changes)
        if self.store is not None and self.ledger is not None:
            self.store.swear(self.ledger)
        return done.changes[0]

    def _record(self, monitor: Monitor, state: MonitorState, changes: Sequence[Change], *, told_from: int = 0) -> None:
        if self.store is not None:
            self.store.record(
                monitor,
                state,
                changes,
                channels=[n.name for n in self.operations.notifiers],
                shadow=not self.live,
                told_from=told_from,
                now=self._now(state.minute or 0),
            )
        # What could not be written down is seen again at the next look.
        self.states[monitor.name] = state

    def deliver(self, *, patience_seconds: float = 0.0) -> int:
        """Send what waits to be told; return how many messages still wait."""
        if self.store is None or not self.live:
            return 0
        return self.store.drain(self.operations.notifiers, patience_seconds=patience_seconds)

    def _now(self, minute: int) -> dt.datetime:
        return self.clock() if self.clock is not None else _end_of(minute)

    def _act(self, watch: Watch, change: Change) -> str:
        feature = watch.action.feature
        if feature is None or change.after != "firing":
            return ""
        now = self._now(change.minute)
        stale = (now - _end_of(change.minute)).total_seconds() / 60 > self.stale_minutes
        if self.breakers is None:
            return f"breaker {feature} would be opened"
        try:
            outcome = self.breakers.open(
                feature,
                by=f"monitor:{change.monitor}",
                reason=headline(change),
                now=now,
                minutes=watch.action.minutes,
                evidence=change_document(change),
                dry_run=stale or not self.live,
            )
        except (JuratError, OSError) as error:
            # People must hear of the alarm all the more.
            return f"breaker {feature} could not be opened: {error}"
        if outcome.done == "nothing":
            waits = outcome.state.state != "open"
            return f"breaker {feature} {'waits for a second person' if waits else 'is open already'}"
        verb = "opened" if outcome.done == "opened" else "proposed to be opened"
        if outcome.dry_run:
            return f"breaker {feature} would be {verb}" + (" (the data are stale)" if stale and self.live else "")
        return f"breaker {feature} {verb}"


def wall_clock() -> dt.datetime:
    """Time by the clock on the wall, for `Watching`."""
    return dt.datetime.now(dt.UTC)


def _end_of(minute: int) -> dt.datetime:
    return dt.datetime.fromtimestamp((minute + 1) * 60, dt.UTC)


def _filled(events: list[Minute], last: int | None, before: int) -> list[Minute]:
    """Events with the silent minutes around them, so that silence itself is heard."""
    filled = list(events)
    if last is not None and events and events[0].minute > last + 1:
        filled = [*(Minute(minute=m, counts={}) for m in range(last + 1, events[0].minute)), *filled]
    newest = events[-1].minute if events else last
    if newest is not None:
        filled += [Minute(minute=m, counts={}) for m in range(newest + 1, before)]
    return filled
