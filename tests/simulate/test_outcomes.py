"""Realised rates, correlations and lengths against what was planted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from scipy import stats

from jurat.simulate.assistant import World, simulate_assistant
from jurat.simulate.parameters import IntraclassCorrelations, ReleaseEffects, TrafficModel, WorldParameters

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Column = npt.NDArray[np.generic]

START = datetime(2026, 11, 2, tzinfo=UTC)
# Every prompt is clear, half are harmful and nothing fails: the planted rates can be read off `spans`.
CLEAR = WorldParameters(
    baseline=ReleaseEffects(name="old", over_refusal=0.20, harmful_compliance=0.15),
    candidate=ReleaseEffects(name="new", over_refusal=0.20, harmful_compliance=0.15),
    traffic=TrafficModel(error_rate=0.0, incident_error_rate=0.0, turns_per_user=20.0),
    behaviour=replace(WorldParameters().behaviour, harmful_share=0.5, borderline_share=0.0),
    correlations=IntraclassCorrelations(
        harmful_intent=0.20, over_refusal=0.15, harmful_compliance=0.10, satisfaction=0.25
    ),
)


def _sums(values: Floats, users: Integers) -> tuple[Floats, Floats]:
    """Turns and sum of the values of each user."""
    n = np.bincount(users)
    keep = n > 0
    return n[keep].astype(np.float64), np.bincount(users, weights=values)[keep].astype(np.float64)


def _anova_icc(values: Floats, users: Integers) -> float:
    """Analysis-of-variance estimator for unequal clusters (Donner, 1986)."""
    n, total = _sums(values, users)
    clusters, units = len(n), n.sum()
    between = (n * (total / n - values.mean()) ** 2).sum() / (clusters - 1)
    within = ((values**2).sum() - (total**2 / n).sum()) / (units - clusters)
    n0 = (units - (n**2).sum() / units) / (clusters - 1)
    return float((between - within) / (between + (n0 - 1) * within))


def _clustered_se(values: Floats, users: Integers) -> float:
    n, total = _sums(values, users)
    return float(np.sqrt(((total - n * values.mean()) ** 2).sum()) / n.sum())


def _columns(table: pa.Table) -> dict[str, Column]:
    columns = {name: table[name].to_numpy() for name in ("release", "intent", "refused", "status", "tokens_out")}
    columns["user"] = np.unique(table["user_id"].to_numpy(), return_inverse=True)[1]
    return columns


@pytest.fixture(scope="module")
def clear() -> dict[str, Column]:
    world = simulate_assistant(turns=120_000, seed=11, start=START, parameters=CLEAR)
    return _columns(world.tables["spans"])


@pytest.mark.parametrize(
    ("intent", "planted", "correlation"),
    [("benign", 0.20, 0.15), ("harmful", 0.85, 0.10)],
)
def test_refusals_have_the_planted_rate_and_intraclass_correlation(
    clear: dict[str, Column], intent: str, planted: float, correlation: float
) -> None:
    among = clear["intent"] == intent
    refused, users = clear["refused"][among].astype(float), clear["user"][among].astype(np.int64)
    assert refused.mean() == pytest.approx(planted, abs=4 * _clustered_se(refused, users))
    assert _anova_icc(refused, users) == pytest.approx(correlation, abs=0.03)


def test_harmful_intents_have_the_planted_share_and_intraclass_correlation(
    clear: dict[str, Column],
) -> None:
    harmful, users = (clear["intent"] == "harmful").astype(float), clear["user"].astype(np.int64)
    assert harmful.mean() == pytest.approx(0.5, abs=4 * _clustered_se(harmful, users))
    assert _anova_icc(harmful, users) == pytest.approx(0.20, abs=0.03)


def test_without_correlation_turns_of_a_user_are_independent() -> None:
    flat = IntraclassCorrelations(harmful_intent=0.0, over_refusal=0.0, harmful_compliance=0.0, satisfaction=0.0)
    world = simulate_assistant(turns=40_000, seed=12, start=START, parameters=replace(CLEAR, correlations=flat))
    spans = _columns(world.tables["spans"])
    assert _anova_icc(spans["refused"].astype(float), spans["user"].astype(np.int64)) == pytest.approx(0.0, abs=0.01)


def _tolerance(world: World, metric: str, release: str) -> float:
    """Four standard errors under a design effect of 4, which the planted correlations stay below."""
    value = world.truth.value(metric, release)
    assert value.expected is not None
    return 4 * float(np.sqrt(4 * value.expected * (1 - value.expected) / value.n))


@pytest.mark.parametrize("release", ["2026.11.1", "2026.11.2"])
@pytest.mark.parametrize(
    "metric",
    [
        "refusal_rate",
        "over_refusal_rate",
        "harmful_compliance_rate",
        "harmful_intent_share",
        "satisfaction_share",
        "thumbs_up_share",
        "error_rate",
    ],
)
def test_realised_shares_lie_near_their_closed_forms(world: World, metric: str, release: str) -> None:
    value = world.truth.value(metric, release)
    assert value.realised == pytest.approx(value.expected, abs=_tolerance(world, metric, release))


def test_mean_tokens_lies_near_its_closed_form(world: World) -> None:
    tokens = world.tables["spans"]["tokens_out"].to_numpy()
    for release in ("2026.11.1", "2026.11.2"):
        value = world.truth.value("mean_tokens", release)
        assert value.realised == pytest.approx(value.expected, abs=8 * tokens.std() / np.sqrt(value.n))


def test_the_candidate_halves_the_expected_over_refusal(world: World) -> None:
    old, new = (world.truth.value("over_refusal_rate", release).expected for release in ("2026.11.1", "2026.11.2"))
    assert old is not None
    assert new == pytest.approx(old / 2)


def test_a_planted_latency_regression_multiplies_latencies_and_nothing_else() -> None:
    def spans(factor: float) -> pa.Table:
        candidate = replace(WorldParameters().candidate, latency_factor=factor)
        parameters = replace(WorldParameters(), candidate=candidate)
        return simulate_assistant(turns=3_000, seed=13, start=START, parameters=parameters).tables["spans"]

    slow, fast = spans(1.3), spans(1.0)
    served = (fast["release"].to_numpy() == "2026.11.2") & (fast["status"].to_numpy() == "ok")
    ratio = slow["latency_ms"].to_numpy() / fast["latency_ms"].to_numpy()
    assert ratio[served] == pytest.approx(1.3, rel=1e-4)
    assert ratio[~served] == pytest.approx(1.0, rel=1e-12)
    others = [name for name in fast.column_names if name not in ("latency_ms", "ttft_ms")]
    assert slow.select(others).equals(fast.select(others))


def test_a_change_of_one_planted_rate_leaves_the_other_parts_where_they_were() -> None:
    harsh = replace(WorldParameters().candidate, harmful_compliance=0.5)
    plain = simulate_assistant(turns=3_000, seed=14, start=START).tables
    changed = simulate_assistant(
        turns=3_000, seed=14, start=START, parameters=replace(WorldParameters(), candidate=harsh)
    ).tables
    kept = ["span_id", "user_id", "ts", "endpoint", "release", "intent", "risk_tier", "tokens_in", "status"]
    assert plain["spans"].select(kept).equals(changed["spans"].select(kept))
    assert plain["exposures"].equals(changed["exposures"])
    assert not plain["spans"]["refused"].equals(changed["spans"]["refused"])


def test_errors_answer_nothing_and_come_in_bursts(world: World) -> None:
    spans = world.tables["spans"].to_pydict()
    rows = list(zip(*(spans[n] for n in ("status", "tokens_out", "ttft_ms", "error_type", "refused")), strict=True))
    for status, tokens, first_token, kind, refused in rows:
        failed = status == "error"
        assert failed == (tokens == 0) == (first_token is None) == (kind is not None)
        assert not (failed and refused)
    incidents = world.truth.design["incidents"]
    inside = [any(i["start_us"] <= t < i["end_us"] for i in incidents) for t in spans["ts_us"]]
    failed = np.array(spans["status"]) == "error"
    assert failed[inside].mean() > 10 * failed[~np.array(inside)].mean()


def test_the_first_token_never_comes_after_the_last_and_costs_follow_the_prices(world: World) -> None:
    spans = world.tables["spans"].filter(pa.compute.field("status") == "ok")
    assert (spans["ttft_ms"].to_numpy() <= spans["latency_ms"].to_numpy()).all()
    base = spans.filter(pa.compute.field("model") == "assistant-base")
    expected = (0.6 * base["tokens_in"].to_numpy() + 2.4 * base["tokens_out"].to_numpy()) / 1e6
    assert base["cost_usd"].to_numpy() == pytest.approx(expected)


def _arm_difference(spans: pa.Table, measure: Callable[[pa.Table], Floats]) -> tuple[float, float]:
    """Candidate minus baseline, and its standard error over users."""
    values, release = measure(spans), spans["release"].to_numpy()
    users = np.unique(spans["user_id"].to_numpy(), return_inverse=True)[1]
    arms = [release == "2026.11.2", release == "2026.11.1"]
    means = [values[arm].mean() for arm in arms]
    errors = [_clustered_se(values[arm], users[arm]) for arm in arms]
    return float(means[0] - means[1]), math.hypot(*errors)


def test_two_hundred_worlds_without_a_difference_reject_at_the_nominal_rate() -> None:
    baseline = WorldParameters().baseline
    null = replace(WorldParameters(), candidate=replace(baseline, name="2026.11.2"))
    rejected = []
    for seed in range(200):
        spans = simulate_assistant(turns=1_500, seed=seed, start=START, parameters=null).tables["spans"]
        difference, error = _arm_difference(spans, lambda table: table["refused"].to_numpy().astype(float))
        rejected.append(abs(difference) > 1.96 * error)
    assert stats.binomtest(sum(rejected), 200, 0.05).pvalue > 1e-3
