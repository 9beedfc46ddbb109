"""The decision itself, as a pure function of evidence: what never clears, what never fails, and how often it errs."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path

import numpy as np
import pytest

from jurat.evidence.estimate import Contrast, Estimate, Evidence, Receipt, Threshold
from jurat.evidence.figure import nice_ticks
from jurat.evidence.validity import CheckResult
from jurat.launch.bar import Clause, load_bar
from jurat.launch.verdict import Freeze, Verdict, decide
from jurat.stats.inversion import one_sided_p_values
from jurat.stats.mean import mean_from_sums

NOW = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
FROZEN = Freeze(time="2026-05-01T00:00:00+00:00", keyid="k", statement_sha256="s")
RECEIPT = Receipt(
    computation="metric_contrast", inputs=(), snapshot=None, code_sha256="", parameters={"arm": "a"}, seed=None, engine="duckdb",
    engine_version="2", packages={}, started="2026-05-20T00:00:00+00:00", seconds=0.1,
)  # fmt: skip


def clause(
    name: str, *, direction: str = "greater", threshold: float = 0.0, minimum_n: int = 1, arm: str | None = None
) -> Clause:
    return Clause(
        name=name, role="value" if arm is None else "line", metric="m", direction=direction, threshold=threshold, arm=arm,  # type: ignore[arg-type]
        comparison="non-inferior", minimum_n=minimum_n, where={}, rationale="",
    )  # fmt: skip


def normal_evidence(
    value: float, se: float, *, threshold: float = 0.0, n: int = 100_000, **changes: object
) -> Evidence:
    """Evidence with a normal interval around a value."""

    def at(level: float):
        return mean_from_sums(n, n * value, n * value**2 + se**2 * n * (n - 1), level=level)

    found, p = at(0.95), one_sided_p_values(at, threshold)
    estimate = Estimate.from_interval(
        found, metric="m", unit="turn", cluster="none", contrast=Contrast(candidate="b", baseline="a"),
        threshold=Threshold(value=threshold, p_greater=p.p_greater, p_less=p.p_less),
    )  # fmt: skip
    evidence = Evidence(
        estimate=estimate,
        receipt=RECEIPT,
        collected_from="2026-05-10T00:00:00+00:00",
        collected_to="2026-05-20T00:00:00+00:00",
    )
    return dataclasses.replace(evidence, **changes)  # type: ignore[arg-type]


@pytest.fixture
def bar(case: Path):
    return load_bar(case / "bar.toml")


def _decide(bar, clauses, evidence, *, checks=(), freeze: Freeze | None = FROZEN) -> Verdict:
    return decide(bar, clauses, evidence=evidence, arms={}, checks=checks, freeze=freeze, now=NOW)


def test_all_clear_is_a_pass_and_prospective_when_all_came_after_the_freeze(bar) -> None:
    verdict = _decide(bar, [clause("a"), clause("b")], {"a": normal_evidence(3, 1), "b": normal_evidence(4, 1)})
    assert verdict.verdict == "pass" and not verdict.retrospective


@pytest.mark.parametrize(
    ("evidence", "why"),
    [
        (None, "no evidence"),
        (normal_evidence(5, 1, provisional=True), "provisional"),
        (normal_evidence(5, 1, threshold=0.5), "another number"),
        (normal_evidence(5, 1, n=10), "below the bar's minimum"),
    ],
)
def test_missing_or_mismatched_evidence_never_passes(bar, evidence: Evidence | None, why: str) -> None:
    held = {} if evidence is None else {"a": evidence}
    verdict = _decide(bar, [clause("a", minimum_n=50)], held)
    assert verdict.verdict == "not_enough_evidence" and why in verdict.reasons[0]


def test_missing_evidence_does_not_fail_either_however_bad_it_looks(bar) -> None:
    assert _decide(bar, [clause("a")], {"a": normal_evidence(-9, 1, provisional=True)}).verdict == "not_enough_evidence"


def test_stale_evidence_never_passes(case: Path) -> None:
    path = case / "bar.toml"
    path.write_text("max_age_days = 5\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    fresh, stale = load_bar(path), {"a": normal_evidence(5, 1)}
    verdict = _decide(fresh, [clause("a")], stale)
    assert verdict.verdict == "not_enough_evidence" and "12 days ago" in verdict.reasons[0]


def test_one_violation_fails_whatever_the_rest_says(bar) -> None:
    evidence = {"a": normal_evidence(50, 1), "b": normal_evidence(-5, 1)}
    assert _decide(bar, [clause("a"), clause("b")], evidence).verdict == "fail"


def test_a_violation_that_does_not_survive_holm_is_not_a_fail(bar) -> None:
    names = [f"c{i}" for i in range(20)]
    evidence = {name: normal_evidence(5, 1) for name in names} | {"c0": normal_evidence(-2.2, 1)}
    alone = _decide(bar, [clause("c0")], {"c0": evidence["c0"]})
    among = _decide(bar, [clause(n) for n in names], evidence)
    assert (alone.verdict, among.verdict) == ("fail", "not_enough_evidence")
    assert "after correcting for the number of clauses" in among.reasons[0]


def test_a_failed_check_comes_before_every_number(bar) -> None:
    broken = CheckResult(name="sample ratio", passed=False, detail="d", n=1, method="m")
    assert _decide(bar, [clause("a")], {"a": normal_evidence(5, 1)}, checks=[broken]).verdict == "invalid"


def test_without_a_freeze_everything_is_retrospective(bar) -> None:
    assert _decide(bar, [clause("a")], {"a": normal_evidence(5, 1)}, freeze=None).retrospective


def test_the_sample_size_that_would_decide_is_told_and_honest_on_the_bar(bar) -> None:
    near = _decide(bar, [clause("a")], {"a": normal_evidence(1, 1)}).clauses[0].more
    assert near is not None and near.n == pytest.approx(100_000 * 2.8016**2, rel=1e-3)
    on_it = _decide(bar, [clause("a")], {"a": normal_evidence(0.01, 1)}).clauses[0].more
    assert on_it is not None and on_it.n is None and "sits on the bar" in (on_it.reason or "")


def test_a_release_on_the_edge_of_both_bars_passes_no_more_often_than_its_level_and_seldom_fails(bar) -> None:
    rng = np.random.default_rng(12)
    runs = 400
    answers = []
    for _ in range(runs):
        evidence = {n: normal_evidence(float(rng.normal()), 1.0) for n in ("value", "risk")}
        answers.append(_decide(bar, [clause("value"), clause("risk")], evidence).verdict)
    slack = 3.5 * np.sqrt(0.025 * 0.975 / runs)
    assert answers.count("pass") / runs <= 0.025 + slack
    assert answers.count("fail") / runs <= 0.025 + slack


def test_a_release_on_the_edge_of_one_bar_passes_at_most_at_the_level(bar) -> None:
    rng = np.random.default_rng(13)
    runs = 400
    passed = sum(
        _decide(
            bar,
            [clause("value"), clause("risk")],
            {"value": normal_evidence(9, 1), "risk": normal_evidence(float(rng.normal()), 1.0)},
        ).verdict
        == "pass"
        for _ in range(runs)
    )
    assert passed / runs <= 0.025 + 3.5 * np.sqrt(0.025 * 0.975 / runs)


@pytest.mark.parametrize(("low", "high"), [(-0.7, 4.1), (0.0, 1e-6), (-80, 0), (3, 3)])
def test_ticks_span_their_range(low: float, high: float) -> None:
    ticks = nice_ticks(low, high)
    assert ticks[0] <= low and ticks[-1] >= high and 1 <= len(ticks) <= 12
