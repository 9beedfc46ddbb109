"""Engines see the pinned files and nothing else, in UTC, and say the same twice."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jurat.errors import EngineError, JuratError, MissingExtra
from jurat.store.engine import DuckDB, Engine
from jurat.store.engine_clickhouse import ClickHouse
from jurat.store.lake import Lake
from jurat.store.snapshot import DataFile, Snapshot, TableVersion, sha256_of

KINDS = {"duckdb": DuckDB, "clickhouse": ClickHouse}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Exposures in three files, under a folder whose name looks like a Hive partition."""
    lake = Lake(tmp_path / "arm=wrong" / "it's a lake")
    for day in range(3):
        lake.append("exposures", pa.table({"unit_id": [f"u{day}", None], "arm": ["a", "b"]}))
    return lake


@pytest.fixture(params=KINDS)
def opened(request: pytest.FixtureRequest) -> Iterator[Callable[[Lake], Engine]]:
    engines: list[Engine] = []

    def open_engine(lake: Lake) -> Engine:
        engines.append(KINDS[request.param](lake.snapshot(), lake.root))
        return engines[-1]

    yield open_engine
    for engine in engines:
        engine.close()


def test_a_query_sees_every_pinned_file_and_no_column_from_a_folder_name(
    lake: Lake, opened: Callable[[Lake], Engine]
) -> None:
    sql = "SELECT arm, COUNT(*) AS n, COUNT(unit_id) AS known FROM exposures GROUP BY arm ORDER BY arm NULLS LAST"
    assert opened(lake).query(sql).to_pylist() == [
        {"arm": "a", "n": 3, "known": 3},
        {"arm": "b", "n": 3, "known": 0},
    ]


def test_rows_appended_after_the_snapshot_are_not_seen(lake: Lake, opened: Callable[[Lake], Engine]) -> None:
    engine = opened(lake)
    lake.append("exposures", pa.table({"unit_id": ["late"], "arm": ["c"]}))
    assert engine.query("SELECT COUNT(*) AS n FROM exposures").to_pylist() == [{"n": 6}]


def test_a_table_without_rows_has_its_columns(tmp_path: Path, opened: Callable[[Lake], Engine]) -> None:
    lake = Lake(tmp_path)
    lake.append("spans", pa.table({"span_id": pa.array([], pa.string())}))
    lake.append("exposures", pa.table({"unit_id": ["u"]}))
    sql = "SELECT COUNT(*) AS n, SUM(latency_ms) AS total, MAX(ts) AS latest FROM spans"
    assert opened(lake).query(sql).to_pylist() == [{"n": 0, "total": None, "latest": None}]


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_column_that_an_older_file_lacks_is_null_there(tmp_path: Path, kind: type[DuckDB | ClickHouse]) -> None:
    parts = {"1.parquet": pa.table({"i": [1]}), "2.parquet": pa.table({"i": [2], "x": [0.5]})}
    files = []
    for name, part in parts.items():
        pq.write_table(part, tmp_path / name)
        path = tmp_path / name
        files.append(DataFile(path=name, size=path.stat().st_size, sha256=sha256_of(path), rows=1))
    snapshot = Snapshot(tables={"t": TableVersion(version=1, files=tuple(files))}, created="2026-03-01T00:00:00+00:00")
    if kind is ClickHouse:
        files.reverse()
        snapshot = Snapshot(tables={"t": TableVersion(version=1, files=tuple(files))}, created=snapshot.created)
    engine = kind(snapshot, tmp_path)
    found = engine.query("SELECT i, x FROM t ORDER BY i NULLS LAST").to_pylist()
    engine.close()
    assert found == [{"i": 1, "x": None}, {"i": 2, "x": 0.5}]


def test_times_are_utc_on_both_engines_to_the_microsecond(
    lake: Lake, opened: Callable[[Lake], Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    edges = pa.array([1774742399999999, 1774742400000000], pa.timestamp("us", tz="UTC"))
    lake.append("spans", pa.table({"span_id": ["last", "first"], "ts": edges}))
    table = opened(lake).query("SELECT span_id, ts FROM spans ORDER BY ts NULLS LAST")
    assert [t.isoformat() for t in table["ts"].to_pylist()] == [
        "2026-03-28T23:59:59.999999+00:00",
        "2026-03-29T00:00:00+00:00",
    ]


def test_an_unknown_column_is_an_engine_error_with_the_engines_words(
    lake: Lake, opened: Callable[[Lake], Engine]
) -> None:
    with pytest.raises(EngineError, match="amr"):
        opened(lake).query("SELECT amr AS v\nFROM exposures")


def test_duckdb_names_the_line(lake: Lake) -> None:
    with pytest.raises(EngineError, match="LINE 2"):
        DuckDB(lake.snapshot(), lake.root).query("SELECT arm,\n amr AS v\nFROM exposures")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM read_parquet('{other}')",
    ],
)
def test_duckdb_reads_no_file_but_the_pinned_ones(lake: Lake, tmp_path: Path, sql: str) -> None:
    pq.write_table(pa.table({"secret": [1]}), tmp_path / "other.parquet")
    engine = DuckDB(lake.snapshot(), lake.root)
    with pytest.raises(EngineError):
        engine.query(sql.replace("{other}", str(tmp_path / "other.parquet")))


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1 AS i) TO '{pinned}'",
        "SET threads = 2",
        "CREATE TABLE t (i INTEGER)",
        "DROP VIEW exposures",
        "ATTACH '/tmp/x.db'",
        "INSTALL httpfs",
        "SELECT 1 AS a; SELECT 2 AS b",
        "",
    ],
)
def test_duckdb_runs_nothing_but_one_select_so_pinned_files_cannot_be_overwritten(lake: Lake, sql: str) -> None:
    snapshot = lake.snapshot()
    engine = DuckDB(snapshot, lake.root)
    pinned = snapshot.paths("exposures", lake.root)[0].replace("'", "''")
    with pytest.raises(EngineError, match="one SELECT"):
        engine.query(sql.replace("{pinned}", pinned))
    snapshot.verify(lake.root)


def test_python_variables_are_not_tables() -> None:
    secret = pa.table({"v": [1]})
    with pytest.raises(EngineError):
        DuckDB.from_tables({}).query("SELECT v FROM secret")
    assert secret.num_rows == 1


def test_sums_of_doubles_are_the_same_bits_on_every_run_and_on_both_engines_orders(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    lake = Lake(tmp_path)
    for _ in range(3):
        values = rng.standard_normal(20_000) * 10.0 ** rng.integers(-8, 9, 20_000)
        lake.append("spans", pa.table({"latency_ms": values, "user_id": rng.integers(0, 50, 20_000).astype(str)}))
    sql = "SELECT user_id, SUM(latency_ms) AS v FROM spans GROUP BY user_id ORDER BY user_id NULLS LAST"
    snapshot = lake.snapshot()
    for kind in KINDS.values():
        runs = []
        for _ in range(3):
            engine = kind(snapshot, lake.root)
            runs.append(engine.query(sql)["v"].to_numpy().tobytes())
            engine.close()
        assert len(set(runs)) == 1


def test_two_clickhouse_engines_in_one_process_do_not_see_each_other() -> None:
    first = ClickHouse.from_tables({"t": pa.table({"i": [1]})})
    second = ClickHouse.from_tables({"t": pa.table({"i": [2]}), "only_here": pa.table({"i": [3]})})
    assert first.query("SELECT i FROM t").to_pylist() == [{"i": 1}]
    second_sees = second.query("SELECT i FROM t").to_pylist()
    with pytest.raises(EngineError, match="only_here"):
        first.query("SELECT i FROM only_here")
    first.close()
    assert second.query("SELECT i FROM t").to_pylist() == second_sees == [{"i": 2}]
    second.close()


def test_a_closed_clickhouse_engine_says_so_and_closes_twice_without_harm() -> None:
    engine = ClickHouse.from_tables({"t": pa.table({"i": [1]})})
    assert engine.version[0].isdigit()
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.query("SELECT i FROM t")


@pytest.mark.parametrize("sql", ["SELECT line AS v FROM file('/etc/passwd', 'LineAsString')", "SELECT url('x') AS v"])
def test_clickhouse_functions_that_reach_outside_never_reach_clickhouse(sql: str) -> None:
    engine = ClickHouse.from_tables({"t": pa.table({"i": [1]})})
    with pytest.raises(JuratError):
        engine.query(sql)
    engine.close()


def test_a_path_that_clickhouse_reads_as_a_pattern_is_refused_by_name(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "a{b}")
    lake.append("exposures", pa.table({"unit_id": ["u"]}))
    with pytest.raises(EngineError, match="pattern"):
        ClickHouse(lake.snapshot(), lake.root)


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [("chdb.session", "chdb", "clickhouse"), ("pyspark.sql", "pyspark", "spark")],
)
def test_a_missing_engine_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, module: str, package: str, extra: str
) -> None:
    from jurat.store.engine_spark import Spark

    monkeypatch.setitem(sys.modules, module, None)
    kind = ClickHouse if package == "chdb" else Spark
    with pytest.raises(MissingExtra, match=rf"pip install 'jurat\[{extra}\]'"):
        kind.from_tables({})


@pytest.mark.engines
def test_spark_reads_a_snapshot_and_tells_its_errors_in_three_parts(lake: Lake) -> None:
    pytest.importorskip("pyspark")
    from jurat.store.engine_spark import Spark

    engine = Spark(lake.snapshot(), lake.root)
    assert engine.query("SELECT COUNT(*) AS n FROM exposures").to_pylist() == [{"n": 6}]
    assert engine.version[0].isdigit()
    with pytest.raises(EngineError, match="Spark refused"):
        engine.query("SELECT amr AS v FROM exposures")
    engine.close()
