"""Laws of packet protection: what is sealed opens, what is damaged does not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rudp.protection import Protection, by_id, by_name, names

ALL = [by_name(name) for name in names()]


def train(payload_size: int, count: int, last_size: int) -> tuple[list[bytes], list[bytes | memoryview]]:
    headers = [bytes([index & 0xFF]) * 13 for index in range(count)]
    sizes = [payload_size] * (count - 1) + [last_size]
    payloads: list[bytes | memoryview] = [
        memoryview(bytes([index]) * size) if index % 2 else bytes([index]) * size
        for index, size in enumerate(sizes)
    ]
    return headers, payloads


TRAINS = st.tuples(st.integers(0, 40), st.integers(1, 9)).flatmap(
    lambda drawn: st.tuples(st.just(drawn[0]), st.just(drawn[1]), st.integers(0, drawn[0]))
)


@pytest.mark.parametrize("protection", ALL, ids=names())
@given(shape=TRAINS)
@settings(deadline=None)
def test_what_is_sealed_opens(protection: Protection, shape: tuple[int, int, int]) -> None:
    headers, payloads = train(*shape)
    buffers = protection.seal(0, headers, payloads)
    sealed = b"".join(buffers)
    segment_size = 13 + shape[0] + protection.overhead
    packets = [sealed[start : start + segment_size] for start in range(0, len(sealed), segment_size)]
    assert protection.open(memoryview(sealed), segment_size, 0) == ()
    assert len(packets) == len(headers)
    for packet, header, payload in zip(packets, headers, payloads, strict=True):
        assert packet[: len(packet) - protection.overhead] == header + bytes(payload)


def test_crc32_is_a_big_endian_trailer_over_header_and_payload() -> None:
    assert by_name("crc32").seal(5, [b"head"], [b"body"]) == [
        b"head", b"body", crc32(b"headbody").to_bytes(4, "big"),
    ]  # fmt: skip


def test_none_adds_nothing_and_copies_nothing() -> None:
    header, payload = b"head", memoryview(b"body")
    sealed = by_name("none").seal(5, [header], [payload])
    assert sealed[0] is header
    assert sealed[1] is payload
    assert len(sealed) == 2
    assert by_name("none").open(memoryview(b"anything"), 3, 0) == ()


@given(shape=TRAINS, data=st.data())
@settings(deadline=None)
def test_crc32_names_the_packets_that_were_damaged(shape: tuple[int, int, int], data: st.DataObject) -> None:
    protection = by_name("crc32")
    sealed = bytearray(b"".join(protection.seal(0, *train(*shape))))
    segment_size = 13 + shape[0] + 4
    places = data.draw(st.lists(st.integers(0, len(sealed) - 1), unique=True, max_size=3))
    hit: dict[int, None] = {}
    for place in sorted(places):
        sealed[place] ^= 1 << data.draw(st.integers(0, 7))
        hit[place // segment_size] = None
    assert protection.open(memoryview(sealed), segment_size, 0) == tuple(hit)


@pytest.mark.parametrize("count", [1, 2, 64, 65, 130])
@pytest.mark.parametrize("last", [0, 3, 60])
def test_crc32_finds_the_same_in_a_run_of_any_length_as_packet_by_packet(count: int, last: int) -> None:
    crc = by_name("crc32")
    buffers = crc.seal(0, [b"header"] * count, [bytes([number % 256]) * 90 for number in range(count)])
    run = bytearray(b"".join(buffers) + bytes(last))
    for number in range(0, count, 3):
        run[number * 100 + number % 100] ^= 1
    view = memoryview(run)
    singly = [at // 100 for at in range(0, len(view), 100) if crc.open(view[at : at + 100], 100, 0)]
    assert crc.open(view, 100, 0) == tuple(singly)
    assert singly[: -(-count // 3)] == list(range(0, count, 3))


def test_a_packet_shorter_than_its_trailer_fails_and_is_no_error() -> None:
    protection = by_name("crc32")
    good = b"".join(protection.seal(0, [b"head"], [b"body"]))
    assert protection.open(memoryview(good + good[:3]), len(good), 0) == (1,)
    assert protection.open(memoryview(good[:3]), len(good), 0) == (0,)
    assert protection.open(memoryview(b""), 10, 0) == ()


@given(st.binary(max_size=60), st.integers(1, 70))
@settings(deadline=None)
def test_arbitrary_bytes_fail_quietly(data: bytes, segment_size: int) -> None:
    count = -(-len(data) // segment_size)
    for protection in ALL:
        failed = protection.open(memoryview(data), segment_size, 0)
        assert list(failed) == sorted(set(failed))
        assert all(index < count for index in failed)


def test_names_and_ids_are_those_of_the_specification() -> None:
    assert [(one.name, one.id, one.overhead) for one in ALL] == [("none", 0, 0), ("crc32", 1, 4)]
    for one in ALL:
        assert by_name(one.name) is by_id(one.id) is one
    assert by_id(77) is None
    with pytest.raises(ValueError, match="rot13"):
        by_name("rot13")


def state_of(protection: Protection) -> Iterator[Any]:
    for one in type(protection).__mro__:
        yield from getattr(one, "__slots__", ())


def test_protections_have_no_state_to_share() -> None:
    for one in ALL:
        assert not hasattr(one, "__dict__")
        assert not list(state_of(one))
