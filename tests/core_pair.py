"""Two endpoints joined in memory, under the test's full control, and what must hold of a connection at any
time.

`Pair` moves virtual time from instant to instant. Every datagram that leaves is logged and asked of `fate`
what becomes of it: a list of (delay in seconds, bytes), empty when it is lost. Datagrams that arrive at one
instant are merged into buffers as GRO would, unless `merge` is off.

`check_invariants` looks into a connection's parts: it is the one place in the tests that knows their inner
names.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import pairwise
from random import Random
from typing import Any, NamedTuple

from rudp import packet_number, wire
from rudp.config import Config
from rudp.connection import Connection
from rudp.endpoint import Endpoint
from rudp.events import Connected, Event, Terminated
from rudp.packetizer import StreamRange
from rudp.ranges import RangeSet
from rudp.state import CLOSED_STATES, OPEN_STATES
from rudp.train import Address

CLIENT: Address = ("10.0.0.1", 1)
SERVER: Address = ("10.0.0.2", 2)
MAX_BUFFER = 65_000
MAX_STEPS = 200_000

Fate = Callable[["Datagram"], list[tuple[float, bytes]]]


class Datagram(NamedTuple):
    """One datagram as it left: when, from whom ("client" or "server"), its bytes."""

    time: float
    sender: str
    data: bytes

    @property
    def is_data(self) -> bool:
        return self.data[0] in wire.DATA_TYPES

    @property
    def number(self) -> int:
        """The truncated packet number of a DATA packet."""
        return wire.read_headers(memoryview(self.data), len(self.data))[2][0]

    def frames(self, overhead: int = 0) -> list[Any]:
        """The frames of a DATA packet; nothing of any other."""
        kind = wire.DATA_TYPES.get(self.data[0])
        if kind is None:
            return []
        view = memoryview(self.data)
        if kind.canonical:
            return list(wire.read_canonical(view, len(view), overhead))
        return list(wire.decode_frames(view[wire.DATA_HEADER_SIZE : len(view) - overhead]))


class Pair:
    """A client and a server endpoint with one connection between them."""

    def __init__(
        self,
        *,
        seed: int = 1,
        client: Config | None = None,
        server: Config | None = None,
        delay: float = 0.01,
        merge: bool = True,
        opened: bool = True,
    ) -> None:
        config = client or Config(protection="none")
        self.overhead = 4 if config.protection == "crc32" else 0
        self.now = 0.0
        self.delay = delay
        self.merge = merge
        self.fate: Fate = lambda datagram: [(self.delay, datagram.data)]
        self.log: list[Datagram] = []
        self.events: dict[str, list[Event]] = {"client": [], "server": []}
        self.endpoints = {
            "client": Endpoint(config, random=Random(f"{seed} client")),
            "server": Endpoint(server or config, random=Random(f"{seed} server"), accept=True),
        }
        self._connections: dict[str, Connection] = {}
        self._air: list[tuple[float, int, str, bytes]] = []
        self._sequence = 0
        self.buffers = {"client": 0, "server": 0}
        self._connections["client"] = self.endpoints["client"].connect(SERVER, self.now)
        if opened:
            self.open()

    @property
    def client(self) -> Connection:
        return self._connections["client"]

    @property
    def server(self) -> Connection:
        return self._connections["server"]

    def open(self) -> None:
        """Run until both sides have said Connected, then let what is on its way arrive."""
        self.until(lambda: all(any(isinstance(e, Connected) for e in events) for events in self.events.values()))
        self.run(self.delay * 4)
        for events in self.events.values():
            events.clear()

    def other(self, side: str) -> str:
        return "server" if side == "client" else "client"

    def flush(self) -> None:
        """Do as a driver does after an input: send all trains, take all events. Then check both sides."""
        for side, endpoint in self.endpoints.items():
            for train in endpoint.datagrams_to_send(self.now):
                data = b"".join(train.buffers)
                assert len(data) == train.size
                for at in range(0, len(data), train.segment_size):
                    self._launch(Datagram(self.now, side, data[at : at + train.segment_size]))
            while (item := endpoint.next_event()) is not None:
                connection, event = item
                self._connections.setdefault(side, connection)
                self.events[side].append(event)

    def _launch(self, datagram: Datagram) -> None:
        self.log.append(datagram)
        for delay, data in self.fate(datagram):
            self._sequence += 1
            heappush(self._air, (self.now + delay, self._sequence, self.other(datagram.sender), data))

    def next_instant(self) -> float | None:
        """When something will happen: an arrival or a timer."""
        instants = [e.next_timeout() for e in self.endpoints.values()]
        if self._air:
            instants.append(self._air[0][0])
        due = [instant for instant in instants if instant is not None]
        return max(self.now, min(due)) if due else None

    def step(self, limit: float = float("inf")) -> bool:
        """Go to the next instant and let happen what is due; False when that lies beyond `limit`, or never comes."""
        self.flush()
        instant = self.next_instant()
        if instant is None or instant > limit:
            return False
        self.now = instant
        self._arrive()
        for endpoint in self.endpoints.values():
            due = endpoint.next_timeout()
            if due is not None and due <= self.now:
                endpoint.handle_timeout(self.now)
        self.flush()
        return True

    def deliver(self, until: float) -> None:
        """Let arrive what does by `until`, without sending anything or looking at timers."""
        while self._air and self._air[0][0] <= until:
            self.now = self._air[0][0]
            self._arrive()

    def _arrive(self) -> None:
        buffers: list[tuple[str, list[bytes]]] = []
        while self._air and self._air[0][0] <= self.now:
            _, _, side, data = heappop(self._air)
            last = buffers[-1] if buffers else None
            if (
                self.merge
                and last is not None
                and last[0] == side
                and len(last[1][-1]) == len(last[1][0]) >= len(data)
                and (len(last[1]) + 1) * len(last[1][0]) <= MAX_BUFFER
            ):
                last[1].append(data)
            else:
                buffers.append((side, [data]))
        for side, parts in buffers:
            self.buffers[side] += 1
            remote = CLIENT if side == "server" else SERVER
            local = SERVER if side == "server" else CLIENT
            joined = bytearray(b"".join(parts))
            with memoryview(joined) as view:
                self.endpoints[side].receive(view, len(parts[0]), remote, local, 0, self.now)
            # What a driver does with its one buffer: nothing may have kept a view of it.
            joined.clear()

    def run(self, seconds: float) -> None:
        """Let `seconds` of virtual time pass."""
        limit = self.now + seconds
        for _ in range(MAX_STEPS):
            if not self.step(limit):
                break
        else:
            raise AssertionError(f"time stands still at {self.now}")
        self.now = max(self.now, limit)

    def until(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        """Run until `condition()`; fails when that takes longer than `seconds`."""
        limit = self.now + seconds
        self.flush()
        for _ in range(MAX_STEPS):
            if condition():
                return
            assert self.step(limit), f"{seconds} s later the condition does not hold; time {self.now}"
        raise AssertionError(f"too many steps; time {self.now}")

    def sent(self, side: str, kind: type, since: float = 0.0) -> list[Any]:
        """All frames of `kind` that `side` has sent, in order."""
        found = []
        for datagram in self.log:
            if datagram.sender == side and datagram.time >= since:
                found += [f for f in datagram.frames(self.overhead) if isinstance(f, kind)]
        return found

    def of(self, side: str, kind: type) -> list[Any]:
        """Events of `kind` that `side` got."""
        return [event for event in self.events[side] if isinstance(event, kind)]

    def errors(self) -> dict[str, Exception | None]:
        """How each side that has ended, ended."""
        return {side: e.error for side in self.events for e in self.of(side, Terminated)}

    def check(self) -> None:
        for connection in self._connections.values():
            check_invariants(connection)


def read_all(connection: Connection, stream_id: int, max_bytes: int = 1 << 20) -> bytes:
    """Everything that can be read now."""
    parts = []
    while data := connection.receive(stream_id, max_bytes):
        parts.append(data)
    return b"".join(parts)


def check_invariants(connection: Connection) -> None:
    """What must hold of an open connection between any two calls."""
    if connection.state in CLOSED_STATES or connection.state not in OPEN_STATES:
        return
    _check_in_flight(connection)
    _check_sending(connection)
    _check_receiving(connection)
    _check_deadlines(connection)


def _check_deadlines(connection: Connection) -> None:
    """The soonest of all parts' deadlines, asked one by one, is what the connection answers."""
    recovery, liveness, now = connection._recovery, connection._liveness, connection._now
    waiting_since = recovery.unacknowledged_since()
    acting = [
        recovery.next_timeout(),
        liveness.idle_deadline(recovery.rtt.probe_timeout()),
        liveness.ping_deadline(connection._streams.turns.flow_blocked),
        None if waiting_since is None else waiting_since + connection.config.give_up_timeout,
        None if liveness.closing_since is None else liveness.closing_since + connection.config.close_timeout,
    ]
    due = [at for at in (*acting, connection._outbound.next_timeout(now)) if at is not None]
    assert connection.next_timeout() == min(due, default=None)
    if connection._deadlines.lets_go_only(now):
        assert all(at is None or at > now for at in acting), "a timer would be slept through"


def _check_in_flight(connection: Connection) -> None:
    sent = connection._recovery.sent_packets
    trains = list(sent)
    assert sent.bytes_in_flight == sum(t.size for t in trains if t.in_flight)
    assert sent.ack_eliciting_in_flight == sum(t.count for t in trains if t.ack_eliciting)
    assert all(a.stop <= b.first for a, b in pairwise(trains))
    if sent.ack_eliciting_in_flight:
        assert connection._recovery.next_timeout() is not None, "unacknowledged data and no timer"


def _carried(connection: Connection) -> dict[int, RangeSet]:
    """Stream id -> what packets in flight carry of it."""
    carried: dict[int, RangeSet] = {}
    for train in connection._recovery.sent_packets:
        if train.stream_id >= 0:
            carried.setdefault(train.stream_id, RangeSet()).add(train.offset, train.end_offset)
        for item in train.frames:
            if isinstance(item, StreamRange):
                carried.setdefault(item.stream_id, RangeSet()).add(item.start, item.stop)
    return carried


def _check_sending(connection: Connection) -> None:
    streams = connection._streams
    turns = streams.turns
    carried = _carried(connection)
    ready = list(turns.ready or ())
    assert len({id(s) for s in ready}) == len(ready)
    assert all(s.queued for s in ready)
    assert 0 <= turns.send_window.used <= turns.send_window.limit
    unsent = 0
    for stream in streams._streams.values():
        send, window = stream.send, stream.send_window
        if send is None:
            continue
        assert window is not None
        unsent += send.written - send.sent_up_to
        assert send.acked_up_to <= send.sent_up_to <= max(window.limit, 0)
        blocked = stream.id in turns._stream_blocked or stream.id in turns._credit_blocked
        assert stream.queued == any(s is stream for s in ready)
        assert not (stream.queued and blocked)
        assert not stream.has_pending or stream.queued or blocked, f"stream {stream.id} lost its turn"
        if stream.reset_code is not None:
            continue
        for start, stop in send._acked.missing(send.acked_up_to, send.sent_up_to):
            for low, high in send._lost.missing(start, stop):
                held = carried.get(stream.id, RangeSet())
                assert held.covers(low, high), f"bytes {low} to {high} of stream {stream.id} are forgotten"
    assert turns.unsent == unsent


def _check_receiving(connection: Connection) -> None:
    streams = connection._streams
    window = streams.receive_window
    assert window.consumed <= streams.received_total <= streams.received_highest <= window.max_data
    assert window.max_data <= window.consumed + window.maximum
    unread = 0
    beyond = 0
    for stream in streams._streams.values():
        receive, own = stream.receive, stream.receive_window
        if receive is None:
            continue
        assert own is not None
        assert receive.read_offset <= receive.contiguous <= receive.highest <= own.max_data
        if receive.final_size is not None:
            assert receive.highest <= receive.final_size
        unread += receive.contiguous - receive.read_offset
        beyond += receive.highest - receive.contiguous
    assert streams.received_total - window.consumed == unread, "credit is lost or given twice"
    assert streams.received_highest - streams.received_total == beyond


def truncated(number: int) -> int:
    """The packet number as it stands in a header."""
    return packet_number.truncate(number)
