"""The dossier's picture: intervals as marks, the bar as a dashed line, the zone that clears it tinted.

Pure SVG without script or outside asset. Colours come from the page's classes, so light, dark and print share one
drawing; the outcome is always said by a glyph and a word as well. Rows in the same unit share one axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

__all__ = ["OUTCOME_MARKS", "ForestRow", "forest", "nice_ticks"]

OUTCOME_MARKS = {
    "clears": ("●", "clears", "ok"),
    "violated": ("■", "violated", "bad"),
    "undecided": ("▲", "undecided", "watch"),
    "inadmissible": ("▲", "not admitted", "watch"),
    "waived": ("◆", "waived", "watch"),
}

_WIDTH, _LEFT, _RIGHT = 900, 262, 176
_ROW, _TOP, _BOTTOM = 74, 14, 44


@dataclass(frozen=True, slots=True, kw_only=True)
class ForestRow:
    """One clause as a row of the picture.

    Attributes
    ----------
    title, caption
        Name of the metric, and the small line under it.
    value, low, high
        The estimate in display units (percentage points, milliseconds); ``None`` where undefined or open.
    threshold
        The bar, in the same units.
    clears_above
        Whether the zone above the threshold is the one that clears.
    outcome
        A key of `OUTCOME_MARKS`.
    text
        The estimate in words, for the right margin.
    """

    title: str
    caption: str
    value: float | None
    low: float | None
    high: float | None
    threshold: float
    clears_above: bool
    outcome: str
    text: str


def nice_ticks(low: float, high: float, *, about: int = 5) -> list[float]:
    """Round tick positions that span ``[low, high]`` (Heckbert, 1990).

    Examples
    --------
    >>> nice_ticks(-0.7, 4.1)
    [-1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    """
    span = high - low
    if span <= 0:
        return [low]
    rough = span / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough - 1e-12)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(i * step, 12) for i in range(first, last + 1)]


def forest(rows: Sequence[ForestRow], *, unit: str, label: str) -> str:
    """Draw rows that share a unit.

    Parameters
    ----------
    rows
        From top to bottom.
    unit
        Suffix of the axis labels, for example ``"pt"``.
    label
        Description for readers who do not see the picture.

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    numbers = [x for r in rows for x in (r.value, r.low, r.high, r.threshold, 0.0) if x is not None]
    # A margin on both sides, so that no bar stands on the edge of the picture and every zone is seen.
    room = 0.06 * (max(numbers) - min(numbers) or 1.0)
    low, high = min(numbers) - room, max(numbers) + room
    ticks = [t for t in nice_ticks(low, high) if low <= t <= high]
    height = _TOP + _ROW * len(rows) + _BOTTOM
    floor = _TOP + _ROW * len(rows)

    def place(x: float) -> float:
        share = 0.5 if high == low else (x - low) / (high - low)
        return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)

    parts = [
        f'<svg class="forest" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(label, {chr(34): "&quot;"})}">'
    ]
    for tick in ticks:
        name = "zero" if tick == 0 else "grid"
        x = place(tick)
        parts.append(f'<line class="{name}" x1="{x}" x2="{x}" y1="{_TOP}" y2="{floor}"/>')
        parts.append(f'<text class="tick" x="{x}" y="{floor + 18}">{_tick_text(tick)} {escape(unit)}</text>')
    for index, row in enumerate(rows):
        parts += _row(row, _TOP + _ROW * index, place, (low, high))
    parts.append("</svg>")
    return "\n".join(parts)


def _tick_text(tick: float) -> str:
    return f"{tick:,.10g}".replace("-", "−")


def _row(row: ForestRow, top: int, place: object, ends: tuple[float, float]) -> list[str]:
    at = place  # a closure over the axis
    assert callable(at)  # noqa: S101 - narrows the type for the reader
    glyph, word, state = OUTCOME_MARKS[row.outcome]
    middle = top + _ROW / 2
    bar = at(row.threshold)
    zone = (bar, at(ends[1])) if row.clears_above else (at(ends[0]), bar)
    parts = [
        f'<rect class="zone" x="{zone[0]}" y="{top + 12}" width="{max(zone[1] - zone[0], 0):.1f}" '
        f'height="{_ROW - 24}"/>',
        f'<line class="bar" x1="{bar}" x2="{bar}" y1="{top + 8}" y2="{top + _ROW - 8}"/>',
        f'<text class="name" x="0" y="{middle - 3}">{escape(row.title)}</text>',
        f'<text class="small" x="0" y="{middle + 14}">{escape(row.caption)}</text>',
        f'<text class="state {state}" x="{_WIDTH - _RIGHT + 22}" y="{middle - 3}">{glyph} {word}</text>',
        f'<text class="small" x="{_WIDTH - _RIGHT + 22}" y="{middle + 14}">{escape(row.text)}</text>',
    ]
    if row.value is not None:
        start = at(row.low) if row.low is not None else at(ends[0])
        end = at(row.high) if row.high is not None else at(ends[1])
        parts.append(f'<line class="interval {state}" x1="{start}" x2="{end}" y1="{middle}" y2="{middle}"/>')
        parts.append(f'<circle class="point {state}" cx="{at(row.value)}" cy="{middle}" r="5.5"/>')
    return parts
