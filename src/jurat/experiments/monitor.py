"""Looking every day without paying for it in false alarms: every look of an experiment, and when it may stop.

The looks come from one pass over the rows, or from the state that remembers the clusters. Each carries the interval that
holds at all looks together beside the one that would hold if this were the only one; only the first may stop anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jurat.errors import DataError, SpecError
from jurat.experiments.data import ExperimentData
from jurat.experiments.effects import Scorecard, spans_arms
from jurat.experiments.judgement import Judged, judge, judge_line
from jurat.experiments.looks import DayTotals, LookLayout, Running, one_pass, reference_values
from jurat.experiments.moments import Scan, population_sql
from jurat.experiments.spec import Claim, Experiment
from jurat.experiments.state import update_state
from jurat.stats.result import Interval
from jurat.stats.sample_ratio import sequential_sample_ratio_p

__all__ = ["Look", "Monitoring", "monitor"]

CONCENTRATION = 400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One claim on one treatment at one look.

    Attributes
    ----------
    day
        Last day that was seen.
    clusters
        Clusters of all arms so far.
    always
        The interval that holds at all looks.
    once
        The interval that would hold at this look alone.
    threshold
        The margin, on the same scale.
    outcome
        ``"clears"``, ``"violated"`` or ``"undecided"``, by the interval that holds at all looks.
    """

    day: str
    clusters: int
    always: Interval
    once: Interval
    threshold: float
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitoring:
    """All looks so far.

    Attributes
    ----------
    experiment
        The spec.
    days
        Days taken in, in order; and those that were new this time.
    new
        Days that this call took in.
    looks
        Looks by (claim, treatment), in order of the days.
    split
        P-value of the split at each day, valid at any time.
    stop
        Why the experiment may stop now; ``None`` where it goes on.
    """

    experiment: Experiment
    days: tuple[str, ...]
    new: tuple[str, ...]
    looks: tuple[tuple[str, str, tuple[Look, ...]], ...]
    split: tuple[float, ...]
    stop: str | None


def monitor(experiment: Experiment, data: ExperimentData, *, state: Path | None = None) -> Monitoring:
    """Take every look of an experiment.

    Parameters
    ----------
    experiment, data
        The spec, with ``data.time`` and ``method = "confidence_sequence"``, and its rows.
    state
        Folder that remembers the clusters: only days that it does not hold are read. Without it, all rows are read once.

    Raises
    ------
    SpecError
        Where the spec does not allow looks.
    DataError
        Where there are no rows, or clusters span the arms.
    """
    _check(experiment, data)
    looks = LookLayout(experiment, data)
    if state is None:
        days = _first_day(experiment, data)
        reference = reference_values(experiment, data, looks, days)
        totals: Sequence[DayTotals] = one_pass(experiment, data, looks, reference)
        new = tuple(sorted({t.day for t in totals}))
    else:
        held, new = update_state(experiment, data, looks, state)
        totals, reference = held.totals, dict(held.reference)
    return _replayed(experiment, data, looks, totals, reference, new)


def _check(experiment: Experiment, data: ExperimentData) -> None:
    i = experiment.document.inference
    if experiment.document.data.time is None:
        raise SpecError(
            f"{experiment.path.name}: looking day by day needs the time of the outcomes",
            seen="data.time is not there",
            next_step="write time = 'column' under [data]",
        )
    if i.method != "confidence_sequence":
        raise SpecError(
            f"{experiment.path.name}: the spec does not allow daily looks",
            seen=f"inference.method = {i.method!r}",
            next_step="plan method = 'confidence_sequence', or analyse once at the planned size",
        )
    if i.crossed is not None or spans_arms(experiment, data):
        raise DataError(
            "daily looks need clusters that stay in one arm",
            seen=f"inference.crossed = {i.crossed!r}" if i.crossed else f"{i.cluster} spans the arms",
            next_step="cluster by what was randomised, or use jurat experiments analyse",
        )


def _first_day(experiment: Experiment, data: ExperimentData) -> str:
    from jurat.experiments.looks import day_sql

    rows = population_sql(experiment, {"s__": day_sql(experiment)})
    found = data.query(f"SELECT CAST(MIN(s__) AS VARCHAR) AS d, COUNT(*) - COUNT(s__) AS n FROM ({rows}) AS r")[0]
    if found["n"]:
        raise DataError(
            "some outcomes have no time", seen=f"{found['n']:,} rows", next_step="a look needs the day of every outcome"
        )
    if found["d"] is None:
        raise DataError("there are no outcomes to look at", seen="0 rows", next_step="bring them")
    return str(found["d"])


def _replayed(
    experiment: Experiment,
    data: ExperimentData,
    looks: LookLayout,
    totals: Sequence[DayTotals],
    reference: dict[str, float],
    new: tuple[str, ...],
) -> Monitoring:
    """Go through the days and hold every claim against each look."""
    arms = tuple(experiment.document.assignment.arms)
    running = Running(looks.names, looks.pairs, reference, arms)
    days = tuple(sorted({t.day for t in totals}))
    claims = [c for c in experiment.claims if c.metric in looks.sums]
    found: dict[tuple[str, str], list[Look]] = {}
    counts = []
    for day in days:
        for total in totals:
            if total.day == day:
                running.add(total)
        counts.append([running.clusters[arm] for arm in arms])
        if min(running.clusters.values()) < 2:
            continue
        table = running.table()
        card = Scorecard(
            experiment=experiment,
            data=data,
            layout=looks.layout,
            sums=looks.sums,
            scan=Scan(table=table, rows={arm: table.groups[arm].rows for arm in arms}),
        )
        for treatment in experiment.treatments:
            for claim in claims:
                for one in _looked(card, claim, treatment):
                    found.setdefault((one.name, treatment), []).append(
                        _look(one, day, sum(running.clusters.values()), card)
                    )
    shares = experiment.shares()
    split = sequential_sample_ratio_p(np.array(counts), [shares[a] for a in arms], concentration=CONCENTRATION)
    series = tuple((name, treatment, tuple(series)) for (name, treatment), series in found.items())
    return Monitoring(
        experiment=experiment,
        days=days,
        new=new,
        looks=series,
        split=tuple(float(p) for p in split),
        stop=_stop(experiment, series, split, days),
    )


def _looked(card: Scorecard, claim: Claim, treatment: str) -> list[Judged]:
    control = card.experiment.document.assignment.control
    sums = card.sums[claim.metric]
    if any(card.table.mean(arm, sums.denominator) == 0 for arm in (treatment, control)):
        return []
    if min(card.table.clusters(arm) for arm in (treatment, control)) < 40:
        # So few clusters call for the rows themselves; a sequence would not give bounds for them anyway.
        return []
    effect = card.effect(claim.metric, treatment)
    level = card.experiment.level
    line = judge_line(card, claim, effect, level=level)
    return [judge(card, claim, effect, level=level), *([] if line is None else [line])]


def _look(one: Judged, day: str, clusters: int, card: Scorecard) -> Look:
    if one.line:
        once = card.level_of(one.claim.metric, one.treatment, level=card.experiment.level)
    else:
        once = card.effect(one.claim.metric, one.treatment).effect
    return Look(day=day, clusters=clusters, always=one.shown, once=once, threshold=one.threshold, outcome=one.outcome)


def _stop(
    experiment: Experiment, series: Sequence[tuple[str, str, tuple[Look, ...]]], split: np.ndarray, days: Sequence[str]
) -> str | None:
    """Say why to stop: a split that is off, harm shown, or all claims cleared after the minimum."""
    stopping, alpha = experiment.document.stopping, experiment.document.assignment.srm_alpha
    if split[-1] < alpha:
        return f"the split of the units does not agree with the plan (p = {split[-1]:.2g} at any time): find out why"
    last = {(name, treatment): looks[-1] for name, treatment, looks in series}
    clusters = max((look.clusters for look in last.values()), default=0)
    risk = {c.name for c in experiment.claims if c.role == "risk"}
    if "risk_harm" in stopping.stop_for:
        for (name, treatment), look in last.items():
            if look.outcome == "violated" and (name in risk or name.endswith("hard line")):
                return f"{name} is violated on {treatment}: stop for harm"
    enough = len(days) >= stopping.minimum_days and clusters >= stopping.minimum_clusters
    # A claim that no look could hold against the data is not one that cleared.
    unwatched = [c.name for c in experiment.claims for t in experiment.treatments if (c.name, t) not in last]
    cleared = all(look.outcome == "clears" for look in last.values())
    if "success" in stopping.stop_for and enough and cleared and not unwatched:
        return "every claim clears at all looks: stop for success"
    return None
