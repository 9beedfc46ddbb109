"""The page of definitions: each with its SQL, its examples run, and its level on the lake, for those it belongs to."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator

import pyarrow as pa
import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from jurat.evidence.measure import level_of_arm
from jurat.metrics.loader import catalog
from jurat.metrics.run import run
from jurat.store.control import Control
from jurat.store.engine import DuckDB
from jurat.telemetry.derive import Settings
from jurat.telemetry.ingest import Ingest
from jurat.web.app import create_app
from jurat.web.sql_text import highlighted
from jurat.web.visible import visible

BAD = "<img src=x onerror=alert(1)>"
T0 = 1_774_656_000_000_000
N = 900


def spans() -> pa.Table:
    return pa.table(
        {
            "span_id": [f"s{i}" for i in range(N)],
            "ts_us": [T0 + i * 3_600_000_000 for i in range(N)],
            "ts_s": [(T0 + i * 3_600_000_000) // 1_000_000 for i in range(N)],
            "release": ["r1", "r2"] * (N // 2),
            "endpoint": [("/chat", BAD, "/agent")[i % 3] for i in range(N)],
            "tier": ["free"] * N,
            "org_id": [("acme", "globex")[i % 5 == 0] for i in range(N)],
            "user_id": [f"u{i % 50}" for i in range(N)],
            "status": ["error" if i % 13 == 0 else "ok" for i in range(N)],
            "refused": [i % 7 == 0 for i in range(N)],
            "latency_ms": [float(100 + i % 200) for i in range(N)],
        }
    )


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    place = tmp_path_factory.mktemp("metrics")
    ingest = Ingest(place / "lake", Settings(user_secret=b"s" * 32), start=False)
    ingest.lake.append("spans", spans())
    yield TestClient(create_app(ingest, Control(place / "control.sqlite")))
    ingest.close()


_KEYS: dict[tuple[int, str], dict[str, str]] = {}


def key(client: TestClient, tenant: str = "default") -> dict[str, str]:
    if (id(client), tenant) in _KEYS:
        return _KEYS[id(client), tenant]
    made = client.app.state.site.control.create_key(owner="ann", roles={"analyse"}, tenant=tenant)  # type: ignore[attr-defined]
    return _KEYS.setdefault((id(client), tenant), {"x-api-key": made.token})


def test_the_list_names_every_metric_once(client: TestClient) -> None:
    page = client.get("/metric-files", headers=key(client)).text
    assert sorted(re.findall(r'href="/metric-files/(\w+)"', page)) == sorted(catalog())


@pytest.mark.parametrize("name", sorted(catalog()))
def test_every_definition_has_its_page_its_file_and_examples_that_hold(client: TestClient, name: str) -> None:
    held, metric = key(client), catalog()[name]
    answer = client.get(f"/metric-files/{name}", headers=held)
    assert answer.status_code == 200
    text = html.unescape(answer.text)
    assert metric.question in text and metric.owner in text and metric.sha256[:16] in text
    assert text.count("run on DuckDB: holds") == len(metric.examples) and "does not hold" not in text
    assert "style=" not in answer.text and "onerror=alert(1)>" not in answer.text
    assert client.get(f"/metric-files/{name}.sql", headers=held).text == metric.text
    assert '<span class="k">SELECT</span>' in answer.text


@pytest.mark.parametrize("engine", ["clickhouse", "spark"])
def test_sql_is_shown_as_another_engine_gets_it(client: TestClient, engine: str) -> None:
    answer = client.get(f"/metric-files/session_turns?engine={engine}", headers=key(client))
    assert answer.status_code == 200 and "SELECT" in answer.text


def test_a_level_on_the_lake_is_that_of_the_metric_with_its_interval(client: TestClient) -> None:
    held = key(client)
    panel = client.get("/panel/metric-level.json?name=refusal_rate&by=release", headers=held).json()
    measured = run(catalog()["refusal_rate"], DuckDB.from_tables({"spans": spans()}), slices=("release",))
    for row in panel["rows"]:
        due = level_of_arm(measured, arm_column="release", arm=row["release"])
        assert [row["level"][p] for p in ("value", "low", "high", "n")] == [due.value, due.low, due.high, due.n]
    assert panel["receipt"]["metric_sha256"] == catalog()["refusal_rate"].sha256
    assert (
        panel["permalink"] == "/metric-files/refusal_rate?name=refusal_rate&by=release&and=all&window=all#metric-level"
    )
    page = client.get(panel["permalink"], headers=held).text
    assert "Refusal rate, all time, cut by release" in page
    two = client.get("/panel/metric-level.json?name=refusal_rate&by=endpoint&and=release", headers=held).json()
    assert len(two["rows"]) == 6 and list(two["columns"])[:2] == ["endpoint", "release"]


def test_a_window_ends_with_the_newest_turn_and_parameters_are_taken(client: TestClient) -> None:
    held = key(client)
    day = client.get("/panel/metric-level.json?name=latency_quantile&by=all&window=24h&p.q=0.5", headers=held).json()
    (row,) = day["rows"]
    assert 20 <= row["level"]["n"] <= 24 and "q = 0.5" in day["title"]
    every = client.get("/panel/metric-level.json?name=latency_quantile&by=all", headers=held).json()["rows"]
    assert every[0]["level"]["n"] == sum(i % 13 != 0 for i in range(N))
    sql = client.get("/panel/metric-level.sql?name=latency_quantile&window=24h", headers=held).text
    assert "$scope_since" in sql


def test_a_tenant_measures_its_own_turns(client: TestClient) -> None:
    rows = client.get("/panel/metric-level.json?name=error_rate&by=all", headers=key(client, "globex")).json()["rows"]
    assert rows[0]["level"]["n"] == N // 5


def test_what_cannot_be_measured_is_told_in_place(client: TestClient) -> None:
    held = key(client)
    assert client.get("/metric-files/nothing", headers=held).status_code == 404
    assert client.get(f"/metric-files/{BAD}", headers={**held, "accept": "text/html"}).status_code == 404
    for query in ("by=colour", "window=1y", "engine=oracle"):
        assert client.get(f"/metric-files/error_rate?{query}", headers=held).status_code == 404
    page = client.get("/metric-files/latency_quantile?by=tier&p.q=<b>half", headers=held)
    assert page.status_code == 400 and "is a number" in page.text and "<b>half" not in page.text
    page = client.get("/metric-files/latency_quantile?by=tier&p.q=7", headers=held)
    assert page.status_code == 400 and 'role="alert"' in page.text
    none = client.get("/metric-files/backtrack_rate?by=release", headers=held)
    assert none.status_code == 200 and "nothing in this window" in none.text


@given(st.text(alphabet=st.sampled_from("aSELECT 'x\"-/*1.5$p()<>&\n\x1b\u202e;=é"), max_size=60))
def test_highlighting_loses_and_lets_through_nothing(text: str) -> None:
    shown = str(highlighted(text))
    assert set(re.findall(r"<[^>]*>", shown)) <= {"</span>", *(f'<span class="{k}">' for k in "csnpkf")}
    assert html.unescape(re.sub(r"<[^>]*>", "", shown)) == visible(text)


@pytest.mark.parametrize("name", sorted(catalog()))
def test_json_of_a_level_has_no_number_that_json_does_not_know(client: TestClient, name: str) -> None:
    answer = client.get(f"/panel/metric-level.json?name={name}&by=all", headers=key(client))
    assert answer.status_code == 200, answer.text
    json.loads(answer.text, parse_constant=pytest.fail)
