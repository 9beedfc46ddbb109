"""From a request's bytes to rows in the lake: logged, acknowledged, decoded, derived, committed once.

The log knows what was received, the tables know up to where they hold it: each commit carries the log's offset, so after a
kill every table goes on where it stopped, whatever the others hold. What cannot be decoded lies in ``dead_letters`` with its
reason; nothing is dropped without a word.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import pyarrow as pa

from jurat.errors import DataError, JuratError
from jurat.store.durable import locked, make_folder, write_atomically
from jurat.store.lake import Lake
from jurat.store.schema import TABLES
from jurat.telemetry.aliases import load_aliases
from jurat.telemetry.arrivals import Arrivals
from jurat.telemetry.derive import HOUSE_TENANT, Settings, derive
from jurat.telemetry.feedback import feedback_rows
from jurat.telemetry.log_rows import LogRows, log_rows
from jurat.telemetry.otlp_signals import decode_metrics
from jurat.telemetry.own_tables import OWN_TABLES
from jurat.telemetry.redaction import redact_json, redact_text
from jurat.telemetry.responses import Responses
from jurat.telemetry.rollup import minute_rollup
from jurat.telemetry.upkeep import keep_up
from jurat.telemetry.waiting import WaitingFeedback
from jurat.telemetry.wal import Record, WriteAheadLog
from jurat.telemetry.wire import decode_traces, unreadable_spans

__all__ = ["KINDS", "Ingest", "IngestCounts"]

KINDS = {"traces/protobuf": 1, "traces/json": 2, "feedback/json": 3, "other/protobuf": 4, "other/json": 5,
         "logs/protobuf": 6, "logs/json": 7, "metrics/protobuf": 8, "metrics/json": 9}  # fmt: skip
"""What a record of the log holds. Kinds are only added, never renumbered: logs outlive versions."""

_NAMES = {number: name for name, number in KINDS.items()}
_TABLES = (
    "spans", "span_text", "span_attributes", "responses", "feedback", "waiting_feedback", "scores", "metric_points",
    "rollup_1m", "dead_letters",
)  # fmt: skip
_SCHEMAS = TABLES | OWN_TABLES
_HIDDEN = ("prompt", "response", "system", "retrieved", "user_id")
"""Columns whose attributes are not kept raw: text has a table of its own, and names of people are not stored at all."""
_SHOWN_BYTES = 4096
_MOST_UNMAPPED, _LONGEST_NAME, _OTHERS = 10_000, 200, "(others)"
_APPLIED = "applied.json"
_MOST_RECORDS = 4096
"""Requests of one commit: a backlog of many small ones is worked off in steps, each of which a kill cannot undo."""
_SPOILT = (JuratError, ValueError, KeyError, TypeError, pa.ArrowException)
"""What a payload may cause that nobody foresaw."""
_RETAIN_HOURS = 168
_QUOTED = re.compile(r"""['"\n]""")


@dataclass(slots=True)
class IngestCounts:
    """What has passed since the start.

    Attributes
    ----------
    requests, received_bytes
        Requests that were acknowledged.
    spans, feedback, scores, points, dead
        Rows committed; points are those of metrics.
    waiting
        Pieces of feedback whose turn has not come yet.
    redactions
        Places redacted in text.
    unmapped
        Attributes that no alias knows, with how often they were met.
    flushes, flush_errors
        Commits of batches, and batches that failed and will be tried again.
    last_error
        Why the last one failed.
    """

    requests: int = 0
    received_bytes: int = 0
    spans: int = 0
    feedback: int = 0
    scores: int = 0
    points: int = 0
    waiting: int = 0
    dead: int = 0
    redactions: int = 0
    unmapped: Counter[str] = field(default_factory=Counter)
    flushes: int = 0
    flush_errors: int = 0
    last_error: str | None = None


@dataclass(slots=True)
class _Batch:
    """Rows of some records, by table, with the offset of the record each came from."""

    rows: dict[str, list[tuple[int, pa.Table]]] = field(default_factory=lambda: {name: [] for name in _TABLES})
    end: int = 0
    redactions: int = 0
    unmapped: Counter[str] = field(default_factory=Counter)
    arrived: list[tuple[int, int, pa.Table]] = field(default_factory=list)
    turns: list[tuple[Record, pa.Table]] = field(default_factory=list)
    due: pa.Table = field(default_factory=TABLES["feedback"].empty_table)
    opinions: list[tuple[Record, pa.Table]] = field(default_factory=list)
    signals: list[tuple[Record, LogRows]] = field(default_factory=list)


class Ingest:
    """The one writer of a lake's telemetry.

    Parameters
    ----------
    lake
        Folder of the lake.
    settings
        How turns are derived.
    flush_seconds, flush_bytes
        A batch is committed after as long, or once so much waits.
    most_waiting_bytes
        Bytes that may wait in the log before requests are refused.
    upkeep_commits
        Small files are merged, and turns numbered (`keep_up`), after so many commits.
    start
        Whether a thread flushes; without it `flush` is called by hand.

    Raises
    ------
    EngineError
        Where another server writes to this lake.
    """

    def __init__(
        self,
        lake: Path,
        settings: Settings,
        *,
        flush_seconds: float = 5.0,
        flush_bytes: int = 64 << 20,
        most_waiting_bytes: int = 1 << 30,
        upkeep_commits: int = 240,
        start: bool = True,
    ) -> None:
        make_folder(lake)
        self.lake = Lake(lake)
        self.settings = settings
        self.counts = IngestCounts()
        self.arrivals = Arrivals()
        self.flush_seconds, self.flush_bytes = flush_seconds, flush_bytes
        self.upkeep_commits, self._commits = upkeep_commits, 0
        self._guard = locked(lake / ".server.lock", wait_seconds=0.2)
        self._guard.__enter__()
        try:
            self.log = WriteAheadLog(lake / "_wal", most_bytes=most_waiting_bytes)
            self._aliases = load_aliases()
            for table in OWN_TABLES.keys() - set(self.lake.tables()):
                self.lake.create(table, OWN_TABLES[table])
            # What the log let go of is in every table, also in those that had no rows for it.
            known = self._remembered()
            self._applied = {
                table: max(self._committed(table), self.log.start, min(known.get(table, 0), self.log.end))
                for table in _TABLES
            }
            self.log.free(min(self._applied.values()))
            self._responses = Responses(self.lake)
            self._waiting = WaitingFeedback.load(self.lake)
            self.counts.waiting = len(self._waiting)
        except BaseException:
            self._guard.__exit__(None, None, None)
            raise
        self._flushing = threading.Lock()
        try:
            self._catch_up(lake / "_wal", most_waiting_bytes)
        except BaseException:
            self._guard.__exit__(None, None, None)
            raise
        self._closed = False
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flusher", daemon=True) if start else None
        if self._thread is not None:
            self._thread.start()

    def _catch_up(self, folder: Path, most_bytes: int) -> None:
        """Where the tables are ahead of the log (its folder was lost, or is an older copy), let it begin where they are.

        At the log's own offsets the tables would take new records for such as they hold already, and drop them.
        """
        ahead = max(self._applied.values())
        if ahead <= self.log.end:
            return
        self.flush()
        self.log.close()
        WriteAheadLog.begin_at(folder, ahead)
        self.log = WriteAheadLog(folder, most_bytes=most_bytes)
        self._applied = dict.fromkeys(_TABLES, ahead)

    def receive(self, kind: str, payload: bytes, *, tenant: str) -> Future[int]:
        """Log a payload that was checked; the future gives its offset once it is on disk.

        Parameters
        ----------
        kind
            A key of `KINDS`.
        payload
            The decompressed body.
        tenant
            Whose it is.

        Raises
        ------
        LogFull
            Where too much waits to be committed.
        """
        done = self.log.append(payload, tenant=tenant, kind=KINDS[kind])
        self.counts.requests += 1
        self.counts.received_bytes += len(payload)
        if self.log.waiting_bytes > self.flush_bytes:
            self._wake.set()
        return done

    def unreadable(self, payload: bytes) -> tuple[int, str]:
        """How many spans of a binary request will go to ``dead_letters`` for their form, and why the first."""
        return unreadable_spans(payload, aliases=self._aliases)

    def flush(self) -> int:
        """Commit what is logged; returns the rows of spans that were added."""
        with self._flushing:
            added = 0
            while True:
                start = min(self._applied.values())
                records = list(islice(self.log.read(start, most_bytes=self.flush_bytes), _MOST_RECORDS))
                if not records:
                    return added
                batch = self._decode(records)
                added += self._commit(batch)
                self._remember_applied()
                self.log.free(min(self._applied.values()))
                self.counts.flushes += 1
                self._commits += 1

    def lag_bytes(self) -> int:
        """Bytes that are acknowledged and not yet in every table."""
        return self.log.end - min(self._applied.values())

    def close(self) -> None:
        """Stop, commit what is logged, and let go of the lake; once is enough."""
        if self._closed:
            return
        self._closed = True
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        try:
            self.log.close()
            self.flush()
        finally:
            self._guard.__exit__(None, None, None)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait(self.flush_seconds)
            self._wake.clear()
            try:
                self.flush()
                if self._commits >= self.upkeep_commits:
                    self._commits = 0
                    with self._flushing:
                        keep_up(self.lake, tables=self._tables(), retain_hours=_RETAIN_HOURS)
            except Exception as error:  # whatever it is, the next batch must still be written
                # The records are safe in the log: they are tried again, and the page of the ingestion says so.
                self.counts.flush_errors += 1
                self.counts.last_error = (
                    f"{error}" if isinstance(error, JuratError) else f"{type(error).__name__}: {error}"
                )
                self._stop.wait(min(self.flush_seconds, 1.0))

    def _tables(self) -> list[str]:
        """Tables of its own that the lake has."""
        return [table for table in _TABLES if table in self.lake.tables()]

    def _committed(self, table: str) -> int:
        """Offset up to which a table holds the log."""
        if table not in self.lake.tables():
            return 0
        return self.lake.transaction(table, f"wal-{table}") or 0

    def _remembered(self) -> dict[str, int]:
        """Offsets up to which each table was known to hold the log, those without rows too, when it was last written."""
        path = self.lake.root / "_wal" / _APPLIED
        try:
            return {str(table): int(offset) for table, offset in json.loads(path.read_bytes()).items()}
        except (FileNotFoundError, ValueError, AttributeError, TypeError):
            # Only time is lost without it: what a table holds already is left out by its own offset.
            return {}

    def _remember_applied(self) -> None:
        write_atomically(self.lake.root / "_wal" / _APPLIED, json.dumps(self._applied).encode())

    def _decode(self, records: Sequence[Record]) -> _Batch:
        batch = _Batch(end=records[-1].end)
        for record in records:
            try:
                self._decode_record(record, batch)
            except _SPOILT as error:
                batch.rows["dead_letters"].append(
                    (record.offset, _dead(record, self.settings.keep_text, [(-1, f"{error}")]))
                )
        for pile in self._piles(batch.turns):
            self._derive(pile, batch)
        self._join(batch, records[-1].offset)
        return batch

    def _piles(self, turns: Sequence[tuple[Record, pa.Table]]) -> list[list[tuple[Record, pa.Table]]]:
        """Turns that are derived together: those of one tenant between two offsets up to which some table holds the log."""
        cuts = sorted(set(self._applied.values()))
        piles: dict[tuple[str, int], list[tuple[Record, pa.Table]]] = {}
        for record, spans in turns:
            piles.setdefault((record.tenant, bisect_right(cuts, record.offset)), []).append((record, spans))
        return list(piles.values())

    def _derive(self, pile: list[tuple[Record, pa.Table]], batch: _Batch) -> None:
        """Rows of a pile; where it cannot be derived whole, request by request, so that one bad request spoils no other."""
        first = pile[0][0]
        try:
            derived = derive(pa.concat_tables([spans for _, spans in pile]), self.settings, tenant=first.tenant)
            rollup = minute_rollup(derived.spans)
        except _SPOILT as error:
            if len(pile) == 1:
                batch.rows["dead_letters"].append(
                    (first.offset, _dead(first, self.settings.keep_text, [(-1, f"{error}")]))
                )
            else:
                for one in pile:
                    self._derive([one], batch)
            return
        batch.redactions += derived.n_redactions
        for table, rows in (
            ("spans", derived.spans), ("span_text", derived.texts), ("span_attributes", derived.attributes),
            ("responses", derived.responses), ("rollup_1m", rollup),
        ):  # fmt: skip
            batch.rows[table].append((first.offset, rows))
        named = derived.responses
        self._responses.learn(
            zip(repeat(first.tenant), named["response_id"].to_pylist(), named["span_id"].to_pylist(), strict=False)
        )
        begin = 0
        for record, spans in pile:
            batch.arrived.append((record.offset, record.received_us, derived.spans.slice(begin, len(spans))))
            begin += len(spans)

    def _decode_record(self, record: Record, batch: _Batch) -> None:
        kind = _NAMES.get(record.kind)
        if kind in ("traces/protobuf", "traces/json"):
            encoding = "protobuf" if kind.endswith("protobuf") else "json"
            decoded = decode_traces(record.payload, encoding=encoding, aliases=self._aliases, leave_out=_HIDDEN)
            batch.unmapped.update(decoded.unmapped)
            if decoded.rejected:
                batch.rows["dead_letters"].append(
                    (record.offset, _dead(record, self.settings.keep_text, decoded.rejected))
                )
            batch.turns.append((record, decoded.spans))
        elif kind == "feedback/json":
            batch.opinions.append((record, feedback_rows(json.loads(record.payload), record, self.settings)))
        elif kind in ("logs/protobuf", "logs/json"):
            found = log_rows(record, kind.partition("/")[2], self.settings)
            batch.unmapped.update(found.skipped)
            if found.rejected:
                batch.rows["dead_letters"].append(
                    (record.offset, _dead(record, self.settings.keep_text, found.rejected))
                )
            batch.redactions += found.n_redactions
            batch.rows["span_text"].append((record.offset, found.texts))
            batch.opinions.append((record, found.feedback))
            batch.signals.append((record, found))
        elif kind in ("metrics/protobuf", "metrics/json"):
            points = decode_metrics(record.payload, encoding=kind.partition("/")[2])
            if points.rejected:
                batch.rows["dead_letters"].append(
                    (record.offset, _dead(record, self.settings.keep_text, points.rejected))
                )
            whose = pa.repeat(record.tenant, len(points.points))
            rows = points.points.add_column(0, "tenant", whose).cast(OWN_TABLES["metric_points"])
            said, hidden = redact_json(rows["attributes"].combine_chunks())
            batch.redactions += hidden
            rows = rows.set_column(rows.schema.get_field_index("attributes"), "attributes", said)
            batch.rows["metric_points"].append((record.offset, rows))
        else:
            raise DataError("nothing reads this kind of record", seen=str(kind or record.kind))

    def _join(self, batch: _Batch, last: int) -> None:
        """Give feedback and scores the turns they speak of, once all turns of the batch are known."""
        for record, found in batch.signals:
            named = found.scores["subject_id"].to_pylist()
            turns = self._responses.resolve(record.tenant, [name for name in named if name])
            house = record.tenant == HOUSE_TENANT
            subjects = pa.array([turns.get(name, name if house else None) for name in named], pa.string())
            place = found.scores.schema.get_field_index("subject_id")
            batch.rows["scores"].append((record.offset, found.scores.set_column(place, "subject_id", subjects)))
        for record, rows in batch.opinions:
            matched, unmatched = self._waiting.split(rows, record.tenant, self._responses)
            batch.rows["feedback"].append((record.offset, matched))
            batch.rows["waiting_feedback"].append((record.offset, unmatched))
        # What waited belongs to no record of this batch: it goes with the last, so that no replay adds it again.
        batch.due = self._waiting.due(self._responses)
        batch.rows["feedback"].append((last, batch.due))

    def _commit(self, batch: _Batch) -> int:
        """Commit each table's part, where it does not hold it yet."""
        # What a restart reads again is no arrival.
        arrived = [(at, spans) for offset, at, spans in batch.arrived if offset >= self._applied["spans"]]
        added = 0
        for table in _TABLES:
            applied = self._applied[table]
            parts = [rows for offset, rows in batch.rows[table] if offset >= applied and len(rows)]
            rows = pa.concat_tables(parts) if parts else _SCHEMAS[table].empty_table()
            if len(rows):
                self.lake.append(table, rows, transaction=(f"wal-{table}", batch.end))
                if table == "spans":
                    added = len(rows)
                    self.counts.spans += len(rows)
                elif table == "feedback":
                    self.counts.feedback += len(rows)
                elif table == "scores":
                    self.counts.scores += len(rows)
                elif table == "metric_points":
                    self.counts.points += len(rows)
                elif table == "dead_letters":
                    self.counts.dead += len(rows)
            # A table without rows in this part need not be written: reading it again gives no rows again.
            self._applied[table] = max(applied, batch.end)
        self._waiting.forget()
        self.counts.waiting = len(self._waiting)
        self.counts.redactions += batch.redactions
        self._count_unmapped(batch.unmapped)
        for received_us, spans in arrived:
            self.arrivals.note(spans, received_us=received_us)
        return added

    def _count_unmapped(self, met: Counter[str]) -> None:
        """Add names of attributes; senders invent them, so only so many are told apart."""
        counts = self.counts.unmapped
        for name, n in met.items():
            short = name[:_LONGEST_NAME]
            counts[short if short in counts or len(counts) < _MOST_UNMAPPED else _OTHERS] += n


def _dead(record: Record, keep_text: bool, rejected: Sequence[tuple[int, str]]) -> pa.Table:
    """Rows of what could not be decoded; of a request that is unreadable as a whole the beginning is kept, redacted, base64."""
    # What stands beside a span that cannot be read is other people's text; a request that nothing can read may be looked at.
    whole = keep_text and all(place < 0 for place, _ in rejected)
    text = record.payload[:_SHOWN_BYTES].decode("utf-8", "replace") if whole else None
    redacted = redact_text(pa.array([text], pa.string()))[0][0].as_py()
    shown = None if redacted is None else base64.b64encode(redacted.encode()).decode()
    # Reasons quote what was seen.
    told = [reason if keep_text else _QUOTED.split(reason, maxsplit=1)[0] for _, reason in rejected]
    reasons = redact_text(pa.array(told, pa.string()))[0]
    rows: list[Mapping[str, Any]] = [
        {
            "offset": record.offset,
            "received_us": record.received_us,
            "tenant": record.tenant,
            "kind": _NAMES.get(record.kind, str(record.kind)),
            "place": place,
            "reason": reason,
            "payload": shown if number == 0 else None,
        }
        for number, ((place, _), reason) in enumerate(zip(rejected, reasons.to_pylist(), strict=True))
    ]
    return pa.Table.from_pylist(list(rows), schema=OWN_TABLES["dead_letters"])
