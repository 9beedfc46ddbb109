"""Every way to tamper with a small ledger, tried exhaustively, is found and located."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jurat.errors import IntegrityError
from jurat.evidence.canonical import canonical_json
from jurat.evidence.dsse import seal, statement
from jurat.evidence.keys import SigningKey
from jurat.evidence.ledger import ENTRY_TYPE, HEAD_TYPE, verify_ledger
from tests.evidence.conftest import LedgerBytes, make_ledger

Put = Callable[[bytes, bytes | None], Path]


def joined(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def fault_of(path: Path, **arguments: Any) -> str:
    with pytest.raises(IntegrityError) as caught:
        verify_ledger(path, **arguments)
    return str(caught.value)


def flipped(raw: bytes, position: int) -> bytes:
    # One of 255 other values, another at each place, so that all kinds of damage occur.
    return raw[:position] + bytes([raw[position] ^ (position % 255 + 1)]) + raw[position + 1 :]


@pytest.mark.parametrize("pinned", [True, False])
def test_every_byte_of_the_ledger_counts_and_its_line_is_named(small: LedgerBytes, put: Put, pinned: bool) -> None:
    arguments = {"public_key": small.key.public} if pinned else {}
    for position in range(len(small.raw)):
        line = small.raw.count(b"\n", 0, position) + 1
        # A byte that becomes a line end, or the end that goes, moves the fault by one line at most.
        assert any(
            f"(line {near})" in fault_of(put(flipped(small.raw, position), small.head), **arguments)
            for near in (line, line + 1)
        )


def test_every_byte_of_the_head_counts(small: LedgerBytes, put: Put) -> None:
    for position in range(len(small.head)):
        fault_of(put(small.raw, flipped(small.head, position)), public_key=small.key.public)
    for length in range(len(small.head)):
        fault_of(put(small.raw, small.head[:length]))
    fault_of(put(small.raw, small.head + b"\n"))
    assert "no head" in fault_of(put(small.raw, None))


def test_each_dropped_entry_is_found(small: LedgerBytes, put: Put) -> None:
    for index in range(len(small.lines)):
        rest = small.lines[:index] + small.lines[index + 1 :]
        message = fault_of(put(joined(rest), small.head), public_key=small.key.public)
        assert f"entry {index} (line {index + 1})" in message
        assert ("dropped" if index < len(rest) else "truncated") in message


def test_each_swapped_pair_is_found(small: LedgerBytes, put: Put) -> None:
    for i, j in itertools.combinations(range(len(small.lines)), 2):
        lines = list(small.lines)
        lines[i], lines[j] = lines[j], lines[i]
        message = fault_of(put(joined(lines), small.head), public_key=small.key.public)
        assert f"entry {i} (line {i + 1}) is not in its place" in message


def test_each_repeated_entry_is_found_wherever_it_is_put(small: LedgerBytes, put: Put) -> None:
    for index, place in itertools.product(range(len(small.lines)), range(len(small.lines) + 1)):
        lines = [*small.lines[:place], small.lines[index], *small.lines[place:]]
        message = fault_of(put(joined(lines), small.head), public_key=small.key.public)
        assert "is not in its place" in message


def test_the_ledger_cut_at_every_length_is_found(small: LedgerBytes, put: Put) -> None:
    for length in range(len(small.raw)):
        fault_of(put(small.raw[:length], small.head))


@pytest.mark.parametrize("tail", [b"\n", b"x", b"x\n", b"{}\n", b"\x00" * 64])
def test_bytes_put_after_the_end_are_found(small: LedgerBytes, put: Put, tail: bytes) -> None:
    assert "entry 4 (line 5)" in fault_of(put(small.raw + tail, small.head))


def test_a_ledger_signed_anew_by_another_key_is_found_when_the_key_is_pinned(
    small: LedgerBytes, put: Put, tmp_path: Path
) -> None:
    forged = make_ledger(tmp_path / "forger", SigningKey.generate(), 3)
    path = put(forged.raw, forged.head)
    assert verify_ledger(path).count == 4  # on its own it holds: the key has to come from elsewhere
    assert "entry 0 (line 1) is signed by another key" in fault_of(path, public_key=small.key.public)
    lines = [*small.lines[:2], forged.lines[2], small.lines[3]]
    assert "entry 2 (line 3) is signed by another key" in fault_of(put(joined(lines), small.head))
    assert "signed by another key" in fault_of(put(small.raw, forged.head))


def test_an_entry_of_another_ledger_of_the_same_key_breaks_the_chain(
    small: LedgerBytes, put: Put, tmp_path: Path
) -> None:
    other = make_ledger(tmp_path / "other", small.key, 3)
    for index in range(1, 4):
        lines = list(small.lines)
        lines[index] = other.lines[index]
        assert f"the chain breaks at entry {index} (line {index + 1})" in fault_of(put(joined(lines), small.head))
    assert "not the one the head was signed over" in fault_of(put(small.raw, other.head))


@pytest.mark.parametrize(
    "spelling",
    [
        lambda e: json.dumps(e).encode(),
        lambda e: canonical_json({**e, "note": "unsigned"}),
        lambda e: canonical_json({**e, "payload": e["payload"].rstrip("=") + "===="[: len(e["payload"]) % 4 + 1]}),
        lambda e: b"[" * 100_000,
        lambda e: b"[]",
        lambda e: b"\xff\xfe",
    ],
)
def test_another_spelling_of_the_last_line_is_found(
    small: LedgerBytes, put: Put, spelling: Callable[[dict[str, Any]], bytes]
) -> None:
    last = spelling(json.loads(small.lines[-1]))
    assert "entry 3 (line 4)" in fault_of(put(joined([*small.lines[:-1], last]), small.head))


GOOD = {"index": 0, "previous": "0" * 64, "time": "t", "kind": "genesis"}


@pytest.mark.parametrize(
    ("kind", "predicate"),
    [
        ("urn:other:1", {**GOOD, "body": {}}),
        (ENTRY_TYPE, {}),
        (ENTRY_TYPE, {**GOOD, "body": []}),
        (ENTRY_TYPE, {**GOOD, "body": {}, "index": True}),
        (ENTRY_TYPE, {**GOOD, "body": {}, "more": 1}),
        (ENTRY_TYPE, {**GOOD, "body": {}, "previous": None}),
    ],
)
def test_a_stranger_s_signed_nonsense_is_an_error_not_a_crash(put: Put, kind: str, predicate: dict[str, Any]) -> None:
    key = SigningKey.generate()
    body = {"public_key": base64.b64encode(key.public.raw).decode()}
    if predicate.get("body") == {}:
        predicate = {**predicate, "body": body}
    line = canonical_json(seal(statement(kind, predicate, subject={}), [key]))
    assert "entry 0 (line 1)" in fault_of(put(line + b"\n", None), public_key=key.public)
    fault_of(put(line + b"\n", None))


@pytest.mark.parametrize(
    "changes", [{"count": 0}, {"count": -1}, {"count": "4"}, {"count": 9}, {"last": "0" * 64}, {"extra": 1}]
)
def test_a_head_that_its_own_key_signed_wrongly_is_found(small: LedgerBytes, put: Put, changes: dict[str, Any]) -> None:
    head = {"count": 4, "last": "0" * 64, "size": 1, "time": "t", **changes}
    sealed = canonical_json(seal(statement(HEAD_TYPE, head, subject={}), [small.key])) + b"\n"
    fault_of(put(small.raw, sealed))


def test_no_ledger_and_an_empty_one_are_told_apart(tmp_path: Path, put: Put, small: LedgerBytes) -> None:
    assert "no ledger" in fault_of(tmp_path / "nowhere.jsonl")
    assert "empty" in fault_of(put(b"", small.head))
