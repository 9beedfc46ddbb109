"""The last hours of the lake in memory, for pages: what a commit adds is read, and nothing twice.

A page about now needs a day of minutes and the same hours a week ago, not the lake. Files of a version never change, so what
was read of one is kept under its name; a new version costs the files that are new. Rows are those of ``rollup_1m`` as they
are stored: whatever is computed from them is computed by the SQL that is shown.
"""

from __future__ import annotations

import datetime as dt
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jurat.errors import IntegrityError
from jurat.store.engine import DuckDB
from jurat.store.lake import Lake
from jurat.store.schema import TABLES
from jurat.telemetry.rollup import minute_rollup

__all__ = ["DAY", "WEEK", "Recent", "Span", "View", "iso_minute", "minute_of"]

DAY, WEEK = 1_440, 10_080
"""Minutes."""

_BEFORE, _WEEK_BEFORE, _WEEK_AFTER = 28 * 60, WEEK + 4 * 60, WEEK - 60
_SMALL_BYTES = 1 << 20
_MOST_VIEWS = 6
_MOST_PARTS = 64
_LOOK_SECONDS = 0.5
_TEXT = pa.dictionary(pa.int32(), pa.string())
_TURN_COLUMNS = (
    "ts_s", "endpoint", "tier", "release", "org_id", "model", "status", "error_type", "refused", "blocked",
    "tokens_in", "tokens_out", "cost_usd", "latency_ms", "ttft_ms",
)  # fmt: skip

Span = tuple[int, int]
"""Minutes since 1970, the second not included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Minutes of one version, to be asked.

    Attributes
    ----------
    engine
        Has ``rollup_1m`` (minutes around now and a week ago), ``turns`` (turns by minute, slice, model and error type) and
        ``feedback`` (thumbs).
    lock
        Held while it is asked.
    versions
        Version of each table of the lake that was read.
    newest
        Newest minute of the lake (since 1970); ``None`` where there is none.
    until
        First minute after what is shown.
    model
        Model to whose turns the rows of ``rollup_1m`` are held; ``"*"`` for all.
    """

    engine: DuckDB
    lock: threading.Lock
    versions: dict[str, int]
    newest: int | None
    until: int
    model: str

    def query(self, sql: str, *, parameters: Mapping[str, str]) -> pa.Table:
        """Ask it; one thread at a time."""
        with self.lock:
            return self.engine.query(sql, parameters=parameters)


@dataclass(slots=True)
class _File:
    """What is known of a file: its span, and its rows once they were needed."""

    span: Span
    size: int
    rows: dict[tuple[Span, ...], pa.Table]


class _Table:
    """One table of the lake, read file by file into rows by the minute."""

    def __init__(self, lake: Lake, table: str, column: str, read: Callable[[Path, Span | None], pa.Table]) -> None:
        self.lake, self.table, self.column, self.read = lake, table, column, read
        self.version = -1
        self.written = 0
        self.files: dict[str, _File] = {}
        self._whole: tuple[tuple[str, ...], tuple[Span, ...], pa.Table] | None = None

    def refresh(self) -> None:
        """Take in a new version: the spans of its new files."""
        log = self.lake.root / self.table / "_delta_log"
        written = log.stat().st_mtime_ns if log.is_dir() else 0
        if written == self.written or self.table not in self.lake.tables():
            return
        self.written = written
        number = self.lake.version(self.table)
        if number == self.version:
            return
        paths = [Path(path) for path in self.lake.paths(self.table, number)]
        held = self.files
        self.files = {str(path): held.get(str(path)) or _opened(path, self.column) for path in paths}
        self.version = number

    @property
    def newest(self) -> int | None:
        return max((file.span[1] for file in self.files.values()), default=None)

    def rows(self, spans: tuple[Span, ...]) -> pa.Table | None:
        """Rows of some spans, and perhaps more: the small files whole."""
        wanted = [
            name
            for name, file in self.files.items()
            if any(file.span[0] < until and file.span[1] > start for start, until in spans)
        ]
        for name in self.files.keys() - set(wanted):
            self.files[name].rows.clear()
        if not wanted:
            return None
        parts: list[pa.Table] = []
        rest = wanted
        if self._whole is not None and self._whole[1] == spans:
            known = self._whole[0]
            if tuple(wanted[: len(known)]) == known:
                parts, rest = [self._whole[2]], wanted[len(known) :]
        for name in rest:
            parts += self._of(name, spans)
        whole = pa.concat_tables(parts)
        if self._whole is None or len(parts) > _MOST_PARTS or self._whole[1] != spans or parts[0] is not self._whole[2]:
            whole = whole.unify_dictionaries().combine_chunks()
            self._whole = (tuple(wanted), spans, whole)
        return whole

    def _of(self, name: str, spans: tuple[Span, ...]) -> list[pa.Table]:
        file = self.files[name]
        small = file.size <= _SMALL_BYTES
        found = []
        for span in (None,) if small else spans:
            key = () if span is None else (span,)
            if key not in file.rows:
                if not small and len(file.rows) >= 4:
                    file.rows.pop(next(iter(file.rows)))
                file.rows[key] = _coded(self.read(Path(name), span))
            found.append(file.rows[key])
        return found


class Recent:
    """Views of a lake's last hours.

    Parameters
    ----------
    lake
        The lake.
    clock
        Seconds since 1970.

    Notes
    -----
    One object serves all threads; a view is made once for each version, moment and model.
    """

    def __init__(self, lake: Lake, *, clock: Callable[[], float] | None = None) -> None:
        self.lake = Lake(lake.root)  # handles of its own: those of the writer are the writer's
        self.clock = clock or (lambda: dt.datetime.now(dt.UTC).timestamp())
        self._lock = threading.Lock()
        self._looked = -math.inf
        self._minutes = _Table(self.lake, "rollup_1m", "minute", _read_minutes)
        self._turns = _Table(self.lake, "spans", "ts_s", _read_turns)
        self._feedback = _Table(self.lake, "feedback", "ts", _read_thumbs)
        self._of_model: OrderedDict[str, _Table] = OrderedDict()
        self._views: OrderedDict[tuple[int, int, int, int, str], View] = OrderedDict()

    def view(self, *, until: int | None = None, model: str = "*") -> View:
        """See the hours before a moment.

        Parameters
        ----------
        until
            First minute after them; after the newest turn by default.
        model
            Only turns of this model: rolled up from the turns themselves, because minutes do not tell models apart.

        Returns
        -------
        View
            Of the newest version.
        """
        with self._lock:
            now = time.monotonic()
            if now >= self._looked + _LOOK_SECONDS:
                self._minutes.refresh()
                self._turns.refresh()
                self._feedback.refresh()
                self._looked = time.monotonic()
            newest = self._minutes.newest
            # A clock that runs ahead must not take everybody's page into the future.
            ahead = int(self.clock()) // 60 + 2
            end = until if until is not None else min(newest, ahead) if newest is not None else ahead - 1
            key = (self._minutes.version, self._turns.version, self._feedback.version, end, model)
            if key in self._views:
                self._views.move_to_end(key)
                return self._views[key]
            view = self._made(end, model, newest)
            self._views[key] = view
            while len(self._views) > _MOST_VIEWS:
                # Whoever still asks it keeps it alive; it closes with its last reader.
                self._views.popitem(last=False)
            return view

    def _made(self, until: int, model: str, newest: int | None) -> View:
        spans = _spans(until)
        source = self._minutes if model == "*" else self._model_table(model)
        minutes, turns, thumbs = source.rows(spans), self._turns.rows(spans), self._feedback.rows(spans)
        tables = {
            "rollup_1m": TABLES["rollup_1m"].empty_table() if minutes is None else minutes,
            "turns": _TURNS.empty_table() if turns is None else turns,
            "feedback": TABLES["feedback"].empty_table() if thumbs is None else thumbs,
        }
        versions = {t.table: t.version for t in (self._minutes, self._turns, self._feedback) if t.version >= 0}
        return View(
            engine=DuckDB.from_tables(tables),
            lock=threading.Lock(),
            versions=versions,
            newest=newest,
            until=until,
            model=model,
        )

    def _model_table(self, model: str) -> _Table:
        table = self._of_model.get(model)
        if table is None:
            table = _Table(self.lake, "spans", "ts_s", lambda path, span: _read_model(path, span, model))
            self._of_model[model] = table
            while len(self._of_model) > 4:
                self._of_model.popitem(last=False)
        table.refresh()
        return table


def _spans(until: int) -> tuple[Span, ...]:
    """Minutes a page needs, begun at whole hours so that they change once an hour; none ends before its data do."""
    hour = until // 60 * 60
    return ((hour - _WEEK_BEFORE, hour - _WEEK_AFTER + 60), (hour - _BEFORE, hour + 120))


def _opened(path: Path, column: str) -> _File:
    """First and last minute of a file, by the statistics of its row groups."""
    metadata = pq.read_metadata(path)
    place = metadata.schema.names.index(column)
    low: list[int] = []
    high: list[int] = []
    for group in range(metadata.num_row_groups):
        statistics = metadata.row_group(group).column(place).statistics
        if statistics is None or not statistics.has_min_max:
            raise IntegrityError(
                "a file of the lake has no statistics of its times", seen=str(path), next_step="compact the table"
            )
        low.append(minute_of(statistics.min))
        high.append(minute_of(statistics.max))
    span = (min(low), max(high) + 1) if low else (0, 0)
    return _File(span=span, size=path.stat().st_size, rows={})


def minute_of(moment: dt.datetime | int | float) -> int:
    """Minute since 1970 of a time, or of seconds since 1970."""
    return int(moment.timestamp() if isinstance(moment, dt.datetime) else moment) // 60


def iso_minute(minute: int) -> str:
    """Write a minute as ISO 8601 in UTC.

    Examples
    --------
    >>> iso_minute(29_500_000)
    '2026-02-02T02:40:00+00:00'
    """
    return dt.datetime.fromtimestamp(minute * 60, dt.UTC).isoformat()


def _read_minutes(path: Path, span: Span | None) -> pa.Table:
    bounds = None
    if span is not None:
        start, until = (pa.scalar(m * 60_000_000, pa.timestamp("us", tz="UTC")) for m in span)
        bounds = (pc.field("minute") >= start) & (pc.field("minute") < until)
    return pq.read_table(path, filters=bounds, partitioning=None)


def _turns_of(path: Path, span: Span | None, columns: Sequence[str]) -> pa.Table:
    bounds = None
    if span is not None:
        bounds = (pc.field("ts_s") >= span[0] * 60) & (pc.field("ts_s") < span[1] * 60)
    return pq.read_table(path, columns=list(columns), filters=bounds, partitioning=None)


_TURNS = pa.schema(
    [
        ("minute", pa.timestamp("us", tz="UTC")),
        *((name, pa.string()) for name in ("endpoint", "tier", "release", "org_id", "model", "error_type")),
        ("n", pa.int64()),
    ]
)
"""Turns counted by minute, slice, model and type of error (null where the turn did not fail)."""


def _read_turns(path: Path, span: Span | None) -> pa.Table:
    names = ("endpoint", "tier", "release", "org_id", "model")
    rows = _turns_of(path, span, ("ts_s", *names, "status", "error_type"))
    failed = pc.fill_null(pc.equal(rows["status"], "error"), False)
    minute = pc.cast(pc.multiply(pc.divide(rows["ts_s"], 60), 60_000_000), _TURNS.field("minute").type)
    kind = pc.if_else(failed, pc.coalesce(rows["error_type"], pa.scalar("unknown")), pa.scalar(None, pa.string()))
    table = pa.table({"minute": minute, **{name: rows[name] for name in names}, "error_type": kind})
    grouped = table.group_by([*table.column_names], use_threads=False).aggregate([([], "count_all")])
    return grouped.rename_columns({"count_all": "n"}).select(_TURNS.names).cast(_TURNS)


def _read_thumbs(path: Path, span: Span | None) -> pa.Table:
    bounds = pc.field("kind") == "thumb"
    if span is not None:
        start, until = (pa.scalar(m * 60_000_000, pa.timestamp("us", tz="UTC")) for m in span)
        bounds = bounds & (pc.field("ts") >= start) & (pc.field("ts") < until)
    return pq.read_table(path, filters=bounds, partitioning=None)


def _read_model(path: Path, span: Span | None, model: str) -> pa.Table:
    rows = _turns_of(path, span, _TURN_COLUMNS)
    return minute_rollup(rows.filter(pc.equal(pc.fill_null(rows["model"], ""), model)))


def _coded(table: pa.Table) -> pa.Table:
    """Text as numbers of a dictionary: a tenth of the memory, and faster to group."""
    columns = [c.cast(_TEXT) if pa.types.is_string(c.type) else c for c in table.columns]
    return pa.table(dict(zip(table.column_names, columns, strict=True)))
