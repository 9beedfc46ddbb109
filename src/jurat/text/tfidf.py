"""Which terms tell documents apart? Counts of terms and TF-IDF, straight from the bytes.

The definition is scikit-learn's default: lower case, terms of two or more word characters (``(?u)\\b\\w\\w+\\b``), smooth
inverse document frequency, rows of unit length. A kernel folds, cuts and numbers the terms in one pass; each character's
class and lower case come from the running Python, as they do there, so that results agree on any text.
"""

from __future__ import annotations

import functools
import itertools
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numba as nb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from jurat.text.column import TextColumn
from jurat.text.simd import fold_product, load_word
from jurat.text.words import _decode, _encode

__all__ = ["TermCounts", "TfIdf", "count_terms", "tfidf", "weigh"]

Texts = TextColumn | pa.Array | pa.ChunkedArray | Iterable[str | bytes | None]

_WORD = 1 << 24
_POINT = 0x1FFFFF
_KEY_LOW = 0x9E3779B97F4A7C15
_KEY_HIGH = 0xD6E8FEB86659FD93
_UPPER = 0xFFFFFFFF00000000
_LINE = 0x7F
_SLACK = 64
_DOCUMENT, _PLACE, _TOKENS, _COUNT = range(4)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TermCounts:
    """How often each term stands in each document.

    Attributes
    ----------
    matrix
        Counts, CSR, float64, shape ``(documents, terms)``; indices sorted. A null document has an empty row.
    terms
        The terms, in order of their code points; the words of an n-gram are joined by a blank.
    document_frequency
        In how many documents each term stands, int64, shape ``(terms,)``.
    """

    matrix: sparse.csr_matrix
    terms: tuple[str, ...]
    document_frequency: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TfIdf:
    """Weights of terms in documents.

    Attributes
    ----------
    matrix
        Weights, CSR, float64, shape ``(documents, terms)``; rows have length 1, or are empty.
    terms, document_frequency
        As in `TermCounts`.
    idf
        Inverse document frequency, float64, shape ``(terms,)``.
    """

    matrix: sparse.csr_matrix
    terms: tuple[str, ...]
    document_frequency: NDArray[np.int64]
    idf: NDArray[np.float64]


def tfidf(
    texts: Texts,
    *,
    ngram_range: tuple[int, int] = (1, 1),
    min_df: float = 1,
    max_df: float = 1.0,
    max_features: int | None = None,
    stop_words: Iterable[str] = (),
) -> TfIdf:
    """Weigh the terms of documents by how often they stand there and how few others have them.

    Parameters
    ----------
    texts, ngram_range, min_df, max_df, max_features, stop_words
        As for `count_terms`.

    Returns
    -------
    TfIdf

    Raises
    ------
    ValueError
        As `count_terms`.

    Notes
    -----
    With :math:`n` documents, :math:`f_t` of which hold term :math:`t`, and counts :math:`c_{dt}`:
    :math:`w_{dt} = c_{dt} \\left(\\ln\\frac{1 + n}{1 + f_t} + 1\\right)`, each row then divided by its Euclidean length.

    References
    ----------
    Salton, G. and Buckley, C. (1988). Term-weighting approaches in automatic text retrieval. Information Processing and
    Management 24, 513–523. The variant is that of scikit-learn's ``TfidfVectorizer``.

    Examples
    --------
    >>> found = tfidf(["The cat sat.", "The dog sat, the dog ran."])
    >>> found.terms
    ('cat', 'dog', 'ran', 'sat', 'the')
    >>> found.matrix.toarray().round(3).tolist()
    [[0.704, 0.0, 0.0, 0.502, 0.502], [0.0, 0.785, 0.393, 0.279, 0.392], ...
    """
    counts = count_terms(
        texts,
        ngram_range=ngram_range,
        min_df=min_df,
        max_df=max_df,
        max_features=max_features,
        stop_words=stop_words,
    )
    return weigh(counts)


def weigh(counts: TermCounts) -> TfIdf:
    """Turn counts of terms into TF-IDF weights; see `tfidf`.

    Parameters
    ----------
    counts
        Counts of terms; they are left as they are.

    Returns
    -------
    TfIdf

    Examples
    --------
    >>> weigh(count_terms(["yes yes", "no"])).idf.round(4).tolist()
    [1.4055, 1.4055]
    """
    n = counts.matrix.shape[0]
    idf = np.log((1 + n) / (1 + counts.document_frequency)) + 1
    weights = np.empty(counts.matrix.nnz, np.float64)
    _weigh(counts.matrix.data, counts.matrix.indices, counts.matrix.indptr, idf, weights)
    matrix = sparse.csr_matrix((weights, counts.matrix.indices, counts.matrix.indptr), counts.matrix.shape)
    matrix.has_sorted_indices = True
    return TfIdf(matrix=matrix, terms=counts.terms, document_frequency=counts.document_frequency, idf=idf)


def count_terms(
    texts: Texts,
    *,
    ngram_range: tuple[int, int] = (1, 1),
    min_df: float = 1,
    max_df: float = 1.0,
    max_features: int | None = None,
    stop_words: Iterable[str] = (),
) -> TermCounts:
    """Count the terms of each document.

    Parameters
    ----------
    texts
        Documents: a `TextColumn`, an Arrow column, or an iterable of str or UTF-8 bytes; ``None`` has no terms but counts as
        a document. Bytes that are not UTF-8 separate terms.
    ngram_range
        Least and most words of a term.
    min_df, max_df
        Documents that a term must stand in at least, may stand in at most: a count if a whole number, else a share.
    max_features
        Keep only so many of the terms that are most frequent in all; of equally frequent ones, the first in order.
    stop_words
        Words to leave out, in lower case; n-grams close over the gap.

    Returns
    -------
    TermCounts

    Raises
    ------
    ValueError
        For an impossible option, and where no term is left.

    Notes
    -----
    Lower case is Python's ``str.lower``, the final sigma and the dotted capital I included; a word character is one that
    ``\\w`` matches (``str.isalnum`` or an underscore).

    Examples
    --------
    >>> counts = count_terms(["to be or not to be", "be not afraid"], ngram_range=(1, 2), min_df=2)
    >>> counts.terms, counts.matrix.toarray().tolist()
    (('be', 'not'), [[2.0, 1.0], [1.0, 1.0]])
    """
    least, most = ngram_range
    if not 1 <= least <= most:
        raise ValueError(f"ngram_range must hold 1 <= least <= most, got {ngram_range!r}")
    if max_features is not None and max_features < 1:
        raise ValueError(f"max_features must be at least 1, got {max_features!r}")
    column = _lowered_where_context_matters(texts if isinstance(texts, TextColumn) else TextColumn.of(texts))
    n = len(column)
    low, high = _document_limit("min_df", min_df, n), _document_limit("max_df", max_df, n)
    tokens, offsets, words, word_ends = _number_words(column)
    if stopped := {word.encode("utf-8", "surrogatepass") for word in stop_words}:
        content = words.tobytes()
        kept = np.array([word not in stopped for word in _slices(content, word_ends)], np.bool_)
        tokens, offsets = _without(tokens, offsets, kept)
    grams, gram_offsets, levels = _number_grams(tokens, offsets, len(word_ends) - 1, least, most)
    n_terms = sum(size for size, _, _ in levels[least - 1 :])
    indptr, indices, counts = _count(grams, gram_offsets, n_terms)
    frequency, total = _totals(indices, counts, n_terms)
    kept = np.flatnonzero((frequency > 0) & (frequency >= low) & (frequency <= high))
    if len(kept) == 0:
        raise ValueError(_why_nothing(n_terms, n, low, high))
    columns = _word_columns(levels, least, kept)
    spelled, ranks = _in_order(words.tobytes(), word_ends, columns)
    # A blank comes before every word character, so n-grams stand in the order of their words.
    order = np.lexsort(ranks[columns].T[::-1])
    if max_features is not None and max_features < len(order):
        by_total = np.argsort(-total[kept[order]], kind="stable")[:max_features]
        order = order[np.sort(by_total)]
    chosen = kept[order]
    column_of = np.full(n_terms, -1, np.int64)
    column_of[chosen] = np.arange(len(chosen))
    data, places, rows = _choose(indptr, indices, counts, column_of, frequency[chosen])
    matrix = sparse.csr_matrix((data, places, rows), (n, len(chosen)))
    matrix.has_sorted_indices = True
    terms = _spell(spelled, ranks[columns[order]])
    return TermCounts(matrix=matrix, terms=terms, document_frequency=frequency[chosen])


def _document_limit(name: str, value: float, n: int) -> float:
    if isinstance(value, Integral):
        if value < 0:
            raise ValueError(f"{name} as a count must be at least 0, got {value!r}")
        return int(value)
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} must be a whole number or a share in [0, 1], got {value!r}")
    return value * n


def _why_nothing(n_terms: int, n: int, low: float, high: float) -> str:
    if n_terms == 0:
        return f"no term in {n} documents: a term has two or more letters, digits or underscores and is no stop word"
    return f"none of {n_terms} terms is left: it must stand in {low:g} to {high:g} of {n} documents (min_df, max_df)"


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
    content = column.data[column.offsets[0] : column.offsets[-1]].tobytes()
    if not any(character.encode() in content for character in "\u03a3\u0130"):
        return column
    special = _special(column.data, column.offsets)
    parts = []
    for i in range(len(column)):
        document = column.document(i).tobytes()
        if special[i]:
            text = document.decode("utf-8", "surrogateescape")
            document = text.lower().encode("utf-8", "surrogateescape")
        parts.append(document)
    return TextColumn.of(parts)


def _number_words(
    column: TextColumn,
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64]]:
    """Words of all documents as numbers, where each document's begin, and the distinct words' bytes and their ends."""
    first, last = int(column.offsets[0]), int(column.offsets[-1])
    data = np.zeros(last - first + _SLACK, np.uint8)
    data[: last - first] = column.data[first:last]
    tokens = np.empty((last - first) // 2 + 1, np.int32)
    rows = np.zeros(len(column) + 1, np.int64)
    room = 1 << 12
    store, folded = np.empty(1 << 16, np.uint8), np.zeros(1 << 10, np.uint8)
    ends, keys, slots = np.zeros(room + 1, np.int64), np.empty((room, 2), np.uint64), np.zeros(4 * room, np.uint64)
    state = np.zeros(4, np.int64)
    tables = (_byte_classes(), _fold_table())
    while True:
        # The kernel comes back where a run may not fit; arrays that never change inside cost it no reference counts.
        size = _cut(data, column.offsets - first, tables, state, tokens, rows, folded, slots, keys, store, ends)
        count = int(state[_COUNT])
        if size == 0:
            break
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


def _number_grams(
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


def _slices(content: bytes, ends: NDArray[np.int64]) -> list[bytes]:
    return [content[a:b] for a, b in itertools.pairwise(ends.tolist())]


def _word_columns(levels: list[Level], least: int, kept: NDArray[np.int64]) -> NDArray[np.int64]:
    """Words of the kept terms, shape ``(terms, most)``, -1 behind the last."""
    columns = np.full((len(kept), len(levels)), -1, np.int64)
    base = 0
    for length in range(least, len(levels) + 1):
        size = levels[length - 1][0]
        here = slice(*np.searchsorted(kept, [base, base + size]))
        ids = kept[here] - base
        base += size
        for place in range(length - 1, 0, -1):
            _, heads, tails = levels[place]
            columns[here, place] = tails[ids]
            ids = heads[ids].astype(np.int64)
        columns[here, 0] = ids
    return columns


def _in_order(
    content: bytes, ends: NDArray[np.int64], columns: NDArray[np.int64]
) -> tuple[list[str], NDArray[np.int64]]:
    """The words that stand in the columns, in order, and the rank of each word's number; -1 has rank -1."""
    used = np.zeros(len(ends), np.bool_)
    used[columns.ravel()] = True
    numbers = np.flatnonzero(used[:-1])
    spelled = [content[a:b].decode() for a, b in zip(ends[numbers].tolist(), ends[numbers + 1].tolist(), strict=True)]
    order = sorted(range(len(spelled)), key=spelled.__getitem__)
    ranks = np.full(len(ends), -1, np.int64)
    ranks[numbers[order]] = np.arange(len(numbers))
    return [spelled[i] for i in order], ranks


def _spell(spelled: list[str], ranks: NDArray[np.int64]) -> tuple[str, ...]:
    if ranks.shape[1] == 1:
        return tuple(map(spelled.__getitem__, ranks[:, 0].tolist()))
    parts = [*spelled, ""]
    joined = zip(*([parts[i] for i in column] for column in ranks.T.tolist()), strict=True)
    return tuple(" ".join(words).rstrip() for words in joined)


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
def _cut_run(data, start, stop, table, folded, tokens, n, slots, keys, store, ends, count):
    """Cut a run that holds more than ASCII, or a long one, character by character; returns tokens and words so far."""
    place, size, characters = start, 0, 0
    while place <= stop:
        entry, length = np.uint32(0), 1
        if place < stop:
            point, length = _decode(data, place, stop)
            if point >= 0:
                entry = table[point]
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

    Returns 0 when done, or the size of a run of bytes that there may be no room for; the state says where to go on.

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
                state[:] = document, begin, n, count
                return size
            if seen >= 0x80 or size > 16:
                n, count = _cut_run(data, begin, place, table, folded, tokens, n, slots, keys, store, ends, count)
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
    state[:] = len(offsets) - 1, place, n, count
    return 0


@nb.njit(cache=True, nogil=True)
def _without(tokens, offsets, kept):
    out = np.empty(len(tokens), np.int32)
    ends = np.zeros(len(offsets), np.int64)
    n = 0
    for document in range(len(offsets) - 1):
        for i in range(offsets[document], offsets[document + 1]):
            if kept[tokens[i]]:
                out[n] = tokens[i]
                n += 1
        ends[document + 1] = n
    return out[:n], ends


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


@nb.njit(cache=True, nogil=True)
def _count(grams, offsets, n_terms):
    """Distinct terms of each document in order of appearance, and how often each stands there."""
    indices = np.empty(len(grams), np.int32)
    counts = np.empty(len(grams), np.float64)
    indptr = np.zeros(len(offsets), np.int64)
    place = np.full(n_terms, -1, np.int64)
    n = 0
    for document in range(len(offsets) - 1):
        begin = n
        for i in range(offsets[document], offsets[document + 1]):
            term = grams[i]
            if place[term] >= begin:
                counts[place[term]] += 1.0
            else:
                place[term] = n
                indices[n], counts[n] = term, 1.0
                n += 1
        indptr[document + 1] = n
    return indptr, indices[:n], counts[:n]


@nb.njit(cache=True, nogil=True)
def _totals(indices, counts, n_terms):
    frequency = np.zeros(n_terms, np.int64)
    total = np.zeros(n_terms, np.float64)
    for i in range(len(indices)):
        frequency[indices[i]] += 1
        total[indices[i]] += counts[i]
    return frequency, total


@nb.njit(cache=True, nogil=True)
def _choose(indptr, indices, counts, column_of, frequency):
    """Keep the chosen columns, renumbered, sorted within each row: written by column first, then read back by row."""
    n_columns, n_rows = len(frequency), len(indptr) - 1
    pointer = np.zeros(n_columns + 1, np.int64)
    for column in range(n_columns):
        pointer[column + 1] = pointer[column] + frequency[column]
    size = pointer[n_columns]
    rows = np.empty(size, np.int32)
    values = np.empty(size, np.float64)
    ends = np.zeros(n_rows + 1, np.int64)
    for row in range(n_rows):
        for i in range(indptr[row], indptr[row + 1]):
            column = column_of[indices[i]]
            if column >= 0:
                rows[pointer[column]], values[pointer[column]] = row, counts[i]
                pointer[column] += 1
                ends[row + 1] += 1
    for row in range(n_rows):
        ends[row + 1] += ends[row]
    at = ends[:-1].copy()
    out = np.empty(size, np.float64)
    places = np.empty(size, np.int32)
    i = 0
    for column in range(n_columns):
        while i < pointer[column]:
            row = rows[i]
            places[at[row]], out[at[row]] = column, values[i]
            at[row] += 1
            i += 1
    return out, places, ends


@nb.njit(cache=True, nogil=True)
def _weigh(counts, indices, indptr, idf, out):
    for row in range(len(indptr) - 1):
        square = 0.0
        for i in range(indptr[row], indptr[row + 1]):
            out[i] = counts[i] * idf[indices[i]]
            square += out[i] * out[i]
        length = np.sqrt(square)
        for i in range(indptr[row], indptr[row + 1]):
            out[i] /= length
