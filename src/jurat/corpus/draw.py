"""Drawing documents from a scan: in proportion, equally, preferring long ones, or a nested share of all."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jurat.corpus.dedup_run import write_table
from jurat.corpus.sample import Draw, draw_balanced, draw_by_hash, draw_stratified
from jurat.corpus.shards import ShardFolder
from jurat.errors import UnknownName, UsageError

__all__ = ["CategoryLine", "Drawn", "draw_documents"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryLine:
    """One category: documents there are, drawn, and short of what was asked for."""

    name: str
    available: int
    drawn: int
    missing: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """What was drawn.

    Attributes
    ----------
    categories
        In order of name.
    n_available, n_drawn
        Documents.
    table
        ``doc_id``, category and inclusion probability of each document drawn.
    """

    categories: list[CategoryLine]
    n_available: int
    n_drawn: int
    table: pa.Table

    def document(self) -> dict[str, Any]:
        """The allocation as plain values."""
        return {
            "categories": [asdict(line) for line in self.categories],
            "n_available": self.n_available,
            "n_drawn": self.n_drawn,
        }


def draw_documents(
    folder: ShardFolder,
    *,
    size: int | None = None,
    share: float | None = None,
    by: str = "source",
    allocation: Literal["proportional", "equal", "long"] = "proportional",
    seed: int = 0,
    out: Path | None = None,
) -> Drawn:
    """Draw documents of a scan.

    Parameters
    ----------
    folder
        A finished scan.
    size, share
        How many documents, or which share of them by hashed id; one of the two.
    by
        Column of categories.
    allocation
        See `jurat.corpus.sample`; ``long`` prefers documents with many words.
    seed
        Of the draw.
    out
        File for the table.

    Raises
    ------
    UsageError
        Where both or neither of size and share are given, or more is asked for than there is.
    UnknownName
        Where the scan has no such column.
    """
    if (size is None) == (share is None):
        raise UsageError("give either a size or a share", seen=f"size={size}, share={share}", next_step="pass --size N")
    columns = pq.read_schema(folder.files()[0]).names
    if by not in columns:
        raise UnknownName("column", by, [c for c in columns if not c.startswith("band_")])
    table = folder.column(*dict.fromkeys(["doc_id", "status", "n_words", by]))
    table = table.filter(pc.equal(table["status"], "read"))
    categories = [str(value) for value in table[by].to_pylist()]
    try:
        drawn = _draw(table, categories, size, share, allocation, seed)
    except ValueError as error:
        raise UsageError(str(error), next_step="ask for less, or for another allocation") from error
    chosen = table.take(pa.array(drawn.units))
    picked = [categories[unit] for unit in drawn.units]
    result = pa.table({"doc_id": chosen["doc_id"], "category": picked, "probability": drawn.probabilities})
    if out is not None:
        write_table(out, result, folder)
    missing = drawn.allocation.missing if drawn.allocation else {}
    names, there = np.unique(np.array(categories, dtype=object).astype(str), return_counts=True)
    lines = [
        CategoryLine(name=str(n), available=int(a), drawn=picked.count(str(n)), missing=missing.get(str(n), 0))
        for n, a in zip(names, there, strict=True)
    ]
    return Drawn(categories=lines, n_available=len(table), n_drawn=len(result), table=result)


def _draw(
    table: pa.Table, categories: list[str], size: int | None, share: float | None, allocation: str, seed: int
) -> Draw:
    if size is None:
        return draw_by_hash(table["doc_id"].to_pylist(), share or 0.0, seed=seed)
    rng = np.random.default_rng(seed)
    if allocation == "long":
        return draw_balanced(categories, np.maximum(table["n_words"].to_numpy(), 1), size, rng)
    return draw_stratified(categories, size, rng, allocation=allocation)
