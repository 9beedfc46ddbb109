"""Bodies of requests: unpacked to a limit, cheap checks that hostile bytes do not pass."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import zlib
from collections.abc import AsyncIterator

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect

from jurat.web.bodies import BadBody, Limits, check_json, check_protobuf, read_body, unpack

LIMITS = Limits(packed_bytes=1000, unpacked_bytes=10_000)


def _zstd(body: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(body, asbytes=True))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=3000), st.sampled_from(["", "identity", "gzip", "GZIP ", "deflate", "zstd"]))
def test_every_encoding_gives_the_body_back(body: bytes, encoding: str) -> None:
    packers = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": _zstd}
    packed = packers.get(encoding.strip().lower(), bytes)(body)
    assert unpack(packed, encoding, LIMITS) == body


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("zstd", _zstd)])
def test_a_bomb_is_refused_before_it_is_whole(encoding: str, pack: object) -> None:
    bomb = pack(b"\0" * 50_000_000)  # type: ignore[operator]
    with pytest.raises(BadBody, match="too large once unpacked") as error:
        unpack(bomb, encoding, LIMITS)
    assert error.value.status == 413


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
def test_damaged_and_cut_bodies_are_refused(encoding: str) -> None:
    packed = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": _zstd}[encoding](b"span" * 500)
    for body in (packed[:-4], b"not packed at all", packed[: len(packed) // 2]):
        with pytest.raises(BadBody):
            unpack(body, encoding, LIMITS)


def test_an_unknown_encoding_is_told() -> None:
    with pytest.raises(BadBody, match="unknown content encoding") as error:
        unpack(b"", "br", LIMITS)
    assert error.value.status == 415


def test_a_body_that_goes_on_for_ever_is_stopped() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 100

    with pytest.raises(BadBody) as error:
        asyncio.run(read_body(endless(), LIMITS))
    assert error.value.status == 413


@pytest.mark.parametrize(
    "body",
    [
        b"\x0a",
        b"\x0a\x05abc",
        b"\x08\x01",
        b"\x02\x00",
        b"\x0a" + b"\xff" * 11,
        b"\x0a\xff\xff\xff\xff\x0fabc",
        b"<html>",
    ],
)
def test_bytes_that_are_no_request_are_refused(body: bytes) -> None:
    with pytest.raises(BadBody):
        check_protobuf(body)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_checked_without_another_error(body: bytes) -> None:
    for check in (check_protobuf, check_json):
        with contextlib.suppress(BadBody):
            check(body)


def test_json_is_one_object() -> None:
    check_json(b'{"resourceSpans": []}')
    for body in (b"[1]", b"{", b"\xff", b"[" * 100_000):
        with pytest.raises(BadBody):
            check_json(body)


def test_a_body_that_does_not_come_or_whose_sender_leaves_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def drip() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x"
            await asyncio.sleep(0.02)

    async def leave() -> AsyncIterator[bytes]:
        yield b"abc"
        raise ClientDisconnect

    with pytest.raises(BadBody) as slow:
        asyncio.run(read_body(drip(), Limits(seconds=0.1)))
    assert slow.value.status == 408 and "in 0.1 s" in str(slow.value)
    with pytest.raises(BadBody, match="the sender left") as left:
        asyncio.run(read_body(leave(), Limits()))
    assert left.value.status == 400
