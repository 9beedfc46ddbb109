"""A few human labels and many cheap ones: what is the mean, and how sure?

Prediction-powered inference corrects the mean of cheap (silver) labels by their error on a random sample of human (gold)
ones. Power tuning decides how far the silver is trusted: from not at all (gold only) to fully. The gold-only interval is
always shown beside it, so that one sees what the silver added.

Near 0 or 1, or with few disagreements, the normal theory has nothing to go on; the error of binary silver labels is then
bounded by Tango's score interval, never by a width of zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats as sps

from jurat.stats.compare import paired_proportions
from jurat.stats.interval import clustered_proportion, proportion
from jurat.stats.mean import Floats, cluster_codes, clustered_mean, mean, t_interval, undefined
from jurat.stats.result import Interval

__all__ = [
    "PredictionPowered",
    "prediction_powered_difference",
    "prediction_powered_mean",
    "stratified_prediction_powered_mean",
]

FEW_DISAGREEMENTS = 5
"""Below this many disagreements of the rarer kind (gold yes and silver no, or the reverse) the score interval takes over:
their distribution is then too skewed for normal theory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionPowered:
    """A prediction-powered estimate with the gold-only one beside it.

    Attributes
    ----------
    interval
        The estimate; ``n`` counts gold labels.
    gold_only
        What the gold labels alone say.
    power_tuning
        Weight of the silver labels, in [0, 1]; 0 means that they add nothing.
    n_gold, n_silver
        Labels of each kind.
    """

    interval: Interval
    gold_only: Interval
    power_tuning: float
    n_gold: int
    n_silver: int

    @property
    def width_ratio(self) -> float | None:
        """Width against the gold-only interval; below 1 the silver helped. ``None`` where one is undefined."""
        a, b = self.interval, self.gold_only
        if a.low is None or a.high is None or b.low is None or b.high is None or b.high == b.low:
            return None
        return (a.high - a.low) / (b.high - b.low)


def _vector(name: str, values: npt.ArrayLike) -> Floats:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or not np.all(np.isfinite(x)):
        raise ValueError(f"{name} must be a finite vector, got shape {x.shape}")
    return x


def _is_binary(*vectors: Floats) -> bool:
    return all(bool(np.all((v == 0) | (v == 1))) for v in vectors)


def prediction_powered_mean(
    gold: npt.ArrayLike,
    silver_on_gold: npt.ArrayLike,
    silver: npt.ArrayLike,
    *,
    level: float = 0.95,
    cluster: npt.ArrayLike | None = None,
    finite_population: bool = False,
    power_tuning: float | None = None,
) -> PredictionPowered:
    """Mean from a random gold sample and silver labels, power-tuned (PPI++).

    Parameters
    ----------
    gold
        Human labels of the audited units, shape (n,).
    silver_on_gold
        Silver labels of the same units, shape (n,).
    silver
        Silver labels of the other units, shape (N,); with ``finite_population``, of all units, the audited among them.
    level
        Two-sided coverage.
    cluster
        Cluster of each audited unit, shape (n,), where units come in clusters. The other units' clusters are not asked
        for: their share of the error is small only where they are many.
    finite_population
        Whether the target is the mean over exactly these N units, of which the audited are a random subset without
        replacement: the silver mean is then known, and auditing all leaves no doubt.
    power_tuning
        Weight of the silver; estimated where not given.

    Raises
    ------
    ValueError
        Where shapes differ, a value is not finite, or there are fewer audited units than two.

    Notes
    -----
    :math:`\\hat\\theta = \\bar y - \\lambda (\\bar f_{gold} - \\bar f)`, with
    :math:`\\operatorname{Var} = S^2_{y - \\lambda f}/n + \\lambda^2 S^2_f/N` and t(n − 1);
    :math:`\\hat\\lambda = \\operatorname{Cov}(y, f) / ((1 + n/N) S^2_f)`, clipped to [0, 1]. For a finite population the
    second term vanishes, the first is multiplied by :math:`1 - n/N`, and :math:`1 + n/N` becomes 1 (the regression
    estimator of survey sampling). Binary labels with fewer than 5 disagreements in
    one direction: :math:`\\lambda = 1` and Tango's score
    interval for :math:`E[y - f]`.

    References
    ----------
    Angelopoulos, A. N., Duchi, J. C. and Zrnic, T. (2023). PPI++: efficient prediction-powered inference.
    arXiv:2311.01453. Cochran, W. G. (1977). Sampling Techniques, chapter 7. Tango, T. (1998). Agresti, A. and Min, Y.
    (2005). Biostatistics 6, 241–252.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.random(2_000) < 0.3
    >>> silver = np.where(rng.random(2_000) < 0.9, truth, ~truth)
    >>> found = prediction_powered_mean(truth[:200], silver[:200], silver[200:])
    >>> found.width_ratio < 0.9
    True
    """
    y, f, others = _vector("gold", gold), _vector("silver_on_gold", silver_on_gold), _vector("silver", silver)
    if y.shape != f.shape or len(y) < 2:
        raise ValueError(f"need gold and silver labels of the same two or more units, got {len(y)} and {len(f)}")
    n, total = len(y), len(others)
    if total == 0 or (finite_population and total < n):
        raise ValueError(f"need silver labels of all units, got {total} for {n} audited ones")
    codes = None if cluster is None else cluster_codes(cluster)
    if codes is not None and codes.shape != y.shape:
        raise ValueError(f"need a cluster for each audited unit, got {len(codes)} for {n}")
    shrink = 1 - n / total if finite_population else 1.0
    gold_only = _gold_only(y, level, shrink) if codes is None else _clustered_gold_only(y, codes, level)
    rarer = min(np.count_nonzero(y > f), np.count_nonzero(y < f))
    few = _is_binary(y, f) and rarer < FEW_DISAGREEMENTS
    if few and power_tuning is None and (codes is None or len(np.unique(codes)) > 1):
        found, weight = _score(y, f, others, level, codes, shrink, finite_population), 1.0
    else:
        weight = _tuned(y, f, others, finite_population) if power_tuning is None else float(power_tuning)
        found = _normal(y, f, others, weight, level, codes, shrink, finite_population)
    return PredictionPowered(interval=found, gold_only=gold_only, power_tuning=weight, n_gold=n, n_silver=total)


def _tuned(y: Floats, f: Floats, others: Floats, finite_population: bool) -> float:
    spread = float(np.var(np.concatenate([f, others]) if not finite_population else others, ddof=1))
    if spread == 0:
        return 0.0
    covariance = float(np.cov(y, f, ddof=1)[0, 1])
    ratio = 0.0 if finite_population else len(y) / len(others)
    return float(np.clip(covariance / ((1 + ratio) * spread), 0.0, 1.0))


def _normal(
    y: Floats,
    f: Floats,
    others: Floats,
    weight: float,
    level: float,
    codes: npt.NDArray[np.int64] | None,
    shrink: float,
    finite_population: bool,
) -> Interval:
    n = len(y)
    value = float(y.mean() - weight * (f.mean() - others.mean()))
    residual = y - weight * f
    centred = residual - residual.mean()
    if codes is None:
        variance, df, groups = (float(centred @ centred) + _caution(y, f)) / (n - 1) / n, n - 1.0, None
    else:
        sums = np.bincount(codes, weights=centred)
        groups = int(np.count_nonzero(np.bincount(codes)))
        if groups < 2:
            reason = "one cluster cannot show how clusters vary"
            return undefined(reason, level=level, n=n, method="PPI++", value=value, n_clusters=groups)
        variance, df = groups / (groups - 1) * float(sums @ sums) / n**2, groups - 1.0
    # Rounding leaves about 1e-32 of a constant residual.
    if shrink > 0 and variance <= 1e-24 * max(float(np.max(np.abs(residual))) ** 2, 1e-300):
        reason = "all audited residuals are alike: their spread cannot be seen"
        return undefined(reason, level=level, n=n, method="PPI++", value=value, n_clusters=groups)
    variance *= shrink
    if not finite_population:
        variance += weight**2 * float(np.var(others, ddof=1 if len(others) > 1 else 0)) / len(others)
    return t_interval(value, math.sqrt(variance), df, level=level, n=n, n_clusters=groups, method="PPI++")


def _caution(y: Floats, f: Floats) -> float:
    """Sum of squares added where labels of paired differences disagree too seldom to show their spread.

    Half a disagreement each way, as Agresti and Min (2005) add to the cells of a paired table; without it, the interval
    of a difference from 50 audits covers 88 in 100 instead of 95 (tests/evals/test_silver.py).
    """
    trinary = bool(np.all(np.isin(y, (-1.0, 0.0, 1.0))) and np.all(np.isin(f, (-1.0, 0.0, 1.0))))
    rarer = min(np.count_nonzero(y > f), np.count_nonzero(y < f))
    return 1.0 if trinary and not _is_binary(y, f) and rarer < FEW_DISAGREEMENTS else 0.0


def _design_effect(residual: Floats, codes: npt.NDArray[np.int64], level: float) -> float:
    """How much wider squared the interval is for clusters: never below 1, and t(G − 1) in place of z.

    Residuals that are all alike cannot show it; then clusters count as units (Kish), as in `clustered_proportion`.
    """
    sizes = np.bincount(codes).astype(np.float64)
    sizes, groups = sizes[sizes > 0], int(np.count_nonzero(sizes))
    tail, centred = (1 - level) / 2, residual - residual.mean()
    price = float(sps.t.isf(tail, groups - 1) / sps.norm.isf(tail)) ** 2
    spread = float(centred @ centred)
    if spread == 0:
        return price * float(sizes @ sizes) / len(residual)
    sums = np.bincount(codes, weights=centred)
    return price * max(groups / (groups - 1) * float(sums @ sums) / spread, 1.0)


def _score(
    y: Floats,
    f: Floats,
    others: Floats,
    level: float,
    codes: npt.NDArray[np.int64] | None,
    shrink: float,
    finite_population: bool,
) -> Interval:
    """Silver mean plus the score interval of its error."""
    if codes is not None:
        shrink *= _design_effect(y - f, codes, level)
    b, c = int(np.sum(y > f)), int(np.sum(y < f))
    error = paired_proportions(int(np.sum((y == 1) & (f == 1))), b, c, int(np.sum((y == 0) & (f == 0))), level=level)
    assert error.value is not None and error.low is not None and error.high is not None  # noqa: S101 - n >= 2
    centre = float(others.mean()) + error.value
    half = (math.sqrt(shrink) * (error.value - error.low), math.sqrt(shrink) * (error.high - error.value))
    if not finite_population:
        z = float(sps.norm.isf((1 - level) / 2))
        spread = z * z * float(np.var(others)) / len(others)
        half = (math.sqrt(half[0] ** 2 + spread), math.sqrt(half[1] ** 2 + spread))
    return Interval(
        value=min(max(centre, 0.0), 1.0),
        low=min(max(centre - half[0], 0.0), 1.0),
        high=max(min(centre + half[1], 1.0), 0.0),
        level=level,
        n=len(y),
        n_clusters=None if codes is None else len(np.unique(codes)),
        method="prediction-powered, score",
    )


def _gold_only(y: Floats, level: float, shrink: float) -> Interval:
    """Interval from the gold alone: Wilson for yes/no labels, t for others; narrower in a finite population."""
    n = len(y)
    if not _is_binary(y):
        found = mean(y, level=level)
        if found.se is None or found.df is None or found.value is None:
            return found
        return t_interval(found.value, found.se * math.sqrt(shrink), found.df, level=level, n=n, method="t, gold only")
    found = proportion(int(y.sum()), n, level=level)
    assert found.value is not None and found.low is not None and found.high is not None  # noqa: S101 - n >= 2
    # With few of one kind the sample is too discrete for the finite-population factor to be believed.
    rarer = min(int(y.sum()), n - int(y.sum()))
    root = 1.0 if rarer < FEW_DISAGREEMENTS else math.sqrt(shrink)
    return Interval(
        value=found.value,
        low=found.value - root * (found.value - found.low),
        high=found.value + root * (found.high - found.value),
        level=level,
        n=n,
        method="Wilson, gold only",
    )


def _clustered_gold_only(y: Floats, codes: npt.NDArray[np.int64], level: float) -> Interval:
    """Interval from the gold alone where units come in clusters; not narrowed in a finite population, to be safe."""
    if _is_binary(y):
        sizes = np.bincount(codes).astype(np.float64)
        return clustered_proportion(np.bincount(codes, weights=y), sizes, level=level)
    return clustered_mean(y, codes, level=level)


def stratified_prediction_powered_mean(
    strata: Sequence[tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike]],
    weights: Sequence[float],
    *,
    level: float = 0.95,
    finite_population: bool = False,
) -> PredictionPowered:
    """Mean over strata of fixed weight, each corrected by its own gold sample and tuned on its own.

    Parameters
    ----------
    strata
        For each stratum ``(gold, silver_on_gold, silver)`` as in `prediction_powered_mean`.
    weights
        Share of each stratum in the population; they must sum to 1.
    level, finite_population
        As in `prediction_powered_mean`.

    Raises
    ------
    ValueError
        Where weights do not sum to 1 or their number differs.

    Notes
    -----
    :math:`\\hat\\theta = \\sum_s w_s \\hat\\theta_s`, :math:`\\operatorname{Var} = \\sum_s w_s^2 \\operatorname{Var}_s`, and
    the intervals of the strata are combined side by side (MOVER), each with its own asymmetry.

    References
    ----------
    Fisch, A. et al. (2024). Stratified prediction-powered inference. arXiv:2406.04291.

    Examples
    --------
    >>> a = ([1, 0, 1, 1, 0, 1], [1, 0, 1, 0, 0, 1], [1, 0, 1, 1] * 25)
    >>> b = ([0, 0, 1, 0, 0, 1], [0, 1, 1, 0, 0, 0], [0, 0, 1, 0] * 25)
    >>> found = stratified_prediction_powered_mean([a, b], [0.5, 0.5])
    >>> round(found.interval.value, 3), found.interval.n
    (0.583, 12)
    """
    if len(strata) != len(weights) or not math.isclose(sum(weights), 1.0, abs_tol=1e-9):
        raise ValueError(f"need one weight a stratum, summing to 1, got {list(weights)!r} for {len(strata)} strata")
    parts = [
        prediction_powered_mean(y, f, others, level=level, finite_population=finite_population)
        for y, f, others in strata
    ]
    return PredictionPowered(
        interval=_weighted([p.interval for p in parts], weights, level, "PPI++, stratified"),
        gold_only=_weighted([p.gold_only for p in parts], weights, level, "gold only, stratified"),
        power_tuning=float(sum(w * p.power_tuning for w, p in zip(weights, parts, strict=True))),
        n_gold=sum(p.n_gold for p in parts),
        n_silver=sum(p.n_silver for p in parts),
    )


def _weighted(parts: Sequence[Interval], weights: Sequence[float], level: float, method: str) -> Interval:
    """Combine independent intervals by their distances to the estimate, side by side (MOVER)."""
    value = low = high = 0.0
    for part, weight in zip(parts, weights, strict=True):
        if part.value is None or part.low is None or part.high is None:
            n = sum(p.n for p in parts)
            return undefined(part.reason or "a stratum is undefined", level=level, n=n, method=method)
        value += weight * part.value
        low += (weight * (part.value - part.low)) ** 2
        high += (weight * (part.high - part.value)) ** 2
    return Interval(
        value=value,
        low=value - math.sqrt(low),
        high=value + math.sqrt(high),
        level=level,
        n=sum(p.n for p in parts),
        method=method,
    )


def prediction_powered_difference(
    first: tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike],
    second: tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike],
    *,
    paired: bool,
    level: float = 0.95,
    finite_population: bool = False,
) -> PredictionPowered:
    """Difference of two means, first minus second, from gold samples and silver labels.

    Parameters
    ----------
    first, second
        ``(gold, silver_on_gold, silver)`` of each condition.
    paired
        Whether the same units stand in both, in the same order: differences are then taken unit by unit.
    level, finite_population
        As in `prediction_powered_mean`.

    Raises
    ------
    ValueError
        Where paired conditions do not have the same units.

    Notes
    -----
    Paired: PPI++ on the differences. Independent: the two intervals are combined side by side (MOVER).

    References
    ----------
    Angelopoulos, Duchi and Zrnic (2023); Zou, G. Y. and Donner, A. (2008).

    Examples
    --------
    >>> one = ([1, 1, 0, 1, 1, 0], [1, 1, 0, 1, 0, 0], [1, 1, 0, 1] * 25)
    >>> two = ([1, 0, 0, 1, 0, 0], [1, 0, 0, 1, 0, 1], [1, 0, 0, 1] * 25)
    >>> found = prediction_powered_difference(one, two, paired=True)
    >>> round(found.interval.value, 3)
    0.568
    """
    if paired:
        gaps = []
        for a, b in zip(first, second, strict=True):
            x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
            if x.shape != y.shape:
                raise ValueError(f"paired conditions need the same units, got {x.shape} and {y.shape}")
            gaps.append(x - y)
        return prediction_powered_mean(*gaps, level=level, finite_population=finite_population)
    one, other = (
        prediction_powered_mean(*p, level=level, finite_population=finite_population) for p in (first, second)
    )
    return PredictionPowered(
        interval=_weighted([one.interval, _negated(other.interval)], (1.0, 1.0), level, "PPI++, two groups"),
        gold_only=_weighted([one.gold_only, _negated(other.gold_only)], (1.0, 1.0), level, "gold only, two groups"),
        power_tuning=(one.power_tuning + other.power_tuning) / 2,
        n_gold=one.n_gold + other.n_gold,
        n_silver=one.n_silver + other.n_silver,
    )


def _negated(i: Interval) -> Interval:
    if i.value is None or i.low is None or i.high is None:
        return i
    return Interval(value=-i.value, low=-i.high, high=-i.low, level=i.level, n=i.n, method=i.method)
