"""Pictures of a comparison: differences with their intervals, a bar as a dashed line, and the traffic the two sides saw.

Shares have one axis, so that lengths can be compared; every other metric has its own. The crude difference is the strong
mark, the one at a common mix the fine mark below it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal
from xml.sax.saxutils import escape

from markupsafe import Markup

from jurat.evidence.figure import nice_ticks
from jurat.evidence.wording import amount, interval_text, signed_amount, three_digits
from jurat.stats.result import Interval
from jurat.telemetry.release_compare import ComparedMetric, Stratum
from jurat.web.visible import visible

__all__ = ["MARKS", "difference_text", "forest", "level_text", "mix_picture"]

MARKS = {
    "clears": ("●", "clears the bar", "ok"),
    "violated": ("■", "violates the bar", "bad"),
    "undecided": ("▲", "bar undecided", "watch"),
    "better": ("●", "better", "ok"),
    "worse": ("■", "worse", "bad"),
    "changed": ("▲", "changed", "watch"),
    "open": ("○", "not told apart", "none"),
    "none": ("○", "not measured", "none"),
}
"""Glyph, word and state of an outcome."""

_WIDTH, _LEFT, _RIGHT, _ROW, _AXIS, _TOP = 540, 150, 176, 72, 34, 2
_LONGEST = 44


def _shape(row: ComparedMetric) -> Literal["share", "number"]:
    """Shares are compared in points. A ratio may be a share of tokens as well as turns per session: its scale tells."""
    return "share" if row.metric.kind in ("proportion", "ratio") and not row.metric.scale else "number"


def _unit(row: ComparedMetric) -> str:
    """Unit of a difference; what a turn costs is told for a thousand of them."""
    return {"": "pt", "USD": "$ / 1k"}.get(row.metric.scale, row.metric.scale)


def _scaled(x: float, row: ComparedMetric) -> float:
    """A number in the unit that is drawn and written."""
    return x * (100 if _shape(row) == "share" else 1_000 if row.metric.scale == "USD" else 1)


def _axis(row: ComparedMetric) -> str:
    """Shares have one axis in common; milliseconds of a token and of a whole turn have not."""
    return "pt" if _unit(row) == "pt" else row.metric.name


def level_text(row: ComparedMetric, side: Literal["candidate", "baseline"]) -> tuple[str, str]:
    """A level and its bounds, in its unit."""
    found = getattr(row, side)
    if found.value is None:
        return "–", ""
    low, high = (_level(x, row) for x in (found.low, found.high))
    unit = "%" if _shape(row) == "share" else _unit(row)
    bounds = f"[{low}, {high}]" if None not in (found.low, found.high) else found.reason or ""
    return f"{_level(found.value, row)} {unit}", bounds


def _level(x: float | None, row: ComparedMetric) -> str:
    if x is None:
        return ""
    return amount(x, "share").removesuffix(" %") if _shape(row) == "share" else three_digits(_scaled(x, row))


def difference_text(row: ComparedMetric, found: Any) -> tuple[str, str]:
    """A difference and its bounds, with sign and unit; the reason where a bound is missing."""
    if found is None or found.value is None:
        return "–", ""
    shape, factor = _shape(row), 1_000 if row.metric.scale == "USD" else 1
    value = f"{signed_amount(found.value * factor, shape)} {_unit(row)}"
    if found.low is None or found.high is None:
        return value, found.reason or "no interval"
    return value, interval_text({"low": found.low * factor, "high": found.high * factor}, shape, difference=True)


@dataclass(frozen=True, slots=True)
class _Scale:
    """A horizontal axis of one unit."""

    low: float
    high: float

    def x(self, value: float) -> float:
        held = min(max(value, self.low), self.high)
        return round(_LEFT + (held - self.low) / (self.high - self.low) * (_WIDTH - _LEFT - _RIGHT), 1)


def _scale(rows: Sequence[ComparedMetric]) -> _Scale:
    seen = [0.0]
    for row in rows:
        found = row.difference
        seen += [_scaled(x, row) for x in (found.value, found.low, found.high) if x is not None]
        seen += [_scaled(row.margin.threshold, row)] if row.margin else []
    span = max(seen) - min(seen) or 1.0
    return _Scale(min(seen) - 0.08 * span, max(seen) + 0.08 * span)


def forest(rows: Sequence[ComparedMetric], *, label: str) -> Markup:
    """Draw the differences of some metrics, one section an axis.

    Parameters
    ----------
    rows
        From top to bottom; those on one axis are drawn together.
    label
        For readers who do not see the picture.

    Returns
    -------
    Markup
        An ``<svg>``; empty without rows.
    """
    if not rows:
        return Markup()
    order = list(dict.fromkeys(_axis(row) for row in rows))
    parts: list[str] = []
    top = _TOP
    for _, group in groupby(sorted(rows, key=lambda row: order.index(_axis(row))), key=_axis):
        section = list(group)
        drawn = [row for row in section if row.difference.value is not None]
        if drawn:
            parts += _grid(_scale(drawn), top, top + _ROW * len(section), _unit(section[0]))
        for row in section:
            parts += _row(row, _scale(drawn) if drawn else None, top)
            top += _ROW
        top += _AXIS if drawn else 4
    head = f'<svg class="plot compared" viewBox="0 0 {_WIDTH} {top}" role="img" aria-label="{_quoted(label)}">'
    return Markup("\n".join([head, *parts, "</svg>"]))  # noqa: S704 - every text in it is escaped


def _quoted(text: str) -> str:
    return escape(visible(text), {'"': "&quot;"})


def _grid(scale: _Scale, top: float, floor: float, unit: str) -> list[str]:
    parts = []
    for tick in nice_ticks(scale.low, scale.high, about=4):
        if scale.low <= tick <= scale.high:
            x, kind = scale.x(tick), "zero" if tick == 0 else "grid"
            words = f"{tick:+,.10g} {unit}".replace("-", "−") if tick else "0"
            parts.append(f'<line class="{kind}" x1="{x}" x2="{x}" y1="{top}" y2="{floor}"/>')
            parts.append(f'<text class="tick" x="{x}" y="{floor + 15}">{escape(words.strip())}</text>')
    return parts


def _row(row: ComparedMetric, scale: _Scale | None, top: float) -> list[str]:
    glyph, word, state = MARKS[row.outcome]
    first, second, third = top + 19, top + 39, top + 56
    title = row.metric.title + (f", {', '.join(row.where.values())}" if row.where else "")
    better = {"higher": "more is better", "lower": "less is better"}.get(row.metric.better, "neither is better")
    clusters = f", {row.difference.n_clusters:,} clusters" if row.difference.n_clusters else ""
    parts = [
        f'<line class="grid" x1="0" x2="{_WIDTH}" y1="{top + _ROW - 6}" y2="{top + _ROW - 6}"/>',
        _text("name", 0, first, _cut(title)),
        _text(f"state {state} end", _WIDTH, first, f"{glyph} {word}"),
        _text("small", 0, third, better),
    ]
    if row.outcome == "none":
        parts.append(_text("small", 0, second, _cut(row.difference.reason or "", 80)))
        return parts
    value, bounds = difference_text(row, row.difference)
    levels = f"{level_text(row, 'baseline')[0]} → {level_text(row, 'candidate')[0]}"
    whole = row.difference.low is not None and row.difference.high is not None
    parts += [
        _text("small", 0, second, levels),
        _text("value end", _WIDTH, second, f"{value} {bounds if whole else ''}"),
        _text("small end", _WIDTH, third, f"n = {row.difference.n:,}{clusters}" if whole else _cut(bounds, 36)),
    ]
    if scale is not None:
        parts += _bar(row, scale, top) + _mark(row, row.difference, scale, second - 4, f"whisker {state}", state)
        if row.standardised is not None and row.standardised.value is not None:
            parts += _mark(row, row.standardised, scale, third - 3, "mix-line", "mix")
    return parts


def _bar(row: ComparedMetric, scale: _Scale, top: float) -> list[str]:
    if row.margin is None:
        return []
    at = scale.x(_scaled(row.margin.threshold, row))
    ends = (at, scale.x(scale.high)) if row.margin.direction == "greater" else (scale.x(scale.low), at)
    zone = f'<rect class="zone" x="{ends[0]}" y="{top + 25}" width="{ends[1] - ends[0]:.1f}" height="38" rx="3"/>'
    return [zone, f'<line class="bar-line" x1="{at}" x2="{at}" y1="{top + 22}" y2="{top + 66}"/>']


def _mark(row: ComparedMetric, found: Any, scale: _Scale, y: float, kind: str, state: str) -> list[str]:
    """An interval and its estimate; without both bounds the estimate alone."""
    at = scale.x(_scaled(found.value, row))
    line = ""
    if found.low is not None and found.high is not None:
        low, high = (scale.x(_scaled(x, row)) for x in (found.low, found.high))
        line = f'<line class="{kind}" x1="{low}" x2="{high}" y1="{y}" y2="{y}"/>'
    if state == "mix":
        return [line, f'<path class="mix-dot" d="M{at - 4} {y}L{at} {y - 4}L{at + 4} {y}L{at} {y + 4}Z"/>']
    return [line, f'<circle class="dot-mark {state}" cx="{at}" cy="{y}" r="5"/>']


def _text(kind: str, x: float, y: float, words: str) -> str:
    return f'<text class="{kind}" x="{x}" y="{y}">{escape(visible(words))}</text>' if words else ""


def _cut(words: str, longest: int = _LONGEST) -> str:
    return words if len(words) <= longest else words[: longest - 1] + "…"


def mix_picture(strata: Sequence[Stratum], *, most: int = 12) -> Markup:
    """Draw the share of each endpoint and tier in the traffic of the two sides.

    Parameters
    ----------
    strata
        The largest first.
    most
        Rows at most; the rest is one row.
    """
    totals = [max(sum(s.candidate for s in strata), 1), max(sum(s.baseline for s in strata), 1)]
    rows = [(_place(s), s.candidate / totals[0], s.baseline / totals[1]) for s in strata[:most]]
    rest = strata[most:]
    if rest:
        shares = (sum(s.candidate for s in rest) / totals[0], sum(s.baseline for s in rest) / totals[1])
        rows.append((f"{len(rest):,} more", *shares))
    if not rows:
        return Markup()
    height, left, right = 30 * len(rows) + 8, 176, 124
    longest = max(max(a, b) for _, a, b in rows) or 1.0
    parts = [f'<svg class="plot compared" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="Shares of traffic">']
    for i, (name, first, second) in enumerate(rows):
        y = 30 * i + 6
        for share, offset, kind in ((second, 0, "mix-baseline"), (first, 10, "mix-candidate")):
            width = round(share / longest * (_WIDTH - left - right), 1)
            parts.append(
                f'<rect class="{kind}" x="{left}" y="{y + offset}" width="{max(width, 0.5)}" height="8" rx="2"/>'
            )
        parts.append(_text("small ink", 0, y + 13, _cut(name, 30)))
        parts.append(_text("small end", _WIDTH, y + 13, f"{100 * second:.1f} % → {100 * first:.1f} %"))
    return Markup("\n".join([*parts, "</svg>"]))  # noqa: S704 - every text in it is escaped


def _place(stratum: Stratum) -> str:
    return f"{stratum.endpoint or 'no endpoint'}, {stratum.tier or 'no tier'}"


def as_interval(found: Any) -> Interval:
    """An estimate as the interval it was made from, for the files of a panel."""
    return Interval(
        value=found.value, low=found.low, high=found.high, level=found.level, n=found.n, n_clusters=found.n_clusters,
        method=found.method, reason=found.reason,
    )  # fmt: skip
