"""A metric measured on what a lake holds now, for one tenant and a window that ends with the newest turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jurat.errors import UsageError
from jurat.evidence.estimate import Estimate
from jurat.evidence.slices import levels_by_slice
from jurat.metrics.loader import Metric
from jurat.metrics.run import run
from jurat.store.engine import Scalar
from jurat.store.lake import Lake
from jurat.telemetry.spend import newest_turn_us
from jurat.telemetry.tenant_view import HOUSE_TENANT, open_tenant_view

__all__ = ["MetricLevels", "measure_levels"]

_KEPT_APART = frozenset({"spans", "span_text", "feedback", "labels", "scores"})
"""Tables whose rows are told apart by tenant; others belong to the house."""

_DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricLevels:
    """What was measured.

    Attributes
    ----------
    estimates
        One a slice that occurs, in order of name.
    sql, bound
        The statement that was run, and its parameters.
    versions
        Version of each table that was read.
    since_us, until_us
        The window: its begin (``None`` for all time), and the newest turn.
    """

    estimates: tuple[Estimate, ...]
    sql: str
    bound: Mapping[str, Scalar]
    versions: Mapping[str, int]
    since_us: int | None
    until_us: int | None


def measure_levels(
    metric: Metric,
    lake: Lake,
    *,
    tenant: str,
    slices: Sequence[str] = (),
    days: int | None = None,
    parameters: Mapping[str, Any] | None = None,
    level: float = 0.95,
) -> MetricLevels:
    """Measure a metric on a lake as it is.

    Parameters
    ----------
    metric
        The definition.
    lake
        The lake; nothing is pinned, so what comes out is no evidence.
    tenant
        Whose turns.
    slices
        Columns to cut by; without one, of all turns together.
    days
        Only turns of the last so many days before the newest turn; all by default.
    parameters
        Values that replace the metric's defaults.
    level
        Two-sided coverage of each interval.

    Raises
    ------
    UsageError
        Where a tenant other than the house asks for tables that are not told apart by tenant.
    UnknownName
        For a slice or parameter the metric does not have.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import pyarrow as pa
    >>> from jurat.metrics.loader import catalog
    >>> store = Lake(Path(tempfile.mkdtemp()))
    >>> turns = {"span_id": ["a", "b"], "status": ["ok", "error"], "user_id": ["u", "v"], "ts_us": [1, 2]}
    >>> _ = store.append("spans", pa.table(turns))
    >>> found = measure_levels(catalog()["error_rate"], store, tenant="default")
    >>> [(e.value, e.n) for e in found.estimates]
    [(0.5, 2)]
    """
    tables = tuple(metric.needs)
    if tenant != HOUSE_TENANT and not _KEPT_APART.issuperset(tables):
        raise UsageError(
            f"{metric.name} reads tables that belong to the house",
            seen=", ".join(sorted(set(tables) - _KEPT_APART)),
            next_step="ask those who run this server",
        )
    held = lake.tables()
    versions = {table: lake.version(table) for table in {*tables, "spans"} if table in held}
    with open_tenant_view(lake.root, tenant=tenant, tables=tuple({*tables, "spans"}), versions=versions) as view:
        newest = newest_turn_us(view)
        since = None if days is None or newest is None else newest + 1 - days * _DAY_US
        seen = view if since is None else view.narrowed(since_us=since)
        measured = run(metric, seen, slices=slices, parameters=parameters)
        sql, own = seen.statement(measured.sql)
    used = {name: value for name, value in measured.parameters.items() if f"${name}" in measured.sql}
    return MetricLevels(
        estimates=tuple(levels_by_slice(measured, slices, level=level)),
        sql=sql,
        bound={**used, **own},
        versions=versions,
        since_us=since,
        until_us=newest,
    )
