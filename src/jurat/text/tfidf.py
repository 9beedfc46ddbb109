"""Which terms tell documents apart? TF-IDF, straight from the bytes.

The definition is scikit-learn's default: lower case, terms of two or more word characters (``(?u)\\b\\w\\w+\\b``), smooth
inverse document frequency, rows of unit length; results agree with it on any text.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numba as nb
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from jurat.text.terms import TermCounts, Texts, count_terms

__all__ = ["TfIdf", "tfidf", "weigh"]


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
    [[0.705, 0.0, 0.0, 0.502, 0.502], [0.0, 0.729, 0.364, 0.259, 0.519]]
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
