"""Small files become few without a row lost, and turns are numbered as a window function numbers them."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from jurat.store.lake import Lake
from jurat.store.schema import TABLES
from jurat.telemetry.upkeep import keep_up


def spans(rng: np.random.Generator, n: int, start: int) -> pa.Table:
    users, talks = rng.integers(0, 20, n), rng.integers(0, 60, n)
    rows = [
        {
            "span_id": f"{start}-{i}", "user_id": None if users[i] == 0 else f"u{users[i]}",
            "conversation_id": None if talks[i] == 0 else f"c{talks[i]}", "ts_s": int(start + rng.integers(0, 9000)),
        }
        for i in range(n)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=TABLES["spans"])


def test_turns_and_sessions_are_those_of_the_window_functions(tmp_path: Path) -> None:
    lake, rng = Lake(tmp_path / "lake"), np.random.default_rng(3)
    for part in range(6):
        lake.append("spans", spans(rng, 80, 1_790_000_000 + 9000 * part))
    before = lake.read("spans", columns=["span_id"])
    pinned = lake.snapshot(["spans"])
    done = keep_up(lake)
    assert done.merged == {"spans": 5} and len(lake.paths("spans")) == 1
    every = lake.read("spans")
    assert every.select(["span_id"]).equals(before)
    expected = duckdb.sql("""
        SELECT span_id, n, IF(user_id IS NULL, NULL, s) AS s, IF(conversation_id IS NULL, NULL, n) AS n FROM (
          SELECT *, 1 + SUM(fresh) OVER (PARTITION BY user_id ORDER BY ts_s, place) AS s FROM (
            SELECT *, ROW_NUMBER() OVER (PARTITION BY conversation_id ORDER BY ts_s, place) AS n,
              COALESCE(CAST(ts_s - LAG(ts_s) OVER (PARTITION BY user_id ORDER BY ts_s, place) > 1800 AS INT), 0) AS fresh
            FROM (SELECT *, ROW_NUMBER() OVER () AS place FROM every))) ORDER BY place
    """).fetchall()
    assert every["session_seq"].to_pylist() == [None if s is None else int(s) for _, _, s, _ in expected]
    assert every["turn"].to_pylist() == [n for _, _, _, n in expected]
    assert len(lake.open_snapshot(pinned.id).tables["spans"].files) == 6, "what a snapshot pins is still there"


def test_numbers_that_are_there_stay_and_late_turns_are_numbered_among_all(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")

    def add(span: str, second: int, turn: int | None = None) -> None:
        row = {"span_id": span, "user_id": "u", "conversation_id": "c", "ts_s": second, "turn": turn}
        lake.append("spans", pa.Table.from_pylist([row], schema=TABLES["spans"]))

    add("own", 100, turn=7)
    add("b", 200)
    keep_up(lake)
    add("late", 150)
    add("last", 300)
    keep_up(lake)
    numbers = dict(zip(*(lake.read("spans")[name].to_pylist() for name in ("span_id", "turn")), strict=True))
    assert numbers == {"own": 7, "b": 2, "late": 2, "last": 4}


def test_what_was_replaced_is_removed_only_when_nobody_needs_it(tmp_path: Path) -> None:
    lake, rng = Lake(tmp_path / "lake"), np.random.default_rng(1)
    for part in range(3):
        lake.append("spans", spans(rng, 10, 1_790_000_000 + part))
    kept = keep_up(lake, retain_hours=1)
    assert kept.merged == {"spans": 2} and kept.removed == 0
    assert keep_up(lake, retain_hours=0).removed == 3
    assert lake.read("spans").num_rows == 30 and keep_up(lake).merged == {}
