"""What cannot be a document is quarantined with its reason, the reading goes on, and the counts add up."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jurat.corpus.document import Limits
from jurat.corpus.read import read_documents
from jurat.errors import DataError, UnknownName
from tests.corpus.archives import page, read_all, write_warc


def reasons(rows: list[dict[str, Any]]) -> list[str | None]:
    return [row["reason"] for row in rows]


def test_invalid_utf8_is_quarantined_with_the_position_of_the_byte_in_every_format(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"caf\xe9 au lait")
    (tmp_path / "b.jsonl").write_bytes(b'{"text": "ok"}\n{"text": "\xff"}\n{"text": "fine"}\n')
    (tmp_path / "c.csv").write_bytes(b"text\nab\xc3\nfine\n")
    raw = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\3\0\0\0\5\0\0\0"), pa.py_buffer(b"a\xffbok")]
    )
    pq.write_table(pa.table({"text": raw}), tmp_path / "d.parquet")
    rows = read_all(tmp_path)
    assert reasons(rows) == [
        "not UTF-8: byte 0xe9 at position 3",
        None, "not UTF-8: byte 0xff at position 10", None,
        "not UTF-8: byte 0xc3 at position 2", None,
        "not UTF-8: byte 0xff at position 1", None,
    ]  # fmt: skip
    assert [row["text"] for row in rows if row["status"] == "read"] == ["ok", "fine", "fine", "ok"]


def test_nul_bytes_are_quarantined_with_their_position(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"ab\0c")
    (tmp_path / "b.jsonl").write_bytes(b'{"text": "a\\u0000b"}\n{"te\0xt": 1}\n{"text": "fine"}\n')
    (tmp_path / "c.csv").write_bytes(b"text\na\0b\nfine\n")
    found = reasons(read_all(tmp_path))
    assert found == [
        "NUL byte at position 2", "NUL byte at position 1", "NUL byte at position 4", None, "NUL byte at position 1", None,
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.csv", "a.json"])
def test_a_line_of_200_megabytes_is_passed_over_in_bounded_memory_and_the_next_one_read(
    tmp_path: Path, name: str
) -> None:
    path, block = tmp_path / name, b"x" * (1 << 20)
    before, after = {
        "a.csv": (b"text\nfirst\n", b"\nlast\n"),
        "a.json": (b'[{"text": "first"}, {"text": "', b'"}, {"text": "last"}]'),
    }.get(name, (b'{"text": "first"}\n{"text": "', b'"}\n{"text": "last"}\n'))
    packer = zlib.compressobj(1, wbits=31) if name.endswith(".gz") else None
    megabytes = 200 if "jsonl" in name else 50
    with path.open("wb") as stream:
        for part in [before, *[block] * megabytes, after]:
            stream.write(packer.compress(part) if packer else part)
        if packer:
            stream.write(packer.flush())
    tracemalloc.start()
    rows = read_all(path, limits=Limits(document_bytes=4 << 20, ratio=5000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [row["text"] for row in rows] == ["first", None, "last"]
    assert rows[1]["n_bytes"] >= megabytes << 20 and str(rows[1]["n_bytes"]) in rows[1]["reason"]
    assert peak < 20 << 20


_PEAK = """
import resource, sys
from jurat.corpus.read import read_documents
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rows = 0
for batch in read_documents(sys.argv[1], batch_bytes=4 << 20):
    rows += len(batch)
print(rows, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet", "a.csv"])
def test_a_large_file_is_read_with_memory_for_a_few_batches(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    texts = [os.urandom(1500).hex() for _ in range(500)] * 30
    if name == "a.parquet":
        pq.write_table(pa.table({"text": texts}), path, row_group_size=len(texts), use_dictionary=False)
    elif name == "a.csv":
        path.write_text("text\n" + "\n".join(texts) + "\n")
    else:
        path.write_text("".join(f'{{"text": "{text}"}}\n' for text in texts))
    del texts
    done = subprocess.run([sys.executable, "-c", _PEAK, str(path)], capture_output=True, text=True, check=True)
    rows, peak = map(int, done.stdout.split())
    assert rows == 15_000
    # The file holds 45 MB, a batch 4 MB; what is left is modules that the first batch loads.
    assert peak < 40 << 20


def test_documents_just_within_the_limit_are_read_and_those_beyond_quarantined_with_their_size(tmp_path: Path) -> None:
    for extra, name in ((0, "within"), (1, "beyond")):
        (tmp_path / f"{name}.txt").write_bytes(b"x" * (1000 + extra))
        (tmp_path / f"{name}.txt.gz").write_bytes(gzip.compress(b"x" * (1000 + extra)))
        pq.write_table(pa.table({"text": ["x" * (1000 + extra)]}), tmp_path / f"{name}.parquet")
    rows = read_all(tmp_path, limits=Limits(document_bytes=1000))
    assert {row["file"].split(".")[0]: row["status"] for row in rows} == {"within": "read", "beyond": "quarantined"}
    assert {row["n_bytes"] for row in rows if row["status"] == "quarantined"} == {1001}


def test_lines_that_end_like_windows_have_the_same_limit(tmp_path: Path) -> None:
    line = json.dumps({"text": "abc"}).encode()
    (tmp_path / "a.jsonl").write_bytes(line + b"\r\n" + line + b"\n" + line + b" \n" + line)
    rows = read_all(tmp_path, limits=Limits(document_bytes=len(line)))
    assert [row["status"] for row in rows] == ["read", "read", "quarantined", "read"]


def test_empty_documents_are_quarantined(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"")
    (tmp_path / "b.txt").write_bytes(" \n\u3000\t".encode())
    (tmp_path / "c.html").write_bytes(b"<html><body><script>1</script></body></html>")
    (tmp_path / "d.jsonl").write_bytes(b'{"text": ""}\n{"text": null}\n{"text": 3}\n{"other": "x"}\n{"text": "\\n"}\n')
    (tmp_path / "e.jsonl").write_bytes(b"")
    (tmp_path / "f.csv").write_bytes(b"text\n")
    assert reasons(read_all(tmp_path)) == [
        "empty", "empty", "no text in the page", "empty", "field 'text' holds null, not text",
        "field 'text' holds a number, not text", "the record has no field 'text'", "empty", "no document in the file",
        "no document in the file",
    ]  # fmt: skip


@pytest.mark.parametrize("cut", [1, 9, 40])
def test_truncated_gzip_keeps_what_came_before_and_says_where_it_ends(tmp_path: Path, cut: int) -> None:
    rows = [{"text": os.urandom(40).hex()} for _ in range(2000)]
    whole = gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode())
    (tmp_path / "a.jsonl.gz").write_bytes(whole[:-cut])
    found = read_all(tmp_path)
    assert found[-1]["reason"].startswith("truncated gzip: the file ends after")
    assert [row["text"] for row in found[:-1] if row["status"] == "read"] == [row["text"] for row in rows][
        : len(found) - 1
    ]
    assert len({row["doc_id"] for row in found}) == len(found)


@pytest.mark.parametrize("name", ["a.txt.gz", "a.jsonl.gz", "a.csv.zst", "a.warc.gz", "a.html.gz", "a.txt.zst"])
def test_files_that_are_not_packed_as_their_name_says_are_quarantined_whole(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"this is not packed at all")
    [row] = read_all(tmp_path)
    assert row["status"] == "quarantined" and "damaged" in row["reason"]


def test_truncated_zstandard_is_quarantined(tmp_path: Path) -> None:
    packed = pa.Codec("zstd").compress(b'{"text": "a"}\n' * 50_000 + os.urandom(300_000).hex().encode(), asbytes=True)
    (tmp_path / "a.jsonl.zst").write_bytes(packed[: len(packed) // 2])
    rows = read_all(tmp_path)
    assert rows[-1]["reason"].startswith("damaged or truncated zstandard")


@pytest.mark.parametrize("kind", ["one member", "many members", "zstandard"])
def test_a_zip_bomb_is_stopped_at_the_ratio_and_other_files_are_read(tmp_path: Path, kind: str) -> None:
    line = b'{"text": "' + b"0" * (1 << 20) + b'"}\n'
    if kind == "zstandard":
        (tmp_path / "bomb.jsonl.zst").write_bytes(pa.Codec("zstd").compress(line * 64, asbytes=True))
    else:
        parts = [line * 64] if kind == "one member" else [line] * 64
        (tmp_path / "bomb.jsonl.gz").write_bytes(b"".join(gzip.compress(part) for part in parts))
    (tmp_path / "other.txt").write_text("harmless")
    rows = read_all(tmp_path, limits=Limits(ratio=100, ratio_from=4 << 20))
    assert len(rows) < 10
    assert "swells more than 100 times" in rows[-2]["reason"]
    assert rows[-1]["text"] == "harmless"


def test_duplicate_ids_in_a_file_are_quarantined_under_an_id_of_their_own(tmp_path: Path) -> None:
    rows = [{"id": "x", "text": "a"}, {"id": "y", "text": "b"}, {"id": "x", "text": "c"}, {"text": "d"}]
    rows += [{"id": "a.jsonl#3", "text": "e"}, {"id": "x", "text": ""}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_all(tmp_path, id_field="id")
    assert len({row["doc_id"] for row in found}) == len(found) == 6
    assert [row["status"] for row in found] == ["read", "read", "quarantined", "read", "quarantined", "quarantined"]
    assert found[2]["reason"] == "duplicate id 'x': record 1 has it too"
    assert found[3]["doc_id"] == "a.jsonl#4"
    assert found[5]["reason"] == "empty"


@pytest.mark.parametrize("damage", ["no table", "cut", "middle", "empty"])
def test_unreadable_parquet_is_quarantined_with_a_reason(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.parquet"
    texts = [os.urandom(30).hex() for _ in range(2000)]
    pq.write_table(pa.table({"text": texts}), path, row_group_size=500, compression="snappy", use_dictionary=False)
    whole = path.read_bytes()
    half = len(whole) // 2
    path.write_bytes(
        {
            "no table": b"not a table at all",
            "cut": whole[:half],
            "middle": whole[:half] + b"\xff" * 20_000 + whole[half + 20_000 :],
            "empty": b"",
        }[damage]
    )
    (tmp_path / "b.txt").write_text("read")
    rows = read_all(tmp_path)
    assert rows[-1]["text"] == "read"
    assert rows[-2]["status"] == "quarantined" and rows[-2]["file"] == "a.parquet" and rows[-2]["reason"]
    assert [row["text"] for row in rows[:-2] if row["status"] == "read"] == texts[: len(rows) - 2]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet", "a.json"])
def test_a_missing_text_field_is_refused_with_near_names_or_quarantined_if_asked(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "a.parquet":
        pq.write_table(pa.table({"texts": ["a", "b"], "n": [1, 2]}), path)
    elif name == "a.csv":
        path.write_text("texts,n\na,1\nb,2\n")
    else:
        path.write_text('{"texts": "a", "n": 1}\n{"texts": "b", "n": 2}\n')
    with pytest.raises(UnknownName, match=r"did you mean 'texts'\?") as caught:
        list(read_documents(tmp_path))
    assert name in str(caught.value)
    rows = read_all(tmp_path, missing_text="quarantine")
    assert len(rows) == 2 and all("'text'" in row["reason"] for row in rows)


def test_a_first_record_without_text_does_not_condemn_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"title": "none"}\nrubbish\n{"text": "some"}\n')
    rows = read_all(tmp_path)
    assert reasons(rows) == ["the record has no field 'text'", "not JSON: Expecting value at character 0", None]


def test_lines_that_are_no_objects_are_quarantined_one_by_one(tmp_path: Path) -> None:
    bad = [
        '{"text": "ok"}',
        "[1]",
        '"text"',
        "{broken",
        '{"text": "\\ud800"}',
        "[" * 100_000,
        '{"n": ' + "9" * 5000 + "}",
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(bad))
    found = reasons(read_all(tmp_path))
    assert found[:3] == [None, "not a JSON object but a list", "not a JSON object but text"]
    assert str(found[3]).startswith("not JSON: ")
    assert found[4] == "not Unicode: half a surrogate pair at character 0"
    assert all(str(reason).startswith("not JSON") for reason in found[5:]) and len(found) == 7


def test_csv_rows_of_another_width_and_quotes_left_open_are_quarantined(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('text,n\nok,1\nshort\nlong,1,2\n"open,3\n' + "x,1\n" * 3)
    rows = read_all(tmp_path)
    assert reasons(rows)[:3] == [None, "1 fields where the header names 2", "3 fields where the header names 2"]
    assert str(rows[3]["reason"]).startswith("not CSV") and len(rows) == 4


def test_a_truncated_array_keeps_what_is_whole(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"text": "a"}, {"text": "b"}, {"tex')
    rows = read_all(tmp_path)
    assert [row["text"] for row in rows] == ["a", "b", None, None]
    assert str(rows[3]["reason"]).startswith("truncated JSON")


def test_what_follows_an_array_is_put_on_record(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"text": "a"}] {"text": "lost?"}')
    assert str(read_all(tmp_path)[-1]["reason"]).endswith("something follows it")


def test_a_folder_without_a_file_that_can_be_read_is_refused_with_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file that can be read"):
        read_documents(tmp_path)
    (tmp_path / "a.png").write_bytes(b"\x89PNG\0\0")
    (tmp_path / ".hidden.txt").write_text("hidden")
    with pytest.raises(DataError, match=r"1 × \.png"):
        read_documents(tmp_path)
    (tmp_path / "b.txt").write_text("text")
    assert reasons(read_all(tmp_path)) == ["not UTF-8: byte 0x89 at position 0", None]


def test_a_file_that_cannot_be_opened_is_quarantined(tmp_path: Path) -> None:
    (tmp_path / "a.txt").symlink_to(tmp_path / "gone")
    (tmp_path / "b.txt").write_text("text")
    rows = read_all(tmp_path)
    assert reasons(rows) == ["cannot be read: No such file or directory", None]


def test_a_page_nested_without_end_does_not_stop_the_reading(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_bytes(b"<div>" * 50_000 + b"words")
    (tmp_path / "b.html").write_bytes(b"<p>" * 5_000 + b"a list of words" + b"<br/>" * 5_000)
    rows = read_all(tmp_path)
    assert reasons(rows) == ["a page with elements nested more than 2000 deep", None]


def _mutated(content: bytes, draw: random.Random) -> bytes:
    """Change, drop, insert or repeat bytes at some places, or cut the end off."""
    raw = bytearray(content)
    for _ in range(draw.randint(1, 6)):
        place, kind = draw.randrange(len(raw) + 1), draw.random()
        if kind < 0.5:
            raw[place : place + 1] = draw.randbytes(1)
        elif kind < 0.65:
            del raw[place : place + draw.randint(1, 50)]
        elif kind < 0.8:
            raw[place:place] = draw.randbytes(draw.randint(1, 20))
        elif kind < 0.95:
            raw[place:place] = raw[max(0, place - draw.randint(1, 200)) : place]
        else:
            del raw[place:]
    return bytes(raw)


@pytest.mark.parametrize(
    "name", ["a.jsonl", "a.json", "a.csv", "a.parquet", "a.html", "a.warc", "a.warc.gz", "a.jsonl.gz", "a.jsonl.zst"]
)
def test_whatever_happens_to_a_files_bytes_it_gives_rows_with_ids_of_their_own(tmp_path: Path, name: str) -> None:
    path, rows = tmp_path / name, [{"text": f"täxt {i}" + "w" * i, "date": "2020-01-01"} for i in range(40)]
    if name == "a.parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=11)
    elif "warc" in name:
        write_warc(path, [(f"http://h{i}.org", page("P"), {}) for i in range(4)], packed=name.endswith("gz"))
    else:
        lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
        forms = {
            "a.json": json.dumps(rows).encode(),
            "a.csv": b'text,n\n"x, ""q""\ny",1\nplain,2\n' * 20,
            "a.html": page("P"),
            "a.jsonl.gz": gzip.compress(lines),
            "a.jsonl.zst": pa.Codec("zstd").compress(lines, asbytes=True),
        }
        path.write_bytes(forms.get(name, lines))
    whole, draw = path.read_bytes(), random.Random(name)
    for _ in range(40):
        path.write_bytes(_mutated(whole, draw))
        # A lost header leaves a file without the text field, which is refused unless asked otherwise.
        found = read_all(path, missing_text="quarantine", limits=Limits(document_bytes=draw.choice([200, 1 << 20])))
        assert found and len({row["doc_id"] for row in found}) == len(found)
        assert all((row["status"] == "read") == (row["reason"] is None) for row in found)


def test_an_extractor_that_raises_quarantines_the_page(tmp_path: Path) -> None:
    class Failing:
        name = "failing"

        def extract(self, html: bytes, url: str | None, *, encoding: str | None = None) -> str:
            raise RuntimeError("no tree")

    (tmp_path / "a.html").write_text("<p>words")
    assert reasons(read_all(tmp_path, extractor=Failing())) == ["extraction failed: RuntimeError: no tree"]
