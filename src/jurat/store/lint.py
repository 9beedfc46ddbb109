"""The eight rules that keep a metric's SQL portable.

A query that runs on three engines is not yet a query that says the same on three engines: plain transpilation was
measured to give silently wrong answers. Each rule forbids a construct that one engine reads differently.

1. Time arithmetic on the stored BIGINT columns (``ts_us``, ``ts_s``), not by functions or intervals.
2. Quantiles through ``quantile_cont`` only; approximate ones have no place in evidence.
3. RANGE frames over integer offsets below 2³¹ only.
4. The right side of a LEFT JOIN, and a windowed aggregate that may see an empty frame, must be made explicit with
   COALESCE, IS NULL or COUNT.
5. No decimal literal and no ``/`` outside a CAST to DOUBLE.
6. ORDER BY says NULLS FIRST or NULLS LAST; LIMIT needs an ORDER BY.
7. Known functions only: an unknown name would be passed through unchanged.
8. One SELECT with named columns: no ``*``, no second statement.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import sqlglot
from sqlglot import exp

from jurat.errors import SpecError

__all__ = ["ALLOWED_FUNCTIONS", "Breach", "lint", "parse"]

ALLOWED_FUNCTIONS = frozenset(
    {
        "abs", "and", "array_agg", "avg", "case", "cast", "ceil", "coalesce", "concat", "count", "count_if", "dense_rank",
        "exists", "exp", "filter", "first_value", "floor", "greatest", "if", "lag", "last_value", "lead", "least",
        "length", "ln", "log", "lower", "max", "min", "nullif", "or", "percentile_cont", "pow", "quantile",
        "quantile_cont", "rank", "replace", "round", "row_number", "sign", "sqrt", "starts_with", "substring", "sum",
        "trim", "upper", "window", "within_group",
    }
)  # fmt: skip
"""Functions with one meaning on DuckDB, ClickHouse and Spark (or rewritten to have one)."""

_TIME_FUNCTIONS = (exp.DateDiff, exp.DateAdd, exp.DateSub, exp.DateTrunc, exp.TimestampTrunc, exp.Extract, exp.Interval,
                   exp.CurrentTimestamp, exp.CurrentDate)  # fmt: skip
_APPROXIMATE = (exp.ApproxQuantile, exp.ApproxDistinct)


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """A rule that the SQL does not keep: its number, what was seen, and the line where that is known."""

    rule: int
    message: str
    line: int | None

    def __str__(self) -> str:
        place = f"line {self.line}: " if self.line else ""
        return f"{place}rule {self.rule}: {self.message}"


def parse(sql: str) -> exp.Expression:
    """Parse one SELECT in the authoring dialect.

    Raises
    ------
    SpecError
        Where it is not SQL, not one statement, or not a SELECT.
    """
    try:
        statements = [s for s in sqlglot.parse(sql, read="duckdb") if s is not None]
    except sqlglot.errors.SqlglotError as error:
        raise SpecError("the SQL cannot be parsed", seen=str(error), next_step="mend it at that place") from error
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        kinds = ", ".join(type(s).__name__ for s in statements) or "nothing"
        raise SpecError("a metric is one SELECT", seen=kinds, next_step="leave one SELECT (CTEs are fine)")
    return statements[0]


def lint(sql: str) -> list[Breach]:
    """Check SQL against the eight rules.

    Parameters
    ----------
    sql
        One SELECT in DuckDB's dialect.

    Returns
    -------
    list of Breach
        In the order of the rules; empty where all are kept.

    Examples
    --------
    >>> [str(b) for b in lint("SELECT COUNT(*) AS n, median(x) AS m FROM t")]
    ["line 1: rule 2: median is not portable: write quantile_cont(x, 0.5)"]
    """
    tree = parse(sql)
    found = [*_time(tree), *_quantiles(tree), *_frames(tree), *_joins(tree), *_numbers(tree), *_order(tree, sql)]
    found += [*_functions(tree), *_shape(tree)]
    return sorted(found, key=lambda b: (b.rule, b.line or 0))


def _line(node: exp.Expression) -> int | None:
    """Line of the first token below a node that kept its position."""
    for inner in node.walk():
        line = inner.meta.get("line")
        if line is not None:
            return int(line)
    return None


def _breach(rule: int, message: str, node: exp.Expression) -> Breach:
    return Breach(rule=rule, message=message, line=_line(node))


def _time(tree: exp.Expression) -> Iterator[Breach]:
    for node in tree.find_all(*_TIME_FUNCTIONS):
        yield _breach(1, f"{node.sql('duckdb')}: count in ts_us, ts_s or day, not with time functions", node)


def _quantiles(tree: exp.Expression) -> Iterator[Breach]:
    for node in tree.find_all(exp.Median):
        yield _breach(2, f"median is not portable: write quantile_cont({node.this.sql('duckdb')}, 0.5)", node)
    for node in tree.find_all(*_APPROXIMATE):
        yield _breach(2, f"{node.sql('duckdb')} is approximate: use an exact quantile or count", node)


def _frames(tree: exp.Expression) -> Iterator[Breach]:
    for spec in tree.find_all(exp.WindowSpec):
        if (spec.args.get("kind") or "").upper() != "RANGE":
            continue
        for side in ("start", "end"):
            offset = spec.args.get(side)
            if isinstance(offset, exp.Literal) and offset.is_int and int(offset.this) < 2**31:
                continue
            if isinstance(offset, exp.Expression):
                yield _breach(3, f"RANGE offset {offset.sql('duckdb')} must be a whole number below 2^31", spec)


def _joins(tree: exp.Expression) -> Iterator[Breach]:
    """What may be missing (a LEFT JOIN's right side, an empty window frame) needs its NULL made explicit."""
    for window in tree.find_all(exp.Window):
        spec = window.args.get("spec")
        may_be_empty = spec is not None and (spec.args.get("end_side") or "").upper() == "PRECEDING"
        if may_be_empty and not isinstance(window.this, exp.Count) and not window.find_ancestor(exp.Coalesce, exp.Case):
            yield _breach(4, f"{window.this.sql('duckdb')} may see an empty frame: wrap it in COALESCE", window)
    for select in tree.find_all(exp.Select):
        for join in select.args.get("joins") or []:
            if (join.args.get("side") or "").upper() != "LEFT":
                continue
            right = join.this.alias_or_name
            for projection in select.expressions:
                for column in projection.find_all(exp.Column):
                    if column.table == right and not column.find_ancestor(exp.Coalesce, exp.Is, exp.Count, exp.Case):
                        yield _breach(4, f"{column.sql('duckdb')} may be missing: wrap it in COALESCE or test IS NULL", column)


def _numbers(tree: exp.Expression) -> Iterator[Breach]:
    for literal in tree.find_all(exp.Literal):
        if not literal.is_string and not literal.is_int and not literal.find_ancestor(exp.Cast, exp.Quantile, exp.PercentileCont):
            yield _breach(5, f"the literal {literal.this} is a decimal on some engines: CAST(… AS DOUBLE)", literal)
    for division in tree.find_all(exp.Div):
        if not division.find(exp.Cast):
            yield _breach(5, f"{division.sql('duckdb')} divides whole numbers: CAST one side AS DOUBLE", division)


def _order(tree: exp.Expression, sql: str) -> Iterator[Breach]:
    # The parser fills in the dialect's default for NULLs; only the text shows whether the author said it.
    keys = len(list(tree.find_all(exp.Ordered)))
    said = sum(token.text.upper() == "NULLS" for token in sqlglot.tokenize(sql, read="duckdb"))
    if said < keys:
        yield _breach(6, f"{keys - said} of {keys} ORDER BY keys do not say NULLS FIRST or NULLS LAST", tree)
    for select in tree.find_all(exp.Select):
        if select.args.get("limit") and not select.args.get("order"):
            yield _breach(6, "LIMIT without ORDER BY takes any rows", select)


def _functions(tree: exp.Expression) -> Iterator[Breach]:
    for node in tree.find_all(exp.Func):
        if isinstance(node, (*_TIME_FUNCTIONS, *_APPROXIMATE, exp.Median)):
            continue  # rules 1 and 2 have said so
        name = node.name if isinstance(node, exp.Anonymous) else node.sql_name()
        if name.lower() not in ALLOWED_FUNCTIONS:
            yield _breach(7, f"the function {name.lower()} is not known to mean the same on every engine", node)


def _shape(tree: exp.Expression) -> Iterator[Breach]:
    for star in tree.find_all(exp.Star):
        if not star.find_ancestor(exp.Count):
            yield _breach(8, "name the columns: * changes when a table does", star)
    for projection in tree.selects if isinstance(tree, exp.Query) else []:
        if not projection.alias_or_name:
            yield _breach(8, f"{projection.sql('duckdb')} needs a name: AS …", projection)
