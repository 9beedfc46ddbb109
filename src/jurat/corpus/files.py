"""Which files a corpus consists of: folders and patterns laid out in a fixed order, named, split into shards.

A file's name, and so the identity of its documents, is made once from all inputs together. However the files are then
dealt out to shards, every document keeps its identity.
"""

from __future__ import annotations

import difflib
import glob
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from jurat.errors import DataError, UsageError

__all__ = ["InputFile", "Inputs", "find_files", "partition"]

_SUFFIXES = {
    "warc": "warc", "wet": "warc",
    "html": "html", "htm": "html", "xhtml": "html", "xht": "html",
    "jsonl": "jsonl", "ndjson": "jsonl", "json": "json",
    "parquet": "parquet", "pq": "parquet",
    "csv": "csv", "tsv": "tsv",
}  # fmt: skip
_PACKINGS = ("gz", "zst")
_SNIFFED = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFile:
    """A file to read.

    Attributes
    ----------
    path
        Where it is.
    name
        How it is called in provenance: its path below the input that led to it, unique among all inputs.
    dataset
        Name of that input: what counts as the source of documents that name none.
    kind
        ``"warc"``, ``"html"``, ``"jsonl"``, ``"json"``, ``"parquet"``, ``"csv"``, ``"tsv"``, or ``"text"`` for all others.
    packing
        ``"gz"``, ``"zst"`` or ``""``.
    size
        Bytes on disk; 0 where it cannot be opened.
    """

    path: Path
    name: str
    dataset: str
    kind: str
    packing: str
    size: int


Inputs = str | os.PathLike[str] | InputFile | Iterable[str | os.PathLike[str] | InputFile]
"""Files, folders, patterns, or files found already."""


def find_files(inputs: Inputs) -> list[InputFile]:
    """Lay out inputs as files, in order of name.

    Parameters
    ----------
    inputs
        Paths of files or folders (read to any depth; hidden files and folders are left out), patterns such as
        ``"crawl/**/*.warc.gz"``, or an `InputFile`, which is taken as it is.

    Returns
    -------
    list of InputFile
        Each file once, however many inputs and links lead to it.

    Raises
    ------
    DataError
        Where an input does not exist, a pattern matches nothing, or none of the files can be read as text.
    """
    given = [inputs] if isinstance(inputs, str | os.PathLike | InputFile) else list(inputs)
    ready = [entry for entry in given if isinstance(entry, InputFile)]
    found: dict[str, tuple[Path, Path]] = {}
    for entry in given:
        if not isinstance(entry, InputFile):
            for root, path in _expanded(os.fspath(entry)):
                found.setdefault(os.path.realpath(path), (root, path))
    files = ready + _named(list(found.values()))
    if given and not ready:
        _check_some_readable(files, given)
    return sorted(files, key=lambda file: file.name)


def partition(inputs: Inputs, shards: int) -> list[list[InputFile]]:
    """Deal whole files out to shards of about equal size.

    Parameters
    ----------
    inputs
        As for `find_files`.
    shards
        How many; at least 1.

    Returns
    -------
    list of list of InputFile
        ``shards`` lists, some of them empty where there are fewer files. Read together, in whatever number, they give the
        same documents with the same identities.

    Notes
    -----
    Largest file first, each to the shard that has least (Graham 1969: at most 4/3 of the best possible largest shard).
    """
    if shards < 1:
        raise UsageError("there must be at least one shard", seen=repr(shards))
    loads = [0] * shards
    dealt: list[list[InputFile]] = [[] for _ in range(shards)]
    for file in sorted(find_files(inputs), key=lambda f: (-f.size, f.name)):
        least = loads.index(min(loads))
        loads[least] += file.size + 1
        dealt[least].append(file)
    return [sorted(files, key=lambda f: f.name) for files in dealt]


def _expanded(entry: str) -> Iterator[tuple[Path, Path]]:
    """Pairs of the folder that names are relative to, and a file."""
    path = Path(entry)
    if path.is_dir():
        yield from ((path, file) for file in _walk(path))
    elif path.exists():
        yield path.parent, path
    elif glob.has_magic(entry):
        fixed = Path(*_before_pattern(path.parts))
        any_match = False
        for match in sorted(glob.iglob(entry, recursive=True)):  # noqa: PTH207 (absolute patterns too)
            any_match = True
            below = Path(match)
            yield from ((fixed, file) for file in (_walk(below) if below.is_dir() else [below]))
        if not any_match:
            raise DataError(
                "the pattern matches no file", seen=entry, next_step="`ls` the folder; ** matches any depth"
            )
    else:
        names = sorted(child.name for child in path.parent.iterdir()) if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, names, n=1)
        advice = f"did you mean {str(path.parent / near[0])!r}?" if near else "check the path"
        raise DataError("no such file or folder", seen=entry, next_step=advice)


def _before_pattern(parts: Sequence[str]) -> Iterator[str]:
    for part in parts:
        if glob.has_magic(part):
            return
        yield part


def _walk(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(place, name)
            if not name.startswith(".") and (path.is_file() or (path.is_symlink() and not path.exists())):
                yield path


def _named(found: list[tuple[Path, Path]]) -> list[InputFile]:
    """Name files by their path below the input; names that coincide take in parent folders until they differ."""
    roots = [Path(os.path.abspath(root)) for root, _ in found]  # noqa: PTH100 (links stay as they are named)
    paths = [Path(os.path.abspath(path)) for _, path in found]  # noqa: PTH100
    datasets = [_printable(PurePath(root.name or "corpus")) for root in roots]
    while True:
        names = [_printable(path.relative_to(root)) for root, path in zip(roots, paths, strict=True)]
        counts = Counter(names)
        wider = [root if counts[name] == 1 else root.parent for root, name in zip(roots, names, strict=True)]
        if wider == roots:
            break
        roots = wider
    return [
        _input_file(path, name, dataset) for path, name, dataset in zip(paths, names, datasets, strict=True)
    ]  # fmt: skip


def _printable(path: PurePath) -> str:
    """Write a path as UTF-8 whatever bytes its names are made of."""
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")


def _input_file(path: Path, name: str, dataset: str) -> InputFile:
    suffixes = [suffix.lstrip(".").lower() for suffix in path.suffixes[-3:]]
    packing = suffixes.pop() if suffixes and suffixes[-1] in _PACKINGS else ""
    kind = _SUFFIXES.get(suffixes[-1], "text") if suffixes else "text"
    if kind == "parquet" and packing:
        kind = "text"
    try:
        size = path.stat().st_size
    except OSError:
        size = 0
    return InputFile(path=path, name=name, dataset=dataset, kind=kind, packing=packing, size=size)


def _looks_readable(file: InputFile) -> bool:
    """Whether a file is of a known kind, or at least begins as text."""
    try:
        if not stat.S_ISREG(file.path.stat().st_mode):
            return False
        if file.kind != "text" or file.packing:
            return True
        with file.path.open("rb") as stream:
            return b"\0" not in stream.read(_SNIFFED)
    except OSError:
        return False


def _check_some_readable(files: list[InputFile], given: Sequence[object]) -> None:
    if any(_looks_readable(file) for file in files):
        return
    suffixes = Counter(file.path.suffix or "no suffix" for file in files)
    held = ", ".join(f"{n} × {suffix}" for suffix, n in suffixes.most_common(5)) or "no files at all"
    raise DataError(
        "no file that can be read",
        seen=f"{', '.join(str(entry) for entry in given[:3])}: {held}",
        next_step="give WARC, HTML, JSONL, Parquet, CSV or text files (.gz and .zst too); hidden ones are left out",
    )
