"""TF-IDF beside scikit-learn's; suffix array, longest repeat and loops on ten megabytes of text.

The text is Python's own installed sources and documentation, so every machine has some; how much was found is printed.
"""

from __future__ import annotations

import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.record import Row, report, row_of, side_by_side
from jurat.text.loops import find_loop
from jurat.text.ngrams import ngram_matches
from jurat.text.repeats import longest_repeated_substring
from jurat.text.suffix import lcp_array, suffix_array
from jurat.text.tfidf import tfidf

DOCUMENT = 2_000
WANTED = 20_000_000
LONG = 10_000_000
SECONDS = 10.0  # ten megabytes in seconds


def installed_text() -> str:
    """Text of the standard library, the installed packages and the system's documentation."""
    places = [sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), "/usr/share/doc"]
    parts, size = [], 0
    for place in places:
        for file in sorted(p for s in ("py", "rst", "txt", "md") for p in Path(place).rglob(f"*.{s}")):
            try:
                parts.append(file.read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError):
                continue
            size += len(parts[-1])
            if size > WANTED:
                return "".join(parts)[:WANTED]
    return "".join(parts)


def terms(text: str) -> list[Row]:
    """TF-IDF with words, with pairs of words, and pruned; equality is asserted before the time counts."""
    documents = [text[i : i + DOCUMENT] for i in range(0, len(text), DOCUMENT)]
    cases: dict[str, dict[str, Any]] = {
        "words": {},
        "words and pairs": {"ngram_range": (1, 2)},
        "5 to half of the documents": {"min_df": 5, "max_df": 0.5},
    }
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
    except ImportError:
        TfidfVectorizer = None
    rows = []
    for name, options in cases.items():
        peer = None
        if TfidfVectorizer is not None:
            expected = TfidfVectorizer(**options).fit_transform(documents)
            found = tfidf(documents, **options)
            difference = abs(found.matrix - expected).max()
            assert found.matrix.shape == expected.shape and difference < 1e-12, difference
            print(f"{name}: {found.matrix.shape[1]:,} terms, largest difference from scikit-learn {difference:.1e}")

            def peer(options: dict[str, Any] = options) -> Any:
                return TfidfVectorizer(**options).fit_transform(documents)

        rows.append(
            side_by_side(
                f"TF-IDF, {name}, {len(text) / 1e6:.0f} M characters",
                lambda options=options: tfidf(documents, **options),
                peer,
                peer_name="scikit-learn TfidfVectorizer",
                goal=3.0,
                rounds=3,
            )
        )
    return rows


def _seconds(work: Callable[[], Any]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def passages(text: str) -> list[Row]:
    """Time on ten megabytes against a limit: no peer in Python builds these."""
    data = text.encode()[:LONG]
    whole = data.decode("utf-8", "ignore")
    size = f"{len(data) / 1e6:.0f} MB"
    order = suffix_array(data)
    lcp_array(data, order)
    find_loop("warm " * 20)
    find_loop("warm " * 20, where="trailing")
    longest_repeated_substring("warm warmé", overlapping=False)
    half = len(whole) // 2
    works: dict[str, Callable[[], Any]] = {
        "suffix array": lambda: suffix_array(data),
        "suffix array, one letter only": lambda: suffix_array(b"a" * len(data)),
        "LCP array": lambda: lcp_array(data, order),
        "longest repeat without overlap": lambda: longest_repeated_substring(whole, overlapping=False),
        "longest common substring of two halves": lambda: longest_repeated_substring(
            [whole[:half], whole[half:]], across=True
        ),
        "longest loop anywhere": lambda: find_loop(whole),
        "longest loop at the end": lambda: find_loop(whole, where="trailing"),
    }
    return [
        row_of(f"{name}, {size}", _seconds(work), SECONDS, peer_name="limit", goal=1.0) for name, work in works.items()
    ]


def matches(text: str) -> list[Row]:
    """Counts of n-grams of 2,000 pairs beside sacrebleu's, where it is installed."""
    lines = [line for line in text.splitlines() if len(line.split()) > 8][:4_000]
    outputs, references = lines[:2_000], lines[2_000:]
    peer = None
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError:
        pass
    else:

        def peer() -> Any:
            return BLEU(tokenize="none").corpus_score(outputs, [references])

    return [
        side_by_side(
            "n-gram matches, 2,000 pairs",
            lambda: ngram_matches(outputs, [[reference] for reference in references]),
            peer,
            peer_name="sacrebleu BLEU without tokeniser",
            goal=None,
            rounds=3,
        )
    ]


if __name__ == "__main__":
    corpus = installed_text()
    print(f"{len(corpus):,} characters of installed text", file=sys.stderr)
    report("bench-text", [*terms(corpus), *passages(corpus), *matches(corpus)])
