"""Every model side by side: value against risk, each with its interval.

The rates come from metric files over ``eval_result``; this module only lays them out. Models are not ranked: two overlapping
intervals do not say which of two models is better, a paired comparison does (`jurat.launch.review`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from jurat.evidence.estimate import Estimate
from jurat.evidence.measure import level_of_arm
from jurat.metrics.loader import Metric
from jurat.metrics.run import run
from jurat.store.engine import DuckDB

__all__ = ["Summary", "summarise"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Levels of some metrics on every arm.

    Attributes
    ----------
    estimates
        One per arm and metric, arms sorted by name.
    """

    estimates: tuple[Estimate, ...]

    def to_json(self) -> list[dict[str, Any]]:
        """Return plain JSON types."""
        return [e.to_json() for e in self.estimates]

    def to_arrow(self) -> pa.Table:
        """Return one row per arm and metric."""
        return pa.Table.from_pylist(
            [
                {
                    "arm": e.slice["arm"],
                    "metric": e.metric,
                    "value": e.value,
                    "low": e.low,
                    "high": e.high,
                    "level": e.level,
                    "n": e.n,
                    "method": e.method,
                }
                for e in self.estimates
            ]
        )

    def rows(self) -> list[list[str]]:
        """Cells for a table: arm, then value with interval and n for each metric."""
        arms: dict[str, list[str]] = {}
        for e in self.estimates:
            if e.value is None or e.low is None or e.high is None:
                cell = f"undefined ({e.reason}) n={e.n}"
            else:
                cell = f"{100 * e.value:.1f} % [{100 * e.low:.1f}, {100 * e.high:.1f}] n={e.n}"
            arms.setdefault(e.slice["arm"], []).append(cell)
        return [[arm, *cells] for arm, cells in arms.items()]

    def metrics(self) -> list[str]:
        """Names of the metrics, in the order of the columns."""
        return list(dict.fromkeys(e.metric for e in self.estimates))


def summarise(
    results: pa.Table,
    metrics: Sequence[Metric],
    *,
    parameters: Mapping[str, Any] | None = None,
    level: float = 0.95,
) -> Summary:
    """Estimate metrics on every arm of a table of results.

    Parameters
    ----------
    results
        Rows of ``eval_result``.
    metrics
        Their definitions; each takes the parameters it declares.
    parameters
        For example ``{"scorer": "human"}``.
    level
        Two-sided coverage.
    """
    engine = DuckDB.from_tables({"eval_result": results})
    try:
        measured = [
            run(
                m,
                engine,
                slices=("arm",),
                parameters={k: v for k, v in (parameters or {}).items() if k in m.parameters},
            )
            for m in metrics
        ]
    finally:
        engine.close()
    arms = sorted({str(a) for m in measured for a in m.table["arm"].to_pylist()})
    return Summary(
        estimates=tuple(level_of_arm(m, arm_column="arm", arm=arm, level=level) for arm in arms for m in measured)
    )
