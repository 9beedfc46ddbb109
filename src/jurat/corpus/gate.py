"""The gate: every document admitted, rejected or quarantined by a rule that names itself, and a yes or no for the whole.

What was met is accounted for to the last document. The gate says no where a rule reaches further than its limits allow:
a filter that removes half a source is an accident until a person has looked at it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jurat.corpus.shards import ShardFolder
from jurat.corpus.specification import DataSpecification, Rule, rules_of
from jurat.errors import DataError
from jurat.stats.interval import proportion
from jurat.stats.result import Interval
from jurat.text.quality_rules import RULES

__all__ = ["Admission", "Breach", "RuleLine", "decide_documents"]

_SKIP = ("signature", "content_hash", "passages", "benchmark_ngrams", "benchmark_answers", "pii")
"""Columns that rules do not see; of PII they see the counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleLine:
    """What a rule did.

    Attributes
    ----------
    name, action
        The rule.
    n_first
        Documents that it decided: no rule before it was true.
    n_true
        Documents for which it was true at all.
    share
        ``n_first`` of the documents that were met, with its Wilson interval.
    by_source
        Source and share removed there, for every source that it hit, hardest first.
    """

    name: str
    action: str
    n_first: int
    n_true: int
    share: Interval
    by_source: list[tuple[str, Interval]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """A limit that was passed.

    Attributes
    ----------
    limit
        Its name in the file.
    allowed, seen
        What it allows and what was met.
    detail
        Where.
    """

    limit: str
    allowed: float
    seen: float
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """The gate's answer.

    Attributes
    ----------
    verdict
        ``pass`` or ``fail``.
    n_met, n_admitted, n_rejected, n_quarantined
        Documents: ``n_met = n_admitted + n_rejected + n_quarantined``.
    rules
        What each rule did, in order.
    breaches
        Limits that were passed; none where the verdict is ``pass``.
    decisions
        One row a document: ``doc_id, source, decision, rule, evidence, sha256``; ``evidence`` is JSON with the values that the
        rule read.
    """

    verdict: str
    n_met: int
    n_admitted: int
    n_rejected: int
    n_quarantined: int
    rules: list[RuleLine]
    breaches: list[Breach]
    decisions: pa.Table


def decide_documents(specification: DataSpecification, *, poison_alarms: int | None = None) -> Admission:
    """Apply a specification to a scan.

    Parameters
    ----------
    specification
        The file; its folders are relative to it.
    poison_alarms
        Alarms that the audit raised, where it was made.

    Returns
    -------
    Admission

    Raises
    ------
    DataError
        Where a folder that the file names holds nothing, or a limit asks for what was not assessed.
    """
    document = specification.document
    columns = _columns(specification)
    quality = {r.name: r.passes for r in RULES if r.collection in document.quality}
    rules = rules_of(specification, columns.column_names, quality)
    answer = _apply(columns, rules)
    decided = answer["rule"].to_pylist()
    evidence = _evidence(answer, rules)
    decisions = pa.table(
        {
            "doc_id": answer["doc_id"],
            "source": answer["source"],
            "decision": answer["decision"],
            "rule": answer["rule"],
            "evidence": pa.array(evidence, pa.string()),
            "sha256": answer["sha256"],
        }
    )
    counts = {e["values"]: e["counts"] for e in answer["decision"].value_counts().to_pylist()}
    lines = _lines(answer, rules, len(decided))
    breaches = _breaches(specification, answer, columns, lines, poison_alarms)
    return Admission(
        verdict="fail" if breaches else "pass",
        n_met=len(decided),
        n_admitted=counts.get("admit", 0),
        n_rejected=counts.get("reject", 0),
        n_quarantined=counts.get("quarantine", 0),
        rules=lines,
        breaches=breaches,
        decisions=decisions,
    )


def _columns(specification: DataSpecification) -> pa.Table:
    """The scan's columns, and beside them what deduplication and the search for benchmarks say of each document."""
    sources = specification.document.data
    folder = ShardFolder(specification.folder / sources.scan)
    schema = pq.read_schema(folder.files()[0])
    table = folder.column(*[n for n in schema.names if n not in _SKIP and not n.startswith("band_")])
    table = table.append_column("pii_count", _lengths(folder.column("pii")["pii"]))
    if sources.dedup:
        fate = _joined(specification.folder / sources.dedup / "duplicates.parquet", folder, "corpus dedup")
        table = _beside(table, fate, {"fate": "duplicate", "kept_by": "kept_by", "similarity": "similarity",
                                      "cluster_size": "cluster_size"})  # fmt: skip
    if sources.decontamination:
        path = specification.folder / sources.decontamination / "touched.parquet"
        pairs = _joined(path, folder, "corpus decontaminate")
        touched = pairs.group_by("doc_id").aggregate([("item", "count")]).rename_columns(["doc_id", "touched_items"])
        table = _beside(table, touched, {"touched_items": "touched_items"})
        filled = table["touched_items"].fill_null(0)
        table = table.set_column(table.column_names.index("touched_items"), "touched_items", filled)
    return table


def _lengths(lists: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.list_value_length(lists).cast(pa.int32())


def _joined(path: Path, folder: ShardFolder, command: str) -> pa.Table:
    """Read a result that goes with the scan; one of another scan is refused."""
    if not path.is_file():
        raise DataError("a folder that the specification names holds no result", seen=str(path),
                        next_step=f"make it: jurat {command}")  # fmt: skip
    table = pq.read_table(path)
    about = (table.schema.metadata or {}).get(b"scan", b"").decode()
    if about != folder.manifest()["digest"]:
        raise DataError("a result of another scan", seen=str(path), next_step=f"run jurat {command} again")
    return table


def _beside(table: pa.Table, other: pa.Table, names: dict[str, str]) -> pa.Table:
    """Columns of another table in the rows' order, null where it says nothing of a document."""
    place = pc.index_in(table["doc_id"], other["doc_id"])
    for old, new in names.items():
        table = table.append_column(new, other[old].combine_chunks().take(place.combine_chunks()))
    return table


def _apply(columns: pa.Table, rules: Sequence[Rule]) -> pa.Table:
    """Decide each document by the first rule that is true; what the reader set aside stays aside."""
    connection = duckdb.connect()
    connection.execute("SET threads = 2; SET enable_external_access = false")
    connection.register("documents", columns)
    flags = "".join(f", COALESCE({rule.when}, FALSE) AS r{i}" for i, rule in enumerate(rules))
    choose = " ".join(f"WHEN r{i} THEN {i}" for i in range(len(rules)))
    number = (
        f"CASE WHEN status <> 'read' THEN -2 {choose} ELSE -1 END"
        if rules
        else "CASE WHEN status <> 'read' THEN -2 ELSE -1 END"
    )
    query = f"SELECT *, {number} AS first__ FROM (SELECT *{flags} FROM documents)"  # noqa: S608 - rules are parsed and written anew
    table = connection.sql(query).to_arrow_table()
    names = pa.array([rule.name for rule in rules], pa.string())
    actions = pa.array([rule.action for rule in rules], pa.string())
    first = table["first__"].combine_chunks()
    chosen = pc.if_else(pc.less(first, 0), pa.scalar(None, pa.int32()), first.cast(pa.int32()))
    rule = pc.if_else(pc.equal(first, -2), "reader", names.take(chosen))
    decision = pc.if_else(
        pc.equal(first, -2), "quarantine", pc.if_else(pc.equal(first, -1), "admit", actions.take(chosen))
    )
    return table.append_column("rule", rule).append_column("decision", decision)


def _evidence(answer: pa.Table, rules: Sequence[Rule]) -> list[str | None]:
    """The values that the deciding rule read, as JSON."""
    out: list[str | None] = [None] * len(answer)
    first = answer["first__"].to_numpy()
    for number in range(-2, len(rules)):
        if number == -1:
            continue
        rows = (first == number).nonzero()[0]
        names = ("reason",) if number == -2 else rules[number].columns
        part = answer.select(list(names)).take(pa.array(rows)).to_pylist()
        for row, values in zip(rows, part, strict=True):
            out[row] = json.dumps(values, ensure_ascii=False, default=str, sort_keys=True)
    return out


def _lines(answer: pa.Table, rules: Sequence[Rule], n: int) -> list[RuleLine]:
    first = answer["first__"]
    sizes = {e["values"]: e["counts"] for e in answer["source"].value_counts().to_pylist()}
    lines = []
    for i, rule in enumerate(rules):
        mine = answer.filter(pc.equal(first, i))
        hit = {e["values"]: e["counts"] for e in mine["source"].value_counts().to_pylist()}
        by_source = [(source, proportion(count, sizes[source])) for source, count in hit.items()]
        by_source.sort(key=lambda pair: (-(pair[1].value or 0), pair[0]))
        lines.append(
            RuleLine(
                name=rule.name, action=rule.action, n_first=len(mine), n_true=pc.sum(answer[f"r{i}"]).as_py() or 0,
                share=proportion(len(mine), n), by_source=by_source,
            )
        )  # fmt: skip
    return lines


def _breaches(
    specification: DataSpecification, answer: pa.Table, columns: pa.Table, lines: list[RuleLine], alarms: int | None
) -> list[Breach]:
    limits = specification.document.limits
    found = []
    sizes = {e["values"]: e["counts"] for e in answer["source"].value_counts().to_pylist()}
    for line in lines:
        for source, share in line.by_source:
            if (share.value or 0) > limits.removed_of_source and sizes[source] >= limits.minimum_documents:
                found.append(Breach(limit="removed_of_source", allowed=limits.removed_of_source, seen=share.value or 0,
                                    detail=f"rule {line.name!r} on source {source!r}, n = {sizes[source]}"))  # fmt: skip
    aside = pc.sum(pc.equal(answer["decision"], "quarantine")).as_py() / max(len(answer), 1)
    if aside > limits.quarantined_share:
        found.append(Breach(limit="quarantined_share", allowed=limits.quarantined_share, seen=aside,
                            detail=f"of {len(answer)} documents"))  # fmt: skip
    if "cluster_size" in columns.column_names:
        largest = pc.max(columns["cluster_size"]).as_py() or 0
        if largest > limits.cluster_documents:
            found.append(Breach(limit="cluster_documents", allowed=limits.cluster_documents, seen=largest,
                                detail="documents in the largest cluster of duplicates"))  # fmt: skip
    if limits.touched_share is not None:
        found += _touched(limits.touched_share, columns)
    if limits.poison_alarms is not None:
        if alarms is None:
            raise DataError("the poison limit asks for what was not assessed", seen="limits.poison_alarms",
                            next_step="run jurat corpus audit first and pass its folder with --audit")  # fmt: skip
        if alarms > limits.poison_alarms:
            found.append(
                Breach(limit="poison_alarms", allowed=limits.poison_alarms, seen=alarms, detail="see the audit")
            )
    return found


def _touched(allowed: float, columns: pa.Table) -> list[Breach]:
    if "touched_items" not in columns.column_names:
        raise DataError("the benchmark limit asks for what was not assessed", seen="limits.touched_share",
                        next_step="name the folder of jurat corpus decontaminate as data.decontamination")  # fmt: skip
    share = proportion(pc.sum(pc.greater(columns["touched_items"], 0)).as_py() or 0, len(columns))
    if (share.high or 0) <= allowed:
        return []
    return [Breach(limit="touched_share", allowed=allowed, seen=share.high or 0,
                   detail=f"upper bound of the share of documents that touch a benchmark, n = {len(columns)}")]  # fmt: skip
