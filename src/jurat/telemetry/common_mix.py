"""A difference at one common mix of endpoint and tier, whatever mix each side saw; turns hang together by cluster."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jurat.metrics.loader import Metric
from jurat.stats.moments import Functional, Moments, MomentTable, functional_interval, ratio_of
from jurat.stats.result import Interval
from jurat.stats.standardise import standardised_difference

__all__ = ["at_common_mix"]

_STRATA = ("endpoint", "tier")
_MOST_STRATA = 24
_CHUNK = 20_000
_TOTALS = {"proportion": "k", "mean": "sum"}
_SIDES = ("candidate", "baseline")
Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]


def at_common_mix(
    metric: Metric, table: pa.Table, *, candidate: str, baseline: str, level: float = 0.95
) -> tuple[Interval | None, float | None]:
    r"""Difference of a metric, candidate minus baseline, had both the same mix of endpoints and tiers.

    Parameters
    ----------
    metric
        Its definition; a share or a mean that can be cut by endpoint and tier.
    table
        Sufficient statistics by release, endpoint, tier and cluster, of the two releases.
    candidate, baseline
        The two.
    level
        Two-sided coverage.

    Returns
    -------
    tuple
        The difference, and the share of all units in strata that both have, on which it rests. ``(None, None)`` for a kind of
        metric that has no strata; an undefined interval, with its reason, where no stratum has both.

    Notes
    -----
    :math:`\sum_k w_k (\bar y_{1k} - \bar y_{2k})` with :math:`w_k` the share of stratum :math:`k` among the units of both sides
    in common strata, taken as given. Variance by the delta method on per-cluster sums; a cluster may hold turns of both
    sides, whose covariance is then part of it. Without clusters: `jurat.stats.standardise`. Beyond the 24 largest common
    strata the rest are taken together.

    References
    ----------
    Miettinen, O. S. (1972). Standardization of risk ratios. American Journal of Epidemiology 96, 383–388.

    Examples
    --------
    >>> from jurat.metrics.loader import catalog
    >>> rows = {"release": ["a", "a", "b", "b"], "endpoint": ["x", "y"] * 2, "tier": ["t"] * 4, "cluster": list("uvwz"),
    ...         "n": [10, 30, 30, 10], "k": [1, 9, 6, 4]}
    >>> found, covered = at_common_mix(catalog()["refusal_rate"], pa.table(rows), candidate="a", baseline="b")
    >>> round(found.value, 3), covered
    (-0.1, 1.0)
    """
    if metric.kind not in _TOTALS or not set(_STRATA) <= set(table.column_names):
        return None, None
    side = np.asarray(pc.equal(table["release"], baseline).to_numpy(zero_copy_only=False), dtype=np.int64)
    n, total = (table[name].to_numpy().astype(np.float64) for name in ("n", _TOTALS[metric.kind]))
    strata = _codes([table[name] for name in _STRATA])
    sizes = np.array(
        [np.bincount(strata[side == s], weights=n[side == s], minlength=strata.max(initial=0) + 1) for s in (0, 1)]
    )
    common = np.flatnonzero((sizes > 0).all(axis=0))
    if not len(common):
        reason = "no endpoint and tier was seen by both"
        return _undefined(int(n.sum()), level, reason), 0.0
    covered = float(sizes[:, common].sum() / sizes.sum())
    numbers = _numbered(common, sizes)
    kept = numbers[strata] >= 0
    cells = numbers[strata[kept]] * 2 + side[kept]
    if "cluster" not in table.column_names:
        found = _independent(cells, n[kept], total[kept], metric, level)
        return found, covered
    clusters = _codes([table["cluster"]])[kept]
    return _clustered(cells, clusters, n[kept], total[kept], level), covered


def _codes(columns: list[pa.ChunkedArray]) -> Whole:
    """One number for each combination of values; nothing is a value too."""
    codes = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        encoded = pc.dictionary_encode(column.combine_chunks(), null_encoding="encode")
        own = np.asarray(encoded.indices.to_numpy(zero_copy_only=False), dtype=np.int64)
        codes = codes * (own.max(initial=0) + 1) + own
    found: Whole = np.unique(codes, return_inverse=True)[1].astype(np.int64)
    return found


def _numbered(common: Whole, sizes: Floats) -> Whole:
    """Place of each stratum among those that are compared, −1 for none; the smallest share the last place."""
    order = common[np.argsort(-sizes[:, common].sum(axis=0), kind="stable")]
    numbers = np.full(sizes.shape[1], -1, dtype=np.int64)
    numbers[order] = np.minimum(np.arange(len(order)), _MOST_STRATA - 1)
    return numbers


def _clustered(cells: Whole, clusters: Whole, n: Floats, total: Floats, level: float) -> Interval:
    """Joint moments of the clusters' sums by stratum and side, some clusters at a time."""
    strata = int(cells.max()) // 2 + 1
    present, codes = np.unique(clusters, return_inverse=True)
    order = np.argsort(codes, kind="stable")
    codes, cells, n, total = codes[order], cells[order], n[order], total[order]
    moments: Moments | None = None
    for first in range(0, len(present), _CHUNK):
        rows = slice(*np.searchsorted(codes, [first, first + _CHUNK]))
        count = min(_CHUNK, len(present) - first)
        part = Moments.from_clusters(
            _sums(codes[rows] - first, cells[rows], {"n": n[rows], "s": total[rows]}, count, strata)
        )
        moments = part if moments is None else moments.merge(part)
    assert moments is not None  # noqa: S101 - there is a common stratum, so there is a cluster
    table = MomentTable(groups={"": moments}, arms=_SIDES, joint=True)
    weights = np.bincount(cells // 2, weights=n, minlength=strata) / n.sum()
    difference = Functional(0.0, {})
    for k in range(strata):
        apart = ratio_of(table, "candidate", f"s{k}", f"n{k}") - ratio_of(table, "baseline", f"s{k}", f"n{k}")
        difference = difference + float(weights[k]) * apart
    return functional_interval(
        table, difference, level=level, n=int(n.sum()), n_clusters=len(present),
        method=f"direct standardisation over {strata} strata, delta method by cluster",
    )  # fmt: skip


def _sums(clusters: Whole, cells: Whole, values: Mapping[str, Floats], count: int, strata: int) -> dict[str, Floats]:
    """Sums per cluster, named ``side/variable-and-stratum``."""
    place = clusters * (2 * strata) + cells
    sums = {}
    for name, held in values.items():
        matrix: Floats = np.bincount(place, weights=held, minlength=count * 2 * strata).astype(np.float64, copy=False)
        matrix = matrix.reshape(count, strata, 2)
        for k in range(strata):
            for s, side in enumerate(_SIDES):
                sums[f"{side}/{name}{k}"] = matrix[:, k, s]
    return sums


def _independent(cells: Whole, n: Floats, total: Floats, metric: Metric, level: float) -> Interval | None:
    """Without clusters only counts say how units vary."""
    if metric.kind != "proportion":
        return None
    strata = int(cells.max()) // 2 + 1
    units, hits = (np.bincount(cells, weights=x, minlength=2 * strata).reshape(strata, 2) for x in (n, total))
    return standardised_difference(hits[:, 0], units[:, 0], hits[:, 1], units[:, 1], level=level).difference


def _undefined(n: int, level: float, reason: str) -> Interval:
    return Interval(value=None, low=None, high=None, level=level, n=n, method="direct standardisation", reason=reason)
