"""Reading files: nothing dropped silently, every record with its place, memory bounded by the batch."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jurat.errors import DataError, SpecError
from jurat.store.importers import FileDigest, Rejected, file_format, read_records
from jurat.store.lake import Lake
from jurat.store.schema import content_digest
from jurat.store.source import import_source, load_source, read_source


def read(path: Path, kind: str | None = None) -> tuple[list[tuple[int, dict]], list[Rejected], FileDigest]:
    rejected: list[Rejected] = []
    digest = FileDigest()
    records = read_records(path, name=path.name, kind=kind or file_format(path), rejected=rejected, digest=digest)
    return [(r.line, r.fields) for r in records], rejected, digest


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=12))
def test_whatever_csv_writes_is_read_back_with_the_line_it_starts_on(
    rows: list[tuple[str, str]], tmp_path: Path
) -> None:
    path = tmp_path / "x.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, quoting=csv.QUOTE_ALL)
        writer.writerow(["a", "b"])
        starts = []
        for row in rows:
            stream.flush()
            starts.append(path.read_bytes().count(b"\n") + 1)
            writer.writerow(row)
    found, rejected, _ = read(path)
    assert rejected == []
    assert [tuple(f.values()) for _, f in found] == rows
    if not any("\r" in cell for row in rows for cell in row):
        assert [line for line, _ in found] == starts


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_compressed_files_give_the_same_records_and_the_digest_of_their_own_bytes(suffix: str, tmp_path: Path) -> None:
    raw = b"".join(json.dumps({"i": i, "t": "é" * (i % 5)}).encode() + b"\n" for i in range(3_000))
    packed = {"": lambda b: b, ".gz": gzip.compress, ".zst": lambda b: pa.Codec("zstd").compress(b, asbytes=True)}[
        suffix
    ](raw)
    path = tmp_path / f"x.jsonl{suffix}"
    path.write_bytes(packed)
    found, rejected, digest = read(path)
    assert len(found) == 3_000 and rejected == []
    assert (digest.size, digest.sha256) == (len(packed), hashlib.sha256(packed).hexdigest())


def test_bad_lines_of_jsonl_are_kept_aside_with_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": \n\n[1]\n{"a": NaN}\n{"a": "\xff"}\n{"a": 2}')
    found, rejected, _ = read(path)
    assert [line for line, _ in found] == [1, 7]
    assert [r.line for r in rejected] == [2, 4, 5, 6]
    assert "NaN is not a number" in rejected[2].reason and "\\xff" in rejected[3].raw


def test_bad_records_of_csv_are_kept_aside_with_the_line_they_start_on(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b'a,b\n1,"two\nlines"\n3\n4,5,6\n"x"y,7\n8,\xff\n9,10\n')
    found, rejected, _ = read(path)
    assert [line for line, _ in found] == [2, 8]
    assert [r.line for r in rejected] == [4, 5, 6, 7]
    assert "1 fields where the header has 2" in rejected[0].reason and "UTF-8" in rejected[3].reason


def test_every_line_is_either_read_or_rejected(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    lines = [b'{"i": %d}' % i if i % 7 else b"broken %d" % i for i in range(500)]
    path.write_bytes(b"\n".join(lines))
    found, rejected, _ = read(path)
    assert sorted([line for line, _ in found] + [r.line for r in rejected]) == list(range(1, 501))


@pytest.mark.parametrize(
    ("name", "raw", "told"),
    [
        ("x.jsonl", b"", "is empty"),
        ("x.csv", b"", "is empty"),
        ("x.csv", b"a,b\n", "a header and no record"),
        ("x.csv", b"a,a\n1,2\n", "named twice: a"),
        ("x.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 99, mtime=0)[:-12], "cannot be unpacked to its end"),
        ("x.jsonl.gz", b"not gzip", "cannot be unpacked to its end"),
        ("x.parquet", b"PAR1 but no more", "is not a Parquet file"),
    ],
    ids=["empty jsonl", "empty csv", "header only", "doubled header", "truncated gzip", "not gzip", "not parquet"],
)
def test_files_that_cannot_be_read_as_a_whole_are_errors(name: str, raw: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(DataError) as caught:
        read(tmp_path / name)
    assert told in str(caught.value)


def test_an_unknown_suffix_is_an_error() -> None:
    with pytest.raises(DataError, match="format of a file is not known"):
        file_format(Path("results.xlsx"))


# Source mappings -----------------------------------------------------------------------------------------------------

SOURCE = """
name = "demo"
table = "eval_result"
[[files]]
pattern = "{arm}/results.jsonl"
constants = { run = "r", scorer = "human", model = "model {arm}" }
columns = { item = "id", label = "answer", value = "score", tokens_out = "tokens", started = "at" }
[rules]
unique = ["arm", "item"]
required = ["item"]
"""


def mapping(folder: Path, text: str = SOURCE) -> Path:
    (folder / "source.toml").write_text(text, encoding="utf-8")
    return folder / "source.toml"


def rows(folder: Path, arm: str, *records: object) -> None:
    (folder / "data" / arm).mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(r) for r in records]
    (folder / "data" / arm / "results.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


GOOD = {"id": "q1", "answer": "yes", "score": 1, "tokens": 7, "at": "2026-05-01T10:00:00+02:00"}


def test_columns_constants_and_captures_become_a_typed_table(tmp_path: Path) -> None:
    rows(tmp_path, "a", GOOD, {**GOOD, "id": "q2", "score": None})
    rows(tmp_path, "b", GOOD)
    table, report = read_source(load_source(mapping(tmp_path)), tmp_path / "data")
    assert table["arm"].to_pylist() == ["a", "a", "b"]
    assert table["model"].to_pylist()[0] == "model a"
    assert table["value"].to_pylist() == [1.0, None, 1.0]
    assert table["started"].to_pylist()[0].isoformat() == "2026-05-01T08:00:00+00:00"
    assert [f.path for f in report.files] == ["a/results.jsonl", "b/results.jsonl"]


def test_an_import_is_one_commit_with_the_content_that_was_read(tmp_path: Path) -> None:
    rows(tmp_path, "a", GOOD)
    source = load_source(mapping(tmp_path))
    lake = Lake(tmp_path / "lake")
    report = import_source(source, tmp_path / "data", lake)
    assert report.version == lake.version("eval_result") and report.rows == 1
    assert content_digest(lake.read("eval_result")) == content_digest(read_source(source, tmp_path / "data")[0])


def test_an_import_that_fails_half_way_leaves_the_lake_as_it_was(tmp_path: Path) -> None:
    rows(tmp_path, "a", GOOD)
    source, lake = load_source(mapping(tmp_path)), Lake(tmp_path / "lake")
    import_source(source, tmp_path / "data", lake)
    before = content_digest(lake.read("eval_result"))
    rows(tmp_path, "b", *[{**GOOD, "id": f"q{i}"} for i in range(60_000)], GOOD, GOOD)
    with pytest.raises(DataError, match="stands twice"):
        import_source(source, tmp_path / "data", lake)
    assert content_digest(lake.read("eval_result")) == before


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({**GOOD, "score": "high"}, "line 2: score"),
        ({**GOOD, "tokens": 1.5}, "1.5 is not a whole number"),
        ({**GOOD, "at": "2026-05-01T10:00:00"}, "has no time zone"),
        ({**GOOD, "at": 1714550400}, "a bare number"),
        ({**GOOD, "id": ""}, "line 2: item is empty"),
        (GOOD, "stands twice"),
    ],
)
def test_a_record_that_breaks_a_type_or_a_rule_is_named_with_its_line(record: dict, told: str, tmp_path: Path) -> None:
    rows(tmp_path, "a", GOOD, record)
    with pytest.raises(DataError) as caught:
        read_source(load_source(mapping(tmp_path)), tmp_path / "data")
    assert told in str(caught.value) and "a/results.jsonl" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('table = "eval_result"', 'table = "eval_results"', "did you mean 'eval_result'"),
        ('item = "id"', 'itme = "id"', "did you mean 'item'"),
        ("unique = [", "uniqe = [", "uniqe"),
        ('unique = ["arm"', 'unique = ["amr"', "did you mean 'arm'"),
        ("[rules]", "[rules", "not valid TOML"),
    ],
)
def test_a_mapping_that_cannot_be_followed_is_an_error_with_near_names(
    old: str, new: str, told: str, tmp_path: Path
) -> None:
    with pytest.raises(SpecError) as caught:
        load_source(mapping(tmp_path, SOURCE.replace(old, new)))
    assert told in str(caught.value)


def test_a_pattern_that_matches_nothing_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(DataError, match="asks for at least 1 file"):
        read_source(load_source(mapping(tmp_path)), tmp_path / "data")


def test_parquet_is_read_with_its_row_numbers(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": [1, 2]}), path)
    found, _, digest = read(path)
    assert found == [(1, {"a": 1}), (2, {"a": 2})]
    assert digest.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


MEASURE = """
import resource, sys
from pathlib import Path
from jurat.store.lake import Lake
from jurat.store.source import import_source, load_source
source = load_source(Path(sys.argv[1]) / "source.toml")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
import_source(source, Path(sys.argv[1]) / "data", Lake(Path(sys.argv[1]) / "lake"))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_memory_is_bounded_by_the_batch_not_by_the_file(tmp_path: Path) -> None:
    grown = []
    for count in (60_000, 240_000):
        folder = tmp_path / str(count)
        (folder / "data" / "a").mkdir(parents=True)
        with (folder / "data/a/results.jsonl").open("w", encoding="utf-8") as stream:
            for i in range(count):
                stream.write(json.dumps({**GOOD, "id": f"q{i}", "answer": "x" * 120}) + "\n")
        mapping(folder, SOURCE.replace('unique = ["arm", "item"]\n', ""))
        done = subprocess.run([sys.executable, "-c", MEASURE, str(folder)], capture_output=True, text=True, check=True)
        grown.append(float(done.stdout))
    # 180,000 more rows are 45 MB more of JSON and several times that as objects: a batch's worth is all they may cost.
    assert grown[1] - grown[0] < 90, grown
