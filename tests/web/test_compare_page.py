"""Releases side by side on a page: choices, margins of bars that were given, pictures, and files that agree with it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from jurat.web.compare_page import named_bars
from tests.web.talks import Served, serving, turn

BAR = """
title = "r2"
question = "May r2 replace r1?"
owner = "release"
plan = { population = "turns", unit = "turn", cluster = "user" }
arms = { column = "release", baseline = "r1", candidate = "r2" }
[[pair]]
name = "help against harm"
value = { metric = "regenerate_rate", comparison = "non-inferior", margin = 0.05 }
risk = { metric = "refusal_rate", comparison = "non-inferior", margin = 0.9 }
[[guardrail]]
name = "errors"
metric = "error_rate"
comparison = "superior"
margin = -0.9
[[guardrail]]
name = "slow chat"
metric = "latency_quantile"
where = { endpoint = "chat" }
comparison = "non-inferior"
margin = 900000.0
[[line]]
name = "harm ceiling"
metric = "harmful_compliance_rate"
bound = "upper"
limit = 0.06
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("releases")
    (folder / "bar.toml").write_text(BAR)
    rows = [turn(i, model="m-2" if i % 7 else "m-1") for i in range(400)]
    with serving(folder, rows, bars=[folder / "bar.toml"]) as opened:
        yield opened


def test_the_newest_is_compared_with_the_one_before_by_default(served: Served) -> None:
    page = served.client.get("/releases").text
    assert "<strong>r2</strong> against <strong>r1</strong>" in page and "Observation, not effect" in page
    assert page.index('id="compare-value"') < page.index('id="compare-risk"') < page.index('id="compare-guardrail"')
    assert "users met both" in page and "jurat review" in page
    # No estimate without its interval and n.
    table = page[page.index('class="numbers"') :]
    values = re.findall(r'<span class="value">[^–<][^<]*</span>(.*?)n = [\d,]+', table, re.DOTALL)
    assert len(values) > 30 and all('class="range">[' in v or 'class="why"' in v for v in values)


def test_a_bar_draws_its_margins_and_says_what_clears(served: Served) -> None:
    page = served.client.get("/releases", params={"bar": "bar"}).text
    assert page.count('class="bar-line"') >= 4 and page.count('class="zone"') >= 4
    rows = {
        (r["metric"], r["where"]): r for key in ("value", "risk", "guardrail") for r in _rows(served, key, bar="bar")
    }
    assert (
        rows["refusal_rate", ""]["outcome"] == "clears the bar"
        and rows["error_rate", ""]["outcome"] == "violates the bar"
    )
    assert rows["latency_quantile", "endpoint = chat"]["outcome"] == "clears the bar"
    assert float(rows["refusal_rate", ""]["margin"]) == 0.9 and rows["latency_quantile", ""]["margin"] == ""
    assert "Not on this page: harm ceiling" in page and "the verdict is that of" in page


def _rows(served: Served, role: str, **query: str) -> list[dict[str, str]]:
    answer = served.client.get(f"/panel/compare-{role}.csv", params=query)
    assert answer.status_code == 200
    return list(csv.DictReader(io.StringIO(answer.text)))


def test_files_hold_the_numbers_of_the_page_with_bounds_and_n(served: Served) -> None:
    for row in _rows(served, "risk"):
        if row["difference"]:
            assert row["difference_n"] and (row["difference_low"] or row["difference_reason"])
    panel = served.client.get("/panel/compare-risk.json").json()
    refusal = next(r for r in panel["rows"] if r["metric"] == "refusal_rate")
    assert f"n = {refusal['difference']['n']:,}" in served.client.get("/releases").text
    assert panel["permalink"].startswith("/releases") and panel["receipt"]["tables"]["spans"]["version"] == 1
    sql = served.client.get("/panel/compare-risk.sql").text
    assert "-- refusal_rate" in sql and "FROM spans" in sql
    mix = served.client.get("/panel/compare-mix.json").json()["rows"]
    assert sum(r["candidate_turns"] + r["baseline_turns"] for r in mix) == 400


def test_models_windows_and_clusters_can_be_chosen(served: Served) -> None:
    page = served.client.get(
        "/releases", params={"by": "model", "candidate": "m-1", "baseline": "m-2", "cluster": "conversation"}
    )
    assert "<strong>m-1</strong> against <strong>m-2</strong>" in page.text and "by conversation" in page.text
    late = served.client.get("/releases", params={"window": "24h"})
    assert late.status_code == 400 and "this window" in late.text


@pytest.mark.parametrize(
    "query",
    [{"bar": "../../etc/passwd"}, {"bar": "/etc/passwd"}, {"by": "user_id"}, {"candidate": "<b>r9"},
     {"candidate": "r1", "baseline": "r1"},
     {"window": "1y"}, {"cluster": "x"}],
    ids=["path", "absolute", "column", "arm", "same", "window", "cluster"],
)  # fmt: skip
def test_what_cannot_be_compared_is_told_with_a_choice_left(served: Served, query: dict[str, str]) -> None:
    answer = served.client.get("/releases", params=query)
    assert answer.status_code == 400 and 'role="alert"' in answer.text and "<b>r9" not in answer.text
    assert 'name="candidate"' in answer.text and "root:" not in answer.text
    assert served.client.get("/panel/compare-value.json", params=query).status_code in (400, 404)


def test_a_tenant_compares_its_own_turns(served: Served) -> None:
    globex = served.key("analyse", tenant="globex")
    served.client.cookies, kept = type(served.client.cookies)(), served.client.cookies
    try:
        rows = served.client.get("/panel/compare-mix.json", headers=globex).json()["rows"]
        assert sum(r["candidate_turns"] + r["baseline_turns"] for r in rows) == len(range(0, 400, 3))
    finally:
        served.client.cookies = kept


def test_bars_have_names_of_their_own() -> None:
    assert named_bars([]) == {} and list(named_bars([Path("x/bar.toml")])) == ["bar"]
    assert set(named_bars([Path("x/bar.toml"), Path("y/bar.toml")])) == {"x/bar", "y/bar"}
