"""Quantiles of skewed outcomes whose rows cluster, computed where the rows are.

Three reads per arm, and never a sort of our own: the quantile; then, over clusters, how many of each cluster's rows lie at
or below it, whose variance says how far the true share may be off; then the quantiles at the ends of that share. The
interval follows the shape of the distribution, and needs no density. Differences by MOVER.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from scipy import stats as sps

from jurat.errors import DataError
from jurat.experiments.data import ExperimentData, quoted
from jurat.experiments.effects import MetricEffect
from jurat.experiments.moments import population_sql
from jurat.experiments.spec import Experiment
from jurat.stats.interval import tail_probability
from jurat.stats.inversion import FLOOR
from jurat.stats.mover import mover_difference
from jurat.stats.result import Interval
from jurat.stats.sequential import mixture_precision, sequence_half_width

__all__ = ["arm_quantile", "quantile_curve", "quantile_effect"]

METHOD = "quantile by indicator, clustered (Woodruff)"


class ArmQuantiles:
    """Quantiles of one metric on one arm, with the cluster variance of the share below each, asked for once.

    Parameters
    ----------
    experiment, data
        The spec and its rows.
    metric
        A metric of kind ``quantile``.
    arm
        The arm.
    """

    def __init__(self, experiment: Experiment, data: ExperimentData, metric: str, arm: str) -> None:
        self.experiment, self.data, self.arm = experiment, data, arm
        self.metric = metric
        expression = f"CAST(({experiment.metric(metric).value}) AS DOUBLE)"
        columns = {"v__": expression}
        if experiment.cluster is not None:
            columns["k__"] = quoted(experiment.cluster)
        self._rows = population_sql(experiment, columns)
        self._shares: dict[float, tuple[float, int, int]] = {}
        self._values: dict[float, float] = {}

    def value(self, share: float) -> float:
        """The quantile at a share in [0, 1]."""
        if share not in self._values:
            # The share is our own number, bound as a parameter; engines want it constant.
            sql = (
                "SELECT QUANTILE_CONT(v__, $share) AS v, MIN(v__) AS low, MAX(v__) AS high "
                f"FROM ({self._rows}) AS r WHERE arm__ = $arm AND v__ IS NOT NULL"
            )
            row = self.data.query(sql, share=share, arm=self.arm)[0]
            self._check(row["low"], row["high"])
            self._values[share] = float(row["v"])
        return self._values[share]

    def _check(self, low: float | None, high: float | None) -> None:
        """Refuse what no quantile can be taken of; NaN sorts above every number and shows as the highest value."""
        if low is None or high is None:
            raise DataError(
                f"the metric {self.metric} has no values on {self.arm}",
                seen="0 rows where it is known",
                next_step="bring its rows, or mend its SQL or the population",
            )
        if not (math.isfinite(low) and math.isfinite(high)):
            raise DataError(
                f"the metric {self.metric} holds values that are not finite",
                seen=f"from {low} to {high} on {self.arm}",
                next_step="leave unknown values null; NaN and infinity are no measurements",
            )
        if low < 0 and self.experiment.metric(self.metric).non_negative:
            raise DataError(
                f"the metric {self.metric} holds values that it cannot have",
                seen=f"{low} on {self.arm}, below 0",
                next_step="mend the rows or the metric's SQL",
            )

    def spread(self, value: float) -> tuple[float, int, int]:
        """Standard error of the share at or below a value, rows, clusters."""
        if value not in self._shares:
            below = "CASE WHEN v__ <= $value THEN 1 ELSE 0 END"
            group = "" if self.experiment.cluster is None else " GROUP BY k__"
            inner = (
                f"SELECT CAST({below} AS DOUBLE) AS s, CAST(1 AS DOUBLE) AS d"
                if not group
                else f"SELECT CAST(SUM({below}) AS DOUBLE) AS s, CAST(COUNT(*) AS DOUBLE) AS d"
            )
            sql = (
                f"WITH c AS ({inner} FROM ({self._rows}) AS r WHERE arm__ = $arm AND v__ IS NOT NULL{group}) "
                "SELECT COUNT(*) AS g, SUM(d) AS n, AVG(s) AS ms, AVG(d) AS md, COVAR_SAMP(s, s) AS ss, "
                "COVAR_SAMP(s, d) AS sd, COVAR_SAMP(d, d) AS dd FROM c"
            )
            row = self.data.query(sql, value=value, arm=self.arm)[0]
            clusters = int(row["g"])
            share = row["ms"] / row["md"]
            variance = 0.0
            if clusters > 1:
                variance = (row["ss"] - 2 * share * row["sd"] + share**2 * row["dd"]) / (clusters * row["md"] ** 2)
            self._shares[value] = (math.sqrt(max(variance, 0.0)), int(row["n"]), clusters)
        return self._shares[value]

    def interval(self, q: float, half_width_of: float, level: float, method: str) -> Interval:
        """Interval of a quantile from the half-width of the share, in standard errors."""
        value = self.value(q)
        se, n, clusters = self.spread(value)
        counted = clusters if self.experiment.cluster is not None else None
        low, high = q - half_width_of * se, q + half_width_of * se
        if clusters < 2 or se == 0 or low <= 0 or high >= 1:
            reason = "too few rows in the tail for bounds at this level" if clusters > 1 else "there is one cluster"
            return Interval(
                value=value, low=None, high=None, level=level, n=n, n_clusters=counted, method=method, reason=reason
            )
        return Interval(
            value=value,
            low=min(self.value(low), value),
            high=max(self.value(high), value),
            level=level,
            n=n,
            n_clusters=counted,
            method=method,
        )

    def fixed(self, q: float, level: float) -> Interval:
        """Interval that holds at one look."""
        _, n, clusters = self.spread(self.value(q))
        df = (clusters if self.experiment.cluster is not None else n) - 1
        return self.interval(q, float(sps.t.isf(tail_probability(level), max(df, 1))), level, METHOD)

    def always(self, q: float, level: float) -> Interval:
        """Interval that holds at all looks: the share's confidence sequence, read on the scale of the outcome."""
        planned = self.experiment.document.inference.planned_clusters * self.experiment.shares()[self.arm]
        _, n, clusters = self.spread(self.value(q))
        units = clusters if self.experiment.cluster is not None else n
        # One mixture for all levels, so that the intervals belong to one sequence; each arm has half the error.
        rho = mixture_precision(planned, level=1 - (1 - self.experiment.level) / 2)
        half = float(sequence_half_width(1.0, units, rho, level=level))
        return self.interval(q, half * math.sqrt(units), level, f"{METHOD}, confidence sequence")


def arm_quantile(experiment: Experiment, data: ExperimentData, metric: str, arm: str) -> Interval:
    """A quantile metric's level on one arm."""
    q = experiment.metric(metric).q
    assert q is not None  # noqa: S101 - checked when the spec was read
    return ArmQuantiles(experiment, data, metric, arm).fixed(q, experiment.level)


def quantile_effect(experiment: Experiment, data: ExperimentData, metric: str, treatment: str) -> MetricEffect:
    """Effect of a treatment on a quantile.

    Parameters
    ----------
    experiment, data
        The spec and its rows.
    metric
        A metric of kind ``quantile``.
    treatment
        The arm.

    Notes
    -----
    Each arm's sequence is taken at half the error, so that the difference of the two keeps it (Bonferroni); at one look the
    two intervals are combined by MOVER.

    References
    ----------
    Woodruff, R. S. (1952). Confidence intervals for medians and other position measures. JASA 47, 635–646. Deng, A.,
    Knoblich, U. and Lu, J. (2018). Applying the delta method in metric analytics. KDD 2018.
    """
    control, q = experiment.document.assignment.control, experiment.metric(metric).q
    assert q is not None  # noqa: S101 - checked when the spec was read
    arms = {arm: ArmQuantiles(experiment, data, metric, arm) for arm in (treatment, control)}
    levels = {arm: found.fixed(q, experiment.level) for arm, found in arms.items()}
    monitored = experiment.document.inference.method == "confidence_sequence"

    def fixed(level: float) -> Interval:
        return mover_difference(arms[treatment].fixed(q, level), arms[control].fixed(q, level))

    def always(level: float) -> Interval:
        half = 1 - (1 - level) / 2
        return _apart(arms[treatment].always(q, half), arms[control].always(q, half), level)

    def at(margin: float, level: float, scale: str) -> Interval:
        found = always(level) if monitored else fixed(level)
        by = margin * abs(levels[control].value or 0.0) if scale == "relative" else margin
        return _shifted(found, by)

    return MetricEffect(
        metric=metric,
        treatment=treatment,
        control=control,
        levels=levels,
        effect=fixed(experiment.level),
        unadjusted=None,
        relative=None,
        sequence=always(experiment.level) if monitored else None,
        variance_kept=None,
        at=at,
        p_values=lambda margin, scale: _facing(at(margin, experiment.level, scale)),
    )


def _facing(found: Interval) -> tuple[float, float]:
    """One-sided p-values against zero from the error that the bound facing zero implies.

    At the interval's own level they say what the bound says; elsewhere they take the bound to move like a normal one, which
    saves two sorts of the data for each step of an inversion.
    """
    if found.value is None or found.low is None or found.high is None:
        return 1.0, 1.0
    reach = found.value - found.low if found.value >= 0 else found.high - found.value
    z = float(sps.norm.isf((1 - found.level) / 2))
    tail = max(float(sps.norm.sf(z * abs(found.value) / reach)), FLOOR) if reach > 0 else 1.0
    return (tail, 1 - tail) if found.value >= 0 else (1 - tail, tail)


def _apart(first: Interval, second: Interval, level: float) -> Interval:
    """Difference of two intervals that hold together: lowest less highest, highest less lowest."""
    value = None if first.value is None or second.value is None else first.value - second.value
    clusters = None if first.n_clusters is None else first.n_clusters + (second.n_clusters or 0)
    bounds = (first.low, first.high, second.low, second.high)
    known = [b for b in bounds if b is not None]
    low, high, reason = None, None, first.reason or second.reason
    if len(known) == 4:
        low, high = known[0] - known[3], known[1] - known[2]
    return Interval(
        value=value, low=low, high=high, level=level, n=first.n + second.n, n_clusters=clusters,
        method="quantile sequences, Bonferroni", reason=reason,
    )  # fmt: skip


def _shifted(found: Interval, by: float) -> Interval:
    low, high, value = (None if x is None else x - by for x in (found.low, found.high, found.value))
    return Interval(
        value=value, low=low, high=high, level=found.level, n=found.n, n_clusters=found.n_clusters,
        method=found.method, reason=found.reason,
    )  # fmt: skip


def quantile_curve(
    experiment: Experiment, data: ExperimentData, metric: str, treatment: str, *, shares: tuple[float, ...]
) -> Mapping[float, Interval]:
    """Differences of two arms at several quantiles: where in the distribution the treatment acts."""
    control = experiment.document.assignment.control
    arms = [ArmQuantiles(experiment, data, metric, arm) for arm in (treatment, control)]
    return {q: mover_difference(*(a.fixed(q, experiment.level) for a in arms)) for q in shares}
