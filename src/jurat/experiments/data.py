"""The rows of an experiment, opened: files or lake tables behind one engine, every column checked by name.

Rows are read in place. What the analysis sees is the population: rows that the spec's ``where`` keeps, joined to the arm of
their unit where exposures come in a file of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jurat.errors import DataError, UnknownName
from jurat.evidence.canonical import file_sha256
from jurat.evidence.estimate import InputFile
from jurat.experiments.spec import Experiment, expression_columns
from jurat.store.engine import DuckDB, Engine
from jurat.store.lake import Lake

__all__ = ["ExperimentData", "open_data", "quoted"]

_SUFFIXES = (".parquet", ".csv", ".csv.gz", ".jsonl", ".jsonl.gz")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentData:
    """An experiment's rows.

    Attributes
    ----------
    engine
        Holds ``outcomes`` and, where the spec names them, ``exposures``, ``training`` and ``anchor``.
    columns
        Column names and types by table.
    inputs
        The files behind them, with digests.
    snapshot
        Digest of the lake snapshot; ``None`` for files.
    complete
        Columns of ``outcomes`` that are known to hold no null, from the files' own statistics.
    """

    engine: Engine
    columns: Mapping[str, Mapping[str, str]]
    inputs: tuple[InputFile, ...]
    snapshot: str | None
    complete: frozenset[str]

    def close(self) -> None:
        """Close the engine."""
        self.engine.close()

    def query(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        """Rows of a SELECT as dictionaries."""
        rows: list[dict[str, Any]] = self.engine.query(sql, parameters=parameters or None).to_pylist()
        return rows


def quoted(name: str) -> str:
    """Write a column's name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def open_data(experiment: Experiment, folder: Path | None = None, *, threads: int = 1) -> ExperimentData:
    """Open the rows a spec names, and check that every column it speaks of is there.

    Parameters
    ----------
    experiment
        The spec.
    folder
        Folder of the files, or root of the lake; the spec's own folder by default.
    threads
        Threads of the engine; with more than one, sums are not the same bits on every run.

    Raises
    ------
    DataError
        Where a file is missing or there are no rows.
    UnknownName
        Where a column is not there; near names are suggested.
    """
    root = folder if folder is not None else experiment.path.parent
    d = experiment.document.data
    named = {"outcomes": d.outcomes, "exposures": d.exposures, "training": d.training, "anchor": d.anchor}
    wanted = {name: text for name, text in named.items() if text is not None}
    if any(text.endswith(_SUFFIXES) for text in wanted.values()):
        paths = {name: _matching(root, text, name) for name, text in wanted.items()}
        engine: Engine = DuckDB.from_files(paths, threads=threads)
        files = sorted({p for group in paths.values() for p in group})
        inputs = tuple(InputFile(path=_relative(p, root), size=p.stat().st_size, sha256=file_sha256(p)) for p in files)
        snapshot, complete = None, _without_nulls(paths["outcomes"])
    else:
        engine, inputs, snapshot = _from_lake(root, wanted, threads)
        complete = frozenset()
    columns = {name: _schema(engine, name) for name in wanted}
    _check_columns(experiment, columns)
    return ExperimentData(engine=engine, columns=columns, inputs=inputs, snapshot=snapshot, complete=complete)


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def _matching(root: Path, pattern: str, name: str) -> list[Path]:
    paths = sorted(p for p in root.glob(pattern) if p.is_file()) if not Path(pattern).is_absolute() else [Path(pattern)]
    if not paths or not all(p.is_file() for p in paths):
        raise DataError(
            f"no file for the {name}",
            seen=f"{pattern} in {root}",
            next_step="mend the path in [data], or pass the folder with --data",
        )
    return paths


def _from_lake(root: Path, wanted: Mapping[str, str], threads: int) -> tuple[Engine, tuple[InputFile, ...], str]:
    lake = Lake(root)
    for name, table in wanted.items():
        if table not in lake.tables():
            raise UnknownName("table", table, lake.tables(), place=f"[data] {name}, lake {root}")
    snapshot = lake.snapshot(sorted(set(wanted.values())), note="experiment")
    inputs = tuple(
        InputFile(path=f.path, size=f.size, sha256=f.sha256)
        for _, version in sorted(snapshot.tables.items())
        for f in version.files
    )
    paths = {name: [Path(p) for p in snapshot.paths(table, root)] for name, table in wanted.items()}
    for name, found in paths.items():
        if not found:
            raise DataError(f"the table of the {name} is empty", seen=wanted[name], next_step="bring in its rows")
    return DuckDB.from_files(paths, threads=threads), inputs, snapshot.digest


def _without_nulls(paths: list[Path]) -> frozenset[str]:
    """Columns whose every Parquet row group says that it holds no null."""
    found: set[str] | None = None
    for path in paths:
        if path.suffix != ".parquet":
            return frozenset()
        metadata = pq.ParquetFile(path).metadata
        here: set[str] = set()
        for column in range(metadata.num_columns):
            groups = [metadata.row_group(g).column(column) for g in range(metadata.num_row_groups)]
            if all(g.statistics is not None and g.statistics.null_count == 0 for g in groups):
                here.add(metadata.schema.column(column).path)
        found = here if found is None else found & here
    return frozenset(found or ())


def _schema(engine: Engine, table: str) -> dict[str, str]:
    schema: pa.Schema = engine.query(f"SELECT * FROM {quoted(table)} LIMIT 0").schema
    return {field.name: str(field.type) for field in schema}


def _check_columns(experiment: Experiment, columns: Mapping[str, Mapping[str, str]]) -> None:
    """Every column the spec speaks of must be in its table."""
    document, place = experiment.document, experiment.path.name
    a, i, s = document.assignment, document.inference, document.simpson
    needed: list[tuple[str, str, str]] = [("outcomes", a.unit, "assignment.unit")]
    arms_in = "exposures" if document.data.exposures is not None else "outcomes"
    needed.append((arms_in, a.arm, "assignment.arm"))
    if document.data.exposures is not None:
        needed.append(("exposures", a.unit, "assignment.unit"))
        if document.data.time is not None:
            needed.append(("exposures", document.data.time, "data.time"))
    optional = [
        (experiment.cluster, "inference.cluster"), (i.crossed, "inference.crossed"), (document.data.time, "data.time"),
        (a.period, "assignment.period"), (a.group, "assignment.group"), (document.trade_off.adversarial, "trade_off.adversarial"),
    ]  # fmt: skip
    needed += [("outcomes", name, key) for name, key in optional if name is not None]
    needed += [("outcomes", name, "simpson.stratifiers") for name in s.stratifiers]
    needed += [("outcomes", name, "treatment.fingerprint") for name in document.treatment.fingerprint]
    if document.population.where is not None:
        used = expression_columns(document.population.where, place=place)
        needed += [("outcomes", name, "population.where") for name in sorted(used)]
    for metric, definition in document.metrics.items():
        for expression in (definition.value, definition.per, *definition.covariates):
            if expression is not None:
                used = expression_columns(expression, place=place)
                needed += [("outcomes", name, f"metrics.{metric}") for name in sorted(used)]
    for table, name, key in needed:
        if name not in columns[table]:
            raise UnknownName("column", name, columns[table], place=f"{place}, {key} ({table})")
