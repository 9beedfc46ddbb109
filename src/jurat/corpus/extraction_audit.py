"""How far the fast extractor agrees with the careful one, on a random sample of the corpus's own pages, with interval."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from jurat.corpus.document import Limits, host_of
from jurat.corpus.extraction import Extractor, ResiliparseExtractor, TrafilaturaExtractor
from jurat.corpus.files import Inputs
from jurat.corpus.read import Page, read_pages
from jurat.errors import JuratError, UsageError
from jurat.stats.interval import clustered_proportion, proportion, tail_probability
from jurat.stats.mean import clustered_mean, mean
from jurat.stats.result import Interval
from jurat.text.column import TextColumn
from jurat.text.words import hash_words

__all__ = ["ExtractionAudit", "PageAgreement", "audit_extraction", "audit_pages", "in_sample", "word_agreement"]

_WORST = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PageAgreement:
    """What two extractors made of one page.

    Attributes
    ----------
    doc_id, url
        The page.
    f1
        Agreement of the two texts as multisets of words, in [0, 1].
    words, reference_words
        Words in either text.
    failure
        What an extractor raised; the page then counts as one on which they do not agree at all.
    """

    doc_id: str
    url: str | None
    f1: float
    words: int
    reference_words: int
    failure: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractionAudit:
    """Agreement of two extractors on a sample.

    Attributes
    ----------
    extractor, reference
        Names with versions.
    share, seed
        Probability with which a page enters the sample, and what the draw depends on.
    pages, sampled
        Pages met, pages in the sample.
    failures
        Pages of the sample on which an extractor raised.
    agreement
        Mean word F1 between both texts.
    disagreeing
        Share of pages whose F1 is below ``threshold``.
    threshold
        F1 below which two texts count as disagreeing.
    worst
        Pages that agree least, worst first: where to look.
    """

    extractor: str
    reference: str
    share: float
    seed: int
    pages: int
    sampled: int
    failures: int
    agreement: Interval
    disagreeing: Interval
    threshold: float
    worst: tuple[PageAgreement, ...]


def in_sample(doc_id: str, *, share: float, seed: int) -> bool:
    """Whether a document is drawn: a hash of its identity decides, so every shard and every run draws the same.

    Parameters
    ----------
    doc_id
        Its identity.
    share
        Probability, in (0, 1]; a smaller one draws a part of what a larger one draws.
    seed
        Another seed is another draw.

    Examples
    --------
    >>> sum(in_sample(f"page.html#{i}", share=0.1, seed=1) for i in range(10_000))
    972
    """
    drawn = hashlib.blake2b(doc_id.encode(), digest_size=8, key=str(seed).encode()).digest()
    return int.from_bytes(drawn, "big") < share * 2.0**64


def word_agreement(text: str, reference: str) -> tuple[float, int, int]:
    r"""Agreement of two texts as multisets of words.

    Parameters
    ----------
    text, reference
        The two texts.

    Returns
    -------
    f1 : float
        In [0, 1]; 1 where neither has a word, 0 where only one has.
    words, reference_words : int
        Words in either.

    Notes
    -----
    With :math:`c_w` and :math:`r_w` the occurrences of word w,
    :math:`F_1 = 2 \sum_w \min(c_w, r_w) / (\sum_w c_w + \sum_w r_w)`, the harmonic mean of precision and recall. The order
    of words does not enter.

    References
    ----------
    van Rijsbergen (1979). Information Retrieval, 2nd edition, chapter 7.

    Examples
    --------
    >>> word_agreement("the cat and the dog", "The cat")
    (0.5714285714285714, 5, 2)
    """
    words = hash_words(TextColumn.of([text, reference]))
    ours, theirs = (_counted(words.hashes[words.offsets[i] : words.offsets[i + 1]]) for i in (0, 1))
    n, m = int(ours[1].sum()), int(theirs[1].sum())
    if n + m == 0:
        return 1.0, 0, 0
    _, here, there = np.intersect1d(ours[0], theirs[0], assume_unique=True, return_indices=True)
    shared = int(np.minimum(ours[1][here], theirs[1][there]).sum())
    return 2.0 * shared / (n + m), n, m


def _counted(hashes: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    values, counts = np.unique(hashes, return_counts=True)
    return values, counts.astype(np.int64)


def audit_extraction(
    inputs: Inputs,
    *,
    share: float = 0.01,
    seed: int = 0,
    extractor: Extractor | None = None,
    reference: Extractor | None = None,
    threshold: float = 0.8,
    level: float = 0.95,
    limits: Limits | None = None,
) -> ExtractionAudit:
    """Extract a random sample of pages twice and say how far the texts agree.

    Parameters
    ----------
    inputs, limits
        Files with pages, as for `jurat.corpus.read.read_documents`; other files are passed over.
    share, seed
        Probability with which a page enters, by a hash of its identity.
    extractor, reference
        The one in use (by default `ResiliparseExtractor`) and the one to compare it with (`TrafilaturaExtractor`).
    threshold
        F1 below which two texts count as disagreeing.
    level
        Coverage of the intervals.

    Returns
    -------
    ExtractionAudit
        See `audit_pages`.
    """
    return audit_pages(
        read_pages(inputs, limits=limits),
        share=share,
        seed=seed,
        extractor=extractor,
        reference=reference,
        threshold=threshold,
        level=level,
    )


def audit_pages(
    pages: Iterable[Page],
    *,
    share: float = 0.01,
    seed: int = 0,
    extractor: Extractor | None = None,
    reference: Extractor | None = None,
    threshold: float = 0.8,
    level: float = 0.95,
) -> ExtractionAudit:
    r"""Extract a random sample of these pages twice and say how far the texts agree.

    Parameters
    ----------
    pages
        All pages; the sample is drawn from them.
    share, seed, extractor, reference, threshold, level
        As for `audit_extraction`.

    Returns
    -------
    ExtractionAudit
        Estimates with intervals; undefined, with the reason, where the sample is empty.

    Raises
    ------
    UsageError
        Where share or threshold lies outside of (0, 1].

    Notes
    -----
    Pages of one host share a template and are no independent witnesses: where every page has a URL and there are several
    hosts, the intervals are those of `clustered_mean` and `clustered_proportion` over hosts. The mean's bounds are cut to
    [0, 1]. Where all pages agree to the same degree c, a t interval would have no width; instead, with
    :math:`L = (\alpha/2)^{1/G}` the exact lower bound of G successes out of G independent units,
    :math:`[c L, 1 - (1 - c) L]` holds for any distribution on [0, 1].

    It is agreement, not accuracy: neither extractor is the truth.
    """
    for name, value in (("share", share), ("threshold", threshold)):
        if not 0.0 < value <= 1.0:
            raise UsageError(f"{name} must lie in (0, 1]", seen=repr(value))
    tail_probability(level)
    ours, theirs = extractor or ResiliparseExtractor(), reference or TrafilaturaExtractor()
    met = 0
    found: list[PageAgreement] = []
    for page in pages:
        met += 1
        if in_sample(page.doc_id, share=share, seed=seed):
            found.append(_compare(page, ours, theirs))
    hosts = [host_of(page.url) for page in found]
    clusters = [str(host) for host in hosts] if all(hosts) and len(set(hosts)) > 1 else None
    return ExtractionAudit(
        extractor=ours.name,
        reference=theirs.name,
        share=share,
        seed=seed,
        pages=met,
        sampled=len(found),
        failures=sum(page.failure is not None for page in found),
        agreement=_mean_agreement(np.array([page.f1 for page in found]), clusters, level),
        disagreeing=_share_below(np.array([page.f1 < threshold for page in found], np.bool_), clusters, level),
        threshold=threshold,
        worst=tuple(heapq.nsmallest(_WORST, found, key=lambda page: (page.f1, page.doc_id))),
    )


def _compare(page: Page, ours: Extractor, theirs: Extractor) -> PageAgreement:
    text, failure = _text(ours, page)
    reference, second = _text(theirs, page)
    f1, words, reference_words = word_agreement(text, reference)
    return PageAgreement(
        doc_id=page.doc_id,
        url=page.url,
        # Two that fail have not agreed on an empty page.
        f1=0.0 if failure or second else f1,
        words=words,
        reference_words=reference_words,
        failure=failure or second,
    )


def _text(extractor: Extractor, page: Page) -> tuple[str, str | None]:
    try:
        return extractor.extract(page.html, page.url, encoding=page.encoding), None
    except JuratError:
        raise
    except Exception as error:  # extractors are other people's code, and one page must not end the audit
        return "", f"{extractor.name}: {type(error).__name__}: {error}"[:200]


def _mean_agreement(f1: NDArray[np.float64], clusters: list[str] | None, level: float) -> Interval:
    estimate = mean(f1, level=level) if clusters is None else clustered_mean(f1, clusters, level=level)
    if estimate.value is None or len(f1) < 2:
        return estimate
    if float(np.ptp(f1)) == 0.0:
        units = len(f1) if clusters is None else len(set(clusters))
        c, sure = float(f1[0]), tail_probability(level) ** (1.0 / units)
        low, high = c * sure, 1.0 - (1.0 - c) * sure
        return replace(estimate, value=c, low=low, high=high, se=None, df=None, reason=None, method="exact, no spread")
    low_bound = None if estimate.low is None else max(estimate.low, 0.0)
    high_bound = None if estimate.high is None else min(estimate.high, 1.0)
    return replace(estimate, low=low_bound, high=high_bound)


def _share_below(below: NDArray[np.bool_], clusters: list[str] | None, level: float) -> Interval:
    if clusters is None:
        return proportion(int(below.sum()), len(below), level=level)
    _, codes = np.unique(clusters, return_inverse=True)
    return clustered_proportion(np.bincount(codes, weights=below), np.bincount(codes), level=level)
