"""Four pictures of an effect without randomisation, each of which can show that it should not be believed.

Pure SVG without script, style attribute or outside asset; colours come from the page's classes, whose rules stand in
``templates/causal.css``. Bands are intervals, what did not happen is dashed, and every line carries its name, so that no
reading rests on colour.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

from jurat.errors import UsageError
from jurat.evidence.figure import nice_ticks
from jurat.experiments.causal_answer import CausalAnswer
from jurat.stats.event_study import EventStudy
from jurat.stats.local_level import LocalLevelEffect
from jurat.stats.propensity import Overlap
from jurat.stats.synthetic_control import SyntheticControl
from jurat.stats.synthetic_difference_in_differences import SyntheticDifferenceInDifferences
from jurat.stats.weighting import WeightedEffect

__all__ = ["causal_figure", "event_study_figure", "forecast_figure", "overlap_figure", "twin_figure"]

_WIDTH, _HEIGHT = 900, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 130, 18, 46


@dataclass(frozen=True, slots=True)
class _Axes:
    """Two linear axes."""

    across: tuple[float, float]
    up: tuple[float, float]

    def x(self, value: float) -> float:
        low, high = self.across
        return round(_LEFT + (value - low) / ((high - low) or 1.0) * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        low, high = self.up
        return round(_TOP + (high - value) / ((high - low) or 1.0) * (_HEIGHT - _TOP - _BOTTOM), 1)

    def line(self, points: Sequence[tuple[float, float]], kind: str) -> str:
        path = " ".join(f"{self.x(x)},{self.y(y)}" for x, y in points)
        return f'<polyline class="{kind}" points="{path}"/>'

    def band(self, rows: Sequence[tuple[float, float, float]]) -> str:
        """Area between the low and the high of each (x, low, high)."""
        edge = [(x, high) for x, _, high in rows] + [(x, low) for x, low, _ in reversed(rows)]
        path = " ".join(f"{self.x(x)},{self.y(y)}" for x, y in edge)
        return f'<polygon class="band" points="{path}"/>'

    def start(self, value: float, text: str) -> list[str]:
        """Mark where the treatment begins."""
        x = self.x(value)
        return [
            f'<line class="start" x1="{x}" x2="{x}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>',
            f'<text class="small" x="{x + 5}" y="{_TOP + 10}">{escape(text)}</text>',
        ]


def _ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers within a range."""
    return [t for t in nice_ticks(low, high, about=about) if low <= t <= high]


def _number(value: float) -> str:
    return f"{value:,.6g}".replace("-", "−")


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = 0.06 * (high - low) or 1.0
    return low - room, high + room


def _frame(axes: _Axes, below: Sequence[tuple[float, str]], unit: str, *, mirrored: bool = False) -> list[str]:
    """Grid with numbers at the side, and given labels below; ``mirrored`` counts up in both directions from zero."""
    right, floor = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    parts = []
    for tick in _ticks(*axes.up):
        y = axes.y(tick)
        parts.append(f'<line class="{"zero" if tick == 0 else "grid"}" x1="{_LEFT}" x2="{right}" y1="{y}" y2="{y}"/>')
        parts.append(
            f'<text class="tick side" x="{_LEFT - 8}" y="{y + 4}">{_number(abs(tick) if mirrored else tick)}</text>'
        )
    parts += [f'<text class="tick" x="{axes.x(x)}" y="{floor + 18}">{escape(text)}</text>' for x, text in below]
    if unit:
        parts.append(f'<text class="small" x="0" y="{_TOP - 6}">{escape(unit)}</text>')
    return parts


def _svg(parts: Sequence[str], label: str) -> str:
    told = escape(label, {'"': "&quot;"})
    head = f'<svg class="causal" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{told}">'
    return "\n".join([head, *parts, "</svg>"])


def _thinned(labels: Sequence[Any], most: int = 10) -> list[tuple[float, str]]:
    """At most so many of the labels, at their positions."""
    step = max(math.ceil(len(labels) / most), 1)
    return [(float(i), str(labels[i])) for i in range(0, len(labels), step)]


def _names(axes: _Axes, at: Sequence[tuple[float, str]]) -> list[str]:
    """Names at the right edge, moved apart where they would overlap."""
    parts, last = [], -math.inf
    for y, text in sorted((axes.y(v), t) for v, t in at):
        last = max(y, last + 15)
        parts.append(f'<text class="name" x="{_WIDTH - _RIGHT + 10}" y="{last + 4:.1f}">{escape(text)}</text>')
    return parts


def event_study_figure(study: EventStudy, *, unit: str = "") -> str:
    """Draw the effect at each distance from adoption, with its interval.

    Parameters
    ----------
    study
        From `jurat.stats.event_study.event_study`.
    unit
        Unit of the outcome, for the axis.

    Returns
    -------
    str
        An ``<svg>`` element of class ``causal``.
    """
    effects = [(float(e.event_time), e.effect) for e in study.path]
    numbers = [v for _, i in effects for v in (i.low, i.value, i.high) if v is not None]
    axes = _Axes((effects[0][0] - 0.5, effects[-1][0] + 0.5), _span([0.0, *numbers]))
    ticks = [(t, _number(t)) for t in _ticks(effects[0][0], effects[-1][0], 10) if t == int(t)]
    parts = _frame(axes, ticks, unit) + axes.start(-0.5, "adoption")
    for x, effect in effects:
        if effect.value is None:
            continue
        at = axes.x(x)
        if effect.low is not None and effect.high is not None:
            parts.append(
                f'<line class="interval" x1="{at}" x2="{at}" y1="{axes.y(effect.low)}" y2="{axes.y(effect.high)}"/>'
            )
        kind = "point base" if x == study.base_period else "point"
        parts.append(f'<circle class="{kind}" cx="{at}" cy="{axes.y(effect.value)}" r="4.5"/>')
    test = study.pre_trend
    before = "" if test is None else f"; all effects before it are 0: p = {test.p_value:.2g}"
    text = f"periods since adoption; the open circle is the base{before}"
    parts.append(f'<text class="small" x="{_LEFT}" y="{_HEIGHT - 8}">{text}</text>')
    return _svg(parts, f"Effect by periods since adoption, {len(effects)} periods, with intervals")


def twin_figure(
    found: SyntheticControl | SyntheticDifferenceInDifferences, times: Sequence[Any], first: int, *, unit: str = ""
) -> str:
    """Draw the treated unit against its synthetic twin.

    Parameters
    ----------
    found
        From `synthetic_control` or `synthetic_difference_in_differences`.
    times
        Labels of the times, as many as the paths are long.
    first
        Position of the first treated time.
    unit
        Unit of the outcome, for the axis.

    Returns
    -------
    str
        An ``<svg>`` element of class ``causal``.

    Raises
    ------
    UsageError
        Where there are not as many labels as times.
    """
    treated, synthetic = found.treated_path, found.synthetic_path
    if len(times) != len(treated) or not 0 < first < len(treated):
        raise UsageError(f"need {len(treated)} times and a first treated one within", seen=f"{len(times)}, {first}")
    axes = _Axes((0.0, len(times) - 1.0), _span([*treated, *synthetic]))
    parts = _frame(axes, _thinned(times), unit) + axes.start(float(first), "treatment")
    parts.append(axes.line(list(enumerate(synthetic)), "unseen"))
    parts.append(axes.line(list(enumerate(treated)), "seen"))
    parts += _names(axes, [(treated[-1], "treated"), (synthetic[-1], "synthetic")])
    return _svg(parts, "The treated unit and its synthetic twin over time")


def overlap_figure(overlap: Overlap) -> str:
    """Draw how the propensities of both arms are spread: treated upwards, control downwards, as shares of their arm.

    Parameters
    ----------
    overlap
        From `jurat.stats.propensity.overlap_summary`.

    Returns
    -------
    str
        An ``<svg>`` element of class ``causal``.
    """
    up = [100.0 * k / sum(overlap.treated) for k in overlap.treated]
    down = [100.0 * k / sum(overlap.control) for k in overlap.control]
    axes = _Axes((0.0, 1.0), (-max(down) * 1.06, max(up) * 1.06))
    zero = axes.y(0.0)
    parts = _frame(
        axes, [(t / 10, _number(t / 10)) for t in range(0, 11, 2)], "% of the arm, control downwards", mirrored=True
    )
    for i, (above, below) in enumerate(zip(up, down, strict=True)):
        left, right = axes.x(overlap.edges[i]), axes.x(overlap.edges[i + 1])
        width = f'x="{left + 0.5:.1f}" width="{right - left - 1:.1f}"'
        parts.append(f'<rect class="treated" {width} y="{axes.y(above)}" height="{zero - axes.y(above):.1f}"/>')
        parts.append(f'<rect class="control" {width} y="{zero}" height="{axes.y(-below) - zero:.1f}"/>')
    for edge in (overlap.floor, 1 - overlap.floor):
        x = axes.x(edge)
        parts.append(f'<line class="start" x1="{x}" x2="{x}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>')
    parts += _names(axes, [(max(up) / 2, "treated"), (-max(down) / 2, "control")])
    outside = f"propensity; {100 * overlap.share_outside:.3g} % of rows lie outside the dashed lines"
    parts.append(f'<text class="small" x="{_LEFT}" y="{_HEIGHT - 8}">{outside}</text>')
    return _svg(parts, "Propensities of the treated, upwards, and of the controls, downwards")


def forecast_figure(found: LocalLevelEffect, series: Sequence[float], times: Sequence[Any], *, unit: str = "") -> str:
    """Draw a series against the forecast of what it would have been.

    Parameters
    ----------
    found
        From `jurat.stats.local_level.intervention_effect`.
    series
        What was seen, in order.
    times
        Labels, as many.
    unit
        Unit of the outcome, for the axis.

    Returns
    -------
    str
        An ``<svg>`` element of class ``causal``.

    Raises
    ------
    UsageError
        Where there are not as many labels as values, or fewer values than forecasts.
    """
    first = len(series) - len(found.counterfactual)
    if len(times) != len(series) or first != found.fit.n:
        raise UsageError(
            "series and times must be those of the analysis",
            seen=f"{len(series)} values, {len(times)} times, {found.fit.n} periods before",
        )
    rows = [
        (float(first + h), i.low, i.value, i.high)
        for h, i in enumerate(found.counterfactual)
        if i.low is not None and i.value is not None and i.high is not None
    ]
    axes = _Axes(
        (0.0, len(series) - 1.0), _span([*(float(v) for v in series), *(v for _, lo, _, hi in rows for v in (lo, hi))])
    )
    parts = _frame(axes, _thinned(times), unit) + axes.start(float(first), "treatment")
    parts.append(axes.band([(x, low, high) for x, low, _, high in rows]))
    parts.append(axes.line([(x, v) for x, _, v, _ in rows], "unseen"))
    parts.append(axes.line([(float(i), float(v)) for i, v in enumerate(series)], "seen"))
    parts += _names(axes, [(float(series[-1]), "seen"), (rows[-1][2], "forecast")])
    return _svg(parts, f"The series, and its forecast with {100 * found.average.level:g} % intervals after treatment")


def causal_figure(
    answer: CausalAnswer,
    *,
    times: Sequence[Any] = (),
    first: int = 0,
    series: Sequence[float] = (),
    unit: str = "",
) -> str | None:
    """Draw the picture that belongs to an answer.

    Parameters
    ----------
    answer
        From one of the functions of `jurat.experiments.causal`.
    times, first
        Labels of the times and position of the first treated one, for synthetic controls; labels for forecasts.
    series
        What was seen, for forecasts.
    unit
        Unit of the outcome.

    Returns
    -------
    str or None
        ``None`` where the method has no picture: two groups in two periods, and regression adjustment.

    Raises
    ------
    UsageError
        Where times or series do not fit the answer.
    """
    found = answer.result
    if isinstance(found, EventStudy):
        return event_study_figure(found, unit=unit)
    if isinstance(found, SyntheticControl | SyntheticDifferenceInDifferences):
        return twin_figure(found, times, first, unit=unit)
    if isinstance(found, WeightedEffect):
        return None if found.overlap is None else overlap_figure(found.overlap)
    if isinstance(found, LocalLevelEffect):
        return forecast_figure(found, series, times, unit=unit)
    return None
