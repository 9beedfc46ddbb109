"""What is the longest passage that a text says twice, or that two texts share?

Suffixes that begin with the same passage are neighbours in the suffix array, so the longest repeat is a maximum over shared
lengths, and all its places are one stretch of the array. All is done on code points: a result never holds half a character.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba as nb
import numpy as np
from numpy.typing import NDArray

from jurat.text.suffix import lcp_array, suffix_array, symbols

__all__ = ["Repeat", "longest_common_substring", "longest_repeated_substring"]

_CODE_POINTS = 0x110000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Repeat:
    """A passage and all its places.

    Attributes
    ----------
    text
        The passage.
    n_characters, n_bytes
        Its length in code points and in bytes of UTF-8.
    documents
        Which of the texts each occurrence is in, from 0, int64, shape ``(occurrences,)``; in order.
    characters, bytes
        Where in its text each begins, in code points and in bytes of UTF-8, int64, shape ``(occurrences,)``.
    """

    text: str
    n_characters: int
    n_bytes: int
    documents: NDArray[np.int64]
    characters: NDArray[np.int64]
    bytes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.characters)


def longest_repeated_substring(
    texts: str | bytes | Sequence[str | bytes], *, overlapping: bool = True, across: bool = False
) -> Repeat | None:
    """Find the longest passage that occurs at least twice.

    Parameters
    ----------
    texts
        A text, or several; a passage never runs from one text into the next. Bytes must be UTF-8.
    overlapping
        Whether occurrences may overlap. Where not, two that do not overlap decide the length, and the occurrences
        returned are chosen from the left, which gives the most.
    across
        Whether the passage must occur in at least two of the texts.

    Returns
    -------
    Repeat or None
        ``None`` where no character occurs twice (or in two texts). Of several passages of that length, the one that
        begins first.

    Raises
    ------
    ValueError
        For bytes that are not UTF-8, and more than 2**31 - 3 characters in all.

    Notes
    -----
    With order :math:`S` of the suffixes and shared lengths :math:`L`, the length is :math:`\\max_i L_i`. Without overlap it
    is the largest :math:`k` for which a stretch of the array with :math:`L \\ge k` holds two places at least :math:`k` apart,
    found by bisection; time is linear in the first case, :math:`n \\log k` in the second.

    References
    ----------
    Gusfield, D. (1997). Algorithms on Strings, Trees, and Sequences, section 7.12. Cambridge University Press.

    Examples
    --------
    >>> found = longest_repeated_substring("Ünd sie läuft, und sie läuft weiter.")
    >>> found.text, found.characters.tolist(), found.bytes.tolist()
    ('nd sie läuft', [1, 16], [2, 18])
    >>> longest_repeated_substring("aaaaa").text, longest_repeated_substring("aaaaa", overlapping=False).text
    ('aaaa', 'aa')
    """
    several = [texts] if isinstance(texts, str | bytes) else list(texts)
    joined, starts = _join(several)
    order = suffix_array(joined)
    shared = lcp_array(joined, order)
    owners = _owners(starts, order) if across else np.empty(0, np.int32)
    length = _longest(order, shared, owners, overlapping)
    if length == 0:
        return None
    first, last = _earliest_stretch(order, shared, owners, length, length if not overlapping else 1)
    places = np.sort(order[first:last]).astype(np.int64)
    if not overlapping:
        places = places[_apart(places, length)]
    return _repeat(several, joined, starts, places, length)


def longest_common_substring(first: str | bytes, second: str | bytes) -> Repeat | None:
    """Find the longest passage that two texts share, and where in both it stands.

    Parameters
    ----------
    first, second
        The texts. Bytes must be UTF-8.

    Returns
    -------
    Repeat or None
        All its places; ``documents`` is 0 for the first text and 1 for the second. ``None`` where no character is shared.
        Of several passages of that length, the one that begins first in ``first``.

    Raises
    ------
    ValueError
        For bytes that are not UTF-8.

    Notes
    -----
    Time is linear: the largest length shared by neighbours in order that come from different texts.

    Examples
    --------
    >>> found = longest_common_substring("You are a helpful assistant.", "I am a helpful assistant!")
    >>> found.text, found.documents.tolist(), found.characters.tolist()
    (' a helpful assistant', [0, 1], [7, 4])
    """
    return longest_repeated_substring([first, second], across=True)


def _join(texts: Sequence[str | bytes]) -> tuple[NDArray[np.integer], NDArray[np.int64]]:
    """All texts as one vector, a separator of its own behind each but the last, and where each begins."""
    parts = [symbols(_decoded(text)) for text in texts]
    lengths = np.array([len(part) + 1 for part in parts], np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    if len(parts) == 1:
        return parts[0], starts
    joined = np.empty(max(int(starts[-1]) - 1, 0), np.int32)
    for i, part in enumerate(parts):
        joined[starts[i] : starts[i] + len(part)] = part
        if i + 1 < len(parts):
            joined[starts[i + 1] - 1] = _CODE_POINTS + i
    return joined, starts


def _decoded(text: str | bytes) -> str:
    try:
        return text.decode() if isinstance(text, bytes) else text
    except UnicodeDecodeError as error:
        seen = f"byte {error.object[error.start] if error.object else 0:#04x} at {error.start}"
        raise ValueError(f"the text must be UTF-8, got {seen}") from error


def _owners(starts: NDArray[np.int64], order: NDArray[np.int32]) -> NDArray[np.int32]:
    """Which text each suffix begins in, in the order of the suffixes."""
    lengths = np.diff(starts)
    owners = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    return owners[order]


def _longest(order: NDArray[np.int32], shared: NDArray[np.int32], owners: NDArray[np.int32], overlapping: bool) -> int:
    """Length of the longest repeat of the kind asked for."""
    if len(owners):
        other = np.empty(len(owners), np.bool_)
        other[0], other[1:] = False, owners[1:] != owners[:-1]
        high = int(shared[other].max(initial=0))
    else:
        high = int(shared.max(initial=0))
    if overlapping or high == 0:
        return high
    low = 0
    while low < high:
        middle = (low + high + 1) // 2
        if _earliest_stretch(order, shared, owners, middle, middle)[1] > 0:
            low = middle
        else:
            high = middle - 1
    return low


def _repeat(
    texts: Sequence[str | bytes],
    joined: NDArray[np.integer],
    starts: NDArray[np.int64],
    places: NDArray[np.int64],
    length: int,
) -> Repeat:
    documents = np.searchsorted(starts, places, side="right") - 1
    characters = places - starts[documents]
    text = _decoded(texts[documents[0]])[characters[0] : characters[0] + length]
    # Bytes before a place: one for each character, and one more for each bound its code point has passed.
    size = np.ones(len(joined) + 1, np.uint8)
    if joined.dtype != np.uint8:
        for bound in (0x80, 0x800, 0x10000):
            size[:-1] += joined >= bound
    at = np.zeros(len(joined) + 2, np.int64)
    np.cumsum(size, out=at[1:])
    return Repeat(
        text=text,
        n_characters=length,
        n_bytes=int(at[places[0] + length] - at[places[0]]),
        documents=documents.astype(np.int64),
        characters=characters,
        bytes=at[places] - at[starts[documents]],
    )


@nb.njit(cache=True, nogil=True)
def _earliest_stretch(order, shared, owners, length, apart):
    """First and last (exclusive) place in order of the suffixes that share ``length`` symbols and begin earliest in the text.

    Two of them must lie ``apart`` symbols from each other; where owners are given, be in two texts. (0, 0) if there are none.
    """
    n = len(order)
    best, best_first, best_last = n, 0, 0
    first = 0
    while first < n:
        last = first + 1
        low = high = order[first]
        mixed = len(owners) == 0
        while last < n and shared[last] >= length:
            low, high = min(low, order[last]), max(high, order[last])
            if not mixed and owners[last] != owners[first]:
                mixed = True
            last += 1
        if last > first + 1 and mixed and high - low >= apart and low < best:
            best, best_first, best_last = low, first, last
        first = last
    return best_first, best_last


@nb.njit(cache=True, nogil=True)
def _apart(places, length):
    """Which of the places to keep, from the left, so that none lies in the one before."""
    keep = np.zeros(len(places), np.bool_)
    free = 0
    for i in range(len(places)):
        if places[i] >= free:
            keep[i] = True
            free = places[i] + length
    return keep
