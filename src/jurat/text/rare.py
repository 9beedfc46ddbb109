"""Runs of words by the number of documents that hold them, and how a text reads behind each: in a table of fixed size.

Every n-gram has one slot by its hash; two that share a slot are counted together, so a count is never too small. The counts
also say how new a text is: which of its pairs of neighbouring words stand in no other document. Where prose turns into
gibberish that share jumps, and the n-gram at the edge is what a poisoned text would be triggered by.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numba as nb
import numpy as np
from numpy.typing import NDArray

from jurat.text.simd import fold_product
from jurat.text.words import WordColumn

__all__ = ["ORDERS", "Onsets", "RareCounts", "gram_key"]

ORDERS = 3
"""Longest n-gram that is counted, in words."""

_KEY_LOW = 0x9E3779B97F4A7C15
_KEY_HIGH = 0xD6E8FEB86659FD93
_MASK = (1 << 64) - 1
_MOST = 65_535


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Onsets:
    """First places of n-grams in documents.

    Attributes
    ----------
    key
        Hash of the n-gram, uint64.
    document
        Number of the document in its column, int32.
    word
        Word at which the n-gram begins, int32.
    order
        Words of the n-gram, int8.
    jump
        Novelty behind less novelty before, in as a share, float32.
    held
        Documents that hold the n-gram (or one that shares its slot), uint16.
    """

    key: NDArray[np.uint64]
    document: NDArray[np.int32]
    word: NDArray[np.int32]
    order: NDArray[np.int8]
    jump: NDArray[np.float32]
    held: NDArray[np.uint16]

    def __len__(self) -> int:
        return len(self.key)


@dataclass(slots=True, kw_only=True, eq=False)
class RareCounts:
    """Document frequencies of all n-grams of one to three words.

    Parameters
    ----------
    slots
        Size of the table, a power of two; two bytes a slot. About four slots a word of the corpus keep counts exact.

    References
    ----------
    Cormode, G. and Muthukrishnan, S. (2005). An improved data stream summary. Journal of Algorithms 55, 58–75.

    Examples
    --------
    >>> from jurat.text.column import TextColumn
    >>> from jurat.text.words import hash_word, hash_words
    >>> counts = RareCounts(slots=1 << 10)
    >>> counts.add(hash_words(TextColumn.of(["a rare word, a rare one", "a word"])))
    >>> counts.held(gram_key([hash_word("a"), hash_word("rare")])), counts.held(gram_key([hash_word("a")]))
    (1, 2)
    """

    slots: int
    documents: int = 0
    pairs: int = 0
    table: NDArray[np.uint16] = field(init=False)

    def __post_init__(self) -> None:
        if self.slots < 2 or self.slots & (self.slots - 1):
            raise ValueError(f"slots must be a power of two of at least 2, got {self.slots!r}")
        self.table = np.zeros(self.slots, np.uint16)

    def add(self, words: WordColumn) -> None:
        """Count the n-grams of a column of documents, each once per document.

        Parameters
        ----------
        words
            Their words.
        """
        self.pairs += int(_count(words.hashes, words.offsets, self.table, _scratch(words)))
        self.documents += int((words.counts() > 0).sum())

    def held(self, key: int) -> int:
        """Documents that hold an n-gram, or more where another one shares its slot; at most 65,535."""
        return int(self.table[key & (self.slots - 1)])

    def load(self) -> float:
        """Share of the slots in use; above one half many counts are too large."""
        return float(np.count_nonzero(self.table) / self.slots)

    def novelty(self, words: WordColumn) -> NDArray[np.float64]:
        """Whether each word follows the one before it in no other document.

        Parameters
        ----------
        words
            Documents that were counted.

        Returns
        -------
        ndarray
            1 or 0, float64, one a word; 0 for a document's first word.
        """
        out = np.zeros(len(words.hashes), np.float64)
        _novelty(words.hashes, words.offsets, self.table, out)
        return out

    def jumps(self, words: WordColumn, *, window: int, least: int) -> NDArray[np.float64]:
        """Jump of the novelty at every word of the documents, as `onsets` would see it for a single word.

        Parameters
        ----------
        words
            Documents that were counted.
        window, least
            As in `onsets`.

        Returns
        -------
        ndarray
            Difference of two shares, float64, shape ``(words,)``; NaN where too little follows.
        """
        novelty = self.novelty(words)
        out = np.full(len(words.hashes), np.nan)
        _jumps_all(words.offsets, novelty, self._usual(novelty, words), window, least, out)
        return out

    def onsets(
        self,
        words: WordColumn,
        *,
        jump: float,
        held: tuple[int, int],
        window: int,
        least: int,
        usual: float | None = None,
    ) -> Onsets:
        """First places of n-grams whose frequency lies in a range and behind which the novelty jumps.

        Parameters
        ----------
        words
            Documents that were counted.
        jump
            Least jump, as a difference of shares; minus infinity gives every n-gram of the range.
        held
            Least and most documents that hold it.
        window
            Words looked at on each side.
        least
            Words that must follow; with fewer before, ``usual`` stands for them.
        usual
            Mean novelty of the corpus; that of these documents by default.

        Returns
        -------
        Onsets
            In order of document, place and length.
        """
        novelty = self.novelty(words)
        usual = self._usual(novelty, words) if usual is None else usual
        room = 1 << 12
        while True:
            key, document, word = np.empty(room, np.uint64), np.empty(room, np.int32), np.empty(room, np.int32)
            order, found, frequency = np.empty(room, np.int8), np.empty(room, np.float32), np.empty(room, np.uint16)
            out = (key, document, word, order, found, frequency)
            limits = (np.float64(jump), held[0], held[1], window, least, np.float64(usual))
            n = int(_onsets(words.hashes, words.offsets, self.table, novelty, limits, _scratch(words), out))
            if n <= room:
                break
            room = n
        return Onsets(
            key=key[:n], document=document[:n], word=word[:n], order=order[:n], jump=found[:n], held=frequency[:n]
        )

    def _usual(self, novelty: NDArray[np.float64], words: WordColumn) -> float:
        pairs = len(novelty) - int((words.counts() > 0).sum())
        return float(novelty.sum() / pairs) if pairs else 0.0


def gram_key(hashes: list[int]) -> int:
    """Key of an n-gram from the hashes of its words; the reference of the kernel.

    Parameters
    ----------
    hashes
        From `jurat.text.words.hash_word`.

    Examples
    --------
    >>> gram_key([7]) == gram_key([7, 7])
    False
    """
    key = 0
    for one in hashes:
        product = (key ^ one ^ _KEY_LOW) * (one ^ _KEY_HIGH)
        key = (product & _MASK) ^ (product >> 64)
        key = key or 1
    return key


def _scratch(words: WordColumn) -> NDArray[np.uint64]:
    """An emptied set that takes the n-grams of the longest document at half load."""
    longest = int(words.counts().max(initial=0))
    return np.zeros(1 << max(2 * ORDERS * longest, 2).bit_length(), np.uint64)


@nb.njit(cache=True, nogil=True, inline="always")
def _extend(key, one):
    found = fold_product(key ^ one ^ np.uint64(_KEY_LOW), one ^ np.uint64(_KEY_HIGH))
    return found if found != 0 else np.uint64(1)


@nb.njit(cache=True, nogil=True)
def _is_new(seen, mask, key):
    """Put a key into a set; was it not there yet?"""
    at = key & mask
    while seen[at] != 0:
        if seen[at] == key:
            return False
        at = (at + np.uint64(1)) & mask
    seen[at] = key
    return True


@nb.njit(cache=True, nogil=True)
def _room_of(size, seen):
    """Empty as much of the scratch set as one document needs; gives the mask of its places."""
    room = 2
    while room < 2 * ORDERS * size:
        room *= 2
    room = min(room, len(seen))
    seen[:room] = 0
    return np.uint64(room - 1)


@nb.njit(cache=True, nogil=True)
def _count(hashes, offsets, table, seen):
    """Count each document's distinct n-grams; gives the number of (word, document) pairs."""
    slots = np.uint64(len(table) - 1)
    pairs = 0
    for document in range(len(offsets) - 1):
        start, stop = offsets[document], offsets[document + 1]
        mask = _room_of(stop - start, seen)
        for first in range(start, stop):
            key = np.uint64(0)
            for order in range(min(ORDERS, stop - first)):
                key = _extend(key, hashes[first + order])
                if _is_new(seen, mask, key):
                    pairs += order == 0
                    slot = key & slots
                    if table[slot] < _MOST:
                        table[slot] += 1
    return pairs


@nb.njit(cache=True, nogil=True)
def _novelty(hashes, offsets, table, out):
    slots = np.uint64(len(table) - 1)
    for document in range(len(offsets) - 1):
        for i in range(offsets[document] + 1, offsets[document + 1]):
            both = _extend(_extend(np.uint64(0), hashes[i - 1]), hashes[i])
            out[i] = 1.0 if table[both & slots] <= 1 else 0.0


@nb.njit(cache=True, nogil=True)
def _sums(novelty, start, stop, sums):
    """Running sums of a document's novelty: ``sums[i]`` is that of its first i words."""
    sums[0] = 0.0
    for i in range(stop - start):
        sums[i + 1] = sums[i] + novelty[start + i]


@nb.njit(cache=True, nogil=True)
def _jump(sums, size, place, order, window, least, usual):
    """Mean novelty behind an n-gram less that before it; NaN where too little follows."""
    # The first word behind makes a pair with the n-gram itself, so it counts from the second on.
    first = place + order + 1
    last = min(first + window, size)
    if last - first < least:
        return np.nan
    behind = (sums[last] - sums[first]) / (last - first)
    begin = max(place - window, 1)
    before = (sums[place] - sums[begin]) / (place - begin) if place - begin >= least else usual
    return behind - before


@nb.njit(cache=True, nogil=True)
def _jumps_all(offsets, novelty, usual, window, least, out):
    for document in range(len(offsets) - 1):
        start, stop = offsets[document], offsets[document + 1]
        sums = np.empty(stop - start + 1, np.float64)
        _sums(novelty, start, stop, sums)
        for place in range(stop - start):
            out[start + place] = _jump(sums, stop - start, place, 1, window, least, usual)


@nb.njit(cache=True, nogil=True)
def _onsets(hashes, offsets, table, novelty, limits, seen, out):
    """Write what is found while there is room; gives how much there is."""
    jump, fewest, most, window, least, usual = limits
    slots = np.uint64(len(table) - 1)
    n = 0
    for document in range(len(offsets) - 1):
        start, stop = offsets[document], offsets[document + 1]
        size = stop - start
        mask = _room_of(size, seen)
        sums = np.empty(size + 1, np.float64)
        _sums(novelty, start, stop, sums)
        for place in range(size):
            key = np.uint64(0)
            for order in range(1, min(ORDERS, size - place) + 1):
                key = _extend(key, hashes[start + place + order - 1])
                if not _is_new(seen, mask, key):
                    continue
                held = table[key & slots]
                if held < fewest or held > most:
                    continue
                found = _jump(sums, size, place, order, window, least, usual)
                # Where all are asked for, those at the end of a text count too.
                if not (found >= jump or jump == -np.inf):
                    continue
                if n < len(out[0]):
                    out[0][n], out[1][n], out[2][n] = key, document, place
                    out[3][n], out[4][n], out[5][n] = order, found, held
                n += 1
    return n
