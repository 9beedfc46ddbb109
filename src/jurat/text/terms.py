"""How often does each term stand in each document?

Terms are words of two or more characters in lower case, or runs of them; the counts are those of scikit-learn's
``CountVectorizer`` on any text, in a sparse matrix.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

import numba as nb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from jurat.text.column import TextColumn
from jurat.text.term_numbers import Level, number_grams, number_words

__all__ = ["TermCounts", "Texts", "count_terms"]

Texts: TypeAlias = TextColumn | pa.Array | pa.ChunkedArray | Iterable[str | bytes | None]


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
    column = texts if isinstance(texts, TextColumn) else TextColumn.of(texts)
    n = len(column)
    low, high = _document_limit("min_df", min_df, n), _document_limit("max_df", max_df, n)
    tokens, offsets, words, word_ends = number_words(column)
    if stopped := {word.encode("utf-8", "surrogatepass") for word in stop_words}:
        content = words.tobytes()
        wanted = np.array([word not in stopped for word in _slices(content, word_ends)], np.bool_)
        tokens, offsets = _without(tokens, offsets, wanted)
    grams, gram_offsets, levels = number_grams(tokens, offsets, len(word_ends) - 1, least, most)
    n_terms = sum(size for size, _, _ in levels[least - 1 :])
    indptr, indices, counts = _count(grams, gram_offsets, n_terms)
    frequency, total = _totals(indices, counts, n_terms)
    kept: NDArray[np.int64] = np.flatnonzero((frequency > 0) & (frequency >= low) & (frequency <= high))
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
    if isinstance(value, int | np.integer):
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
