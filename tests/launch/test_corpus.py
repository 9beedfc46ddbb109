"""A bar over a data specification: go, no go, limits as checks, and what verification finds."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from jurat.corpus.benchmarks import BenchmarkSource
from jurat.corpus.decontaminate import decontaminate
from jurat.corpus.dedup_run import deduplicate
from jurat.corpus.gate_run import gate
from jurat.corpus.scan import scan
from jurat.corpus.scan_spec import ScanSpec
from jurat.corpus.shards import ShardFolder
from jurat.errors import DataError, IntegrityError, SpecError, UnknownName
from jurat.evidence.keys import load_or_create_key
from jurat.launch.bar import load_bar
from jurat.launch.review import review
from jurat.launch.verification import verify_review
from tests.corpus.case import write_corpus, write_items

SPEC = """
id = "web"
[data]
scan = "scan"
dedup = "dedup"
decontamination = "deco"
[limits]
removed_of_source = 0.5
[bar]
duplicate_recall = 0.97
"touched_items.b" = 0.05
admitted_share = 0.5
"""
BAR = """
title = "May these documents enter?"
question = "Are copies and benchmark items found, and kept out?"
owner = "data"
[plan]
population = "a crawl"
unit = "document"
cluster = "none"
[arms]
baseline = "met"
candidate = "admitted"
[data]
corpus = "spec.toml"
[[line]]
name = "copies are found"
metric = "duplicate_recall"
bound = "lower"
limit = 0.97
[[line]]
name = "enough is left"
metric = "admitted_share"
bound = "lower"
limit = 0.5
"""
TOUCHED = """
[[line]]
name = "the benchmark is not inside"
metric = "touched_items.b"
bound = "upper"
limit = 0.05
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus-bar")
    write_corpus(folder / "web", documents=60)
    spec = ScanSpec(benchmarks=(BenchmarkSource(name="b", path=write_items(folder)),), passages=None)
    scan([folder / "web"], folder / "scan", spec, workers=1)
    deduplicate(ShardFolder(folder / "scan"), folder / "dedup", passages=False)
    decontaminate(ShardFolder(folder / "scan"), folder / "deco")
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    for name in ("scan", "dedup", "deco"):
        shutil.copytree(made / name, tmp_path / "data" / name)
    (tmp_path / "data" / "spec.toml").write_text(SPEC)
    (tmp_path / "data" / "bar.toml").write_text(BAR)
    return tmp_path / "data"


def _review(folder: Path) -> str:
    key = load_or_create_key()
    gate(folder / "spec.toml", folder / "gate", key)
    return review(
        folder / "bar.toml", data=folder / "gate", out=folder / "review", key=key, replace=True
    ).verdict.verdict


def test_a_corpus_within_its_bar_passes_and_is_verified_bit_for_bit(folder: Path) -> None:
    assert _review(folder) == "pass"
    steps = verify_review(folder / "review", public_key=None, data=None)
    assert any("2 numbers recomputed, bit for bit" in step for step in steps.steps)


def test_a_benchmark_inside_the_corpus_fails_the_bar(folder: Path) -> None:
    (folder / "bar.toml").write_text(BAR + TOUCHED)
    assert _review(folder) == "fail"


def test_a_rule_that_reaches_too_far_makes_the_answer_invalid(folder: Path) -> None:
    (folder / "spec.toml").write_text(SPEC.replace("removed_of_source = 0.5", "removed_of_source = 0.01"))
    assert _review(folder) == "invalid"


def test_a_bar_that_says_another_number_than_the_specification_is_not_decided(folder: Path) -> None:
    (folder / "bar.toml").write_text(BAR.replace("limit = 0.97", "limit = 0.96"))
    assert _review(folder) == "not_enough_evidence"


def test_a_gate_by_another_specification_is_refused(folder: Path) -> None:
    _review(folder)
    (folder / "spec.toml").write_text(SPEC + "# another version\n")
    with pytest.raises(DataError, match="another version of the spec"):
        review(folder / "bar.toml", data=folder / "gate", out=folder / "again", key=load_or_create_key())


def test_a_shard_that_is_altered_after_the_review_is_found(folder: Path) -> None:
    _review(folder)
    shard = ShardFolder(folder / "scan").files()[0]
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match="changed"):
        verify_review(folder / "review", public_key=None, data=None)


def test_numbers_that_no_gate_swears_to_and_bars_without_a_pair_are_refused(folder: Path) -> None:
    (folder / "spec.toml").write_text(SPEC.replace("admitted_share = 0.5", "admited_share = 0.5"))
    with pytest.raises(UnknownName, match="did you mean 'admitted_share'"):
        gate(folder / "spec.toml", folder / "gate", load_or_create_key())
    (folder / "bar.toml").write_text(BAR.replace('corpus = "spec.toml"', 'source = "source.toml"'))
    with pytest.raises(SpecError, match="needs a pair"):
        load_bar(folder / "bar.toml")
