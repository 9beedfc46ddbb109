"""The audit as one page: for the person who decides whether to train on it, and for the one who doubts the audit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from jurat.corpus.audit_figures import Row, power_figure, rows_figure, value_text
from jurat.evidence.page import render_page

__all__ = ["render_audit"]

_LISTED = 12
_EFFECTIVE = (
    ("words", "documents weighted by their words (Kish)"),
    ("clusters_1", "copies as one, Hill number of order 1"),
    ("clusters_2", "copies as one, Hill number of order 2"),
)


def render_audit(document: Mapping[str, Any]) -> str:
    """Render an audit as a self-contained HTML page.

    Parameters
    ----------
    document
        From `jurat.corpus.audit.AuditResult.document`.

    Returns
    -------
    str
        HTML; the same input gives the same bytes.
    """
    shift, copies = document["shift"], document["duplication"]
    return render_page(
        "jurat.corpus",
        "audit.html.j2",
        style="audit.css",
        d=document,
        headline=_headline(document),
        facts=_facts(document),
        power=_safe(power_figure(document["power"])) if document["power"] else "",
        by_source=_lines(copies["by_source"], "Copies by source") if copies else "",
        by_month=_lines(copies["by_month"][-24:], "Copies by month", most=24) if copies else "",
        distinct=_figure([(v["name"], v["distinct"]["3"]) for v in document["variety"]], "Distinct 3-grams", share=True),
        compression=_figure([(v["name"], v["compression"]) for v in document["variety"]], "Compression ratio", zero=False),
        mixes=[(one, _lines(one["largest"], f"Shares by {one['name']}")) for one in document["mix"]],
        effective_names=_EFFECTIVE,
        numbers=_figure([(n["name"], n["kolmogorov_smirnov"]) for n in shift["numbers"]], "Distance") if shift else "",
        words=_words(shift["words"]) if shift else "",
        groups=_figure(
            [(f"{b['attribute']}: {b['group']}", b["representation"]) for b in document["bias"]], "Groups", share=True
        ),
        ratios=_figure(
            [
                (f"{b['group']}: {r['filter']}", r["ratio"])
                for b in document["bias"]
                for r in b["removals"]
                if r["ratio"]["value"] is not None
            ],
            "Ratio of removal",
            line=1.0,
        ),
        text=lambda estimate, share: value_text(estimate, share=share),
        points=lambda x: f"{100 * x:.0f}",
        percent=lambda x: f"{100 * x:.1f} %",
        pvalue=lambda p: "< 0.0001" if p < 1e-4 else f"= {p:.4f}",
    )  # fmt: skip


def _safe(figure: str) -> Markup:
    return Markup(figure)  # noqa: S704 - figures escape their own texts


def _figure(rows: list[tuple[str, Any]], label: str, **options: Any) -> Markup:
    return _safe(rows_figure([Row(name=name, estimate=estimate) for name, estimate in rows], label, **options))


def _lines(lines: list[Mapping[str, Any]], label: str, *, most: int = _LISTED) -> Markup:
    return _figure([(line["name"], line["share"]) for line in lines[:most]], label, share=True)


def _words(words: Mapping[str, Any]) -> Markup:
    lines = [*words["more"][:8], *reversed(words["fewer"][:8])]
    return _figure([(line["word"], line["difference"]) for line in lines], "Difference of shares", share=True, line=0.0)


def _headline(document: Mapping[str, Any]) -> str:
    poison, copies = document["poison"], document["duplication"]
    parts = []
    if copies and copies["removed"]["value"] is not None:
        parts.append(f"{100 * copies['removed']['value']:.1f} % of {document['n_documents']:,} documents are copies")
    else:
        parts.append(f"{document['n_documents']:,} documents")
    if poison is None:
        parts.append("not searched for triggers")
    else:
        n = len(poison["alarms"])
        parts.append("no trigger found" if n == 0 else "one n-gram looks like a trigger" if n == 1
                     else f"{n:,} n-grams look like triggers")  # fmt: skip
    return ", ".join(parts)


def _facts(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    facts = [
        (f"{document['n_documents']:,}", "documents read"),
        (f"{document['n_quarantined']:,}", "set aside by the reader"),
        (f"{document['n_words']:,}", "words"),
    ]
    clusters = document["effective"].get("clusters_2")
    if clusters and clusters["value"] is not None:
        facts.append((f"{clusters['value']:,.0f}", "effective documents, copies as one"))
    poison = document["poison"]
    facts.append(("–" if poison is None else f"{len(poison['alarms']):,}", "poison alarms"))
    return facts
