"""Scan a folder, or deduplicate the scan, in this one process, as a user would; prints CPU seconds and memory as JSON.

Peak memory (the kernel's high-water mark, set back before each step) is counted beyond the loaded program: libraries, compiled
kernels and allocators as they stand after the same work on two hundred documents. It is held against what the steps may keep:
the largest batch set (a row group as Parquet unpacks it, the batch cut from it, and what the scan says of that batch) and, of
every document, its signature and band keys.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from jurat.corpus.dedup_run import deduplicate
from jurat.corpus.features import Scanner, scan_batches
from jurat.corpus.files import find_files
from jurat.corpus.scan import scan
from jurat.corpus.scan_spec import ScanSpec, minhash_of, read_unit
from jurat.corpus.shards import ShardFolder


def _memory(name: str) -> int:
    """A line of the process's status in bytes: VmRSS is what is resident, VmHWM the most that ever was."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def _start_over() -> None:
    """Set the high-water mark back to what is resident now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def _largest_batch(folder: Path) -> int:
    """Bytes of the largest batch, of its features, and of the row group behind it."""
    spec, scanner, largest = ScanSpec(), Scanner(), 0
    for file in find_files([folder]):
        about = pq.ParquetFile(file.path).metadata
        group = max(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
        for batch in read_unit([file], spec):
            for features in scan_batches([batch], scanner):
                largest = max(largest, group + batch.nbytes + features.nbytes)
    return largest


def _work_on(corpus: Path, place: Path) -> Path:
    """The corpus without its lists, and the same work done on two hundred documents of it."""
    documents = place / "documents"
    documents.mkdir(exist_ok=True)
    for file in corpus.glob("documents-*.parquet"):
        if not (documents / file.name).exists():
            (documents / file.name).symlink_to(file)
    small = place / "small.parquet"
    pq.write_table(pa.Table.from_batches([next(pq.ParquetFile(min(documents.iterdir())).iter_batches(200))]), small)
    return documents


def scan_step(documents: Path, place: Path) -> dict[str, float]:
    """Scan, with what reading alone costs."""
    scan([place / "small.parquet"], place / "warm", workers=1)
    before = _memory("VmRSS")
    _start_over()
    begin = time.process_time()
    result = scan([documents], place / "scan", workers=1)
    scanned, peak = time.process_time() - begin, _memory("VmHWM")
    seconds = time.process_time()
    for file in find_files([documents]):
        for _ in read_unit([file], ScanSpec()):
            pass
    read = time.process_time() - seconds
    seconds = time.process_time()
    for file in sorted(documents.iterdir()):
        for _ in pq.ParquetFile(file).iter_batches(2_000):
            pass
    arrow = time.process_time() - seconds
    minhash = minhash_of(ShardFolder(place / "scan"))
    return {
        "scan": scanned, "read": read, "arrow": arrow, "scan_peak": peak - before, "batch": _largest_batch(documents),
        "signatures": result.n_read * (minhash.permutations + 8 * minhash.bands), "documents": result.n_read,
        "bytes": result.n_bytes,
    }  # fmt: skip


def dedup_step(place: Path) -> dict[str, float]:
    """Deduplicate what was scanned."""
    deduplicate(ShardFolder(place / "warm"), place / "warm-dedup")
    before = _memory("VmRSS")
    _start_over()
    begin = time.process_time()
    deduplicate(ShardFolder(place / "scan"), place / "dedup")
    return {"dedup": time.process_time() - begin, "dedup_peak": _memory("VmHWM") - before}


def main(step: str, corpus: Path, place: Path) -> None:
    """Warm up, run, tell; with the system's allocator, as the command line does."""
    pa.set_memory_pool(pa.system_memory_pool())
    documents = _work_on(corpus, place)
    print(json.dumps(scan_step(documents, place) if step == "scan" else dedup_step(place)))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
