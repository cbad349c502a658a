"""The short way in leaves what the long way leaves, byte for byte and instant for instant, and most packets take it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rudp.config import Config
from rudp.connection import Connection
from rudp.endpoint import Endpoint
from rudp.errors import RudpError
from rudp.in_order import InOrder
from rudp.train import Address
from rudp.wire import Ack, MaxData, canonical_headers

CLIENT: Address = ("10.0.0.1", 1)
SERVER: Address = ("10.0.0.2", 2)
# Both draw the same; the way in itself; when frames were taken last, which the short way doesn't and nothing asks.
LEFT_OUT = {("Connection", "in_order"), ("Paths", "_random"), ("Recovery", "_random"), ("Inbound", "_now")}
Command = Callable[[Connection, int, int], object]
PLAIN = (int, float, str, bytes, Enum, type(None))


class LongWay(InOrder):
    """Nothing is what comes next."""

    def __init__(self) -> None:
        pass

    def take(self, *_arguments: object) -> None:
        return None


def state_of(value: Any, met: set[int]) -> Any:
    """All that an object holds, and what that holds."""
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, list | tuple | deque):
        return [state_of(item, met) for item in value]
    if isinstance(value, dict):
        return [(state_of(key, met), state_of(item, met)) for key, item in value.items()]
    kind = type(value)
    if callable(value) or id(value) in met or not kind.__module__.startswith("rudp"):
        return kind.__name__
    met.add(id(value))
    names = [name for base in kind.__mro__ for name in getattr(base, "__slots__", ())]
    names += getattr(value, "__dict__", {})
    held = [name for name in names if hasattr(value, name) and (kind.__name__, name) not in LEFT_OUT]
    return kind.__name__, {name: state_of(getattr(value, name), met) for name in held}


class Twins:
    """A client, and two servers that get the same packets: one by the short way where it may, the other by none."""

    def __init__(self, protection: str) -> None:
        config = Config(protection=protection, initial_receive_window=20_000, max_datagram_size=1200)
        self.now = 1.0
        self.client = Endpoint(config, random=Random(1))
        self.servers = [Endpoint(config, random=Random(2), accept=True) for _ in range(2)]
        self.sender = self.client.connect(SERVER, self.now)
        self.streams = [0]
        self.reads = True
        self.ecn = 0
        self.fates: list[Callable[[list[bytes]], list[bytes]]] = []
        self.turn()
        self.turn()
        self.streams.append(self.sender.open_stream())
        self.turn()

    def deliver(self, packet: bytes, source: Address = CLIENT) -> None:
        """Let a packet arrive at both servers."""
        for server in self.servers:
            server.receive(memoryview(bytearray(packet)), len(packet), source, SERVER, self.ecn, self.now)
        self.compare()

    def turn(self) -> None:
        """Let the client's packets arrive, and what the servers answer."""
        self.now += 0.003
        trains = [(b"".join(train.buffers), train.segment_size) for train in self.client.datagrams_to_send(self.now)]
        packets = [data[at : at + size] for data, size in trains for at in range(0, len(data), size)]
        while self.fates:
            packets = self.fates.pop()(packets)
        for packet in packets:
            self.deliver(packet)
        answers = [self.answer(server) for server in self.servers]
        assert answers[0] == answers[1]
        for data, size in answers[0][1]:
            self.client.receive(memoryview(data), size, SERVER, CLIENT, 0, self.now)
        if (due := self.client.next_timeout()) is not None and due <= self.now:
            self.client.handle_timeout(self.now)
        self.client.events.clear()

    def answer(self, server: Endpoint) -> tuple[list[Any], list[tuple[bytes, int]]]:
        """What a server's application is told and reads, and what it sends."""
        if (due := server.next_timeout()) is not None and due <= self.now:
            server.handle_timeout(self.now)
        told: list[Any] = []
        while (found := server.next_event()) is not None:
            told.append(repr(found[1]))
        for connection in server.connections:
            if server is self.servers[1]:
                connection.in_order = LongWay()
            for stream_id in self.streams if self.reads else ():
                told.append(read(connection, stream_id))
        return told, [(b"".join(train.buffers), train.segment_size) for train in server.datagrams_to_send(self.now)]

    def compare(self) -> None:
        states = [[state_of(connection, set()) for connection in server.connections] for server in self.servers]
        assert states[0] == states[1]
        assert self.servers[0].stats() == self.servers[1].stats()
        assert self.servers[0].next_timeout() == self.servers[1].next_timeout()
        events = [repr([event for _, event in server.events]) for server in self.servers]
        assert events[0] == events[1]

    def act(self, what: str, much: int) -> None:
        """Something happens: to what is sent next, or because an application wants it."""
        stream_id = self.streams[much % 2]
        accepted = [connection for server in self.servers for connection in server.connections]
        if what in FATES:
            self.fates.append(lambda packets: FATES[what](packets, much))
        elif what == "stop reading":
            self.reads = not self.reads
        elif what == "mark":
            self.ecn = much % 4
        elif what in ANSWERS:
            for connection in accepted:
                attempt(ANSWERS[what], connection, stream_id, much)
        else:
            attempt(WISHES[what], self.sender, stream_id, much)


def read(connection: Connection, stream_id: int) -> bytes | str:
    try:
        return connection.receive(stream_id, 1 << 20)
    except RudpError as error:
        return repr(error)


def attempt(command: Command, connection: Connection, stream_id: int, much: int) -> None:
    """A command, unless it is too late for it."""
    with suppress(RudpError):
        command(connection, stream_id, much)


def damaged(packet: bytes, much: int) -> bytes:
    at = much % len(packet)
    return packet[:at] + bytes([packet[at] ^ 1 << much % 8]) + packet[at + 1 :]


FATES: dict[str, Callable[[list[bytes], int], list[bytes]]] = {
    "lose": lambda packets, much: [packet for at, packet in enumerate(packets) if at != much % 8],
    "repeat": lambda packets, much: packets + packets[much % 8 :],
    "turn round": lambda packets, much: packets[: much % 8] + packets[much % 8 :][::-1],
    "damage": lambda packets, much: [damaged(p, much) if at == much % 4 else p for at, p in enumerate(packets)],
}
WISHES: dict[str, Command] = {
    "write": lambda connection, stream_id, much: connection.send(stream_id, bytes(much * 5)),
    "end": lambda connection, stream_id, much: connection.send(stream_id, bytes(much), fin=True),
    "reset": lambda connection, stream_id, much: connection.reset_stream(stream_id, much),
    "ping": lambda connection, stream_id, much: connection.ping(),
    "close": lambda connection, stream_id, much: connection.close(),
}
ANSWERS: dict[str, Command] = {
    "answer": lambda connection, stream_id, much: connection.send(0, bytes(much)),
    "leave": lambda connection, stream_id, much: connection.close(),
    "refuse": lambda connection, stream_id, much: connection.stop_sending(stream_id, much),
}
ACTS = (*WISHES, *ANSWERS, *FATES, "stop reading", "mark")


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["none", "crc32"]),
    st.lists(st.tuples(st.sampled_from(ACTS), st.integers(1, 3_000)), min_size=1, max_size=20),
)
def test_both_ways_leave_the_same(protection: str, story: list[tuple[str, int]]) -> None:
    twins = Twins(protection)
    for what, much in story:
        twins.act("write", much)
        twins.act(what, much)
        twins.turn()
    for _ in range(5):
        twins.turn()
    twins.compare()


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each packet that might take the short way, whether it did."""
    found: list[bool] = []
    take = InOrder.take

    def watched(self: InOrder, *arguments: Any) -> bool | None:
        undecided = take(self, *arguments)
        found.append(undecided is not None)
        return undecided

    monkeypatch.setattr(InOrder, "take", watched)
    return found


def test_a_packet_that_brings_what_is_next_takes_the_short_way(taken: list[bool]) -> None:
    twins = Twins("none")
    taken.clear()
    twins.deliver(next_packet(twins, 100))
    assert taken == [True]


def next_packet(twins: Twins, size: int, *, ahead: int = 0, stream_id: int = 0, skipped: int = 0) -> bytes:
    """The client's next packet, made by hand, of so many bytes that begin `ahead` of the next."""
    connection = twins.servers[0].connections[0]
    stream = connection._streams.find(stream_id)
    assert stream is not None
    assert stream.receive is not None
    number, offset = connection._received.largest + 1 + skipped, stream.receive.contiguous + ahead
    return canonical_headers(connection.id, number, 1, stream_id, offset, 1, False)[0] + bytes(size)


def more_to_do(connection: Connection, what: str) -> None:
    """Put a connection into a state in which a packet has to do with more than a stream."""
    if what == "a frame waits":
        connection._control.put(MaxData(1 << 40))
    elif what == "a frame will be due":
        connection._streams.limits.due = 99.0
    elif what == "an ACK waits":
        connection._inbound.held_ack = Ack(0, 0.0, ((0, 1),), None), 1.0
    elif what == "what was sent isn't accounted for":
        connection.ping()
        assert connection.next_train(2.0) is not None
    elif what == "it has ended":
        connection.abort(1)
    elif what == "it ends":
        connection.send_eof()


SIZES = {"nothing in it": 0, "beyond the stream's credit": 20_001, "beyond the connection's credit": 19_000}


@pytest.mark.parametrize(
    "what",
    [
        "a frame waits", "a frame will be due", "an ACK waits", "what was sent isn't accounted for", "it has ended",
        "it ends", "from elsewhere", "nothing in it", "behind a gap", "beyond the stream's credit",
        "beyond the connection's credit", "behind missing bytes", "twice", "damaged",
    ],
)  # fmt: skip
def test_a_packet_that_has_to_do_with_more_goes_the_long_way(what: str, taken: list[bool]) -> None:
    twins = Twins("crc32" if what == "damaged" else "none")
    for server in twins.servers:
        more_to_do(server.connections[0], what)
    size = SIZES.get(what, 9)
    packet = next_packet(twins, size, ahead=what == "behind missing bytes", skipped=what == "behind a gap")
    if what == "twice":
        twins.deliver(packet)
    elif what == "beyond the connection's credit":
        twins.deliver(packet)
        packet = next_packet(twins, size, stream_id=4)
    taken.clear()
    twins.deliver(packet, ("10.9.9.9", 9) if what == "from elsewhere" else CLIENT)
    assert taken == [False]


@pytest.mark.parametrize("protection", ["none", "crc32"])
def test_a_bulk_flow_takes_the_short_way(protection: str, taken: list[bool]) -> None:
    """Behind a gap, too, once an ACK has told of it."""
    twins = Twins(protection)
    for turn in range(100):
        twins.act("lose" if turn == 50 else "write", 1_000)
        twins.act("write", 1_000)
        twins.turn()
    assert len(taken) > 300
    assert sum(taken) > len(taken) * 0.8
