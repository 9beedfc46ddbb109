"""The data specification: which documents may enter training, as a file that is read before any does.

Rules are SQL over the columns of a scan, one expression each; whatever they are, they see columns and nothing else: no tables,
no files, no functions beyond a fixed list. Limits say how far a rule may go before a person has to look.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import sqlglot
from pydantic import Field
from sqlglot import exp

from jurat.errors import SpecError, UnknownName
from jurat.store.document import Section, read_document

__all__ = ["DataSpecification", "Rule", "load_specification", "rules_of"]

_FUNCTIONS = (
    exp.Abs, exp.And, exp.ArraySize, exp.Case, exp.Cast, exp.Ceil, exp.Coalesce, exp.Count, exp.EndsWith, exp.Floor,
    exp.Greatest, exp.If, exp.Least, exp.Length, exp.Ln, exp.Log, exp.Lower, exp.Nullif, exp.Or, exp.Pow,
    exp.RegexpLike, exp.Round, exp.Sqrt, exp.StartsWith, exp.Upper,
)  # fmt: skip
_COLLECTIONS = ("gopher-quality", "gopher-repetition", "c4", "fineweb")


class RuleSection(Section):
    """One rule of the file: a condition under which a document does not enter."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_ -]*$")
    when: str
    action: Literal["reject", "quarantine"] = "reject"
    rationale: str = ""


class Sources(Section):
    """The folders that the columns come from, relative to the file."""

    scan: str
    dedup: str | None = None
    decontamination: str | None = None


class Limits(Section):
    """How far the gate may go: beyond a limit the answer is no, whatever the documents."""

    removed_of_source: float = Field(default=0.5, gt=0, le=1)
    minimum_documents: int = Field(default=20, ge=1)
    cluster_documents: int = Field(default=1000, ge=2)
    touched_share: float | None = Field(default=None, ge=0, le=1)
    quarantined_share: float = Field(default=0.2, ge=0, le=1)
    poison_alarms: int | None = Field(default=None, ge=0)

    def assessed(self) -> list[str]:
        """Limits that are held: those with a value."""
        return [n for n in type(self).model_fields if n != "minimum_documents" and getattr(self, n) is not None]


class Require(Section):
    """What must be known of a document before anything else is asked."""

    provenance: tuple[Literal["url", "crawled", "licence", "source"], ...] = ()
    licences: tuple[str, ...] = ()


class _Document(Section):
    id: str
    question: str = ""
    owner: str = ""
    data: Sources
    quality: tuple[Literal["gopher-quality", "gopher-repetition", "c4", "fineweb"], ...] = ()
    duplicates: Literal["reject", "keep"] = "reject"
    touched: Literal["reject", "quarantine", "keep"] = "reject"
    require: Require = Require()
    limits: Limits = Limits()
    rule: tuple[RuleSection, ...] = ()
    bar: Mapping[str, float] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSpecification:
    """A specification as read.

    Attributes
    ----------
    path, sha256
        The file and its digest: the version that every decision names.
    document
        Its content.
    """

    path: Path
    sha256: str
    document: _Document

    @property
    def folder(self) -> Path:
        """Folder that its paths are relative to."""
        return self.path.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule as it is applied.

    Attributes
    ----------
    name
        Unique.
    when
        SQL that is true for documents that do not enter; null counts as not true.
    action
        What becomes of them.
    columns
        Columns it reads: their values are the evidence of a decision.
    """

    name: str
    when: str
    action: str
    columns: tuple[str, ...]


def load_specification(path: Path) -> DataSpecification:
    """Read a data specification.

    Parameters
    ----------
    path
        A TOML file.

    Raises
    ------
    SpecError
        Where it is not one, or two rules have one name.
    """
    document = read_document(
        path, _Document, what="data specification", reference="docs/reference/data-specification.md"
    )
    names = [rule.name for rule in document.content.rule]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SpecError("two rules have one name", seen=twice[0], next_step="name each rule once")
    return DataSpecification(path=path, sha256=document.sha256, document=document.content)


def rules_of(specification: DataSpecification, columns: Iterable[str], quality: Mapping[str, str]) -> list[Rule]:
    """Rules in the order in which they are asked; the first that is true decides.

    Parameters
    ----------
    specification
        The file.
    columns
        Columns there are.
    quality
        The published quality rules: name to the SQL that a document must satisfy, in the collections that the file names.

    Raises
    ------
    SpecError
        Where a rule is not one expression over columns.
    UnknownName
        Where it names a column that does not exist.
    """
    known = set(columns)
    document = specification.document
    rules = [
        Rule(name=f"{name} unknown", when=f"{name} IS NULL", action="reject", columns=(name,))
        for name in document.require.provenance
    ]
    if document.require.licences:
        allowed = ", ".join(exp.Literal.string(licence).sql("duckdb") for licence in document.require.licences)
        when = f"licence IS NULL OR licence NOT IN ({allowed})"
        rules.append(Rule(name="licence not admitted", when=when, action="reject", columns=("licence",)))
    if document.touched != "keep" and document.data.decontamination:
        rules.append(
            Rule(name="benchmark", when="touched_items > 0", action=document.touched, columns=("touched_items",))
        )
    if document.duplicates == "reject" and document.data.dedup:
        when = "duplicate <> 'stays'"
        rules.append(Rule(name="duplicate", when=when, action="reject", columns=("duplicate", "kept_by", "similarity")))
    for name, passes in quality.items():
        rules.append(_checked(Rule(name=name, when=f"NOT ({passes})", action="reject", columns=()), known, "quality"))
    for section in document.rule:
        rule = Rule(name=section.name, when=section.when, action=section.action, columns=())
        rules.append(_checked(rule, known, specification.path.name))
    return rules


def _checked(rule: Rule, known: set[str], place: str) -> Rule:
    """Parse a rule's expression, refuse what is not over columns, and write it anew."""
    place = f"{place}, rule {rule.name!r}"
    try:
        parsed = sqlglot.parse(rule.when, read="duckdb")
    except sqlglot.ParseError as error:
        raise SpecError(
            "a rule is not SQL", seen=f"{place}: {str(error).splitlines()[0]}", next_step="mend the expression"
        ) from error
    tree = parsed[0] if len(parsed) == 1 else None
    if tree is None or isinstance(tree, exp.Query | exp.DDL | exp.DML | exp.Command):
        raise SpecError(
            "a rule is one expression", seen=f"{place}: {rule.when}", next_step="write a condition such as n_words < 50"
        )
    for node in tree.walk():
        foreign = isinstance(node, exp.Func) and not isinstance(node, _FUNCTIONS)
        if foreign or isinstance(node, exp.Query | exp.Table | exp.Window | exp.AggFunc):
            raise SpecError(
                "a rule may compare columns, nothing more", seen=f"{place}: {node.sql('duckdb')}",
                next_step="use columns, literals, CASE, AND, OR, NOT and arithmetic",
            )  # fmt: skip
    columns = tuple(dict.fromkeys(column.name for column in tree.find_all(exp.Column)))
    for column in columns:
        if column not in known:
            raise UnknownName("column", column, known, place=place)
    if not columns:
        raise SpecError("a rule that reads no column", seen=f"{place}: {rule.when}", next_step="name a column")
    return Rule(name=rule.name, when=tree.sql("duckdb"), action=rule.action, columns=columns)
