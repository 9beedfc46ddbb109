"""A snapshot: the exact files that a number was computed from.

Its id is the digest of what it pins (tables, versions, files with size and SHA-256), so the same state has the same name
on every machine, and a changed byte has none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rfc8785

from jurat.errors import IntegrityError

__all__ = ["DataFile", "Snapshot", "TableVersion", "sha256_of"]

_BLOCK = 1 << 20


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in hex, read in blocks."""
    state = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            state.update(block)
    return state.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    """A Parquet file of the lake: path relative to its root, size in bytes, SHA-256 in hex, rows."""

    path: str
    size: int
    sha256: str
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TableVersion:
    """A version of a table: its number, and the files that are live in it, in reading order."""

    version: int
    files: tuple[DataFile, ...]

    @property
    def rows(self) -> int:
        """Rows of all files."""
        return sum(file.rows for file in self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Pinned versions of some tables.

    Attributes
    ----------
    tables
        Version by table name.
    created
        UTC time it was taken, ISO 8601; not part of the digest.
    note
        What it was taken for; not part of the digest.
    """

    tables: Mapping[str, TableVersion]
    created: str
    note: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 over the canonical JSON of what is pinned, in hex."""
        return hashlib.sha256(rfc8785.dumps(self._content())).hexdigest()

    @property
    def id(self) -> str:
        """Name of the snapshot: its digest."""
        return self.digest

    def _content(self) -> dict[str, Any]:
        return {
            name: {
                "version": table.version,
                "files": [{"path": f.path, "size": f.size, "sha256": f.sha256, "rows": f.rows} for f in table.files],
            }
            for name, table in sorted(self.tables.items())
        }

    def paths(self, table: str, root: Path) -> list[str]:
        """Absolute paths of a table's files, in reading order."""
        return [str(root / file.path) for file in self.tables[table].files]

    def verify(self, root: Path) -> None:
        """Check every file against its digest.

        Raises
        ------
        IntegrityError
            Naming the first file that is missing or changed.
        """
        for name, table in sorted(self.tables.items()):
            for file in table.files:
                path = root / file.path
                if not path.is_file():
                    raise IntegrityError(
                        f"the lake file {file.path} of table {name} is missing",
                        seen=str(path),
                        next_step="restore it; vacuum never removes what a snapshot pins",
                    )
                seen = sha256_of(path)
                if seen != file.sha256:
                    raise IntegrityError(
                        f"the lake file {file.path} of table {name} changed",
                        seen=f"SHA-256 {seen[:16]}…, the snapshot names {file.sha256[:16]}…",
                        next_step="restore the file from a backup",
                    )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types, the digest among them."""
        return {"id": self.digest, "created": self.created, "note": self.note, "tables": self._content()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Snapshot:
        """Rebuild a snapshot.

        Raises
        ------
        IntegrityError
            Where its content does not have the digest it is named by.
        """
        tables = {
            name: TableVersion(version=t["version"], files=tuple(DataFile(**f) for f in t["files"]))
            for name, t in document["tables"].items()
        }
        snapshot = cls(tables=tables, created=document["created"], note=document["note"])
        if snapshot.digest != document["id"]:
            raise IntegrityError(
                "the snapshot was altered",
                seen=f"its content has digest {snapshot.digest[:16]}…, it is named {document['id'][:16]}…",
                next_step="restore it from an untouched copy",
            )
        return snapshot

    @classmethod
    def load(cls, path: Path) -> Snapshot:
        """Read a snapshot from its JSON file."""
        return cls.from_json(json.loads(path.read_text(encoding="utf-8")))
