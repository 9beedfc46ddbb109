"""A lock is a signed promise made before the data: in the ledger, versioned, and tamper-evident."""

from __future__ import annotations

import base64
import datetime as dt
import json
from pathlib import Path

import pytest

from jurat.errors import IntegrityError, SpecError, UsageError
from jurat.evidence.keys import home, load_or_create_key
from jurat.evidence.ledger import Ledger, read_entries, verify_ledger
from jurat.experiments.analyse import analyse_file
from jurat.experiments.registration import Lock, load_lock, lock_path, lock_spec, standing
from jurat.experiments.run import run_analysis
from jurat.experiments.spec import Experiment, load_spec
from tests.experiments.case import users_table, write_case

BEFORE = dt.datetime(2026, 2, 27, 9, tzinfo=dt.UTC)
WHY = "a pilot"


def spec(folder: Path) -> Path:
    return write_case(folder, {"outcomes": users_table(200, 1)}, data__time="day")


def locked(path: Path, *, again: bool = False, now: dt.datetime = BEFORE) -> Lock:
    return lock_spec(load_spec(path), load_or_create_key(), again=again, underpowered=WHY, now=now)[0]


def edit(path: Path) -> Experiment:
    path.write_text(path.read_text(encoding="utf-8").replace("b is better", "b is far better"), encoding="utf-8")
    return load_spec(path)


def test_a_lock_is_in_the_ledger_and_reads_back_as_it_was_made(tmp_path: Path) -> None:
    path = spec(tmp_path)
    made = locked(path)
    experiment = load_spec(path)
    assert load_lock(experiment) == made
    assert (made.version, made.holds, made.spec_sha256, made.underpowered) == (1, True, experiment.sha256, WHY)
    assert made.time == "2026-02-27T09:00:00+00:00" and made.keyid == load_or_create_key().keyid
    entry = read_entries(home() / "ledger.jsonl")[-1]
    assert entry.kind == "experiment.locked"
    assert entry.body == {
        "id": "case", "version": 1, "spec_sha256": experiment.sha256, "statement_sha256": made.statement_sha256,
    }  # fmt: skip
    verify_ledger(home() / "ledger.jsonl", public_key=load_or_create_key().public)


def test_a_spec_without_power_is_not_locked_unless_the_reason_is_signed_with_it(tmp_path: Path) -> None:
    path = spec(tmp_path)
    with pytest.raises(SpecError, match="cannot answer its question"):
        lock_spec(load_spec(path), load_or_create_key())
    assert not lock_path(path).exists() and not (home() / "ledger.jsonl").exists()
    locked(path)
    body = json.loads(base64.b64decode(json.loads(lock_path(path).read_bytes())["payload"]))
    assert body["predicate"]["underpowered"] == WHY


def test_a_spec_is_locked_once(tmp_path: Path) -> None:
    path = spec(tmp_path)
    locked(path)
    with pytest.raises(UsageError, match="locked already"):
        locked(path)
    with pytest.raises(UsageError, match="locked already"):
        locked(path, again=True)
    assert [e.kind for e in read_entries(home() / "ledger.jsonl")] == ["genesis", "experiment.locked"]


def test_a_changed_spec_becomes_a_new_version_that_names_the_old(tmp_path: Path) -> None:
    path = spec(tmp_path)
    first = locked(path)
    edited = edit(path)
    held = load_lock(edited)
    assert held is not None and not held.holds and held.spec_sha256 == first.spec_sha256
    with pytest.raises(UsageError, match="earlier version") as caught:
        locked(path)
    assert "version 1 of 2026-02-27" in str(caught.value) and "--again" in str(caught.value)
    second = locked(path, again=True, now=BEFORE + dt.timedelta(hours=1))
    assert (second.version, second.holds, second.spec_sha256) == (2, True, edited.sha256)
    body = json.loads(base64.b64decode(json.loads(lock_path(path).read_bytes())["payload"]))
    assert body["predicate"]["replaces"] == first.statement_sha256
    assert [e.body["version"] for e in read_entries(home() / "ledger.jsonl")[1:]] == [1, 2]


def test_results_are_confirmatory_only_under_a_lock_that_holds_and_came_first(tmp_path: Path) -> None:
    path = spec(tmp_path)
    assert run_analysis(path)["standing"] == "exploratory"
    locked(path)
    found = run_analysis(path)
    assert found["standing"] == "confirmatory" and found["lock"]["version"] == 1
    edit(path)
    later = run_analysis(path)
    assert later["standing"] == "exploratory" and "edited after version 1" in later["standing_reason"]
    locked(path, again=True, now=dt.datetime(2026, 3, 20, tzinfo=dt.UTC))
    late = run_analysis(path)
    assert late["standing"] == "exploratory" and "after the first outcome of 2026-03-01" in late["standing_reason"]


def test_a_look_is_entered_with_its_standing(tmp_path: Path) -> None:
    path = spec(tmp_path / "case")
    locked(path)
    found = run_analysis(path, out=tmp_path / "out")
    entry = read_entries(home() / "ledger.jsonl")[-1]
    assert entry.kind == "experiment.look"
    assert entry.body["standing"] == "confirmatory" and entry.body["spec_sha256"] == found["spec"]["sha256"]


@pytest.mark.parametrize("where", ["payload", "signature", "torn", "empty", "other"])
def test_an_altered_lock_is_found(tmp_path: Path, where: str) -> None:
    path = spec(tmp_path)
    locked(path)
    envelope = json.loads(lock_path(path).read_bytes())
    if where == "payload":
        body = base64.b64decode(envelope["payload"]).replace(b"2026-02-27", b"2026-01-27")
        envelope["payload"] = base64.b64encode(body).decode()
    elif where == "signature":
        raw = bytearray(base64.b64decode(envelope["signatures"][0]["sig"]))
        raw[5] ^= 1
        envelope["signatures"][0]["sig"] = base64.b64encode(bytes(raw)).decode()
    text = {"torn": json.dumps(envelope)[:100], "empty": "", "other": "[1, 2]"}.get(where, json.dumps(envelope))
    lock_path(path).write_text(text, encoding="utf-8")
    with pytest.raises(IntegrityError) as caught:
        load_lock(load_spec(path))
    assert "experiment.lock.json" in str(caught.value)
    with pytest.raises(IntegrityError):
        analyse_file(path)


def test_a_lock_of_another_spec_binds_nothing(tmp_path: Path) -> None:
    path = spec(tmp_path / "a")
    locked(path)
    other = write_case(tmp_path / "b", {"outcomes": users_table(200, 2)}, data__time="day", id="other")
    lock_path(other).write_bytes(lock_path(path).read_bytes())
    held = load_lock(load_spec(other))
    assert held is not None and not held.holds
    assert run_analysis(other)["standing"] == "exploratory"


def test_the_ledger_hears_of_a_lock_before_the_file_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = spec(tmp_path)

    def refuse(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Ledger, "append", refuse)
    with pytest.raises(OSError, match="disk full"):
        locked(path)
    assert not lock_path(path).exists()


def test_what_the_data_do_not_say_is_not_confirmatory(tmp_path: Path) -> None:
    path = spec(tmp_path)
    held = locked(path)
    assert standing(held, "2026-03-01")[0] == "confirmatory"
    status, why = standing(held, None)
    assert status == "exploratory" and "no time" in why
    # On one and the same day nobody can tell which came first.
    same, why = standing(held, "2026-02-27")
    assert (same, "on the day of the first outcome" in why) == ("exploratory", True)
    assert standing(held, "2026-02-26")[0] == "exploratory"
