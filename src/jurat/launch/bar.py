"""The launch bar: what must hold before a release ships, in a file frozen before the data are seen.

A bar pairs every value metric with a risk counter-metric, adds hard lines that cannot be traded and guardrails, and
names the plan it was powered for: population, unit, cluster, level. This module reads and checks the file; whether the
numbers clear it is decided in `jurat.launch.verdict`.

A margin is signed, on the scale candidate − baseline, in the direction of the metric: for a metric that is better
high, *non-inferior* with margin −0.10 means "may lose at most ten points" and *superior* with 0.05 means "must gain at
least five"; for one that is better low the signs turn round.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from jurat.errors import SpecError, UnknownName
from jurat.metrics.loader import Metric
from jurat.store.document import Section, read_document

__all__ = ["Arms", "Bar", "Check", "Clause", "Line", "Monitor", "Pair", "Plan", "Requirement", "load_bar"]

Comparison = Literal["non-inferior", "superior"]


class Plan(Section):
    """Who is studied, what one unit is, what units cluster in, and how sure one wants to be."""

    population: str
    unit: str
    cluster: str
    level: float = Field(default=0.95, gt=0.5, lt=1.0)
    power: float = Field(default=0.8, gt=0.5, lt=1.0)
    stopping: Literal["fixed"] = "fixed"
    sensitivity: tuple[str, ...] = ()


class Arms(Section):
    """Which column tells the arms apart, and which two are compared."""

    column: str = "arm"
    baseline: str
    candidate: str


class Data(Section):
    """Where the numbers come from: a source mapping beside the bar, the spec of an experiment or of data, or a lake."""

    source: str | None = None
    experiment: str | None = None
    corpus: str | None = None
    metrics: str | None = None
    parameters: Mapping[str, str | int | float] = Field(default_factory=dict)
    silver: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)


class Requirement(Section):
    """What one metric must show, candidate against baseline."""

    metric: str
    comparison: Comparison
    margin: float
    minimum_n: int = Field(default=1, ge=1)
    where: Mapping[str, str] = Field(default_factory=dict)
    rationale: str = ""


class Pair(Section):
    """A value metric and the risk metric that must hold with it."""

    name: str
    value: Requirement
    risk: Requirement


class Guardrail(Requirement):
    """A further metric that must not be hurt."""

    name: str


class Line(Section):
    """A hard line: a bound on one arm that no gain elsewhere can buy."""

    name: str
    metric: str
    arm: Literal["candidate", "baseline"] = "candidate"
    bound: Literal["upper", "lower"]
    limit: float
    minimum_n: int = Field(default=1, ge=1)
    where: Mapping[str, str] = Field(default_factory=dict)
    rationale: str = ""


class Check(Section):
    """A validity check: when it fails, no verdict is given but *invalid*."""

    kind: Literal["complete-pairs", "sample-ratio"]
    expected: Mapping[str, float] = Field(default_factory=dict)
    alpha: float = Field(default=0.001, gt=0.0, lt=0.5)
    experiment: str | None = None


class Trigger(Section):
    """A metric to watch after the launch, and what is done when it trips."""

    metric: str
    window: str
    trigger: str
    action: str


class Monitor(Section):
    """The monitoring plan that is signed together with the bar."""

    owner: str
    watch: tuple[Trigger, ...] = ()


class _Document(Section):
    title: str
    question: str
    owner: str
    evidence: Literal["any", "prospective"] = "any"
    max_age_days: int | None = Field(default=None, gt=0)
    not_measured: tuple[str, ...] = ()
    approvers: tuple[str, ...] = ()
    plan: Plan
    arms: Arms
    data: Data = Data()
    pair: tuple[Pair, ...] = ()
    guardrail: tuple[Guardrail, ...] = ()
    line: tuple[Line, ...] = ()
    check: tuple[Check, ...] = ()
    monitor: Monitor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """One thing the bar demands, whatever section it stands in.

    Attributes
    ----------
    name
        Unique within the bar: ``"help against harm / risk"``.
    role
        ``"value"``, ``"risk"``, ``"guardrail"`` or ``"line"``.
    metric
        Name of the metric.
    direction
        ``"greater"`` where the estimate must lie above ``threshold``, ``"less"`` where below.
    threshold
        The margin of a comparison, or the limit of a hard line.
    arm
        The arm a hard line speaks of; ``None`` for a comparison of the two.
    comparison
        ``"non-inferior"``, ``"superior"``, ``"upper"`` or ``"lower"``.
    minimum_n
        Units below which the clause is not decided.
    where
        Slice the clause is limited to.
    rationale
        Why this number, in the words of the bar's author.
    """

    name: str
    role: str
    metric: str
    direction: Literal["greater", "less"]
    threshold: float
    arm: str | None
    comparison: str
    minimum_n: int
    where: Mapping[str, str]
    rationale: str

    @property
    def tradeable(self) -> bool:
        """Whether a signed waiver may set the clause aside; hard lines never."""
        return self.role != "line"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A launch bar as read from its file.

    Attributes
    ----------
    path
        The file.
    sha256
        Digest of the file's bytes: one changed character is another bar.
    document
        The checked content.
    """

    path: Path
    sha256: str
    document: _Document

    @property
    def folder(self) -> Path:
        """Folder that the file's relative paths start from."""
        return self.path.parent

    def metric_names(self) -> list[str]:
        """Names of the metrics the bar speaks of, each once, in order of appearance."""
        names: dict[str, None] = {}
        for requirement in self._requirements():
            names[requirement.metric] = None
        for line in self.document.line:
            names[line.metric] = None
        return list(names)

    def _requirements(self) -> list[Requirement]:
        paired = [side for pair in self.document.pair for side in (pair.value, pair.risk)]
        return [*paired, *self.document.guardrail]

    def clauses(self, catalog: Mapping[str, Metric]) -> list[Clause]:
        """Everything the bar demands, checked against the definitions of its metrics.

        Parameters
        ----------
        catalog
            Metric definitions by name.

        Raises
        ------
        UnknownName
            Where a metric is not defined.
        SpecError
            Where a margin has the wrong sign, a metric stands in a role it does not have, or a metric has no
            better direction.
        """
        clauses = []
        for pair in self.document.pair:
            clauses.append(self._comparison(f"{pair.name} / value", "value", pair.value, catalog))
            clauses.append(self._comparison(f"{pair.name} / risk", "risk", pair.risk, catalog))
        for rail in self.document.guardrail:
            clauses.append(self._comparison(rail.name, "guardrail", rail, catalog))
        for line in self.document.line:
            clauses.append(self._line(line, catalog))
        return clauses

    def _metric(self, name: str, catalog: Mapping[str, Metric]) -> Metric:
        if name not in catalog:
            raise UnknownName("metric", name, catalog, place=self.path.name)
        return catalog[name]

    def _comparison(self, name: str, role: str, need: Requirement, catalog: Mapping[str, Metric]) -> Clause:
        metric = self._metric(need.metric, catalog)
        if role in ("value", "risk") and metric.role != role:
            raise SpecError(
                f"{self.path.name}: {need.metric} stands as the {role} metric of a pair but is a {metric.role} metric",
                seen=f"role = {metric.role!r} in {need.metric}.sql, clause {name!r}",
                next_step=f"name a metric of role {role}, or say role = {role!r} in the metric file",
            )
        if metric.better not in ("higher", "lower"):
            raise SpecError(
                f"{self.path.name}: {need.metric} has no better direction, so it cannot stand in a comparison",
                seen=f"better = {metric.better!r}",
                next_step="declare better = 'higher' or 'lower' in the metric file",
            )
        higher = metric.better == "higher"
        self._check_sign(need, higher)
        return Clause(
            name=name,
            role=role,
            metric=need.metric,
            direction="greater" if higher else "less",
            threshold=need.margin,
            arm=None,
            comparison=need.comparison,
            minimum_n=need.minimum_n,
            where=need.where,
            rationale=need.rationale,
        )

    def _check_sign(self, need: Requirement, higher: bool) -> None:
        allowed_loss = need.comparison == "non-inferior"
        must_be_negative = higher == allowed_loss
        if need.margin == 0 or (need.margin < 0) == must_be_negative:
            return
        meaning = "the loss you accept" if allowed_loss else "the gain you demand"
        raise SpecError(
            f"{self.path.name}: the margin of {need.metric} has the wrong sign",
            seen=f"margin = {need.margin:g} with comparison = {need.comparison!r}, better = "
            f"{'higher' if higher else 'lower'}",
            next_step=f"write margin = {-need.margin:g}: it is {meaning}, on the scale candidate − baseline",
        )

    def _line(self, line: Line, catalog: Mapping[str, Metric]) -> Clause:
        self._metric(line.metric, catalog)
        arms = self.document.arms
        return Clause(
            name=line.name,
            role="line",
            metric=line.metric,
            direction="less" if line.bound == "upper" else "greater",
            threshold=line.limit,
            arm=arms.candidate if line.arm == "candidate" else arms.baseline,
            comparison=line.bound,
            minimum_n=line.minimum_n,
            where=line.where,
            rationale=line.rationale,
        )


def load_bar(path: Path) -> Bar:
    """Read a launch bar and check its form.

    Parameters
    ----------
    path
        The TOML file.

    Raises
    ------
    SpecError
        Where the file is missing, is not TOML, has an unknown or missing key, or a value out of range.

    Notes
    -----
    Pairing each value metric with a risk metric, and passing only when all clauses clear, makes the gate an
    intersection–union test (Berger, 1982): its overall type I error is at most that of a single clause.

    Examples
    --------
    >>> load_bar(Path("nowhere.toml"))
    Traceback (most recent call last):
    ...
    jurat.errors.SpecError: no such launch bar
      seen: nowhere.toml
      next: give the path of the launch bar; see docs/reference/launch-bar.md
    """
    read = read_document(path, _Document, what="launch bar", reference="docs/reference/launch-bar.md")
    bar = Bar(path=read.path, sha256=read.sha256, document=read.content)
    _check_names(bar)
    return bar


def _check_names(bar: Bar) -> None:
    document = bar.document
    if not document.pair and not (document.data.corpus and document.line):
        raise SpecError(
            f"{bar.path.name}: a bar needs a pair of a value metric and a risk metric",
            seen="no [[pair]]",
            next_step="add one; a bar over a data specification (data.corpus) may have hard lines alone",
        )
    if document.arms.baseline == document.arms.candidate:
        raise SpecError(
            f"{bar.path.name}: baseline and candidate are the same arm",
            seen=repr(document.arms.baseline),
            next_step="name two arms",
        )
    names = [p.name for p in document.pair] + [g.name for g in document.guardrail] + [x.name for x in document.line]
    for name in names:
        if names.count(name) > 1:
            raise SpecError(
                f"{bar.path.name}: two clauses have the same name",
                seen=repr(name),
                next_step="give each pair, guardrail and line its own name",
            )
