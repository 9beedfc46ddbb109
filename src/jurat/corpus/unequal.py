"""Unequal probabilities: proportional to size, drawn systematically, and totals estimated from them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["check_size", "horvitz_thompson_total", "inclusion_probabilities", "systematic"]


def check_size(size: int, limit: int | None = None) -> None:
    """Refuse a sample's size that is no whole number from 0 to ``limit``."""
    if size < 0 or size != int(size) or (limit is not None and size > limit):
        accepted = "a whole number of at least 0" if limit is None else f"a whole number from 0 to {limit}"
        raise ValueError(f"size must be {accepted}, got {size!r}")


def inclusion_probabilities(sizes: npt.ArrayLike, size: int) -> npt.NDArray[np.float64]:
    """Probabilities proportional to size that add up to a sample's size, none above 1.

    Parameters
    ----------
    sizes
        Positive measure of each unit (turns of a conversation), shape ``(n,)``.
    size
        Units to draw, at most n.

    Returns
    -------
    ndarray
        Float64, shape ``(n,)``; sums to ``size``.

    Raises
    ------
    ValueError
        For measures that are not positive and finite, or an impossible size.

    Notes
    -----
    :math:`\\pi_i = n x_i / \\sum_j x_j`; units for which this exceeds 1 are taken for sure, and the rest is shared out anew.

    References
    ----------
    Tillé, Y. (2006). Sampling algorithms, section 2.10. Springer.

    Examples
    --------
    >>> inclusion_probabilities([1, 1, 2, 12], 2).tolist()
    [0.25, 0.25, 0.5, 1.0]
    """
    measures = np.asarray(sizes, np.float64)
    if measures.ndim != 1 or not np.all(np.isfinite(measures) & (measures > 0)):
        raise ValueError("sizes must be one row of positive finite numbers")
    check_size(size, len(measures))
    probabilities = np.zeros(len(measures))
    certain = np.zeros(len(measures), bool)
    while True:
        free = ~certain
        left = size - int(certain.sum())
        if left == 0 or not free.any():
            break
        # Scaled first, so that no sum of large measures can overflow.
        scaled = measures[free] / measures[free].max()
        probabilities[free] = left * scaled / scaled.sum()
        above = free & (probabilities >= 1 - 1e-12)
        if not above.any():
            break
        certain |= above
        probabilities[free & ~certain] = 0.0
    probabilities[certain] = 1.0
    return probabilities


def systematic(probabilities: npt.NDArray[np.float64], count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Take the units in whose stretch of the cumulated probabilities one of ``u, u + 1, …`` falls."""
    certain = np.flatnonzero(probabilities >= 1.0)
    others = np.flatnonzero(probabilities < 1.0)
    left = count - len(certain)
    if left == 0:
        return certain.astype(np.int64)
    ends = np.cumsum(probabilities[others])
    ends[-1] = left
    places = np.searchsorted(ends, rng.random() + np.arange(left), side="right")
    return np.concatenate([certain, others[places]]).astype(np.int64)


def horvitz_thompson_total(values: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Total over the whole, from values and inclusion probabilities of what was drawn.

    Parameters
    ----------
    values
        Of the drawn units, shape ``(m,)``.
    probabilities
        With which they were drawn, in (0, 1], shape ``(m,)``.

    Returns
    -------
    float
        :math:`\\sum_i y_i / \\pi_i`, unbiased where every unit had a positive probability.

    Raises
    ------
    ValueError
        For shapes that differ or probabilities outside (0, 1].

    References
    ----------
    Horvitz, D. G. and Thompson, D. J. (1952). JASA 47, 663–685.

    Examples
    --------
    >>> horvitz_thompson_total([3.0, 5.0], [0.5, 1.0])
    11.0
    """
    y, chances = np.asarray(values, np.float64), np.asarray(probabilities, np.float64)
    if y.shape != chances.shape or not np.all((chances > 0) & (chances <= 1)):
        raise ValueError("probabilities must lie in (0, 1], one for each value")
    return float(np.sum(y / chances))
