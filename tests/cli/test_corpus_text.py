"""The commands over texts: from files to terms, loops and passages."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jurat.cli.corpus_text import keywords, repeats
from jurat.errors import DataError, UnknownName, UsageError

_SHOP = ["please refund my order", "the order never came, refund it"]
_LOGIN = ["reset my password", "the password is lost, reset it"]


def _records() -> list[dict[str, str]]:
    return [
        {"query": text, "topic": topic} for topic, texts in (("shop", _SHOP), ("login", _LOGIN)) for text in texts * 10
    ]


@pytest.fixture(params=["jsonl", "csv", "parquet"])
def queries(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    file = tmp_path / f"queries.{request.param}"
    rows = _records()
    if request.param == "jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif request.param == "csv":
        body = "".join(f'"{row["query"]}",{row["topic"]}\n' for row in rows)
        file.write_text("query,topic\n" + body, encoding="utf-8")
    else:
        pq.write_table(pa.Table.from_pylist(rows), file)
    return file


def test_keywords_of_groups_come_from_any_kind_of_file(queries: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert keywords(queries, by="topic", text_field="query", top=2, json=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["documents"] == 40
    assert {(k["group"], k["term"]) for k in found["keywords"]} == {
        ("login", "password"),
        ("login", "reset"),
        ("shop", "order"),
        ("shop", "refund"),
    }
    assert all(k["difference"]["low"] > 0.2 for k in found["keywords"])


def test_keywords_are_told_as_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, stop = tmp_path / "queries.txt", tmp_path / "stop.txt"
    file.write_text("\n".join(_SHOP + _LOGIN), encoding="utf-8")
    stop.write_text("my it\nThe", encoding="utf-8")
    assert keywords(file, lines=True, longest=2, stop_words=stop) == 0
    told = capsys.readouterr().out
    assert "4 documents" in told and "refund" in told and "2 of 4" in told
    assert "the" not in {line.split("  ")[0] for line in told.splitlines()}


def test_loops_and_shared_passages_are_told_with_their_places(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "outputs.jsonl"
    texts = ["Answer: " + "I am sorry. " * 12 + "I am s", "Clean prose, é and all.", "", "More clean prose, é and"]
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    assert repeats(file, json=True) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert "outputs.jsonl#3" in captured.err and found["left_out"] == 1
    assert (found["share_with_loop"]["value"], found["share_with_loop"]["n"]) == (1 / 3, 3)
    (loop,) = found["loops"]
    assert (loop["doc_id"], len(loop["unit"]), loop["trailing"]) == ("outputs.jsonl#1", 12, True)
    shared = found["longest_in_two_documents"]
    assert shared["text"] == "lean prose, é and"
    assert [(o["doc_id"], o["character"]) for o in shared["occurrences"]] == [
        ("outputs.jsonl#2", 1),
        ("outputs.jsonl#4", 6),
    ]
    assert repeats(file) == 0
    told = capsys.readouterr().out
    assert (
        "1 of 3 documents hold a loop: 33.3 %" in told and "longest in two documents: 17 characters (18 bytes)" in told
    )


def test_bad_input_is_refused_with_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "queries.jsonl"
    file.write_text('{"text": "one word here"}\n', encoding="utf-8")
    with pytest.raises(UnknownName, match="text"):
        keywords(file, text_field="txt")
    with pytest.raises(UsageError, match="every document"):
        keywords(file, by="text", min_df=1)
    with pytest.raises(UsageError, match="minimum_repeats"):
        repeats(file, minimum_repeats=1)
    with pytest.raises(DataError, match="stop words"):
        keywords(file, stop_words=tmp_path / "none.txt")
    empty = tmp_path / "empty.txt"
    empty.write_text("", encoding="utf-8")
    with pytest.raises(DataError, match="no text"):
        repeats(empty)
