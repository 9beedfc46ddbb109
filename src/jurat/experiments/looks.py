"""All looks of an experiment from daily increments: what one more day adds to every moment.

If a cluster's running sums are A and B and a day adds a and b, its product AB grows by Ab + aB + ab. So the moments of every
look follow from one pass over the days, and those of tomorrow from the running sums of today; no look reads old rows again.
Sums are taken about a reference value per row, fixed on the first day, so that large means do not drown the variances.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jurat.experiments.data import ExperimentData, quoted
from jurat.experiments.moments import Layout, Sums, lower_sql, population_sql
from jurat.experiments.spec import Experiment
from jurat.stats.moments import Moments, MomentTable

__all__ = ["DayTotals", "LookLayout", "Running", "increments_sql", "one_pass", "reference_values"]


class LookLayout:
    """The sums of the claimed metrics, and how each is centred.

    Parameters
    ----------
    experiment, data
        The spec and its rows.
    """

    def __init__(self, experiment: Experiment, data: ExperimentData) -> None:
        # Centred here, by day; the state keeps sums of the rows as they are.
        self.layout = Layout(data, centre=False)
        claimed = dict.fromkeys(claim.metric for claim in experiment.claims)
        names = [m for m in claimed if experiment.metric(m).kind != "quantile"]
        self.sums: dict[str, Sums] = {name: self.layout.metric(experiment, name) for name in names}
        for bar in experiment.document.bar:
            pair = [self.sums[m] for m in (bar.value.metric, bar.risk.metric) if m in self.sums]
            self.layout.pair(v for s in pair for v in s.variables)
        # Centring by the row count needs its covariance with every sum.
        for name in list(self.layout.sums):
            self.layout.pair([name, "n"])
        self.names = tuple(self.layout.sums)
        self.pairs = tuple(sorted(self.layout.pairs))

    @property
    def centred(self) -> tuple[str, ...]:
        """Variables that are sums of values, not counts."""
        return tuple(v for v, aggregate in self.layout.sums.items() if aggregate.kind == "sum")


@dataclass(frozen=True, slots=True, kw_only=True)
class DayTotals:
    """What one day added to one arm.

    Attributes
    ----------
    day, arm
        Which.
    clusters
        Clusters seen for the first time.
    sums
        Added to the total of each variable, shape (variables,).
    products
        Added to the sum over clusters of each pair's product, shape (pairs,).
    """

    day: str
    arm: str
    clusters: int
    sums: tuple[float, ...]
    products: tuple[float, ...]


class Running:
    """Totals of the days so far, per arm; gives the moments at any point.

    Parameters
    ----------
    names, pairs
        Variables, and the pairs whose products are kept.
    reference
        Value per row that was taken off each centred variable.
    arms
        The arms.
    """

    def __init__(
        self,
        names: Sequence[str],
        pairs: Sequence[tuple[str, str]],
        reference: Mapping[str, float],
        arms: Sequence[str],
    ) -> None:
        self.names, self.pairs, self.reference, self.arms = tuple(names), tuple(pairs), dict(reference), tuple(arms)
        self.clusters = dict.fromkeys(arms, 0)
        self.sums = {arm: np.zeros(len(self.names)) for arm in arms}
        self.products = {arm: np.zeros(len(self.pairs)) for arm in arms}

    def add(self, total: DayTotals) -> None:
        """Take a day's totals in."""
        self.clusters[total.arm] += total.clusters
        self.sums[total.arm] += np.array(total.sums)
        self.products[total.arm] += np.array(total.products)

    def table(self) -> MomentTable:
        """Moments of everything added so far, back on the metrics' own scale."""
        return MomentTable(groups={arm: self._moments(arm) for arm in self.arms}, arms=self.arms)

    def _moments(self, arm: str) -> Moments:
        count, size = self.clusters[arm], len(self.names)
        mean = self.sums[arm] / max(count, 1)
        spread = np.full((size, size), np.nan)
        place = {name: i for i, name in enumerate(self.names)}
        for (a, b), product in zip(self.pairs, self.products[arm], strict=True):
            i, j = place[a], place[b]
            value = (product - count * mean[i] * mean[j]) / (count - 1) if count > 1 else 0.0
            spread[i, j] = spread[j, i] = value
        return self._restored(arm, count, mean, spread)

    def _restored(self, arm: str, count: int, mean: np.ndarray, spread: np.ndarray) -> Moments:
        """Undo the centring: each centred sum is the value's sum less the reference times the rows."""
        place = self.names.index("n")
        shift = np.array([self.reference.get(name, 0.0) for name in self.names])
        rows = spread[:, place]
        full = spread + np.outer(shift, rows) + np.outer(rows, shift) + np.outer(shift, shift) * spread[place, place]
        return Moments(
            names=self.names,
            clusters=count,
            rows=round(mean[place] * count),
            mean=mean + shift * mean[place],
            covariance=full,
        )


def day_sql(experiment: Experiment) -> str:
    """SQL of the day of an outcome; a date is a number, and groups faster than its text."""
    time = experiment.document.data.time
    assert time is not None  # noqa: S101 - monitoring asks for it
    return f"CAST({quoted(time)} AS DATE)"


def reference_values(experiment: Experiment, data: ExperimentData, looks: LookLayout, day: str) -> dict[str, float]:
    """Mean per row of each centred variable on the first day, cut to a few binary digits so that whole numbers stay exact."""
    if not looks.centred:
        return {}
    rows = population_sql(
        experiment,
        {name: f"CAST(({e}) AS DOUBLE)" for name, e in looks.layout.row_expressions.items()}
        | {"s__": day_sql(experiment)},
    )
    wanted = ", ".join(f"AVG({looks.layout.sums[v].row}) AS {v}" for v in looks.centred)
    row = data.query(f"SELECT {wanted} FROM ({rows}) AS r WHERE s__ = CAST($day AS DATE)", day=day)[0]
    return {v: 0.0 if row[v] is None else _coarse(float(row[v])) for v in looks.centred}


def _coarse(value: float) -> float:
    """Nearest number of four binary digits.

    Examples
    --------
    >>> _coarse(183.2), _coarse(0.61), _coarse(0.0)
    (176.0, 0.625, 0.0)
    """
    if value == 0 or not np.isfinite(value):
        return 0.0
    scale = 2.0 ** (np.floor(np.log2(abs(value))) - 3)
    return float(np.round(value / scale) * scale)


def increments_sql(
    experiment: Experiment, looks: LookLayout, reference: Mapping[str, float], *, where: str | None = None
) -> str:
    """SELECT of one row per arm, cluster and day, with the centred sums of that day."""
    keys = [] if experiment.cluster is None else [experiment.cluster]
    lower = lower_sql(
        experiment,
        looks.layout,
        cluster=keys,
        joint=False,
        strata={"s__": day_sql(experiment)},
        keys=("s__",),
        where=where,
    )
    columns = [
        f"{v} - CAST({reference[v]!r} AS DOUBLE) * n AS {v}" if v in reference else f"CAST({v} AS DOUBLE) AS {v}"
        for v in looks.names
    ]
    # One number for each row where rows are independent: none of them comes back on another day.
    key = "k0__" if keys else "CAST(ROW_NUMBER() OVER () AS VARCHAR) || CAST(s__ AS VARCHAR) AS k0__"
    return f"SELECT arm__, {key}, s__, {', '.join(columns)} FROM ({lower}) AS day_level"


def _sum_product(a: str, b: str) -> str:
    if a == b:
        return f"SUM({a} * ({a} + 2 * before_{a}))"
    return f"SUM({a} * {b} + {a} * before_{b} + {b} * before_{a})"


def totals_columns(looks: LookLayout) -> str:
    """What is added up over the clusters of a day, where each row also holds the sums from before the day."""
    sums = [f"SUM({v}) AS s{i}" for i, v in enumerate(looks.names)]
    products = [f"{_sum_product(a, b)} AS p{i}" for i, (a, b) in enumerate(looks.pairs)]
    return ", ".join([*sums, *products])


def day_totals(row: Mapping[str, Any], looks: LookLayout) -> DayTotals:
    """Read one row of a totals query."""
    return DayTotals(
        day=str(row["s__"]),
        arm=str(row["arm__"]),
        clusters=int(row["new__"]),
        sums=tuple(float(row[f"s{i}"]) for i in range(len(looks.names))),
        products=tuple(float(row[f"p{i}"]) for i in range(len(looks.pairs))),
    )


def one_pass(
    experiment: Experiment, data: ExperimentData, looks: LookLayout, reference: Mapping[str, float]
) -> list[DayTotals]:
    """Totals of every day and arm in one query over all rows, in the order of the days."""
    days = increments_sql(experiment, looks, reference)
    window = "PARTITION BY arm__, k0__ ORDER BY s__ ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING"
    before = [f"COALESCE(SUM({v}) OVER w, 0) AS before_{v}" for v in looks.names]
    first = "CASE WHEN ROW_NUMBER() OVER (PARTITION BY arm__, k0__ ORDER BY s__) = 1 THEN 1 ELSE 0 END AS first__"
    sql = (
        f"WITH days AS ({days}), running AS (SELECT *, {', '.join(before)}, {first} FROM days WINDOW w AS ({window})) "
        f"SELECT s__, arm__, SUM(first__) AS new__, {totals_columns(looks)} FROM running GROUP BY s__, arm__ ORDER BY s__, arm__"
    )
    return [day_totals(row, looks) for row in data.query(sql)]
