"""A change of a monitor as a document, as one line, and whether people are told of it."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from dataclasses import asdict
from typing import Any

from jurat.telemetry.monitors import Change

__all__ = ["change_document", "change_id", "headline", "is_told"]


def change_id(change: Change) -> str:
    """Name of a change that is the same however often it is replayed."""
    parts = [change.monitor, change.slice, change.minute, change.before, change.after, change.by]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def change_document(change: Change) -> dict[str, Any]:
    """A change in JSON types; times in ISO 8601, UTC.

    Examples
    --------
    >>> change = Change(minute=29_700_000, monitor="m", metric="refusal_rate", slice=(("tier", "free"),), before="ok",
    ...                 after="firing", reason="above the baseline", incident=1)
    >>> change_document(change)["time"], change_document(change)["slice"]
    ('2026-06-21T00:01:00+00:00', {'tier': 'free'})
    """
    return {
        "id": change_id(change),
        "monitor": change.monitor,
        "metric": change.metric,
        "slice": dict(change.slice),
        "time": _minute_iso(change.minute + 1),
        "before": change.before,
        "after": change.after,
        "reason": change.reason,
        "incident": change.incident,
        "reopened": change.reopened,
        "onset": None if change.onset is None else _minute_iso(change.onset),
        "observed": None if change.observed is None else asdict(change.observed),
        "baseline": change.baseline,
        "evidence": change.evidence,
        "threshold": change.threshold,
        "by": change.by,
    }


def headline(change: Change) -> str:
    """One line for a subject: what, where, and how it stands.

    Examples
    --------
    >>> change = Change(minute=0, monitor="refusals", metric="refusal_rate", slice=(("tier", "free"),), before="ok",
    ...                 after="firing", reason="above the baseline", incident=1)
    >>> headline(change)
    'firing: refusals (tier=free) is above the baseline'
    """
    where = ", ".join(f"{column}={value}" for column, value in change.slice)
    return f"{change.after}: {change.monitor}{f' ({where})' if where else ''} is {change.reason}"


def is_told(change: Change) -> bool:
    """Whether people are told: of alarms, of their end and of silence; not of warnings, nor twice of one incident."""
    if change.after == "firing":
        return not change.reopened
    return change.by is None and (change.after == "no data" or (change.after, change.before) == ("resolved", "firing"))


def _minute_iso(minute: int) -> str:
    return dt.datetime.fromtimestamp(minute * 60, dt.UTC).isoformat()
