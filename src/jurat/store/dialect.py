"""From the authoring dialect (DuckDB's) to ClickHouse and Spark, without a change of meaning.

SQLGlot translates syntax; what it gets silently wrong was measured, and is either forbidden by `jurat.store.lint` or
rewritten here before it generates: exact quantiles, characters against bytes, parameters. Parameters are put into the
tree as typed literals, never into the text. Engine defaults that change answers (NULLs of missed joins, aggregates over
nothing, aliases that shadow columns) are settings of the engines' own modules.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal

from sqlglot import ErrorLevel, exp
from sqlglot.errors import UnsupportedError

from jurat.errors import SpecError, UnknownName
from jurat.store.lint import lint, parse

__all__ = ["Target", "bind", "parameters_of", "transpile"]

Target = Literal["duckdb", "clickhouse", "spark"]
Scalar = str | int | float | bool | None


def parameters_of(sql: str) -> frozenset[str]:
    """Names of the ``$name`` parameters that a statement uses, comments aside.

    Examples
    --------
    >>> parameters_of("SELECT x AS v FROM t WHERE tier = $tier -- and not $this")
    frozenset({'tier'})
    """
    return frozenset(_name(node) for node in parse(sql).find_all(exp.Parameter, exp.Placeholder))


def _name(node: exp.Expr) -> str:
    return node.name or str(node.this)


def bind(tree: exp.Query, parameters: Mapping[str, Scalar]) -> exp.Expr:
    """Replace each ``$name`` of a tree by a typed literal.

    Parameters
    ----------
    tree
        A parsed SELECT; it is not changed.
    parameters
        Value by name.

    Raises
    ------
    UnknownName
        Where the SQL asks for a parameter that was not given.
    SpecError
        For a number that is not finite.

    Examples
    --------
    >>> bind(parse("SELECT x AS v FROM t WHERE y > $least"), {"least": 0.5}).sql("duckdb")
    'SELECT x AS v FROM t WHERE y > CAST(0.5 AS DOUBLE)'
    """

    def replace(node: exp.Expr) -> exp.Expr:
        if not isinstance(node, exp.Parameter | exp.Placeholder):
            return node
        name = _name(node)
        if name not in parameters:
            raise UnknownName("parameter", name, parameters, place="the SQL")
        return _literal(name, parameters[name])

    return tree.transform(replace)


def _literal(name: str, value: Scalar) -> exp.Expr:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise SpecError(f"parameter {name} must be finite", seen=repr(value), next_step="give a number")
        return exp.cast(exp.Literal.number(repr(value)), "DOUBLE")
    return exp.convert(value)


def transpile(sql: str, target: Target, *, parameters: Mapping[str, Scalar] | None = None) -> str:
    """Write a metric's SQL for another engine.

    Parameters
    ----------
    sql
        One SELECT in DuckDB's dialect that keeps the rules of `jurat.store.lint`.
    target
        The engine.
    parameters
        Values of the ``$name`` parameters.

    Raises
    ------
    SpecError
        Where the SQL cannot be parsed, breaks a rule, or has a construct without a known equal on the target.

    Examples
    --------
    >>> transpile("SELECT quantile_cont(x, 0.95) AS q FROM t", "clickhouse")
    'SELECT quantileExactInclusive(0.95)(x) AS q FROM t'
    >>> transpile("SELECT COUNT(*) AS n FROM t WHERE tier = $tier", "spark", parameters={"tier": "it's"})
    "SELECT COUNT(*) AS n FROM t WHERE tier = 'it\\\\'s'"
    """
    tree = bind(parse(sql), parameters or {})
    if target == "duckdb":
        return tree.sql("duckdb", comments=False)
    breaches = lint(sql)
    if breaches:
        raise SpecError(
            f"the SQL may mean something else on {target}",
            seen="; ".join(str(b) for b in breaches[:3]),
            next_step="see docs/reference/metric-files.md for the eight rules",
        )
    try:
        return tree.transform(_REWRITES[target]).sql(target, comments=False, unsupported_level=ErrorLevel.RAISE)
    except UnsupportedError as error:
        raise SpecError(
            f"{target} has no equal for this SQL", seen=str(error), next_step="write it in another way"
        ) from error


def _clickhouse(node: exp.Expr) -> exp.Expr:
    if isinstance(node, exp.PercentileCont):
        return exp.ParameterizedAgg(this="quantileExactInclusive", expressions=[_share(node)], params=[node.this])
    if isinstance(node, exp.CovarSamp):
        # The plain one subtracts raw products and loses digits; over fewer than two rows it is NaN, not NULL.
        both = exp.and_(node.this.copy().is_(exp.null()).not_(), node.expression.copy().is_(exp.null()).not_())
        pairs = exp.Filter(this=exp.Count(this=exp.Star()), expression=exp.Where(this=both))
        stable = exp.Anonymous(this="covarSampStable", expressions=[node.this, node.expression])
        return exp.Case(ifs=[exp.If(this=exp.GT(this=pairs, expression=exp.Literal.number(1)), true=stable)])
    if isinstance(node, exp.Substring):
        # SUBSTRING counts bytes there, and cuts characters in two.
        parts = [node.this, node.args.get("start"), node.args.get("length")]
        return exp.Anonymous(this="substringUTF8", expressions=[part for part in parts if part is not None])
    return node


def _spark(node: exp.Expr) -> exp.Expr:
    if isinstance(node, exp.PercentileCont):
        return exp.Anonymous(this="percentile", expressions=[node.this, _share(node)])
    return node


_REWRITES: Mapping[str, Callable[[exp.Expr], exp.Expr]] = {"clickhouse": _clickhouse, "spark": _spark}


def _share(node: exp.PercentileCont) -> exp.Expr:
    """The share of a continuous quantile, as the bare number that both engines demand."""
    number = node.expression.unnest() if node.expression is not None else None
    if isinstance(number, exp.Cast):
        number = number.this
    if not isinstance(number, exp.Literal) or number.is_string or not 0 <= float(number.this) <= 1:
        raise SpecError(
            "a quantile's share must be a number from 0 to 1",
            seen=node.sql("duckdb"),
            next_step="write quantile_cont(x, 0.95), or pass the share as a parameter",
        )
    return number.copy()
