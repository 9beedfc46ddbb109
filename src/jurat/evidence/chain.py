"""Reading a ledger: every signature, every link of the chain, and the head, without any private key.

One line an entry, each a DSSE envelope around an in-toto statement: any DSSE verifier can open it. The
statement carries the entry's index and the SHA-256 of the line before, so the lines form a chain. Beside the
ledger lies its head, signed too: how many entries there are and the hash of the last, so that a cut-off tail
is seen. ``docs/verify_ledger.py`` checks both without this package.

What the two files cannot show by themselves is a roll-back of both to an earlier genuine state. Publish the
head (a commit, a mail, a second ledger) and give it to `verify_ledger` as ``anchor``.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jurat.errors import IntegrityError
from jurat.evidence.canonical import canonical_json, parse_json
from jurat.evidence.dsse import open_envelope
from jurat.evidence.keys import PublicKey

__all__ = [
    "ENTRY_TYPE",
    "HEAD_TYPE",
    "START",
    "Entry",
    "Head",
    "LedgerReport",
    "OpenedLedger",
    "head_path",
    "no_head",
    "open_ledger",
    "open_line",
    "read_entries",
    "read_head",
    "sha256_hex",
    "verify_ledger",
]

ENTRY_TYPE = "urn:jurat:ledger-entry:1"
HEAD_TYPE = "urn:jurat:ledger-head:1"
START = "0" * 64

_ENTRY_FIELDS = {"index": int, "previous": str, "time": str, "kind": str, "body": dict}
_HEAD_FIELDS = {"count": int, "last": str, "size": int, "time": str}
_UNTOUCHED = "restore the ledger from an untouched copy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of a ledger.

    Attributes
    ----------
    index
        Place in the chain; entry 0 (``genesis``) carries the public key.
    previous
        SHA-256 of the line before, without its line end; 64 zeros for entry 0.
    time
        UTC time of the append by the writer's clock, ISO 8601.
    kind, body
        What sort of entry it is, and what it says.
    line_sha256
        SHA-256 of this line, without its line end.
    """

    index: int
    previous: str
    time: str
    kind: str
    body: Mapping[str, Any]
    line_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What the signed head says: entries, hash of the last line, bytes of the ledger, time of the last."""

    count: int
    last: str
    size: int
    time: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerReport:
    """What a verified ledger is: entries, the hash of the last, whose key, and how many lie past the head."""

    count: int
    head: str
    keyid: str
    unsealed: int

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return asdict(self)

    def __str__(self) -> str:
        return f"ledger holds: {self.count} entries, head {self.head[:16]}, key {self.keyid[:16]}"


def head_path(path: Path) -> Path:
    """File of a ledger's head: ``ledger.jsonl`` has ``ledger.head.json``."""
    return path.with_suffix(".head.json")


def sha256_hex(data: bytes) -> str:
    """SHA-256 of bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def _altered(place: str, seen: str) -> IntegrityError:
    return IntegrityError(f"{place} was altered", seen=seen, next_step=_UNTOUCHED)


def no_head(path: Path) -> IntegrityError:
    """Error of a ledger whose head is missing."""
    return IntegrityError(
        "the ledger has no head",
        seen=f"{head_path(path)} is missing, so nobody can tell whether entries were cut off",
        next_step="restore it from a copy; where the very first append was killed, the next append makes it",
    )


def _envelope(raw: bytes, place: str) -> dict[str, Any]:
    """Parse a line that must be a canonical envelope and nothing else, so that no byte of it is free."""
    try:
        document: dict[str, Any] = parse_json(raw)
        exact = canonical_json(document) == raw
    except ValueError as error:
        raise _altered(place, f"it is not JSON ({error})") from error
    if not exact:
        raise _altered(place, "it is not in canonical form")
    if not isinstance(document, dict) or document.keys() != {"payload", "payloadType", "signatures"}:
        raise _altered(place, "it is not a signed envelope")
    return document


def _predicate(document: Mapping[str, Any], kind: str, fields: Mapping[str, type], place: str) -> dict[str, Any]:
    predicate: dict[str, Any] = document.get("predicate", {})
    if document.get("predicateType") != kind:
        raise _altered(place, f"it holds a {document.get('predicateType')!r}")
    if not isinstance(predicate, dict) or {k: type(v) for k, v in predicate.items()} != dict(fields):
        raise _altered(place, f"its fields are not {', '.join(fields)}")
    return predicate


def _head_bytes(path: Path) -> bytes | None:
    file = head_path(path)
    return file.read_bytes() if file.exists() else None


def read_head(path: Path, key: PublicKey) -> Head | None:
    """Read a ledger's head and check that a key signed it; ``None`` where there is none.

    Raises
    ------
    IntegrityError
        Where the head was altered or is another key's.
    """
    return _open_head(_head_bytes(path), path, key)


def _open_head(raw: bytes | None, path: Path, key: PublicKey) -> Head | None:
    if raw is None:
        return None
    place = f"the head {head_path(path).name}"
    if not raw.endswith(b"\n"):
        raise _altered(place, "its last line does not end")
    document = open_envelope(_envelope(raw[:-1], place), [key], place=place)
    head = Head(**_predicate(document, HEAD_TYPE, _HEAD_FIELDS, place))
    if head.count < 1:
        raise _altered(place, f"it names {head.count} entries")
    return head


def open_line(line: bytes, index: int, previous: str, key: PublicKey) -> Entry:
    """Open one line and check its place in the chain.

    Parameters
    ----------
    line
        The line's bytes, without its end.
    index, previous
        Which entry it must be, and the hash of the line before.
    key
        Key that must have signed.

    Raises
    ------
    IntegrityError
        Naming entry, line and fault.
    """
    place = f"entry {index} (line {index + 1})"
    document = open_envelope(_envelope(line, place), [key], place=place)
    entry = Entry(**_predicate(document, ENTRY_TYPE, _ENTRY_FIELDS, place), line_sha256=sha256_hex(line))
    if entry.index > index:
        raise IntegrityError(
            f"{place} is not in its place",
            seen=f"the line holds entry {entry.index}: entry {index} was dropped or moved",
            next_step=_UNTOUCHED,
        )
    if entry.index < index:
        raise IntegrityError(
            f"{place} is not in its place",
            seen=f"the line holds entry {entry.index}, which was repeated, moved or inserted here",
            next_step=_UNTOUCHED,
        )
    if entry.previous != previous:
        raise IntegrityError(
            f"the chain breaks at {place}",
            seen=f"it names {entry.previous[:16]} as the line before, which is {previous[:16]}",
            next_step="the line before was replaced, or this one comes from another ledger; " + _UNTOUCHED,
        )
    return entry


def _genesis_key(line: bytes) -> PublicKey:
    """Take the key from entry 0. It proves that nothing changed since, not who signed."""
    document = _envelope(line, "entry 0 (line 1)")
    try:
        payload = parse_json(base64.b64decode(document["payload"], validate=True))
        raw = base64.b64decode(payload["predicate"]["body"]["public_key"], validate=True)
        if len(raw) != 32:
            raise ValueError("the key has the wrong length")
    except (KeyError, TypeError, ValueError) as error:
        raise _altered("entry 0 (line 1)", f"it does not carry the ledger's public key ({error})") from error
    return PublicKey(raw)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedLedger:
    """A ledger whose signatures and chain hold, with the bytes they hold for: lines, and the head unread."""

    entries: list[Entry]
    lines: list[bytes]
    head: bytes | None
    key: PublicKey


def open_ledger(path: Path, *, public_key: PublicKey | None = None) -> OpenedLedger:
    """Read a ledger and its head as one state, and check signatures and chain.

    What the head says is left to `verify_ledger`.

    Parameters
    ----------
    path
        The ledger.
    public_key
        Key that must have signed; without it, the key that the ledger itself names.

    Raises
    ------
    IntegrityError
        Naming the first entry that does not hold, and how.
    """
    lines, head = _read(path)
    key = public_key or _genesis_key(lines[0])
    entries: list[Entry] = []
    previous = START
    for index, line in enumerate(lines):
        entries.append(open_line(line, index, previous, key))
        previous = entries[-1].line_sha256
    return OpenedLedger(entries=entries, lines=lines, head=head, key=key)


def _read(path: Path) -> tuple[list[bytes], bytes | None]:
    """Read ledger and head as one state: under the lock, so that no append falls between the two."""
    if not path.is_file():
        raise IntegrityError("there is no ledger", seen=str(path), next_step="give the path of a ledger.jsonl")
    with path.open("rb") as stream:
        fcntl.flock(stream.fileno(), fcntl.LOCK_SH)
        raw, head = stream.read(), _head_bytes(path)
    if not raw:
        raise IntegrityError("the ledger is empty", seen=str(path), next_step="restore it from a copy")
    *lines, torn = raw.split(b"\n")
    if torn:
        raise IntegrityError(
            f"entry {len(lines)} (line {len(lines) + 1}) is cut off",
            seen=f"the last line of {path.name} does not end",
            next_step="restore it from a copy; if an append was killed, the next append repairs it",
        )
    return lines, head


def read_entries(path: Path, *, public_key: PublicKey | None = None) -> list[Entry]:
    """Read every entry, checking signatures and chain on the way.

    Parameters
    ----------
    path
        The ledger.
    public_key
        Key that must have signed; without it, the key that the ledger itself names.

    Raises
    ------
    IntegrityError
        Naming the first entry that does not hold, and how.
    """
    return open_ledger(path, public_key=public_key).entries


def verify_ledger(path: Path, *, public_key: PublicKey | None = None, anchor: str | None = None) -> LedgerReport:
    """Check a ledger and its head.

    Parameters
    ----------
    path
        The ledger; its head lies beside it.
    public_key
        Key that must have signed; without it, the key that the ledger itself names (which shows that nothing
        changed, not who signed).
    anchor
        Head that was published earlier (`LedgerReport.head`); the ledger must have grown from it. Without
        one, a roll-back of both files to an earlier genuine state is not seen.

    Returns
    -------
    LedgerReport
        ``unsealed`` counts good entries past the head, left by a kill between entry and head.

    Raises
    ------
    IntegrityError
        Naming the entry that was altered, dropped, repeated, reordered, inserted or cut off, or the foreign
        key.
    """
    opened = open_ledger(path, public_key=public_key)
    entries = opened.entries
    head = _open_head(opened.head, path, opened.key)
    if head is None:
        raise no_head(path)
    if head.count > len(entries):
        raise IntegrityError(
            f"the ledger was truncated: entry {len(entries)} (line {len(entries) + 1}) is missing",
            seen=f"{len(entries)} entries; the signed head names {head.count}",
            next_step=_UNTOUCHED,
        )
    sealed = entries[head.count - 1]
    if sealed.line_sha256 != head.last:
        raise IntegrityError(
            f"entry {sealed.index} (line {sealed.index + 1}) is not the one the head was signed over",
            seen=f"hash {sealed.line_sha256[:16]}, the head names {head.last[:16]}",
            next_step="restore ledger and head from the same copy",
        )
    if anchor is not None and all(entry.line_sha256 != anchor for entry in entries):
        raise IntegrityError(
            "the ledger did not grow from the published head",
            seen=f"none of its {len(entries)} entries has the hash {anchor[:16]}",
            next_step="it was rolled back or replaced since; ask for the ledger of that head",
        )
    return LedgerReport(
        count=len(entries),
        head=entries[-1].line_sha256,
        keyid=opened.key.keyid,
        unsealed=len(entries) - head.count,
    )
