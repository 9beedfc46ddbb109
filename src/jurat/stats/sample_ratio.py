"""Did the units split as planned?

Once, at the end: Pearson's chi-squared. Every day while the experiment runs: the multinomial mixture, whose p-value may be
read at any time because it bounds the chance of ever falling below the level.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import special
from scipy import stats as sps

from jurat.stats.result import Test

__all__ = ["sample_ratio_test", "sequential_sample_ratio_p", "sequential_sample_ratio_test"]

Floats = npt.NDArray[np.float64]


def _checked(counts: npt.ArrayLike, shares: Sequence[float]) -> tuple[Floats, Floats]:
    n, planned = np.asarray(counts, dtype=np.float64), np.asarray(shares, dtype=np.float64)
    if n.shape[-1:] != planned.shape or planned.ndim != 1 or len(planned) < 2:
        raise ValueError(
            f"need one count for each of two planned shares or more, got shapes {n.shape}, {planned.shape}"
        )
    if np.any(n < 0) or not np.all(np.isfinite(n)) or np.any(n != np.floor(n)):
        raise ValueError(f"counts must be whole numbers of at least 0, got {counts!r}")
    if np.any(planned <= 0) or not np.all(np.isfinite(planned)):
        raise ValueError(f"planned shares must be positive, got {shares!r}")
    return n, planned / planned.sum()


def sample_ratio_test(counts: Sequence[int], shares: Sequence[float]) -> Test:
    """Test a split of units against the planned shares, once.

    Parameters
    ----------
    counts
        Units per arm.
    shares
        Planned shares, normalised to one.

    Raises
    ------
    ValueError
        For impossible counts or shares, or no units.

    References
    ----------
    Pearson, K. (1900). Philosophical Magazine 50, 157–175. Fabijan, A. et al. (2019). KDD.

    Examples
    --------
    >>> round(sample_ratio_test([10_000, 10_500], [0.5, 0.5]).statistic, 10)
    12.1951219512
    """
    n, planned = _checked(counts, shares)
    if n.sum() == 0:
        raise ValueError("there are no units to test, got counts of 0")
    found = sps.chisquare(n, planned * n.sum())
    return Test(
        statistic=float(found.statistic), p_value=float(found.pvalue), alternative="two-sided", n=int(n.sum()),
        method="Pearson chi-squared", df=float(len(n) - 1),
    )  # fmt: skip


def sequential_sample_ratio_p(
    counts: npt.ArrayLike, shares: Sequence[float], *, concentration: float | None = None
) -> Floats:
    r"""Always-valid p-value of the split at each look: the smallest so far.

    Parameters
    ----------
    counts
        Cumulative units, shape (looks, arms).
    shares
        Planned shares, normalised to one.
    concentration
        Total of the Dirichlet prior centred at the shares; the number of arms by default, which for an even split is the
        uniform prior. A larger one looks for smaller deviations.

    Returns
    -------
    numpy.ndarray
        Shape (looks,), never increasing.

    Raises
    ------
    ValueError
        For impossible counts, shares or concentration.

    Notes
    -----
    The reciprocal of :math:`\frac{B(a + n)}{B(a)} \prod_i \theta_i^{-n_i}`, with :math:`B` the multivariate Beta function.

    References
    ----------
    Lindon, M. and Malek, A. (2022). Anytime-valid inference for multinomial count data. NeurIPS 35.

    Examples
    --------
    >>> sequential_sample_ratio_p([[100, 90], [10_000, 10_500]], [0.5, 0.5]).round(4).tolist()
    [1.0, 0.2568]
    """
    n, planned = _checked(np.atleast_2d(np.asarray(counts, dtype=np.float64)), shares)
    total = float(len(planned)) if concentration is None else concentration
    if not (np.isfinite(total) and total > 0):
        raise ValueError(f"the concentration must be positive, got {concentration!r}")
    prior = total * planned
    log_ratio = (
        special.gammaln(total)
        - special.gammaln(total + n.sum(axis=1))
        + (special.gammaln(prior + n) - special.gammaln(prior)).sum(axis=1)
        - (n * np.log(planned)).sum(axis=1)
    )
    running: Floats = np.minimum.accumulate(np.exp(-np.maximum(log_ratio, 0.0)))
    return running


def sequential_sample_ratio_test(
    counts: Sequence[int], shares: Sequence[float], *, concentration: float | None = None
) -> Test:
    """Test a split of units at one of many looks.

    Parameters
    ----------
    counts, shares, concentration
        As in `sequential_sample_ratio_p`, at this look.

    References
    ----------
    Lindon, M. and Malek, A. (2022). NeurIPS 35.

    Examples
    --------
    >>> round(sequential_sample_ratio_test([10_000, 10_500], [0.5, 0.5]).p_value, 4)
    0.2568
    """
    p = float(sequential_sample_ratio_p([list(counts)], shares, concentration=concentration)[0])
    return Test(
        statistic=None, p_value=p, alternative="two-sided", n=int(sum(counts)), method="Dirichlet–multinomial mixture"
    )
