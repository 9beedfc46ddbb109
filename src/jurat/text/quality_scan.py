"""One walk over a document's bytes that counts words, lines, marks and phrases.

Words are cut as ``str.split`` does, lines as ``str.splitlines`` does and, apart from that, at line feeds. A byte costs one
table look-up; marks and phrases are looked for only in words whose bytes can hold them.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from jurat.text.quality_columns import COLUMNS
from jurat.text.quality_repetition import fold_bytes, repeated_lines, repeated_n_grams, repeated_paragraphs
from jurat.text.simd import load_word
from jurat.text.words import _decode

__all__ = ["scan_documents"]

SPACE, BREAK, ALPHABETIC, PLAIN, TERMINAL, MARKED, LETTER_J, DECIMAL = (1 << bit for bit in range(8))
_HIGH = 256
_C = {name: index for index, name in enumerate(COLUMNS)}
(_CHARACTERS, _NEWLINES, _WORDS, _WORD_CHARACTERS, _PLAIN_WORDS, _PLAIN_CHARACTERS, _ALPHABETIC_WORDS) = range(7)
_STOP_WORDS, _HASHES, _ELLIPSES, _BRACKETS = (
    _C["stop_words"],
    _C["hash_signs"],
    _C["ellipses"],
    _C["curly_brackets"],
)
_LINES, _BULLET_LINES, _ELLIPSIS_LINES = _C["lines"], _C["bullet_lines"], _C["ellipsis_lines"]
_JAVASCRIPT_LINES, _LOREM_LINES, _POLICY_LINES = (
    _C["javascript_lines"],
    _C["lorem_ipsum_lines"],
    _C["policy_lines"],
)
_SENTENCES = _C["sentences"]
_C4_LONG, _C4_OPEN, _C4_SHORT, _C4_LOREM, _C4_JAVASCRIPT, _C4_BRACKET, _C4_POLICY, _C4_KEPT, _C4_SENTENCES = range(
    _C["c4_long_word_lines"], _C["c4_long_word_lines"] + 9
)
_PARAGRAPHS, _FEED_LINES, _TOP = _C["paragraphs"], _C["feed_lines"], _C["top_2_gram_characters"]
_FILLED_LINES = _C["filled_lines"]

# What is known of the line so far.
_L_WORDS, _L_LONG, _L_PHRASES, _L_ENDS, _L_CLOSED, _L_BEGIN, _L_END = range(7)
_JAVASCRIPT, _LOREM, _POLICY, _BRACKET = 1, 2, 4, 8
_LONGEST_WORD, _FEWEST_WORDS, _SHORT_LINE = 1000, 3, 30

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
_STOP = np.array(
    [int.from_bytes(word.encode(), "little") for word in ("the", "be", "to", "of", "and", "that", "have", "with")]
)


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _reads(data, place, stop, pattern):  # type: ignore[no-untyped-def]
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


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _phrases(data, begin, end, stop, line):  # type: ignore[no-untyped-def]
    """Look for the phrases of several words whose first one ends at ``end``."""
    size = end - begin
    if data[end - 1] == 109 or data[end - 1] == 77 or data[end - 1] | 32 in (115, 121, 101):
        if size >= 4:
            tail = np.int64((load_word(data, end - 4)) & np.uint64(0xFFFFFFFF)) | _LOWER
            for t in range(5):
                at = end - _TAIL_STARTS[t]
                if tail == _TAILS[t] and at >= begin and _reads(data, at, stop, t + 1):
                    line[_L_PHRASES] |= _LOREM if t == 0 else _POLICY
        if size >= 3:
            tail = np.int64(load_word(data, end - 3) & np.uint64(0xFFFFFF)) | 0x202020
            if tail == _TAIL_USE and (_reads(data, end - 3, stop, 6) or _reads(data, end - 3, stop, 7)):
                line[_L_PHRASES] |= _POLICY
    if size >= 8 and data[end - 5] == 0xE2 and data[end - 4] == 0x84 and data[end - 3] == 0xAA:
        if _reads(data, end - 8, stop, 4):
            line[_L_PHRASES] |= _POLICY


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _marks(data, begin, end, table, line, out):  # type: ignore[no-untyped-def]
    """Count number signs, brackets, ellipses and ends of sentences within one word."""
    dots = ends = 0
    in_run = is_counted = is_closed = False
    place = begin
    while place < end:
        point, length = _decode(data, place, end)
        place += length
        dots = dots + 1 if point == 46 else 0
        if dots == 3:
            out[_ELLIPSES] += 1
            dots = 0
        if point == 35:
            out[_HASHES] += 1
        elif point == 123:
            out[_BRACKETS] += 1
            line[_L_PHRASES] |= _BRACKET
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
            is_closed = is_closed and _closes(point)
    if is_closed and not is_counted:
        ends += 1
    line[_L_ENDS] += ends
    line[_L_CLOSED] = is_closed


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _closes(point):  # type: ignore[no-untyped-def]
    """Quotes and brackets that may follow the end of a sentence."""
    if point < 0x80:
        return point == 34 or point == 39 or point == 41 or point == 93 or point == 125
    return point == 0xBB or point == 0x2019 or point == 0x201D


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _stop_word(data, begin, size):  # type: ignore[no-untyped-def]
    """Bit of the stop word that stands here, or 0."""
    word = np.int64(load_word(data, begin) & ((np.uint64(1) << np.uint64(8 * size)) - np.uint64(1)))
    for index in range(8):
        if word == _STOP[index]:
            return 1 << index
    return 0


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _before_citation(data, begin, end, table):  # type: ignore[no-untyped-def]
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


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _is_terminated(data, begin, end, table):  # type: ignore[no-untyped-def]
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


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _close_c4(data, table, line, out):  # type: ignore[no-untyped-def]
    """The first reason for which C4 would drop the line."""
    phrases = line[_L_PHRASES]
    if line[_L_LONG]:
        out[_C4_LONG] += 1
    elif line[_L_WORDS] == 0 or not _is_terminated(data, line[_L_BEGIN], line[_L_END], table):
        out[_C4_OPEN] += 1
    elif line[_L_WORDS] < _FEWEST_WORDS:
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
        out[_C4_SENTENCES] += line[_L_ENDS] + (0 if line[_L_CLOSED] else 1)


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _close_line(data, table, line, out):  # type: ignore[no-untyped-def]
    """Count the line that ends here and begin another."""
    out[_LINES] += 1
    if line[_L_WORDS] > 0:
        begin, end = line[_L_BEGIN], line[_L_END]
        # The bullet is U+2022, the ellipsis U+2026: they differ in their last byte.
        if data[begin] == 45 or (end - begin >= 3 and _is_general(data, begin, 0xA2)):
            out[_BULLET_LINES] += 1
        if end - begin >= 3:
            dots = data[end - 1] == 46 and data[end - 2] == 46 and data[end - 3] == 46
            if dots or _is_general(data, end - 3, 0xA6):
                out[_ELLIPSIS_LINES] += 1
        out[_SENTENCES] += line[_L_ENDS] + (0 if line[_L_CLOSED] else 1)
        phrases = line[_L_PHRASES]
        if phrases:
            out[_JAVASCRIPT_LINES] += 1 if phrases & _JAVASCRIPT else 0
            out[_LOREM_LINES] += 1 if phrases & _LOREM else 0
            out[_POLICY_LINES] += 1 if phrases & _POLICY else 0
    _close_c4(data, table, line, out)
    line[:] = 0


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _is_general(data, place, last):  # type: ignore[no-untyped-def]
    """Does the character U+2080 to U+20BF with this last byte stand here?"""
    return data[place] == 0xE2 and data[place + 1] == 0x80 and data[place + 2] == last


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _word(data, place, stop, table):  # type: ignore[no-untyped-def]
    """End of the word at ``place``, what its characters are, and its bytes beyond one a character."""
    kinds = extra = 0
    while place < stop:
        byte = data[place]
        if byte < 0x80:
            kind = np.int64(table[byte])
            if kind & SPACE:
                break
            kinds |= kind
            place += 1
        else:
            point, length = _decode(data, place, stop)
            kind = PLAIN if point < 0 else np.int64(table[point])
            if kind & SPACE:
                break
            kinds |= kind | _HIGH
            place += length
            extra += length - 1
    return place, kinds, extra


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _count_word(data, begin, end, stop, length, kinds, table, line, out):  # type: ignore[no-untyped-def]
    """Enter a word into the counters and into its line; returns the bit of the stop word it is."""
    out[_WORD_CHARACTERS] += length
    if kinds & PLAIN:
        out[_PLAIN_WORDS] += 1
        out[_PLAIN_CHARACTERS] += length
    if kinds & ALPHABETIC:
        out[_ALPHABETIC_WORDS] += 1
    if line[_L_WORDS] == 0:
        line[_L_BEGIN] = begin
    line[_L_WORDS] += 1
    line[_L_END] = end
    line[_L_CLOSED] = 0
    if length > _LONGEST_WORD:
        line[_L_LONG] = 1
    if kinds & (MARKED | _HIGH):
        _marks(data, begin, end, table, line, out)
    if kinds & LETTER_J:
        for place in range(begin, end - 9):
            if data[place] | 32 == 106 and _reads(data, place, end, 0):
                line[_L_PHRASES] |= _JAVASCRIPT
                break
    if end < stop and data[end] == 32:
        _phrases(data, begin, end, stop, line)
    return _stop_word(data, begin, end - begin) if 2 <= end - begin <= 4 else 0


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _walk(data, start, stop, table, words, ends, feeds, line, out):  # type: ignore[no-untyped-def]
    """Count words and lines; returns words, line feeds, and the characters before the first and behind the last word."""
    n = m = characters = found = first = last = 0
    place = start
    while place < stop:
        byte = data[place]
        length, kind = 1, PLAIN
        if byte < 0x80:
            kind = np.int64(table[byte])
        else:
            point, length = _decode(data, place, stop)
            if point >= 0:
                kind = np.int64(table[point])
        if kind & SPACE:
            if kind & BREAK:
                if byte == 10:
                    feeds[m, 0], feeds[m, 1], feeds[m, 2] = place, characters, n
                    m += 1
                if byte != 13 or place + 1 >= stop or data[place + 1] != 10:
                    _close_line(data, table, line, out)
            place += length
            characters += 1
            continue
        end, kinds, extra = _word(data, place, stop, table)
        length = end - place - extra
        found |= _count_word(data, place, end, stop, length, kinds, table, line, out)
        words[n] = fold_bytes(data, place, end)
        ends[n + 1] = ends[n] + length
        if n == 0:
            first = characters
        characters += length
        last = characters
        n += 1
        place = end
        if place == stop:
            _close_line(data, table, line, out)
    # Whitespace that is no line break may stand behind the last one: it is a line too.
    if stop > start and not _ends_in_break(data, start, stop, table) and not _ends_in_word(last, characters, n):
        _close_line(data, table, line, out)
    for bit in range(8):
        out[_STOP_WORDS] += (found >> bit) & 1
    out[_CHARACTERS], out[_NEWLINES], out[_WORDS] = characters, m, n
    return n, m, first, last


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _ends_in_word(last, characters, n):  # type: ignore[no-untyped-def]
    return n > 0 and last == characters


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _last_point(data, start, stop):  # type: ignore[no-untyped-def]
    """The last code point before ``stop``, -1 where it is not UTF-8."""
    lead = stop - 1
    while lead > start and data[lead] & 0xC0 == 0x80 and stop - lead < 4:
        lead -= 1
    point, length = _decode(data, lead, stop)
    return point if lead + length == stop else np.int64(-1)


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _ends_in_break(data, start, stop, table):  # type: ignore[no-untyped-def]
    point = _last_point(data, start, stop)
    return point >= 0 and table[point] & BREAK != 0


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _feed_lines(data, start, stop, table, feeds, m, lines, out):  # type: ignore[no-untyped-def]
    """Cut lines at line feeds; writes hash, whether filled, and characters of each that is not empty, returns how many."""
    hashes, filled, lengths = lines
    count = 0
    begin, before, words = start, 0, 0
    for i in range(m + 1):
        end, after, so_far = feeds[i, 0], feeds[i, 1], feeds[i, 2]
        if end > begin:
            hashes[count] = fold_bytes(data, begin, end)
            lengths[count] = after - before
            filled[count] = so_far > words
            if so_far > words:
                out[_FILLED_LINES] += 1
                point = _last_point(data, begin, end)
                if point >= 0 and table[point] & TERMINAL:
                    out[_FILLED_LINES + 1] += 1
                if after - before <= _SHORT_LINE:
                    out[_FILLED_LINES + 2] += 1
            count += 1
        begin, before, words = end + 1, after + 1, so_far
    return count


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _document(data, start, stop, table, scratch, mark, out):  # type: ignore[no-untyped-def]
    """Count one document whose bytes have 64 readable ones behind them; returns the next mark."""
    words, ends, feeds, line, hashed, lines, tallies, firsts, slots, positions, counts = scratch
    line[:] = 0
    n, m, first, last = _walk(data, start, stop, table, words, ends, feeds, line, out)
    if stop == start:
        return mark
    feeds[m, 0], feeds[m, 1], feeds[m, 2] = stop, out[_CHARACTERS], n
    count = _feed_lines(data, start, stop, table, feeds, m, lines, out)
    mark += 1
    hashes, filled, lengths = lines
    repeats, repeated, repeated_filled = repeated_lines(hashes, filled, lengths, count, hashed, mark)
    leading, trailing = data[start] == 10, data[stop - 1] == 10
    out[_FEED_LINES] = count + leading + trailing
    # A text that begins and ends with a line feed has an empty line at both ends.
    out[_FEED_LINES + 1] = repeats + (1 if leading and trailing else 0)
    out[_FEED_LINES + 2] = repeated
    out[_FILLED_LINES + 3] = repeated_filled
    out[_PARAGRAPHS] = 1
    if n > 0:
        for i in range(m):
            positions[i], counts[i] = feeds[i, 0], feeds[i, 1]
        counts[m], counts[m + 1] = first, last
        begin, end = _strip(data, start, stop, table)
        mark += 1
        result = repeated_paragraphs(data, begin, end, positions, counts, m, hashed, mark)
        out[_PARAGRAPHS], out[_PARAGRAPHS + 1], out[_PARAGRAPHS + 2] = result
    return repeated_n_grams(words, ends, n, hashed, tallies, firsts, slots, mark, out[_TOP : _TOP + 9])


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _strip(data, start, stop, table):  # type: ignore[no-untyped-def]
    """Where the text begins and ends without whitespace around it; it holds at least one word."""
    begin, end = start, stop
    while True:
        point, length = _decode(data, begin, stop)
        if point < 0 or not table[point] & SPACE:
            break
        begin += length
    while True:
        point = _last_point(data, begin, end)
        if point < 0 or not table[point] & SPACE:
            break
        end -= 1 if point < 0x80 else (2 if point < 0x800 else 3)
    return begin, end


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _largest(data, offsets):  # type: ignore[no-untyped-def]
    """The most words and the most line feeds that any document can hold."""
    most_words = most_feeds = 0
    for document in range(len(offsets) - 1):
        spaces = feeds = 0
        for place in range(offsets[document], offsets[document + 1]):
            byte = data[place]
            feeds += byte == 10
            spaces += (byte <= 32) | (byte == 0xC2) | ((byte >= 0xE1) & (byte <= 0xE3))
        most_words, most_feeds = max(most_words, spaces + 1), max(most_feeds, feeds)
    return most_words, most_feeds


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def scan_documents(data, offsets, table, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` (int64, a row a document); documents at the very end of the buffer are read from a padded copy."""
    most_words, most_feeds = _largest(data, offsets)
    size = 16
    while size < 2 * max(most_words, most_feeds + 2):
        size *= 2
    scratch = (
        np.empty(most_words + 1, np.uint64),
        np.zeros(most_words + 2, np.int64),
        np.empty((most_feeds + 1, 3), np.int64),
        np.zeros(7, np.int64),
        (np.empty(size, np.uint64), np.zeros(size, np.int64)),
        (np.empty(most_feeds + 1, np.uint64), np.empty(most_feeds + 1, np.bool_), np.empty(most_feeds + 1, np.int64)),
        np.empty((size, 2), np.int64),
        np.empty(most_words + 1, np.int64),
        np.empty((2, most_words + 1), np.int64),
        np.empty(most_feeds + 1, np.int64),
        np.empty(most_feeds + 3, np.int64),
    )
    mark = 0
    for document in range(len(offsets) - 1):
        start, stop = offsets[document], offsets[document + 1]
        if stop + 64 <= len(data):
            mark = _document(data, start, stop, table, scratch, mark, out[document])
        elif stop > start:
            copy = np.zeros(stop - start + 64, np.uint8)
            copy[: stop - start] = data[start:stop]
            mark = _document(copy, 0, stop - start, table, scratch, mark, out[document])
