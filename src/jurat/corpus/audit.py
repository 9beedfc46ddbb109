"""The audit of a scanned corpus: what it is made of, what is new in it, whom it serves badly, and what looks planted.

Copies, variety, mix, shift, contradictions, bias and poison, each number with its interval, its n and its method. What could
not be looked at is named with its reason: silence never stands for "nothing found".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from jurat.corpus.audit_page import render_audit
from jurat.corpus.audit_shift import Shift, shift_against
from jurat.corpus.bias import Attribute, GroupBias, audit_bias, quality_removals
from jurat.corpus.composition import (
    Entropy,
    GroupLine,
    VarietyLine,
    category_entropy,
    effective_documents,
    kish_size,
    shares_by_group,
    variety,
)
from jurat.corpus.contradiction import ContradictionAudit, Judge, audit_contradictions
from jurat.corpus.document import host_of
from jurat.corpus.poison import PoisonScan, PoisonSpec, Provenance, columns_of, provenance_of, scan_folder
from jurat.corpus.poison_labels import LabelTrigger, label_triggers
from jurat.corpus.poison_power import PoisonPower, poison_power
from jurat.corpus.shards import ShardFolder
from jurat.corpus.text_blocks import blocks_of
from jurat.corpus.texts import Sample, sample_of, texts_of
from jurat.errors import DataError
from jurat.stats.interval import proportion
from jurat.stats.result import Interval
from jurat.store.durable import make_folder, write_atomically

__all__ = ["AuditResult", "Duplication", "audit"]

FORMAT = "jurat-corpus-audit/1"
_SKIP = ("signature", "content_hash", "passages", "benchmark_ngrams", "benchmark_answers", "pii")
_SOURCES = 12
_BLOCK_WORDS = 5000
_POWER_DOCUMENTS = 900


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplication:
    """Copies, as deduplication found them.

    Attributes
    ----------
    removed
        Share of the documents that is a copy of one that stays.
    by_source, by_month
        The same by source and by month of crawl; documents without a time are no month's.
    """

    removed: Interval
    by_source: list[GroupLine]
    by_month: list[GroupLine]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditResult:
    """Everything the audit saw.

    Attributes
    ----------
    scan
        Digest of the scan's manifest.
    n_documents, n_quarantined, n_words, n_bytes
        Documents read and set aside by the reader; words and bytes of the former.
    duplication
        Copies; ``None`` where no deduplication was given.
    variety
        The whole and the largest sources, in blocks of ``block_words`` words.
    mix
        Entropy of sources, hosts and languages, as far as they are known.
    effective
        What the documents are worth: ``words`` (Kish, each document weighted by its words), ``clusters_1`` and ``clusters_2``
        (Hill numbers of the clusters of copies).
    shift
        Distance from the reference; ``None`` where none was given.
    contradictions
        What the judge said; ``None`` where none was given.
    bias
        Declared groups; empty where none were declared.
    poison, power
        Alarms, and how much of planted poison the same scan sees.
    label_triggers
        N-grams that go with a label; empty where no labels were given.
    not_assessed
        What was not looked at, and why.
    seed, block_words
        Of all draws; of the blocks.
    doc_ids
        Id of each row that an alarm names.
    """

    scan: str
    n_documents: int
    n_quarantined: int
    n_words: int
    n_bytes: int
    duplication: Duplication | None
    variety: list[VarietyLine]
    mix: list[Entropy]
    effective: dict[str, Interval]
    shift: Shift | None
    contradictions: ContradictionAudit | None
    bias: list[GroupBias]
    poison: PoisonScan | None
    power: PoisonPower | None
    label_triggers: list[LabelTrigger]
    not_assessed: list[str]
    seed: int
    block_words: int
    doc_ids: dict[int, str]

    def document(self) -> dict[str, Any]:
        """The result as plain values; alarms name their documents by id."""
        plain: dict[str, Any] = {"format": FORMAT, **json.loads(json.dumps(asdict(self)))}
        ids = plain.pop("doc_ids")
        for alarm in (plain["poison"] or {"alarms": []})["alarms"]:
            alarm["doc_ids"] = [ids[str(row)] for row in alarm.pop("rows")]
            for excerpt in alarm["excerpts"]:
                excerpt["doc_id"] = ids[str(excerpt.pop("row"))]
        for trigger in plain["label_triggers"]:
            trigger["doc_id"] = ids[str(trigger.pop("row"))]
        return plain


def audit(
    folder: ShardFolder,
    out: Path,
    *,
    dedup: Path | None = None,
    reference: ShardFolder | None = None,
    seed: int = 0,
    judge: Judge | None = None,
    attributes: Sequence[Attribute] | None = None,
    labels: Mapping[str, str] | None = None,
    runs: int = 20,
    progress: Callable[[str], None] = lambda step: None,
) -> AuditResult:
    """Audit a scan and write ``audit.json`` and ``audit.html``.

    Parameters
    ----------
    folder
        A finished scan that kept a sample; its inputs are read again for the poison scan.
    out
        Folder of the result.
    dedup
        Folder of a deduplication of this scan.
    reference
        A finished scan to compare with.
    seed
        Of all draws.
    judge
        Says whether two texts contradict each other.
    attributes
        Groups whose share and treatment by filters is of interest.
    labels
        Label by document id, where documents carry one: n-grams that go with a label are looked for.
    runs
        Repetitions of planted poison at each size, and of runs without.
    progress
        Called with the name of each step.

    Raises
    ------
    DataError
        Where scan, sample or deduplication are missing, or the deduplication is another scan's.
    SpecError
        Where a declared group cannot be followed.
    """
    progress("columns")
    digest = str(folder.manifest()["digest"])
    columns, places = _read_columns(folder)
    sample, rows = _sample(folder, places)
    skipped: list[str] = []
    fate = _fate(dedup, columns, digest, skipped)
    progress("variety")
    kinds = [_variety("all", sample.text)]
    kinds += [
        _variety(name, [t for t, s in zip(sample.text, sample.source, strict=True) if s == name])
        for name in _largest(columns["source"])
    ] if len(pc.unique(columns["source"])) > 1 else []  # fmt: skip
    shift = None
    if reference is None:
        skipped.append("shift: no reference scan was given")
    else:
        progress("shift")
        other, other_places = _read_columns(reference)
        there, _ = _sample(reference, other_places)
        shift = shift_against(columns, other, sample.text, there.text, seed=seed)
    contradictions = _contradictions(judge, sample, seed, skipped, progress)
    bias = _bias(attributes, columns, fate, rows, sample, skipped, progress)
    progress("poison")
    poison = _poison(folder, skipped)
    progress("power")
    power = _power(sample, columns, rows, runs, seed)
    triggers = _triggers(folder, labels, poison, skipped)
    named = sorted({row for a in (poison.alarms if poison else []) for row in a.rows} | {t.row for t in triggers})
    ids = folder.column("doc_id")["doc_id"].take(pa.array(named, pa.int64())).to_pylist()
    result = AuditResult(
        scan=digest,
        n_documents=len(columns),
        n_quarantined=sum(int(r["rows"]) for r in folder.manifest()["shards"]) - len(columns),
        n_words=int(pc.sum(columns["n_words"]).as_py() or 0),
        n_bytes=int(pc.sum(columns["n_bytes"]).as_py() or 0),
        duplication=None if fate is None else _duplication(columns, fate),
        variety=kinds,
        mix=_mix(columns, skipped),
        effective=_effective(columns, fate),
        shift=shift,
        contradictions=contradictions,
        bias=bias,
        poison=poison,
        power=power,
        label_triggers=triggers,
        not_assessed=skipped,
        seed=seed,
        block_words=_BLOCK_WORDS,
        doc_ids=dict(zip(named, ids, strict=True)),
    )
    make_folder(out)
    document = result.document()
    write_atomically(out / "audit.json", json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False).encode())
    write_atomically(out / "audit.html", render_audit(document).encode())
    return result


def _read_columns(folder: ShardFolder) -> tuple[pa.Table, NDArray[np.int64]]:
    """The light columns of the documents that were read, and the place of each row among them (-1 for none)."""
    names = [n for n in pq.read_schema(folder.files()[0]).names if n not in _SKIP and not n.startswith("band_")]
    table = folder.column(*names)
    read = pc.equal(table["status"], "read").to_numpy()
    places = np.where(read, np.cumsum(read) - 1, -1)
    return table.filter(pa.array(read)), places


def _sample(folder: ShardFolder, places: NDArray[np.int64]) -> tuple[Sample, NDArray[np.int64]]:
    sample = sample_of(folder, most=2000)
    if len(sample) == 0:
        raise DataError("the scan kept no sample", seen=str(folder.path), next_step="scan again with a larger --sample")
    return sample, places[sample.rows]


def _largest(column: pa.ChunkedArray) -> list[str]:
    counts = column.value_counts().to_pylist()
    return [str(c["values"]) for c in sorted(counts, key=lambda c: (-c["counts"], str(c["values"])))[:_SOURCES]]


def _variety(name: str, texts: list[str]) -> VarietyLine:
    return variety(name, blocks_of(texts, _BLOCK_WORDS))


@dataclass(frozen=True, slots=True)
class _Fate:
    """Of each document with words: is it a copy, and of which cluster?"""

    rows: NDArray[np.int64]
    copy: NDArray[np.bool_]
    cluster: NDArray[np.int64]


def _fate(dedup: Path | None, columns: pa.Table, digest: str, skipped: list[str]) -> _Fate | None:
    if dedup is None:
        skipped.append("duplicates: no deduplication was given (jurat corpus dedup SCAN --out DIR, then --dedup DIR)")
        return None
    path = dedup / "duplicates.parquet"
    if not path.is_file():
        raise DataError("no deduplication in this folder", seen=str(path), next_step="run jurat corpus dedup")
    table = pq.read_table(path)
    if (table.schema.metadata or {}).get(b"scan", b"").decode() != digest:
        raise DataError("a deduplication of another scan", seen=str(path), next_step="run jurat corpus dedup again")
    rows = pc.index_in(table["doc_id"], columns["doc_id"]).to_numpy().astype(np.int64)
    copy = pc.not_equal(table["fate"], "stays").to_numpy().astype(np.bool_)
    cluster = table["cluster"].combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    return _Fate(rows, copy, cluster)


def _duplication(columns: pa.Table, fate: _Fate) -> Duplication:
    take = pa.array(fate.rows)
    sources = columns["source"].take(take).to_pylist()
    months = [None if t is None else f"{t:%Y-%m}" for t in columns["crawled"].take(take).to_pylist()]
    known = np.array([m is not None for m in months], np.bool_)
    by_month = shares_by_group([m for m in months if m is not None], fate.copy[known]) if known.any() else []
    return Duplication(
        removed=proportion(int(fate.copy.sum()), len(fate.copy)),
        by_source=shares_by_group(sources, fate.copy),
        by_month=sorted(by_month, key=lambda line: line.name),
    )


def _mix(columns: pa.Table, skipped: list[str]) -> list[Entropy]:
    found = [category_entropy("source", columns["source"].to_pylist())]
    hosts = [host_of(url) if url else None for url in columns["url"].to_pylist()]
    if any(hosts):
        found.append(category_entropy("host", [host or "unknown" for host in hosts]))
    else:
        skipped.append("hosts: the documents carry no address")
    if "language" in columns.column_names:
        found.append(category_entropy("language", [v or "unknown" for v in columns["language"].to_pylist()]))
    else:
        skipped.append("languages: the scan did not tell them (jurat corpus scan … --language fasttext)")
    return found


def _effective(columns: pa.Table, fate: _Fate | None) -> dict[str, Interval]:
    found = {"words": kish_size(columns["n_words"].fill_null(0).to_numpy())}
    if fate is not None:
        found |= {f"clusters_{order}": effective_documents(fate.cluster, order=order) for order in (1, 2)}
    return found


def _contradictions(
    judge: Judge | None, sample: Sample, seed: int, skipped: list[str], progress: Callable[[str], None]
) -> ContradictionAudit | None:
    if judge is None:
        skipped.append("contradictions: no judge was given")
        return None
    progress("contradictions")
    return audit_contradictions(sample.text, sample.doc_id, sample.source, judge, rng=np.random.default_rng(seed))


def _bias(
    attributes: Sequence[Attribute] | None,
    columns: pa.Table,
    fate: _Fate | None,
    rows: NDArray[np.int64],
    sample: Sample,
    skipped: list[str],
    progress: Callable[[str], None],
) -> list[GroupBias]:
    if not attributes:
        skipped.append("bias: no attributes were declared")
        return []
    progress("bias")
    removals = quality_removals(columns)
    if fate is not None:
        copy = np.zeros(len(columns), np.bool_)
        copy[fate.rows] = fate.copy
        removals = {"duplicates": copy, **removals}
    return audit_bias(attributes, columns, removals, sample_rows=rows, sample_texts=sample.text)


def _poison(folder: ShardFolder, skipped: list[str]) -> PoisonScan | None:
    try:
        found = scan_folder(folder, PoisonSpec())
    except DataError as error:
        skipped.append(f"poison: the texts cannot be read again: {error.what} ({error.seen})")
        return None
    skipped += [f"poison: {reason}" for reason in found.not_assessed]
    return found


def _triggers(
    folder: ShardFolder, labels: Mapping[str, str] | None, poison: PoisonScan | None, skipped: list[str]
) -> list[LabelTrigger]:
    if not labels or poison is None:
        skipped.append("triggers of labels: " + ("no labels were given" if not labels else "the texts cannot be read"))
        return []
    ids = folder.column("doc_id", "n_words")
    by_row = {row: labels[name] for row, name in enumerate(ids["doc_id"].to_pylist()) if name in labels}
    if not by_row:
        skipped.append("triggers of labels: none of the labels names a document of the scan")
    words = int(pc.sum(ids["n_words"]).as_py() or 0)
    return label_triggers(
        lambda: columns_of(folder), by_row, n_words=words, read=lambda rows: texts_of(folder, rows)
    )  # fmt: skip


def _power(sample: Sample, columns: pa.Table, rows: NDArray[np.int64], runs: int, seed: int) -> PoisonPower:
    chosen = rows[:_POWER_DOCUMENTS]
    about: Provenance = provenance_of(columns.select(["url", "source", "crawled"]).take(pa.array(chosen)))
    return poison_power(sample.text[:_POWER_DOCUMENTS], about, runs=runs, seed=seed)
