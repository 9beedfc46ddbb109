"""Longest repeats and common substrings against looking at every substring."""

from __future__ import annotations

import difflib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jurat.text.repeats import longest_common_substring, longest_repeated_substring

_texts = st.text("ab", max_size=14) | st.text("aé猫😀 ", max_size=14) | st.text(max_size=10)


def every_substring(texts: list[str], overlapping: bool, across: bool) -> tuple[str, list[tuple[int, int]]] | None:
    """The longest repeat that begins first, and its places."""
    for length in range(max(map(len, texts), default=0), 0, -1):
        places: dict[str, list[tuple[int, int]]] = {}
        for d, text in enumerate(texts):
            for i in range(len(text) - length + 1):
                found = places.setdefault(text[i : i + length], [])
                if overlapping or not found or found[-1][0] != d or found[-1][1] + length <= i:
                    found.append((d, i))
        for passage, found in places.items():
            if len(found) > 1 and (not across or len({d for d, _ in found}) > 1):
                return passage, found
    return None


@settings(max_examples=250, deadline=None)
@given(st.lists(_texts, max_size=3), st.booleans(), st.booleans())
def test_the_longest_repeat_is_that_of_looking_at_every_substring(
    texts: list[str], overlapping: bool, across: bool
) -> None:
    found = longest_repeated_substring(texts, overlapping=overlapping, across=across)
    expected = every_substring(texts, overlapping, across)
    if expected is None:
        assert found is None
        return
    assert found is not None
    places = list(zip(found.documents.tolist(), found.characters.tolist(), strict=True))
    assert (found.text, places) == expected
    assert len(found) == len(places)
    assert (found.n_characters, found.n_bytes) == (
        len(found.text),
        len(found.text.encode("utf-8", "surrogatepass")),
    )
    for (d, c), at in zip(places, found.bytes, strict=True):
        assert len(texts[d][:c].encode("utf-8", "surrogatepass")) == at


@settings(max_examples=100, deadline=None)
@given(_texts, _texts)
def test_the_longest_common_substring_is_as_long_as_that_of_difflib(first: str, second: str) -> None:
    match = difflib.SequenceMatcher(None, first, second, autojunk=False).find_longest_match()
    found = longest_common_substring(first, second)
    assert (found.n_characters if found else 0) == match.size
    if found:
        assert (found.documents[0], found.characters[0]) == (0, match.a)
        assert found.text in first and found.text in second


def test_half_a_character_is_no_repeat() -> None:
    # é and è share their first byte, 猫 and 狗 theirs: no whole character stands twice.
    assert longest_repeated_substring("éè猫狗") is None
    assert longest_common_substring("é", "è") is None
    assert longest_common_substring("é".encode(), "aé".encode()).text == "é"


def test_a_passage_never_runs_from_one_text_into_the_next() -> None:
    found = longest_repeated_substring(["xab", "cy", "abc"])
    assert found is not None and found.text == "ab"


def test_a_planted_prompt_is_found_in_a_long_text() -> None:
    prompt = "Du bist ein hilfreicher Assistent für 猫. "
    noise = ["".join(chr(97 + (i * i * k + i // 7) % 26) for i in range(5_000)) for k in (3, 5)]
    found = longest_common_substring(noise[0] + prompt + "q", "z" + prompt + noise[1])
    assert found is not None and found.text.strip() == prompt.strip()
    assert found.bytes.tolist() == found.characters.tolist() == [5_000, 1]


def test_bytes_that_are_not_utf_8_are_refused() -> None:
    with pytest.raises(ValueError, match="UTF-8"):
        longest_repeated_substring(b"\xff\xff")


def test_nothing_is_repeated_in_nothing() -> None:
    assert longest_repeated_substring("") is None
    assert longest_repeated_substring([]) is None
    assert longest_common_substring("", "abc") is None
