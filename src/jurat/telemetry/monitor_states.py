"""What a monitor is, what happens to it, what it remembers, and what it tells: the nouns of `jurat.telemetry.monitors`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from jurat.stats.change_detection import MIXTURE, evidence_threshold
from jurat.stats.result import Interval
from jurat.telemetry.baselines import Baseline, Count, Hour, Level

__all__ = [
    "Acknowledge",
    "Change",
    "Event",
    "Minute",
    "Monitor",
    "MonitorState",
    "Resolve",
    "Run",
    "SliceKey",
    "SliceState",
    "Status",
]

SliceKey = tuple[tuple[str, str], ...]
"""Columns and values of a slice, in the order of the monitor's columns; empty for all traffic."""

Status = Literal["no data", "ok", "warning", "firing", "acknowledged", "resolved"]
_MINUTES_OF_WEEK = 10_080
_ZEROS = tuple(0.0 for _ in MIXTURE)


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
        if (
            min(self.minimum_n, self.hold_minutes, self.no_data_minutes, self.max_slices) < 1
            or self.memory_minutes <= 0
        ):
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
    """A person has seen an alarm; the note says what they make of it."""

    minute: int
    slice: SliceKey
    by: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolve:
    """A person ends an alarm; with ``accept``, what is now becomes usual and the baseline is learned anew."""

    minute: int
    slice: SliceKey
    by: str
    accept: bool = False
    note: str = ""


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
    run: Run = field(default=Run())
    incident: int = 0
    fired: int = 0
    reminded: int = 0
    last: int = 0
    volume: float = 0.0
    pending: Count = field(default=Count(n=0, total=0.0, total_sq=0.0))
    hours: tuple[Hour, ...] = ()
    current: Hour = field(default=Hour(-1))
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
