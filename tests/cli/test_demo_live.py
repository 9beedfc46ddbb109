"""The live half of the demo: what was planted is caught, told with its interval, and the server stops or goes on as asked."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx2 as httpx
import pytest

from jurat.cli import main
from jurat.store.lake import Lake

pytest.importorskip("uvicorn")
pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")


def demo(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as left:
        main(["demo", "--preset", "small", *arguments])
    assert left.value.code == 0
    return capsys.readouterr().out


def test_the_spike_is_caught_and_the_server_is_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begun = time.monotonic()
    live = json.loads(demo(["--out", str(tmp_path / "demo"), "--json"], capsys))["live"]
    assert time.monotonic() - begun < 90  # the first time on a machine something is compiled
    caught, planted = live["caught"], live["planted"]
    assert caught["slice"] == {"endpoint": "/v1/chat", "tier": "free"} and caught["metric"] == "refusal_rate"
    assert 0 < live["minutes_to_detect"] <= 20 and live["other_alarms"] == 0
    seen = caught["observed"]
    assert caught["baseline"] < seen["low"] < seen["value"] < seen["high"] < 1 and seen["n"] >= 100
    found = Lake(tmp_path / "demo/live").read("spans")
    assert len(found) == live["spans"] and len(Lake(tmp_path / "demo/live").read("feedback")) == live["feedback"]
    age = dt.datetime.now(dt.UTC).timestamp() - max(found["ts_us"].to_pylist()) / 1e6
    assert -60 < age < 180 and planted["changed"] > 50
    assert live["address"] is None and live["reopen"].startswith("JURAT_HOME=")


def test_people_are_told_and_it_goes_on_until_it_is_stopped(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "jurat", "demo", "--preset", "small", "--serve", "--out", str(tmp_path / "demo")],
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    )
    assert process.stdout is not None
    address, lines = "", []
    for line in process.stdout:
        lines.append(line.strip())
        if line.startswith("see it"):
            address = line.split()[-1]
        if line.startswith("stop"):
            break
    assert re.fullmatch(
        r"caught at \d\d:\d\dZ, \d+ min later: refusal_rate at /v1/chat, free [\d.]+ % \[[\d.]+, [\d.]+\], n = \d+, "
        r"against [\d.]+ %",
        lines[-3],
    )
    try:
        with httpx.Client(timeout=10, headers={"accept": "text/html"}) as client:
            entered = client.get(address)
            assert entered.status_code == 303 and "set-cookie" in entered.headers
            assert client.get(address.split("?")[0]).status_code == 200
        before = sum(r["n"] for r in _requests(tmp_path))
        deadline = time.monotonic() + 30
        while (now := sum(r["n"] for r in _requests(tmp_path))) == before and time.monotonic() < deadline:
            time.sleep(0.5)
        assert now > before
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        process.stdout.close()


def _requests(folder: Path) -> list[dict[str, int]]:
    rows = Lake(folder / "demo/live").read("rollup_1m").to_pylist()
    return [r for r in rows if r["measure"] == "requests"]
