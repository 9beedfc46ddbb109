"""Names of attributes in the dialects of instrumentation, as one versioned table of data, made ready for the decoder."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jurat.errors import SpecError, UnknownName
from jurat.telemetry.wire_kernel import hash_key

__all__ = ["SPAN_COLUMNS", "AliasTable", "load_aliases"]

_TEXT, _WHOLE, _REAL, _TRUTH = pa.string(), pa.int64(), pa.float64(), pa.bool_()
_NULLABLE: dict[pa.DataType, str] = {
    _TEXT: "parent_id conversation_id session_id user_id operation provider model_requested model release prompt_version "
    "environment endpoint tier org_id key_id region experiment_arm finish_reason error_type status response_id prompt "
    "response system retrieved attributes service",
    _WHOLE: "end_us tokens_in tokens_out tokens_reasoning tokens_cache_read tokens_cache_write",
    _REAL: "ttft_ms latency_ms",
    _TRUTH: "stream",
}
SPAN_COLUMNS = pa.schema(
    [
        pa.field("span_id", _TEXT, nullable=False),
        pa.field("trace_id", _TEXT, nullable=False),
        pa.field("ts_us", _WHOLE, nullable=False),
        *(pa.field(name, kind) for kind, names in _NULLABLE.items() for name in names.split()),
    ]
)
"""One row a span, before anything is derived from it."""

_KINDS = {"text": _TEXT, "integer": _WHOLE, "real": _REAL, "boolean": _TRUTH, "messages": _TEXT}
_SECTIONS = {*_KINDS, "version", "role", "member", "unit", "object", "needs", "known"}


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasTable:
    """Names of attributes and the columns they go to, laid out for lookup by hash.

    Attributes
    ----------
    version
        Of the table.
    names
        The attributes known, in the order of their numbers.
    columns
        Columns that attributes go to, with the section each stands in: text, integer, real, boolean, messages.
    column_of
        For each name the number of its column; -1 for none.
    rank_of
        For each name its place among those of its column; 0 is best.
    factor_of
        For each name what a unit of it is in the column's unit; 0 for a date and time.
    roles
        Names that say who speaks, and the column that the speech goes to.
    members
        Names that are one member of a list in pieces, and which.
    objects
        Names that hold JSON objects: the column of each of their members.
    needs
        Names of objects that count only where they have this member.
    slots, name_bytes, name_places
        The names for lookup: an open hash table, their bytes and where each begins.
    """

    version: int
    names: tuple[str, ...]
    columns: Mapping[str, str]
    column_of: NDArray[np.int64]
    rank_of: NDArray[np.int64]
    factor_of: NDArray[np.float64]
    roles: Mapping[int, str]
    members: Mapping[int, str]
    objects: Mapping[int, Mapping[str, str]]
    needs: Mapping[int, str]
    slots: NDArray[np.int64]
    name_bytes: NDArray[np.uint8]
    name_places: NDArray[np.int64]


def load_aliases(path: str | Path | None = None) -> AliasTable:
    """Read a table of aliases.

    Parameters
    ----------
    path
        A TOML file laid out as the one that comes with the package, which is read without one.

    Returns
    -------
    AliasTable

    Raises
    ------
    UnknownName
        Where a column or section does not exist.
    SpecError
        Where the file is no TOML, has no version, or gives a name twice.

    Examples
    --------
    >>> table = load_aliases()
    >>> table.version, list(table.columns)[int(table.column_of[table.names.index("gen_ai.system")])]
    (1, 'provider')
    """
    place = "aliases_v1.toml" if path is None else str(path)
    source = files("jurat.telemetry").joinpath(place) if path is None else Path(path)
    try:
        document = tomllib.loads(source.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SpecError("the table of aliases cannot be read", seen=f"{place}: {error}") from error
    for section in document:
        if section not in _SECTIONS:
            raise UnknownName("section", section, _SECTIONS, place=place)
    if not isinstance(document.get("version"), int):
        raise SpecError("the table of aliases has no version", seen=place, next_step="add version = 1")
    return _compiled(document, place)


def _compiled(document: Mapping[str, Any], place: str) -> AliasTable:
    columns = {column: kind for kind in _KINDS for column in document.get(kind, {})}
    members = {name: ("retrieved", member) for name, member in document.get("member", {}).items()}
    objects = document.get("object", {})
    for column in [*columns, *document.get("role", {}), *(c for o in objects.values() for c in o.values())]:
        if column not in SPAN_COLUMNS.names:
            raise UnknownName("column", column, SPAN_COLUMNS.names, place=place)
    rows: list[tuple[str, str | None, int]] = [
        (name, column, rank)
        for kind in _KINDS
        for column, names in document.get(kind, {}).items()
        for rank, name in enumerate(names)
    ]
    rows += [(name, None, 0) for names in document.get("role", {}).values() for name in names]
    rows += [(name, column, 500) for name, (column, _) in members.items()]
    # What goes to a column whole may hold members for others too.
    apart = [name for name in objects if name not in {name for name, _, _ in rows}]
    rows += [(name, None, 0) for name in [*apart, *document.get("known", {}).get("names", [])]]
    names = tuple(name for name, _, _ in rows)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SpecError("a name stands in the table of aliases twice", seen=f"{place}: {', '.join(twice)}")
    number = {name: i for i, name in enumerate(names)}
    order = list(columns)
    unit = {name: 0.0 if factor == "time" else float(factor) for name, factor in document.get("unit", {}).items()}
    slots, data, places = _hash_table(names)
    return AliasTable(
        version=document["version"],
        names=names,
        columns=columns,
        column_of=np.array([-1 if column is None else order.index(column) for _, column, _ in rows], np.int64),
        rank_of=np.array([rank for _, _, rank in rows], np.int64),
        factor_of=np.array([unit.get(name, 1.0) for name in names], np.float64),
        roles={number[name]: column for column, found in document.get("role", {}).items() for name in found},
        members={number[name]: member for name, (_, member) in members.items()},
        objects={number[name]: dict(found) for name, found in objects.items()},
        needs={number[name]: member for name, member in document.get("needs", {}).items() if name in objects},
        slots=slots,
        name_bytes=data,
        name_places=places,
    )


def _hash_table(names: tuple[str, ...]) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64]]:
    encoded = [name.encode() for name in names]
    places = np.concatenate([[0], np.cumsum([len(name) for name in encoded])]).astype(np.int64)
    data = np.array(list(b"".join(encoded)), np.uint8)
    size = 1 << (4 * len(names) + 4).bit_length()
    slots = np.full(size, -1, np.int64)
    for i in range(len(names)):
        slot = int(hash_key(data, int(places[i]), int(places[i + 1] - places[i]))) & (size - 1)
        while slots[slot] >= 0:
            slot = (slot + 1) & (size - 1)
        slots[slot] = i
    return slots, data, places
