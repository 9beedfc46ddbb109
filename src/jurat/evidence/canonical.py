"""Canonical JSON (RFC 8785) and the digests built on it.

One document has one byte string, whatever wrote it: keys sorted, numbers in their shortest form, UTF-8.
Digests and signatures are taken over these bytes, so a reader without this package can recompute them.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import rfc8785

__all__ = ["canonical_json", "digest", "file_sha256", "parse_json"]

_BLOCK = 1 << 20
_SAFE_INTEGER = 2**53 - 1


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


def parse_json(raw: bytes) -> Any:
    """Read JSON so that what is canonical comes back as what it was, and can be made canonical again.

    Canonical JSON writes the float 1e18 as ``1000000000000000000``. An integer beyond ±(2**53 − 1) is
    therefore read as the float it stands for.

    Raises
    ------
    ValueError
        For what is not JSON in UTF-8, or nested too deep.

    Examples
    --------
    >>> parse_json(canonical_json({"tokens": 1e18, "n": 7}))
    {'n': 7, 'tokens': 1e+18}
    """
    try:
        return json.loads(raw, parse_int=_number, parse_constant=_no_number)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def _number(text: str) -> int | float:
    exact = int(text)
    return exact if abs(exact) <= _SAFE_INTEGER else float(text)


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


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
