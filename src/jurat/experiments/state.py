"""What an experiment remembers between looks: per-cluster sums on disk, so that one more day reads one more day.

A folder of Parquet files: a base of every cluster's sums, and one small file per day since. A manifest names the files and
holds every day's totals; it is replaced as a whole after its files are on disk, so a kill at any point leaves the state of
yesterday. Files that no manifest names are swept away by the next update.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jurat.errors import DataError, IntegrityError, UsageError
from jurat.experiments.data import ExperimentData, quoted
from jurat.experiments.looks import (
    DayTotals,
    LookLayout,
    day_totals,
    increments_sql,
    one_pass,
    reference_values,
)
from jurat.experiments.moments import population_sql
from jurat.experiments.spec import Experiment
from jurat.store.durable import fsync_directory, fsync_file, locked, make_folder, write_atomically
from jurat.store.engine import DuckDB

__all__ = ["LookState", "update_state"]

_FORMAT = 1
_KEYS = {"spec", "identity", "reference", "files", "rows", "totals", "written"}
_MOST_DELTAS = 14
"""Day files before they are merged into the base: each is read again by every update."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LookState:
    """The state after the last day that was taken in.

    Attributes
    ----------
    reference
        Value per row that each sum is centred on.
    totals
        Every day's totals, in order.
    rows
        Rows of each day that were taken in, to notice late ones.
    """

    reference: Mapping[str, float]
    totals: tuple[DayTotals, ...]
    rows: Mapping[str, int]


def update_state(
    experiment: Experiment, data: ExperimentData, looks: LookLayout, folder: Path, *, until: str | None = None
) -> tuple[LookState, tuple[str, ...]]:
    """Take in the days that the state does not hold yet.

    Parameters
    ----------
    experiment, data, looks
        The spec, its rows, and the sums to keep.
    folder
        The state; made by the first update.
    until
        Last day to take in; all there are by default.

    Returns
    -------
    tuple
        The state, and the days that were new.

    Raises
    ------
    DataError
        Where rows have come for a day that was taken in before, or the state belongs to another spec.
    IntegrityError
        Where a file of the state is missing.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError("the state is a folder", seen=f"{folder} is a file", next_step="name a folder, or a new name")
    make_folder(folder)
    with locked(folder / ".lock", wait_seconds=30):
        manifest = _read(folder)
        if manifest is None:
            present = _rows_by_day(experiment, data)
            wanted = {day: n for day, n in present.items() if until is None or day <= until}
            return _first(experiment, data, looks, folder, wanted)
        _check(manifest, experiment, looks, folder)
        new = _new_days(experiment, data, manifest, until)
        for day, rows in new.items():
            manifest = _add_day(experiment, data, looks, folder, manifest, day, rows)
        return _state(manifest), tuple(new)


def _rows_by_day(experiment: Experiment, data: ExperimentData, after: str | None = None) -> dict[str, int]:
    time = quoted(str(experiment.document.data.time))
    later = None if after is None else f"{time} >= CAST('{after}' AS DATE) + 1"
    rows = population_sql(experiment, {"t__": f"CAST({time} AS DATE)"}, where=later)
    found = data.query(
        f"SELECT CAST(t__ AS VARCHAR) AS day, COUNT(*) AS n FROM ({rows}) AS r GROUP BY t__ ORDER BY t__"
    )
    if any(row["day"] is None for row in found):
        raise DataError(
            "some outcomes have no time",
            seen=f"{found[-1]['n']:,} rows",
            next_step="a look needs the day of every outcome",
        )
    return {row["day"]: int(row["n"]) for row in found}


def _new_days(
    experiment: Experiment, data: ExperimentData, manifest: Mapping[str, Any], until: str | None
) -> dict[str, int]:
    """Rows of the days after the last one; a count of those before tells whether any came late."""
    last = max(manifest["rows"])
    time = quoted(str(experiment.document.data.time))
    rows = population_sql(experiment, {"t__": time})
    sql = (
        f"SELECT COUNT(*) FILTER (WHERE t__ < CAST('{last}' AS DATE) + 1) AS old, COUNT(*) - COUNT(t__) AS timeless "
        f"FROM ({rows}) AS r"
    )
    row = data.query(sql)[0]
    if row["timeless"]:
        raise DataError(
            "some outcomes have no time",
            seen=f"{row['timeless']:,} rows",
            next_step="a look needs the day of every outcome",
        )
    if int(row["old"]) != sum(manifest["rows"].values()):
        present = _rows_by_day(experiment, data)
        days = sorted({*present, *manifest["rows"]})
        changed = next(d for d in days if d <= last and present.get(d, 0) != manifest["rows"].get(d, 0))
        raise DataError(
            f"the rows of {changed} have changed since it was taken in",
            seen=f"{present.get(changed, 0):,} rows now, {manifest['rows'].get(changed, 0):,} then",
            next_step="remove the state and build it anew: its earlier looks did not see these rows",
        )
    return {day: n for day, n in _rows_by_day(experiment, data, last).items() if until is None or day <= until}


def _identity(experiment: Experiment, looks: LookLayout) -> str:
    sums = {name: asdict(aggregate) for name, aggregate in looks.layout.sums.items()}
    parts = [experiment.sha256, looks.layout.row_expressions, sums, [list(p) for p in looks.pairs]]
    return json.dumps(parts, sort_keys=True)


def _read(folder: Path) -> dict[str, Any] | None:
    path = folder / "manifest.json"
    if not path.is_file():
        return None
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        whole = isinstance(manifest, dict) and (manifest.get("format") != _FORMAT or manifest.keys() >= _KEYS)
    except ValueError:
        whole = False
    if not whole:
        raise IntegrityError(
            "the state's manifest cannot be read", seen=str(path), next_step="remove the folder and build it anew"
        )
    return dict(manifest)


def _check(manifest: Mapping[str, Any], experiment: Experiment, looks: LookLayout, folder: Path) -> None:
    if manifest.get("format") != _FORMAT or manifest["identity"] != _identity(experiment, looks):
        raise DataError(
            "the state belongs to another version of the spec",
            seen=f"{folder}, spec {manifest.get('spec', '?')[:12]}…; this one is {experiment.sha256[:12]}…",
            next_step="give another folder: the looks of an edited spec are new looks",
        )
    for name in manifest["files"]:
        if not (folder / name).is_file():
            raise IntegrityError(
                "a file of the state is missing",
                seen=str(folder / name),
                next_step="remove the folder and build it anew",
            )


def _first(
    experiment: Experiment, data: ExperimentData, looks: LookLayout, folder: Path, rows: Mapping[str, int]
) -> tuple[LookState, tuple[str, ...]]:
    """Build the state of all days in one pass."""
    if not rows:
        raise DataError("there are no outcomes to look at", seen="0 rows", next_step="bring them")
    reference = reference_values(experiment, data, looks, min(rows))
    last = max(rows)
    where = f"CAST({quoted(str(experiment.document.data.time))} AS DATE) <= CAST('{last}' AS DATE)"
    totals = [t for t in one_pass(experiment, data, looks, reference) if t.day in rows]
    days = increments_sql(experiment, looks, reference, where=where)
    sums = ", ".join(f"SUM({v}) AS {v}" for v in looks.names)
    base = data.engine.query(f"SELECT arm__, k0__, {sums} FROM ({days}) AS d GROUP BY arm__, k0__ ORDER BY arm__, k0__")
    name = _write(folder, base, "base-0")
    manifest = {
        "format": _FORMAT,
        "spec": experiment.sha256,
        "identity": _identity(experiment, looks),
        "reference": dict(reference),
        "files": [name],
        "rows": dict(rows),
        "totals": [asdict(t) for t in totals],
        "written": 1,
    }
    _commit(folder, manifest)
    return _state(manifest), tuple(rows)


def _add_day(
    experiment: Experiment,
    data: ExperimentData,
    looks: LookLayout,
    folder: Path,
    manifest: Mapping[str, Any],
    day: str,
    rows: int,
) -> dict[str, Any]:
    """Take in one day: its own sums, met with what its clusters had before."""
    column = quoted(str(experiment.document.data.time))
    # A range over the bare column lets files and row groups be skipped.
    where = f"{column} >= CAST('{day}' AS DATE) AND {column} < CAST('{day}' AS DATE) + 1"
    today = data.engine.query(increments_sql(experiment, looks, manifest["reference"], where=where))
    written = int(manifest["written"])
    name = _write(folder, today, f"day-{written}")
    files = [folder / f for f in manifest["files"]]
    engine = DuckDB.from_files({"state": files, "today": [folder / name]})
    try:
        totals = _met(engine, looks)
        kept = [*manifest["files"], name]
        if len(kept) > _MOST_DELTAS:
            kept = [_merged(folder, [*files, folder / name], looks, written)]
    finally:
        engine.close()
    changed = {
        **manifest,
        "files": kept,
        "rows": {**manifest["rows"], day: rows},
        "totals": [*manifest["totals"], *(asdict(t) for t in totals)],
        "written": written + 1,
    }
    _commit(folder, changed)
    return changed


def _met(engine: DuckDB, looks: LookLayout) -> list[DayTotals]:
    """Totals of a day whose clusters have sums from before.

    The products Ab + aB are linear in the earlier sums, so each earlier row of a cluster adds its part by itself: nothing
    has to be summed per cluster first.
    """
    own = [f"SUM({v}) AS s{i}" for i, v in enumerate(looks.names)]
    own += [f"SUM({a} * {b}) AS p{i}" for i, (a, b) in enumerate(looks.pairs)]
    today = engine.query(
        f"SELECT s__, arm__, COUNT(*) AS new__, {', '.join(own)} FROM today GROUP BY s__, arm__"
    ).to_pylist()
    crossed = [
        f"SUM(2 * t.{a} * b.{a}) AS p{i}" if a == b else f"SUM(t.{a} * b.{b} + t.{b} * b.{a}) AS p{i}"
        for i, (a, b) in enumerate(looks.pairs)
    ]
    met = engine.query(
        f"SELECT t.arm__ AS arm__, {', '.join(crossed)} FROM state AS b INNER JOIN today AS t "
        "ON t.k0__ = b.k0__ AND t.arm__ = b.arm__ GROUP BY t.arm__"
    ).to_pylist()
    seen = engine.query(
        "SELECT t.arm__ AS arm__, COUNT(*) AS n FROM today AS t SEMI JOIN state AS b "
        "ON t.k0__ = b.k0__ AND t.arm__ = b.arm__ GROUP BY t.arm__"
    ).to_pylist()
    before = {row["arm__"]: row for row in met}
    old = {row["arm__"]: int(row["n"]) for row in seen}
    for row in today:
        row["new__"] -= old.get(row["arm__"], 0)
        for i in range(len(looks.pairs)):
            row[f"p{i}"] += before.get(row["arm__"], {}).get(f"p{i}", 0.0)
    return [day_totals(row, looks) for row in sorted(today, key=lambda r: str(r["arm__"]))]


def _merged(folder: Path, files: list[Path], looks: LookLayout, written: int) -> str:
    """Merge base and day files into a new base."""
    engine = DuckDB.from_files({"state": files})
    try:
        sums = ", ".join(f"SUM({v}) AS {v}" for v in looks.names)
        base = engine.query(f"SELECT arm__, k0__, {sums} FROM state GROUP BY arm__, k0__ ORDER BY arm__, k0__")
    finally:
        engine.close()
    return _write(folder, base, f"base-{written}")


def _write(folder: Path, table: pa.Table, stem: str) -> str:
    name = f"{stem}.parquet"
    pq.write_table(table, folder / name, compression="snappy")
    fsync_file(folder / name)
    fsync_directory(folder)
    return name


def _commit(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Name the files; only then may those that are named no more be swept."""
    write_atomically(folder / "manifest.json", json.dumps(manifest).encode())
    for path in folder.glob("*.parquet"):
        if path.name not in manifest["files"]:
            path.unlink()


def _state(manifest: Mapping[str, Any]) -> LookState:
    totals = tuple(
        DayTotals(
            day=t["day"], arm=t["arm"], clusters=t["clusters"], sums=tuple(t["sums"]), products=tuple(t["products"])
        )
        for t in manifest["totals"]
    )
    return LookState(reference=manifest["reference"], totals=totals, rows=manifest["rows"])
