"""Did the treated change more than the others did?

Two groups and two periods give the difference of two changes. It rests on one assumption, that without treatment the
groups would have moved in parallel; with more periods `jurat.stats.event_study.event_study` puts that to the test.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from jurat.stats.cluster import chosen_correction
from jurat.stats.event_study import finite_vector
from jurat.stats.mean import Floats, cluster_codes, cluster_robust_ols, mean, t_interval, undefined
from jurat.stats.propensity import binary_arms
from jurat.stats.result import Interval

__all__ = ["DifferenceInDifferences", "difference_in_differences"]

StandardError = Literal["auto", "classic", "HC1", "CR1", "CR2"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DifferenceInDifferences:
    """Two groups, two periods.

    Attributes
    ----------
    effect
        Change of the treated less change of the controls.
    treated_before, treated_after, control_before, control_after
        Means of the four cells, each with Student's interval of independent rows.
    """

    effect: Interval
    treated_before: Interval
    treated_after: Interval
    control_before: Interval
    control_after: Interval


def difference_in_differences(
    outcome: npt.ArrayLike,
    treated: npt.ArrayLike,
    after: npt.ArrayLike,
    *,
    cluster: npt.ArrayLike | None = None,
    level: float = 0.95,
    se: StandardError = "auto",
) -> DifferenceInDifferences:
    """Change of the treated group less change of the control group.

    Parameters
    ----------
    outcome
        Shape (n,), finite, one row per unit and period.
    treated
        Whether the row's unit belongs to the treated group, 0 or 1, shape (n,).
    after
        Whether the row was seen after the treatment began, 0 or 1, shape (n,).
    cluster
        Label of what is independent, shape (n,): the unit, or the group of units that were treated together.
    level
        Two-sided coverage.
    se
        ``"auto"``: by clusters where given (CR1 from 40 on, CR2 below), else HC1. ``"classic"`` and ``"HC1"`` take rows
        as independent and are refused with clusters; ``"CR1"`` and ``"CR2"`` need them.

    Returns
    -------
    DifferenceInDifferences
        The effect has no bounds, with a reason, where a group consists of one cluster: one place that was treated
        cannot show how places vary; `jurat.stats.synthetic_control.synthetic_control` is then the method.

    Raises
    ------
    ValueError
        Where lengths differ, a value is not finite, one of the four cells is empty, or ``se`` does not fit.

    Notes
    -----
    :math:`(\\bar y_{11} - \\bar y_{10}) - (\\bar y_{01} - \\bar y_{00})`, the coefficient of treated × after in least
    squares on both and their product. For units seen in both periods, clusters by unit and CR2 give Welch's standard
    error of the difference of mean changes.

    References
    ----------
    Card, D. and Krueger, A. B. (1994). Minimum wages and employment. American Economic Review 84, 772–793. Bertrand,
    M., Duflo, E. and Mullainathan, S. (2004). How much should we trust differences-in-differences estimates? Quarterly
    Journal of Economics 119, 249–275.

    Examples
    --------
    >>> y = [1.0, 2.0, 2.0, 3.0, 5.0, 6.0, 9.0, 8.0]
    >>> print(difference_in_differences(y, [0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 0, 0, 1, 1]).effect)
    2 [-0.7764, 4.776] 0.95 n=8 HC1
    """
    y = finite_vector("outcome", outcome)
    group = binary_arms(treated, len(y))
    try:
        later = binary_arms(after, len(y))
    except ValueError as wrong:
        raise ValueError(str(wrong).replace("treated", "after").replace("both arms", "both periods")) from None
    cells = [y[(group == g) & (later == p)] for g in (True, False) for p in (False, True)]
    if min(len(c) for c in cells) == 0:
        counts = ", ".join(str(len(c)) for c in cells)
        raise ValueError(f"all four cells (treated before, after; control before, after) need rows, got {counts}")
    means = [mean(c, level=level) for c in cells]
    return DifferenceInDifferences(
        effect=_two_by_two(y, group, later, cluster, level, se),
        treated_before=means[0],
        treated_after=means[1],
        control_before=means[2],
        control_after=means[3],
    )


def _two_by_two(
    y: Floats,
    group: npt.NDArray[np.bool_],
    later: npt.NDArray[np.bool_],
    cluster: npt.ArrayLike | None,
    level: float,
    se: StandardError,
) -> Interval:
    if se not in ("auto", "classic", "HC1", "CR1", "CR2"):
        raise ValueError(f"se must be 'auto', 'classic', 'HC1', 'CR1' or 'CR2', got {se!r}")
    if cluster is None and se in ("CR1", "CR2"):
        raise ValueError(f"se={se!r} needs the cluster of each row")
    if cluster is not None and se in ("classic", "HC1"):
        raise ValueError(f"se={se!r} takes rows as independent, but clusters were given: use 'auto', 'CR1' or 'CR2'")
    n = len(y)
    X = np.column_stack([np.ones(n), group, later, group & later]).astype(np.float64)
    sums = [float(y[(group == g) & (later == p)].mean()) for g in (True, False) for p in (True, False)]
    value = (sums[0] - sums[1]) - (sums[2] - sums[3])
    codes = np.arange(n) if cluster is None else cluster_codes(cluster)
    if len(codes) != n:
        raise ValueError(f"cluster must have length {n}, got {len(codes)}")
    if cluster is not None:
        counts = [len(np.unique(codes[group == g])) for g in (True, False)]
        chosen = chosen_correction("auto" if se == "auto" else se, len(np.unique(codes)))
        if min(counts) < 2:
            which = "treated" if counts[0] < 2 else "control"
            reason = f"the {which} group is one cluster, which cannot show how clusters vary"
            clusters = len(np.unique(codes))
            return undefined(reason, level=level, n=n, method=f"DiD, {chosen}", value=value, n_clusters=clusters)
        correction: Literal["CR1", "CR2"] = "CR1" if chosen == "CR1" else "CR2"
        found = cluster_robust_ols(X, y, codes, correction=correction).interval(3, level=level)
        return replace(found, method=f"DiD, {chosen}")
    name = "classic" if se == "classic" else "HC1"
    if n <= 4:
        return undefined("four rows leave none to show how rows vary", level=level, n=n, method=name, value=value)
    if name == "classic":
        coefficients = np.linalg.lstsq(X, y, rcond=None)[0]
        variance = float(np.sum((y - X @ coefficients) ** 2)) / (n - 4)
        error = math.sqrt(variance * float(np.linalg.inv(X.T @ X)[3, 3]))
    else:
        # CR1 with each row as its cluster is HC1: n/(n − 1) · (n − 1)/(n − 4).
        error = float(cluster_robust_ols(X, y, codes).standard_errors[3])
    return t_interval(value, error, n - 4.0, level=level, n=n, method=name)
