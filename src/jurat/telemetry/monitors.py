"""Is production still what it was? A monitor looks every minute and may cry wolf so often a year, and no oftener.

Counts of each minute and slice go through an e-detector (`jurat.stats.change_detection`) against a baseline
(`jurat.telemetry.baselines`). The number that is set is the budget of false alarms per week, shared among the slices: looking
every minute costs nothing in addition. An alarm resolves by the same kind of evidence for the way back, not by one good
minute. `step` is a pure function of state and event, so that every alarm can be replayed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from jurat.stats.change_detection import (
    MIXTURE,
    advance_evidence,
    mixture_evidence,
)
from jurat.telemetry.baselines import (
    Count,
    Hour,
    Level,
    dispersion_of,
    expected_level,
    fold,
    levels_at,
    unit_variance,
)
from jurat.telemetry.monitor_evidence import is_ready, level_since, log_ratios, summed, turned, untold
from jurat.telemetry.monitor_states import (
    Acknowledge,
    Change,
    Event,
    Minute,
    Monitor,
    MonitorState,
    Resolve,
    Run,
    SliceKey,
    SliceState,
    Status,
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

_ALARMED = ("firing", "acknowledged")
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

_ZEROS = tuple(0.0 for _ in MIXTURE)


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
    >>> from jurat.telemetry.baselines import Baseline
    >>> monitor = Monitor(
    ...     name="refusals", metric="refusal_rate", kind="share", direction="above",
    ...     baseline=Baseline(kind="fixed", value=0.05), shift=0.03,
    ... )
    >>> quiet = [Minute(minute=m, counts={(): Count.of_share(30, 600)}) for m in range(60)]
    >>> spike = [Minute(minute=m, counts={(): Count.of_share(48, 600)}) for m in range(60, 70)]
    >>> for c in replay(monitor, quiet + spike).changes:
    ...     print(c.minute, c.before, "->", c.after)
    0 no data -> ok
    61 ok -> warning
    62 warning -> firing
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
        units = event.counts.get(key)
        before = _rolled(monitor, held, event.minute // _MINUTES_OF_HOUR)
        after, change = (
            _silent(monitor, key, before, event.minute)
            if units is None or units.n == 0
            else _observed(monitor, key, before, event.minute, turned(monitor, units), share)
        )
        slices[key] = after
        if change is not None:
            changes.append(change)
    return Stepped(
        state=MonitorState(minute=event.minute, slices=slices, late=state.late, beyond=beyond), changes=tuple(changes)
    )


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
        baseline = replace(baseline, value=untold(monitor, baseline.value))
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
    pooled = count if s.pending.n == 0 else summed(s.pending, count)
    s = replace(s, volume=volume, last=minute, current=current)
    if monitor.kind == "mean" and pooled.n < _UNITS_OF_A_MEAN:
        return replace(s, pending=pooled), None
    level = expected_level(s.levels, minute)
    shift = 0.0 if level is None else monitor.shift * (abs(level.value) if monitor.relative else 1.0)
    if level is None or not is_ready(monitor, s, level, shift):
        s = replace(s, pending=Count(n=0, total=0.0, total_sq=0.0))
        if s.status in ("no data", *_ALARMED):
            return s, None
        return _moved(
            monitor, key, s, minute, "no data", "there is no baseline for this hour", evidence=_ZEROS, run=Run()
        )
    ratios, back = log_ratios(monitor, s, pooled, level, shift)
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
        observed=level_since(monitor, s) if tells else None,
        baseline=untold(monitor, level.value) if isinstance(level, Level) else None,
        evidence=found if isinstance(found, float) else None,
        threshold=monitor.threshold,
        onset=s.run.start if tells else None,
        by=by,
        reopened=bool(seen.get("reopened", False)),
    )
    return moved, change


def _acted(monitor: Monitor, state: MonitorState, event: Acknowledge | Resolve) -> Stepped:
    held = state.slices.get(event.slice)
    if held is None or held.status not in _ALARMED:
        raise ValueError(
            f"only an alarm can be acknowledged or resolved; {monitor.name} {dict(event.slice)} is "
            f"{'not watched' if held is None else held.status!r}"
        )
    said = f": {event.note}" if event.note else ""
    if isinstance(event, Acknowledge):
        moved, change = _moved(monitor, event.slice, held, event.minute, "acknowledged", f"seen{said}", by=event.by)
    elif event.accept:
        fresh = replace(held, hours=(), current=Hour(-1), levels=(None, None, None))
        moved, change = _moved(
            monitor, event.slice, fresh, event.minute, "resolved",
            f"accepted as usual; the baseline is learned anew{said}", by=event.by, evidence=_ZEROS, run=Run(),
        )  # fmt: skip
    else:
        moved, change = _moved(
            monitor, event.slice, held, event.minute, "resolved", f"resolved by hand{said}", by=event.by,
            evidence=_ZEROS, run=Run(),
        )  # fmt: skip
    changes = () if change is None else (change,)
    return Stepped(state=replace(state, slices={**state.slices, event.slice: moved}), changes=changes)
