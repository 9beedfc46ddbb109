"""What kind of character a code point is, fixed to one version of Unicode.

Python's own tables change with its version, and a word that is two words elsewhere is another document: so the classes
and the simple lower case of Unicode 14.0 travel with the package as ranges, and every machine cuts the same words.
"""

from __future__ import annotations

import functools
import sys
import unicodedata
from importlib import resources

import numpy as np
from numpy.typing import NDArray

__all__ = ["IDEOGRAPH", "SEPARATOR", "WORD", "character_ranges", "character_table"]

SEPARATOR, WORD, IDEOGRAPH = 0, 1, 2
"""Between words; part of a word; a word of its own (scripts written without spaces)."""

_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9F),
    (0x20000, 0x3FFFF),
)
_CLASS_SHIFT = 24


@functools.cache
def character_table() -> NDArray[np.uint32]:
    """Class and lower case of every code point.

    Returns
    -------
    ndarray
        uint32, shape ``(0x110000,)``: the lower-case code point in the low 21 bits, the class in the bits from 24 up.

    Examples
    --------
    >>> table = character_table()
    >>> chr(int(table[ord("É")]) & 0x1FFFFF), int(table[ord("É")]) >> 24, int(table[ord("’")]) >> 24
    ('é', 1, 0)
    """
    table = np.arange(sys.maxunicode + 1, dtype=np.uint32)
    text = (resources.files("jurat.text") / "unicode_14.txt").read_text(encoding="ascii")
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        kind, first, last, value = line.split()
        low, high = int(first, 16), int(last, 16) + 1
        if kind == "class":
            table[low:high] |= np.uint32(int(value) << _CLASS_SHIFT)
        else:
            table[low:high] = (table[low:high].astype(np.int64) + int(value)).astype(np.uint32)
    table.setflags(write=False)
    return table


def character_ranges() -> list[str]:
    """Derive the package's table from the running Python's own; equal where that has Unicode 14.0.

    Returns
    -------
    list of str
        Lines ``kind first last value``: ``class`` with a class, ``lower`` with what to add for lower case.
    """
    points = range(sys.maxunicode + 1)
    lines = _runs("lower", [_lower_step(point) for point in points])
    return lines + _runs("class", [_class(point) for point in points])


def _class(point: int) -> int:
    if unicodedata.category(chr(point))[0] not in "LMN":
        return SEPARATOR
    return IDEOGRAPH if any(low <= point <= high for low, high in _UNSPACED) else WORD


def _lower_step(point: int) -> int:
    lower = chr(point).lower()
    return ord(lower) - point if len(lower) == 1 else 0


def _runs(kind: str, values: list[int]) -> list[str]:
    lines, first = [], 0
    for point in range(1, len(values) + 1):
        if point == len(values) or values[point] != values[first]:
            if values[first]:
                lines.append(f"{kind} {first:X} {point - 1:X} {values[first]}")
            first = point
    return lines
