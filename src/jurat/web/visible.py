"""Text from strangers, made harmless to the eye: what would move the cursor or turn the line round becomes a symbol."""

from __future__ import annotations

import re

__all__ = ["csv_cell", "visible"]

_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def visible(text: object) -> str:
    """Replace control characters, terminal escapes, bidi controls and zero-width characters by visible symbols.

    Line feeds and tabs stay. HTML is not escaped here: the templates do that, always.

    Examples
    --------
    >>> visible("a\\x1b[31mred\\u202egnp.exe")
    'a␛[31mred⟨U+202E⟩gnp.exe'
    """
    return _HIDDEN.sub(_symbol, str(text))


def _symbol(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"⟨U+{code:04X}⟩"


def csv_cell(value: object) -> object:
    """Make a cell that no spreadsheet takes for a formula; numbers stay numbers.

    Examples
    --------
    >>> csv_cell("=1+1"), csv_cell("  @x"), csv_cell(-1.5), csv_cell("a-b")
    ("'=1+1", "'  @x", -1.5, 'a-b')
    """
    if value is None:
        return ""
    if isinstance(value, bool | int | float):
        return value
    text = visible(value)
    first = str(value)[:1]
    return f"'{text}" if first in _FORMULA or text.lstrip().startswith(_FORMULA) else text
