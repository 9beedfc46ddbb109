"""Text that came from elsewhere, shown so that nothing acts on it: no escape sequence, no reversal of direction.

Terminals obey control characters and editors and browsers obey the marks of direction (Boucher & Anderson 2021, *Trojan
Source*), so each is shown as the visible sign that stands for it. Markup is another matter: whoever writes HTML escapes it.
"""

from __future__ import annotations

import json
import re

__all__ = ["inert", "inert_json"]

_PICTURES = 0x2400
_DELETE = 0x7F
# Controls but tab and line feed; what is invisible; separators of lines; marks, embeddings and isolates of direction; halves of
# surrogate pairs; tags.
_ACTING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def inert(text: str) -> str:
    """Show control characters, marks of direction and invisible characters by visible signs; tabs and line feeds stay.

    Parameters
    ----------
    text
        Any text.

    Returns
    -------
    str
        Control pictures for ASCII controls (``␛``), ``⟨U+202E⟩`` for the rest; everything else as it was.

    Examples
    --------
    >>> inert("red: \\x1b[31m, back to front: \\u202eabc")
    'red: ␛[31m, back to front: ⟨U+202E⟩abc'
    """
    return _ACTING.sub(_shown, text)


def inert_json(text: str) -> str:
    """Write the same characters of a JSON text as escapes, so that it still means what it meant.

    Parameters
    ----------
    text
        JSON; its line feeds are white space between values.

    Examples
    --------
    >>> inert_json('"\\u202eabc"')
    '"\\\\u202eabc"'
    """
    return _ACTING.sub(lambda found: json.dumps(found[0])[1:-1], text)


def _shown(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x20:
        return chr(_PICTURES + code)
    return "␡" if code == _DELETE else f"⟨U+{code:04X}⟩"
