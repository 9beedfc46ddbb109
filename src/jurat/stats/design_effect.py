"""What do clusters and erring annotators cost in sample size?

Rows of one cluster repeat each other; labels that are sometimes wrong blur a difference. Both are known before the
experiment and belong into its size.
"""

from __future__ import annotations

import math

__all__ = ["design_effect", "read_through_annotators"]


def design_effect(mean_cluster_size: float, icc: float, *, size_cv: float = 0.0) -> float:
    r"""Factor by which clusters inflate the variance of a mean over rows.

    Parameters
    ----------
    mean_cluster_size
        Mean rows per cluster, at least 1.
    icc
        Intraclass correlation within a cluster, in [0, 1].
    size_cv
        Coefficient of variation of the cluster sizes, at least 0.

    Raises
    ------
    ValueError
        For values that cannot be.

    Notes
    -----
    :math:`1 + ((1 + CV^2) m - 1) \rho`.

    References
    ----------
    Eldridge, S. M., Ashby, D. and Kerry, S. (2006). Sample size for cluster randomized trials: effect of coefficient of
    variation of cluster size and analysis method. International Journal of Epidemiology 35, 1292–1300.

    Examples
    --------
    >>> design_effect(8, 0.1), design_effect(8, 0.1, size_cv=1.0)
    (1.7000000000000002, 2.5)
    """
    if not (math.isfinite(mean_cluster_size) and mean_cluster_size >= 1):
        raise ValueError(f"the mean cluster size must be at least 1, got {mean_cluster_size!r}")
    if not 0 <= icc <= 1:
        raise ValueError(f"the intraclass correlation must lie in [0, 1], got {icc!r}")
    if not (math.isfinite(size_cv) and size_cv >= 0):
        raise ValueError(f"the coefficient of variation must be at least 0, got {size_cv!r}")
    return 1 + ((1 + size_cv**2) * mean_cluster_size - 1) * icc


def read_through_annotators(p: float, accuracy: float) -> float:
    r"""Share that annotators report of a true share, each label right with the same probability.

    Parameters
    ----------
    p
        True share, in [0, 1].
    accuracy
        Probability that a label is right, in (0.5, 1].

    Raises
    ------
    ValueError
        For values that cannot be, or labels no better than a coin.

    Notes
    -----
    :math:`p' = p a + (1 - p)(1 - a)`; a difference shrinks by :math:`2a - 1`.

    References
    ----------
    Bross, I. (1954). Misclassification in 2 × 2 tables. Biometrics 10, 478–486.

    Examples
    --------
    >>> round(read_through_annotators(0.52, 0.9), 3)
    0.516
    """
    if not 0 <= p <= 1:
        raise ValueError(f"a share must lie in [0, 1], got {p!r}")
    if not 0.5 < accuracy <= 1:
        raise ValueError(f"the accuracy must lie in (0.5, 1], got {accuracy!r}")
    return p * accuracy + (1 - p) * (1 - accuracy)
