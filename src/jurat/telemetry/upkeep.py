"""Upkeep of a lake that is written every few seconds: many small files become few, and turns get their numbers.

A turn's number in its conversation, and the number of its user's session, depend on what came before and so cannot be known
where a turn is received. They are set when its file is rewritten. What is set stays: a turn that comes after that is numbered
by its time among all turns, and those behind it keep the numbers they have.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jurat.store.lake import Lake
from jurat.telemetry.sessions import sessionise

__all__ = ["Upkeep", "keep_up"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Upkeep:
    """What was done.

    Attributes
    ----------
    merged
        Files fewer than before, by table; tables where nothing changed are left out.
    removed
        Files that no version in use names any more, removed from disk.
    """

    merged: dict[str, int]
    removed: int


def keep_up(lake: Lake, *, tables: Collection[str] | None = None, retain_hours: int | None = None) -> Upkeep:
    """Merge small files of a lake; number turns and sessions in ``spans``.

    Parameters
    ----------
    lake
        The lake; others may read and write it meanwhile.
    tables
        Which; all of them by default.
    retain_hours
        Remove files that have been replaced for so long and that no snapshot pins; none are removed by default.

    Returns
    -------
    Upkeep

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from jurat.store.schema import TABLES
    >>> lake = Lake(Path(tempfile.mkdtemp()))
    >>> for second in (0, 60, 7200):
    ...     row = {"span_id": f"s{second}", "user_id": "u", "conversation_id": "c", "ts_s": second}
    ...     _ = lake.append("spans", pa.Table.from_pylist([row], schema=TABLES["spans"]))
    >>> keep_up(lake).merged
    {'spans': 2}
    >>> lake.read("spans", columns=["turn", "session_seq"]).to_pydict()
    {'turn': [1, 2, 3], 'session_seq': [1, 1, 2]}
    """
    merged, removed = {}, 0
    for table in sorted(lake.tables() if tables is None else tables):
        fewer = lake.compact(table, fill=(lambda: _Numbers(lake)) if table == "spans" else None)
        if fewer:
            merged[table] = fewer
        if retain_hours is not None:
            removed += len(lake.vacuum(table, retain_hours=retain_hours, dry_run=False))
    return Upkeep(merged=merged, removed=removed)


class _Numbers:
    """Fills ``turn`` and ``session_seq`` where they are null, by all turns that the table holds."""

    def __init__(self, lake: Lake) -> None:
        every = lake.read("spans", columns=["user_id", "conversation_id", "ts_s"])
        seconds, known = _whole(every["ts_s"])
        self.session, _ = _numbered(every["user_id"], seconds, known)
        _, self.turn = _numbered(every["conversation_id"], seconds, known, one_session=True)

    def __call__(self, rows: pa.Table, first: int) -> pa.Table:
        for name, numbers in (("session_seq", self.session), ("turn", self.turn)):
            here = numbers[first : first + len(rows)]
            computed = pa.array(here, mask=here == 0)
            place = rows.schema.get_field_index(name)
            rows = rows.set_column(place, rows.schema.field(name), pc.coalesce(rows[name], computed))
        return rows


def _numbered(
    names: pa.ChunkedArray, seconds: NDArray[np.int64], known: NDArray[np.bool_], *, one_session: bool = False
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Number of the session, and of the turn in it, of each row; 0 where its owner or its time is unknown."""
    codes = names.combine_chunks().dictionary_encode().indices
    chosen = known & np.asarray(codes.is_valid().to_numpy(zero_copy_only=False), np.bool_)
    session, turn = np.zeros(len(names), np.int32), np.zeros(len(names), np.int32)
    if chosen.any():
        owners = codes.fill_null(0).to_numpy().astype(np.int64)[chosen]
        whole = int(seconds[chosen].max() - seconds[chosen].min()) + 1
        found = sessionise(owners, seconds[chosen], **({"gap_seconds": whole} if one_session else {}))
        session[chosen], turn[chosen] = found.session, found.turn
    return session, turn


def _whole(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Values with 0 for what is unknown or before 1970, and which are known."""
    values = column.combine_chunks().fill_null(-1).to_numpy()
    return np.maximum(values, 0), values >= 0
