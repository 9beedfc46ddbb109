"""Spark over the same pinned files: for batches that outgrow one machine.

It answers the same SQL as DuckDB to within 1e-9; its sums of DOUBLE depend on the order in which partitions arrive, so
a number from Spark is verified within that tolerance, not bit for bit. ANSI mode makes an overflow an error instead of
a wrong number.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from jurat.errors import EngineError, MissingExtra
from jurat.store.dialect import transpile
from jurat.store.engine import Scalar, pinned_files, scratch_folder, write_tables
from jurat.store.snapshot import Snapshot

__all__ = ["Spark"]

_CONFIGURATION = {
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.shuffle.partitions": "2",
    "spark.ui.enabled": "false",
}


class Spark:
    """Spark over the files of a snapshot.

    Parameters
    ----------
    snapshot
        The pinned versions.
    root
        Root of the lake.
    master
        Where Spark runs; a local session by default.

    Raises
    ------
    MissingExtra
        Where PySpark is not installed.
    EngineError
        Where no session starts, for want of Java for example.
    """

    name = "spark"

    def __init__(self, snapshot: Snapshot, root: Path, *, master: str = "local[2]") -> None:
        folder, self._remove_folder = scratch_folder(self)
        self._open(pinned_files(snapshot, root, folder), master)

    @classmethod
    def from_tables(cls, tables: Mapping[str, pa.Table], *, master: str = "local[2]") -> Self:
        """Make an engine over Arrow tables in memory."""
        engine = cls.__new__(cls)
        folder, engine._remove_folder = scratch_folder(engine)
        engine._open(write_tables(tables, folder), master)
        return engine

    def _open(self, files: Mapping[str, list[str]], master: str) -> None:
        self._session = _new_session(master)
        for table, paths in files.items():
            self._session.read.parquet(*paths).createOrReplaceTempView(table)
        self._views = tuple(files)

    @property
    def version(self) -> str:
        """Version of Spark."""
        return str(self._session.version)

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
        statement = transpile(sql, "spark", parameters=parameters)
        try:
            return self._session.sql(statement).toArrow()
        except Exception as error:  # the driver's errors share no base class with the executor's
            raise EngineError(
                "Spark refused the query",
                seen=str(error).strip().partition("\n")[0][:500],
                next_step=f"mend the SQL; as sent: {statement[:500]}",
            ) from error

    def close(self) -> None:
        """Drop the engine's views; the process keeps its one Spark driver."""
        for view in self._views:
            self._session.catalog.dropTempView(view)
        self._views = ()
        self._remove_folder()


def _new_session(master: str) -> Any:
    """A session of its own (views, settings) on the driver of this process."""
    try:
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise MissingExtra("pyspark", "spark") from error
    builder = SparkSession.builder.master(master).appName("jurat")
    for key, value in _CONFIGURATION.items():
        builder = builder.config(key, value)
    try:
        session = builder.getOrCreate().newSession()
    except Exception as error:
        raise EngineError(
            "no Spark session starts",
            seen=str(error).strip().partition("\n")[0][:300],
            next_step="install Java 17 or newer and set JAVA_HOME",
        ) from error
    for key, value in _CONFIGURATION.items():
        if key.startswith("spark.sql."):
            session.conf.set(key, value)
    return session
