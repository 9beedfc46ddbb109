"""Ledgers on a page: checked as often as they change, newest first, and nothing of a broken one is shown as sworn."""

from __future__ import annotations

from pathlib import Path

import pytest

from jurat.errors import UnknownName
from jurat.evidence.keys import SigningKey
from jurat.evidence.ledger import Ledger
from jurat.evidence.ledger_view import LedgerViews


def test_a_view_is_read_again_where_the_file_changed_and_only_there(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl", SigningKey.generate())
    views = LedgerViews({"home": ledger.path})
    assert not views.view("home").exists
    for number in range(7):
        ledger.append("note" if number % 2 else "alert", {"number": number})
    first = views.view("home")
    assert first.report is not None and first.report.count == 8 and views.view("home") is first
    assert [entry.index for entry in first.page(1, size=3)[0]] == [7, 6, 5]
    assert [entry.index for entry in first.page(9, size=3)[0]] == [1, 0] and first.page(1, size=3)[1] == 3
    assert [entry.index for entry in first.page(1, kind="note")[0]] == [6, 4, 2]
    assert first.envelope(2) + b"\n" in ledger.path.read_bytes().splitlines(keepends=True)
    ledger.append("note", {"number": 8})
    assert views.view("home").kinds() == {"alert": 4, "genesis": 1, "note": 4}
    for wrong in (-1, 9):
        with pytest.raises(UnknownName):
            views.view("home").envelope(wrong)
    with pytest.raises(UnknownName):
        views.view("elsewhere")


@pytest.mark.parametrize("damage", ["altered", "cut", "headless"])
def test_a_ledger_that_does_not_hold_says_so_and_shows_nothing(tmp_path: Path, damage: str) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl", SigningKey.generate())
    for number in range(3):
        ledger.append("note", {"number": number})
    views = LedgerViews({"home": ledger.path})
    assert views.every()[0].fault == ""
    raw = ledger.path.read_bytes()
    if damage == "altered":
        ledger.path.write_bytes(raw.replace(b'"keyid"', b'"keyiD"', 1))
    elif damage == "cut":
        ledger.path.write_bytes(b"".join(raw.splitlines(keepends=True)[:-1]))
    else:
        (tmp_path / "ledger.head.json").unlink()
    view = views.view("home")
    assert view.fault and view.exists and view.report is None and view.entries == () and view.lines == ()
