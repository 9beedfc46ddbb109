"""Which terms mark a group of documents? The top terms by TF-IDF, each with how sure its lead is.

A ranking always has a top, in noise too. So each term comes with the difference of its document frequency, in the group
against the rest, and an interval wide enough for having been picked among all terms.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jurat.stats.compare import difference_of_proportions
from jurat.stats.interval import proportion
from jurat.stats.result import Interval
from jurat.text.column import TextColumn
from jurat.text.terms import count_terms
from jurat.text.tfidf import TfIdf, weigh

__all__ = ["Keyword", "keywords"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyword:
    """A term and how it marks its group.

    Attributes
    ----------
    group
        The group; ``None`` where all documents are one.
    term
        The term.
    weight
        Mean TF-IDF weight in the group, less that in the rest; without groups, the mean weight.
    documents, group_documents
        Documents of the group with the term, and in all.
    rest, rest_documents
        The same of all other documents.
    share
        Share of the group's documents with the term (Wilson).
    difference
        That share less the rest's (Newcombe); ``None`` without groups.
    """

    group: str | None
    term: str
    weight: float
    documents: int
    group_documents: int
    rest: int
    rest_documents: int
    share: Interval
    difference: Interval | None


def keywords(
    texts: TextColumn | Iterable[str | None],
    groups: Sequence[str | None] | None = None,
    *,
    top: int = 20,
    level: float = 0.95,
    ngram_range: tuple[int, int] = (1, 1),
    min_df: float = 2,
    max_df: float = 1.0,
    stop_words: Iterable[str] = (),
) -> tuple[Keyword, ...]:
    """Find the terms that mark each group against the rest.

    Parameters
    ----------
    texts
        Documents.
    groups
        Group of each document, of the same length; ``None`` for one that belongs to no group and counts to the rest of
        each. Without groups, the terms of greatest mean weight in all documents.
    top
        Terms per group, at least 1.
    level
        Coverage of all intervals together: each has the level :math:`1 - (1 - level)/m`, with :math:`m` the number of terms
        times that of groups (Bonferroni).
    ngram_range, min_df, max_df, stop_words
        As for `jurat.text.terms.count_terms`.

    Returns
    -------
    tuple of Keyword
        Group by group in order of their names, the strongest term first. Only terms that weigh more in the group than in
        the rest are listed, so a group may have fewer than ``top``.

    Raises
    ------
    ValueError
        Where lengths differ, there is one group and nothing beside it, ``top`` is below 1, or no term is left.

    Notes
    -----
    Documents are taken to be independent; near duplicates make the intervals too narrow, so remove those first.

    References
    ----------
    Newcombe, R. G. (1998). Interval estimation for the difference between independent proportions. Statistics in Medicine
    17, 873–890.

    Examples
    --------
    >>> texts = ["refund my order", "order never came, refund", "reset my password", "password lost, reset it"] * 20
    >>> found = keywords(texts, ["shop", "shop", "login", "login"] * 20, top=1)
    >>> [(k.group, k.term, k.documents, k.rest) for k in found]
    [('login', 'password', 40, 0), ('shop', 'order', 40, 0)]
    >>> print(found[1].difference)
    1 [0.7415, 1] 0.9972 n=80 Newcombe
    """
    if top < 1:
        raise ValueError(f"top must be at least 1, got {top!r}")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie in (0, 1), got {level!r}")
    column = texts if isinstance(texts, TextColumn) else TextColumn.of(texts)
    n = len(column)
    names = [None] if groups is None else sorted({group for group in groups if group is not None})
    if groups is not None and len(groups) != n:
        raise ValueError(f"each document needs its group, got {len(groups)} groups for {n} documents")
    counts = count_terms(column, ngram_range=ngram_range, min_df=min_df, max_df=max_df, stop_words=stop_words)
    weights = weigh(counts)
    each = 1 - (1 - level) / (len(weights.terms) * max(len(names), 1))
    found: list[Keyword] = []
    for name in names:
        inside = np.ones(n, np.bool_) if groups is None else np.array([group == name for group in groups], np.bool_)
        if groups is not None and inside.all():
            raise ValueError(f"a group is set against the rest, and there is none: every document is in {name!r}")
        found += _top_terms(weights, inside, name, top, each)
    return tuple(found)


def _top_terms(weights: TfIdf, inside: NDArray[np.bool_], name: str | None, top: int, level: float) -> list[Keyword]:
    n, size = len(inside), int(inside.sum())
    total = np.asarray(weights.matrix.sum(axis=0)).ravel()
    own = weights.matrix.T @ inside.astype(np.float64)
    lead = own / size - ((total - own) / (n - size) if n > size else 0.0)
    present = weights.matrix[inside]
    documents = np.bincount(present.indices, minlength=len(weights.terms))
    # Rounded, so that terms alike in all documents keep their order whatever order their sums were taken in.
    order = np.argsort(-np.round(lead, 12), kind="stable")[:top]
    found = []
    for i in order[lead[order] > 0].tolist():
        with_term, elsewhere = int(documents[i]), int(weights.document_frequency[i] - documents[i])
        found.append(
            Keyword(
                group=name,
                term=weights.terms[i],
                weight=float(lead[i]),
                documents=with_term,
                group_documents=size,
                rest=elsewhere,
                rest_documents=n - size,
                share=proportion(with_term, size, level=level),
                difference=None
                if name is None
                else difference_of_proportions(with_term, size, elsewhere, n - size, level=level),
            )
        )
    return found
