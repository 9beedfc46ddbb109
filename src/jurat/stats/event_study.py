"""When did the treated begin to move apart from the others, before treatment or after it?

The effect at each distance from adoption. Values before adoption test the assumption that all such comparisons rest on,
that without treatment the groups would have moved in parallel. Staggered adoption is handled cohort by cohort against
the never treated, so that no unit already treated ever serves as a control.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats as sps

from jurat.stats.mean import Floats, t_interval, undefined
from jurat.stats.result import Interval, Test

__all__ = ["EventStudy", "EventTime", "event_study", "finite_vector"]


def finite_vector(name: str, values: npt.ArrayLike) -> Floats:
    """Check a vector, and name the row where it is not finite."""
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1:
        raise ValueError(f"{name} must be a vector, got shape {x.shape}")
    if not np.all(np.isfinite(x)):
        row = int(np.argmin(np.isfinite(x)))
        raise ValueError(f"{name} must be finite, got {float(x[row])!r} in row {row}")
    return x


@dataclass(frozen=True, slots=True, kw_only=True)
class EventTime:
    """The effect at one distance from adoption.

    Attributes
    ----------
    event_time
        Periods since adoption; negative before it.
    effect
        Effect, with treated units as ``n``; exactly 0 without bounds at the base period.
    """

    event_time: int
    effect: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class EventStudy:
    """Effects by distance from adoption.

    Attributes
    ----------
    path
        One entry per event time, in order, the base period among them.
    average
        Mean of the effects from adoption on.
    pre_trend
        Joint test that all effects before adoption are 0; ``None`` with ``pre_trend_reason`` where it cannot be made.
    pre_trend_reason
        Why there is no test.
    base_period
        Event time against which all others are taken.
    cohorts
        Adoption time and number of units of each cohort.
    never_treated
        Units that serve as controls.
    """

    path: tuple[EventTime, ...]
    average: Interval
    pre_trend: Test | None
    pre_trend_reason: str | None
    base_period: int
    cohorts: tuple[tuple[int, int], ...]
    never_treated: int


@dataclass(frozen=True, slots=True)
class _Panel:
    """A balanced panel: outcomes by unit and time, and each unit's adoption (infinite where never)."""

    outcome: Floats
    times: npt.NDArray[np.int64]
    adoption: Floats


def event_study(
    outcome: npt.ArrayLike,
    unit: npt.ArrayLike,
    time: npt.ArrayLike,
    adoption_time: npt.ArrayLike,
    *,
    base_period: int = -1,
    level: float = 0.95,
) -> EventStudy:
    """Effects before and after adoption, against units that never adopt.

    Parameters
    ----------
    outcome
        Shape (n,), finite, one row per unit and time.
    unit
        Label of the unit, shape (n,).
    time
        Period as a whole number, shape (n,).
    adoption_time
        First treated period of the row's unit, shape (n,); ``math.inf`` for units never treated. Adoption after the
        last period counts as never.
    base_period
        Event time, below 0, against which effects are taken; −1 is the last period before adoption.
    level
        Two-sided coverage.

    Returns
    -------
    EventStudy
        An effect has no bounds, with a reason, where a cohort in it is one unit.

    Raises
    ------
    ValueError
        Where the panel is not balanced, times are not whole numbers, a unit's adoption changes, no unit is treated or
        none is never treated, or a cohort was not seen in its base period.

    Notes
    -----
    For cohort g, :math:`ATT(g, t) = \\overline{Y_t - Y_{g+b}}^{\\,g} - \\overline{Y_t - Y_{g+b}}^{\\,never}`; the effect
    at event time k averages :math:`ATT(g, g + k)` over cohorts seen there, by their units. With one adoption time this
    is two-way fixed effects with all leads and lags. The covariance is clustered by unit and, given the cohort sizes,
    unbiased (with one adoption time it is CR2's); degrees of freedom by Satterthwaite. The joint test is Wald's, taken
    as Hotelling's :math:`T^2` with the fewest degrees of freedom among the leads.

    References
    ----------
    Callaway, B. and Sant'Anna, P. H. C. (2021). Difference-in-differences with multiple time periods. Journal of
    Econometrics 225, 200–230. Sun, L. and Abraham, S. (2021). Estimating dynamic treatment effects in event studies with
    heterogeneous treatment effects. Journal of Econometrics 225, 175–199.

    Examples
    --------
    >>> rng = np.random.default_rng(3)
    >>> unit, time = np.repeat(np.arange(30), 4), np.tile(np.arange(4), 30)
    >>> adoption = np.where(unit < 10, 2.0, math.inf)
    >>> y = unit + time + 2.0 * (time >= adoption) + rng.normal(0, 0.5, 120)
    >>> found = event_study(y, unit, time, adoption)
    >>> [e.event_time for e in found.path], found.average.low < 2 < found.average.high
    ([-2, -1, 0, 1], True)
    """
    if base_period >= 0 or base_period != int(base_period):
        raise ValueError(f"base_period must be a whole number below 0, got {base_period!r}")
    panel = _panel(outcome, unit, time, adoption_time)
    cohorts, never = _cohorts(panel, int(base_period))
    influence_parts = _by_event_time(panel, cohorts, never, int(base_period))
    times = sorted(influence_parts)
    path = []
    for k in times:
        treated_units = sum(int(np.sum(panel.adoption == g)) for g in cohorts if g + k in panel.times)
        if k == base_period:
            reason = "the base period is 0 by construction"
            effect = undefined(reason, level=level, n=treated_units, method="base", value=0.0)
        else:
            effect = _combined(panel, [influence_parts[k]], [1.0], level, treated_units)
        path.append(EventTime(event_time=k, effect=effect))
    lags = [k for k in times if k >= 0]
    treated_total = sum(int(np.sum(panel.adoption == g)) for g in cohorts)
    average = _combined(panel, [influence_parts[k] for k in lags], [1.0 / len(lags)] * len(lags), level, treated_total)
    leads = [influence_parts[k] for k in times if k < 0 and k != base_period]
    test, reason_none = _joint_test(panel, leads)
    return EventStudy(
        path=tuple(path),
        average=average,
        pre_trend=test,
        pre_trend_reason=reason_none,
        base_period=int(base_period),
        cohorts=tuple((g, int(np.sum(panel.adoption == g))) for g in cohorts),
        never_treated=int(never.sum()),
    )


def _panel(outcome: npt.ArrayLike, unit: npt.ArrayLike, time: npt.ArrayLike, adoption_time: npt.ArrayLike) -> _Panel:
    y, labels = finite_vector("outcome", outcome), np.asarray(unit)
    periods = finite_vector("time", time)
    adoption = np.asarray(adoption_time, dtype=np.float64)
    if not len(y) == len(labels) == len(periods) == len(adoption):
        raise ValueError(
            f"outcome, unit, time and adoption_time must have one length, got {len(y)}, {len(labels)}, "
            f"{len(periods)}, {len(adoption)}"
        )
    whole = (adoption == np.floor(adoption)) & (adoption > -np.inf)
    if np.any(periods != np.floor(periods)) or not np.all(whole):
        raise ValueError("time and adoption_time must be whole numbers, with math.inf for units never treated")
    codes = np.unique(labels, return_inverse=True)[1]
    times, position = np.unique(periods.astype(np.int64), return_inverse=True)
    units = int(codes.max()) + 1 if len(codes) else 0
    seen = np.zeros((units, len(times)), dtype=np.int64)
    np.add.at(seen, (codes, position), 1)
    if not np.all(seen == 1):
        i, j = (int(a) for a in np.argwhere(seen != 1)[0])
        name = labels[int(np.flatnonzero(codes == i)[0])]
        raise ValueError(
            f"the panel must be balanced, one row per unit and time: unit {name!s} has {int(seen[i, j])} rows at "
            f"time {int(times[j])}"
        )
    table = np.empty(seen.shape)
    table[codes, position] = y
    own = np.empty(units)
    own[codes] = adoption
    if np.any(own[codes] != adoption):
        row = int(np.argmax(own[codes] != adoption))
        raise ValueError(f"adoption_time must be the same in all rows of a unit; unit {labels[row]!s} has several")
    return _Panel(table, times, np.where(own > times[-1], np.inf, own) if units else own)


def _cohorts(panel: _Panel, base_period: int) -> tuple[list[int], npt.NDArray[np.bool_]]:
    never = np.isinf(panel.adoption)
    cohorts = [int(g) for g in np.unique(panel.adoption[~never])]
    if not cohorts or not never.any():
        raise ValueError(
            f"need treated units and units never treated, got {int((~never).sum())} and {int(never.sum())}"
        )
    for g in cohorts:
        if g + base_period not in panel.times:
            raise ValueError(
                f"the cohort that adopts at {g} was not seen in its base period {g + base_period}: leave it out, or "
                "choose another base_period"
            )
    return cohorts, never


def _by_event_time(
    panel: _Panel, cohorts: list[int], never: npt.NDArray[np.bool_], base_period: int
) -> dict[int, Floats]:
    """For each event time, weights-times-values of every unit: their sum is the effect.

    Row i holds :math:`w_i (Y_{it} - Y_{ib})`, with weights :math:`1/n_g` times the cohort's share, negative for controls.
    """
    parts: dict[int, Floats] = {}
    sizes = {g: int(np.sum(panel.adoption == g)) for g in cohorts}
    column = {int(t): j for j, t in enumerate(panel.times)}
    for k in sorted({t - g for t in column for g in cohorts}):
        seen = [g for g in cohorts if g + k in column]
        total = sum(sizes[g] for g in seen)
        part = np.zeros(len(panel.adoption))
        for g in seen:
            change = panel.outcome[:, column[g + k]] - panel.outcome[:, column[g + base_period]]
            own = panel.adoption == g
            part[own] += change[own] / total
            part[never] -= sizes[g] / total * change[never] / never.sum()
        parts[k] = part
    return parts


def _group_covariances(panel: _Panel, parts: list[Floats]) -> list[tuple[Floats, int]]:
    """Covariance of the sums of each cohort's parts, and its degrees of freedom; units are independent."""
    matrix, found = np.array(parts), []
    for g in np.unique(panel.adoption):
        rows = matrix[:, panel.adoption == g]
        n = rows.shape[1]
        if not np.any(rows):
            continue
        if n < 2:
            found.append((np.zeros((len(parts), len(parts))), 0))
            continue
        centred = rows - rows.mean(axis=1, keepdims=True)
        found.append((n / (n - 1) * centred @ centred.T, n - 1))
    return found


def _combined(panel: _Panel, parts: list[Floats], weights: list[float], level: float, n: int) -> Interval:
    part = np.array(weights) @ np.array(parts)
    value, units, method = float(part.sum()), len(panel.adoption), "event study, clustered by unit"
    groups = _group_covariances(panel, [part])
    if any(df == 0 for _, df in groups):
        reason = "a cohort of one unit cannot show how units vary"
        return undefined(reason, level=level, n=n, method=method, value=value, n_clusters=units)
    total = sum(float(v[0, 0]) for v, _ in groups)
    if total <= 0:
        reason = "all units of a group change alike, which cannot show how units vary"
        return undefined(reason, level=level, n=n, method=method, value=value, n_clusters=units)
    df = total**2 / sum(float(v[0, 0]) ** 2 / d for v, d in groups)
    return t_interval(value, math.sqrt(total), df, level=level, n=n, n_clusters=units, method=method)


def _joint_test(panel: _Panel, leads: list[Floats]) -> tuple[Test | None, str | None]:
    if not leads:
        return None, "there is no period before adoption besides the base period"
    groups = _group_covariances(panel, leads)
    if not groups:
        return None, "all units change alike, which cannot show how units vary"
    if any(df == 0 for _, df in groups):
        return None, "a cohort of one unit cannot show how units vary"
    covariance = np.sum([v for v, _ in groups], axis=0)
    spread = np.linalg.eigvalsh(covariance)
    if spread[0] <= 1e-10 * max(spread[-1], np.finfo(np.float64).tiny):
        return None, "there are more periods before adoption than the units can tell apart"
    diagonals = [(np.diag(v), d) for v, d in groups]
    freedom = np.diag(covariance) ** 2 / np.sum([v**2 / d for v, d in diagonals], axis=0)
    df, q = float(freedom.min()), len(leads)
    left = df - q + 1
    if left <= 0:
        return None, f"{q} periods before adoption are too many to test with {df:.1f} degrees of freedom"
    effects = np.array([part.sum() for part in leads])
    statistic = float(effects @ np.linalg.solve(covariance, effects)) * left / (df * q)
    return Test(
        statistic=statistic,
        p_value=float(sps.f.sf(statistic, q, left)),
        alternative="two-sided",
        n=panel.outcome.size,
        n_clusters=len(panel.adoption),
        method=f"Wald of {q} leads, F({q}, {left:.1f})",
        df=left,
    ), None
