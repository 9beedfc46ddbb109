"""Duplicates in a scan: exact, up to formatting, and near, each with the document that stays in its place.

Nothing is removed on the word of a shared band: candidates are verified by signature, and a document goes only beside one
that stays and resembles it directly. Memory is the signatures (on disk, mapped) and one partition of one band.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jurat.corpus.features import band_names
from jurat.corpus.shards import ShardFolder
from jurat.errors import DataError
from jurat.text.minhash import MinHashSpec
from jurat.text.neighbours import Edges, agreement_needed, clusters_of, cover_clusters, verified_edges

__all__ = ["DedupSpec", "Duplicates", "find_duplicates"]

_PARTITION_ROWS = 8_000_000
_STAYS, _EXACT, _FORMAT, _NEAR = "stays", "exact", "format", "near"


@dataclass(frozen=True, slots=True, kw_only=True)
class DedupSpec:
    """What counts as a duplicate and who stays.

    Attributes
    ----------
    similarity
        Least estimated Jaccard similarity of word shingles.
    prefer
        Who stays of a group: the ``first`` read, the ``longest``, the ``oldest`` or ``newest`` crawl (documents without a
        date come last).
    leaders
        Most unlike documents that a bucket's members are compared with.
    """

    similarity: float = 0.75
    prefer: Literal["first", "longest", "oldest", "newest"] = "first"
    leaders: int = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicates:
    """Every document's fate, and what it rests on.

    Attributes
    ----------
    fate
        Per document that was read, in order of rows: ``stays``, ``exact`` (same bytes), ``format`` (same words), ``near``.
    kept_by
        Row of the document that stays in its place; its own where it stays.
    agreement
        Share of the signature's numbers in which the two agree, debiased; 1 for exact and format.
    cluster, cluster_size
        Least row of its cluster and the documents in it, the exact ones too.
    rows
        Row of each document.
    n_candidates, n_edges, n_capped
        Comparisons, verified pairs, and documents left uncompared in crowded buckets.
    n_spared
        Documents that a chain of edges led to, but that resemble none that stays: they stay.
    """

    rows: NDArray[np.int64]
    fate: NDArray[np.str_]
    kept_by: NDArray[np.int64]
    agreement: NDArray[np.float64]
    cluster: NDArray[np.int64]
    cluster_size: NDArray[np.int64]
    n_candidates: int
    n_edges: int
    n_capped: int
    n_spared: int

    def table(self, folder: ShardFolder) -> pa.Table:
        """One row a document: its id, fate, who stays for it, how alike they are, and its cluster."""
        ids = folder.column("doc_id")["doc_id"].combine_chunks()
        return pa.table(
            {
                "doc_id": ids.take(pa.array(self.rows)),
                "fate": pa.array(self.fate.tolist()),
                "kept_by": ids.take(pa.array(self.kept_by)),
                "similarity": pa.array(self.agreement),
                "cluster": ids.take(pa.array(self.cluster)),
                "cluster_size": pa.array(self.cluster_size),
            }
        )


@dataclass(slots=True)
class _Tally:
    left: list[NDArray[np.int64]] = field(default_factory=list)
    right: list[NDArray[np.int64]] = field(default_factory=list)
    candidates: int = 0
    capped: int = 0

    def add(self, edges: Edges) -> None:
        self.left.append(edges.left)
        self.right.append(edges.right)
        self.candidates += edges.n_candidates
        self.capped += edges.n_capped

    def pairs(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Distinct pairs over all bands."""
        both = np.unique(np.stack([np.concatenate(self.left), np.concatenate(self.right)]), axis=1)
        return both[0], both[1]


def find_duplicates(
    folder: ShardFolder,
    minhash: MinHashSpec,
    spec: DedupSpec | None = None,
    *,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Duplicates:
    """Find the duplicates of a scan.

    Parameters
    ----------
    folder
        A finished scan.
    minhash
        The specification its signatures were made with.
    spec
        Threshold and preference.
    progress
        Called with bands done and bands in all.

    Returns
    -------
    Duplicates

    Raises
    ------
    DataError
        Where no document of the scan has a word.

    Notes
    -----
    The result depends on the documents and their order alone, not on partitions, threads or the order of shards' bands.
    """
    spec = spec or DedupSpec()
    about = folder.column("status", "n_words", "crawled", "content_hash", "sha256")
    usable = pc.and_(pc.equal(about["status"], "read"), pc.greater(about["n_words"], 0))
    rows = np.flatnonzero(np.asarray(usable.to_numpy(zero_copy_only=False), np.bool_)).astype(np.int64)
    if len(rows) == 0:
        raise DataError(
            "nothing to deduplicate", seen="no document with a word", next_step="look at the scan's reasons"
        )
    about = about.take(pa.array(rows))
    rank = _rank(about, spec.prefer)
    head = _same_words(about["content_hash"], rank)
    fate = np.where(head == np.arange(len(rows)), _STAYS, _FORMAT)
    digests = about["sha256"].combine_chunks()
    same_bytes = np.asarray(pc.equal(digests, digests.take(pa.array(head))).to_numpy(zero_copy_only=False), np.bool_)
    fate = np.where((fate == _FORMAT) & same_bytes, _EXACT, fate)
    alone = np.flatnonzero(fate == _STAYS)
    with TemporaryDirectory(dir=folder.path, prefix=".signatures.") as scratch:
        marks = _signatures(folder, Path(scratch) / "signatures", rows)
        needed = agreement_needed(spec.similarity, marks.shape[1])
        tally = _edges(folder, minhash, rows, alone, marks, needed, spec.leaders, progress)
        left, right = tally.pairs()
        members, cluster = clusters_of(left, right)
        order = np.argsort(rank[members], kind="stable")
        kept, agreed = cover_clusters(members[order], cluster[order], marks, needed)
    return _result(rows, fate, head, members[order], cluster[order], kept, agreed, marks.shape[1], tally, len(left))


def _rank(about: pa.Table, prefer: str) -> NDArray[np.int64]:
    """Place of each document in the order of preference; ties go to the one read first."""
    n = len(about)
    if prefer == "longest":
        order = np.argsort(-about["n_words"].to_numpy(), kind="stable")
    elif prefer in ("oldest", "newest"):
        place = "descending" if prefer == "newest" else "ascending"
        keyed = pa.table({"crawled": about["crawled"], "row": pa.array(np.arange(n))})
        order = pc.sort_indices(keyed, sort_keys=[("crawled", place), ("row", "ascending")]).to_numpy()
    else:
        order = np.arange(n)
    rank = np.empty(n, np.int64)
    rank[order] = np.arange(n)
    return rank


def _same_words(hashes: pa.ChunkedArray, rank: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each document the preferred one with the very same words."""
    pairs = _matrix(hashes, 16).view(np.uint64)
    order = np.lexsort((rank, pairs[:, 1], pairs[:, 0]))
    fresh = np.concatenate([[True], (np.diff(pairs[order].astype(np.uint64), axis=0) != 0).any(axis=1)])
    head = np.empty(len(rank), np.int64)
    head[order] = order[np.flatnonzero(fresh)][np.cumsum(fresh) - 1]
    return head


def _matrix(column: pa.ChunkedArray | pa.Array, width: int) -> NDArray[np.uint8]:
    """Rows of a fixed-size binary column as a matrix of bytes; nulls are zeros."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    parts = []
    for chunk in chunks:
        raw = np.frombuffer(chunk.buffers()[1], np.uint8)[chunk.offset * width : (chunk.offset + len(chunk)) * width]
        parts.append(raw.reshape(-1, width))
    return np.ascontiguousarray(np.concatenate(parts)) if parts else np.empty((0, width), np.uint8)


def _signatures(folder: ShardFolder, path: Path, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Signatures of the usable documents in a mapped file, so that they need no memory of their own."""
    width, out, first = 0, None, 0
    usable = np.zeros(int(rows[-1]) + 1, np.bool_)
    usable[rows] = True
    for batch in folder.batches("signature"):
        column = batch.column(0)
        width = width or column.type.byte_width
        part = _matrix(column, width)
        chosen = usable[first : first + len(part)]
        if out is None:
            out = np.memmap(path, np.uint8, "w+", shape=(len(rows), width))
            place = 0
        keep = part[: len(chosen)][chosen]
        out[place : place + len(keep)] = keep
        place, first = place + len(keep), first + len(part)
    if out is None:
        raise DataError("the scan has no signatures", seen=str(folder.path), next_step="scan again")
    return out


def _edges(
    folder: ShardFolder,
    minhash: MinHashSpec,
    rows: NDArray[np.int64],
    alone: NDArray[np.int64],
    marks: NDArray[np.uint8],
    needed: int,
    leaders: int,
    progress: Callable[[int, int], None],
) -> _Tally:
    """Verified edges of all bands, a partition of a band at a time."""
    tally = _Tally(left=[np.empty(0, np.int64)], right=[np.empty(0, np.int64)])
    partitions = 1 << max(0, int(np.ceil(np.log2(max(1, len(alone) / _PARTITION_ROWS)))))
    names = band_names(minhash)
    for place, name in enumerate(names):
        keys = folder.column(name)[name].combine_chunks().fill_null(0).to_numpy()[rows[alone]]
        part = keys >> np.uint64(64 - partitions.bit_length() + 1) if partitions > 1 else None
        for number in range(partitions):
            chosen = slice(None) if part is None else part == np.uint64(number)
            tally.add(verified_edges(keys[chosen], alone[chosen], marks, needed, leaders=leaders))
        progress(place + 1, len(names))
    return tally


def _result(
    rows: NDArray[np.int64],
    fate: NDArray[np.str_],
    head: NDArray[np.int64],
    members: NDArray[np.int64],
    cluster: NDArray[np.int64],
    kept: NDArray[np.int64],
    agreed: NDArray[np.int64],
    numbers: int,
    tally: _Tally,
    n_edges: int,
) -> Duplicates:
    kept_by, group = np.arange(len(rows)), np.arange(len(rows))
    agreement = np.ones(len(rows))
    kept_by[members], group[members] = kept, cluster
    # Agreement in eight bits happens by chance once in 256: what is shown is the similarity it estimates.
    agreement[members] = (agreed / numbers - 1 / 256) / (1 - 1 / 256)
    fate = fate.copy()
    fate[members[kept != members]] = _NEAR
    same = np.flatnonzero((fate == _EXACT) | (fate == _FORMAT))
    kept_by[same], group[same] = kept_by[head[same]], group[head[same]]
    agreement[same] = np.where(kept_by[same] == head[same], 1.0, agreement[head[same]])
    sizes = np.bincount(group, minlength=len(rows))
    spared = int(np.count_nonzero(kept == members) - len(np.unique(cluster)))
    return Duplicates(
        rows=rows,
        fate=fate,
        kept_by=rows[kept_by],
        agreement=agreement,
        cluster=rows[group],
        cluster_size=sizes[group],
        n_candidates=tally.candidates,
        n_edges=n_edges,
        n_capped=tally.capped,
        n_spared=spared,
    )
