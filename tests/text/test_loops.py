"""Loops against trying every period at every place; planted ones are found, clean prose has none."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jurat.text.loops import find_loop

_PROSE = (
    "The ferry left the harbour a little after six, and by seven the town was a grey line behind us. Nobody spoke much. "
    "My uncle, who had had that boat for thirty years, said the wind would turn; it turned. Again and again he looked at "
    "the glass, and again he said nothing. There was coffee, there was bread, there was the long slow noise of water. "
    "“No, no, no,” he said at last, very, very quietly, and laughed: hahaha. Then the rain came, and it rained all day.\n"
    "----------------------------------------------------------------\n"
    "1. Oil the winch\n2. Check the lamp\n3. Check the rope\n4. Check the lamp again ............................ 12\n"
)


def every_period(
    text: str, repeats: float, characters: int, trailing: bool, wordless: bool
) -> tuple[int, int, int] | None:
    """Length (negative), period and start of the loop to be found."""
    text, found = text.rstrip() if trailing else text, []
    for period in range(1, len(text)):
        start = 0
        while start + period < len(text):
            stop = start
            while stop + period < len(text) and text[stop] == text[stop + period]:
                stop += 1
            size = stop + period - start
            worded = wordless or any(c.isalnum() for c in text[start : start + period])
            ends = not trailing or start + size == len(text)
            if stop > start and size >= characters and size >= repeats * period and worded and ends:
                found.append((-size, period, start))
            start = stop + 1
    return min(found, default=None)


@st.composite
def _looping(draw: st.DrawFn) -> str:
    parts = st.text("ab", max_size=8) | st.text("aé猫-. ", max_size=8)
    return "".join(draw(parts) * draw(st.integers(1, 6)) for _ in range(draw(st.integers(0, 4))))


@settings(max_examples=300, deadline=None)
@given(
    _looping(),
    st.sampled_from([2, 3, 4.5]),
    st.sampled_from([1, 6]),
    st.sampled_from(["anywhere", "trailing"]),
    st.booleans(),
)
def test_the_longest_loop_is_that_of_trying_every_period(
    text: str, repeats: float, characters: int, where: str, wordless: bool
) -> None:
    loop = find_loop(text, minimum_repeats=repeats, minimum_characters=characters, where=where, wordless=wordless)
    expected = every_period(text, repeats, characters, where == "trailing", wordless)
    assert (None if loop is None else (-loop.n_characters, len(loop.unit), loop.start)) == expected
    if loop is not None:
        covered = text[loop.start : loop.start + loop.n_characters]
        assert (loop.unit * (int(loop.repeats) + 1)).startswith(covered)
        assert loop.start_byte == len(text[: loop.start].encode())
        assert loop.n_bytes == len(covered.encode())
        assert loop.share == loop.n_characters / len(text)


def test_clean_prose_has_no_loop() -> None:
    assert find_loop(_PROSE) is None
    assert find_loop(_PROSE, where="trailing") is None


def test_rules_and_leaders_are_loops_only_where_asked_for() -> None:
    loop = find_loop(_PROSE, wordless=True)
    assert loop is not None and loop.unit == "-" and loop.repeats == 64


@pytest.mark.parametrize(
    "unit", ["x", "I am sorry, ", "Schritt für Schritt 猫。", "A whole paragraph. " * 3 + "And its end.\n"]
)
@pytest.mark.parametrize("before", [0, 1, 400])
@pytest.mark.parametrize("after", ["", "\n ", " And then it went on."])
def test_a_planted_loop_is_found_with_unit_place_and_share(unit: str, before: int, after: str) -> None:
    repeats = max(6, 60 // len(unit))
    text = _PROSE[:before] + "#" + unit * repeats + after
    loop = find_loop(text)
    assert loop is not None
    assert abs(loop.start - before - 1) <= 2 and abs(loop.n_characters - repeats * len(unit)) <= 2
    assert len(loop.unit) == len(unit) and loop.trailing == (not after.strip())
    assert loop.share == pytest.approx(repeats * len(unit) / len(text), abs=0.05)


def test_a_loop_cut_off_by_the_length_limit_is_trailing() -> None:
    loop = find_loop(_PROSE + "Let me think again. " * 20 + "Let me th", where="trailing")
    assert loop is not None and loop.trailing and len(loop.unit) == 20


def test_real_answers_of_assistants_raise_no_false_alarm(xstest: Path) -> None:
    with (xstest / "xstest_v2_completions_gpt4.csv").open(newline="", encoding="utf-8") as stream:
        answers = [row["completion"] for row in csv.DictReader(stream)]
    assert len(answers) > 400
    assert [answer for answer in answers if find_loop(answer) is not None] == []
    assert all(find_loop(answer + " I cannot help with that." * 5) is not None for answer in answers[:50])


def test_random_text_has_no_loop() -> None:
    rng = random.Random(7)
    assert all(find_loop("".join(rng.choices("ab ", k=400))) is None for _ in range(200))


def test_a_million_characters_of_one_loop_take_linear_time() -> None:
    loop = find_loop("ab" * 500_000)
    assert loop is not None and (loop.unit, loop.repeats) == ("ab", 500_000)


@pytest.mark.parametrize("option", [{"minimum_repeats": 1}, {"minimum_characters": 0}, {"where": "inside"}])
def test_impossible_thresholds_are_refused(option: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(option))):
        find_loop("text", **option)
