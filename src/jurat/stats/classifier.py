"""What is a flag worth, and how much harm is there, when the classifier errs?

With rare harm most flags are false even for a good classifier: predictive values say how many. Read the other way, the
share of flags is corrected for the classifier's errors (Rogan and Gladen, 1978). Rates of a classifier come from a labelled
sample; given as counts, their own uncertainty enters the interval. They must be measured on data like those they are
applied to: no interval covers a shift.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats as sps

from jurat.stats.interval import proportion, tail_probability
from jurat.stats.result import Interval

__all__ = ["PredictiveValues", "predictive_values", "rogan_gladen"]

Rate = float | tuple[int, int]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictiveValues:
    """What flags and passes of a classifier are worth at a prevalence.

    Attributes
    ----------
    ppv
        Share of flagged units that are positive.
    npv
        Share of passed units that are negative.
    flagged_share
        Share of all units that are flagged.
    """

    ppv: Interval
    npv: Interval
    flagged_share: Interval


def predictive_values(
    sensitivity: Rate,
    specificity: Rate,
    prevalence: Rate,
    *,
    draws: int = 100_000,
    seed: int = 0,
    level: float = 0.95,
) -> PredictiveValues:
    r"""Predictive values of a classifier, with the uncertainty of its measured rates.

    Parameters
    ----------
    sensitivity, specificity, prevalence
        Each a known rate in [0, 1], or counts ``(successes, n)`` from independent samples: flagged among positives, passed
        among negatives, positives among all.
    draws
        Draws from the posterior of the counted rates, at least 1,000.
    seed
        Of the draws.
    level
        Coverage.

    Returns
    -------
    PredictiveValues
        Bounds are equal-tailed and always hold the value. Where all rates are known, bounds equal the value and the method
        is ``"known rates"``. ``n`` counts the units of all samples. A predictive value is undefined, with the reason,
        where nothing is flagged (or passed).

    Raises
    ------
    ValueError
        For a rate outside [0, 1], impossible or empty counts, or too few draws.

    Notes
    -----
    :math:`PPV = \frac{se\,\pi}{se\,\pi + (1 - sp)(1 - \pi)}`,
    :math:`NPV = \frac{sp (1 - \pi)}{sp (1 - \pi) + (1 - se)\pi}`, flagged share :math:`se\,\pi + (1 - sp)(1 - \pi)`.
    Counted rates are drawn from their posterior under Jeffreys' prior, Beta(k + 1/2, n − k + 1/2), known rates are kept.
    The value is taken at the observed rates.

    References
    ----------
    Altman, D. G. and Bland, J. M. (1994). Diagnostic tests 2: predictive values. BMJ 309, 102. Mossman, D. and Berger,
    J. O. (2001). Intervals for posttest probabilities: a comparison of 5 methods. Medical Decision Making 21, 498–507.

    Examples
    --------
    >>> print(predictive_values(0.95, 0.95, 0.01).ppv)
    0.161 [0.161, 0.161] 0.95 n=0 known rates
    >>> print(predictive_values((95, 100), (950, 1000), 0.01).ppv)
    0.161 [0.1277, 0.2021] 0.95 n=1100 posterior draws, Jeffreys
    """
    named = {"sensitivity": sensitivity, "specificity": specificity, "prevalence": prevalence}
    rates = {name: _rate(name, rate) for name, rate in named.items()}
    tail = tail_probability(level)
    if draws < 1_000 or draws != int(draws):
        raise ValueError(f"draws must be a whole number of at least 1,000, got {draws!r}")
    n = sum(rate[1] for rate in named.values() if isinstance(rate, tuple))
    value = _predictive(*(np.array([rates[name]]) for name in named))
    drawn = None
    if n > 0:
        rng = np.random.default_rng(seed)
        drawn = _predictive(*(_posterior(rate, int(draws), rng) for rate in named.values()))
    reasons = ("nothing would be flagged", "nothing would be passed", None)
    found = []
    for column, reason in enumerate(reasons):
        estimate = float(value[column, 0])
        sample = None if drawn is None else drawn[column]
        found.append(_summary(estimate, sample, tail, level=level, n=n, reason=reason))
    return PredictiveValues(ppv=found[0], npv=found[1], flagged_share=found[2])


def _rate(name: str, rate: Rate) -> float:
    """The observed or known rate, checked."""
    if isinstance(rate, tuple):
        k, n = rate
        if not (math.isfinite(n) and 0 <= k <= n and n > 0 and k == int(k) and n == int(n)):
            raise ValueError(
                f"{name} needs whole counts (successes, n) with 0 <= successes <= n and n > 0, got {rate!r}"
            )
        return k / n
    if not 0 <= rate <= 1:
        raise ValueError(f"{name} must be a rate in [0, 1] or counts (successes, n), got {rate!r}")
    return float(rate)


def _posterior(rate: Rate, draws: int, rng: np.random.Generator) -> Floats:
    if isinstance(rate, tuple):
        return rng.beta(rate[0] + 0.5, rate[1] - rate[0] + 0.5, size=draws)
    return np.full(draws, float(rate))


def _predictive(sensitivity: Floats, specificity: Floats, prevalence: Floats) -> Floats:
    """Positive and negative predictive value and flagged share, one a row; NaN where a predictive value is undefined."""
    hits, false_alarms = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    passed_right, misses = specificity * (1 - prevalence), (1 - sensitivity) * prevalence
    flagged, passed = hits + false_alarms, passed_right + misses
    undefined = np.full_like(flagged, np.nan)
    return np.stack(
        [
            np.divide(hits, flagged, out=undefined.copy(), where=flagged > 0),
            np.divide(passed_right, passed, out=undefined, where=passed > 0),
            flagged,
        ]
    )


def _summary(
    estimate: float, sample: Floats | None, tail: float, *, level: float, n: int, reason: str | None
) -> Interval:
    method = "known rates" if sample is None else "posterior draws, Jeffreys"
    if math.isnan(estimate):
        return Interval(value=None, low=None, high=None, level=level, n=n, method=method, reason=reason)
    low = high = estimate
    if sample is not None:
        quantiles = np.quantile(sample[~np.isnan(sample)], [tail, 1 - tail])
        # At an edge (no error was seen) the value lies beyond the quantile, as for Jeffreys' interval of one share.
        low, high = min(float(quantiles[0]), estimate), max(float(quantiles[1]), estimate)
    return Interval(value=estimate, low=low, high=high, level=level, n=n, method=method)


def rogan_gladen(positives: int, n: int, *, sensitivity: Rate, specificity: Rate, level: float = 0.95) -> Interval:
    r"""Prevalence behind the share that an imperfect classifier flags.

    Parameters
    ----------
    positives, n
        Units flagged, of all units.
    sensitivity, specificity
        Each a known rate, or counts ``(successes, n)`` from a labelled sample: flagged among positives, passed among
        negatives.
    level
        Two-sided coverage.

    Returns
    -------
    Interval
        Estimate and bounds truncated to [0, 1]; the method says so, and ``reason`` gives the estimate from before where it
        was changed. Without bounds, and with the reason, where the whole interval lies outside [0, 1] (an upper bound of
        nothing would be no evidence of no harm), or where the labelled samples are too small to show that the classifier
        is better than chance. ``value`` is ``None`` where ``n`` is 0.

    Raises
    ------
    ValueError
        For impossible counts, or where sensitivity + specificity is not above 1: flags then say nothing.

    Notes
    -----
    :math:`\hat\pi = \frac{\hat a + sp - 1}{se + sp - 1}` for the flagged share :math:`\hat a`. Known rates: Wilson's
    bounds of :math:`a` are carried over. Counts: with :math:`a' = (x + z^2/2)/(n + z^2)`,
    :math:`se' = (k_{se} + 1)/(n_{se} + 2)`, :math:`sp'` alike and :math:`\pi'` at these, the interval is
    :math:`\pi' + \delta \pm z \sqrt{\frac{a'(1-a')}{n + z^2} + \pi'^2 v_{se} + (1-\pi')^2 v_{sp}} / (se' + sp' - 1)` with
    :math:`v_{se} = se'(1 - se')/(n_{se} + 2)`, :math:`v_{sp}` alike, and
    :math:`\delta = 2 z^2 (\pi' v_{se} - (1 - \pi') v_{sp})`. A rate that is known keeps its value and has no variance.
    The labelled samples must come from the same population as the flags.

    References
    ----------
    Rogan, W. J. and Gladen, B. (1978). Estimating prevalence from the results of a screening test. American Journal of
    Epidemiology 107, 71–76. Lang, Z. and Reiczigel, J. (2014). Confidence limits for prevalence of disease adjusted for
    estimated sensitivity and specificity. Preventive Veterinary Medicine 113, 13–22. Reiczigel, J., Földi, J. and Ózsvári,
    L. (2010). Epidemiology and Infection 138, 1674–1678 (known rates).

    Examples
    --------
    >>> print(rogan_gladen(600, 10_000, sensitivity=0.95, specificity=0.95))
    0.01111 [0.006125, 0.01647] 0.95 n=10000 Rogan–Gladen, Wilson
    >>> print(rogan_gladen(600, 10_000, sensitivity=(190, 200), specificity=(1900, 2000)))
    0.01111 [0, 0.02251] 0.95 n=10000 Rogan–Gladen, Lang–Reiczigel, truncated to [0, 1]
    """
    se, sp = _rate("sensitivity", sensitivity), _rate("specificity", specificity)
    if se + sp <= 1 + 1e-12:
        raise ValueError(
            f"sensitivity + specificity must exceed 1, got {se!r} + {sp!r}: such flags say nothing about the prevalence"
        )
    apparent = proportion(positives, n, level=level)
    counted = isinstance(sensitivity, tuple) or isinstance(specificity, tuple)
    method = "Rogan–Gladen, Lang–Reiczigel" if counted else "Rogan–Gladen, Wilson"
    if apparent.value is None or apparent.low is None or apparent.high is None:
        return Interval(value=None, low=None, high=None, level=level, n=n, method=method, reason=apparent.reason)
    youden = se + sp - 1
    estimate = (apparent.value + sp - 1) / youden
    bounds: tuple[float, float] | None
    if counted:
        bounds = _lang_reiczigel(positives, n, sensitivity, specificity, float(sps.norm.isf(tail_probability(level))))
    else:
        bounds = (apparent.low + sp - 1) / youden, (apparent.high + sp - 1) / youden
    return _truncated(estimate, bounds, level=level, n=int(n), method=method)


def _lang_reiczigel(
    positives: int, n: int, sensitivity: Rate, specificity: Rate, z: float
) -> tuple[float, float] | None:
    se, v_se = _smoothed(sensitivity)
    sp, v_sp = _smoothed(specificity)
    youden = se + sp - 1
    if youden <= 0:
        return None
    apparent = (positives + z * z / 2) / (n + z * z)
    prevalence = (apparent + sp - 1) / youden
    shift = 2 * z * z * (prevalence * v_se - (1 - prevalence) * v_sp)
    variance = apparent * (1 - apparent) / (n + z * z) + prevalence**2 * v_se + (1 - prevalence) ** 2 * v_sp
    half = z * math.sqrt(variance) / youden
    return prevalence + shift - half, prevalence + shift + half


def _smoothed(rate: Rate) -> tuple[float, float]:
    """A counted rate with one success and one failure added, and its variance; a known rate as it is."""
    if not isinstance(rate, tuple):
        return float(rate), 0.0
    p = (rate[0] + 1) / (rate[1] + 2)
    return p, p * (1 - p) / (rate[1] + 2)


def _truncated(estimate: float, bounds: tuple[float, float] | None, *, level: float, n: int, method: str) -> Interval:
    """Keep what lies in [0, 1], and say what was cut; an interval all outside shows that rates and flags do not fit."""
    if abs(estimate) < 1e-12:
        estimate = 0.0  # 0.05 + 0.95 − 1 is not quite nothing
    value = min(max(estimate, 0.0), 1.0)
    low = high = None
    reasons = []
    if value != estimate:
        reasons.append(f"the estimate before truncation is {estimate:.4g}")
    if bounds is None:
        reasons.append("the labelled samples are too small to show a classifier better than chance")
    elif bounds[1] < 0 or bounds[0] > 1:
        reasons.append(
            f"the whole interval [{bounds[0]:.4g}, {bounds[1]:.4g}] lies outside [0, 1]: the rates do not fit"
        )
    else:
        low, high = min(max(bounds[0], 0.0), value), max(min(bounds[1], 1.0), value)
        if value != estimate or low != min(bounds[0], value) or high != max(bounds[1], value):
            method += ", truncated to [0, 1]"
    return Interval(value=value, low=low, high=high, level=level, n=n, method=method, reason="; ".join(reasons) or None)
