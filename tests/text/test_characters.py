"""The fixed table of characters against the running Python's own."""

from __future__ import annotations

import unicodedata
from importlib import resources

import pytest

from jurat.text.characters import IDEOGRAPH, SEPARATOR, WORD, character_ranges, character_table


@pytest.mark.skipif(unicodedata.unidata_version != "14.0.0", reason="this Python has another version of Unicode")
def test_the_table_is_what_unicode_14_says() -> None:
    text = (resources.files("jurat.text") / "unicode_14.txt").read_text(encoding="ascii")
    assert text.splitlines()[1:] == character_ranges()


@pytest.mark.parametrize(
    ("character", "kind", "lower"),
    [("A", WORD, "a"), ("7", WORD, "7"), ("_", SEPARATOR, "_"), ("Σ", WORD, "σ"), ("İ", WORD, "İ"),
     ("猫", IDEOGRAPH, "猫"), ("ก", IDEOGRAPH, "ก"), ("한", WORD, "한"),
     ("\u00a0", SEPARATOR, "\u00a0"), ("\u0301", WORD, "\u0301"), ("。", SEPARATOR, "。")],
)  # fmt: skip
def test_characters_have_their_class_and_lower_case(character: str, kind: int, lower: str) -> None:
    entry = int(character_table()[ord(character)])
    assert (entry >> 24, chr(entry & 0x1FFFFF)) == (kind, lower)
