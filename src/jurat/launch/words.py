"""Plain words for a verdict, made from its numbers.

Everything a dossier says in sentences comes from here, so that no sentence can disagree with the number beside it.
The functions take the JSON form of a verdict (`jurat.launch.document`), which is what a reader has in hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = [
    "amount",
    "answer_sentence",
    "clause_sentence",
    "interval_meaning",
    "interval_text",
    "remedy_sentence",
    "signed_amount",
]

_HEADLINES = {
    "pass": "Launch",
    "fail": "Do not launch",
    "not_enough_evidence": "Not enough evidence to decide",
    "invalid": "No valid answer",
}


def amount(value: float | None, shape: str, *, digits: int = 1) -> str:
    """Write a level in its unit: shares as per cent, other numbers with three significant digits.

    Examples
    --------
    >>> amount(0.1254, "share"), amount(2840.4, "number")
    ('12.5 %', '2,840')
    """
    if value is None:
        return "undefined"
    if shape == "share":
        return f"{100 * value:.{digits}f} %"
    return _three_digits(value)


def signed_amount(value: float | None, shape: str) -> str:
    """Write a difference with its sign: shares in percentage points.

    Examples
    --------
    >>> signed_amount(-0.172, "share"), signed_amount(12.0, "number")
    ('−17.2', '+12')
    """
    if value is None:
        return "undefined"
    text = f"{100 * value:+.1f}" if shape == "share" else ("+" if value >= 0 else "") + _three_digits(value)
    return text.replace("-", "−")


def _three_digits(value: float) -> str:
    magnitude = abs(value)
    if magnitude >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def interval_text(estimate: Mapping[str, Any], shape: str, *, difference: bool) -> str:
    """Write ``[low, high]`` on the scale of the value it belongs to.

    Examples
    --------
    >>> interval_text({"low": -0.22, "high": -0.124}, "share", difference=True)
    '[−22.0, −12.4]'
    """
    if difference:
        low, high = (signed_amount(estimate[k], shape) for k in ("low", "high"))
    else:
        low, high = (amount(estimate[k], shape).removesuffix(" %") for k in ("low", "high"))
    if estimate["low"] is None:
        low = "no lower bound"
    if estimate["high"] is None:
        high = "no upper bound"
    return f"[{low}, {high}]"


def _size(value: float, shape: str, unit: str = "") -> str:
    """Absolute size of a difference in words: points for shares."""
    if shape == "share":
        return f"{abs(100 * value):.1f} points"
    return f"{_three_digits(abs(value))}{' ' + unit if unit else ''}"


def answer_sentence(document: Mapping[str, Any]) -> str:
    """Say the verdict in one sentence, with the clause that decided it.

    Parameters
    ----------
    document
        The verdict as JSON.
    """
    head = _HEADLINES[document["verdict"]]
    if document["verdict"] == "invalid":
        failed = next(c for c in document["checks"] if not c["passed"])
        return f"{head}: the check “{failed['name']}” failed, so the comparison is void."
    clauses = [c for _, c in iterate_clauses(document)]
    if document["verdict"] == "pass":
        waived = sum(c["outcome"] == "waived" for c in clauses)
        tail = f", {waived} of them set aside by a signed waiver" if waived else ""
        return f"{head}: all {len(clauses)} demands of the bar are met{tail}."
    outcomes = ("violated",) if document["verdict"] == "fail" else ("undecided", "inadmissible")
    decisive = next(c for c in clauses if c["outcome"] in outcomes)
    return f"{head}: {_decisive(decisive)}."


def _decisive(clause: Mapping[str, Any]) -> str:
    title = clause["title"].lower()
    if clause["outcome"] == "inadmissible":
        return f"the evidence on {title} cannot be admitted"
    if clause["outcome"] == "undecided":
        return f"the data cannot tell whether {title} clears the bar"
    if "arm" in clause:
        return f"{title} breaks a hard line"
    role = "costs more" if clause["better"] == "higher" else "brings more"
    if clause["requirement"]["comparison"] == "superior":
        return f"{title} does not improve by what the bar demands"
    return f"the candidate {role} {title} than the bar allows"


def iterate_clauses(document: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Every clause of a verdict's JSON with its section, in the bar's order."""
    found: list[tuple[str, Mapping[str, Any]]] = []
    for pair in document["pairs"]:
        found += [("value", pair["value"]), ("risk", pair["risk"])]
    found += [("guardrail", rail) for rail in document["guardrails"]]
    found += [("line", line) for line in document["lines"]]
    return found


def clause_sentence(clause: Mapping[str, Any], arms: Mapping[str, Any]) -> str:
    """Say what was found for one clause and what the bar asks, in one or two sentences."""
    shape, unit = clause["shape"], clause["unit"]
    if "arm" in clause:
        level = clause["estimate"]
        if level is None or level["value"] is None:
            return f"{clause['title']} of {clause['arm']}: {clause['reason']}."
        verb = "below" if clause["bound"] == "upper" else "above"
        return (
            f"{clause['title']} of {clause['arm']}: {amount(level['value'], shape)} "
            f"{interval_text(level, shape, difference=False)} over {level['n']:,} {unit}s; the hard line asks for "
            f"{verb} {amount(clause['limit'], shape)}."
        )
    found = clause["comparison"]
    if found is None or found["value"] is None:
        return f"{clause['title']}: {clause['reason']}."
    by_arm = {a["arm"]: a for a in clause["arms"]}
    new, old = by_arm[arms["candidate"]], by_arm[arms["baseline"]]
    same = f"On the same {found['n']:,} {unit}s" if found["paired"] else f"Over {found['n']:,} {unit}s"
    change = "unchanged" if found["value"] == 0 else ("up" if found["value"] > 0 else "down")
    moved = (
        change
        if change == "unchanged"
        else f"{change} {_size(found['value'], shape)} {interval_text(found, shape, difference=True)}"
    )
    return (
        f"{same}, {clause['title'].lower()} was {amount(new['value'], shape)} for {arms['candidate']} against "
        f"{amount(old['value'], shape)} for {arms['baseline']}: {moved}. {_demand(clause)}"
    )


def _demand(clause: Mapping[str, Any]) -> str:
    margin, shape = clause["requirement"]["margin"], clause["shape"]
    size = _size(margin, shape)
    higher = clause["better"] == "higher"
    if clause["requirement"]["comparison"] == "non-inferior":
        if margin == 0:
            return f"The bar allows no {'loss' if higher else 'rise'}."
        return f"The bar allows {'a loss' if higher else 'a rise'} of at most {size}."
    if margin == 0:
        return f"The bar asks for {'a gain' if higher else 'a fall'}, however small."
    return f"The bar asks for {'a gain' if higher else 'a fall'} of at least {size}."


def remedy_sentence(document: Mapping[str, Any]) -> str:
    """Say what would change the answer, and whether more data would."""
    if document["verdict"] == "invalid":
        return "What would change the answer: data that pass the check. No number below should be used until then."
    blocking = [c for _, c in iterate_clauses(document) if c["outcome"] in ("violated", "undecided", "inadmissible")]
    if not blocking:
        return "Every demand must hold for a pass, and every one does. What could change the answer is listed below."
    if document["verdict"] == "fail":
        worst = next(c for c in blocking if c["outcome"] == "violated")
        return f"What would change the answer: {_shortfall(worst)}. More data would not."
    parts = [_more_text(c) for c in blocking if c["outcome"] != "violated"]
    return "What would decide: " + "; ".join(dict.fromkeys(parts)) + "."


def _shortfall(clause: Mapping[str, Any]) -> str:
    found = clause["estimate"] if "arm" in clause else clause["comparison"]
    threshold = clause["limit"] if "arm" in clause else clause["requirement"]["margin"]
    gap = _size(found["value"] - threshold, clause["shape"])
    return f"a candidate that does better on {clause['title'].lower()} by about {gap} or more"


def _more_text(clause: Mapping[str, Any]) -> str:
    more = clause["more"]
    name = clause["title"].lower()
    if clause["outcome"] == "inadmissible" or more is None:
        return f"for {name}: {clause['reason']}"
    if more["n"] is None:
        return f"for {name}: {more['reason']}"
    clusters = f" in {more['n_clusters']:,} clusters" if more.get("n_clusters") else ""
    return f"for {name}, about {more['n']:,} {clause['unit']}s{clusters} if the truth is what was seen"


def interval_meaning(estimate: Mapping[str, Any], *, unit: str, cluster: str, paired: bool) -> str:
    """Explain an interval to a reader who has to decide today.

    Parameters
    ----------
    estimate
        JSON of an estimate with ``level`` and ``method``.
    unit, cluster
        Unit of analysis and what units cluster in (``"none"``).
    paired
        Whether the same units were seen under both arms.
    """
    hits = 100 * estimate["level"]
    text = (
        f"If this measurement were repeated on new {unit}s drawn in the same way, about {hits:.4g} in 100 intervals "
        f"made by this method ({estimate['method']}) would hold the true value. It does not say that the truth lies "
        f"in this one with {hits:.4g} % probability, and it knows nothing of {unit}s of another kind."
    )
    if paired:
        text += f" The {unit}s were the same for both, so the comparison is made {unit} by {unit}."
    if cluster not in ("none", unit):
        text += (
            f" {unit[0].upper()}{unit[1:]}s of one {cluster} resemble each other, so the interval counts {cluster}s, "
            f"not {unit}s, as independent."
        )
    return text
