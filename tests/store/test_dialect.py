"""One SQL, three engines: every allowed function, and every clause that was measured to go wrong, on hostile rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from sqlglot import exp

from jurat.errors import SpecError, UnknownName
from jurat.store.dialect import bind, parameters_of, transpile
from jurat.store.engine import DuckDB, Engine
from jurat.store.engine_clickhouse import ClickHouse
from jurat.store.lint import ALLOWED_FUNCTIONS, lint, parse

ROWS = pa.table(
    {
        "id": pa.array(range(8), pa.int64()),
        "i": pa.array([None, 0, -7, 2, 3, 5, 7, 100], pa.int64()),
        "j": pa.array([1, None, 2, -2, 0, 5, 2, -7], pa.int64()),
        "x": pa.array([None, 0.5, -0.5, 1.5, 2.5, -2.5, 0.0, 1e6], pa.float64()),
        "y": pa.array([1.0, None, 2.0, -2.0, 0.25, 3.0, 2.5, 1e-3], pa.float64()),
        "s": pa.array([None, "", "a", "É", "ß日本", " x ", "İI", "aXbX"]),
        "u": pa.array(["a", None, "b", "é", "ß", "x", "i", "X"]),
        "b": pa.array([None, True, False, True, False, True, None, False]),
    }
)

# Names as SQLGlot gives them; each expression meets NULLs, zeros, negatives, ties, and characters of 2 and 3 bytes.
SCALARS = {
    "abs": ["abs(i)", "abs(x)"],
    "and": ["b AND i > 2"],
    "case": ["CASE WHEN b THEN 1 ELSE 0 END", "CASE WHEN b THEN 1 END"],
    "cast": ["CAST(b AS BIGINT)", "CAST(i AS DOUBLE)", "CAST(i AS VARCHAR)", "CAST(FLOOR(x) AS BIGINT)"],
    "ceil": ["ceil(x)"],
    "coalesce": ["coalesce(i, j)"],
    "concat": ["concat(s, u)", "s || u"],
    "exists": ["EXISTS (SELECT 1 AS one FROM t AS r WHERE r.i > 1000)"],
    "exp": ["exp(y)"],
    "floor": ["floor(x)"],
    "greatest": ["greatest(i, j)", "greatest(x, y)"],
    "if": ["if(b, 1, 0)"],
    "least": ["least(i, j)"],
    "length": ["length(s)"],
    "nullif": ["nullif(i, 2)"],
    "or": ["b OR i > 2"],
    "power": ["pow(y, 2)"],
    "replace": ["replace(s, 'X', 'y')"],
    "sign": ["sign(i)", "sign(x)"],
    "sqrt": ["sqrt(abs(x))"],
    "starts_with": ["starts_with(s, 'a')", "starts_with(s, u)"],
    "substring": ["substring(s, 2, 2)", "substring(s, 2)", "substring(s, 1, 1)"],
    "trim": ["trim(s)"],
}
WINDOWS = {
    "dense_rank": ["dense_rank() OVER (ORDER BY b NULLS FIRST)"],
    "lag": ["lag(i, 2) OVER (ORDER BY id NULLS LAST)", "lag(i, 1, 0) OVER (ORDER BY id NULLS LAST)"],
    "lead": ["lead(s) OVER (PARTITION BY b ORDER BY id NULLS LAST)"],
    "rank": ["rank() OVER (ORDER BY b NULLS LAST)"],
    "row_number": ["row_number() OVER (ORDER BY s DESC NULLS LAST, id NULLS LAST)"],
}
AGGREGATES = {
    "avg": ["avg(i)", "avg(x)"],
    "count": ["count(*)", "count(i)", "count(DISTINCT s)"],
    "covar_samp": ["covar_samp(x, y)", "covar_samp(x + 1000.0::DOUBLE, y)"],
    "filter": ["count(*) FILTER (WHERE b)", "sum(i) FILTER (WHERE i > 1000)", "avg(x) FILTER (WHERE i > 2)"],
    "max": ["max(s)", "max(i)"],
    "min": ["min(x)", "min(b)"],
    "percentile_cont": ["quantile_cont(x, 0.95)", "quantile_cont(i, 0.25)"],
    "sum": ["sum(i)", "sum(x)", "sum(DISTINCT i)", "sum(x * x)"],
}
OPERATORS = [
    "CAST(i AS DOUBLE) / NULLIF(j, 0)", "i % NULLIF(j, 0)", "i * j", "i + x", "-i", "i = j", "i IS DISTINCT FROM j",
    "i NOT IN (2, 3)", "i BETWEEN 0 AND 5", "s LIKE 'a%'", "s ILIKE 'A%'", "s < u", "NOT b", "b IS TRUE", "sqrt(x)",
    "CAST(0.1 AS DOUBLE) + CAST(0.2 AS DOUBLE)",
    "COALESCE(SUM(i) OVER (ORDER BY id NULLS LAST ROWS BETWEEN 2 PRECEDING AND 1 PRECEDING), -1)",
    "COUNT(i) OVER (ORDER BY id NULLS LAST RANGE BETWEEN 3 PRECEDING AND 1 PRECEDING)",
    "SUM(x) OVER (ORDER BY id NULLS LAST)",
]  # fmt: skip
STATEMENTS = [
    # The measured silent errors: missed joins, aliases that shadow columns, sums over nothing.
    "SELECT COUNT(c.id) AS v FROM t AS a LEFT JOIN t AS c ON a.i = c.j",
    "SELECT a.id, COALESCE(c.s, '-') AS v FROM t AS a LEFT JOIN t AS c ON a.i = c.j ORDER BY a.id NULLS LAST, v NULLS LAST",
    "SELECT COALESCE(i, 0) AS i, 1 AS v FROM t WHERE i IS NULL",
    "SELECT SUM(x) AS x, COUNT(*) AS v FROM t WHERE x > 0",
    "SELECT SUM(i) AS v FROM t WHERE id > 100",
    "SELECT COUNT(*) AS v FROM t WHERE i IN (SELECT j FROM t)",
    "SELECT COUNT(*) AS v FROM t AS a WHERE NOT EXISTS (SELECT 1 AS one FROM t AS c WHERE c.j = a.i)",
    "SELECT s AS v FROM t UNION SELECT u AS v FROM t ORDER BY v NULLS LAST",
    "SELECT i AS v FROM t EXCEPT SELECT j AS v FROM t ORDER BY v NULLS LAST",
    "SELECT b, COUNT(*) AS v FROM t GROUP BY b HAVING COUNT(*) > 2 ORDER BY b NULLS LAST",
    "SELECT id AS v FROM t QUALIFY row_number() OVER (PARTITION BY b ORDER BY id NULLS LAST) = 1 ORDER BY v NULLS LAST",
    "SELECT id AS v FROM t ORDER BY s DESC NULLS LAST, id NULLS LAST LIMIT 3",
    "WITH c AS (SELECT b, i FROM t) SELECT b, MAX(i) AS v FROM c GROUP BY b ORDER BY b NULLS LAST",
]


def _statements() -> list[str]:
    per_row = [e for group in (SCALARS, WINDOWS) for several in group.values() for e in several]
    found = [f"SELECT id, {e} AS v FROM t ORDER BY id NULLS LAST" for e in [*per_row, *OPERATORS]]
    for several in AGGREGATES.values():
        for e in several:
            found.append(f"SELECT b, {e} AS v FROM t GROUP BY b ORDER BY b NULLS LAST")
            found.append(f"SELECT {e} AS v FROM t WHERE id > 100")
    return found + STATEMENTS


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Decimal | int | float) and isinstance(b, Decimal | int | float):
        x, y = float(a), float(b)
        return (math.isnan(x) and math.isnan(y)) or abs(x - y) <= 1e-9 * max(1.0, abs(x), abs(y))
    return bool(a == b)


def _assert_equal_to_duckdb(engine: Engine) -> None:
    reference = DuckDB.from_tables({"t": ROWS})
    for sql in _statements():
        expected = reference.query(sql)["v"].to_pylist()
        found = engine.query(sql)["v"].to_pylist()
        assert len(expected) == len(found), sql
        assert all(_same(a, b) for a, b in zip(expected, found, strict=True)), f"{sql}\n{expected}\n{found}"


@pytest.fixture
def clickhouse() -> Iterator[ClickHouse]:
    engine = ClickHouse.from_tables({"t": ROWS})
    yield engine
    engine.close()


def test_every_allowed_function_and_clause_gives_the_same_on_clickhouse_as_on_duckdb(clickhouse: ClickHouse) -> None:
    _assert_equal_to_duckdb(clickhouse)


@pytest.mark.engines
def test_every_allowed_function_and_clause_gives_the_same_on_spark_as_on_duckdb() -> None:
    pytest.importorskip("pyspark")
    from jurat.store.engine_spark import Spark

    engine = Spark.from_tables({"t": ROWS})
    _assert_equal_to_duckdb(engine)
    engine.close()


def test_every_allowed_function_has_an_expression_above_and_none_is_there_in_vain() -> None:
    probed = SCALARS | WINDOWS | AGGREGATES
    assert set(probed) == ALLOWED_FUNCTIONS
    for name, several in probed.items():
        for expression in several:
            tree = parse(f"SELECT {expression} AS v FROM t")
            names = {node.sql_name().lower() for node in tree.find_all(exp.Func)}
            filtered = name == "filter" and tree.find(exp.Filter) is not None
            piped = name == "concat" and tree.find(exp.DPipe) is not None
            assert name in names or filtered or piped, expression


def test_every_statement_above_keeps_the_rules() -> None:
    types = {"t": {"x": "double", "y": "double", "s": "string", "u": "string", "i": "int64", "j": "int64"}}
    for sql in _statements():
        assert lint(sql, types=types) == [], sql


def test_a_function_that_sqlglot_would_pass_through_unknown_is_refused() -> None:
    with pytest.raises(SpecError, match="frobnicate"):
        transpile("SELECT frobnicate(x) AS v FROM t", "clickhouse")


def test_parameters_become_typed_literals_and_text_cannot_break_out() -> None:
    sql = "SELECT COUNT(*) AS n FROM t WHERE s = $s AND x > $x AND i < $i AND b = $b AND u IS NOT DISTINCT FROM $u"
    values = {"s": "'; DROP TABLE t; --", "x": 0.5, "i": -3, "b": True, "u": None}
    bound = bind(parse(sql), values)
    assert not list(bound.find_all(exp.Placeholder, exp.Parameter))
    assert len(list(bound.find_all(exp.Select))) == 1
    text = transpile(sql, "clickhouse", parameters=values)
    assert "'''; DROP TABLE t; --'" in text
    assert "CAST(0.5 AS Nullable(Float64))" in text
    assert "-3" in text
    assert "NULL" in text


@pytest.mark.parametrize("value", ["", "'", "\\", "\\'", "é'日\\", "$x", "%", "\n", "--", "/*"])
def test_a_text_parameter_reaches_both_engines_unchanged(clickhouse: ClickHouse, value: str) -> None:
    sql = "SELECT $value AS v, length($value) AS n FROM t WHERE id = 0"
    for engine in (clickhouse, DuckDB.from_tables({"t": ROWS})):
        assert engine.query(sql, parameters={"value": value}).to_pylist() == [{"v": value, "n": len(value)}]


@pytest.mark.parametrize("value", [1e-300, 1e300, -0.1, 1 / 3, 5e-324, 123456789.12345678])
def test_a_double_parameter_reaches_clickhouse_bit_for_bit(clickhouse: ClickHouse, value: float) -> None:
    assert clickhouse.query("SELECT $v AS v FROM t WHERE id = 0", parameters={"v": value}).to_pylist() == [{"v": value}]


def test_a_missing_parameter_is_named_with_the_near_one() -> None:
    with pytest.raises(UnknownName, match="did you mean 'tier'"):
        transpile("SELECT s AS v FROM t WHERE s = $tie", "clickhouse", parameters={"tier": "free"})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_cannot_be_a_parameter(value: float) -> None:
    with pytest.raises(SpecError, match="finite"):
        transpile("SELECT x AS v FROM t WHERE x > $x", "spark", parameters={"x": value})


def test_a_quantile_takes_its_share_from_a_parameter() -> None:
    sql = "SELECT quantile_cont(x, $q) AS v FROM t"
    assert transpile(sql, "clickhouse", parameters={"q": 0.9}) == "SELECT quantileExactInclusive(0.9)(x) AS v FROM t"
    assert transpile(sql, "spark", parameters={"q": 0.9}) == "SELECT PERCENTILE(x, 0.9) AS v FROM t"


@pytest.mark.parametrize("share", ["i", "'0.5'", "1.5", "[0.5, 0.9]"])
def test_a_quantile_without_a_share_between_0_and_1_is_refused(share: str) -> None:
    with pytest.raises(SpecError):
        transpile(f"SELECT quantile_cont(x, {share}) AS v FROM t", "clickhouse")


def test_parameters_are_read_from_the_tree_not_from_comments_or_texts() -> None:
    assert parameters_of("SELECT '$a' AS v FROM t WHERE s = $b -- $c\n/* $d */") == {"b"}


def test_duckdb_text_stays_duckdb_text() -> None:
    assert (
        transpile("SELECT x AS v FROM t WHERE i = $i", "duckdb", parameters={"i": 2})
        == "SELECT x AS v FROM t WHERE i = 2"
    )
