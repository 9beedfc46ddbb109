"""Every page of the cookbook, and the how-to of experiments, runs as it stands and prints what it says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cookbook import PAGES, ROOT, agrees, blocks_of, needs, prepare, run_block

_BY_NAME = {path.name: path for path in PAGES}


def _data(names: list[str]) -> dict[str, Path]:
    """Folders of public data, or a skip that says which is missing."""
    root = Path(os.environ.get("JURAT_DATA", ROOT.parent / "shared" / "data"))
    for name in names:
        if not (root / name).is_dir():
            pytest.skip(f"real data {name!r} not found under {root}; set JURAT_DATA to the folder that holds it")
    return {name: root / name for name in names}


@pytest.mark.parametrize("name", _BY_NAME)
def test_a_page_prints_what_it_says(name: str, tmp_path: Path) -> None:
    page = _BY_NAME[name].read_text(encoding="utf-8")
    environment = prepare(tmp_path, _data(needs(page)))
    for block in blocks_of(page):
        code, printed = run_block(block, tmp_path, environment)
        assert code == block.exit, f"{name}: exit {code}, the page says {block.exit}\n{block.text}\n{printed}"
        if block.output is not None:
            assert agrees(block.output.text, printed), f"{name}: the page says otherwise\n{block.text}\n{printed}"


@pytest.mark.parametrize("name", _BY_NAME)
def test_a_page_compares_at_least_one_output_and_stays_short(name: str) -> None:
    page = _BY_NAME[name].read_text(encoding="utf-8")
    outputs = [block.output for block in blocks_of(page) if block.output is not None]
    assert any(len(output.text.replace("…", "").split()) >= 3 for output in outputs)
    assert len(page.splitlines()) < 120 or "how-to" in _BY_NAME[name].parts


def test_every_fence_that_is_marked_is_understood() -> None:
    for name in _BY_NAME:
        page = _BY_NAME[name].read_text(encoding="utf-8")
        marks = page.count("<!-- run") + page.count("<!-- output")
        blocks = blocks_of(page)
        assert marks == len(blocks) + sum(block.output is not None for block in blocks), name


def test_a_changed_digit_is_seen() -> None:
    assert not agrees("n = 12", "n = 13")
    assert not agrees("n = 12 …", "n = 120")


def test_times_digests_and_wrapping_are_forgiven() -> None:
    printed = "locked filter-v7, version 1, 2026-03-02T10:00:00.000+00:00\nspec 0123456789abcdef and more\n"
    pasted = "locked filter-v7, version 1,\n  2027-01-01T00:00:00Z\nspec fedcba9876543210 …\n"
    assert agrees(pasted, printed)
