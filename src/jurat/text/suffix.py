"""In which order do the suffixes of a text come, and how much do neighbours share?

The suffix array answers questions about repeats of any length at once. It is built by induced sorting (SA-IS), in time linear
in the text for any alphabet: suffixes are split into those smaller and those larger than their successor, the leftmost of
each falling run are sorted by recursion, and all others follow from them in two sweeps.
"""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

__all__ = ["lcp_array", "suffix_array", "symbols"]

_LONGEST = 2**31 - 2


def symbols(text: str | bytes) -> NDArray[np.uint8] | NDArray[np.int32]:
    """Lay a text out as numbers: code points of a string, the bytes of bytes.

    Parameters
    ----------
    text
        Any text; lone surrogates are code points like others.

    Returns
    -------
    ndarray
        uint8 where all fit into a byte below 128 or the text is bytes, else int32.

    Examples
    --------
    >>> symbols("aé").tolist(), symbols("aé".encode()).tolist()
    ([97, 233], [97, 195, 169])
    """
    if isinstance(text, bytes):
        return np.frombuffer(text, np.uint8)
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), np.uint8)
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.dtype("<i4")).astype(np.int32, copy=False)


def suffix_array(text: str | bytes | NDArray[np.integer]) -> NDArray[np.int32]:
    """Sort the suffixes of a text.

    Parameters
    ----------
    text
        A string (sorted by code point), bytes, or a vector of whole numbers of at least 0, shape ``(n,)``.

    Returns
    -------
    ndarray
        int32, shape ``(n,)``: where the suffixes begin, smallest suffix first; a suffix comes before its continuations.

    Raises
    ------
    ValueError
        For a text of 2**31 - 2 symbols or more, numbers below 0 or above 2**31 - 1, and shapes other than a vector.

    Notes
    -----
    Time and memory are linear in ``n`` and the alphabet; sparse alphabets are made dense first. Beside the text and the
    result, at most some 9 bytes a symbol are held.

    References
    ----------
    Nong, G., Zhang, S. and Chan, W. H. (2009). Linear suffix array construction by almost pure induced-sorting. Data
    Compression Conference, 193–202.

    Examples
    --------
    >>> suffix_array("banana").tolist()
    [5, 3, 1, 0, 4, 2]
    """
    values = symbols(text) if isinstance(text, str | bytes) else _checked(np.asarray(text))
    if len(values) == 0:
        return np.empty(0, np.int32)
    if values.dtype == np.uint8:
        return _sort(values, 256)
    highest = int(values.max())
    if highest >= max(256, len(values)):
        values, highest = _dense(values, highest)
    return _sort(np.ascontiguousarray(values, np.int32), highest + 1)


def lcp_array(text: str | bytes | NDArray[np.integer], suffixes: NDArray[np.int32]) -> NDArray[np.int32]:
    """Lengths of what each suffix shares with the one before it in order.

    Parameters
    ----------
    text
        The text, as given to `suffix_array`.
    suffixes
        Its suffix array, shape ``(n,)``.

    Returns
    -------
    ndarray
        int32, shape ``(n,)``, in symbols; the first is 0.

    Raises
    ------
    ValueError
        Where the lengths differ.

    Notes
    -----
    Kasai's observation, that the suffix one symbol on shares at most one symbol less, makes the time linear. Lengths are
    found in the order of the text, and put in the order of the suffixes at the end, which spares half of the jumps.

    References
    ----------
    Kasai, T. et al. (2001). Combinatorial Pattern Matching, LNCS 2089, 181–192. Kärkkäinen, J., Manzini, G. and Puglisi,
    S. J. (2009). Combinatorial Pattern Matching, LNCS 5577, 181–192.

    Examples
    --------
    >>> lcp_array("banana", suffix_array("banana")).tolist()
    [0, 1, 3, 0, 0, 2]
    """
    values = symbols(text) if isinstance(text, str | bytes) else _checked(np.asarray(text))
    if len(values) != len(suffixes):
        raise ValueError(f"a text of {len(values)} symbols has as many suffixes, got {len(suffixes)}")
    if values.dtype != np.uint8:
        values = np.ascontiguousarray(values, np.int32)
    out = np.zeros(len(values), np.int32)
    if len(values):
        _share(values, np.ascontiguousarray(suffixes, np.int32), out)
    return out


def _checked(values: NDArray[np.integer]) -> NDArray[np.integer]:
    if values.ndim != 1 or not (np.issubdtype(values.dtype, np.integer) or len(values) == 0):
        raise ValueError(f"symbols must be a vector of whole numbers, got {values.dtype} of shape {values.shape}")
    if len(values) >= _LONGEST:
        raise ValueError(f"a text has fewer than {_LONGEST} symbols, got {len(values)}")
    if len(values) and (int(values.min()) < 0 or int(values.max()) > 2**31 - 1):
        raise ValueError(f"symbols lie between 0 and 2**31 - 1, got {int(values.min())} to {int(values.max())}")
    return values


def _dense(values: NDArray[np.integer], highest: int) -> tuple[NDArray[np.integer], int]:
    """Number the symbols that occur from 0, in their order."""
    if highest <= 16 * len(values) + 0x110000:
        met = np.zeros(highest + 1, np.bool_)
        met[values] = True
        ranks = np.cumsum(met, dtype=np.int32) - np.int32(1)
        return ranks[values], int(ranks[-1])
    present, dense = np.unique(values, return_inverse=True)
    return dense, len(present) - 1


def _sort(text: NDArray[np.integer], alphabet: int) -> NDArray[np.int32]:
    """Suffix array of a text of at least one symbol; recursion at least halves it."""
    order = np.empty(len(text), np.int32)
    ends = np.cumsum(np.bincount(text, minlength=alphabet)).astype(np.int32)
    marks = _falling_starts(text)
    if len(marks) > 1:
        found = np.empty(len(marks), np.int32)
        _induce(text, marks, ends, order, found)
        reduced = np.empty(len(marks), np.int32)
        names = _name(text, marks, found, order, reduced)
        if names < len(marks):
            marks = marks[_sort(reduced, names)]
        else:
            marks = found
    _induce(text, marks, ends, order, np.empty(0, np.int32))
    return order


@nb.njit(cache=True, nogil=True)
def _falling_starts(text):
    """Where a suffix is smaller than its successor and its predecessor is not (leftmost S, LMS), in text order."""
    n = len(text)
    count = 0
    for write in range(2):
        places = np.empty(count, np.int32)
        left = count
        count = 0
        rising = False
        for i in range(n - 2, -1, -1):
            if text[i] < text[i + 1]:
                rising = True
            elif text[i] > text[i + 1]:
                if rising:
                    if write:
                        left -= 1
                        places[left] = i + 1
                    count += 1
                rising = False
    return places


@nb.njit(cache=True, nogil=True)
def _induce(text, marks, ends, order, found):
    """Order all suffixes from the marked ones, given in order; ``found``, if it has room, gets the marked ones again.

    Whether a suffix is of the smaller kind needs no table: in the sweep upwards, text[v - 1] >= text[v] says that v - 1 is
    not; in the sweep downwards, place i says it of v, for those lie from the moving end of their bucket on.
    """
    n = len(text)
    pointer = ends.copy()
    for i in range(n):
        order[i] = -1
    for i in range(len(marks) - 1, -1, -1):
        symbol = text[marks[i]]
        pointer[symbol] -= 1
        order[pointer[symbol]] = marks[i]
    pointer[0] = 0
    pointer[1:] = ends[:-1]
    symbol = text[n - 1]
    order[pointer[symbol]] = n - 1
    pointer[symbol] += 1
    for i in range(n):
        before = order[i] - 1
        if before >= 0:
            symbol = text[before]
            if symbol >= text[before + 1]:
                order[pointer[symbol]] = before
                pointer[symbol] += 1
    pointer[:] = ends
    left = len(found)
    for i in range(n - 1, -1, -1):
        before = order[i] - 1
        if before < 0:
            continue
        symbol, here = text[before], text[before + 1]
        smaller = i >= pointer[here]
        if symbol < here or (symbol == here and smaller):
            pointer[symbol] -= 1
            order[pointer[symbol]] = before
        elif smaller and left > 0:
            left -= 1
            found[left] = before + 1


@nb.njit(cache=True, nogil=True)
def _name(text, marks, found, work, reduced):
    """Number the stretches between marks by their order, equal ones alike; returns how many numbers there are.

    ``work`` holds the stretches' lengths: two marks are never neighbours, so half of a mark's place is its own.
    """
    n, m = len(text), len(marks)
    half = (n + 1) // 2
    for i in range(m - 1):
        work[marks[i] >> 1] = marks[i + 1] - marks[i]
    work[marks[m - 1] >> 1] = n
    name = 0
    names = np.empty(half, np.int32)
    names[found[0] >> 1] = 0
    for i in range(1, m):
        one, other = found[i - 1], found[i]
        size = work[one >> 1]
        same = size == work[other >> 1] and size < n
        if same:
            step = 0
            while step <= size and text[one + step] == text[other + step]:
                step += 1
            same = step > size
        if not same:
            name += 1
        names[other >> 1] = name
    for i in range(m):
        reduced[i] = names[marks[i] >> 1]
    return name + 1


@nb.njit(cache=True, nogil=True)
def _share(text, suffixes, out):
    n = len(text)
    # The suffix before each in order, replaced by the length shared with it.
    before = np.empty(n, np.int32)
    before[suffixes[0]] = -1
    for i in range(1, n):
        before[suffixes[i]] = suffixes[i - 1]
    length = 0
    for i in range(n):
        other = before[i]
        if other < 0:
            before[i] = 0
            length = 0
            continue
        while i + length < n and other + length < n and text[i + length] == text[other + length]:
            length += 1
        before[i] = length
        length = max(length - 1, 0)
    for i in range(n):
        out[i] = before[suffixes[i]]
