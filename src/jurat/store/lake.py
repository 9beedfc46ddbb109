"""The lake: append-only Delta tables in a directory, read by many, written by one at a time.

A commit is durable before it is visible: Parquet files are written and synced first, then the log entry that
names them, then the folders. A kill at any moment leaves the old version or the new; files that no log entry
names are invisible and go with the next vacuum. An append may carry a transaction (application, number):
repeated, it does nothing. The rows of a table have an order, that of their appends, and compaction keeps it.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from itertools import count
from pathlib import Path

import pyarrow as pa
import pyarrow.types as kinds

from jurat.errors import DataError, IntegrityError, UnknownName, UsageError
from jurat.store.compaction import Filler, compact
from jurat.store.content import ContentDigest
from jurat.store.durable import fsync_directory, locked, make_folder, write_atomically
from jurat.store.parquet_files import file_name, write_files
from jurat.store.schema import TABLES, conform
from jurat.store.snapshot import DataFile, Snapshot, TableVersion, sha256_of
from jurat.store.table_log import Commit, TableLog, Version

__all__ = ["Lake"]

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_IDENTIFIER = re.compile(r"[0-9a-f]{64}")


class Lake:
    """Tables under one root.

    Parameters
    ----------
    root
        Folder of the lake; made on the first append.
    wait_seconds
        How long to wait for another writer.

    Examples
    --------
    >>> import tempfile
    >>> lake = Lake(Path(tempfile.mkdtemp()))
    >>> lake.append("exposures", pa.table({"unit_id": ["u1", "u2"], "arm": ["a", "b"]}))
    1
    >>> lake.read("exposures").num_rows, lake.snapshot().tables["exposures"].rows
    (2, 2)
    """

    def __init__(self, root: Path, *, wait_seconds: float = 60.0) -> None:
        self.root = Path(root)
        self.wait_seconds = wait_seconds
        self._logs: dict[str, TableLog] = {}

    # Reading --------------------------------------------------------------------------------------------------

    def tables(self) -> list[str]:
        """Names of the tables there are, sorted."""
        if not self.root.is_dir():
            return []
        return sorted(p.name for p in self.root.iterdir() if TableLog(p).exists())

    def _log(self, table: str, *, new: bool = False) -> TableLog:
        """Log of a table, which must exist unless a new one may be made."""
        log = self._logs.get(table) or TableLog(self.root / table)
        if not (new or (_NAME.fullmatch(table) and log.exists())):
            raise UnknownName("table", table, self.tables(), place=f"lake {self.root}")
        return self._logs.setdefault(table, log)

    def version(self, table: str) -> int:
        """Newest version of a table."""
        return self._log(table).version().number

    def paths(self, table: str, version: int | None = None) -> list[str]:
        """Absolute paths of a version's Parquet files (newest by default), in the order of their rows."""
        log = self._log(table)
        return [str((log.folder / file.name).absolute()) for file in log.version(version).files]

    def files(self, table: str, version: int | None = None) -> tuple[DataFile, ...]:
        """Files of a version with their SHA-256, in the order of their rows; reads every byte."""
        log = self._log(table)
        return _hashed(log, log.version(version))

    def describe(self, table: str) -> dict[str, str | int]:
        """Version, files, rows and bytes of a table."""
        version = self._log(table).version()
        return {
            "table": table,
            "version": version.number,
            "files": len(version.files),
            "rows": sum(file.rows for file in version.files),
            "bytes": sum(file.size for file in version.files),
        }

    def read(self, table: str, *, columns: Sequence[str] | None = None, version: int | None = None) -> pa.Table:
        """Read a table (or some columns of it) at a version, newest by default, rows in their order.

        Raises
        ------
        UnknownName
            For a table or column that there is not.
        DataError
            For a version that there is not.
        IntegrityError
            Where a file is not what the log says.
        """
        log = self._log(table)
        at = log.version(version)
        for name in columns or ():
            if name not in at.schema.names:
                raise UnknownName("column", name, at.schema.names, place=f"table {table}")
        schema = at.schema if columns is None else pa.schema([at.schema.field(name) for name in columns])
        return pa.concat_tables([schema.empty_table(), *_rows(log, at, schema)])

    def content_digest(self, table: str, version: int | None = None) -> str:
        """Digest of the rows of a version, whatever files they lie in; see `jurat.store.content`."""
        log = self._log(table)
        at = log.version(version)
        digest = ContentDigest(at.schema)
        for part in _rows(log, at, at.schema):
            digest.update(part)
        return digest.hexdigest()

    def commits(self, table: str) -> list[Commit]:
        """Every commit of a table, oldest first.

        Examples
        --------
        >>> import tempfile
        >>> lake = Lake(Path(tempfile.mkdtemp()))
        >>> rows = pa.table({"unit_id": ["u1"]})
        >>> version = lake.append("exposures", rows, metadata={"source": "votes.csv"})
        >>> lake.commits("exposures")[version].metadata["source"]
        'votes.csv'
        """
        return self._log(table).commits()

    def transaction(self, table: str, application: str) -> int | None:
        """Newest number of an application that a table holds; ``None`` where it holds none.

        Examples
        --------
        >>> import tempfile
        >>> lake = Lake(Path(tempfile.mkdtemp()))
        >>> version = lake.append("exposures", pa.table({"unit_id": ["u1"]}), transaction=("log", 7))
        >>> lake.transaction("exposures", "log"), lake.transaction("exposures", "other")
        (7, None)
        """
        return self._log(table).transaction(application)

    # Writing --------------------------------------------------------------------------------------------------

    def create(self, table: str, schema: pa.Schema) -> int:
        """Make an empty table; a table that is there with the same schema is left as it is.

        Parameters
        ----------
        table
            Its name: small letters, digits and underscores. The house's tables have the house's schemas.
        schema
            Its columns.

        Returns
        -------
        int
            Its newest version.

        Raises
        ------
        UsageError
            For a name that cannot be used.
        DataError
            Where the table exists with another schema, or a type is none that every engine reads alike.
        """
        if not _NAME.fullmatch(table):
            raise UsageError("not a table name", seen=repr(table), next_step="use a-z, 0-9 and _, a letter first")
        for field in schema:
            if not _is_portable(field.type):
                raise DataError(
                    f"column {field.name} of table {table} has a type that a lake cannot hold",
                    seen=str(field.type),
                    next_step="use bool, int8 to int64, float, double, string, date32, timestamp[us], or a list of one",
                )
        with self._locked("commit"):
            log = self._log(table, new=True)
            held = log.version().schema if log.exists() else TABLES.get(table, schema)
            if not held.equals(schema):
                raise DataError(
                    f"table {table} has another schema",
                    seen="; ".join(f"{field.name} {field.type}" for field in schema if field not in held) or "order",
                    next_step="give the schema it has, or take another name",
                )
            if not log.exists():
                log.create(schema)
            return log.version().number

    def append(
        self,
        table: str,
        data: pa.Table | pa.RecordBatchReader | Iterable[pa.RecordBatch],
        *,
        metadata: Mapping[str, str] | None = None,
        transaction: tuple[str, int] | None = None,
    ) -> int:
        """Append rows in one commit.

        Parameters
        ----------
        table
            One of the house's tables, or one that was created.
        data
            A table, or record batches, which are streamed in bounded memory.
        metadata
            Kept with the commit. A ``content_digest`` among them is a promise about the rows, and is checked.
        transaction
            (application, number): if this or a later number of the application is already in the table,
            nothing is appended. Numbers of an application only grow.

        Returns
        -------
        int
            Version that holds the rows; they are on disk when this returns.

        Raises
        ------
        UnknownName
            For a table, or a column of it, that there is not.
        DataError
            Where rows do not fit the table's schema.
        IntegrityError
            Where the rows do not have the content digest that was promised.
        EngineError
            Where another writer holds the lake for too long. In every case nothing is appended.
        """
        if table not in TABLES:
            self._log(table)
        with self._locked("commit"):
            log = self._log(table, new=True)
            at = log.head() if log.exists() else Version(number=0, schema=TABLES[table], files=())
            if transaction is not None and log.exists() and log.is_applied(transaction):
                # The writer of that commit may have been killed before it was synced.
                log.sync()
                return at.number
            make_folder(log.folder)
            digest = ContentDigest(at.schema)
            promised = (metadata or {}).get("content_digest")
            written = write_files(
                log.folder,
                _conformed(data, at.schema, table, digest, promised),
                at.schema,
                names=(file_name(at.number + 1, place) for place in count()),
            )
            if not log.exists():
                log.create(at.schema)
            kept = {**(metadata or {}), "content_digest": digest.hexdigest(), "rows": str(digest.rows)}
            return log.commit(written, metadata=kept, transaction=transaction)

    def _locked(self, name: str, *, shared: bool = False) -> AbstractContextManager[None]:
        """Hold one of the lake's locks.

        ``commit`` is held by whoever adds to a log. ``files`` is shared by those who read files that no
        snapshot pins yet, and held alone by vacuum. Who needs both takes ``commit`` first.
        """
        make_folder(self.root)
        return locked(self.root / f".{name}.lock", wait_seconds=self.wait_seconds, shared=shared)

    # Snapshots ------------------------------------------------------------------------------------------------

    def snapshot(self, tables: Sequence[str] | None = None, *, note: str = "") -> Snapshot:
        """Pin the newest version of some tables (all by default), durably, all at one moment.

        A state that is pinned already keeps the snapshot it has, with its time and note. Writers wait only
        while versions are looked up, not while files are hashed.

        Raises
        ------
        UnknownName
            For a table that there is not.
        DataError
            Where the lake is empty.
        """
        names = sorted(set(self.tables() if tables is None else tables))
        if not names:
            raise DataError(
                "there is nothing to pin", seen=f"no table under {self.root}", next_step="import data first"
            )
        logs = [self._log(name) for name in names]
        with ExitStack() as reading:
            with self._locked("commit"):
                versions = [log.version() for log in logs]
                for log in logs:
                    log.sync()
                reading.enter_context(self._locked("files", shared=True))
            pinned = {
                log.table: TableVersion(version=at.number, files=_hashed(log, at))
                for log, at in zip(logs, versions, strict=True)
            }
            return self._pin(pinned, note)

    def _pin(self, tables: Mapping[str, TableVersion], note: str) -> Snapshot:
        taken = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        snapshot = Snapshot(tables=tables, created=taken, note=note)
        path = self.root / "_snapshots" / f"{snapshot.id}.json"
        if path.exists():
            return Snapshot.load(path)
        make_folder(path.parent)
        write_atomically(path, json.dumps(snapshot.to_json(), indent=1).encode() + b"\n")
        return snapshot

    def snapshots(self) -> list[Snapshot]:
        """Every snapshot that is pinned, oldest first."""
        folder = self.root / "_snapshots"
        found = [Snapshot.load(path) for path in folder.glob("*.json")] if folder.is_dir() else []
        return sorted(found, key=lambda s: (s.created, s.id))

    def open_snapshot(self, identifier: str) -> Snapshot:
        """Read a pinned snapshot by its id.

        Raises
        ------
        UnknownName
            Where there is none of that id.
        IntegrityError
            Where it was altered.
        """
        return Snapshot.load(self._pinned(identifier))

    def release_snapshot(self, identifier: str) -> None:
        """Forget a snapshot; what only it pinned goes with the next vacuum."""
        path = self._pinned(identifier)
        path.unlink()
        fsync_directory(path.parent)

    def _pinned(self, identifier: str) -> Path:
        path = self.root / "_snapshots" / f"{identifier}.json"
        if not _IDENTIFIER.fullmatch(identifier) or not path.is_file():
            raise UnknownName("snapshot", identifier, [s.id for s in self.snapshots()])
        return path

    # Housekeeping ---------------------------------------------------------------------------------------------

    def compact(self, table: str, *, sort_by: Sequence[str] = (), fill: Callable[[], Filler] | None = None) -> int:
        """Rewrite neighbouring small files as one, in one commit; pinned versions stay readable.

        Parameters
        ----------
        table
            The table.
        sort_by
            Columns to sort the rows of each new file by. Without them the order of rows, and with it
            `content_digest`, stays what it was.
        fill
            Makes, once nothing else can be committed, what fills columns of the rows that are rewritten. The digest of the
            content changes then; versions that snapshots pin do not.

        Returns
        -------
        int
            Files before minus files after.
        """
        with self._locked("commit"):
            return compact(self._log(table), sort_by=sort_by, fill=None if fill is None else fill())

    def vacuum(self, table: str, *, retain_hours: int = 168, dry_run: bool = True) -> list[str]:
        """Remove files that no version in use names; versions that snapshots pin are in use for ever.

        Parameters
        ----------
        table
            The table.
        retain_hours
            Age below which nothing is removed: readers without a snapshot have that long.
        dry_run
            Only say what would be removed.

        Returns
        -------
        list of str
            Files, relative to the table.

        Raises
        ------
        IntegrityError
            Where a snapshot cannot be read: what it pins is then unknown, and nothing is removed.
        """
        if retain_hours < 0:
            raise UsageError("a retention cannot be negative", seen=f"{retain_hours} h", next_step="give 0 or more")
        with self._locked("commit"), self._locked("files"):
            log = self._log(table)
            pinned = [s.tables[table].version for s in self.snapshots() if table in s.tables]
            return log.vacuum(retain_hours=retain_hours, dry_run=dry_run, keep=pinned)


def _rows(log: TableLog, version: Version, schema: pa.Schema) -> Iterator[pa.Table]:
    for file in version.files:
        yield from log.rows_of(file, schema)


def _hashed(log: TableLog, version: Version) -> tuple[DataFile, ...]:
    return tuple(
        DataFile(
            path=f"{log.table}/{file.name}",
            size=file.size,
            sha256=sha256_of(log.folder / file.name),
            rows=file.rows,
        )
        for file in version.files
    )


def _is_portable(kind: pa.DataType) -> bool:
    """Whether Delta keeps a type as it is."""
    if kinds.is_list(kind):
        return _is_portable(kind.value_type)
    if kinds.is_timestamp(kind):
        return kind.unit == "us" and kind.tz in (None, "UTC")
    checks = (kinds.is_boolean, kinds.is_signed_integer, kinds.is_float32, kinds.is_float64, kinds.is_string)
    return kinds.is_date32(kind) or any(check(kind) for check in checks)


def _conformed(
    data: pa.Table | pa.RecordBatchReader | Iterable[pa.RecordBatch],
    schema: pa.Schema,
    table: str,
    digest: ContentDigest,
    promised: str | None,
) -> Iterator[pa.Table]:
    """Rows in the table's schema, hashed on their way; after the last a promise about them is checked."""
    parts = [data] if isinstance(data, pa.Table) else (pa.Table.from_batches([batch]) for batch in data)
    for part in parts:
        rows = conform(part, schema, table=table, first_row=digest.rows)
        digest.update(rows)
        yield rows
    if promised is not None and promised != digest.hexdigest():
        raise IntegrityError(
            "the rows do not have the content digest that was promised",
            seen=f"{digest.hexdigest()[:16]}… instead of {promised[:16]}…",
            next_step="find what changed them on the way",
        )
