"""What any bytes must be to the codecs: the checks that hypothesis (`test_codecs`) and atheris (`coverage`) share.

`check(data)` reads the first byte as the kind of thing the rest is to be taken for, the second as its variation, and
raises AssertionError when a law of `test_codecs` is broken. Everything else that is raised is a fault as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from zlib import crc32

from rudp import wire
from rudp.errors import DecodeError
from tests import wire_oracle

T = TypeVar("T")
_CANONICAL = [byte for byte, said in wire.DATA_TYPES.items() if said.canonical]


def typed(value: Any) -> Any:
    """A value with the types of its tuples: those of different types are equal when their fields are."""
    if isinstance(value, tuple | list):
        return (type(value).__name__, *map(typed, value))
    return (type(value).__name__, value)


def outcome(decode: Callable[..., T], *arguments: Any) -> T | None:
    """What decoding gives, None when it is refused; any error but DecodeError is a fault."""
    try:
        return decode(*arguments)
    except DecodeError:
        return None


def agree(found: Any, expected: Any) -> None:
    assert typed(found) == typed(expected), f"decoded {found!r}, interpreted construct has {expected!r}"


def opening(data: bytes, variation: int) -> None:
    """An opening packet; with an odd variation its checksum is made right, so that what is behind it is met."""
    if variation & 1:
        if variation & 2:
            data = data[: wire.OPENING_SIZE - 4].ljust(wire.OPENING_SIZE - 4, b"\0")
        data += crc32(data).to_bytes(4, "big")
    packet = outcome(wire.decode_opening, memoryview(data))
    agree(packet, outcome(wire_oracle.opening, data))
    if packet is not None:
        assert wire.encode_opening(packet) == data
        assert wire.read_destination_id(memoryview(data)) == int.from_bytes(data[1:9], "big")
    outcome(wire.read_version_invariants, memoryview(data))


def parameters(data: bytes, _: int) -> None:
    found = outcome(wire.decode_parameters, data)
    agree(found, outcome(wire_oracle.parameters, data))
    if found is not None:
        assert wire.encode_parameters(found) == data


def frames(data: bytes, variation: int) -> None:
    """Frames of a packet: with PADDING and repeated one-byte frames put back, the bytes they were read from.

    With fewer ranges of an ACK they are the same, and that one is cut.
    """
    found = outcome(wire.decode_frames, memoryview(data))
    expected = outcome(wire_oracle.frames, data)
    most = 2 + variation % (wire.MAX_ACK_RANGES - 1)
    cut = outcome(wire.decode_frames, memoryview(data), most)
    if expected is None or found is None:
        agree(found, expected)
        return
    agree(cut, [f._replace(ranges=f.ranges[:most]) if isinstance(f, wire.Ack) else f for f in found])
    at = 0
    kept: list[Any] = []
    seen: list[Any] = []  # one-byte frames since the last other one
    for frame in expected:
        while data[at] == wire.FrameType.PADDING:
            at += 1
        encoded = wire.encode_frame(frame)
        assert data[at : at + len(encoded)] == encoded, f"{frame!r} has another form than at {at}"
        at += len(encoded)
        if not isinstance(frame, wire.Ping | wire.ImmediateAck):
            seen = []
        elif type(frame) in seen:
            continue
        else:
            seen.append(type(frame))
        kept.append(frame)
    assert not any(data[at:])
    agree(found, kept)


def canonical(data: bytes, variation: int) -> None:
    """A run of canonical packets: as interpreted one by one, and as packed by the encoder of trains."""
    overhead = 4 if variation & 1 else 0
    size = 1 + (variation >> 1 & 0x3F) if variation & 0x80 else max(1, len(data))
    packets = [data[at : at + size] for at in range(0, len(data), size)]
    packets = [bytes([_CANONICAL[p[0] % len(_CANONICAL)]]) + p[1:] for p in packets]  # who calls has seen to that
    data = b"".join(packets)
    found = outcome(wire.read_canonical, memoryview(data), size, overhead)
    single = [outcome(wire_oracle.canonical, packet, overhead) for packet in packets]
    kinds = {wire.FrameType.STREAM, wire.FrameType.STREAM_FIN}
    wrong = not packets or any(p is None for p in single)
    assert (found is None) == wrong, f"{found!r} where interpreted construct has {single!r}"
    if found is None:
        return
    merged: list[wire.Stream] = []
    for packet, frame in zip(packets, single, strict=True):
        assert frame is not None
        assert packet[wire.DATA_HEADER_SIZE] in kinds
        last = merged[-1] if merged else None
        if (
            last is not None
            and not last.fin
            and (last.stream_id, last.offset + len(last.data)) == (frame.stream_id, frame.offset)
        ):
            merged[-1] = last._replace(data=last.data + frame.data, fin=frame.fin)
        else:
            merged.append(frame)
        type_byte = packet[0]
        identifier, number = int.from_bytes(packet[1:9], "big"), int.from_bytes(packet[9:13], "big")
        kind = wire.DATA_TYPES[type_byte]
        header = wire.canonical_headers(
            identifier, number, 1, frame.stream_id, frame.offset, len(frame.data), frame.fin, kind.epoch, kind.key_phase
        )[0]
        assert packet[: len(packet) - overhead] == header + frame.data
    agree(found, [tuple(frame) for frame in merged])


def headers(data: bytes, variation: int) -> None:
    """The columns of a buffer's headers, and each header as it is packed."""
    size = 1 + variation % max(1, len(data))
    found = outcome(wire.read_headers, memoryview(data), size)
    packets = [data[at : at + size] for at in range(0, len(data), size)]
    assert (found is None) == (not packets or any(len(packet) < wire.DATA_HEADER_SIZE for packet in packets))
    if found is None:
        return
    for packet, kind, identifier, number in zip(packets, *found, strict=True):
        assert wire.data_header(kind, identifier, number) == packet[: wire.DATA_HEADER_SIZE]


KINDS = (opening, parameters, frames, canonical, headers)


def check(data: bytes) -> None:
    """Hold `data` against the laws: KINDS[data[0]] of data[2:], varied by data[1]."""
    if len(data) >= 2:
        KINDS[data[0] % len(KINDS)](data[2:], data[1])


def seeds() -> list[bytes]:
    """Valid examples of everything, for a fuzzer to begin with."""
    given = wire.Parameters(reset_token=b"t" * 16, application_protocols=("a", "bc"), unknown=((99, b"new"),))
    packets: list[wire.Opening] = [
        wire.Syn(1, 2, 3, given, b"cookie"),
        wire.SynAck(1, 2, 3, given._replace(application_protocols=("a",), refused=wire.Refusal(2, "no"))),
        wire.Retry(1, 2, b"cookie"),
        wire.Version(1, 2, (1, 7)),
    ]
    padded = wire.Syn | wire.SynAck
    found = [bytes([0, 3 if isinstance(each, padded) else 1]) + wire.encode_opening(each)[:-4] for each in packets]
    found.append(b"\0\0" + wire.encode_opening(wire.Reset(1, b"t" * 16)))
    found.append(b"\1\0" + wire.encode_parameters(given))
    examples: list[wire.Frame] = [
        wire.Ping(), wire.Ack(9, 0.001, ((8, 10), (2, 5)), (1, 2, 3)), wire.Ack(9, 0.001, ((8, 10),)),
        wire.Ack(99, 0.002, ((90, 100), (80, 81), (60, 70), (1, 50))),
        wire.ResetStream(4, 7, 100), wire.StopSending(4, 7), wire.Stream(0, 5, b"data", True), wire.MaxData(9),
        wire.MaxStreamData(4, 9), wire.MaxStreams(3, True), wire.PathChallenge(b"c" * 8), wire.PathResponse(b"r" * 8),
        wire.Close(1, "why", True), wire.Fin(1, 2, 3), wire.AckFrequency(1, 2, 0.025, 3), wire.ImmediateAck(),
    ]  # fmt: skip
    found += [b"\2\0" + wire.encode_frame(frame) for frame in examples]
    plain = [frame for frame in examples if not isinstance(frame, wire.Ack)]
    for ack in examples:
        if isinstance(ack, wire.Ack):  # a packet has one
            found.append(b"\2\0" + b"\0\0".join(map(wire.encode_frame, [ack, *plain])))
    train = [h + b"12345678" for h in wire.canonical_headers(7, 2**32 - 2, 4, 4, 0, 8, True)]
    found.append(bytes([3, 0x80 | (len(train[0]) - 1) << 1]) + b"".join(train))
    found.append(b"\3\1" + train[0] + b"crc!")
    found.append(bytes([4, len(train[0]) - 1]) + b"".join(train))
    return found
