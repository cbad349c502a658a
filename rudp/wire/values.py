"""Packets and frames as values: what `wire` returns and takes.

Knows: the names, units and bounds of everything that crosses the wire.
Refuses to know: the layout (see `declarations`) and what a value makes a connection do.

Times are float seconds, sizes and offsets bytes. Ranges of packet numbers are half-open `(start, stop)`.
Names follow RFC 9000 section 19 and 18.2, FIN and the opening packets RFC 9293.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple, TypeAlias

__all__ = [
    "MAX_ACK_RANGES",
    "MAX_COOKIE_SIZE",
    "MAX_FRAMES",
    "MAX_PROTOCOLS",
    "MAX_REASON_SIZE",
    "MAX_SYN_PARAMETERS_SIZE",
    "MAX_UNKNOWN_PARAMETERS",
    "MIN_DATAGRAM_SIZE",
    "OPENING_SIZE",
    "POSITION_LIMIT",
    "RESET_TOKEN_SIZE",
    "UNKNOWN_ACK_DELAY",
    "VERSION_1",
    "Ack",
    "AckFrequency",
    "Close",
    "DataType",
    "Fin",
    "Frame",
    "FrameType",
    "ImmediateAck",
    "MaxData",
    "MaxStreamData",
    "MaxStreams",
    "Opening",
    "PacketType",
    "Parameters",
    "PathChallenge",
    "PathResponse",
    "Ping",
    "Refusal",
    "Reset",
    "ResetStream",
    "Retry",
    "StopSending",
    "Stream",
    "Syn",
    "SynAck",
    "UnreadSyn",
    "Version",
]

VERSION_1: Final = 1
OPENING_SIZE: Final = 1200  # bytes of a SYN or SYN_ACK: both directions are then known to carry as much
MIN_DATAGRAM_SIZE: Final = OPENING_SIZE  # nobody may ask for less than an opening packet takes
POSITION_LIMIT: Final = 1 << 62  # offsets, final sizes and limits stay below (RFC 9000 section 4.5)
MAX_ACK_RANGES: Final = 128
# Frames of a packet, PADDING and repeated one-byte frames aside: what a packet costs its receiver has a bound, whatever
# its size. A full packet of one stream has one, one of small writes as many as there are streams. With 16 of the
# dearest, data and credit of ever other streams, 20,000 packets a second took 80 to 90 % of a core, and one alone three
# times as long as a full packet; with 8 half of that. A byte each on 100 streams costs 12 % more by 8 than by 16.
MAX_FRAMES: Final = 8
# Seconds: the largest ack_delay that its field holds.
UNKNOWN_ACK_DELAY: Final = (2**32 - 1) / 1_000_000
MAX_REASON_SIZE: Final = 1024  # bytes of UTF-8
MAX_COOKIE_SIZE: Final = 256
# Entries of parameters that anybody may make us read one by one.
MAX_PROTOCOLS: Final = 32
MAX_UNKNOWN_PARAMETERS: Final = 32
MAX_SYN_PARAMETERS_SIZE: Final = OPENING_SIZE - 30 - MAX_COOKIE_SIZE  # leaves room for the largest cookie
RESET_TOKEN_SIZE: Final = 16


class PacketType(IntEnum):
    """Byte 0 of a datagram, but for DATA, which owns 0x60 to 0x7F (see `DataType`)."""

    SYN = 0x50
    SYN_ACK = 0x51
    RETRY = 0x52
    VERSION = 0x53
    RESET = 0x54


class FrameType(IntEnum):
    """First byte of a frame. The reserved code points of docs/WIRE.md have no member: they don't decode."""

    PADDING = 0x00
    PING = 0x01
    ACK = 0x02
    ACK_ECN = 0x03
    RESET_STREAM = 0x04
    STOP_SENDING = 0x05
    STREAM = 0x08
    STREAM_FIN = 0x09
    STREAM_LENGTH = 0x0A
    STREAM_LENGTH_FIN = 0x0B
    MAX_DATA = 0x10
    MAX_STREAM_DATA = 0x11
    MAX_STREAMS_BIDI = 0x12
    MAX_STREAMS_UNI = 0x13
    PATH_CHALLENGE = 0x1A
    PATH_RESPONSE = 0x1B
    CLOSE = 0x1C
    CLOSE_APPLICATION = 0x1D
    FIN = 0x1E
    ACK_FREQUENCY = 0x20
    IMMEDIATE_ACK = 0x21


class DataType(NamedTuple):
    """What byte 0 of a DATA packet says."""

    key_phase: bool
    epoch: int
    canonical: bool


class Refusal(NamedTuple):
    """Why a server declines: a transport error code and a text for people."""

    code: int
    reason: str


class Parameters(NamedTuple):
    """What an endpoint announces about itself in SYN or SYN_ACK (RFC 9000 section 18.2 for the common ones).

    `protection` is the id of `protection.Protection`; `max_datagram_size` is the largest UDP payload taken;
    `idle_timeout` 0 means none. A SYN_ACK has at most one application protocol; it alone may refuse.
    `unknown` keeps what a later revision sent, `(type, value)` in ascending order.
    """

    initial_max_data: int = 0
    initial_max_stream_data: int = 0
    initial_max_streams_bidi: int = 0
    initial_max_streams_uni: int = 0
    max_ack_delay: float = 0.025
    idle_timeout: float = 0.0
    max_datagram_size: int = 65507
    reset_token: bytes | None = None
    protection: int = 0
    application_protocols: tuple[str, ...] = ()
    refused: Refusal | None = None
    unknown: tuple[tuple[int, bytes], ...] = ()


class Syn(NamedTuple):
    """Opens a connection. `destination_id` is drawn by the client, `source_id` is the client's own id."""

    destination_id: int
    source_id: int
    try_counter: int
    parameters: Parameters
    cookie: bytes = b""


class UnreadSyn(NamedTuple):
    """A SYN whose parameters are still bytes: enough to ask its sender for a cookie, at little cost."""

    destination_id: int
    source_id: int
    try_counter: int
    parameters: bytes
    cookie: bytes


class SynAck(NamedTuple):
    """Accepts (or refuses). `destination_id` is the client's id, `source_id` the server's."""

    destination_id: int
    source_id: int
    try_counter: int
    parameters: Parameters


class Retry(NamedTuple):
    """Asks a client to prove its address: the SYN is to be sent again with `cookie`."""

    destination_id: int
    original_destination_id: int
    cookie: bytes


class Version(NamedTuple):
    """Tells a client which versions this server speaks."""

    destination_id: int
    original_destination_id: int
    versions: tuple[int, ...]


class Reset(NamedTuple):
    """Stateless reset: `connection_id` is the id the trigger was sent to, `token` proves who says so."""

    connection_id: int
    token: bytes


class Ping(NamedTuple):
    """Asks for an acknowledgement and nothing else."""


class Ack(NamedTuple):
    """Packet numbers received. `ranges` are half-open, newest first, and never touch each other.

    `ack_delay` is in seconds; UNKNOWN_ACK_DELAY when the ACK is repeated, so that no RTT can be taken from it.
    `ecn` counts packets that came marked ECT(0), ECT(1) and CE, or is None when marks can't be seen.
    """

    largest_acknowledged: int
    ack_delay: float
    ranges: tuple[tuple[int, int], ...]
    ecn: tuple[int, int, int] | None = None


class ResetStream(NamedTuple):
    """The sender gives up on a stream of which it had sent `final_size` bytes."""

    stream_id: int
    code: int
    final_size: int


class StopSending(NamedTuple):
    """The receiver no longer wants a stream."""

    stream_id: int
    code: int


class Stream(NamedTuple):
    """Bytes of a stream. `fin` says that the stream ends where `data` ends."""

    stream_id: int
    offset: int
    data: bytes
    fin: bool


class MaxData(NamedTuple):
    """Credit for the sum of all streams' highest offsets."""

    maximum: int


class MaxStreamData(NamedTuple):
    """Credit for one stream's highest offset."""

    stream_id: int
    maximum: int


class MaxStreams(NamedTuple):
    """How many streams of a kind the peer may open in all."""

    maximum: int
    unidirectional: bool


class PathChallenge(NamedTuple):
    """Eight bytes to be echoed from the address they were sent to."""

    data: bytes


class PathResponse(NamedTuple):
    """The echo of a PATH_CHALLENGE."""

    data: bytes


class Close(NamedTuple):
    """Ends the connection at once. `code` is the application's when `application`, else an `ErrorCode`."""

    code: int
    reason: str
    application: bool


class Fin(NamedTuple):
    """No new stream and no new byte from the sender: streams it opened, and the sum of its final sizes."""

    streams_bidi: int
    streams_uni: int
    total_size: int


class AckFrequency(NamedTuple):
    """How often the sender wants acknowledgements; only the highest `sequence` seen counts."""

    sequence: int
    ack_eliciting_threshold: int
    max_ack_delay: float
    reordering_threshold: int


class ImmediateAck(NamedTuple):
    """Asks for an acknowledgement now."""


Opening: TypeAlias = Syn | SynAck | Retry | Version | Reset
Frame: TypeAlias = (
    Ping
    | Ack
    | ResetStream
    | StopSending
    | Stream
    | MaxData
    | MaxStreamData
    | MaxStreams
    | PathChallenge
    | PathResponse
    | Close
    | Fin
    | AckFrequency
    | ImmediateAck
)
