"""The page *Now* and the forms of its figures."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from fastapi.testclient import TestClient

from jurat.store.control import Control
from jurat.store.engine import DuckDB
from jurat.store.lake import Lake
from jurat.telemetry.derive import Settings
from jurat.telemetry.ingest import Ingest
from jurat.web.app import create_app
from jurat.web.now_data import Asked
from jurat.web.sessions import Person
from tests.telemetry.minutes_case import UNTIL, add, make_lake, turns

BROWSER = {"accept": "text/html"}
FORMULA = "=HYPERLINK(1)"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    lake = make_lake(tmp_path_factory.mktemp("now") / "lake")
    strange = turns(UNTIL - 10, UNTIL, per_minute=4, seed=8, name="x")
    place = strange.schema.get_field_index("endpoint")
    add(lake, strange.set_column(place, "endpoint", pa.array([FORMULA] * len(strange), pa.string())), 8)
    return lake


@pytest.fixture(scope="module")
def client(lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    ingest = Ingest(lake.root, Settings(user_secret=b"s" * 32), start=False)
    app = create_app(ingest, Control(tmp_path_factory.mktemp("home") / "control.sqlite"))
    client = TestClient(app)
    client.get("/", params={"token": app.state.site.sessions.first_token})
    yield client
    ingest.close()


def _panels(client: TestClient) -> list[str]:
    return [key for key in client.app.state.site.panels if key.startswith("now-")]  # type: ignore[attr-defined]


def test_the_page_shows_every_tile_with_interval_n_and_state(client: TestClient) -> None:
    page = client.get("/", headers=BROWSER).text
    tiles = (
        "Traffic",
        "Refusal rate",
        "Error rate",
        "Latency p95",
        "Time to first token",
        "Output tokens",
        "Cost per turn",
    )
    for word in (*tiles, "Thumbs up"):
        assert word in page
    assert page.count('class="tile ') == 8 and page.count('class="spark"') == 8
    assert page.count('<span class="range">[') >= 8 and "would show" in page
    assert "lake version" in page and "committed" in page and "2026-11-18T14:20Z" in page
    assert "days old" in page or "hours old" in page, "the newest turn is of the past, and that is said"


def test_what_stands_out_is_said_in_a_sentence(client: TestClient) -> None:
    page = client.get("/", headers=BROWSER).text
    assert "Refusals of /chat for pro rose from" in page and "since about 14:0" in page


@pytest.mark.parametrize("form", ["json", "csv", "sql"])
def test_every_figure_has_its_forms(client: TestClient, form: str) -> None:
    for key in _panels(client):
        answer = client.get(f"/panel/{key}.{form}?window=60&tier=pro")
        assert answer.status_code == 200, key
        if form == "json":
            document = answer.json()
            assert document["key"] == key and document["question"] and document["receipt"]["tables"]
            assert "NaN" not in answer.text and "Infinity" not in answer.text
        elif form == "csv":
            rows = list(csv.reader(io.StringIO(answer.text)))
            assert len({len(row) for row in rows}) <= 1, key
            assert answer.headers["content-disposition"] == f'attachment; filename="{key}.csv"'


def test_the_numbers_of_the_page_are_those_of_its_files(client: TestClient) -> None:
    page = client.get("/", headers=BROWSER).text
    row = client.get("/panel/now-refusals.json").json()["rows"][0]["value"]
    assert f"{100 * row['value']:.1f} %" in page and f"n={row['n']:,}" in page


def test_the_sql_of_a_figure_gives_its_rows_from_the_lake(client: TestClient, lake: Lake) -> None:
    engine = DuckDB.from_files({"rollup_1m": [Path(p) for p in lake.paths("rollup_1m")]})
    receipt = client.get("/panel/now-refusals/receipt").json()
    sql = client.get("/panel/now-refusals.sql").text
    bare = "\n".join(line for line in sql.splitlines() if not line.startswith("-- $"))
    assert hashlib.sha256(bare.encode()).hexdigest() == receipt["sql_sha256"]
    rows = engine.query(sql, parameters=receipt["parameters"]).to_pylist()
    window = [r for r in rows if UNTIL - 15 <= r["at_minute"] < UNTIL]
    shown = client.get("/panel/now-refusals.json").json()["rows"][0]["value"]
    assert sum(r["n"] for r in window if r["measure"] == "labelled") == shown["n"]
    k = sum(r["n"] for r in window if r["measure"] == "refused")
    assert k == round(shown["value"] * shown["n"])
    assert receipt["tables"]["rollup_1m"]["version"] == lake.version("rollup_1m") and receipt["provisional"] is False


def test_a_permalink_shows_the_same_numbers_after_more_has_come(tmp_path: Path) -> None:
    lake = make_lake(tmp_path / "lake", per_minute=8)
    ingest = Ingest(lake.root, Settings(user_secret=b"s" * 32), start=False)
    app = create_app(ingest, Control(tmp_path / "control.sqlite"))
    with TestClient(app) as client:
        client.get("/", params={"token": app.state.site.sessions.first_token})
        before = client.get("/panel/now-errors.json").json()
        add(lake, turns(UNTIL, UNTIL + 5, per_minute=30, seed=4, name="later"))
        address = before["permalink"].replace("/?", "/panel/now-errors.json?").split("#")[0]
        again = client.get(address).json()
        assert again["rows"][0] == before["rows"][0]
        assert "held still" in client.get(before["permalink"], headers=BROWSER).text


def test_a_spreadsheet_runs_no_cell(client: TestClient) -> None:
    text = client.get("/panel/now-refusals-by-endpoint-and-tier.csv").text
    cells = {row[0] for row in csv.reader(io.StringIO(text))}
    assert "'" + FORMULA in cells and FORMULA not in cells
    assert FORMULA in {
        r["endpoint"] for r in client.get("/panel/now-refusals-by-endpoint-and-tier.json").json()["rows"]
    }


@pytest.mark.parametrize(
    "query", ["window=7", "window=x", "at=yesterday", "at=99999-01-01", "window=99999999999999999999"]
)
def test_an_address_that_cannot_be_read_is_told_and_no_stack_shown(client: TestClient, query: str) -> None:
    answer = client.get(f"/?{query}", headers=BROWSER)
    assert answer.status_code == 400 and "Traceback" not in answer.text and "<h1>" in answer.text
    assert client.get(f"/panel/now-errors.json?{query}").status_code == answer.status_code


def test_a_slice_without_turns_is_an_answer(client: TestClient) -> None:
    page = client.get("/?endpoint=%3Cscript%3E", headers=BROWSER)
    assert page.status_code == 200 and "<script>" not in page.text and "&lt;script&gt;" in page.text
    assert "no data" in page.text and "not defined" in page.text


def test_a_model_is_shown_from_its_turns(client: TestClient) -> None:
    every = client.get("/panel/now-refusals.json").json()["rows"][0]["value"]["n"]
    parts = [
        client.get(f"/panel/now-refusals.json?model={m}").json()["rows"][0]["value"]["n"] for m in ("large", "small")
    ]
    assert sum(parts) == every and min(parts) > 0
    thumbs = client.get("/panel/now-thumbs.json?model=small").json()["rows"][0]["value"]
    assert thumbs["value"] is None and "slice" in thumbs["reason"]


def test_an_empty_lake_says_how_to_begin(tmp_path: Path) -> None:
    ingest = Ingest(tmp_path / "lake", Settings(user_secret=b"s" * 32), start=False)
    app = create_app(ingest, Control(tmp_path / "control.sqlite"))
    with TestClient(app) as client:
        client.get("/", params={"token": app.state.site.sessions.first_token})
        page = client.get("/", headers=BROWSER)
        assert page.status_code == 200 and "OTEL_EXPORTER_OTLP_ENDPOINT" in page.text
        for key in _panels(client):
            assert client.get(f"/panel/{key}.json").status_code == 200, key


def test_what_is_acknowledged_and_not_committed_makes_a_figure_provisional(tmp_path: Path) -> None:
    ingest = Ingest(tmp_path / "lake", Settings(user_secret=b"s" * 32), start=False)
    app = create_app(ingest, Control(tmp_path / "control.sqlite"))
    with TestClient(app) as client:
        client.get("/", params={"token": app.state.site.sessions.first_token})
        ingest.receive(
            "feedback/json", json.dumps({"response_id": "r", "kind": "copy"}).encode(), tenant="default"
        ).result(10)
        assert "provisional" in client.get("/", headers=BROWSER).text
        assert client.get("/panel/now-traffic/receipt").json()["provisional"] is True


def test_the_query_is_kept_and_nothing_else() -> None:
    person = Person(name="ada", tenant="acme", roles=frozenset({"analyse"}))
    asked = Asked.of({"tier": "pro", "window": "60", "org": "other", "x": "y", "at": "2026-11-18T14:20"}, person)
    assert asked.slice.org == "acme" and asked.until == UNTIL
    assert asked.query() == {"tier": "pro", "window": "60", "at": "2026-11-18T14:20"}
