"""The published quality rules as data: name, source, and SQL over the counters of `jurat.text.quality`.

Each rule says what a document must satisfy; a gate joins the rules it wants. The thresholds are the authors' own for
English web text: other languages and kinds of text need others (code fails most of them).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RULES", "QualityRule", "failed_rules_sql"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityRule:
    """One published condition.

    Attributes
    ----------
    name
        Unique, begins with the collection's name.
    collection
        ``"gopher-quality"``, ``"gopher-repetition"``, ``"c4"`` or ``"fineweb"``.
    source
        Author, year and place.
    passes
        SQL expression over the counter columns, true where the document passes. A ratio over nothing is not passed; null
        documents give null.
    """

    name: str
    collection: str
    source: str
    passes: str


_GOPHER = "Rae et al. (2021), section A.1.1"
_GOPHER_TABLE = "Rae et al. (2021), table A1"
_C4 = "Raffel et al. (2020), section 2.2"
_C4_CODE = "Raffel et al. (2020), released code"
_FINEWEB = "Penedo et al. (2024), section 3.6"


def _rules(collection: str, source: str, conditions: dict[str, str]) -> tuple[QualityRule, ...]:
    prefix = collection.split("-")[0]
    return tuple(
        QualityRule(name=f"{prefix}_{name}", collection=collection, source=source, passes=passes)
        for name, passes in conditions.items()
    )


def _at_most(share: str, limit: str, whole: str) -> str:
    return f"{share} <= {limit} * {whole}"


_TOP = {2: "0.20", 3: "0.18", 4: "0.16"}
_DUPLICATE = {5: "0.15", 6: "0.14", 7: "0.13", 8: "0.12", 9: "0.11", 10: "0.10"}

RULES: tuple[QualityRule, ...] = (
    *_rules(
        "gopher-quality",
        _GOPHER,
        {
            "words": "plain_words BETWEEN 50 AND 100000",
            "word_length": "plain_words > 0 AND plain_word_characters BETWEEN 3 * plain_words AND 10 * plain_words",
            "hash_signs": "words > 0 AND " + _at_most("hash_signs", "0.1", "words"),
            "ellipses": "words > 0 AND " + _at_most("ellipses", "0.1", "words"),
            "bullet_lines": "lines > 0 AND " + _at_most("bullet_lines", "0.9", "lines"),
            "ellipsis_lines": "lines > 0 AND " + _at_most("ellipsis_lines", "0.3", "lines"),
            "alphabetic_words": "words > 0 AND alphabetic_words >= 0.8 * words",
            "stop_words": "stop_words >= 2",
        },
    ),
    *_rules(
        "gopher-repetition",
        _GOPHER_TABLE,
        {
            "duplicate_lines": "feed_lines > 0 AND " + _at_most("duplicate_lines", "0.30", "feed_lines"),
            "duplicate_paragraphs": "paragraphs > 0 AND " + _at_most("duplicate_paragraphs", "0.30", "paragraphs"),
            "duplicate_line_characters": _at_most("duplicate_line_characters", "0.20", "characters"),
            "duplicate_paragraph_characters": _at_most("duplicate_paragraph_characters", "0.20", "characters"),
            **{f"top_{n}_gram": _at_most(f"top_{n}_gram_characters", limit, "characters") for n, limit in _TOP.items()},
            **{
                f"duplicate_{n}_gram": _at_most(f"duplicate_{n}_gram_characters", limit, "characters")
                for n, limit in _DUPLICATE.items()
            },
        },
    ),
    *_rules(
        "c4",
        _C4,
        {
            "sentences": "c4_sentences >= 5",
            "lorem_ipsum": "lorem_ipsum_lines = 0",
            "curly_brackets": "curly_brackets = 0",
        },
    ),
    *_rules("c4", _C4_CODE, {"kept_lines": "c4_kept_lines > 0"}),
    *_rules(
        "fineweb",
        _FINEWEB,
        {
            "punctuated_lines": "filled_lines > 0 AND punctuated_lines >= 0.12 * filled_lines",
            "short_lines": "filled_lines > 0 AND " + _at_most("short_lines", "0.67", "filled_lines"),
            "duplicate_characters": "characters > newlines AND "
            + _at_most("duplicate_filled_line_characters", "0.01", "(characters - newlines)"),
            "newlines": "words > 0 AND " + _at_most("newlines", "0.3", "words"),
        },
    ),
)
"""Every rule, with the thresholds its authors published."""


def failed_rules_sql(*collections: str) -> str:
    """SQL expression that lists the names of the rules a document fails.

    Parameters
    ----------
    collections
        Of ``"gopher-quality"``, ``"gopher-repetition"``, ``"c4"``, ``"fineweb"``; all where none is given.

    Returns
    -------
    str
        A DuckDB list of names, empty for a document that passes; to be used over the counter columns.

    Raises
    ------
    ValueError
        For a collection that does not exist.

    Examples
    --------
    >>> failed_rules_sql("c4")[:64]
    "list_filter([CASE WHEN NOT (c4_sentences >= 5) THEN 'c4_sentence"
    """
    known = sorted({rule.collection for rule in RULES})
    for collection in collections:
        if collection not in known:
            raise ValueError(f"collections must be of {', '.join(known)}, got {collection!r}")
    wanted = [rule for rule in RULES if not collections or rule.collection in collections]
    cases = ", ".join(f"CASE WHEN NOT ({rule.passes}) THEN '{rule.name}' END" for rule in wanted)
    return f"list_filter([{cases}], lambda name: name IS NOT NULL)"
