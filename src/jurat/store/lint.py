"""The eight rules that keep a metric's SQL portable.

A query that runs on three engines is not yet a query that says the same on three engines: plain
transpilation was measured to give silently wrong answers. Each rule forbids a construct that one engine reads
differently.

1. Time arithmetic on the stored BIGINT columns (``ts_us``, ``ts_s``), not by functions, intervals or casts.
2. Quantiles through ``quantile_cont(x, q)`` only; approximate ones have no place in evidence.
3. RANGE frames over integer offsets below 2³¹ only.
4. Where a NULL may arise (the right side of a LEFT JOIN, an empty window frame, a list or subquery behind
   IN), the SQL says what becomes of it.
5. Numbers are BIGINT or DOUBLE: no bare decimal literal, no ``/`` but of DOUBLE by NULLIF(…, 0), no cast that
   rounds.
6. ORDER BY says NULLS FIRST or NULLS LAST; LIMIT and ranking windows need an ORDER BY.
7. Known functions and clauses only: an unknown name would be passed through unchanged.
8. One SELECT with named columns: no ``*``, no second statement, no name twice.

What no parser can see is left to the examples of a metric file: that a sort key is unique, that a cluster is
the right one. `ALLOWED_FUNCTIONS` is not an opinion: ``tests/store/test_dialect.py`` runs each of them on
hostile rows on every engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import sqlglot
from sqlglot import exp

from jurat.errors import SpecError

__all__ = ["ALLOWED_FUNCTIONS", "Breach", "lint", "parse"]

ALLOWED_FUNCTIONS = frozenset(
    {
        "abs", "and", "avg", "case", "cast", "ceil", "coalesce", "concat", "count", "dense_rank",
        "covar_samp",
        "exists", "exp", "filter", "floor", "greatest", "if", "lag", "lead", "least", "length",
        "max", "min", "nullif", "or", "percentile_cont", "power", "rank", "replace", "row_number",
        "sign", "sqrt", "starts_with", "substring", "sum", "trim",
    }
)  # fmt: skip
"""Functions with one meaning on every engine (or rewritten to have one), as SQLGlot names them."""

_TIME = (
    exp.AtTimeZone, exp.CurrentDate, exp.CurrentTimestamp, exp.DateAdd, exp.DateDiff, exp.DateSub,
    exp.DateTrunc, exp.Day, exp.Extract, exp.Interval, exp.Month, exp.TimestampTrunc, exp.TsOrDsToDate, exp.Year,
)  # fmt: skip
_QUANTILES = (exp.Median, exp.Quantile, exp.PercentileDisc, exp.ApproxQuantile, exp.ApproxDistinct)
_RANKINGS = (exp.RowNumber, exp.Rank, exp.DenseRank, exp.Lag, exp.Lead)
_UNPORTABLE = (
    exp.Bracket, exp.Collate, exp.Cube, exp.Glob, exp.GroupingSets, exp.IntDiv, exp.Lambda, exp.Lateral,
    exp.Pivot, exp.Rollup, exp.SimilarTo, exp.TableSample, exp.Values, exp.WithinGroup,
)  # fmt: skip
_INEXACT = (exp.Div, exp.Avg, exp.PercentileCont, exp.Sqrt, exp.Exp, exp.Pow)
_EXACT = (exp.Count, exp.Floor, exp.Ceil, exp.Predicate, exp.Literal, *_RANKINGS[:3])
_ADVICE = {
    "count_if": "NULL or 0 over nothing, by engine and release: write COUNT(*) FILTER (WHERE …)",
    "first_value": "engines skip NULLs differently: number the rows and pick number 1",
    "last_value": "engines skip NULLs differently: number the rows backwards and pick number 1",
    "ln": "NULL, NaN or minus infinity at 0, by engine: store the logarithm, or bucket in the table",
    "log": "base 10 or base e, by engine: store the logarithm, or bucket in the table",
    "lower": "letters outside ASCII differ by engine: store the text in one case",
    "round": "halves go up or to even, by engine: write FLOOR(x + CAST(0.5 AS DOUBLE))",
    "upper": "letters outside ASCII differ by engine: store the text in one case",
}

Types = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """A rule that the SQL does not keep: its number, what was seen, and the line where that is known."""

    rule: int
    message: str
    line: int | None

    def __str__(self) -> str:
        place = f"line {self.line}: " if self.line else ""
        return f"{place}rule {self.rule}: {self.message}"


def parse(sql: str) -> exp.Query:
    """Parse one SELECT in the authoring dialect.

    Parameters
    ----------
    sql
        Text in DuckDB's dialect.

    Raises
    ------
    SpecError
        Where it is not SQL, not one statement, or not a SELECT.

    Examples
    --------
    >>> parse("SELECT 1 AS n").sql("duckdb")
    'SELECT 1 AS n'
    """
    try:
        statements = [s for s in sqlglot.parse(sql, read="duckdb") if s is not None]
    except sqlglot.errors.SqlglotError as error:
        raise SpecError(
            "the SQL cannot be parsed", seen=_plain(error, sql), next_step="mend it at that place"
        ) from error
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        kinds = ", ".join(type(s).__name__ for s in statements) or "nothing"
        raise SpecError("a metric is one SELECT", seen=kinds, next_step="leave one SELECT (CTEs are fine)")
    _number_lines(statements[0], sql)
    return statements[0]


def _number_lines(tree: exp.Query, sql: str) -> None:
    """Correct the lines of a tree by its offsets: the tokenizer loses count after a ``$name``."""
    for node in tree.walk():
        start = node.meta.get("start")
        if start is not None:
            node.meta["line"] = sql.count("\n", 0, start) + 1


def _plain(error: sqlglot.errors.SqlglotError, sql: str) -> str:
    """Give the parser's message with its line, without the terminal colours it underlines with."""
    details = getattr(error, "errors", None)
    if not details:
        return str(error)
    first = details[0]
    before, near = first.get("start_context") or "", first.get("highlight") or ""
    found = sql.find(before + near)
    line = sql.count("\n", 0, found + len(before)) + 1 if found >= 0 else first.get("line")
    return f"line {line}: {first.get('description')} near {near!r}"


def lint(sql: str, *, types: Types | None = None) -> list[Breach]:
    """Check SQL against the eight rules.

    Parameters
    ----------
    sql
        One SELECT in DuckDB's dialect.
    types
        Column types by table and column, as ``needs`` of a metric file gives them. With them, casts of DOUBLE
        and text columns are checked too.

    Returns
    -------
    list of Breach
        In the order of the rules; empty where all are kept.

    Raises
    ------
    SpecError
        Where it is not one SELECT.

    Examples
    --------
    >>> [str(b) for b in lint("SELECT COUNT(*) AS n, median(x) AS m FROM t")]
    ['line 1: rule 2: MEDIAN(x) is not portable: write quantile_cont(x, 0.5)']
    """
    tree = parse(sql)
    found = [*_time(tree), *_quantiles(tree), *_frames(tree)]
    found += [*_joins(tree), *_empty_frames(tree), *_memberships(tree)]
    found += [*_numbers(tree), *_casts(tree, types or {})]
    found += [*_order(tree, sql), *_functions(tree), *_shape(tree)]
    return sorted(found, key=lambda b: (b.rule, b.line or 0))


def _line(node: exp.Expr) -> int | None:
    """Line of the first token below a node that kept its position, or of the nearest one above."""
    place: exp.Expr | None = node
    while place is not None:
        for inner in place.walk():
            line = inner.meta.get("line")
            if line is not None:
                return int(line)
        place = place.parent
    return None


def _breach(rule: int, message: str, node: exp.Expr) -> Breach:
    return Breach(rule=rule, message=message, line=_line(node))


def _text(node: exp.Expr) -> str:
    return node.sql("duckdb", comments=False)


# Rules 1 to 3: time, quantiles, frames ----------------------------------------------------------------------


def _time(tree: exp.Expr) -> Iterator[Breach]:
    for node in tree.find_all(*_TIME):
        yield _breach(1, f"{_text(node)}: count in ts_us, ts_s or day, not with time functions", node)
    for cast in tree.find_all(exp.Cast):
        if cast.to.is_type(*exp.DataType.TEMPORAL_TYPES):
            yield _breach(1, f"{_text(cast)}: compare ts_us, ts_s or day, not made-up times", cast)


def _quantiles(tree: exp.Expr) -> Iterator[Breach]:
    for node in tree.find_all(*_QUANTILES):
        if isinstance(node, exp.Median):
            advice = f"is not portable: write quantile_cont({_text(node.this)}, 0.5)"
        elif isinstance(node, exp.ApproxQuantile | exp.ApproxDistinct):
            advice = "is approximate: use an exact quantile or count"
        else:
            advice = "picks a row on DuckDB and interpolates elsewhere: write quantile_cont(x, q)"
        yield _breach(2, f"{_text(node)} {advice}", node)


def _frames(tree: exp.Expr) -> Iterator[Breach]:
    for spec in tree.find_all(exp.WindowSpec):
        if (spec.args.get("kind") or "").upper() != "RANGE":
            continue
        for side in ("start", "end"):
            offset = spec.args.get(side)
            if isinstance(offset, exp.Literal) and offset.is_int and int(offset.this) < 2**31:
                continue
            if isinstance(offset, exp.Expr):
                yield _breach(3, f"RANGE offset {_text(offset)} must be a whole number below 2^31", spec)


# Rule 4: where NULL comes from ------------------------------------------------------------------------------


def _joins(tree: exp.Expr) -> Iterator[Breach]:
    """Columns that a join may leave NULL, and that the SELECT passes on as they are."""
    for select in tree.find_all(exp.Select):
        for join in select.args.get("joins") or []:
            side = (join.args.get("side") or "").upper()
            if side in ("RIGHT", "FULL"):
                yield _breach(4, f"a {side} JOIN leaves NULLs on the left: write it as LEFT JOIN", join)
            if side == "LEFT":
                yield from _unguarded(select, join.this.alias_or_name)


def _unguarded(select: exp.Select, right: str) -> Iterator[Breach]:
    for projection in select.expressions:
        for column in projection.find_all(exp.Column):
            guarded = column.find_ancestor(exp.Coalesce, exp.Is, exp.Count, exp.Case)
            if column.table == right and not guarded:
                yield _breach(4, f"{_text(column)} may be missing: COALESCE it or test IS NULL", column)


def _empty_frames(tree: exp.Expr) -> Iterator[Breach]:
    """ClickHouse gives 0 over an empty frame, the others NULL."""
    for window in tree.find_all(exp.Window):
        spec = window.args.get("spec")
        if spec is None or isinstance(window.this, exp.Count):
            continue
        ends_before = (spec.args.get("end_side") or "").upper() == "PRECEDING"
        starts_after = (spec.args.get("start_side") or "").upper() == "FOLLOWING"
        if (ends_before or starts_after) and not window.find_ancestor(exp.Coalesce, exp.Case):
            yield _breach(4, f"{_text(window.this)} may see an empty frame: wrap it in COALESCE", window)


def _memberships(tree: exp.Expr) -> Iterator[Breach]:
    """On ClickHouse a NULL behind IN is nothing at all; elsewhere it makes the whole test NULL."""
    for node in tree.find_all(exp.In):
        if any(isinstance(item, exp.Null) for item in node.expressions):
            yield _breach(4, f"{_text(node)} has a NULL in its list: test IS NULL apart", node)
        # A plain filter drops NULL and false alike; anywhere else they differ.
        above = node.find_ancestor(exp.Not, exp.Case, exp.Where, exp.Having, exp.Join, exp.Select)
        if node.args.get("query") and not isinstance(above, exp.Where | exp.Having | exp.Join):
            yield _breach(4, "a NULL in the subquery changes this test: write [NOT] EXISTS (SELECT …)", node)


# Rule 5: numbers --------------------------------------------------------------------------------------------


def _numbers(tree: exp.Expr) -> Iterator[Breach]:
    for literal in tree.find_all(exp.Literal):
        exact = literal.is_string or literal.is_int
        if not exact and not isinstance(literal.parent, (exp.Cast, exp.PercentileCont, *_QUANTILES)):
            yield _breach(5, f"{literal.this} is a decimal on some engines: CAST(… AS DOUBLE)", literal)
    for division in tree.find_all(exp.Div, exp.Mod):
        by = division.expression
        if isinstance(division, exp.Div) and not (_is_double(division.this) or _is_double(by)):
            yield _breach(5, f"{_text(division)} divides whole numbers: CAST one side AS DOUBLE", division)
        if not _cannot_be_zero(by):
            yield _breach(5, f"{_text(division)} may divide by 0: write NULLIF({_text(by)}, 0)", division)


def _is_double(node: exp.Expr) -> bool:
    """Whether an operand is a CAST to DOUBLE, itself or within NULLIF, COALESCE or brackets."""
    while isinstance(node, exp.Paren | exp.Nullif | exp.Coalesce):
        node = node.this
    return isinstance(node, exp.Cast) and node.to.is_type("double")


def _cannot_be_zero(node: exp.Expr) -> bool:
    bare = node.this if isinstance(node, exp.Cast | exp.Paren) else node
    if isinstance(bare, exp.Literal):
        return not bare.is_string and float(bare.this) != 0
    return isinstance(bare, exp.Nullif) and isinstance(bare.expression, exp.Literal | exp.Cast)


def _casts(tree: exp.Expr, types: Types) -> Iterator[Breach]:
    columns = [(name, kind) for table in types.values() for name, kind in table.items()]
    inexact = _inexact_names(tree, {name for name, kind in columns if kind == "double"})
    texts = {name for name, kind in columns if kind == "string"}
    times = {name for name, kind in columns if kind == "timestamp"}
    for cast in tree.find_all(exp.Cast):
        if cast.to.is_type(*exp.DataType.TEMPORAL_TYPES):
            continue  # rule 1 has said so
        operand, target = cast.this, cast.to
        whole, text = target.is_type("bigint"), target.is_type("text")
        name = operand.name if isinstance(operand, exp.Column) else None
        if not (whole or text or target.is_type("double", "boolean")):
            yield _breach(5, f"{_text(cast)}: cast to BIGINT, DOUBLE, VARCHAR or BOOLEAN only", cast)
        elif (whole or text) and _is_inexact(operand, inexact):
            yield _breach(5, f"{_text(cast)} rounds differently by engine: take FLOOR(…) first", cast)
        elif not text and name in texts:
            yield _breach(5, f"{_text(cast)} fails or gives NULL, by engine: store the number", cast)
        elif text and name in times:
            yield _breach(5, f"{_text(cast)} is written differently by engine: use day", cast)


def _is_inexact(node: exp.Expr, names: set[str]) -> bool:
    """Whether an expression may be a DOUBLE that is not whole."""
    if isinstance(node, exp.Cast):
        return node.to.is_type("double")
    if isinstance(node, exp.Column):
        return node.name in names
    if isinstance(node, _EXACT):
        return False
    if isinstance(node, exp.Window | exp.Filter):
        return _is_inexact(node.this, names)
    return isinstance(node, _INEXACT) or any(_is_inexact(child, names) for child in node.iter_expressions())


def _inexact_names(tree: exp.Expr, names: set[str]) -> set[str]:
    """Columns and aliases that may hold such a DOUBLE, followed through CTEs and subqueries."""
    found = set(names)
    aliases = list(tree.find_all(exp.Alias))
    while more := {a.alias for a in aliases if _is_inexact(a.this, found)} - found:
        found |= more
    return found


# Rules 6 to 8: order, names, shape --------------------------------------------------------------------------


def _order(tree: exp.Expr, sql: str) -> Iterator[Breach]:
    # The parser fills in the dialect's default for NULLs; only the text shows whether the author said it.
    keys = len(list(tree.find_all(exp.Ordered)))
    words = [token.text.upper() for token in sqlglot.tokenize(sql, read="duckdb")]
    said = sum(first == "NULLS" and second in ("FIRST", "LAST") for first, second in pairwise(words))
    if said < keys:
        yield _breach(6, f"{keys - said} of {keys} ORDER BY keys do not say NULLS FIRST or NULLS LAST", tree)
    for query in tree.find_all(exp.Query):
        if query.args.get("limit") and not query.args.get("order"):
            yield _breach(6, "LIMIT without ORDER BY takes any rows", query)
    for window in tree.find_all(exp.Window):
        if isinstance(window.this, _RANKINGS) and not window.args.get("order"):
            yield _breach(6, f"{_text(window)} needs an ORDER BY", window)


def _functions(tree: exp.Expr) -> Iterator[Breach]:
    for node in tree.find_all(exp.Func):
        if isinstance(node, (*_TIME, *_QUANTILES)):
            continue  # rules 1 and 2 have said so
        name = (node.name if isinstance(node, exp.Anonymous) else node.sql_name()).lower()
        if name not in ALLOWED_FUNCTIONS:
            advice = _ADVICE.get(name, "not known to mean the same on every engine")
            yield _breach(7, f"the function {name} is not allowed ({advice})", node)
    for clause in tree.find_all(*_UNPORTABLE):
        if not isinstance(clause, exp.Func):
            yield _breach(7, f"{_text(clause)} is not known to mean the same on every engine", clause)
    for common in tree.find_all(exp.With):
        if common.args.get("recursive"):
            yield _breach(7, "a recursive CTE is not known to mean the same on every engine", common)


def _shape(tree: exp.Query) -> Iterator[Breach]:
    for star in tree.find_all(exp.Star):
        if not isinstance(star.parent, exp.Count):
            yield _breach(8, "name the columns: * changes when a table does", star)
    for distinct in tree.find_all(exp.Distinct):
        if distinct.args.get("on"):
            yield _breach(8, "DISTINCT ON picks a row by itself: number the rows and pick number 1", distinct)
    names = [projection.alias_or_name for projection in tree.selects]
    for projection, name in zip(tree.selects, names, strict=True):
        if not name:
            yield _breach(8, f"{_text(projection)} needs a name: AS …", projection)
    for name in sorted({name for name in names if name and names.count(name) > 1}):
        yield _breach(8, f"two columns are named {name}", tree)
