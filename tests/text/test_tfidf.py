"""TF-IDF and counts of terms against scikit-learn, on any Unicode."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jurat.text.column import TextColumn
from jurat.text.terms import count_terms
from jurat.text.tfidf import tfidf

sklearn = pytest.importorskip("sklearn.feature_extraction.text")

_documents = st.lists(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
    | st.text("aAbBσΣςİIıǅß_1٣é猫\u0301'- .\nȺK\U0001d7d8", max_size=60)
    | st.text("aB_ ", max_size=60),
    min_size=1,
    max_size=5,
)


def assert_equal(texts: list[str], **options: object) -> None:
    peer = sklearn.TfidfVectorizer(**options)
    try:
        expected = peer.fit_transform(texts)
    except ValueError:
        with pytest.raises(ValueError, match=r"no term|none of"):
            tfidf(texts, **options)
        return
    expected.sort_indices()
    found = tfidf(texts, **options)
    assert list(found.terms) == peer.get_feature_names_out().tolist()
    assert np.array_equal(found.matrix.indices, expected.indices)
    assert np.array_equal(found.matrix.indptr, expected.indptr)
    np.testing.assert_allclose(found.matrix.data, expected.data, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.idf, peer.idf_, rtol=1e-12)


@settings(max_examples=250, deadline=None)
@given(
    _documents,
    st.sampled_from([(1, 1), (1, 2), (2, 2), (1, 3), (2, 4)]),
    st.sampled_from([1, 2, 0.3]),
    st.sampled_from([1.0, 0.7, 3]),
    st.sampled_from([None, ["aa", "bb", "ab"]]),
)
def test_weights_are_those_of_scikit_learn(
    texts: list[str], grams: tuple[int, int], min_df: float, max_df: float, stop: list[str] | None
) -> None:
    if isinstance(max_df, int) and isinstance(min_df, int) and max_df < min_df:
        return
    options = {} if stop is None else {"stop_words": stop}
    assert_equal(texts, ngram_range=grams, min_df=min_df, max_df=max_df, **options)


def test_every_code_point_is_cut_and_lowered_as_in_scikit_learn() -> None:
    every = [chr(i) for i in range(0x110000) if not 0xD800 <= i < 0xE000]
    # Each doubled and alone between letters: whether it is a word, what its lower case is, whether it joins.
    assert_equal(["".join(f"{c}{c} a{c}b " for c in every[i : i + 40_000]) for i in range(0, len(every), 40_000)])


def test_many_and_long_words_outgrow_every_table() -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(f"w{n}" for n in rng.integers(0, 60_000, 3_000)) for _ in range(20)]
    texts += [
        "x" * 5_000 + " " + "É" * 90_000,
        "x" * 4_999 + "y X" + "x" * 4_999,
        "internationalisation Internationalisation_",
    ]
    assert_equal(texts)
    assert_equal(texts, ngram_range=(1, 2), min_df=1)


def test_capital_sigma_is_final_only_at_the_end_of_a_word() -> None:
    assert_equal(["plain first", "ΟΔΥΣΣΕΥΣ ΣΑΣ Σ.Σ", "plain again İstanbul", "odd ÉΣ"])


def test_the_most_frequent_terms_are_kept_and_ties_go_to_the_first_in_order() -> None:
    texts = ["dd dd dd cc cc bb aa", "dd bb aa cc"]
    assert tfidf(texts, max_features=3).terms == ("aa", "cc", "dd")
    peer = sklearn.TfidfVectorizer(max_features=2).fit(texts)
    assert tfidf(texts, max_features=2).terms == tuple(peer.get_feature_names_out())


def test_null_and_empty_documents_are_rows_without_terms() -> None:
    found = tfidf(["word here", None, "", "word there"])
    assert found.matrix.shape == (4, 3) and np.diff(found.matrix.indptr).tolist() == [2, 0, 0, 2]
    assert found.document_frequency.tolist() == [1, 1, 2]


def test_sliced_columns_and_lists_give_the_same() -> None:
    array = pa.array(["not this", "Σας one two", None, "two three"]).slice(1)
    found, expected = count_terms(TextColumn.of(array)), count_terms(["Σας one two", None, "two three"])
    assert found.terms == expected.terms
    assert (found.matrix != expected.matrix).nnz == 0


def test_bytes_that_are_not_utf_8_separate_terms() -> None:
    assert count_terms([b"ab\xffcd \xce"]).terms == ("ab", "cd")
    assert count_terms([b"ab\xffcd \xce\xa3\xce\xb1\xff"]).terms == ("ab", "cd", "σα")


@pytest.mark.parametrize(
    "option", [{"ngram_range": (2, 1)}, {"ngram_range": (0, 1)}, {"min_df": -1}, {"max_df": 1.5}, {"max_features": 0}]
)
def test_impossible_options_are_refused(option: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(option))):
        tfidf(["some text"], **option)


def test_no_term_left_is_said_and_why() -> None:
    with pytest.raises(ValueError, match="two or more letters"):
        tfidf(["a b c", ""])
    with pytest.raises(ValueError, match="none of 4 terms"):
        tfidf(["some text", "other words"], min_df=2)
