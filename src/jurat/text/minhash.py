"""MinHash of word shingles: how alike two documents are, from 128 numbers each.

Two sets agree in the least element of a random order with probability their Jaccard similarity J (Broder, 1997), so the
share of agreeing minima estimates J with variance J(1 - J)/k. The orders are affine maps of 32-bit numbers; the parameters
are fixed by the specification below, so that signatures of different years and machines can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba as nb
import numpy as np
from numpy.typing import NDArray

from jurat.text.simd import TILE, fold_product, minhash_tile
from jurat.text.words import WordColumn

__all__ = ["MINHASH_VERSION", "MinHashSpec", "band_keys", "compact", "hash_shingles", "signatures", "similarity"]

MINHASH_VERSION = "minhash/1 (affine-32)"
"""Part of every manifest: another family of hashes is another version."""

_BASE = 0x9FB21C651E98DF25
_KEY_LOW = 0xA0761D6478BD642F
_KEY_HIGH = 0xE7037ED1A0B428DB
_SEED = 0x6A757261745F3031
_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class MinHashSpec:
    """What a signature means.

    Attributes
    ----------
    permutations
        Numbers in a signature, a multiple of 32.
    bands, rows
        Two documents are candidates where all rows of a band agree: with probability ``1 - (1 - J^rows)^bands``.
    width
        Words in a shingle. A document with fewer words is one shingle.

    Raises
    ------
    ValueError
        Where bands and rows need more numbers than there are.

    Examples
    --------
    >>> spec = MinHashSpec()
    >>> round(spec.candidate_probability(0.8), 4), round(spec.candidate_probability(0.5), 4)
    (0.9235, 0.0533)
    """

    permutations: int = 128
    bands: int = 14
    rows: int = 8
    width: int = 5

    def __post_init__(self) -> None:
        if self.permutations < TILE or self.permutations % TILE:
            raise ValueError(f"permutations must be a multiple of {TILE}, not {self.permutations}")
        if min(self.bands, self.rows, self.width) < 1 or self.bands * self.rows > self.permutations:
            raise ValueError(
                f"{self.bands} bands of {self.rows} rows need {self.bands * self.rows} numbers; "
                f"a signature has {self.permutations}, and bands, rows and width are at least 1"
            )

    def candidate_probability(self, similarity: float) -> float:
        """Probability that two documents of this similarity share a band (the S-curve)."""
        return float(1 - (1 - similarity**self.rows) ** self.bands)


def signatures(words: WordColumn, spec: MinHashSpec | None = None) -> NDArray[np.uint32]:
    """MinHash signatures of documents.

    Parameters
    ----------
    words
        Words of the documents.
    spec
        Number of permutations and width of a shingle.

    Returns
    -------
    ndarray
        uint32, shape ``(n, permutations)``. A document without a word has only 2^32 - 1; it resembles nothing.

    Notes
    -----
    A shingle is the polynomial of its words' hashes modulo 2^64, folded to 32 bits; number j of the signature is the least
    ``a_j x + b_j`` modulo 2^32 over the shingles x, a_j odd.

    References
    ----------
    A. Broder (1997), On the resemblance and containment of documents.

    Examples
    --------
    >>> from jurat.text.column import TextColumn
    >>> from jurat.text.words import hash_words
    >>> text = " ".join(f"word{i}" for i in range(200))
    >>> minima = signatures(hash_words(TextColumn.of([text, text.upper(), text + " and more"])))
    >>> similarity(minima[0], minima[1]), round(similarity(minima[0], minima[2]), 1)
    (1.0, 1.0)
    """
    spec = spec or MinHashSpec()
    factors, offsets = _coefficients(spec.permutations)
    out = np.full((len(words), spec.permutations), 0xFFFFFFFF, np.uint32)
    scratch = np.empty(int(words.counts().max(initial=0)) + 1, np.uint32)
    _sign(words.hashes, words.offsets, spec.width, factors, offsets, scratch, out)
    return out


def similarity(left: NDArray[np.uint32], right: NDArray[np.uint32]) -> float:
    """Share of numbers in which two signatures agree: the estimate of their Jaccard similarity."""
    return float(np.mean(left == right))


def compact(minima: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Keep the low eight bits of each number: enough to verify an edge, a quarter of the bytes.

    Two different minima agree in them by chance once in 256, so agreement estimates ``J + (1 - J)/256``.
    """
    return (minima & np.uint32(0xFF)).astype(np.uint8)


def band_keys(minima: NDArray[np.uint32], spec: MinHashSpec | None = None) -> NDArray[np.uint64]:
    """Fold the rows of each band into one key.

    Parameters
    ----------
    minima
        Signatures, shape ``(n, permutations)``.
    spec
        Bands and rows.

    Returns
    -------
    ndarray
        uint64, shape ``(n, bands)``.
    """
    spec = spec or MinHashSpec()
    out = np.empty((len(minima), spec.bands), np.uint64)
    _band(np.ascontiguousarray(minima), spec.rows, out)
    return out


def hash_shingles(words: WordColumn, width: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hash every run of ``width`` words; a shorter document is one run of what it has.

    Parameters
    ----------
    words
        Words of the documents.
    width
        Words in a run.

    Returns
    -------
    hashes : ndarray
        uint64, one after the other.
    offsets : ndarray
        Where each document's runs begin, int64, shape ``(n + 1,)``.
    """
    counts = words.counts()
    runs = np.where(counts >= width, counts - width + 1, (counts > 0).astype(np.int64))
    offsets = np.concatenate([[0], np.cumsum(runs)]).astype(np.int64)
    out = np.empty(int(offsets[-1]), np.uint64)
    _shingles(words.hashes, words.offsets, width, offsets, out)
    return out, offsets


def _coefficients(count: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Factors (odd) and offsets by splitmix64 from the specification's seed."""
    values, state = [], _SEED
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & _MASK
        mixed = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        values.append(mixed ^ (mixed >> 31))
    numbers = np.array(values, np.uint64)
    return (numbers >> np.uint64(32)).astype(np.uint32) | np.uint32(1), numbers.astype(np.uint32)


@nb.njit(cache=True, nogil=True, inline="always")
def _power(width):
    power = np.uint64(1)
    for _ in range(width):
        power *= np.uint64(_BASE)
    return power


@nb.njit(cache=True, nogil=True, inline="always")
def _finish(value):
    return fold_product(value ^ np.uint64(_KEY_LOW), np.uint64(_KEY_HIGH))


@nb.njit(cache=True, nogil=True)
def _shingles(hashes, offsets, width, places, out):
    power = _power(width)
    for document in range(len(offsets) - 1):
        first, last = offsets[document], offsets[document + 1]
        place = places[document]
        value = np.uint64(0)
        for i in range(first, last):
            value = value * np.uint64(_BASE) + hashes[i]
            if i - first >= width:
                value -= power * hashes[i - width]
            if i - first >= width - 1:
                out[place] = _finish(value)
                place += 1
        if 0 < last - first < width:
            out[place] = _finish(value)


@nb.njit(cache=True, nogil=True)
def _sign(hashes, offsets, width, factors, shifts, scratch, out):
    base, power = np.uint64(_BASE), _power(width - 1)
    for document in range(len(offsets) - 1):
        first, last = offsets[document], offsets[document + 1]
        value, n = np.uint64(0), 0
        head = min(first + width - 1, last)
        for i in range(first, head):
            value = value * base + hashes[i]
        if 0 < last - first < width:
            scratch[0] = np.uint32(_finish(value))
            n = 1
        else:
            for i in range(head, last):
                value = value * base + hashes[i]
                scratch[n] = np.uint32(_finish(value))
                # The word that leaves is taken off now, so that the next step has one product in its chain, not two.
                value -= hashes[i - width + 1] * power
                n += 1
        for lane in range(0, len(factors), TILE):
            minhash_tile(scratch, 0, n, factors, shifts, lane, out, document * len(factors) + lane)


@nb.njit(cache=True, nogil=True)
def _band(minima, rows, out):
    for document in range(out.shape[0]):
        for band in range(out.shape[1]):
            key = np.uint64(band)
            for row in range(rows):
                key = fold_product(
                    key ^ np.uint64(minima[document, band * rows + row]) ^ np.uint64(_KEY_LOW), np.uint64(_KEY_HIGH)
                )
            out[document, band] = key
