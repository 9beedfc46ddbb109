"""Every page of the masthead in a browser: no complaint, no barrier, by keyboard, in light and dark, live and without script."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.browser.conftest import Complaints, Served
from tests.telemetry.minutes_case import add, turns

Opened = Callable[..., Any]


_WIDE = """[...document.querySelectorAll("main *")]
  .filter((e) => e.getBoundingClientRect().right > 481 && !e.closest(".scroll, .picture"))
  .slice(0, 5).map((e) => e.outerHTML.slice(0, 150))"""


def _paths(served: Served) -> list[str]:
    return [item.path for item in served.app.state.site.nav]


def _settled(page: Any) -> None:
    page.wait_for_load_state("load")
    page.wait_for_selector("main")


def test_every_page_loads_without_a_complaint(served: Served, open_page: Opened) -> None:
    page = open_page()
    for path in _paths(served):
        answer = page.goto(served.url + path)
        assert answer.status == 200, path
        _settled(page)
        assert page.locator("main h1").count() == 1, path
        assert page.locator(".pages a[aria-current=page]").count() == 1, path
        assert page.title().endswith("Jurat"), path


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_has_a_serious_barrier(served: Served, open_page: Opened, scheme: str) -> None:
    axe_module = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python to look for barriers"
    )
    page = open_page(color_scheme=scheme)
    found = []
    for path in ["/login", *_paths(served)]:
        page.goto(served.url + path)
        _settled(page)
        for violation in axe_module.Axe().run(page).response["violations"]:
            if violation["impact"] in ("serious", "critical"):
                nodes = [" ".join(node["target"]) + ": " + node["html"][:120] for node in violation["nodes"][:3]]
                found.append(f"{path} {violation['id']}: {nodes}")
    assert found == []


def test_no_page_is_wider_than_a_telephone(served: Served, open_page: Opened) -> None:
    page = open_page(viewport={"width": 480, "height": 900})
    wide = {}
    for path in _paths(served):
        page.goto(served.url + path)
        _settled(page)
        if page.evaluate("document.documentElement.scrollWidth") > 480:
            wide[path] = page.evaluate(_WIDE)
    assert wide == {}


def test_pages_work_without_script(served: Served, open_page: Opened) -> None:
    page = open_page(java_script_enabled=False)
    for path in _paths(served):
        page.goto(served.url + path)
        assert page.locator("main h1").count() == 1, path
    page.goto(served.url + "/")
    page.select_option("select[name=tier]", "pro")
    page.get_by_role("button", name="Show").click()
    assert "tier=pro" in page.url and page.locator("#now-traffic .value").inner_text()


def test_login_by_form_and_logout(served: Served, open_page: Opened, complaints: Complaints) -> None:
    complaints.expected += ["401"]
    page = open_page("/?window=60", login=False)
    assert page.url.endswith("/login?next=/%3Fwindow%3D60")
    page.fill("#key", "wrong")
    page.get_by_role("button", name="Log in").click()
    assert "opens nothing" in page.get_by_role("alert").inner_text()
    page.fill("#key", served.control.create_key(owner="ada", roles={"analyse"}).token)
    page.keyboard.press("Enter")
    page.wait_for_url("**/?window=60")
    cookies = page.context.cookies()
    assert [(c["httpOnly"], c["sameSite"]) for c in cookies] == [(True, "Strict")]
    assert page.evaluate("document.cookie") == ""
    page.get_by_role("button", name="Log out ada").click()
    page.wait_for_url("**/login")
    page.goto(served.url + "/")
    assert "/login" in page.url


def test_the_token_leaves_the_address(served: Served, open_page: Opened) -> None:
    page = open_page()
    assert page.url == served.url + "/" and served.token not in page.content()


def test_a_tile_changes_when_the_lake_does_without_loading_again(served: Served, open_page: Opened) -> None:
    page = open_page()
    page.wait_for_selector("#live[data-state=live]")
    before = page.locator("#now-errors .range").first.inner_text()
    page.evaluate("window.kept = true")
    details = page.locator("#now-latency-by-minute details")
    details.locator("summary").click()
    page.evaluate("document.activeElement.blur()")
    now = int(time.time()) // 60
    add(served.ingest.lake, turns(now - 2, now, per_minute=60, seed=int(time.time()), name=f"live{time.time()}"), 60)
    page.wait_for_function(
        "(was) => document.querySelector('#now-errors .range').innerText !== was", arg=before, timeout=20_000
    )
    assert page.evaluate("window.kept") is True, "the page was loaded again"
    assert details.get_attribute("open") is not None, "what was opened was closed"
    assert "live" in page.locator("#live").inner_text()


def test_light_and_dark_by_system_and_by_choice_which_is_kept(served: Served, open_page: Opened) -> None:
    def paper(page: Any) -> str:
        return str(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))

    assert paper(open_page(color_scheme="light")) == "rgb(251, 250, 247)"
    page = open_page(color_scheme="dark")
    assert paper(page) == "rgb(19, 23, 28)"
    page.get_by_role("button", name="light / dark").click()
    assert paper(page) == "rgb(251, 250, 247)"
    page.reload()
    assert paper(page) == "rgb(251, 250, 247)"
    page.keyboard.press("t")
    assert paper(page) == "rgb(19, 23, 28)"


def test_the_keyboard_reaches_everything(served: Served, open_page: Opened) -> None:
    page = open_page()
    _settled(page)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    for item in served.app.state.site.nav:
        page.goto(served.url + ("/login" if item.path == "/" else "/"))
        if item.path == "/":
            page.goto(served.url + (_paths(served)[-1]))
        _settled(page)
        page.keyboard.press("g")
        page.keyboard.press(item.letter)
        page.wait_for_url(served.url + item.path, timeout=15_000)
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#help").is_visible()
    assert len({item.letter for item in served.app.state.site.nav}) == len(_paths(served))


def test_keys_are_letters_while_somebody_writes(served: Served, open_page: Opened) -> None:
    page = open_page()
    page.focus("select[name=tier]")
    page.keyboard.press("g")
    page.keyboard.press("c")
    page.wait_for_timeout(200)
    assert page.url.split("?")[0] == served.url + "/"


def test_names_that_strangers_chose_are_shown_and_do_nothing(served: Served, open_page: Opened) -> None:
    page = open_page()
    for path in _paths(served):
        page.goto(served.url + path)
        _settled(page)
        assert page.locator("main img").count() == 0, path
        shown = page.locator("main").inner_text()
        assert "\u202e" not in shown, path
        assert "\x1b" not in shown, path
    page.goto(served.url + "/")
    assert "<img src=x onerror=alert(1)>⟨U+202E⟩␛[31m=cmd()" in page.locator(".matrix").inner_text()


def test_a_choice_of_slice_is_an_address(served: Served, open_page: Opened) -> None:
    page = open_page()
    page.select_option("select[name=endpoint]", "/chat")
    page.wait_for_url("**endpoint=%2Fchat**")
    page.select_option("select[name=window]", "60")
    page.wait_for_url("**window=60**")
    assert page.locator("#shown").inner_text().startswith("1 hour")
    link = page.locator("#now-refusals-chart").get_by_role("link", name="permalink").get_attribute("href")
    page.goto(served.url + link)
    assert "held still" in page.locator("main").inner_text() and page.locator("[data-live]").count() == 0


def test_every_figure_leads_to_its_forms(served: Served, open_page: Opened) -> None:
    page = open_page()
    dead = []
    for path in _paths(served):
        page.goto(served.url + path)
        _settled(page)
        links = page.eval_on_selector_all(".forms a", "links => links.map(a => a.getAttribute('href'))")
        for link in dict.fromkeys(href for href in links if href.startswith("/panel/")):
            answer = page.request.get(served.url + link)
            if answer.status != 200:
                dead.append((path, link, answer.status))
    assert dead == []
