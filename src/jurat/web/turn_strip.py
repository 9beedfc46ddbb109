"""A conversation at a glance: one upright mark a turn, as high as the turn took, with how it ended above it."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from markupsafe import Markup

from jurat.evidence.figure import nice_ticks
from jurat.telemetry.conversations import Turn

__all__ = ["ending", "turn_strip"]

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 920, 150, 58, 26, 24
_WIDEST = 46


def ending(turn: Turn) -> tuple[str, str]:
    """State of a turn, and the word for it: a failure counts before a block, a block before a refusal.

    Examples
    --------
    >>> import datetime as dt
    >>> facts = {"status": "ok", "refused": True, "blocked": False}
    >>> ending(Turn(number=1, span_id="a", time=dt.datetime.now(dt.UTC), facts=facts, prompt_characters=None,
    ...             response_characters=None, feedback=()))
    ('watch', 'refused')
    """
    facts = turn.facts
    if facts.get("status") == "error":
        return "bad", "failed"
    if facts.get("blocked"):
        return "watch", "blocked"
    if facts.get("refused"):
        return "watch", "refused"
    return ("ok", "answered") if facts.get("refused") is False else ("none", "not labelled")


def turn_strip(turns: Sequence[Turn]) -> Markup:
    """Draw the turns of a page, in their order.

    Parameters
    ----------
    turns
        In order of time.

    Returns
    -------
    Markup
        An ``<svg>``; empty where no turn has a known length.
    """
    seconds = [(turn.facts.get("latency_ms") or 0.0) / 1000 for turn in turns]
    if not turns or max(seconds) <= 0:
        return Markup()
    ticks = [tick for tick in nice_ticks(0, max(seconds), about=3) if tick >= 0]
    top = max(ticks[-1], *seconds)
    floor, step = _HEIGHT - _BOTTOM, min((_WIDTH - _LEFT - 8) / len(turns), _WIDEST)
    width = max(min(step - 3, 26), 1.5)

    def y(value: float) -> float:
        return round(floor - value / top * (floor - _TOP), 1)

    label = f"{len(turns)} turns, the longest {max(seconds):.2f} seconds"
    parts = [f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}">']
    for tick in ticks:
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - 8}" y1="{y(tick)}" y2="{y(tick)}"/>')
        parts.append(f'<text class="tick end" x="{_LEFT - 8}" y="{y(tick) + 4}">{tick:g} s</text>')
    every = max(1, round(30 / step + 0.49))
    for place, (turn, length) in enumerate(zip(turns, seconds, strict=True)):
        x = round(_LEFT + 6 + place * step, 1)
        kind, word = ending(turn)
        first = min((turn.facts.get("ttft_ms") or 0.0) / 1000, length)
        parts.append(f"<g><title>turn {turn.number}: {word}, {length:.2f} s</title>")
        parts.append(_column(x, y(length), width, floor, f"turn-mark {kind}"))
        if first:
            parts.append(_column(x, y(first), width, floor, "turn-first"))
        if kind in ("bad", "watch"):
            glyph = "■" if kind == "bad" else "▲"
            parts.append(f'<text class="turn-end {kind}" x="{x + width / 2:.1f}" y="{y(length) - 6}">{glyph}</text>')
        parts.append("</g>")
        if place % every == 0:
            parts.append(f'<text class="tick" x="{x + width / 2:.1f}" y="{floor + 16}">{turn.number}</text>')
    parts.append("</svg>")
    return Markup("\n".join(parts))  # noqa: S704 - numbers and words of our own


def _column(x: float, y: float, width: float, floor: int, kind: str) -> str:
    height = max(floor - y, 0.8)
    return f'<rect class="{kind}" x="{x}" y="{floor - height:.1f}" width="{width:.1f}" height="{height:.1f}" rx="1.5"/>'
