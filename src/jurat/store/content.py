"""A digest of what a table says, whatever files, chunks or encodings it lies in.

Two imports of the same sources write Parquet files with other names and perhaps other bytes; whether they hold
the same rows is answered here. Each column is hashed as up to three streams (which values are null, how long each
is, the values themselves) that grow by concatenation, so the digest does not depend on how the rows were cut, and
a reader of any length is hashed in bounded memory. Column names, types and the number of rows are hashed with
them, which makes the encoding injective: two different tables with one digest would be a collision of SHA-256.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import rfc8785

from jurat.errors import DataError

__all__ = ["ContentDigest", "content_digest"]


def content_digest(data: pa.Table) -> str:
    """SHA-256 of what a table says, in hex.

    Equal tables (names, types, values, order of rows) have equal digests. Dictionary encoding and the large and
    view variants of a type do not count, nor do the bits under a null. Floats are compared by their bits.

    Examples
    --------
    >>> chunked = pa.table({"arm": pa.chunked_array([["a", "b"], ["a"]])})
    >>> encoded = pa.table({"arm": pa.array(["a", "b", "a"]).dictionary_encode()})
    >>> content_digest(chunked) == content_digest(encoded)
    True
    >>> content_digest(chunked) == content_digest(chunked.slice(1))
    False
    """
    digest = ContentDigest(data.schema)
    digest.update(data)
    return digest.hexdigest()


class ContentDigest:
    """`content_digest` of rows that arrive in parts.

    Parameters
    ----------
    schema
        Schema of every part.

    Examples
    --------
    >>> table = pa.table({"x": [1, 2, None]})
    >>> digest = ContentDigest(table.schema)
    >>> for batch in table.to_batches(max_chunksize=2):
    ...     digest.update(batch)
    >>> digest.rows, digest.hexdigest() == content_digest(table)
    (3, True)
    """

    def __init__(self, schema: pa.Schema) -> None:
        self.rows = 0
        self._names = list(schema.names)
        self._columns = [_Column(field.type) for field in schema]

    def update(self, part: pa.Table | pa.RecordBatch) -> None:
        """Add rows below those that are there."""
        self.rows += part.num_rows
        for state, column in zip(self._columns, part.columns, strict=True):
            for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
                state.update(chunk)

    def hexdigest(self) -> str:
        """Digest of all rows so far, in hex."""
        columns = zip(self._names, self._columns, strict=True)
        content = {"rows": self.rows, "columns": [[name, *column.summary()] for name, column in columns]}
        return hashlib.sha256(rfc8785.dumps(content)).hexdigest()


class _Column:
    """Streams of one column; a list or a struct hashes its children as columns of their own."""

    def __init__(self, kind: pa.DataType) -> None:
        self._kind = _plain(kind)
        self._validity, self._lengths, self._values = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
        self._children = [_Column(self._kind.field(i).type) for i in range(self._kind.num_fields)]

    def summary(self) -> list[object]:
        """Type, digest of each stream, and the same of each child."""
        streams = [state.hexdigest() for state in (self._validity, self._lengths, self._values)]
        # A list type spells out the name of its element, which differs between writers and means nothing.
        name = str(self._kind) if not self._children else type(self._kind).__name__
        names = (
            [self._kind.field(i).name for i in range(self._kind.num_fields)] if pa.types.is_struct(self._kind) else []
        )
        return [name, streams, names, [child.summary() for child in self._children]]

    def update(self, array: pa.Array) -> None:
        if len(array) == 0:
            return
        array = array if array.type == self._kind else array.cast(self._kind)
        self._validity.update(pc.is_null(array).cast(pa.uint8()).to_numpy())
        if pa.types.is_list(self._kind):
            self._lengths.update(_filled(pc.list_value_length(array), 0).cast(pa.int64()).to_numpy())
            self._children[0].update(pc.list_flatten(array))
        elif pa.types.is_struct(self._kind):
            for child, values in zip(self._children, array.flatten(), strict=True):
                child.update(values)
        elif pa.types.is_binary(self._kind) or pa.types.is_string(self._kind):
            self._update_bytes(array)
        elif not pa.types.is_null(self._kind):
            self._values.update(_numbers(array))

    def _update_bytes(self, array: pa.Array) -> None:
        filled = _filled(array.cast(pa.large_binary()), b"")
        _, offsets, content = filled.buffers()
        ends = np.frombuffer(offsets, dtype=np.int64)[filled.offset : filled.offset + len(filled) + 1]
        self._lengths.update(np.diff(ends).tobytes())
        if content is not None:
            self._values.update(memoryview(content)[ends[0] : ends[-1]])


_HASHED = (
    pa.types.is_null,
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_timestamp,
    pa.types.is_date,
    pa.types.is_time,
    pa.types.is_duration,
    pa.types.is_binary,
    pa.types.is_string,
)


def _plain(kind: pa.DataType) -> pa.DataType:
    """Type that stands for all variants of itself."""
    types = pa.types
    if types.is_dictionary(kind):
        return _plain(kind.value_type)
    if types.is_large_string(kind) or types.is_string_view(kind):
        return pa.string()
    if types.is_large_binary(kind) or types.is_binary_view(kind) or types.is_fixed_size_binary(kind):
        return pa.binary()
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return pa.list_(_plain(kind.value_type))
    if types.is_struct(kind):
        return pa.struct([field.with_type(_plain(field.type)) for field in kind])
    if any(is_of(kind) for is_of in _HASHED):
        return kind
    raise DataError(
        "a column has a type that cannot be hashed",
        seen=str(kind),
        next_step="cast it to a number, a text or a time",
    )


def _filled(array: pa.Array, value: object) -> pa.Array:
    """Array without nulls; what lay under a null is replaced."""
    return array if array.null_count == 0 else pc.fill_null(array, value)


def _numbers(array: pa.Array) -> bytes:
    """Bytes of fixed-width values, 0 under a null."""
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.uint8())
    elif pa.types.is_temporal(array.type):
        array = array.cast(pa.int32() if array.type.bit_width == 32 else pa.int64())
    values: npt.NDArray[np.generic] = _filled(array, 0).to_numpy()
    return values.tobytes()
