"""What is told of one line: its phrases, its sentences, and the first reason for which C4 would drop it."""

from __future__ import annotations

import numba as nb
import numpy as np

from jurat.text.quality_columns import COLUMNS
from jurat.text.simd import LEAF, load_word
from jurat.text.words import _decode

__all__ = ["close_line", "closes", "find_javascript", "find_marks", "find_phrases", "last_point"]

SPACE, BREAK, ALPHABETIC, PLAIN, TERMINAL, MARKED, LETTER_J, DECIMAL = (1 << bit for bit in range(8))
"""What a code point is, as bits of the kernels' table."""

_C = {name: index for index, name in enumerate(COLUMNS)}
_HASHES, _ELLIPSES, _BRACKETS = _C["hash_signs"], _C["ellipses"], _C["curly_brackets"]
_LINES, _BULLET_LINES, _ELLIPSIS_LINES = _C["lines"], _C["bullet_lines"], _C["ellipsis_lines"]
_JAVASCRIPT_LINES, _LOREM_LINES, _POLICY_LINES = _C["javascript_lines"], _C["lorem_ipsum_lines"], _C["policy_lines"]
_SENTENCES = _C["sentences"]
_C4_LONG, _C4_OPEN, _C4_SHORT, _C4_LOREM, _C4_JAVASCRIPT, _C4_BRACKET, _C4_POLICY, _C4_KEPT, _C4_SENTENCES = range(
    _C["c4_long_word_lines"], _C["c4_long_word_lines"] + 9
)

# What is known of the line so far.
LINE_WORDS, LINE_LONG, LINE_PHRASES, LINE_ENDS, LINE_CLOSED, LINE_BEGIN, LINE_END = range(7)
_STATE = 7
_JAVASCRIPT, _LOREM, _POLICY, _BRACKET = 1, 2, 4, 8
_FEWEST_WORDS = 3

_PATTERNS = (
    "javascript",
    "lorem ipsum",
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
    "[edit]",
    "[citation needed]",
)
_PATTERN_BYTES = np.frombuffer("".join(_PATTERNS).encode(), np.uint8)
_PATTERN_ENDS = np.cumsum([0, *(len(pattern) for pattern in _PATTERNS)])
_TAILS = np.array([int.from_bytes(word.encode(), "little") for word in ("orem", "erms", "vacy", "okie", "uses")])
_TAIL_USE = int.from_bytes(b"use", "little")
_TAIL_STARTS = np.array([5, 5, 7, 6, 4])
_LOWER = 0x20202020


@nb.njit(**LEAF)
def _reads(data, place, stop, pattern):
    """Does a phrase begin at ``place``, upper or lower case? The Kelvin sign is an upper-case k."""
    for p in range(_PATTERN_ENDS[pattern], _PATTERN_ENDS[pattern + 1]):
        if place >= stop:
            return False
        want, byte = _PATTERN_BYTES[p], data[place]
        if want == 107 and byte == 0xE2 and place + 2 < stop and data[place + 1] == 0x84 and data[place + 2] == 0xAA:
            place += 3
            continue
        if 65 <= byte <= 90:
            byte |= 32
        if byte != want:
            return False
        place += 1
    return True


@nb.njit(**LEAF)
def find_phrases(data, begin, end, stop, line):
    """Look for the phrases of several words whose first one ends at ``end``."""
    size = end - begin
    tail = np.int64(load_word(data, end - 3) & np.uint64(0xFFFFFF)) | 0x202020
    if tail == _TAIL_USE and (_reads(data, end - 3, stop, 6) or _reads(data, end - 3, stop, 7)):
        line[LINE_PHRASES] |= _POLICY
    if size >= 4:
        tail = np.int64(load_word(data, end - 4) & np.uint64(0xFFFFFFFF)) | _LOWER
        for t in range(5):
            at = end - _TAIL_STARTS[t]
            if tail == _TAILS[t] and at >= begin and _reads(data, at, stop, t + 1):
                line[LINE_PHRASES] |= _LOREM if t == 0 else _POLICY
    if size >= 8 and data[end - 3] == 0xAA and _reads(data, end - 8, stop, 4):
        line[LINE_PHRASES] |= _POLICY


@nb.njit(**LEAF)
def find_marks(data, begin, end, table, line, out):
    """Count number signs, brackets, ellipses and ends of sentences within one word."""
    dots = ends = 0
    in_run = is_counted = is_closed = False
    place = begin
    while place < end:
        point, length = np.int64(data[place]), 1
        if point >= 0x80:
            point, length = _decode(data, place, end)
        place += length
        if point < 0x80 and point >= 0 and table[point] & ALPHABETIC:
            dots = 0
            in_run = is_closed = False
            continue
        dots = dots + 1 if point == 46 else 0
        if dots == 3:
            out[_ELLIPSES] += 1
            dots = 0
        if point == 35:
            out[_HASHES] += 1
        elif point == 123:
            out[_BRACKETS] += 1
            line[LINE_PHRASES] |= _BRACKET
        elif point == 0x2026:
            out[_ELLIPSES] += 1
        if point >= 0 and table[point] & TERMINAL:
            is_counted = is_counted and in_run
            in_run = is_closed = True
            if point >= 0x80 and not is_counted:
                ends += 1
                is_counted = True
        else:
            in_run = False
            is_closed = is_closed and closes(point)
    if is_closed and not is_counted:
        ends += 1
    line[LINE_ENDS] += ends
    line[LINE_CLOSED] = is_closed


@nb.njit(**LEAF)
def closes(point):
    """Quotes and brackets that may follow the end of a sentence."""
    if point < 0x80:
        return point == 34 or point == 39 or point == 41 or point == 93 or point == 125
    return point == 0xBB or point == 0x2019 or point == 0x201D


@nb.njit(**LEAF)
def _before_citation(data, begin, end, table):
    """Where a citation mark that ends at ``end`` begins, or -1: a number, edit or citation needed, in brackets."""
    place = end - 1
    while place > begin:
        lead = place - 1
        while lead > begin and data[lead] & 0xC0 == 0x80 and place - lead < 4:
            lead -= 1
        point, length = _decode(data, lead, place)
        if point == 91:
            return lead
        if point < 0 or lead + length != place or not table[point] & DECIMAL:
            break
        place = lead
    for pattern in (8, 9):
        size = _PATTERN_ENDS[pattern + 1] - _PATTERN_ENDS[pattern]
        if end - size >= begin:
            same = True
            for p in range(size):
                same = same and data[end - size + p] == _PATTERN_BYTES[_PATTERN_ENDS[pattern] + p]
            if same:
                return end - size
    return -1


@nb.njit(**LEAF)
def _is_terminated(data, begin, end, table):
    """Does a line, its citation marks left out, end in . ? ! or a straight quote, yet not in three dots?"""
    dots, seen, place = 0, 0, end
    while place > begin and seen < 3:
        byte = data[place - 1]
        if byte == 93:
            before = _before_citation(data, begin, place, table)
            if before >= 0:
                place = before
                continue
        if seen == 0 and not (byte == 46 or byte == 63 or byte == 33 or byte == 34 or byte == 39):
            return False
        if byte == 46:
            dots += 1
        seen += 1
        place -= 1
    return seen > 0 and dots < 3


@nb.njit(**LEAF)
def _close_c4(data, table, line, phrases, out):
    """The first reason for which C4 would drop a line that holds a word."""
    end = line[LINE_END]
    last = data[end - 1]
    if line[LINE_LONG]:
        out[_C4_LONG] += 1
    # Most lines end in a letter, which needs no closer look.
    elif (table[last] & ALPHABETIC and last < 0x80) or not _is_terminated(data, line[LINE_BEGIN], end, table):
        out[_C4_OPEN] += 1
    elif line[LINE_WORDS] < _FEWEST_WORDS:
        out[_C4_SHORT] += 1
    elif phrases & _LOREM:
        out[_C4_LOREM] += 1
    elif phrases & _JAVASCRIPT:
        out[_C4_JAVASCRIPT] += 1
    elif phrases & _BRACKET:
        out[_C4_BRACKET] += 1
    elif phrases & _POLICY:
        out[_C4_POLICY] += 1
    else:
        out[_C4_KEPT] += 1
        out[_C4_SENTENCES] += line[LINE_ENDS] + (0 if line[LINE_CLOSED] else 1)


@nb.njit(**LEAF)
def close_line(data, table, line, out):
    """Count the line that ends here and begin another."""
    out[_LINES] += 1
    if line[LINE_WORDS] == 0:
        out[_C4_OPEN] += 1
        return
    begin, end, phrases = line[LINE_BEGIN], line[LINE_END], line[LINE_PHRASES]
    # The bullet is U+2022, the ellipsis U+2026: they differ in their last byte.
    if data[begin] == 45 or (end - begin >= 3 and _is_general(data, begin, 0xA2)):
        out[_BULLET_LINES] += 1
    if end - begin >= 3:
        dots = data[end - 1] == 46 and data[end - 2] == 46 and data[end - 3] == 46
        if dots or _is_general(data, end - 3, 0xA6):
            out[_ELLIPSIS_LINES] += 1
    out[_SENTENCES] += line[LINE_ENDS] + (0 if line[LINE_CLOSED] else 1)
    if phrases:
        out[_JAVASCRIPT_LINES] += 1 if phrases & _JAVASCRIPT else 0
        out[_LOREM_LINES] += 1 if phrases & _LOREM else 0
        out[_POLICY_LINES] += 1 if phrases & _POLICY else 0
    _close_c4(data, table, line, phrases, out)
    for place in range(_STATE):
        line[place] = 0


@nb.njit(**LEAF)
def _is_general(data, place, last):
    """Does the character U+2080 to U+20BF with this last byte stand here?"""
    return data[place] == 0xE2 and data[place + 1] == 0x80 and data[place + 2] == last


@nb.njit(**LEAF)
def last_point(data, start, stop):
    """The last code point before ``stop``, -1 where it is not UTF-8."""
    lead = stop - 1
    while lead > start and data[lead] & 0xC0 == 0x80 and stop - lead < 4:
        lead -= 1
    point, length = _decode(data, lead, stop)
    return point if lead + length == stop else np.int64(-1)


@nb.njit(**LEAF)
def find_javascript(data, begin, end, line):
    """Look for the word javascript within a word that has a j."""
    for place in range(begin, end - 9):
        if data[place] | 32 == 106 and _reads(data, place, end, 0):
            line[LINE_PHRASES] |= _JAVASCRIPT
            return
