"""``jurat demo``: one decision carried from simulated traffic to a signed verdict."""

from __future__ import annotations

import datetime as dt
import shutil
from importlib import resources
from pathlib import Path

from jurat.cli.output import emit, note

__all__ = ["demo"]

_START = dt.datetime(2026, 11, 2, tzinfo=dt.UTC)


def demo(
    *, out: Path = Path("demo"), preset: str = "safe_win", turns: int | None = None, seed: int = 7, json: bool = False
) -> int:
    """Simulate a small world, freeze a bar, review a candidate release, and verify the result.

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
    json
        Print the verdict as JSON.
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
        f"try next  jurat demo --preset {'small' if preset == 'harm_up' else 'harm_up'}; "
        f"jurat verify {out / 'review'}; jurat bar check {bar_path}",
    ]
    emit("\n".join(text), done.document, as_json=json)
    return 0


def _clear(out: Path) -> None:
    """Make room: only an earlier demo may be replaced."""
    from jurat.errors import UsageError

    if out.exists() and any(out.iterdir()):
        if not (out / "truth.json").is_file():
            raise UsageError(
                "the folder holds something that is not a demo", seen=str(out), next_step="name another with --out"
            )
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
