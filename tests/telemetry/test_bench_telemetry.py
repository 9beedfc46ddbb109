"""The telemetry benchmark on small sizes: what it sends is what it says, both sides agree, and a missing peer is missing."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest

pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
pytest.importorskip("uvicorn")
from benchmarks import bench_telemetry, record, telemetry_servers
from benchmarks.telemetry_material import bodies, build_lake, narrow, span_parts

from jurat.telemetry.aliases import load_aliases
from jurat.telemetry.rollup import minute_rollup
from jurat.telemetry.wire import decode_traces


def test_requests_are_of_five_kilobytes_a_span_and_none_is_like_another() -> None:
    made = bodies(3, 50, seed=4, start_ns=10**18)
    tables = [decode_traces(body, encoding="protobuf", aliases=load_aliases()).spans for body in made]
    ids = [i for table in tables for i in table["span_id"].to_pylist()]
    texts = [t for table in tables for t in table["prompt"].to_pylist() + table["response"].to_pylist()]
    assert len(set(ids)) == 150 and len(set(texts)) == 300 and {len(t) for t in texts} == {2350}
    assert 5_000 < sum(map(len, made)) / 150 < 6_000
    assert tables[0]["parent_id"].null_count == 10 and len(set(tables[0]["trace_id"].to_pylist())) == 10


def test_ours_is_measured_and_a_missing_peer_is_told_as_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("PLACE", tmp_path / "b"), ("SPANS", 1000), ("PHOENIX_SPANS", 500), ("PACED_SECONDS", 0.2)):
        monkeypatch.setattr(bench_telemetry, name, value)
    monkeypatch.setattr(telemetry_servers, "PHOENIX", "")
    monkeypatch.setattr(
        telemetry_servers.time, "sleep", lambda _, sleep=telemetry_servers.time.sleep: sleep(min(_, 0.2))
    )
    monkeypatch.setattr(
        telemetry_servers, "_SERVE", telemetry_servers._SERVE.replace("flush_seconds=5.0", "flush_seconds=0.1")
    )
    monkeypatch.setattr(record, "RESULTS", tmp_path / "results")
    rows = bench_telemetry.server_rows()
    record.report("bench-telemetry", rows)
    assert all(row.ours > 0 for row in rows)
    assert [row.met for row in rows if row.peer_name == "Phoenix, missing"] == [None, None, None]
    document = json.loads((tmp_path / "results/bench-telemetry.json").read_text())
    assert {"name", "ours", "peer", "peer_name", "unit", "ratio", "goal", "met"} <= set(document[0])
    assert "missing" in capsys.readouterr().out


def test_sessions_agree_with_the_window_and_tiles_are_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("PLACE", tmp_path), ("SESSION_ROWS", 20_000), ("PANEL_SPANS", 4_000), ("LOOKS", 2)):
        monkeypatch.setattr(bench_telemetry, name, value)
    sessions = bench_telemetry.session_rows()
    assert all(row.peer is not None and row.peer > 0 for row in sessions)
    assert all(row.ours > 0 and row.unit == "ms" for row in bench_telemetry.panel_rows())


def test_a_lake_is_built_once_and_its_minutes_are_those_of_its_spans(tmp_path: Path) -> None:
    end = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)
    lake = build_lake(tmp_path, 3_000, end, days=2)
    spans = lake.read("spans")
    assert len(spans) == 3_000 and build_lake(tmp_path, 3_000, end, days=2).version("spans") == lake.version("spans")
    rolled = lake.read("rollup_1m")
    assert pc.sum(rolled.filter(pc.equal(rolled["measure"], "requests"))["n"]).as_py() == 3_000
    assert pc.max(spans["ts"]).as_py() <= end
    whole = minute_rollup(next(span_parts(3_000, end, 2)))
    assert len(whole) == len(rolled)


def test_narrow_turns_have_sessions() -> None:
    users, seconds = narrow(10_000, 50, 30, seed=1)
    assert len(users) == len(seconds) == 10_000 and users.max() < 50 and np.all(seconds > 0)
