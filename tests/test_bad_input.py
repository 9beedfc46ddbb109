"""What users get wrong: each gets what is wrong, the value seen, the next step, the right exit code, and nothing half-written."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from jurat.cli import main
from jurat.evidence.keys import SigningKey
from tests.launch.case import answers, write_results


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text, (path.name, old)
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def guard(case: Path) -> Path:
    return case / "data" / "xstest_v2_completions_mistralguard.csv"


def duplicate_last(case: Path) -> None:
    path = guard(case)
    last = path.read_text(encoding="utf-8").rsplit("\nu59,", 1)[1]
    path.write_text(path.read_text(encoding="utf-8") + "u59," + last, encoding="utf-8")


def truncated_gzip(case: Path) -> None:
    whole = gzip.compress(guard(case).read_bytes())
    guard(case).unlink()
    edit(case / "source.toml", "completions_{arm}.csv", "completions_{arm}.csv.gz")
    for path in (case / "data").glob("*.csv"):
        path.with_suffix(".csv.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    guard(case).with_suffix(".csv.gz").write_bytes(whole[: len(whole) // 2])


def nan(case: Path) -> None:
    edit(case / "source.toml", 'columns = { item = "id"', 'columns = { value = "score", item = "id"')
    for path in (case / "data").glob("*.csv"):
        edit(path, "final_label", "final_label,score")
        text = path.read_text(encoding="utf-8").replace("_compliance\n", "_compliance,1.0\n")
        text = text.replace("_refusal\n", "_refusal,0.0\n")
        path.write_text(text, encoding="utf-8")
    edit(guard(case), "1_full_compliance,1.0", "1_full_compliance,NaN")


def frozen_then_edited(case: Path) -> None:
    with pytest.raises(SystemExit):
        main(["bar", "freeze", str(case / "bar.toml")])
    edit(case / "bar.toml", "margin = -0.10", "margin = -0.11")


@dataclass(frozen=True)
class Bad:
    """One mistake: how it is made, the exit code, and words that must be told."""

    name: str
    make: Callable[[Path], object]
    told: tuple[str, ...]
    code: int = 1


CASES = [
    Bad("a missing column", lambda c: edit(guard(c), "final_label", "final_lable"), ("unknown column", "'final_label'", "did you mean 'final_lable'")),
    Bad("an unknown model", lambda c: edit(c / "bar.toml", '"mistralguard"', '"mistralgard"'), ("unknown arm", "'mistralgard'", "did you mean 'mistralguard'")),
    Bad("a label outside the taxonomy", lambda c: edit(guard(c), "2_full_refusal", "4_shrug"), ("outside the taxonomy", "'4_shrug'", "2_full_refusal", "line ")),
    Bad("a NaN", nan, ("mistralguard.csv, line 2", "NaN is not a finite number")),
    Bad("an empty file", lambda c: guard(c).write_bytes(b""), ("mistralguard.csv is empty", "0 records")),
    Bad("a header and no record", lambda c: guard(c).write_text("id,type,prompt,final_label\n", encoding="utf-8"), ("has a header and no record",)),
    Bad("a truncated gzip", truncated_gzip, ("cannot be unpacked to its end", "truncated or damaged")),
    Bad("a bad quote", lambda c: edit(guard(c), '"prompt', '"prompt" of'), ("cannot be read", "mistralguard.csv, line 2", "not CSV")),
    Bad("an unclosed quote", lambda c: edit(guard(c), 'of u59"', "of u59"), ("mistralguard.csv, line", "unexpected end of data")),
    Bad("a duplicate prompt id", duplicate_last, ("stands twice", "item = 'u59'", "line ")),
    Bad("bytes that are not UTF-8", lambda c: guard(c).write_bytes(guard(c).read_bytes().replace(b"of s3", b"of \xff3", 1)), ("not valid UTF-8", "line ")),
    Bad("a bar with an unknown metric", lambda c: edit(c / "bar.toml", '"full_compliance_safe"', '"full_complaince_safe"'), ("unknown metric", "did you mean 'full_compliance_safe'")),
    Bad("a margin of the wrong sign", lambda c: edit(c / "bar.toml", "margin = -0.10", "margin = 0.10"), ("wrong sign", "margin = 0.1", "write margin = -0.1")),
    Bad("a bar with an unknown key", lambda c: edit(c / "bar.toml", "minimum_n", "minimun_n"), ("unknown key pair.0.value.minimun_n", "did you mean 'minimum_n'")),
    Bad("a bar without a population", lambda c: edit(c / "bar.toml", "population =", "# population ="), ("plan.population is missing",)),
    Bad("a bar that is not TOML", lambda c: edit(c / "bar.toml", "[plan]", "[plan"), ("not valid TOML", "line")),
    Bad("a value metric as the risk", lambda c: edit(c / "bar.toml", '"any_compliance_unsafe"', '"full_compliance_safe"'), ("stands as the risk metric", "value")),
    Bad("baseline and candidate the same", lambda c: edit(c / "bar.toml", '"mistralguard"', '"mistralinstruct"'), ("the same arm",)),
    Bad("a frozen bar edited by one character", frozen_then_edited, ("edited after the bar was frozen", "freeze it anew")),
    Bad("a source mapping with an unknown column", lambda c: edit(c / "source.toml", "stratum =", "stratun ="), ("unknown column", "did you mean 'stratum'")),
    Bad("a metric file without front matter", lambda c: (c / "metrics" / "x.sql").write_text("SELECT 1 AS n", encoding="utf-8"), ("x.sql has no front matter",)),
    Bad("a metric that is not SQL", lambda c: edit(c / "metrics" / "full_compliance_safe.sql", "FROM eval_result", "FROMM eval_result"), ("SQL",)),
]  # fmt: skip


@pytest.mark.parametrize("bad", CASES, ids=lambda b: b.name)
def test_a_mistake_is_told_in_three_parts_and_leaves_nothing_behind(
    bad: Bad, case: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad.make(case)
    out = tmp_path / "results" / "out"
    with pytest.raises(SystemExit) as caught:
        main(["review", str(case / "bar.toml"), "--data", str(case / "data"), "--out", str(out)])
    told = capsys.readouterr().err
    assert caught.value.code == bad.code, told
    for words in bad.told:
        assert words in told, f"{words!r} is not told: {told}"
    assert "seen:" in told and "next:" in told
    assert "Traceback" not in told
    left = list((tmp_path / "results").rglob("*")) if (tmp_path / "results").exists() else []
    assert left == []


def _call(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    captured = capsys.readouterr()
    return caught.value.code, captured.err + captured.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["reviw"], "Did you mean"),
        (["bar", "freez", "x"], "Did you mean"),
        (["review", "bar.toml"], "--data"),
        (["review", "--colour", "red"], "--colour"),
        (["lake"], "Usage"),
    ],
)
def test_a_wrong_call_is_a_usage_error(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = _call(arguments, capsys)
    assert told in text
    assert code == (0 if arguments == ["lake"] else 2)


def test_data_that_are_not_there_are_told(case: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = _call(
        ["review", str(case / "bar.toml"), "--data", str(case / "nowhere"), "--out", str(tmp_path / "o")], capsys
    )
    assert code == 1
    assert "no such data folder" in told


def test_a_ledger_from_another_key_is_told(case: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    _call(["review", str(case / "bar.toml"), "--data", str(case / "data"), "--out", str(out)], capsys)
    other = tmp_path / "other.pem"
    other.write_bytes(SigningKey.generate().public.pem)
    code, told = _call(["verify", str(out), "--key", str(other)], capsys)
    assert code == 1
    assert "signed by another key" in told
    assert "pass --key" in told


def test_an_output_folder_with_other_things_is_a_usage_error(
    case: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x").write_text("x", encoding="utf-8")
    arguments = ["review", str(case / "bar.toml"), "--data", str(case / "data"), "--out", str(tmp_path / "mine")]
    code, told = _call(arguments, capsys)
    assert code == 2
    assert "not a review" in told


def test_a_candidate_that_answers_nothing_is_judged_not_crashed_on(
    case: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_results(case / "data", "mistralguard", answers(0, 0))
    arguments = ["review", str(case / "bar.toml"), "--data", str(case / "data"), "--out", str(tmp_path / "o")]
    code, _ = _call(arguments, capsys)
    assert code == 3
