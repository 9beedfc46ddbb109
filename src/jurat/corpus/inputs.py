"""Which files are read, in which order, and what each is.

Order and names depend on the files alone: the same folder gives the same documents on every machine, however the work is
divided.
"""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jurat.errors import DataError

__all__ = ["InputFile", "Inputs", "list_inputs", "units_of"]

_COMPRESSED = (".gz", ".zst", ".bz2")
_KINDS = {
    ".warc": "warc", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".parquet": "parquet", ".csv": "csv",
    ".html": "html", ".htm": "html", ".xhtml": "html",
}  # fmt: skip
_TEXT = (
    ".txt", ".text", ".md", ".rst", ".py", ".pyi", ".c", ".h", ".cc", ".cpp", ".java", ".js", ".ts", ".rs", ".go", ".sh", ".tex",
    ".org", ".adoc", ".pod", ".1", ".3", ".5", ".7", ".8",
)  # fmt: skip
_UNIT_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFile:
    """A file to read.

    Attributes
    ----------
    path
        Where it is.
    name
        How its documents are named: relative to what was given, unique.
    kind
        ``warc``, ``jsonl``, ``parquet``, ``csv``, ``html`` or ``text``.
    size
        Bytes on disk.
    """

    path: Path
    name: str
    kind: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Files to read, and those that were passed over.

    Attributes
    ----------
    files
        In the order in which they are read.
    passed_over
        Files in folders that are not documents, counted by suffix.
    """

    files: list[InputFile]
    passed_over: dict[str, int]


def list_inputs(inputs: Sequence[str | Path]) -> Inputs:
    """List the files that paths, folders and globs name.

    Parameters
    ----------
    inputs
        Files (read whatever their suffix), folders (searched for documents) and glob patterns.

    Returns
    -------
    Inputs

    Raises
    ------
    DataError
        Where a path does not exist, nothing can be read, or two files would have one name.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "b.txt").write_text("b"), (folder / "a.jsonl.gz").write_bytes(b""), (folder / "c.png").touch()
    >>> found = list_inputs([folder])
    >>> [(f.name, f.kind) for f in found.files], found.passed_over
    ([('a.jsonl.gz', 'jsonl'), ('b.txt', 'text')], {'.png': 1})
    """
    files: list[InputFile] = []
    passed = Counter[str]()
    for given in inputs:
        path = Path(given)
        if path.is_dir():
            prefix = f"{path.name}/" if len(inputs) > 1 else ""
            for child in sorted(p for p in path.rglob("*") if p.is_file()):
                relative = child.relative_to(path).as_posix()
                kind = _kind(child)
                if kind is None or any(part.startswith(".") for part in child.relative_to(path).parts):
                    passed[_suffix(child)] += 1
                else:
                    files.append(_file(child, prefix + relative, kind))
        elif path.is_file():
            files.append(_file(path, path.name, _kind(path) or "text"))
        else:
            matches = sorted(Path(match) for match in glob.glob(str(given), recursive=True) if Path(match).is_file())  # noqa: PTH207 - absolute patterns too
            if not matches:
                raise DataError("no such file or folder", seen=str(given), next_step="give files, folders or a pattern")
            files += [_file(match, match.as_posix(), _kind(match) or "text") for match in matches]
    _check(files, passed, inputs)
    return Inputs(files=files, passed_over=dict(sorted(passed.items())))


def units_of(files: Iterable[InputFile], *, unit_bytes: int = _UNIT_BYTES) -> list[list[InputFile]]:
    """Group neighbouring files into units of work; a unit becomes one shard, whoever does it.

    Parameters
    ----------
    files
        In order.
    unit_bytes
        A unit is closed once it has as many bytes on disk.

    Examples
    --------
    >>> sized = [InputFile(path=Path(n), name=n, kind="text", size=s) for n, s in (("a", 5), ("b", 6), ("c", 1))]
    >>> [[f.name for f in unit] for unit in units_of(sized, unit_bytes=10)]
    [['a', 'b'], ['c']]
    """
    units: list[list[InputFile]] = []
    room = 0
    for file in files:
        if room <= 0:
            units.append([])
            room = unit_bytes
        units[-1].append(file)
        room -= max(file.size, 1)
    return units


def _file(path: Path, name: str, kind: str) -> InputFile:
    return InputFile(path=path, name=name, kind=kind, size=path.stat().st_size)


def _kind(path: Path) -> str | None:
    suffix = _suffix(path)
    return _KINDS.get(suffix) or ("text" if suffix in _TEXT else None)


def _suffix(path: Path) -> str:
    """Suffix without compression, lower case."""
    suffixes = [s.lower() for s in path.suffixes]
    while suffixes and suffixes[-1] in _COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _check(files: list[InputFile], passed: Counter[str], inputs: Sequence[str | Path]) -> None:
    if not files:
        others = ", ".join(f"{count} {suffix or 'without suffix'}" for suffix, count in passed.most_common(5))
        raise DataError(
            "no file that can be read", seen=f"{', '.join(map(str, inputs))}: {others or 'empty'}",
            next_step="give WARC, HTML, JSONL, CSV, Parquet or text files (a file named outright is read whatever its suffix)",
        )  # fmt: skip
    twice = [name for name, count in Counter(file.name for file in files).items() if count > 1]
    if twice:
        raise DataError(
            "two files would give documents the same name", seen=twice[0],
            next_step="give the folder that holds them both",
        )  # fmt: skip
