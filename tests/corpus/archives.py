"""WARC files as crawlers write them, made by warcio."""

from __future__ import annotations

import gc
import io
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from jurat.corpus.read import read_documents

PROSE = (
    "The committee met on Tuesday to consider the annual report, and found that most of its recommendations had been "
    "carried out within the year. Two remain: the archive is to be moved, and the catalogue is to be printed again."
)

_MORE = (
    "Members thanked the librarian for her patience during the repairs. The next meeting will take place in the autumn, "
    "when the accounts of the past year are to be laid before them by the treasurer."
)


def page(title: str, text: str = PROSE) -> bytes:
    """A page with a menu, an article and a footer."""
    return (
        f"<!DOCTYPE html><html><head><meta charset='utf-8'><title>{title}</title></head><body>"
        "<nav><ul><li><a href='/'>Home</a></li><li><a href='/about'>About</a></li></ul></nav>"
        f"<main><article><h1>{title}</h1><p>{text}</p><p>{_MORE}</p></article></main>"
        "<footer>Copyright of somebody</footer></body></html>"
    ).encode()


def write_warc(path: Path, entries: Iterable[tuple[str, bytes, dict[str, Any]]], *, packed: bool = True) -> Path:
    """Write responses (or other records) after the file's own description.

    An entry is a URL, a body and options: ``status``, ``http`` (headers), ``kind``, ``type`` (of a record without HTTP).
    """
    warcwriter = pytest.importorskip("warcio.warcwriter")
    from warcio.statusandheaders import StatusAndHeaders

    with path.open("wb") as stream, warnings.catch_warnings():
        # warcio leaves its temporary files to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        writer = warcwriter.WARCWriter(stream, gzip=packed)
        writer.write_record(writer.create_warcinfo_record(path.name, {"software": "fixture"}))
        for url, body, options in entries:
            kind = options.get("kind", "response")
            http = None
            if kind in ("response", "request"):
                headers = options.get("http", [("Content-Type", "text/html; charset=utf-8")])
                http = StatusAndHeaders(options.get("status", "200 OK"), headers, protocol="HTTP/1.1")
            record = writer.create_warc_record(
                url,
                kind,
                payload=io.BytesIO(body),
                http_headers=http,
                warc_content_type=options.get("type", ""),
                warc_headers_dict={"WARC-Date": "2024-03-05T06:07:08Z"},
            )
            writer.write_record(record)
            del record
        gc.collect()
    return path


def read_all(inputs: Any, **options: Any) -> list[dict[str, Any]]:
    """All rows that the reader gives, as dictionaries."""
    batches = list(read_documents(inputs, **options))
    return pa.Table.from_batches(batches).to_pylist() if batches else []
