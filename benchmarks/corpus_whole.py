"""Scan and deduplicate a folder in this one process; prints CPU seconds and what memory it took as JSON.

Peak memory (the kernel's high-water mark, set back before each step) is counted beyond the loaded program: libraries, compiled
kernels and allocators as they stand after the same work on two hundred documents. It is held against what the steps may keep:
the largest batch set (a row group as Parquet unpacks it, the batch cut from it, and what the scan says of that batch) and, of
every document, its signature and band keys.
"""

from __future__ import annotations

import json
import sys
import tempfile
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


def main(corpus: Path) -> None:
    """Warm up, run, tell."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        documents = place / "documents"
        documents.mkdir()
        for file in corpus.glob("documents-*.parquet"):
            (documents / file.name).symlink_to(file)
        small = pq.ParquetFile(sorted(documents.iterdir())[0]).iter_batches(200)
        pq.write_table(pa.Table.from_batches([next(small)]), place / "small.parquet")
        scan([place / "small.parquet"], place / "warm", workers=1)
        deduplicate(ShardFolder(place / "warm"), place / "warm-dedup")
        before = _memory("VmRSS")
        _start_over()
        begin = time.process_time()
        result = scan([documents], place / "scan", workers=1)
        scanned = time.process_time()
        folder = ShardFolder(place / "scan")
        scan_peak = _memory("VmHWM")
        _start_over()
        deduplicate(folder, place / "dedup")
        ended = time.process_time()
        dedup_peak = _memory("VmHWM")
        minhash = minhash_of(folder)
        per_document = minhash.permutations + 8 * minhash.bands
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
        print(
            json.dumps(
                {
                    "scan": scanned - begin, "dedup": ended - scanned, "read": read, "arrow": arrow,
                    "program": before, "scan_peak": scan_peak - before, "dedup_peak": dedup_peak - before,
                    "batch": _largest_batch(documents), "signatures": result.n_read * per_document,
                    "documents": result.n_read, "bytes": result.n_bytes,
                }
            )
        )  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]))
