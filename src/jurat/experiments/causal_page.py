"""An answer without a trial as a page: the effect, what it assumes, the placebo, the picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup

from jurat.evidence.page import render_page
from jurat.experiments.causal import CausalAnswer
from jurat.experiments.causal_figures import causal_figure

__all__ = ["render_causal_page"]


def render_causal_page(
    answer: CausalAnswer,
    rows: pa.Table,
    *,
    title: str,
    outcome: str,
    unit: str | None,
    time: str | None,
    first: str | None,
) -> str:
    """Render an answer as a self-contained page.

    Parameters
    ----------
    answer, rows
        The answer, and the rows it came from.
    title
        Name of the data.
    outcome, unit, time
        Columns, as they were named.
    first
        First treated time, as it was given.
    """
    times = [] if time is None else sorted(set(rows[time].to_pylist()))
    place = next((i for i, t in enumerate(times) if str(t) == first), 0)
    series: Sequence[Any] = ()
    if time is not None and unit is None:
        series = rows.take(pc.sort_indices(rows, [(time, "ascending")]))[outcome].to_pylist()
    figure = causal_figure(answer, times=times, first=place, series=series)
    return render_page(
        "jurat.experiments",
        "causal.html.j2",
        style="causal.css",
        a=answer,
        title=title,
        outcome=outcome,
        figure=None if figure is None else Markup(figure),  # noqa: S704 - escapes its own texts
        level=f"{100 * answer.effect.level:.4g} %",
    )
