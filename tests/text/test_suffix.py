"""Suffix and LCP arrays against sorting the suffixes themselves."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jurat.text.suffix import lcp_array, suffix_array, symbols

_texts = st.text(max_size=60) | st.text("ab", max_size=200) | st.text("aé猫😀\ud800", max_size=80)


def common(one: str, other: str) -> int:
    """Length of the prefix that two texts share."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


@settings(max_examples=200, deadline=None)
@given(_texts)
def test_suffixes_are_in_the_order_of_sorting(text: str) -> None:
    order = suffix_array(text)
    assert order.tolist() == sorted(range(len(text)), key=lambda i: text[i:])
    shared = [0] + [common(text[a:], text[b:]) for a, b in itertools.pairwise(order)]
    assert lcp_array(text, order).tolist() == shared[: len(text)]


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=120))
def test_bytes_and_their_numbers_have_the_same_order(data: bytes) -> None:
    expected = sorted(range(len(data)), key=lambda i: data[i:])
    assert suffix_array(data).tolist() == expected
    assert suffix_array(np.frombuffer(data, np.uint8).astype(np.int64)).tolist() == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([0, 5, 7_000_000, 2**31 - 1]), max_size=50))
def test_sparse_alphabets_are_sorted_too(values: list[int]) -> None:
    order = suffix_array(np.array(values, np.int64))
    assert order.tolist() == sorted(range(len(values)), key=lambda i: values[i:])


def test_deep_recursion_is_sorted_right() -> None:
    # The Fibonacci word needs a level of recursion for each few of its doublings.
    one, other = "a", "ab"
    while len(other) < 20_000:
        one, other = other, other + one
    order = suffix_array(other)
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    text = np.append(symbols(other).astype(np.int64), -1)
    after = np.append(ranks, -1)
    # An order is that of the suffixes if neighbours are, by first symbol and by the rank of what follows.
    keys = list(zip(text[order], after[order + 1], strict=True))
    assert keys == sorted(keys)


def test_a_million_equal_bytes_take_no_longer_than_others() -> None:
    order = suffix_array(b"a" * 1_000_000)
    assert (order == np.arange(999_999, -1, -1)).all()
    assert (lcp_array(b"a" * 1_000_000, order) == np.arange(1_000_000)).all()


@pytest.mark.parametrize("values", [np.array([1, -1]), np.zeros((2, 2), np.int64), np.array([0.5]), np.array([2**31])])
def test_what_is_no_vector_of_symbols_is_refused(values: np.ndarray) -> None:
    with pytest.raises(ValueError, match="symbols"):
        suffix_array(values)


def test_an_array_of_another_text_is_refused() -> None:
    with pytest.raises(ValueError, match="as many suffixes"):
        lcp_array("abc", suffix_array("ab"))
