"""The planner against published sizes and simulation: what it promises is what the experiment then does."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats as sps

from jurat.errors import SpecError
from jurat.evidence.keys import load_or_create_key
from jurat.experiments.plan import Plan, plan_experiment, power_at
from jurat.experiments.plan_page import render_plan
from jurat.experiments.registration import lock_path, lock_spec
from jurat.experiments.spec import Experiment, load_spec
from jurat.stats.power import two_proportions_size
from jurat.stats.sequential import confidence_sequence
from tests.experiments.case import DROP, spec_of, write_spec

RATE = {"kind": "proportion", "value": "good", "better": "higher", "role": "value", "baseline": 0.52, "icc": 0.0}
HARM = {"kind": "proportion", "value": "bad", "better": "lower", "role": "risk", "baseline": 0.02, "icc": 0.0}
BAR = {
    "name": "bar",
    "value": {"metric": "good", "test": "superior", "mde": "+1.0pp"},
    "risk": {"metric": "bad", "test": "noninferior", "margin": "+0.5pp", "rationale": "because"},
}


def spec(folder: Path, **changes: Any) -> Experiment:
    """Two claims and power .6, so that each is planned for the textbook's .8 (beta is split in two)."""
    given: dict[str, Any] = {
        "metrics": {"good": RATE, "bad": HARM},
        "bar": [BAR],
        "inference": {"cluster": "user", "method": "fixed", "planned_clusters": 40_000, "power": 0.6},
    }
    return load_spec(write_spec(folder, spec_of(**{**given, **changes})))


def plan(folder: Path, **changes: Any) -> Plan:
    return plan_experiment(spec(folder, **changes))


def value_of(found: Plan) -> Any:
    return next(c for c in found.claims if c.role == "value")


def risk_of(found: Plan) -> Any:
    return next(c for c in found.claims if c.role == "risk")


def test_case_11_two_proportions_need_the_unpooled_size(tmp_path: Path) -> None:
    found = value_of(plan(tmp_path))
    assert found.target == pytest.approx(0.8)
    assert found.clusters == math.ceil(2 * 39_142.3632352)
    assert "unpooled" in found.formula


def test_case_12_rare_shares_need_the_unpooled_size_too(tmp_path: Path) -> None:
    good = {**RATE, "baseline": 0.001}
    bar = {**BAR, "value": {"metric": "good", "test": "superior", "mde": "+0.1pp"}}
    assert value_of(plan(tmp_path, metrics={"good": good, "bad": HARM}, bar=[bar])).clusters == math.ceil(
        2 * 23_507.3948
    )


def test_case_13_non_inferiority_is_planned_for_no_true_difference(tmp_path: Path) -> None:
    found = risk_of(plan(tmp_path))
    assert found.clusters == math.ceil(2 * 12_307.0434235)
    assert "non-inferiority" in found.formula


@pytest.mark.parametrize(("accuracy", "size"), [(0.90, 61_217.3374881), (0.85, 79_988.5740976)])
def test_case_14_annotators_who_err_cost_subjects(tmp_path: Path, accuracy: float, size: float) -> None:
    good = {**RATE, "annotator_accuracy": accuracy}
    found = value_of(plan(tmp_path, metrics={"good": good, "bad": HARM}))
    assert found.clusters == math.ceil(2 * size)
    assert f"labels right {100 * accuracy:.0f} %" in found.formula


@pytest.mark.parametrize(("cv", "rows"), [(0.0, 66_542.0174998), (1.0, 97_855.9080880)])
def test_case_15_clusters_and_their_uneven_sizes_inflate_the_plan(tmp_path: Path, cv: float, rows: float) -> None:
    good = {**RATE, "icc": 0.1}
    found = plan(
        tmp_path,
        metrics={"good": good, "bad": HARM},
        traffic={"rows_per_cluster": 8, "cluster_size_cv": cv, "units_per_day": 1_000},
    )
    claim = value_of(found)
    assert claim.clusters == math.ceil(2 * rows / 8)
    assert claim.rows == claim.clusters * 8
    assert claim.days == pytest.approx(claim.clusters / 1_000)
    assert dict(found.design_effects)["good"] == pytest.approx(2.5 if cv else 1.7)


def test_case_16_one_success_and_three_guardrails_split_beta_and_not_alpha(tmp_path: Path) -> None:
    metrics = {"good": RATE, "bad": HARM}
    rails = []
    for name in ("slow", "cost"):
        metrics[name] = {**HARM, "role": "guardrail"}
        rails.append({"metric": name, "test": "noninferior", "margin": "+0.5pp", "rationale": "because"})
    found = plan(tmp_path, metrics=metrics, guardrail=rails, inference__power=0.8)
    assert [c.target for c in found.claims] == [pytest.approx(0.95)] * 4
    assert value_of(found).clusters == math.ceil(2 * 64_804.6188304)


def test_case_17_the_power_of_twenty_thousand_an_arm(tmp_path: Path) -> None:
    # The case counts both tails; the plan only the one on which the claim would clear.
    z = sps.norm.isf(0.025)
    other = float(sps.norm.cdf(-z - 0.01 / math.sqrt((0.52 * 0.48 + 0.53 * 0.47) / 20_000)))
    assert value_of(plan(tmp_path)).power + other == pytest.approx(0.5170432563, rel=1e-8)


@pytest.mark.parametrize("method", ["fixed", "confidence_sequence", "group_sequential"])
def test_the_detectable_effect_is_the_inverse_of_the_size(tmp_path: Path, method: str) -> None:
    first = value_of(plan(tmp_path, inference__method=method))
    again = value_of(plan(tmp_path, inference__method=method, inference__planned_clusters=first.clusters))
    if method == "confidence_sequence":
        # The mixture is tuned to the planned size, so planning the size that is needed needs a little less.
        assert again.clusters <= first.clusters
        again = value_of(plan(tmp_path, inference__method=method, inference__planned_clusters=again.clusters))
    assert again.power == pytest.approx(0.8, abs=2e-4)
    assert again.minimum_detectable_effect == pytest.approx(0.01, rel=2e-3)


def test_more_looks_cost_more_and_a_sequence_costs_most(tmp_path: Path) -> None:
    sizes = [
        value_of(plan(tmp_path, inference__method=method, inference__spending=spending)).clusters
        for method, spending in (
            ("fixed", "obrien-fleming"), ("group_sequential", "obrien-fleming"), ("group_sequential", "pocock"),
            ("confidence_sequence", "obrien-fleming"),
        )
    ]  # fmt: skip
    assert sizes == sorted(sizes) and len(set(sizes)) == 4


def test_the_power_of_the_plan_is_the_share_of_simulated_experiments_that_clear(tmp_path: Path) -> None:
    """Clusters of uneven sizes with a known intraclass correlation: 2,000 experiments, tested with cluster errors."""
    icc, base, lift, clusters, mean = 0.1, 0.5, 0.06, 600, 6.0
    good = {**RATE, "baseline": base, "icc": icc}
    bar = {**BAR, "value": {"metric": "good", "test": "superior", "mde": lift}}
    # One more than Poisson of mean 5: variance 5.
    found = value_of(
        plan(
            tmp_path, metrics={"good": good, "bad": HARM}, bar=[bar], inference__planned_clusters=clusters,
            traffic={"rows_per_cluster": mean, "cluster_size_cv": math.sqrt(5) / 6},
        )
    )  # fmt: skip
    rng = np.random.default_rng(20)
    worlds, weight = 2_000, 1 / icc - 1
    arms = []
    for p in (base, base + lift):
        sizes = 1 + rng.poisson(mean - 1, (worlds, clusters // 2))
        rates = rng.beta(p * weight, (1 - p) * weight, sizes.shape)
        sums = rng.binomial(sizes, rates)
        share = sums.sum(axis=1) / sizes.sum(axis=1)
        residual = sums - share[:, None] * sizes
        g = clusters // 2
        arms.append((share, g / (g - 1) * (residual**2).sum(axis=1) / sizes.sum(axis=1) ** 2))
    z = (arms[1][0] - arms[0][0]) / np.sqrt(arms[1][1] + arms[0][1])
    seen = float((z > sps.norm.isf(0.025)).mean())
    assert found.power is not None and 0.4 < found.power < 0.95
    assert seen == pytest.approx(found.power, abs=0.02 + 3 * math.sqrt(0.25 / worlds) / 2)


def test_the_power_of_a_sequence_is_read_where_the_plan_says(tmp_path: Path) -> None:
    n, effect = 4_000, 0.12
    mean = {"kind": "mean", "value": "y", "better": "higher", "role": "value", "standard_deviation": 1.0, "icc": 0.0}
    bar = {**BAR, "value": {"metric": "good", "test": "superior", "mde": effect}}
    claim = value_of(
        plan(
            tmp_path, metrics={"good": mean, "bad": HARM}, bar=[bar], inference__method="confidence_sequence",
            inference__planned_clusters=n,
        )
    )  # fmt: skip
    rng = np.random.default_rng(4)
    se = 2 / math.sqrt(n)
    drawn = effect + se * rng.standard_normal(2_000)
    cleared = np.mean([(confidence_sequence(float(x), se, n, planned_n=n).low or -1.0) > 0 for x in drawn])
    assert cleared == pytest.approx(claim.power, abs=0.035)


def test_uneven_arms_need_more(tmp_path: Path) -> None:
    even = value_of(plan(tmp_path)).clusters
    uneven = value_of(plan(tmp_path, assignment__arms={"a": 0.9, "b": 0.1})).clusters
    p, q = 0.52, 0.53
    ratio = (p * (1 - p) / 0.9 + q * (1 - q) / 0.1) / (2 * (p * (1 - p) + q * (1 - q)))
    assert uneven / even == pytest.approx(ratio, rel=1e-3)


@pytest.mark.parametrize("short", ["value", "risk"])
def test_a_plan_without_power_for_value_or_for_risk_is_refused_with_the_remedy(tmp_path: Path, short: str) -> None:
    margin = "+5pp" if short == "value" else "+0.1pp"
    mde = "+1.0pp" if short == "value" else "+10pp"
    bar = {
        "name": "bar",
        "value": {"metric": "good", "test": "superior", "mde": mde},
        "risk": {"metric": "bad", "test": "noninferior", "margin": margin, "rationale": "because"},
    }
    experiment = spec(tmp_path, bar=[bar], traffic={"units_per_day": 500})
    found = plan_experiment(experiment)
    claim = next(c for c in found.claims if c.role == short)
    assert not found.sufficient
    assert [f.split(":")[0] for f in found.shortfalls] == [f"bar / {short}"]
    assert f"plan {claim.clusters:,} clusters ({claim.clusters / 500:,.0f} days at 500 a day)" in found.remedy
    with pytest.raises(SpecError) as caught:
        lock_spec(experiment, load_or_create_key())
    assert claim.clusters is not None and f"{claim.clusters:,}" in str(caught.value)
    assert not lock_path(experiment.path).exists()


def test_the_remedy_remedies(tmp_path: Path) -> None:
    first = plan(tmp_path, inference__power=0.8)
    most = max(c.clusters for c in first.claims)
    again = plan(tmp_path, inference__power=0.8, inference__planned_clusters=most)
    assert not first.sufficient and again.sufficient
    assert again.remedy == "nothing to mend" and again.shortfalls == ()
    assert not plan(tmp_path, inference__power=0.8, inference__planned_clusters=most - 2).sufficient


def test_a_guardrail_without_power_is_told_and_does_not_stop_the_plan(tmp_path: Path) -> None:
    metrics = {"good": RATE, "bad": HARM, "cost": {**HARM, "role": "guardrail"}}
    rail = {"metric": "cost", "test": "noninferior", "margin": "+0.01pp", "rationale": "because"}
    found = plan(tmp_path, metrics=metrics, guardrail=[rail], inference__planned_clusters=200_000)
    assert found.sufficient
    rail_plan = found.claims[-1]
    assert rail_plan.role == "guardrail" and rail_plan.power < rail_plan.target


@pytest.mark.parametrize(
    ("metric", "claim", "reason"),
    [
        ({"baseline": DROP}, {}, "metrics.good.baseline is not given"),
        ({"icc": DROP}, {}, "metrics.good.icc is not given"),
        ({}, {"mde": DROP}, "no mde"),
        ({"baseline": 0.995}, {}, "cannot both be"),
        ({"baseline": DROP, "kind": "mean", "standard_deviation": 1.0}, {"mde": "+1%"}, "is relative"),
        ({"kind": "mean", "baseline": DROP}, {}, "standard_deviation is not given"),
        ({"kind": "quantile", "q": 0.5}, {}, "needs the density"),
        ({}, {"margin": "+2.0pp", "mde": "+1.0pp"}, "does not lie beyond the margin"),
        ({}, {"margin": "+1.0pp", "mde": "+1.0pp"}, "does not lie beyond the margin"),
    ],
    ids=["baseline", "icc", "mde", "impossible", "relative", "deviation", "quantile", "short", "equal"],
)
def test_what_cannot_be_planned_says_why_and_counts_as_a_shortfall(
    tmp_path: Path, metric: dict[str, Any], claim: dict[str, Any], reason: str
) -> None:
    good = {k: v for k, v in {**RATE, **metric}.items() if v is not DROP}
    value = {k: v for k, v in {**BAR["value"], **claim}.items() if v is not DROP}  # type: ignore[dict-item]
    traffic = {"rows_per_cluster": 3}
    found = plan(tmp_path, metrics={"good": good, "bad": HARM}, bar=[{**BAR, "value": value}], traffic=traffic)
    short = value_of(found)
    assert short.power is None and short.clusters is None and short.minimum_detectable_effect is None
    assert reason in short.reason and any(reason in s for s in found.shortfalls)
    assert not found.sufficient and "give what the plan needs to know" in found.remedy


def test_a_hard_line_is_planned_by_exact_failures(tmp_path: Path) -> None:
    """Power is the exact chance of so few events that the one-sided bound lies below the line."""
    bad = {**HARM, "baseline": 2e-4}
    bar = {
        **BAR,
        "risk": {"metric": "bad", "test": "noninferior", "margin": "+0.1pp", "rationale": "b", "max_upper_bound": 1e-3},
    }
    found = plan(tmp_path, metrics={"good": RATE, "bad": bad}, bar=[bar], inference__planned_clusters=20_000)
    line = next(c for c in found.claims if c.name.endswith("hard line"))
    n = 10_000
    allowed = max(k for k in range(50) if sps.binom.cdf(k, n, 1e-3) <= 0.025)
    assert line.power == pytest.approx(float(sps.binom.cdf(allowed, n, 2e-4)), rel=1e-9)
    assert line.clusters is not None and line.target == pytest.approx(0.8)
    per_arm = line.clusters // 2
    enough = max(k for k in range(50) if sps.binom.cdf(k, per_arm, 1e-3) <= 0.025)
    assert sps.binom.cdf(enough, per_arm, 2e-4) >= 0.8


def test_a_line_below_the_expected_rate_cannot_be_planned(tmp_path: Path) -> None:
    risk = {"metric": "bad", "test": "noninferior", "margin": "+5pp", "rationale": "b", "max_upper_bound": 0.01}
    found = plan(tmp_path, bar=[{**BAR, "risk": risk}], inference__planned_clusters=200_000)
    line = next(c for c in found.claims if c.name.endswith("hard line"))
    assert line.power is None and "is not below the line" in line.reason
    assert not found.sufficient


def test_independent_rows_are_planned_row_by_row(tmp_path: Path) -> None:
    found = plan(tmp_path, inference__cluster="none", traffic={"rows_per_cluster": 8})
    claim = value_of(found)
    assert claim.clusters == claim.rows == math.ceil(2 * 39_142.3632352)


def test_the_power_curve_rises_through_the_plan(tmp_path: Path) -> None:
    experiment = spec(tmp_path)
    claim = experiment.claims[0]
    sizes = [1_000.0, 40_000.0, float(value_of(plan_experiment(experiment)).clusters), 500_000.0]
    curve = power_at(experiment, claim, sizes)
    assert curve is not None and curve == sorted(curve)
    assert curve[1] == pytest.approx(0.51700618, rel=1e-7)
    assert curve[2] == pytest.approx(0.8, abs=1e-4)
    page = render_plan(experiment, plan_experiment(experiment))
    assert "<script" not in page and "0.52" in page and "bar / value" in page


def test_the_textbook_function_and_the_planner_agree(tmp_path: Path) -> None:
    exact = two_proportions_size(0.52, 0.53).exact
    assert exact is not None
    assert value_of(plan(tmp_path)).clusters == math.ceil(2 * exact)


def test_a_line_that_is_watched_is_planned_with_the_bound_that_watches_it() -> None:
    """Read at every look the bound is wider: the plan by the exact one would promise what the analysis cannot keep."""
    from jurat.experiments.plan import _allowed, _failures
    from jurat.stats.rare import anytime_proportion

    found = _failures(1e-3, 2e-4, 0.975, 0.8, watched=True)
    exact = _failures(1e-3, 2e-4, 0.975, 0.8, watched=False)
    assert found is not None and exact is not None and found[1] > exact[1]
    failures, n = found
    high = [anytime_proportion(failures, m, level=0.95).high for m in (n, n - 1)]
    assert high[0] is not None and high[1] is not None and high[0] < 1e-3 <= high[1]
    assert _allowed(1e-3, n, 0.975, watched=True) == failures
    assert _allowed(1e-3, 10_000, 0.975, watched=True) == 0
    assert _allowed(1e-3, 10_000, 0.975, watched=False) == 3
