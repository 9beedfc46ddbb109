"""A randomised experiment with known effects: files as a team would have them, the spec that fits them, and the truth.

Users are assigned to two arms and hold conversations over some weeks. Whether a conversation helped, harmed, how long the
answer took: each clusters by user with a stated intraclass correlation. Flaws can be planted one by one, each of a kind that
breaks real experiments and that a sound analysis must see: a split that is off, a filter changed half way, training on the
conversations of an arm, a judge that moves, spill-over, an effect that fades, outcomes that go missing, users in both arms.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import special

from jurat.errors import UsageError
from jurat.simulate.identifiers import numbered, words
from jurat.simulate.randomness import clustered_probability, generator
from jurat.store.durable import write_atomically

__all__ = ["FLAWS", "ExperimentParameters", "ExperimentWorld", "simulate_experiment", "write_experiment"]

FLAWS = (
    "sample_ratio", "fingerprint", "contamination", "judge_drift", "interference", "fading", "missing", "both_arms",
    "simpson",
)  # fmt: skip
"""Flaws by name."""

Floats = npt.NDArray[np.float64]
_START = dt.datetime(2026, 3, 2, tzinfo=dt.UTC)
_TIERS = ("free", "pro", "enterprise")
_INTENTS = ("coding", "writing", "advice", "adversarial")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentParameters:
    """What is planted.

    Attributes
    ----------
    helpful, helpful_effect
        Control's share of helpful conversations, and the treatment's effect on it.
    unsafe, unsafe_effect
        The same for unsafe completions, which are rare.
    latency_ms, latency_ratio, latency_sigma
        Median latency of control, the treatment's factor, and the spread of its logarithm.
    icc
        Intraclass correlation of each outcome within a user, in [0, 1).
    conversations
        Mean conversations per user and day-span; their number is heavy-tailed.
    spill_over
        Share of the treatment's effect that a control user receives where all others around are treated, for the flaw
        ``interference``; organisations then have either 20 % or 80 % of their users treated.
    """

    helpful: float = 0.60
    helpful_effect: float = 0.02
    unsafe: float = 0.004
    unsafe_effect: float = -0.002
    latency_ms: float = 900.0
    latency_ratio: float = 1.03
    latency_sigma: float = 0.7
    icc: float = 0.15
    conversations: float = 8.0
    spill_over: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentWorld:
    """A simulated experiment.

    Attributes
    ----------
    tables
        ``outcomes``, ``exposures``, ``training`` and ``anchor``, by name.
    truth
        What was planted, plain JSON.
    """

    tables: Mapping[str, pa.Table]
    truth: Mapping[str, Any]


def simulate_experiment(
    *,
    users: int,
    seed: int,
    days: int = 14,
    flaws: tuple[str, ...] = (),
    parameters: ExperimentParameters | None = None,
) -> ExperimentWorld:
    """Draw an experiment.

    Parameters
    ----------
    users
        Users in both arms together, at least 2.
    seed
        Seed, at least 0.
    days
        Length in days.
    flaws
        Names from `FLAWS`.
    parameters
        What is planted.

    Raises
    ------
    UsageError
        For an unknown flaw, too few users or days.

    Examples
    --------
    >>> world = simulate_experiment(users=50, seed=1)
    >>> world.tables["exposures"].num_rows, world.truth["effects"]["helpful"]
    (50, 0.02)
    """
    p = parameters or ExperimentParameters()
    if unknown := [f for f in flaws if f not in FLAWS]:
        raise UsageError("unknown flaw", seen=unknown[0], next_step=f"choose from {', '.join(FLAWS)}")
    if users < 2 or days < 1 or seed < 0:
        raise UsageError(
            "the world is too small",
            seen=f"{users} users, {days} days, seed {seed}",
            next_step="2 users, 1 day or more",
        )
    assigned = _assign(users, seed, "sample_ratio" in flaws, "interference" in flaws)
    frame = _conversations(users, seed, days, p)
    treated = assigned["treated"][frame["user"]]
    strength = _strength(treated, assigned["around"][frame["user"]], frame["day"], days, flaws, p)
    outcomes = _outcomes(frame, assigned, strength, seed, p, flaws)
    tables = {
        "outcomes": _outcome_table(frame, treated, outcomes, assigned, days, flaws, seed),
        "exposures": _exposures(assigned, frame, flaws, seed),
        "training": _training(frame, treated, days, flaws, seed),
        "anchor": _anchor(days, flaws, seed),
    }
    truth = {
        "seed": seed,
        "users": users,
        "days": days,
        "flaws": list(flaws),
        "parameters": asdict(p),
        "effects": {"helpful": p.helpful_effect, "unsafe": p.unsafe_effect, "latency_ratio": p.latency_ratio},
    }
    return ExperimentWorld(tables=tables, truth=truth)


def _assign(users: int, seed: int, skewed: bool, saturated: bool) -> dict[str, npt.NDArray[Any]]:
    """Assign users to arms; with spill-over, organisations differ in how many of their users are treated."""
    rng = generator(seed, "assignment")
    share = 0.47 if skewed else 0.5
    found = {
        "treated": rng.random(users) < share,
        "tier": rng.choice(len(_TIERS), size=users, p=[0.6, 0.3, 0.1]),
        "org": rng.integers(0, max(users // 20, 1), size=users),
        "quantile_helpful": rng.random(users),
        "quantile_unsafe": rng.random(users),
        "latency": rng.standard_normal(users),
        "first_day": rng.integers(0, 3, size=users),
    }
    if saturated:
        organisations = int(found["org"].max()) + 1
        shares = np.where(np.arange(organisations) % 2 == 0, 0.2, 0.8)[found["org"]]
        found["treated"] = generator(seed, "saturation").random(users) < shares
    counted = np.bincount(found["org"], minlength=1)
    treated = np.bincount(found["org"], weights=found["treated"], minlength=len(counted))
    found["around"] = (treated / np.maximum(counted, 1))[found["org"]]
    return found


def _conversations(users: int, seed: int, days: int, p: ExperimentParameters) -> dict[str, npt.NDArray[Any]]:
    """Heavy-tailed numbers of conversations per user, at least one each."""
    rng = generator(seed, "conversations")
    rate = rng.gamma(1.2, max(p.conversations - 1, 0.0) / 1.2, size=users)
    counts = 1 + rng.poisson(rate)
    user = np.repeat(np.arange(users), counts)
    return {
        "user": user,
        "day": rng.integers(0, days, size=len(user)),
        "second": rng.integers(0, 86_400, size=len(user)),
        "intent": rng.choice(len(_INTENTS), size=len(user), p=[0.45, 0.3, 0.2, 0.05]),
    }


def _strength(
    treated: npt.NDArray[np.bool_],
    around: Floats,
    day: npt.NDArray[np.int64],
    days: int,
    flaws: tuple[str, ...],
    p: ExperimentParameters,
) -> Floats:
    """How much of the effect each conversation receives: 1 for the treated, unless a flaw says otherwise."""
    strength = treated.astype(np.float64)
    if "interference" in flaws:
        strength = np.where(treated, 1.0, p.spill_over * around)
    if "fading" in flaws:
        strength = strength * np.exp(-day / (days / 4))
    if "contamination" in flaws:
        # The model that both arms share was refreshed on the treatment's conversations: control moves too.
        strength = np.where((day >= days // 2) & ~treated, 0.7, strength)
    return strength


def _outcomes(
    frame: Mapping[str, npt.NDArray[Any]],
    assigned: Mapping[str, npt.NDArray[Any]],
    strength: Floats,
    seed: int,
    p: ExperimentParameters,
    flaws: tuple[str, ...],
) -> dict[str, npt.NDArray[Any]]:
    rng = generator(seed, "outcomes")
    user, intent = frame["user"], frame["intent"]
    effect = p.helpful_effect * strength
    chance = _chance(assigned["quantile_helpful"][user], p.helpful, p.icc, effect)
    if "simpson" in flaws:
        # Hard intents are harder for everybody; their mix differs between the arms (see `_outcome_table`).
        chance = np.clip(chance - 0.25 * (intent == 2), 0, 1)
    unsafe = _chance(assigned["quantile_unsafe"][user], p.unsafe, min(p.icc, 0.05), p.unsafe_effect * strength)
    noise = np.sqrt(p.icc) * assigned["latency"][user] + np.sqrt(1 - p.icc) * rng.standard_normal(len(user))
    factor = np.where(strength > 0, p.latency_ratio**strength, 1.0)
    return {
        "helpful": rng.random(len(user)) < chance,
        "unsafe": rng.random(len(user)) < unsafe,
        "latency_ms": p.latency_ms * factor * np.exp(p.latency_sigma * noise),
        "tokens": 1 + rng.poisson(180 + 60 * assigned["latency"][user].clip(-2, 2)),
        "prior": _prior(assigned, p, seed)[user],
    }


def _chance(quantile: Floats, mean: float, icc: float, effect: Floats) -> Floats:
    """Chance of each conversation; the effect scales the user's own odds of it so that the mean moves by just as much."""
    base = clustered_probability(quantile, mean, correlation=icc)
    room = np.where(effect >= 0, (1 - base) / (1 - mean), base / mean)
    return np.clip(base + effect * room, 0.0, 1.0)


def _prior(assigned: Mapping[str, npt.NDArray[Any]], p: ExperimentParameters, seed: int) -> Floats:
    """A user's helpful share before the experiment, on 20 conversations: a covariate that the treatment cannot touch."""
    base = clustered_probability(assigned["quantile_helpful"], p.helpful, correlation=p.icc)
    share: Floats = generator(seed, "prior").binomial(20, base) / 20
    return share


def _times(frame: Mapping[str, npt.NDArray[Any]]) -> pa.Array:
    start = int(_START.timestamp()) * 1_000_000
    micros = start + (frame["day"].astype(np.int64) * 86_400 + frame["second"]) * 1_000_000
    return pa.array(micros, pa.int64()).cast(pa.timestamp("us", tz="UTC"))


def _outcome_table(
    frame: Mapping[str, npt.NDArray[Any]],
    treated: npt.NDArray[np.bool_],
    outcomes: Mapping[str, npt.NDArray[Any]],
    assigned: Mapping[str, npt.NDArray[Any]],
    days: int,
    flaws: tuple[str, ...],
    seed: int,
) -> pa.Table:
    rng = generator(seed, "flaws")
    count = len(treated)
    kept = np.ones(count, dtype=bool)
    if "simpson" in flaws:
        # Three in five of the treatment's easy conversations are not logged: its mix becomes harder.
        kept = ~(treated & (frame["intent"] != 2) & (rng.random(count) < 0.6))
    known = np.ones(count, dtype=bool)
    if "missing" in flaws:
        known = ~(treated & ~outcomes["helpful"] & (rng.random(count) < 0.3))
    changed = (frame["day"] >= days // 2) & treated & ("fingerprint" in flaws)
    columns = {
        "conversation_id": numbered("c", count),
        "user_id": numbered("u", len(assigned["treated"])).take(pa.array(frame["user"])),
        "org_id": numbered("org", int(assigned["org"].max()) + 1).take(pa.array(assigned["org"][frame["user"]])),
        "tier": words(_TIERS, assigned["tier"][frame["user"]]),
        "intent": words(_INTENTS, frame["intent"]),
        "arm": words(("control", "treatment"), treated.astype(np.int64)),
        "ts": _times(frame),
        "helpful": pa.array(outcomes["helpful"], mask=~known),
        "unsafe": pa.array(outcomes["unsafe"]),
        "latency_ms": pa.array(outcomes["latency_ms"]),
        "tokens": pa.array(outcomes["tokens"], pa.int64()),
        "prior_helpful": pa.array(outcomes["prior"]),
        "model_digest": words(("m-7f3a",), np.zeros(count, dtype=np.int64)),
        "filter_version": words(("v6", "v7", "v7.1"), treated.astype(np.int64) + changed),
        "judge_version": words(("j-2",), np.zeros(count, dtype=np.int64)),
    }
    return pa.table(columns).filter(pa.array(kept))


def _exposures(
    assigned: Mapping[str, npt.NDArray[Any]], frame: Mapping[str, npt.NDArray[Any]], flaws: tuple[str, ...], seed: int
) -> pa.Table:
    """First exposure of each user, at the beginning of the first day on which the user came."""
    users = len(assigned["treated"])
    first = np.full(users, np.iinfo(np.int64).max)
    np.minimum.at(first, frame["user"], frame["day"].astype(np.int64))
    micros = (int(_START.timestamp()) + first * 86_400) * 1_000_000
    arm = assigned["treated"].astype(np.int64)
    user = np.arange(users)
    if "both_arms" in flaws:
        doubled = np.flatnonzero(generator(seed, "both arms").random(users) < 0.02)
        user, arm = np.concatenate([user, doubled]), np.concatenate([arm, 1 - arm[doubled]])
        micros = np.concatenate([micros, micros[doubled] + 86_400_000_000])
    return pa.table(
        {
            "user_id": numbered("u", users).take(pa.array(user)),
            "arm": words(("control", "treatment"), arm),
            "ts": pa.array(micros, pa.int64()).cast(pa.timestamp("us", tz="UTC")),
        }
    )


def _training(
    frame: Mapping[str, npt.NDArray[Any]], treated: npt.NDArray[np.bool_], days: int, flaws: tuple[str, ...], seed: int
) -> pa.Table:
    """Rows a model was trained on: old conversations, and with the flaw a sample of the experiment's own."""
    rng = generator(seed, "training")
    ids = numbered("c", len(treated))
    chosen = np.zeros(len(treated), dtype=bool)
    if "contamination" in flaws:
        chosen = treated & (frame["day"] < days // 2) & (rng.random(len(treated)) < 0.2)
    own = ids.filter(pa.array(chosen))
    other = numbered("old", 200)
    refreshed = int((_START + dt.timedelta(days=days // 2)).timestamp()) * 1_000_000
    times = np.concatenate([np.full(len(own), refreshed), np.full(200, refreshed - 60 * 86_400_000_000)])
    return pa.table(
        {
            "conversation_id": pa.concat_arrays([own, other]),
            "trained_at": pa.array(times, pa.int64()).cast(pa.timestamp("us", tz="UTC")),
            "model_digest": words(("m-7f3a",), np.zeros(len(times), dtype=np.int64)),
        }
    )


def _anchor(days: int, flaws: tuple[str, ...], seed: int) -> pa.Table:
    """A fixed set of 200 items scored by the judge again each day; with the flaw it grows lenient half way."""
    rng = generator(seed, "anchor")
    difficulty = rng.normal(0.4, 1.0, size=200)
    day = np.repeat(np.arange(days), 200)
    lenient = 0.6 * (day >= days // 2) * ("judge_drift" in flaws)
    score = rng.random(len(day)) < special.expit(np.tile(difficulty, days) + lenient)
    micros = (int(_START.timestamp()) + day.astype(np.int64) * 86_400) * 1_000_000
    return pa.table(
        {
            "item": numbered("a", 200).take(pa.array(np.tile(np.arange(200), days))),
            "ts": pa.array(micros, pa.int64()).cast(pa.timestamp("us", tz="UTC")),
            "score": pa.array(score.astype(np.float64)),
            "judge_version": words(("j-2",), np.zeros(len(day), dtype=np.int64)),
        }
    )


def write_experiment(world: ExperimentWorld, folder: Path) -> None:
    """Write the tables as Parquet files, the truth as JSON and the spec that fits them.

    Parameters
    ----------
    world
        From `simulate_experiment`.
    folder
        New or empty.

    Raises
    ------
    UsageError
        Where the folder holds something already.
    """
    if folder.exists() and any(folder.iterdir()):
        raise UsageError("the folder is not empty", seen=str(folder), next_step="name a folder that does not exist yet")
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in world.tables.items():
        pq.write_table(table, folder / f"{name}.parquet")
    write_atomically(folder / "truth.json", (json.dumps(world.truth, indent=2) + "\n").encode())
    write_atomically(folder / "experiment.toml", _spec(world).encode())


def _spec(world: ExperimentWorld) -> str:
    users, days = world.truth["users"], world.truth["days"]
    p = world.truth["parameters"]
    return f"""# What this experiment must show, written before its data are seen.
id = "filter-v7"
hypothesis = "Filter v7 halves unsafe completions and helps more, without slowing answers down."
owner = "assistant team"
checks = [
  "sample_ratio", "exposure", "multiple_exposure", "fingerprint",
  "retrain_contamination", "judge_anchor", "missing_outcomes", "preperiod_balance",
]
not_measured = ["what users do after {days} days", "languages other than English"]

[data]
outcomes = "outcomes.parquet"
exposures = "exposures.parquet"
training = "training.parquet"
anchor = "anchor.parquet"
time = "ts"

[population]
describe = "all users who hold a conversation in the window"

[assignment]
unit = "user_id"
control = "control"
arms = {{ control = 0.5, treatment = 0.5 }}

[inference]
cluster = "user_id"
method = "confidence_sequence"
alpha = 0.05
power = 0.8
planned_clusters = {users}

[treatment]
fingerprint = ["model_digest", "filter_version", "judge_version"]

[stopping]
looks = "daily"
minimum_days = 7
minimum_clusters = 100

[metrics.helpful]
kind = "proportion"
value = "helpful"
title = "Helpful conversations"
unit = "conversation"
better = "higher"
role = "value"
covariates = ["prior_helpful"]
baseline = {p["helpful"]}
icc = {p["icc"]}

[metrics.unsafe]
kind = "proportion"
value = "unsafe"
title = "Unsafe completions"
unit = "conversation"
better = "lower"
role = "risk"
baseline = {p["unsafe"]}
icc = {min(p["icc"], 0.05)}

[metrics.tokens]
kind = "mean"
value = "tokens"
title = "Tokens per answer"
unit = "conversation"
better = "lower"
role = "guardrail"
non_negative = true

[metrics.milliseconds_per_token]
kind = "ratio"
value = "latency_ms"
per = "tokens"
title = "Milliseconds per token"
unit = "token"
better = "lower"
role = "guardrail"

[metrics.latency_p95]
kind = "quantile"
value = "latency_ms"
q = 0.95
title = "Latency, 95th percentile"
unit = "conversation"
better = "lower"
role = "guardrail"

[[bar]]
name = "helpful against unsafe"

[bar.value]
metric = "helpful"
test = "noninferior"
margin = "-1.0pp"
mde = "+2.0pp"
rationale = "a loss of one point is less than the week-to-week change of the past year"

[bar.risk]
metric = "unsafe"
test = "superior"
mde = "-0.2pp"
max_upper_bound = 0.01

[[guardrail]]
metric = "latency_p95"
test = "noninferior"
margin = "+10%"
rationale = "users begin to complain at a tenth more"

[[guardrail]]
metric = "tokens"
test = "noninferior"
margin = "+5%"
rationale = "the budget of the quarter has 5 % to spare"

[simpson]
stratifiers = ["tier", "intent"]

[trade_off]
exchange_rate = 5.0

[traffic]
units_per_day = {users / days:.0f}
rows_per_cluster = {p["conversations"]}
cluster_size_cv = 0.9
"""
