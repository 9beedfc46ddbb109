"""The report of an experiment: one page from its JSON, for the people who decide and for those who doubt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from jurat.evidence.page import render_page, stamp
from jurat.evidence.wording import amount, interval_text, signed_amount
from jurat.experiments import figures, words

__all__ = ["render_report"]


def render_report(document: Mapping[str, Any], *, spec_text: str = "") -> str:
    """Render an experiment's result as a self-contained HTML page.

    Parameters
    ----------
    document
        From `jurat.experiments.document.analysis_document`.
    spec_text
        The spec's source, shown at the end.

    Returns
    -------
    str
        HTML; the same input gives the same bytes.
    """
    metrics = document["metrics"]
    titles = {c["name"]: metrics[c["metric"]] for c in document["claims"]}
    return render_page(
        "jurat.experiments",
        "report.html.j2",
        style="report.css",
        d=document,
        stamp=stamp(document["answer"]),
        answer=words.answer_sentence(document),
        invalid=document["answer"] == "invalid",
        t0=document["treatments"][0] if len(document["treatments"]) == 1 else "treatment",
        level=f"{100 * document['level']:.4g} %",
        forests={t: [(h, _safe(f)) for h, f in figures.forest_figures(document, t)] for t in document["treatments"]},
        timeline=_safe(figures.timeline_figure(document)),
        looks=[
            (_named(titles[s["claim"]]["title"], s, document), _safe(figure))
            for s in document["looks"]
            if (figure := figures.looks_figure(s, titles[s["claim"]], s["claim"]))
        ],
        drifts=[
            (metrics[d["metric"]]["title"], {**d, "shape": metrics[d["metric"]]["shape"]}, _safe(figure))
            for d in document["drift"]
            if (figure := figures.drift_figure(d, metrics[d["metric"]]))
        ],
        simpson=[
            (
                f"{metrics[s['metric']]['title']} by {s['stratifier']}",
                {**s, "shape": metrics[s["metric"]]["shape"]},
                _safe(figures.simpson_figure(s, document)),
            )
            for s in document["simpson"]
        ],
        trades=[(one, _safe(figures.region_figure(one, document))) for one in document["trade_off"]],
        curves=[
            (metrics[c["metric"]]["title"], _safe(figure))
            for c in document["curves"]
            if (figure := figures.curve_figure(c, metrics[c["metric"]]))
        ],
        ranks=[words.rank_sentence(one, document) for one in document["ranks"]],
        amount=amount,
        signed=signed_amount,
        interval=interval_text,
        difference=words.difference_text,
        spec_text=spec_text,
    )


def _safe(figure: str) -> Markup:
    return Markup(figure)  # noqa: S704 - figures escape their own texts


def _named(title: str, series: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    line = ", hard line" if series["claim"].endswith("hard line") else ""
    arm = f", {series['treatment']}" if len(document["treatments"]) > 1 else ""
    return f"{title}{line}{arm}"
