"""The page of a scan's columns names every column that a scan writes, and says which of them rules see."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jurat.corpus.benchmarks import BenchmarkSource
from jurat.corpus.decontaminate import decontaminate
from jurat.corpus.dedup_run import deduplicate
from jurat.corpus.gate import decide_documents
from jurat.corpus.scan import scan
from jurat.corpus.scan_spec import ScanSpec
from jurat.corpus.shards import ShardFolder
from jurat.corpus.specification import load_specification
from jurat.errors import UnknownName
from jurat.text.pii import PII_KINDS
from jurat.text.quality_columns import COLUMNS
from tests.corpus.case import write_corpus, write_items

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "corpus-columns.md").read_text(encoding="utf-8")
_ROWS = re.findall(r"^\| `([\w]+)`(?: … `\w+`)? \|(.*)$", PAGE, re.M)
_LANGUAGE = {"language", "language_probability"}
_SPEC = 'id = "columns"\n[data]\nscan = "scan"\ndedup = "dedup"\ndecontamination = "clean"\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("columns")
    write_corpus(place / "web", files=2)
    spec = ScanSpec(benchmarks=(BenchmarkSource(name="b", path=write_items(place)),))
    scan([place / "web"], place / "scan", spec, workers=1)
    deduplicate(ShardFolder(place / "scan"), place / "dedup", passages=False)
    decontaminate(ShardFolder(place / "scan"), place / "clean")
    return place


def _is_seen(folder: Path, column: str) -> bool:
    path = folder / "spec.toml"
    path.write_text(f'{_SPEC}[[rule]]\nname = "probe"\nwhen = "{column} IS NULL"\n', encoding="utf-8")
    try:
        decide_documents(load_specification(path))
    except UnknownName:
        return False
    return True


def test_every_column_of_a_scan_is_named_and_no_other(folder: Path) -> None:
    written = pq.read_schema(ShardFolder(folder / "scan").files()[0]).names
    written = [name for name in written if not name.startswith("band_") or name == "band_00"]
    before, beside = PAGE.split("## Columns that rules see besides")
    named = re.findall(r"^\| `(\w+)`", before, re.M)
    assert set(named) - _LANGUAGE == set(written)
    assert len(named) == len(set(named))
    assert not set(re.findall(r"^\| `(\w+)`", beside, re.M)) & set(named)


def test_the_page_counts_the_bands(folder: Path) -> None:
    written = pq.read_schema(ShardFolder(folder / "scan").files()[0]).names
    assert f"`{max(name for name in written if name.startswith('band_'))}`" in PAGE


def test_rules_see_the_columns_that_the_page_says_they_see(folder: Path) -> None:
    some = ("words", "filled_lines", "c4_sentences")
    few = [(name, rest) for name, rest in _ROWS if name not in COLUMNS or name in some]
    wrong = [name for name, rest in few if name not in _LANGUAGE and _is_seen(folder, name) == ("*machine*" in rest)]
    assert not wrong


def test_every_counter_stands_with_its_definition() -> None:
    for name, meaning in COLUMNS.items():
        assert f"| `{name}` | {meaning} |" in PAGE


def test_every_kind_of_candidate_is_named() -> None:
    assert all(f"`{kind}`" in PAGE for kind in PII_KINDS)
