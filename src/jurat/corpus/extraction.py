"""From page to text: a small seam, resiliparse behind it for the bulk, trafilatura to check a sample against."""

from __future__ import annotations

import logging
import re
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from typing import Protocol, runtime_checkable

from jurat.errors import MissingExtra

__all__ = ["Extractor", "ResiliparseExtractor", "TrafilaturaExtractor", "nesting_depth"]

# Elements that never have content, and those whose end may be left out and which do not nest in themselves.
_FLAT = frozenset(
    b"area base br col embed hr img input link meta param source track wbr p li dt dd option optgroup tr td th tbody thead "
    b"tfoot colgroup rp rt".split()
)
_TAG = re.compile(rb"<(/?)([A-Za-z][A-Za-z0-9:-]*)[^<>]*?(/?)>")


@runtime_checkable
class Extractor(Protocol):
    """Whatever makes text of a page.

    Attributes
    ----------
    name
        Name with version: part of what a corpus was made by.
    """

    @property
    def name(self) -> str:
        """Name with version."""

    def extract(self, html: bytes, url: str | None, *, encoding: str | None = None) -> str:
        """Return the text of a page, empty where it has none.

        Parameters
        ----------
        html
            The page as it was sent.
        url
            Where from, if known.
        encoding
            Character set that the server declared; without one it is up to the page.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class ResiliparseExtractor:
    """Text by resiliparse: fast enough for everything.

    Attributes
    ----------
    main_content
        Whether menus, footers and the like are left out.

    References
    ----------
    Bevendorff, Stein, Hagen, Potthast (2018). Elastic ChatNoir: search engine for the ClueWeb and the Common Crawl. ECIR.
    """

    main_content: bool = True

    @property
    def name(self) -> str:
        """Name with version."""
        return f"resiliparse {version('resiliparse')}, {'main content' if self.main_content else 'all text'}"

    def extract(self, html: bytes, url: str | None, *, encoding: str | None = None) -> str:
        """Return the text of a page; paragraphs and lists keep their lines."""
        del url
        try:
            from resiliparse.extract.html2text import extract_plain_text
        except ImportError as error:
            raise MissingExtra("resiliparse", "corpus") from error
        text: str = extract_plain_text(_decoded(html, encoding), main_content=self.main_content, alt_texts=False)
        return text


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafilaturaExtractor:
    """Text by trafilatura: more exact about what the main content is, and an order of magnitude slower.

    Attributes
    ----------
    fast
        Whether its fallback algorithms are left out.

    References
    ----------
    Barbaresi (2021). Trafilatura: a web scraping library and command-line tool for text discovery and extraction. ACL.
    """

    fast: bool = False

    @property
    def name(self) -> str:
        """Name with version."""
        return f"trafilatura {version('trafilatura')}{', fast' if self.fast else ''}"

    def extract(self, html: bytes, url: str | None, *, encoding: str | None = None) -> str:
        """Return the text of a page, comments of readers left out."""
        try:
            import trafilatura
        except ImportError as error:
            raise MissingExtra("trafilatura", "corpus") from error
        # It logs every page it finds little in; that it found little is in what it returns.
        logging.getLogger("trafilatura").setLevel(logging.CRITICAL)
        page = _decoded(html, encoding)
        return trafilatura.extract(page, url=url, include_comments=False, fast=self.fast) or ""


def _decoded(html: bytes, encoding: str | None) -> str:
    """Decode a page as browsers do: what was declared, what the page says, what it looks like."""
    try:
        from resiliparse.parse.encoding import bytes_to_str, detect_encoding
    except ImportError as error:
        raise MissingExtra("resiliparse", "corpus") from error
    try:
        return str(bytes_to_str(html, encoding or detect_encoding(html, from_html_meta=True) or "utf-8"))
    except (LookupError, UnicodeError):
        return str(bytes_to_str(html, detect_encoding(html) or "utf-8"))


def nesting_depth(html: bytes, *, enough: int = 0) -> int:
    """Estimate how deeply the elements of a page are nested, without building the tree.

    Parameters
    ----------
    html
        The page.
    enough
        Depth up to which a bound does: where cheap counting shows that it is not exceeded, the bound is returned.

    Returns
    -------
    int
        Elements open at once at the deepest point; an estimate, since ends that are left out are told by name.

    Examples
    --------
    >>> nesting_depth(b"<html><body><div><p>one<br><p>two</div></body></html>")
    3
    """
    if html.count(b"<") - html.count(b"</") <= enough:
        return html.count(b"<") - html.count(b"</")
    open_tags: list[bytes] = []
    counts: Counter[bytes] = Counter()
    deepest = 0
    for tag in _TAG.finditer(html):
        name = tag[2].lower()
        if name in _FLAT:
            continue
        if not tag[1]:
            # A slash closes an element in drawings and formulas only.
            if not (tag[3] and (counts[b"svg"] or counts[b"math"])):
                open_tags.append(name)
                counts[name] += 1
                deepest = max(deepest, len(open_tags))
        elif counts[name]:
            while (last := open_tags.pop()) != name:
                counts[last] -= 1
            counts[name] -= 1
    return deepest
