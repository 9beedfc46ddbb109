"""Kernels that find personal data and keys: a mask over 64 bytes names the few places worth a look, matchers look there.

Every matcher reads a bounded number of bytes, or bytes that no later match of its kind reads again, so that hostile input
takes no more than linear time.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from jurat.text.pii_keys import assignment, aws_key, github_token, json_web_token, private_key, slack_token
from jurat.text.pii_numbers import (
    email,
    iban,
    ipv4,
    ipv6,
    is_alphanumeric,
    payment_card,
    phone_international,
    phone_north_american,
)
from jurat.text.simd import lowest_bit

__all__ = ["find_candidates"]

EMAIL, PHONE, IPV4, IPV6, CARD, IBAN, AWS, GITHUB, SLACK, PRIVATE, JWT, SECRET = range(12)
_N_KINDS = 12


@intrinsic
def _masks(typingctx: Any, data: Any, place: Any) -> Any:
    """Bit i of the first mask: is byte ``place + i`` a digit; of the second: one of ``@+(:=_-AJ``? Reads 64 bytes."""
    signature = types.UniTuple(types.uint64, 2)(data, types.int64)

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        vector = ir.VectorType(ir.IntType(8), 64)
        pointer = cgutils.create_struct_proxy(sig.args[0])(context, builder, arguments[0]).data
        pointer = builder.bitcast(builder.gep(pointer, [arguments[1]]), vector.as_pointer())
        block = builder.load(pointer, align=1, typ=vector)

        def each(value: int) -> ir.Constant:
            return ir.Constant(vector, [value] * 64)

        digits = builder.icmp_unsigned("<", builder.sub(block, each(ord("0"))), each(10))
        signs = ir.Constant(ir.VectorType(ir.IntType(1), 64), [0] * 64)
        for sign in b"@+(:=_-AJ":
            signs = builder.or_(signs, builder.icmp_unsigned("==", block, each(sign)))
        pair = [builder.bitcast(mask, ir.IntType(64)) for mask in (digits, signs)]
        return context.make_tuple(builder, sig.return_type, pair)

    return signature, generate


@nb.njit(cache=True, nogil=True)
def _hit(hits, n, kind, place):
    """Note a match, if it is one; returns how many are noted."""
    begin, end = place
    if end <= begin:
        return n
    hits[n, 0], hits[n, 1], hits[n, 2] = kind, begin, end
    return n + 1


@nb.njit(cache=True, nogil=True)
def _look(data, start, place, stop, key_begin, hits):
    """Try every matcher whose matches the byte at ``place`` gives away; returns how many hits were noted."""
    byte = data[place]
    if 48 <= byte <= 57:
        if place > start and is_alphanumeric(data[place - 1]):
            return _hit(hits, 0, IBAN, iban(data, start, place, stop))
        n = _hit(hits, 0, PHONE, phone_north_american(data, start, place, stop))
        n = _hit(hits, n, IPV4, ipv4(data, start, place, stop))
        return _hit(hits, n, CARD, payment_card(data, start, place, stop))
    if byte == 45:
        n = _hit(hits, 0, SLACK, slack_token(data, start, place, stop))
        return _hit(hits, n, PRIVATE, private_key(data, start, place, stop)) if place >= key_begin else n
    if byte == 58:
        n = _hit(hits, 0, IPV6, ipv6(data, start, place, stop))
        return _hit(hits, n, SECRET, assignment(data, start, place, stop))
    if byte == 61:
        return _hit(hits, 0, SECRET, assignment(data, start, place, stop))
    if byte == 64:
        return _hit(hits, 0, EMAIL, email(data, start, place, stop))
    if byte == 43:
        return _hit(hits, 0, PHONE, phone_international(data, start, place, stop))
    if byte == 40:
        return _hit(hits, 0, PHONE, phone_north_american(data, start, place, stop))
    if byte == 65:
        return _hit(hits, 0, AWS, aws_key(data, start, place, stop))
    if byte == 95:
        return _hit(hits, 0, GITHUB, github_token(data, start, place, stop))
    return _hit(hits, 0, JWT, json_web_token(data, start, place, stop))


@nb.njit(cache=True, nogil=True)
def _document(data, start, stop, document, found, n, scratch):
    """Search one document whose bytes have 64 readable ones behind them; a match of a kind ends before its next begins."""
    free, hits = scratch
    free[:] = start
    carry = np.uint64(0)
    one = np.uint64(1)
    for block in range(start, stop, 64):
        digits, signs = _masks(data, block)
        bits = (digits & ~((digits << one) | carry)) | signs
        carry = digits >> np.uint64(63)
        if stop - block < 64:
            bits &= (one << np.uint64(stop - block)) - one
        while bits != np.uint64(0):
            count = _look(data, start, block + lowest_bit(bits), stop, free[PRIVATE], hits)
            bits &= bits - one
            for h in range(count):
                kind, begin, end = hits[h, 0], hits[h, 1], hits[h, 2]
                if begin >= free[kind]:
                    free[kind] = end
                    if n == len(found):
                        found = np.concatenate((found, found))
                    found[n, 0], found[n, 1], found[n, 2], found[n, 3] = kind, document, begin - start, end - start
                    n += 1
    return found, n


@nb.njit(cache=True, nogil=True)
def find_candidates(data, offsets):
    """Rows of kind, document, begin and end (bytes from the document's start), int64, shape ``(n, 4)``."""
    found = np.empty((256, 4), np.int64)
    scratch = (np.zeros(_N_KINDS, np.int64), np.zeros((4, 3), np.int64))
    n = 0
    for document in range(len(offsets) - 1):
        start, stop = offsets[document], offsets[document + 1]
        if stop + 64 <= len(data):
            found, n = _document(data, start, stop, document, found, n, scratch)
        elif stop > start:
            copy = np.zeros(stop - start + 64, np.uint8)
            copy[: stop - start] = data[start:stop]
            found, n = _document(copy, 0, stop - start, document, found, n, scratch)
    return found[:n]
