"""Records of each kind of file, one after the other, good ones and bad ones.

A record that cannot be used is yielded with its reason: what a reader meets is read or quarantined, never lost.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from jurat.corpus.extraction import Extractor
from jurat.corpus.inputs import InputFile
from jurat.corpus.streams import Limits, StreamBroken, read_chunks, read_lines
from jurat.errors import MissingExtra, UnknownName

__all__ = ["ReadOptions", "Record", "read_records"]

_PAGES = ("text/html", "application/xhtml+xml")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How files are read.

    Attributes
    ----------
    text_field, id_field
        Columns of JSONL, CSV and Parquet with the text and, if wanted, the id.
    source
        Source of all documents; else their ``source`` field, the host of their URL, or the name of their file's folder.
    limits
        Sizes that are refused.
    extract
        How pages become text.
    """

    text_field: str = "text"
    id_field: str | None = None
    source: str | None = None
    limits: Limits = field(default_factory=Limits)
    extract: Extractor | None = None


@dataclass(slots=True, kw_only=True)
class Record:
    """One document as met in a file.

    Attributes
    ----------
    text
        Its UTF-8 bytes; ``None`` where it could not be had.
    offset
        Byte of the (decompressed) file at which it begins, where that is known.
    url, crawled, licence, source, given_id
        What the file says of it; ``crawled`` as ISO 8601.
    reason
        Why it is quarantined; ``None`` where it is not.
    """

    text: bytes | None
    offset: int | None = None
    url: str | None = None
    crawled: str | None = None
    licence: str | None = None
    source: str | None = None
    given_id: str | None = None
    reason: str | None = None


def read_records(file: InputFile, options: ReadOptions) -> Iterator[Record]:
    """Records of a file.

    Parameters
    ----------
    file
        The file.
    options
        Fields, limits, extractor.

    Yields
    ------
    Record
        In order; a file that breaks off ends with a record that says so.

    Raises
    ------
    UnknownName
        Where no row of a table has the text field.
    MissingExtra
        Where the file needs a package that is not installed.
    """
    try:
        yield from _READERS[file.kind](file, options)
    except StreamBroken as broken:
        yield Record(text=None, reason=f"{broken}; what follows in the file is lost to it")
    except (pa.ArrowException, OSError) as error:
        yield Record(text=None, reason=f"cannot be read: {str(error).splitlines()[0]}")


def _text(file: InputFile, options: ReadOptions) -> Iterator[Record]:
    content, reason = _whole(file, options)
    yield Record(text=content, offset=0, reason=reason)


def _html(file: InputFile, options: ReadOptions) -> Iterator[Record]:
    content, reason = _whole(file, options)
    if content is None:
        yield Record(text=None, reason=reason)
    else:
        yield _page(Record(text=content, offset=0, url=None), options, None)


def _whole(file: InputFile, options: ReadOptions) -> tuple[bytes | None, str | None]:
    """All bytes of a file, unless it is longer than a document may be."""
    kept, size = bytearray(), 0
    for chunk in read_chunks(file.path, options.limits):
        size += len(chunk)
        if size <= options.limits.document_bytes:
            kept += chunk
    return (bytes(kept), None) if size <= options.limits.document_bytes else (None, _too_long(size, options.limits))


def _too_long(size: int, limits: Limits) -> str:
    return f"{size:,} bytes in one document; the limit is {limits.document_bytes:,}"


def _jsonl(file: InputFile, options: ReadOptions) -> Iterator[Record]:
    met = False
    seen: set[str] = set()
    for line in read_lines(file.path, options.limits):
        if line.content is None:
            yield Record(text=None, offset=line.offset, reason=_too_long(line.size, options.limits))
            continue
        if not line.content.strip():
            continue
        try:
            row = json.loads(line.content)
        except ValueError as error:
            yield Record(text=None, offset=line.offset, reason=f"not JSON: {error}")
            continue
        if not isinstance(row, dict):
            yield Record(text=None, offset=line.offset, reason=f"not an object but {type(row).__name__}")
            continue
        seen.update(row)
        met = met or options.text_field in row
        yield _row(row, options, line.offset)
    _check_field(met, seen, file, options)


def _csv(file: InputFile, options: ReadOptions) -> Iterator[Record]:
    def lines() -> Iterator[str]:
        for line in read_lines(file.path, options.limits):
            if line.content is None:
                raise StreamBroken(_too_long(line.size, options.limits))
            yield line.content.decode("utf-8", "surrogateescape") + "\n"

    csv.field_size_limit(options.limits.document_bytes)
    rows = csv.DictReader(lines())
    _check_field(options.text_field in (rows.fieldnames or ()), set(rows.fieldnames or ()), file, options)
    try:
        for row in rows:
            yield _row(row, options, None)
    except csv.Error as error:
        yield Record(text=None, reason=f"not CSV from here on: {error}")


def _parquet(file: InputFile, options: ReadOptions) -> Iterator[Record]:
    with pq.ParquetFile(file.path) as table:
        names = table.schema_arrow.names
        _check_field(options.text_field in names, set(names), file, options)
        wanted = [n for n in names if n in {options.text_field, options.id_field, *_KNOWN}]
        for batch in table.iter_batches(batch_size=1024, columns=wanted):
            for row in batch.to_pylist():
                yield _row(row, options, None)


def _check_field(met: bool, seen: set[str], file: InputFile, options: ReadOptions) -> None:
    if not met and seen:
        raise UnknownName("text field", options.text_field, seen, place=str(file.path))


_KNOWN = ("url", "crawled", "crawl_date", "timestamp", "date", "licence", "license", "source")


def _row(row: dict[str, Any], options: ReadOptions, offset: int | None) -> Record:
    text = row.get(options.text_field)
    given = row.get(options.id_field) if options.id_field else None
    record = Record(
        text=None,
        offset=offset,
        url=_string(row.get("url")),
        crawled=_string(row.get("crawled") or row.get("crawl_date") or row.get("timestamp") or row.get("date")),
        licence=_string(row.get("licence") or row.get("license")),
        source=_string(row.get("source")),
        given_id=None if given is None else str(given),
    )
    if not isinstance(text, str):
        record.reason = f"{options.text_field} is {'missing' if text is None else type(text).__name__}"
    elif options.id_field and given is None:
        record.reason = f"no {options.id_field}"
    else:
        record.text = text.encode("utf-8", "surrogateescape" if offset is None else "surrogatepass")
    return record


def _string(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)


def _warc(file: InputFile, options: ReadOptions) -> Iterator[Record]:
    try:
        from fastwarc.warc import ArchiveIterator, WarcRecordType
    except ImportError as error:
        raise MissingExtra("fastwarc", "corpus") from error
    kinds = WarcRecordType.response | WarcRecordType.conversion | WarcRecordType.resource
    limit = options.limits.document_bytes
    try:
        with file.path.open("rb") as raw:
            for entry in ArchiveIterator(raw, record_types=kinds):
                record = Record(
                    text=None,
                    offset=entry.stream_pos,
                    url=entry.headers.get("WARC-Target-URI"),
                    crawled=entry.headers.get("WARC-Date"),
                )
                kind, encoding = entry.headers.get("Content-Type") or "", None
                if entry.http_headers is not None:
                    kind = entry.http_content_type or entry.http_headers.get("Content-Type") or "text/html"
                    encoding = entry.http_charset
                expected = entry.content_length
                body = entry.reader.read(limit + 1)
                yield _entry(record, body, kind.split(";")[0].strip().lower(), encoding, expected, options)
    except (OSError, ValueError, EOFError, RuntimeError) as error:
        raise StreamBroken(f"damaged or cut short ({error})") from error


def _entry(record: Record, body: bytes, kind: str, encoding: str | None, expected: int, options: ReadOptions) -> Record:
    """The document in a WARC record."""
    if len(body) > options.limits.document_bytes:
        record.reason = _too_long(expected, options.limits)
    elif len(body) < expected:
        record.reason = f"the record is cut short: {len(body):,} of {expected:,} bytes"
    elif kind in _PAGES:
        record.text = body
        return _page(record, options, encoding)
    elif kind.startswith("text/"):
        record.text = body.decode(encoding or "utf-8", "replace").encode() if encoding else body
    else:
        record.reason = f"not text: {kind or 'no content type'}"
    return record


def _page(record: Record, options: ReadOptions, encoding: str | None) -> Record:
    if options.extract is None:
        raise MissingExtra("resiliparse", "corpus")
    record.text = options.extract(record.text or b"", encoding).encode("utf-8", "surrogatepass")
    return record


def host_of(url: str | None) -> str | None:
    """Host of a URL, lower case; ``None`` where there is none."""
    try:
        return urlsplit(url).hostname if url else None
    except ValueError:
        return None


_READERS: dict[str, Callable[[InputFile, ReadOptions], Iterator[Record]]] = {
    "text": _text, "html": _html, "jsonl": _jsonl, "csv": _csv, "parquet": _parquet, "warc": _warc,
}  # fmt: skip
