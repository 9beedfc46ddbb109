"""Looking at ledgers: whether each holds, and its entries newest first, read again only where the files changed."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from jurat.errors import IntegrityError, UnknownName
from jurat.evidence.chain import Entry, LedgerReport, head_path, open_ledger, verify_ledger

__all__ = ["LedgerView", "LedgerViews"]

_Stamp = tuple[tuple[int, int] | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerView:
    """A ledger as it is now.

    Attributes
    ----------
    name, path
        What it is called, and its file.
    report
        Count, head and key where it holds; ``None`` where it does not, or there is none yet.
    fault
        Why it does not hold; empty where it does, or there is none yet.
    entries, lines
        Entries in order and the envelopes they came in; empty where it does not hold.
    """

    name: str
    path: Path
    report: LedgerReport | None = None
    fault: str = ""
    entries: tuple[Entry, ...] = field(default=(), repr=False)
    lines: tuple[bytes, ...] = field(default=(), repr=False)

    @property
    def exists(self) -> bool:
        """Whether anything was sworn, or should have been."""
        return self.report is not None or bool(self.fault)

    def kinds(self) -> dict[str, int]:
        """Kinds of entries and how many there are of each, by name."""
        counted: dict[str, int] = {}
        for entry in self.entries:
            counted[entry.kind] = counted.get(entry.kind, 0) + 1
        return dict(sorted(counted.items()))

    def page(self, number: int, *, size: int = 50, kind: str = "") -> tuple[list[Entry], int]:
        """Entries of a page (1 is the newest) of one kind or all, and how many pages there are."""
        kept = [entry for entry in reversed(self.entries) if kind in ("", entry.kind)]
        pages = max(1, -(-len(kept) // size))
        number = min(max(number, 1), pages)
        return kept[(number - 1) * size : number * size], pages

    def envelope(self, index: int) -> bytes:
        """Envelope of an entry: the bytes that were signed and chained.

        Raises
        ------
        UnknownName
            Where there is no such entry.
        """
        if not 0 <= index < len(self.lines):
            raise UnknownName("entry", str(index), [])
        return self.lines[index]


class LedgerViews:
    """Some ledgers, checked as often as they change.

    Parameters
    ----------
    paths
        Files by name, in the order they are shown.

    Examples
    --------
    >>> import tempfile
    >>> from jurat.evidence.keys import SigningKey
    >>> from jurat.evidence.ledger import Ledger
    >>> path = Path(tempfile.mkdtemp()) / "ledger.jsonl"
    >>> views = LedgerViews({"home": path})
    >>> views.view("home").exists
    False
    >>> _ = Ledger(path, SigningKey.generate()).append("note", {"text": "first"})
    >>> views.view("home").kinds()
    {'genesis': 1, 'note': 1}
    """

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self.paths = dict(paths)
        self._held: dict[str, tuple[_Stamp, LedgerView]] = {}
        self._lock = threading.Lock()

    def view(self, name: str) -> LedgerView:
        """One ledger, checked.

        Raises
        ------
        UnknownName
            Where no ledger has the name.
        """
        if name not in self.paths:
            raise UnknownName("ledger", name, self.paths)
        path = self.paths[name]
        with self._lock:
            stamp = (_stamp(path), _stamp(head_path(path)))
            held = self._held.get(name)
            if held is None or held[0] != stamp:
                self._held[name] = held = (stamp, _viewed(name, path))
            return held[1]

    def every(self) -> list[LedgerView]:
        """All of them."""
        return [self.view(name) for name in self.paths]


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_size, stat.st_mtime_ns


def _viewed(name: str, path: Path) -> LedgerView:
    if not path.exists() and not head_path(path).exists():
        return LedgerView(name=name, path=path)
    try:
        report = verify_ledger(path)
        opened = open_ledger(path)
    except IntegrityError as error:
        return LedgerView(
            name=name, path=path, fault=" · ".join(str(part) for part in (error.what, error.seen) if part)
        )
    return LedgerView(name=name, path=path, report=report, entries=tuple(opened.entries), lines=tuple(opened.lines))
