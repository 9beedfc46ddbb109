"""Parquet files of the lake: bounded in size, synced before anything names them, with statistics to prune by.

A file's name begins with the version it entered the table in and its place in that commit, so the order of
names is the order of rows, whatever the clock did.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake.transaction import AddAction

from jurat.store.durable import fsync_directory, fsync_file

__all__ = ["FILE_BYTES", "file_name", "place_in_table", "row_groups", "write_files"]

FILE_BYTES = 192 << 20
"""A file is closed once it is at least this long, so files end between 128 and 256 MB."""

GROUP_ROWS = 122_880
GROUP_BYTES = 64 << 20
_LONGEST_STATISTIC = 64


def file_name(version: int, place: int) -> str:
    """Name for the file at a place of a commit; no two calls give the same."""
    return f"part-{version:012d}-{place:06d}-{uuid.uuid4().hex[:12]}.parquet"


def place_in_table(name: str) -> tuple[int, int] | None:
    """Version and place that a file's name begins with; None where the name is not of our making.

    Examples
    --------
    >>> place_in_table(file_name(7, 2)), place_in_table("part-00000-5f6d3eb1-c000.snappy.parquet")
    ((7, 2), None)
    """
    found = re.fullmatch(r"part-(\d{12})-(\d{6})-[0-9a-f]{12}\.parquet", name)
    return (int(found[1]), int(found[2])) if found else None


def row_groups(parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Cut rows that come in parts of any size into row groups, in bounded memory.

    A group holds 122 880 rows, or fewer where they would take more than 64 MB in memory; only the last may be
    smaller.

    Examples
    --------
    >>> parts = (pa.table({"x": range(50_000)}) for _ in range(3))
    >>> [group.num_rows for group in row_groups(parts)]
    [122880, 27120]
    """
    held: list[pa.Table] = []
    rows = size = 0
    for part in parts:
        held.append(part)
        rows, size = rows + part.num_rows, size + part.nbytes
        while rows >= GROUP_ROWS or size >= GROUP_BYTES:
            whole = pa.concat_tables(held)
            cut = max(1, min(rows, GROUP_ROWS, rows * GROUP_BYTES // size))
            yield whole.slice(0, cut)
            held = [whole.slice(cut)]
            rows, size = held[0].num_rows, held[0].nbytes
    if rows:
        yield pa.concat_tables(held)


def write_files(
    folder: Path,
    parts: Iterable[pa.Table],
    schema: pa.Schema,
    *,
    names: Iterator[str],
    data_change: bool = True,
) -> list[AddAction]:
    """Write rows to new files, each synced, and then their folder.

    Parameters
    ----------
    folder
        Folder of the table.
    parts
        Rows in the given schema.
    schema
        Schema of the table.
    names
        A name for each file. The file with the last of them takes all rows that remain.
    data_change
        Whether the rows are new to the table.

    Returns
    -------
    list of AddAction
        What the log will say of each file. If anything fails, the files are removed and the error goes on.
    """
    groups = row_groups(parts)
    group, name = next(groups, None), next(names)
    written: list[Path] = []
    try:
        while group is not None:
            following = next(names, None)
            written.append(folder / name)
            with pq.ParquetWriter(written[-1], schema, compression="zstd", compression_level=3) as writer:
                is_full = False
                while group is not None and not is_full:
                    writer.write_table(group, row_group_size=group.num_rows)
                    group = next(groups, None)
                    is_full = following is not None and written[-1].stat().st_size >= FILE_BYTES
            fsync_file(written[-1])
            name = following or name
        fsync_directory(folder)
        return [_add_action(path, data_change) for path in written]
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise


def _add_action(path: Path, data_change: bool) -> AddAction:
    metadata = pq.read_metadata(path)
    return AddAction(
        path=path.name,
        size=path.stat().st_size,
        partition_values={},
        modification_time=int(time.time() * 1000),
        data_change=data_change,
        stats=json.dumps(_statistics(metadata)),
    )


def _statistics(metadata: pq.FileMetaData) -> dict[str, object]:
    """Rows, and least, greatest and number of nulls of each flat column, as the Delta protocol has them."""
    lowest: dict[str, object] = {}
    highest: dict[str, object] = {}
    nulls: dict[str, int] = {}
    for index in range(metadata.num_columns):
        name = metadata.schema.column(index).path
        groups = [metadata.row_group(g).column(index).statistics for g in range(metadata.num_row_groups)]
        if "." in name or any(group is None for group in groups):
            continue
        nulls[name] = sum(group.null_count for group in groups)
        valued = [group for group in groups if group.num_values]
        if not valued or not all(group.has_min_max for group in valued):
            continue
        ends = _json_value(min(g.min for g in valued)), _json_value(max(g.max for g in valued))
        if None not in ends:
            lowest[name], highest[name] = ends
    return {"numRecords": metadata.num_rows, "minValues": lowest, "maxValues": highest, "nullCount": nulls}


def _json_value(value: object) -> object:
    """Value as it stands in the log; None where no statistic is better than a long one."""
    if isinstance(value, dt.datetime):
        # The protocol truncates times to milliseconds, and readers widen the bound by one.
        return value.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, str):
        return value if len(value) <= _LONGEST_STATISTIC else None
    return value if isinstance(value, bool | int | float) else None
