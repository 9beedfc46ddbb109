"""The experiment in a file: who is studied, what is randomised, what must hold, and when one may stop.

Everything that could be chosen after the data are seen is fixed here first: population, unit of assignment, cluster of
analysis, metrics with their SQL, the value metric paired with the risk it could buy, margins with a reason, checks,
stopping rule, multiplicity. `jurat.experiments.registration` locks the file; the analysis follows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import sqlglot
from pydantic import Field, model_validator
from sqlglot import exp

from jurat.errors import SpecError, UnknownName
from jurat.experiments.margin import Margin, parse_margin
from jurat.store.document import Section, read_document
from jurat.store.lint import lint

__all__ = [
    "Assignment", "Claim", "Experiment", "MetricSpec", "Requirement", "SpecDocument", "expression_columns", "load_spec",
]  # fmt: skip

REFERENCE = "docs/reference/experiment-spec.md"
CHECKS = (
    "sample_ratio", "exposure", "multiple_exposure", "fingerprint", "retrain_contamination", "judge_anchor",
    "missing_outcomes", "preperiod_balance", "spillover",
)  # fmt: skip
"""Validity checks by name, in the order they are made."""

Check = Literal[
    "sample_ratio", "exposure", "multiple_exposure", "fingerprint", "retrain_contamination", "judge_anchor",
    "missing_outcomes", "preperiod_balance", "spillover",
]  # fmt: skip


class Data(Section):
    """Where the rows lie: files relative to the spec (or to ``--data``), or tables of a lake."""

    outcomes: str
    exposures: str | None = None
    training: str | None = None
    anchor: str | None = None
    time: str | None = None
    before_exposure: Literal["invalid", "exclude"] = "invalid"


class Population(Section):
    """Which rows count."""

    where: str | None = None
    describe: str = ""


class Assignment(Section):
    """What was randomised, and how."""

    unit: str
    arm: str = "arm"
    control: str
    arms: Mapping[str, float] = Field(min_length=2)
    srm_alpha: float = Field(default=0.001, gt=0, lt=0.5)
    salt_sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    design: Literal["units", "clusters", "switchback", "shadow"] = "units"
    group: str | None = None
    period: str | None = None
    washout_periods: int = Field(default=0, ge=0)


class Inference(Section):
    """What depends on what, and how sure one wants to be."""

    cluster: str
    crossed: str | None = None
    method: Literal["confidence_sequence", "fixed", "group_sequential"] = "confidence_sequence"
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    power: float = Field(default=0.8, gt=0.5, lt=1)
    planned_clusters: int = Field(ge=2)
    looks: int = Field(default=5, ge=1, le=100)
    spending: Literal["obrien-fleming", "pocock"] = "obrien-fleming"
    variance: Literal["auto", "CR1", "CR2"] = "auto"


class Treatment(Section):
    """What makes an arm the arm it is: columns that must not change inside the window."""

    fingerprint: tuple[str, ...] = ()
    allow_refresh: bool = False


class Stopping(Section):
    """When one may look, and when one may stop."""

    looks: Literal["daily", "once"] = "daily"
    minimum_days: int = Field(default=7, ge=1)
    minimum_clusters: int = Field(default=100, ge=2)
    stop_for: tuple[Literal["risk_harm", "success"], ...] = ("risk_harm",)


class Multiplicity(Section):
    """How the error is shared out among many claims."""

    primary: Literal["holm", "none"] = "holm"
    noninferiority: Literal["none", "holm"] = "none"
    exploratory: Literal["bh", "by", "none"] = "bh"


class MetricSpec(Section):
    """One metric: an SQL expression over a row, and what is known of it beforehand."""

    kind: Literal["proportion", "mean", "ratio", "quantile"]
    value: str
    per: str | None = None
    q: float | None = Field(default=None, gt=0, lt=1)
    title: str = ""
    unit: str = "row"
    better: Literal["higher", "lower"]
    role: Literal["value", "risk", "guardrail", "exploratory"] = "exploratory"
    covariates: tuple[str, ...] = ()
    non_negative: bool = False
    baseline: float | None = None
    standard_deviation: float | None = Field(default=None, gt=0)
    icc: float | None = Field(default=None, ge=0, le=1)
    annotator_accuracy: float | None = Field(default=None, gt=0.5, le=1)


class Requirement(Section):
    """What a metric must show, treatment against control."""

    metric: str
    test: Literal["superior", "noninferior"]
    margin: str | float | None = None
    mde: str | float | None = None
    max_upper_bound: float | None = None
    rationale: str = ""


class Bar(Section):
    """A value metric paired with the risk that it could buy."""

    name: str
    value: Requirement
    risk: Requirement


class Guardrail(Requirement):
    """A further metric that must not be hurt."""

    name: str = ""


class Simpson(Section):
    """Stratifiers that were there before the treatment, and columns that came after it."""

    stratifiers: tuple[str, ...] = ()
    post_treatment: tuple[str, ...] = ()


class TradeOff(Section):
    """What one unit of risk is worth in units of value, said beforehand."""

    exchange_rate: float | None = Field(default=None, gt=0)
    lost: str | None = None
    adversarial: str | None = None


class Traffic(Section):
    """What is expected to arrive, for the plan."""

    units_per_day: float | None = Field(default=None, gt=0)
    rows_per_cluster: float = Field(default=1.0, ge=1)
    cluster_size_cv: float = Field(default=0.0, ge=0)


class SpecDocument(Section):
    """The whole file."""

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    hypothesis: str
    owner: str = ""
    data: Data
    population: Population = Population()
    assignment: Assignment
    inference: Inference
    treatment: Treatment = Treatment()
    stopping: Stopping = Stopping()
    multiplicity: Multiplicity = Multiplicity()
    checks: tuple[Check, ...] = ("sample_ratio", "exposure", "multiple_exposure")
    metrics: Mapping[str, MetricSpec] = Field(min_length=1)
    bar: tuple[Bar, ...] = Field(min_length=1)
    guardrail: tuple[Guardrail, ...] = ()
    simpson: Simpson = Simpson()
    trade_off: TradeOff = TradeOff()
    traffic: Traffic = Traffic()
    not_measured: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _without_exposures(cls, values: Any) -> Any:
        """Where no checks are named, ask for those that the data allow: there is no exposure check without exposures."""
        if isinstance(values, dict) and "checks" not in values and not dict(values.get("data") or {}).get("exposures"):
            return {**values, "checks": ["sample_ratio", "multiple_exposure"]}
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One thing the spec demands, whatever section it stands in.

    Attributes
    ----------
    name
        Unique within the spec: ``"unsafe-vs-retention / risk"``.
    role
        ``"value"``, ``"risk"`` or ``"guardrail"``.
    metric
        Name of the metric.
    test
        ``"superior"`` or ``"noninferior"``.
    margin
        What the difference must lie beyond (0 for a plain superiority test).
    mde
        The effect the plan is powered for; ``None`` where none was said.
    max_upper_bound
        Hard line on the treatment's own level; ``None`` where there is none.
    rationale
        Why these numbers.
    """

    name: str
    role: str
    metric: str
    test: str
    margin: Margin
    mde: Margin | None
    max_upper_bound: float | None
    rationale: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """A spec as read from its file, checked as far as it can be without the data.

    Attributes
    ----------
    path, sha256
        The file and the digest of its bytes.
    document
        Its content.
    claims
        Everything it demands, in the order of the file.
    """

    path: Path
    sha256: str
    document: SpecDocument
    claims: tuple[Claim, ...]

    @property
    def treatments(self) -> tuple[str, ...]:
        """Arms other than the control, in the order of the file."""
        return tuple(a for a in self.document.assignment.arms if a != self.document.assignment.control)

    @property
    def level(self) -> float:
        """Two-sided coverage of the intervals."""
        return 1.0 - self.document.inference.alpha

    @property
    def cluster(self) -> str | None:
        """Column of the cluster; ``None`` where the spec says that rows are independent."""
        name = self.document.inference.cluster
        return None if name == "none" else name

    def metric(self, name: str) -> MetricSpec:
        """Definition of a metric."""
        return self.document.metrics[name]

    def shares(self) -> dict[str, float]:
        """Planned share of each arm, adding up to one."""
        total = sum(self.document.assignment.arms.values())
        return {arm: share / total for arm, share in self.document.assignment.arms.items()}


def load_spec(path: Path) -> Experiment:
    """Read an experiment spec and check everything that can be known without the data.

    Parameters
    ----------
    path
        The TOML file.

    Raises
    ------
    SpecError
        Where the file cannot be read, a key is unknown, a margin has the wrong sign or no reason, shares do not add up
        to one, a metric's SQL breaks a rule, or a stratifier came after the treatment.
    UnknownName
        Where a claim names a metric that is not defined.

    Examples
    --------
    >>> load_spec(Path("nowhere.toml"))
    Traceback (most recent call last):
    ...
    jurat.errors.SpecError: no such experiment spec
      seen: nowhere.toml
      next: give the path of the experiment spec; see docs/reference/experiment-spec.md
    """
    read = read_document(path, SpecDocument, what="experiment spec", reference=REFERENCE)
    document, name = read.content, path.name
    _check_arms(document, name)
    for metric, definition in document.metrics.items():
        _check_metric(metric, definition, name)
    if document.population.where is not None:
        expression_columns(document.population.where, place=f"{name}, population.where")
    claims = _claims(document, name)
    lost = document.trade_off.lost
    if lost is not None and lost not in document.metrics:
        raise UnknownName("metric", lost, document.metrics, place=f"{name}, trade_off.lost")
    _check_dependence(document, name)
    return Experiment(path=path, sha256=read.sha256, document=document, claims=claims)


def _check_arms(document: SpecDocument, name: str) -> None:
    arms = document.assignment.arms
    if document.assignment.control not in arms:
        raise UnknownName("arm", document.assignment.control, arms, place=f"{name}, assignment.control")
    if any(not 0 < share < 1 for share in arms.values()) or abs(sum(arms.values()) - 1) > 1e-9:
        raise SpecError(
            f"{name}: the shares of the arms must be positive and add up to one",
            seen=f"{dict(arms)}, sum {sum(arms.values()):g}",
            next_step="write the planned share of each arm, for example { control = 0.5, treatment = 0.5 }",
        )


def _check_dependence(document: SpecDocument, name: str) -> None:
    """Refuse designs whose analysis would hide dependence that the file itself declares."""
    a, i = document.assignment, document.inference
    if i.cluster == "none" and a.design in ("clusters", "switchback"):
        raise SpecError(
            f"{name}: a {a.design} design has a cluster",
            seen="inference.cluster = 'none'",
            next_step="name the column of what was randomised",
        )
    if a.design == "switchback" and a.period is None:
        raise SpecError(
            f"{name}: a switchback needs the column of its periods",
            seen="assignment.period is not there",
            next_step="write period = 'column'",
        )
    if "spillover" in document.checks and a.group is None:
        raise SpecError(
            f"{name}: the check for spill-over needs the groups within which units touch each other",
            seen="assignment.group is not there",
            next_step="write group = 'column' (organisation, team, market)",
        )
    _check_covariates(document, name)
    for stratifier in document.simpson.stratifiers:
        if stratifier in document.simpson.post_treatment or stratifier in document.treatment.fingerprint:
            raise SpecError(
                f"{name}: {stratifier} comes after the treatment and cannot be a stratifier",
                seen="simpson.stratifiers names a column that the treatment may change",
                next_step="stratify by what was fixed before assignment; conditioning on a consequence biases the effect",
            )
        outcome = [m for m, d in document.metrics.items() if stratifier in expression_columns(d.value, place=name)]
        if outcome:
            raise SpecError(
                f"{name}: {stratifier} is an outcome and cannot be a stratifier",
                seen=f"the metric {outcome[0]} is computed from it",
                next_step="stratify by what was fixed before assignment",
            )


def _check_covariates(document: SpecDocument, name: str) -> None:
    """Refuse covariates that the treatment may change: adjusting for a consequence takes the effect away with it."""
    late = {*document.simpson.post_treatment, *document.treatment.fingerprint}
    outcomes = {definition.value.strip(): metric for metric, definition in document.metrics.items()}
    for metric, definition in document.metrics.items():
        for covariate in definition.covariates:
            place = f"{name}, metrics.{metric}.covariates"
            after = sorted(expression_columns(covariate, place=place) & late)
            if after:
                raise SpecError(
                    f"{place}: {after[0]} comes after the treatment and cannot be a covariate",
                    seen=covariate,
                    next_step="adjust for what was fixed before assignment",
                )
            if outcomes.get(covariate.strip()) == metric:
                raise SpecError(
                    f"{place}: {metric} cannot be its own covariate",
                    seen=covariate,
                    next_step="adjust for what was fixed before assignment, for example the same measure before it",
                )


def _check_metric(metric: str, definition: MetricSpec, name: str) -> None:
    place = f"{name}, metrics.{metric}"
    needs = {"ratio": ("per", definition.per), "quantile": ("q", definition.q)}
    if definition.kind in needs and needs[definition.kind][1] is None:
        key = needs[definition.kind][0]
        raise SpecError(f"{place}: a {definition.kind} needs {key}", seen="nothing there", next_step=f"add {key}")
    for key, value, kinds in (("per", definition.per, ("ratio",)), ("q", definition.q, ("quantile",))):
        if value is not None and definition.kind not in kinds:
            raise SpecError(
                f"{place}: {key} has no meaning for a {definition.kind}", seen=repr(value), next_step="leave it out"
            )
    if definition.covariates and definition.kind == "quantile":
        raise SpecError(
            f"{place}: a quantile takes no covariates",
            seen=", ".join(definition.covariates),
            next_step="leave them out",
        )
    if definition.kind == "proportion" and definition.baseline is not None and not 0 <= definition.baseline <= 1:
        raise SpecError(
            f"{place}: the baseline of a proportion lies in [0, 1]", seen=str(definition.baseline), next_step="mend it"
        )
    for expression in (definition.value, definition.per, *definition.covariates):
        if expression is not None:
            expression_columns(expression, place=place)


def expression_columns(expression: str, *, place: str) -> frozenset[str]:
    """Columns of an SQL expression over one row, which must keep the rules of portable SQL.

    Parameters
    ----------
    expression
        In DuckDB's dialect, without aggregates or subqueries.
    place
        Where it stands, for messages.

    Raises
    ------
    SpecError
        Where it is not one expression, aggregates, has a subquery, or breaks a rule of `jurat.store.lint`.

    Examples
    --------
    >>> sorted(expression_columns("CASE WHEN refused AND intent = 'benign' THEN 1 ELSE 0 END", place="here"))
    ['intent', 'refused']
    """
    if not expression.strip():
        raise SpecError(f"{place}: not an SQL expression", seen="nothing", next_step="name a column, or write SQL")
    try:
        # Parsed and inspected, never run in this form.
        tree = sqlglot.parse_one(f"SELECT {expression} AS v FROM t", read="duckdb")
    except sqlglot.errors.SqlglotError as error:
        raise SpecError(f"{place}: not an SQL expression", seen=expression, next_step="mend it") from error
    whole = isinstance(tree, exp.Select) and len(tree.expressions) == 1 and tree.args.get("where") is None
    if not whole or tree.find(exp.AggFunc, exp.Subquery, exp.Window, exp.Join, exp.Placeholder, exp.Parameter):
        raise SpecError(
            f"{place}: an expression speaks of one row: no aggregate, window, subquery or parameter",
            seen=expression,
            next_step="write what one row contributes; the analysis sums it up",
        )
    if any(node.comments for node in tree.walk()):
        # Written into a longer line, a comment would swallow what follows.
        raise SpecError(f"{place}: an expression takes no comment", seen=expression, next_step="take the comment out")
    breaches = lint(tree.sql("duckdb"))
    if breaches:
        raise SpecError(f"{place}: the SQL is not portable", seen=str(breaches[0]), next_step="mend it as it says")
    return frozenset(column.name for column in tree.find_all(exp.Column))


def _claims(document: SpecDocument, name: str) -> tuple[Claim, ...]:
    claims = []
    for bar in document.bar:
        claims.append(_claim(f"{bar.name} / value", "value", bar.value, document, name))
        claims.append(_claim(f"{bar.name} / risk", "risk", bar.risk, document, name))
    for rail in document.guardrail:
        claims.append(_claim(rail.name or rail.metric, "guardrail", rail, document, name))
    names = [claim.name for claim in claims]
    for doubled in names:
        if names.count(doubled) > 1:
            raise SpecError(f"{name}: two claims have the same name", seen=repr(doubled), next_step="rename one")
    return tuple(claims)


def _claim(title: str, role: str, need: Requirement, document: SpecDocument, name: str) -> Claim:
    place = f"{name}, {title}"
    if need.metric not in document.metrics:
        raise UnknownName("metric", need.metric, document.metrics, place=place)
    metric = document.metrics[need.metric]
    if role in ("value", "risk") and metric.role != role:
        raise SpecError(
            f"{place}: {need.metric} stands as the {role} metric but is declared {metric.role}",
            seen=f"metrics.{need.metric}.role = {metric.role!r}",
            next_step=f"name a {role} metric, or declare role = {role!r}",
        )
    if need.test == "noninferior" and need.margin is None:
        raise SpecError(
            f"{place}: a non-inferiority test needs its margin", seen="no margin", next_step="say what loss you accept"
        )
    if need.test == "noninferior" and not need.rationale.strip():
        raise SpecError(
            f"{place}: a margin needs its reason in words", seen="rationale is empty", next_step="write rationale = '…'"
        )
    margin, mde = (_margin(m, place) for m in (need.margin if need.margin is not None else 0.0, need.mde))
    assert margin is not None  # noqa: S101 - 0.0 at least
    _check_sign(margin, need.test == "noninferior", metric, place, "margin")
    if mde is not None:
        _check_sign(mde, False, metric, place, "mde")
    return Claim(
        name=title,
        role=role,
        metric=need.metric,
        test=need.test,
        margin=margin,
        mde=mde,
        max_upper_bound=need.max_upper_bound,
        rationale=need.rationale,
    )


def _margin(given: str | float | None, place: str) -> Margin | None:
    if given is None:
        return None
    try:
        return parse_margin(given)
    except ValueError as error:
        raise SpecError(f"{place}: not a margin", seen=repr(given), next_step=str(error)) from error


def _check_sign(margin: Margin, allowed_loss: bool, metric: MetricSpec, place: str, key: str) -> None:
    must_be_negative = (metric.better == "higher") == allowed_loss
    if (margin.value == 0 and not allowed_loss) or (margin.value != 0 and (margin.value < 0) == must_be_negative):
        return
    meaning = "the loss you accept" if allowed_loss else "the gain you look for"
    raise SpecError(
        f"{place}: the {key} has the wrong sign",
        seen=f"{key} = {margin.text!r}, better = {metric.better!r}",
        next_step=f"it is {meaning}, on the scale treatment − control: write it {'below' if must_be_negative else 'above'} 0",
    )
