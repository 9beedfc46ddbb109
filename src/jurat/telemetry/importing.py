"""Logs of any size into the lake's turns: in chunks of bounded size, each committed once, every record accounted for.

A file is known by its digest. It is read in chunks whose bounds depend on nothing but its content; each table holds the number
of the last chunk it took, so an import that was killed goes on where it stopped, and one that was done adds nothing. Records
that cannot be read go to a file of their own with line and reason: rows and these add up to what was met.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc

from jurat.errors import DataError
from jurat.store.durable import make_folder, write_atomically
from jurat.store.importers import FileDigest, Rejected, file_format, read_records
from jurat.store.lake import Lake
from jurat.store.schema import TABLES
from jurat.telemetry.derive import Settings, derive
from jurat.telemetry.log_mapping import COLUMNS, LogMapping, TurnReader
from jurat.telemetry.rollup import minute_rollup

__all__ = ["CHUNK_BYTES", "CHUNK_ROWS", "ImportedLog", "import_log"]

CHUNK_ROWS = 50_000
"""Most turns of a chunk; to change it would move the bounds of chunks under imports that were killed."""

CHUNK_BYTES = 32 << 20
"""Characters of text after which a chunk ends."""

_TABLES = ("spans", "span_text", "rollup_1m")
_FOLDER = "_imports"
_JUDGED_FROM = 1_000
_KINDS = {name: kind for name, kind in COLUMNS.items() if name not in ("ts", "end")}
_SCHEMA = pa.schema([*_KINDS.items(), ("ts_us", pa.int64()), ("end_us", pa.int64())])
_FACTS = ("turn", "session_seq", "risk_tier", "intent", "refused", "blocked", "cost_usd")
_TEXTS = ("prompt", "response", "system")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedLog:
    """What became of a file.

    Attributes
    ----------
    file, sha256
        Its name and digest.
    records, rows, quarantined
        Records met; those that became turns; those that could not be read. The last two add up to the first.
    reasons
        Why, and how often.
    quarantine
        File with line and reason of each; ``None`` where there is none.
    taken, passed_over
        Our column to theirs, and columns of theirs that became nothing.
    redactions
        Places redacted in texts by this run.
    chunks, done_before
        Chunks of the file, and how many of them an earlier run had committed.
    """

    file: str
    sha256: str
    records: int
    rows: int
    quarantined: int
    reasons: Mapping[str, int]
    quarantine: str | None
    taken: Mapping[str, str]
    passed_over: Sequence[str]
    redactions: int
    chunks: int
    done_before: int


class _Quarantine(list[Rejected]):
    """Takes records that could not be read straight to a file: a list in memory would grow with the log."""

    def __init__(self, stream: IO[str]) -> None:
        super().__init__()
        self._stream = stream
        self.total = 0
        self.reasons: Counter[str] = Counter()

    def append(self, rejected: Rejected) -> None:
        self.total += 1
        reason = _kind_of(rejected.reason)
        self.reasons[reason] += 1
        # The record itself stays in the log: it may hold what must not be stored.
        self._stream.write(json.dumps({"line": rejected.line, "reason": reason}) + "\n")


@dataclass(slots=True)
class _Progress:
    """State of one file."""

    rows: int = 0
    redactions: int = 0
    chunks: int = 0
    done_before: int = 0
    columns: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in _SCHEMA.names})
    characters: int = 0


def import_log(
    path: Path,
    lake: Lake,
    settings: Settings,
    mapping: LogMapping,
    *,
    tenant: str = "default",
    most_bad: float = 0.1,
) -> ImportedLog:
    """Bring a log into the tables of turns, of text and of minutes.

    Parameters
    ----------
    path
        JSONL, CSV or Parquet; ``.gz`` and ``.zst`` are unpacked on the way.
    lake
        Where the rows go; a server may write to it meanwhile.
    settings
        Secret of user keys, prices, whether text is kept.
    mapping
        Which column is which.
    tenant
        Whose turns; users of two tenants are never one.
    most_bad
        Share of records that may be unreadable. It is judged before each commit, so a wrong mapping commits nothing.

    Returns
    -------
    ImportedLog

    Raises
    ------
    DataError
        Where too many records cannot be read, the file changes meanwhile, or was brought in before in another way.

    Notes
    -----
    Memory holds one chunk, `CHUNK_ROWS` turns or `CHUNK_BYTES` characters of text, whatever the size of the file. A turn
    without an id gets one from the file's digest and its line. Turns that came by another way too are not recognised.
    """
    if not path.is_file():
        raise DataError("no such file", seen=str(path), next_step="give JSONL, CSV or Parquet files")
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    folder = lake.root / _FOLDER
    make_folder(folder)
    how = _how(mapping, settings, tenant)
    note = folder / f"{sha256[:32]}.json"
    before = _noted(note, how, path)
    if before is not None and before.get("report"):
        return ImportedLog(**{**before["report"], "done_before": before["report"]["chunks"], "redactions": 0})
    write_atomically(note, json.dumps({"how": how, "report": None}).encode())
    aside = folder / f"{sha256[:32]}.rejected.jsonl"
    with aside.open("w", encoding="utf-8") as stream:
        quarantine = _Quarantine(stream)
        reader, progress, digest = TurnReader(mapping), _Progress(), FileDigest()
        for chunk in _chunks(path, reader, quarantine, progress, (sha256, digest)):
            _judge(quarantine, progress, most_bad, path, last=False)
            _commit(chunk, lake, settings, progress, tenant=tenant, name=mapping.name, sha256=sha256)
        _judge(quarantine, progress, most_bad, path, last=True)
    if not quarantine.total:
        aside.unlink()
    if digest.sha256 != sha256:
        raise DataError(
            f"{path.name} changed while it was read",
            seen=f"sha256 {sha256[:12]}… before, {digest.sha256[:12]}… after",
            next_step="wait until it is written, then import it into a new lake: a part of it is in this one",
        )
    report = ImportedLog(
        file=path.name,
        sha256=sha256,
        records=progress.rows + quarantine.total,
        rows=progress.rows,
        quarantined=quarantine.total,
        reasons=dict(quarantine.reasons.most_common()),
        quarantine=str(aside.relative_to(lake.root)) if quarantine.total else None,
        taken=reader.taken,
        passed_over=sorted(reader.passed_over),
        redactions=progress.redactions,
        chunks=progress.chunks,
        done_before=progress.done_before,
    )
    write_atomically(note, json.dumps({"how": how, "report": asdict(report)}).encode())
    return report


def _how(mapping: LogMapping, settings: Settings, tenant: str) -> dict[str, str]:
    return {
        "mapping": mapping.sha256,
        "prices": "" if settings.prices is None else settings.prices.sha256,
        "keep_text": str(settings.keep_text),
        "tenant": tenant,
        "users": hashlib.sha256(b"import" + settings.user_secret).hexdigest()[:16],
    }


def _noted(note: Path, how: Mapping[str, str], path: Path) -> dict[str, Any] | None:
    """What an earlier run left about this file; another way of reading it would mix two kinds of rows."""
    if not note.exists():
        return None
    found: dict[str, Any] = json.loads(note.read_text(encoding="utf-8"))
    other = sorted(name for name, value in how.items() if found["how"].get(name) != value)
    if other:
        raise DataError(
            f"{path.name} was brought into this lake before, in another way",
            seen=f"other {', '.join(other)}",
            next_step="import it as before, or into a new lake",
        )
    return found


def _chunks(
    path: Path, reader: TurnReader, quarantine: _Quarantine, progress: _Progress, digests: tuple[str, FileDigest]
) -> Iterator[pa.Table]:
    """Turns of a file, a chunk at a time."""
    sha256, digest = digests
    records = read_records(path, name=path.name, kind=file_format(path), rejected=quarantine, digest=digest)
    for record in records:
        try:
            turn = reader.turn(record.fields)
        except ValueError as error:
            quarantine.append(Rejected(path.name, record.line, str(error), ""))
            continue
        if "span_id" not in turn:
            turn["span_id"] = hashlib.sha256(f"{sha256} {record.line}".encode()).hexdigest()[:16]
        for name, values in progress.columns.items():
            values.append(turn.get(name))
        progress.characters += sum(len(turn.get(name) or "") for name in _TEXTS)
        if len(progress.columns["span_id"]) >= CHUNK_ROWS or progress.characters >= CHUNK_BYTES:
            yield _emptied(progress)
    if progress.columns["span_id"]:
        yield _emptied(progress)


def _emptied(progress: _Progress) -> pa.Table:
    columns = [pa.array(progress.columns[f.name], f.type) for f in _SCHEMA]
    for values in progress.columns.values():
        values.clear()
    progress.characters = 0
    progress.rows += len(columns[0])
    progress.chunks += 1
    return pa.table(columns, schema=_SCHEMA)


def _judge(quarantine: _Quarantine, progress: _Progress, most_bad: float, path: Path, *, last: bool) -> None:
    """Stop where so much cannot be read that the file is not what the mapping says."""
    met = progress.rows + quarantine.total
    if quarantine.total > most_bad * met and (last or met >= _JUDGED_FROM):
        told = "; ".join(f"{reason} ({count:,})" for reason, count in quarantine.reasons.most_common(3))
        raise DataError(
            f"{path.name}: {quarantine.total:,} of {met:,} records cannot be read, {100 * most_bad:g} % allowed",
            seen=told,
            next_step="mend the mapping or the file, or allow more (--most-bad)",
        )


def _commit(
    chunk: pa.Table, lake: Lake, settings: Settings, progress: _Progress, *, tenant: str, name: str, sha256: str
) -> None:
    """Derive a chunk's rows and commit them to each table that does not hold them yet."""
    application, number = f"log {sha256[:32]}", progress.chunks
    held = lake.tables()
    applied = {t: (lake.transaction(t, application) or 0) if t in held else 0 for t in _TABLES}
    wanted = [t for t in _TABLES if applied[t] < number]
    if not wanted:
        progress.done_before += 1
        return
    derived = derive(chunk, settings, tenant=tenant)
    spans = _with_facts(derived.spans, chunk)
    progress.redactions += derived.n_redactions
    rows = {"spans": spans, "span_text": derived.texts, "rollup_1m": minute_rollup(spans)}
    for table in wanted:
        if len(rows[table]):
            lake.append(table, rows[table], metadata={"source": name}, transaction=(application, number))


def _with_facts(spans: pa.Table, chunk: pa.Table) -> pa.Table:
    """What the log itself says of a turn stands above what was derived."""
    for name in _FACTS:
        theirs = chunk[name].cast(TABLES["spans"].field(name).type)
        if theirs.null_count < len(theirs):
            spans = spans.set_column(spans.schema.get_field_index(name), name, pc.coalesce(theirs, spans[name]))
    return spans


def _kind_of(reason: str) -> str:
    """A reason without places: by line and column there would be as many as records."""
    return reason.partition(": line ")[0].partition(" (up to line ")[0]
