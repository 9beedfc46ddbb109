"""Source mappings: a file that says how somebody's files become rows of a lake table.

Nothing is guessed. Columns are named, file names may carry values (``results_{arm}.csv``), constants fill the rest, and
rules say what must be unique, present and within a taxonomy. Every breach is told with file and line.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import math
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jurat.errors import DataError, SpecError, UnknownName
from jurat.store.importers import FileDigest, Record, Rejected, file_format, read_records
from jurat.store.lake import Lake
from jurat.store.schema import schema_of

__all__ = ["ImportReport", "Source", "SourceFile", "import_source", "load_source", "read_source"]

_BATCH = 50_000
_CAPTURE = re.compile(r"\{([a-z_]+)\}")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Files(_Section):
    """Files of one kind, and how their columns become the table's."""

    pattern: str
    format: Literal["csv", "jsonl", "parquet"] | None = None
    constants: Mapping[str, str | int | float | bool] = Field(default_factory=dict)
    columns: Mapping[str, str] = Field(min_length=1)
    at_least: int = Field(default=1, ge=0)
    outside: Literal["error", "null"] = "error"


class Rules(_Section):
    """What must hold of the rows."""

    unique: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    values: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    tolerance: int = Field(default=0, ge=0)


class _Document(_Section):
    name: str
    table: str
    citation: str = ""
    licence: str = ""
    files: tuple[Files, ...] = Field(min_length=1)
    rules: Rules = Rules()


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A source mapping as read from its file."""

    path: Path
    document: _Document
    schema: pa.Schema


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
        How many.
    files
        What was read.
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


def load_source(path: Path) -> Source:
    """Read a source mapping and check it against the table's schema.

    Parameters
    ----------
    path
        The TOML file.

    Raises
    ------
    SpecError
        Where the file is missing, is not TOML, or has a key or column that does not exist; near names are suggested.
    """
    if not path.is_file():
        raise SpecError("no such source mapping", seen=str(path), next_step="see docs/reference/source-files.md")
    try:
        document = _Document.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{path.name} is not valid TOML", seen=str(error), next_step="mend it at that place") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise SpecError(
            f"{path.name}: {place}: {first['msg']}",
            seen=repr(first["input"])[:200],
            next_step="see docs/reference/source-files.md",
        ) from error
    schema = schema_of(document.table)
    for files in document.files:
        named = {*files.columns, *files.constants, *_CAPTURE.findall(files.pattern)}
        for column in sorted(named):
            if column not in schema.names:
                raise UnknownName("column", column, schema.names, place=f"{path.name}, table {document.table}")
    for column in {*document.rules.unique, *document.rules.required, *document.rules.values}:
        if column not in schema.names:
            raise UnknownName("column", column, schema.names, place=f"{path.name}, [rules]")
    return Source(path=path, document=document, schema=schema)


@dataclass(slots=True)
class _Reading:
    """State of one pass over all files."""

    source: Source
    rejected: list[Rejected] = field(default_factory=list)
    files: list[SourceFile] = field(default_factory=list)
    outside: dict[str, int] = field(default_factory=dict)
    seen: dict[bytes, tuple[str, int]] = field(default_factory=dict)
    rows: int = 0

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
    reading = _Reading(source)
    batches = list(_batches(reading, root))
    return pa.Table.from_batches(batches, schema=source.schema), reading.report(None)


def import_source(source: Source, root: Path, lake: Lake) -> ImportReport:
    """Stream every file of a mapping into the lake in one commit: all of it, or nothing.

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
        As `read_source`; the lake is unchanged then.
    """
    reading = _Reading(source)
    reader = pa.RecordBatchReader.from_batches(source.schema, _batches(reading, root))
    version = lake.append(source.document.table, reader, metadata={"source": source.document.name})
    return reading.report(version)


def _batches(reading: _Reading, root: Path) -> Iterator[pa.RecordBatch]:
    for files in reading.source.document.files:
        for path, captured in _matching(files, root, reading.source):
            yield from _file(reading, files, path, captured, path.relative_to(root).as_posix())
    if len(reading.rejected) > reading.source.document.rules.tolerance:
        raise _too_many(reading.rejected, reading.source.document.rules.tolerance)


def _too_many(rejected: list[Rejected], tolerance: int) -> DataError:
    shown = "; ".join(f"{r.file}, line {r.line}: {r.reason}" for r in rejected[:3])
    more = f"; and {len(rejected) - 3} more" if len(rejected) > 3 else ""
    return DataError(
        f"{len(rejected)} record{'s' if len(rejected) > 1 else ''} cannot be read, {tolerance} allowed",
        seen=shown + more,
        next_step="mend the file, or allow some by rules.tolerance (they are kept aside and reported)",
    )


def _matching(files: Files, root: Path, source: Source) -> list[tuple[Path, dict[str, str]]]:
    parts = _CAPTURE.split(files.pattern)
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
    constants = {
        k: v.format_map(captured) if isinstance(v, str) else v for k, v in {**captured, **files.constants}.items()
    }
    columns: dict[str, list[Any]] = {n: [] for n in schema.names}
    taken, checked = 0, False
    for record in read_records(path, name=name, kind=kind, rejected=reading.rejected, digest=digest):
        if not checked and kind != "jsonl":
            _check_columns(files, record, name)
            checked = True
        row = _row(reading, files, record, constants, name)
        if row is None:
            continue
        taken += 1
        for column in schema.names:
            columns[column].append(row.get(column))
        if len(columns[schema.names[0]]) >= _BATCH:
            yield _flush(columns, schema)
    if columns[schema.names[0]]:
        yield _flush(columns, schema)
    reading.rows += taken
    reading.files.append(SourceFile(path=name, size=digest.size, sha256=digest.sha256, rows=taken))


def _flush(columns: dict[str, list[Any]], schema: pa.Schema) -> pa.RecordBatch:
    batch = pa.RecordBatch.from_arrays([pa.array(columns[f.name], type=f.type) for f in schema], schema=schema)
    for values in columns.values():
        values.clear()
    return batch


def _check_columns(files: Files, record: Record, name: str) -> None:
    for column in files.columns.values():
        if column not in record.fields:
            raise UnknownName("column", column, record.fields, place=name)


def _row(
    reading: _Reading, files: Files, record: Record, constants: Mapping[str, Any], name: str
) -> dict[str, Any] | None:
    """Turn a record into a row; a value of the wrong type rejects it, a broken rule stops the import."""
    row: dict[str, Any] = dict(constants)
    for column, theirs in files.columns.items():
        try:
            row[column] = _value(record.fields.get(theirs), reading.source.schema.field(column).type)
        except ValueError as error:
            reading.rejected.append(Rejected(name, record.line, f"{theirs}: {error}", ""))
            return None
    rules = reading.source.document.rules
    for column, allowed in rules.values.items():
        value = row.get(column)
        if value is None or value in allowed:
            continue
        if files.outside == "error":
            raise DataError(
                f"{name}, line {record.line}: {column} holds a value outside the taxonomy",
                seen=repr(value)[:120],
                next_step=f"allowed: {', '.join(allowed)}",
            )
        row[column] = None
        reading.outside[name] = reading.outside.get(name, 0) + 1
    for column in rules.required:
        if row.get(column) is None and not (column in rules.values and files.outside == "null"):
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
    # Sixteen bytes a row bound the memory whatever the keys look like.
    short = hashlib.blake2b(repr(key).encode(), digest_size=16).digest()
    if short in reading.seen:
        other, at = reading.seen[short]
        raise DataError(
            f"{name}, line {line}: the record stands twice",
            seen=f"{', '.join(f'{c} = {v!r}' for c, v in zip(columns, key, strict=True))}, also in {other}, line {at}",
            next_step=f"keep one record for each {', '.join(columns)}",
        )
    reading.seen[short] = (name, line)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else repr(value) if isinstance(value, float) else str(value)


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value} is not a finite number")
    return number


def _integer(value: Any) -> int:
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(f"{value!r} is not a whole number")
    return int(value)


def _boolean(value: Any) -> bool:
    words = {"true": True, "1": True, "false": False, "0": False}
    word = str(value).strip().lower()
    if word not in words:
        raise ValueError(f"{value!r} is neither true nor false")
    return words[word]


def _time(value: Any) -> dt.datetime:
    if isinstance(value, int | float):
        raise ValueError(f"{value!r} is a bare number: give an ISO 8601 time with its zone")
    time = value if isinstance(value, dt.datetime) else dt.datetime.fromisoformat(str(value))
    if time.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone")
    return time.astimezone(dt.UTC)


def _converter(kind: pa.DataType) -> Callable[[Any], Any]:
    if pa.types.is_string(kind):
        return _text
    if pa.types.is_floating(kind):
        return _number
    if pa.types.is_integer(kind):
        return _integer
    if pa.types.is_boolean(kind):
        return _boolean
    return _time


def _value(raw: Any, kind: pa.DataType) -> Any:
    """Convert a field to its column's type; an empty field is null."""
    if raw is None or raw == "":
        return None
    if isinstance(raw, float) and math.isnan(raw):
        raise ValueError("nan is not a finite number")
    return _converter(kind)(raw)
