"""Winnowing against its promise: a long shared passage always leaves a shared fingerprint."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jurat.text.column import TextColumn
from jurat.text.minhash import hash_shingles
from jurat.text.passages import PassageSpec, fingerprints
from jurat.text.words import hash_words


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 9))
def test_fingerprints_are_the_least_of_each_run_of_windows(seed: int, window: int, gap: int) -> None:
    rng = np.random.default_rng(seed)
    texts = [" ".join(rng.choice(list("abcdefgh"), rng.integers(0, 60))) for _ in range(3)]
    words = hash_words(TextColumn.of(texts))
    found = fingerprints(words, PassageSpec(window=window, gap=gap))
    hashes, offsets = hash_shingles(words, window)
    for d, text in enumerate(texts):
        size = len(text.split()) - window + 1
        here = [int(h) for h in hashes[offsets[d] : offsets[d + 1]]]
        expected: set[int] = set()
        for last in range(min(gap, size) - 1, size) if size > 0 else ():
            run = range(max(last - gap + 1, 0), last + 1)
            expected.add(max(run, key=lambda i: (-here[i], i)))
        chosen = found.document == d
        assert found.word[chosen].tolist() == sorted(expected if size > 0 else set())
        assert found.key[chosen].tolist() == [here[i] for i in sorted(expected if size > 0 else set())]


def test_a_shared_passage_of_window_and_gap_is_never_missed() -> None:
    rng = np.random.default_rng(1)
    spec = PassageSpec(window=20, gap=8)
    for _ in range(200):
        passage = [f"p{i}" for i in rng.integers(0, 10**6, spec.window + spec.gap - 1)]
        texts = [" ".join([*(f"x{i}" for i in rng.integers(0, 10**6, rng.integers(0, 50))), *passage,
                           *(f"y{i}" for i in rng.integers(0, 10**6, rng.integers(0, 50)))]) for _ in range(2)]  # fmt: skip
        found = fingerprints(hash_words(TextColumn.of(texts)), spec)
        assert set(found.key[found.document == 0].tolist()) & set(found.key[found.document == 1].tolist())


def test_windows_of_no_length_are_refused() -> None:
    with pytest.raises(ValueError, match="not 0 and 16"):
        PassageSpec(window=0)
