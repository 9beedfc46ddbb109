"""Query engines over pinned files: DuckDB here; ClickHouse and Spark beside it.

A query sees exactly the files of a snapshot, as views over explicit file lists; then the engine is locked: it can open
no other file, load no extension and reach no network. The session is in UTC and runs on one thread, because a
floating-point sum that depends on how threads interleave cannot be recomputed bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import duckdb
import pyarrow as pa

from jurat.errors import EngineError
from jurat.store.schema import schema_of
from jurat.store.snapshot import Snapshot

__all__ = ["DuckDB", "Engine", "Scalar"]

Scalar = str | int | float | bool | None


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

    Examples
    --------
    >>> engine = DuckDB.from_tables({"votes": pa.table({"k": [1, 0, 1]})})
    >>> engine.query("SELECT SUM(k)::BIGINT AS k FROM votes WHERE k >= $least", parameters={"least": 1}).to_pylist()
    [{'k': 2}]
    """

    name = "duckdb"

    def __init__(self, snapshot: Snapshot, root: Path) -> None:
        self._open()
        for table in sorted(snapshot.tables):
            paths = snapshot.paths(table, root)
            if not paths:
                self._connection.register(table, schema_of(table).empty_table())
                continue
            # File names are our own and bound into a view that cannot take parameters: quotes are doubled.
            listed = ", ".join("'" + path.replace("'", "''") + "'" for path in paths)
            self._connection.execute(f'CREATE VIEW "{table}" AS SELECT * FROM read_parquet([{listed}])')
        self._lock(paths=[p for t in snapshot.tables for p in snapshot.paths(t, root)])

    @classmethod
    def from_tables(cls, tables: Mapping[str, pa.Table]) -> DuckDB:
        """Make an engine over Arrow tables in memory."""
        engine = cls.__new__(cls)
        engine._open()
        for name, table in tables.items():
            engine._connection.register(name, table)
        engine._lock(paths=[])
        return engine

    def _open(self) -> None:
        self._connection = duckdb.connect(":memory:")
        self._connection.execute("SET TimeZone = 'UTC'")
        self._connection.execute("SET threads = 1")
        self._connection.execute("SET python_enable_replacements = false")

    def _lock(self, *, paths: list[str]) -> None:
        """Close every way out but the pinned files."""
        if paths:
            listed = ", ".join("'" + path.replace("'", "''") + "'" for path in paths)
            self._connection.execute(f"SET allowed_paths = [{listed}]")
        self._connection.execute("SET enable_external_access = false")
        self._connection.execute("SET lock_configuration = true")

    @property
    def version(self) -> str:
        """Version of DuckDB."""
        return duckdb.__version__

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
            With the engine's own message.
        """
        try:
            relation = self._connection.sql(sql, params=dict(parameters) if parameters else None)
            return relation.to_arrow_table()
        except duckdb.Error as error:
            raise EngineError(
                "DuckDB refused the query", seen=str(error).strip(), next_step="mend the SQL at that place"
            ) from error

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
