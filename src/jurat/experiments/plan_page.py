"""The plan as a page: power curves, and what each claim needs."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup

from jurat.evidence.page import render_page
from jurat.experiments.figures import power_figure
from jurat.experiments.plan import Plan, power_at
from jurat.experiments.spec import Experiment

__all__ = ["render_plan"]


def render_plan(experiment: Experiment, plan: Plan) -> str:
    """Render a plan as a self-contained page.

    Parameters
    ----------
    experiment, plan
        The spec and what the planner found.
    """
    top = max([plan.planned_clusters, *(c.clusters for c in plan.claims if c.clusters is not None)]) * 1.25
    # A claim that needs a hundred times the plan would press every other curve against the axis.
    top = min(top, 8.0 * plan.planned_clusters)
    sizes = [float(n) for n in np.linspace(top / 80, top, 80)]
    curves = [
        (claim.name, sizes, power)
        for claim in experiment.claims
        if (power := power_at(experiment, claim, sizes)) is not None
    ]
    target = plan.claims[0].target
    return render_page(
        "jurat.experiments",
        "plan.html.j2",
        style="report.css",
        d=experiment.document,
        plan=plan,
        target=target,
        figure=Markup(power_figure(curves, plan.planned_clusters, target)),  # noqa: S704 - escapes its own texts
    )
