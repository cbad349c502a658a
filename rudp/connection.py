"""One connection, sans-IO: joins the parts and decides nothing numeric.

Knows: which part is asked about what, in which order, and the state. Refuses to know: sockets, clocks and other
connections (the endpoint finds the connection a datagram is for), every number that a part decides.

Four kinds of methods (all times are float seconds of one monotonic clock, handed in as `now`):

    getters    state, stats(now), remote_address, application_protocol, can_send(stream), at_eof(stream) ...
    inputs     receive_run(run, ...) or in_order.take(...), receive_syn_ack(...), handle_timeout(now)     what comes in
    commands   open_stream, send, receive, reset_stream, stop_sending, send_eof, close, abort, ping
    outputs    next_train(now) until None, next_timeout(), take_events()

After each input and each command: send every train that `next_train` gives, call `handle_timeout` not later than
`next_timeout()`, read the events. Nothing is called back. `docs/SANS_IO.md` shows a complete driver.

A received run costs one pass over its parts, an ACK O(ranges + pieces), a train O(packets) in C.
"""

from __future__ import annotations

from typing import Final, NoReturn

from rudp import congestion, protection, wire
from rudp.closing import Closing, Ending, aborted, check_code, farewell
from rudp.config import Config
from rudp.control import ControlQueue
from rudp.deadlines import Deadlines
from rudp.errors import ConnectionClosed, ProtocolError
from rudp.events import Event
from rudp.handshake import ClientHandshake, ServerHandshake
from rudp.in_order import InOrder
from rudp.inbound import Inbound
from rudp.lifecycle import Lifecycle
from rudp.lingering import Linger
from rudp.liveness import Liveness
from rudp.opening import Opening
from rudp.outbound import UNKNOWN, Outbound
from rudp.packetizer import Packetizer
from rudp.path import Path, Paths, RandomSource
from rudp.path_mtu import PathMtu
from rudp.received_packets import ReceivedPackets
from rudp.recovery import Recovery
from rudp.state import OPEN_STATES, WRITABLE_STATES, Input, State
from rudp.stats import Counters, Stats, gather
from rudp.streams import Streams
from rudp.train import Address, Source, Train
from rudp.wire import CANONICAL

__all__ = ["Connection"]

# A global is read in half the time of an enumeration's member, and these are for each train.
_SYN_SENT: Final = State.SYN_SENT
_SYN_RECEIVED: Final = State.SYN_RECEIVED
_FIN_WAIT_2: Final = State.FIN_WAIT_2


class Connection:
    """A connection. Endpoints make them: `Endpoint.connect`, or a SYN that arrives."""

    # fmt: off
    __slots__ = (
        "_closing", "_config", "_control", "_counters", "_deadlines", "_inbound", "_life", "_liveness", "_opening",
        "_outbound", "_paths", "_ready", "_received", "_recovery", "_streams", "due", "events", "id", "in_order", "now",
        "opened_by", "reset_by", "timers",
    )
    # fmt: on

    def __init__(
        self,
        config: Config,
        handshake: ClientHandshake | ServerHandshake,
        *,
        connection_id: int,
        path: Path,
        random: RandomSource,
        ready: dict[int, Connection],
        now: float,
    ) -> None:
        self.id, self._config, self._ready, self.now = connection_id, config, ready, now
        self.events: list[Event] = []
        self._paths, self._liveness = Paths(path, random, PathMtu.by_config(config)), Liveness(config, now)
        self._control, self._closing, self._counters = ControlQueue(), Closing(), Counters()
        self._streams = Streams(config, self._control, self.events, is_client=isinstance(handshake, ClientHandshake))
        law = congestion.by_name(config.congestion)
        self._recovery = Recovery(config.max_datagram_size, law, random, ecn=config.ecn)
        self._received = ReceivedPackets(self._recovery.rtt, config.max_ack_delay)
        packetizer = Packetizer(
            0, protection.by_name(config.protection), config.max_datagram_size, self._streams.turns, self._control
        )
        # fmt: off
        self._opening = Opening(
            config, handshake, paths=self._paths, packetizer=packetizer, streams=self._streams,
            recovery=self._recovery, liveness=self._liveness,
        )
        self._inbound = Inbound(
            protection=packetizer.protection, streams=self._streams, control=self._control, recovery=self._recovery,
            received=self._received, paths=self._paths, closing=self._closing, counters=self._counters,
            events=self.events,
        )
        self._outbound = Outbound(
            packetizer=packetizer, streams=self._streams, control=self._control, recovery=self._recovery,
            received=self._received, paths=self._paths, closing=self._closing, liveness=self._liveness,
            counters=self._counters,
        )
        self._deadlines = Deadlines(self._liveness, self._recovery, self._streams, self._paths, self._outbound)
        self._life = Lifecycle(
            opening=self._opening, closing=self._closing, streams=self._streams, received=self._received,
            rtt=self._recovery.rtt, packetizer=packetizer, liveness=self._liveness, events=self.events,
        )
        self.in_order = InOrder(
            protection=packetizer.protection, streams=self._streams, control=self._control, received=self._received,
            paths=self._paths, closing=self._closing, counters=self._counters, liveness=self._liveness,
            inbound=self._inbound, outbound=self._outbound,
        )
        # fmt: on
        # The endpoint's: who sent the SYN; what a RESET says; `next_timeout` when last asked; its heap's, latest first.
        self.opened_by: tuple[Address, int] | None = None
        self.reset_by: bytes | None = None
        self.due: float | None = None
        self.timers: tuple[float, ...] = ()
        self._wake()

    # -- getters ------------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """The state, by the names of RFC 9293 section 3.3.2."""
        return self._life.state

    @property
    def violated(self) -> bool:
        """Whether it ended because the peer broke the protocol."""
        return self._life.violated

    @property
    def linger(self) -> Linger | None:
        """What the endpoint is to keep of this connection, once it has ended."""
        return self._life.linger

    @property
    def remote_address(self) -> Address:
        """The peer's address in use."""
        return self._paths.active.remote

    @property
    def local_address(self) -> Address | None:
        """This side's address as far as the socket told it."""
        return self._paths.active.local

    @property
    def config(self) -> Config:
        """The configuration this connection was made with."""
        return self._config

    @property
    def is_client(self) -> bool:
        """Whether this side sent the SYN."""
        return self._opening.is_client

    @property
    def application_protocol(self) -> str | None:
        """The application protocol both sides agreed on, if they named any."""
        return self._opening.application_protocol

    @property
    def peer_reset_token(self) -> bytes | None:
        """The token by which the peer may reset the connection without its state; None while unknown."""
        return self._opening.peer_reset_token

    @property
    def peer_id(self) -> int:
        """The id that the peer chose for itself; 0 while it is unknown."""
        return self._outbound.packetizer.destination_id

    @property
    def is_open(self) -> bool:
        """The opening is complete and the connection has not ended."""
        return self.state in OPEN_STATES

    def can_send(self, stream_id: int) -> bool:
        """Whether the stream's send buffer is below its high-water mark; if not, StreamWritable will come."""
        stream = self._streams.held.get(stream_id)
        send = None if stream is None else stream.send
        if send is None or send.pending < self._config.send_buffer:
            return True
        self._streams.notify_writable(stream_id, self._config.send_buffer // 2)
        return False

    def buffered(self, stream_id: int) -> int:
        """Bytes written on the stream and not yet acknowledged; 0 for a stream that has ended."""
        stream = self._streams.find(stream_id)
        return 0 if stream is None or stream.send is None else stream.send.buffered

    @property
    def is_writable(self) -> bool:
        """Whether streams can be opened and written on; stream 0 of a client from the start, for the first DATA."""
        return not self._closing.finished and self.state in WRITABLE_STATES

    @property
    def send_buffered(self) -> int:
        """Bytes written on all streams and not yet acknowledged."""
        return self._streams.buffered

    @property
    def stream_count(self) -> int:
        """Streams of which a direction is still in use."""
        return len(self._streams.held)

    def has_stream(self, stream_id: int) -> bool:
        """Whether a direction of the stream is still in use."""
        return self._streams.holds(stream_id)

    def notify_writable(self, stream_id: int, low: int) -> None:
        """Have StreamWritable come when no more than `low` bytes of the stream wait to be sent."""
        self._streams.notify_writable(stream_id, low)

    def unsent(self, stream_id: int) -> int:
        """Bytes written on the stream that wait to be sent, for the first time or again."""
        stream = self._streams.find(stream_id)
        return 0 if stream is None or stream.send is None else stream.send.pending

    def waits(self, stream_id: int) -> bool:
        """Whether nothing can be read from the stream now, no end either: StreamReadable or StreamReset will come."""
        stream = self._streams.held.get(stream_id) or self._streams.find(stream_id)
        return stream is not None and stream.readable_armed

    def at_eof(self, stream_id: int) -> bool:
        """Whether everything the peer sent on the stream, up to its end, has been read."""
        return self._streams.at_eof(stream_id)

    def stats(self, now: float) -> Stats:
        """The connection's figures."""
        self._outbound.account()
        packetizer, mtu = self._outbound.packetizer, self._paths.mtu
        return gather(self.state.value, self._counters, self._recovery, self._streams, packetizer, mtu, now)

    # -- commands -----------------------------------------------------------------------------------------------

    def open_stream(self, unidirectional: bool = False) -> int:
        """Open a stream and announce it; its id.

        Raises StreamLimitReached when the peer admits none now (StreamsAvailable comes when it does), ConnectionClosed
        when the connection is not open for writing.
        """
        if not self.is_writable:
            self._refuse_writing()
        stream_id = self._streams.open(unidirectional)
        self._wake()
        return stream_id

    def send(self, stream_id: int, data: bytes | bytearray | memoryview, fin: bool = False) -> None:
        """Write to a stream, and end it with `fin`. `bytes` are kept, other buffers copied. Never blocks: see can_send.

        Raises ConnectionClosed, StreamClosed (this direction has ended) and StreamStopped (the peer ended it).
        """
        self.send_within(stream_id, data, fin, wire.POSITION_LIMIT)

    def send_within(
        self, stream_id: int, data: bytes | bytearray | memoryview, fin: bool = False, most: int | None = None
    ) -> bool:
        """`send` if `can_send`, in one, or if fewer than `most` bytes wait to be sent; whether it was."""
        if self._closing.finished or self._life.state not in WRITABLE_STATES:
            self._refuse_writing()
        if not self._streams.write(stream_id, data, fin, self._config.send_buffer if most is None else most):
            return False
        # What is sent puts deadlines off, as `Deadlines` has it: only that there is nothing to send is known no more.
        self._outbound.quiet_until = UNKNOWN
        self._ready[self.id] = self
        return True

    def receive(self, stream_id: int, max_bytes: int = 65536) -> bytes:
        """Up to `max_bytes` of the stream in order; b"" when nothing is there now or at its end (`at_eof` tells).

        Raises StreamReset when the peer reset the stream, StreamClosed when there is nothing to receive on it.
        """
        streams = self._streams
        try:
            return streams.read(stream_id, max_bytes, self.now, self._recovery.rtt.smoothed_rtt)
        finally:
            if self._control.pending is not None or streams.limits.due is not None:
                self._wake()

    def reset_stream(self, stream_id: int, code: int) -> None:
        """Give up sending on a stream; what has not arrived is dropped. ValueError: code beyond 32 bits."""
        check_code(code)
        self._streams.reset(stream_id, code)
        self._wake()

    def stop_sending(self, stream_id: int, code: int) -> None:
        """Ask the peer to stop sending on a stream; what arrives is dropped from now on. Raises as `reset_stream`."""
        check_code(code)
        self._streams.stop_sending(stream_id, code)
        self._wake()

    def ping(self) -> None:
        """Send something that the peer acknowledges."""
        self._outbound.ping = True
        self._wake()

    def send_eof(self) -> None:
        """Half-close: nothing more is written on any stream, reading goes on (FIN; ESTABLISHED to FIN-WAIT-1)."""
        self._life.finish()
        self._wake()

    def close(self, code: int = 0, reason: str = "") -> None:
        """Close in good order: what was written still arrives, and nothing more is read.

        With a code or a reason the peer is told them by CLOSE once it has everything, and its side is not waited for.
        With data received and unread the peer can't be told that all is well: the connection is aborted with
        UNREAD_DATA (RFC 2525 section 2.17), now or when such data arrives.
        """
        self._life.close(farewell(code, reason) if code or reason else None)
        self._wake()

    def abort(self, code: int = 0, reason: str = "") -> None:
        """End at once by CLOSE with the application's code; data on its way is dropped on both sides.

        `reason` is cut to 1,024 bytes of UTF-8. Raises ValueError when `code` doesn't fit 32 bits.
        """
        self._life.abort(aborted(code, reason))
        self._wake()

    def _refuse_writing(self) -> NoReturn:
        raise ConnectionClosed(f"the connection is {self.state.value}: nothing more can be written; open a new one")

    def _wake(self) -> None:
        """Have the endpoint look at this connection: a shared list, so nothing is called upward."""
        self._ready[self.id] = self
        self._deadlines.invalidate()

    # -- inputs -------------------------------------------------------------------------------------------------

    def receive_run(  # noqa: PLR0917
        self, view: memoryview, segment_size: int, kind: wire.DataType, ranges: tuple[tuple[int, int], ...], count: int,
        source: Source, now: float,
    ) -> bool:
        """`count` DATA packets, `ranges` of truncated numbers. Whether `end_of_buffer` has anything to decide."""
        life, inbound, closing, paths, received = self._life, self._inbound, self._closing, self._paths, self._received
        self.now, state, size = now, life.state, 0
        if state not in OPEN_STATES and state is not _SYN_RECEIVED:
            return False
        if self._outbound.unaccounted is not None:
            self._outbound.account()
        largest, parts = received.largest, inbound.fresh(view, segment_size, kind, ranges, count)
        if state is _SYN_RECEIVED and parts:
            self._opening.on_first_data(now)
            life.connect(Input.FIRST_DATA)
        try:
            for numbers, part in parts:
                size += len(part)
                close = inbound.take(part, segment_size, kind, numbers, source, now)
                if (close is not None or closing.begun) and life.is_over(close, now):
                    break
        except ProtocolError as error:
            life.on_violation(error)
        if size:
            liveness = self._liveness
            self._counters.bytes_received += size
            liveness.last_received, liveness.sent_since = now, None
            if source != paths.usual:
                paths.on_received(source, size, received.largest > largest, now)
        # Plain data only puts off what is due, unless it makes something else due; an ACK is `end_of_buffer`'s.
        if (
            kind is not CANONICAL or life.state is not state or closing.begun
            # An address to be validated; frames, now or in time.
            or paths.usual is None or self._control.pending is not None or self._streams.limits.due is not None
        ):
            self._wake()
        return received.undecided

    def end_of_buffer(self, now: float) -> bool:
        """A received buffer is finished: decide on acknowledging it. Whether that brings `due` nearer."""
        received = self._received
        if received.undecided:
            received.end_of_buffer(now, self._counters.bytes_received - self._outbound.bytes_answered)
        deadline, due = received.deadline, self.due
        if deadline is not None and deadline <= now:
            self._ready[self.id] = self
        elif deadline is not None and (due is None or deadline < due) and self.id not in self._ready:
            self.due = deadline
            return True
        return False

    def accept(self, packet: wire.Syn, protocol: str | None) -> None:
        """Server: take what the client's SYN states, and the application protocol chosen for it."""
        self._opening.accept(packet, protocol, self.now)

    def receive_retry(self, packet: wire.Retry, now: float) -> None:
        """Client: the server wants a cookie."""
        if self.state is State.SYN_SENT:
            self._opening.on_retry(packet, now)
            self._wake()

    def receive_version(self, packet: wire.Version) -> None:
        """Client: the server speaks other versions."""
        if (error := self._opening.version_error(packet)) is not None:
            self.refuse(error)

    def refuse(self, error: Exception) -> None:
        """Client: the opening fails with `error`; later than SYN_SENT this does nothing."""
        self._life.refuse(error)
        self._wake()

    def receive_syn_ack(self, packet: wire.SynAck, source: tuple[Address, Address | None], now: float) -> None:
        """Client: the server answered. A duplicate is answered, so that a server whose first DATA was lost goes on."""
        self.now = now
        if self.state is State.SYN_SENT:
            if (problem := self._opening.on_syn_ack(packet, source[1], now)) is not None:
                self.refuse(problem)
                return
            self._life.connect(Input.SYN_ACK)
            self.ping()
        elif self.is_open and packet.source_id == self.peer_id and not self._recovery.asked_lately(now):
            self.ping()

    def receive_reset(self) -> None:
        """A stateless RESET with the right token came: the peer has lost this connection."""
        self._life.on_reset()
        self._wake()

    def on_datagram_too_big(self, train: Train, now: float) -> None:
        """This machine refused to send the train handed out last, as its datagrams are too large."""
        self._paths.mtu.on_too_big(train.segment_size, now)
        if train.segment_size > self._paths.mtu.size:
            self._inbound.on_unsent(self._outbound.take_back(train), now)
        self._wake()

    def handle_timeout(self, now: float) -> None:
        """Act on what is due; harmless when called early."""
        self.now = now
        if self._outbound.unaccounted is not None or self._inbound.held_ack is not None:
            self._settle()
        if now < self._deadlines.acts_at:
            # An ACK, the pacer or a challenge is due, which the next train sees to.
            self._ready[self.id] = self
            return
        self._wake()
        if self.state is _SYN_SENT:
            if (failure := self._opening.failure(now)) is not None:
                self._life.end(Ending(None, failure), Input.TIMEOUT)
            return
        if self.state not in OPEN_STATES:
            return
        sent = self._recovery
        ending = self._liveness.failure(now, sent.rtt.probe_timeout(), sent.unacknowledged_since(), sent.pto_count)
        if ending is not None:
            self._life.end(ending, Input.TIMEOUT)
            return
        if probes := self._inbound.handle_timeout(now):
            self._outbound.probes = probes
        if self._liveness.takes_ping(now, self._streams.turns.flow_blocked, sent.unacknowledged_since()):
            self._outbound.ping = True
        self._streams.limits.pay(now)
        self._paths.handle_timeout(now)

    def _settle(self) -> None:
        """Account for a train that has left, and take an ACK that was put off, as if it came now."""
        self._outbound.account()
        if self._inbound.held_ack is not None and self._life.state in OPEN_STATES:
            self._deadlines.invalidate()
            try:
                self._inbound.settle()
                if self._closing.begun:
                    self._life.advance(self.now)
            except ProtocolError as error:
                self._life.on_violation(error)

    # -- outputs ------------------------------------------------------------------------------------------------

    def next_train(self, now: float) -> Train | None:
        """The next train to send, or None when there is none now. Call it again until it returns None."""
        self.now, state = now, self._life.state
        if self._inbound.held_ack is not None:
            # What answers leaves first: nobody waits for what an ACK changes.
            if self._streams.turns.ready and (train := self._outbound.next_train(now)) is not None:
                return train
            self._settle()
            state = self._life.state
        if state in OPEN_STATES:
            if state is _FIN_WAIT_2 and self._life.bound_close(now):
                self._deadlines.invalidate()
            return self._outbound.next_train(now)
        path = self._paths.active
        datagram = self._opening.next_datagram(now) if state is _SYN_SENT else self._life.take_last_words(path.budget())
        if datagram is None:
            return None
        path.bytes_sent += len(datagram)
        self._counters.bytes_sent += len(datagram)
        return Train([datagram], len(datagram), len(datagram), path.local, path.remote, 0)

    def next_timeout(self) -> float | None:
        """When `handle_timeout` must be called, or a train can go that cannot now; None: never."""
        if (state := self._life.state) in OPEN_STATES:
            return self._deadlines.next(self.now)
        return self._opening.next_timeout() if state is _SYN_SENT else None

    def take_events(self) -> list[Event]:
        """What happened since the last call, oldest first; `events` has them until then."""
        events, self.events[:] = self.events[:], ()
        return events
