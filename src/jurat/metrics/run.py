"""Run a metric on an engine: its SELECT, rolled up to the slices that are asked for.

Sufficient statistics add, so one definition at the finest cut serves every coarser one. Rows come back in the order of
their keys, so that a sum over them is the same each time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jurat.errors import DataError, EngineError, UnknownName
from jurat.metrics.loader import ARROW_TYPES, Example, Metric
from jurat.store.dialect import parameters_of
from jurat.store.engine import Engine

__all__ = ["Measurement", "example_tables", "rolled_up", "run", "run_example"]

_INCOMPLETE = "incomplete_rows"
"""Rows whose statistics hold a NULL, which a sum would pass over in silence."""


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
    """Write the SQL that sums a metric's statistics up to some slices.

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
    keys = [f'm."{c}"' for c in dict.fromkeys((*slices, *metric.keys))]
    sums = [_sum(metric, column) for column in metric.statistics]
    nothing = " OR ".join(f'm."{column}" IS NULL' for column in metric.statistics)
    sums.append(f"CAST(COUNT(*) FILTER (WHERE {nothing}) AS BIGINT) AS {_INCOMPLETE}")
    condition = " AND ".join(f'm."{c}" = $where_{c}' for c in where)
    return (
        f"SELECT {', '.join((*keys, *sums))} FROM (\n{metric.sql}\n) AS m"
        + (f" WHERE {condition}" if condition else "")
        + (f" GROUP BY {', '.join(keys)} ORDER BY {', '.join(f'{k} NULLS LAST' for k in keys)}" if keys else "")
    )


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
    return Measurement(
        metric=metric,
        table=_checked(metric, table),
        sql=sql,
        engine=engine.name,
        engine_version=engine.version,
        parameters=values,
    )


def _used(values: Mapping[str, Any], sql: str) -> dict[str, Any]:
    """Parameters that a statement names; engines refuse the others."""
    named = parameters_of(sql)
    return {name: value for name, value in values.items() if name in named}


def _checked(metric: Metric, table: pa.Table) -> pa.Table:
    """The metric's own columns, once they are seen to be what its kind promises."""
    incomplete = pc.sum(table[_INCOMPLETE]).as_py() or 0
    if incomplete:
        raise DataError(
            f"{metric.name} returned rows without a number",
            seen=f"NULL in {' or '.join(metric.statistics)}, {incomplete} rows",
            next_step="COALESCE it in the metric file, or leave such rows out: a NULL would vanish in the sum",
        )
    for name in metric.statistics:
        column = table[name]
        if pa.types.is_floating(column.type) and not pc.all(pc.is_finite(column), min_count=0).as_py():
            raise DataError(
                f"{metric.name} returned a number that is not finite",
                seen=f"{name} = {column.filter(pc.invert(pc.is_finite(column)))[0].as_py()!r}",
                next_step="leave out what is undefined: a NaN would spread to every sum",
            )
    if metric.kind == "proportion":
        _check_counts(metric, table)
    return table.drop_columns([_INCOMPLETE])


def _check_counts(metric: Metric, table: pa.Table) -> None:
    n, k = table["n"].to_numpy(), table["k"].to_numpy()
    wrong = (k > n) | (k < 0)
    if wrong.any():
        raise DataError(
            f"{metric.name} does not count a part of its units",
            seen=f"k = {int(k[wrong][0])} of n = {int(n[wrong][0])}",
            next_step="mend the metric file: k must count some of the n units",
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
            {c: pa.array([row.get(c) for row in rows], type=ARROW_TYPES[kind]) for c, kind in columns.items()}
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
    used = _used({**metric.parameters, **example.parameters}, metric.sql)
    rows = sorted(engine.query(metric.sql, parameters=used).to_pylist(), key=lambda r: _key(metric, r))
    # TOML has no NULL: a key that an expected row leaves out is NULL.
    empty = dict.fromkeys((*metric.slices, *metric.keys))
    expected = sorted(({**empty, **row} for row in example.expect), key=lambda r: _key(metric, r))
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
