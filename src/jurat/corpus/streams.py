"""Bytes of files in bounded memory: decompressed as they are read, cut into lines, with limits that hostile files meet.

A gzip file of zeros expands a thousandfold and one line may be longer than memory; both are stopped where they exceed
their limit, told, and the reader goes on.
"""

from __future__ import annotations

import bz2
import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa

__all__ = ["Limits", "Line", "StreamBroken", "read_chunks", "read_lines"]

_CHUNK = 1 << 20
_FREE = 64 << 20
"""Bytes that may come out of any file before its ratio is looked at."""


class StreamBroken(Exception):
    """The rest of a file cannot be had; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a document and a file may be.

    Attributes
    ----------
    document_bytes
        A longer document is quarantined.
    expansion
        A compressed file may expand so many times, once 64 MB are out.
    """

    document_bytes: int = 16 << 20
    expansion: float = 200.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of a file.

    Attributes
    ----------
    content
        Its bytes without the line end; ``None`` where it is longer than allowed.
    offset
        Byte at which it begins in the decompressed file.
    size
        Bytes it has.
    """

    content: bytes | None
    offset: int
    size: int


def read_chunks(path: Path, limits: Limits) -> Iterator[bytes]:
    """Decompressed bytes of a file, a piece at a time.

    Raises
    ------
    StreamBroken
        Where the compressed stream is cut or damaged, or expands beyond the limit; what came before was yielded.
    """
    with path.open("rb") as raw:
        head = raw.read(4)
        raw.seek(0)
        if head[:2] == b"\x1f\x8b":
            pieces = _unpacked(cast(BinaryIO, gzip.GzipFile(fileobj=raw)))
        elif head == b"\x28\xb5\x2f\xfd":
            pieces = _zstd(raw)
        elif head[:3] == b"BZh":
            pieces = _unpacked(cast(BinaryIO, bz2.BZ2File(raw)))
        else:
            pieces = iter(lambda: raw.read(_CHUNK), b"")
        out = 0
        for piece in pieces:
            out += len(piece)
            if out > _FREE and out > limits.expansion * raw.tell():
                raise StreamBroken(f"expands more than {limits.expansion:g} times ({out:,} bytes so far)")
            yield piece


def read_lines(path: Path, limits: Limits) -> Iterator[Line]:
    """Lines of a file; one that is too long is passed over and told by its size."""
    kept, size, offset, dropped = bytearray(), 0, 0, False
    for chunk in read_chunks(path, limits):
        first = 0
        while (end := chunk.find(b"\n", first)) >= 0:
            size += end - first
            if not dropped and size <= limits.document_bytes:
                kept += chunk[first:end]
                yield Line(content=bytes(kept).removesuffix(b"\r"), offset=offset, size=size)
            else:
                yield Line(content=None, offset=offset, size=size)
            offset += size + 1
            kept, size, dropped = bytearray(), 0, False
            first = end + 1
        size += len(chunk) - first
        if size > limits.document_bytes:
            kept, dropped = bytearray(), True
        elif not dropped:
            kept += chunk[first:]
    if size:
        yield Line(content=None if dropped else bytes(kept), offset=offset, size=size)


def _unpacked(stream: BinaryIO) -> Iterator[bytes]:
    """Pieces of a gzip or bzip2 file, all its members."""
    try:
        while piece := stream.read(_CHUNK):
            yield piece
    except (OSError, EOFError, zlib.error) as error:
        raise StreamBroken(f"damaged or cut short ({error})") from error


def _zstd(raw: BinaryIO) -> Iterator[bytes]:
    try:
        with pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd") as stream:
            while piece := stream.read(_CHUNK):
                yield piece
    except OSError as error:
        raise StreamBroken(f"damaged or cut short ({error})") from error
