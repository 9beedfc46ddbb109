"""One analysis, end to end: checks first, then effects, claims, Simpson scan, drift, trade-off, and a verdict.

The order is fixed and every step can stop the next from being believed: a failed check gives *invalid* whatever the effects
say. The verdict is a function of the claims alone; nothing in the report can be traded against a hard line.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from jurat.errors import DataError
from jurat.experiments.data import ExperimentData, open_data, quoted
from jurat.experiments.drift import Drift, drift
from jurat.experiments.effects import MetricEffect, Scorecard, scan_scorecard
from jurat.experiments.judgement import Judged, adjusted_for_treatments, decision_level, judge, judge_line
from jurat.experiments.moments import population_sql
from jurat.experiments.quantiles import quantile_curve, quantile_effect
from jurat.experiments.registration import Lock, load_lock
from jurat.experiments.sensitivity import sensitivity
from jurat.experiments.simpson import SimpsonScan, simpson_scan
from jurat.experiments.spec import Claim, Experiment, load_spec
from jurat.experiments.superiority import RankComparison, rank_comparison
from jurat.experiments.tradeoff import TradeOffResult, trade_off
from jurat.experiments.validity import ValidityCheck, run_checks
from jurat.stats.multiplicity import benjamini_hochberg, benjamini_yekutieli
from jurat.stats.result import Interval

__all__ = ["Analysis", "Verdict", "Window", "analyse", "analyse_file"]

CURVE = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
"""Quantiles at which a skewed outcome is compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """First and last day of the outcomes, how many days, rows and clusters."""

    first: str | None
    last: str | None
    days: int | None
    rows: Mapping[str, int]
    clusters: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The answer for one treatment, and why."""

    treatment: str
    answer: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """Everything one analysis found.

    Attributes
    ----------
    experiment
        The spec.
    lock
        Its registration; ``None`` where it was never locked, which makes every result exploratory.
    window
        What was looked at.
    checks
        Validity checks, in order.
    effects
        Every metric on every treatment.
    exploratory
        Adjusted two-sided p-values of metrics that no claim speaks of, by (treatment, metric).
    judged
        Every claim, held against the data.
    verdicts
        One per treatment.
    simpson, drifts, trade_offs, curves, ranks, sensitivities
        The panels of the report.
    """

    experiment: Experiment
    lock: Lock | None
    window: Window
    checks: tuple[ValidityCheck, ...]
    effects: tuple[MetricEffect, ...]
    exploratory: Mapping[tuple[str, str], float]
    judged: tuple[Judged, ...]
    verdicts: tuple[Verdict, ...]
    simpson: tuple[SimpsonScan, ...]
    drifts: tuple[Drift, ...]
    trade_offs: tuple[tuple[str, TradeOffResult], ...]
    curves: tuple[tuple[str, str, Mapping[float, Interval]], ...]
    ranks: tuple[RankComparison, ...]
    sensitivities: tuple[tuple[str, str, tuple[tuple[str, Interval], ...]], ...]

    @property
    def answer(self) -> str:
        """The best answer of any treatment, or *invalid*: what the command exits with."""
        order = ("invalid", "pass", "not enough evidence", "fail")
        return min((v.answer for v in self.verdicts), key=order.index)

    @property
    def valid(self) -> bool:
        """Whether no check failed."""
        return all(check.status != "failed" for check in self.checks)

    def effect(self, metric: str, treatment: str) -> MetricEffect:
        """One effect by name."""
        return next(e for e in self.effects if (e.metric, e.treatment) == (metric, treatment))


def analyse_file(spec: Path, folder: Path | None = None, *, threads: int = 1) -> Analysis:
    """Analyse the experiment of a spec file; the data are opened and closed.

    Parameters
    ----------
    spec
        The TOML file.
    folder
        Folder of the data; the spec's own by default.
    threads
        Threads of the engine; with more than one, sums are not the same bits on every run.

    Raises
    ------
    SpecError, DataError, UnknownName
        Where spec or data are not in order, with what to do.
    """
    experiment = load_spec(spec)
    data = open_data(experiment, folder, threads=threads)
    try:
        return analyse(experiment, data)
    finally:
        data.close()


def analyse(
    experiment: Experiment, data: ExperimentData, *, step: Callable[[str], None] = lambda _: None, panels: bool = True
) -> Analysis:
    """Analyse an experiment whose data are open.

    Parameters
    ----------
    experiment, data
        The spec and its rows.
    step
        Told what is being done, for a progress line.
    panels
        Whether to compute the panels of the report beyond checks, effects and claims.

    Raises
    ------
    DataError
        Where the rows cannot be analysed at all: no rows, a missing arm, null clusters, impossible values.
    """
    lock = load_lock(experiment)
    step("sums per cluster")
    card = scan_scorecard(experiment, data)
    _check_clusters(card)
    step("validity checks")
    checks = run_checks(card)
    window = _window(card)
    step("effects")
    effects = tuple(_effect(card, metric, t) for t in experiment.treatments for metric in experiment.document.metrics)
    by_name = {(e.metric, e.treatment): e for e in effects}
    level, early = decision_level(experiment, sum(window.clusters.values()))
    judged = [
        one
        for t in experiment.treatments
        for claim in experiment.claims
        for one in _judged(card, claim, by_name[claim.metric, t], level)
    ]
    judged_all = adjusted_for_treatments(
        judged, alpha=experiment.document.inference.alpha, method=experiment.document.multiplicity.primary
    )
    step("strata")
    scans = _simpson(card) if panels else ()
    verdicts = tuple(
        _verdict(experiment, t, checks, [j for j in judged_all if j.treatment == t], scans, window, early)
        for t in experiment.treatments
    )
    step("drift, trade-off, sensitivity")
    return Analysis(
        experiment=experiment,
        lock=lock,
        window=window,
        checks=checks,
        effects=effects,
        exploratory=_exploratory(experiment, effects),
        judged=judged_all,
        verdicts=verdicts,
        simpson=scans,
        drifts=_drifts(card) if panels else (),
        trade_offs=_trade_offs(card, by_name) if panels else (),
        curves=_curves(card) if panels else (),
        ranks=_ranks(card) if panels else (),
        sensitivities=_sensitivities(card, by_name) if panels else (),
    )


def _check_clusters(card: Scorecard) -> None:
    """One cluster cannot show how clusters vary; neither a check nor an effect has an error then."""
    for arm in card.table.arms:
        if card.table.clusters(arm) < 2:
            what = card.experiment.cluster or "row"
            raise DataError(
                f"the arm {arm} has one cluster ({what}): nothing shows how clusters vary",
                seen=f"{card.scan.rows[arm]:,} rows in {card.table.clusters(arm)} cluster",
                next_step="bring more clusters, or say inference.cluster = 'none' where rows are independent",
            )


def _effect(card: Scorecard, metric: str, treatment: str) -> MetricEffect:
    if card.experiment.metric(metric).kind == "quantile":
        return quantile_effect(card.experiment, card.data, metric, treatment)
    try:
        return card.effect(metric, treatment)
    except ZeroDivisionError as error:
        raise DataError(
            f"the metric {metric} has nothing to divide by", seen=str(error), next_step="mend its SQL or the population"
        ) from error
    except ValueError as error:
        raise DataError(
            f"the metric {metric} has no interval on {treatment}",
            seen=str(error),
            next_step="bring more clusters, or say inference.cluster = 'none' where rows are independent",
        ) from error


def _judged(card: Scorecard, claim: Claim, effect: MetricEffect, level: float) -> list[Judged]:
    line = judge_line(card, claim, effect, level=level)
    return [judge(card, claim, effect, level=level), *([] if line is None else [line])]


def _window(card: Scorecard) -> Window:
    experiment, time = card.experiment, card.experiment.document.data.time
    clusters = {a: card.table.clusters(a) for a in card.table.arms}
    if card.table.joint:
        # Clusters span the arms: all of them stand under the control, so that a sum counts each once.
        total = card.table.clusters(card.table.arms[0])
        clusters = {a: (total if a == experiment.document.assignment.control else 0) for a in card.table.arms}
    first = last = days = None
    if time is not None:
        rows = population_sql(experiment, {"t__": f"CAST({quoted(time)} AS DATE)"})
        row = card.data.query(
            f"SELECT CAST(MIN(t__) AS VARCHAR) AS first, CAST(MAX(t__) AS VARCHAR) AS last FROM ({rows}) AS r"
        )[0]
        first, last = row["first"], row["last"]
        if first is not None and last is not None:
            days = (dt.date.fromisoformat(last) - dt.date.fromisoformat(first)).days + 1
    return Window(first=first, last=last, days=days, rows=dict(card.scan.rows), clusters=clusters)


def _verdict(
    experiment: Experiment,
    treatment: str,
    checks: tuple[ValidityCheck, ...],
    judged: list[Judged],
    scans: tuple[SimpsonScan, ...],
    window: Window,
    early: str | None,
) -> Verdict:
    """Intersection–union over the claims, after the checks and before any wish."""
    failed = [f"{c.name}: {c.detail}" for c in checks if c.status == "failed"]
    if failed:
        return Verdict(treatment=treatment, answer="invalid", reasons=tuple(failed))
    held_back = _held_back(experiment, treatment, checks, scans, window, early)
    violated = [j for j in judged if j.outcome == "violated"]
    harm = [j for j in violated if j.claim.role == "risk" or j.line]
    may_stop_for_harm = "risk_harm" in experiment.document.stopping.stop_for and early is None
    if violated and (not held_back or (harm and may_stop_for_harm)):
        reasons = [f"{j.name} is violated" for j in violated]
        return Verdict(treatment=treatment, answer="fail", reasons=(*reasons, *held_back))
    undecided = [_undecided(j) for j in judged if j.outcome in ("undecided", "barred")]
    if held_back or undecided or violated:
        reasons = [*held_back, *(f"{j.name} is violated so far" for j in violated), *undecided]
        return Verdict(treatment=treatment, answer="not enough evidence", reasons=tuple(reasons))
    return Verdict(treatment=treatment, answer="pass", reasons=("every claim clears its margin",))


def _undecided(one: Judged) -> str:
    if one.note:
        return f"{one.name}: {one.note}"
    more = "" if one.clusters_to_decide is None else f"; about {one.clusters_to_decide:,} clusters would decide"
    return f"{one.name} is undecided{more}"


def _held_back(
    experiment: Experiment,
    treatment: str,
    checks: tuple[ValidityCheck, ...],
    scans: tuple[SimpsonScan, ...],
    window: Window,
    early: str | None,
) -> list[str]:
    """Why a pass may not be said yet, whatever the claims show."""
    stopping = experiment.document.stopping
    reasons = [] if early is None else [early]
    if window.days is not None and window.days < stopping.minimum_days:
        reasons.append(f"day {window.days} of at least {stopping.minimum_days}")
    clusters = sum(window.clusters.values())
    if experiment.cluster is not None and clusters < stopping.minimum_clusters:
        reasons.append(f"{clusters:,} clusters of at least {stopping.minimum_clusters:,}")
    reasons += [f"{c.name} was asked for and is not assessed: {c.detail}" for c in checks if c.status == "not assessed"]
    claimed = {claim.metric for claim in experiment.claims}
    reasons += [
        f"{s.metric} by {s.stratifier}: {s.alarm}"
        for s in scans
        if s.alarm is not None and s.metric in claimed and s.treatment == treatment
    ]
    return reasons


def _exploratory(experiment: Experiment, effects: tuple[MetricEffect, ...]) -> dict[tuple[str, str], float]:
    """Two-sided p-values of metrics without a claim, adjusted together."""
    claimed = {claim.metric for claim in experiment.claims}
    found: dict[tuple[str, str], float] = {}
    for effect in effects:
        if effect.metric in claimed:
            continue
        found[effect.treatment, effect.metric] = min(1.0, 2 * min(effect.p_values(0.0, "absolute")))
    method = experiment.document.multiplicity.exploratory
    if len(found) < 2 or method == "none":
        return found
    adjust = benjamini_hochberg if method == "bh" else benjamini_yekutieli
    return dict(zip(found, (float(p) for p in adjust(list(found.values())).adjusted), strict=True))


def _smooth_claims(card: Scorecard) -> list[Claim]:
    """Claims on metrics that are functions of sums, each metric once."""
    kept: dict[str, Claim] = {}
    for claim in card.experiment.claims:
        if claim.metric in card.sums:
            kept.setdefault(claim.metric, claim)
    return list(kept.values())


def _simpson(card: Scorecard) -> tuple[SimpsonScan, ...]:
    experiment = card.experiment
    found = []
    for treatment in experiment.treatments:
        for claim in _smooth_claims(card):
            if claim.role == "guardrail":
                continue
            control = card.level_of(claim.metric, experiment.document.assignment.control, level=0.95).value or 0.0
            margin = claim.margin if claim.margin.value else claim.mde
            for stratifier in experiment.document.simpson.stratifiers:
                found.append(
                    simpson_scan(
                        experiment, card.data, claim.metric, stratifier, treatment,
                        margin=None if margin is None else margin.absolute(control),
                    )
                )  # fmt: skip
    return tuple(found)


def _drifts(card: Scorecard) -> tuple[Drift, ...]:
    found = (
        drift(card.experiment, card.data, claim.metric, t)
        for t in card.experiment.treatments
        for claim in _smooth_claims(card)
        if claim.role in ("value", "risk")
    )
    return tuple(d for d in found if d is not None)


def _trade_offs(
    card: Scorecard, effects: Mapping[tuple[str, str], MetricEffect]
) -> tuple[tuple[str, TradeOffResult], ...]:
    found = []
    for treatment in card.experiment.treatments:
        for bar in card.experiment.document.bar:
            pair = [effects[m, treatment] for m in (bar.value.metric, bar.risk.metric)]
            result = trade_off(card, pair[0], pair[1])
            if result is not None:
                found.append((treatment, result))
    return tuple(found)


def _curves(card: Scorecard) -> tuple[tuple[str, str, Mapping[float, Interval]], ...]:
    return tuple(
        (treatment, metric, quantile_curve(card.experiment, card.data, metric, treatment, shares=CURVE))
        for treatment, metric in _skewed(card)
    )


def _ranks(card: Scorecard) -> tuple[RankComparison, ...]:
    return tuple(rank_comparison(card.experiment, card.data, metric, treatment) for treatment, metric in _skewed(card))


def _skewed(card: Scorecard) -> list[tuple[str, str]]:
    """Treatments and the metrics whose whole distribution is compared."""
    e = card.experiment
    metrics = [name for name, definition in e.document.metrics.items() if definition.kind == "quantile"]
    return [(treatment, metric) for treatment in e.treatments for metric in metrics]


def _sensitivities(
    card: Scorecard, effects: Mapping[tuple[str, str], MetricEffect]
) -> tuple[tuple[str, str, tuple[tuple[str, Interval], ...]], ...]:
    return tuple(
        (t, claim.metric, sensitivity(card, effects[claim.metric, t]))
        for t in card.experiment.treatments
        for claim in _smooth_claims(card)
    )
