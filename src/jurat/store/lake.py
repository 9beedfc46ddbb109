"""The lake: append-only Delta tables in a directory, read by many, written by one at a time.

A commit is durable before it is visible: Parquet files are written and synced first, then the log entry that names them,
then the directories. A kill at any moment leaves the old version or the new; files that no log entry names are invisible
and go with the next vacuum. An append may carry a transaction (application, number): repeated, it does nothing.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction
from deltalake.transaction import AddAction

from jurat.errors import DataError, EngineError, UnknownName
from jurat.store.durable import fsync_directory, fsync_file, write_atomically
from jurat.store.schema import conform, schema_of
from jurat.store.snapshot import DataFile, Snapshot, TableVersion, sha256_of

__all__ = ["Lake"]

ROWS_PER_FILE = 2_000_000
ROW_GROUP = 122_880
CHECKPOINT_EVERY = 50
_WAIT_SECONDS = 60.0
_HOOKS = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)


class Lake:
    """Tables under one root.

    Parameters
    ----------
    root
        Folder of the lake; made on the first append.

    Examples
    --------
    >>> import tempfile
    >>> lake = Lake(Path(tempfile.mkdtemp()))
    >>> lake.append("exposures", pa.table({"unit_id": ["u1", "u2"], "arm": ["a", "b"]}))
    1
    >>> lake.read("exposures").num_rows, lake.snapshot().tables["exposures"].rows
    (2, 2)
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    # Reading ------------------------------------------------------------------------------------------------------

    def tables(self) -> list[str]:
        """Names of the tables there are, sorted."""
        if not self.root.is_dir():
            return []
        return sorted(p.name for p in self.root.iterdir() if (p / "_delta_log").is_dir() and _has_log(p))

    def _open(self, table: str, version: int | None = None) -> DeltaTable:
        if table not in self.tables():
            raise UnknownName("table", table, self.tables(), place=f"lake {self.root}")
        return DeltaTable(str(self.root / table), version=version)

    def version(self, table: str) -> int:
        """Newest version of a table."""
        return int(self._open(table).version())

    def _files(self, table: str, version: int | None) -> tuple[int, list[tuple[str, int, int]]]:
        """Version and (path relative to the root, size, rows) of its files, oldest commit first."""
        delta = self._open(table, version)
        actions = pa.table(delta.get_add_actions(flatten=True))
        rows = sorted(
            zip(
                actions["modification_time"].cast(pa.int64()).to_pylist(),
                actions["path"].to_pylist(),
                actions["size_bytes"].to_pylist(),
                actions["num_records"].to_pylist(),
                strict=True,
            )
        )
        return int(delta.version()), [(f"{table}/{path}", int(size), int(n)) for _, path, size, n in rows]

    def describe(self, table: str) -> dict[str, str | int]:
        """Version, files, rows and bytes of a table."""
        version, files = self._files(table, None)
        return {
            "table": table,
            "version": version,
            "files": len(files),
            "rows": sum(n for _, _, n in files),
            "bytes": sum(size for _, size, _ in files),
        }

    def read(self, table: str, *, columns: Sequence[str] | None = None, version: int | None = None) -> pa.Table:
        """Read a table (or some columns of it) at a version, newest by default, rows in the order of their commits."""
        _, files = self._files(table, version)
        schema = self._schema(table)
        parts = [pq.read_table(self.root / path, columns=columns, schema=schema) for path, _, _ in files]
        if parts:
            return pa.concat_tables(parts)
        return schema.empty_table().select(columns or schema.names)

    def _schema(self, table: str) -> pa.Schema:
        return schema_of(table)

    # Writing ------------------------------------------------------------------------------------------------------

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
            One of the house's tables.
        data
            A table, or record batches, which are streamed in bounded memory.
        metadata
            Kept with the commit.
        transaction
            (application, number): if this or a later number of the application is already in the table, nothing is
            appended.

        Returns
        -------
        int
            Version that holds the rows.

        Raises
        ------
        DataError
            Where rows do not fit the table's schema; nothing is appended then.
        EngineError
            Where another writer holds the lake for more than a minute.
        """
        schema = schema_of(table)
        with self._committing():
            folder = self.root / table
            delta = DeltaTable(str(folder)) if _has_log(folder) else None
            if transaction is not None and delta is not None:
                done = delta.transaction_version(transaction[0])
                if done is not None and done >= transaction[1]:
                    return int(delta.version())
            folder.mkdir(parents=True, exist_ok=True)
            files = list(_write_files(folder, _batches(data, schema, table), schema))
            fsync_directory(folder)
            if delta is None:
                DeltaTable.create(str(folder), schema=schema, mode="ignore")
                _sync_log(folder)
                fsync_directory(self.root)
                delta = DeltaTable(str(folder))
            properties = CommitProperties(
                custom_metadata={**(metadata or {})},
                app_transactions=[Transaction(*transaction)] if transaction is not None else None,
            )
            delta.create_write_transaction(
                files, "append", schema, commit_properties=properties, post_commithook_properties=_HOOKS
            )
            _sync_log(folder)
            delta.update_incremental()
            version = int(delta.version())
            if version and version % CHECKPOINT_EVERY == 0:
                delta.create_checkpoint()
                _sync_log(folder)
            return version

    @contextmanager
    def _committing(self) -> Iterator[None]:
        """Hold the lake's lock: one committer at a time, across processes."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / ".lock").open("w") as stream:
            deadline = time.monotonic() + _WAIT_SECONDS
            while True:
                try:
                    fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise EngineError(
                            "another writer holds the lake",
                            seen=f"{self.root} locked for {_WAIT_SECONDS:g} s",
                            next_step="wait for it to finish, or stop it",
                        ) from None
                    time.sleep(0.01)
            yield

    # Snapshots ----------------------------------------------------------------------------------------------------

    def snapshot(self, tables: Sequence[str] | None = None, *, note: str = "") -> Snapshot:
        """Pin the newest version of some tables (all by default), durably.

        Raises
        ------
        DataError
            Where the lake is empty.
        """
        names = list(tables) if tables is not None else self.tables()
        if not names:
            raise DataError(
                "there is nothing to pin", seen=f"no table under {self.root}", next_step="import data first"
            )
        with self._committing():
            pinned = {name: self._pin(name) for name in names}
            snapshot = Snapshot(
                tables=pinned, created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"), note=note
            )
            folder = self.root / "_snapshots"
            folder.mkdir(exist_ok=True)
            content = json.dumps(snapshot.to_json(), indent=1).encode()
            write_atomically(folder / f"{snapshot.id}.json", content + b"\n")
            fsync_directory(self.root)
        return snapshot

    def _pin(self, table: str) -> TableVersion:
        version, files = self._files(table, None)
        return TableVersion(
            version=version,
            files=tuple(
                DataFile(path=path, size=size, sha256=sha256_of(self.root / path), rows=rows)
                for path, size, rows in files
            ),
        )

    def snapshots(self) -> list[Snapshot]:
        """Every snapshot that is pinned, oldest first."""
        folder = self.root / "_snapshots"
        found = [Snapshot.load(path) for path in folder.glob("*.json")] if folder.is_dir() else []
        return sorted(found, key=lambda s: (s.created, s.id))

    def release_snapshot(self, identifier: str) -> None:
        """Forget a snapshot; what only it pinned goes with the next vacuum."""
        path = self.root / "_snapshots" / f"{identifier}.json"
        if not path.is_file():
            raise UnknownName("snapshot", identifier, [s.id for s in self.snapshots()])
        path.unlink()
        fsync_directory(path.parent)

    # Housekeeping -------------------------------------------------------------------------------------------------

    def compact(self, table: str) -> int:
        """Rewrite a table's files as few, in one commit; pinned versions stay readable.

        Returns
        -------
        int
            Files before minus files after.
        """
        with self._committing():
            before = len(self._files(table, None)[1])
            delta = self._open(table)
            delta.optimize.compact(post_commithook_properties=_HOOKS)
            folder = self.root / table
            for path, _, _ in self._files(table, None)[1]:
                fsync_file(self.root / path)
            fsync_directory(folder)
            _sync_log(folder)
            return before - len(self._files(table, None)[1])

    def vacuum(self, table: str, *, retain_hours: int = 168, dry_run: bool = True) -> list[str]:
        """Remove files that no version in use names; versions that snapshots pin are in use for ever.

        Parameters
        ----------
        table
            The table.
        retain_hours
            Age below which nothing is removed.
        dry_run
            Only say what would be removed.

        Returns
        -------
        list of str
            Files, relative to the table.
        """
        with self._committing():
            delta = self._open(table)
            pinned = sorted({s.tables[table].version for s in self.snapshots() if table in s.tables})
            return list(
                delta.vacuum(
                    retention_hours=retain_hours,
                    dry_run=dry_run,
                    enforce_retention_duration=False,
                    full=True,
                    keep_versions=[*pinned, int(delta.version())],
                    post_commithook_properties=_HOOKS,
                )
            )


def _has_log(folder: Path) -> bool:
    log = folder / "_delta_log"
    return log.is_dir() and any(log.glob("*.json"))


def _sync_log(folder: Path) -> None:
    """Force the newest log entries and the names of all of them to disk."""
    log = folder / "_delta_log"
    for entry in sorted(log.iterdir())[-3:]:
        fsync_file(entry)
    fsync_directory(log)
    fsync_directory(folder)


def _batches(
    data: pa.Table | pa.RecordBatchReader | Iterable[pa.RecordBatch], schema: pa.Schema, table: str
) -> Iterator[pa.Table]:
    if isinstance(data, pa.Table):
        yield conform(data, schema, table=table)
        return
    for batch in data:
        yield conform(pa.Table.from_batches([batch]), schema, table=table)


def _write_files(folder: Path, parts: Iterator[pa.Table], schema: pa.Schema) -> Iterator[AddAction]:
    """Write Parquet files of bounded size, each synced before it is named; yield what the log will say of them."""
    writer, rows, path = None, 0, folder
    try:
        for part in parts:
            for start in range(0, part.num_rows, ROWS_PER_FILE):
                piece = part.slice(start, ROWS_PER_FILE)
                if writer is not None and rows + piece.num_rows > ROWS_PER_FILE:
                    writer.close()
                    writer = None
                    yield _add_action(folder, path, rows)
                if writer is None:
                    path, rows = folder / f"part-{time.time_ns():020d}-{uuid.uuid4().hex[:12]}.parquet", 0
                    writer = pq.ParquetWriter(path, schema, compression="zstd", compression_level=3)
                writer.write_table(piece, row_group_size=ROW_GROUP)
                rows += piece.num_rows
        if writer is not None:
            writer.close()
            writer = None
            yield _add_action(folder, path, rows)
    finally:
        if writer is not None:
            writer.close()


def _add_action(folder: Path, path: Path, rows: int) -> AddAction:
    fsync_file(path)
    return AddAction(
        path=path.relative_to(folder).as_posix(),
        size=path.stat().st_size,
        partition_values={},
        # Milliseconds are too coarse to order files by; the file name, which begins with nanoseconds, breaks ties.
        modification_time=int(time.time() * 1000),
        data_change=True,
        stats=json.dumps({"numRecords": rows}),
    )
