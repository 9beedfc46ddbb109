"""Looking for a rule's words first changes no label."""

from __future__ import annotations

import csv
import random
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from jurat.telemetry.refusal import _HEAD, _NEEDED, _RULES, Refusal, find_refusal

WORDS = [
    "I", "I'm", "I’m", "I am", "sorry", "but", ",", "CAN'T", "can’t", "cannot", "cant", "could not", "couldn’t", "won't",
    "will not", "must decline", "do not feel comfortable", "am unable", "am not able", "really", "help", "assist", "Share",
    "as an AI", "as a language", "not", "goes against", "violates", "my", "our", "policy", "guidelines", "it’s", "this is",
    "would be", "never", "highly", "not recommended", "legal and right", "illegal", "İllegal", "Unethical", "don't", "condone",
    "promote", "have acceſſ", "have access", "think it's right", "important", "to", "that", "is a", "serious", "crime",
    "Offence", "immoral", "never acceptable", "should not be discriminated", "because", ".", "\\n", "!", "however",
]  # fmt: skip


def every_rule(answer: str) -> Refusal | None:
    for name, pattern in _RULES:
        if found := pattern.search(answer[:_HEAD]):
            return Refusal(rule=name, evidence=found[0])
    return None


@given(st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join))
def test_phrases_have_the_label_that_every_rule_gives(answer: str) -> None:
    assert find_refusal(answer) == every_rule(answer)


def test_phrases_of_every_rule_occur_among_random_ones() -> None:
    rng = random.Random(1)
    met = set()
    for _ in range(20_000):
        answer = " ".join(rng.choices(WORDS, k=rng.randint(3, 9)))
        found = find_refusal(answer)
        assert found == every_rule(answer), answer
        met |= {found.rule} if found else set()
    assert met == set(_NEEDED)


def test_answers_of_assistants_have_the_label_that_every_rule_gives(xstest: Path) -> None:
    for path in sorted(xstest.glob("xstest_v2_completions_*.csv")):
        with path.open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                assert find_refusal(row["completion"]) == every_rule(row["completion"])
