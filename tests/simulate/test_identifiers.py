"""Bulk strings against Python's own formatting."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jurat.simulate.identifiers import hexadecimal, mix, numbered, words

_UINT64 = st.integers(min_value=0, max_value=2**64 - 1)


@given(st.lists(_UINT64, min_size=1, max_size=20), st.lists(_UINT64, min_size=1, max_size=20))
def test_hexadecimal_writes_what_python_writes(left: list[int], right: list[int]) -> None:
    size = min(len(left), len(right))
    a, b = (np.array(part[:size], dtype=np.uint64) for part in (left, right))
    expected = [f"{x:016x}{y:016x}" for x, y in zip(left, right, strict=False)]
    assert hexadecimal(a, b).to_pylist() == expected


@given(st.integers(min_value=0, max_value=2_000))
def test_numbered_writes_what_python_writes(count: int) -> None:
    width = len(str(max(count - 1, 0)))
    assert numbered("user", count).to_pylist() == [f"user-{i:0{width}d}" for i in range(count)]


def _splitmix64(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
    return z ^ (z >> 31)


@given(st.lists(st.integers(min_value=0, max_value=2**62), min_size=1, max_size=20), _UINT64)
def test_mix_is_the_splitmix64_finaliser_in_python_integers(counters: list[int], key: int) -> None:
    expected = [_splitmix64((counter + key) % 2**64) for counter in counters]
    assert mix(np.array(counters), key=key).tolist() == expected


def test_words_spell_codes_and_leave_the_absent_null() -> None:
    assert words(["a", "b"], np.array([1, 0]), present=np.array([True, False])).to_pylist() == ["b", None]
