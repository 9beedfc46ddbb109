"""Compaction: neighbouring small files become one, and the rows keep their order.

delta-rs has a compaction of its own, but it commits before anything is synced and gathers files by size, so that
the order of rows depends on how bins fell. Here the new files are on disk before the log names them, and each
stands where the files stood that it replaces.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

import pyarrow as pa
from deltalake.transaction import AddAction, RemoveAction

from jurat.errors import UnknownName
from jurat.store.parquet_files import FILE_BYTES, file_name, place_in_table, write_files
from jurat.store.table_log import LiveFile, TableLog

__all__ = ["SMALL_FILE_BYTES", "Filler", "compact", "runs_to_merge"]

SMALL_FILE_BYTES = FILE_BYTES // 3
"""Files of at least this size are left alone, so that no byte is rewritten more than a few times."""


Filler = Callable[[pa.Table, int], pa.Table]
"""Fills columns of rows: the rows, and the number of the first of them in the table."""


def compact(log: TableLog, *, sort_by: Sequence[str] = (), fill: Filler | None = None) -> int:
    """Merge runs of small files in one commit.

    Parameters
    ----------
    log
        The table; the caller holds the lake's commit lock.
    sort_by
        Columns to sort the rows of each new file by (stable, nulls last); none keeps their order.
    fill
        Changes columns of the rows that are rewritten, never their number or order.

    Returns
    -------
    int
        Files before minus files after.

    Raises
    ------
    UnknownName
        For a column that the table does not have.
    IntegrityError
        Where a file is not what the log says; nothing is changed then.
    """
    version = log.version()
    for name in sort_by:
        if name not in version.schema.names:
            raise UnknownName("column", name, version.schema.names, place=f"table {log.table}")
    runs = runs_to_merge(version.files)
    if not runs:
        return 0
    actions: list[AddAction | RemoveAction] = []
    first = dict(zip(version.files, accumulate((file.rows for file in version.files), initial=0), strict=False))
    for run in runs:
        actions += _merge(log, run, version.schema, sort_by, None if fill is None else (fill, first[run[0]]))
    merged = sum(len(run) for run in runs)
    log.commit(actions, metadata={"files_merged": str(merged), "files_made": str(len(runs))})
    return merged - len(runs)


def runs_to_merge(files: Sequence[LiveFile]) -> list[tuple[LiveFile, ...]]:
    """Find runs of two or more neighbouring small files that fit into one.

    Examples
    --------
    >>> files = [LiveFile(name=file_name(v, 0), size=s << 20, rows=1) for v, s in enumerate((1, 2, 150, 3, 4))]
    >>> [[file.size >> 20 for file in run] for run in runs_to_merge(files)]
    [[1, 2], [3, 4]]
    """
    runs: list[list[LiveFile]] = [[]]
    for file in files:
        if file.size >= SMALL_FILE_BYTES or place_in_table(file.name) is None:
            runs.append([])
            continue
        if sum(f.size for f in runs[-1]) + file.size > FILE_BYTES:
            runs.append([])
        runs[-1].append(file)
    return [tuple(run) for run in runs if len(run) > 1]


def _merge(
    log: TableLog,
    run: Sequence[LiveFile],
    schema: pa.Schema,
    sort_by: Sequence[str],
    fill: tuple[Filler, int] | None,
) -> list[AddAction | RemoveAction]:
    """Write a run as one file that sorts where its first file did, and say so as actions."""
    place = place_in_table(run[0].name) or (0, 0)
    parts: Iterator[pa.Table] = (part for file in run for part in log.rows_of(file, schema))
    if fill is not None:
        parts = _filled(parts, *fill)
    if sort_by:
        parts = iter([pa.concat_tables(parts).sort_by([(name, "ascending") for name in sort_by])])
    actions: list[AddAction | RemoveAction] = [
        *write_files(log.folder, parts, schema, names=iter([file_name(*place)]), data_change=fill is not None)
    ]
    now = int(time.time() * 1000)
    for file in run:
        actions.append(
            RemoveAction(
                file.name, data_change=fill is not None, deletion_timestamp=now, size=file.size, partition_values={}
            )
        )
    return actions


def _filled(parts: Iterator[pa.Table], fill: Filler, first: int) -> Iterator[pa.Table]:
    for part in parts:
        yield fill(part, first)
        first += len(part)
