"""Did treated units change more than units weighted to resemble them, since periods weighted to resemble the end?

Difference in differences takes all controls and all earlier periods alike; synthetic control asks for equal levels. This
estimator weighs both units and periods and lets levels differ, so that either set of weights can make the comparison
right. Both weight programmes are solved exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from jurat.stats.mean import Floats, t_interval, undefined
from jurat.stats.result import Interval, Test
from jurat.stats.simplex import simplex_least_squares
from jurat.stats.synthetic_control import Indices, checked_panel, in_time_placebo, placebo_interval

__all__ = ["SyntheticDifferenceInDifferences", "synthetic_difference_in_differences"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticDifferenceInDifferences:
    """Treated units against weighted controls, periods after against weighted periods before.

    Attributes
    ----------
    att
        Mean effect on the treated, with the interval of the placebo or jackknife variance.
    weights
        Weight of each unit, 0 for the treated, shape (units,).
    time_weights
        Weight of each period before treatment, shape (first_treated_time,).
    treated_path, synthetic_path
        Mean of the treated, and the weighted controls shifted to their level before treatment, shape (times,).
    effects
        Their difference; its mean over the treated periods is ``att``.
    zeta
        Regularisation of the unit weights.
    kkt_residual
        The larger of the two programmes' distances from optimality.
    placebo
        Share of placebo estimates, the real one among them, that are at least as far from 0.
    placebo_atts
        The placebo estimates.
    in_time, in_time_start
        As in `jurat.stats.synthetic_control.SyntheticControl`.
    """

    att: Interval
    weights: tuple[float, ...]
    time_weights: tuple[float, ...]
    treated_path: tuple[float, ...]
    synthetic_path: tuple[float, ...]
    effects: tuple[float, ...]
    zeta: float
    kkt_residual: float
    placebo: Test
    placebo_atts: tuple[float, ...]
    in_time: Interval
    in_time_start: int | None


@dataclass(frozen=True, slots=True)
class _Weighted:
    """One synthetic difference in differences, with what made it."""

    att: float
    units: Floats
    times: Floats
    zeta: float
    residual: float


def _weighted(controls: Floats, treated: Floats, first: int) -> _Weighted:
    """Solve for unit and time weights and take the weighted difference of differences.

    An intercept in either programme is the same as taking means off each column.
    """
    before, after = controls[:, :first], controls[:, first:]
    noise = float(np.diff(before, axis=1).std(ddof=1))
    zeta = (treated.shape[0] * after.shape[1]) ** 0.25 * noise
    target = treated[:, :first].mean(axis=0)
    unit = simplex_least_squares(before.T - before.mean(axis=1), target - target.mean(), ridge=zeta**2 * first)
    level = after.mean(axis=1)
    # A sliver of ridge, as in the source, makes the time weights unique.
    time = simplex_least_squares(
        before - before.mean(axis=0), level - level.mean(), ridge=(1e-6 * noise) ** 2 * len(controls)
    )
    att = _contrast(controls, treated, first, unit.weights, time.weights)
    return _Weighted(att, unit.weights, time.weights, zeta, max(unit.kkt_residual, time.kkt_residual))


def _contrast(controls: Floats, treated: Floats, first: int, units: Floats, times: Floats) -> float:
    def change(y: Floats) -> Floats:
        gained: Floats = y[:, first:].mean(axis=1) - y[:, :first] @ times
        return gained

    return float(change(treated).mean() - units @ change(controls))


def _placebo_atts(controls: Floats, count: int, first: int, replicates: int, rng: np.random.Generator) -> Floats:
    """Estimates for controls taken as treated: each in turn for one treated unit, else random draws of as many."""
    if count == 1:
        chosen = [np.array([j]) for j in range(len(controls))]
    else:
        chosen = [rng.choice(len(controls), count, replace=False) for _ in range(replicates)]
    return np.array([_weighted(np.delete(controls, c, axis=0), controls[c], first).att for c in chosen])


def _jackknife(controls: Floats, treated: Floats, first: int, found: _Weighted) -> float:
    """Standard error by leaving out one unit at a time, with the weights of the others kept in proportion."""
    left = [
        _contrast(controls, np.delete(treated, i, axis=0), first, found.units, found.times) for i in range(len(treated))
    ]
    for j in range(len(controls)):
        kept = np.delete(found.units, j)
        if kept.sum() <= 0:
            return 0.0
        left.append(_contrast(np.delete(controls, j, axis=0), treated, first, kept / kept.sum(), found.times))
    n = len(left)
    return math.sqrt((n - 1) / n * float(np.sum((np.array(left) - found.att) ** 2)))


def _weighted_interval(
    y: Floats, rows: Indices, first: int, placebos: Floats, *, se: str, level: float
) -> tuple[Interval, _Weighted]:
    treated, controls = y[rows], np.delete(y, rows, axis=0)
    found = _weighted(controls, treated, first)
    method = f"synthetic DiD, {se} variance"
    if se == "placebo":
        return placebo_interval(found.att, placebos, level=level, n=y.size, units=len(y), method=method), found
    error = _jackknife(controls, treated, first, found)
    if error <= 0:
        reason = "one control carries all weight, so none can be left out"
        return undefined(reason, level=level, n=y.size, method=method, value=found.att, n_clusters=len(y)), found
    df = len(rows) - 1.0
    return t_interval(found.att, error, df, level=level, n=y.size, n_clusters=len(y), method=method), found


def synthetic_difference_in_differences(
    outcomes: npt.ArrayLike,
    treated_rows: npt.ArrayLike,
    first_treated_time: int,
    *,
    level: float = 0.95,
    se: Literal["placebo", "jackknife"] = "placebo",
    replicates: int = 200,
    seed: int = 0,
) -> SyntheticDifferenceInDifferences:
    """Effect on treated units by difference in differences with weighted controls and weighted periods.

    Parameters
    ----------
    outcomes
        Shape (units, times), finite.
    treated_rows
        Row, or rows, of the units treated from the same period on.
    first_treated_time
        Column of the first treated period, at least 2.
    level
        Two-sided coverage.
    se
        ``"placebo"`` (units vary alike; needs more controls than treated units) or ``"jackknife"`` (two treated units or
        more, with the degrees of freedom of their number).
    replicates, seed
        Draws of placebo units where several are treated; with one, each control is taken in turn and nothing is drawn.

    Returns
    -------
    SyntheticDifferenceInDifferences

    Raises
    ------
    ValueError
        As in `jurat.stats.synthetic_control.synthetic_control`, or where ``se`` is unknown or does not fit the number
        of treated units.

    Notes
    -----
    Unit weights minimise :math:`\\lVert \\omega_0 + Y_{co,pre}'\\omega - \\bar y_{tr,pre}\\rVert^2 + \\zeta^2 T_{pre}
    \\lVert\\omega\\rVert^2` on the simplex with :math:`\\zeta = (N_{tr}T_{post})^{1/4}\\hat\\sigma`, where
    :math:`\\hat\\sigma` is the standard deviation of the controls' first differences before treatment; time weights
    minimise :math:`\\lVert \\lambda_0 + Y_{co,pre}\\lambda - \\bar y_{co,post}\\rVert^2`, nearly without a penalty.

    References
    ----------
    Arkhangelsky, D., Athey, S., Hirshberg, D. A., Imbens, G. W. and Wager, S. (2021). Synthetic
    difference-in-differences. American Economic Review 111, 4088–4118.

    Examples
    --------
    >>> rng = np.random.default_rng(5)
    >>> y = rng.normal(size=(20, 1)) * np.arange(24) + rng.normal(size=(20, 24))
    >>> y[0, 16:] += 8.0
    >>> found = synthetic_difference_in_differences(y, 0, 16)
    >>> found.att.low < 8.0 < found.att.high
    True
    """
    rows = np.atleast_1d(np.asarray(treated_rows, dtype=np.int64))
    first = int(first_treated_time)
    y = checked_panel(outcomes, rows, first)
    controls = np.delete(y, rows, axis=0)
    if se not in ("placebo", "jackknife"):
        raise ValueError(f"se must be 'placebo' or 'jackknife', got {se!r}")
    if se == "jackknife" and len(rows) < 2:
        raise ValueError("the jackknife needs at least two treated units; use se='placebo'")
    if len(controls) - len(rows) < 2:
        raise ValueError(f"placebos need two controls more than treated units, got {len(controls)} and {len(rows)}")

    def estimate(panel: Floats, at: int) -> tuple[Interval, _Weighted, Floats]:
        rng = np.random.default_rng(seed)
        placebos = _placebo_atts(np.delete(panel, rows, axis=0), len(rows), at, replicates, rng)
        interval, found = _weighted_interval(panel, rows, at, placebos, se=se, level=level)
        return interval, found, placebos

    att, found, placebos = estimate(y, first)
    in_time, start = in_time_placebo(y, first, level, lambda panel, at: estimate(panel, at)[0])
    path = y[rows].mean(axis=0)
    synthetic = found.units @ controls
    synthetic = synthetic + found.times @ (path[:first] - synthetic[:first])
    as_far = int(np.sum(np.abs(placebos) >= abs(found.att)))
    full = np.zeros(len(y))
    full[np.delete(np.arange(len(y)), rows)] = found.units
    return SyntheticDifferenceInDifferences(
        att=att,
        weights=tuple(full.tolist()),
        time_weights=tuple(found.times.tolist()),
        treated_path=tuple(path.tolist()),
        synthetic_path=tuple(synthetic.tolist()),
        effects=tuple((path - synthetic).tolist()),
        zeta=found.zeta,
        kkt_residual=found.residual,
        placebo=Test(
            statistic=found.att,
            p_value=(1 + as_far) / (1 + len(placebos)),
            alternative="two-sided",
            n=y.size,
            n_clusters=len(y),
            method="in-space placebo, estimate",
        ),
        placebo_atts=tuple(placebos.tolist()),
        in_time=in_time,
        in_time_start=start,
    )
