"""Protobuf's wire format, read and turned into columns by compiled code that trusts no byte of it.

Every read is behind a comparison with the end of what encloses it, every loop moves forward or stops, nesting is limited by a
stack of fixed size. A span that cannot be read gets a reason and the next one begins where its length says.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, type-arg"

from __future__ import annotations

import numba as nb
import numpy as np

from jurat.text.simd import fold_product, load_word

__all__ = [
    "ATTRIBUTE_FIELDS", "LEFT_OUT", "MOST_SPANS", "REASONS", "RESOURCE_FIELDS", "SPAN_FIELDS",
    "choose", "count_unmapped", "gather", "hash_key", "number_cells", "scan", "text_cells", "write_attributes", "write_hex",
]  # fmt: skip

BROKEN, BAD_TRACE, BAD_SPAN, BAD_PARENT, NO_START, NOT_UTF8, TWICE, TOO_DEEP, BAD_RESOURCE = range(1, 10)
REASONS = {
    BROKEN: "a field is cut off, or its length or number is impossible",
    BAD_TRACE: "trace_id is not 16 bytes, or all zero",
    BAD_SPAN: "span_id is not 8 bytes, or all zero",
    BAD_PARENT: "parent_span_id is not 8 bytes",
    NO_START: "start_time_unix_nano is missing",
    NOT_UTF8: "a text is not UTF-8",
    TWICE: "an attribute has more than one value",
    TOO_DEEP: "an attribute is nested deeper than 32 levels",
    BAD_RESOURCE: "the resource's attributes cannot be read",
}
"""What is wrong with a span, by the kernels' numbers."""

# Columns of the tables that the kernels fill.
S_RESOURCE, S_TRACE, S_TRACE_N, S_ID, S_ID_N, S_PARENT, S_PARENT_N, S_START, S_END, S_STATUS = range(10)
S_REASON, S_FROM, S_TO = range(10, 13)
SPAN_FIELDS = 13
A_KEY, A_KEY_N, A_ALIAS, A_TYPE, A_VALUE, A_VALUE_N, A_INDEX, A_SOURCE, A_BODY, A_BODY_N = range(10)
ATTRIBUTE_FIELDS = 10
R_FROM, R_TO, R_REASON = range(3)
RESOURCE_FIELDS = 3

UNMAPPED = -1
LEFT_OUT = -2
"""In place of a fragment's number: the attribute is checked and not written."""
TEXT, BOOL, INT, DOUBLE, ARRAY, KVLIST, BYTES = range(1, 8)
"""Types of a value: the field numbers of AnyValue; 0 is none."""

MOST_SPANS = 1_000_000
"""Spans of one request; an empty one takes two bytes, so a small request could ask for any amount of memory."""

_DEPTH = 32
_KEY = 192
_LOW, _HIGH = 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93
_MOST_INHERITED = 256


@nb.njit(cache=True, nogil=True, forceinline=True)
def read_varint(data, place, stop):
    """Number at ``place`` and the place behind it; -1 for that where it is cut off or longer than ten bytes."""
    if place < stop and data[place] < 0x80:
        return np.uint64(data[place]), place + 1
    value = np.uint64(0)
    shift = np.uint64(0)
    for i in range(10):
        if place + i >= stop:
            return value, np.int64(-1)
        byte = np.uint64(data[place + i])
        value |= (byte & np.uint64(0x7F)) << shift
        if byte < 0x80:
            return value, place + i + 1
        shift += np.uint64(7)
    return value, np.int64(-1)


@nb.njit(cache=True, nogil=True, forceinline=True)
def next_field(data, place, stop):
    """Field at ``place``: number, wire type, value (or where its bytes begin), their number, the place behind.

    The place behind is -1 where the field cannot be read. Lengths are compared as unsigned numbers with what is left, so no
    sum can overflow.
    """
    tag, place = read_varint(data, place, stop)
    number, wire = np.int64(tag >> np.uint64(3)), np.int64(tag & np.uint64(7))
    bad = np.int64(-1)
    if place < 0 or number < 1 or number > 0x1FFFFFFF:
        return number, wire, bad, bad, bad
    if wire == 0:
        value, place = read_varint(data, place, stop)
        return number, wire, np.int64(value), np.int64(0), place
    if wire == 1:
        if stop - place < 8:
            return number, wire, bad, bad, bad
        return number, wire, np.int64(load_word(data, place)), np.int64(8), place + 8
    if wire == 5:
        return number, wire, place, np.int64(4), (place + 4 if stop - place >= 4 else bad)
    if wire != 2:
        return number, wire, bad, bad, bad
    length, place = read_varint(data, place, stop)
    if place < 0 or length > np.uint64(stop - place):
        # Where the value would begin is told all the same: what encloses spans is read as far as it goes.
        return number, wire, place, bad, bad
    size = np.int64(length)
    return number, wire, place, size, place + size


@nb.njit(cache=True, nogil=True, forceinline=True)
def hash_key(data, start, length):
    """Hash of a run of bytes."""
    h = np.uint64(length) * np.uint64(_LOW) + np.uint64(1)
    place, stop = start, start + length
    while stop - place >= 8:
        h = fold_product(h ^ load_word(data, place) ^ np.uint64(_LOW), np.uint64(_HIGH))
        place += 8
    tail = np.uint64(0)
    if len(data) - place >= 8:
        tail = load_word(data, place) & ((np.uint64(1) << np.uint64(8 * (stop - place))) - np.uint64(1))
    else:
        for i in range(stop - place):
            tail |= np.uint64(data[place + i]) << np.uint64(8 * i)
    return fold_product(h ^ tail, np.uint64(_LOW))


@nb.njit(cache=True, nogil=True, forceinline=True)
def _find(data, start, length, table, names, places):
    """Number of the alias with this name, or -1. ``table`` is open: its size a power of two, -1 free, never full."""
    mask = len(table) - 1
    slot = np.int64(hash_key(data, start, length) & np.uint64(mask))
    while table[slot] >= 0:
        alias = table[slot]
        if places[alias + 1] - places[alias] == length:
            at, i = places[alias], np.int64(0)
            while length - i >= 8 and load_word(names, at + i) == load_word(data, start + i):
                i += 8
            while i < length and names[at + i] == data[start + i]:
                i += 1
            if i == length:
                return alias
        slot = (slot + 1) & mask
    return np.int64(-1)


@nb.njit(cache=True, nogil=True)
def _find_indexed(data, start, length, table, names, places, scratch):
    """The same with runs of digits between dots read as ``*``; and the first two numbers, together."""
    if length > _KEY:
        return np.int64(-1), np.int64(0)
    n, place, stop, index, seen = 0, start, start + length, np.int64(0), 0
    while place < stop:
        end = place
        number = np.int64(0)
        if place > start and data[place - 1] == 46:
            while end < stop and 48 <= data[end] <= 57:
                number = min(number * 10 + np.int64(data[end]) - 48, np.int64(99_999))
                end += 1
        if end > place and (end == stop or data[end] == 46):
            scratch[n] = 42
            if seen == 0:
                index = number * 100_000
            elif seen == 1:
                index += number
            seen += 1
            place = end
        else:
            scratch[n] = data[place]
            place += 1
        n += 1
    if seen == 0:
        return np.int64(-1), np.int64(0)
    return _find(scratch, 0, n, table, names, places), index + 1


@nb.njit(cache=True, nogil=True, forceinline=True)
def any_value(data, place, stop):
    """Type, value (or start), length and error of an AnyValue."""
    kind, value, size = np.int64(0), np.int64(0), np.int64(0)
    while place < stop:
        number, wire, v, n, place = next_field(data, place, stop)
        if place < 0:
            return kind, value, size, BROKEN
        want = 2 if number == 1 or 5 <= number <= 7 else 1 if number == 4 else 0
        if 1 <= number <= 7 and wire == want:
            if kind != 0:
                return kind, value, size, TWICE
            kind, value, size = number, v, n
    return kind, value, size, 0


@nb.njit(cache=True, nogil=True, forceinline=True)
def _key_value(data, place, stop):
    """Key's start and length, the value's type, value and length, error."""
    key, key_n, kind, value, size = place, np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    seen = False
    while place < stop:
        number, wire, v, n, place = next_field(data, place, stop)
        if place < 0:
            return key, key_n, kind, value, size, BROKEN
        if number == 1 and wire == 2:
            key, key_n = v, n
        elif number == 2 and wire == 2:
            if seen:
                return key, key_n, kind, value, size, TWICE
            seen = True
            kind, value, size, error = any_value(data, v, v + n)
            if error:
                return key, key_n, kind, value, size, error
    return key, key_n, kind, value, size, 0


@nb.njit(cache=True, nogil=True)
def _attribute(data, start, length, attributes, n, source, aliases):
    """Read one attribute into row ``n`` (where there is room); its error."""
    table, names, places, scratch = aliases
    key, key_n, kind, value, size, error = _key_value(data, start, start + length)
    if error or n >= len(attributes):
        return error
    index = np.int64(0)
    alias = _find(data, key, key_n, table, names, places)
    if alias < 0:
        alias, index = _find_indexed(data, key, key_n, table, names, places, scratch)
    attributes[n, A_KEY], attributes[n, A_KEY_N], attributes[n, A_ALIAS], attributes[n, A_TYPE] = (
        key,
        key_n,
        alias,
        kind,
    )
    attributes[n, A_VALUE], attributes[n, A_VALUE_N], attributes[n, A_INDEX] = value, size, index
    attributes[n, A_SOURCE], attributes[n, A_BODY], attributes[n, A_BODY_N] = source, start, length
    return 0


@nb.njit(cache=True, nogil=True)
def _all_zero(data, start, length):
    for i in range(length):  # noqa: SIM110
        if data[start + i] != 0:
            return False
    return True


@nb.njit(cache=True, nogil=True)
def _event(data, start, length, attributes, n, aliases):
    """Attributes of an event (field 3): how many there are in the table behind it, and the error."""
    place, stop = start, start + length
    while place < stop:
        number, wire, v, size, place = next_field(data, place, stop)
        if place < 0:
            return n, BROKEN
        if number == 3 and wire == 2:
            error = _attribute(data, v, size, attributes, n, 1, aliases)
            if error:
                return n, error
            n += 1
    return n, 0


@nb.njit(cache=True, nogil=True)
def _status(data, start, length):
    """Code of a status, -1 where it cannot be read."""
    code, place, stop = np.int64(0), start, start + length
    while place < stop:
        number, wire, v, _, place = next_field(data, place, stop)
        if place < 0:
            return np.int64(-1)
        if number == 3 and wire == 0:
            code = np.int64(np.int32(v))
    return code if code >= 0 else np.int64(0)


@nb.njit(cache=True, nogil=True)
def _span(data, start, length, row, attributes, n, aliases):
    """Read a span into its row and its attributes into theirs: how many attributes there are now."""
    row[:] = 0
    row[S_FROM] = n
    reason, place, stop = 0, start, start + length
    while place < stop and reason == 0:
        number, wire, v, size, place = next_field(data, place, stop)
        if place < 0:
            reason = BROKEN
        elif wire == 2:
            if number == 9:
                reason = _attribute(data, v, size, attributes, n, 0, aliases)
                n += 1
            elif number == 11:
                n, reason = _event(data, v, size, attributes, n, aliases)
            elif number == 15:
                code = _status(data, v, size)
                row[S_STATUS] = max(code, 0)
                reason = BROKEN if code < 0 else 0
            elif number == 1:
                row[S_TRACE], row[S_TRACE_N] = v, size
            elif number == 2:
                row[S_ID], row[S_ID_N] = v, size
            elif number == 4:
                row[S_PARENT], row[S_PARENT_N] = v, size
        elif wire == 1:
            if number == 7:
                row[S_START] = v
            elif number == 8:
                row[S_END] = v
    row[S_TO] = n
    row[S_REASON] = reason if reason else _identity(data, row)
    return n


@nb.njit(cache=True, nogil=True)
def _identity(data, row):
    """What is wrong with ids and times, or 0."""
    if row[S_TRACE_N] != 16 or _all_zero(data, row[S_TRACE], 16):
        return BAD_TRACE
    if row[S_ID_N] != 8 or _all_zero(data, row[S_ID], 8):
        return BAD_SPAN
    if row[S_PARENT_N] != 0 and row[S_PARENT_N] != 8:
        return BAD_PARENT
    return NO_START if row[S_START] == 0 else 0


@nb.njit(cache=True, nogil=True)
def _container(data, place, stop):
    """As `next_field`, but a length beyond the end counts as up to the end; last, whether it was so."""
    number, wire, v, size, behind = next_field(data, place, stop)
    if behind < 0 and wire == 2 and v >= 0:
        return number, wire, v, stop - v, stop, True
    return number, wire, v, size, behind, behind < 0


@nb.njit(cache=True, nogil=True)
def _resource(data, start, length, resource, attributes, n, aliases):
    """Attributes of a resource; how many there are in the table now."""
    place, stop = start, start + length
    while place < stop:
        number, wire, v, size, place = next_field(data, place, stop)
        if place < 0:
            resource[R_REASON] = BAD_RESOURCE
            break
        if number == 1 and wire == 2:
            if _attribute(data, v, size, attributes, n, 2, aliases):
                resource[R_REASON] = BAD_RESOURCE
            else:
                n += 1
    return n


@nb.njit(cache=True, nogil=True)
def _scope(data, start, stop, resource, spans, attributes, counts, aliases):
    """Spans of one scope."""
    place = start
    while place < stop:
        number, wire, v, size, place, cut = _container(data, place, stop)
        counts[3] += cut
        if place < 0:
            break
        if number == 2 and wire == 2:
            n = counts[1]
            if n >= MOST_SPANS:
                counts[4] += 1
                continue
            row = spans[min(n, len(spans) - 1)]
            counts[2] = _span(data, v, size, row, attributes, counts[2], aliases)
            row[S_RESOURCE] = resource
            if cut:
                row[S_REASON] = BROKEN
            counts[1] = n + 1


@nb.njit(cache=True, nogil=True)
def scan(data, resources, spans, attributes, counts, table, names, places):
    """Walk a whole request.

    ``counts`` becomes: resources, spans, attributes, broken containers, spans too many. Where a table is too small
    nothing is written beyond it (its last row is scratch) and the counts say what is needed.
    """
    aliases = (table, names, places, np.empty(_KEY, np.uint8))
    counts[:] = 0
    place, stop = np.int64(0), np.int64(len(data))
    while place < stop:
        number, wire, start, size, place, cut = _container(data, place, stop)
        counts[3] += cut
        if place < 0:
            break
        if number != 1 or wire != 2:
            continue
        r = counts[0]
        resource = resources[min(r, len(resources) - 1)]
        counts[0] = r + 1
        resource[R_FROM], resource[R_REASON] = counts[2], 0
        # A resource may stand behind its spans: looked for first, so its attributes lie side by side.
        for wanted in (1, 2):
            at, end = start, start + size
            while at < end:
                number, wire, v, n, at, cut = _container(data, at, end)
                counts[3] += cut and wanted == 2
                if at < 0:
                    break
                if number == wanted and wire == 2 and wanted == 1:
                    counts[2] = _resource(data, v, n, resource, attributes, counts[2], aliases)
                elif number == wanted and wire == 2:
                    _scope(data, v, v + n, r, spans, attributes, counts, aliases)
            if wanted == 1:
                resource[R_TO] = counts[2]


@nb.njit(cache=True, nogil=True)
def choose(spans, resources, attributes, columns, ranks, best):
    """For each column and span the attribute that names it: of the best source and rank, the last one.

    ``columns`` is the column of each alias (negative: none); ``best`` has shape (columns, spans) and comes as -1. Source 0 is
    the span, 1 its events, 2 its resource.
    """
    seen = np.empty(best.shape[0], np.int64)
    for s in range(len(spans)):
        if spans[s, S_REASON]:
            continue
        seen[:] = 1 << 40
        r = spans[s, S_RESOURCE]
        for part in range(2):
            begin, end = (resources[r, R_FROM], resources[r, R_TO]) if part == 0 else (spans[s, S_FROM], spans[s, S_TO])
            for a in range(begin, end):
                alias = attributes[a, A_ALIAS]
                if alias < 0 or columns[alias] < 0 or attributes[a, A_TYPE] == 0:
                    continue
                if attributes[a, A_TYPE] == TEXT and attributes[a, A_VALUE_N] == 0:
                    continue
                # One resource stands for any number of spans: what it says at length is not repeated for each.
                if part == 0 and attributes[a, A_BODY_N] > _MOST_INHERITED:
                    continue
                c = columns[alias]
                rank = attributes[a, A_SOURCE] * 1000 + ranks[alias]
                if rank <= seen[c]:
                    seen[c] = rank
                    best[c, s] = a


@nb.njit(cache=True, nogil=True)
def count_unmapped(data, attributes, hashes, counts, rows):
    """Count names without an alias, in an open table of a power of two; what finds no room goes into the last count."""
    mask = len(hashes) - 1
    taken = 0
    for a in range(len(attributes)):
        if attributes[a, A_ALIAS] != UNMAPPED:
            continue
        h = hash_key(data, attributes[a, A_KEY], attributes[a, A_KEY_N])
        slot = np.int64(h & np.uint64(mask))
        while counts[slot] > 0 and hashes[slot] != h:
            slot = (slot + 1) & mask
        if counts[slot] == 0:
            if taken * 2 > mask:
                counts[mask + 1] += 1
                continue
            taken += 1
            hashes[slot], rows[slot] = h, a
        counts[slot] += 1


@nb.njit(cache=True, nogil=True, forceinline=True)
def _plain8(word):
    """Are eight bytes all ASCII that JSON takes as it is?"""
    ones = np.uint64(0x0101010101010101)
    high = np.uint64(0x8080808080808080)
    quote = word ^ np.uint64(0x2222222222222222)
    slash = word ^ np.uint64(0x5C5C5C5C5C5C5C5C)
    bad = word | (word - np.uint64(0x20) * ones) | (quote - ones) | (slash - ones)
    return bad & high == 0


@nb.njit(cache=True, nogil=True)
def character(data, place, stop):
    """Length of the UTF-8 character at ``place``; 0 where it is none."""
    first = data[place]
    if first < 0x80:
        return 1
    size = 2 if 0xC2 <= first < 0xE0 else 3 if 0xE0 <= first < 0xF0 else 4 if 0xF0 <= first < 0xF5 else 0
    if size == 0 or stop - place < size:
        return 0
    second = data[place + 1]
    low = 0xA0 if first == 0xE0 else 0x90 if first == 0xF0 else 0x80
    high = 0x9F if first == 0xED else 0x8F if first == 0xF4 else 0xBF
    if second < low or second > high:
        return 0
    for i in range(2, size):
        if data[place + i] & 0xC0 != 0x80:
            return 0
    return size


@nb.njit(cache=True, nogil=True)
def valid_utf8(data, start, length):
    """Is a run of bytes UTF-8?"""
    place, stop = start, start + length
    while place < stop:
        if stop - place >= 8 and load_word(data, place) & np.uint64(0x8080808080808080) == 0:
            place += 8
            continue
        size = character(data, place, stop)
        if size == 0:
            return False
        place += size
    return True


@nb.njit(cache=True, nogil=True, forceinline=True)
def put_text(data, start, length, out, o):
    """Write a JSON string; the place behind it, -1 where the bytes are not UTF-8. Needs room for 6 * length + 2."""
    out[o] = 34
    o += 1
    place, stop = start, start + length
    while place < stop:
        if stop - place >= 8 and _plain8(load_word(data, place)):
            for i in range(8):
                out[o + i] = data[place + i]
            o += 8
            place += 8
            continue
        byte = data[place]
        if byte >= 0x80:
            size = character(data, place, stop)
            if size == 0:
                return np.int64(-1)
            for i in range(size):
                out[o + i] = data[place + i]
            o += size
            place += size
            continue
        place += 1
        if byte == 34 or byte == 92:
            out[o], out[o + 1] = 92, byte
            o += 2
        elif byte < 0x20:
            o = _put_control(byte, out, o)
        else:
            out[o] = byte
            o += 1
    out[o] = 34
    return o + 1


@nb.njit(cache=True, nogil=True)
def _put_control(byte, out, o):
    short = 110 if byte == 10 else 114 if byte == 13 else 116 if byte == 9 else 98 if byte == 8 else 0
    if byte == 12:
        short = 102
    out[o] = 92
    if short:
        out[o + 1] = short
        return o + 2
    out[o + 1], out[o + 2], out[o + 3] = 117, 48, 48
    out[o + 4] = 48 + (byte >> 4)
    out[o + 5] = _hex(byte & 15)
    return o + 6


@nb.njit(cache=True, nogil=True)
def _hex(digit):
    return 48 + digit if digit < 10 else 87 + digit


@nb.njit(cache=True, nogil=True, forceinline=True)
def _put_int(value, out, o):
    rest = np.uint64(value)
    if value < 0:
        out[o] = 45
        o += 1
        rest = np.uint64(0) - rest
    size = 1
    power = np.uint64(10)
    while size < 19 and rest >= power:
        size += 1
        power *= np.uint64(10)
    if size == 19 and rest >= np.uint64(10_000_000_000_000_000_000):
        size = 20
    for i in range(size):
        out[o + size - 1 - i] = 48 + np.int64(rest % np.uint64(10))
        rest //= np.uint64(10)
    return o + size


@nb.njit(cache=True, nogil=True)
def _put_double(value, out, o):
    """Write a number that has at most 15 digits and 12 of them behind the point; -2 for any other.

    An integer below 2^53 divided by a power of ten up to 10^22 is rounded once, as reading the digits is: where that
    gives the number back, these digits are it, and the fewest behind the point are tried first.
    """
    if not abs(value) < 1e15:
        return np.int64(-2)
    if value == 0.0:
        if np.copysign(1.0, value) < 0:
            return np.int64(-2)
        out[o], out[o + 1], out[o + 2] = 48, 46, 48
        return o + 3
    size, scale = abs(value), 1.0
    if size < 1e-4:
        return np.int64(-2)
    for digits in range(13):
        whole = np.floor(size * scale + 0.5)
        if whole >= 9e15:
            break
        if whole / scale == size:
            if value < 0:
                out[o] = 45
                o += 1
            number, power = np.int64(whole), np.int64(scale)
            o = _put_int(number // power, out, o)
            out[o] = 46
            rest = number % power
            places = max(digits, 1)
            for i in range(places):
                out[o + places - i] = 48 + rest % 10
                rest //= 10
            return o + 1 + places
        scale *= 10.0
    return np.int64(-2)


@nb.njit(cache=True, nogil=True)
def _put_base64(data, start, length, out, o):
    out[o] = 34
    o += 1
    for i in range(0, length, 3):
        bits = np.int64(data[start + i]) << 16
        left = length - i
        if left > 1:
            bits |= np.int64(data[start + i + 1]) << 8
        if left > 2:
            bits |= np.int64(data[start + i + 2])
        for j in range(4):
            six = (bits >> (18 - 6 * j)) & 63
            letter = (
                65 + six if six < 26 else 71 + six if six < 52 else six - 4 if six < 62 else 43 if six == 62 else 47
            )
            out[o + j] = letter if j <= left else 61
        o += 4
    out[o] = 34
    return o + 1


@nb.njit(cache=True, nogil=True)
def _put_word(word, out, o):
    for i in range(len(word)):
        out[o + i] = word[i]
    return o + len(word)


@nb.njit(cache=True, nogil=True)
def _put_scalar(data, kind, value, size, out, o):
    """Write a value that is no list: the place behind it; -1 not UTF-8, -2 a number for others to write."""
    if kind == TEXT:
        return put_text(data, value, size, out, o)
    if kind == INT:
        return _put_int(value, out, o)
    if kind == DOUBLE:
        return _put_double(np.int64(value).view(np.float64), out, o)
    if kind == BYTES:
        return _put_base64(data, value, size, out, o)
    if kind == BOOL:
        return _put_word(b"true", out, o) if value else _put_word(b"false", out, o)
    return _put_word(b"null", out, o)


@nb.njit(cache=True, nogil=True)
def put_value(data, kind, value, size, out, o, stack):
    """Write a value, lists and maps too: the place behind it, or minus a reason, or -100 where others must write it."""
    depth = 0
    while True:
        if kind == ARRAY or kind == KVLIST:  # noqa: SIM109
            if depth == _DEPTH:
                return np.int64(-TOO_DEEP)
            out[o] = 91 if kind == ARRAY else 123
            o += 1
            stack[depth, 0], stack[depth, 1], stack[depth, 2], stack[depth, 3] = value, value + size, kind, 0
            depth += 1
        else:
            o = _put_scalar(data, kind, value, size, out, o)
            if o < 0:
                return np.int64(-NOT_UTF8 if o == -1 else -100)
        # Go on behind what was written: the next member of the innermost list that has one.
        while depth > 0:
            frame = stack[depth - 1]
            found, kind, value, size, o = _next_member(data, frame, out, o)
            if o < 0:
                return o
            if found:
                break
            out[o] = 93 if frame[2] == ARRAY else 125
            o += 1
            depth -= 1
        if depth == 0:
            return o


@nb.njit(cache=True, nogil=True)
def _next_member(data, frame, out, o):
    """The next member of a list or map: whether there is one, its type, value and length; commas and keys are written."""
    none = np.int64(0)
    while frame[0] < frame[1]:
        number, wire, v, n, behind = next_field(data, frame[0], frame[1])
        if behind < 0:
            return False, none, none, none, np.int64(-BROKEN)
        frame[0] = behind
        if number != 1 or wire != 2:
            continue
        if frame[3]:
            out[o] = 44
            o += 1
        frame[3] = 1
        if frame[2] == ARRAY:
            kind, value, size, error = any_value(data, v, v + n)
        else:
            key, key_n, kind, value, size, error = _key_value(data, v, v + n)
            if error == 0:
                o = put_text(data, key, key_n, out, o)
                if o < 0:
                    return False, none, none, none, np.int64(-NOT_UTF8)
                out[o] = 58
                o += 1
        if error:
            return False, none, none, none, np.int64(-error)
        return True, kind, value, size, o
    return False, none, none, none, o


@nb.njit(cache=True, nogil=True)
def _put_attributes(data, attributes, begin, end, out, o, work):
    """Write attributes as members of an object: the place behind, or minus a reason.

    Those of events and those marked `LEFT_OUT` are written too, for that is how they are checked, and then written over.
    """
    stack, fragments, fragment_places, slow = work
    first = True
    for a in range(begin, end):
        row = attributes[a]
        hidden = row[A_SOURCE] == 1 or slow[a] == LEFT_OUT
        if len(out) - o < 6 * row[A_BODY_N] + 64:
            return np.int64(-200)
        before = o
        if not first:
            out[o] = 44
            o += 1
        o = put_text(data, row[A_KEY], row[A_KEY_N], out, o)
        if o < 0:
            return np.int64(-NOT_UTF8)
        out[o] = 58
        o += 1
        which = slow[a]
        if which > 0 and not hidden:
            begin_f, end_f = fragment_places[which - 1], fragment_places[which]
            if len(out) - o < end_f - begin_f + 64:
                return np.int64(-200)
            for i in range(begin_f, end_f):
                out[o + i - begin_f] = fragments[i]
            o += end_f - begin_f
            first = False
            continue
        behind = put_value(data, row[A_TYPE], row[A_VALUE], row[A_VALUE_N], out, o, stack)
        if behind == -100:
            if not hidden:
                slow[a] = -1
            behind = _put_word(b"null", out, o)
        if behind < 0:
            return behind
        if hidden:
            o = before
        else:
            o, first = behind, False
    return o


@nb.njit(cache=True, nogil=True)
def write_attributes(data, spans, resources, attributes, slow, fragments, fragment_places, out, offsets, most_resource):
    """JSON of each span's attributes, those of its resource under ``@resource`` where they are short.

    Attributes that need others to write them get -1 in ``slow`` (and a null for now); a second run takes them from
    ``fragments``; those marked `LEFT_OUT` there are not written. Reasons found here go into the tables. Returns bytes
    written, -1 where there was no room.
    """
    work = (np.empty((_DEPTH, 4), np.int64), fragments, fragment_places, slow)
    o, known = np.int64(0), np.int64(-1)
    inherited, inherited_n = np.empty(0, np.uint8), np.int64(0)
    for s in range(len(spans)):
        offsets[s] = o
        if spans[s, S_REASON]:
            continue
        r = spans[s, S_RESOURCE]
        if r != known:
            known = r
            inherited, inherited_n = _inherit(data, resources[r], attributes, work, most_resource)
        if resources[r, R_REASON]:
            spans[s, S_REASON] = BAD_RESOURCE
            continue
        if len(out) - o < inherited_n + 64:
            return np.int64(-1)
        out[o] = 123
        o = _put_attributes(data, attributes, spans[s, S_FROM], spans[s, S_TO], out, o + 1, work)
        if o == -200:
            return np.int64(-1)
        if o < 0:
            spans[s, S_REASON] = -o
            o = offsets[s]
            continue
        if inherited_n and len(out) - o < inherited_n + 64:
            return np.int64(-1)
        if inherited_n:
            if out[o - 1] != 123 or o - 1 > offsets[s]:
                out[o] = 44
                o += 1
            o = _put_word(b'"@resource":', out, o)
            for i in range(inherited_n):
                out[o + i] = inherited[i]
            o += inherited_n
        out[o] = 125
        o += 1
    offsets[len(spans)] = o
    return o


@nb.njit(cache=True, nogil=True)
def _inherit(data, resource, attributes, work, most):
    """JSON of a resource; nothing where it has no attributes, cannot be read, or is longer than ``most``."""
    size = np.int64(128)
    for a in range(resource[R_FROM], resource[R_TO]):
        size += 6 * attributes[a, A_BODY_N] + 64
        if work[3][a] > 0:
            size += work[2][work[3][a]] - work[2][work[3][a] - 1]
    out = np.empty(size, np.uint8)
    out[0] = 123
    o = _put_attributes(data, attributes, resource[R_FROM], resource[R_TO], out, 1, work)
    if o < 0:
        resource[R_REASON] = BAD_RESOURCE
        return out, np.int64(0)
    out[o] = 125
    return out, (o + 1 if 2 < o + 1 <= most else np.int64(0))


@nb.njit(cache=True, nogil=True)
def write_hex(data, starts, lengths, out, offsets):
    """Lower-case hexadecimal of runs of bytes, one after the other."""
    o = np.int64(0)
    for i in range(len(starts)):
        offsets[i] = o
        for j in range(starts[i], starts[i] + lengths[i]):
            out[o], out[o + 1] = _hex(data[j] >> 4), _hex(data[j] & 15)
            o += 2
    offsets[len(starts)] = o


@nb.njit(cache=True, nogil=True)
def gather(data, extra, starts, lengths, out, offsets):
    """Copy runs of bytes one after the other: from ``data``, or where the start is negative from ``extra`` at ``~start``."""
    o = np.int64(0)
    for i in range(len(starts)):
        offsets[i] = o
        n, start = lengths[i], starts[i]
        if n > 0 and start >= 0:
            out[o : o + n] = data[start : start + n]
            o += n
        elif n > 0:
            out[o : o + n] = extra[~start : ~start + n]
            o += n
    offsets[len(starts)] = o


@nb.njit(cache=True, nogil=True)
def text_cells(data, attributes, best, messages, starts, lengths, slow):
    """Where each span's text of one column lies; how many cells (rows in ``slow``) are not plainly text.

    The first text of a list counts as the text of the list. Where the column holds messages, text that may be JSON, and
    lists, are left to others.
    """
    n = 0
    for s in range(len(best)):
        a = best[s]
        starts[s], lengths[s] = 0, -1
        if a < 0:
            continue
        kind, value, size = attributes[a, A_TYPE], attributes[a, A_VALUE], attributes[a, A_VALUE_N]
        if kind == ARRAY and not messages:
            number, wire, v, length, behind = next_field(data, value, value + size)
            if behind >= 0 and number == 1 and wire == 2:
                kind, value, size, error = any_value(data, v, v + length)
                kind = 0 if error else kind
        plain = kind == TEXT and attributes[a, A_INDEX] == 0
        if plain and messages and size > 0:
            plain = data[value] != 91 and data[value] != 123 and data[value] > 32
        if plain:
            starts[s], lengths[s] = value, size
        else:
            slow[n] = s
            n += 1
    return n


@nb.njit(cache=True, nogil=True)
def number_cells(attributes, best, factors, out, valid, slow):
    """Numbers of one column in its unit; how many cells (rows in ``slow``) are written as something else."""
    n = 0
    for s in range(len(best)):
        a = best[s]
        valid[s] = False
        out[s] = 0
        if a < 0:
            continue
        kind, value = attributes[a, A_TYPE], attributes[a, A_VALUE]
        factor = factors[attributes[a, A_ALIAS]]
        if kind == INT:
            number = np.float64(value)
        elif kind == DOUBLE:
            number = np.int64(value).view(np.float64)
        else:
            slow[n] = s
            n += 1
            continue
        number *= factor
        if np.isfinite(number) and factor > 0:
            out[s] = number
            valid[s] = True
        elif not factor > 0:
            slow[n] = s
            n += 1
    return n
