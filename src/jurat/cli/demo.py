"""``jurat demo``: one decision carried from simulated traffic to a signed verdict, and one incident caught in live traffic."""

from __future__ import annotations

import datetime as dt
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from jurat.cli.output import emit, note

if TYPE_CHECKING:
    from jurat.cli.demo_live import Live

__all__ = ["demo"]

_START = dt.datetime(2026, 11, 2, tzinfo=dt.UTC)


def demo(
    *,
    out: Path = Path("demo"),
    preset: str = "safe_win",
    turns: int | None = None,
    seed: int = 7,
    live: bool = True,
    serve: bool | None = None,
    json: bool = False,
) -> int:
    """Simulate a small world, freeze a bar, review a candidate, verify the result; then catch an incident in live traffic.

    Parameters
    ----------
    out
        Folder to write; an earlier demo in it is replaced.
    preset
        The world: safe_win, harm_up, small or broken_split.
    turns
        Size of the world; by default the preset's.
    seed
        The world's seed.
    live
        Whether to start a server, replay the traffic of the past hours into it, and let the monitor find what was planted.
    serve
        Keep that server running, with live traffic; by default where a person sits at the terminal.
    json
        Print the verdict, and what was caught, as JSON.
    """
    from jurat.cli.launch import summary
    from jurat.evidence.keys import home, load_or_create_key
    from jurat.launch.bar import load_bar
    from jurat.launch.freeze import freeze_bar
    from jurat.launch.review import review
    from jurat.launch.verification import verify_review
    from jurat.simulate.assistant import simulate_preset, write_world
    from jurat.store.lake import Lake

    _clear(out)
    compiling = _compiling() if live else []
    key = load_or_create_key()
    note(f"simulating an assistant and two releases ({preset}, seed {seed})")
    world = simulate_preset(preset, seed=seed, start=_START, turns=turns)
    write_world(world, Lake(out / "lake"), out / "truth.json")
    bar_path = out / "bar.toml"
    bar_path.write_bytes((resources.files("jurat.cli") / "demo_bar.toml").read_bytes())
    freeze_bar(load_bar(bar_path), key)
    note(f"bar frozen with the key in {home()}; reviewing 2026.11.2 against 2026.11.1")
    done = review(bar_path, out / "lake", out / "review", key=key)
    checked = verify_review(out / "review", public_key=key.public, data=None)
    text = [
        _brief(summary(done)),
        f"verified: {len(checked.steps)} checks hold, every number recomputed from the lake",
        f"truth:    over-refusal {_truth(world, 'over_refusal_rate')}, "
        f"harmful compliance {_truth(world, 'harmful_compliance_rate')}",
        f"open      {out / 'review' / 'dossier.html'}",
        f"try next  jurat demo --preset {'small' if preset == 'harm_up' else 'harm_up'} --out {out}-other; "
        f"jurat verify {out / 'review'}; jurat bar check {bar_path}",
    ]
    stay = (sys.stdout.isatty() and not json) if serve is None else serve
    if not live:
        emit("\n".join(text), done.document, as_json=json)
        return 0
    if not json:
        print("\n".join(text), flush=True)
    for process in compiling:
        process.wait()
    seen = _live(out, bar_path, seed=seed, stay=stay, quiet=json)
    if json:
        emit("", {**done.document, "live": None if seen is None else seen.document}, as_json=True)
    return 0


def _compiling() -> list[subprocess.Popen[bytes]]:
    """Compile for the live half while the review runs, where that was never done on this machine."""
    from jurat.cli.demo_warm import is_compiled, start_compiling

    if is_compiled():
        return []
    note("first run: compiling the decoder for this machine, half a minute, once")
    return start_compiling()


def _live(out: Path, bar: Path, *, seed: int, stay: bool, quiet: bool) -> Live | None:
    """The live half; where the packages of the server are missing, the demo says what to install and ends well."""
    from jurat.cli.demo_live import run_live
    from jurat.errors import MissingExtra

    def say(lines: tuple[str, ...]) -> None:
        if not quiet:
            print("\n".join(("", *lines)), flush=True)

    try:
        return run_live(out, bar, seed=seed, stay=stay, say=say)
    except MissingExtra as error:
        note(f"the live half of the demo is left out: {error}")
        return None


def _clear(out: Path) -> None:
    """Make room: only an earlier demo may be replaced."""
    from jurat.errors import UsageError
    from jurat.store.durable import locked

    if out.exists() and any(out.iterdir()):
        if not (out / "truth.json").is_file():
            raise UsageError(
                "the folder holds something that is not a demo", seen=str(out), next_step="name another with --out"
            )
        if (out / "live").is_dir():
            # Raises where a server is at work on it.
            with locked(out / "live" / ".server.lock", wait_seconds=0.2):
                pass
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)


def _brief(text: str) -> str:
    """Verdict and table of a review's summary, without the lines that the demo says in its own words."""
    lines = [line for line in text.splitlines() if line and not line.startswith(("open ", "retrospective:"))]
    return "\n".join(lines)


def _truth(world: object, metric: str) -> str:
    from jurat.simulate.assistant import World

    assert isinstance(world, World)  # noqa: S101 - narrows the type without importing it for --help
    values = [world.truth.value(metric, release).expected for release in ("2026.11.1", "2026.11.2")]
    return " → ".join("unknown" if v is None else f"{100 * v:.1f} %" for v in values)
