"""Source mappings as files: what a mapping may say, and that it fits the table it speaks of.

Everything that can be known without the data is checked here, with the file and the key: names, types of constants, columns
given twice. `jurat.store.source` follows the mapping.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pyarrow as pa
from pydantic import Field

from jurat.errors import SpecError, UnknownName
from jurat.store.coercion import coerce
from jurat.store.document import Section, read_document
from jurat.store.schema import schema_of

__all__ = ["CAPTURE", "Files", "Rules", "Source", "constants_of", "load_source"]

CAPTURE = re.compile(r"\{([a-z_]+)\}")
"""A part of a file's name that becomes a column."""


class Files(Section):
    """Files of one kind, and how their columns become the table's."""

    pattern: str
    format: Literal["csv", "jsonl", "parquet"] | None = None
    constants: Mapping[str, str | int | float | bool] = Field(default_factory=dict)
    columns: Mapping[str, str] = Field(min_length=1)
    at_least: int = Field(default=1, ge=0)
    outside: Literal["error", "null"] = "error"


class Rules(Section):
    """What must hold of the rows."""

    unique: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    values: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    tolerance: Annotated[int, Field(strict=True, ge=0)] | Annotated[float, Field(strict=True, gt=0, lt=1)] = 0


class _Document(Section):
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
    document = read_document(path, _Document, what="source mapping", reference="docs/reference/source-files.md").content
    schema = schema_of(document.table)
    for files in document.files:
        _check_files(files, schema, path.name, document.table)
    rules = document.rules
    for column in sorted({*rules.unique, *rules.required, *rules.values}):
        if column not in schema.names:
            raise UnknownName("column", column, schema.names, place=f"{path.name}, [rules]")
    for column in rules.values:
        if not pa.types.is_string(schema.field(column).type):
            raise SpecError(
                f"{path.name}, [rules.values]: a taxonomy is of text",
                seen=f"{column} is {schema.field(column).type}",
                next_step="leave it out",
            )
    return Source(path=path, document=document, schema=schema)


def _check_files(files: Files, schema: pa.Schema, name: str, table: str) -> None:
    """Every column exists and is given once; every constant fits its column."""
    captured = CAPTURE.findall(files.pattern)
    given = [*files.columns, *files.constants, *captured]
    for column in sorted(given):
        if column not in schema.names:
            raise UnknownName("column", column, schema.names, place=f"{name}, table {table}")
        if given.count(column) > 1:
            raise SpecError(
                f"{name}: a column is given more than once",
                seen=f"{column}, for the files {files.pattern}",
                next_step="give it by one of columns, constants and the file's name",
            )
    for column, value in files.constants.items():
        for wanted in CAPTURE.findall(value) if isinstance(value, str) else ():
            if wanted not in captured:
                raise UnknownName("part of the file's name", wanted, captured, place=f"{name}: constant {column}")
    constants_of(files, {}, schema, name)


def constants_of(files: Files, captured: Mapping[str, str], schema: pa.Schema, place: str) -> dict[str, Any]:
    """Return the values that are the same for a whole file.

    Parameters
    ----------
    files
        The section of the mapping.
    captured
        What the file's name holds; constants that wait for a part that is not there are left out.
    schema
        The table's.
    place
        Where to say that a constant does not fit.

    Raises
    ------
    SpecError
        Where a column cannot hold its constant.
    """
    given: dict[str, Any] = {}
    for column, constant in {**captured, **files.constants}.items():
        value = constant
        if isinstance(value, str):
            if any(part not in captured for part in CAPTURE.findall(value)):
                continue
            value = CAPTURE.sub(lambda m: captured[m[1]], value)
        try:
            given[column] = coerce(value, schema.field(column).type)
        except ValueError as error:
            raise SpecError(
                f"{place}: {column} cannot hold its constant", seen=str(error), next_step="give a value of its type"
            ) from error
    return given
