"""One pass over raw documents that leaves columns: hashes, bands, counters, candidates, and where each document came from.

Work is cut into units of whole files, one shard each, so the result is the same for one worker and for seven. A run that was
killed goes on with the units that have no finished shard.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jurat.corpus.benchmarks import load_benchmarks
from jurat.corpus.features import Scanner, scan_batches
from jurat.corpus.files import InputFile, find_files
from jurat.corpus.identity import repeated_ids
from jurat.corpus.language import FastTextLanguage
from jurat.corpus.scan_spec import ScanSpec, read_unit
from jurat.corpus.shards import ShardFolder, ShardRecord
from jurat.corpus.texts import SampleKeeper
from jurat.errors import DataError, EngineError
from jurat.evidence.canonical import canonical_json, digest, file_sha256
from jurat.store.durable import locked, make_folder, write_atomically

__all__ = ["ScanResult", "scan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanResult:
    """What a scan met.

    Attributes
    ----------
    folder
        Where it lies.
    n_met, n_read, n_quarantined
        Documents; ``n_met = n_read + n_quarantined``.
    n_words, n_bytes
        Of the documents read.
    reasons
        Quarantined documents by the kind of their reason.
    n_shards, n_reused
        Shards in all, and those that an earlier run had finished.
    digest
        Digest of the manifest: names every byte of the result.
    """

    folder: Path
    n_met: int
    n_read: int
    n_quarantined: int
    n_words: int
    n_bytes: int
    reasons: dict[str, int]
    n_shards: int
    n_reused: int
    digest: str


def scan(
    inputs: Sequence[str | Path],
    out: Path,
    spec: ScanSpec | None = None,
    *,
    workers: int | None = None,
    unit_bytes: int = 64 << 20,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> ScanResult:
    """Scan documents into a folder of columns.

    Parameters
    ----------
    inputs
        Files, folders, patterns.
    out
        Folder of the result; a scan that is there and made from the same is continued or simply confirmed.
    spec
        What to compute.
    workers
        Processes; as many as there are processors by default. The result does not depend on it.
    unit_bytes
        Size of a unit of work on disk.
    progress
        Called with bytes done and bytes in all.

    Returns
    -------
    ScanResult

    Raises
    ------
    DataError
        Where nothing can be read, or two documents have one id.
    EngineError
        Where another scan is at work in the folder.
    """
    spec = spec or ScanSpec()
    files = find_files(inputs)
    benchmarks = load_benchmarks(spec.benchmarks).sources if spec.benchmarks else []
    units = _units(files, unit_bytes)
    make_folder(out)
    folder = ShardFolder(out)
    with locked(out / ".lock", wait_seconds=1):
        records, reused = _run(units, spec, benchmarks, folder, workers or os.cpu_count() or 1, progress)
        places = sorted({str(Path(file).resolve()) for file in inputs})
        write_atomically(out / "inputs.json", canonical_json(places))
        if spec.benchmarks:
            kept = [str(source.path.resolve()) for source in spec.benchmarks]
            write_atomically(out / "benchmarks.json", canonical_json(kept))
        manifest = folder.finish(
            records,
            {"spec": spec.document(), "versions": Scanner().versions(), "benchmarks": benchmarks},
        )
    return _result(folder, manifest, reused)


def _units(files: list[InputFile], unit_bytes: int) -> list[list[InputFile]]:
    """Group neighbouring files: a unit becomes one shard, whoever does it."""
    units: list[list[InputFile]] = []
    room = 0
    for file in files:
        if room <= 0:
            units.append([])
            room = unit_bytes
        units[-1].append(file)
        room -= max(file.size, 1)
    return units


def _run(
    units: list[list[InputFile]],
    spec: ScanSpec,
    benchmarks: list[dict[str, Any]],
    folder: ShardFolder,
    workers: int,
    progress: Callable[[int, int], None],
) -> tuple[list[ShardRecord], int]:
    """Make the shards that are not there; here for one worker, in processes for more."""
    total = sum(file.size for unit in units for file in unit)
    sizes = [sum(file.size for file in unit) for unit in units]
    records: dict[int, ShardRecord] = {}
    todo = []
    for place, unit in enumerate(units):
        finished = folder.finished(place, _made_from(unit, spec, benchmarks))
        if finished is None:
            todo.append(place)
        else:
            records[place] = finished
    reused = len(records)
    progress(sum(sizes[place] for place in records), total)
    if min(workers, len(todo)) <= 1:
        worker = _Worker(spec)
        for place in todo:
            records[place] = worker.make(place, units[place], folder, benchmarks)
            progress(sum(sizes[p] for p in records), total)
    else:
        # Fresh processes, not forks: threads of Arrow do not survive a fork.
        with ProcessPoolExecutor(
            min(workers, len(todo)), mp_context=get_context("spawn"), initializer=_start, initargs=(spec,)
        ) as pool:
            waiting: dict[Future[ShardRecord], int] = {
                pool.submit(_make, place, units[place], folder, benchmarks): place for place in todo
            }
            try:
                while waiting:
                    done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                    for future in done:
                        records[waiting.pop(future)] = future.result()
                    progress(sum(sizes[p] for p in records), total)
            except BrokenProcessPool as error:
                raise EngineError(
                    "a scanning process ended before its work",
                    seen=str(error),
                    next_step='in a script of your own, call scan() under `if __name__ == "__main__":`, or with workers=1; '
                    "otherwise look at the memory that is free. Finished shards are kept: run it again",
                ) from error
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    return [records[place] for place in range(len(units))], reused


class _Worker:
    """What a process keeps between units: the compiled kernels, the benchmarks' index, the language model."""

    def __init__(self, spec: ScanSpec) -> None:
        self.spec = spec
        self.scanner = Scanner(
            minhash=spec.minhash,
            passages=spec.passages,
            benchmarks=load_benchmarks(spec.benchmarks) if spec.benchmarks else None,
            language=None if spec.language == "none" else FastTextLanguage(),
        )

    def make(
        self, place: int, unit: list[InputFile], folder: ShardFolder, benchmarks: list[dict[str, Any]]
    ) -> ShardRecord:
        keeper = SampleKeeper(self.spec.sample)
        documents = keeper.watch(read_unit(unit, self.spec))
        inputs = [_about(file) for file in unit]
        return folder.write(
            place,
            scan_batches(documents, self.scanner),
            sample=keeper.table,
            made_from=_made_from(unit, self.spec, benchmarks),
            inputs=inputs,
        )


_worker: _Worker | None = None


def _start(spec: ScanSpec) -> None:
    global _worker  # one of each process, made once  # noqa: PLW0603
    pa.set_memory_pool(pa.system_memory_pool())
    _worker = _Worker(spec)


def _make(place: int, unit: list[InputFile], folder: ShardFolder, benchmarks: list[dict[str, Any]]) -> ShardRecord:
    if _worker is None:
        raise RuntimeError("the process was not started with a specification")
    return _worker.make(place, unit, folder, benchmarks)


def _made_from(unit: list[InputFile], spec: ScanSpec, benchmarks: list[dict[str, Any]]) -> str:
    """Digest of all that a shard depends on; a file is taken as unchanged while its size and time of change are."""
    files = [[file.name, file.kind, file.size, _changed(file.path)] for file in unit]
    return digest({"files": files, "spec": spec.document(), "versions": Scanner().versions(), "benchmarks": benchmarks})


def _about(file: InputFile) -> dict[str, Any]:
    """What a record keeps of an input; one that cannot be opened has no digest, and a quarantined row says why."""
    try:
        return {"path": file.name, "size": file.size, "sha256": file_sha256(file.path)}
    except OSError:
        return {"path": file.name, "size": file.size, "sha256": None}


def _changed(path: Path) -> str:
    try:
        return str(path.stat().st_mtime_ns)
    except OSError:
        return ""


def _kind_of(reason: str) -> str:
    """A reason without what is particular to one document."""
    return re.sub(r"(?<!-)\b\d[\d,.]*|'[^']*'|\([^)]*\)", "…", reason.split(":")[0])


def _result(folder: ShardFolder, manifest: dict[str, Any], reused: int) -> ScanResult:
    about = folder.column("doc_id", "file", "record", "status", "reason", "n_words", "n_bytes")
    twice = repeated_ids(about)
    if len(twice):
        first = twice.to_pylist()[0]
        raise DataError(
            f"{len(twice)} ids stand for more than one document",
            seen=f"{first['doc_id']!r}: {first['documents']} documents, the first in {first['file']}",
            next_step="name a field that is unique, or leave the id field out",
        )
    counts = {entry["values"]: entry["counts"] for entry in about["status"].value_counts().to_pylist()}
    reasons: dict[str, int] = {}
    for entry in about["reason"].value_counts().to_pylist():
        if entry["values"]:
            kind = _kind_of(entry["values"])
            reasons[kind] = reasons.get(kind, 0) + entry["counts"]
    read = about.filter(pc.equal(about["status"], "read"))
    if len(read) == 0:
        raise DataError(
            f"none of {len(about)} records could be read",
            seen="; ".join(f"{n} x {reason}" for reason, n in sorted(reasons.items(), key=lambda i: -i[1])[:3]),
            next_step="name the field that holds the text with --text-field, or give other files",
        )
    return ScanResult(
        folder=folder.path,
        n_met=len(about),
        n_read=counts.get("read", 0),
        n_quarantined=counts.get("quarantined", 0),
        n_words=pc.sum(read["n_words"]).as_py() or 0,
        n_bytes=pc.sum(read["n_bytes"]).as_py() or 0,
        reasons=dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
        n_shards=len(manifest["shards"]),
        n_reused=reused,
        digest=manifest["digest"],
    )
