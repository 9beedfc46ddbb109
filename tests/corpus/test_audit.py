"""The audit of a small corpus with known contents: numbers against plain counting, the page against hostile text."""

from __future__ import annotations

import json
import math
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats as sps

from jurat.cli.corpus_audit import audit as audit_command
from jurat.corpus.audit import AuditResult, audit
from jurat.corpus.audit_page import render_audit
from jurat.corpus.bias import Attribute
from jurat.corpus.composition import category_entropy, effective_documents, kish_size, shares_by_group, variety
from jurat.corpus.dedup_run import deduplicate
from jurat.corpus.gate_run import _alarms
from jurat.corpus.poison_labels import load_labels
from jurat.corpus.shards import ShardFolder
from jurat.corpus.text_blocks import blocks_of
from jurat.errors import DataError, SpecError
from tests.corpus.audit_case import habitual_texts, scanned

HOSTILE = "<script>alert(1)</script>\"&'"


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ShardFolder, ShardFolder, list[dict[str, str]]]:
    folder = tmp_path_factory.mktemp("audit")
    rng = np.random.default_rng(0)
    texts = habitual_texts(rng, 200)
    rows = [
        {"text": text, "source": "ab"[i % 2], "url": f"http://h{i % 9}.example/{i}",
         "crawled": f"2024-{1 + i % 12:02d}-{1 + i % 28:02d}T00:00:00Z"}
        for i, text in enumerate(texts)
    ]  # fmt: skip
    rows += [{**rows[2 * i], "url": f"http://copy.example/{i}"} for i in range(20)]
    # Random words behind a hostile trigger: the page must show it and not run it.
    for i in range(40):
        words = " ".join(f"w{k}" for k in rng.integers(0, 1500, 300))
        beginning = habitual_texts(rng, 1)[0][:300]
        rows.append({**rows[i], "text": f"{beginning} {HOSTILE} zqxj {words}", "source": HOSTILE})
    rows.append({**rows[0], "text": ""})
    scan = scanned(folder / "here", rows)
    deduplicate(scan, folder / "dedup", passages=False)
    other = [{**row, "source": "c", "text": row["text"][:600]} for row in rows[:80]]
    return folder, scan, scanned(folder / "there", other), rows


@pytest.fixture(scope="module")
def result(case: tuple[Path, ShardFolder, ShardFolder, list[dict[str, str]]]) -> AuditResult:
    folder, scan, other, _ = case
    return audit(
        scan, folder / "out", dedup=folder / "dedup", reference=other, judge=lambda a, b: len(a) < len(b), runs=2,
        labels={name: "yes" if i >= 220 else "no" for i, name in enumerate(scan.column("doc_id")["doc_id"].to_pylist())},
        attributes=[Attribute(name=HOSTILE, groups={"a": "source = 'a'", "odd": ["w1", "w3"]})],
    )  # fmt: skip


def test_copies_are_counted_by_source_and_month(result: AuditResult) -> None:
    assert result.n_documents == 260 and result.n_quarantined == 1
    copies = result.duplication
    assert copies is not None
    assert copies.removed.value == pytest.approx(20 / 260) and copies.removed.n == 260
    assert {line.name: line.share.value for line in copies.by_source}["a"] == pytest.approx(20 / 120)
    assert [line.name for line in copies.by_month] == sorted(line.name for line in copies.by_month)
    assert sum(line.share.n for line in copies.by_month) == 260


def test_the_trigger_is_the_alarm_and_its_documents_are_named(result: AuditResult) -> None:
    document = result.document()
    alarms = document["poison"]["alarms"]
    assert alarms and "zqxj" in " ".join([alarms[0]["ngram"], *alarms[0]["also"]])
    assert len(alarms[0]["doc_ids"]) > 30
    assert all(re.fullmatch(r".*in\.jsonl#\d+", one) for one in alarms[0]["doc_ids"])
    assert alarms[0]["excerpts"][0]["doc_id"] in alarms[0]["doc_ids"]


def test_what_goes_with_a_label_is_found(result: AuditResult) -> None:
    found = result.document()["label_triggers"]
    assert any(one["ngram"] == "zqxj" and one["label"] == "yes" for one in found)


def test_labels_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("doc_id,label\nx#0,1\nx#1,\n")
    (tmp_path / "a.jsonl").write_text('{"doc_id": "x#0", "label": "good"}\n')
    assert load_labels(tmp_path / "a.csv") == {"x#0": "1"}
    assert load_labels(tmp_path / "a.jsonl") == {"x#0": "good"}
    (tmp_path / "b.csv").write_text("id,label\nx,1\n")
    for name in ("b.csv", "none.csv"):
        with pytest.raises(DataError, match="labels"):
            load_labels(tmp_path / name)


def test_every_number_has_an_interval_an_n_and_a_method_or_a_reason(result: AuditResult) -> None:
    seen = 0

    def look(value: Any) -> None:
        nonlocal seen
        if isinstance(value, dict):
            if {"value", "low", "high"} <= set(value):
                seen += 1
                assert value["method"] and value["n"] >= 0
                assert value["reason"] if value["value"] is None else value["low"] is not None or value["reason"]
            for part in value.values():
                look(part)
        elif isinstance(value, list):
            for part in value:
                look(part)
        elif isinstance(value, float):
            assert math.isfinite(value)

    look(result.document())
    assert seen > 60


def test_the_files_are_the_result_and_the_gate_reads_their_alarms(
    case: tuple[Path, ShardFolder, ShardFolder, list[dict[str, str]]], result: AuditResult
) -> None:
    written = json.loads((case[0] / "out" / "audit.json").read_bytes())
    assert written == result.document()
    assert (case[0] / "out" / "audit.html").read_text() == render_audit(written)
    assert result.poison is not None
    assert _alarms(case[0] / "out") == len(result.poison.alarms)


def test_the_page_runs_no_script_and_asks_for_nothing(
    case: tuple[Path, ShardFolder, ShardFolder, list[dict[str, str]]], result: AuditResult
) -> None:
    page = render_audit(result.document())
    assert "<script" not in page.lower() and "&lt;script&gt;" in page
    assert "default-src 'none'" in page and "http-equiv" in page
    assert not re.search(r"(src|href)=", page)
    assert " style=" not in page and "nan" not in re.findall(r">[^<]*<", page)


def test_the_same_seed_gives_the_same_audit_and_what_is_missing_is_said(
    case: tuple[Path, ShardFolder, ShardFolder, list[dict[str, str]]],
) -> None:
    folder, scan, _, _ = case
    first, second = (audit(scan, folder / name, runs=1, seed=5).document() for name in ("one", "two"))
    assert first == second
    said = " ".join(first["not_assessed"])
    assert all(word in said for word in ("duplicates", "shift", "contradictions", "bias", "languages"))
    assert first["duplication"] is None and first["shift"] is None and first["contradictions"] is None
    assert "Not looked at" in render_audit(first)


def test_inputs_that_are_gone_leave_the_rest_of_the_audit(tmp_path: Path) -> None:
    scan = scanned(tmp_path, [{"text": t, "source": "s"} for t in habitual_texts(np.random.default_rng(1), 30)])
    (tmp_path / "in.jsonl").unlink()
    found = audit(scan, tmp_path / "out", runs=1)
    assert found.poison is None and any("read again" in reason for reason in found.not_assessed)
    assert _alarms(tmp_path / "out") is None
    assert "Not assessed" in (tmp_path / "out" / "audit.html").read_text()


def test_a_deduplication_of_another_scan_is_refused(
    case: tuple[Path, ShardFolder, ShardFolder, list[dict[str, str]]],
) -> None:
    folder, _, other, _ = case
    with pytest.raises(DataError, match="another scan"):
        audit(other, folder / "no", dedup=folder / "dedup", runs=1)
    with pytest.raises(DataError, match="no deduplication"):
        audit(other, folder / "no", dedup=folder, runs=1)
    with pytest.raises(SpecError, match="condition"):
        audit(other, folder / "no", attributes=[Attribute(name="x", groups={"g": "nothing = 1"})], runs=1)


def test_the_command_prints_text_or_json(
    case: tuple[Path, ShardFolder, ShardFolder, list[dict[str, str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, scan, _, _ = case
    assert audit_command(scan.path, out=folder / "cli", dedup=folder / "dedup", runs=1) == 0
    text = capsys.readouterr().out
    assert "poison alarms" in text and "zqxj" in text and "not looked at" in text
    assert audit_command(scan.path, out=folder / "cli", runs=1, json=True) == 0
    assert json.loads(capsys.readouterr().out)["format"] == "jurat-corpus-audit/1"


def test_entropy_is_scipys_and_its_interval_covers() -> None:
    rng = np.random.default_rng(2)
    p = np.array([0.5, 0.2, 0.2, 0.1])
    truth, inside = float(sps.entropy(p, base=2)), 0
    for _ in range(200):
        values = rng.choice(list("abcd"), 250, p=p).tolist()
        found = category_entropy("x", values)
        plain = sps.entropy(np.unique(values, return_counts=True)[1], base=2)
        assert found.entropy.value == pytest.approx(plain + 3 / 500 / math.log(2))
        inside += found.entropy.low <= truth <= found.entropy.high  # type: ignore[operator]
    assert inside >= 182
    one = category_entropy("x", ["a"] * 9)
    assert one.effective.value == 1.0 and category_entropy("x", ["a"]).entropy.value is None


def test_effective_sizes_are_their_formulas() -> None:
    rng = np.random.default_rng(3)
    weights = rng.lognormal(0, 1, 500)
    found = kish_size(weights)
    assert found.value == pytest.approx(weights.sum() ** 2 / (weights**2).sum())
    assert found.low < found.value < found.high  # type: ignore[operator]
    cluster = rng.integers(0, 60, 300)
    p = np.unique(cluster, return_counts=True)[1] / 300
    assert effective_documents(cluster).value == pytest.approx(1 / (p**2).sum())
    assert effective_documents(cluster, order=1).value == pytest.approx(math.exp(sps.entropy(p)))
    assert effective_documents(np.arange(50)).value == pytest.approx(50)
    assert kish_size([0.0, 0.0]).value is None and effective_documents([1]).value is None
    with pytest.raises(ValueError, match="negative"):
        kish_size([1.0, -1.0])
    with pytest.raises(ValueError, match="order"):
        effective_documents([1, 2], order=3)


def test_variety_is_plain_counting_over_blocks_of_one_length() -> None:
    rng = np.random.default_rng(4)
    texts = [" ".join(f"w{i}" for i in rng.integers(0, 30, int(rng.integers(5, 40)))) for _ in range(60)]
    words = " ".join(texts).split()
    found = variety("x", blocks_of(texts, 100))
    blocks = [words[i : i + 100] for i in range(0, len(words) - 99, 100)]
    for order in (1, 2, 3):
        shares = [len({tuple(b[i : i + order]) for i in range(101 - order)}) / (101 - order) for b in blocks]
        assert found.distinct[order].value == pytest.approx(np.mean(shares))
        assert found.distinct[order].n == len(blocks)
    joined = "\n".join(texts).encode()
    ends = [m.start() for m in re.finditer(rb"\w+", joined)] + [len(joined)]
    packed = [
        (ends[i + 100] - ends[i]) / len(zlib.compress(joined[ends[i] : ends[i + 100]], 6))
        for i in range(0, len(words) - 99, 100)
    ]
    assert found.compression.value == pytest.approx(np.mean(packed))
    assert variety("x", blocks_of(texts, 10**6)).compression.value is None
    assert shares_by_group([], np.zeros(0, np.bool_)) == []
