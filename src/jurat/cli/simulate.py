"""``jurat simulate …``: worlds with known truth, written to a lake or as files."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from jurat.cli.output import emit

__all__ = ["assistant", "experiment"]


def assistant(
    *,
    out: Path,
    preset: str = "safe_win",
    turns: int | None = None,
    seed: int = 7,
    start: dt.datetime = dt.datetime(2026, 11, 2, tzinfo=dt.UTC),
    json: bool = False,
) -> int:
    """Simulate a deployed assistant: users, tiers, endpoints, two releases, human audits.

    Parameters
    ----------
    out
        Folder to write: ``lake`` and ``truth.json``.
    preset
        The world: safe_win, harm_up, small or broken_split.
    turns
        Size of the world; by default the preset's.
    seed
        The world's seed.
    start
        First moment of the traffic (UTC unless it says otherwise).
    json
        Print the truth as JSON.
    """
    from jurat.simulate.assistant import simulate_preset, write_world
    from jurat.store.lake import Lake

    begin = start if start.tzinfo is not None else start.replace(tzinfo=dt.UTC)
    world = simulate_preset(preset, seed=seed, start=begin, turns=turns)
    out.mkdir(parents=True, exist_ok=True)
    write_world(world, Lake(out / "lake"), out / "truth.json")
    sizes = ", ".join(f"{name} {table.num_rows:,}" for name, table in sorted(world.tables.items()))
    text = f"{sizes}\nlake {out / 'lake'}, truth {out / 'truth.json'}\nnext: jurat review BAR --data {out / 'lake'} --out DIR"
    emit(text, world.truth.to_json(), as_json=json)
    return 0


def experiment(
    *,
    out: Path,
    users: int = 20_000,
    days: int = 14,
    seed: int = 1,
    flaw: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    json: bool = False,
) -> int:
    """Simulate a randomised experiment: outcomes, exposures, training rows, an anchor set, and the spec that fits them.

    Parameters
    ----------
    out
        Folder to write; new or empty.
    users
        Users in both arms together.
    days
        Length in days.
    seed
        The world's seed.
    flaw
        What to break: sample_ratio, fingerprint, contamination, judge_drift, interference, fading, missing, both_arms,
        simpson.
    json
        Print the truth as JSON.
    """
    from jurat.simulate.experiment import simulate_experiment, write_experiment

    world = simulate_experiment(users=users, seed=seed, days=days, flaws=flaw)
    write_experiment(world, out)
    sizes = ", ".join(f"{name} {table.num_rows:,}" for name, table in sorted(world.tables.items()))
    text = f"{sizes}\nspec {out / 'experiment.toml'}, truth {out / 'truth.json'}\n"
    text += f"next: jurat experiments analyse {out / 'experiment.toml'}"
    emit(text, dict(world.truth), as_json=json)
    return 0
