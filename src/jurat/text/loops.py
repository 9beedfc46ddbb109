"""Is a generated text caught in a loop?

A loop is a stretch in which a unit stands again and again without a gap. At the end of the text it shows as a period of the
reversed text; inside, every stretch that occurs for the first time crosses the border of two Lempel–Ziv factors and lies
close to it, so looking around each border finds it. Both ways are exact, for units of any length, and take linear time.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

import numba as nb
import numpy as np
from numpy.typing import NDArray

from jurat.text.characters import SEPARATOR, character_table
from jurat.text.suffix import lcp_array, suffix_array, symbols

__all__ = ["Loop", "find_loop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """A unit that is repeated without a gap.

    Attributes
    ----------
    unit
        What is repeated, as it stands at the start of the loop; it is no repetition itself.
    repeats
        How often: the loop's length over the unit's. The last repeat may be cut short.
    start, n_characters
        Where the loop begins and how long it is, in code points.
    start_byte, n_bytes
        The same in bytes of UTF-8.
    share
        Share of the text's characters that the loop takes.
    trailing
        Whether nothing but blanks follows: the text ended, or was cut off, within the loop.
    """

    unit: str
    repeats: float
    start: int
    n_characters: int
    start_byte: int
    n_bytes: int
    share: float
    trailing: bool


def find_loop(
    text: str,
    *,
    minimum_repeats: float = 4.0,
    minimum_characters: int = 40,
    where: Literal["anywhere", "trailing"] = "anywhere",
    wordless: bool = False,
) -> Loop | None:
    """Find the longest loop in a text.

    Parameters
    ----------
    text
        The text.
    minimum_repeats
        Repeats from which on a repetition is a loop, at least 2. Clean prose doubles words and phrases ("had had", "again
        and again and again"); four in a row without any change are rare in it. Refrains and lists change something each
        time and are none.
    minimum_characters
        Length from which on it is a loop, repeats together. It keeps laughter ("hahahaha"), "very, very, very, very" and
        drawn-out letters out. 1 for every repetition.
    where
        ``"trailing"`` looks at the end only (blanks there are ignored): the loop that a length limit cut off.
    wordless
        Whether units without a letter or digit count: rules of dashes, leaders of dots, runs of blanks. In generated text
        these are mostly layout.

    Returns
    -------
    Loop or None
        The one that takes the most characters; of several, that with the shortest unit, and of these the first.

    Raises
    ------
    ValueError
        Where ``minimum_repeats`` is below 2, ``minimum_characters`` below 1, or ``where`` unknown.

    Notes
    -----
    A stretch :math:`T[i..j)` with :math:`T[x] = T[x + p]` throughout has :math:`(j - i)/p` repeats of a unit of length
    :math:`p`. Say it ends inside the Lempel–Ziv factor that begins at :math:`s`, the factor before beginning at :math:`r`,
    and occurs nowhere earlier. It then covers :math:`s`, and :math:`i + p > r`, for a factor that began later than
    :math:`i + p` would have reached its end: so it begins fewer than :math:`2(s - r) + (e - s)` before :math:`s`, with
    :math:`e` the end of the factor. Two matches of prefixes per factor (Z-functions), in windows of that size, find all
    of these; windows add up to at most four times the text.

    A loop that varies (a counter in each round, an edited word) is none under this definition.

    References
    ----------
    Main, M. G. (1989). Detecting leftmost maximal periodicities. Discrete Applied Mathematics 25, 145–153. Crochemore, M.
    and Ilie, L. (2008). Computing longest previous factor in linear time. Information Processing Letters 106, 75–80.

    Examples
    --------
    >>> loop = find_loop("The answer is 4. " + "Let me check that again. " * 30 + "Let me ch")
    >>> loop.unit, round(loop.repeats, 2), loop.start, loop.trailing
    ('. Let me check that again', 30.44, 15, True)
    >>> find_loop("It had had its day, and again and again and again it came back.") is None
    True
    """
    if not minimum_repeats >= 2:
        raise ValueError(f"minimum_repeats must be at least 2, got {minimum_repeats!r}")
    if not minimum_characters >= 1:
        raise ValueError(f"minimum_characters must be at least 1, got {minimum_characters!r}")
    if where not in ("anywhere", "trailing"):
        raise ValueError(f"where must be 'anywhere' or 'trailing', got {where!r}")
    end = len(text.rstrip())
    if len(text) < minimum_characters or len(text) < minimum_repeats:
        return None
    values = symbols(text).astype(np.int32)
    worded = np.zeros(len(values) + 1, np.int64)
    if wordless:
        worded[:] = np.arange(len(values) + 1)
    else:
        np.cumsum(_is_word()[values], out=worded[1:])
    limits = (float(minimum_repeats), int(minimum_characters))
    if where == "trailing":
        start, stop, period = _trailing(values[:end], worded, *limits)
    else:
        order = suffix_array(values)
        previous = _longest_previous(order, lcp_array(values, order))
        start, stop, period = _anywhere(values, previous, worded, *limits)
    if period == 0:
        return None
    covered = text[start:stop]
    return Loop(
        unit=text[start : start + period],
        repeats=(stop - start) / period,
        start=int(start),
        n_characters=int(stop - start),
        start_byte=_size(text[:start]),
        n_bytes=_size(covered),
        share=(stop - start) / len(text),
        trailing=bool(stop >= end),
    )


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


@functools.cache
def _is_word() -> NDArray[np.bool_]:
    """Whether a code point is a letter, mark or digit."""
    return np.asarray(character_table() >> 24 != SEPARATOR)


@nb.njit(cache=True, nogil=True)
def _prefix_matches(values, start, stop, step, out):
    """How long a prefix of values[start], values[start + step], … (before ``stop``) stands at each of its places again."""
    n = (stop - start) * step
    if n == 0:
        return
    out[0] = n
    left = right = 0
    for i in range(1, n):
        length = 0
        if i < right:
            length = min(out[i - left], right - i)
        while i + length < n and values[start + step * length] == values[start + step * (i + length)]:
            length += 1
        out[i] = length
        if i + length > right:
            left, right = i, i + length


@nb.njit(cache=True, nogil=True)
def _matches(values, start, stop, step, prefixes, begin, out):
    """How long a prefix of the same pattern, whose own matches are given, stands at each place from ``begin`` to ``stop``."""
    n, m = (stop - start) * step, (stop - begin) * step
    left = right = 0
    for i in range(m):
        length = 0
        if i < right:
            length = min(prefixes[i - left], right - i)
        while length < n and i + length < m and values[start + step * length] == values[begin + step * (i + length)]:
            length += 1
        out[i] = length
        if i + length > right:
            left, right = i, i + length


@nb.njit(cache=True, nogil=True)
def _counts(start, stop, period, worded, minimum_repeats, minimum_characters):
    """Whether a stretch is a loop."""
    size = stop - start
    return (
        size >= minimum_characters and size >= minimum_repeats * period and worded[start + period] - worded[start] > 0
    )


@nb.njit(cache=True, nogil=True)
def _trailing(values, worded, minimum_repeats, minimum_characters):
    n = len(values)
    matches = np.zeros(n + 1, np.int32)
    _prefix_matches(values, n - 1, -1, -1, matches)
    best_start = best_period = best = 0
    for period in range(1, n):
        size = matches[period] + period
        if size > best and _counts(n - size, n, period, worded, minimum_repeats, minimum_characters):
            best, best_start, best_period = size, n - size, period
    return best_start, n, best_period


@nb.njit(cache=True, nogil=True)
def _longest_previous(order, shared):
    """Longest match of each suffix with one that begins earlier, overlaps allowed (longest previous factor)."""
    n = len(order)
    out = np.zeros(n, np.int32)
    stack = np.empty(n + 1, np.int32)
    depth = np.empty(n + 1, np.int32)
    top = 0
    for i in range(n + 1):
        place = order[i] if i < n else -1
        length = shared[i] if i < n else 0
        # Whoever begins later than this one has its two nearest earlier neighbours now: this, and the one below on the stack.
        while top > 0 and place < stack[top - 1]:
            top -= 1
            out[stack[top]] = max(depth[top], length)
            length = min(depth[top], length)
        stack[top], depth[top] = place, length
        top += 1
    return out


@nb.njit(cache=True, nogil=True)
def _anywhere(values, previous, worded, minimum_repeats, minimum_characters):
    n = len(values)
    best_start = best_stop = best_period = 0
    before, start = 0, 0
    while start < n:
        stop = start + max(previous[start], 1)
        low = max(start - 2 * (start - before) - (stop - start), 0)
        if start > 0 and stop - low >= minimum_characters:
            found = _crossing(values, low, start, stop, worded, minimum_repeats, minimum_characters)
            size, most = found[1] - found[0], best_stop - best_start
            if found[2] > 0 and (size > most or (size == most and found[2] < best_period)):
                best_start, best_stop, best_period = found
        before, start = start, stop
    if best_period:
        # What lies beyond the window has the same period or ends the stretch.
        while best_start > 0 and values[best_start - 1] == values[best_start - 1 + best_period]:
            best_start -= 1
        while best_stop < n and values[best_stop] == values[best_stop - best_period]:
            best_stop += 1
    return best_start, best_stop, best_period


@nb.njit(cache=True, nogil=True)
def _crossing(values, low, middle, stop, worded, minimum_repeats, minimum_characters):
    """Find the longest loop in a window that covers ``middle``: start, stop and period, or zeros.

    With period p, the stretch holds middle + p or middle - p; from either place, what matches the text behind ``middle``
    and, backwards, before it, is how far the period reaches.
    """
    size = stop - low
    ahead = np.zeros(size + 1, np.int32)
    behind = np.zeros(size + 1, np.int32)
    prefixes = np.zeros(max(stop - middle, middle - low) + 1, np.int32)
    _prefix_matches(values, middle, stop, 1, prefixes)
    _matches(values, middle, stop, 1, prefixes, low, ahead)
    _prefix_matches(values, middle - 1, low - 1, -1, prefixes)
    _matches(values, middle - 1, low - 1, -1, prefixes, stop - 1, behind)
    best_start = best_stop = best_period = 0
    for place in range(low, stop + 1):
        period = abs(place - middle)
        begin = min(place, middle) - behind[stop - place]
        end = max(place, middle) + ahead[place - low]
        longest = best_stop - best_start
        better = end - begin > longest or (end - begin == longest and period < best_period)
        if period > 0 and better and _counts(begin, end, period, worded, minimum_repeats, minimum_characters):
            best_start, best_stop, best_period = begin, end, period
    return best_start, best_stop, best_period
