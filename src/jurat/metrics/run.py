"""Run a metric on an engine: its SELECT, rolled up to the slices that are asked for.

Sufficient statistics add, so one definition at the finest cut serves every coarser one. Rows come back in the order of
their keys, so that a sum over them is the same each time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from jurat.errors import DataError, EngineError, UnknownName
from jurat.metrics.loader import Example, Metric
from jurat.store.engine import Engine

__all__ = ["Measurement", "example_tables", "rolled_up", "run", "run_example"]

_ARROW = {
    "string": pa.string(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "double": pa.float64(),
    "bool": pa.bool_(),
    "timestamp": pa.timestamp("us", tz="UTC"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What a metric returned.

    Attributes
    ----------
    metric
        Its definition.
    table
        One row per slice, cluster, pair or histogram value; the metric's statistics as columns.
    sql
        The statement that was run.
    engine, engine_version
        Where.
    parameters
        With what, defaults filled in.
    """

    metric: Metric
    table: pa.Table
    sql: str
    engine: str
    engine_version: str
    parameters: Mapping[str, Any]


def rolled_up(metric: Metric, slices: Sequence[str], where: Sequence[str] = ()) -> str:
    """SQL that sums a metric's statistics up to some slices.

    Parameters
    ----------
    metric
        The metric.
    slices
        Slice columns to keep.
    where
        Slice columns to filter by; values are bound as ``$where_COLUMN``.

    Raises
    ------
    UnknownName
        For a column the metric cannot be cut by.
    """
    for column in (*slices, *where):
        if column not in metric.slices:
            raise UnknownName("slice", column, metric.slices, place=metric.name)
    # Names were checked against the metric's own; nothing that a user typed is pasted.
    keys = ", ".join(f'm."{c}"' for c in dict.fromkeys((*slices, *metric.keys)))
    sums = ", ".join(_sum(metric, column) for column in metric.statistics)
    condition = " AND ".join(f'm."{c}" = $where_{c}' for c in where)
    return (
        f"SELECT {keys + ', ' if keys else ''}{sums} FROM (\n{metric.sql}\n) AS m"
        + (f" WHERE {condition}" if condition else "")
        + (f" GROUP BY {keys} ORDER BY {keys_in_order(keys)}" if keys else "")
    )


def keys_in_order(keys: str) -> str:
    """Sort keys with the place of NULLs said, as every engine must be told."""
    return ", ".join(f"{key} NULLS LAST" for key in keys.split(", "))


def _sum(metric: Metric, column: str) -> str:
    kind = "BIGINT" if column in ("n", "k") else "DOUBLE"
    return f'CAST(COALESCE(SUM(m."{column}"), 0) AS {kind}) AS "{column}"'


def run(
    metric: Metric,
    engine: Engine,
    *,
    slices: Sequence[str] = (),
    parameters: Mapping[str, Any] | None = None,
    where: Mapping[str, str] | None = None,
) -> Measurement:
    """Measure a metric.

    Parameters
    ----------
    metric
        The metric.
    engine
        Where its tables are.
    slices
        Columns to cut by.
    parameters
        Values that replace the defaults.
    where
        Slice column to value: only these rows.

    Raises
    ------
    UnknownName
        For a slice or parameter the metric does not have.
    EngineError
        Where the engine refuses the SQL.
    DataError
        Where the result breaks the promise of its kind (``k`` above ``n``, a NaN).

    Examples
    --------
    >>> from jurat.metrics.loader import catalog
    >>> from jurat.store.engine import DuckDB
    >>> metric = catalog()["refusal_rate"]
    >>> engine = DuckDB.from_tables(example_tables(metric, metric.examples[0]))
    >>> run(metric, engine, slices=("release",)).table.column_names
    ['release', 'cluster', 'n', 'k']
    """
    for name in parameters or {}:
        if name not in metric.parameters:
            raise UnknownName("parameter", name, metric.parameters, place=metric.name)
    values = {**metric.parameters, **(parameters or {})}
    filters = dict(where or {})
    sql = rolled_up(metric, slices, sorted(filters))
    used = _used(values, sql)
    bound = {**used, **{f"where_{column}": value for column, value in filters.items()}}
    table = engine.query(sql, parameters=bound)
    _check(metric, table)
    return Measurement(
        metric=metric, table=table, sql=sql, engine=engine.name, engine_version=engine.version, parameters=values
    )


def _used(values: Mapping[str, Any], sql: str) -> dict[str, Any]:
    """Parameters that a statement names; engines refuse the others."""
    return {name: value for name, value in values.items() if re.search(rf"\${name}\b", sql)}


def _check(metric: Metric, table: pa.Table) -> None:
    for name in metric.statistics:
        column = table[name]
        if column.null_count:
            raise DataError(f"{metric.name} returned no number in {name}", seen="NULL", next_step="COALESCE it in the metric file")
    if metric.kind == "proportion":
        n, k = table["n"].to_numpy(), table["k"].to_numpy()
        if (k > n).any() or (k < 0).any():
            raise DataError(
                f"{metric.name} counts more successes than units",
                seen=f"k = {int(k[k > n][0]) if (k > n).any() else int(k.min())}",
                next_step="mend the metric file: k must count a part of n",
            )


def example_tables(metric: Metric, example: Example) -> dict[str, pa.Table]:
    """Arrow tables of an example's input, typed as the metric says it needs them."""
    tables = {}
    for name, columns in metric.needs.items():
        rows = example.tables.get(name, [])
        for row in rows:
            for key in row:
                if key not in columns:
                    raise UnknownName("column", key, columns, place=f"{metric.name}, example {example.name!r}, {name}")
        tables[name] = pa.table(
            {c: pa.array([row.get(c) for row in rows], type=_ARROW[kind]) for c, kind in columns.items()}
        )
    return tables


def run_example(metric: Metric, example: Example, engine: Engine, *, tolerance: float = 1e-9) -> list[dict[str, Any]]:
    """Run a metric's example and compare it with what it promises.

    Parameters
    ----------
    metric, example
        The metric and one of its examples.
    engine
        An engine over `example_tables`.
    tolerance
        Relative difference accepted between floats.

    Returns
    -------
    list of dict
        The rows, in the order of their keys.

    Raises
    ------
    EngineError
        Where a row differs, with both.
    """
    sql = f"SELECT * FROM (\n{metric.sql}\n) AS m"
    values = {**metric.parameters, **example.parameters}
    used = _used(values, sql)
    rows = sorted(engine.query(sql, parameters=used).to_pylist(), key=lambda r: _key(metric, r))
    expected = sorted(({**dict.fromkeys(metric.slices), **row} for row in example.expect), key=lambda r: _key(metric, r))
    same = len(rows) == len(expected) and all(_same(a, b, tolerance) for a, b in zip(rows, expected, strict=True))
    if not same:
        raise EngineError(
            f"{metric.name} does not return what its example {example.name!r} promises on {engine.name}",
            seen=f"{rows}",
            next_step=f"expected {expected}",
        )
    return rows


def _key(metric: Metric, row: Mapping[str, Any]) -> tuple[tuple[bool, str], ...]:
    return tuple((row.get(c) is None, str(row.get(c))) for c in (*metric.slices, *metric.keys))


def _same(a: Mapping[str, Any], b: Mapping[str, Any], tolerance: float) -> bool:
    if a.keys() != b.keys():
        return False
    for name, x in a.items():
        y = b[name]
        if isinstance(x, float) and isinstance(y, int | float):
            if abs(x - y) > tolerance * max(abs(x), abs(y), 1e-300):
                return False
        elif x != y:
            return False
    return True
