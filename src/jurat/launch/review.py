"""One review, end to end: bar and data in, a folder of verdict, dossier, evidence and signed ledger out.

The folder is written beside its place and renamed into it when it is whole, so a review that is cut off leaves nothing
behind. Everything in it is named by the ledger's last entry with size and SHA-256.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jurat.errors import DataError, UnknownName, UsageError
from jurat.evidence.computations import Witness
from jurat.evidence.estimate import Evidence, InputFile
from jurat.evidence.keys import SigningKey
from jurat.evidence.recompute import environment
from jurat.evidence.validity import CheckResult
from jurat.evidence.workspace import Workspace
from jurat.launch.anchor import anchor_review
from jurat.launch.bar import Bar, Clause, load_bar
from jurat.launch.checks import run_check
from jurat.launch.document import evidence_document, verdict_document
from jurat.launch.experiment import result_kind
from jurat.launch.experiment_review import write_experiment_review
from jurat.launch.folder import save_json, save_waivers, write_ledger, write_results
from jurat.launch.freeze import bar_catalog, freeze_path, load_freeze
from jurat.launch.verdict import Freeze, Verdict, decide
from jurat.launch.waiver import Waiver
from jurat.metrics.loader import Metric
from jurat.store.lake import Lake
from jurat.store.snapshot import Snapshot
from jurat.store.source import import_source, load_source

__all__ = ["Review", "review"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """A finished review.

    Attributes
    ----------
    verdict
        The decision with every clause.
    document
        The same as JSON, as written to ``verdict.json``.
    folder
        Where everything lies.
    """

    verdict: Verdict
    document: Mapping[str, Any]
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class _Data:
    """The pinned data of a review and where they came from."""

    lake: Path
    snapshot: Snapshot
    inputs: tuple[InputFile, ...]
    kind: str


def review(
    bar_path: Path,
    data: Path,
    out: Path,
    *,
    key: SigningKey,
    waivers: Sequence[Waiver] = (),
    replace: bool = False,
    now: dt.datetime | None = None,
) -> Review:
    """Hold the data against the bar and write the review folder.

    Parameters
    ----------
    bar_path
        The launch bar.
    data
        Folder of source files (where the bar names a source mapping), the folder of an experiment's result (where it names
        a spec), or a lake.
    out
        Folder to write. It must not exist, or be empty, or (with ``replace``) hold an earlier review.
    key
        Signs the ledger.
    waivers
        Waivers whose signatures were verified.
    replace
        Whether an earlier review in ``out`` may be replaced.
    now
        Time of the decision; the present by default.

    Raises
    ------
    SpecError
        Where the bar cannot be followed, or was edited after its freeze.
    DataError
        Where the data are not what the bar or its source mapping says.
    UsageError
        Where ``out`` holds something that would be lost.
    """
    now = now or dt.datetime.now(dt.UTC)
    bar = load_bar(bar_path)
    freeze = load_freeze(bar)
    catalog = bar_catalog(bar)
    clauses = bar.clauses(catalog)
    _check_out(out, replace=replace)
    out.parent.mkdir(parents=True, exist_ok=True)
    # Beside its final place, so that the rename at the end stays on one file system.
    stage = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        write = _write if result_kind(bar) is None else write_experiment_review
        result = write(stage, out, bar, freeze, catalog, clauses, data, key, waivers, now)
        _move(stage, out)
    except BaseException:
        shutil.rmtree(stage, ignore_errors=True)
        raise
    anchor_review(out, result[1], key)
    return Review(verdict=result[0], document=result[1], folder=out)


def _check_out(out: Path, *, replace: bool) -> None:
    if out.is_file():
        raise UsageError("the output is a file", seen=str(out), next_step="name a folder that does not exist yet")
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not (out / "ledger.jsonl").is_file():
        raise UsageError(
            "the output folder holds something that is not a review",
            seen=str(out),
            next_step="name a folder that does not exist yet",
        )
    if not replace:
        raise UsageError(
            "the output folder already holds a review",
            seen=str(out),
            next_step="name another folder, or pass --replace to lose the earlier one",
        )


def _move(stage: Path, out: Path) -> None:
    """Put the finished folder in its place; an earlier review stays whole until then."""
    stage.chmod(0o755)
    old = None
    if out.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{out.name}.old.", dir=out.parent))
        out.rename(old / "review")
    stage.rename(out)
    if old is not None:
        shutil.rmtree(old)


def _write(
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
    _copy_definitions(stage, bar, catalog)
    held = _bring_data(stage, bar, data)
    save_json(stage / "snapshot.json", held.snapshot.to_json())
    # Relative to the folder's final place; the lake inside it is the same from either.
    lake = "lake" if held.lake.parent == stage else os.path.relpath(held.lake, out.resolve())
    workspace = Workspace(root=stage, lake=held.lake, snapshot=held.snapshot, metrics=catalog)
    try:
        witness = Witness(
            workspace,
            lake=lake,
            inputs=held.inputs,
            arm_column=bar.document.arms.column,
            metric_parameters=bar.document.data.parameters,
            level=bar.document.plan.level,
        )
        _check_arms(witness, bar, clauses)
        checks = [run_check(check, bar, workspace, clauses) for check in bar.document.check]
        evidence, arms = _gather(witness, bar, clauses, checks)
        verdict = decide(
            bar, clauses, evidence=evidence, arms=arms, checks=checks, freeze=freeze, waivers=waivers, now=now
        )
        every = [*evidence.values(), *(a for group in arms.values() for a in group)]
        silver = _silver(witness, bar, clauses, catalog, every)
        sensitivity = _sensitivity(witness, bar, clauses, catalog, every) if evidence else []
    finally:
        workspace.close()
    first = [e.collected_from for e in every]
    last = [e.collected_to for e in every]
    document = verdict_document(
        bar,
        verdict,
        catalog,
        receipt={
            "snapshot": held.snapshot.digest,
            "inputs": [{"path": i.path, "size": i.size, "sha256": i.sha256} for i in held.inputs],
            "packages": environment(),
            "keyid": key.keyid,
        },
        data={
            "kind": held.kind,
            "root": os.path.relpath(data.resolve(), out.resolve()),
            "collected_from": None if None in first or not first else min(x for x in first if x),
            "collected_to": None if None in last or not last else max(x for x in last if x),
        },
        waivers=waivers,
        silver=silver,
        sensitivity=sensitivity,
    )
    save_waivers(stage, waivers)
    write_results(stage, document, every, bar, catalog)
    write_ledger(stage, document, every, key)
    return verdict, document


def _copy_definitions(stage: Path, bar: Bar, catalog: Mapping[str, Metric]) -> None:
    """Copy what the review was decided by: bar, freeze, source mapping, metric files."""
    shutil.copyfile(bar.path, stage / "bar.toml")
    if freeze_path(bar.path).is_file():
        shutil.copyfile(freeze_path(bar.path), stage / "bar.freeze.json")
    if bar.document.data.source:
        shutil.copyfile(bar.folder / bar.document.data.source, stage / "source.toml")
    (stage / "metrics").mkdir()
    for name in bar.metric_names():
        (stage / "metrics" / f"{name}.sql").write_text(catalog[name].text, encoding="utf-8")


def _bring_data(stage: Path, bar: Bar, data: Path) -> _Data:
    """Pin the data: import the source files into a lake of the review's own, or snapshot the lake that is there."""
    if not data.is_dir():
        raise DataError("no such data folder", seen=str(data), next_step="give the folder that holds the data")
    if bar.document.data.source is None:
        lake = Lake(data.resolve())
        snapshot = lake.snapshot(note=f"review of {bar.document.title}")
        inputs = tuple(
            InputFile(path=f.path, size=f.size, sha256=f.sha256)
            for _, version in sorted(snapshot.tables.items())
            for f in version.files
        )
        return _Data(lake=data.resolve(), snapshot=snapshot, inputs=inputs, kind="lake")
    source = load_source(bar.folder / bar.document.data.source)
    root = stage / "lake"
    lake = Lake(root)
    report = import_source(source, data, lake)
    snapshot = lake.snapshot(note=f"review of {bar.document.title}")
    files = tuple(InputFile(path=f.path, size=f.size, sha256=f.sha256) for f in report.files)
    return _Data(lake=root, snapshot=snapshot, inputs=files, kind="source")


def _check_arms(witness: Witness, bar: Bar, clauses: Sequence[Clause]) -> None:
    """Refuse an arm that is nowhere in the data, naming those that are."""
    column, d = bar.document.arms.column, bar.document
    measured = witness.workspace.measure(
        clauses[0].metric, slices=(column,), parameters=dict(d.data.parameters), where={}
    )
    known = {str(a) for a in measured.table[column].to_pylist() if a is not None}
    for arm in (d.arms.baseline, d.arms.candidate):
        if arm not in known:
            raise UnknownName("arm", arm, known, place=f"{bar.path.name}, [arms]")


def _gather(
    witness: Witness, bar: Bar, clauses: Sequence[Clause], checks: Sequence[CheckResult]
) -> tuple[dict[str, Evidence], dict[str, tuple[Evidence, ...]]]:
    """Evidence for every clause. A failed check may make a comparison impossible: then there is none."""
    arms = bar.document.arms
    evidence: dict[str, Evidence] = {}
    levels: dict[str, tuple[Evidence, ...]] = {}
    valid = all(check.passed for check in checks)
    for clause in clauses:
        if clause.arm is not None:
            evidence[clause.name] = witness.level(
                clause.metric, clause.arm, threshold=clause.threshold, where=clause.where
            )
            continue
        levels[clause.name] = tuple(
            witness.level(clause.metric, arm, where=clause.where) for arm in (arms.baseline, arms.candidate)
        )
        if valid:
            evidence[clause.name] = witness.contrast(
                clause.metric,
                candidate=arms.candidate,
                baseline=arms.baseline,
                threshold=clause.threshold,
                where=clause.where,
            )
    return evidence, levels


def _silver(
    witness: Witness,
    bar: Bar,
    clauses: Sequence[Clause],
    catalog: Mapping[str, Metric],
    every: list[Evidence],
) -> list[dict[str, Any]]:
    """The rates that other parameters (cheap labels) would have given; they decide nothing."""
    rows = []
    arms = bar.document.arms
    for parameter, values in bar.document.data.silver.items():
        for metric in dict.fromkeys(c.metric for c in clauses if parameter in catalog[c.metric].parameters):
            for value in values:
                for arm in (arms.baseline, arms.candidate):
                    found = witness.level(metric, arm, metric_parameters={parameter: value})
                    every.append(found)
                    rows.append(
                        {
                            "metric": metric,
                            "title": catalog[metric].title,
                            "shape": "share" if catalog[metric].kind == "proportion" else "number",
                            "labels": f"{parameter} = {value}",
                            "arm": arm,
                            "estimate": evidence_document(found),
                        }
                    )
    return rows


def _sensitivity(
    witness: Witness,
    bar: Bar,
    clauses: Sequence[Clause],
    catalog: Mapping[str, Metric],
    every: list[Evidence],
) -> list[dict[str, Any]]:
    """The same comparisons with another column as the cluster; they decide nothing."""
    rows = []
    arms = bar.document.arms
    for cluster in bar.document.plan.sensitivity:
        for clause in clauses:
            if clause.arm is not None:
                continue
            found = witness.contrast(
                clause.metric,
                candidate=arms.candidate,
                baseline=arms.baseline,
                threshold=clause.threshold,
                where=clause.where,
                cluster=cluster,
            )
            every.append(found)
            rows.append(
                {
                    "metric": clause.metric,
                    "title": catalog[clause.metric].title,
                    "shape": "share" if catalog[clause.metric].kind == "proportion" else "number",
                    "clause": clause.name,
                    "cluster": cluster,
                    "outcome": _plain_outcome(found, clause),
                    "estimate": evidence_document(found),
                }
            )
    return rows


def _plain_outcome(found: Evidence, clause: Clause) -> str:
    e, greater = found.estimate, clause.direction == "greater"
    if e.low is None or e.high is None:
        return "undecided"
    if e.low > clause.threshold if greater else e.high < clause.threshold:
        return "clears"
    return "violated" if (e.high < clause.threshold if greater else e.low > clause.threshold) else "undecided"
