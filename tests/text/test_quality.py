"""Quality counters against a plain-Python reading of the same definitions."""

from __future__ import annotations

import re
from collections import Counter

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jurat.text.column import TextColumn
from jurat.text.quality import COLUMNS, SENTENCE_TERMINALS, SYMBOLS, quality_counters
from jurat.text.quality_rules import RULES, failed_rules_sql

CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
STOP_WORDS = {"the", "be", "to", "of", "and", "that", "have", "with"}
CLOSERS = "\"')]}”’»"


def characters_of(ranges: str) -> set[str]:
    found = set()
    for part in ranges.split():
        first, _, last = part.partition("-")
        found |= {chr(point) for point in range(int(first, 16), int(last or first, 16) + 1)}
    return found


TERMINALS = characters_of(SENTENCE_TERMINALS)
SYMBOL_SET = characters_of(SYMBOLS) | TERMINALS
RUN = re.compile("[" + re.escape("".join(sorted(TERMINALS))) + "]+")


def duplicates(parts: list[str]) -> tuple[int, int]:
    seen: set[str] = set()
    repeated = []
    for part in parts:
        if part in seen:
            repeated.append(part)
        seen.add(part)
    return len(repeated), sum(map(len, repeated))


def sentences(line: str) -> int:
    ends, closed = 0, False
    for word in line.split():
        closed = False
        for run in RUN.finditer(word):
            closed = all(mark in CLOSERS for mark in word[run.end() :])
            ends += closed or not run.group().isascii()
    return ends + (bool(line.split()) and not closed)


def c4_reason(line: str) -> str:
    words, folded = line.split(), line.lower()
    bare = CITATION.sub("", line.strip())
    if any(len(word) > 1000 for word in words):
        return "long_word"
    if not bare.endswith((".", "?", "!", '"', "'")) or bare.endswith("..."):
        return "unterminated"
    if len(words) < 3:
        return "short"
    if "lorem ipsum" in folded:
        return "lorem_ipsum"
    if "javascript" in folded:
        return "javascript"
    if "{" in line:
        return "curly_bracket"
    return "policy" if any(phrase in folded for phrase in POLICY) else "kept"


def top_gram(words: list[str], n: int) -> int:
    grams = Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
    if not grams:
        return 0
    gram, count = grams.most_common(1)[0]
    return len(" ".join(gram)) * count


def repeated_grams(words: list[str], n: int) -> int:
    seen, at, total = set(), 0, 0
    while at + n <= len(words):
        gram = tuple(words[at : at + n])
        if gram in seen:
            total += sum(map(len, gram))
            at += n
        else:
            seen.add(gram)
            at += 1
    return total


def reference(text: str) -> dict[str, int]:
    if not text:
        return dict.fromkeys(COLUMNS, 0)
    words, lines = text.split(), text.splitlines()
    plain = [word for word in words if set(word) - SYMBOL_SET]
    filled = [line for line in text.split("\n") if line.strip()]
    reasons = Counter(map(c4_reason, lines))
    paragraphs, pieces = re.split(r"\n{2,}", text.strip()), re.split(r"\n+", text)
    folded = [line.lower() for line in lines]
    values = {
        "characters": len(text),
        "newlines": text.count("\n"),
        "words": len(words),
        "word_characters": sum(map(len, words)),
        "plain_words": len(plain),
        "plain_word_characters": sum(map(len, plain)),
        "alphabetic_words": sum(any(c.isalpha() for c in word) for word in words),
        "stop_words": len(STOP_WORDS & set(words)),
        "hash_signs": text.count("#"),
        "ellipses": text.count("...") + text.count("…"),
        "curly_brackets": text.count("{"),
        "lines": len(lines),
        "bullet_lines": sum(line.lstrip().startswith(("•", "-")) for line in lines),
        "ellipsis_lines": sum(line.rstrip().endswith(("...", "…")) for line in lines),
        "javascript_lines": sum("javascript" in line for line in folded),
        "lorem_ipsum_lines": sum("lorem ipsum" in line for line in folded),
        "policy_lines": sum(any(phrase in line for phrase in POLICY) for line in folded),
        "sentences": sum(map(sentences, lines)),
        "c4_sentences": sum(sentences(line) for line in lines if c4_reason(line) == "kept"),
        "paragraphs": len(paragraphs),
        "duplicate_paragraphs": duplicates(paragraphs)[0],
        "duplicate_paragraph_characters": duplicates(paragraphs)[1],
        "feed_lines": len(pieces),
        "duplicate_lines": duplicates(pieces)[0],
        "duplicate_line_characters": duplicates(pieces)[1],
        "filled_lines": len(filled),
        "punctuated_lines": sum(line[-1] in TERMINALS for line in filled),
        "short_lines": sum(len(line) <= 30 for line in filled),
        "duplicate_filled_line_characters": duplicates(filled)[1],
    }
    for reason in (
        "long_word",
        "unterminated",
        "short",
        "lorem_ipsum",
        "javascript",
        "curly_bracket",
        "policy",
        "kept",
    ):
        values[f"c4_{reason}_lines"] = reasons[reason]
    values |= {f"top_{n}_gram_characters": top_gram(words, n) for n in (2, 3, 4)}
    values |= {f"duplicate_{n}_gram_characters": repeated_grams(words, n) for n in range(5, 11)}
    return values


def counted(texts: list[str | None]) -> list[dict[str, int]]:
    return quality_counters(TextColumn.of(texts)).to_pylist()


FRAGMENTS = st.sampled_from(
    [" ", " ", " ", "\n", "\n", "\n\n", "\r\n", "\r", "\u2028", "\x85", "\xa0", "\u3000", "\x1c", "\x0b", "a", "b", "a b", "the",
     "of", "and", "That", "•", "-", "…", "...", ".", "..", "?", '"', ".)", "。", "。猫", "#", "{", "[1]", "[edit]", "[٣]", "]",
     "[citation needed]", "[", "javascript", "JavaScript", "java", "lorem", "Lorem Ipsum", "terms of use", "Privacy  policy",
     "privacy policy", "Uses Cookies", "coo\u212aie policy", "use of coo\u212aies", "misuse", "use cookies", "cookie", "ſ", "é",
     "日本", "𝒳", "\ud800", "\x00", "x" * 33, "w" * 1001, "Tokyo is big.", "Tokyo is big."]
)  # fmt: skip
TEXTS = st.one_of(
    st.text(),
    st.lists(FRAGMENTS, max_size=60).map("".join),
    st.text("ab \n", max_size=200),
    st.text("a .\n", max_size=80),
)


@settings(max_examples=250, deadline=None)
@given(st.lists(st.one_of(st.none(), TEXTS), max_size=5))
@example(["", "\n", "\n\n", " ", "\r\n", "a\r", " \n\n a \n\n \n\n a \n"])
def test_counters_equal_a_plain_reading_of_the_definitions(texts: list[str | None]) -> None:
    for text, row in zip(texts, counted(texts), strict=True):
        assert row == (dict.fromkeys(COLUMNS) if text is None else reference(text)), repr(text)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "cc"]), max_size=150))
def test_repeated_n_grams_of_few_words_equal_the_plain_reading(words: list[str]) -> None:
    text = " ".join(words)
    assert counted([text])[0] == reference(text)


def test_every_code_point_is_classed_as_python_does() -> None:
    texts = [
        "".join(f"x{chr(p)} {chr(p)} y{chr(p)}\n" for p in range(low, low + 4096)) for low in range(0, 0x20000, 4096)
    ]
    for text, row in zip(texts, counted(texts), strict=True):
        assert row == reference(text)


def test_documents_in_a_slice_are_read_within_their_bounds() -> None:
    column = pa.array(["first one.", "a b a b a b", None, "last\n\nlast"]).slice(1, 3)
    rows = quality_counters(TextColumn.of(column)).to_pylist()
    assert rows[0] == reference("a b a b a b")
    assert rows[1] == dict.fromkeys(COLUMNS)
    assert rows[2] == reference("last\n\nlast")


def test_bytes_that_are_not_utf8_count_as_one_character_each() -> None:
    row = quality_counters(TextColumn.of([b"\xff\xfe ab \xe2\x80 \xc0\x80"])).to_pylist()[0]
    assert (row["characters"], row["words"], row["alphabetic_words"]) == (11, 4, 1)


@pytest.mark.parametrize("part", ["a ", "\n", "...", "]", "[1]", "j", "use ", "a\n\n"], ids=repr)
def test_hostile_repetition_takes_linear_time(part: str) -> None:
    row = counted([part * (300_000 // len(part))])[0]
    assert row["characters"] == 300_000 // len(part) * len(part)


def test_rules_name_their_source_and_run_over_the_counters() -> None:
    table = quality_counters(TextColumn.of(["word " * 60, "", None, "The end of that is here with it.\n" * 3]))
    connection = duckdb.connect()
    connection.register("counters", table)
    for rule in RULES:
        assert rule.source
        values = connection.execute(f"SELECT {rule.passes} FROM counters").fetchall()
        assert all(value in (True, False, None) for (value,) in values)
    failed = connection.execute(f"SELECT {failed_rules_sql('gopher-repetition')} FROM counters").fetchall()
    assert "gopher_duplicate_lines" in failed[3][0]
    assert "gopher_top_2_gram" in failed[0][0]


def test_a_collection_that_does_not_exist_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="fineweb"):
        failed_rules_sql("finest-web")


def test_counters_of_large_random_text_equal_the_reference() -> None:
    rng = np.random.default_rng(5)
    vocabulary = ["the", "cat", "sat.", "on", "Mat\n", "é…", "{x}", "a#b", "of", "javascript"]
    texts = [" ".join(rng.choice(vocabulary, 400)) for _ in range(20)]
    assert counted(texts) == [reference(text) for text in texts]
