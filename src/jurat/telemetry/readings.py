"""Numbers from minutes, with their intervals: shares, rates, means; where a share stands, and how soon a rise would be seen.

Minutes know no users, so the usual cluster of a turn is not to be had here. What can be seen is how much wider minutes vary
than independent turns would (Pearson's dispersion, as the monitors use it); intervals of shares are widened by it, and those of
means take minutes as clusters. Evidence for a launch comes from the turns, clustered by user; these are readings.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import xlogy

from jurat.stats.interval import proportion, proportion_from_spread
from jurat.stats.mean import clustered_mean_from_sums
from jurat.stats.result import Interval
from jurat.telemetry.baselines import Baseline, Count, Hour, dispersion_of, fold
from jurat.telemetry.monitors import Change, Minute, Monitor, MonitorState, Replay, SliceKey, replay, step
from jurat.telemetry.recent import DAY

__all__ = [
    "Usual",
    "alarm",
    "detect_minutes",
    "likely_onset",
    "per_minute",
    "per_unit",
    "share",
    "share_status",
    "with_dispersion",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Span = tuple[int, int]

_LONGEST_DETECTION = 2 * DAY
_NO_NULL = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Usual:
    """What now is held against.

    Attributes
    ----------
    span
        Its minutes; ``None`` where there is nothing yet to compare with.
    name
        In words: ``"the same hour last week"``, ``"the day before"``.
    dispersion
        How much wider minutes vary in it than independent turns would; 1 where that cannot be seen.
    minutes
        Minutes with traffic that the dispersion comes from.
    """

    span: Span | None
    name: str
    dispersion: float = 1.0
    minutes: int = 0


def with_dispersion(usual: Usual, n: Ints, k: Ints) -> Usual:
    """Add how much wider than independent turns the minutes of the usual span vary in a share."""
    if usual.span is None:
        return usual
    hours: dict[int, Hour] = {}
    for i, (units, hits) in enumerate(zip(n.tolist(), k.tolist(), strict=True)):
        hour = (usual.span[0] + i) // 60
        hours[hour] = fold(hours.get(hour, Hour(hour)), Count.of_share(hits, units))
    return replace(usual, dispersion=dispersion_of(list(hours.values())), minutes=int(np.count_nonzero(n)))


def share(k: int, n: int, usual: Usual, *, level: float = 0.95) -> Interval:
    r"""Interval of a share of turns: Wilson's form, widened by how minutes vary.

    Parameters
    ----------
    k, n
        Counts.
    usual
        Its dispersion and the minutes it was estimated from.
    level
        Coverage.

    Notes
    -----
    With dispersion :math:`\phi \ge 1` the standard error is :math:`\sqrt{\phi\,\hat p(1-\hat p)/n}`, the quantile that of t
    with as many degrees of freedom as the dispersion has. At no or all successes the counts are divided by :math:`\phi`.

    References
    ----------
    McCullagh, P. and Nelder, J. A. (1989). Generalized Linear Models, section 4.5. Korn, E. L. and Graubard, B. I. (1998).
    Survey Methodology 24, 193–201.

    Examples
    --------
    >>> print(share(30, 600, Usual(span=None, name="")))
    0.05 [0.03525, 0.07048] 0.95 n=600 Wilson
    >>> wide = share(30, 600, Usual(span=(0, 60), name="", dispersion=2.0, minutes=60))
    >>> round(wide.low, 3), round(wide.high, 3)
    (0.03, 0.082)
    """
    if n == 0 or usual.dispersion <= 1.0:
        return proportion(k, n, level=level)
    method = f"Wilson, dispersion of minutes {usual.dispersion:.2f}"
    if k in (0, n):
        effective = max(int(n / usual.dispersion), 1)
        edge = proportion(0 if k == 0 else effective, effective, level=level)
        return replace(edge, n=n, method=method)
    p = k / n
    se = math.sqrt(usual.dispersion * p * (1 - p) / n)
    df = max(usual.minutes - 1.0, 1.0)
    found = proportion_from_spread(p, se, df, n=n, n_clusters=max(usual.minutes, 2), level=level)
    return replace(found, n_clusters=None, method=method)


def per_minute(values: Floats, *, seconds: float = 60.0) -> Interval:
    """Rate per second of what each minute adds up to, minutes taken as the units.

    Examples
    --------
    >>> print(per_minute(np.array([600.0, 540.0, 660.0])))
    10 [7.516, 12.48] 0.95 n=3 CR2
    """
    found = clustered_mean_from_sums(np.ones(len(values)), values / seconds)
    return replace(found, low=None if found.low is None else max(found.low, 0.0), n_clusters=None)


def per_unit(n: Ints, total: Floats) -> Interval:
    """Mean of a total over units, minutes taken as clusters: cost per turn, tokens per response.

    Examples
    --------
    >>> print(per_unit(np.array([100, 120, 80]), np.array([1.0, 1.3, 0.7])))
    0.01 [0.007429, 0.01257] 0.95 n=300 clusters=3 CR2
    """
    return clustered_mean_from_sums(n, total)


def _monitor(base: float, shift: float) -> Monitor:
    level = min(max(base, _NO_NULL), 1 - _NO_NULL)
    return Monitor(
        name="tile", metric="share", kind="share", direction="above",
        baseline=Baseline(kind="fixed", value=level), shift=shift, minimum_n=50,
    )  # fmt: skip


def share_status(n: Ints, k: Ints, base: Interval, shift: float) -> str:
    """Where a share stands after some minutes: ``"ok"``, ``"warning"``, ``"firing"``, or ``"no data"``.

    The monitors' own detector is run over the minutes, against the upper bound of what is usual: it may be looked at every
    second without crying wolf more often than its budget says (one false alarm in twenty weeks).

    Parameters
    ----------
    n, k
        Counts minute by minute.
    base
        What is usual.
    shift
        Smallest rise that matters.
    """
    if base.value is None:
        return "no data"
    status = next((s.status for s in _replayed(n, k, base, shift).state.slices.values()), "no data")
    # A rise that has passed is history: the alerts tell it, the tile says how it is now.
    return "ok" if status == "resolved" else status


def alarm(n: Ints, k: Ints, base: Interval, shift: float) -> Change | None:
    """The standing alarm of `share_status`, with its minute and its onset (both counted from the first); else ``None``."""
    if base.value is None:
        return None
    replayed = _replayed(n, k, base, shift)
    if not any(s.status == "firing" for s in replayed.state.slices.values()):
        return None
    return next((c for c in reversed(replayed.changes) if c.after == "firing" and c.before != "firing"), None)


def likely_onset(n: Ints, k: Ints, base: float) -> int:
    r"""Place of the minute from which on a share is most likely another: the change runs to the end.

    Parameters
    ----------
    n, k
        Counts minute by minute, some units at least.
    base
        Share before, in (0, 1).

    Notes
    -----
    The minute s that maximises :math:`K_s \ln(\hat p_s/p_0) + (N_s - K_s) \ln((1 - \hat p_s)/(1 - p_0))` with the sums from
    s to the end, among those with :math:`\hat p_s > p_0`.

    References
    ----------
    Hinkley, D. V. (1970). Inference about the change-point in a sequence of random variables. Biometrika 57, 1–17.

    Examples
    --------
    >>> likely_onset(np.full(10, 100), np.array([5, 4, 6, 5, 5, 6, 4, 15, 17, 14]), 0.05)
    7
    """
    units = np.cumsum(n[::-1])[::-1].astype(float)
    hits = np.cumsum(k[::-1])[::-1].astype(float)
    p = hits / np.maximum(units, 1.0)
    gain = xlogy(hits, p / base) + xlogy(units - hits, (1 - p) / (1 - base))
    return int(np.argmax(np.where((p > base) & (units > 0), gain, -np.inf)))


def _replayed(n: Ints, k: Ints, base: Interval, shift: float) -> Replay:
    level = base.value or 0.0
    null = max(level, min(base.high or level, level + shift / 2))
    events = [
        Minute(minute=i, counts={(): Count.of_share(hits, units)} if units else {})
        for i, (units, hits) in enumerate(zip(n.tolist(), k.tolist(), strict=True))
    ]
    return replay(_monitor(null, shift), events)


@lru_cache(maxsize=512)
def detect_minutes(per_minute_n: float, base: float, shift: float) -> int | None:
    """Minutes until the monitors' detector fires if a share rises by a shift now, along the expected path.

    Parameters
    ----------
    per_minute_n
        Turns a minute.
    base, shift
        Share now, and its rise.

    Returns
    -------
    int or None
        ``None`` beyond two days. About half of all such rises are found sooner, half later.

    Examples
    --------
    >>> detect_minutes(600.0, 0.05, 0.03), detect_minutes(18.0, 0.05, 0.03) > 30
    (3, True)
    """
    monitor = _monitor(base, shift)
    state = MonitorState()
    level = monitor.baseline.value or base
    held = 0.0
    for minute in range(60 + _LONGEST_DETECTION):
        held += per_minute_n
        n = int(held)
        held -= n
        p = level if minute < 60 else min(level + shift, 1.0)
        count: dict[SliceKey, Count] = {(): Count(n=n, total=n * p, total_sq=n * p)} if n else {}
        done = step(monitor, state, Minute(minute=minute, counts=count))
        state = done.state
        if minute >= 60 and any(change.after == "firing" for change in done.changes):
            return minute - 59
    return None
