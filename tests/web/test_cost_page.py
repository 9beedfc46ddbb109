"""The page of costs: sums without an interval say so, estimates have one, invoices belong to the house, names are inert."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from fastapi.testclient import TestClient

from jurat.store.control import Control
from jurat.telemetry.cost_books import CostBooks
from jurat.telemetry.derive import Settings
from jurat.telemetry.ingest import Ingest
from jurat.web.app import create_app
from jurat.web.cost_figures import Mark, Part, dots, parts_of_a_whole, stacked_bars

BAD = '<script>alert(1)</script>"&\x1b[31m'
FORMULA = "=HYPERLINK(1)"
T0 = 1_774_656_000
HEADER = "InvoiceId,ServiceName,SkuId,ResourceId,ChargePeriodStart,ChargePeriodEnd,BilledCost,BillingCurrency,"
INVOICE = f"""{HEADER}ConsumedQuantity,ConsumedUnit
m-03,Compute,gpu,gpu-0,2026-03-28T00:00:00Z,2026-03-29T00:00:00Z,24.00,USD,24,Hours
m-03,Tokens,{FORMULA},,2026-03-28T00:00:00Z,2026-03-29T00:00:00Z,1.00,USD,1000000,Tokens
"""
JOBS = """job,experiment,run,person,gpu,start,end
j1,<b>x</b>,r1,ann,gpu-0,2026-03-28T06:00:00Z,2026-03-28T18:00:00Z
"""
TABS = ("json", "csv", "sql")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cost")


@pytest.fixture(scope="module")
def client(place: Path) -> Iterator[TestClient]:
    (place / "invoice.csv").write_text(INVOICE)
    (place / "jobs.csv").write_text(JOBS)
    ingest = Ingest(place / "lake", Settings(user_secret=b"s" * 32), start=False)
    n = 400
    seconds = [T0 + i * 600 for i in range(n)]
    ingest.lake.append(
        "spans",
        pa.table(
            {
                "span_id": [f"s{i}" for i in range(n)],
                "ts_s": seconds,
                "ts_us": [s * 1_000_000 for s in seconds],
                "model": [("large", BAD, FORMULA, "free-model")[i % 4] for i in range(n)],
                "org_id": [("acme", "globex")[i % 2] for i in range(n)],
                "user_id": [f"u{i % 30}" for i in range(n)],
                "tokens_in": [100] * n,
                "tokens_out": [10] * n,
                "cost_usd": [None if i % 4 == 3 else 0.01 * (1 + i % 3) for i in range(n)],
            }
        ),
    )
    books = CostBooks([place / "jobs.csv"], [place / "invoice.csv"])
    yield TestClient(create_app(ingest, Control(place / "control.sqlite"), costs=books))
    ingest.close()


_KEYS: dict[tuple[int, str], dict[str, str]] = {}


def key(client: TestClient, tenant: str = "default") -> dict[str, str]:
    if (id(client), tenant) in _KEYS:
        return _KEYS[id(client), tenant]
    made = client.app.state.site.control.create_key(owner="ann", roles={"analyse"}, tenant=tenant)  # type: ignore[attr-defined]
    return _KEYS.setdefault((id(client), tenant), {"x-api-key": made.token})


@pytest.mark.parametrize(
    "query", ["", "?window=24h&by=organisation", "?window=all&by=endpoint&who=person", "?window=7d&who=run"]
)
def test_the_page_shows_spend_estimates_and_the_invoice(client: TestClient, query: str) -> None:
    answer = client.get(f"/cost{query}", headers=key(client))
    assert answer.status_code == 200
    text = answer.text
    assert "a sum, no estimate" in text and re.search(r"\$0\.0\d+</span> <span class=\"range\">\[", text)
    assert "25.00 USD" in text and "adds up" in text and "idle" in text
    assert "style=" not in text and "<script>alert" not in text and "\x1b" not in text and "<b>x</b>" not in text
    assert text.count("not in the sums") == 1


def test_every_panel_has_its_forms_and_says_what_it_was_made_of(client: TestClient) -> None:
    held = key(client)
    for panel in ("cost-over-time", "cost-per-turn", "cost-by-day", "cost-attribution", "cost-invoices", "cost-tokens"):
        for form in TABS:
            answer = client.get(f"/panel/{panel}.{form}?window=all", headers=held)
            assert answer.status_code == 200, (panel, form, answer.text)
        assert client.get(f"/panel/{panel}/receipt?window=all", headers=held).json()["kind"] in ("panel", "attribution")
    rows = client.get("/panel/cost-over-time.json?window=all", headers=held).json()["rows"]
    assert sum(row["cost"] for row in rows) == pytest.approx(sum(0.01 * (1 + i % 3) for i in range(400) if i % 4 != 3))
    assert {row["name"]: row["unpriced"] for row in rows}["free-model"] == 100
    per_turn = client.get("/panel/cost-per-turn.json?window=all", headers=held).json()["rows"]
    assert all(
        row["cost"]["low"] < row["cost"]["value"] < row["cost"]["high"] and row["cost"]["n"] == 100 for row in per_turn
    )
    cells = [
        cell
        for row in csv.reader(io.StringIO(client.get("/panel/cost-over-time.csv?window=all", headers=held).text))
        for cell in row
    ]
    assert f"'{FORMULA}" in cells and not any(cell.startswith("=") or "\x1b" in cell for cell in cells)


def test_the_sql_of_a_panel_runs_and_gives_its_numbers(client: TestClient) -> None:
    held = key(client, "acme")
    sql = client.get("/panel/cost-over-time.sql?window=all", headers=held).text
    assert '-- $scope_tenant = "acme"' in sql and "org_id = $scope_tenant" in sql


def test_a_tenant_sees_its_own_turns_and_no_invoice(client: TestClient) -> None:
    held = key(client, "acme")
    page = client.get("/cost?by=organisation&window=all", headers=held).text
    assert "acme" in page and "globex" not in page and "25.00 USD" not in page and "gpu-0" not in page
    answer = client.get("/panel/cost-invoices.json", headers=held)
    assert answer.status_code >= 400 and "belong to the house" in answer.json()["error"]


def test_what_cannot_be_asked_is_told(client: TestClient) -> None:
    held = key(client)
    for query in ("window=1y", "by=colour", "who=nobody"):
        assert client.get(f"/cost?{query}", headers=held).status_code == 404
        assert client.get(f"/panel/cost-over-time.json?{query}", headers=held).status_code == 404


def test_a_broken_invoice_is_told_and_the_rest_of_the_page_stands(client: TestClient, place: Path) -> None:
    (place / "invoice.csv").write_text(INVOICE.replace("24.00", "<i>much</i>"))
    try:
        page = client.get("/cost", headers=key(client)).text
    finally:
        (place / "invoice.csv").write_text(INVOICE)
    assert "cannot be read" in page and "Spend over time" in page and "<i>much</i>" not in page


def test_an_empty_lake_without_books_says_how_to_begin(tmp_path: Path) -> None:
    ingest = Ingest(tmp_path / "lake", Settings(user_secret=b"s" * 32), start=False)
    client = TestClient(create_app(ingest, Control(tmp_path / "control.sqlite")))
    page = client.get("/cost", headers=key(client))
    assert page.status_code == 200 and "--invoice invoice.csv" in page.text and "no turn with a price" in page.text
    assert client.get("/panel/cost-invoices.json", headers=key(client)).status_code >= 400
    ingest.close()


def test_pictures_escape_what_they_are_given_and_keep_proportions() -> None:
    bars = stacked_bars(
        [BAD, "b"],
        [Part(name=BAD, values=(1.0, 3.0), kind="part", total=BAD), Part(name="y", values=(1.0, 0.0), kind="p", total="")],
        label=BAD, unit="$", written=str,
    )  # fmt: skip
    whole = parts_of_a_whole([(BAD, 3.0, "part", BAD), ("y", 1.0, "part", "")], label=BAD)
    row = dots([Mark(name=BAD, value=0.5, low=None, high=None, written=BAD)], label=BAD, share=True)
    for picture in (bars, whole, row):
        assert "<script" not in picture and "\x1b" not in picture and 'aria-label="&lt;script' in picture
    heights = [float(h) for h in re.findall(r'class="part" [^>]*height="([\d.]+)"><title>', bars)]
    assert heights[1] == pytest.approx(3 * heights[0], rel=0.02)
    assert stacked_bars(["a"], [], label="", unit="", written=str) == "" and dots([], label="") == ""
    assert parts_of_a_whole([], label="") == ""
