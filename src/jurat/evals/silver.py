"""What would cheap labels have said, and how many human audits mend them?

Every unit here has a human label, so the truth is known and the question can be answered by trying: draw a random audit of
n units, look only at those human labels and at all silver ones, estimate, and see how often the interval holds the truth
and how wide it is. The gold-only interval from the same audit stands beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jurat.errors import DataError, NotEnoughEvidence
from jurat.evidence.measure import arm_statistics
from jurat.metrics.loader import Metric
from jurat.metrics.run import run
from jurat.stats.interval import proportion
from jurat.stats.prediction_powered import prediction_powered_difference, prediction_powered_mean
from jurat.stats.result import Interval
from jurat.store.engine import DuckDB

__all__ = ["AuditRow", "SilverStudy", "audit_study", "labels_by_unit", "silver_study"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """What audits of one size gave, over many random draws.

    Attributes
    ----------
    audits
        Human labels looked at.
    draws
        Random audits tried.
    coverage
        Share of intervals that held the truth, prediction-powered; with its Monte-Carlo interval.
    coverage_gold_only
        The same for the human labels alone.
    half_width, half_width_gold_only
        Mean half-widths.
    narrower
        Share of draws in which the prediction-powered interval was the narrower one.
    example
        The first draw: estimate with interval, and gold-only beside it.
    """

    audits: int
    draws: int
    coverage: Interval
    coverage_gold_only: Interval
    half_width: float
    half_width_gold_only: float
    narrower: Interval
    example: tuple[Interval, Interval]


@dataclass(frozen=True, slots=True, kw_only=True)
class SilverStudy:
    """One rate, as the truth, the silver labels and audits of several sizes give it."""

    metric: str
    subject: str
    silver_name: str
    n: int
    missing: int
    truth: float
    silver_rate: Interval | None
    rows: tuple[AuditRow, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return asdict(self)

    def __str__(self) -> str:
        silver = "" if self.silver_rate is None else f"; {self.silver_name} alone would say {_text(self.silver_rate)}"
        lines = [f"{self.metric}, {self.subject}: truth {100 * self.truth:.1f} % (all {self.n} labelled){silver}"]
        lines += [
            f"  {r.audits:>4} audits: ±{100 * r.half_width:.1f} pt, covers {_text(r.coverage)} "
            f"(gold only ±{100 * r.half_width_gold_only:.1f} pt, covers {_text(r.coverage_gold_only)})"
            for r in self.rows
        ]
        return "\n".join(lines)


def _text(i: Interval) -> str:
    assert i.value is not None and i.low is not None and i.high is not None  # noqa: S101 - shares of whole samples
    return f"{100 * i.value:.1f} % [{100 * i.low:.1f}, {100 * i.high:.1f}] n={i.n}"


def audit_study(
    gold: npt.ArrayLike,
    silver: npt.ArrayLike,
    *,
    audits: Sequence[int] = (50, 100, 200),
    draws: int = 1_000,
    level: float = 0.95,
    rng: np.random.Generator,
    other: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
) -> tuple[AuditRow, ...]:
    """Try many random audits of units whose truth is known.

    Parameters
    ----------
    gold, silver
        Labels of every unit, both of shape (N,).
    audits
        Sizes to try; sizes of N or more are left out, they leave nothing to estimate.
    draws
        Random audits of each size.
    level
        Two-sided coverage.
    rng
        Source of the draws.
    other
        Gold and silver of the same units under another condition: the paired difference is then estimated.

    Returns
    -------
    tuple of AuditRow
        The target is the mean over exactly these N units, of which the audited are a random subset.

    Raises
    ------
    NotEnoughEvidence
        Where no size is below the number of units.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> gold = (rng.random(400) < 0.3).astype(float)
    >>> silver = np.where(rng.random(400) < 0.9, gold, 1 - gold)
    >>> row = audit_study(gold, silver, audits=[100], draws=50, rng=rng)[0]
    >>> row.half_width < row.half_width_gold_only
    True
    """
    y, f = np.asarray(gold, dtype=np.float64), np.asarray(silver, dtype=np.float64)
    sizes = [n for n in audits if n < len(y)]
    if not sizes:
        raise NotEnoughEvidence(
            "every audit would look at all units",
            seen=f"{len(y)} units, audits of {list(audits)}",
            next_step="try fewer",
        )
    second = None if other is None else (np.asarray(other[0], float), np.asarray(other[1], float))
    return tuple(_try(y, f, second, n, draws, level, rng) for n in sizes)


def _try(
    y: Floats,
    f: Floats,
    other: tuple[Floats, Floats] | None,
    n: int,
    draws: int,
    level: float,
    rng: np.random.Generator,
) -> AuditRow:
    truth = float(y.mean()) if other is None else float(y.mean() - other[0].mean())
    found = []
    for _ in range(draws):
        picked = rng.choice(len(y), size=n, replace=False)
        if other is None:
            found.append(prediction_powered_mean(y[picked], f[picked], f, level=level, finite_population=True))
        else:
            first, second = (y[picked], f[picked], f), (other[0][picked], other[1][picked], other[1])
            found.append(prediction_powered_difference(first, second, paired=True, level=level, finite_population=True))
    powered, gold = [p.interval for p in found], [p.gold_only for p in found]
    widths = [np.array([_half(i) for i in which]) for which in (powered, gold)]
    return AuditRow(
        audits=n,
        draws=draws,
        coverage=proportion(sum(_holds(i, truth) for i in powered), draws),
        coverage_gold_only=proportion(sum(_holds(i, truth) for i in gold), draws),
        half_width=float(widths[0].mean()),
        half_width_gold_only=float(widths[1].mean()),
        narrower=proportion(int(np.sum(widths[0] < widths[1])), draws),
        example=(powered[0], gold[0]),
    )


def _half(i: Interval) -> float:
    assert i.low is not None and i.high is not None  # noqa: S101 - two or more audits give both bounds
    return (i.high - i.low) / 2


def _holds(i: Interval, truth: float) -> bool:
    assert i.low is not None and i.high is not None  # noqa: S101
    return i.low - 1e-12 <= truth <= i.high + 1e-12


def labels_by_unit(results: pa.Table, metric: Metric, *, arm: str, scorer: str) -> dict[str, float]:
    """What a scorer says of each unit of a metric: 1 where it counts, 0 where not.

    Parameters
    ----------
    results
        Rows of ``eval_result``.
    metric
        A proportion with a pairing unit and the parameter ``scorer``.
    arm, scorer
        Whose outputs, and whose labels.

    Raises
    ------
    DataError
        Where the metric is of another kind.
    """
    if metric.kind != "proportion" or metric.pair is None or "scorer" not in metric.parameters:
        raise DataError(
            f"{metric.name} cannot be studied unit by unit",
            seen=f"kind {metric.kind}, pair {metric.pair}, parameters {', '.join(metric.parameters) or 'none'}",
            next_step="take a proportion with pair and the parameter scorer",
        )
    engine = DuckDB.from_tables({"eval_result": results})
    try:
        measured = run(metric, engine, slices=("arm",), parameters={"scorer": scorer})
    finally:
        engine.close()
    found = arm_statistics(measured, arm_column="arm", arm=arm)
    assert found.pair is not None  # noqa: S101 - the metric has one
    return dict(zip(found.pair.to_pylist(), (found.columns["k"] / found.columns["n"]).tolist(), strict=True))


def silver_study(
    results: pa.Table,
    metric: Metric,
    *,
    arm: str,
    silver: str,
    gold: str = "human",
    baseline: str | None = None,
    audits: Sequence[int] = (50, 100, 200),
    draws: int = 1_000,
    level: float = 0.95,
    rng: np.random.Generator,
) -> SilverStudy:
    """Study one silver labeller on one metric of one arm (or of a paired difference).

    Parameters
    ----------
    results
        Rows of ``eval_result`` with labels of both scorers.
    metric
        The metric.
    arm
        Whose outputs.
    silver, gold
        Scorers.
    baseline
        Another arm: the paired difference ``arm − baseline`` is then studied.
    audits, draws, level, rng
        As in `audit_study`.

    Returns
    -------
    SilverStudy
        Over the units that every scorer labelled; ``missing`` counts those the silver did not.
    """
    arms = [arm] if baseline is None else [arm, baseline]
    golds = [labels_by_unit(results, metric, arm=a, scorer=gold) for a in arms]
    silvers = [labels_by_unit(results, metric, arm=a, scorer=silver) for a in arms]
    everyone = sorted(set.intersection(*[set(d) for d in golds]))
    common = [u for u in everyone if all(u in s for s in silvers)]
    y, f = ([np.array([d[u] for u in common]) for d in which] for which in (golds, silvers))
    rows = audit_study(
        y[0], f[0], audits=audits, draws=draws, level=level, rng=rng, other=None if baseline is None else (y[1], f[1])
    )
    return SilverStudy(
        metric=metric.name,
        subject=arm if baseline is None else f"{arm} − {baseline}",
        silver_name=silver,
        n=len(common),
        missing=len(everyone) - len(common),
        truth=float(y[0].mean() - (0.0 if baseline is None else y[1].mean())),
        silver_rate=proportion(int(f[0].sum()), len(common), level=level) if baseline is None else None,
        rows=rows,
    )
