"""The pictures of the page *Now*: sparks with last week's ghost, the refusal rate, latencies by the minute."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
from markupsafe import Markup

from jurat.experiments.axes import Axes
from jurat.stats.quantile import order_statistic_ranks
from jurat.telemetry.panels import Histogram
from jurat.telemetry.recent import Span
from jurat.telemetry.rollup import GAMMA
from jurat.telemetry.tiles import Tile

__all__ = ["latency_chart", "latency_rows", "share_chart", "spark"]

_WIDTH, _HEIGHT, _PAD = 240.0, 44.0, 3.0
_QUANTILES = (0.5, 0.95, 0.99)
_FEWEST = 20


def spark(tile: Tile) -> Markup:
    """Draw three hours as a line with its band, and the same hours last week as a dotted line."""
    values = [p.interval.value for p in tile.points]
    bounds = [b for p in tile.points for b in (p.interval.low, p.interval.high) if b is not None]
    known = [v for v in [*values, *tile.ghost] if v is not None]
    if not known:
        return Markup()
    # Bounds of a few turns reach far: the line is to be seen, not its least certain point.
    high = max(*known, min(max(bounds, default=0.0), 1.6 * max(known)))
    low = min(*known, max(min(bounds, default=0.0), 0.4 * min(known)))
    room = (high - low) or abs(high) or 1.0

    def place(i: int, value: float) -> str:
        x = i * _WIDTH / max(len(values) - 1, 1)
        y = _HEIGHT - _PAD - (min(max(value, low), high) - low) / room * (_HEIGHT - 2 * _PAD)
        return f"{x:.1f},{y:.1f}"

    parts = []
    band = [
        (i, p.interval) for i, p in enumerate(tile.points) if p.interval.low is not None and p.interval.high is not None
    ]
    for run in _runs([i for i, _ in band]):
        held = [tile.points[i].interval for i in run]
        upper = [place(i, h.high or 0.0) for i, h in zip(run, held, strict=True)]
        lower = [place(i, h.low or 0.0) for i, h in zip(run, held, strict=True)]
        parts.append(f'<polygon class="band" points="{" ".join([*upper, *reversed(lower)])}"/>')
    for kind, line in (("ghost", tile.ghost), ("series", values)):
        for run in _runs([i for i, v in enumerate(line) if v is not None]):
            points = " ".join(place(i, line[i] or 0.0) for i in run)
            parts.append(f'<polyline class="{kind}" points="{points}"/>')
    label = f"{tile.title}: the last three hours, dotted the same hours last week"
    return Markup(  # noqa: S704 - numbers and our own words
        f'<svg class="spark" viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" preserveAspectRatio="none" role="img" '
        f'aria-label="{label}">{"".join(parts)}</svg>'
    )


def _runs(places: Sequence[int]) -> list[list[int]]:
    """Stretches without a gap; a single point is no line."""
    runs: list[list[int]] = []
    for i in places:
        if runs and runs[-1][-1] == i - 1:
            runs[-1].append(i)
        else:
            runs.append([i])
    return [run for run in runs if len(run) > 1]


def _clock(axes: Axes, span: Span) -> None:
    """Hours and half hours under a picture."""
    base = axes.y_range[0]
    for minute in range(-(-span[0] // 30) * 30, span[1] + 1, 30):
        at = axes.x(minute)
        text = datetime.fromtimestamp(minute * 60, UTC).strftime("%H:%M")
        kind = "tick start" if at < axes.left + 12 else "tick end" if at > axes.width - axes.right - 12 else "tick"
        axes.text(minute, base, text, kind, dy=17)


def share_chart(tile: Tile, span: Span, window: Span, label: str) -> Markup:
    """Draw a share with its band, what is usual as a dashed line, and the window that the numbers are of."""
    points = [(sum(p.span) / 2, p.interval) for p in tile.points if p.interval.value is not None]
    highest = max(
        [i.high or i.value or 0.0 for _, i in points] + [tile.usual.high if tile.usual and tile.usual.high else 0.0]
    )
    axes = Axes(
        x_range=(span[0], span[1]), y_range=(0.0, 100 * max(highest, 0.001) * 1.08), label=label, width=520, height=236,
        left=46, right=8, top=10, bottom=26,
    )  # fmt: skip
    axes.y_grid("%", about=4)
    left, right = axes.x(window[0]), axes.x(window[1])
    axes.add(f'<rect class="window" x="{left}" width="{right - left:.1f}" y="{axes.top}" height="{236 - 36}"/>')
    _clock(axes, span)
    axes.band([(x, 100 * (i.low or 0.0), 100 * (i.high or 0.0)) for x, i in points if i.high is not None], "band")
    ghost = [(sum(p.span) / 2, g) for p, g in zip(tile.points, tile.ghost, strict=False)]
    axes.line([(x, 100 * g) for x, g in ghost if g is not None], "ghost")
    axes.line([(x, 100 * (i.value or 0.0)) for x, i in points], "series")
    if tile.usual is not None and tile.usual.value is not None:
        axes.line([(span[0], 100 * tile.usual.value), (span[1], 100 * tile.usual.value)], "bar-line")
        said = f"dashed: {tile.usual_name}, {100 * tile.usual.value:.1f} %"
        axes.text(span[0], axes.y_range[1], said, "mark-label soft", dx=4, dy=10)
    return Markup(axes.svg())  # noqa: S704 - texts are escaped by the axes


def _by_minute(values: Histogram, span: Span) -> list[tuple[int, int, list[float], tuple[float, float] | None]]:
    """Minute, turns, quantiles, and bounds of the middle one of them by order statistics."""
    inside = values.within(span)
    cuts = np.flatnonzero(np.diff(inside.at, prepend=-1))
    found = []
    for start, end in pairwise([*cuts, len(inside.at)]):
        middle = np.power(GAMMA, inside.bucket[start:end] + 0.5)
        cumulative = np.cumsum(inside.n[start:end])
        n = int(cumulative[-1])
        ranks = [min(max(int(np.ceil(q * n)), 1), n) for q in _QUANTILES]
        quantiles = [float(middle[np.searchsorted(cumulative, rank)]) for rank in ranks]
        bounds = None
        if n >= _FEWEST:
            held = order_statistic_ranks(n, _QUANTILES[1])
            low, high = (
                (None if r is None else float(middle[np.searchsorted(cumulative, r)])) for r in (held.low, held.high)
            )
            bounds = (low or quantiles[0], high or float(middle[-1]))
        found.append((int(inside.at[start]), n, quantiles, bounds))
    return found


def latency_rows(values: Histogram, span: Span) -> list[dict[str, object]]:
    """The chart as a table: a row a minute."""
    return [
        {
            "minute": datetime.fromtimestamp(minute * 60, UTC),
            "n": n,
            "p50_ms": round(quantiles[0], 1),
            "p95_ms": round(quantiles[1], 1),
            "p95_low_ms": None if bounds is None else round(bounds[0], 1),
            "p95_high_ms": None if bounds is None else round(bounds[1], 1),
            "p99_ms": round(quantiles[2], 1),
        }
        for minute, n, quantiles, bounds in _by_minute(values, span)
    ]


def latency_chart(values: Histogram, span: Span, window: Span) -> Markup:
    """Draw p50, p95 (with its band) and p99 by the minute."""
    rows = _by_minute(values, span)
    if not rows:
        return Markup()
    # One slow minute must not press all others to the floor.
    highest = float(np.quantile([q[2] for _, _, q, _ in rows], 0.98)) * 1.15
    scale, unit = (1000.0, "s") if highest >= 2000 else (1.0, "ms")
    axes = Axes(
        x_range=(span[0], span[1]), y_range=(0.0, highest / scale), label="Latency percentiles by minute: p50, p95, p99",
        width=520, height=236, left=46, right=34, top=10, bottom=26,
    )  # fmt: skip
    axes.y_grid(unit, about=4)
    left, right = axes.x(window[0]), axes.x(window[1])
    axes.add(f'<rect class="window" x="{left}" width="{right - left:.1f}" y="{axes.top}" height="{236 - 36}"/>')
    _clock(axes, span)
    top = highest / scale
    axes.band(
        [(m + 0.5, min(b[0] / scale, top), min(b[1] / scale, top)) for m, _, _, b in rows if b is not None], "band"
    )
    for i, (name, kind) in enumerate((("p50", "series second"), ("p95", "series"), ("p99", "series third"))):
        line = [(m + 0.5, min(q[i] / scale, top)) for m, _, q, _ in rows]
        axes.line(line, kind)
        axes.text(line[-1][0], float(np.mean([y for _, y in line[-5:]])), name, "mark-label", dx=5, dy=4)
    return Markup(axes.svg())  # noqa: S704 - numbers and our own words
