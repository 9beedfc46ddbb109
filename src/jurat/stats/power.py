"""How many units would decide?

Two questions are answered: the sample size of a planned comparison, with its formula named, and the sample size that
would decide a clause whose interval still holds the bar, from the precision already seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from scipy import stats as sps

from jurat.stats.result import Interval

__all__ = [
    "SampleSize",
    "non_inferiority_size",
    "paired_proportions_size",
    "two_proportions_size",
    "units_to_decide",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSize:
    """A number of units, and how it was found.

    Attributes
    ----------
    n
        Units, rounded up; per group for a comparison of groups; ``None`` with a reason where no number would do.
    exact
        Before rounding.
    n_clusters
        Clusters at the present units per cluster, where units come in clusters.
    formula
        Name of the formula.
    reason
        Why there is no number.
    """

    n: int | None
    exact: float | None
    formula: str
    n_clusters: int | None = None
    reason: str | None = None


def _z(level: float, power: float, *, sides: int) -> float:
    return float(sps.norm.isf((1 - level) / sides) + sps.norm.ppf(power))


def units_to_decide(interval: Interval, threshold: float, *, power: float = 0.8) -> SampleSize:
    """Units that would let an interval clear (or fail) a threshold, if the truth is what was seen.

    Parameters
    ----------
    interval
        The estimate so far, two-sided.
    threshold
        The number it must lie beyond.
    power
        Chance of a decision at that size, above 0.5.

    Returns
    -------
    SampleSize
        Total units (and clusters) at the present design, counting those already there. ``None`` with a reason where
        the estimate sits on the threshold, closer than a tenth of its standard error: no affordable sample tells it
        apart.

    Raises
    ------
    ValueError
        Where ``power`` is outside (0.5, 1), or ``threshold`` is not finite.

    Notes
    -----
    The standard error is recovered from the half-width on the side of the threshold,
    :math:`s = |bound - value| / z_{1-\\alpha/2}`; it shrinks with the square root of the units, so
    :math:`n' = n \\left( (z_{1-\\alpha/2} + z_{power})\\, s / |value - threshold| \\right)^2`.

    Examples
    --------
    >>> from jurat.stats.interval import proportion
    >>> units_to_decide(proportion(8, 250), 0.05).n
    1406
    """
    formula = "normal approximation from the precision seen"
    if not math.isfinite(threshold):
        raise ValueError(f"threshold must be finite, got {threshold!r}")
    if not 0.5 < power < 1:
        raise ValueError(f"power must lie in (0.5, 1), got {power!r}")
    if interval.value is None or interval.n == 0:
        return SampleSize(n=None, exact=None, formula=formula, reason="there is no estimate to plan from")
    gap = abs(interval.value - threshold)
    bound = interval.low if interval.value >= threshold else interval.high
    if bound is None:
        return SampleSize(n=None, exact=None, formula=formula, reason=interval.reason or "the interval is open")
    z = float(sps.norm.isf((1 - interval.level) / 2))
    se = abs(bound - interval.value) / z
    if gap <= se / 10:
        reason = "the estimate sits on the bar: if that is the truth, no affordable sample decides"
        return SampleSize(n=None, exact=None, formula=formula, reason=reason)
    factor = ((z + float(sps.norm.ppf(power))) * se / gap) ** 2
    exact = interval.n * factor
    clusters = None if interval.n_clusters is None else math.ceil(interval.n_clusters * factor)
    return SampleSize(n=math.ceil(exact), exact=exact, formula=formula, n_clusters=clusters)


def two_proportions_size(
    p1: float,
    p2: float,
    *,
    level: float = 0.95,
    power: float = 0.8,
    formula: Literal["pooled", "unpooled", "arcsine"] = "unpooled",
) -> SampleSize:
    """Units per group to tell two shares apart, two-sided.

    Parameters
    ----------
    p1, p2
        Shares under the alternative, within (0, 1) and different.
    level, power
        One minus the two-sided error, and the chance to find the difference.
    formula
        ``"pooled"``, ``"unpooled"`` or ``"arcsine"``; the last is refused below 1 %, where it errs by some per cent.

    Raises
    ------
    ValueError
        For shares outside (0, 1), equal shares, or arcsine below 1 %.

    Notes
    -----
    Unpooled: :math:`(z_\\alpha + z_\\beta)^2 (p_1 q_1 + p_2 q_2) / (p_1 - p_2)^2`. Pooled:
    :math:`(z_\\alpha \\sqrt{2\\bar p \\bar q} + z_\\beta \\sqrt{p_1 q_1 + p_2 q_2})^2 / (p_1 - p_2)^2`. Arcsine:
    :math:`(z_\\alpha + z_\\beta)^2 / (2 (\\arcsin\\sqrt{p_1} - \\arcsin\\sqrt{p_2})^2)`.

    References
    ----------
    Fleiss, J. L., Levin, B. and Paik, M. C. (2003). Statistical Methods for Rates and Proportions, 3rd ed., chapter 4.
    Cohen, J. (1988). Statistical Power Analysis, chapter 6 (arcsine).

    Examples
    --------
    >>> two_proportions_size(0.52, 0.53, formula="pooled").exact.__round__(4)
    39145.1087
    """
    if not (0 < p1 < 1 and 0 < p2 < 1) or p1 == p2:
        raise ValueError(f"need two different shares within (0, 1), got {p1!r} and {p2!r}")
    za, zb = float(sps.norm.isf((1 - level) / 2)), float(sps.norm.ppf(power))
    spread, d = p1 * (1 - p1) + p2 * (1 - p2), p1 - p2
    if formula == "unpooled":
        exact = (za + zb) ** 2 * spread / d**2
    elif formula == "pooled":
        centre = (p1 + p2) / 2
        exact = (za * math.sqrt(2 * centre * (1 - centre)) + zb * math.sqrt(spread)) ** 2 / d**2
    elif formula == "arcsine":
        if min(p1, p2, 1 - p1, 1 - p2) < 0.01:
            raise ValueError(f"the arcsine formula is refused below 1 %, got {p1!r} and {p2!r}; use 'pooled'")
        exact = (za + zb) ** 2 / (2 * (math.asin(math.sqrt(p1)) - math.asin(math.sqrt(p2))) ** 2)
    else:
        raise ValueError(f"formula must be 'pooled', 'unpooled' or 'arcsine', got {formula!r}")
    return SampleSize(n=math.ceil(exact), exact=exact, formula=f"two proportions, {formula}")


def non_inferiority_size(p1: float, p2: float, margin: float, *, level: float = 0.95, power: float = 0.8) -> SampleSize:
    """Units per group to show that a share is not worse by a margin.

    Parameters
    ----------
    p1, p2
        True shares of the two groups.
    margin
        Difference that must be excluded, positive.
    level, power
        Two-sided level whose one bound decides, and the chance to show it.

    Raises
    ------
    ValueError
        Where the margin is not beyond the true difference.

    Notes
    -----
    :math:`(z_{1-\\alpha/2} + z_{power})^2 (p_1 q_1 + p_2 q_2) / (margin - |p_1 - p_2|)^2`.

    References
    ----------
    Blackwelder, W. C. (1982). Controlled Clinical Trials 3, 345–353.

    Examples
    --------
    >>> non_inferiority_size(0.02, 0.02, 0.005).exact.__round__(4)
    12307.0434
    """
    room = margin - abs(p1 - p2)
    if room <= 1e-9 * margin:  # 0.03 − 0.02 is a little less than 0.01
        raise ValueError(f"the margin {margin!r} must exceed the true difference {abs(p1 - p2)!r}")
    exact = _z(level, power, sides=2) ** 2 * (p1 * (1 - p1) + p2 * (1 - p2)) / room**2
    return SampleSize(n=math.ceil(exact), exact=exact, formula="non-inferiority, unpooled")


def paired_proportions_size(
    only_first: float, only_second: float, *, level: float = 0.95, power: float = 0.8
) -> SampleSize:
    r"""Pairs to tell two shares of the same units apart by McNemar's test, two-sided.

    Parameters
    ----------
    only_first, only_second
        Shares of pairs where only the first, or only the second, counts: different, and together at most 1.
    level, power
        One minus the two-sided error, and the chance to find the difference.

    Raises
    ------
    ValueError
        For shares that are equal, negative, or together above 1.

    Notes
    -----
    With :math:`\psi = p_{10} + p_{01}` and :math:`d = p_{10} - p_{01}`:
    :math:`n = (z_{1-\alpha/2} \sqrt\psi + z_{power} \sqrt{\psi - d^2})^2 / d^2`. Pairs that agree cost a label and say
    nothing: at equal difference, fewer disagreements need fewer pairs.

    References
    ----------
    Connor, R. J. (1987). Sample size for testing differences in proportions for the paired-sample design. Biometrics
    43, 207–211.

    Examples
    --------
    >>> paired_proportions_size(0.06, 0.03).n
    783
    """
    discordant, d = only_first + only_second, only_first - only_second
    if min(only_first, only_second) < 0 or discordant > 1 or d == 0:
        raise ValueError(f"need two different shares, together at most 1, got {only_first!r} and {only_second!r}")
    za, zb = float(sps.norm.isf((1 - level) / 2)), float(sps.norm.ppf(power))
    exact = (za * math.sqrt(discordant) + zb * math.sqrt(discordant - d * d)) ** 2 / d**2
    return SampleSize(n=math.ceil(exact), exact=exact, formula="McNemar, Connor")
