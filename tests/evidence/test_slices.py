"""A metric cut by several columns: every combination, those of no name too, each as if it had been measured alone."""

from __future__ import annotations

import pyarrow as pa
import pytest

from jurat.evidence.measure import level_of_arm
from jurat.evidence.slices import UNKNOWN, levels_by_slice
from jurat.metrics.loader import catalog
from jurat.metrics.run import Measurement, run
from jurat.store.engine import DuckDB


@pytest.fixture
def spans() -> pa.Table:
    n = 600
    return pa.table(
        {
            "release": ["r1", "r2"] * (n // 2),
            "endpoint": ["/chat"] * n,
            "tier": [("free", "pro", None)[i % 3] for i in range(n)],
            "user_id": [None if i % 7 == 0 else f"u{i % 41}" for i in range(n)],
            "status": ["error" if i % 11 == 0 else "ok" for i in range(n)],
        }
    )


def measured(spans: pa.Table, *slices: str) -> Measurement:
    return run(catalog()["error_rate"], DuckDB.from_tables({"spans": spans}), slices=slices)


def test_each_combination_is_measured_as_if_it_were_alone(spans: pa.Table) -> None:
    found = levels_by_slice(measured(spans, "release", "tier"), ("release", "tier"))
    assert [tuple(e.slice.values()) for e in found] == [
        (release, tier) for release in ("r1", "r2") for tier in (UNKNOWN, "free", "pro")
    ]
    for estimate in found:
        tier = None if estimate.slice["tier"] == UNKNOWN else estimate.slice["tier"]
        rows = [r for r in spans.to_pylist() if (r["release"], r["tier"]) == (estimate.slice["release"], tier)]
        alone = measured(pa.Table.from_pylist(rows, schema=spans.schema), "release")
        due = level_of_arm(alone, arm_column="release", arm=estimate.slice["release"])
        assert (estimate.value, estimate.low, estimate.high, estimate.n) == (due.value, due.low, due.high, due.n)


def test_without_a_cut_there_is_one_level_of_everything(spans: pa.Table) -> None:
    (found,) = levels_by_slice(measured(spans))
    assert (found.n, dict(found.slice)) == (600, {})
    # 41 users and those of no name, who count as one cluster.
    assert found.n_clusters == 42


def test_nothing_to_count_is_an_empty_list(spans: pa.Table) -> None:
    assert levels_by_slice(measured(spans.slice(0, 0), "tier"), ("tier",)) == []
    assert levels_by_slice(measured(spans.slice(0, 0))) == []


def test_a_value_that_looks_like_the_name_of_the_unknown_is_counted_with_it(spans: pa.Table) -> None:
    tiers = [UNKNOWN if tier == "pro" else tier for tier in spans["tier"].to_pylist()]
    found = levels_by_slice(measured(spans.set_column(2, "tier", pa.array(tiers)), "tier"), ("tier",))
    assert [(e.slice["tier"], e.n) for e in found] == [(UNKNOWN, 400), ("free", 200)]
