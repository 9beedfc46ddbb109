"""Matchers for keys and tokens that open something: AWS, GitHub, Slack, private keys, JSON web tokens, assignments.

Each takes the buffer, the document's bounds and the place that gave it away, and returns begin and end (0, 0: no match).
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np

from jurat.text.pii_numbers import is_alphanumeric

__all__ = ["assignment", "aws_key", "github_token", "json_web_token", "private_key", "slack_token"]

_AKIA, _ASIA, _GITHUB, _PAT = (np.frombuffer(word, np.uint8) for word in (b"AKIA", b"ASIA", b"github_", b"pat_"))
_BEGIN, _END, _KEY = (np.frombuffer(word, np.uint8) for word in (b"-----BEGIN ", b"-----END ", b"PRIVATE KEY"))
_DASHES, _BLOCK, _XOX, _EYJ = (np.frombuffer(word, np.uint8) for word in (b"-----", b" BLOCK", b"xox", b"eyJ"))
_NAMES = tuple(np.frombuffer(word, np.uint8) for word in (b"key", b"token", b"secret", b"password", b"passwd", b"pwd"))
_ENTROPY_BITS, _SHORTEST_SECRET, _LONGEST_SECRET = 3.5, 16, 128


@nb.njit(cache=True, nogil=True)
def _stands(data, place, stop, word):
    if place + len(word) > stop:
        return False
    at = 0
    while at < len(word) and data[place + at] == word[at]:
        at += 1
    return at == len(word)


@nb.njit(cache=True, nogil=True)
def _is_free(data, start, place):
    """Does no letter, digit, underscore or hyphen stand before ``place``?"""
    if place <= start:
        return True
    byte = data[place - 1]
    return not (is_alphanumeric(byte) or byte == 95 or byte == 45)


@nb.njit(cache=True, nogil=True)
def _run(data, place, stop, underscore, hyphen):
    """End of the run of letters and digits (and underscores, hyphens) at ``place``."""
    while place < stop:
        byte = data[place]
        if not (is_alphanumeric(byte) or (underscore and byte == 95) or (hyphen and byte == 45)):
            break
        place += 1
    return place


@nb.njit(cache=True, nogil=True)
def aws_key(data, start, place, stop):
    """AKIA or ASIA and 16 upper-case letters or digits."""
    if not _is_free(data, start, place) or not (_stands(data, place, stop, _AKIA) or _stands(data, place, stop, _ASIA)):
        return 0, 0
    for at in range(place + 4, place + 20):
        if at >= stop or not (48 <= data[at] <= 57 or 65 <= data[at] <= 90):
            return 0, 0
    return (0, 0) if place + 20 < stop and is_alphanumeric(data[place + 20]) else (place, place + 20)


@nb.njit(cache=True, nogil=True)
def github_token(data, start, place, stop):
    """Letters gh, one of p, o, u, s, r, the underscore at ``place`` and 36 to 255 characters; or github_pat_ and 22 to 255."""
    begin = place - 3
    if begin >= start and data[begin] == 103 and data[begin + 1] == 104 and _is_free(data, start, begin):
        kind = data[begin + 2]
        if kind == 112 or kind == 111 or kind == 117 or kind == 115 or kind == 114:
            end = _run(data, place + 1, stop, False, False)
            if 36 <= end - place - 1 <= 255 and not (end < stop and data[end] == 95):
                return begin, end
        return 0, 0
    begin = place - 6
    if begin < start or not _is_free(data, start, begin):
        return 0, 0
    if not (_stands(data, begin, stop, _GITHUB) and _stands(data, place + 1, stop, _PAT)):
        return 0, 0
    end = _run(data, place + 5, stop, True, False)
    return (begin, end) if 22 <= end - place - 5 <= 255 else (0, 0)


@nb.njit(cache=True, nogil=True)
def slack_token(data, start, place, stop):
    """Letters xox, one of a, b, e, o, p, r, s, the hyphen at ``place`` and 10 to 250 characters."""
    begin = place - 4
    if begin < start or not _stands(data, begin, stop, _XOX) or not _is_free(data, start, begin):
        return 0, 0
    kind = data[place - 1]
    if not (kind == 97 or kind == 98 or kind == 101 or kind == 111 or kind == 112 or kind == 114 or kind == 115):
        return 0, 0
    end = _run(data, place + 1, stop, False, True)
    return (begin, end) if 10 <= end - place - 1 <= 250 else (0, 0)


@nb.njit(cache=True, nogil=True)
def _label_end(data, place, stop):
    """End of the dashes that close the label of a private key which begins at ``place``, or -1."""
    at = place
    while at < stop and at - place <= 40 and (data[at] == 32 or 48 <= data[at] <= 57 or 65 <= data[at] <= 90):
        if (at == place or data[at - 1] == 32) and _stands(data, at, stop, _KEY):
            at += len(_KEY)
            if _stands(data, at, stop, _BLOCK):
                at += len(_BLOCK)
            return at + 5 if _stands(data, at, stop, _DASHES) else -1
        at += 1
    return -1


@nb.njit(cache=True, nogil=True)
def private_key(data, start, place, stop):
    """A block between the lines that begin and end a private key; the first line alone where no end follows."""
    if not _stands(data, place, stop, _BEGIN):
        return 0, 0
    head = _label_end(data, place + len(_BEGIN), stop)
    if head < 0:
        return 0, 0
    at = head
    while at < stop:
        if data[at] == 45:
            if _stands(data, at, stop, _BEGIN):
                break
            if _stands(data, at, stop, _END):
                end = _label_end(data, at + len(_END), stop)
                if end >= 0:
                    return place, end
        at += 1
    return place, head


@nb.njit(cache=True, nogil=True)
def json_web_token(data, start, place, stop):
    """Two parts that begin with eyJ (the J of the first at ``place``) and a signature, between dots."""
    begin = place - 2
    if begin < start or not _stands(data, begin, stop, _EYJ):
        return 0, 0
    if not _is_free(data, start, begin) or (begin > start and data[begin - 1] == 46):
        return 0, 0
    first = _run(data, begin, stop, True, True)
    if first - begin < 8 or first >= stop or data[first] != 46 or not _stands(data, first + 1, stop, _EYJ):
        return 0, 0
    second = _run(data, first + 1, stop, True, True)
    if second - first < 9 or second >= stop or data[second] != 46:
        return 0, 0
    end = _run(data, second + 1, stop, True, True)
    return (begin, end) if end > second + 1 else (0, 0)


@nb.njit(cache=True, nogil=True)
def _is_named(data, start, place):
    """Does a name of a secret end before the sign at ``place``, a quote and up to three blanks between?"""
    at, blanks = place, 0
    while at > start and blanks < 3 and (data[at - 1] == 32 or data[at - 1] == 9):
        at, blanks = at - 1, blanks + 1
    if at > start and (data[at - 1] == 34 or data[at - 1] == 39):
        at -= 1
    for index in range(len(_NAMES)):
        name = _NAMES[index]
        begin = at - len(name)
        if begin >= start:
            same = True
            for k in range(len(name)):
                byte = data[begin + k]
                same = same and (byte | 32 if 65 <= byte <= 90 else byte) == name[k]
            if same:
                return True
    return False


@nb.njit(cache=True, nogil=True)
def assignment(data, start, place, stop):
    """A value of high entropy that the sign at ``place`` gives to a name such as ``api_key``; the value is the match."""
    if not _is_named(data, start, place):
        return 0, 0
    begin, blanks = place + 1, 0
    while begin < stop and blanks < 3 and (data[begin] == 32 or data[begin] == 9):
        begin, blanks = begin + 1, blanks + 1
    if begin < stop and (data[begin] == 34 or data[begin] == 39):
        begin += 1
    counts = np.zeros(128, np.int64)
    letters = digits = 0
    end = begin
    while end < stop and end - begin <= _LONGEST_SECRET:
        byte = data[end]
        if 48 <= byte <= 57:
            digits += 1
        elif is_alphanumeric(byte):
            letters += 1
        elif not (byte == 43 or byte == 47 or byte == 61 or byte == 95 or byte == 46 or byte == 45):
            break
        counts[byte] += 1
        end += 1
    size = end - begin
    if size < _SHORTEST_SECRET or size > _LONGEST_SECRET or letters == 0 or digits == 0:
        return 0, 0
    bits = math.log2(size)
    for count in counts:
        if count > 1:
            bits -= count * math.log2(count) / size
    return (begin, end) if bits >= _ENTROPY_BITS else (0, 0)
