"""Counts of n-grams by document against plain Python, whatever the text."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jurat.text.column import TextColumn
from jurat.text.rare import ORDERS, RareCounts, gram_key
from jurat.text.words import WordColumn, hash_words

TEXTS = st.lists(st.none() | st.text(max_size=60) | st.text(alphabet="ab é猫 ", max_size=80), max_size=8)


def _documents(words: WordColumn) -> list[list[int]]:
    return [words.hashes[a:b].tolist() for a, b in zip(words.offsets, words.offsets[1:], strict=False)]


def _reference(words: WordColumn) -> Counter[int]:
    held: Counter[int] = Counter()
    for hashes in _documents(words):
        held.update({gram_key(hashes[i : i + n]) for n in range(1, ORDERS + 1) for i in range(len(hashes) - n + 1)})
    return held


@settings(max_examples=60, deadline=None)
@given(TEXTS)
def test_each_ngram_counts_once_for_each_document_that_holds_it(texts: list[str | None]) -> None:
    words = hash_words(TextColumn.of(texts))
    counts = RareCounts(slots=1 << 16)
    counts.add(words)
    by_slot: Counter[int] = Counter()
    for key, held in _reference(words).items():
        by_slot[key & 0xFFFF] += held
    assert {int(k): int(counts.table[k]) for k in np.flatnonzero(counts.table)} == dict(by_slot)
    assert counts.documents == sum(bool(d) for d in _documents(words))
    assert counts.pairs == sum(len(set(d)) for d in _documents(words))


@settings(max_examples=40, deadline=None)
@given(TEXTS, st.integers(1, 5), st.integers(1, 3))
def test_onsets_are_the_first_places_with_the_jump_that_plain_sums_give(
    texts: list[str | None], window: int, least: int
) -> None:
    words = hash_words(TextColumn.of(texts))
    counts = RareCounts(slots=1 << 20)
    counts.add(words)
    found = counts.onsets(words, jump=-1.0, held=(1, 9), window=window, least=least, usual=0.25)
    expected = []
    for number, hashes in enumerate(_documents(words)):
        new = [0.0] + [float(counts.held(gram_key(hashes[i - 1 : i + 1])) <= 1) for i in range(1, len(hashes))]
        seen = set()
        for place in range(len(hashes)):
            for order in range(1, min(ORDERS, len(hashes) - place) + 1):
                key = gram_key(hashes[place : place + order])
                behind = new[place + order + 1 : place + order + 1 + window]
                before = new[max(place - window, 1) : place]
                if key in seen or not 1 <= counts.held(key) <= 9:
                    continue
                seen.add(key)
                if len(behind) < least:
                    continue
                usual = sum(before) / len(before) if len(before) >= least else 0.25
                expected.append((key, number, place, order, sum(behind) / len(behind) - usual))
    assert [tuple(row) for row in zip(found.key, found.document, found.word, found.order, strict=True)] == [
        row[:4] for row in expected
    ]
    np.testing.assert_allclose(found.jump, [row[4] for row in expected], atol=1e-6)


def test_the_counts_do_not_depend_on_how_documents_are_grouped() -> None:
    texts = ["one two three two one", "two three four", "", "one two"]
    whole, parts = RareCounts(slots=1 << 12), RareCounts(slots=1 << 12)
    whole.add(hash_words(TextColumn.of(texts)))
    for text in reversed(texts):
        parts.add(hash_words(TextColumn.of([text])))
    assert np.array_equal(whole.table, parts.table)
    assert (whole.documents, whole.pairs) == (parts.documents, parts.pairs)


def test_a_small_table_never_counts_too_little() -> None:
    texts = [f"w{i % 17} x{i % 5} y{i % 3} z{i}" for i in range(200)]
    words = hash_words(TextColumn.of(texts))
    small = RareCounts(slots=1 << 6)
    small.add(words)
    assert all(small.held(key) >= held for key, held in _reference(words).items())
    assert small.load() > 0.5


def test_more_onsets_than_there_was_room_for_are_all_given() -> None:
    texts = [" ".join(f"v{i}" for i in range(3000))] * 2
    words = hash_words(TextColumn.of(texts))
    counts = RareCounts(slots=1 << 16)
    counts.add(words)
    found = counts.onsets(words, jump=-math.inf, held=(1, 9), window=5, least=1)
    assert len(found) == 2 * (3000 + 2999 + 2998)


@pytest.mark.parametrize("slots", [0, 1, 3, 1000])
def test_a_table_that_is_no_power_of_two_is_refused(slots: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        RareCounts(slots=slots)
