"""Which n-grams are alarms, given the places behind which a text turned new: tested, merged, and written up with evidence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats as sps

from jurat.stats.interval import proportion
from jurat.stats.result import Interval
from jurat.text.column import TextColumn
from jurat.text.words import hash_words, word_end

__all__ = ["Alarm", "Excerpt", "PoisonSpec", "Provenance", "excerpt", "judge_events"]

_SHOWN = 3
_BEFORE, _BEHIND = 80, 160
_HELD_IN_WINDOW = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class PoisonSpec:
    """What counts as an alarm.

    Attributes
    ----------
    least_documents, most_documents
        Documents that hold the n-gram: one in fewer cannot be told from chance, one in more is common.
    least_sources
        Sources (hosts) that the documents must come from; not asked where the corpus has fewer.
    window, least_words
        Words looked at on each side, and words that must follow.
    quantile
        A jump is one above this quantile of the jumps at all places of a uniform sample.
    least_jump
        And never below this difference of shares.
    least_share
        Lower bound (Wilson, 95 %) of the share of the n-gram's documents in which the novelty jumps.
    alpha
        Family-wise error of the test that an n-gram's jumps are more than chance.
    burst
        Crawl window of the documents as a share of the corpus's own, from which down it counts as a burst.
    most_slots
        Bound of the table of counts, two bytes a slot.
    """

    least_documents: int = 20
    most_documents: int = 2000
    least_sources: int = 3
    window: int = 48
    least_words: int = 16
    quantile: float = 0.98
    least_jump: float = 0.15
    least_share: float = 0.5
    alpha: float = 0.01
    burst: float = 0.25
    most_slots: int = 1 << 26

    def __post_init__(self) -> None:
        if not 2 <= self.least_documents <= self.most_documents < 65_535:
            raise ValueError(
                "need 2 <= least_documents <= most_documents < 65535, got "
                f"{self.least_documents!r} and {self.most_documents!r}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where documents come from, by row.

    Attributes
    ----------
    source
        Number of each document's host or source, int64.
    crawled
        Day of its crawl as a number, float64; NaN where unknown.
    """

    source: NDArray[np.int64]
    crawled: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Excerpt:
    """One document that shows an alarm.

    Attributes
    ----------
    row
        Its row in the scan.
    before, trigger, behind
        The n-gram and what stands around it.
    jump
        Share of new pairs of words behind it less that before it.
    """

    row: int
    before: str
    trigger: str
    behind: str
    jump: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """An n-gram and why it is suspect.

    Attributes
    ----------
    ngram
        The n-gram as it first stands in a text.
    also
        Other n-grams that the same documents show.
    held
        Documents that hold it.
    followed
        Share of them in which the novelty jumps behind it.
    jump
        Median jump in those, a difference of shares of new pairs of words.
    p_value
        That so many jump by chance, Holm-adjusted over all n-grams that were tested.
    n_sources
        Sources of the documents that show it.
    window_days, corpus_days
        Shortest time that nine in ten of those documents, and of all documents, were crawled in; ``None`` where unknown.
    signs
        Of ``jump``, ``spread``, ``burst``: what was seen; what could not be assessed is in neither list.
    rows
        Rows of the documents that show it, in order.
    excerpts
        Some of them.
    """

    ngram: str
    also: list[str]
    held: int
    followed: Interval
    jump: float
    p_value: float
    n_sources: int
    window_days: float | None
    corpus_days: float | None
    signs: list[str]
    rows: list[int]
    excerpts: list[Excerpt]


@dataclass(frozen=True, slots=True)
class _Suspect:
    """An n-gram that passed the test, before it is written up."""

    places: NDArray[np.int64]
    held: int
    p_value: float
    followed: Interval


def judge_events(
    events: tuple[NDArray[Any], ...],
    provenance: Provenance,
    spec: PoisonSpec,
    rate: float,
    tested: int,
    read: Callable[[list[int]], dict[int, str]],
) -> list[Alarm]:
    """Alarms among n-grams behind which jumps were seen, gravest first.

    Parameters
    ----------
    events
        Key, row, place (four times the word, plus the length), jump and documents that hold it, of each jump.
    provenance
        Of every row.
    spec
        What counts.
    rate
        Share of all places with a jump.
    tested
        N-grams that were looked at.
    read
        Gives the texts of some rows.
    """
    key, row, place, jump, held = events
    order = np.lexsort((row, key))
    key, row, place, jump, held = key[order], row[order], place[order], jump[order], held[order]
    begins = np.flatnonzero(np.r_[True, key[1:] != key[:-1]])
    ends = np.r_[begins[1:], len(key)]
    followed = ends - begins
    of = np.maximum(held[begins].astype(np.int64), followed)
    p = np.minimum(sps.binom.sf(followed - 1, of, rate) * max(tested, 1), 1.0)
    suspects = []
    spread = len(np.unique(provenance.source)) >= spec.least_sources
    for i in np.flatnonzero((p < spec.alpha) & (followed >= spec.least_share * of)):
        places = np.arange(begins[i], ends[i])
        share = proportion(int(followed[i]), int(of[i]))
        sources = len(np.unique(provenance.source[row[places]]))
        if (share.low or 0.0) >= spec.least_share and (sources >= spec.least_sources or not spread):
            suspects.append(_Suspect(places, int(of[i]), float(p[i]), share))
    # Among n-grams of the same documents the one that is followed most often stands for all.
    suspects.sort(key=lambda s: (-(s.followed.low or 0.0), -len(s.places), s.places[0]))
    groups: list[list[_Suspect]] = []
    for one in suspects:
        for group in groups:
            if _alike(row[group[0].places], row[one.places]):
                group.append(one)
                break
        else:
            groups.append([one])
    found = [_written(group, (row, place, jump), provenance, spec, read) for group in groups]
    return sorted(found, key=lambda a: (-len(a.signs), a.p_value, -len(a.rows), a.ngram))


def _alike(first: NDArray[np.int64], second: NDArray[np.int64]) -> bool:
    """Whether half of the smaller set of documents is in the larger one."""
    return len(np.intersect1d(first, second)) >= 0.5 * min(len(first), len(second))


def _written(
    group: list[_Suspect],
    events: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]],
    provenance: Provenance,
    spec: PoisonSpec,
    read: Callable[[list[int]], dict[int, str]],
) -> Alarm:
    row, place, jump = events
    head = group[0]
    rows = row[head.places]
    wanted = [int(r) for r in rows[:_SHOWN]]
    others = [int(row[s.places[0]]) for s in group[1:6]]
    texts = read(wanted + others)
    excerpts = [excerpt(texts[r], r, int(place[i]), float(jump[i])) for r, i in zip(wanted, head.places, strict=False)]
    also = [excerpt(texts[r], r, int(place[s.places[0]]), 0.0).trigger for r, s in zip(others, group[1:6], strict=True)]
    times, every = provenance.crawled[rows], provenance.crawled
    window, whole = _shortest(times), _shortest(every)
    sources = len(np.unique(provenance.source[rows]))
    signs = ["jump"]
    signs += ["spread"] if sources >= spec.least_sources else []
    signs += ["burst"] if window is not None and whole and window <= spec.burst * whole else []
    return Alarm(
        ngram=excerpts[0].trigger, also=sorted(set(also)), held=head.held, followed=head.followed,
        jump=float(np.median(jump[head.places])), p_value=head.p_value, n_sources=sources, window_days=window,
        corpus_days=whole, signs=signs, rows=[int(r) for r in rows], excerpts=excerpts,
    )  # fmt: skip


def _shortest(days: NDArray[np.float64]) -> float | None:
    """Shortest time that holds nine in ten of the days; unknown where fewer than that are known."""
    known = np.sort(days[np.isfinite(days)])
    size = int(np.ceil(_HELD_IN_WINDOW * len(days)))
    if len(known) < max(size, 2):
        return None
    return float(np.min(known[size - 1 :] - known[: len(known) - size + 1]))


def excerpt(text: str, row: int, place: int, jump: float) -> Excerpt:
    """Cut an n-gram and what stands around it out of a text.

    Parameters
    ----------
    text, row
        The document.
    place
        Four times the word at which the n-gram begins, plus its length in words.
    jump
        What was measured there.
    """
    column = TextColumn.of([text])
    words = hash_words(column)
    first, order = divmod(place, 4)
    start = int(words.starts[first])
    stop = word_end(column.document(0), int(words.starts[first + order - 1]))
    raw = text.encode("utf-8", "surrogatepass")
    return Excerpt(
        row=row, before=_decoded(raw[max(start - _BEFORE, 0) : start]), trigger=_decoded(raw[start:stop]),
        behind=_decoded(raw[stop : stop + _BEHIND]), jump=jump,
    )  # fmt: skip


def _decoded(raw: bytes) -> str:
    return raw.decode("utf-8", "ignore")
