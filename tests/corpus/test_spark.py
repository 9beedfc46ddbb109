"""Spark against one machine, row by row: the same columns, the same fates, the same document that stays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jurat.corpus.benchmarks import BenchmarkSource
from jurat.corpus.dedup import DedupSpec, find_duplicates
from jurat.corpus.read import read_documents
from jurat.corpus.scan import scan
from jurat.corpus.scan_spec import ScanSpec
from jurat.corpus.shards import ShardFolder
from jurat.corpus.spark import collect_features, scan_in_spark
from jurat.corpus.spark_dedup import dedup_in_spark
from jurat.errors import DataError, EngineError, UnknownName
from jurat.text.minhash import MinHashSpec
from tests.cookbook import ROOT, agrees, blocks_of, prepare, run_block
from tests.corpus.case import prose, write_corpus, write_items

pytestmark = pytest.mark.engines

CROWDED = MinHashSpec(bands=32, rows=1)
"""Bands of one number: buckets full of unlike documents, far more than a bucket's leaders."""


@pytest.fixture(scope="module")
def session() -> Iterator[Any]:
    pytest.importorskip("pyspark")
    from jurat.store.engine_spark import _new_session

    found = _new_session("local[2]")
    # Thin batches, so that buckets and clusters run over many of them.
    found.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "7")
    yield found
    found.catalog.clearCache()


def hard_corpus(folder: Path) -> None:
    """Chains of small steps, families of near copies, copies of copies, dates that tie or are missing, what is no text."""
    rng = np.random.default_rng(11)
    folder.mkdir(parents=True)
    texts: list[str] = []
    for _ in range(4):
        words = prose(rng, 150).split()
        for _ in range(14):
            words = [f"x{rng.integers(10**6)}" if rng.random() < 0.012 else word for word in words]
            texts.append(" ".join(words))
    for _ in range(15):
        words = prose(rng, 120).split()
        for share in rng.uniform(0, 0.08, 4):
            texts.append(" ".join(f"y{rng.integers(10**6)}" if rng.random() < share else word for word in words))
    texts += [text.upper() for text in texts[::5]] + texts[::7] + ["one two three", "One, two: three.", "…", "", "名前"]
    days = [None, "2024-01-01", "2024-02-01", "2023-05-05T10:00:00Z", "2024-01-01"]
    order = rng.permutation(len(texts))
    for number, part in enumerate(np.array_split(order, 5)):
        rows = [{"text": texts[i], "crawled": days[int(rng.integers(5))], "source": f"s{i % 3}"} for i in part]
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"part{number}.jsonl").write_text(lines + ('{"text": 3' if number == 2 else ""), encoding="utf-8")
    (folder / "a.txt").write_text(texts[3], encoding="utf-8")
    (folder / "b.txt").write_bytes(b"caf\xe9 \xff\xfe")
    (folder / "c.jsonl.gz").write_bytes(b"\x1f\x8b\x08\x00broken")


def local(folder: ShardFolder) -> pa.Table:
    return pa.concat_tables([pq.read_table(path) for path in folder.files()])


def assert_same_rows(left: pa.Table, right: pa.Table) -> None:
    assert left.schema.equals(right.schema)
    for name in left.column_names:
        assert left[name].combine_chunks().equals(right[name].combine_chunks()), name


def both(session: Any, tmp_path: Path, spec: ScanSpec | None = None) -> tuple[ShardFolder, Any]:
    scan([tmp_path / "web"], tmp_path / "scan", spec, workers=1)
    scan_in_spark(session, [tmp_path / "web"], spec, task_bytes=20_000).write.parquet(str(tmp_path / "features"))
    return ShardFolder(tmp_path / "scan"), session.read.parquet(str(tmp_path / "features"))


def test_a_scan_in_spark_gives_the_columns_and_rows_of_a_scan_here(session: Any, tmp_path: Path) -> None:
    write_corpus(tmp_path / "web")
    items = write_items(tmp_path)
    spec = ScanSpec(benchmarks=(BenchmarkSource(name="items", path=items, question="question", answer="answer"),))
    folder, features = both(session, tmp_path, spec)
    found = collect_features(features, spec)
    assert_same_rows(found, local(folder))
    assert sum(len(hits) for hits in found["benchmark_ngrams"].to_pylist() if hits) > 0


def test_what_cannot_be_read_is_quarantined_alike_and_languages_are_told_alike(session: Any, tmp_path: Path) -> None:
    pytest.importorskip("fasttext")
    hard_corpus(tmp_path / "web")
    spec = ScanSpec(language="fasttext", missing_text="quarantine", passages=None)
    folder, features = both(session, tmp_path, spec)
    found = collect_features(features, spec)
    assert_same_rows(found, local(folder))
    assert found["status"].to_pylist().count("quarantined") >= 3


@pytest.mark.parametrize("large", ["false", "true"])
def test_documents_that_are_a_dataframe_give_the_same_rows(session: Any, tmp_path: Path, large: str) -> None:
    """Text comes as string or as large_string, in batches of seven."""
    write_corpus(tmp_path / "web", files=2)
    scan([tmp_path / "web"], tmp_path / "scan", workers=1)
    documents = pa.Table.from_batches(read_documents([tmp_path / "web"]))
    documents = documents.append_column("row", pa.array(np.arange(len(documents)) * 3))
    pq.write_table(documents, tmp_path / "documents.parquet")
    session.conf.set("spark.sql.execution.arrow.useLargeVarTypes", large)
    try:
        frame = session.read.parquet(str(tmp_path / "documents.parquet")).repartition(3)
        found = scan_in_spark(session, frame)
        assert_same_rows(collect_features(found), local(ShardFolder(tmp_path / "scan")))
        with pytest.raises(UnknownName, match="'row'"):
            scan_in_spark(session, frame.drop("row"))
    finally:
        session.conf.set("spark.sql.execution.arrow.useLargeVarTypes", "false")


@pytest.mark.parametrize(
    ("prefer", "minhash", "leaders", "at_once"),
    [
        ("first", MinHashSpec(), 64, None),
        ("longest", MinHashSpec(), 64, 5),
        ("oldest", CROWDED, 64, 16),
        ("newest", CROWDED, 3, None),
    ],
    ids=["first", "longest-five-bands-at-once", "oldest-crowded", "newest-capped"],
)
def test_every_document_has_the_fate_it_has_here(
    session: Any, tmp_path: Path, prefer: Any, minhash: MinHashSpec, leaders: int, at_once: int | None
) -> None:
    hard_corpus(tmp_path / "web")
    folder, features = both(session, tmp_path, ScanSpec(minhash=minhash, missing_text="quarantine", passages=None))
    spec = DedupSpec(prefer=prefer, leaders=leaders)
    expected = find_duplicates(folder, minhash, spec)
    found = dedup_in_spark(features, minhash, spec, scratch=str(tmp_path / "scratch"), bands_at_once=at_once)
    table, here = found.table.toArrow().sort_by("doc_id"), expected.table(folder).sort_by("doc_id")
    assert table.column_names == here.column_names
    assert table.to_pylist() == here.to_pylist()
    for name in ("n_candidates", "n_edges", "n_capped", "n_spared"):
        assert getattr(found, name) == getattr(expected, name), name
    assert {"stays", "exact", "format", "near"} <= set(here["fate"].to_pylist())
    assert expected.n_spared > 0 and found.n_rounds >= 3
    assert (expected.n_capped > 0) == (leaders == 3)


def test_the_usual_corpus_has_the_fates_it_was_made_for(session: Any, tmp_path: Path) -> None:
    documents = write_corpus(tmp_path / "web")
    _, features = both(session, tmp_path)
    found = dedup_in_spark(features, MinHashSpec(), scratch=str(tmp_path / "scratch"))
    fates = {row["doc_id"]: row["fate"] for row in found.table.toArrow().to_pylist()}
    ids = collect_features(features.select("row", "doc_id"))["doc_id"].to_pylist()
    for doc_id, document in zip(ids, documents, strict=True):
        kind = document["kind"]
        expected = None if kind == "empty" else kind if kind in ("exact", "format", "near") else "stays"
        assert fates.get(doc_id) == expected


def test_clusters_not_joined_in_time_are_an_error_that_says_how_many_move(session: Any, tmp_path: Path) -> None:
    hard_corpus(tmp_path / "web")
    spec = ScanSpec(missing_text="quarantine", passages=None)
    scan_in_spark(session, [tmp_path / "web"], spec).write.parquet(str(tmp_path / "features"))
    features = session.read.parquet(str(tmp_path / "features"))
    with pytest.raises(EngineError, match="not joined after 1 rounds") as caught:
        dedup_in_spark(features, MinHashSpec(), scratch=str(tmp_path / "scratch"), most_rounds=1)
    assert "most_rounds" in str(caught.value)


def test_ids_that_repeat_columns_that_lack_and_documents_without_words_are_told(session: Any, tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "a.jsonl").write_text('{"text": "…"}\n{"text": "?"}\n', encoding="utf-8")
    features = scan_in_spark(session, [tmp_path / "web"]).cache()
    scratch = str(tmp_path / "scratch")
    with pytest.raises(DataError, match="nothing to deduplicate"):
        dedup_in_spark(features, MinHashSpec(), scratch=scratch)
    with pytest.raises(DataError, match="doc_id stands for more than one document"):
        dedup_in_spark(
            features.withColumn("row", features["row"] + 5).unionAll(features), MinHashSpec(), scratch=scratch
        )
    with pytest.raises(DataError, match="a row stands for more"):
        dedup_in_spark(features.withColumn("row", features["row"] * 0), MinHashSpec(), scratch=scratch)
    with pytest.raises(UnknownName, match="'signature'"):
        dedup_in_spark(features.drop("signature"), MinHashSpec(), scratch=scratch)
    features.unpersist()


def test_an_error_inside_a_task_keeps_its_words(session: Any, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"body": "some words"}\n', encoding="utf-8")
    with pytest.raises(Exception, match="text") as caught:
        scan_in_spark(session, [tmp_path / "in.jsonl"]).collect()
    assert "UnknownName" in str(caught.value) and "body" in str(caught.value)


def test_the_page_prints_what_it_says(tmp_path: Path) -> None:
    environment = prepare(tmp_path, {})
    blocks = blocks_of((ROOT / "docs" / "how-to" / "corpus-on-spark.md").read_text(encoding="utf-8"))
    assert sum(block.output is not None for block in blocks) == 2
    for block in blocks:
        code, printed = run_block(block, tmp_path, {**environment, "PYTHONWARNINGS": "default"})
        assert code == block.exit, printed
        assert block.output is None or agrees(block.output.text, printed), printed
