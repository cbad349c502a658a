"""All streams of a connection: how each begins and ends, the credit the peer has.

Knows: the streams by id, the connection's receive window, the totals that a FIN carries.
Refuses to know: who may open how many (stream_limits.py), whose turn it is to send (turns.py), packets, time (but for
the clock reading given to window tuning) and events' readers; words to the peer go into the control queue, words to the
application into the list of events.

Sources: RFC 9000 sections 2 to 4, 19.4 to 19.11. Costs: all is O(1), or O(ranges) given, but for `finish_sending`,
`finish_receiving` and `all_acknowledged` (O(streams), once the connection is closing).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from rudp.config import Config
from rudp.control import ControlQueue
from rudp.errors import ErrorCode, ProtocolError, StreamClosed
from rudp.events import Event, SendingStopped, StreamOpened, StreamReadable, StreamReset, StreamsAvailable
from rudp.flow_control import LEAST_ROUND, ReceiveWindow, connection_window, stream_maximum
from rudp.receive_buffer import FragmentSpace, Pieces, ReceiveBuffer
from rudp.stream import Stream, is_client_initiated, is_unidirectional, unreadable, unwritable
from rudp.stream_limits import StreamLimits
from rudp.turns import Turns
from rudp.wire import POSITION_LIMIT, MaxData, MaxStreamData, Parameters, ResetStream, StopSending
from rudp.wire import Stream as StreamFrame

__all__ = ["Streams"]

# The same event again and again, for each stream: it is made once while few are told of.
_new_readable: Final = lru_cache(maxsize=256)(StreamReadable)


class Streams:
    """The streams of one connection.

    `received_total`: bytes received on all streams without a gap before them, against which a FIN's total is held.
    `received_highest`: the sum of the highest offsets seen, which flow control counts.
    """

    # fmt: off
    __slots__ = (
        "_config", "_control", "_events", "_fragments", "_is_client", "_peer_stream_limit", "_receiving_finished",
        "_sending_finished", "_window_maximum", "_zero_ended", "held", "limits", "receive_window", "received_highest",
        "received_total", "resets_unacknowledged", "turns",
    )
    # fmt: on

    def __init__(self, config: Config, control: ControlQueue, events: list[Event], *, is_client: bool) -> None:
        self._config, self._control, self._events, self._is_client = config, control, events, is_client
        # By id, but for stream 0 until something is asked of it.
        self.held: dict[int, Stream] = {}
        self._peer_stream_limit = 0
        self.limits = StreamLimits(config, control, is_client=is_client)
        self.received_highest = self.received_total = self.resets_unacknowledged = 0
        self._zero_ended = self._sending_finished = self._receiving_finished = False  # the last two by FIN, of either
        initial, maximum = config.initial_receive_window, config.receive_window
        self._window_maximum = stream_maximum(initial, maximum)
        self.receive_window = ReceiveWindow(connection_window(initial, maximum), maximum)
        self._fragments = FragmentSpace(self.receive_window.window)
        self.turns = Turns(events, config.receive_window)

    # -- limits ------------------------------------------------------------------------------------------------

    def on_peer_parameters(self, parameters: Parameters) -> None:
        """Take the limits that the peer's SYN or SYN_ACK states."""
        self._peer_stream_limit = parameters.initial_max_stream_data
        self.on_max_streams(parameters.initial_max_streams_bidi, unidirectional=False)
        self.on_max_streams(parameters.initial_max_streams_uni, unidirectional=True)
        self.turns.raise_limit(parameters.initial_max_data)
        if 0 in self.held:  # the only one that can have been written on before
            self.on_max_stream_data(0, self._peer_stream_limit)

    def on_max_streams(self, maximum: int, unidirectional: bool) -> None:
        """MAX_STREAMS received; wakes an application that met the old limit."""
        if self.limits.on_max_streams(int(unidirectional), maximum):
            self._events.append(StreamsAvailable(unidirectional))

    def on_max_data(self, maximum: int) -> None:
        """MAX_DATA received; streams that the old limit held back take their turns again."""
        self.turns.raise_limit(maximum)

    def on_max_stream_data(self, stream_id: int, maximum: int) -> None:
        """MAX_STREAM_DATA received."""
        stream = self._sending(stream_id)
        if stream is not None and stream.send_window is not None and stream.send_window.raise_to(maximum):
            self.turns.enqueue(stream)

    # -- opening -----------------------------------------------------------------------------------------------

    def open(self, unidirectional: bool) -> int:
        """Open a stream; its id. Raises StreamLimitReached when the peer admits none now."""
        kind = int(unidirectional)
        count = self.limits.open(kind)
        stream_id = count << 2 | kind << 1 | (not self._is_client)
        self._create(stream_id)
        self._control.put(StreamFrame(stream_id, 0, b"", False))
        return stream_id

    def _create(self, stream_id: int) -> Stream:
        mine = is_client_initiated(stream_id) == self._is_client
        one_way = is_unidirectional(stream_id)
        stream = Stream(
            stream_id,
            send_limit=self._peer_stream_limit if mine or not one_way else None,
            receive_limits=None if mine and one_way else (self._config.initial_receive_window, self._window_maximum),
            fragments=self._fragments,
        )
        if self._sending_finished:
            stream.finish_sending()
        if self._receiving_finished:
            stream.finish_receiving()
        self.held[stream_id] = stream
        return stream

    def find(self, stream_id: int) -> Stream | None:
        """The stream as the application sees it; None when it never was or has ended. Stream 0 is made on demand."""
        stream = self.held.get(stream_id)
        if stream is None and stream_id == 0 and not self._zero_ended:
            stream = self._create(0)
        return stream

    def _lookup_untrusted(self, stream_id: int) -> Stream | None:
        """The stream a frame names, opened if the peer may; None if it has ended. Raises ProtocolError."""
        stream = self.held.get(stream_id)
        if stream is not None:
            return stream
        kind = (stream_id & 0x2) >> 1
        number = stream_id >> 2
        if is_client_initiated(stream_id) == self._is_client:
            if number >= self.limits.opened_by_me[kind]:
                raise ProtocolError(ErrorCode.STREAM_STATE_ERROR, f"stream {stream_id} is ours and was never opened")
            return self.find(0) if stream_id == 0 else None
        if number < self.limits.opened_by_peer[kind]:
            return self.find(0) if stream_id == 0 else None
        self.open_by_peer(kind, number + 1)
        return self.held[stream_id]

    def open_by_peer(self, kind: int, count: int) -> None:
        """The peer has opened `count` streams of a kind in all (RFC 9000 section 2.1: lower ids open with a higher)."""
        for number in self.limits.open_by_peer(kind, count):
            stream_id = number << 2 | kind << 1 | self._is_client
            self._create(stream_id)
            self._events.append(StreamOpened(stream_id))

    # -- receiving ---------------------------------------------------------------------------------------------

    def on_stream_data(self, stream_id: int, offset: int, data: bytes, fin: bool, pieces: Pieces | None = None) -> None:
        """A STREAM frame, or a run of them, arrived; instead of `data` there may be `pieces` with gaps between them.

        Raises ProtocolError (limits, final size, credit) and BufferFull; the accounts have what was taken before that.
        """
        stream = self.held.get(stream_id) or self._lookup_untrusted(stream_id)
        if stream is None:
            return
        receive, window = stream.receive, stream.receive_window
        if receive is None or window is None:
            raise ProtocolError(ErrorCode.STREAM_STATE_ERROR, f"data on stream {stream_id}, which only we send on")
        if stream.receive_done:
            return
        before, highest = receive.contiguous, receive.highest
        stop, total = max(pieces[2]) if pieces else offset + len(data), self.received_highest - highest
        if stop > window.max_data or total + stop > self.receive_window.max_data:
            window.check(stop)
            self.receive_window.check(total + stop)
        try:
            if pieces:
                receive.insert_all(*pieces)
            else:
                receive.insert(offset, data, fin)
        finally:
            # Of pieces that there is no room for, the first have been taken.
            contiguous, growth = receive.contiguous, receive.highest - highest
            self.received_highest = total + receive.highest
            self.received_total += contiguous - before
            if stream.discarding:
                self._drop(stream, receive, growth)
            elif stream.readable_armed:
                if contiguous != receive.read_offset or contiguous == receive.final_size:
                    self._tell_readable(stream)
                elif growth > 0:
                    self._on_ahead(stream_id, receive, window, growth)

    def on_next(self, stream: Stream, receive: ReceiveBuffer, offset: int, data: bytes) -> bool:
        """`on_stream_data` of bytes that `ReceiveBuffer.append` takes; False, and nothing changed, beyond credit."""
        size, window = len(data), stream.receive_window
        highest = self.received_highest + size
        if window is None or offset + size > window.max_data or highest > self.receive_window.max_data:
            return False
        receive.append(data)
        self.received_highest = highest
        self.received_total += size
        if stream.readable_armed:
            self._tell_readable(stream)
        return True

    def _tell_readable(self, stream: Stream) -> None:
        """Tell the application, once until it has read all there is."""
        stream.readable_armed = False
        stream.readable = event = stream.readable or _new_readable(stream.id)
        self._events.append(event)

    def _drop(self, stream: Stream, receive: ReceiveBuffer, growth: int) -> None:
        """Data of a stream that nobody reads any more arrived."""
        if growth:
            self._return_credit(growth)
        if receive.at_eof:
            stream.receive_done = True
            self._forget_if_done(stream)

    def _on_ahead(self, stream_id: int, receive: ReceiveBuffer, window: ReceiveWindow, news: int) -> None:
        """A stream that was read up to a gap has more data beyond it: credit, before the gap is mended.

        `news`: bytes beyond it that came just now; so its end, which nothing lies beyond, wasn't known before.
        """
        ahead, whole = receive.highest - receive.contiguous, self.receive_window
        told = window.on_ahead(ahead) or window.repeats(ahead, news)
        if told:
            receive.window = window.window
            self._control.put(MaxStreamData(stream_id, window.grant()))
        ahead = self.received_highest - self.received_total
        if whole.on_ahead(ahead) or told or whole.repeats(ahead, news):
            self._fragments.window = whole.window
            self._control.discard(MaxData)
            self._control.put(MaxData(whole.grant()))

    def on_reset_stream(self, frame: ResetStream) -> None:
        """RESET_STREAM: what was not read is dropped, its credit returned."""
        stream = self._lookup_untrusted(frame.stream_id)
        if stream is None:
            return
        receive = stream.receive
        if receive is None or stream.receive_window is None:
            raise ProtocolError(ErrorCode.STREAM_STATE_ERROR, f"RESET_STREAM for {frame.stream_id}, which we send on")
        if stream.receive_done or (receive.final_size is not None and receive.contiguous == receive.final_size):
            return
        growth = frame.final_size - receive.highest
        if growth > 0:
            stream.receive_window.check(frame.final_size)
            self.receive_window.check(self.received_highest + growth)
        before = receive.contiguous
        receive.finish_at(frame.final_size)
        unread = receive.discard()
        if growth > 0:
            self.received_highest += growth
        self.received_total += receive.contiguous - before
        self._return_credit(unread if not stream.discarding else max(0, growth))
        stream.receive_done, stream.readable_armed = True, False
        if not stream.discarding:
            stream.peer_reset_code, stream.reset_unreported = frame.code, True
            self._events.append(StreamReset(frame.stream_id, frame.code))
            if is_client_initiated(stream.id) != self._is_client:
                # What answers our STOP_SENDING, or refuses a stream of ours, is as much as we ask for.
                self.limits.on_reset()
        self._forget_if_done(stream)

    def read(self, stream_id: int, max_bytes: int, now: float, rtt: float) -> bytes:
        """Up to `max_bytes` in order; b"" when there is nothing now or at the end (`at_eof` tells which).

        Raises StreamReset when the peer reset the stream, and StreamClosed when there is nothing to receive.
        """
        stream = self.held.get(stream_id) or self.find(stream_id)
        if stream is None or stream.readable_armed:
            return b""
        receive, window = stream.receive, stream.receive_window
        if receive is None or window is None or stream.discarding or stream.peer_reset_code is not None:
            stream.reset_unreported = False
            self._forget_if_done(stream)
            raise unreadable(stream)
        data = receive.read(max_bytes)
        if data:
            whole, size = self.receive_window, len(data)
            ahead, all_ahead = receive.highest - receive.contiguous, self.received_highest - self.received_total
            total, all_total = window.consumed + size, whole.consumed + size
            least = rtt if rtt > LEAST_ROUND else LEAST_ROUND
            if (
                total + ahead < window.quiet_up_to and all_total + all_ahead < whole.quiet_up_to
                and now - window.round_start < least and now - whole.round_start < least
                and self._control.pending is None
            ):
                window.consumed, whole.consumed = total, all_total
            else:
                self._on_consumed(stream_id, receive, window, size, now, rtt)
        final_size = receive.final_size
        if final_size is not None and receive.read_offset == final_size:
            stream.receive_done = True
            self._forget_if_done(stream)
        elif receive.read_offset == receive.contiguous:
            stream.readable_armed = True
        return data

    def _on_consumed(  # noqa: PLR0917
        self, stream_id: int, receive: ReceiveBuffer, window: ReceiveWindow, size: int, now: float, rtt: float
    ) -> None:
        """The application read so much of a stream: credit for it, the stream's and the connection's."""
        whole = self.receive_window
        if window.on_consumed(size, now, rtt, receive.highest - receive.contiguous):
            receive.window = window.window
        if receive.final_size is None:
            self._announce_stream_credit(stream_id, window)
        if whole.on_consumed(size, now, rtt, self.received_highest - self.received_total):
            self._fragments.window = whole.window
        self._announce_credit()

    def _return_credit(self, count: int) -> None:
        """`count` bytes were dropped on the application's behalf: the connection's credit for them comes back."""
        self.receive_window.on_discarded(count)
        self._announce_credit()

    def _announce_stream_credit(self, stream_id: int, window: ReceiveWindow) -> None:
        """Tell new credit if it is due; all there is if a frame that says less has yet to leave."""
        maximum = window.grant() if self._control.holds(MaxStreamData, stream_id) else window.update_due()
        if maximum is not None:
            self._control.put(MaxStreamData(stream_id, maximum))

    def _announce_credit(self) -> None:
        """The same of the connection's, behind that of streams, whichever was due first."""
        window = self.receive_window
        maximum = window.grant() if self._control.discard(MaxData) else window.update_due()
        if maximum is not None:
            self._control.put(MaxData(maximum))

    def at_eof(self, stream_id: int) -> bool:
        """Whether everything the peer sent on the stream has been read."""
        stream = self.find(stream_id)
        if stream is None or stream.receive is None:
            return True
        return stream.peer_reset_code is None and stream.receive.at_eof

    def stop_sending(self, stream_id: int, code: int) -> None:
        """Ask the peer to stop; what arrives from now on is dropped."""
        stream = self.find(stream_id)
        if stream is None or stream.receive is None or stream.discarding:
            return
        if stream.receive_done and not stream.reset_unreported:
            return
        stream.discarding, stream.readable_armed, stream.reset_unreported = True, False, False
        if stream.receive.final_size is None:
            self._control.put(StopSending(stream_id, code))
        before = stream.receive.contiguous
        self._return_credit(stream.receive.discard())
        self.received_total += stream.receive.contiguous - before
        if stream.receive.at_eof:
            stream.receive_done = True
            self._forget_if_done(stream)

    def finish_receiving(self) -> None:
        """The peer's FIN is complete, all its streams known: each that it has not ended ends where it stands."""
        self.find(0)
        self._receiving_finished = True
        for stream in list(self.held.values()):
            receive = stream.receive
            if receive is None or stream.receive_done or receive.final_size is not None:
                continue
            receive.finish_at(receive.contiguous)
            if stream.readable_armed and not stream.discarding:
                stream.readable_armed = False
                self._events.append(StreamReadable(stream.id))
            if receive.at_eof:
                stream.receive_done = True
                self._forget_if_done(stream)

    def has_unread(self) -> bool:
        """Whether data was received in order that the application has not read."""
        return self.received_total > self.receive_window.consumed

    # -- sending -----------------------------------------------------------------------------------------------

    def _sending(self, stream_id: int) -> Stream | None:
        stream = self._lookup_untrusted(stream_id)
        if stream is not None and stream.send is None:
            raise ProtocolError(ErrorCode.STREAM_STATE_ERROR, f"a frame about our sending on stream {stream_id}")
        return stream

    def write(
        self, stream_id: int, data: bytes | bytearray | memoryview, fin: bool, most: int = POSITION_LIMIT
    ) -> bool:
        """Append, ended by `fin`, unless `most` bytes wait; whether it was. Raises StreamClosed and StreamStopped."""
        stream = self.held.get(stream_id) or self.find(stream_id)
        if stream is None:
            raise StreamClosed(f"stream {stream_id} does not exist or has ended")
        send, window = stream.send, stream.send_window
        if send is None or window is None:
            raise unwritable(stream)
        if send.written - send.sent_up_to + send.lost >= most:  # `send.pending`, without a call
            stream.writable_at = most // 2
            return False
        if stream.stopped_code is not None or stream.reset_code is not None or send.fin_written:
            raise unwritable(stream)
        turns = self.turns
        turns.unsent += send.write(data)
        if fin:
            send.finish()
        if self._control.pending and turns.unsent <= turns.send_window.available and send.written <= window.limit:
            # This will go without further credit, and opens the stream at the peer.
            self._control.discard(StreamFrame, stream_id)
        turns.enqueue(stream)
        return True

    def reset(self, stream_id: int, code: int) -> None:
        """Give up sending on a stream; what is unacknowledged is dropped on both sides. A second reset does nothing."""
        stream = self.find(stream_id)
        if stream is None or stream.send_done or stream.reset_code is not None:
            return
        send = stream.send
        assert send is not None
        stream.reset_code = code
        self.resets_unacknowledged += 1
        final_size = send.sent_up_to
        self.turns.withdraw(stream, send.written - final_size)
        send.reset()
        self.turns.tell_writable(stream)
        self._control.discard(StreamFrame, stream_id)
        self._control.put(ResetStream(stream_id, code, final_size))

    def on_stop_sending(self, frame: StopSending) -> None:
        """STOP_SENDING received: reset the stream with the peer's code (RFC 9000 section 3.5)."""
        stream = self._sending(frame.stream_id)
        if stream is None or stream.send_done or stream.reset_code is not None:
            return
        stream.stopped_code = frame.code
        self.reset(frame.stream_id, frame.code)
        self._events.append(SendingStopped(frame.stream_id, frame.code))

    def on_acked(self, stream_id: int, ranges: Sequence[tuple[int, int, bool]]) -> None:
        """Ranges of a stream, (start, stop, fin), arrived."""
        stream = self.held.get(stream_id)
        if stream is None or stream.send is None or stream.reset_code is not None:
            return
        send = stream.send
        before = send.acked_up_to
        send.on_acked_all(ranges)
        self.turns.on_acknowledged(send.acked_up_to - before)
        if send.fin_acked and send.finished:
            self._forget_if_done(stream)

    def on_lost(self, stream_id: int, ranges: Sequence[tuple[int, int, bool]]) -> None:
        """Ranges of a stream, (start, stop, fin), were lost; what is not acknowledged otherwise is sent again."""
        stream = self.held.get(stream_id)
        if stream is None or stream.send is None or stream.reset_code is not None:
            return
        stream.send.on_lost_all(ranges)
        self.turns.enqueue_first(stream)

    def prefer(self, stream_id: int) -> None:
        """Let what the stream has to send be sent next."""
        if stream_id in self.held:
            self.turns.prefer(self.held[stream_id])

    def finish_sending(self) -> None:
        """Our FIN arrived: to the peer every stream ends with the bytes that were written. O(streams), once."""
        self._sending_finished = True
        for stream in list(self.held.values()):
            stream.finish_sending()
            self._forget_if_done(stream)

    def on_reset_acked(self, stream_id: int) -> None:
        """Our RESET_STREAM arrived."""
        stream = self.held.get(stream_id)
        if stream is not None and not stream.reset_acknowledged:
            stream.reset_acknowledged = True
            self.resets_unacknowledged -= 1
            self._forget_if_done(stream)

    def notify_writable(self, stream_id: int, low: int) -> None:
        """Have StreamWritable come when no more than `low` bytes of the stream wait to be sent."""
        stream = self.find(stream_id)
        if stream is not None:
            stream.writable_at = low

    def holds(self, stream_id: int) -> bool:
        """Whether a direction of the stream is still in use."""
        return stream_id in self.held or (stream_id == 0 and not self._zero_ended)

    def all_acknowledged(self) -> bool:
        """Whether everything sent on every stream, resets included, has been acknowledged."""
        return all(stream.send_acknowledged for stream in self.held.values())

    @property
    def buffered(self) -> int:
        """Bytes written on all streams and not yet acknowledged."""
        return sum(s.send.buffered for s in self.held.values() if s.send is not None)

    def _forget_if_done(self, stream: Stream) -> None:
        """Drop a stream of which both directions have ended, and admit the peer another for one of its own."""
        stream_id = stream.id
        done = stream.receive_done and stream.send_done and not stream.reset_unreported
        if not done or self.held.pop(stream_id, None) is None:
            return
        self._zero_ended = self._zero_ended or stream_id == 0
        if is_client_initiated(stream_id) == self._is_client:
            return
        self.limits.on_ended((stream_id & 0x2) >> 1)
