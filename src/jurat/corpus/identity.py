"""Identities that stand in more than one file, which readers of single files cannot see."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

__all__ = ["repeated_ids"]


def repeated_ids(documents: pa.Table | Iterable[pa.RecordBatch]) -> pa.Table:
    """Find identities that more than one document has.

    Parameters
    ----------
    documents
        Rows with ``doc_id``, ``file`` and ``record``; other columns are not touched.

    Returns
    -------
    Table
        Columns ``doc_id``, ``documents`` (how many have it), ``file`` and ``record`` (of the first one), in order of
        ``doc_id``; no row where all differ.

    Examples
    --------
    >>> table = pa.table({"doc_id": ["a", "b", "a"], "file": ["x", "x", "y"], "record": [1, 2, 1]})
    >>> repeated_ids(table).to_pylist()
    [{'doc_id': 'a', 'documents': 2, 'file': 'x', 'record': 1}]
    """
    names = ["doc_id", "file", "record"]
    if not isinstance(documents, pa.Table):
        schema = pa.schema([("doc_id", pa.string()), ("file", pa.string()), ("record", pa.int64())])
        documents = pa.Table.from_batches([batch.select(names).cast(schema) for batch in documents], schema)
    counts = documents.select(names).group_by("doc_id", use_threads=False)
    found = counts.aggregate([("doc_id", "count"), ("file", "first"), ("record", "first")])
    found = found.filter(pa.compute.greater(found["doc_id_count"], 1)).sort_by("doc_id")
    return found.select(["doc_id", "doc_id_count", "file_first", "record_first"]).rename_columns(
        ["doc_id", "documents", "file", "record"]
    )
