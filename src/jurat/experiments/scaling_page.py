"""The scaling study as one self-contained HTML page: no script, no outside request, a policy that forbids both."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources

import jinja2
from markupsafe import Markup

from jurat.experiments.scaling import ScalingStudy
from jurat.experiments.scaling_figures import loss_figure, residual_figure
from jurat.experiments.scaling_runs import engineering, scientific
from jurat.stats.result import Interval

__all__ = ["render_scaling_page"]


def render_scaling_page(study: ScalingStudy, *, title: str) -> str:
    """Render a study as HTML.

    Parameters
    ----------
    study
        What `jurat.experiments.scaling.scaling_study` found.
    title
        Name of the runs, for example their file.

    Returns
    -------
    str
        HTML; the same study gives the same bytes.
    """
    style = _template("scaling.css")
    style_hash = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_template("scaling.html.j2")).render(
        study=study,
        law=study.fit.law,
        title=title,
        level=f"{100 * study.level:.4g} %",
        style=Markup(style),  # noqa: S704 - our own file
        style_hash=f"sha256-{style_hash}",
        loss_figure=Markup(loss_figure(study)),  # noqa: S704 - escapes its own texts
        residual_figure=Markup(residual_figure(study)),  # noqa: S704
        engineering=engineering,
        scientific=scientific,
        bounds=_bounds,
        counted=_counted_bounds,
    )


def _template(name: str) -> str:
    return (resources.files("jurat.experiments") / "templates" / name).read_text(encoding="utf-8")


def _bounds(i: Interval) -> str:
    if i.low is None or i.high is None:
        return i.reason or "undefined"
    return f"{i.low:.4g} to {i.high:.4g}"


def _counted_bounds(i: Interval) -> str:
    if i.low is None or i.high is None:
        return i.reason or "undefined"
    return f"{engineering(i.low)} to {engineering(i.high)}"
