"""What a scan says of each document: one record batch in, one record batch out, wherever it runs.

The same function is called in this process, in a pool of processes and inside Spark's ``mapInArrow``. It adds columns and
never rewrites text; two runs over the same documents give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jurat.corpus.benchmarks import Benchmarks, find_items
from jurat.text.column import TextColumn
from jurat.text.minhash import MINHASH_VERSION, MinHashSpec, band_keys, compact, signatures
from jurat.text.overlap import Hits
from jurat.text.passages import PassageSpec, fingerprints
from jurat.text.pii import pii_candidates
from jurat.text.quality import quality_counters
from jurat.text.words import WORDS_VERSION, WordColumn, hash_words, sequence_hashes

__all__ = ["PROVENANCE", "Scanner", "band_names", "scan_batches"]

PROVENANCE = (
    "doc_id", "source", "url", "crawled", "licence", "file", "record", "offset", "sha256", "n_bytes", "status", "reason",
)  # fmt: skip
"""Columns that come from the reader and go through untouched."""

_SLICE_BYTES = 1 << 20
"""Documents are worked on a slice at a time, so that words and text stay in the cache between kernels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanner:
    """What to compute of each document.

    Attributes
    ----------
    minhash
        Shingles, permutations, bands.
    passages
        Windows whose fingerprints find repeated passages; ``None`` leaves them out.
    benchmarks
        Benchmark items to look for.
    language
        Function from texts to (label, probability) pairs; ``None`` leaves the columns out.
    """

    minhash: MinHashSpec = field(default_factory=MinHashSpec)
    passages: PassageSpec | None = field(default_factory=PassageSpec)
    benchmarks: Benchmarks | None = None
    language: Callable[[TextColumn], tuple[list[str | None], NDArray[np.float64]]] | None = None

    def versions(self) -> dict[str, str]:
        """Versions of the specifications that the columns follow."""
        return {"words": WORDS_VERSION, "minhash": MINHASH_VERSION}


def band_names(spec: MinHashSpec) -> list[str]:
    """Names of the band columns; a column each, so that a pass over one band reads no other."""
    return [f"band_{i:02d}" for i in range(spec.bands)]


def scan_batches(batches: Iterable[pa.RecordBatch], scanner: Scanner) -> Iterator[pa.RecordBatch]:
    """Turn documents into their features.

    Parameters
    ----------
    batches
        Documents with ``text`` and the columns of `PROVENANCE`.
    scanner
        What to compute.

    Yields
    ------
    RecordBatch
        One row a document, in order: provenance, words, hashes, bands, signature, counters, candidates. A document that
        the reader quarantined keeps its row, with nulls.
    """
    for batch in batches:
        column = TextColumn.of(batch["text"])
        parts = [_features(part, scanner) for part in _slices(column)]
        arrays = {name: batch[name] for name in PROVENANCE}
        arrays |= {name: pa.concat_arrays([part[name] for part in parts]) for name in parts[0]} if parts else {}
        if parts:
            yield pa.RecordBatch.from_pydict(arrays)


def _slices(column: TextColumn) -> Iterator[TextColumn]:
    """Cut a column into runs of whole documents of about a megabyte."""
    first = 0
    while first < len(column):
        limit = column.offsets[first] + _SLICE_BYTES
        last = max(first + 1, int(np.searchsorted(column.offsets, limit, side="right")) - 1)
        last = min(last, len(column))
        yield TextColumn(data=column.data, offsets=column.offsets[first : last + 1], valid=column.valid[first:last])
        first = last


def _features(column: TextColumn, scanner: Scanner) -> dict[str, pa.Array]:
    words = hash_words(column)
    counts = words.counts()
    some = column.valid & (counts > 0)
    minima = signatures(words, scanner.minhash)
    keys = band_keys(minima, scanner.minhash)
    out: dict[str, pa.Array] = {
        "n_words": pa.array(counts.astype(np.int32), mask=~column.valid),
        "content_hash": _fixed(sequence_hashes(words).view(np.uint8), some),
        "signature": _fixed(compact(minima), some),
    }
    for place, name in enumerate(band_names(scanner.minhash)):
        out[name] = pa.array(np.ascontiguousarray(keys[:, place]), mask=~some)
    out |= _counters(column)
    out["pii"] = _pii(column)
    if scanner.language is not None:
        labels, chances = scanner.language(column)
        out["language"] = pa.array(labels, pa.string())
        out["language_probability"] = pa.array(chances, mask=np.array([label is None for label in labels], np.bool_))
    if scanner.passages is not None:
        out["passages"] = _passages(words, scanner.passages)
    if scanner.benchmarks is not None:
        grams, answered = find_items(words, scanner.benchmarks)
        out["benchmark_ngrams"] = _hits(words, grams)
        out["benchmark_answers"] = _hits(words, answered)
    return out


def _counters(column: TextColumn) -> dict[str, pa.Array]:
    table = quality_counters(column)
    return {name: table[name].combine_chunks() for name in table.column_names}


def _pii(column: TextColumn) -> pa.Array:
    found = pii_candidates(column)
    names = ["kind", "start", "end"]
    values = pa.StructArray.from_arrays([found[name].combine_chunks() for name in names], names)
    return _lists(found["document"].to_numpy(), values, len(column))


def _passages(words: WordColumn, spec: PassageSpec) -> pa.Array:
    found = fingerprints(words, spec)
    values = pa.StructArray.from_arrays([pa.array(found.key), pa.array(found.word)], ["key", "word"])
    return _lists(found.document, values, len(words))


def _hits(words: WordColumn, hits: Hits) -> pa.Array:
    """Number, first word and first byte of each occurrence."""
    starts = words.starts[words.offsets[hits.document] + hits.word]
    values = pa.StructArray.from_arrays(
        [pa.array(hits.key), pa.array(hits.word), pa.array(starts)], ["key", "word", "start"]
    )
    return _lists(hits.document, values, len(words))


def _lists(document: NDArray[np.integer[Any]], values: pa.Array, n: int) -> pa.Array:
    """Gather values, ordered by document, into one list a document."""
    offsets = np.searchsorted(document, np.arange(n + 1)).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def _fixed(values: NDArray[np.uint8], some: NDArray[np.bool_]) -> pa.Array:
    """A fixed-size binary column from the rows of a matrix of bytes."""
    n, width = values.shape
    mask = pa.py_buffer(np.packbits(some, bitorder="little").tobytes())
    return pa.Array.from_buffers(pa.binary(width), n, [mask, pa.py_buffer(np.ascontiguousarray(values).tobytes())])
