"""Whom does a corpus speak of, and whom do its filters remove? By groups that the user declares.

A group is an SQL condition over the scan's columns, which sees every document, or a list of terms, which is looked for in the
sample. A filter that removes one group more often than the rest is seen as the ratio of the two rates.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jurat.errors import SpecError
from jurat.stats.interval import proportion
from jurat.stats.result import Interval
from jurat.text.column import TextColumn
from jurat.text.quality_rules import RULES
from jurat.text.words import WordColumn, hash_words

__all__ = [
    "Attribute",
    "GroupBias",
    "RemovalLine",
    "audit_bias",
    "load_attributes",
    "quality_removals",
    "ratio_of_shares",
    "term_members",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """A declared attribute.

    Attributes
    ----------
    name
        What it is about.
    groups
        Group and how its documents are known: an SQL condition, or terms of which one stands in the text.
    """

    name: str
    groups: Mapping[str, str | Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalLine:
    """What one filter does to a group.

    Attributes
    ----------
    filter
        A collection of quality rules, or ``duplicates``.
    removed
        Share of the group that it removes.
    rest
        Share of all other documents.
    ratio
        The first over the second; above 1 the group loses more.
    """

    filter: str
    removed: Interval
    rest: Interval
    ratio: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupBias:
    """One group of one attribute.

    Attributes
    ----------
    attribute, group
        Their names.
    known_by
        ``columns`` (every document was asked) or ``terms`` (the sample's texts were).
    representation
        Share of the documents that belong to it; they may belong to several groups.
    removals
        What each filter does to it.
    """

    attribute: str
    group: str
    known_by: str
    representation: Interval
    removals: list[RemovalLine]


def load_attributes(path: Path) -> list[Attribute]:
    """Read declared attributes from a TOML file: a table each, its groups as conditions or lists of terms.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    SpecError
        Where it cannot be read, or a group is neither text nor a list of texts.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SpecError("the attributes cannot be read", seen=f"{path}: {error}",
                        next_step="write a table for each attribute, with a group a line") from error  # fmt: skip
    if not raw:
        raise SpecError("the file declares no attribute", seen=str(path), next_step="add a table, [gender] for one")
    return [Attribute(name=name, groups=_groups(name, groups, path)) for name, groups in raw.items()]


def _groups(name: str, groups: object, path: Path) -> dict[str, str | list[str]]:
    if not isinstance(groups, dict) or not groups:
        raise SpecError("an attribute needs groups", seen=f"{path}: {name} = {groups!r}",
                        next_step='write [gender] and below it women = ["she", "her"]')  # fmt: skip
    for group, known_by in groups.items():
        terms = isinstance(known_by, list) and known_by and all(isinstance(t, str) for t in known_by)
        if not terms and not isinstance(known_by, str):
            raise SpecError("a group is an SQL condition or a list of terms", seen=f"{path}: {name}.{group} = {known_by!r}",
                            next_step='for example low = "n_words < 100" or women = ["she", "her"]')  # fmt: skip
    return groups


def quality_removals(columns: pa.Table) -> dict[str, NDArray[np.bool_]]:
    """Which documents fail a rule of each published collection.

    Parameters
    ----------
    columns
        Counters of the scan.
    """
    collections = sorted({rule.collection for rule in RULES})
    wanted = [
        f"NOT coalesce(({' AND '.join(f'({r.passes})' for r in RULES if r.collection == name)}), false) AS c{i}"
        for i, name in enumerate(collections)
    ]
    answer = _asked(columns, ", ".join(wanted))
    return {name: answer[f"c{i}"].to_numpy().astype(np.bool_) for i, name in enumerate(collections)}


def audit_bias(
    attributes: Iterable[Attribute],
    columns: pa.Table,
    removals: Mapping[str, NDArray[np.bool_]],
    *,
    sample_rows: NDArray[np.int64],
    sample_texts: Sequence[str],
    level: float = 0.95,
) -> list[GroupBias]:
    """Representation of declared groups, and what filters remove of them.

    Parameters
    ----------
    attributes
        What is declared.
    columns
        The scan's columns, one row a document that was read.
    removals
        Filter and whether it removes each document, shape (rows,).
    sample_rows, sample_texts
        Rows (of ``columns``) of a uniform sample and their texts, for groups known by terms.
    level
        Of the intervals.

    Raises
    ------
    SpecError
        Where a condition is not SQL over the columns, or a term holds no word.
    """
    found, words = [], None
    for attribute in attributes:
        for group, known_by in attribute.groups.items():
            place = f"{attribute.name}.{group}"
            if isinstance(known_by, str):
                member, rows, kind = _condition_members(columns, known_by, place), None, "columns"
            else:
                words = hash_words(TextColumn.of(sample_texts)) if words is None else words
                member, rows, kind = term_members(words, known_by, place=place), sample_rows, "terms"
            found.append(
                GroupBias(
                    attribute=attribute.name, group=group, known_by=kind,
                    representation=proportion(int(member.sum()), len(member), level=level),
                    removals=[
                        _removal(name, member, gone if rows is None else gone[rows], level)
                        for name, gone in removals.items()
                    ],
                )
            )  # fmt: skip
    return found


def _removal(name: str, member: NDArray[np.bool_], gone: NDArray[np.bool_], level: float) -> RemovalLine:
    counts = [int((gone & member).sum()), int(member.sum()), int((gone & ~member).sum()), int((~member).sum())]
    return RemovalLine(
        filter=name,
        removed=proportion(counts[0], counts[1], level=level),
        rest=proportion(counts[2], counts[3], level=level),
        ratio=ratio_of_shares(*counts, level=level),
    )


def ratio_of_shares(successes_1: int, n_1: int, successes_2: int, n_2: int, *, level: float = 0.95) -> Interval:
    r"""Ratio of two independent shares, first over second.

    Parameters
    ----------
    successes_1, n_1, successes_2, n_2
        Counts of the two groups.
    level
        Two-sided coverage.

    Returns
    -------
    Interval
        Undefined where a group is empty or the second shows no success; its lower bound then stands.

    Notes
    -----
    MOVER-R on Wilson's intervals :math:`(l_1, u_1)`, :math:`(l_2, u_2)`:
    :math:`L = \frac{p_1 p_2 - \sqrt{(p_1 p_2)^2 - l_1 u_2 (2 p_1 - l_1)(2 p_2 - u_2)}}{u_2 (2 p_2 - u_2)}`, and U with
    :math:`u_1, l_2` and a plus.

    References
    ----------
    Donner, A. and Zou, G. Y. (2012). Statistical Methods in Medical Research 21, 347–359.

    Examples
    --------
    >>> print(ratio_of_shares(30, 100, 15, 100))
    2 [1.161, 3.461] 0.95 n=200 MOVER-R on Wilson
    """
    first, second = proportion(successes_1, n_1, level=level), proportion(successes_2, n_2, level=level)
    n, method = n_1 + n_2, "MOVER-R on Wilson"
    if first.value is None or second.value is None:
        return Interval(value=None, low=None, high=None, level=level, n=n, method=method, reason="a group is empty")
    assert first.low is not None and first.high is not None  # noqa: S101 - defined with the value
    assert second.low is not None and second.high is not None  # noqa: S101
    p1, l1, u1, p2, l2, u2 = first.value, first.low, first.high, second.value, second.low, second.high
    if p2 == 0.0:
        return Interval(value=None, low=l1 / u2, high=None, level=level, n=n, method=method,
                        reason="nothing of the others is removed")  # fmt: skip
    low = _mover(p1 * p2, l1 * (2 * p1 - l1), u2 * (2 * p2 - u2), -1.0)
    high = _mover(p1 * p2, u1 * (2 * p1 - u1), l2 * (2 * p2 - l2), 1.0)
    value = p1 / p2
    return Interval(value=value, low=min(max(low or 0.0, 0.0), value), high=None if high is None else max(high, value),
                    level=level, n=n, method=method,
                    reason=None if high is not None else "the others' share cannot be told from none")  # fmt: skip


def _mover(product: float, numerator: float, denominator: float, sign: float) -> float | None:
    """One bound of the ratio: a root of ``denominator r² − 2 product r + numerator``."""
    root = math.sqrt(max(product**2 - numerator * denominator, 0.0))
    if sign < 0:
        # The smaller root in the form that stays finite as the denominator goes through zero.
        return numerator / (product + root) if product + root > 0 else 0.0
    return (product + root) / denominator if denominator > 0 else None


def term_members(words: WordColumn, terms: Sequence[str], *, place: str = "terms") -> NDArray[np.bool_]:
    """Which documents hold one of some terms, case and punctuation aside.

    Parameters
    ----------
    words
        Words of the documents.
    terms
        Terms of one or more words.
    place
        Where they are declared, for the message.

    Raises
    ------
    SpecError
        Where a term holds no word.

    Examples
    --------
    >>> words = hash_words(TextColumn.of(["She said so", "the shell", "New York!", "york, new"]))
    >>> term_members(words, ["she", "new york"]).tolist()
    [True, False, True, False]
    """
    document = np.repeat(np.arange(len(words)), words.counts())
    member = np.zeros(len(words), np.bool_)
    for term in terms:
        wanted = hash_words(TextColumn.of([term])).hashes
        if len(wanted) == 0:
            raise SpecError("a term holds no word", seen=f"{place}: {term!r}", next_step="leave it out")
        n = len(words.hashes) - len(wanted) + 1
        if n < 1:
            continue
        here = np.ones(n, np.bool_)
        for step, one in enumerate(wanted):
            here &= words.hashes[step : step + n] == one
        here &= document[:n] == document[len(wanted) - 1 :]
        member[document[:n][here]] = True
    return member


def _condition_members(columns: pa.Table, condition: str, place: str) -> NDArray[np.bool_]:
    try:
        answer = _asked(columns, f"coalesce(CAST(({condition}) AS BOOLEAN), false) AS m")
    except duckdb.Error as error:
        raise SpecError(
            "a group's condition cannot be followed", seen=f"{place}: {condition}: {str(error).splitlines()[0]}",
            next_step=f"use these columns: {', '.join(columns.column_names[:40])}",
        ) from error  # fmt: skip
    return np.asarray(answer["m"].to_numpy(), np.bool_)


def _asked(columns: pa.Table, wanted: str) -> pa.Table:
    """Expressions over the columns, in the rows' order; nothing but this table can be read."""
    numbered = columns.append_column("place", pa.array(np.arange(len(columns))))
    with duckdb.connect(config={"enable_external_access": "false"}) as connection:
        connection.register("documents", numbered)
        return connection.sql(f"SELECT {wanted} FROM documents ORDER BY place").to_arrow_table()  # noqa: S608 - the user's own conditions
