"""Words and runs of words as numbers: folded, cut and told apart in one pass over the bytes.

The words are those of the pattern ``(?u)\\b\\w\\w+\\b`` in lower case. Each character's class and lower case come from the
running Python, whose ``re`` and ``str.lower`` define them. Up to sixteen bytes are a word's key themselves and longer words
are compared byte by byte, so no two words ever share a number.
"""

from __future__ import annotations

import functools
import re
import sys
from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

from jurat.text.column import TextColumn
from jurat.text.simd import fold_product, load_word
from jurat.text.words import _decode, _encode

__all__ = ["Level", "number_grams", "number_words"]

_WORD = 1 << 24
_POINT = 0x1FFFFF
_KEY_LOW = 0x9E3779B97F4A7C15
_KEY_HIGH = 0xD6E8FEB86659FD93
_UPPER = 0xFFFFFFFF00000000
_LINE = 0x7F
_SLACK = 64
_DOCUMENT, _PLACE, _TOKENS, _COUNT, _SPECIAL = range(5)


@functools.cache
def _fold_table() -> NDArray[np.uint32]:
    """Lower case in the low 21 bits, and whether that is a word character, of every code point in the running Python."""
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    # One character has two in lower case; documents that hold it are lowered by Python beforehand.
    lower = everything.replace("\u0130", "i").lower()
    table = np.frombuffer(lower.encode("utf-32-le", "surrogatepass"), "<u4").copy()
    is_word = np.zeros(sys.maxunicode + 1, np.uint32)
    for run in re.finditer(r"\w+", everything):
        is_word[run.start() : run.end()] = _WORD
    return np.asarray(table | is_word[table])


def _lowered_where_context_matters(column: TextColumn) -> TextColumn:
    """Lower by Python the documents in which a character's lower case is not one character or depends on its neighbours."""
    special = _special(column.data, column.offsets)
    parts = []
    for i in range(len(column)):
        document = column.document(i).tobytes()
        if special[i]:
            text = document.decode("utf-8", "surrogateescape")
            document = text.lower().encode("utf-8", "surrogateescape")
        parts.append(document)
    return TextColumn.of(parts)


def number_words(
    column: TextColumn,
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64]]:
    """Words of all documents as numbers, where each document's begin, and the distinct words' bytes and their ends."""
    data, offsets = _padded(column)
    tokens = np.empty(3 * (len(data) - _SLACK) // 4 + 1, np.int32)
    rows = np.zeros(len(column) + 1, np.int64)
    room = 1 << 12
    store, folded = np.empty(1 << 16, np.uint8), np.zeros(1 << 10, np.uint8)
    ends, keys, slots = np.zeros(room + 1, np.int64), np.empty((room, 2), np.uint64), np.zeros(4 * room, np.uint64)
    state = np.zeros(5, np.int64)
    tables = (_byte_classes(), _fold_table())
    while True:
        # The kernel comes back where a run may not fit; arrays that never change inside cost it no reference counts.
        size = _cut(data, offsets, tables, state, tokens, rows, folded, slots, keys, store, ends)
        count = int(state[_COUNT])
        if size == 0:
            break
        if state[_SPECIAL]:
            state[_SPECIAL] = 0
            data, offsets = _padded(_lowered_where_context_matters(column))
        if len(folded) < 2 * size + _SLACK:
            folded = np.zeros(4 * size + _SLACK, np.uint8)
        if len(store) < ends[count] + 2 * size:
            store = _grown(store, 2 * len(store) + 2 * size)
        if len(keys) < count + size:
            ends, keys = _grown(ends, 2 * len(keys) + size + 1), _grown(keys, 2 * len(keys) + size)
            slots = _rehashed(keys, count, 1 << (2 * len(keys)).bit_length())
    words = store[: ends[count]]
    words[words == _LINE] = ord("_")
    return tokens[: state[_TOKENS]], rows, words, ends[: count + 1]


def _padded(column: TextColumn) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """A copy of the bytes with readable ones behind them."""
    first, last = int(column.offsets[0]), int(column.offsets[-1])
    data = np.zeros(last - first + _SLACK, np.uint8)
    data[: last - first] = column.data[first:last]
    return data, column.offsets - first


def _grown(values: NDArray[np.generic], room: int) -> NDArray[Any]:
    out = np.empty((room, *values.shape[1:]), values.dtype)
    out[: len(values)] = values
    return out


@functools.cache
def _byte_classes() -> NDArray[np.uint8]:
    """Whether a byte may belong to a word: ASCII letters, digits, the underscore, and all that is not ASCII."""
    classes = (_fold_table()[:256] >= _WORD).astype(np.uint8)
    classes[128:] = 1
    return classes


Level = tuple[int, NDArray[np.int32], NDArray[np.int32]]


def number_grams(
    tokens: NDArray[np.int32], offsets: NDArray[np.int64], n_words: int, least: int, most: int
) -> tuple[NDArray[np.int32], NDArray[np.int64], list[Level]]:
    """Terms of all documents as numbers from 0, and for each length how many there are, their beginning and last word."""
    levels: list[Level] = [(n_words, np.empty(0, np.int32), np.empty(0, np.int32))]
    numbers, rows = [tokens], [offsets]
    for _ in range(1, most):
        out, ends, state = np.empty(len(numbers[-1]), np.int32), np.zeros(len(offsets), np.int64), np.zeros(4, np.int64)
        keys, slots = np.empty((1 << 12, 2), np.uint64), np.zeros(1 << 13, np.uint64)
        while not _extend(numbers[-1], rows[-1], tokens, offsets, state, out, ends, slots, keys):
            keys = _grown(keys, 2 * len(keys) + int(state[_PLACE]))
            slots = _rehashed(keys, state[_COUNT], 1 << (2 * len(keys)).bit_length())
        count = int(state[_COUNT])
        levels.append((count, keys[:count, 0].astype(np.int32), keys[:count, 1].astype(np.int32)))
        numbers.append(out[: state[_TOKENS]])
        rows.append(ends)
    if least == most:
        return numbers[-1], rows[-1], levels
    documents, shifted, base = [], [], 0
    for (size, _, _), ids, ends in zip(levels[least - 1 :], numbers[least - 1 :], rows[least - 1 :], strict=True):
        documents.append(np.repeat(np.arange(len(ends) - 1, dtype=np.int32), np.diff(ends)))
        shifted.append(ids + np.int32(base))
        base += size
    order = np.argsort(np.concatenate(documents), kind="stable")
    total = np.sum([np.diff(ends) for ends in rows[least - 1 :]], axis=0)
    return np.concatenate(shifted)[order], np.concatenate([[0], np.cumsum(total)]).astype(np.int64), levels


@nb.njit(cache=True, nogil=True)
def _special(data, offsets):
    """Which documents hold a capital sigma or a dotted capital I."""
    out = np.zeros(len(offsets) - 1, np.bool_)
    for document in range(len(offsets) - 1):
        hits = np.uint8(0)
        # Without a way out in between, eight and more bytes are looked at together.
        for i in range(offsets[document] + 1, offsets[document + 1]):
            hits |= (data[i] == 0xA3) & (data[i - 1] == 0xCE)
            hits |= (data[i] == 0xB0) & (data[i - 1] == 0xC4)
        out[document] = hits > 0
    return out


@nb.njit(cache=True, nogil=True)
def _rehashed(keys, count, room):
    """A table of open addressing: number from 1 in the lower half, part of the hash in the upper; 0 where empty."""
    slots = np.zeros(room, np.uint64)
    mask = np.uint64(room - 1)
    for number in range(count):
        code = fold_product(keys[number, 0] ^ np.uint64(_KEY_LOW), keys[number, 1] ^ np.uint64(_KEY_HIGH))
        at = code & mask
        while slots[at]:
            at = (at + np.uint64(1)) & mask
        slots[at] = (code & np.uint64(_UPPER)) | np.uint64(number + 1)
    return slots


@nb.njit(cache=True, nogil=True)
def _number(low, high, size, folded, slots, keys, store, ends, count):
    """Number of a word; that of the next new one, ``count``, where it is new, and it is entered then.

    Up to 16 bytes are the key themselves. Of a longer word the key is a hash, and the bytes in ``folded`` decide.
    """
    code = fold_product(low ^ np.uint64(_KEY_LOW), high ^ np.uint64(_KEY_HIGH))
    mask = np.uint64(len(slots) - 1)
    at = code & mask
    while slots[at]:
        if (slots[at] ^ code) & np.uint64(_UPPER) == 0:
            other = np.int64(slots[at] & np.uint64(0xFFFFFFFF)) - 1
            if keys[other, 0] == low and keys[other, 1] == high and ends[other + 1] - ends[other] == size:
                same = True
                if size > 16:
                    for i in range(size):
                        same &= store[ends[other] + i] == folded[i]
                if same:
                    return other
        at = (at + np.uint64(1)) & mask
    slots[at] = (code & np.uint64(_UPPER)) | np.uint64(count + 1)
    keys[count, 0], keys[count, 1] = low, high
    begin = ends[count]
    ends[count + 1] = begin + size
    if size > 16:
        store[begin : begin + size] = folded[:size]
    else:
        for i in range(size):
            part = low if i < 8 else high
            store[begin + i] = (part >> np.uint64(8 * (i & 7))) & np.uint64(0xFF)
    return count


@nb.njit(cache=True, nogil=True)
def _key(data, start, size):
    """Key of a word's bytes; reads up to 16 bytes behind it."""
    low, high = load_word(data, start), np.uint64(0)
    if size < 8:
        low &= (np.uint64(1) << np.uint64(8 * size)) - np.uint64(1)
    elif size > 8:
        high = load_word(data, start + 8)
        if size < 16:
            high &= (np.uint64(1) << np.uint64(8 * (size - 8))) - np.uint64(1)
    if size > 16:
        for i in range(16, size):
            low = (low ^ np.uint64(data[start + i])) * np.uint64(_KEY_LOW)
            high ^= low >> np.uint64(29)
    return low, high


@nb.njit(cache=True, nogil=True)
def _cut_run(data, start, stop, table, state, folded, tokens, n, slots, keys, store, ends, count):
    """Cut a run that holds more than ASCII, or a long one, character by character; returns tokens and words so far."""
    place, size, characters = start, 0, 0
    while place <= stop:
        entry, length = np.uint32(0), 1
        if place < stop:
            point, length = _decode(data, place, stop)
            if point >= 0:
                entry = table[point]
                state[_SPECIAL] |= point == 0x3A3 or point == 0x130
        place += length
        if entry >= np.uint32(_WORD):
            point = np.int64(entry & np.uint32(_POINT))
            size = _encode(np.int64(_LINE) if point == 0x5F else point, folded, size)
            characters += 1
            continue
        if characters > 1:
            low, high = _key(folded, 0, size)
            tokens[n] = _number(low, high, size, folded, slots, keys, store, ends, count)
            count += tokens[n] == count
            n += 1
        size = characters = 0
    return n, count


@nb.njit(cache=True, nogil=True)
def _cut(data, offsets, tables, state, tokens, rows, folded, slots, keys, store, ends):
    """Cut documents into words in lower case and number the distinct ones; reads up to 16 bytes behind the last.

    Returns 0 when done, or the size of a run of bytes: there may be no room for it, or the state says that it is special. The
    state also says where to go on.

    The bit that tells upper from lower case is set in digits anyway; in the underscore it gives the delete character, which
    is in no word and is read as an underscore afterwards.
    """
    classes, table = tables
    lower = np.uint64(0x2020202020202020)
    place, n, count = state[_PLACE], state[_TOKENS], state[_COUNT]
    room = min(len(keys), len(slots) // 2)
    for document in range(state[_DOCUMENT], len(offsets) - 1):
        place, stop = max(place, offsets[document]), offsets[document + 1]
        while place < stop:
            if classes[data[place]] == 0:
                place += 1
                continue
            begin, seen = place, np.uint8(0)
            while place < stop and classes[data[place]]:
                seen |= data[place]
                place += 1
            size = place - begin
            if count + size > room or ends[count] + 2 * size > len(store) or 2 * size + 64 > len(folded):
                state[:4] = document, begin, n, count
                return size
            if seen >= 0x80 or size > 16:
                n, count = _cut_run(
                    data, begin, place, table, state, folded, tokens, n, slots, keys, store, ends, count
                )
                if state[_SPECIAL]:
                    # Once more from the start of the document, lowered; words that go unused by that stand in no document.
                    state[:4] = document, 0, rows[document], count
                    return size
            elif size > 1:
                low, high = load_word(data, begin) | lower, np.uint64(0)
                if size < 8:
                    low &= (np.uint64(1) << np.uint64(8 * size)) - np.uint64(1)
                elif size > 8:
                    high = load_word(data, begin + 8) | lower
                    if size < 16:
                        high &= (np.uint64(1) << np.uint64(8 * (size - 8))) - np.uint64(1)
                tokens[n] = _number(low, high, size, folded, slots, keys, store, ends, count)
                count += tokens[n] == count
                n += 1
        rows[document + 1] = n
    state[:4] = len(offsets) - 1, place, n, count
    return 0


@nb.njit(cache=True, nogil=True)
def _extend(numbers, starts, tokens, offsets, state, out, rows, slots, keys):
    """Number the terms one word longer: the number of their beginning and their last word are the key, without loss.

    Returns whether it is done; else the table is full, and the state says at which document to go on.
    """
    n, count = state[_TOKENS], state[_COUNT]
    mask = np.uint64(len(slots) - 1)
    for document in range(state[_DOCUMENT], len(starts) - 1):
        size = starts[document + 1] - starts[document]
        if count + size > len(keys):
            state[:] = document, size, n, count
            return False
        # The term that begins with word i ends with word i + longer.
        longer = offsets[document + 1] - offsets[document] - size + 1
        for i in range(size - 1):
            head = np.uint64(numbers[starts[document] + i])
            tail = np.uint64(tokens[offsets[document] + i + longer])
            code = fold_product(head ^ np.uint64(_KEY_LOW), tail ^ np.uint64(_KEY_HIGH))
            at = code & mask
            number = count
            while slots[at]:
                other = np.int64(slots[at] & np.uint64(0xFFFFFFFF)) - 1
                if keys[other, 0] == head and keys[other, 1] == tail:
                    number = other
                    break
                at = (at + np.uint64(1)) & mask
            if number == count:
                slots[at] = (code & np.uint64(_UPPER)) | np.uint64(count + 1)
                keys[count, 0], keys[count, 1] = head, tail
                count += 1
            out[n] = number
            n += 1
        rows[document + 1] = n
    state[:] = len(starts) - 1, 0, n, count
    return True
