"""What a hostile browser, neighbour or sender may try against the server, and what it is told."""

from __future__ import annotations

import base64
import gzip
import json
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from jurat.store.control import Control
from jurat.web import events
from jurat.web import sessions as sessions_module
from jurat.web.bodies import BadBody, Limits, check_json, check_protobuf, unpack
from jurat.web.sessions import Sessions
from tests.web.talks import Served, serving, turn


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path, [turn(n) for n in range(8)]) as found:
        yield found


# Bodies ----------------------------------------------------------------------------------------------------------------


def test_every_member_of_a_packed_body_counts() -> None:
    first, second = gzip.compress(b'{"a":'), gzip.compress(b"1}")
    assert unpack(first + second, "gzip", Limits()) == b'{"a":1}'
    assert unpack(zlib.compress(b"first") + zlib.compress(b"second"), "deflate", Limits()) == b"firstsecond"
    for damaged in (first + b"junk", first + second[:-3]):
        with pytest.raises(BadBody):
            unpack(damaged, "gzip", Limits())
    with pytest.raises(BadBody, match="too large"):
        unpack(gzip.compress(bytes(600)) * 3, "gzip", Limits(unpacked_bytes=1000))
    with pytest.raises(BadBody, match="pieces"):
        unpack(gzip.compress(b"") * 100_000, "gzip", Limits())


def test_a_body_of_millions_of_nothings_is_refused_at_once() -> None:
    begun = time.perf_counter()
    with pytest.raises(BadBody, match="too many parts"):
        check_protobuf(b"\x0a\x00" * (16 << 20))
    with pytest.raises(BadBody, match="too many parts"):
        check_json(b'{"a":[' + b"{}," * (6 << 20) + b"{}]}")
    assert time.perf_counter() - begun < 2


def test_such_a_body_is_told_413_and_the_server_goes_on(served: Served) -> None:
    headers = {**served.key("ingest"), "content-encoding": "gzip", "content-type": "application/x-protobuf"}
    bomb = gzip.compress(b"\x0a\x00" * (1 << 20))
    assert served.client.post("/v1/traces", content=bomb, headers=headers).status_code == 413
    assert served.client.get("/readyz").status_code == 200


@pytest.mark.parametrize("time_", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_feedback_of_an_impossible_time_is_told_400(served: Served, time_: str) -> None:
    piece = {"response_id": "r", "kind": "thumb", "value": 1, "time": time_}
    answer = served.client.post("/v1/feedback", content=json.dumps(piece), headers=served.key("ingest"))
    assert answer.status_code == 400 and served.ingest.counts.requests == 0


# Addresses -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/", {"at": "0001-01-01"}),
        ("/", {"at": "1960-01-01T00:00"}),
        ("/", {"at": "9999-12-31T23:59"}),
        ("/conversations", {"where": "ts > '0001-01-01T00:00+14:00'"}),
        ("/metric-files/top_user_tokens", {"by": "all", "p.percent": "nan"}),
        ("/metric-files/top_user_tokens", {"by": "all", "p.percent": "1e999"}),
    ],
)
def test_an_address_of_no_sense_is_told_400(served: Served, path: str, query: dict[str, str]) -> None:
    assert served.client.get(path, params=query).status_code == 400


# Sessions and forms ----------------------------------------------------------------------------------------------------


def test_a_link_logs_nobody_in_as_a_stranger_and_locks_nobody_out(served: Served) -> None:
    key = served.control.create_key(owner="mallory", roles={"analyse"}, tenant="mallory").token
    before = dict(served.client.cookies)
    for path in ("/", "/login"):
        answer = served.client.get(path, params={"token": key}, follow_redirects=False)
        assert answer.status_code == 401 and "set-cookie" not in answer.headers and key not in answer.text
    for _ in range(15):
        served.client.get("/login", params={"token": "guess"})
    assert dict(served.client.cookies) == before
    token = served.client.app.state.site.sessions.first_token  # type: ignore[attr-defined]
    assert served.client.get("/login", params={"token": token}, follow_redirects=False).status_code == 303


def test_one_key_that_logs_in_again_and_again_ends_nobody_elses_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions_module, "_MOST_SESSIONS", 40)
    monkeypatch.setattr(sessions_module, "_MOST_OF_A_KEY", 8)
    control = Control(tmp_path / "control.sqlite")
    sessions = Sessions(control)
    owner = sessions.open(sessions.first_token, address="a")
    token = control.create_key(owner="mallory", roles={"analyse"}, tenant="mallory").token
    cookies = [sessions.open(token, address="b") for _ in range(60)]
    assert sessions.person(owner) is not None
    assert [sessions.person(cookie) is not None for cookie in cookies] == [False] * 52 + [True] * 8


@pytest.mark.parametrize(
    "origin", ["http://[", "http://x:abc", "null.example", "\x00", "http://testserver@evil.example"]
)
def test_a_form_of_an_odd_origin_is_refused(served: Served, origin: str) -> None:
    csrf = served.csrf("/conversations/talk-0")
    form = {"reason": "to see what went wrong", "csrf": csrf}
    answer = served.client.post("/conversations/talk-0/reveal", data=form, headers={"origin": origin})
    assert answer.status_code == 403


def test_a_password_that_the_browser_remembers_is_no_form_of_this_site(served: Served) -> None:
    token = served.key("analyse", "annotate")["authorization"].removeprefix("Bearer ")
    basic = {"authorization": "Basic " + base64.b64encode(f"u:{token}".encode()).decode()}
    form = {"reason": "to see what went wrong"}
    for foreign in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}):
        answer = served.client.post("/conversations/talk-0/reveal", data=form, headers={**basic, **foreign})
        assert answer.status_code == 403 and "prompt of" not in answer.text
    assert not (served.home / "ledger.jsonl").exists()
    assert served.client.post("/conversations/talk-0/reveal", data=form, headers=basic).status_code == 200


def test_a_reason_that_nobody_can_read_reveals_nothing(served: Served) -> None:
    form = {"csrf": served.csrf("/conversations/talk-0")}
    unseen = ("\u200b\u200c\u200d\u2060" * 3, "\u00ad\u034f\u061c\u180e\u200e\u200f\u2061\u2062")
    for reason in (*unseen, "........", "!?!?.,;:-_", "\x01\x02\x03\x04\x05\x06\x07\x08"):
        answer = served.client.post("/conversations/talk-0/reveal", data={**form, "reason": reason})
        assert answer.status_code == 400 and "prompt of" not in answer.text
    ledger = served.home / "ledger.jsonl"
    assert not ledger.exists()
    answer = served.client.post("/conversations/talk-0/reveal", data={**form, "reason": "苦情の調査のため読む"})
    assert answer.status_code == 200 and "prompt of" in answer.text
    assert len(ledger.read_text().splitlines()) == 2  # the ledger's own first entry, and the reveal


def test_a_key_that_is_revoked_hears_no_more(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_LOOK_SECONDS", 0.02)
    monkeypatch.setattr(events, "_LIFE_SECONDS", 3.0)
    made = served.control.create_key(owner="eve", roles={"analyse"})
    states = iter(range(1, 1000))
    monkeypatch.setattr(events, "_state", lambda site: (next(states),))
    site = served.client.app.state.site  # type: ignore[attr-defined]
    drawn: list[int] = []

    def draw(*_: object) -> dict[str, str]:
        drawn.append(1)
        served.control.revoke_key(made.key.id)
        return {"a": f"<p>{len(drawn)}</p>"}

    monkeypatch.setitem(site.live, "now", draw)
    served.client.cookies.clear()
    heard = served.client.get("/events?page=now", headers={"authorization": f"Bearer {made.token}"}).text
    assert len(drawn) == 1 and heard.rstrip().endswith("event: gone\ndata: {}")


def test_a_tenant_who_listens_to_a_page_of_the_house_is_sent_away_without_a_word(served: Served) -> None:
    heard = served.client.get("/events?page=alerts", headers=served.key("analyse", tenant="acme"))
    assert heard.text.rstrip().endswith("event: gone\ndata: {}")
