"""Does the search find what is there, and leave alone what is not? Planted items and near misses, through the same kernels.

Every search for contamination is run beside this test on the user's own documents and items: items are planted in clean
documents in six forms, and documents are made that resemble items without holding them. Shares come with Wilson intervals.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jurat.corpus.benchmarks import NGRAM, TIERS, Benchmarks, find_items
from jurat.corpus.contamination import ContaminationSpec, Occurrences, judge
from jurat.stats.interval import proportion
from jurat.stats.result import Interval
from jurat.text.column import TextColumn
from jurat.text.words import hash_words

__all__ = ["FORMS", "NEAR_MISSES", "ControlLine", "check_search", "inject"]

_TRUNCATED_SHARE = 0.6
_SENTENCE = re.compile(r"(?<=[.!?])\s+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlLine:
    """One kind of control.

    Attributes
    ----------
    kind
        ``planted`` (should be found) or ``near miss`` (should not).
    form
        How it was made.
    tier
        Tier of the items.
    share
        Found among planted or made, with its Wilson interval.
    """

    kind: str
    form: str
    tier: str
    share: Interval


def _swap_punctuation(text: str) -> str:
    swaps = str.maketrans({",": ";", ".": "!", "?": ".", ":": ",", ";": ":", "'": "’", '"': "”", "-": "–", "$": "€"})
    return text.translate(swaps)


def _wrap(text: str) -> str:
    return "\n".join(text.split())


def _truncate(text: str) -> str:
    words = hash_words(TextColumn.of([text]))
    n = len(words.hashes)
    keep = max(NGRAM, int(np.ceil(_TRUNCATED_SHARE * n)))
    return text if keep >= n else text.encode()[: int(words.starts[keep])].decode("utf-8", "ignore")


def _between(host: str, item: str) -> str:
    lines = host.split("\n")
    return "\n".join([*lines[: len(lines) // 2], item, *lines[len(lines) // 2 :]])


def _inside(host: str, item: str) -> str:
    words = host.split(" ")
    return " ".join([*words[: len(words) // 2], item, *words[len(words) // 2 :]])


FORMS: dict[str, Callable[[str, str], str]] = {
    "verbatim": _between,
    "case": lambda host, item: _between(host, item.upper()),
    "punctuation": lambda host, item: _between(host, _swap_punctuation(item)),
    "wrapped": lambda host, item: _between(host, _wrap(item)),
    "embedded": _inside,
    "truncated": lambda host, item: _between(host, _truncate(item)),
}
"""Ways in which an item is planted in a document."""


def _other_numbers(item: str) -> str:
    return re.sub(r"\d+", lambda found: str(int(found[0][:6]) + 7), item)


def _quote(item: str) -> str:
    words = item.split()
    return " ".join(words[: max(1, int(0.4 * len(words)))])


def _shuffle(item: str) -> str:
    words = item.split()
    return " ".join(words[::-1])


def _opening(item: str) -> str:
    return " ".join(item.split()[: NGRAM - 1])


def _formula(item: str) -> str:
    return " ".join(re.findall(r"[\d.,+\-*/=%$()<>]+", item))


_BOILERPLATE = (
    "You may copy, share and change this material for any purpose as long as this notice and the list of its authors go with "
    "every copy. It is handed over as it stands, and nobody who worked on it answers for harm that comes of its use."
)
"""A licence of our own making: what every page of a site may carry."""


def _licensed(item: str) -> str:
    return f"{_opening(item)}\n{_BOILERPLATE}"


NEAR_MISSES: dict[str, Callable[[str], str]] = {
    "template with other numbers": _other_numbers,
    "quote of two fifths": _quote,
    "words in another order": _shuffle,
    "the same opening": _opening,
    "its numbers and signs alone": _formula,
    "its opening above a licence": _licensed,
}
"""Texts made from an item that are not the item."""


def inject(form: str, host: str, item: str) -> str:
    """Plant an item in a document.

    Parameters
    ----------
    form
        A key of `FORMS`.
    host, item
        The document and the item's text.

    Examples
    --------
    >>> inject("case", "one\\ntwo", "What is it?")
    'one\\nWHAT IS IT?\\ntwo'
    """
    return FORMS[form](host, item)


def check_search(
    benchmarks: Benchmarks,
    hosts: Sequence[str],
    common: NDArray[np.bool_],
    spec: ContaminationSpec,
    *,
    items_per_tier: int = 200,
    seed: int = 0,
) -> list[ControlLine]:
    """Plant items in documents and count how many are found again; make near misses and count false alarms.

    Parameters
    ----------
    benchmarks
        The items.
    hosts
        Texts of documents that touch no item.
    common
        N-grams set aside, as the search sets them aside.
    spec
        The search's thresholds.
    items_per_tier
        Items drawn from each tier.
    seed
        Of the draw.

    Returns
    -------
    list of ControlLine
        Planted forms by tier, near misses by tier, and the clean documents themselves. Items that are mostly common property
        are not drawn: nothing claims to find them.

    Raises
    ------
    ValueError
        Where there is no host.
    """
    if not hosts:
        raise ValueError("planting needs at least one document that touches no item")
    rng = np.random.default_rng(seed)
    lines = []
    for tier, name in enumerate(TIERS[:-1]):
        left = _remaining(benchmarks, common)
        pool = np.flatnonzero((benchmarks.tier == tier) & (left >= spec.least_left))
        chosen = rng.permutation(pool)[:items_per_tier]
        if len(chosen) == 0:
            continue
        texts = [_with_answer(benchmarks, int(item)) if tier == 2 else benchmarks.questions[item] for item in chosen]
        around = [hosts[int(i)] for i in rng.integers(0, len(hosts), len(chosen))]
        for form in FORMS:
            if form == "truncated" and tier > 0:
                continue
            made = [inject(form, host, text) for host, text in zip(around, texts, strict=True)]
            found = _touched(made, benchmarks, common, spec, chosen)
            lines.append(_line("planted", form, name, found))
        for miss, make in NEAR_MISSES.items():
            made = [_between(host, make(text)) for host, text in zip(around, texts, strict=True)]
            # Other blanks make no other text: of a short item nothing is left out.
            changed = np.array([make(text).split() != text.split() for text in texts])
            found = _touched(made, benchmarks, common, spec, chosen)[changed]
            if len(found):
                lines.append(_line("near miss", miss, name, found))
    clean = _touched(list(hosts), benchmarks, common, spec, None)
    lines.append(_line("near miss", "clean documents as they are", "all", clean))
    return lines


def _line(kind: str, form: str, tier: str, found: NDArray[np.bool_]) -> ControlLine:
    return ControlLine(kind=kind, form=form, tier=tier, share=proportion(int(found.sum()), len(found)))


def _remaining(benchmarks: Benchmarks, common: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Share of each item's n-grams that are not set aside."""
    index = benchmarks.index
    of_key = np.repeat(np.arange(len(index)), np.diff(index.offsets))
    lost = np.bincount(index.postings, weights=common[of_key], minlength=len(benchmarks))
    return 1 - lost / np.maximum(benchmarks.n_grams(), 1)


def _with_answer(benchmarks: Benchmarks, item: int) -> str:
    return f"{benchmarks.questions[item]}\nAnswer: {benchmarks.answers[item]}"


def _touched(
    texts: list[str],
    benchmarks: Benchmarks,
    common: NDArray[np.bool_],
    spec: ContaminationSpec,
    items: NDArray[np.int64] | None,
) -> NDArray[np.bool_]:
    """Whether each text touches its own item, or any where no items are given."""
    words = hash_words(TextColumn.of(texts))
    grams, answered = find_items(words, benchmarks)
    nothing = np.zeros(len(grams), np.int64)
    pairs, _ = judge(
        Occurrences(
            document=grams.document.astype(np.int64), key=grams.key.astype(np.int64), word=grams.word.astype(np.int64),
            start=nothing, answered_document=answered.document.astype(np.int64),
            answered_item=answered.key.astype(np.int64), answered_start=np.zeros(len(answered), np.int64),
        ),
        benchmarks, common, spec,
    )  # fmt: skip
    found = np.zeros(len(texts), np.bool_)
    document, item = pairs["document"].to_numpy(), pairs["item"].to_numpy()
    found[document if items is None else document[items[document] == item]] = True
    return found
