"""The search for benchmarks as a result: items touched, clean subsets, what was set aside, and how well the search sees."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from jurat.corpus.benchmarks import Benchmarks, BenchmarkSource, load_benchmarks
from jurat.corpus.contamination import BenchmarkReport, Contamination, ContaminationSpec, find_contamination
from jurat.corpus.dedup_run import write_table
from jurat.corpus.injection import ControlLine, check_search
from jurat.corpus.shards import ShardFolder
from jurat.corpus.texts import sample_of
from jurat.errors import DataError
from jurat.evidence.canonical import file_sha256
from jurat.store.durable import make_folder, write_atomically

__all__ = ["DecontaminationResult", "benchmarks_of", "decontaminate"]

_HOSTS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class DecontaminationResult:
    """What was found, and how well.

    Attributes
    ----------
    benchmarks
        A line a benchmark.
    n_documents
        Documents that touch any item.
    n_dropped
        N-grams set aside as common property.
    controls
        Planted items and near misses.
    most_common
        The n-grams set aside that stand in most documents: words and documents.
    """

    benchmarks: list[BenchmarkReport]
    n_documents: int
    n_dropped: int
    controls: list[ControlLine]
    most_common: list[tuple[str, int]]

    def document(self) -> dict[str, Any]:
        """The result as plain values."""
        return asdict(self)


def benchmarks_of(folder: ShardFolder) -> Benchmarks:
    """Load the benchmarks that a scan looked for, from where they were.

    Raises
    ------
    DataError
        Where it looked for none, or a file has changed since.
    """
    about = folder.manifest()["benchmarks"]
    if not about:
        raise DataError(
            "the scan looked for no benchmark", seen=str(folder.path),
            next_step="scan again with --benchmark NAME=PATH (unchanged shards are not made anew for anything else)",
        )  # fmt: skip
    kept = folder.path / "benchmarks.json"
    places = [
        Path(p) for p in (json.loads(kept.read_bytes()) if kept.is_file() else [known["path"] for known in about])
    ]
    for known, path in zip(about, places, strict=True):
        if not path.is_file() or file_sha256(path) != known["sha256"]:
            raise DataError(
                "a benchmark file is gone or has changed since the scan", seen=str(path),
                next_step="bring it back, or scan again",
            )  # fmt: skip
    return load_benchmarks(
        [
            BenchmarkSource(
                name=b["name"],
                path=path,
                question=b["question"],
                answer=b["answer"] or None,
                item=b["item"] or None,
            )
            for b, path in zip(about, places, strict=True)
        ]
    )


def decontaminate(
    folder: ShardFolder, out: Path, spec: ContaminationSpec | None = None, *, seed: int = 0
) -> DecontaminationResult:
    """Judge every item of the benchmarks that a scan looked for, and write it all into a folder.

    Parameters
    ----------
    folder
        A scan made with benchmarks.
    out
        Gets ``touched.parquet`` (documents and items), ``dropped.parquet`` (n-grams set aside), ``items.parquet`` (a status for
        each item), a list of clean items for each benchmark, and ``decontamination.json``.
    spec
        Thresholds.
    seed
        Of the controls.

    Returns
    -------
    DecontaminationResult
    """
    spec = spec or ContaminationSpec()
    benchmarks = benchmarks_of(folder)
    found = find_contamination(folder, benchmarks, spec)
    sample = sample_of(folder, most=_HOSTS)
    touched = set(found.pairs["document"].to_pylist())
    hosts = [text for row, text in zip(sample.rows, sample.text, strict=True) if int(row) not in touched]
    common = np.zeros(len(benchmarks.index), np.bool_)
    common[found.dropped["key"].to_numpy()] = True
    controls = check_search(benchmarks, hosts, common, spec, seed=seed) if hosts else []
    result = DecontaminationResult(
        benchmarks=found.benchmarks,
        n_documents=len(touched),
        n_dropped=len(found.dropped),
        controls=controls,
        most_common=[(r["words"], r["documents"]) for r in found.dropped.slice(0, 10).to_pylist()],
    )
    _write(folder, out, benchmarks, found, result)
    return result


def _write(
    folder: ShardFolder, out: Path, benchmarks: Benchmarks, found: Contamination, result: DecontaminationResult
) -> None:
    make_folder(out)
    ids = folder.column("doc_id", "source")
    rows = found.pairs["document"]
    items = found.pairs["item"].to_numpy()
    touched = pa.table(
        {
            "doc_id": ids["doc_id"].combine_chunks().take(rows.combine_chunks()),
            "source": ids["source"].combine_chunks().take(rows.combine_chunks()),
            "benchmark": pa.array([benchmarks.benchmark[i] for i in items], pa.string()),
            "item": pa.array([benchmarks.item[i] for i in items], pa.string()),
            **{name: found.pairs[name] for name in ("tier", "share", "coverage", "n_words", "start")},
        }
    )
    write_table(out / "touched.parquet", touched, folder)
    write_table(out / "dropped.parquet", found.dropped, folder)
    status = pa.table(
        {"benchmark": benchmarks.benchmark, "item": benchmarks.item, "status": pa.array(found.status.tolist())}
    )
    write_table(out / "items.parquet", status, folder)
    for name in dict.fromkeys(benchmarks.benchmark):
        clean = _items(benchmarks.benchmark, benchmarks.item, found.status.tolist(), name)
        write_atomically(out / f"{_file_name(name)}.clean.txt", "".join(f"{item}\n" for item in clean).encode())
    write_atomically(out / "decontamination.json", json.dumps(result.document(), indent=1, ensure_ascii=False).encode())


def _items(benchmark: Sequence[str], item: Sequence[str], status: Sequence[str], name: str) -> list[str]:
    return [i for b, i, s in zip(benchmark, item, status, strict=True) if b == name and s == "clean"]


def _file_name(name: str) -> str:
    """A name that cannot leave the folder."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name).lstrip(".") or "benchmark"
