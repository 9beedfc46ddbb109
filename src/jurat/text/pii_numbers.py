"""Matchers for addresses and numbers of persons: e-mail, phone, IP, payment card, IBAN.

Each takes the buffer, the document's bounds and the place that gave it away, and returns begin and end (0, 0: no match).
"""

from __future__ import annotations

import numba as nb
import numpy as np

__all__ = [
    "IBAN_LENGTHS",
    "email",
    "iban",
    "ipv4",
    "ipv6",
    "is_alphanumeric",
    "payment_card",
    "phone_international",
    "phone_north_american",
]

IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "BY": 28, "CH": 21,
    "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FO": 18, "FR": 27,
    "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26,
    "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "MC": 27, "MD": 24,
    "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18, "NO": 15, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29,
    "RO": 24, "RS": 22, "SA": 24, "SC": 31, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "ST": 25, "SV": 28, "TL": 23, "TN": 24,
    "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
}  # fmt: skip
"""Characters of an IBAN by country (ISO 13616 registry)."""

_LENGTHS = np.zeros(65536, np.int64)
for _country, _length in IBAN_LENGTHS.items():
    _LENGTHS[ord(_country[0]) * 256 + ord(_country[1])] = _length
_LONGEST_LOCAL, _LONGEST_DOMAIN, _LONGEST_LABEL = 64, 253, 63


@nb.njit(cache=True, nogil=True)
def is_alphanumeric(byte):
    """ASCII letter or digit."""
    return 48 <= byte <= 57 or 97 <= byte <= 122 or 65 <= byte <= 90


@nb.njit(cache=True, nogil=True)
def _is_digit(data, place, stop):
    return place < stop and 48 <= data[place] <= 57


@nb.njit(cache=True, nogil=True)
def _digits(data, place, stop, most):
    """How many digits stand at ``place``, at most ``most`` looked at."""
    n = 0
    while n < most and _is_digit(data, place + n, stop):
        n += 1
    return n


@nb.njit(cache=True, nogil=True)
def _is_local(byte):
    return is_alphanumeric(byte) or byte == 46 or byte == 95 or byte == 37 or byte == 43 or byte == 45


@nb.njit(cache=True, nogil=True)
def email(data, start, place, stop):
    """Local part before the @ at ``place``, a domain of at least two labels behind it, the last of letters."""
    begin = place
    while begin > start and place - begin <= _LONGEST_LOCAL and _is_local(data[begin - 1]):
        begin -= 1
    if place - begin > _LONGEST_LOCAL or begin == place or data[place - 1] == 46:
        return 0, 0
    while begin < place and not is_alphanumeric(data[begin]) and data[begin] != 95:
        begin += 1
    end = place + 1
    while end < stop and end - place <= _LONGEST_DOMAIN + 1:
        byte = data[end]
        if not (is_alphanumeric(byte) or byte == 46 or byte == 45):
            break
        end += 1
    if begin == place or end - place - 1 > _LONGEST_DOMAIN:
        return 0, 0
    while end > place + 1 and not is_alphanumeric(data[end - 1]):
        end -= 1
    return (begin, end) if _is_domain(data, place + 1, end) else (0, 0)


@nb.njit(cache=True, nogil=True)
def _is_domain(data, begin, end):
    labels, label, only_letters = 1, begin, True
    for place in range(begin, end + 1):
        if place == end or data[place] == 46:
            size = place - label
            if size < 1 or size > _LONGEST_LABEL or data[label] == 45 or data[place - 1] == 45:
                return False
            if place == end:
                return labels >= 2 and only_letters and 2 <= size <= 24
            labels, label, only_letters = labels + 1, place + 1, True
        elif not 97 <= data[place] | 32 <= 122:
            only_letters = False
    return False


@nb.njit(cache=True, nogil=True)
def phone_international(data, start, place, stop):
    """A plus sign and 8 to 15 digits; one blank, dot or hyphen, and brackets around a digit, may stand between them."""
    if place > start and (is_alphanumeric(data[place - 1]) or data[place - 1] == 43):
        return 0, 0
    end = place + 1
    if end >= stop or not 49 <= data[end] <= 57:
        return 0, 0
    digits, end = 1, end + 1
    while digits <= 15:
        at = end
        if at < stop and (data[at] == 32 or data[at] == 46 or data[at] == 45):
            at += 1
        if at < stop and data[at] == 40:
            at += 1
        if not _is_digit(data, at, stop):
            break
        at += 1
        if at < stop and data[at] == 41:
            at += 1
        digits, end = digits + 1, at
    if digits < 8 or digits > 15 or (end < stop and is_alphanumeric(data[end])):
        return 0, 0
    return place, end


@nb.njit(cache=True, nogil=True)
def _is_gap(data, place, stop):
    return place < stop and (data[place] == 32 or data[place] == 46 or data[place] == 45)


@nb.njit(cache=True, nogil=True)
def _exchange(data, place, stop):
    """Three digits of which the first is 2 to 9."""
    return _digits(data, place, stop, 3) == 3 and data[place] >= 50


@nb.njit(cache=True, nogil=True)
def phone_north_american(data, start, place, stop):
    """Area code, exchange and line, written 415-555-2671 or (415) 555-2671, a 1 before them or not."""
    if place > start:
        before = data[place - 1]
        if is_alphanumeric(before) or before == 46 or before == 43 or before == 45:
            return 0, 0
    at = place
    if data[at] == 49 and _is_gap(data, at + 1, stop):
        at += 2
    if at < stop and data[at] == 40:
        if not (_exchange(data, at + 1, stop) and at + 4 < stop and data[at + 4] == 41):
            return 0, 0
        at += 5
        if at < stop and data[at] == 32:
            at += 1
    else:
        if not (_exchange(data, at, stop) and _is_gap(data, at + 3, stop)):
            return 0, 0
        at += 4
    if not (_exchange(data, at, stop) and _is_gap(data, at + 3, stop) and _digits(data, at + 4, stop, 4) == 4):
        return 0, 0
    end = at + 8
    if end < stop and is_alphanumeric(data[end]):
        return 0, 0
    if end < stop and (data[end] == 46 or data[end] == 45) and _is_digit(data, end + 1, stop):
        return 0, 0
    return place, end


@nb.njit(cache=True, nogil=True)
def ipv4(data, start, place, stop):
    """Four numbers up to 255 without leading zeros, between dots."""
    if place > start and (is_alphanumeric(data[place - 1]) or data[place - 1] == 46):
        return 0, 0
    end = place
    for part in range(4):
        size = _digits(data, end, stop, 4)
        if size == 0 or size > 3 or (size > 1 and data[end] == 48):
            return 0, 0
        value = 0
        for k in range(size):
            value = value * 10 + data[end + k] - 48
        if value > 255:
            return 0, 0
        end += size
        if part < 3:
            if end >= stop or data[end] != 46:
                return 0, 0
            end += 1
    if end < stop and (is_alphanumeric(data[end]) or (data[end] == 46 and _is_digit(data, end + 1, stop))):
        return 0, 0
    return place, end


@nb.njit(cache=True, nogil=True)
def _is_hexadecimal(byte):
    return 48 <= byte <= 57 or 97 <= byte <= 102 or 65 <= byte <= 70


@nb.njit(cache=True, nogil=True)
def ipv6(data, start, place, stop):
    """Eight groups of hexadecimal digits, or fewer (at least two, with a decimal digit) around one double colon."""
    begin = place
    while begin > start and place - begin <= 4 and _is_hexadecimal(data[begin - 1]):
        begin -= 1
    if begin > start and (is_alphanumeric(data[begin - 1]) or data[begin - 1] == 58 or data[begin - 1] == 46):
        return 0, 0
    end = begin
    while end < stop and end - begin <= 40 and (_is_hexadecimal(data[end]) or data[end] == 58):
        end += 1
    if end - begin > 40 or (end < stop and is_alphanumeric(data[end])):
        return 0, 0
    if end < stop and data[end] == 46 and _is_digit(data, end + 1, stop):
        return 0, 0
    if end - begin > 2 and data[end - 1] == 58 and data[end - 2] != 58:
        end -= 1
    groups = size = gaps = decimals = 0
    for at in range(begin, end):
        if data[at] == 58:
            groups += size > 0
            size = 0
            if at > begin and data[at - 1] == 58:
                gaps += 1
            elif at == begin and not (at + 1 < end and data[at + 1] == 58):
                return 0, 0
        else:
            size += 1
            decimals += data[at] <= 57
            if size > 4:
                return 0, 0
    groups += size > 0
    if (gaps == 0 and groups == 8) or (gaps == 1 and 2 <= groups <= 7 and decimals > 0):
        return begin, end
    return 0, 0


@nb.njit(cache=True, nogil=True)
def _is_luhn(data, begin, end):
    total, double = np.int64(0), False
    for place in range(end - 1, begin - 1, -1):
        if 48 <= data[place] <= 57:
            value = np.int64(data[place]) - 48
            if double:
                value = value * 2 - (9 if value > 4 else 0)
            total += value
            double = not double
    return total % 10 == 0


@nb.njit(cache=True, nogil=True)
def _card_end(data, place, stop):
    """Where digits written as on a card end, or -1: in one run, 4-4-4-4, 4-4-4-4-3 or 4-6-5."""
    size = _digits(data, place, stop, 20)
    if 13 <= size <= 19:
        return place + size
    if size != 4 or place + 4 >= stop or (data[place + 4] != 32 and data[place + 4] != 45):
        return -1
    gap = data[place + 4]
    second = _digits(data, place + 5, stop, 7)
    if second == 6:
        ends = place + 11 < stop and data[place + 11] == gap and _digits(data, place + 12, stop, 6) == 5
        return place + 17 if ends else -1
    end = place + 4
    for _ in range(3):
        if not (end < stop and data[end] == gap and _digits(data, end + 1, stop, 5) == 4):
            return -1
        end += 5
    return end + 4 if end < stop and data[end] == gap and _digits(data, end + 1, stop, 4) == 3 else end


@nb.njit(cache=True, nogil=True)
def payment_card(data, start, place, stop):
    """13 to 19 digits that begin with 2 to 6 and satisfy Luhn's check."""
    if not 50 <= data[place] <= 54 or (place > start and (is_alphanumeric(data[place - 1]) or data[place - 1] == 46)):
        return 0, 0
    end = _card_end(data, place, stop)
    if end < 0:
        return 0, 0
    if end - place == 23 and (not _is_luhn(data, place, end) or (end < stop and is_alphanumeric(data[end]))):
        end -= 4
    if (end < stop and is_alphanumeric(data[end])) or not _is_luhn(data, place, end):
        return 0, 0
    return place, end


@nb.njit(cache=True, nogil=True)
def iban(data, start, place, stop):
    """Country and check digits (the first at ``place``), as many characters as the country has, 1 modulo 97."""
    begin = place - 2
    if begin < start or (begin > start and is_alphanumeric(data[begin - 1])):
        return 0, 0
    length = _LENGTHS[np.int64(data[begin]) * 256 + data[begin + 1]]
    if length == 0 or begin + 4 >= stop:
        return 0, 0
    step = 1 if data[begin + 4] == 32 else 0
    end = begin + length + step * ((length - 1) // 4)
    if end > stop or (end < stop and is_alphanumeric(data[end])):
        return 0, 0
    remainder, seen = np.int64(0), 0
    # The first four characters count as the last four.
    for turn in range(2):
        at, seen = begin, 0
        while seen < length:
            if step and seen and seen % 4 == 0:
                if data[at] != 32:
                    return 0, 0
                at += 1
            byte = np.int64(data[at])
            is_digit = 48 <= byte <= 57
            if not (is_digit or 65 <= byte <= 90) or (2 <= seen < 4 and not is_digit):
                return 0, 0
            if (turn == 0) == (seen >= 4):
                remainder = (remainder * 10 + byte - 48 if is_digit else remainder * 100 + byte - 55) % 97
            at, seen = at + 1, seen + 1
    return (begin, end) if remainder == 1 else (0, 0)
