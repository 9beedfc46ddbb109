"""The standalone verifier agrees with ours on genuine and on tampered ledgers."""

from __future__ import annotations

import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jurat.evidence.keys import PublicKey, SigningKey
from tests.evidence.conftest import LedgerBytes, make_ledger
from tests.evidence.test_chain import flipped, joined

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "verify_ledger.py"
Put = Callable[[bytes, bytes | None], Path]


def run(path: Path, *more: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", str(SCRIPT), str(path), *map(str, more)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def pem(folder: Path, key: PublicKey) -> Path:
    path = folder / "key.pem"
    path.write_bytes(key.pem)
    return path


def test_it_is_at_most_60_lines_and_knows_nothing_of_jurat() -> None:
    text = SCRIPT.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 60
    assert "import jurat" not in text
    assert "from jurat" not in text


def test_it_says_ok_to_a_genuine_ledger(small: LedgerBytes, put: Put, tmp_path: Path) -> None:
    path = put(small.raw, small.head)
    for more in ([], [pem(tmp_path, small.key.public)]):
        found = run(path, *more)
        assert (found.returncode, found.stderr) == (0, "")
        assert found.stdout.startswith("ok: 4 entries, head ")


def test_it_names_the_entry_that_was_tampered_with(small: LedgerBytes, put: Put, tmp_path: Path) -> None:
    position = small.raw.index(small.lines[2]) + 40
    found = run(put(flipped(small.raw, position), small.head))
    assert found.returncode == 1
    assert "BAD entry 2 (line 3)" in found.stderr
    found = run(put(joined(small.lines[:-1]), small.head))
    assert "BAD the head: it names 4 entries, there are 3" in found.stderr
    key = pem(tmp_path, SigningKey.generate().public)
    assert "another key" in run(put(small.raw, small.head), key).stderr
    assert run(tmp_path / "nowhere.jsonl").returncode == 1


def test_it_finds_all_that_ours_finds(small: LedgerBytes, put: Put, tmp_path: Path) -> None:
    verify = runpy.run_path(str(SCRIPT))["verify"]
    key = small.key.public.pem
    other = make_ledger(tmp_path / "other", small.key, 3)
    lines = small.lines
    tampered = [
        *((flipped(small.raw, position), small.head) for position in range(len(small.raw))),
        *((small.raw, flipped(small.head, position)) for position in range(len(small.head))),
        *((small.raw[:length], small.head) for length in range(0, len(small.raw), 7)),
        *((joined(lines[:i] + lines[i + 1 :]), small.head) for i in range(len(lines))),
        (joined([lines[0], lines[2], lines[1], lines[3]]), small.head),
        (joined([*lines, lines[3]]), small.head),
        (joined([*lines[:3], other.lines[3]]), small.head),
        (small.raw, other.head),
        (small.raw, small.head + b"\n"),
        (small.raw, None),
    ]
    assert verify(put(small.raw, small.head), key).startswith("ok")
    for raw, head in tampered:
        path = put(raw, head)
        with pytest.raises(SystemExit, match="BAD"):
            verify(path, key)
