"""How many duplicates would this search have missed? Pairs of known likeness, made from the user's own documents.

A sample of documents is changed by known amounts, in the ways in which copies differ in the wild, and sent through the very
kernels and thresholds of the search. The exact Jaccard similarity of each pair is computed, so recall is known as a curve,
with Wilson intervals, on this corpus and not on somebody else's.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jurat.stats.interval import proportion
from jurat.stats.result import Interval
from jurat.text.column import TextColumn
from jurat.text.minhash import MinHashSpec, band_keys, compact, hash_shingles, signatures
from jurat.text.neighbours import agreement_needed
from jurat.text.words import hash_words

__all__ = ["CHANGES", "PlantedPairs", "RecallLine", "exact_similarity", "plant_pairs", "recall_curve"]

_BINS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


_AT_A_TIME = 200
"""Pairs that are held in memory together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantedPairs:
    """Pairs of a document and a changed copy.

    Attributes
    ----------
    change
        How each copy was made: a key of `CHANGES`.
    similarity
        Exact Jaccard similarity of their shingles, float64.
    candidate
        Whether they share a band.
    agreement
        Numbers of the eight-bit signature in which they agree.
    numbers
        Numbers in a signature.
    """

    change: list[str]
    similarity: NDArray[np.float64]
    candidate: NDArray[np.bool_]
    agreement: NDArray[np.int64]
    numbers: int

    def found(self, similarity: float) -> NDArray[np.bool_]:
        """Whether each pair would be linked at a threshold."""
        return self.candidate & (self.agreement >= agreement_needed(similarity, self.numbers))


@dataclass(frozen=True, slots=True, kw_only=True)
class RecallLine:
    """Recall among pairs of like similarity.

    Attributes
    ----------
    low, high
        Bounds of the similarity; the upper one is in it only at 1.
    recall
        Linked among planted, with its Wilson interval.
    candidates
        Sharing a band among planted.
    expected
        What the bands promise on the average of these pairs (the S-curve).
    """

    low: float
    high: float
    recall: Interval
    candidates: Interval
    expected: float | None


def _scattered(words: list[str], amount: float, rng: np.random.Generator) -> list[str]:
    out = list(words)
    for place in np.flatnonzero(rng.random(len(words)) < amount / 5):
        out[place] = f"{words[int(rng.integers(len(words)))]}x"
    return out


def _block(words: list[str], amount: float, rng: np.random.Generator) -> list[str]:
    size = int(amount * len(words) / 2)
    first = int(rng.integers(0, max(1, len(words) - size)))
    return [*words[:first], *(f"{w}x" for w in rng.permutation(words[first : first + size])), *words[first + size :]]


def _cut(words: list[str], amount: float, rng: np.random.Generator) -> list[str]:
    return words[: max(1, int(len(words) * (1 - amount)))]


def _longer(words: list[str], amount: float, rng: np.random.Generator) -> list[str]:
    more = int(len(words) * amount / (1 - min(amount, 0.9)))
    return [*words, *(f"{words[int(i)]}x" for i in rng.integers(0, len(words), more))]


def _formatting(words: list[str], amount: float, rng: np.random.Generator) -> list[str]:
    return [w.upper() if rng.random() < 0.5 else f"{w}," for w in words]


CHANGES: dict[str, Callable[[list[str], float, np.random.Generator], list[str]]] = {
    "scattered words": _scattered,
    "a block replaced": _block,
    "cut short": _cut,
    "added to": _longer,
    "formatting only": _formatting,
}
"""Ways in which a copy differs; the amount (0 to .6) is about one minus the similarity aimed at."""


def exact_similarity(left: NDArray[np.uint64], right: NDArray[np.uint64]) -> float:
    """Jaccard similarity of two sets of shingles: shared over all.

    Examples
    --------
    >>> exact_similarity(np.array([1, 2, 3], np.uint64), np.array([2, 3, 4], np.uint64))
    0.5
    """
    shared = len(np.intersect1d(left, right))
    union = len(np.unique(left)) + len(np.unique(right)) - shared
    return shared / union if union else 0.0


def plant_pairs(
    texts: Sequence[str], minhash: MinHashSpec | None = None, *, pairs: int = 3000, seed: int = 0
) -> PlantedPairs:
    """Make pairs from documents and see what the search sees of them.

    Parameters
    ----------
    texts
        Documents of the corpus; those with fewer than 40 words are passed over, as nothing can be changed in them by degrees.
    minhash
        The search's specification.
    pairs
        How many; each document is used as often as needed.
    seed
        Of the changes.

    Returns
    -------
    PlantedPairs

    Raises
    ------
    ValueError
        Where no document is long enough.
    """
    minhash = minhash or MinHashSpec()
    hosts = [text for text in texts if len(text.split(maxsplit=40)) >= 40]
    if not hosts:
        raise ValueError("planting needs documents of at least 40 words; none of those given has so many")
    rng = np.random.default_rng(seed)
    parts = [
        _plant([hosts[number % len(hosts)] for number in range(first, min(first + _AT_A_TIME, pairs))], minhash, rng)
        for first in range(0, pairs, _AT_A_TIME)
    ]
    return PlantedPairs(
        change=[name for part in parts for name in part.change],
        similarity=np.concatenate([part.similarity for part in parts]),
        candidate=np.concatenate([part.candidate for part in parts]),
        agreement=np.concatenate([part.agreement for part in parts]),
        numbers=minhash.permutations,
    )


def _plant(hosts: Sequence[str], minhash: MinHashSpec, rng: np.random.Generator) -> PlantedPairs:
    """A copy of each host, changed by a random amount, and what the search sees of the two."""
    names = list(CHANGES)
    originals, copies, change = [], [], []
    for host in hosts:
        words = host.split()
        name = names[int(rng.integers(len(names)))]
        originals.append(" ".join(words))
        copies.append(" ".join(CHANGES[name](words, float(rng.uniform(0, 0.6)), rng)))
        change.append(name)
    left, right = hash_words(TextColumn.of(originals)), hash_words(TextColumn.of(copies))
    shingles = [hash_shingles(words, minhash.width) for words in (left, right)]
    similarity = np.array(
        [
            exact_similarity(*(hashes[places[i] : places[i + 1]] for hashes, places in shingles))
            for i in range(len(change))
        ]
    )
    first, second = signatures(left, minhash), signatures(right, minhash)
    return PlantedPairs(
        change=change,
        similarity=similarity,
        candidate=(band_keys(first, minhash) == band_keys(second, minhash)).any(axis=1),
        agreement=(compact(first) == compact(second)).sum(axis=1).astype(np.int64),
        numbers=minhash.permutations,
    )


def recall_curve(pairs: PlantedPairs, similarity: float, minhash: MinHashSpec | None = None) -> list[RecallLine]:
    """Recall by similarity, measured and promised.

    Parameters
    ----------
    pairs
        Planted pairs.
    similarity
        The search's threshold.
    minhash
        Bands and rows, for the promise.

    Returns
    -------
    list of RecallLine
        From .4 to 1 in tenths, and last all pairs of at least .8.
    """
    minhash = minhash or MinHashSpec()
    found = pairs.found(similarity)
    bounds = [*itertools.pairwise(_BINS), (0.8, 1.0)]
    lines = []
    for low, high in bounds:
        here = (pairs.similarity >= low) & ((pairs.similarity < high) | (high == 1.0))
        n = int(here.sum())
        promise = [minhash.candidate_probability(float(j)) for j in pairs.similarity[here]]
        lines.append(
            RecallLine(
                low=low,
                high=high,
                recall=proportion(int(found[here].sum()), n),
                candidates=proportion(int(pairs.candidate[here].sum()), n),
                expected=float(np.mean(promise)) if promise else None,
            )
        )
    return lines
