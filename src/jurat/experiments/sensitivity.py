"""Would another analyst have found the same? The same effect under other assumptions, beside the one that decides.

Rows taken as independent are shown because many tools would; the label says what is wrong with it. It cannot decide.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jurat.experiments.effects import MetricEffect, Scorecard
from jurat.experiments.moments import Layout, cluster_sums, moment_table
from jurat.stats.buckets import bucket_bootstrap, bucket_sums
from jurat.stats.moments import functional_interval
from jurat.stats.result import Interval
from jurat.stats.wild import wild_cluster_test

__all__ = ["sensitivity"]

_FEW_ENOUGH_FOR_WILD = 60
_BUCKETS = 2_000
_MANY_ENOUGH_FOR_BUCKETS = 4_000


def sensitivity(card: Scorecard, effect: MetricEffect, *, seed: int = 0) -> tuple[tuple[str, Interval], ...]:
    """Compute one effect again under other assumptions.

    Parameters
    ----------
    card, effect
        The scorecard, and the effect on a mean, ratio or proportion.
    seed
        Seed of the bootstrap.

    Returns
    -------
    tuple
        Pairs of a label and an interval; the first is the one the analysis uses at a single look.
    """
    rows: list[tuple[str, Interval]] = [("as analysed", effect.effect)]
    if effect.unadjusted is not None:
        rows.append(("without covariates", effect.unadjusted))
    if card.experiment.cluster is not None:
        rows.append(("rows taken as independent (wrong here: shown for comparison)", _independent(card, effect)))
    if card.table.joint:
        return tuple(rows)
    sums = card.sums[effect.metric]
    clusters = sum(card.table.clusters(a) for a in (effect.treatment, effect.control))
    if clusters >= _MANY_ENOUGH_FOR_BUCKETS:
        rows.append(("cluster bootstrap", _bootstrap(card, effect, seed)))
    elif clusters <= _FEW_ENOUGH_FOR_WILD:
        table = cluster_sums(card.experiment, card.data, sums, card.layout)
        rows.append(("wild cluster bootstrap", _wild(table, effect, sums.numerator, sums.denominator, seed)))
    return tuple(rows)


def _independent(card: Scorecard, effect: MetricEffect) -> Interval:
    layout = Layout(card.data)
    sums = layout.metric(card.experiment, effect.metric)
    scan = moment_table(card.experiment, card.data, layout, cluster=[])
    functional = sums.value(scan.table, effect.treatment) - sums.value(scan.table, effect.control)
    rows = effect.effect.n
    found = functional_interval(
        scan.table, functional, level=card.experiment.level, n=rows, n_clusters=rows, method="independent rows"
    )
    return Interval(
        value=found.value, low=found.low, high=found.high, level=found.level, n=rows, method=found.method,
        se=found.se, df=found.df, reason=found.reason,
    )  # fmt: skip


def _bootstrap(card: Scorecard, effect: MetricEffect, seed: int) -> Interval:
    sums = card.sums[effect.metric]
    table = cluster_sums(card.experiment, card.data, sums, card.layout)
    groups, clusters = [], 0
    for arm in (effect.treatment, effect.control):
        part = table.filter(pc.equal(table["arm__"], arm))
        pair = np.column_stack([part[v].to_numpy().astype(np.float64) for v in (sums.numerator, sums.denominator)])
        groups.append(bucket_sums(np.arange(len(pair)), pair, buckets=min(_BUCKETS, len(pair) // 4), seed=seed))
        clusters += len(pair)
    return bucket_bootstrap(
        list(groups), lambda t, c: t[0] / t[1] - c[0] / c[1], level=card.experiment.level, seed=seed,
        n=effect.effect.n, n_clusters=clusters,
    )  # fmt: skip


def _wild(table: pa.Table, effect: MetricEffect, numerator: str, denominator: str, seed: int) -> Interval:
    """Restricted wild cluster bootstrap-t of "no difference", enumerated where it can be.

    Rows scaled by the square root of their cluster's size have the scores of the whole cluster, so the sums suffice.
    """
    arms = np.array(table["arm__"].to_pylist())
    kept = np.isin(arms, [effect.treatment, effect.control])
    size = table[denominator].to_numpy().astype(np.float64)[kept]
    total = table[numerator].to_numpy().astype(np.float64)[kept]
    positive = size > 0
    root = np.sqrt(size[positive])
    treated = (arms[kept][positive] == effect.treatment).astype(np.float64)
    design = np.column_stack([root, root * treated])
    test = wild_cluster_test(
        design, total[positive] / root, np.arange(int(positive.sum())), coefficient=1, rng=np.random.default_rng(seed)
    )
    return Interval(
        value=effect.effect.value, low=None, high=None, level=effect.effect.level, n=effect.effect.n,
        n_clusters=int(positive.sum()), method=f"{test.method}: p = {test.p_value:.3g} for no difference",
        reason="a test of no difference, without bounds",
    )  # fmt: skip
