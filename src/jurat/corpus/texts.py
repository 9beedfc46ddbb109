"""The texts behind a scan's rows: a uniform sample kept aside, and any others read again from where they came.

Each shard keeps the documents with the least priorities, a hash of their id. Cut at the least of the shards' last priorities,
the union is a uniform sample of the whole corpus, the same for any number of shards.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from jurat.corpus.files import InputFile, find_files
from jurat.corpus.scan_spec import read_unit, spec_of
from jurat.corpus.shards import ShardFolder
from jurat.errors import DataError

__all__ = ["Sample", "SampleKeeper", "input_files", "priority", "read_texts", "sample_of", "texts_of"]

_BUFFER = 1 << 20
"""Bytes of a file read at a time: left alone, the reader fetches whole columns."""

_SCHEMA = pa.schema(
    [
        ("doc_id", pa.string()),
        ("row", pa.int64()),
        ("source", pa.string()),
        ("priority", pa.uint64()),
        ("text", pa.string()),
    ]
)
_MOST_BYTES = 64 << 10
"""A sampled text is cut here, at a character: the sample is for measuring, and one book must not fill it."""


def priority(doc_id: str) -> int:
    """Place of a document in the random order that samples follow: 64 bits that depend on its id alone."""
    return int.from_bytes(hashlib.blake2b(doc_id.encode(), digest_size=8, person=b"jurat-sample").digest(), "little")


@dataclass(slots=True)
class SampleKeeper:
    """Keeps the documents of one shard with the least priorities.

    Parameters
    ----------
    size
        How many.
    """

    size: int
    _heap: list[tuple[int, int, str, str, str]] = field(default_factory=list)
    _rows: int = 0

    def watch(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Let batches through and keep what belongs to the sample."""
        for batch in batches:
            self._look(batch)
            yield batch

    def _look(self, batch: pa.RecordBatch) -> None:
        ids, status = batch["doc_id"].to_pylist(), batch["status"].to_pylist()
        for place, (doc_id, state) in enumerate(zip(ids, status, strict=True)):
            if state != "read":
                continue
            rank = priority(doc_id)
            if len(self._heap) < self.size or rank < -self._heap[0][0]:
                text = _cut(batch["text"][place].as_py())
                entry = (-rank, self._rows + place, doc_id, batch["source"][place].as_py(), text)
                (heapq.heappush if len(self._heap) < self.size else heapq.heapreplace)(self._heap, entry)
        self._rows += len(batch)

    def table(self) -> pa.Table:
        """The kept documents in order of priority; rows count within the shard."""
        entries = sorted(self._heap, reverse=True)
        return pa.table(
            {
                "doc_id": [e[2] for e in entries],
                "row": [e[1] for e in entries],
                "source": [e[3] for e in entries],
                "priority": pa.array([-e[0] for e in entries], pa.uint64()),
                "text": [e[4] for e in entries],
            },
            schema=_SCHEMA,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A uniform sample of the documents that were read.

    Attributes
    ----------
    rows
        Row of each in the scan, int64.
    doc_id, source, text
        What they are; long texts are cut.
    probability
        With which each document of the corpus is in it.
    """

    rows: NDArray[np.int64]
    doc_id: list[str]
    source: list[str]
    text: list[str]
    probability: float

    def __len__(self) -> int:
        return len(self.rows)


def sample_of(folder: ShardFolder, *, most: int | None = None) -> Sample:
    """The sample that a scan kept.

    Parameters
    ----------
    folder
        A finished scan.
    most
        Largest sample wanted; the documents with the least priorities.

    Raises
    ------
    DataError
        Where the scan kept none.
    """
    manifest = folder.manifest()
    size = int(manifest["spec"]["sample"])
    paths = [folder.path / "samples" / record["name"] for record in manifest["shards"]]
    if not all(path.is_file() for path in paths):
        raise DataError("the scan kept no sample", seen=str(folder.path), next_step="scan again with --sample 2000")
    ranked = [pq.read_table(path, columns=["priority"])["priority"].to_numpy() for path in paths]
    limits = [int(ranks[-1]) for ranks in ranked if len(ranks) >= size]
    limit = min(limits, default=1 << 64)
    ranks = np.sort(np.concatenate(ranked)) if ranked else np.zeros(0, np.uint64)
    keep = len(ranks) if not limits else int(np.searchsorted(ranks, np.uint64(limit), side="right"))
    if most is not None and most < keep:
        keep, limit = most, int(ranks[most - 1])
    last = ranks[keep - 1] if keep else np.uint64(0)
    tables, first = [], 0
    for path, record in zip(paths, manifest["shards"], strict=True):
        # Shards keep their documents in order of priority: those within the limit come first, and no more is read.
        for batch in pq.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER).iter_batches(256, use_threads=False):
            within = int(np.searchsorted(batch["priority"].to_numpy(), last, side="right")) if keep else 0
            table = pa.table(batch.slice(0, within))
            tables.append(table.set_column(1, "row", pa.array(table["row"].to_numpy() + first)))
            if within < len(batch):
                break
        first += int(record["rows"])
    pa.default_memory_pool().release_unused()
    every = pa.concat_tables(tables).sort_by("priority").slice(0, keep) if tables else _SCHEMA.empty_table()
    return Sample(
        rows=every["row"].to_numpy().astype(np.int64),
        doc_id=every["doc_id"].to_pylist(),
        source=every["source"].to_pylist(),
        text=every["text"].to_pylist(),
        probability=min(1.0, limit / 2**64),
    )


def texts_of(folder: ShardFolder, rows: Iterable[int]) -> dict[int, str]:
    """Read documents again from the files they came from.

    Parameters
    ----------
    folder
        A finished scan.
    rows
        Rows of the documents wanted; those that were quarantined have no text.

    Returns
    -------
    dict
        Row to text.

    Raises
    ------
    DataError
        Where an input is gone or has changed since.
    """
    return dict(read_texts(folder, rows))


def read_texts(folder: ShardFolder, rows: Iterable[int]) -> Iterator[tuple[int, str]]:
    """The same one after the other, in the order of the rows, holding one batch at a time.

    Parameters
    ----------
    folder
        A finished scan.
    rows
        Rows of the documents wanted.

    Yields
    ------
    int, str
        Row and text.

    Raises
    ------
    DataError
        Where an input is gone or has changed since.
    """
    wanted = np.unique(np.fromiter(rows, np.int64))
    units, spec, first = input_files(folder), spec_of(folder), 0
    for record in folder.manifest()["shards"]:
        last = first + int(record["rows"])
        here = wanted[(wanted >= first) & (wanted < last)]
        if len(here):
            place = first
            for batch in read_unit([units[i["path"]] for i in record["inputs"]], spec):
                for row in here[(here >= place) & (here < place + len(batch))]:
                    text = batch["text"][int(row - place)].as_py()
                    if text is not None:
                        yield int(row), text
                place += len(batch)
                if place > here[-1]:
                    break
        # What was unpacked to find a few documents would stay with the allocator.
        pa.default_memory_pool().release_unused()
        first = last


def input_files(folder: ShardFolder) -> dict[str, InputFile]:
    """The files of a scan by name, checked to be those that were read.

    Raises
    ------
    DataError
        Where one is gone or has another size.
    """
    path = folder.path / "inputs.json"
    if not path.is_file():
        raise DataError("the scan does not say where its inputs are", seen=str(path), next_step="scan again")
    files = {file.name: file for file in find_files([Path(p) for p in json.loads(path.read_bytes())])}
    for record in folder.manifest()["shards"]:
        for known in record["inputs"]:
            file = files.get(known["path"])
            if file is None or file.size != known["size"]:
                raise DataError(
                    "an input of the scan is gone or has changed", seen=known["path"],
                    next_step="bring it back, or scan again",
                )  # fmt: skip
    return files


def _cut(text: str) -> str:
    raw = text.encode()
    return text if len(raw) <= _MOST_BYTES else raw[:_MOST_BYTES].decode("utf-8", "ignore")
