"""ClickHouse inside this process (chDB), over the same pinned files.

It answers the same SQL as DuckDB to within 1e-9, because the dialect layer rewrites what differs and these settings
undo the defaults that change answers without an error:

- ``join_use_nulls``: a missed LEFT JOIN gives NULL, not 0 or an empty string;
- ``aggregate_functions_null_for_empty``: a sum over nothing is NULL, not 0;
- ``prefer_column_name_to_alias``: in ``COALESCE(x, 0) AS x … WHERE x IS NULL`` the column is meant, not the alias;
- ``use_hive_partitioning``: a folder named ``x=1`` is no column;
- one thread and UTC, as everywhere.

chDB runs one server per process, in memory, and all its sessions share it; each engine therefore keeps its views in a
database of its own. It is not a ClickHouse server: replication, Kafka tables and distributed joins are not covered.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any, Self

import pyarrow as pa

from jurat.errors import EngineError, MissingExtra
from jurat.store.dialect import transpile
from jurat.store.engine import Scalar, pinned_files, scratch_folder, write_tables
from jurat.store.snapshot import Snapshot

__all__ = ["ClickHouse"]

_SETTINGS = {
    "aggregate_functions_null_for_empty": "1",
    "glob_expansion_max_elements": "1000000",
    "join_use_nulls": "1",
    "max_query_size": "100000000",
    "max_threads": "1",
    "output_format_arrow_string_as_string": "1",
    "prefer_column_name_to_alias": "1",
    "session_timezone": "'UTC'",
    "use_hive_partitioning": "0",
}
_GLOB = frozenset("{}*?,\\")


class ClickHouse:
    """ClickHouse (chDB) over the files of a snapshot.

    Parameters
    ----------
    snapshot
        The pinned versions.
    root
        Root of the lake.

    Raises
    ------
    MissingExtra
        Where chDB is not installed.
    EngineError
        Where a path has characters that ClickHouse reads as a pattern, or this process already runs chDB on a folder.

    Examples
    --------
    >>> engine = ClickHouse.from_tables({"votes": pa.table({"k": [1, 0, 1]})})
    >>> sql = "SELECT CAST(SUM(k) AS BIGINT) AS k FROM votes WHERE k >= $least"
    >>> engine.query(sql, parameters={"least": 1}).to_pylist()
    [{'k': 2}]
    >>> engine.close()
    """

    name = "clickhouse"

    def __init__(self, snapshot: Snapshot, root: Path) -> None:
        folder, self._remove_folder = scratch_folder(self)
        self._open(pinned_files(snapshot, root, folder))

    @classmethod
    def from_tables(cls, tables: Mapping[str, pa.Table]) -> Self:
        """Make an engine over Arrow tables in memory."""
        engine = cls.__new__(cls)
        folder, engine._remove_folder = scratch_folder(engine)
        engine._open(write_tables(tables, folder))
        return engine

    def _open(self, files: Mapping[str, list[str]]) -> None:
        self._session: Any = None
        patterns = {table: _pattern(paths) for table, paths in files.items()}
        self._session = _new_session()
        self._database = f"jurat_{uuid.uuid4().hex}"
        self._run(f"CREATE DATABASE {self._database}")
        self._run(f"USE {self._database}")
        for name, value in _SETTINGS.items():
            self._run(f"SET {name} = {value}")
        for table, pattern in patterns.items():
            self._run(f"CREATE VIEW `{table}` AS SELECT * FROM file('{pattern}', 'Parquet')")
        self._run("SET readonly = 2")

    @property
    def version(self) -> str:
        """Version of ClickHouse inside chDB."""
        return str(self._run("SELECT version() AS version")["version"][0].as_py())

    def query(self, sql: str, *, parameters: Mapping[str, Scalar] | None = None) -> pa.Table:
        """Run a SELECT.

        Parameters
        ----------
        sql
            In DuckDB's dialect; parameters as ``$name``.
        parameters
            Put into the tree as typed literals.

        Raises
        ------
        SpecError
            Where the SQL breaks a rule of `jurat.store.lint`.
        EngineError
            With the engine's own message.
        """
        return self._run(transpile(sql, "clickhouse", parameters=parameters))

    def _run(self, statement: str) -> pa.Table:
        if self._session is None:
            raise EngineError("the engine is closed", next_step="make a new one")
        try:
            return self._session.query(statement, "ArrowTable")
        except Exception as error:  # chDB raises its own error, RuntimeError or UnicodeDecodeError
            raise EngineError(
                "ClickHouse refused the query",
                seen=str(error).strip().partition("\n")[0][:500],
                next_step=f"mend the SQL; as sent: {statement[:500]}",
            ) from error

    def close(self) -> None:
        """Drop the engine's database and close its session; twice is harmless."""
        if self._session is None:
            return
        self._session.close()
        self._session = _new_session()  # the old one may only read
        self._run(f"DROP DATABASE IF EXISTS {self._database}")
        self._session.close()
        self._session = None
        self._remove_folder()


def _new_session() -> Any:
    try:
        from chdb.session import Session
    except ImportError as error:
        raise MissingExtra("chdb", "clickhouse") from error
    try:
        return Session()
    except Exception as error:
        raise EngineError(
            "this process already runs chDB on a folder",
            seen=str(error).strip().partition("\n")[0][:300],
            next_step="close that session first: chDB runs one server per process",
        ) from error


def _pattern(paths: list[str]) -> str:
    """One pattern that names exactly these files, which lie in one folder."""
    for path in paths:
        if _GLOB & set(path):
            raise EngineError(
                "ClickHouse would read this path as a pattern",
                seen=path,
                next_step=f"move the lake to a path without {' '.join(sorted(_GLOB))}",
            )
    folders = {str(PurePath(path).parent) for path in paths}
    names = [PurePath(path).name for path in paths]
    if len(folders) > 1:
        raise EngineError(
            "a table's files lie in several folders", seen=", ".join(sorted(folders)[:3]), next_step="compact it"
        )
    listed = names[0] if len(names) == 1 else "{" + ",".join(names) + "}"
    return f"{folders.pop()}/{listed}".replace("'", "\\'")
