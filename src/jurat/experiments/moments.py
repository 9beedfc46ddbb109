"""From rows to one small table: per-cluster sums and their moments per arm, made by the engine in one query.

The query has two levels. The lower one sums each metric over the rows of a cluster; the upper one takes means and centred
covariances of those sums over the clusters of an arm. Only the pairs of sums that an estimator needs are asked for. Where a
cluster may hold rows of several arms (users who saw both, items answered by both), the arms' sums stand side by side in one
group, so that their covariance is estimated too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import pyarrow as pa
import sqlglot
from sqlglot import exp

from jurat.errors import DataError
from jurat.experiments.data import ExperimentData, quoted
from jurat.experiments.spec import Experiment, MetricSpec
from jurat.stats.moments import Functional, Moments, MomentTable, ratio_of

__all__ = [
    "Aggregate", "Layout", "Scan", "Sums", "cluster_sums", "lower_sql", "moment_table", "population_sql", "scan_sql",
    "stratum_condition",
]  # fmt: skip

_SAMPLE = 1_000
_FAR = 100
"""Rows that are looked at, and how many times their range values must lie from zero to be summed about a reference."""


@dataclass(frozen=True, slots=True)
class Sums:
    """The sums that make one metric: numerator over denominator, and its covariates in the same form.

    Attributes
    ----------
    numerator, denominator
        Names of variables.
    covariates
        (numerator, denominator) of each covariate.
    offsets
        What was taken off every row before summing, by numerator; numerators that are not here were left as they are.
    """

    numerator: str
    denominator: str
    covariates: tuple[tuple[str, str], ...] = ()
    offsets: Mapping[str, float] = field(default_factory=dict)

    @property
    def variables(self) -> tuple[str, ...]:
        """All variables, each once."""
        flat = [self.numerator, self.denominator, *(v for pair in self.covariates for v in pair)]
        return tuple(dict.fromkeys(flat))

    def value(self, table: MomentTable, arm: str) -> Functional:
        """The metric's level on an arm."""
        return self._ratio(table, arm, self.numerator, self.denominator)

    def _ratio(self, table: MomentTable, arm: str, numerator: str, denominator: str) -> Functional:
        found = ratio_of(table, arm, numerator, denominator)
        return Functional(found.value + self.offsets.get(numerator, 0.0), found.gradient)

    def kept_covariates(self, table: MomentTable, treatment: str, control: str) -> list[tuple[str, str]]:
        """Covariates that hold something on both arms."""
        return [(x, d) for x, d in self.covariates if table.mean(treatment, d) != 0 and table.mean(control, d) != 0]

    def covariate_values(self, table: MomentTable, treatment: str, control: str) -> list[tuple[Functional, Functional]]:
        """Each kept covariate on the two arms."""
        kept = self.kept_covariates(table, treatment, control)
        return [(self._ratio(table, treatment, x, d), self._ratio(table, control, x, d)) for x, d in kept]


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One per-cluster sum, in the two forms it takes: over the rows of a cluster, and of a single row.

    Attributes
    ----------
    kind
        ``"rows"`` counts rows, ``"known"`` those where an expression is known, ``"sum"`` adds the expression up.
    row
        Name of the row-level expression; empty for ``"rows"``.
    condition
        Limits the rows; ``None`` for all.
    """

    kind: str
    row: str = ""
    condition: str | None = None

    def grouped(self, further: str | None = None) -> str:
        """SQL over the rows of a group."""
        conditions = [c for c in (self.condition, further) if c is not None]
        only = f" FILTER (WHERE {' AND '.join(conditions)})" if conditions else ""
        if self.kind == "rows":
            return f"COUNT(*){only}"
        return f"COUNT({self.row}){only}" if self.kind == "known" else f"COALESCE(SUM({self.row}){only}, 0)"

    def single(self, further: str | None = None) -> str:
        """SQL of one row."""
        conditions = [c for c in (self.condition, further) if c is not None]
        if self.kind != "rows":
            conditions.append(f"{self.row} IS NOT NULL")
        value = self.row if self.kind == "sum" else "CAST(1 AS DOUBLE)"
        zero = "CAST(0 AS DOUBLE)"
        return f"CASE WHEN {' AND '.join(conditions)} THEN {value} ELSE {zero} END" if conditions else value


class Layout:
    """Which sums a query takes, each once however many metrics use it.

    Parameters
    ----------
    data
        The opened rows: a column known to hold no null needs no count of its own.
    centre
        Whether values far from zero are summed about a reference, so that they do not drown their own variance.
    """

    def __init__(self, data: ExperimentData, *, centre: bool = True) -> None:
        self._data, self._centre = data, centre
        self._offsets: dict[str, float] = {}
        self._complete = data.complete
        self._types = data.columns["outcomes"]
        self.sums: dict[str, Aggregate] = {"n": Aggregate("rows")}
        self.row_expressions: dict[str, str] = {}
        self.pairs: set[tuple[str, str]] = {("n", "n")}
        self.probes: dict[str, str] = {}

    def complete(self, column: str) -> bool:
        """Whether a column of the outcomes is known to hold no null."""
        return column in self._complete

    def _row(self, expression: str) -> str:
        """Name a row-level expression; the same text has the same name."""
        for name, known in self.row_expressions.items():
            if known == expression:
                return name
        name = f"e{len(self.row_expressions)}"
        self.row_expressions[name] = expression
        return name

    def _sum(self, aggregate: Aggregate) -> str:
        for name, known in self.sums.items():
            if known == aggregate:
                return name
        name = f"v{len(self.sums)}"
        self.sums[name] = aggregate
        return name

    def _mean_of(
        self, experiment: Experiment, expression: str, condition: str | None, offsets: dict[str, float] | None
    ) -> tuple[str, str]:
        """Sum and count of the rows where an expression is known."""
        offset = 0.0 if offsets is None else self._offset(experiment, expression)
        row = self._row(expression if offset == 0 else f"CAST(({expression}) AS DOUBLE) - CAST({offset!r} AS DOUBLE)")
        total = self._sum(Aggregate("sum", row, condition))
        if offsets is not None and offset != 0:
            offsets[total] = offset
        if self._never_null(expression):
            return total, "n" if condition is None else self._sum(Aggregate("rows", "", condition))
        return total, self._sum(Aggregate("known", row, condition))

    def _offset(self, experiment: Experiment, expression: str) -> float:
        """Reference of an expression whose values lie far from zero beside their spread; 0 for all others."""
        if not self._centre:
            return 0.0
        if expression not in self._offsets:
            where = experiment.document.population.where
            rows = f"SELECT CAST(({expression}) AS DOUBLE) AS v FROM outcomes" + (f" WHERE {where}" if where else "")
            # A sum of squares keeps 16 digits, and its variance those that the mean leaves: the first rows show how many.
            sql = f"SELECT MIN(v) AS low, MAX(v) AS high FROM (SELECT v FROM ({rows}) AS r LIMIT {_SAMPLE}) AS s"
            found = self._data.query(sql)[0]
            low, high = found["low"], found["high"]
            known = low is not None and np.isfinite(low) and np.isfinite(high)
            far = known and min(abs(low), abs(high)) > _FAR * (high - low) and low * high > 0
            self._offsets[expression] = float(low / 2 + high / 2) if far else 0.0
        return self._offsets[expression]

    def _never_null(self, expression: str) -> bool:
        """Whether a bare column is known to be complete; any larger expression may make a null."""
        tree = sqlglot.parse_one(expression, read="duckdb")
        return isinstance(tree, exp.Column) and tree.name in self._complete

    def metric(self, experiment: Experiment, name: str, *, condition: str | None = None) -> Sums:
        """Add the sums of a metric, over all rows or those of a condition."""
        definition = experiment.metric(name)
        offsets: dict[str, float] = {}
        if definition.kind == "ratio":
            assert definition.per is not None  # noqa: S101 - checked when the spec was read
            value, per = definition.value, definition.per
            # A row counts where both parts are known: half a ratio is no observation.
            above = self._row(f"CASE WHEN ({per}) IS NOT NULL THEN ({value}) END")
            below = self._row(f"CASE WHEN ({value}) IS NOT NULL THEN ({per}) END")
            numerator, denominator = (self._sum(Aggregate("sum", row, condition)) for row in (above, below))
        else:
            # Shares stay whole counts of events.
            taken = None if definition.kind == "proportion" else offsets
            numerator, denominator = self._mean_of(experiment, definition.value, condition, taken)
        covariates = tuple(self._mean_of(experiment, c, condition, offsets) for c in definition.covariates)
        sums = Sums(numerator, denominator, covariates, offsets)
        self.pair(sums.variables)
        if condition is None:
            self._probe(name, definition)
        return sums

    def pair(self, variables: Iterable[str]) -> None:
        """Ask for the covariances among some variables."""
        self.pairs.update(combinations_with_replacement(sorted(set(variables)), 2))

    def _probe(self, name: str, definition: MetricSpec) -> None:
        """Count the rows that no such metric can have, on the way."""
        if definition.kind == "proportion":
            if self._types.get(definition.value) != "bool":
                self.probes[f"proportion {name}"] = f"{self._row(definition.value)} NOT IN (0, 1)"
        elif definition.non_negative:
            parts = [self._row(e) for e in (definition.value, definition.per) if e is not None]
            self.probes[f"negative {name}"] = "(" + " OR ".join(f"{row} < 0" for row in parts) + ")"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What the two-level query returned.

    Attributes
    ----------
    table
        Moments by arm.
    rows
        Rows by arm.
    """

    table: MomentTable
    rows: Mapping[str, int]


def population_sql(
    experiment: Experiment, columns: Mapping[str, str] | None = None, *, where: str | None = None
) -> str:
    """SELECT of the rows that count, with their arm as ``arm__``.

    Parameters
    ----------
    experiment
        The spec.
    columns
        Further expressions by name, over the columns of ``outcomes``.
    where
        A further condition on the rows, SQL of our own writing.

    Notes
    -----
    Exposures in a table of their own give each unit its arm and the time it first met it; rows from before that time are
    left out (`jurat.experiments.validity` says whether that voids the comparison).
    """
    d, a = experiment.document.data, experiment.document.assignment
    extra = "".join(f", ({expression}) AS {quoted(name)}" for name, expression in (columns or {}).items())
    limits = (experiment.document.population.where, where, _washed_sql(experiment))
    conditions = [f"({condition})" for condition in limits if condition is not None]
    if d.exposures is None:
        arm, source = quoted(a.arm), "outcomes"
    else:
        unit = quoted(a.unit)
        first = f", MIN({quoted(d.time)}) AS first__" if d.time is not None else ""
        exposed = f"SELECT {unit} AS unit__, MIN({quoted(a.arm)}) AS assigned__{first} FROM exposures GROUP BY {unit}"
        source = f"outcomes INNER JOIN ({exposed}) AS exposed ON outcomes.{unit} = exposed.unit__"
        arm = "exposed.assigned__"
        if d.time is not None:
            conditions.append(f"outcomes.{quoted(d.time)} >= exposed.first__")
    limit = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT CAST({arm} AS VARCHAR) AS arm__{extra} FROM {source}{limit}"


def _washed_sql(experiment: Experiment) -> str | None:
    """Condition that leaves out the first periods of every block of a switchback, where the other arm still echoes.

    Every block loses them, not only those after a change of arm: which blocks follow a change depends on the assignment, and
    selecting by it would bias the error (Hu and Wager, 2022).
    """
    a = experiment.document.assignment
    if a.design != "switchback" or a.washout_periods == 0 or a.period is None or experiment.cluster is None:
        return None
    block, period = quoted(experiment.cluster), quoted(a.period)
    ranked = (
        f"SELECT b__, p__, ROW_NUMBER() OVER (PARTITION BY b__ ORDER BY p__) AS place__ "
        f"FROM (SELECT DISTINCT {block} AS b__, {period} AS p__ FROM outcomes) AS periods"
    )
    kept = f"SELECT (b__, p__) FROM ({ranked}) AS ranked WHERE place__ > {int(a.washout_periods)}"
    return f"({block}, {period}) IN ({kept})"


def scan_sql(
    experiment: Experiment,
    layout: Layout,
    *,
    cluster: Sequence[str],
    joint: bool,
    strata: Mapping[str, str] | None = None,
) -> str:
    """Write the two-level query.

    Parameters
    ----------
    experiment
        The spec.
    layout
        The sums and the pairs whose covariance is wanted.
    cluster
        Columns that make a cluster; none where rows are independent.
    joint
        Whether the arms' sums stand side by side in one group.
    strata
        Further row-level columns that conditions of the layout speak of.
    """
    lower = lower_sql(experiment, layout, cluster=cluster, joint=joint, strata=strata)
    names = _columns(layout, experiment, joint)
    means = [f"AVG({v}) AS {_safe('m', v)}" for v in names]
    spreads = [f"COVAR_SAMP({a}, {b}) AS {_safe('c', a, b)}" for a, b in _pairs(layout, experiment, joint)]
    probes = [f"SUM(probe{i}) AS probe{i}" for i in range(len(layout.probes))]
    unknown = ["SUM(unknown__) AS unknown__"]
    group = "" if joint else "arm__, "
    by = "" if joint else " GROUP BY arm__ ORDER BY arm__ NULLS FIRST"
    rows = (
        "n" if not joint else " + ".join(_joint_name(i, "n") for i in range(len(experiment.document.assignment.arms)))
    )
    head = f"SELECT {group}COUNT(*) AS clusters__, SUM({rows}) AS rows__, "
    return f"WITH cluster_level AS ({lower})\n{head}{', '.join([*means, *spreads, *probes, *unknown])} FROM cluster_level{by}"


def lower_sql(
    experiment: Experiment,
    layout: Layout,
    *,
    cluster: Sequence[str],
    joint: bool,
    strata: Mapping[str, str] | None = None,
    keys: Sequence[str] = (),
    where: str | None = None,
) -> str:
    """Write the lower level alone: one row per cluster (and arm, and key) with its sums."""
    columns = {name: f"CAST(({e}) AS DOUBLE)" for name, e in layout.row_expressions.items()}
    columns |= {f"k{i}__": quoted(c) for i, c in enumerate(cluster)} | dict(strata or {})
    rows = population_sql(experiment, columns, where=where)
    sums = _sums_sql(experiment, layout, joint=joint, single=not cluster)
    missing = _missing_sql(experiment, layout, cluster)
    if not cluster:
        # Rows are independent: each is a cluster of one, and there is nothing to group.
        probes = [f"CASE WHEN {p} THEN 1 ELSE 0 END AS probe{i}" for i, p in enumerate(layout.probes.values())]
        unknown = f"CASE WHEN {missing} THEN 1 ELSE 0 END AS unknown__"
        head = [*(["arm__"] if not joint else []), *keys]
        return f"SELECT {', '.join([*head, *sums, *probes, unknown])} FROM ({rows}) AS row_level"
    probes = [f"COUNT(*) FILTER (WHERE {p}) AS probe{i}" for i, p in enumerate(layout.probes.values())]
    unknown = f"COUNT(*) FILTER (WHERE {missing}) AS unknown__"
    group = [*(["arm__"] if not joint else []), *(f"k{i}__" for i in range(len(cluster))), *keys]
    return (
        f"SELECT {', '.join([*group, *sums, *probes, unknown])} FROM ({rows}) AS row_level GROUP BY {', '.join(group)}"
    )


def _missing_sql(experiment: Experiment, layout: Layout, cluster: Sequence[str]) -> str:
    """Condition of a row whose arm or cluster is unknown; what the files say is complete is not asked again."""
    d, a = experiment.document.data, experiment.document.assignment
    known = d.exposures is None and layout.complete(a.arm)
    conditions = [] if known else ["arm__ IS NULL"]
    conditions += [f"k{i}__ IS NULL" for i, name in enumerate(cluster) if not layout.complete(name)]
    return " OR ".join(conditions) or "FALSE"


def _sums_sql(experiment: Experiment, layout: Layout, *, joint: bool, single: bool) -> list[str]:
    def sql(aggregate: Aggregate, further: str | None = None) -> str:
        return aggregate.single(further) if single else aggregate.grouped(further)

    if not joint:
        return [f"{sql(s)} AS {v}" for v, s in layout.sums.items()]
    # The arm's name is a literal of our own writing, its quotes doubled.
    arms = [f"arm__ = {exp.Literal.string(arm).sql('duckdb')}" for arm in experiment.document.assignment.arms]
    return [f"{sql(s, only)} AS {_joint_name(i, v)}" for i, only in enumerate(arms) for v, s in layout.sums.items()]


def _joint_name(arm: int, variable: str) -> str:
    """Column of an arm's sum, by the arm's place: engines take 'a' and 'A' for the same name."""
    return f"a{arm}__{variable}"


def _columns(layout: Layout, experiment: Experiment, joint: bool) -> list[str]:
    if not joint:
        return list(layout.sums)
    return [_joint_name(i, v) for i in range(len(experiment.document.assignment.arms)) for v in layout.sums]


def _pairs(layout: Layout, experiment: Experiment, joint: bool) -> list[tuple[str, str]]:
    if not joint:
        return sorted(layout.pairs)
    arms = range(len(experiment.document.assignment.arms))
    found = set()
    for a, b in layout.pairs:
        for first in arms:
            for second in arms:
                found.add(tuple(sorted((_joint_name(first, a), _joint_name(second, b)))))
    return sorted((a, b) for a, b in found)


def _safe(kind: str, *names: str) -> str:
    return quoted("|".join([kind, *(n.strip('"').replace('""', '"') for n in names)]))


def moment_table(
    experiment: Experiment,
    data: ExperimentData,
    layout: Layout,
    *,
    cluster: Sequence[str] | None = None,
    joint: bool = False,
    strata: Mapping[str, str] | None = None,
) -> Scan:
    """Run the two-level query and check what came back.

    Parameters
    ----------
    experiment, data, layout
        The spec, its rows, the sums wanted.
    cluster
        Columns of the cluster; the spec's by default.
    joint
        As in `scan_sql`.
    strata
        As in `scan_sql`.

    Raises
    ------
    DataError
        Where an arm is missing or unknown, a cluster or arm is null, or a metric holds values it cannot have.
    """
    keys = cluster if cluster is not None else ([] if experiment.cluster is None else [experiment.cluster])
    sql = scan_sql(experiment, layout, cluster=keys, joint=joint, strata=strata)
    result = data.engine.query(sql)
    rows = result.to_pylist()
    _check_probes(experiment, layout, rows)
    names = tuple(layout.sums)
    arms = tuple(experiment.document.assignment.arms)
    if joint:
        written = {f"{arm}/{v}": _joint_name(i, v) for i, arm in enumerate(arms) for v in names}
        group = _moments(rows[0], tuple(written), written)
        counted = {arm: _rows_of(group, f"{arm}/n") for arm in arms}
        _check_arms(experiment, {arm: n for arm, n in counted.items() if n})
        return Scan(table=MomentTable(groups={"": group}, arms=arms, joint=True), rows=counted)
    _check_arms(experiment, {row["arm__"]: int(row["rows__"]) for row in rows})
    groups = {row["arm__"]: _moments(row, names, {n: n for n in names}) for row in rows}
    table = MomentTable(groups={arm: groups[arm] for arm in arms}, arms=arms)
    return Scan(table=table, rows={arm: groups[arm].rows for arm in arms})


def _rows_of(group: Moments, name: str) -> int:
    return round(float(group.mean[group.names.index(name)]) * group.clusters)


def _moments(row: Mapping[str, Any], names: Sequence[str], written: Mapping[str, str]) -> Moments:
    size = len(names)
    spread = np.full((size, size), np.nan)
    for i, a in enumerate(names):
        for j, b in enumerate(names):
            first, second = sorted((written[a], written[b]))
            key = _safe("c", first, second)[1:-1].replace('""', '"')
            if key in row:
                # One cluster has no covariance; zero stands in and the single cluster is refused downstream.
                spread[i, j] = 0.0 if row[key] is None else row[key]
    means = np.array([row[_safe("m", written[n])[1:-1].replace('""', '"')] for n in names], dtype=np.float64)
    return Moments(
        names=tuple(names), clusters=int(row["clusters__"]), rows=int(row["rows__"]), mean=means, covariance=spread
    )


def _check_arms(experiment: Experiment, rows: Mapping[Any, int]) -> None:
    arms = experiment.document.assignment.arms
    for arm, count in rows.items():
        if arm not in arms:
            raise DataError(
                "the data hold an arm that the spec does not know",
                seen=f"{arm!r} with {count:,} rows; the spec has {', '.join(arms)}",
                next_step="name it in assignment.arms with its planned share, or leave it out by population.where",
            )
    for arm in arms:
        if not rows.get(arm):
            raise DataError(
                f"the arm {arm} has no rows",
                seen=", ".join(f"{k}: {v:,}" for k, v in rows.items()) or "no rows at all",
                next_step="bring its rows, or mend population.where or the name of the arm",
            )


def _check_probes(experiment: Experiment, layout: Layout, rows: Sequence[Mapping[str, Any]]) -> None:
    """Say which metric holds what it cannot hold; sums over such rows would be numbers about nothing."""
    unknown = sum(int(row["unknown__"] or 0) for row in rows)
    if unknown:
        names = [experiment.document.assignment.arm] + ([experiment.cluster] if experiment.cluster else [])
        raise DataError(
            f"{unknown:,} rows have no {' or no '.join(names)}",
            seen=f"{unknown:,} rows with null there",
            next_step="say whom they belong to, or leave them out by population.where and report how many",
        )
    for i, name in enumerate(layout.probes):
        bad = sum(int(row[f"probe{i}"] or 0) for row in rows)
        kind, metric = name.split(" ", 1)
        if bad:
            what = "neither 0 nor 1" if kind == "proportion" else "below 0"
            raise DataError(
                f"the metric {metric} holds values that it cannot have",
                seen=f"{bad:,} rows {what}",
                next_step="mend the rows or the metric's SQL",
            )
    for row in rows:
        for key, value in row.items():
            unusable = value is None if key.startswith("m|") else False
            if unusable or (key.startswith(("m|", "c|")) and value is not None and not np.isfinite(value)):
                raise DataError(
                    "a metric holds values that are not finite",
                    seen=f"a sum over the arm {row.get('arm__', '')} is {value}",
                    next_step="leave unknown values null; NaN and infinity are no measurements",
                )


def cluster_sums(
    experiment: Experiment, data: ExperimentData, sums: Sums, layout: Layout, *, cluster: Sequence[str] | None = None
) -> pa.Table:
    """Per-cluster sums of one metric, for estimators that need each cluster: one row per arm and cluster.

    Returns
    -------
    pyarrow.Table
        Columns ``arm__``, the cluster's keys ``k0__``…, and the metric's variables, ordered by arm and cluster.
    """
    keys = cluster if cluster is not None else ([] if experiment.cluster is None else [experiment.cluster])
    lower = lower_sql(experiment, layout, cluster=keys, joint=False)
    order = ", ".join(["arm__", *(f"k{i}__" for i in range(len(keys)))])
    wanted = ", ".join([order, *sums.variables])
    return data.engine.query(f"SELECT {wanted} FROM ({lower}) AS cluster_level ORDER BY {order}")


def stratum_condition(column: str, value: Any) -> str:
    """Write that a stratum column has a value, with the value as a literal."""
    if value is None:
        return f"{quoted(column)} IS NULL"
    return f"{quoted(column)} = {exp.convert(str(value)).sql('duckdb')}"
