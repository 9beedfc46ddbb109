"""The kernel that cuts words against plain Python, on any text and at any place in a buffer."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from jurat.text.characters import IDEOGRAPH, WORD, character_table
from jurat.text.column import TextColumn
from jurat.text.words import hash_word, hash_words, word_end


def plain_words(text: str) -> list[tuple[str, int]]:
    """Words and the byte each begins at, one character after the other."""
    table, found, word, begin, place = character_table(), [], "", 0, 0
    for character in text:
        entry = int(table[ord(character)])
        kind, lower = entry >> 24, chr(entry & 0x1FFFFF)
        if kind != WORD and word:
            found.append((word, begin))
            word = ""
        if kind == WORD:
            begin = begin if word else place
            word += lower
        elif kind == IDEOGRAPH:
            found.append((lower, place))
        place += len(character.encode())
    return found + ([(word, begin)] if word else [])


_texts = st.lists(
    st.none()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=120)
    | st.text("abzAZ09 _.éÉ猫のก’\u0301", max_size=300)
    | st.text("aB1 ", min_size=50, max_size=200),
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(_texts)
def test_words_are_those_of_plain_python(texts: list[str | None]) -> None:
    words = hash_words(TextColumn.of(texts))
    for i, text in enumerate(texts):
        expected = plain_words(text or "")
        here = slice(words.offsets[i], words.offsets[i + 1])
        assert [int(h) for h in words.hashes[here]] == [hash_word(word) for word, _ in expected]
        assert words.starts[here].tolist() == [begin for _, begin in expected]


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=80))
def test_a_word_ends_where_plain_python_ends_it(text: str) -> None:
    data = np.frombuffer(text.encode(), np.uint8)
    for word, begin in plain_words(text):
        end = word_end(data, begin)
        assert plain_words(bytes(data[begin:end]).decode()) == [(word, 0)]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=5))
def test_any_bytes_at_all_are_survived_and_cut_alike_wherever_they_lie(documents: list[bytes]) -> None:
    alone = [hash_words(TextColumn.of([document])).hashes.tolist() for document in documents]
    together = hash_words(TextColumn.of(documents))
    followed = hash_words(TextColumn.of([*documents, b"x" * 200]))
    for i, expected in enumerate(alone):
        assert together.hashes[together.offsets[i] : together.offsets[i + 1]].tolist() == expected
        assert followed.hashes[followed.offsets[i] : followed.offsets[i + 1]].tolist() == expected


def test_sliced_arrow_columns_are_read_in_place() -> None:
    whole = pa.array(["alpha beta", "gamma", None, "delta epsilon zeta"])
    for kind in (pa.string(), pa.large_string(), pa.string_view(), pa.binary()):
        part = whole.cast(kind).slice(1)
        assert hash_words(TextColumn.of(part)).counts().tolist() == [1, 0, 3]
    chunked = pa.chunked_array([whole.slice(0, 2), whole.slice(2)])
    assert hash_words(TextColumn.of(chunked)).counts().tolist() == [2, 1, 0, 3]


def test_hashes_of_many_words_do_not_collide_and_use_every_bit() -> None:
    words = [f"word{i}" for i in range(200_000)]
    hashes = hash_words(TextColumn.of([" ".join(words)])).hashes
    assert len(np.unique(hashes)) == len(words)
    shares = [float(np.mean((hashes >> np.uint64(bit)) & np.uint64(1))) for bit in range(64)]
    assert max(abs(share - 0.5) for share in shares) < 5 * 0.5 / np.sqrt(len(words))
