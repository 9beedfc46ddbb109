"""When did it change, without crying wolf?

An e-detector (Shin, Ramdas and Rinaldo, 2024) of Shiryaev–Roberts kind: every minute a new likelihood ratio of the change
against the null hypothesis starts, all that have started go on, and their sum is the evidence. Under the null each step
adds at most 1 to its expectation, so a threshold is a budget of false alarms and nothing else: no limit is tuned by eye.
The ratios are mixed over a few sizes of change. Everything here speaks of changes *upward*; turn the sign for the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = [
    "MIXTURE",
    "advance_evidence",
    "binomial_log_ratio",
    "evidence_threshold",
    "mixture_evidence",
    "normal_log_ratio",
    "shifted_shares",
]

MIXTURE = ((1.0, 0.7), (2.0, 0.15), (4.0, 0.1), (8.0, 0.05))
"""Sizes of change that are mixed, in units of the smallest that matters, with their weights."""

_LARGEST_EXPONENT = 500.0
_LARGEST_EVIDENCE = 1e300
_STEEPEST_TILT = 2.0
"""Standard errors per step: the mean of a skewed sum is trusted to be normal that far, not further."""


def evidence_threshold(alarms: float, steps: int) -> float:
    r"""Evidence at which to alarm so that at most so many false alarms are expected in so many steps.

    Parameters
    ----------
    alarms
        False alarms that may be expected, positive.
    steps
        Steps (minutes) in which they may occur, at least 1.

    Raises
    ------
    ValueError
        Where an argument is out of range.

    Notes
    -----
    Under the null, evidence that starts at 0, gains an expectation of at most 1 a step and begins anew at each alarm,
    satisfies :math:`E[N_T]\,c \le T` (optional stopping), with N the alarms and c the threshold. So
    :math:`c = T / E[N]`. Detectors that share each step's 1 among them share the budget.

    References
    ----------
    Shin, J., Ramdas, A. and Rinaldo, A. (2024). E-detectors: a nonparametric framework for sequential change detection.
    New England Journal of Statistics in Data Science 2, 229–260.

    Examples
    --------
    >>> evidence_threshold(0.02, 10_080)
    504000.0
    """
    if not (math.isfinite(alarms) and alarms > 0) or steps < 1:
        raise ValueError(f"need a positive number of alarms and at least one step, got {alarms!r} and {steps!r}")
    return steps / alarms


def shifted_shares(null: float, base: float, shift: float) -> tuple[float, ...]:
    """Shares to which a share may rise, one for each size of `MIXTURE`, all above the null and below 1.

    Parameters
    ----------
    null
        Largest share under the null hypothesis, in (0, 1).
    base
        Share now, at most the null.
    shift
        Smallest rise that matters, positive.

    Examples
    --------
    >>> [round(p, 3) for p in shifted_shares(0.05, 0.05, 0.03)]
    [0.08, 0.11, 0.17, 0.29]
    """
    if not 0 < null < 1 or not shift > 0:
        raise ValueError(f"need a null in (0, 1) and a positive shift, got {null!r} and {shift!r}")
    return tuple(max(min(base + shift * size, (1 + null) / 2), null + (1 - null) * 1e-9) for size, _ in MIXTURE)


def binomial_log_ratio(
    successes: float, n: float, null: float, alternative: float, *, dispersion: float = 1.0
) -> float:
    r"""Log likelihood ratio of one share against another, by counts.

    Parameters
    ----------
    successes, n
        Counts of the step.
    null, alternative
        Shares in (0, 1).
    dispersion
        How much wider than binomial the counts vary, at least 1: the ratio is tempered by it.

    Raises
    ------
    ValueError
        For impossible counts, shares or dispersion.

    Notes
    -----
    :math:`\frac{1}{\phi}\left(k \ln\frac{p_1}{p_0} + (n - k) \ln\frac{1 - p_1}{1 - p_0}\right)`. For
    :math:`p_1 > p_0` its exponential has expectation at most 1 under every share up to :math:`p_0`: exactly for binomial
    counts (and, by Jensen, for every :math:`\phi \ge 1`), to first order for counts with variance
    :math:`\phi\,n p (1 - p)`.

    References
    ----------
    Wald, A. (1945). Sequential tests of statistical hypotheses. Annals of Mathematical Statistics 16, 117–186.
    McCullagh, P. and Nelder, J. A. (1989). Generalized Linear Models, section 9.2 (quasi-likelihood).

    Examples
    --------
    >>> round(binomial_log_ratio(48, 600, 0.05, 0.08), 3)
    4.847
    """
    if not 0 <= successes <= n:
        raise ValueError(f"need counts 0 <= successes <= n, got successes={successes!r}, n={n!r}")
    if not (0 < null < 1 and 0 < alternative < 1 and dispersion >= 1):
        raise ValueError(
            f"need shares in (0, 1) and a dispersion of at least 1, got {null!r}, {alternative!r}, {dispersion!r}"
        )
    up = math.log(alternative / null)
    down = math.log1p(-alternative) - math.log1p(-null)
    return (successes * up + (n - successes) * down) / dispersion


def normal_log_ratio(total: float, n: float, null: float, shift: float, variance: float) -> float:
    r"""Log likelihood ratio of a mean that rose by a shift against a mean that did not, by a sum of many units.

    Parameters
    ----------
    total, n
        Sum of the step's units and how many they are; n positive.
    null
        Largest mean under the null hypothesis.
    shift
        Rise that is looked for, positive.
    variance
        Variance of one unit, times the dispersion of sums; positive.

    Raises
    ------
    ValueError
        Where n, shift or variance is not positive.

    Notes
    -----
    :math:`a z - a^2/2` with :math:`z = (S - n\mu_0)/\sqrt{n\sigma^2}` and :math:`a = \min(\delta\sqrt{n}/\sigma, 2)`. The
    tilt a depends on n alone, so the exponential has expectation at most 1 whatever a is. It is held at 2, because the
    normal law of a sum of skewed units (latencies) holds in its middle, not far out; a large rise is found as soon.

    References
    ----------
    Robbins, H. (1970). Annals of Mathematical Statistics 41, 1397–1409. Waudby-Smith, I. et al. (2021). arXiv 2103.06476.

    Examples
    --------
    >>> round(normal_log_ratio(total=1_030.0, n=100, null=10.0, shift=0.2, variance=1.0), 3)
    4.0
    """
    if not (n > 0 and shift > 0 and variance > 0):
        raise ValueError(f"n, shift and variance must be positive, got {n!r}, {shift!r}, {variance!r}")
    spread = math.sqrt(n * variance)
    tilt = min(shift * n / spread, _STEEPEST_TILT)
    return tilt * (total - n * null) / spread - tilt * tilt / 2


def advance_evidence(
    evidence: Sequence[float], log_ratios: Sequence[float], *, share: float = 1.0, memory: float = math.inf
) -> tuple[float, ...]:
    r"""Take one step of the detector, one component for each size of change.

    Parameters
    ----------
    evidence
        Evidence of each component before the step; zeros at the start.
    log_ratios
        The step's log likelihood ratio for each component.
    share
        Part of this step's budget that goes to this detector, in (0, 1]; it must not depend on the step's outcome.
    memory
        Steps after which evidence has faded to 1/e; without end by default.

    Raises
    ------
    ValueError
        Where ``share`` is outside (0, 1] or ``memory`` is not positive.

    Notes
    -----
    :math:`R_t = (s + e^{-1/m} R_{t-1}) \Lambda_t`. Fading lowers the evidence only, so the budget holds.

    References
    ----------
    Roberts, S. W. (1966). A comparison of some control chart procedures. Technometrics 8, 411–430. Shin et al. (2024), as
    in `evidence_threshold`.

    Examples
    --------
    >>> advance_evidence((0.0, 3.0), (0.0, 0.0))
    (1.0, 4.0)
    """
    if not 0 < share <= 1 or not memory > 0:
        raise ValueError(f"need a share in (0, 1] and a positive memory, got {share!r} and {memory!r}")
    fade = math.exp(-1.0 / memory)
    return tuple(
        min((share + fade * held) * math.exp(min(ratio, _LARGEST_EXPONENT)), _LARGEST_EVIDENCE)
        for held, ratio in zip(evidence, log_ratios, strict=True)
    )


def mixture_evidence(evidence: Sequence[float]) -> float:
    """Evidence of all components together, weighted as `MIXTURE` says; this is what a threshold is held against.

    Examples
    --------
    >>> mixture_evidence((10.0, 0.0, 0.0, 0.0))
    7.0
    """
    return sum(weight * held for (_, weight), held in zip(MIXTURE, evidence, strict=True))
