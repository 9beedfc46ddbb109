"""Where may personal data or keys stand in a text? Candidates with their places, and text with them taken out.

Candidates are patterns with check digits where such exist (Luhn, ISO 7064 modulo 97): they are meant to miss little of
what has a form, and know nothing of names. A mask over 64 bytes at a time finds the few places at which a form
can begin; documents without any are read at the speed of memory.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from jurat.text.column import TextColumn
from jurat.text.pii_scan import find_candidates

__all__ = ["PII_KINDS", "pii_candidates", "redact"]

PII_KINDS = (
    "email",
    "phone",
    "ipv4",
    "ipv6",
    "payment_card",
    "iban",
    "aws_key",
    "github_token",
    "slack_token",
    "private_key",
    "json_web_token",
    "secret",
)
"""Kinds of candidates, in the order of the kernel's numbers."""


def pii_candidates(column: TextColumn) -> pa.Table:
    """Find what has the form of personal data or of a key.

    Parameters
    ----------
    column
        Documents in UTF-8; only ASCII forms are found.

    Returns
    -------
    pyarrow.Table
        ``kind`` (string, of ``PII_KINDS``), ``document`` (int64, row in the column), ``start`` and ``end`` (int64, bytes
        from the document's start, end exclusive), sorted by document, start, end and kind. Candidates of different
        kinds may overlap, those of one kind do not.

    Notes
    -----
    Phones: ``+`` and 8 to 15 digits (E.164), or the North American 3-3-4 form with separators. A value counts as a secret
    when it is given to a name that ends in key, token, secret or password, has 16 to 128 characters, letters and
    digits, and a Shannon entropy :math:`-\\sum_b p_b \\log_2 p_b` of at least 3.5 bits a character.

    References
    ----------
    ISO/IEC 7812-1 (Luhn). ISO 13616-1 and ISO/IEC 7064 (IBAN). ITU-T E.164. RFC 4291 (IPv6). RFC 7519 (JSON web tokens).

    Examples
    --------
    >>> column = TextColumn.of(["Mail ada@example.org or +44 20 7946 0958", "card 4111 1111 1111 1111"])
    >>> pii_candidates(column).to_pylist()[0]
    {'kind': 'email', 'document': 0, 'start': 5, 'end': 20}
    >>> pii_candidates(column)["kind"].to_pylist()
    ['email', 'phone', 'payment_card']
    """
    found = find_candidates(column.data, column.offsets)
    found = found[np.lexsort((found[:, 0], found[:, 3], found[:, 2], found[:, 1]))]
    kinds = pa.array(PII_KINDS).take(pa.array(found[:, 0]))
    places = [pa.array(np.ascontiguousarray(found[:, index])) for index in (1, 2, 3)]
    return pa.table([kinds, *places], names=["kind", "document", "start", "end"])


def redact(column: TextColumn, spans: pa.Table, *, replacement: str = "<{kind}>") -> pa.LargeStringArray:
    """Replace spans of documents.

    Parameters
    ----------
    column
        Documents.
    spans
        As `pii_candidates` returns them; overlapping ones are replaced together, named after the one that begins first.
    replacement
        What stands in their place; ``{kind}`` becomes the kind.

    Returns
    -------
    pyarrow.LargeStringArray
        The documents in their order, null where they were null.

    Raises
    ------
    ValueError
        Where a span lies outside its document, or a document outside the column.

    Examples
    --------
    >>> column = TextColumn.of(["Mail ada@example.org!", None])
    >>> redact(column, pii_candidates(column)).to_pylist()
    ['Mail <email>!', None]
    """
    rows = spans.sort_by([("document", "ascending"), ("start", "ascending"), ("end", "descending")]).to_pydict()
    parts: dict[int, list[bytes]] = {}
    reached: dict[int, int] = {}
    sizes = np.diff(column.offsets)
    for kind, document, start, end in zip(*(rows[name] for name in ("kind", "document", "start", "end")), strict=True):
        if not 0 <= document < len(column) or not 0 <= start < end <= sizes[document]:
            raise ValueError(
                f"span {start}–{end} of document {document} lies outside the column of {len(column)} documents"
            )
        before = reached.get(document, 0)
        if start >= before:
            piece = bytes(column.document(document)[before:start])
            parts.setdefault(document, []).extend((piece, replacement.format(kind=kind).encode()))
        reached[document] = max(before, end)
    for document, pieces in parts.items():
        pieces.append(bytes(column.document(document)[reached[document] :]))
    return _assemble(column, {document: b"".join(pieces) for document, pieces in parts.items()})


def _assemble(column: TextColumn, changed: dict[int, bytes]) -> pa.LargeStringArray:
    """The column with some documents exchanged; what lies between them is copied as a whole."""
    sizes = np.diff(column.offsets)
    pieces, at = [], 0
    for document in sorted(changed):
        pieces.append(bytes(column.data[column.offsets[at] : column.offsets[document]]))
        pieces.append(changed[document])
        sizes[document] = len(changed[document])
        at = document + 1
    pieces.append(bytes(column.data[column.offsets[at] : column.offsets[-1]]))
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    validity = pa.array(column.valid).buffers()[1]
    buffers = [validity, pa.py_buffer(offsets), pa.py_buffer(b"".join(pieces))]
    return pa.Array.from_buffers(pa.large_string(), len(column), buffers)
