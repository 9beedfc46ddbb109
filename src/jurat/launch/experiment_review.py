"""A review whose numbers come from an experiment: its evidence is taken over with its receipts, and sworn to again."""

from __future__ import annotations

import datetime as dt
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jurat.errors import DataError
from jurat.evidence.estimate import Evidence
from jurat.evidence.keys import SigningKey
from jurat.evidence.recompute import environment
from jurat.launch.bar import Bar, Clause
from jurat.launch.document import verdict_document
from jurat.launch.experiment import SPEC_COPIES, experiment_checks, experiment_evidence, result_kind, spec_path
from jurat.launch.folder import save_waivers, write_ledger, write_results
from jurat.launch.freeze import freeze_path
from jurat.launch.verdict import Freeze, Verdict, decide
from jurat.launch.waiver import Waiver
from jurat.metrics.loader import Metric

__all__ = ["write_experiment_review"]


def write_experiment_review(
    stage: Path,
    out: Path,
    bar: Bar,
    freeze: Freeze | None,
    catalog: Mapping[str, Metric],
    clauses: Sequence[Clause],
    data: Path,
    key: SigningKey,
    waivers: Sequence[Waiver],
    now: dt.datetime,
) -> tuple[Verdict, dict[str, Any]]:
    """Decide by the evidence of an experiment and write the folder of the review.

    Parameters
    ----------
    stage, out
        Where the folder is made, and where it will lie.
    bar, freeze, catalog, clauses
        The bar and what it demands.
    data
        The folder that the analysis wrote.
    key, waivers, now
        As in `jurat.launch.review.review`.

    Raises
    ------
    DataError
        Where the folder is no result, of another spec, or holds no evidence although no check failed.
    """
    evidence, arms = experiment_evidence(bar, clauses, data)
    checks = experiment_checks(data)
    if not evidence and all(check.passed for check in checks):
        raise DataError(
            "the result holds no evidence for the bar's clauses",
            seen=f"{data / 'evidence'}; the bar compares {bar.document.arms.candidate} with {bar.document.arms.baseline}",
            next_step="name metrics that the experiment makes claims about, and its arms",
        )
    shutil.copyfile(bar.path, stage / "bar.toml")
    if freeze_path(bar.path).is_file():
        shutil.copyfile(freeze_path(bar.path), stage / "bar.freeze.json")
    kind = result_kind(bar) or "experiment"
    shutil.copyfile(spec_path(bar), stage / SPEC_COPIES[kind])
    shutil.copyfile(data / "result.json", stage / "result.json")
    verdict = decide(bar, clauses, evidence=evidence, arms=arms, checks=checks, freeze=freeze, waivers=waivers, now=now)
    every = list({e.digest: e for e in [*evidence.values(), *(a for group in arms.values() for a in group)]}.values())
    document = verdict_document(
        bar,
        verdict,
        catalog,
        receipt={
            "snapshot": every[0].receipt.snapshot if every else None,
            "inputs": [{"path": i.path, "size": i.size, "sha256": i.sha256} for i in _inputs(every)],
            "packages": environment(),
            "keyid": key.keyid,
        },
        data={"kind": kind, "root": _root(every, out), **_window(every)},
        waivers=waivers,
    )
    save_waivers(stage, waivers)
    write_results(stage, document, every, bar, catalog)
    write_ledger(stage, document, every, key)
    return verdict, document


def _inputs(every: Sequence[Evidence]) -> list[Any]:
    return list(every[0].receipt.inputs) if every else []


def _root(every: Sequence[Evidence], out: Path) -> str:
    """Folder of the experiment's data, relative to the review, so that the two can be moved together."""
    return os.path.relpath(str(every[0].receipt.parameters["data"]), out.resolve()) if every else "."


def _window(every: Sequence[Evidence]) -> dict[str, str | None]:
    first = [e.collected_from for e in every]
    last = [e.collected_to for e in every]
    return {
        "collected_from": None if not first or None in first else min(x for x in first if x),
        "collected_to": None if not last or None in last else max(x for x in last if x),
    }
