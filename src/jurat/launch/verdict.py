"""From evidence to a decision: pass, fail, not enough evidence, or invalid.

The gate is an intersection–union test (Berger, 1982): a release passes only if every clause clears, each at the bar's
level, and no correction is needed because all must hold. It *fails* if a clause is shown to be violated; because any
one of many could be, these claims are corrected by Holm (1979). Everything between is *not enough evidence*, with the
sample size that would decide. A failed validity check makes the whole answer *invalid*.

Decisions use the bounds of intervals, never point estimates. Missing, provisional, stale or (where the bar demands
prospective evidence) retrospective evidence never clears a clause and never violates one.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jurat.evidence.estimate import Estimate, Evidence
from jurat.evidence.validity import CheckResult
from jurat.launch.bar import Bar, Clause
from jurat.launch.waiver import Waiver
from jurat.stats.multiplicity import holm
from jurat.stats.power import SampleSize, units_to_decide
from jurat.stats.result import Interval

__all__ = ["EXIT_CODES", "ClauseResult", "Freeze", "Verdict", "decide"]

EXIT_CODES = {"pass": 0, "fail": 3, "not_enough_evidence": 4, "invalid": 5}


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze:
    """When the bar was frozen and by whose key, as its signed statement says."""

    time: str
    keyid: str
    statement_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClauseResult:
    """What became of one clause.

    Attributes
    ----------
    clause
        The demand.
    outcome
        ``"clears"``, ``"violated"``, ``"undecided"``, ``"inadmissible"`` or ``"waived"``.
    reason
        Why, in one sentence.
    evidence
        The evidence held against the clause; ``None`` where there is none.
    arms
        Level of the metric on each arm, baseline first.
    p_clears, p_violated
        One-sided p-values against the threshold; the latter after Holm's correction.
    more
        Sample size that would decide an undecided clause.
    waiver
        The signed waiver that sets the clause aside.
    """

    clause: Clause
    outcome: str
    reason: str
    evidence: Evidence | None
    arms: tuple[Evidence, ...] = ()
    p_clears: float | None = None
    p_violated: float | None = None
    more: SampleSize | None = None
    waiver: Waiver | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The answer of a bar to a body of evidence.

    Attributes
    ----------
    verdict
        ``"pass"``, ``"fail"``, ``"not_enough_evidence"`` or ``"invalid"``.
    reasons
        Why, the decisive clauses first.
    clauses
        Every clause with its outcome, in the bar's order.
    checks
        Every validity check.
    freeze
        The bar's freeze; ``None`` where it was never frozen.
    retrospective
        Whether the data, or part of them, were collected before the freeze or cannot show otherwise.
    decided
        UTC time of the decision, ISO 8601.
    """

    verdict: str
    reasons: tuple[str, ...]
    clauses: tuple[ClauseResult, ...]
    checks: tuple[CheckResult, ...]
    freeze: Freeze | None
    retrospective: bool
    decided: str

    @property
    def exit_code(self) -> int:
        """Exit code of the command line: 0 pass, 3 fail, 4 not enough evidence, 5 invalid."""
        return EXIT_CODES[self.verdict]


def decide(
    bar: Bar,
    clauses: Sequence[Clause],
    *,
    evidence: Mapping[str, Evidence],
    arms: Mapping[str, tuple[Evidence, ...]],
    checks: Sequence[CheckResult] = (),
    freeze: Freeze | None,
    waivers: Sequence[Waiver] = (),
    now: dt.datetime,
) -> Verdict:
    """Hold a bar against evidence. A pure function: the same inputs give the same verdict.

    Parameters
    ----------
    bar, clauses
        The bar and its clauses (`Bar.clauses`).
    evidence
        Evidence by clause name: for a comparison the contrast of the two arms, for a hard line the level of one. Its
        estimate must carry the clause's threshold with one-sided p-values.
    arms
        Levels of each arm by clause name, shown beside the comparison.
    checks
        Results of the validity checks.
    freeze
        When the bar was frozen; ``None`` if never.
    waivers
        Waivers whose signatures were verified.
    now
        Time of the decision, with its zone.

    References
    ----------
    Berger, R. L. (1982). Multiparameter hypothesis testing and acceptance sampling. Technometrics 24, 295–300.
    Holm, S. (1979). A simple sequentially rejective multiple test procedure. Scand. J. Statistics 6, 65–70.
    """
    retrospective = any(_is_retrospective(e, freeze) for e in evidence.values()) or not evidence
    inadmissible = {c.name: _why_inadmissible(c, evidence.get(c.name), bar, freeze, now) for c in clauses}
    if any(not check.passed for check in checks):
        void = "no comparison was made, because a validity check failed"
        inadmissible |= {c.name: void for c in clauses if evidence.get(c.name) is None}
    violation = _holm_violations(clauses, evidence, inadmissible)
    results = [_judge(c, evidence.get(c.name), bar, inadmissible[c.name], violation.get(c.name)) for c in clauses]
    results = [_attach(r, arms.get(r.clause.name, ()), waivers, bar, now) for r in results]
    answer, reasons = _combine(results, checks)
    return Verdict(
        verdict=answer,
        reasons=tuple(reasons),
        clauses=tuple(results),
        checks=tuple(checks),
        freeze=freeze,
        retrospective=retrospective,
        decided=now.astimezone(dt.UTC).isoformat(timespec="seconds"),
    )


def _is_retrospective(evidence: Evidence, freeze: Freeze | None) -> bool:
    if freeze is None or evidence.collected_from is None:
        return True
    return dt.datetime.fromisoformat(evidence.collected_from) <= dt.datetime.fromisoformat(freeze.time)


def _why_inadmissible(
    clause: Clause, evidence: Evidence | None, bar: Bar, freeze: Freeze | None, now: dt.datetime
) -> str | None:
    """Say why evidence may not speak to a clause; ``None`` where it may."""
    if evidence is None:
        return "there is no evidence for it"
    estimate = evidence.estimate
    if evidence.provisional:
        return "its evidence is provisional: part of the data was not yet committed"
    if estimate.value is None:
        return f"its value is undefined: {estimate.reason}"
    if estimate.threshold is None or estimate.threshold.value != clause.threshold:
        return "its evidence was held against another number than the bar's"
    if bar.document.evidence == "prospective" and _is_retrospective(evidence, freeze):
        return "the bar demands prospective evidence, and these data were not shown to be collected after its freeze"
    if bar.document.max_age_days is not None:
        if evidence.collected_to is None:
            return "the bar limits the age of evidence, and these data do not say when they were collected"
        age = now - dt.datetime.fromisoformat(evidence.collected_to)
        if age > dt.timedelta(days=bar.document.max_age_days):
            return f"its data ended {age.days} days ago; the bar accepts {bar.document.max_age_days}"
    if estimate.n < clause.minimum_n:
        return f"n = {estimate.n:,} is below the bar's minimum of {clause.minimum_n:,}"
    return None


def _holm_violations(
    clauses: Sequence[Clause], evidence: Mapping[str, Evidence], inadmissible: Mapping[str, str | None]
) -> dict[str, float]:
    """Holm-adjusted p-values of the claims "this clause is violated"."""
    raw: dict[str, float] = {}
    for clause in clauses:
        if inadmissible[clause.name] is None:
            threshold = evidence[clause.name].estimate.threshold
            assert threshold is not None  # noqa: S101 - established by _why_inadmissible
            raw[clause.name] = threshold.p_less if clause.direction == "greater" else threshold.p_greater
    if not raw:
        return {}
    return dict(zip(raw, holm(list(raw.values())).adjusted.tolist(), strict=True))


def _judge(
    clause: Clause, evidence: Evidence | None, bar: Bar, inadmissible: str | None, p_violated: float | None
) -> ClauseResult:
    if inadmissible is not None or evidence is None or p_violated is None:
        reason = inadmissible or "there is no evidence for it"
        return ClauseResult(clause=clause, outcome="inadmissible", reason=reason, evidence=evidence)
    estimate = evidence.estimate
    threshold = estimate.threshold
    p_clears = None
    if threshold is not None:
        p_clears = threshold.p_greater if clause.direction == "greater" else threshold.p_less
    alpha = (1 - bar.document.plan.level) / 2
    outcome, reason, more = _outcome(clause, estimate, p_violated, alpha, bar)
    return ClauseResult(
        clause=clause,
        outcome=outcome,
        reason=reason,
        evidence=evidence,
        p_clears=p_clears,
        p_violated=p_violated,
        more=more,
    )


def _outcome(
    clause: Clause, estimate: Estimate, p_violated: float, alpha: float, bar: Bar
) -> tuple[str, str, SampleSize | None]:
    greater = clause.direction == "greater"
    clearing, violating = (estimate.low, estimate.high) if greater else (estimate.high, estimate.low)
    if clearing is not None and (clearing > clause.threshold if greater else clearing < clause.threshold):
        return "clears", "the whole interval lies on the right side of the bar", None
    beyond = violating is not None and (violating < clause.threshold if greater else violating > clause.threshold)
    if beyond and p_violated <= alpha:
        return "violated", "the whole interval lies on the wrong side of the bar", None
    if clearing is None and violating is None:
        return "undecided", estimate.reason or "its interval is undefined", None
    more = _more(estimate, clause, bar)
    if beyond:
        return "undecided", "violated on its own, but not after correcting for the number of clauses", more
    return "undecided", "the interval holds the bar itself", more


def _more(estimate: Estimate, clause: Clause, bar: Bar) -> SampleSize:
    interval = Interval(
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        level=estimate.level,
        n=estimate.n,
        n_clusters=estimate.n_clusters,
        method=estimate.method,
        reason=estimate.reason,
    )
    return units_to_decide(interval, clause.threshold, power=bar.document.plan.power)


def _attach(
    result: ClauseResult, arms: tuple[Evidence, ...], waivers: Sequence[Waiver], bar: Bar, now: dt.datetime
) -> ClauseResult:
    """Add the arms' levels, and set the clause aside where a valid waiver covers it."""
    fields: dict[str, Any] = {name: getattr(result, name) for name in ClauseResult.__dataclass_fields__}
    fields["arms"] = arms
    if result.outcome in ("violated", "undecided"):
        for waiver in waivers:
            if waiver.why_void(result.clause, bar_sha256=bar.sha256, now=now) is None:
                fields["waiver"] = waiver
                fields["reason"] = f"{result.reason}; set aside by {waiver.owner} until {waiver.expires}"
                fields["outcome"] = "waived"
    return ClauseResult(**fields)


def _combine(results: Sequence[ClauseResult], checks: Sequence[CheckResult]) -> tuple[str, list[str]]:
    broken = [f"{check.name}: {check.detail}" for check in checks if not check.passed]
    if broken:
        return "invalid", broken
    for answer, outcomes in (("fail", ("violated",)), ("not_enough_evidence", ("undecided", "inadmissible"))):
        found = [f"{r.clause.name}: {r.reason}" for r in results if r.outcome in outcomes]
        if found:
            return answer, found
    return "pass", [f"{r.clause.name}: {r.reason}" for r in results]
