"""Spend adds up however it is cut; a turn's cost is the shipped metric's; invoices are held against lines and turns."""

from __future__ import annotations

import datetime as dt
import itertools
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from jurat.errors import DataError, UnknownName
from jurat.evidence.slices import UNKNOWN, levels_by_slice
from jurat.metrics.loader import catalog
from jurat.metrics.run import run
from jurat.store.engine import DuckDB
from jurat.telemetry.cost_books import CostBooks, invoice_checks, token_checks
from jurat.telemetry.spend import DIMENSIONS, OTHERS, cost_of_turns, newest_turn_us, spend_over_time
from jurat.telemetry.tenant_view import TenantView

DAY = 86_400
START = int(dt.datetime(2026, 3, 28, tzinfo=dt.UTC).timestamp())


@pytest.fixture(scope="module")
def spans() -> pa.Table:
    rng = np.random.default_rng(5)
    n = 4000
    seconds = START + rng.integers(0, 10 * DAY, n)
    seconds[0], seconds[1] = START + DAY - 1, START + DAY
    models = np.array(["a", "b", "c", "d", "e", "f", "g"])[rng.integers(0, 7, n)]
    return pa.table(
        {
            "ts_s": seconds,
            "ts_us": seconds * 1_000_000,
            "model": [None if i % 50 == 0 else m for i, m in enumerate(models.tolist())],
            "endpoint": [("/chat", "/agent")[i % 2] for i in range(n)],
            "release": ["r1"] * n,
            "tier": [("free", None)[i % 2] for i in range(n)],
            "org_id": [("acme", "globex")[i % 2] for i in range(n)],
            "user_id": [f"u{i % 80}" for i in range(n)],
            "tokens_in": rng.integers(0, 1000, n),
            "tokens_out": [None if i % 9 == 0 else i % 100 for i in range(n)],
            "cost_usd": [None if m == "g" else float(x) for m, x in zip(models, rng.gamma(2, 0.01, n), strict=True)],
        }
    )


def view_of(spans: pa.Table, tenant: str = "default") -> TenantView:
    return TenantView(DuckDB.from_tables({"spans": spans}), tenant=tenant)


@pytest.mark.parametrize(("dimension", "width", "most"), [*itertools.product(DIMENSIONS, (3600, DAY), (2, 5))])
def test_lines_add_up_to_all_turns_however_they_are_cut(spans: pa.Table, dimension: str, width: int, most: int) -> None:
    found = spend_over_time(view_of(spans), dimension, width_seconds=width, most_lines=most)
    costs = [c or 0.0 for c in spans["cost_usd"].to_pylist()]
    assert found.cost == pytest.approx(sum(costs), rel=1e-12)
    assert (found.turns, found.unpriced) == (len(spans), spans["cost_usd"].null_count)
    assert sum(line.tokens_in for line in found.lines) == sum(spans["tokens_in"].to_pylist())
    assert len(found.lines) <= most + 1 and np.all(np.diff(found.periods) == width)
    for place, period in enumerate(found.periods[:: max(1, len(found.periods) // 5)]):
        at = found.periods.index(period)
        due = sum(c for c, s in zip(costs, spans["ts_s"].to_pylist(), strict=True) if period <= s < period + width)
        assert sum(line.costs[at] for line in found.lines) == pytest.approx(due, abs=1e-12), place


def test_the_dearest_come_first_and_the_rest_together_last(spans: pa.Table) -> None:
    found = spend_over_time(view_of(spans), "model", width_seconds=DAY, most_lines=3)
    costs = [line.cost for line in found.lines]
    assert found.lines[-1].name == OTHERS and costs[:3] == sorted(costs[:3], reverse=True)
    everything = spend_over_time(view_of(spans), "model", width_seconds=DAY, most_lines=99)
    assert UNKNOWN in {line.name for line in everything.lines}
    unpriced = next(line for line in everything.lines if line.name == "g")
    assert (unpriced.cost, unpriced.priced) == (0.0, 0) and unpriced.turns > 0


def test_a_tenant_sees_its_own_spend_only(spans: pa.Table) -> None:
    whole, own = (spend_over_time(view_of(spans, t), "organisation", width_seconds=DAY) for t in ("default", "acme"))
    assert [line.name for line in own.lines] == ["acme"] and own.turns == whole.turns // 2


def test_nothing_is_spent_where_there_is_no_turn(spans: pa.Table) -> None:
    empty = view_of(spans.slice(0, 0))
    assert spend_over_time(empty, "model", width_seconds=DAY).lines == ()
    assert cost_of_turns(empty, "model")[0] == [] and newest_turn_us(empty) is None
    with pytest.raises(UnknownName, match="dimension"):
        spend_over_time(empty, "colour", width_seconds=DAY)
    with pytest.raises(UnknownName, match="dimension"):
        cost_of_turns(empty, "colour")


def test_the_cost_of_a_turn_is_the_shipped_metric_by_any_dimension(spans: pa.Table) -> None:
    metric, engine = catalog()["cost_per_turn"], DuckDB.from_tables({"spans": spans})
    due = levels_by_slice(run(metric, engine, slices=("endpoint",)), ("endpoint",))
    found, _ = cost_of_turns(view_of(spans), "endpoint")
    assert [(e.value, e.low, e.high, e.n) for e in found] == [(e.value, e.low, e.high, e.n) for e in due]
    models, _ = cost_of_turns(view_of(spans), "model")
    assert "g" not in {e.slice["release"] for e in models}
    assert (
        sum(e.n for e in models) == cost_of_turns(view_of(spans))[0][0].n == len(spans) - spans["cost_usd"].null_count
    )
    assert all(e.low is not None and e.value is not None and e.low < e.value for e in models)


HEADER = "InvoiceId,ServiceName,SkuId,ResourceId,ChargePeriodStart,ChargePeriodEnd,BilledCost,BillingCurrency,"
INVOICE = f"""{HEADER}ConsumedQuantity,ConsumedUnit
m,Compute,gpu,gpu-0,2026-03-28T00:00:00Z,2026-03-29T00:00:00Z,10.01,USD,24,Hours
m,Compute,gpu,gpu-0,2026-03-29T00:00:00Z,2026-03-30T00:00:00Z,10.01,USD,24,Hours
m,Tokens,a,,2026-03-28T00:00:00Z,2026-03-30T00:00:00Z,5.00,USD,1000000,Tokens
"""
JOBS = """job,experiment,run,person,gpu,start,end
j1,x,r1,ann,gpu-0,2026-03-28T06:00:00Z,2026-03-28T18:00:00Z
"""


@pytest.fixture
def books(tmp_path: Path) -> CostBooks:
    (tmp_path / "invoice.csv").write_text(INVOICE)
    (tmp_path / "jobs.csv").write_text(JOBS)
    return CostBooks([tmp_path / "jobs.csv"], [tmp_path / "invoice.csv"])


def test_invoices_add_up_and_days_are_those_of_the_charges(books: CostBooks) -> None:
    found = books.read()
    (check,) = invoice_checks(found.whole)
    assert (check.billed, check.attributed, check.difference) == (2502, 501, 0)
    assert [day.day for day in found.days] == ["2026-03-28", "2026-03-29"]
    assert sum(line.minor for day in found.days for line in day.attribution.lines) == 2502
    assert books and not CostBooks()


def test_tokens_billed_are_held_against_the_turns_of_that_period(books: CostBooks, spans: pa.Table) -> None:
    (check,) = token_checks(books.read().charges, view_of(spans))
    rows = [r for r in spans.to_pylist() if r["model"] == "a" and r["ts_s"] < START + 2 * DAY]
    assert (check.sku, check.billed, check.billed_tokens, check.turns) == ("a", 500, 1_000_000, len(rows))
    assert check.tokens == sum(r["tokens_in"] + (r["tokens_out"] or 0) for r in rows)
    assert check.list_cost == pytest.approx(sum(r["cost_usd"] for r in rows))


def test_files_are_read_again_when_they_change_and_told_when_they_cannot_be(books: CostBooks) -> None:
    first = books.read()
    assert books.read() is first
    path = books.invoices[0]
    path.write_text(INVOICE + "m,Compute,gpu,gpu-1,2026-03-28T00:00:00Z,2026-03-29T00:00:00Z,1.00,USD,24,Hours\n")
    os.utime(path, ns=(1, 1))
    assert invoice_checks(books.read().whole)[0].billed == 2602
    path.write_text(INVOICE.replace("10.01", "ten"))
    for _ in range(2):
        with pytest.raises(DataError, match=r"invoice\.csv, line 2"):
            books.read()
    path.unlink()
    with pytest.raises(DataError, match="no such file"):
        books.read()
