"""``jurat experiments …``: a change to its effect."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from jurat.cli.output import emit, note, save_page, table

if TYPE_CHECKING:
    from jurat.experiments.plan import Plan

__all__ = ["analyse", "lock", "monitor", "plan", "report", "size"]

EXIT = {"pass": 0, "fail": 3, "not enough evidence": 4, "invalid": 5}


def plan(spec: Path, *, out: Path | None = None, json: bool = False) -> int:
    """Say whether an experiment would answer its question, and what size would.

    Parameters
    ----------
    spec
        The experiment spec (TOML).
    out
        Write the power curves as a page.
    json
        Print the plan as JSON.
    """
    from jurat.experiments.document import plain
    from jurat.experiments.plan import plan_experiment
    from jurat.experiments.plan_page import render_plan
    from jurat.experiments.spec import load_spec

    experiment = load_spec(spec)
    found = plan_experiment(experiment)
    if out is not None:
        save_page(out, render_plan(experiment, found))
        note(f"power curves: {out}")
    emit(_plan_text(found), plain(found), as_json=json)
    return 0 if found.sufficient else EXIT["not enough evidence"]


def _plan_text(found: Plan) -> str:
    rows = [
        [
            c.name,
            "–" if c.power is None else f"{c.power:.2f}",
            f"{c.target:.2f}",
            "–" if c.clusters is None else f"{c.clusters:,}",
            "–" if c.rows is None else f"{c.rows:,}",
            "–" if c.minimum_detectable_effect is None else f"{c.minimum_detectable_effect:.4g}",
            "–" if c.days is None else f"{c.days:,.1f}",
        ]
        for c in found.claims
    ]
    header = ["claim", "power", "needed", "clusters needed", "rows", "detectable effect", "days"]
    lines = [f"planned: {found.planned_clusters:,} clusters", "", table(header, rows), ""]
    lines += [f"{c.name}: {c.reason or c.formula}" for c in found.claims]
    if found.sufficient:
        lines += ["", "value and risk have their power"]
    else:
        lines += ["", "not enough: " + "; ".join(found.shortfalls), f"to mend it: {found.remedy}"]
    return "\n".join(lines)


def size(
    p1: float,
    p2: float,
    *,
    margin: float | None = None,
    formula: Literal["pooled", "unpooled", "arcsine"] = "unpooled",
    level: float = 0.95,
    power: float = 0.8,
    guardrails: int = 0,
    annotator_accuracy: float = 1.0,
    agreed: int | None = None,
    agreed_of: int | None = None,
    icc: float = 0.0,
    cluster_size: float = 1.0,
    size_cv: float = 0.0,
    json: bool = False,
) -> int:
    """Sample size to tell two shares apart, or to show one not worse by a margin.

    Parameters
    ----------
    p1
        The share now.
    p2
        The share under the change; with a margin, what is taken for true.
    margin
        Plan for non-inferiority by this margin instead.
    formula
        Of two proportions; arcsine is refused below 1 %.
    level
        Two-sided confidence.
    power
        Of the whole, shared among the success metric and the guardrails.
    guardrails
        Non-inferiority claims that must clear too: the error of each is (1 − power) / (guardrails + 1).
    annotator_accuracy
        How often a label is right; differences shrink by 2a − 1.
    agreed
        In place of an accuracy: items on which two annotators agreed. The plan takes the lower bound of what that shows.
    agreed_of
        Items that both labelled.
    icc
        Intraclass correlation within a cluster.
    cluster_size
        Mean rows per cluster.
    size_cv
        Coefficient of variation of the cluster sizes.
    json
        Print as JSON.
    """
    import dataclasses
    import math

    from jurat.errors import UsageError
    from jurat.stats.design_effect import accuracy_from_agreement, design_effect, read_through_annotators
    from jurat.stats.interval import proportion
    from jurat.stats.power import non_inferiority_size, two_proportions_size

    if guardrails < 0:
        raise UsageError("guardrails are counted from 0", seen=str(guardrails), next_step="say how many there are")
    if (agreed is None) != (agreed_of is None) or (agreed is not None and annotator_accuracy != 1.0):
        raise UsageError(
            "annotators are told by their accuracy, or by --agreed and --agreed-of together",
            seen=f"agreed={agreed}, agreed_of={agreed_of}, annotator_accuracy={annotator_accuracy:g}",
            next_step="pass the items they agreed on and the items both labelled",
        )
    share = 1 - (1 - power) / (guardrails + 1)
    told = f"; labels right {100 * annotator_accuracy:g} % of the time" if annotator_accuracy < 1 else ""
    try:
        if agreed is not None and agreed_of is not None:
            known = accuracy_from_agreement(proportion(agreed, agreed_of))
            if known.value is None or known.low is None or known.high is None:
                raise ValueError(known.reason)
            annotator_accuracy = known.low
            told = (
                f"; agreement {agreed:,} of {agreed_of:,} means labels right {100 * known.value:.1f} % of the time "
                f"[{100 * known.low:.1f}, {100 * known.high:.1f}]: planned with {100 * known.low:.1f} %"
            )
        seen = [read_through_annotators(p, annotator_accuracy) for p in (p1, p2)]
        if margin is None:
            found = two_proportions_size(seen[0], seen[1], level=level, power=share, formula=formula)
        else:
            kept = margin * (2 * annotator_accuracy - 1)
            found = non_inferiority_size(seen[0], seen[1], kept, level=level, power=share)
        effect = design_effect(cluster_size, icc, size_cv=size_cv)
    except ValueError as error:
        raise UsageError("no such plan", seen=str(error), next_step="see jurat experiments size --help") from error
    assert found.exact is not None  # noqa: S101 - a formula gives a number
    rows = math.ceil(found.exact * effect)
    clusters = math.ceil(found.exact * effect / cluster_size)
    document = {
        **dataclasses.asdict(found),
        "design_effect": effect,
        "power_each": share,
        "rows_per_arm": rows,
        "clusters_per_arm": clusters,
    }
    text = (
        f"{rows:,} rows per arm"
        + (f" in {clusters:,} clusters" if cluster_size > 1 else "")
        + f"\n{found.formula}, exact {found.exact:,.4f} before design effect {effect:.4g}; power {share:.4g} each"
        + told
    )
    emit(text, document, as_json=json)
    return 0


def lock(spec: Path, *, again: bool = False, underpowered: str | None = None, json: bool = False) -> int:
    """Register a spec before its data are seen: signed, and entered into the ledger.

    Parameters
    ----------
    spec
        The experiment spec (TOML).
    again
        Lock an edited spec as a new version.
    underpowered
        Why a plan without enough power is locked all the same.
    json
        Print the lock as JSON.
    """
    from jurat.evidence.keys import load_or_create_key
    from jurat.experiments.document import plain
    from jurat.experiments.registration import lock_path, lock_spec
    from jurat.experiments.spec import load_spec

    experiment = load_spec(spec)
    held, _ = lock_spec(experiment, load_or_create_key(), again=again, underpowered=underpowered)
    text = (
        f"locked {experiment.document.id}, version {held.version}, {held.time}\n"
        f"spec {held.spec_sha256}\nsigned by {held.keyid[:16]}…, kept in {lock_path(spec)}"
    )
    emit(text, plain(held), as_json=json)
    return 0


def analyse(
    spec: Path,
    *,
    data: Path | None = None,
    out: Path | None = None,
    threads: int = 1,
    json: bool = False,
) -> int:
    """Check the data, estimate the effects, hold them against the spec, and say what follows.

    Parameters
    ----------
    spec
        The experiment spec (TOML).
    data
        Folder of the data (or root of a lake); the spec's folder by default.
    out
        Folder for the report, the JSON and the evidence; it must not exist yet.
    threads
        Threads of the engine; with more than one, sums are not the same bits on every run.
    json
        Print the whole result as JSON.
    """
    from jurat.experiments.run import run_analysis

    document = run_analysis(spec, folder=data, out=out, threads=threads, step=_step)
    _clear()
    emit(_analysis_text(document, out), document, as_json=json)
    return EXIT[document["answer"]]


def _step(text: str) -> None:
    import sys

    if sys.stderr.isatty():
        print(f"\r{text:<60}", end="", file=sys.stderr, flush=True)


def _clear() -> None:
    import sys

    if sys.stderr.isatty():
        print("\r" + " " * 60 + "\r", end="", file=sys.stderr, flush=True)


def _analysis_text(document: dict[str, Any], out: Path | None) -> str:
    from jurat.experiments import words

    lines = [f"{document['id']}: {document['answer'].upper()} ({document['standing']})"]
    lines += [f"{document['standing']}: {document['standing_reason']}", "", document["recommendation"], ""]
    marks = {"passed": "● holds", "failed": "■ fails", "not assessed": "▲ not assessed"}
    lines += [f"{marks[c['status']]}  {c['name'].replace('_', ' ')}: {c['detail']}" for c in document["checks"]]
    lines.append("")
    if document["answer"] == "invalid":
        lines.append("A check failed: the numbers below show what the data hold, not what the treatment did.")
    states = {"clears": "●", "violated": "■", "undecided": "▲", "barred": "▲"}
    for claim in document["claims"]:
        arm = f" [{claim['treatment']}]" if len(document["treatments"]) > 1 else ""
        lines.append(f"{states[claim['outcome']]} {claim['name']}{arm}: {words.claim_sentence(claim, document)}")
    if out is not None:
        lines += ["", f"report: {out / 'report.html'}"]
    return "\n".join(lines)


def monitor(spec: Path, *, data: Path | None = None, state: Path | None = None, json: bool = False) -> int:
    """Take every look so far; with a state folder, read only the days that are new.

    Parameters
    ----------
    spec
        The experiment spec (TOML), with a confidence sequence and a time column.
    data
        Folder of the data; the spec's folder by default.
    state
        Folder that remembers the clusters between looks.
    json
        Print the looks as JSON.
    """
    from jurat.experiments.document import plain
    from jurat.experiments.run import run_monitoring
    from jurat.experiments.words import difference_text, level_text

    found, titles = run_monitoring(spec, folder=data, state=state)
    rows = []
    for name, treatment, series in found.looks:
        last, metric = series[-1], titles[name]
        line = name.endswith("hard line")
        shown = (level_text if line else difference_text)(plain(last.always), metric["shape"])
        first = next((look.day for look in series if look.outcome == last.outcome), last.day)
        since = f"{last.outcome} since {first}" if last.outcome != "undecided" else "undecided"
        rows.append([name, treatment, shown, f"{last.always.n:,}", since])
    text = [f"{len(found.days)} looks, {found.days[0]} to {found.days[-1]}; {len(found.new)} new"]
    text += ["", table(["claim", "treatment", "at all looks", "n", "outcome"], rows, left=3), ""]
    text.append(found.stop or "go on: nothing may stop the experiment yet")
    document = {
        "days": list(found.days),
        "new": list(found.new),
        "looks": [{"claim": n, "treatment": t, "points": plain(s)} for n, t, s in found.looks],
        "split": list(found.split),
        "stop": found.stop,
    }
    emit("\n".join(text), document, as_json=json)
    return 0


def report(result: Path, *, out: Annotated[Path, Parameter(alias="-o")], json: bool = False) -> int:
    """Render the report of a result again.

    Parameters
    ----------
    result
        ``result.json``, or the folder that holds it.
    out
        HTML file to write.
    json
        Print where it lies as JSON.
    """
    from jinja2 import UndefinedError

    from jurat.errors import DataError
    from jurat.experiments.document import FORMAT
    from jurat.experiments.report import render_report

    path = result / "result.json" if result.is_dir() else result
    try:
        document = json_module.loads(path.read_text(encoding="utf-8"))
        known = isinstance(document, dict) and document.get("format") == FORMAT
    except (OSError, ValueError) as error:
        raise DataError(
            "the result cannot be read", seen=f"{path}: {error}", next_step="give a folder of experiments analyse"
        ) from error
    if not known:
        raise DataError(
            "this is no result of an experiment", seen=str(path), next_step="give a folder of experiments analyse"
        )
    spec = path.parent / "experiment.toml"
    text = spec.read_text(encoding="utf-8") if spec.is_file() else ""
    try:
        page = render_report(document, spec_text=text)
    except (LookupError, TypeError, ValueError, UndefinedError) as error:
        raise DataError(
            "the result is not whole",
            seen=f"{path}: {type(error).__name__}: {error}",
            next_step="restore it, or analyse the experiment again",
        ) from error
    save_page(out, page)
    emit(str(out), {"report": str(out)}, as_json=json)
    return 0
