"""What the bytes of a document are, sixty-four at a time: bit maps that the quality counters read instead of the bytes.

Four maps lie interleaved, a 64-bit number of each in turn: letters; letters and digits; bytes that need a closer look (marks,
``j``, and all that is not ASCII); line breaks. Beside them stand the places where runs without ASCII whitespace begin and end.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from jurat.text.simd import LEAF, lowest_bit, set_bits

__all__ = ["BREAKS", "LETTERS", "PLAINS", "RARE", "bits_at", "map_document", "next_bit"]

LETTERS, PLAINS, RARE, BREAKS = range(4)
_MAPS = 4
_BLOCK = 64
_I64 = ir.IntType(64)
_ONE = np.uint64(1)


@intrinsic
def _masks(typingctx: Any, data: Any, place: Any) -> Any:
    """Bits of 64 bytes from ``place``: whitespace, letters, digits, rare, breaks. Reads 64 bytes."""
    signature = types.UniTuple(types.uint64, 5)(data, types.int64)

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        vector = ir.VectorType(ir.IntType(8), _BLOCK)
        base = cgutils.create_struct_proxy(sig.args[0])(context, builder, arguments[0]).data
        pointer = builder.bitcast(builder.gep(base, [arguments[1]]), vector.as_pointer())
        block = builder.load(pointer, align=1, typ=vector)

        def each(value: int) -> ir.Constant:
            return ir.Constant(vector, [value] * _BLOCK)

        def among(bytes_: Any, first: int, last: int) -> Any:
            return builder.icmp_unsigned("<", builder.sub(bytes_, each(first)), each(last - first + 1))

        def any_of(*masks: Any) -> Any:
            result = masks[0]
            for mask in masks[1:]:
                result = builder.or_(result, mask)
            return result

        folded = builder.or_(block, each(0x20))
        marks = [builder.icmp_unsigned("==", block, each(ord(mark))) for mark in ".?!#{"]
        letter_j = builder.icmp_unsigned("==", folded, each(ord("j")))
        masks = (
            any_of(among(block, 0x09, 0x0D), among(block, 0x1C, 0x20)),
            among(folded, ord("a"), ord("z")),
            among(block, ord("0"), ord("9")),
            any_of(*marks, letter_j, builder.icmp_signed("<", block, each(0))),
            any_of(among(block, 0x0A, 0x0D), among(block, 0x1C, 0x1E)),
        )
        return context.make_tuple(builder, sig.return_type, [builder.bitcast(mask, _I64) for mask in masks])

    return signature, generate


@nb.njit(inline="always", **LEAF)
def bits_at(maps, place, kind):
    """Sixty-four bits of a map from ``place``."""
    at, shift = (place >> 6) * _MAPS + kind, np.uint64(place & 63)
    return (maps[at] >> shift) | ((maps[at + _MAPS] << _ONE) << (np.uint64(63) - shift))


@nb.njit(**LEAF)
def next_bit(maps, place, stop, kind):
    """The first place in ``[place, stop)`` whose bit is set in a map, or ``stop``."""
    while place < stop:
        bits = maps[(place >> 6) * _MAPS + kind] >> np.uint64(place & 63)
        if bits:
            return min(place + lowest_bit(bits), stop)
        place = (place | 63) + 1
    return stop


@nb.njit(**LEAF)
def map_document(data, start, stop, maps, edges):
    """Map one document; returns how many edges there are, a beginning and an end in turn, counted from ``start``.

    Reads up to 64 bytes behind ``stop``; writes one block of maps and up to eight edges more than there are.
    """
    n, carry, at = 0, np.uint64(0), 0
    for place in range(start, stop, _BLOCK):
        spaces, letters, digits, rare, breaks = _masks(data, place)
        inside = ~np.uint64(0)
        if stop - place < _BLOCK:
            inside = (_ONE << np.uint64(stop - place)) - _ONE
        maps[at + LETTERS], maps[at + PLAINS] = letters, letters | digits
        maps[at + RARE], maps[at + BREAKS] = rare & inside, breaks & inside
        at += _MAPS
        words = ~spaces & inside
        changes = words ^ ((words << _ONE) | carry)
        carry = words >> np.uint64(63)
        count = set_bits(changes)
        done = 0
        while done < count:
            # Eight are written whether or not so many are left: what is too many is overwritten next.
            for _ in range(8):
                edges[n + done] = place - start + lowest_bit(changes | np.uint64(1 << 63))
                changes &= changes - _ONE
                done += 1
        n += count
    for kind in range(_MAPS):
        maps[at + kind] = 0
    if n & 1:
        edges[n] = stop - start
        n += 1
    return n
