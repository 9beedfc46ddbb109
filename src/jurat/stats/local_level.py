"""What would the series have done, had nothing been changed?

The local-level model, a level that wanders and noise around it, with regressors where untreated series are at hand. It
is fitted to the time before treatment only, with an exact diffuse start, and forecasts what came after; the effect is
what was seen less that forecast. How much the level wanders is hard to tell from a short past, so the forecast averages
over it: intervals that take its best estimate for the truth can cover as rarely as three times in four.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import special

from jurat.stats.interval import tail_probability
from jurat.stats.local_level_fit import (
    FEWEST_PERIODS,
    LocalLevelFit,
    best_share,
    check_before,
    checked_columns,
    described,
    fit_local_level,
    solve_at,
)
from jurat.stats.mean import Floats, undefined
from jurat.stats.result import Interval

__all__ = ["LocalLevelEffect", "LocalLevelFit", "fit_local_level", "intervention_effect"]

_AVERAGED = 40  # shares that a forecast averages over
_HALVINGS = 48  # a bracket of some thirty standard errors, down to rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalLevelEffect:
    """What was seen against the forecast.

    Attributes
    ----------
    average
        Mean effect over the treated periods.
    total
        Sum of the effects.
    effects
        Effect in each treated period.
    counterfactual
        Forecast of each treated period, with the interval for a new observation.
    fit
        The maximum-likelihood model of the time before treatment.
    in_time
        Mean effect for an earlier, made-up start, from periods before the real one; it should be near 0.
    in_time_start
        Index of the made-up start; ``None`` where too few periods came before.
    """

    average: Interval
    total: Interval
    effects: tuple[Interval, ...]
    counterfactual: tuple[Interval, ...]
    fit: LocalLevelFit
    in_time: Interval
    in_time_start: int | None


def intervention_effect(
    series: npt.ArrayLike, first_treated: int, *, controls: npt.ArrayLike | None = None, level: float = 0.95
) -> LocalLevelEffect:
    """Effect of an intervention on one series, against the forecast from the time before it.

    Parameters
    ----------
    series
        Equally spaced, finite, shape (n,).
    first_treated
        Index of the first treated period.
    controls
        Series that the intervention did not touch, shape (n,) or (n, k), seen before and after.
    level
        Two-sided coverage.

    Returns
    -------
    LocalLevelEffect

    Raises
    ------
    ValueError
        Where shapes differ, a value is not finite, or too few periods come before the intervention.

    Notes
    -----
    Given the share :math:`s` of the level in the variance, forecasts are linear in the periods before, and their errors
    h periods on have covariance :math:`\\sigma^2_\\eta\\min(h, h') + P + d_h'\\,\\mathrm{Var}(\\hat\\beta)\\,d_{h'} +
    \\sigma^2_\\varepsilon 1[h = h']`, with t on the periods before less 1 and the regressors. They are averaged over
    :math:`s` by its restricted likelihood, under a uniform prior on the level's share of the standard deviations,
    :math:`\\sigma_\\eta/(\\sigma_\\eta + \\sigma_\\varepsilon)`: intervals are quantiles of that mixture of t distributions,
    and the estimate is its mean.

    References
    ----------
    Brodersen, K. H. et al. (2015). Inferring causal impact using Bayesian structural time-series models. Annals of
    Applied Statistics 9, 247–274. Harvey, A. C. and Durbin, J. (1986). The effects of seat belt legislation on British
    road casualties. JRSS A 149, 187–227.

    Examples
    --------
    >>> rng = np.random.default_rng(4)
    >>> x = rng.normal(0, 1, 80).cumsum()
    >>> y = 2 * x + rng.normal(0, 0.5, 80) + 3.0 * (np.arange(80) >= 60)
    >>> found = intervention_effect(y, 60, controls=x)
    >>> found.average.low < 3.0 < found.average.high, found.average.low > 0
    (True, True)
    """
    columns = checked_columns(series, controls)
    n, first = len(columns), int(first_treated)
    tail_probability(level)  # the one check of a level
    if first != first_treated or not 0 < first < n:
        raise ValueError(f"first_treated must be an index from 1 to {n - 1}, got {first_treated!r}")
    before = columns[:first]
    check_before(before)
    share, solved = best_share(before)
    found = _forecast(columns, first)
    start = (2 * first) // 3
    if start < FEWEST_PERIODS + 2 * (columns.shape[1] - 1):
        reason = f"{first} periods before the intervention are too few for a made-up start"
        in_time, made_up = undefined(reason, level=level, n=first, method="in-time placebo"), None
    else:
        in_time, made_up = _forecast(columns[:first], start).mean_effect(level, "in-time placebo"), start
    forecasts = _mixture_intervals(found, found.centres, found.scales, level, "local level, forecast")
    average = found.mean_effect(level, "local level, mean")
    return LocalLevelEffect(
        average=average,
        total=_moved(average, 0.0, float(n - first), "local level, sum"),
        effects=tuple(
            _moved(f, float(y), -1.0, "local level") for f, y in zip(forecasts, columns[first:, 0], strict=True)
        ),
        counterfactual=forecasts,
        fit=described(share, solved, first),
        in_time=in_time,
        in_time_start=made_up,
    )


@dataclass(frozen=True, slots=True)
class _Forecast:
    """Forecasts of the periods after, one row per share of the level; ``weights`` are the shares' probabilities.

    ``centres`` and ``scales`` are of single periods, shape (shares, periods); ``mean_errors`` and ``mean_scales`` of the
    mean of what was seen less the forecast, shape (shares,).
    """

    weights: Floats
    centres: Floats
    scales: Floats
    mean_errors: Floats
    mean_scales: Floats
    df: float
    before: int

    def mean_effect(self, level: float, method: str) -> Interval:
        """Interval of the mean effect."""
        return _mixture_intervals(self, self.mean_errors[:, None], self.mean_scales[:, None], level, method)[0]


def _forecast(columns: Floats, first: int) -> _Forecast:
    before, after = columns[:first], columns[first:]
    check_before(before)
    periods, df = len(after), first - 1.0 - (columns.shape[1] - 1)
    horizon = np.arange(1, periods + 1)
    together = periods * (periods + 1) * (2 * periods + 1) / 6  # sum of min(h, h') over all pairs
    ratio = (np.arange(_AVERAGED) + 0.5) / _AVERAGED
    heights, centres, scales, errors, mean_scales = [], [], [], [], []
    for share in (ratio**2 / (ratio**2 + (1 - ratio) ** 2)).tolist():
        solved = solve_at(before, share)
        # The level of y and of each regressor were filtered alike, so the forecast is linear in the coefficients.
        apart = after[:, 1:] - solved.level[1:]
        centre = solved.level[0] + apart @ solved.coefficients
        unit = solved.scale * (first - 1.0) / df
        by_slope = np.einsum("ij,jk,ik->i", apart, solved.covariance, apart)
        scales.append(np.sqrt(unit * (solved.spread + share * horizon + (1 - share) + by_slope)))
        mean_apart = apart.mean(axis=0)
        common = share * together / periods**2 + (1 - share) / periods
        spread = solved.spread + common + float(mean_apart @ solved.covariance @ mean_apart)
        mean_scales.append(math.sqrt(unit * spread))
        centres.append(centre)
        errors.append(float((after[:, 0] - centre).mean()))
        heights.append(solved.restricted)
    weights = np.exp(np.array(heights) - max(heights))
    return _Forecast(
        weights=weights / weights.sum(),
        centres=np.array(centres),
        scales=np.array(scales),
        mean_errors=np.array(errors),
        mean_scales=np.array(mean_scales),
        df=df,
        before=first,
    )


def _mixture_intervals(
    found: _Forecast, centres: Floats, scales: Floats, level: float, method: str
) -> tuple[Interval, ...]:
    """Mean and quantiles of mixtures of t distributions, one for each column, by bisection."""
    weights = found.weights[:, None]
    value = np.sum(weights * centres, axis=0)
    variance = np.sum(weights * (scales**2 * found.df / (found.df - 2) + (centres - value) ** 2), axis=0)
    tail = tail_probability(level)
    reach = -special.stdtrit(found.df, tail / 2) * scales
    bounds = []
    for probability in (tail, 1 - tail):
        low, high = (centres - reach).min(axis=0), (centres + reach).max(axis=0)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            below = np.sum(weights * special.stdtr(found.df, (middle - centres) / scales), axis=0) < probability
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        bounds.append((low + high) / 2)
    return tuple(
        Interval(
            value=float(v),
            low=float(min(a, v)),
            high=float(max(b, v)),
            level=level,
            n=found.before,
            method=method,
            se=float(s),
        )
        for v, a, b, s in zip(value, bounds[0], bounds[1], np.sqrt(variance), strict=True)
    )


def _moved(interval: Interval, shift: float, factor: float, method: str) -> Interval:
    """Interval of shift + factor × estimate, for one with both bounds."""
    bounds = sorted(shift + factor * x for x in (interval.low, interval.high) if x is not None)
    value, se = interval.value, interval.se
    return replace(
        interval,
        value=None if value is None else shift + factor * value,
        low=bounds[0],
        high=bounds[-1],
        se=None if se is None else abs(factor) * se,
        method=method,
    )
