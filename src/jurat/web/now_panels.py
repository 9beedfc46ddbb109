"""The panels of the page *Now*: each with its rows, its SQL and its picture."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from jurat.stats.result import Interval
from jurat.telemetry.panels import CELLS_SQL, ERRORS_SQL, HISTOGRAM_SQL, SUMS_SQL, TURNS_SQL
from jurat.telemetry.recent import Span
from jurat.telemetry.tiles import THUMBS_SQL, Tile
from jurat.web.now_data import Now, NowData
from jurat.web.now_pictures import latency_chart, latency_rows, share_chart, spark
from jurat.web.panels import Panel, Reading

__all__ = ["FIGURES", "MATRIX", "TILES", "named", "tile_panel", "tile_reading"]

MATRIX = "now-refusals-by-endpoint-and-tier"
"""Key of the panel that is drawn as a matrix."""

_SQL = {"sums": SUMS_SQL, "histogram": HISTOGRAM_SQL, "thumbs": THUMBS_SQL}
TILES = {
    "now-traffic": "How many turns come in a second?",
    "now-refusals": "Of the turns with a refusal label, what share was refused?",
    "now-errors": "What share of turns failed?",
    "now-latency": "Below what duration do 95 of 100 turns stay?",
    "now-ttft": "After what time has the first token come in 95 of 100 turns?",
    "now-tokens": "How many tokens are written in a second, over all turns?",
    "now-cost": "What does a turn cost by the price list?",
    "now-thumbs": "Of the thumbs that were given, what share points up?",
}
"""Keys of the tiles, and what each answers."""

_METHOD = (
    "Intervals are of 95 %. Minutes know no users: shares are widened by how minutes vary (dispersion {dispersion:.2f}), means "
    "and quantiles take minutes as clusters. Held against: {usual}."
)


def tile_reading(tile: Tile, interval: Interval) -> Reading:
    """An interval in the unit of a tile."""
    return Reading(interval=interval, shape=tile.shape, scale=tile.scale)


def tile_panel(data: NowData, now: Now, tile: Tile) -> Panel:
    """A tile as a panel: now, what is usual, and the last three hours."""

    def row(what: str, span: Span | None, interval: Interval | None) -> dict[str, Any]:
        ends = (None, None) if span is None else tuple(datetime.fromtimestamp(m * 60, UTC) for m in span)
        return {
            "what": what,
            "from": ends[0],
            "until": ends[1],
            "value": None if interval is None else tile_reading(tile, interval),
        }

    rows = [row("now", now.board.window, tile.now), row(tile.usual_name or "usual", now.board.usual.span, tile.usual)]
    rows += [row("five minutes", point.span, point.interval) for point in tile.points]
    return data.panel(
        now,
        tile.key,
        _SQL[tile.query],
        tile.parameters,
        title=tile.title,
        question=TILES[tile.key],
        rows=[r for r in rows if r["value"] is not None],
        svg=spark(tile),
        note=_method(now),
    )


def _method(now: Now) -> str:
    return _METHOD.format(dispersion=now.board.usual.dispersion, usual=now.board.usual.name)


def _refusal_panel(data: NowData, now: Now) -> Panel:
    tile = now.board.tile("now-refusals")
    drawn = tile_panel(data, now, tile)
    svg = share_chart(tile, now.chart, now.board.window, "Refusal rate in the last three hours, with its interval")
    return data.panel(
        now,
        "now-refusals-chart",
        SUMS_SQL,
        tile.parameters,
        title="Refusal rate",
        question="Three hours in steps of five minutes; dotted the same hours last week, dashed what is usual.",
        rows=drawn.rows,
        svg=svg,
        note=_method(now),
    )


def _matrix_panel(data: NowData, now: Now) -> Panel:
    rows = [
        {
            "endpoint": named(cell.endpoint),
            "tier": named(cell.tier),
            "refusal_rate": Reading(interval=cell.now, shape="share"),
            "usual": Reading(interval=cell.usual, shape="share"),
            "q_value": cell.q_value,
            "evidence": cell.evidence,
        }
        for cell in now.cells[0]
    ]
    return data.panel(
        now,
        MATRIX,
        CELLS_SQL,
        now.cells[1],
        title="Refusal rate by endpoint and tier",
        question=f"Where does it differ from {now.board.usual.name}?",
        rows=rows,
        note="Shaded by evidence, not by height: light at 5 %, stronger at 1 % and 0.1 % of false discoveries over all cells "
        "(score test, counts divided by the dispersion; Benjamini–Hochberg). Few turns give no shade, and that is an answer.",
    )


def _latency_panel(data: NowData, now: Now) -> Panel:
    latency = now.board.latency
    return data.panel(
        now,
        "now-latency-by-minute",
        HISTOGRAM_SQL,
        latency.parameters,
        title="Latency by minute",
        question="p50, p95 with its interval, and p99 of turns that did not fail.",
        rows=latency_rows(latency, now.chart),
        svg=latency_chart(latency, now.chart, now.board.window),
        note="From buckets two per cent wide: each value is within one per cent. The band holds p95 at 95 %, turns of a minute "
        "taken as independent.",
    )


def _errors_panel(data: NowData, now: Now) -> Panel:
    rows = [
        {
            "type": kind,
            "now": Reading(interval=share, shape="share"),
            "usual": Reading(interval=usual, shape="share"),
        }
        for kind, share, usual in now.errors[0]
    ]
    return data.panel(
        now,
        "now-errors-by-type",
        TURNS_SQL + ERRORS_SQL,
        now.errors[1],
        title="Errors by type",
        question=f"What share of turns failed, and how; beside it {now.board.usual.name}.",
        rows=rows,
        columns={"type": "type", "now": "now", "usual": now.board.usual.name},
    )


def named(value: str | None) -> str:
    """Name of a slice's value; it has one in words where it is not known."""
    return value or "(not named)"


FIGURES: dict[str, Callable[[NowData, Now], Panel]] = {
    "now-refusals-chart": _refusal_panel,
    MATRIX: _matrix_panel,
    "now-latency-by-minute": _latency_panel,
    "now-errors-by-type": _errors_panel,
}
"""Keys of the figures, in the order of the page, and what draws each."""
