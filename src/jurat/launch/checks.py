"""The bar's validity checks, run on the pinned data before any comparison is believed."""

from __future__ import annotations

from collections.abc import Sequence

from jurat.errors import SpecError
from jurat.evidence.measure import arm_statistics
from jurat.evidence.validity import CheckResult, complete_pairs, sample_ratio
from jurat.evidence.workspace import Workspace
from jurat.launch.bar import Bar, Check, Clause

__all__ = ["run_check"]


def run_check(check: Check, bar: Bar, workspace: Workspace, clauses: Sequence[Clause]) -> CheckResult:
    """Run one validity check.

    Parameters
    ----------
    check
        What the bar asks for.
    bar, clauses
        The bar; its comparisons say which units must be paired.
    workspace
        The pinned data.

    Raises
    ------
    SpecError
        Where a check cannot be run on these metrics or tables.
    """
    if check.kind == "complete-pairs":
        return _complete_pairs(bar, workspace, clauses)
    return _sample_ratio(check, bar, workspace)


def _complete_pairs(bar: Bar, workspace: Workspace, clauses: Sequence[Clause]) -> CheckResult:
    arms = bar.document.arms
    units: dict[str, list[str]] = {arms.baseline: [], arms.candidate: []}
    paired = [m for m in dict.fromkeys(c.metric for c in clauses if c.arm is None) if workspace.metric(m).pair]
    if not paired:
        raise SpecError(
            f"{bar.path.name}: the check 'complete-pairs' has no paired metric to look at",
            seen="no metric of the bar declares pair",
            next_step="drop the check, or declare pair in the metric files",
        )
    for name in paired:
        measured = workspace.measure(
            name, slices=(arms.column,), parameters=dict(bar.document.data.parameters), where={}
        )
        for arm, seen in units.items():
            column = arm_statistics(measured, arm_column=arms.column, arm=arm).pair
            seen += [f"{name}:{unit}" for unit in (column.to_pylist() if column is not None else [])]
    return complete_pairs(units, unit=bar.document.plan.unit)


def _sample_ratio(check: Check, bar: Bar, workspace: Workspace) -> CheckResult:
    if not check.expected:
        raise SpecError(
            f"{bar.path.name}: the check 'sample-ratio' does not say what was planned",
            seen="expected is empty",
            next_step="write expected = { arm = share, … }",
        )
    if "exposures" not in workspace.snapshot.tables:
        raise SpecError(
            f"{bar.path.name}: the check 'sample-ratio' needs the table exposures",
            seen=f"tables: {', '.join(sorted(workspace.snapshot.tables))}",
            next_step="record who was exposed to which arm, or drop the check",
        )
    sql = "SELECT arm, COUNT(DISTINCT unit_id) AS units, MIN(unit_kind) AS kind FROM exposures"
    parameters = {}
    if check.experiment is not None:
        sql, parameters = sql + " WHERE experiment = $experiment", {"experiment": check.experiment}
    rows = workspace.engine.query(sql + " GROUP BY arm ORDER BY arm", parameters=parameters).to_pylist()
    kind = rows[0]["kind"] if rows else "unit"
    return sample_ratio(
        {row["arm"]: int(row["units"]) for row in rows}, check.expected, alpha=check.alpha, unit=str(kind)
    )
