r"""Do annotators agree beyond chance?

Cohen's kappa for two annotators, Fleiss' for a fixed number of interchangeable ones, Krippendorff's alpha for any number with
labels missing and for labels on any scale. All three are functions of sums over items; intervals come from the published
large-sample error (two annotators, independent items) or from a bootstrap over items, or over clusters of items. A
chance-corrected coefficient depends on how common the categories are: read it beside the plain agreement.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import stats as sps

from jurat.stats.interval import tail_probability
from jurat.stats.mean import cluster_codes, undefined
from jurat.stats.resample import bootstrap_sums
from jurat.stats.result import Interval

__all__ = ["cohen_kappa", "fleiss_kappa", "krippendorff_alpha"]

Floats = npt.NDArray[np.float64]
Scale = Literal["nominal", "ordinal", "interval", "ratio"]
Weights = Literal["none", "linear", "quadratic"]

_MOST_CELLS = 20_000_000
"""Largest table of (items, pairs of categories), 160 MB."""


def cohen_kappa(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    *,
    weights: Weights = "none",
    categories: Sequence[Any] | None = None,
    cluster: npt.ArrayLike | None = None,
    level: float = 0.95,
    rng: np.random.Generator | None = None,
) -> Interval:
    r"""Agreement of two annotators beyond chance.

    Parameters
    ----------
    first, second
        Labels of the same items, each of shape (items,), none missing.
    weights
        ``"none"``: any two different labels disagree alike. ``"linear"``, ``"quadratic"``: by their distance in the order of
        the categories.
    categories
        All categories in order; by default those that occur, sorted, which with weights must be numbers.
    cluster
        Cluster of each item, where items come in clusters; the interval is then a bootstrap over clusters (BCa).
    level
        Two-sided coverage.
    rng
        Source of randomness; needed with ``cluster``.

    Returns
    -------
    Interval
        Undefined with a reason where there are no items or one category alone was used; without bounds where the items show
        no spread (all agree), because a width of zero would be a claim.

    Raises
    ------
    ValueError
        For labels that are missing or not among the categories, shapes that differ, or ``rng`` missing where it is needed.

    Notes
    -----
    :math:`\kappa = (P_o - P_e)/(1 - P_e)` with :math:`P_o = \sum w_{ij} p_{ij}`, :math:`P_e = \sum w_{ij} p_{i.} p_{.j}` and
    agreement weights w. Its variance is

    .. math::
        \frac{\sum p_{ij} [w_{ij} - (\bar w_{i.} + \bar w_{.j})(1 - \kappa)]^2 - [\kappa - P_e(1 - \kappa)]^2}{n(1 - P_e)^2}.

    References
    ----------
    Cohen, J. (1960). Educational and Psychological Measurement 20, 37–46; (1968). Psychological Bulletin 70, 213–220. Fleiss,
    J. L., Cohen, J. and Everitt, B. S. (1969). Large sample standard errors of kappa. Psychological Bulletin 72, 323–327.

    Examples
    --------
    >>> first = ["yes"] * 25 + ["no"] * 25
    >>> second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    >>> print(cohen_kappa(first, second))
    0.4 [0.1511, 0.6489] 0.95 n=50 Cohen's kappa
    """
    z = float(sps.norm.isf(tail_probability(level)))
    rows, names = _pairs(first, second, categories, ordered=weights != "none")
    agreement, size = _agreement(weights, len(names)), len(names)
    suffix = "" if weights == "none" else f", {weights} weights"
    method, items = f"Cohen's kappa{suffix}", len(rows)
    if cluster is not None:
        cells = np.zeros((items, size * size))
        cells[np.arange(items), rows[:, 0] * size + rows[:, 1]] = 1.0

        def kappas(totals: Floats) -> Floats:
            return np.array([_kappa(t.reshape(size, size), agreement)[0] for t in totals])

        return _bootstrapped(cells, kappas, cluster, rng, level, method)
    table = np.zeros((size, size))
    np.add.at(table, (rows[:, 0], rows[:, 1]), 1.0)
    if items == 0:
        return undefined("there are no items", level=level, n=0, method=method)
    value, variance = _kappa(table, agreement)
    if not math.isfinite(value):
        return undefined("both annotators used one category alone", level=level, n=items, method=method)
    if variance <= 1e-14:
        reason = "the items show no spread: every one agrees alike"
        return undefined(reason, level=level, n=items, method=method, value=value)
    se = math.sqrt(variance)
    return Interval(
        value=value, low=max(value - z * se, -1.0), high=min(value + z * se, 1.0), level=level, n=items, method=method,
        se=se,
    )  # fmt: skip


def _pairs(
    first: npt.ArrayLike, second: npt.ArrayLike, categories: Sequence[Any] | None, *, ordered: bool
) -> tuple[npt.NDArray[np.int64], list[Any]]:
    """Positions of both labels among the categories, shape (items, 2), and the categories."""
    labels = [np.asarray(x) for x in (first, second)]
    if labels[0].ndim != 1 or labels[0].shape != labels[1].shape:
        raise ValueError(f"need two labels for each item, got shapes {labels[0].shape} and {labels[1].shape}")
    columns = [x.tolist() for x in labels]
    for column in columns:
        if any(x is None or x != x for x in column):
            raise ValueError("a label is missing; leave the item out, or take krippendorff_alpha")
    seen = {x for column in columns for x in column}
    if categories is None:
        if ordered and any(isinstance(x, str) for x in seen):
            raise ValueError(f"weights need the order of the categories, got labels such as {min(map(str, seen))!r}")
        names = sorted(seen)
    else:
        names = list(categories)
        strange = seen - set(names)
        if strange or len(set(names)) != len(names):
            raise ValueError(f"every label must be one of the (different) categories {names!r}, got {strange!r}")
    place = {name: i for i, name in enumerate(names)}
    found = np.array([[place[x] for x in column] for column in columns], dtype=np.int64).reshape(2, -1)
    return found.T, names


def _agreement(weights: str, size: int) -> Floats:
    if weights not in ("none", "linear", "quadratic"):
        raise ValueError(f"weights must be 'none', 'linear' or 'quadratic', got {weights!r}")
    gap = np.abs(np.subtract.outer(np.arange(size), np.arange(size))) / max(size - 1, 1)
    found: Floats = 1.0 - {"none": (gap > 0).astype(np.float64), "linear": gap, "quadratic": gap**2}[weights]
    return found


def _kappa(table: Floats, agreement: Floats) -> tuple[float, float]:
    """Kappa and its large-sample variance; NaN where chance agreement is complete."""
    n = float(table.sum())
    if n == 0:
        return math.nan, math.nan
    p = table / n
    rows, columns = p.sum(axis=1), p.sum(axis=0)
    observed, chance = float((agreement * p).sum()), float(rows @ agreement @ columns)
    room = 1 - chance
    if room <= 1e-12:
        return math.nan, math.nan
    value = (observed - chance) / room
    reach = np.add.outer(agreement @ columns, rows @ agreement)
    spread = float((p * (agreement - reach * (1 - value)) ** 2).sum()) - (value - chance * (1 - value)) ** 2
    return value, max(spread, 0.0) / (n * room**2)


def fleiss_kappa(
    counts: npt.ArrayLike,
    *,
    rng: np.random.Generator,
    cluster: npt.ArrayLike | None = None,
    level: float = 0.95,
    replicates: int = 1_000,
) -> Interval:
    r"""Agreement beyond chance of several interchangeable annotators, the same number for each item.

    Parameters
    ----------
    counts
        Annotators that chose each category, shape (items, categories); every row adds up to the same number, 2 or more.
    rng
        Source of randomness of the bootstrap.
    cluster
        Cluster of each item, where items come in clusters.
    level
        Two-sided coverage.
    replicates
        Of the bootstrap over items or clusters (BCa).

    Returns
    -------
    Interval
        Undefined with a reason where there are no items or one category alone was used; without bounds where the resampled
        items show no spread.

    Raises
    ------
    ValueError
        For counts that are negative, not whole, or do not add up to one number of annotators.

    Notes
    -----
    With r annotators and N items: :math:`\bar P = (\sum_{ij} n_{ij}^2 - Nr)/(Nr(r - 1))`,
    :math:`P_e = \sum_j (\sum_i n_{ij}/Nr)^2`, :math:`\kappa = (\bar P - P_e)/(1 - P_e)`.

    References
    ----------
    Fleiss, J. L. (1971). Measuring nominal scale agreement among many raters. Psychological Bulletin 76, 378–382.

    Examples
    --------
    >>> counts = [[3, 0], [0, 3], [2, 1], [3, 0], [1, 2], [0, 3], [3, 0], [2, 1]]
    >>> round(fleiss_kappa(counts, rng=np.random.default_rng(0)).value, 4)
    0.4857
    """
    table = np.asarray(counts, dtype=np.float64)
    if table.ndim != 2 or not np.all(np.isfinite(table)) or np.any((table < 0) | (table != np.round(table))):
        raise ValueError(f"counts must be whole numbers of shape (items, categories), got shape {table.shape}")
    raters = table.sum(axis=1)
    if len(table) and (np.any(raters != raters[0]) or raters[0] < 2):
        raise ValueError(
            f"every item needs the same number of annotators, 2 or more, got {raters.min():g} to {raters.max():g}; "
            "take krippendorff_alpha where labels are missing"
        )
    r = float(raters[0]) if len(table) else 2.0
    sums = np.column_stack([np.ones(len(table)), (table**2).sum(axis=1), table])

    def kappas(totals: Floats) -> Floats:
        items = totals[:, 0]
        agreed = (totals[:, 1] - items * r) / (items * r * (r - 1))
        chance = ((totals[:, 2:] / (items * r)[:, None]) ** 2).sum(axis=1)
        return _beyond(agreed - chance, 1 - chance)

    return _bootstrapped(sums, kappas, cluster, rng, level, "Fleiss' kappa", replicates)


def _beyond(gain: Floats, room: Floats) -> Floats:
    """Ratio that is NaN, never rounding over rounding, where there is no room."""
    found: Floats = np.where(room > 1e-12, gain, np.nan) / np.where(room > 1e-12, room, 1.0)
    return found


def krippendorff_alpha(
    ratings: npt.ArrayLike,
    *,
    rng: np.random.Generator,
    scale: Scale = "nominal",
    cluster: npt.ArrayLike | None = None,
    level: float = 0.95,
    replicates: int = 1_000,
) -> Interval:
    r"""Agreement beyond chance of any number of annotators, labels missing or not, on any scale.

    Parameters
    ----------
    ratings
        Numbers of shape (items, annotators), NaN where an annotator did not label an item; codes on the nominal scale, codes
        in order on the ordinal one.
    rng
        Source of randomness of the bootstrap.
    scale
        ``"nominal"``, ``"ordinal"``, ``"interval"`` or ``"ratio"`` (values of at least 0).
    cluster
        Cluster of each item, where items come in clusters.
    level
        Two-sided coverage.
    replicates
        Of the bootstrap over items or clusters (BCa).

    Returns
    -------
    Interval
        ``n`` counts items with two labels or more, the others say nothing. Undefined with a reason where there are none, or
        all labels are alike.

    Raises
    ------
    ValueError
        For ratings that are infinite or negative on the ratio scale, or more distinct values than a table can hold.

    Notes
    -----
    An item with :math:`m_u` labels adds each ordered pair of its labels to the coincidences :math:`o_{ck}` with weight
    :math:`1/(m_u - 1)`. With :math:`n_c = \sum_k o_{ck}` and :math:`n = \sum_c n_c`,

    .. math::
        \alpha = 1 - (n - 1) \frac{\sum o_{ck} \delta^2_{ck}}{\sum n_c n_k \delta^2_{ck}},

    with :math:`\delta^2` 0 or 1 (nominal), :math:`(\sum_{g=c}^k n_g - (n_c + n_k)/2)^2` (ordinal), :math:`(c - k)^2` (interval),
    :math:`((c - k)/(c + k))^2` (ratio). Coincidences are sums over items, so the bootstrap resamples items whole; it does not
    resample pairs as if they were independent.

    References
    ----------
    Krippendorff, K. (2011). Computing Krippendorff's alpha-reliability. Hayes, A. F. and Krippendorff, K. (2007). Answering the
    call for a standard reliability measure for coding data. Communication Methods and Measures 1, 77–89.

    Examples
    --------
    >>> nan = float("nan")
    >>> ratings = [[1, 1, nan], [2, 2, 2], [3, 3, 2], [1, 1, 1], [nan, 3, 3], [2, nan, nan]]
    >>> found = krippendorff_alpha(ratings, rng=np.random.default_rng(0), scale="ordinal")
    >>> round(found.value, 4), found.n
    (0.9088, 5)
    """
    x = np.asarray(ratings, dtype=np.float64)
    if x.ndim != 2 or np.any(np.isinf(x)):
        raise ValueError(f"ratings must be finite or NaN, of shape (items, annotators), got shape {x.shape}")
    if scale not in ("nominal", "ordinal", "interval", "ratio"):
        raise ValueError(f"scale must be 'nominal', 'ordinal', 'interval' or 'ratio', got {scale!r}")
    known = ~np.isnan(x)
    if scale == "ratio" and np.any(x[known] < 0):
        raise ValueError(f"the ratio scale starts at 0, got {float(x[known].min())!r}")
    kept = known.sum(axis=1) >= 2
    values = np.unique(x[kept][known[kept]])
    size, items = len(values), int(kept.sum())
    if items * size**2 > _MOST_CELLS:
        raise ValueError(
            f"{items} items with {size} distinct values are more than {_MOST_CELLS:,} cells; round the values"
        )
    counts = np.zeros((items, size))
    rows, columns = np.nonzero(known[kept])
    np.add.at(counts, (rows, np.searchsorted(values, x[kept][rows, columns])), 1.0)
    pairs = counts[:, :, None] * counts[:, None, :]
    pairs[:, np.arange(size), np.arange(size)] -= counts
    coincidences = (pairs / (counts.sum(axis=1) - 1)[:, None, None]).reshape(items, size * size)

    def alphas(totals: Floats) -> Floats:
        seen = totals.reshape(len(totals), size, size)
        each = seen.sum(axis=2)
        distance = _distance(scale, values, each)
        expected = np.einsum("mc,mk,mck->m", each, each, distance)
        return 1 - _beyond((each.sum(axis=1) - 1) * (seen * distance).sum(axis=(1, 2)), expected)

    labels = None if cluster is None else _labels(cluster, len(x))[kept]
    return _bootstrapped(coincidences, alphas, labels, rng, level, f"Krippendorff's alpha, {scale}", replicates)


def _distance(scale: str, values: Floats, each: Floats) -> Floats:
    """Squared distances of categories, shape (totals, categories, categories)."""
    if scale == "ordinal":
        place = np.cumsum(each, axis=1) - each / 2
        return (place[:, :, None] - place[:, None, :]) ** 2
    gap = np.subtract.outer(values, values)
    if scale == "nominal":
        fixed = (gap != 0).astype(np.float64)
    elif scale == "interval":
        fixed = gap**2
    else:
        both = np.add.outer(values, values)
        fixed = (gap / np.where(both == 0, 1.0, both)) ** 2
    return np.broadcast_to(fixed, (len(each), *fixed.shape))


def _labels(cluster: npt.ArrayLike, items: int) -> npt.NDArray[Any]:
    labels = np.asarray(cluster)
    if labels.shape != (items,):
        raise ValueError(f"every item needs its cluster, got {labels.shape} labels for {items} items")
    return labels


def _bootstrapped(
    sums: Floats,
    statistic: Callable[[Floats], Floats],
    cluster: npt.ArrayLike | None,
    rng: np.random.Generator | None,
    level: float,
    method: str,
    replicates: int = 1_000,
) -> Interval:
    """Interval of a function of sums over items, by the bootstrap over items or clusters of items."""
    if rng is None:
        raise ValueError("with clusters the interval is a bootstrap: pass rng, a numpy Generator")
    items, rows = len(sums), sums
    if cluster is not None:
        codes = np.unique(cluster_codes(_labels(cluster, items)), return_inverse=True)[1]
        rows = np.zeros((int(codes.max()) + 1 if items else 0, sums.shape[1]))
        np.add.at(rows, codes, sums)
    tail_probability(level)
    if items == 0:
        return undefined("there are no items with two labels", level=level, n=0, method=method)
    found = bootstrap_sums(rows, statistic, rng=rng, replicates=replicates, level=level).interval
    reason = "one category alone was used" if found.value is None else found.reason
    return dataclasses.replace(
        found,
        n=items,
        n_clusters=None if cluster is None else len(rows),
        method=f"{method}, {found.method}",
        reason=reason,
    )
