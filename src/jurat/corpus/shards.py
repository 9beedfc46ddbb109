"""The folder a scan leaves: checksummed Parquet shards that appear whole or not at all, and a manifest over them.

A shard's record (rows, digest, what it was made from) is written after its data, so a kill at any moment leaves either a
whole shard with its record or something the next run makes anew. The manifest names every shard's digest; whoever reads
the folder can tell that nothing was cut, swapped or added.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jurat.errors import DataError, IntegrityError
from jurat.evidence.canonical import canonical_json, digest, file_sha256
from jurat.store.durable import fsync_directory, fsync_file, make_folder, write_atomically

__all__ = ["ShardFolder", "ShardRecord"]

_BUFFER = 1 << 20
"""Bytes of a file read at a time: left alone, the reader fetches whole columns."""

FORMAT = "jurat-corpus-scan/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardRecord:
    """What is known of one shard.

    Attributes
    ----------
    name
        Name of its Parquet file.
    rows
        Documents in it.
    counts
        Documents by status.
    sha256
        Digest of the Parquet file.
    sample_sha256
        Digest of the sample kept beside it.
    made_from
        Digest of everything the shard depends on: input files, their contents, the scan's parameters.
    inputs
        The input files, each with path, size and digest.
    """

    name: str
    rows: int
    counts: dict[str, int]
    sha256: str
    sample_sha256: str
    made_from: str
    inputs: list[dict[str, Any]]

    def document(self) -> dict[str, Any]:
        """The record as plain values."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class ShardFolder:
    """Shards of a scan in a folder.

    Parameters
    ----------
    path
        The folder.
    """

    path: Path

    def write(
        self,
        place: int,
        batches: Iterable[pa.RecordBatch],
        *,
        sample: Callable[[], pa.Table],
        made_from: str,
        inputs: list[dict[str, Any]],
    ) -> ShardRecord:
        """Write one shard and its record; both survive a power cut once this returns.

        Parameters
        ----------
        place
            Number of the shard.
        batches
            Its rows; at least one batch.
        sample
            Gives the sample to keep beside it, once the batches are through.
        made_from, inputs
            See `ShardRecord`.
        """
        folder = self.path / "shards"
        make_folder(folder)
        name = f"part-{place:05d}.parquet"
        rows, counts = 0, dict[str, int]()
        descriptor, hidden = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
        os.close(descriptor)
        try:
            writer: pq.ParquetWriter | None = None
            for batch in batches:
                if writer is None:
                    writer = pq.ParquetWriter(hidden, batch.schema, compression="zstd", compression_level=1)
                writer.write_batch(batch, row_group_size=len(batch) or 1)
                rows += len(batch)
                for entry in batch["status"].value_counts().to_pylist():
                    counts[entry["values"]] = counts.get(entry["values"], 0) + entry["counts"]
            if writer is None:
                raise DataError(
                    "a unit of input holds no document", seen=", ".join(str(i["path"]) for i in inputs[:3]),
                    next_step="leave empty files out",
                )  # fmt: skip
            writer.close()
            Path(hidden).chmod(0o644)
            fsync_file(Path(hidden))
            checksum = file_sha256(Path(hidden))
            Path(hidden).replace(folder / name)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                Path(hidden).unlink()
            raise
        fsync_directory(folder)
        record = ShardRecord(
            name=name,
            rows=rows,
            counts=counts,
            sha256=checksum,
            sample_sha256=self._keep_sample(name, sample()),
            made_from=made_from,
            inputs=inputs,
        )
        write_atomically(folder / f"part-{place:05d}.json", canonical_json(record.document()))
        return record

    def finished(self, place: int, made_from: str) -> ShardRecord | None:
        """Record of a shard that is whole and made from the same; ``None`` where it must be made."""
        record_path = self.path / "shards" / f"part-{place:05d}.json"
        if not record_path.is_file():
            return None
        record = ShardRecord(**json.loads(record_path.read_bytes()))
        if record.made_from != made_from:
            return None
        for folder, checksum in (("shards", record.sha256), ("samples", record.sample_sha256)):
            data = self.path / folder / record.name
            if not data.is_file() or file_sha256(data) != checksum:
                return None
        return record

    def _keep_sample(self, name: str, table: pa.Table) -> str:
        folder = self.path / "samples"
        make_folder(folder)
        stream = pa.BufferOutputStream()
        pq.write_table(table, stream, compression="zstd")
        content = stream.getvalue().to_pybytes()
        write_atomically(folder / name, content)
        return hashlib.sha256(content).hexdigest()

    def finish(self, records: Sequence[ShardRecord], about: dict[str, Any]) -> dict[str, Any]:
        """Write the manifest, last; what another run left behind is removed."""
        named = {record.name for record in records}
        for stray in [*(self.path / "shards").iterdir(), *(self.path / "samples").iterdir()]:
            if stray.with_suffix(".parquet").name not in named:
                stray.unlink()
        manifest = {"format": FORMAT, **about, "shards": [record.document() for record in records]}
        manifest["digest"] = digest(manifest)
        write_atomically(self.path / "manifest.json", canonical_json(manifest))
        return manifest

    def manifest(self, *, verify: bool = False) -> dict[str, Any]:
        """Read the manifest.

        Parameters
        ----------
        verify
            Whether to recompute every shard's digest.

        Raises
        ------
        DataError
            Where the folder holds no finished scan.
        IntegrityError
            Where manifest or shard is not what was written.
        """
        path = self.path / "manifest.json"
        if not path.is_file():
            unfinished = (self.path / "shards").is_dir()
            raise DataError(
                "the scan is not finished" if unfinished else "no scan in this folder", seen=str(self.path),
                next_step="run the same `jurat corpus scan` again: it goes on where it stopped"
                if unfinished else "make one: jurat corpus scan INPUT --out DIR",
            )  # fmt: skip
        found = dict(json.loads(path.read_bytes()))
        if digest({k: v for k, v in found.items() if k != "digest"}) != found.get("digest"):
            raise IntegrityError("the manifest has been changed", seen=str(path), next_step="scan again")
        for record in found["shards"] if verify else ():
            shard = self.path / "shards" / record["name"]
            if not shard.is_file() or file_sha256(shard) != record["sha256"]:
                raise IntegrityError(
                    "a shard is missing or not what was written", seen=str(shard), next_step="run the scan again"
                )
        return found

    def files(self) -> list[Path]:
        """The shards in order, as the manifest names them."""
        return [self.path / "shards" / record["name"] for record in self.manifest()["shards"]]

    def column(self, *names: str) -> pa.Table:
        """Columns of all shards, one after the other: a document's row number is its place here."""
        # One thread and no reading ahead: a file's pages would stay in memory beside what they unpack to.
        table = pa.concat_tables(
            [
                pq.read_table(path, columns=list(names), use_threads=False, pre_buffer=False, buffer_size=_BUFFER)
                for path in self.files()
            ]
        )
        pa.default_memory_pool().release_unused()
        return table

    def batches(self, *names: str, rows: int = 8192) -> Iterator[pa.RecordBatch]:
        """Columns of all shards, so many rows at a time, in bounded memory."""
        for path in self.files():
            with pq.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER) as file:
                yield from file.iter_batches(rows, columns=list(names), use_threads=False)
