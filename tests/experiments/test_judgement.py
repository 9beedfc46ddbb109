"""Claims held against intervals: every outcome, every answer, and what may decide when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats as sps

from jurat.experiments.analyse import Analysis, analyse_file
from jurat.experiments.judgement import decision_level
from jurat.experiments.spec import load_spec
from jurat.stats.group_sequential import boundaries
from jurat.stats.multiplicity import holm
from tests.experiments.case import spec_of, write_case, write_spec


def rows(value: float = 0.0, harm: float = 0.0, *, users: int = 600, arms: str = "ab", seed: int = 1) -> pa.Table:
    """One row a user; the treatments gain ``value`` on y (spread 1) and ``harm`` on bad (from a half)."""
    rng = np.random.default_rng(seed)
    place = np.arange(users) % len(arms)
    treated = place > 0
    return pa.table(
        {
            "user": pa.array([f"u{i}" for i in range(users)]),
            "arm": pa.array([arms[i] for i in place]),
            "y": rng.normal(0, 1, users) + value * treated,
            "bad": rng.random(users) < 0.5 + harm * treated,
        }
    )


def analysed(folder: Path, table: pa.Table, **changes: Any) -> Analysis:
    return analyse_file(write_case(folder, {"outcomes": table}, **changes))


def outcomes(found: Analysis) -> dict[str, str]:
    return {j.name: j.outcome for j in found.judged}


BAR = {
    "name": "bar",
    "value": {"metric": "y", "test": "superior"},
    "risk": {"metric": "bad", "test": "noninferior", "margin": "+10pp", "rationale": "because"},
}


def test_everything_clears_and_passes(tmp_path: Path) -> None:
    found = analysed(tmp_path, rows(0.6, -0.1), bar=[BAR])
    assert outcomes(found) == {"bar / value": "clears", "bar / risk": "clears"}
    assert found.answer == "pass" and found.verdicts[0].reasons == ("every claim clears its margin",)


@pytest.mark.parametrize(("value", "harm", "broken"), [(-0.6, -0.2, "value"), (0.6, 0.3, "risk")])
def test_one_violated_claim_fails_whatever_the_other_gained(
    tmp_path: Path, value: float, harm: float, broken: str
) -> None:
    found = analysed(tmp_path, rows(value, harm), bar=[BAR])
    assert outcomes(found)[f"bar / {broken}"] == "violated"
    assert found.answer == "fail" and found.verdicts[0].reasons[0] == f"bar / {broken} is violated"


def test_an_interval_that_holds_the_margin_is_not_enough_evidence_and_says_how_many_would_do(tmp_path: Path) -> None:
    found = analysed(tmp_path, rows(0.05, 0.05, users=120), bar=[BAR])
    assert set(outcomes(found).values()) == {"undecided"}
    assert found.answer == "not enough evidence"
    one = found.judged[0]
    assert one.clusters_to_decide is None or one.clusters_to_decide > 120
    assert "is undecided" in found.verdicts[0].reasons[0]


def test_a_failed_check_is_invalid_though_every_claim_clears(tmp_path: Path) -> None:
    table = rows(0.6, -0.2)
    moved = pa.array(["b" if i % 7 == 0 else a for i, a in enumerate(table["arm"].to_pylist())])
    found = analysed(tmp_path, table.set_column(1, "arm", moved), bar=[BAR], checks=["sample_ratio"],
                     assignment__srm_alpha=0.05)  # fmt: skip
    assert set(outcomes(found).values()) == {"clears"}
    assert found.answer == "invalid" and found.verdicts[0].reasons[0].startswith("sample_ratio")


def test_the_bound_that_faces_the_margin_decides_and_not_the_point(tmp_path: Path) -> None:
    found = analysed(tmp_path, rows(0.0, 0.0), bar=[BAR])
    for one in found.judged:
        assert one.against.low is not None and one.against.high is not None
        assert one.shown.low is not None
        assert one.against.low == pytest.approx(one.shown.low - one.threshold, abs=1e-9)
        greater = found.experiment.metric(one.claim.metric).better == "higher"
        beyond = one.against.low > 0 if greater else one.against.high < 0
        assert (one.outcome == "clears") == beyond
        assert (one.p_value < 0.025) == beyond, "the p-value and the interval are of one test"


def test_a_relative_margin_moves_with_the_control(tmp_path: Path) -> None:
    bar = {**BAR, "risk": {"metric": "bad", "test": "noninferior", "margin": "+20%", "rationale": "because"}}
    found = analysed(tmp_path, rows(0.6, 0.0), bar=[bar])
    risk = found.judged[1]
    control = found.effect("bad", "b").levels["a"].value
    assert control is not None
    assert risk.threshold == pytest.approx(0.2 * control)
    # The margin is uncertain too, so its interval is not the shown one moved by a constant.
    assert risk.against.value == pytest.approx((risk.shown.value or 0) - 0.2 * control, rel=1e-9)


@pytest.mark.parametrize(("line", "outcome", "answer"), [(0.9, "clears", "pass"), (0.2, "violated", "fail")])
def test_a_hard_line_on_the_treatment_is_a_claim_of_its_own(
    tmp_path: Path, line: float, outcome: str, answer: str
) -> None:
    bar = {**BAR, "risk": {**BAR["risk"], "max_upper_bound": line}}  # type: ignore[dict-item]
    found = analysed(tmp_path, rows(0.6, -0.1), bar=[bar])
    one = next(j for j in found.judged if j.line)
    assert (one.name, one.outcome, found.answer) == ("bar / risk, hard line", outcome, answer)
    assert one.shown.value == found.effect("bad", "b").levels["b"].value
    assert one.against.high == pytest.approx((one.shown.high or 0) - line)


def test_a_fixed_horizon_may_not_decide_before_its_size(tmp_path: Path) -> None:
    found = analysed(tmp_path, rows(0.6, -0.2), bar=[BAR], inference__planned_clusters=700)
    assert set(outcomes(found).values()) == {"clears"}
    assert found.answer == "not enough evidence"
    assert "due at 700 clusters and there are 600" in found.verdicts[0].reasons[0]


def test_a_fixed_horizon_may_not_stop_early_for_harm_either(tmp_path: Path) -> None:
    found = analysed(tmp_path, rows(0.6, 0.4), bar=[BAR], inference__planned_clusters=700)
    assert found.answer == "not enough evidence"
    assert any("violated so far" in r for r in found.verdicts[0].reasons)


def test_a_sequence_may_stop_for_harm_before_the_minimum_but_not_for_success(tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "bar": [BAR], "inference__method": "confidence_sequence", "inference__planned_clusters": 600,
        "stopping__minimum_clusters": 1_000,
    }  # fmt: skip
    assert analysed(tmp_path / "harm", rows(0.6, 0.4), **changes).answer == "fail"
    good = analysed(tmp_path / "good", rows(0.9, -0.2), **changes)
    assert set(outcomes(good).values()) == {"clears"} and good.answer == "not enough evidence"
    assert good.verdicts[0].reasons == ("600 clusters of at least 1,000",)
    deaf = analysed(tmp_path / "deaf", rows(0.6, 0.4), **changes, stopping__stop_for=[])
    assert deaf.answer == "not enough evidence"


def test_what_may_decide_follows_from_the_method(tmp_path: Path) -> None:
    def level(method: str, clusters: int, spending: str = "obrien-fleming") -> tuple[float, str | None]:
        changes = {"inference__method": method, "inference__planned_clusters": 1_000, "inference__spending": spending}
        return decision_level(load_spec(write_spec(tmp_path, spec_of(**changes))), clusters)

    assert level("fixed", 1_000) == (pytest.approx(0.95), None)
    assert level("fixed", 999)[1] is not None
    assert level("confidence_sequence", 10) == (pytest.approx(0.95), None)
    assert "first of 5 looks is due at 200" in str(level("group_sequential", 199)[1])
    z = boundaries(5, level=0.95, kind="lan-demets-obrien-fleming").critical
    seen = [level("group_sequential", n) for n in (200, 399, 400, 1_000, 5_000)]
    expected = [z[0], z[0], z[1], z[4], z[4]]
    for (coverage, early), critical in zip(seen, expected, strict=True):
        assert early is None
        assert coverage == pytest.approx(1 - 2 * sps.norm.sf(critical), rel=1e-12)
    pocock = level("group_sequential", 200, "pocock")[0]
    assert pocock < seen[0][0], "Pocock spends more at the first look"


def test_the_best_of_several_treatments_pays_for_the_choice(tmp_path: Path) -> None:
    arms = {"a": 0.25, "b": 0.25, "c": 0.25, "d": 0.25}
    changes: dict[str, Any] = {"assignment__arms": arms, "bar": [{**BAR, "risk": {**BAR["risk"], "margin": "+40pp"}}]}  # type: ignore[dict-item]
    # Of seeds, one where the best arm alone lies between the level and Holm's.
    for seed in range(40):
        table = rows(0.12, users=1_600, arms="abcd", seed=seed)
        found = analysed(tmp_path / str(seed), table, **changes)
        values = [j for j in found.judged if j.claim.role == "value"]
        assert [j.p_adjusted for j in values] == pytest.approx(holm([j.p_value for j in values]).adjusted.tolist())
        assert all(j.p_adjusted == j.p_value for j in found.judged if j.claim.role == "risk")
        lost = [j for j in values if j.p_value < 0.025 < j.p_adjusted]
        if lost:
            break
    else:
        pytest.fail("no seed separates the two levels")
    assert all(j.outcome == "undecided" and "Holm" in str(j.note) for j in lost)
    free = analysed(tmp_path / "free", table, **changes, multiplicity__primary="none")
    assert all(j.p_adjusted == j.p_value for j in free.judged)
    cleared = {j.treatment for j in free.judged if j.claim.role == "value" and j.outcome == "clears"}
    assert cleared > {j.treatment for j in values if j.outcome == "clears"}


def test_each_treatment_has_its_answer_and_the_best_is_the_experiments(tmp_path: Path) -> None:
    table = rows(0.0, -0.2, users=1_500, arms="abc", seed=2)
    lift = np.array([{"a": 0.0, "b": 0.8, "c": -0.8}[a] for a in table["arm"].to_pylist()])
    table = table.set_column(2, "y", pa.array(table["y"].to_numpy() + lift))
    arms = {"a": 0.34, "b": 0.33, "c": 0.33}
    found = analysed(tmp_path, table, assignment__arms=arms, bar=[BAR])
    assert {v.treatment: v.answer for v in found.verdicts} == {"b": "pass", "c": "fail"}
    assert found.answer == "pass"


def test_exploratory_metrics_share_their_error_and_decide_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    table = rows(0.6, -0.2)
    metrics = dict(spec_of()["metrics"])
    for i in range(6):
        table = table.append_column(f"x{i}", pa.array(rng.normal(size=600)))
        metrics[f"x{i}"] = {"kind": "mean", "value": f"x{i}", "better": "higher"}
    plain = analysed(tmp_path / "none", table, metrics=metrics, bar=[BAR], multiplicity__exploratory="none")
    shared = analysed(tmp_path / "bh", table, metrics=metrics, bar=[BAR])
    assert plain.answer == shared.answer == "pass"
    assert set(shared.exploratory) == {("b", f"x{i}") for i in range(6)}
    raw = sps.false_discovery_control(list(plain.exploratory.values()))
    assert list(shared.exploratory.values()) == pytest.approx(raw.tolist(), rel=1e-9)


def test_a_metric_without_spread_is_undecided_with_its_reason(tmp_path: Path) -> None:
    table = rows(0.6, -0.2)
    flat = table.set_column(2, "y", pa.array(np.full(600, 3.0)))
    found = analysed(tmp_path, flat, bar=[BAR])
    one = found.judged[0]
    assert one.outcome == "undecided" and one.shown.low is None and one.shown.reason
    assert one.clusters_to_decide is None
    assert found.answer == "not enough evidence"
