"""The commands by hand, as a user types them: results on stdout, notes on stderr, JSON everywhere."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from jurat.cli import main

ROOT = Path(__file__).resolve().parents[2]


def call(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    captured = capsys.readouterr()
    return caught.value.code, captured.out, captured.err


@pytest.mark.parametrize(
    ("preset", "turns", "verdict", "code"),
    [
        ("safe_win", None, "pass", 0),
        ("harm_up", None, "fail", 3),
        ("small", None, "not_enough_evidence", 4),
        ("broken_split", None, "invalid", 5),
    ],
)
def test_each_world_gets_the_answer_it_was_made_for(
    preset: str, turns: int | None, verdict: str, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "demo")
    done, text, _ = call(["demo", "--out", out, "--preset", preset, "--no-live", "--json"], capsys)
    assert done == 0
    assert json.loads(text)["verdict"] == verdict
    bar, lake = str(tmp_path / "demo/bar.toml"), str(tmp_path / "demo/lake")
    assert call(["review", bar, "--data", lake, "--out", str(tmp_path / "again")], capsys)[0] == code


def test_the_demo_is_brief_and_ends_with_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, text, _ = call(["demo", "--out", str(tmp_path / "demo"), "--turns", "20000", "--no-live"], capsys)
    lines = text.strip().splitlines()
    assert len(lines) <= 15
    assert lines[-2].startswith("open") and lines[-1].startswith("try next")


def test_freeze_check_review_verify_and_waive_from_the_command_line(
    case: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bar, data, out = str(case / "bar.toml"), str(case / "data"), str(tmp_path / "out")
    assert "not frozen" in call(["bar", "check", bar], capsys)[1]
    assert call(["bar", "freeze", bar], capsys)[0] == 0
    assert "frozen 20" in call(["bar", "check", bar], capsys)[1]
    waiver = ["bar", "waive", bar, "--clause", "help against harm / value", "--owner", "A", "--scope", "B"]
    waiver += ["--expires", "2999-01-01", "--rationale", "C", "--out", str(tmp_path / "w.json")]
    assert call(waiver, capsys)[0] == 0
    assert call(["review", bar, "--data", data, "--out", out, "--waiver", str(tmp_path / "w.json")], capsys)[0] == 0
    code, text, _ = call(["verify", out, "--json"], capsys)
    assert code == 0 and json.loads(text)["holds"] is True
    number = sorted((tmp_path / "out/evidence").iterdir())[0]
    assert call(["verify", str(number)], capsys)[0] == 0
    assert call(["verify", str(tmp_path / "out/ledger.jsonl")], capsys)[0] == 0
    code, text, _ = call(["ledger", "show", str(tmp_path / "out/ledger.jsonl"), "--json"], capsys)
    assert json.loads(text)[-1]["kind"] == "files"
    assert (
        call(["ledger", "export", str(tmp_path / "out/ledger.jsonl"), "--out", str(tmp_path / "e.jsonl")], capsys)[0]
        == 0
    )


def test_lake_and_metrics_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["simulate", "assistant", "--out", str(tmp_path), "--turns", "3000"], capsys)[0] == 0
    lake = str(tmp_path / "lake")
    described = json.loads(call(["lake", "show", lake, "--json"], capsys)[1])
    assert {t["table"]: t["rows"] for t in described["tables"]}["spans"] == 3000
    assert call(["lake", "snapshot", lake], capsys)[0] == 0
    assert call(["lake", "compact", lake, "spans"], capsys)[0] == 0
    assert call(["lake", "vacuum", lake, "spans"], capsys)[0] == 0
    estimates = json.loads(call(["metrics", "run", "error_rate", "--lake", lake, "--json"], capsys)[1])
    assert {e["slice"]["release"] for e in estimates} == {"2026.11.1", "2026.11.2"}
    cut = ["metrics", "run", "error_rate", "--lake", lake, "--by", "release", "--by", "tier", "--days"]
    cells = json.loads(call([*cut, "2026-11-02..2026-11-08", "--json"], capsys)[1])
    assert len({(e["slice"]["release"], e["slice"]["tier"]) for e in cells}) == len(cells) > 3
    assert sum(e["n"] for e in cells) < sum(e["n"] for e in estimates) == 3000
    assert "there are no units" in call([*cut, "2020-01-01"], capsys)[1]
    assert "days are written as" in call([*cut, "2026-02-30"], capsys)[2]
    assert (
        json.loads(call(["metrics", "run", "error_rate", "--lake", lake, "--by", "all", "--json"], capsys)[1])[0]["n"]
        == 3000
    )
    code, _, told = call(["metrics", "run", "eror_rate", "--lake", lake], capsys)
    assert code == 1 and "did you mean 'error_rate'" in told


def test_metric_files_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert "refusal_rate" in call(["metrics", "list"], capsys)[1]
    assert call(["metrics", "test"], capsys)[0] == 0
    assert call(["metrics", "test", str(ROOT / "examples/xstest/metrics")], capsys)[0] == 0
    for engine in ("duckdb", "clickhouse", "spark"):
        assert "SELECT" in call(["metrics", "show", "refusal_rate", "--engine", engine], capsys)[1]


def test_evals_from_the_command_line(xstest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, metrics = str(ROOT / "examples/xstest/source.toml"), str(ROOT / "examples/xstest/metrics")
    code, text, _ = call(["evals", "table", source, "--data", str(xstest), "--metrics", metrics], capsys)
    assert code == 0 and "mistralguard" in text and "81.2 % [75.9, 85.6] n=250" in text
    arguments = [
        "evals",
        "silver",
        source,
        "--data",
        str(xstest),
        "--metrics",
        metrics,
        "--arm",
        "gpt4",
        "--draws",
        "5",
    ]
    code, text, told = call([*arguments, "--json"], capsys)
    assert code == 0 and len(json.loads(text)) == 4
    assert "11 answers are no label" in told


def test_an_import_keeps_bad_records_aside_where_some_are_allowed(
    case: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = case / "source.toml"
    source.write_text(
        source.read_text(encoding="utf-8").replace("[rules]", "[rules]\ntolerance = 2", 1), encoding="utf-8"
    )
    path = case / "data/xstest_v2_completions_mistralguard.csv"
    path.write_text(path.read_text(encoding="utf-8") + "lonely\n", encoding="utf-8")
    arguments = ["lake", "import", str(source), "--data", str(case / "data"), "--out", str(tmp_path / "lake")]
    code, text, told = call(arguments, capsys)
    assert code == 0 and "240 rows" in text and "1 records could not be read" in told
    aside = next((tmp_path / "lake").glob("_rejected*"))
    assert json.loads(aside.read_text(encoding="utf-8"))["raw"] == "lonely\n"


def test_output_that_is_cut_off_by_its_reader_is_no_failure() -> None:
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{sys.executable} -m jurat metrics list | head -1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and done.stderr == ""
