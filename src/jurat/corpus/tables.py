"""CSV and Parquet as documents: a record at a time, a few rows of a row group at a time."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jurat.corpus.document import Fields, Found, Limits
from jurat.corpus.lines import Line, read_lines
from jurat.corpus.unpack import DamagedFile
from jurat.errors import UnknownName

__all__ = ["read_csv", "read_parquet"]

_MOST_ROWS = 4096
# Pages are read as they are needed; without it a whole column chunk is.
_BUFFER = 1 << 20


class _TooLong(Exception):
    """A line that was passed over."""

    def __init__(self, size: int) -> None:
        self.size = size


class _Feed:
    """Lines for the CSV parser; a line too long interrupts the record it belongs to, not the reading."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self.begin: int | None = None
        self.size = 0

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        if self.begin is None:
            self.begin, self.size = line.offset, 0
        self.size += line.size
        if line.raw is None:
            raise _TooLong(line.size)
        return line.raw.decode("utf-8", "surrogateescape")


def read_csv(
    stream: io.BufferedReader,
    name: str,
    *,
    fields: Fields,
    limits: Limits,
    delimiter: str = ",",
    must_have_text: bool = True,
) -> Iterator[Found]:
    """Read CSV with a header; records may span lines.

    Parameters
    ----------
    stream, name
        The unpacked file, and what to call it.
    fields, limits
        Which column holds what; how long a line or field may be.
    delimiter
        What stands between fields.
    must_have_text
        Whether a file without the text column is refused; otherwise its records are quarantined.

    Raises
    ------
    UnknownName
        Where no column has the text.
    """
    # The module's limit holds for the whole process: it is raised and never lowered, and ours is kept here.
    csv.field_size_limit(max(csv.field_size_limit(), limits.document_bytes))
    feed = _Feed(read_lines(stream, limits.document_bytes))
    reader = csv.reader(feed, delimiter=delimiter, strict=True)
    try:
        header = next(reader, None)
    except (csv.Error, _TooLong) as error:
        raise DamagedFile(f"the first line names no columns: {error}") from error
    if header is None:
        return
    if must_have_text and fields.text not in header:
        raise UnknownName("text column", fields.text, [_shown(column) for column in header], place=name)
    number = 0
    while True:
        feed.begin = None
        row, reason = _next_row(reader, limits.document_bytes)
        if row is None and reason is None:
            return
        if row == []:
            continue
        number += 1
        record = Found(record=number, offset=feed.begin, n_bytes=feed.size, reason=reason)
        if row is not None:
            _fill(record, row, header, fields)
        yield record


def _next_row(reader: Any, longest: int) -> tuple[list[str] | None, str | None]:
    """The next row, or why it cannot be read; neither at the end."""
    try:
        row: list[str] = next(reader)
        if max(map(len, row), default=0) > longest:
            return None, f"a field is longer than {longest} characters"
        return row, None
    except StopIteration:
        return None, None
    except csv.Error as error:
        return None, f"not CSV: {error}"
    except _TooLong as error:
        return None, f"a line of {error.size} bytes is longer than allowed"


def _fill(record: Found, row: list[str], header: list[str], fields: Fields) -> None:
    if len(row) != len(header):
        record.reason = f"{len(row)} fields where the header names {len(header)}"
        return
    values = dict(zip(header, row, strict=True))
    record.describe({name: _shown(value) for name, value in values.items() if name in fields.names()}, fields)
    if fields.text in values:
        record.body = values[fields.text].encode("utf-8", "surrogateescape")
    else:
        record.reason = f"no column {fields.text!r}"


def _shown(value: str) -> str:
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def read_parquet(
    path: Path, name: str, *, fields: Fields, limits: Limits, batch_bytes: int, must_have_text: bool = True
) -> Iterator[Found]:
    """Read the columns of documents from a Parquet file, some rows at a time.

    Parameters
    ----------
    path, name
        The file, and what to call it.
    fields, limits
        Which column holds what; how large a document may be.
    batch_bytes
        About how many bytes of text to decode at once.
    must_have_text
        Whether a file without the text column is refused; otherwise its rows are quarantined.

    Raises
    ------
    UnknownName
        Where no column has the text.
    """
    with pq.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER) as file:
        names = file.schema_arrow.names
        if fields.text not in names:
            if must_have_text:
                raise UnknownName("text column", fields.text, names, place=name)
            for number in range(1, file.metadata.num_rows + 1):
                yield Found(record=number, reason=f"no column {fields.text!r}")
            return
        kind = file.schema_arrow.field(fields.text).type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
            raise DamagedFile(f"column {fields.text!r} is of type {kind}, not text")
        wanted = [column for column in names if column in fields.names()]
        number = 0
        for group in range(file.num_row_groups):
            rows = _rows_at_once(file.metadata.row_group(group), batch_bytes)
            for batch in file.iter_batches(rows, row_groups=[group], columns=wanted, use_threads=False):
                for record in _rows(batch, number, fields, limits):
                    number = record.record
                    yield record


def _rows_at_once(group: Any, batch_bytes: int) -> int:
    """Rows that hold about a quarter of a batch, by the size the row group has unpacked."""
    each = group.total_byte_size / max(group.num_rows, 1)
    return int(min(max(batch_bytes / (4 * max(each, 1.0)), 1), _MOST_ROWS))


def _rows(batch: pa.RecordBatch, before: int, fields: Fields, limits: Limits) -> Iterator[Found]:
    # As bytes: a column may claim to be text and hold something else, which is for the caller to see.
    columns = {name: _as_bytes(batch.column(name)) for name in batch.schema.names}
    for row in range(len(batch)):
        record = Found(record=before + row + 1)
        record.describe(
            {name: _readable(column[row].as_py()) for name, column in columns.items() if name != fields.text}, fields
        )
        text = columns[fields.text][row]
        if not text.is_valid:
            record.reason = "no text: null"
        elif len(text.as_buffer()) > limits.document_bytes:
            record.n_bytes = len(text.as_buffer())
            record.reason = f"a document of {record.n_bytes} bytes is larger than allowed"
        else:
            record.body = text.as_py()
        yield record


def _as_bytes(column: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if text or pa.types.is_string_view(column.type):
        return column.cast(pa.large_binary())
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        return column.cast(pa.timestamp("us", tz=column.type.tz), safe=False)
    return column


def _readable(value: Any) -> Any:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
