"""Feedback that came before its turn: kept in the lake, joined when the turn comes, let through as it is after a day.

What waits is held in memory too, so only so much may: beyond that the oldest is let through earlier.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pyarrow as pa

from jurat.store.lake import Lake
from jurat.store.schema import TABLES
from jurat.telemetry.derive import HOUSE_TENANT
from jurat.telemetry.own_tables import OWN_TABLES
from jurat.telemetry.responses import Responses

__all__ = ["WaitingFeedback"]

_IDENTITY = ("feedback_id", "kind", "ts")
_PATIENCE_US = 24 * 3600 * 1_000_000
_MOST_CHARACTERS = 64 << 20
_EACH = 512
"""Characters that a piece counts for beside its text: its ids and its place in memory."""


class WaitingFeedback:
    """Pieces whose turn is not known yet.

    Parameters
    ----------
    rows
        Rows of the table ``waiting_feedback``.
    """

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._rows = {_key(row): row for row in rows}
        self._leaving: list[tuple[Any, ...]] = []

    @classmethod
    def load(cls, lake: Lake) -> WaitingFeedback:
        """What a lake holds that has not come into ``feedback`` since."""
        if "waiting_feedback" not in lake.tables():
            return cls([])
        waiting = lake.read("waiting_feedback").to_pylist()
        if not waiting:
            return cls([])
        joined = lake.read("feedback", columns=list(_IDENTITY)).to_pylist() if "feedback" in lake.tables() else []
        done = Counter(_identity(row) for row in joined)
        left = []
        for row in waiting:
            # A table of feedback tells no tenants apart: of several alike, as many are done as it holds.
            done[_identity(row)] -= 1
            if done[_identity(row)] < 0:
                left.append(row)
        return cls(left)

    def __len__(self) -> int:
        return len(self._rows)

    def split(self, rows: pa.Table, tenant: str, responses: Responses) -> tuple[pa.Table, pa.Table]:
        """Rows of ``feedback`` with the turns they speak of, and rows of ``waiting_feedback`` for the others.

        Parameters
        ----------
        rows
            Feedback whose ``span_id`` is the response id as it came.
        tenant
            Whose it is.
        responses
            Known turns.
        """
        # After a kill the log is read again: what waits already is joined by `due`, and by it alone.
        known_before = [_key(_waiting(row, tenant)) in self._rows for row in rows.to_pylist()]
        rows = rows.filter(pa.array([not known for known in known_before], pa.bool_()))
        named = rows["span_id"].to_pylist()
        turns = responses.resolve(tenant, named)
        known = pa.array([name in turns for name in named], pa.bool_())
        matched = rows.filter(known)
        place = rows.schema.get_field_index("span_id")
        spans = pa.array([turns[name] for name in named if name in turns], pa.string())
        unmatched = [
            _waiting(row, tenant) for row, name in zip(rows.to_pylist(), named, strict=True) if name not in turns
        ]
        self._rows |= {_key(row): row for row in unmatched}
        return matched.set_column(place, "span_id", spans), pa.Table.from_pylist(
            unmatched, schema=OWN_TABLES["waiting_feedback"]
        )

    def due(self, responses: Responses) -> pa.Table:
        """Rows of ``feedback`` whose turn has come, or that waited long enough; `forget` them once they are committed."""
        by_tenant: dict[str, list[str]] = {}
        for row in self._rows.values():
            by_tenant.setdefault(row["tenant"], []).append(row["response_id"])
        turns = {tenant: responses.recent(tenant, named) for tenant, named in by_tenant.items()}
        late = time.time_ns() // 1000 - _PATIENCE_US
        held = sum(_size(row) for row in self._rows.values())
        out, self._leaving = [], []
        for key, row in self._rows.items():
            turn = turns[row["tenant"]].get(row["response_id"])
            if turn is not None or row["received_us"] < late or held > _MOST_CHARACTERS:
                held -= _size(row)
                self._leaving.append(key)
                own = {name: row[name] for name in TABLES["feedback"].names}
                # What a tenant says of a turn that it never sent belongs to no turn.
                unmatched = row["response_id"] if row["tenant"] == HOUSE_TENANT else None
                out.append(own | {"span_id": turn or unmatched})
        return pa.Table.from_pylist(out, schema=TABLES["feedback"])

    def forget(self) -> None:
        """Let go of what was `due`: it is in ``feedback`` now."""
        for key in self._leaving:
            self._rows.pop(key, None)
        self._leaving = []


def _size(row: dict[str, Any]) -> int:
    return _EACH + sum(len(value) for value in row.values() if isinstance(value, str))


def _identity(row: dict[str, Any]) -> tuple[Any, ...]:
    """What a piece keeps when its turn is found."""
    return tuple(row[name] for name in _IDENTITY)


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    """What tells two pieces that wait apart, also two of different tenants, or answers, that were given one id."""
    return (row["tenant"], row["response_id"], *_identity(row))


def _waiting(row: dict[str, Any], tenant: str) -> dict[str, Any]:
    return {"tenant": tenant, "response_id": row["span_id"], "received_us": time.time_ns() // 1000, **row}
