"""Days of production by the minute, with incidents whose onset is known: what a monitor must find, and when.

Requests come as a Poisson stream whose rate follows the hours of the day and the days of the week. Refusals, errors and
latencies are drawn minute by minute for every endpoint and tier; minutes may vary more than independent requests would
(a Beta law of the minute's rate), because users and campaigns come in clusters. Incidents change one of the three from a
known moment on, for all traffic or for one endpoint or tier.
"""

from __future__ import annotations

import datetime as dt
import itertools
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jurat.errors import UsageError
from jurat.simulate.randomness import generator

__all__ = ["PlantedIncident", "Production", "simulate_production"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_MINUTES_OF_DAY = 1_440
_PEAK_HOUR = 14.0
_SATURDAY = 5
_KINDS_OF_MINUTES = ("refusal spike", "error storm", "latency regression")
METRICS = ("refusal_rate", "error_rate", "latency_ms")
"""Metrics that a world has, in the order in which they are written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantedIncident:
    """Something that goes wrong at a known moment.

    Attributes
    ----------
    kind
        ``"refusal spike"`` adds ``size`` to the refusal rate, ``"error storm"`` to the error rate (0.03 is three points);
        ``"latency regression"`` multiplies latencies by ``size``; ``"cost jump"`` multiplies tokens and cost, and
        ``"escalating users"`` are ``size`` users who ask worse from turn to turn: these two are of calls
        (`jurat.simulate.calls`), not of minutes.
    onset, minutes
        When it begins, in minutes from the start of the world, and how long it lasts; a minute may be touched in part.
    size
        How much.
    endpoint, tier
        Where; everywhere by default.
    """

    kind: Literal["refusal spike", "error storm", "latency regression", "cost jump", "escalating users"]
    onset: float
    minutes: float
    size: float
    endpoint: str | None = None
    tier: str | None = None

    def __post_init__(self) -> None:
        if self.onset < 0 or not self.minutes > 0 or not self.size > 0:
            raise UsageError(
                "an incident needs an onset of at least 0, a positive length and a positive size",
                seen=f"onset={self.onset!r}, minutes={self.minutes!r}, size={self.size!r}",
                next_step="count the onset in minutes from the start",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Production:
    """What production is like.

    Attributes
    ----------
    requests_per_second
        Mean over a working day, all endpoints and tiers together.
    daily_swing, weekend_load
        Amplitude of the daily cycle relative to its mean (peak at 14:00 UTC), and the load of Saturday and Sunday.
    endpoints, tiers
        Shares of the requests; each adds up to 1.
    refusal_rate, error_rate
        Without an incident.
    refusal_swing
        Amplitude of the daily cycle of the refusal rate relative to its mean: who asks at night asks other things.
    latency_median_ms, latency_sigma
        Lognormal latencies.
    correlation
        Correlation of two requests of the same minute, endpoint and tier in what becomes of them; 0 is independence.
    """

    requests_per_second: float = 10.0
    daily_swing: float = 0.6
    weekend_load: float = 0.55
    endpoints: tuple[tuple[str, float], ...] = (("/v1/chat", 0.7), ("/v1/summarise", 0.2), ("/v1/agent", 0.1))
    tiers: tuple[tuple[str, float], ...] = (("free", 0.6), ("pro", 0.3), ("enterprise", 0.1))
    refusal_rate: float = 0.04
    error_rate: float = 0.004
    refusal_swing: float = 0.0
    latency_median_ms: float = 1_800.0
    latency_sigma: float = 0.5
    correlation: float = 0.0

    def __post_init__(self) -> None:
        for name, shares in (("endpoints", self.endpoints), ("tiers", self.tiers)):
            if abs(sum(share for _, share in shares) - 1) > 1e-9:
                raise UsageError(f"the shares of {name} must add up to 1", seen=repr(shares), next_step="rescale them")
        for name in ("refusal_rate", "error_rate", "daily_swing", "refusal_swing", "correlation"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} must lie in [0, 1)", seen=repr(getattr(self, name)), next_step="give a share")
        if not self.requests_per_second > 0:
            raise UsageError("requests_per_second must be positive", seen=repr(self.requests_per_second))

    def load(self, start: dt.datetime, minutes: int) -> Floats:
        """Expected requests of each minute."""
        clock = np.arange(minutes) + start.hour * 60 + start.minute
        daily = 1 + self.daily_swing * np.cos(2 * np.pi * (clock / 60 - _PEAK_HOUR) / 24)
        weekday = (start.weekday() + clock // _MINUTES_OF_DAY) % 7
        expected: Floats = (
            60 * self.requests_per_second * daily * np.where(weekday >= _SATURDAY, self.weekend_load, 1.0)
        )
        return expected


def simulate_production(
    production: Production | None = None,
    *,
    start: dt.datetime,
    days: float,
    seed: int,
    incidents: tuple[PlantedIncident, ...] = (),
    metrics: tuple[str, ...] = METRICS,
) -> pa.Table:
    """Draw counts of every minute, endpoint and tier.

    Parameters
    ----------
    production
        What it is like; the default one if not given.
    start
        First minute, with its time zone.
    days
        Length.
    seed
        Seed of the world; the number of requests does not depend on incidents.
    incidents
        What goes wrong.
    metrics
        Which of ``refusal_rate``, ``error_rate`` and ``latency_ms`` to draw.

    Returns
    -------
    pa.Table
        ``minute`` (UTC), ``metric``, ``endpoint``, ``tier``, ``n``, and ``k`` of a share or ``sum`` and ``sum_sq`` of a
        mean; one row for each minute, metric and slice with requests, in order of time.

    Raises
    ------
    UsageError
        For a time without zone, a metric that there is not, or an incident that minutes cannot show.

    Examples
    --------
    >>> begin = dt.datetime(2026, 11, 2, tzinfo=dt.UTC)
    >>> table = simulate_production(start=begin, days=0.01, seed=1, metrics=("refusal_rate",))
    >>> table.num_rows, table.column_names
    (126, ['minute', 'metric', 'endpoint', 'tier', 'n', 'k', 'sum', 'sum_sq'])
    """
    production = production or Production()
    if start.tzinfo is None:
        raise UsageError("the start needs its time zone", seen=str(start), next_step="give it in UTC")
    for name in metrics:
        if name not in METRICS:
            raise UsageError(
                "unknown metric of a simulation", seen=repr(name), next_step=f"known: {', '.join(METRICS)}"
            )
    for incident in incidents:
        if incident.kind not in _KINDS_OF_MINUTES:
            raise UsageError(
                "minutes cannot show this incident",
                seen=repr(incident.kind),
                next_step=f"one of {', '.join(_KINDS_OF_MINUTES)}, or draw calls with jurat.simulate.calls",
            )
    start = start.astimezone(dt.UTC)
    minutes = round(days * _MINUTES_OF_DAY)
    load = production.load(start, minutes)
    parts = []
    for (endpoint, e_share), (tier, t_share) in itertools.product(production.endpoints, production.tiers):
        name = f"{endpoint}|{tier}"
        requests = generator(seed, f"requests {name}").poisson(load * e_share * t_share)
        touching = [i for i in incidents if (i.endpoint or endpoint) == endpoint and (i.tier or tier) == tier]
        for metric in metrics:
            draw = generator(seed, f"{metric} {name}")
            columns = _drawn(production, metric, requests, start, touching, draw)
            parts.append(_rows(metric, endpoint, tier, start, columns))
    return pa.concat_tables(parts).sort_by([("minute", "ascending"), ("metric", "ascending")])


def _drawn(
    production: Production,
    metric: str,
    requests: Ints,
    start: dt.datetime,
    incidents: list[PlantedIncident],
    draw: np.random.Generator,
) -> dict[str, npt.NDArray[np.generic] | None]:
    minutes = np.arange(len(requests))

    def touched(incident: PlantedIncident) -> Floats:
        """Share of each minute that lies in the incident."""
        end = np.minimum(minutes + 1, incident.onset + incident.minutes)
        share: Floats = np.clip(end - np.maximum(minutes, incident.onset), 0.0, 1.0)
        return share

    if metric == "latency_ms":
        factor = np.ones(len(requests))
        for incident in incidents:
            if incident.kind == "latency regression":
                factor = factor * (1 + (incident.size - 1) * touched(incident))
        total, total_sq = _latency_sums(production, requests, factor, draw)
        return {"n": requests, "k": None, "sum": total, "sum_sq": total_sq}
    kind = "refusal spike" if metric == "refusal_rate" else "error storm"
    rate = np.full(len(requests), production.refusal_rate if metric == "refusal_rate" else production.error_rate)
    if metric == "refusal_rate" and production.refusal_swing:
        clock = (minutes + start.hour * 60 + start.minute) / 60
        rate = rate * (1 + production.refusal_swing * np.cos(2 * np.pi * (clock - 2) / 24))
    for incident in incidents:
        if incident.kind == kind:
            rate = rate + incident.size * touched(incident)
    rate = np.minimum(rate, 1.0)
    if production.correlation:
        strength = 1 / production.correlation - 1
        inside = np.clip(rate, 1e-6, 1 - 1e-6)
        rate = draw.beta(inside * strength, (1 - inside) * strength)
    return {"n": requests, "k": draw.binomial(requests, rate), "sum": None, "sum_sq": None}


def _latency_sums(
    production: Production, requests: Ints, factor: Floats, draw: np.random.Generator
) -> tuple[Floats, Floats]:
    """Sums and sums of squares of every minute's latencies, a day at a time to bound memory."""
    total, total_sq = np.zeros(len(requests)), np.zeros(len(requests))
    for first in range(0, len(requests), _MINUTES_OF_DAY):
        day = slice(first, first + _MINUTES_OF_DAY)
        counts = requests[day]
        owner = np.repeat(np.arange(len(counts)), counts)
        latency = production.latency_median_ms * np.exp(production.latency_sigma * draw.standard_normal(len(owner)))
        latency *= factor[day][owner]
        total[day] = np.bincount(owner, latency, minlength=len(counts))
        total_sq[day] = np.bincount(owner, latency**2, minlength=len(counts))
    return total, total_sq


def _rows(
    metric: str, endpoint: str, tier: str, start: dt.datetime, columns: dict[str, npt.NDArray[np.generic] | None]
) -> pa.Table:
    n = columns["n"]
    assert n is not None  # noqa: S101 - every metric counts its units
    kept = np.flatnonzero(n)
    first = int(start.timestamp()) // 60
    stamps = pa.array((kept + first) * 60_000_000, pa.int64()).cast(pa.timestamp("us", tz="UTC"))
    kinds = {"n": pa.int64(), "k": pa.int64(), "sum": pa.float64(), "sum_sq": pa.float64()}
    data = {
        name: pa.nulls(len(kept), kinds[name]) if values is None else pa.array(values[kept], kinds[name])
        for name, values in columns.items()
    }
    text = {"metric": metric, "endpoint": endpoint, "tier": tier}
    constant = {name: pa.array([value] * len(kept), pa.string()) for name, value in text.items()}
    return pa.table({"minute": stamps, **constant, **data})
