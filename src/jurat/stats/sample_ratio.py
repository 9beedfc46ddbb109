"""Were the units assigned in the shares that were planned?

A sample-ratio mismatch is a fault in assignment or logging, and makes every effect of the experiment doubtful. Pearson's
chi-squared test answers once, at the end. While the experiment runs, the multinomial mixture of Lindon and Malek (2022)
may be read after every unit: the counts' likelihood under a Dirichlet mixture over the planned one is a martingale where
the plan is kept.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import special
from scipy import stats as sps

from jurat.stats.mean import Floats
from jurat.stats.result import Test

__all__ = ["sample_ratio_test", "sequential_sample_ratio_p", "sequential_sample_ratio_test"]

_LARGEST_EXPONENT = 700.0
"""A Bayes factor is reported up to exp of this: beyond, double precision has no number for it."""


def sample_ratio_test(counts: npt.ArrayLike, shares: npt.ArrayLike) -> Test:
    """Test once whether counts agree with their planned shares.

    Parameters
    ----------
    counts
        Units (not rows) per arm, shape (arms,), whole, at least one unit in all.
    shares
        Planned shares, shape (arms,), positive; they are normalised to one.

    Returns
    -------
    Test
        Pearson's chi-squared with arms − 1 degrees of freedom. With fewer than about 5 units expected in an arm it is
        rough.

    Raises
    ------
    ValueError
        Where counts are not whole, there are no units, fewer than two arms, or a share is not positive.

    Notes
    -----
    :math:`\\chi^2 = \\sum_a (n_a - n\\theta_a)^2 / (n\\theta_a)`. Read at every look until it rejects, it rejects sooner
    or later; use `sequential_sample_ratio_test` then.

    References
    ----------
    Pearson, K. (1900). Philosophical Magazine 50, 157–175. Fabijan, A. et al. (2019). Diagnosing sample ratio mismatch
    in online controlled experiments. KDD 2019, 2156–2164.

    Examples
    --------
    >>> test = sample_ratio_test([10_000, 10_500], [0.5, 0.5])
    >>> round(test.statistic, 10), round(test.p_value, 11)
    (12.1951219512, 0.00047914643)
    """
    theta = _shares(shares)
    seen = _counts(counts, theta)
    if seen.ndim != 1 or seen.sum() == 0:
        raise ValueError(f"counts must be one count per arm with a unit in all, got {np.asarray(counts).tolist()!r}")
    total = float(seen.sum())
    statistic = float(np.sum((seen - total * theta) ** 2 / (total * theta)))
    df = len(theta) - 1.0
    return Test(
        statistic=statistic,
        p_value=float(sps.chi2.sf(statistic, df)),
        alternative="two-sided",
        n=int(total),
        method="Pearson chi-squared",
        df=df,
    )


def sequential_sample_ratio_test(
    counts: npt.ArrayLike, shares: npt.ArrayLike, *, concentration: float | None = None
) -> Test:
    """Test at any time, and as often as one likes, whether counts agree with their planned shares.

    Parameters
    ----------
    counts
        Units per arm so far, shape (arms,), whole; there may be none yet.
    shares
        Planned shares, shape (arms,), positive; they are normalised to one.
    concentration
        Sum of the Dirichlet parameters, which are in proportion to the shares; positive, fixed beforehand. The number
        of arms where not given, so that two equal arms have the uniform prior. Small departures from the plan are found
        sooner with a larger one (about one over the square of the departure), gross ones with a smaller one.

    Returns
    -------
    Test
        ``statistic`` is the Bayes factor against the plan (reported up to exp(700)), ``p_value`` one over it, at most 1.

    Raises
    ------
    ValueError
        Where counts are not whole, there are fewer than two arms, or a share or ``concentration`` is not positive.

    Notes
    -----
    With Dirichlet parameters :math:`\\alpha_a = c\\,\\theta_a` and :math:`n = \\sum_a n_a`,

    .. math::
        B_n = \\frac{\\Gamma(c)}{\\Gamma(c + n)}
        \\prod_a \\frac{\\Gamma(\\alpha_a + n_a)}{\\Gamma(\\alpha_a)\\,\\theta_a^{n_a}}.

    Under the plan the chance that :math:`B_n` ever reaches :math:`1/\\alpha` is at most :math:`\\alpha` (Ville, 1939),
    at every sample size: nothing here is asymptotic.

    References
    ----------
    Lindon, M. and Malek, A. (2022). Anytime-valid inference for multinomial count data. NeurIPS 35. arXiv 2011.03567.

    Examples
    --------
    >>> round(sequential_sample_ratio_test([10_000, 10_500], [0.5, 0.5]).p_value, 2)
    0.26
    """
    theta = _shares(shares)
    seen = _counts(counts, theta)
    if seen.ndim != 1:
        raise ValueError(f"counts must be one count per arm, got shape {seen.shape}")
    log_factor = float(_log_bayes_factor(seen, theta, concentration))
    return Test(
        statistic=math.exp(min(log_factor, _LARGEST_EXPONENT)),
        p_value=math.exp(-max(log_factor, 0.0)),
        alternative="two-sided",
        n=int(seen.sum()),
        method="multinomial mixture, Dirichlet",
    )


def sequential_sample_ratio_p(
    counts: npt.ArrayLike, shares: npt.ArrayLike, *, concentration: float | None = None
) -> Floats:
    """P-value of `sequential_sample_ratio_test` at every look, never rising.

    Parameters
    ----------
    counts
        Units per arm up to each look, shape (looks, arms), whole, never falling; leading axes stand for further
        experiments.
    shares, concentration
        As in `sequential_sample_ratio_test`.

    Returns
    -------
    numpy.ndarray
        The smallest p-value up to each look, of the shape of ``counts`` without the arms.

    Raises
    ------
    ValueError
        As in `sequential_sample_ratio_test`, or where a count falls from one look to the next.

    References
    ----------
    Lindon and Malek (2022), as in `sequential_sample_ratio_test`.

    Examples
    --------
    >>> sequential_sample_ratio_p([[480, 520], [900, 1_100], [1_500, 1_500]], [1, 1]).round(4).tolist()
    [1.0, 0.0016, 0.0016]
    """
    theta = _shares(shares)
    seen = _counts(counts, theta)
    if seen.ndim < 2:
        raise ValueError(f"counts must have looks and arms as their last axes, got shape {seen.shape}")
    if np.any(np.diff(seen, axis=-2) < 0):
        raise ValueError("counts must be cumulative: a count falls from one look to the next")
    p = np.exp(-np.maximum(_log_bayes_factor(seen, theta, concentration), 0.0))
    return np.asarray(np.minimum.accumulate(p, axis=-1), dtype=np.float64)


def _shares(shares: npt.ArrayLike) -> Floats:
    theta = np.asarray(shares, dtype=np.float64)
    if theta.ndim != 1 or len(theta) < 2 or not (np.all(np.isfinite(theta)) and np.all(theta > 0)):
        raise ValueError(f"shares must be two or more positive numbers, got {theta.tolist()!r}")
    return np.asarray(theta / theta.sum(), dtype=np.float64)


def _counts(counts: npt.ArrayLike, theta: Floats) -> Floats:
    seen = np.asarray(counts, dtype=np.float64)
    if seen.ndim == 0 or seen.shape[-1] != len(theta):
        raise ValueError(f"counts must have one column per share ({len(theta)}), got shape {seen.shape}")
    possible = np.isfinite(seen) & (seen >= 0) & (seen == np.floor(seen))
    if not np.all(possible):
        raise ValueError(f"counts must be whole numbers of at least 0, got {float(seen[~possible][0])!r}")
    return seen


def _log_bayes_factor(seen: Floats, theta: Floats, concentration: float | None) -> Floats:
    """Logarithm of the mixture's likelihood over the plan's, over the last axis."""
    c = float(len(theta)) if concentration is None else concentration
    if not (math.isfinite(c) and c > 0):
        raise ValueError(f"concentration must be positive, got {concentration!r}")
    prior = c * theta
    arms = special.gammaln(prior + seen) - special.gammaln(prior) - seen * np.log(theta)
    total = special.gammaln(c) - special.gammaln(c + seen.sum(axis=-1))
    return np.asarray(total + arms.sum(axis=-1), dtype=np.float64)
