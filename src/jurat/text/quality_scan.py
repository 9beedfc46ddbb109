"""One walk over a document's bytes that counts words, lines, marks and phrases.

Words are cut as ``str.split`` does, lines as ``str.splitlines`` does and, apart from that, at line feeds. A byte costs one
table look-up; marks and phrases are looked for only in words whose bytes can hold them.
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
    LINE_LONG,
    LINE_WORDS,
    MARKED,
    PLAIN,
    SPACE,
    TERMINAL,
    close_line,
    find_javascript,
    find_marks,
    find_phrases,
    last_point,
    stop_word,
)
from jurat.text.quality_repetition import fold_bytes, repeated_lines, repeated_n_grams, repeated_paragraphs
from jurat.text.words import _decode

__all__ = ["scan_documents"]

_HIGH = 256
_LONGEST_WORD, _SHORT_LINE = 1000, 30
_C = {name: index for index, name in enumerate(COLUMNS)}
_CHARACTERS, _NEWLINES, _WORDS, _WORD_CHARACTERS, _PLAIN_WORDS, _PLAIN_CHARACTERS, _ALPHABETIC_WORDS = range(7)
_STOP_WORDS, _PARAGRAPHS, _TOP = _C["stop_words"], _C["paragraphs"], _C["top_2_gram_characters"]
_FEED_LINES, _FILLED_LINES = _C["feed_lines"], _C["filled_lines"]


@nb.njit(cache=True, nogil=True)
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


@nb.njit(cache=True, nogil=True)
def _may_open(first, second):
    """Can a word that ends so be the first of a phrase? These end in em, ms, cy, ie, es, se, which few others do."""
    pair = (np.int64(first) << 8) | np.int64(second)
    return pair == 0x656D or pair == 0x6D73 or pair == 0x6379 or pair == 0x6965 or pair == 0x6573 or pair == 0x7365


@nb.njit(cache=True, nogil=True)
def _count_word(data, begin, end, stop, length, kinds, table, line, out):
    """Enter a word into the counters and into its line; returns the bit of the stop word it is."""
    out[_WORD_CHARACTERS] += length
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
    if end - begin >= 3 and end < stop and data[end] == 32 and _may_open(data[end - 2] | 32, data[end - 1] | 32):
        find_phrases(data, begin, end, stop, line)
    return stop_word(data, begin, end - begin) if 2 <= end - begin <= 4 else 0


@nb.njit(cache=True, nogil=True)
def _walk(data, start, stop, table, words, ends, feeds, line, out):
    """Count words and lines; returns words, line feeds, and the characters before the first and behind the last word."""
    n = m = characters = found = first = last = 0
    place = start
    while place < stop:
        byte = data[place]
        if byte == 32:
            place += 1
            characters += 1
            continue
        length, kind = 1, np.int64(PLAIN)
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
                    close_line(data, table, line, out)
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
            close_line(data, table, line, out)
    # Whitespace that is no line break may stand behind the last one: it is a line too.
    if stop > start and not _ends_in_break(data, start, stop, table) and not _ends_in_word(last, characters, n):
        close_line(data, table, line, out)
    for bit in range(8):
        out[_STOP_WORDS] += (found >> bit) & 1
    out[_CHARACTERS], out[_NEWLINES], out[_WORDS] = characters, m, n
    return n, m, first, last


@nb.njit(cache=True, nogil=True)
def _ends_in_word(last, characters, n):
    return n > 0 and last == characters


@nb.njit(cache=True, nogil=True)
def _ends_in_break(data, start, stop, table):
    point = last_point(data, start, stop)
    return point >= 0 and table[point] & BREAK != 0


@nb.njit(cache=True, nogil=True)
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


@nb.njit(cache=True, nogil=True)
def _document(data, start, stop, table, scratch, mark, out):
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


@nb.njit(cache=True, nogil=True)
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


@nb.njit(cache=True, nogil=True)
def _largest(data, offsets):
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


@nb.njit(cache=True, nogil=True)
def scan_documents(data, offsets, table, out):
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
