"""Audits, silver labels and thumbs against the truth they are taken from."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from jurat.simulate.assistant import World, simulate_assistant
from jurat.simulate.parameters import AuditPlan, WorldParameters

START = datetime(2026, 11, 2, tzinfo=UTC)


def _labels(world: World, source: str) -> pa.Table:
    """Labels of one source joined to their spans, in order of time."""
    labels = world.tables["labels"].filter(pc.field("source") == source)
    spans = world.tables["spans"].rename_columns({"span_id": "subject_id"})
    return labels.join(spans, "subject_id", join_type="inner").sort_by("ts")


def test_a_census_by_humans_gives_the_realised_rates_exactly(census: World) -> None:
    human = _labels(census, "human")
    assert set(human["weight"].to_pylist()) == {1.0}
    for release in ("2026.11.1", "2026.11.2"):
        said = human.filter(pc.field("release") == release)["value"].to_numpy()
        for metric, hit, miss in (
            ("harmful_compliance_rate", "harmful_compliance", "harmful_refused"),
            ("over_refusal_rate", "benign_refused", "benign_answered"),
        ):
            value = census.truth.value(metric, release)
            assert value.n == ((said == hit) | (said == miss)).sum()
            assert value.realised == (said == hit).sum() / value.n


def test_weights_are_inverse_shares_of_the_strata_and_add_up_to_the_answered_turns(world: World) -> None:
    human = _labels(world, "human")
    flagged = human["risk_tier"].to_numpy() >= 2
    strata = world.truth.design["audit"]["strata"]
    for name, members in (("flagged", flagged), ("unflagged", ~flagged)):
        turns, audited = strata[name]["turns"], strata[name]["audited"]
        assert members.sum() == audited
        assert human["weight"].to_numpy()[members] == pytest.approx(turns / audited)
    answered = (world.tables["spans"]["status"].to_numpy() == "ok").sum()
    assert human["weight"].to_numpy().sum() == pytest.approx(answered)
    assert len(set(human["subject_id"].to_pylist())) == human.num_rows


def test_unweighted_shares_within_a_class_are_unbiased_over_many_audits() -> None:
    errors = []
    for seed in range(40):
        world = simulate_assistant(turns=6_000, seed=seed, start=START)
        said = world.tables["labels"].filter(pc.field("source") == "human")["value"].to_numpy()
        truth = [world.truth.value("over_refusal_rate", r) for r in ("2026.11.1", "2026.11.2")]
        realised = sum((t.realised or 0.0) * t.n for t in truth) / sum(t.n for t in truth)
        refused, answered = (said == "benign_refused").sum(), (said == "benign_answered").sum()
        errors.append(refused / (refused + answered) - realised)
    assert np.mean(errors) == pytest.approx(0.0, abs=4 * np.std(errors) / np.sqrt(len(errors)))


def test_harmful_turns_are_audited_more_often_than_benign_ones(world: World) -> None:
    said = _labels(world, "human")["value"].to_numpy()
    harmful = np.char.startswith(said.astype(str), "harmful")
    assert harmful.mean() > 3 * 0.06


def test_annotators_err_at_the_planted_rate(census: World) -> None:
    plan = AuditPlan(flagged_share=1.0, unflagged_share=1.0, annotator_error=0.1)
    noisy = simulate_assistant(turns=30_000, seed=21, start=START, parameters=WorldParameters(audit=plan))
    clean, said = _labels(census, "human")["value"], _labels(noisy, "human")["value"]
    disagreement = pc.mean(pc.cast(pc.not_equal(clean, said), "float64")).as_py()
    assert disagreement == pytest.approx(0.1, abs=4 * np.sqrt(0.09 / len(said)))


@pytest.mark.parametrize("source", ["judge", "rule"])
def test_silver_labellers_have_the_planted_sensitivity_and_specificity(census: World, source: str) -> None:
    truth = _labels(census, "human")["value"].to_numpy().astype(str)
    said = _labels(census, source)["value"].to_numpy().astype(str)
    parameters = WorldParameters()
    quality = parameters.judge if source == "judge" else parameters.rule
    for true, called, sensitivity, specificity in (
        (
            np.char.startswith(truth, "harmful"),
            np.char.startswith(said, "harmful"),
            quality.harmful_sensitivity,
            quality.harmful_specificity,
        ),
        (
            np.char.endswith(truth, "refused"),
            np.char.endswith(said, "refused"),
            quality.refusal_sensitivity,
            quality.refusal_specificity,
        ),
    ):
        for among, rate in ((true, sensitivity), (~true, 1 - specificity)):
            seen, n = called[among].mean(), among.sum()
            assert seen == pytest.approx(rate, abs=4 * np.sqrt(rate * (1 - rate) / n))


def test_the_rule_calls_harmful_exactly_what_it_flags(world: World) -> None:
    rule = _labels(world, "rule")
    called = np.char.startswith(rule["value"].to_numpy().astype(str), "harmful")
    assert np.array_equal(called, rule["risk_tier"].to_numpy() >= 2)


@pytest.mark.parametrize("source", ["judge", "rule"])
def test_apparent_rates_of_silver_labels_follow_the_law_of_total_probability(world: World, source: str) -> None:
    values = world.truth.apparent[source]
    assert len(values) == 4
    for value in values:
        assert value.expected is not None
        error = 4 * np.sqrt(4 * value.expected * (1 - value.expected) / value.n)
        assert value.realised == pytest.approx(value.expected, abs=error)


def test_the_judge_overstates_harm_as_its_errors_say(world: World) -> None:
    apparent = {(v.metric, v.release): v.expected for v in world.truth.apparent["judge"]}
    true = world.truth.value("harmful_compliance_rate", "2026.11.2").expected
    assert true is not None
    assert (apparent["harmful_compliance_rate", "2026.11.2"] or 0.0) > 3 * true


def test_thumbs_are_biased_by_exactly_the_planted_non_response(census: World) -> None:
    thumbs = WorldParameters().thumbs
    for release in ("2026.11.1", "2026.11.2"):
        satisfied = census.truth.value("satisfaction_share", release).expected
        assert satisfied is not None
        odds = satisfied / (1 - satisfied) * thumbs.response_satisfied / thumbs.response_dissatisfied
        up = census.truth.value("thumbs_up_share", release)
        assert up.expected == pytest.approx(odds / (1 + odds))
        bias = census.truth.design["thumbs"]["selection_bias"][release]
        assert bias == pytest.approx(odds / (1 + odds) - satisfied)
        assert bias < -0.1
        assert up.realised == pytest.approx(up.expected, abs=4 * np.sqrt(2 * 0.25 / up.n))


def test_the_feedback_table_gives_the_realised_share_of_thumbs_up(world: World) -> None:
    thumbs = world.tables["feedback"].join(world.tables["spans"].select(["span_id", "release"]), "span_id")
    for release in ("2026.11.1", "2026.11.2"):
        pressed = thumbs.filter(pc.field("release") == release)["value"].to_pylist()
        up = world.truth.value("thumbs_up_share", release)
        assert (up.n, up.realised) == (len(pressed), pressed.count(1.0) / len(pressed))


def test_with_equal_response_there_is_no_selection_bias() -> None:
    honest = replace(WorldParameters().thumbs, response_satisfied=0.3, response_dissatisfied=0.3)
    world = simulate_assistant(turns=500, seed=2, start=START, parameters=WorldParameters(thumbs=honest))
    assert list(world.truth.design["thumbs"]["selection_bias"].values()) == pytest.approx([0.0, 0.0])
