"""The files of a review folder, as its ledger swears to them."""

from __future__ import annotations

from pathlib import Path

from jurat.evidence.canonical import file_sha256
from jurat.evidence.estimate import InputFile

__all__ = ["files_in"]


def files_in(folder: Path) -> list[InputFile]:
    """Every file of a review folder but the ledger itself, sorted by path.

    The ledger's own files are left out: they are signed, and cannot hold their own digest.
    """
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in ("ledger.jsonl", "ledger.head.json"):
            found.append(InputFile(path=name, size=path.stat().st_size, sha256=file_sha256(path)))
    return found
