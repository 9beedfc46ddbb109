"""Identifiers and repeated words as Arrow strings, built in bulk from integers.

A span identifier must look like one (16 hexadecimal digits), be unique for certain and cost nanoseconds. The
SplitMix64 finaliser (Steele, Lea & Flood, 2014) is a bijection on 64-bit integers, so distinct counters give
distinct identifiers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["hexadecimal", "mix", "numbered", "words"]

_HEX = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)


def mix(counters: npt.NDArray[np.integer], *, key: int) -> npt.NDArray[np.uint64]:
    """Scramble distinct counters into distinct 64-bit integers.

    Examples
    --------
    >>> len(set(mix(np.arange(1000), key=1).tolist()))
    1000
    """
    with np.errstate(over="ignore"):
        z = counters.astype(np.uint64) + np.uint64(key % 2**64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def hexadecimal(*parts: npt.NDArray[np.uint64]) -> pa.Array:
    """Write 64-bit integers as hexadecimal strings, 16 digits a part, parts side by side.

    Examples
    --------
    >>> hexadecimal(np.array([255, 0], dtype=np.uint64)).to_pylist()
    ['00000000000000ff', '0000000000000000']
    """
    nibbles = [_nibbles(part) for part in parts]
    return _fixed_width(_HEX[np.concatenate(nibbles, axis=1)])


def _nibbles(part: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    big_endian = part.astype(">u8").view(np.uint8).reshape(len(part), 8)
    return np.stack([big_endian >> 4, big_endian & 15], axis=2).reshape(len(part), 16)


def numbered(prefix: str, count: int) -> pa.Array:
    """Return the names ``prefix-0``, ``prefix-1``, …, zero-padded to one width.

    Examples
    --------
    >>> numbered("org", 11).to_pylist()[-2:]
    ['org-09', 'org-10']
    """
    width = len(str(max(count - 1, 0)))
    powers = 10 ** np.arange(width - 1, -1, -1, dtype=np.int64)
    digits = (np.arange(count, dtype=np.int64)[:, None] // powers) % 10
    head = np.frombuffer(f"{prefix}-".encode(), dtype=np.uint8)
    body = digits.astype(np.uint8) + np.uint8(ord("0"))
    return _fixed_width(np.concatenate([np.broadcast_to(head, (count, len(head))), body], axis=1))


def _fixed_width(characters: npt.NDArray[np.uint8]) -> pa.Array:
    count, width = characters.shape
    offsets = np.arange(0, count * width + 1, width, dtype=np.int32)
    data = np.ascontiguousarray(characters)
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(data))


def words(
    vocabulary: Sequence[str] | pa.Array,
    codes: npt.NDArray[np.integer],
    *,
    present: npt.NDArray[np.bool_] | None = None,
) -> pa.Array:
    """Spell out integer codes by a vocabulary; null where not present.

    Examples
    --------
    >>> words(["no", "yes"], np.array([1, 0, 1]), present=np.array([True, True, False])).to_pylist()
    ['yes', 'no', None]
    """
    vocabulary = vocabulary if isinstance(vocabulary, pa.Array) else pa.array(vocabulary, pa.string())
    return vocabulary.take(pa.array(codes, mask=None if present is None else ~present))
