"""Is production still what it was? A monitor looks every minute and may cry wolf so often a year, and no oftener.

Counts of each minute and slice go through an e-detector (`jurat.stats.change_detection`) against a baseline
(`jurat.telemetry.baselines`). The number that is set is the budget of false alarms per week, shared among the slices: looking
every minute costs nothing in addition. An alarm resolves by the same kind of evidence for the way back, not by one good
minute. `step` is a pure function of state and event, so that every alarm can be replayed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from jurat.stats.change_detection import (
    advance_evidence,
    binomial_log_ratio,
    evidence_threshold,
    mixture_evidence,
    normal_log_ratio,
    shifted_shares,
)
from jurat.stats.change_detection import MIXTURE as _MIXTURE
from jurat.stats.interval import proportion
from jurat.stats.mean import mean_from_sums
from jurat.stats.result import Interval
from jurat.telemetry.baselines import (
    Baseline,
    Count,
    Hour,
    Level,
    dispersion_of,
    expected_level,
    fold,
    levels_at,
    unit_variance,
)

__all__ = [
    "WATCHED",
    "Acknowledge",
    "Change",
    "Event",
    "Minute",
    "Monitor",
    "MonitorState",
    "Replay",
    "Resolve",
    "SliceKey",
    "SliceState",
    "Status",
    "Stepped",
    "replay",
    "step",
]

SliceKey = tuple[tuple[str, str], ...]
"""Columns and values of a slice, in the order of the monitor's columns; empty for all traffic."""

Status = Literal["no data", "ok", "warning", "firing", "acknowledged", "resolved"]
_ALARMED = ("firing", "acknowledged")
_MINUTES_OF_WEEK = 10_080
_MINUTES_OF_HOUR = 60
_HOURS_KEPT = 170
_RECOVERED = 1_000.0
"""Evidence of being back at the baseline that resolves an alarm."""

_WARNING_ENDS = 0.05
"""Share of the warning's threshold below which evidence must fall before the warning ends."""

_UNITS_OF_A_MEAN = 30
"""Units that a mean is pooled to before it is read as normal."""

_MISSED = 20.0
"""Units that should have come before silence counts as no data: e^-20 by chance."""

_VOLUME_MEMORY = 60.0

WATCHED = "watched from now on"
"""Reason of a slice's first change: it has data and a baseline."""

_ZEROS = tuple(0.0 for _ in _MIXTURE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitor:
    """What is watched, and how sure an alarm must be.

    Attributes
    ----------
    name
        Of the monitor; unique where several are kept together.
    metric
        What the counts are of.
    kind
        ``"share"`` for k of n, ``"mean"`` for sums.
    direction
        Which way is bad.
    baseline
        What the numbers are held against.
    shift
        Smallest change that matters, in the metric's units (0.03 is three points), or as a share of the baseline.
    relative
        Whether ``shift`` is a share of the baseline.
    by
        Columns whose values are watched each by itself.
    memory_minutes
        Minutes after which evidence has faded to 1/e.
    false_alarms_per_week, warnings_per_week
        Budgets over all slices together, on data that stay at the baseline.
    minimum_n
        Units since the estimated onset without which nothing fires.
    hold_minutes
        Shortest time an alarm stands.
    cooldown_minutes
        After an alarm is resolved, time within which another belongs to the same incident; also between two reminders.
    no_data_minutes
        Shortest silence that is reported; more where the slice is rarely heard of.
    max_slices
        Slices that are watched; counts of further ones are left out and counted.
    """

    name: str
    metric: str
    kind: Literal["share", "mean"]
    direction: Literal["above", "below"]
    baseline: Baseline
    shift: float
    relative: bool = False
    by: tuple[str, ...] = ()
    memory_minutes: float = 60.0
    false_alarms_per_week: float = 0.05
    warnings_per_week: float = 1.0
    minimum_n: int = 100
    hold_minutes: int = 5
    cooldown_minutes: int = 30
    no_data_minutes: int = 10
    max_slices: int = 500

    def __post_init__(self) -> None:
        if not (math.isfinite(self.shift) and self.shift > 0):
            raise ValueError(f"the shift must be positive, got {self.shift!r}")
        if not 0 < self.false_alarms_per_week <= self.warnings_per_week:
            raise ValueError(
                "need budgets of 0 < false alarms <= warnings per week, got "
                f"{self.false_alarms_per_week!r} and {self.warnings_per_week!r}"
            )
        if min(self.minimum_n, self.hold_minutes, self.no_data_minutes, self.max_slices) < 1 or self.memory_minutes <= 0:
            raise ValueError("minimum_n, hold_minutes, no_data_minutes, max_slices and memory_minutes must be positive")
        value = self.baseline.value
        if self.kind == "share" and value is not None and not 0 < value + self._signed(self.baseline.tolerance) < 1:
            raise ValueError(f"the level of a share must lie in (0, 1), got {value!r}")

    def _signed(self, x: float) -> float:
        return x if self.direction == "above" else -x

    @property
    def threshold(self) -> float:
        """Evidence at which it fires."""
        return evidence_threshold(self.false_alarms_per_week, _MINUTES_OF_WEEK)

    @property
    def warning_threshold(self) -> float:
        """Evidence at which it warns."""
        return evidence_threshold(self.warnings_per_week, _MINUTES_OF_WEEK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Minute:
    """Counts of one closed minute (minutes since 1970, UTC), by slice; slices without units may be left out."""

    minute: int
    counts: Mapping[SliceKey, Count]


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledge:
    """A person has seen an alarm."""

    minute: int
    slice: SliceKey
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolve:
    """A person ends an alarm; with ``accept``, what is now becomes usual and the baseline is learned anew."""

    minute: int
    slice: SliceKey
    by: str
    accept: bool = False


Event = Minute | Acknowledge | Resolve


@dataclass(frozen=True, slots=True)
class Run:
    """Units since the change is thought to have begun: its first minute, their sums, and the log ratio they make."""

    start: int = 0
    n: int = 0
    total: float = 0.0
    total_sq: float = 0.0
    log_ratio: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceState:
    """All that is remembered of a slice. Values are turned so that up is bad.

    Attributes
    ----------
    status, since, watched
        What it is, since which minute, and whether it ever had a baseline.
    evidence, recovery
        Of a change, by component, and of the way back.
    run
        The change so far.
    incident, fired, reminded
        Number of the last incident, the minute it fired and the minute it was last told of.
    last, volume
        Last minute with units, and units per minute of late.
    pending
        Units of a mean that are too few yet.
    hours, current
        Hours that are over, oldest first, and the one that goes on.
    levels, variance, dispersion
        Baseline around this hour, variance of one unit, and how much wider minutes vary.
    """

    status: Status = "no data"
    since: int = 0
    watched: bool = False
    evidence: tuple[float, ...] = _ZEROS
    recovery: float = 0.0
    run: Run = Run()
    incident: int = 0
    fired: int = 0
    reminded: int = 0
    last: int = 0
    volume: float = 0.0
    pending: Count = field(default=Count(n=0, total=0.0, total_sq=0.0))
    hours: tuple[Hour, ...] = ()
    current: Hour = Hour(-1)
    levels: tuple[Level | None, ...] = (None, None, None)
    variance: float | None = None
    dispersion: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorState:
    """All that a monitor remembers: the last minute, its slices, and what it left out.

    Attributes
    ----------
    minute
        Last minute that was taken in.
    slices
        State of each slice.
    late, beyond
        Units that came after their minute was closed, and units of slices beyond the most that are watched.
    """

    minute: int | None = None
    slices: Mapping[SliceKey, SliceState] = field(default_factory=dict)
    late: int = 0
    beyond: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of a slice's status, with what it rests on.

    Attributes
    ----------
    minute
        Minute at whose end it was known.
    monitor, metric, slice
        Whose.
    before, after
        Status; the same where an alarm is told of again.
    reason
        In words.
    incident
        Number of the incident within the slice; 0 where there was none yet.
    observed
        Level since the estimated onset, with interval. The onset is chosen by the data, so this is a description.
    baseline
        Level it was held against.
    evidence, threshold
        What the change rests on, and where it fires.
    onset
        Estimated first minute of the change.
    by
        Who did it, where a person did.
    reopened
        Whether the alarm belongs to an incident that was told of already.
    """

    minute: int
    monitor: str
    metric: str
    slice: SliceKey
    before: Status
    after: Status
    reason: str
    incident: int
    observed: Interval | None = None
    baseline: float | None = None
    evidence: float | None = None
    threshold: float | None = None
    onset: int | None = None
    by: str | None = None
    reopened: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stepped:
    """State after an event, and what changed."""

    state: MonitorState
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """State after many events, and everything that changed on the way."""

    state: MonitorState
    changes: tuple[Change, ...]


def replay(monitor: Monitor, events: Iterable[Event], *, state: MonitorState | None = None) -> Replay:
    """Take a monitor through events.

    Parameters
    ----------
    monitor
        What is watched.
    events
        In order of time.
    state
        To go on from; nothing by default.

    Examples
    --------
    >>> monitor = Monitor(
    ...     name="refusals", metric="refusal_rate", kind="share", direction="above",
    ...     baseline=Baseline(kind="fixed", value=0.05), shift=0.03,
    ... )
    >>> quiet = [Minute(minute=m, counts={(): Count.of_share(30, 600)}) for m in range(60)]
    >>> spike = [Minute(minute=m, counts={(): Count.of_share(48, 600)}) for m in range(60, 70)]
    >>> for c in replay(monitor, quiet + spike).changes:
    ...     print(c.minute, c.before, "->", c.after)
    0 no data -> ok
    62 ok -> firing
    """
    state = state or MonitorState()
    changes: list[Change] = []
    for event in events:
        done = step(monitor, state, event)
        state = done.state
        changes += done.changes
    return Replay(state=state, changes=tuple(changes))


def step(monitor: Monitor, state: MonitorState, event: Event) -> Stepped:
    """Take one event in. Nothing but the arguments decides the result.

    Parameters
    ----------
    monitor
        What is watched.
    state
        Before the event.
    event
        Counts of a minute, or what a person did. Minutes that were closed already change nothing but a count.

    Raises
    ------
    ValueError
        Where a person acts on a slice that is not alarmed.
    """
    if not isinstance(event, Minute):
        return _acted(monitor, state, event)
    if state.minute is not None and event.minute <= state.minute:
        return Stepped(state=replace(state, late=state.late + sum(c.n for c in event.counts.values())), changes=())
    slices = dict(state.slices)
    beyond = state.beyond
    for key, count in event.counts.items():
        if key not in slices:
            if len(slices) >= monitor.max_slices:
                beyond += count.n
            elif count.n:
                slices[key] = SliceState(since=event.minute, last=event.minute)
    changes: list[Change] = []
    # The budget is shared by the slices that were ever heard of: which they are does not depend on their values.
    share = 1.0 / max(len(slices), 1)
    for key, held in slices.items():
        count = event.counts.get(key)
        before = _rolled(monitor, held, event.minute // _MINUTES_OF_HOUR)
        after, change = (
            _silent(monitor, key, before, event.minute)
            if count is None or count.n == 0
            else _observed(monitor, key, before, event.minute, _turned(monitor, count), share)
        )
        slices[key] = after
        if change is not None:
            changes.append(change)
    return Stepped(
        state=MonitorState(minute=event.minute, slices=slices, late=state.late, beyond=beyond), changes=tuple(changes)
    )


def _turned(monitor: Monitor, count: Count) -> Count:
    """Counts with the bad direction up."""
    if monitor.direction == "above":
        return count
    if monitor.kind == "share":
        return Count(n=count.n, total=count.n - count.total, total_sq=count.n - count.total_sq)
    return Count(n=count.n, total=-count.total, total_sq=count.total_sq)


def _untold(monitor: Monitor, value: float) -> float:
    """A level in the metric's own direction again."""
    if monitor.direction == "above":
        return value
    return 1 - value if monitor.kind == "share" else -value


def _rolled(monitor: Monitor, s: SliceState, hour: int) -> SliceState:
    """Close the hour that is over, and look up what the new one is held against."""
    if s.current.hour == hour:
        return s
    closed = (*s.hours, s.current) if s.current.minutes else s.hours
    if monitor.baseline.kind == "same hour last week":
        hours = tuple(h for h in closed if h.hour >= hour - _HOURS_KEPT)
    else:
        # By number, not by age: an incident of a day, whose hours are not kept, must not leave nothing to come back to.
        hours = closed[-(monitor.baseline.hours + monitor.baseline.gap_hours) :]
    recent = hours[-24:]
    dispersion = dispersion_of(recent)
    baseline = monitor.baseline
    if baseline.value is not None:
        baseline = replace(baseline, value=_untold(monitor, baseline.value))
    levels = levels_at(baseline, hours, hour, share=monitor.kind == "share", dispersion=dispersion)
    return replace(
        s, hours=hours, current=Hour(hour), levels=levels, variance=unit_variance(recent), dispersion=dispersion
    )


def _silent(monitor: Monitor, key: SliceKey, s: SliceState, minute: int) -> tuple[SliceState, Change | None]:
    silence = minute - s.last
    heard = s.status not in ("no data", *_ALARMED)
    if not heard or silence < monitor.no_data_minutes or s.volume * silence < _MISSED:
        return s, None
    reason = f"no units for {silence} minutes, where about {s.volume * silence:,.0f} should have come"
    return _moved(monitor, key, s, minute, "no data", reason, evidence=_ZEROS, run=Run())


def _observed(
    monitor: Monitor, key: SliceKey, s: SliceState, minute: int, count: Count, share: float
) -> tuple[SliceState, Change | None]:
    fade = math.exp(-(minute - s.last) / _VOLUME_MEMORY)
    volume = float(count.n) if s.volume == 0 else s.volume * fade + count.n * (1 - math.exp(-1 / _VOLUME_MEMORY))
    # What happens while the alarm stands is not what is usual.
    current = s.current if s.status in _ALARMED else fold(s.current, count)
    pooled = count if s.pending.n == 0 else _sum(s.pending, count)
    s = replace(s, volume=volume, last=minute, current=current)
    if monitor.kind == "mean" and pooled.n < _UNITS_OF_A_MEAN:
        return replace(s, pending=pooled), None
    level = expected_level(s.levels, minute)
    shift = 0.0 if level is None else monitor.shift * (abs(level.value) if monitor.relative else 1.0)
    if level is None or not _is_ready(monitor, s, level, shift):
        s = replace(s, pending=Count(n=0, total=0.0, total_sq=0.0))
        if s.status in ("no data", *_ALARMED):
            return s, None
        return _moved(
            monitor, key, s, minute, "no data", "there is no baseline for this hour", evidence=_ZEROS, run=Run()
        )
    ratios, back = _log_ratios(monitor, s, pooled, level, shift)
    log_ratio = s.run.log_ratio + ratios[0]
    run = (
        Run(minute + 1)
        if log_ratio <= 0
        else Run(
            s.run.start if s.run.n else minute,
            s.run.n + pooled.n,
            s.run.total + pooled.total,
            s.run.total_sq + pooled.total_sq,
            log_ratio,
        )
    )
    s = replace(
        s,
        evidence=advance_evidence(s.evidence, ratios, share=share, memory=monitor.memory_minutes),
        recovery=advance_evidence((s.recovery,), (back,))[0] if s.status in _ALARMED else 0.0,
        run=run,
        pending=Count(n=0, total=0.0, total_sq=0.0),
    )
    return _judged(monitor, key, s, minute, level)


def _sum(a: Count, b: Count) -> Count:
    return Count(n=a.n + b.n, total=a.total + b.total, total_sq=a.total_sq + b.total_sq)


def _is_ready(monitor: Monitor, s: SliceState, level: Level, shift: float) -> bool:
    if shift <= 0 or level.bound - level.value - monitor.baseline.tolerance > shift / 2:
        return False
    if monitor.kind == "share":
        return 0 < level.bound < 1
    return s.variance is not None


def _log_ratios(
    monitor: Monitor, s: SliceState, count: Count, level: Level, shift: float
) -> tuple[tuple[float, ...], float]:
    """Log ratio of each size of change, and of being back."""
    if monitor.kind == "share":
        shares = shifted_shares(level.bound, level.value, shift)
        k, n = count.total, count.n
        ratios = tuple(binomial_log_ratio(k, n, level.bound, p, dispersion=s.dispersion) for p in shares)
        usual = max(level.value, shares[0] / 100)
        return ratios, binomial_log_ratio(k, n, shares[0], usual, dispersion=s.dispersion)
    variance = (s.variance or 0.0) * s.dispersion
    ratios = tuple(
        normal_log_ratio(count.total, count.n, level.bound, level.value + shift * size - level.bound, variance)
        for size, _ in _MIXTURE
    )
    return ratios, normal_log_ratio(-count.total, count.n, -(level.value + shift), shift, variance)


def _judged(
    monitor: Monitor, key: SliceKey, s: SliceState, minute: int, level: Level
) -> tuple[SliceState, Change | None]:
    """Decide what the evidence makes of the status."""
    found = mixture_evidence(s.evidence)
    fires = found >= monitor.threshold and s.run.n >= monitor.minimum_n
    said = {"evidence": found, "level": level}
    if s.status in _ALARMED:
        if s.recovery >= _RECOVERED and minute - s.fired >= monitor.hold_minutes:
            return _moved(
                monitor, key, s, minute, "resolved", "back at the baseline", seen=said, evidence=_ZEROS, run=Run()
            )
        if fires and minute - s.reminded >= monitor.cooldown_minutes:
            return _moved(
                monitor, key, s, minute, s.status, f"still {_way(monitor)}", seen=said, evidence=_ZEROS,
                reminded=minute,
            )  # fmt: skip
        return s, None
    if fires:
        reopened = s.status == "resolved" and s.incident > 0
        return _moved(
            monitor, key, s, minute, "firing", _way(monitor), seen={**said, "reopened": reopened}, evidence=_ZEROS,
            recovery=0.0, incident=s.incident + (not reopened), fired=minute, reminded=minute,
        )  # fmt: skip
    if s.status == "resolved":
        if minute - s.since < monitor.cooldown_minutes:
            return s, None
        return _moved(monitor, key, s, minute, "ok", "quiet since it was resolved", seen=said)
    if s.status == "no data":
        reason = "there are data again" if s.watched else WATCHED
        return _moved(monitor, key, s, minute, "ok", reason, seen=said, watched=True)
    if s.status == "ok" and found >= monitor.warning_threshold:
        return _moved(monitor, key, s, minute, "warning", f"perhaps {_way(monitor)}", seen=said)
    if s.status == "warning" and found < monitor.warning_threshold * _WARNING_ENDS:
        return _moved(monitor, key, s, minute, "ok", "the evidence is gone", seen=said)
    return s, None


def _way(monitor: Monitor) -> str:
    base = "the level" if monitor.baseline.kind == "fixed" else "the baseline"
    return f"{monitor.direction} {base}"


def _moved(
    monitor: Monitor,
    key: SliceKey,
    s: SliceState,
    minute: int,
    after: Status,
    reason: str,
    *,
    seen: Mapping[str, object] | None = None,
    by: str | None = None,
    **fields: object,
) -> tuple[SliceState, Change | None]:
    """Write a change down."""
    seen = seen or {}
    level, found = seen.get("level"), seen.get("evidence")
    moved = replace(s, status=after, since=s.since if after == s.status else minute, **fields)  # type: ignore[arg-type]
    tells = after in ("warning", *_ALARMED) and s.run.n > 0
    change = Change(
        minute=minute,
        monitor=monitor.name,
        metric=monitor.metric,
        slice=key,
        before=s.status,
        after=after,
        reason=reason,
        incident=moved.incident,
        observed=_level_since(monitor, s) if tells else None,
        baseline=_untold(monitor, level.value) if isinstance(level, Level) else None,
        evidence=found if isinstance(found, float) else None,
        threshold=monitor.threshold,
        onset=s.run.start if tells else None,
        by=by,
        reopened=bool(seen.get("reopened", False)),
    )
    return moved, change


def _level_since(monitor: Monitor, s: SliceState) -> Interval:
    """Level since the estimated onset, its interval widened by the dispersion."""
    run = s.run
    count = _turned(monitor, Count(n=run.n, total=run.total, total_sq=run.total_sq))
    if monitor.kind == "share":
        effective = max(int(count.n / s.dispersion), 1)
        found = proportion(min(round(count.total / s.dispersion), effective), effective)
        value = count.total / count.n
        low, high = found.low or 0.0, 1.0 if found.high is None else found.high
        return replace(found, value=value, low=min(low, value), high=max(high, value), n=count.n)
    plain = mean_from_sums(count.n, count.total, count.total_sq)
    if plain.value is None or plain.low is None or plain.high is None:
        return plain
    wider = math.sqrt(s.dispersion)
    return replace(
        plain,
        low=plain.value - (plain.value - plain.low) * wider,
        high=plain.value + (plain.high - plain.value) * wider,
        se=None if plain.se is None else plain.se * wider,
    )


def _acted(monitor: Monitor, state: MonitorState, event: Acknowledge | Resolve) -> Stepped:
    held = state.slices.get(event.slice)
    if held is None or held.status not in _ALARMED:
        raise ValueError(
            f"only an alarm can be acknowledged or resolved; {monitor.name} {dict(event.slice)} is "
            f"{'not watched' if held is None else held.status!r}"
        )
    if isinstance(event, Acknowledge):
        moved, change = _moved(monitor, event.slice, held, event.minute, "acknowledged", "seen", by=event.by)
    elif event.accept:
        fresh = replace(held, hours=(), current=Hour(-1), levels=(None, None, None))
        moved, change = _moved(
            monitor, event.slice, fresh, event.minute, "resolved", "accepted as usual; the baseline is learned anew",
            by=event.by, evidence=_ZEROS, run=Run(),
        )  # fmt: skip
    else:
        moved, change = _moved(
            monitor, event.slice, held, event.minute, "resolved", "resolved by hand", by=event.by, evidence=_ZEROS,
            run=Run(),
        )  # fmt: skip
    changes = () if change is None else (change,)
    return Stepped(state=replace(state, slices={**state.slices, event.slice: moved}), changes=changes)
