"""How somebody's log becomes turns: which of their columns is which of ours, told by a file or by the usual names.

A mapping is TOML. Names of columns may be paths into nested JSON (``usage.output_tokens``). Without a mapping, columns are
found by our own names and by those that instrumentation gives them; what was taken for what is reported, and what was taken
for nothing too.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from jurat.errors import SpecError, UnknownName
from jurat.store.coercion import coerce
from jurat.store.document import Section, read_document
from jurat.store.schema import TABLES
from jurat.telemetry.aliases import SPAN_COLUMNS, AliasTable, load_aliases

__all__ = ["COLUMNS", "LogMapping", "TurnReader", "load_mapping"]

TimeUnit = Literal["iso", "s", "ms", "us", "ns"]

_TURN = {f.name: f.type for f in SPAN_COLUMNS if f.name not in ("ts_us", "end_us")}
_TIMES = {"ts": pa.timestamp("us", tz="UTC"), "end": pa.timestamp("us", tz="UTC")}
_FACTS = ("turn", "session_seq", "risk_tier", "intent", "refused", "blocked", "cost_usd")
COLUMNS: Mapping[str, pa.DataType] = {**_TIMES, **_TURN, **{n: TABLES["spans"].field(n).type for n in _FACTS}}
"""What a mapping may name: times, what the decoder of OTLP gives, and facts that are otherwise derived."""

_USUAL = {
    "ts": ("timestamp", "time", "created_at", "started_at", "start_time"),
    "end": ("ended_at", "end_time"),
    "span_id": ("id", "request_id", "event_id"),
    "conversation_id": ("conversation", "thread_id", "chat_id"),
    "user_id": ("user", "account_id", "customer_id"),
    "org_id": ("org", "organization_id", "organisation_id", "tenant_id", "tenant"),
    "tier": ("plan", "customer_tier"),
    "endpoint": ("route", "path", "task"),
    "release": ("model_version", "version"),
    "model": ("model_name",),
    "tokens_in": ("prompt_tokens", "input_tokens"),
    "tokens_out": ("completion_tokens", "output_tokens", "response_tokens"),
    "latency_ms": ("duration_ms",),
    "prompt": ("input", "question"),
    "response": ("output", "answer", "completion"),
    "intent": ("category", "topic"),
}
_GOOD = {"ok", "success", "succeeded", "completed", "true", "none", "null"}
_BAD = {"error", "failed", "failure", "false", "timeout", "exception"}
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_LATEST_US = 4_102_444_800 * 10**6


class _Document(Section):
    name: str = "log"
    time_unit: TimeUnit = "iso"
    columns: Mapping[str, str] = {}
    constants: Mapping[str, str | int | float | bool] = {}
    values: Mapping[str, Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class LogMapping:
    """Which column is which.

    Attributes
    ----------
    name
        For reports and commits.
    columns
        Our column to theirs; empty means by the usual names.
    constants
        Our column to a value that holds for every row.
    values
        For a column of ours: their value to our value.
    time_unit
        How times are written: ISO 8601 with zone, or numbers since 1970.
    """

    name: str = "log"
    columns: Mapping[str, str]
    constants: Mapping[str, Any]
    values: Mapping[str, Mapping[str, str]]
    time_unit: TimeUnit = "iso"

    @property
    def sha256(self) -> str:
        """Digest of what the mapping says."""
        said = [dict(self.columns), dict(self.constants), {k: dict(v) for k, v in self.values.items()}, self.time_unit]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def load_mapping(path: Path | None = None) -> LogMapping:
    """Read a mapping.

    Parameters
    ----------
    path
        The TOML file: ``[columns]`` ours = theirs, ``[constants]``, ``[values.COLUMN]`` theirs = ours, ``time_unit``. Without
        one, columns go by their usual names.

    Raises
    ------
    UnknownName
        For a column that there is not; near names are suggested.
    SpecError
        Where a column is given twice, a constant does not fit, or neither names nor constants give a time.
    """
    if path is None:
        return LogMapping(columns={}, constants={}, values={})
    said = read_document(path, _Document, what="log mapping", reference="docs/reference/log-mapping.md").content
    for column in (*said.columns, *said.constants, *said.values):
        if column not in COLUMNS:
            raise UnknownName("column", column, COLUMNS, place=path.name)
    twice = sorted(set(said.columns) & set(said.constants))
    if twice:
        raise SpecError(f"{path.name}: a column is given twice", seen=", ".join(twice), next_step="keep one of the two")
    if "ts" not in said.columns:
        raise SpecError(
            f"{path.name}: no column gives the time", seen=", ".join(said.columns), next_step='add ts = "…"'
        )
    constants = {}
    for column, value in said.constants.items():
        try:
            constants[column] = coerce(value, COLUMNS[column])
        except ValueError as error:
            raise SpecError(f"{path.name}: {column} cannot hold its constant", seen=str(error)) from error
    return LogMapping(
        name=said.name, columns=said.columns, constants=constants, values=said.values, time_unit=said.time_unit
    )


class TurnReader:
    """Records of one log to turns.

    Parameters
    ----------
    mapping
        As it was loaded.

    Attributes
    ----------
    taken
        Our column to theirs, as found so far.
    passed_over
        Columns of theirs that became nothing.
    """

    def __init__(self, mapping: LogMapping) -> None:
        self.mapping = mapping
        self.taken: dict[str, str] = dict(mapping.columns)
        self.passed_over: set[str] = set()
        self._known: frozenset[str] = frozenset()
        self._usual = {} if mapping.columns else _usual_names(load_aliases())

    def turn(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Bring a record to our columns and types; times become ``ts_us`` and ``end_us``.

        Raises
        ------
        ValueError
            Where a value is not what its column holds, there is no time, or the outcome says neither good nor bad.
        """
        if not self._known.issuperset(fields):
            self._meet(fields)
        row: dict[str, Any] = dict(self.mapping.constants)
        for ours, theirs in self.taken.items():
            raw = fields[theirs] if theirs in fields else _inside(fields, theirs)
            if raw is None or raw == "":
                continue
            if ours in self.mapping.values:
                raw = self.mapping.values[ours].get(_word(raw), raw)
            try:
                row[ours] = self._value(ours, raw)
            except ValueError as error:
                # The value is not told: reasons are stored, and what was taken for a number may be a prompt.
                raise ValueError(f"{theirs}: not {self._wanted(ours)}") from error
        if "ts" not in row:
            raise ValueError(f"{self.taken.get('ts', 'ts')}: no time")
        row["ts_us"], end = row.pop("ts"), row.pop("end", None)
        if end is not None:
            row["end_us"] = end
        return row

    def _value(self, ours: str, raw: Any) -> Any:
        if ours in _TIMES:
            return _microseconds(raw, self.mapping.time_unit)
        if ours == "status":
            return _outcome(raw)
        kind = COLUMNS[ours]
        if pa.types.is_string(kind) and isinstance(raw, list | dict):
            # Messages, documents, parts: kept as they are, readable, and searchable for what must be redacted.
            return json.dumps(raw, ensure_ascii=False)
        value = coerce(raw, kind)
        if isinstance(value, int | float) and value < 0:
            raise ValueError("negative")
        return value

    def _wanted(self, ours: str) -> str:
        if ours in _TIMES:
            unit = self.mapping.time_unit
            told = (
                f"a number of {unit} since 1970" if unit != "iso" else "ISO 8601 with a zone; say time_unit of numbers"
            )
            return f"a time ({told})"
        if ours == "status":
            return "ok, error, a truth value or an HTTP status (name others under [values.status])"
        kind = COLUMNS[ours]
        if pa.types.is_string(kind):
            return "text"
        if pa.types.is_boolean(kind):
            return "true or false"
        return f"a {'whole ' if pa.types.is_integer(kind) else ''}number of at least 0"

    def _meet(self, fields: Iterable[str]) -> None:
        """Learn columns that no record had before."""
        new = [name for name in fields if name not in self._known]
        self._known |= frozenset(new)
        if self._usual:
            for name in sorted(new, key=lambda n: self._usual.get(n, ("", 0))[1]):
                ours, rank = self._usual.get(name, ("", 0))
                held = self.taken.get(ours)
                if ours and (held is None or rank < self._usual[held][1]):
                    self.taken[ours] = name
        used = {theirs.split(".")[0] for theirs in self.taken.values()} | set(self.taken.values())
        self.passed_over = set(self._known - used)


def _usual_names(aliases: AliasTable) -> dict[str, tuple[str, int]]:
    """Their name to our column and its rank: our own first, then usual ones, then those of instrumentation."""
    found: dict[str, tuple[str, int]] = {}
    columns = list(aliases.columns)
    known = zip(aliases.names, aliases.column_of, aliases.rank_of, aliases.factor_of, strict=True)
    for name, column, rank, factor in known:
        # Names with a star are pieces of lists, and another unit or a date needs what only the decoder knows.
        if column >= 0 and "*" not in name and factor == 1:
            found[name] = (columns[column], 100 + int(rank))
    for ours, usual in _USUAL.items():
        found.update({name: (ours, 1 + rank) for rank, name in enumerate(usual)})
    found.update({name: (name, 0) for name in COLUMNS})
    return found


def _inside(fields: Mapping[str, Any], path: str) -> Any:
    """Value at a path into nested objects; ``None`` where there is none."""
    here: Any = fields
    for part in path.split("."):
        if not isinstance(here, Mapping) or part not in here:
            return None
        here = here[part]
    return here


def _word(raw: Any) -> str:
    return str(raw).lower() if isinstance(raw, bool) else str(raw)


def _microseconds(raw: Any, unit: TimeUnit) -> int:
    found: int
    if unit == "iso":
        found = (coerce(raw, _TIMES["ts"]) - _EPOCH) // dt.timedelta(microseconds=1)
    else:
        # A number of microseconds goes through no float: it would lose its last digit.
        whole = isinstance(raw, int) or (isinstance(raw, str) and raw.strip().isdigit())
        found = (
            int(raw) * 10**6 // _PER_SECOND[unit]
            if whole
            else round(coerce(raw, pa.float64()) * 10**6 / _PER_SECOND[unit])
        )
    if not 0 <= found < _LATEST_US:
        raise ValueError("not between 1970 and 2099")
    return found


def _outcome(raw: Any) -> str:
    """``"ok"`` or ``"error"``, of a word, a truth value or an HTTP status."""
    word = _word(raw).strip().lower()
    if word.isdigit() and 100 <= int(word) <= 599:
        return "error" if int(word) >= 400 else "ok"
    if word in _GOOD or word in _BAD:
        return "ok" if word in _GOOD else "error"
    raise ValueError("neither ok nor error")
