"""Watching inside the server: minutes close when they are complete, a kill costs one look, and each change is sworn once."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from jurat.errors import SpecError, UnknownName, UsageError
from jurat.evidence.ledger import read_entries, verify_ledger
from jurat.telemetry.alert_view import alert_id, card_of, cards, minutes_around
from jurat.telemetry.alerts import AlertStore
from jurat.telemetry.arrivals import Arrivals
from jurat.telemetry.derive import Settings
from jurat.telemetry.ingest import Ingest
from jurat.telemetry.minutes import MinuteSource
from jurat.telemetry.sentinel import CommittedUntil, Sentinel
from jurat.web.watch import sentinel_for
from tests.web.watched import BAR, OPERATIONS, Watched, spans, watched

CHAT = {"endpoint": "/v1/chat"}


def again(one: Watched, *, live: bool = False) -> Sentinel:
    """The sentinel of a server that was killed and started anew."""
    return sentinel_for(
        one.ingest,
        bars=[one.folder / "bar.toml"],
        operations=one.folder / "operations.toml",
        home=one.folder / "home",
        live=live,
    )


@pytest.fixture(scope="module")
def shadow(tmp_path_factory: pytest.TempPathFactory) -> object:
    with watched(tmp_path_factory.mktemp("shadow")) as one:
        yield one


def test_a_spike_is_found_and_in_shadow_nobody_is_told_and_nothing_is_pulled(shadow: Watched) -> None:
    found = {next(iter(a.slice.values())): a.status for a in shadow.sentinel.alerts()}
    assert found == {"/v1/chat": "firing", "/v1/summarise": "ok", "/v1/agent": "ok"}
    assert {d.status for d in shadow.sentinel.store.deliveries()} == {"shadow"}
    assert shadow.sentinel.answer("assistant")["state"] == "closed"
    assert not (shadow.folder / "lake" / "_watch" / "breakers" / "breaker.jsonl").exists()


def test_every_change_is_an_entry_of_the_home_ledger_and_a_lost_mark_swears_none_twice(shadow: Watched) -> None:
    path = shadow.folder / "home" / "ledger.jsonl"
    ids = [entry.body["id"] for entry in read_entries(path) if entry.kind == "alert"]
    assert len(ids) == len(set(ids)) == len(shadow.sentinel.store.history("refusal_rate"))
    with sqlite3.connect(shadow.sentinel.store.path) as connection:
        connection.execute("UPDATE alert_changes SET entry = NULL")
    connection.close()
    again(shadow).look()
    assert [entry.body["id"] for entry in read_entries(path) if entry.kind == "alert"] == ids
    assert all(change["entry"] is not None for change in shadow.sentinel.store.history("refusal_rate"))
    assert verify_ledger(path).count == len(ids) + 1


def test_who_starts_anew_goes_on_where_the_other_was_killed(shadow: Watched) -> None:
    before = shadow.sentinel.store.history("refusal_rate")
    restarted = again(shadow)
    assert restarted.health().minute == shadow.sentinel.health().minute
    assert [told.change.after for told in restarted.look()] in ([], ["firing"], ["warning"])
    assert restarted.store.history("refusal_rate")[: len(before)] == before


def test_live_an_alarm_of_now_pulls_the_feature_and_tells_people(tmp_path: Path) -> None:
    with watched(tmp_path, live=True, spike_minutes=12) as one:
        answer = one.sentinel.answer("assistant")
        assert answer["state"] == "open" and answer["by"] == ["monitor:refusal_rate"]
        assert {d.status for d in one.sentinel.store.deliveries()} == {"sent"}
        evidence = one.sentinel.breakers.history("assistant")[0]["evidence"]  # type: ignore[union-attr]
        assert evidence["slice"] == CHAT and evidence["observed"]["low"] > evidence["baseline"]


def test_a_kill_between_the_breaker_and_the_memory_pulls_once_and_loses_no_alarm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with watched(tmp_path, live=True, spike_minutes=12, look=False) as one:

        def killed(*_: object, **__: object) -> None:
            raise OSError("killed")

        with monkeypatch.context() as patched:
            patched.setattr(AlertStore, "record", killed)
            with pytest.raises(OSError, match="killed"):
                one.sentinel.look()
        assert one.sentinel.answer("assistant")["state"] == "open"
        restarted = again(one, live=True)
        assert "firing" in [told.change.after for told in restarted.look()]
        assert [entry["did"] for entry in restarted.breakers.history("assistant")] == ["opened"]  # type: ignore[union-attr]
        assert any(a.status == "firing" for a in restarted.alerts())
        assert {d.status for d in restarted.store.deliveries()} == {"sent"}


def test_live_an_alarm_that_is_long_known_tells_nobody_and_pulls_nothing(tmp_path: Path) -> None:
    with watched(tmp_path, live=True, spike_minutes=60, hours=5) as one:
        assert any(a.status == "firing" for a in one.sentinel.alerts())
        assert one.sentinel.answer("assistant")["state"] == "closed"
        assert {d.status for d in one.sentinel.store.deliveries()} == {"shadow"}


def test_a_person_acknowledges_and_resolves_with_a_note_that_is_sworn(tmp_path: Path) -> None:
    with watched(tmp_path) as one:
        key = tuple(CHAT.items())
        with pytest.raises(UsageError, match="note"):
            one.sentinel.act("refusal_rate", key, "acknowledge", by="ada", note=" ")
        with pytest.raises(UnknownName):
            one.sentinel.act("nothing", key, "acknowledge", by="ada", note="x")
        assert one.sentinel.act("refusal_rate", key, "acknowledge", by="ada", note="rollout").after == "acknowledged"
        assert again(one).alerts()[1].status == "acknowledged"
        done = one.sentinel.act("refusal_rate", key, "resolve", by="bob", note="rolled back")
        assert (done.after, done.by, done.reason) == ("resolved", "bob", "resolved by hand: rolled back")
        with pytest.raises(UsageError, match="only an alarm"):
            one.sentinel.act("refusal_rate", key, "resolve", by="bob", note="again")
        last = read_entries(one.folder / "home" / "ledger.jsonl")[-1]
        assert (last.kind, last.body["by"], last.body["after"]) == ("alert", "bob", "resolved")


def test_a_card_says_what_changed_and_its_minutes_agree_with_a_count(shadow: Watched) -> None:
    standing = cards(shadow.sentinel)[0]
    assert (standing.title, standing.where, standing.stands) == ("Refusal rate", "endpoint /v1/chat", True)
    assert standing.observed is not None and standing.baseline is not None and standing.onset is not None
    assert standing.observed.low > standing.baseline  # type: ignore[operator]
    assert card_of(shadow.sentinel, alert_id("refusal_rate", CHAT)).history[-1]["after"] == "firing"
    found = minutes_around(shadow.sentinel, standing)
    rows = shadow.ingest.lake.read("spans")
    at = found.levels[7]
    minute = np.asarray(rows["ts_s"]) // 60 == int(at.minute.timestamp()) // 60
    here = minute & (np.asarray(rows["endpoint"]) == "/v1/chat")
    assert at.level.n == here.sum()
    assert at.level.value == pytest.approx(np.asarray(rows["refused"])[here].mean())
    with pytest.raises(UnknownName):
        card_of(shadow.sentinel, "0" * 16)


def test_a_lake_is_read_only_where_the_minutes_asked_for_may_lie(tmp_path: Path) -> None:
    ingest = Ingest(tmp_path / "lake", Settings(user_secret=b"s" * 32), start=False)
    now = time.time()
    for hours_ago in (30, 20, 10):
        ingest.lake.append("spans", spans(now - hours_ago * 3600, hours=1))
    from jurat.metrics.loader import catalog

    source = MinuteSource(ingest.lake.root, metrics=catalog(), lake=True)
    whole = source.read("refusal_rate", ("endpoint",))
    middle = int(now - 20.5 * 3600) // 60
    part = source.read("refusal_rate", ("endpoint",), after=middle, before=middle + 11)
    kept = [r for r in whole.rows.to_pylist() if middle < r["minute__"] < middle + 11]
    assert part.rows.to_pylist() == kept and kept
    assert len(source._files_between((middle + 1) * 60, (middle + 11) * 60)) == 1
    ingest.close()


def test_a_minute_is_open_while_what_was_acknowledged_in_it_is_not_committed(tmp_path: Path) -> None:
    ingest = Ingest(tmp_path / "lake", Settings(user_secret=b"s" * 32), start=False)
    clock = iter([100.0, 160.0, 220.0, 280.0, 340.0])
    until = CommittedUntil(ingest, clock=lambda: next(clock))
    assert until() == 100.0
    ingest.receive("traces/json", b'{"resourceSpans": []}', tenant="t").result()
    assert [until(), until()] == [100.0, 100.0]
    ingest.flush()
    assert until() == 280.0
    ingest.close()


def test_an_empty_lake_is_watched_and_bars_without_a_plan_or_with_free_text_are_refused(tmp_path: Path) -> None:
    ingest = Ingest(tmp_path / "lake", Settings(user_secret=b"s" * 32), start=False)
    path = tmp_path / "bar.toml"
    path.write_text(BAR, encoding="utf-8")
    (tmp_path / "operations.toml").write_text(OPERATIONS, encoding="utf-8")
    made = sentinel_for(ingest, bars=[path, path], operations=tmp_path / "operations.toml", home=tmp_path / "home")
    assert made.look() == [] and made.alerts() == []
    assert [watch.monitor.name for _, watch in made.watches()] == ["bar 1: refusal_rate", "bar 2: refusal_rate"]
    for old, new, error in (
        ("by endpoint", "by colour", UnknownName),
        ("above baseline by 5pp, by endpoint", "when it looks odd", SpecError),
        (BAR[BAR.index("[[monitor.watch]]") :], "", SpecError),
        ("refusal_rate", "no_such_rate", UnknownName),
    ):
        path.write_text(BAR.replace(old, new), encoding="utf-8")
        with pytest.raises(error):
            sentinel_for(ingest, bars=[path], home=tmp_path / "home")
    ingest.close()


def test_a_look_that_fails_is_told_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with watched(tmp_path) as one:
        sentinel = one.sentinel
        sentinel.poll_seconds = 0.01

        def broken(**_: object) -> list[object]:
            raise OSError("the disk is gone")

        with monkeypatch.context() as patched:
            patched.setattr(sentinel.watchings[0], "advance", broken)
            sentinel.start()
            deadline = time.monotonic() + 10
            while sentinel.health().failures == 0 and time.monotonic() < deadline:
                time.sleep(0.01)
            assert sentinel.health().error == "the disk is gone"
        while sentinel.health().error and time.monotonic() < deadline:
            time.sleep(0.01)
        sentinel.stop()
        assert sentinel.health().error == ""


def test_arrivals_tell_delay_and_clocks_that_are_ahead() -> None:
    arrivals = Arrivals()
    assert arrivals.report().p95_seconds.value is None
    for request in range(40):
        late = pa.table({"ts_us": [1_000_000 * (90 + i % 5) for i in range(20)], "latency_ms": [1_000.0] * 20})
        arrivals.note(late, received_us=1_000_000 * (100 if request else 80))
    seen = arrivals.report()
    assert (seen.n, seen.requests, seen.ahead, seen.most_ahead_seconds) == (800, 40, 20, 15.0)
    assert seen.median_seconds.value == pytest.approx(7.0)
