"""What leakage did to a benchmark's score: clean items against touched ones, compared at equal difficulty.

Touched items may be easier anyway: what is popular is copied. So items are compared within strata of difficulty, which is how
other models fare on them; with fewer than two other models the comparison is crude, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy import stats as sps

from jurat.errors import DataError, UnknownName
from jurat.stats.interval import proportion
from jurat.stats.result import Interval
from jurat.store.engine import DuckDB

__all__ = ["ScoreEffect", "score_effect", "score_effects"]

_STRATA = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreEffect:
    """The difference that leakage is associated with.

    Attributes
    ----------
    benchmark, model
        Whose score on what.
    all_items, clean, touched
        Mean score over all judged items, the clean and the touched ones, each with its interval over items (Wilson where
        every score is 0 or 1).
    crude
        Touched less clean.
    matched
        The same within strata of difficulty, weighted by the touched items in each.
    strata
        Strata that hold both kinds; 1 where difficulty is unknown.
    inflation
        Score on all items less that on clean ones: what the leak is worth in the headline.
    """

    benchmark: str
    model: str
    all_items: Interval
    clean: Interval
    touched: Interval
    crude: Interval
    matched: Interval
    strata: int
    inflation: Interval


def score_effect(
    scores: Mapping[str, float],
    status: Mapping[str, str],
    others: Sequence[Mapping[str, float]] = (),
    *,
    benchmark: str = "benchmark",
    model: str = "model",
    level: float = 0.95,
) -> ScoreEffect:
    """Compare a model's scores on touched and clean items.

    Parameters
    ----------
    scores
        Item to the model's score, from 0 to 1 or any scale.
    status
        Item to its status; only ``clean`` and ``touched`` items are compared.
    others
        Scores of other models on the same items, whose mean is an item's difficulty.
    benchmark, model
        Their names.
    level
        Of the intervals.

    Returns
    -------
    ScoreEffect
        Differences are undefined, with a reason, where one side has fewer than two items.

    Raises
    ------
    ValueError
        Where no item with a score was judged.

    Notes
    -----
    The matched difference is :math:`\\sum_s w_s (\\bar t_s - \\bar c_s)` with :math:`w_s` the share of the touched items in
    stratum s, its variance :math:`\\sum_s w_s^2 (s_{t,s}^2/n_{t,s} + s_{c,s}^2/n_{c,s})` (Cochran, 1968); items are the units.

    References
    ----------
    W. G. Cochran (1968), The effectiveness of adjustment by subclassification in removing bias in observational studies.

    Examples
    --------
    >>> scores = {str(i): float(i % 4 > 0 or i < 40) for i in range(200)}
    >>> effect = score_effect(scores, {str(i): "touched" if i < 40 else "clean" for i in range(200)})
    >>> round(effect.crude.value, 3), effect.strata
    (0.25, 1)
    """
    items = [item for item in scores if status.get(item) in ("clean", "touched")]
    if not items:
        raise ValueError("no item with a score was judged clean or touched; compare the names of the items")
    values = np.array([scores[item] for item in items], np.float64)
    leaked = np.array([status[item] == "touched" for item in items])
    strata = _strata(items, others)
    inside = [s for s in np.unique(strata) if leaked[strata == s].sum() >= 2 and (~leaked)[strata == s].sum() >= 2]
    return ScoreEffect(
        benchmark=benchmark,
        model=model,
        all_items=_mean(values, level),
        clean=_mean(values[~leaked], level),
        touched=_mean(values[leaked], level),
        crude=_matched(values, leaked, np.zeros(len(items), np.int64), [0], level),
        matched=_matched(values, leaked, strata, inside, level),
        strata=len(inside),
        inflation=_inflation(values, leaked, level),
    )


def score_effects(scores: Path, items: Path, *, level: float = 0.95) -> list[ScoreEffect]:
    """Compare every model on every benchmark, from files.

    Parameters
    ----------
    scores
        CSV, JSONL or Parquet with ``benchmark``, ``item``, ``model`` and ``score``; several scores of one item are averaged.
    items
        ``items.parquet`` of a search for benchmarks: the status of each item.
    level
        Of the intervals.

    Returns
    -------
    list of ScoreEffect
        By benchmark and model; each model's items are matched on how the other models fare.

    Raises
    ------
    DataError
        Where a column is missing, a score is no number, or no item of a benchmark was judged.
    """
    engine = DuckDB.from_files({"scores": [scores]})
    try:
        known = set(engine.query("SELECT * FROM scores LIMIT 0").column_names)
        for name in ("benchmark", "item", "model", "score"):
            if name not in known:
                raise UnknownName("column", name, known, place=str(scores))
        rows = engine.query(
            "SELECT CAST(benchmark AS VARCHAR) AS b, CAST(item AS VARCHAR) AS i, CAST(model AS VARCHAR) AS m, "
            "AVG(CAST(score AS DOUBLE)) AS s FROM scores GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
        ).to_pylist()
    finally:
        engine.close()
    status: dict[str, dict[str, str]] = {}
    for row in pq.read_table(items).to_pylist():
        status.setdefault(row["benchmark"], {})[row["item"]] = row["status"]
    found: dict[str, dict[str, dict[str, float]]] = {}
    for row in rows:
        if row["s"] is None or not np.isfinite(row["s"]):
            raise DataError(
                "a score is no number", seen=f"{row['b']} {row['i']} {row['m']}", next_step="leave the row out"
            )
        found.setdefault(row["b"], {}).setdefault(row["m"], {})[row["i"]] = row["s"]
    effects = []
    for benchmark, models in found.items():
        if benchmark not in status:
            raise UnknownName("benchmark", benchmark, status, place=str(scores))
        for model, own in models.items():
            others = [other for name, other in models.items() if name != model]
            try:
                effects.append(
                    score_effect(own, status[benchmark], others, benchmark=benchmark, model=model, level=level)
                )
            except ValueError as error:
                raise DataError(
                    str(error), seen=f"{benchmark}, {model}", next_step="name items as the benchmark does"
                ) from error
    return effects


def _strata(items: Sequence[str], others: Sequence[Mapping[str, float]]) -> NDArray[np.int64]:
    """Eighths of difficulty; one stratum where fewer than two other models have scores."""
    if len(others) < 2:
        return np.zeros(len(items), np.int64)
    known = [[other[item] for other in others if item in other] for item in items]
    easiness = np.array([np.mean(values) if values else np.nan for values in known])
    # A stratum of their own for items that nobody else was scored on.
    cuts = np.unique(np.nanquantile(easiness, np.linspace(0, 1, _STRATA + 1)[1:-1]))
    return np.where(np.isnan(easiness), -1, np.searchsorted(cuts, easiness, side="right")).astype(np.int64)


def _mean(values: NDArray[np.float64], level: float) -> Interval:
    n = len(values)
    if n < 2:
        reason = f"{n} items"
        return Interval(value=None, low=None, high=None, level=level, n=n, method="t over items", reason=reason)
    if np.isin(values, (0.0, 1.0)).all():
        return proportion(int(values.sum()), n, level=level)
    centre, error = float(values.mean()), float(values.std(ddof=1) / np.sqrt(n))
    half = float(sps.t.ppf((1 + level) / 2, n - 1)) * error
    return Interval(
        value=centre, low=centre - half, high=centre + half, level=level, n=n, method="t over items", se=error
    )


def _matched(
    values: NDArray[np.float64],
    leaked: NDArray[np.bool_],
    strata: NDArray[np.int64],
    inside: Sequence[int],
    level: float,
) -> Interval:
    method = "stratified difference over items"
    parts = [(values[(strata == s) & leaked], values[(strata == s) & ~leaked]) for s in inside]
    parts = [(t, c) for t, c in parts if len(t) >= 2 and len(c) >= 2]
    n = sum(len(t) + len(c) for t, c in parts)
    if not parts:
        reason = "no stratum has two touched and two clean items"
        return Interval(value=None, low=None, high=None, level=level, n=n, method=method, reason=reason)
    total = sum(len(t) for t, _ in parts)
    centre = sum(len(t) / total * (t.mean() - c.mean()) for t, c in parts)
    variance = sum((len(t) / total) ** 2 * (t.var(ddof=1) / len(t) + c.var(ddof=1) / len(c)) for t, c in parts)
    half = float(sps.norm.ppf((1 + level) / 2)) * float(np.sqrt(variance))
    return Interval(
        value=float(centre), low=float(centre) - half, high=float(centre) + half, level=level, n=n, method=method,
        se=float(np.sqrt(variance)),
    )  # fmt: skip


def _inflation(values: NDArray[np.float64], leaked: NDArray[np.bool_], level: float) -> Interval:
    """All less clean is the share touched times the crude difference; its variance follows from the same items."""
    crude = _matched(values, leaked, np.zeros(len(values), np.int64), [0], level)
    if crude.value is None or crude.low is None or crude.high is None:
        return crude
    share = float(leaked.mean())
    return Interval(
        value=share * crude.value, low=share * crude.low, high=share * crude.high, level=level, n=crude.n,
        method="share touched x difference", se=None if crude.se is None else share * crude.se,
    )  # fmt: skip
