"""The breaker: open means off, every change is sworn, it closes by itself, and two people are two people."""

from __future__ import annotations

import datetime as dt
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jurat.errors import IntegrityError, UnknownName, UsageError
from jurat.evidence.keys import SigningKey
from jurat.evidence.ledger import verify_ledger
from jurat.telemetry.breaker import Breakers, FeaturePolicy

NOW = dt.datetime(2026, 11, 2, 10, tzinfo=dt.UTC)
KEY = SigningKey.generate()


def later(minutes: float) -> dt.datetime:
    return NOW + dt.timedelta(minutes=minutes)


def breakers(folder: Path, **policy: object) -> Breakers:
    return Breakers(folder, KEY, [FeaturePolicy(feature="assistant", **policy)])  # type: ignore[arg-type]


def test_opening_and_closing_are_entries_of_a_ledger_that_holds(tmp_path: Path) -> None:
    b = breakers(tmp_path)
    opened = b.open("assistant", by="monitor:refusals", reason="up", now=NOW, evidence={"observed": 0.07})
    closed = b.close("assistant", by="ada", reason="rolled back", now=later(10))
    assert (opened.done, closed.done, closed.state.state) == ("opened", "closed", "closed")
    assert [(h["did"], h["by"]) for h in b.history("assistant")] == [
        ("opened", ["monitor:refusals"]), ("closed", ["ada"])
    ]  # fmt: skip
    assert b.history()[0]["evidence"] == {"observed": 0.07}
    assert verify_ledger(b.ledger.path, public_key=KEY.public).count == 3


def test_the_answer_for_a_gateway_is_small_and_also_a_file(tmp_path: Path) -> None:
    b = breakers(tmp_path)
    assert b.answer("assistant", now=NOW)["state"] == "closed"
    b.open("assistant", by="ada", reason="up", now=NOW, minutes=30)
    answer = b.answer("assistant", now=later(1))
    assert answer == {
        "feature": "assistant", "state": "open", "reason": "up", "since": "2026-11-02T10:00:00+00:00",
        "expires": "2026-11-02T10:30:00+00:00", "by": ["ada"], "asked": "2026-11-02T10:01:00+00:00", "ttl_seconds": 5,
    }  # fmt: skip
    document = json.loads((tmp_path / "breaker.json").read_bytes())
    assert document["assistant"]["state"] == "open"


def test_a_misspelt_feature_is_not_closed_but_unknown(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="did you mean 'assistant'"):
        breakers(tmp_path).answer("asistant", now=NOW)


def test_it_closes_by_itself_and_the_ledger_is_told(tmp_path: Path) -> None:
    b = breakers(tmp_path, open_minutes=20)
    b.open("assistant", by="ada", reason="up", now=NOW)
    assert b.answer("assistant", now=later(19.9))["state"] == "open"
    expired = b.answer("assistant", now=later(20))
    assert (expired["state"], expired["since"]) == ("closed", "2026-11-02T10:20:00+00:00")
    assert b.settle(now=later(19)) == []
    assert [o.done for o in b.settle(now=later(25))] == ["closed"]
    assert b.settle(now=later(26)) == []
    assert [h["did"] for h in b.history()] == ["opened", "expired"]
    assert b.open("assistant", by="ada", reason="again", now=later(30)).done == "opened"
    assert b.open("assistant", by="ada", reason="and again", now=later(51)).done == "opened"
    assert [h["did"] for h in b.history()] == ["opened", "expired", "opened", "expired", "opened"]


def test_a_dry_run_says_what_would_happen_and_writes_nothing(tmp_path: Path) -> None:
    b = breakers(tmp_path)
    would = b.open("assistant", by="ada", reason="up", now=NOW, dry_run=True)
    assert (would.done, would.dry_run, would.state.state, would.entry) == ("opened", True, "open", None)
    assert b.history() == [] and b.answer("assistant", now=NOW)["state"] == "closed"
    assert not (tmp_path / "breaker.json").exists()


def test_two_people_are_needed_where_the_feature_asks_for_them(tmp_path: Path) -> None:
    b = breakers(tmp_path, two_person=frozenset({"open", "close"}))
    first = b.open("assistant", by="ada", reason="up", now=NOW, minutes=15)
    assert (first.done, first.state.state) == ("proposed", "closed")
    with pytest.raises(UsageError, match="two people"):
        b.open("assistant", by="ada", reason="up", now=later(1))
    second = b.open("assistant", by="bob", reason="seen it too", now=later(2))
    assert (second.done, second.state.by) == ("opened", ("ada", "bob"))
    assert second.state.expires == "2026-11-02T10:17:00+00:00"  # for as long as was proposed
    assert b.close("assistant", by="bob", reason="fixed", now=later(3)).done == "proposed"
    assert b.close("assistant", by="ada", reason="fixed", now=later(4)).done == "closed"


def test_a_monitor_may_propose_but_never_approve_and_proposals_lapse(tmp_path: Path) -> None:
    b = breakers(tmp_path, two_person=frozenset({"open"}), proposal_minutes=10)
    assert b.open("assistant", by="monitor:a", reason="up", now=NOW).done == "proposed"
    assert b.open("assistant", by="monitor:b", reason="up", now=later(1)).done == "nothing"
    assert b.open("assistant", by="ada", reason="yes", now=later(11)).done == "proposed"  # the monitor's has lapsed
    assert b.open("assistant", by="monitor:a", reason="up", now=later(12)).done == "nothing"
    assert b.open("assistant", by="bob", reason="yes", now=later(13)).done == "opened"


def test_what_is_so_already_changes_nothing(tmp_path: Path) -> None:
    b = breakers(tmp_path)
    b.open("assistant", by="ada", reason="up", now=NOW)
    assert b.open("assistant", by="bob", reason="up", now=later(1)).done == "nothing"
    assert len(b.history()) == 1


def test_an_altered_ledger_is_not_believed(tmp_path: Path) -> None:
    b = breakers(tmp_path)
    b.open("assistant", by="ada", reason="up", now=NOW)
    b.ledger.path.write_bytes(b.ledger.path.read_bytes().replace(b"b", b"c", 1))
    with pytest.raises(IntegrityError):
        breakers(tmp_path).answer("assistant", now=NOW)


def test_many_at_once_open_it_once(tmp_path: Path) -> None:
    def act(i: int) -> str:
        return breakers(tmp_path).open("assistant", by=f"p{i}", reason="up", now=NOW).done

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(act, range(8)))
    assert sorted(done) == ["nothing"] * 7 + ["opened"]


def test_another_process_is_seen(tmp_path: Path) -> None:
    first, second = breakers(tmp_path), breakers(tmp_path)
    assert second.answer("assistant", now=NOW)["state"] == "closed"
    first.open("assistant", by="ada", reason="up", now=NOW)
    assert second.answer("assistant", now=NOW)["state"] == "open"


def test_nobody_acts_without_name_reason_or_zone(tmp_path: Path) -> None:
    b = breakers(tmp_path)
    for wrong in (
        lambda: b.open("assistant", by="", reason="up", now=NOW),
        lambda: b.open("assistant", by="ada", reason=" ", now=NOW),
        lambda: b.open("assistant", by="ada", reason="up", now=NOW, minutes=0),
        lambda: b.open("assistant", by="ada", reason="up", now=NOW.replace(tzinfo=None)),
        lambda: Breakers(tmp_path, KEY, [FeaturePolicy(feature="a"), FeaturePolicy(feature="a")]),
    ):
        with pytest.raises(UsageError):
            wrong()
    with pytest.raises(ValueError, match="positive times"):
        FeaturePolicy(feature="a", open_minutes=0)
