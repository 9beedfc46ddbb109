"""How many n-grams does an output share with its references? The counts that BLEU and its kin are made of, in bulk.

Kept per pair, so that a score of a whole set, of any part of it, or of a bootstrap sample is a matter of adding rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba as nb
import numpy as np
from numpy.typing import NDArray

from jurat.text.simd import fold_product

__all__ = ["NgramMatches", "ngram_matches"]

_KEY_LOW = 0x9E3779B97F4A7C15
_KEY_HIGH = 0xD6E8FEB86659FD93

Tokens = str | Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NgramMatches:
    """Counts of each pair of an output and its references.

    Attributes
    ----------
    matches
        n-grams of the output that are matched, int64, shape ``(pairs, orders)``; column 0 holds single tokens. Each n-gram
        counts at most as often as in the reference that has most of it (clipped).
    totals
        n-grams of the output, int64, shape ``(pairs, orders)``; clipped precision is matches over totals.
    output_length
        Tokens of the output, int64, shape ``(pairs,)``.
    reference_length
        Tokens of the reference nearest in length, the shorter of two equally near, int64, shape ``(pairs,)``; the brevity
        penalty compares the sums of the two lengths.
    """

    matches: NDArray[np.int64]
    totals: NDArray[np.int64]
    output_length: NDArray[np.int64]
    reference_length: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.output_length)


def ngram_matches(
    outputs: Sequence[Tokens], references: Sequence[Sequence[Tokens]], *, max_order: int = 4
) -> NgramMatches:
    """Count clipped matches of n-grams.

    Parameters
    ----------
    outputs
        One per pair: its tokens, or a string of tokens separated by blanks. Tokens are compared as they are; fold and split
        them before, as the score at hand defines it.
    references
        One or more per pair, like the outputs. ``list(text)`` as tokens counts characters.
    max_order
        Longest n-gram, in tokens.

    Returns
    -------
    NgramMatches

    Raises
    ------
    ValueError
        Where the lengths differ, a pair has no reference, a reference is a string where a list of them is due, or
        ``max_order`` is below 1.

    Notes
    -----
    For order :math:`n`, matches are :math:`\\sum_g \\min(c_{out}(g), \\max_r c_r(g))` over the n-grams :math:`g`. An n-gram
    is known by the number of its first n − 1 tokens and its last token: exact, without comparing hashes only.

    References
    ----------
    Papineni, K. et al. (2002). BLEU: a method for automatic evaluation of machine translation. ACL 40, 311–318.

    Examples
    --------
    >>> counts = ngram_matches(["the the the cat"], [["the cat is on the mat", "there is a cat"]])
    >>> counts.matches.tolist(), counts.totals.tolist(), counts.reference_length.tolist()
    ([[3, 1, 0, 0]], [[4, 3, 2, 1]], [4])
    """
    if max_order < 1:
        raise ValueError(f"max_order must be at least 1, got {max_order!r}")
    if len(outputs) != len(references):
        raise ValueError(f"each output needs its references, got {len(outputs)} outputs and {len(references)} lists")
    numbers: dict[str, int] = {}
    tokens: list[int] = []
    ends, texts = [0], [0]
    for i, (output, several) in enumerate(zip(outputs, references, strict=True)):
        if isinstance(several, str) or len(several) == 0:
            raise ValueError(f"references of a pair must be a list of at least one, got {several!r} for pair {i}")
        for text in (output, *several):
            for token in text.split() if isinstance(text, str) else text:
                tokens.append(numbers.setdefault(token, len(numbers)))
            ends.append(len(tokens))
        texts.append(len(ends) - 1)
    shape = (len(outputs), max_order)
    result = NgramMatches(
        matches=np.zeros(shape, np.int64),
        totals=np.zeros(shape, np.int64),
        output_length=np.zeros(len(outputs), np.int64),
        reference_length=np.zeros(len(outputs), np.int64),
    )
    bounds = np.array(ends, np.int64)
    longest = int(max(np.diff(bounds[np.array(texts)]), default=0))
    slots = np.full(1 << max(2 * longest, 2).bit_length(), -1, np.int64)
    _count_pairs(
        np.array(tokens, np.int64),
        bounds,
        np.array(texts, np.int64),
        slots,
        (result.matches, result.totals, result.output_length, result.reference_length),
    )
    return result


@nb.njit(cache=True, nogil=True)
def _number_grams(heads, tokens, order, slots, owners):
    """Number the n-grams that begin at each place from 0, by the number of their beginning and their last token.

    The table is emptied behind by the places that were written.
    """
    n = len(tokens) - order + 1
    count = 0
    mask = np.uint64(len(slots) - 1)
    numbers = np.empty(max(n, 0), np.int64)
    for i in range(n):
        tail = tokens[i + order - 1]
        code = fold_product(np.uint64(heads[i]) ^ np.uint64(_KEY_LOW), np.uint64(tail) ^ np.uint64(_KEY_HIGH))
        at = code & mask
        while slots[at] >= 0 and (heads[slots[at]] != heads[i] or tokens[slots[at] + order - 1] != tail):
            at = (at + np.uint64(1)) & mask
        if slots[at] < 0:
            slots[at] = i
            owners[count] = at
            numbers[i] = count
            count += 1
        else:
            numbers[i] = numbers[slots[at]]
    for i in range(count):
        slots[owners[i]] = -1
    return numbers, count


@nb.njit(cache=True, nogil=True)
def _count_pairs(tokens, ends, texts, slots, result):
    matches, totals, output_length, reference_length = result
    for pair in range(len(texts) - 1):
        first, last = texts[pair], texts[pair + 1]
        base = ends[first]
        here = tokens[base : ends[last]]
        size = ends[first + 1] - base
        output_length[pair] = size
        nearest = ends[first + 2] - ends[first + 1]
        for text in range(first + 2, last):
            length = ends[text + 1] - ends[text]
            step = abs(length - size) - abs(nearest - size)
            if step < 0 or (step == 0 and length < nearest):
                nearest = length
        reference_length[pair] = nearest
        owners = np.empty(len(here), np.uint64)
        heads = np.zeros(len(here), np.int64)
        for order in range(1, matches.shape[1] + 1):
            totals[pair, order - 1] = max(size - order + 1, 0)
            if size < order:
                continue
            heads, count = _number_grams(heads, here, order, slots, owners)
            in_output, most, now = np.zeros(count, np.int64), np.zeros(count, np.int64), np.zeros(count, np.int64)
            for i in range(size - order + 1):
                in_output[heads[i]] += 1
            for text in range(first + 1, last):
                low, high = ends[text] - base, ends[text + 1] - base - order + 1
                for i in range(low, high):
                    now[heads[i]] += 1
                    most[heads[i]] = max(most[heads[i]], now[heads[i]])
                for i in range(low, high):
                    now[heads[i]] = 0
            for gram in range(count):
                matches[pair, order - 1] += min(in_output[gram], most[gram])
