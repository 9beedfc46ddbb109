"""The list, its filter and exports; the view of turns; text that comes out with a role, a reason and a record, or not at all."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from jurat.evidence.ledger import read_entries
from jurat.web.addressed import from_address, to_address, to_value
from jurat.web.conversations_page import conversation_address
from tests.web.talks import HOSTILE, Served, serving, turn

WHY = "Refusals of chat rose: are these requests harmless?"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    thumbs = [
        {"feedback_id": f"f{i}", "span_id": f"s{i}", "kind": "thumb", "value": (-1.0) ** i, "text": f"words {i}", "ts": i}
        for i in range(0, 240, 9)
    ]  # fmt: skip
    with serving(tmp_path_factory.mktemp("talks"), [turn(i) for i in range(240)], feedback=thumbs) as opened:
        yield opened


def _rows(served: Served, **query: str) -> list[dict[str, str]]:
    answer = served.client.get("/conversations.csv", params=query)
    assert answer.status_code == 200 and answer.headers["content-type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(answer.text)))


def test_the_list_has_the_latest_first_without_a_word_of_text(served: Served) -> None:
    page = served.client.get("/conversations").text
    assert page.index("talk-59") < page.index("talk-58") < page.index("talk-10") and "talk-9<" not in page
    assert "<strong>60</strong> conversations" in page and "older →" in page
    assert "prompt of" not in page and "response of" not in page and "words 9" not in page


def test_a_filter_counts_and_its_exports_hold_what_matches(served: Served) -> None:
    where = "refused and endpoint = 'chat' and latency_ms > 1000"
    expected = {
        f"talk-{i // 4}" for i in range(240)
        if i % 29 and i % 6 == 0 and i % 5 and 500 + 40 * (i % 60) > 1000
    }  # fmt: skip
    page = served.client.get("/conversations", params={"where": where}).text
    assert f"<strong>{len(expected)}</strong> of 60 match" in page and "refused and endpoint = &#39;chat&#39;" in page
    assert {row["conversation"] for row in _rows(served, where=where)} == expected
    lines = served.client.get("/conversations.jsonl", params={"where": where}).text.splitlines()
    assert {json.loads(line)["conversation"] for line in lines} == expected
    panel = served.client.get("/panel/conversations.json", params={"where": where}).json()
    assert {row["conversation"] for row in panel["rows"]} == expected and panel["receipt"]["tables"]["spans"][
        "version"
    ] == 1
    sql = served.client.get("/panel/conversations.sql", params={"where": where}).text
    assert '-- $f0 = "chat"' in sql and "latency_ms" in sql and "chat'" not in sql


def test_pages_follow_one_another_to_the_end(served: Served) -> None:
    seen, query = [], {}
    for _ in range(3):
        listed = served.client.get("/panel/conversations.json", params=query).json()
        seen += [row["conversation"] for row in listed["rows"]]
        page = served.client.get("/conversations", params=query).text
        if "older →" not in page:
            break
        query = {"after": page.split("after=")[1].split('"')[0]}
    assert seen == [f"talk-{i}" for i in range(59, -1, -1)]


@pytest.mark.parametrize(
    "where", ["modle = 'x'", "refused; x", "prompt like '%secret%'", "(", "<script>", "turns > 'x'"]
)
def test_a_filter_that_is_none_is_told_on_the_page_and_in_the_files(served: Served, where: str) -> None:
    page = served.client.get("/conversations", params={"where": where})
    assert (
        page.status_code == 400
        and 'role="alert"' in page.text
        and "<script>" not in page.text.replace("<script type", "")
    )
    for path in ("/conversations.csv", "/conversations.jsonl"):
        answer = served.client.get(path, params={"where": where})
        assert answer.status_code == 400 and answer.json()["error"]
    assert served.client.get("/panel/conversations.json", params={"where": where}).status_code in (400, 404)


def test_near_names_are_offered(served: Served) -> None:
    assert "did you mean &#39;model&#39;" in served.client.get("/conversations", params={"where": "modle = 'x'"}).text


@pytest.mark.parametrize("query", [{"after": "???"}, {"window": "1y"}], ids=["after", "window"])
def test_addresses_that_make_no_sense_are_told(served: Served, query: dict[str, str]) -> None:
    assert served.client.get("/conversations", params=query).status_code == 400


def test_one_conversation_shows_facts_and_lengths_and_no_words(served: Served) -> None:
    page = served.client.get("/conversations/talk-7").text
    assert page.count("not shown: reading it needs a reason") == 8 and "prompt of" not in page
    assert "13 characters" in page and "Turn 4" in page and "<svg" in page
    rows = served.client.get("/panel/conversation-turns.json", params={"conversation": "talk-7"}).json()["rows"]
    assert [row["span_id"] for row in rows] == ["s28", "s29", "s30", "s31"] and rows[1]["status"] == "error"
    assert not {"prompt", "response"} & rows[0].keys()


@pytest.mark.parametrize("name", ["nobody", "~", "~!!", "~////", "~" + "A" * 7000])
def test_what_is_not_there_is_not_found(served: Served, name: str) -> None:
    answer = served.client.get(f"/conversations/{name}")
    assert answer.status_code in (400, 404) and "prompt of" not in answer.text


def test_names_of_any_characters_fit_into_an_address() -> None:
    for identifier in [*HOSTILE.values(), "plain-1", "..", ".", "~x", "a/b", "é", "x" * 300, "\ud800"]:
        name = to_address(identifier)
        assert from_address(name, "conversation") == from_address(to_value(identifier), "conversation") == identifier
        assert set(name) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:-~") and name not in (
            ".",
            "..",
        )
        assert conversation_address(identifier).startswith("/conversations/")


# Reveal ---------------------------------------------------------------------------------------------------------------


def _entries(served: Served) -> list[dict[str, object]]:
    path = served.home / "ledger.jsonl"
    return [dict(e.body) for e in read_entries(path) if e.kind == "text.revealed"] if path.exists() else []


def test_a_reason_opens_the_text_and_stands_in_the_ledger(served: Served) -> None:
    before = len(_entries(served))
    fields = {"csrf": served.csrf("/conversations/talk-9"), "reason": WHY}
    answer = served.client.post("/conversations/talk-9/reveal", data=fields)
    assert answer.status_code == 200 and "prompt of s36" in answer.text and "response of s39" in answer.text
    assert (
        "words 36" in answer.text and "Text is shown." in answer.text and answer.headers["cache-control"] == "no-store"
    )
    (entry,) = _entries(served)[before:]
    assert {k: entry[k] for k in ("who", "conversation", "reason", "turns", "tenant")} == {
        "who": "owner", "conversation": "talk-9", "reason": WHY, "turns": 4, "tenant": "default",
    }  # fmt: skip
    again = served.client.get("/conversations/talk-9").text
    assert "prompt of" not in again and "words 36" not in again and "comment of 8 characters, not shown" in again


@pytest.mark.parametrize("reason", ["", "short", "         "])
def test_without_a_reason_the_page_says_so_and_shows_nothing(served: Served, reason: str) -> None:
    before = len(_entries(served))
    fields = {"csrf": served.csrf("/conversations/talk-9"), "reason": reason}
    answer = served.client.post("/conversations/talk-9/reveal", data=fields)
    assert answer.status_code == 400 and "a reveal needs a reason" in answer.text and "prompt of" not in answer.text
    assert len(_entries(served)) == before


def test_a_form_from_elsewhere_or_without_its_token_reveals_nothing(served: Served) -> None:
    before = len(_entries(served))
    csrf = served.csrf("/conversations/talk-9")
    for fields, headers in (
        ({"reason": WHY}, {}),
        ({"reason": WHY, "csrf": "x" * 43}, {}),
        ({"reason": WHY, "csrf": csrf}, {"origin": "https://evil.example"}),
        ({"reason": WHY, "csrf": csrf}, {"sec-fetch-site": "cross-site"}),
    ):
        answer = served.client.post("/conversations/talk-9/reveal", data=fields, headers=headers)
        assert answer.status_code == 403 and "prompt of" not in answer.text
    assert served.client.get("/conversations/talk-9/reveal").status_code == 405
    assert len(_entries(served)) == before


def test_only_those_who_may_read_are_asked_for_a_reason(served: Served) -> None:
    before = len(_entries(served))
    analyst, annotator = served.key("analyse"), served.key("analyse", "annotate", owner="bob")
    served.client.cookies, kept = type(served.client.cookies)(), served.client.cookies
    try:
        page = served.client.get("/conversations/talk-9", headers=analyst).text
        assert "Needs the role" in page and "<textarea" not in page
        refused = served.client.post("/conversations/talk-9/reveal", data={"reason": WHY}, headers=analyst)
        assert refused.status_code == 403 and "prompt of" not in refused.text and len(_entries(served)) == before
        shown = served.client.post("/conversations/talk-9/reveal", data={"reason": WHY}, headers=annotator)
        assert shown.status_code == 200 and "prompt of s36" in shown.text and _entries(served)[-1]["who"] == "bob"
        ingest_only = served.client.get("/conversations", headers=served.key("ingest"))
        assert ingest_only.status_code in (401, 403) and "talk-" not in ingest_only.text
    finally:
        served.client.cookies = kept


def test_where_the_ledger_cannot_be_written_nothing_is_shown(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Path) -> object:
        def record(_: object) -> int:
            raise OSError("no space left on device")

        return record

    monkeypatch.setattr("jurat.web.conversations_page.ledger_of_reveals", broken)
    fields = {"csrf": served.csrf("/conversations/talk-9"), "reason": WHY}
    with pytest.raises(OSError, match="no space"):
        served.client.post("/conversations/talk-9/reveal", data=fields)


def test_a_tenant_sees_and_reads_its_own(served: Served) -> None:
    globex = served.key("analyse", "annotate", tenant="globex", owner="gil")
    served.client.cookies, kept = type(served.client.cookies)(), served.client.cookies
    try:
        text = served.client.get("/conversations.csv", headers=globex).text
        turns = sum(int(row["turns"]) for row in csv.DictReader(io.StringIO(text)))
        assert turns == 80
        shown = served.client.post("/conversations/talk-9/reveal", data={"reason": WHY}, headers=globex).text
        # Of the turns 36 to 39 two are theirs.
        assert [f"prompt of s{i}" in shown for i in range(36, 40)] == [True, False, False, True]
        stranger = served.key("analyse", "annotate", tenant="nobody")
        assert served.client.get("/conversations/talk-9", headers=stranger).status_code == 404
        assert "60" not in served.client.get("/conversations", headers=stranger).text.split("shown")[1][:60]
        assert served.client.get("/releases", headers=stranger).status_code == 200
    finally:
        served.client.cookies = kept


def test_an_empty_lake_says_what_to_do(tmp_path: Path) -> None:
    with serving(tmp_path, []) as empty:
        assert "point an OpenTelemetry exporter at this server" in empty.client.get("/conversations").text
        assert "a comparison needs two releases" in empty.client.get("/releases").text
        assert empty.client.get("/conversations.csv").text == ""
