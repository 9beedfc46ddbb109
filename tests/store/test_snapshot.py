"""A snapshot is named by what it pins, and notices what changed."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import rfc8785

from jurat.errors import IntegrityError
from jurat.store.snapshot import DataFile, Snapshot, TableVersion, sha256_of


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    tables = {}
    for table in ("b", "a"):
        (tmp_path / table).mkdir()
        files = []
        for i in range(2):
            path = tmp_path / table / f"{i}.parquet"
            path.write_bytes(f"{table}{i}".encode())
            files.append(DataFile(path=f"{table}/{i}.parquet", size=2, sha256=sha256_of(path), rows=i))
        tables[table] = TableVersion(version=3, files=tuple(files))
    return Snapshot(tables=tables, created="2026-11-02T09:00:00+00:00", note="first")


def test_the_id_is_sha256_of_rfc_8785_json_of_what_is_pinned(snapshot: Snapshot) -> None:
    content = {
        name: {
            "version": 3,
            "files": [
                {
                    "path": f"{name}/{i}.parquet",
                    "size": 2,
                    "sha256": hashlib.sha256(f"{name}{i}".encode()).hexdigest(),
                    "rows": i,
                }
                for i in range(2)
            ],
        }
        for name in ("a", "b")
    }
    assert snapshot.id == hashlib.sha256(rfc8785.dumps(content)).hexdigest()


def test_the_order_in_which_tables_were_given_does_not_count(snapshot: Snapshot) -> None:
    turned = Snapshot(tables=dict(reversed(list(snapshot.tables.items()))), created=snapshot.created, note="second")
    assert turned.id == snapshot.id


def test_it_survives_json(snapshot: Snapshot, tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_text(json.dumps(snapshot.to_json()))
    assert Snapshot.load(path) == snapshot


def test_untouched_files_verify(snapshot: Snapshot, tmp_path: Path) -> None:
    snapshot.verify(tmp_path)


def test_the_first_changed_or_missing_file_is_named(snapshot: Snapshot, tmp_path: Path) -> None:
    (tmp_path / "b" / "1.parquet").unlink()
    with pytest.raises(IntegrityError, match=r"b/1\.parquet of table b is missing"):
        snapshot.verify(tmp_path)
    (tmp_path / "a" / "1.parquet").write_bytes(b"a2")
    with pytest.raises(IntegrityError, match=r"a/1\.parquet of table a changed"):
        snapshot.verify(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["tables"]["a"].update(version=4),
        lambda d: d["tables"]["a"]["files"].pop(),
        lambda d: d["tables"]["a"]["files"].reverse(),
        lambda d: d["tables"]["a"]["files"][0].update(rows=9),
        lambda d: d["tables"].pop("b"),
        lambda d: d.update(id="0" * 64),
    ],
)
def test_an_altered_document_is_refused(snapshot: Snapshot, change: Any) -> None:
    document = copy.deepcopy(snapshot.to_json())
    change(document)
    with pytest.raises(IntegrityError, match="altered"):
        Snapshot.from_json(document)


@pytest.mark.parametrize("path", ["/etc/passwd", "../outside.parquet", "a/../../outside.parquet"])
def test_a_document_that_names_files_outside_the_lake_is_refused(path: str) -> None:
    file = DataFile(path=path, size=1, sha256="0" * 64, rows=1)
    sent = Snapshot(tables={"a": TableVersion(version=1, files=(file,))}, created="").to_json()
    with pytest.raises(IntegrityError, match="outside its lake"):
        Snapshot.from_json(sent)


@pytest.mark.parametrize("document", [{}, [], {"tables": 3}, {"tables": {"a": {"version": 1, "files": [{"path": 1}]}}}])
def test_a_document_that_is_no_snapshot_is_refused(document: Any) -> None:
    with pytest.raises(IntegrityError, match="not a snapshot"):
        Snapshot.from_json(document)


def test_a_file_that_is_not_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_bytes(b'{"tab')
    with pytest.raises(IntegrityError, match="cannot be read"):
        Snapshot.load(tmp_path / "s.json")
