"""Requests drawn from the schema of all routes: whatever is asked, the answer is a decision of ours and never an accident."""

from __future__ import annotations

import copy
import json
import random
import re
import time
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

_EXAMPLES, _FEW = 10, 2
"""How many requests are drawn from the schema for each route: those that post, and the others."""

_MIXED = 6
"""How many more with parameters of our own are drawn for each address that needs no name."""

_SECONDS = 0.06
"""How long a visitor stays with a route after the first request."""

_NASTY = ["", "\x00", "../../etc/passwd", "%00", "' OR 1=1 --", "<script>alert(1)</script>", "a" * 300, "-1", "1e999", "NaN",
          "\u202e", "~", "~zz", "~ff", "9" * 40, "ünïcode", "*", "{}", "\r\nx: y", "\U0010ffff"]  # fmt: skip

_QUERY = {
    "window": ["60", "all", "30d", "7d"], "by": ["release", "model", "endpoint", "tier"], "who": ["experiment", "person"],
    "page": ["1", "now"], "where": ["refused = true", "latency_ms > 100 and tier = 'pro'", "(((("], "after": ["x"],
    "bar": ["~QXNzaXN0YW50"], "cluster": ["user"], "candidate": ["a"], "baseline": ["b"], "ledger": ["home"],
    "kind": ["alert"], "name": ["refusal_rate"], "engine": ["duckdb", "spark"], "and": ["tier"], "p.q": ["0.5"],
    "at": ["2026-11-01T00:00:00Z", "1790000000"], "endpoint": ["/v1/chat"], "tier": ["pro"], "model": ["*"],
    "conversation": ["x"], "passed": ["1"], "next": ["/alerts", "//evil.example"], "token": ["x"], "release": ["2026.11"],
}  # fmt: skip
"""Parameters of the pages, with some values that mean something."""

_FORM = {
    "csrf": ["x"], "key": ["jrt_x"], "next": ["/alerts"], "wish": ["acknowledge", "open", "close", "confirm"],
    "note": ["seen"], "feature": ["assistant", "chat/v1"], "minutes": ["5", "-5", "1e9"], "reason": ["because of it"],
    "dry_run": ["yes", "no"],
}  # fmt: skip

_HEADERS = {
    "accept": ["text/html", "application/json", "text/csv"], "content-encoding": ["gzip", "zstd", "br"],
    "cookie": ["jurat_session_0=x", "=;=;"], "range": ["bytes=0-1"], "sec-fetch-site": ["cross-site"],
    "x-forwarded-for": ["10.0.0.1"],
}  # fmt: skip


def _words(some: list[str]) -> dict[str, Any]:
    return {"anyOf": [{"enum": some}, {"enum": some}, {"enum": _NASTY}, {"type": "string", "maxLength": 40}]}


def _parameters(place: str, given: dict[str, list[str]], *, required: bool = False) -> list[dict[str, Any]]:
    # Values of headers are Latin-1 in one line, by what HTTP is.
    allowed = {name: {"enum": some} if place == "header" else _words(some) for name, some in given.items()}
    return [{"in": place, "name": name, "required": required, "schema": found} for name, found in allowed.items()]


def _body(path: str) -> dict[str, Any]:
    if path == "/v1/feedback":
        piece = {"type": "object", "required": ["response_id", "kind"], "properties": {
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
    for path in _known(opened):
        template = next(
            one for one in document["paths"] if re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(one)), path)
        )
        document["paths"].setdefault(path, copy.deepcopy(document["paths"][template]))
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            named = {name: ["x"] for name in re.findall(r"\{(\w+)\}", path)}
            operation["parameters"] = _parameters("path", named, required=True) + _parameters("header", _HEADERS)
            if method == "get":
                operation["parameters"] += _parameters("query", _QUERY)
            else:
                operation["requestBody"] = {"content": _body(path)}
            operation["responses"] = {"default": {"description": "any"}}
    return document


def _known(opened: Watched) -> list[str]:
    """Addresses that lead somewhere, of the routes whose path has a name in it."""
    browser = opened.login()
    found = [
        "/static/look.css",
        "/v1/breaker/assistant",
        "/metric-files/refusal_rate",
        "/metric-files/refusal_rate.sql",
    ]
    links = {
        "/alerts": r"/alerts/\w{8,}",
        "/conversations": r"/conversations/~?\w+",
        "/ledger": r"/ledger/\w+/\d+\.json",
    }
    for page, link in links.items():
        named = re.findall(f'href="({link})"', browser.get(page).text)
        assert named, page
        found += named[:1] + ([f"{named[0]}/reveal"] if page == "/conversations" else [])
    return found


def _talk(now_ns: int) -> bytes:
    """Turns of another release, with text."""
    said = {"gen_ai.conversation.id": "talk", "user.id": "u1", "gen_ai.prompt": "Why?", "gen_ai.completion": "Because."}
    pairs = [{"key": key, "value": {"stringValue": value}} for key, value in said.items()]
    start = now_ns - 600 * 10**9
    turns = [{"traceId": f"{i + 1:032x}", "spanId": f"{i + 1:016x}", "attributes": pairs, "startTimeUnixNano": str(start + i),
              "endTimeUnixNano": str(start + i + 10**9)} for i in range(10**6, 10**6 + 40)]  # fmt: skip
    release = [{"key": "service.version", "value": {"stringValue": "2026.12"}}]
    return json.dumps(
        {"resourceSpans": [{"resource": {"attributes": release}, "scopeSpans": [{"spans": turns}]}]}
    ).encode()


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with watched(tmp_path_factory.mktemp("schema"), hours=4, a_minute=10) as one:
        # What is live ends by itself, or a request for it would last an hour.
        one.client.app.state.site.stopping.set()  # type: ignore[attr-defined]
        one.ingest.receive("traces/json", _talk(time.time_ns()), tenant="default").result()
        one.ingest.flush()
        yield one


@pytest.fixture(scope="module")
def drawn(opened: Watched) -> dict[str, list[dict[str, Any]]]:
    """For each route some requests."""
    schema = schemathesis.openapi.from_dict(_document(opened))
    found = {one.label: _cases(one) for one in (result.ok() for result in schema.get_all_operations())}
    panels = list(opened.client.app.state.site.panels)  # type: ignore[attr-defined]
    forms = [f"GET /panel/{panels[0]}{form}" for form in (".csv", ".sql", "/receipt")]
    found |= {label: [] for label in [*forms, *(f"GET /panel/{key}.json" for key in panels)]}
    chance = random.Random(5)
    for label, some in found.items():
        method, path = label.split(" ", 1)
        if method == "GET" and "{" not in path:
            address = {"method": "GET", "url": f"http://testserver{path}", "headers": {}}
            some += [address | {"params": _mixed(chance)} for _ in range(_MIXED)]
        chance.shuffle(some)
    assert len(found) > 30 and all(found.values())
    return found


def _mixed(chance: random.Random) -> dict[str, str]:
    """A few parameters, each on its own as likely sound as not: together they seldom get past the first check."""
    names = chance.sample(sorted(_QUERY), chance.randint(1, 3))
    return {name: chance.choice(_NASTY if chance.random() < 0.5 else _QUERY[name]) for name in names}


def _cases(operation: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    @hypothesis.settings(
        max_examples=_EXAMPLES if operation.method == "post" else _FEW,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
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
    fields = drawn.get("data")
    is_form = fields is not None and not isinstance(fields, str | bytes)
    given = drawn | ({"data": dict(fields) | form} if form and is_form else {})
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
    wrong = []
    most = _MIXED + _EXAMPLES if form else 3
    for label, some in drawn.items():
        ends = time.monotonic() + _SECONDS
        for place, one in enumerate(some[:most]):
            if (place and time.monotonic() > ends) or (label == "POST /logout" and visitor == "a person"):
                break
            wrong.append(_send(browser, one, headers, form))
    wrong = [complaint for complaint in wrong if complaint]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_methods_and_addresses_that_do_not_exist_are_told_in_words(opened: Watched, accept: str) -> None:
    headers = opened.key("analyse") | {"accept": accept}
    application: Any = opened.client.app
    for path in [*application.openapi()["paths"], "/nowhere", "/v1/nowhere", "/static/../../etc/passwd"]:
        for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
            answer = opened.client.request(method, re.sub(r"\{\w+\}", "x", path), headers=headers)
            assert answer.status_code in (404, 405) and not _complaint(answer), (method, path, answer.text)
    for path in ("/nowhere", "/v1/nowhere", "/conversations/", "/%2e%2e/etc/passwd", "/static/%2e%2e%2fapp.py"):
        answer = opened.client.get(path, headers=headers, follow_redirects=False)
        assert answer.status_code in (303, 307, 404) and not _complaint(answer), (path, answer.text)
    odd = ["/?window=%ff&at=%", "/conversations/%ff%fe", "/conversations/~%ff", "/panel/%00.json", "/?" + "a=1&" * 5000]
    odd += [f"/ledger/home/{number}.json" for number in ("%F0%9F", "9" * 30)] + ["/conversations?where=%c0%ae"]
    for path in odd:
        answer = opened.client.get(path, headers=headers, follow_redirects=False)
        assert answer.status_code in (200, 400, 404) and not _complaint(answer), (path, answer.text)
