"""One walk over a document's bytes that counts words, lines, marks and phrases.

Words are cut as ``str.split`` does, lines as ``str.splitlines`` does and, apart from that, at line feeds. What the bytes are
is mapped sixty-four at a time; a word of ASCII is read from the maps, and marks and phrases are looked for only in words whose
bytes can hold them. Runs that hold anything else are walked character by character.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from jurat.text.quality_columns import COLUMNS
from jurat.text.quality_lines import (
    ALPHABETIC,
    BREAK,
    LETTER_J,
    LINE_BEGIN,
    LINE_CLOSED,
    LINE_END,
    LINE_ENDS,
    LINE_LONG,
    LINE_WORDS,
    MARKED,
    PLAIN,
    SPACE,
    TERMINAL,
    close_line,
    closes,
    find_javascript,
    find_marks,
    find_phrases,
    last_point,
)
from jurat.text.quality_masks import BREAKS, LETTERS, PLAINS, RARE, bits_at, map_document, next_bit
from jurat.text.quality_repetition import fold_bytes, fold_short, repeated_lines, repeated_n_grams, repeated_paragraphs
from jurat.text.simd import LEAF, load_word, lowest_bit
from jurat.text.words import _decode

__all__ = ["scan_documents"]

_HIGH = 256
_LONGEST_WORD, _SHORT_LINE = 1000, 30
_C = {name: index for index, name in enumerate(COLUMNS)}
_CHARACTERS, _NEWLINES, _WORDS, _WORD_CHARACTERS, _PLAIN_WORDS, _PLAIN_CHARACTERS, _ALPHABETIC_WORDS = range(7)
_STOP_WORDS, _PARAGRAPHS, _TOP = _C["stop_words"], _C["paragraphs"], _C["top_2_gram_characters"]
_FEED_LINES, _FILLED_LINES = _C["feed_lines"], _C["filled_lines"]

# What the walk and its careful part hand to each other.
_N, _AT, _FIRST, _LAST, _FOUND = range(5)

_SPREAD = 0x6EC9D287
_STOP_WORD_OF = dict.fromkeys(range(8), "")
for _name in ("be", "to", "of", "the", "and", "that", "have", "with"):
    _STOP_WORD_OF[(int.from_bytes(_name.encode(), "little") * _SPREAD & 0xFFFFFFFF) >> 29] = _name
_STOP = np.array([int.from_bytes(_STOP_WORD_OF[place].encode(), "little") for place in range(8)], np.uint64)
_STOP_SIZES = np.array([len(_STOP_WORD_OF[place]) for place in range(8)], np.int64)

# The first words of phrases end in em, ms, cy, ie, es, se, which few others do; other letters may share their low bits.
_OPENINGS = np.zeros(1024, np.bool_)
for _first, _second in ("em", "ms", "cy", "ie", "es", "se"):
    _OPENINGS[(ord(_first) & 31) << 5 | ord(_second) & 31] = True


@nb.njit(**LEAF)
def _word(data, place, stop, table):
    """End of the word at ``place``, what its characters are, and its bytes beyond one a character."""
    kinds, extra = np.int64(0), 0
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
            kind = np.int64(PLAIN if point < 0 else table[point])
            if kind & SPACE:
                break
            kinds |= kind | _HIGH
            place += length
            extra += length - 1
    return place, kinds, extra


@nb.njit(inline="always", **LEAF)
def _may_open(data, end):
    """Can a word that ends here be the first of a phrase? Five bits of its last two letters tell."""
    return _OPENINGS[((np.int64(data[end - 2]) & 31) << 5) | (np.int64(data[end - 1]) & 31)]


@nb.njit(inline="always", **LEAF)
def _stop_word(low, size):
    """Bit of the stop word whose bytes these are, or 0; the product gives each of the eight a place of its own."""
    place = ((low * np.uint64(_SPREAD)) & np.uint64(0xFFFFFFFF)) >> np.uint64(29)
    return np.int64((_STOP[place] == low) & (_STOP_SIZES[place] == size)) << np.int64(place)


@nb.njit(**LEAF)
def _careful_word(data, begin, end, stop, length, kinds, table, line, state, out):
    """Enter a word into the counters and into its line, whatever its characters are."""
    if kinds & PLAIN:
        out[_PLAIN_WORDS] += 1
        out[_PLAIN_CHARACTERS] += length
    if kinds & ALPHABETIC:
        out[_ALPHABETIC_WORDS] += 1
    if line[LINE_WORDS] == 0:
        line[LINE_BEGIN] = begin
    line[LINE_WORDS] += 1
    line[LINE_END] = end
    line[LINE_CLOSED] = 0
    if length > _LONGEST_WORD:
        line[LINE_LONG] = 1
    if kinds & (MARKED | _HIGH):
        find_marks(data, begin, end, table, line, out)
    if kinds & LETTER_J:
        find_javascript(data, begin, end, line)
    size = end - begin
    if size >= 3 and end < stop and data[end] == 32 and _may_open(data, end):
        find_phrases(data, begin, end, stop, line)
    if size <= 4:
        low = load_word(data, begin) & ((np.uint64(1) << np.uint64(8 * size)) - np.uint64(1))
        state[_FOUND] |= _stop_word(low, size)


@nb.njit(**LEAF)
def _careful_run(data, begin, end, stop, table, words, ends, line, state, out):
    """Walk a run without ASCII whitespace character by character: it may hold other whitespace, or be very long."""
    n, characters = state[_N], state[_AT]
    place = begin
    while place < end:
        if data[place] >= 0x80:
            point, length = _decode(data, place, end)
            if point >= 0 and table[point] & SPACE:
                if table[point] & BREAK:
                    close_line(data, table, line, out)
                place += length
                characters += 1
                continue
        last, kinds, extra = _word(data, place, end, table)
        length = last - place - extra
        _careful_word(data, place, last, stop, length, kinds, table, line, state, out)
        words[n] = fold_bytes(data, place, last)
        ends[n + 1] = ends[n] + length
        if n == 0:
            state[_FIRST] = characters
        characters += length
        state[_LAST] = characters
        n += 1
        place = last
    state[_N], state[_AT] = n, characters


@nb.njit(**LEAF)
def _look_closer(data, begin, end, rare, table, line, out):
    """Enter the marks and the j of a word in ASCII, given as bits from ``begin``; most words with marks have one."""
    only = rare & (rare - np.uint64(1)) == 0
    last = begin + lowest_bit(rare)
    byte = data[last]
    if only and (byte == 46 or byte == 63 or byte == 33):
        is_closed = True
        for place in range(last + 1, end):
            is_closed = is_closed and closes(np.int64(data[place]))
        line[LINE_CLOSED] = is_closed
        line[LINE_ENDS] += is_closed
        return
    if not (only and byte | 32 == 106):
        find_marks(data, begin, end, table, line, out)
    find_javascript(data, begin, end, line)


@nb.njit(**LEAF)
def _gap(data, start, place, end, stop, n, characters, maps, feeds, m, table, line, out):
    """Line breaks of the whitespace ``[place, end)``, counted from ``start``; returns the line feeds so far."""
    shift = characters - place
    place = next_bit(maps, place, end, BREAKS)
    while place < end:
        byte = data[start + place]
        if byte == 10:
            feeds[m, 0], feeds[m, 1], feeds[m, 2] = start + place, place + shift, n
            m += 1
        if byte != 13 or start + place + 1 >= stop or data[start + place + 1] != 10:
            close_line(data, table, line, out)
        place = next_bit(maps, place + 1, end, BREAKS)
    return m


@nb.njit(**LEAF)
def _walk(data, start, stop, table, scratch, state, out):
    """Count words and lines; a run of ASCII is one word, whose kinds are read from the maps.

    Returns words, line feeds, and the characters before the first and behind the last word.
    """
    words, ends, feeds, line, maps, edges = scratch
    n = m = found = plain = plain_characters = alphabetic = extra = previous = first = last = 0
    runs = map_document(data, start, stop, maps, edges)
    for run in range(0, runs, 2):
        at, to = int(edges[run]), int(edges[run + 1])
        if at - previous != 1 or data[start + previous] != 32:
            m = _gap(data, start, previous, at, stop, n, previous - extra, maps, feeds, m, table, line, out)
        previous = to
        size, begin, end = to - at, start + at, start + to
        within = ~np.uint64(0) >> np.uint64(64 - min(size, 64))
        rare = bits_at(maps, at, RARE) & within
        if size > 64 or (rare and _is_high(data, begin, rare)):
            state[_N], state[_AT], state[_FIRST], state[_LAST], state[_FOUND] = n, at - extra, first, last, found
            _careful_run(data, begin, end, stop, table, words, ends, line, state, out)
            n, extra, first, last, found = state[_N], to - state[_AT], state[_FIRST], state[_LAST], state[_FOUND]
            continue
        if bits_at(maps, at, PLAINS) & within:
            plain += 1
            plain_characters += size
        if bits_at(maps, at, LETTERS) & within:
            alphabetic += 1
        if line[LINE_WORDS] == 0:
            line[LINE_BEGIN] = begin
        line[LINE_WORDS] += 1
        line[LINE_END], line[LINE_CLOSED] = end, 0
        if rare:
            _look_closer(data, begin, end, rare, table, line, out)
        if size >= 3 and _may_open(data, end) and end < stop and data[end] == 32:
            find_phrases(data, begin, end, stop, line)
        if size <= 8:
            low = load_word(data, begin) & (~np.uint64(0) >> np.uint64(64 - 8 * size))
            found |= _stop_word(low, size)
            words[n] = fold_short(low, size)
        else:
            words[n] = fold_bytes(data, begin, end)
        if n == 0:
            first = at - extra
        last = to - extra
        ends[n + 1] = ends[n] + size
        n += 1
    if previous < stop - start:
        size = stop - start
        m = _gap(data, start, previous, size, stop, n, previous - extra, maps, feeds, m, table, line, out)
    # What stands behind the last line break is a line too, whitespace as well.
    if stop > start and not _ends_in_break(data, start, stop, table):
        close_line(data, table, line, out)
    for bit in range(8):
        out[_STOP_WORDS] += (found >> bit) & 1
    out[_CHARACTERS], out[_NEWLINES], out[_WORDS], out[_WORD_CHARACTERS] = stop - start - extra, m, n, ends[n]
    out[_PLAIN_WORDS] += plain
    out[_PLAIN_CHARACTERS] += plain_characters
    out[_ALPHABETIC_WORDS] += alphabetic
    return n, m, first, last


@nb.njit(**LEAF)
def _is_high(data, begin, rare):
    """Is any of the bytes at these bits not ASCII?"""
    while rare:
        if data[begin + lowest_bit(rare)] >= 0x80:
            return True
        rare &= rare - np.uint64(1)
    return False


@nb.njit(**LEAF)
def _ends_in_break(data, start, stop, table):
    point = last_point(data, start, stop)
    return point >= 0 and table[point] & BREAK != 0


@nb.njit(**LEAF)
def _feed_lines(data, start, stop, table, feeds, m, lines, out):
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
                point = last_point(data, begin, end)
                if point >= 0 and table[point] & TERMINAL:
                    out[_FILLED_LINES + 1] += 1
                if after - before <= _SHORT_LINE:
                    out[_FILLED_LINES + 2] += 1
            count += 1
        begin, before, words = end + 1, after + 1, so_far
    return count


@nb.njit(**LEAF)
def _document(data, start, stop, table, scratch, mark, out):
    """Count one document whose bytes have 64 readable ones behind them; returns the next mark."""
    walk, state, hashed, lines, counted, positions, counts = scratch
    words, ends, feeds, line = walk[:4]
    line[:] = 0
    n, m, first, last = _walk(data, start, stop, table, walk, state, out)
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
    repeated_n_grams(words, ends, n, counted, out[_TOP : _TOP + 9])
    return mark


@nb.njit(**LEAF)
def _strip(data, start, stop, table):
    """Where the text begins and ends without whitespace around it; it holds at least one word."""
    begin, end = start, stop
    while True:
        point, length = _decode(data, begin, stop)
        if point < 0 or not table[point] & SPACE:
            break
        begin += length
    while True:
        point = last_point(data, begin, end)
        if point < 0 or not table[point] & SPACE:
            break
        end -= 1 if point < 0x80 else (2 if point < 0x800 else 3)
    return begin, end


@nb.njit(**LEAF)
def _largest(data, offsets):
    """The most bytes, words and line feeds that any document can hold."""
    most_bytes = most_words = most_feeds = 0
    for document in range(len(offsets) - 1):
        spaces = feeds = 0
        for place in range(offsets[document], offsets[document + 1]):
            byte = data[place]
            feeds += byte == 10
            spaces += (byte <= 32) | (byte == 0xC2) | ((byte >= 0xE1) & (byte <= 0xE3))
        most_bytes = max(most_bytes, offsets[document + 1] - offsets[document])
        most_words, most_feeds = max(most_words, spaces + 1), max(most_feeds, feeds)
    return most_bytes, most_words, most_feeds


@nb.njit(**LEAF)
def _power_above(number):
    size = 16
    while size < number:
        size *= 2
    return size


@nb.njit(cache=True, nogil=True)
def scan_documents(data, offsets, table, out):
    """Fill ``out`` (int64, a row a document); documents at the very end of the buffer are read from a padded copy."""
    most_bytes, most_words, most_feeds = _largest(data, offsets)
    size = _power_above(2 * (most_feeds + 2))
    scratch = (
        (
            np.empty(most_words + 1, np.uint64),
            np.zeros(most_words + 2, np.int64),
            np.empty((most_feeds + 1, 3), np.int64),
            np.zeros(7, np.int64),
            np.empty(4 * (most_bytes // 64 + 3), np.uint64),
            np.empty(2 * most_words + 16, np.int32),
        ),
        np.zeros(5, np.int64),
        (np.empty(size, np.uint64), np.zeros(size, np.int64)),
        (np.empty(most_feeds + 1, np.uint64), np.empty(most_feeds + 1, np.bool_), np.empty(most_feeds + 1, np.int64)),
        (
            np.empty(_power_above(4 * most_words), np.uint8),
            np.empty(2 * _power_above(2 * most_words), np.uint64),
            np.empty(most_words + 1, np.int64),
            np.empty((2, most_words + 1), np.int64),
        ),
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
