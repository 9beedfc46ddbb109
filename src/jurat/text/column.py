"""Text as kernels see it: one run of bytes and where each document begins.

An Arrow string column already is that, so nothing is copied: the kernels read Arrow's own buffers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

__all__ = ["TextColumn"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextColumn:
    """UTF-8 documents as bytes and offsets.

    Attributes
    ----------
    data
        Bytes of all documents, uint8, shape ``(size,)``; documents need not begin at 0 nor fill it.
    offsets
        Where each document begins and the last one ends, int64, shape ``(n + 1,)``.
    valid
        Whether a document is there at all (not null), bool, shape ``(n,)``; a null document has no bytes.

    Examples
    --------
    >>> column = TextColumn.of(["one", None, "zwei"])
    >>> len(column), column.offsets.tolist(), column.valid.tolist()
    (3, [0, 3, 3, 7], [True, False, True])
    >>> bytes(column.document(2))
    b'zwei'
    """

    data: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    valid: NDArray[np.bool_]

    @classmethod
    def of(cls, texts: pa.Array | pa.ChunkedArray | Iterable[str | bytes | None]) -> TextColumn:
        """View an Arrow string or binary column, or take Python strings in.

        Parameters
        ----------
        texts
            A column of type string, large_string, binary or large_binary (sliced ones too), or an iterable of str or
            bytes. The bytes are taken as they are: whoever reads files checks that they are UTF-8.

        Returns
        -------
        TextColumn
            Sharing memory with an Arrow array; chunks are joined into one.

        Raises
        ------
        TypeError
            Where the column holds something else.
        """
        array = texts if isinstance(texts, pa.Array | pa.ChunkedArray) else _array(texts)
        if isinstance(array, pa.ChunkedArray):
            array = array.combine_chunks()
            array = array.chunk(0) if isinstance(array, pa.ChunkedArray) else array
        if pa.types.is_string_view(array.type) or pa.types.is_dictionary(array.type):
            array = array.cast(pa.large_string())
        large = pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type)
        if not (large or pa.types.is_string(array.type) or pa.types.is_binary(array.type)):
            raise TypeError(f"text must be a string or binary column, not {array.type}")
        _, offsets, data = array.buffers()
        n = len(array)
        if n == 0 or offsets is None:
            return cls(data=np.empty(0, np.uint8), offsets=np.zeros(n + 1, np.int64), valid=np.zeros(n, np.bool_))
        kind = np.int64 if large else np.int32
        places = np.frombuffer(offsets, kind, count=n + 1, offset=array.offset * np.dtype(kind).itemsize)
        valid = np.asarray(array.is_valid().to_numpy(zero_copy_only=False), np.bool_)
        content = np.empty(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
        return cls(data=content, offsets=places.astype(np.int64), valid=valid)

    def __len__(self) -> int:
        return len(self.valid)

    @property
    def n_bytes(self) -> int:
        """Bytes of all documents together."""
        return int(self.offsets[-1] - self.offsets[0])

    def document(self, index: int) -> NDArray[np.uint8]:
        """Bytes of one document, uint8, without a copy."""
        return self.data[self.offsets[index] : self.offsets[index + 1]]


def _array(texts: Iterable[str | bytes | None]) -> pa.Array:
    values = [value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value for value in texts]
    return pa.array(values, pa.large_binary())
