"""Does the treatment reach those who were not treated? Slopes of control outcomes on the treated share around them.

Where units touch each other (one organisation, one market), a control unit among many treated ones may be treated in part.
The difference of the arms is then too small, and a slope shows it. It finds what varies with the share; a spill-over that
reaches everybody alike leaves no slope, and only a design by clusters or by time can see it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from jurat.experiments.data import ExperimentData, quoted
from jurat.experiments.moments import population_sql
from jurat.experiments.spec import Experiment
from jurat.stats.mean import undefined
from jurat.stats.moments import Moments, MomentTable, functional_interval, smooth
from jurat.stats.result import Interval

__all__ = ["spillover_slope"]


def spillover_slope(experiment: Experiment, data: ExperimentData, metric: str, group: str) -> Interval:
    r"""Slope of the control arm's outcome on the share of treated units in its group.

    Parameters
    ----------
    experiment, data
        The spec and its rows.
    metric
        A mean or proportion; of a ratio, its numerator per unit of its denominator.
    group
        Column of the groups within which units touch each other.

    Returns
    -------
    Interval
        Change of the control outcome from a group without treated units to one of nothing else; undefined with a reason
        where the share does not vary.

    Notes
    -----
    Weighted least squares over groups, :math:`b = \\frac{\\sum s t - \\sum n t \\sum s / \\sum n}
    {\\sum n t^2 - (\\sum n t)^2 / \\sum n}` with group sums s of the outcome, n control rows and t the treated share of units;
    a smooth function of group means, with the groups as clusters.

    References
    ----------
    Hudgens, M. G. and Halloran, M. E. (2008). Toward causal inference with interference. JASA 103, 832–842. Aronow, P. M.
    and Samii, C. (2017). Estimating average causal effects under general interference. Annals of Applied Statistics 11.
    """
    definition, control = experiment.metric(metric), experiment.document.assignment.control
    value = f"CAST(({definition.value}) AS DOUBLE)"
    per = "CAST(1 AS DOUBLE)" if definition.per is None else f"CAST(({definition.per}) AS DOUBLE)"
    columns = {"g__": quoted(group), "u__": quoted(experiment.document.assignment.unit), "v__": value, "w__": per}
    rows = population_sql(experiment, columns)
    sql = (
        f"SELECT g__, COUNT(DISTINCT u__) AS units, COUNT(DISTINCT u__) FILTER (WHERE arm__ <> $control) AS treated, "
        f"COALESCE(SUM(v__) FILTER (WHERE arm__ = $control AND w__ IS NOT NULL), 0) AS s, "
        f"COALESCE(SUM(w__) FILTER (WHERE arm__ = $control AND v__ IS NOT NULL), 0) AS n "
        f"FROM ({rows}) AS r WHERE g__ IS NOT NULL GROUP BY g__ ORDER BY g__"
    )
    found = [row for row in data.query(sql, control=control) if row["n"]]
    method = "weighted slope over groups, CR1"
    share = np.array([row["treated"] / row["units"] for row in found])
    if len(found) < 3 or np.ptp(share) == 0:
        return undefined(
            f"the treated share does not vary over {len(found)} groups",
            level=experiment.level,
            n=len(found),
            method=method,
        )
    n, s = (np.array([float(row[k]) for row in found]) for k in ("n", "s"))
    moments = Moments.from_clusters({"n": n, "s": s, "nt": n * share, "st": s * share, "ntt": n * share**2})
    table = MomentTable(groups={"control": moments}, arms=("control",))
    keys = [("control", name) for name in moments.names]
    return functional_interval(
        table,
        smooth(table, keys, _slope),
        level=experiment.level,
        n=round(float(n.sum())),
        n_clusters=len(found),
        method=method,
    )


def _slope(x: npt.NDArray[Any]) -> Any:
    n, s, nt, st, ntt = x
    return (st - nt * s / n) / (ntt - nt * nt / n)
