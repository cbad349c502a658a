"""The short way in: a packet alone that brings the next bytes of a stream and nothing else, as most of a bulk flow do.

Knows: which packets these are, and what they change. Refuses to know: all others; it leaves them as they are, and
`Connection.receive_run` takes them.

    take    O(bytes) in C   one packet, or None and nothing has changed

`receive_run` would leave the same, but for the time that `Inbound` took frames last, which nothing asks without them;
`Connection.now` is its caller's to set. The state isn't asked: before the first DATA nothing is the next number, and
who ends has begun to close. A number is compared as the header has it, so from the 2**32nd packet on none is the next.
"""

from __future__ import annotations

from typing import Any, Final

from rudp.closing import Closing
from rudp.control import ControlQueue
from rudp.inbound import Inbound
from rudp.liveness import Liveness
from rudp.outbound import Outbound
from rudp.path import Paths
from rudp.protection import Protection
from rudp.received_packets import ReceivedPackets
from rudp.stats import Counters
from rudp.streams import Streams
from rudp.train import Source
from rudp.wire import CANONICAL_HEADER_SIZE, FrameType

__all__ = ["InOrder"]

# A global is read in half the time of an enumeration's member, and this is for each packet.
_STREAM: Final = FrameType.STREAM.value


class InOrder:
    """The short way into one connection."""

    # fmt: off
    __slots__ = (
        "_closing", "_control", "_counters", "_inbound", "_liveness", "_outbound", "_overhead", "_paths", "_protection",
        "_received", "_streams",
    )
    # fmt: on

    def __init__(
        self,
        *,
        protection: Protection,
        streams: Streams,
        control: ControlQueue,
        received: ReceivedPackets,
        paths: Paths,
        closing: Closing,
        counters: Counters,
        liveness: Liveness,
        inbound: Inbound,
        outbound: Outbound,
    ) -> None:
        self._protection, self._overhead = protection, protection.overhead
        self._streams, self._control, self._received, self._paths = streams, control, received, paths
        self._closing, self._counters, self._liveness = closing, counters, liveness
        self._inbound, self._outbound = inbound, outbound

    def take(self, view: memoryview, header: tuple[Any, ...], source: Source, now: float) -> bool | None:
        """Take a canonical packet alone, of `header` and a byte or more, if it is what comes next: as `receive_run`.

        None, and nothing has changed, if it is not, or may have to do with anything else.
        """
        _, _, number, kind, stream_id, offset = header
        received, streams = self._received, self._streams
        stream = streams.held.get(stream_id)
        if number != received.next or kind != _STREAM or stream is None:
            return None
        receive, size, overhead = stream.receive, len(view), self._overhead
        if receive is None or offset != receive.contiguous or size <= CANONICAL_HEADER_SIZE + overhead:
            return None
        # Before what costs by the byte, or who sends on what nobody reads, or mends gaps, would have it paid twice.
        if receive.offsets or receive.final_size is not None or receive.is_discarded:
            return None
        if (
            # Frames that are to be sent, now or in time; accounts and an ACK that come first; an end; another path.
            self._control.pending is not None or streams.limits.due is not None
            or self._outbound.unaccounted is not None or self._inbound.held_ack is not None
            or self._closing.begun or source != self._paths.usual
        ):
            return None
        if overhead and self._protection.open(view, size, number):
            return None
        if not streams.on_next(stream, receive, offset, view[CANONICAL_HEADER_SIZE : size - overhead].tobytes()):
            return None
        received.on_received(number, number + 1, now, True, source[2])
        counters, liveness = self._counters, self._liveness
        counters.packets_received += 1
        counters.bytes_received += size
        liveness.last_received, liveness.sent_since = now, None
        return received.undecided
