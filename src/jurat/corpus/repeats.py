"""Passages that stand in more than one document: found by fingerprint, verified word by word, grown to their full length.

Memory does not grow with the corpus: fingerprints are spilled by their leading bits and grouped a part at a time, and the
words of documents that share one are kept in a file, of which each comparison reads what it compares.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jurat.corpus.shards import ShardFolder
from jurat.corpus.texts import read_texts
from jurat.errors import DataError
from jurat.text.column import TextColumn
from jurat.text.words import hash_words, word_end

__all__ = ["Passages", "find_passages"]

_PARTS = 64
"""Files that fingerprints are spilled to, by their first six bits."""
_FINGERPRINT = np.dtype([("key", "<u8"), ("row", "<i4"), ("word", "<i4")])
_STRIDE = 256
"""Words read at a time while a passage is grown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passages:
    """Verified repeats.

    Attributes
    ----------
    table
        One row an occurrence: ``passage`` (number), ``row`` and ``doc_id`` of the document, ``start`` and ``end`` (bytes),
        ``n_words``, ``n_documents`` that hold the passage, and its ``text`` beside the first occurrence.
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
    window = int(folder.manifest()["spec"]["passages"]["window"])
    with TemporaryDirectory(dir=folder.path, prefix=".passages.") as scratch:
        n_fingerprints = _spill(folder, keep, Path(scratch))
        groups, n_groups = _groups(Path(scratch), most_groups)
        with _WordFile(Path(scratch) / "words", folder, groups) as words:
            table = _verified(folder, groups, words, window)
    return Passages(
        table=table, n_fingerprints=n_fingerprints, n_groups=n_groups, n_left_out=max(0, n_groups - most_groups)
    )


def _spill(folder: ShardFolder, keep: NDArray[np.bool_] | None, scratch: Path) -> int:
    """Write the fingerprints of the documents looked at into files by their leading bits; how many there are."""
    first, total = 0, 0
    for batch in folder.batches("passages"):
        lists = batch.column(0)
        rows = np.asarray(pc.list_parent_indices(lists)).astype(np.int64) + first
        chosen = np.ones(len(rows), np.bool_) if keep is None else keep[rows]
        values = lists.flatten()
        found = np.empty(int(chosen.sum()), _FINGERPRINT)
        found["key"], found["row"] = values.field("key").to_numpy()[chosen], rows[chosen]
        found["word"] = values.field("word").to_numpy()[chosen]
        found = found[np.argsort(found["key"], kind="stable")]
        edges = np.searchsorted(found["key"], _first_keys())
        for part in range(_PARTS):
            piece = found[edges[part] : edges[part + 1] if part + 1 < _PARTS else len(found)]
            if len(piece):
                with (scratch / f"{part:02}").open("ab") as file:
                    file.write(piece.tobytes())
        first, total = first + len(batch), total + len(found)
    pa.default_memory_pool().release_unused()
    return total


def _first_keys() -> NDArray[np.uint64]:
    """Least key of each part."""
    return np.arange(_PARTS, dtype=np.uint64) << np.uint64(64 - (_PARTS - 1).bit_length())


def _groups(scratch: Path, most: int) -> tuple[list[NDArray[np.int32]], int]:
    """Places of the fingerprints that at least two documents share, once a document, widest first; and how many there are."""
    widths = [np.diff(starts) for _, starts in _shared(scratch)]
    every = np.concatenate(widths) if widths else np.zeros(0, np.int64)
    chosen = np.sort(np.argsort(-every, kind="stable")[:most])
    del widths
    found: list[NDArray[np.int32]] = []
    passed = 0
    for entries, starts in _shared(scratch):
        here = chosen[np.searchsorted(chosen, passed) : np.searchsorted(chosen, passed + len(starts) - 1)] - passed
        places = np.stack([entries["row"], entries["word"]], axis=1)
        found += [places[starts[i] : starts[i + 1]].copy() for i in here]
        passed += len(starts) - 1
    order = np.argsort([-len(group) for group in found], kind="stable")
    return [found[i] for i in order], len(every)


def _shared(scratch: Path) -> Iterator[tuple[NDArray[np.void], NDArray[np.int64]]]:
    """Of each part the entries of shared keys, by key and row, and where each key's begin, with the end behind."""
    for part in range(_PARTS):
        path = scratch / f"{part:02}"
        if not path.exists():
            continue
        entries = np.fromfile(path, _FINGERPRINT)
        entries = entries[np.lexsort((entries["row"], entries["key"]))]
        fresh = np.concatenate([[True], entries["key"][1:] != entries["key"][:-1]])
        other = fresh | np.concatenate([[True], entries["row"][1:] != entries["row"][:-1]])
        # A document counts once for a key, with the place where it says the words first.
        entries, fresh = entries[other], fresh[other]
        starts = np.append(np.flatnonzero(fresh), len(entries))
        wide = np.repeat(np.diff(starts) > 1, np.diff(starts))
        yield entries[wide], np.concatenate([[0], np.cumsum(np.diff(starts)[np.diff(starts) > 1])])


class _WordFile:
    """Words and text of the documents that share a fingerprint, on disk; what is asked for is read.

    For each document one after the other: the hashes of its words, where they start, and its bytes.
    """

    def __init__(self, path: Path, folder: ShardFolder, groups: list[NDArray[np.int32]]) -> None:
        self._places: dict[int, tuple[int, int, int]] = {}
        rows = [group[:, 0].astype(np.int64) for group in groups]
        wanted = np.unique(np.concatenate([np.zeros(0, np.int64), *rows]))
        del rows
        with path.open("wb") as file:
            at = 0
            for row, text in read_texts(folder, wanted):
                raw = text.encode()
                words = hash_words(TextColumn.of([raw]))
                self._places[row] = (at, len(words.hashes), len(raw))
                parts = (words.hashes.astype("<u8").tobytes(), words.starts.astype("<i8").tobytes(), raw)
                at += sum(file.write(part) for part in parts)
        self._file = os.open(path, os.O_RDONLY)

    def __enter__(self) -> _WordFile:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def __contains__(self, row: int) -> bool:
        return row in self._places

    def n_words(self, row: int) -> int:
        return self._places[row][1]

    def hashes(self, row: int, first: int, last: int) -> NDArray[np.uint64]:
        """Hashes of the words from ``first`` to before ``last``."""
        at = self._places[row][0]
        return np.frombuffer(os.pread(self._file, 8 * (last - first), at + 8 * first), np.uint64)

    def span(self, row: int, first: int, last: int) -> tuple[int, bytes]:
        """Byte at which a word starts, and the text from there to the end of the last one."""
        at, n_words, size = self._places[row]
        begin, final = (
            int(np.frombuffer(os.pread(self._file, 8, at + 8 * (n_words + word)), np.int64)[0])
            for word in (first, last - 1)
        )
        text = at + 16 * n_words
        ahead = 4096
        while True:
            tail = np.frombuffer(os.pread(self._file, min(ahead, size - final), text + final), np.uint8)
            end = word_end(tail, 0)
            if end < len(tail) or final + len(tail) == size:
                break
            ahead *= 16
        return begin, os.pread(self._file, final + end - begin, text + begin)


def _verified(folder: ShardFolder, groups: list[NDArray[np.int32]], words: _WordFile, window: int) -> pa.Table:
    """Grow each group to the whole passage, dropping members that only share a hash, and passages within passages."""
    known: dict[int, list[tuple[int, int, int]]] = {}
    blocks: list[NDArray[np.int64]] = []
    texts: list[str] = []
    for group in groups:
        members = _same_window(group, words, window)
        if len(members) < 2 or any(
            first <= members[0][1] and members[0][1] + window <= last and size >= len(members)
            for first, last, size in known.get(members[0][0], ())
        ):
            continue
        before, size = _grown(members, words, window)
        block = np.empty((len(members), 6), np.int64)
        for place, (row, word) in enumerate(members):
            first, last = word - before, word - before + size
            known.setdefault(row, []).append((first, last, len(members)))
            begin, text = words.span(row, first, last)
            if not place:
                texts.append(text.decode())
            block[place] = (len(blocks), row, begin, begin + len(text), size, len(members))
        blocks.append(block)
    return _table(folder, blocks, texts)


def _table(folder: ShardFolder, blocks: list[NDArray[np.int64]], texts: list[str]) -> pa.Table:
    """Blocks of occurrences as one table, with a passage's text beside its first."""
    every = np.concatenate([np.empty((0, 6), np.int64), *blocks])
    names = ("passage", "row", "start", "end", "n_words", "n_documents")
    columns = {name: pa.array(every[:, place].copy()) for place, name in enumerate(names)}
    numbers = np.append(-1, every[:, 0])
    firsts = pa.array(every[:, 0].copy(), mask=numbers[1:] == numbers[:-1])
    table = pa.table({**columns, "text": pa.array(texts, pa.string()).take(firsts)})
    ids = folder.column("doc_id")["doc_id"].combine_chunks()
    return table.add_column(2, "doc_id", ids.take(columns["row"]))


def _same_window(group: NDArray[np.int32], words: _WordFile, window: int) -> list[tuple[int, int]]:
    """Members whose words are those of the first, word by word."""
    members = [(r, w) for r, w in group.tolist() if r in words]
    if not members:
        return []
    row, word = members[0]
    wanted = words.hashes(row, word, word + window)
    return [(r, w) for r, w in members if np.array_equal(words.hashes(r, w, w + window), wanted)]


def _grown(members: list[tuple[int, int]], words: _WordFile, window: int) -> tuple[int, int]:
    """Words before the window and words in all on which every member agrees."""
    row, word = members[0]
    before, after = word, words.n_words(row) - word - window
    for other, place in members[1:]:
        before = _agreeing(words, (row, word), (other, place), before, backwards=True)
        after = _agreeing(words, (row, word + window), (other, place + window), after, backwards=False)
    return before, before + window + after


def _agreeing(words: _WordFile, left: tuple[int, int], right: tuple[int, int], most: int, *, backwards: bool) -> int:
    """Words, up to ``most``, that two documents have in common from two places on."""
    most = min(most, right[1] if backwards else words.n_words(right[0]) - right[1])
    done = 0
    while done < most:
        step = min(_STRIDE, most - done)
        (a, start), (b, other) = left, right
        if backwards:
            one = words.hashes(a, start - done - step, start - done)[::-1]
            two = words.hashes(b, other - done - step, other - done)[::-1]
        else:
            one = words.hashes(a, start + done, start + done + step)
            two = words.hashes(b, other + done, other + done + step)
        differ = np.flatnonzero(one != two)
        if len(differ):
            return done + int(differ[0])
        done += step
    return most
