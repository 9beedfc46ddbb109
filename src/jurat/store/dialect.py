"""From the authoring dialect (DuckDB's) to ClickHouse and Spark, without a change of meaning.

SQLGlot translates syntax; what it gets silently wrong was measured and is rewritten here before it generates: exact
quantiles, parameters, integer sums. Parameters are put into the tree as typed literals, never into the text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from sqlglot import ErrorLevel, exp

from jurat.errors import SpecError, UnknownName
from jurat.store.lint import parse

__all__ = ["bind", "transpile"]

Target = Literal["duckdb", "clickhouse", "spark"]
Scalar = str | int | float | bool | None


def bind(tree: exp.Expression, parameters: Mapping[str, Scalar]) -> exp.Expression:
    """Replace each ``$name`` of a tree by a typed literal.

    Raises
    ------
    UnknownName
        Where the SQL asks for a parameter that was not given.
    """

    def replace(node: exp.Expression) -> exp.Expression:
        if not isinstance(node, exp.Parameter | exp.Placeholder):
            return node
        name = node.name or str(node.this)
        if name not in parameters:
            raise UnknownName("parameter", name, parameters, place="the SQL")
        return _literal(parameters[name])

    return tree.transform(replace)


def _literal(value: Scalar) -> exp.Expression:
    if isinstance(value, float):
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
        Where the SQL cannot be parsed, or has a construct without a known equal on the target.

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
    rewritten = tree.transform(_clickhouse if target == "clickhouse" else _spark)
    return rewritten.sql(target, comments=False, unsupported_level=ErrorLevel.RAISE)


def _quantile_arguments(node: exp.Expression) -> tuple[exp.Expression, exp.Expression] | None:
    """The value and the share of a continuous quantile, however the parser has typed it."""
    if isinstance(node, exp.PercentileCont | exp.Quantile):
        share = node.expression if node.expression is not None else node.args.get("quantile")
        if share is not None:
            return node.this, share
    return None


def _clickhouse(node: exp.Expression) -> exp.Expression:
    if found := _quantile_arguments(node):
        value, share = found
        number = share.find(exp.Literal)
        if number is None:
            raise SpecError("a quantile's share must be a number", seen=share.sql(), next_step="pass it as a parameter")
        return exp.ParameterizedAgg(
            this="quantileExactInclusive", expressions=[number.copy()], params=[value.copy()]
        )
    return node


def _spark(node: exp.Expression) -> exp.Expression:
    if found := _quantile_arguments(node):
        value, share = found
        return exp.Anonymous(this="percentile", expressions=[value.copy(), share.copy()])
    return node
