"""What turns cost by the list of prices: over time, by what they were spent on, and by the turn.

A sum over all turns of a window is no estimate and has no interval; it counts what it holds, and turns without a price are
counted beside it, never taken for free. The cost of a turn is an estimate, clustered by user.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow.compute as pc

from jurat.errors import UnknownName
from jurat.evidence.estimate import Estimate
from jurat.evidence.slices import UNKNOWN, levels_by_slice
from jurat.metrics.loader import catalog
from jurat.metrics.run import Measurement, run
from jurat.telemetry.tenant_view import TenantView

__all__ = [
    "DIMENSIONS",
    "OTHERS",
    "Spend",
    "SpendLine",
    "cost_of_turns",
    "newest_turn_us",
    "spend_over_time",
    "spend_sql",
]

DIMENSIONS = {
    "model": "model",
    "endpoint": "endpoint",
    "release": "release",
    "tier": "tier",
    "organisation": "org_id",
}
"""What spend can be cut by, and the column that says it."""

OTHERS = "(others)"
"""What the smaller lines are called together."""

_METRIC = "cost_per_turn"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendLine:
    """What was spent on one thing.

    Attributes
    ----------
    name
        The model, endpoint, …
    costs
        US dollars in each period, by the list.
    turns, priced
        Turns of the window, and those that have a price.
    tokens_in, tokens_out
        Their tokens, as far as known.
    """

    name: str
    costs: tuple[float, ...]
    turns: int
    priced: int
    tokens_in: int
    tokens_out: int

    @property
    def cost(self) -> float:
        """US dollars of the whole window."""
        return sum(self.costs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """Spend over time.

    Attributes
    ----------
    periods
        Begin of each period, seconds since 1970, without gaps; one without a turn has cost 0.
    width_seconds
        Length of a period.
    lines
        The dearest first; the rest as `OTHERS` at the end.
    """

    periods: tuple[int, ...]
    width_seconds: int
    lines: tuple[SpendLine, ...]

    @property
    def cost(self) -> float:
        """US dollars by the list."""
        return sum(line.cost for line in self.lines)

    @property
    def turns(self) -> int:
        """Turns of the window."""
        return sum(line.turns for line in self.lines)

    @property
    def unpriced(self) -> int:
        """Turns without a price: of a model the list does not have, or of unknown tokens."""
        return sum(line.turns - line.priced for line in self.lines)


def spend_sql(dimension: str) -> str:
    """Write the SQL that adds costs up; ``$width`` is the length of a period in seconds.

    Raises
    ------
    UnknownName
        For a dimension that there is not.
    """
    if dimension not in DIMENSIONS:
        raise UnknownName("dimension", dimension, DIMENSIONS)
    return f"""SELECT
  CAST(FLOOR(CAST(ts_s AS DOUBLE) / $width) AS BIGINT) * $width AS period,
  COALESCE({DIMENSIONS[dimension]}, '{UNKNOWN}') AS name,
  COUNT(*) AS turns,
  COUNT(cost_usd) AS priced,
  COALESCE(SUM(cost_usd), 0) AS cost,
  CAST(COALESCE(SUM(tokens_in), 0) AS BIGINT) AS tokens_in,
  CAST(COALESCE(SUM(tokens_out), 0) AS BIGINT) AS tokens_out
FROM spans
WHERE ts_s IS NOT NULL
GROUP BY period, name
ORDER BY period, name"""  # noqa: S608 - names from code


def spend_over_time(view: TenantView, dimension: str, *, width_seconds: int, most_lines: int = 5) -> Spend:
    """Add up what turns cost, by period and dimension.

    Parameters
    ----------
    view
        The turns of a tenant and a window.
    dimension
        A key of `DIMENSIONS`.
    width_seconds
        Length of a period.
    most_lines
        Lines that keep their name; the others are added up.

    Returns
    -------
    Spend
        Lines add up to the whole, whatever their number.
    """
    rows = view.query(spend_sql(dimension), parameters={"width": width_seconds})
    if len(rows) == 0:
        return Spend(periods=(), width_seconds=width_seconds, lines=())
    first, last = pc.min(rows["period"]).as_py(), pc.max(rows["period"]).as_py()
    periods = tuple(range(first, last + 1, width_seconds))
    costs: dict[str, list[float]] = {}
    counts: dict[str, list[int]] = {}
    for row in rows.to_pylist():
        held = costs.setdefault(row["name"], [0.0] * len(periods))
        held[(row["period"] - first) // width_seconds] += row["cost"]
        sums = counts.setdefault(row["name"], [0, 0, 0, 0])
        for place, name in enumerate(("turns", "priced", "tokens_in", "tokens_out")):
            sums[place] += row[name]
    order = sorted(costs, key=lambda name: (-sum(costs[name]), -counts[name][0], name))
    lines = [_line(name, [name], costs, counts) for name in order[:most_lines]]
    if order[most_lines:]:
        lines.append(_line(OTHERS, order[most_lines:], costs, counts))
    return Spend(periods=periods, width_seconds=width_seconds, lines=tuple(lines))


def _line(name: str, of: Sequence[str], costs: dict[str, list[float]], counts: dict[str, list[int]]) -> SpendLine:
    turns, priced, tokens_in, tokens_out = (sum(values) for values in zip(*(counts[n] for n in of), strict=True))
    return SpendLine(
        name=name,
        costs=tuple(sum(values) for values in zip(*(costs[n] for n in of), strict=True)),
        turns=turns,
        priced=priced,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
    )


def cost_of_turns(view: TenantView, dimension: str | None = None) -> tuple[list[Estimate], Measurement]:
    """Estimate what a turn costs, with the shipped metric.

    Parameters
    ----------
    view
        The turns of a tenant and a window.
    dimension
        A key of `DIMENSIONS`; without one, of all turns together.

    Returns
    -------
    estimates, measurement
        One estimate a value (its ``slice`` holds the dimension and the value), and what they were made from.

    Raises
    ------
    UnknownName
        For a dimension that there is not.
    """
    metric = catalog()[_METRIC]
    if dimension is None:
        measured = run(metric, view)
        return levels_by_slice(measured), measured
    if dimension not in DIMENSIONS:
        raise UnknownName("dimension", dimension, DIMENSIONS)
    # The metric is cut by release; what stands in that column is the dimension that is asked for.
    column = DIMENSIONS[dimension]
    seen = view if column == "release" else view.narrowed(replaced={"release": column})
    measured = run(metric, seen, slices=("release",))
    return levels_by_slice(measured, ("release",)), measured


def newest_turn_us(view: TenantView) -> int | None:
    """Time of the newest turn, microseconds since 1970; ``None`` where there is none."""
    newest: int | None = view.query("SELECT MAX(ts_us) AS newest FROM spans")["newest"][0].as_py()
    return newest
