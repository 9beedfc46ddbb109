"""Pictures of money and of slices: stacked bars over time, parts of a whole, dots with whiskers. Pure SVG, coloured by class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from markupsafe import Markup

from jurat.experiments.axes import Axes
from jurat.web.visible import visible

__all__ = ["Mark", "Part", "dollars", "dots", "parts_of_a_whole", "share_of", "stacked_bars"]

_LONGEST = 26
_ROW = 34


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One layer of stacked bars: its name, its amount in each period, its class and the total as it is written."""

    name: str
    values: tuple[float, ...]
    kind: str
    total: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One row of dots: its name, a value, its bounds (``None`` where open) and how it is written."""

    name: str
    value: float
    low: float | None
    high: float | None
    written: str


def stacked_bars(
    periods: Sequence[str], parts: Sequence[Part], *, label: str, unit: str, written: Callable[[float], str]
) -> Markup:
    """Draw amounts over time, one bar a period, the first part at the bottom.

    Parameters
    ----------
    periods
        What each period is called.
    parts
        Layers; each holds as many values as there are periods, none negative.
    label
        The picture in a sentence, for readers who do not see it.
    unit
        Written above the axis.
    written
        Writes an amount, for what a bar says when it is pointed at.

    Returns
    -------
    Markup
        Empty where nothing was spent.
    """
    tops = [sum(part.values[i] for part in parts) for i in range(len(periods))]
    if not tops or max(tops) <= 0:
        return Markup()
    height = max(280, 26 + _ROW * len(parts) + 40)
    axes = Axes((-0.5, len(periods) - 0.5), (0.0, max(tops) * 1.04), visible(label), height=height, top=26, right=232)
    axes.y_grid(about=4)
    axes.add(f'<text class="tick end" x="{axes.left - 8}" y="14">{escape(unit)}</text>')
    width = max(1.0, min(46.0, 0.74 * (axes.x(1) - axes.x(0))))
    floor = [0.0] * len(periods)
    for part in parts:
        for i, value in enumerate(part.values):
            if value <= 0:
                continue
            low, high = axes.y(floor[i]), axes.y(floor[i] + value)
            floor[i] += value
            said = escape(visible(f"{periods[i]} · {part.name}: {written(value)}"))
            axes.add(
                f'<rect class="{part.kind}" x="{axes.x(i) - width / 2:.1f}" y="{high}" width="{width:.1f}" '
                f'height="{max(low - high, 0.4):.1f}"><title>{said}</title></rect>'
            )
    axes.x_labels([(place, visible(name)) for place, name in enumerate(periods)])
    _legend(axes, parts)
    return Markup(axes.svg())  # noqa: S704 - every text in it is escaped above


def _legend(axes: Axes, parts: Sequence[Part]) -> None:
    """Names beside the bars, in the order in which they are stacked."""
    left = axes.width - axes.right + 22
    for row, part in enumerate(reversed(parts)):
        top = axes.top + 4 + row * _ROW
        axes.add(f'<rect class="{part.kind}" x="{left}" y="{top}" width="12" height="12" rx="2"/>')
        axes.add(f'<text class="mark-label" x="{left + 19}" y="{top + 10}">{_short(part.name)}</text>')
        axes.add(f'<text class="mark-label soft" x="{left + 19}" y="{top + 24}">{escape(visible(part.total))}</text>')


def parts_of_a_whole(parts: Sequence[tuple[str, float, str, str]], *, label: str) -> Markup:
    """Draw one bar that is the whole, cut into parts.

    Parameters
    ----------
    parts
        Name, amount, class and what is said of each; amounts are not negative.
    label
        The picture in a sentence.
    """
    whole = sum(amount for _, amount, _, _ in parts)
    if whole <= 0:
        return Markup()
    width, height, at, drawn = 900, 46, 0.0, []
    for name, amount, kind, said in parts:
        part = amount / whole * width
        told = escape(visible(f"{name}: {said}"))
        drawn.append(
            f'<rect class="{kind}" x="{at:.1f}" y="0" width="{max(part - 1.5, 0.5):.1f}" height="24" rx="2">'
            f"<title>{told}</title></rect>"
        )
        if part > 7.2 * min(len(name), _LONGEST) + 6:
            drawn.append(f'<text class="mark-label" x="{at + 1:.1f}" y="40">{_short(name)}</text>')
        at += part
    head = f'<svg class="plot whole" viewBox="0 0 {width} {height}" role="img" aria-label="{_attribute(label)}">'
    return Markup("\n".join([head, *drawn, "</svg>"]))  # noqa: S704 - every text in it is escaped above


def dots(marks: Sequence[Mark], *, label: str, unit: str = "", share: bool = False) -> Markup:
    """Draw estimates one below the other: a dot, its interval as a whisker, an arrow where a bound is open.

    Parameters
    ----------
    marks
        Rows, drawn from the top.
    label
        The picture in a sentence.
    unit
        Of the axis.
    share
        Whether values are shares, to be drawn in per cent.
    """
    if not marks:
        return Markup()
    scale = 100.0 if share else 1.0
    ends = [scale * x for mark in marks for x in (mark.value, mark.low, mark.high) if x is not None]
    low, high = min(ends), max(ends)
    room = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    low = max(0.0, low - room) if min(ends) >= 0 else low - room
    height = 30 + 26 * len(marks) + 34
    axes = Axes(
        (low, high + room), (len(marks) - 0.5, -0.5), visible(label), height=height, top=12, left=200, right=270
    )
    axes.x_grid("%" if share else unit, about=5)
    for row, mark in enumerate(marks):
        y = axes.y(row)
        axes.add(f'<text class="mark-label end" x="{axes.left - 12}" y="{y + 4}">{_short(mark.name)}</text>')
        first = axes.x(axes.x_range[0] if mark.low is None else scale * mark.low)
        last = axes.x(axes.x_range[1] if mark.high is None else scale * mark.high)
        axes.add(f'<line class="whisker" x1="{first}" x2="{last}" y1="{y}" y2="{y}"/>')
        if mark.high is None:
            axes.add(f'<path class="dot-mark" d="M{last} {y - 4}l7 4l-7 4z"/>')
        if mark.low is None:
            axes.add(f'<path class="dot-mark" d="M{first} {y - 4}l-7 4l7 4z"/>')
        axes.dot(scale * mark.value, row, "dot-mark", radius=4.5)
        axes.add(
            f'<text class="mark-label soft" x="{axes.width - axes.right + 16}" y="{y + 4}">{escape(visible(mark.written))}</text>'
        )
    return Markup(axes.svg())  # noqa: S704 - every text in it is escaped above


def _short(name: str) -> str:
    shown = visible(name)
    return escape(shown if len(shown) <= _LONGEST else shown[: _LONGEST - 1] + "…")


def _attribute(text: str) -> str:
    return escape(visible(text), {'"': "&quot;"})


def dollars(x: float) -> str:
    """Write US dollars: cents from one dollar on, four decimals below.

    Examples
    --------
    >>> dollars(1234.5), dollars(0.00231), dollars(0)
    ('$1,234.50', '$0.0023', '$0.00')
    """
    digits = 2 if abs(x) >= 1 or x == 0 else 4
    return f"${x:,.{digits}f}"


def share_of(part: float, whole: float) -> str:
    """Write a part of a whole in per cent; a dash where there is no whole."""
    return f"{100 * part / whole:.1f} %" if whole else "–"
