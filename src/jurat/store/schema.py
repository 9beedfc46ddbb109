"""The tables of the lake, and what may go into them.

One row a fact, append-only, times in UTC. Undefined is null; NaN and infinity are refused, because no engine
agrees with another on what they compare to.
"""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

from jurat.errors import DataError, UnknownName
from jurat.store.content import content_digest

__all__ = ["TABLES", "conform", "content_digest", "schema_of"]

_TIME = pa.timestamp("us", tz="UTC")
_S, _I, _L, _F, _B = pa.string(), pa.int32(), pa.int64(), pa.float64(), pa.bool_()


def _table(**columns: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind) for name, kind in columns.items()])


TABLES: dict[str, pa.Schema] = {
    "spans": _table(
        span_id=_S, trace_id=_S, conversation_id=_S, turn=_I, user_id=_S, org_id=_S, tier=_S, endpoint=_S,
        release=_S, model=_S, ts=_TIME, ts_us=_L, ts_s=_L, day=_S, latency_ms=_F, ttft_ms=_F, tokens_in=_L,
        tokens_out=_L, status=_S, error_type=_S, refused=_B, blocked=_B, risk_tier=_I, intent=_S,
        session_seq=_I, cost_usd=_F,
    ),
    "span_text": _table(span_id=_S, day=_S, prompt=_S, response=_S, sha256=_S, org_id=_S),
    "feedback": _table(
        feedback_id=_S, span_id=_S, conversation_id=_S, user_id=_S, kind=_S, value=_F, text=_S, ts=_TIME,
    ),
    "labels": _table(
        label_id=_S, subject_id=_S, kind=_S, source=_S, annotator=_S, value=_S, score=_F, weight=_F,
        recorded_at=_TIME,
    ),
    "scores": _table(
        score_id=_S, subject_id=_S, scorer=_S, value=_F, label=_S, judge=_S, recorded_at=_TIME,
    ),
    "eval_result": _table(
        run=_S, item=_S, epoch=_I, model=_S, cluster=_S, stratum=_S, arm=_S, scorer=_S, label=_S, value=_F,
        judge=_S, side_order=_S, tokens_in=_L, tokens_out=_L, cost=_F, started=_TIME, digest=_S,
    ),
    "exposures": _table(unit_id=_S, unit_kind=_S, experiment=_S, arm=_S, ts=_TIME),
    "usage": _table(
        usage_id=_S, kind=_S, job=_S, run=_S, experiment=_S, person=_S, resource=_S, started=_TIME,
        ended=_TIME, quantity=_F, unit=_S, billed_cost=_F, currency=_S,
    ),
    "documents": _table(
        document_id=_S, source_file=_S, record_offset=_L, url=_S, crawled=_TIME, sha256=_S, language=_S,
        text=_S,
    ),
    "embeddings": _table(subject_id=_S, model=_S, day=_S, vector=pa.list_(pa.float32())),
    "rollup_1m": _table(
        minute=_TIME, endpoint=_S, tier=_S, release=_S, org_id=_S, measure=_S, bucket=_I, n=_L, total=_F,
    ),
}  # fmt: skip
"""Schemas of the house's tables by name (DESIGN, section 4)."""


def schema_of(table: str) -> pa.Schema:
    """Look up the schema of a table; near names are suggested where there is none.

    Examples
    --------
    >>> schema_of("exposures").names
    ['unit_id', 'unit_kind', 'experiment', 'arm', 'ts']
    """
    if table not in TABLES:
        raise UnknownName("table", table, TABLES)
    return TABLES[table]


def conform(data: pa.Table, schema: pa.Schema, *, table: str, first_row: int = 0) -> pa.Table:
    """Bring data into a table's schema, or say why that cannot be.

    Parameters
    ----------
    data
        Columns by name, in any order; columns that are missing become null.
    schema
        The table's schema.
    table
        Its name, for messages.
    first_row
        Number of the first row, for messages, where the data are one part of more.

    Returns
    -------
    pa.Table
        The columns of the schema, in its order and types. Casts that would lose something are refused.

    Raises
    ------
    UnknownName
        For a column that the table does not have.
    DataError
        For a column given twice, a value that does not fit its type, or a NaN or infinity, with column and
        row.

    Examples
    --------
    >>> given = pa.table({"arm": ["a"], "unit_id": ["u1"]})
    >>> conform(given, schema_of("exposures"), table="exposures").to_pylist()
    [{'unit_id': 'u1', 'unit_kind': None, 'experiment': None, 'arm': 'a', 'ts': None}]
    """
    twice = sorted(name for name, count in Counter(data.column_names).items() if count > 1)
    if twice:
        raise DataError(f"table {table} was given a column twice", seen=", ".join(twice), next_step="keep one of them")
    for name in data.column_names:
        if name not in schema.names:
            raise UnknownName("column", name, schema.names, place=f"table {table}")
    columns = []
    for field in schema:
        if field.name not in data.column_names:
            columns.append(pa.nulls(data.num_rows, field.type))
            continue
        columns.append(_cast(data[field.name], field, table))
        _check_finite(columns[-1], field.name, table, first_row)
    return pa.table(columns, schema=schema)


def _cast(column: pa.ChunkedArray, field: pa.Field, table: str) -> pa.ChunkedArray:
    try:
        return column.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"column {field.name} of table {table} cannot hold what it was given",
            seen=f"{column.type}: {error}",
            next_step=f"give values that fit {field.type} without loss",
        ) from error


def _check_finite(column: pa.ChunkedArray, name: str, table: str, first_row: int) -> None:
    row = first_row
    for chunk in column.chunks:
        values, rows = chunk, None
        if pa.types.is_list(chunk.type):
            values, rows = pc.list_flatten(chunk), pc.list_parent_indices(chunk)
        if not pa.types.is_floating(values.type):
            return
        place = pc.index(pc.is_finite(values), pa.scalar(False)).as_py()
        if place >= 0:
            row += place if rows is None else rows[place].as_py()
            raise DataError(
                f"column {name} of table {table} holds a number that is not finite",
                seen=f"{values[place].as_py()!r} in row {row}",
                next_step="leave the value empty (null) where it is not known",
            )
        row += len(chunk)
