"""Endpoints that share a port: each datagram finds its worker, whichever one it comes to.

The program for the kernel is run by a small interpreter here and held against the rule in Python. Groups of endpoints
are joined in memory with a kernel that gives every datagram to a worker at random, the worst there can be.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random
from struct import unpack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rudp import steering, wire
from rudp.config import Config
from rudp.connection import Connection
from rudp.endpoint import Endpoint
from rudp.errors import ConnectionReset
from rudp.events import Event, StreamReadable, Terminated
from rudp.steering import MAX_STRAYS, MAX_WORKERS, Strays, owner, program
from rudp.train import Address

SERVER: Address = ("10.0.0.2", 2222)
CLIENT: Address = ("10.0.0.1", 1111)
KEY = b"a key of at least 16 bytes"
NOBODY = 0xFFFF_FFFF


def interpret(instructions: list[bytes], payload: bytes) -> int:
    """What the kernel makes of a program; loads beyond the end end it with 0, as in bpf(2)."""
    a = at = 0
    while True:
        code, if_true, if_false, k = unpack("=HBBI", instructions[at])
        at += 1
        if code in (0x30, 0x20):
            size = 1 if code == 0x30 else 4
            if k + size > len(payload):
                return 0
            a = int.from_bytes(payload[k : k + size], "big")
        elif code == 0x15:
            at += if_true if a == k else if_false
        elif code == 0x94:
            a %= k
        elif code == 0x16:
            return a
        else:
            assert code == 0x06
            return k


@given(
    kind=st.sampled_from([*wire.PacketType, *wire.DATA_TYPES]),
    destination_id=st.integers(0, 2**64 - 1) | st.builds(lambda w, low: w << 56 | low, st.integers(0, 8), st.just(7)),
    workers=st.integers(2, MAX_WORKERS) | st.integers(2, 8),
)
def test_the_kernels_program_says_what_the_rule_says(kind: int, destination_id: int, workers: int) -> None:
    index = interpret(program(workers), bytes([kind]) + destination_id.to_bytes(8, "big") + bytes(4))
    # A number that no socket has makes the kernel choose one by its hash.
    assert (index if index < workers else None) == owner(kind, destination_id, workers)


@given(st.binary(min_size=1, max_size=40), st.integers(2, MAX_WORKERS))
def test_the_program_ends_on_whatever_comes(payload: bytes, workers: int) -> None:
    assert 0 <= interpret(program(workers), payload) <= NOBODY


def test_nothing_but_rudp_is_handed_on() -> None:
    assert [owner(kind, 1 << 56, 4) for kind in (0, 0x4F, 0x55, 0x62, 0x80, 0xFF)] == [None] * 6


def test_what_waits_is_bounded() -> None:
    strays = Strays(0, 2)
    data = memoryview(bytes(100))
    for _ in range(MAX_STRAYS + 10):
        assert strays.take(wire.DATA, 1 << 56, data, 40, (CLIENT, None, 0))
    taken = 0
    while strays.next() is not None:
        taken += 1
    assert taken == MAX_STRAYS
    assert strays.count == 3 * (MAX_STRAYS + 10)


class Group:
    """Workers of one port and some clients, joined in memory; datagrams to the port come to any worker."""

    def __init__(self, workers: int, seed: int, **settings: object) -> None:
        self.random = Random(seed)
        self.now = 0.0
        config = Config(reset_key=KEY, **settings)  # type: ignore[arg-type]
        self.workers = [
            Endpoint(replace(config, worker=index), random=Random(f"{seed} {index}"), accept=True, workers=workers)
            for index in range(workers)
        ]
        self.clients: dict[Address, Endpoint] = {}
        self.events: list[tuple[Endpoint, Connection, Event]] = []
        self.strays = 0
        self.marks: set[int] = set()

    def ends(self) -> list[tuple[Endpoint, Connection, Exception | None]]:
        """Which connections ended, and how."""
        return [(at, core, event.error) for at, core, event in self.events if isinstance(event, Terminated)]

    def client(self, address: Address, seed: int = 0) -> Endpoint:
        self.clients[address] = Endpoint(Config(reset_key=KEY), random=Random(seed))
        return self.clients[address]

    def _deliver(self, data: bytes, segment_size: int, source: Address, target: Address) -> None:
        if target != SERVER:
            if target in self.clients:
                self.clients[target].receive(memoryview(data), segment_size, source, None, 0, self.now)
            return
        worker = self.random.choice(self.workers)
        worker.receive(memoryview(data), segment_size, source, SERVER, 1, self.now)
        while (stray := worker.next_stray()) is not None:
            self.strays += 1
            self.marks.add(stray.ecn)
            others = self.workers if stray.worker is None else [self.workers[stray.worker]]
            assert worker not in others or stray.worker is None
            for other in others:
                if other is not worker:
                    other.receive_forwarded(memoryview(stray.data), *stray[2:], self.now)
                    assert other.next_stray() is None, "what was handed on is handed on again"

    def run(self, seconds: float) -> None:
        """Move datagrams and time until nothing is left to do in `seconds`."""
        end = self.now + seconds
        places = lambda: [*((worker, SERVER) for worker in self.workers), *((c, a) for a, c in self.clients.items())]  # noqa: E731
        while True:
            air = [
                (b"".join(train.buffers), train.segment_size, own, train.remote)
                for endpoint, own in places()
                for train in endpoint.datagrams_to_send(self.now)
            ]
            for endpoint, _ in places():
                while (item := endpoint.next_event()) is not None:
                    self.events.append((endpoint, *item))
            if air:
                self.now += 0.001
                for datagram in air:
                    self._deliver(*datagram)
                continue
            due = min((t for endpoint, _ in places() if (t := endpoint.next_timeout()) is not None), default=end)
            if due >= end:
                self.now = end
                return
            self.now = max(self.now, due)
            for endpoint, _ in places():
                endpoint.handle_timeout(self.now)


@pytest.mark.parametrize("retry", ["auto", "always"])
def test_connections_work_whichever_worker_their_datagrams_come_to(retry: str) -> None:
    group = Group(4, 1, retry=retry)
    client = group.client(CLIENT)
    connections = [client.connect(SERVER, group.now) for _ in range(12)]
    group.run(0.5)
    assert all(connection.is_open for connection in connections)
    owned = [len(worker.connections) for worker in group.workers]
    assert sum(owned) == 12, "two workers took the same SYN"
    assert sum(1 for count in owned if count) > 1
    for number, connection in enumerate(connections):
        connection.send(0, bytes([number]) * 50_000, fin=True)
    group.run(1)
    received = {}
    for index, worker in enumerate(group.workers):
        for connection in worker.connections:
            assert connection.id >> 56 == index, "the id doesn't carry the worker's index"
            data = b""
            while part := connection.receive(0, 1 << 20):
                data += part
            received[data[0]] = data
    assert received == {number: bytes([number]) * 50_000 for number in range(12)}
    assert group.strays > 50
    assert 1 in group.marks, "ECN marks must come along"
    assert sum(worker.stats().strays for worker in group.workers) >= group.strays
    assert not sum(worker.stats().resets_sent for worker in group.workers)


def test_a_client_that_moves_keeps_its_worker() -> None:
    group = Group(3, 2)
    client = group.client(CLIENT)
    connection = client.connect(SERVER, group.now)
    group.run(0.2)
    home = [worker for worker in group.workers if worker.connections]
    assert len(home) == 1
    del group.clients[CLIENT]
    moved = ("10.0.0.9", 4321)
    group.clients[moved] = client
    connection.send(0, b"from elsewhere")
    group.run(1)
    (server,) = home[0].connections
    assert server.remote_address == moved
    assert server.receive(0, 100) == b"from elsewhere"


def test_a_reset_finds_the_connection_it_is_for() -> None:
    for seed in range(6):
        group = Group(4, seed)
        group.client(CLIENT).connect(SERVER, group.now)
        group.run(0.2)
        (server,) = [connection for worker in group.workers for connection in worker.connections]
        # The client is restarted: it knows nothing of the connection, but has its key.
        group.client(CLIENT, seed=99)
        server.send(0, b"still there?" * 10)
        group.run(0.2)
        assert [type(error) for _, connection, error in group.ends() if connection is server] == [ConnectionReset]


def test_a_worker_that_was_replaced_ends_its_old_connections() -> None:
    group = Group(2, 3)
    client = group.client(CLIENT)
    connections = [client.connect(SERVER, group.now) for _ in range(8)]
    group.run(0.2)
    lost = len(group.workers[1].connections)
    assert 0 < lost < 8
    group.workers[1] = Endpoint(Config(reset_key=KEY, worker=1), random=Random("anew"), accept=True, workers=2)
    for connection in connections:
        connection.send(0, b"x" * 100)
    group.run(0.5)
    assert [type(error) for endpoint, _, error in group.ends() if endpoint is client] == [ConnectionReset] * lost
    assert sum(1 for connection in connections if connection.is_open) == 8 - lost
    assert any(isinstance(event, StreamReadable) for _, _, event in group.events)


def test_ids_of_a_larger_group_of_former_times_are_answered() -> None:
    group = Group(2, 4)
    data = wire.data_header(wire.DATA, 200 << 56 | 5, 0) + bytes(40)
    assert owner(data[0], 200 << 56 | 5, 2) is None
    group.workers[0].receive(memoryview(data), len(data), CLIENT, None, 0, 0.0)
    (answer,) = group.workers[0].datagrams_to_send(0.0)
    assert isinstance(wire.decode_opening(memoryview(b"".join(answer.buffers))), wire.Reset)


def test_resets_handed_on_are_limited() -> None:
    group = Group(4, 5)
    reset = memoryview(wire.encode_opening(wire.Reset(1, bytes(wire.RESET_TOKEN_SIZE))))
    for _ in range(5):
        for _ in range(MAX_STRAYS):
            group.workers[0].receive(reset, len(reset), CLIENT, None, 0, 0.0)
        while group.workers[0].next_stray() is not None:
            group.strays += 1
    assert 0 < group.strays <= steering.MAX_STRAYS
