"""Alerts: written down in one piece, told at least once, signed, and never with a secret in what is kept."""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from jurat.errors import IntegrityError, SpecError, UnknownName
from jurat.telemetry.alerts import AlertStore, change_id, headline, is_told
from jurat.telemetry.baselines import Baseline, Count
from jurat.telemetry.monitors import Acknowledge, Change, Minute, Monitor, MonitorState, replay
from jurat.telemetry.notifiers import CommandHook, DeliveryFailed, Email, Message, Webhook, verify_webhook
from jurat.telemetry.operations import load_operations
from tests.telemetry.receivers import http_receiver, smtp_sink

NOW = dt.datetime(2026, 11, 2, 12, tzinfo=dt.UTC)
SECRET = b"a-secret-nobody-should-see"
MONITOR = Monitor(
    name="refusals", metric="refusal_rate", kind="share", direction="above",
    baseline=Baseline(kind="fixed", value=0.05), shift=0.03, by=("tier",),
)  # fmt: skip
FREE = (("tier", "free"),)
FIRED = Change(
    minute=29_700_000, monitor="refusals", metric="refusal_rate", slice=FREE, before="ok", after="firing",
    reason="above the level", incident=1,
)  # fmt: skip
MESSAGE = Message(id="d1", subject="firing: refusals", document={"after": "firing", "slice": {"tier": "free"}})


def recorded(path: Path, *, channels: tuple[str, ...] = ("hook",), shadow: bool = False) -> AlertStore:
    store = AlertStore(path / "alerts.sqlite")
    store.record(MONITOR, MonitorState(minute=29_700_000), [FIRED], channels=channels, shadow=shadow, now=NOW)
    return store


def hook(port: int, **more: object) -> Webhook:
    return Webhook(name="hook", url=f"http://127.0.0.1:{port}/in?token=in-the-url", secret=SECRET, **more)  # type: ignore[arg-type]


def test_a_webhook_is_signed_over_time_delivery_and_body(tmp_path: Path) -> None:
    store = recorded(tmp_path)
    with http_receiver() as got:
        assert store.deliver([hook(got.port)], now=lambda: 1_793_620_800.0) == 0
    path, headers, body = got.posts[0]
    assert path == "/in?token=in-the-url"
    assert verify_webhook(SECRET, headers, body, now=1_793_620_801.0) == change_id(FIRED)
    assert json.loads(body)["slice"] == {"tier": "free"}
    for secret, altered, now in (
        (b"another", body, 1_793_620_801.0),
        (SECRET, body + b" ", 1_793_620_801.0),
        (SECRET, body, 1_793_620_801.0 + 301),
    ):
        with pytest.raises(IntegrityError):
            verify_webhook(secret, headers, altered, now=now)
    with pytest.raises(IntegrityError):
        verify_webhook(SECRET, {**headers, "Jurat-Delivery": "other"}, body, now=1_793_620_801.0)


def test_a_failing_receiver_is_tried_again_with_growing_pauses_until_it_takes_the_message(tmp_path: Path) -> None:
    store, clock = recorded(tmp_path), [NOW.timestamp()]
    with http_receiver() as got:
        got.answers = [(500, {}), (503, {"Retry-After": "40"}), (204, {})]
        assert store.deliver([hook(got.port)], now=lambda: clock[0]) == 1
        clock[0] += 0.9
        assert store.deliver([hook(got.port)], now=lambda: clock[0]) == 1
        assert len(got.posts) == 1  # too early
        clock[0] += 1.2
        store.deliver([hook(got.port)], now=lambda: clock[0])
        clock[0] += 39
        store.deliver([hook(got.port)], now=lambda: clock[0])
        assert len(got.posts) == 2  # the receiver asked for 40 s
        clock[0] += 2
        assert store.deliver([hook(got.port)], now=lambda: clock[0]) == 0
    assert len({headers["Jurat-Delivery"] for _, headers, _ in got.posts}) == 1
    assert [(d.status, d.attempts, d.error) for d in store.deliveries()] == [("sent", 3, None)]


def test_what_fails_for_good_is_not_tried_again_and_redirects_are_not_followed(tmp_path: Path) -> None:
    for i, status in enumerate((400, 302)):
        store = recorded(tmp_path / str(i))
        with http_receiver() as got:
            got.answers = [(status, {"Location": f"http://127.0.0.1:{got.port}/elsewhere"})]
            assert store.deliver([hook(got.port)]) == 0
        assert len(got.posts) == 1
        assert store.deliveries()[0].status == "failed"


def test_after_eight_tries_a_message_has_failed(tmp_path: Path) -> None:
    store, clock = recorded(tmp_path), [NOW.timestamp()]
    nobody = CommandHook(name="hook", arguments=("false",))
    for _ in range(10):
        store.deliver([nobody], now=lambda: clock[0])
        clock[0] += 700
    delivery = store.deliveries()[0]
    assert (delivery.status, delivery.attempts, delivery.error) == ("failed", 8, "hook ended with 1")


def test_no_secret_is_kept_or_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    store = recorded(tmp_path, channels=("hook", "mail"))
    mail = Email(
        name="mail", host="127.0.0.1", port=1, sender="a@x", recipients=("b@x",), security="none", user="u",
        password=SECRET.decode(),
    )  # fmt: skip
    webhook = hook(1)
    store.deliver([webhook, mail])
    with sqlite3.connect(store.path) as connection:
        dump = "\n".join(connection.iterdump())
    connection.close()
    shown = dump + repr(webhook) + repr(mail) + "".join(capfd.readouterr())
    assert SECRET.decode() not in shown and "in-the-url" not in shown
    assert [d.error for d in store.deliveries()] == ["127.0.0.1: ConnectionRefusedError (Connection refused)"] * 2


def test_a_mail_arrives_in_words_and_a_hostile_slice_cannot_write_headers(tmp_path: Path) -> None:
    hostile = replace(FIRED, slice=(("tier", "free\r\nBcc: all@x\x1b[31m"),))
    store = AlertStore(tmp_path / "alerts.sqlite")
    store.record(MONITOR, MonitorState(), [hostile], channels=("mail",), now=NOW)
    with smtp_sink() as got:
        mail = Email(
            name="mail", host="127.0.0.1", port=got.port, sender="jurat@x", recipients=("a@x", "b@x"), security="none"
        )
        assert store.deliver([mail]) == 0
    assert [c for c in got.commands if c.lower().startswith("rcpt")] == ["rcpt TO:<a@x>", "rcpt TO:<b@x>"]
    head, body = got.mails[0].split("\r\n\r\n", 1)
    assert "Subject: firing: refusals" in head and "\r\nBcc:" not in head and "\x1b" not in got.mails[0]
    assert "reason: above the level" in body


@pytest.mark.parametrize(("code", "permanent"), [(550, True), (450, False)])
def test_a_refused_recipient_is_permanent_or_not_by_its_code(code: int, permanent: bool) -> None:
    with smtp_sink(refuse=code) as got:
        mail = Email(name="m", host="127.0.0.1", port=got.port, sender="a@x", recipients=("b@x",), security="none")
        with pytest.raises(DeliveryFailed) as failed:
            mail.send(MESSAGE, now=0.0)
    assert failed.value.permanent is permanent


def test_a_command_gets_the_document_and_nothing_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEBHOOK_SECRET", SECRET.decode())
    out = tmp_path / "out.json"
    program = f"import json,os,sys; json.dump([json.load(sys.stdin), dict(os.environ)], open({str(out)!r}, 'w'))"
    CommandHook(name="c", arguments=(sys.executable, "-c", program)).send(MESSAGE, now=0.0)
    document, environment = json.loads(out.read_text(encoding="utf-8"))
    assert document == dict(MESSAGE.document) and environment["JURAT_DELIVERY"] == "d1"
    assert "WEBHOOK_SECRET" not in environment
    with pytest.raises(DeliveryFailed, match="no end after"):
        CommandHook(name="c", arguments=("sleep", "5"), timeout_seconds=0.1).send(MESSAGE, now=0.0)
    with pytest.raises(DeliveryFailed) as failed:
        CommandHook(name="c", arguments=(str(tmp_path / "none"),)).send(MESSAGE, now=0.0)
    assert failed.value.permanent


def test_in_shadow_nobody_is_told_and_everything_is_written(tmp_path: Path) -> None:
    store = recorded(tmp_path, shadow=True)
    with http_receiver() as got:
        assert store.deliver([hook(got.port)]) == 0
    assert got.posts == []
    assert [d.status for d in store.deliveries()] == ["shadow"]
    assert [(a.status, a.shadow) for a in store.alerts()] == [("firing", True)]


def test_a_replay_writes_each_change_and_each_message_once(tmp_path: Path) -> None:
    store = recorded(tmp_path)
    store.record(MONITOR, MonitorState(minute=29_700_000), [FIRED], channels=("hook",), now=NOW)
    assert len(store.deliveries()) == len(store.history("refusals")) == 1


def test_state_history_and_standing_alarms_survive(tmp_path: Path) -> None:
    bad = [Minute(minute=m, counts={FREE: Count.of_share(60 if m >= 20 else 30, 600)}) for m in range(30)]
    done = replay(MONITOR, bad)
    seen = replay(MONITOR, [Acknowledge(minute=30, slice=FREE, by="ada")], state=done.state)
    path = tmp_path / "alerts.sqlite"
    AlertStore(path).record(MONITOR, seen.state, [*done.changes, *seen.changes], now=NOW)
    store = AlertStore(path)
    assert store.state(MONITOR) == seen.state
    assert store.state(replace(MONITOR, shift=0.05)) is None  # defined otherwise: it begins anew
    assert [c["after"] for c in store.history("refusals", FREE)] == ["ok", "warning", "firing", "acknowledged"]
    assert [(a.status, a.slice, a.change["by"]) for a in store.alerts()] == [("acknowledged", {"tier": "free"}, "ada")]
    assert path.stat().st_mode & 0o077 == 0
    with pytest.raises(UnknownName):
        store.history("nothing")


def test_people_hear_of_alarms_their_end_and_silence_only() -> None:
    assert is_told(FIRED) and is_told(replace(FIRED, before="firing"))
    assert not is_told(replace(FIRED, reopened=True))
    assert not is_told(replace(FIRED, after="warning")) and not is_told(replace(FIRED, before="warning", after="ok"))
    assert is_told(replace(FIRED, before="firing", after="resolved"))
    assert not is_told(replace(FIRED, before="firing", after="resolved", by="ada"))
    assert is_told(replace(FIRED, after="no data"))
    assert headline(FIRED) == "firing: refusals (tier=free) is above the level"


def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    store = AlertStore(tmp_path / "a.sqlite")
    with sqlite3.connect(store.path) as connection:
        connection.execute("INSERT INTO alert_schema_version (version) VALUES (99)")
    connection.close()
    with pytest.raises(SpecError, match="newer"):
        AlertStore(store.path)


def test_channels_that_would_leak_are_refused() -> None:
    for wrong in (
        lambda: Webhook(name="w", url="http://example.org/x", secret=SECRET),
        lambda: Webhook(name="w", url="https://user:pass@example.org/x", secret=SECRET),
        lambda: Webhook(name="w", url="file:///etc/passwd", secret=SECRET),
        lambda: Webhook(name="w", url="https://example.org", secret=b""),
        lambda: Email(name="e", host="mail.example.org", sender="a@x", recipients=("b@x",), security="none"),
        lambda: Email(name="e", host="127.0.0.1", sender="a@x", recipients=()),
        lambda: CommandHook(name="c", arguments=()),
    ):
        with pytest.raises(SpecError) as error:
            wrong()
        assert SECRET.decode() not in str(error.value) and "pass@" not in str(error.value)
    assert Webhook(name="w", url="http://example.org/x", secret=SECRET, insecure=True).insecure


def test_an_operations_file_takes_secrets_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "operations.toml"
    path.write_text(
        '[[webhook]]\nname = "hook"\nurl = "https://example.org/x"\nsecret_env = "HOOK_SECRET"\n'
        '[[email]]\nname = "mail"\nhost = "127.0.0.1"\nsender = "a@x"\nrecipients = ["b@x"]\nsecurity = "none"\n'
        '[[command]]\nname = "page"\narguments = ["true"]\n'
        '[[feature]]\nname = "assistant"\ntwo_person = ["close"]\nopen_minutes = 30\n',
        encoding="utf-8",
    )
    monkeypatch.delenv("HOOK_SECRET", raising=False)
    with pytest.raises(SpecError, match="a secret is not there"):
        load_operations(path)
    monkeypatch.setenv("HOOK_SECRET", SECRET.decode())
    found = load_operations(path)
    assert [n.name for n in found.notifiers] == ["hook", "mail", "page"]
    assert found.features[0].two_person == {"close"} and SECRET.decode() not in repr(found)
    path.write_text('[[command]]\nname = "a"\narguments = ["true"]\n' * 2, encoding="utf-8")
    with pytest.raises(SpecError, match="one name"):
        load_operations(path)
