"""From a page's HTML to its text: the seam where extractors plug in, and the two that come with the house.

Resiliparse is fast enough for a whole crawl; trafilatura is slower and more exact, and reads a random sample beside it, so that
the disagreement between the two is a number in the report and not a hope.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from jurat.errors import MissingExtra

__all__ = ["EXTRACTORS", "Extractor", "extractor"]

Extractor: TypeAlias = Callable[[bytes, str | None], str]
"""From the bytes of a page and the encoding its header names to its main text."""


def extractor(name: str) -> Extractor:
    """An extractor by name.

    Parameters
    ----------
    name
        A key of `EXTRACTORS`.

    Raises
    ------
    MissingExtra
        Where its package is not installed.
    """
    return EXTRACTORS[name]()


def _resiliparse() -> Extractor:
    try:
        from resiliparse.extract.html2text import extract_plain_text
        from resiliparse.parse.encoding import bytes_to_str, detect_encoding
        from resiliparse.parse.html import HTMLTree
    except ImportError as error:
        raise MissingExtra("resiliparse", "corpus") from error

    def extract(page: bytes, encoding: str | None) -> str:
        text = bytes_to_str(page, encoding or detect_encoding(page) or "utf-8", errors="replace")
        return str(extract_plain_text(HTMLTree.parse(text), main_content=True, alt_texts=False))

    return extract


def _trafilatura() -> Extractor:
    try:
        import trafilatura
        from resiliparse.parse.encoding import bytes_to_str, detect_encoding
    except ImportError as error:
        raise MissingExtra("trafilatura", "corpus") from error

    def extract(page: bytes, encoding: str | None) -> str:
        text = bytes_to_str(page, encoding or detect_encoding(page) or "utf-8", errors="replace")
        return trafilatura.extract(text, include_comments=False) or ""

    return extract


EXTRACTORS: dict[str, Callable[[], Extractor]] = {"resiliparse": _resiliparse, "trafilatura": _trafilatura}
"""Extractors that come with the house."""
