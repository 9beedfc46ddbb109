"""Texts cut into blocks of as many words, so that what depends on length can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jurat.text.column import TextColumn
from jurat.text.words import hash_words

__all__ = ["Blocks", "blocks_of"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Blocks:
    """Blocks of as many words.

    Attributes
    ----------
    size
        Words of each.
    words
        Hashes of the words of each block.
    raw
        Bytes of each block.
    n_documents
        Documents that they were cut from.
    """

    size: int
    words: list[NDArray[np.uint64]]
    raw: list[bytes]
    n_documents: int


def blocks_of(texts: Sequence[str], size: int, *, most: int = 50) -> Blocks:
    """Join texts in the order given and cut them into blocks; what is left over is no block.

    Parameters
    ----------
    texts
        A sample in random order.
    size
        Words of a block.
    most
        Blocks at most.

    Raises
    ------
    ValueError
        Where the size is not positive.

    Examples
    --------
    >>> blocks = blocks_of(["one two three", "four five"], 2)
    >>> blocks.raw, [len(words) for words in blocks.words]
    ([b'one two ', b'three\\nfour '], [2, 2])
    """
    if size < 1:
        raise ValueError(f"a block needs at least one word, got {size!r}")
    column = TextColumn.of(["\n".join(texts)])
    words = hash_words(column)
    document = column.document(0)
    words_of, raw = [], []
    for first in range(0, min(len(words.hashes) - size + 1, most * size), size):
        last = first + size
        stop = int(words.starts[last]) if last < len(words.starts) else len(document)
        words_of.append(words.hashes[first:last])
        raw.append(document[int(words.starts[first]) : stop].tobytes())
    return Blocks(size=size, words=words_of, raw=raw, n_documents=len(texts))
