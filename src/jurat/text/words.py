"""Words of documents: cut, folded to lower case and hashed in one pass over the bytes.

A word is a maximal run of letters, marks and digits (Unicode categories L, M, N of version 14.0) in simple lower case; a
character of a script written without spaces is a word of its own. Its hash folds its UTF-8 bytes, sixteen at a time. Runs
of ASCII are found sixty-four bytes at a time; a run that holds anything else is decoded character by character.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba as nb
import numpy as np
from numpy.typing import NDArray

from jurat.text.characters import IDEOGRAPH, SEPARATOR, character_table
from jurat.text.column import TextColumn
from jurat.text.simd import LEAF, fold_product, load_word, lowest_bit, set_bits, word_mask

__all__ = ["WORDS_VERSION", "WordColumn", "hash_word", "hash_words", "sequence_hashes", "word_end"]

WORDS_VERSION = "words/1 (Unicode 14.0)"
"""Part of every manifest: another way to cut or hash words is another version."""

_KEY_LOW = 0x9E3779B97F4A7C15
_KEY_HIGH = 0xD6E8FEB86659FD93
_HIGH_BITS = 0x8080808080808080
_LOWER_BITS = 0x2020202020202020
_SLACK = 64
_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class WordColumn:
    """Words of a column of documents.

    Attributes
    ----------
    hashes
        Hash of each word, uint64, documents one after the other.
    starts
        Byte at which each word begins, counted from the start of its document, int32.
    offsets
        Where each document's words begin, int64, shape ``(n + 1,)``.
    """

    hashes: NDArray[np.uint64]
    starts: NDArray[np.int32]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def counts(self) -> NDArray[np.int64]:
        """Words of each document, int64."""
        return np.diff(self.offsets)


def hash_words(column: TextColumn) -> WordColumn:
    """Cut a column of documents into words.

    Parameters
    ----------
    column
        Documents in UTF-8. Bytes that are not UTF-8 separate words.

    Returns
    -------
    WordColumn

    Examples
    --------
    >>> words = hash_words(TextColumn.of(["The Cat’s THE cat", None, "猫は"]))
    >>> words.counts().tolist(), words.starts[:5].tolist()
    ([5, 0, 2], [0, 4, 10, 12, 16])
    >>> bool(words.hashes[0] == words.hashes[3]), int(words.hashes[1]) == hash_word("cat")
    (True, True)
    """
    room = column.n_bytes // 2 + len(column) + 1
    hashes = np.empty(room, np.uint64)
    starts = np.empty(room, np.int32)
    offsets = np.zeros(len(column) + 1, np.int64)
    longest = int(np.diff(column.offsets).max(initial=0))
    edges = np.empty(longest + 2 * _SLACK, np.int32)
    folded = np.empty(2 * longest + 32, np.uint8)
    n = _cut(column.data, column.offsets, character_table(), (edges, folded), hashes, starts, offsets)
    return WordColumn(hashes=hashes[:n], starts=starts[:n], offsets=offsets)


def hash_word(word: str) -> int:
    """Hash one word that is already folded, as the kernel does; the reference of the specification.

    Parameters
    ----------
    word
        A word in lower case.

    Examples
    --------
    >>> hex(hash_word("jurat"))
    '0x...'
    """
    data = word.encode("utf-8", "surrogatepass")
    result = 0
    for place in range(0, len(data), 16):
        low = int.from_bytes(data[place : place + 8], "little")
        high = int.from_bytes(data[place + 8 : place + 16], "little")
        product = (low ^ _KEY_LOW ^ result) * (high ^ _KEY_HIGH)
        result = (product & _MASK) ^ (product >> 64)
    return result


def sequence_hashes(words: WordColumn) -> NDArray[np.uint64]:
    """Hash the whole sequence of words of each document: equal where only case, spacing and punctuation differ.

    Parameters
    ----------
    words
        Words of the documents.

    Returns
    -------
    ndarray
        uint64, shape ``(n, 2)``: 128 bits. Without a word, zeros.

    Examples
    --------
    >>> pair = sequence_hashes(hash_words(TextColumn.of(["To be, or not to be", "to be -- OR not\\nto be!", "to be"])))
    >>> bool((pair[0] == pair[1]).all()), bool((pair[0] == pair[2]).any())
    (True, False)
    """
    out = np.zeros((len(words), 2), np.uint64)
    _hash_sequences(words.hashes, words.offsets, out)
    return out


def word_end(document: NDArray[np.uint8], start: int) -> int:
    """Byte at which the word that begins at ``start`` ends (exclusive)."""
    return int(_word_end(document, start, character_table()))


@nb.njit(**LEAF)
def _decode(data, place, stop):
    """Code point at ``place`` and its length in bytes; what is not UTF-8 is one byte and no code point (-1)."""
    first = np.int64(data[place])
    if first < 0x80:
        return first, 1
    if 0xC2 <= first < 0xE0:
        length, point = 2, first & 0x1F
    elif 0xE0 <= first < 0xF0:
        length, point = 3, first & 0x0F
    elif 0xF0 <= first < 0xF5:
        length, point = 4, first & 0x07
    else:
        return np.int64(-1), 1
    if place + length > stop:
        return np.int64(-1), 1
    for step in range(1, length):
        byte = np.int64(data[place + step])
        if byte & 0xC0 != 0x80:
            return np.int64(-1), 1
        point = (point << 6) | (byte & 0x3F)
    if (length == 3 and point < 0x800) or (length == 4 and (point < 0x10000 or point > 0x10FFFF)):
        return np.int64(-1), 1
    return point, length


@nb.njit(**LEAF)
def _word_end(data, start, table):
    point, length = _decode(data, start, len(data))
    place = start + length
    if table[point] >> 24 == IDEOGRAPH:
        return place
    while place < len(data):
        point, length = _decode(data, place, len(data))
        if point < 0 or table[point] >> 24 != 1:
            break
        place += length
    return place


@nb.njit(inline="always", **LEAF)
def _encode(point, folded, size):
    """Append a code point to a buffer as UTF-8; returns the new size."""
    if point < 0x80:
        folded[size] = point
        return size + 1
    if point < 0x800:
        folded[size] = 0xC0 | (point >> 6)
        folded[size + 1] = 0x80 | (point & 0x3F)
        return size + 2
    if point < 0x10000:
        folded[size] = 0xE0 | (point >> 12)
        folded[size + 1] = 0x80 | ((point >> 6) & 0x3F)
        folded[size + 2] = 0x80 | (point & 0x3F)
        return size + 3
    folded[size] = 0xF0 | (point >> 18)
    folded[size + 1] = 0x80 | ((point >> 12) & 0x3F)
    folded[size + 2] = 0x80 | ((point >> 6) & 0x3F)
    folded[size + 3] = 0x80 | (point & 0x3F)
    return size + 4


@nb.njit(**LEAF)
def _hash_bytes(data, start, stop):
    """Hash bytes that are folded already; reads up to 16 bytes behind ``stop``."""
    result = np.uint64(0)
    place = start
    while place < stop:
        left = stop - place
        low = load_word(data, place)
        high = np.uint64(0)
        if left < 8:
            low &= (np.uint64(1) << np.uint64(8 * left)) - np.uint64(1)
        elif left > 8:
            high = load_word(data, place + 8)
            if left < 16:
                high &= (np.uint64(1) << np.uint64(8 * (left - 8))) - np.uint64(1)
        result = fold_product(low ^ np.uint64(_KEY_LOW) ^ result, high ^ np.uint64(_KEY_HIGH))
        place += 16
    return result


@nb.njit(**LEAF)
def _cut_run(data, base, start, stop, table, folded, hashes, starts, n):
    """Cut a run that holds more than ASCII, or is long, character by character; returns the number of words so far."""
    size, begin = 0, start
    place = start
    while place < stop:
        byte = data[place]
        if byte < 0x80:
            # In a run these are letters and digits: the bit that tells upper from lower case is set in digits anyway.
            if size == 0:
                begin = place
            folded[size] = byte | 0x20
            size, place = size + 1, place + 1
            continue
        point, length = _decode(data, place, stop)
        kind = SEPARATOR if point < 0 else np.int64(table[point] >> 24)
        if kind != 1 and size > 0:
            hashes[n], starts[n] = _hash_bytes(folded, 0, size), begin - base
            n, size = n + 1, 0
        if kind != SEPARATOR:
            if size == 0:
                begin = place
            size = _encode(np.int64(table[point] & 0x1FFFFF), folded, size)
            if kind == IDEOGRAPH:
                hashes[n], starts[n] = _hash_bytes(folded, 0, size), begin - base
                n, size = n + 1, 0
        place += length
    if size > 0:
        hashes[n], starts[n] = _hash_bytes(folded, 0, size), begin - base
        n += 1
    return n


@nb.njit(**LEAF)
def _mark_runs(data, start, stop, edges):
    """Write where runs of word bytes begin and end, in turn, from ``start``; reads up to 64 bytes behind ``stop``."""
    n, carry = 0, np.uint64(0)
    place = start
    while place < stop:
        bits = word_mask(data, place)
        if stop - place < 64:
            bits &= (np.uint64(1) << np.uint64(stop - place)) - np.uint64(1)
        changes = bits ^ ((bits << np.uint64(1)) | carry)
        carry = bits >> np.uint64(63)
        count = set_bits(changes)
        done = 0
        while done < count:
            # Eight are written whether or not so many are left: what is too many is overwritten next.
            for _ in range(8):
                edges[n + done] = place - start + lowest_bit(changes | np.uint64(1 << 63))
                changes &= changes - np.uint64(1)
                done += 1
        n += count
        place += 64
    if n & 1:
        edges[n] = stop - start
        n += 1
    return n


@nb.njit(**LEAF)
def _cut_document(data, start, stop, table, edges, folded, hashes, starts, n):
    """Cut one document whose bytes have 64 readable ones behind them."""
    count = _mark_runs(data, start, stop, edges)
    for i in range(0, count, 2):
        begin, end = start + np.int64(edges[i]), start + np.int64(edges[i + 1])
        size = end - begin
        low = load_word(data, begin)
        high = np.uint64(0)
        if size < 8:
            low &= (np.uint64(1) << np.uint64(8 * size)) - np.uint64(1)
        elif size > 8:
            high = load_word(data, begin + 8)
            if size < 16:
                high &= (np.uint64(1) << np.uint64(8 * (size - 8))) - np.uint64(1)
        if size > 16 or (low | high) & np.uint64(_HIGH_BITS):
            n = _cut_run(data, start, begin, end, table, folded, hashes, starts, n)
            continue
        # All bytes are ASCII letters and digits here: the bit that tells upper from lower case is set in digits anyway.
        bits = np.uint64(_LOWER_BITS)
        if size < 8:
            low |= bits & ((np.uint64(1) << np.uint64(8 * size)) - np.uint64(1))
        else:
            low |= bits
            if size == 16:
                high |= bits
            elif size > 8:
                high |= bits & ((np.uint64(1) << np.uint64(8 * (size - 8))) - np.uint64(1))
        hashes[n] = fold_product(low ^ np.uint64(_KEY_LOW), high ^ np.uint64(_KEY_HIGH))
        starts[n] = begin - start
        n += 1
    return n


@nb.njit(cache=True, nogil=True)
def _cut(data, offsets, table, scratch, hashes, starts, ends):
    """Cut every document; those whose end has no 64 readable bytes behind it are cut from a padded copy."""
    n = 0
    edges, folded = scratch
    for document in range(len(offsets) - 1):
        start, stop = offsets[document], offsets[document + 1]
        if stop + 64 <= len(data):
            n = _cut_document(data, start, stop, table, edges, folded, hashes, starts, n)
        elif stop > start:
            copy = np.zeros(stop - start + 64, np.uint8)
            copy[: stop - start] = data[start:stop]
            n = _cut_document(copy, 0, stop - start, table, edges, folded, hashes, starts, n)
        ends[document + 1] = n
    return n


@nb.njit(cache=True, nogil=True)
def _hash_sequences(hashes, offsets, out):
    for document in range(len(offsets) - 1):
        low, high = np.uint64(0), np.uint64(0)
        for i in range(offsets[document], offsets[document + 1]):
            low = fold_product(low ^ hashes[i] ^ np.uint64(_KEY_LOW), np.uint64(_KEY_HIGH))
            high = fold_product(high ^ hashes[i] ^ np.uint64(_KEY_HIGH), np.uint64(_KEY_LOW) + np.uint64(2))
        out[document, 0], out[document, 1] = low, high
