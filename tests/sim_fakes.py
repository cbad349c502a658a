"""Tiny endpoints for the simulator's own tests: they speak the sans-IO contract and no protocol."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from math import inf
from typing import NamedTuple

from rudp.sim import Batch, Datagram, Host, Network, Node
from rudp.sim.node import HoldingNode
from rudp.train import Address, Train

A: Address = ("10.0.0.1", 1001)
B: Address = ("10.0.0.2", 1002)
C: Address = ("10.0.0.3", 1003)


class Arrival(NamedTuple):
    """One call of `receive`."""

    data: bytes
    segment_size: int
    remote: Address
    local: Address
    ecn: int
    now: float

    @property
    def datagrams(self) -> list[bytes]:
        """The datagrams the buffer stands for."""
        if not self.data:
            return [b""]
        return [self.data[i : i + self.segment_size] for i in range(0, len(self.data), self.segment_size)]


class Fake:
    """Sends what it is told, records what it gets, has one timer and a list of events to come."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.outgoing: list[Train] = []
        self.events: deque[tuple[object, object]] = deque()
        self.timeout: float | None = None
        self.timeouts_handled: list[float] = []

    def send(
        self,
        data: bytes,
        remote: Address,
        *,
        segment_size: int = 0,
        local: Address | None = None,
        ecn: int = 0,
    ) -> None:
        self.outgoing.append(Train([data], segment_size or len(data), len(data), local, remote, ecn))

    def receive(  # noqa: PLR0917 (the contract's)
        self, data: memoryview, segment_size: int, remote: Address, local: Address, ecn: int, now: float
    ) -> None:
        self.arrivals.append(Arrival(bytes(data), segment_size, remote, local, ecn, now))

    def datagrams_to_send(self, now: float) -> Iterator[Train]:
        while self.outgoing:
            yield self.outgoing.pop(0)

    def next_timeout(self) -> float | None:
        return self.timeout

    def handle_timeout(self, now: float) -> None:
        self.timeouts_handled.append(now)
        self.timeout = None

    @property
    def datagrams(self) -> list[bytes]:
        """All datagrams received, in order."""
        return [datagram for arrival in self.arrivals for datagram in arrival.datagrams]


class Echo(Fake):
    """Sends every received buffer back, as one train."""

    def receive(  # noqa: PLR0917 (the contract's)
        self, data: memoryview, segment_size: int, remote: Address, local: Address, ecn: int, now: float
    ) -> None:
        super().receive(data, segment_size, remote, local, ecn, now)
        self.send(bytes(data), remote, segment_size=segment_size, ecn=ecn)


class Pair:
    """Two fakes, A and B, joined by one link each way."""

    def __init__(
        self,
        forth: list[Node] | None = None,
        back: list[Node] | None = None,
        *,
        seed: int = 1,
        echo: bool = False,
        merging: float | None = 1.0,
        window: float = 0.0,
    ) -> None:
        self.network = Network(seed)
        self.a = Fake()
        self.b = Echo() if echo else Fake()
        self.host_a: Host = self.network.add_host(A, self.a, merging=merging, window=window)
        self.host_b: Host = self.network.add_host(B, self.b, merging=merging, window=window)
        self.network.add_link(self.host_a, self.host_b, forth or [])
        self.network.add_link(self.host_b, self.host_a, back or [])

    def send_at(self, time: float, data: bytes, *, segment_size: int = 0, ecn: int = 0) -> None:
        self.host_a.call_at(time, lambda: self.a.send(data, B, segment_size=segment_size, ecn=ecn))


def packets(count: int, *, start: float = 0.0, gap: float = 0.0, size: int = 100) -> Batch:
    """A batch of numbered packets, `gap` seconds apart."""
    filling = bytes(size - 4)
    return [(start + i * gap, Datagram(i.to_bytes(4) + filling, A, B, 0)) for i in range(count)]


def numbers(batch: Batch) -> list[int]:
    """The numbers of the packets of a batch."""
    return [int.from_bytes(datagram.data[:4]) for _, datagram in batch]


def attached(node: Node, seed: int = 1) -> Node:
    """The node, ready to be used without a network."""
    node.attach(Network(seed).random("node under test"))
    return node


def through(node: Node, count: int, *, train: int = 40, gap: float = 0.0, size: int = 100) -> Batch:
    """What comes out of a node given so many numbered packets in trains; checks the node's counts."""
    out: Batch = []
    batch = packets(count, gap=gap, size=size)
    for start in range(0, count, train):
        out += node.process(batch[start : start + train])
    if isinstance(node, HoldingNode):
        out += [(time, datagram) for time, datagram, _ in node.release(inf)]
    assert node.received == count
    assert node.passed == len(out) == count + node.duplicated - node.dropped
    return out
