"""A small ledger, made once: its bytes are copied wherever a test needs them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from jurat.evidence.keys import SigningKey
from jurat.evidence.ledger import Ledger, head_path


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerBytes:
    """A genuine ledger as bytes: its file, its head, the lines without their ends, and the key."""

    raw: bytes
    head: bytes
    key: SigningKey

    @property
    def lines(self) -> list[bytes]:
        return self.raw.split(b"\n")[:-1]


def make_ledger(folder: Path, key: SigningKey, entries: int) -> LedgerBytes:
    ledger = Ledger(folder / "ledger.jsonl", key)
    for number in range(entries):
        ledger.append("note", {"number": number})
    return LedgerBytes(raw=ledger.path.read_bytes(), head=head_path(ledger.path).read_bytes(), key=key)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> LedgerBytes:
    return make_ledger(tmp_path_factory.mktemp("small"), SigningKey.generate(), 3)


@pytest.fixture
def put(tmp_path: Path) -> Callable[[bytes, bytes | None], Path]:
    """Write a ledger and its head (none for ``None``) as given and return the ledger's path."""
    path = tmp_path / "ledger.jsonl"

    def write(raw: bytes, head: bytes | None) -> Path:
        path.write_bytes(raw)
        head_path(path).unlink(missing_ok=True)
        if head is not None:
            head_path(path).write_bytes(head)
        return path

    return write
