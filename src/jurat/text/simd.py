"""Instructions that Numba does not offer, written as LLVM IR: wide loads, class masks, a 128-bit product, the MinHash tile.

LLVM lowers the wide vectors to what the processor has (AVX2, AVX-512, NEON, or plain code), so results do not depend on it.
None of these checks bounds: each says how far it reads, and callers keep that much readable behind it.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = [
    "LEAF",
    "TILE",
    "fold_product",
    "load_word",
    "lowest_bit",
    "minhash_tile",
    "prefetch",
    "set_bits",
    "word_mask",
]

_I8, _I32, _I64, _I128 = ir.IntType(8), ir.IntType(32), ir.IntType(64), ir.IntType(128)
_BLOCK = 64
LEAF: dict[str, Any] = {"cache": True, "nogil": True, "_nrt": False}
"""Options of kernels that make no array: without reference counts, which cost more than the work of a call on one line."""

TILE = 32
"""Permutations that one pass over the shingles carries in registers."""


def _pointer(context: Any, builder: Any, kind: Any, array: Any, index: Any, target: ir.Type) -> Any:
    data = cgutils.create_struct_proxy(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), target.as_pointer())


@intrinsic
def word_mask(typingctx: Any, data: Any, place: Any) -> Any:
    """Bit i: is byte ``data[place + i]`` an ASCII letter or digit, or not ASCII? Reads 64 bytes."""
    signature = types.uint64(data, types.int64)

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        vector = ir.VectorType(_I8, _BLOCK)
        block = builder.load(
            _pointer(context, builder, sig.args[0], arguments[0], arguments[1], vector), align=1, typ=vector
        )

        def each(value: int) -> ir.Constant:
            return ir.Constant(vector, [value] * _BLOCK)

        letter = builder.icmp_unsigned("<", builder.sub(builder.or_(block, each(0x20)), each(ord("a"))), each(26))
        digit = builder.icmp_unsigned("<", builder.sub(block, each(ord("0"))), each(10))
        high = builder.icmp_signed("<", block, each(0))
        return builder.bitcast(builder.or_(builder.or_(letter, digit), high), _I64)

    return signature, generate


@intrinsic
def load_word(typingctx: Any, data: Any, place: Any) -> Any:
    """Eight bytes from ``data[place]`` as a little-endian number. Reads 8 bytes."""
    signature = types.uint64(data, types.int64)

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        pointer = _pointer(context, builder, sig.args[0], arguments[0], arguments[1], _I64)
        return builder.load(pointer, align=1, typ=_I64)

    return signature, generate


@intrinsic
def fold_product(typingctx: Any, left: Any, right: Any) -> Any:
    """The 128-bit product of two numbers, its upper half XORed on its lower."""
    signature = types.uint64(types.uint64, types.uint64)

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        wide = builder.mul(builder.zext(arguments[0], _I128), builder.zext(arguments[1], _I128))
        upper = builder.trunc(builder.lshr(wide, ir.Constant(_I128, 64)), _I64)
        return builder.xor(builder.trunc(wide, _I64), upper)

    return signature, generate


@intrinsic
def lowest_bit(typingctx: Any, bits: Any) -> Any:
    """Position of the lowest set bit of a number that is not 0."""
    signature = types.int64(types.uint64)

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return signature, generate


@intrinsic
def set_bits(typingctx: Any, bits: Any) -> Any:
    """How many bits of a number are set."""
    signature = types.int64(types.uint64)

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return signature, generate


@intrinsic
def prefetch(typingctx: Any, data: Any, place: Any) -> Any:
    """Ask for the cache line of ``data[place]`` ahead of its use; reads nothing."""
    signature = types.void(data, types.int64)

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        pointer = _pointer(context, builder, sig.args[0], arguments[0], arguments[1], _I8)
        kind = ir.FunctionType(ir.VoidType(), [_I8.as_pointer(), _I32, _I32, _I32])
        ask = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(ask, [pointer, ir.Constant(_I32, 0), ir.Constant(_I32, 1), ir.Constant(_I32, 1)])
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def minhash_tile(
    typingctx: Any, shingles: Any, start: Any, stop: Any, factor: Any, offset: Any, lane: Any, out: Any, at: Any
) -> Any:
    """Least ``factor * x + offset`` (mod 2^32) over shingles ``[start, stop)``, for `TILE` permutations from ``lane``.

    Reads and writes ``TILE`` numbers of ``out`` from ``at``; they come in as the minima so far.
    """
    signature = types.void(shingles, types.int64, types.int64, factor, offset, types.int64, out, types.int64)

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        vector = ir.VectorType(_I32, TILE)
        data, start_, stop_, factors, offsets, lane_, minima, at_ = arguments
        kinds = sig.args
        numbers = cgutils.create_struct_proxy(kinds[0])(context, builder, data).data
        a = builder.load(_pointer(context, builder, kinds[3], factors, lane_, vector), align=4, typ=vector)
        b = builder.load(_pointer(context, builder, kinds[4], offsets, lane_, vector), align=4, typ=vector)
        target = _pointer(context, builder, kinds[6], minima, at_, vector)
        before = builder.load(target, align=4, typ=vector)
        entry = builder.block
        loop, done = builder.append_basic_block("tile"), builder.append_basic_block("tile.done")
        builder.cbranch(builder.icmp_signed("<", start_, stop_), loop, done)
        builder.position_at_end(loop)
        place, least = builder.phi(_I64), builder.phi(vector)
        place.add_incoming(start_, entry)
        least.add_incoming(before, entry)
        one = builder.load(builder.gep(numbers, [place]), align=4, typ=_I32)
        first = builder.insert_element(ir.Constant(vector, ir.Undefined), one, ir.Constant(_I32, 0))
        lanes = ir.Constant(ir.VectorType(_I32, TILE), [0] * TILE)
        every = builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), lanes)
        value = builder.add(builder.mul(every, a), b)
        smaller = builder.select(builder.icmp_unsigned("<", value, least), value, least)
        following = builder.add(place, ir.Constant(_I64, 1))
        place.add_incoming(following, loop)
        least.add_incoming(smaller, loop)
        builder.cbranch(builder.icmp_signed("<", following, stop_), loop, done)
        builder.position_at_end(done)
        result = builder.phi(vector)
        result.add_incoming(before, entry)
        result.add_incoming(smaller, loop)
        builder.store(result, target, align=4)
        return context.get_dummy_value()

    return signature, generate
