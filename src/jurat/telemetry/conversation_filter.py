"""Which conversations? A condition as one writes it after WHERE, checked word by word before anything is run.

``refused and endpoint = 'chat' and latency_ms > 2000 and model like 'claude%'``

Columns of a turn hold where one and the same turn meets all of them; columns of a conversation (``turns``, ``refusals``,
``thumbs_down``, …) speak of the whole of it; AND joins the two kinds. Nothing that was typed becomes SQL: the text is parsed,
each node of the tree must be known, the condition is written anew from names that stand here, and values are bound.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import sqlglot
from sqlglot import exp

from jurat.errors import UnknownName, UsageError
from jurat.store.engine import Scalar

__all__ = ["CONVERSATION_COLUMNS", "FUNCTIONS", "TURN_COLUMNS", "ConversationFilter", "parse_filter"]

Kind = Literal["text", "number", "truth", "time", "null"]

TURN_COLUMNS: dict[str, Kind] = {
    "conversation_id": "text", "span_id": "text", "trace_id": "text", "user_id": "text", "org_id": "text",
    "tier": "text", "endpoint": "text", "release": "text", "model": "text", "status": "text", "error_type": "text",
    "intent": "text", "day": "text", "ts": "time", "latency_ms": "number", "ttft_ms": "number", "tokens_in": "number",
    "tokens_out": "number", "cost_usd": "number", "turn": "number", "session_seq": "number", "risk_tier": "number",
    "refused": "truth", "blocked": "truth",
}  # fmt: skip
"""Columns of a turn that a filter may name. Text of prompts and responses is not among them."""

CONVERSATION_COLUMNS: dict[str, Kind] = {
    "turns": "number", "refusals": "number", "errors": "number", "blocks": "number", "total_tokens": "number",
    "total_cost_usd": "number", "worst_risk_tier": "number", "duration_s": "number", "thumbs_up": "number",
    "thumbs_down": "number", "feedback": "number", "first_time": "time", "last_time": "time",
}  # fmt: skip
"""Columns of a whole conversation."""

FUNCTIONS: dict[str, tuple[Kind, Kind]] = {
    "lower": ("text", "text"), "upper": ("text", "text"), "length": ("text", "number"), "abs": ("number", "number"),
}  # fmt: skip
"""Functions of one argument, with what they take and give; ``coalesce`` is known too."""

_MOST_CHARACTERS, _MOST_BRACKETS, _MOST_VALUES, _MOST_DEPTH = 2_000, 40, 200, 60
_MOST_WHOLE = 2**63
_COMPARISONS: dict[type[exp.Expression], str] = {
    exp.EQ: "=", exp.NEQ: "<>", exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">=",
}  # fmt: skip
_PATTERNS: dict[type[exp.Expression], str] = {exp.Like: "LIKE", exp.ILike: "ILIKE"}
_CALLS: dict[type[exp.Expression], str] = {
    exp.Lower: "lower", exp.Upper: "upper", exp.Length: "length", exp.Abs: "abs",
}  # fmt: skip
_NEXT = "write conditions such as: refused and endpoint = 'chat' and latency_ms > 2000 and model like 'claude%'"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationFilter:
    """A condition that was checked.

    Attributes
    ----------
    text
        As it was written.
    turn_sql
        What one turn must meet, over the columns of ``spans``; empty for nothing.
    conversation_sql
        What the whole conversation must meet; empty for nothing.
    parameters
        Values by name, to be bound.
    """

    text: str
    turn_sql: str
    conversation_sql: str
    parameters: Mapping[str, Scalar]


def parse_filter(text: str) -> ConversationFilter:
    """Read and check a filter.

    Parameters
    ----------
    text
        Comparisons (``=``, ``<>``, ``<``, ``<=``, ``>``, ``>=``), ``like``, ``ilike``, ``in (…)``, ``between``, ``is null``,
        ``is true``, joined by ``and``, ``or``, ``not`` and brackets; ``lower``, ``upper``, ``length``, ``abs``, ``coalesce``.
        Times are ISO 8601, UTC where they name no zone. Empty for everything.

    Returns
    -------
    ConversationFilter

    Raises
    ------
    UnknownName
        For a column or function that a filter does not have; near names are suggested.
    UsageError
        For what is no condition, compares things of different kinds, or mixes turn and conversation under one OR.

    Examples
    --------
    >>> found = parse_filter("refused and latency_ms > 2000 and turns >= 3")
    >>> found.turn_sql, found.conversation_sql
    ('"refused" AND ("latency_ms" > $f0)', '"turns" >= $f1')
    >>> found.parameters
    {'f0': 2000, 'f1': 3}
    >>> parse_filter("lenght(model) > 7")
    Traceback (most recent call last):
    jurat.errors.UnknownName: unknown function
      seen: 'lenght'
      next: did you mean 'length'? (known: abs, coalesce, length, lower, upper)
    """
    if len(text) > _MOST_CHARACTERS or text.count("(") > _MOST_BRACKETS:
        raise UsageError(
            "the filter is too long",
            seen=f"{len(text):,} characters, {text.count('('):,} brackets",
            next_step=f"at most {_MOST_CHARACTERS:,} characters and {_MOST_BRACKETS} brackets",
        )
    if not text.strip():
        return ConversationFilter(text="", turn_sql="", conversation_sql="", parameters={})
    compiler = _Compiler()
    sides: dict[str, list[str]] = {"turn": [], "conversation": []}
    for part in _conjuncts(_parsed(text)):
        compiler.levels.clear()
        written = compiler.condition(part, 0)
        if len(compiler.levels) > 1:
            raise UsageError(
                "one part of the filter speaks of a turn and of the whole conversation",
                seen=part.sql("duckdb")[:120],
                next_step="join the two by AND, not within OR, NOT or one comparison",
            )
        sides[compiler.levels.pop() if compiler.levels else "turn"].append(written)
    joined = {name: " AND ".join(f"({p})" if len(parts) > 1 and " " in p else p for p in parts)
              for name, parts in sides.items()}  # fmt: skip
    return ConversationFilter(
        text=text,
        turn_sql=joined["turn"],
        conversation_sql=joined["conversation"],
        parameters=compiler.parameters,
    )


def _parsed(text: str) -> exp.Expression:
    try:
        found = sqlglot.parse(text, read="duckdb")
    except (sqlglot.errors.SqlglotError, RecursionError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError("the filter cannot be read", seen=_without_codes(first)[:160], next_step=_NEXT) from error
    statements = [s for s in found if s is not None]
    if len(statements) != 1:
        raise UsageError("the filter is not one condition", seen=f"{len(statements)} of them", next_step=_NEXT)
    return cast("exp.Expression", statements[0])


def _without_codes(text: str) -> str:
    """Drop the terminal codes with which the parser underlines."""
    return text.replace("\x1b[4m", "").replace("\x1b[0m", "")


def _conjuncts(node: exp.Expression) -> list[exp.Expression]:
    """Parts that an AND at the top joins, in their order."""
    waiting, parts = [node], []
    while waiting:
        one = waiting.pop()
        if isinstance(one, exp.Paren):
            waiting.append(one.this)
        elif isinstance(one, exp.And):
            waiting += [one.expression, one.this]
        else:
            parts.append(one)
    return parts


@dataclass(slots=True)
class _Compiler:
    """Writes a checked condition anew; collects its values and what its columns speak of."""

    parameters: dict[str, Scalar] = field(default_factory=dict)
    levels: set[str] = field(default_factory=set)

    def condition(self, node: exp.Expression, depth: int) -> str:
        """Write a node that must be a truth value."""
        sql, kind = self.node(node, depth)
        if kind not in ("truth", "null"):
            raise UsageError(
                "this part of the filter is no condition", seen=node.sql("duckdb")[:120], next_step="compare it"
            )
        return sql

    def node(self, node: Any, depth: int) -> tuple[str, Kind]:
        """Write any node, with its kind."""
        if depth > _MOST_DEPTH:
            raise UsageError("the filter is nested too deeply", seen=f"more than {_MOST_DEPTH} levels")
        for kinds, write in _WRITERS:
            if isinstance(node, kinds):
                return write(self, node, depth + 1)
        if isinstance(node, exp.Func):
            name = node.name if isinstance(node, exp.Anonymous) else node.sql_name().lower()
            raise UnknownName("function", name, [*FUNCTIONS, "coalesce"])
        raise UsageError("a filter cannot use this", seen=node.sql("duckdb")[:120], next_step=_NEXT)

    def bound(self, value: Scalar) -> str:
        """Bind a value; gives the parameter that stands for it."""
        if len(self.parameters) >= _MOST_VALUES:
            raise UsageError("the filter names too many values", next_step=f"at most {_MOST_VALUES}")
        name = f"f{len(self.parameters)}"
        self.parameters[name] = value
        return f"${name}"

    def pair(self, left: exp.Expression, right: exp.Expression, depth: int) -> tuple[str, str]:
        """Write two sides that are compared; a text beside a time is read as one."""
        (a, first), (b, second) = self.node(left, depth), self.node(right, depth)
        if first == "time" and second == "text":
            b, second = self.time(right, b), "time"
        elif second == "time" and first == "text":
            a, first = self.time(left, a), "time"
        if first != second and "null" not in (first, second):
            raise UsageError(
                f"a {_WORDS[first]} is compared with a {_WORDS[second]}",
                seen=f"{left.sql('duckdb')[:60]} and {right.sql('duckdb')[:60]}",
                next_step="quote texts as 'this', write numbers and true or false without quotes",
            )
        return a, b

    def time(self, node: exp.Expression, written: str) -> str:
        if not (isinstance(node, exp.Literal) and node.is_string):
            raise UsageError("a time is compared with a text", seen=node.sql("duckdb")[:60], next_step=_TIME)
        try:
            moment = dt.datetime.fromisoformat(node.this)
            moment = moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)
        except (ValueError, OverflowError) as error:
            raise UsageError("not a time", seen=repr(node.this)[:60], next_step=_TIME) from error
        self.parameters[written[1:]] = moment.isoformat()
        return f"CAST({written} AS TIMESTAMPTZ)"


_TIME = "write times as '2026-11-02' or '2026-11-02T09:30'"
_WORDS: dict[Kind, str] = {
    "text": "text", "number": "number", "truth": "truth value", "time": "time", "null": "null",
}  # fmt: skip


def _column(compiler: _Compiler, node: Any, _: int) -> tuple[str, Kind]:
    if node.table:
        raise UsageError("a filter names columns without a table", seen=node.sql("duckdb")[:60])
    name = node.name.lower()
    for level, columns in (("turn", TURN_COLUMNS), ("conversation", CONVERSATION_COLUMNS)):
        if name in columns:
            compiler.levels.add(level)
            return f'"{name}"', columns[name]
    raise UnknownName("column", node.name[:60], [*TURN_COLUMNS, *CONVERSATION_COLUMNS])


def _literal(compiler: _Compiler, node: Any, _: int) -> tuple[str, Kind]:
    if node.is_string:
        return compiler.bound(node.this), "text"
    value: int | float = int(node.this) if node.this.isdigit() else float(node.this)
    if not math.isfinite(value) or abs(value) >= _MOST_WHOLE:
        raise UsageError("the number is too large", seen=node.this[:40])
    return compiler.bound(value), "number"


def _word(_: _Compiler, node: Any, __: int) -> tuple[str, Kind]:
    return ("NULL", "null") if isinstance(node, exp.Null) else ("TRUE" if node.this else "FALSE", "truth")


def _bracket(compiler: _Compiler, node: Any, depth: int) -> tuple[str, Kind]:
    sql, kind = compiler.node(node.this, depth)
    return f"({sql})", kind


def _connective(compiler: _Compiler, node: Any, depth: int) -> tuple[str, Kind]:
    word = "AND" if isinstance(node, exp.And) else "OR"
    left, right = compiler.condition(node.this, depth), compiler.condition(node.expression, depth)
    return f"({left} {word} {right})", "truth"


def _negation(compiler: _Compiler, node: Any, depth: int) -> tuple[str, Kind]:
    return f"(NOT {compiler.condition(node.this, depth)})", "truth"


def _minus(compiler: _Compiler, node: Any, depth: int) -> tuple[str, Kind]:
    sql, kind = compiler.node(node.this, depth)
    if kind != "number":
        raise UsageError("only a number has a sign", seen=node.sql("duckdb")[:60])
    return f"(-{sql})", "number"


def _comparison(compiler: _Compiler, node: Any, depth: int) -> tuple[str, Kind]:
    if isinstance(node.this, exp.Null) or isinstance(node.expression, exp.Null):
        raise UsageError("nothing equals null", seen=node.sql("duckdb")[:60], next_step="write: is null, is not null")
    left, right = compiler.pair(node.this, node.expression, depth)
    return f"{left} {_COMPARISONS[type(node)]} {right}", "truth"


def _pattern(compiler: _Compiler, node: Any, depth: int) -> tuple[str, Kind]:
    (left, first), (right, second) = compiler.node(node.this, depth), compiler.node(node.expression, depth)
    if first != "text" or second != "text" or not isinstance(node.expression, exp.Literal):
        raise UsageError(
            "like compares a text with a pattern", seen=node.sql("duckdb")[:60], next_step="write: model like 'claude%'"
        )
    return f"{left} {_PATTERNS[type(node)]} {right}", "truth"


def _membership(compiler: _Compiler, node: Any, depth: int) -> tuple[str, Kind]:
    listed = node.expressions
    if not listed or not all(isinstance(one, exp.Literal | exp.Neg) for one in listed):
        raise UsageError(
            "in needs a list of values", seen=node.sql("duckdb")[:60], next_step="write: tier in ('a', 'b')"
        )
    pairs = [compiler.pair(node.this, one, depth) for one in listed]
    return f"{pairs[0][0]} IN ({', '.join(right for _, right in pairs)})", "truth"


def _between(compiler: _Compiler, node: Any, depth: int) -> tuple[str, Kind]:
    left, low = compiler.pair(node.this, node.args["low"], depth)
    _, high = compiler.pair(node.this, node.args["high"], depth)
    return f"{left} BETWEEN {low} AND {high}", "truth"


def _identity(compiler: _Compiler, node: Any, depth: int) -> tuple[str, Kind]:
    left, kind = compiler.node(node.this, depth)
    if isinstance(node.expression, exp.Null):
        return f"{left} IS NULL", "truth"
    if not isinstance(node.expression, exp.Boolean) or kind != "truth":
        raise UsageError("is asks for null, true or false", seen=node.sql("duckdb")[:60])
    return f"{left} IS {'TRUE' if node.expression.this else 'FALSE'}", "truth"


def _call(compiler: _Compiler, node: Any, depth: int) -> tuple[str, Kind]:
    name = _CALLS[type(node)]
    takes, gives = FUNCTIONS[name]
    sql, kind = compiler.node(node.this, depth)
    if kind != takes:
        raise UsageError(f"{name} takes a {_WORDS[takes]}", seen=node.sql("duckdb")[:60])
    return f"{name}({sql})", gives


def _coalesce(compiler: _Compiler, node: Any, depth: int) -> tuple[str, Kind]:
    first, kind = compiler.node(node.this, depth)
    others = [compiler.pair(node.this, one, depth)[1] for one in node.expressions]
    return f"coalesce({', '.join([first, *others])})", kind


_Writer = Callable[[_Compiler, Any, int], tuple[str, Kind]]
_WRITERS: tuple[tuple[tuple[type[exp.Expression], ...], _Writer], ...] = (
    ((exp.Column,), _column),
    ((exp.Literal,), _literal),
    ((exp.Boolean, exp.Null), _word),
    ((exp.Paren,), _bracket),
    ((exp.And, exp.Or), _connective),
    ((exp.Not,), _negation),
    ((exp.Neg,), _minus),
    (tuple(_COMPARISONS), _comparison),
    (tuple(_PATTERNS), _pattern),
    ((exp.In,), _membership),
    ((exp.Between,), _between),
    ((exp.Is,), _identity),
    (tuple(_CALLS), _call),
    ((exp.Coalesce,), _coalesce),
)
"""What a filter may be made of; the first that fits writes it."""
