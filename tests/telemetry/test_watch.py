"""Watching: words to monitors, minutes from files and lakes, and what ``jurat launch watch`` says and does."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jurat.cli.watch import watch
from jurat.errors import DataError, SpecError, UnknownName, UsageError
from jurat.evidence.keys import load_or_create_key, own_public_key
from jurat.evidence.ledger import verify_ledger
from jurat.metrics.loader import catalog
from jurat.simulate.incidents import PlantedIncident, Production, simulate_production
from jurat.store.lake import Lake
from jurat.telemetry.alerts import AlertStore
from jurat.telemetry.breaker import Breakers, FeaturePolicy
from jurat.telemetry.minutes import MinuteSource, minute_events
from jurat.telemetry.monitors import Monitor
from jurat.telemetry.watch_plan import parse_action, parse_trigger, parse_window
from jurat.telemetry.watching import Watching
from tests.telemetry.receivers import http_receiver

START = dt.datetime(2026, 11, 2, tzinfo=dt.UTC)
SPIKE = PlantedIncident(kind="refusal spike", onset=600, minutes=40, size=0.06, endpoint="/v1/chat")
BAR = """
title = "Assistant"
question = "May it stay?"
owner = "release"
[plan]
population = "turns"
unit = "turn"
cluster = "user"
[arms]
column = "release"
baseline = "a"
candidate = "b"
[[pair]]
name = "help against harm"
value = { metric = "over_refusal_rate", comparison = "superior", margin = 0 }
risk = { metric = "harmful_compliance_rate", comparison = "non-inferior", margin = 0.01 }
[monitor]
owner = "on call"
"""
ENTRY = '[[monitor.watch]]\nmetric = "{}"\nwindow = "{}"\ntrigger = "{}"\naction = "{}"\n'


def bar(folder: Path, *entries: tuple[str, str, str, str]) -> Path:
    path = folder / "bar.toml"
    path.write_text(BAR + "".join(ENTRY.format(*entry) for entry in entries), encoding="utf-8")
    return path


def parsed(text: str, kind: str = "share", window: str = "60 minutes") -> Monitor:
    return parse_trigger(text, metric="m", kind=kind, window=window, name="m")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("counts") / "minutes.parquet"
    pq.write_table(simulate_production(start=START, days=0.48, seed=4, incidents=(SPIKE,)), path)
    return path


# The grammar --------------------------------------------------------------------------------------------------


def test_triggers_say_what_they_mean() -> None:
    a = parsed("above baseline by 3pp, by endpoint and tier, 1 false alarm a year, at least 200 units, tolerance 0.5pp")
    assert (a.direction, a.baseline.kind, a.shift, a.relative, a.by) == (
        "above", "reference", 0.03, False, ("endpoint", "tier")
    )  # fmt: skip
    assert (a.minimum_n, a.baseline.tolerance) == (200, 0.005)
    assert a.false_alarms_per_week == pytest.approx(7 / 365.25)
    b = parsed("above 5 %")
    assert (b.baseline.value, b.shift, b.relative) == (0.05, 0.2, True)
    c = parsed("below same hour last week by 10 %", window="24 hours")
    assert (c.direction, c.baseline.kind, c.shift, c.relative, c.memory_minutes) == (
        "below", "same hour last week", 0.1, True, 1_440
    )  # fmt: skip
    d = parsed("above 2500 ms by 200 ms", "mean")
    assert (d.baseline.value, d.shift, d.relative) == (2_500, 200, False)


@pytest.mark.parametrize(
    "text",
    [
        "lower 95 % bound above 5 %", "above baseline", "above 5", "above 5 pp", "above 120 %", "over 5 %",
        "above 5 %, by", "above 5 %, at least 3 units, at least 4 units", "above baseline by 0pp", "above 5 %, soon",
    ],
)  # fmt: skip
def test_free_text_and_wrong_units_are_refused_with_what_may_stand_there(text: str) -> None:
    with pytest.raises(SpecError, match="cannot be followed") as error:
        parsed(text)
    assert text in str(error.value)


def test_actions_and_windows_are_read_or_refused() -> None:
    assert parse_action("alert").feature is None
    assert parse_action("open breaker chat/v1 for 2 hours").minutes == 120
    assert parse_window("7 days") == 10_080
    for wrong in ("page the owner; roll back", "open the breaker: serve the previous release", "", "open breaker"):
        with pytest.raises(SpecError, match="action cannot be followed"):
            parse_action(wrong)
    for wrong in ("24 hours, always-valid", "0 minutes", "a day"):
        with pytest.raises(SpecError, match="window cannot be followed"):
            parse_window(wrong)


# Where minutes come from --------------------------------------------------------------------------------------


def test_counts_are_the_same_from_parquet_and_from_json_lines(counts: Path, tmp_path: Path) -> None:
    table = pq.read_table(counts)
    lines = tmp_path / "minutes.jsonl"
    with lines.open("w", encoding="utf-8") as stream:
        for row in table.to_pylist():
            row["minute"] = row["minute"].isoformat()
            stream.write(json.dumps({k: v for k, v in row.items() if v is not None}) + "\n")
    for metric in ("refusal_rate", "latency_ms"):
        first, second = MinuteSource(counts), MinuteSource(lines)
        assert first.kind(metric) == second.kind(metric)
        a, b = first.read(metric, ("tier",)).rows, second.read(metric, ("tier",)).rows
        assert a.drop_columns(["total", "total_sq"]) == b.drop_columns(["total", "total_sq"])
        assert np.allclose(a["total_sq"].to_numpy(), b["total_sq"].to_numpy(), rtol=1e-12)
    n = table.filter(pa.compute.equal(table["metric"], "refusal_rate"))["n"]
    assert sum(c.n for e in minute_events(first.read("refusal_rate")) for c in e.counts.values()) == sum(n.to_pylist())


def test_minutes_of_a_lake_are_those_of_the_metric_file(tmp_path: Path) -> None:
    draw = np.random.default_rng(2)
    size = 400
    seconds = int(START.timestamp()) + np.sort(draw.integers(0, 600, size))
    refused = draw.random(size) < 0.2
    status = np.where(draw.random(size) < 0.1, "error", "ok")
    tier = np.where(draw.random(size) < 0.5, "free", "pro")
    lake = Lake(tmp_path / "lake")
    lake.append(
        "spans",
        pa.table(
            {
                "span_id": [f"s{i}" for i in range(size)], "user_id": [f"u{i % 7}" for i in range(size)],
                "endpoint": ["/chat"] * size, "tier": tier, "status": status, "refused": refused, "ts_s": seconds,
            }
        ),
    )  # fmt: skip
    source = MinuteSource(tmp_path / "lake", metrics=catalog())
    found = source.read("refusal_rate", ("endpoint", "tier")).rows.to_pylist()
    for row in found:
        mine = (seconds // 60 == row["minute__"]) & (tier == row["tier"]) & (status == "ok")
        assert (row["endpoint"], row["n"], row["total"]) == ("/chat", mine.sum(), (mine & refused).sum())
    assert sum(row["n"] for row in found) == (status == "ok").sum()
    first = int(seconds[0] // 60)
    assert min(source.read("refusal_rate", after=first).rows["minute__"].to_pylist()) == first + 1
    with pytest.raises(SpecError, match="cannot be watched"):
        source.kind("latency_quantile")
    with pytest.raises(UnknownName, match="slice"):
        source.read("refusal_rate", ("region",))


def test_impossible_counts_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"minute": 60, "n": 5, "k": 6}\n', encoding="utf-8")
    with pytest.raises(DataError, match="impossible"):
        MinuteSource(path).read("any")
    path.write_text(
        '{"minute": 60, "n": 5, "k": 2}\n{"minute": 120, "n": 5, "sum": 2, "sum_sq": 2}\n', encoding="utf-8"
    )
    with pytest.raises(DataError, match="neither"):
        MinuteSource(path).kind("any")
    with pytest.raises(DataError, match="no data to watch"):
        MinuteSource(tmp_path / "nothing")


# Watching -----------------------------------------------------------------------------------------------------


def test_a_replay_names_the_incident_and_acts_in_shadow_only(
    counts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = bar(tmp_path, ("refusal_rate", "60 minutes", "above baseline by 3pp, by endpoint", "open breaker assistant"))
    assert watch(path, data=counts, state=tmp_path / "state", json=True) == 3
    changes = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    fired = next(c for c in changes if c["after"] == "firing")
    assert fired["slice"] == {"endpoint": "/v1/chat"}
    assert "2026-11-02T10:01" <= fired["time"][:16] <= "2026-11-02T10:05"
    assert fired["done"] == "breaker assistant would be opened" and not fired["live"]
    assert changes[-1]["after"] == "ok" or changes[-1]["after"] == "resolved"
    assert not (tmp_path / "state" / "breakers" / "breaker.jsonl").exists()


def test_quiet_traffic_exits_0_and_traffic_without_baseline_exits_4(
    counts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quiet = bar(tmp_path, ("error_rate", "60 minutes", "above baseline by 2pp", "alert"))
    assert watch(quiet, data=counts) == 0
    assert capsys.readouterr().out == "error_rate: 1 ok; at most 0.05 false alarms expected a week\n"
    week = bar(tmp_path, ("error_rate", "60 minutes", "above same hour last week by 2pp", "alert"))
    assert watch(week, data=counts) == 4


def test_live_it_tells_opens_the_breaker_and_goes_on_where_it_was(
    counts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOOK_SECRET", "s3cret")
    table, state = pq.read_table(counts), tmp_path / "state"
    part = tmp_path / "part.parquet"
    stamps = table["minute"].cast(pa.int64()).to_numpy()
    pq.write_table(table.filter(pa.array(stamps < (int(START.timestamp()) + 590 * 60) * 1_000_000)), part)
    path = bar(
        tmp_path,
        ("refusal_rate", "60 minutes", "above baseline by 3pp, by endpoint", "open breaker assistant for 30 minutes"),
    )
    with http_receiver() as got:
        operations = tmp_path / "operations.toml"
        operations.write_text(
            f'[[webhook]]\nname = "hook"\nurl = "http://127.0.0.1:{got.port}/"\nsecret_env = "HOOK_SECRET"\n'
            '[[feature]]\nname = "assistant"\n',
            encoding="utf-8",
        )
        options = {"state": state, "operations": operations, "live": True, "clock": "data"}
        assert watch(path, data=part, **options) == 0  # type: ignore[arg-type]
        assert watch(path, data=counts, **options) == 3  # type: ignore[arg-type]
        assert watch(path, data=counts, **options) == 0  # type: ignore[arg-type] - nothing new
    told = [json.loads(body) for _, _, body in got.posts]
    assert [d["after"] for d in told if d["before"] != d["after"]] == ["firing", "resolved"]
    assert "breaker assistant opened" in capsys.readouterr().out
    key = own_public_key()
    assert key is not None
    ledger = state / "breakers" / "breaker.jsonl"
    assert verify_ledger(ledger, public_key=key).count >= 2
    breakers = Breakers(state / "breakers", load_or_create_key(), [FeaturePolicy(feature="assistant")])
    entry = breakers.history("assistant")[0]
    assert entry["did"] == "opened" and entry["by"] == ["monitor:refusal_rate"]
    assert entry["evidence"]["slice"] == {"endpoint": "/v1/chat"}
    assert AlertStore(state / "alerts.sqlite").alerts() == []


def test_stale_data_tell_people_but_pull_nothing(counts: Path, tmp_path: Path) -> None:
    source = MinuteSource(counts)
    from jurat.telemetry.operations import Operations
    from jurat.telemetry.watch_plan import Watch

    monitor = parse_trigger(
        "above baseline by 3pp", metric="refusal_rate", kind="share", window="60 minutes", name="refusals"
    )
    watching = Watching(
        [Watch(monitor=monitor, action=parse_action("open breaker assistant"))],
        source,
        operations=Operations(features=(FeaturePolicy(feature="assistant"),)),
        folder=tmp_path,
        key=load_or_create_key(),
        live=True,
        clock=lambda: START + dt.timedelta(days=9),
    )
    done = [t.done for t in watching.advance() if t.done]
    assert done and set(done) == {"breaker assistant would be opened (the data are stale)"}
    assert watching.breakers is not None and watching.breakers.history() == []


def test_following_closes_minutes_as_time_goes_and_hears_silence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now = dt.datetime.now(dt.UTC).replace(second=0, microsecond=0)
    world = simulate_production(
        Production(daily_swing=0.0),
        start=now - dt.timedelta(minutes=300),
        days=280 / 1_440,
        seed=2,
        metrics=("error_rate",),
    )
    pq.write_table(world, tmp_path / "m.parquet")
    path = bar(tmp_path, ("error_rate", "60 minutes", "above 2 %", "alert"))
    code = watch(path, data=tmp_path / "m.parquet", follow=True, poll_seconds=0.05, stop_after=0.2, lag_seconds=0)
    assert code == 4
    assert "no data" in capsys.readouterr().out


def test_what_cannot_be_watched_is_said_before_anything_is_done(counts: Path, tmp_path: Path) -> None:
    good = ("refusal_rate", "60 minutes", "above 9 %", "open breaker assistant")
    free_text = bar(tmp_path, ("refusal_rate", "24 hours", "above 5 %", "page the owner"))
    with pytest.raises(SpecError, match=r"monitor.watch 1: the action cannot be followed"):
        watch(free_text, data=counts)
    with pytest.raises(UnknownName, match="metric"):
        watch(bar(tmp_path, ("refusal_rat", *good[1:])), data=counts)
    with pytest.raises(UnknownName, match="slice"):
        watch(bar(tmp_path, ("refusal_rate", "60 minutes", "above 9 %, by region", "alert")), data=counts)
    with pytest.raises(UsageError, match="needs a folder"):
        watch(bar(tmp_path, good), data=counts, live=True)
    with pytest.raises(UnknownName, match="feature"):
        watch(bar(tmp_path, good), data=counts, live=True, state=tmp_path / "state")
    (tmp_path / "bar.toml").write_text(BAR.replace("[monitor]", "").replace('owner = "on call"', ""), encoding="utf-8")
    with pytest.raises(SpecError, match="no monitoring plan"):
        watch(tmp_path / "bar.toml", data=counts)
