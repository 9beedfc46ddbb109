"""Repetition inside a document: lines, paragraphs and word n-grams that come again.

N-grams are counted level by level: an n-gram can only repeat where both (n − 1)-grams it is made of repeat, so natural
text is left with few candidates after word pairs, and the levels up to ten cost little. Pairs that can repeat are sifted out by
a small table of bytes first. Equality is that of 64-bit hashes.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from jurat.text.simd import LEAF, fold_product, load_word

__all__ = ["fold_bytes", "fold_short", "repeated_lines", "repeated_n_grams", "repeated_paragraphs"]

_FIRST_KEY = np.uint64(0xA0761D6478BD642F)
_SECOND_KEY = np.uint64(0xE7037ED1A0B428DB)
_LENGTH_KEY = np.uint64(0x8EBC6AF09C88C6E3)
_ONE, _EIGHT = np.uint64(1), np.uint64(8)


@nb.njit(**LEAF)
def fold_bytes(data, start, stop):
    """Hash bytes ``[start, stop)``; reads up to 16 bytes behind ``stop``."""
    result = np.uint64(stop - start) * _LENGTH_KEY
    place = start
    while place < stop:
        left = stop - place
        low, high = load_word(data, place), np.uint64(0)
        if left < 8:
            low &= (_ONE << np.uint64(8 * left)) - _ONE
        elif left > 8:
            high = load_word(data, place + 8)
            if left < 16:
                high &= (_ONE << np.uint64(8 * (left - 8))) - _ONE
        result = fold_product(low ^ _FIRST_KEY ^ result, high ^ _SECOND_KEY)
        place += 16
    return result


@nb.njit(inline="always", **LEAF)
def fold_short(low, size):
    """Hash at most eight bytes, given as a number, as `fold_bytes` does."""
    return fold_product(low ^ _FIRST_KEY ^ (np.uint64(size) * _LENGTH_KEY), _SECOND_KEY)


@nb.njit(**LEAF)
def _slot(keys, marks, mark, mask, key):
    """Where ``key`` stands in the table of this ``mark``, or the free place for it (then ``marks`` differs)."""
    place = np.int64(key) & mask
    while marks[place] == mark and keys[place] != key:
        place = (place + 1) & mask
    return place


@nb.njit(**LEAF)
def _mask(count):
    size = 16
    while size < 2 * count:
        size *= 2
    return size - 1


@nb.njit(**LEAF)
def repeated_lines(hashes, filled, lengths, count, table, mark):
    """How many of ``count`` lines stood before, their characters, and those of lines that hold more than whitespace."""
    keys, marks = table[0], table[1]
    mask = _mask(count)
    repeats = characters = filled_characters = 0
    for i in range(count):
        place = _slot(keys, marks, mark, mask, hashes[i])
        if marks[place] == mark:
            repeats += 1
            characters += lengths[i]
            if filled[i]:
                filled_characters += lengths[i]
        else:
            marks[place], keys[place] = mark, hashes[i]
    return repeats, characters, filled_characters


@nb.njit(**LEAF)
def repeated_paragraphs(data, begin, end, breaks, line_characters, count, table, mark):
    """Paragraphs of the text ``[begin, end)``, those that stood before, and the characters of these.

    ``breaks[:count]`` are the places of line feeds, ``line_characters[i]`` the characters before ``breaks[i]`` (and last,
    at ``count`` and ``count + 1``, those before ``begin`` and ``end``). Two line feeds in a row part paragraphs.
    """
    keys, marks = table[0], table[1]
    mask = _mask(count + 1)
    paragraphs = repeats = characters = 0
    start, before = begin, line_characters[count]
    i = 0
    while True:
        while i < count and breaks[i] < start:
            i += 1
        while i < count and breaks[i] < end and not (i + 1 < count and breaks[i + 1] == breaks[i] + 1):
            i += 1
        is_last = i >= count or breaks[i] >= end
        stop, after = (end, line_characters[count + 1]) if is_last else (breaks[i], line_characters[i])
        key = fold_bytes(data, start, stop)
        place = _slot(keys, marks, mark, mask, key)
        paragraphs += 1
        if marks[place] == mark:
            repeats += 1
            characters += after - before
        else:
            marks[place], keys[place] = mark, key
        if is_last:
            return paragraphs, repeats, characters
        while i + 1 < count and breaks[i + 1] == breaks[i] + 1:
            i += 1
        start, before = breaks[i] + 1, line_characters[i] + 1
        i += 1


@nb.njit(**LEAF)
def _sift_pairs(words, n, seen, slots):
    """Write the places of word pairs that may come again; returns how many."""
    places, keys = slots[0], slots[1]
    mask = 2 * _mask(n) + 1
    seen[: mask + 1] = 0
    for i in range(n - 1):
        place = np.int64(fold_product(words[i] ^ _FIRST_KEY, words[i + 1] ^ _SECOND_KEY) & np.uint64(mask))
        keys[i] = place
        seen[place] = 1 + (seen[place] > 0)
    count = 0
    for i in range(n - 1):
        places[count] = i
        count += seen[keys[i]] > 1
    return count


# A table holds a key and, beside it, the number of its n-gram (31 bits), whether it was met again (1 bit), its first place.
_MET = np.uint64(1 << 31)
_NUMBER = np.uint64((1 << 31) - 1)
_PLACE = np.uint64(32)


@nb.njit(**LEAF)
def _count(size, words, candidates, n, table, firsts, slots):
    """Count candidates of one level; returns the place and number of the most frequent (the earliest of equals).

    ``firsts`` holds for each place its (n − 1)-gram's first place (for pairs: nothing).
    """
    mask = _mask(candidates)
    table[: 2 * mask + 2] = 0
    places, owner = slots[0], slots[1]
    for c in range(candidates):
        i = places[c]
        left = words[i] if size == 2 else np.uint64(firsts[i])
        key = fold_product(left ^ _FIRST_KEY, words[i + size - 1] ^ _SECOND_KEY) | _ONE
        place = np.int64(key >> np.uint64(1)) & mask
        while table[2 * place] != key and table[2 * place] != 0:
            place = (place + 1) & mask
        if table[2 * place] == 0:
            table[2 * place], table[2 * place + 1] = key, np.uint64(i) << _PLACE
        table[2 * place + 1] += _ONE
        owner[c] = 2 * place + 1
    best, most = n, np.uint64(0)
    for c in range(candidates):
        number = table[owner[c]] & _NUMBER
        if number > most:
            best, most = places[c], number
    return best, np.int64(most)


@nb.njit(**LEAF)
def _covered(size, ends, candidates, table, slots):
    """Characters of n-grams that stood before; what one such covers is not looked at again."""
    places, owner = slots[0], slots[1]
    free = characters = 0
    for c in range(candidates):
        i = places[c]
        if i < free:
            continue
        if table[owner[c]] & _MET:
            characters += ends[i + size] - ends[i]
            free = i + size
        else:
            table[owner[c]] |= _MET
    return characters


@nb.njit(**LEAF)
def _survivors(size, n, candidates, table, firsts, slots):
    """Keep the places whose n-gram, and the one a word later, come more than once; returns how many."""
    places, owner = slots[0], slots[1]
    kept = 0
    for c in range(candidates):
        entry, i = table[owner[c]], places[c]
        firsts[i] = np.int64(entry >> _PLACE)
        places[kept] = i
        kept += (entry & _NUMBER) > _ONE
    pairs = 0
    for c in range(kept - 1):
        i = places[c]
        places[pairs] = i
        pairs += places[c + 1] == i + 1 and i + size < n
    return pairs


@nb.njit(**LEAF)
def repeated_n_grams(words, ends, n, scratch, out):
    """Write characters of the top 2-, 3-, 4-gram and of repeated 5- to 10-grams to ``out[0:9]``.

    ``words`` are the hashes of ``n`` words, ``ends[i]`` the characters of the first ``i`` words.
    """
    seen, table, firsts, slots = scratch
    candidates = _sift_pairs(words, n, seen, slots) if n > 1 else 0
    for size in range(2, 11):
        if n < size:
            return
        best, most = 0, 0
        if candidates > 0:
            best, most = _count(size, words, candidates, n, table, firsts, slots)
        if size < 5:
            if most < 2:
                best, most = 0, 1
            out[size - 2] = most * (ends[best + size] - ends[best] + size - 1)
        elif candidates > 0:
            out[size - 2] = _covered(size, ends, candidates, table, slots)
        if candidates > 0:
            candidates = _survivors(size, n, candidates, table, firsts, slots)
