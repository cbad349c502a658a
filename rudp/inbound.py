"""From packets to parts: takes accepted DATA packets apart and hands each frame to the part that it concerns.

Knows: which part a frame belongs to, what an acknowledged or lost packet means for what it carried.
Refuses to know: the connection's state, who may connect, what is sent in answer. A CLOSE is returned to the caller.

    take_run       canonical packets of one run: one sweep, one insertion a stream
    take_packets   other packets, frame by frame
    on_acked, on_lost, requeue   O(1) a train, O(frames) for a packet of frames
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from rudp import wire
from rudp.closing import Closing
from rudp.control import ControlQueue
from rudp.events import Event, PathChanged
from rudp.packetizer import StreamRange
from rudp.path import Paths
from rudp.received_packets import ReceivedPackets
from rudp.recovery import Recovery
from rudp.sent_packets import SentTrain
from rudp.stats import Counters
from rudp.streams import Streams

__all__ = ["Inbound"]

# PADDING aside, what RFC 9000 section 13.2 calls not ack-eliciting.
_QUIET_FRAMES: Final = (wire.Ack, wire.Close)


class Inbound:
    """The way in of one connection."""

    __slots__ = ("_closing", "_control", "_counters", "_events", "_now", "_paths", "_received", "_recovery", "_source", "_streams")

    def __init__(
        self,
        *,
        streams: Streams,
        control: ControlQueue,
        recovery: Recovery,
        received: ReceivedPackets,
        paths: Paths,
        closing: Closing,
        counters: Counters,
        events: list[Event],
    ) -> None:
        self._streams = streams
        self._control = control
        self._recovery = recovery
        self._received = received
        self._paths = paths
        self._closing = closing
        self._counters = counters
        self._events = events
        self._now = 0.0
        self._source: tuple[Any, Any, int] = (None, None, 0)

    def take_run(
        self, view: memoryview, segment_size: int, overhead: int, start: int, stop: int, ecn: int, now: float
    ) -> None:
        """Canonical packets [start, stop), in one sweep. Raises DecodeError, ProtocolError, BufferFull."""
        for stream_id, offset, data, fin in wire.read_canonical(view, segment_size, overhead):
            self._streams.on_stream_data(stream_id, offset, data, fin)
        self._received.on_received(start, stop, now, True, ecn)

    def take_packets(
        self,
        view: memoryview,
        segment_size: int,
        overhead: int,
        start: int,
        stop: int,
        source: tuple[Any, Any, int],
        now: float,
    ) -> wire.Close | None:
        """Packets [start, stop) of any frames; a CLOSE ends it and is returned. Raises as `take_run`."""
        self._now = now
        self._source = source
        for number in range(start, stop):
            at = (number - start) * segment_size
            packet = view[at : at + segment_size]
            ack_eliciting = False
            for frame in wire.decode_frames(packet[wire.DATA_HEADER_SIZE : len(packet) - overhead]):
                if isinstance(frame, wire.Close):
                    return frame
                _HANDLERS[type(frame)](self, frame)
                ack_eliciting = ack_eliciting or not isinstance(frame, _QUIET_FRAMES)
            self._received.on_received(number, number + 1, now, ack_eliciting, source[2])
        return None

    # -- frames -------------------------------------------------------------------------------------------------

    def _ping(self, frame: wire.Ping) -> None:
        """PING asks for nothing but an acknowledgement."""

    def _ack(self, frame: wire.Ack) -> None:
        result = self._recovery.on_ack_received(frame, self._now)
        for train in result.acked:
            self.on_acked(train)
        for train in result.spurious:
            self._counters.packets_spurious += train.count
            self.on_acked(train)
        for train in result.lost:
            self.on_lost(train)

    def _stream(self, frame: wire.Stream) -> None:
        self._streams.on_stream_data(frame.stream_id, frame.offset, frame.data, frame.fin)

    def _reset_stream(self, frame: wire.ResetStream) -> None:
        self._streams.on_reset_stream(frame)

    def _stop_sending(self, frame: wire.StopSending) -> None:
        self._streams.on_stop_sending(frame)

    def _max_data(self, frame: wire.MaxData) -> None:
        self._streams.on_max_data(frame.maximum)

    def _max_stream_data(self, frame: wire.MaxStreamData) -> None:
        self._streams.on_max_stream_data(frame.stream_id, frame.maximum)

    def _max_streams(self, frame: wire.MaxStreams) -> None:
        self._streams.on_max_streams(frame.maximum, frame.unidirectional)

    def _path_challenge(self, frame: wire.PathChallenge) -> None:
        remote, local, _ = self._source
        self._paths.response = (remote, local, frame.data)

    def _path_response(self, frame: wire.PathResponse) -> None:
        old = self._paths.active
        new = self._paths.on_response(frame.data)
        if new is not None:
            self._recovery.on_path_changed(self._now, reset=not new.same_host(old))
            self._events.append(PathChanged(new.remote))

    def _fin(self, frame: wire.Fin) -> None:
        self._closing.on_fin(frame)
        self._received.request_immediate()

    def _ack_frequency(self, frame: wire.AckFrequency) -> None:
        self._received.on_ack_frequency(frame)

    def _immediate_ack(self, frame: wire.ImmediateAck) -> None:
        self._received.request_immediate()

    # -- what became of packets sent ----------------------------------------------------------------------------

    def on_acked(self, train: SentTrain) -> None:
        """A train, or part of one, arrived."""
        if train.stream_id >= 0:
            self._streams.on_acked(train.stream_id, train.offset, train.end_offset, train.fin)
        for frame in train.frames:
            if isinstance(frame, StreamRange):
                self._streams.on_acked(*frame)
            elif isinstance(frame, wire.Ack):
                self._received.on_ack_acked(frame.largest_acknowledged)
            elif isinstance(frame, wire.ResetStream):
                self._streams.on_reset_acked(frame.stream_id)
            elif isinstance(frame, wire.Fin):
                self._closing.fin_acked = True

    def on_lost(self, train: SentTrain) -> None:
        """A train, or part of one, was declared lost."""
        self._counters.packets_lost += train.count
        self._counters.bytes_lost += train.size
        self.requeue(train)

    def requeue(self, train: SentTrain) -> None:
        """Have what the train carried sent again, in other packets."""
        if train.stream_id >= 0:
            self._streams.on_lost(train.stream_id, train.offset, train.end_offset, train.fin)
        for frame in train.frames:
            if isinstance(frame, StreamRange):
                self._streams.on_lost(*frame)
            else:
                self._control.on_lost(frame)


_HANDLERS: Final[dict[type, Callable[[Inbound, Any], None]]] = {
    wire.Ping: Inbound._ping,
    wire.Ack: Inbound._ack,
    wire.Stream: Inbound._stream,
    wire.ResetStream: Inbound._reset_stream,
    wire.StopSending: Inbound._stop_sending,
    wire.MaxData: Inbound._max_data,
    wire.MaxStreamData: Inbound._max_stream_data,
    wire.MaxStreams: Inbound._max_streams,
    wire.PathChallenge: Inbound._path_challenge,
    wire.PathResponse: Inbound._path_response,
    wire.Fin: Inbound._fin,
    wire.AckFrequency: Inbound._ack_frequency,
    wire.ImmediateAck: Inbound._immediate_ack,
}
