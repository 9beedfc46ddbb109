"""Packed files as streams of bytes that cannot swell without bound and that tell where they are damaged."""

from __future__ import annotations

import io
import zlib
from collections import deque
from typing import IO, Any

import pyarrow as pa

from jurat.corpus.document import Limits

__all__ = ["DamagedFile", "GzipStream", "open_packed"]

_BLOCK = 1 << 16


class DamagedFile(Exception):
    """The rest of a file cannot be read; the message is the reason to put on record."""


class _Swelling:
    """Compares what came out with what went in."""

    def __init__(self, limits: Limits, kind: str) -> None:
        self._limits = limits
        self._kind = kind

    def check(self, unpacked: int, packed: int) -> None:
        if unpacked > self._limits.ratio_from and unpacked > self._limits.ratio * max(packed, 1):
            raise DamagedFile(
                f"{self._kind} swells more than {self._limits.ratio:g} times: "
                f"{packed} bytes gave over {self._limits.ratio_from}"
            )


class GzipStream(io.RawIOBase):
    """Unpack gzip, member after member, with memory bounded by what is asked for.

    Parameters
    ----------
    stream
        The packed bytes.
    limits
        Holds the ratio, which is checked for each member and for all of them together.
    track
        Whether to remember where members begin, for `member_at`.
    """

    def __init__(self, stream: IO[bytes], limits: Limits, *, track: bool = False) -> None:
        self._stream = stream
        self._swelling = _Swelling(limits, "gzip")
        self._inflate: Any = None
        self._waiting = b""
        self._fed = 0
        self._given = 0
        self._member = (0, 0)
        self._members: deque[tuple[int, int]] | None = deque() if track else None

    def readable(self) -> bool:
        """Whether it can be read: yes."""
        return True

    def member_at(self, place: int) -> int:
        """Packed offset of the member that holds an unpacked byte; asked for in rising order."""
        members = self._members
        if not members:
            return 0
        while len(members) > 1 and members[1][0] <= place:
            members.popleft()
        return members[0][1]

    def readinto(self, buffer: Any) -> int:
        """Unpack some bytes into a buffer; 0 at the end."""
        while True:
            if self._inflate is None and not self._begin():
                return 0
            if not self._waiting:
                self._waiting = self._stream.read(_BLOCK)
                self._fed += len(self._waiting)
            at_end = not self._waiting
            try:
                data = self._inflate.decompress(self._waiting, len(buffer))
            except zlib.error as error:
                raise DamagedFile(f"damaged gzip near byte {self._fed}: {error}") from error
            self._waiting = self._inflate.unconsumed_tail
            if self._inflate.eof:
                self._waiting, self._inflate = self._inflate.unused_data, None
            elif at_end and not data:
                raise DamagedFile(f"truncated gzip: the file ends after {self._fed} bytes, inside a member")
            if data:
                self._given += len(data)
                consumed = self._fed - len(self._waiting)
                self._swelling.check(self._given - self._member[0], consumed - self._member[1])
                self._swelling.check(self._given, consumed)
                buffer[: len(data)] = data
                return len(data)

    def _begin(self) -> bool:
        """Begin the next member; padding with zeros after the last one is allowed, as by gzip."""
        while True:
            if self._given:
                self._waiting = self._waiting.lstrip(b"\0")
            if self._waiting:
                break
            self._waiting = self._stream.read(_BLOCK)
            self._fed += len(self._waiting)
            if not self._waiting:
                return False
        self._member = (self._given, self._fed - len(self._waiting))
        if self._members is not None:
            self._members.append(self._member)
        self._inflate = zlib.decompressobj(wbits=31)
        return True


class _ZstandardStream(io.RawIOBase):
    """Unpack Zstandard by Arrow, counting what goes in and what comes out."""

    def __init__(self, stream: IO[bytes], limits: Limits) -> None:
        self._swelling = _Swelling(limits, "zstandard")
        self._packed = stream
        self._stream = pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "zstd")
        self._given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._stream.read(min(len(buffer), 1 << 20))
        except (OSError, pa.ArrowException) as error:
            raise DamagedFile(f"damaged or truncated zstandard after {self._given} unpacked bytes: {error}") from error
        if data:
            self._given += len(data)
            self._swelling.check(self._given, self._packed.tell())
            buffer[: len(data)] = data
        return len(data)


def open_packed(stream: IO[bytes], packing: str, limits: Limits) -> io.BufferedReader:
    """Unpack a stream on the way.

    Parameters
    ----------
    stream
        An open file, kept open by the caller.
    packing
        ``"gz"``, ``"zst"`` or ``""``.
    limits
        Bounds on how far it may swell.

    Returns
    -------
    BufferedReader
        Whose ``raw`` is a `GzipStream` where packed by gzip. Reading raises `DamagedFile`.

    Examples
    --------
    >>> import gzip
    >>> open_packed(io.BytesIO(gzip.compress(b"one") + gzip.compress(b" two")), "gz", Limits()).read()
    b'one two'
    """
    if packing == "gz":
        return io.BufferedReader(GzipStream(stream, limits, track=True), _BLOCK)
    if packing == "zst":
        return io.BufferedReader(_ZstandardStream(stream, limits), 1 << 20)
    return io.BufferedReader(stream, _BLOCK)  # type: ignore[arg-type]
