"""The lake: what was appended is there once, in order, durably; what is pinned stays."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

from jurat.errors import DataError, EngineError, IntegrityError, UnknownName, UsageError
from jurat.store import parquet_files
from jurat.store.content import content_digest
from jurat.store.lake import Lake
from jurat.store.schema import TABLES, conform, schema_of
from jurat.store.snapshot import sha256_of
from jurat.store.table_log import CHECKPOINT_EVERY

TABLE = "exposures"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake", wait_seconds=0.05)


def _rows(*units: int) -> pa.Table:
    return conform(pa.table({"unit_id": [f"u{i}" for i in units]}), schema_of(TABLE), table=TABLE)


def _units(lake: Lake, version: int | None = None) -> list[int]:
    return [int(unit[1:]) for unit in lake.read(TABLE, version=version)["unit_id"].to_pylist()]


def _parquet(lake: Lake) -> set[str]:
    return {path.name for path in (lake.root / TABLE).glob("*.parquet")}


# Appending ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", sorted(TABLES))
def test_every_table_gives_back_what_it_was_given(lake: Lake, table: str) -> None:
    schema = TABLES[table]
    row = {field.name: _example(field.type) for field in schema}
    data = pa.Table.from_pylist([row, dict.fromkeys(row)], schema=schema)
    lake.append(table, data)
    assert lake.read(table).equals(data)
    assert lake.content_digest(table) == content_digest(data)


def _example(kind: pa.DataType) -> object:
    if pa.types.is_list(kind):
        return [0.5, None]
    for is_of, value in ((pa.types.is_string, "ä'\"\x00"), (pa.types.is_boolean, True), (pa.types.is_floating, 0.1)):
        if is_of(kind):
            return value
    return 1_700_000_000


def test_rows_keep_the_order_of_their_appends(lake: Lake) -> None:
    for i in range(12):
        lake.append(TABLE, _rows(*range(i * 3, i * 3 + 3)))
    assert _units(lake) == list(range(36))


def test_order_does_not_depend_on_the_clock(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    for i, clock in enumerate((2e9, 1e9, 1.5e9)):
        monkeypatch.setattr("time.time", lambda clock=clock: clock)
        lake.append(TABLE, _rows(i))
    assert _units(lake) == [0, 1, 2]


def test_versions_are_read_as_they_were(lake: Lake) -> None:
    versions = [lake.append(TABLE, _rows(i)) for i in range(3)]
    assert versions == [1, 2, 3]
    assert [_units(lake, v) for v in (0, *versions)] == [[], [0], [0, 1], [0, 1, 2]]
    with pytest.raises(DataError, match="version 9"):
        lake.read(TABLE, version=9)


def test_batches_are_streamed_into_row_groups_of_a_useful_size(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_files, "GROUP_ROWS", 100)
    batches = (_rows(*range(i * 10, i * 10 + 10)).to_batches()[0] for i in range(25))
    lake.append(TABLE, pa.RecordBatchReader.from_batches(schema_of(TABLE), batches))
    (path,) = lake.paths(TABLE)
    metadata = pq.read_metadata(path)
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [100, 100, 50]
    assert _units(lake) == list(range(250))


def test_a_long_stream_never_lies_in_memory_whole(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_files, "GROUP_BYTES", 1 << 20)
    held: list[int] = []
    text = "x" * 10_000

    def batches() -> Iterator[pa.RecordBatch]:
        for _ in range(300):
            held.append(pa.total_allocated_bytes())
            yield pa.record_batch({"span_id": ["s"] * 20, "prompt": [text] * 20})

    before = pa.total_allocated_bytes()
    lake.append("span_text", batches())
    assert lake.describe("span_text")["rows"] == 6_000
    assert max(held) - before < 20 << 20, "60 MB were streamed"


def test_a_transaction_is_applied_once(lake: Lake) -> None:
    first = lake.append(TABLE, _rows(1), transaction=("wal", 7))
    assert lake.append(TABLE, _rows(1), transaction=("wal", 7)) == first
    assert lake.append(TABLE, _rows(1), transaction=("wal", 3)) == first
    lake.append(TABLE, _rows(2), transaction=("other", 1))
    lake.append(TABLE, _rows(3), transaction=("wal", 8))
    assert _units(Lake(lake.root)) == [1, 2, 3]


def test_a_transaction_is_remembered_across_checkpoint_and_compaction(lake: Lake) -> None:
    lake.append(TABLE, _rows(0), transaction=("wal", 1))
    for i in range(1, CHECKPOINT_EVERY + 2):
        lake.append(TABLE, _rows(i))
    lake.compact(TABLE)
    before = lake.version(TABLE)
    assert (lake.root / TABLE / "_delta_log" / "_last_checkpoint").is_file()
    assert Lake(lake.root).append(TABLE, _rows(0), transaction=("wal", 1)) == before
    assert _units(lake) == list(range(CHECKPOINT_EVERY + 2))


def test_an_empty_append_records_its_transaction(lake: Lake) -> None:
    lake.append(TABLE, _rows(), transaction=("wal", 1))
    assert lake.paths(TABLE) == []
    assert lake.read(TABLE).equals(schema_of(TABLE).empty_table())
    assert lake.append(TABLE, _rows(1), transaction=("wal", 1)) == 1
    assert _units(lake) == []


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (pa.table({"unit": ["u"]}), UnknownName),
        (pa.table({"ts": ["noon"]}), DataError),
    ],
)
def test_a_refused_append_leaves_nothing(lake: Lake, data: pa.Table, error: type[Exception]) -> None:
    with pytest.raises(error):
        lake.append(TABLE, data)
    assert lake.tables() == []
    lake.append(TABLE, _rows(1))
    with pytest.raises(error):
        lake.append(TABLE, [_rows(2).to_batches()[0], data.to_batches()[0]])
    assert lake.version(TABLE) == 1
    assert len(_parquet(lake)) == 1


def test_metadata_and_content_digest_stay_with_the_commit(lake: Lake) -> None:
    rows = _rows(1, 2)
    lake.append(TABLE, rows, metadata={"source": "a.csv", "timestamp": "a reserved name"})
    assert lake.commits(TABLE)[1].metadata == {
        "source": "a.csv",
        "timestamp": "a reserved name",
        "rows": "2",
        "content_digest": content_digest(rows),
    }


def test_a_promise_about_the_content_is_held(lake: Lake) -> None:
    lake.append(TABLE, _rows(1), metadata={"content_digest": content_digest(_rows(1))})
    with pytest.raises(IntegrityError, match="promised"):
        lake.append(TABLE, _rows(2), metadata={"content_digest": content_digest(_rows(3))})
    assert _units(lake) == [1]
    assert len(_parquet(lake)) == 1


@settings(deadline=None, max_examples=8)
@given(cuts=st.lists(st.integers(1, 5), min_size=1, max_size=4), compacted=st.booleans())
def test_the_same_rows_have_the_same_digest_however_they_were_appended(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], compacted: bool
) -> None:
    rows = _rows(*range(sum(cuts)))
    lake, start = Lake(tmp_path_factory.mktemp("lake")), 0
    for size in cuts:
        lake.append(TABLE, rows.slice(start, size))
        start += size
    if compacted:
        lake.compact(TABLE)
    assert lake.content_digest(TABLE) == content_digest(rows)


# Durability -----------------------------------------------------------------------------------------------------------


class _Syncs:
    """What was synced, in order, and which log entries existed at that time."""

    def __init__(self, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[tuple[Path, int]] = []
        sync, log = os.fsync, lake.root / TABLE / "_delta_log"

        def record(descriptor: int) -> None:
            sync(descriptor)
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            self.seen.append((path, len(list(log.glob("*.json")))))

        monkeypatch.setattr(os, "fsync", record)

    def entries_when(self, path: Path) -> list[int]:
        return [entries for seen, entries in self.seen if seen == path]


@pytest.mark.parametrize("fresh", [True, False])
def test_data_are_synced_before_the_log_names_them_and_the_log_before_the_append_returns(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, fresh: bool
) -> None:
    if not fresh:
        lake.append(TABLE, _rows(0))
    syncs = _Syncs(lake, monkeypatch)
    version = lake.append(TABLE, _rows(1))
    folder = lake.root / TABLE
    entries_before = 0 if fresh else version
    data = Path(lake.paths(TABLE)[-1])
    assert syncs.entries_when(data) == [entries_before]
    assert entries_before in syncs.entries_when(folder), "the file's name, before the log names it"
    assert syncs.entries_when(folder / "_delta_log" / f"{version:020d}.json") == [version + 1]
    assert syncs.entries_when(folder / "_delta_log")[-1] == version + 1
    assert syncs.entries_when(lake.root)[-1] == version + 1


def test_compaction_syncs_the_new_file_before_the_log_names_it(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(3):
        lake.append(TABLE, _rows(i))
    syncs = _Syncs(lake, monkeypatch)
    lake.compact(TABLE)
    (path,) = lake.paths(TABLE)
    assert syncs.entries_when(Path(path)) == [4]
    assert syncs.entries_when(lake.root / TABLE / "_delta_log" / f"{4:020d}.json") == [5]


def test_what_a_killed_writer_left_in_the_log_is_synced_before_it_is_built_on(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.append(TABLE, _rows(1), transaction=("wal", 1))
    entry = lake.root / TABLE / "_delta_log" / f"{1:020d}.json"
    acts: list[Callable[[Lake], object]] = [
        lambda fresh: fresh.append(TABLE, _rows(1), transaction=("wal", 1)),
        lambda fresh: fresh.snapshot(),
        lambda fresh: fresh.append(TABLE, _rows(2)),
    ]
    for act in acts:
        syncs = _Syncs(lake, monkeypatch)
        act(Lake(lake.root))
        assert entry in [path for path, _ in syncs.seen]


def test_files_that_no_log_entry_names_are_invisible_and_go_with_the_next_vacuum(lake: Lake) -> None:
    lake.append(TABLE, _rows(1))
    orphan = lake.root / TABLE / parquet_files.file_name(2, 0)
    shutil.copy(lake.paths(TABLE)[0], orphan)
    torn = lake.root / TABLE / parquet_files.file_name(2, 1)
    torn.write_bytes(b"PAR1 torn")
    assert _units(lake) == [1]
    assert set(lake.vacuum(TABLE, retain_hours=0)) == {orphan.name, torn.name}
    assert orphan.exists()
    lake.vacuum(TABLE, retain_hours=0, dry_run=False)
    assert not orphan.exists()
    assert not torn.exists()
    assert _units(lake) == [1]


def test_a_folder_without_a_log_is_no_table_and_can_become_one(lake: Lake) -> None:
    (lake.root / TABLE / "_delta_log").mkdir(parents=True)
    assert lake.tables() == []
    with pytest.raises(UnknownName):
        lake.read(TABLE)
    assert lake.append(TABLE, _rows(1)) == 1


def test_a_damaged_file_is_told_not_read(lake: Lake) -> None:
    lake.append(TABLE, _rows(1, 2))
    path = Path(lake.paths(TABLE)[0])
    pq.write_table(_rows(1), path)
    with pytest.raises(IntegrityError, match="1 rows instead of 2"):
        lake.read(TABLE)
    path.write_bytes(b"PAR1")
    with pytest.raises(IntegrityError, match=path.name):
        lake.read(TABLE)
    path.unlink()
    with pytest.raises(IntegrityError, match=path.name):
        lake.read(TABLE)


# Writers side by side -------------------------------------------------------------------------------------------------


def test_concurrent_writers_lose_nothing(lake: Lake) -> None:
    def work(worker: int) -> None:
        own = Lake(lake.root)
        for i in range(8):
            own.append(TABLE, _rows(worker * 100 + i), transaction=(f"worker-{worker}", i + 1))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    units = _units(lake)
    assert sorted(units) == sorted(w * 100 + i for w in range(4) for i in range(8))
    for worker in range(4):
        assert [u for u in units if u // 100 == worker] == [worker * 100 + i for i in range(8)]
    assert lake.version(TABLE) == 32


def test_a_second_writer_is_told_who_is_in_its_way(lake: Lake) -> None:
    started, finish = threading.Event(), threading.Event()

    def slowly() -> Iterator[pa.RecordBatch]:
        started.set()
        finish.wait(10)
        yield _rows(1).to_batches()[0]

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(lake.append, TABLE, slowly())
        started.wait(10)
        with pytest.raises(EngineError, match="another writer"):
            Lake(lake.root, wait_seconds=0.01).append(TABLE, _rows(2))
        finish.set()
        assert first.result() == 1
    assert _units(lake) == [1]


def test_readers_do_not_wait_for_writers(lake: Lake) -> None:
    lake.append(TABLE, _rows(1))
    with lake._locked("commit"):
        assert _units(lake) == [1]
        assert lake.tables() == [TABLE]


def test_appends_do_not_wait_for_the_hashing_of_a_snapshot(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.append(TABLE, _rows(1))

    def hash_during_an_append(path: Path) -> str:
        if lake.version(TABLE) == 1:
            Lake(lake.root, wait_seconds=0).append(TABLE, _rows(2))
            with pytest.raises(EngineError):
                Lake(lake.root, wait_seconds=0).vacuum(TABLE, retain_hours=0)
        return sha256_of(path)

    monkeypatch.setattr("jurat.store.lake.sha256_of", hash_during_an_append)
    snapshot = lake.snapshot()
    assert snapshot.tables[TABLE].version == 1
    assert _units(lake) == [1, 2]


# Tables of one's own --------------------------------------------------------------------------------------------------


def test_a_table_of_ones_own_is_made_appended_to_and_read(lake: Lake) -> None:
    schema = pa.schema({"node": pa.string(), "weights": pa.list_(pa.float64()), "day": pa.date32()})
    assert lake.create("graph", schema) == 0
    assert lake.create("graph", schema) == 0
    data = pa.Table.from_pylist([{"node": "a", "weights": [1.0]}], schema=schema)
    lake.append("graph", data)
    assert lake.read("graph").equals(data)
    assert lake.read("graph", columns=["weights"]).to_pylist() == [{"weights": [1.0]}]


def test_a_table_is_not_made_twice_with_different_schemas(lake: Lake) -> None:
    lake.create("graph", pa.schema({"node": pa.string()}))
    with pytest.raises(DataError, match="another schema"):
        lake.create("graph", pa.schema({"node": pa.int64()}))
    with pytest.raises(DataError, match="another schema"):
        lake.create("spans", pa.schema({"node": pa.int64()}))
    assert lake.tables() == ["graph"]


@pytest.mark.parametrize("kind", [pa.uint8(), pa.large_string(), pa.timestamp("ns"), pa.float16(), pa.duration("us")])
def test_a_type_that_would_change_on_the_way_is_refused(lake: Lake, kind: pa.DataType) -> None:
    with pytest.raises(DataError, match="cannot hold"):
        lake.create("graph", pa.schema({"x": kind}))
    assert lake.tables() == []


@pytest.mark.parametrize("name", ["", "../spans", "a/b", "A", "_snapshots", "x" * 64, ".", "a b"])
def test_a_name_that_could_leave_the_lake_is_refused(lake: Lake, name: str) -> None:
    with pytest.raises(UsageError):
        lake.create(name, pa.schema({"x": pa.int64()}))
    for act in (lake.read, lake.version, lake.compact, lambda n: lake.append(n, _rows(1))):
        with pytest.raises(UnknownName):
            act(name)
    assert lake.tables() == []


# Snapshots ------------------------------------------------------------------------------------------------------------


def test_the_same_state_has_the_same_snapshot_and_keeps_its_first_note(lake: Lake) -> None:
    lake.append(TABLE, _rows(1))
    first = lake.snapshot(note="first")
    assert lake.snapshot(note="second") == first
    lake.append(TABLE, _rows(2))
    second = lake.snapshot()
    assert second.id != first.id
    assert {s.id for s in lake.snapshots()} == {first.id, second.id}
    assert lake.open_snapshot(first.id) == first
    assert lake.files(TABLE, 1) == first.tables[TABLE].files


def test_a_snapshot_pins_the_tables_it_was_asked_for(lake: Lake) -> None:
    lake.append(TABLE, _rows(1))
    lake.append("scores", pa.table({"score_id": ["a"]}))
    assert set(lake.snapshot().tables) == {TABLE, "scores"}
    assert set(lake.snapshot(["scores"]).tables) == {"scores"}
    with pytest.raises(UnknownName):
        lake.snapshot(["score"])


def test_an_empty_lake_cannot_be_pinned(lake: Lake) -> None:
    with pytest.raises(DataError, match="nothing to pin"):
        lake.snapshot()


def test_a_pinned_version_outlives_compaction_and_vacuum_until_it_is_released(lake: Lake) -> None:
    for i in range(4):
        lake.append(TABLE, _rows(i))
    snapshot = lake.snapshot()
    digest = lake.content_digest(TABLE)
    lake.append(TABLE, _rows(4))
    assert lake.compact(TABLE) == 4
    lake.vacuum(TABLE, retain_hours=0, dry_run=False)
    snapshot.verify(lake.root)
    assert _units(lake, snapshot.tables[TABLE].version) == [0, 1, 2, 3]
    assert lake.content_digest(TABLE, snapshot.tables[TABLE].version) == digest
    paths = snapshot.paths(TABLE, lake.root)
    assert duckdb.read_parquet(paths).aggregate("COUNT(*)").fetchall() == [(4,)]

    lake.release_snapshot(snapshot.id)
    lake.vacuum(TABLE, retain_hours=0, dry_run=False)
    with pytest.raises(IntegrityError, match="missing"):
        snapshot.verify(lake.root)
    assert _units(lake) == [0, 1, 2, 3, 4]
    assert len(_parquet(lake)) == 1


def test_vacuum_removes_nothing_younger_than_the_retention_and_nothing_unless_told(lake: Lake) -> None:
    for i in range(3):
        lake.append(TABLE, _rows(i))
    lake.compact(TABLE)
    assert lake.vacuum(TABLE, dry_run=False) == []
    assert len(lake.vacuum(TABLE, retain_hours=0)) == 3
    assert len(_parquet(lake)) == 4
    with pytest.raises(UsageError):
        lake.vacuum(TABLE, retain_hours=-1)


def test_vacuum_refuses_while_a_snapshot_cannot_be_read(lake: Lake) -> None:
    lake.append(TABLE, _rows(1))
    snapshot = lake.snapshot()
    (lake.root / "_snapshots" / f"{snapshot.id}.json").write_text("{}")
    with pytest.raises(IntegrityError):
        lake.vacuum(TABLE, retain_hours=0, dry_run=False)


@pytest.mark.parametrize("identifier", ["", "../../outside", "0" * 64, "*"])
def test_releasing_a_snapshot_touches_no_other_file(lake: Lake, tmp_path: Path, identifier: str) -> None:
    lake.append(TABLE, _rows(1))
    lake.snapshot()
    (tmp_path / "outside.json").write_text("{}")
    with pytest.raises(UnknownName):
        lake.release_snapshot(identifier)
    assert (tmp_path / "outside.json").exists()
    assert len(lake.snapshots()) == 1


# Compaction -----------------------------------------------------------------------------------------------------------


def test_compaction_keeps_every_row_in_its_place(lake: Lake) -> None:
    for i in range(5):
        lake.append(TABLE, _rows(i * 2, i * 2 + 1))
    digest = lake.content_digest(TABLE)
    assert lake.compact(TABLE) == 4
    assert lake.compact(TABLE) == 0
    assert _units(lake) == list(range(10))
    assert lake.content_digest(TABLE) == digest
    lake.append(TABLE, _rows(10))
    lake.compact(TABLE)
    assert _units(lake) == list(range(11))


def test_rows_keep_their_place_where_only_some_files_are_small(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [1, 1, 400, 1, 1, 1]
    start = 0
    for size in sizes:
        lake.append(TABLE, _rows(*range(start, start + size)))
        start += size
    small = max(Path(p).stat().st_size for i, p in enumerate(lake.paths(TABLE)) if sizes[i] == 1)
    monkeypatch.setattr("jurat.store.compaction.SMALL_FILE_BYTES", small + 1)
    assert lake.compact(TABLE) == 3
    assert lake.describe(TABLE)["files"] == 3
    assert _units(lake) == list(range(start))


def test_compaction_sorts_where_it_is_asked_to(lake: Lake) -> None:
    for units in ((3, 1), (2,), (5, 4)):
        lake.append(TABLE, _rows(*units))
    lake.compact(TABLE, sort_by=["unit_id"])
    assert _units(lake) == [1, 2, 3, 4, 5]
    with pytest.raises(UnknownName, match="unit_id"):
        lake.compact(TABLE, sort_by=["unit"])


def test_compaction_of_a_damaged_file_changes_nothing(lake: Lake) -> None:
    lake.append(TABLE, _rows(1, 2))
    lake.append(TABLE, _rows(3))
    pq.write_table(_rows(1), lake.paths(TABLE)[0])
    with pytest.raises(IntegrityError):
        lake.compact(TABLE)
    assert lake.version(TABLE) == 2
    assert len(_parquet(lake)) == 2


def test_an_old_version_can_be_read_after_a_checkpoint(lake: Lake) -> None:
    for i in range(CHECKPOINT_EVERY + 3):
        lake.append(TABLE, _rows(i))
    assert _units(lake, 7) == list(range(7))
    assert _units(lake) == list(range(CHECKPOINT_EVERY + 3))


# Others read the same bytes -------------------------------------------------------------------------------------------


def test_delta_rs_and_duckdb_read_the_lake_as_it_is(lake: Lake) -> None:
    for i in range(3):
        lake.append(TABLE, _rows(i))
    lake.compact(TABLE)
    lake.append(TABLE, _rows(3))
    assert DeltaTable(lake.root / TABLE).to_pyarrow_table().num_rows == 4
    counted = duckdb.sql(f"SELECT COUNT(DISTINCT unit_id) FROM read_parquet({lake.paths(TABLE)!r})").fetchall()
    assert counted == [(4,)]


def test_a_folder_that_looks_like_a_partition_does_not_change_the_rows(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "arm=treated" / "lake")
    lake.append(TABLE, pa.table({"unit_id": ["u"], "arm": ["control"]}))
    assert lake.read(TABLE)["arm"].to_pylist() == ["control"]


def test_describe_counts_what_is_live(lake: Lake) -> None:
    lake.append(TABLE, _rows(1, 2))
    lake.append(TABLE, _rows(3))
    seen = lake.describe(TABLE)
    assert (seen["table"], seen["version"], seen["files"], seen["rows"]) == (TABLE, 2, 2, 3)
    assert seen["bytes"] == sum(Path(path).stat().st_size for path in lake.paths(TABLE))
    assert json.dumps(seen)


def test_reading_a_column_that_is_not_there_names_the_near_one(lake: Lake) -> None:
    lake.append(TABLE, _rows(1))
    with pytest.raises(UnknownName, match="did you mean 'unit_id'"):
        lake.read(TABLE, columns=["unit_ids"])
