"""Documents from files of many kinds: streamed in record batches, each with where it came from.

Whatever is met is either read or quarantined with its reason, so the two add up. Memory is bounded by the batch, the largest
document allowed and a few blocks; the same inputs give the same rows, in the same order, however they are sharded.
"""

from __future__ import annotations

import codecs
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from jurat.corpus.document import BatchBuilder, Fields, Found, Limits, host_of
from jurat.corpus.extraction import Extractor, ResiliparseExtractor, nesting_depth
from jurat.corpus.files import InputFile, Inputs, find_files
from jurat.corpus.jsonl import read_json, read_json_lines
from jurat.corpus.lines import not_text
from jurat.corpus.tables import read_csv, read_parquet
from jurat.corpus.unpack import DamagedFile, open_packed
from jurat.corpus.warc import read_warc
from jurat.errors import JuratError, UsageError

__all__ = ["Page", "read_documents", "read_pages"]

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Options:
    """How to read; see `read_documents`."""

    batch_bytes: int = 8 << 20
    fields: Fields = field(default_factory=Fields)
    limits: Limits = field(default_factory=Limits)
    must_have_text: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page before its text is extracted.

    Attributes
    ----------
    doc_id
        Identity of the document that is made of it.
    html
        Its bytes.
    url
        Where from, if known.
    encoding
        Character set the server declared.
    """

    doc_id: str
    html: bytes
    url: str | None
    encoding: str | None


def read_documents(
    inputs: Inputs,
    *,
    batch_bytes: int = 8 << 20,
    text_field: str = "text",
    id_field: str | None = None,
    fields: Fields | None = None,
    source: str | None = None,
    licence: str | None = None,
    extractor: Extractor | None = None,
    limits: Limits | None = None,
    missing_text: str = "refuse",
) -> Iterator[pa.RecordBatch]:
    """Read documents from files, folders and patterns.

    Parameters
    ----------
    inputs
        Paths of files or folders, patterns, or what `jurat.corpus.files.partition` dealt out. By suffix: WARC (``.warc``,
        ``.wet``), HTML, JSONL (``.jsonl``, ``.ndjson``, ``.json``), Parquet, CSV (``.csv``, ``.tsv``); every other file is
        one document of plain text if it is UTF-8. All but Parquet may be packed (``.gz``, ``.zst``).
    batch_bytes
        Bytes of text after which a batch is handed on.
    text_field, id_field
        Field of JSON objects, column of tables that holds the text, and the identity if there is one.
    fields
        Names of all fields, in place of the two before.
    source
        Source of all documents; by default the record's own, the host of its URL, or the name of the input folder.
    licence
        Licence of documents that name none.
    extractor
        Makes text of pages; by default `ResiliparseExtractor`.
    limits
        Size of a document, how far files may swell when unpacked, how deep pages may be nested.
    missing_text
        ``"refuse"`` raises where a file of records lacks the text field, ``"quarantine"`` puts its records on record.

    Yields
    ------
    RecordBatch
        Columns of `jurat.corpus.document.DOCUMENT_SCHEMA`. A row that is ``"quarantined"`` has its ``reason``, no text, no
        digest, and in ``n_bytes`` the size of what was met, if known.

    Raises
    ------
    DataError
        Where an input does not exist or holds no file that can be read.
    UnknownName
        Where a file of records lacks the text field.
    MissingExtra
        Where pages are met and the package that extracts their text is not installed.

    Notes
    -----
    ``doc_id`` is ``<file>#<record>``, or the value of ``id_field``; a value that was met before in the same file is
    quarantined. Across files identities are not compared: whether two files share a shard must not matter
    (`jurat.corpus.identity.repeated_ids` compares them afterwards).

    ``offset`` is that of the record's first byte in the unpacked file; in a WARC packed record by record that of the packed
    record, as crawl indexes give it. Parquet has none.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder, "notes.jsonl")
    ...     _ = file.write_text('{"text": "first"}\\n{"text": ""}\\n')
    ...     batch = next(read_documents(file))
    >>> batch["doc_id"].to_pylist(), batch["text"].to_pylist(), batch["reason"].to_pylist()
    (['notes.jsonl#1', 'notes.jsonl#2'], ['first', None], [None, 'empty'])
    """
    if missing_text not in ("refuse", "quarantine"):
        raise UsageError("missing_text is 'refuse' or 'quarantine'", seen=repr(missing_text))
    if not 0 < batch_bytes <= 1 << 30:
        raise UsageError("a batch has between 1 byte and 1 GiB", seen=f"batch_bytes = {batch_bytes}")
    options = _Options(
        batch_bytes=batch_bytes,
        fields=fields or Fields(text=text_field, identity=id_field),
        limits=limits or Limits(),
        must_have_text=missing_text == "refuse",
    )
    files = find_files(inputs)
    return _batches(files, options, extractor or ResiliparseExtractor(), source, licence)


def read_pages(inputs: Inputs, *, limits: Limits | None = None) -> Iterator[Page]:
    """Read pages as they are, from HTML and WARC files; what `read_documents` would quarantine unseen is left out.

    Parameters
    ----------
    inputs, limits
        As for `read_documents`.

    Yields
    ------
    Page
        In the same order and under the same identities.
    """
    options = _Options(limits=limits or Limits())
    for file in find_files(inputs):
        if file.kind in ("html", "warc"):
            for found in _records(file, options):
                if found.reason is None and found.html and found.body is not None:
                    if nesting_depth(found.body, enough=options.limits.depth) > options.limits.depth:
                        continue
                    doc_id = f"{file.name}#{found.record}"
                    yield Page(doc_id=doc_id, html=found.body, url=found.url, encoding=found.encoding)


def _batches(
    files: list[InputFile], options: _Options, extractor: Extractor, source: str | None, licence: str | None
) -> Iterator[pa.RecordBatch]:
    builder = BatchBuilder(options.batch_bytes)
    for file in files:
        identities = _Identities(file.name)
        for found in _records(file, options):
            if found.reason is None:
                _finish(found, extractor, options.limits)
            doc_id = identities.of(found)
            origin = source or found.source or host_of(found.url) or file.dataset
            builder.add(found, doc_id=doc_id, file=file.name, source=origin, licence=licence)
            if builder.full:
                yield builder.take()
    if len(builder):
        yield builder.take()


class _Identities:
    """Identities of a file's documents; one that stands twice quarantines the second record."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._met: dict[bytes, int] = {}

    def of(self, found: Found) -> str:
        own = found.identity
        if own is not None:
            # 16 bytes an identity, whatever its length.
            key = hashlib.blake2b(own.encode(), digest_size=16).digest()
            before = self._met.setdefault(key, found.record)
            if before == found.record:
                return own
            if found.reason is None:
                found.reason = f"duplicate id {own[:60]!r}: record {before} has it too"
        doc_id = f"{self._file}#{found.record}"
        if self._met:
            while hashlib.blake2b(doc_id.encode(), digest_size=16).digest() in self._met:
                doc_id += "'"
            self._met[hashlib.blake2b(doc_id.encode(), digest_size=16).digest()] = found.record
        return doc_id


def _finish(found: Found, extractor: Extractor, limits: Limits) -> None:
    """Extract the text of a page, and check that the text is one."""
    body = found.body or b""
    if len(body) > limits.document_bytes:
        found.reason = f"a document of {len(body)} bytes is larger than allowed"
    elif found.html:
        found.n_bytes = len(body)
        found.body, found.reason = _extracted(body, found, extractor, limits)
    else:
        found.reason = not_text(body)


def _extracted(html: bytes, found: Found, extractor: Extractor, limits: Limits) -> tuple[bytes | None, str | None]:
    if not html.strip():
        return None, "empty"
    if nesting_depth(html, enough=limits.depth) > limits.depth:
        return None, f"a page with elements nested more than {limits.depth} deep"
    try:
        text = extractor.extract(html, found.url, encoding=found.encoding)
    except JuratError:
        raise
    except Exception as error:  # extractors are other people's code, and one page must not end the reading
        return None, f"extraction failed: {type(error).__name__}: {error}"[:200]
    body = text.encode("utf-8", "replace")
    reason = not_text(body)
    return (None, "no text in the page") if reason == "empty" else (body, reason)


def _records(file: InputFile, options: _Options) -> Iterator[Found]:
    """Records of a file; where it cannot be read on, a last one says why."""
    last = 0
    try:
        for found in _open(file, options):
            last = found.record
            yield found
        if last == 0:
            yield Found(record=1, reason="no document in the file", n_bytes=file.size)
    except DamagedFile as damage:
        yield Found(record=last + 1, reason=str(damage))
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        told = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        yield Found(record=last + 1, reason=f"cannot be read: {told}"[:300], n_bytes=file.size or None)


def _open(file: InputFile, options: _Options) -> Iterator[Found]:
    fields, limits, strict = options.fields, options.limits, options.must_have_text
    if file.kind == "parquet":
        yield from read_parquet(
            file.path, file.name, fields=fields, limits=limits, batch_bytes=options.batch_bytes, must_have_text=strict
        )
        return
    with file.path.open("rb") as raw:
        stream = open_packed(raw, file.packing, limits)
        if file.kind == "warc":
            yield from read_warc(stream, limits=limits)
        elif file.kind in ("jsonl", "json"):
            read = read_json if file.kind == "json" else read_json_lines
            yield from read(stream, file.name, fields=fields, limits=limits, must_have_text=strict)
        elif file.kind in ("csv", "tsv"):
            yield from read_csv(
                stream,
                file.name,
                fields=fields,
                limits=limits,
                delimiter="\t" if file.kind == "tsv" else ",",
                must_have_text=strict,
            )
        else:
            yield _whole(stream, file, limits)


def _whole(stream: io.BufferedReader, file: InputFile, limits: Limits) -> Found:
    """The file as one document."""
    found = Found(record=1, offset=0, html=file.kind == "html")
    size = file.size
    body = b""
    if file.packing or size <= limits.document_bytes:
        body = stream.read(limits.document_bytes + 1)
        size = len(body)
        if size > limits.document_bytes:
            while block := stream.read(_BLOCK):
                size += len(block)
    if size > limits.document_bytes:
        found.n_bytes = size
        found.reason = f"a document of {size} bytes is larger than allowed"
    else:
        found.body = body.removeprefix(codecs.BOM_UTF8)
    return found
