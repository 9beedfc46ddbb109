"""Duplicates of a scan against brute force on exact sets, the fate of each, and what a chain cannot do."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from jurat.corpus.dedup import DedupSpec, find_duplicates
from jurat.corpus.dedup_run import deduplicate
from jurat.corpus.repeats import find_passages
from jurat.corpus.scan import scan
from jurat.corpus.scan_spec import ScanSpec, minhash_of
from jurat.corpus.shards import ShardFolder
from jurat.errors import DataError
from tests.corpus.case import prose, write_corpus


def _scan(tmp_path: Path, texts: list[str], **fields: list[str]) -> ShardFolder:
    rows = [{"text": text, **{name: values[i] for name, values in fields.items()}} for i, text in enumerate(texts)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    scan([tmp_path / "in.jsonl"], tmp_path / "scan", workers=1)
    return ShardFolder(tmp_path / "scan")


def _shingles(text: str) -> set[tuple[str, ...]]:
    words = text.lower().replace(".", " ").split()
    return {tuple(words[i : i + 5]) for i in range(max(1, len(words) - 4))}


def test_every_document_has_the_fate_it_was_made_for(tmp_path: Path) -> None:
    documents = write_corpus(tmp_path / "web")
    scan([tmp_path / "web"], tmp_path / "scan", workers=1)
    folder = ShardFolder(tmp_path / "scan")
    found = find_duplicates(folder, minhash_of(folder))
    fate = dict(zip(found.rows.tolist(), found.fate.tolist(), strict=True))
    for row, document in enumerate(documents):
        if document["kind"] == "empty":
            assert row not in fate
        elif document["kind"] in ("exact", "format", "near"):
            assert fate[row] == document["kind"]
        else:
            assert fate[row] == "stays"
    assert found.n_capped == 0


def test_whoever_goes_is_like_the_one_that_stays_and_few_like_pairs_are_left(tmp_path: Path) -> None:
    """All pairs, by exact Jaccard similarity: the whole path against brute force."""
    rng = np.random.default_rng(3)
    texts: list[str] = []
    for _ in range(60):
        words = prose(rng, 120).split()
        texts.append(" ".join(words))
        for share in rng.uniform(0, 0.3, 3):
            changed = [f"x{rng.integers(10**6)}" if rng.random() < share / 4 else w for w in words]
            texts.append(" ".join(changed))
    folder = _scan(tmp_path, texts)
    found = find_duplicates(folder, minhash_of(folder), DedupSpec(similarity=0.75))
    sets = [_shingles(text) for text in texts]

    def exact(a: int, b: int) -> float:
        return len(sets[a] & sets[b]) / len(sets[a] | sets[b])

    for row, head in zip(found.rows, found.kept_by, strict=True):
        assert exact(row, head) > 0.6
        assert found.fate[head] == "stays"
    stay = found.rows[found.fate == "stays"]
    assert not [(a, b) for a, b in itertools.combinations(stay, 2) if exact(a, b) >= 0.9]
    near = found.fate == "near"
    error = [found.agreement[i] - exact(found.rows[i], found.kept_by[i]) for i in np.flatnonzero(near)]
    assert abs(np.mean(error)) < 0.03 and np.std(error) < 0.06


def test_partitions_do_not_change_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_corpus(tmp_path / "web")
    scan([tmp_path / "web"], tmp_path / "scan", workers=1)
    folder = ShardFolder(tmp_path / "scan")
    whole = find_duplicates(folder, minhash_of(folder))
    monkeypatch.setattr("jurat.corpus.dedup._PARTITION_ROWS", 20)
    parts = find_duplicates(folder, minhash_of(folder))
    assert np.array_equal(whole.kept_by, parts.kept_by) and whole.n_edges == parts.n_edges
    assert whole.n_candidates == parts.n_candidates


@pytest.mark.parametrize(("prefer", "stays"), [("first", 0), ("longest", 2), ("oldest", 1), ("newest", 2)])
def test_the_preferred_one_of_a_group_stays(tmp_path: Path, prefer: str, stays: int) -> None:
    text = prose(np.random.default_rng(0), 150)
    texts = [text, text + " more", text + " and yet more"]
    dates = ["2024-05-01", "2023-01-01", "2025-01-01"]
    folder = _scan(tmp_path, texts, crawled=dates)
    found = find_duplicates(folder, minhash_of(folder), DedupSpec(prefer=prefer))  # type: ignore[arg-type]
    assert found.rows[found.fate == "stays"].tolist() == [stays]
    assert set(found.kept_by.tolist()) == {stays} and set(found.cluster_size.tolist()) == {3}


def test_a_copy_of_a_near_duplicate_goes_beside_the_one_that_stays(tmp_path: Path) -> None:
    text = prose(np.random.default_rng(0), 150)
    folder = _scan(tmp_path, [text, text + " more", (text + " more").upper()])
    found = find_duplicates(folder, minhash_of(folder))
    assert found.fate.tolist() == ["stays", "near", "format"]
    assert found.kept_by.tolist() == [0, 0, 0] and found.agreement[2] == found.agreement[1]


def test_recall_and_precision_are_measured_and_written(tmp_path: Path) -> None:
    write_corpus(tmp_path / "web", documents=60)
    scan([tmp_path / "web"], tmp_path / "scan", workers=1)
    folder = ShardFolder(tmp_path / "scan")
    result = deduplicate(folder, tmp_path / "out")
    assert result.n_documents == result.n_stays + result.n_exact + result.n_format + result.n_near
    assert (result.n_exact, result.n_format, result.n_near) == (6, 6, 6)
    total = result.recall[-1]
    assert (total.low, total.high) == (0.8, 1.0) and total.recall.n > 800
    assert total.recall.value is not None and total.recall.value >= 0.985
    assert result.precision is not None and result.precision.value == 1.0 and result.precision.n == 6
    for line in result.recall:
        assert line.expected is not None and line.candidates.low is not None and line.candidates.high is not None
        assert line.candidates.low - 0.02 <= line.expected <= line.candidates.high + 0.02
    table = pq.read_table(tmp_path / "out" / "duplicates.parquet")
    assert table.schema.metadata[b"scan"].decode() == folder.manifest()["digest"]
    assert json.loads((tmp_path / "out" / "dedup.json").read_bytes())["n_near"] == 6


def test_passages_are_found_verified_and_whole(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    passage = " ".join(f"p{i}" for i in range(90))
    texts = [f"{prose(rng, 100)} {passage} {prose(rng, 100)}" for _ in range(3)] + [prose(rng, 300) for _ in range(5)]
    folder = _scan(tmp_path, texts)
    found = find_passages(folder)
    rows = found.table.to_pylist()
    assert {row["row"] for row in rows} == {0, 1, 2} and {row["passage"] for row in rows} == {0}
    for row in rows:
        part = texts[row["row"]].encode()[row["start"] : row["end"]].decode()
        assert part == passage and row["n_words"] == 90 and row["n_documents"] == 3
    assert rows[0]["text"] == passage


def test_a_scan_without_words_or_fingerprints_says_so(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "…"}\n')
    scan([tmp_path / "in.jsonl"], tmp_path / "scan", ScanSpec(passages=None), workers=1)
    folder = ShardFolder(tmp_path / "scan")
    with pytest.raises(DataError, match="nothing to deduplicate"):
        find_duplicates(folder, minhash_of(folder))
    with pytest.raises(DataError, match="stored no fingerprints"):
        find_passages(folder)
