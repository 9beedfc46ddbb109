"""How soon is a shift of three points found, and how often is one found that is not there? Worlds with known onset.

``python -m tests.telemetry.detection SEEDS`` prints both distributions for every scenario.
"""

from __future__ import annotations

import datetime as dt
import sys
from dataclasses import dataclass, replace

import numpy as np

from jurat.simulate.incidents import PlantedIncident, Production, simulate_production
from jurat.simulate.randomness import generator
from jurat.telemetry.baselines import Baseline, Count
from jurat.telemetry.monitors import Minute, Monitor, SliceKey, replay

START = dt.datetime(2026, 11, 2, tzinfo=dt.UTC)  # a Monday
DAY = 1_440
WATCHED_DAYS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is simulated, how it is watched, and where the shift is planted."""

    name: str
    production: Production
    monitor: Monitor
    learning_days: int
    endpoint: str | None = None
    tier: str | None = None
    any_hour: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Alarms before the onset, and minutes from the onset to the alarm (None where none came within three hours)."""

    seed: int
    false_alarms: int
    minutes: float | None


_BASE = Monitor(
    name="refusals",
    metric="refusal_rate",
    kind="share",
    direction="above",
    baseline=Baseline(kind="reference"),
    shift=0.03,
)
PROOF = Scenario(name="10 requests/s, last 24 hours", production=Production(), monitor=_BASE, learning_days=1)
SCENARIOS = (
    PROOF,
    replace(PROOF, name="the same, onset at any hour of the day (4 to 16 requests/s)", any_hour=True),
    replace(
        PROOF,
        name="refusals swing 25 % over the day, requests of a minute alike; same hour last week",
        production=Production(refusal_swing=0.25, correlation=0.002),
        monitor=replace(_BASE, baseline=Baseline(kind="same hour last week")),
        learning_days=8,
    ),
    replace(
        PROOF,
        name="9 slices, shift in one of them (4.2 of 10 requests/s)",
        monitor=replace(_BASE, by=("endpoint", "tier")),
        endpoint="/v1/chat",
        tier="free",
    ),
)


def minutes_of(table: object, by: tuple[str, ...]) -> list[Minute]:
    """Events of a simulated table, summed to some columns."""
    grouped = table.group_by(["minute", *by]).aggregate([("n", "sum"), ("k", "sum")])  # type: ignore[attr-defined]
    stamps = grouped["minute"].cast("int64").to_numpy() // 60_000_000
    values = [grouped[column].to_pylist() for column in by]
    found: dict[int, dict[SliceKey, Count]] = {}
    for i, (minute, n, k) in enumerate(
        zip(stamps.tolist(), grouped["n_sum"].to_pylist(), grouped["k_sum"].to_pylist(), strict=True)
    ):
        key = tuple((column, values[j][i]) for j, column in enumerate(by))
        found.setdefault(minute, {})[key] = Count.of_share(k, n)
    return [Minute(minute=m, counts=dict(sorted(found.get(m, {}).items()))) for m in range(min(found), max(found) + 1)]


def trial(scenario: Scenario, seed: int) -> Trial:
    """Seven quiet days after those of learning, then a shift of three points for three hours."""
    quiet = (scenario.learning_days + WATCHED_DAYS) * DAY
    draw = generator(seed, "onset")
    # At 08:00 of a working day the load is its mean: ten requests a second.
    onset = quiet + (draw.uniform(0, DAY) if scenario.any_hour else 480 + draw.random())
    shift = PlantedIncident(
        kind="refusal spike", onset=onset, minutes=180, size=0.03, endpoint=scenario.endpoint, tier=scenario.tier
    )
    table = simulate_production(
        scenario.production,
        start=START,
        days=(onset + 180) / DAY,
        seed=seed,
        incidents=(shift,),
        metrics=("refusal_rate",),
    )
    done = replay(scenario.monitor, minutes_of(table, scenario.monitor.by))
    first = int(START.timestamp()) // 60
    fired = [c for c in done.changes if c.after == "firing" and c.before != "firing"]
    early = [c for c in fired if c.minute + 1 - first <= onset]
    hits = [
        c.minute + 1 - first - onset
        for c in fired
        if c.minute + 1 - first > onset and dict(c.slice).get("endpoint") == scenario.endpoint
    ]
    return Trial(seed=seed, false_alarms=len(early), minutes=min(hits, default=None))


def summary(scenario: Scenario, trials: list[Trial]) -> str:
    """Both distributions in a few lines."""
    found = np.array([t.minutes for t in trials if t.minutes is not None])
    alarms = [t.false_alarms for t in trials]
    quantiles = ", ".join(f"{q:.1f}" for q in np.quantile(found, [0, 0.25, 0.5, 0.75, 1]))
    return (
        f"{scenario.name}\n  false alarms in 7 days: {sum(alarms)} over {len(alarms)} seeds (most in one: {max(alarms)})\n"
        f"  minutes to the alarm (min, quartiles, max): {quantiles}; found {len(found)} of {len(trials)}; "
        f"within 5: {int((found <= 5).sum())}"
    )


if __name__ == "__main__":
    for scenario in SCENARIOS:
        print(summary(scenario, [trial(scenario, seed) for seed in range(int(sys.argv[1]))]), flush=True)
