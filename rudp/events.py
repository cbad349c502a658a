"""What a connection tells its driver, as plain values.

Knows: the kinds of events. Refuses to know: who reads them. Events are edges: one `StreamReadable` comes when a
stream that had nothing to read has something, and no other until `receive` has taken all of that.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from rudp.train import Address

__all__ = [
    "Connected",
    "Event",
    "PathChanged",
    "PeerFinished",
    "SendingStopped",
    "StreamOpened",
    "StreamReadable",
    "StreamReset",
    "StreamWritable",
    "StreamsAvailable",
    "Terminated",
]


class Connected(NamedTuple):
    """The three-way handshake is complete."""


class StreamOpened(NamedTuple):
    """The peer opened a stream."""

    stream_id: int


class StreamReadable(NamedTuple):
    """Bytes, or the end, can be read from a stream."""

    stream_id: int


class StreamWritable(NamedTuple):
    """A stream's send buffer fell to its low-water mark after `can_send` had said no."""

    stream_id: int


class StreamReset(NamedTuple):
    """The peer reset its sending side of a stream."""

    stream_id: int
    code: int


class SendingStopped(NamedTuple):
    """The peer asked us to stop sending on a stream; the connection has reset it."""

    stream_id: int
    code: int


class StreamsAvailable(NamedTuple):
    """The peer raised its limit of streams after `open_stream` had met it."""

    unidirectional: bool


class PeerFinished(NamedTuple):
    """All that the peer will ever send has arrived (its FIN is complete)."""


class PathChanged(NamedTuple):
    """The peer's address changed and is validated."""

    remote: Address


class Terminated(NamedTuple):
    """The connection is over; the last event. `error` is None after a close in good order."""

    error: Exception | None


Event: TypeAlias = (
    Connected
    | StreamOpened
    | StreamReadable
    | StreamWritable
    | StreamReset
    | SendingStopped
    | StreamsAvailable
    | PeerFinished
    | PathChanged
    | Terminated
)
