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

__all__ = ["FORMATS", "Record", "Rejected", "file_format", "read_records"]

FORMATS = ("csv", "jsonl", "parquet")
_LONGEST_FIELD = 256 * 1024 * 1024
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
        Where the file as a whole cannot be read: empty, truncated, not of its format.
    """
    with path.open("rb") as stream:
        source = _Digesting(stream)
        try:
            if kind == "parquet":
                source.drain()
                yield from _parquet(path, name)
            else:
                text = _unpacked(source, path)
                yield from (_csv if kind == "csv" else _jsonl)(text, name, rejected)
                source.drain()
        except (EOFError, zlib.error, gzip.BadGzipFile, OSError) as error:
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


def _escaped(raw: bytes) -> str:
    return raw[:_SHOWN].decode("utf-8", errors="backslashreplace")


def _jsonl(stream: IO[bytes], name: str, rejected: list[Rejected]) -> Iterator[Record]:
    line = 0
    for line, raw in enumerate(stream, start=1):
        if not raw.strip():
            continue
        try:
            fields = json.loads(raw, parse_constant=_not_a_number)
            if not isinstance(fields, dict):
                raise ValueError(f"a record must be an object, this is {type(fields).__name__}")
        except (ValueError, RecursionError) as error:
            rejected.append(Rejected(name, line, f"not a JSON object: {error}", _escaped(raw)))
            continue
        yield Record(line, fields)
    if line == 0:
        raise _empty(name)


def _not_a_number(constant: str) -> float:
    raise ValueError(f"{constant} is not a number; leave the value out (null) where it is not known")


def _empty(name: str) -> DataError:
    return DataError(f"{name} is empty", seen="0 records", next_step="give the file with its data, or leave it out")


def _lines(stream: IO[bytes], name: str) -> Iterator[tuple[str, bytes]]:
    """Decode lines; a byte that is not UTF-8 becomes an escape that `_csv` recognises."""
    first = True
    for raw in stream:
        if first and raw.startswith(codecs.BOM_UTF8):
            raw = raw[len(codecs.BOM_UTF8) :]  # noqa: PLW2901
        first = False
        yield raw.decode("utf-8", errors="surrogateescape"), raw


def _csv(stream: IO[bytes], name: str, rejected: list[Rejected]) -> Iterator[Record]:
    """Parse strict CSV; records may span lines and are named by the line they start on."""
    csv.field_size_limit(_LONGEST_FIELD)
    current: list[bytes] = []

    def feed() -> Iterator[str]:
        for text, raw in _lines(stream, name):
            current.append(raw)
            yield text

    reader = csv.reader(feed(), strict=True)
    try:
        header = next(reader)
    except StopIteration:
        raise _empty(name) from None
    except csv.Error as error:
        raise DataError(f"{name}: the header is not CSV", seen=str(error), next_step="mend its first line") from error
    _check_header(header, name)
    yielded = False
    while True:
        start = reader.line_num + 1
        current.clear()
        try:
            row = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            rejected.append(Rejected(name, start, f"not CSV: {error}", _escaped(b"".join(current))))
            continue
        yielded = True
        if not row:
            continue
        if reason := _bad_row(row, header):
            rejected.append(Rejected(name, start, reason, _escaped(b"".join(current))))
            continue
        yield Record(start, dict(zip(header, row, strict=True)))
    if not yielded and not rejected:
        raise DataError(f"{name} has a header and no record", seen="0 records", next_step="give the file with its data")


def _check_header(header: list[str], name: str) -> None:
    doubled = sorted({h for h in header if header.count(h) > 1})
    if doubled or not any(header):
        raise DataError(
            f"{name}: the header does not name the columns",
            seen=f"named twice: {', '.join(doubled)}" if doubled else "an empty first line",
            next_step="give each column its own name in the first line",
        )


def _bad_row(row: list[str], header: list[str]) -> str | None:
    if len(row) != len(header):
        return f"{len(row)} fields where the header has {len(header)}"
    if any("\udc80" <= character <= "\udcff" for field in row for character in field if character >= "\ud800"):
        return "not valid UTF-8"
    return None


def _parquet(path: Path, name: str) -> Iterator[Record]:
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise DataError(f"{name} is not a Parquet file", seen=str(error), next_step="fetch it again") from error
    if file.metadata.num_rows == 0:
        raise _empty(name)
    row = 0
    for batch in file.iter_batches(batch_size=16_384):
        for fields in batch.to_pylist():
            row += 1
            yield Record(row, fields)
