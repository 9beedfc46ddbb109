"""Personal data taken out of text and of JSON before either is stored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jurat.text.column import TextColumn
from jurat.text.pii import pii_candidates, redact

__all__ = ["redact_json", "redact_text"]

_ESCAPE = r"\\(?:u[0-9A-Fa-f]{4}|.)"


def redact_text(column: pa.Array) -> tuple[pa.Array, int]:
    """Replace what looks like personal data.

    Parameters
    ----------
    column
        Text, null where there is none.

    Returns
    -------
    pa.Array, int
        The column with the kind in place of each (``<email>``), and how many places there were.

    Examples
    --------
    >>> redact_text(pa.array(["write to ann@example.org", None]))[0].to_pylist()
    ['write to <email>', None]
    """
    view = TextColumn.of(column)
    spans = pii_candidates(view)
    return (redact(view, spans).cast(pa.string()), len(spans)) if len(spans) else (column, 0)


def redact_json(column: pa.Array) -> tuple[pa.Array, int]:
    """Replace what looks like personal data in the texts of JSON documents; numbers and names of members stay.

    Parameters
    ----------
    column
        JSON, null where there is none.

    Returns
    -------
    pa.Array, int
        The documents, still JSON, and how many places there were.

    Examples
    --------
    >>> redact_json(pa.array(['{"to":["ann@example.org"],"n":4111111111111111}']))[0].to_pylist()
    ['{"to":["<email>"],"n":4111111111111111}']
    """
    # An escape ends in a letter or digit, which before a number would hide it.
    plain = pc.replace_substring_regex(column, _ESCAPE, " ")
    suspects = np.unique(pii_candidates(TextColumn.of(plain))["document"].to_numpy())
    if len(suspects) == 0:
        return column, 0
    documents = [json.loads(column[int(row)].as_py()) for row in suspects]
    texts = [text for document in documents for text in _texts(document)]
    redacted, count = redact_text(pa.array(texts, pa.string()))
    if count == 0:
        return column, 0
    replaced = iter(redacted.to_pylist())
    values = column.to_pylist()
    for row, document in zip(suspects, documents, strict=True):
        values[row] = json.dumps(_with_texts(document, replaced), ensure_ascii=False, separators=(",", ":"))
    return pa.array(values, column.type), count


def _texts(value: Any, name: str = "") -> Iterator[str]:
    """Texts of a document in its order, each behind its member's name: some are secrets only by that name."""
    if isinstance(value, str):
        yield f"{name}={value}"
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one, name)
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from _texts(one, key)


def _with_texts(value: Any, texts: Iterator[str], name: str = "") -> Any:
    """The document with its texts replaced, in the same order."""
    if isinstance(value, str):
        text, before = next(texts), f"{name}="
        return text.removeprefix(before) if text.startswith(before) else "<redacted>"
    if isinstance(value, list):
        return [_with_texts(one, texts, name) for one in value]
    return {key: _with_texts(one, texts, key) for key, one in value.items()} if isinstance(value, dict) else value
