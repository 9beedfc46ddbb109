"""When they speak: conversations on a daily and weekly rhythm, turns, sessions and incidents.

A conversation starts by a load curve that is constant within each hour; its turns follow at lognormal gaps,
now and then after a pause long enough to open a new session. A session of a user ends where the next turn, in
any of the user's conversations, comes more than 30 minutes later. All times are integer microseconds, so
nothing is rounded twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from jurat.simulate.parameters import TrafficModel
from jurat.simulate.population import Population
from jurat.simulate.randomness import generator

__all__ = [
    "HOUR_US",
    "SECOND_US",
    "SESSION_GAP_US",
    "Incident",
    "Traffic",
    "draw_incidents",
    "draw_traffic",
    "epoch_us",
    "inside_incident",
    "session_numbers",
]

SECOND_US = 1_000_000
HOUR_US = 3_600 * SECOND_US
SESSION_GAP_US = 30 * 60 * SECOND_US
_PEAK_HOUR = 14
_SATURDAY = 5
_GAP_MEDIAN_S, _GAP_SIGMA, _GAP_RANGE_S = 55.0, 0.9, (1.0, 1_500.0)
_PAUSE_MEAN_S, _PAUSE_MAX_S = 3 * 3_600.0, 12 * 3_600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Turns in order of time.

    Attributes
    ----------
    user, conversation, endpoint
        Numbers from 0.
    turn
        Position of the turn in its conversation, from 1.
    session
        Position of the turn's session among the user's sessions, from 1.
    time_us
        Time in microseconds since 1970-01-01 UTC, ascending.
    conversations
        Number of conversations.
    """

    user: npt.NDArray[np.int64]
    conversation: npt.NDArray[np.int64]
    endpoint: npt.NDArray[np.int64]
    turn: npt.NDArray[np.int64]
    session: npt.NDArray[np.int64]
    time_us: npt.NDArray[np.int64]
    conversations: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """A stretch of time with many errors, in microseconds since 1970-01-01 UTC; the end is outside."""

    start_us: int
    end_us: int


def draw_traffic(
    population: Population, turns: int, *, start: datetime, days: int, seed: int, model: TrafficModel
) -> Traffic:
    """Draw exactly ``turns`` turns within ``[start, start + days)``.

    Parameters
    ----------
    population
        Users and their activity.
    turns
        Number of turns, at least 1.
    start
        Begin of the window, UTC.
    days
        Length of the window.
    seed
        Seed of the world.
    model
        Rhythm, lengths and pauses.

    Examples
    --------
    >>> from datetime import UTC
    >>> from jurat.simulate.population import draw_population
    >>> model = TrafficModel()
    >>> people = draw_population(50, seed=1, traffic=model)
    >>> begin = datetime(2026, 11, 2, tzinfo=UTC)
    >>> traffic = draw_traffic(people, 600, start=begin, days=14, seed=1, model=model)
    >>> len(traffic.user), bool((np.diff(traffic.time_us) >= 0).all())
    (600, True)
    """
    lengths = _conversation_lengths(turns, model.turns_per_conversation, generator(seed, "conversations"))
    count = len(lengths)
    owner = _choose(population.activity, count, generator(seed, "speakers"))
    shares = np.array([endpoint.share for endpoint in model.endpoints])
    endpoint = _choose(shares, count, generator(seed, "endpoints"))
    conversation = np.repeat(np.arange(count), lengths)
    first = np.repeat(np.cumsum(lengths) - lengths, lengths)
    turn = np.arange(turns) - first + 1
    offset = _offsets(turn, first, model, generator(seed, "gaps"))
    time_us = _place(offset, lengths, start=start, days=days, model=model, draw=generator(seed, "starts"))
    order = np.argsort(time_us, kind="stable")
    user = owner[conversation]
    return Traffic(
        user=user[order],
        conversation=conversation[order],
        endpoint=endpoint[conversation][order],
        turn=turn[order],
        session=session_numbers(user[order], time_us[order]),
        time_us=time_us[order],
        conversations=count,
    )


def _choose(shares: npt.NDArray[np.float64], count: int, draw: np.random.Generator) -> npt.NDArray[np.int64]:
    limits = np.cumsum(shares)
    position = draw.random(count) * limits[-1]
    chosen: npt.NDArray[np.int64] = np.searchsorted(limits[:-1], position, side="right")
    return chosen


def _conversation_lengths(turns: int, mean: float, draw: np.random.Generator) -> npt.NDArray[np.int64]:
    """Geometric lengths, cut so that they add up to the number of turns."""
    lengths = draw.geometric(1.0 / mean, size=turns)
    ends = np.cumsum(lengths)
    last = int(np.searchsorted(ends, turns))
    lengths = lengths[: last + 1]
    lengths[-1] -= ends[last] - turns
    return lengths


def _offsets(
    turn: npt.NDArray[np.int64], first: npt.NDArray[np.int64], model: TrafficModel, draw: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Microseconds from the first turn of each conversation, by conversation and turn."""
    count = len(turn)
    gap_s = np.clip(_GAP_MEDIAN_S * np.exp(_GAP_SIGMA * draw.standard_normal(count)), *_GAP_RANGE_S)
    pauses = draw.random(count) < model.pause_share
    pause_s = SESSION_GAP_US / SECOND_US + np.minimum(draw.exponential(_PAUSE_MEAN_S, count), _PAUSE_MAX_S)
    gap_us = (np.where(pauses, gap_s + pause_s, gap_s) * SECOND_US).astype(np.int64)
    gap_us[turn == 1] = 0
    total = np.cumsum(gap_us)
    offsets: npt.NDArray[np.int64] = total - total[first]
    return offsets


def _place(
    offset: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    *,
    start: datetime,
    days: int,
    model: TrafficModel,
    draw: np.random.Generator,
) -> npt.NDArray[np.int64]:
    """Put each conversation on the load curve, moved forward where it would overrun the window."""
    window = days * 24 * HOUR_US
    ends = np.cumsum(lengths)
    duration = offset[ends - 1]
    squeeze = np.minimum(1.0, (window - 1) / np.maximum(duration, 1))
    begin = _load_quantile(draw.random(len(lengths)), start=start, days=days, model=model)
    begin = np.minimum(begin, window - 1 - np.minimum(duration, window - 1))
    placed = np.where(
        np.repeat(duration < window, lengths),
        offset,
        np.floor(offset * np.repeat(squeeze, lengths)).astype(np.int64),
    )
    since_start: npt.NDArray[np.int64] = np.minimum(np.repeat(begin, lengths) + placed, window - 1)
    return since_start + epoch_us(start)


def _load_quantile(
    position: npt.NDArray[np.float64], *, start: datetime, days: int, model: TrafficModel
) -> npt.NDArray[np.int64]:
    """Microseconds since the start at which a share of the window's load has come."""
    hours = [start + timedelta(hours=h) for h in range(days * 24)]
    clock = np.array([moment.hour + moment.minute / 60 for moment in hours])
    weekend = np.array([moment.weekday() >= _SATURDAY for moment in hours])
    daily = 1.0 + model.daily_swing * np.cos(2.0 * np.pi * (clock - _PEAK_HOUR) / 24.0)
    load = np.cumsum(daily * np.where(weekend, model.weekend_load, 1.0))
    limits = np.concatenate([[0.0], load / load[-1]])
    edges = np.arange(days * 24 + 1, dtype=np.float64) * HOUR_US
    return np.minimum(np.interp(position, limits, edges).astype(np.int64), days * 24 * HOUR_US - 1)


def epoch_us(moment: datetime) -> int:
    """Return a UTC time as microseconds since 1970-01-01, exactly.

    Examples
    --------
    >>> from datetime import UTC
    >>> epoch_us(datetime(1970, 1, 2, microsecond=3, tzinfo=UTC))
    86400000003
    """
    epoch = datetime(1970, 1, 1, tzinfo=moment.tzinfo)
    return (moment - epoch) // timedelta(microseconds=1)


def session_numbers(user: npt.NDArray[np.int64], time_us: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the number of each turn's session among the sessions of its user, from 1.

    Parameters
    ----------
    user, time_us
        User and time of each turn, in order of time.

    Examples
    --------
    >>> gap = SESSION_GAP_US
    >>> session_numbers(np.array([5, 5, 8, 5]), np.array([0, gap, gap, 2 * gap + 1])).tolist()
    [1, 1, 1, 2]
    """
    order = np.argsort(user, kind="stable")
    who, when = user[order], time_us[order]
    new_user = np.concatenate([[True], who[1:] != who[:-1]])
    opens = new_user | np.concatenate([[True], np.diff(when) > SESSION_GAP_US])
    running = np.cumsum(opens)
    first_of_user = np.maximum.accumulate(np.where(new_user, np.arange(len(who)), 0))
    session = np.empty_like(running)
    session[order] = running - running[first_of_user] + 1
    return session


def draw_incidents(*, start: datetime, days: int, seed: int, model: TrafficModel) -> tuple[Incident, ...]:
    """Draw the incidents of the window: Poisson many, uniform in time, exponential in length.

    Examples
    --------
    >>> from datetime import UTC
    >>> begin = datetime(2026, 11, 2, tzinfo=UTC)
    >>> incidents = draw_incidents(start=begin, days=28, seed=2, model=TrafficModel())
    >>> all(incident.end_us > incident.start_us for incident in incidents)
    True
    """
    draw = generator(seed, "incidents")
    count = int(draw.poisson(model.incidents_per_week * days / 7.0))
    begins = np.sort(draw.integers(0, days * 24 * HOUR_US, size=count))
    lengths = (draw.exponential(model.incident_minutes, size=count) * 60 * SECOND_US).astype(np.int64) + SECOND_US
    origin = epoch_us(start)
    return tuple(
        Incident(start_us=origin + int(begin), end_us=origin + int(begin + length))
        for begin, length in zip(begins, lengths, strict=True)
    )


def inside_incident(time_us: npt.NDArray[np.int64], incidents: tuple[Incident, ...]) -> npt.NDArray[np.bool_]:
    """Say of each turn whether it falls into an incident."""
    inside = np.zeros(len(time_us), dtype=np.bool_)
    for incident in incidents:
        low, high = np.searchsorted(time_us, [incident.start_us, incident.end_us])
        inside[low:high] = True
    return inside
