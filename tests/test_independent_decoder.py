"""docs/WIRE.md is right and complete: a decoder written from it alone reads and refuses what rudp does."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rudp import protection, wire
from rudp.errors import DecodeError
from rudp.testing import strategies as values
from tests import independent_decoder as independent

ID = 0xFEDC_BA98_7654_3210
KINDS = {
    wire.Ping: 0x01,
    wire.ResetStream: 0x04,
    wire.StopSending: 0x05,
    wire.MaxData: 0x10,
    wire.MaxStreamData: 0x11,
    wire.PathChallenge: 0x1A,
    wire.PathResponse: 0x1B,
    wire.Fin: 0x1E,
    wire.AckFrequency: 0x20,
    wire.ImmediateAck: 0x21,
}


def as_page(frame: wire.Frame) -> dict[str, Any]:
    """A frame as the page has it."""
    found: dict[str, Any] = dict(frame._asdict())
    match frame:
        case wire.Ack():
            found["frame"] = 0x02 if frame.ecn is None else 0x03
            found["ranges"] = [(start, stop - 1) for start, stop in frame.ranges]
            found["ack_delay"] = round(frame.ack_delay * 1_000_000)
            found["ecn"] = list(frame.ecn or ())
            if frame.ecn is None:
                del found["ecn"]
        case wire.Stream():
            found["frame"] = 0x0A | frame.fin
        case wire.MaxStreams():
            found["frame"] = 0x12 | found.pop("unidirectional")
        case wire.Close():
            found["frame"] = 0x1C | found.pop("application")
        case _:
            found["frame"] = KINDS[type(frame)]
    if isinstance(frame, wire.AckFrequency):
        found["max_ack_delay"] = round(frame.max_ack_delay * 1_000_000)
    return found


def parameters_as_page(parameters: wire.Parameters) -> dict[str, Any]:
    found = {name: value for name, value in parameters._asdict().items() if value is not None and value != ()}
    found["max_ack_delay"] = round(parameters.max_ack_delay * 1_000_000)
    found["idle_timeout"] = round(parameters.idle_timeout * 1_000)
    found["unknown"] = dict(parameters.unknown)
    if parameters.application_protocols:
        found["application_protocols"] = list(parameters.application_protocols)
    return found


@given(values.opening_packets())
@settings(deadline=None)
def test_it_reads_every_opening_packet(packet: wire.Opening) -> None:
    found = independent.decode(wire.encode_opening(packet), 0)
    names = {"Syn": "SYN", "SynAck": "SYN_ACK", "Retry": "RETRY", "Version": "VERSION", "Reset": "RESET"}
    assert found.pop("packet") == names[type(packet).__name__]
    expected: dict[str, Any] = dict(packet._asdict())
    if isinstance(packet, wire.Syn | wire.SynAck):
        expected["parameters"] = parameters_as_page(packet.parameters)
    if isinstance(packet, wire.Version):
        expected["versions"] = list(packet.versions)
    assert found == expected


@given(
    values.packets(5),
    st.sampled_from(protection.names()),
    st.integers(0, 2**64 - 1),
    st.sampled_from(sorted(wire.DATA_TYPES)).filter(lambda byte: not byte & 1),
)
@settings(deadline=None)
def test_it_reads_every_ordinary_packet(
    frames: list[wire.Frame], name: str, packet_number: int, type_byte: int
) -> None:
    seal = protection.by_name(name)
    header = wire.data_header(type_byte, ID, packet_number)
    packet = b"".join(seal.seal(packet_number, [header], [b"".join(map(wire.encode_frame, frames))]))
    found = independent.decode(packet, seal.overhead)
    said = wire.DATA_TYPES[type_byte]
    assert (found["key_phase"], found["epoch"], found["canonical"]) == said
    assert (found["destination_id"], found["packet_number"]) == (ID, packet_number % 2**32)
    assert found["frames"] == [as_page(frame) for frame in frames]


@given(
    st.binary(max_size=60),
    st.integers(1, 20),
    st.integers(0, 2**64 - 100) | st.just(2**32 - 2),
    st.booleans(),
    st.sampled_from(protection.names()),
)
@settings(deadline=None)
def test_it_reads_every_packet_of_a_train(data: bytes, size: int, first: int, fin: bool, name: str) -> None:
    seal = protection.by_name(name)
    payloads = [data[start : start + size] for start in range(0, len(data), size)] or [b""]
    headers = wire.canonical_headers(ID, first, len(payloads), 4, 1000, size, fin)
    sealed = b"".join(seal.seal(first, headers, list(payloads)))
    step = 30 + size + seal.overhead
    for index, payload in enumerate(payloads):
        found = independent.decode(sealed[index * step : (index + 1) * step], seal.overhead)
        last = fin and index == len(payloads) - 1
        assert found["canonical"] == 1
        assert found["packet_number"] == (first + index) % 2**32
        assert found["frames"] == [
            {
                "frame": 0x08 | last,
                "fin": last,
                "stream_id": 4,
                "offset": 1000 + index * size,
                "data": payload,
            }
        ]


def accepted(datagram: bytes) -> bool:
    """Whether rudp takes the datagram, unprotected."""
    view = memoryview(datagram)
    try:
        if datagram[:1] < b"\x60":
            wire.decode_opening(view)
            return True
        types, _, _ = wire.read_headers(view, len(view))
        if types[0] not in wire.DATA_TYPES:
            return False
        if wire.DATA_TYPES[types[0]].canonical:
            wire.read_canonical(view, len(view), 0)
        else:
            wire.decode_frames(view[wire.DATA_HEADER_SIZE :])
    except DecodeError:
        return False
    return True


def understood(datagram: bytes) -> bool:
    try:
        independent.decode(datagram, 0)
    except independent.Malformed:
        return False
    return True


@given(st.data())
@settings(deadline=None, max_examples=300)
def test_it_refuses_what_rudp_refuses(data: st.DataObject) -> None:
    frames = data.draw(values.packets(2))
    ordinary = wire.data_header(wire.DATA, ID, 1) + b"".join(map(wire.encode_frame, frames))
    (header,) = wire.canonical_headers(ID, 1, 1, 4, 5, 1, True)
    opening = wire.encode_opening(data.draw(values.opening_packets()))
    valid = data.draw(st.sampled_from([ordinary, header + b"payload", opening]))
    mutated = data.draw(values.mutations(valid))
    if valid is opening and len(mutated) > 4:
        mutated = mutated[:-4] + independent.zlib.crc32(mutated[:-4]).to_bytes(4, "big")
    assert understood(mutated) == accepted(mutated)


@given(st.binary(max_size=50))
@settings(deadline=None)
def test_it_refuses_arbitrary_bytes_as_rudp_does(datagram: bytes) -> None:
    assert understood(datagram) == accepted(datagram)


def test_it_uses_the_standard_library_alone() -> None:
    tree = ast.parse(Path(independent.__file__).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert all(alias.name in sys.stdlib_module_names for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            assert node.module in sys.stdlib_module_names
