"""The lake: append-only Delta tables in a directory, read by many, written by one at a time.

A commit is durable before it is visible: Parquet files are written and synced first, then the log entry that
names them, then the folders. A kill at any moment leaves the old version or the new; files that no log entry names
are invisible and go with the next vacuum. An append may carry a transaction (application, number): repeated, it
does nothing. The rows of a table have an order, that of their appends, and compaction keeps it.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction, RemoveAction

from jurat.errors import DataError, EngineError, IntegrityError, UnknownName, UsageError
from jurat.store.content import ContentDigest
from jurat.store.durable import fsync_directory, fsync_file, make_folder, write_atomically
from jurat.store.parquet_files import FILE_BYTES, file_name, write_files
from jurat.store.schema import TABLES, conform
from jurat.store.snapshot import DataFile, Snapshot, TableVersion, sha256_of

__all__ = ["Commit", "Lake"]

CHECKPOINT_EVERY = 50
SMALL_FILE_BYTES = FILE_BYTES // 3
"""Compaction leaves files of at least this size alone."""

_HOOKS = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)
_OWN = "jurat"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_IDENTIFIER = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """A commit of a table: its version, UTC time (ISO 8601), and what was kept with it.

    The metadata of an append hold its ``rows`` and their ``content_digest`` beside what the caller gave.
    """

    version: int
    committed: str
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Live:
    """A file that a version names: path relative to the lake's root, size in bytes, rows."""

    path: str
    size: int
    rows: int


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
        self._synced: dict[str, str] = {}

    # Reading ----------------------------------------------------------------------------------------------------

    def tables(self) -> list[str]:
        """Names of the tables there are, sorted."""
        if not self.root.is_dir():
            return []
        return sorted(p.name for p in self.root.iterdir() if _has_log(p))

    def _open(self, table: str, version: int | None = None) -> DeltaTable:
        if table not in self.tables():
            raise UnknownName("table", table, self.tables(), place=f"lake {self.root}")
        try:
            return DeltaTable(str(self.root / table), version=version)
        except DeltaError as error:
            raise DataError(
                f"table {table} cannot be opened" + ("" if version is None else f" at version {version}"),
                seen=str(error),
                next_step="ask for a version that the table has"
                if version is not None
                else "restore its log",
            ) from error

    def version(self, table: str) -> int:
        """Newest version of a table."""
        return int(self._open(table).version())

    def _files(self, table: str, version: int | None) -> tuple[int, list[_Live]]:
        """Version and its files in the order of their rows."""
        delta = self._open(table, version)
        return int(delta.version()), _live(delta, table)

    def paths(self, table: str, version: int | None = None) -> list[str]:
        """Absolute paths of a version's Parquet files (newest by default), in the order of their rows."""
        return [str((self.root / file.path).absolute()) for file in self._files(table, version)[1]]

    def files(self, table: str, version: int | None = None) -> tuple[DataFile, ...]:
        """Files of a version with their SHA-256, in the order of their rows; reads every byte."""
        return self._hashed(self._files(table, version)[1])

    def _hashed(self, files: Iterable[_Live]) -> tuple[DataFile, ...]:
        return tuple(
            DataFile(path=file.path, size=file.size, sha256=sha256_of(self.root / file.path), rows=file.rows)
            for file in files
        )

    def describe(self, table: str) -> dict[str, str | int]:
        """Version, files, rows and bytes of a table."""
        version, files = self._files(table, None)
        return {
            "table": table,
            "version": version,
            "files": len(files),
            "rows": sum(file.rows for file in files),
            "bytes": sum(file.size for file in files),
        }

    def read(
        self, table: str, *, columns: Sequence[str] | None = None, version: int | None = None
    ) -> pa.Table:
        """Read a table (or some columns of it) at a version, newest by default, rows in their order.

        Raises
        ------
        UnknownName
            For a table or column that there is not.
        DataError
            For a version that there is not.
        """
        delta = self._open(table, version)
        schema = _schema(table, delta)
        for name in columns or ():
            if name not in schema.names:
                raise UnknownName("column", name, schema.names, place=f"table {table}")
        chosen = schema if columns is None else pa.schema([schema.field(name) for name in columns])
        parts = [part for file in _live(delta, table) for part in self._parts(file, chosen)]
        return pa.concat_tables(parts) if parts else chosen.empty_table()

    def _parts(self, file: _Live, schema: pa.Schema) -> Iterator[pa.Table]:
        """Row groups of a file, in bounded memory, after a check that it holds the rows that the log says."""
        with pq.ParquetFile(self.root / file.path) as stream:
            if stream.metadata.num_rows != file.rows:
                raise IntegrityError(
                    f"the lake file {file.path} does not hold what the log says",
                    seen=f"{stream.metadata.num_rows:,} rows instead of {file.rows:,}",
                    next_step="restore the file from a backup",
                )
            for group in range(stream.metadata.num_row_groups):
                yield stream.read_row_group(group, columns=schema.names).select(schema.names).cast(schema)

    def content_digest(self, table: str, version: int | None = None) -> str:
        """SHA-256 of the rows of a version, independent of the files they lie in; see `jurat.store.content`."""
        delta = self._open(table, version)
        digest = ContentDigest(schema := _schema(table, delta))
        for file in _live(delta, table):
            for part in self._parts(file, schema):
                digest.update(part)
        return digest.hexdigest()

    def commits(self, table: str) -> list[Commit]:
        """Every commit of a table, oldest first.

        Examples
        --------
        >>> import tempfile
        >>> lake = Lake(Path(tempfile.mkdtemp()))
        >>> version = lake.append("exposures", pa.table({"unit_id": ["u1"]}), metadata={"source": "votes.csv"})
        >>> lake.commits("exposures")[version].metadata["source"]
        'votes.csv'
        """
        return [
            Commit(
                version=int(entry["version"]),
                committed=dt.datetime.fromtimestamp(entry["timestamp"] / 1000, dt.UTC).isoformat(),
                metadata=dict(entry.get(_OWN, {})),
            )
            for entry in reversed(self._open(table).history())
        ]

    # Writing ----------------------------------------------------------------------------------------------------

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
            Where the table exists with another schema, or a type cannot be kept without loss.
        """
        if not _NAME.fullmatch(table):
            raise UsageError(
                "not a table name", seen=repr(table), next_step="use a-z, 0-9 and _, a letter first"
            )
        with self._locked("commit"):
            if not _has_log(self.root / table):
                _check_kept(table, schema)
                self._create(table, schema)
            delta = DeltaTable(str(self.root / table))
            held = _schema(table, delta)
            if not held.equals(schema):
                raise DataError(
                    f"table {table} has another schema",
                    seen=f"{schema.to_string()} instead of {held.to_string()}",
                    next_step="give the schema it has, or take another name",
                )
            return int(delta.version())

    def _create(self, table: str, schema: pa.Schema) -> None:
        make_folder(self.root / table)
        DeltaTable.create(str(self.root / table), schema=schema, mode="ignore")
        self._sync_log(table)

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
            (application, number): if this or a later number of the application is already in the table, nothing
            is appended. Numbers of an application only grow.

        Returns
        -------
        int
            Version that holds the rows, on disk when this returns.

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
        with self._locked("commit"):
            folder = self.root / table
            delta = DeltaTable(str(folder)) if table in self.tables() else None
            schema = self._schema_for_append(table, delta)
            if delta is not None and _is_applied(delta, transaction):
                # The writer of that commit may have been killed before it was synced.
                self._sync_log(table)
                return int(delta.version())
            make_folder(folder)
            digest = ContentDigest(schema)
            version = 1 if delta is None else int(delta.version()) + 1
            names = (file_name(version, place) for place in count())
            files = write_files(folder, _conformed(data, schema, table, digest), schema, names=names)
            try:
                kept = _metadata(metadata or {}, digest)
            except IntegrityError:
                _remove(folder, files)
                raise
            if delta is None:
                self._create(table, schema)
                delta = DeltaTable(str(folder))
            return self._commit(delta, table, files, kept, transaction)

    def _schema_for_append(self, table: str, delta: DeltaTable | None) -> pa.Schema:
        if delta is None and table not in TABLES:
            raise UnknownName("table", table, {*TABLES, *self.tables()}, place=f"lake {self.root}")
        return TABLES[table] if delta is None else _schema(table, delta)

    def _commit(
        self,
        delta: DeltaTable,
        table: str,
        actions: list[AddAction | RemoveAction],
        metadata: Mapping[str, str],
        transaction: tuple[str, int] | None = None,
    ) -> int:
        """Add a log entry for files that are on disk, durably; write a checkpoint now and then."""
        before = int(delta.version())
        properties = CommitProperties(
            custom_metadata={_OWN: dict(metadata)},
            app_transactions=[Transaction(*transaction)] if transaction is not None else None,
        )
        delta.create_write_transaction(
            actions,
            "append",
            _schema(table, delta),
            commit_properties=properties,
            post_commithook_properties=_HOOKS,
        )
        self._sync_log(table)
        delta.update_incremental()
        version = int(delta.version())
        if version // CHECKPOINT_EVERY > before // CHECKPOINT_EVERY:
            delta.create_checkpoint()
            self._sync_log(table)
        return version

    def _sync_log(self, table: str) -> None:
        """Force to disk the log entries that this object has not seen synced, and the names of all of them.

        Entries of a writer that was killed are among them: what builds on them must not outlive them.
        """
        log = self.root / table / "_delta_log"
        entries = sorted(entry.name for entry in log.iterdir() if entry.is_file())
        for name in entries:
            # A checkpoint's name is longer than its entry's, and the pointer's begins with "_": both sort after.
            if name >= self._synced.get(table, ""):
                fsync_file(log / name)
        for folder in (log, log.parent, self.root):
            fsync_directory(folder)
        self._synced[table] = max(name for name in entries if name.endswith(".json"))

    @contextmanager
    def _locked(self, name: str, *, shared: bool = False) -> Iterator[None]:
        """Hold one of the lake's locks, across threads and processes; a kill lets go of it.

        ``commit`` is held by whoever adds to a log. ``files`` is shared by those who read files that no snapshot
        pins yet, and held alone by vacuum. Who needs both takes ``commit`` first.
        """
        make_folder(self.root)
        with (self.root / f".{name}.lock").open("w") as stream:
            deadline = time.monotonic() + self.wait_seconds
            while True:
                try:
                    fcntl.flock(stream, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise EngineError(
                            "another writer holds the lake",
                            seen=f"{stream.name} locked for {self.wait_seconds:g} s",
                            next_step="wait for it to finish, or stop it",
                        ) from None
                    time.sleep(0.005)
            yield

    # Snapshots --------------------------------------------------------------------------------------------------

    def snapshot(self, tables: Sequence[str] | None = None, *, note: str = "") -> Snapshot:
        """Pin the newest version of some tables (all by default), durably, all at one moment.

        A state that is pinned already keeps the snapshot it has, with its time and note.

        Raises
        ------
        UnknownName
            For a table that there is not.
        DataError
            Where the lake is empty.
        """
        if not (names := sorted(set(self.tables() if tables is None else tables))):
            raise DataError(
                "there is nothing to pin", seen=f"no table under {self.root}", next_step="import data first"
            )
        with self._locked("commit"):
            live = {name: self._files(name, None) for name in names}
            for name in names:
                self._sync_log(name)
            reading = self._locked("files", shared=True)
            reading.__enter__()
        try:
            pinned = {
                name: TableVersion(version=version, files=self._hashed(files))
                for name, (version, files) in live.items()
            }
            return self._pin(pinned, note)
        finally:
            reading.__exit__(None, None, None)

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

    # Housekeeping -----------------------------------------------------------------------------------------------

    def compact(self, table: str, *, sort_by: Sequence[str] = ()) -> int:
        """Rewrite neighbouring small files as one, in one commit; pinned versions stay readable.

        Parameters
        ----------
        table
            The table.
        sort_by
            Columns to sort the rows of each new file by. Without them the order of rows, and with it
            `content_digest`, stays what it was.

        Returns
        -------
        int
            Files before minus files after.
        """
        with self._locked("commit"):
            delta = self._open(table)
            schema = _schema(table, delta)
            for name in sort_by:
                if name not in schema.names:
                    raise UnknownName("column", name, schema.names, place=f"table {table}")
            actions: list[AddAction | RemoveAction] = []
            runs = _runs(_live(delta, table))
            for run in runs:
                actions += self._merged(table, run, schema, sort_by)
            if not runs:
                return 0
            self._commit(delta, table, actions, {"compacted": str(sum(map(len, runs)))})
            return sum(map(len, runs)) - len(runs)

    def _merged(
        self, table: str, run: Sequence[_Live], schema: pa.Schema, sort_by: Sequence[str]
    ) -> list[AddAction | RemoveAction]:
        """Write a run of files as one that stands in their place, and say so as actions."""
        parts = (part for file in run for part in self._parts(file, schema))
        if sort_by:
            parts = iter([pa.concat_tables(parts).sort_by([(name, "ascending") for name in sort_by])])
        first = re.fullmatch(r"part-(\d+)-(\d+)-.*", Path(run[0].path).name)
        name = file_name(int(first[1]), int(first[2])) if first else file_name(0, 0)
        written = write_files(self.root / table, parts, schema, names=iter([name]), data_change=False)
        now = int(time.time() * 1000)
        return written + [
            RemoveAction(
                Path(file.path).name,
                data_change=False,
                deletion_timestamp=now,
                size=file.size,
                partition_values={},
            )
            for file in run
        ]

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
        """
        if retain_hours < 0:
            raise UsageError(
                "a retention cannot be negative", seen=f"{retain_hours} h", next_step="give 0 or more"
            )
        with self._locked("commit"), self._locked("files"):
            delta = self._open(table)
            pinned = sorted({s.tables[table].version for s in self.snapshots() if table in s.tables})
            removed = delta.vacuum(
                retention_hours=retain_hours,
                dry_run=dry_run,
                enforce_retention_duration=False,
                full=True,
                keep_versions=[*pinned, int(delta.version())],
                post_commithook_properties=_HOOKS,
            )
            self._sync_log(table)
            return sorted(removed)


def _has_log(folder: Path) -> bool:
    log = folder / "_delta_log"
    return log.is_dir() and any(log.glob("*.json"))


def _schema(table: str, delta: DeltaTable) -> pa.Schema:
    """Schema of a table: the house's where it has one, so that names inside lists are ours."""
    return TABLES.get(table) or pa.schema(delta.schema().to_arrow())


def _check_kept(table: str, schema: pa.Schema) -> None:
    """Refuse a schema that would be read back as another."""
    try:
        kept = TABLES.get(table) or pa.schema(DeltaSchema.from_arrow(schema).to_arrow())
    except (DeltaError, TypeError, ValueError) as error:
        raise DataError(
            f"table {table} cannot have that schema", seen=str(error), next_step="use types that Delta knows"
        ) from error
    for wanted, field in zip(schema, kept, strict=False):
        if wanted != field:
            raise DataError(
                f"column {wanted.name} of table {table} would change its type",
                seen=f"{wanted.type}, kept as {field.type}",
                next_step=f"use {field.type}",
            )


def _live(delta: DeltaTable, table: str) -> list[_Live]:
    actions = pa.table(delta.get_add_actions(flatten=True))
    rows = zip(
        actions["path"].to_pylist(),
        actions["size_bytes"].to_pylist(),
        actions["num_records"].to_pylist(),
        strict=True,
    )
    return [_Live(f"{table}/{path}", int(size), int(n)) for path, size, n in sorted(rows)]


def _runs(files: Sequence[_Live]) -> list[list[_Live]]:
    """Runs of two or more neighbouring small files that fit into one."""
    runs: list[list[_Live]] = [[]]
    for file in files:
        if file.size >= SMALL_FILE_BYTES:
            runs.append([])
            continue
        if sum(f.size for f in runs[-1]) + file.size > FILE_BYTES:
            runs.append([])
        runs[-1].append(file)
    return [run for run in runs if len(run) > 1]


def _is_applied(delta: DeltaTable, transaction: tuple[str, int] | None) -> bool:
    done = None if transaction is None else delta.transaction_version(transaction[0])
    return transaction is not None and done is not None and done >= transaction[1]


def _conformed(
    data: pa.Table | pa.RecordBatchReader | Iterable[pa.RecordBatch],
    schema: pa.Schema,
    table: str,
    digest: ContentDigest,
) -> Iterator[pa.Table]:
    """Rows in the table's schema, counted and hashed on their way."""
    parts = [data] if isinstance(data, pa.Table) else (pa.Table.from_batches([batch]) for batch in data)
    for part in parts:
        rows = conform(part, schema, table=table, first_row=digest.rows)
        digest.update(rows)
        yield rows


def _metadata(given: Mapping[str, str], digest: ContentDigest) -> dict[str, str]:
    seen = digest.hexdigest()
    promised = given.get("content_digest", seen)
    if promised != seen:
        raise IntegrityError(
            "the rows do not have the content digest that was promised",
            seen=f"{seen[:16]}… instead of {promised[:16]}…",
            next_step="find what changed them on the way",
        )
    return {**given, "content_digest": seen, "rows": str(digest.rows)}


def _remove(folder: Path, files: Iterable[AddAction]) -> None:
    for file in files:
        (folder / file.path).unlink(missing_ok=True)
