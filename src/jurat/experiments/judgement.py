"""From effects to outcomes: each claim of the spec held against the interval that may decide it.

A claim clears, is violated, or is undecided, by the bound that faces its margin and never by the point estimate. A hard line
on the treatment's own level is a claim of its own. What may decide follows from the spec: a confidence sequence where one
looks every day, the spent error of this look in a group-sequential design, the fixed interval once the planned size is there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from scipy import stats as sps

from jurat.experiments.effects import MetricEffect, Scorecard
from jurat.experiments.spec import Claim, Experiment
from jurat.stats.group_sequential import boundaries
from jurat.stats.inversion import one_sided_p_values
from jurat.stats.multiplicity import holm
from jurat.stats.power import units_to_decide
from jurat.stats.rare import anytime_proportion
from jurat.stats.result import Interval

__all__ = ["Judged", "adjusted_for_treatments", "decision_level", "judge", "judge_line"]


SPENDING: Final[Mapping[str, Literal["lan-demets-obrien-fleming", "lan-demets-pocock"]]] = {
    "obrien-fleming": "lan-demets-obrien-fleming",
    "pocock": "lan-demets-pocock",
}
"""The spending functions behind the spec's names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One claim, held against the data.

    Attributes
    ----------
    claim
        What the spec demands.
    treatment
        The arm it is demanded of.
    line
        Whether this is the hard line of the claim's metric and not its comparison.
    shown
        The interval that decides, on the scale of the effect (or of the level, for a line).
    against
        The same less the margin: it must lie beyond zero.
    threshold
        The margin (or the line) as a number on that scale.
    outcome
        ``"clears"``, ``"violated"``, ``"undecided"`` or ``"barred"``.
    p_value
        One-sided, for the side the claim wants; from the interval that decides.
    p_adjusted
        The same over several treatments (Holm); equal to ``p_value`` for one.
    clusters_to_decide
        Independent units that would decide, if the truth is what was seen; ``None`` where decided or unknowable.
    note
        What else the reader must know.
    """

    claim: Claim
    treatment: str
    line: bool
    shown: Interval
    against: Interval
    threshold: float
    outcome: str
    p_value: float
    p_adjusted: float
    clusters_to_decide: int | None = None
    note: str | None = None

    @property
    def name(self) -> str:
        """Name for people: the claim's, and that it is its line."""
        return f"{self.claim.name}, hard line" if self.line else self.claim.name


def decision_level(experiment: Experiment, clusters: int) -> tuple[float, str | None]:
    """Two-sided level of the interval that may decide now, and why it may not.

    Parameters
    ----------
    experiment
        The spec.
    clusters
        Clusters of all arms so far.

    Returns
    -------
    tuple
        The level, and ``None``, or the reason why nothing may be decided yet.
    """
    i = experiment.document.inference
    share = clusters / i.planned_clusters
    if i.method == "fixed" and share < 1:
        return experiment.level, (
            f"a fixed-horizon analysis is due at {i.planned_clusters:,} clusters and there are {clusters:,}; to look earlier, "
            "plan a confidence sequence"
        )
    if i.method != "group_sequential":
        return experiment.level, None
    look = min(int(share * i.looks + 1e-9), i.looks)
    if look == 0:
        return experiment.level, f"the first of {i.looks} looks is due at {i.planned_clusters / i.looks:,.0f} clusters"
    z = float(boundaries(i.looks, level=experiment.level, kind=SPENDING[i.spending]).critical[look - 1])
    return 1 - 2 * float(sps.norm.sf(z)), None


def judge(card: Scorecard, claim: Claim, effect: MetricEffect, *, level: float) -> Judged:
    """Hold one comparison against its margin.

    Parameters
    ----------
    card
        The scorecard.
    claim
        A claim of the spec.
    effect
        The effect on the claim's metric.
    level
        From `decision_level`.
    """
    metric = card.experiment.metric(claim.metric)
    control = effect.levels[effect.control].value or 0.0
    threshold = claim.margin.absolute(control)
    against = effect.at(claim.margin.value, level, claim.margin.scale)
    shown = effect.at(0.0, level, "absolute")
    greater = metric.better == "higher"
    outcome = _outcome(against, greater)
    note = None
    if card.experiment.document.assignment.design == "shadow" and claim.role == "value":
        outcome, note = "barred", "a shadow run has no user outcome: it cannot show value"
    one_sided = effect.p_values(claim.margin.value, claim.margin.scale)[0 if greater else 1]
    return Judged(
        claim=claim,
        treatment=effect.treatment,
        line=False,
        shown=shown,
        against=against,
        threshold=threshold,
        outcome=outcome,
        p_value=one_sided,
        p_adjusted=one_sided,
        clusters_to_decide=_more(against, outcome, card.experiment.document.inference.power),
        note=note,
    )


def judge_line(card: Scorecard, claim: Claim, effect: MetricEffect, *, level: float) -> Judged | None:
    """Hold the treatment's own level against the claim's hard line; ``None`` where it has none."""
    if claim.max_upper_bound is None:
        return None
    found = _level_interval(card, claim.metric, effect, level)
    line = claim.max_upper_bound
    against = replace(
        found,
        value=None if found.value is None else found.value - line,
        low=None if found.low is None else found.low - line,
        high=None if found.high is None else found.high - line,
    )
    outcome = _outcome(against, greater=False)
    p = one_sided_p_values(lambda at: _level_interval(card, claim.metric, effect, at), line).p_less
    return Judged(
        claim=claim,
        treatment=effect.treatment,
        line=True,
        shown=found,
        against=against,
        threshold=line,
        outcome=outcome,
        p_value=p,
        p_adjusted=p,
        clusters_to_decide=_more(against, outcome, card.experiment.document.inference.power),
    )


def _level_interval(card: Scorecard, metric: str, effect: MetricEffect, level: float) -> Interval:
    """A level of the treatment arm; of a proportion that is watched every day, at any time."""
    experiment = card.experiment
    if metric not in card.sums:
        return effect.levels[effect.treatment]
    found = card.level_of(metric, effect.treatment, level=level)
    watched = experiment.document.inference.method == "confidence_sequence"
    if not watched or experiment.metric(metric).kind != "proportion" or found.value is None:
        return found
    p, n = found.value, float(found.n)
    effective = n
    if experiment.cluster is not None:
        clusters = float(found.n_clusters or found.n)
        effective = clusters if p in (0.0, 1.0) or not found.se else min(n, p * (1 - p) / found.se**2)
    bound = anytime_proportion(p * effective, effective, level=level)
    return replace(bound, n=found.n, n_clusters=found.n_clusters, value=p)


def _outcome(against: Interval, greater: bool) -> str:
    if against.low is None or against.high is None:
        return "undecided"
    if against.low > 0 if greater else against.high < 0:
        return "clears"
    return "violated" if (against.high < 0 if greater else against.low > 0) else "undecided"


def _more(against: Interval, outcome: str, power: float) -> int | None:
    if outcome != "undecided" or against.low is None or against.high is None:
        return None
    size = units_to_decide(against, 0.0, power=power)
    return size.n_clusters if size.n_clusters is not None else size.n


def adjusted_for_treatments(judged: Sequence[Judged], *, alpha: float, method: str) -> tuple[Judged, ...]:
    """Share the error of each superiority claim among the treatments it is made of.

    Within one treatment every bar must clear, which needs no adjustment (intersection–union; Berger, 1982). That one of
    several treatments clears is a choice among them, and does.
    """
    if method == "none":
        return tuple(judged)
    families: dict[str, list[int]] = {}
    for i, one in enumerate(judged):
        if one.claim.test == "superior" and not one.line:
            families.setdefault(one.claim.name, []).append(i)
    adjusted: dict[int, float] = {}
    for members in families.values():
        if len(members) > 1:
            found = holm([judged[i].p_value for i in members])
            adjusted |= dict(zip(members, (float(p) for p in found.adjusted), strict=True))
    return tuple(one if i not in adjusted else _readjusted(one, adjusted[i], alpha) for i, one in enumerate(judged))


def _readjusted(one: Judged, p: float, alpha: float) -> Judged:
    if one.outcome == "clears" and p > alpha / 2:
        note = "clears alone, but not after Holm's adjustment for several treatments"
        return replace(one, p_adjusted=p, outcome="undecided", note=note)
    return replace(one, p_adjusted=p)
