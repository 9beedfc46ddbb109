"""How sure can one be when one looks every day?

Asymptotic confidence sequences: intervals that hold at all looks together, so that stopping at any of them, for any reason,
keeps the error. The price is width; it is smallest around a number of units that is fixed beforehand. In clustered designs
the units are the clusters.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from jurat.stats.result import Interval, Test

__all__ = [
    "MINIMUM_UNITS", "always_valid_p", "confidence_sequence", "mixture_precision", "mixture_sprt", "sequence_half_width",
]  # fmt: skip

MINIMUM_UNITS = 100
"""Below this many independent units, the asymptotics of the sequence are not trusted."""


def _check(level: float, planned_n: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"level must lie in (0, 1), got {level!r}")
    if not (math.isfinite(planned_n) and planned_n > 0):
        raise ValueError(f"planned_n must be a positive number of units, got {planned_n!r}")
    return 1 - level


def mixture_precision(planned_n: float, *, level: float = 0.95) -> float:
    r"""Precision of the mixture that makes the sequence narrowest at a planned number of units.

    Parameters
    ----------
    planned_n
        Independent units at which the sequence shall be narrowest.
    level
        Coverage over all looks.

    Raises
    ------
    ValueError
        For a level outside (0, 1) or no units.

    Notes
    -----
    :math:`\rho = \sqrt{(-2\ln\alpha + \ln(1 - 2\ln\alpha)) / n^*}`.

    References
    ----------
    Waudby-Smith, I., Arbour, D., Sinha, R., Kennedy, E. H. and Ramdas, A. (2021). Time-uniform central limit theory and
    asymptotic confidence sequences. arXiv:2103.06476.

    Examples
    --------
    >>> round(mixture_precision(5000), 10)
    0.0398400668
    """
    alpha = _check(level, planned_n)
    return math.sqrt((-2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha))) / planned_n)


def sequence_half_width(
    variance: npt.ArrayLike, n: npt.ArrayLike, rho: float, *, level: float = 0.95
) -> npt.NDArray[np.float64]:
    r"""Half-width of the asymptotic confidence sequence at each look.

    Parameters
    ----------
    variance
        Variance of one unit's contribution at each look; broadcasts with ``n``.
    n
        Independent units at each look, positive.
    rho
        Precision of the mixture, from `mixture_precision`.
    level
        Coverage over all looks.

    Returns
    -------
    numpy.ndarray
        Half-widths.

    Raises
    ------
    ValueError
        For a negative variance or no units.

    Notes
    -----
    :math:`\sqrt{\sigma^2 \frac{2 (n\rho^2 + 1)}{n^2\rho^2} \ln\frac{\sqrt{n\rho^2 + 1}}{\alpha}}`.

    References
    ----------
    Waudby-Smith, I. et al. (2021). arXiv:2103.06476, theorem 2.2.

    Examples
    --------
    >>> float(sequence_half_width(1.0, 5000, mixture_precision(5000)).round(6))
    0.042924
    """
    v, count = np.asarray(variance, dtype=np.float64), np.asarray(n, dtype=np.float64)
    if np.any(v < 0) or np.any(count <= 0):
        raise ValueError(f"need variances of at least 0 and positive n, got {variance!r} and {n!r}")
    alpha = _check(level, 1)
    grown = count * rho**2 + 1
    half: npt.NDArray[np.float64] = np.sqrt(v * 2 * grown / (count * rho) ** 2 * np.log(np.sqrt(grown) / alpha))
    return half


def confidence_sequence(
    value: float,
    se: float,
    n: int,
    *,
    planned_n: float,
    level: float = 0.95,
    rows: int | None = None,
    clustered: bool = True,
) -> Interval:
    r"""Interval of an effect at one look that holds at all looks together.

    Parameters
    ----------
    value, se
        The estimate and its fixed-sample standard error at this look, cluster-robust where there are clusters.
    n
        Independent units (clusters of all arms) at this look.
    planned_n
        Units at which the sequence shall be narrowest; fixed before the first look.
    level
        Coverage over all looks.
    rows
        Rows behind the estimate; ``n`` by default.
    clustered
        Whether the units are clusters, which the interval then counts.

    Returns
    -------
    Interval
        Without bounds, and with the reason, below `MINIMUM_UNITS` units or where the error cannot be seen.

    Raises
    ------
    ValueError
        For a negative standard error.

    Notes
    -----
    `sequence_half_width` at :math:`\sigma^2 = n \cdot se^2`: the estimate is asymptotically a mean of ``n`` independent
    contributions, with random numbers of units per arm allowed.

    References
    ----------
    Waudby-Smith, I. et al. (2021). arXiv:2103.06476.

    Examples
    --------
    >>> p, q = 2600 / 5000, 2700 / 5000
    >>> se = ((p * (1 - p) + q * (1 - q)) / 5000) ** 0.5
    >>> print(confidence_sequence(q - p, se, 10_000, planned_n=5000, clustered=False))
    0.02 [-0.01055, 0.05055] 0.95 n=10000 asymptotic confidence sequence
    """
    if se < 0:
        raise ValueError(f"a standard error must not be negative, got {se!r}")
    _check(level, planned_n)
    method, reason = "asymptotic confidence sequence", None
    if n < MINIMUM_UNITS:
        reason = f"a confidence sequence needs at least {MINIMUM_UNITS} independent units, there are {n}"
    elif se == 0:
        reason = "all units are alike: the sample shows no spread"
    half = None
    if reason is None:
        half = float(sequence_half_width(n * se**2, n, mixture_precision(planned_n, level=level), level=level))
    return Interval(
        value=value,
        low=None if half is None else value - half,
        high=None if half is None else value + half,
        level=level,
        n=n if rows is None else rows,
        n_clusters=n if clustered else None,
        method=method,
        se=se or None,
        reason=reason,
    )


def always_valid_p(
    value: float, se: float, n: int, *, planned_n: float, level: float = 0.95, null: float = 0.0
) -> float:
    r"""Two-sided p-value that may be read at any look, consistent with `confidence_sequence`.

    Parameters
    ----------
    value, se, n, planned_n, level
        As in `confidence_sequence`; ``level`` fixes the mixture, as it does there.
    null
        The number the effect is held against.

    Returns
    -------
    float
        Small where the sequence excludes ``null``; 1 below `MINIMUM_UNITS` units.

    Notes
    -----
    :math:`p = \min(1, \sqrt{n\rho^2 + 1}\, \exp(-\frac{z^2}{2} \frac{n\rho^2}{n\rho^2 + 1}))` with
    :math:`z = (value - null)/se`: the smallest error at which the sequence with this mixture excludes ``null``.

    References
    ----------
    Johari, R., Koomen, P., Pekelis, L. and Walsh, D. (2022). Always valid inference: continuous monitoring of A/B tests.
    Operations Research 70, 1806–1821.

    Examples
    --------
    >>> round(always_valid_p(0.02, 0.00998, 10_000, planned_n=5000), 4)
    0.6212
    """
    if n < MINIMUM_UNITS or se <= 0:
        return 1.0
    grown = n * mixture_precision(planned_n, level=level) ** 2
    exponent = -0.5 * ((value - null) / se) ** 2 * grown / (grown + 1)
    return min(1.0, math.sqrt(grown + 1) * math.exp(exponent))


def mixture_sprt(difference: float, n: int, variance: float, tau_squared: float) -> Test:
    r"""Mixture sequential probability ratio test of a difference of two arms.

    Parameters
    ----------
    difference
        Mean of the one arm less that of the other.
    n
        Units per arm.
    variance
        Variance of one unit, the same on both arms.
    tau_squared
        Variance of the normal mixture over effects.

    Returns
    -------
    Test
        ``statistic`` is the mixture likelihood ratio; its reciprocal is an always-valid p-value.

    Raises
    ------
    ValueError
        Where ``n``, ``variance`` or ``tau_squared`` is not positive.

    Notes
    -----
    :math:`\Lambda = \sqrt{\frac{2\sigma^2}{2\sigma^2 + n\tau^2}}
    \exp\left(\frac{\tau^2 n^2 d^2}{4\sigma^2 (2\sigma^2 + n\tau^2)}\right)`.

    References
    ----------
    Johari, R. et al. (2022). Operations Research 70, 1806–1821. Robbins, H. (1970). Annals of Mathematical Statistics 41.

    Examples
    --------
    >>> test = mixture_sprt(0.1, 1000, 1.0, 0.01)
    >>> round(test.statistic, 10), round(test.p_value, 10)
    (3.2787216275, 0.3049969206)
    """
    if n <= 0 or variance <= 0 or tau_squared <= 0:
        raise ValueError(f"n, variance and tau_squared must be positive, got {n!r}, {variance!r}, {tau_squared!r}")
    doubled = 2 * variance
    spread = doubled + n * tau_squared
    ratio = math.sqrt(doubled / spread) * math.exp(tau_squared * (n * difference) ** 2 / (2 * doubled * spread))
    return Test(
        statistic=ratio,
        p_value=min(1.0, 1 / ratio),
        alternative="two-sided",
        n=2 * n,
        method="mixture sequential probability ratio test",
    )
