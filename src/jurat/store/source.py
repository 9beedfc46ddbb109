"""Source mappings: a file that says how somebody's files become rows of a lake table.

Nothing is guessed. Columns are named, file names may carry values (``results_{arm}.csv``), constants fill the rest, and
rules say what must be unique, present and within a taxonomy. Every breach is told with file and line.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from jurat.errors import DataError, UnknownName
from jurat.store.coercion import coerce
from jurat.store.importers import FileDigest, Record, Rejected, escaped, file_format, read_records
from jurat.store.lake import Lake
from jurat.store.mapping import CAPTURE, Files, Source, constants_of, load_source

__all__ = ["ImportReport", "Source", "SourceFile", "import_source", "load_source", "read_source"]

_BATCH = 50_000
_LINE_BITS = 40
# Records kept aside beyond those allowed, so that a file of another kind does not fill the memory with its lines.
_KEPT_BEYOND = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file that was read: path relative to the data root, size, SHA-256 of the bytes that were parsed, rows taken."""

    path: str
    size: int
    sha256: str
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What an import brought in.

    Attributes
    ----------
    table, version
        Where the rows are now; ``version`` is ``None`` where they were only read.
    rows
        How many came in; 0 where the same files had been brought in by the same mapping before.
    files
        What was read; nothing in that case.
    rejected
        Records that could not be read, kept aside.
    outside
        Values outside the taxonomy that the mapping turned into null, by file.
    """

    table: str
    version: int | None
    rows: int
    files: tuple[SourceFile, ...]
    rejected: tuple[Rejected, ...]
    outside: Mapping[str, int]


class _Aside(list[Rejected]):
    """Records kept aside; gives up when there are far more than could be allowed."""

    def __init__(self, tolerance: float) -> None:
        super().__init__()
        self._tolerance = tolerance

    def append(self, rejected: Rejected) -> None:
        super().append(rejected)
        if isinstance(self._tolerance, int) and len(self) >= self._tolerance + _KEPT_BEYOND:
            raise self.too_many("at least ")

    def check(self, rows: int) -> None:
        """Refuse more than are allowed, now that all records were seen."""
        share = len(self) / max(rows + len(self), 1)
        if (len(self) if isinstance(self._tolerance, int) else share) > self._tolerance:
            raise self.too_many()

    def too_many(self, at_least: str = "") -> DataError:
        """Say how many, and where the first of them are."""
        shown = "; ".join(f"{r.file}, line {r.line}: {r.reason}" for r in self[:3])
        more = f"; and {at_least}{len(self) - 3} more" if len(self) > 3 else ""
        allowed = self._tolerance if isinstance(self._tolerance, int) else f"{100 * self._tolerance:g} %"
        return DataError(
            f"{at_least}{len(self)} record{'s' if len(self) > 1 else ''} cannot be read, {allowed} allowed",
            seen=shown + more,
            next_step="mend the file, or allow some by rules.tolerance (they are kept aside and reported)",
        )


@dataclass(slots=True)
class _Reading:
    """State of one pass over all files."""

    source: Source
    rejected: _Aside
    files: list[SourceFile] = field(default_factory=list)
    outside: dict[str, int] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    seen: dict[bytes, int] = field(default_factory=dict)
    rows: int = 0

    @classmethod
    def of(cls, source: Source) -> _Reading:
        return cls(source, _Aside(source.document.rules.tolerance))

    def report(self, version: int | None) -> ImportReport:
        return ImportReport(
            table=self.source.document.table,
            version=version,
            rows=self.rows,
            files=tuple(sorted(self.files, key=lambda f: f.path)),
            rejected=tuple(self.rejected),
            outside=self.outside,
        )


def read_source(source: Source, root: Path) -> tuple[pa.Table, ImportReport]:
    """Read every file of a mapping into one table, checking every rule.

    Parameters
    ----------
    source
        The mapping.
    root
        Folder the patterns are matched under.

    Raises
    ------
    DataError
        For a file, record or rule that does not hold, with file and line.
    """
    reading = _Reading.of(source)
    batches = list(_batches(reading, root))
    return pa.Table.from_batches(batches, schema=source.schema), reading.report(None)


def import_source(source: Source, root: Path, lake: Lake) -> ImportReport:
    """Stream every file of a mapping into the lake in one commit: all of it, or nothing, and never twice.

    Parameters
    ----------
    source
        The mapping.
    root
        Folder the patterns are matched under.
    lake
        Where the rows go.

    Raises
    ------
    DataError
        As `read_source`, or where a file changes meanwhile; the lake is unchanged then.

    Notes
    -----
    Files are hashed first, and the commit carries the digest of mapping and files: to bring the same in again adds
    nothing, so that a repeated command does not count every unit twice. Other files, or another mapping, are added.
    """
    reading = _Reading.of(source)
    hashed = {p: _sha256(root / p) for files in source.document.files for p in _names(files, root, source)}
    content = json.dumps([source.document.model_dump(mode="json"), hashed], sort_keys=True)
    identity = hashlib.sha256(content.encode()).hexdigest()

    def checked() -> Iterator[pa.RecordBatch]:
        yield from _batches(reading, root)
        for file in reading.files:
            if hashed.get(file.path) != file.sha256:
                raise DataError(
                    f"{file.path} changed while it was read",
                    seen=f"sha256 {str(hashed.get(file.path))[:12]}… before, {file.sha256[:12]}… after",
                    next_step="wait until it is written, then import it",
                )

    version = lake.append(
        source.document.table,
        pa.RecordBatchReader.from_batches(source.schema, checked()),
        metadata={"source": source.document.name},
        transaction=(f"import {identity}", 1),
    )
    return reading.report(version)


def _names(files: Files, root: Path, source: Source) -> list[str]:
    return [path.relative_to(root).as_posix() for path, _ in _matching(files, root, source)]


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _batches(reading: _Reading, root: Path) -> Iterator[pa.RecordBatch]:
    for files in reading.source.document.files:
        for path, captured in _matching(files, root, reading.source):
            yield from _file(reading, files, path, captured, path.relative_to(root).as_posix())
    reading.rejected.check(reading.rows)


def _matching(files: Files, root: Path, source: Source) -> list[tuple[Path, dict[str, str]]]:
    parts = CAPTURE.split(files.pattern)
    # Even parts are literal text, odd ones names; a value never holds "_" or ".", which separate parts of file names.
    expression = "".join(f"(?P<{p}>[A-Za-z0-9-]+)" if i % 2 else re.escape(p) for i, p in enumerate(parts))
    if not root.is_dir():
        raise DataError("no such data folder", seen=str(root), next_step="give the folder that holds the files")
    found = []
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        match = re.fullmatch(expression, path.relative_to(root).as_posix())
        if match:
            found.append((path, match.groupdict()))
    if len(found) < files.at_least:
        raise DataError(
            f"{source.path.name} asks for at least {files.at_least} file(s) like {files.pattern}",
            seen=f"{len(found)} under {root}",
            next_step="check the data folder, or the pattern",
        )
    return found


def _file(
    reading: _Reading, files: Files, path: Path, captured: Mapping[str, str], name: str
) -> Iterator[pa.RecordBatch]:
    """Stream one file's rows; ``name`` is its path relative to the data root."""
    digest = FileDigest()
    kind = files.format or file_format(path)
    schema = reading.source.schema
    constants = constants_of(files, captured, schema, name)
    columns: dict[str, list[Any]] = {n: [] for n in schema.names}
    reading.names.append(name)
    taken, unseen, known = 0, set(files.columns.values()), set[str]()
    for record in read_records(path, name=name, kind=kind, rejected=reading.rejected, digest=digest):
        if unseen:
            unseen -= record.fields.keys()
            known |= record.fields.keys()
            if unseen and kind != "jsonl":
                break
        row = _row(reading, files, record, constants, name)
        if row is None:
            continue
        taken += 1
        for column in schema.names:
            columns[column].append(row.get(column))
        if len(columns[schema.names[0]]) >= _BATCH:
            yield _flush(columns, schema)
    if unseen and known:
        # An object of JSON may leave a key out, but not every one of a file.
        raise UnknownName("column", next(c for c in files.columns.values() if c in unseen), known, place=name)
    if columns[schema.names[0]]:
        yield _flush(columns, schema)
    reading.rows += taken
    reading.files.append(SourceFile(path=name, size=digest.size, sha256=digest.sha256, rows=taken))


def _flush(columns: dict[str, list[Any]], schema: pa.Schema) -> pa.RecordBatch:
    batch = pa.RecordBatch.from_arrays([pa.array(columns[f.name], type=f.type) for f in schema], schema=schema)
    for values in columns.values():
        values.clear()
    return batch


def _row(
    reading: _Reading, files: Files, record: Record, constants: Mapping[str, Any], name: str
) -> dict[str, Any] | None:
    """Turn a record into a row; a value of the wrong type rejects it, a broken rule stops the import."""
    row: dict[str, Any] = dict(constants)
    for column, theirs in files.columns.items():
        try:
            row[column] = coerce(record.fields.get(theirs), reading.source.schema.field(column).type)
        except ValueError as error:
            raw = escaped(json.dumps(record.fields, default=str).encode())
            reading.rejected.append(Rejected(name, record.line, f"{theirs}: {error}", raw))
            return None
    rules = reading.source.document.rules
    for column, allowed in rules.values.items():
        value = row.get(column)
        if value in allowed or (value is None and column not in rules.required):
            continue
        if files.outside == "error":
            if value is None:
                break  # told below, as any required value that is missing
            raise DataError(
                f"{name}, line {record.line}: {column} holds a value outside the taxonomy",
                seen=repr(value)[:120],
                next_step=f"allowed: {', '.join(allowed)}",
            )
        row[column] = None
        reading.outside[name] = reading.outside.get(name, 0) + 1
    for column in rules.required:
        if row.get(column) is None and not (column in rules.values and files.outside == "null"):
            if column in files.columns and files.columns[column] not in record.fields:
                place = f"{name}, line {record.line}"
                raise UnknownName("column", files.columns[column], record.fields, place=place)
            raise DataError(
                f"{name}, line {record.line}: {column} is empty", seen="nothing", next_step="every record must have it"
            )
    _check_unique(reading, row, name, record.line)
    return row


def _check_unique(reading: _Reading, row: Mapping[str, Any], name: str, line: int) -> None:
    columns = reading.source.document.rules.unique
    if not columns:
        return
    key = tuple(row.get(c) for c in columns)
    # Sixteen bytes stand for a key of any length, one number for its place: about 170 bytes a row in all.
    short = hashlib.blake2b(repr(key).encode(), digest_size=16).digest()
    place = (len(reading.names) - 1) << _LINE_BITS | line
    first = reading.seen.setdefault(short, place)
    if first != place:
        other, at = reading.names[first >> _LINE_BITS], first & ((1 << _LINE_BITS) - 1)
        raise DataError(
            f"{name}, line {line}: the record stands twice",
            seen=f"{', '.join(f'{c} = {v!r}' for c, v in zip(columns, key, strict=True))}, also in {other}, line {at}",
            next_step=f"keep one record for each {', '.join(columns)}",
        )
