"""Appending: what was appended is what is verified, whoever appends at once and whenever it is killed."""

from __future__ import annotations

import base64
import fcntl
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

from jurat.errors import IntegrityError, UsageError
from jurat.evidence.keys import SigningKey
from jurat.evidence.ledger import Ledger, export, head_path, read_entries, verify_ledger
from tests.evidence.conftest import LedgerBytes
from tests.evidence.test_canonical import JSON

Put = Callable[[bytes, bytes | None], Path]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.text(min_size=1), st.dictionaries(st.text(), JSON, max_size=3)), max_size=4))
def test_what_is_verified_is_what_was_appended(bodies: list[tuple[str, dict[str, Any]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "ledger.jsonl", SigningKey.generate())
        appended = [ledger.append(kind, body) for kind, body in [*bodies, ("end", {})]]
        entries = ledger.entries()
        assert entries[1:] == appended
        assert [(e.kind, e.body) for e in entries[1:-1]] == bodies
        assert [e.index for e in entries] == list(range(len(bodies) + 2))
        report = verify_ledger(ledger.path, public_key=ledger.key.public)
        assert (report.count, report.head) == (len(entries), appended[-1].line_sha256)
        assert (report.keyid, report.unsealed) == (ledger.key.keyid, 0)


def test_entry_0_carries_the_public_key_and_a_nonce_of_the_ledger(tmp_path: Path) -> None:
    key = SigningKey.generate()
    for name in ("a", "b"):
        Ledger(tmp_path / f"{name}.jsonl", key).append("note", {})
    first, second = (read_entries(tmp_path / f"{name}.jsonl")[0] for name in ("a", "b"))
    assert first.kind == "genesis"
    assert base64.b64decode(first.body["public_key"]) == key.public.raw
    assert first.body["nonce"] != second.body["nonce"]


def test_the_head_says_how_far_the_ledger_goes(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl", SigningKey.generate())
    assert ledger.head() is None
    last = ledger.append("note", {"text": "€"})
    head = ledger.head()
    assert head is not None
    assert (head.count, head.last, head.time) == (2, last.line_sha256, last.time)
    assert head.size == ledger.path.stat().st_size


def test_each_line_opens_in_securesystemslib(small: LedgerBytes) -> None:
    public = Ed25519PublicKey.from_public_bytes(small.key.public.raw)
    peer = SSlibKey.from_crypto(public, keyid=small.key.keyid)
    for index, line in enumerate(small.lines):
        envelope = Envelope.from_dict(json.loads(line))
        assert set(envelope.verify([peer], threshold=1)) == {small.key.keyid}
        assert json.loads(envelope.payload)["predicate"]["index"] == index


@pytest.mark.parametrize("body", [{"x": float("nan")}, {"x": 2**60}, {"x": {1, 2}}, {"x": "\ud800"}])
def test_a_body_that_is_no_json_writes_nothing(tmp_path: Path, body: dict[str, Any]) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl", SigningKey.generate())
    with pytest.raises(ValueError):
        ledger.append("note", body)
    assert list(tmp_path.iterdir()) == []


def test_another_key_cannot_append(small: LedgerBytes, put: Put) -> None:
    path = put(small.raw, small.head)
    with pytest.raises(IntegrityError, match="another key"):
        Ledger(path, SigningKey.generate()).append("note", {})
    assert path.read_bytes() == small.raw


def _append_many(path: Path, key_folder: Path, writer: int, count: int) -> None:
    from jurat.evidence.keys import load_or_create_key

    ledger = Ledger(path, load_or_create_key(key_folder))
    for number in range(count):
        ledger.append("note", {"writer": writer, "number": number})


def test_two_processes_that_append_at_once_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    path = tmp_path / "ledger.jsonl"
    writers = [context.Process(target=_append_many, args=(path, tmp_path / "home", w, 100)) for w in range(2)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        if head_path(path).exists():
            verify_ledger(path)  # a reader in between never sees half a state
        time.sleep(0.01)
    assert [writer.exitcode for writer in writers] == [0, 0]
    entries = read_entries(path)
    assert verify_ledger(path).count == len(entries) == 201
    for w in range(2):
        assert [e.body["number"] for e in entries if e.body.get("writer") == w] == list(range(100))


def test_a_reader_waits_for_an_append_that_is_under_way(small: LedgerBytes, put: Put) -> None:
    path = put(small.raw, small.head)
    with path.open("a+b") as stream, ThreadPoolExecutor(1) as pool:
        fcntl.flock(stream.fileno(), fcntl.LOCK_EX)
        stream.write(b"half an entry")
        stream.flush()
        report = pool.submit(verify_ledger, path)
        with pytest.raises(TimeoutError):
            report.result(timeout=0.1)
        stream.truncate(len(small.raw))
        fcntl.flock(stream.fileno(), fcntl.LOCK_UN)
        assert report.result(timeout=10).count == 4


_KILLED = """
import sys
from pathlib import Path
from jurat.evidence.keys import load_or_create_key
from jurat.evidence.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]), load_or_create_key(Path(sys.argv[2])))
number = 0
while True:
    ledger.append("note", {"number": number})
    print(number, flush=True)
    number += 1
"""


@pytest.mark.parametrize("after", [0.02, 0.11, 0.23])
def test_a_killed_writer_loses_no_acknowledged_entry(tmp_path: Path, after: float) -> None:
    path, home = tmp_path / "ledger.jsonl", tmp_path / "home"
    with subprocess.Popen(
        [sys.executable, "-c", _KILLED, str(path), str(home)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        first = writer.stdout.readline()
        time.sleep(after)
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged = [int(line) for line in (first + writer.stdout.read()).split()]
    from jurat.evidence.keys import load_or_create_key

    Ledger(path, load_or_create_key(home)).append("after", {})
    found = [e.body["number"] for e in read_entries(path) if e.kind == "note"]
    assert found == list(range(len(found)))
    assert len(acknowledged) <= len(found) <= len(acknowledged) + 1
    assert verify_ledger(path).unsealed == 0


def test_an_entry_past_the_head_is_kept_and_sealed_by_the_next_append(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl", SigningKey.generate())
    ledger.append("note", {"number": 0})
    head = head_path(ledger.path).read_bytes()
    ledger.append("note", {"number": 1})
    ledger.append("note", {"number": 2})
    head_path(ledger.path).write_bytes(head)
    assert verify_ledger(ledger.path).unsealed == 2
    ledger.append("note", {"number": 3})
    assert [e.body.get("number") for e in ledger.entries()] == [None, 0, 1, 2, 3]
    assert verify_ledger(ledger.path).unsealed == 0


def test_a_torn_line_of_any_length_is_cut_off_and_written_down(small: LedgerBytes, put: Put, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "whole.jsonl", small.key)
    (tmp_path / "whole.jsonl").write_bytes(small.raw)
    (tmp_path / "whole.head.json").write_bytes(small.head)
    ledger.append("note", {"number": 3})
    line = ledger.path.read_bytes()[len(small.raw) : -1]
    for length in [*range(1, len(line), 37), len(line)]:
        path = put(small.raw + line[:length], small.head)
        with pytest.raises(IntegrityError, match=r"entry 4 \(line 5\) is cut off"):
            verify_ledger(path)
        Ledger(path, small.key).append("note", {"number": 4})
        *before, repaired, last = read_entries(path)
        assert len(before) == len(small.lines)
        assert (repaired.kind, repaired.body["bytes"]) == ("repaired", length)
        assert last.body == {"number": 4}
        assert verify_ledger(path).count == 6


@pytest.mark.parametrize("part", ["nothing", "half", "all"])
def test_a_kill_during_the_very_first_append_is_survived(small: LedgerBytes, put: Put, part: str) -> None:
    genesis = small.lines[0] + b"\n"
    path = put({"nothing": b"", "half": genesis[:200], "all": genesis}[part], None)
    Ledger(path, small.key).append("note", {})
    kinds = [e.kind for e in read_entries(path)]
    assert kinds == ["genesis", "repaired", "note"] if part == "half" else ["genesis", "note"]
    assert verify_ledger(path).unsealed == 0


def test_an_append_does_not_wash_a_cut_tail_clean(small: LedgerBytes, put: Put) -> None:
    shorter = b"".join(line + b"\n" for line in small.lines[:-1])
    for raw, head in [(shorter, small.head), (shorter, None), (small.raw, None), (b"", small.head)]:
        path = put(raw, head)
        with pytest.raises(IntegrityError):
            Ledger(path, small.key).append("note", {})
        assert path.read_bytes() == raw


def test_an_append_does_not_build_on_a_tail_that_does_not_hold(small: LedgerBytes, put: Put) -> None:
    path = put(small.raw + b'{"payload":"forged"}\n', small.head)
    with pytest.raises(IntegrityError, match=r"entry 4 \(line 5\)"):
        Ledger(path, small.key).append("note", {})


def test_a_roll_back_of_both_files_is_seen_only_against_a_published_head(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl", SigningKey.generate())
    ledger.append("note", {})
    earlier = ledger.path.read_bytes(), head_path(ledger.path).read_bytes()
    ledger.append("note", {"bad": "news"})
    published = verify_ledger(ledger.path).head
    ledger.append("note", {})
    assert verify_ledger(ledger.path, anchor=published).count == 4
    ledger.path.write_bytes(earlier[0])
    head_path(ledger.path).write_bytes(earlier[1])
    assert verify_ledger(ledger.path).count == 2
    with pytest.raises(IntegrityError, match="did not grow from the published head"):
        verify_ledger(ledger.path, anchor=published)


def test_a_ledger_can_be_verified_where_nothing_may_be_written(small: LedgerBytes, put: Put) -> None:
    path = put(small.raw, small.head)
    for file in (path, head_path(path)):
        file.chmod(0o444)
    path.parent.chmod(0o555)
    try:
        assert verify_ledger(path, public_key=small.key.public).count == 4
    finally:
        path.parent.chmod(0o755)
    assert str(verify_ledger(path)).startswith("ledger holds: 4 entries")
    assert verify_ledger(path).to_json()["unsealed"] == 0


def test_the_export_is_the_signed_lines_and_a_companion_for_each_verdict(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl", SigningKey.generate())
    ledger.append("bar", {"file": "bar.toml", "sha256": "ab"})
    ledger.append("verdict", {"verdict": "not_enough_evidence", "reasons": []})
    out = tmp_path / "export.jsonl"
    assert export(ledger.path, out) == 3
    assert out.read_bytes() == ledger.path.read_bytes()
    assert export(ledger.path, out, public_key=ledger.key.public, key=ledger.key) == 4
    *_, verdict, companion = (Envelope.from_dict(json.loads(x)) for x in out.read_bytes().splitlines())
    public = Ed25519PublicKey.from_public_bytes(ledger.key.public.raw)
    companion.verify([SSlibKey.from_crypto(public, keyid=ledger.key.keyid)], threshold=1)
    document = json.loads(companion.payload)
    assert document["predicate"]["result"] == "FAILED"
    assert document["predicate"]["configuration"] == [{"name": "bar.toml", "digest": {"sha256": "ab"}}]
    assert document["subject"] == json.loads(verdict.payload)["subject"]


def test_the_export_never_overwrites_the_ledger_nor_exports_a_bad_one(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl", SigningKey.generate())
    ledger.append("note", {})
    for out in (ledger.path, head_path(ledger.path)):
        with pytest.raises(UsageError, match="overwrite"):
            export(ledger.path, out)
    ledger.path.write_bytes(ledger.path.read_bytes()[:-5])
    with pytest.raises(IntegrityError):
        export(ledger.path, tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def test_an_entry_is_on_disk_before_the_head_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl", SigningKey.generate())
    ledger.append("note", {})
    before = ledger.head()
    synced: list[tuple[bool, bool]] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        is_ledger = os.fstat(descriptor).st_ino == ledger.path.stat().st_ino
        synced.append((is_ledger, ledger.head() == before))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    ledger.append("note", {})
    # The ledger while the head is old, the new head's bytes before they get its name, then the folder.
    assert synced == [(True, True), (False, True), (False, False)]


def test_a_kind_that_is_no_text_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        Ledger(tmp_path / "ledger.jsonl", SigningKey.generate()).append("\ud800", {})
    assert list(tmp_path.iterdir()) == []
