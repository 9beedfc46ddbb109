"""A bar over an experiment: it reads the evidence that the analysis swore to, and nothing behind it.

The bar names the experiment's spec; freezing the bar freezes the spec with it. A review takes the folder that
``jurat experiments analyse --out`` wrote: its evidence becomes the clauses' evidence, its checks the bar's. Verification
computes each number again from the spec and the data its receipt names.
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jurat.errors import DataError, SpecError
from jurat.evidence.canonical import file_sha256
from jurat.evidence.estimate import Evidence
from jurat.evidence.validity import CheckResult
from jurat.launch.bar import Bar, Clause
from jurat.metrics.loader import Metric

__all__ = [
    "SPEC_COPIES",
    "experiment_catalog",
    "experiment_checks",
    "experiment_evidence",
    "relocated",
    "result_catalog",
    "result_kind",
    "spec_path",
]


SPEC_COPIES = {"experiment": "experiment.toml", "corpus": "specification.toml"}
"""What a result's folder calls the spec it was made by, for each kind of result that a bar can read."""


def result_kind(bar: Bar) -> str | None:
    """Which kind of result a bar reads: ``experiment``, ``corpus``, or ``None`` where it measures for itself."""
    data = bar.document.data
    return "experiment" if data.experiment is not None else "corpus" if data.corpus is not None else None


def spec_path(bar: Bar) -> Path:
    """The spec of the experiment or of the data that a bar names."""
    name = bar.document.data.experiment or bar.document.data.corpus
    assert name is not None  # noqa: S101 - callers asked
    return bar.folder / name


def result_catalog(bar: Bar, path: Path) -> dict[str, Metric]:
    """Definitions of the metrics that a result can hold.

    Parameters
    ----------
    bar
        The bar.
    path
        The spec, or its copy in a review.
    """
    return experiment_catalog(path) if result_kind(bar) == "experiment" else _corpus_catalog(bar, path)


def _corpus_catalog(bar: Bar, path: Path) -> dict[str, Metric]:
    """A data specification's metrics: shares of documents, items and planted controls, whatever the bar names of them."""
    try:
        text = path.read_text(encoding="utf-8")
        document = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SpecError(
            "the bar's data specification cannot be read",
            seen=f"{path}: {type(error).__name__}: {error}",
            next_step="mend data.corpus, or the specification itself",
        ) from error
    known = {"admitted_share", "rejected_share", "quarantined_share", "duplicate_recall", "benchmark_recall"}
    known |= {name for name in bar.metric_names() if name.startswith("touched_items.")}
    definition = {"kind": "proportion", "role": "guardrail", "unit": "document"}
    return {
        name: _metric(
            name, definition, "none", text, {**document, "hypothesis": document.get("question", "")}, file_sha256(path)
        )
        for name in sorted(known)
    }


def experiment_catalog(path: Path) -> dict[str, Metric]:
    """Definitions of an experiment's metrics, as far as a bar needs them.

    Parameters
    ----------
    path
        The spec.

    Raises
    ------
    SpecError
        Where the spec is missing or is not one.
    """
    try:
        text = path.read_text(encoding="utf-8")
        document = tomllib.loads(text)
        cluster, metrics = document["inference"]["cluster"], document["metrics"]
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise SpecError(
            "the bar's experiment spec cannot be read",
            seen=f"{path}: {type(error).__name__}: {error}",
            next_step="mend data.experiment, or the spec itself (jurat experiments plan SPEC)",
        ) from error
    return {name: _metric(name, d, cluster, text, document, file_sha256(path)) for name, d in metrics.items()}


def _metric(
    name: str, d: Mapping[str, Any], cluster: str, text: str, document: Mapping[str, Any], sha256: str
) -> Metric:
    return Metric(
        name=name,
        title=d.get("title") or name.replace("_", " "),
        question=str(document.get("hypothesis", "")),
        kind=str(d.get("kind", "mean")),
        better=str(d.get("better", "neither")),
        role=str(d.get("role", "guardrail")),
        unit=str(d.get("unit", "row")),
        cluster=cluster,
        owner=str(document.get("owner", "")),
        source=str(document.get("id", "")),
        slices=(),
        needs={},
        sql=str(d.get("value", "")),
        text=text,
        # The whole spec decides what the number is: population, cluster, covariates, stopping.
        sha256=sha256,
        parameters={},
    )


def _result(folder: Path) -> dict[str, Any]:
    path = folder / "result.json"
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            "this is not the folder of a result",
            seen=f"{path}: {error}",
            next_step="give the folder that jurat experiments analyse or jurat corpus gate wrote",
        ) from error
    return document


def experiment_evidence(
    bar: Bar, clauses: Sequence[Clause], folder: Path
) -> tuple[dict[str, Evidence], dict[str, tuple[Evidence, ...]]]:
    """Find each clause's evidence in a result's folder.

    Parameters
    ----------
    bar, clauses
        The bar and what it demands.
    folder
        What the analysis wrote.

    Returns
    -------
    tuple
        Evidence by clause, and the levels of the arms by clause.

    Raises
    ------
    DataError
        Where the folder is no result, or the result of another spec.
    """
    copy = folder / SPEC_COPIES[result_kind(bar) or "experiment"]
    if not copy.is_file() or file_sha256(spec_path(bar)) != file_sha256(copy):
        raise DataError(
            "the result is of another version of the spec",
            seen=f"{copy} is not {spec_path(bar)}",
            next_step="make the result again by the spec that the bar names",
        )
    every = [_load(path) for path in sorted((folder / "evidence").glob("*.json"))]
    arms = bar.document.arms
    found: dict[str, Evidence] = {}
    levels: dict[str, tuple[Evidence, ...]] = {}
    for clause in clauses:
        mine = [e for e in every if e.estimate.metric == clause.metric]
        if clause.arm is not None:
            fitting = [e for e in mine if e.receipt.parameters["line"] and e.receipt.parameters["arm"] == clause.arm]
        else:
            fitting = [e for e in mine if _compares(e, arms.candidate, arms.baseline)]
            levels[clause.name] = _levels(mine, (arms.baseline, arms.candidate))
        if fitting:
            # A metric may stand in two claims with two margins: the one that was held against this number.
            exact = [e for e in fitting if e.estimate.threshold and e.estimate.threshold.value == clause.threshold]
            found[clause.name] = (exact or fitting)[0]
    return found, levels


def _load(path: Path) -> Evidence:
    evidence = Evidence.from_json(json.loads(path.read_text(encoding="utf-8")))
    if evidence.digest != path.stem:
        raise DataError(
            f"the evidence {path.name} was altered",
            seen=f"its content has digest {evidence.digest[:16]}…",
            next_step="analyse the experiment again",
        )
    return evidence


def _compares(evidence: Evidence, candidate: str, baseline: str) -> bool:
    contrast = evidence.estimate.contrast
    return contrast is not None and (contrast.candidate, contrast.baseline) == (candidate, baseline)


def _levels(evidence: Sequence[Evidence], arms: tuple[str, str]) -> tuple[Evidence, ...]:
    found = []
    for arm in arms:
        for one in evidence:
            if not one.receipt.parameters["line"] and one.receipt.parameters["arm"] == arm:
                found.append(one)
                break
    return tuple(found)


def experiment_checks(folder: Path) -> list[CheckResult]:
    """The experiment's validity checks as the bar's; one that could not be made does not hold.

    Parameters
    ----------
    folder
        What the analysis wrote.
    """
    return [
        CheckResult(
            name=str(c["name"]).replace("_", " "),
            passed=c["status"] == "passed",
            detail=str(c["detail"]) if c["status"] != "not assessed" else f"not assessed: {c['detail']}",
            n=int(c["n"]),
            method=str(c["method"]),
            p_value=c["p_value"],
        )
        for c in _result(folder)["checks"]
    ]


def relocated(evidence: Evidence, data: Path) -> Evidence:
    """The same evidence with the place where its data are now."""
    parameters = {**evidence.receipt.parameters, "data": str(data)}
    return dataclasses.replace(evidence, receipt=dataclasses.replace(evidence.receipt, parameters=parameters))
