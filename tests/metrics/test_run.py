"""Metrics on every engine: examples as promised, random data as counted by hand, roll-ups that add up."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from jurat.errors import DataError, EngineError, UnknownName
from jurat.metrics.loader import Metric, catalog, parse_metric
from jurat.metrics.run import example_tables, rolled_up, run, run_example
from jurat.store.dialect import transpile
from jurat.store.engine import DuckDB, Engine
from jurat.store.engine_clickhouse import ClickHouse
from jurat.store.lint import lint
from jurat.store.schema import TABLES, conform
from tests.conftest import ROOT
from tests.metrics.world import world

SHIPPED = catalog()
METRICS = catalog(ROOT / "examples" / "xstest" / "metrics")


@pytest.fixture(scope="module")
def tables() -> dict[str, pa.Table]:
    return world()


@pytest.fixture(scope="module")
def duck(tables: dict[str, pa.Table]) -> Iterator[DuckDB]:
    engine = DuckDB.from_tables(tables)
    yield engine
    engine.close()


def assert_same_tables(first: pa.Table, second: pa.Table) -> None:
    """Equal to 1e-9, NULL keys, types and the order of rows included."""
    assert first.schema.names == second.schema.names
    assert first.schema.types == second.schema.types
    assert first.num_rows == second.num_rows > 0
    for name in first.column_names:
        if pa.types.is_floating(first[name].type):
            a, b = first[name].to_numpy(), second[name].to_numpy()
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=0)
        else:
            assert first[name].to_pylist() == second[name].to_pylist(), name


@pytest.mark.parametrize("kind", [DuckDB, ClickHouse], ids=lambda kind: kind.name)
@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_every_example_returns_what_it_promises(metric: Metric, kind: type[DuckDB | ClickHouse]) -> None:
    for example in metric.examples:
        engine = kind.from_tables(example_tables(metric, example))
        run_example(metric, example, engine)
        engine.close()


@pytest.mark.engines
def test_every_example_and_random_data_agree_on_spark(tables: dict[str, pa.Table], duck: DuckDB) -> None:
    pytest.importorskip("pyspark")
    from jurat.store.engine_spark import Spark

    for metric in METRICS.values():
        for example in metric.examples:
            engine = Spark.from_tables(example_tables(metric, example))
            run_example(metric, example, engine)
            engine.close()
    spark = Spark.from_tables(tables)
    for metric in SHIPPED.values():
        assert_same_tables(
            run(metric, duck, slices=metric.slices).table, run(metric, spark, slices=metric.slices).table
        )
    spark.close()


def test_random_data_agree_between_duckdb_and_clickhouse_at_every_cut(
    tables: dict[str, pa.Table], duck: DuckDB
) -> None:
    clickhouse = ClickHouse.from_tables(tables)
    for metric in SHIPPED.values():
        for slices in ((), metric.slices[:1], metric.slices):
            assert_same_tables(run(metric, duck, slices=slices).table, run(metric, clickhouse, slices=slices).table)
        where = {column: value for column, value in {"release": "r2", "tier": ""}.items() if column in metric.slices}
        assert_same_tables(run(metric, duck, where=where).table, run(metric, clickhouse, where=where).table)
    clickhouse.close()


def test_the_generated_roll_up_keeps_the_eight_rules_at_every_cut() -> None:
    for metric in METRICS.values():
        for size in range(len(metric.slices) + 1):
            for slices in itertools.combinations(metric.slices, size):
                sql = rolled_up(metric, slices, slices)
                assert lint(sql) == [], sql


def test_refusal_rate_is_what_a_loop_counts(tables: dict[str, pa.Table], duck: DuckDB) -> None:
    n: Counter[Any] = Counter()
    k: Counter[Any] = Counter()
    for row in tables["spans"].to_pylist():
        if row["status"] == "ok" and row["refused"] is not None:
            n[row["release"], row["user_id"]] += 1
            k[row["release"], row["user_id"]] += row["refused"]
    found = run(SHIPPED["refusal_rate"], duck, slices=("release",)).table.to_pylist()
    assert {(r["release"], r["cluster"]): (r["n"], r["k"]) for r in found} == {u: (n[u], k[u]) for u in n}


@pytest.mark.parametrize(
    ("name", "hit", "miss"),
    [
        ("harmful_compliance_rate", "harmful_compliance", "harmful_refused"),
        ("over_refusal_rate", "benign_refused", "benign_answered"),
    ],
)
def test_audit_shares_take_the_latest_human_label_as_a_loop_does(
    tables: dict[str, pa.Table], duck: DuckDB, name: str, hit: str, miss: str
) -> None:
    latest: dict[str, Any] = {}
    for label in tables["labels"].to_pylist():
        if label["kind"] == "audit" and label["source"] == "human":
            order = (label["recorded_at"], label["label_id"])
            if label["subject_id"] not in latest or order > latest[label["subject_id"]][0]:
                latest[label["subject_id"]] = (order, label["value"])
    n: Counter[Any] = Counter()
    k: Counter[Any] = Counter()
    for span in tables["spans"].to_pylist():
        value = latest.get(span["span_id"], (None, None))[1]
        if value in (hit, miss):
            n[span["release"], span["user_id"]] += 1
            k[span["release"], span["user_id"]] += value == hit
    found = run(SHIPPED[name], duck, slices=("release",)).table.to_pylist()
    assert len(n) > 100
    assert {(r["release"], r["cluster"]): (r["n"], r["k"]) for r in found} == {u: (n[u], k[u]) for u in n}


def test_mean_tokens_sums_as_exact_integers_do(tables: dict[str, pa.Table], duck: DuckDB) -> None:
    kept = [r for r in tables["spans"].to_pylist() if r["status"] == "ok" and r["tokens_out"] is not None]
    found = run(SHIPPED["mean_tokens"], duck).table
    assert sum(found["n"].to_pylist()) == len(kept)
    assert sum(found["sum"].to_pylist()) == pytest.approx(sum(r["tokens_out"] for r in kept), rel=1e-12)
    assert sum(found["sum_sq"].to_pylist()) == pytest.approx(sum(r["tokens_out"] ** 2 for r in kept), rel=1e-12)


def test_the_latency_histogram_has_the_quantiles_numpy_finds_in_the_rows(
    tables: dict[str, pa.Table], duck: DuckDB
) -> None:
    kept = [r["latency_ms"] for r in tables["spans"].to_pylist() if r["status"] == "ok" and r["latency_ms"] is not None]
    found = run(SHIPPED["latency_quantile"], duck).table
    repeated = np.repeat(found["value"].to_numpy(), found["n"].to_numpy())
    assert np.array_equal(np.quantile(repeated, [0.5, 0.95, 0.99]), np.quantile(kept, [0.5, 0.95, 0.99]))


def test_a_live_day_without_requests_counts_as_0_and_days_before_the_release_do_not(
    tables: dict[str, pa.Table],
) -> None:
    days = {"r1": ["2026-03-01", "2026-03-04"], "r2": ["2026-03-02", "2026-03-02", "2026-03-03"]}
    rows = [(release, day) for release, several in days.items() for day in several]
    spans = pa.table({"release": [r for r, _ in rows], "day": [d for _, d in rows]})
    engine = DuckDB.from_tables({"spans": conform(spans, TABLES["spans"], table="spans")})
    found = run(SHIPPED["requests_per_day"], engine, slices=("release",)).table.to_pylist()
    assert [(r["release"], r["period"][-2:], r["n"]) for r in found] == [
        ("r1", "01", 1), ("r1", "02", 0), ("r1", "03", 0), ("r1", "04", 1), ("r2", "02", 2), ("r2", "03", 1),
    ]  # fmt: skip


@pytest.mark.parametrize("metric", SHIPPED.values(), ids=SHIPPED)
def test_a_coarser_cut_is_the_sum_of_a_finer_one(metric: Metric, duck: DuckDB) -> None:
    coarse = run(metric, duck, slices=metric.slices[:1]).table
    fine = run(metric, duck, slices=metric.slices).table
    keys = [metric.slices[0], *metric.keys]
    summed = fine.group_by(keys).aggregate([(c, "sum") for c in metric.statistics])
    a = {tuple(r[k] for k in keys): [r[c] for c in metric.statistics] for r in coarse.to_pylist()}
    b = {tuple(r[k] for k in keys): [r[f"{c}_sum"] for c in metric.statistics] for r in summed.to_pylist()}
    assert a.keys() == b.keys()
    for key, values in a.items():
        assert values == pytest.approx(b[key], rel=1e-12)


def test_where_keeps_only_the_slice_that_is_named_and_binds_it(duck: DuckDB) -> None:
    metric = SHIPPED["error_rate"]
    whole = run(metric, duck, slices=("release",)).table.to_pylist()
    part = run(metric, duck, where={"release": "r2"}).table.to_pylist()
    assert [(r["cluster"], r["n"]) for r in part] == [(r["cluster"], r["n"]) for r in whole if r["release"] == "r2"]
    assert run(metric, duck, where={"release": "r2' OR 1 = 1 --"}).table.num_rows == 0


def test_the_same_run_gives_the_same_bytes(tables: dict[str, pa.Table]) -> None:
    metric = SHIPPED["mean_tokens"]
    first, second = (run(metric, DuckDB.from_tables(tables), slices=("release",)).table for _ in range(2))
    assert first.equals(second)


def test_the_order_of_rows_in_the_table_does_not_change_counts(tables: dict[str, pa.Table]) -> None:
    order = pa.array(np.random.default_rng(3).permutation(tables["spans"].num_rows))
    moved = DuckDB.from_tables({**tables, "spans": tables["spans"].take(order)})
    counted = {"proportion", "quantile", "rate"}  # sums of doubles may differ in their last bit
    for metric in (m for m in SHIPPED.values() if m.kind in counted):
        here = run(metric, DuckDB.from_tables(tables), slices=metric.slices).table
        assert here.equals(run(metric, moved, slices=metric.slices).table), metric.name


def test_an_empty_table_gives_no_rows_and_no_error() -> None:
    empty = {name: TABLES[name].empty_table() for name in ("spans", "labels", "feedback")}
    for kind in (DuckDB, ClickHouse):
        engine: Engine = kind.from_tables(empty)
        for metric in SHIPPED.values():
            assert run(metric, engine, slices=metric.slices[:1]).table.num_rows == 0
        engine.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"slices": ("relaese",)}, "did you mean 'release'"),
        ({"where": {"tire": "free"}}, "did you mean 'tier'"),
        ({"parameters": {"audit_sourc": "judge"}}, "did you mean 'audit_source'"),
    ],
)
def test_a_wrong_name_is_refused_with_the_near_one(duck: DuckDB, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UnknownName, match=message):
        run(SHIPPED["over_refusal_rate"], duck, **arguments)


def test_parameters_replace_defaults_and_are_recorded(duck: DuckDB) -> None:
    metric = SHIPPED["over_refusal_rate"]
    human, judge = run(metric, duck), run(metric, duck, parameters={"audit_source": "judge"})
    assert human.parameters == {"audit_source": "human"}
    assert judge.parameters == {"audit_source": "judge"}
    assert not human.table.equals(judge.table)
    assert (judge.engine, judge.engine_version) == ("duckdb", duck.version)


FRONT = """/*---
title = "t"
question = "q"
kind = "{kind}"
better = "lower"
role = "risk"
unit = "turn"
cluster = "none"
slices = ["release"]
owner = "o"
source = "s"
[needs.spans]
release = "string"
latency_ms = "double"
---*/
SELECT release, {columns} FROM spans GROUP BY release
"""


@pytest.mark.parametrize(
    ("kind", "columns", "message"),
    [
        ("proportion", "COUNT(*) AS n, COUNT(*) + 1 AS k", "does not count a part"),
        ("proportion", "COUNT(*) AS n, COUNT(*) - 9 AS k", "does not count a part"),
        ("proportion", "COUNT(*) AS n, CAST(NULL AS BIGINT) AS k", "NULL in n or k"),
        ("mean", "COUNT(*) AS n, SUM(SQRT(latency_ms)) AS sum, COUNT(*) AS sum_sq", "not finite"),
    ],
)
def test_statistics_that_break_the_promise_of_their_kind_are_refused(kind: str, columns: str, message: str) -> None:
    metric = parse_metric("bad", FRONT.format(kind=kind, columns=columns), place="bad.sql")
    spans = pa.table({"release": ["r1"], "latency_ms": [-1.0]})
    with pytest.raises(DataError, match=message):
        run(metric, DuckDB.from_tables({"spans": spans}))


def test_an_example_that_does_not_hold_shows_both_sides() -> None:
    metric = SHIPPED["refusal_rate"]
    example = metric.examples[0]
    tables = example_tables(metric, example)
    engine = DuckDB.from_tables({"spans": tables["spans"].slice(1)})
    with pytest.raises(EngineError, match="does not return what its example") as caught:
        run_example(metric, example, engine)
    assert "expected" in str(caught.value)


def test_an_example_row_with_an_unknown_column_is_refused() -> None:
    text = SHIPPED["error_rate"].text.replace('status = "error" },', 'statsu = "error" },', 1)
    metric = parse_metric("error_rate", text, place="error_rate.sql")
    with pytest.raises(UnknownName, match="did you mean 'status'"):
        example_tables(metric, metric.examples[0])


@pytest.mark.parametrize("target", ["clickhouse", "spark"])
def test_the_sql_sent_to_another_engine_is_the_one_on_file(target: Any) -> None:
    """A new SQLGlot may write other SQL: then the difference must be read before these files are made anew."""
    golden = Path(__file__).parent / "golden" / f"{target}.sql"
    sent = [f"-- {name}\n{transpile(m.sql, target, parameters=m.parameters)};\n" for name, m in SHIPPED.items()]
    assert "\n".join(sent) == golden.read_text(encoding="utf-8")
