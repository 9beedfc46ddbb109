"""Query engines over pinned files: DuckDB here; ClickHouse and Spark beside it.

A query sees exactly the files of a snapshot, as views over explicit file lists; then the engine is locked: it can open
no other file, load no extension, reach no network, and run nothing but a SELECT. The session is in UTC and runs on one
thread, because a floating-point sum that depends on how threads interleave cannot be recomputed bit for bit.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, Self

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from jurat.errors import DataError, EngineError
from jurat.store.schema import TABLES
from jurat.store.snapshot import Snapshot

__all__ = ["DuckDB", "Engine", "Scalar", "pinned_files", "scratch_folder", "write_tables"]

Scalar = str | int | float | bool | None

_CSV = "read_csv({}, header = true, sample_size = -1)"
_JSONL = "read_json({}, format = 'newline_delimited', sample_size = -1)"
_READERS = {
    ".parquet": "read_parquet({}, hive_partitioning = false, union_by_name = true)",
    ".csv": _CSV,
    ".csv.gz": _CSV,
    ".jsonl": _JSONL,
    ".jsonl.gz": _JSONL,
}


class Engine(Protocol):
    """What a metric needs of a query engine."""

    @property
    def name(self) -> str:
        """Name as it stands in receipts."""
        ...

    @property
    def version(self) -> str:
        """Version as it stands in receipts."""
        ...

    def query(self, sql: str, *, parameters: Mapping[str, Scalar] | None = None) -> pa.Table:
        """Run a SELECT in the authoring dialect (DuckDB's) and return its rows."""
        ...

    def close(self) -> None:
        """Release what the engine holds."""
        ...


class DuckDB:
    """DuckDB in memory over the files of a snapshot.

    Parameters
    ----------
    snapshot
        The pinned versions.
    root
        Root of the lake.
    threads
        Threads of a query. With 1, the default, sums of DOUBLE are the same bits on every run; with more they are
        not, and what comes out must not become evidence.

    Examples
    --------
    >>> engine = DuckDB.from_tables({"votes": pa.table({"k": [1, 0, 1]})})
    >>> engine.query("SELECT SUM(k)::BIGINT AS k FROM votes WHERE k >= $least", parameters={"least": 1}).to_pylist()
    [{'k': 2}]
    """

    name = "duckdb"

    def __init__(self, snapshot: Snapshot, root: Path, *, threads: int = 1) -> None:
        self._open(threads)
        files = {table: snapshot.paths(table, root) for table in sorted(snapshot.tables)}
        for table, paths in files.items():
            if not paths:
                # A table of somebody's own that is still empty has no file to tell its columns: there is nothing to see.
                if table in TABLES:
                    self._connection.register(table, TABLES[table].empty_table())
                continue
            # A view takes no parameters, so quotes are doubled. Folders named like x=1 must not become columns, and a
            # column that older files lack is NULL there.
            options = "hive_partitioning = false, union_by_name = true"
            self._connection.execute(
                f'CREATE VIEW "{table}" AS SELECT * FROM read_parquet({_listed(paths)}, {options})'
            )
        self._lock([path for paths in files.values() for path in paths])

    @classmethod
    def from_tables(cls, tables: Mapping[str, pa.Table], *, threads: int = 1) -> Self:
        """Make an engine over Arrow tables in memory."""
        engine = cls.__new__(cls)
        engine._open(threads)
        for name, table in tables.items():
            engine._connection.register(name, table)
        engine._lock([])
        return engine

    @classmethod
    def from_files(cls, files: Mapping[str, Sequence[Path]], *, threads: int = 1) -> Self:
        """Make an engine over somebody's Parquet, CSV or JSON-lines files, one view a name.

        Parameters
        ----------
        files
            Paths by name of the view; those of one name have one format, told by their suffix.
        threads
            As for the class.

        Raises
        ------
        DataError
            Where a suffix is none of the formats, or a name has files of two.
        EngineError
            Where a file cannot be read.
        """
        engine = cls.__new__(cls)
        engine._open(threads)
        for name, paths in files.items():
            listed = _listed([str(path.resolve()) for path in paths])
            try:
                engine._connection.execute(f'CREATE VIEW "{name}" AS SELECT * FROM {_reader(paths).format(listed)}')
            except duckdb.Error as error:
                raise EngineError(
                    f"the {name} cannot be read", seen=str(error).strip(), next_step="mend the file, or name another"
                ) from error
        engine._lock([str(path.resolve()) for paths in files.values() for path in paths])
        return engine

    def _open(self, threads: int) -> None:
        self._connection = duckdb.connect(":memory:")
        self._connection.execute("SET TimeZone = 'UTC'")
        self._connection.execute(f"SET threads = {int(threads)}")
        self._connection.execute("SET python_enable_replacements = false")
        # Casts pushed into a CSV file are tried on its text: 'true' is then no number, though the column is a truth value.
        known = self._connection.execute("SELECT 1 FROM duckdb_optimizers() WHERE name = 'type_pushdown'").fetchall()
        if known:
            self._connection.execute("SET disabled_optimizers = 'type_pushdown'")
        # DuckDB would draw its bar on stdout, in the middle of somebody's JSON.
        self._connection.execute("SET enable_progress_bar = false")

    def _lock(self, paths: list[str]) -> None:
        """Close every way out but the pinned files."""
        if paths:
            self._connection.execute(f"SET allowed_paths = {_listed(paths)}")
        self._connection.execute("SET enable_external_access = false")
        self._connection.execute("SET lock_configuration = true")

    @property
    def version(self) -> str:
        """Version of DuckDB."""
        return str(duckdb.__version__)

    def query(self, sql: str, *, parameters: Mapping[str, Scalar] | None = None) -> pa.Table:
        """Run a SELECT.

        Parameters
        ----------
        sql
            In DuckDB's dialect; parameters as ``$name``.
        parameters
            Bound by the engine, never pasted.

        Raises
        ------
        EngineError
            With the engine's own message and the line it names, or where the SQL is more or else than one SELECT:
            what may be read could be written too.
        """
        try:
            kinds = [statement.type for statement in self._connection.extract_statements(sql)]
            if kinds != [duckdb.StatementType.SELECT]:
                raise EngineError(
                    "an engine runs one SELECT",
                    seen=", ".join(kind.name for kind in kinds) or "nothing",
                    next_step="leave one SELECT (CTEs are fine)",
                )
            return self._connection.sql(sql, params=dict(parameters) if parameters else None).to_arrow_table()
        except duckdb.Error as error:
            raise EngineError(
                "DuckDB refused the query", seen=self._located(error, sql), next_step="mend the SQL at that place"
            ) from error

    def _located(self, error: duckdb.Error, sql: str) -> str:
        """Give the engine's message with the line, which only EXPLAIN tells where names cannot be resolved."""
        if isinstance(error, duckdb.BinderException | duckdb.CatalogException):
            try:
                self._connection.execute(f"EXPLAIN {sql}")
            except duckdb.Error as explained:
                return str(explained).strip()
        return str(error).strip()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _reader(paths: Sequence[Path]) -> str:
    """Table function that reads files of one format."""
    kinds = {next((k for k in _READERS if path.name.endswith(k)), path.suffix) for path in paths}
    if len(kinds) != 1 or not kinds <= _READERS.keys():
        raise DataError(
            "the files are not of one known format",
            seen=", ".join(sorted(kinds)) or "no files",
            next_step=f"give files that end in {', '.join(_READERS)}",
        )
    return _READERS[kinds.pop()]


def _listed(paths: list[str]) -> str:
    return "[" + ", ".join("'" + path.replace("'", "''") + "'" for path in paths) + "]"


def pinned_files(snapshot: Snapshot, root: Path, folder: Path) -> dict[str, list[str]]:
    """Files of every table of a snapshot; of a table without files, one empty file that has its columns.

    Parameters
    ----------
    snapshot, root
        The pinned versions, and the root of their lake.
    folder
        Where an empty file may be written.
    """
    files = {table: snapshot.paths(table, root) for table in sorted(snapshot.tables)}
    empty = {table: TABLES[table].empty_table() for table, paths in files.items() if not paths and table in TABLES}
    return {**{table: paths for table, paths in files.items() if paths}, **write_tables(empty, folder)}


def scratch_folder(owner: object) -> tuple[Path, Callable[[], object]]:
    """Make a folder for files that live as long as their owner, and what removes it sooner."""
    folder = Path(tempfile.mkdtemp(prefix="jurat-"))
    return folder, weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)


def write_tables(tables: Mapping[str, pa.Table], folder: Path) -> dict[str, list[str]]:
    """Write Arrow tables as one Parquet file each, for engines that read files only."""
    for name, table in tables.items():
        pq.write_table(table, folder / f"{name}.parquet")
    return {name: [str(folder / f"{name}.parquet")] for name in tables}
