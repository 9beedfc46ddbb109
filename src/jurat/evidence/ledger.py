"""The ledger: what was sworn, in order, so that nothing can be changed, dropped or reordered unseen.

`Ledger` appends; `jurat.evidence.chain` reads and checks, and its names are offered here too. An append
holds the file's lock, puts the entry on disk, then the head that names it, and only then returns. A kill
between the two leaves a good entry past the head, which the next append seals; a torn line was never
acknowledged, and the next append cuts it off and writes down that it did.
"""

from __future__ import annotations

import base64
import datetime as dt
import fcntl
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from jurat.errors import IntegrityError, UsageError
from jurat.evidence.canonical import canonical_json, digest
from jurat.evidence.chain import (
    ENTRY_TYPE,
    HEAD_TYPE,
    START,
    Entry,
    Head,
    LedgerReport,
    head_path,
    no_head,
    open_ledger,
    open_line,
    read_entries,
    read_head,
    sha256_hex,
    verify_ledger,
)
from jurat.evidence.dsse import seal, statement
from jurat.evidence.keys import PublicKey, SigningKey
from jurat.evidence.statement import as_test_result
from jurat.store.durable import fsync_directory, write_atomically

__all__ = [
    "ENTRY_TYPE",
    "HEAD_TYPE",
    "Entry",
    "Head",
    "Ledger",
    "LedgerReport",
    "export",
    "head_path",
    "read_entries",
    "verify_ledger",
]


class Ledger:
    """A ledger that one key appends to; any number of processes may do so at once.

    Parameters
    ----------
    path
        The file, made on the first append.
    key
        Signs entries and head.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> ledger = Ledger(folder / "ledger.jsonl", SigningKey.generate())
    >>> ledger.append("note", {"text": "first"}).index
    1
    >>> [entry.kind for entry in ledger.entries()]
    ['genesis', 'note']
    >>> verify_ledger(ledger.path).count
    2
    """

    def __init__(self, path: Path, key: SigningKey) -> None:
        self.path = path
        self.key = key

    def append(self, kind: str, body: Mapping[str, Any]) -> Entry:
        """Append an entry; when this returns, it is on disk and sealed by the head.

        Parameters
        ----------
        kind
            What sort of entry it is.
        body
            Plain JSON types.

        Raises
        ------
        IntegrityError
            Where the file is shorter than its signed head says, its head is missing, or its tail is not this
            key's.
        ValueError
            Where the body is not plain JSON; nothing is written then.
        """
        canonical_json([kind, dict(body)])
        with _locked(self.path) as stream:
            count, last, repaired = self._recover(stream)
            if count == 0:
                # The nonce tells two ledgers of one key apart, so that an entry of one never fits into the
                # other.
                genesis = {
                    "public_key": base64.b64encode(self.key.public.raw).decode(),
                    "nonce": secrets.token_hex(16),
                }
                entry = self._write(stream, 0, START, "genesis", genesis)
                count, last = self._seal(stream, entry)
            if repaired is not None:
                entry = self._write(stream, count, last, "repaired", repaired)
                count, last = count + 1, entry.line_sha256
            entry = self._write(stream, count, last, kind, body)
            self._seal(stream, entry)
        return entry

    def entries(self) -> list[Entry]:
        """Every entry, checked on the way (`read_entries`)."""
        return read_entries(self.path, public_key=self.key.public)

    def head(self) -> Head | None:
        """Return the signed head, checked; ``None`` where nothing was appended yet."""
        return read_head(self.path, self.key.public)

    def _write(self, stream: IO[bytes], index: int, previous: str, kind: str, body: Mapping[str, Any]) -> Entry:
        now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
        predicate: dict[str, Any] = {
            "index": index,
            "previous": previous,
            "time": now,
            "kind": kind,
            "body": dict(body),
        }
        document = statement(ENTRY_TYPE, predicate, subject={kind: digest(predicate["body"])})
        line = canonical_json(seal(document, [self.key]))
        stream.write(line + b"\n")
        stream.flush()
        return Entry(**predicate, line_sha256=sha256_hex(line))

    def _seal(self, stream: IO[bytes], entry: Entry) -> tuple[int, str]:
        """Put entries on disk, then the head that names the last: it never names what could still be lost."""
        os.fsync(stream.fileno())
        head = Head(count=entry.index + 1, last=entry.line_sha256, size=stream.tell(), time=entry.time)
        document = statement(HEAD_TYPE, asdict(head), subject={self.path.name: head.last})
        write_atomically(head_path(self.path), canonical_json(seal(document, [self.key])) + b"\n")
        return head.count, head.last

    def _recover(self, stream: IO[bytes]) -> tuple[int, str, dict[str, Any] | None]:
        """Find where to go on: at the head, or past it where a kill fell between entry and head.

        A torn last line was never acknowledged: it is cut off, and the next append records that.
        """
        size = stream.seek(0, os.SEEK_END)
        head = self.head()
        if head is not None and size < head.size:
            raise IntegrityError(
                "the ledger was truncated",
                seen=f"{self.path} has {size} bytes; its head names {head.size} ({head.count} entries)",
                next_step="restore it from a copy; nothing was appended",
            )
        count, last = (0, START) if head is None else (head.count, head.last)
        stream.seek(0 if head is None else head.size)
        *lines, torn = stream.read().split(b"\n")
        if head is None and len(lines) > 1:
            # Entry 0 is sealed before entry 1 is written: no kill explains this, and going on would hide a
            # cut tail.
            raise no_head(self.path)
        for line in lines:
            entry = open_line(line, count, last, self.key.public)
            count, last = entry.index + 1, entry.line_sha256
        repaired = None
        if torn:
            stream.truncate(size - len(torn))
            repaired = {
                "bytes": len(torn),
                "sha256": sha256_hex(torn),
                "reason": "an append was cut off before its end",
            }
        stream.seek(0, os.SEEK_END)
        return count, last, repaired


@contextmanager
def _locked(path: Path) -> Iterator[IO[bytes]]:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    # Append mode: every write lands at the end, whatever another process did before the lock was ours.
    with path.open("a+b") as stream:
        fcntl.flock(stream.fileno(), fcntl.LOCK_EX)
        if new:
            fsync_directory(path.parent)
        yield stream


def export(path: Path, out: Path, *, public_key: PublicKey | None = None, key: SigningKey | None = None) -> int:
    """Write a ledger's entries for tools that know in-toto and DSSE but not us, one envelope a line.

    The entries' own envelopes go out unchanged, so their signatures and hashes stay what they were.

    Parameters
    ----------
    path
        The ledger; it is verified first.
    out
        File to write (JSON lines).
    public_key
        Key that must have signed, as in `verify_ledger`.
    key
        Where given, each verdict is followed by a companion ``test-result/v0.1`` statement under this key,
        whose subject is the verdict and whose configuration is the bar.

    Returns
    -------
    int
        Envelopes written.

    Raises
    ------
    IntegrityError
        Where the ledger does not hold.
    UsageError
        Where ``out`` is the ledger or its head.
    """
    if out.resolve() in (path.resolve(), head_path(path).resolve()):
        raise UsageError("the export would overwrite the ledger", seen=str(out), next_step="name another file")
    verify_ledger(path, public_key=public_key)
    opened = open_ledger(path, public_key=public_key)
    lines: list[bytes] = []
    bar: dict[str, str] = {}
    for entry, line in zip(opened.entries, opened.lines, strict=True):
        lines.append(line)
        if entry.kind == "bar" and "sha256" in entry.body:
            bar = {str(entry.body.get("file", "bar")): str(entry.body["sha256"])}
        if entry.kind == "verdict" and key is not None:
            companion = as_test_result(
                entry.body["verdict"], subject={"verdict": digest(entry.body)}, configuration=bar
            )
            lines.append(canonical_json(seal(companion, [key])))
    write_atomically(out, b"".join(line + b"\n" for line in lines))
    return len(lines)
