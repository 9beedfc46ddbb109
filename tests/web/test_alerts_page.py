"""The page of alerts: what stands is said in a sentence with interval and n, answered with a note, and pulled by two."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from jurat.telemetry.alert_view import alert_id
from tests.web.watched import HOSTILE, Watched, csrf, watched

CHAT = alert_id("refusal_rate", {"endpoint": "/v1/chat"})


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with watched(tmp_path_factory.mktemp("alerts"), hostile=True) as made:
        yield made


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_the_inbox_says_what_it_means_with_interval_n_and_baseline(one: Watched) -> None:
    page = one.login().get("/alerts").text
    told = text_of(page)
    assert re.search(
        r"Refusal rate at endpoint /v1/chat rose to \d+\.\d % \[\d+\.\d, \d+\.\d\] n\s?=\s?[\d,]+ since \S+Z\s?, "
        r"against \d\.\d % before",
        told,
    )
    assert "shadow alarms are found and written down; nobody is told" in told
    assert "■ firing" in told and "2 slices are at the baseline" in told
    assert "0.05 false alarms a week" in told and "would pull assistant" in told
    assert "<svg" in page and "onset" in page


def test_what_traffic_named_is_inert_on_every_page_and_in_every_file(one: Watched) -> None:
    browser = one.login()
    identifier = alert_id("refusal_rate", {"endpoint": HOSTILE})
    for path in ("/alerts", f"/alerts/{identifier}", "/ledger?kind=alert"):
        page = browser.get(path).text
        assert "<script>alert" not in page and "\x1b" not in page and "\u202e" not in page, path
    assert "&lt;script&gt;" in browser.get(f"/alerts/{identifier}").text
    for form in ("json", "csv", "sql"):
        answer = browser.get(f"/panel/alert-minutes.{form}", params={"id": identifier})
        assert answer.status_code == 200 and "html" not in answer.headers["content-type"]
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert browser.get("/panel/alert-minutes/receipt", params={"id": CHAT}).json()["tables"]["spans"]["files"] == 1


def test_an_alarm_is_acknowledged_and_resolved_with_a_note(tmp_path: Path) -> None:
    with watched(tmp_path) as one:
        browser = one.login("analyse")
        page = browser.get(f"/alerts/{CHAT}").text
        token = csrf(page)
        done = browser.post(
            f"/alerts/{CHAT}", data={"csrf": token, "wish": "acknowledge", "note": "the <b>rollout</b>"}
        )
        assert done.status_code == 200 and "The alarm is acknowledged" in done.text
        assert "seen: the &lt;b&gt;rollout&lt;/b&gt;" in done.text and "against" in text_of(done.text)
        assert "▲ acknowledged" in text_of(browser.get("/alerts").text)
        done = browser.post(f"/alerts/{CHAT}", data={"csrf": token, "wish": "resolve", "note": "rolled back"})
        assert "The alarm is resolved" in done.text and "ada" in done.text
        assert "no alarm stands" in text_of(browser.get("/alerts").text)
        for wish, note in (("resolve", "again"), ("explode", "x"), ("acknowledge", "")):
            refused = browser.post(f"/alerts/{CHAT}", data={"csrf": token, "wish": wish, "note": note})
            assert refused.status_code == 409, wish


def test_a_form_without_this_sessions_token_changes_nothing(one: Watched) -> None:
    browser = one.login()
    for data in ({"wish": "acknowledge", "note": "x"}, {"csrf": "wrong", "wish": "acknowledge", "note": "x"}):
        assert browser.post(f"/alerts/{CHAT}", data=data).status_code == 403
    foreign = {"csrf": csrf(browser.get("/alerts").text), "wish": "open", "feature": "assistant", "reason": "x"}
    refused = browser.post("/alerts/breaker", data=foreign, headers={"origin": "https://evil.example"})
    assert refused.status_code == 403
    assert one.sentinel.answer("assistant")["state"] == "closed"


def test_two_people_put_a_feature_back_and_one_alone_cannot(tmp_path: Path) -> None:
    with watched(tmp_path, hours=1, spike_minutes=0) as one:
        ada, bob = one.login(owner="ada"), one.login(owner="bob")

        def act(browser: object, **fields: str) -> tuple[int, str]:
            token = csrf(browser.get("/alerts").text)  # type: ignore[attr-defined]
            done = browser.post("/alerts/breaker", data={"csrf": token, "feature": "assistant", **fields})  # type: ignore[attr-defined]
            return done.status_code, text_of(done.text)

        status, told = act(ada, wish="open", reason="reports", dry_run="yes")
        assert status == 200 and "Dry run: the breaker would open now" in told and "closed: served" in told
        status, told = act(ada, wish="open", reason="reports", minutes="20")
        assert "The breaker is open" in told and "open: not served" in told and "reports" in told
        assert "Written down as a proposal" in act(ada, wish="close", reason="mended")[1]
        status, told = act(ada, wish="close", reason="mended")
        assert status == 409 and "somebody else must agree" in told.lower()
        assert "Agree to close" in text_of(bob.get("/alerts").text)
        assert "The breaker is closed" in act(bob, wish="close", reason="looked at it")[1]
        assert one.sentinel.answer("assistant")["by"] == ["ada", "bob"]
        for fields in (
            {"wish": "open", "reason": ""},
            {"wish": "open", "reason": "x", "minutes": "nan"},
            {"wish": "open", "reason": "x", "minutes": "-1"},
            {"wish": "pull", "reason": "x"},
        ):
            assert act(bob, **fields)[0] == 409


def test_roles_and_tenants_are_kept(one: Watched) -> None:
    reader = one.login("analyse")
    page = reader.get("/alerts").text
    assert "takes the role approve" in page and "Open breaker" not in page
    data = {"csrf": csrf(page), "wish": "open", "feature": "assistant", "reason": "x"}
    assert reader.post("/alerts/breaker", data=data).status_code == 403
    tenant = one.login(tenant="acme")
    for path in (
        "/alerts",
        f"/alerts/{CHAT}",
        "/ledger",
        "/ledger/home/0.json",
        f"/panel/alert-minutes.json?id={CHAT}",
    ):
        assert tenant.get(path).status_code == 403, path
    assert one.client.get("/alerts").status_code == 401
    assert reader.get("/alerts/0000000000000000").status_code == 404


def test_a_server_that_watches_nothing_says_how_to_begin(tmp_path: Path) -> None:
    from fastapi.testclient import TestClient

    from jurat.web.app import create_app

    with watched(tmp_path, hours=1, spike_minutes=0) as one:
        browser = TestClient(create_app(one.ingest, one.control), headers={"accept": "text/html"})
        page = browser.get("/alerts", headers=one.key("analyse"))
        assert page.status_code == 200 and "jurat serve LAKE --bar bar.toml" in page.text
        assert "No feature is declared" in page.text
