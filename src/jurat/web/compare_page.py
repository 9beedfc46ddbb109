"""*Releases*: two of them side by side, value beside risk, with the margins of a launch bar where one is given."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.responses import Response
from markupsafe import Markup

from jurat.errors import SpecError, UnknownName, UsageError
from jurat.launch.bar import Bar, load_bar
from jurat.metrics.loader import catalog
from jurat.telemetry.release_compare import (
    ARM_COLUMNS,
    Arm,
    ComparedMetric,
    Margin,
    ReleaseComparison,
    comparable_metrics,
    compare_releases,
    known_arms,
)
from jurat.telemetry.tenant_view import open_tenant_view
from jurat.web.addressed import from_address, to_value
from jurat.web.compare_figures import MARKS, as_interval, difference_text, forest, level_text, mix_picture
from jurat.web.panels import Panel, lake_receipt
from jurat.web.sessions import Person
from jurat.web.site import Site
from jurat.web.visible import visible

__all__ = ["named_bars", "register"]

_WINDOWS = {"all": None, "24h": 86_400, "7d": 7 * 86_400, "14d": 14 * 86_400, "30d": 30 * 86_400}
_WINDOW_WORDS = {
    "all": "all time",
    "24h": "last 24 hours",
    "7d": "last 7 days",
    "14d": "last 14 days",
    "30d": "last 30 days",
}
_TABLES = ("spans", "feedback", "labels")
_MOST_KEPT = 16
_ROLE_TITLES = {
    "value": ("Value", "What do people get out of it?"),
    "risk": ("Risk", "What does it cost them?"),
    "guardrail": ("Guardrails", "What must not move unseen?"),
}


def named_bars(paths: Sequence[Path]) -> dict[str, Path]:
    """Name the launch bars that pages may show: by their file's stem, with its folder's where two are called alike.

    Parameters
    ----------
    paths
        Files that were given to the server; no address can name another.

    Examples
    --------
    >>> sorted(named_bars([Path("a/bar.toml"), Path("b/bar.toml"), Path("c/strict.toml")]))
    ['a/bar', 'b/bar', 'strict']
    """
    stems = [path.stem for path in paths]
    return {path.stem if stems.count(path.stem) == 1 else f"{path.parent.name}/{path.stem}": path for path in paths}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What an address asks for; what it leaves out is filled in from the bar, then from the newest two."""

    by: str
    candidate: str
    baseline: str
    window: str
    cluster: Literal["user", "conversation"]
    bar: str

    def query(self) -> dict[str, str]:
        """The same as parts of an address."""
        kept = {"by": self.by, "candidate": to_value(self.candidate), "baseline": to_value(self.baseline),
                "window": self.window, "cluster": self.cluster, "bar": to_value(self.bar)}  # fmt: skip
        usual = {"by": "release", "window": "all", "cluster": "user", "bar": ""}
        return {name: value for name, value in kept.items() if value != usual.get(name)}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compared:
    """A comparison with what it was made of."""

    asked: _Asked
    arms: tuple[Arm, ...]
    result: ReleaseComparison
    receipt: Mapping[str, Any]
    bar: Bar | None
    passed_over: tuple[str, ...]


@dataclass(slots=True)
class _Comparer:
    """Compares, and keeps the latest results: a page and the files it links are one computation."""

    site: Site
    bars: Mapping[str, Path]
    kept: OrderedDict[tuple[Any, ...], _Compared] = field(default_factory=OrderedDict)
    guard: threading.Lock = field(default_factory=threading.Lock)

    def arms(self, person: Person, by: str) -> tuple[Arm, ...]:
        with open_tenant_view(self.site.lake, tenant=person.tenant, tables=("spans",)) as view:
            return known_arms(view, by=by)

    def __call__(self, person: Person, query: Mapping[str, str]) -> _Compared:
        bar = self._bar(from_address(query.get("bar", ""), "launch bar"))
        by = query.get("by") or (
            bar.document.arms.column if bar and bar.document.arms.column in ARM_COLUMNS else "release"
        )
        arms = self.arms(person, by)
        asked = _filled(query, by, arms, bar)
        seconds = _WINDOWS[asked.window]
        # To the minute: two files of one page must not be of two windows.
        since = None if seconds is None else (int(time.time()) // 60 * 60 - seconds) * 1_000_000
        lake = self.site.open_lake()
        held = set(lake.tables())
        versions = {table: lake.version(table) for table in _TABLES if table in held}
        key = (person.tenant, asked, since, bar.sha256 if bar else "", tuple(sorted(versions.items())))
        with self.guard:
            if key in self.kept:
                self.kept.move_to_end(key)
                return self.kept[key]
        started = time.perf_counter()
        margins, passed_over = _margins(bar)
        with open_tenant_view(self.site.lake, tenant=person.tenant, tables=_TABLES, versions=versions) as view:
            result = compare_releases(
                view.narrowed(since_us=since), catalog(), candidate=asked.candidate, baseline=asked.baseline, by=asked.by,
                cluster=asked.cluster, margins=margins, level=bar.document.plan.level if bar else 0.95,
            )  # fmt: skip
        receipt = lake_receipt(
            lake, versions, "\n\n".join(row.sql for row in result.rows), result.parameters,
            seconds=time.perf_counter() - started, provisional=self.site.ingest.lag_bytes() > 0,
        )  # fmt: skip
        made = _Compared(asked=asked, arms=arms, result=result, receipt=receipt, bar=bar, passed_over=passed_over)
        with self.guard:
            self.kept[key] = made
            while len(self.kept) > _MOST_KEPT:
                self.kept.popitem(last=False)
        return made

    def _bar(self, name: str) -> Bar | None:
        if not name:
            return None
        if name not in self.bars:
            raise UnknownName("launch bar", visible(name)[:60], self.bars, place="jurat serve --bar")
        return load_bar(self.bars[name])


def _filled(query: Mapping[str, str], by: str, arms: Sequence[Arm], bar: Bar | None) -> _Asked:
    window, cluster = query.get("window", "all"), query.get("cluster", "user")
    if window not in _WINDOWS:
        raise UnknownName("window", visible(window)[:20], _WINDOWS)
    if cluster not in ("user", "conversation"):
        raise UnknownName("cluster", visible(cluster)[:20], ("user", "conversation"))
    named = bar.document.arms if bar and bar.document.arms.column == by else None
    newest = [arm.name for arm in arms]
    candidate = from_address(query.get("candidate", ""), by) or (
        named.candidate if named else newest[0] if newest else ""
    )
    others = [name for name in newest if name != candidate]
    baseline = from_address(query.get("baseline", ""), by) or (named.baseline if named else others[0] if others else "")
    if not candidate or not baseline:
        raise _TooFew(by, len(newest))
    return _Asked(
        by=by, candidate=candidate, baseline=baseline, window=window,
        cluster="user" if cluster == "user" else "conversation", bar=from_address(query.get("bar", ""), "launch bar"),
    )  # fmt: skip


class _TooFew(UsageError):
    """There are no two to compare yet."""

    def __init__(self, by: str, seen: int) -> None:
        super().__init__(
            f"a comparison needs two {by}s",
            seen=f"{seen} in this lake",
            next_step="send service.version (the release) with each span" if by == "release" else "look by release",
        )


def _margins(bar: Bar | None) -> tuple[list[Margin], tuple[str, ...]]:
    """Margins of a bar's comparisons, and what of it is not on this page."""
    if bar is None:
        return [], ()
    known = {metric.name for metric in comparable_metrics(catalog())}
    margins, passed_over = [], []
    for clause in bar.clauses(catalog()):
        if clause.arm is not None or clause.metric not in known:
            passed_over.append(clause.name)
            continue
        margins.append(
            Margin(
                name=clause.name,
                metric=clause.metric,
                direction=clause.direction,
                threshold=clause.threshold,
                where=dict(clause.where),
                minimum_n=clause.minimum_n,
            )
        )
    return margins, tuple(passed_over)


def register(app: FastAPI, site: Site) -> None:
    """Add the page and its panels."""
    site.enter("/releases", "Releases", "r")
    comparer = _Comparer(site, getattr(app.state, "bars", {}))
    for role in _ROLE_TITLES:
        site.panels[f"compare-{role}"] = _role_panel(comparer, role)
    site.panels["compare-mix"] = lambda person, query: _mix_panel(comparer(person, query))

    async def releases(request: Request) -> Response:
        person = await site.person(request, "analyse")
        query = dict(request.query_params)
        by = query.get("by", "release")
        context: dict[str, Any] = {"made": None, "told": None, "panels": {}, "said": []}
        status = 200
        try:
            made = await site.run(comparer, person, query)
            context |= {"made": made, "panels": _panels(made), "said": _sentences(made.result), "by": made.asked.by}
            context["guardrails"] = _halves(made.result)
            arms = made.arms
        except (UsageError, SpecError) as error:
            status = 200 if isinstance(error, _TooFew) else 400
            context |= {"told": error, "by": by if by in ARM_COLUMNS else "release"}
            arms = await site.run(comparer.arms, person, context["by"])
        return site.page(
            request, "compare.html", title="Releases", status=status, query=query, arms=arms, columns=ARM_COLUMNS,
            windows=_WINDOW_WORDS, bars=list(comparer.bars), marks=MARKS,
            text=difference_text, level=level_text, value=to_value, **context,
        )  # fmt: skip

    app.add_api_route("/releases", releases, methods=["GET"])


def _role_panel(comparer: _Comparer, role: str) -> Any:
    return lambda person, query: _panel(comparer(person, query), role)


def _panels(made: _Compared) -> dict[str, Panel]:
    return {role: _panel(made, role) for role in _ROLE_TITLES} | {"mix": _mix_panel(made)}


def _panel(made: _Compared, role: str) -> Panel:
    title, question = _ROLE_TITLES[role]
    rows = [row for row in made.result.rows if row.metric.role == role]
    names = f"{made.asked.candidate} against {made.asked.baseline}"
    return Panel(
        key=f"compare-{role}",
        title=title,
        question=question,
        rows=[_cells(row) for row in rows],
        sql="\n\n".join(f"-- {row.metric.name}\n{row.sql};" for row in {r.metric.name: r for r in rows}.values()),
        parameters=made.result.parameters,
        receipt=made.receipt,
        svg=forest(rows, label=f"{title}: differences of {names}, with 95 % intervals"),
        page="/releases",
        query=made.asked.query(),
    )


def _halves(result: ReleaseComparison) -> list[Markup]:
    """Guardrails in two pictures: shares, and what has units of its own."""
    rows = [row for row in result.rows if row.metric.role == "guardrail"]
    halves = [[row for row in rows if (row.metric.scale == "") == shares] for shares in (True, False)]
    words = ("shares", "times, tokens and cost")
    return [forest(half, label=f"Guardrails: {word}") for half, word in zip(halves, words, strict=True) if half]


def _cells(row: ComparedMetric) -> dict[str, Any]:
    return {
        "metric": row.metric.name,
        "role": row.metric.role,
        "where": ", ".join(f"{name} = {value}" for name, value in row.where.items()),
        "unit": row.metric.scale or "share",
        "better": row.metric.better,
        "baseline": as_interval(row.baseline),
        "candidate": as_interval(row.candidate),
        "difference": as_interval(row.difference),
        "common_mix": row.standardised,
        "units_in_common_mix": row.covered,
        "margin": row.margin.threshold if row.margin else None,
        "clears_if": row.margin.direction if row.margin else None,
        "outcome": MARKS[row.outcome][1],
        "clusters": row.difference.n_clusters,
    }


def _mix_panel(made: _Compared) -> Panel:
    result = made.result
    distance = result.mix.distance
    far = (
        "" if distance is None else f"{100 * distance:.1f} % of the turns of one side lie elsewhere (total variation)."
    )
    return Panel(
        key="compare-mix",
        title="The traffic the two saw",
        question="Which endpoints and tiers did their turns come from?",
        rows=[
            {"endpoint": s.endpoint, "tier": s.tier, "baseline_turns": s.baseline, "candidate_turns": s.candidate}
            for s in result.mix.strata
        ],
        sql="SELECT release, endpoint, tier, COUNT(*) AS turns FROM spans GROUP BY ALL ORDER BY ALL",
        receipt=made.receipt,
        svg=mix_picture(result.mix.strata),
        note=f"All turns of both, counted, not estimated. {far}",
        page="/releases",
        query=made.asked.query(),
    )


def _sentences(result: ReleaseComparison) -> list[tuple[str, str, str, list[str]]]:
    """What is told apart, in the order of weight: glyph, word, state, and the metrics with their differences."""
    said = []
    for outcome in ("violated", "worse", "undecided", "changed", "clears", "better"):
        rows = [row for row in result.rows if row.outcome == outcome]
        if rows:
            glyph, word, state = MARKS[outcome]
            named = [" ".join((_named(row), *difference_text(row, row.difference))) for row in rows]
            said.append((glyph, word, state, named))
    for outcome in ("open", "none"):
        rows = [row for row in result.rows if row.outcome == outcome]
        if rows:
            glyph, word, state = MARKS[outcome]
            said.append((glyph, word, state, [_named(row) for row in rows]))
    return said


def _named(row: ComparedMetric) -> str:
    return row.metric.title + (f" ({', '.join(row.where.values())})" if row.where else "")
