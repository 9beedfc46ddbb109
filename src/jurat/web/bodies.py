"""Bodies of requests: read to a limit, unpacked to a limit, checked cheaply; whatever is hostile is refused in bounded memory."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pyarrow as pa
from starlette.requests import ClientDisconnect

from jurat.errors import JuratError

__all__ = [
    "BadBody",
    "Limits",
    "check_json",
    "check_protobuf",
    "length_delimited",
    "partial_success",
    "read_body",
    "unpack",
]

_STEP = 1 << 16
_MOST_PARTS = 64
_MOST_FIELDS = 1 << 16
_MOST_BRACKETS = 1 << 22
"""Parts of a body: a small one that unpacks to millions of nothings would keep the server busy for long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a request may weigh.

    Attributes
    ----------
    packed_bytes
        Its body as sent.
    unpacked_bytes
        Its body once unpacked.
    seconds
        How long its body may take to come.
    """

    packed_bytes: int = 16 << 20
    unpacked_bytes: int = 64 << 20
    seconds: float = 60.0


class BadBody(JuratError):
    """A body that is not taken.

    Attributes
    ----------
    status
        HTTP status to answer with.
    """

    def __init__(self, what: str, *, status: int = 400, seen: str | None = None) -> None:
        super().__init__(what, seen=seen)
        self.status = status


async def read_body(chunks: AsyncIterator[bytes], limits: Limits) -> bytes:
    """Gather a body, and stop where it grows too large or does not come.

    Raises
    ------
    BadBody
        413 where it is too large, 408 where it takes too long, 400 where its sender left.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(limits.seconds):
            async for chunk in chunks:
                body += chunk
                if len(body) > limits.packed_bytes:
                    raise BadBody("the body is too large", status=413, seen=f"more than {limits.packed_bytes:,} bytes")
    except TimeoutError as error:
        raise BadBody(
            "the body did not come in time", status=408, seen=f"{len(body):,} bytes in {limits.seconds:g} s"
        ) from error
    except ClientDisconnect as error:
        raise BadBody("the sender left", seen=f"after {len(body):,} bytes") from error
    return bytes(body)


def unpack(body: bytes, encoding: str, limits: Limits) -> bytes:
    """Unpack a body by its content encoding.

    Parameters
    ----------
    body
        As sent.
    encoding
        ``identity``, ``gzip``, ``deflate`` or ``zstd``; empty for none.
    limits
        An unpacked body beyond them is refused before it is whole.

    Raises
    ------
    BadBody
        415 for another encoding, 413 beyond the limit, 400 where it is damaged.

    Examples
    --------
    >>> import gzip
    >>> unpack(gzip.compress(b"spans"), "gzip", Limits())
    b'spans'
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body
    if name in ("gzip", "deflate"):
        return _inflated(body, 31 if name == "gzip" else 47, limits)
    if name == "zstd":
        return _zstd(body, limits)
    raise BadBody("unknown content encoding", status=415, seen=name[:40])


def _too_large(limits: Limits) -> BadBody:
    return BadBody("the body is too large once unpacked", status=413, seen=f"more than {limits.unpacked_bytes:,} bytes")


def _inflated(body: bytes, bits: int, limits: Limits) -> bytes:
    engine, out, rest, parts = zlib.decompressobj(wbits=bits), bytearray(), body, 1
    try:
        while rest:
            out += engine.decompress(rest, _STEP)
            if len(out) > limits.unpacked_bytes:
                raise _too_large(limits)
            if engine.eof and engine.unused_data:
                # Packed pieces may follow each other (RFC 1952); what is behind the first is part of the body too.
                parts += 1
                if parts > _MOST_PARTS:
                    raise BadBody("the body is packed in too many pieces", seen=f"more than {_MOST_PARTS:,}")
                rest, engine = engine.unused_data, zlib.decompressobj(wbits=bits)
                continue
            rest = engine.unconsumed_tail
    except zlib.error as error:
        raise BadBody("the body is not what its content encoding says", seen=str(error)) from error
    if not engine.eof:
        raise BadBody("the packed body is cut short")
    return bytes(out)


def _zstd(body: bytes, limits: Limits) -> bytes:
    out = bytearray()
    try:
        with pa.CompressedInputStream(pa.BufferReader(body), "zstd") as stream:
            while piece := stream.read(_STEP):
                out += piece
                if len(out) > limits.unpacked_bytes:
                    raise _too_large(limits)
    except OSError as error:
        raise BadBody("the body is not what its content encoding says", seen=str(error)[:80]) from error
    return bytes(out)


def check_protobuf(body: bytes) -> None:
    """Walk the outermost fields: each must be a message that ends inside the body.

    Raises
    ------
    BadBody
        Where one does not, or they are too many; what is inside is looked at when it is decoded.
    """
    place = fields = 0
    while place < len(body):
        fields += 1
        if fields > _MOST_FIELDS:
            raise BadBody("the body has too many parts", status=413, seen=f"more than {_MOST_FIELDS:,}")
        key, place = _varint(body, place)
        if key & 7 != 2 or key >> 3 == 0:
            raise BadBody("the body is no OTLP request", seen=f"wire type {key & 7} at byte {place}")
        size, place = _varint(body, place)
        place += size
    if place != len(body):
        raise BadBody("the body is cut short", seen=f"{len(body):,} bytes; a field ends at {place:,}")


def check_json(body: bytes) -> None:
    """Whether a body is one JSON object in UTF-8.

    Raises
    ------
    BadBody
        Where it is not, or would take far more memory than its bytes.
    """
    if body.count(b"{") + body.count(b"[") > _MOST_BRACKETS:
        raise BadBody("the body has too many parts", status=413, seen=f"more than {_MOST_BRACKETS:,} brackets")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadBody("the body is not JSON", seen=str(error)[:80]) from error
    if not isinstance(document, dict):
        raise BadBody("the body is no JSON object", seen=type(document).__name__)


def _varint(body: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(body) and shift < 64:
        byte = body[place]
        value |= (byte & 0x7F) << shift
        place += 1
        if byte < 0x80:
            return value, place
        shift += 7
    raise BadBody("the body is no OTLP request", seen=f"a number does not end at byte {place}")


def partial_success(rejected: int, reason: str) -> bytes:
    """An ExportTraceServiceResponse that says how many spans were not taken (OTLP 1.x, partial success), in protobuf.

    Parameters
    ----------
    rejected
        Number of spans, at least 1.
    reason
        Why, in a sentence.

    Examples
    --------
    >>> partial_success(3, "no id").hex()
    '0a09080312056e6f206964'
    """
    return length_delimited(1, b"\x08" + _to_varint(rejected) + length_delimited(2, reason.encode()))


def length_delimited(number: int, body: bytes) -> bytes:
    """A field of a protobuf message that is text, bytes or a message itself.

    Parameters
    ----------
    number
        Of the field, at most 15.
    body
        What it holds.

    Examples
    --------
    >>> length_delimited(2, b"no id").hex()
    '12056e6f206964'
    """
    return bytes([number << 3 | 2]) + _to_varint(len(body)) + body


def _to_varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
