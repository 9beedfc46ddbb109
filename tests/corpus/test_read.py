"""Every format becomes documents with provenance, in any number of shards alike."""

from __future__ import annotations

import datetime
import gzip
import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jurat.corpus.document import DOCUMENT_SCHEMA, Fields, Limits
from jurat.corpus.files import partition
from jurat.corpus.identity import repeated_ids
from jurat.corpus.read import read_documents, read_pages
from jurat.errors import UsageError
from jurat.text.column import TextColumn
from tests.corpus.archives import PROSE, page, read_all, write_warc


def zstandard(content: bytes) -> bytes:
    return pa.Codec("zstd").compress(content, asbytes=True)


def lines(*rows: object) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A folder with every format, sub-folders and a hidden file."""
    folder = tmp_path / "corpus"
    (folder / "deep/er").mkdir(parents=True)
    (folder / ".git").mkdir()
    (folder / ".git/config").write_text("not a document")
    (folder / ".hidden.txt").write_text("not a document")
    (folder / "readme.md").write_text("# Title\n\nSome words.\n", encoding="utf-8")
    (folder / "deep/notes.txt.gz").write_bytes(gzip.compress("packed naïve text".encode()))
    (folder / "deep/LICENSE").write_text("A file without a suffix is text as well.")
    (folder / "deep/er/page.html").write_bytes(page("Report"))
    (folder / "rows.jsonl").write_bytes(lines({"text": "one"}, {"text": "two"}, {"text": ""}))
    (folder / "rows.jsonl.zst").write_bytes(zstandard(lines({"text": "three"})))
    (folder / "rows.csv").write_text('id,text\n1,"four,\nfive"\n2,six\n')
    (folder / "rows.tsv").write_text("id\ttext\n1\tseven\n")
    pq.write_table(pa.table({"text": ["eight", None, "nine"], "other": [1, 2, 3]}), folder / "rows.parquet")
    write_warc(folder / "crawl.warc.gz", [(f"http://h{i}.org/", page(f"Page {i}"), {}) for i in range(3)])
    return folder


def test_a_folder_of_every_format_is_read_in_order_of_name_with_every_record_accounted_for(corpus: Path) -> None:
    rows = read_all(corpus)
    assert [row["doc_id"] for row in rows] == [
        "crawl.warc.gz#2", "crawl.warc.gz#3", "crawl.warc.gz#4", "deep/LICENSE#1", "deep/er/page.html#1",
        "deep/notes.txt.gz#1", "readme.md#1", "rows.csv#1", "rows.csv#2", "rows.jsonl#1", "rows.jsonl#2", "rows.jsonl#3",
        "rows.jsonl.zst#1", "rows.parquet#1", "rows.parquet#2", "rows.parquet#3", "rows.tsv#1",
    ]  # fmt: skip
    assert [row["doc_id"] for row in rows if row["status"] == "quarantined"] == ["rows.jsonl#3", "rows.parquet#2"]
    texts = {row["doc_id"]: row["text"] for row in rows}
    assert texts["deep/notes.txt.gz#1"] == "packed naïve text"
    assert texts["rows.csv#1"] == "four,\nfive"
    assert texts["rows.jsonl.zst#1"] == "three"
    assert PROSE in texts["deep/er/page.html#1"] and "About" not in texts["deep/er/page.html#1"]


def test_every_document_has_digest_size_source_and_schema(corpus: Path) -> None:
    for batch in read_documents(corpus):
        assert batch.schema.equals(DOCUMENT_SCHEMA)
        batch.validate(full=True)
    for row in read_all(corpus):
        if row["status"] == "read":
            raw = row["text"].encode()
            assert (row["sha256"], row["n_bytes"]) == (hashlib.sha256(raw).hexdigest(), len(raw))
            assert row["reason"] is None
        else:
            assert row["text"] is row["sha256"] is None and row["reason"]
        assert row["source"] == ("corpus" if row["url"] is None else row["url"].split("/")[2])


@pytest.mark.parametrize("shards", [1, 2, 7, 40])
def test_any_number_of_shards_gives_the_same_documents_with_the_same_ids(corpus: Path, shards: int) -> None:
    dealt = partition(corpus, shards)
    assert len(dealt) == shards
    rows = [row for files in dealt for row in read_all(files)]
    assert sorted(rows, key=lambda row: row["doc_id"]) == sorted(read_all(corpus), key=lambda row: row["doc_id"])


def test_the_size_of_batches_does_not_change_what_is_in_them(corpus: Path) -> None:
    assert read_all(corpus, batch_bytes=1) == read_all(corpus)
    assert all(len(batch) == 1 for batch in read_documents(corpus, batch_bytes=1))


def test_batches_hold_about_as_many_bytes_as_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(*({"text": "x" * 1000} for _ in range(500))))
    sizes = [TextColumn.of(batch["text"]).n_bytes for batch in read_documents(tmp_path, batch_bytes=50_000)]
    assert sum(sizes) == 500_000 and max(sizes) <= 50_000 and len(sizes) < 20


def test_offsets_lead_back_to_the_records(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\n" + lines({"text": "é" * 9}, {"text": "b"}) + b"\r\n" + lines({"text": "c"}))
    (tmp_path / "b.csv").write_bytes('text,n\n"ä\nö",1\n\nplain,2\n'.encode())
    (tmp_path / "c.json").write_bytes(b'[ {"text": "d, ]}"},\n {"text": "e\\"["} ]\n')
    for row in read_all(tmp_path):
        rest = (tmp_path / row["file"]).read_bytes()[row["offset"] :]
        if row["file"] == "b.csv":
            assert rest.lstrip(b'"').startswith(row["text"].encode())
        else:
            assert json.JSONDecoder().raw_decode(rest.decode())[0]["text"] == row["text"]
    numbers = {row["text"]: row["record"] for row in read_all(tmp_path / "a.jsonl")}
    assert numbers == {"é" * 9: 2, "b": 3, "c": 5}


def test_provenance_comes_from_the_fields_that_records_have(tmp_path: Path) -> None:
    full = {"text": "t", "url": "http://E.org/x", "timestamp": "2019-04-25T12:57:54Z", "license": "CC0", "source": "S"}
    (tmp_path / "a.jsonl").write_bytes(lines(full, {"text": "u", "url": "https://f.org:81/y"}, {"text": "v"}))
    first, second, third = read_all(tmp_path / "a.jsonl", licence="own")
    moment = datetime.datetime(2019, 4, 25, 12, 57, 54, tzinfo=datetime.UTC)
    assert (first["url"], first["crawled"], first["licence"], first["source"]) == ("http://E.org/x", moment, "CC0", "S")
    assert (second["source"], second["licence"], second["crawled"]) == ("f.org", "own", None)
    assert third["source"] == tmp_path.name
    assert {row["source"] for row in read_all(tmp_path, source="mine")} == {"mine"}


def test_other_field_names_can_be_given(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines({"content": "t", "uid": 7, "link": "http://a.org"}))
    [row] = read_all(tmp_path, text_field="content", id_field="uid")
    assert (row["doc_id"], row["text"], row["url"]) == ("7", "t", None)
    [row] = read_all(tmp_path, fields=Fields(text="content", url=("link",)))
    assert (row["doc_id"], row["url"]) == ("a.jsonl#1", "http://a.org")


def test_parquet_gives_the_same_rows_whatever_its_row_groups_and_types(tmp_path: Path) -> None:
    texts = [f"text {i}" for i in range(100)]
    when = [datetime.datetime(2020, 1, 1) + datetime.timedelta(hours=i) for i in range(100)]  # noqa: DTZ001
    kinds = {"plain": pa.string(), "large": pa.large_string(), "few": pa.dictionary(pa.int32(), pa.string())}
    for name, kind in kinds.items():
        table = pa.table({"text": pa.array(texts).cast(kind), "date": pa.array(when, pa.timestamp("ns"))})
        pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=7)
        rows = read_all(tmp_path / f"{name}.parquet", batch_bytes=64)
        assert [row["text"] for row in rows] == texts
        assert [row["record"] for row in rows] == list(range(1, 101))
        assert rows[5]["crawled"] == when[5].replace(tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        (b'[{"text": "a"}, {"text": "b"}]', ["a", "b"]),
        (b'\xef\xbb\xbf[\n{"text": "a",\n "n": [1, {"x": "]"}]}\n]\n', ["a"]),
        (b'{"text": "a"}\n{"text": "b"}\n', ["a", "b"]),
        (b'{\n  "text": "a",\n  "n": {"deep": []}\n}\n', ["a"]),
        (b'{"text": "a", "n":\n 3}', ["a"]),
    ],
    ids=["array", "array over lines", "lines", "one object", "broken after a colon"],
)
def test_json_files_are_read_as_array_lines_or_object(tmp_path: Path, content: bytes, texts: list[str]) -> None:
    (tmp_path / "a.json").write_bytes(content)
    assert [row["text"] for row in read_all(tmp_path)] == texts


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.text('a"\\[]{},é\n', min_size=1, max_size=30), json_values), min_size=1, max_size=5),
    st.booleans(),
)
def test_elements_of_an_array_are_cut_where_a_json_parser_cuts_them(
    tmp_path_factory: pytest.TempPathFactory, entries: list[tuple[str, object]], spread: bool
) -> None:
    path = tmp_path_factory.mktemp("json") / "a.json"
    rows = [{"text": f"t{text}", "rest": rest} for text, rest in entries]
    path.write_text(json.dumps(rows, indent=1 if spread else None), encoding="utf-8")
    assert [row["text"] for row in read_all(path)] == [row["text"] for row in rows]


def test_an_array_longer_than_a_block_is_cut_right_at_every_boundary(tmp_path: Path) -> None:
    rows = [{"text": 'q"\\' * (i % 37) + str(i)} for i in range(9000)]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    assert [row["text"] for row in read_all(tmp_path)] == [row["text"] for row in rows]


def test_gzip_of_many_members_and_padding_is_read_like_one(tmp_path: Path) -> None:
    members = b"".join(gzip.compress(lines({"text": f"m{i}"})) for i in range(200))
    (tmp_path / "a.jsonl.gz").write_bytes(members + b"\0" * 512)
    assert [row["text"] for row in read_all(tmp_path)] == [f"m{i}" for i in range(200)]


def test_zstandard_of_several_frames_is_read_like_one(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.zst").write_bytes(zstandard(lines({"text": "a"})) + zstandard(lines({"text": "b"})))
    assert [row["text"] for row in read_all(tmp_path)] == ["a", "b"]


def test_a_byte_order_mark_is_no_part_of_a_text(tmp_path: Path) -> None:
    for name, content in (("a.txt", "plain"), ("b.jsonl", '{"text": "json"}'), ("c.csv", "text\ncsv\n")):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + content.encode())
    assert [row["text"] for row in read_all(tmp_path)] == ["plain", "json", "csv"]


def test_pages_before_extraction_carry_the_ids_of_their_documents(corpus: Path) -> None:
    texts = {row["doc_id"] for row in read_all(corpus) if row["file"].endswith((".warc.gz", ".html"))}
    assert {found.doc_id for found in read_pages(corpus)} == texts


def test_any_extractor_fits_the_seam(tmp_path: Path) -> None:
    class Shouting:
        name = "shouting"

        def extract(self, html: bytes, url: str | None, *, encoding: str | None = None) -> str:
            return html.decode().upper()

    (tmp_path / "a.html").write_text("<p>words")
    [row] = read_all(tmp_path, extractor=Shouting())
    assert row["text"] == "<P>WORDS"


def test_repeated_ids_are_found_across_batches_and_files(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_bytes(lines({"text": name, "id": "same"}, {"text": "t", "id": name}))
    found = repeated_ids(read_documents(tmp_path, id_field="id", batch_bytes=1)).to_pylist()
    assert found == [{"doc_id": "same", "documents": 2, "file": "a.jsonl", "record": 1}]
    assert repeated_ids(iter([])).num_rows == 0


@pytest.mark.parametrize("options", [{"batch_bytes": 0}, {"missing_text": "ignore"}])
def test_options_that_make_no_sense_are_refused_before_reading(tmp_path: Path, options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        read_documents(tmp_path, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["document_bytes", "ratio", "ratio_from", "depth"])
def test_limits_must_be_positive(name: str) -> None:
    with pytest.raises(UsageError, match=name):
        Limits(**{name: 0})
