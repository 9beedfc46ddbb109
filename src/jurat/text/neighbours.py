"""From bands to duplicates: candidates verified one by one, joined, and removed only beside a document that stays.

Sharing a band makes two documents candidates, not duplicates: each candidate is compared with the leaders of its bucket by
signature, and only what agrees becomes an edge. Edges are joined into clusters; inside a cluster a document is removed only
if it resembles a kept document directly, so a chain of small steps cannot carry away what is at its far end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba as nb
import numpy as np
from numpy.typing import NDArray

__all__ = ["Edges", "agreement_needed", "clusters_of", "cover_clusters", "verified_edges"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Edges:
    """Verified pairs of one band.

    Attributes
    ----------
    left, right
        Rows of the pair, int64; ``left`` is the leader that ``right`` was compared with.
    n_candidates
        Comparisons made.
    n_capped
        Documents that no comparison was made for because their bucket had too many leaders.
    """

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    n_candidates: int
    n_capped: int


def agreement_needed(similarity: float, numbers: int) -> int:
    """How many of the 8-bit numbers must agree for an estimated similarity.

    Parameters
    ----------
    similarity
        The least Jaccard similarity that is taken as alike, between 0 and 1.
    numbers
        Numbers in a signature.

    Notes
    -----
    Unequal minima agree in eight bits once in 256: the expected share is ``J + (1 - J)/256``.

    Examples
    --------
    >>> agreement_needed(0.75, 128), agreement_needed(1.0, 128)
    (97, 128)
    """
    if not 0 < similarity <= 1:
        raise ValueError(f"a similarity lies above 0 and up to 1, not {similarity}")
    return int(np.ceil(numbers * (similarity + (1 - similarity) / 256) - 1e-9))


def verified_edges(
    keys: NDArray[np.uint64], rows: NDArray[np.int64], signatures: NDArray[np.uint8], needed: int, *, leaders: int = 64
) -> Edges:
    """Compare the documents of each bucket of one band.

    Parameters
    ----------
    keys
        Band key of each document, uint64.
    rows
        Row of each document, int64: its place in ``signatures``.
    signatures
        Eight-bit signatures of all documents, uint8, shape ``(n, numbers)``.
    needed
        Numbers that must agree.
    leaders
        Most leaders a bucket may have; a document that is unlike all of them is counted as capped.

    Returns
    -------
    Edges
        Ordered by key and row: independent of the order in which documents come in.
    """
    order = np.lexsort((rows, keys))
    out = np.empty((2, len(keys)), np.int64)
    n, candidates, capped = _compare(keys[order], rows[order], signatures, needed, leaders, out)
    return Edges(left=out[0, :n].copy(), right=out[1, :n].copy(), n_candidates=int(candidates), n_capped=int(capped))


def clusters_of(left: NDArray[np.int64], right: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Join pairs into clusters.

    Parameters
    ----------
    left, right
        Rows of each pair, int64.

    Returns
    -------
    rows : ndarray
        Rows that occur in a pair, ascending.
    cluster : ndarray
        The least row of each one's cluster.

    Examples
    --------
    >>> [a.tolist() for a in clusters_of(np.array([5, 9, 2]), np.array([7, 5, 3]))]
    [[2, 3, 5, 7, 9], [2, 2, 5, 5, 5]]
    """
    rows = np.unique(np.concatenate([left, right])).astype(np.int64)
    parents = _join(np.searchsorted(rows, left), np.searchsorted(rows, right), len(rows))
    return rows, rows[parents]


def cover_clusters(
    rows: NDArray[np.int64], cluster: NDArray[np.int64], signatures: NDArray[np.uint8], needed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose who stays: walking through a cluster in order, a document goes if one that stays is like it.

    Parameters
    ----------
    rows
        Documents in order of preference within their cluster, int64.
    cluster
        Cluster of each, int64.
    signatures
        Eight-bit signatures of all documents.
    needed
        Numbers that must agree.

    Returns
    -------
    kept_by : ndarray
        The document that stays for each one; itself where it stays.
    agreement
        Numbers in which the two agree.
    """
    order = np.argsort(cluster, kind="stable")
    kept_by, agreement = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
    kept, agreed = _cover(rows[order], cluster[order], signatures, needed)
    kept_by[order], agreement[order] = kept, agreed
    return kept_by, agreement


@nb.njit(cache=True, nogil=True)
def _agree(left, right):
    count = np.uint32(0)
    for i in range(len(left)):
        count += np.uint32(left[i] == right[i])
    return np.int64(count)


@nb.njit(cache=True, nogil=True)
def _compare(keys, rows, signatures, needed, leaders, out):
    heads = np.empty(leaders, np.int64)
    n, candidates, capped = 0, 0, 0
    first = 0
    while first < len(keys):
        last = first + 1
        while last < len(keys) and keys[last] == keys[first]:
            last += 1
        count = 0
        for i in range(first, last if last - first > 1 else first):
            row, found = rows[i], False
            for head in range(count):
                candidates += 1
                if _agree(signatures[row], signatures[heads[head]]) >= needed:
                    out[0, n], out[1, n] = heads[head], row
                    n, found = n + 1, True
                    break
            if not found:
                if count < leaders:
                    heads[count] = row
                    count += 1
                else:
                    capped += 1
        first = last
    return n, candidates, capped


@nb.njit(cache=True, nogil=True)
def _join(left, right, n):
    parent = np.arange(n)
    for i in range(len(left)):
        a, b = left[i], right[i]
        while parent[a] != a:
            parent[a] = parent[parent[a]]
            a = parent[a]
        while parent[b] != b:
            parent[b] = parent[parent[b]]
            b = parent[b]
        # The least row is the root, whatever order the pairs come in.
        if a < b:
            parent[b] = a
        else:
            parent[a] = b
    for i in range(n):
        parent[i] = parent[parent[i]]
    return parent


@nb.njit(cache=True, nogil=True)
def _cover(rows, cluster, signatures, needed):
    kept_by, agreement = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
    heads = np.empty(len(rows), np.int64)
    first = 0
    while first < len(rows):
        last, count = first, 0
        while last < len(rows) and cluster[last] == cluster[first]:
            row = rows[last]
            kept_by[last], agreement[last] = row, signatures.shape[1]
            for head in range(count):
                alike = _agree(signatures[row], signatures[heads[head]])
                if alike >= needed:
                    kept_by[last], agreement[last] = heads[head], alike
                    break
            if kept_by[last] == row:
                heads[count] = row
                count += 1
            last += 1
        first = last
    return kept_by, agreement
