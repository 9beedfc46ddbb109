"""Each of the eight rules: SQL that breaks it, and a clean twin that says the same and keeps it."""

from __future__ import annotations

import pytest

from jurat.errors import SpecError
from jurat.store.lint import ALLOWED_FUNCTIONS, lint, parse

TYPES = {"t": {"x": "double", "i": "int64", "s": "string", "ts": "timestamp"}}

# (rule, breach, clean twin)
TWINS = [
    (1, "SELECT date_trunc('day', ts) AS v FROM t", "SELECT day AS v FROM t"),
    (1, "SELECT i AS v FROM t WHERE ts > TIMESTAMP '2026-03-01'", "SELECT i AS v FROM t WHERE ts_s > 1772323200"),
    (1, "SELECT i AS v FROM t WHERE ts + INTERVAL 1 DAY > ts", "SELECT i AS v FROM t WHERE ts_s + 86400 > ts_s"),
    (1, "SELECT extract(hour FROM ts) AS v FROM t", "SELECT ts_s % 86400 AS v FROM t"),
    (2, "SELECT median(x) AS v FROM t", "SELECT quantile_cont(x, 0.5) AS v FROM t"),
    (2, "SELECT quantile(x, 0.5) AS v FROM t", "SELECT quantile_cont(x, 0.5) AS v FROM t"),
    (2, "SELECT quantile_disc(x, 0.5) AS v FROM t", "SELECT quantile_cont(x, 0.5) AS v FROM t"),
    (2, "SELECT approx_quantile(x, 0.5) AS v FROM t", "SELECT quantile_cont(x, 0.5) AS v FROM t"),
    (2, "SELECT approx_count_distinct(i) AS v FROM t", "SELECT COUNT(DISTINCT i) AS v FROM t"),
    (
        3,
        "SELECT COUNT(*) OVER (ORDER BY ts_us NULLS LAST RANGE BETWEEN 86400000000 PRECEDING AND CURRENT ROW) AS v FROM t",
        "SELECT COUNT(*) OVER (ORDER BY ts_s NULLS LAST RANGE BETWEEN 86400 PRECEDING AND CURRENT ROW) AS v FROM t",
    ),
    (
        3,
        "SELECT COUNT(*) OVER (ORDER BY ts_s NULLS LAST RANGE BETWEEN $w PRECEDING AND CURRENT ROW) AS v FROM t",
        "SELECT COUNT(*) OVER (ORDER BY ts_s NULLS LAST ROWS BETWEEN 3 PRECEDING AND CURRENT ROW) AS v FROM t",
    ),
    (
        4,
        "SELECT r.i AS v FROM t LEFT JOIN t AS r ON r.i = t.i",
        "SELECT COALESCE(r.i, 0) AS v FROM t LEFT JOIN t AS r ON r.i = t.i",
    ),
    (
        4,
        "SELECT COALESCE(t.i, 0) AS v FROM t RIGHT JOIN t AS r ON r.i = t.i",
        "SELECT COALESCE(r.i, 0) AS v FROM t LEFT JOIN t AS r ON r.i = t.i",
    ),
    (
        4,
        "SELECT SUM(i) OVER (ORDER BY i NULLS LAST ROWS BETWEEN 2 PRECEDING AND 1 PRECEDING) AS v FROM t",
        "SELECT COALESCE(SUM(i) OVER (ORDER BY i NULLS LAST ROWS BETWEEN 2 PRECEDING AND 1 PRECEDING), 0) AS v FROM t",
    ),
    (
        4,
        "SELECT MIN(i) OVER (ORDER BY i NULLS LAST ROWS BETWEEN 1 FOLLOWING AND 2 FOLLOWING) AS v FROM t",
        "SELECT COUNT(i) OVER (ORDER BY i NULLS LAST ROWS BETWEEN 1 FOLLOWING AND 2 FOLLOWING) AS v FROM t",
    ),
    (4, "SELECT i AS v FROM t WHERE i NOT IN (1, NULL)", "SELECT i AS v FROM t WHERE i NOT IN (1, 2)"),
    (
        4,
        "SELECT i AS v FROM t WHERE i NOT IN (SELECT i FROM u)",
        "SELECT i AS v FROM t WHERE NOT EXISTS (SELECT 1 AS one FROM u WHERE u.i = t.i)",
    ),
    (4, "SELECT i IN (SELECT i FROM u) AS v FROM t", "SELECT i AS v FROM t WHERE i IN (SELECT i FROM u)"),
    (5, "SELECT i * 1.5 AS v FROM t", "SELECT i * CAST(1.5 AS DOUBLE) AS v FROM t"),
    (5, "SELECT i / NULLIF(k, 0) AS v FROM t", "SELECT CAST(i AS DOUBLE) / NULLIF(k, 0) AS v FROM t"),
    (5, "SELECT CAST(i AS DOUBLE) / k AS v FROM t", "SELECT i / NULLIF(CAST(k AS DOUBLE), 0) AS v FROM t"),
    (5, "SELECT i % k AS v FROM t", "SELECT i % 7 AS v FROM t"),
    (5, "SELECT CAST(x AS BIGINT) AS v FROM t", "SELECT CAST(FLOOR(x) AS BIGINT) AS v FROM t"),
    (5, "SELECT CAST(SUM(x) AS BIGINT) AS v FROM t", "SELECT CAST(SUM(i) AS BIGINT) AS v FROM t"),
    (
        5,
        "WITH a AS (SELECT x AS y FROM t), b AS (SELECT y AS z FROM a) SELECT CAST(z AS BIGINT) AS v FROM b",
        "WITH a AS (SELECT i AS y FROM t), b AS (SELECT y AS z FROM a) SELECT CAST(z AS BIGINT) AS v FROM b",
    ),
    (5, "SELECT CAST(s AS BIGINT) AS v FROM t", "SELECT CAST(i AS BIGINT) AS v FROM t"),
    (5, "SELECT CAST(ts AS VARCHAR) AS v FROM t", "SELECT CAST(i AS VARCHAR) AS v FROM t"),
    (5, "SELECT CAST(i AS INTEGER) AS v FROM t", "SELECT CAST(i AS BIGINT) AS v FROM t"),
    (6, "SELECT i AS v FROM t ORDER BY i", "SELECT i AS v FROM t ORDER BY i NULLS LAST"),
    (6, "SELECT i AS v FROM t LIMIT 3", "SELECT i AS v FROM t ORDER BY i NULLS FIRST LIMIT 3"),
    (
        6,
        "SELECT ROW_NUMBER() OVER (PARTITION BY s) AS v FROM t",
        "SELECT ROW_NUMBER() OVER (PARTITION BY s ORDER BY i NULLS LAST) AS v FROM t",
    ),
    (7, "SELECT frobnicate(i) AS v FROM t", "SELECT ABS(i) AS v FROM t"),
    (7, "SELECT COUNT_IF(i > 2) AS v FROM t", "SELECT COUNT(*) FILTER (WHERE i > 2) AS v FROM t"),
    (7, "SELECT ROUND(x) AS v FROM t", "SELECT FLOOR(x + CAST(0.5 AS DOUBLE)) AS v FROM t"),
    (7, "SELECT s[1] AS v FROM t", "SELECT SUBSTRING(s, 1, 1) AS v FROM t"),
    (7, "SELECT i AS v FROM t TABLESAMPLE 10%", "SELECT i AS v FROM t WHERE i % 10 = 0"),
    (7, "SELECT v FROM read_csv('/etc/passwd') AS q(v)", "SELECT i AS v FROM t"),
    (
        7,
        "WITH RECURSIVE q AS (SELECT 1 AS v UNION ALL SELECT v + 1 AS v FROM q WHERE v < 3) SELECT v FROM q",
        "WITH q AS (SELECT 1 AS v) SELECT v FROM q",
    ),
    (8, "SELECT * FROM t", "SELECT i, COUNT(*) AS n FROM t GROUP BY i"),
    (8, "SELECT i + 1 FROM t", "SELECT i + 1 AS v FROM t"),
    (8, "SELECT i AS v, x AS v FROM t", "SELECT i AS v, x AS w FROM t"),
    (8, "SELECT DISTINCT ON (s) i FROM t", "SELECT DISTINCT s, i FROM t"),
]


@pytest.mark.parametrize(("rule", "breach", "twin"), TWINS, ids=lambda x: str(x)[:60])
def test_a_breach_is_found_by_its_number_and_its_clean_twin_passes(rule: int, breach: str, twin: str) -> None:
    assert {b.rule for b in lint(breach, types=TYPES)} == {rule}
    assert lint(twin, types=TYPES) == []


def test_every_rule_has_a_breach_and_a_twin() -> None:
    assert {rule for rule, _, _ in TWINS} == set(range(1, 9))


def test_a_breach_names_its_line() -> None:
    sql = "SELECT\n  i AS v\nFROM t\nWHERE\n  frobnicate(i) > 2"
    assert [str(b)[:7] for b in lint(sql)] == ["line 5:"]


def test_breaches_come_in_the_order_of_the_rules() -> None:
    rules = [b.rule for b in lint("SELECT *, frobnicate(i) AS v, median(x) AS m FROM t LIMIT 2")]
    assert rules == sorted(rules)
    assert set(rules) == {2, 6, 7, 8}


def test_a_comment_or_a_text_is_not_linted() -> None:
    assert lint("SELECT 'median(x) 1.5' AS v FROM t -- SELECT * FROM now()") == []


@pytest.mark.parametrize(
    ("sql", "seen"),
    [
        ("SELECT 1 AS a; SELECT 2 AS b", "Select, Select"),
        ("DROP TABLE t", "Drop"),
        ("", "nothing"),
        ("SELECT i AS v\nFROM t WHERE (", "line 2"),
        ("INSERT INTO t SELECT 1 AS i", "Insert"),
    ],
)
def test_what_is_not_one_select_is_refused_with_what_was_seen(sql: str, seen: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(sql)
    assert seen in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_the_functions_that_differ_between_engines_are_not_allowed() -> None:
    assert not ALLOWED_FUNCTIONS & {"array_agg", "count_if", "first_value", "last_value", "ln", "log", "lower", "round"}


def test_lines_are_right_after_a_parameter_where_the_tokenizer_loses_count() -> None:
    sql = "SELECT\n  $a AS v\nFROM t\nWHERE frobnicate($b)\nGROUP BY i"
    assert [b.line for b in lint(sql)] == [4]
    with pytest.raises(SpecError, match="line 4"):
        parse("SELECT $a AS v\nFROM t\nWHERE i > 1\nAND AND")
