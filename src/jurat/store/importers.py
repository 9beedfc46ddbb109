"""JSONL, CSV and Parquet into record batches: streamed, every record with its place, nothing dropped silently.

A record that cannot be read is *rejected* with file, line and reason, and handed to the caller, who decides how many are
too many. Memory is bounded by the batch, whatever the size of the file. Digests are taken of the very bytes that were
parsed.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from jurat.errors import DataError

__all__ = ["FORMATS", "FileDigest", "Record", "Rejected", "escaped", "file_format", "read_records"]

FORMATS = ("csv", "jsonl", "parquet")
# A quote that is never closed swallows lines up to this many characters, then the reader finds its feet again.
_LONGEST_FIELD = 16 * 1024 * 1024
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Record:
    """One record: the line it starts on (from 1; the row for Parquet) and its fields."""

    line: int
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that could not be read: where, why, and its beginning with unreadable bytes escaped."""

    file: str
    line: int
    reason: str
    raw: str


class _Digesting(io.RawIOBase):
    """A byte stream that hashes what is read through it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.state = hashlib.sha256()
        self.size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._stream.read(len(buffer))
        buffer[: len(block)] = block
        self.state.update(block)
        self.size += len(block)
        return len(block)

    def drain(self) -> None:
        """Read what the parser left, so that size and digest are of the whole file."""
        while block := self._stream.read(1 << 20):
            self.state.update(block)
            self.size += len(block)


@dataclass(slots=True)
class FileDigest:
    """Size and SHA-256 of a file, known once its records have been read."""

    size: int = 0
    sha256: str = ""


def file_format(path: Path) -> str:
    """Format of a file by its suffix, compression aside.

    Raises
    ------
    DataError
        Where the suffix says nothing.

    Examples
    --------
    >>> file_format(Path("votes.jsonl.gz"))
    'jsonl'
    """
    suffixes = [s.lstrip(".").lower() for s in path.suffixes if s not in (".gz", ".zst")]
    kind = {"json": "jsonl", "ndjson": "jsonl", "pq": "parquet"}.get(suffixes[-1], suffixes[-1]) if suffixes else ""
    if kind not in FORMATS:
        raise DataError(
            "the format of a file is not known",
            seen=path.name,
            next_step=f"say format = one of {', '.join(FORMATS)} in the source file",
        )
    return kind


def read_records(path: Path, *, name: str, kind: str, rejected: list[Rejected], digest: FileDigest) -> Iterator[Record]:
    """Stream a file's records.

    Parameters
    ----------
    path
        The file; ``.gz`` and ``.zst`` are unpacked on the way.
    name
        How to call it in messages.
    kind
        One of `FORMATS`.
    rejected
        Receives what could not be read.
    digest
        Receives size and SHA-256 of the file once its last record was read.

    Raises
    ------
    DataError
        Where the file as a whole cannot be read: empty, truncated, not of its format; or where a Parquet file, which is
        not read from its beginning to its end, changed meanwhile.
    """
    with path.open("rb") as stream:
        source = _Digesting(stream)
        try:
            if kind == "parquet":
                yield from _parquet(stream, source, name)
            else:
                text = _unpacked(source, path)
                yield from (_csv if kind == "csv" else _jsonl)(text, name, rejected)
                source.drain()
        except (EOFError, zlib.error, OSError, pa.ArrowException) as error:
            raise DataError(
                f"{name} cannot be unpacked to its end",
                seen=f"{type(error).__name__}: {error}",
                next_step="the file is truncated or damaged: fetch it again; nothing of it was imported",
            ) from error
    digest.size, digest.sha256 = source.size, source.state.hexdigest()


def _unpacked(source: _Digesting, path: Path) -> IO[bytes]:
    buffered = io.BufferedReader(source, 1 << 20)
    if path.suffix == ".gz":
        return gzip.GzipFile(fileobj=buffered)  # type: ignore[return-value]
    if path.suffix == ".zst":
        return io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(buffered, "r"), "zstd"))
    return buffered


def escaped(raw: bytes) -> str:
    """Return the beginning of what could not be read, bytes that are no text written as escapes."""
    return raw[:_SHOWN].decode("utf-8", errors="backslashreplace")


def _jsonl(stream: IO[bytes], name: str, rejected: list[Rejected]) -> Iterator[Record]:
    any_record = False
    for line, (text, raw) in enumerate(_lines(stream), start=1):
        if not raw.strip():
            continue
        any_record = True
        try:
            if not text.isascii() and not _is_unicode(text):
                raise ValueError("not valid UTF-8")
            fields = json.loads(text, parse_constant=_not_a_number, object_pairs_hook=_object)
            if not isinstance(fields, dict):
                raise ValueError(f"a record must be an object, this is {type(fields).__name__}")
        except (ValueError, RecursionError) as error:
            rejected.append(Rejected(name, line, f"not a JSON object: {error}", escaped(raw)))
            continue
        yield Record(line, fields)
    if not any_record:
        raise _empty(name)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key that stands twice: which of the two is meant, nobody can say."""
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{next(k for k in keys if keys.count(k) > 1)!r:.60} stands twice")
    return found


def _not_a_number(constant: str) -> float:
    raise ValueError(f"{constant} is not a number; leave the value out (null) where it is not known")


def _empty(name: str) -> DataError:
    return DataError(f"{name} is empty", seen="0 records", next_step="give the file with its data, or leave it out")


def _lines(stream: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    """Decode lines; a byte that is not UTF-8 becomes an escape that `_is_unicode` recognises."""
    first = True
    for raw in stream:
        if first and raw.startswith(codecs.BOM_UTF8):
            raw = raw[len(codecs.BOM_UTF8) :]  # noqa: PLW2901
        first = False
        yield raw.decode("utf-8", errors="surrogateescape"), raw


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _csv(stream: IO[bytes], name: str, rejected: list[Rejected]) -> Iterator[Record]:
    """Parse strict CSV; records may span lines and are named by the line they start on."""
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_FIELD))
    raw = bytearray()

    def feed() -> Iterator[str]:
        for text, line in _lines(stream):
            if len(raw) < _SHOWN:
                raw.extend(line)
            yield text

    reader = csv.reader(feed(), strict=True)
    try:
        header = next(reader)
    except StopIteration:
        raise _empty(name) from None
    except csv.Error as error:
        raise DataError(f"{name}: the header is not CSV", seen=str(error), next_step="mend its first line") from error
    _check_header(header, name)
    any_record = False
    while True:
        start = reader.line_num + 1
        raw.clear()
        try:
            row = next(reader)
            reason = _bad_row(row, header)
        except StopIteration:
            break
        except csv.Error as error:
            row, reason = header, f"not CSV: {error}"
        if not row:
            continue
        any_record = True
        if reason is None:
            yield Record(start, dict(zip(header, row, strict=True)))
        else:
            span = f" (up to line {reader.line_num})" if reader.line_num > start else ""
            rejected.append(Rejected(name, start, reason + span, escaped(bytes(raw))))
    if not any_record:
        raise DataError(f"{name} has a header and no record", seen="0 records", next_step="give the file with its data")


def _check_header(header: list[str], name: str) -> None:
    doubled = sorted({h for h in header if header.count(h) > 1})
    if doubled or not any(header):
        raise DataError(
            f"{name}: the header does not name the columns",
            seen=f"named twice: {', '.join(doubled)}" if doubled else "an empty first line",
            next_step="give each column its own name in the first line",
        )
    if not _is_unicode("".join(header)):
        raise DataError(
            f"{name}: the header is not UTF-8",
            seen=escaped(",".join(header).encode("utf-8", errors="surrogateescape")),
            next_step="save the file as UTF-8",
        )


def _bad_row(row: list[str], header: list[str]) -> str | None:
    if len(row) != len(header):
        return f"{len(row)} fields where the header has {len(header)}"
    if not all(field.isascii() or _is_unicode(field) for field in row):
        return "not valid UTF-8"
    return None


def _parquet(stream: IO[bytes], source: _Digesting, name: str) -> Iterator[Record]:
    """Read row groups through the one open file; it is hashed before and after, for they lie anywhere in it."""
    source.drain()
    stream.seek(0)
    try:
        file = pq.ParquetFile(stream)
    except pa.ArrowInvalid as error:
        raise DataError(f"{name} is not a Parquet file", seen=str(error), next_step="fetch it again") from error
    if file.metadata.num_rows == 0:
        raise _empty(name)
    row = 0
    for batch in file.iter_batches(batch_size=16_384):
        for fields in _in_microseconds(batch).to_pylist():
            row += 1
            yield Record(row, fields)
    stream.seek(0)
    again = _Digesting(stream)
    again.drain()
    if again.state.digest() != source.state.digest():
        raise DataError(
            f"{name} changed while it was read",
            seen=f"sha256 {source.state.hexdigest()[:12]}… before, {again.state.hexdigest()[:12]}… after",
            next_step="wait until it is written, then import it",
        )


def _in_microseconds(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Cut times to the microseconds that Python's times and the lake's tables hold."""
    for place, field in enumerate(batch.schema):
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns":
            kind = pa.timestamp("us", tz=field.type.tz)
            batch = batch.set_column(place, field.name, batch.column(place).cast(kind, safe=False))
    return batch
