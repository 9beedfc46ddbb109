"""The dossier: one HTML file that a policy expert reads in five minutes and an auditor can check.

Rendered from the verdict's JSON alone (and the texts of bar and metrics), so page and machine-readable answer cannot
disagree. The file is self-contained: no script, no outside request, a content security policy that forbids both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from jurat.evidence.figure import ForestRow, forest
from jurat.evidence.page import render_page, stamp
from jurat.launch import words

__all__ = ["render_dossier"]


def render_dossier(document: Mapping[str, Any], *, bar_text: str, metric_texts: Mapping[str, str]) -> str:
    """Render a verdict as a self-contained HTML page.

    Parameters
    ----------
    document
        The verdict's JSON (`jurat.launch.document.verdict_document`).
    bar_text, metric_texts
        Source text of the bar, and of each metric by name.

    Returns
    -------
    str
        HTML; the same input gives the same bytes.
    """
    return render_page(
        "jurat.launch",
        "dossier.html.j2",
        d=document,
        stamp=stamp(document["verdict"]),
        answer=words.answer_sentence(document),
        findings=[words.clause_sentence(c, document["arms"]) for _, c in words.iterate_clauses(document)],
        remedy=words.remedy_sentence(document),
        figures=[Markup(f) for f in _figures(document)],  # noqa: S704 - escapes its own texts
        plain=_plain(document),
        meaning=words.interval_meaning(document["plan"]["level"], [c for _, c in words.iterate_clauses(document)]),
        numbers=_numbers(document),
        level=f"{100 * document['plan']['level']:.4g} %",
        amount=words.amount,
        signed=words.signed_amount,
        interval=words.interval_text,
        bar_text=bar_text,
        metric_texts=list(metric_texts.items()),
    )


def _figures(document: Mapping[str, Any]) -> list[str]:
    """One picture a scale: comparisons and levels never share an axis, nor do different units."""
    groups: dict[tuple[str, bool], list[ForestRow]] = {}
    for section, clause in words.iterate_clauses(document):
        scale = "pt" if clause["shape"] == "share" and section != "line" else clause["scale"]
        groups.setdefault((scale, section == "line"), []).append(_forest_row(section, clause))
    return [
        forest(rows, unit=scale, label="Estimates with their intervals against the bar: " + _spoken(rows))
        for (scale, _), rows in groups.items()
    ]


def _spoken(rows: list[ForestRow]) -> str:
    return "; ".join(f"{r.title} {r.text} {r.outcome}" for r in rows)


def _forest_row(section: str, clause: Mapping[str, Any]) -> ForestRow:
    line = section == "line"
    found = clause["estimate"] if line else clause["comparison"]
    threshold = clause["limit"] if line else clause["requirement"]["margin"]
    factor = 100.0 if clause["shape"] == "share" else 1.0
    missing = found is None or found["value"] is None

    def scaled(key: str) -> float | None:
        return None if missing or found is None or found[key] is None else factor * found[key]

    how = "paired" if found is not None and found.get("paired") else ("hard line" if line else "two groups")
    kind = f"{clause['arm']} · {how}" if line else f"{section} · {how}"
    count = "no data" if found is None else f"n = {found['n']:,}"
    text = "no value"
    if found is not None and not missing:
        value = (
            words.amount(found["value"], clause["shape"])
            if line
            else words.signed_amount(found["value"], clause["shape"])
        )
        text = f"{value} {words.interval_text(found, clause['shape'], difference=not line)}"
    return ForestRow(
        title=clause["title"],
        caption=f"{kind}, {count}",
        value=scaled("value"),
        low=scaled("low"),
        high=scaled("high"),
        threshold=factor * threshold,
        clears_above=clause["direction"] == "greater",
        outcome=clause["outcome"],
        text=text,
    )


def _plain(document: Mapping[str, Any]) -> list[str]:
    """Each interval read aloud, in the bar's order."""
    sentences: dict[str, None] = {}
    for section, clause in words.iterate_clauses(document):
        found = clause["estimate"] if section == "line" else clause["comparison"]
        if found is not None and found["low"] is not None and found["high"] is not None:
            sentences[words.in_plain_words(clause, document["arms"])] = None
    return list(sentences)


def _numbers(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    seen: set[tuple[str, str]] = set()
    arms = document["arms"]
    for section, clause in words.iterate_clauses(document):
        levels = [clause["estimate"]] if section == "line" else clause["arms"]
        for level in levels:
            if level is not None and (clause["title"], level["arm"]) not in seen:
                seen.add((clause["title"], level["arm"]))
                rows.append(_number(clause, level, level["arm"], difference=False))
        if section != "line" and clause["comparison"] is not None:
            rows.append(
                _number(clause, clause["comparison"], f"{arms['candidate']} − {arms['baseline']}", difference=True)
            )
    return rows


def _number(clause: Mapping[str, Any], found: Mapping[str, Any], arm: str, *, difference: bool) -> dict[str, Any]:
    shape = clause["shape"]
    undefined = found["value"] is None
    if undefined:
        value = f"undefined: {found['reason']}"
    elif difference:
        value = words.signed_amount(found["value"], shape) + (" pt" if shape == "share" else "")
    else:
        value = words.amount(found["value"], shape, scale=clause["scale"] if shape != "share" else "")
    return {
        "title": clause["title"],
        "arm": arm,
        "value": value,
        "interval": "–" if undefined else words.interval_text(found, shape, difference=difference),
        "n": found["n"],
        "unit": clause["unit"],
        "cluster": found["cluster"],
        "n_clusters": found["n_clusters"],
        "method": found["method"],
        "digest": found["evidence"],
    }
