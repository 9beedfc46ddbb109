"""The gate: every document accounted for, each decision with its rule and evidence, and a no where a limit is passed."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jurat.corpus.benchmarks import BenchmarkSource
from jurat.corpus.decontaminate import decontaminate
from jurat.corpus.dedup_run import deduplicate
from jurat.corpus.gate import decide_documents
from jurat.corpus.gate_run import gate
from jurat.corpus.scan import scan
from jurat.corpus.scan_spec import ScanSpec
from jurat.corpus.shards import ShardFolder
from jurat.corpus.specification import load_specification
from jurat.errors import DataError, SpecError, UnknownName
from jurat.evidence.keys import load_or_create_key
from jurat.evidence.ledger import Ledger
from tests.corpus.case import write_corpus, write_items

SPEC = """
id = "web"
[data]
scan = "scan"
dedup = "dedup"
decontamination = "deco"
[limits]
removed_of_source = 0.5
[[rule]]
name = "short"
when = "n_words < 70"
rationale = "too little to learn from"
[[rule]]
name = "odd"
when = "plain_words > 190 AND source = 'site1'"
action = "quarantine"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("gate")
    write_corpus(place / "web")
    spec = ScanSpec(benchmarks=(BenchmarkSource(name="b", path=write_items(place)),), passages=None)
    scan([place / "web"], place / "scan", spec, workers=1)
    deduplicate(ShardFolder(place / "scan"), place / "dedup", passages=False)
    decontaminate(ShardFolder(place / "scan"), place / "deco")
    return place


def _spec(folder: Path, text: str = SPEC, **changes: str) -> Path:
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    path = folder / "spec.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_document_is_admitted_rejected_or_quarantined_by_a_rule_that_names_itself(folder: Path) -> None:
    documents = write_corpus(folder / "same")
    found = decide_documents(load_specification(_spec(folder)))
    assert found.n_met == len(documents) == found.n_admitted + found.n_rejected + found.n_quarantined
    rows = found.decisions.to_pylist()
    for row, document in zip(rows, documents, strict=True):
        if document["kind"] == "empty":
            assert (row["decision"], row["rule"]) == ("quarantine", "reader")
            assert json.loads(row["evidence"]) == {"reason": "empty"}
        elif document["kind"].startswith("item"):
            assert (row["decision"], row["rule"]) == ("reject", "benchmark")
            assert json.loads(row["evidence"]) == {"touched_items": 1}
        elif document["kind"] in ("exact", "format", "near"):
            assert (row["decision"], row["rule"]) == ("reject", "duplicate")
            assert json.loads(row["evidence"])["duplicate"] == document["kind"]
        elif len(document["text"].split()) < 70:
            assert (row["decision"], row["rule"]) == ("reject", "short")
            assert json.loads(row["evidence"])["n_words"] == len(document["text"].split())
        elif row["rule"] == "odd":
            assert row["decision"] == "quarantine" and row["source"] == "site1"
        else:
            assert (row["decision"], row["rule"], row["evidence"]) == ("admit", None, None)
    assert found.verdict == "pass" and found.breaches == []
    assert sum(line.n_first for line in found.rules) == sum(r["rule"] not in (None, "reader") for r in rows)
    duplicate = next(line for line in found.rules if line.name == "duplicate")
    assert duplicate.share.n == len(documents) and sum(n.n for _, n in duplicate.by_source) == len(documents)


@pytest.mark.parametrize(
    ("changes", "limit"),
    [
        ({"removed_of_source = 0.5": "removed_of_source = 0.04"}, "removed_of_source"),
        ({"removed_of_source = 0.5": "quarantined_share = 0.01"}, "quarantined_share"),
        ({"removed_of_source = 0.5": "touched_share = 0.01"}, "touched_share"),
    ],
)
def test_a_limit_that_is_passed_makes_the_answer_no(folder: Path, changes: dict[str, str], limit: str) -> None:
    found = decide_documents(load_specification(_spec(folder, **changes)))
    assert found.verdict == "fail" and {b.limit for b in found.breaches} == {limit}
    assert all(b.seen > b.allowed for b in found.breaches)


def test_required_provenance_and_licences_come_first(folder: Path) -> None:
    text = SPEC + '[require]\nprovenance = ["url"]\nlicences = ["cc0"]\n'
    found = decide_documents(load_specification(_spec(folder, text)))
    first = [line.name for line in found.rules][:2]
    assert first == ["url unknown", "licence not admitted"] and found.n_admitted == 0 and found.verdict == "fail"


def test_published_quality_rules_are_applied_by_name(folder: Path) -> None:
    text = SPEC.replace('id = "web"', 'id = "web"\nquality = ["gopher-quality"]')
    found = decide_documents(load_specification(_spec(folder, text)))
    line = next(line for line in found.rules if line.name == "gopher_stop_words")
    assert line.n_true > 200


@pytest.mark.parametrize(
    ("when", "kind", "message"),
    [
        ("n_word < 3", UnknownName, "did you mean 'n_words'"),
        ("n_words <", SpecError, "not SQL"),
        ("n_words < 3; DROP TABLE documents", SpecError, "one expression"),
        ("n_words IN (SELECT 1)", SpecError, "may compare columns"),
        ("read_text('/etc/passwd') = source", SpecError, "may compare columns"),
        ("EXISTS (SELECT * FROM read_csv('/etc/passwd'))", SpecError, "may compare columns"),
        ("COUNT(*) OVER () > 3", SpecError, "may compare columns"),
        ("getenv('HOME') = source", SpecError, "may compare columns"),
        ("SELECT 1", SpecError, "one expression"),
        ("TRUE", SpecError, "reads no column"),
    ],
)
def test_a_rule_that_is_no_condition_on_columns_is_refused(
    folder: Path, when: str, kind: type[SpecError], message: str
) -> None:
    path = _spec(folder, **{"n_words < 70": when})
    with pytest.raises(kind, match=message.replace("(", r"\(")):
        decide_documents(load_specification(path))


def test_unknown_keys_twice_named_rules_and_missing_results_are_told(folder: Path) -> None:
    with pytest.raises(SpecError, match="rle"):
        load_specification(_spec(folder, SPEC.replace("[[rule]]", "[[rle]]")))
    with pytest.raises(SpecError, match="two rules have one name"):
        load_specification(_spec(folder, SPEC.replace('name = "odd"', 'name = "short"')))
    with pytest.raises(DataError, match="holds no result"):
        decide_documents(load_specification(_spec(folder, SPEC.replace('"dedup"', '"none"'))))
    with pytest.raises(DataError, match="what was not assessed"):
        decide_documents(
            load_specification(_spec(folder, SPEC.replace("removed_of_source = 0.5", "poison_alarms = 0")))
        )


def test_a_result_of_another_scan_is_refused(folder: Path, tmp_path: Path) -> None:
    write_corpus(tmp_path / "web", seed=1)
    scan([tmp_path / "web"], tmp_path / "scan", ScanSpec(passages=None), workers=1)
    (tmp_path / "dedup").symlink_to(folder / "dedup")
    path = _spec(tmp_path, SPEC.replace('decontamination = "deco"\n', ""))
    with pytest.raises(DataError, match="a result of another scan"):
        decide_documents(load_specification(path))


def test_what_is_admitted_is_written_and_the_decision_entered_into_the_ledger(folder: Path, tmp_path: Path) -> None:
    key = load_or_create_key(tmp_path / "keys")
    admission, document = gate(_spec(folder), tmp_path / "out", key, write=True)
    decisions = pq.read_table(tmp_path / "out" / "decisions.parquet").to_pylist()
    admitted = pq.read_table(tmp_path / "out" / "admitted").to_pylist()
    assert [a["doc_id"] for a in admitted] == [d["doc_id"] for d in decisions if d["decision"] == "admit"]
    assert [a["sha256"] for a in admitted] == [d["sha256"] for d in decisions if d["decision"] == "admit"]
    assert len(admitted) == admission.n_admitted and all(a["text"] for a in admitted)
    assert json.loads((tmp_path / "out" / "gate.json").read_bytes())["rules"] == document["rules"]
    from jurat.evidence.keys import home

    entry = Ledger(home() / "ledger.jsonl", key).entries()[-1]
    assert entry.kind == "corpus.gated" and entry.body["decisions_sha256"] == document["decisions_sha256"]
