"""What p-value does an interval imply?

A clause of a launch bar is decided by a bound of an interval. Its p-value is found by inverting that very interval: half
of one minus the largest level at which it still excludes the number. Bound and p-value can then never disagree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jurat.stats.result import Interval

__all__ = ["FLOOR", "OneSided", "one_sided_p_values"]

FLOOR = 1e-10
"""Smallest p-value told apart from zero: beyond it no interval method deserves belief."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OneSided:
    """One-sided p-values against a number: small ``p_greater`` speaks for "greater", small ``p_less`` for "less"."""

    p_greater: float
    p_less: float


def one_sided_p_values(interval_at: Callable[[float], Interval], null: float) -> OneSided:
    """Invert a family of two-sided intervals at a number.

    Parameters
    ----------
    interval_at
        Returns the interval at a level; intervals must grow with the level.
    null
        The number.

    Returns
    -------
    OneSided
        Not below `FLOOR`; 1 on both sides where the interval is undefined.

    Notes
    -----
    For an estimate above the number, :math:`p_> = (1 - \\lambda)/2` with :math:`\\lambda` the largest level whose lower
    bound still exceeds it, found by bisection to a relative precision of 1e-9 in p; the other side is its complement.

    References
    ----------
    Casella, G. and Berger, R. L. (2002). Statistical Inference, 2nd ed., section 9.2.1 (inverting a test).

    Examples
    --------
    >>> from jurat.stats.mean import mean
    >>> x = [2.0, 4.0, 4.0, 5.0, 7.0]
    >>> p = one_sided_p_values(lambda level: mean(x, level=level), 2.0)
    >>> round(p.p_greater, 6), round(p.p_less, 6)
    (0.020897, 0.979103)
    """
    reference = interval_at(0.5)
    if reference.value is None or reference.low is None or reference.high is None:
        return OneSided(p_greater=1.0, p_less=1.0)
    above = reference.value >= null
    p = _tail(interval_at, null, above=above)
    return OneSided(p_greater=p, p_less=1 - p) if above else OneSided(p_greater=1 - p, p_less=p)


def _tail(interval_at: Callable[[float], Interval], null: float, *, above: bool) -> float:
    def excluded(p: float) -> bool:
        interval = interval_at(1 - 2 * p)
        bound = interval.low if above else interval.high
        return bound is not None and (bound > null if above else bound < null)

    if excluded(FLOOR):
        return FLOOR
    low, high = FLOOR, 0.5 - 1e-9
    if not excluded(high):
        return 0.5
    # Bisection on the logarithm: small p-values deserve as many digits as large ones.
    while high / low > 1 + 1e-9:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if excluded(middle) else (middle, high)
    return high
