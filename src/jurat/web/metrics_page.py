"""*Metrics*: every definition with its question, owner, SQL and worked example, who uses it, and what it says of this lake."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response

from jurat.errors import DataError, EngineError, JuratError, SpecError, UnknownName, UsageError
from jurat.evidence.estimate import Estimate
from jurat.launch.bar import load_bar
from jurat.metrics.loader import Example, Metric, catalog
from jurat.metrics.run import example_tables, run_example
from jurat.stats.result import Interval
from jurat.store.dialect import transpile
from jurat.store.engine import DuckDB
from jurat.telemetry.metric_levels import measure_levels
from jurat.telemetry.tenant_view import HOUSE_TENANT
from jurat.web.cost_figures import Mark, dots
from jurat.web.panels import Panel, Reading, lake_receipt
from jurat.web.sessions import Person
from jurat.web.sql_text import highlighted
from jurat.web.visible import visible

if TYPE_CHECKING:
    from jurat.web.site import Site

__all__ = ["register"]

_WINDOWS = {
    "24h": ("last 24 hours", 1),
    "7d": ("last 7 days", 7),
    "30d": ("last 30 days", 30),
    "all": ("all time", None),
}
_ENGINES = {"duckdb": "DuckDB", "clickhouse": "ClickHouse", "spark": "Spark"}
_ROLES = {
    "value": "What the product is for.",
    "risk": "What a gain in value could cost: each value is read beside one.",
    "guardrail": "What must not move unnoticed.",
}
_FORMULAS = {
    "proportion": "k / n: a share of units",
    "mean": "sum / n: the mean of units",
    "ratio": "sum_y / sum_x: a ratio of two sums",
    "quantile": "a quantile, read from a histogram of exact values",
    "rate": "the mean count of a period",
}
_PAGES = {
    "refusal_rate": ("Now", "/"), "error_rate": ("Now", "/"), "latency_quantile": ("Now", "/"),
    "time_to_first_token": ("Now", "/"), "cost_per_turn": ("Cost", "/cost"),
}  # fmt: skip
_AT_ONCE = 500_000
_MOST_ROWS = 40
_ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What the address asks to measure."""

    metric: Metric
    slices: tuple[str, ...]
    window: str
    parameters: Mapping[str, Any]

    @classmethod
    def of(cls, name: str, query: Mapping[str, str]) -> _Asked:
        metric = _metric(name)
        chosen = [query.get("by", metric.slices[0] if metric.slices else _ALL), query.get("and", _ALL)]
        slices = tuple(dict.fromkeys(column for column in chosen if column not in (_ALL, "")))
        for column in slices:
            if column not in metric.slices:
                raise UnknownName("slice", visible(column)[:40], metric.slices, place=metric.name)
        window = query.get("window", "all")
        if window not in _WINDOWS:
            raise UnknownName("window", visible(window)[:40], _WINDOWS)
        given = {key: query[f"p.{key}"] for key in metric.parameters if query.get(f"p.{key}", "") != ""}
        return cls(
            metric=metric, slices=slices, window=window,
            parameters={key: _typed(key, text, metric.parameters[key]) for key, text in given.items()},
        )  # fmt: skip

    @property
    def query(self) -> dict[str, str]:
        """The same as parts of an address."""
        by, second = (*self.slices, _ALL, _ALL)[:2]
        changed = {f"p.{key}": str(value) for key, value in self.parameters.items()}
        return {"name": self.metric.name, "by": by, "and": second, "window": self.window, **changed}


def register(app: FastAPI, site: Site) -> None:
    """Add the list, a page for each definition, its file, and the panel that measures it."""
    site.enter("/metric-files", "Metrics", "m")
    site.panels["metric-level"] = lambda person, query: _level(site, person, _Asked.of(query.get("name", ""), query))

    async def index(request: Request) -> Response:
        await site.person(request, "analyse")
        found = catalog()
        groups = [(role, told, [m for m in found.values() if m.role == role]) for role, told in _ROLES.items()]
        return site.page(request, "metric_files.html", title="Metrics", groups=groups, count=len(found))

    async def definition(request: Request) -> Response:
        person = await site.person(request, "analyse")
        name, query = request.path_params["name"], dict(request.query_params)
        metric = _metric(name)
        shown = await site.run(_definition, app, site, person, metric, query)
        return site.page(request, "metric_file.html", title=metric.title, metric=metric, **shown)

    async def file(request: Request) -> Response:
        await site.person(request, "analyse")
        return PlainTextResponse(_metric(request.path_params["name"]).text, media_type="text/plain; charset=utf-8")

    app.add_api_route("/metric-files", index, methods=["GET"])
    app.add_api_route("/metric-files/{name}.sql", file, methods=["GET"])
    app.add_api_route("/metric-files/{name}", definition, methods=["GET"])


def _metric(name: str) -> Metric:
    found = catalog()
    if name not in found:
        raise UnknownName("metric", visible(name)[:60], found)
    return found[name]


def _typed(name: str, text: str, default: object) -> object:
    """A parameter's value, of its default's type."""
    if isinstance(default, str):
        return text
    try:
        number = float(text)
    except ValueError as error:
        raise UsageError(f"the parameter {name} is a number", seen=visible(text)[:40]) from error
    if not math.isfinite(number):
        raise UsageError(f"the parameter {name} is a finite number", seen=visible(text)[:40])
    return int(number) if isinstance(default, int) and number == int(number) else number


# A definition ----------------------------------------------------------------------------------------------------------


def _definition(app: FastAPI, site: Site, person: Person, metric: Metric, query: Mapping[str, str]) -> dict[str, Any]:
    """Everything the page of one metric shows."""
    engine = query.get("engine", "duckdb")
    if engine not in _ENGINES:
        raise UnknownName("engine", visible(engine)[:40], _ENGINES)
    panel, told, asked = None, None, None
    try:
        asked = _Asked.of(metric.name, query)
        if "by" in query or _is_small(site):
            panel = _level(site, person, asked)
    except UnknownName:
        raise
    except (UsageError, DataError, EngineError, SpecError) as error:
        told = error
    return {
        "status": 200 if told is None else 400, "formula": _FORMULAS[metric.kind], "engine": engine, "engines": _ENGINES,
        "sql": highlighted(_written_for(metric, engine)), "examples": [_shown(metric, e) for e in metric.examples],
        "uses": _uses(app, metric.name), "panel": panel, "told": told, "windows": _WINDOWS, "query": query,
        "chosen": (*(asked.slices if asked else ()), _ALL, _ALL)[:2], "window": asked.window if asked else "all",
        "parameters": {key: query.get(f"p.{key}", _plain(value)) for key, value in metric.parameters.items()},
    }  # fmt: skip


def _plain(value: object) -> str:
    return "" if value is None else str(value)


def _is_small(site: Site) -> bool:
    """Whether the lake answers before anyone asks what takes so long."""
    lake = site.open_lake()
    return "spans" not in lake.tables() or int(lake.describe("spans")["rows"]) <= _AT_ONCE


def _written_for(metric: Metric, engine: str) -> str:
    if engine == "duckdb":
        return metric.sql.strip()
    target: Literal["clickhouse", "spark"] = "clickhouse" if engine == "clickhouse" else "spark"
    return transpile(metric.sql, target, parameters=metric.parameters)


def _shown(metric: Metric, example: Example) -> dict[str, Any]:
    """An example as tables, and whether it holds at this moment."""
    return {
        "name": example.name,
        "parameters": dict(example.parameters),
        "tables": {table: _grid(rows) for table, rows in example.tables.items()},
        "expected": _grid(example.expect),
        "error": _breach(metric.name, metric.examples.index(example)),
    }


def _grid(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str | None]]]:
    """Columns that any row names, and the rows; ``None`` where one leaves a column out."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return columns, [[_cell(row.get(name)) for name in columns] for row in rows]


def _cell(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


@lru_cache(maxsize=256)
def _breach(name: str, place: int) -> str:
    """What an example finds when it is run; empty where it holds. Definitions do not change while a server runs."""
    metric = _metric(name)
    example = metric.examples[place]
    try:
        run_example(metric, example, DuckDB.from_tables(example_tables(metric, example)))
    except JuratError as error:
        return str(error)
    return ""


def _uses(app: FastAPI, name: str) -> list[dict[str, str]]:
    """Where a metric decides or is watched: launch bars, monitors, pages."""
    found = []
    for called, path in dict(getattr(app.state, "bars", {})).items():
        try:
            bar = load_bar(path)
        except JuratError:
            continue
        if name in bar.metric_names():
            found.append({"kind": "launch bar", "name": called, "address": ""})
    for watching in getattr(getattr(app.state, "sentinel", None), "watchings", ()):
        found += [
            {"kind": "monitor", "name": watch.monitor.name, "address": "/alerts"}
            for watch in watching.watches
            if watch.monitor.metric == name
        ]
    if name in _PAGES:
        found.append({"kind": "page", "name": _PAGES[name][0], "address": _PAGES[name][1]})
    return found


# What it says of this lake ---------------------------------------------------------------------------------------------


def _level(site: Site, person: Person, asked: _Asked) -> Panel:
    begun = time.monotonic()
    metric, lake = asked.metric, site.open_lake()
    words, days = _WINDOWS[asked.window]
    try:
        found = measure_levels(
            metric, lake, tenant=person.only_org or HOUSE_TENANT, slices=asked.slices, days=days,
            parameters=asked.parameters,
        )  # fmt: skip
    except ValueError as error:
        # A parameter of the right type and of no sense, such as a quantile of 7.
        raise UsageError("this cannot be measured", seen=visible(error)[:200]) from error
    estimates = found.estimates[:_MOST_ROWS]
    share = metric.kind == "proportion"
    rows = [
        {
            **{column: e.slice[column] for column in asked.slices},
            "level": _reading(metric, e),
            "clusters": e.n_clusters,
            "method": e.method,
        }
        for e in estimates
    ]
    marks = [
        Mark(name=" · ".join(e.slice.values()) or "all", value=e.value, low=e.low, high=e.high,
             written=f"{_reading(metric, e).value} {_reading(metric, e).range} n={e.n:,}")
        for e in estimates
        if e.value is not None
    ]  # fmt: skip
    left = len(found.estimates) - len(estimates)
    cut = " and ".join(asked.slices) or "nothing"
    dependent = "are independent" if metric.cluster == "none" else f"of one {metric.cluster} count as dependent"
    note = f"Each interval covers its own slice in 95 % of samples; units {dependent}."
    receipt = lake_receipt(
        lake, found.versions, found.sql, found.bound, seconds=time.monotonic() - begun,
        provisional=site.ingest.lag_bytes() > 0,
    )  # fmt: skip
    return Panel(
        key="metric-level", title=f"{metric.title}{_changed(asked)}, {words}, cut by {cut}", question=metric.question, rows=rows,
        columns={**{c: c for c in asked.slices}, "level": metric.scale or "value", "clusters": f"{metric.cluster}s",
                 "method": "method"},
        sql=found.sql, parameters=found.bound, receipt={**receipt, "metric_sha256": metric.sha256},
        svg=dots(marks, unit=metric.scale, share=share, label=f"{metric.title} by {cut}"),
        note=note + (f" {left} more slices are not shown." if left else ""),
        page=f"/metric-files/{metric.name}", query=asked.query,
    )  # fmt: skip


def _changed(asked: _Asked) -> str:
    """Parameters that are not the metric's own."""
    told = [f"{k} = {visible(v)}" for k, v in asked.parameters.items() if v != asked.metric.parameters[k]]
    return f" ({', '.join(told)})" if told else ""


def _reading(metric: Metric, e: Estimate) -> Reading:
    interval = Interval(
        value=e.value, low=e.low, high=e.high, level=e.level, n=e.n, n_clusters=e.n_clusters, method=e.method,
        reason=e.reason,
    )  # fmt: skip
    if metric.kind == "proportion":
        return Reading(interval=interval, shape="share")
    return Reading(interval=interval, scale="$" if metric.scale == "USD" else metric.scale)
