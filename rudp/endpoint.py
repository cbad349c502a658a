"""One UDP socket's worth of connections, sans-IO: which connection a datagram is for, who may connect.

Knows: connection id to Connection, clients by address and their id, which become connections by their first DATA
(`half_open`), closed ones' last replies, one heap of timers. Refuses to know: sockets, clocks, what goes on inside a
connection.

    connect(remote, now)                          opens a connection
    receive(data, segment_size, remote, ...)      one received buffer: split into runs of one connection each
    datagrams_to_send(now)                        trains, one by one; may be left and taken up again
    next_timeout(), handle_timeout(now)           one timer for all connections
    next_event()                                  (connection, event), oldest first
    next_stray(), receive_forwarded(...)          what came here and is for another worker, and the other way round

After each input and each command on a connection a driver does three things: send all trains, re-arm one timer at
`next_timeout()`, drain `next_event()`. docs/SANS_IO.md has the whole of it with a runnable driver.

Costs: a received run one dictionary look-up; a timer O(log connections) and lazily re-armed; nothing is proportional to
the number of connections. Received buffers are not kept.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Final

from rudp import congestion, protection, wire
from rudp.admission import Admission, Secrets, other_version
from rudp.config import Config
from rudp.connection import Connection
from rudp.errors import ConnectionRefused, DecodeError
from rudp.events import Event
from rudp.half_open import HalfOpen, HalfOpens
from rudp.handshake import ClientHandshake, local_parameters
from rudp.lingering import Lingering
from rudp.path import Path, RandomSource
from rudp.resets import Resets
from rudp.runs import read_runs
from rudp.state import CLOSED_STATES, State
from rudp.stats import EndpointStats
from rudp.steering import Stray, Strays
from rudp.timers import Timers
from rudp.train import Address, Source, Train
from rudp.wire import CANONICAL_HEADER_SIZE, DATA_CANONICAL, read_canonical_header

__all__ = ["Endpoint"]

# Answers to strangers that wait to be sent, those that go before any connection, and the bytes of a connection's turn:
# neither a flood of SYNs nor a connection that may always send takes all that a driver sends at a time.
MAX_REPLIES: Final = 1024
REPLIES_FIRST: Final = 8
TURN_SIZE: Final = 1 << 17

_DATA_TYPES: Final = wire.DATA_TYPES
_NO_TRAINS: Final[Iterator[Train]] = iter(())


class Endpoint:
    """Connections that share one local socket. `accept` says whether SYNs are welcome.

    `workers` endpoints share one port: `config.worker` is this one's index, and what is for another one is a stray.
    """

    def __init__(
        self, config: Config | None = None, *, random: RandomSource, accept: bool = False, workers: int = 1
    ) -> None:
        self._config = config or Config()
        # A name that nobody has must not wait for the first SYN to be found out.
        congestion.by_name(self._config.congestion)
        self._random, self._accept = random, accept
        self._secrets = Secrets(self._config.reset_key or random.randbytes(32))
        self._connections: dict[int, Connection] = {}
        # By who sent the SYN: a repeated one finds what the first made.
        self._clients: dict[tuple[Address, int], HalfOpen | Connection] = {}
        self._half_open = HalfOpens(self._config.connect_timeout)
        self._protection = protection.by_name(self._config.protection)
        # Clients in SYN_SENT, for ICMP errors.
        self._connecting: dict[int, Connection] = {}
        self._resets = Resets(self._secrets)
        self._lingering = Lingering()
        self._strays = Strays(self._config.worker, workers) if workers > 1 else None
        self._ready: OrderedDict[int, Connection] = OrderedDict()
        self._sending = 0  # whose train was taken last
        self._timers = Timers(self._connections)
        # Not yet taken, oldest first: `next_event`, or by who takes them all.
        self.events: deque[tuple[Connection, Event]] = deque()
        self._replies: deque[Train] = deque()
        self._admission = Admission(self._config, self._secrets)
        self._received = self._dropped = self._violations = 0

    # -- getters ------------------------------------------------------------------------------------------------

    @property
    def config(self) -> Config:
        """The configuration of accepted connections, and of `connect` without one."""
        return self._config

    @property
    def connections(self) -> tuple[Connection, ...]:
        """All connections that have not ended; of a server those whose client has answered."""
        return tuple(self._connections.values())

    @property
    def has_work(self) -> bool:
        """Whether `datagrams_to_send` may have something: a command or an input came since it was last exhausted."""
        return bool(self._ready or self._replies)

    @property
    def is_idle(self) -> bool:
        """No connection, and none that ended so lately that its peer is likely to ask: the socket may be closed."""
        return not (self._connections or self._half_open or self._replies or self._lingering.needed)

    def stats(self) -> EndpointStats:
        """The endpoint's figures."""
        return EndpointStats(
            connections=len(self._connections) + len(self._half_open),
            half_open=len(self._half_open),
            lingering=len(self._lingering),
            datagrams_received=self._received,
            datagrams_dropped=self._dropped,
            retries_sent=self._admission.retries,
            resets_sent=self._resets.sent,
            refused=self._admission.refused,
            opens_limited=self._admission.limited,
            violations=self._violations,
            strays=self._strays.count if self._strays is not None else 0,
        )

    # -- commands -----------------------------------------------------------------------------------------------

    def connect(
        self, remote: Address, now: float, *, config: Config | None = None, local: Address | None = None
    ) -> Connection:
        """Open a connection; the SYN is among the next datagrams to send."""
        config = config or self._config
        connection_id = self._new_id(config)
        parameters = local_parameters(config, self._secrets.reset_token(connection_id), config.application_protocols)
        connection = Connection(
            config,
            ClientHandshake(self._random.getrandbits(64), connection_id, parameters, now),
            connection_id=connection_id,
            path=Path(remote, local, validated=True),
            random=self._random,
            ready=self._ready,
            now=now,
        )
        self._connections[connection_id] = self._connecting[connection_id] = connection
        return connection

    def stop_accepting(self) -> None:
        """Refuse further SYNs; what is open stays, and so does what is half open."""
        self._accept = False

    def refuse_half_open(self, code: int = 0, reason: str = "") -> None:
        """Have no connection with clients that were answered and not heard of yet, and tell them so."""
        for client in list(self._half_open):
            connection = self._establish(client, client.handshake.started)
            connection.abort(code, reason)
            self._collect(connection)

    def _new_id(self, config: Config) -> int:
        """An id of our choosing: the worker's index and 56 unpredictable bits."""
        while True:
            connection_id = config.worker << 56 | self._random.getrandbits(56)
            held = (self._connections, self._half_open, self._lingering)
            if not any(connection_id in ids for ids in held):
                return connection_id

    # -- inputs -------------------------------------------------------------------------------------------------

    def receive(  # noqa: PLR0917
        self, data: memoryview, segment_size: int, remote: Address, local: Address | None, ecn: int, now: float
    ) -> None:
        """Take datagrams of `segment_size` bytes, the last may be shorter. Never raises for what a peer may send."""
        source = (remote, local, ecn)
        if CANONICAL_HEADER_SIZE <= len(data) <= segment_size and data[0] == DATA_CANONICAL:
            header = read_canonical_header(data)
            connection = self._connections.get(header[1])
            if connection is not None and (found := connection.in_order.take(data, header, source, now)) is not None:
                self._received += 1
                connection.now = now
                self._end_buffer(connection, found, now)
                return
        try:
            packets, runs = read_runs(data, segment_size)
        except DecodeError:
            self._receive_singly(data, segment_size, source, now)
            return
        self._received += packets
        last: Connection | None = None  # whose buffer ends where that of another begins
        undecided = False
        for type_byte, connection_id, start, count, ranges in runs:
            view = data if count == packets else data[start * segment_size : (start + count) * segment_size]
            kind = _DATA_TYPES.get(type_byte)
            if kind is None:
                self._receive_opening(view, connection_id, source, now)
                continue
            connection = self._connections.get(connection_id) or self._receive_first(
                view, segment_size, connection_id, source, kind=kind, number=ranges[0][0], now=now
            )
            if connection is None:
                continue
            if last is not None and last is not connection:
                self._end_buffer(last, True, now)
            last = connection
            undecided = connection.receive_run(view, segment_size, kind, ranges, count, source, now)
        if last is not None:
            self._end_buffer(last, undecided, now)

    def _end_buffer(self, connection: Connection, undecided: bool, now: float) -> None:
        """A buffer holds no more for a connection; `undecided`: its `end_of_buffer` may have something to decide."""
        if undecided and connection.end_of_buffer(now):
            self._timers.schedule(connection)
        # As `_collect`, but that DATA changes no index.
        for event in connection.events:
            self.events.append((connection, event))
        connection.events.clear()

    def receive_forwarded(  # noqa: PLR0917
        self, data: memoryview, segment_size: int, remote: Address, local: Address | None, ecn: int, now: float
    ) -> None:
        """`receive` for what another worker handed on: it stays here, whoever it is for."""
        strays, self._strays = self._strays, None
        self.receive(data, segment_size, remote, local, ecn, now)
        self._strays = strays

    def _receive_singly(self, data: memoryview, segment_size: int, source: Source, now: float) -> None:
        """A buffer in which a datagram is shorter than any header, or of nothing: its datagrams one by one."""
        if not 0 < segment_size < len(data):
            self._received += segment_size > 0 and len(data) > 0
            self._dropped += 1
            return
        for at in range(0, len(data), segment_size):
            datagram = data[at : at + segment_size]
            self.receive(datagram, len(datagram), *source, now)

    def _receive_opening(self, view: memoryview, destination_id: int, source: Source, now: float) -> None:
        """A datagram that is not DATA."""
        if self._strays is not None and self._strays.take(view[0], destination_id, view, len(view), source):
            return
        try:
            if view[0] == wire.PacketType.SYN:
                self._receive_syn(wire.read_syn(view), len(view), source, now)
                return
            packet = wire.decode_opening(view)
        except DecodeError:
            self._drop_malformed(view, source)
            return
        assert not isinstance(packet, wire.Syn)
        if isinstance(packet, wire.Reset):
            connection = self._resets.ended_by(packet)
            if connection is not None:
                connection.receive_reset()
                self._collect(connection)
            elif self._strays is not None and self._resets.allows(now):
                self._strays.take_for_all(view, source)
            else:
                self._dropped += 1
        else:
            connection = self._connections.get(packet.destination_id)
            if connection is None or not connection.is_client:
                self._dropped += 1
                self._answer_late(packet, source, now)
                return
            if isinstance(packet, wire.SynAck):
                connection.receive_syn_ack(packet, source[:2], now)
            elif isinstance(packet, wire.Retry):
                connection.receive_retry(packet, now)
            else:
                connection.receive_version(packet)
            self._collect(connection)

    def _drop_malformed(self, view: memoryview, source: Source) -> None:
        self._dropped += 1
        if self._accept and (versions := other_version(view)):
            self._reply(versions, source)

    def _answer_late(self, packet: wire.SynAck | wire.Retry | wire.Version, source: Source, now: float) -> None:
        """A server that missed the end of a connection repeats its SYN_ACK: it gets that connection's last reply."""
        if isinstance(packet, wire.SynAck) and packet.destination_id in self._lingering:
            reply = self._lingering.reply(packet.destination_id, now)
            if reply is not None and wire.read_destination_id(memoryview(reply)) == packet.source_id:
                self._reply(reply, source)

    def _receive_syn(self, packet: wire.UnreadSyn, size: int, source: Source, now: float) -> None:
        """A client's first SYN, or a further one. Raises DecodeError for malformed parameters."""
        remote, local, _ = source
        held = self._clients.get((remote, packet.source_id))
        if held is not None:
            # Of a client that has answered it is an old one.
            if isinstance(held, HalfOpen):
                held.on_syn(packet, size, now)
                self._answer(held, held.next_datagram(now))
            return
        if not self._accept:
            self._dropped += 1
            return
        half_open = len(self._half_open)
        connections = half_open + len(self._connections)
        answer = self._admission.judge(packet, remote, now, half_open=half_open, connections=connections)
        if answer is None:
            self._dropped += 1
        elif isinstance(answer, bytes):
            self._reply(answer, source)
        else:
            path = Path(remote, local, validated=answer.proven)
            client = self._admission.admit(answer.syn, self._new_id(self._config), path, now)
            client.on_syn(packet, size, now)
            self._answer(client, client.next_datagram(now))
            self._clients[client.client] = client
            self._half_open.add(client)

    def _answer(self, client: HalfOpen, datagram: bytes | None) -> None:
        if datagram is not None:
            self._reply(datagram, (client.path.remote, client.path.local, 0))

    def _receive_first(
        self, view: memoryview, segment_size: int, connection_id: int, source: Source,
        *, kind: wire.DataType, number: int, now: float,
    ) -> Connection | None:
        """DATA for none of the connections: that of a client half open, if it opens it."""
        client = self._half_open.get(connection_id)
        if client is None or not client.proved_by(view, segment_size, kind, number, self._protection):
            self._receive_unknown(view, segment_size, connection_id, source, now)
            return None
        if not client.path.validated:
            self._admission.on_opened(client.path.remote, now)
        return self._establish(client, now)

    def _establish(self, client: HalfOpen, now: float) -> Connection:
        """The connection that a SYN asked for."""
        self._half_open.remove(client)
        connection = Connection(
            self._config,
            client.handshake,
            connection_id=client.id,
            path=client.path,
            random=self._random,
            ready=self._ready,
            now=now,
        )
        connection.accept(client.syn, client.protocol)
        self._connections[client.id] = self._clients[client.client] = connection
        connection.opened_by = client.client
        self._resets.know(connection)
        return connection

    def _receive_unknown(
        self, view: memoryview, segment_size: int, connection_id: int, source: Source, now: float
    ) -> None:
        """DATA for another worker, or for a connection that has ended or never was: one answer a run at most.

        Nor is there one when it came damaged, and would have been the first.
        """
        if self._strays is not None and self._strays.take(view[0], connection_id, view, segment_size, source):
            return
        self._dropped += -(-len(view) // segment_size)
        longest = min(segment_size, len(view))
        if connection_id in self._lingering:
            reply = self._lingering.reply(connection_id, now)
            if reply is not None and len(reply) <= longest * 3:
                self._reply(reply, source)
        elif connection_id not in self._half_open:
            reset = self._resets.answer(connection_id, longest, now)
            if reset is not None:
                self._reply(reset, source)

    def _reply(self, datagram: bytes, source: Source) -> None:
        if len(self._replies) == MAX_REPLIES:
            self._dropped += 1
            return
        remote, local, _ = source
        self._replies.append(Train([datagram], len(datagram), len(datagram), local, remote, 0))

    def on_icmp_error(self, remote: Address, error: OSError) -> None:
        """The network says that `remote` can't be reached. That ends openings only (it may be forged)."""
        for connection in list(self._connecting.values()):
            if connection.remote_address == remote:
                reason = error.strerror or str(error)
                connection.refuse(
                    ConnectionRefused(f"{remote[0]} port {remote[1]}: {reason}; is a server listening there?")
                )
                self._collect(connection)

    def handle_timeout(self, now: float) -> None:
        """Act on every timer that is due."""
        for connection in self._timers.woken(now):
            due = connection.due
            if due is not None and due <= now:
                # It is among the ready ones now, and armed anew once its trains are out.
                connection.handle_timeout(now)
                if connection.events:
                    self._collect(connection)
            elif due is not None:
                self._timers.schedule(connection)
        if self._half_open.clients:
            repeated, over = self._half_open.due(now)
            for client, datagram in repeated:
                self._answer(client, datagram)
            for client in over:
                del self._clients[client.client]
        if self._lingering.entries:
            self._lingering.expire(now)

    # -- outputs ------------------------------------------------------------------------------------------------

    def datagrams_to_send(self, now: float) -> Iterator[Train]:
        """Trains to send, one by one. It may be left after any train; what is not taken comes the next time."""
        if not (self._ready or self._replies):
            return _NO_TRAINS
        return self._trains(now)

    def _trains(self, now: float) -> Iterator[Train]:
        ready, replies = self._ready, self._replies
        first = REPLIES_FIRST
        while replies and first:
            first -= 1
            yield replies.popleft()
        while ready:
            connection = next(iter(ready.values()))
            self._sending = connection.id
            if len(ready) > 1:
                # Whoever leaves now, or has had its turn, goes on with the others.
                ready.move_to_end(connection.id)
            left = TURN_SIZE
            while left > 0 and (train := connection.next_train(now)) is not None:
                yield train
                left -= train[2]  # its size; by name a named tuple's fields are slow
            if left <= 0:
                continue
            ready.pop(connection.id, None)
            if connection.events:
                self._collect(connection)
            # Have the heap look at it in time.
            due = connection.due = connection.next_timeout()
            if due is not None:
                self._timers.schedule(connection)
            elif connection.state in CLOSED_STATES:
                self._retire(connection, now)
        while replies:
            yield replies.popleft()

    def on_datagram_too_big(self, train: Train, now: float) -> None:
        """This machine refused the train just taken: its datagrams are too large, as discovery then knows at once."""
        connection = self._connections.get(self._sending)
        if connection is not None and connection.remote_address == train.remote:
            connection.on_datagram_too_big(train, now)

    def _collect(self, connection: Connection) -> None:
        """Move a connection's events to the queue, and keep the indices to its state."""
        for event in connection.events:
            self.events.append((connection, event))
        connection.events.clear()
        if self._connecting and connection.id in self._connecting and connection.state is not State.SYN_SENT:
            del self._connecting[connection.id]
            if connection.is_open:
                self._resets.know(connection)

    def _retire(self, connection: Connection, now: float) -> None:
        """Forget an ended connection, but for the reply that late packets get."""
        if self._connections.pop(connection.id, None) is None:
            return  # a command after the end
        self._violations += connection.violated
        self._timers.drop(connection)
        self._connecting.pop(connection.id, None)
        if connection.opened_by is not None:
            del self._clients[connection.opened_by]
        self._resets.forget(connection)
        if connection.linger is not None:
            self._lingering.add(connection.id, connection.linger, now)

    def next_timeout(self) -> float | None:
        """When `handle_timeout` must be called; None: never."""
        first = heap[0][0] if (heap := self._timers.heap) else None
        if not (self._half_open.clients or self._lingering.entries):
            return first
        every = (first, self._half_open.next_timeout(), self._lingering.next_timeout())
        return min((when for when in every if when is not None), default=None)

    def next_stray(self) -> Stray | None:
        """The oldest datagrams that another worker is to get; to be asked for each wake-up."""
        return self._strays.next() if self._strays is not None else None

    def next_event(self) -> tuple[Connection, Event] | None:
        """The oldest event not yet taken."""
        return self.events.popleft() if self.events else None

    def abort_all(self, reason: str) -> None:
        """End every connection at once, as when the socket goes away, and refuse those that are half open."""
        self.refuse_half_open(0, reason)
        for connection in self.connections:
            connection.abort(0, reason)
            self._collect(connection)
