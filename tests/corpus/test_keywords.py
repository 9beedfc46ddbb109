"""Keywords of groups against sums taken by hand, and in noise."""

from __future__ import annotations

import numpy as np
import pytest

from jurat.corpus.keywords import keywords
from jurat.stats.compare import difference_of_proportions
from jurat.text.tfidf import tfidf


def _noise(seed: int, n: int = 120) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(f"word{w}" for w in rng.integers(0, 40, 12)) for _ in range(n)]


def test_a_planted_term_leads_its_group_and_its_interval_is_newcombes() -> None:
    texts = _noise(1)
    texts[:30] = [text + " refund" for text in texts[:30]]
    groups = ["shop"] * 40 + ["login"] * 80
    found = [k for k in keywords(texts, groups, top=3) if k.group == "shop"]
    first, m = found[0], 2 * 41
    assert (first.term, first.documents, first.group_documents, first.rest, first.rest_documents) == (
        "refund",
        30,
        40,
        0,
        80,
    )
    assert first.difference == difference_of_proportions(30, 40, 0, 80, level=1 - 0.05 / m)
    assert first.difference is not None and first.difference.low is not None and first.difference.low > 0.4
    assert first.share.value == 0.75


def test_weights_are_mean_tf_idf_in_the_group_less_the_rest() -> None:
    texts, groups = _noise(2), ["a", "b", None] * 40
    weights = tfidf(texts, min_df=2)
    dense = weights.matrix.toarray()
    inside = np.array([g == "a" for g in groups])
    lead = dense[inside].mean(axis=0) - dense[~inside].mean(axis=0)
    found = [k for k in keywords(texts, groups, top=5) if k.group == "a"]
    assert [k.term for k in found] == [weights.terms[i] for i in np.argsort(-lead)[:5]]
    np.testing.assert_allclose([k.weight for k in found], np.sort(lead)[::-1][:5], atol=1e-12)


def test_in_noise_hardly_any_interval_leaves_out_zero() -> None:
    # All intervals together hold at 95 %: of 60 sets of noise, 3 are expected to break it, more than 9 hardly ever.
    broken = 0
    for seed in range(60):
        found = keywords(_noise(100 + seed, 80), ["a", "b"] * 40, top=40)
        broken += any(k.difference is not None and (k.difference.low or 0) > 0 for k in found)
    assert broken <= 9


def test_without_groups_the_terms_of_greatest_mean_weight_are_listed() -> None:
    texts = ["refund order", "refund now", "refund"]
    first = keywords(texts, top=1, min_df=1)[0]
    assert (first.group, first.term, first.documents, first.difference) == (None, "refund", 3, None)


def test_impossible_questions_are_refused() -> None:
    with pytest.raises(ValueError, match="every document is in 'a'"):
        keywords(["some text", "some more"], ["a", "a"])
    with pytest.raises(ValueError, match="3 documents"):
        keywords(["x y z"] * 3, ["a"])
    with pytest.raises(ValueError, match="top"):
        keywords(["some text"], top=0)
    with pytest.raises(ValueError, match="level"):
        keywords(["some text"], level=1.0)
