"""Production traffic to a lake and a page, beside what one would use instead: Phoenix over HTTP, protobuf in Python, window SQL.

Every server is a process of its own and gets the same OTLP payloads over HTTP, in this same run; its CPU time is read from the
system, with all its threads. Phoenix comes from its package, in an environment of its own: ``JURAT_BENCH_PHOENIX`` names its
command. Sizes are set by the environment variables below; the defaults are the full ones.
"""

from __future__ import annotations

import datetime as dt
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import bench_wire
from benchmarks.record import Row, limit_row, report, row_of
from benchmarks.telemetry_material import bodies, build_lake, narrow
from benchmarks.telemetry_servers import Measured, measure_ours, measure_phoenix, phoenix_version, send, serving
from jurat.telemetry.panels import Slice
from jurat.telemetry.recent import Recent
from jurat.telemetry.sessions import sessionise
from jurat.telemetry.tiles import Board

SPANS = int(os.environ.get("JURAT_BENCH_SPANS", "60000"))
PHOENIX_SPANS = int(os.environ.get("JURAT_BENCH_PHOENIX_SPANS", "3000"))
PACED_SECONDS = float(os.environ.get("JURAT_BENCH_PACED_SECONDS", "30"))
SESSION_ROWS = int(os.environ.get("JURAT_BENCH_SESSION_ROWS", "12000000"))
PANEL_SPANS = int(os.environ.get("JURAT_BENCH_PANEL_SPANS", "10000000"))
LOOKS = int(os.environ.get("JURAT_BENCH_LOOKS", "40"))
PLACE = Path(os.environ.get("JURAT_BENCH_FOLDER", Path(tempfile.gettempdir()) / "jurat-bench-telemetry"))
BATCH = 500
GAP_SECONDS = 1800

WINDOW_SQL = f"""WITH opened AS (
  SELECT user_code, seconds, CASE WHEN seconds - LAG(seconds) OVER w <= {GAP_SECONDS} THEN 0 ELSE 1 END AS opens
  FROM read_parquet($path) WINDOW w AS (PARTITION BY user_code ORDER BY seconds)
),
numbered AS (
  SELECT user_code, seconds, opens,
    SUM(opens) OVER (PARTITION BY user_code ORDER BY seconds, opens DESC ROWS UNBOUNDED PRECEDING) AS session
  FROM opened
),
placed AS (
  SELECT opens, session, ROW_NUMBER() OVER (PARTITION BY user_code, session ORDER BY seconds) AS turn FROM numbered
)
SELECT SUM(opens), SUM(session), SUM(turn) FROM placed"""
"""Session of its user and place in it, for every turn: what `sessionise` finds; summed up, so that nothing is carried over."""


def server_rows() -> list[Row]:
    """Stored spans per CPU second and bytes a span beside Phoenix, sustained spans a second, acks at half load."""
    start = time.time_ns() - 3 * 3_600 * 10**9
    warm = bodies(2, 50, seed=9, start_ns=start)
    few = bodies(max(PHOENIX_SPANS // BATCH, 1), BATCH, seed=1, start_ns=start)
    small = BATCH * len(few)
    name = phoenix_version()
    theirs = measure_phoenix(PLACE / "phoenix", few, small, warm=warm)
    equal = measure_ours(PLACE / "equal", few, small, warm=warm)
    many = bodies(max(SPANS // BATCH, 1), BATCH, seed=2, start_ns=start)
    full = measure_ours(PLACE / "full", many, BATCH * len(many), warm=warm)
    for label, one in (("Phoenix", theirs), ("ours, the same spans", equal), ("ours, sustained", full)):
        _tell(label, one)
    rate = full.stored / full.wall_seconds

    def cost(one: Measured) -> float:
        return one.cpu_seconds / max(one.stored, 1) * 1000

    unit = "CPU s per 1,000 spans"
    peer = None if theirs is None or not theirs.stored else theirs
    return [
        row_of(f"{small:,} spans of 5 KB over HTTP, stored", cost(equal), None if peer is None else cost(peer),
               peer_name=name, goal=50.0, unit=unit),
        row_of(f"{full.stored:,} spans of 5 KB over HTTP, stored", cost(full), None if peer is None else cost(peer),
               peer_name=name, goal=50.0, unit=unit),
        row_of("bytes a span on disk", full.bytes_per_span, None if peer is None else peer.bytes_per_span,
               peer_name=name, goal=0.45, at_most=True, unit="bytes"),
        limit_row("5 KB spans to the lake, sustained", rate, 8000.0, unit="spans/s", at_most=False),
        *_paced(many, rate),
    ]  # fmt: skip


def _tell(label: str, one: Measured | None) -> None:
    if one is None:
        print(f"{label}: missing", file=sys.stderr)
        return
    print(
        f"{label}: {one.stored:,} stored in {one.wall_seconds:.1f} s and {one.cpu_seconds:.1f} CPU s "
        f"({one.stored / max(one.cpu_seconds, 1e-9):,.0f} per CPU s), {one.bytes_per_span:,.0f} bytes a span, "
        f"ack p50 {1e3 * float(np.median(one.acks)):.0f} ms",
        file=sys.stderr,
    )


def _paced(many: list[bytes], rate: float) -> list[Row]:
    """Acknowledgements of requests that come at half the rate that is sustained."""
    every = BATCH / (rate / 2)
    n = max(int(PACED_SECONDS / every), 5)
    with serving(PLACE / "paced") as server:
        send(server.port, many[:6], server.headers)
        time.sleep(6.0)
        acks = np.array(send(server.port, (many * (n // len(many) + 1))[:n], server.headers, every=every))
    p50, p99 = (1e3 * float(np.quantile(acks, q)) for q in (0.5, 0.99))
    label = f"ack of {BATCH} spans at half load ({rate / 2:,.0f} spans/s, n = {n})"
    return [
        limit_row(f"{label}, p50", p50, 50.0, unit="ms"),
        limit_row(f"{label}, p99", p99, 50.0, unit="ms"),
    ]


def decoder_rows() -> list[Row]:
    """Our decoder beside protobuf with a Python loop, tables equal."""
    return bench_wire.rows([("wide", 4.0), ("small", 10.0)])


def session_rows() -> list[Row]:
    """Session and place of every turn, from a Parquet file: the kernel, file read by DuckDB included, beside DuckDB's windows."""
    PLACE.mkdir(parents=True, exist_ok=True)
    path = PLACE / "turns.parquet"
    users, seconds = narrow(SESSION_ROWS, max(SESSION_ROWS // 60, 10), 60, seed=1)
    pq.write_table(pa.table({"user_code": users, "seconds": seconds}), path, compression="zstd")
    del users, seconds
    counted: dict[str, tuple[int, ...]] = {}

    def kernel() -> None:
        table = duckdb.sql(
            "SELECT user_code, seconds FROM read_parquet($path)", params={"path": str(path)}
        ).to_arrow_table()
        columns = (table[name].combine_chunks().to_numpy() for name in ("user_code", "seconds"))
        found = sessionise(*columns, gap_seconds=GAP_SECONDS)
        counted["kernel"] = (
            found.n_sessions,
            int(found.session.sum(dtype=np.int64)),
            int(found.turn.sum(dtype=np.int64)),
        )

    def window() -> None:
        counted["window"] = tuple(int(x) for x in duckdb.sql(WINDOW_SQL, params={"path": str(path)}).fetchall()[0])

    best = _best({"kernel": kernel, "window": window}, rounds=3)
    assert counted["kernel"] == counted["window"], counted
    name = f"session and place of {SESSION_ROWS:,} turns ({counted['kernel'][0]:,} sessions)"
    return [
        row_of(
            f"{name}, wall",
            best["kernel"][0],
            best["window"][0],
            peer_name="DuckDB window SQL",
            goal=5.0,
            unit="wall s",
        ),
        row_of(f"{name}, CPU", best["kernel"][1], best["window"][1], peer_name="DuckDB window SQL", goal=None),
    ]


def _best(work: dict[str, Callable[[], None]], *, rounds: int) -> dict[str, tuple[float, float]]:
    """Least wall and CPU seconds of each, in turn."""
    found = {name: (float("inf"), float("inf")) for name in work}
    for _ in range(rounds):
        for name, one in work.items():
            wall, cpu = time.perf_counter(), time.process_time()
            one()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            found[name] = (min(found[name][0], wall), min(found[name][1], cpu))
    return found


def _looks(rng: np.random.Generator, n: int) -> Iterator[tuple[Slice, int]]:
    for _ in range(n):
        slice_ = Slice(
            endpoint=str(rng.choice(["*", "/v1/chat", "/v1/agent"])),
            tier=str(rng.choice(["*", "free", "pro"])),
            release=str(rng.choice(["*", "2026.11.2"])),
        )
        yield slice_, int(rng.choice([15, 60, 180]))


def panel_rows() -> list[Row]:
    """All tiles of the page about now, over a lake of ten million spans: opened the first time, after a commit, and again."""
    end = dt.datetime.now(dt.UTC).replace(minute=0, second=0, microsecond=0)
    lake = build_lake(PLACE / f"lake-{PANEL_SPANS}", PANEL_SPANS, end)
    rolled = lake.describe("rollup_1m")
    print(
        f"lake of {PANEL_SPANS:,} spans: {rolled['rows']:,} rows of minutes, {int(rolled['bytes']) / 1e6:,.0f} MB",
        file=sys.stderr,
    )
    recent = Recent(lake, clock=end.timestamp)
    begun = time.perf_counter()
    view = recent.view()
    first = time.perf_counter() - begun
    keys = [tile.key for tile in Board(view, Slice(), 60, clock_minute=view.until).tiles]
    panel: list[float] = []
    page: list[float] = []
    for slice_, minutes in _looks(np.random.default_rng(5), LOOKS):
        begun = time.perf_counter()
        _ = Board(recent.view(), slice_, minutes, clock_minute=view.until).tiles
        page.append(time.perf_counter() - begun)
        for key in keys:
            begun = time.perf_counter()
            Board(recent.view(), slice_, minutes, clock_minute=view.until).tile(key)
            panel.append(time.perf_counter() - begun)
    label = f"over {PANEL_SPANS:,} spans"

    def p95(took: list[float]) -> float:
        return 1e3 * float(np.quantile(took, 0.95))

    return [
        limit_row(f"one panel {label}, p95 of {len(panel)}", p95(panel), 300.0, unit="ms"),
        limit_row(f"all {len(keys)} tiles of the page {label}, p95 of {len(page)}", p95(page), 1000.0, unit="ms"),
        limit_row(f"the first look of a process {label}", 1e3 * first, 3000.0, unit="ms"),
    ]


PARTS: dict[str, Callable[[], list[Row]]] = {
    "server": server_rows,
    "decoder": decoder_rows,
    "sessions": session_rows,
    "panels": panel_rows,
}


def main(chosen: list[str]) -> list[Row]:
    """The parts named, all by default."""
    rows: list[Row] = []
    for name, part in PARTS.items():
        if not chosen or name in chosen:
            rows += part()
    return rows


def run(arguments: list[str]) -> Any:
    """Run and report; a part alone does not overwrite the record of all."""
    rows = main(arguments)
    report("bench-telemetry" if not arguments else f"bench-telemetry-{'-'.join(arguments)}", rows)


if __name__ == "__main__":
    run(sys.argv[1:])
