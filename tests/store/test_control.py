"""The control plane: keys open what they name and nothing else, pins are counted, state survives."""

from __future__ import annotations

import datetime as dt
import hashlib
import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jurat.errors import SpecError, UnknownName, UsageError
from jurat.store.control import ROLES, AccessDenied, Control


@pytest.fixture
def control(tmp_path: Path) -> Control:
    return Control(tmp_path / "control.sqlite")


def _dump(control: Control) -> str:
    with sqlite3.connect(control.path) as connection:
        text = "\n".join(connection.iterdump())
    connection.close()
    return text


def test_a_key_opens_its_roles_and_no_other(control: Control) -> None:
    made = control.create_key(owner="ada", roles={"annotate", "approve"}, tenant="acme")
    for role in ROLES:
        if role in {"annotate", "approve"}:
            assert control.verify_key(made.token, role=role) == made.key
        else:
            with pytest.raises(AccessDenied):
                control.verify_key(made.token, role=role)


def test_an_administrator_may_not_approve_a_launch_unless_told_so(control: Control) -> None:
    made = control.create_key(owner="root", roles={"admin"})
    with pytest.raises(AccessDenied):
        control.verify_key(made.token, role="approve")


def test_a_revoked_key_opens_nothing_even_after_it_was_verified(control: Control) -> None:
    made = control.create_key(owner="ada", roles={"ingest"})
    control.verify_key(made.token, role="ingest")
    control.revoke_key(made.key.id)
    with pytest.raises(AccessDenied):
        control.verify_key(made.token, role="ingest")
    assert control.keys()[0].revoked is not None


def test_revoking_twice_keeps_the_first_time(control: Control) -> None:
    made = control.create_key(owner="ada", roles={"ingest"})
    control.revoke_key(made.key.id)
    first = control.keys()
    control.revoke_key(made.key.id)
    assert control.keys() == first


def test_a_key_revoked_by_another_process_is_refused_here(control: Control) -> None:
    made = control.create_key(owner="ada", roles={"ingest"})
    control.verify_key(made.token, role="ingest")
    Control(control.path).revoke_key(made.key.id)
    with pytest.raises(AccessDenied):
        control.verify_key(made.token, role="ingest")


def test_an_expired_key_opens_nothing(control: Control) -> None:
    now = dt.datetime.now(dt.UTC)
    past = control.create_key(owner="ada", roles={"ingest"}, expires=now - dt.timedelta(seconds=1))
    # Given in another zone, still ahead in UTC.
    zone = dt.timezone(dt.timedelta(hours=-9))
    ahead = control.create_key(owner="ada", roles={"ingest"}, expires=(now + dt.timedelta(hours=1)).astimezone(zone))
    with pytest.raises(AccessDenied):
        control.verify_key(past.token, role="ingest")
    assert control.verify_key(ahead.token, role="ingest").owner == "ada"


@pytest.mark.parametrize(
    "token",
    ["", "jrt_", "jrt__", "jrt_0000000000000000_" + "A" * 43, "nonsense", "jrt_\ud800_x", "jrt_' OR 1=1 --_x", "\x00"],
)
def test_a_token_that_was_never_issued_is_denied_not_an_accident(control: Control, token: str) -> None:
    control.create_key(owner="ada", roles={"ingest"})
    with pytest.raises(AccessDenied):
        control.verify_key(token, role="ingest")


def test_a_token_with_one_letter_changed_is_denied_after_the_right_one_was_verified(control: Control) -> None:
    made = control.create_key(owner="ada", roles={"ingest"})
    control.verify_key(made.token, role="ingest")
    wrong = made.token[:-1] + ("A" if made.token[-1] != "A" else "B")
    with pytest.raises(AccessDenied):
        control.verify_key(wrong, role="ingest")


def test_the_file_holds_scrypt_of_rfc_7914_and_not_the_secret(control: Control) -> None:
    made = control.create_key(owner="ada", roles={"ingest"})
    secret = made.token.split("_", 2)[2]
    assert secret not in _dump(control)
    assert hashlib.sha256(secret.encode()).hexdigest() not in _dump(control)
    with sqlite3.connect(control.path) as connection:
        salt, held = connection.execute("SELECT salt, hash FROM api_keys").fetchone()
    connection.close()
    assert hashlib.scrypt(secret.encode(), salt=bytes.fromhex(salt), n=16384, r=8, p=1).hex() == held


def test_the_token_does_not_show_in_the_repr(control: Control) -> None:
    made = control.create_key(owner="ada", roles={"ingest"})
    assert made.token not in repr(made)


def test_the_file_is_readable_by_its_owner_only(control: Control) -> None:
    assert stat.S_IMODE(control.path.stat().st_mode) == 0o600


def test_bad_keys_are_refused_with_a_reason(control: Control) -> None:
    with pytest.raises(UnknownName, match="analyse"):
        control.create_key(owner="ada", roles={"analyze"})  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        control.create_key(owner="ada", roles=set())
    with pytest.raises(UsageError):
        control.create_key(owner="", roles={"ingest"})
    with pytest.raises(UsageError, match="time zone"):
        control.create_key(owner="ada", roles={"ingest"}, expires=dt.datetime(2030, 1, 1))  # noqa: DTZ001
    with pytest.raises(UnknownName):
        control.revoke_key("absent")
    assert control.keys() == []


def test_a_snapshot_is_free_only_when_its_last_holder_lets_go(control: Control) -> None:
    control.pin_snapshot("s1", holder="review 1", reason="launch")
    control.pin_snapshot("s1", holder="review 1", reason="again")
    control.pin_snapshot("s1", holder="ada", reason="reading")
    control.pin_snapshot("s2", holder="ada", reason="reading")
    assert [(pin.holder, pin.reason) for pin in control.pins("s1")] == [("review 1", "launch"), ("ada", "reading")]
    assert len(control.pins()) == 3
    assert control.unpin_snapshot("s1", holder="review 1") is False
    assert control.unpin_snapshot("s1", holder="nobody") is False
    assert control.unpin_snapshot("s1", holder="ada") is True
    assert [pin.snapshot for pin in control.pins()] == ["s2"]


def test_settings_survive_and_refuse_what_json_cannot_hold(control: Control) -> None:
    control.set_setting("retain", {"text_days": 30, "users": ["ä", None, 1.5]})
    control.set_setting("retain", {"text_days": 31})
    assert Control(control.path).setting("retain") == {"text_days": 31}
    assert control.setting("absent", default=7) == 7
    control.set_setting("nothing", None)
    assert control.setting("nothing", default=7) is None
    for bad in (float("nan"), {1, 2}, object()):
        with pytest.raises(UsageError):
            control.set_setting("retain", bad)
    assert control.setting("retain") == {"text_days": 31}


def test_a_transaction_that_fails_leaves_nothing(control: Control) -> None:
    def fail() -> None:
        with control._transaction(writing=True) as connection:
            connection.execute("INSERT INTO settings (name, value) VALUES ('a', '1')")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert control.setting("a") is None


def test_the_database_is_in_wal_mode_with_full_sync_and_foreign_keys(control: Control) -> None:
    with control._transaction() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2
    with pytest.raises(sqlite3.IntegrityError), control._transaction(writing=True) as connection:
        connection.execute("INSERT INTO api_key_roles (key_id, role) VALUES ('absent', 'ingest')")


def test_opening_again_migrates_nothing_and_a_newer_file_is_refused(control: Control) -> None:
    version = control.schema_version
    assert Control(control.path).schema_version == version
    with control._transaction(writing=True) as connection:
        connection.execute("INSERT INTO schema_version (version) VALUES (?)", (version + 1,))
    with pytest.raises(SpecError, match="newer"):
        Control(control.path)


def test_many_threads_make_the_file_and_write_at_once_and_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "control.sqlite"

    def work(worker: int) -> None:
        control = Control(path)
        for i in range(10):
            control.pin_snapshot(f"s{i}", holder=f"worker {worker}", reason="at once")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert len(Control(path).pins()) == 80
