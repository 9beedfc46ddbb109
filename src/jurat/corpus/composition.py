"""What is a corpus made of, and how much of it is new? Copies, variety, mix, and how many documents it is really worth.

Variety depends on how much text one looks at, so n-grams and compression are measured in blocks of one size, cut from a
uniform sample. Documents of one cluster of near copies are one observation.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray
from scipy import special
from scipy import stats as sps

from jurat.corpus.text_blocks import Blocks
from jurat.stats.interval import proportion
from jurat.stats.mean import clustered_mean, mean
from jurat.stats.result import Interval

__all__ = [
    "Entropy",
    "GroupLine",
    "VarietyLine",
    "category_entropy",
    "effective_documents",
    "kish_size",
    "shares_by_group",
    "variety",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLine:
    """A share within one group.

    Attributes
    ----------
    name
        The group.
    share
        With its Wilson interval; ``n`` is the group's documents.
    """

    name: str
    share: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Entropy:
    """How evenly documents spread over categories.

    Attributes
    ----------
    name
        The column.
    entropy
        In bits.
    effective
        Effective number of categories, two to the power of the entropy.
    n_categories
        Categories met.
    largest
        The largest of them, with their shares.
    """

    name: str
    entropy: Interval
    effective: Interval
    n_categories: int
    largest: list[GroupLine]


@dataclass(frozen=True, slots=True, kw_only=True)
class VarietyLine:
    """Variety of the texts of one group.

    Attributes
    ----------
    name
        The group; ``all`` for the whole.
    distinct
        Distinct n-grams as a share of all, by length, over blocks of one size.
    compression
        Bytes of a block over its bytes packed by DEFLATE, level 6: higher means more repetition.
    n_documents
        Sampled documents of the group.
    """

    name: str
    distinct: dict[int, Interval]
    compression: Interval
    n_documents: int


def shares_by_group(groups: Sequence[str], marked: NDArray[np.bool_], *, level: float = 0.95) -> list[GroupLine]:
    """Share of marked documents in each group, largest first.

    Parameters
    ----------
    groups
        Group of each document.
    marked
        Whether it counts.
    level
        Of the intervals.

    Examples
    --------
    >>> lines = shares_by_group(["a", "a", "b"], np.array([True, False, False]))
    >>> [(line.name, line.share.value, line.share.n) for line in lines]
    [('a', 0.5, 2), ('b', 0.0, 1)]
    """
    names, codes = np.unique(np.array(groups, dtype=object).astype(str), return_inverse=True)
    sizes = np.bincount(codes.reshape(-1), minlength=len(names))
    hits = np.bincount(codes.reshape(-1), weights=marked, minlength=len(names))
    lines = [
        GroupLine(name=str(name), share=proportion(int(hit), int(size), level=level))
        for name, hit, size in zip(names, hits, sizes, strict=True)
    ]
    return sorted(lines, key=lambda line: (-(line.share.value or 0.0), line.name))


def category_entropy(name: str, values: Sequence[str], *, level: float = 0.95) -> Entropy:
    r"""Entropy of a category and its effective number.

    Parameters
    ----------
    name
        The column.
    values
        Category of each document.
    level
        Of the intervals.

    Notes
    -----
    Plug-in entropy with Miller and Madow's correction :math:`(K - 1) / 2n`; its variance is
    :math:`(\sum p \log^2 p - H^2) / n`. The interval is carried over to :math:`2^H`, the Hill number of order 1.

    References
    ----------
    Miller, G. A. (1955). Note on the bias of information estimates. Hill, M. O. (1973). Ecology 54, 427–432.

    Examples
    --------
    >>> found = category_entropy("source", ["a", "b"] * 500)
    >>> round(found.effective.value, 3), found.n_categories
    (2.001, 2)
    """
    names, counts = np.unique(np.array(values, dtype=object).astype(str), return_counts=True)
    n, method = len(values), "Miller–Madow, delta"
    largest = [
        GroupLine(name=str(names[k]), share=proportion(int(counts[k]), n, level=level))
        for k in np.argsort(-counts, kind="stable")[:15]
    ]
    if n < 2:
        nothing = _undefined("there are fewer than two documents", n, level, method)
        return Entropy(name=name, entropy=nothing, effective=nothing, n_categories=len(names), largest=largest)
    p = counts / n
    plain = float(special.entr(p).sum())
    value = (plain + (len(names) - 1) / (2 * n)) / math.log(2)
    se = math.sqrt(max(float((p * np.log(p) ** 2).sum()) - plain**2, 0.0) / n) / math.log(2)
    half = float(sps.norm.isf((1 - level) / 2)) * se
    low, high = max(value - half, 0.0), value + half
    return Entropy(
        name=name,
        entropy=Interval(value=value, low=low, high=high, level=level, n=n, method=method, se=se),
        effective=Interval(value=2**value, low=2**low, high=2**high, level=level, n=n, method=method + ", transformed"),
        n_categories=len(names),
        largest=largest,
    )


def kish_size(weights: npt.ArrayLike, *, level: float = 0.95) -> Interval:
    r"""Effective sample size of weighted documents.

    Parameters
    ----------
    weights
        Weight of each document in the mix, shape (n,), not negative: its words, or how often it is drawn.
    level
        Of the interval.

    Notes
    -----
    Kish's :math:`n_e = (\sum w)^2 / \sum w^2 = n \bar w^2 / \overline{w^2}`, with the delta method on its logarithm.

    References
    ----------
    Kish, L. (1965). Survey Sampling, section 11.7.

    Raises
    ------
    ValueError
        Where a weight is negative or not finite.

    Examples
    --------
    >>> print(kish_size([1.0] * 50))
    50 [50, 50] 0.95 n=50 Kish, delta on the log
    """
    w = np.asarray(weights, np.float64)
    if w.ndim != 1 or np.any(~np.isfinite(w)) or np.any(w < 0):
        raise ValueError("weights must be a vector of finite numbers that are not negative")
    n, method = len(w), "Kish, delta on the log"
    if n < 2 or w.sum() == 0:
        return _undefined("fewer than two documents carry weight", n, level, method)
    w = w / w.mean()
    value = n / float(np.mean(w**2))
    # Influence of a document on log(mean² / mean of squares), at mean 1.
    influence = 2 * (w - 1) - (w**2 / np.mean(w**2) - 1)
    se = float(np.std(influence, ddof=1)) / math.sqrt(n)
    half = float(sps.norm.isf((1 - level) / 2)) * se
    return Interval(value=value, low=value * math.exp(-half), high=min(value * math.exp(half), float(n)), level=level,
                    n=n, method=method)  # fmt: skip


def effective_documents(cluster: npt.ArrayLike, *, order: int = 2, level: float = 0.95) -> Interval:
    r"""Effective number of different documents, from clusters of copies.

    Parameters
    ----------
    cluster
        Cluster of each document, shape (n,); a document of its own is a cluster of one.
    order
        Of the Hill number: 2 (inverse Simpson) or 1 (exponential of the entropy), which counts small clusters more.
    level
        Of the interval.

    Returns
    -------
    Interval
        ``n_clusters`` is the number of clusters.

    Notes
    -----
    With :math:`s_i` the size of document i's own cluster, the Hill number of order 2 is :math:`n / \bar s` and that of order
    1 is :math:`n / \exp(\overline{\ln s})`. The mean's cluster-robust interval is carried over.

    References
    ----------
    Hill, M. O. (1973). Diversity and evenness. Ecology 54, 427–432.

    Raises
    ------
    ValueError
        Where the order is neither 1 nor 2.

    Examples
    --------
    >>> effective_documents([0, 0, 1, 2]).value, round(effective_documents([0, 0, 1, 2], order=1).value, 4)
    (2.6666666666666665, 2.8284)
    """
    if order not in (1, 2):
        raise ValueError(f"order must be 1 or 2, got {order!r}")
    label = np.asarray(cluster)
    n, method = len(label), f"Hill number of order {order}"
    if n < 2:
        return _undefined("there are fewer than two documents", n, level, method)
    _, codes, sizes = np.unique(label, return_inverse=True, return_counts=True)
    own = sizes[codes.reshape(-1)].astype(np.float64)
    seen = clustered_mean(np.log(own) if order == 1 else own, codes.reshape(-1), level=level)

    def number(x: float | None, floor: float) -> float | None:
        return None if x is None else n / (math.exp(max(x, 0.0)) if order == 1 else max(x, floor))

    value = number(seen.value, 1.0)
    return Interval(value=value, low=number(seen.high, 1.0), high=number(seen.low, 1.0), level=level, n=n,
                    n_clusters=len(sizes), method=f"{method}, {seen.method}", reason=seen.reason)  # fmt: skip


def variety(name: str, blocks: Blocks, *, orders: Sequence[int] = (1, 2, 3), level: float = 0.95) -> VarietyLine:
    """Distinct n-grams and compression of blocks of one size.

    Parameters
    ----------
    name
        The group.
    blocks
        Its texts, in blocks of as many words.
    orders
        Lengths of the n-grams.
    level
        Of the intervals.
    """
    if len(blocks.words) == 0:
        reason = f"the sample holds fewer than {blocks.size:,} words of it"
        nothing = _undefined(reason, blocks.n_documents, level, "t")
        return VarietyLine(name=name, distinct=dict.fromkeys(orders, nothing), compression=nothing,
                           n_documents=blocks.n_documents)  # fmt: skip
    distinct = {
        order: mean([_distinct(words, order) for words in blocks.words], level=level) for order in orders
    }  # fmt: skip
    packed = [len(raw) / len(zlib.compress(raw, 6)) for raw in blocks.raw]
    return VarietyLine(
        name=name, distinct=distinct, compression=mean(packed, level=level), n_documents=blocks.n_documents
    )


def _distinct(words: NDArray[np.uint64], order: int) -> float:
    keys = words[: len(words) - order + 1].copy()
    for step in range(1, order):
        keys = keys * np.uint64(0x9E3779B97F4A7C15) + words[step : len(words) - order + 1 + step]
        keys ^= keys >> np.uint64(29)
    return len(np.unique(keys)) / len(keys)


def _undefined(reason: str, n: int, level: float, method: str) -> Interval:
    return Interval(value=None, low=None, high=None, level=level, n=n, method=method, reason=reason)
