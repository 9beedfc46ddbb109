"""Signatures against their definition in plain Python, and the law of their error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jurat.text import minhash
from jurat.text.column import TextColumn
from jurat.text.minhash import MinHashSpec, band_keys, compact, hash_shingles, signatures, similarity
from jurat.text.words import hash_words

_MASK = (1 << 64) - 1
PINNED_MINIMA = [1500868333, 2514002018, 2946906, 417952326]
PINNED_KEY = 18419081178521933096


def _fold(left: int, right: int) -> int:
    product = left * right
    return (product & _MASK) ^ (product >> 64)


def plain_shingles(hashes: list[int], width: int) -> list[int]:
    """Shingles by the definition: the polynomial of each run, folded."""
    runs = [hashes[i : i + width] for i in range(max(len(hashes) - width + 1, 1))] if hashes else []
    values = []
    for run in runs:
        value = 0
        for word in run:
            value = (value * minhash._BASE + word) & _MASK
        values.append(_fold(value ^ minhash._KEY_LOW, minhash._KEY_HIGH))
    return values


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text("ab cD猫", max_size=60), max_size=5), st.integers(1, 7))
def test_signatures_are_those_of_their_definition(texts: list[str], width: int) -> None:
    words = hash_words(TextColumn.of(texts))
    spec = MinHashSpec(permutations=64, bands=4, rows=8, width=width)
    factors, shifts = minhash._coefficients(64)
    minima = signatures(words, spec)
    shingles, places = hash_shingles(words, width)
    for i in range(len(texts)):
        expected = plain_shingles([int(h) for h in words.hashes[words.offsets[i] : words.offsets[i + 1]]], width)
        assert [int(s) for s in shingles[places[i] : places[i + 1]]] == expected
        for j in range(64):
            values = [(int(factors[j]) * (s & 0xFFFFFFFF) + int(shifts[j])) & 0xFFFFFFFF for s in expected]
            assert int(minima[i, j]) == min(values, default=0xFFFFFFFF)


def test_the_specification_has_not_moved() -> None:
    """Digests pinned: a change of either is a new version of the specification, not a fix."""
    minima = signatures(hash_words(TextColumn.of(["Evidence, sworn and checked: from raw crawl to launch."])))
    assert minima[0, :4].tolist() == PINNED_MINIMA
    assert int(band_keys(minima)[0, 0]) == PINNED_KEY


@pytest.mark.parametrize("target", [0.3, 0.6, 0.8, 0.95])
def test_the_error_of_the_estimate_is_that_of_theory(target: float) -> None:
    rng = np.random.default_rng(5)
    size, pairs = 400, 1500
    texts, truth = [], []
    for pair in range(pairs):
        shared = round(2 * size * target / (1 + target))
        own = size - shared
        ids = [f"p{pair}w{i}" for i in range(shared + 2 * own)]
        left, right = ids[: shared + own], ids[:shared] + ids[shared + own :]
        texts += [" ".join(rng.permutation(left)), " ".join(rng.permutation(right))]
        truth.append(shared / (shared + 2 * own))
    minima = signatures(hash_words(TextColumn.of(texts)), MinHashSpec(width=1))
    estimate = np.mean(minima[::2] == minima[1::2], axis=1)
    error = estimate - np.array(truth)
    theory = np.sqrt(truth[0] * (1 - truth[0]) / 128)
    assert np.sqrt(np.mean(error**2)) < 1.06 * theory
    assert abs(error.mean()) < 4 * theory / np.sqrt(pairs)


def test_documents_of_the_same_words_agree_and_those_without_resemble_nothing() -> None:
    minima = signatures(hash_words(TextColumn.of(["a b c d e f", "A, b; C d\ne  f!", "", "…"])))
    assert similarity(minima[0], minima[1]) == 1.0
    assert (minima[2:] == 0xFFFFFFFF).all()
    assert np.array_equal(compact(minima)[0], minima[0] & 0xFF)


def test_bands_that_need_more_numbers_than_there_are_are_refused() -> None:
    with pytest.raises(ValueError, match="25 bands of 8 rows need 200"):
        MinHashSpec(bands=25)
    with pytest.raises(ValueError, match="multiple of 32"):
        MinHashSpec(permutations=100)
