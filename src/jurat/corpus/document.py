"""What a reader hands on: one row for every record it met, with where it came from, read or quarantined.

Nothing is dropped: a record that cannot become a document keeps its row with ``status`` ``"quarantined"`` and the
``reason``, so that rows read and rows quarantined add up to the records that were met.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa

from jurat.errors import UsageError

__all__ = ["DOCUMENT_SCHEMA", "BatchBuilder", "Fields", "Found", "Limits", "host_of", "moment"]

DOCUMENT_SCHEMA = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("text", pa.string()),
        pa.field("source", pa.string(), nullable=False),
        pa.field("url", pa.string()),
        pa.field("crawled", pa.timestamp("us", tz="UTC")),
        pa.field("licence", pa.string()),
        pa.field("file", pa.string(), nullable=False),
        pa.field("record", pa.int64(), nullable=False),
        pa.field("offset", pa.int64()),
        pa.field("sha256", pa.string()),
        pa.field("n_bytes", pa.int64()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
    ]
)
"""Columns of a batch of documents."""

_MOST_ROWS = 65_536
# Bytes a row takes beside its text, so that very many short documents fill a batch as well.
_ROW_BYTES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much one record, one file may ask of this machine.

    Attributes
    ----------
    document_bytes
        Largest document (page, line, record) in bytes; a larger one is quarantined with its size and never held whole.
    ratio
        Largest ratio of unpacked to packed bytes. Text packs 3 to 20 times, the worst that gzip can express is 1,032.
    ratio_from
        Unpacked bytes from which on the ratio is looked at: short runs of blanks pack extremely well and do no harm.
    depth
        Deepest nesting of HTML elements. Parsers take quadratic time in it; browsers stop at 512.
    """

    document_bytes: int = 32 << 20
    ratio: float = 250.0
    ratio_from: int = 16 << 20
    depth: int = 2_000

    def __post_init__(self) -> None:
        for name in ("document_bytes", "ratio", "ratio_from", "depth"):
            if not getattr(self, name) > 0:
                raise UsageError(f"the limit {name} must be positive", seen=repr(getattr(self, name)))
        if self.document_bytes > 1 << 30:
            raise UsageError(
                "a document may have at most 1 GiB",
                seen=f"document_bytes = {self.document_bytes}",
                next_step="cut such documents into chapters; an Arrow string column ends at 2 GiB",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """Which field of a JSON object or column of a table holds what.

    Attributes
    ----------
    text
        The text; a file without it is refused, near names are suggested.
    identity
        Identity of the document; ``None`` makes one of file and record.
    url, crawled, licence, source
        Provenance, each the first of these names that the record has.
    """

    text: str = "text"
    identity: str | None = None
    url: tuple[str, ...] = ("url",)
    crawled: tuple[str, ...] = ("crawled", "timestamp", "date")
    licence: tuple[str, ...] = ("licence", "license")
    source: tuple[str, ...] = ("source",)

    def names(self) -> set[str]:
        """Every name that is looked for."""
        wanted = {self.text, *self.url, *self.crawled, *self.licence, *self.source}
        return wanted if self.identity is None else wanted | {self.identity}


@dataclass(slots=True, kw_only=True)
class Found:
    """A record as a format's reader found it: its bytes, or why there are none.

    Attributes
    ----------
    record
        Its number in the file, from 1.
    body
        The document's bytes: UTF-8 text, or a page where ``html``.
    offset
        Byte of the file at which it begins.
    html
        Whether ``body`` is a page from which text is yet to be extracted.
    encoding
        Character set that was declared outside of the page.
    reason
        Why it cannot be a document.
    n_bytes
        Its size where the body is not held.
    url, crawled, licence, source, identity
        What the record says of itself.
    """

    record: int
    body: bytes | None = None
    offset: int | None = None
    html: bool = False
    encoding: str | None = None
    reason: str | None = None
    n_bytes: int | None = None
    url: str | None = None
    crawled: datetime.datetime | None = None
    licence: str | None = None
    source: str | None = None
    identity: str | None = None

    def describe(self, values: Mapping[str, Any], fields: Fields) -> None:
        """Take provenance from a record's values."""
        self.url = _first(values, fields.url)
        self.licence = _first(values, fields.licence)
        self.source = _first(values, fields.source)
        for name in fields.crawled:
            if values.get(name) is not None:
                self.crawled = moment(values[name])
                break
        if fields.identity is not None and values.get(fields.identity) is not None:
            self.identity = _plain(values[fields.identity])


def _first(values: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    for name in names:
        value = values.get(name)
        if value is not None and value != "":
            return _plain(value)
    return None


def _plain(value: Any) -> str:
    """Text of a value, writable as UTF-8 whatever escapes it was made of."""
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")


def moment(value: Any) -> datetime.datetime | None:
    """Read a point in time, in UTC; ``None`` where the value is none.

    Parameters
    ----------
    value
        A datetime, a date, ISO 8601 text, or the 14 digits of crawl indexes. Without a zone it counts as UTC.

    Examples
    --------
    >>> moment("2019-04-25T12:57:54Z").isoformat(), moment("20190425125754").isoformat(), moment("spring")
    ('2019-04-25T12:57:54+00:00', '2019-04-25T12:57:54+00:00', None)
    """
    try:
        if isinstance(value, str):
            text = value.strip()
            if len(text) == 14 and text.isdecimal():
                text = f"{text[:8]}T{text[8:]}"
            value = datetime.datetime.fromisoformat(text)
        elif isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
            value = datetime.datetime(value.year, value.month, value.day, tzinfo=datetime.UTC)
        if not isinstance(value, datetime.datetime):
            return None
        return value.replace(tzinfo=datetime.UTC) if value.tzinfo is None else value.astimezone(datetime.UTC)
    except (ValueError, OverflowError):
        return None


def host_of(url: str | None) -> str | None:
    """Host of a URL in lower case; ``None`` where it has none.

    Examples
    --------
    >>> host_of("https://Example.org:8080/a?b"), host_of("no address")
    ('example.org', None)
    """
    if url is None:
        return None
    try:
        return urlsplit(url.strip()).hostname or None
    except ValueError:
        return None


@dataclass(slots=True)
class BatchBuilder:
    """Gather rows until they make a batch.

    Parameters
    ----------
    batch_bytes
        Bytes of text, and what goes with it, after which a batch is full.
    """

    batch_bytes: int
    _columns: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in DOCUMENT_SCHEMA.names})
    _bytes: int = 0

    def add(self, found: Found, *, doc_id: str, file: str, source: str, licence: str | None) -> None:
        """Append one record; one without a reason is a document and has checked text in ``body``."""
        read = found.reason is None
        body = found.body if read else None
        size = found.n_bytes if found.body is None else len(found.body)
        row = (
            doc_id, body, source, found.url, found.crawled, found.licence or licence, file, found.record, found.offset,
            None if body is None else hashlib.sha256(body).hexdigest(), size,
            "read" if read else "quarantined", found.reason,
        )  # fmt: skip
        for column, value in zip(self._columns.values(), row, strict=True):
            column.append(value)
        self._bytes += _ROW_BYTES + (0 if body is None else len(body))

    @property
    def full(self) -> bool:
        """Whether it is time to `take`."""
        return self._bytes >= self.batch_bytes or len(self) >= _MOST_ROWS

    def __len__(self) -> int:
        return len(self._columns["doc_id"])

    def take(self) -> pa.RecordBatch:
        """Hand over the batch and begin anew."""
        columns = self._columns
        self._columns = {name: [] for name in columns}
        self._bytes = 0
        arrays = [
            _texts(columns.pop(name)) if name == "text" else pa.array(columns.pop(name), kind)
            for name, kind in zip(DOCUMENT_SCHEMA.names, DOCUMENT_SCHEMA.types, strict=True)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=DOCUMENT_SCHEMA)


def _texts(bodies: list[bytes | None]) -> pa.Array:
    """Column of text from bytes that were checked to be UTF-8, with one copy and no growing."""
    sizes = np.fromiter((0 if body is None else len(body) for body in bodies), np.int64, count=len(bodies))
    there = np.fromiter((body is not None for body in bodies), np.bool_, count=len(bodies))
    offsets = np.zeros(len(bodies) + 1, np.int32)
    np.cumsum(sizes, out=offsets[1:])
    data = pa.py_buffer(b"".join(body for body in bodies if body is not None))
    valid = pa.py_buffer(np.packbits(there, bitorder="little").tobytes())
    return pa.StringArray.from_buffers(len(bodies), pa.py_buffer(offsets), data, valid)
