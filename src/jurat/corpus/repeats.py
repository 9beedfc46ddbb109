"""Passages that stand in more than one document: found by fingerprint, verified word by word, grown to their full length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jurat.corpus.shards import ShardFolder
from jurat.corpus.texts import texts_of
from jurat.errors import DataError
from jurat.text.column import TextColumn
from jurat.text.words import WordColumn, hash_words, word_end

__all__ = ["Passages", "find_passages"]


_KEPT = 4096
"""Documents whose words are held at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passages:
    """Verified repeats.

    Attributes
    ----------
    table
        One row an occurrence: ``passage`` (number), ``row`` and ``doc_id`` of the document, ``start`` and ``end`` (bytes),
        ``n_words``, ``n_documents`` that hold the passage, and its ``text`` in the first.
    n_fingerprints, n_groups
        Fingerprints stored, and those that more than one document shares.
    n_left_out
        Groups beyond the number that was verified; the largest ones come first.
    """

    table: pa.Table
    n_fingerprints: int
    n_groups: int
    n_left_out: int


def find_passages(folder: ShardFolder, keep: NDArray[np.bool_] | None = None, *, most_groups: int = 20_000) -> Passages:
    """Find the passages that documents of a scan share.

    Parameters
    ----------
    folder
        A scan that stored fingerprints.
    keep
        Documents to look at, one entry a row; duplicates that go anyway are best left out.
    most_groups
        Shared fingerprints to verify; those in most documents come first.

    Returns
    -------
    Passages
        Each passage is as long as the words agree in all its documents.

    Raises
    ------
    DataError
        Where the scan stored no fingerprints.
    """
    if folder.manifest()["spec"]["passages"] is None:
        raise DataError("the scan stored no fingerprints", seen=str(folder.path), next_step="scan again with passages")
    rows, words, keys = _fingerprints(folder, keep)
    groups, left_out = _groups(rows, keys, most_groups)
    sharing = np.unique(rows[np.concatenate(groups)]) if groups else np.zeros(0, np.int64)
    texts = {row: text.encode() for row, text in texts_of(folder, sharing).items()}
    window = int(folder.manifest()["spec"]["passages"]["window"])
    table = _verified(folder, [(rows[g], words[g]) for g in groups], texts, window)
    return Passages(table=table, n_fingerprints=len(keys), n_groups=len(groups) + left_out, n_left_out=left_out)


class _Words:
    """Words of documents, cut when they are asked for; only the last few thousand are kept."""

    def __init__(self, texts: dict[int, bytes]) -> None:
        self._texts = texts
        self._kept: dict[int, WordColumn] = {}

    def __contains__(self, row: int) -> bool:
        return row in self._texts

    def __getitem__(self, row: int) -> WordColumn:
        found = self._kept.pop(row, None)
        if found is None:
            whole = hash_words(TextColumn.of([self._texts[row]]))
            # Copies: the columns are views of buffers made for the longest document that could have been.
            found = WordColumn(hashes=whole.hashes.copy(), starts=whole.starts.copy(), offsets=whole.offsets)
            if len(self._kept) >= _KEPT:
                self._kept.pop(next(iter(self._kept)))
        self._kept[row] = found
        return found


def _fingerprints(
    folder: ShardFolder, keep: NDArray[np.bool_] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]]:
    parts, first = [], 0
    for batch in folder.batches("passages"):
        lists = batch.column(0)
        values = lists.flatten()
        rows = np.asarray(pa.compute.list_parent_indices(lists)).astype(np.int64) + first
        chosen = slice(None) if keep is None else keep[rows]
        words, keys = values.field("word").to_numpy(), values.field("key").to_numpy()
        parts.append((rows[chosen], words[chosen].astype(np.int64), keys[chosen]))
        first += len(batch)
    rows, words, keys = (np.concatenate(column) for column in zip(*parts, strict=True))
    return rows, words, keys


def _groups(rows: NDArray[np.int64], keys: NDArray[np.uint64], most: int) -> tuple[list[NDArray[np.int64]], int]:
    """Places of the fingerprints that at least two documents share, once a document, widest first."""
    order = np.lexsort((rows, keys))
    fresh = np.concatenate([[True], (np.diff(keys[order]) != 0) | (np.diff(rows[order]) != 0)])
    order = order[fresh[: len(order)]]
    starts = np.flatnonzero(np.concatenate([[True], np.diff(keys[order]) != 0])[: len(order)])
    sizes = np.diff(np.append(starts, len(order)))
    shared = np.flatnonzero(sizes > 1)
    widest = shared[np.argsort(-sizes[shared], kind="stable")][:most]
    return [order[starts[i] : starts[i] + sizes[i]] for i in widest], max(0, len(shared) - most)


def _verified(
    folder: ShardFolder, groups: list[tuple[NDArray[np.int64], NDArray[np.int64]]], texts: dict[int, bytes], window: int
) -> pa.Table:
    """Grow each group to the whole passage, dropping members that only share a hash, and passages within passages."""
    cut = _Words(texts)
    ids = folder.column("doc_id")["doc_id"]
    known: dict[int, list[tuple[int, int, int]]] = {}
    out: dict[str, list[object]] = {
        n: [] for n in ("passage", "row", "doc_id", "start", "end", "n_words", "n_documents", "text")
    }
    number = 0
    for rows, words in groups:
        members = _same_window(rows, words, cut, window)
        if len(members) < 2 or any(
            first <= members[0][1] and members[0][1] + window <= last and size >= len(members)
            for first, last, size in known.get(members[0][0], ())
        ):
            continue
        before, size = _grown(members, cut, window)
        for row, word in members:
            first, last = word - before, word - before + size
            known.setdefault(row, []).append((first, last, len(members)))
            starts = cut[row].starts
            raw = texts[row]
            begin, end = int(starts[first]), word_end(np.frombuffer(raw, np.uint8), int(starts[last - 1]))
            values = (
                number,
                row,
                ids[row].as_py(),
                begin,
                end,
                size,
                len(members),
                raw[begin:end].decode(),
            )
            for column, value in zip(out.values(), values, strict=True):
                column.append(value)
        number += 1
    kinds = {"doc_id": pa.string(), "text": pa.string()}
    return pa.table({name: pa.array(column, kinds.get(name, pa.int64())) for name, column in out.items()})


def _same_window(rows: NDArray[np.int64], words: NDArray[np.int64], cut: _Words, window: int) -> list[tuple[int, int]]:
    """Members whose words are those of the first, word by word."""
    members = [(int(r), int(w)) for r, w in zip(rows, words, strict=True) if int(r) in cut]
    if not members:
        return []
    row, word = members[0]
    wanted = cut[row].hashes[word : word + window]
    return [(r, w) for r, w in members if np.array_equal(cut[r].hashes[w : w + window], wanted)]


def _grown(members: list[tuple[int, int]], cut: _Words, window: int) -> tuple[int, int]:
    """Words before the window and words in all on which every member agrees."""
    row, word = members[0]
    before, after = word, len(cut[row].hashes) - word - window
    for other, place in members[1:]:
        before = min(before, _common(cut[row].hashes[:word][::-1], cut[other].hashes[:place][::-1]))
        after = min(after, _common(cut[row].hashes[word + window :], cut[other].hashes[place + window :]))
    return before, before + window + after


def _common(left: NDArray[np.uint64], right: NDArray[np.uint64]) -> int:
    """Length of the common beginning."""
    size = min(len(left), len(right))
    differ = np.flatnonzero(left[:size] != right[:size])
    return int(differ[0]) if len(differ) else size
