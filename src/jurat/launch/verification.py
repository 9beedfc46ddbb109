"""Check a finished review as a sceptic would: signatures, files, data, every number, the decision, the page.

The steps go from the outside in, and the first that does not hold is named: which file, which number, which entry. What
holds at the end is more than "nothing was touched": the verdict follows from the evidence, and the evidence from the data.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jurat.errors import DataError, IntegrityError
from jurat.evidence.canonical import canonical_json
from jurat.evidence.estimate import Evidence, InputFile
from jurat.evidence.keys import PublicKey
from jurat.evidence.ledger import LedgerReport, read_entries, verify_ledger
from jurat.evidence.recompute import check_inputs, recompute
from jurat.evidence.validity import CheckResult
from jurat.evidence.workspace import Workspace
from jurat.launch.anchor import anchored_head
from jurat.launch.bar import Bar, Clause, load_bar
from jurat.launch.checks import run_check
from jurat.launch.document import verdict_document
from jurat.launch.dossier import render_dossier
from jurat.launch.experiment import SPEC_COPIES, experiment_checks, relocated, result_catalog, result_kind
from jurat.launch.files import files_in
from jurat.launch.freeze import load_freeze
from jurat.launch.verdict import decide
from jurat.launch.waiver import load_waiver
from jurat.launch.words import iterate_clauses
from jurat.metrics.loader import Metric
from jurat.store.lake import Lake
from jurat.store.schema import content_digest
from jurat.store.source import load_source, read_source

__all__ = ["VerificationReport", "verify_evidence", "verify_ledger_file", "verify_review"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationReport:
    """What was checked and holds, in order; ``notes`` are things to know that are no faults."""

    subject: str
    verdict: str | None
    steps: tuple[str, ...]
    notes: tuple[str, ...] = ()
    keyid: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            "subject": self.subject,
            "holds": True,
            "verdict": self.verdict,
            "steps": list(self.steps),
            "notes": list(self.notes),
            "keyid": self.keyid,
        }

    def __str__(self) -> str:
        lines = [f"● {step}" for step in self.steps] + [f"  note: {note}" for note in self.notes]
        return "\n".join([*lines, f"{self.subject} holds"])


@dataclass(slots=True)
class _Steps:
    done: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def verify_ledger_file(path: Path, *, public_key: PublicKey | None) -> VerificationReport:
    """Check one ledger with its head.

    Raises
    ------
    IntegrityError
        Naming the entry that does not hold.
    """
    report = verify_ledger(path, public_key=public_key)
    return VerificationReport(
        subject=path.name, verdict=None, steps=(str(report),), notes=_key_note(public_key, report), keyid=report.keyid
    )


def _key_note(pinned: PublicKey | None, report: LedgerReport) -> tuple[str, ...]:
    if pinned is not None:
        return ()
    return (
        f"no key was pinned: nothing changed since key {report.keyid[:16]} signed, but whose key that is, only its "
        "owner can tell you (pass --key)",
    )


def verify_evidence(path: Path, *, public_key: PublicKey | None, data: Path | None) -> VerificationReport:
    """Check one number of a review folder: named by its digest, sworn in the ledger, and recomputed.

    Parameters
    ----------
    path
        A file of the folder's ``evidence``.
    public_key
        Key that must have signed the ledger.
    data
        Where the data are now, if not where they were.

    Raises
    ------
    IntegrityError
        Where the number does not come out as sworn, naming the input that changed.
    """
    root = path.resolve().parent.parent
    if not path.is_file() or not (root / "ledger.jsonl").is_file():
        raise DataError(
            "this is not a number of a review", seen=str(path), next_step="give a file of a review's evidence folder"
        )
    evidence = _load_evidence(path)
    ledger = verify_ledger(root / "ledger.jsonl", public_key=public_key)
    sworn = [e for e in read_entries(root / "ledger.jsonl", public_key=public_key) if e.kind == "evidence"]
    if evidence.digest not in {e.body["digest"] for e in sworn}:
        raise IntegrityError(
            f"{path.name} is not sworn in the ledger", seen=evidence.digest[:16], next_step="restore it"
        )
    document = _json(root / "verdict.json")
    _check_data(root, document, data, _Steps(), evidence.receipt.inputs)
    done = recompute(_relocated(evidence, _lake(root, document, data)), root=root)
    how = "bit for bit" if done.exact else "within 1e-9 on another engine version"
    return VerificationReport(
        subject=str(evidence.estimate),
        verdict=None,
        steps=(str(ledger), f"{len(evidence.receipt.inputs)} input files unchanged", f"recomputed {how}"),
        notes=_key_note(public_key, ledger),
        keyid=ledger.keyid,
    )


def verify_review(root: Path, *, public_key: PublicKey | None, data: Path | None) -> VerificationReport:
    """Check a whole review folder.

    Parameters
    ----------
    root
        The folder.
    public_key
        Key that must have signed the ledger; without it, the one the ledger names.
    data
        Where the data are now, if not where they were.

    Raises
    ------
    IntegrityError
        Naming the first file, entry or number that does not hold.
    """
    steps = _Steps()
    # First on its own, so that a broken ledger is told as what it is and not as one that was rolled back.
    verify_ledger(root / "ledger.jsonl", public_key=public_key)
    anchor = anchored_head(root)
    ledger = verify_ledger(root / "ledger.jsonl", public_key=public_key, anchor=anchor)
    steps.done.append(str(ledger) + (", anchored in your own ledger" if anchor else ""))
    steps.notes += _key_note(public_key, ledger)
    _check_files(root, public_key, steps)
    document = _json(root / "verdict.json")
    _check_data(root, document, data, steps, None)
    evidence = {path.stem: _load_evidence(path) for path in sorted((root / "evidence").glob("*.json"))}
    lake = _lake(root, document, data)
    exact = [recompute(_relocated(found, lake), root=root).exact for found in evidence.values()]
    steps.done.append(f"{len(exact)} numbers recomputed" + (", bit for bit" if all(exact) else " (some within 1e-9)"))
    _decide_again(root, document, evidence, steps, lake)
    return VerificationReport(
        subject=root.name,
        verdict=document["verdict"],
        steps=tuple(steps.done),
        notes=tuple(steps.notes),
        keyid=ledger.keyid,
    )


def _json(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def _load_evidence(path: Path) -> Evidence:
    try:
        evidence = Evidence.from_json(_json(path))
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"{path.name} was altered", seen=str(error), next_step="restore it") from error
    if evidence.digest != path.stem:
        raise IntegrityError(
            f"the evidence {path.name} was altered",
            seen=f"its content has digest {evidence.digest[:16]}…",
            next_step="restore it from an untouched copy",
        )
    return evidence


def _check_files(root: Path, public_key: PublicKey | None, steps: _Steps) -> None:
    """Hold every file against the ledger's last word on them."""
    entries = [e for e in read_entries(root / "ledger.jsonl", public_key=public_key) if e.kind == "files"]
    if not entries:
        raise IntegrityError("the ledger does not name the files", seen=str(root), next_step="it is no finished review")
    sworn = entries[-1].body
    there = {f.path: f for f in files_in(root)}
    for name, named in sworn.items():
        if name not in there:
            raise IntegrityError(f"the file {name} is missing", seen=str(root / name), next_step="restore it")
        if there[name].sha256 != named["sha256"]:
            raise IntegrityError(
                f"the file {name} was altered",
                seen=f"{there[name].size} bytes, SHA-256 {there[name].sha256[:16]}…; sworn {named['size']} bytes, "
                f"{named['sha256'][:16]}…",
                next_step="restore it from an untouched copy",
            )
    for name in there:
        if name not in sworn:
            raise IntegrityError(
                f"the file {name} was added after the review", seen=str(root / name), next_step="remove it"
            )
    steps.done.append(f"{len(sworn)} files as sworn")


def _check_data(
    root: Path,
    document: Mapping[str, Any],
    data: Path | None,
    steps: _Steps,
    inputs: tuple[InputFile, ...] | None,
) -> None:
    """Hold the data against the receipt, and the lake's content against the source files."""
    held = (data if data is not None else root / document["data"]["root"]).resolve()
    if document["data"]["kind"] in SPEC_COPIES:
        check_inputs(tuple(InputFile(**i) for i in document["receipt"]["inputs"]) if inputs is None else inputs, held)
        steps.done.append(f"{len(document['receipt']['inputs'])} data files unchanged under {os.path.relpath(held)}")
        return
    workspace = Workspace.open(root, lake=_lake(root, document, data))
    if inputs is None:
        inputs = tuple(InputFile(**i) for i in document["receipt"]["inputs"])
    check_inputs(inputs, held)
    if document["receipt"]["snapshot"] != workspace.snapshot.digest:
        raise IntegrityError(
            "the snapshot is not the one that was sworn",
            seen=workspace.snapshot.digest[:16],
            next_step="restore snapshot.json",
        )
    workspace.snapshot.verify(workspace.lake)
    steps.done.append(f"{len(inputs)} data files unchanged under {os.path.relpath(held)}")
    if document["data"]["kind"] != "source":
        return
    table, _ = read_source(load_source(root / "source.toml"), held)
    name = next(iter(workspace.snapshot.tables))
    if content_digest(table) != content_digest(
        Lake(workspace.lake).read(name, version=workspace.snapshot.tables[name].version)
    ):
        raise IntegrityError(
            "the lake does not hold what the source files say",
            seen=f"table {name}, {table.num_rows} rows read anew",
            next_step="the import was altered: review again from the source files",
        )
    steps.done.append(f"{table.num_rows:,} rows imported anew and equal")


def _lake(root: Path, document: Mapping[str, Any], data: Path | None) -> str:
    """Where the lake is: in the folder where files were imported, else where it was, or where it is said to be now."""
    if document["data"]["kind"] in SPEC_COPIES:
        return str((data if data is not None else root / document["data"]["root"]).resolve())
    if document["data"]["kind"] == "source":
        return "lake"
    return str(document["data"]["root"]) if data is None else str(data.resolve())


def _relocated(evidence: Evidence, lake: str) -> Evidence:
    """The same evidence with the place where its lake is now; what was sworn is compared, not the place."""
    if "lake" not in evidence.receipt.parameters:
        return relocated(evidence, Path(lake))
    parameters = {**evidence.receipt.parameters, "lake": lake}
    return dataclasses.replace(evidence, receipt=dataclasses.replace(evidence.receipt, parameters=parameters))


def _decide_again(
    root: Path, document: Mapping[str, Any], evidence: Mapping[str, Evidence], steps: _Steps, lake: str
) -> None:
    """Decide the verdict again from the evidence, and render the page again; both must be the same bytes."""
    bar = load_bar(root / "bar.toml")
    metrics, clauses, checks = _definitions(root, bar, lake)
    waivers = [load_waiver(path) for path in sorted((root / "waivers").glob("*.json"))]
    verdict = decide(
        bar,
        clauses,
        evidence=_by_clause(document, evidence),
        arms=_arms_by_clause(document, evidence),
        checks=checks,
        freeze=load_freeze(bar, metrics=metrics),
        waivers=waivers,
        now=dt.datetime.fromisoformat(document["decided"]),
    )
    again = verdict_document(
        bar,
        verdict,
        metrics,
        receipt=document["receipt"],
        data=document["data"],
        waivers=waivers,
        silver=document["silver"],
        sensitivity=document["sensitivity"],
    )
    if canonical_json(again) != canonical_json(document):
        changed = [key for key in again if again[key] != document.get(key)]
        raise IntegrityError(
            "the verdict does not follow from its evidence",
            seen=f"decided again: {again['verdict']}; sworn: {document['verdict']}; differing: {', '.join(changed)}",
            next_step="do not rely on this review",
        )
    page = _page(document, bar, clauses, metrics)
    if page != (root / "dossier.html").read_text(encoding="utf-8"):
        raise IntegrityError(
            "the dossier does not say what the verdict says", seen="dossier.html", next_step="restore it"
        )
    steps.done.append(f"verdict decided again: {document['verdict']}; dossier rendered again, the same bytes")


def _definitions(root: Path, bar: Bar, lake: str) -> tuple[Mapping[str, Metric], list[Clause], list[CheckResult]]:
    """Metrics, clauses and checks as the review had them; an experiment's checks were made again with its numbers."""
    if (kind := result_kind(bar)) is not None:
        metrics: Mapping[str, Metric] = result_catalog(bar, root / SPEC_COPIES[kind])
        return metrics, bar.clauses(metrics), experiment_checks(root)
    workspace = Workspace.open(root, lake=lake)
    try:
        metrics = workspace.metrics
        clauses = bar.clauses(metrics)
        return metrics, clauses, [run_check(check, bar, workspace, clauses) for check in bar.document.check]
    finally:
        workspace.close()


def _page(document: Mapping[str, Any], bar: Bar, clauses: list[Clause], metrics: Mapping[str, Metric]) -> str:
    return render_dossier(
        document,
        bar_text=bar.path.read_text(encoding="utf-8"),
        metric_texts={name: metrics[name].text for name in bar.metric_names()},
    )


def _sections(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [clause for _, clause in iterate_clauses(document)]


def _by_clause(document: Mapping[str, Any], evidence: Mapping[str, Evidence]) -> dict[str, Evidence]:
    found = {}
    for clause in _sections(document):
        number = clause["estimate"] if "arm" in clause else clause["comparison"]
        if number is not None:
            found[clause["name"]] = evidence[number["evidence"]]
    return found


def _arms_by_clause(document: Mapping[str, Any], evidence: Mapping[str, Evidence]) -> dict[str, tuple[Evidence, ...]]:
    return {
        clause["name"]: tuple(evidence[arm["evidence"]] for arm in clause["arms"])
        for clause in _sections(document)
        if "arms" in clause
    }
