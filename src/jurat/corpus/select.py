"""Which subset should one train on? The one that stands for the most, of good quality, for its volume.

Rows are embeddings or TF-IDF vectors, compared by cosine. Facility location (greedy with lazy evaluation) makes every document
similar to a chosen one and comes within 1 − 1/e of the best; k-center covers the outliers first. Whether that pays is shown by
the coverage of documents held out, volume by volume, against random selection, with intervals.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse

from jurat.stats.resample import bootstrap_mean
from jurat.stats.result import Interval

__all__ = ["CoverageCurve", "CoveragePoint", "Selection", "coverage_curve", "select_subset"]

Rows: TypeAlias = npt.NDArray[np.float64] | sparse.spmatrix | sparse.sparray
Floats = npt.NDArray[np.float64]
_BLOCK = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Rows in the order in which they were chosen; every beginning of it is the selection of that size.

    Attributes
    ----------
    units
        Chosen rows, int64, shape ``(k,)``.
    gains
        What each added to the objective (facility location), or its distance to those before (k-center), shape ``(k,)``.
    evaluations
        How many gains were computed; without lazy evaluation these would be about n k.
    """

    units: npt.NDArray[np.int64]
    gains: Floats
    evaluations: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CoveragePoint:
    """Coverage of held-out rows at one volume.

    Attributes
    ----------
    size
        Rows selected.
    selected, random
        Mean similarity of held-out rows to their nearest selected row.
    difference
        Selected less random, of the same held-out rows.
    """

    size: int
    selected: Interval
    random: Interval
    difference: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageCurve:
    """Volume against diversity.

    Attributes
    ----------
    points
        One for each volume, ascending.
    """

    points: tuple[CoveragePoint, ...]

    def __str__(self) -> str:
        lines = ["    rows  selected  random  difference"]
        for point in self.points:
            gap = point.difference
            values = [-1.0 if i.value is None else i.value for i in (point.selected, point.random)]
            bounds = "undefined" if gap.low is None or gap.high is None else f"[{gap.low:+.3f}, {gap.high:+.3f}]"
            lines.append(f"{point.size:8d}  {values[0]:8.3f}  {values[1]:6.3f}  {bounds}")
        return "\n".join(lines)


class _Cosine:
    """Cosine similarities, at least 0, of rows to others; an empty row is similar to nothing."""

    def __init__(self, rows: Rows, name: str = "rows") -> None:
        if sparse.issparse(rows):
            matrix = sparse.csr_array(rows, dtype=np.float64)
            if not np.all(np.isfinite(matrix.data)):
                raise ValueError(f"{name} must be finite")
            norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
            self.matrix = sparse.csr_array(sparse.diags_array(_inverse(norms)) @ matrix)
        else:
            matrix = np.asarray(rows, np.float64)
            if matrix.ndim != 2 or not np.all(np.isfinite(matrix)):
                raise ValueError(f"{name} must be a matrix of finite numbers, got shape {matrix.shape}")
            self.matrix = matrix * _inverse(np.linalg.norm(matrix, axis=1))[:, None]
        self.n: int = self.matrix.shape[0]

    def to(self, other: _Cosine, rows: npt.NDArray[np.int64]) -> Floats:
        """Similarity of all own rows to some of another matrix, shape ``(n, len(rows))``."""
        product = self.matrix @ other.matrix[rows].T
        dense = product.toarray() if sparse.issparse(product) else np.asarray(product)
        return np.clip(np.asarray(dense, np.float64), 0.0, 1.0)


def _inverse(norms: Floats) -> Floats:
    return np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)


def select_subset(
    rows: Rows,
    size: int,
    *,
    quality: npt.ArrayLike | None = None,
    quality_weight: float = 0.0,
    method: str = "facility-location",
) -> Selection:
    """Choose rows that are good and unlike each other.

    Parameters
    ----------
    rows
        Dense or sparse matrix, shape ``(n, d)``; compared by cosine, negative similarity counting as none.
    size
        Rows to choose, at most n.
    quality
        Of each row, in [0, 1], shape ``(n,)``; needed where it has a weight.
    quality_weight
        In [0, 1]: 0 looks at diversity alone, 1 at quality alone.
    method
        ``"facility-location"`` or ``"k-center"``.

    Returns
    -------
    Selection
        Deterministic: among equals the lowest row.

    Raises
    ------
    ValueError
        For an unknown method, an impossible size or weight, or quality missing or outside [0, 1].

    Notes
    -----
    Facility location maximises :math:`(1 - w) \\frac1n \\sum_i \\max_{j \\in S} s_{ij} + w \\frac1k \\sum_{j \\in S} q_j`,
    which is monotone and submodular: the greedy choice reaches at least :math:`1 - 1/e` of the best (Nemhauser et al.,
    1978), and a gain that was computed earlier bounds the present one (Minoux, 1978). K-center takes the row of the greatest
    :math:`(1 - w) (1 - \\max_{j \\in S} s_{ij}) + w q_i` (Gonzalez, 1985), the first by quality, then by lowest row.

    References
    ----------
    Nemhauser, G. L., Wolsey, L. A. and Fisher, M. L. (1978). Mathematical Programming 14, 265–294. Minoux, M. (1978).
    Optimization Techniques, 234–243. Gonzalez, T. F. (1985). Theoretical Computer Science 38, 293–306.

    Examples
    --------
    >>> rows = np.array([[1.0, 0.0], [0.99, 0.1], [0.0, 1.0], [0.1, 0.99]])
    >>> select_subset(rows, 2).units.tolist()
    [1, 2]
    >>> select_subset(rows, 2, quality=[0.9, 0.8, 0.1, 0.2], quality_weight=1.0).units.tolist()
    [0, 1]
    """
    if method not in ("facility-location", "k-center"):
        raise ValueError(f"method must be 'facility-location' or 'k-center', got {method!r}")
    cosine = _Cosine(rows)
    if size != int(size) or not 0 <= size <= cosine.n:
        raise ValueError(f"size must be a whole number from 0 to {cosine.n}, got {size!r}")
    if not 0.0 <= quality_weight <= 1.0:
        raise ValueError(f"quality_weight must lie in [0, 1], got {quality_weight!r}")
    if quality is None and quality_weight > 0:
        raise ValueError(f"quality_weight {quality_weight!r} needs the quality of each row")
    worth = np.zeros(cosine.n) if quality is None else np.asarray(quality, np.float64)
    if worth.shape != (cosine.n,) or not np.all((worth >= 0) & (worth <= 1)):
        raise ValueError(f"quality must be {cosine.n} numbers in [0, 1]")
    choose = _facility_location if method == "facility-location" else _k_center
    return choose(cosine, int(size), worth, quality_weight)


def _facility_location(cosine: _Cosine, size: int, worth: Floats, weight: float) -> Selection:
    n = cosine.n
    covered = np.zeros(n)
    bounds = np.empty(n)
    for start in range(0, n, _BLOCK):
        block = np.arange(start, min(start + _BLOCK, n))
        bounds[block] = cosine.to(cosine, block).sum(axis=0)
    bonus = weight * worth / max(size, 1)
    bounds = (1 - weight) * bounds / max(n, 1) + bonus
    queue = [(-bound, row, 0) for row, bound in enumerate(bounds.tolist())]
    heapq.heapify(queue)
    units: list[int] = []
    gains: list[float] = []
    evaluations = n
    while len(units) < size:
        gain, row, age = heapq.heappop(queue)
        if age == len(units):
            units.append(row)
            gains.append(-gain)
            covered = np.maximum(covered, cosine.to(cosine, np.array([row]))[:, 0])
            continue
        evaluations += 1
        similar = cosine.to(cosine, np.array([row]))[:, 0]
        fresh = (1 - weight) * float(np.maximum(similar - covered, 0.0).sum()) / n + float(bonus[row])
        heapq.heappush(queue, (-fresh, row, len(units)))
    return Selection(units=np.array(units, np.int64), gains=np.array(gains, np.float64), evaluations=evaluations)


def _k_center(cosine: _Cosine, size: int, worth: Floats, weight: float) -> Selection:
    nearest = np.zeros(cosine.n)
    is_chosen = np.zeros(cosine.n, bool)
    units, gains = [], []
    for turn in range(size):
        score = (1 - weight) * (1 - nearest) + weight * worth if turn else worth.copy()
        score[is_chosen] = -1.0
        row = int(np.argmax(score))
        units.append(row)
        gains.append(float(1 - nearest[row]))
        is_chosen[row] = True
        nearest = np.maximum(nearest, cosine.to(cosine, np.array([row]))[:, 0])
    return Selection(
        units=np.array(units, np.int64), gains=np.array(gains, np.float64), evaluations=cosine.n * max(size, 0)
    )


def coverage_curve(
    rows: Rows,
    order: npt.ArrayLike,
    held_out: Rows,
    sizes: Sequence[int],
    rng: np.random.Generator,
    *,
    draws: int = 10,
    level: float = 0.95,
) -> CoverageCurve:
    """Measure what each volume of a selection covers of documents it was not chosen from, and what chance would.

    Parameters
    ----------
    rows
        Rows that were selected from, shape ``(n, d)``.
    order
        Rows in the order of their selection (`Selection.units`), shape ``(k,)``.
    held_out
        Rows of the same distribution that took no part, shape ``(h, d)``.
    sizes
        Volumes, each from 1 to k.
    rng
        For the random selections and the bootstrap.
    draws
        Random orders averaged for each held-out row.
    level
        Coverage of the intervals.

    Returns
    -------
    CoverageCurve
        Intervals resample the held-out rows, given the selection and the random orders.

    Raises
    ------
    ValueError
        For sizes outside 1 to k, rows that were never there or twice, nothing held out, or other columns.

    Notes
    -----
    Coverage is :math:`\\frac1h \\sum_i \\max_{j \\in S} s_{ij}`; intervals are percentiles of the bootstrap over held-out rows
    (Efron, 1979), that of the difference over the differences row by row.

    References
    ----------
    Efron, B. (1979). Annals of Statistics 7, 1–26. Sener, O. and Savarese, S. (2018). Active learning for convolutional
    neural networks: a core-set approach. ICLR.

    Examples
    --------
    >>> rng = np.random.default_rng(3)
    >>> rows = np.repeat(np.eye(8), [93, 1, 1, 1, 1, 1, 1, 1], axis=0) + 0.01 * rng.random((100, 8))
    >>> chosen = select_subset(rows, 8, method="k-center").units
    >>> curve = coverage_curve(rows, chosen, np.eye(8), [1, 8], rng)
    >>> curve.points[1].selected.value > 0.99, curve.points[1].difference.low > 0.3
    (True, True)
    """
    candidates, targets = _Cosine(rows), _Cosine(held_out, "held_out")
    chosen = np.asarray(order, np.int64)
    volumes = sorted({int(size) for size in sizes})
    _check_curve(candidates, targets, chosen, volumes, draws)
    reached = _reached(targets, candidates, chosen, volumes)
    by_chance = np.zeros_like(reached)
    for _ in range(draws):
        random_order = rng.permutation(candidates.n)[: volumes[-1]]
        by_chance += _reached(targets, candidates, random_order, volumes) / draws
    points = []
    for at, size in enumerate(volumes):
        values = (reached[:, at], by_chance[:, at], reached[:, at] - by_chance[:, at])
        selected, chance, difference = (_interval(value, rng, level) for value in values)
        points.append(CoveragePoint(size=size, selected=selected, random=chance, difference=difference))
    return CoverageCurve(points=tuple(points))


def _check_curve(
    candidates: _Cosine, targets: _Cosine, chosen: npt.NDArray[np.int64], volumes: list[int], draws: int
) -> None:
    if targets.n < 2:
        raise ValueError(f"at least two held-out rows are needed, got {targets.n}")
    if targets.matrix.shape[1] != candidates.matrix.shape[1]:
        raise ValueError(f"held_out must have {candidates.matrix.shape[1]} columns, got {targets.matrix.shape[1]}")
    if not volumes or volumes[0] < 1 or volumes[-1] > len(chosen):
        raise ValueError(f"sizes must lie from 1 to {len(chosen)}, got {volumes}")
    if len(np.unique(chosen)) != len(chosen) or chosen.min() < 0 or chosen.max() >= candidates.n:
        raise ValueError(f"order must name rows from 0 to {candidates.n - 1}, none twice")
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws!r}")


def _reached(targets: _Cosine, candidates: _Cosine, order: npt.NDArray[np.int64], volumes: list[int]) -> Floats:
    """Similarity of each target to the nearest of the first rows, a column a volume."""
    best = np.zeros(targets.n)
    columns = np.empty((targets.n, len(volumes)))
    start = 0
    for at, size in enumerate(volumes):
        for low in range(start, size, _BLOCK):
            block = order[low : min(low + _BLOCK, size)]
            best = np.maximum(best, targets.to(candidates, block).max(axis=1))
        columns[:, at] = best
        start = size
    return columns


def _interval(values: Floats, rng: np.random.Generator, level: float) -> Interval:
    return bootstrap_mean(np.ones(len(values)), values, rng=rng, level=level, method="percentile").interval
