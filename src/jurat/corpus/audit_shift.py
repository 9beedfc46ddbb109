"""A scan against a reference scan: categories, numbers and words that both have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jurat.corpus.document import host_of
from jurat.corpus.shift import CategoryShift, NumberShift, WordShift, category_shift, number_shift, word_shift

__all__ = ["NUMBERS", "Shift", "shift_against"]

NUMBERS = {
    "words of a document": "n_words",
    "characters of a word": "plain_word_characters / nullif(plain_words, 0)",
    "words with a letter": "alphabetic_words / nullif(words, 0)",
    "words of a line": "words / nullif(filled_lines, 0)",
    "characters in repeated lines": "duplicate_line_characters / nullif(characters, 0)",
    "characters in repeated 5-grams": "duplicate_5_gram_characters / nullif(characters, 0)",
}
"""Number and the SQL that gives it from the scan's columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """Distance of a scan from its reference.

    Attributes
    ----------
    n_documents, n_reference
        Documents read on the two sides.
    categories, numbers, words
        What was compared.
    """

    n_documents: int
    n_reference: int
    categories: list[CategoryShift]
    numbers: list[NumberShift]
    words: WordShift


def shift_against(
    columns: pa.Table, reference: pa.Table, texts: Sequence[str], reference_texts: Sequence[str], *, seed: int
) -> Shift:
    """Compare two scans.

    Parameters
    ----------
    columns, reference
        Their columns, one row a document that was read.
    texts, reference_texts
        Uniform samples of their texts.
    seed
        Of all draws.
    """
    rng = np.random.default_rng(seed)
    categories = [
        category_shift(name, _counted(columns, name), _counted(reference, name), rng=rng)
        for name in ("source", "host", "language")
        if _counted(columns, name) and _counted(reference, name)
    ]
    here, there = _numbers(columns), _numbers(reference)
    numbers = [number_shift(name, here[name], there[name], rng=rng) for name in NUMBERS]
    return Shift(
        n_documents=len(columns),
        n_reference=len(reference),
        categories=categories,
        numbers=numbers,
        words=word_shift(texts, reference_texts, rng=rng),
    )


def _counted(columns: pa.Table, name: str) -> dict[str, int]:
    """Documents by category; empty where nothing is known."""
    if name == "host":
        hosts = [host_of(url) if url else None for url in columns["url"].to_pylist()]
        return dict(Counter(host or "unknown" for host in hosts)) if any(hosts) else {}
    if name not in columns.column_names:
        return {}
    return dict(Counter(value or "unknown" for value in columns[name].to_pylist()))


def _numbers(columns: pa.Table) -> dict[str, NDArray[np.float64]]:
    wanted = ", ".join(f"CAST({sql} AS DOUBLE) AS n{i}" for i, sql in enumerate(NUMBERS.values()))
    with duckdb.connect() as connection:
        connection.register("documents", columns)
        answer = connection.sql(f"SELECT {wanted} FROM documents").to_arrow_table()  # noqa: S608 - our own expressions
    return {name: answer[f"n{i}"].to_numpy(zero_copy_only=False).astype(np.float64) for i, name in enumerate(NUMBERS)}
