"""A launch bar over an experiment: it decides by the sworn numbers, and whoever distrusts them computes them again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jurat.cli import main
from jurat.errors import DataError, IntegrityError, JuratError, SpecError
from jurat.evidence.keys import SigningKey, load_or_create_key
from jurat.experiments.run import run_analysis
from jurat.launch.bar import load_bar
from jurat.launch.freeze import freeze_bar
from jurat.launch.review import review
from jurat.launch.verification import verify_evidence, verify_review
from tests.experiments.case import write_case

BAR = """
title = "Model b"
question = "May b replace a?"
owner = "release management"

[plan]
population = "everyone"
unit = "row"
cluster = "user"

[arms]
column = "arm"
baseline = "a"
candidate = "b"

[data]
experiment = "trial/experiment.toml"

[[pair]]
name = "help against harm"
[pair.value]
metric = "y"
comparison = "superior"
margin = 0.0
[pair.risk]
metric = "bad"
comparison = "non-inferior"
margin = 0.1
rationale = "because"

[[line]]
name = "ceiling"
metric = "bad"
arm = "candidate"
bound = "upper"
limit = {limit}
"""
CLAIM = {
    "name": "y against bad",
    "value": {"metric": "y", "test": "superior"},
    "risk": {"metric": "bad", "test": "noninferior", "margin": 0.1, "rationale": "because", "max_upper_bound": 0.5},
}


def rows(value: float, harm: float, *, share: float = 0.5, users: int = 600) -> pa.Table:
    rng = np.random.default_rng(1)
    treated = np.arange(users) % 100 < 100 * share
    return pa.table(
        {
            "user": pa.array([f"u{i}" for i in range(users)]),
            "arm": pa.array(np.where(treated, "b", "a")),
            "y": rng.normal(0, 1, users) + value * treated,
            "bad": rng.random(users) < 0.3 + harm * treated,
            "ts": pa.array(np.datetime64("2026-03-01T08:00:00") + (np.arange(users) % 9).astype("timedelta64[D]")),
        }
    )


def trial(folder: Path, table: pa.Table, **changes: Any) -> Path:
    given: dict[str, Any] = {"bar": [CLAIM], "data__time": "ts", "checks": ["sample_ratio", "multiple_exposure"]}
    write_case(folder / "trial", {"outcomes": table}, **{**given, **changes})
    (folder / "bar.toml").write_text(BAR.format(limit=0.5), encoding="utf-8")
    run_analysis(folder / "trial/experiment.toml", out=folder / "result")
    return folder


def judged(folder: Path) -> dict[str, Any]:
    review(folder / "bar.toml", folder / "result", folder / "out", key=KEY)
    document: dict[str, Any] = json.loads((folder / "out/verdict.json").read_text(encoding="utf-8"))
    return document


KEY = SigningKey.generate()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good trial, analysed and reviewed once; whoever alters it takes a copy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JURAT_HOME", str(tmp_path_factory.mktemp("home")))
        folder = trial(tmp_path_factory.mktemp("made") / "case", rows(0.6, -0.1))
        judged(folder)
    return folder


@pytest.fixture
def done(made: Path, tmp_path: Path) -> Path:
    """The reviewed trial."""
    shutil.copytree(made, tmp_path / "case")
    return tmp_path / "case"


@pytest.fixture
def fresh(done: Path) -> Path:
    """The trial before its review."""
    shutil.rmtree(done / "out")
    return done


def verify(folder: Path, data: Path | None = None) -> str | None:
    return verify_review(folder / "out", public_key=KEY.public, data=data).verdict


@pytest.mark.parametrize(
    ("value", "harm", "verdict"),
    [(0.6, -0.1, "pass"), (0.6, 0.35, "fail"), (-0.6, -0.1, "fail"), (0.05, -0.1, "not_enough_evidence")],
    ids=["pass", "harm", "worse", "unclear"],
)
def test_each_experiment_gets_its_verdict_and_is_verified(
    tmp_path: Path, value: float, harm: float, verdict: str
) -> None:
    folder = trial(tmp_path, rows(value, harm))
    assert judged(folder)["verdict"] == verdict
    report = verify_review(folder / "out", public_key=KEY.public, data=None)
    assert report.verdict == verdict
    assert any("bit for bit" in step for step in report.steps)


def test_a_failed_check_of_the_experiment_makes_the_review_invalid(tmp_path: Path) -> None:
    folder = trial(tmp_path, rows(0.6, -0.1, share=0.7))
    document = judged(folder)
    assert document["verdict"] == "invalid"
    assert not any((folder / "out/evidence").glob("*.json"))
    assert verify(folder) == "invalid"


def test_a_check_that_was_not_made_does_not_hold(tmp_path: Path) -> None:
    folder = trial(tmp_path, rows(0.6, -0.1), checks=["sample_ratio", "retrain_contamination"])
    assert judged(folder)["verdict"] == "invalid"


def test_a_line_of_the_bar_is_held_against_the_level_of_the_candidate(fresh: Path) -> None:
    (fresh / "bar.toml").write_text(BAR.format(limit=0.05), encoding="utf-8")
    document = judged(fresh)
    text = json.dumps(document)
    assert document["verdict"] != "pass" and "ceiling" in text


def test_the_numbers_of_the_verdict_are_those_of_the_analysis(done: Path) -> None:
    result = json.loads((done / "result/result.json").read_text(encoding="utf-8"))
    verdict = json.loads((done / "out/verdict.json").read_text(encoding="utf-8"))
    value = next(c for c in result["claims"] if c["role"] == "value")["estimate"]
    found = verdict["pairs"][0]["value"]["comparison"]
    assert (found["value"], found["low"], found["high"], found["n"]) == tuple(
        value[k] for k in ("value", "low", "high", "n")
    )
    page = (done / "out/dossier.html").read_text(encoding="utf-8")
    assert "<script" not in page and "Content-Security-Policy" in page


def test_one_number_is_verified_by_its_file(done: Path) -> None:
    path = sorted((done / "out/evidence").iterdir())[0]
    report = verify_evidence(path, public_key=KEY.public, data=done / "trial")
    assert any("bit for bit" in step for step in report.steps)


def test_moved_data_are_found_where_one_says(done: Path, tmp_path: Path) -> None:
    shutil.move(done / "trial", tmp_path / "attic")
    with pytest.raises(IntegrityError):
        verify(done)
    assert verify(done, data=tmp_path / "attic") == "pass"


def test_altered_rows_are_found(done: Path) -> None:
    path = done / "trial/outcomes.parquet"
    table = pq.read_table(path)
    y = table["y"].to_numpy().copy()
    y[3] += 1e-9
    pq.write_table(table.set_column(2, "y", pa.array(y)), path)
    with pytest.raises(IntegrityError, match=r"outcomes\.parquet"):
        verify(done)


@pytest.mark.parametrize("name", ["experiment.toml", "result.json", "bar.toml", "dossier.html", "verdict.json"])
def test_an_altered_file_of_the_review_is_found_and_named(done: Path, name: str) -> None:
    path = done / "out" / name
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"e", b"f", 1))
    with pytest.raises(JuratError) as caught:
        verify(done)
    assert name in str(caught.value)


def _signed_again(folder: Path) -> None:
    """What a forger who holds the key can do: swear to the folder as it is now."""
    from jurat.evidence.ledger import Ledger
    from jurat.launch.files import files_in

    forged = {f.path: {"size": f.size, "sha256": f.sha256} for f in files_in(folder / "out")}
    Ledger(folder / "out/ledger.jsonl", KEY).append("files", forged)


def test_an_altered_spec_is_found_even_when_everything_is_signed_anew(done: Path) -> None:
    path = done / "out/experiment.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"minimum_days" = 1', '"minimum_days" = 2').replace("b is better", "b was better"),
                    encoding="utf-8")  # fmt: skip
    assert path.read_text(encoding="utf-8") != text
    _signed_again(done)
    with pytest.raises(IntegrityError):
        verify(done)


def test_a_check_that_is_written_over_is_found_even_when_everything_is_signed_anew(done: Path) -> None:
    path = done / "out/result.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    assert all(c["status"] == "passed" for c in document["checks"])
    document["checks"][0]["status"] = "failed"
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    _signed_again(done)
    with pytest.raises(IntegrityError):
        verify(done)


def test_a_forged_number_in_the_result_is_refused_before_any_verdict(fresh: Path) -> None:
    path = next((fresh / "result/evidence").iterdir())
    document = json.loads(path.read_text(encoding="utf-8"))
    document["estimate"]["low"] = document["estimate"]["low"] - 0.5
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(DataError, match="was altered"):
        judged(fresh)
    assert not (fresh / "out").exists()


def test_a_forged_number_under_its_own_digest_does_not_come_out_of_the_data(fresh: Path) -> None:
    from jurat.evidence.estimate import Evidence

    for path in sorted((fresh / "result/evidence").iterdir()):
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["estimate"]["contrast"] is None:
            continue
        for key in ("value", "low", "high"):
            document["estimate"][key] += 0.125
        forged = Evidence.from_json(document)
        path.unlink()
        (path.parent / f"{forged.digest}.json").write_text(json.dumps(forged.to_json()), encoding="utf-8")
        break
    judged(fresh)
    with pytest.raises(IntegrityError):
        verify(fresh)


def test_a_result_of_another_version_of_the_spec_is_refused(fresh: Path) -> None:
    spec = fresh / "trial/experiment.toml"
    spec.write_text(spec.read_text(encoding="utf-8").replace("b is better", "b is best"), encoding="utf-8")
    with pytest.raises(DataError, match="another version of the spec"):
        judged(fresh)
    assert not (fresh / "out").exists()


def test_freezing_the_bar_freezes_the_spec(fresh: Path) -> None:
    bar = load_bar(fresh / "bar.toml")
    freeze_bar(bar, load_or_create_key())
    spec = fresh / "trial/experiment.toml"
    spec.write_text(spec.read_text(encoding="utf-8").replace("b is better", "b is best"), encoding="utf-8")
    shutil.rmtree(fresh / "result")
    run_analysis(spec, out=fresh / "result")
    with pytest.raises(JuratError) as caught:
        judged(fresh)
    assert "edited" in str(caught.value) or "changed" in str(caught.value)


def test_a_folder_that_is_no_result_and_a_bar_without_its_spec_are_told(fresh: Path) -> None:
    shutil.rmtree(fresh / "result/evidence")
    with pytest.raises(JuratError):
        judged(fresh)
    (fresh / "result/result.json").write_text("{", encoding="utf-8")
    with pytest.raises(JuratError):
        judged(fresh)
    shutil.rmtree(fresh / "trial")
    with pytest.raises(SpecError, match="cannot be read"):
        judged(fresh)


def test_a_bar_for_arms_that_the_experiment_lacks_is_told(fresh: Path) -> None:
    text = (fresh / "bar.toml").read_text(encoding="utf-8").replace('candidate = "b"', 'candidate = "z"')
    (fresh / "bar.toml").write_text(text.split("[[line]]")[0], encoding="utf-8")
    with pytest.raises(JuratError) as caught:
        judged(fresh)
    assert "z" in str(caught.value)


def test_the_command_line_reviews_and_verifies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fresh = trial(tmp_path, rows(0.6, -0.1))

    def call(*arguments: object) -> int | str | None:
        with pytest.raises(SystemExit) as caught:
            main([str(a) for a in arguments])
        return caught.value.code

    assert call("review", fresh / "bar.toml", "--data", fresh / "result", "--out", fresh / "out") == 0
    assert call("verify", fresh / "out") == 0
    capsys.readouterr()
    (fresh / "trial/outcomes.parquet").unlink()
    assert call("verify", fresh / "out") == 1
    told = capsys.readouterr().err
    assert "outcomes.parquet" in told and "next:" in told and "Traceback" not in told


def test_a_number_that_was_tested_against_another_margin_decides_nothing(fresh: Path) -> None:
    path = fresh / "bar.toml"
    path.write_text(path.read_text(encoding="utf-8").replace("margin = 0.1", "margin = 0.2"), encoding="utf-8")
    document = judged(fresh)
    assert document["verdict"] == "not_enough_evidence"
    risk = document["pairs"][0]["risk"]
    assert risk["outcome"] == "inadmissible" and "0.1" in json.dumps(risk)
