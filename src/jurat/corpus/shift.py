"""How far do documents lie from a reference? Categories, numbers and words, each distance with its interval and a test.

A distance between two samples is never zero by chance alone. Bootstrapped distances are corrected for that bias, and each
comes with a test of no difference; read the size first, for with many documents every difference is significant.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray
from scipy import sparse, special
from scipy import stats as sps

from jurat.stats.compare import difference_of_proportions
from jurat.stats.multiplicity import benjamini_yekutieli
from jurat.stats.result import Interval, Test
from jurat.text.column import TextColumn
from jurat.text.words import hash_words, word_end

__all__ = [
    "CategoryShift",
    "NumberShift",
    "WordLine",
    "WordShift",
    "category_shift",
    "jensen_shannon",
    "number_shift",
    "population_stability",
    "word_shift",
]

_REPLICATES = 400
_MOST_VALUES = 10_000
_LISTED = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryShift:
    """Two distributions over categories.

    Attributes
    ----------
    name
        The column.
    jensen_shannon
        Divergence in bits, from 0 (alike) to 1 (no category in common).
    population_stability
        Population stability index.
    test
        Chi-squared test of one distribution; ``None`` where there is but one category.
    shares
        The categories that differ most: name, share here, share in the reference, difference.
    """

    name: str
    jensen_shannon: Interval
    population_stability: Interval
    test: Test | None
    shares: list[tuple[str, float, float, Interval]]


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberShift:
    """Two distributions of a number.

    Attributes
    ----------
    name
        The number.
    kolmogorov_smirnov
        Largest distance of the distribution functions.
    wasserstein
        Mean distance that values would have to move, in standard deviations of the reference.
    test
        Kolmogorov–Smirnov test.
    medians
        Here and in the reference; ``None`` where there is no value.
    """

    name: str
    kolmogorov_smirnov: Interval
    wasserstein: Interval
    test: Test | None
    medians: tuple[float | None, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class WordLine:
    """A word that stands in more, or fewer, documents than in the reference.

    Attributes
    ----------
    word
        The word.
    share, reference_share
        Documents that hold it.
    difference
        Of the two, with its interval.
    p_value
        Adjusted by Benjamini and Yekutieli over all words.
    """

    word: str
    share: float
    reference_share: float
    difference: Interval
    p_value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WordShift:
    """Words here against words there.

    Attributes
    ----------
    jensen_shannon
        Divergence of the two distributions of words over documents, resampled by documents.
    more, fewer
        Words with the largest significant differences.
    n_words
        Words compared: those in at least ten documents.
    """

    jensen_shannon: Interval
    more: list[WordLine]
    fewer: list[WordLine]
    n_words: int


def jensen_shannon(first: npt.ArrayLike, second: npt.ArrayLike) -> NDArray[np.float64]:
    r"""Jensen–Shannon divergence of counts, in bits.

    Parameters
    ----------
    first, second
        Counts, shape ``(..., categories)``.

    Notes
    -----
    :math:`H(\frac{p+q}{2}) - \frac{H(p) + H(q)}{2}`.

    References
    ----------
    Lin, J. (1991). IEEE Transactions on Information Theory 37, 145–151.

    Examples
    --------
    >>> round(float(jensen_shannon([5, 5, 0], [0, 0, 3])), 9), float(jensen_shannon([1, 3], [2, 6]))
    (1.0, 0.0)
    """
    p, q = _shares(first), _shares(second)
    middle = (p + q) / 2
    found = special.entr(middle).sum(-1) - (special.entr(p).sum(-1) + special.entr(q).sum(-1)) / 2
    return np.asarray(np.clip(found / math.log(2), 0.0, 1.0), np.float64)


def population_stability(first: npt.ArrayLike, second: npt.ArrayLike) -> NDArray[np.float64]:
    r"""Population stability index of counts, each with one half added so that an empty category is no infinity.

    Parameters
    ----------
    first, second
        Counts, shape ``(..., categories)``.

    Notes
    -----
    :math:`\sum_k (p_k - q_k) \ln (p_k / q_k)`; the custom of credit scoring calls .1 small and .25 large.

    References
    ----------
    Yurdakul, B. and Naranjo, J. (2020). Journal of Risk Model Validation 14, 89–100.

    Examples
    --------
    >>> round(float(population_stability([100, 100], [100, 100])), 6), round(float(population_stability([90, 10], [50, 50])), 2)
    (0.0, 0.85)
    """
    p, q = _shares(np.asarray(first) + 0.5), _shares(np.asarray(second) + 0.5)
    return np.asarray(((p - q) * np.log(p / q)).sum(-1))


def _shares(counts: npt.ArrayLike) -> NDArray[np.float64]:
    counts = np.asarray(counts, np.float64)
    return np.asarray(counts / np.maximum(counts.sum(-1, keepdims=True), 1e-300), np.float64)


def category_shift(
    name: str, first: Mapping[str, int], second: Mapping[str, int], *, rng: np.random.Generator, level: float = 0.95
) -> CategoryShift:
    """Compare two distributions over categories.

    Parameters
    ----------
    name
        The column.
    first, second
        Documents by category, here and in the reference.
    rng, level
        Of the bootstrap.

    Notes
    -----
    Multinomial bootstrap of both sides. The plug-in distance is too large by its bias, which the bootstrap repeats on top, so
    the value loses the bias once and the percentile bounds twice; neither goes below zero.
    """
    names = sorted({*first, *second})
    a = np.array([first.get(k, 0) for k in names], np.int64)
    b = np.array([second.get(k, 0) for k in names], np.int64)
    n = int(a.sum() + b.sum())
    if a.sum() == 0 or b.sum() == 0:
        nothing = _undefined("one side holds no document", n, level)
        return CategoryShift(name=name, jensen_shannon=nothing, population_stability=nothing, test=None, shares=[])
    drawn_a, drawn_b = (rng.multinomial(c.sum(), _shares(c), _REPLICATES) for c in (a, b))
    intervals = [
        _debiased(float(measure(a, b)), np.asarray(measure(drawn_a, drawn_b)), n=n, level=level)
        for measure in (jensen_shannon, population_stability)
    ]
    test = None
    if len(names) > 1:
        found = sps.chi2_contingency(np.stack([a, b]), correction=False)
        test = Test(statistic=float(found.statistic), p_value=float(found.pvalue), alternative="two-sided", n=n,
                    method="chi-squared of homogeneity", df=float(found.dof))  # fmt: skip
    lines = []
    order = np.argsort(-np.abs(_shares(a) - _shares(b)), kind="stable")
    for k in order[:_LISTED]:
        x, y = int(a[k]), int(b[k])
        between = difference_of_proportions(x, int(a.sum()), y, int(b.sum()), level=level)
        lines.append((names[k], x / int(a.sum()), y / int(b.sum()), between))
    return CategoryShift(
        name=name, jensen_shannon=intervals[0], population_stability=intervals[1], test=test, shares=lines
    )


def number_shift(
    name: str,
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
) -> NumberShift:
    r"""Compare two distributions of a number.

    Parameters
    ----------
    name
        The number.
    first, second
        Values, here and in the reference; those that are not finite are left out, and of more than 10,000 a random part stands
        for all.
    rng, level
        Of the draws.

    Notes
    -----
    The interval of the largest distance :math:`D` is :math:`D \pm (\epsilon_n + \epsilon_m)` with
    :math:`\epsilon_n = \sqrt{\ln(4/\alpha) / 2n}`, half of :math:`\alpha` for each side: it holds at every n (Dvoretzky,
    Kiefer and Wolfowitz with Massart's constant).

    References
    ----------
    Massart, P. (1990). Annals of Probability 18, 1269–1283.
    """
    x, y = (_some(v, rng) for v in (first, second))
    n = len(x) + len(y)
    if min(len(x), len(y)) < 2:
        nothing = _undefined("one side holds fewer than two values", n, level)
        return NumberShift(name=name, kolmogorov_smirnov=nothing, wasserstein=nothing, test=None, medians=(None, None))
    found = sps.ks_2samp(x, y, method="asymp")
    slack = sum(math.sqrt(math.log(4 / (1 - level)) / (2 * len(v))) for v in (x, y))
    d = float(found.statistic)
    scale = float(np.std(y, ddof=1))
    if scale == 0.0:
        moved = _undefined("the reference does not vary", n, level)
    else:
        drawn = [
            sps.wasserstein_distance(rng.choice(x, len(x)), rng.choice(y, len(y))) / scale
            for _ in range(_REPLICATES // 2)
        ]
        moved = _debiased(float(sps.wasserstein_distance(x, y)) / scale, np.array(drawn), n=n, level=level)
    return NumberShift(
        name=name,
        kolmogorov_smirnov=Interval(value=d, low=max(d - slack, 0.0), high=min(d + slack, 1.0), level=level, n=n,
                                    method="Dvoretzky–Kiefer–Wolfowitz"),
        wasserstein=moved,
        test=Test(statistic=d, p_value=float(min(max(found.pvalue, 0.0), 1.0)), alternative="two-sided", n=n,
                  method="Kolmogorov–Smirnov, two samples"),
        medians=(float(np.median(x)), float(np.median(y))),
    )  # fmt: skip


def _some(values: npt.ArrayLike, rng: np.random.Generator) -> NDArray[np.float64]:
    found = np.asarray(values, np.float64)
    found = found[np.isfinite(found)]
    return found if len(found) <= _MOST_VALUES else rng.choice(found, _MOST_VALUES, replace=False)


def word_shift(
    first: Sequence[str], second: Sequence[str], *, rng: np.random.Generator, level: float = 0.95, least: int = 10
) -> WordShift:
    """Compare the words of two samples of texts, by the documents that hold them.

    Parameters
    ----------
    first, second
        Texts, here and of the reference.
    rng, level
        Of the bootstrap, which draws documents.
    least
        Documents of both sides together that a word must stand in.
    """
    if not first or not second:
        return WordShift(jensen_shannon=_undefined("one side holds no text", len(first) + len(second), level),
                         more=[], fewer=[], n_words=0)  # fmt: skip
    texts = [*first, *second]
    words = hash_words(TextColumn.of(texts))
    keys, at, codes = np.unique(words.hashes, return_index=True, return_inverse=True)
    document = np.repeat(np.arange(len(texts)), words.counts())
    holds = sparse.csr_matrix((np.ones(len(codes)), (document, codes)), shape=(len(texts), len(keys)))
    holds.data[:] = 1.0
    common = np.flatnonzero(np.asarray(holds.sum(0)).ravel() >= least)
    holds = holds[:, common].tocsr()
    a, b = holds[: len(first)], holds[len(first) :]
    x, y = (np.asarray(side.sum(0)).ravel() for side in (a, b))
    if x.sum() == 0 or y.sum() == 0:
        nothing = _undefined(f"no word stands in {least} documents", len(texts), level)
        return WordShift(jensen_shannon=nothing, more=[], fewer=[], n_words=0)
    drawn = [_drawn(side, rng) for side in (a, b)]
    whole = _debiased(float(jensen_shannon(x, y)), np.asarray(jensen_shannon(*drawn)), n=len(texts), level=level)
    shares = x / len(first), y / len(second)
    pooled = (x + y) / len(texts)
    se = np.sqrt(np.maximum(pooled * (1 - pooled), 1e-12) * (1 / len(first) + 1 / len(second)))
    adjusted = np.asarray(benjamini_yekutieli(2 * sps.norm.sf(np.abs(shares[0] - shares[1]) / se)).adjusted)
    difference = shares[0] - shares[1]

    def line(k: int) -> WordLine:
        return WordLine(
            word=_word_at(texts, words.offsets, words.starts, int(at[common[k]])),
            share=float(shares[0][k]),
            reference_share=float(shares[1][k]),
            difference=difference_of_proportions(int(x[k]), len(first), int(y[k]), len(second), level=level),
            p_value=float(adjusted[k]),
        )

    def most(sign: int) -> list[WordLine]:
        order = np.argsort(-sign * difference, kind="stable")[:_LISTED]
        return [line(int(k)) for k in order if sign * difference[k] > 0 and adjusted[k] < 1 - level]

    return WordShift(jensen_shannon=whole, more=most(1), fewer=most(-1), n_words=len(common))


def _drawn(side: sparse.csr_matrix, rng: np.random.Generator) -> NDArray[np.float64]:
    """Counts of words in bootstrap samples of documents."""
    n = side.shape[0]
    times = rng.multinomial(n, np.full(n, 1 / n), _REPLICATES // 2)
    return np.asarray((side.T @ times.T).T)


def _word_at(texts: Sequence[str], offsets: NDArray[np.int64], starts: NDArray[np.int32], place: int) -> str:
    document = int(np.searchsorted(offsets, place, side="right")) - 1
    column = TextColumn.of([texts[document]])
    start = int(starts[place])
    return bytes(column.document(0)[start : word_end(column.document(0), start)]).decode("utf-8", "ignore").lower()


def _debiased(value: float, drawn: NDArray[np.float64], *, n: int, level: float) -> Interval:
    """Value and percentile bounds of a distance, less what it shows by chance alone."""
    bias = float(drawn.mean()) - value
    low, high = (float(q) for q in np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2]))
    low, high = max(low - 2 * bias, 0.0), max(high - 2 * bias, 0.0)
    return Interval(value=max(value - bias, 0.0), low=low, high=max(high, low), level=level, n=n,
                    method="bootstrap, percentile less bias")  # fmt: skip


def _undefined(reason: str, n: int, level: float) -> Interval:
    return Interval(
        value=None, low=None, high=None, level=level, n=n, method="bootstrap, percentile less bias", reason=reason
    )
