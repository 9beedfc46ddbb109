"""The server with a stock OpenTelemetry exporter: what was acknowledged is in the lake once, whatever is killed."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import pytest
from fastapi.testclient import TestClient

from jurat.errors import EngineError
from jurat.store.control import Control
from jurat.store.lake import Lake
from jurat.telemetry.derive import Settings
from jurat.telemetry.ingest import Ingest
from jurat.web.app import create_app
from jurat.web.bodies import Limits

otlp = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
SETTINGS = Settings(user_secret=b"s" * 32)


def _request(first: int, n: int = 5, **attributes: str) -> bytes:
    """An export request of ``n`` model turns, numbered from ``first``."""
    request = otlp.ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for number in range(first, first + n):
        span = scope.spans.add(
            trace_id=(number + 1).to_bytes(16, "big"), span_id=(number + 1).to_bytes(8, "big"), name="chat",
            start_time_unix_nano=(1_770_000_000 + number) * 10**9, end_time_unix_nano=(1_770_000_001 + number) * 10**9,
        )  # fmt: skip
        values = {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "m-1",
            "user.id": f"user-{number % 3}",
            **attributes,
        }
        for key, value in values.items():
            span.attributes.add(key=key).value.string_value = value
        span.attributes.add(key="gen_ai.usage.output_tokens").value.int_value = number
    return bytes(request.SerializeToString())


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, str]:
    control = Control(tmp_path / "control.sqlite")
    return {role: control.create_key(owner=role, roles={role}, tenant="acme").token for role in ("ingest", "analyse")}


@pytest.fixture
def ingest(tmp_path: Path) -> Iterator[Ingest]:
    made = Ingest(tmp_path / "lake", SETTINGS, start=False)
    yield made
    made.close()


@pytest.fixture
def client(tmp_path: Path, ingest: Ingest, keys: dict[str, str]) -> Iterator[TestClient]:
    app = create_app(
        ingest, Control(tmp_path / "control.sqlite"), limits=Limits(packed_bytes=200_000, unpacked_bytes=400_000)
    )
    with TestClient(app) as client:
        yield client


def _post(client: TestClient, key: str, body: bytes, path: str = "/v1/traces", **headers: str) -> httpx.Response:
    names = {k.replace("_", "-"): v for k, v in headers.items()}
    base = {"authorization": f"Bearer {key}", "content-type": "application/x-protobuf"}
    return client.post(path, content=body, headers={**base, **names})


def test_turns_become_rows_with_keys_for_users_and_the_tenant_of_the_key(
    client: TestClient, ingest: Ingest, keys: dict[str, str], tmp_path: Path
) -> None:
    answer = _post(client, keys["ingest"], gzip.compress(_request(0)), content_encoding="gzip")
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, b"", "application/x-protobuf")
    assert _post(client, keys["ingest"], _request(5), path="/api/public/otel/v1/traces").status_code == 200
    assert ingest.flush() == 10
    rows = Lake(tmp_path / "lake").read("spans").to_pylist()
    assert sorted(r["tokens_out"] for r in rows) == list(range(10))
    assert {r["org_id"] for r in rows} == {"acme"} and {r["latency_ms"] for r in rows} == {1000.0}
    assert len({r["user_id"] for r in rows}) == 3 and not any("user-" in str(r) for r in rows)
    assert ingest.flush() == 0 and ingest.lag_bytes() == 0


def test_json_feedback_and_the_servers_own_figures(
    client: TestClient, ingest: Ingest, keys: dict[str, str], tmp_path: Path
) -> None:
    from google.protobuf.json_format import MessageToDict

    document = MessageToDict(otlp.ExportTraceServiceRequest.FromString(_request(0, 3)))
    for group in document["resourceSpans"]:
        for span in group["scopeSpans"][0]["spans"]:
            for name, size in (("traceId", 16), ("spanId", 8)):
                import base64

                span[name] = base64.b64decode(span[name]).hex().zfill(2 * size)
    body = json.dumps(document).encode()
    assert _post(client, keys["ingest"], body, content_type="application/json").json() == {}
    feedback = json.dumps({"response_id": "0000000000000001", "kind": "thumb", "value": 1}).encode()
    answer = _post(client, keys["ingest"], feedback, path="/v1/feedback", content_type="application/json")
    assert answer.json() == {"accepted": 1}
    ingest.flush()
    lake = Lake(tmp_path / "lake")
    assert len(lake.read("spans")) == 3 and lake.read("feedback")["value"].to_pylist() == [1.0]
    figures = client.get("/metrics", headers={"x-api-key": keys["analyse"]}).text
    assert "jurat_ingest_spans_total 3" in figures and "jurat_ingest_feedback_total 1" in figures


def test_no_route_but_health_answers_without_a_key_of_the_role(client: TestClient, keys: dict[str, str]) -> None:
    for path in ("/v1/traces", "/v1/logs", "/v1/metrics", "/v1/feedback", "/api/public/otel/v1/traces"):
        for token in ("", "nonsense", keys["analyse"], keys["ingest"][:-1] + "x"):
            answer = _post(client, token, _request(0), path=path)
            assert answer.status_code == 401 and "seen" not in answer.json()
    assert client.get("/metrics", headers={"x-api-key": keys["ingest"]}).status_code == 401
    assert client.get("/healthz").json() == {"status": "alive"} and client.get("/readyz").status_code == 200
    for path in ("/docs", "/openapi.json", "/redoc", "/../etc/passwd"):
        assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"<html>", {}, 400),
        (b"x" * 300_000, {}, 413),
        (gzip.compress(b"\0" * 5_000_000), {"content_encoding": "gzip"}, 413),
        (b"not gzip", {"content_encoding": "gzip"}, 400),
        (b"", {"content_encoding": "br"}, 415),
        (b"{}", {"content_type": "text/plain"}, 415),
        (b"[", {"content_type": "application/json"}, 400),
    ],
)
def test_hostile_bodies_are_refused_in_words(
    client: TestClient, keys: dict[str, str], body: bytes, headers: dict[str, str], status: int
) -> None:
    answer = _post(client, keys["ingest"], body, **headers)
    assert answer.status_code == status and answer.json()["error"] and "Traceback" not in answer.text


def test_a_full_log_answers_429_and_takes_again_after_a_flush(tmp_path: Path, keys: dict[str, str]) -> None:
    small = Ingest(tmp_path / "small", SETTINGS, start=False, most_waiting_bytes=3000)
    with TestClient(create_app(small, Control(tmp_path / "control.sqlite"))) as client:
        answers = [_post(client, keys["ingest"], _request(5 * i)).status_code for i in range(8)]
        assert answers[0] == 200 and answers[-1] == 429
        refused = _post(client, keys["ingest"], _request(100))
        assert int(refused.headers["retry-after"]) > 0
        assert small.flush() == 5 * answers.count(200)
        assert _post(client, keys["ingest"], _request(100)).status_code == 200
    assert len(Lake(tmp_path / "small").read("spans")) == 5 * (answers.count(200) + 1)


def test_bad_spans_are_dead_letters_and_the_rest_is_kept(
    client: TestClient, ingest: Ingest, keys: dict[str, str], tmp_path: Path
) -> None:
    request = otlp.ExportTraceServiceRequest.FromString(_request(0, 3))
    request.resource_spans[0].scope_spans[0].spans[1].span_id = b"short"
    assert _post(client, keys["ingest"], request.SerializeToString()).status_code == 200
    ingest.flush()
    lake = Lake(tmp_path / "lake")
    assert len(lake.read("spans")) == 2
    (dead,) = lake.read("dead_letters").to_pylist()
    assert "span_id" in dead["reason"] and dead["tenant"] == "acme"


def test_two_servers_on_one_lake_are_refused(ingest: Ingest, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="another writer"):
        Ingest(tmp_path / "lake", SETTINGS, start=False)


_SERVE = """
import sys
from pathlib import Path
import uvicorn
from jurat.store.control import Control
from jurat.telemetry.derive import Settings
from jurat.telemetry.ingest import Ingest
from jurat.web.app import create_app
ingest = Ingest(Path(sys.argv[1]) / "lake", Settings(user_secret=b"s" * 32), flush_seconds=0.05)
uvicorn.run(create_app(ingest, Control(Path(sys.argv[1]) / "control.sqlite")), port=int(sys.argv[2]), log_level="error")
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _served(folder: Path, port: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", _SERVE, str(folder), str(port)])
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=1).status_code == 200:
                return process
        except httpx.HTTPError:
            time.sleep(0.05)
    raise AssertionError("the server did not start")


def test_kills_under_load_lose_and_double_nothing(tmp_path: Path, keys: dict[str, str]) -> None:
    chance = random.Random(3)
    acknowledged: set[int] = set()
    number = 0
    kills = int(os.environ.get("JURAT_KILLS", "4"))
    for _ in range(kills):
        port = _free_port()
        process = _served(tmp_path, port)
        stop = time.monotonic() + chance.uniform(0.2, 1.2)
        with httpx.Client(timeout=5) as http:
            while time.monotonic() < stop:
                headers = {"authorization": f"Bearer {keys['ingest']}", "content-type": "application/x-protobuf"}
                answer = http.post(f"http://127.0.0.1:{port}/v1/traces", content=_request(number), headers=headers)
                if answer.status_code == 200:
                    acknowledged.update(range(number, number + 5))
                number += 5
        process.send_signal(signal.SIGKILL)
        process.wait()
    last = Ingest(tmp_path / "lake", SETTINGS, start=False)
    last.flush()
    last.close()
    lake = Lake(tmp_path / "lake")
    found = lake.read("spans")["tokens_out"].to_pylist()
    assert len(found) == len(set(found)) and acknowledged <= set(found) and len(acknowledged) > 50
    rolled = lake.read("rollup_1m")
    counted = sum(r["n"] for r in rolled.to_pylist() if r["measure"] == "requests")
    assert counted == len(found)


def test_a_stock_exporter_sends_to_it_unchanged(tmp_path: Path, keys: dict[str, str]) -> None:
    exporter = pytest.importorskip("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    port = _free_port()
    process = _served(tmp_path, port)
    try:
        provider = sdk.TracerProvider(resource=Resource.create({"service.name": "shop", "service.version": "2.1"}))
        sending = exporter.OTLPSpanExporter(
            endpoint=f"http://127.0.0.1:{port}/v1/traces", headers={"authorization": f"Bearer {keys['ingest']}"},
            compression=exporter.Compression.Gzip,
        )  # fmt: skip
        provider.add_span_processor(SimpleSpanProcessor(sending))
        tracer = provider.get_tracer("test")
        with tracer.start_as_current_span("chat") as span:
            span.set_attribute("gen_ai.operation.name", "chat")
            span.set_attribute("gen_ai.request.model", "m-1")
            span.set_attribute("gen_ai.usage.input_tokens", 11)
            span.set_attribute("gen_ai.conversation.id", "c-1")
        provider.shutdown()
    finally:
        process.terminate()
        process.wait()
    (row,) = Lake(tmp_path / "lake").read("spans").to_pylist()
    assert (row["model"], row["tokens_in"], row["conversation_id"], row["release"]) == ("m-1", 11, "c-1", "2.1")
