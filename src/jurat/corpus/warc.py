"""WARC: what a crawl stored, record by record, each with the offset that crawl indexes give.

Of the records, those that hold a document are read: responses and resources with a page or plain text, and conversions,
which are text made from a page. Requests, metadata, revisits and the file's own description hold none and are passed over,
though they count in the numbering. A response that is no document (an image, an error page) is met and quarantined.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Iterator
from typing import Any

from jurat.corpus.document import Found, Limits, moment
from jurat.corpus.unpack import DamagedFile, GzipStream

__all__ = ["read_warc"]

_KINDS = ("response", "resource", "conversion")
_PAGES = ("text/html", "application/xhtml+xml", "application/xml+xhtml")
_BLOCK = 1 << 16
_LONGEST_HEADER = 1 << 20
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE)
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[^\r\n]{0,256}\r?\n")
_LOOKS_LIKE_PAGE = re.compile(rb"<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)

Headers = dict[str, str]


def read_warc(stream: io.BufferedReader, *, limits: Limits) -> Iterator[Found]:
    """Read the documents of a WARC or WET file.

    Parameters
    ----------
    stream
        The unpacked file, from `jurat.corpus.unpack.open_packed`.
    limits
        How large a record may be.

    Yields
    ------
    Found
        With the record's number among all records; ``offset`` is that of the record, where packed by record that of the
        packed record.

    Raises
    ------
    DamagedFile
        Where the file ends inside a record or something else stands where a record should begin.

    References
    ----------
    ISO 28500:2017. Information and documentation: WARC file format.
    """
    raw = getattr(stream, "raw", None)
    member_at = raw.member_at if isinstance(raw, GzipStream) else None
    place, number = _skip_blank_lines(stream, 0), 0
    while True:
        headers, used = _record_headers(stream, place)
        if headers is None:
            return
        number += 1
        size = _content_length(headers, place)
        kind = headers.get("warc-type", "").lower()
        if kind in _KINDS:
            record = Found(record=number, offset=place if member_at is None else member_at(place))
            record.url = headers.get("warc-target-uri", "").strip("<> ") or None
            record.crawled = moment(headers.get("warc-date"))
            if size > limits.document_bytes:
                record.n_bytes = size
                record.reason = f"a record of {size} bytes is larger than allowed"
                _skip(stream, size, place)
            else:
                block = stream.read(size)
                if len(block) < size:
                    raise _cut_short(place, size, len(block))
                record.n_bytes = size
                _take_block(record, kind, headers, block, limits)
            yield record
        else:
            _skip(stream, size, place)
        place = _skip_blank_lines(stream, place + used + size)


def _record_headers(stream: io.BufferedReader, place: int) -> tuple[Headers | None, int]:
    """Headers of the record that begins here, and the bytes they take; ``None`` at the end of the file."""
    first = stream.readline(_BLOCK)
    if not first:
        return None, 0
    if not first.startswith(b"WARC/"):
        raise DamagedFile(f"no WARC record begins at byte {place} of the unpacked file: {first[:24]!r}")
    lines: list[bytes] = []
    used = len(first)
    while True:
        line = stream.readline(_BLOCK)
        used += len(line)
        if not line.endswith(b"\n") or used > _LONGEST_HEADER:
            raise DamagedFile(f"truncated WARC: the headers of the record at byte {place} do not end")
        if line in (b"\r\n", b"\n"):
            return _headers(lines), used
        lines.append(line)


def _headers(lines: list[bytes]) -> Headers:
    """Header names in lower case; of a name that stands twice the first value counts, folded lines are joined."""
    found: Headers = {}
    last = ""
    for line in lines:
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        if text[:1] in (" ", "\t") and last:
            found[last] += " " + text.strip()
            continue
        name, colon, value = text.partition(":")
        last = name.strip().lower() if colon else ""
        if last:
            found.setdefault(last, value.strip())
    return found


def _content_length(headers: Headers, place: int) -> int:
    value = headers.get("content-length", "")
    if not (value.isascii() and value.isdecimal()):
        raise DamagedFile(f"the record at byte {place} of the unpacked file has no length: {value[:24]!r}")
    return int(value)


def _cut_short(place: int, size: int, got: int) -> DamagedFile:
    return DamagedFile(f"truncated WARC: the record at byte {place} has {got} of its {size} bytes")


def _skip(stream: io.BufferedReader, size: int, place: int) -> None:
    left = size
    while left:
        block = stream.read(min(left, _BLOCK))
        if not block:
            raise _cut_short(place, size, size - left)
        left -= len(block)


def _skip_blank_lines(stream: io.BufferedReader, place: int) -> int:
    """Pass over the line ends between records; the place after them."""
    while True:
        head = stream.peek(1)[:64]
        blank = len(head) - len(head.lstrip(b"\r\n"))
        if not blank:
            return place
        stream.read(blank)
        place += blank


def _take_block(record: Found, kind: str, headers: Headers, block: bytes, limits: Limits) -> None:
    """Find the document in a record's block, or say why there is none."""
    content_type = headers.get("content-type", "")
    if kind == "response" and content_type.lower().replace(" ", "").startswith("application/http"):
        status, http, block = _http(block)
        if status != 200:
            record.reason = "no HTTP response" if status is None else f"HTTP status {status}"
            return
        content_type = http.get("content-type", "")
        try:
            block = _decoded(block, http, limits)
        except DamagedFile as damage:
            record.reason = str(damage)
            return
    media = content_type.partition(";")[0].strip().lower()
    if kind == "conversion" or media == "text/plain":
        record.body = block
    elif media in _PAGES or (not media and _LOOKS_LIKE_PAGE.search(block[:1024])):
        record.body, record.html = block, True
        declared = _CHARSET.search(content_type)
        record.encoding = declared[1] if declared else None
    else:
        record.reason = f"content type {media[:60]} is no text" if media else "no content type"


def _http(block: bytes) -> tuple[int | None, Headers, bytes]:
    """Status, headers and body of an HTTP response."""
    end = re.search(rb"\r?\n\r?\n", block)
    head, body = (block, b"") if end is None else (block[: end.start()], block[end.end() :])
    first, *lines = head.split(b"\n")
    status = re.match(rb"HTTP/[\d.]+ +(\d{3})\b", first)
    return (int(status[1]) if status else None), _headers(lines), body


def _decoded(body: bytes, http: Headers, limits: Limits) -> bytes:
    """Undo chunks and packing; a server that announces what its crawler already undid is believed by the bytes."""
    if "chunked" in http.get("transfer-encoding", "").lower():
        body = _unchunked(body)
    packings = [part.strip().lower() for part in http.get("content-encoding", "").split(",")]
    for packing in reversed(packings):
        if packing in ("gzip", "x-gzip") and body.startswith(b"\x1f\x8b"):
            body = _inflated(body, 31, limits)
        elif packing == "deflate":
            body = _deflated(body, limits)
        elif packing == "br":
            body = _unbrotlied(body, limits)
        elif packing not in ("", "identity", "gzip", "x-gzip"):
            raise DamagedFile(f"content encoding {packing[:40]!r} is not known")
    return body


def _unchunked(body: bytes) -> bytes:
    """Join chunks; a body that does not begin with a chunk's size was joined already."""
    parts: list[bytes] = []
    place = 0
    while match := _CHUNK.match(body, place):
        size = int(match[1], 16)
        if size == 0:
            return b"".join(parts)
        if match.end() + size > len(body):
            return body if place == 0 else b"".join([*parts, body[match.end() :]])
        parts.append(body[match.end() : match.end() + size])
        place = match.end() + size
        place += 2 if body[place : place + 2] == b"\r\n" else 1
    return b"".join(parts) if place else body


def _inflated(body: bytes, wbits: int, limits: Limits) -> bytes:
    inflate: Any = zlib.decompressobj(wbits=wbits)
    try:
        data = inflate.decompress(body, limits.document_bytes + 1)
    except zlib.error as error:
        raise DamagedFile(f"damaged content encoding: {error}") from error
    if len(data) <= limits.document_bytes and not inflate.eof:
        raise DamagedFile(f"truncated content encoding: {len(data)} bytes could be unpacked")
    return _within(bytes(data), len(body), limits)


def _deflated(body: bytes, limits: Limits) -> bytes:
    """Deflate is sent with and without its zlib frame."""
    try:
        return _inflated(body, zlib.MAX_WBITS, limits)
    except DamagedFile as damage:
        if body[:1] == b"<":
            return body
        if "header" not in str(damage):
            raise
        return _inflated(body, -zlib.MAX_WBITS, limits)


def _unbrotlied(body: bytes, limits: Limits) -> bytes:
    if _LOOKS_LIKE_PAGE.match(body.lstrip()[:64]):
        return body
    try:
        from fastwarc.stream_io import BrotliReader
    except ImportError as error:
        raise DamagedFile("content encoding 'br' needs the package fastwarc") from error
    try:
        data = BrotliReader(io.BytesIO(body)).read(limits.document_bytes + 1)
    except (OSError, ValueError) as error:
        raise DamagedFile(f"damaged content encoding: {error}") from error
    return _within(data, len(body), limits)


def _within(data: bytes, packed: int, limits: Limits) -> bytes:
    if len(data) > limits.document_bytes:
        raise DamagedFile(f"content encoding swells {packed} bytes beyond {limits.document_bytes}")
    if len(data) > limits.ratio_from and len(data) > limits.ratio * packed:
        raise DamagedFile(f"content encoding swells more than {limits.ratio:g} times: {packed} bytes gave {len(data)}")
    return data
