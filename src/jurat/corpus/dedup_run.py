"""Deduplication as a result that stands on its own: the fate of each document, and how much was missed and wrongly taken."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jurat.corpus.controls import RecallLine, exact_similarity, plant_pairs, recall_curve
from jurat.corpus.dedup import DedupSpec, Duplicates, find_duplicates
from jurat.corpus.repeats import Passages, find_passages
from jurat.corpus.scan_spec import minhash_of
from jurat.corpus.shards import ShardFolder
from jurat.corpus.texts import sample_of, texts_of
from jurat.stats.interval import proportion
from jurat.stats.result import Interval
from jurat.store.durable import make_folder, write_atomically
from jurat.text.column import TextColumn
from jurat.text.minhash import MinHashSpec, hash_shingles
from jurat.text.words import hash_words

__all__ = ["DedupResult", "SourceLine", "deduplicate", "write_table"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLine:
    """One source's duplicates.

    Attributes
    ----------
    source
        The source.
    n_documents
        Documents read from it.
    removed
        Share that is a duplicate of a document that stays, with its Wilson interval.
    """

    source: str
    n_documents: int
    removed: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class DedupResult:
    """What was found, and how well.

    Attributes
    ----------
    n_documents, n_stays, n_exact, n_format, n_near
        Documents with words, by fate.
    n_candidates, n_edges, n_capped, n_spared
        See `Duplicates`.
    largest_clusters
        Sizes of the ten largest clusters.
    removed
        Share of the documents that goes.
    by_source
        The sources, most affected first.
    recall
        Recall on planted pairs by similarity; empty where no document was long enough to plant in.
    precision
        Of near duplicates drawn at random, the share whose exact Jaccard similarity with the document that stays is at least
        the threshold less `SLACK`; ``None`` where there were none or they were not read again.
    exact_similarities
        Exact similarity of each pair that was drawn.
    n_passages, n_passage_documents
        Repeated passages among the documents that stay, and documents that hold one; ``None`` where not looked for.
    similarity
        The threshold.
    """

    n_documents: int
    n_stays: int
    n_exact: int
    n_format: int
    n_near: int
    n_candidates: int
    n_edges: int
    n_capped: int
    n_spared: int
    largest_clusters: list[int]
    removed: Interval
    by_source: list[SourceLine]
    recall: list[RecallLine]
    precision: Interval | None
    exact_similarities: list[float]
    n_passages: int | None
    n_passage_documents: int | None
    similarity: float

    def document(self) -> dict[str, Any]:
        """The result as plain values."""
        return asdict(self)


SLACK = 0.1
"""An estimate from 128 numbers has a standard error of .04: a pair counts as wrongly taken only clearly below the threshold."""


def deduplicate(
    folder: ShardFolder,
    out: Path,
    spec: DedupSpec | None = None,
    *,
    verify_pairs: int = 200,
    passages: bool = True,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> DedupResult:
    """Find duplicates and repeated passages, measure recall and precision, write it all into a folder.

    Parameters
    ----------
    folder
        A finished scan.
    out
        Gets ``duplicates.parquet``, ``passages.parquet`` and ``dedup.json``.
    spec
        Threshold and preference.
    verify_pairs
        Near pairs that are read again and compared exactly; 0 for none.
    passages
        Whether repeated passages are looked for.
    seed
        Of the draw of pairs and of the planted copies.
    progress
        Called with bands done and bands in all.

    Returns
    -------
    DedupResult
    """
    spec = spec or DedupSpec()
    minhash = minhash_of(folder)
    found = find_duplicates(folder, minhash, spec, progress=progress)
    table = found.table(folder)
    precision, exact = _precision(folder, found, minhash, spec, verify_pairs, seed)
    repeated = _passages(folder, found) if passages and folder.manifest()["spec"]["passages"] else None
    result = _result(folder, found, minhash, spec, precision, exact, repeated, seed)
    make_folder(out)
    write_table(out / "duplicates.parquet", table, folder)
    if repeated is not None:
        write_table(out / "passages.parquet", repeated.table, folder)
    write_atomically(out / "dedup.json", json.dumps(result.document(), indent=1, ensure_ascii=False).encode())
    return result


def write_table(path: Path, table: pa.Table, folder: ShardFolder) -> None:
    """Write a table that goes with a scan and names it."""
    named = table.replace_schema_metadata({"scan": folder.manifest()["digest"]})
    stream = pa.BufferOutputStream()
    pq.write_table(named, stream, compression="zstd")
    write_atomically(path, stream.getvalue().to_pybytes())


def _passages(folder: ShardFolder, found: Duplicates) -> Passages:
    keep = np.zeros(sum(int(r["rows"]) for r in folder.manifest()["shards"]), np.bool_)
    keep[found.rows[found.fate == "stays"]] = True
    return find_passages(folder, keep)


def _precision(
    folder: ShardFolder, found: Duplicates, minhash: MinHashSpec, spec: DedupSpec, pairs: int, seed: int
) -> tuple[Interval | None, list[float]]:
    """Exact similarity of near pairs drawn at random, from their texts."""
    near = np.flatnonzero(found.fate == "near")
    if not pairs or not len(near):
        return None, []
    drawn = np.sort(np.random.default_rng(seed).permutation(near)[:pairs])
    left, right = found.rows[drawn], found.kept_by[drawn]
    texts = texts_of(folder, np.concatenate([left, right]))
    words = {row: hash_words(TextColumn.of([text])) for row, text in texts.items()}
    exact = [
        exact_similarity(hash_shingles(words[int(a)], minhash.width)[0], hash_shingles(words[int(b)], minhash.width)[0])
        for a, b in zip(left, right, strict=True)
    ]
    good = sum(value >= spec.similarity - SLACK for value in exact)
    return proportion(good, len(exact)), [round(value, 6) for value in exact]


def _result(
    folder: ShardFolder,
    found: Duplicates,
    minhash: MinHashSpec,
    spec: DedupSpec,
    precision: Interval | None,
    exact: list[float],
    repeated: Passages | None,
    seed: int,
) -> DedupResult:
    counts = dict(zip(*np.unique(found.fate, return_counts=True), strict=True))
    _, sizes = np.unique(found.cluster, return_counts=True)
    sources = folder.column("source")["source"].combine_chunks().take(pa.array(found.rows))
    n, stays = len(found.rows), int(counts.get("stays", 0))
    texts = sample_of(folder, most=2000).text
    long = any(len(text.split(maxsplit=40)) >= 40 for text in texts)
    return DedupResult(
        n_documents=n,
        n_stays=stays,
        n_exact=int(counts.get("exact", 0)),
        n_format=int(counts.get("format", 0)),
        n_near=int(counts.get("near", 0)),
        n_candidates=found.n_candidates,
        n_edges=found.n_edges,
        n_capped=found.n_capped,
        n_spared=found.n_spared,
        largest_clusters=sorted((int(s) for s in sizes[np.argsort(-sizes)][:10] if s > 1), reverse=True),
        removed=proportion(n - stays, n),
        by_source=_by_source(sources.to_pylist(), found.fate != "stays"),
        recall=recall_curve(plant_pairs(texts, minhash, seed=seed), spec.similarity, minhash) if long else [],
        precision=precision,
        exact_similarities=exact,
        n_passages=None if repeated is None else len(pc.unique(repeated.table["passage"])),
        n_passage_documents=None if repeated is None else len(pc.unique(repeated.table["row"])),
        similarity=spec.similarity,
    )


def _by_source(sources: Iterable[str], removed: Any) -> list[SourceLine]:
    table = pa.table({"source": pa.array(sources), "removed": pa.array(removed.astype(np.int64))})
    counted = table.group_by("source").aggregate([("removed", "sum"), ("removed", "count")]).to_pylist()
    lines = [
        SourceLine(
            source=row["source"], n_documents=row["removed_count"],
            removed=proportion(row["removed_sum"], row["removed_count"]),
        )
        for row in counted
    ]  # fmt: skip
    return sorted(lines, key=lambda line: (-(line.removed.value or 0), line.source))
