"""N-gram look-up against sets of tuples, and longest runs against brute force."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jurat.text.column import TextColumn
from jurat.text.overlap import Hits, NgramIndex, build_index, find_ngrams, longest_runs
from jurat.text.words import hash_words

_sentences = st.lists(st.lists(st.sampled_from("abcd"), max_size=14).map(" ".join), min_size=1, max_size=6)


def _found(hits: Hits, index: NgramIndex) -> set[tuple[int, int, int, int]]:
    """(document, word, item, position) of every occurrence of every posting."""
    return {
        (int(d), int(w), int(index.postings[p]), int(index.positions[p]))
        for d, w, k in zip(hits.document, hits.word, hits.key, strict=True)
        for p in range(index.offsets[k], index.offsets[k + 1])
    }


@settings(max_examples=80, deadline=None)
@given(_sentences, _sentences, st.data())
def test_every_occurrence_is_found_and_nothing_else(
    items: list[str], documents: list[str], data: st.DataObject
) -> None:
    lengths = data.draw(st.lists(st.integers(0, 4), min_size=len(items), max_size=len(items)))
    index = build_index(hash_words(TextColumn.of(items)), np.array(lengths))
    hits = find_ngrams(hash_words(TextColumn.of(documents)), index)
    expected = {
        (d, w, i, p)
        for (d, document), (i, item) in itertools.product(enumerate(documents), enumerate(items))
        if lengths[i]
        for w in range(len(document.split()) - lengths[i] + 1)
        for p in range(len(item.split()) - lengths[i] + 1)
        if document.split()[w : w + lengths[i]] == item.split()[p : p + lengths[i]]
    }
    assert _found(hits, index) == expected


def test_more_hits_than_room_are_all_returned() -> None:
    index = build_index(hash_words(TextColumn.of(["a"])), np.array([1]))
    hits = find_ngrams(hash_words(TextColumn.of(["a " * 10_000, "b", "a"])), index)
    assert len(hits) == 10_001 and hits.document[-1] == 2 and hits.word[:3].tolist() == [0, 1, 2]


@settings(max_examples=80, deadline=None)
@given(st.sets(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 6), st.integers(0, 6)), max_size=25))
def test_the_longest_run_is_that_of_brute_force(marks: set[tuple[int, int, int, int]]) -> None:
    columns = [np.array([mark[i] for mark in sorted(marks)], np.int64) for i in range(4)]
    documents, items, covered, longest, begins = longest_runs(*columns)
    pairs = sorted({mark[:2] for mark in marks})
    assert list(zip(documents.tolist(), items.tolist(), strict=True)) == pairs
    for row, (d, i) in enumerate(pairs):
        places = {mark[2:] for mark in marks if mark[:2] == (d, i)}
        runs = {
            place: next(n for n in itertools.count(1) if (place[0] + n, place[1] + n) not in places) for place in places
        }
        assert covered[row] == len({position for _, position in places})
        assert longest[row] == max(runs.values())
        assert max(n for (word, _), n in runs.items() if word == begins[row]) == longest[row]
