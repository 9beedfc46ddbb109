"""Nothing that came from elsewhere acts on a terminal, and JSON still says what it said."""

from __future__ import annotations

import json
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from jurat.inert import inert, inert_json


@given(st.text())
def test_no_control_and_no_mark_of_direction_is_left(text: str) -> None:
    for character in inert(text):
        assert character in "\t\n" or unicodedata.category(character) not in {"Cc", "Zl", "Zp"}
        assert unicodedata.bidirectional(character) not in {
            "LRE",
            "RLE",
            "LRO",
            "RLO",
            "PDF",
            "LRI",
            "RLI",
            "FSI",
            "PDI",
        }


@given(st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"])))
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert inert(text) == text


@given(st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_inert_json_means_the_same(document: object) -> None:
    text = json.dumps(document, ensure_ascii=False)
    assert json.loads(inert_json(text)) == document
    assert inert(inert_json(text)) == inert_json(text)
