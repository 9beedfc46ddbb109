"""A small frame for pictures: two axes, round ticks, and marks placed in data units. Pure SVG text.

Colours come from the page's classes, so light, dark and print share one drawing. Every picture carries its content as text
for readers who do not see it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from jurat.evidence.figure import nice_ticks

__all__ = ["Axes", "tick_text"]


def tick_text(value: float, unit: str = "") -> str:
    """Write a tick's label.

    Examples
    --------
    >>> tick_text(-2.5, "pt"), tick_text(12000.0)
    ('−2.5 pt', '12,000')
    """
    return f"{value:,.10g} {unit}".strip().replace("-", "−")


@dataclass(slots=True)
class Axes:
    """A frame whose content is added mark by mark.

    Attributes
    ----------
    x_range, y_range
        Data limits.
    width, height
        Of the whole picture, in its own units.
    left, right, top, bottom
        Margins around the frame.
    label
        Description for readers who do not see the picture.
    """

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    label: str
    width: int = 900
    height: int = 300
    left: int = 74
    right: int = 24
    top: int = 16
    bottom: int = 40
    parts: list[str] = field(default_factory=list)

    def x(self, value: float) -> float:
        """Place on the horizontal axis."""
        low, high = self.x_range
        share = 0.5 if high == low else (value - low) / (high - low)
        return round(self.left + share * (self.width - self.left - self.right), 1)

    def y(self, value: float) -> float:
        """Place on the vertical axis."""
        low, high = self.y_range
        share = 0.5 if high == low else (value - low) / (high - low)
        return round(self.height - self.bottom - share * (self.height - self.top - self.bottom), 1)

    def add(self, markup: str) -> None:
        """Add a mark."""
        self.parts.append(markup)

    def y_grid(self, unit: str = "", *, about: int = 4) -> None:
        """Draw horizontal rules at round values, with labels on the left."""
        low, high = self.y_range
        for tick in nice_ticks(low, high, about=about):
            if low - 1e-12 <= tick <= high + 1e-12:
                at = self.y(tick)
                kind = "zero" if tick == 0 else "grid"
                self.add(f'<line class="{kind}" x1="{self.left}" x2="{self.width - self.right}" y1="{at}" y2="{at}"/>')
                self.add(
                    f'<text class="tick end" x="{self.left - 8}" y="{at + 4}">{escape(tick_text(tick, unit))}</text>'
                )

    def x_grid(self, unit: str = "", *, about: int = 6) -> None:
        """Draw vertical rules at round values, with labels below."""
        low, high = self.x_range
        floor = self.height - self.bottom
        for tick in nice_ticks(low, high, about=about):
            if low - 1e-12 <= tick <= high + 1e-12:
                at = self.x(tick)
                kind = "zero" if tick == 0 else "grid"
                self.add(f'<line class="{kind}" x1="{at}" x2="{at}" y1="{self.top}" y2="{floor}"/>')
                self.add(f'<text class="tick" x="{at}" y="{floor + 18}">{escape(tick_text(tick, unit))}</text>')

    def x_labels(self, labels: Sequence[tuple[float, str]]) -> None:
        """Write labels below given places, every so many where they would run into one another."""
        room = max(1, round(len(labels) * 62 / max(self.width - self.left - self.right, 1) + 0.5))
        for i, (place, text) in enumerate(labels):
            if i % room == 0:
                self.text(place, self.y_range[0], text, "tick", dy=18)

    def text(self, x: float, y: float, text: str, kind: str, *, dx: float = 0, dy: float = 0) -> None:
        """Write a text at a place of the data."""
        self.add(f'<text class="{kind}" x="{self.x(x) + dx:.1f}" y="{self.y(y) + dy:.1f}">{escape(text)}</text>')

    def line(self, points: Sequence[tuple[float, float]], kind: str) -> None:
        """Draw a line through points."""
        if points:
            path = " ".join(f"{self.x(a)},{self.y(b)}" for a, b in points)
            self.add(f'<polyline class="{kind}" points="{path}"/>')

    def band(self, points: Sequence[tuple[float, float, float]], kind: str) -> None:
        """Fill between a lower and an upper line: (x, low, high)."""
        if len(points) > 1:
            upper = [f"{self.x(a)},{self.y(c)}" for a, _, c in points]
            lower = [f"{self.x(a)},{self.y(b)}" for a, b, _ in reversed(points)]
            self.add(f'<polygon class="{kind}" points="{" ".join([*upper, *lower])}"/>')

    def whisker(self, x: float, low: float, high: float, kind: str) -> None:
        """Draw an upright interval."""
        at = self.x(x)
        self.add(f'<line class="{kind}" x1="{at}" x2="{at}" y1="{self.y(low)}" y2="{self.y(high)}"/>')

    def dot(self, x: float, y: float, kind: str, *, radius: float = 4) -> None:
        """Draw a point."""
        self.add(f'<circle class="{kind}" cx="{self.x(x)}" cy="{self.y(y)}" r="{radius:g}"/>')

    def svg(self, kind: str = "plot") -> str:
        """Return the picture."""
        named = escape(self.label, {'"': "&quot;"})
        head = f'<svg class="{kind}" viewBox="0 0 {self.width} {self.height}" role="img" aria-label="{named}">'
        return "\n".join([head, *self.parts, "</svg>"])


def padded(values: Sequence[float], *, share: float = 0.08) -> tuple[float, float]:
    """Limits with a little room around some values.

    Examples
    --------
    >>> padded([0.0, 10.0])
    (-0.8, 10.8)
    """
    low, high = min(values), max(values)
    room = share * (high - low) or max(abs(high) * share, 1e-9)
    return low - room, high + room
