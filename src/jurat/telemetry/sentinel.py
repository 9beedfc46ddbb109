"""Watching that never sleeps: monitors of several bars over one lake, inside the server.

A thread looks every few seconds, takes in the minutes that closed, tells people, and writes down what expired. All that it
knows lies on disk, so a kill costs one look. A minute is closed when its end is some time past and everything that was
acknowledged by then is in the lake: a flusher that is stuck delays the monitors, and is not taken for silence.
"""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from jurat.errors import JuratError, UnknownName
from jurat.evidence.keys import SigningKey
from jurat.telemetry.alerts import Alert, AlertStore
from jurat.telemetry.breaker import Breakers, BreakerState, Outcome, Wish
from jurat.telemetry.ingest import Ingest
from jurat.telemetry.monitors import Change, SliceKey
from jurat.telemetry.operations import Operations
from jurat.telemetry.watch_plan import Watch
from jurat.telemetry.watching import PersonsWish, Told, Watching

__all__ = ["CommittedUntil", "Sentinel", "SentinelHealth"]

_LOG = logging.getLogger("jurat.sentinel")
_REMEMBERED_MARKS = 4_096


class CommittedUntil:
    """Time until which all that was acknowledged is in every table.

    Parameters
    ----------
    ingest
        The writer.
    clock
        Seconds since 1970.
    """

    def __init__(self, ingest: Ingest, *, clock: Callable[[], float] = time.time) -> None:
        self.ingest = ingest
        self.clock = clock
        self._marks: deque[tuple[float, int]] = deque()
        self._until = 0.0

    def __call__(self) -> float:
        """Look at the log and the tables; the time only grows, from 0 until the first batch of a restart is in."""
        end = self.ingest.log.end
        if len(self._marks) < _REMEMBERED_MARKS:
            self._marks.append((self.clock(), end))
        applied = end - self.ingest.lag_bytes()
        while self._marks and self._marks[0][1] <= applied:
            self._until = max(self._until, self._marks.popleft()[0])
        return self._until


@dataclass(frozen=True, slots=True, kw_only=True)
class SentinelHealth:
    """How the watching itself fares.

    Attributes
    ----------
    minute
        Last minute (since 1970) that every monitor has taken in; ``None`` before the first.
    looks, failures, error
        Looks so far, those that failed, and why the last look failed; empty where it did not.
    late, beyond
        Units that came after their minute was closed, and units of slices beyond the most that are watched.
    waiting
        Messages to people that still wait.
    """

    minute: int | None
    looks: int
    failures: int
    error: str
    late: int
    beyond: int
    waiting: int


class Sentinel:
    """Monitors and breakers of one server.

    Parameters
    ----------
    watchings
        One for each bar; none where nothing is watched, and people alone pull features.
    folder
        Where monitors, alerts and breakers are remembered; that of the watchings.
    key
        Signs the breakers' ledger.
    operations
        Whom to tell and what may be pulled.
    live
        Whether people are told and features pulled; in shadow otherwise.
    committed_until
        Time (seconds since 1970) until which the lake is complete; now by default.
    poll_seconds, lag_seconds
        Time between two looks, and how long after its end a minute is closed.
    clock
        Seconds since 1970.
    """

    def __init__(
        self,
        watchings: Sequence[Watching] = (),
        *,
        folder: Path,
        key: SigningKey | None = None,
        operations: Operations | None = None,
        live: bool = False,
        committed_until: Callable[[], float] | None = None,
        poll_seconds: float = 5.0,
        lag_seconds: float = 30.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.watchings = tuple(watchings)
        self.operations = operations or Operations()
        self.live = live
        self.folder = Path(folder)
        self.store = AlertStore(folder / "alerts.sqlite")
        self.breakers = (
            Breakers(folder / "breakers", key, self.operations.features)
            if key is not None and self.operations.features
            else None
        )
        self.committed_until = committed_until or clock
        self.poll_seconds, self.lag_seconds, self.clock = poll_seconds, lag_seconds, clock
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._looks, self._failures, self._error = 0, 0, ""

    # Looking --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Look again and again, in a thread of its own, until `stop`; once is enough."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="sentinel", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop looking and wait until the last look is over."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def look(self) -> list[Told]:
        """Take in the minutes that closed since the last look; tell people; write down what expired."""
        before = int((min(self.committed_until(), self.clock()) - self.lag_seconds) // 60)
        told: list[Told] = []
        with self._lock:
            for watching in self.watchings:
                told += watching.advance(before=before) if before > 0 else []
            if self.breakers is not None:
                self.breakers.settle(now=self._now())
        if self.live:
            # Outside the lock: a receiver that does not answer must not keep people from acting.
            self.store.deliver(self.operations.notifiers)
        return told

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.look()
                self._error = ""
            except (JuratError, OSError, pa.ArrowException) as error:
                # What was not taken in is taken in at the next look; until then the page says why.
                self._failures += 1
                self._error = str(error)
                _LOG.warning("a look at the monitors failed: %s", error)
            self._looks += 1
            self._stop.wait(self.poll_seconds)

    def _now(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(self.clock(), dt.UTC)

    # Asking ---------------------------------------------------------------------------------------------------

    def watches(self) -> list[tuple[Watching, Watch]]:
        """Every monitor with the watching it belongs to."""
        return [(watching, watch) for watching in self.watchings for watch in watching.watches]

    def find(self, monitor: str) -> tuple[Watching, Watch]:
        """A monitor by its name.

        Raises
        ------
        UnknownName
            Where it is not watched.
        """
        for watching, watch in self.watches():
            if watch.monitor.name == monitor:
                return watching, watch
        raise UnknownName("monitor", monitor, [w.monitor.name for _, w in self.watches()])

    def alerts(self) -> list[Alert]:
        """Where every slice of every watched monitor stands, by its last change."""
        watched = {w.monitor.name for _, w in self.watches()}
        return [alert for alert in self.store.alerts(standing=False) if alert.monitor in watched]

    def health(self) -> SentinelHealth:
        """How the watching itself fares."""
        states = [state for watching in self.watchings for state in watching.states.values()]
        minutes = [state.minute for state in states if state.minute is not None]
        return SentinelHealth(
            minute=min(minutes) if minutes and len(minutes) == len(states) else None,
            looks=self._looks,
            failures=self._failures,
            error=self._error,
            late=sum(state.late for state in states),
            beyond=sum(state.beyond for state in states),
            waiting=len(self.store.deliveries("pending")),
        )

    def breaker_states(self) -> list[BreakerState]:
        """Every feature's breaker now, open ones first."""
        if self.breakers is None:
            return []
        found = [self.breakers.state(feature, now=self._now()) for feature in sorted(self.breakers.policies)]
        return sorted(found, key=lambda state: state.state != "open")

    def answer(self, feature: str) -> dict[str, Any]:
        """What a gateway acts on, from memory; a feature that nobody declared is closed, and the answer says so.

        Returns
        -------
        dict
            ``feature``, ``known``, ``state`` (``"open"``: do not serve it), ``reason``, ``since``, ``expires``, ``by``,
            ``asked`` and ``ttl_seconds``.
        """
        now = self._now()
        if self.breakers is None or feature not in self.breakers.policies:
            return {
                "feature": feature,
                "known": False,
                "state": "closed",
                "reason": "no such feature is declared here: nothing can pull it; see operations.toml",
                "since": None,
                "expires": None,
                "by": [],
                "asked": now.isoformat(timespec="seconds"),
                "ttl_seconds": 5,
            }
        return {"known": True, **self.breakers.answer(feature, now=now)}

    # Acting ---------------------------------------------------------------------------------------------------

    def act(self, monitor: str, key: SliceKey, wish: PersonsWish, *, by: str, note: str) -> Change:
        """Let a person acknowledge or end an alarm (`Watching.act`)."""
        watching, _ = self.find(monitor)
        with self._lock:
            return watching.act(monitor, key, wish, by=by, note=note)

    def pull(
        self, feature: str, wish: Wish, *, by: str, reason: str, minutes: float | None = None, dry_run: bool = False
    ) -> Outcome:
        """Let a person open or close a breaker, or propose it where two must agree.

        Raises
        ------
        UnknownName
            For a feature without policy.
        UsageError
            Without person or reason, or where the same person proposes and approves.
        """
        if self.breakers is None:
            raise UnknownName("feature", feature, [])
        if wish == "open":
            return self.breakers.open(feature, by=by, reason=reason, now=self._now(), minutes=minutes, dry_run=dry_run)
        return self.breakers.close(feature, by=by, reason=reason, now=self._now(), dry_run=dry_run)
