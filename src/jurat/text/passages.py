"""Passages that documents share: fingerprints of long windows of words, thinned so that none is missed.

Every window of words has a hash; of each run of neighbouring windows the least is kept (winnowing: Schleimer, Wilkerson and
Aiken, 2003). Two documents that share a passage of ``window + gap - 1`` words or more therefore share a fingerprint,
while about two in ``gap + 1`` windows are stored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba as nb
import numpy as np
from numpy.typing import NDArray

from jurat.text.minhash import hash_shingles
from jurat.text.words import WordColumn

__all__ = ["Fingerprints", "PassageSpec", "fingerprints"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PassageSpec:
    """Which repeats are looked for.

    Attributes
    ----------
    window
        Words in a window: a shared passage at least this long may be found.
    gap
        Neighbouring windows of which one is kept: from ``window + gap - 1`` words on, a shared passage is always found.
    """

    window: int = 50
    gap: int = 16

    def __post_init__(self) -> None:
        if self.window < 1 or self.gap < 1:
            raise ValueError(f"window and gap are at least 1, not {self.window} and {self.gap}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprints:
    """Chosen windows.

    Attributes
    ----------
    document
        Row of the document, int32, ascending.
    word
        Word at which the window begins, int32.
    key
        Hash of the window, uint64.
    """

    document: NDArray[np.int32]
    word: NDArray[np.int32]
    key: NDArray[np.uint64]


def fingerprints(words: WordColumn, spec: PassageSpec | None = None) -> Fingerprints:
    """Choose the windows of documents that stand for all.

    Parameters
    ----------
    words
        Words of the documents.
    spec
        Length of windows and how they are thinned.

    Returns
    -------
    Fingerprints
        Empty for documents with fewer words than a window.

    References
    ----------
    S. Schleimer, D. Wilkerson, A. Aiken (2003), Winnowing: local algorithms for document fingerprinting.

    Examples
    --------
    >>> from jurat.text.column import TextColumn
    >>> from jurat.text.words import hash_words
    >>> passage = " ".join(f"w{i}" for i in range(30))
    >>> words = hash_words(TextColumn.of(["a b c " + passage, passage + " d e f"]))
    >>> found = fingerprints(words, PassageSpec(window=8, gap=4))
    >>> shared = set(found.key[found.document == 0].tolist()) & set(found.key[found.document == 1].tolist())
    >>> len(shared) > 5
    True
    """
    spec = spec or PassageSpec()
    hashes, offsets = hash_shingles(words, spec.window)
    room = len(hashes)
    document, word, key = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.uint64)
    n = _winnow(hashes, offsets, words.offsets, spec.window, spec.gap, document, word, key)
    return Fingerprints(document=document[:n].copy(), word=word[:n].copy(), key=key[:n].copy())


@nb.njit(cache=True, nogil=True)
def _winnow(hashes, offsets, word_offsets, window, gap, document, word, key):
    n = 0
    for d in range(len(offsets) - 1):
        if word_offsets[d + 1] - word_offsets[d] < window:
            continue
        first, size = offsets[d], offsets[d + 1] - offsets[d]
        kept, least = -1, -1
        for last in range(min(gap, size) - 1, size):
            begin = max(last - gap + 1, 0)
            if least < begin:
                least = begin
                for i in range(begin, last + 1):
                    # Of equal ones the rightmost, so that it stays the least as long as it can.
                    if hashes[first + i] <= hashes[first + least]:
                        least = i
            elif hashes[first + last] <= hashes[first + least]:
                least = last
            if least != kept:
                document[n], word[n], key[n] = d, least, hashes[first + least]
                n += 1
                kept = least
    return n
