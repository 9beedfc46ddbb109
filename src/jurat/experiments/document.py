"""The result of an analysis as one JSON document: what the report, the command line and a launch bar all read.

Page and machine-readable answer are made from this document and nothing else, so they cannot disagree.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from jurat import __version__
from jurat.evidence.estimate import InputFile
from jurat.evidence.recompute import environment
from jurat.experiments import words
from jurat.experiments.analyse import Analysis
from jurat.experiments.judgement import Judged
from jurat.experiments.monitor import Monitoring
from jurat.experiments.registration import standing
from jurat.experiments.simpson import SimpsonScan
from jurat.stats.result import Interval

__all__ = ["FORMAT", "analysis_document"]

FORMAT = "urn:jurat:experiment-result:1"


def analysis_document(
    analysis: Analysis,
    *,
    inputs: tuple[InputFile, ...],
    snapshot: str | None,
    engine: tuple[str, str],
    started: str,
    monitoring: Monitoring | None = None,
) -> dict[str, Any]:
    """Lay an analysis out as plain JSON types.

    Parameters
    ----------
    analysis
        From `jurat.experiments.analyse.analyse`.
    inputs, snapshot
        What it was computed from.
    engine
        Name and version of the query engine.
    started
        UTC time it began, ISO 8601.
    monitoring
        All looks, where the spec allows them.

    Returns
    -------
    dict
        Nothing in it is NaN, and no estimate stands without interval, n and method.
    """
    e = analysis.experiment
    d = e.document
    status, why = standing(analysis.lock, analysis.window.first)
    document: dict[str, Any] = {
        "format": FORMAT,
        "jurat": __version__,
        "id": d.id,
        "hypothesis": d.hypothesis,
        "owner": d.owner,
        "answer": analysis.answer,
        "verdicts": [plain(v) for v in analysis.verdicts],
        "standing": status,
        "standing_reason": why,
        "spec": {"file": e.path.name, "sha256": e.sha256},
        "lock": None if analysis.lock is None else dataclasses.asdict(analysis.lock),
        "control": d.assignment.control,
        "treatments": list(e.treatments),
        "unit": d.assignment.unit,
        "cluster": d.inference.cluster,
        "design": d.assignment.design,
        "method": d.inference.method,
        "level": e.level,
        "population": d.population.describe or d.population.where or "every row of the outcomes",
        "window": plain(analysis.window),
        "checks": [check.to_json() for check in analysis.checks],
        "metrics": {name: _metric(analysis, name) for name in d.metrics},
        "claims": [_claim(analysis, one) for one in analysis.judged],
        "effects": [_effect(analysis, i) for i in range(len(analysis.effects))],
        "simpson": [_simpson(scan) for scan in analysis.simpson],
        "drift": [plain(one) for one in analysis.drifts],
        "trade_off": [{"treatment": t, **plain(one)} for t, one in analysis.trade_offs],
        "curves": [
            {"treatment": t, "metric": m, "points": [{"q": q, **plain(i)} for q, i in curve.items()]}
            for t, m, curve in analysis.curves
        ],
        "ranks": [plain(one) for one in analysis.ranks],
        "sensitivity": [
            {"treatment": t, "metric": m, "rows": [{"label": label, **plain(i)} for label, i in rows]}
            for t, m, rows in analysis.sensitivities
        ],
        "looks": [] if monitoring is None else _looks(monitoring),
        "split": None if monitoring is None else [
            {"day": day, "p": p} for day, p in zip(monitoring.days, monitoring.split, strict=True)
        ],
        "not_measured": list(d.not_measured),
        "receipt": {
            "inputs": [dataclasses.asdict(i) for i in inputs],
            "snapshot": snapshot,
            "engine": engine[0],
            "engine_version": engine[1],
            "packages": environment(),
            "started": started,
            "seed": 0,
        },
    }  # fmt: skip
    document["not_shown"] = words.not_shown(document)
    document["recommendation"] = words.recommendation(document)
    document["plain"] = words.plain_words(document)
    return document


def plain(value: Any) -> Any:
    """Turn frozen results into plain JSON types; fields that are not shown are left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value) if f.repr}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, tuple | list) else value


def _metric(analysis: Analysis, name: str) -> dict[str, Any]:
    m = analysis.experiment.metric(name)
    return {
        "title": m.title or name.replace("_", " "),
        "kind": m.kind,
        "shape": "share" if m.kind == "proportion" else "number",
        "better": m.better,
        "role": m.role,
        "unit": m.unit,
        "value": m.value,
        "per": m.per,
        "q": m.q,
        "covariates": list(m.covariates),
    }


def _claim(analysis: Analysis, one: Judged) -> dict[str, Any]:
    effect = analysis.effect(one.claim.metric, one.treatment)
    return {
        "name": one.name,
        "role": one.claim.role,
        "metric": one.claim.metric,
        "treatment": one.treatment,
        "line": one.line,
        "test": "line" if one.line else one.claim.test,
        "margin": one.claim.margin.text,
        "scale": one.claim.margin.scale,
        "threshold": one.threshold,
        "rationale": one.claim.rationale,
        "outcome": one.outcome,
        "estimate": plain(one.shown),
        "against": plain(one.against),
        "once": plain(effect.effect),
        "levels": {arm: plain(i) for arm, i in effect.levels.items()},
        "p_value": one.p_value,
        "p_adjusted": one.p_adjusted,
        "clusters_to_decide": one.clusters_to_decide,
        "note": one.note,
    }


def _effect(analysis: Analysis, place: int) -> dict[str, Any]:
    effect = analysis.effects[place]
    return {
        "metric": effect.metric,
        "treatment": effect.treatment,
        "levels": {arm: plain(i) for arm, i in effect.levels.items()},
        "estimate": plain(effect.deciding),
        "once": plain(effect.effect),
        "unadjusted": plain(effect.unadjusted),
        "relative": plain(effect.relative),
        "variance_kept": effect.variance_kept,
        "p_exploratory": analysis.exploratory.get((effect.treatment, effect.metric)),
    }


def _simpson(scan: SimpsonScan) -> dict[str, Any]:
    found: dict[str, Any] = plain(scan)
    return found


def _looks(monitoring: Monitoring) -> list[dict[str, Any]]:
    def short(i: Interval) -> dict[str, Any]:
        return {"value": i.value, "low": i.low, "high": i.high, "n": i.n}

    return [
        {
            "claim": name,
            "treatment": treatment,
            "points": [
                {
                    "day": look.day, "clusters": look.clusters, "threshold": look.threshold, "outcome": look.outcome,
                    "always": short(look.always), "once": short(look.once),
                }
                for look in series
            ],
        }
        for name, treatment, series in monitoring.looks
    ]  # fmt: skip
