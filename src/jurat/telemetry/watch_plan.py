"""From the words of a launch bar's ``[[monitor.watch]]`` to a monitor: a grammar small enough to be read aloud.

A *trigger* says when::

    above 5 %
    above baseline by 3pp
    below same hour last week by 10 %
    above 4 % by 3pp, by endpoint and tier, 0.02 false alarms a week, at least 200 units, tolerance 0.5pp

An *action* says what then::

    alert
    open breaker assistant
    alert and open breaker assistant for 30 minutes

The *window* is the time over which evidence counts: a change so slow that a window of it shows nothing is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NoReturn, Protocol

from jurat.errors import SpecError
from jurat.telemetry.baselines import Baseline
from jurat.telemetry.monitors import Monitor

__all__ = ["Action", "Entry", "Watch", "parse_action", "parse_trigger", "parse_window", "watches_of"]

_REFERENCE = "docs/reference/launch-bar.md, The monitor"
_RELATIVE_SHIFT = 0.2
"""Smallest change of a bare level (``above 5 %``), as a share of it: at 5 % one point."""

_NUMBER = r"(?P<{0}>\d+(?:\.\d+)?)\s*(?P<{0}_unit>%|pp|points?|[A-Za-z]+)?"
_CONDITION = re.compile(
    rf"(?P<direction>above|below)\s+(?:(?P<base>baseline|same hour last week)|{_NUMBER.format('level')})"
    rf"(?:\s+by\s+{_NUMBER.format('shift')})?"
)
_OPTIONS = {
    "by": re.compile(r"by\s+(?P<columns>\w+(?:(?:\s+and\s+)\w+)*)"),
    "budget": re.compile(r"(?P<budget>\d+(?:\.\d+)?)\s+false alarms?\s+(?:a|per)\s+(?P<period>day|week|month|year)"),
    "minimum": re.compile(r"at least\s+(?P<minimum>\d+)\s+units?"),
    "tolerance": re.compile(rf"tolerance\s+{_NUMBER.format('tolerance')}"),
}
_WEEKS = {"day": 1 / 7, "week": 1.0, "month": 365.25 / 84, "year": 365.25 / 7}
_WINDOW = re.compile(r"(?P<count>\d+)\s*(?P<unit>minute|hour|day)s?")
_MINUTES = {"minute": 1, "hour": 60, "day": 1_440}
_OPEN = re.compile(r"open breaker (?P<feature>[\w./-]+)(?: for (?P<length>\d+\s*(?:minute|hour|day)s?))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What happens when a monitor fires: people are told, and perhaps a feature is pulled.

    Attributes
    ----------
    feature
        Whose breaker is opened; ``None`` where people are told only.
    minutes
        For how long; the feature's own time where ``None``.
    """

    feature: str | None = None
    minutes: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """One entry of a bar's monitoring plan, understood.

    Attributes
    ----------
    monitor
        What is watched.
    action
        What then.
    """

    monitor: Monitor
    action: Action


class Entry(Protocol):
    """One ``[[monitor.watch]]`` of a bar: its words."""

    @property
    def metric(self) -> str:
        """What is watched."""
        ...

    @property
    def window(self) -> str:
        """How long evidence counts."""
        ...

    @property
    def trigger(self) -> str:
        """When it fires."""
        ...

    @property
    def action(self) -> str:
        """What then."""
        ...


def watches_of(
    entries: Sequence[Entry], kind: Callable[[str], Literal["share", "mean"]], *, place: str, prefix: str = ""
) -> list[Watch]:
    """Monitors and actions of a bar's monitoring plan.

    Parameters
    ----------
    entries
        The bar's ``[[monitor.watch]]``.
    kind
        Tells whether a metric is a share or a mean (`MinuteSource.kind`).
    place
        Name of the bar's file, for messages.
    prefix
        Before each monitor's name, where several bars are watched together.

    Raises
    ------
    SpecError
        Where there is nothing to watch, or an entry is not in the grammar.
    """
    if not entries:
        raise SpecError(
            f"{place}: the bar has no monitoring plan",
            seen="no [[monitor.watch]]",
            next_step="add one with metric, window, trigger and action; see docs/reference/launch-bar.md",
        )
    watches: list[Watch] = []
    for number, entry in enumerate(entries, start=1):
        where = f"{place}: monitor.watch {number}"
        # The words are read before the data, so that free text is told as such wherever the data lie.
        action = parse_action(entry.action, place=where)
        same = sum(w.monitor.metric == entry.metric for w in watches)
        monitor = parse_trigger(
            entry.trigger,
            metric=entry.metric,
            kind=kind(entry.metric),
            window=entry.window,
            name=prefix + (f"{entry.metric} {same + 1}" if same else entry.metric),
            place=where,
        )
        watches.append(Watch(monitor=monitor, action=action))
    return watches


def _refused(place: str, what: str, seen: str, next_step: str) -> NoReturn:
    raise SpecError(
        f"{place}: the {what} cannot be followed",
        seen=repr(seen),
        next_step=f"{next_step}; see {_REFERENCE}",
    )


def parse_window(text: str, *, place: str = "window") -> int:
    """Minutes of a window: ``60 minutes``, ``24 hours``, ``7 days``.

    Raises
    ------
    SpecError
        For any other text.

    Examples
    --------
    >>> parse_window("24 hours")
    1440
    """
    found = _WINDOW.fullmatch(text.strip())
    if found is None or int(found["count"]) == 0:
        _refused(place, "window", text, "write a number of minutes, hours or days, such as '60 minutes'")
    return int(found["count"]) * _MINUTES[found["unit"]]


def parse_action(text: str, *, place: str = "action") -> Action:
    """What an action says.

    Raises
    ------
    SpecError
        For free text.

    Examples
    --------
    >>> parse_action("alert and open breaker assistant for 30 minutes")
    Action(feature='assistant', minutes=30)
    """
    parts = re.split(r"\s+and\s+|\s*,\s*", text.strip())
    action = Action()
    for part in parts:
        if part == "alert":
            continue
        found = _OPEN.fullmatch(part)
        if found is None or action.feature is not None:
            _refused(
                place, "action", text, "write 'alert', 'open breaker FEATURE' or 'open breaker FEATURE for 30 minutes'"
            )
        length = found["length"]
        action = Action(feature=found["feature"], minutes=None if length is None else parse_window(length, place=place))
    return action


def parse_trigger(
    text: str, *, metric: str, kind: Literal["share", "mean"], window: str, name: str, place: str = "trigger"
) -> Monitor:
    """Monitor that a trigger and a window describe.

    Parameters
    ----------
    text
        The trigger.
    metric, kind
        What is watched, and whether it is a share (levels in %, changes in pp or %) or a mean (in its own unit, or %).
    window
        As `parse_window` reads it.
    name
        The monitor's.
    place
        Where the text stands, for messages.

    Raises
    ------
    SpecError
        Where the text does not follow the grammar, or a unit does not fit the metric.

    Examples
    --------
    >>> monitor = parse_trigger("above baseline by 3pp, by endpoint", metric="refusal_rate", kind="share",
    ...                         window="60 minutes", name="refusals")
    >>> monitor.direction, monitor.baseline.kind, monitor.shift, monitor.by
    ('above', 'reference', 0.03, ('endpoint',))
    """
    head, *options = (part.strip() for part in text.split(","))
    found = _CONDITION.fullmatch(head)
    if found is None:
        _refused(place, "trigger", text, "write 'above 5 %' or 'above baseline by 3pp'")
    said = _options(options, text, place)
    base, level = found["base"], found["level"]
    if base is not None and found["shift"] is None:
        _refused(place, "trigger", text, f"say by how much: 'above {base} by 3pp'")
    value = None if level is None else _amount(level, found["level_unit"], kind, text, place, change=False)[0]
    shift, relative = (
        (_RELATIVE_SHIFT, True)
        if found["shift"] is None
        else _amount(found["shift"], found["shift_unit"], kind, text, place, change=True)
    )
    tolerance = 0.0
    if "tolerance" in said:
        tolerance, share = _amount(
            said["tolerance"]["tolerance"], said["tolerance"]["tolerance_unit"], kind, text, place, change=True
        )
        if share:
            _refused(place, "trigger", text, "give the tolerance in pp, or in the metric's unit")
    columns = tuple(re.split(r"\s+and\s+", said["by"]["columns"])) if "by" in said else ()
    budget = 0.05
    if "budget" in said:
        budget = float(said["budget"]["budget"]) / _WEEKS[said["budget"]["period"]]
    try:
        baseline = (
            Baseline(kind="fixed", value=value, tolerance=tolerance)
            if base is None
            else Baseline(kind="reference" if base == "baseline" else "same hour last week", tolerance=tolerance)
        )
        return Monitor(
            name=name,
            metric=metric,
            kind=kind,
            direction="above" if found["direction"] == "above" else "below",
            baseline=baseline,
            shift=shift,
            relative=relative,
            by=columns,
            memory_minutes=parse_window(window, place=place),
            false_alarms_per_week=budget,
            warnings_per_week=max(1.0, budget),
            minimum_n=int(said["minimum"]["minimum"]) if "minimum" in said else 100,
        )
    except ValueError as error:
        _refused(place, "trigger", text, str(error))


def _options(options: list[str], text: str, place: str) -> dict[str, re.Match[str]]:
    said: dict[str, re.Match[str]] = {}
    for option in options:
        matches = {name: found for name, pattern in _OPTIONS.items() if (found := pattern.fullmatch(option))}
        if not matches or set(matches) & set(said):
            _refused(
                place,
                "trigger",
                text,
                f"{option!r} is not 'by COLUMN and COLUMN', '0.02 false alarms a week', 'at least 200 units' or "
                "'tolerance 0.5pp', each once",
            )
        said |= matches
    return said


def _amount(number: str, unit: str | None, kind: str, text: str, place: str, *, change: bool) -> tuple[float, bool]:
    """A number in the metric's units, and whether it is a share of the baseline instead."""
    amount = float(number)
    points = unit in ("pp", "point", "points")
    if unit == "%" and change:
        return amount / 100, True
    if kind == "share":
        if change and points:
            return amount / 100, False
        if not change and unit == "%":
            return amount / 100, False
        _refused(place, "trigger", text, "a share has its level in % and its change in pp, or in % of the baseline")
    if unit == "%" or points:
        _refused(place, "trigger", text, "a mean has its level in its own unit, and its change in that unit or in %")
    return amount, False
