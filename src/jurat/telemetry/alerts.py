"""The alerts' memory: what each monitor knows, what changed, and who was told of it.

One SQLite file in WAL mode, in the manner of `jurat.store.control`. A monitor's new state, its changes and the messages they
call for are written in one transaction, so that a kill loses none and repeats none; a message is sent afterwards, again and
again with growing pauses until it arrives or its time is over, so it arrives at least once. In shadow mode everything is
written down and nobody is told.
"""

from __future__ import annotations

import datetime as dt
import json
import random
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from jurat.errors import UnknownName
from jurat.evidence.ledger import Ledger
from jurat.store.sqlite_file import SqliteFile
from jurat.telemetry.alert_words import change_document, change_id, headline, is_told
from jurat.telemetry.monitor_document import state_from_json, state_to_json
from jurat.telemetry.monitors import Change, Monitor, MonitorState, SliceKey
from jurat.telemetry.notifiers import DeliveryFailed, Message, Notifier

__all__ = ["ENTRY_KIND", "Alert", "AlertStore", "Delivery", "change_document", "change_id", "headline", "is_told"]

_MIGRATIONS = (
    """
    CREATE TABLE monitor_states (
        monitor TEXT PRIMARY KEY,
        definition TEXT NOT NULL,
        state TEXT NOT NULL,
        updated TEXT NOT NULL
    );
    CREATE TABLE alert_changes (
        id TEXT PRIMARY KEY,
        monitor TEXT NOT NULL,
        slice TEXT NOT NULL,
        minute INTEGER NOT NULL,
        position INTEGER NOT NULL,
        after TEXT NOT NULL,
        document TEXT NOT NULL,
        shadow INTEGER NOT NULL,
        recorded TEXT NOT NULL
    );
    CREATE INDEX alert_changes_by_slice ON alert_changes (monitor, slice, minute, position);
    CREATE TABLE deliveries (
        change_id TEXT NOT NULL REFERENCES alert_changes (id),
        channel TEXT NOT NULL,
        status TEXT NOT NULL CHECK (status IN ('pending', 'sent', 'failed', 'shadow')),
        attempts INTEGER NOT NULL,
        due REAL NOT NULL,
        error TEXT,
        updated TEXT NOT NULL,
        PRIMARY KEY (change_id, channel)
    );
    """,
    """
    ALTER TABLE alert_changes ADD COLUMN entry INTEGER;
    """,
)
"""One script a schema version; a script that was released is never edited."""

ENTRY_KIND = "alert"
"""Kind of the ledger's entries."""

_ATTEMPTS = 8
_FIRST_PAUSE = 2.0
_LONGEST_PAUSE = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Where a slice of a monitor stands, with the change that brought it there (JSON types)."""

    monitor: str
    slice: dict[str, str]
    status: str
    shadow: bool
    change: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One message to one channel: ``"pending"``, ``"sent"``, ``"failed"`` or ``"shadow"``, tries so far, last error."""

    change: str
    channel: str
    status: Literal["pending", "sent", "failed", "shadow"]
    attempts: int
    error: str | None


class AlertStore(SqliteFile):
    """Alerts in one SQLite file.

    Parameters
    ----------
    path
        The file; made, readable by its owner only, where it is missing.

    Raises
    ------
    SpecError
        Where a newer version of this package wrote the file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, name="alert", migrations=_MIGRATIONS, version_table="alert_schema_version")

    # Monitors -------------------------------------------------------------------------------------------------

    def state(self, monitor: Monitor) -> MonitorState | None:
        """State a monitor was left in; ``None`` where it is new, or was defined otherwise than it is now."""
        with self._transaction() as connection:
            row = connection.execute(
                "SELECT definition, state FROM monitor_states WHERE monitor = ?", (monitor.name,)
            ).fetchone()
        if row is None or row["definition"] != _definition(monitor):
            return None
        return state_from_json(json.loads(row["state"]))

    def record(
        self,
        monitor: Monitor,
        state: MonitorState,
        changes: Sequence[Change],
        *,
        channels: Sequence[str] = (),
        shadow: bool = False,
        told_from: int = 0,
        now: dt.datetime,
    ) -> None:
        """Write down where a monitor is and how it came there, and what is to be told.

        Parameters
        ----------
        monitor, state
            The monitor and its new state.
        changes
            What changed since the last time; one that is known already is passed over.
        channels
            Names of the notifiers that are to tell of it.
        shadow
            Tell nobody.
        told_from
            First minute whose changes are told; earlier ones are written down as in shadow.
        now
            Time, with its zone.
        """
        stamp = now.astimezone(dt.UTC).isoformat(timespec="milliseconds")
        with self._transaction(writing=True) as connection:
            connection.execute(
                "INSERT INTO monitor_states (monitor, definition, state, updated) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (monitor) DO UPDATE SET definition = excluded.definition, state = excluded.state, "
                "updated = excluded.updated",
                (monitor.name, _definition(monitor), json.dumps(state_to_json(state), allow_nan=False), stamp),
            )
            for position, change in enumerate(changes):
                known, quiet = change_id(change), shadow or change.minute < told_from
                if connection.execute("SELECT 1 FROM alert_changes WHERE id = ?", (known,)).fetchone():
                    continue
                connection.execute(
                    "INSERT INTO alert_changes (id, monitor, slice, minute, position, after, document, shadow, recorded) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        known, change.monitor, _slice(change.slice), change.minute, position, change.after,
                        json.dumps({**change_document(change), "headline": headline(change)}, allow_nan=False),
                        int(quiet), stamp,
                    ),
                )  # fmt: skip
                for channel in channels if is_told(change) else ():
                    connection.execute(
                        "INSERT INTO deliveries (change_id, channel, status, attempts, due, error, updated) "
                        "VALUES (?, ?, ?, 0, ?, NULL, ?)",
                        (known, channel, "shadow" if quiet else "pending", now.timestamp(), stamp),
                    )

    # Looking --------------------------------------------------------------------------------------------------

    def alerts(self, *, standing: bool = True) -> list[Alert]:
        """Where every slice stands by its last change: the alarms that stand, or all; by monitor and slice."""
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT monitor, slice, after, document, shadow FROM alert_changes AS c WHERE NOT EXISTS ("
                "SELECT 1 FROM alert_changes AS d WHERE d.monitor = c.monitor AND d.slice = c.slice "
                "AND d.rowid > c.rowid) ORDER BY monitor, slice"
            ).fetchall()
        found = [
            Alert(
                monitor=row["monitor"],
                slice=dict(json.loads(row["slice"])),
                status=row["after"],
                shadow=bool(row["shadow"]),
                change=json.loads(row["document"]),
            )
            for row in rows
        ]
        return [a for a in found if not standing or a.status in ("firing", "acknowledged")]

    def history(self, monitor: str, key: SliceKey | None = None) -> list[dict[str, Any]]:
        """Changes of a monitor (of one slice of it), oldest first.

        Raises
        ------
        UnknownName
            For a monitor that never was.
        """
        with self._transaction() as connection:
            names = [row["monitor"] for row in connection.execute("SELECT monitor FROM monitor_states")]
            if monitor not in names:
                raise UnknownName("monitor", monitor, names)
            rows = connection.execute(
                "SELECT document, shadow, entry FROM alert_changes WHERE monitor = ? AND slice = COALESCE(?, slice) "
                "ORDER BY rowid",
                (monitor, None if key is None else _slice(key)),
            )
            return [
                {**json.loads(row["document"]), "shadow": bool(row["shadow"]), "entry": row["entry"]} for row in rows
            ]

    def deliveries(self, status: str | None = None) -> list[Delivery]:
        """What was to be told and how that went."""
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT d.change_id AS change, d.channel, d.status, d.attempts, d.error FROM deliveries AS d "
                "JOIN alert_changes AS c ON c.id = d.change_id WHERE d.status = COALESCE(?, d.status) "
                "ORDER BY c.minute, c.position, d.channel",
                (status,),
            )
            return [Delivery(**dict(row)) for row in rows]

    # Swearing -------------------------------------------------------------------------------------------------

    def swear(self, ledger: Ledger) -> int:
        """Append every change that is not in the ledger yet; return how many were.

        A kill between the ledger and the mark that it was sworn leaves no second entry: what the ledger holds already is
        looked for first.
        """
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT id, document, shadow FROM alert_changes WHERE entry IS NULL ORDER BY rowid"
            ).fetchall()
        if not rows:
            return 0
        held = _sworn(ledger)
        for row in rows:
            index = held.get(row["id"])
            if index is None:
                body = {**json.loads(row["document"]), "shadow": bool(row["shadow"])}
                index = ledger.append(ENTRY_KIND, body).index
            with self._transaction(writing=True) as connection:
                connection.execute("UPDATE alert_changes SET entry = ? WHERE id = ?", (index, row["id"]))
        return len(rows)

    # Telling --------------------------------------------------------------------------------------------------

    def deliver(self, notifiers: Sequence[Notifier], *, now: Callable[[], float] = time.time) -> int:
        """Try every message once that is due; return how many still wait.

        Parameters
        ----------
        notifiers
            Ways to tell. Messages of a channel that is not among them wait.
        now
            Clock, in seconds since 1970.

        Notes
        -----
        After the i-th failure a message waits :math:`\\min(2 \\cdot 2^{i-1}, 600)` s, times a random factor from 0.5 to
        1 so that many do not come back at once, or as long as the receiver asked. After eight tries, or where the
        receiver says no for good, it has failed.
        """
        by_name = {notifier.name: notifier for notifier in notifiers}
        with self._transaction() as connection:
            due = connection.execute(
                "SELECT d.change_id, d.channel, d.attempts, c.document FROM deliveries AS d "
                "JOIN alert_changes AS c ON c.id = d.change_id WHERE d.status = 'pending' AND d.due <= ? "
                "ORDER BY c.minute, c.position, d.channel",
                (now(),),
            ).fetchall()
        for row in due:
            if row["channel"] in by_name:
                self._try(by_name[row["channel"]], row, now)
        return len(self.deliveries("pending"))

    def drain(self, notifiers: Sequence[Notifier], *, patience_seconds: float) -> int:
        """Deliver until nothing waits or patience ends; return how many still wait."""
        deadline = time.monotonic() + patience_seconds
        while (waiting := self.deliver(notifiers)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return waiting

    def _try(self, notifier: Notifier, row: sqlite3.Row, now: Callable[[], float]) -> None:
        document = json.loads(row["document"])
        message = Message(id=row["change_id"], subject=document["headline"], document=document)
        attempts, status, error, due = row["attempts"] + 1, "sent", None, now()
        try:
            notifier.send(message, now=now())
        except DeliveryFailed as failure:
            error = failure.what
            status = "failed" if failure.permanent or attempts >= _ATTEMPTS else "pending"
            pause = min(_FIRST_PAUSE * 2 ** (attempts - 1), _LONGEST_PAUSE) * random.uniform(0.5, 1.0)  # noqa: S311
            due = now() + (pause if failure.retry_after is None else max(failure.retry_after, 0.0))
        stamp = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
        with self._transaction(writing=True) as connection:
            connection.execute(
                "UPDATE deliveries SET status = ?, attempts = ?, error = ?, due = ?, updated = ? "
                "WHERE change_id = ? AND channel = ?",
                (status, attempts, error, due, stamp, row["change_id"], row["channel"]),
            )


def _sworn(ledger: Ledger) -> dict[str, int]:
    """Entries of changes that a ledger holds, by the change's id."""
    if not ledger.path.exists():
        return {}
    return {str(entry.body.get("id")): entry.index for entry in ledger.entries() if entry.kind == ENTRY_KIND}


def _definition(monitor: Monitor) -> str:
    return json.dumps(asdict(monitor), sort_keys=True)


def _slice(key: SliceKey) -> str:
    return json.dumps([list(pair) for pair in key])
