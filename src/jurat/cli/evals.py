"""``jurat evals …``: model outputs to scores, from files as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from jurat.cli.output import emit, note, table, track

__all__ = ["silver", "table_command"]


def table_command(source: Path, *, data: Path, metrics: Path, scorer: str = "human", json: bool = False) -> int:
    """Lay out every model's value and risk rates, with intervals.

    Parameters
    ----------
    source
        The source mapping (TOML).
    data
        Folder of the files.
    metrics
        Folder of metric files.
    scorer
        Whose labels to take.
    json
        Print the estimates as JSON.
    """
    from jurat.evals.summary import summarise
    from jurat.metrics.loader import load_folder
    from jurat.store.source import load_source, read_source

    results, _ = read_source(load_source(source), data)
    found = sorted(load_folder(metrics).values(), key=lambda m: (m.role != "value", m.name))
    summary = summarise(results, found, parameters={"scorer": scorer})
    titles = {m.name: f"{m.title} ({m.role})" for m in found}
    header = ["arm", *(titles[name] for name in summary.metrics())]
    emit(table(header, summary.rows()), summary.to_json(), as_json=json)
    return 0


def silver(
    source: Path,
    *,
    data: Path,
    metrics: Path,
    arm: str,
    baseline: str | None = None,
    scorer: Annotated[tuple[str, ...], Parameter(negative=())] = ("string_match", "gpt4"),
    gold: str = "human",
    audits: Annotated[tuple[int, ...], Parameter(negative=())] = (50, 100, 200),
    draws: int = 1_000,
    seed: int = 0,
    json: bool = False,
) -> int:
    """Say what cheap labels would have said, and how many human audits mend them.

    Parameters
    ----------
    source
        The source mapping (TOML).
    data
        Folder of the files.
    metrics
        Folder of metric files.
    arm
        Whose outputs.
    baseline
        Another arm: the paired difference is studied too.
    scorer
        The cheap labellers.
    gold
        The labeller taken for the truth.
    audits
        Sizes of the human audits to try.
    draws
        Random audits of each size.
    seed
        Seed of the draws.
    json
        Print the studies as JSON.
    """
    import numpy as np

    from jurat.evals.silver import silver_study
    from jurat.metrics.loader import load_folder
    from jurat.store.source import load_source, read_source

    results, report = read_source(load_source(source), data)
    for name, count in report.outside.items():
        note(f"{name}: {count} answers are no label of the taxonomy and count as missing")
    rng = np.random.default_rng(seed)
    subjects = [(arm, None)] if baseline is None else [(arm, None), (baseline, None), (arm, baseline)]
    work = [(m, s, a, b) for m in load_folder(metrics).values() for s in scorer for a, b in subjects]
    studies = [
        silver_study(results, m, arm=a, baseline=b, silver=s, gold=gold, audits=audits, draws=draws, rng=rng)
        for m, s, a, b in track(work, "studying audits")
    ]
    text = "\n".join(f"[{study.silver_name}] {study}" for study in studies)
    emit(text, [study.to_json() for study in studies], as_json=json)
    return 0
