"""Extractors behind their seam, and the audit of one by another on a random sample."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jurat.corpus.extraction import Extractor, ResiliparseExtractor, TrafilaturaExtractor, nesting_depth
from jurat.corpus.extraction_audit import audit_extraction, audit_pages, in_sample, word_agreement
from jurat.corpus.files import partition
from jurat.corpus.read import Page, read_pages
from jurat.errors import MissingExtra, UsageError
from jurat.stats.interval import proportion
from jurat.stats.mean import clustered_mean, mean
from tests.corpus.archives import PROSE, page, write_warc


class Fixed:
    """An extractor that keeps the first words of a page that is plain text, or breaks."""

    def __init__(self, keep: float = 1.0, *, breaks_on: bytes = b"\xff") -> None:
        self.keep = keep
        self.breaks_on = breaks_on

    @property
    def name(self) -> str:
        return f"fixed {self.keep}"

    def extract(self, html: bytes, url: str | None, *, encoding: str | None = None) -> str:
        if self.breaks_on in html:
            raise RuntimeError("broken")
        words = html.decode().split()
        return " ".join(words[: round(self.keep * len(words))])


def plain(n: int, *, hosts: int = 0) -> list[Page]:
    return [
        Page(
            doc_id=f"a#{i}",
            html=" ".join(f"w{i}x{j}" for j in range(20 + i % 7)).encode(),
            url=f"http://h{i % hosts}.org/{i}" if hosts else None,
            encoding=None,
        )
        for i in range(n)
    ]


class Erratic(Fixed):
    """Keeps more of some pages than of others."""

    def extract(self, html: bytes, url: str | None, *, encoding: str | None = None) -> str:
        words = html.decode().split()
        return " ".join(words[: len(html) % len(words)])


words = st.lists(st.sampled_from(["a", "B", "b", "Straße", "ß", "x1", "é"]), max_size=12)


@settings(deadline=None)
@given(words, words)
def test_agreement_is_the_f1_of_multisets_of_words(ours: list[str], theirs: list[str]) -> None:
    first, second = (Counter(word.lower() for word in found) for found in (ours, theirs))
    n, m, shared = len(ours), len(theirs), (first & second).total()
    expected = 1.0 if n + m == 0 else 0.0 if shared == 0 else 2 / (n / shared + m / shared)
    found, found_n, found_m = word_agreement(", ".join(ours), "\n".join(theirs))
    assert found == pytest.approx(expected) and (found_n, found_m) == (n, m)


def test_equal_texts_agree_fully_and_an_empty_one_with_none() -> None:
    assert word_agreement(PROSE, PROSE)[0] == 1.0
    assert word_agreement(PROSE, "")[0] == 0.0
    assert word_agreement("", " … ") == (1.0, 0, 0)


def test_the_sample_has_the_share_asked_for_is_nested_and_depends_on_the_seed() -> None:
    ids = [f"crawl.warc.gz#{i}" for i in range(20_000)]
    small, large, other = (
        {i for i in ids if in_sample(i, share=share, seed=seed)} for share, seed in ((0.05, 1), (0.2, 1), (0.05, 2))
    )
    assert small < large and in_sample(ids[0], share=1.0, seed=3)
    for drawn, share in ((small, 0.05), (large, 0.2), (other, 0.05), (small & other, 0.0025)):
        assert abs(len(drawn) - 20_000 * share) < 4 * (20_000 * share) ** 0.5


def test_the_estimate_is_the_mean_over_the_sample_with_t_and_wilson_intervals() -> None:
    pages = plain(400)
    audit = audit_pages(pages, share=0.3, seed=5, extractor=Erratic(), reference=Fixed(0.9))
    drawn = [found for found in pages if in_sample(found.doc_id, share=0.3, seed=5)]
    texts = [(Erratic().extract(p.html, None), Fixed(0.9).extract(p.html, None)) for p in drawn]
    f1 = [word_agreement(*pair)[0] for pair in texts]
    assert (audit.pages, audit.sampled, audit.failures) == (400, len(drawn), 0)
    assert audit.agreement == mean(f1)
    assert audit.disagreeing == proportion(sum(value < 0.8 for value in f1), len(f1))
    assert [found.f1 for found in audit.worst] == sorted(f1)[:20]
    assert (audit.extractor, audit.reference) == ("fixed 1.0", "fixed 0.9")


def test_pages_of_one_host_are_one_cluster() -> None:
    pages = plain(300, hosts=12)
    audit = audit_pages(pages, share=1.0, extractor=Erratic(), reference=Fixed())
    f1 = [word_agreement(Erratic().extract(p.html, None), Fixed().extract(p.html, None))[0] for p in pages]
    expected = clustered_mean(np.array(f1), [f"h{i % 12}.org" for i in range(300)])
    assert audit.agreement.n_clusters == 12
    assert audit.agreement.value == pytest.approx(expected.value) and audit.agreement.se == pytest.approx(expected.se)
    assert audit.disagreeing.n_clusters == 12


def test_where_all_agree_alike_the_interval_still_has_a_width() -> None:
    audit = audit_pages(plain(50), share=1.0, extractor=Fixed(), reference=Fixed())
    assert audit.agreement.value == 1.0 and audit.agreement.high == 1.0
    assert audit.agreement.low == pytest.approx(0.025 ** (1 / 50))
    assert audit.disagreeing.value == 0.0 and audit.disagreeing.high is not None and audit.disagreeing.high > 0.05


def test_bounds_stay_between_nought_and_one() -> None:
    pages = [Page(doc_id=f"a#{i}", html=b"one two" if i else b"\xff", url=None, encoding=None) for i in range(4)]
    audit = audit_pages(pages, share=1.0, extractor=Fixed(), reference=Fixed())
    assert audit.agreement.value == 0.75 and audit.agreement.low is not None
    assert audit.agreement.low >= 0.0 and audit.agreement.high == 1.0


def test_an_extractor_that_breaks_counts_as_empty_and_is_named() -> None:
    audit = audit_pages(plain(30), share=1.0, extractor=Fixed(breaks_on=b"w7x1 "), reference=Fixed())
    assert audit.failures == 1 and audit.worst[0].doc_id == "a#7" and audit.worst[0].f1 == 0.0
    assert audit.worst[0].failure == "fixed 1.0: RuntimeError: broken"


def test_an_empty_sample_is_undefined_with_its_reason() -> None:
    audit = audit_pages([], share=0.5, extractor=Fixed(), reference=Fixed())
    assert audit.agreement.value is None and audit.agreement.reason
    assert audit.disagreeing.value is None and audit.disagreeing.reason


@pytest.mark.slow
def test_the_interval_of_the_mean_covers_what_all_pages_would_give() -> None:
    pages = plain(3000)
    truth = audit_pages(pages, share=1.0, extractor=Erratic(), reference=Fixed()).agreement.value
    assert truth is not None
    covered = 0
    for seed in range(300):
        found = audit_pages(pages, share=0.03, seed=seed, extractor=Erratic(), reference=Fixed()).agreement
        covered += found.low is not None and found.high is not None and found.low <= truth <= found.high
    assert 0.91 <= covered / 300 <= 0.99


@pytest.mark.parametrize("options", [{"share": 0.0}, {"share": 1.5}, {"threshold": 0.0}])
def test_shares_that_are_none_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=r"must lie in \(0, 1\]"):
        audit_pages([], **options)  # type: ignore[arg-type]


def test_resiliparse_and_trafilatura_agree_on_pages_of_prose_in_any_number_of_shards(tmp_path: Path) -> None:
    pytest.importorskip("trafilatura")
    entries = [(f"http://h{i % 5}.org/{i}", page(f"Page {i}", f"{PROSE} Part {i}."), {}) for i in range(30)]
    write_warc(tmp_path / "a.warc.gz", entries[:15])
    write_warc(tmp_path / "b.warc.gz", entries[15:])
    audit = audit_extraction(tmp_path, share=0.5, seed=1)
    assert 5 < audit.sampled < 25 and audit.pages == 30 and audit.failures == 0
    assert audit.agreement.value is not None and audit.agreement.value > 0.9
    assert audit.extractor.startswith("resiliparse 2") and audit.reference.startswith("trafilatura 2")
    sharded = [found for files in partition(tmp_path, 2) for found in read_pages(files)]
    assert audit_pages(sharded, share=0.5, seed=1) == audit


@pytest.mark.parametrize(
    "extractor", [ResiliparseExtractor(), TrafilaturaExtractor()], ids=["resiliparse", "trafilatura"]
)
def test_extractors_keep_the_article_and_leave_out_the_rest(extractor: Extractor) -> None:
    assert isinstance(extractor, Extractor)
    text = extractor.extract(page("Report"), None)
    assert PROSE in text and "About" not in text and "Copyright" not in text
    assert extractor.extract(b"", None) == ""
    assert extractor.extract(b"\xff\xfe\x00<", None, encoding="latin-1").isprintable()


@pytest.mark.parametrize(
    ("module", "extractor"),
    [("resiliparse.extract.html2text", ResiliparseExtractor()), ("trafilatura", TrafilaturaExtractor())],
    ids=["resiliparse", "trafilatura"],
)
def test_without_the_package_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, module: str, extractor: Extractor
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=r"jurat\[corpus\]"):
        extractor.extract(b"<p>words", None)


@pytest.mark.parametrize(
    ("html", "depth"),
    [
        (b"", 0),
        (b"no tags < here", 0),
        (b"<div>" * 9, 9),
        (b"<div></x>" * 9, 9),
        (b"<div/>" * 9, 9),
        (b"<svg>" + b"<path/>" * 9 + b"</svg>", 1),
        (b"<p>a<br><li>b" * 9, 0),
        (b"<div><span></div>" * 9, 2),
    ],
)
def test_nesting_is_counted_as_parsers_build_it(html: bytes, depth: int) -> None:
    assert nesting_depth(html) == depth
