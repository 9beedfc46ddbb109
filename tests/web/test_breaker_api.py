"""What a gateway is told: open or closed, at once, to whoever sends or reads, and never a guess where the ledger is broken."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.web.watched import Watched, watched


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with watched(tmp_path_factory.mktemp("breaker"), hours=1, spike_minutes=0) as made:
        yield made


@pytest.mark.parametrize("role", ["ingest", "analyse"])
def test_a_key_that_sends_or_reads_is_told(one: Watched, role: str) -> None:
    answer = one.client.get("/v1/breaker/assistant", headers=one.key(role, tenant="acme"))
    assert answer.status_code == 200
    told = answer.json()
    assert (told["state"], told["known"], told["reason"], told["since"], told["expires"]) == (
        "closed", True, "never opened", None, None
    )  # fmt: skip


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer jrt_wrong"}])
def test_nobody_else_is(one: Watched, headers: dict[str, str]) -> None:
    assert one.client.get("/v1/breaker/assistant", headers=headers).status_code == 401
    assert one.client.get("/v1/breaker/assistant", headers=one.key("annotate")).status_code == 401
    assert one.client.get("/v1/breaker", headers=headers).status_code == 401


def test_open_and_closed_follow_the_ledger_and_names_may_hold_a_slash(tmp_path: Path) -> None:
    with watched(tmp_path, hours=1, spike_minutes=0) as one:
        key = one.key("ingest")
        one.sentinel.pull("chat/v1", "open", by="ada", reason="drill", dry_run=True)
        one.sentinel.pull("chat/v1", "open", by="ada", reason="drill")
        assert one.client.get("/v1/breaker/chat/v1", headers=key).json()["state"] == "closed"
        one.sentinel.pull("chat/v1", "open", by="bob", reason="drill, agreed", minutes=7)
        told = one.client.get("/v1/breaker/chat/v1", headers=key).json()
        assert (told["state"], told["reason"], told["by"]) == ("open", "drill, agreed", ["ada", "bob"])
        assert told["since"] < told["expires"] and told["ttl_seconds"] == 5
        every = one.client.get("/v1/breaker", headers=key).json()["features"]
        assert [(f["feature"], f["state"]) for f in every] == [("assistant", "closed"), ("chat/v1", "open")]
        figures = one.client.get("/metrics", headers=one.key("analyse")).text.splitlines()
        assert (
            'jurat_breaker_open{feature="chat/v1"} 1' in figures
            and 'jurat_breaker_open{feature="assistant"} 0' in figures
        )
        # Time alone closes it, whether or not anybody looks.
        later = one.sentinel.clock() + 2_000
        one.sentinel.clock = lambda: later
        told = one.client.get("/v1/breaker/chat/v1", headers=key).json()
        assert told["state"] == "closed" and told["reason"].startswith("expired")


def test_a_feature_that_nobody_declared_is_closed_and_the_answer_says_so(one: Watched) -> None:
    told = one.client.get("/v1/breaker/asistant", headers=one.key("ingest")).json()
    assert (told["state"], told["known"]) == ("closed", False) and "no such feature" in told["reason"]
    assert one.client.get(f"/v1/breaker/{'x' * 201}", headers=one.key("ingest")).status_code == 400


def test_a_ledger_that_does_not_hold_is_no_answer(tmp_path: Path) -> None:
    with watched(tmp_path, hours=1, spike_minutes=0) as one:
        one.sentinel.pull("assistant", "open", by="ada", reason="x")
        assert one.sentinel.breakers is not None
        path = one.sentinel.breakers.ledger.path
        path.write_bytes(path.read_bytes().replace(b'"keyid"', b'"keyiD"', 1))
        answer = one.client.get("/v1/breaker/assistant", headers=one.key("ingest"))
        assert answer.status_code == 503 and "state" not in answer.json()


def test_the_answer_comes_from_memory(one: Watched) -> None:
    one.sentinel.answer("assistant")
    began = time.perf_counter()
    for _ in range(200):
        one.sentinel.answer("assistant")
    assert (time.perf_counter() - began) / 200 < 0.002


def test_alarms_are_counted_for_prometheus_by_monitor_and_state(tmp_path: Path) -> None:
    with watched(tmp_path) as one:
        deadline = time.monotonic() + 60
        while not any(alert.status == "firing" for alert in one.sentinel.alerts()) and time.monotonic() < deadline:
            time.sleep(0.1)
        figures = one.client.get("/metrics", headers=one.key("analyse")).text.splitlines()
        assert 'jurat_alarms{monitor="refusal_rate",state="firing"} 1' in figures
        assert sum(line.startswith("# TYPE jurat_alarms ") for line in figures) == 1
