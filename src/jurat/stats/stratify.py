r"""Does a difference hold within the strata?

Two groups that hold different strata can differ as wholes and agree in every part (Simpson, 1951). Mantel and Haenszel (1959)
give one odds ratio, and one risk difference, common to all strata; Breslow and Day (1980) test whether there is one at all.
For what the mix of strata makes of the crude difference see `jurat.stats.standardise`. Units are independent here: with
clusters these intervals are too narrow, and `jurat.experiments.simpson` compares by per-cluster sums instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats as sps

from jurat.stats.interval import tail_probability
from jurat.stats.result import Interval, Test

__all__ = ["MantelHaenszel", "breslow_day", "mantel_haenszel"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tables:
    """One 2 × 2 table per stratum.

    Attributes
    ----------
    a, b
        Successes and failures of the first group, each of shape (strata,).
    c, d
        Those of the second.
    """

    a: Floats
    b: Floats
    c: Floats
    d: Floats

    @property
    def total(self) -> Floats:
        """Units of both groups, shape (strata,)."""
        return self.a + self.b + self.c + self.d


def two_by_two(
    successes_1: npt.ArrayLike, n_1: npt.ArrayLike, successes_2: npt.ArrayLike, n_2: npt.ArrayLike
) -> Tables:
    """Check the counts of two groups per stratum and lay them out as tables."""
    k1, n1, k2, n2 = (np.asarray(x, dtype=np.float64) for x in (successes_1, n_1, successes_2, n_2))
    if k1.ndim != 1 or not k1.shape == n1.shape == k2.shape == n2.shape:
        raise ValueError(f"need vectors of one length, got shapes {k1.shape}, {n1.shape}, {k2.shape} and {n2.shape}")
    for successes, n in ((k1, n1), (k2, n2)):
        possible = np.isfinite(n) & (successes >= 0) & (successes <= n) & (successes == np.round(successes))
        possible &= n == np.round(n)
        if not np.all(possible):
            k = int(np.argmin(possible))
            raise ValueError(f"need whole numbers 0 <= successes <= n, got {successes[k]:g} of {n[k]:g} in stratum {k}")
    return Tables(k1, n1 - k1, k2, n2 - k2)


def _with_both(tables: Tables) -> Tables:
    """Leave out strata that one group lacks: they say nothing about a difference."""
    kept = (tables.a + tables.b > 0) & (tables.c + tables.d > 0)
    return Tables(*(x[kept] for x in (tables.a, tables.b, tables.c, tables.d)))


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
    tables = _with_both(two_by_two(successes_1, n_1, successes_2, n_2))
    units = int(tables.total.sum())
    return MantelHaenszel(
        odds_ratio=_odds_ratio(tables, level, units),
        risk_difference=_risk_difference(tables, level, units),
        test=_association(tables, units, 0.0),
        corrected=_association(tables, units, 0.5),
    )


def _odds_ratio(t: Tables, level: float, units: int) -> Interval:
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


def _risk_difference(t: Tables, level: float, units: int) -> Interval:
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


def _association(t: Tables, units: int, correction: float) -> Test:
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
    (20.538, 2.0, 3e-05)
    """
    tables = _with_both(two_by_two(successes_1, n_1, successes_2, n_2))
    units, name = int(tables.total.sum()), "Breslow–Day" + (", Tarone" if tarone else "")
    both = (tables.a + tables.c > 0) & (tables.b + tables.d > 0)
    kept = Tables(*(x[both] for x in (tables.a, tables.b, tables.c, tables.d)))
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


def _fitted(t: Tables, common: float) -> tuple[Floats, Floats]:
    """Observed less expected successes of the first group under a common odds ratio, and the variance, per stratum."""
    n1, n2, hits = t.a + t.b, t.c + t.d, t.a + t.c
    # (1 - OR) x² + (n2 - hits + OR (n1 + hits)) x - OR n1 hits = 0, by the root's form that never cancels.
    square, linear, constant = 1 - common, n2 - hits + common * (n1 + hits), -common * n1 * hits
    root = np.sqrt(np.maximum(linear**2 - 4 * square * constant, 0.0))
    expected = -2 * constant / (linear + root)
    cells = (expected, n1 - expected, hits - expected, n2 - hits + expected)
    variance: Floats = 1 / np.sum([1 / cell for cell in cells], axis=0)
    return t.a - expected, variance
