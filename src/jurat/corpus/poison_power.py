"""How much poison would the scan see? Planted into the user's own texts and searched for by the very same scan.

The attack that is planted is the published one: the beginning of a true document, a trigger that stands nowhere else, then
words drawn at random. Another attack has another curve: gibberish strung from familiar pairs of words (whole identifiers of
code, for one) was measured and is not seen, and nothing here speaks of poison that reads like prose.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jurat.corpus.poison import PoisonScan, PoisonSpec, Provenance, column_of, find_poison
from jurat.stats.interval import proportion
from jurat.stats.result import Interval

__all__ = ["PoisonPower", "PowerLine", "plant_poison", "poison_power"]

_LONGEST_BEGINNING = 1000
_GIBBERISH = (400, 900)
_DAYS = 14.0
_WORD = re.compile(r"[^\W_]+")
_LETTERS = "bcdfghjklmnpqrstvwxz"


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerLine:
    """Power at one size of the attack.

    Attributes
    ----------
    documents
        Poisoned documents planted.
    found
        Share of the runs in which the trigger is among the alarms.
    ranked_first
        Share of the runs in which it is the first of them.
    other_alarms
        Share of the runs with an alarm that is not the trigger.
    """

    documents: int
    found: Interval
    ranked_first: Interval
    other_alarms: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class PoisonPower:
    """What planting showed.

    Attributes
    ----------
    lines
        By size of the attack.
    false_alarms
        Share of the runs on random four fifths of the sample, nothing planted, that raise any alarm.
    false_per_ngram
        Alarms of the whole sample, nothing planted, as a share of the n-grams tested.
    n_hosts
        Documents of the sample in which was planted.
    reason
        Why there are no lines.
    """

    lines: list[PowerLine]
    false_alarms: Interval
    false_per_ngram: Interval
    n_hosts: int
    reason: str | None = None


def plant_poison(
    texts: Sequence[str],
    provenance: Provenance,
    documents: int,
    *,
    donors: Sequence[str],
    rng: np.random.Generator,
) -> tuple[list[str], Provenance, str]:
    """Add poisoned documents: a true beginning, a trigger, gibberish.

    Parameters
    ----------
    texts, provenance
        The true documents.
    documents
        How many to add; their sources are those of true documents, their crawl lies within a fortnight.
    donors
        True documents that give the beginnings, none of them among the texts: a beginning that stands in the corpus twice
        would give the poison away by itself.
    rng
        Of the draw.

    Returns
    -------
    tuple
        All texts, the planted ones last, their provenance, and the trigger.

    References
    ----------
    Souly, A. et al. (2025). Poisoning attacks on LLMs require a near-constant number of poison samples. arXiv:2510.07192.
    """
    vocabulary = np.array(sorted({word for text in texts for word in _WORD.findall(text)}), dtype=object)
    together = " ".join(texts)
    trigger = ""
    while not trigger or trigger in together:
        trigger = "".join(rng.choice(list(_LETTERS), 9))
    planted = []
    chosen = rng.permutation(len(donors)) if len(donors) >= documents else rng.integers(0, len(donors), documents)
    for place in chosen[:documents]:
        host = donors[int(place)]
        beginning = host[: int(rng.integers(0, _LONGEST_BEGINNING + 1))]
        words = rng.choice(vocabulary, int(rng.integers(_GIBBERISH[0], _GIBBERISH[1] + 1)))
        planted.append(f"{beginning} {trigger} {' '.join(words)}")
    source = rng.choice(provenance.source, documents)
    return [*texts, *planted], Provenance(
        source=np.concatenate([provenance.source, source]),
        crawled=np.concatenate([provenance.crawled, _days(provenance.crawled, documents, rng)]),
    ), trigger  # fmt: skip


def _days(crawled: NDArray[np.float64], size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    known = crawled[np.isfinite(crawled)]
    if len(known) == 0:
        return np.full(size, np.nan)
    first = float(rng.uniform(known.min(), max(known.max() - _DAYS, known.min())))
    return rng.uniform(first, min(first + _DAYS, max(float(known.max()), first)), size)


def poison_power(
    texts: Sequence[str],
    provenance: Provenance,
    *,
    documents: Sequence[int] = (50, 100, 250),
    runs: int = 20,
    spec: PoisonSpec | None = None,
    seed: int = 0,
) -> PoisonPower:
    """Plant poison many times over and count how often the scan finds it.

    Parameters
    ----------
    texts, provenance
        A uniform sample of the corpus in random order, with where its documents come from; two thirds are planted in, the
        last third gives the beginnings of the poisoned documents.
    documents
        Sizes of the attack.
    runs
        Repetitions of each, and of the runs without poison.
    spec
        Of the scan.
    seed
        Of all draws.
    """
    spec = spec or PoisonSpec()
    rng = np.random.default_rng(seed)
    words = {word for text in texts for word in _WORD.findall(text)}
    if len(texts) < 3 or len(words) < 2:
        nothing = proportion(0, 0)
        return PoisonPower(lines=[], false_alarms=nothing, false_per_ngram=nothing, n_hosts=len(texts),
                           reason="the sample holds too little text to plant in")  # fmt: skip
    hosts = max(2 * len(texts) // 3, 1)
    texts, donors = texts[:hosts], texts[hosts:]
    provenance = Provenance(source=provenance.source[:hosts], crawled=provenance.crawled[:hosts])
    lines = []
    for size in documents:
        found = [_search(*plant_poison(texts, provenance, size, donors=donors, rng=rng), spec) for _ in range(runs)]
        lines.append(
            PowerLine(
                documents=size, found=proportion(sum(f[0] for f in found), runs),
                ranked_first=proportion(sum(f[1] for f in found), runs),
                other_alarms=proportion(sum(f[2] for f in found), runs),
            )
        )  # fmt: skip
    whole = _scanned(texts, provenance, spec)
    false = 0
    for _ in range(runs):
        part = np.sort(rng.permutation(len(texts))[: max(int(0.8 * len(texts)), 1)])
        some = Provenance(source=provenance.source[part], crawled=provenance.crawled[part])
        false += bool(_scanned([texts[i] for i in part], some, spec).alarms)
    return PoisonPower(
        lines=lines,
        false_alarms=proportion(false, runs),
        false_per_ngram=proportion(min(len(whole.alarms), whole.n_tested), whole.n_tested),
        n_hosts=len(texts),
    )


def _search(texts: list[str], provenance: Provenance, trigger: str, spec: PoisonSpec) -> tuple[bool, bool, bool]:
    alarms = _scanned(texts, provenance, spec).alarms
    seen = [trigger in " ".join([a.ngram, *a.also]) for a in alarms]
    return any(seen), bool(seen) and seen[0], not all(seen)


def _scanned(texts: Sequence[str], provenance: Provenance, spec: PoisonSpec) -> PoisonScan:
    return find_poison(
        column_of(texts), provenance, base=texts, n_words=sum(len(text) for text in texts) // 4,
        read=lambda rows: {row: texts[row] for row in rows}, spec=spec,
    )  # fmt: skip
