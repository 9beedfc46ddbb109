"""``jurat simulate …``: worlds with known truth, written to a lake or as files."""

from __future__ import annotations

import datetime as dt
import json as json_module
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

from cyclopts import Parameter

from jurat.cli.output import emit, note

if TYPE_CHECKING:
    from jurat.simulate.incidents import PlantedIncident
    from jurat.simulate.replay import Replayed

__all__ = ["assistant", "experiment", "traffic"]

_INCIDENTS: dict[str, dict[str, str | float]] = {
    "refusal spike": {"endpoint": "/v1/chat", "tier": "free", "size": 0.25},
    "error storm": {"size": 0.2},
    "latency regression": {"endpoint": "/v1/agent", "size": 2.0},
    "cost jump": {"endpoint": "/v1/agent", "size": 3.0},
    "escalating users": {"endpoint": "/v1/chat", "size": 12.0},
}


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


def traffic(
    *,
    to: str,
    key: Annotated[str, Parameter(env_var="JURAT_KEY")],
    days: float = 1.0,
    rate: float = 0.5,
    speed: str = "fast",
    incident: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    seed: int = 7,
    text: bool = True,
    truth: Path | None = None,
    json: bool = False,
) -> int:
    """Send the traffic of some days to a server, as OpenTelemetry traces and feedback, with incidents of known onset.

    Parameters
    ----------
    to
        Address of the server, for example http://127.0.0.1:4318.
    key
        Token that may send; better in the environment variable JURAT_KEY than in the list of processes.
    days
        Length of the window; it ends now, or when the replay ends.
    rate
        Calls a second, the mean over whole days.
    speed
        fast (as fast as the server accepts), 1x (as it happens), 60x, or any other number.
    incident
        What goes wrong: refusal spike, error storm, latency regression, cost jump, escalating users; with options as in
        "refusal spike, endpoint=/v1/chat, tier=free, ago=60, minutes=30, size=0.25" (minutes before the end of the window).
    seed
        Seed of the world.
    text
        Whether prompts and answers are sent; without them no server can know what was refused.
    truth
        File for what was planted; keep it away from whoever is to find it.
    json
        Print the truth and the counts as JSON.
    """
    from dataclasses import asdict

    from jurat.simulate.calls import simulate_calls
    from jurat.simulate.replay import Sender, replay, window_start
    from jurat.store.durable import write_atomically

    pace = _pace(speed)
    planted = tuple(_incident(words, days) for words in incident)
    start = window_start(days, pace, now=dt.datetime.now(dt.UTC))
    calls = simulate_calls(start=start, days=days, rate=rate, seed=seed, incidents=planted)
    if truth is not None:
        write_atomically(truth, json_module.dumps(calls.truth, indent=2).encode())
    note(f"{calls.spans.num_rows:,} calls from {start:%Y-%m-%d %H:%M} on, to {to}")
    with Sender(to, key) as sender:
        told = _progress(calls.spans.num_rows)
        done = replay(calls.spans, calls.feedback, sender=sender, speed=pace, with_text=text, told=told)
    lines = [
        f"{done.spans:,} calls and {done.feedback:,} thumbs acknowledged in {done.seconds:.1f} s"
        f" ({done.spans / max(done.seconds, 1e-9):,.0f} a second; asked to wait {done.waits} times)"
    ]
    for one in calls.truth["incidents"]:
        where = " ".join(one[name] for name in ("endpoint", "tier") if one[name]) or "everywhere"
        lines.append(
            f"planted  {one['kind']}, {where}, from {one['onset'][:19]}Z: {one['changed']:,} of {one['calls']:,} calls"
        )
    emit("\n".join(lines), {"truth": calls.truth, "sent": asdict(done)}, as_json=json)
    return 0


def _pace(text: str) -> float | None:
    """Speed of a replay: ``None`` as fast as accepted."""
    from jurat.errors import UsageError

    if text == "fast":
        return None
    try:
        return float(text.removesuffix("x"))
    except ValueError as error:
        raise UsageError(
            "the speed is no speed", seen=repr(text), next_step="give fast, 1x, 60x or a number"
        ) from error


def _incident(text: str, days: float) -> PlantedIncident:
    """An incident from its words; what is not said is as usual for its kind."""
    from jurat.errors import UnknownName, UsageError
    from jurat.simulate.incidents import PlantedIncident

    kind, *options = (part.strip() for part in text.split(","))
    kind = kind.replace("-", " ")
    if kind not in _INCIDENTS:
        raise UnknownName("incident", kind, _INCIDENTS)
    said: dict[str, Any] = dict(_INCIDENTS[kind])
    for option in options:
        name, _, value = (part.strip() for part in option.partition("="))
        if name not in ("endpoint", "tier", "ago", "minutes", "size"):
            raise UnknownName("option of an incident", name, ("endpoint", "tier", "ago", "minutes", "size"))
        try:
            said[name] = value if name in ("endpoint", "tier") else float(value)
        except ValueError as error:
            raise UsageError(f"{name} of an incident is a number", seen=repr(value)) from error
    ago = float(said.get("ago", min(60.0, days * 1440 / 4)))
    literal = cast(Any, kind)  # looked up above
    return PlantedIncident(
        kind=literal,
        onset=days * 1440 - ago,
        minutes=float(said.get("minutes", ago)),
        size=float(said["size"]),
        endpoint=said.get("endpoint") or None,
        tier=said.get("tier") or None,
    )


def _progress(total: int) -> Callable[[Replayed], None]:
    """Tell how far a replay is: on stderr, and only where somebody watches a terminal."""
    watched = sys.stderr.isatty()
    last = [0.0]

    def told(done: Replayed) -> None:
        if watched and (time.monotonic() - last[0] > 0.5 or done.spans == total):
            last[0] = time.monotonic()
            print(
                f"\r{done.spans:,} of {total:,} calls",
                end="\n" if done.spans == total else "",
                file=sys.stderr,
                flush=True,
            )

    return told
