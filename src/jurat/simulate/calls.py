"""Model calls of some days at an assistant, with incidents planted at known moments: the facts behind a replay.

The calls are those of `jurat.simulate.assistant` (users, conversations, tiers, endpoints, two releases, thumbs), cut to the
window that is wanted. An incident changes calls that are there, or adds conversations; what it did is counted in the truth.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jurat.errors import UsageError
from jurat.simulate.assistant import simulate_assistant
from jurat.simulate.identifiers import hexadecimal, mix
from jurat.simulate.incidents import PlantedIncident
from jurat.simulate.parameters import Behaviour, ReleaseEffects, WorldParameters
from jurat.simulate.randomness import generator
from jurat.simulate.traffic import epoch_us
from jurat.store.schema import TABLES

__all__ = ["QUIET", "Calls", "price_book", "simulate_calls"]

Columns = dict[str, npt.NDArray[Any]]
Flags = npt.NDArray[np.bool_]

_MINUTE_US = 60_000_000
_DAY_S = 86_400
_MOST_CALLS = 20_000_000
_ESCALATION = ((0, False, False), (1, False, False), (2, True, False), (3, True, True))
"""Turns of a user who escalates: risk tier, refused, blocked."""

_world = WorldParameters()
QUIET = replace(
    _world,
    baseline=ReleaseEffects(name="2026.11.1", over_refusal=0.030, harmful_compliance=0.02),
    candidate=ReleaseEffects(name="2026.11.2", over_refusal=0.022, harmful_compliance=0.02, latency_factor=1.02),
    behaviour=Behaviour(harmful_share=0.015),
    traffic=replace(_world.traffic, incidents_per_week=0.0),
)
"""A world in which nothing happens but what is planted: about one call in twenty is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """What happened, and what was made to happen.

    Attributes
    ----------
    spans
        One row a call, in order of time, with the columns of the table ``spans``; users by their plain names.
    feedback
        Thumbs on these calls, in order of time, with the columns of the table ``feedback``.
    truth
        Window, counts by endpoint and tier, and each incident with its onset and what it changed; plain JSON types.
    """

    spans: pa.Table
    feedback: pa.Table
    truth: dict[str, Any]


def simulate_calls(
    *,
    start: dt.datetime,
    days: float,
    rate: float,
    seed: int,
    incidents: Sequence[PlantedIncident] = (),
    parameters: WorldParameters | None = None,
) -> Calls:
    """Draw the calls of a window and plant incidents in them.

    Parameters
    ----------
    start
        First moment, with its time zone.
    days
        Length of the window; parts of a day are fine.
    rate
        Calls a second, the mean over whole days; by the clock there are more in the afternoon than at night.
    seed
        Seed; who calls when does not depend on incidents.
    incidents
        What goes wrong. The size of ``"refusal spike"`` and ``"error storm"`` is added to the rate, that of ``"latency
        regression"`` multiplies latencies, that of ``"cost jump"`` tokens and cost, and that of ``"escalating users"`` is
        how many users come who ask worse in each of four turns.
    parameters
        The world; `QUIET` if not given.

    Raises
    ------
    UsageError
        Where the window has no call or too many, or an incident lies outside it or touches no call.

    Examples
    --------
    >>> begin = dt.datetime(2026, 11, 2, 9, tzinfo=dt.UTC)
    >>> spike = PlantedIncident(kind="refusal spike", onset=60, minutes=60, size=0.3, endpoint="/v1/chat")
    >>> calls = simulate_calls(start=begin, days=0.125, rate=0.5, seed=1, incidents=(spike,))
    >>> calls.truth["incidents"][0]["onset"], calls.spans.num_rows == calls.truth["calls"]
    ('2026-11-02T10:00:00+00:00', True)
    """
    if start.tzinfo is None:
        raise UsageError("the start needs its time zone", seen=str(start), next_step="give it in UTC")
    start = start.astimezone(dt.UTC)
    # A world fits every conversation in before its end, so its last minutes are crowded: they lie a day behind the window.
    whole = math.ceil(days) + 1 if days > 0 else 0
    turns = round(rate * _DAY_S * whole) if rate > 0 else 0
    if not 1 <= turns <= _MOST_CALLS:
        raise UsageError(
            "a window needs some calls, and no more than memory holds",
            seen=f"{days:g} days at {rate:g} a second",
            next_step=f"give positive days and rate with at most {_MOST_CALLS:,} calls",
        )
    parameters = parameters or QUIET
    end_us = epoch_us(start) + round(days * _DAY_S * 1e6)
    drawn = simulate_assistant(
        turns=turns, seed=seed, start=start + dt.timedelta(days=days + 1 - whole), days=whole, parameters=parameters
    )
    window = pc.and_(
        pc.greater_equal(drawn.tables["spans"]["ts_us"], epoch_us(start)),
        pc.less(drawn.tables["spans"]["ts_us"], end_us),
    )
    spans = drawn.tables["spans"].filter(window).combine_chunks()
    if len(spans) == 0:
        raise UsageError("no call falls into the window", seen=f"{days:g} days at {rate:g} a second")
    changed, told = _planted(spans, start, end_us, incidents, seed)
    feedback = drawn.tables["feedback"]
    kept = pc.is_in(feedback["span_id"], value_set=changed["span_id"].combine_chunks())
    return Calls(
        spans=changed, feedback=feedback.filter(kept).sort_by("ts"), truth=_truth(changed, start, days, seed, told)
    )


def _truth(
    spans: pa.Table, start: dt.datetime, days: float, seed: int, incidents: list[dict[str, Any]]
) -> dict[str, Any]:
    counted = spans.group_by(["endpoint", "tier"]).aggregate(
        [("span_id", "count"), ("refused", "sum"), ("blocked", "sum"), ("cost_usd", "sum")]
    )
    failed = (
        spans.filter(pc.equal(spans["status"], "error")).group_by(["endpoint", "tier"]).aggregate([([], "count_all")])
    )
    errors = {(r["endpoint"], r["tier"]): r["count_all"] for r in failed.to_pylist()}
    slices = [
        {
            "endpoint": row["endpoint"],
            "tier": row["tier"],
            "calls": row["span_id_count"],
            "errors": errors.get((row["endpoint"], row["tier"]), 0),
            "refused": row["refused_sum"],
            "blocked": row["blocked_sum"],
            "cost_usd": row["cost_usd_sum"],
        }
        for row in counted.sort_by([("endpoint", "ascending"), ("tier", "ascending")]).to_pylist()
    ]
    return {
        "seed": seed,
        "start": start.isoformat(),
        "end": (start + dt.timedelta(days=days)).isoformat(),
        "calls": spans.num_rows,
        "slices": slices,
        "incidents": incidents,
    }


def _planted(
    spans: pa.Table, start: dt.datetime, end_us: int, incidents: Sequence[PlantedIncident], seed: int
) -> tuple[pa.Table, list[dict[str, Any]]]:
    """Calls with all incidents, and what each did."""
    names = ("refused", "blocked", "latency_ms", "ttft_ms", "tokens_in", "tokens_out", "cost_usd")
    columns: Columns = {name: spans[name].to_numpy(zero_copy_only=False).copy() for name in names}
    columns["failed"] = np.asarray(pc.equal(spans["status"], "error").to_numpy(zero_copy_only=False), np.bool_)
    columns["planted_error"] = np.zeros(len(spans), np.bool_)
    told, added = [], []
    for number, incident in enumerate(incidents):
        begin = epoch_us(start) + round(incident.onset * _MINUTE_US)
        stop = min(begin + round(incident.minutes * _MINUTE_US), end_us)
        touched = _touched(spans, incident, begin, stop)
        if begin >= end_us or not touched.any():
            raise UsageError(
                "an incident touches no call",
                seen=repr(incident),
                next_step="begin it inside the window, in a known slice",
            )
        draw = generator(seed, f"incident {number} {incident.kind}")
        if incident.kind == "escalating users":
            rows = _escalation(spans, incident, (begin, stop), draw, number)
            added.append(rows)
            did: dict[str, Any] = {"changed": len(rows), "users": sorted(set(rows["user_id"].to_pylist()))}
        else:
            did = _EFFECTS[incident.kind](columns, touched, incident.size, draw)
        moments = [dt.datetime.fromtimestamp(us / 1e6, dt.UTC).isoformat() for us in (begin, stop)]
        told.append(
            {
                "kind": incident.kind,
                "endpoint": incident.endpoint,
                "tier": incident.tier,
                "size": incident.size,
                "onset": moments[0],
                "onset_us": begin,
                "end": moments[1],
                "calls": int(touched.sum()),
                **did,
            }
        )
    return _with(spans, columns, added), told


def _touched(spans: pa.Table, incident: PlantedIncident, begin: int, stop: int) -> Flags:
    times = spans["ts_us"].to_numpy()
    touched = (times >= begin) & (times < stop)
    for name in ("endpoint", "tier"):
        wanted = getattr(incident, name)
        if wanted is not None:
            touched &= np.asarray(pc.equal(spans[name], wanted).to_numpy(zero_copy_only=False), np.bool_)
    flags: Flags = touched
    return flags


def _chosen(open_to: Flags, already: Flags, touched: Flags, size: float, draw: np.random.Generator) -> Flags:
    """Calls to change so that the rate among those touched rises by ``size``, as far as it can."""
    usual = float(already.mean())
    share = min(size / max(1.0 - usual, size), 1.0)
    chosen: Flags = touched & open_to & ~already & (draw.random(len(touched)) < share)
    return chosen


def _refuse(columns: Columns, touched: Flags, size: float, draw: np.random.Generator) -> dict[str, Any]:
    answered = ~columns["failed"]
    chosen = _chosen(answered, columns["refused"].astype(np.bool_), touched, size, draw)
    columns["refused"][chosen] = True
    base = columns["refused"][answered & ~touched]
    inside = columns["refused"][answered & touched]
    return {
        "changed": int(chosen.sum()),
        "rate_outside": float(base.mean()) if len(base) else None,
        "rate_inside": float(inside.mean()) if len(inside) else None,
    }


def _fail(columns: Columns, touched: Flags, size: float, draw: np.random.Generator) -> dict[str, Any]:
    chosen = _chosen(np.ones(len(touched), np.bool_), columns["failed"], touched, size, draw)
    columns["failed"] |= chosen
    columns["planted_error"] |= chosen
    for name in ("refused", "blocked"):
        columns[name][chosen] = False
    columns["ttft_ms"][chosen] = np.nan
    columns["tokens_out"][chosen] = 0
    return {"changed": int(chosen.sum()), "rate_inside": float(columns["failed"][touched].mean())}


def _slow(columns: Columns, touched: Flags, size: float, draw: np.random.Generator) -> dict[str, Any]:
    for name in ("latency_ms", "ttft_ms"):
        columns[name][touched] = np.round(columns[name][touched] * size, 3)
    return {"changed": int(touched.sum()), "median_ms": float(np.median(columns["latency_ms"][touched]))}


def _dear(columns: Columns, touched: Flags, size: float, draw: np.random.Generator) -> dict[str, Any]:
    before = float(columns["cost_usd"][touched].sum())
    for name in ("tokens_in", "tokens_out"):
        columns[name][touched] = np.round(columns[name][touched] * size).astype(np.int64)
    columns["cost_usd"][touched] = columns["cost_usd"][touched] * size
    return {"changed": int(touched.sum()), "usd_before": before, "usd_after": before * size}


_EFFECTS: dict[str, Callable[[Columns, Flags, float, np.random.Generator], dict[str, Any]]] = {
    "refusal spike": _refuse,
    "error storm": _fail,
    "latency regression": _slow,
    "cost jump": _dear,
}


def _escalation(
    spans: pa.Table, incident: PlantedIncident, window: tuple[int, int], draw: np.random.Generator, number: int
) -> pa.Table:
    """Conversations of users who begin harmless and are blocked in the end; facts are those of a call nearby."""
    users = round(incident.size)
    turns = len(_ESCALATION)
    pause = min(40_000_000, (window[1] - window[0]) // (turns + 1))
    begins = draw.integers(window[0], max(window[1] - turns * pause, window[0] + 1), size=users)
    near = np.flatnonzero(_touched(spans, incident, *window))
    base = spans.take(pa.array(near[draw.integers(0, len(near), size=users)]))
    rows = []
    for user, (begin, like) in enumerate(zip(begins.tolist(), base.to_pylist(), strict=True)):
        for turn, (risk, refused, blocked) in enumerate(_ESCALATION):
            ts_us = begin + turn * pause
            ts = dt.datetime.fromtimestamp(0, dt.UTC) + dt.timedelta(microseconds=ts_us)
            key = mix(np.array([(number * users + user) * turns + turn]), key=0x45534341)
            rows.append(
                {
                    **like,
                    "span_id": hexadecimal(key)[0].as_py(),
                    "trace_id": hexadecimal(key, mix(key, key=0x4C4154))[0].as_py(),
                    "conversation_id": f"escalation-{number}-{user}",
                    "user_id": f"escalating-{number}-{user}",
                    "turn": turn + 1,
                    "session_seq": 1,
                    "ts": ts,
                    "ts_us": ts_us,
                    "ts_s": ts_us // 1_000_000,
                    "day": ts.date().isoformat(),
                    "latency_ms": 900.0,
                    "ttft_ms": 300.0,
                    "status": "ok",
                    "error_type": None,
                    "refused": refused,
                    "blocked": blocked,
                    "risk_tier": risk,
                    "intent": "harmful" if risk > 1 else "benign",
                }
            )
    return pa.Table.from_pylist(rows, schema=TABLES["spans"])


def _with(spans: pa.Table, columns: Columns, added: list[pa.Table]) -> pa.Table:
    """The calls with changed columns and further rows, in order of time."""
    planted = pa.array(columns["planted_error"])
    ttft = columns["ttft_ms"]
    values = {
        "refused": pa.array(columns["refused"].astype(np.bool_)),
        "blocked": pa.array(columns["blocked"].astype(np.bool_)),
        "latency_ms": pa.array(columns["latency_ms"]),
        "ttft_ms": pa.array(ttft, mask=~np.isfinite(ttft)),
        "tokens_in": pa.array(columns["tokens_in"].astype(np.int64)),
        "tokens_out": pa.array(columns["tokens_out"].astype(np.int64)),
        "cost_usd": pa.array(columns["cost_usd"]),
        "status": pc.if_else(pa.array(columns["failed"]), "error", "ok"),
        "error_type": pc.if_else(planted, "upstream", spans["error_type"]),
    }
    table = pa.table({f.name: values.get(f.name, spans[f.name]) for f in TABLES["spans"]}).cast(TABLES["spans"])
    return (
        pa.concat_tables([table, *added]).sort_by([("ts_us", "ascending"), ("span_id", "ascending")]).combine_chunks()
    )


def price_book(parameters: WorldParameters | None = None) -> str:
    """The price book (TOML) by which a server finds the costs of the world.

    Examples
    --------
    >>> print(price_book().splitlines()[1])
    model = "assistant-base"
    """
    lines = []
    seen: dict[str, tuple[float, float]] = {}
    for endpoint in (parameters or QUIET).traffic.endpoints:
        seen.setdefault(endpoint.model, (endpoint.usd_per_million_in, endpoint.usd_per_million_out))
    for model, (into, out) in seen.items():
        lines += ["[[price]]", f'model = "{model}"', "since = 2000-01-01", f"input = {into}", f"output = {out}", ""]
    return "\n".join(lines)
