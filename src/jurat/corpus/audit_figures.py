"""The audit's pictures: rows of intervals on one axis, and the power of the poison scan. Pure SVG text.

Colours come from the page's classes, so light, dark and print share one drawing; every picture carries its content as text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

from jurat.evidence.figure import nice_ticks
from jurat.evidence.wording import three_digits

__all__ = ["Row", "power_figure", "rows_figure", "value_text"]

_WIDTH, _LEFT, _RIGHT, _ROW, _TOP, _BOTTOM = 900, 210, 236, 26, 10, 34
_LONGEST = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One interval in a picture.

    Attributes
    ----------
    name
        What it is of.
    estimate
        An interval as plain values.
    """

    name: str
    estimate: Mapping[str, Any]


def value_text(estimate: Mapping[str, Any], *, share: bool = False) -> str:
    """Write an interval: value, bounds and n, or why there is none.

    Examples
    --------
    >>> value_text({"value": 0.5, "low": 0.25, "high": 0.75, "n": 12, "reason": None}, share=True)
    '50 % [25, 75], n = 12'
    """
    factor = 100 if share else 1
    if estimate["value"] is None:
        return f"undefined: {estimate['reason']}"
    low, high = ("open" if estimate[k] is None else three_digits(factor * estimate[k]) for k in ("low", "high"))
    unit = " %" if share else ""
    return f"{three_digits(factor * estimate['value'])}{unit} [{low}, {high}], n = {estimate['n']:,}"


def rows_figure(
    rows: Sequence[Row], label: str, *, share: bool = False, line: float | None = None, zero: bool = True
) -> str:
    """Draw intervals below one another.

    Parameters
    ----------
    rows
        From top to bottom; undefined ones are said in words.
    label
        What the picture shows, for readers who do not see it.
    share
        Whether the numbers are shares.
    line
        Where a dashed line stands: no difference, for example.
    zero
        Whether the axis begins at zero.

    Returns
    -------
    str
        An ``<svg>`` element; empty where no row has a number.
    """
    factor: float = 100.0 if share else 1.0
    numbers: list[float] = [
        factor * r.estimate[k] for r in rows for k in ("value", "low", "high") if r.estimate[k] is not None
    ]
    if not numbers:
        return ""
    numbers += [0.0] if zero else []
    numbers += [] if line is None else [factor * line]
    room = 0.04 * (max(numbers) - min(numbers) or 1.0)
    low, high = (0.0 if zero and min(numbers) >= 0 else min(numbers) - room), max(numbers) + room
    floor = _TOP + _ROW * len(rows)
    spoken = "; ".join(f"{r.name} {value_text(r.estimate, share=share)}" for r in rows)

    def at(x: float) -> float:
        inside: float = min(max(factor * x, low), high)
        return round(_LEFT + (inside - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT), 1)

    parts = [_head(floor + _BOTTOM, f"{label}: {spoken}")]
    for tick in nice_ticks(low, high):
        if low <= tick <= high:
            x = at(tick / factor)
            kind = "zero" if tick == 0 else "grid"
            parts.append(f'<line class="{kind}" x1="{x}" x2="{x}" y1="{_TOP}" y2="{floor}"/>')
            parts.append(f'<text class="tick" x="{x}" y="{floor + 18}">{tick:,.6g}{" %" if share else ""}</text>')
    if line is not None:
        parts.append(f'<line class="bar" x1="{at(line)}" x2="{at(line)}" y1="{_TOP}" y2="{floor}"/>')
    for i, row in enumerate(rows):
        parts += _drawn(row, _TOP + _ROW * i + _ROW // 2, at, share=share, ends=(low / factor, high / factor))
    parts.append("</svg>")
    return "\n".join(parts)


def _drawn(row: Row, y: int, at: Any, *, share: bool, ends: tuple[float, float]) -> list[str]:
    e = row.estimate
    parts = [f'<text class="name" x="0" y="{y + 4}">{escape(_short(row.name))}</text>']
    if e["value"] is None:
        parts.append(f'<text class="small" x="{_LEFT}" y="{y + 4}">{escape(value_text(e))}</text>')
        return parts
    low = ends[0] if e["low"] is None else e["low"]
    high = ends[1] if e["high"] is None else e["high"]
    parts.append(f'<line class="interval" x1="{at(low)}" x2="{at(high)}" y1="{y}" y2="{y}"/>')
    parts.append(f'<circle class="mark" cx="{at(e["value"])}" cy="{y}" r="4.5"/>')
    text = escape(value_text(e, share=share))
    parts.append(f'<text class="small" x="{_WIDTH - _RIGHT + 18}" y="{y + 4}">{text}</text>')
    return parts


def power_figure(power: Mapping[str, Any]) -> str:
    """Draw the share of planted attacks that were found, by their size, with false alarms at zero."""
    lines = power["lines"]
    if not lines:
        return ""
    points = [(0.0, power["false_alarms"]), *[(float(one["documents"]), one["found"]) for one in lines]]
    height, top, bottom, left, right = 250, 16, 44, 60, 250
    last = max(x for x, _ in points) * 1.06
    floor = height - bottom

    def place(x: float, y: float) -> tuple[float, float]:
        return round(left + x / last * (_WIDTH - left - right), 1), round(floor - y * (floor - top), 1)

    spoken = "; ".join(f"{x:,.0f} documents: {value_text(e, share=True)}" for x, e in points)
    parts = [_head(height, f"Share of runs with an alarm, by documents planted: {spoken}")]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = place(0.0, tick)[1]
        kind = "zero" if tick == 0 else "grid"
        parts.append(f'<line class="{kind}" x1="{left}" x2="{_WIDTH - right}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="tick end" x="{left - 8}" y="{y + 4}">{100 * tick:.0f} %</text>')
    path = " ".join("{},{}".format(*place(x, e["value"])) for x, e in points[1:])
    parts.append(f'<polyline class="estimate" points="{path}"/>')
    for i, (x, e) in enumerate(points):
        across, y = place(x, e["value"])
        ends = [place(x, e[k])[1] for k in ("low", "high")]
        kind = "planned" if i == 0 else "interval"
        parts.append(f'<line class="{kind}" x1="{across}" x2="{across}" y1="{ends[0]}" y2="{ends[1]}"/>')
        parts.append(f'<circle class="mark{" false" if i == 0 else ""}" cx="{across}" cy="{y}" r="4.5"/>')
        parts.append(f'<text class="tick" x="{across}" y="{floor + 18}">{x:,.0f}</text>')
        name = "nothing planted" if i == 0 else f"{x:,.0f} planted"
        said = f"{name}: {value_text(e, share=True)}"
        parts.append(f'<text class="small" x="{_WIDTH - right + 18}" y="{top + 12 + 20 * i}">{escape(said)}</text>')
    middle = (left + _WIDTH - right) / 2
    parts.append(f'<text class="tick" x="{middle}" y="{floor + 36}">poisoned documents planted</text>')
    parts.append("</svg>")
    return "\n".join(parts)


def _head(height: int, label: str) -> str:
    named = escape(label, {'"': "&quot;"})
    return f'<svg class="plot" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{named}">'


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - 12] + "…" + name[-11:]
