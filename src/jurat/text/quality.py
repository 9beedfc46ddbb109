"""Is a document fit to be read? The counters from which the published quality rules are made.

One walk over the bytes gives what Gopher (Rae et al., 2021, section A.1.1), C4 (Raffel et al., 2020, section 2.2) and
FineWeb (Penedo et al., 2024, section 3.6) ask of a document; thresholds are applied afterwards, in SQL
(`jurat.text.quality_rules`), so that they can change without another scan. Words are cut at whitespace, as ``str.split``
does; scripts written without spaces have therefore long words. Sentences are counted by a rule, not by a trained model:
a run of Unicode's sentence terminals ends one where whitespace follows (closing quotes and brackets may stand between),
or where it holds a terminal that is not ASCII; a line's last words count as one where they end none.
"""

from __future__ import annotations

import functools

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jurat.text.characters import character_table
from jurat.text.column import TextColumn
from jurat.text.quality_columns import COLUMNS
from jurat.text.quality_lines import ALPHABETIC, BREAK, DECIMAL, LETTER_J, MARKED, PLAIN, SPACE, TERMINAL
from jurat.text.quality_scan import scan_documents

__all__ = ["COLUMNS", "SENTENCE_TERMINALS", "SYMBOLS", "quality_counters"]

SENTENCE_TERMINALS = (
    "21 2E 3F 589 61D-61F 6D4 700-702 7F9 837 839 83D-83E 964-965 104A-104B 1362 1367-1368 166E 1735-1736 17D4-17D6 "
    "17D9-17DA 1803 1809 1944-1945 1AA8-1AAB 1B5A-1B5B 1B5E-1B5F 1B7D-1B7E 1C3B-1C3C 1C7E-1C7F 203C-203D 2047-2049 "
    "2E2E 2E3C 2E53-2E54 3002 A4FF A60E-A60F A6F3 A6F7 A876-A877 A8CE-A8CF A92F A9C8-A9C9 AA5D-AA5F AAF0-AAF1 ABEB "
    "FE52 FE56-FE57 FF01 FF0E FF1F FF61 10A56-10A57 10F55-10F59 10F86-10F89 11047-11048 110BE-110C1 11141-11143 "
    "111C5-111C6 111CD 111DE-111DF 11238-11239 1123B-1123C 112A9 1144B-1144C 115C2-115C3 115C9-115D7 11641-11642 "
    "1173C-1173E 11944 11946 11A42-11A43 11A9B-11A9C 11C41-11C42 11EF7-11EF8 11F43-11F44 16A6E-16A6F 16AF5 16B37-16B38 "
    "16B44 16E98 1BC9F 1DA88"
)
"""Code points that end a sentence (Unicode property Sentence_Terminal), as FineWeb's rule on line ends reads them."""

SYMBOLS = (
    "0-8 B-1F 21-2F 3A-40 5B-60 7B-9F AB B4 BB 2013-2014 2019 201C-201E 2026 2236 2501 25BA 3001 3008-300D 3010-3011 "
    "FF05 FF08-FF09 FF0C FF11 FF1A-FF1B FF5E"
)
"""Punctuation and control characters (the set of CCNet, Wenzek et al., 2020, and ASCII's), beside the terminals."""

_WHITESPACE = "9-D 1C-20 85 A0 1680 2000-200A 2028-2029 202F 205F 3000"
_LINE_BREAKS = "A-D 1C-1E 85 2028-2029"


def quality_counters(column: TextColumn) -> pa.Table:
    """Count, for each document, what the published quality rules are made of.

    Parameters
    ----------
    column
        Documents in UTF-8. A byte that is not UTF-8 counts as one character, neither a letter nor whitespace.

    Returns
    -------
    pyarrow.Table
        A row a document, an int64 column for each name in ``COLUMNS``; null where the document is null, 0 where empty.

    Notes
    -----
    A word n-gram's characters are those of its words; those of the top n-grams also have the spaces between. The top
    n-gram is the most frequent one, the earliest among equals, once where none repeats. For duplicate n-grams the text is
    read from the left: an n-gram that was met is counted and passed over as a whole, any other is remembered. Lines
    of the ``c4_`` columns are told apart by the first reason that applies, in the order of the columns.

    References
    ----------
    Rae, J. W. et al. (2021). Scaling language models: methods, analysis and insights from training Gopher. arXiv
    2112.11446. Raffel, C. et al. (2020). JMLR 21 (140), 1–67. Penedo, G. et al. (2024). The FineWeb datasets. NeurIPS.

    Examples
    --------
    >>> table = quality_counters(TextColumn.of(["- The end of it...\\nThe end of it.\\n", None]))
    >>> {name: table[name][0].as_py() for name in ("words", "stop_words", "lines", "bullet_lines", "ellipses")}
    {'words': 9, 'stop_words': 1, 'lines': 2, 'bullet_lines': 1, 'ellipses': 1}
    >>> table["words"].to_pylist()
    [9, None]
    """
    counters = np.zeros((len(column), len(COLUMNS)), np.int64)
    scan_documents(column.data, column.offsets, _kinds(), counters)
    absent = ~column.valid
    columns = [pa.array(np.ascontiguousarray(counters[:, index]), mask=absent) for index in range(len(COLUMNS))]
    return pa.table(columns, names=list(COLUMNS))


@functools.cache
def _kinds() -> NDArray[np.uint8]:
    """What each code point is, as bits; letters and digits are those of the package's version of Unicode."""
    classes = character_table() >> 24
    kinds = np.full(len(classes), PLAIN, np.uint8)
    for point in np.flatnonzero(classes).tolist():
        character = chr(point)
        if character.isalpha():
            kinds[point] |= ALPHABETIC
        elif character.isdecimal():
            kinds[point] |= DECIMAL
    _set(kinds, SENTENCE_TERMINALS, TERMINAL)
    for symbols in (SYMBOLS, SENTENCE_TERMINALS):
        for low, high in _ranges(symbols):
            kinds[low : high + 1] &= np.uint8(0xFF ^ PLAIN)
    _set(kinds, _WHITESPACE, SPACE)
    _set(kinds, _LINE_BREAKS, BREAK)
    for character in ".?!#{":
        kinds[ord(character)] |= MARKED
    for character in "jJ":
        kinds[ord(character)] |= LETTER_J
    kinds.setflags(write=False)
    return kinds


def _set(kinds: NDArray[np.uint8], points: str, kind: int) -> None:
    for low, high in _ranges(points):
        kinds[low : high + 1] |= np.uint8(kind)


def _ranges(points: str) -> list[tuple[int, int]]:
    return [(int(part.split("-")[0], 16), int(part.split("-")[-1], 16)) for part in points.split()]
