"""What is usual? The level a monitor is held against: a number, the last day, or the same hour a week ago.

Minutes are folded into hours, so that a week of memory is a hundred and seventy small sums. A baseline that is itself an
estimate is not taken at its word: the null hypothesis is its 99 % bound, and until that bound is closer to the estimate
than half the smallest change that matters, there is no baseline. Hours also tell how much wider than independent draws
the minutes vary (users come in clusters); the test is tempered by that factor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from jurat.stats.interval import proportion

__all__ = [
    "Baseline",
    "Count",
    "Hour",
    "Level",
    "dispersion_of",
    "expected_level",
    "fold",
    "levels_at",
    "unit_variance",
]

_HOURS_OF_WEEK = 168
_HOURS_OF_DAY = 24
_BOUND_LEVEL = 0.99
_BOUND_QUANTILE = 2.3263478740408408
_MINUTES_FOR_SPREAD = 30
_MINUTES_OF_HOUR = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Sums of one slice over a minute or more.

    Attributes
    ----------
    n
        Units.
    total, total_sq
        Sum of their values and of the squares; for a share both are the number of those that count.
    """

    n: int
    total: float
    total_sq: float

    @classmethod
    def of_share(cls, k: int, n: int) -> Count:
        """Counts of a share: k of n."""
        return cls(n=n, total=float(k), total_sq=float(k))


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What a monitor's numbers are held against.

    Attributes
    ----------
    kind
        ``"fixed"``, ``"reference"`` (the hours before that were not an incident) or ``"same hour last week"``.
    value
        The level of a fixed baseline; ``None`` for the others.
    hours
        Length of the reference window.
    gap_hours
        Whole hours left out between the reference window and now, so that a change does not become usual while it is found.
    tolerance
        Further distance of the null hypothesis from the baseline, in the metric's units: a drift that nobody minds.
    """

    kind: Literal["fixed", "reference", "same hour last week"]
    value: float | None = None
    hours: int = 24
    gap_hours: int = 1
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        if (self.kind == "fixed") != (self.value is not None):
            raise ValueError(f"a fixed baseline has a value and no other has, got {self.kind!r} with {self.value!r}")
        if self.hours < 1 or self.gap_hours < 0 or self.tolerance < 0 or self.hours + self.gap_hours > _HOURS_OF_WEEK:
            raise ValueError(
                f"need 1 hour to a week of reference, a gap and a tolerance of at least 0, got "
                f"{self.hours!r}, {self.gap_hours!r}, {self.tolerance!r}"
            )


@dataclass(frozen=True, slots=True)
class Hour:
    """Sums over the minutes of an hour: hours since 1970, minutes, units, sum, squares, and squared minute sums by n."""

    hour: int
    minutes: int = 0
    n: int = 0
    total: float = 0.0
    total_sq: float = 0.0
    between: float = 0.0


@dataclass(frozen=True, slots=True)
class Level:
    """A baseline at one moment: the estimate, and the bound that stands for the null hypothesis."""

    value: float
    bound: float


def fold(hour: Hour, count: Count) -> Hour:
    """Add a minute to its hour.

    Examples
    --------
    >>> fold(Hour(7), Count.of_share(3, 60))
    Hour(hour=7, minutes=1, n=60, total=3.0, total_sq=3.0, between=0.15)
    """
    if count.n == 0:
        return hour
    return Hour(
        hour.hour,
        hour.minutes + 1,
        hour.n + count.n,
        hour.total + count.total,
        hour.total_sq + count.total_sq,
        hour.between + count.total * count.total / count.n,
    )


def unit_variance(hours: Sequence[Hour]) -> float | None:
    """Variance of one unit within hours; ``None`` where there are too few minutes or no spread."""
    n = sum(h.n for h in hours)
    if sum(h.minutes for h in hours) < _MINUTES_FOR_SPREAD or n <= len(hours):
        return None
    within = sum(h.total_sq - h.total * h.total / h.n for h in hours if h.n)
    return within / n if within > 0 else None


def dispersion_of(hours: Sequence[Hour]) -> float:
    r"""How much wider than independent units the minutes of the same hour vary; at least 1.

    Notes
    -----
    Pearson's statistic over its degrees of freedom, each minute against its own hour:
    :math:`\sum_h\left(\sum_m S_m^2/n_m - S_h^2/n_h\right) / (\hat\sigma^2 \sum_h (M_h - 1))`.

    References
    ----------
    McCullagh, P. and Nelder, J. A. (1989). Generalized Linear Models, section 4.5.

    Examples
    --------
    >>> hour = Hour(0)
    >>> for k in [0, 60] * 15:
    ...     hour = fold(hour, Count.of_share(k, 100))
    >>> round(dispersion_of([hour]), 1)
    44.3
    """
    variance = unit_variance(hours)
    freedom = sum(h.minutes - 1 for h in hours if h.minutes)
    if variance is None or freedom < _MINUTES_FOR_SPREAD - 1:
        return 1.0
    between = sum(h.between - h.total * h.total / h.n for h in hours if h.n)
    return max(between / (variance * freedom), 1.0)


def _estimate(hours: Sequence[Hour], *, share: bool, dispersion: float) -> Level | None:
    n = sum(h.n for h in hours)
    if n == 0:
        return None
    total = sum(h.total for h in hours)
    value = total / n
    if share:
        # The counts are those of the independent units that would vary as much.
        effective = n / dispersion
        bound = proportion(
            min(round(total / dispersion), int(effective)), max(int(effective), 1), level=_BOUND_LEVEL, side="upper"
        ).high
        return Level(value, max(value, bound if bound is not None else value))
    variance = unit_variance(hours)
    if variance is None:
        return None
    return Level(value, value + _BOUND_QUANTILE * math.sqrt(variance * dispersion / n))


def levels_at(
    baseline: Baseline, hours: Sequence[Hour], hour: int, *, share: bool, dispersion: float
) -> tuple[Level | None, ...]:
    """Levels of the hour before, the hour itself and the hour after; those between are drawn straight.

    Parameters
    ----------
    baseline
        What to hold against.
    hours
        Hours that were kept, oldest first.
    hour
        The hour now.
    share
        Whether the numbers are shares.
    dispersion
        Factor of `dispersion_of`.
    """
    if baseline.value is not None:
        fixed = Level(baseline.value, baseline.value + baseline.tolerance)
        return (fixed, fixed, fixed)
    if baseline.kind == "reference":
        last = hour - baseline.gap_hours
        within = [h for h in hours if h.hour < last][-baseline.hours :]
        found = _estimate(within, share=share, dispersion=dispersion)
        return (_tolerant(found, baseline),) * 3
    by_hour = {h.hour: h for h in hours if h.minutes >= _MINUTES_OF_HOUR}
    levels = []
    for wanted in (hour - 1, hour, hour + 1):
        # An hour that was an incident a week ago says nothing; yesterday's then stands in.
        held = by_hour.get(wanted - _HOURS_OF_WEEK)
        if held is None and wanted - _HOURS_OF_WEEK >= min(by_hour, default=wanted):
            held = by_hour.get(wanted - _HOURS_OF_DAY)
        estimate = None if held is None else _estimate([held], share=share, dispersion=dispersion)
        levels.append(_tolerant(estimate, baseline))
    before, now, after = levels
    return (before or now, now, after or now)


def _tolerant(level: Level | None, baseline: Baseline) -> Level | None:
    return None if level is None else replace(level, bound=level.bound + baseline.tolerance)


def expected_level(levels: Sequence[Level | None], minute: int) -> Level | None:
    """Level at a minute, on the straight line between the middles of its hour and of the nearer one beside it.

    Examples
    --------
    >>> ends = (Level(0.0, 0.0), Level(2.0, 2.0), Level(4.0, 4.0))
    >>> [expected_level(ends, m).value for m in (0, 30, 45)]
    [1.0, 2.0, 2.5]
    """
    before, now, after = levels
    if now is None:
        return None
    offset = (minute % 60 - 30) / 60
    beside = before if offset < 0 else after
    if beside is None or beside == now or offset == 0:
        return now
    weight = abs(offset)
    return Level(
        now.value + weight * (beside.value - now.value),
        now.bound + weight * (beside.bound - now.bound),
    )
