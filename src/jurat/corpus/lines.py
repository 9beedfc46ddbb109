"""Lines of any length in bounded memory, and bytes checked to be text."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Line", "not_text", "read_lines"]

_SKIPPED = 1 << 20
_GLANCE = 64


@dataclass(frozen=True, slots=True)
class Line:
    """A line: its number from 1, where it begins, its bytes with the line end, and its size.

    ``raw`` is ``None`` where the line is longer than allowed; it was passed over without being held.
    """

    number: int
    offset: int
    raw: bytes | None
    size: int


def read_lines(stream: io.BufferedReader, longest: int) -> Iterator[Line]:
    """Read line after line.

    Parameters
    ----------
    stream
        Bytes; a byte order mark at the beginning is passed over.
    longest
        Bytes, line end aside, that a line may have to be held.

    Examples
    --------
    >>> [(line.offset, line.raw, line.size) for line in read_lines(io.BufferedReader(io.BytesIO(b"one\\ntwelve\\n3")), 3)]
    [(0, b'one\\n', 4), (4, None, 7), (11, b'3', 1)]
    """
    offset = number = 0
    while raw := stream.readline(longest + 2):
        number += 1
        begin, size = offset, len(raw)
        offset += size
        held: bytes | None = raw
        end = 2 if raw.endswith(b"\r\n") else raw.endswith(b"\n")
        if size - end > longest:
            held = None
            while not raw.endswith(b"\n") and (raw := stream.readline(_SKIPPED)):
                size += len(raw)
            offset = begin + size
        elif number == 1 and raw.startswith(codecs.BOM_UTF8):
            held = raw[len(codecs.BOM_UTF8) :]
        yield Line(number, begin, held, size)


def not_text(raw: bytes) -> str | None:
    """Say why bytes are no text, with the position (from 0) of the first byte at fault; ``None`` where they are.

    Examples
    --------
    >>> not_text("naïve".encode()), not_text(b"caf\\xe9!"), not_text(b"a\\0b"), not_text(b" \\n")
    (None, 'not UTF-8: byte 0xe9 at position 3', 'NUL byte at position 1', 'empty')
    """
    nul = raw.find(b"\0")
    try:
        if not raw.isascii():
            codecs.utf_8_decode(raw, "strict", True)
    except UnicodeDecodeError as error:
        if nul < 0 or error.start < nul:
            return f"not UTF-8: byte 0x{raw[error.start]:02x} at position {error.start}"
    if nul >= 0:
        return f"NUL byte at position {nul}"
    return None if _has_ascii(raw[:_GLANCE]) or raw.decode().strip() else "empty"


def _has_ascii(raw: bytes) -> bool:
    """Whether something visible stands near the beginning, told without decoding the rest."""
    return any(32 < byte < 127 for byte in raw)
