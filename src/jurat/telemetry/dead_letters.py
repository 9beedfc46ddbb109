"""What could not be decoded: counts by reason, and the newest pieces with a preview that is text and nothing else."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jurat.store.engine import DuckDB
from jurat.store.lake import Lake

__all__ = ["NEWEST_SQL", "REASONS_SQL", "DeadLetter", "DeadReason", "dead_letters", "dead_reasons", "preview"]

_TABLE = "dead_letters"
_PREVIEW = 400
_READABLE = re.compile(rb"[\x20-\x7e\xc2-\xf4][\x20-\x7e\x80-\xf4]{3,}")

NEWEST_SQL = """SELECT "offset", received_us, tenant, kind, place, reason, payload
FROM dead_letters
WHERE $tenant = '*' OR tenant = $tenant
ORDER BY received_us DESC, "offset" DESC, place
LIMIT 50"""
"""The newest."""

REASONS_SQL = """SELECT reason, kind, CAST(COUNT(*) AS BIGINT) AS n, MIN(received_us) AS first_us, MAX(received_us) AS last_us
FROM dead_letters
WHERE $tenant = '*' OR tenant = $tenant
GROUP BY reason, kind
ORDER BY n DESC, reason, kind
LIMIT 100"""
"""Counts by reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One part of a request that could not be decoded.

    Attributes
    ----------
    offset, place
        Where it stands in the log, and which part of its request it was (−1: all of it).
    received
        When it came.
    tenant, kind, reason
        Whose, of what kind, and why it could not be read.
    preview
        The readable beginning of the payload, hostile like all that comes from outside; empty where another part of the
        request shows it.
    """

    offset: int
    place: int
    received: dt.datetime
    tenant: str
    kind: str
    reason: str
    preview: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadReason:
    """Why parts could not be decoded, how many, the first and the last."""

    reason: str
    kind: str
    n: int
    first: dt.datetime
    last: dt.datetime


def preview(payload: str | None) -> str:
    """Readable text of a payload's beginning.

    Parameters
    ----------
    payload
        As the table keeps it, base64.

    Notes
    -----
    Text is given as it stands, control characters too, for whoever shows it to make visible; of bytes that are no text, the
    runs of readable letters are given.

    Examples
    --------
    >>> preview(base64.b64encode(b"\\x0a\\x07gen_ai.\\x00<script>").decode())
    'gen_ai. … <script>'
    """
    if payload is None:
        return ""
    try:
        raw = base64.b64decode(payload, validate=True)
    except binascii.Error:
        return ""
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        # A character may be cut in two at the end of what was kept; anything else is no text.
        text = raw[: error.start].decode() if error.start > len(raw) - 4 else ""
    if not text or 10 * sum(c < " " and c not in "\n\r\t" for c in text) > len(text):
        text = " … ".join(part.decode(errors="replace") for part in _READABLE.findall(raw))
    return text[:_PREVIEW] + ("…" if len(text) > _PREVIEW else "")


def dead_letters(lake: Lake, tenant: str | None = None) -> list[DeadLetter]:
    """The newest dead letters of a tenant, or of all."""
    return [
        DeadLetter(
            offset=row["offset"],
            place=row["place"],
            received=_time(row["received_us"]),
            tenant=row["tenant"] or "",
            kind=row["kind"] or "",
            reason=row["reason"] or "",
            preview=preview(row["payload"]),
        )
        for row in _asked(lake, NEWEST_SQL, tenant)
    ]


def dead_reasons(lake: Lake, tenant: str | None = None) -> list[DeadReason]:
    """Why they are dead, the most frequent reason first."""
    return [
        DeadReason(
            reason=row["reason"] or "",
            kind=row["kind"] or "",
            n=row["n"],
            first=_time(row["first_us"]),
            last=_time(row["last_us"]),
        )
        for row in _asked(lake, REASONS_SQL, tenant)
    ]


def _asked(lake: Lake, sql: str, tenant: str | None) -> list[Mapping[str, Any]]:
    paths = lake.paths(_TABLE) if _TABLE in lake.tables() else []
    if not paths:
        return []
    engine = DuckDB.from_files({_TABLE: [Path(path) for path in paths]})
    try:
        rows: list[Mapping[str, Any]] = engine.query(sql, parameters={"tenant": tenant or "*"}).to_pylist()
        return rows
    finally:
        engine.close()


def _time(microseconds: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(microseconds / 1e6, dt.UTC)
