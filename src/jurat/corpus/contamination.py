"""Which benchmark items the corpus holds: from occurrences of their words to a verdict on each item, and its error.

Runs of words that stand in many different documents are nobody's leak (a licence, a template, a proverb): they are set
aside, and listed. What remains of an item decides: the longest unbroken match as a share of it. Items of which
too little remains join those that are too short: undecidable, and counted so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jurat.corpus.benchmarks import NGRAM, TIERS, Benchmarks
from jurat.corpus.shards import ShardFolder
from jurat.errors import DataError
from jurat.stats.interval import proportion
from jurat.stats.result import Interval
from jurat.text.overlap import longest_runs

__all__ = ["BenchmarkReport", "Contamination", "ContaminationSpec", "Occurrences", "find_contamination", "judge"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContaminationSpec:
    """When an item counts as touched.

    Attributes
    ----------
    least_share
        Longest unbroken match, as a share of what is looked for of the item.
    most_documents
        An n-gram in more different documents than this (over all, not counting copies) is common property.
    most_of_source
        Also one in more than this share of one source's documents, where the source has at least a hundred.
    least_left
        Share of an item's n-grams that must remain for it to be decidable.
    """

    least_share: float = 0.5
    most_documents: int = 50
    most_of_source: float = 0.05
    least_left: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurrences:
    """N-grams and answered questions met in documents.

    Attributes
    ----------
    document, key, word, start
        Row of the document, number of the n-gram, its word and byte there; int64.
    answered_document, answered_item, answered_start
        The same of short questions with their answers.
    """

    document: NDArray[np.int64]
    key: NDArray[np.int64]
    word: NDArray[np.int64]
    start: NDArray[np.int64]
    answered_document: NDArray[np.int64]
    answered_item: NDArray[np.int64]
    answered_start: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkReport:
    """One benchmark's line.

    Attributes
    ----------
    name
        The benchmark.
    n_items, n_undecidable, n_common, n_touched, n_documents
        Items; those too short or without an answer; those that are mostly common property; those touched; documents that
        touch one.
    share
        Touched items among the decidable ones, with its Wilson interval over items.
    """

    name: str
    n_items: int
    n_undecidable: int
    n_common: int
    n_touched: int
    n_documents: int
    share: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Contamination:
    """What was found.

    Attributes
    ----------
    pairs
        One row a touched item and document: ``document`` (row), ``item`` (number), ``tier``, ``share`` (longest match),
        ``coverage`` (of its n-grams), ``n_words`` matched in one run, ``start`` (byte in the document).
    status
        Per item: ``clean``, ``touched``, ``undecidable`` or ``common``.
    dropped
        N-grams set aside: ``key``, ``documents``, ``source`` (where one source's share did it) and the words of an item
        that holds it.
    benchmarks
        A line a benchmark.
    """

    pairs: pa.Table
    status: NDArray[np.str_]
    dropped: pa.Table
    benchmarks: list[BenchmarkReport]


def find_contamination(
    folder: ShardFolder, benchmarks: Benchmarks, spec: ContaminationSpec | None = None
) -> Contamination:
    """Judge every benchmark item by a scan that looked for it.

    Parameters
    ----------
    folder
        A scan made with these benchmarks.
    benchmarks
        The items.
    spec
        Thresholds.

    Raises
    ------
    DataError
        Where the scan did not look for them, or for others.
    """
    spec = spec or ContaminationSpec()
    scanned = folder.manifest()["benchmarks"]
    if [s["sha256"] for s in scanned] != [s["sha256"] for s in benchmarks.sources]:
        raise DataError(
            "the scan did not look for these benchmarks",
            seen=f"scanned for {', '.join(s['name'] for s in scanned) or 'none'}",
            next_step="scan again with --benchmark NAME=PATH for each",
        )
    found, first = [], 0
    for batch in folder.batches("benchmark_ngrams", "benchmark_answers"):
        found.append((_flat(batch["benchmark_ngrams"], first), _flat(batch["benchmark_answers"], first)))
        first += len(batch)
    grams = np.concatenate([np.empty((4, 0), np.int64), *(g for g, _ in found)], axis=1)
    answers = np.concatenate([np.empty((4, 0), np.int64), *(a for _, a in found)], axis=1)
    occurrences = Occurrences(
        document=grams[0], key=grams[1], word=grams[2], start=grams[3],
        answered_document=answers[0], answered_item=answers[1], answered_start=answers[3],
    )  # fmt: skip
    about = folder.column("source", "content_hash")
    common, dropped = _common(occurrences, about, benchmarks, spec)
    pairs, status = judge(occurrences, benchmarks, common, spec)
    reports = [_report(name, benchmarks, pairs, status) for name in dict.fromkeys(benchmarks.benchmark)]
    return Contamination(pairs=pairs, status=status, dropped=dropped, benchmarks=reports)


def judge(
    found: Occurrences, benchmarks: Benchmarks, common: NDArray[np.bool_], spec: ContaminationSpec
) -> tuple[pa.Table, NDArray[np.str_]]:
    """Turn occurrences into touched pairs and a status for every item.

    Parameters
    ----------
    found
        What was met where.
    benchmarks
        The items.
    common
        Whether each n-gram of the index is common property, shape ``(len(index),)``.
    spec
        Thresholds.

    Returns
    -------
    pairs, status
        See `Contamination`.
    """
    index = benchmarks.index
    of_key = np.repeat(np.arange(len(index)), np.diff(index.offsets))
    total = benchmarks.n_grams()
    left = total - np.bincount(index.postings, weights=common[of_key], minlength=len(benchmarks)).astype(np.int64)
    lost = (total > 0) & (left < spec.least_left * total)
    own = np.flatnonzero(~common[found.key])
    counts = np.diff(index.offsets)[found.key[own]]
    row = np.repeat(own, counts)
    posting = np.repeat(index.offsets[found.key[own]], counts) + _within(counts)
    item, position = index.postings[posting].astype(np.int64), index.positions[posting].astype(np.int64)
    document, items, covered, longest, begins = longest_runs(found.document[row], item, found.word[row], position)
    whole = benchmarks.tier[items] == TIERS.index("whole")
    extra = np.where(whole, 0, NGRAM - 1)
    share = (longest + extra) / np.maximum(left[items] + extra, 1)
    touched = np.flatnonzero((share >= spec.least_share) & ~lost[items])
    size = np.where(whole, benchmarks.words.counts()[items], longest + extra)
    start = _starts(found, document[touched], begins[touched])
    short = np.unique(np.stack([found.answered_document, found.answered_item]), axis=1, return_index=True)
    pairs = pa.table(
        {
            "document": np.concatenate([document[touched], short[0][0]]),
            "item": np.concatenate([items[touched], short[0][1]]),
            "tier": [TIERS[t] for t in benchmarks.tier[np.concatenate([items[touched], short[0][1]])]],
            "share": np.concatenate([np.minimum(share[touched], 1.0), np.ones(len(short[1]))]),
            "coverage": np.concatenate(
                [covered[touched] / np.maximum(left[items[touched]], 1), np.ones(len(short[1]))]
            ),
            "n_words": np.concatenate([size[touched], benchmarks.words.counts()[short[0][1]]]),
            "start": np.concatenate([start, found.answered_start[short[1]]]),
        }
    ).sort_by([("item", "ascending"), ("document", "ascending")])
    status = np.where(benchmarks.tier == TIERS.index("undecidable"), "undecidable", "clean").astype("<U11")
    status[lost] = "common"
    status[pairs["item"].to_numpy()] = "touched"
    return pairs, status


def _flat(lists: pa.Array, first: int) -> NDArray[np.int64]:
    """Rows (from ``first``), keys, words and bytes of a column of lists."""
    values = lists.flatten()
    rows = pc.list_parent_indices(lists).to_numpy().astype(np.int64) + first
    return np.stack([rows, *(values.field(name).to_numpy().astype(np.int64) for name in ("key", "word", "start"))])


def _within(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, … within each of consecutive groups."""
    ends = np.cumsum(counts)
    return np.arange(int(counts.sum())) - np.repeat(ends - counts, counts)


def _starts(found: Occurrences, document: NDArray[np.int64], word: NDArray[np.int64]) -> NDArray[np.int64]:
    """Byte at which a word of a document begins, from the occurrences that begin there."""
    width = int(found.word.max(initial=0)) + 1
    known = found.document * width + found.word
    order = np.argsort(known, kind="stable")
    place = np.searchsorted(known[order], document * width + word)
    return found.start[order][place]


def _common(
    found: Occurrences, about: pa.Table, benchmarks: Benchmarks, spec: ContaminationSpec
) -> tuple[NDArray[np.bool_], pa.Table]:
    """N-grams that stand in too many different documents; copies of one document count once."""
    codes = about["content_hash"].combine_chunks().dictionary_encode().indices.fill_null(0).to_numpy().astype(np.int64)
    sources = about["source"].combine_chunks().fill_null("").dictionary_encode()
    places = sources.indices.to_numpy().astype(np.int64)
    names = sources.dictionary.to_pylist()
    n_keys = len(benchmarks.index)
    distinct = np.unique(np.stack([found.key, codes[found.document], places[found.document]]), axis=1)
    documents = np.bincount(np.unique(distinct[:2], axis=1)[0], minlength=n_keys)
    common = documents > spec.most_documents
    why = np.full(n_keys, "", dtype=object)
    _, first = np.unique(np.stack([codes, places]), axis=1, return_index=True)
    sizes = np.bincount(places[first], minlength=len(names))
    pair, counts = np.unique(distinct[[0, 2]], axis=1, return_counts=True)
    for key, source, count in zip(pair[0], pair[1], counts, strict=True):
        if sizes[source] >= 100 and count > spec.most_of_source * sizes[source] and not common[key]:
            common[key], why[key] = True, names[source]
    keys = np.flatnonzero(common)
    index = benchmarks.index
    texts = [_words_of(benchmarks, int(index.postings[p]), int(index.positions[p])) for p in index.offsets[keys]]
    dropped = pa.table(
        {
            "key": keys,
            "documents": documents[keys].astype(np.int64),
            "source": pa.array([w or None for w in why[keys]], pa.string()),
            "words": pa.array(texts, pa.string()),
        }
    )
    return common, dropped.sort_by([("documents", "descending"), ("key", "ascending")])


def _words_of(benchmarks: Benchmarks, item: int, position: int) -> str:
    """The text of an n-gram as it stands in an item."""
    length = int(benchmarks.lengths()[item])
    first = int(benchmarks.words.offsets[item]) + position
    starts = benchmarks.words.starts
    text = benchmarks.questions[item].encode()
    last = first + length
    stop = int(starts[last]) if last < int(benchmarks.words.offsets[item + 1]) else len(text)
    return text[int(starts[first]) : stop].decode("utf-8", "replace").strip()


def _report(name: str, benchmarks: Benchmarks, pairs: pa.Table, status: NDArray[np.str_]) -> BenchmarkReport:
    mine = np.array(benchmarks.benchmark) == name
    here = status[mine]
    decidable = int(np.isin(here, ("clean", "touched")).sum())
    touched = int((here == "touched").sum())
    documents = pairs["document"].to_numpy()[mine[pairs["item"].to_numpy()]]
    return BenchmarkReport(
        name=name,
        n_items=len(here),
        n_undecidable=int((here == "undecidable").sum()),
        n_common=int((here == "common").sum()),
        n_touched=touched,
        n_documents=len(np.unique(documents)),
        share=proportion(touched, decidable),
    )
