"""The log of one Delta table: which files a version names, and how a new version comes to be, durably.

delta-rs writes and reads the log but syncs nothing; a power cut could take back a commit that was acknowledged.
Here every log entry is on disk before a commit returns, and so is every entry that it builds on.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction, RemoveAction

from jurat.errors import DataError, IntegrityError
from jurat.store.durable import fsync_directory, fsync_file, make_folder
from jurat.store.schema import TABLES

__all__ = ["CHECKPOINT_EVERY", "Commit", "LiveFile", "TableLog", "Version"]

CHECKPOINT_EVERY = 50

_HOOKS = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)
_OWN = "jurat"


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """A commit of a table: its version, UTC time (ISO 8601), and what was kept with it.

    The metadata of an append hold its ``rows`` and their ``content_digest`` beside what the caller gave.
    """

    version: int
    committed: str
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveFile:
    """A file that a version names: name in the table's folder, size in bytes, rows."""

    name: str
    size: int
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A version of a table: its number, schema, and files in the order of their rows."""

    number: int
    schema: pa.Schema
    files: tuple[LiveFile, ...]


class TableLog:
    """The log of one table. Whoever writes holds the lake's commit lock.

    Parameters
    ----------
    folder
        Folder of the table; its name is the table's.

    Examples
    --------
    >>> import tempfile
    >>> log = TableLog(Path(tempfile.mkdtemp()) / "exposures")
    >>> log.exists()
    False
    >>> log.create(TABLES["exposures"])
    >>> log.version().number, log.version().files
    (0, ())
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.table = folder.name
        self._synced = ""
        self._kept: DeltaTable | None = None

    def exists(self) -> bool:
        """Whether the table has a version; a folder without one is what a killed writer left."""
        log = self.folder / "_delta_log"
        return log.is_dir() and any(log.glob("*.json"))

    def _open(self, number: int | None = None) -> DeltaTable:
        try:
            return DeltaTable(str(self.folder), version=number)
        except (DeltaError, OverflowError) as error:
            raise DataError(
                f"table {self.table} cannot be opened" + ("" if number is None else f" at version {number}"),
                seen=str(error),
                next_step="restore its log" if number is None else "ask for a version that the table has",
            ) from error

    def _newest(self) -> DeltaTable:
        """Handle of whoever holds the commit lock, kept between commits: opening costs more with each file."""
        last = self._last_entry()
        if self._kept is None or self._kept.version() > last:
            self._kept = self._open()
        elif self._kept.version() < last:
            self._kept.update_incremental()
        return self._kept

    def _last_entry(self) -> int:
        """Number of the newest log entry."""
        return max(int(entry.stem) for entry in (self.folder / "_delta_log").glob("*.json") if entry.stem.isdigit())

    def head(self) -> Version:
        """Newest version without its files; for whoever holds the commit lock."""
        delta = self._newest()
        return Version(number=int(delta.version()), schema=self._schema(delta), files=())

    def version(self, number: int | None = None) -> Version:
        """Read a version, the newest by default.

        Raises
        ------
        DataError
            For a version that there is not.
        """
        return self._version(self._open(number))

    def _version(self, delta: DeltaTable) -> Version:
        actions = pa.table(delta.get_add_actions(flatten=True))
        columns = (actions[name].to_pylist() for name in ("path", "size_bytes", "num_records"))
        files = tuple(
            LiveFile(name=name, size=int(size), rows=int(rows))
            for name, size, rows in sorted(zip(*columns, strict=True))
        )
        return Version(number=int(delta.version()), schema=self._schema(delta), files=files)

    def _schema(self, delta: DeltaTable) -> pa.Schema:
        # Delta renames the element of a list: the house's own schema is preferred.
        return TABLES.get(self.table) or pa.schema(delta.schema().to_arrow())

    def rows_of(self, file: LiveFile, schema: pa.Schema) -> Iterator[pa.Table]:
        """Row groups of a file, some columns of it, one at a time.

        Raises
        ------
        IntegrityError
            Where the file is missing, is not Parquet, or does not hold as many rows as the log says.
        """
        try:
            stream = pq.ParquetFile(self.folder / file.name)
        except (OSError, pa.ArrowInvalid) as error:
            raise self._damaged(file, str(error)) from error
        with stream:
            if stream.metadata.num_rows != file.rows:
                raise self._damaged(file, f"{stream.metadata.num_rows:,} rows instead of {file.rows:,}")
            for group in range(stream.metadata.num_row_groups):
                part = stream.read_row_group(group, columns=schema.names)
                yield part.select(schema.names).cast(schema)

    def _damaged(self, file: LiveFile, seen: str) -> IntegrityError:
        return IntegrityError(
            f"the lake file {self.table}/{file.name} is not what the log says",
            seen=seen,
            next_step="restore the file from a backup",
        )

    def commits(self) -> list[Commit]:
        """Every commit, oldest first."""
        return [
            Commit(
                version=int(entry["version"]),
                committed=dt.datetime.fromtimestamp(entry["timestamp"] / 1000, dt.UTC).isoformat(),
                metadata=dict(entry.get(_OWN, {})),
            )
            for entry in reversed(self._open().history())
        ]

    def transaction(self, application: str) -> int | None:
        """Newest number of an application that the table holds; ``None`` where it holds none."""
        version: int | None = self._newest().transaction_version(application)
        return version

    def is_applied(self, transaction: tuple[str, int]) -> bool:
        """Whether the table holds this or a later number of the application; asked under the commit lock."""
        done = self._newest().transaction_version(transaction[0])
        return done is not None and done >= transaction[1]

    def create(self, schema: pa.Schema) -> None:
        """Make version 0, without rows."""
        make_folder(self.folder)
        DeltaTable.create(str(self.folder), schema=schema, mode="ignore")
        self.sync()

    def commit(
        self,
        actions: Sequence[AddAction | RemoveAction],
        *,
        metadata: Mapping[str, str],
        transaction: tuple[str, int] | None = None,
    ) -> int:
        """Make the next version of files that are on disk, durably, and a checkpoint now and then.

        Returns
        -------
        int
            The new version.
        """
        delta = self._newest()
        before = int(delta.version())
        delta.create_write_transaction(
            list(actions),
            "append",
            self._schema(delta),
            commit_properties=CommitProperties(
                custom_metadata={_OWN: dict(metadata)},
                app_transactions=[Transaction(*transaction)] if transaction is not None else None,
            ),
            post_commithook_properties=_HOOKS,
        )
        self.sync()
        version = self._last_entry()
        if version // CHECKPOINT_EVERY > before // CHECKPOINT_EVERY:
            self._newest().create_checkpoint()
            self.sync()
        return version

    def vacuum(self, *, retain_hours: int, dry_run: bool, keep: Sequence[int]) -> list[str]:
        """Remove files older than the retention that neither the newest version nor those to keep name."""
        delta = self._open()
        removed = delta.vacuum(
            retention_hours=retain_hours,
            dry_run=dry_run,
            enforce_retention_duration=False,
            full=True,
            keep_versions=sorted({*keep, int(delta.version())}),
            post_commithook_properties=_HOOKS,
        )
        self.sync()
        return sorted(removed)

    def sync(self) -> None:
        """Force to disk the log entries that this object has not seen there, and the names of all of them.

        Entries of a writer that was killed are among them: what builds on them must not outlive them.
        """
        log = self.folder / "_delta_log"
        entries = sorted(entry.name for entry in log.iterdir() if entry.is_file())
        for name in entries:
            # A checkpoint's name continues its entry's, the pointer's begins with "_": both sort after it.
            if name >= self._synced:
                fsync_file(log / name)
        for folder in (log, self.folder, self.folder.parent):
            fsync_directory(folder)
        self._synced = max(name for name in entries if name.endswith(".json"))
