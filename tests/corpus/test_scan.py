"""A scan gives the same bytes however the work is divided, survives a kill, and accounts for what it met."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jurat.corpus.benchmarks import BenchmarkSource
from jurat.corpus.scan import scan
from jurat.corpus.scan_spec import ScanSpec
from jurat.corpus.shards import ShardFolder
from jurat.corpus.texts import sample_of, texts_of
from jurat.errors import DataError, IntegrityError, UnknownName
from jurat.text.column import TextColumn
from jurat.text.minhash import band_keys, signatures
from jurat.text.words import hash_words
from tests.corpus.case import write_corpus, write_items


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus") / "web"
    write_corpus(folder)
    return folder


def test_one_two_and_seven_workers_write_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    digests = {
        workers: scan([corpus], tmp_path / str(workers), workers=workers, unit_bytes=1).digest for workers in (1, 2, 7)
    }
    assert len(set(digests.values())) == 1
    first, last = (sorted((tmp_path / w / "shards").glob("*.parquet")) for w in ("1", "7"))
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in last]


def test_the_columns_do_not_depend_on_how_files_are_grouped(corpus: Path, tmp_path: Path) -> None:
    tables = []
    for place, unit in enumerate((1, 60_000, 1 << 30)):
        scan([corpus], tmp_path / str(place), workers=1, unit_bytes=unit)
        folder = ShardFolder(tmp_path / str(place))
        names = pq.read_schema(folder.files()[0]).names
        tables.append(folder.column(*names).combine_chunks())
    assert tables[0].equals(tables[1]) and tables[0].equals(tables[2])


def test_what_was_met_is_read_or_quarantined(corpus: Path, tmp_path: Path) -> None:
    found = scan([corpus], tmp_path / "out", workers=1)
    documents = write_corpus(tmp_path / "again")
    assert found.n_met == len(documents) == found.n_read + found.n_quarantined
    assert found.n_quarantined == 6 and found.reasons == {"empty": 6}
    assert found.n_bytes == sum(len(d["text"].encode()) for d in documents)


def test_bands_and_signatures_are_those_of_the_kernels(corpus: Path, tmp_path: Path) -> None:
    scan([corpus], tmp_path / "out", workers=1)
    folder = ShardFolder(tmp_path / "out")
    table = folder.column("doc_id", "status", "n_words", "band_00", "band_13", "sha256")
    texts = texts_of(folder, range(len(table)))
    rows = sorted(texts)
    keys = band_keys(signatures(hash_words(TextColumn.of([texts[r] for r in rows]))))
    assert table["band_00"].take(pa.array(rows)).to_pylist() == keys[:, 0].tolist()
    assert table["band_13"].take(pa.array(rows)).to_pylist() == keys[:, 13].tolist()
    assert [r for r, s in enumerate(table["status"].to_pylist()) if s == "read"] == rows


def test_a_finished_scan_is_confirmed_not_made_again(corpus: Path, tmp_path: Path) -> None:
    first = scan([corpus], tmp_path / "out", workers=1, unit_bytes=1)
    again = scan([corpus], tmp_path / "out", workers=1, unit_bytes=1)
    assert (first.n_reused, again.n_reused, again.digest) == (0, 6, first.digest)
    changed = scan([corpus], tmp_path / "out", ScanSpec(sample=5), workers=1, unit_bytes=1)
    assert changed.n_reused == 0


def test_a_shard_that_was_altered_is_found_and_made_again(corpus: Path, tmp_path: Path) -> None:
    first = scan([corpus], tmp_path / "out", workers=1, unit_bytes=1)
    folder = ShardFolder(tmp_path / "out")
    shard = folder.files()[2]
    shard.write_bytes(shard.read_bytes()[:-9] + b"x" * 9)
    with pytest.raises(IntegrityError, match="not what was written"):
        folder.manifest(verify=True)
    again = scan([corpus], tmp_path / "out", workers=1, unit_bytes=1)
    assert (again.n_reused, again.digest) == (5, first.digest)
    manifest = tmp_path / "out" / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"rows":44', b'"rows":45', 1))
    with pytest.raises(IntegrityError, match="manifest has been changed"):
        folder.manifest()


_RUN = """
import sys
from pathlib import Path
from jurat.corpus.scan import scan
scan([Path(sys.argv[1])], Path(sys.argv[2]), workers=1, unit_bytes=1)
"""


def test_a_kill_at_any_moment_leaves_whole_shards_and_the_next_run_goes_on(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    expected = scan([corpus], tmp_path / "whole", workers=1, unit_bytes=1).digest
    for attempt in range(6):
        process = subprocess.Popen([sys.executable, "-c", _RUN, str(corpus), str(out)])
        deadline = time.monotonic() + 30
        # Each run is let get one shard further than the last, then killed at another moment of the next one.
        while (
            len(list(out.glob("shards/*.json"))) <= attempt and time.monotonic() < deadline and process.poll() is None
        ):
            time.sleep(0.002)
        time.sleep(0.004 * attempt)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for record in out.glob("shards/part-*.json"):
            assert json.loads(record.read_bytes())["rows"] >= 44
            assert pq.read_table(record.with_suffix(".parquet")).num_rows == json.loads(record.read_bytes())["rows"]
    assert scan([corpus], out, workers=1, unit_bytes=1).digest == expected
    assert not list(out.glob("shards/.*"))


def test_the_sample_is_uniform_and_the_same_for_any_number_of_shards(corpus: Path, tmp_path: Path) -> None:
    samples = []
    for place, unit in enumerate((1, 1 << 30)):
        spec = ScanSpec(sample=20)
        scan([corpus], tmp_path / str(place), spec, workers=1, unit_bytes=unit)
        samples.append(sample_of(ShardFolder(tmp_path / str(place))))
    many, one = samples
    assert many.doc_id[: len(one)][:10] == one.doc_id[:10]
    assert 0 < one.probability < many.probability < 1
    folder = ShardFolder(tmp_path / "0")
    ids = folder.column("doc_id")["doc_id"].to_pylist()
    texts = texts_of(folder, many.rows)
    assert all(ids[row] == name and texts[int(row)] == text
               for row, name, text in zip(many.rows, many.doc_id, many.text, strict=True))  # fmt: skip


def test_an_input_that_changed_is_not_read_in_its_place(tmp_path: Path) -> None:
    write_corpus(tmp_path / "web", files=2)
    scan([tmp_path / "web"], tmp_path / "out", workers=1)
    with (tmp_path / "web" / "part0.jsonl").open("a") as stream:
        stream.write('{"text": "one more"}\n')
    with pytest.raises(DataError, match="gone or has changed"):
        texts_of(ShardFolder(tmp_path / "out"), [0])


def test_ids_that_stand_in_two_files_are_an_error(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text('{"text": "some words here", "key": "same"}\n')
    with pytest.raises(DataError, match="1 ids stand for more than one document") as error:
        scan([tmp_path], tmp_path / "out", ScanSpec(id_field="key"), workers=1)
    assert "'same'" in str(error.value)


def test_errors_of_worker_processes_come_back_as_themselves(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.jsonl").write_text('{"txt": "some words"}\n')
    with pytest.raises(UnknownName, match="did you mean 'txt'"):
        scan([tmp_path], tmp_path / "out", workers=2, unit_bytes=1)


def test_nothing_read_is_an_error_that_says_why(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"txt": "some words"}\n')
    with pytest.raises(DataError, match="none of 1 records"):
        scan([tmp_path], tmp_path / "out", ScanSpec(missing_text="quarantine"), workers=1)


def test_unfinished_and_missing_scans_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no scan in this folder"):
        ShardFolder(tmp_path).manifest()
    (tmp_path / "shards").mkdir()
    with pytest.raises(DataError, match="not finished"):
        ShardFolder(tmp_path).manifest()


def test_benchmarks_are_part_of_what_a_shard_is_made_from(corpus: Path, tmp_path: Path) -> None:
    items = write_items(tmp_path)
    scan([corpus], tmp_path / "out", workers=1)
    spec = ScanSpec(benchmarks=(BenchmarkSource(name="b", path=items),))
    assert scan([corpus], tmp_path / "out", spec, workers=1).n_reused == 0
    assert scan([corpus], tmp_path / "out", spec, workers=1).n_reused == 1
    items.write_text(items.read_text() + '{"question": "another one of them"}\n')
    assert scan([corpus], tmp_path / "out", spec, workers=1).n_reused == 0
