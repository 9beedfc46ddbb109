"""What every test shares: no network but loopback, a home of its own, the real data where they are."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest

from tests.launch.case import answers, write_results

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


@pytest.fixture
def case(tmp_path: Path) -> Path:
    """A folder with bar, source mapping, metrics and data of two arms."""
    folder = tmp_path / "case"
    shutil.copytree(ROOT / "examples/xstest/metrics", folder / "metrics")
    source = (ROOT / "examples/xstest/source.toml").read_text(encoding="utf-8")
    head, *parts = source.split("[[files]]")
    human = parts[0]
    rules = "[rules]" + parts[-1].split("[rules]", 1)[1]
    (folder / "source.toml").write_text(f"{head}[[files]]{human}{rules}", encoding="utf-8")
    bar = (ROOT / "examples/xstest/bar.toml").read_text(encoding="utf-8")
    bar = bar.replace('silver = { scorer = ["string_match", "gpt4"] }\n', "").replace('sensitivity = ["stratum"]\n', "")
    bar = bar.replace("minimum_n = 200", "minimum_n = 40").replace("minimum_n = 150", "minimum_n = 40")
    (folder / "bar.toml").write_text(bar, encoding="utf-8")
    write_results(folder / "data", "mistralinstruct", answers(58, 50))
    write_results(folder / "data", "mistralguard", answers(57, 6))
    return folder
