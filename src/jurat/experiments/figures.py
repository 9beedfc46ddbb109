"""The pictures of an experiment's report, drawn from its JSON.

Band or line = interval, dashed = margin, tint = where a claim clears. State is always said by a glyph and a word too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jurat.evidence.figure import OUTCOME_MARKS
from jurat.experiments.axes import Axes, padded
from jurat.experiments.words import difference_text, level_text

__all__ = [
    "curve_figure", "drift_figure", "forest_figures", "looks_figure", "power_figure", "region_figure", "simpson_figure",
    "timeline_figure",
]  # fmt: skip

_ORDER = {"value": 0, "risk": 1, "guardrail": 2}


def _scaled(x: float | None, shape: str) -> float | None:
    return None if x is None else 100 * x if shape == "share" else x


def _unit(metric: Mapping[str, Any], *, line: bool = False) -> str:
    return ("%" if line else "pt") if metric["shape"] == "share" else ""


def forest_figures(document: Mapping[str, Any], treatment: str) -> list[tuple[str, str]]:
    """Claims as panels in the order value, risk, hard line, guardrail: pairs of a heading and a picture."""
    claims = [c for c in document["claims"] if c["treatment"] == treatment]
    ordered = sorted(claims, key=lambda c: (_ORDER.get(c["role"], 3), c["line"]))
    return [(_heading(claim), _panel(claim, document["metrics"][claim["metric"]])) for claim in ordered]


def _heading(claim: Mapping[str, Any]) -> str:
    if claim["line"]:
        return "Hard line"
    return {"value": "Value", "risk": "Risk"}.get(claim["role"], "Guardrail")


_TESTS = {"superior": "superior", "noninferior": "not inferior", "line": "stays below"}


def _panel(claim: Mapping[str, Any], metric: Mapping[str, Any]) -> str:
    """One claim: its interval against its margin, in a zone that is tinted where it clears."""
    e, shape = claim["estimate"], metric["shape"]
    text = level_text(e, shape) if claim["line"] else difference_text(e, shape)
    glyph, word, state = OUTCOME_MARKS.get(claim["outcome"], OUTCOME_MARKS["inadmissible"])
    threshold = _number(claim["threshold"], shape)
    known = [_number(e[k], shape) for k in ("low", "high", "value") if e[k] is not None]
    limits = padded([*known, threshold, 0.0], share=0.14)
    axes = Axes(
        limits, (0, 1), f"{metric['title']}: {text}, {word}", width=440, height=132, left=6, right=6, top=44, bottom=30
    )
    above = metric["better"] == "higher" and not claim["line"]
    zone = (axes.x(threshold), axes.x(limits[1])) if above else (axes.x(limits[0]), axes.x(threshold))
    axes.add(f'<rect class="zone" x="{zone[0]}" y="52" width="{max(zone[1] - zone[0], 0):.1f}" height="42"/>')
    axes.x_grid(_unit(metric, line=claim["line"]), about=4)
    axes.add(f'<line class="bar" x1="{axes.x(threshold)}" x2="{axes.x(threshold)}" y1="46" y2="100"/>')
    axes.add(f'<text class="name" x="6" y="16">{_escaped(metric["title"])}</text>')
    axes.add(f'<text class="small" x="6" y="33">{_TESTS[claim["test"]]}, n = {e["n"]:,}</text>')
    axes.add(f'<text class="name end state {state}" x="434" y="16">{glyph} {word}</text>')
    axes.add(f'<text class="small end" x="434" y="33">{_escaped(text)}</text>')
    if e["low"] is not None and e["high"] is not None:
        ends = (axes.x(_number(e["low"], shape)), axes.x(_number(e["high"], shape)))
        axes.add(f'<line class="interval {state}" x1="{ends[0]}" x2="{ends[1]}" y1="73" y2="73"/>')
    if e["value"] is not None:
        axes.add(f'<circle class="mark {state}" cx="{axes.x(_number(e["value"], shape))}" cy="73" r="5"/>')
    return axes.svg("plot panel")


def looks_figure(series: Mapping[str, Any], metric: Mapping[str, Any], title: str) -> str:
    """One claim over the days: the interval that holds at all looks, and inside it the one that does not."""
    points = series["points"]
    shape = metric["shape"]
    known = [p for p in points if p["always"]["low"] is not None]
    if len(known) < 2:
        return ""
    values = [_number(p["always"][k], shape) for p in known for k in ("low", "high")]
    values += [_number(p["threshold"], shape) for p in known]
    # The first looks are so wide that they would flatten the rest.
    tail = known[max(len(known) // 5, 1) :]
    ends = [_number(p["always"][k], shape) for p in tail for k in ("low", "high")] + [
        _number(p["threshold"], shape) for p in tail
    ]
    axes = Axes((0, max(len(points) - 1, 1)), padded(ends, share=0.25), f"{title} over {len(points)} looks", height=260)
    axes.y_grid(_unit(metric))
    axes.x_labels([(i, p["day"][5:]) for i, p in enumerate(points)])
    place = {id(p): i for i, p in enumerate(points)}
    low, high = axes.y_range

    def inside(x: float) -> float:
        return min(max(x, low), high)

    axes.band(
        [
            (place[id(p)], inside(_number(p["always"]["low"], shape)), inside(_number(p["always"]["high"], shape)))
            for p in known
        ],
        "band",
    )
    once = [p for p in points if p["once"]["low"] is not None]
    axes.band(
        [
            (place[id(p)], inside(_number(p["once"]["low"], shape)), inside(_number(p["once"]["high"], shape)))
            for p in once
        ],
        "band inner",
    )
    axes.line([(place[id(p)], inside(_number(p["always"]["value"], shape))) for p in known], "estimate")
    axes.line([(place[id(p)], inside(_number(p["threshold"], shape))) for p in known], "bar")
    return axes.svg()


def _number(x: float | None, shape: str) -> float:
    found = _scaled(x, shape)
    return 0.0 if found is None else found


def timeline_figure(document: Mapping[str, Any]) -> str:
    """Validity over the days: the split of the units, each arm's fingerprint, the judge on its anchor set."""
    checks = {c["name"]: c for c in document["checks"]}
    days = sorted(
        {str(r["day"]) for c in checks.values() for r in c["timeline"] if r.get("day")}
        | {
            str(r[k])
            for r in checks.get("fingerprint", {"timeline": []})["timeline"]
            for k in ("first", "last")
            if r[k]
        }
    )
    if len(days) < 2:
        return ""
    arms = [document["control"], *document["treatments"]]
    rows = 2 + len(arms)
    axes = Axes((0, len(days) - 1), (0, rows), "Validity over the days", height=54 * rows + 60, left=190)
    axes.x_labels([(i, d[5:]) for i, d in enumerate(days)])
    _split_row(axes, checks.get("sample_ratio"), days, document, rows - 1)
    _fingerprint_rows(axes, checks.get("fingerprint"), days, arms, rows - 2)
    _anchor_row(axes, checks.get("judge_anchor"), days, 0)
    return axes.svg()


def _caption(axes: Axes, row: int, name: str, state: str) -> None:
    axes.add(f'<text class="name" x="0" y="{axes.y(row + 0.55):.1f}">{name}</text>')
    axes.add(f'<text class="small" x="0" y="{axes.y(row + 0.25):.1f}">{state}</text>')


_STATES = {"passed": "● holds", "failed": "■ fails", "not assessed": "▲ not assessed"}


def _split_row(
    axes: Axes, check: Mapping[str, Any] | None, days: Sequence[str], document: Mapping[str, Any], row: int
) -> None:
    if check is None:
        return
    _caption(axes, row, "split of the units", _STATES[check["status"]])
    arm = document["treatments"][0]
    points = []
    for entry in check["timeline"]:
        total = sum(entry[a] for a in (document["control"], *document["treatments"]))
        if entry["day"] in days and total:
            points.append((days.index(entry["day"]), entry[arm] / total))
    if not points:
        return
    centre = points[-1][1]
    reach = max(*(abs(y - centre) for _, y in points), 0.02)
    axes.line([(x, row + 0.5 + 0.38 * (y - centre) / reach) for x, y in points], "estimate")
    axes.text(points[-1][0], row + 0.5, f"{100 * centre:.1f} % {arm}", "small end", dy=-12)


def _fingerprint_rows(
    axes: Axes, check: Mapping[str, Any] | None, days: Sequence[str], arms: Sequence[str], top: int
) -> None:
    for i, arm in enumerate(arms):
        row = top - i
        mine = [] if check is None else [r for r in check["timeline"] if r["arm"] == arm]
        state = "▲ not assessed" if not mine else "● one treatment" if len(mine) == 1 else f"■ {len(mine)} treatments"
        _caption(axes, row, f"{arm}: fingerprint".replace("&", "&amp;").replace("<", "&lt;"), state)
        for j, part in enumerate(sorted(mine, key=lambda r: str(r["first"]))):
            if part["first"] not in days or part["last"] not in days:
                continue
            first, last = axes.x(days.index(part["first"])), axes.x(days.index(part["last"]))
            kind = "segment" if j == 0 else "segment other"
            axes.add(
                f'<rect class="{kind}" x="{first}" width="{max(last - first, 4):.1f}" y="{axes.y(row + 0.62 - 0.1 * j):.1f}" '
                f'height="9" rx="2"/>'
            )


def _anchor_row(axes: Axes, check: Mapping[str, Any] | None, days: Sequence[str], row: int) -> None:
    if check is None:
        _caption(axes, row, "judge on anchor set", "▲ not asked for")
        return
    _caption(axes, row, "judge on anchor set", _STATES[check["status"]])
    points = [(days.index(r["day"]), r["mean"]) for r in check["timeline"] if r.get("day") in days]
    if not points:
        return
    centre = sum(y for _, y in points) / len(points)
    reach = max(*(abs(y - centre) for _, y in points), 0.05)
    axes.line([(x, row + 0.5 + 0.38 * (y - centre) / reach) for x, y in points], "estimate")
    for x, y in points:
        axes.dot(x, row + 0.5 + 0.38 * (y - centre) / reach, "mark", radius=2.5)


def simpson_figure(scan: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """Each stratum's effect, the size of its dot its share, under the crude and the standardised effect."""
    metric = document["metrics"][scan["metric"]]
    shape = metric["shape"]
    lines = [("crude", scan["crude"], 1.0), ("standardised", scan["standardised"], 1.0)]
    lines += [(s["name"], s["effect"], sum(s["shares"].values()) / len(s["shares"])) for s in scan["strata"]]
    ends = [_number(i[k], shape) for _, i, _ in lines for k in ("low", "high", "value") if i[k] is not None] + [0.0]
    height = 34 * len(lines) + 56
    label = f"{metric['title']} by {scan['stratifier']}: " + "; ".join(
        f"{name} {difference_text(i, shape)}" for name, i, _ in lines
    )
    axes = Axes(padded(ends), (0, len(lines)), label, height=height, left=190, right=210)
    axes.x_grid(_unit(metric))
    for i, (name, found, share) in enumerate(lines):
        row = len(lines) - i - 0.5
        kind = "strong" if i < 2 else "weak"
        if found["low"] is not None and found["high"] is not None:
            axes.add(
                f'<line class="interval {kind}" x1="{axes.x(_number(found["low"], shape))}" '
                f'x2="{axes.x(_number(found["high"], shape))}" y1="{axes.y(row)}" y2="{axes.y(row)}"/>'
            )
        if found["value"] is not None:
            axes.dot(_number(found["value"], shape), row, f"mark {kind}", radius=3 + 5 * share if i >= 2 else 5)
        axes.text(axes.x_range[0], row, name, "name" if i < 2 else "small dark", dx=-axes.left, dy=4)
        axes.text(axes.x_range[1], row, difference_text(found, shape).replace(" points", ""), "small", dx=12, dy=4)
    return axes.svg()


def curve_figure(curve: Mapping[str, Any], metric: Mapping[str, Any]) -> str:
    """Difference of two arms along the distribution."""
    points = [p for p in curve["points"] if p["low"] is not None and p["high"] is not None]
    if len(points) < 2:
        return ""
    ends = [p[k] for p in points for k in ("low", "high")] + [0.0]
    label = f"Difference in {metric['title']} by quantile"
    axes = Axes((0, len(curve["points"]) - 1), padded(ends), label, height=250)
    axes.y_grid()
    place = {p["q"]: i for i, p in enumerate(curve["points"])}
    axes.x_labels([(i, f"p{100 * p['q']:g}") for i, p in enumerate(curve["points"])])
    axes.band([(place[p["q"]], p["low"], p["high"]) for p in points], "band")
    axes.line([(place[p["q"]], p["value"]) for p in points], "estimate")
    for p in points:
        axes.dot(place[p["q"]], p["value"], "mark")
    return axes.svg()


def drift_figure(drift: Mapping[str, Any], metric: Mapping[str, Any]) -> str:
    """The effect of each day with its interval."""
    shape = metric["shape"]
    points = [(i, day, e) for i, (day, e) in enumerate(drift["periods"]) if e["low"] is not None]
    if len(points) < 2:
        return ""
    ends = [_number(e[k], shape) for _, _, e in points for k in ("low", "high")] + [0.0]
    axes = Axes((-0.5, len(drift["periods"]) - 0.5), padded(ends), f"{metric['title']}: effect by day", height=220)
    axes.y_grid(_unit(metric))
    axes.x_labels([(i, day[5:]) for i, day, _ in points])
    for i, _, e in points:
        axes.whisker(i, _number(e["low"], shape), _number(e["high"], shape), "interval weak")
        axes.dot(i, _number(e["value"], shape), "mark")
    return axes.svg()


def region_figure(one: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """Value against risk: the joint region, and the quarter of the plane where both are better."""
    if not one["region"]:
        return ""
    value, risk = document["metrics"][one["value"]], document["metrics"][one["risk"]]
    xs = [_number(x, value["shape"]) for x, _ in one["region"]] + [0.0]
    ys = [_number(y, risk["shape"]) for _, y in one["region"]] + [0.0]
    label = f"Joint region of the effects on {value['title']} and {risk['title']}"
    axes = Axes(padded(xs, share=0.15), padded(ys, share=0.15), label, width=560, height=380, left=90)
    good_x = axes.x_range if value["better"] == "higher" else axes.x_range[::-1]
    good_y = axes.y_range if risk["better"] == "higher" else axes.y_range[::-1]
    x0, x1 = sorted((axes.x(0.0), axes.x(good_x[1])))
    y0, y1 = sorted((axes.y(0.0), axes.y(good_y[1])))
    axes.add(f'<rect class="zone" x="{x0}" y="{y0}" width="{x1 - x0:.1f}" height="{y1 - y0:.1f}"/>')
    axes.x_grid(_unit(value))
    axes.y_grid(_unit(risk))
    points = [(_number(x, value["shape"]), _number(y, risk["shape"])) for x, y in one["region"]]
    path = " ".join(f"{axes.x(a)},{axes.y(b)}" for a, b in points)
    axes.add(f'<polygon class="region" points="{path}"/>')
    centre = (sum(a for a, _ in points) / len(points), sum(b for _, b in points) / len(points))
    axes.dot(*centre, "mark", radius=5)
    axes.text(axes.x_range[1], axes.y_range[0], f"{value['title']} →", "small end", dx=-4, dy=-8)
    axes.text(axes.x_range[0], axes.y_range[1], f"{risk['title']} ↑", "small", dx=6, dy=12)
    return axes.svg("plot square")


def power_figure(curves: Sequence[tuple[str, Sequence[float], Sequence[float]]], planned: float, target: float) -> str:
    """Power against clusters, one line a claim; dashed: the target, upright: the plan."""
    if not curves:
        return ""
    top = max(max(x) for _, x, _ in curves)
    label = "Power by number of clusters: " + ", ".join(name for name, _, _ in curves)
    axes = Axes((0, top), (0, 1), label, height=320, right=230)
    axes.y_grid(about=5)
    axes.x_grid()
    axes.line([(0, target), (top, target)], "bar")
    axes.line([(planned, 0), (planned, 1)], "planned")
    for i, (name, x, y) in enumerate(curves):
        axes.line(list(zip(x, y, strict=True)), f"series s{i % 4}")
        axes.add(
            f'<text class="small dark s{i % 4}" x="{axes.width - axes.right + 10}" y="{axes.top + 18 * (i + 1)}">'
            f"{_glyph(i)} {_escaped(name)}</text>"
        )
    return axes.svg()


def _glyph(i: int) -> str:
    return ("━", "╍", "┅", "┉")[i % 4]


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
