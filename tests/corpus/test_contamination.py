"""Which items a corpus holds: planted ones in every form, common property, tiers, and what cannot be decided."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jurat.corpus.benchmarks import TIERS, BenchmarkSource, load_benchmarks
from jurat.corpus.contamination import ContaminationSpec, find_contamination
from jurat.corpus.decontaminate import benchmarks_of, decontaminate
from jurat.corpus.injection import FORMS, check_search, inject
from jurat.corpus.scan import scan
from jurat.corpus.scan_spec import ScanSpec
from jurat.corpus.score_effect import score_effect, score_effects
from jurat.corpus.shards import ShardFolder
from jurat.errors import DataError, UnknownName
from tests.conftest import data_folder
from tests.corpus.case import ITEMS, prose, write_corpus, write_items


@pytest.fixture
def scanned(tmp_path: Path) -> tuple[ShardFolder, list[dict[str, str]]]:
    documents = write_corpus(tmp_path / "web")
    spec = ScanSpec(benchmarks=(BenchmarkSource(name="b", path=write_items(tmp_path)),))
    scan([tmp_path / "web"], tmp_path / "scan", spec, workers=1)
    return ShardFolder(tmp_path / "scan"), documents


def test_items_fall_into_tiers_by_length(tmp_path: Path) -> None:
    found = load_benchmarks([BenchmarkSource(name="b", path=write_items(tmp_path))])
    assert [TIERS[t] for t in found.tier] == ["runs", "runs", "whole", "with answer", "undecidable"]
    assert found.answers[0] == "17"


def test_planted_items_are_found_where_they_are_and_nowhere_else(
    scanned: tuple[ShardFolder, list[dict[str, str]]],
) -> None:
    folder, documents = scanned
    benchmarks = benchmarks_of(folder)
    found = find_contamination(folder, benchmarks)
    assert found.status.tolist() == ["touched", "clean", "touched", "touched", "undecidable"]
    pairs = found.pairs.to_pylist()
    planted = {int(d["kind"][5:]): row for row, d in enumerate(documents) if d["kind"].startswith("item")}
    assert {p["item"]: p["document"] for p in pairs} == planted
    for pair in pairs:
        text = documents[pair["document"]]["text"].encode()[pair["start"] :].decode().lower()
        assert text.startswith(ITEMS[pair["item"]]["question"].lower().split("?")[0][:18])
        assert pair["share"] == 1.0 and pair["coverage"] == 1.0
    report = found.benchmarks[0]
    assert (report.n_items, report.n_undecidable, report.n_touched, report.n_documents) == (5, 1, 3, 3)
    assert (report.share.value, report.share.n) == (0.75, 4)


def test_what_stands_in_many_documents_is_nobodys_leak(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    common = "permission is hereby granted to any person who asks for it in writing before the end of the year"
    texts = [f"{prose(rng, 40)} {common} {prose(rng, 40)}" for _ in range(30)] + [prose(rng, 80) for _ in range(10)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    items = [
        {"question": common},
        {"question": f"{common} and then what do you say about the price of salt in the old town"},
    ]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(i) + "\n" for i in items))
    spec = ScanSpec(benchmarks=(BenchmarkSource(name="b", path=tmp_path / "items.jsonl"),))
    scan([tmp_path / "in.jsonl"], tmp_path / "scan", spec, workers=1)
    folder = ShardFolder(tmp_path / "scan")
    strict = find_contamination(
        folder, benchmarks_of(folder), ContaminationSpec(most_documents=100, most_of_source=1.0)
    )
    assert strict.status.tolist() == ["touched", "touched"] and strict.pairs.num_rows == 60
    found = find_contamination(folder, benchmarks_of(folder), ContaminationSpec(most_documents=20))
    assert found.status.tolist() == ["common", "clean"] and found.pairs.num_rows == 0
    assert found.dropped["documents"].to_pylist() == [30] * 7
    assert found.dropped["words"][0].as_py() in common


def test_copies_of_one_document_count_once(tmp_path: Path) -> None:
    item = " ".join(f"q{i}" for i in range(20))
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": f"a leak: {item}"}) + "\n" for _ in range(60)))
    (tmp_path / "items.jsonl").write_text(json.dumps({"question": item}) + "\n")
    spec = ScanSpec(benchmarks=(BenchmarkSource(name="b", path=tmp_path / "items.jsonl"),))
    scan([tmp_path / "in.jsonl"], tmp_path / "scan", spec, workers=1)
    folder = ShardFolder(tmp_path / "scan")
    found = find_contamination(folder, benchmarks_of(folder), ContaminationSpec(most_documents=50))
    assert found.status.tolist() == ["touched"] and found.benchmarks[0].n_documents == 60


def test_the_answer_must_stand_close_behind_a_short_question(tmp_path: Path) -> None:
    filler = " ".join(f"f{i}" for i in range(60))
    texts = ["Capital of Atlantis? Poseidonis!", f"capital of atlantis {filler} poseidonis", "capital of atlantis",
             "poseidonis, capital of atlantis"]  # fmt: skip
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    spec = ScanSpec(benchmarks=(BenchmarkSource(name="b", path=write_items(tmp_path)),))
    scan([tmp_path / "in.jsonl"], tmp_path / "scan", spec, workers=1)
    folder = ShardFolder(tmp_path / "scan")
    assert find_contamination(folder, benchmarks_of(folder)).pairs["document"].to_pylist() == [0]


def test_every_form_is_found_again_on_real_items_and_clean_documents_are_left_alone(tmp_path: Path) -> None:
    gsm8k = data_folder("gsm8k") / "test.jsonl.gz"
    humaneval = data_folder("humaneval") / "HumanEval.jsonl.gz"
    benchmarks = load_benchmarks(
        [BenchmarkSource(name="gsm8k", path=gsm8k), BenchmarkSource(name="humaneval", path=humaneval)]
    )
    assert (len(benchmarks), int((benchmarks.tier == 0).sum())) == (1483, 1483)
    rng = np.random.default_rng(1)
    hosts = [prose(rng, 120) for _ in range(1000)]
    lines = check_search(benchmarks, hosts, np.zeros(len(benchmarks.index), np.bool_), ContaminationSpec())
    planted = [line for line in lines if line.kind == "planted"]
    assert {line.form for line in planted} == set(FORMS)
    assert all(line.share.value == 1.0 and line.share.n == 200 for line in planted)
    clean = next(line for line in lines if line.form == "clean documents as they are")
    assert (clean.share.value, clean.share.n) == (0.0, 1000)


@pytest.mark.parametrize("form", FORMS)
def test_a_form_plants_the_words_of_the_item(form: str) -> None:
    item = "What, then, is 2 + 2? " + " ".join(f"word{i}" for i in range(30))
    planted = inject(form, "first line of it\nsecond line of it", item)
    assert "first" in planted and "second" in planted and "word5" in planted.lower()


def test_the_result_is_written_with_clean_subsets(
    scanned: tuple[ShardFolder, list[dict[str, str]]], tmp_path: Path
) -> None:
    result = decontaminate(scanned[0], tmp_path / "out")
    assert result.n_documents == 3
    assert (tmp_path / "out" / "b.clean.txt").read_text() == "1\n"
    table = pq.read_table(tmp_path / "out" / "touched.parquet")
    assert table["benchmark"].to_pylist() == ["b"] * 3 and table["item"].to_pylist() == ["0", "2", "3"]
    status = pq.read_table(tmp_path / "out" / "items.parquet")["status"].to_pylist()
    assert status == ["touched", "clean", "touched", "touched", "undecidable"]


def test_a_benchmark_that_changed_since_the_scan_is_refused(
    scanned: tuple[ShardFolder, list[dict[str, str]]], tmp_path: Path
) -> None:
    (tmp_path / "items.jsonl").write_text('{"question": "something else now"}\n')
    with pytest.raises(DataError, match="gone or has changed"):
        decontaminate(scanned[0], tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "without items"),
        ('{"a": 1}\n', "no field with the text"),
        ("[1]\n", "cannot be read"),
        ('{"q"\n', "cannot be read"),
    ],
)
def test_a_benchmark_file_without_text_is_told(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "b.jsonl").write_text(content)
    with pytest.raises(DataError, match=message):
        load_benchmarks([BenchmarkSource(name="b", path=tmp_path / "b.jsonl")])


def test_a_named_field_that_is_not_there_is_told_with_near_names(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="did you mean 'question'"):
        load_benchmarks([BenchmarkSource(name="b", path=write_items(tmp_path), question="qestion")])
    with pytest.raises(DataError, match="no such benchmark file"):
        load_benchmarks([BenchmarkSource(name="b", path=tmp_path / "none.jsonl")])


def test_difficulty_explains_what_the_crude_difference_calls_inflation() -> None:
    """Touched items are easier and gain nothing: the matched difference is about zero where the crude one is not."""
    rng = np.random.default_rng(2)
    n = 4000
    easy = rng.random(n) < 0.5
    touched = rng.random(n) < np.where(easy, 0.6, 0.1)
    chance = np.where(easy, 0.9, 0.4)
    draws = [{str(i): float(x) for i, x in enumerate(rng.random(n) < chance)} for _ in range(31)]
    status = {str(i): "touched" if t else "clean" for i, t in enumerate(touched)}
    effect = score_effect(draws[0], status, draws[1:])
    assert effect.crude.low is not None and effect.crude.low > 0.2
    assert effect.matched.low is not None and effect.matched.high is not None
    assert effect.matched.low < 0 < effect.matched.high and effect.strata >= 2


def test_the_interval_of_the_matched_difference_covers() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(300):
        easy = rng.random(400) < 0.5
        touched = rng.random(400) < np.where(easy, 0.4, 0.2)
        chance = np.clip(np.where(easy, 0.7, 0.3) + 0.1 * touched, 0, 1)
        scores = {str(i): float(x) for i, x in enumerate(rng.random(400) < chance)}
        other = {str(i): float(e) for i, e in enumerate(easy)}
        effect = score_effect(
            scores, {str(i): "touched" if t else "clean" for i, t in enumerate(touched)}, [other, other]
        )
        assert effect.matched.low is not None and effect.matched.high is not None
        covered += effect.matched.low <= 0.1 <= effect.matched.high
    assert covered >= 300 * 0.95 - 3 * np.sqrt(300 * 0.95 * 0.05)


def test_scores_of_models_are_compared_from_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    lines = ["benchmark,item,model,score"]
    status = {"benchmark": [], "item": [], "status": []}
    for item in range(200):
        touched = item < 60
        status["benchmark"].append("b")
        status["item"].append(str(item))
        status["status"].append("touched" if touched else "clean")
        for model, gain in (("leaked", 0.3), ("one", 0.0), ("two", 0.0), ("three", 0.0)):
            lines.append(f"b,{item},{model},{int(rng.random() < 0.5 + gain * touched)}")
    (tmp_path / "scores.csv").write_text("\n".join(lines) + "\n")
    pq.write_table(pa.table(status), tmp_path / "items.parquet")
    effects = {e.model: e for e in score_effects(tmp_path / "scores.csv", tmp_path / "items.parquet")}
    assert effects["leaked"].matched.low is not None and effects["leaked"].matched.low > 0
    assert effects["leaked"].inflation.value is not None and 0.03 < effects["leaked"].inflation.value < 0.15
    assert effects["one"].matched.low is not None and effects["one"].matched.low < 0
    (tmp_path / "bad.csv").write_text("benchmark,item,modell,score\nb,1,x,1\n")
    with pytest.raises(UnknownName, match="did you mean 'modell'"):
        score_effects(tmp_path / "bad.csv", tmp_path / "items.parquet")
    (tmp_path / "odd.csv").write_text("benchmark,item,model,score\nb,1,x,\n")
    with pytest.raises(DataError, match="no number"):
        score_effects(tmp_path / "odd.csv", tmp_path / "items.parquet")
