"""What every test shares: no network but loopback, a home of its own, the real data where they are."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
_connect = socket.socket.connect
_LOOPBACK = ("127.", "::1", "localhost")


def _guarded_connect(self: socket.socket, address: object) -> None:
    """Refuse every connection that leaves the machine: nothing here may phone home."""
    if self.family != socket.AF_UNIX:
        host = address[0] if isinstance(address, tuple) else str(address)
        if not str(host).startswith(_LOOPBACK):
            raise RuntimeError(f"a test tried to reach {host!r}: tests may use loopback only")
    _connect(self, address)  # type: ignore[arg-type]


socket.socket.connect = _guarded_connect  # type: ignore[method-assign,assignment]


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep keys and ledgers of the person who runs the tests out of reach."""
    monkeypatch.setenv("JURAT_HOME", str(tmp_path_factory.mktemp("home")))


def data_folder(name: str) -> Path:
    """Folder of real public data, or a skip that says what is missing."""
    root = Path(os.environ.get("JURAT_DATA", ROOT.parent / "shared" / "data"))
    folder = root / name
    if not folder.is_dir():
        pytest.skip(f"real data {name!r} not found under {root}; set JURAT_DATA to the folder that holds it")
    return folder


@pytest.fixture(scope="session")
def xstest() -> Path:
    """XSTest v2 completions with human and silver labels."""
    return data_folder("xstest")
