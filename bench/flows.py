"""Bulk flows over one simulated bottleneck, each with its own controller, RTT, loss and start.

Knows: how to build such a network and what to read off it while it runs. Refuses to know: what a good result is.

    senders --> Rate (shared, first in first out) --> Delay, Loss of each flow --> receivers
    senders <-- Delay, Loss of each flow <-------------------------------------- receivers

Every flow writes zeros for as long as the run lasts, or up to its size; the receiver reads and counts at once. A host's
network card hands over what came within a millisecond, as cards that coalesce interrupts do; that adds up to a
millisecond each way. Memory grows with the seconds, not with the packets.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Final, NamedTuple

from rudp import wire
from rudp.config import Config
from rudp.congestion import CongestionController
from rudp.connection import Connection
from rudp.endpoint import Endpoint
from rudp.events import Connected, StreamReadable, StreamWritable, Terminated
from rudp.sim import IP_UDP_OVERHEAD, Delay, Host, Loss, Mtu, Network, Node, Rate
from rudp.stats import Stats
from rudp.train import Address

__all__ = ["Flow", "Reading", "Result", "Run", "payload_rate", "run"]

# What the application writes at a time; the same bytes again and again, so writing costs no copy.
PIECE: Final = bytes(1 << 18)
# Seconds for which a host's network card gathers packets.
CARD: Final = 0.001
# Seconds between two readings of queue and window.
SAMPLE: Final = 0.005
# Seconds between two arrivals that are kept; from 5 s on, this share of the time.
APART: Final = 0.001
APART_SHARE: Final = 0.0002


@dataclass(frozen=True, slots=True)
class Flow:
    """One sender and its path. Times in seconds; losses are probabilities, `loss` behind the bottleneck."""

    congestion: str | type[CongestionController] = "model"
    rtt: float = 0.05
    start: float = 0.0
    loss: float = 0.0
    ack_loss: float = 0.0
    forth: Sequence[Node] = ()
    """More nodes behind the bottleneck."""
    back: Sequence[Node] = ()
    """More nodes in the ACKs' direction."""
    size: int | None = None
    """Bytes to send; None: for as long as the run lasts."""


@dataclass(slots=True)
class Result:
    """What was read off one flow. Times are those of the run, not of the flow."""

    flow: Flow
    arrived: list[tuple[float, int]] = field(default_factory=list)
    """When the receiver read, and how many bytes it had then: the first and the last reading of each APART."""
    windows: list[tuple[float, int, int, float]] = field(default_factory=list)
    """Time, congestion window, bytes in flight, smoothed RTT."""
    stats: Stats | None = None
    """The sender's figures at the end of the run."""
    connected_at: float | None = None
    error: Exception | None = None

    def bytes_at(self, at: float) -> int:
        """Bytes that had arrived at a time."""
        index = bisect_right(self.arrived, at, key=itemgetter(0))
        return self.arrived[index - 1][1] if index else 0

    def goodput(self, start: float, stop: float) -> float:
        """Bytes a second that arrived from `start` to `stop`."""
        return (self.bytes_at(stop) - self.bytes_at(start)) / (stop - start)

    def time_to(self, size: int) -> float | None:
        """Seconds from the flow's start (its SYN) until `size` bytes had arrived; None: never."""
        for at, total in self.arrived:
            if total >= size:
                return at - self.flow.start
        return None


class Reading(NamedTuple):
    """The bottleneck at one time: bytes of packets that have left it, packets that came and that it dropped."""

    time: float
    bytes_left: float
    received: int
    dropped: int


@dataclass(slots=True)
class Run:
    """What was read off a network."""

    results: list[Result]
    queue: list[tuple[float, float]]
    """Time, and seconds that a packet coming then would wait in the bottleneck."""
    bottleneck: Rate
    seconds: float
    packets: int
    events: int
    cpu_seconds: float
    digest: str | None
    line: list[Reading] = field(default_factory=list)


class _Sender:
    """Drives one flow's two ends."""

    def __init__(  # noqa: PLR0917
        self, network: Network, index: int, flow: Flow, bottleneck: Sequence[Node], config: Config, card: float,
        *, mtu: int | None,
    ) -> None:
        self.network = network
        self._clock = network.clock
        self.result = Result(flow)
        self._total = 0
        self._kept_at = 0.0
        self._late: tuple[float, int] | None = None
        self._unsent = flow.size
        here: Address = (f"10.0.{index >> 8}.{index & 255}", 1)
        self._there: Address = (f"10.1.{index >> 8}.{index & 255}", 2)
        self.client = Endpoint(config, random=network.random(f"client {index}"))
        server = Endpoint(config, random=network.random(f"server {index}"), accept=True)
        self.host = network.add_host(here, self.client, on_event=self._on_client_event, merging=1.0, window=card)
        self.peer: Host = network.add_host(
            self._there, server, on_event=self._on_server_event, merging=1.0, window=card
        )
        delay = flow.rtt / 2
        forth = [*bottleneck, Delay(delay), *flow.forth, *([Loss(flow.loss)] if flow.loss else [])]
        back = [Delay(delay), *flow.back, *([Loss(flow.ack_loss)] if flow.ack_loss else [])]
        if mtu is not None:
            forth, back = [Mtu(mtu), *forth], [Mtu(mtu), *back]
        network.add_link(self.host, self.peer, forth)
        network.add_link(self.peer, self.host, back)
        self.connection: Connection | None = None
        self.host.call_at(flow.start, self._connect)

    def sample(self, now: float) -> None:
        connection = self.connection
        if connection is not None and connection.is_open:
            stats = connection.stats(now)
            self.result.windows.append((now, stats.congestion_window, stats.bytes_in_flight, stats.smoothed_rtt))
            self.result.stats = stats

    def _connect(self) -> None:
        self.connection = self.client.connect(self._there, self.network.now)

    def _on_client_event(self, connection: Connection, event: object) -> None:
        if isinstance(event, Connected):
            self.result.connected_at = self.network.now
        if isinstance(event, (Connected, StreamWritable)):
            self._write(connection)
        elif isinstance(event, Terminated):
            self.result.error = event.error

    def _write(self, connection: Connection) -> None:
        if self._unsent is None:
            while connection.can_send(0):
                connection.send(0, PIECE)
        while self._unsent and connection.can_send(0):
            piece = PIECE[: self._unsent]
            self._unsent -= len(piece)
            connection.send(0, piece, fin=not self._unsent)

    def _on_server_event(self, connection: Connection, event: object) -> None:
        if isinstance(event, StreamReadable):
            while data := connection.receive(0, 1 << 20):
                self._total += len(data)
                if connection.waits(0):
                    break
            now = self._clock.now
            if now >= self._kept_at:
                apart = now * APART_SHARE
                self._kept_at = now + (apart if apart > APART else APART)
                if self._late is not None:
                    self.finish()  # or what came just before a pause would seem to have come after it
                self.result.arrived.append((now, self._total))
            else:
                self._late = (now, self._total)

    def finish(self) -> None:
        """Keep the latest arrival, too."""
        if self._late is not None:
            self.result.arrived.append(self._late)
            self._late = None


def run(
    flows: Sequence[Flow],
    *,
    rate: float,
    queue_bytes: int,
    seconds: float,
    seed: int | str = 0,
    config: Config | None = None,
    bottleneck: Sequence[Node] | None = None,
    digest: bool = False,
    sample: float = SAMPLE,
    card: float = CARD,
    mtu: int | None = None,
    at: Sequence[tuple[float, Callable[[Run], object]]] = (),
) -> Run:
    """Run `flows` for `seconds` over a line of `rate` bytes a second with a drop-tail queue of `queue_bytes`.

    `bottleneck`: nodes to take in its place, a Rate among them. `at`: what to call with the run at which times.
    `sample`: seconds between two readings of the bottleneck; windows are read every SAMPLE or, if longer, `sample`.
    `card`: seconds for which network cards gather packets. `mtu`: bytes of the largest IP packet that links carry,
    which path MTU discovery finds; None: all, and packets have the one size that `config` says.
    """
    config = config or Config()
    if mtu is None:
        # Packets of one size, or C would change on the way.
        config = replace(config, path_mtu_discovery=False)
    network = Network(seed, digest=digest)
    nodes = list(bottleneck) if bottleneck is not None else [Rate(rate, queue_bytes)]
    line = next(node for node in nodes if isinstance(node, Rate))
    senders = []
    for index, flow in enumerate(flows):
        own = replace(config, congestion=flow.congestion)
        senders.append(_Sender(network, index, flow, nodes, own, card, mtu=mtu))
    outcome = Run([sender.result for sender in senders], [], line, seconds, 0, 0, 0.0, None)

    def read_line() -> None:
        now = network.now
        waiting = line.waiting(now)
        outcome.queue.append((now, waiting))
        left = line.passed_bytes - waiting * line.bytes_per_second
        outcome.line.append(Reading(now, left, line.received, line.dropped))
        network.call_at(now + sample, read_line)

    def read_senders() -> None:
        now = network.now
        for sender in senders:
            sender.sample(now)
        network.call_at(now + max(sample, SAMPLE), read_senders)

    network.call_at(0.0, read_line)
    network.call_at(0.0, read_senders)
    for when, call in at:
        network.call_at(when, lambda call=call: call(outcome))  # type: ignore[misc]
    started = time.process_time()
    network.run(until=seconds)
    outcome.cpu_seconds = time.process_time() - started
    for sender in senders:
        sender.finish()
    outcome.packets = sum(sender.host.datagrams_sent + sender.peer.datagrams_sent for sender in senders)
    outcome.events = network.events
    outcome.digest = network.digest() if digest else None
    return outcome


def payload_rate(rate: float, config: Config | None = None, datagram_size: int | None = None) -> float:
    """C: payload bytes a second that full packets carry over a line of `rate` bytes a second."""
    config = config or Config()
    size = datagram_size or config.max_datagram_size
    overhead = wire.CANONICAL_HEADER_SIZE + (4 if config.protection == "crc32" else 0)
    share: float = (size - overhead) / (size + IP_UDP_OVERHEAD)
    return rate * share
