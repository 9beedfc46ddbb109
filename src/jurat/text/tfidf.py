"""Which terms tell documents apart? Counts of terms and TF-IDF, straight from the bytes.

The definition is scikit-learn's default: lower case, terms of two or more word characters (``(?u)\\b\\w\\w+\\b``), smooth
inverse document frequency, rows of unit length. A kernel folds, cuts and numbers the terms in one pass; each character's
class and lower case come from the running Python, as they do there, so that results agree on any text.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral

import numba as nb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from jurat.text.column import TextColumn
from jurat.text.simd import fold_product
from jurat.text.words import _decode, _encode

__all__ = ["TermCounts", "TfIdf", "count_terms", "tfidf", "weigh"]

Texts = TextColumn | pa.Array | pa.ChunkedArray | Iterable[str | bytes | None]

_WORD = 1 << 24
_POINT = 0x1FFFFF
_KEY = 0x9E3779B97F4A7C15


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
        kept = np.array([word not in stopped for word in _slices(content, word_ends, None)], np.bool_)
        tokens, offsets = _without(tokens, offsets, kept)
    grams, gram_offsets, levels = _number_grams(tokens, offsets, len(word_ends) - 1, least, most)
    n_terms = sum(size for size, _, _ in levels[least - 1 :])
    indptr, indices, counts = _count(grams, gram_offsets, n_terms)
    frequency, total = _totals(indices, counts, n_terms)
    kept = np.flatnonzero((frequency > 0) & (frequency >= low) & (frequency <= high))
    if len(kept) == 0:
        raise ValueError(_why_nothing(n_terms, n, low, high))
    names = _names(words.tobytes(), word_ends, levels, least, kept)
    order = sorted(range(len(kept)), key=names.__getitem__)
    if max_features is not None and max_features < len(order):
        by_total = np.argsort(-total[kept[order]], kind="stable")[:max_features]
        order = [order[i] for i in np.sort(by_total)]
    chosen = kept[order]
    column_of = np.full(n_terms, -1, np.int64)
    column_of[chosen] = np.arange(len(chosen))
    data, places, rows = _choose(indptr, indices, counts, column_of, frequency[chosen])
    matrix = sparse.csr_matrix((data, places, rows), (n, len(chosen)))
    matrix.has_sorted_indices = True
    terms = tuple(names[i].decode("utf-8", "surrogatepass") for i in order)
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
    special = _special(column.data, column.offsets)
    if not special.any():
        return column
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
    tokens = np.empty(column.n_bytes // 3 + len(column) + 1, np.int32)
    offsets = np.zeros(len(column) + 1, np.int64)
    n, words, ends = _cut(column.data, column.offsets, _fold_table(), tokens, offsets)
    return tokens[:n], offsets, words, ends


Level = tuple[int, NDArray[np.int32], NDArray[np.int32]]


def _number_grams(
    tokens: NDArray[np.int32], offsets: NDArray[np.int64], n_words: int, least: int, most: int
) -> tuple[NDArray[np.int32], NDArray[np.int64], list[Level]]:
    """Terms of all documents as numbers from 0, and for each length how many there are, their beginning and last word."""
    levels: list[Level] = [(n_words, np.empty(0, np.int32), np.empty(0, np.int32))]
    numbers, rows = [tokens], [offsets]
    for _ in range(1, most):
        following, ends, heads, tails = _extend(numbers[-1], rows[-1], tokens, offsets)
        levels.append((len(heads), heads, tails))
        numbers.append(following)
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


def _slices(content: bytes, ends: NDArray[np.int64], chosen: NDArray[np.int64] | None) -> list[bytes]:
    starts, stops = (ends[:-1], ends[1:]) if chosen is None else (ends[chosen], ends[chosen + 1])
    return [content[a:b] for a, b in zip(starts.tolist(), stops.tolist(), strict=True)]


def _names(
    content: bytes, ends: NDArray[np.int64], levels: list[Level], least: int, kept: NDArray[np.int64]
) -> list[bytes]:
    """The kept terms in UTF-8, whose order is that of code points."""
    found: list[bytes] = []
    base = 0
    for length in range(least, len(levels) + 1):
        size = levels[length - 1][0]
        ids = kept[(kept >= base) & (kept < base + size)] - base
        base += size
        tails = []
        for _, heads, last in reversed(levels[1:length]):
            tails.append(_slices(content, ends, last[ids].astype(np.int64)))
            ids = heads[ids].astype(np.int64)
        parts = [_slices(content, ends, ids), *reversed(tails)]
        found += parts[0] if length == 1 else [b" ".join(words) for words in zip(*parts, strict=True)]
    return found


@nb.njit(cache=True, nogil=True)
def _special(data, offsets):
    """Which documents hold a capital sigma or a dotted capital I."""
    out = np.zeros(len(offsets) - 1, np.bool_)
    for document in range(len(offsets) - 1):
        for i in range(offsets[document] + 1, offsets[document + 1]):
            if (data[i] == 0xA3 and data[i - 1] == 0xCE) or (data[i] == 0xB0 and data[i - 1] == 0xC4):
                out[document] = True
                break
    return out


@nb.njit(cache=True, nogil=True)
def _grown(values, room):
    out = np.empty(room, values.dtype)
    out[: len(values)] = values
    return out


@nb.njit(cache=True, nogil=True)
def _rehashed(hashes, count, room):
    """A table of numbers from 1, 0 where empty, open addressing."""
    slots = np.zeros(room, np.int32)
    for number in range(count):
        at = hashes[number] & np.uint64(room - 1)
        while slots[at]:
            at = (at + np.uint64(1)) & np.uint64(room - 1)
        slots[at] = number + 1
    return slots


@nb.njit(cache=True, nogil=True)
def _cut(data, offsets, table, tokens, token_offsets):
    """Cut documents into words in lower case and number the distinct ones.

    The word in the making stands at the end of the store of distinct words: a new one just stays there. Words are compared
    by their bytes, hashes only lead to them.
    """
    ascii_table = table[:128].astype(np.uint32)
    store = np.empty(1 << 16, np.uint8)
    ends = np.zeros(1 << 12, np.int64)
    hashes = np.empty(1 << 12, np.uint64)
    slots = np.zeros(1 << 13, np.int32)
    count, n = 0, 0
    for document in range(len(offsets) - 1):
        place, stop = offsets[document], offsets[document + 1]
        while place < stop:
            begin = ends[count]
            size, characters = begin, 0
            code = np.uint64(_KEY)
            while place < stop:
                byte = data[place]
                length = 1
                if byte < 0x80:
                    entry = ascii_table[byte]
                else:
                    point, length = _decode(data, place, stop)
                    entry = table[point] if point >= 0 else np.uint32(0)
                place += length
                if entry < np.uint32(_WORD):
                    break
                if size + 4 > len(store):
                    store = _grown(store, 2 * len(store))
                if entry < np.uint32(_WORD + 0x80):
                    store[size] = entry & np.uint32(0xFF)
                    size += 1
                else:
                    size = _encode(np.int64(entry & np.uint32(_POINT)), store, size)
                code = (code ^ np.uint64(entry)) * np.uint64(0x9FB21C651E98DF25)
                code ^= code >> np.uint64(32)
                characters += 1
            if characters < 2:
                continue
            mask = np.uint64(len(slots) - 1)
            at = code & mask
            number = -1
            while slots[at]:
                other = slots[at] - 1
                if hashes[other] == code and ends[other + 1] - ends[other] == size - begin:
                    same = True
                    for i in range(size - begin):
                        if store[ends[other] + i] != store[begin + i]:
                            same = False
                            break
                    if same:
                        number = other
                        break
                at = (at + np.uint64(1)) & mask
            if number < 0:
                number = count
                slots[at] = count + 1
                hashes[count] = code
                count += 1
                ends[count] = size
                if count + 1 == len(hashes):
                    hashes, ends = _grown(hashes, 2 * count + 2), _grown(ends, 2 * count + 2)
                if 2 * count > len(slots):
                    slots = _rehashed(hashes, count, 4 * len(slots))
            tokens[n] = number
            n += 1
        token_offsets[document + 1] = n
    return n, store[: ends[count]].copy(), ends[: count + 1].copy()


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
def _extend(numbers, rows, tokens, offsets):
    """Number the terms one word longer: the number of their beginning and their last word are the key, without loss."""
    room = 1 << 13
    keys = np.empty(room // 2 + 1, np.uint64)
    hashes = np.empty(room // 2 + 1, np.uint64)
    slots = np.zeros(room, np.int32)
    out = np.empty(len(numbers), np.int32)
    ends = np.zeros(len(rows), np.int64)
    count, n = 0, 0
    for document in range(len(rows) - 1):
        size = rows[document + 1] - rows[document]
        # The last term has no word behind it; term i ends where the document's word i + its length - 1 stands.
        longer = offsets[document + 1] - offsets[document] - size + 1
        for i in range(size - 1):
            head = numbers[rows[document] + i]
            tail = tokens[offsets[document] + i + longer]
            key = (np.uint64(head) << np.uint64(32)) | np.uint64(tail)
            code = fold_product(key ^ np.uint64(_KEY), np.uint64(0xD6E8FEB86659FD93))
            at = code & np.uint64(len(slots) - 1)
            while slots[at] and keys[slots[at] - 1] != key:
                at = (at + np.uint64(1)) & np.uint64(len(slots) - 1)
            if slots[at] == 0:
                slots[at] = count + 1
                keys[count], hashes[count] = key, code
                count += 1
                if count == len(keys):
                    keys, hashes = _grown(keys, 2 * count), _grown(hashes, 2 * count)
                if 2 * count > len(slots):
                    out[n] = count - 1
                    n += 1
                    slots = _rehashed(hashes, count, 4 * len(slots))
                    continue
            out[n] = slots[at] - 1
            n += 1
        ends[document + 1] = n
    heads = (keys[:count] >> np.uint64(32)).astype(np.int32)
    return out[:n], ends, heads, keys[:count].astype(np.int32)


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
