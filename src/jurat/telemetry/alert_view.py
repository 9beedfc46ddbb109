"""What a person must see of an alarm: what changed, by how much, since when, against what, and who did what about it."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from jurat.errors import UnknownName
from jurat.stats.interval import proportion
from jurat.stats.mean import mean_from_sums
from jurat.stats.result import Interval
from jurat.telemetry.alerts import Alert
from jurat.telemetry.minutes import minute_events
from jurat.telemetry.monitors import SliceKey
from jurat.telemetry.sentinel import Sentinel
from jurat.telemetry.watch_plan import Watch
from jurat.telemetry.watching import Watching

__all__ = ["AlertCard", "MinuteLevel", "MinuteLevels", "alert_id", "card_of", "cards", "minutes_around"]

_ORDER = ("firing", "acknowledged", "warning", "no data", "resolved", "ok")
_BEFORE, _AFTER = 45, 75
_SHORT = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertCard:
    """Where one slice of a monitor stands.

    Attributes
    ----------
    id
        Names monitor and slice in addresses.
    monitor, metric, title, slice
        Which monitor, what it watches, what that is called, and where.
    kind, scale, direction
        ``"share"`` or ``"mean"``, the unit of a mean, and which way is bad.
    status, since, reason, by, shadow
        Of the last change; since in ISO 8601. Whether it happened in shadow.
    observed, baseline, onset
        Level since the onset, what it was held against, and the onset in ISO 8601, of the incident's last telling; ``None``
        where there was none.
    fired, ended
        When the incident fired and when it ended; ``None`` where it did not.
    budget
        False alarms expected in a week at most, over all slices of the monitor.
    feature
        Whose breaker the alarm opens; ``None`` where people are told only.
    history
        Every change, oldest first, as the alert store has it; empty in a list for slices that are well.
    """

    id: str
    monitor: str
    metric: str
    title: str
    slice: Mapping[str, str]
    kind: Literal["share", "mean"]
    scale: str
    direction: Literal["above", "below"]
    status: str
    since: str
    reason: str
    by: str | None
    shadow: bool
    observed: Interval | None
    baseline: float | None
    onset: str | None
    fired: str | None
    ended: str | None
    budget: float
    feature: str | None
    history: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)

    @property
    def stands(self) -> bool:
        """Whether the alarm stands: firing, or acknowledged and not over."""
        return self.status in ("firing", "acknowledged")

    @property
    def where(self) -> str:
        """The slice in words; empty for all traffic. Its values come from traffic."""
        return ", ".join(f"{column} {value}" for column, value in self.slice.items())

    @property
    def key(self) -> SliceKey:
        """The slice as monitors name it."""
        return tuple(self.slice.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class MinuteLevel:
    """Level of one minute with its interval; the start of the minute, UTC."""

    minute: dt.datetime
    level: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class MinuteLevels:
    """Minutes around an onset, and what was asked for them."""

    levels: tuple[MinuteLevel, ...]
    sql: str
    parameters: Mapping[str, str | int]


def alert_id(monitor: str, key: Mapping[str, str]) -> str:
    """Name of a monitor's slice that may stand in an address.

    Examples
    --------
    >>> alert_id("refusal_rate", {"endpoint": "/v1/chat"})
    'b572238b4c8c3a8e'
    """
    return hashlib.sha256(json.dumps([monitor, list(key.items())]).encode()).hexdigest()[:_SHORT]


def cards(sentinel: Sentinel) -> list[AlertCard]:
    """Every slice that is watched: alarms first, the newest of each kind first."""
    watched = {watch.monitor.name: (watching, watch) for watching, watch in sentinel.watches()}
    made = [
        _card(sentinel, *watched[alert.monitor], alert, history=alert.status not in ("ok", "no data"))
        for alert in sentinel.alerts()
    ]
    made.sort(key=lambda card: card.since, reverse=True)
    return sorted(made, key=lambda card: _ORDER.index(card.status))


def card_of(sentinel: Sentinel, identifier: str) -> AlertCard:
    """One slice by its id.

    Raises
    ------
    UnknownName
        Where no slice has it.
    """
    for alert in sentinel.alerts():
        if alert_id(alert.monitor, alert.slice) == identifier:
            return _card(sentinel, *sentinel.find(alert.monitor), alert)
    raise UnknownName("alert", identifier, [])


def _card(sentinel: Sentinel, watching: Watching, watch: Watch, alert: Alert, *, history: bool = True) -> AlertCard:
    monitor, last = watch.monitor, alert.change
    definition = watching.source.metrics.get(monitor.metric)
    changes = tuple(sentinel.store.history(monitor.name, tuple(alert.slice.items()))) if history else ()
    incident = [c for c in changes if c["incident"] == last["incident"] and last["incident"]]
    told = next((c for c in reversed(incident) if c["observed"] is not None), last)
    held = next((c for c in reversed(incident) if c["baseline"] is not None), last)
    fired = [c for c in incident if c["after"] == "firing" and c["before"] != "firing"]
    ended = [c for c in incident if c["after"] == "resolved" and c["before"] != "resolved"]
    return AlertCard(
        id=alert_id(alert.monitor, alert.slice),
        monitor=monitor.name,
        metric=monitor.metric,
        title=monitor.metric if definition is None else definition.title,
        slice=alert.slice,
        kind=monitor.kind,
        scale="" if definition is None else definition.scale or "",
        direction=monitor.direction,
        status=alert.status,
        since=last["time"],
        reason=last["reason"],
        by=last["by"],
        shadow=alert.shadow,
        observed=None if told["observed"] is None else Interval(**told["observed"]),
        baseline=held["baseline"],
        onset=told["onset"],
        fired=fired[0]["time"] if fired else None,
        ended=ended[-1]["time"] if ended and alert.status not in ("firing", "acknowledged") else None,
        budget=monitor.false_alarms_per_week,
        feature=watch.action.feature,
        history=changes,
    )


def minutes_around(sentinel: Sentinel, card: AlertCard) -> MinuteLevels:
    """Levels by the minute from before an alarm's onset (or its last change) until it was known for a while.

    Each minute has the interval of independent units; where units cluster it is too narrow, which the alarm itself
    takes into account and the picture does not.
    """
    watching, watch = sentinel.find(card.monitor)
    middle = int(dt.datetime.fromisoformat(card.onset or card.since).timestamp()) // 60
    monitor = watch.monitor
    known = watching.states[monitor.name].minute
    before = middle + _AFTER if known is None else min(middle + _AFTER, known + 1)
    table = watching.source.read(monitor.metric, monitor.by, after=middle - _BEFORE - 1, before=before)
    levels = []
    for event in minute_events(table):
        count = event.counts.get(card.key)
        if count is not None:
            found = (
                proportion(int(count.total), count.n)
                if monitor.kind == "share"
                else mean_from_sums(count.n, count.total, count.total_sq)
            )
            levels.append(MinuteLevel(minute=dt.datetime.fromtimestamp(event.minute * 60, dt.UTC), level=found))
    return MinuteLevels(levels=tuple(levels), sql=table.sql, parameters=table.parameters)
