"""From files to files: what the folder of a result holds, when nothing is written, and that numbers come out again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jurat.errors import DataError, UsageError
from jurat.evidence.canonical import digest, file_sha256
from jurat.evidence.estimate import Evidence
from jurat.evidence.keys import home, load_or_create_key
from jurat.evidence.ledger import read_entries, verify_ledger
from jurat.experiments.evidence import experiment_claim
from jurat.experiments.run import run_analysis
from jurat.simulate.experiment import simulate_experiment, write_experiment
from tests.experiments.case import users_table, write_case

QUICK: dict[str, Any] = {"data__time": "day"}


def case(folder: Path, **changes: Any) -> Path:
    return write_case(folder, {"outcomes": users_table(200, 1)}, **{**QUICK, **changes})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world") / "trial"
    write_experiment(simulate_experiment(users=600, seed=1), folder)
    return folder


def test_a_result_holds_its_spec_report_json_and_evidence(world: Path, tmp_path: Path) -> None:
    told: list[str] = []
    document = run_analysis(world / "experiment.toml", out=tmp_path / "deep/out", step=told.append)
    out = tmp_path / "deep/out"
    names = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    evidence = {n for n in names if n.startswith("evidence/")}
    assert names - evidence == {"experiment.toml", "result.json", "report.html"}
    assert (out / "experiment.toml").read_bytes() == (world / "experiment.toml").read_bytes()
    assert json.loads((out / "result.json").read_text(encoding="utf-8")) == document
    # A comparison swears to itself and to the level of both arms, a line to itself.
    lines = [c for c in document["claims"] if c["line"]]
    assert len(evidence) <= 3 * (len(document["claims"]) - len(lines)) + len(lines)
    assert told[0] == "sums per cluster" and told[-1] == "report"
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["out"], "nothing is left beside it"


def test_every_estimate_of_the_result_has_interval_n_level_and_method(world: Path) -> None:
    document = run_analysis(world / "experiment.toml")
    found = 0

    def walk(value: Any) -> None:
        nonlocal found
        if isinstance(value, dict):
            if {"value", "low", "high", "method"} <= value.keys():
                found += 1
                assert value["n"] >= 1 and 0 < value["level"] < 1 and value["method"]
                assert value["reason"] or None not in (value["low"], value["high"])
            for v in value.values():
                walk(v)
        elif isinstance(value, list):
            for v in value:
                walk(v)

    walk(document)
    assert found > 60
    json.dumps(document, allow_nan=False)


def test_the_evidence_is_named_by_its_digest_and_comes_out_again(tmp_path: Path) -> None:
    spec = case(tmp_path / "case")
    document = run_analysis(spec, out=tmp_path / "out")
    seen = set()
    for path in sorted((tmp_path / "out/evidence").iterdir()):
        one = Evidence.from_json(json.loads(path.read_text(encoding="utf-8")))
        assert one.digest == path.stem
        assert one.receipt.code_sha256 == file_sha256(spec) == document["spec"]["sha256"]
        assert (one.collected_from, one.collected_to) == ("2026-03-01T12:00:00+00:00", "2026-03-10T12:00:00+00:00")
        assert experiment_claim(one.receipt, root=tmp_path / "out") == one.estimate
        seen.add((one.estimate.metric, one.receipt.parameters["arm"]))
    assert seen == {(m, arm) for m in ("y", "bad") for arm in (None, "a", "b")}


def test_the_ledger_hears_of_every_look(tmp_path: Path) -> None:
    spec = case(tmp_path / "case")
    for name in ("one", "two"):
        document = run_analysis(spec, out=tmp_path / name)
        body = read_entries(home() / "ledger.jsonl")[-1].body
        assert body["result"] == digest(document) and body["answer"] == document["answer"]
        assert set(body["evidence"]) == {p.stem for p in (tmp_path / name / "evidence").iterdir()}
    kinds = [e.kind for e in read_entries(home() / "ledger.jsonl")]
    assert kinds == ["genesis", "experiment.look", "experiment.look"]
    verify_ledger(home() / "ledger.jsonl", public_key=load_or_create_key().public)


def test_an_analysis_without_a_folder_leaves_no_trace(tmp_path: Path) -> None:
    spec = case(tmp_path)
    before = sorted(p.name for p in tmp_path.iterdir())
    run_analysis(spec)
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    assert not (home() / "ledger.jsonl").exists()


def test_an_earlier_look_is_not_overwritten(tmp_path: Path) -> None:
    spec = case(tmp_path / "case")
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageError, match="the output folder exists"):
        run_analysis(spec, out=tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_data_that_cannot_be_analysed_leave_nothing_behind(tmp_path: Path) -> None:
    spec = case(tmp_path / "case", population={"where": "arm = 'a'"})
    with pytest.raises(DataError):
        run_analysis(spec, out=tmp_path / "results/out")
    assert not (tmp_path / "results").exists() and not (home() / "ledger.jsonl").exists()


def test_a_failure_while_writing_leaves_no_half_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = case(tmp_path / "case")

    def refuse(*_: object, **__: object) -> str:
        raise OSError("disk full")

    monkeypatch.setattr("jurat.experiments.run.render_report", refuse)
    with pytest.raises(OSError, match="disk full"):
        run_analysis(spec, out=tmp_path / "results/out")
    assert list((tmp_path / "results").iterdir()) == [] and not (home() / "ledger.jsonl").exists()


def test_an_invalid_result_swears_to_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "trial"
    write_experiment(simulate_experiment(users=500, seed=2, flaws=("fingerprint",)), folder)
    document = run_analysis(folder / "experiment.toml", out=tmp_path / "out")
    assert document["answer"] == "invalid"
    assert list((tmp_path / "out/evidence").iterdir()) == []
    assert read_entries(home() / "ledger.jsonl")[-1].body["evidence"] == []


def test_data_elsewhere_are_read_from_where_one_says(tmp_path: Path) -> None:
    spec = case(tmp_path / "case")
    (tmp_path / "data").mkdir()
    (tmp_path / "case/outcomes.parquet").rename(tmp_path / "data/outcomes.parquet")
    document = run_analysis(spec, folder=tmp_path / "data", out=tmp_path / "out")
    assert document["answer"] in ("pass", "not enough evidence", "fail")
    one = json.loads(next((tmp_path / "out/evidence").iterdir()).read_text(encoding="utf-8"))
    assert one["receipt"]["parameters"]["data"] == str((tmp_path / "data").resolve())


def test_the_same_data_give_the_same_numbers(tmp_path: Path) -> None:
    spec = case(tmp_path)
    first, second = run_analysis(spec), run_analysis(spec)
    for document in (first, second):
        document["receipt"].pop("started")
    assert first == second
