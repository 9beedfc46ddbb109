"""Documents of files as Arrow batches, each with its provenance, whatever the files hold.

Memory is bounded by the batch and the largest document that is allowed. What cannot be used keeps a row of its own with the
reason, so that read and quarantined always add up to what was met.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

import pyarrow as pa

from jurat.corpus.extraction import extractor
from jurat.corpus.formats import ReadOptions, Record, host_of, read_records
from jurat.corpus.inputs import InputFile

__all__ = ["DOCUMENTS", "QUARANTINED", "READ", "read_documents", "with_extractor"]

READ, QUARANTINED = "read", "quarantined"

DOCUMENTS = pa.schema(
    [
        ("doc_id", pa.string()),
        ("text", pa.large_string()),
        ("source", pa.string()),
        ("url", pa.string()),
        ("crawled", pa.string()),
        ("licence", pa.string()),
        ("file", pa.string()),
        ("record", pa.int64()),
        ("offset", pa.int64()),
        ("sha256", pa.string()),
        ("n_bytes", pa.int64()),
        ("status", pa.string()),
        ("reason", pa.string()),
    ]
)
"""A document and where it comes from."""


def read_documents(
    files: Iterable[InputFile], options: ReadOptions | None = None, *, batch_bytes: int = 16 << 20
) -> Iterator[pa.RecordBatch]:
    """Read files as batches of documents.

    Parameters
    ----------
    files
        What to read, in order.
    options
        Fields, limits, extractor; pages need `with_extractor`.
    batch_bytes
        A batch is closed once its texts have as many bytes.

    Yields
    ------
    RecordBatch
        With the schema `DOCUMENTS`. ``doc_id`` is ``file#record`` unless an id field is named; ``sha256`` is that of the
        text. Text of quarantined documents is null, its digest is kept where the bytes were had.

    Examples
    --------
    >>> import json, tempfile
    >>> from pathlib import Path
    >>> from jurat.corpus.inputs import list_inputs
    >>> path = Path(tempfile.mkdtemp()) / "web.jsonl"
    >>> _ = path.write_text("\\n".join(json.dumps({"text": t}) for t in ("one two", "", "three")))
    >>> batch = next(read_documents(list_inputs([path]).files))
    >>> batch["doc_id"].to_pylist(), batch["reason"].to_pylist()
    (['web.jsonl#0', 'web.jsonl#1', 'web.jsonl#2'], [None, 'empty', None])
    """
    options = options or ReadOptions()
    rows: list[tuple[object, ...]] = []
    size = 0
    for file in files:
        for number, record in enumerate(read_records(file, options)):
            rows.append(_row(file, number, record, options))
            size += len(record.text or b"") + 200
            if size >= batch_bytes:
                yield _batch(rows)
                rows, size = [], 0
    if rows:
        yield _batch(rows)


def with_extractor(options: ReadOptions, files: Iterable[InputFile], name: str = "resiliparse") -> ReadOptions:
    """Give options the extractor that pages among the files need, and none where there are no pages.

    Raises
    ------
    MissingExtra
        Where pages are to be read and the extractor's package is not installed.
    """
    if not any(file.kind in ("html", "warc") for file in files):
        return options
    return ReadOptions(
        text_field=options.text_field, id_field=options.id_field, source=options.source, limits=options.limits,
        extract=extractor(name),
    )  # fmt: skip


def _row(file: InputFile, number: int, record: Record, options: ReadOptions) -> tuple[object, ...]:
    raw = record.text
    reason = record.reason or _fault(raw)
    parent = PurePosixPath(file.name).parts[0] if "/" in file.name else PurePosixPath(file.name).name.split(".")[0]
    return (
        record.given_id or f"{file.name}#{number}",
        None if reason else raw,
        options.source or record.source or host_of(record.url) or parent,
        record.url,
        record.crawled,
        record.licence,
        file.name,
        number,
        record.offset,
        None if raw is None else hashlib.sha256(raw).hexdigest(),
        None if raw is None else len(raw),
        QUARANTINED if reason else READ,
        reason,
    )


def _fault(raw: bytes | None) -> str | None:
    """Why a text cannot be used, or ``None``."""
    if raw is None:
        return "no text"
    if not raw.strip():
        return "empty"
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"not UTF-8 at byte {error.start}"
    place = raw.find(b"\0")
    return f"NUL at byte {place}" if place >= 0 else None


def _batch(rows: list[tuple[object, ...]]) -> pa.RecordBatch:
    columns = list(zip(*rows, strict=True))
    arrays = [
        pa.array(column, pa.large_binary()).cast(pa.large_string())
        if spec.name == "text"
        else pa.array(column, spec.type)
        for spec, column in zip(DOCUMENTS, columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=DOCUMENTS)
