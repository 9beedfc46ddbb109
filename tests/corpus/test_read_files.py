"""Which files are read, how they are called, how they are dealt out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jurat.corpus.files import InputFile, find_files, partition
from jurat.errors import DataError, UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, size in (("b.txt", 10), ("a/x.txt", 300), ("a/y.jsonl.gz", 200), ("c/x.txt", 100), ("c/d/z.WARC.GZ", 50)):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
    return tmp_path / "in"


def test_a_folder_is_laid_out_in_order_of_name_with_kinds_and_packings(folder: Path) -> None:
    assert [(file.name, file.kind, file.packing, file.size) for file in find_files(folder)] == [
        ("a/x.txt", "text", "", 300), ("a/y.jsonl.gz", "jsonl", "gz", 200), ("b.txt", "text", "", 10),
        ("c/d/z.WARC.GZ", "warc", "gz", 50), ("c/x.txt", "text", "", 100),
    ]  # fmt: skip
    assert {file.dataset for file in find_files(folder)} == {"in"}


def test_order_of_inputs_and_of_the_disk_do_not_matter(folder: Path) -> None:
    inputs = [folder / "a", folder / "c", folder / "b.txt"]
    assert find_files(inputs) == find_files(inputs[::-1])


def test_names_that_coincide_take_in_folders_until_they_differ(folder: Path) -> None:
    assert [file.name for file in find_files([folder / "a", folder / "c"])] == [
        "a/x.txt", "c/x.txt", "d/z.WARC.GZ", "y.jsonl.gz",
    ]  # fmt: skip
    assert [file.name for file in find_files([folder / "a/x.txt", folder / "c/x.txt"])] == ["a/x.txt", "c/x.txt"]


def test_patterns_match_at_any_depth_and_are_named_from_their_fixed_part(folder: Path) -> None:
    assert [file.name for file in find_files(str(folder / "**/*.txt"))] == ["a/x.txt", "b.txt", "c/x.txt"]
    assert [file.name for file in find_files(str(folder / "c*"))] == ["c/d/z.WARC.GZ", "c/x.txt"]


def test_a_relative_path_names_files_like_an_absolute_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [(file.name, file.dataset) for file in find_files(folder)]
    monkeypatch.chdir(folder)
    assert [(file.name, file.dataset) for file in find_files(".")] == expected


def test_a_file_is_read_once_however_many_ways_lead_to_it(folder: Path) -> None:
    (folder / "link.txt").symlink_to(folder / "b.txt")
    os.link(folder / "b.txt", folder / "twin.txt")
    names = [file.name for file in find_files([folder, folder / "b.txt", str(folder / "*.txt")])]
    assert names == ["a/x.txt", "a/y.jsonl.gz", "b.txt", "c/d/z.WARC.GZ", "c/x.txt", "twin.txt"]


def test_names_that_are_no_utf8_are_written_as_escapes(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.txt")).write_text("text")
    assert "caf\\xe9.txt" in [file.name for file in find_files(folder)]


def test_a_file_whose_name_looks_like_a_pattern_is_itself(folder: Path) -> None:
    (folder / "b[1].txt").write_text("text")
    assert [file.name for file in find_files(folder / "b[1].txt")] == ["b[1].txt"]


def test_missing_inputs_are_refused_with_a_near_name(folder: Path) -> None:
    with pytest.raises(DataError, match=r"did you mean '.*b\.txt'"):
        find_files(folder / "b.text")
    with pytest.raises(DataError, match="matches no file"):
        find_files(str(folder / "*.parquet"))
    with pytest.raises(DataError, match="no such file"):
        find_files("/no/such/folder/at/all")


@pytest.mark.parametrize("shards", [1, 2, 3, 7])
def test_shards_hold_every_file_once_and_none_is_much_larger_than_it_must_be(folder: Path, shards: int) -> None:
    dealt = partition(folder, shards)
    assert sorted((file for files in dealt for file in files), key=lambda file: file.name) == find_files(folder)
    loads = [sum(file.size for file in files) for files in dealt]
    assert max(loads) <= 4 / 3 * max(660 / shards, 300) + 5


def test_files_that_were_dealt_keep_their_names_when_found_again(folder: Path) -> None:
    for files in partition([folder / "a", folder / "c"], 2):
        assert find_files(files) == files
        assert all(isinstance(file, InputFile) for file in files)


def test_less_than_one_shard_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="at least one shard"):
        partition(folder, 0)
