"""The state of a connection, what moves it, and how it ends.

Knows: the state (by the table in `state`), when FINs are complete, what is said last and what late packets are told.
Refuses to know: the opening's tries, packets and paths; what the application does about it (it appends events).

    connect(cause)                the opening is complete
    finish, close, abort          the application's wishes
    advance(now)                  after each packet while either side is closing; O(streams) then, else never called
    on_close, on_reset, end       an end without handshake (RFC 9000 section 10.2)

Sources: RFC 9293 sections 3.3.2 and 3.6; RFC 9000 section 10.
"""

from __future__ import annotations

from typing import Final

from rudp import wire
from rudp.closing import Closing, Ending, aborted, broken, closed_by_peer, unread
from rudp.errors import ConnectionReset, ErrorCode, ProtocolError
from rudp.events import Connected, Event, PeerFinished, Terminated
from rudp.lingering import Linger
from rudp.liveness import Liveness
from rudp.opening import Opening
from rudp.packetizer import Packetizer
from rudp.received_packets import ReceivedPackets
from rudp.rtt import RttEstimator
from rudp.state import CLOSED_STATES, OPEN_STATES, Input, State, transition
from rudp.stream_limits import BIDI, UNI
from rudp.streams import Streams

__all__ = ["Lifecycle"]

# Tells a peer in LAST-ACK or CLOSING that all it sent has arrived and all it should get was acknowledged. No ACK beside
# it: a late packet is answered by three times its size at most, and an ACK of many ranges is more.
_ALL_DONE: Final = wire.encode_frame(wire.Close(ErrorCode.NO_ERROR, "", application=False))
_FIN_UNACKNOWLEDGED: Final = (State.FIN_WAIT_1, State.CLOSING, State.LAST_ACK)


class Lifecycle:
    """State and end of one connection."""

    __slots__ = (
        "_closing",
        "_events",
        "_liveness",
        "_opening",
        "_packetizer",
        "_received",
        "_rtt",
        "_streams",
        "last_words",
        "linger",
        "state",
        "violated",
    )

    def __init__(
        self,
        *,
        opening: Opening,
        closing: Closing,
        streams: Streams,
        received: ReceivedPackets,
        rtt: RttEstimator,
        packetizer: Packetizer,
        liveness: Liveness,
        events: list[Event],
    ) -> None:
        self._opening = opening
        self._closing = closing
        self._streams = streams
        self._received = received
        self._rtt = rtt
        self._packetizer = packetizer
        self._liveness = liveness
        self._events = events
        # A datagram that still has to go out after the end.
        self.last_words: bytes | None = None
        self.linger: Linger | None = None
        self.violated = False
        self.state = transition(State.CLOSED, Input.CONNECT if opening.is_client else Input.SYN)

    def connect(self, cause: Input) -> None:
        """SYN_ACK, or the first DATA, arrived."""
        self.state = transition(self.state, cause)
        self._events.append(Connected())

    def finish(self) -> None:
        """Write no more: FIN follows what was written."""
        if not self._closing.finished and self.state in (State.ESTABLISHED, State.CLOSE_WAIT):
            self._closing.finish()
            self.state = transition(self.state, Input.FIN_SENT)

    def close(self, farewell: wire.Close | None = None) -> None:
        """Write and read no more; with `farewell` the peer is told that once it has everything."""
        farewell = self._closing.farewell = farewell or self._closing.farewell
        if self.state is State.SYN_SENT:
            self.state = transition(self.state, Input.FIN_SENT)
            # RFC 9293 section 3.10.4: what was queued ends in an error.
            lost = aborted(0, "closed before the opening was complete, so nothing was sent")
            self._terminate(lost.error if self._streams.buffered else None)
        elif self.state in OPEN_STATES:
            self._closing.receiving_ended = farewell is None
            self.finish()
            if self._streams.has_unread():
                self.abort(unread())
            elif farewell is not None and self.state is State.FIN_WAIT_2:
                # Half-closed before: the peer has everything already.
                self.end(Ending(farewell, None), Input.ABORT)

    def bound_close(self, now: float) -> bool:
        """In FIN_WAIT_2: from the first look on at a fully closed connection, its patience counts.

        Whether it begins to, as that is a deadline more.
        """
        begins = self._closing.receiving_ended and self._liveness.closing_since is None
        if begins:
            self._liveness.closing_since = now
        return begins

    def advance(self, now: float) -> None:
        """Hold the totals of FINs against what arrived and what was acknowledged, once there are any.

        Raises ProtocolError.
        """
        closing, streams = self._closing, self._streams
        closing.check(streams.limits.opened_by_peer, streams.received_highest)
        if closing.receiving_ended and streams.has_unread():
            # Before its FIN counts, which would end in order what is none.
            self.abort(unread())
            return
        if closing.is_complete(streams.received_total) and closing.peer_fin is not None:
            # Before anybody hears of an end: it may speak of more streams than were admitted.
            fin, opened = closing.peer_fin, streams.limits.opened_by_peer
            if opened != (fin.streams_bidi, fin.streams_uni):
                streams.open_by_peer(BIDI, fin.streams_bidi)
                streams.open_by_peer(UNI, fin.streams_uni)
            closing.peer_finished = True
            self.state = transition(self.state, Input.PEER_FINISHED)
            self._events.append(PeerFinished())
            streams.finish_receiving()
        if self.state in _FIN_UNACKNOWLEDGED and closing.fin_acked and streams.all_acknowledged():
            if closing.farewell is not None:
                self.end(Ending(closing.farewell, None), Input.ABORT)
                return
            self.state = transition(self.state, Input.FIN_ACKNOWLEDGED)
            if self.state is State.CLOSED:
                # The acknowledgement of the peer's FIN may have been lost: it may be CLOSING still, and ask again.
                self._linger(self._packetizer.sealed(_ALL_DONE))
                self._terminate(None)
        if self.state is State.TIME_WAIT:
            self._enter_time_wait(now)

    def _enter_time_wait(self, now: float) -> None:
        """Acknowledge the peer's FIN; a repetition is answered by a datagram that says that all had arrived."""
        if self._received.ack_pending:
            self.last_words = self._packetizer.sealed(wire.encode_frame(self._received.build_ack(now)))
        self._linger(self._packetizer.sealed(_ALL_DONE))
        self._terminate(None)

    def is_over(self, close: wire.Close | None, now: float) -> bool:
        """Packets came with a CLOSE, or while closing: whether that was the end. Raises as `advance`."""
        if close is not None:
            self.on_close(close)
        else:
            self.advance(now)
        return self.state in CLOSED_STATES

    def on_close(self, frame: wire.Close) -> None:
        """CLOSE received: the end, with nothing sent in answer (RFC 9000 section 10.2.2)."""
        clean = not frame.application and frame.code == ErrorCode.NO_ERROR
        if clean and self.state in (State.CLOSING, State.LAST_ACK):
            # The peer is in TIME-WAIT: it has our FIN and all before it.
            self._end_in_order()
            return
        self.state = transition(self.state, Input.CLOSE_RECEIVED)
        self._linger(None)
        self._terminate(closed_by_peer(frame))

    def on_reset(self) -> None:
        """A stateless RESET with the right token: the peer has lost this connection."""
        if self.state in (State.CLOSING, State.LAST_ACK) and self._streams.all_acknowledged():
            # All that either side sent has arrived, and the peer's TIME-WAIT is over (RFC 9293 section 3.10.7.4).
            self._end_in_order()
        elif self.state in OPEN_STATES:
            self.state = transition(self.state, Input.CLOSE_RECEIVED)
            self._linger(None)
            self._terminate(
                ConnectionReset("the peer does not know this connection any more (restarted?); connect again")
            )

    def _end_in_order(self) -> None:
        self.state = transition(self.state, Input.FIN_ACKNOWLEDGED)
        self._linger(None)
        self._terminate(None)

    def refuse(self, error: Exception) -> None:
        """The client's opening fails; later than SYN_SENT this does nothing."""
        if self.state is State.SYN_SENT:
            self.state = transition(self.state, Input.CLOSE_RECEIVED)
            self._terminate(error)

    def abort(self, ending: Ending) -> None:
        """End at once, by this side's wish."""
        if self.state not in CLOSED_STATES:
            self.end(ending, Input.ABORT)

    def on_violation(self, error: ProtocolError) -> None:
        """The peer broke the protocol: the end."""
        if self.state not in CLOSED_STATES:
            self.violated = True
            self.end(broken(error), Input.ABORT)

    def end(self, ending: Ending, cause: Input) -> None:
        """End without handshake: say so to the peer, as far as it is known, and to the application."""
        before, self.state = self.state, transition(self.state, cause)
        frame = ending.frame
        if frame is not None and before is not State.SYN_SENT:
            words = self._packetizer.sealed(wire.encode_frame(frame))
            self._linger(words)
            if before is State.SYN_RECEIVED:
                # The client may not know our id yet. If it does, its DATA is answered by the CLOSE.
                words = self._opening.refusal(wire.Refusal(frame.code, frame.reason))
            self.last_words = words
        self._terminate(ending.error)

    def _linger(self, reply: bytes | None) -> None:
        self.linger = Linger(self._rtt.probe_timeout(), reply)

    def take_last_words(self, most: int) -> bytes | None:
        """What is still to be said, if it is `most` bytes at most; it is said once."""
        words = self.last_words
        if words is None or len(words) > most:
            return None
        self.last_words = None
        return words

    def _terminate(self, error: Exception | None) -> None:
        self._closing.begun = True
        self._events.append(Terminated(error))
