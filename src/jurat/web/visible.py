"""Text from strangers, made harmless to the eye: what would move the cursor or turn the line round becomes a symbol."""

from __future__ import annotations

from jurat.inert import inert

__all__ = ["csv_cell", "visible"]

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def visible(text: object) -> str:
    """Replace control characters, terminal escapes, bidi controls and zero-width characters by visible symbols.

    Line feeds and tabs stay. HTML is not escaped here: the templates do that, always.

    Examples
    --------
    >>> visible("a\\x1b[31mred\\u202egnp.exe")
    'a␛[31mred⟨U+202E⟩gnp.exe'
    """
    return inert(str(text))


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
