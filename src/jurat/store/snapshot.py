"""A snapshot: the exact files that a number was computed from.

Its id is the digest of what it pins (tables, versions, files with size and SHA-256), so the same state has the
same name on every machine, and a changed byte has none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import rfc8785

from jurat.errors import IntegrityError

__all__ = ["DataFile", "Snapshot", "TableVersion", "sha256_of"]


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


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

    Examples
    --------
    >>> file = DataFile(path="spans/part-1.parquet", size=9, sha256="0" * 64, rows=2)
    >>> tables = {"spans": TableVersion(version=1, files=(file,))}
    >>> snapshot = Snapshot(tables=tables, created="2026-11-02T09:00:00+00:00")
    >>> snapshot.id == Snapshot(tables=tables, created="2027-01-01T00:00:00+00:00", note="again").id
    True
    >>> Snapshot.from_json(snapshot.to_json()) == snapshot
    True
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
            Where it is not a snapshot, its content does not have the digest it is named by, or it names a file
            outside the lake.
        """
        try:
            tables = {
                name: TableVersion(version=t["version"], files=tuple(DataFile(**f) for f in t["files"]))
                for name, t in document["tables"].items()
            }
            snapshot = cls(tables=tables, created=document["created"], note=document["note"])
            named = str(document["id"])
        except (AttributeError, KeyError, TypeError) as error:
            raise IntegrityError(
                "the document is not a snapshot",
                seen=repr(error),
                next_step="restore it from an untouched copy",
            ) from error
        _check_inside(snapshot)
        if snapshot.digest != named:
            raise IntegrityError(
                "the snapshot was altered",
                seen=f"its content has digest {snapshot.digest[:16]}…, it is named {named[:16]}…",
                next_step="restore it from an untouched copy",
            )
        return snapshot

    @classmethod
    def load(cls, path: Path) -> Snapshot:
        """Read a snapshot from its JSON file.

        Raises
        ------
        IntegrityError
            As `from_json`, and where the file is not JSON.
        """
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise IntegrityError(
                "the snapshot cannot be read",
                seen=f"{path}: {error}",
                next_step="restore it from an untouched copy",
            ) from error
        return cls.from_json(document)


def _check_inside(snapshot: Snapshot) -> None:
    """Refuse files outside the lake: a snapshot that travelled must not make an engine read the reader's files."""
    for table in snapshot.tables.values():
        for file in table.files:
            path = PurePosixPath(file.path)
            if path.is_absolute() or ".." in path.parts:
                raise IntegrityError(
                    "the snapshot names a file outside its lake",
                    seen=repr(file.path),
                    next_step="do not use it; ask whoever sent it",
                )
