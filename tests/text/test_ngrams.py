"""Counts of n-grams against plain counters, and against sacrebleu where it is installed."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jurat.text.ngrams import ngram_matches

_sentence = st.lists(st.sampled_from(["a", "b", "the", "é", "猫"]), max_size=12).map(" ".join)
_pairs = st.lists(st.tuples(_sentence, st.lists(_sentence, min_size=1, max_size=3)), max_size=4)


def plain(output: str, references: list[str], order: int) -> tuple[int, int]:
    def grams(text: str) -> Counter[tuple[str, ...]]:
        tokens = text.split()
        return Counter(tuple(tokens[i : i + order]) for i in range(len(tokens) - order + 1))

    most: Counter[tuple[str, ...]] = Counter()
    for reference in references:
        most |= grams(reference)
    return sum((grams(output) & most).values()), sum(grams(output).values())


@settings(max_examples=200, deadline=None)
@given(_pairs, st.integers(1, 5))
def test_counts_are_those_of_plain_counters(pairs: list[tuple[str, list[str]]], max_order: int) -> None:
    found = ngram_matches([o for o, _ in pairs], [r for _, r in pairs], max_order=max_order)
    assert len(found) == len(pairs) and found.matches.shape == found.totals.shape == (len(pairs), max_order)
    for i, (output, references) in enumerate(pairs):
        for order in range(1, max_order + 1):
            counts = found.matches[i, order - 1], found.totals[i, order - 1]
            assert counts == plain(output, references, order)
        size = len(output.split())
        assert found.output_length[i] == size
        nearest = min((abs(len(r.split()) - size), len(r.split())) for r in references)
        assert found.reference_length[i] == nearest[1]


@settings(max_examples=60, deadline=None)
@given(_pairs)
def test_counts_are_those_of_sacrebleu(pairs: list[tuple[str, list[str]]]) -> None:
    bleu = pytest.importorskip("sacrebleu.metrics.bleu", reason="sacrebleu is not installed")
    metric = bleu.BLEU(tokenize="none", force=True)
    found = ngram_matches([o for o, _ in pairs], [r for _, r in pairs])
    for i, (output, references) in enumerate(pairs):
        score = metric.corpus_score([output], [[reference] for reference in references])
        assert found.matches[i].tolist() == score.counts
        assert found.totals[i].tolist() == score.totals
        assert (found.output_length[i], found.reference_length[i]) == (score.sys_len, score.ref_len)


def test_a_word_said_again_and_again_is_clipped() -> None:
    # The example of Papineni et al. (2002), section 2.1: 2 of 7.
    found = ngram_matches(
        ["the the the the the the the"], [["the cat is on the mat", "there is a cat on the mat"]], max_order=1
    )
    assert (found.matches[0, 0], found.totals[0, 0]) == (2, 7)


def test_characters_are_tokens_where_given_as_such() -> None:
    found = ngram_matches([list("abcab")], [[list("cabx")]], max_order=3)
    assert found.matches.tolist() == [[3, 2, 1]]


@pytest.mark.parametrize(
    ("outputs", "references", "order"),
    [(["a"], [], 4), (["a"], [[]], 4), (["a"], ["a"], 4), (["a"], [["a"]], 0)],
    ids=["lengths", "none", "string", "order"],
)
def test_impossible_pairs_are_refused(outputs: list, references: list, order: int) -> None:
    with pytest.raises(ValueError, match=r"reference|max_order"):
        ngram_matches(outputs, references, max_order=order)
