"""The page of the ledger: it says whether the chain holds, shows the newest first, and gives out the signed envelope."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jurat.evidence.dsse import open_envelope
from jurat.evidence.keys import load_or_create_key
from jurat.evidence.ledger import Ledger
from tests.web.watched import watched


def test_entries_come_newest_first_in_pages_with_signer_and_envelope(tmp_path: Path) -> None:
    with watched(tmp_path, hours=3, spike_minutes=0) as one:
        home = tmp_path / "home"
        key = load_or_create_key(home)
        ledger = Ledger(home / "ledger.jsonl", key)
        for number in range(60):
            ledger.append("note", {"text": f"number {number} <script>alert(1)</script>"})
        browser = one.login("analyse")
        page = browser.get("/ledger").text
        assert "chain and signatures hold" in page and "nothing sworn yet" in page
        assert "page 1 of 2" in page and "number 59" in page and "number 3 " not in page
        assert "<script>alert" not in page and "&lt;script&gt;" in page
        older = browser.get("/ledger?page=2").text
        assert "the chain begins" in older and "number 3 " in older
        assert "page 2 of 2" in browser.get("/ledger?page=99").text
        assert "number 59" in browser.get("/ledger?page=x").text
        only = browser.get("/ledger?kind=alert").text
        assert "number 59" not in only and "watched from now on" in only
        answer = browser.get("/ledger/home/5.json")
        assert answer.headers["content-type"] == "application/vnd.dsse.envelope+json"
        opened = open_envelope(json.loads(answer.content), [key.public], place="entry 5")
        assert opened["predicate"]["index"] == 5
        assert answer.content in ledger.path.read_bytes().splitlines(keepends=True)


def test_a_broken_chain_is_said_and_nothing_of_it_is_shown_as_sworn(tmp_path: Path) -> None:
    with watched(tmp_path, hours=3, spike_minutes=0) as one:
        path = tmp_path / "home" / "ledger.jsonl"
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join([*lines[:1], *lines[2:]]))
        page = one.login("analyse").get("/ledger").text
        assert "does not hold" in page and "was dropped or moved" in page and "watched from now on" not in page


@pytest.mark.parametrize(
    "path", ["/ledger?ledger=elsewhere", "/ledger/home/999.json", "/ledger/home/-1.json", "/ledger/..%2f..%2fx/0.json"]
)
def test_what_there_is_not_is_not_found(tmp_path: Path, path: str) -> None:
    with watched(tmp_path, hours=3, spike_minutes=0) as one:
        assert one.login("analyse").get(path).status_code == 404
