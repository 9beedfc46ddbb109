"""Plain words for a verdict, made from its numbers.

Everything a dossier says in sentences comes from here, so that no sentence can disagree with the number beside it.
The functions take the JSON form of a verdict (`jurat.launch.document`), which is what a reader has in hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jurat.evidence.wording import amount, interval_text, signed_amount, three_digits

__all__ = [
    "amount",
    "answer_sentence",
    "clause_sentence",
    "in_plain_words",
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


def _size(value: float, clause: Mapping[str, Any]) -> str:
    """Absolute size of a difference in words: points for shares, the metric's own unit for others."""
    if clause["shape"] == "share":
        points = abs(100 * value)
        return f"{points:.{1 if points >= 0.1 or points == 0 else 2}f} points"
    return f"{three_digits(abs(value))} {clause['scale']}".strip()


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
        if "below the bar's minimum" in clause["reason"]:
            return f"there are too few data on {title}"
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
    scale = "" if shape == "share" else clause["scale"]
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
        else f"{change} {_size(found['value'], clause)} {interval_text(found, shape, difference=True)}"
    )
    return (
        f"{same}, {clause['title'].lower()} was {amount(new['value'], shape, scale=scale)} for {arms['candidate']} against "
        f"{amount(old['value'], shape, scale=scale)} for {arms['baseline']}: {moved}. {_demand(clause)}"
    )


def _demand(clause: Mapping[str, Any]) -> str:
    margin = clause["requirement"]["margin"]
    size = _size(margin, clause)
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
        closest = min((c for _, c in iterate_clauses(document)), key=_room)
        return (
            "Every demand must hold for a pass, and every one does. The closest call was "
            f"{closest['title'][0].lower()}{closest['title'][1:]}: the bar lies {_room(closest):.1f} half-widths of the "
            "interval away from the estimate. What was not measured is listed below."
        )
    if document["verdict"] == "fail":
        worst = next(c for c in blocking if c["outcome"] == "violated")
        return f"What would change the answer: {_shortfall(worst)}. More data would not."
    parts = [_more_text(c) for c in blocking if c["outcome"] != "violated"]
    return "What would decide: " + "; ".join(dict.fromkeys(parts)) + "."


def _room(clause: Mapping[str, Any]) -> float:
    """Distance of the bar from the estimate, in half-widths of the interval on that side; above 1 it clears."""
    found = clause["estimate"] if "arm" in clause else clause["comparison"]
    if found is None or found["value"] is None or found["low"] is None or found["high"] is None:
        return 0.0
    threshold = clause["limit"] if "arm" in clause else clause["requirement"]["margin"]
    bound = found["low"] if clause["direction"] == "greater" else found["high"]
    half = abs(found["value"] - bound)
    return abs(found["value"] - threshold) / half if half else 0.0


def _shortfall(clause: Mapping[str, Any]) -> str:
    found = clause["estimate"] if "arm" in clause else clause["comparison"]
    threshold = clause["limit"] if "arm" in clause else clause["requirement"]["margin"]
    gap = _size(found["value"] - threshold, clause)
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


def in_plain_words(clause: Mapping[str, Any], arms: Mapping[str, Any]) -> str:
    """Read one interval aloud: between what and what the data leave the true value."""
    shape = clause["shape"]
    if "arm" in clause:
        level = clause["estimate"]
        low, high = amount(level["low"], shape), amount(level["high"], shape)
        return f"{clause['title']} of {clause['arm']}: the data are compatible with anything from {low} to {high}."
    found = clause["comparison"]
    low, high = found["low"], found["high"]
    title = clause["title"][0].lower() + clause["title"][1:]
    if low > 0 or high < 0:
        sizes = sorted((abs(low), abs(high)))
        way = "raises" if low > 0 else "lowers"
        return (
            f"{arms['candidate']} {way} {title} by something between {_size(sizes[0], clause)} and "
            f"{_size(sizes[1], clause)}."
        )
    return (
        f"{arms['candidate']} may lower {title} by up to {_size(low, clause)} or raise it by up to {_size(high, clause)}: "
        f"these data do not tell which."
    )


def interval_meaning(level: float, clauses: Sequence[Mapping[str, Any]]) -> str:
    """Explain what intervals at a level say, and what not, to a reader who has to decide today.

    Parameters
    ----------
    level
        Two-sided coverage.
    clauses
        The clauses whose intervals are meant; their units and clusters are named.
    """
    numbers = [c["estimate"] if "arm" in c else c["comparison"] for c in clauses]
    pairs = [(c, n) for c, n in zip(clauses, numbers, strict=True) if n is not None]
    units = " and ".join(dict.fromkeys(f"{c['unit']}s" for c, _ in pairs))
    hits = 100 * level
    text = (
        f"If these measurements were repeated on new {units} drawn in the same way, about {hits:.4g} in 100 intervals made "
        f"by the methods named below would hold the true value. An interval does not say that the truth lies in it with "
        f"{hits:.4g} % probability, and it knows nothing of {units} of another kind."
    )
    same = list(dict.fromkeys(c["unit"] for c, n in pairs if n.get("paired")))
    if same:
        text += f" The {same[0]}s were the same for both arms, so they are compared {same[0]} by {same[0]}."
    for cluster in dict.fromkeys(n["cluster"] for c, n in pairs if n["cluster"] not in ("none", c["unit"])):
        text += f" What one {cluster} does is alike, so {cluster}s count as independent, not what each of them did."
    return text
