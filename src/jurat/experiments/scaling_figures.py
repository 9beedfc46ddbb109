"""Two pictures of a scaling law: loss against compute with the efficient frontier, and what the law leaves over.

Pure SVG without script, style attribute or outside asset; colours come from the page's classes. Beyond the largest run the
frontier is dashed: there the band knows the doubt of the coefficients, not that of the law's form.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

import numpy as np

from jurat.experiments.scaling import ScalingStudy
from jurat.experiments.scaling_runs import engineering
from jurat.stats.scaling_prediction import FLOP_PER_PARAMETER_TOKEN, compute_optimal

__all__ = ["loss_figure", "residual_figure"]

_WIDTH, _HEIGHT = 900, 460
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 120, 16, 52
_FRONTIER_POINTS, _SIZES = 41, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axes:
    """Compute on a log scale across, anything on a linear one up."""

    flop: tuple[float, float]
    upright: tuple[float, float]
    height: int

    def x(self, flop: float) -> float:
        low, high = math.log(self.flop[0]), math.log(self.flop[1])
        return round(_LEFT + (math.log(flop) - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        low, high = self.upright
        inside = self.height - _TOP - _BOTTOM
        # Curves that leave the picture stay just outside of it; the clip hides them.
        return round(_TOP + min(max((high - value) / (high - low), -0.2), 1.2) * inside, 1)


def loss_figure(study: ScalingStudy) -> str:
    """Draw runs, the curves of some model sizes, and the efficient frontier with its interval.

    Parameters
    ----------
    study
        Budgets and predictions that were asked for widen the picture.

    Returns
    -------
    str
        An ``<svg>`` element of class ``scaling``.
    """
    runs = study.runs
    asked = [p.flop for p in study.predictions] + [a.flop for a in study.allocations]
    low, most = float(runs.flop.min()) / 1.5, max([float(runs.flop.max()), *asked]) * 1.5
    grid = np.geomspace(low, most, _FRONTIER_POINTS)
    losses = [compute_optimal(study.fit, float(c), level=study.level).loss for c in grid]
    defined = [
        (float(c), i.low, i.value, i.high)
        for c, i in zip(grid, losses, strict=True)
        if i.low is not None and i.value is not None and i.high is not None
    ]
    floor = min([float(runs.loss.min()), *(row[1] for row in defined)])
    ceiling = float(runs.loss.max())
    room = 0.04 * (ceiling - floor)
    axes = _Axes(flop=(low, most), upright=(floor - room, ceiling + room), height=_HEIGHT)
    parts = _frame(axes, "loss, nats per token", lambda t: f"{t:.4g}")
    parts.append('<g clip-path="url(#loss-inside)">')
    if defined:
        band = [(c, h) for c, _, _, h in defined] + [(c, lo) for c, lo, _, _ in reversed(defined)]
        parts.append(f'<polygon class="band" points="{_points(axes, band)}"/>')
    curves, names = _size_curves(study, axes)
    parts += curves
    parts += [
        f'<circle class="run" cx="{axes.x(float(c))}" cy="{axes.y(float(y))}" r="2.6"/>'
        for c, y in zip(runs.flop, runs.loss, strict=True)
    ]
    largest = float(runs.flop.max())
    inside = [(c, v) for c, _, v, _ in defined if c <= largest]
    outside = [(c, v) for c, _, v, _ in defined if c > largest]
    parts.append(f'<polyline class="frontier" points="{_points(axes, inside)}"/>')
    parts.append(f'<polyline class="frontier beyond" points="{_points(axes, inside[-1:] + outside)}"/>')
    for p in study.predictions:
        if p.new_run.low is not None and p.new_run.high is not None and p.new_run.value is not None:
            x = axes.x(p.flop)
            parts.append(
                f'<line class="asked" x1="{x}" x2="{x}" y1="{axes.y(p.new_run.low)}" y2="{axes.y(p.new_run.high)}"/>'
            )
            parts.append(f'<circle class="asked" cx="{x}" cy="{axes.y(p.new_run.value)}" r="4.5"/>')
    edge = axes.x(largest)
    parts.append(f'<line class="edge" x1="{edge}" x2="{edge}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/></g>')
    parts += names
    parts.append(f'<text class="small" x="{edge - 6}" y="{_TOP + 12}" text-anchor="end">largest run</text>')
    label = f"Loss of {len(runs.loss)} runs against training compute, with the fitted frontier and its interval"
    return _svg(parts, axes, label, "loss-inside")


def residual_figure(study: ScalingStudy) -> str:
    """Draw what each run's loss leaves over the law, in percent, against compute.

    Parameters
    ----------
    study
        The study; its level sets the dashed lines, between which that share of the residuals lies.

    Returns
    -------
    str
        An ``<svg>`` element of class ``scaling``.
    """
    runs = study.runs
    left = 100 * (runs.loss / study.fit.law.loss(runs.parameters, runs.tokens) - 1)
    tail = (1 - study.level) / 2
    bounds = [float(b) for b in np.quantile(left, [tail, 1 - tail])]
    reach = 1.08 * max(float(np.abs(left).max()), 1e-6)
    axes = _Axes(flop=(float(runs.flop.min()) / 1.5, float(runs.flop.max()) * 1.5), upright=(-reach, reach), height=300)
    parts = _frame(axes, "loss over the law, %", lambda t: f"{t:+.4g}".replace("-", "−") if t else "0")
    ends = (axes.x(axes.flop[0]), axes.x(axes.flop[1]))
    zero = axes.y(0.0)
    parts.append(f'<line class="zero" x1="{ends[0]}" x2="{ends[1]}" y1="{zero}" y2="{zero}"/>')
    for bound in bounds:
        y = axes.y(bound)
        parts.append(f'<line class="edge" x1="{ends[0]}" x2="{ends[1]}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="small" x="{ends[1] + 6}" y="{y + 4}">{bound:+.2f} %</text>'.replace("-", "−"))
    parts += [
        f'<circle class="run" cx="{axes.x(float(c))}" cy="{axes.y(float(r))}" r="2.6"/>'
        for c, r in zip(runs.flop, left, strict=True)
    ]
    return _svg(parts, axes, f"Residuals of {len(left)} runs in percent of the law, against training compute", "rest")


def _svg(parts: Sequence[str], axes: _Axes, label: str, clip: str) -> str:
    inside = f'width="{_WIDTH - _LEFT - _RIGHT}" height="{axes.height - _TOP - _BOTTOM}"'
    return "\n".join(
        [
            f'<svg class="scaling" viewBox="0 0 {_WIDTH} {axes.height}" role="img" aria-label="{escape(label)}">',
            f'<clipPath id="{clip}"><rect x="{_LEFT}" y="{_TOP}" {inside}/></clipPath>',
            *parts,
            "</svg>",
        ]
    )


def _points(axes: _Axes, line: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{axes.x(c)},{axes.y(v)}" for c, v in line)


def _frame(axes: _Axes, title: str, text: Callable[[float], str]) -> list[str]:
    """Grid, tick labels and axis titles."""
    floor = axes.height - _BOTTOM
    parts = []
    first, last = math.ceil(math.log10(axes.flop[0])), math.floor(math.log10(axes.flop[1]))
    for power in range(first, last + 1):
        x = axes.x(10.0**power)
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{_TOP}" y2="{floor}"/>')
        parts.append(f'<text class="tick" x="{x}" y="{floor + 18}">1e{power}</text>')
    low, high = axes.upright
    step = _step(high - low)
    for i in range(math.ceil(low / step), math.floor(high / step) + 1):
        y = axes.y(i * step)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="tick upright" x="{_LEFT - 8}" y="{y + 4}">{text(round(i * step, 12))}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text class="tick" x="{middle}" y="{floor + 40}">training compute, FLOP</text>')
    at = (_TOP + floor) / 2
    parts.append(f'<text class="tick" x="14" y="{at}" transform="rotate(-90 14 {at})">{escape(title)}</text>')
    return parts


def _step(span: float) -> float:
    """Round distance between ticks, about five of them."""
    power = 10.0 ** math.floor(math.log10(span / 5))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= span / 5)


def _size_curves(study: ScalingStudy, axes: _Axes) -> tuple[list[str], list[str]]:
    """Loss against compute at a few model sizes, over the data such runs could have seen; and their names."""
    runs, law = study.runs, study.fit.law
    sizes = np.unique(np.quantile(runs.parameters, np.linspace(0, 1, _SIZES), method="nearest"))
    curves, names = [], []
    for size in sizes:
        tokens = np.geomspace(runs.tokens.min() / 2, runs.tokens.max() * 2, 33)
        compute = FLOP_PER_PARAMETER_TOKEN * size * tokens
        shown = (compute >= axes.flop[0]) & (compute <= axes.flop[1])
        heights = law.loss(size, tokens)
        line = [(float(c), float(v)) for c, v in zip(compute[shown], heights[shown], strict=True)]
        if len(line) < 2:
            continue
        curves.append(f'<polyline class="size" points="{_points(axes, line)}"/>')
        c, v = line[-1]
        if axes.upright[0] <= v <= axes.upright[1]:
            names.append(
                f'<text class="small" x="{axes.x(c) + 4}" y="{axes.y(v) + 4}">N={engineering(float(size))}</text>'
            )
    return curves, names
