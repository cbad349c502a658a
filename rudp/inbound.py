"""From packets to parts: takes accepted DATA packets apart and hands each frame to the part that it concerns.

Knows: which part a frame belongs to, what an acknowledged or lost packet means for what it carried.
Refuses to know: the connection's state, who may connect, what is sent in answer. A CLOSE is returned to the caller.

    fresh          what of a run is intact and new
    take           a run of intact, new packets: canonical ones in one sweep, others frame by frame
    on_acked, on_lost, requeue   O(1) a train, O(frames) for a packet of frames
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, starmap
from operator import add
from typing import Any, Final, TypeAlias

from rudp import wire
from rudp.closing import Closing
from rudp.control import ControlQueue
from rudp.errors import BufferFull, DecodeError, ErrorCode, ProtocolError
from rudp.events import Event, PathChanged
from rudp.packet_number import LIMIT, PLAIN, recover
from rudp.packetizer import StreamRange
from rudp.path import Paths
from rudp.protection import Protection
from rudp.received_packets import ReceivedPackets
from rudp.recovery import Recovery
from rudp.sent_packets import SentTrain
from rudp.stats import Counters
from rudp.streams import Streams
from rudp.train import Address
from rudp.wire import CANONICAL, read_apart, read_joined

__all__ = ["Inbound"]

# Ranges [first, stop) of packet numbers; and the packets, one behind another.
Ranges: TypeAlias = Sequence[tuple[int, int]]
Part: TypeAlias = tuple[Ranges, memoryview]
# What carries data of one stream, and can say which.
_CARRIES: Final = (SentTrain, StreamRange)
# The source, (remote, local, ECN mark), between two frames that ask for it: it would be held for nothing.
_NOWHERE: Final[tuple[Address, Address | None, int]] = (("", 0), None, 0)


class Inbound:
    """The way in of one connection."""

    __slots__ = (
        "_closing",
        "_control",
        "_counters",
        "_events",
        "_now",
        "_overhead",
        "_paths",
        "_protection",
        "_received",
        "_recovery",
        "_source",
        "_streams",
        "held_ack",
    )

    def __init__(
        self,
        *,
        protection: Protection,
        streams: Streams,
        control: ControlQueue,
        recovery: Recovery,
        received: ReceivedPackets,
        paths: Paths,
        closing: Closing,
        counters: Counters,
        events: list[Event],
    ) -> None:
        self._protection = protection
        self._overhead = protection.overhead
        self._streams = streams
        self._control = control
        self._recovery = recovery
        self._received = received
        self._paths = paths
        self._closing = closing
        self._counters = counters
        self._events = events
        self._now = 0.0
        # An ACK that waits until what answers the data beside it has left, and when it came.
        self.held_ack: tuple[wire.Ack, float] | None = None
        # Where the packet whose frames are taken came from.
        self._source = _NOWHERE

    def fresh(
        self, view: memoryview, segment_size: int, kind: wire.DataType, truncated: Ranges, count: int
    ) -> Sequence[Part]:
        """The parts of a run of `count` packets that are intact and no duplicates, in order."""
        if kind is not CANONICAL and (kind.epoch or kind.key_phase):
            self._counters.datagrams_corrupt += count
            return ()
        largest, ranges = self._received.largest, truncated
        if largest >= PLAIN:
            shift = recover(truncated[0][0], largest) - truncated[0][0]
            ranges = [(first + shift, stop + shift) for first, stop in truncated] if shift else truncated
            if ranges[-1][1] > LIMIT:
                # Numbers are not used twice, so a connection that has come to the last of them hears no more.
                self._counters.datagrams_corrupt += count
                return ()
        if len(ranges) == 1:
            first, stop = ranges[0]
            bad = self._protection.open(view, segment_size, first) if self._overhead else ()
            if first > largest and not bad:
                self._counters.packets_received += count
                return ((ranges, view),)
            return list(self._fresh_of_range(view, segment_size, first, stop, bad))
        return self._fresh_of_ranges(view, segment_size, ranges, count)

    def _fresh_of_ranges(self, view: memoryview, segment_size: int, ranges: Ranges, count: int) -> list[Part]:
        """The same of packets with gaps between their numbers."""
        if not self._protection.overhead and ranges[0][0] > self._received.largest:
            self._counters.packets_received += count
            return [(ranges, view)]  # nothing tells whether a packet is damaged
        pieces: list[tuple[memoryview, tuple[int, ...]]] = []
        at = 0
        for first, stop in ranges:
            piece = view[at : (at := at + (stop - first) * segment_size)]
            pieces.append((piece, self._protection.open(piece, segment_size, first)))
        if ranges[0][0] > self._received.largest and not any(bad for _, bad in pieces):
            self._counters.packets_received += count
            return [(ranges, view)]
        parts: list[Part] = []
        for (first, stop), (piece, bad) in zip(ranges, pieces, strict=True):
            parts += self._fresh_of_range(piece, segment_size, first, stop, bad)
        return parts

    def _fresh_of_range(
        self, view: memoryview, segment_size: int, first: int, end: int, bad: tuple[int, ...]
    ) -> Iterator[Part]:
        """The same of packets [first, end), of which those at the places `bad` are damaged."""
        self._counters.datagrams_corrupt += len(bad)
        start = first
        for stop in [*(first + index for index in bad), end]:
            if start < stop:
                new = self._received.filter_new(start, stop)
                number = sum(b - a for a, b in new)
                self._counters.packets_received += number
                self._counters.packets_duplicate += stop - start - number
                for a, b in new:
                    yield [(a, b)], view[(a - first) * segment_size : (b - first) * segment_size]
            start = stop + 1

    def take(  # noqa: PLR0917
        self,
        view: memoryview,
        segment_size: int,
        kind: wire.DataType,
        numbers: Ranges,
        source: tuple[Address, Address | None, int],
        now: float,
    ) -> wire.Close | None:
        """The packets of a run, whose ranges of numbers are `numbers`; a CLOSE ends it and is returned.

        What memory has no room for stays unacknowledged. Raises ProtocolError. A run leaves the state that its packets,
        one by one, would leave: when it can't be taken as a whole, its packets are.
        """
        self._now = now
        try:
            if kind is CANONICAL:
                frame = read_joined(view, segment_size, self._overhead)
                if frame is None or frame[3]:
                    self._take_parts(read_apart(view, segment_size, self._overhead) if frame is None else [frame])
                else:
                    self._streams.on_stream_data(frame[0], frame[1], frame[2], False)
                if len(numbers) == 1:
                    first, stop = numbers[0]
                    self._received.on_received(first, stop, now, True, source[2])
                else:
                    self._received.on_received_with_gaps(numbers, now, source[2])
                return None
            if len(view) <= segment_size:
                return self._take_frames(view, numbers[0][0], source)
        except (DecodeError, ProtocolError, BufferFull) as error:
            if len(view) <= segment_size:
                if self._refuses(error):
                    return None
                raise _violation(error) from None
        every = chain.from_iterable(starmap(range, numbers))
        for at, number in zip(range(0, len(view), segment_size), every, strict=True):
            packet = view[at : at + segment_size]
            close = self.take(packet, segment_size, kind, ((number, number + 1),), source, now)
            if close is not None:
                return close
        return None

    def _refuses(self, error: Exception) -> bool:
        """A packet can't be taken: whether it is for want of room."""
        refused = isinstance(error, BufferFull)
        self._counters.packets_refused += refused
        return refused

    def _take_parts(self, frames: Sequence[tuple[int, int, bytes, bool]]) -> None:
        """STREAM frames of a run that ends a stream, has lost packets, or mends losses: of one stream in one go."""
        ids, offsets, pieces, fins = zip(*frames, strict=True)
        if any(fins) or ids.count(ids[0]) < len(ids):
            for frame in frames:
                self._streams.on_stream_data(*frame)
            self._received.request_soon(self._now)
        else:
            stops = tuple(map(add, offsets, map(len, pieces)))
            self._streams.on_stream_data(ids[0], offsets[0], b"", False, (offsets, pieces, stops))

    def _take_frames(
        self, packet: memoryview, number: int, source: tuple[Address, Address | None, int]
    ) -> wire.Close | None:
        ack_eliciting = False
        stop = len(packet) - self._overhead
        frames = wire.decode_frames(packet[wire.DATA_HEADER_SIZE : stop], self._recovery.ack_ranges_wanted)
        for frame in frames:
            if type(frame) is wire.Stream:
                self._streams.on_stream_data(*frame)
                ack_eliciting = True
                if frame.fin:
                    self._received.request_soon(self._now)
            elif isinstance(frame, wire.Ack):
                if len(frames) == 1 or not self._holds(frame, frames[-1]):
                    if self.held_ack is not None:
                        self.settle()
                    self._take_ack(frame, self._now)
            elif isinstance(frame, wire.Close):
                return frame
            else:
                self._source = source
                _HANDLERS[type(frame)](self, frame)
                self._source = _NOWHERE
                self._received.request_soon(self._now)
                # RFC 9000 section 13.2: all are ack-eliciting but ACK, CLOSE and PADDING, which is no frame here.
                ack_eliciting = True
        self._received.on_received(number, number + 1, self._now, ack_eliciting, source[2])
        return None

    # -- frames -------------------------------------------------------------------------------------------------

    def _ping(self, frame: wire.Ping) -> None:
        """PING asks for nothing but an acknowledgement."""

    def _holds(self, ack: wire.Ack, last: wire.Frame) -> bool:
        """Put off an ACK that came with stream data, if neither it nor what may be sent before it changes anything.

        So an answer leaves without waiting for what is reckoned from the ACK: a quarter of what a request costs.
        """
        recovery, closing = self._recovery, self._closing
        held = (
            type(last) is wire.Stream
            # No part of more than fits into a packet, nothing missing here or there, nothing that waits to be sent.
            and len(last.data) * 2 < self._paths.mtu.size
            and len(ack.ranges) == 1
            and len(self._received.ranges.starts) <= 1
            and not self._streams.turns.ready
            # Whoever acknowledges what is yet to be sent is to be found out.
            and ack.largest_acknowledged < recovery.next_packet_number
            and recovery.sent_packets.bytes_in_flight * 2 <= recovery.congestion.congestion_window
            and not (recovery.pto_count or closing.finished or closing.peer_fin)
        )
        if held:
            self.settle()
            self.held_ack = ack, self._now
        return held

    def settle(self) -> None:
        """Take the ACK that was put off, as of when it came. Raises ProtocolError."""
        if self.held_ack is not None:
            (ack, now), self.held_ack = self.held_ack, None
            self._take_ack(ack, now)

    def _take_ack(self, frame: wire.Ack, now: float) -> None:
        acked, lost, spurious = self._recovery.on_ack_received(frame, now)
        self.on_acked(acked)
        if spurious:
            for train in spurious:
                self._counters.packets_spurious += train.count
            self.on_acked(spurious)
        if lost:
            self.on_lost(lost)

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
        self.settle()
        old = self._paths.active
        new = self._paths.on_response(frame.data)
        if new is not None:
            elsewhere = not new.same_host(old)
            if elsewhere:
                self._paths.on_moved(self._now, self._recovery.rtt.probe_timeout())
                size = self._paths.mtu.on_path_changed(new.remote, self._now)
                self._recovery.set_max_datagram_size(size, self._now)
            self._recovery.on_path_changed(self._now, reset=elsewhere)
            self._events.append(PathChanged(new.remote))

    def _fin(self, frame: wire.Fin) -> None:
        self._closing.on_fin(frame)
        self._streams.limits.finish()
        self._received.request_immediate()

    def _ack_frequency(self, frame: wire.AckFrequency) -> None:
        self._received.on_ack_frequency(frame)

    def _immediate_ack(self, frame: wire.ImmediateAck) -> None:  # noqa: ARG002
        self._received.request_immediate()

    # -- what became of packets sent ----------------------------------------------------------------------------

    def on_acked(self, trains: list[SentTrain]) -> None:
        """Trains, or parts of them, arrived. What they carried of a stream one after the other is one range."""
        mtu = self._paths.mtu
        if mtu.is_on:
            mtu.on_acked(trains, self._now)
        ranges: list[tuple[int, int, bool]] = []
        stream_id = end = -1
        for train in trains:
            if train.stream_id == stream_id and train.offset == end and not train.offsets:
                end = train.end_offset
                ranges[-1] = ranges[-1][0], end, train.fin
                continue
            for item in (train,) if train.stream_id >= 0 else train.frames:
                if type(item) not in _CARRIES:
                    self._on_frame_acked(item)
                    continue
                if item.stream_id != stream_id and ranges:
                    self._streams.on_acked(stream_id, ranges)
                    ranges = []
                stream_id, found = item.stream_id, item.ranges()
                if ranges and found[0][0] == end:
                    found[0] = ranges.pop()[0], *found[0][1:]
                ranges += found
                end = ranges[-1][1]
        if ranges:
            self._streams.on_acked(stream_id, ranges)

    def _on_frame_acked(self, frame: Any) -> None:
        kind = type(frame)
        if kind is wire.Ack:
            self._received.on_ack_acked(frame.ranges)
        elif kind is wire.ResetStream:
            self._streams.on_reset_acked(frame.stream_id)
        elif kind is wire.Fin:
            self._closing.fin_acked = True
            self._streams.finish_sending()

    def handle_timeout(self, now: float) -> int:
        """What recovery's timers say: queue again what is lost, or what probes repeat; how many probes to send.

        When something waits to be sent the last probe carries that, and the others repeat (RFC 9002 section 6.2.4).
        """
        self._now = now
        result = self._recovery.handle_timeout(now)
        self.on_lost(result.lost)
        if result.probes:
            self._paths.mtu.on_probe_timeout(self._recovery.pto_count, self._recovery.sent_packets, now)
        repeated = result.probes - (self._streams.turns.next_ready() is not None)
        for train in reversed(self._recovery.sent_packets.oldest_unacknowledged(repeated)):
            self.requeue(train)
            for stream_id in reversed(_streams_of(train)):
                self._streams.prefer(stream_id)
        return result.probes

    def on_lost(self, trains: list[SentTrain]) -> None:
        """Trains, or parts of them, were declared lost. Of a probe of the path MTU it says only that it was too big."""
        mtu, counters, now = self._paths.mtu, self._counters, self._now
        ranges: list[tuple[int, int, bool]] = []
        stream_id = -1
        for train in trains:
            mtu.on_lost(train, now)
            if train.mtu_probe:
                counters.mtu_probes_lost += train.count
                continue
            counters.packets_lost += train.count
            counters.bytes_lost += train.size
            if train.stream_id != stream_id and ranges:
                self._streams.on_lost(stream_id, ranges)
                ranges = []
            stream_id = train.stream_id
            if stream_id >= 0:
                ranges += train.ranges()
            else:
                self.requeue(train)
        if ranges:
            self._streams.on_lost(stream_id, ranges)

    def on_unsent(self, ranges: Ranges, now: float) -> None:
        """Packets in ranges of numbers never left this machine: what they carried goes in others."""
        for train in self._recovery.take_back(ranges, now):
            if train.mtu_probe:
                self._counters.mtu_probes_lost += 1
            else:
                self.requeue(train)

    def requeue(self, train: SentTrain) -> None:
        """Have what the train carried sent again, in other packets."""
        if train.stream_id >= 0:
            self._streams.on_lost(train.stream_id, train.ranges())
        for frame in train.frames:
            if isinstance(frame, StreamRange):
                self._streams.on_lost(frame.stream_id, ((frame.start, frame.stop, frame.fin),))
            else:
                self._control.on_lost(frame)


def _violation(error: Exception) -> Exception:
    """What a frame does wrong, as the connection is told.

    It is raised by who asks: an error that a frame of its own traceback holds would hold all of those, and a view of
    the received buffer with them, until the garbage collector comes.
    """
    return ProtocolError(ErrorCode.FRAME_ENCODING_ERROR, str(error)) if isinstance(error, DecodeError) else error


def _streams_of(train: SentTrain) -> list[int]:
    """The streams that a train carried data of."""
    ids = [frame.stream_id for frame in train.frames if isinstance(frame, StreamRange)]
    return [train.stream_id, *ids] if train.stream_id >= 0 else ids


_HANDLERS: Final[dict[type, Callable[[Inbound, Any], None]]] = {
    wire.Ping: Inbound._ping,
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
