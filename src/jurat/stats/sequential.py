"""How sure can one be of an effect that is looked at again and again?

An interval made for one look fails when the data are watched: with a look a day for four weeks, a 95 % interval leaves
out the truth at some look about one time in six. The asymptotic confidence sequence (Waudby-Smith et al., 2021) holds at
all looks together, for any estimator with a standard error; `always_valid_p` is the p-value that goes with it, and
`mixture_sprt` the test of two means from which the idea came. All three rest on a large-sample approximation, so they
keep silent below `MINIMUM_CLUSTERS` independent units.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt

from jurat.stats.interval import Side, tail_probability
from jurat.stats.mean import Floats, undefined
from jurat.stats.result import Interval, Test

__all__ = [
    "MINIMUM_CLUSTERS",
    "always_valid_p",
    "confidence_sequence",
    "mixture_precision",
    "mixture_sprt",
    "sequence_half_width",
]

MINIMUM_CLUSTERS = 100
"""Independent units below which the approximation is not trusted, and no bound is given."""

_LARGEST_EXPONENT = 700.0
"""A likelihood ratio is reported up to exp of this: beyond, double precision has no number for it."""


def mixture_precision(planned_n: float, *, level: float = 0.95, side: Side = "two-sided") -> float:
    """Tuning parameter rho of the confidence sequence: narrowest where the experiment is planned to end.

    Parameters
    ----------
    planned_n
        Independent units (clusters, where units come in clusters) at which the sequence shall be tight. It must be
        fixed beforehand; a poor guess costs width, never coverage.
    level
        Coverage at all looks together; of the one bound where ``side`` is not ``"two-sided"``, then above 0.5.
    side
        ``"two-sided"``, ``"lower"`` or ``"upper"``.

    Raises
    ------
    ValueError
        Where ``planned_n`` is not positive, or ``level`` or ``side`` is not possible.

    Notes
    -----
    :math:`\\rho = \\sqrt{(-2\\ln\\alpha + \\ln(1 - 2\\ln\\alpha)) / N^*}`, an approximation to the exact optimum in
    Lambert's function. A one-sided bound at :math:`\\alpha` takes the :math:`\\rho` of the two-sided sequence at
    :math:`2\\alpha`.

    References
    ----------
    Waudby-Smith, I., Arbour, D., Sinha, R., Kennedy, E. H. and Ramdas, A. (2021). Time-uniform central limit theory
    and asymptotic confidence sequences. arXiv 2103.06476, appendix B.

    Examples
    --------
    >>> round(mixture_precision(5_000), 10)
    0.0398400668
    """
    alpha = tail_probability(level, side) * 2
    if alpha >= 1:
        raise ValueError(f"level of a one-sided sequence must lie in (0.5, 1), got {level!r}")
    if not (math.isfinite(planned_n) and planned_n > 0):
        raise ValueError(f"planned_n must be a positive number of independent units, got {planned_n!r}")
    return math.sqrt((-2 * math.log(alpha) + math.log1p(-2 * math.log(alpha))) / planned_n)


def sequence_half_width(
    variance: npt.ArrayLike, n: npt.ArrayLike, rho: float, *, level: float = 0.95, side: Side = "two-sided"
) -> Floats:
    """Distance from the estimate to the bound of the confidence sequence at every look.

    Parameters
    ----------
    variance
        Variance of one independent unit's contribution: the squared standard error times ``n``. Broadcast with ``n``.
    n
        Independent units at each look, positive.
    rho
        From `mixture_precision`; the same at every look.
    level, side
        As in `mixture_precision`.

    Returns
    -------
    numpy.ndarray
        Half-widths in the broadcast shape of ``variance`` and ``n``.

    Raises
    ------
    ValueError
        Where a variance is negative, an ``n`` or ``rho`` is not positive, or ``level`` or ``side`` is not possible.

    Notes
    -----
    Two-sided, the normal mixture boundary

    .. math::
        \\hat\\sigma \\sqrt{\\frac{2(n\\rho^2 + 1)}{n^2\\rho^2}
        \\ln\\frac{\\sqrt{n\\rho^2 + 1}}{\\alpha}};

    one-sided, where the mixture has its weight on one side of zero only, the logarithm is of
    :math:`1 + \\sqrt{n\\rho^2 + 1}/(2\\alpha)`.

    References
    ----------
    Waudby-Smith et al. (2021), arXiv 2103.06476, theorem 2.2 and, for one side, appendix B. Robbins, H. (1970).
    Statistical methods related to the law of the iterated logarithm. Annals of Mathematical Statistics 41, 1397–1409.

    Examples
    --------
    >>> sequence_half_width(1.0, [100, 1_000, 10_000], mixture_precision(5_000)).round(4).tolist()
    [0.6694, 0.1064, 0.0306]
    """
    v, units = np.broadcast_arrays(np.asarray(variance, dtype=np.float64), np.asarray(n, dtype=np.float64))
    alpha = tail_probability(level, side) * (2 if side == "two-sided" else 1)
    if not (np.all(np.isfinite(v)) and np.all(v >= 0)):
        raise ValueError(f"variance must be finite and at least 0, got {variance!r}")
    if not (np.all(np.isfinite(units)) and np.all(units > 0)):
        raise ValueError(f"n must be positive, got {n!r}")
    if not (math.isfinite(rho) and rho > 0):
        raise ValueError(f"rho must be positive, got {rho!r}")
    known = units * rho**2
    root = np.sqrt(known + 1)
    logarithm = np.log(root / alpha) if side == "two-sided" else np.log1p(root / (2 * alpha))
    return np.asarray(np.sqrt(2 * v * (known + 1) / (units * known) * logarithm), dtype=np.float64)


def confidence_sequence(
    value: float,
    se: float,
    n: int,
    *,
    planned_n: float,
    level: float = 0.95,
    n_clusters: int | None = None,
    side: Side = "two-sided",
) -> Interval:
    """Interval of an effect at one of many looks, valid at all of them together.

    Parameters
    ----------
    value, se
        Estimate and its standard error at this look, as for one look. For clustered units, the clustered one.
    n
        Units that entered, both groups together.
    planned_n
        Independent units at which the experiment is planned to end, counted as they are here: clusters where
        ``n_clusters`` is given. Fixed before the first look.
    level
        Chance that no look's interval leaves out the truth.
    n_clusters
        Independent clusters, both groups together, where units come in clusters: they, not the units, are then what
        the boundary counts.
    side
        ``"lower"`` or ``"upper"`` for a one-sided sequence.

    Returns
    -------
    Interval
        ``value`` without bounds, and the reason, below `MINIMUM_CLUSTERS` independent units or where the standard
        error is 0. The bounds of earlier looks are not intersected: they hold together with these.

    Raises
    ------
    ValueError
        Where an argument is not finite, ``se`` is negative, counts are impossible, or ``level`` or ``side`` is not
        possible.

    Notes
    -----
    `sequence_half_width` with the variance :math:`\\mathrm{se}^2 n`, where n counts the independent units. The width is
    the price of looking: 1.55 times that of the interval for one look at the planned end, for 95 %.

    References
    ----------
    Waudby-Smith et al. (2021), as in `sequence_half_width`.

    Examples
    --------
    >>> print(confidence_sequence(0.02, 0.00998, 10_000, planned_n=5_000))
    0.02 [-0.01055, 0.05055] 0.95 n=10000 asymptotic confidence sequence
    """
    rho = mixture_precision(planned_n, level=level, side=side)
    units = _independent_units(value, se, n, n_clusters)
    method = "asymptotic confidence sequence"
    reason = _unfit(se, units)
    if reason is not None:
        return undefined(reason, level=level, n=n, method=method, value=value, n_clusters=n_clusters)
    half = float(sequence_half_width(se**2 * units, units, rho, level=level, side=side))
    return Interval(
        value=value,
        low=None if side == "upper" else value - half,
        high=None if side == "lower" else value + half,
        level=level,
        n=n,
        n_clusters=n_clusters,
        method=method,
        se=se,
    )


def always_valid_p(
    value: float,
    se: float,
    n: int,
    *,
    planned_n: float,
    null: float = 0.0,
    level: float = 0.95,
    n_clusters: int | None = None,
    alternative: Literal["two-sided", "less", "greater"] = "two-sided",
) -> float:
    """P-value that may be read at every look: the confidence sequence, inverted.

    Parameters
    ----------
    value, se, n, planned_n, n_clusters
        As in `confidence_sequence`.
    null
        Effect under the hypothesis.
    level
        Level for which the sequence is tuned: the p-value is at most ``1 - level`` exactly where the sequence at this
        ``level`` leaves out ``null``. At every other level it is as valid, and a little less sharp.
    alternative
        ``"greater"`` goes with the sequence of lower bounds, ``"less"`` with that of upper bounds.

    Returns
    -------
    float
        In [0, 1]; 1 where the sequence has no bounds. Its running minimum over looks is valid too.

    Raises
    ------
    ValueError
        As in `confidence_sequence`, or where ``null`` is not finite or ``alternative`` unknown.

    Notes
    -----
    With :math:`z = (\\hat\\theta - \\theta_0)/\\mathrm{se}` and :math:`m = n\\rho^2`, two-sided
    :math:`p = \\sqrt{m + 1}\\, e^{-z^2 m / (2(m + 1))}`, and one-sided
    :math:`p = \\sqrt{m + 1} / (2 (e^{z^2 m / (2(m + 1))} - 1))` where the effect lies on the side of the alternative;
    never more than 1.

    References
    ----------
    Johari, R., Koomen, P., Pekelis, L. and Walsh, D. (2022). Always valid inference: continuous monitoring of A/B
    tests. Operations Research 70, 1806–1821. Waudby-Smith et al. (2021), as in `sequence_half_width`.

    Examples
    --------
    >>> round(always_valid_p(0.05, 0.00998, 10_000, planned_n=5_000), 6)
    3.1e-05
    """
    if alternative not in ("two-sided", "less", "greater"):
        raise ValueError(f"alternative must be 'two-sided', 'less' or 'greater', got {alternative!r}")
    if not math.isfinite(null):
        raise ValueError(f"null must be finite, got {null!r}")
    side: Side = "two-sided" if alternative == "two-sided" else "lower" if alternative == "greater" else "upper"
    rho = mixture_precision(planned_n, level=level, side=side)
    units = _independent_units(value, se, n, n_clusters)
    distance = value - null
    wrong_way = (alternative == "greater" and distance <= 0) or (alternative == "less" and distance >= 0)
    if _unfit(se, units) is not None or distance == 0 or wrong_way:
        return 1.0
    known = units * rho**2
    exponent = (distance / se) ** 2 * known / (2 * (known + 1))
    if alternative == "two-sided":
        return min(math.sqrt(known + 1) * math.exp(-exponent), 1.0)
    # Written with the falling exponential, which cannot overflow.
    top, bottom = math.sqrt(known + 1) * math.exp(-exponent), -2 * math.expm1(-exponent)
    return top / bottom if top < bottom else 1.0


def _independent_units(value: float, se: float, n: int, n_clusters: int | None) -> int:
    """Refuse what no look can have; count what is independent."""
    if not (math.isfinite(value) and math.isfinite(se) and se >= 0):
        raise ValueError(f"value must be finite and se finite and at least 0, got value={value!r}, se={se!r}")
    if n < 0 or n != int(n) or (n_clusters is not None and not 0 <= n_clusters <= n):
        raise ValueError(f"need whole numbers 0 <= n_clusters <= n, got n_clusters={n_clusters!r}, n={n!r}")
    return int(n if n_clusters is None else n_clusters)


def _unfit(se: float, units: int) -> str | None:
    if units < MINIMUM_CLUSTERS:
        return f"a confidence sequence needs at least {MINIMUM_CLUSTERS} independent units, there are {units}"
    return "the units show no spread" if se == 0 else None


def mixture_sprt(difference: float, n: int, variance: float, tau_squared: float) -> Test:
    """Mixture sequential probability ratio test of the difference of two means.

    Parameters
    ----------
    difference
        Difference of the means of the groups at this look.
    n
        Independent units in each of the two groups, at least 1.
    variance
        Variance of one unit, common to both groups.
    tau_squared
        Variance of the normal mixture over differences, fixed before the first look: about the square of the
        differences that are expected.

    Returns
    -------
    Test
        ``statistic`` is the likelihood ratio :math:`\\Lambda` (reported up to exp(700)), ``p_value``
        :math:`\\min(1, 1/\\Lambda)`, which may be read at every look; ``n`` counts both groups.

    Raises
    ------
    ValueError
        Where ``difference`` is not finite, ``n`` is below 1, or a variance is not positive.

    Notes
    -----
    With :math:`V = 2\\sigma^2`,
    :math:`\\Lambda = \\sqrt{\\frac{V}{V + n\\tau^2}}
    \\exp\\frac{n^2\\tau^2 d^2}{2V(V + n\\tau^2)}`.

    References
    ----------
    Robbins (1970), as in `sequence_half_width`. Johari et al. (2022), as in `always_valid_p`.

    Examples
    --------
    >>> test = mixture_sprt(0.1, 1_000, 1.0, 0.01)
    >>> round(test.statistic, 10), round(test.p_value, 10)
    (3.2787216275, 0.3049969206)
    """
    if not math.isfinite(difference) or n < 1 or n != int(n):
        raise ValueError(f"need a finite difference and a whole n of at least 1, got {difference!r} and {n!r}")
    for name, x in (("variance", variance), ("tau_squared", tau_squared)):
        if not (math.isfinite(x) and x > 0):
            raise ValueError(f"{name} must be positive, got {x!r}")
    both = 2 * variance
    total = both + n * tau_squared
    log_ratio = 0.5 * math.log(both / total) + n * tau_squared / total * n * difference**2 / (2 * both)
    return Test(
        statistic=math.exp(min(log_ratio, _LARGEST_EXPONENT)),
        p_value=min(math.exp(-max(log_ratio, 0.0)), 1.0),
        alternative="two-sided",
        n=2 * int(n),
        method="mixture SPRT, normal",
    )
