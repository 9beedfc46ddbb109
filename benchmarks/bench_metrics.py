"""The metric engine against hand-written SQL and pandas: what does a definition in a file cost?

Two costs are told apart: that of the engine (the statement it sends, run by hand without it), and that of one definition
for every cut (the statement groups by release, endpoint, tier and user and sums that up; SQL written for one cut groups
by release and user at once). The price of bit-for-bit sums, one thread instead of all, is told in wall time.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.record import Row, report, side_by_side
from jurat.evidence.measure import level_of_arm
from jurat.metrics.loader import Metric, catalog
from jurat.metrics.run import rolled_up, run
from jurat.store.engine import DuckDB
from jurat.store.lake import Lake
from jurat.store.snapshot import Snapshot

ROWS, USERS = 5_000_000, 300_000

SQL = """
SELECT release, user_id AS cluster, COUNT(*) AS n, COUNT(*) FILTER (WHERE refused) AS k
FROM spans WHERE status = 'ok' AND refused IS NOT NULL
GROUP BY release, user_id ORDER BY release, user_id
"""


def spans() -> pa.Table:
    """Narrow spans: five million turns of 300,000 users on two releases."""
    rng = np.random.default_rng(0)
    user = rng.integers(0, USERS, ROWS)
    names = pa.array([f"user-{i:06d}" for i in range(USERS)])
    return pa.table(
        {
            "user_id": names.take(pa.array(user)),
            "release": pa.array(["r1", "r2"]).take(pa.array(user % 2)),
            "endpoint": pa.array(["/v1/chat", "/v1/extract"]).take(pa.array(rng.integers(0, 2, ROWS))),
            "tier": pa.array(["free", "pro"]).take(pa.array(rng.integers(0, 2, ROWS))),
            "status": pa.array(["ok", "error"]).take(pa.array((rng.random(ROWS) < 0.01).astype(int))),
            "refused": pa.array(rng.random(ROWS) < 0.06),
            "tokens_out": rng.integers(0, 2_000, ROWS),
        }
    )


def by_hand(sql: str, paths: list[str]) -> Callable[[], int]:
    """A statement over the files without the metric engine, on one thread like it."""

    def work() -> int:
        connection = duckdb.connect()
        connection.execute("SET threads = 1")
        connection.read_parquet(paths).create_view("spans")
        return connection.sql(sql).to_arrow_table().num_rows

    return work


def price_of_one_thread(snapshot: Snapshot, root: Path, metric: Metric) -> Row:
    """Wall time on one thread, where sums are the same bits every time, beside all threads, where they are not."""
    best = []
    for threads in (1, os.cpu_count() or 1):
        engine, times = DuckDB(snapshot, root, threads=threads), []
        for _ in range(4):
            begin = time.perf_counter()
            run(metric, engine, slices=("release",))
            times.append(time.perf_counter() - begin)
        best.append(min(times))
    return Row(
        name=f"{metric.name}, 5e6 rows: one thread over all threads (sums bit for bit)",
        ours=best[0], peer=best[1], peer_name=f"DuckDB, {os.cpu_count()} threads", unit="wall s",
        ratio=best[0] / best[1], goal=None, met=None,
    )  # fmt: skip


def rows() -> list[Row]:
    """Refusal rate per release, clustered by user."""
    metric = catalog()["refusal_rate"]
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(Path(folder))
        lake.append("spans", spans())
        snapshot = lake.snapshot()
        paths = snapshot.paths("spans", lake.root)
        engine = DuckDB(snapshot, lake.root)

        def ours() -> float | None:
            measured = run(metric, engine, slices=("release",))
            return level_of_arm(measured, arm_column="release", arm="r1").value

        def measured_only() -> int:
            return run(metric, engine, slices=("release",)).table.num_rows

        def by_pandas() -> float:
            frame = pq.read_table(paths[0], columns=["release", "user_id", "status", "refused"]).to_pandas()
            kept = frame[(frame.status == "ok") & frame.refused.notna()]
            sums = kept.groupby(["release", "user_id"])["refused"].agg(["size", "sum"])
            return float(sums.loc["r1", "sum"].sum() / sums.loc["r1", "size"].sum())

        tailored, same = by_hand(SQL, paths), by_hand(rolled_up(metric, ("release",)), paths)
        assert measured_only() == tailored() == same()
        assert ours() == by_pandas()
        return [
            side_by_side(
                "refusal rate per release and user, 5e6 rows: engine over the same SQL run bare",
                measured_only, same, peer_name="DuckDB, same SQL", goal=1.2, rounds=5, at_most=True,
            ),
            side_by_side(
                "refusal rate per release and user, 5e6 rows: overhead over SQL for this one cut",
                measured_only, tailored, peer_name="DuckDB, SQL by hand", goal=1.2, rounds=5, at_most=True,
            ),
            side_by_side(
                "refusal rate with clustered interval, 5e6 rows",
                ours, by_pandas, peer_name="pandas groupby, no interval", goal=None, rounds=3,
            ),
            price_of_one_thread(snapshot, lake.root, metric),
            price_of_one_thread(snapshot, lake.root, catalog()["mean_tokens"]),
        ]  # fmt: skip


if __name__ == "__main__":
    report("bench-metrics", rows())
