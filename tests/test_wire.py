"""Laws of the wire.

1. What is encoded decodes to the same values, and what decodes encodes to the same bytes.
2. The derived codecs and interpreted construct accept the same bytes with the same values, hostile bytes too.
3. Whatever the bytes, decoding raises DecodeError or nothing.
4. The work is linear in the bytes.

DATA headers and canonical packets are in test_wire_data.py.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar
from zlib import crc32

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rudp import wire
from rudp.errors import DecodeError
from rudp.testing import strategies as values
from rudp.wire import FrameType, PacketType
from tests import wire_oracle

T = TypeVar("T")
ID = 0xFEDC_BA98_7654_3210


def typed(value: Any) -> Any:
    """A value with the types of its tuples: those of different types are equal when their fields are."""
    if isinstance(value, tuple | list):
        return (type(value).__name__, *map(typed, value))
    return (type(value).__name__, value)


def outcome(decode: Callable[..., T], *arguments: Any) -> Any:
    """What decoding gives, or "refused"; any error but DecodeError fails the test."""
    try:
        return typed(decode(*arguments))
    except DecodeError:
        return "refused"


def once(frames: list[wire.Frame], data: bytes) -> list[wire.Frame]:
    """Leave out what a run of one-byte frames repeats, as decode_frames does."""
    kept: list[wire.Frame] = []
    seen: list[type] = []
    position = 0
    for frame in frames:
        while data[position] == FrameType.PADDING:
            position += 1
        if isinstance(frame, wire.Ping | wire.ImmediateAck):
            position += 1
            if type(frame) in seen:
                continue
            seen.append(type(frame))
        else:
            position += len(wire.encode_frame(frame))
            seen = []
        kept.append(frame)
    return kept


def oracle_frames(data: bytes) -> list[wire.Frame]:
    return once(wire_oracle.frames(data), data)


def frames_of(data: bytes) -> list[wire.Frame]:
    return wire.decode_frames(memoryview(data))


def opening_of(data: bytes) -> wire.Opening:
    return wire.decode_opening(memoryview(data))


def resealed(data: bytes) -> bytes:
    """With a checksum that is right, so that mutations get past it."""
    return data[:-4] + crc32(data[:-4]).to_bytes(4, "big")


# --- opening packets


@given(values.opening_packets())
@settings(deadline=None)
def test_an_opening_packet_comes_back_as_it_was(packet: wire.Opening) -> None:
    data = wire.encode_opening(packet)
    assert typed(opening_of(data)) == typed(packet)
    assert typed(wire_oracle.opening(data)) == typed(packet)


@given(st.data())
@settings(deadline=None)
def test_mutated_opening_packets_fare_as_with_construct(data: st.DataObject) -> None:
    valid = wire.encode_opening(data.draw(values.opening_packets()))
    mutated = data.draw(values.mutations(valid))
    if data.draw(st.booleans()):
        mutated = resealed(mutated.ljust(wire.OPENING_SIZE, b"\0"))[: wire.OPENING_SIZE]
    elif len(mutated) >= 4:
        mutated = resealed(mutated)
    found = outcome(opening_of, mutated)
    assert found == outcome(wire_oracle.opening, mutated)
    if found != "refused":
        assert wire.encode_opening(opening_of(mutated)) == mutated


@given(st.binary(max_size=80), st.sampled_from([b"", *(bytes([kind]) for kind in PacketType)]))
@example(b"", b"")
@settings(deadline=None)
def test_arbitrary_bytes_are_no_opening_packet(data: bytes, prefix: bytes) -> None:
    data = prefix + data
    assert outcome(opening_of, data) == outcome(wire_oracle.opening, data)


def test_any_damaged_byte_spoils_an_opening_packet() -> None:
    for packet in (
        wire.Syn(1, 2, 3, wire.Parameters(), b"cookie"),
        wire.SynAck(1, 2, 3, wire.Parameters()),
        wire.Retry(1, 2, b"cookie"),
        wire.Version(1, 2, (1, 2)),
    ):
        valid = wire.encode_opening(packet)
        for place in range(len(valid)):
            damaged = bytearray(valid)
            damaged[place] ^= 1
            with pytest.raises(DecodeError):
                opening_of(bytes(damaged))


def test_syn_and_syn_ack_fill_1200_bytes_exactly_and_with_zeros() -> None:
    for packet in (wire.Syn(1, 2, 3, wire.Parameters()), wire.SynAck(1, 2, 3, wire.Parameters())):
        valid = wire.encode_opening(packet)
        assert len(valid) == 1200
        noisy = bytearray(valid)
        noisy[-5] = 1
        body = valid[:-4]
        for wrong in (
            resealed(bytes(noisy)),
            resealed(body + bytes(5)),
            resealed(body[:-1] + bytes(4)),
            valid + b"\0",
        ):
            assert outcome(opening_of, wrong) == outcome(wire_oracle.opening, wrong) == "refused"


def test_the_layout_of_a_syn_byte_by_byte() -> None:
    data = wire.encode_opening(wire.Syn(ID, 0x0102030405060708, 9, wire.Parameters(), b"\xaa\xbb"))
    assert data[:24] == bytes.fromhex("50 fedcba9876543210 00000001 0102030405060708 09 004b")
    assert data[24 : 24 + 12] == bytes.fromhex("0001 0008 0000000000000000")
    assert data[24 + 0x4B :][:4] == bytes.fromhex("0002 aabb")
    assert data[24 + 0x4B + 4 : -4] == bytes(1200 - 4 - 24 - 0x4B - 4)
    assert data[-4:] == crc32(data[:-4]).to_bytes(4, "big")


def test_the_layout_of_the_other_opening_packets_byte_by_byte() -> None:
    retry = wire.encode_opening(wire.Retry(1, ID, b"ab"))
    assert retry[:-4] == bytes.fromhex("52 0000000000000001 fedcba9876543210 0002 6162")
    version = wire.encode_opening(wire.Version(1, ID, (1, 0x0A0B0C0D)))
    assert version[:-4] == bytes.fromhex("53 0000000000000001 fedcba9876543210 02 00000001 0a0b0c0d")
    reset = wire.encode_opening(wire.Reset(ID, b"t" * 16))
    assert reset == bytes.fromhex("54 fedcba9876543210") + b"t" * 16


def test_a_syn_of_another_version_shows_its_invariants_only() -> None:
    data = bytearray(wire.encode_opening(wire.Syn(ID, 77, 0, wire.Parameters())))
    data[9:13] = (0xABCD).to_bytes(4, "big")
    assert wire.read_version_invariants(memoryview(data)) == (ID, 0xABCD, 77)
    with pytest.raises(DecodeError):
        opening_of(resealed(bytes(data)))
    for wrong in (data[:20], b"", b"\x51" + data[1:]):
        with pytest.raises(DecodeError):
            wire.read_version_invariants(memoryview(wrong))


@given(st.binary(max_size=30))
@settings(deadline=None)
def test_the_destination_id_needs_nine_bytes(data: bytes) -> None:
    if len(data) >= 9:
        assert wire.read_destination_id(memoryview(data)) == int.from_bytes(data[1:9], "big")
    else:
        assert outcome(wire.read_destination_id, memoryview(data)) == "refused"


# --- parameters


@given(st.data())
@settings(deadline=None)
def test_mutated_parameters_fare_as_with_construct(data: st.DataObject) -> None:
    valid = wire.encode_parameters(
        data.draw(values.parameters(3, st.builds(wire.Refusal, values.U32, values.TEXT)))
    )
    mutated = data.draw(values.mutations(valid))
    found = outcome(wire.decode_parameters, mutated)
    assert found == outcome(wire_oracle.parameters, mutated)
    if found != "refused":
        assert wire.encode_parameters(wire.decode_parameters(mutated)) == mutated


@given(
    values.parameters(3, st.builds(wire.Refusal, values.U32, values.TEXT)),
    st.lists(st.binary(min_size=16, max_size=16)),
)
@settings(deadline=None)
def test_parameters_alike_but_for_their_tokens_keep_them_apart(given: wire.Parameters, tokens: list[bytes]) -> None:
    for token in [None, *tokens, *tokens, None]:
        told = given._replace(reset_token=token)
        data = wire.encode_parameters(told)
        assert wire.decode_parameters(data) == told == wire_oracle.parameters(data)


@pytest.mark.parametrize("token", [b"", bytes(15), bytes(17)])
def test_a_token_of_another_size_does_not_go(token: bytes) -> None:
    with pytest.raises(ValueError, match="reset token"):
        wire.encode_parameters(wire.Parameters(reset_token=token))


def tlv(number: int, value: bytes) -> bytes:
    return number.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value


def test_parameters_must_be_there_in_order_and_once() -> None:
    valid = wire.encode_parameters(wire.Parameters())
    first, others = valid[:12], valid[12:]
    assert wire.decode_parameters(first + others + tlv(500, b"news")).unknown == ((500, b"news"),)
    wrong = (others, others + first, first + valid, valid + tlv(500, b"") * 2, valid[:-1], valid + b"\0")
    for data in wrong:
        assert outcome(wire.decode_parameters, data) == "refused"
    for number, value in (
        (8, b"short"),
        (10, b""),
        (10, b"\0"),
        (10, b"\2a"),
        (10, b"\1\xff"),
        (11, b"\0\0\0"),
    ):
        parts = sorted([*split_tlvs(valid), tlv(number, value)])
        assert outcome(wire.decode_parameters, b"".join(parts)) == "refused"


def split_tlvs(data: bytes) -> list[bytes]:
    parts = []
    while data:
        size = 4 + int.from_bytes(data[2:4], "big")
        parts.append(data[:size])
        data = data[size:]
    return parts


def test_only_a_syn_ack_refuses_and_names_one_protocol() -> None:
    refusing = wire.Parameters(refused=wire.Refusal(2, "no"))
    choosing = wire.Parameters(application_protocols=("a", "b"))
    assert outcome(opening_of, wire.encode_opening(wire.Syn(1, 2, 3, refusing))) == "refused"
    assert outcome(opening_of, wire.encode_opening(wire.SynAck(1, 2, 3, choosing))) == "refused"
    assert opening_of(wire.encode_opening(wire.Syn(1, 2, 3, choosing))) == wire.Syn(1, 2, 3, choosing)


@pytest.mark.parametrize(
    "packet",
    [
        wire.Syn(2**64, 1, 0, wire.Parameters()),
        wire.Syn(1, 1, 256, wire.Parameters()),
        wire.Syn(1, 1, 0, wire.Parameters(), b"c" * 257),
        wire.Syn(1, 1, 0, wire.Parameters(application_protocols=("a" * 250,) * 4)),
        wire.Syn(1, 1, 0, wire.Parameters(application_protocols=("a" * 256,))),
        wire.Syn(1, 1, 0, wire.Parameters(application_protocols=("",))),
        wire.Syn(1, 1, 0, wire.Parameters(initial_max_data=2**62)),
        wire.Syn(1, 1, 0, wire.Parameters(initial_max_data=-1)),
        wire.Syn(1, 1, 0, wire.Parameters(idle_timeout=2.0**33)),
        wire.Syn(1, 1, 0, wire.Parameters(reset_token=b"short")),
        wire.Syn(1, 1, 0, wire.Parameters(max_datagram_size=1199)),
        wire.Syn(1, 1, 0, wire.Parameters(unknown=((3, b""),))),
        wire.SynAck(1, 1, 0, wire.Parameters(refused=wire.Refusal(1, "x" * 1025))),
        wire.SynAck(1, 1, 0, wire.Parameters(unknown=((99, b"x" * 1100),))),
        wire.Retry(1, 1, b""),
        wire.Version(1, 1, ()),
        wire.Version(1, 1, (1,) * 256),
        wire.Reset(1, b"short"),
    ],
)
def test_opening_packets_that_do_not_fit_are_not_encoded(packet: wire.Opening) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        wire.encode_opening(packet)


def test_the_largest_parameters_of_a_syn_leave_room_for_the_largest_cookie() -> None:
    size = len(wire.encode_parameters(wire.Parameters()))
    spare = wire.MAX_SYN_PARAMETERS_SIZE - size - 4
    fits = wire.Parameters(unknown=((99, bytes(spare)),))
    packet = wire.Syn(1, 2, 3, fits, b"c" * wire.MAX_COOKIE_SIZE)
    assert opening_of(wire.encode_opening(packet)) == packet
    assert 24 + wire.MAX_SYN_PARAMETERS_SIZE + 2 + wire.MAX_COOKIE_SIZE + 4 == wire.OPENING_SIZE
    with pytest.raises(ValueError, match="at most"):
        wire.encode_opening(wire.Syn(1, 2, 3, wire.Parameters(unknown=((99, bytes(spare + 1)),))))


# --- frames


@given(values.packets(6), st.lists(st.integers(0, 3), min_size=7, max_size=7))
@settings(deadline=None)
def test_frames_come_back_as_they_were(frames: list[wire.Frame], padding: list[int]) -> None:
    parts = [bytes(size) + wire.encode_frame(frame) for size, frame in zip(padding, frames, strict=False)]
    data = b"".join(parts) + bytes(padding[-1])
    assert typed(frames_of(data)) == typed(once(frames, data))
    assert outcome(frames_of, data) == outcome(oracle_frames, data)


@given(values.frames())
@settings(deadline=None)
def test_a_single_frame_has_one_form(frame: wire.Frame) -> None:
    data = wire.encode_frame(frame)
    (found,) = frames_of(data)
    assert typed(found) == typed(frame)
    assert wire.encode_frame(found) == data


@given(st.data())
@settings(deadline=None)
def test_mutated_frames_fare_as_with_construct(data: st.DataObject) -> None:
    frames = data.draw(values.packets(3))
    mutated = data.draw(values.mutations(b"".join(map(wire.encode_frame, frames))))
    assert outcome(frames_of, mutated) == outcome(oracle_frames, mutated)


@given(st.binary(max_size=60))
@settings(deadline=None, max_examples=300)
def test_arbitrary_frames_fare_as_with_construct(data: bytes) -> None:
    assert outcome(frames_of, data) == outcome(oracle_frames, data)


@given(st.sampled_from(sorted(FrameType)), st.binary(max_size=70))
@settings(deadline=None, max_examples=300)
def test_arbitrary_fields_of_a_frame_fare_as_with_construct(kind: FrameType, data: bytes) -> None:
    data = bytes([kind]) + data
    found = outcome(frames_of, data)
    assert found == outcome(oracle_frames, data)


def test_no_frame_type_beyond_the_known_ones_decodes() -> None:
    known = set(FrameType) - {FrameType.STREAM, FrameType.STREAM_FIN}
    for kind in range(256):
        if kind not in known:
            for size in range(60):
                assert outcome(frames_of, bytes([kind]) + bytes(size)) == "refused"
                assert outcome(frames_of, b"\x01" + bytes([kind]) + b"\x01" * size) == "refused"


@pytest.mark.parametrize(
    ("frame", "layout"),
    [
        (wire.Ping(), "01"),
        (wire.Ack(9, 0.001, ((8, 10), (3, 5))), "02 0000000000000009 000003e8 01 00000002 00000003 00000002"),
        (
            wire.Ack(9, 0.0, ((9, 10),), (1, 2, 3)),
            "03 0000000000000009 00000000 00 00000001 0000000000000001 0000000000000002 0000000000000003",
        ),
        (wire.ResetStream(ID, 2, 3), "04 fedcba9876543210 00000002 0000000000000003"),
        (wire.StopSending(ID, 2), "05 fedcba9876543210 00000002"),
        (wire.Stream(ID, 2, b"ab", False), "0a fedcba9876543210 0000000000000002 0002 6162"),
        (wire.Stream(ID, 2, b"", True), "0b fedcba9876543210 0000000000000002 0000"),
        (wire.MaxData(5), "10 0000000000000005"),
        (wire.MaxStreamData(ID, 5), "11 fedcba9876543210 0000000000000005"),
        (wire.MaxStreams(5, False), "12 0000000000000005"),
        (wire.MaxStreams(5, True), "13 0000000000000005"),
        (wire.PathChallenge(b"12345678"), "1a 3132333435363738"),
        (wire.PathResponse(b"12345678"), "1b 3132333435363738"),
        (wire.Close(7, "no", False), "1c 00000007 0002 6e6f"),
        (wire.Close(7, "", True), "1d 00000007 0000"),
        (wire.Fin(1, 2, 3), "1e 0000000000000001 0000000000000002 0000000000000003"),
        (wire.AckFrequency(1, 2, 0.025, 4), "20 0000000000000001 00000002 000061a8 00000004"),
        (wire.ImmediateAck(), "21"),
    ],
)
def test_the_layout_of_each_frame_byte_by_byte(frame: wire.Frame, layout: str) -> None:
    assert wire.encode_frame(frame) == bytes.fromhex(layout)


@pytest.mark.parametrize(
    "layout",
    [
        "",  # no frame
        "02 0000000000000009 00000000 00 00000000",  # empty newest range
        "02 0000000000000009 00000000 00 0000000b",  # below 0
        "02 0000000000000009 00000000 01 00000001 00000000 00000001",  # empty gap
        "02 0000000000000009 00000000 01 00000001 00000001 00000000",  # empty range
        "02 0000000000000009 00000000 01 00000001 00000001 00000009",  # older range below 0
        "02 0000000000000009 00000000 01 00000001 00000001",  # cut
        "04 0000000000000001 00000000 4000000000000000",  # final size 2^62
        "0a 0000000000000001 3ffffffffffffffe 0002 6161",  # ends at 2^62
        "0a 0000000000000001 0000000000000000 0002 61",  # cut
        "08 0000000000000001 0000000000000000",  # STREAM without length
        "10 4000000000000000",
        "11 0000000000000001 4000000000000000",
        "12 4000000000000000",
        "1c 00000000 0001 ff",  # not UTF-8
        "1c 00000000 0401" + "61" * 1025,  # reason too long
        "1e 4000000000000000 0000000000000000 0000000000000000",
        "06", "07", "14", "18", "19", "30", "ff",  # reserved or unknown
    ],
)  # fmt: skip
def test_malformed_frames_are_refused(layout: str) -> None:
    data = bytes.fromhex(layout)
    assert outcome(frames_of, data) == outcome(oracle_frames, data) == "refused"


def test_an_ack_has_at_most_128_ranges() -> None:
    ranges = tuple((start, start + 1) for start in range(600, 0, -2))
    data = wire.encode_ack(wire.Ack(600, 0.0, ranges), 10_000)
    (found,) = frames_of(data)
    assert isinstance(found, wire.Ack)
    assert found.ranges == ranges[:128]
    more = bytearray(data + bytes.fromhex("00000001 00000001"))
    more[13] += 1
    assert outcome(frames_of, bytes(more)) == outcome(oracle_frames, bytes(more)) == "refused"


@given(values.acks(), st.integers(0, 1200))
@settings(deadline=None)
def test_an_ack_leaves_out_the_oldest_ranges_to_fit(ack: wire.Ack, max_size: int) -> None:
    data = wire.encode_ack(ack, max_size)
    assert len(data) <= max_size
    least = 18 if ack.ecn is None else 42
    if max_size < least:
        assert data == b""
        return
    (found,) = frames_of(data)
    assert isinstance(found, wire.Ack)
    assert found.ranges == ack.ranges[: len(found.ranges)]
    assert len(found.ranges) == min(len(ack.ranges), 1 + (max_size - least) // 8)


def test_an_ack_ends_early_where_32_bits_do_not_suffice() -> None:
    for ranges, expected in (
        (((0, 2**33),), ((2**33 - 2**32 + 1, 2**33),)),
        (((2**40, 2**40 + 1), (5, 6)), ((2**40, 2**40 + 1),)),
        (((2**40, 2**40 + 1), (5, 2**40 - 1)), ((2**40, 2**40 + 1),)),
    ):
        (found,) = frames_of(wire.encode_ack(wire.Ack(ranges[0][1] - 1, 0.0, ranges), 1000))
        assert isinstance(found, wire.Ack)
        assert found.ranges == expected


@pytest.mark.parametrize(
    ("delay", "expected"), [(-1.0, 0.0), (1e9, (2**32 - 1) / 1e6), (0.0000006, 0.000001)]
)
def test_an_ack_delay_is_kept_within_32_bits_of_microseconds(delay: float, expected: float) -> None:
    (found,) = frames_of(wire.encode_frame(wire.Ack(0, delay, ((0, 1),))))
    assert isinstance(found, wire.Ack)
    assert found.ack_delay == expected


def test_frames_out_of_bounds_are_not_encoded() -> None:
    for frame in (
        wire.MaxData(2**62),
        wire.ResetStream(1, 2**32, 0),
        wire.Close(1, "x" * 1025, True),
        wire.PathChallenge(b"short"),
        wire.PathChallenge(b"longer than eight"),
        wire.AckFrequency(1, 2, 5000.0, 3),
    ):
        with pytest.raises(ValueError):  # noqa: PT011
            wire.encode_frame(frame)


def test_one_byte_frames_make_few_values_and_few_steps() -> None:
    steps = 0

    def count(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal steps
        steps += event in ("call", "c_call")

    payload = memoryview(b"\x01\x00\x21" * 20_000)
    sys.setprofile(count)
    try:
        found = wire.decode_frames(payload)
    finally:
        sys.setprofile(None)
    assert typed(found) == typed([wire.Ping(), wire.ImmediateAck()])
    assert steps < 50


def test_a_packet_has_so_many_frames_and_no_more() -> None:
    some = wire.encode_frame(wire.MaxData(1))
    assert len(wire.decode_frames(memoryview(some * wire.MAX_FRAMES))) == wire.MAX_FRAMES
    # PADDING isn't counted, wherever it is, nor are PINGs repeated; so a packet of any size may be filled up.
    padded = b"\0" + some * (wire.MAX_FRAMES - 1) + b"\1\0" * 20_000
    assert len(wire.decode_frames(memoryview(padded))) == wire.MAX_FRAMES
    for excess in (some * (wire.MAX_FRAMES + 1), (b"\1" + some) * 9, some * 7_000, some * 8 + b"\0\1"):
        with pytest.raises(DecodeError, match="more than 8 frames"):
            wire.decode_frames(memoryview(excess))


def test_a_packet_has_one_ack_at_most() -> None:
    ack = wire.encode_ack(wire.Ack(7, 0.0, ((7, 8),), None), 100)
    marked = wire.encode_ack(wire.Ack(7, 0.0, ((7, 8),), (1, 0, 0)), 100)
    assert len(wire.decode_frames(memoryview(b"\1" + marked + b"\1"))) == 3
    for two in (ack + ack, ack + marked, marked + b"\0\1" + ack):
        with pytest.raises(DecodeError, match="more than one ACK"):
            wire.decode_frames(memoryview(two))


def test_of_an_acks_ranges_as_many_are_read_as_are_wanted_and_the_others_not_even_checked() -> None:
    ranges = tuple((number, number + 2) for number in range(900, 518, -3))
    assert len(ranges) == wire.MAX_ACK_RANGES
    encoded = wire.encode_ack(wire.Ack(901, 0.0, ranges, None), 2000)
    for most in (2, 3, 32, 127, 128):
        ack, ping = wire.decode_frames(memoryview(encoded + b"\1"), most)
        assert typed([ack, ping]) == typed([wire.Ack(901, 0.0, ranges[:most], None), wire.Ping()])
    # A gap of nothing in the last range.
    spoiled = encoded[:-8] + bytes(4) + encoded[-4:]
    assert len(wire.decode_frames(memoryview(spoiled), 127)) == 1
    with pytest.raises(DecodeError):
        wire.decode_frames(memoryview(spoiled))
    # What isn't there is missed all the same.
    for size in range(1, len(encoded)):
        with pytest.raises(DecodeError):
            wire.decode_frames(memoryview(encoded[:size]), 2)


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 66, 1_400, 65_478])
@pytest.mark.parametrize("first", [FrameType.PADDING, FrameType.PING, FrameType.IMMEDIATE_ACK])
def test_padding_of_any_length_is_left_out_and_hides_nothing(size: int, first: FrameType) -> None:
    kinds = {FrameType.PING: [wire.Ping()], FrameType.IMMEDIATE_ACK: [wire.ImmediateAck()]}
    data = bytes([first]) + bytes(size)
    assert wire.decode_frames(memoryview(data)) == kinds.get(first, [])
    for kind, last in kinds.items():
        found = wire.decode_frames(memoryview(data + bytes([kind]) + bytes(size)))
        assert found == (last if kind is first else kinds.get(first, []) + last)
    with pytest.raises(DecodeError):
        wire.decode_frames(memoryview(data + b"\xff"))
