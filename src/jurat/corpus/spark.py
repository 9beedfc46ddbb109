"""The scan on a cluster: the very function that runs on one machine, inside Spark's ``mapInArrow``.

Spark deals out the work and keeps the columns; every number in them comes from `scan_batches`. Text is read where it is
worked on and never passes through the Java machine: files go out as names and come back as columns.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from os import environ
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from jurat.corpus.benchmarks import load_benchmarks
from jurat.corpus.document import DOCUMENT_SCHEMA
from jurat.corpus.features import PROVENANCE, Scanner, scan_batches
from jurat.corpus.files import InputFile, find_files
from jurat.corpus.language import FastTextLanguage
from jurat.corpus.scan_spec import ScanSpec, read_unit
from jurat.errors import MissingExtra, UnknownName, UsageError

__all__ = ["collect_features", "map_in_arrow", "scan_in_spark"]

_FILE_BITS = 40
"""Low bits of ``row`` count the records of one file, the bits above them the files."""


def scan_in_spark(
    session: Any, documents: Sequence[str | Path] | Any, spec: ScanSpec | None = None, *, task_bytes: int = 64 << 20
) -> Any:
    """Scan documents on a Spark cluster.

    Parameters
    ----------
    session : pyspark.sql.SparkSession
        Where to run.
    documents : sequence of str or Path, or pyspark.sql.DataFrame
        Files, folders and patterns under a path that every executor sees as this process does; or documents that are a
        DataFrame already, with the columns of `DOCUMENT_SCHEMA` and ``row``, a unique bigint that gives their order.
    spec
        What to compute. Fields on how to read apply to files alone; ``sample`` does not apply: no text is kept aside.
    task_bytes
        Packed bytes of neighbouring files that one task works through. The result does not depend on it.

    Returns
    -------
    pyspark.sql.DataFrame
        Lazy: nothing is read before it is written. The columns of a local scan and ``row``, which ascends in the order of
        reading (the file's number times 2^40, plus the record's place in it). Spark has no unsigned integers: keys of
        bands and passages are the same 64 bits, read with a sign.

    Raises
    ------
    MissingExtra
        Where PySpark, or the pandas it asks for, is not installed.
    DataError
        Where an input does not exist or holds no file that can be read.
    UsageError
        Where a single path was given in place of a sequence.
    UnknownName
        Where the DataFrame lacks a column.

    Notes
    -----
    What goes wrong inside a task is raised by Spark when the result is asked for, with the message of the same error on one
    machine inside. Executors need the package installed; ``PYSPARK_PYTHON`` says under which interpreter. A local session
    uses this one.

    Examples
    --------
    ``scan_in_spark(session, ["/crawl/2024-05"], ScanSpec(text_field="body")).write.parquet("/features/2024-05")``
    """
    if isinstance(documents, str | Path):
        raise UsageError("inputs are a sequence of paths", seen=repr(str(documents)), next_step=f"[{str(documents)!r}]")
    spec = spec or ScanSpec()
    scanner = _scanner(spec)
    columns = _ddl(_schema(scanner))
    if isinstance(documents, Sequence):
        files = tuple(find_files(documents))
        tasks = min(len(files), 1 + sum(file.size for file in files) // task_bytes)
        numbers = session.range(0, len(files), 1, max(tasks, 1))
        return map_in_arrow(numbers, _FileScan(files=files, spec=spec, scanner=scanner), columns)
    wanted = ["row", "text", *PROVENANCE]
    for name in wanted:
        if name not in documents.columns:
            raise UnknownName("column", name, documents.columns, place="the DataFrame of documents")
    return map_in_arrow(documents.select(*wanted), _DocumentScan(scanner=scanner), columns)


def collect_features(features: Any, spec: ScanSpec | None = None) -> pa.Table:
    """Bring scanned columns here, as a local scan has them: its types, its order.

    Parameters
    ----------
    features : pyspark.sql.DataFrame
        Columns of `scan_in_spark`, all or some, ``row`` among them; few enough rows for this machine.
    spec
        What they were made with.

    Returns
    -------
    Table
        Equal to the shards of a local scan of the same documents with the same specification, one after the other.
    """
    schema = _schema(_scanner(spec or ScanSpec()))
    table = features.sort("row").toArrow().drop_columns("row")
    arrays = {}
    for name in table.column_names:
        array = table[name].combine_chunks()
        arrays[name] = _recast(array, schema.field(name).type)
    return pa.table(arrays)


def map_in_arrow(frame: Any, function: Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]], ddl: str) -> Any:
    """Run a function over the record batches of each partition, under an interpreter that has this package.

    Parameters
    ----------
    frame : pyspark.sql.DataFrame
        What goes in.
    function
        Picklable; gets the partition's batches in order.
    ddl
        Columns that come out, as Spark writes them.

    Raises
    ------
    MissingExtra
        Where PySpark, or the pandas it asks for, is not installed.
    """
    _use_this_python(frame.sparkSession)
    with warnings.catch_warnings():
        # PySpark looks at the version of pandas before it moves Arrow batches, through which no pandas object goes.
        warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
        try:
            return frame.mapInArrow(function, ddl)
        except ImportError as error:
            raise MissingExtra("pandas", "spark") from error


def _use_this_python(session: Any) -> None:
    """In a local session the workers are this interpreter, unless the environment names another."""
    context = getattr(session, "_sc", None)  # a session of Spark Connect has none, and its server chooses
    if context is not None and str(context.master).startswith("local") and "PYSPARK_PYTHON" not in environ:
        context.pythonExec = sys.executable


@dataclass(frozen=True, slots=True, kw_only=True)
class _FileScan:
    """Numbers of files in, their documents' columns out."""

    files: tuple[InputFile, ...]
    spec: ScanSpec
    scanner: Scanner

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        mine = sorted(number for batch in batches for number in batch["id"].to_pylist())
        if mine:
            rows = _RowNumbers(numbers={self.files[number].name: number for number in mine})
            documents = read_unit([self.files[number] for number in mine], self.spec)
            yield from _scanned((rows.add(batch) for batch in documents), self.scanner)


@dataclass(frozen=True, slots=True, kw_only=True)
class _DocumentScan:
    """Documents in, their columns out."""

    scanner: Scanner

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield from _scanned(batches, self.scanner)


@dataclass(slots=True, kw_only=True)
class _RowNumbers:
    """Numbers documents by file and place, so that tasks need not know of each other."""

    numbers: dict[str, int]
    _met: dict[str, int] = field(default_factory=dict)

    def add(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        # A file's records follow each other; the counts come in the order in which the files begin.
        parts = []
        for entry in batch["file"].value_counts().to_pylist():
            name, count = entry["values"], entry["counts"]
            first = (self.numbers[name] << _FILE_BITS) + self._met.get(name, 0)
            self._met[name] = self._met.get(name, 0) + count
            parts.append(np.arange(first, first + count))
        return batch.append_column("row", pa.array(np.concatenate([np.empty(0, np.int64), *parts])))


def _scanned(batches: Iterable[pa.RecordBatch], scanner: Scanner) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for found in scan_batches([batch], scanner):
            arrays = {"row": batch["row"], **dict(zip(found.schema.names, found.columns, strict=True))}
            yield pa.RecordBatch.from_pydict({name: _recast(a, _spark_type(a.type)) for name, a in arrays.items()})


def _scanner(spec: ScanSpec) -> Scanner:
    """What to compute; a language model is a name here and is loaded where it is used."""
    return Scanner(
        minhash=spec.minhash,
        passages=spec.passages,
        benchmarks=load_benchmarks(spec.benchmarks) if spec.benchmarks else None,
        language=None if spec.language == "none" else FastTextLanguage(),
    )


def _schema(scanner: Scanner) -> pa.Schema:
    """Columns that a scan gives, seen on one document."""
    example = {
        "doc_id": "a", "text": "one word", "source": "a", "file": "a", "record": 1, "n_bytes": 8, "status": "read",
    }  # fmt: skip
    batch = pa.RecordBatch.from_pylist([example], schema=DOCUMENT_SCHEMA)
    return next(iter(scan_batches([batch], scanner))).schema


def _spark_type(kind: pa.DataType) -> pa.DataType:
    """What Spark has in place of a type of Arrow: no unsigned integers, no fixed width, one kind of string."""
    if pa.types.is_list(kind):
        return pa.list_(_spark_type(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(part.name, _spark_type(part.type)) for part in kind])
    if pa.types.is_uint64(kind):
        return pa.int64()
    if pa.types.is_fixed_size_binary(kind):
        return pa.binary()
    return pa.string() if pa.types.is_large_string(kind) else kind


def _recast(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """The same values, to the bit, under another type."""
    if array.type == kind:
        return array
    if pa.types.is_list(array.type):
        values = _recast(array.flatten(), kind.value_type)
        lengths = np.nan_to_num(array.value_lengths().to_numpy(zero_copy_only=False)).astype(np.int64)
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
        mask = array.is_null() if array.null_count else None
        return pa.ListArray.from_arrays(offsets, values, type=kind, mask=mask)
    if pa.types.is_struct(array.type):
        parts = [_recast(part, kind.field(i).type) for i, part in enumerate(array.flatten())]
        return pa.StructArray.from_arrays(parts, fields=list(kind))
    if pa.types.is_integer(array.type) and pa.types.is_integer(kind) and array.type.bit_width == kind.bit_width:
        return array.view(kind)
    return array.cast(kind)


_NAMES = {
    pa.string(): "string", pa.int32(): "int", pa.int64(): "bigint", pa.float64(): "double", pa.bool_(): "boolean",
    pa.binary(): "binary", pa.timestamp("us", tz="UTC"): "timestamp",
}  # fmt: skip


def _ddl(schema: pa.Schema) -> str:
    """Columns as Spark writes them, ``row`` first."""
    columns = [f"`{part.name}` {_type_name(_spark_type(part.type))}" for part in schema]
    return ", ".join(["`row` bigint", *columns])


def _type_name(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"array<{_type_name(kind.value_type)}>"
    if pa.types.is_struct(kind):
        return "struct<" + ",".join(f"`{part.name}`:{_type_name(part.type)}" for part in kind) + ">"
    return _NAMES[kind]
