"""A deployed assistant with two releases, drawn from a seed: all that a launch decision needs, and the truth.

Users in organisations hold conversations with an assistant at four endpoints; half of them are served by a
candidate release. Some prompts are harmful, some are benign but refused; humans audit a sample, a judge and a
rule label everything with known errors, and a few users press a thumb, the dissatisfied more often.
`simulate_assistant` returns the tables of the lake and the `Truth` that a correct method must find in them.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import scipy

from jurat import __version__
from jurat.errors import UnknownName, UsageError
from jurat.simulate.audits import Audits, SilverLabels, Thumbs, draw_audits, draw_silver_labels, draw_thumbs
from jurat.simulate.outcomes import Outcomes, draw_outcomes
from jurat.simulate.parameters import WorldParameters
from jurat.simulate.population import Population, draw_population, split_users
from jurat.simulate.presets import PRESETS
from jurat.simulate.tables import (
    exposure_table,
    feedback_table,
    label_table,
    span_identifiers,
    span_table,
)
from jurat.simulate.traffic import Incident, Traffic, draw_incidents, draw_traffic, epoch_us, inside_incident
from jurat.simulate.truth import ReleaseValue, Truth, silver_values, true_values
from jurat.store.durable import write_atomically
from jurat.store.schema import content_digest

if TYPE_CHECKING:
    from jurat.store.lake import Lake

__all__ = ["EXPERIMENT", "World", "simulate_assistant", "simulate_preset", "write_world"]

EXPERIMENT = "release-split"
_MOST_TURNS = 20_000_000  # beyond it, strings outgrow the 32-bit offsets of one Arrow chunk


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A simulated world.

    Attributes
    ----------
    tables
        ``spans``, ``exposures``, ``feedback`` and ``labels``, by name.
    truth
        What was planted, and what a correct method must find.
    """

    tables: Mapping[str, pa.Table]
    truth: Truth


def simulate_assistant(
    *,
    turns: int,
    seed: int,
    start: datetime,
    days: int = 14,
    parameters: WorldParameters | None = None,
) -> World:
    """Draw a world of exactly ``turns`` turns.

    Parameters
    ----------
    turns
        Number of turns, 1 to 20 million. The number of users follows: one for every 12 turns by default.
    seed
        Seed, at least 0. The same arguments give the same tables, bit for bit.
    start
        Begin of the window, in UTC.
    days
        Length of the window.
    parameters
        What is planted; the defaults are the world ``"safe_win"`` of `jurat.simulate.presets.PRESETS`.

    Raises
    ------
    UsageError
        Where an argument is out of range, or ``start`` is not in UTC.

    Examples
    --------
    >>> from datetime import UTC
    >>> world = simulate_assistant(turns=3000, seed=7, start=datetime(2026, 11, 2, tzinfo=UTC))
    >>> world.tables["spans"].num_rows, world.tables["labels"]["value"][0].as_py()
    (3000, 'benign_answered')
    >>> world.truth.value("harmful_compliance_rate", "2026.11.2").expected
    0.02
    """
    parameters = parameters or WorldParameters()
    _check(turns, seed, start, days)
    draws = _draw(turns, seed=seed, start=start, days=days, parameters=parameters)
    tables = _tables(draws, seed, parameters)
    values = true_values(draws.outcomes, draws.thumbs, days=days, parameters=parameters)
    truth = Truth(
        seed=seed,
        turns=turns,
        start=start.isoformat(),
        days=days,
        parameters=json.loads(json.dumps(asdict(parameters))),
        values=values,
        apparent={
            labels.source: silver_values(draws.outcomes, labels, quality=quality, parameters=parameters)
            for labels, quality in zip(draws.silver, (parameters.judge, parameters.rule), strict=True)
        },
        design=_design(draws, values, parameters),
        tables={name: _record(table) for name, table in tables.items()},
        versions=_versions(),
    )
    return World(tables=tables, truth=truth)


def _check(turns: int, seed: int, start: datetime, days: int) -> None:
    for name, number, low, high in (
        ("turns", turns, 1, _MOST_TURNS),
        ("seed", seed, 0, 2**63 - 1),
        ("days", days, 1, 3_660),
    ):
        if not low <= number <= high:
            raise UsageError(
                f"{name} is out of range",
                seen=repr(number),
                next_step=f"give a whole number from {low:,} to {high:,}",
            )
    if start.utcoffset() != timedelta(0):
        raise UsageError(
            "start is not in UTC", seen=repr(start), next_step="give datetime(year, month, day, tzinfo=UTC)"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draws:
    """Everything random in a world."""

    population: Population
    traffic: Traffic
    candidate_user: npt.NDArray[np.bool_]
    incidents: tuple[Incident, ...]
    outcomes: Outcomes
    audits: Audits
    silver: tuple[SilverLabels, SilverLabels]
    thumbs: Thumbs


def _draw(turns: int, *, seed: int, start: datetime, days: int, parameters: WorldParameters) -> _Draws:
    model = parameters.traffic
    population = draw_population(max(1, round(turns / model.turns_per_user)), seed=seed, traffic=model)
    traffic = draw_traffic(population, turns, start=start, days=days, seed=seed, model=model)
    seen = np.unique(traffic.user)
    candidate_user = split_users(seen, share=parameters.candidate_share, users=population.users, seed=seed)
    incidents = draw_incidents(start=start, days=days, seed=seed, model=model)
    in_incident = inside_incident(traffic.time_us, incidents)
    outcomes = draw_outcomes(traffic, candidate_user, in_incident=in_incident, seed=seed, parameters=parameters)
    time_us, end_us = traffic.time_us, epoch_us(start + timedelta(days=days))
    return _Draws(
        population=population,
        traffic=traffic,
        candidate_user=candidate_user,
        incidents=incidents,
        outcomes=outcomes,
        audits=draw_audits(outcomes, time_us, end_us=end_us, seed=seed, parameters=parameters),
        silver=draw_silver_labels(outcomes, time_us, end_us=end_us, seed=seed, parameters=parameters),
        thumbs=draw_thumbs(outcomes, time_us, end_us=end_us, seed=seed, model=parameters.thumbs),
    )


def _tables(draws: _Draws, seed: int, parameters: WorldParameters) -> dict[str, pa.Table]:
    span_id = span_identifiers(len(draws.traffic.user), seed=seed)
    spans = span_table(
        draws.traffic,
        draws.outcomes,
        population=draws.population,
        span_id=span_id,
        seed=seed,
        parameters=parameters,
    )
    return {
        "spans": spans,
        "exposures": exposure_table(draws.traffic, draws.candidate_user, experiment=EXPERIMENT, parameters=parameters),
        "feedback": feedback_table(draws.thumbs, spans, seed=seed),
        "labels": label_table(draws.audits, draws.silver, span_id=span_id, seed=seed),
    }


def _record(table: pa.Table) -> dict[str, int | str]:
    return {"rows": table.num_rows, "content_digest": content_digest(table)}


def _versions() -> dict[str, str]:
    return {
        "jurat": __version__,
        "numpy": np.__version__,
        "pyarrow": pa.__version__,
        "python": platform.python_version(),
        "scipy": scipy.__version__,
    }


def _design(draws: _Draws, values: tuple[ReleaseValue, ...], parameters: WorldParameters) -> dict[str, Any]:
    """Say how the data were collected, in plain JSON types."""
    expected = {(value.metric, value.release): value.expected for value in values}
    candidates = int(draws.candidate_user.sum())
    users = len(np.unique(draws.traffic.user))
    return {
        "split": {
            "experiment": EXPERIMENT,
            "unit": "user",
            "method": "complete randomisation of the users seen",
            "planned": {
                parameters.baseline.name: 1.0 - parameters.planned_candidate_share,
                parameters.candidate.name: parameters.planned_candidate_share,
            },
            "users": {parameters.baseline.name: users - candidates, parameters.candidate.name: candidates},
        },
        "audit": {
            "method": "simple random sample without replacement within each stratum",
            "unbiased": "unweighted shares within each true class; all else needs weights",
            "strata": {
                name: {"turns": turns, "audited": audited} for name, (turns, audited) in draws.audits.strata.items()
            },
        },
        "thumbs": {
            "pressed": len(draws.thumbs.turn),
            "selection_bias": {
                release.name: _selection_bias(expected, release.name) for release in parameters.releases
            },
        },
        "incidents": [{"start_us": i.start_us, "end_us": i.end_us} for i in draws.incidents],
    }


def _selection_bias(expected: Mapping[tuple[str, str], float | None], release: str) -> float | None:
    """Return the expected share of thumbs up minus the expected satisfaction."""
    up, satisfied = expected["thumbs_up_share", release], expected["satisfaction_share", release]
    return None if up is None or satisfied is None else up - satisfied


def simulate_preset(name: str, *, seed: int, start: datetime, turns: int | None = None) -> World:
    """Draw one of the named worlds that a launch decision must tell apart.

    Parameters
    ----------
    name
        ``"safe_win"``, ``"harm_up"``, ``"small"`` or ``"broken_split"``.
    seed, start
        As in `simulate_assistant`.
    turns
        Size; by default that of the preset.

    Raises
    ------
    UnknownName
        Where there is no such preset.

    Examples
    --------
    >>> from datetime import UTC
    >>> world = simulate_preset("small", seed=1, start=datetime(2026, 11, 2, tzinfo=UTC))
    >>> world.truth.turns
    1000
    """
    if name not in PRESETS:
        raise UnknownName("preset", name, PRESETS)
    preset = PRESETS[name]
    return simulate_assistant(
        turns=preset.turns if turns is None else turns, seed=seed, start=start, parameters=preset.parameters
    )


def write_world(world: World, lake: Lake, truth_path: Path) -> None:
    """Append the tables of a world to a lake and write its truth as JSON.

    Parameters
    ----------
    world
        The world.
    lake
        Lake to append to; a world that it already holds is not appended again.
    truth_path
        File for the truth; keep it away from whoever is to be tested by the world.
    """
    for name, table in world.tables.items():
        digest = world.truth.tables[name]["content_digest"]
        lake.append(
            name,
            table,
            metadata={"simulated": "true", "seed": str(world.truth.seed), "content_digest": digest},
            transaction=(f"simulate-{digest}", 1),
        )
    write_atomically(truth_path, world.truth.to_text().encode())
