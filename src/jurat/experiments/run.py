"""A whole analysis from files to files: data opened, result computed, report and evidence written, ledger told."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jurat.errors import UsageError
from jurat.evidence.canonical import digest
from jurat.evidence.estimate import Evidence
from jurat.evidence.keys import home, load_or_create_key
from jurat.evidence.ledger import Ledger
from jurat.experiments.analyse import Analysis, analyse
from jurat.experiments.data import ExperimentData, open_data
from jurat.experiments.document import analysis_document
from jurat.experiments.evidence import evidence_of
from jurat.experiments.monitor import Monitoring, monitor
from jurat.experiments.report import render_report
from jurat.experiments.spec import Experiment, load_spec

__all__ = ["run_analysis", "run_monitoring"]


def run_analysis(
    spec: Path,
    *,
    folder: Path | None = None,
    out: Path | None = None,
    threads: int = 1,
    step: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Analyse an experiment and, where a folder is named, write everything down.

    Parameters
    ----------
    spec
        The TOML file.
    folder
        Folder of the data; the spec's own by default.
    out
        Folder to write: ``result.json``, ``report.html``, the spec, ``evidence/``; it must not exist yet. The look is
        entered into the home's ledger.
    threads
        Threads of the engine.
    step
        Told what is being done.

    Returns
    -------
    dict
        The result's JSON.

    Raises
    ------
    UsageError
        Where ``out`` exists.
    """
    if out is not None and out.exists():
        raise UsageError(
            "the output folder exists", seen=str(out), next_step="name another: an earlier look is not overwritten"
        )
    started = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
    experiment = load_spec(spec)
    data = open_data(experiment, folder, threads=threads)
    try:
        analysis = analyse(experiment, data, step=step)
        step("looks")
        looks = _looks(experiment, data)
        document = analysis_document(
            analysis,
            inputs=data.inputs,
            snapshot=data.snapshot,
            engine=(data.engine.name, data.engine.version),
            started=started,
            monitoring=looks,
        )
        if out is not None:
            step("report")
            root = folder if folder is not None else spec.parent
            _write(out, document, analysis, evidence_of(analysis, data, started=started, root=root))
    finally:
        data.close()
    return document


def _looks(experiment: Experiment, data: ExperimentData) -> Monitoring | None:
    """All looks, where the spec allows looking and the clusters stay in their arm."""
    i = experiment.document.inference
    if experiment.document.data.time is None or i.method != "confidence_sequence" or i.crossed is not None:
        return None
    from jurat.experiments.effects import spans_arms

    return None if spans_arms(experiment, data) else monitor(experiment, data)


def _write(out: Path, document: Mapping[str, Any], analysis: Analysis, evidence: list[Evidence]) -> None:
    """Write the folder beside its place and move it there whole; then the ledger hears of it."""
    experiment = analysis.experiment
    out.parent.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        shutil.copyfile(experiment.path, stage / "experiment.toml")
        _save(stage / "result.json", document)
        text = experiment.path.read_text(encoding="utf-8")
        (stage / "report.html").write_text(render_report(document, spec_text=text), encoding="utf-8")
        (stage / "evidence").mkdir()
        for one in evidence:
            _save(stage / "evidence" / f"{one.digest}.json", one.to_json())
        stage.chmod(0o755)
        stage.replace(out)
    except BaseException:
        shutil.rmtree(stage, ignore_errors=True)
        raise
    Ledger(home() / "ledger.jsonl", load_or_create_key()).append(
        "experiment.look",
        {
            "id": document["id"],
            "spec_sha256": experiment.sha256,
            "answer": document["answer"],
            "standing": document["standing"],
            "result": digest(document),
            "evidence": [one.digest for one in evidence],
        },
    )


def _save(path: Path, document: Any) -> None:
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def run_monitoring(
    spec: Path, *, folder: Path | None = None, state: Path | None = None
) -> tuple[Monitoring, dict[str, dict[str, Any]]]:
    """Take every look of an experiment.

    Parameters
    ----------
    spec, folder
        As in `run_analysis`.
    state
        Folder that remembers the clusters between looks.

    Returns
    -------
    tuple
        The looks, and for each claim how its metric is written (``title``, ``shape``).
    """
    experiment = load_spec(spec)
    data = open_data(experiment, folder)
    try:
        found = monitor(experiment, data, state=state)
    finally:
        data.close()
    shapes: dict[str, dict[str, Any]] = {}
    for claim in experiment.claims:
        definition = experiment.metric(claim.metric)
        written = {
            "title": definition.title or claim.metric,
            "shape": "share" if definition.kind == "proportion" else "number",
        }
        shapes[claim.name] = shapes[f"{claim.name}, hard line"] = written
    return found, shapes
