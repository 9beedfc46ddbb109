"""When may one stop? Harm at any look, success after the minimum and with every claim, a broken split at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from jurat.experiments.monitor import Monitoring
from jurat.experiments.run import run_monitoring
from tests.experiments.case import write_case

BAR = {
    "name": "bar",
    "value": {"metric": "y", "test": "superior"},
    "risk": {"metric": "bad", "test": "noninferior", "margin": "+10pp", "rationale": "because"},
}


def rows(
    value: float, harm: float, *, users: int = 1_200, days: int = 8, share: float = 0.5, seed: int = 1
) -> pa.Table:
    rng = np.random.default_rng(seed)
    treated = rng.random(users) < share
    day = np.sort(rng.integers(0, days, users))
    return pa.table(
        {
            "user": pa.array([f"u{i}" for i in range(users)]),
            "arm": pa.array(np.where(treated, "b", "a")),
            "y": rng.normal(0, 1, users) + value * treated,
            "bad": rng.random(users) < 0.4 + harm * treated,
            "ts": pa.array(np.datetime64("2026-03-01T08:00:00") + day.astype("timedelta64[D]")),
        }
    )


def watched(folder: Path, table: pa.Table, **changes: Any) -> Monitoring:
    given: dict[str, Any] = {
        "bar": [BAR], "data__time": "ts", "inference__method": "confidence_sequence",
        "inference__planned_clusters": 1_200, "stopping__stop_for": ["risk_harm", "success"],
    }  # fmt: skip
    return run_monitoring(write_case(folder, {"outcomes": table}, **{**given, **changes}))[0]


def test_every_claim_is_looked_at_every_day(tmp_path: Path) -> None:
    found = watched(tmp_path, rows(0.0, 0.0))
    assert found.days == tuple(f"2026-03-0{d}" for d in range(1, 9)) == found.new
    assert {name for name, _, _ in found.looks} == {"bar / value", "bar / risk"}
    for _, treatment, series in found.looks:
        assert treatment == "b"
        assert [look.clusters for look in series] == sorted(look.clusters for look in series)
        assert series[-1].clusters == 1_200 and series[-1].day == "2026-03-08"
    assert len(found.split) == 8 and found.stop is None


def test_harm_stops_before_the_minimum(tmp_path: Path) -> None:
    found = watched(tmp_path, rows(0.5, 0.4), stopping__minimum_days=28, stopping__minimum_clusters=10_000)
    assert found.stop == "bar / risk is violated on b: stop for harm"


def test_harm_that_the_spec_does_not_stop_for_goes_on(tmp_path: Path) -> None:
    assert watched(tmp_path, rows(0.5, 0.4), stopping__stop_for=[]).stop is None


def test_a_broken_hard_line_is_harm_too(tmp_path: Path) -> None:
    risk = {**BAR["risk"], "margin": "+40pp", "max_upper_bound": 0.2}  # type: ignore[dict-item]
    found = watched(tmp_path, rows(0.5, 0.0), bar=[{**BAR, "risk": risk}])
    assert found.stop == "bar / risk, hard line is violated on b: stop for harm"


def test_success_stops_only_once_every_claim_clears(tmp_path: Path) -> None:
    assert watched(tmp_path / "good", rows(0.9, -0.2)).stop == "every claim clears at all looks: stop for success"
    assert watched(tmp_path / "half", rows(0.9, 0.07)).stop is None
    assert watched(tmp_path / "deaf", rows(0.9, -0.2), stopping__stop_for=["risk_harm"]).stop is None


@pytest.mark.parametrize("key", ["minimum_days", "minimum_clusters"])
def test_success_waits_for_the_minimum(tmp_path: Path, key: str) -> None:
    table = rows(0.9, -0.2)
    reached = {"minimum_days": 8, "minimum_clusters": 1_200}[key]
    assert watched(tmp_path / "at", table, **{f"stopping__{key}": reached}).stop is not None
    assert watched(tmp_path / "before", table, **{f"stopping__{key}": reached + 1}).stop is None


def test_a_claim_that_no_look_can_see_holds_success_back(tmp_path: Path) -> None:
    table = rows(0.9, -0.2)
    metrics = {
        "y": {"kind": "mean", "value": "y", "better": "higher", "role": "value"},
        "bad": {"kind": "proportion", "value": "bad", "better": "lower", "role": "risk"},
        "tail": {"kind": "quantile", "value": "y", "q": 0.9, "better": "higher", "role": "guardrail"},
    }
    rail = {"metric": "tail", "test": "noninferior", "margin": -5.0, "rationale": "because"}
    found = watched(tmp_path, table, metrics=metrics, guardrail=[rail])
    assert found.stop is None and {n for n, _, _ in found.looks} == {"bar / value", "bar / risk"}


def test_a_broken_split_is_told_before_anything_else(tmp_path: Path) -> None:
    found = watched(tmp_path, rows(0.9, 0.4, share=0.65))
    assert found.stop is not None and "split of the units" in found.stop and "at any time" in found.stop
    assert found.split[-1] < 0.001


def test_too_few_clusters_give_no_look_rather_than_a_number(tmp_path: Path) -> None:
    found = watched(tmp_path, rows(0.9, 0.4, users=60))
    assert found.looks == () and found.stop is None and len(found.split) == len(found.days)


def test_the_outcome_of_a_look_is_read_from_the_interval_of_all_looks(tmp_path: Path) -> None:
    for name, _, series in watched(tmp_path, rows(0.3, 0.0)).looks:
        for look in series:
            low, high = look.always.low, look.always.high
            if low is None or high is None:
                assert look.outcome == "undecided"
                continue
            below, above = high < look.threshold, low > look.threshold
            good, ill = (above, below) if name.endswith("value") else (below, above)
            assert look.outcome == ("clears" if good else "violated" if ill else "undecided")
