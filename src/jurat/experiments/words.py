"""An experiment in plain words: for a reader who wants to launch today, made from the numbers and true for the method.

Every sentence is built from the result's JSON, so none can disagree with the number beside it. A p-value is read as what it
is, how often data like these would come up if the margin were the truth, and what it is not is said once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jurat.evidence.wording import amount, interval_text, signed_amount, three_digits

__all__ = ["answer_sentence", "claim_sentence", "not_shown", "plain_words", "rank_sentence", "recommendation"]

_HEADLINES = {
    "pass": "Launch: every claim clears",
    "fail": "Do not launch: a claim is violated",
    "not enough evidence": "Not enough evidence to decide",
    "invalid": "No valid answer: the data are not the experiment that was planned",
}
_VERBS = {
    "clears": "clears its margin",
    "violated": "is violated",
    "undecided": "is undecided",
    "barred": "cannot be shown by this design",
}


def answer_sentence(document: Mapping[str, Any]) -> str:
    """Headline of the report."""
    if document["answer"] == "pass" and document["standing"] == "exploratory":
        return "Every claim clears, in an analysis that nobody bound beforehand"
    return _HEADLINES[document["answer"]]


def _metric(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = document["metrics"][name]
    return found


def difference_text(estimate: Mapping[str, Any], shape: str) -> str:
    """A difference with its interval, in the metric's unit.

    Examples
    --------
    >>> difference_text({"value": 0.02, "low": 0.01, "high": 0.03}, "share")
    '+2.0 points [+1.0, +3.0]'
    """
    unit = " points" if shape == "share" else ""
    return f"{signed_amount(estimate['value'], shape)}{unit} {interval_text(estimate, shape, difference=True)}"


def rank_sentence(comparison: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """Probability of superiority and shift of a skewed metric."""
    metric, chance = document["metrics"][comparison["metric"]], comparison["superiority"]
    unit = f" {metric['unit']}" if metric["unit"] else ""
    return (
        f"{metric['title']}: a row of {comparison['treatment']} is above one of {document['control']} with probability "
        f"{level_text(chance, 'share')}, where 50 % is no tendency; the typical difference of two such rows (Hodges–Lehmann) is "
        f"{difference_text(comparison['shift'], 'number')}{unit}, n = {chance['n']:,}."
    )


def level_text(estimate: Mapping[str, Any], shape: str) -> str:
    """A level with its interval."""
    return f"{amount(estimate['value'], shape)} {interval_text(estimate, shape, difference=False)}"


def margin_text(claim: Mapping[str, Any], metric: Mapping[str, Any]) -> str:
    """A margin or line in the metric's unit."""
    if claim["line"]:
        return amount(claim["threshold"], metric["shape"])
    if claim["threshold"] == 0:
        return "no difference"
    unit = " points" if metric["shape"] == "share" else ""
    relative = f" ({claim['margin']} of control)" if claim["scale"] == "relative" else ""
    return f"{signed_amount(claim['threshold'], metric['shape'])}{unit}{relative}"


def claim_sentence(claim: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """What became of one claim, with its numbers."""
    metric = _metric(document, claim["metric"])
    e = claim["estimate"]
    what = level_text(e, metric["shape"]) if claim["line"] else difference_text(e, metric["shape"])
    demanded = {
        "superior": f"must differ for the better from {margin_text(claim, metric)}",
        "noninferior": f"may be worse by less than {margin_text(claim, metric).lstrip('+−')}",
        "line": f"must stay below {margin_text(claim, metric)}",
    }[claim["test"]]
    more = ""
    if claim["clusters_to_decide"] is not None:
        more = f" About {claim['clusters_to_decide']:,} clusters would decide, if the truth is what was seen."
    return f"{metric['title']}: {what}, n = {e['n']:,}; {demanded}: {_VERBS[claim['outcome']]}.{more}"


def chance_text(p: float) -> str:
    """Say how rare a p-value is.

    Examples
    --------
    >>> chance_text(0.03), chance_text(1e-10), chance_text(0.6)
    ('about 3 in 100', 'fewer than 1 in a million', 'about 60 in 100')
    """
    if p < 1e-6:
        return "fewer than 1 in a million"
    if p < 0.001:
        return f"about 1 in {_round(1 / p):,}"
    if p < 0.0095:
        return f"about {1000 * p:.0f} in 1,000"
    return f"about {100 * p:.0f} in 100"


def _round(x: float) -> int:
    """Two leading digits."""
    digits = len(str(int(x))) - 2
    return int(round(x, -digits)) if digits > 0 else round(x)


def plain_words(document: Mapping[str, Any]) -> list[str]:
    """Explain each claim's interval and p-value to a reader who wants to launch today.

    Parameters
    ----------
    document
        The result's JSON.

    Returns
    -------
    list of str
        A paragraph per claim, and at the end what the numbers do not mean.
    """
    found = [_explained(claim, document) for claim in document["claims"]]
    level = f"{100 * document['level']:.4g} %"
    if document["method"] == "confidence_sequence":
        found.append(
            f"These intervals hold at every look together: whoever looks daily and stops when it suits still catches the truth "
            f"in {level} of experiments. That is why they are wider than an interval read once."
        )
    elif document["method"] == "group_sequential":
        found.append(
            "The error is shared among the planned looks, so an early look must show more. Looking more often than planned "
            "breaks the promise."
        )
    else:
        found.append(
            f"These intervals catch the truth in {level} of experiments that are read once, at the planned size. Read daily, "
            "they would raise several times as many false alarms."
        )
    found.append(
        "A p-value here is not the chance that the treatment is bad, and an interval that includes no difference does not show "
        "that there is none: it shows what this experiment cannot tell apart."
    )
    return found


def _explained(claim: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    metric, e = _metric(document, claim["metric"]), claim["estimate"]
    title, shape, control = metric["title"], metric["shape"], document["control"]
    if e["low"] is None or e["high"] is None:
        return f"{title}: no interval can be given, because {e['reason']}. Nothing may be concluded from the estimate alone."
    if claim["line"]:
        return (
            f"{title} on {claim['treatment']}: {amount(e['value'], shape)} were seen; any true rate from "
            f"{amount(e['low'], shape)} to {amount(e['high'], shape)} agrees with the data. The line stands at "
            f"{amount(claim['threshold'], shape)}. {_line_reading(claim)}"
        )
    levels = claim["levels"]
    unit = " points" if shape == "share" else ""
    change = signed_amount(e["value"], shape)
    seen = (
        f"{title} moved by {change}{unit}, from {amount(levels[control]['value'], shape)} to "
        f"{amount(levels[claim['treatment']]['value'], shape)} before adjustment. True effects from "
        f"{signed_amount(e['low'], shape)} to {signed_amount(e['high'], shape)}{unit} agree with these data."
    )
    return f"{seen} {_p_reading(claim, metric, document)}"


def _line_reading(claim: Mapping[str, Any]) -> str:
    return {
        "clears": "All of that lies below the line, so the line holds.",
        "violated": "All of that lies above the line: it is broken, and no gain elsewhere can buy it.",
        "undecided": "The line lies inside that range: these data cannot say on which side of it the truth is.",
        "barred": "",
    }[claim["outcome"]]


def _p_reading(claim: Mapping[str, Any], metric: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """Read the one-sided p-value of the side that the claim wants."""
    p = claim["p_adjusted"]
    truth = (
        "the treatment made no difference"
        if claim["threshold"] == 0
        else f"the true effect were {margin_text(claim, metric)}"
    )
    favourable = "as favourable as these"
    often = "at some look" if document["method"] == "confidence_sequence" else "in a repeat of this experiment"
    reading = (
        f"If {truth}, data {favourable} would come up {often} in {chance_text(p)} experiments ({_p(p)}, one-sided)."
    )
    conclusion = {
        "clears": " That is too rare to believe it, so the claim clears.",
        "violated": " The whole interval lies on the wrong side of the margin: the claim is violated, not merely unproven.",
        "undecided": " That is no ground to rule it out, and the interval leaves room on both sides of the margin: undecided.",
        "barred": " The design shows no user's outcome, so no value may be claimed from it.",
    }[claim["outcome"]]
    return reading + conclusion


def _p(p: float) -> str:
    return "p < 0.000001" if p < 1e-6 else f"p = {p:.2g}"


def recommendation(document: Mapping[str, Any]) -> str:
    """One paragraph that follows from the numbers: what to do, why, and what it would cost.

    Parameters
    ----------
    document
        The result's JSON.
    """
    answer = document["answer"]
    if answer == "invalid":
        failed = [c for c in document["checks"] if c["status"] == "failed"]
        names = ", ".join(c["name"].replace("_", " ") for c in failed)
        return (
            f"Do not decide from these data: {names} failed. No effect below may be quoted. Mend the cause, then run the "
            "experiment again; a repaired analysis of a broken experiment answers another question."
        )
    claims = document["claims"]
    parts = [_lead(document)]
    for claim in claims:
        if claim["role"] in ("value", "risk") and not claim["line"]:
            metric = _metric(document, claim["metric"])
            parts.append(f"{metric['title']}: {difference_text(claim['estimate'], metric['shape'])}.")
    parts += _price(document)
    undecided = [c for c in claims if c["outcome"] == "undecided" and c["clusters_to_decide"] is not None]
    if answer == "not enough evidence" and undecided:
        most = max(c["clusters_to_decide"] for c in undecided)
        have = sum(document["window"]["clusters"].values())
        parts.append(f"{have:,} clusters are in; about {most:,} would decide what is still open.")
    alarms = [s for s in document["simpson"] if s["alarm"] is not None]
    for scan in alarms:
        metric = _metric(document, scan["metric"])
        parts.append(
            f"Within {scan['stratifier']} the effect on {metric['title'].lower()} is "
            f"{difference_text(scan['standardised'], metric['shape'])}, not {difference_text(scan['crude'], metric['shape'])}: "
            f"{scan['alarm']}."
        )
    fading = [d for d in document["drift"] if d["verdict"] == "fading"]
    for one in fading:
        metric = _metric(document, one["metric"])
        slope = difference_text(one["slope"], metric["shape"])
        parts.append(
            f"The effect on {metric['title'].lower()} fades over the window (slope {slope}): expect less than the average."
        )
    return " ".join(parts)


def _lead(document: Mapping[str, Any]) -> str:
    reasons = [r for v in document["verdicts"] for r in v["reasons"]]
    lead = {
        "pass": "Launch: value and risk both clear the margins that were set beforehand.",
        "fail": "Do not launch.",
        "not enough evidence": "Do not launch yet.",
    }[document["answer"]]
    if document["answer"] == "pass":
        if document["standing"] == "exploratory":
            return "Value and risk both clear their margins; confirm it in a locked experiment before launching on it."
        return lead
    return f"{lead} {_sentence('; '.join(reasons[:3]))}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def _price(document: Mapping[str, Any]) -> list[str]:
    """What a unit of avoided risk cost or brought in value."""
    found = []
    for one in document["trade_off"]:
        value, risk = _metric(document, one["value"]), _metric(document, one["risk"])
        price, net = one["price"], one["net"]
        if price["low"] is not None and price["high"] is not None and _moved_down(document, one):
            gained = "rose" if (price["value"] >= 0) == (value["better"] == "higher") else "fell"
            ends = (price["low"], price["high"])
            low, high = sorted(abs(x) for x in ends) if ends[0] * ends[1] > 0 else ends
            found.append(
                f"For each {_one(risk)} of {risk['title'].lower()} avoided, {value['title'].lower()} {gained} by "
                f"{three_digits(abs(price['value']))} {_one(value)}s [{three_digits(low)}, {three_digits(high)}]."
            )
        if net is not None and net["low"] is not None and net["high"] is not None:
            worth = (
                "is worth it"
                if net["low"] > 0
                else "is not worth it"
                if net["high"] < 0
                else "may or may not be worth it"
            )
            found.append(
                f"At the rate set beforehand, one unit of risk for {one['exchange_rate']:g} of value, the change {worth}: net "
                f"{difference_text(net, value['shape'])}."
            )
    return found


def _one(metric: Mapping[str, Any]) -> str:
    return "point" if metric["shape"] == "share" else "unit"


def _moved_down(document: Mapping[str, Any], one: Mapping[str, Any]) -> bool:
    """Whether the risk was shown to fall, so that "per avoided harm" has a meaning."""
    for effect in document["effects"]:
        if effect["metric"] == one["risk"] and effect["treatment"] == one["treatment"]:
            once = effect["once"]
            better = _metric(document, one["risk"])["better"]
            return bool(once["low"] is not None and (once["high"] < 0 if better == "lower" else once["low"] > 0))
    return False


def not_shown(document: Mapping[str, Any]) -> list[str]:
    """What a reader must not take from this experiment."""
    window = document["window"]
    found = list(document["not_measured"])
    if window["days"] is not None:
        found.append(f"what happens after {window['days']} days: nothing later was seen")
    if document["cluster"] == "none":
        found.append("dependence between rows: the spec declares them independent, which nothing here tests")
    found += [
        f"whether {c['name'].replace('_', ' ')} holds: {c['detail']}"
        for c in document["checks"]
        if c["status"] == "not assessed"
    ]
    if document["design"] == "units":
        found.append(f"effects that spill over between units: {document['unit']} are taken to act alone")
    if document["design"] == "shadow":
        found.append("any user's reaction: in a shadow run nobody saw the treatment's answers")
    undrawn = [m["title"].lower() for m in document["metrics"].values() if m["kind"] == "quantile"]
    if undrawn:
        found.append(f"{', '.join(undrawn)} within strata or over days: quantiles are compared as a whole")
    return found
