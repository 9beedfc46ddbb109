"""Which known runs of words occur in documents: exact look-up of n-grams of several lengths in one pass.

An index holds the n-grams of items (benchmark questions, say) as 64-bit hashes in an open-addressing table behind a bit
array that turns most positions away without touching the table. Every word position of every document is tried, so no
occurrence is missed; two different runs of words share a hash about once in 10^19.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba as nb
import numpy as np
from numpy.typing import NDArray

from jurat.text.simd import fold_product, prefetch
from jurat.text.words import WordColumn

__all__ = ["Hits", "NgramIndex", "build_index", "find_ngrams", "longest_runs"]

_BASE = 0xD1342543DE82EF95
_KEY_LOW = 0x8BB84B93962EACC9
_KEY_HIGH = 0x4B33A62ED433D4A3


@dataclass(frozen=True, slots=True, kw_only=True)
class NgramIndex:
    """N-grams of items.

    Attributes
    ----------
    lengths
        Lengths of n-gram that occur, int64, ascending.
    keys
        Distinct hashes, uint64, ascending; a key's number is its place here.
    postings
        Item of each occurrence, int32, key after key.
    positions
        Word at which the n-gram begins in that item, int32.
    offsets
        Where each key's postings begin, int64, shape ``(len(keys) + 1,)``.
    table, slots
        Open-addressing table of hashes (0 is free) and the key each slot stands for.
    bits
        The bit array in front of the table, uint64.
    """

    lengths: NDArray[np.int64]
    keys: NDArray[np.uint64]
    postings: NDArray[np.int32]
    positions: NDArray[np.int32]
    offsets: NDArray[np.int64]
    table: NDArray[np.uint64]
    slots: NDArray[np.int32]
    bits: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hits:
    """Occurrences of indexed n-grams in documents.

    Attributes
    ----------
    document
        Row of the document, int32.
    word
        Word at which the occurrence begins, int32.
    key
        Number of the n-gram in the index, int32.
    """

    document: NDArray[np.int32]
    word: NDArray[np.int32]
    key: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.key)


def build_index(words: WordColumn, lengths: NDArray[np.int64]) -> NgramIndex:
    """Index every n-gram of items, each item at its own length.

    Parameters
    ----------
    words
        Words of the items.
    lengths
        Length of n-gram of each item, int64, shape ``(items,)``; 0 leaves an item out. An item with fewer words than its
        length is left out too.

    Returns
    -------
    NgramIndex

    Examples
    --------
    >>> from jurat.text.column import TextColumn
    >>> from jurat.text.words import hash_words
    >>> items = hash_words(TextColumn.of(["one two three four", "three four five"]))
    >>> index = build_index(items, np.array([3, 2]))
    >>> found = find_ngrams(hash_words(TextColumn.of(["we say: Two, three, FOUR", "nothing"])), index)
    >>> list(zip(found.document.tolist(), found.word.tolist(), index.postings[index.offsets[found.key]].tolist()))
    [(0, 3, 1), (0, 2, 0)]
    """
    lengths = np.asarray(lengths, np.int64)
    counts = words.counts()
    grams = np.where((lengths > 0) & (counts >= lengths), counts - lengths + 1, 0)
    places = np.concatenate([[0], np.cumsum(grams)]).astype(np.int64)
    hashes = np.empty(int(places[-1]), np.uint64)
    _hash_grams(words.hashes, words.offsets, lengths, places, hashes)
    items = np.repeat(np.arange(len(words), dtype=np.int32), grams)
    positions = (np.arange(len(hashes)) - np.repeat(places[:-1], grams)).astype(np.int32)
    order = np.argsort(hashes, kind="stable")
    keys, first = np.unique(hashes[order], return_index=True)
    size = 1 << max(4, int(2 * len(keys)).bit_length())
    table, slots = np.zeros(size, np.uint64), np.full(size, -1, np.int32)
    bits = np.zeros(max(1, size * 8 // 64), np.uint64)
    _fill(keys, table, slots, bits)
    return NgramIndex(
        lengths=np.unique(lengths[grams > 0]),
        keys=keys,
        postings=items[order],
        positions=positions[order],
        offsets=np.append(first, len(hashes)).astype(np.int64),
        table=table,
        slots=slots,
        bits=bits,
    )


def find_ngrams(words: WordColumn, index: NgramIndex) -> Hits:
    """Every occurrence of an indexed n-gram.

    Parameters
    ----------
    words
        Words of the documents.
    index
        What to look for.

    Returns
    -------
    Hits
        Ordered by document, then length, then position.
    """
    room = 4096
    longest = int(words.counts().max(initial=0)) + 1
    prefix, keys = np.empty(longest, np.uint64), np.empty(longest, np.uint64)
    while True:
        out = np.empty((3, room), np.int32)
        n = _find(words.hashes, words.offsets, index.lengths, index.table, index.slots, index.bits, prefix, keys, out)
        if n <= room:
            return Hits(document=out[0, :n].copy(), word=out[1, :n].copy(), key=out[2, :n].copy())
        room = n


def longest_runs(
    document: NDArray[np.int64], item: NDArray[np.int64], word: NDArray[np.int64], position: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Longest unbroken match of each document with each item, from occurrences of its n-grams.

    Parameters
    ----------
    document, item
        The pair, int64.
    word, position
        Where the n-gram begins in the document and in the item.

    Returns
    -------
    documents, items : ndarray
        The pairs that occur, ascending.
    n_covered : ndarray
        Distinct n-grams of the item that were found.
    longest : ndarray
        N-grams of the longest run that is unbroken in both.
    begins : ndarray
        Word of the document at which that run begins.

    Examples
    --------
    >>> [a.tolist() for a in longest_runs(*(np.array(x) for x in ([0] * 4, [7] * 4, [3, 4, 5, 9], [0, 1, 2, 2])))]
    [[0], [7], [3], [3], [3]]
    """
    diagonal = word - position
    order = np.lexsort((position, diagonal, item, document))
    document, item, word, position, diagonal = (x[order] for x in (document, item, word, position, diagonal))
    same = (np.diff(document) == 0) & (np.diff(item) == 0)
    joined = same & (np.diff(diagonal) == 0) & (np.diff(position) == 1)
    starts = np.flatnonzero(np.concatenate([[True], ~joined])) if len(document) else np.empty(0, np.int64)
    sizes = np.diff(np.append(starts, len(document)))
    head = np.flatnonzero(np.concatenate([[True], ~same])) if len(document) else np.empty(0, np.int64)
    run_pair = np.searchsorted(head, starts, side="right") - 1
    best = np.lexsort((starts, -sizes, run_pair))
    best = best[np.concatenate([[True], np.diff(run_pair[best]) != 0])] if len(best) else best
    pair = np.searchsorted(head, np.arange(len(document)), side="right") - 1
    covered = np.unique(np.stack([pair, position]), axis=1)[0] if len(document) else np.empty(0, np.int64)
    return (
        document[head],
        item[head],
        np.bincount(covered, minlength=len(head)).astype(np.int64),
        sizes[best].astype(np.int64),
        word[starts[best]],
    )


@nb.njit(cache=True, nogil=True, inline="always")
def _finish(value, length):
    hashed = fold_product(value ^ np.uint64(_KEY_LOW), np.uint64(_KEY_HIGH) + np.uint64(2 * length))
    return max(hashed, np.uint64(1))


@nb.njit(cache=True, nogil=True)
def _powers(lengths):
    powers = np.empty(len(lengths), np.uint64)
    for i in range(len(lengths)):
        power = np.uint64(1)
        for _ in range(lengths[i]):
            power *= np.uint64(_BASE)
        powers[i] = power
    return powers


@nb.njit(cache=True, nogil=True)
def _hash_grams(hashes, offsets, lengths, places, out):
    for item in range(len(offsets) - 1):
        length = lengths[item]
        for i in range(places[item + 1] - places[item]):
            value = np.uint64(0)
            for j in range(length):
                value = value * np.uint64(_BASE) + hashes[offsets[item] + i + j]
            out[places[item] + i] = _finish(value, length)


@nb.njit(cache=True, nogil=True)
def _fill(keys, table, slots, bits):
    mask = np.uint64(len(table) - 1)
    bit_mask = np.uint64(len(bits) * 64 - 1)
    for number in range(len(keys)):
        key = keys[number]
        bit = (key >> np.uint64(20)) & bit_mask
        bits[bit >> np.uint64(6)] |= np.uint64(1) << (bit & np.uint64(63))
        slot = key & mask
        while table[slot] != 0:
            slot = (slot + np.uint64(1)) & mask
        table[slot] = key
        slots[slot] = number


@nb.njit(cache=True, nogil=True)
def _find(hashes, offsets, lengths, table, slots, bits, prefix, keys, out):
    """Look up every n-gram; both tables are far larger than a cache, so each is asked for a document ahead of its use."""
    powers = _powers(lengths)
    mask, bit_mask = np.uint64(len(table) - 1), np.uint64(len(bits) * 64 - 1)
    room, n = out.shape[1], 0
    for document in range(len(offsets) - 1):
        first = offsets[document]
        size = offsets[document + 1] - first
        prefix[0] = 0
        for i in range(size):
            prefix[i + 1] = prefix[i] * np.uint64(_BASE) + hashes[first + i]
        for kind in range(len(lengths)):
            length, power = lengths[kind], powers[kind]
            for i in range(size - length + 1):
                key = _finish(prefix[i + length] - prefix[i] * power, length)
                keys[i] = key
                prefetch(bits, np.int64(((key >> np.uint64(20)) & bit_mask) >> np.uint64(6)))
            for i in range(size - length + 1):
                key = keys[i]
                bit = (key >> np.uint64(20)) & bit_mask
                if (bits[bit >> np.uint64(6)] >> (bit & np.uint64(63))) & np.uint64(1):
                    slot = key & mask
                    while table[slot] != 0:
                        if table[slot] == key:
                            if n < room:
                                out[0, n], out[1, n], out[2, n] = document, i, slots[slot]
                            n += 1
                            break
                        slot = (slot + np.uint64(1)) & mask
    return n
