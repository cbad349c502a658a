"""Laws of DATA packets on the wire.

1. The columns of a buffer are the headers of its packets, each read alone by interpreted construct.
2. A run of canonical packets reads as its packets do one by one, neighbours merged; any split of a run gives
   the same bytes at the same offsets.
3. The headers of a train are those construct builds, across 2^32 too.
4. A whole train is read in a handful of calls, whatever its packets hold.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from itertools import accumulate, chain, pairwise, starmap
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from rudp import wire
from rudp.errors import DecodeError
from rudp.testing.strategies import U8, U32, U64
from rudp.wire import FrameType
from rudp.wire import data as data_module
from rudp.wire import declarations as d
from rudp.wire.layout import Layout, struct_format
from tests import wire_oracle

ID = 0xFEDC_BA98_7654_3210


def cut(buffer: bytes, size: int) -> list[bytes]:
    return [buffer[start : start + size] for start in range(0, len(buffer), size)]


def merged(streams: list[wire.Stream]) -> list[wire.Stream]:
    """The plain definition: a packet that continues its predecessor, which had no fin, is joined to it."""
    joined: list[wire.Stream] = []
    for one in streams:
        last = joined[-1] if joined else None
        if last and not last.fin and (last.stream_id, last.offset + len(last.data)) == one[:2]:
            joined[-1] = wire.Stream(one.stream_id, last.offset, last.data + one.data, one.fin)
        else:
            joined.append(one)
    return joined


def plain_canonical(buffer: bytes, size: int, overhead: int) -> list[wire.Stream]:
    return merged([wire_oracle.canonical(packet, overhead) for packet in cut(buffer, size)])


def outcome(function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except DecodeError:
        return "refused"


def canonical(stream_id: int, offset: int, payload: bytes, fin: bool, overhead: int) -> bytes:
    (header,) = wire.canonical_headers(ID, 1, 1, stream_id, offset, len(payload), fin)
    return header + payload + b"\xee" * overhead


@st.composite
def runs(draw: st.DrawFn) -> tuple[bytes, int, int]:
    """A buffer of canonical packets, mostly continuous: `(buffer, segment_size, overhead)`."""
    overhead = draw(st.sampled_from([0, 4, 16]))
    payload_size = draw(st.integers(0, 9))
    count = draw(st.integers(1, 12) | st.integers(100, 140))
    stream_id, offset = draw(st.integers(0, 5)), draw(st.integers(0, 100) | st.just(2**62 - 30))
    jumps = draw(
        st.dictionaries(st.integers(0, count - 1), st.sampled_from(["id", "gap", "back", "fin"]), max_size=3)
    )
    last_size = draw(st.integers(0, payload_size))
    parts = []
    for index in range(count):
        size = last_size if index == count - 1 else payload_size
        jump = jumps.get(index)
        stream_id += jump == "id"
        offset = max(0, offset + {"gap": 7, "back": -5}.get(jump or "", 0))
        payload = bytes((index * 31 + place) & 0xFF for place in range(size))
        parts.append(canonical(stream_id, offset, payload, jump == "fin", overhead))
        offset += size
    return b"".join(parts), payload_size + wire.CANONICAL_HEADER_SIZE + overhead, overhead


@given(runs())
@settings(deadline=None)
def test_a_run_reads_as_its_packets_do(run: tuple[bytes, int, int]) -> None:
    buffer, size, overhead = run
    expected = outcome(plain_canonical, buffer, size, overhead)
    assert outcome(wire.read_canonical, memoryview(buffer), size, overhead) == expected
    assert outcome(wire.read_apart, memoryview(buffer), size, overhead) == expected


@given(runs(), st.data())
@settings(deadline=None)
def test_a_damaged_run_reads_as_its_packets_do(run: tuple[bytes, int, int], data: st.DataObject) -> None:
    buffer, size, overhead = run
    changed = bytearray(buffer)
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(buffer) - 1))] = data.draw(st.integers(0, 255))
    # header bytes belong to read_headers; here they are left as they were
    for start in range(0, len(buffer), size):
        changed[start : start + 13] = buffer[start : start + 13]
    del changed[data.draw(st.integers(len(buffer) - 20, len(buffer)) | st.just(len(buffer))) :]
    expected = outcome(plain_canonical, bytes(changed), size, overhead)
    assert outcome(wire.read_canonical, memoryview(changed), size, overhead) == expected
    assert outcome(wire.read_apart, memoryview(changed), size, overhead) == expected


@given(runs(), st.data())
@settings(deadline=None)
def test_any_split_of_a_run_gives_the_same_bytes(run: tuple[bytes, int, int], data: st.DataObject) -> None:
    buffer, size, overhead = run
    whole = outcome(wire.read_canonical, memoryview(buffer), size, overhead)
    assume(whole != "refused")
    packets = cut(buffer, size)
    place = data.draw(st.integers(0, len(packets)))
    parts: list[wire.Stream] = []
    for piece in (packets[:place], packets[place:]):
        if piece:
            parts += starmap(wire.Stream, wire.read_canonical(memoryview(b"".join(piece)), size, overhead))
    assert merged(parts) == whole


@pytest.mark.parametrize("count", [1, 2, 46, 128, 129, 300])
@pytest.mark.parametrize("fin", [False, True])
@pytest.mark.parametrize("last", [0, 3, 5])
def test_a_train_reads_as_one_stretch(count: int, fin: bool, last: int) -> None:
    payload = bytes(range(256)) * 6
    payload = payload[: (count - 1) * 5 + last]
    headers = wire.canonical_headers(ID, 7, count, 4, 2**40, 5, fin)
    buffer = b"".join(
        head + part + b"crc!" for head, part in zip(headers, [*cut(payload, 5), b""], strict=False)
    )
    assert wire.read_canonical(memoryview(buffer), 5 + 34, 4) == [wire.Stream(4, 2**40, payload, fin)]


def test_a_fin_before_the_end_ends_a_stretch() -> None:
    parts = [
        canonical(4, 0, b"aaa", False, 0),
        canonical(4, 3, b"bbb", True, 0),
        canonical(4, 6, b"", True, 0),
    ]
    found = wire.read_canonical(memoryview(b"".join(parts)), 33, 0)
    assert found == [wire.Stream(4, 0, b"aaabbb", True), wire.Stream(4, 6, b"", True)]


def test_a_packet_too_short_for_its_headers_is_refused() -> None:
    good = canonical(4, 0, b"aaaa", False, 4)
    for buffer, size in (
        (b"", 38),
        (good + good[:33], 38),
        (good[:33], 38),
        (good[:33], 33),
        (good, 1),
        (good, 0),
    ):
        with pytest.raises(DecodeError):
            wire.read_canonical(memoryview(buffer), size, 4)
    for buffer, size in (
        (b"", 38),
        (good + good[:12], 38),
        (good[:12], 38),
        (good[:12], 12),
        (good, 1),
        (good, 0),
    ):
        with pytest.raises(DecodeError):
            wire.read_headers(memoryview(buffer), size)


def test_a_stream_may_end_just_below_2_to_62() -> None:
    for offset, expected in (
        (2**62 - 4, "taken"),
        (2**62 - 3, "refused"),
        (2**62, "refused"),
        (2**64 - 1, "refused"),
    ):
        packets = canonical(4, offset, b"abc", False, 0)
        found = outcome(wire.read_canonical, memoryview(packets), 33, 0)
        assert (found == "refused") == (expected == "refused")


# --- headers


@given(st.lists(st.tuples(U8, U64, U32), min_size=1, max_size=150), st.integers(0, 20), st.integers(0, 20))
@example([(0x61, 1, 2)] * 129, 0, 0)
@settings(deadline=None)
def test_columns_are_the_headers_of_each_packet(
    headers: list[tuple[int, int, int]], extra: int, last_extra: int
) -> None:
    last_extra = min(extra, last_extra)
    size = wire.DATA_HEADER_SIZE + extra
    parts = [data_module._data_header.pack(*header) + bytes(extra) for header in headers]
    buffer = b"".join(parts)[: len(headers) * size - extra + last_extra]
    types, destination_ids, packet_numbers = wire.read_headers(memoryview(buffer), size)
    assert list(zip(types, destination_ids, packet_numbers, strict=True)) == headers


@given(st.binary(max_size=90), st.integers(0, 100))
@settings(deadline=None)
def test_arbitrary_buffers_have_columns_or_are_refused(buffer: bytes, size: int) -> None:
    found = outcome(wire.read_headers, memoryview(buffer), size)
    packets = cut(buffer, size) if size else []
    if not packets or min(map(len, packets)) < wire.DATA_HEADER_SIZE:
        assert found == "refused"
    else:
        for index, packet in enumerate(packets):
            raw = (packet[0], int.from_bytes(packet[1:9], "big"), int.from_bytes(packet[9:13], "big"))
            assert tuple(column[index] for column in found) == raw


@given(
    first=st.integers(0, 2**64 - 400) | st.integers(2**32 - 150, 2**32 + 2),
    count=st.integers(1, 140),
    stream_id=U64,
    offset=st.integers(0, 2**61),
    stride=st.integers(1, 65000),
    fin=st.booleans(),
    epoch=st.integers(0, 3),
    key_phase=st.integers(0, 1),
)
@settings(deadline=None)
def test_headers_of_a_train_are_those_construct_builds(  # noqa: PLR0917
    first: int, count: int, stream_id: int, offset: int, stride: int, fin: bool, epoch: int, key_phase: int
) -> None:
    found = wire.canonical_headers(ID, first, count, stream_id, offset, stride, fin, epoch, key_phase)
    assert len(found) == count
    for index in sorted({0, count // 2, count - 1, min(max(0, 2**32 - first), count - 1)}):
        said = {"key_phase": bool(key_phase), "epoch": epoch, "canonical": True}
        number = (first + index) % 2**32
        header = d.DATA_HEADER.build({"type": said, "destination_id": ID, "packet_number": number})
        kind = FrameType.STREAM_FIN if fin and index == count - 1 else FrameType.STREAM
        frame = {"type": kind.value, "stream_id": stream_id, "offset": offset + index * stride}
        assert found[index] == header + d.STREAM_TO_END.build(frame)


@pytest.mark.parametrize("beyond", [-1, 0, 1, 2, 4, 5])
def test_packet_numbers_cross_2_to_32_within_a_train(beyond: int) -> None:
    first = 2**32 - 4 + beyond
    headers = wire.canonical_headers(ID, first, 4, 4, 0, 1, True)
    _, _, numbers = wire.read_headers(memoryview(b"".join(headers)), wire.CANONICAL_HEADER_SIZE)
    assert numbers == tuple((first + index) % 2**32 for index in range(4))


def test_a_bare_fin_has_no_stride() -> None:
    (header,) = wire.canonical_headers(ID, 1, 1, 4, 100, 0, True)
    assert wire.read_canonical(memoryview(header), 30, 0) == [wire.Stream(4, 100, b"", True)]


def test_the_layout_of_data_byte_by_byte() -> None:
    assert wire.data_header(wire.DATA, ID, 2**32 + 5) == bytes.fromhex("60 fedcba9876543210 00000005")
    (header,) = wire.canonical_headers(ID, 6, 1, 4, 9, 1, False)
    assert header == bytes.fromhex("61 fedcba9876543210 00000006 08 0000000000000004 0000000000000009")
    assert (wire.DATA_HEADER_SIZE, wire.STREAM_HEADER_SIZE, wire.CANONICAL_HEADER_SIZE) == (13, 19, 30)


def test_byte_0_of_data_is_what_construct_reads() -> None:
    for byte in range(256):
        try:
            said = d.DATA_TYPE.parse(bytes([byte]))
        except d.c.ConstructError:
            assert byte not in wire.DATA_TYPES
            continue
        found = wire.DATA_TYPES[byte]
        assert found == (said.key_phase, said.epoch, said.canonical)
        assert wire.data_type(**found._asdict()) == byte
    assert sorted(wire.DATA_TYPES) == [byte for byte in range(0x60, 0x80) if not byte & 2]


# --- derivation and cost


def test_struct_formats_come_from_the_declarations() -> None:
    assert struct_format(d.DATA_HEADER) == ">BQL"
    assert struct_format(d.STREAM_TO_END) == ">BQQ"
    assert struct_format(d.RESET_FIELDS) == ">BQ16s"
    for declaration in (
        d.DATA_HEADER,
        d.STREAM_TO_END,
        d.RESET_FIELDS,
        d.INVARIANT,
        d.SYN_INVARIANT,
        d.ACK_RANGE,
    ):
        assert Layout(declaration).size == declaration.sizeof()


def test_a_train_is_read_in_a_handful_of_calls() -> None:
    headers = wire.canonical_headers(ID, 7, 46, 4, 0, 1370, True)
    buffer = memoryview(b"".join(head + bytes(1370) for head in headers))
    calls = 0

    def count(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        wire.read_headers(buffer, 1400)
        wire.read_canonical(buffer, 1400, 0)
    finally:
        sys.setprofile(None)
    assert calls < 46


def test_caches_of_formats_are_bounded() -> None:
    for sweep in (data_module._header_sweep, data_module._canonical_sweep):
        assert sweep.cache_info().maxsize is not None
        assert (sweep.cache_info().maxsize or 0) <= 64


@given(
    first=st.integers(0, 65279),
    count=st.integers(1, 70),
    step=st.integers(1, 3),
    wrong=st.lists(st.tuples(st.integers(0, 69), st.integers(-3, 3) | st.sampled_from([-65536, 65535])), max_size=3),
)
def test_numbers_that_grow_evenly_are_those_whose_differences_are_one(
    first: int, count: int, step: int, wrong: list[tuple[int, int]]
) -> None:
    """Also where one difference could make up for another: all packets' numbers are compared as a single one."""
    differences = [step] * (count - 1)
    for place, more in wrong:
        if place < count - 1:
            differences[place] += more
    values = [value % 65536 for value in accumulate(differences, initial=first)]
    view = memoryview(b"".join(b"?" + value.to_bytes(2, "big") + b"!" for value in values))
    even = all(b - a == step for a, b in pairwise(values))
    assert data_module._grow_evenly(view, 4, count, (1, 2, step)) == even


@given(
    count=st.integers(1, 150),
    rest=st.integers(0, 45),
    fin=st.booleans(),
    offset=st.integers(0, 2**20) | st.integers(wire.POSITION_LIMIT - 3000, wire.POSITION_LIMIT),
    changes=st.lists(st.tuples(st.integers(0, 150), st.integers(13, 30), st.integers(1, 255)), max_size=3),
)
@settings(deadline=None)
def test_a_run_is_read_as_its_packets_are(
    count: int, rest: int, fin: bool, offset: int, changes: list[tuple[int, int, int]]
) -> None:
    size, overhead = 46, 4
    total = count + (rest > 0)
    headers = wire.canonical_headers(ID, 5, total, 4, offset, size - 34, fin)
    packets = [bytearray(header + bytes([index] * (size - 30))) for index, header in enumerate(headers)]
    if rest:
        del packets[-1][rest:]
    for index, place, change in changes:
        if index < total and place < len(packets[index]):
            packets[index][place] ^= change
    expected: list[wire.Stream] | None = None
    with suppress(DecodeError):
        frames = [wire.read_canonical(memoryview(packet), len(packet), overhead) for packet in packets]
        expected = merged(list(starmap(wire.Stream, chain.from_iterable(frames))))
    view = memoryview(b"".join(packets))
    if expected is None:
        with pytest.raises(DecodeError):
            wire.read_canonical(view, size, overhead)
    else:
        assert wire.read_canonical(view, size, overhead) == expected
