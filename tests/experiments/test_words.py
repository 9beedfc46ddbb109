"""Plain words follow from the numbers: each sentence is held against the estimate it speaks of, for every method."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from jurat.evidence.wording import signed_amount
from jurat.experiments import words
from jurat.experiments.run import run_analysis
from tests.experiments.case import DROP, write_case
from tests.experiments.test_judgement import BAR, rows


def found(folder: Path, table: pa.Table, **changes: Any) -> dict[str, Any]:
    document: dict[str, Any] = run_analysis(write_case(folder, {"outcomes": table}, **changes))
    return document


def document(**changes: Any) -> dict[str, Any]:
    """A result as `analysis_document` lays it out, cut down to what words read."""
    estimate = {"value": 0.02, "low": 0.01, "high": 0.03, "n": 12_345, "reason": None}
    levels = {"a": {**estimate, "value": 0.60}, "b": {**estimate, "value": 0.62}}
    claim = {
        "name": "bar / value", "role": "value", "metric": "good", "treatment": "b", "line": False, "test": "superior",
        "margin": "0", "scale": "absolute", "threshold": 0.0, "outcome": "clears", "estimate": estimate, "levels": levels,
        "p_value": 0.0004, "p_adjusted": 0.0004, "clusters_to_decide": None, "note": None,
    }  # fmt: skip
    base = {
        "answer": "pass", "standing": "confirmatory", "method": "fixed", "level": 0.95, "control": "a", "treatments": ["b"],
        "unit": "user", "cluster": "user", "design": "units", "not_measured": [], "trade_off": [], "effects": [],
        "simpson": [], "drift": [], "verdicts": [{"treatment": "b", "answer": "pass", "reasons": ["every claim clears"]}],
        "checks": [], "window": {"days": 14, "clusters": {"a": 500, "b": 500}}, "claims": [claim],
        "metrics": {"good": {"title": "Good answers", "shape": "share", "better": "higher", "kind": "proportion"}},
    }  # fmt: skip
    made = copy.deepcopy(base)
    for key, value in changes.items():
        place = made["claims"][0] if key.startswith("claim_") else made
        place[key.removeprefix("claim_")] = value
    return made


def first(**changes: Any) -> str:
    return words.plain_words(document(**changes))[0]


def test_a_superiority_that_clears_is_read_from_its_numbers() -> None:
    assert first() == (
        "Good answers moved by +2.0 points, from 60.0 % to 62.0 % before adjustment. True effects from +1.0 to +3.0 points "
        "agree with these data. If the treatment made no difference, data as favourable as these would come up in a repeat "
        "of this experiment in about 1 in 2,500 experiments (p = 0.0004, one-sided). That is too rare to believe it, so the "
        "claim clears."
    )


def test_a_non_inferiority_is_read_against_its_margin_and_not_against_no_difference() -> None:
    text = first(claim_test="noninferior", claim_threshold=-0.01, claim_margin="-1.0pp")
    assert "If the true effect were −1.0 points, data as favourable" in text
    assert "no difference" not in text
    sentence = words.claim_sentence(document(claim_test="noninferior", claim_threshold=-0.01)["claims"][0], document())
    assert "may be worse by less than 1.0 points: clears its margin." in sentence and "n = 12,345" in sentence


def test_a_relative_margin_says_of_what() -> None:
    text = first(claim_test="noninferior", claim_threshold=-0.03, claim_margin="-5%", claim_scale="relative")
    assert "If the true effect were −3.0 points (-5% of control)" in text


def test_undecided_says_that_both_sides_are_open_and_not_that_there_is_no_effect() -> None:
    text = first(
        claim_outcome="undecided", claim_p_adjusted=0.31,
        claim_estimate={"value": 0.004, "low": -0.01, "high": 0.02, "n": 100, "reason": None},
    )  # fmt: skip
    assert "about 31 in 100 experiments (p = 0.31, one-sided)" in text
    assert text.endswith("the interval leaves room on both sides of the margin: undecided.")


def test_violated_is_more_than_unproven() -> None:
    text = first(
        claim_outcome="violated", claim_p_adjusted=0.9999,
        claim_estimate={"value": -0.02, "low": -0.03, "high": -0.01, "n": 100, "reason": None},
    )  # fmt: skip
    assert "True effects from −3.0 to −1.0 points" in text and "violated, not merely unproven" in text


def test_a_barred_claim_claims_nothing() -> None:
    assert first(claim_outcome="barred").endswith("so no value may be claimed from it.")


@pytest.mark.parametrize("line", [False, True])
def test_an_undefined_estimate_gives_its_reason_and_no_reading(line: bool) -> None:
    text = first(
        claim_line=line, claim_outcome="undecided",
        claim_estimate={"value": 0.02, "low": None, "high": None, "n": 1, "reason": "one cluster cannot show how clusters vary"},
    )  # fmt: skip
    assert "because one cluster cannot show how clusters vary" in text and "p =" not in text
    assert "agree with" not in text


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        ("clears", "the line holds"),
        ("violated", "it is broken, and no gain"),
        ("undecided", "cannot say on which side"),
    ],
)
def test_a_hard_line_is_read_as_a_level(outcome: str, told: str) -> None:
    text = first(claim_line=True, claim_test="line", claim_threshold=0.05, claim_outcome=outcome)
    assert "2.0 % were seen; any true rate from 1.0 % to 3.0 %" in text and "stands at 5.0 %" in text and told in text
    assert "p =" not in text


@pytest.mark.parametrize(
    ("method", "when", "says", "not_says"),
    [
        ("fixed", "in a repeat of this experiment", "read once, at the planned size", "every look"),
        ("confidence_sequence", "at some look", "hold at every look together", "read once, at the planned size"),
        (
            "group_sequential",
            "in a repeat of this experiment",
            "shared among the planned looks",
            "hold at every look together",
        ),
    ],
)
def test_the_promise_is_that_of_the_method(method: str, when: str, says: str, not_says: str) -> None:
    told = words.plain_words(document(method=method))
    assert when in told[0]
    whole = " ".join(told)
    assert says in whole and not_says not in whole
    if method != "group_sequential":
        assert "95 %" in told[1]
    assert "not the chance that the treatment is bad" in told[-1]


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (1e-9, "fewer than 1 in a million"), (0.00034, "about 1 in 2,900"), (0.0009999, "about 1 in 1,000"),
        (0.004, "about 4 in 1,000"), (0.0094, "about 9 in 1,000"), (0.0096, "about 1 in 100"), (0.05, "about 5 in 100"),
        (0.5, "about 50 in 100"), (0.999, "about 100 in 100"),
    ],
)  # fmt: skip
def test_a_p_value_is_said_as_a_frequency(p: float, text: str) -> None:
    assert words.chance_text(p) == text


def test_every_chance_is_near_its_p() -> None:
    for p in np.geomspace(1e-6, 1.0, 400):
        match = re.fullmatch(r"about ([\d,]+) in ([\d,]+)", words.chance_text(float(p)))
        assert match is not None
        top, bottom = (float(g.replace(",", "")) for g in match.groups())
        assert top / bottom == pytest.approx(p, rel=0.5 if p < 0.02 else 0.26)


def test_the_answer_is_one_sentence_for_each_verdict() -> None:
    told = {a: words.answer_sentence(document(answer=a)) for a in ("pass", "fail", "not enough evidence", "invalid")}
    assert told["pass"].startswith("Launch") and told["fail"].startswith("Do not launch")
    assert told["not enough evidence"].startswith("Not enough") and told["invalid"].startswith("No valid answer")
    assert "Launch" not in words.answer_sentence(document(standing="exploratory"))


def test_the_recommendation_follows_from_the_answer() -> None:
    assert words.recommendation(document()).startswith("Launch: value and risk both clear the margins")
    assert "confirm it in a locked experiment" in words.recommendation(document(standing="exploratory"))
    reasons = [{"treatment": "b", "answer": "fail", "reasons": ["bar / risk is violated"]}]
    assert words.recommendation(document(answer="fail", verdicts=reasons)).startswith(
        "Do not launch. Bar / risk is violated."
    )
    undecided = document(answer="not enough evidence", claim_outcome="undecided", claim_clusters_to_decide=4_321)
    assert "1,000 clusters are in; about 4,321 would decide" in words.recommendation(undecided)
    checks = [{"name": "sample_ratio", "status": "failed", "detail": "x"}]
    invalid = words.recommendation(document(answer="invalid", checks=checks))
    assert "sample ratio failed" in invalid and "No effect below may be quoted" in invalid
    assert "+2.0" not in invalid


def price(risk_value: float, once: tuple[float, float], ends: tuple[float, float, float]) -> str:
    metrics = {
        "good": {"title": "Good answers", "shape": "share", "better": "higher", "kind": "proportion"},
        "harm": {"title": "Harm", "shape": "share", "better": "lower", "kind": "proportion"},
    }
    one = {
        "treatment": "b", "value": "good", "risk": "harm", "net": None, "exchange_rate": None,
        "price": {"value": ends[1], "low": ends[0], "high": ends[2]},
    }  # fmt: skip
    effect = {"metric": "harm", "treatment": "b", "once": {"value": risk_value, "low": once[0], "high": once[1]}}
    return words.recommendation(document(metrics=metrics, trade_off=[one], effects=[effect]))


def test_the_price_of_avoided_harm_is_told_only_where_harm_was_avoided() -> None:
    text = price(-0.02, (-0.03, -0.01), (-2.0, -1.5, -1.0))
    assert "For each point of harm avoided, good answers fell by 1.5 points [1, 2]." in text
    assert "rose by 1.5" in price(-0.02, (-0.03, -0.01), (1.0, 1.5, 2.0))
    assert "avoided" not in price(-0.02, (-0.03, 0.01), (-2.0, -1.5, -1.0))
    assert "avoided" not in price(0.02, (0.01, 0.03), (-2.0, -1.5, -1.0))


def test_what_is_not_shown_names_what_was_not_looked_at() -> None:
    checks = [{"name": "judge_anchor", "status": "not assessed", "detail": "no anchor set"}]
    told = words.not_shown(document(not_measured=["joy"], cluster="none", checks=checks))
    assert told[0] == "joy"
    for part in ("after 14 days", "declares them independent", "judge anchor holds: no anchor set", "spill over"):
        assert any(part in line for line in told), part
    shadow = words.not_shown(document(design="shadow"))
    assert any("nobody saw the treatment's answers" in line for line in shadow)


@pytest.mark.parametrize("method", ["fixed", "confidence_sequence", "group_sequential"])
@pytest.mark.parametrize(("value", "harm"), [(0.6, -0.15), (0.0, 0.0), (-0.6, 0.3)])
def test_the_words_of_a_real_result_carry_the_numbers_of_its_json(
    tmp_path: Path, method: str, value: float, harm: float
) -> None:
    result = found(
        tmp_path, rows(value, harm), bar=[BAR], inference__method=method, inference__planned_clusters=600,
        assignment__srm_alpha=0.0001,
    )  # fmt: skip
    for claim, sentence in zip(result["claims"], result["plain"], strict=False):
        shape = result["metrics"][claim["metric"]]["shape"]
        for key in ("value", "low", "high"):
            assert signed_amount(claim["estimate"][key], shape) in sentence
        assert words.chance_text(claim["p_adjusted"]) in sentence
        ends = {"clears": "so the claim clears.", "violated": "not merely unproven.", "undecided": "undecided."}
        assert sentence.endswith(ends[claim["outcome"]])
        greater = result["metrics"][claim["metric"]]["better"] == "higher"
        facing = claim["against"]["low"] if greater else claim["against"]["high"]
        assert (claim["outcome"] == "clears") == (facing > 0 if greater else facing < 0)
        if method != "group_sequential":
            assert (claim["p_adjusted"] < 0.025) == (claim["outcome"] == "clears")


def test_a_metric_without_spread_is_put_in_words(tmp_path: Path) -> None:
    table = rows(0.0, 0.0)
    result = found(tmp_path, table.set_column(2, "y", pa.array(np.full(600, 3.0))), bar=[BAR], checks=DROP)
    assert result["plain"][0].startswith("y: no interval can be given, because")
    assert "undefined" not in result["plain"][0] and "None" not in " ".join(result["plain"])
