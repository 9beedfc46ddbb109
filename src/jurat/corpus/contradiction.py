"""How often does a document contradict the one most like it? On a stratified sample, by a judge that is handed in.

A pair drawn at random is about nothing in common, so each drawn document is held against the most alike other document of the
sample. The rate is that of such pairs: it says nothing of the corpus pair by pair, and no corpus-wide rate is ever given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from jurat.stats.interval import proportion, proportion_from_spread
from jurat.stats.result import Interval
from jurat.text.column import TextColumn
from jurat.text.words import hash_words

__all__ = ["ContradictingPair", "ContradictionAudit", "Judge", "audit_contradictions", "nearest_others"]

_COPY = 1 - 1e-9
_SHOWN = 5


class Judge(Protocol):
    """Says whether two texts contradict each other: a model, or a person."""

    def __call__(self, first: str, second: str, /) -> bool:
        """Whether one text says what the other denies."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ContradictingPair:
    """A pair that the judge called contradictory.

    Attributes
    ----------
    first, second
        Ids of the documents.
    likeness
        Cosine of their words.
    """

    first: str
    second: str
    likeness: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ContradictionAudit:
    """What the judge said.

    Attributes
    ----------
    rate
        Of the documents that have an alike other one in the sample, the share that contradicts it; strata weighted by their
        documents.
    by_stratum
        Stratum, its rate, and its documents in the sample.
    pairs
        Some of the contradictory pairs.
    n_judged
        Pairs that the judge saw.
    """

    rate: Interval
    by_stratum: list[tuple[str, Interval, int]]
    pairs: list[ContradictingPair]
    n_judged: int


def nearest_others(texts: Sequence[str], *, least: float = 0.1) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The most alike other text of each, texts of the very same words left aside.

    Parameters
    ----------
    texts
        A sample.
    least
        Least likeness; below it a text has no partner.

    Returns
    -------
    tuple
        Place of each text's partner (-1 for none), and the cosine of their words weighted by rarity.

    Examples
    --------
    >>> nearest_others(["the sky is blue", "the sky is green", "cats eat mice"])[0].tolist()
    [1, 0, -1]
    """
    n = len(texts)
    words = hash_words(TextColumn.of(texts))
    keys, codes = np.unique(words.hashes, return_inverse=True)
    document = np.repeat(np.arange(n), words.counts())
    holds = sparse.csr_matrix((np.ones(len(codes)), (document, codes)), shape=(n, max(len(keys), 1)))
    holds.data[:] = 1.0
    held = np.asarray(holds.sum(0)).ravel()
    holds = holds @ sparse.diags(np.log((1 + n) / (1 + held)) + 1e-9)
    norms = np.sqrt(np.asarray(holds.multiply(holds).sum(1)).ravel())
    holds = sparse.diags(1 / np.maximum(norms, 1e-12)) @ holds
    partner, likeness = np.full(n, -1, np.int64), np.zeros(n)
    for first in range(0, n, 256):
        cosine = np.asarray((holds[first : first + 256] @ holds.T).todense())
        rows = np.arange(len(cosine))
        cosine[rows, first + rows] = 0.0
        cosine[cosine > _COPY] = 0.0
        best = cosine.argmax(1)
        value = cosine[rows, best]
        partner[first : first + 256] = np.where(value >= least, best, -1)
        likeness[first : first + 256] = np.where(value >= least, value, 0.0)
    return partner, likeness


def audit_contradictions(
    texts: Sequence[str],
    ids: Sequence[str],
    strata: Sequence[str],
    judge: Judge,
    *,
    pairs: int = 200,
    most_strata: int = 10,
    rng: np.random.Generator,
    level: float = 0.95,
) -> ContradictionAudit:
    r"""Let a judge look at pairs of alike documents, as many of each stratum.

    Parameters
    ----------
    texts, ids, strata
        A uniform sample of documents, their ids and their strata (sources).
    judge
        Says whether two texts contradict each other.
    pairs
        Pairs to judge at most.
    most_strata
        The largest strata by themselves; the others are one.
    rng
        Of the draw.
    level
        Of the intervals.

    Notes
    -----
    :math:`\hat p = \sum_h W_h \hat p_h` with :math:`W_h` the stratum's share of the sampled documents that have a partner and
    variance :math:`\sum_h W_h^2 \hat p_h (1 - \hat p_h) / (n_h - 1)`; Wilson's form on the effective sample size.
    """
    partner, likeness = nearest_others(texts)
    has = np.flatnonzero(partner >= 0)
    method = "stratified, Wilson on the effective sample size"
    if len(has) == 0:
        nothing = Interval(value=None, low=None, high=None, level=level, n=0, method=method,
                           reason="no two documents of the sample are alike")  # fmt: skip
        return ContradictionAudit(rate=nothing, by_stratum=[], pairs=[], n_judged=0)
    names, sizes = np.unique(np.array(strata, dtype=object).astype(str)[has], return_counts=True)
    kept = set(names[np.argsort(-sizes, kind="stable")[:most_strata]].tolist())
    groups: dict[str, list[int]] = {}
    for place in has.tolist():
        groups.setdefault(strata[place] if strata[place] in kept else "others", []).append(place)
    each = max(pairs // len(groups), 1)
    lines, found, judged = [], [], 0
    for name in sorted(groups):
        chosen = rng.permutation(groups[name])[:each].tolist()
        said = [bool(judge(texts[i], texts[int(partner[i])])) for i in chosen]
        judged += len(said)
        lines.append((name, proportion(sum(said), len(said), level=level), len(groups[name])))
        found += [
            ContradictingPair(first=ids[i], second=ids[int(partner[i])], likeness=float(likeness[i]))
            for i, yes in zip(chosen, said, strict=True)
            if yes
        ]
    found.sort(key=lambda pair: (-pair.likeness, pair.first))
    return ContradictionAudit(
        rate=_weighted(lines, len(has), judged, level), by_stratum=lines, pairs=found[:_SHOWN], n_judged=judged
    )


def _weighted(lines: list[tuple[str, Interval, int]], whole: int, judged: int, level: float) -> Interval:
    weights = np.array([size / whole for _, _, size in lines])
    n = np.array([line.n for _, line, _ in lines], np.float64)
    p = np.array([line.value for _, line, _ in lines], np.float64)
    value = float(np.clip(weights @ p, 0.0, 1.0))
    value = 1.0 if np.all(p == 1.0) else value
    se = math.sqrt(float(np.sum(weights**2 * p * (1 - p) / np.maximum(n - 1, 1))))
    edge = 1 / float(np.sum(weights**2 / n))
    if value in (0.0, 1.0) or se == 0.0:
        # Strata that are all yes or all no show no variance; the weights still say what the sample is worth.
        se = math.sqrt(value * (1 - value) / edge)
    found = proportion_from_spread(value, se, max(float(judged - len(lines)), 1.0), n=judged, n_clusters=judged,
                                   level=level, effective_at_edge=edge)  # fmt: skip
    return Interval(value=found.value, low=found.low, high=found.high, level=level, n=judged, se=found.se, df=found.df,
                    method="stratified, " + found.method)  # fmt: skip
