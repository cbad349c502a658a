"""One stream: its two directions and what is known of each.

Knows: the buffers, the credit of either direction, how each direction ends.
Refuses to know: other streams, the connection's credit (streams.py), packets.

States of the directions follow RFC 9000 section 3: a direction is `None` where the stream has none; sending
ends when the fin or a RESET_STREAM is acknowledged, receiving when the end is read, or a RESET_STREAM was
taken.
"""

from __future__ import annotations

from typing import TypeVar

from rudp.errors import StreamClosed, StreamReset, StreamStopped
from rudp.events import StreamReadable
from rudp.flow_control import ReceiveWindow, SendWindow
from rudp.receive_buffer import FragmentSpace, ReceiveBuffer
from rudp.send_buffer import SendBuffer

__all__ = ["Stream", "is_client_initiated", "is_unidirectional", "unreadable", "unwritable", "with_kind"]

_Value = TypeVar("_Value")


def is_client_initiated(stream_id: int) -> bool:
    """RFC 9000 section 2.1: the lowest bit tells who opened a stream."""
    return not stream_id & 0x1


def is_unidirectional(stream_id: int) -> bool:
    """RFC 9000 section 2.1: the second lowest bit tells the kind."""
    return bool(stream_id & 0x2)


def with_kind(pair: tuple[_Value, _Value], kind: int, value: _Value) -> tuple[_Value, _Value]:
    """A figure of both kinds of streams, with another `value` for `kind` (0 bidirectional, 1 unidirectional).

    Tuples, which all connections share until something changes; lists would be their own.
    """
    return (pair[0], value) if kind else (value, pair[1])


class Stream:
    """A stream's state on one side of a connection."""

    __slots__ = (
        "discarding",
        "id",
        "peer_reset_code",
        "queued",
        "readable",
        "readable_armed",
        "receive",
        "receive_done",
        "receive_window",
        "reset_acknowledged",
        "reset_code",
        "reset_unreported",
        "send",
        "send_window",
        "stopped_code",
        "turn_left",
        "writable_at",
    )

    def __init__(
        self,
        stream_id: int,
        *,
        send_limit: int | None,
        receive_limits: tuple[int, int] | None,
        fragments: FragmentSpace | None = None,
    ) -> None:
        self.id = stream_id
        self.send = None if send_limit is None else SendBuffer()
        self.send_window = None if send_limit is None else SendWindow(send_limit)
        self.receive = None if receive_limits is None else ReceiveBuffer(receive_limits[0], fragments)
        self.receive_window = None if receive_limits is None else ReceiveWindow(*receive_limits)
        self.queued = False
        # Bytes left of its turn; what it took beyond that is owed.
        self.turn_left = 0
        # Nothing is there to read, and the application has seen it: what comes is an event, and its end or a reset too.
        self.readable_armed = receive_limits is not None
        # The event that says so, the same each time.
        self.readable: StreamReadable | None = None
        # Unsent bytes at which the application wants to hear that it may write on; None while it doesn't ask.
        self.writable_at: int | None = None
        self.discarding = False
        self.receive_done = receive_limits is None
        self.reset_code: int | None = None
        self.reset_acknowledged = False
        self.peer_reset_code: int | None = None
        self.reset_unreported = False
        self.stopped_code: int | None = None

    # A method: one is entered in half the time of a property, and this is asked twice a train.
    def has_pending(self) -> bool:
        """Bytes or a fin wait to be handed out, whatever the credit."""
        send = self.send
        if send is None:
            return False
        if send.sent_up_to < send.written:
            return True
        return send.lost > 0 or send.fin_pending

    def finish_sending(self) -> None:
        """The peer knows by the connection's FIN that the stream ends with what was written."""
        if self.send is not None and self.reset_code is None:
            self.send.finish_elsewhere()

    def finish_receiving(self) -> None:
        """The peer's FIN came before this stream was opened: nothing can arrive on it."""
        if self.receive is not None:
            self.receive.finish_at(0)
            self.receive_done, self.readable_armed = True, False

    @property
    def send_done(self) -> bool:
        """Nothing of the sending direction is left to send or to be acknowledged."""
        if self.send is None:
            return True
        return self.reset_acknowledged if self.reset_code is not None else self.send.finished

    @property
    def send_acknowledged(self) -> bool:
        """Everything written so far has arrived, or the direction was reset and the peer knows."""
        if self.send is None:
            return True
        if self.reset_code is not None:
            return self.reset_acknowledged
        return self.send.buffered == 0 and self.send.fin_acked == self.send.fin_written


def unreadable(stream: Stream) -> StreamReset | StreamClosed:
    """Why the application can't read from the stream."""
    if stream.peer_reset_code is not None:
        return StreamReset(
            f"the peer reset stream {stream.id} with code {stream.peer_reset_code}; what was not read is lost",
            code=stream.peer_reset_code,
        )
    if stream.receive is None:
        return StreamClosed(f"stream {stream.id} is unidirectional and ours: there is nothing to receive on it")
    return StreamClosed(f"receiving on stream {stream.id} was stopped by stop_sending()")


def unwritable(stream: Stream) -> StreamStopped | StreamClosed:
    """Why the application can't write on the stream."""
    if stream.send is None:
        return StreamClosed(f"stream {stream.id} is unidirectional and the peer's: it cannot be sent on")
    if stream.stopped_code is not None:
        return StreamStopped(
            f"the peer asked to stop sending on stream {stream.id}, code {stream.stopped_code}",
            code=stream.stopped_code,
        )
    ended = "reset" if stream.reset_code is not None else "finished"
    return StreamClosed(f"stream {stream.id} was {ended} by this side: nothing can be written after that")
