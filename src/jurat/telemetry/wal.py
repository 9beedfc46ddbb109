"""The write-ahead log: what was acknowledged is on disk, before anything is decoded.

Records are appended to segment files; many that arrive together share one ``fdatasync``, and only then does each caller
learn its offset. A torn tail (the last write before a kill) fails its checksum and is cut off at the next start: it was never
acknowledged. Segments go once everything in them is in the lake.
"""

from __future__ import annotations

import os
import queue
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from jurat.errors import EngineError, IntegrityError, JuratError
from jurat.store.durable import fsync_directory, make_folder

__all__ = ["LogFull", "Record", "WriteAheadLog"]

_HEAD = struct.Struct("<IIQHB")
"""Length of what follows the checksum's own field, CRC-32 of it, microseconds, length of the tenant, kind."""

_CRC_FROM = 8
_SEGMENT_BYTES = 64 << 20
_MOST_PAYLOAD = 256 << 20


class LogFull(JuratError):
    """More is waiting to go into the lake than may wait; nothing was taken.

    Attributes
    ----------
    retry_after
        Seconds after which to try again.
    """

    def __init__(self, waiting: int, limit: int, retry_after: int) -> None:
        super().__init__(
            "the write-ahead log is full", seen=f"{waiting:,} of {limit:,} bytes wait", next_step="send it again later"
        )
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One payload as it was received.

    Attributes
    ----------
    offset, end
        Where it begins and ends in the log; ``end`` is where reading goes on after it.
    received_us
        When it was received, microseconds since 1970 (UTC).
    tenant
        Whose it is.
    kind
        What it is; a small number that the writer chose.
    payload
        The bytes.
    """

    offset: int
    end: int
    received_us: int
    tenant: str
    kind: int
    payload: bytes


@dataclass(slots=True)
class _Waiting:
    frame: bytes
    done: Future[int]


class WriteAheadLog:
    """A log in a folder, written by one process.

    Parameters
    ----------
    folder
        Where its segments lie; made where it is missing.
    most_bytes
        Bytes that may wait to be freed before `append` refuses.
    window_seconds
        How long the first record of a group waits for others.
    segment_bytes
        Size at which a new segment is begun.

    Raises
    ------
    IntegrityError
        Where a segment other than the last is damaged: acknowledged records would be lost without a word.
    """

    def __init__(
        self,
        folder: Path,
        *,
        most_bytes: int = 1 << 30,
        window_seconds: float = 0.002,
        segment_bytes: int = _SEGMENT_BYTES,
    ) -> None:
        make_folder(folder)
        self.folder = folder
        self.most_bytes = most_bytes
        self.window_seconds = window_seconds
        self.segment_bytes = segment_bytes
        self.cut_bytes = 0
        self._lock = threading.Lock()
        self._file = threading.Lock()
        self._end = self._repair()
        self._free = min((s for s, _ in self._segments()), default=self._end)
        self._queued = 0
        self._stream: BinaryIO | None = None
        self._segment = self._end
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._closed = False
        self._writer = threading.Thread(target=self._write_groups, name="write-ahead-log", daemon=True)
        self._writer.start()

    @property
    def start(self) -> int:
        """Offset up to which everything was let go of; reading can begin no earlier."""
        return self._free

    @property
    def end(self) -> int:
        """Offset behind the last record that is on disk."""
        return self._end

    @property
    def waiting_bytes(self) -> int:
        """Bytes that are on disk or queued, and not freed."""
        return self._end - self._free + self._queued

    def append(self, payload: bytes, *, tenant: str = "", kind: int = 0, received_us: int | None = None) -> Future[int]:
        """Queue a payload; the future gives its offset once it is on disk.

        Parameters
        ----------
        payload
            The bytes as received.
        tenant, kind, received_us
            See `Record`; the time is now unless given.

        Raises
        ------
        LogFull
            Where too much waits already.
        EngineError
            Where the log is closed, or the payload is larger than a record may be.
        """
        name = tenant.encode()
        if len(payload) > _MOST_PAYLOAD or len(name) > 0xFFFF:
            raise EngineError(
                "a payload is too large for the log", seen=f"{len(payload):,} bytes", next_step="send smaller batches"
            )
        stamp = time.time_ns() // 1000 if received_us is None else received_us
        size = _HEAD.size - _CRC_FROM + len(name) + len(payload)
        body = _HEAD.pack(size, 0, stamp, len(name), kind)[_CRC_FROM:] + name + payload
        frame = struct.pack("<II", size, zlib.crc32(body)) + body
        waiting = _Waiting(frame, Future())
        # Who waits may go away; what is queued is written all the same, and its writer must not stumble over the answer.
        waiting.done.set_running_or_notify_cancel()
        with self._lock:
            if self._closed:
                raise EngineError("the write-ahead log is closed", next_step="start the server again")
            if self.waiting_bytes + len(frame) > self.most_bytes:
                raise LogFull(self.waiting_bytes, self.most_bytes, retry_after=5)
            self._queued += len(frame)
            self._queue.put(waiting)
        return waiting.done

    def read(self, offset: int, *, most_bytes: int | None = None) -> Iterator[Record]:
        """Records from an offset on, as far as they are on disk.

        Parameters
        ----------
        offset
            Where a record begins: 0, or the ``end`` of one that was read.
        most_bytes
            Stop once as many bytes were read.
        """
        stop, taken = self._end, 0
        for start, path in self._segments():
            size = path.stat().st_size
            if start + size <= offset or start >= stop:
                continue
            with path.open("rb") as stream:
                place = max(offset, start)
                stream.seek(place - start)
                while place < stop and (record := _read_frame(stream, place)) is not None:
                    yield record
                    place, taken = record.end, taken + record.end - record.offset
                    if most_bytes is not None and taken >= most_bytes:
                        return

    def free(self, offset: int) -> None:
        """Let go of everything before an offset: whole segments are removed from disk.

        Once all is let go of, an empty segment takes the place of the last, so that nothing that was received stays here.
        """
        with self._lock:
            self._free = max(self._free, min(offset, self._end))
        with self._file:
            segments = self._segments()
            if segments and self._free == self._end and segments[-1][0] != self._end:
                self._begin_segment()
                if self._closed and self._stream is not None:
                    self._stream.close()
                segments = self._segments()
            passed = [path for start, path in segments[:-1] if start + path.stat().st_size <= self._free]
            for path in passed:
                path.unlink()
            if passed:
                fsync_directory(self.folder)

    @staticmethod
    def begin_at(folder: Path, offset: int) -> None:
        """Remove what a closed log holds, and let the next begin at an offset.

        Parameters
        ----------
        folder
            Its folder.
        offset
            Where the next record will be.
        """
        for path in folder.glob("*.wal"):
            path.unlink()
        # Names without a file between them would look like a loss: a kill here leaves no log, which is like a new one.
        fsync_directory(folder)
        (folder / f"{offset:020d}.wal").touch()
        fsync_directory(folder)

    def close(self) -> None:
        """Write what is queued, and stop."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._queue.put(None)
        self._writer.join()
        if self._stream is not None:
            self._stream.close()

    def _segments(self) -> list[tuple[int, Path]]:
        return sorted((int(path.stem), path) for path in self.folder.glob("*.wal"))

    def _repair(self) -> int:
        """Cut a torn tail off the last segment; returns where the log ends."""
        segments = self._segments()
        end = 0
        for place, (start, path) in enumerate(segments):
            if place and start != end:
                raise IntegrityError(
                    "a segment of the write-ahead log is missing or damaged", seen=f"{end} to {start}, before {path.name}",
                    next_step="restore it, or move the folder away: what it holds is not in the lake yet",
                )  # fmt: skip
            end = start
            with path.open("rb") as stream:
                while (record := _read_frame(stream, end)) is not None:
                    end = record.end
            torn = start + path.stat().st_size - end
            if torn and place < len(segments) - 1:
                continue
            if torn:
                with path.open("r+b") as stream:
                    stream.truncate(end - start)
                    os.fsync(stream.fileno())
                self.cut_bytes = torn
        return end

    def _write_groups(self) -> None:
        while (first := self._queue.get()) is not None:
            group = [first]
            deadline = time.monotonic() + self.window_seconds
            stopping = False
            while not stopping:
                left = deadline - time.monotonic()
                try:
                    more = self._queue.get(timeout=max(left, 0)) if left > 0 else self._queue.get_nowait()
                except queue.Empty:
                    break
                stopping = more is None
                if more is not None:
                    group.append(more)
            self._write(group)
            if stopping:
                return

    def _write(self, group: list[_Waiting]) -> None:
        """Write a group with one sync; where the disk refuses, none of it is kept and each caller is told."""
        with self._file:
            self._write_held(group)

    def _write_held(self, group: list[_Waiting]) -> None:
        total = sum(len(waiting.frame) for waiting in group)
        try:
            if self._stream is None or self._end - self._segment >= self.segment_bytes:
                self._begin_segment()
            assert self._stream is not None  # noqa: S101 - just begun
            self._stream.write(b"".join(waiting.frame for waiting in group))
            self._stream.flush()
            os.fdatasync(self._stream.fileno())
        except OSError as error:
            self._undo()
            failure = EngineError(
                "the write-ahead log cannot be written", seen=str(error), next_step="make room on its disk"
            )
            with self._lock:
                self._queued -= total
            for waiting in group:
                waiting.done.set_exception(failure)
            return
        place = self._end
        with self._lock:
            self._end += total
            self._queued -= total
        for waiting in group:
            waiting.done.set_result(place)
            place += len(waiting.frame)

    def _begin_segment(self) -> None:
        if self._stream is not None:
            self._stream.close()
        path = self.folder / f"{self._end:020d}.wal"
        self._stream = path.open("ab")
        self._segment = self._end
        fsync_directory(self.folder)

    def _undo(self) -> None:
        """Take back what a failed write may have left; whoever reads must not find it."""
        if self._stream is None:
            return
        try:
            self._stream.close()
        except OSError:  # the buffer could not be emptied; the file is cut next
            self._stream = None
        path = self.folder / f"{self._segment:020d}.wal"
        self._stream = None
        if path.is_file():
            os.truncate(path, self._end - self._segment)
            self._stream = path.open("ab")


def _read_frame(stream: BinaryIO, offset: int) -> Record | None:
    """The record at the stream's place; ``None`` where there is no whole, sound one."""
    head = stream.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    size, crc, stamp, tenant, kind = _HEAD.unpack(head)
    rest = size - (_HEAD.size - _CRC_FROM)
    if rest < tenant or rest > _MOST_PAYLOAD + 0xFFFF:
        return None
    body = stream.read(rest)
    if len(body) < rest or zlib.crc32(body, zlib.crc32(head[_CRC_FROM:])) != crc:
        return None
    return Record(
        offset=offset, end=offset + _CRC_FROM + size, received_us=stamp, tenant=body[:tenant].decode("utf-8", "replace"),
        kind=kind, payload=body[tenant:],
    )  # fmt: skip
