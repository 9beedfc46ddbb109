"""WARC files: which records are documents, where they begin, and what becomes of damaged ones."""

from __future__ import annotations

import datetime
import gzip
import io
import zlib
from pathlib import Path
from typing import Any

import pytest

from jurat.corpus.document import Limits
from jurat.corpus.read import read_pages
from tests.corpus.archives import PROSE, page, read_all, write_warc

HTML = [("Content-Type", "text/html; charset=utf-8")]


def crawl(folder: Path, n: int = 4, *, packed: bool = True) -> Path:
    path = folder / ("a.warc.gz" if packed else "a.warc")
    return write_warc(path, [(f"http://h{i}.org/p", page(f"Page {i}"), {}) for i in range(n)], packed=packed)


def only(folder: Path, body: bytes, **options: Any) -> dict[str, Any]:
    [row] = read_all(write_warc(folder / "a.warc.gz", [("http://h.org/", body, options)]))
    return row


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "plain"])
def test_responses_become_documents_with_url_date_and_number(tmp_path: Path, packed: bool) -> None:
    rows = read_all(crawl(tmp_path, packed=packed))
    assert [row["record"] for row in rows] == [2, 3, 4, 5]
    assert [row["url"] for row in rows] == [f"http://h{i}.org/p" for i in range(4)]
    assert [row["source"] for row in rows] == [f"h{i}.org" for i in range(4)]
    assert {row["crawled"] for row in rows} == {datetime.datetime(2024, 3, 5, 6, 7, 8, tzinfo=datetime.UTC)}
    assert all(PROSE in row["text"] and "Copyright" not in row["text"] for row in rows)


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "plain"])
def test_offsets_and_blocks_are_those_of_an_independent_reader(tmp_path: Path, packed: bool) -> None:
    fastwarc = pytest.importorskip("fastwarc.warc")
    path = crawl(tmp_path, 30, packed=packed)
    expected = []
    with path.open("rb") as stream:
        for record in fastwarc.ArchiveIterator(stream, record_types=fastwarc.WarcRecordType.response):
            expected.append((record.stream_pos, record.headers["WARC-Target-URI"], record.reader.read()))
    rows = read_all(path)
    pages = list(read_pages(path))
    assert [(row["offset"], row["url"], found.html) for row, found in zip(rows, pages, strict=True)] == expected


def test_an_offset_in_a_packed_file_is_where_the_packed_record_begins(tmp_path: Path) -> None:
    path = crawl(tmp_path, 9)
    for row in read_all(path):
        record = zlib.decompressobj(wbits=31).decompress(path.read_bytes()[row["offset"] :])
        assert record.startswith(b"WARC/1") and f"WARC-Target-URI: {row['url']}\r\n".encode() in record


def test_only_records_with_documents_are_met_and_all_are_counted(tmp_path: Path) -> None:
    entries: list[tuple[str, bytes, dict[str, Any]]] = [
        ("http://a.org/", b"", {"kind": "request", "http": []}),
        ("http://a.org/", page("A"), {}),
        ("http://a.org/i.png", b"\x89PNG", {"http": [("Content-Type", "image/png")]}),
        ("http://a.org/gone", page("Gone"), {"status": "404 Not Found"}),
        ("http://a.org/t", b"plain text", {"http": [("Content-Type", "text/plain")]}),
        ("http://a.org/", b"x: y", {"kind": "metadata", "type": "application/warc-fields"}),
        ("http://a.org/", b"als Text", {"kind": "conversion", "type": "text/plain"}),
        ("http://a.org/r", page("R"), {"kind": "resource", "type": "text/html"}),
        ("http://a.org/u", page("U"), {"http": [("Server", "x")]}),
        ("http://a.org/v", b"who knows", {"http": [("Server", "x")]}),
    ]
    rows = read_all(write_warc(tmp_path / "a.warc.gz", entries))
    assert [(row["record"], row["reason"]) for row in rows] == [
        (3, None), (4, "content type image/png is no text"), (5, "HTTP status 404"), (6, None), (8, None), (9, None),
        (10, None), (11, "no content type"),
    ]  # fmt: skip
    assert [rows[3]["text"], rows[4]["text"]] == ["plain text", "als Text"]


def test_wet_files_are_read_as_text(tmp_path: Path) -> None:
    entries = [
        (f"http://h{i}.org", f"text {i}".encode(), {"kind": "conversion", "type": "text/plain"}) for i in range(3)
    ]
    rows = read_all(write_warc(tmp_path / "a.warc.wet.gz", entries))
    assert [row["text"] for row in rows] == ["text 0", "text 1", "text 2"]


def test_the_declared_character_set_decodes_the_page(tmp_path: Path) -> None:
    body = page("Größe", "Die Größe der Straße überrascht die Bürger von Köln, und auch die Höhe der Türme.").decode()
    raw = body.replace("<meta charset='utf-8'>", "").encode("iso-8859-1")
    row = only(tmp_path, raw, http=[("Content-Type", "text/html; charset=ISO-8859-1")])
    assert "Größe der Straße" in row["text"]
    row = only(tmp_path, body.encode("utf-16"), http=[("Content-Type", "text/html; charset=utf-16")])
    assert "Größe der Straße" in row["text"]
    row = only(tmp_path, body.encode(), http=[("Content-Type", "text/html; charset=no-such-set")])
    assert "Größe der Straße" in row["text"]


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


def chunked(body: bytes) -> bytes:
    parts = [body[i : i + 100] for i in range(0, len(body), 100)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


@pytest.mark.parametrize(
    ("encode", "headers"),
    [
        (gzip.compress, [("Content-Encoding", "gzip")]),
        (zlib.compress, [("Content-Encoding", "deflate")]),
        (raw_deflate, [("Content-Encoding", "deflate")]),
        (chunked, [("Transfer-Encoding", "chunked")]),
        (lambda b: chunked(gzip.compress(b)), [("Transfer-Encoding", "chunked"), ("Content-Encoding", "gzip")]),
        (bytes, [("Content-Encoding", "gzip"), ("Transfer-Encoding", "chunked")]),
        (bytes, [("Content-Encoding", "deflate")]),
        (bytes, [("Content-Encoding", "br")]),
    ],
    ids=[
        "gzip",
        "zlib",
        "raw deflate",
        "chunks",
        "gzip in chunks",
        "undone by the crawler",
        "deflate undone",
        "br undone",
    ],
)
def test_content_and_transfer_encodings_are_undone(tmp_path: Path, encode: Any, headers: list[tuple[str, str]]) -> None:
    assert PROSE in only(tmp_path, encode(page("A")), http=[*HTML, *headers])["text"]


def test_brotli_is_undone(tmp_path: Path) -> None:
    stream_io = pytest.importorskip("fastwarc.stream_io")
    packed = io.BytesIO()
    with stream_io.BrotliWriter(packed) as writer:
        writer.write(page("A"))
    assert PROSE in only(tmp_path, packed.getvalue(), http=[*HTML, ("Content-Encoding", "br")])["text"]


@pytest.mark.parametrize(
    ("body", "encoding", "reason"),
    [
        (gzip.compress(page("A"))[:-20], "gzip", "truncated content encoding"),
        (gzip.compress(page("A"))[:20] + b"\xff" * 99, "gzip", "damaged content encoding"),
        (b"\x07rubbish", "br", "damaged content encoding"),
        (page("A"), "compress", "content encoding 'compress' is not known"),
        (gzip.compress(b"<p>" + b"0" * (40 << 20)), "gzip", "content encoding swells"),
    ],
    ids=["truncated", "damaged gzip", "damaged brotli", "unknown", "bomb"],
)
def test_encodings_that_cannot_be_undone_quarantine_the_record(
    tmp_path: Path, body: bytes, encoding: str, reason: str
) -> None:
    assert only(tmp_path, body, http=[*HTML, ("Content-Encoding", encoding)])["reason"].startswith(reason)


@pytest.mark.parametrize("cut", [5, 400, 1000])
def test_a_truncated_plain_file_keeps_the_records_before(tmp_path: Path, cut: int) -> None:
    path = crawl(tmp_path, packed=False)
    path.write_bytes(path.read_bytes()[:-cut])
    rows = read_all(path)
    assert [row["status"] for row in rows] == ["read", "read", "read", "quarantined"]
    assert rows[-1]["reason"].startswith("truncated WARC")


def test_cut_at_any_byte_a_file_loses_nothing_that_was_whole(tmp_path: Path) -> None:
    whole = crawl(tmp_path, 3, packed=False).read_bytes()
    starts = [row["offset"] for row in read_all(tmp_path)]
    ends = [*[whole.rindex(b"</html>", 0, start) + 7 for start in starts[1:]], whole.rindex(b"</html>") + 7]
    for cut in range(starts[0], len(whole), 61):
        (tmp_path / "a.warc").write_bytes(whole[:cut])
        rows = read_all(tmp_path)
        assert sum(row["status"] == "read" for row in rows) == sum(end <= cut for end in ends)


def test_a_truncated_packed_file_keeps_the_records_before(tmp_path: Path) -> None:
    path = crawl(tmp_path)
    path.write_bytes(path.read_bytes()[:-30])
    rows = read_all(path)
    assert [row["status"] for row in rows] == ["read", "read", "read", "quarantined"]
    assert rows[-1]["reason"].startswith("truncated gzip")


def test_something_else_between_records_ends_the_file_on_record(tmp_path: Path) -> None:
    path = crawl(tmp_path, packed=False)
    whole = path.read_bytes()
    last = read_all(path)[-1]["offset"]
    path.write_bytes(whole[:last] + b"something else\r\n\r\n" + whole[last:])
    rows = read_all(path)
    assert len(rows) == 4 and rows[-1]["reason"].startswith(f"no WARC record begins at byte {last}")


@pytest.mark.parametrize("length", ["x", "-5", "99999999999999999999"])
def test_a_length_that_lies_is_put_on_record(tmp_path: Path, length: str) -> None:
    path = tmp_path / "a.warc"
    head = f"WARC/1.0\r\nWARC-Type: response\r\nContent-Length: {length}\r\n\r\n"
    path.write_bytes(head.encode() + b"HTTP/1.1 200 OK\r\n\r\nwords")
    rows = read_all(path)
    assert all(row["status"] == "quarantined" for row in rows)
    assert any("has no length" in row["reason"] or "truncated WARC" in row["reason"] for row in rows)


def test_headers_without_end_are_put_on_record(tmp_path: Path) -> None:
    (tmp_path / "a.warc").write_bytes(b"WARC/1.0\r\n" + b"a: b\r\n" * 300_000)
    [row] = read_all(tmp_path)
    assert row["reason"].startswith("truncated WARC: the headers")


def test_a_record_beyond_the_limit_is_passed_over_with_its_size_and_the_next_one_read(tmp_path: Path) -> None:
    entries = [("http://a.org/", page("A", "x" * 600_000), {}), ("http://b.org/", page("B"), {})]
    rows = read_all(write_warc(tmp_path / "a.warc.gz", entries), limits=Limits(document_bytes=100_000))
    assert [row["status"] for row in rows] == ["quarantined", "read"]
    assert rows[0]["n_bytes"] > 600_000 and rows[0]["url"] == "http://a.org/"


def test_an_empty_archive_is_put_on_record(tmp_path: Path) -> None:
    assert read_all(write_warc(tmp_path / "a.warc.gz", []))[0]["reason"] == "no document in the file"
