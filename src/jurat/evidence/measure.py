"""From sufficient statistics to estimates: which interval for what, chosen once for every stage.

- *proportion*: Wilson, Clopper–Pearson below 40 units or at 0 or n; clusters: Wilson with the design effect. Differences:
  Tango for the same units (clusters: on the effective number of pairs), Newcombe for independent ones (clusters:
  Newcombe's hybrid on the two cluster-adjusted intervals).
- *mean*, *ratio*: t or delta; clusters: CR1, CR2 below 40. Differences: paired t, Welch, or cluster-robust with
  Welch–Satterthwaite.
- *quantile*: order statistics; clusters: Woodruff. *rate*: t over periods. Differences: MOVER and Welch.

The rules and their sources are in ``docs/explanation/intervals.md``. A threshold is tested by inverting the very
interval that is shown, so a p-value and its interval can never disagree.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jurat.errors import DataError, UnknownName
from jurat.evidence.estimate import Contrast, Estimate, Threshold
from jurat.metrics.loader import Metric
from jurat.metrics.run import Measurement
from jurat.stats import compare, difference, interval, mean, quantile
from jurat.stats.inversion import one_sided_p_values
from jurat.stats.mover import mover_difference
from jurat.stats.result import Interval

__all__ = ["ArmStatistics", "arm_statistics", "contrast", "level_of_arm"]

_SMALL = 40
"""Below this many units, or at the edge, a single proportion is given by Clopper–Pearson (Brown, Cai, DasGupta, 2001)."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ArmStatistics:
    """Sufficient statistics of one arm, one row a cluster, pair or period.

    Attributes
    ----------
    arm
        Name of the arm.
    columns
        Numeric columns of the metric's kind, each of shape (rows,), float64.
    cluster, pair
        Identifier of each row's cluster and pairing unit; ``None`` where the metric has none.
    """

    arm: str
    columns: Mapping[str, Floats]
    cluster: pa.ChunkedArray | None
    pair: pa.ChunkedArray | None

    @property
    def n(self) -> int:
        """Units behind the statistics."""
        return int(self.columns["n"].sum())


def arm_statistics(measurement: Measurement, *, arm_column: str, arm: str, cluster: str | None = None) -> ArmStatistics:
    """Take one arm's rows out of a measurement.

    Parameters
    ----------
    measurement
        What a metric returned.
    arm_column
        Slice column that tells the arms apart.
    arm
        The arm.
    cluster
        Another column to take for the cluster, for a sensitivity analysis; by default the metric's own.

    Raises
    ------
    UnknownName
        Where the column or the arm is not in the measurement.
    """
    table, metric = measurement.table, measurement.metric
    if arm_column not in table.column_names:
        raise UnknownName("arm column", arm_column, metric.slices, place=metric.name)
    known = [str(a) for a in pc.unique(table[arm_column]).to_pylist()]
    if arm not in known:
        raise UnknownName("arm", arm, known, place=f"{metric.name}, column {arm_column}")
    rows = table.filter(pc.equal(table[arm_column], arm))
    names = [f.name for f in rows.schema if pa.types.is_integer(f.type) or pa.types.is_floating(f.type)]
    columns = {name: rows[name].to_numpy().astype(np.float64) for name in names if rows[name].null_count == 0}
    cluster_column = cluster or ("cluster" if metric.cluster != "none" else None)
    if cluster_column is not None and cluster_column not in rows.column_names:
        raise UnknownName("cluster column", cluster_column, rows.column_names, place=metric.name)
    return ArmStatistics(
        arm=arm,
        columns=columns,
        cluster=None if cluster_column is None else rows[cluster_column],
        pair=rows["pair"] if metric.pair else None,
    )


def level_of_arm(
    measurement: Measurement,
    *,
    arm_column: str,
    arm: str,
    level: float = 0.95,
    threshold: float | None = None,
) -> Estimate:
    """Estimate a metric's level on one arm.

    Parameters
    ----------
    measurement
        What a metric returned.
    arm_column, arm
        Which rows.
    level
        Two-sided coverage.
    threshold
        A number to test the level against.

    Returns
    -------
    Estimate
        With ``slice`` naming the arm.
    """
    metric = measurement.metric
    statistics = arm_statistics(measurement, arm_column=arm_column, arm=arm)

    def at(lv: float) -> Interval:
        return _level(metric, statistics, lv, measurement.parameters)

    return _estimate(metric, at, level, threshold, slice_={arm_column: arm}, contrast_=None, cluster=metric.cluster)


def contrast(
    measurement: Measurement,
    *,
    arm_column: str,
    candidate: str,
    baseline: str,
    level: float = 0.95,
    threshold: float | None = None,
    cluster: str | None = None,
) -> Estimate:
    """Estimate candidate minus baseline.

    Parameters
    ----------
    measurement
        What a metric returned, both arms in it.
    arm_column, candidate, baseline
        Which rows are compared.
    level
        Two-sided coverage.
    threshold
        A margin to test the difference against.
    cluster
        Another column to take for the cluster (sensitivity analysis).

    Returns
    -------
    Estimate
        Paired where the metric declares a pairing unit, which then must be the same on both arms.

    Raises
    ------
    DataError
        Where paired units differ between the arms.
    """
    metric = measurement.metric
    first, second = (
        arm_statistics(measurement, arm_column=arm_column, arm=a, cluster=cluster) for a in (candidate, baseline)
    )
    paired = metric.pair is not None and metric.kind in ("proportion", "mean")
    if paired:
        first, second = _aligned(first, second, metric)

    def at(lv: float) -> Interval:
        if paired:
            return _paired(metric, first, second, lv)
        return _independent(metric, first, second, lv, measurement.parameters)

    return _estimate(
        metric,
        at,
        level,
        threshold,
        slice_={},
        contrast_=Contrast(candidate=candidate, baseline=baseline, paired=paired),
        cluster=cluster or metric.cluster,
    )


def _estimate(
    metric: Metric,
    at: Callable[[float], Interval],
    level: float,
    threshold: float | None,
    *,
    slice_: Mapping[str, str],
    contrast_: Contrast | None,
    cluster: str,
) -> Estimate:
    found = _without_false_certainty(at(level))
    held = None
    if threshold is not None and found.value is not None and found.low is not None and found.high is not None:
        p = one_sided_p_values(at, threshold)
        held = Threshold(value=threshold, p_greater=p.p_greater, p_less=p.p_less)
    elif threshold is not None:
        held = Threshold(value=threshold, p_greater=1.0, p_less=1.0)
    return Estimate.from_interval(
        found,
        metric=metric.name,
        unit=metric.unit,
        cluster=cluster,
        slice=slice_,
        contrast=contrast_,
        threshold=held,
    )


def _without_false_certainty(found: Interval) -> Interval:
    """Take the bounds from an interval of no width: units that are all alike do not show how units vary."""
    if found.low is None or found.low != found.high:
        return found
    return dataclasses.replace(found, low=None, high=None, reason="all units are alike: the sample shows no spread")


# One arm ---------------------------------------------------------------------------------------------------------


def _level(metric: Metric, arm: ArmStatistics, level: float, parameters: Mapping[str, object]) -> Interval:
    c = arm.columns
    if arm.n == 0:
        return _nothing(level)
    if metric.kind == "proportion":
        return _proportion(arm, level)
    if metric.kind == "quantile":
        return _quantile(metric, arm, level, parameters)
    if metric.kind == "rate":
        return mean.mean(c["n"], level=level)
    if metric.kind == "ratio":
        if arm.cluster is None:
            return difference.ratio(c["sum_y"], c["sum_x"], level=level)
        y, x = _by_cluster(arm, "sum_y", "sum_x")
        return dataclasses.replace(difference.ratio(y, x, level=level), n=arm.n, n_clusters=len(y))
    if arm.cluster is None:
        return mean.mean_from_sums(int(c["n"].sum()), float(c["sum"].sum()), float(c["sum_sq"].sum()), level=level)
    n, total = _by_cluster(arm, "n", "sum")
    return mean.clustered_mean_from_sums(n, total, level=level)


def _nothing(level: float) -> Interval:
    return Interval(value=None, low=None, high=None, level=level, n=0, method="none", reason="there are no units")


def _proportion(arm: ArmStatistics, level: float) -> Interval:
    k, n = int(arm.columns["k"].sum()), arm.n
    if arm.cluster is not None:
        sizes, hits = _by_cluster(arm, "n", "k")
        return interval.clustered_proportion(hits, sizes, level=level)
    method = "clopper-pearson" if n < _SMALL or k in (0, n) else "wilson"
    return interval.proportion(k, n, level=level, method=method)


def _quantile(metric: Metric, arm: ArmStatistics, level: float, parameters: Mapping[str, object]) -> Interval:
    q = float(str(parameters.get("q", metric.quantiles[0] if metric.quantiles else 0.5)))
    codes = None if arm.cluster is None else _codes(arm.cluster)
    return quantile.quantile_from_histogram(arm.columns["value"], arm.columns["n"], q, cluster=codes, level=level)


# Two arms --------------------------------------------------------------------------------------------------------


def _independent(
    metric: Metric, first: ArmStatistics, second: ArmStatistics, level: float, parameters: Mapping[str, object]
) -> Interval:
    if first.n == 0 or second.n == 0:
        return _nothing(level)
    a, b = first.columns, second.columns
    if metric.kind == "proportion" and first.cluster is None:
        return compare.difference_of_proportions(int(a["k"].sum()), first.n, int(b["k"].sum()), second.n, level=level)
    if metric.kind == "mean" and first.cluster is not None:
        n1, s1 = _by_cluster(first, "n", "sum")
        n2, s2 = _by_cluster(second, "n", "sum")
        return difference.clustered_difference(n1, s1, n2, s2, level=level)
    if metric.kind == "rate":
        return difference.difference_of_means(a["n"], b["n"], level=level)
    return mover_difference(_level(metric, first, level, parameters), _level(metric, second, level, parameters))


def _paired(metric: Metric, first: ArmStatistics, second: ArmStatistics, level: float) -> Interval:
    total = "k" if metric.kind == "proportion" else "sum"
    n1, n2 = first.columns["n"], second.columns["n"]
    y1, y2 = first.columns[total], second.columns[total]
    single = bool(np.all(n1 == 1) and np.all(n2 == 1))
    if first.cluster is not None:
        codes = _codes(first.cluster)
        if metric.kind == "proportion" and single:
            # Score-based: two arms without an event must not look certain to be equal.
            counts = [np.bincount(codes, weights=w) for w in (n1, y1 > y2, y2 > y1)]
            return compare.clustered_paired_proportions(*counts, level=level)
        sums = [np.bincount(codes, weights=x) for x in (n1, y1, n2, y2)]
        return difference.clustered_paired_difference(*sums, level=level)
    if metric.kind == "proportion" and single:
        both = int(np.sum((y1 == 1) & (y2 == 1)))
        only_first, only_second = int(np.sum(y1 > y2)), int(np.sum(y2 > y1))
        neither = len(y1) - both - only_first - only_second
        return compare.paired_proportions(both, only_first, only_second, neither, level=level)
    return difference.paired_mean(y1 / n1, y2 / n2, level=level)


def _aligned(first: ArmStatistics, second: ArmStatistics, metric: Metric) -> tuple[ArmStatistics, ArmStatistics]:
    """Put both arms into one order of pairing units; refuse where the units differ."""
    if first.pair is None or second.pair is None:
        raise DataError(
            f"{metric.name} declares pair = {metric.pair!r} but returned no column pair",
            seen=", ".join(first.columns),
            next_step="select the pairing unit AS pair in the metric file",
        )
    order = [pc.sort_indices(x).to_numpy() for x in (first.pair, second.pair)]
    keys = [x.take(pa.array(i)).combine_chunks() for x, i in zip((first.pair, second.pair), order, strict=True)]
    if not keys[0].equals(keys[1]):
        missing = sorted(set(keys[0].to_pylist()) ^ set(keys[1].to_pylist()))
        raise DataError(
            f"{metric.name}: the arms {first.arm} and {second.arm} do not hold the same {metric.unit}s",
            seen=f"{len(missing)} in only one of them, for example {', '.join(map(repr, missing[:5]))}",
            next_step="bring results for the missing ones, or add a check of kind 'complete-pairs' to the bar",
        )
    moved = [
        ArmStatistics(
            arm=x.arm,
            columns={name: values[i] for name, values in x.columns.items()},
            cluster=None if x.cluster is None else x.cluster.take(pa.array(i)),
            pair=x.pair.take(pa.array(i)) if x.pair is not None else None,
        )
        for x, i in zip((first, second), order, strict=True)
    ]
    return moved[0], moved[1]


def _codes(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Integer codes of an identifier column, in order of first appearance; those of no name are one cluster together."""
    encoded = pc.dictionary_encode(column.combine_chunks(), null_encoding="encode")
    return np.asarray(encoded.indices.to_numpy(zero_copy_only=False), dtype=np.int64)


def _by_cluster(arm: ArmStatistics, *names: str) -> list[Floats]:
    assert arm.cluster is not None  # noqa: S101 - callers asked
    codes = _codes(arm.cluster)
    return [np.bincount(codes, weights=arm.columns[name]).astype(np.float64, copy=False) for name in names]
