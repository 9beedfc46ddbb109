"""The verdict as JSON: what machines read, what the dossier is drawn from, what the ledger signs.

Keys are part of the contract and documented in ``docs/reference/verdict.md``. Every number stands with its interval, n,
method and the digest of the evidence file that holds its receipt.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from jurat.evidence.estimate import Evidence
from jurat.launch.bar import Bar
from jurat.launch.verdict import ClauseResult, Verdict
from jurat.launch.waiver import Waiver
from jurat.metrics.loader import Metric

__all__ = ["SCHEMA", "evidence_document", "verdict_document"]

SCHEMA = "jurat.verdict/1"


def verdict_document(
    bar: Bar,
    verdict: Verdict,
    catalog: Mapping[str, Metric],
    *,
    receipt: Mapping[str, Any],
    data: Mapping[str, Any],
    waivers: Sequence[Waiver] = (),
    silver: Sequence[Mapping[str, Any]] = (),
    sensitivity: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Lay out a verdict as plain JSON types.

    Parameters
    ----------
    bar, verdict, catalog
        The bar, what became of it, and the definitions of its metrics.
    receipt
        What the whole review rests on: snapshot, input files, packages, signing key.
    data
        Where the data are and when they were collected.
    waivers
        All waivers that were handed in, in force or not.
    silver, sensitivity
        Rows shown beside the verdict that decide nothing.
    """
    d = bar.document
    by_name = {r.clause.name: _clause(r, catalog) for r in verdict.clauses}
    return {
        "schema": SCHEMA,
        "verdict": verdict.verdict,
        "reasons": list(verdict.reasons),
        "title": d.title,
        "question": d.question,
        "owner": d.owner,
        "decided": verdict.decided,
        "retrospective": verdict.retrospective,
        "retrospective_reason": _why_retrospective(verdict, data) if verdict.retrospective else None,
        "arms": d.arms.model_dump(mode="json"),
        "plan": d.plan.model_dump(mode="json"),
        "pairs": [
            {"name": p.name, "value": by_name[f"{p.name} / value"], "risk": by_name[f"{p.name} / risk"]} for p in d.pair
        ],
        "guardrails": [by_name[g.name] for g in d.guardrail],
        "lines": [by_name[line.name] for line in d.line],
        "checks": [c.to_json() for c in verdict.checks],
        "waivers": [_waiver(w, verdict, bar) for w in waivers],
        "not_measured": list(d.not_measured),
        "silver": list(silver),
        "sensitivity": list(sensitivity),
        "bar": _bar(bar, verdict),
        "data": dict(data),
        "receipt": dict(receipt),
    }


def _bar(bar: Bar, verdict: Verdict) -> dict[str, Any]:
    freeze, monitor = verdict.freeze, bar.document.monitor
    return {
        "file": "bar.toml",
        "sha256": bar.sha256,
        "evidence": bar.document.evidence,
        "freeze": None
        if freeze is None
        else {"time": freeze.time, "keyid": freeze.keyid, "statement_sha256": freeze.statement_sha256},
        "monitor": None if monitor is None else monitor.model_dump(mode="json"),
    }


def _why_retrospective(verdict: Verdict, data: Mapping[str, Any]) -> str:
    if verdict.freeze is None:
        return (
            "The bar was never frozen, so it could have been written after a look at these data. Freeze it before "
            "collecting the next ones (jurat bar freeze)."
        )
    frozen = verdict.freeze.time[:16].replace("T", " ")
    if data["collected_from"] is None:
        return f"The data do not say when they were collected; they count as older than the freeze ({frozen} UTC)."
    began = data["collected_from"][:16].replace("T", " ")
    return (
        f"The data begin {began} UTC, before the bar was frozen ({frozen} UTC): the bar could have been fitted to them."
    )


def evidence_document(evidence: Evidence, *, arm: str | None = None) -> dict[str, Any]:
    """Lay out one number as it stands in a verdict: estimate fields and the digest of its evidence."""
    e = evidence.estimate
    document: dict[str, Any] = {
        "value": e.value,
        "low": e.low,
        "high": e.high,
        "level": e.level,
        "n": e.n,
        "n_clusters": e.n_clusters,
        "method": e.method,
        "unit": e.unit,
        "cluster": e.cluster,
        "reason": e.reason,
        "evidence": evidence.digest,
    }
    if arm is not None:
        document = {"arm": arm, **document}
    if e.contrast is not None:
        document["paired"] = e.contrast.paired
    return document


def _clause(result: ClauseResult, catalog: Mapping[str, Metric]) -> dict[str, Any]:
    clause, metric = result.clause, catalog[result.clause.metric]
    common: dict[str, Any] = {
        "name": clause.name,
        "metric": clause.metric,
        "title": metric.title,
        "shape": "share" if metric.kind == "proportion" else "number",
        "scale": "%" if metric.kind == "proportion" else metric.scale,
        "unit": metric.unit,
        "better": metric.better,
        "direction": clause.direction,
        "outcome": result.outcome,
        "reason": result.reason,
        "p_clears": result.p_clears,
        "p_violated": result.p_violated,
        "where": dict(clause.where),
        "rationale": clause.rationale,
        "more": None
        if result.more is None
        else {
            "n": result.more.n,
            "n_clusters": result.more.n_clusters,
            "reason": result.more.reason,
            "formula": result.more.formula,
        },
    }
    if clause.arm is not None:
        estimate = None if result.evidence is None else evidence_document(result.evidence, arm=clause.arm)
        return {
            **common,
            "arm": clause.arm,
            "bound": clause.comparison,
            "limit": clause.threshold,
            "estimate": estimate,
        }
    return {
        **common,
        "requirement": {"comparison": clause.comparison, "margin": clause.threshold, "minimum_n": clause.minimum_n},
        "comparison": None if result.evidence is None else evidence_document(result.evidence),
        "arms": [evidence_document(a, arm=_arm_of(a)) for a in result.arms],
    }


def _arm_of(evidence: Evidence) -> str:
    """The one arm a level speaks of."""
    return str(evidence.receipt.parameters["arm"])


def _waiver(waiver: Waiver, verdict: Verdict, bar: Bar) -> dict[str, Any]:
    used = next((r for r in verdict.clauses if r.waiver is waiver), None)
    clause = next((r.clause for r in verdict.clauses if r.clause.name == waiver.clause), None)
    now = dt.datetime.fromisoformat(verdict.decided)
    void = (
        f"the bar has no clause {waiver.clause!r}"
        if clause is None
        else waiver.why_void(clause, bar_sha256=bar.sha256, now=now)
    )
    return {
        **waiver.to_json(),
        "keyid": waiver.keyid,
        "in_force": used is not None,
        "void_reason": void or (None if used else "The clause it names needs none."),
    }
