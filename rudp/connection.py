"""One connection, sans-IO: joins the parts and decides nothing numeric.

Knows: which part is asked about what, in which order, and the state. Refuses to know: sockets, clocks and other
connections (the endpoint finds the connection a datagram is for), every number that a part decides.

Four kinds of methods (all times are float seconds of one monotonic clock, handed in as `now`):

    getters    state, stats(now), remote_address, application_protocol, can_send(stream), at_eof(stream) ...
    inputs     receive_run(run, ...), receive_syn_ack(...), handle_timeout(now)     bytes and time come in
    commands   open_stream, send, receive, reset_stream, stop_sending, send_eof, close, abort, ping
    outputs    next_train(now) until None, next_timeout(), take_events()

After each input and each command: send every train that `next_train` gives, call `handle_timeout` not later than
`next_timeout()`, read the events. Nothing is called back. `docs/SANS_IO.md` shows a complete driver.

A received run costs one pass over its parts, an ACK O(ranges + pieces), a train O(packets) in C.
"""

from __future__ import annotations

from typing import Final, Protocol

from rudp import congestion, packet_number, protection, wire
from rudp.closing import Closing
from rudp.config import Config
from rudp.control import ControlQueue
from rudp.errors import (
    BufferFull,
    ConnectionAborted,
    ConnectionClosed,
    ConnectionReset,
    DecodeError,
    ErrorCode,
    ProtocolError,
)
from rudp.events import Connected, Event, PeerFinished, Terminated
from rudp.handshake import ClientHandshake, ServerHandshake, connect_timeout, refused, version_mismatch
from rudp.inbound import Inbound
from rudp.liveness import Liveness
from rudp.outbound import Outbound
from rudp.packetizer import Packetizer
from rudp.path import Path, Paths
from rudp.received_packets import ReceivedPackets
from rudp.recovery import Recovery
from rudp.state import CLOSED_STATES, OPEN_STATES, Input, State, transition
from rudp.stats import Counters, Stats, gather
from rudp.streams import Streams
from rudp.train import Address, Train

__all__ = ["Connection", "Linger", "RandomSource"]

# Probe timeouts for which a closed connection's id and reply are kept (docs/DESIGN.md; RFC 9000 section 10.2).
LINGER_PROBE_TIMEOUTS: Final = 3
_LIMITS: Final = {"congestion_window": "congestion", "pacer": "pacing"}
_OPENING_STATES: Final = (State.SYN_SENT, State.SYN_RECEIVED)
_FIN_UNACKNOWLEDGED: Final = (State.FIN_WAIT_1, State.CLOSING, State.LAST_ACK)


class RandomSource(Protocol):
    """What a core needs of a random generator: `random.Random` and `random.SystemRandom` have it."""

    def getrandbits(self, k: int, /) -> int:
        """`k` random bits as a non-negative int."""
        ...

    def randbytes(self, n: int, /) -> bytes:
        """`n` random bytes."""
        ...


class Linger:
    """What an endpoint keeps of a closed connection: for how long, and the datagram that answers late packets."""

    __slots__ = ("reply", "seconds")

    def __init__(self, seconds: float, reply: bytes | None) -> None:
        self.seconds = seconds
        self.reply = reply


class Connection:
    """A connection. Endpoints make them: `Endpoint.connect`, or a SYN that arrives."""

    __slots__ = (
        "_client",
        "_closing",
        "_config",
        "_control",
        "_counters",
        "_events",
        "_inbound",
        "_last_words",
        "_liveness",
        "_now",
        "_outbound",
        "_paths",
        "_protection",
        "_random",
        "_ready",
        "_received",
        "_recovery",
        "_server",
        "_streams",
        "application_protocol",
        "id",
        "is_client",
        "linger",
        "peer_reset_token",
        "state",
        "timers",
    )

    def __init__(
        self,
        config: Config,
        *,
        connection_id: int,
        path: Path,
        random: RandomSource,
        ready: dict[int, Connection],
        now: float,
        client: ClientHandshake | None = None,
        server: ServerHandshake | None = None,
    ) -> None:
        assert (client is None) != (server is None), "a connection opens from one side"
        self.id = connection_id
        self.is_client = client is not None
        self._config = config
        self._random = random
        self._ready = ready
        self._now = now
        self._client = client
        self._server = server
        self._paths = Paths(path)
        self._events: list[Event] = []
        self._control = ControlQueue()
        self._streams = Streams(config, self._control, self._events, is_client=self.is_client)
        self._protection = protection.by_name(config.protection)
        self._recovery = Recovery(
            config.max_datagram_size, congestion.by_name(config.congestion), random, ecn=config.ecn
        )
        self._received = ReceivedPackets(self._recovery.rtt, config.max_ack_delay)
        self._liveness = Liveness(config, now)
        self._closing = Closing()
        self._counters = Counters()
        self._inbound = Inbound(
            streams=self._streams,
            control=self._control,
            recovery=self._recovery,
            received=self._received,
            paths=self._paths,
            closing=self._closing,
            counters=self._counters,
            events=self._events,
        )
        self._outbound = Outbound(
            packetizer=Packetizer(0, self._protection, config.max_datagram_size),
            streams=self._streams,
            control=self._control,
            recovery=self._recovery,
            received=self._received,
            paths=self._paths,
            closing=self._closing,
            liveness=self._liveness,
            counters=self._counters,
        )
        self._last_words: bytes | None = None
        self.linger: Linger | None = None
        self.application_protocol: str | None = None
        self.peer_reset_token: bytes | None = None
        # When the endpoint's heap will look at this connection, latest first; see Endpoint.
        self.timers: list[float] = []
        self.state = transition(State.CLOSED, Input.CONNECT if self.is_client else Input.SYN)
        self._wake()

    # -- getters ------------------------------------------------------------------------------------------------

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
    def peer_id(self) -> int:
        """The id that the peer chose for itself; 0 while it is unknown."""
        return self._outbound.packetizer.destination_id

    @property
    def is_open(self) -> bool:
        """The opening is complete and the connection has not ended."""
        return self.state in OPEN_STATES

    def can_send(self, stream_id: int) -> bool:
        """Whether the stream's send buffer is below its high-water mark; if not, StreamWritable will come."""
        stream = self._streams.sendable(stream_id)
        assert stream.send is not None
        if stream.send.buffered < self._config.send_buffer:
            return True
        stream.writable_armed = True
        return False

    def buffered(self, stream_id: int) -> int:
        """Bytes written on the stream and not yet acknowledged; 0 for a stream that has ended."""
        stream = self._streams.find(stream_id)
        return 0 if stream is None or stream.send is None else stream.send.buffered

    def at_eof(self, stream_id: int) -> bool:
        """Whether everything the peer sent on the stream, up to its end, has been read."""
        return self._streams.at_eof(stream_id)

    def stats(self, now: float) -> Stats:
        """The connection's figures."""
        sent = self._recovery
        limited = "application"
        if self._streams.turns.next_ready() is not None:
            limited = _LIMITS.get(sent.limited_by(now) or "", "application")
        elif self._streams.turns.flow_blocked:
            limited = "flow_control"
        return gather(
            self.state.value, limited, self._counters, sent, self._streams, self._outbound.packetizer.datagram_size
        )

    # -- commands -----------------------------------------------------------------------------------------------

    def open_stream(self, unidirectional: bool = False) -> int:
        """Open a stream and announce it; its id.

        Raises StreamLimitReached when the peer admits none now (StreamsAvailable comes when it does), ConnectionClosed
        when the connection is not open for writing.
        """
        self._check_writing()
        stream_id = self._streams.open(unidirectional)
        self._wake()
        return stream_id

    def send(self, stream_id: int, data: bytes | bytearray | memoryview, fin: bool = False) -> None:
        """Write to a stream, and end it with `fin`. `bytes` are kept, other buffers copied. Never blocks: see can_send.

        Raises ConnectionClosed, StreamClosed (this direction has ended) and StreamStopped (the peer ended it).
        """
        self._check_writing()
        self._streams.write(stream_id, data, fin)
        self._wake()

    def receive(self, stream_id: int, max_bytes: int = 65536) -> bytes:
        """Up to `max_bytes` of the stream in order; b"" when nothing is there now or at its end (`at_eof` tells).

        Raises StreamReset when the peer reset the stream, StreamClosed when there is nothing to receive on it.
        """
        data = self._streams.read(stream_id, max_bytes, self._now, self._recovery.rtt.smoothed_rtt)
        if self._control:
            self._wake()
        return data

    def reset_stream(self, stream_id: int, code: int) -> None:
        """Give up sending on a stream; what has not arrived is dropped."""
        self._streams.reset(stream_id, code)
        self._wake()

    def stop_sending(self, stream_id: int, code: int) -> None:
        """Ask the peer to stop sending on a stream; what arrives is dropped from now on."""
        self._streams.stop_sending(stream_id, code)
        self._wake()

    def ping(self) -> None:
        """Send something that the peer acknowledges."""
        self._outbound.ping = True
        self._wake()

    def send_eof(self) -> None:
        """Half-close: nothing more is written on any stream, reading goes on (FIN; ESTABLISHED to FIN-WAIT-1)."""
        if not self._closing.finished and self.state in (State.ESTABLISHED, State.CLOSE_WAIT):
            self._closing.finished = True
            self.state = transition(self.state, Input.FIN_SENT)
            self._wake()

    def close(self) -> None:
        """Close in good order: what was written still arrives, and nothing more is read.

        With data received and unread the peer can't be told that all is well: the connection is aborted with
        UNREAD_DATA (RFC 2525 section 2.17), now or when such data arrives.
        """
        if self.state is State.SYN_SENT:
            self.state = transition(self.state, Input.FIN_SENT)
            self._terminate(None)
        elif self.state is State.SYN_RECEIVED:
            self.abort(0, "closed before the opening was complete")
        elif self.state in OPEN_STATES:
            self._closing.receiving_ended = True
            self.send_eof()
            self._check_unread()
        self._wake()

    def abort(self, code: int = 0, reason: str = "") -> None:
        """End at once by CLOSE with the application's code; data on its way is dropped on both sides."""
        error = ConnectionAborted(f"aborted by this side, code {code}: {reason or 'no reason given'}", code=code, reason=reason)
        self._abort(wire.Close(code, reason, application=True), error)

    def _check_writing(self) -> None:
        if self._closing.finished or self.state not in (State.ESTABLISHED, State.CLOSE_WAIT):
            raise ConnectionClosed(
                f"the connection is {self.state.value}: nothing more can be written; open a new connection"
            )

    def _wake(self) -> None:
        """Have the endpoint look at this connection: a shared list, so nothing is called upward."""
        self._ready[self.id] = self

    # -- inputs -------------------------------------------------------------------------------------------------

    def receive_run(
        self,
        view: memoryview,
        segment_size: int,
        kind: wire.DataType,
        truncated: int,
        count: int,
        source: tuple[Address, Address | None, int],
        now: float,
    ) -> None:
        """A run of DATA packets with consecutive numbers; `source` is (remote, local, ECN mark)."""
        self._now = now
        if self.state not in OPEN_STATES and self.state is not State.SYN_RECEIVED:
            return
        if kind.epoch or kind.key_phase:
            self._counters.datagrams_corrupt += count
            return
        first = packet_number.recover(truncated, self._received.largest)
        bad = self._protection.open(view, segment_size, first)
        start = first
        for stop in [*(first + index for index in bad), first + count]:
            if start < stop:
                new = self._received.filter_new(start, stop)
                self._counters.packets_duplicate += stop - start - sum(b - a for a, b in new)
                for a, b in new:
                    part = view[(a - first) * segment_size : (b - first) * segment_size]
                    self._accept(part, segment_size, kind.canonical, a, b, source)
            start = stop + 1
        self._counters.datagrams_corrupt += len(bad)
        self._wake()

    def end_of_buffer(self, now: float) -> None:
        """A received buffer is finished: decide on acknowledging it."""
        self._received.end_of_buffer(now)

    def _accept(
        self,
        view: memoryview,
        segment_size: int,
        canonical: bool,
        start: int,
        stop: int,
        source: tuple[Address, Address | None, int],
    ) -> None:
        """Packets [start, stop), intact and new."""
        if self.state in CLOSED_STATES:
            return
        now = self._now
        newest = stop - 1 > self._received.largest
        try:
            if self.state is State.SYN_RECEIVED:
                self._on_first_data(now)
            overhead = self._protection.overhead
            if canonical:
                self._inbound.take_run(view, segment_size, overhead, start, stop, source[2], now)
            else:
                close = self._inbound.take_packets(view, segment_size, overhead, start, stop, source, now)
                if close is not None:
                    self._on_close(close)
                    return
            if self._closing.finished or self._closing.peer_fin is not None:
                self._advance_closing()
        except BufferFull:
            self._counters.packets_refused += 1
        except DecodeError as error:
            self._fail(ProtocolError(ErrorCode.FRAME_ENCODING_ERROR, str(error)))
        except ProtocolError as error:
            self._fail(error)
        self._counters.packets_received += stop - start
        self._counters.bytes_received += len(view)
        self._liveness.on_received(now)
        remote, local, _ = source
        self._paths.on_received(remote, local, len(view))
        if newest and (remote != self._paths.active.remote or self._paths.candidate is not None):
            self._paths.on_newest_packet(remote, local, len(view), self._random.randbytes(8), now)

    def _on_first_data(self, now: float) -> None:
        """Any accepted DATA with the server's id acknowledges SYN_ACK and proves the client's address."""
        assert self._server is not None
        self.state = transition(self.state, Input.FIRST_DATA)
        self._paths.active.validated = True
        sample = self._server.rtt_sample(now)
        if sample is not None:
            self._recovery.rtt.update(sample, 0.0, now)
        self._server = None
        self._events.append(Connected())

    def receive_syn(self, packet: wire.Syn, size: int, now: float) -> None:
        """The client's SYN, first or again."""
        self._now = now
        self._paths.active.bytes_received += size
        if self._server is not None:
            self._server.on_syn(packet, now)
            self._wake()

    def accept(self, parameters: wire.Parameters, peer_id: int, protocol: str | None, validated: bool) -> None:
        """Server: take what the client's SYN states; `validated` says that a cookie proved its address."""
        self._take_parameters(parameters, peer_id)
        self.application_protocol = protocol
        self._paths.active.validated = validated

    def receive_retry(self, packet: wire.Retry, now: float) -> None:
        """Client: the server wants a cookie."""
        if self._client is not None and self.state is State.SYN_SENT:
            self._client.on_retry(packet, now)
            self._wake()

    def receive_version(self, packet: wire.Version) -> None:
        """Client: the server speaks other versions."""
        client = self._client
        if client is None or packet.original_destination_id != client.destination_id:
            return
        if wire.VERSION_1 in packet.versions:
            return
        self.refuse(version_mismatch(packet, self.remote_address))

    def refuse(self, error: Exception) -> None:
        """Client: the opening fails with `error`; later than SYN_SENT this does nothing."""
        if self.state is State.SYN_SENT:
            self.state = transition(self.state, Input.CLOSE_RECEIVED)
            self._terminate(error)

    def receive_syn_ack(self, packet: wire.SynAck, source: tuple[Address, Address | None], now: float) -> None:
        """Client: the server answered. A duplicate is answered, so that a server whose first DATA was lost goes on."""
        self._now = now
        client = self._client
        if self.state is not State.SYN_SENT or client is None:
            if self.is_open and packet.source_id == self.peer_id:
                self.ping()
            return
        problem = refused(packet.parameters, self._config, self.remote_address)
        if problem is not None:
            self.refuse(problem)
            return
        self._take_parameters(packet.parameters, packet.source_id)
        self.application_protocol = next(iter(packet.parameters.application_protocols), None)
        sample = client.rtt_sample(packet, now)
        if sample is not None:
            self._recovery.rtt.update(sample, 0.0, now)
        self._client = None
        self._paths.active.validated = True
        self._paths.active.local = source[1] or self._paths.active.local
        self._liveness.on_received(now)
        self.state = transition(self.state, Input.SYN_ACK)
        self._events.append(Connected())
        self.ping()

    def _take_parameters(self, parameters: wire.Parameters, peer_id: int) -> None:
        self._outbound.packetizer.destination_id = peer_id
        self._streams.on_peer_parameters(parameters)
        self._recovery.rtt.max_ack_delay = parameters.max_ack_delay
        self._liveness.on_peer_idle_timeout(parameters.idle_timeout)
        self.peer_reset_token = parameters.reset_token
        size = min(self._config.max_datagram_size, parameters.max_datagram_size)
        self._outbound.packetizer.datagram_size = size
        self._recovery.set_max_datagram_size(size, self._now)

    def receive_reset(self) -> None:
        """A stateless RESET with the right token came: the peer has lost this connection."""
        if self.state in OPEN_STATES:
            self.state = transition(self.state, Input.CLOSE_RECEIVED)
            self._linger(None)
            self._terminate(
                ConnectionReset("the peer does not know this connection any more (restarted?); connect again")
            )

    def handle_timeout(self, now: float) -> None:
        """Act on what is due; harmless when called early."""
        self._now = now
        self._wake()
        if self.state in _OPENING_STATES:
            self._check_opening(now)
            return
        if self.state not in OPEN_STATES:
            return
        recovery = self._recovery
        error = self._liveness.failure(
            now, recovery.rtt.probe_timeout(), recovery.unacknowledged_since(), recovery.pto_count
        )
        if error is not None:
            self.state = transition(self.state, Input.TIMEOUT)
            self._terminate(error)
            return
        result = recovery.handle_timeout(now)
        for train in result.lost:
            self._inbound.on_lost(train)
        if result.probes:
            self._outbound.probes = result.probes
            for train in recovery.oldest_unacknowledged(result.probes):
                self._inbound.requeue(train)
        ping = self._liveness.ping_deadline(self._streams.turns.flow_blocked)
        if ping is not None and now >= ping:
            self._liveness.on_ping_sent(now)
            self._outbound.ping = True
        self._paths.handle_timeout(now)

    def _check_opening(self, now: float) -> None:
        handshake = self._client or self._server
        assert handshake is not None
        if now < handshake.started + self._config.connect_timeout:
            return
        self.state = transition(self.state, Input.TIMEOUT)
        self._terminate(connect_timeout(self.remote_address, handshake.tries, now - handshake.started))

    # -- closing ------------------------------------------------------------------------------------------------

    def _advance_closing(self) -> None:
        """Hold the totals of FINs against what arrived and what was acknowledged."""
        closing, streams = self._closing, self._streams
        closing.check(streams.opened_by_peer, streams.received_highest)
        if closing.is_complete(streams.received_total) and closing.peer_fin is not None:
            closing.peer_finished = True
            streams.finish_receiving(closing.peer_fin.streams_bidi, closing.peer_fin.streams_uni)
            self.state = transition(self.state, Input.PEER_FINISHED)
            self._events.append(PeerFinished())
        if self.state in _FIN_UNACKNOWLEDGED and closing.fin_acked and streams.all_acknowledged():
            self._on_fin_acknowledged()
        elif self.state is State.TIME_WAIT:
            self._enter_time_wait()
        if closing.receiving_ended and self.state not in CLOSED_STATES:
            self._check_unread()

    def _on_fin_acknowledged(self) -> None:
        self.state = transition(self.state, Input.FIN_ACKNOWLEDGED)
        if self.state is State.TIME_WAIT:
            self._enter_time_wait()
        elif self.state is State.CLOSED:
            self._linger(None)
            self._terminate(None)
        elif self._closing.receiving_ended:
            self._liveness.closing_since = self._now

    def _enter_time_wait(self) -> None:
        """Acknowledge the peer's FIN; a repetition is answered by a datagram that says that all had arrived."""
        ack = self._received.build_ack(self._now)
        packetizer = self._outbound.packetizer
        if self._received.ack_pending:
            self._last_words = b"".join(packetizer.single([ack], self._now).buffers)
        done = wire.Close(ErrorCode.NO_ERROR, "", application=False)
        self._linger(b"".join(packetizer.single([ack, done], self._now).buffers))
        self._terminate(None)

    def _check_unread(self) -> None:
        """After a full close, data that nobody will read means an abort, not a clean end."""
        if self._streams.has_unread():
            error = ConnectionAborted(
                "closed while received data was unread: the peer is told so and drops the rest; read to the end first",
                code=ErrorCode.UNREAD_DATA,
            )
            self._abort(wire.Close(ErrorCode.UNREAD_DATA, "closed with unread data", application=False), error)

    def _on_close(self, frame: wire.Close) -> None:
        """CLOSE received: the end, with nothing sent in answer (RFC 9000 section 10.2.2)."""
        clean = not frame.application and frame.code == ErrorCode.NO_ERROR
        if clean and self.state in (State.CLOSING, State.LAST_ACK):
            # The peer is in TIME-WAIT: it has our FIN and all before it.
            self.state = transition(self.state, Input.FIN_ACKNOWLEDGED)
            self._linger(None)
            self._terminate(None)
            return
        self.state = transition(self.state, Input.CLOSE_RECEIVED)
        self._linger(None)
        who = "application" if frame.application else "transport"
        self._terminate(
            ConnectionReset(
                f"the peer closed the connection: {frame.reason or 'no reason given'} ({who} code {frame.code})",
                code=frame.code,
                reason=frame.reason,
                application=frame.application,
            )
        )

    def _fail(self, error: ProtocolError) -> None:
        """The peer broke the protocol: tell it and end."""
        self._abort(
            wire.Close(error.code, str(error)[:200], application=False),
            ConnectionAborted(f"the peer broke the protocol: {error} ({error.code.name})", code=error.code),
        )

    def _abort(self, frame: wire.Close, error: Exception) -> None:
        if self.state in CLOSED_STATES:
            return
        had_peer = self.state is not State.SYN_SENT
        self.state = transition(self.state, Input.ABORT)
        if had_peer:
            self._last_words = b"".join(self._outbound.packetizer.single([frame], self._now).buffers)
            self._linger(self._last_words)
        self._terminate(error)
        self._wake()

    def _linger(self, reply: bytes | None) -> None:
        self.linger = Linger(LINGER_PROBE_TIMEOUTS * self._recovery.rtt.probe_timeout(), reply)

    def _terminate(self, error: Exception | None) -> None:
        self._events.append(Terminated(error))

    # -- outputs ------------------------------------------------------------------------------------------------

    def next_train(self, now: float) -> Train | None:
        """The next train to send, or None when there is none now. Call it again until it returns None."""
        self._now = now
        if self.state in OPEN_STATES:
            return self._outbound.next_train(now)
        path = self._paths.active
        if self._last_words is not None:
            if len(self._last_words) > path.budget():
                return None
            datagram, self._last_words = self._last_words, None
        else:
            opening = self._opening_packet(now, path)
            if opening is None:
                return None
            datagram = wire.encode_opening(opening)
        path.bytes_sent += len(datagram)
        self._counters.bytes_sent += len(datagram)
        return Train([datagram], len(datagram), len(datagram), path.local, path.remote, 0)

    def _opening_packet(self, now: float, path: Path) -> wire.Syn | wire.SynAck | None:
        if self.state is State.SYN_SENT and self._client is not None:
            return self._client.next_packet(now)
        if self.state is State.SYN_RECEIVED and self._server is not None and path.budget() >= wire.OPENING_SIZE:
            return self._server.next_packet(now)
        return None

    def next_timeout(self) -> float | None:
        """When `handle_timeout` must be called, or a train can go that cannot now; None: never."""
        if self.state in OPEN_STATES:
            return self._open_timeout()
        handshake = self._client or self._server
        if handshake is None or self.state not in _OPENING_STATES:
            return None
        end = handshake.started + self._config.connect_timeout
        if self.state is State.SYN_RECEIVED and self._paths.active.budget() < wire.OPENING_SIZE:
            return end
        return min(end, handshake.due)

    def _open_timeout(self) -> float | None:
        recovery, liveness = self._recovery, self._liveness
        soonest = liveness.idle_deadline(recovery.rtt.probe_timeout())
        for due in (
            recovery.next_timeout(),
            self._outbound.next_timeout(self._now),
            liveness.ping_deadline(self._streams.turns.flow_blocked),
            liveness.give_up_deadline(recovery.unacknowledged_since()),
            liveness.close_deadline(),
        ):
            if due is not None and (soonest is None or due < soonest):
                soonest = due
        return soonest

    def take_events(self) -> list[Event]:
        """What happened since the last call, oldest first."""
        if not self._events:
            return []
        events = self._events[:]
        self._events.clear()
        return events
