"""Canonical JSON (RFC 8785) and the digests built on it.

One document has one byte string, whatever wrote it: keys sorted, numbers in their shortest form, UTF-8.
Digests and signatures are taken over these bytes, so a reader without this package can recompute them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import rfc8785

__all__ = ["canonical_json", "digest", "file_sha256"]

_BLOCK = 1 << 20


def canonical_json(document: Any) -> bytes:
    """Serialise plain JSON types by the JSON Canonicalization Scheme (RFC 8785, 2020).

    Parameters
    ----------
    document
        Mappings with string keys, sequences, strings, booleans, ``None``, finite floats, and integers within
        ±(2**53 − 1).

    Raises
    ------
    ValueError
        For NaN, infinity, larger integers, or a type JSON does not have.

    Examples
    --------
    >>> canonical_json({"b": 1.0, "a": [True, None]})
    b'{"a":[true,null],"b":1}'
    """
    try:
        return bytes(rfc8785.dumps(document))
    except rfc8785.CanonicalizationError as error:
        raise ValueError(f"not representable as canonical JSON: {error}") from error


def digest(document: Any) -> str:
    """SHA-256 of the canonical JSON of a document, in hex.

    Examples
    --------
    >>> digest({"a": 1})[:16]
    '015abd7f5cc57a2d'
    """
    return hashlib.sha256(canonical_json(document)).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex, read in blocks so that any size fits."""
    state = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            state.update(block)
    return state.hexdigest()
