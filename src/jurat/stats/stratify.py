r"""Does a difference hold within the strata, and how much of it is only their mix?

Two groups that hold different strata can differ as wholes and agree in every part (Simpson, 1951). Three answers are given:
one odds ratio common to all strata (Mantel and Haenszel, 1959), with the test whether there is one at all (Breslow and Day,
1980); the difference at one common mix (direct standardisation); and what part of the crude difference is mix and what part
is rate (Kitagawa, 1955). Units are independent here; for clusters see `jurat.experiments.simpson`, which takes the same
functions of per-cluster sums.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import stats as sps

from jurat.stats.interval import proportion, tail_probability
from jurat.stats.moments import Functional, Key, Moments, MomentTable, functional_interval, smooth
from jurat.stats.mover import mover_difference
from jurat.stats.result import Interval, Test

__all__ = [
    "Kitagawa",
    "MantelHaenszel",
    "Standardised",
    "breslow_day",
    "kitagawa",
    "kitagawa_parts",
    "mantel_haenszel",
    "mantel_haenszel_odds_ratio",
    "standardised_difference",
]

Floats = npt.NDArray[np.float64]
Weights = Literal["pooled", "first", "second"]


@dataclass(frozen=True, slots=True)
class _Tables:
    """One 2 × 2 table per stratum: successes and failures of the first group, of the second."""

    a: Floats
    b: Floats
    c: Floats
    d: Floats

    @property
    def total(self) -> Floats:
        return self.a + self.b + self.c + self.d


def _tables(
    successes_1: npt.ArrayLike, n_1: npt.ArrayLike, successes_2: npt.ArrayLike, n_2: npt.ArrayLike
) -> _Tables:
    k1, n1, k2, n2 = (np.asarray(x, dtype=np.float64) for x in (successes_1, n_1, successes_2, n_2))
    if k1.ndim != 1 or not k1.shape == n1.shape == k2.shape == n2.shape:
        raise ValueError(f"need vectors of one length, got shapes {k1.shape}, {n1.shape}, {k2.shape} and {n2.shape}")
    for successes, n in ((k1, n1), (k2, n2)):
        possible = np.isfinite(n) & (successes >= 0) & (successes <= n) & (successes == np.round(successes))
        possible &= n == np.round(n)
        if not np.all(possible):
            k = int(np.argmin(possible))
            raise ValueError(
                f"need whole numbers 0 <= successes <= n, got {successes[k]:g} of {n[k]:g} in stratum {k}"
            )
    return _Tables(k1, n1 - k1, k2, n2 - k2)


def _with_both(tables: _Tables) -> _Tables:
    """Leave out strata that one group lacks: they say nothing about a difference."""
    kept = (tables.a + tables.b > 0) & (tables.c + tables.d > 0)
    return _Tables(*(x[kept] for x in (tables.a, tables.b, tables.c, tables.d)))


@dataclass(frozen=True, slots=True, kw_only=True)
class MantelHaenszel:
    """Two groups compared within strata.

    Attributes
    ----------
    odds_ratio
        Common odds ratio, first group against second.
    risk_difference
        Common difference of the shares, first minus second.
    test
        Test of no association in any stratum, without continuity correction.
    corrected
        The same with continuity correction, which keeps to its level in small tables.
    """

    odds_ratio: Interval
    risk_difference: Interval
    test: Test
    corrected: Test


def mantel_haenszel(
    successes_1: npt.ArrayLike,
    n_1: npt.ArrayLike,
    successes_2: npt.ArrayLike,
    n_2: npt.ArrayLike,
    *,
    level: float = 0.95,
) -> MantelHaenszel:
    r"""Odds ratio and risk difference common to all strata, and the test that there is none.

    Parameters
    ----------
    successes_1, n_1, successes_2, n_2
        Counts of the two groups per stratum, each of shape (strata,). A stratum that one group lacks is left out.
    level
        Two-sided coverage.

    Returns
    -------
    MantelHaenszel
        An estimate is ``None`` with a reason where no stratum holds both groups, or where the odds ratio has no finite
        value; a p-value is then 1.

    Raises
    ------
    ValueError
        For counts that are impossible or of different lengths.

    Notes
    -----
    With cells a, b (first group), c, d (second) and N of each stratum, :math:`R = ad/N`, :math:`S = bc/N`:

    .. math::
        \widehat{OR} = \frac{\sum R}{\sum S}, \qquad
        \operatorname{var}(\ln \widehat{OR}) = \frac{\sum PR}{2(\sum R)^2}
        + \frac{\sum (PS + QR)}{2 \sum R \sum S} + \frac{\sum QS}{2(\sum S)^2},

    with :math:`P = (a+d)/N`, :math:`Q = (b+c)/N` (Robins, Breslow and Greenland). The risk difference is
    :math:`\hat\delta = \sum (a n_2 - c n_1)/N / W` with :math:`W = \sum n_1 n_2/N` and Sato's variance
    :math:`(\hat\delta \sum [c n_1^2 - a n_2^2 + n_1 n_2 (n_2 - n_1)/2]/N^2 + \sum [a d + c b]/2N) / W^2`. Both variances
    hold for a few large strata and for many small ones. The test is
    :math:`\chi^2 = (|\sum a - E| - h)^2 / \sum V` with the hypergeometric mean and variance, h = 0 or 1/2.

    References
    ----------
    Mantel, N. and Haenszel, W. (1959). JNCI 22, 719–748. Robins, J., Breslow, N. and Greenland, S. (1986). Biometrics 42,
    311–323. Sato, T. (1989). On the variance estimator for the Mantel–Haenszel risk difference. Biometrics 45, 1323–1324.

    Examples
    --------
    Admissions at Berkeley, 1973: men against women in six departments.

    >>> men = [512, 353, 120, 138, 53, 22], [825, 560, 325, 417, 191, 373]
    >>> women = [89, 17, 202, 131, 94, 24], [108, 25, 593, 375, 393, 341]
    >>> print(mantel_haenszel(*men, *women).odds_ratio)
    0.9047 [0.7719, 1.06] 0.95 n=4526 Mantel–Haenszel
    """
    tail_probability(level)
    tables = _with_both(_tables(successes_1, n_1, successes_2, n_2))
    units = int(tables.total.sum())
    return MantelHaenszel(
        odds_ratio=_odds_ratio(tables, level, units),
        risk_difference=_risk_difference(tables, level, units),
        test=_association(tables, units, 0.0),
        corrected=_association(tables, units, 0.5),
    )


def _odds_ratio(t: _Tables, level: float, units: int) -> Interval:
    name, total = "Mantel–Haenszel", t.total
    r, s = t.a * t.d / total, t.b * t.c / total
    p, q = (t.a + t.d) / total, (t.b + t.c) / total
    above, below = float(r.sum()), float(s.sum())
    if above == 0 or below == 0:
        reason = "no stratum holds both groups" if units == 0 else "no stratum tells the odds apart"
        value = None
        if below > 0:
            value, reason = 0.0, "an odds ratio of 0 has no standard error on the log scale"
        elif above > 0:
            reason = "the odds ratio has no finite value: its denominator is 0 in every stratum"
        return Interval(value=value, low=None, high=None, level=level, n=units, method=name, reason=reason)
    variance = (
        float(p @ r) / (2 * above**2) + float(p @ s + q @ r) / (2 * above * below) + float(q @ s) / (2 * below**2)
    )
    half, value = float(sps.norm.isf(tail_probability(level))) * math.sqrt(variance), above / below
    return Interval(
        value=value, low=value * math.exp(-half), high=value * math.exp(half), level=level, n=units, method=name
    )


def _risk_difference(t: _Tables, level: float, units: int) -> Interval:
    name = "Mantel–Haenszel, Sato"
    if units == 0:
        reason = "no stratum holds both groups"
        return Interval(value=None, low=None, high=None, level=level, n=0, method=name, reason=reason)
    n1, n2, total = t.a + t.b, t.c + t.d, t.total
    weight = float((n1 * n2 / total).sum())
    value = float(((t.a * n2 - t.c * n1) / total).sum()) / weight
    first = float(((t.c * n1**2 - t.a * n2**2 + n1 * n2 * (n2 - n1) / 2) / total**2).sum())
    second = float(((t.a * t.d + t.c * t.b) / (2 * total)).sum())
    variance = (value * first + second) / weight**2
    if variance <= 0:
        reason = "within every stratum all units are alike: the sample shows no spread"
        return Interval(value=value, low=None, high=None, level=level, n=units, method=name, reason=reason)
    half = float(sps.norm.isf(tail_probability(level))) * math.sqrt(variance)
    return Interval(
        value=value, low=max(value - half, -1.0), high=min(value + half, 1.0), level=level, n=units, method=name,
        se=math.sqrt(variance),
    )  # fmt: skip


def _association(t: _Tables, units: int, correction: float) -> Test:
    name = "Mantel–Haenszel" + (", continuity-corrected" if correction else "")
    total = t.total
    # A stratum of one unit has a fixed table: no expectation can miss it.
    n1, n2, hits, misses = t.a + t.b, t.c + t.d, t.a + t.c, t.b + t.d
    variance = float((n1 * n2 * hits * misses / (total**2 * np.maximum(total - 1, 1))).sum())
    if variance == 0:
        return Test(statistic=None, p_value=1.0, alternative="two-sided", n=units, method=name, df=1.0)
    gap = abs(float((t.a - n1 * hits / total).sum()))
    statistic = (gap - min(correction, gap)) ** 2 / variance
    return Test(
        statistic=statistic,
        p_value=float(sps.chi2.sf(statistic, 1)),
        alternative="two-sided",
        n=units,
        method=name,
        df=1.0,
    )


def mantel_haenszel_odds_ratio(hits_1: Any, n_1: Any, hits_2: Any, n_2: Any) -> Any:
    """Mantel–Haenszel odds ratio from arrays of shape (strata,); works on complex numbers, for gradients.

    Parameters
    ----------
    hits_1, n_1, hits_2, n_2
        Counts (or means per cluster) of the two groups.

    Returns
    -------
    complex or float
        The bare value, for `jurat.stats.moments.smooth`; `mantel_haenszel` gives the interval.

    Examples
    --------
    >>> x = np.array([30.0, 10.0]), np.array([40.0, 40.0]), np.array([20.0, 5.0]), np.array([40.0, 40.0])
    >>> round(float(mantel_haenszel_odds_ratio(*x)), 4)
    2.7143
    """
    total = n_1 + n_2
    return (hits_1 * (n_2 - hits_2) / total).sum() / (hits_2 * (n_1 - hits_1) / total).sum()


def breslow_day(
    successes_1: npt.ArrayLike,
    n_1: npt.ArrayLike,
    successes_2: npt.ArrayLike,
    n_2: npt.ArrayLike,
    *,
    tarone: bool = True,
) -> Test:
    r"""Test whether the odds ratio is the same in all strata.

    Parameters
    ----------
    successes_1, n_1, successes_2, n_2
        As in `mantel_haenszel`.
    tarone
        Whether to take off Tarone's term, without which the statistic is too large: it is not chi-squared, because the
        Mantel–Haenszel odds ratio is not the most efficient one.

    Returns
    -------
    Test
        With one degree of freedom less than there are strata with both groups and both outcomes; p is 1, without a
        statistic, where there is only one such stratum, or no finite common odds ratio above 0.

    Raises
    ------
    ValueError
        For counts that are impossible or of different lengths.

    Notes
    -----
    :math:`\sum (a - \hat a)^2 / \operatorname{var}(a)` with :math:`\hat a` the root of
    :math:`\hat a (n_2 - m + \hat a) = \widehat{OR} (n_1 - \hat a)(m - \hat a)`, m the successes of the stratum, and
    :math:`\operatorname{var}(a) = (1/\hat a + 1/\hat b + 1/\hat c + 1/\hat d)^{-1}`; Tarone's term is
    :math:`(\sum a - \hat a)^2 / \sum \operatorname{var}(a)`.

    References
    ----------
    Breslow, N. E. and Day, N. E. (1980). Statistical Methods in Cancer Research I, section 4.4. Tarone, R. E. (1985). On
    heterogeneity tests based on efficient scores. Biometrika 72, 91–95.

    Examples
    --------
    >>> test = breslow_day([30, 10, 12], [40, 40, 50], [20, 5, 30], [40, 40, 50])
    >>> round(test.statistic, 3), test.df, round(test.p_value, 5)
    (16.966, 2.0, 0.00021)
    """
    tables = _with_both(_tables(successes_1, n_1, successes_2, n_2))
    units, name = int(tables.total.sum()), "Breslow–Day" + (", Tarone" if tarone else "")
    both = (tables.a + tables.c > 0) & (tables.b + tables.d > 0)
    kept = _Tables(*(x[both] for x in (tables.a, tables.b, tables.c, tables.d)))
    common = _odds_ratio(kept, 0.95, units).value
    if len(kept.a) < 2 or not common:
        return Test(statistic=None, p_value=1.0, alternative="two-sided", n=units, method=name)
    gap, variance = _fitted(kept, common)
    statistic = float((gap**2 / variance).sum())
    if tarone:
        statistic = max(statistic - float(gap.sum()) ** 2 / float(variance.sum()), 0.0)
    df = len(kept.a) - 1.0
    return Test(
        statistic=statistic,
        p_value=float(sps.chi2.sf(statistic, df)),
        alternative="two-sided",
        n=units,
        method=name,
        df=df,
    )


def _fitted(t: _Tables, common: float) -> tuple[Floats, Floats]:
    """Observed less expected successes of the first group under a common odds ratio, and the variance, per stratum."""
    n1, n2, hits = t.a + t.b, t.c + t.d, t.a + t.c
    # (1 - OR) x² + (n2 - hits + OR (n1 + hits)) x - OR n1 hits = 0, by the root's form that never cancels.
    square, linear, constant = 1 - common, n2 - hits + common * (n1 + hits), -common * n1 * hits
    root = np.sqrt(np.maximum(linear**2 - 4 * square * constant, 0.0))
    expected = -2 * constant / (linear + root)
    cells = (expected, n1 - expected, hits - expected, n2 - hits + expected)
    return t.a - expected, 1 / sum(1 / cell for cell in cells)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standardised:
    """Two groups at one common mix of strata.

    Attributes
    ----------
    first, second
        Each group's share at the common mix.
    difference
        First minus second.
    weights
        The mix, shape (strata,), adding up to 1.
    """

    first: Interval
    second: Interval
    difference: Interval
    weights: tuple[float, ...]


def standardised_difference(
    successes_1: npt.ArrayLike,
    n_1: npt.ArrayLike,
    successes_2: npt.ArrayLike,
    n_2: npt.ArrayLike,
    *,
    weights: Weights | Sequence[float] = "pooled",
    level: float = 0.95,
) -> Standardised:
    r"""Difference of two shares had both groups the same mix of strata.

    Parameters
    ----------
    successes_1, n_1, successes_2, n_2
        Counts of the two groups per stratum, each of shape (strata,).
    weights
        The common mix: that of both groups together (``"pooled"``), of one of them (``"first"``, ``"second"``: the
        difference for the units of that group), or a weight per stratum, not negative, which is scaled to add up to 1.
    level
        Two-sided coverage.

    Returns
    -------
    Standardised
        Undefined with a reason where a stratum of positive weight lacks a group: a mix cannot be compared where one side
        was never seen.

    Raises
    ------
    ValueError
        For impossible counts or weights.

    Notes
    -----
    :math:`\sum_k w_k (p_{1k} - p_{2k})`. The interval combines Wilson's of the strata by MOVER,
    :math:`L = \hat\theta - \sqrt{\sum_k w_k^2 [(p_{1k} - l_{1k})^2 + (u_{2k} - p_{2k})^2]}`, so that a stratum without events
    keeps its uncertainty. The weights are taken as given: sampling error of the mix itself is not in it.

    References
    ----------
    Zou, G. Y. and Donner, A. (2008). Statistics in Medicine 27, 1693–1702. Miettinen, O. S. (1972). Standardization of risk
    ratios. American Journal of Epidemiology 96, 383–388.

    Examples
    --------
    >>> men = [512, 353, 120, 138, 53, 22], [825, 560, 325, 417, 191, 373]
    >>> women = [89, 17, 202, 131, 94, 24], [108, 25, 593, 375, 393, 341]
    >>> found = standardised_difference(*men, *women)
    >>> round(found.first.value, 4), round(found.second.value, 4), round(found.difference.value, 4)
    (0.3873, 0.43, -0.0426)
    """
    tables = _tables(successes_1, n_1, successes_2, n_2)
    n1, n2 = tables.a + tables.b, tables.c + tables.d
    mix = _mix(weights, n1, n2)
    first, second = _at_mix(tables.a, n1, mix, level), _at_mix(tables.c, n2, mix, level)
    found = mover_difference(first, second)
    return Standardised(
        first=first,
        second=second,
        difference=Interval(
            value=found.value, low=found.low, high=found.high, level=level, n=found.n,
            method="direct standardisation, MOVER of Wilson", reason=found.reason,
        ),
        weights=tuple(float(w) for w in mix),
    )  # fmt: skip


def _mix(weights: Weights | Sequence[float], n1: Floats, n2: Floats) -> Floats:
    if isinstance(weights, str):
        sizes = {"pooled": n1 + n2, "first": n1, "second": n2}
        if weights not in sizes:
            raise ValueError(f"weights must be 'pooled', 'first', 'second' or one per stratum, got {weights!r}")
        mix = sizes[weights]
    else:
        mix = np.asarray(weights, dtype=np.float64)
        if mix.shape != n1.shape or not np.all(np.isfinite(mix)) or np.any(mix < 0):
            raise ValueError(f"need one finite weight of at least 0 for each of {len(n1)} strata, got {weights!r}")
    total = float(mix.sum())
    if total <= 0:
        raise ValueError(f"the weights must add up to more than 0, got {mix.tolist()!r}")
    scaled: Floats = mix / total
    return scaled


def _at_mix(successes: Floats, n: Floats, mix: Floats, level: float) -> Interval:
    """Weighted mean of shares, Wilson's intervals combined by their squared reaches."""
    name, units = "direct standardisation, MOVER of Wilson", int(n.sum())
    if np.any((n == 0) & (mix > 0)):
        stratum = int(np.argmax((n == 0) & (mix > 0)))
        reason = f"a group has no units in stratum {stratum}, which has weight {mix[stratum]:.3g}"
        return Interval(value=None, low=None, high=None, level=level, n=units, method=name, reason=reason)
    value = below = above = 0.0
    for k, m, w in zip(successes, n, mix, strict=True):
        if w == 0:
            continue
        part = proportion(int(k), int(m), level=level)
        assert part.value is not None and part.low is not None and part.high is not None  # noqa: S101 - m > 0
        value += w * part.value
        below += (w * (part.value - part.low)) ** 2
        above += (w * (part.high - part.value)) ** 2
    return Interval(
        value=value, low=value - math.sqrt(below), high=value + math.sqrt(above), level=level, n=units, method=name
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Kitagawa:
    """A crude difference and its two parts.

    Attributes
    ----------
    crude
        First minus second, as they are.
    mix
        What the groups' different strata make of it.
    rate
        What differs within strata; ``mix`` and ``rate`` add up to ``crude``.
    """

    crude: Interval
    mix: Interval
    rate: Interval


def kitagawa(
    successes_1: npt.ArrayLike,
    n_1: npt.ArrayLike,
    successes_2: npt.ArrayLike,
    n_2: npt.ArrayLike,
    *,
    level: float = 0.95,
) -> Kitagawa:
    r"""Split a difference of two shares into mix and rate.

    Parameters
    ----------
    successes_1, n_1, successes_2, n_2
        Counts of the two groups per stratum, each of shape (strata,), no stratum without units of either group.
    level
        Two-sided coverage.

    Returns
    -------
    Kitagawa
        Bounds are ``None`` with a reason where a group has one unit or shows no spread.

    Raises
    ------
    ValueError
        For impossible counts, or a stratum that a group lacks: it has no rate to compare.

    Notes
    -----
    With shares of strata :math:`w_{gk}` and rates :math:`p_{gk}`:
    :math:`\text{mix} = \sum_k \tfrac{p_{1k} + p_{2k}}{2} (w_{1k} - w_{2k})` and
    :math:`\text{rate} = \sum_k \tfrac{w_{1k} + w_{2k}}{2} (p_{1k} - p_{2k})`. Intervals by the delta method on the
    multinomial counts of (stratum, outcome), so the mix is random too; t with Satterthwaite's degrees of freedom.

    References
    ----------
    Kitagawa, E. M. (1955). Components of a difference between two rates. JASA 50, 1168–1194.

    Examples
    --------
    >>> parts = kitagawa([80, 10], [100, 100], [45, 15], [50, 150])
    >>> round(parts.crude.value, 3), round(parts.mix.value, 3), round(parts.rate.value, 3)
    (0.15, 0.188, -0.038)
    """
    t = _tables(successes_1, n_1, successes_2, n_2)
    sizes = np.array([t.a + t.b, t.c + t.d])
    if sizes.size == 0 or np.any(sizes == 0):
        seen = "no strata" if sizes.size == 0 else f"{sizes.astype(int).tolist()} units"
        raise ValueError(f"every stratum needs units of both groups, got {seen}; leave the others out and say so")
    strata, arms = sizes.shape[1], ("first", "second")
    groups = {"first": _multinomial(t.a, sizes[0]), "second": _multinomial(t.c, sizes[1])}
    table = MomentTable(groups=groups, arms=arms)
    keys: list[Key] = [(arm, f"{name}{k}") for arm in arms for name in "sd" for k in range(strata)]
    units = int(sizes.sum())

    def interval(functional: Functional, name: str) -> Interval:
        found = functional_interval(table, functional, level=level, n=units, n_clusters=units, method=name)
        return Interval(
            value=found.value, low=found.low, high=found.high, level=level, n=units, method=name, se=found.se,
            df=found.df, reason=found.reason,
        )  # fmt: skip

    def parts(x: npt.NDArray[Any]) -> tuple[Any, Any]:
        return kitagawa_parts(*x.reshape(4, strata))

    return Kitagawa(
        crude=interval(smooth(table, keys, lambda x: sum(parts(x))), "delta method"),
        mix=interval(smooth(table, keys, lambda x: parts(x)[0]), "Kitagawa, delta method"),
        rate=interval(smooth(table, keys, lambda x: parts(x)[1]), "Kitagawa, delta method"),
    )


def kitagawa_parts(sums_1: Any, sizes_1: Any, sums_2: Any, sizes_2: Any) -> tuple[Any, Any]:
    """Mix and rate from arrays of shape (strata,); works on complex numbers, for gradients.

    Parameters
    ----------
    sums_1, sizes_1, sums_2, sizes_2
        Sum of the outcome and number of units (or their means per cluster) of the two groups; no size is 0.

    Returns
    -------
    tuple
        Mix, rate: bare values for `jurat.stats.moments.smooth`; `kitagawa` gives the intervals.

    Examples
    --------
    >>> mix, rate = kitagawa_parts(*(np.array(x) for x in ([80.0, 10.0], [100.0, 100.0], [45.0, 15.0], [50.0, 150.0])))
    >>> float(mix), float(rate)
    (0.1875, -0.0375)
    """
    rate_1, rate_2 = sums_1 / sizes_1, sums_2 / sizes_2
    share_1, share_2 = sizes_1 / sizes_1.sum(), sizes_2 / sizes_2.sum()
    mix = ((rate_1 + rate_2) / 2 * (share_1 - share_2)).sum()
    rate = ((share_1 + share_2) / 2 * (rate_1 - rate_2)).sum()
    return mix, rate


def _multinomial(successes: Floats, n: Floats) -> Moments:
    """Moments over single units of the indicators (success in stratum k, in stratum k), from their counts."""
    units, strata = float(n.sum()), len(n)
    mean = np.concatenate([successes, n]) / units
    # A unit lies in one stratum: products of indicators are 0 across strata, and success within its stratum itself.
    product = np.zeros((2 * strata, 2 * strata))
    inside = np.arange(strata)
    product[inside, inside] = product[inside, inside + strata] = product[inside + strata, inside] = mean[:strata]
    product[inside + strata, inside + strata] = mean[strata:]
    covariance = (product - np.outer(mean, mean)) * (units / max(units - 1, 1))
    names = tuple(f"{name}{k}" for name in "sd" for k in range(strata))
    return Moments(names=names, clusters=int(units), rows=int(units), mean=mean, covariance=covariance)
