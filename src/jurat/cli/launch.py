"""``jurat review`` and ``jurat bar …``: the launch decision from the command line."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from jurat.cli.output import emit, note, table

if TYPE_CHECKING:
    from jurat.launch.review import Review

__all__ = ["check", "freeze", "review", "summary", "waive"]

_HEADS = {"pass": "PASS", "fail": "FAIL", "not_enough_evidence": "NOT ENOUGH EVIDENCE", "invalid": "INVALID"}


def review(
    bar: Path,
    *,
    data: Path,
    out: Path,
    waiver: Annotated[tuple[Path, ...], Parameter(negative=())] = (),
    replace: bool = False,
    json: bool = False,
) -> int:
    """Hold a release against a launch bar; write verdict, dossier, evidence and signed ledger.

    Exit code 0 pass, 3 fail, 4 not enough evidence, 5 invalid.

    Parameters
    ----------
    bar
        The launch bar (TOML).
    data
        Folder of source files, or a lake where the bar names no source mapping.
    out
        Folder to write; it must not exist yet.
    waiver
        Signed waivers to take into account.
    replace
        Replace an earlier review in the output folder.
    json
        Print the verdict as JSON.
    """
    from jurat.evidence.keys import load_or_create_key
    from jurat.launch.review import review as run_review
    from jurat.launch.waiver import load_waiver

    key = load_or_create_key()
    waivers = [load_waiver(path) for path in waiver]
    done = run_review(bar, data, out, key=key, waivers=waivers, replace=replace)
    emit(summary(done), done.document, as_json=json)
    return done.verdict.exit_code


def summary(done: Review) -> str:
    """Verdict, clauses and where to look, for a terminal."""
    from jurat.launch import words

    document = done.document
    rows = []
    for section, clause in words.iterate_clauses(document):
        found = clause["estimate"] if section == "line" else clause["comparison"]
        bound = clause["limit"] if section == "line" else clause["requirement"]["margin"]
        rows.append(
            [
                clause["title"],
                section,
                *_cells(found, clause, section),
                _bar_text(clause, bound, section),
                clause["outcome"],
            ]
        )
    text = [f"{_HEADS[document['verdict']]}: {words.answer_sentence(document)}"]
    if document["retrospective"]:
        text.append(f"retrospective: {document['retrospective_reason']}")
    text += ["", table(["measure", "role", "found", "interval", "n", "bar", ""], rows, left=2), ""]
    text += [f"{'●' if c['passed'] else '■'} {c['name']}: {c['detail']}" for c in document["checks"]]
    text += [
        words.remedy_sentence(document),
        f"open {done.folder / 'dossier.html'}   check: jurat verify {done.folder}",
    ]
    return "\n".join(text)


def _cells(found: Mapping[str, Any] | None, clause: Mapping[str, Any], section: str) -> list[str]:
    from jurat.launch import words

    if found is None or found["value"] is None:
        return ["–", "–", "–" if found is None else f"{found['n']:,}"]
    difference = section != "line"
    value = (
        words.signed_amount(found["value"], clause["shape"])
        if difference
        else words.amount(found["value"], clause["shape"])
    )
    unit = " pt" if difference and clause["shape"] == "share" else ""
    return [value + unit, words.interval_text(found, clause["shape"], difference=difference), f"{found['n']:,}"]


def _bar_text(clause: Mapping[str, Any], bound: float, section: str) -> str:
    from jurat.launch import words

    sign = ">" if clause["direction"] == "greater" else "<"
    written = words.amount(bound, clause["shape"]) if section == "line" else words.signed_amount(bound, clause["shape"])
    return f"{sign} {written}"


def check(bar: Path, *, json: bool = False) -> int:
    """Read a bar, check it against its metrics, and say what it demands.

    Parameters
    ----------
    bar
        The launch bar (TOML).
    json
        Print the clauses as JSON.
    """
    from jurat.launch.bar import load_bar
    from jurat.launch.freeze import bar_catalog, load_freeze

    loaded = load_bar(bar)
    clauses = loaded.clauses(bar_catalog(loaded))
    frozen = load_freeze(loaded)
    state = f"frozen {frozen.time} by key {frozen.keyid[:16]}" if frozen else "not frozen"
    rows = [
        [
            c.name,
            c.metric,
            c.arm or "candidate − baseline",
            c.comparison,
            f"{'>' if c.direction == 'greater' else '<'} {c.threshold:g}",
            f"{c.minimum_n:,}",
        ]
        for c in clauses
    ]
    text = "\n".join(
        [
            f"{loaded.document.title}: {loaded.document.question}",
            f"bar {loaded.sha256[:16]}, {state}; level {loaded.document.plan.level:g}; all of these must clear:",
            table(["clause", "metric", "on", "test", "bar", "min n"], rows, left=4),
        ]
    )
    document = {
        "sha256": loaded.sha256,
        "frozen": None if frozen is None else {"time": frozen.time, "keyid": frozen.keyid},
        "clauses": [
            {
                "name": c.name,
                "role": c.role,
                "metric": c.metric,
                "arm": c.arm,
                "comparison": c.comparison,
                "direction": c.direction,
                "threshold": c.threshold,
                "minimum_n": c.minimum_n,
            }
            for c in clauses
        ],
    }
    emit(text, document, as_json=json)
    return 0


def freeze(bar: Path, *, again: bool = False, json: bool = False) -> int:
    """Sign a bar, its metrics and its source mapping, before the data are seen.

    Parameters
    ----------
    bar
        The launch bar (TOML); the signed statement is written beside it.
    again
        Freeze an edited bar anew; the statement names the one it replaces.
    json
        Print the freeze as JSON.
    """
    from jurat.evidence.keys import load_or_create_key
    from jurat.launch.bar import load_bar
    from jurat.launch.freeze import freeze_bar, freeze_path

    loaded = load_bar(bar)
    done = freeze_bar(loaded, load_or_create_key(), again=again)
    path = freeze_path(bar)
    document = {"time": done.time, "keyid": done.keyid, "bar_sha256": loaded.sha256, "statement": str(path)}
    emit(
        f"frozen {done.time}: {path}\nfrom now on an edited bar is refused; data collected from now on are prospective",
        document,
        as_json=json,
    )
    return 0


def waive(
    bar: Path,
    *,
    clause: str,
    owner: str,
    scope: str,
    expires: date,
    rationale: str,
    out: Path,
    json: bool = False,
) -> int:
    """Sign a waiver for one clause of a bar. Hard lines cannot be waived.

    Parameters
    ----------
    bar
        The launch bar (TOML).
    clause
        Name of the clause, as `jurat bar check` prints it.
    owner
        Who answers for it.
    scope
        What it covers: a release, a region, a share of traffic.
    expires
        Last day it holds, ISO 8601.
    rationale
        Why it is right to go on.
    out
        File to write.
    json
        Print the waiver as JSON.
    """
    from jurat.evidence.keys import load_or_create_key
    from jurat.launch.bar import load_bar
    from jurat.launch.freeze import bar_catalog
    from jurat.launch.waiver import sign_waiver

    loaded = load_bar(bar)
    signed = sign_waiver(
        loaded,
        loaded.clauses(bar_catalog(loaded)),
        load_or_create_key(),
        clause=clause,
        owner=owner,
        scope=scope,
        expires=expires,
        rationale=rationale,
        out=out,
    )
    note(f"pass it to a review with --waiver {out}")
    emit(f"waived until {signed.expires}: {clause} ({owner}), written to {out}", signed.to_json(), as_json=json)
    return 0
