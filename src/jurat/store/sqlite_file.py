"""One SQLite file that is written by transactions, survives a kill, and brings its own schema up to date."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from jurat.errors import SpecError
from jurat.store.durable import fsync_directory, make_folder

__all__ = ["SqliteFile"]

_BUSY_SECONDS = 30.0


class SqliteFile:
    """A database in one file, for a class to build on.

    Parameters
    ----------
    path
        The file; made, readable by its owner only, where it is missing.
    name
        What it is called in messages: ``"control"``.
    migrations
        Scripts, one for each version of the schema, separated into statements by semicolons.
    version_table
        Table that remembers which of them were carried out; a name from code.

    Raises
    ------
    SpecError
        Where a newer version of this package wrote the file.
    """

    def __init__(self, path: Path, *, name: str, migrations: Sequence[str], version_table: str) -> None:
        self.path = Path(path)
        if not self.path.exists():
            make_folder(self.path.parent)
            self.path.touch(mode=0o600)
            fsync_directory(self.path.parent)
        self._migrate(name, migrations, version_table)

    @contextlib.contextmanager
    def _transaction(self, *, writing: bool = False) -> Iterator[sqlite3.Connection]:
        """One connection, one transaction; a writer waits for the other, and nothing is half done."""
        connection = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None)
        with contextlib.closing(connection):
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("BEGIN IMMEDIATE" if writing else "BEGIN")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def _migrate(self, name: str, migrations: Sequence[str], table: str) -> None:
        with self._transaction(writing=True) as connection:
            connection.execute(f"CREATE TABLE IF NOT EXISTS {table} (version INTEGER NOT NULL)")
            held = connection.execute(f"SELECT MAX(version) FROM {table}").fetchone()[0] or 0  # noqa: S608 - from code
            if held > len(migrations):
                raise SpecError(
                    f"the {name} database is newer than this package",
                    seen=f"schema {held} in {self.path}, this package knows {len(migrations)}",
                    next_step="upgrade jurat",
                )
            for version, script in enumerate(migrations[held:], start=held + 1):
                for statement in filter(str.strip, script.split(";")):
                    connection.execute(statement)
                connection.execute(f"INSERT INTO {table} (version) VALUES (?)", (version,))  # noqa: S608 - from code
