"""Durable writes: whole or not at all, synced before they are named, one holder at a time."""

from __future__ import annotations

import os
import stat
import threading
import time
from pathlib import Path

import pytest

from jurat.errors import EngineError
from jurat.store.durable import locked, make_folder, write_atomically


def _path_of(descriptor: int) -> str:
    return str(Path(f"/proc/self/fd/{descriptor}").readlink())


def test_a_file_is_synced_before_it_has_its_name_and_its_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bar.toml"
    seen: list[tuple[str, bool]] = []
    sync = os.fsync

    def record(descriptor: int) -> None:
        sync(descriptor)
        seen.append((_path_of(descriptor), path.exists()))

    monkeypatch.setattr(os, "fsync", record)
    write_atomically(path, b"new")
    (first, named_then), (second, named_after) = seen
    assert Path(first).name.startswith(".bar.toml.")
    assert not named_then
    assert (second, named_after) == (str(tmp_path), True)
    assert path.read_bytes() == b"new"


def test_a_write_that_fails_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bar.toml"
    write_atomically(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_permissions_are_what_was_asked_for(tmp_path: Path) -> None:
    write_atomically(tmp_path / "key", b"secret", mode=0o600)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_every_new_folder_is_synced_into_its_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: seen.append(_path_of(descriptor)))
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert seen == [str(tmp_path), str(tmp_path / "a")]


def test_a_lock_is_held_alone_and_waited_for(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with locked(path, wait_seconds=0):
        with pytest.raises(EngineError, match="another writer"), locked(path, wait_seconds=0.02):
            pass
        with pytest.raises(EngineError), locked(path, wait_seconds=0, shared=True):
            pass
    with locked(path, wait_seconds=0):
        pass


def test_a_shared_lock_is_shared(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with (
        locked(path, wait_seconds=0, shared=True),
        locked(path, wait_seconds=0, shared=True),
        pytest.raises(EngineError),
        locked(path, wait_seconds=0),
    ):
        pass


def test_whoever_waits_gets_the_lock_when_it_is_free(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    order: list[str] = []

    def second() -> None:
        with locked(path, wait_seconds=10):
            order.append("second")

    with locked(path, wait_seconds=0):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.03)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
