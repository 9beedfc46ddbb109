"""What an experiment swears to: each claim's number with its receipt, and how to compute it again.

The computation ``experiment_claim`` reads the spec that lies beside the evidence and the files its receipt names; whoever
distrusts the number runs it and compares. A launch bar reads these files like any other evidence.
"""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path
from typing import Any

from jurat.errors import DataError, IntegrityError
from jurat.evidence.estimate import Contrast, Estimate, Evidence, Receipt, Threshold
from jurat.evidence.recompute import environment
from jurat.experiments.analyse import Analysis, analyse
from jurat.experiments.data import ExperimentData, open_data, quoted
from jurat.experiments.judgement import Judged
from jurat.experiments.moments import population_sql
from jurat.experiments.spec import Experiment, load_spec

__all__ = ["COMPUTATION", "evidence_of", "experiment_claim"]

COMPUTATION = "experiment_claim"


def evidence_of(analysis: Analysis, data: ExperimentData, *, started: str, root: Path) -> list[Evidence]:
    """Evidence for every claim of an analysis.

    Parameters
    ----------
    analysis
        The analysis; where a check failed there is no evidence, for a number without its warning is none.
    data
        Its rows.
    started
        UTC time it began, ISO 8601.
    root
        Folder of the data, as it will stand in the receipts.
    """
    if not analysis.valid:
        return []
    first, last = _collected(analysis.experiment, data)
    clock = time.perf_counter()
    packages = environment()
    sworn = []
    for one in analysis.judged:
        for arm in _arms(analysis, one):
            sworn.append(
                Evidence(
                    estimate=_estimate(analysis, one, arm),
                    receipt=Receipt(
                        computation=COMPUTATION,
                        inputs=data.inputs,
                        snapshot=data.snapshot,
                        code_sha256=analysis.experiment.sha256,
                        parameters=_parameters(analysis.experiment, one, arm, root),
                        seed=None,
                        engine=data.engine.name,
                        engine_version=data.engine.version,
                        packages=packages,
                        started=started,
                        seconds=round(time.perf_counter() - clock, 6),
                    ),
                    collected_from=first,
                    collected_to=last,
                )
            )
    return sworn


def _arms(analysis: Analysis, one: Judged) -> list[str | None]:
    """A line speaks of one arm; a comparison of two, whose levels are sworn to beside it."""
    if one.line:
        return [one.treatment]
    return [None, analysis.experiment.document.assignment.control, one.treatment]


def _parameters(experiment: Experiment, one: Judged, arm: str | None, root: Path) -> dict[str, Any]:
    return {
        "spec": "experiment.toml",
        "data": str(root.resolve()),
        "claim": one.claim.name,
        "line": one.line,
        "arm": arm,
        "treatment": one.treatment,
        "role": one.claim.role,
        "better": experiment.metric(one.claim.metric).better,
    }


def _collected(experiment: Experiment, data: ExperimentData) -> tuple[str | None, str | None]:
    """First and last time of the outcomes; unknown where a row has none."""
    column = experiment.document.data.time
    if column is None:
        return None, None
    rows = population_sql(experiment, {"t__": quoted(column)})
    row = data.query(
        f"SELECT MIN(t__) AS first, MAX(t__) AS last, COUNT(*) - COUNT(t__) AS unknown FROM ({rows}) AS r"
    )[0]
    if row["first"] is None or row["unknown"]:
        return None, None
    return _utc(row["first"]), _utc(row["last"])


def _utc(value: Any) -> str:
    if isinstance(value, dt.datetime):
        moment = value if value.tzinfo is not None else value.replace(tzinfo=dt.UTC)
        return moment.astimezone(dt.UTC).isoformat()
    return str(value)


def _estimate(analysis: Analysis, one: Judged, arm: str | None) -> Estimate:
    experiment = analysis.experiment
    metric = experiment.metric(one.claim.metric)
    named = experiment.document.assignment.arm
    if arm is not None and not one.line:
        level = analysis.effect(one.claim.metric, one.treatment).levels[arm]
        cluster = experiment.document.inference.cluster
        return Estimate.from_interval(
            level, metric=one.claim.metric, unit=metric.unit, cluster=cluster, slice={named: arm}
        )
    greater = metric.better == "higher" and not one.line
    other = max(1 - one.p_value, 0.0)
    contrast = None
    if not one.line:
        contrast = Contrast(candidate=one.treatment, baseline=experiment.document.assignment.control)
    return Estimate.from_interval(
        one.shown,
        metric=one.claim.metric,
        unit=metric.unit,
        cluster=experiment.document.inference.cluster,
        slice={named: one.treatment} if one.line else {},
        contrast=contrast,
        threshold=Threshold(
            value=one.threshold,
            p_greater=one.p_value if greater else other,
            p_less=other if greater else one.p_value,
        ),
    )


def experiment_claim(receipt: Receipt, *, root: Path) -> Estimate:
    """Compute a claim's number again from its receipt.

    Parameters
    ----------
    receipt
        Of the computation ``experiment_claim``.
    root
        Folder that holds the spec's copy.

    Raises
    ------
    IntegrityError
        Where spec or data are not those of the receipt, or a check of the experiment now fails.
    DataError
        Where the claim is not in the spec.
    """
    p = receipt.parameters
    experiment = load_spec(root / str(p["spec"]))
    if experiment.sha256 != receipt.code_sha256:
        raise IntegrityError(
            "the spec is not the one the number was computed by",
            seen=f"SHA-256 {experiment.sha256[:16]}…; the receipt names {receipt.code_sha256[:16]}…",
            next_step="restore it from an untouched copy",
        )
    data = open_data(experiment, Path(str(p["data"])))
    try:
        if {(i.path, i.sha256) for i in data.inputs} != {(i.path, i.sha256) for i in receipt.inputs}:
            raise IntegrityError(
                "the data are not those the number was computed from",
                seen=f"{len(data.inputs)} files in {p['data']}",
                next_step="restore them from an untouched copy",
            )
        analysis = analyse(experiment, data, panels=False)
    finally:
        data.close()
    if not analysis.valid:
        raise IntegrityError(
            "a check of the experiment fails now", seen="the result is invalid", next_step="ask who changed the data"
        )
    for one in analysis.judged:
        if (one.claim.name, one.line, one.treatment) == (p["claim"], p["line"], p["treatment"]):
            return _estimate(analysis, one, None if p["arm"] is None else str(p["arm"]))
    raise DataError(
        "the spec has no such claim", seen=str(p["claim"]), next_step="give the folder the evidence lies in"
    )
