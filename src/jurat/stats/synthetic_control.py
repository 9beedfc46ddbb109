"""What would the treated unit have done, had it gone on as a weighted average of others?

One treated place, many that were not, and a stretch of time before. Synthetic control weighs the others so that they
track the treated unit before treatment. The weights are exact: they solve their quadratic programme with a proof of
optimality. As one treated unit cannot show how units vary, the spread comes from placebos, the same estimate made for
units that nobody treated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from jurat.stats.mean import Floats, t_interval, undefined
from jurat.stats.result import Interval, Test
from jurat.stats.simplex import simplex_least_squares

__all__ = ["SyntheticControl", "checked_panel", "in_time_placebo", "placebo_interval", "synthetic_control"]

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticControl:
    """The treated unit against its synthetic twin.

    Attributes
    ----------
    att
        Mean effect over the treated periods, with the interval of the placebo variance.
    weights
        Weight of each unit, 0 for the treated one, shape (units,).
    treated_path, synthetic_path
        Outcomes of the treated unit and of its twin, shape (times,).
    effects
        Their difference, shape (times,).
    pre_rmspe
        Root mean squared difference before treatment.
    kkt_residual
        Distance from optimality, as in `jurat.stats.simplex.SimplexFit`.
    placebo
        In-space placebo test: share of units whose RMSPE after treatment, over the one before, is as large as the
        treated unit's; the statistic is that ratio (``None`` where the fit before is perfect).
    placebo_rank
        Rank of the treated unit's ratio among all units; 1 is the largest.
    placebo_atts
        Estimate for each other unit, as if it had been treated, in the order of the rows.
    in_time
        Estimate for an earlier, made-up start of treatment, from periods before the real one; it should be near 0.
    in_time_start
        Column of the made-up start; ``None`` where too few periods came before.
    """

    att: Interval
    weights: tuple[float, ...]
    treated_path: tuple[float, ...]
    synthetic_path: tuple[float, ...]
    effects: tuple[float, ...]
    pre_rmspe: float
    kkt_residual: float
    placebo: Test
    placebo_rank: int
    placebo_atts: tuple[float, ...]
    in_time: Interval
    in_time_start: int | None


def checked_panel(outcomes: npt.ArrayLike, treated: Indices, first: int) -> Floats:
    """Check a panel of units × times with its treated rows and first treated column."""
    y = np.asarray(outcomes, dtype=np.float64)
    if y.ndim != 2 or not np.all(np.isfinite(y)):
        raise ValueError(f"outcomes must be a finite matrix of units by times, got shape {y.shape}")
    units, times = y.shape
    if len(treated) == 0 or len(np.unique(treated)) != len(treated) or treated.min() < 0 or treated.max() >= units:
        raise ValueError(f"treated rows must be distinct and lie in 0 to {units - 1}, got {treated.tolist()}")
    if units - len(treated) < 2:
        raise ValueError(f"need at least two units that were never treated, got {units - len(treated)}")
    if first != int(first) or not 2 <= first < times:
        raise ValueError(
            f"first_treated_time is a column with at least two before it: need 2 to {times - 1}, got {first}"
        )
    return y


def _twin(y: Floats, row: int, donors: Indices, first: int) -> tuple[Floats, float]:
    """Donor weights of one row from the columns before ``first``, and their distance from optimality."""
    fit = simplex_least_squares(y[donors, :first].T, y[row, :first])
    return fit.weights, fit.kkt_residual


def _gap(y: Floats, row: int, donors: Indices, first: int) -> Floats:
    weights, _ = _twin(y, row, donors, first)
    gap: Floats = y[row] - weights @ y[donors]
    return gap


def _rmspe(gap: Floats) -> float:
    return math.sqrt(float(np.mean(gap**2)))


def _ratio(gap: Floats, first: int) -> float:
    """RMSPE after over before; infinite where the fit before is perfect and the one after is not."""
    before, after = _rmspe(gap[:first]), _rmspe(gap[first:])
    if before <= 1e-12 * max(after, 1e-300):
        return math.inf if after > 0 else 1.0
    return after / before


def placebo_interval(value: float, placebos: Floats, *, level: float, n: int, units: int, method: str) -> Interval:
    """Lay an interval from the spread of placebo estimates, which is that of the estimate if units vary alike."""
    count = len(placebos)
    spread = float(placebos.std()) if count > 1 else 0.0
    if spread <= 0:
        reason = f"{count} placebo estimates show no spread"
        return undefined(reason, level=level, n=n, method=method, value=value, n_clusters=units)
    return t_interval(value, spread, count - 1.0, level=level, n=n, n_clusters=units, method=method)


def _made_up_start(first: int) -> int | None:
    """Two thirds of the way to treatment, if two periods come before it."""
    start = (2 * first) // 3
    return start if 2 <= start < first else None


def in_time_placebo(
    y: Floats, first: int, level: float, estimate: Callable[[Floats, int], Interval]
) -> tuple[Interval, int | None]:
    """Estimate the effect of a start made up from periods before the real one."""
    start = _made_up_start(first)
    if start is None:
        reason = f"{first} periods before treatment are too few for a made-up start"
        return undefined(reason, level=level, n=y.size, method="in-time placebo", n_clusters=len(y)), None
    found = estimate(y[:, :first], start)
    return replace(found, method=f"in-time placebo, {found.method}"), start


def _control_att(y: Floats, row: int, first: int, level: float) -> tuple[Interval, list[Floats], Indices]:
    """Estimate with its placebo interval, the placebo gaps, and the donors."""
    donors = np.delete(np.arange(len(y)), row)
    gap = _gap(y, row, donors, first)
    gaps = [_gap(y, int(j), donors[donors != j], first) for j in donors]
    placebos = np.array([g[first:].mean() for g in gaps])
    value = float(gap[first:].mean())
    method = "synthetic control, placebo variance"
    return (
        placebo_interval(value, placebos, level=level, n=y.size, units=len(y), method=method),
        gaps,
        donors,
    )


def synthetic_control(
    outcomes: npt.ArrayLike, treated_row: int, first_treated_time: int, *, level: float = 0.95
) -> SyntheticControl:
    """Effect on one treated unit against the best weighted average of the others.

    Parameters
    ----------
    outcomes
        Shape (units, times), finite.
    treated_row
        Row of the treated unit.
    first_treated_time
        Column of the first treated period, at least 2.
    level
        Two-sided coverage.

    Returns
    -------
    SyntheticControl

    Raises
    ------
    ValueError
        Where the panel is not a finite matrix, a row or column does not exist, or fewer than two other units or two
        earlier periods are there.

    Notes
    -----
    Weights minimise the squared difference over all periods before treatment, not negative and of sum 1. The interval
    is the estimate ± t(J − 1) times the standard deviation of the J placebo estimates: right if the treated unit varies
    as the others do, wide where the others fit badly. The placebo test needs no such scale. Each placebo solves one
    programme over all other units, so time grows with the square of their number at least.

    References
    ----------
    Abadie, A., Diamond, A. and Hainmueller, J. (2010). Synthetic control methods for comparative case studies. JASA 105,
    493–505. Abadie, A. (2021). Using synthetic controls. Journal of Economic Literature 59, 391–425.

    Examples
    --------
    >>> rng = np.random.default_rng(5)
    >>> y = rng.normal(size=(12, 30)).cumsum(axis=1)
    >>> y[0] = 0.5 * y[1] + 0.5 * y[2] + rng.normal(0, 0.1, 30)
    >>> y[0, 20:] += 6.0
    >>> found = synthetic_control(y, 0, 20)
    >>> round(found.att.value, 1), found.placebo_rank, round(found.placebo.p_value, 4)
    (6.0, 1, 0.0833)
    """
    row, first = int(treated_row), int(first_treated_time)
    y = checked_panel(outcomes, np.array([row]), first)
    att, gaps, donors = _control_att(y, row, first, level)
    weights, residual = _twin(y, row, donors, first)
    synthetic = weights @ y[donors]
    gap = y[row] - synthetic
    own = _ratio(gap, first)
    rank = 1 + sum(_ratio(g, first) >= own for g in gaps)
    placebo = Test(
        statistic=own if math.isfinite(own) else None,
        p_value=rank / len(y),
        alternative="two-sided",
        n=y.size,
        n_clusters=len(y),
        method="in-space placebo, RMSPE ratio",
    )
    in_time, start = in_time_placebo(y, first, level, lambda panel, at: _control_att(panel, row, at, level)[0])
    full = np.zeros(len(y))
    full[donors] = weights
    return SyntheticControl(
        att=att,
        weights=tuple(full.tolist()),
        treated_path=tuple(y[row].tolist()),
        synthetic_path=tuple(synthetic.tolist()),
        effects=tuple(gap.tolist()),
        pre_rmspe=_rmspe(gap[:first]),
        kkt_residual=residual,
        placebo=placebo,
        placebo_rank=rank,
        placebo_atts=tuple(float(g[first:].mean()) for g in gaps),
        in_time=in_time,
        in_time_start=start,
    )
