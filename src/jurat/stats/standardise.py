r"""How much of a difference is only the mix of strata?

Two groups that hold different strata can differ as wholes and agree in every part (Simpson, 1951). Direct standardisation
compares them at one common mix; Kitagawa (1955) says what part of the crude difference is mix and what part is rate. Units
are independent here; for clusters see `jurat.experiments.simpson`, which takes the same functions of per-cluster sums.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from jurat.stats.interval import proportion
from jurat.stats.moments import Functional, Key, Moments, MomentTable, functional_interval, smooth
from jurat.stats.mover import mover_difference
from jurat.stats.result import Interval
from jurat.stats.stratify import two_by_two

__all__ = ["Kitagawa", "Standardised", "kitagawa", "kitagawa_parts", "standardised_difference"]

Floats = npt.NDArray[np.float64]
Weights = Literal["pooled", "first", "second"]


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
    tables = two_by_two(successes_1, n_1, successes_2, n_2)
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
    for k, m, w in zip(successes.tolist(), n.tolist(), mix.tolist(), strict=True):
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
    (0.15, 0.188, -0.037)
    """
    t = two_by_two(successes_1, n_1, successes_2, n_2)
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
    >>> round(float(mix), 4), round(float(rate), 4)
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
