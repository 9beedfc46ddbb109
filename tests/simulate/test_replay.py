"""Replay through a real server: what was planted is what the lake holds, at any speed; public traces keep their percentiles."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import http.server
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from jurat.cli import main
from jurat.errors import EngineError, UsageError
from jurat.simulate.calls import price_book, simulate_calls
from jurat.simulate.incidents import PlantedIncident
from jurat.simulate.replay import Sender, replay, window_start
from jurat.store.lake import Lake
from jurat.store.schema import TABLES
from tests.conftest import data_folder

pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
pytest.importorskip("uvicorn")
from jurat.telemetry.derive import Settings
from jurat.telemetry.prices import load_prices
from jurat.telemetry.rollup import rollup_quantile
from tests.telemetry.served import SETTINGS, Served, served

START = dt.datetime(2026, 11, 2, 10, tzinfo=dt.UTC)


def test_the_lake_holds_what_was_planted(tmp_path: Path) -> None:
    spike = PlantedIncident(kind="refusal spike", onset=60, minutes=60, size=0.4, endpoint="/v1/chat", tier="free")
    storm = PlantedIncident(kind="error storm", onset=30, minutes=30, size=0.3)
    worse = PlantedIncident(kind="escalating users", onset=30, minutes=60, size=3)
    calls = simulate_calls(start=START, days=0.125, rate=0.4, seed=2, incidents=(spike, storm, worse))
    (tmp_path / "prices.toml").write_text(price_book(), encoding="utf-8")
    settings = Settings(user_secret=SETTINGS.user_secret, prices=load_prices(tmp_path / "prices.toml"))
    with served(tmp_path, settings=settings, tenant="default", start=False) as server:
        with Sender(server.url, server.token) as sender:
            done = replay(calls.spans, calls.feedback, sender=sender)
        server.ingest.flush()
    lake = Lake(tmp_path / "lake")
    assert (done.spans, done.feedback, done.waits) == (calls.spans.num_rows, calls.feedback.num_rows, 0)
    found, sent = (t.sort_by("span_id") for t in (lake.read("spans"), calls.spans))
    same = ["span_id", "trace_id", "conversation_id", "org_id", "tier", "endpoint", "release", "model", "ts", "ts_s"]
    same += ["tokens_in", "tokens_out", "status", "error_type", "day"]
    for name in same:
        assert found[name].to_pylist() == sent[name].to_pylist(), name
    for name in ("latency_ms", "ttft_ms"):
        assert pc.all(pc.less(pc.abs(pc.subtract(found[name], sent[name])), 1e-2)).as_py()
    answered = pc.equal(sent["status"], "ok")
    for name in ("refused", "blocked"):  # of a call that failed neither is known
        assert found[name].filter(answered) == sent[name].filter(answered), name
    assert found["refused"].filter(pc.invert(answered)).null_count == sum(s["errors"] for s in calls.truth["slices"])
    for side in (found, sent):  # one key for each user, and no name of one
        assert len(pc.unique(side["user_id"])) == len(pc.unique(sent["user_id"]))
    assert not set(found["user_id"].to_pylist()) & set(sent["user_id"].to_pylist())
    kept = found.group_by(["endpoint", "tier"]).aggregate([("span_id", "count"), ("refused", "sum")])
    assert {(r["endpoint"], r["tier"]): (r["span_id_count"], r["refused_sum"]) for r in kept.to_pylist()} == {
        (s["endpoint"], s["tier"]): (s["calls"], s["refused"]) for s in calls.truth["slices"]
    }
    plain = np.asarray(pc.fill_null(sent["blocked"], False).to_numpy(zero_copy_only=False)) | (
        np.asarray([u.startswith("escalating") for u in sent["user_id"].to_pylist()])
    )
    assert found["cost_usd"].filter(pa.array(~plain)).null_count == 0
    assert [f["onset"] for f in calls.truth["incidents"]] == [
        f"2026-11-02T{clock}:00+00:00" for clock in ("11:00", "10:30", "10:30")
    ]
    thumbs = lake.read("feedback").sort_by("feedback_id")
    pressed = calls.feedback.sort_by("feedback_id")
    assert thumbs["span_id"] == pressed["span_id"] and thumbs["ts"] == pressed["ts"]
    assert thumbs["value"].to_pylist() == [1.0 if v > 0 else -1.0 for v in pressed["value"].to_pylist()]


def test_a_world_ends_as_its_replay_ends() -> None:
    now = dt.datetime(2026, 11, 2, 12, tzinfo=dt.UTC)
    for speed in (1.0, 60.0, 1440.0):
        begin = window_start(2.0, speed, now=now)
        assert begin + dt.timedelta(days=2) == now + dt.timedelta(days=2) / speed
    with pytest.raises(UsageError, match="no slower than life"):
        window_start(1.0, 0.5, now=now)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path, start=False) as running:
        yield running


def test_the_clock_is_kept_and_nothing_is_sent_before_it_ended(server: Served, tmp_path: Path) -> None:
    speed, days = 3_600.0, 2.0 / 24
    calls = simulate_calls(start=START, days=days, rate=0.1, seed=1)
    sender, begun, early = Sender(server.url, server.token), time.monotonic(), []
    ended = np.sort(calls.spans["ts_us"].to_numpy() + calls.spans["latency_ms"].to_numpy() * 1000)
    first = calls.spans["ts_us"].to_numpy().min()

    def told(done: object) -> None:
        world = first + (time.monotonic() - begun) * speed * 1e6
        early.append(sender.done.spans - int(np.searchsorted(ended, world)))

    with sender:
        done = replay(calls.spans, calls.feedback, sender=sender, speed=speed, told=told)
    took = time.monotonic() - begun
    assert max(early) <= 0 and done.spans == calls.spans.num_rows and done.feedback == calls.feedback.num_rows
    assert 1.5 < took < 6 and done.seconds == pytest.approx(took, abs=0.2)


def test_a_server_that_is_full_is_waited_for_and_counts_once(tmp_path: Path) -> None:
    calls = simulate_calls(start=START, days=0.05, rate=0.5, seed=1)
    with served(tmp_path, start=False, most_waiting_bytes=400_000) as server:
        sender = Sender(server.url, server.token)
        slept: list[float] = []
        real = time.sleep

        def sleep(seconds: float) -> None:
            if seconds >= 1:
                slept.append(seconds)
                server.ingest.flush()
            else:
                real(seconds)

        with pytest.MonkeyPatch.context() as patch, sender:
            patch.setattr("jurat.simulate.replay.time.sleep", sleep)
            done = replay(calls.spans, sender=sender, batch=100)
        server.ingest.flush()
    assert done.waits == len(slept) > 0 and set(slept) == {5.0} and done.waited_seconds == sum(slept)
    found = Lake(tmp_path / "lake").read("spans")["span_id"].to_pylist()
    assert sorted(found) == sorted(calls.spans["span_id"].to_pylist())


def test_an_impatient_sender_and_a_wrong_key_are_told(tmp_path: Path) -> None:
    calls = simulate_calls(start=START, days=0.02, rate=0.5, seed=1)
    with served(tmp_path, start=False, most_waiting_bytes=10_000) as server:
        impatient, stranger = Sender(server.url, server.token, patience_seconds=1), Sender(server.url, "nonsense")
        with impatient, pytest.raises(EngineError, match="asks to wait for too long"):
            replay(calls.spans, sender=impatient, batch=100)
        with stranger, pytest.raises(EngineError, match="refused a request"):
            replay(calls.spans, sender=stranger)
    with Sender(server.url, server.token) as late, pytest.raises(EngineError, match="did not answer"):
        replay(calls.spans, sender=late)
    with pytest.raises(UsageError, match="not that of a server"):
        Sender("127.0.0.1:4318", "x")


def test_a_connection_that_rested_is_made_anew(tmp_path: Path) -> None:
    calls = simulate_calls(start=START, days=0.02, rate=0.2, seed=1)
    with served(tmp_path, start=False, keep_alive=1) as server, Sender(server.url, server.token) as sender:
        half = calls.spans.num_rows // 2
        replay(calls.spans.slice(0, half), sender=sender)
        time.sleep(1.5)
        done = replay(calls.spans.slice(half), sender=sender)
    assert done.spans == calls.spans.num_rows


def test_the_command_sends_tells_and_writes_the_truth(
    server: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JURAT_KEY", server.token)
    words = [
        "--days",
        "0.1",
        "--rate",
        "0.3",
        "--incident",
        "refusal spike, ago=30, size=0.5",
        "--incident",
        "error-storm",
    ]
    with pytest.raises(SystemExit) as left:
        main(["simulate", "traffic", "--to", server.url, *words, "--truth", str(tmp_path / "truth.json"), "--json"])
    assert left.value.code == 0
    document = json.loads(capsys.readouterr().out)
    truth = json.loads((tmp_path / "truth.json").read_text())
    assert document["truth"] == truth and document["sent"]["spans"] == truth["calls"]
    assert [i["kind"] for i in truth["incidents"]] == ["refusal spike", "error storm"]
    ends = dt.datetime.fromisoformat(truth["end"])
    assert abs((dt.datetime.now(dt.UTC) - ends).total_seconds()) < 60
    onset = dt.datetime.fromisoformat(truth["incidents"][0]["onset"])
    assert ends - onset == dt.timedelta(minutes=30) and truth["incidents"][0]["tier"] == "free"
    server.ingest.flush()
    assert len(Lake(tmp_path / "lake").read("spans")) == truth["calls"]
    for wrong in (["--speed", "quick"], ["--incident", "flood"], ["--incident", "error storm, where=/v1/chat"]):
        with pytest.raises(SystemExit) as left:
            main(["simulate", "traffic", "--to", server.url, *wrong])
        assert left.value.code in (1, 2)


def azure(path: Path) -> list[tuple[int, int, int]]:
    """Arrival (microseconds from the first), tokens in and out, of one of the Azure traces."""
    rows = []
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            moment = dt.datetime.fromisoformat(row["TIMESTAMP"][:26]).replace(tzinfo=dt.UTC)
            rows.append((round(moment.timestamp() * 1e6), int(row["ContextTokens"]), int(row["GeneratedTokens"])))
    return rows


def mooncake(path: Path) -> list[tuple[int, int, int]]:
    """The same of the Mooncake trace; its times are milliseconds."""
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        found = [json.loads(line) for line in stream]
    return [(row["timestamp"] * 1000, row["input_length"], row["output_length"]) for row in found]


def trace_spans(rows: list[tuple[int, int, int]], start: dt.datetime) -> pa.Table:
    """Calls at the times and with the tokens of a trace; a call takes 25 ms a token after 180 ms."""
    arrival, into, out = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    ts = arrival - arrival.min() + int(start.timestamp() * 1e6)
    numbers = np.arange(len(rows))
    latency = 180.0 + 25.0 * out
    values = {
        "span_id": [f"{n + 1:016x}" for n in numbers],
        "trace_id": [f"{n + 1:032x}" for n in numbers],
        "conversation_id": [f"c{n}" for n in numbers],
        "endpoint": ["/v1/chat"] * len(rows),
        "model": ["m"] * len(rows),
        "ts_us": ts,
        "ts": pa.array(ts).cast(pa.timestamp("us", tz="UTC")),
        "ts_s": ts // 1_000_000,
        "latency_ms": latency,
        "ttft_ms": np.full(len(rows), 150.0),
        "tokens_in": into,
        "tokens_out": out,
        "status": ["ok"] * len(rows),
    }
    schema = TABLES["spans"]
    return pa.table(
        {f.name: pa.array(values[f.name]) if f.name in values else pa.nulls(len(rows), f.type) for f in schema}
    ).cast(schema)


@pytest.mark.parametrize("name", ["azure_2023_code", "azure_2023_conv", "mooncake_conversation"])
def test_a_public_trace_keeps_its_percentiles_through_the_server(name: str, tmp_path: Path) -> None:
    folder = data_folder("traffic")
    rows = mooncake(folder / f"{name}.jsonl.gz") if name.startswith("moon") else azure(folder / f"{name}.csv.gz")
    spans = trace_spans(rows, START)
    with served(tmp_path, start=False) as server:
        with Sender(server.url, server.token) as sender:
            done = replay(spans, sender=sender, batch=1000, with_text=False)
        server.ingest.flush()
    lake = Lake(tmp_path / "lake")
    found = lake.read("spans")
    assert done.spans == len(found) == len(rows)
    _, into, out = (np.array(column) for column in zip(*rows, strict=True))
    q = [0.5, 0.9, 0.95, 0.99]
    for column, expected in (("tokens_in", into), ("tokens_out", out), ("latency_ms", 180.0 + 25.0 * out)):
        assert np.quantile(found[column].to_numpy(), q) == pytest.approx(np.quantile(expected, q), rel=1e-9)
    minutes = np.bincount((spans["ts_us"].to_numpy() - int(START.timestamp() * 1e6)) // 60_000_000)
    rolled = lake.read("rollup_1m")
    requests = rolled.filter(pc.equal(rolled["measure"], "requests")).group_by("minute").aggregate([("n", "sum")])
    assert requests.sort_by("minute")["n_sum"].to_pylist() == minutes[minutes > 0].tolist()
    slow = rolled.filter(pc.equal(rolled["measure"], "latency_ms"))
    for level in q:
        read = rollup_quantile(slow["bucket"].to_numpy(), slow["n"].to_numpy(), level)
        assert read == pytest.approx(float(np.quantile(180.0 + 25.0 * out, level, method="inverted_cdf")), rel=0.0101)


class _Slams(http.server.BaseHTTPRequestHandler):
    """A server that hangs up before it answers."""

    def do_POST(self) -> None:
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        return


def test_a_request_whose_answer_was_lost_is_not_sent_twice() -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Slams)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        calls = simulate_calls(start=START, days=0.02, rate=0.2, seed=1)
        sender = Sender(f"http://127.0.0.1:{server.server_port}", "k")
        with pytest.raises(EngineError, match="did not answer"):
            replay(calls.spans, sender=sender)
        assert sender.done.requests == 0
    finally:
        server.shutdown()
        server.server_close()
