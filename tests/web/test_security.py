"""The doors: what opens without a key, what a cookie is, which forms count, what every answer carries."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.routing import BaseRoute, Route

from jurat.store.control import Control
from jurat.telemetry.derive import Settings
from jurat.telemetry.ingest import Ingest
from jurat.web.app import create_app
from jurat.web.headers import CONTENT_POLICY
from jurat.web.sessions import LIFE_SECONDS, Sessions, TooManyTries
from jurat.web.site import safe_next

OPEN = {"/healthz", "/readyz", "/login", "/logout", "/static/{name}"}
"""Paths that answer without a key: the logout ends a session if there is one, and tells nothing."""

BROWSER = {"accept": "text/html,application/xhtml+xml"}


@pytest.fixture
def control(tmp_path: Path) -> Control:
    return Control(tmp_path / "control.sqlite")


@pytest.fixture
def app(tmp_path: Path, control: Control) -> Iterator[FastAPI]:
    ingest = Ingest(tmp_path / "lake", Settings(user_secret=b"s" * 32), start=False)
    yield create_app(ingest, control)
    ingest.close()


@pytest.fixture
def client(app: FastAPI) -> TestClient:
    return TestClient(app, follow_redirects=False)


def _log_in(client: TestClient) -> None:
    token = client.app.state.site.sessions.first_token  # type: ignore[attr-defined]
    assert client.get("/", params={"token": token}).status_code == 303


def _csrf(page: str) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    assert found is not None
    return found[1]


def _routes(app: FastAPI) -> list[tuple[str, str]]:
    """Every path and method; what is included in pieces is walked too."""
    found: list[tuple[str, str]] = []
    waiting: list[BaseRoute] = list(app.routes)
    while waiting:
        route = waiting.pop()
        waiting += list(getattr(route, "routes", None) or [])
        if isinstance(route, Route):
            found += [(route.path, method) for method in sorted(route.methods or {"GET"})]
    assert len(found) > 12
    return sorted(set(found))


def _filled(path: str) -> str:
    return re.sub(r"\{[^}]+\}", "x", path)


def test_no_route_answers_without_a_key_or_a_session_but_health_login_and_style(
    app: FastAPI, client: TestClient
) -> None:
    for path, method in _routes(app):
        if path in OPEN:
            continue
        for headers in ({}, BROWSER, {"x-api-key": "jrt_" + "0" * 16 + "_" + "A" * 43}, {"authorization": "Bearer x"}):
            answer = client.request(method, _filled(path), headers=headers)
            to_login = answer.status_code == 303 and answer.headers["location"].startswith("/login")
            assert answer.status_code == 401 or (to_login and "accept" in headers), (method, path, answer.status_code)
            assert "set-cookie" not in answer.headers


def test_a_key_of_another_role_does_not_open_the_pages(client: TestClient, control: Control) -> None:
    key = control.create_key(owner="collector", roles={"ingest"}).token
    for path, method in _routes(client.app):  # type: ignore[arg-type]
        if path in OPEN or path.startswith(("/v1", "/api")):
            continue
        answer = client.request(method, _filled(path), headers={"x-api-key": key})
        assert answer.status_code in (401, 403), (method, path)


def test_the_token_of_the_terminal_becomes_a_cookie_that_no_script_reads(client: TestClient) -> None:
    token = client.app.state.site.sessions.first_token  # type: ignore[attr-defined]
    answer = client.get("/", params={"token": token}, headers=BROWSER)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    for part in ("HttpOnly", "SameSite=strict", "Path=/", f"Max-Age={LIFE_SECONDS}"):
        assert part in cookie
    assert token not in cookie and "Domain" not in cookie
    assert client.get("/", headers=BROWSER).status_code == 200
    safe = TestClient(client.app, base_url="https://jurat.example", follow_redirects=False)
    assert "Secure" in safe.get("/", params={"token": token}).headers["set-cookie"]


def test_a_wrong_token_opens_nothing_and_is_not_repeated(client: TestClient) -> None:
    answer = client.get("/", params={"token": "wrong-token-value"}, headers=BROWSER)
    assert answer.status_code == 401 and "set-cookie" not in answer.headers and "wrong-token-value" not in answer.text


def test_an_api_key_logs_in_by_the_form_and_comes_back_to_where_it_wanted(client: TestClient, control: Control) -> None:
    sent = client.get("/?window=60", headers=BROWSER)
    assert sent.headers["location"] == "/login?next=/%3Fwindow%3D60"
    page = client.get(sent.headers["location"], headers=BROWSER).text
    key = control.create_key(owner="ada <b>", roles={"analyse"}, tenant="acme").token
    form = {"key": key, "next": "/?window=60", "csrf": _csrf(page)}
    answer = client.post("/login", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/?window=60")
    shown = client.get("/", headers=BROWSER).text
    assert "ada &lt;b&gt;" in shown and "ada <b>" not in shown
    assert client.post("/login", data={**form, "csrf": "x"}).status_code == 403


@pytest.mark.parametrize(
    "back",
    ["//evil.example", "https://evil.example/", "/\\evil.example", "\\\\evil.example", "javascript:alert(1)",
     "/%0d%0aSet-Cookie:x", "/ok\r\nLocation: https://evil.example", "///evil.example", "/\t/evil.example", ""],
)  # fmt: skip
def test_the_login_sends_nobody_to_another_site(client: TestClient, back: str) -> None:
    token = client.app.state.site.sessions.first_token  # type: ignore[attr-defined]
    csrf = _csrf(client.get("/login").text)
    for answer in (
        client.get("/login", params={"next": back, "token": token}),
        client.post("/login", data={"key": token, "next": back, "csrf": csrf}),
    ):
        assert answer.status_code == 303
        place = httpx.URL("http://testserver").join(answer.headers["location"])
        assert place.host == "testserver" and "\n" not in answer.headers["location"]
    assert safe_next(back).startswith("/") and not safe_next(back).startswith(("//", "/\\"))


def test_a_session_from_before_the_login_is_not_the_one_after_it(client: TestClient) -> None:
    token = client.app.state.site.sessions.first_token  # type: ignore[attr-defined]
    name = "jurat_session_0"
    client.cookies.set(name, "chosen-by-somebody-else")
    answer = client.get("/", params={"token": token})
    first = answer.cookies[name]
    assert first != "chosen-by-somebody-else"
    with TestClient(client.app, cookies={name: first}, follow_redirects=False) as again:
        second = again.get("/", params={"token": token}).cookies[name]
    assert second != first
    old = TestClient(client.app, cookies={name: first}, follow_redirects=False)
    assert old.get("/", headers=BROWSER).status_code == 303, "the session that was replaced still opens"


def test_a_form_counts_only_with_its_sessions_token_and_from_this_site(client: TestClient) -> None:
    _log_in(client)
    csrf = _csrf(client.get("/", headers=BROWSER).text)
    for data, headers in (
        ({"other": "1"}, {}),
        ({"csrf": ""}, {}),
        ({"csrf": "x" * 43}, {}),
        ({"csrf": csrf}, {"sec-fetch-site": "cross-site"}),
        ({"csrf": csrf}, {"sec-fetch-site": "same-site"}),
        ({"csrf": csrf}, {"origin": "https://evil.example"}),
    ):
        assert client.post("/logout", data=data, headers=headers).status_code == 403, (data, headers)
        assert client.get("/", headers=BROWSER).status_code == 200
    other = TestClient(client.app, follow_redirects=False)
    _log_in(other)
    assert other.post("/logout", data={"csrf": csrf}).status_code == 403, "another session's token"
    assert client.post("/logout", data={"csrf": csrf}, headers={"origin": "null"}).status_code == 303
    assert client.get("/", headers=BROWSER).status_code == 303


def test_every_post_of_a_page_needs_the_token(client: TestClient) -> None:
    _log_in(client)
    posts = [path for path, method in _routes(client.app) if method == "POST" and not path.startswith(("/v1", "/api"))]  # type: ignore[arg-type]
    assert "/logout" in posts
    for path in posts:
        answer = client.post(_filled(path), data={"csrf": "wrong"})
        assert answer.status_code in (403, 404), path
        assert client.get("/", headers=BROWSER).status_code == 200


def test_every_answer_carries_the_headers(app: FastAPI, client: TestClient, control: Control) -> None:
    _log_in(client)
    answers = [
        client.get(p)
        for p in ("/", "/login", "/healthz", "/nowhere", "/static/look.css", "/static/none", "/panel/none.csv")
    ]
    answers += [
        client.post("/v1/traces", content=b"x"),
        client.post("/logout"),
        client.get("/metrics"),
        client.request("PUT", "/"),
    ]
    for answer in answers:
        assert answer.headers["content-security-policy"] == CONTENT_POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-frame-options"] == "DENY"
        kept = "public, max-age=3600" if answer.request.url.path == "/static/look.css" else "no-store"
        assert answer.headers["cache-control"] == kept, answer.request.url
    assert "unsafe" not in CONTENT_POLICY and "*" not in CONTENT_POLICY


def test_pages_have_no_inline_script_style_or_outside_address(client: TestClient) -> None:
    _log_in(client)
    for item in client.app.state.site.nav:  # type: ignore[attr-defined]
        page = client.get(item.path, headers=BROWSER)
        assert page.status_code == 200, item.path
        assert not re.search(r"<script(?![^>]*\bsrc=)", page.text), item.path
        assert not re.search(r"\sstyle=|<style|\son[a-z]+=|javascript:", page.text), item.path
        assert not re.search(r"(?:src|href|action)=\"(?:https?:)?//", page.text), item.path


@pytest.mark.parametrize(
    "name",
    ["../site.py", "..%2fsite.py", "%2e%2e/%2e%2e/etc/passwd", "....//look.css", "/etc/passwd", "look.css%00", ".."],
)
def test_static_files_are_a_list_not_a_folder(client: TestClient, name: str) -> None:
    answer = client.get(f"/static/{name}")
    assert answer.status_code in (303, 401, 404) and "import" not in answer.text and "root:" not in answer.text


def test_guessing_is_slowed_and_ends_after_a_pause(control: Control) -> None:
    now = [0.0]
    sessions = Sessions(control, token="right-token", clock=lambda: now[0])
    from jurat.store.control import AccessDenied

    for _ in range(10):
        with pytest.raises(AccessDenied):
            sessions.open("wrong", address="10.0.0.9")
    with pytest.raises(TooManyTries) as told:
        sessions.open("right-token", address="10.0.0.9")
    assert 0 < told.value.retry_after <= 301
    assert sessions.open("right-token", address="10.0.0.8")
    now[0] += 301
    cookie = sessions.open("right-token", address="10.0.0.9")
    assert sessions.person(cookie) is not None
    now[0] += LIFE_SECONDS
    assert sessions.person(cookie) is None


def test_too_many_tries_answer_429_with_when_to_come_back(client: TestClient) -> None:
    csrf = _csrf(client.get("/login").text)
    answers = [client.post("/login", data={"key": "wrong", "csrf": csrf}) for _ in range(11)]
    assert [a.status_code for a in answers] == [401] * 10 + [429]
    assert int(answers[-1].headers["retry-after"]) > 0


def test_a_session_ends_with_its_key(client: TestClient, control: Control) -> None:
    made = control.create_key(owner="ada", roles={"analyse"})
    csrf = _csrf(client.get("/login").text)
    assert client.post("/login", data={"key": made.token, "csrf": csrf}).status_code == 303
    assert client.get("/", headers=BROWSER).status_code == 200
    control.revoke_key(made.key.id)
    assert client.get("/", headers=BROWSER).status_code == 303


def test_neither_keys_nor_tokens_nor_cookies_reach_a_log(
    client: TestClient, control: Control, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    sessions = client.app.state.site.sessions  # type: ignore[attr-defined]
    key = control.create_key(owner="ada", roles={"analyse"}).token
    csrf = _csrf(client.get("/login").text)
    client.post("/login", data={"key": key, "csrf": csrf})
    client.post("/login", data={"key": key[:-1] + "x", "csrf": csrf})
    client.get("/metrics", headers={"x-api-key": key})
    client.get("/panel/none.json", headers={"authorization": f"Bearer {key}"})
    ours = (r for r in caplog.records if not r.name.startswith("http"))  # the test's own client tells what it asks
    logged = "\n".join(record.getMessage() for record in ours)
    for secret in (key, key[:-1], sessions.first_token, csrf, *client.cookies.values()):
        assert secret not in logged
    assert "was refused" in logged
    assert key not in repr(sessions.person(next(iter(client.cookies.values()))))


def test_a_form_is_read_to_a_limit_and_only_as_a_form(client: TestClient) -> None:
    csrf = _csrf(client.get("/login").text)
    form = "application/x-www-form-urlencoded"
    assert client.post("/login", content=b"key=" + b"x" * 100_000, headers={"content-type": form}).status_code == 413
    assert client.post("/login", json={"key": "x", "csrf": csrf}).status_code == 415
    many = "&".join(f"a{i}=1" for i in range(300))
    assert client.post("/login", content=many, headers={"content-type": form}).status_code == 400


def test_a_tenant_sees_its_own_rows_only(tmp_path: Path, control: Control) -> None:
    from tests.telemetry.minutes_case import UNTIL, make_lake

    make_lake(tmp_path / "shared", per_minute=10)
    ingest = Ingest(tmp_path / "shared", Settings(user_secret=b"s" * 32), start=False)
    try:
        client = TestClient(create_app(ingest, control), follow_redirects=False)
        counts = {}
        for tenant in ("default", "acme", "other", "nobody"):
            key = control.create_key(owner=tenant, roles={"analyse"}, tenant=tenant).token
            rows = client.get("/panel/now-refusals.json", headers={"x-api-key": key}).json()["rows"]
            counts[tenant] = rows[0]["value"]["n"]
            sneaky = client.get("/panel/now-refusals.json?org=*", headers={"x-api-key": key}).json()["rows"]
            assert sneaky[0]["value"]["n"] == counts[tenant]
        assert counts["acme"] > 0 and counts["other"] > 0 and counts["nobody"] == 0
        assert counts["default"] == counts["acme"] + counts["other"]
        assert UNTIL > 0
    finally:
        ingest.close()
