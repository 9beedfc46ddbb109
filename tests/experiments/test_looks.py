"""All looks from one pass: the sums of a re-scan of each day's rows, and the interval that the method allows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from jurat.errors import DataError, SpecError
from jurat.experiments.effects import scan_scorecard
from jurat.experiments.looks import LookLayout, Running, one_pass, reference_values
from jurat.experiments.monitor import monitor
from jurat.experiments.run import run_monitoring
from jurat.stats.moments import MomentTable
from jurat.stats.sequential import confidence_sequence
from tests.experiments.case import DROP, opened, users_table, write_case

METRICS = {
    "y": {"kind": "mean", "value": "y", "better": "higher", "role": "value", "covariates": ["x"]},
    "bad": {"kind": "proportion", "value": "bad", "better": "lower", "role": "risk"},
    "rate": {"kind": "ratio", "value": "num", "per": "den", "better": "higher", "role": "guardrail"},
}
BARS: dict[str, Any] = {
    "metrics": METRICS,
    "guardrail": [{"metric": "rate", "test": "noninferior", "margin": -1.0, "rationale": "because"}],
    "data__time": "day",
    "inference__method": "confidence_sequence",
    "inference__planned_clusters": 300,
}


def whole_numbers(table: pa.Table) -> pa.Table:
    """The same table with quarters for values: their sums are exact in any order."""
    for name in ("y", "x", "num"):
        rounded = pa.array(np.round(4 * table[name].to_numpy()) / 4)
        table = table.set_column(table.schema.get_field_index(name), name, rounded)
    return table


def up_to(table: pa.Table, day: str) -> pa.Table:
    return table.filter(pc.less_equal(table["day"].cast(pa.date32()), pa.scalar(day).cast(pa.date32())))


def tables_by_look(folder: Path, table: pa.Table, **changes: Any) -> list[tuple[str, MomentTable]]:
    experiment, data = opened(folder, {"outcomes": table}, **{**BARS, **changes})
    looks = LookLayout(experiment, data)
    first = str(pc.min(table["day"]).as_py().date())
    reference = reference_values(experiment, data, looks, first)
    totals = one_pass(experiment, data, looks, reference)
    running, found = Running(looks.names, looks.pairs, reference, ("a", "b")), []
    for day in sorted({t.day for t in totals}):
        for total in totals:
            if total.day == day:
                running.add(total)
        found.append((day, running.table()))
    data.close()
    return found


@pytest.mark.parametrize("cluster", ["user", "none"])
def test_each_look_has_the_sums_and_moments_of_a_re_scan_of_its_rows(tmp_path: Path, cluster: str) -> None:
    table = whole_numbers(users_table(300, 3))
    looks = tables_by_look(tmp_path / "all", table, inference__cluster=cluster)
    assert len(looks) == 10
    for day, found in looks:
        card = scan_scorecard(
            *opened(tmp_path / day, {"outcomes": up_to(table, day)}, **{**BARS, "inference__cluster": cluster})
        )
        for arm in "ab":
            again, moments = card.table.groups[arm], found.groups[arm]
            assert (moments.clusters, moments.rows) == (again.clusters, again.rows)
            place = [again.names.index(name) for name in moments.names]
            # Sums of quarters are exact: the very same numbers.
            sums = moments.mean * moments.clusters
            assert np.round(4 * sums).tolist() == np.round(4 * again.mean[place] * again.clusters).tolist()
            known = ~np.isnan(moments.covariance) & ~np.isnan(again.covariance[np.ix_(place, place)])
            assert known.sum() > len(place)
            np.testing.assert_allclose(
                moments.covariance[known], again.covariance[np.ix_(place, place)][known], rtol=1e-10, atol=1e-12
            )
        card.data.close()


def test_the_last_look_is_the_analysis_of_all_rows(tmp_path: Path) -> None:
    experiment, data = opened(tmp_path, {"outcomes": users_table(300, 5)}, **BARS)
    found = monitor(experiment, data)
    card = scan_scorecard(experiment, data)
    for name, treatment, series in found.looks:
        claim = next(c for c in experiment.claims if c.name == name)
        effect = card.effect(claim.metric, treatment)
        last = series[-1]
        assert (last.once.value, last.once.n) == (pytest.approx(effect.effect.value, rel=1e-10), effect.effect.n)
        assert last.once.low == pytest.approx(effect.effect.low, rel=1e-8)
        assert effect.sequence is not None
        assert (last.always.low, last.always.high) == (
            pytest.approx(effect.sequence.low, rel=1e-8), pytest.approx(effect.sequence.high, rel=1e-8),
        )  # fmt: skip


def test_the_interval_of_all_looks_is_the_confidence_sequence_and_wider_than_that_of_one(tmp_path: Path) -> None:
    experiment, data = opened(tmp_path, {"outcomes": users_table(300, 5)}, **BARS)
    for name, _, series in monitor(experiment, data).looks:
        for look in series:
            if look.once.low is None or look.always.low is None:
                continue
            assert look.always.low < look.once.low and look.once.high < look.always.high, name
            if name.startswith("y against bad / value"):
                again = confidence_sequence(
                    look.once.value, look.once.se, look.once.n, planned_n=300, level=0.95, n_clusters=look.clusters
                )
                assert look.always.low == pytest.approx(again.low, rel=1e-9)


def seen_at(folder: Path, table: pa.Table, shift: float) -> list[Any]:
    """Looks at the value claim with every y moved."""
    moved = pa.array(table["y"].to_numpy() + shift)
    experiment, data = opened(
        folder, {"outcomes": table.set_column(table.schema.get_field_index("y"), "y", moved)}, **BARS
    )
    found = monitor(experiment, data)
    data.close()
    return list(next(s for n, _, s in found.looks if n.endswith("value")))


def test_a_large_mean_does_not_drown_the_variance_of_a_look(tmp_path: Path) -> None:
    table = whole_numbers(users_table(300, 4))
    plain = seen_at(tmp_path / "plain", table, 0.0)
    for a, b in zip(plain, seen_at(tmp_path / "far", table, 10_000.0), strict=True):
        assert b.once.se == pytest.approx(a.once.se, rel=1e-6)
        assert b.once.value == pytest.approx(a.once.value, abs=1e-7)


def test_a_mean_so_large_that_its_spread_is_rounding_gives_no_bounds_rather_than_wrong_ones(tmp_path: Path) -> None:
    table = whole_numbers(users_table(300, 4))
    plain = seen_at(tmp_path / "plain", table, 0.0)
    for a, b in zip(plain, seen_at(tmp_path / "far", table, 1e9), strict=True):
        if b.once.low is None:
            assert b.once.reason and b.outcome == "undecided"
        else:
            assert b.once.se == pytest.approx(a.once.se, rel=1e-3)


@pytest.mark.parametrize("method", ["fixed", "group_sequential"])
def test_daily_looks_are_refused_where_the_method_does_not_pay_for_them(tmp_path: Path, method: str) -> None:
    experiment, data = opened(tmp_path, {"outcomes": users_table(60, 1)}, **{**BARS, "inference__method": method})
    with pytest.raises(SpecError, match="does not allow daily looks") as caught:
        monitor(experiment, data)
    assert "confidence_sequence" in str(caught.value)


def test_looks_need_the_time_of_the_outcomes(tmp_path: Path) -> None:
    experiment, data = opened(tmp_path, {"outcomes": users_table(60, 1)}, **{**BARS, "data__time": DROP})
    with pytest.raises(SpecError, match="needs the time"):
        monitor(experiment, data)


def test_clusters_that_span_the_arms_cannot_be_watched_day_by_day(tmp_path: Path) -> None:
    table = users_table(200, 1)
    org = pa.array([f"o{i % 20}" for i in range(table.num_rows)])
    experiment, data = opened(
        tmp_path, {"outcomes": table.append_column("org", org)}, **{**BARS, "inference__cluster": "org"}
    )
    with pytest.raises(DataError, match="stay in one arm"):
        monitor(experiment, data)


def test_an_outcome_without_a_time_is_refused_and_not_dropped(tmp_path: Path) -> None:
    table = users_table(200, 1)
    day = table["day"].to_pylist()
    day[7] = None
    table = table.set_column(table.schema.get_field_index("day"), "day", pa.array(day, pa.timestamp("s")))
    path = write_case(tmp_path, {"outcomes": table}, **BARS)
    with pytest.raises(DataError, match="no time"):
        run_monitoring(path)
    with pytest.raises(DataError, match="no time"):
        run_monitoring(path, state=tmp_path / "state")


def test_no_outcome_at_all_is_told(tmp_path: Path) -> None:
    path = write_case(tmp_path, {"outcomes": users_table(60, 1)}, **BARS, population={"where": "y > 1000"})
    with pytest.raises(DataError):
        run_monitoring(path)


def test_a_sequence_looked_at_daily_errs_no_more_than_promised_and_a_fixed_interval_does() -> None:
    """300 A/A experiments: peeking with the interval of one look raises false alarms; the sequence does not."""
    rng = np.random.default_rng(8)
    fixed = always = 0
    for _ in range(300):
        drawn = rng.standard_normal((2, 20, 50))
        peeked = held = False
        for day in range(2, 21):
            a, b = drawn[0, :day].ravel(), drawn[1, :day].ravel()
            value, se = float(b.mean() - a.mean()), float(np.sqrt(a.var(ddof=1) / a.size + b.var(ddof=1) / b.size))
            peeked |= abs(value) > 1.96 * se
            low = confidence_sequence(value, se, 100 * day, planned_n=2_000).low
            high = confidence_sequence(value, se, 100 * day, planned_n=2_000).high
            held |= low is not None and high is not None and (low > 0 or high < 0)
        fixed, always = fixed + peeked, always + held
    assert always <= 0.05 * 300 + 3 * np.sqrt(0.05 * 0.95 * 300)
    assert fixed > 0.12 * 300
