"""The tiles of the page *Now*: eight numbers, what is usual for each, and how soon a change would be seen.

A share's state comes from the monitors' own detector, so it may be watched all day; the other tiles say *watch* where their
interval lies wholly outside what is usual by more than a quarter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np

from jurat.stats.interval import clustered_proportion
from jurat.stats.result import Interval
from jurat.telemetry.panels import Histogram, Slice, Sums, histogram, minute_sums, quantile_of, slow_counts, usual_span
from jurat.telemetry.readings import (
    Usual,
    detect_minutes,
    per_minute,
    per_unit,
    share,
    share_status,
    with_dispersion,
)
from jurat.telemetry.recent import WEEK, Span, View

__all__ = ["CHART_MINUTES", "THUMBS_SQL", "Board", "Point", "Tile"]

CHART_MINUTES = 180
_BIN = 5
_SILENT_MINUTES = 10
_CLEARLY_OTHER = 1.25
_QUANTILE = 0.95
_SLOW_SHIFT, _REFUSAL_SHIFT, _ERROR_SHIFT = 0.05, 0.03, 0.01

THUMBS_SQL = """SELECT EPOCH_US(ts) // 60000000 AS at_minute, COALESCE(user_id, feedback_id) AS person,
  COUNT(*) AS n, CAST(COUNT(*) FILTER (WHERE value > 0) AS BIGINT) AS k
FROM (
  SELECT * FROM feedback
  WHERE kind = 'thumb' AND value IS NOT NULL
    AND (ts >= CAST($start AS TIMESTAMPTZ) AND ts < CAST($until AS TIMESTAMPTZ)
      OR ts >= CAST($week_start AS TIMESTAMPTZ) AND ts < CAST($week_until AS TIMESTAMPTZ))
  QUALIFY ROW_NUMBER() OVER (PARTITION BY COALESCE(span_id, feedback_id) ORDER BY ts DESC, feedback_id DESC) = 1
) AS last
GROUP BY ALL
ORDER BY ALL"""
"""Thumbs by minute and person; of several on one turn the last counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A number of some minutes."""

    span: Span
    interval: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One number of the page.

    Attributes
    ----------
    key, title
        Its name in addresses, and what it is called.
    now
        The number in the window.
    shape, scale
        How it is written: ``"share"`` or ``"number"``, and its unit.
    usual, usual_name
        The same in what is usual, and what that is.
    status
        ``"ok"``, ``"warning"``, ``"firing"``, ``"no data"``.
    points, ghost
        The last three hours in steps of five minutes, and the same a week before (values, ``None`` where nothing was).
    shift, detect
        A rise that matters, in words, and minutes until the detector would fire on it; ``None`` beyond two days.
    beside
        A number that belongs to it: label, interval, shape, scale.
    parameters
        Which SQL was asked, and with what: the name of the query and its values.
    """

    key: str
    title: str
    now: Interval
    shape: Literal["share", "number"]
    scale: str = ""
    usual: Interval | None = None
    usual_name: str = ""
    status: str = "ok"
    points: Sequence[Point] = ()
    ghost: Sequence[float | None] = ()
    shift: str = ""
    detect: int | None = None
    beside: tuple[str, Interval, Literal["share", "number"], str] | None = None
    query: str = "sums"
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """What all tiles share."""

    sums: Sums
    window: Span
    closed: int
    usual: Usual

    @property
    def bins(self) -> list[Span]:
        until = self.window[1]
        return [(start, start + _BIN) for start in range(until - CHART_MINUTES, until, _BIN)]

    def whole(self, span: Span) -> Span:
        """A span without the minute that still goes on: of a rate it would be too little."""
        return span[0], max(min(span[1], self.closed), span[0])


class Board:
    """The tiles of a moment, each computed when it is first asked for.

    Parameters
    ----------
    view, slice_
        What is asked, and which turns.
    minutes
        Length of the window.
    clock_minute
        The minute that goes on, by the clock.
    moment
        Whether a moment in the past is shown: silence since then says nothing.

    Attributes
    ----------
    window
        The minutes that are now.
    silent_minutes
        Minutes since the newest turn, by the clock; ``None`` for a moment in the past or an empty lake.
    """

    def __init__(self, view: View, slice_: Slice, minutes: int, *, clock_minute: int, moment: bool = False) -> None:
        self.view, self.slice = view, slice_
        self.window: Span = (view.until - minutes, view.until)
        self.silent_minutes = None if moment or view.newest is None else max(clock_minute - view.newest + 1, 0)
        self._closed = min(view.until, clock_minute)
        self._tiles: dict[str, Tile] = {}

    @cached_property
    def _look(self) -> _Look:
        sums = minute_sums(self.view, self.slice)
        return _Look(sums=sums, window=self.window, closed=self._closed, usual=usual_span(sums, self.window))

    @cached_property
    def usual(self) -> Usual:
        """What now is held against, with the dispersion of refusals."""
        return _spread(self._look, "labelled", "refused")

    @property
    def turns(self) -> int:
        """Turns in the window."""
        return int(self._look.sums.counts("requests", self.window).sum())

    @cached_property
    def latency(self) -> Histogram:
        """The histogram of durations."""
        return histogram(self.view, self.slice, "latency_ms", self._look.usual)

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """All tiles, in their order."""
        return tuple(self.tile(key) for key in _MAKERS)

    def tile(self, key: str) -> Tile:
        """One tile: ``"now-traffic"`` and so on.

        Raises
        ------
        KeyError
            For a key that is none of theirs.
        """
        if key not in self._tiles:
            self._tiles[key] = _MAKERS[key](self)
        return self._tiles[key]

    def _refusals(self) -> Tile:
        names = ("refusals", "Refusal rate", "labelled", "refused")
        return _share_tile(self._look, names, shift=_REFUSAL_SHIFT, said="+3 points")

    def _errors(self) -> Tile:
        names = ("errors", "Error rate", "requests", "errors")
        return _share_tile(self._look, names, shift=_ERROR_SHIFT, said="+1 point")

    def _slow(self) -> Tile:
        return _quantile_tile(self._look, self.latency, "latency", "Latency p95")

    def _late(self) -> Tile:
        values = histogram(self.view, self.slice, "ttft_ms", self._look.usual)
        return _quantile_tile(self._look, values, "ttft", "Time to first token p95")


def _spread(look: _Look, of: str, hit: str) -> Usual:
    """What is usual, with the dispersion of a share."""
    span = look.usual.span
    if span is None:
        return look.usual
    return with_dispersion(look.usual, look.sums.counts(of, span), look.sums.counts(hit, span))


def _share_tile(look: _Look, names: tuple[str, str, str, str], *, shift: float, said: str) -> Tile:
    key, title, of, hit = names
    sums, usual = look.sums, _spread(look, of, hit)

    def reading(span: Span) -> Interval:
        return share(int(sums.counts(hit, span).sum()), int(sums.counts(of, span).sum()), usual)

    now = reading(look.window)
    base = reading(usual.span) if usual.span is not None else None
    chart = (look.window[1] - CHART_MINUTES, look.window[1])
    n, k = sums.counts(of, chart), sums.counts(hit, chart)
    level = base.value if base is not None and base.value is not None else now.value
    rate = float(sums.counts(of, look.whole(look.window)).mean()) if look.window[0] < look.closed else 0.0
    return Tile(
        key=f"now-{key}",
        title=title,
        now=now,
        shape="share",
        usual=base,
        usual_name=usual.name,
        status=_share_state(now, base, share_status(n, k, base, shift) if base is not None else "unknown"),
        points=[Point(span=span, interval=reading(span)) for span in look.bins],
        ghost=_ghost(look, lambda span: reading(span).value),
        shift=said,
        detect=None if level is None or rate <= 0 else detect_minutes(_rounded(rate), round(level, 4), shift),
        parameters=sums.parameters,
    )


def _share_state(now: Interval, base: Interval | None, detected: str) -> str:
    """What the detector says; where it is silent, a share that is clearly higher than usual is still to be watched."""
    if now.n == 0:
        return "no data"
    return _held(now, base, bad="above") if detected == "ok" else detected


def _rounded(rate: float) -> float:
    """Two digits, so that the same answer serves many a minute."""
    return float(f"{rate:.2g}")


def _ghost(look: _Look, value: Callable[[Span], float | None]) -> list[float | None]:
    return [value((start - WEEK, until - WEEK)) for start, until in look.bins]


def _rate(look: _Look, measure: str, span: Span, *, totals: bool, seconds: float = 60.0) -> Interval:
    whole = look.whole(span)
    values = look.sums.totals(measure, whole) if totals else look.sums.counts(measure, whole).astype(float)
    found = per_minute(values, seconds=seconds)
    return replace(found, n=int(look.sums.counts(measure, whole).sum()), method="mean of minutes, CR2")


def _held(now: Interval, usual: Interval | None, *, bad: str = "both") -> str:
    """State of a number that has no detector: *warning* where it is clearly another than usual."""
    if now.value is None:
        return "no data"
    if usual is None or None in (usual.value, usual.low, usual.high, now.low, now.high):
        return "unknown"
    assert usual.value is not None and usual.low is not None and usual.high is not None  # noqa: S101 - checked above
    assert now.low is not None and now.high is not None  # noqa: S101
    above = bad != "below" and now.low > usual.high and now.value > usual.value * _CLEARLY_OTHER
    below = bad != "above" and now.high < usual.low and now.value < usual.value / _CLEARLY_OTHER
    return "warning" if above or below else "ok"


def _traffic(look: _Look, silent: int | None) -> Tile:
    now = _rate(look, "requests", look.window, totals=False)
    usual = _rate(look, "requests", look.usual.span, totals=False) if look.usual.span else None
    silence = silent is not None and silent > _SILENT_MINUTES
    return Tile(
        key="now-traffic",
        title="Traffic",
        now=now,
        shape="number",
        scale="/s",
        usual=usual,
        usual_name=look.usual.name,
        status="no data" if silence or now.n == 0 else _held(now, usual),
        points=[Point(span=s, interval=_rate(look, "requests", s, totals=False)) for s in look.bins],
        ghost=_ghost(look, lambda s: _rate(look, "requests", s, totals=False).value),
        parameters=look.sums.parameters,
    )


def _quantile_tile(look: _Look, values: Histogram, key: str, title: str) -> Tile:
    now = quantile_of(values.within(look.window), _QUANTILE)
    usual = quantile_of(values.within(look.usual.span), _QUANTILE) if look.usual.span else None
    status, detect = ("no data" if now.n == 0 else "unknown"), None
    if usual is not None and usual.value is not None and look.usual.span is not None:
        limit = int(np.floor(np.log(usual.value) / np.log(1.02)))
        n_0, k_0 = slow_counts(values, limit, look.usual.span)
        base = share(int(k_0.sum()), int(n_0.sum()), with_dispersion(look.usual, n_0, k_0))
        chart = (look.window[1] - CHART_MINUTES, look.window[1])
        n, k = slow_counts(values, limit, chart)
        status = share_status(n, k, base, _SLOW_SHIFT) if now.n else "no data"
        rate = float(n[-(look.window[1] - look.window[0]) :].mean())
        if rate > 0 and base.value is not None:
            detect = detect_minutes(_rounded(rate), round(base.value, 3), _SLOW_SHIFT)
    return Tile(
        key=f"now-{key}",
        title=title,
        now=now,
        shape="number",
        scale="ms",
        usual=usual,
        usual_name=look.usual.name,
        status=status,
        points=[Point(span=s, interval=quantile_of(values.within(s), _QUANTILE)) for s in look.bins],
        ghost=_ghost(look, lambda s: quantile_of(values.within(s), _QUANTILE).value),
        shift="twice as many slow turns",
        detect=detect,
        query="histogram",
        parameters=values.parameters,
    )


def _tokens(look: _Look) -> Tile:
    now = _rate(look, "tokens_out", look.window, totals=True)
    usual = _rate(look, "tokens_out", look.usual.span, totals=True) if look.usual.span else None
    each = per_unit(look.sums.counts("tokens_out", look.window), look.sums.totals("tokens_out", look.window))
    return Tile(
        key="now-tokens",
        title="Output tokens",
        now=now,
        shape="number",
        scale="/s",
        usual=usual,
        usual_name=look.usual.name,
        status=_held(now, usual) if now.n else "no data",
        points=[Point(span=s, interval=_rate(look, "tokens_out", s, totals=True)) for s in look.bins],
        ghost=_ghost(look, lambda s: _rate(look, "tokens_out", s, totals=True).value),
        beside=("per turn", each, "number", ""),
        parameters=look.sums.parameters,
    )


def _cost(look: _Look) -> Tile:
    def each(span: Span) -> Interval:
        return per_unit(look.sums.counts("cost_usd", span), look.sums.totals("cost_usd", span))

    now = each(look.window)
    usual = each(look.usual.span) if look.usual.span else None
    if now.n == 0:
        now = replace(now, reason="no turn has a price: start the server with a price book")
    hourly = _rate(look, "cost_usd", look.window, totals=True, seconds=1 / 60)
    return Tile(
        key="now-cost",
        title="Cost per turn",
        now=now,
        shape="number",
        scale="$",
        usual=usual,
        usual_name=look.usual.name,
        status=_held(now, usual, bad="above") if now.n else "no data",
        points=[Point(span=s, interval=each(s)) for s in look.bins],
        ghost=_ghost(look, lambda s: each(s).value),
        beside=("per hour", hourly, "number", "$"),
        parameters=look.sums.parameters,
    )


def _thumbs(view: View, slice_: Slice, look: _Look) -> Tile:
    parameters = {name: look.sums.parameters[name] for name in ("start", "until", "week_start", "week_until")}
    tile = Tile(
        key="now-thumbs",
        title="Thumbs up",
        now=_undefined("feedback is not split by slice here: choose all"),
        shape="share",
        status="no data",
        query="thumbs",
        parameters=parameters,
    )
    if view.model != "*" or slice_ != Slice():
        return tile
    rows = view.query(THUMBS_SQL, parameters=parameters)
    at, n, k = (rows[name].to_numpy() for name in ("at_minute", "n", "k"))
    person = np.asarray(rows["person"].to_pylist(), dtype=object)

    def reading(span: Span) -> Interval:
        inside = (at >= span[0]) & (at < span[1])
        if not inside.any():
            return _undefined("nobody gave a thumb")
        _, code = np.unique(person[inside].astype(str), return_inverse=True)
        return clustered_proportion(np.bincount(code, k[inside]), np.bincount(code, n[inside]))

    now = reading(look.window)
    usual = reading(look.usual.span) if look.usual.span else None
    turns = int(look.sums.counts("requests", look.window).sum())
    rate = share(min(now.n, turns), turns, Usual(span=None, name=""))
    return replace(
        tile,
        now=now,
        usual=usual,
        usual_name=look.usual.name,
        status=_held(now, usual, bad="below"),
        points=[Point(span=s, interval=reading(s)) for s in look.bins],
        ghost=_ghost(look, lambda s: reading(s).value),
        beside=("thumbs per turn", rate, "share", "") if turns else None,
    )


def _undefined(reason: str) -> Interval:
    return Interval(value=None, low=None, high=None, level=0.95, n=0, method="none", reason=reason)


_MAKERS: dict[str, Callable[[Board], Tile]] = {
    "now-traffic": lambda board: _traffic(board._look, board.silent_minutes),
    "now-refusals": Board._refusals,
    "now-errors": Board._errors,
    "now-latency": Board._slow,
    "now-ttft": Board._late,
    "now-tokens": lambda board: _tokens(board._look),
    "now-cost": lambda board: _cost(board._look),
    "now-thumbs": lambda board: _thumbs(board.view, board.slice, board._look),
}
