"""How often does it happen per hour, per million tokens, per conversation, and does one rate exceed another?

Events in an exposure, taken as Poisson counts. One rate gets Garwood's exact interval. Two rates are compared given the
total of their events: the events of the first are then binomial, and every method for one share becomes a method for the
ratio of two rates. Events that come in bursts are not Poisson: count bursts, or use a clustered ratio.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from scipy import special
from scipy import stats as sps

from jurat.stats.interval import Side, proportion, tail_probability
from jurat.stats.result import Interval, Test

__all__ = ["event_rate", "rate_ratio", "rate_ratio_test"]

Alternative = Literal["two-sided", "less", "greater"]
_TEST_NAMES = {"exact": "conditional exact", "mid-p": "conditional mid-p", "score": "conditional score"}


def event_rate(events: int, exposure: float, *, level: float = 0.95, side: Side = "two-sided") -> Interval:
    r"""Events per unit of exposure with Garwood's exact interval.

    Parameters
    ----------
    events
        Count of independent events.
    exposure
        Time, tokens or units over which they were counted, positive.
    level
        Coverage; of a one-sided bound where ``side`` is not ``"two-sided"``.
    side
        ``"lower"`` or ``"upper"`` for a one-sided bound.

    Returns
    -------
    Interval
        Per unit of exposure; ``n`` is the count of events.

    Raises
    ------
    ValueError
        For a count that is negative or not whole, or an exposure that is not positive.

    Notes
    -----
    :math:`\left(\frac{\chi^2_{\alpha/2;\,2x}}{2T}, \frac{\chi^2_{1-\alpha/2;\,2x+2}}{2T}\right)`: covers at least ``level``
    at every rate, as Clopper–Pearson's interval does for a share.

    References
    ----------
    Garwood, F. (1936). Fiducial limits for the Poisson distribution. Biometrika 28, 437–442.

    Examples
    --------
    >>> print(event_rate(3, 1.0))
    3 [0.6187, 8.767] 0.95 n=3 Garwood
    >>> print(event_rate(0, 10_000, side="upper"))
    0 [−∞, 0.0002996] 0.95 n=0 Garwood
    """
    _check_events("", events, exposure)
    tail = tail_probability(level, side)
    low = 0.0 if events == 0 else float(special.gammaincinv(events, tail)) / exposure
    high = float(special.gammainccinv(events + 1.0, tail)) / exposure
    return Interval(
        value=events / exposure,
        low=None if side == "upper" else low,
        high=None if side == "lower" else high,
        level=level,
        n=int(events),
        method="Garwood",
    )


def _check_events(group: str, events: float, exposure: float) -> None:
    if not (math.isfinite(events) and events >= 0 and events == int(events)):
        raise ValueError(f"events{group} must be a whole number of at least 0, got {events!r}")
    if not (math.isfinite(exposure) and exposure > 0):
        raise ValueError(f"exposure{group} must be positive and finite, got {exposure!r}")


def rate_ratio(
    events_1: int,
    exposure_1: float,
    events_2: int,
    exposure_2: float,
    *,
    level: float = 0.95,
    method: Literal["score", "exact"] = "score",
    side: Side = "two-sided",
) -> Interval:
    r"""Ratio of two rates of events, first over second.

    Parameters
    ----------
    events_1, exposure_1, events_2, exposure_2
        Counts and exposures of the two groups; exposures in the same unit.
    level, side
        As in `event_rate`.
    method
        ``"score"`` (default) or ``"exact"`` (at least ``level`` everywhere, wider).

    Returns
    -------
    Interval
        ``n`` is the count of events of both groups. Where the second group shows none, the ratio is undefined and open
        above, with the reason, while its lower bound stands; without any event nothing is defined.

    Raises
    ------
    ValueError
        For impossible counts or exposures, or an unknown method.

    Notes
    -----
    Given :math:`m = x_1 + x_2`, :math:`x_1` is binomial with :math:`\pi = \theta t_1 / (\theta t_1 + t_2)`. The interval of
    :math:`\pi` (Wilson or Clopper–Pearson) is carried over by :math:`\theta = \frac{\pi}{1 - \pi} \frac{t_2}{t_1}`. With
    Wilson's form this is the score interval of the ratio itself,
    :math:`(x_1 - \theta x_2 t_1/t_2)^2 = z^2 m\, \theta\, t_1/t_2`.

    References
    ----------
    Przyborowski, J. and Wilenski, H. (1940). Homogeneity of results in testing samples from Poisson series. Biometrika 31,
    313–323. Graham, P. L., Mengersen, K. and Morton, A. P. (2003). Confidence limits for the ratio of two rates based on
    likelihood scores. Statistics in Medicine 22, 2071–2083.

    Examples
    --------
    >>> print(rate_ratio(60, 51_477.5, 30, 54_308.7))
    2.11 [1.366, 3.259] 0.95 n=90 conditional Wilson score
    """
    _check_events("_1", events_1, exposure_1)
    _check_events("_2", events_2, exposure_2)
    if method not in ("score", "exact"):
        raise ValueError(f"method must be 'score' or 'exact', got {method!r}")
    total = int(events_1) + int(events_2)
    one_share: Literal["wilson", "clopper-pearson"] = "wilson" if method == "score" else "clopper-pearson"
    share = proportion(int(events_1), total, level=level, method=one_share, side=side)
    scale = exposure_2 / exposure_1
    reason = None
    if total == 0:
        reason = "there are no events in either group"
    elif events_2 == 0:
        reason = "the second group shows no event: the ratio has no estimate and no upper bound"
    return Interval(
        value=None if events_2 == 0 else events_1 / events_2 * scale,
        low=_odds(share.low, scale),
        high=None if events_2 == 0 else _odds(share.high, scale),
        level=level,
        n=total,
        method="conditional Wilson score" if method == "score" else "conditional Clopper–Pearson",
        reason=reason,
    )


def _odds(share: float | None, scale: float) -> float | None:
    return None if share is None else share / (1 - share) * scale


def rate_ratio_test(
    events_1: int,
    exposure_1: float,
    events_2: int,
    exposure_2: float,
    *,
    null: float = 1.0,
    alternative: Alternative = "two-sided",
    method: Literal["exact", "mid-p", "score"] = "exact",
) -> Test:
    r"""Test the ratio of two rates of events.

    Parameters
    ----------
    events_1, exposure_1, events_2, exposure_2
        Counts and exposures of the two groups.
    null
        Ratio of the rates, first over second, under the null hypothesis; positive.
    alternative
        ``"greater"`` where small p-values shall speak for a ratio above ``null``.
    method
        ``"exact"`` (default; never more errors than promised), ``"mid-p"`` (less cautious, right on average) or
        ``"score"`` (normal approximation, consistent with `rate_ratio`).

    Returns
    -------
    Test
        ``n`` is the count of events; p = 1 without events. Only ``"score"`` has a statistic, standard normal.

    Raises
    ------
    ValueError
        For impossible counts or exposures, or an unknown option.

    Notes
    -----
    Given the total :math:`m`, :math:`x_1` is binomial with :math:`\pi_0 = \theta_0 t_1 / (\theta_0 t_1 + t_2)`. The exact
    two-sided p-value adds all outcomes that are no more likely than the one seen; mid-p takes half of those that are just
    as likely. Score: :math:`(x_1 - m \pi_0) / \sqrt{m \pi_0 (1 - \pi_0)}`. The exact two-sided forms go through all
    outcomes: beyond some ten million events, take the score.

    References
    ----------
    Przyborowski, J. and Wilenski, H. (1940). Biometrika 31, 313–323. Fay, M. P. (2010). Two-sided exact tests and matching
    confidence intervals for discrete data. R Journal 2, 53–58. Lancaster, H. O. (1961). Significance tests in discrete
    distributions. JASA 56, 223–234 (mid-p).

    Examples
    --------
    >>> round(rate_ratio_test(60, 51_477.5, 30, 54_308.7).p_value, 10)
    0.0006751827
    """
    _check_events("_1", events_1, exposure_1)
    _check_events("_2", events_2, exposure_2)
    if not (math.isfinite(null) and null > 0):
        raise ValueError(f"null must be a positive ratio, got {null!r}")
    if alternative not in ("two-sided", "less", "greater"):
        raise ValueError(f"alternative must be 'two-sided', 'less' or 'greater', got {alternative!r}")
    if method not in _TEST_NAMES:
        raise ValueError(f"method must be 'exact', 'mid-p' or 'score', got {method!r}")
    x, m = int(events_1), int(events_1) + int(events_2)
    expected = null * exposure_1
    pi, rest = expected / (expected + exposure_2), exposure_2 / (expected + exposure_2)
    statistic = None
    if m == 0:
        p_value = 1.0
    elif method == "score":
        statistic = (x - m * pi) / math.sqrt(m * pi * rest)
        p_value = _normal_p(statistic, alternative)
    else:
        p_value = _binomial_p(x, m, pi, alternative, 1.0 if method == "exact" else 0.5)
    return Test(
        statistic=statistic,
        p_value=min(p_value, 1.0),
        alternative=alternative,
        n=m,
        method=_TEST_NAMES[method],
    )


def _normal_p(statistic: float, alternative: str) -> float:
    if alternative == "two-sided":
        return 2 * float(sps.norm.sf(abs(statistic)))
    return float(sps.norm.sf(statistic) if alternative == "greater" else sps.norm.cdf(statistic))


def _binomial_p(x: int, m: int, pi: float, alternative: str, weight: float) -> float:
    """P-value of a binomial count; ``weight`` is the part of the outcomes as likely as the one seen that counts."""
    seen = float(sps.binom.pmf(x, m, pi))
    if alternative == "greater":
        return float(sps.binom.sf(x, m, pi)) + weight * seen
    if alternative == "less":
        return float(sps.binom.cdf(x - 1, m, pi)) + weight * seen
    # Equal likelihoods differ by rounding, as 0.3^2 × 0.7 and its mirror do.
    probability = sps.binom.pmf(np.arange(m + 1), m, pi)
    tied = np.isclose(probability, seen, rtol=1e-7, atol=0.0)
    return float(probability[(probability < seen) & ~tied].sum() + weight * probability[tied].sum())
