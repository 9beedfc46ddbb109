"""SQL for the eye: keywords, functions, text, numbers, parameters and comments in spans with a class each, all escaped."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

from jurat.web.visible import visible

__all__ = ["highlighted"]

_KEYWORDS = frozenset(
    """
    all and as asc between by case cast create cross current desc distinct else end except exists false filter first following
    from full group having if in inner intersect interval is join last left like limit not null nulls on or order outer over
    partition preceding range right row rows select then true unbounded union using values when where with window
    bigint boolean double integer varchar timestamp
    """.split()  # noqa: SIM905 - a list of words is read as one
)
_TOKEN = re.compile(
    r"(?P<c>--[^\n]*|/\*.*?\*/)"
    r"|(?P<s>'(?:[^']|'')*')"
    r'|(?P<q>"(?:[^"]|"")*")'
    r"|(?P<p>\$[A-Za-z_]\w*)"
    r"|(?P<n>\b\d+(?:\.\d+)?(?:[eE][+-]?\d+)?\b)"
    r"|(?P<w>[A-Za-z_]\w*)"
    r"|(?P<x>.)",
    re.DOTALL,
)


def highlighted(sql: str) -> Markup:
    """Mark up a statement; nothing of it is lost or changed but what would not be seen.

    Parameters
    ----------
    sql
        Any text: what is no SQL comes out escaped, without classes.

    Examples
    --------
    >>> print(highlighted("SELECT max(a) FROM t WHERE b = '<i>' -- x"))
    <span class="k">SELECT</span> <span class="f">max</span>(a) <span class="k">FROM</span> t <span class="k">WHERE</span> \
b = <span class="s">&#39;&lt;i&gt;&#39;</span> <span class="c">-- x</span>
    """
    text = visible(sql)
    parts: list[Markup] = []
    for found in _TOKEN.finditer(text):
        kind, token = str(found.lastgroup), found[0]
        if kind == "w":
            called = text[found.end() :].lstrip()[:1] == "("
            # Words that are keywords stay keywords before a bracket: IN (…), FILTER (…).
            kind = "k" if token.lower() in _KEYWORDS else "f" if called else "x"
        parts.append(escape(token) if kind in ("x", "q") else Markup('<span class="{}">{}</span>').format(kind, token))
    return Markup("").join(parts)
