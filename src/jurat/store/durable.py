"""Writes that survive a kill and a power cut.

A file is durable when its bytes *and* the directory entry that names it are on disk; a new name appears only once
its content is whole. Everything in the house that must not be lost goes through here.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jurat.errors import EngineError

__all__ = ["fsync_directory", "fsync_file", "locked", "make_folder", "write_atomically"]

_POLL_SECONDS = 0.005


def fsync_file(path: Path) -> None:
    """Force a file's bytes to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_directory(path: Path) -> None:
    """Force a directory's entries (new names, renames, removals) to disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Make a folder and its missing ancestors, each new name durable in the folder that holds it.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp()) / "a" / "b"
    >>> make_folder(folder)
    >>> folder.is_dir()
    True
    """
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    fsync_directory(path.parent)


def write_atomically(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write a file so that a reader, or a kill at any moment, sees the old content or the new, never a part.

    Parameters
    ----------
    path
        The file; its folder must exist.
    content
        All of its bytes.
    mode
        Permission bits.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "bar.toml"
    >>> write_atomically(path, b"title = 'a'")
    >>> path.read_bytes()
    b"title = 'a'"
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise
    fsync_directory(path.parent)


@contextmanager
def locked(path: Path, *, wait_seconds: float, shared: bool = False) -> Iterator[None]:
    """Hold a lock across threads and processes; a kill lets go of it.

    Parameters
    ----------
    path
        File to lock; made where it is missing.
    wait_seconds
        How long to wait for whoever holds it.
    shared
        Hold it together with others that share it.

    Raises
    ------
    EngineError
        Where it is held for longer than that.

    Examples
    --------
    >>> path = Path(tempfile.mkdtemp()) / ".lock"
    >>> with locked(path, wait_seconds=1):
    ...     pass
    """
    with path.open("w") as stream:
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                fcntl.flock(stream, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise EngineError(
                        "another writer is at work",
                        seen=f"{path} is locked since more than {wait_seconds:g} s",
                        next_step="wait for it to finish, or stop it",
                    ) from None
                time.sleep(_POLL_SECONDS)
        yield
