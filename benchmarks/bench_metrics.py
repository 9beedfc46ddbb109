"""The metric engine against hand-written SQL and pandas: what does a definition in a file cost?"""

from __future__ import annotations

import tempfile
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.record import Row, report, side_by_side
from jurat.evidence.measure import level_of_arm
from jurat.metrics.loader import catalog
from jurat.metrics.run import run
from jurat.store.engine import DuckDB
from jurat.store.lake import Lake

ROWS, USERS = 5_000_000, 300_000

SQL = """
SELECT release, user_id AS cluster, COUNT(*) AS n, COUNT_IF(refused) AS k
FROM read_parquet($paths) WHERE status = 'ok' AND refused IS NOT NULL
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
        }
    )


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

        def by_hand() -> int:
            connection = duckdb.connect()
            connection.execute("SET threads = 1")
            return connection.sql(SQL, params={"paths": paths}).to_arrow_table().num_rows

        def by_pandas() -> float:
            frame = pq.read_table(paths[0], columns=["release", "user_id", "status", "refused"]).to_pandas()
            kept = frame[(frame.status == "ok") & frame.refused.notna()]
            sums = kept.groupby(["release", "user_id"])["refused"].agg(["size", "sum"])
            return float(sums.loc["r1", "sum"].sum() / sums.loc["r1", "size"].sum())

        assert measured_only() == by_hand()
        assert ours() == by_pandas()
        return [
            side_by_side(
                "refusal rate per release and user, 5e6 rows: overhead over the bare SQL",
                measured_only, by_hand, peer_name="DuckDB, SQL by hand", goal=1.2, rounds=3, at_most=True,
            ),
            side_by_side(
                "refusal rate with clustered interval, 5e6 rows",
                ours, by_pandas, peer_name="pandas groupby, no interval", goal=None, rounds=2,
            ),
        ]  # fmt: skip


if __name__ == "__main__":
    report("bench-metrics", rows())
