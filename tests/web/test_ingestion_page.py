"""The page of the ingestion: what came in, what is behind, what could not be read; all of it inert, each tenant its own."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.web.watched import Watched, watched

HOSTILE = b'{"x": "<script>alert(1)</script>", "y": "\x1b[31m"} no json'


def trace(n: int, *, ahead_seconds: float = 0.0) -> bytes:
    import json

    end = int((time.time() + ahead_seconds) * 1e9)
    spans = [
        {
            "traceId": f"{i + 1:032x}", "spanId": f"{i + 1:016x}", "name": "chat", "startTimeUnixNano": str(end - 10**9),
            "endTimeUnixNano": str(end),
            "attributes": [
                {"key": "gen_ai.request.model", "value": {"stringValue": "m"}},
                {"key": "<img src=x onerror=alert(1)>", "value": {"stringValue": "x"}},
            ],
        }
        for i in range(n)
    ]  # fmt: skip
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).encode()


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with watched(tmp_path_factory.mktemp("ingestion"), hours=1, spike_minutes=0) as made:
        made.ingest.receive("traces/json", HOSTILE, tenant="acme").result()
        made.ingest.receive("traces/json", b"=cmd()", tenant="other").result()
        made.ingest.receive("traces/json", trace(20, ahead_seconds=30), tenant="acme").result()
        made.ingest.flush()
        yield made


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_every_figure_of_the_ingestion_is_shown(one: Watched) -> None:
    told = text_of(one.login("analyse").get("/ingestion").text)
    for words in (
        "Behind the senders ● keeps up 0 s", "20 spans", "Dead letters since the start ▲ look 2", "Write-ahead log ● room",
        "Failed flushes ● none 0 of 1",
        "Clocks ahead of ours ▲ skewed 20 turns of the last 20 ended after they arrived",
        "Late for the monitors ● none 0",
        "Attributes that no alias knows",
    ):  # fmt: skip
        assert words in told, words


def test_what_lies_behind_and_fails_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with watched(tmp_path, hours=1, spike_minutes=0) as one:
        one.ingest.receive("traces/json", trace(3), tenant="acme").result()
        one.ingest.counts.flush_errors, one.ingest.counts.last_error = 2, "the disk is <b>full</b>"
        browser = one.login("analyse")
        browser.get("/ingestion")
        far = time.time() + 400
        monkeypatch.setattr("jurat.web.ingestion_page.time.time", lambda: far)
        page = browser.get("/ingestion").text
        assert "■</span> stuck" in page and "the disk is &lt;b&gt;full&lt;/b&gt;" in page


def test_dead_letters_are_inert_on_the_page_and_in_the_files(one: Watched) -> None:
    browser = one.login("analyse")
    page = browser.get("/ingestion").text
    assert "<script>alert" not in page and "<img src=x" not in page and "\x1b" not in page
    assert "&lt;script&gt;alert(1)" in page and "␛[31m" in page
    table = browser.get("/panel/dead-letters.csv").text
    assert "'=cmd()" in table and "\x1b" not in table
    assert browser.get("/panel/dead-letters.json").headers["content-type"] == "application/json"
    assert "FROM dead_letters" in browser.get("/panel/dead-reasons.sql").text
    assert browser.get("/panel/unmapped.json").json()["rows"][0]["attribute"] == "<img src=x onerror=alert(1)>"


def test_a_tenant_sees_its_own_dead_letters_and_no_more(one: Watched) -> None:
    browser = one.login("analyse", tenant="acme")
    page = browser.get("/ingestion").text
    assert "tenant acme" in page and "=cmd()" not in page and "tenant other" not in page
    assert "for keys of the default tenant" in page and "onerror" not in page
    assert "=cmd()" not in browser.get("/panel/dead-letters.csv").text
    assert browser.get("/panel/unmapped.json").status_code == 403
