"""Before any effect: are these data the experiment that the spec describes?

The checks are made in a fixed order, from the split of the units to the judge who scored the outcomes. A check that fails
voids the comparison; a check that the data do not allow says *not assessed*, which is no pass and stands in the report.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from scipy import stats as sps

from jurat.evidence.validity import sample_ratio
from jurat.experiments.data import quoted
from jurat.experiments.effects import Scorecard
from jurat.experiments.interference import spillover_slope
from jurat.experiments.moments import population_sql
from jurat.experiments.spec import CHECKS, Experiment
from jurat.stats.sample_ratio import sequential_sample_ratio_p

__all__ = ["ValidityCheck", "run_checks"]

Status = Literal["passed", "failed", "not assessed"]
_SHOWN = 4
_CONCENTRATION = 400.0
"""Prior of the sequential split test: tuned to deviations of a few per cent, the size that real mismatches have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidityCheck:
    """One check and what it saw.

    Attributes
    ----------
    name
        From `jurat.experiments.spec.CHECKS`.
    status
        ``"passed"``, ``"failed"`` or ``"not assessed"``.
    detail
        What was seen, in a sentence.
    method
        How it was tested.
    n
        Units or rows looked at.
    p_value
        For statistical checks.
    timeline
        What the report draws: rows of plain JSON by day.
    """

    name: str
    status: Status
    detail: str
    method: str
    n: int
    p_value: float | None = None
    timeline: tuple[Mapping[str, Any], ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {**asdict(self), "timeline": [dict(row) for row in self.timeline]}


def run_checks(card: Scorecard) -> tuple[ValidityCheck, ...]:
    """Make the spec's checks, in the order in which each could void the next.

    Parameters
    ----------
    card
        The scorecard: spec, rows and moments.
    """
    functions: Mapping[str, Callable[[Scorecard], ValidityCheck]] = {
        "sample_ratio": _sample_ratio,
        "exposure": _exposure,
        "multiple_exposure": _multiple_exposure,
        "fingerprint": _fingerprint,
        "retrain_contamination": _contamination,
        "judge_anchor": _judge_anchor,
        "missing_outcomes": _missing,
        "preperiod_balance": _balance,
        "spillover": _spillover,
    }
    return tuple(functions[name](card) for name in CHECKS if name in card.experiment.document.checks)


def _not_assessed(name: str, why: str) -> ValidityCheck:
    return ValidityCheck(name=name, status="not assessed", detail=why, method="none", n=0)


def _day(experiment: Experiment) -> str | None:
    time = experiment.document.data.time
    return None if time is None else f"CAST(CAST({quoted(time)} AS DATE) AS VARCHAR)"


def _units(card: Scorecard) -> tuple[str, str]:
    """Where the assigned units are listed, and under which name an arm stands there."""
    a, d = card.experiment.document.assignment, card.experiment.document.data
    if d.exposures is not None:
        return "exposures", quoted(a.arm)
    return f"({population_sql(card.experiment, {a.unit: quoted(a.unit)})}) AS units", "arm__"


def _sample_ratio(card: Scorecard) -> ValidityCheck:
    """Fixed test at the end; while the experiment runs, the one that may be read every day."""
    if card.experiment.document.assignment.design == "shadow":
        return _complete(card)
    experiment, a = card.experiment, card.experiment.document.assignment
    source, arm = _units(card)
    unit, day = quoted(a.unit), _day(experiment) if experiment.document.data.exposures is not None else None
    key = "COALESCE(MIN(" + (day or "''") + "), '')"
    first = f"SELECT {unit} AS u, MIN(CAST({arm} AS VARCHAR)) AS a, {key} AS day FROM {source} GROUP BY {unit}"
    rows = card.data.query(f"SELECT day, a, COUNT(*) AS n FROM ({first}) AS f GROUP BY day, a ORDER BY day, a")
    arms, shares = list(a.arms), experiment.shares()
    days = sorted({row["day"] for row in rows})
    counts = np.zeros((len(days), len(arms)))
    for row in rows:
        if row["a"] in arms:
            counts[days.index(row["day"]), arms.index(row["a"])] += row["n"]
    running = counts.cumsum(axis=0)
    fixed = sample_ratio(
        {arm: int(n) for arm, n in zip(arms, running[-1], strict=True)}, shares, alpha=a.srm_alpha, unit=a.unit
    )
    anytime = sequential_sample_ratio_p(running, [shares[arm] for arm in arms], concentration=_CONCENTRATION)
    monitored = experiment.document.inference.method == "confidence_sequence"
    p = float(anytime[-1]) if monitored else fixed.p_value
    passed = p is not None and p >= a.srm_alpha
    timeline = tuple(
        {"day": day or None, **{arm: int(n) for arm, n in zip(arms, running[i], strict=True)}, "p": float(anytime[i])}
        for i, day in enumerate(days)
    )
    planned = " : ".join(f"{shares[arm]:g}" for arm in arms)
    seen = ", ".join(f"{arm} {int(n):,}" for arm, n in zip(arms, running[-1], strict=True))
    verb = "agree with" if passed else "do not agree with"
    text = f"{seen} ({a.unit}) {verb} the planned {planned}: p = {anytime[-1]:.2g} at any time, {fixed.p_value:.2g} at one look"
    method = "Dirichlet–multinomial mixture" if monitored else "Pearson chi-squared"
    return ValidityCheck(
        name="sample_ratio", status="passed" if passed else "failed", detail=text, method=method,
        n=int(running[-1].sum()), p_value=p, timeline=timeline,
    )  # fmt: skip


def _complete(card: Scorecard) -> ValidityCheck:
    """In a shadow run the arms answer the same units: each unit must stand in every arm."""
    unit = quoted(card.experiment.document.assignment.unit)
    rows = population_sql(card.experiment, {"u__": unit})
    arms = len(card.experiment.document.assignment.arms)
    row = card.data.query(
        f"SELECT COUNT(*) AS units, COUNT(*) FILTER (WHERE arms < {arms}) AS lone FROM "
        f"(SELECT u__, COUNT(DISTINCT arm__) AS arms FROM ({rows}) AS r GROUP BY u__) AS x"
    )[0]
    lone, units = int(row["lone"]), int(row["units"])
    detail = f"{units - lone:,} of {units:,} units were answered by every arm"
    return ValidityCheck(
        name="sample_ratio", status="failed" if lone else "passed", detail=detail, method="exact count", n=units
    )


def _exposure(card: Scorecard) -> ValidityCheck:
    """Outcomes from before the unit met its arm cannot be the arm's doing."""
    d, a = card.experiment.document.data, card.experiment.document.assignment
    if d.exposures is None or d.time is None:
        return _not_assessed("exposure", "the spec names no exposures with a time (data.exposures, data.time)")
    unit, time = quoted(a.unit), quoted(d.time)
    first = f"SELECT {unit} AS u, MIN({time}) AS t FROM exposures GROUP BY {unit}"
    where = (
        ""
        if card.experiment.document.population.where is None
        else f" WHERE {card.experiment.document.population.where}"
    )
    rows = f"SELECT {unit} AS unit__, {time} AS time__ FROM outcomes{where}"
    sql = (
        f"SELECT COUNT(*) AS n, COUNT(*) FILTER (WHERE f.u IS NULL) AS never, "
        f"COUNT(*) FILTER (WHERE o.time__ < f.t) AS early, COUNT(*) FILTER (WHERE o.time__ IS NULL) AS timeless, "
        f"COUNT(*) FILTER (WHERE f.u IS NOT NULL AND f.t IS NULL) AS undated "
        f"FROM ({rows}) AS o LEFT JOIN ({first}) AS f ON o.unit__ = f.u"
    )
    row = card.data.query(sql)[0]
    early, never, timeless, undated = (int(row[k]) for k in ("early", "never", "timeless", "undated"))
    allowed = d.before_exposure == "exclude"
    failed = timeless > 0 or undated > 0 or (early > 0 and not allowed)
    parts = [f"{row['n']:,} outcomes"]
    parts.append(
        f"{early:,} from before their unit's first exposure" + (" (left out, as the spec says)" if allowed else "")
    )
    parts.append(f"{never:,} of units that were never exposed (left out)")
    if timeless:
        parts.append(f"{timeless:,} without a time")
    if undated:
        parts.append(f"{undated:,} of units whose exposure has no time (left out)")
    return ValidityCheck(
        name="exposure", status="failed" if failed else "passed", detail="; ".join(parts),
        method="exact comparison of times", n=int(row["n"]),
    )  # fmt: skip


def _multiple_exposure(card: Scorecard) -> ValidityCheck:
    a = card.experiment.document.assignment
    if a.design == "shadow":
        return ValidityCheck(
            name="multiple_exposure", status="passed", method="by design", n=sum(card.scan.rows.values()),
            detail="in a shadow run every unit is answered by every arm, and nobody sees but one of the answers",
        )  # fmt: skip
    source, arm = _units(card)
    unit = quoted(a.unit)
    sql = (
        f"SELECT COUNT(*) AS units, COUNT(*) FILTER (WHERE lo <> hi) AS both, "
        f"MIN(u) FILTER (WHERE lo <> hi) AS example FROM (SELECT {unit} AS u, MIN({arm}) AS lo, MAX({arm}) AS hi "
        f"FROM {source} GROUP BY {unit}) AS x"
    )
    row = card.data.query(sql)[0]
    both, units = int(row["both"]), int(row["units"])
    detail = f"{both:,} of {units:,} units ({a.unit}) were in more than one arm"
    if both:
        detail += f", for example {row['example']!r}: what they did belongs to no arm"
    return ValidityCheck(
        name="multiple_exposure", status="failed" if both else "passed", detail=detail,
        method="exact count", n=units,
    )  # fmt: skip


def _fingerprint(card: Scorecard) -> ValidityCheck:
    """An arm is one treatment only while its model, prompt, filter, judge and index stay what they are."""
    treatment = card.experiment.document.treatment
    if not treatment.fingerprint:
        return _not_assessed(
            "fingerprint", "the spec names no columns that make up a treatment (treatment.fingerprint)"
        )
    day = _day(card.experiment)
    parts = {f"f{i}__": f"CAST({quoted(c)} AS VARCHAR)" for i, c in enumerate(treatment.fingerprint)}
    rows = population_sql(card.experiment, {**parts, "day__": day or "''"})
    group = ", ".join(["arm__", *parts])
    sql = (
        f"SELECT {group}, COUNT(*) AS n, MIN(day__) AS first, MAX(day__) AS last FROM ({rows}) AS r "
        f"GROUP BY {group} ORDER BY {group}"
    )
    found = card.data.query(sql)
    timeline = tuple(
        {
            "arm": row["arm__"],
            "fingerprint": {c: row[f"f{i}__"] for i, c in enumerate(treatment.fingerprint)},
            "rows": int(row["n"]),
            "first": row["first"] or None,
            "last": row["last"] or None,
        }
        for row in found
    )
    changed = []
    for arm in card.experiment.document.assignment.arms:
        mine = [row for row in timeline if row["arm"] == arm]
        for column in treatment.fingerprint:
            values = sorted({str(row["fingerprint"][column]) for row in mine})
            if len(values) > 1:
                later = max(row["first"] or "" for row in mine)
                when = f", first on {later}" if later else ""
                changed.append(f"{column} of {arm} was {' and '.join(values[:_SHOWN])}{when}")
    rows_seen = sum(row["rows"] for row in timeline)
    if not changed:
        text = f"each arm kept one {' / '.join(treatment.fingerprint)} throughout"
        status: Status = "passed"
    else:
        text = "; ".join(changed) + ": the arm is not one treatment"
        status = "passed" if treatment.allow_refresh else "failed"
    return ValidityCheck(
        name="fingerprint", status=status, detail=text, method="exact comparison", n=rows_seen, timeline=timeline
    )


def _contamination(card: Scorecard) -> ValidityCheck:
    """Training on an arm's conversations inside the window carries the treatment into every arm that shares the model."""
    columns = card.data.columns
    if "training" not in columns:
        return _not_assessed(
            "retrain_contamination", "the spec names no training rows (data.training): lineage is unknown"
        )
    shared = [c for c in columns["training"] if c in columns["outcomes"] and c.endswith("_id")]
    if not shared:
        return _not_assessed(
            "retrain_contamination", "the training rows share no identifier column (…_id) with the outcomes"
        )
    key = quoted(shared[0])
    rows = population_sql(card.experiment, {"id__": key})
    sql = (
        f"SELECT arm__, COUNT(*) AS n, COUNT(t.id__) AS used FROM ({rows}) AS r "
        f"LEFT JOIN (SELECT DISTINCT {key} AS id__ FROM training) AS t ON r.id__ = t.id__ GROUP BY arm__ ORDER BY arm__"
    )
    found = card.data.query(sql)
    used = {row["arm__"]: int(row["used"]) for row in found}
    share = {row["arm__"]: row["used"] / row["n"] for row in found}
    total = sum(used.values())
    detail = (
        "no training row came from a conversation of the window"
        if total == 0
        else "training rows came from the window's own conversations: "
        + ", ".join(f"{arm} {used[arm]:,} ({100 * share[arm]:.2g} %)" for arm in used)
        + ". A refreshed model carries one arm's effect into the other; analyse the days before the refresh, or divert the "
        "experiment's data from training"
    )
    timeline = tuple({"arm": arm, "share": share[arm], "rows": used[arm]} for arm in used)
    return ValidityCheck(
        name="retrain_contamination", status="failed" if total else "passed", detail=detail,
        method=f"lineage join on {shared[0]}", n=sum(int(r["n"]) for r in found), timeline=timeline,
    )  # fmt: skip


def _judge_anchor(card: Scorecard) -> ValidityCheck:
    """The same items, judged again at every look: a judge that moves cannot compare what came before and after."""
    columns = card.data.columns.get("anchor")
    if columns is None:
        return _not_assessed("judge_anchor", "the spec names no anchor set that the judge scores again (data.anchor)")
    time = card.experiment.document.data.time
    missing = [c for c in ("item", "score", *([time] if time else ["time"])) if c not in columns]
    if missing or time is None:
        return _not_assessed("judge_anchor", f"the anchor table lacks {', '.join(missing)}")
    day = f"CAST(CAST({quoted(time)} AS DATE) AS VARCHAR)"
    rows = card.data.query(
        f"SELECT {day} AS day, CAST(item AS VARCHAR) AS item, AVG(CAST(score AS DOUBLE)) AS score FROM anchor "
        f"WHERE score IS NOT NULL AND {quoted(time)} IS NOT NULL GROUP BY day, item ORDER BY item, day"
    )
    days = sorted({row["day"] for row in rows})
    by_day = {d: [r["score"] for r in rows if r["day"] == d] for d in days}
    timeline = tuple({"day": d, "mean": float(np.mean(v)), "n": len(v)} for d, v in by_day.items())
    if len(days) < 2:
        return _not_assessed("judge_anchor", "the anchor set was scored on one day only")
    change = _largest_shift(rows, days)
    p = min(1.0, change["p"] * (len(days) - 1))
    failed = p < 0.001
    detail = (
        f"{len({r['item'] for r in rows}):,} anchor items over {len(days)} days; largest shift "
        f"{100 * change['shift']:+.1f} points [{100 * change['low']:+.1f}, {100 * change['high']:+.1f}] from {change['day']} on "
        f"(p = {p:.2g} over all days)"
    )
    return ValidityCheck(
        name="judge_anchor", status="failed" if failed else "passed", detail=detail,
        method="paired shift of item means, largest over days, Bonferroni", n=len(rows), p_value=p, timeline=timeline,
    )  # fmt: skip


def _largest_shift(rows: Sequence[Mapping[str, Any]], days: Sequence[str]) -> dict[str, Any]:
    """The day from which on the items' scores differ most from those before, item by item."""
    items = sorted({row["item"] for row in rows})
    scores = np.full((len(items), len(days)), np.nan)
    place = {item: i for i, item in enumerate(items)}
    for row in rows:
        scores[place[row["item"]], days.index(row["day"])] = row["score"]
    best: dict[str, Any] = {"p": 1.0, "shift": 0.0, "low": 0.0, "high": 0.0, "day": days[1]}
    for cut in range(1, len(days)):
        before, after = scores[:, :cut], scores[:, cut:]
        kept = ~np.isnan(before).all(axis=1) & ~np.isnan(after).all(axis=1)
        if kept.sum() < 2:
            continue
        difference = np.nanmean(after[kept], axis=1) - np.nanmean(before[kept], axis=1)
        se = float(difference.std(ddof=1)) / math.sqrt(len(difference))
        shift = float(difference.mean())
        if se <= 1e-12 * abs(shift):
            # Every item moved by as much, or none moved at all.
            p = 0.0 if shift else 1.0
        else:
            p = float(2 * sps.t.sf(abs(shift) / se, len(difference) - 1))
        reach = float(sps.t.isf(0.025, len(difference) - 1)) * se
        if (p, -abs(shift)) < (best["p"], -abs(best["shift"])):
            best = {"p": p, "shift": shift, "low": shift - reach, "high": shift + reach, "day": days[cut]}
    return best


def _missing(card: Scorecard) -> ValidityCheck:
    """Outcomes that go missing more often in one arm select what is compared."""
    worst: tuple[float, str] | None = None
    total = 0
    tests = 0
    for treatment in card.experiment.treatments:
        for name in card.sums:
            if card.experiment.metric(name).kind == "ratio":
                continue
            found = _missing_difference(card, name, treatment)
            if found is None:
                continue
            tests += 1
            total = max(total, found[2])
            text = f"{name} is missing in {100 * found[3]:.2f} % of the rows of {treatment} and {100 * found[4]:.2f} % of control"
            if worst is None or found[1] < worst[0]:
                worst = (found[1], text)
    if worst is None:
        return ValidityCheck(
            name="missing_outcomes", status="passed", detail="no outcome is missing in any arm",
            method="exact count", n=sum(card.scan.rows.values()),
        )  # fmt: skip
    p = min(1.0, worst[0] * tests)
    return ValidityCheck(
        name="missing_outcomes", status="failed" if p < 0.001 else "passed",
        detail=f"{worst[1]} ({f'p = {p:.2g}' if p > 0 else 'p < 1e-300'} for a difference)",
        method="difference of missing shares, CR1, Bonferroni", n=sum(card.scan.rows.values()), p_value=p,
    )  # fmt: skip


def _missing_difference(card: Scorecard, name: str, treatment: str) -> tuple[float, float, int, float, float] | None:
    from jurat.stats.moments import ratio_of

    control, denominator = card.experiment.document.assignment.control, card.sums[name].denominator
    if denominator == "n":
        return None
    shares = [ratio_of(card.table, arm, denominator, "n") for arm in (treatment, control)]
    missing = [1 - f.value for f in shares]
    if max(missing) == 0:
        return None
    difference = shares[0] - shares[1]
    se, df = card.spread(difference)
    p = float(2 * sps.t.sf(abs(difference.value) / se, df)) if se > 0 else 1.0
    return difference.value, p, 0, missing[0], missing[1]


def _balance(card: Scorecard) -> ValidityCheck:
    """Covariates from before the treatment must not differ between the arms more than chance allows."""
    lines, tests = [], 0
    smallest = 1.0
    for treatment in card.experiment.treatments:
        control = card.experiment.document.assignment.control
        for name, sums in card.sums.items():
            pairs = sums.covariate_values(card.table, treatment, control)
            for covariate, (first, second) in zip(card.experiment.metric(name).covariates, pairs, strict=False):
                difference = first - second
                se, df = card.spread(difference)
                p = float(2 * sps.t.sf(abs(difference.value) / se, df)) if se > 0 else 1.0
                tests += 1
                smallest = min(smallest, p)
                lines.append(f"{covariate} {first.value:.4g} against {second.value:.4g} (p = {p:.2g})")
    if not lines:
        return _not_assessed("preperiod_balance", "no metric has a covariate from before the treatment")
    p = min(1.0, smallest * tests)
    return ValidityCheck(
        name="preperiod_balance", status="failed" if p < 0.001 else "passed", detail="; ".join(lines[:_SHOWN]),
        method="difference of covariates, CR1, Bonferroni", n=sum(card.scan.rows.values()), p_value=p,
    )  # fmt: skip


def _spillover(card: Scorecard) -> ValidityCheck:
    """Control units among many treated ones must fare like those among few, or the treatment reaches them too."""
    group = card.experiment.document.assignment.group
    assert group is not None  # noqa: S101 - checked when the spec was read
    lines, smallest, tests, seen = [], 1.0, 0, 0
    for claim in card.experiment.claims:
        if claim.role == "guardrail" or claim.metric not in card.sums:
            continue
        found = spillover_slope(card.experiment, card.data, claim.metric, group)
        if found.value is None or found.se is None or found.df is None:
            continue
        p = float(2 * sps.t.sf(abs(found.value) / found.se, found.df))
        tests += 1
        smallest, seen = min(smallest, p), max(seen, found.n)
        assert found.low is not None and found.high is not None  # noqa: S101 - it has an error
        lines.append(
            f"{claim.metric} of control units changes by {found.value:+.4g} [{found.low:+.4g}, {found.high:+.4g}] from groups "
            f"without treated units to groups of nothing else"
        )
    if not lines:
        return _not_assessed("spillover", f"the share of treated units does not vary over {group}")
    p = min(1.0, smallest * tests)
    return ValidityCheck(
        name="spillover", status="failed" if p < 0.01 else "passed", detail=f"{'; '.join(lines)} (p = {p:.2g})",
        method="slope of control outcomes on the treated share, groups as clusters, Bonferroni", n=seen, p_value=p,
    )  # fmt: skip
