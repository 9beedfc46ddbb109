"""What people do in a browser: read a conversation for a reason, answer an alarm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.browser.conftest import HOSTILE, Served

Opened = Callable[..., Any]


def test_text_is_shown_only_for_a_reason_which_is_kept(served: Served, open_page: Opened) -> None:
    page = open_page(f"/conversations/{served.conversation}")
    page.wait_for_selector("#reveal")
    assert "question" not in page.locator("main").inner_text().replace("question is", "")
    assert "not shown" in page.locator("main").inner_text()
    page.fill("#reason", "too")
    page.locator("#reveal button.primary").click()
    assert page.locator("#reason").evaluate("field => field.checkValidity()") is False, "three letters are no reason"
    page.fill("#reason", "refusal spike on chat: are these harmless?")
    page.locator("#reveal button.primary").click()
    page.wait_for_load_state()
    shown = page.locator("main").inner_text()
    assert "⟨U+202E⟩␛[31m=cmd() question" in shown and "</p><script>alert(" in shown
    assert HOSTILE not in shown and page.locator("main img, main script").count() == 0
    page.goto(served.url + "/ledger")
    page.wait_for_selector("main h1")
    assert "text.revealed" in page.locator("main").inner_text()
    assert "are these harmless?" in page.content() and "owner" in page.content()


def test_an_alarm_is_acknowledged_with_a_note(served: Served, open_page: Opened) -> None:
    page = open_page("/alerts")
    form = page.locator("form.answer", has=page.get_by_role("button", name="Acknowledge")).first
    form.locator("input:not([type=hidden]), textarea").first.fill("looking: the new prompt <b>refuses</b>")
    form.get_by_role("button", name="Acknowledge").click()
    page.wait_for_load_state()
    page.goto(served.url + "/alerts")
    shown = page.locator("main").inner_text()
    assert "acknowledged" in shown and page.locator("main b", has_text="refuses").count() == 0


def test_the_first_page_says_that_an_alarm_stands(served: Served, open_page: Opened) -> None:
    page = open_page()
    notice = page.locator("#notices")
    assert "refusal_rate" in notice.inner_text()
    notice.get_by_role("link", name="To the alerts").first.click()
    page.wait_for_url("**/alerts")
