"""Every command of ``jurat corpus`` by hand: exit codes, JSON, what goes where, errors that help, hostile text made inert."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from jurat.cli import build_app, main
from tests.corpus.case import write_corpus, write_items

ESCAPES = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""What a terminal acts on: control characters of both sets but the end of a line, and what turns text around."""
HOSTILE = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202egnp.<script>alert(1)</script>"
SPECIFICATION = """
id = "small"
[data]
scan = "scan"
dedup = "dedup"
[limits]
removed_of_source = {limit}
[[rule]]
name = "short"
when = "n_words < 10"
"""

pytestmark = pytest.mark.usefixtures("_here")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with documents, a benchmark, pages and a scan of them all."""
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder / "web", files=2, documents=30)
    write_items(folder)
    (folder / "pages").mkdir()
    for number in range(4):
        body = "".join(f"<p>Sentence {i} of page {number} says something of its own.</p>" for i in range(40))
        page = f"<html><body><article><h1>Page {number}</h1>{body}</article></body></html>"
        (folder / "pages" / f"{number}.html").write_text(page, encoding="utf-8")
    for name, limit in (("pass", 1.0), ("fail", 0.01)):
        (folder / f"{name}.toml").write_text(SPECIFICATION.format(limit=limit), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("JURAT_HOME", str(folder / "home"))
        benchmark = "items=items.jsonl:question:answer"
        _run(["scan", "web", "--out", "scan", "--benchmark", benchmark, "--workers", "1"])
        _run(["dedup", "scan", "--out", "dedup"])
    return folder


@pytest.fixture
def _here(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made)


def _run(arguments: list[str]) -> object:
    with pytest.raises(SystemExit) as caught:
        main(["corpus", *arguments])
    return caught.value.code


def call(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[object, str, str]:
    code = _run(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


COMMANDS: dict[str, tuple[list[str], int, str, set[str]]] = {
    # name: arguments, exit code, words of the text, keys of the JSON
    "scan": (["web", "--out", "scan", "--benchmark", "items=items.jsonl:question:answer", "--workers", "1"],
             0, "71 documents met = 69 read + 2 quarantined", {"n_met", "n_read", "n_quarantined", "digest", "reasons"}),
    "dedup": (["scan", "--out", "again"], 0, "69 documents = 63 stay + 2 exact + 2 same words + 2 near",
              {"n_documents", "n_exact", "recall", "precision", "removed"}),
    "decontaminate": (["scan", "--out", "clean"], 0, "undecidable", {"benchmarks", "controls"}),
    "extraction": (["pages", "--share", "1"], 0, "4 of 4 pages", {"pages", "sampled", "agreement"}),
    "gate": (["pass.toml", "--out", "gate"], 0, "71 documents met = 63 admitted + 6 rejected + 2 quarantined",
             {"verdict", "rules"}),
    "sample": (["scan", "--size", "7"], 0, "7 of 69 documents", {"categories", "n_drawn", "n_available"}),
    "keywords": (["web", "--top", "3"], 0, "69 documents", {"documents", "keywords"}),
    "repeats": (["web"], 0, "0 of 69 documents hold a loop", {"loops", "longest_repeat"}),
}  # fmt: skip

ERRORS: dict[str, tuple[list[str], int, str]] = {
    "scan of what is not there": (["scan", "wep", "--out", "x"], 1, "did you mean"),
    "scan without a folder": (["scan", "web"], 2, ""),
    "scan of a field that lacks": (["scan", "web/part0.jsonl", "--out", "x", "--text-field", "txt"], 1, "text"),
    "scan for a benchmark that is not there": (["scan", "web", "--out", "x", "--benchmark", "b=none.jsonl"], 1, "path"),
    "scan with an unknown extractor": (["scan", "web", "--out", "x", "--extractor", "magic"], 2, ""),
    "dedup of no scan": (["dedup", "web", "--out", "x"], 1, "jurat corpus scan INPUT"),
    "dedup above one": (["dedup", "scan", "--out", "x", "--similarity", "3"], 2, "--similarity"),
    "decontaminate of no scan": (["decontaminate", "pages", "--out", "x"], 1, "jurat corpus scan INPUT"),
    "gate without a specification": (["gate", "none.toml", "--out", "x"], 1, "specification"),
    "gate by something else": (["gate", "items.jsonl", "--out", "x"], 1, "items.jsonl"),
    "sample of no size": (["sample", "scan"], 2, "--size"),
    "sample by an unknown column": (["sample", "scan", "--size", "2", "--by", "sauce"], 1, "source"),
    "keywords of an unknown field": (["keywords", "items.jsonl", "--text-field", "questoin"], 1, "question"),
    "repeats of nothing": (["repeats", "wep"], 1, "did you mean"),
    "a command that is not there": (["scann", "web"], 2, ""),
}


def test_no_command_is_left_out_here() -> None:
    app = build_app()
    listed = {name for name in app["corpus"] if not name.startswith("-")}
    # audit has pictures and pages of its own to test, and does so beside them
    assert listed - {"audit"} == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_tells_its_result_on_stdout_and_nothing_on_stderr(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if name == "extraction":
        pytest.importorskip("trafilatura")
        pytest.importorskip("resiliparse")
    arguments, expected, words, _ = COMMANDS[name]
    code, text, told = call([name, *arguments], capsys)
    assert code == expected
    assert words in text
    told = "\n".join(line for line in told.splitlines() if not line.startswith("left out:"))
    assert told == "" and not ESCAPES.search(text)


@pytest.mark.parametrize("name", COMMANDS)
def test_json_is_one_document_without_nan_and_nothing_beside_it(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    if name == "extraction":
        pytest.importorskip("trafilatura")
        pytest.importorskip("resiliparse")
    arguments, expected, _, keys = COMMANDS[name]
    code, text, _ = call([name, *arguments, "--json"], capsys)

    def refuse(value: str) -> Any:
        raise AssertionError(value)

    assert code == expected
    assert keys <= set(json.loads(text, parse_constant=refuse))


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_goes_to_stderr_with_a_next_step(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, expected, hint = ERRORS[name]
    code, text, told = call(arguments, capsys)
    assert code == expected
    if told.startswith("jurat: "):
        assert text == "" and "\n  next: " in told and hint in told
    else:
        # The parser's own words: which option, and where help is.
        assert expected == 2 and hint == "" and (text + told).strip()
    assert "Traceback" not in told
    assert not Path("x").exists() or not (Path("x") / "manifest.json").exists()


def test_a_limit_that_is_passed_is_exit_code_three_and_says_which(capsys: pytest.CaptureFixture[str]) -> None:
    code, text, _ = call(["gate", "fail.toml", "--out", "failed"], capsys)
    assert code == 3
    assert text.startswith("FAIL\n") and "limit removed_of_source" in text and "0.01 is allowed" in text
    code, text, _ = call(["gate", "fail.toml", "--out", "failed", "--json"], capsys)
    assert code == 3 and json.loads(text)["verdict"] == "fail"


def test_a_scan_that_is_there_is_confirmed_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["scan", *COMMANDS["scan"][0]]
    first = json.loads(call([*arguments, "--json"], capsys)[1])
    again = json.loads(call([*arguments, "--json"], capsys)[1])
    assert again["n_reused"] == again["n_shards"] and again["digest"] == first["digest"]
    assert "of them there already" in call(arguments, capsys)[1]


def test_what_is_written_to_a_file_is_announced_and_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "drawn.parquet"
    assert call(["sample", "scan", "--size", "5", "--out", str(file)], capsys)[0] == 0
    assert pq.read_table(file).num_rows == 5
    code, text, _ = call(["gate", "pass.toml", "--out", str(tmp_path / "gate"), "--write"], capsys)
    assert code == 0 and str(tmp_path / "gate" / "admitted") in text
    assert list((tmp_path / "gate" / "admitted").iterdir())


def test_help_of_every_command_names_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    for name in COMMANDS:
        code, text, _ = call([name, "--help"], capsys)
        assert code == 0 and "--json" in text and name in text


def test_an_output_that_cannot_be_written_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").write_text("a file", encoding="utf-8")
    code, text, told = call(["dedup", "scan", "--out", str(tmp_path / "taken")], capsys)
    assert code == 1 and text == "" and "taken" in told and "next: " in told


def _hostile(folder: Path) -> None:
    """Ids, sources, texts, fields and a file's name that try to act on whoever looks."""
    (folder / "web").mkdir()
    body = " ".join(f"w{i}" for i in range(60))
    rows = [
        {
            "id": f"=cmd|'/C calc'!A1{HOSTILE}{i}",
            "source": f"{HOSTILE}{i % 2}",
            "text": f"{HOSTILE} {body}{' again' * i}",
        }
        for i in range(3)
    ]
    rows += [{"id": "@SUM(1)", "source": "=1+1", "text": f"{HOSTILE}\n" * 20}]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "web" / "a.jsonl").write_text(lines, encoding="utf-8")
    (folder / "web" / "\x1b[31mb.jsonl").write_text('{"text": "some words"}\n{"text": 5\n', encoding="utf-8")


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
@pytest.mark.parametrize(
    "arguments",
    [["dedup", "scan", "--out", "dedup"], ["sample", "scan", "--size", "3"], ["gate", "spec.toml", "--out", "gate"],
     ["keywords", "web", "--min-df", "1"], ["keywords", "web", "--by", "source", "--min-df", "1"], ["repeats", "web"]],
    ids=["dedup", "sample", "gate", "keywords", "keywords-by", "repeats"],
)  # fmt: skip
def test_hostile_documents_print_inert(
    arguments: list[str],
    as_json: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _hostile(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.toml").write_text(SPECIFICATION.format(limit=0.1), encoding="utf-8")
    code, text, told = call(["scan", "web", "--out", "scan", "--id-field", "id", "--workers", "1"], capsys)
    assert code == 0 and not ESCAPES.search(text + told)
    _run(["dedup", "scan", "--out", "dedup"])
    capsys.readouterr()
    code, text, told = call([*arguments, *(["--json"] if as_json else [])], capsys)
    assert code in (0, 3)
    assert not ESCAPES.search(text), ascii(ESCAPES.findall(text))
    assert not ESCAPES.search(told), ascii(ESCAPES.findall(told))
    if as_json:
        json.loads(text)


def test_an_error_about_a_hostile_name_is_inert(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / f"{HOSTILE.replace('/', '')}.jsonl"
    file.write_text('{"body": "words"}\n', encoding="utf-8")
    for arguments in (
        ["scan", str(file), "--out", str(tmp_path / "x")],
        ["keywords", str(file)],
        ["repeats", str(file)],
    ):
        code, text, told = call(arguments, capsys)
        assert code == 1 and text == "" and "next: " in told
        assert not ESCAPES.search(told), ascii(told)


def test_no_command_writes_a_table_that_a_spreadsheet_would_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Formulas stay in Parquet and JSON; no CSV is written, and no page that holds a document's markup."""
    _hostile(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.toml").write_text(SPECIFICATION.format(limit=1.0), encoding="utf-8")
    _run(["scan", "web", "--out", "scan", "--id-field", "id", "--workers", "1"])
    for arguments in (["dedup", "scan", "--out", "dedup"], ["gate", "spec.toml", "--out", "gate", "--write"],
                      ["sample", "scan", "--size", "3", "--out", "drawn.parquet"]):  # fmt: skip
        _run(arguments)
    written = {path for path in tmp_path.rglob("*") if path.is_file() and path.parent.name != "web"}
    assert {path.suffix for path in written} <= {
        ".parquet",
        ".json",
        ".jsonl",
        ".toml",
        ".lock",
        "",
        ".pem",
        ".key",
        ".pub",
    }
    for path in written:
        if path.suffix in (".json", ".jsonl"):
            assert b"\x1b" not in path.read_bytes()


def test_results_and_messages_are_apart_in_a_pipe(made: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "jurat", "corpus", "sample", str(made / "scan"), "--size", "3", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stderr == "" and json.loads(done.stdout)["n_drawn"] == 3
    command = [sys.executable, "-m", "jurat", "corpus", "sample", str(tmp_path), "--size", "3", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stdout == "" and "next: make one" in done.stderr


def test_a_gate_that_fails_writes_no_documents(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, due in (("pass", 0), ("fail", 3)):
        code, text, _ = call(["gate", f"{name}.toml", "--out", str(tmp_path / name), "--write"], capsys)
        assert code == due and (tmp_path / name / "admitted").is_dir() == (name == "pass")
        assert ("nothing written" in text) == (name == "fail")


def test_benchmarks_are_found_from_any_folder(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, text, told = call(["decontaminate", str(made / "scan"), "--out", "clean"], capsys)
    assert code == 0 and "items" in text, told
