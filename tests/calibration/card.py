"""The scorecard that a real analysis makes, read from simulated moments instead of files.

A spec is opened once on a handful of rows; after that only the moments are exchanged, so every rate below is that of the code
that decides, not of a copy of its formulas.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jurat.experiments.effects import Scorecard, scan_scorecard
from jurat.experiments.moments import Scan
from jurat.stats.moments import Moments, MomentTable
from tests.experiments.case import opened, users_table

__all__ = ["METRICS", "crossed_card", "open_card", "with_clusters", "with_sums"]

Floats = npt.NDArray[np.float64]
Arms = Mapping[str, Mapping[str, Floats]]

METRICS: dict[str, dict[str, Any]] = {
    "y": {"kind": "mean", "value": "y", "better": "higher", "role": "value"},
    "y_adjusted": {"kind": "mean", "value": "y", "better": "higher", "covariates": ["x"]},
    "bad": {"kind": "proportion", "value": "bad", "better": "lower", "role": "risk"},
    "cost": {"kind": "ratio", "value": "num", "per": "den", "better": "lower"},
    "cost_adjusted": {"kind": "ratio", "value": "num", "per": "den", "better": "lower", "covariates": ["x"]},
}


def open_card(folder: Path, **changes: Any) -> Scorecard:
    """Open a spec with the metrics above; its rows are only there to be opened."""
    rows = users_table(40, 1)
    # One row without its covariate: the covariate then has a denominator of its own.
    known = pa.array([None, *rows["x"].to_pylist()[1:]], pa.float64())
    rows = rows.set_column(rows.column_names.index("x"), "x", known)
    rows = rows.append_column("prompt", pa.array(np.arange(rows.num_rows) % 7))
    experiment, data = opened(folder, {"outcomes": rows}, **{"metrics": METRICS, **changes})
    return scan_scorecard(experiment, data)


def _variables(card: Scorecard, metric: str, given: Mapping[str, Floats]) -> dict[str, Floats]:
    """Give simulated sums the names that the layout has for them: (numerator, denominator) first, then the covariate's."""
    sums = card.sums[metric]
    found = dict(zip(sums.variables, given.values(), strict=False))
    return {"n": np.asarray(list(given.values())[1]), **found}


def with_sums(card: Scorecard, metric: str, arms: Arms) -> Scorecard:
    """The same scorecard on per-cluster sums by arm, in the order numerator, denominator, covariate and its denominator."""
    groups = {}
    for arm, given in arms.items():
        named = _variables(card, metric, given)
        groups[arm] = Moments.from_clusters(named, rows=round(float(named["n"].sum())))
    table = MomentTable(groups=groups, arms=tuple(groups))
    return replace(card, scan=Scan(table=table, rows={arm: m.rows for arm, m in groups.items()}))


def with_clusters(card: Scorecard, metric: str, arms: Arms) -> tuple[Scorecard, pa.Table]:
    """The same, and the table of clusters that the few-cluster correction asks the engine for."""
    columns: dict[str, list[float]] = {}
    labels: list[str] = []
    for arm, given in arms.items():
        named = _variables(card, metric, given)
        labels += [arm] * len(named["n"])
        for name in card.sums[metric].variables:
            columns.setdefault(name, []).extend(named[name].tolist())
    return with_sums(card, metric, arms), pa.table({"arm__": labels, **columns})


def crossed_card(card: Scorecard, metric: str, tables: list[Arms]) -> Scorecard:
    """A scorecard with two crossed clusters: sums by the first, by the second and by both, each with the arms side by side."""
    scans = []
    for arms in tables:
        flat = {f"{arm}/{v}": x for arm, given in arms.items() for v, x in _variables(card, metric, given).items()}
        moments = Moments.from_clusters(flat)
        scans.append(Scan(table=MomentTable(groups={"": moments}, arms=tuple(arms), joint=True), rows={}))
    return replace(card, scan=scans[0], crossed=(scans[1], scans[2]))
