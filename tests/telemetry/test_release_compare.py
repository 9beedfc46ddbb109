"""Releases compared: against counts by hand, a regression with clusters, and worlds with a known answer."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from jurat.errors import UnknownName, UsageError
from jurat.metrics.loader import catalog
from jurat.metrics.run import run
from jurat.stats.standardise import standardised_difference
from jurat.store.engine import DuckDB
from jurat.store.schema import TABLES, conform
from jurat.telemetry.common_mix import at_common_mix
from jurat.telemetry.release_compare import (
    ComparedMetric,
    Margin,
    ReleaseComparison,
    comparable_metrics,
    compare_releases,
    known_arms,
)
from jurat.telemetry.tenant_view import TenantView
from tests.metrics.world import world

SHIPPED = catalog()
ONE = {"refusal_rate": SHIPPED["refusal_rate"]}
SOME = {
    name: SHIPPED[name]
    for name in ("refusal_rate", "cost_per_turn", "blocked_rate", "session_turns", "weekly_return_rate")
}
HOUR_US = 3_600_000_000


def _spans(rows: Mapping[str, Any]) -> pa.Table:
    n = len(next(iter(rows.values())))
    filled = {
        "span_id": [f"s{i}" for i in range(n)],
        "ts_us": [HOUR_US * i for i in range(n)],
        "status": ["ok"] * n,
        **rows,
    }
    columns = {name: pa.array(values, type=TABLES["spans"].field(name).type) for name, values in filled.items()}
    return conform(pa.table(columns), TABLES["spans"], table="spans")


def _view(spans: pa.Table, **others: pa.Table) -> TenantView:
    empty = {name: TABLES[name].empty_table() for name in ("feedback", "labels")}
    return TenantView(DuckDB.from_tables({**empty, "spans": spans, **others}), tenant="default")


def _traffic(seed: int, turns: int = 4_000, users: int = 250, **shares: Any) -> dict[str, Any]:
    """Turns of users who differ, on two releases; the mix of endpoints and the rates by endpoint are given."""
    rng = np.random.default_rng(seed)
    second = rng.random(turns) < 0.5
    mix = shares.get("mix", (0.5, 0.5))
    hard = rng.random(turns) < np.where(second, mix[1], mix[0])
    user = rng.integers(0, users, turns)
    rates = np.array(shares.get("rates", ((0.1, 0.3), (0.1, 0.3))))
    chance = rates[second.astype(int), hard.astype(int)] + 0.06 * np.sin(user)
    return {
        "release": np.where(second, "r2", "r1").tolist(),
        "endpoint": np.where(hard, "/hard", "/easy").tolist(),
        "tier": ["free"] * turns,
        "user_id": [f"u{u}" for u in user],
        "refused": (rng.random(turns) < chance).tolist(),
        "cost_usd": rng.gamma(2.0, 0.001 * (1 + hard), turns).tolist(),
    }


def _row(found: ReleaseComparison, metric: str) -> ComparedMetric:
    return next(row for row in found.rows if row.metric.name == metric)


@pytest.fixture(scope="module")
def mixed() -> ReleaseComparison:
    view = _view(_spans(_traffic(1, mix=(0.2, 0.7))))
    return compare_releases(view, SHIPPED, candidate="r2", baseline="r1")


def test_levels_and_differences_are_the_counts_by_hand() -> None:
    tables = world(seed=13, turns=1_500, users=70)
    view = TenantView(DuckDB.from_tables(tables), tenant="default")
    found = compare_releases(view, SHIPPED, candidate="r2", baseline="r1")
    counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for t in tables["spans"].to_pylist():
        ok = t["status"] == "ok" and t["refused"] is not None
        for metric, counts_in, counted in (
            ("refusal_rate", ok, t["refused"]),
            ("error_rate", t["status"] is not None, t["status"] == "error"),
            ("blocked_rate", t["blocked"] is not None, t["blocked"]),
        ):
            counts[metric, t["release"]][0] += bool(counts_in)
            counts[metric, t["release"]][1] += bool(counts_in and counted)
    for metric in ("refusal_rate", "error_rate", "blocked_rate"):
        row = _row(found, metric)
        (n2, k2), (n1, k1) = counts[metric, "r2"], counts[metric, "r1"]
        assert (row.candidate.n, row.baseline.n) == (n2, n1)
        assert row.candidate.value == pytest.approx(k2 / n2) and row.baseline.value == pytest.approx(k1 / n1)
        assert row.difference.value == pytest.approx(k2 / n2 - k1 / n1)
        assert row.difference.low is not None and row.difference.high is not None
        assert row.difference.low < row.difference.value < row.difference.high
    roles = [row.metric.role for row in found.rows]
    assert roles == sorted(roles, key=["value", "risk", "guardrail"].index) and len(found.rows) == len(
        comparable_metrics(SHIPPED)
    )


def test_the_common_mix_is_the_weighted_difference_of_the_strata(mixed: ReleaseComparison) -> None:
    rows = _traffic(1, mix=(0.2, 0.7))
    cells: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for release, endpoint, refused in zip(rows["release"], rows["endpoint"], rows["refused"], strict=True):
        cells[release, endpoint].append(refused)
    sizes = {e: len(cells["r1", e]) + len(cells["r2", e]) for e in ("/easy", "/hard")}
    expected = sum(sizes[e] / sum(sizes.values()) * (np.mean(cells["r2", e]) - np.mean(cells["r1", e])) for e in sizes)
    row = _row(mixed, "refusal_rate")
    assert row.standardised is not None and row.covered == 1.0
    assert row.standardised.value == pytest.approx(expected, abs=1e-12)
    # The mix alone makes the crude difference: rates by endpoint are the same on both.
    assert row.difference.low is not None and row.difference.low > 0.03
    assert row.standardised.low is not None and row.standardised.high is not None
    assert row.standardised.low < 0 < row.standardised.high
    assert any("different traffic" in said for said in mixed.warnings)


def test_the_interval_at_the_common_mix_is_that_of_a_regression_with_clusters(mixed: ReleaseComparison) -> None:
    api = pytest.importorskip("statsmodels.api")
    rows = _traffic(1, mix=(0.2, 0.7))
    second = np.array(rows["release"]) == "r2"
    hard = np.array(rows["endpoint"]) == "/hard"
    for name, outcome in (("refusal_rate", "refused"), ("cost_per_turn", "cost_usd")):
        y = np.array(rows[outcome], dtype=float)
        design = np.column_stack([second & ~hard, second & hard, ~second & ~hard, ~second & hard]).astype(float)
        codes = np.unique(rows["user_id"], return_inverse=True)[1]
        fit = api.OLS(y, design).fit(cov_type="cluster", cov_kwds={"groups": codes, "use_correction": False})
        w = hard.mean()
        weights = np.array([1 - w, w, -(1 - w), -w])
        clusters = codes.max() + 1
        se = math.sqrt(weights @ fit.cov_params() @ weights * clusters / (clusters - 1))
        standard = _row(mixed, name).standardised
        assert standard is not None and standard.n_clusters == clusters and standard.df == clusters - 1
        assert standard.value == pytest.approx(float(weights @ fit.params), abs=1e-12)
        assert standard.se == pytest.approx(se, rel=1e-9)


def test_without_clusters_it_is_direct_standardisation() -> None:
    import dataclasses

    rows = {
        "release": ["a"] * 2 + ["b"] * 2,
        "endpoint": ["x", "y"] * 2,
        "tier": ["t"] * 4,
        "n": [10, 30, 30, 10],
        "k": [1, 9, 6, 4],
    }
    loose = dataclasses.replace(SHIPPED["refusal_rate"], cluster="none")
    found, covered = at_common_mix(loose, pa.table(rows), candidate="a", baseline="b")
    expected = standardised_difference([1, 9], [10, 30], [6, 4], [30, 10]).difference
    assert found is not None and covered == 1.0
    assert (found.value, found.low, found.high) == (expected.value, expected.low, expected.high)


@pytest.mark.slow
def test_intervals_at_the_common_mix_cover_the_truth() -> None:
    hits, worlds = 0, 300
    for seed in range(worlds):
        rows = _traffic(seed, turns=1_200, users=120, mix=(0.3, 0.6), rates=((0.12, 0.3), (0.16, 0.34)))
        table = run(SHIPPED["refusal_rate"], _view(_spans(rows)), slices=("release", "endpoint", "tier")).table
        found, _ = at_common_mix(SHIPPED["refusal_rate"], table, candidate="r2", baseline="r1")
        assert found is not None and found.low is not None and found.high is not None
        hits += found.low <= 0.04 <= found.high
    assert 0.92 <= hits / worlds <= 0.975


def test_a_paradox_is_told() -> None:
    rows = _traffic(3, turns=9_000, mix=(0.15, 0.85), rates=((0.10, 0.45), (0.07, 0.37)))
    found = compare_releases(_view(_spans(rows)), SHIPPED, candidate="r2", baseline="r1")
    row = _row(found, "refusal_rate")
    assert row.reversed and row.difference.low is not None and row.difference.low > 0
    assert row.standardised is not None and row.standardised.high is not None and row.standardised.high < 0
    assert any("Simpson" in said for said in found.warnings)


def test_same_releases_are_marked_seldom_and_a_shift_is_found() -> None:
    marked = 0
    for seed in range(12):
        found = compare_releases(_view(_spans(_traffic(seed, turns=1_500))), SOME, candidate="r2", baseline="r1")
        marked += sum(row.outcome in ("better", "worse", "changed") for row in found.rows)
    assert marked <= 2
    shifted = _traffic(1, rates=((0.1, 0.3), (0.2, 0.4)))
    found = compare_releases(_view(_spans(shifted)), SOME, candidate="r2", baseline="r1")
    assert _row(found, "refusal_rate").outcome == "worse"
    back = compare_releases(_view(_spans(shifted)), SOME, candidate="r1", baseline="r2")
    assert _row(back, "refusal_rate").outcome == "better"


def test_margins_of_a_bar_are_held_against_the_bounds() -> None:
    view = _view(_spans(_traffic(1, rates=((0.1, 0.3), (0.2, 0.4)))))

    def outcome(direction: Any, threshold: float, **more: Any) -> str:
        margin = Margin(name="m", metric="refusal_rate", direction=direction, threshold=threshold, **more)
        found = compare_releases(view, ONE, candidate="r2", baseline="r1", margins=[margin])
        (row,) = (row for row in found.rows if row.margin is not None)
        assert row.where == more.get("where", {})
        return row.outcome

    assert (
        outcome("less", 0.2) == "clears" and outcome("less", 0.02) == "violated" and outcome("less", 0.1) == "undecided"
    )
    assert outcome("greater", 0.02) == "clears" and outcome("greater", 0.2) == "violated"
    assert outcome("less", 0.2, minimum_n=1_000_000) == "undecided"
    assert outcome("less", 0.2, where={"endpoint": "/hard"}) == "clears"
    assert outcome("less", 0.2, where={"endpoint": "/nowhere"}) == "none"
    unknown = Margin(name="m", metric="no_such", direction="less", threshold=0.0)
    with pytest.raises(UnknownName):
        compare_releases(view, SHIPPED, candidate="r2", baseline="r1", margins=[unknown])


def test_models_compare_as_releases_do_and_turns_of_nobody_hang_together_by_conversation() -> None:
    rows = _traffic(2, turns=1_000)
    as_model = {**rows, "model": rows["release"], "release": ["same"] * 1_000}
    by_release = compare_releases(_view(_spans(rows)), SHIPPED, candidate="r2", baseline="r1")
    by_model = compare_releases(_view(_spans(as_model)), SHIPPED, candidate="r2", baseline="r1", by="model")
    for one, other in zip(by_release.rows, by_model.rows, strict=True):
        assert one.difference == other.difference and one.standardised == other.standardised
    unknown = {**rows, "user_id": [None] * 1_000, "conversation_id": rows["user_id"]}
    found = compare_releases(_view(_spans(unknown)), SHIPPED, candidate="r2", baseline="r1")
    assert _row(found, "refusal_rate").difference == _row(by_release, "refusal_rate").difference
    grouped = compare_releases(_view(_spans({**rows, "conversation_id": rows["user_id"]})), SHIPPED, candidate="r2",
                               baseline="r1", cluster="conversation")  # fmt: skip
    assert _row(grouped, "refusal_rate").difference == _row(by_release, "refusal_rate").difference
    assert found.shared_users == 0 and by_release.shared_users > 0


def test_what_one_side_never_had_is_said_and_not_counted_as_zero() -> None:
    rows = _traffic(4, turns=600)
    apart = [r if r == "r1" else None for r in rows["release"]]
    rows["refused"] = [x if r else None for x, r in zip(rows["refused"], apart, strict=True)]
    rows["endpoint"] = [f"{e}-{r}" for e, r in zip(rows["endpoint"], rows["release"], strict=True)]
    found = compare_releases(_view(_spans(rows)), SHIPPED, candidate="r2", baseline="r1")
    row = _row(found, "refusal_rate")
    assert (row.outcome, row.difference.value, row.candidate.n) == ("none", None, 0) and row.baseline.n > 0
    assert row.difference.reason is not None and "r2" in row.difference.reason
    cost = _row(found, "cost_per_turn")
    assert cost.standardised is not None and cost.standardised.value is None and cost.covered == 0.0
    assert found.mix.distance == 1.0


def test_releases_one_after_the_other_are_told_so_and_windows_cut() -> None:
    rows = _traffic(5, turns=800)
    rows["release"] = ["r1"] * 400 + ["r2"] * 400
    view = _view(_spans(rows))
    found = compare_releases(view, SHIPPED, candidate="r2", baseline="r1")
    assert found.overlap == 0.0 and any("calendar" in said for said in found.warnings)
    arms = known_arms(view)
    assert [(a.name, a.turns) for a in arms] == [("r2", 400), ("r1", 400)]
    part = compare_releases(
        view.narrowed(since_us=HOUR_US * 300, until_us=HOUR_US * 500), SHIPPED, candidate="r2", baseline="r1"
    )
    assert (_row(part, "refusal_rate").candidate.n, _row(part, "refusal_rate").baseline.n) == (100, 100)
    with pytest.raises(UnknownName):
        compare_releases(view.narrowed(until_us=HOUR_US), SHIPPED, candidate="r2", baseline="r1")


def test_a_tenant_compares_its_own_turns_only() -> None:
    rows = _traffic(6, turns=1_000)
    rows["org_id"] = ["acme" if i % 4 else "globex" for i in range(1_000)]
    spans = _spans(rows)
    own = TenantView(_view(spans).engine, tenant="globex")
    alone = _view(spans.take(pa.array(range(0, 1_000, 4))))
    ours, theirs = (compare_releases(v, SHIPPED, candidate="r2", baseline="r1") for v in (own, alone))
    assert [r.difference for r in ours.rows] == [r.difference for r in theirs.rows] and ours.mix == theirs.mix
    assert sum(a.turns for a in known_arms(own)) == 250


def test_what_cannot_be_compared_is_refused() -> None:
    view = _view(_spans(_traffic(7, turns=100)))
    with pytest.raises(UsageError):
        compare_releases(view, SHIPPED, candidate="r1", baseline="r1")
    with pytest.raises(UnknownName, match="known: r1, r2"):
        compare_releases(view, SHIPPED, candidate="r3", baseline="r1")
    with pytest.raises(UnknownName):
        compare_releases(view, SHIPPED, candidate="r2", baseline="r1", by="user_id; drop table spans")
    with pytest.raises(UnknownName):
        known_arms(view, by="user_id")
