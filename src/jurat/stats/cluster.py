"""How far may a mean over clusters be off?

The two sandwiches of a mean (or ratio of sums), from each cluster's size and summed residual: CR1 with G − 1 degrees of
freedom, and CR2 (Bell and McCaffrey, 2002) with Satterthwaite's. Intervals of means and of shares both rest on them.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

__all__ = ["FEW_CLUSTERS", "check_cluster_sums", "chosen_correction", "cluster_spread"]

Floats = npt.NDArray[np.float64]

FEW_CLUSTERS = 40
"""Below this, CR1 with t(G − 1) is too narrow (Cameron, Gelbach and Miller, 2008)."""


def check_cluster_sums(sizes: Floats, sums: Floats) -> None:
    """Refuse per-cluster sizes and sums that no data can have."""
    if sizes.shape != sums.shape:
        raise ValueError(f"n and total must have one length, got {len(sizes)} and {len(sums)}")
    wrong = (sizes < 0) | ((sizes == 0) & (sums != 0))
    if np.any(wrong):
        g = int(np.argmax(wrong))
        raise ValueError(f"a cluster cannot have {sizes[g]:g} units with sum {sums[g]:g} (cluster {g})")


def chosen_correction(correction: str, clusters: int) -> str:
    """Settle ``"auto"`` by the number of clusters; refuse what is unknown."""
    if correction not in ("auto", "CR1", "CR2"):
        hint = "; for the wild bootstrap see jurat.stats.wild.wild_cluster_mean" if correction == "wild" else ""
        raise ValueError(f"correction must be 'auto', 'CR1' or 'CR2', got {correction!r}{hint}")
    if correction == "auto":
        return "CR1" if clusters >= FEW_CLUSTERS else "CR2"
    return correction


def cluster_spread(sizes: Floats, residual: Floats, correction: str) -> tuple[float, float]:
    """Standard error and degrees of freedom of a sum of residuals over a sum of sizes.

    Parameters
    ----------
    sizes
        Units (or denominators) per cluster, shape (clusters,), two clusters or more.
    residual
        Sum per cluster of the values less their overall mean, shape (clusters,).
    correction
        ``"CR1"`` or ``"CR2"``; CR2 needs every cluster to hold less than the whole.

    Returns
    -------
    tuple
        Standard error, degrees of freedom.

    References
    ----------
    Bell, R. M. and McCaffrey, D. F. (2002). Survey Methodology 28, 169–181.

    Examples
    --------
    >>> se, df = cluster_spread(np.array([4.0, 4.0, 4.0]), np.array([1.0, -1.0, 0.0]), "CR2")
    >>> round(se, 6), round(df, 6)
    (0.144338, 2.0)
    """
    if correction == "CR2":
        return _cr2(sizes, residual)
    clusters = len(sizes)
    return math.sqrt(clusters / (clusters - 1) * float(residual @ residual)) / float(sizes.sum()), clusters - 1.0


def _cr2(sizes: Floats, residual: Floats) -> tuple[float, float]:
    """Standard error and degrees of freedom of CR2 for a mean.

    For the constant regressor the adjustment of cluster g is 1/sqrt(1 − n_g/N) on its summed residual. Under
    independent units the summed residuals have covariance n_g δ_gh − n_g n_h / N, which gives the matrix B.
    """
    share = sizes / sizes.sum()
    weight = 1.0 / (1.0 - share)
    se = math.sqrt(float(weight @ residual**2)) / float(sizes.sum())
    # B_gg = n_g; B_gh² = (w_g n_g s_g)(w_h n_h s_h), as (n_g n_h / N)² = n_g s_g n_h s_h.
    trace = float(sizes.sum())
    cross = weight * sizes * share
    trace_of_square = float(np.sum(sizes**2)) + (float(np.sum(cross)) ** 2 - float(np.sum(cross**2)))
    return se, trace**2 / trace_of_square
