"""The wire, version 1: every layout, declared once, in construct.

Knows: where each field of each packet and frame lies, what it means and which values are well-formed. The
diagrams and tables of docs/WIRE.md are generated from here.
Refuses to know: how to decode fast (`layout` derives that), and what a well-formed value makes anybody do.

Interpreted, these declarations decode in tens of microseconds; nothing does so but the tests, for which they
are the oracle of the derived codecs. `_valid` leaves its rule on the declaration, where `layout` finds it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias
from zlib import crc32

import construct as c

from rudp.wire.values import (
    MAX_ACK_RANGES,
    MAX_COOKIE_SIZE,
    MAX_REASON_SIZE,
    MAX_SYN_PARAMETERS_SIZE,
    MIN_DATAGRAM_SIZE,
    OPENING_SIZE,
    POSITION_LIMIT,
    RESET_TOKEN_SIZE,
    VERSION_1,
    FrameType,
    PacketType,
)

_Rule: TypeAlias = Callable[[Any, Any], bool]


def _valid(subcon: Any, rule: _Rule, text: str) -> Any:
    validator = c.ExprValidator(subcon, rule)
    validator.rule, validator.text = rule, text
    return validator


def _at_least(subcon: Any, least: int) -> Any:
    return _valid(subcon, lambda value, _: value >= least, f"at least {least}")


def _at_most(subcon: Any, most: int) -> Any:
    return _valid(subcon, lambda value, _: value <= most, f"at most {most}")


def _counted(name: str, length: Any, meaning: str) -> tuple[Any, Any]:
    """A length field and the bytes it counts."""
    return (
        f"{name}_length" / c.Rebuild(length, c.len_(c.this[name])) * f"bytes of {name}",
        name / c.Bytes(c.this[f"{name}_length"]) * meaning,
    )


CHECKSUM: Final = c.Int32ub
VERSION_NUMBER: Final = c.Int32ub
POSITION: Final = _valid(c.Int64ub, lambda value, _: value < POSITION_LIMIT, "below 2^62")

# ---------------------------------------------------------------------------------------------- every version

INVARIANT: Final = c.Struct(
    "type" / c.Int8ub * "what kind of packet this is",
    "destination_id" / c.Int64ub * "the receiver's connection id; in SYN a number the client drew",
)
SYN_INVARIANT: Final = c.Struct(
    *INVARIANT.subcons,
    "version" / VERSION_NUMBER * "the version of all that follows `source_id`",
    "source_id" / c.Int64ub * "the id the client chose for itself",
)

# ------------------------------------------------------------------------------------------------------- DATA

DATA_TYPE: Final = c.BitStruct(
    "fixed" / c.Const(0b011, c.BitsInteger(3)) * "011",
    "key_phase" / c.Flag * "0 until there is encryption",
    "epoch" / c.BitsInteger(2) * "0 plain, 1 opening, 2 and 3 traffic; 0 until there is encryption",
    "reserved" / c.Const(0, c.BitsInteger(1)) * "0",
    "canonical" / c.Flag * "1 if the payload is one STREAM frame without length and nothing else",
)
DATA_HEADER: Final = c.Struct(
    "type" / DATA_TYPE * "the bits below",
    "destination_id" / c.Int64ub * "the receiver's connection id",
    "packet_number" / c.Int32ub * "the low 32 bits of the packet number",
)

# -------------------------------------------------------------------------------------------- opening packets


def _checksummed(body: Any) -> Any:
    checksum = c.Checksum(CHECKSUM, crc32, c.this.body.data)
    return c.Struct("body" / c.RawCopy(body), "checksum" / checksum * "CRC-32 of all before it", c.Terminated)


def _padded(fields: Any) -> Any:
    zeros = _valid(c.GreedyBytes, lambda data, _: not any(data), "zeros")
    padding = "padding" / c.Default(zeros, b"") * f"zeros that fill the datagram to {OPENING_SIZE} bytes"
    return c.FixedSized(OPENING_SIZE - CHECKSUM.sizeof(), c.Struct(*fields.subcons, padding))


def _typed(kind: PacketType | FrameType, *fields: Any) -> Any:
    return c.Struct("type" / c.Const(int(kind), c.Int8ub) * f"0x{kind:02X}", *fields)


_VERSION_FIELD: Final = "version" / c.Const(VERSION_1, VERSION_NUMBER) * "1"
_TRY_FIELD: Final = (
    "try_counter" / c.Int8ub * "number of this try; SYN_ACK echoes that of the SYN it answers, and 255 when repeated"
)
_CLIENT_FIELD: Final = "destination_id" / c.Int64ub * "the client's own id"
_ECHO_FIELD: Final = "original_destination_id" / c.Int64ub * "echo of the SYN's destination_id"
_COOKIE_LENGTH: Final = _at_most(c.Int16ub, MAX_COOKIE_SIZE)

SYN_FIELDS: Final = _typed(
    PacketType.SYN,
    "destination_id" / c.Int64ub * "drawn at random by the client",
    _VERSION_FIELD,
    "source_id" / c.Int64ub * "the client's own id",
    _TRY_FIELD,
    *_counted("parameters", _at_most(c.Int16ub, MAX_SYN_PARAMETERS_SIZE), "the client's parameters"),
    *_counted("cookie", _COOKIE_LENGTH, "what RETRY handed out, or nothing"),
)
SYN_ACK_FIELDS: Final = _typed(
    PacketType.SYN_ACK,
    _CLIENT_FIELD,
    _VERSION_FIELD,
    "source_id" / c.Int64ub * "the server's own id",
    _TRY_FIELD,
    *_counted("parameters", c.Int16ub, "the server's parameters"),
)
RETRY_FIELDS: Final = _typed(
    PacketType.RETRY,
    _CLIENT_FIELD,
    _ECHO_FIELD,
    *_counted("cookie", _at_least(_COOKIE_LENGTH, 1), "opaque to the client"),
)
_VERSIONS_COUNT: Final = c.Rebuild(_at_least(c.Int8ub, 1), c.len_(c.this.versions))
VERSION_FIELDS: Final = _typed(
    PacketType.VERSION,
    _CLIENT_FIELD,
    _ECHO_FIELD,
    "versions_count" / _VERSIONS_COUNT * "number of versions",
    "versions" / c.Array(c.this.versions_count, VERSION_NUMBER) * "what the server speaks, preferred first",
)
RESET_FIELDS: Final = _typed(
    PacketType.RESET,
    "connection_id" / c.Int64ub * "the id that the packet in question was sent to",
    "token" / c.Bytes(RESET_TOKEN_SIZE) * "the reset_token of whoever owned that id",
)
PACKETS: Final[dict[PacketType, Any]] = {
    PacketType.SYN: _checksummed(_padded(SYN_FIELDS)),
    PacketType.SYN_ACK: _checksummed(_padded(SYN_ACK_FIELDS)),
    PacketType.RETRY: _checksummed(RETRY_FIELDS),
    PacketType.VERSION: _checksummed(VERSION_FIELDS),
    PacketType.RESET: c.Struct(*RESET_FIELDS.subcons, c.Terminated),
}

# ------------------------------------------------------------------------------------------------- parameters

PARAMETER: Final = c.Struct(
    "type" / c.Int16ub * "which parameter",
    *_counted("value", c.Int16ub, "as the table says"),
)
PROTOCOL_NAME: Final = c.Struct(*_counted("name", _at_least(c.Int8ub, 1), "UTF-8"))
REFUSAL_HEAD: Final = c.Struct("code" / c.Int32ub * "transport error code")
REFUSAL: Final = c.Struct(*REFUSAL_HEAD.subcons, "reason" / c.GreedyBytes * "UTF-8, to the end")
PROTOCOLS: Final = 10
REFUSED: Final = 11
# id: (name, declaration, wire units per unit of the value, must be present)
PARAMETERS: Final[dict[int, tuple[str, Any, int, bool]]] = {
    1: ("initial_max_data", POSITION, 1, True),
    2: ("initial_max_stream_data", POSITION, 1, True),
    3: ("initial_max_streams_bidi", POSITION, 1, True),
    4: ("initial_max_streams_uni", POSITION, 1, True),
    5: ("max_ack_delay", c.Int32ub, 1_000_000, True),
    6: ("idle_timeout", c.Int32ub, 1_000, True),
    7: ("max_datagram_size", _at_least(c.Int16ub, MIN_DATAGRAM_SIZE), 1, True),
    8: ("reset_token", c.Bytes(RESET_TOKEN_SIZE), 1, False),
    9: ("protection", c.Int8ub, 1, True),
    PROTOCOLS: ("application_protocols", PROTOCOL_NAME, 1, False),
    REFUSED: ("refused", REFUSAL, 1, False),
}


# ----------------------------------------------------------------------------------------------------- frames


def _ack_frame(kind: FrameType, *counts: Any) -> Any:
    further = _at_most(c.Int8ub, MAX_ACK_RANGES - 1)
    return _typed(
        kind,
        "largest_acknowledged" / c.Int64ub * "the newest packet number acknowledged",
        "ack_delay" / c.Int32ub * "microseconds from its arrival to this frame; 2^32 - 1: unknown",
        "range_count" / c.Rebuild(further, c.len_(c.this.ranges)) * "ranges after the first",
        "first_length" / _AT_LEAST_1 * "packets in the newest range, which ends with largest_acknowledged",
        *counts,
        "ranges" / c.Array(c.this.range_count, ACK_RANGE) * "older ranges, newest first",
        c.Check(lambda ack: _ack_span(ack) <= ack.largest_acknowledged + 1),
    )


def _ack_span(ack: Any) -> int:
    return int(ack.first_length + sum(part.gap + part.length for part in ack.ranges))


def _stream_frame(kinds: tuple[FrameType, FrameType], *length: Any) -> Any:
    both = " or ".join(f"0x{kind:02X}" for kind in kinds)
    return c.Struct(
        "type" / _valid(c.Int8ub, lambda value, _: value in kinds, both) * f"{both}; the lowest bit is FIN",
        "stream_id" / c.Int64ub * "the stream",
        "offset" / c.Int64ub * "position of the first byte of data in the stream",
        *length,
    )


_AT_LEAST_1: Final = _at_least(c.Int32ub, 1)
_CODE: Final = "code" / c.Int32ub * "application error code"
_STREAM_ID: Final = "stream_id" / c.Int64ub * "the stream"
_REASON: Final = _counted("reason", _at_most(c.Int16ub, MAX_REASON_SIZE), "UTF-8 text for people")
_MAX_STREAMS: Final = "maximum" / POSITION * "streams the peer may open in all"

ACK_RANGE: Final = c.Struct(
    "gap" / _AT_LEAST_1 * "packets not acknowledged between the newer range and this one",
    "length" / _AT_LEAST_1 * "packets in this range",
)
STREAM_TO_END: Final = _stream_frame((FrameType.STREAM, FrameType.STREAM_FIN))
STREAM_WITH_LENGTH: Final = _stream_frame(
    (FrameType.STREAM_LENGTH, FrameType.STREAM_LENGTH_FIN),
    *_counted("data", c.Int16ub, "the bytes"),
    c.Check(lambda frame: frame.offset + frame.data_length < POSITION_LIMIT),
)
FRAMES: Final[dict[FrameType, Any]] = {
    FrameType.PADDING: _typed(FrameType.PADDING),
    FrameType.PING: _typed(FrameType.PING),
    FrameType.ACK: _ack_frame(FrameType.ACK),
    FrameType.ACK_ECN: _ack_frame(
        FrameType.ACK_ECN,
        "ect0" / c.Int64ub * "packets received with ECT(0)",
        "ect1" / c.Int64ub * "packets received with ECT(1)",
        "ce" / c.Int64ub * "packets received with CE",
    ),
    FrameType.RESET_STREAM: _typed(
        FrameType.RESET_STREAM, _STREAM_ID, _CODE, "final_size" / POSITION * "bytes the sender had sent"
    ),
    FrameType.STOP_SENDING: _typed(FrameType.STOP_SENDING, _STREAM_ID, _CODE),
    FrameType.STREAM_LENGTH: STREAM_WITH_LENGTH,
    FrameType.STREAM_LENGTH_FIN: STREAM_WITH_LENGTH,
    FrameType.MAX_DATA: _typed(FrameType.MAX_DATA, "maximum" / POSITION * "sum over all streams"),
    FrameType.MAX_STREAM_DATA: _typed(
        FrameType.MAX_STREAM_DATA, _STREAM_ID, "maximum" / POSITION * "highest offset the stream may reach"
    ),
    FrameType.MAX_STREAMS_BIDI: _typed(FrameType.MAX_STREAMS_BIDI, _MAX_STREAMS),
    FrameType.MAX_STREAMS_UNI: _typed(FrameType.MAX_STREAMS_UNI, _MAX_STREAMS),
    FrameType.PATH_CHALLENGE: _typed(FrameType.PATH_CHALLENGE, "data" / c.Bytes(8) * "unpredictable"),
    FrameType.PATH_RESPONSE: _typed(FrameType.PATH_RESPONSE, "data" / c.Bytes(8) * "echo of the challenge"),
    FrameType.CLOSE: _typed(FrameType.CLOSE, "code" / c.Int32ub * "transport error code", *_REASON),
    FrameType.CLOSE_APPLICATION: _typed(FrameType.CLOSE_APPLICATION, _CODE, *_REASON),
    FrameType.FIN: _typed(
        FrameType.FIN,
        "streams_bidi" / POSITION * "bidirectional streams the sender opened",
        "streams_uni" / POSITION * "unidirectional streams the sender opened",
        "total_size" / POSITION * "sum of the final sizes of all streams the sender sent on",
    ),
    FrameType.ACK_FREQUENCY: _typed(
        FrameType.ACK_FREQUENCY,
        "sequence" / c.Int64ub * "grows with each such frame",
        "ack_eliciting_threshold" / c.Int32ub * "acknowledge after this many ack-eliciting packets",
        "max_ack_delay" / c.Int32ub * "microseconds an acknowledgement may wait",
        "reordering_threshold" / c.Int32ub * "packets of reordering that call for an acknowledgement at once",
    ),
    FrameType.IMMEDIATE_ACK: _typed(FrameType.IMMEDIATE_ACK),
}
