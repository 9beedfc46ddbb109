"""Requests drawn from the schema of all routes: whatever is asked, the answer is a decision of ours and never an accident."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx2 as httpx
import pytest
from fastapi.testclient import TestClient

pytest.importorskip("schemathesis")

import hypothesis
import requests
import schemathesis

from tests.web.watched import Watched, csrf, watched

_EXAMPLES = 12
"""How many requests are drawn for each route; every visitor sends all of them."""

_NASTY = ["", "\x00", "../../etc/passwd", "%00", "' OR 1=1 --", "<script>alert(1)</script>", "a" * 300, "-1", "1e999", "NaN",
          "\u202e", "~", "~zz", "~ff", "9" * 40, "ünïcode", "*", "{}", "\r\nx: y", "\ud7ff\U0010ffff"]  # fmt: skip

_QUERY = {
    "window": ["60", "all", "30d", "7d"], "by": ["release", "model", "endpoint", "tier"], "who": ["experiment", "person"], "page": ["1", "now"],
    "where": ["refused = true", "latency_ms > 100 and tier = 'pro'", "(((("], "after": [], "bar": ["~QXNzaXN0YW50"], "cluster": ["user"],
    "candidate": ["a"], "baseline": ["b"], "ledger": ["home"], "kind": ["alert"], "name": ["refusal_rate"], "engine": ["duckdb", "spark"],
    "and": ["tier"], "p.q": ["0.5"], "at": ["2026-11-01T00:00:00Z", "1790000000"], "endpoint": ["/v1/chat"], "tier": ["pro"], "model": ["*"],
    "conversation": ["x"], "id": ["x"], "passed": ["1"], "next": ["/alerts", "//evil.example"], "token": ["x"], "release": ["2026.11"],
}  # fmt: skip
"""Parameters of the pages, with some values that mean something."""

_FORM = {
    "csrf": ["x"], "key": ["jrt_x"], "next": ["/alerts"], "wish": ["acknowledge", "open", "close", "confirm"], "note": ["seen"],
    "feature": ["assistant", "chat/v1"], "minutes": ["5", "-5", "1e9"], "reason": ["because of it"], "dry_run": ["yes", "no"],
}  # fmt: skip

_PATHS = {
    "key": ["now-refusals", "metric-level"], "name": ["refusal_rate", "look.css", "home", "~YQ"], "feature": ["assistant"], "id": [],
    "index": ["0"],
}  # fmt: skip

_HEADERS = {
    "accept": ["text/html", "application/json", "text/csv"], "content-encoding": ["gzip", "zstd", "br"], "cookie": ["jurat_session_0=x", "=;=;"],
    "range": ["bytes=0-1"], "sec-fetch-site": ["cross-site"], "x-forwarded-for": ["10.0.0.1"],
}  # fmt: skip


def _words(some: list[str]) -> dict[str, Any]:
    return {"anyOf": [{"enum": some + _NASTY}, {"type": "string", "maxLength": 40}]}


def _parameters(place: str, given: dict[str, list[str]], *, required: bool = False) -> list[dict[str, Any]]:
    # Values of headers are Latin-1 in one line, by what HTTP is.
    allowed = {name: {"enum": some} if place == "header" else _words(some) for name, some in given.items()}
    return [{"in": place, "name": name, "required": required, "schema": found} for name, found in allowed.items()]


def _body(path: str) -> dict[str, Any]:
    if path == "/v1/feedback":
        piece = {"type": "object", "properties": {
            "response_id": {"type": "string"}, "kind": {"enum": ["thumb", "rating", "edit", "x"]},
            "value": {"anyOf": [{"type": "number"}, {"type": "string"}, {"type": "null"}]}, "text": {"type": "string"},
            "time": {"type": "string"}}}  # fmt: skip
        return {"application/json": {"schema": {"anyOf": [piece, {"type": "array", "items": piece}, {}]}}}
    if path.startswith(("/v1", "/api")):
        inner = {
            "anyOf": [{"type": "object"}, {"type": "array"}, {"type": "string"}, {"type": "null"}, {"type": "integer"}]
        }
        parts = ("resourceSpans", "resourceLogs", "resourceMetrics")
        return {
            "application/json": {"schema": {"type": "object", "properties": dict.fromkeys(parts, inner)}},
            "application/x-protobuf": {"schema": {"type": "string", "maxLength": 200}},
        }
    fields = {name: _words(some) for name, some in _FORM.items()}
    return {"application/x-www-form-urlencoded": {"schema": {"type": "object", "properties": fields}}}


def _document(opened: Watched) -> dict[str, Any]:
    """The schema of the application: its own list of routes, with what each reads filled in."""
    application: Any = opened.client.app
    document: dict[str, Any] = application.openapi()
    alerts = re.findall(r'href="/alerts/([0-9a-f]+)"', opened.login().get("/alerts").text)
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            named = {
                name: [*some, *alerts] if name == "id" else some
                for name, some in _PATHS.items()
                if f"{{{name}}}" in path
            }
            operation["parameters"] = _parameters("path", named, required=True) + _parameters("header", _HEADERS)
            if method == "get":
                operation["parameters"] += _parameters("query", _QUERY)
            else:
                operation["requestBody"] = {"content": _body(path)}
            operation["responses"] = {"default": {"description": "any"}}
    return document


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with watched(tmp_path_factory.mktemp("schema"), hours=1) as one:
        # What is live ends by itself, or a request for it would last an hour.
        one.client.app.state.site.stopping.set()  # type: ignore[attr-defined]
        yield one


@pytest.fixture(scope="module")
def drawn(opened: Watched) -> dict[str, list[dict[str, Any]]]:
    """For each route some requests."""
    schema = schemathesis.openapi.from_dict(_document(opened))
    found = {operation.label: _cases(operation) for operation in (one.ok() for one in schema.get_all_operations())}
    assert len(found) > 30 and all(found.values())
    return found


def _cases(operation: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    @hypothesis.settings(
        max_examples=_EXAMPLES, deadline=None, database=None, derandomize=True, phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    @hypothesis.given(case=operation.as_strategy())
    def draw(case: Any) -> None:
        found.append(case.as_transport_kwargs(base_url="http://testserver"))

    draw()
    return found


def _complaint(answer: httpx.Response) -> str:
    """What is wrong with an answer; nothing if it is one of ours."""
    media = answer.headers.get("content-type", "")
    if answer.status_code >= 500:
        return f"status {answer.status_code}: {answer.text[:300]}"
    if re.search(r"Traceback \(most recent|File \"/|site-packages", answer.text):
        return "it shows the inside"
    if answer.status_code < 400:
        return ""
    if media.startswith("application/json"):
        told = json.loads(answer.text)
        return "" if isinstance(told, dict) and told.get("error") else f"an error without words: {answer.text[:200]}"
    return "" if media.startswith("text/html") and "<h1" in answer.text else f"an error as {media}: {answer.text[:200]}"


def _send(browser: TestClient, drawn: dict[str, Any], headers: dict[str, str], form: dict[str, str]) -> str:
    """Send a request; returns what was asked and what is wrong with the answer, nothing if nothing is."""
    given = drawn | ({"data": drawn["data"] | form} if form and isinstance(drawn.get("data"), dict) else {})
    sent = requests.Request(**given).prepare()
    passed = ("user-agent", "content-length", "connection", "accept-encoding")
    own = {name: value for name, value in sent.headers.items() if name.lower() not in passed} | headers
    if headers.get("cookie") is None and browser.cookies:
        own.pop("cookie", None)
    try:
        answer = browser.request(
            str(sent.method), str(sent.url), headers=own, content=sent.body, follow_redirects=False
        )
        complaint = _complaint(answer)
    except Exception as error:  # an accident is what is looked for
        complaint = f"{type(error).__name__}: {error}"
    return complaint and f"{sent.method} {str(sent.url)[:400]} {own} {str(sent.body)[:200]}\n    {complaint}"


@pytest.mark.parametrize("visitor", ["nobody", "a collector", "a program that reads", "a person"])
def test_no_request_makes_the_server_stumble(
    opened: Watched, drawn: dict[str, list[dict[str, Any]]], visitor: str
) -> None:
    headers, form, browser = {}, {}, TestClient(opened.client.app)
    if visitor == "a collector":
        headers = opened.key("ingest")
    elif visitor == "a program that reads":
        headers = opened.key("analyse", "approve", "annotate")
    elif visitor == "a person":
        browser = opened.login("analyse", "approve", "annotate", "admin")
        form = {"csrf": csrf(browser.get("/").text)}
    wrong = [
        complaint
        for label, requests_ in drawn.items()
        if not (label == "POST /logout" and visitor == "a person")
        for one in requests_
        if (complaint := _send(browser, one, headers, form))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_methods_and_addresses_that_do_not_exist_are_told_in_words(opened: Watched, accept: str) -> None:
    headers = opened.key("analyse") | {"accept": accept}
    application: Any = opened.client.app
    for path in [*application.openapi()["paths"], "/nowhere", "/v1/nowhere", "/static/../../etc/passwd"]:
        for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
            answer = opened.client.request(method, re.sub(r"\{\w+\}", "x", path), headers=headers)
            assert answer.status_code in (404, 405) and not _complaint(answer), (method, path, answer.text)
    for path in ("/nowhere", "/v1/nowhere", "/conversations/", "/%2e%2e/etc/passwd"):
        answer = opened.client.get(path, headers=headers, follow_redirects=False)
        assert answer.status_code in (303, 307, 404) and not _complaint(answer), (path, answer.text)
