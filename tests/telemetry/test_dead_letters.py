"""Dead letters: counted by reason, the newest first, previews that are text and stay within their tenant."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from jurat.store.lake import Lake
from jurat.telemetry.dead_letters import dead_letters, dead_reasons, preview
from jurat.telemetry.derive import Settings
from jurat.telemetry.ingest import Ingest


def packed(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b'{"a": "<script>"}', '{"a": "<script>"}'),
        ("schöner Text".encode(), "schöner Text"),
        ("cut in two: ö".encode()[:-1], "cut in two: "),
        (b"\x0a\x07gen_ai.\x00\x01\x02\x03\x04\xffmore text", "gen_ai. … more text"),
        (b"x" * 500, "x" * 400 + "…"),
        (b"\x00\x01\x02", ""),
    ],
)
def test_a_preview_is_the_readable_beginning(raw: bytes, shown: str) -> None:
    assert preview(packed(raw)) == shown


def test_what_is_no_base64_or_nothing_has_no_preview() -> None:
    assert preview(None) == preview("not base64!") == ""


def test_letters_are_counted_by_reason_and_belong_to_their_tenant(tmp_path: Path) -> None:
    ingest = Ingest(tmp_path / "lake", Settings(user_secret=b"s" * 32), start=False)
    for tenant in ("acme", "acme", "other"):
        ingest.receive("traces/json", b"not json", tenant=tenant).result()
    ingest.receive("other/json", b"{}", tenant="acme").result()
    ingest.flush()
    lake = ingest.lake
    assert [(r.kind, r.n) for r in dead_reasons(lake)] == [("traces/json", 3), ("other/json", 1)]
    assert [(r.kind, r.n) for r in dead_reasons(lake, "other")] == [("traces/json", 1)]
    newest = dead_letters(lake)
    assert [d.offset for d in newest] == sorted((d.offset for d in newest), reverse=True)
    assert (newest[-1].preview, newest[-1].place, newest[-1].tenant) == ("not json", -1, "acme")
    assert {d.tenant for d in dead_letters(lake, "acme")} == {"acme"}
    ingest.close()


def test_a_lake_without_dead_letters_has_none(tmp_path: Path) -> None:
    assert dead_letters(Lake(tmp_path)) == [] and dead_reasons(Lake(tmp_path)) == []
