"""A real corpus of any size from what the machine has, with planted pairs whose Jaccard similarity is known exactly.

Text comes from the system's documentation and manual pages, from Python's own installed sources, and from a few Debian
documentation packages, which are downloaded and unpacked where ``apt-get`` reaches a mirror, and left out with a message where
not. It is cut at line ends into documents of 1.5 to 8 kB. Copies in it that nobody planted stay: real corpora have them.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from jurat.corpus.controls import CHANGES, exact_similarity
from jurat.corpus.extraction import ResiliparseExtractor
from jurat.text.column import TextColumn
from jurat.text.minhash import MinHashSpec, hash_shingles
from jurat.text.words import hash_words

__all__ = ["Material", "build_corpus"]

SHARD = 64_000_000
SMALLEST, LARGEST = 1_500, 8_000
LEAST_WORDS = 150  # a planted copy needs enough shingles for a similarity by degrees
PACKAGES = (
    "linux-doc-6.1", "openjdk-17-doc", "python3.11-doc", "postgresql-doc-15", "libboost1.74-doc", "git-doc", "perl-doc",
    "debian-policy", "apache2-doc", "sqlite3-doc", "python-django-doc", "python-sqlalchemy-doc", "ruby3.1-doc",
)  # fmt: skip
_TEXT = {".py", ".pyi", ".rst", ".txt", ".md", ".pm", ".pod", ".h", ".hpp", ".c", ".html", ".htm", ".tex", ""}
_MACRO = re.compile(r"^[.'](?:\\\".*|[A-Za-z]{1,3} ?)|\\f[A-Z]|\\&|\\-", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """The corpus and its planted pairs.

    Attributes
    ----------
    folder
        Holds ``documents-NN.parquet`` (doc_id, text, source) and ``pairs.parquet``.
    n_documents, n_bytes
        Of the corpus, the copies too.
    left, right
        Place of each pair's document and copy in the corpus.
    similarity
        Exact Jaccard similarity of their word shingles.
    sources
        Megabytes by source.
    """

    folder: Path
    n_documents: int
    n_bytes: int
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    similarity: NDArray[np.float64]
    sources: dict[str, float]

    def files(self) -> list[Path]:
        """The documents' files."""
        return sorted(self.folder.glob("documents-*.parquet"))

    def texts(self) -> pa.ChunkedArray:
        """All texts, in order."""
        return pa.chunked_array([chunk for file in self.files() for chunk in pq.read_table(file)["text"].chunks])


def build_corpus(folder: Path, megabytes: float, *, pairs: int = 7_000, seed: int = 1) -> Material:
    """Write the corpus, or take the one that is there.

    Parameters
    ----------
    folder
        Where it goes; packages are kept beside it.
    megabytes
        Size of the documents wanted; less where the machine has less, with a message.
    pairs
        Planted copies.
    seed
        Of sizes, changes and amounts.
    """
    if not (folder / "pairs.parquet").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _write(folder, int(megabytes * 1e6), pairs, seed)
    planted = pq.read_table(folder / "pairs.parquet")
    files = sorted(folder.glob("documents-*.parquet"))
    n_bytes, rows, sources = 0, 0, dict[str, float]()
    for file in files:
        table = pq.read_table(file, columns=["source", "n_bytes"])
        for line in table.group_by("source").aggregate([("n_bytes", "sum")]).to_pylist():
            sources[line["source"]] = sources.get(line["source"], 0.0) + line["n_bytes_sum"] / 1e6
            n_bytes += line["n_bytes_sum"]
        rows += len(table)
    return Material(
        folder=folder,
        n_documents=rows,
        n_bytes=n_bytes,
        left=planted["left"].to_numpy(),
        right=planted["right"].to_numpy(),
        similarity=planted["similarity"].to_numpy(),
        sources=dict(sorted(sources.items(), key=lambda item: -item[1])),
    )


def _places(folder: Path) -> dict[str, list[Path]]:
    """Folders of each source on this machine."""
    packages = folder.parent / "packages"
    return {
        "Python": [Path(sysconfig.get_path("stdlib"))],
        "Python packages": [Path(sysconfig.get_path("purelib"))],
        "system documentation": [Path("/usr/share/doc")],
        "manual pages": [Path("/usr/share/man")],
        **{name: [place] for name in PACKAGES if (place := _package(name, packages)) is not None},
    }


def _package(name: str, packages: Path) -> Path | None:
    """Unpack a Debian package; ``None`` where it cannot be had."""
    target = packages / name
    if target.is_dir():
        return target
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        print(f"left out: {name} (no apt-get or dpkg-deb here)", file=sys.stderr)
        return None
    packages.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run(["apt-get", "download", name], cwd=packages, check=True, capture_output=True, timeout=300)
        files = sorted(packages.glob(f"{name}_*.deb"))
        subprocess.run(["dpkg-deb", "-x", str(files[-1]), str(target)], check=True, capture_output=True)
    except (subprocess.SubprocessError, IndexError) as error:
        shutil.rmtree(target, ignore_errors=True)
        print(f"left out: {name} ({error})", file=sys.stderr)
        return None
    for file in files:
        file.unlink()
    return target


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Files of all sources, mixed by a hash of their names, so that every size of corpus has some of each."""
    found = []
    for source, places in _places(folder).items():
        for place in places:
            for top, folders, names in os.walk(place):
                # The standard library's folder may hold the packages too: they are a source of their own.
                folders[:] = sorted(f for f in folders if f not in ("__pycache__", "site-packages", "dist-packages"))
                for name in names:
                    stem = name.removesuffix(".gz")
                    is_page = source == "manual pages" and name != stem
                    if (is_page or Path(stem).suffix.lower() in _TEXT) and not name.endswith(".so"):
                        file = Path(top, name)
                        if not file.is_symlink():
                            found.append((zlib.crc32(str(file).encode()), source, file))
    for _, source, file in sorted(found, key=lambda item: (item[0], str(item[2]))):
        yield source, file


def _text(source: str, file: Path) -> str:
    """A file's text: unpacked, pages extracted, macros of manual pages taken out; empty where it is none."""
    try:
        data = file.read_bytes()
        data = gzip.decompress(data) if file.suffix == ".gz" else data
    except (OSError, EOFError, zlib.error):
        return ""
    if b"\x00" in data[:4096]:
        return ""
    if file.name.removesuffix(".gz").endswith((".html", ".htm")):
        return ResiliparseExtractor(main_content=False).extract(data, None)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return ""
    return _MACRO.sub("", text) if source == "manual pages" else text


def _documents(folder: Path, rng: np.random.Generator) -> Iterator[tuple[str, str]]:
    """Source and text of each document; sizes are spread evenly on a log scale."""
    span = np.log(LARGEST / SMALLEST)
    for source, file in _files(folder):
        text, begin = _text(source, file), 0
        while len(text) - begin >= SMALLEST:
            end = begin + int(SMALLEST * np.exp(span * rng.random() ** 1.6))
            cut = text.rfind("\n", begin + SMALLEST, end)
            end = cut + 1 if cut > 0 else end
            part = text[begin:end]
            begin = end
            if SMALLEST <= len(part.encode()) <= 2 * LARGEST:
                yield source, part


def _write(folder: Path, wanted: int, pairs: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    texts: list[str] = []
    sources: list[str] = []
    size = 0
    for source, text in _documents(folder, rng):
        texts.append(text)
        sources.append(source)
        size += len(text.encode())
        if size >= wanted:
            break
    else:
        print(f"this machine has {size / 1e6:.0f} MB of text, {wanted / 1e6:.0f} MB were wanted", file=sys.stderr)
    left, copies, change = _plant(texts, pairs, rng)
    right = np.arange(len(texts), len(texts) + len(copies))
    similarity = _similarity([texts[i] for i in left], copies)
    texts += copies
    sources += ["planted copies"] * len(copies)
    n_bytes = np.array([len(text.encode()) for text in texts])
    shard = np.cumsum(n_bytes) // SHARD
    for number in range(int(shard[-1]) + 1):
        here = np.flatnonzero(shard == number)
        table = pa.table(
            {
                "doc_id": pa.array([f"d{i:07d}" for i in here]),
                "text": pa.array([texts[i] for i in here], pa.large_string()),
                "source": pa.array([sources[i] for i in here]),
                "n_bytes": pa.array(n_bytes[here]),
            }
        )
        pq.write_table(table, folder / f"documents-{number:02d}.parquet", compression="zstd", row_group_size=10_000)
    pq.write_table(
        pa.table({"left": left, "right": right, "similarity": similarity, "change": change}), folder / "pairs.parquet"
    )


def _plant(texts: list[str], pairs: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], list[str], list[str]]:
    """Copies of documents drawn at random, in the ways in which `jurat.corpus.controls` makes them."""
    names = list(CHANGES)
    left, copies, change = [], [], []
    order = rng.permutation(len(texts))
    number = 0
    while len(copies) < pairs and number < 20 * len(texts):
        place = int(order[number % len(texts)])
        number += 1
        words = texts[place].split()
        if len(words) < LEAST_WORDS:
            continue
        name = names[len(copies) % len(names)]
        copies.append(" ".join(CHANGES[name](words, float(rng.uniform(0, 0.6)), rng)))
        left.append(place)
        change.append(name)
    return np.array(left, np.int64), copies, change


def _similarity(left: list[str], right: list[str]) -> NDArray[np.float64]:
    """Exact Jaccard similarity of the pairs' word shingles."""
    width = MinHashSpec().width
    first, second = (hash_shingles(hash_words(TextColumn.of(texts)), width) for texts in (left, right))
    return np.array(
        [
            exact_similarity(*(hashes[places[i] : places[i + 1]] for hashes, places in (first, second)))
            for i in range(len(left))
        ]
    )
