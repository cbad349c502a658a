"""A decoder written from docs/WIRE.md alone, with the standard library alone.

Knows: what that page says, and nothing of rudp.
Refuses to know: rudp, construct, speed. Packets and frames come as dicts with the field names of the page.

`decode(datagram, overhead)` raises Malformed for what the page doesn't allow. Numbers stay as they are on the
wire (microseconds, truncated packet numbers); the trailer of DATA is cut off, and checked if it is crc32's.
"""

from __future__ import annotations

import zlib
from typing import Any

Decoded = dict[str, Any]

POSITION_LIMIT = 2**62
PARAMETERS = {
    1: ("initial_max_data", 8),
    2: ("initial_max_stream_data", 8),
    3: ("initial_max_streams_bidi", 8),
    4: ("initial_max_streams_uni", 8),
    5: ("max_ack_delay", 4),
    6: ("idle_timeout", 4),
    7: ("max_datagram_size", 2),
    9: ("protection", 1),
}


class Malformed(Exception):
    """The datagram breaks a rule of the page."""


def require(condition: bool, rule: str) -> None:
    if not condition:
        raise Malformed(rule)


class Reader:
    """Takes fields from the front of some bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def take(self, size: int) -> bytes:
        require(self.left >= size, "ends too early")
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, bits: int) -> int:
        return int.from_bytes(self.take(bits // 8), "big")

    def position(self) -> int:
        value = self.number(64)
        require(value < POSITION_LIMIT, "a position of 2^62 or more")
        return value


def text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("a text that isn't UTF-8") from None


def decode(datagram: bytes, overhead: int) -> Decoded:
    """One datagram of a connection whose protection has a trailer of `overhead` bytes."""
    require(len(datagram) > 0, "an empty datagram")
    kind = datagram[0]
    if kind in OPENINGS:
        return OPENINGS[kind](datagram)
    require(0x60 <= kind <= 0x7F and not kind & 0x02, "byte 0 of no packet")
    return data(datagram, overhead)


# --- opening packets


def unchecked(datagram: bytes) -> Reader:
    """The fields after byte 0 of a packet with a checksum, the checksum verified and cut off."""
    require(len(datagram) >= 5, "no room for a checksum")
    require(zlib.crc32(datagram[:-4]) == int.from_bytes(datagram[-4:], "big"), "a wrong checksum")
    return Reader(datagram[1:-4])


def padding(fields: Reader, datagram: bytes) -> None:
    require(len(datagram) == 1200, "not 1,200 bytes")
    require(not any(fields.take(fields.left)), "padding that isn't zero")


def syn(datagram: bytes) -> Decoded:
    fields = unchecked(datagram)
    found: Decoded = {"packet": "SYN", "destination_id": fields.number(64)}
    require(fields.number(32) == 1, "another version")
    found["source_id"] = fields.number(64)
    found["try_counter"] = fields.number(8)
    size = fields.number(16)
    require(size <= 914, "parameters too long")
    found["parameters"] = parameters(fields.take(size))
    require("refused" not in found["parameters"], "a SYN that refuses")
    size = fields.number(16)
    require(size <= 256, "a cookie too long")
    found["cookie"] = fields.take(size)
    padding(fields, datagram)
    return found


def syn_ack(datagram: bytes) -> Decoded:
    fields = unchecked(datagram)
    found: Decoded = {"packet": "SYN_ACK", "destination_id": fields.number(64)}
    require(fields.number(32) == 1, "another version")
    found["source_id"] = fields.number(64)
    found["try_counter"] = fields.number(8)
    found["parameters"] = parameters(fields.take(fields.number(16)))
    require(len(found["parameters"].get("application_protocols", ())) <= 1, "more than one protocol chosen")
    padding(fields, datagram)
    return found


def retry(datagram: bytes) -> Decoded:
    fields = unchecked(datagram)
    found: Decoded = {"packet": "RETRY", "destination_id": fields.number(64)}
    found["original_destination_id"] = fields.number(64)
    size = fields.number(16)
    require(1 <= size <= 256, "no cookie or one too long")
    found["cookie"] = fields.take(size)
    require(fields.left == 0, "too long")
    return found


def version(datagram: bytes) -> Decoded:
    fields = unchecked(datagram)
    found: Decoded = {"packet": "VERSION", "destination_id": fields.number(64)}
    found["original_destination_id"] = fields.number(64)
    count = fields.number(8)
    require(count >= 1, "no version")
    found["versions"] = [fields.number(32) for _ in range(count)]
    require(fields.left == 0, "too long")
    return found


def reset(datagram: bytes) -> Decoded:
    require(len(datagram) == 25, "not 25 bytes")
    fields = Reader(datagram[1:])
    return {"packet": "RESET", "connection_id": fields.number(64), "token": fields.take(16)}


OPENINGS = {0x50: syn, 0x51: syn_ack, 0x52: retry, 0x53: version, 0x54: reset}


def parameters(data: bytes) -> Decoded:
    fields = Reader(data)
    found: Decoded = {}
    skipped: dict[int, bytes] = {}
    previous = -1
    while fields.left:
        kind = fields.number(16)
        value = fields.take(fields.number(16))
        require(kind > previous, "parameters out of order or twice")
        previous = kind
        if kind in PARAMETERS:
            name, size = PARAMETERS[kind]
            require(len(value) == size, "a parameter of the wrong length")
            found[name] = int.from_bytes(value, "big")
            require(kind > 4 or found[name] < POSITION_LIMIT, "a position of 2^62 or more")
            require(kind != 7 or found[name] >= 1200, "max_datagram_size below 1,200")
        elif kind == 8:
            require(len(value) == 16, "a reset_token of the wrong length")
            found["reset_token"] = value
        elif kind == 10:
            found["application_protocols"] = protocols(value)
        elif kind == 11:
            inner = Reader(value)
            code = inner.number(32)
            require(inner.left <= 1024, "a reason too long")
            found["refused"] = (code, text(inner.take(inner.left)))
        else:
            skipped[kind] = value
    for name, _ in PARAMETERS.values():
        require(name in found, "a parameter is missing")
    require(len(skipped) <= 32, "more than 32 unknown parameters")
    found["unknown"] = skipped
    return found


def protocols(data: bytes) -> list[str]:
    fields = Reader(data)
    names = []
    while fields.left:
        size = fields.number(8)
        require(size > 0, "an empty protocol name")
        names.append(text(fields.take(size)))
    require(len(names) <= 32, "more than 32 protocols")
    require(bool(names), "an empty list of protocols")
    return names


# --- DATA


def data(datagram: bytes, overhead: int) -> Decoded:
    require(len(datagram) >= 13 + overhead, "shorter than header and trailer")
    end = len(datagram) - overhead
    if overhead == 4:
        require(zlib.crc32(datagram[:end]) == int.from_bytes(datagram[end:], "big"), "a wrong trailer")
    fields = Reader(datagram[:end])
    kind = fields.number(8)
    found: Decoded = {
        "packet": "DATA",
        "key_phase": kind >> 4 & 1,
        "epoch": kind >> 2 & 3,
        "canonical": kind & 1,
        "destination_id": fields.number(64),
        "packet_number": fields.number(32),
    }
    if found["canonical"]:
        frame_type = fields.number(8)
        require(frame_type in (0x08, 0x09), "a canonical packet with another frame")
        found["frames"] = [stream(frame_type, fields)]
        return found
    require(fields.left > 0, "no frames")
    frames = []
    counted = acks = 0
    run: set[int] = set()  # one-byte frames since the last other one
    while fields.left:
        frame_type = fields.number(8)
        require(frame_type in FRAMES, "a frame type that is unknown, reserved or has no place here")
        frames.append({"frame": frame_type, **FRAMES[frame_type](frame_type, fields)})
        if frame_type not in (0x00, 0x01, 0x21):
            run.clear()
            counted += 1
            acks += frame_type in (0x02, 0x03)
        elif frame_type and frame_type not in run:
            run.add(frame_type)
            counted += 1
    require(counted <= 8, "more than 8 frames")
    require(acks <= 1, "more than one ACK")
    found["frames"] = frames
    return found


def nothing(_frame_type: int, _fields: Reader) -> Decoded:
    return {}


def ack(frame_type: int, fields: Reader) -> Decoded:
    largest, delay = fields.number(64), fields.number(32)
    count, first_length = fields.number(8), fields.number(32)
    require(count <= 127, "too many ranges")
    found: Decoded = {"largest_acknowledged": largest, "ack_delay": delay}
    if frame_type == 0x03:
        found["ecn"] = [fields.number(64), fields.number(64), fields.number(64)]
    require(first_length >= 1, "an empty range")
    newest, oldest = largest, largest - first_length + 1
    ranges = [(oldest, newest)]
    for _ in range(count):
        gap, length = fields.number(32), fields.number(32)
        require(gap >= 1 and length >= 1, "an empty gap or range")
        newest = oldest - gap - 1
        oldest = newest - length + 1
        ranges.append((oldest, newest))
    require(oldest >= 0, "a range below 0")
    found["ranges"] = ranges  # first and last packet number of each
    return found


def reset_stream(_frame_type: int, fields: Reader) -> Decoded:
    return {"stream_id": fields.number(64), "code": fields.number(32), "final_size": fields.position()}


def stop_sending(_frame_type: int, fields: Reader) -> Decoded:
    return {"stream_id": fields.number(64), "code": fields.number(32)}


def stream(frame_type: int, fields: Reader) -> Decoded:
    found: Decoded = {"frame": frame_type, "fin": frame_type & 0x01}
    found["stream_id"], found["offset"] = fields.number(64), fields.number(64)
    size = fields.number(16) if frame_type & 0x02 else fields.left
    found["data"] = fields.take(size)
    require(found["offset"] + size < POSITION_LIMIT, "a stream of 2^62 bytes or more")
    return found


def maximum(_frame_type: int, fields: Reader) -> Decoded:
    return {"maximum": fields.position()}


def max_stream_data(_frame_type: int, fields: Reader) -> Decoded:
    return {"stream_id": fields.number(64), "maximum": fields.position()}


def path(_frame_type: int, fields: Reader) -> Decoded:
    return {"data": fields.take(8)}


def close(_frame_type: int, fields: Reader) -> Decoded:
    code, size = fields.number(32), fields.number(16)
    require(size <= 1024, "a reason too long")
    return {"code": code, "reason": text(fields.take(size))}


def fin(_frame_type: int, fields: Reader) -> Decoded:
    return {
        "streams_bidi": fields.position(),
        "streams_uni": fields.position(),
        "total_size": fields.position(),
    }


def ack_frequency(_frame_type: int, fields: Reader) -> Decoded:
    return {
        "sequence": fields.number(64),
        "ack_eliciting_threshold": fields.number(32),
        "max_ack_delay": fields.number(32),
        "reordering_threshold": fields.number(32),
    }


FRAMES = {
    0x00: nothing,
    0x01: nothing,
    0x02: ack,
    0x03: ack,
    0x04: reset_stream,
    0x05: stop_sending,
    0x0A: stream,
    0x0B: stream,
    0x10: maximum,
    0x11: max_stream_data,
    0x12: maximum,
    0x13: maximum,
    0x1A: path,
    0x1B: path,
    0x1C: close,
    0x1D: close,
    0x1E: fin,
    0x20: ack_frequency,
    0x21: nothing,
}
