"""What an emulated link does to packets: a line with a finite queue, a delay, random loss. No I/O and no clock.

Knows: the simulator's own nodes (`rudp.sim`), in this order, one set a direction:

    Rate (drop-tail queue) --> Delay --> Loss

so a simulated link and an emulated one share their code. Refuses to know: devices, clocks, what is in packets.

`Line.offer` and `Line.take` cost about 2 us a packet.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from random import Random
from typing import Final

from rudp.sim import Datagram, Delay, Loss, Rate

__all__ = ["Line", "LinkSpec"]

# The nodes look at nothing but the size.
_NOBODY: Final = ("", 0)


@dataclass(frozen=True, slots=True)
class LinkSpec:
    """A symmetrical link. Sizes are those of IP packets."""

    rate: float
    """Bytes a second, each direction."""
    rtt: float
    """Seconds there and back, without queue and serialization."""
    loss: float = 0.0
    """Probability, each direction, behind the queue."""
    queue_bdp: float = 1.0
    """Size of the drop-tail queue before the line, in rate x rtt, each direction."""

    @property
    def queue_bytes(self) -> int:
        return int(self.rate * self.rtt * self.queue_bdp)


class Line:
    """One direction of a link. `prefix` bytes of each packet belong to the device and don't cross the line."""

    __slots__ = ("_loss", "_nodes", "_pending", "_prefix", "_rate", "offered_bytes")

    def __init__(self, spec: LinkSpec, seed: str, prefix: int = 0) -> None:
        self._rate = Rate(spec.rate, spec.queue_bytes, overhead=-prefix)
        self._loss = Loss(spec.loss)
        self._nodes = (self._rate, Delay(spec.rtt / 2), self._loss)
        for index, node in enumerate(self._nodes):
            node.attach(Random(f"{seed}/{index}"))
        self._pending: deque[tuple[float, Datagram]] = deque()
        self._prefix = prefix
        self.offered_bytes = 0

    def offer(self, packets: list[bytes], now: float) -> None:
        """Take packets (at least one) that come at `now`."""
        self.offered_bytes += sum(map(len, packets)) - self._prefix * len(packets)
        batch = [(now, Datagram(packet, _NOBODY, _NOBODY, 0)) for packet in packets]
        for node in self._nodes:
            batch = node.process(batch)
            if not batch:
                return
        self._pending += batch

    def take(self, now: float) -> list[tuple[float, bytes]]:
        """The packets that are out by `now`, each with the time at which it was due."""
        pending = self._pending
        due: list[tuple[float, bytes]] = []
        while pending and pending[0][0] <= now:
            at, datagram = pending.popleft()
            due.append((at, datagram.data))
        return due

    @property
    def next_due(self) -> float | None:
        """When the next packet is out."""
        return self._pending[0][0] if self._pending else None

    def waiting(self, now: float) -> float:
        """Seconds that a packet coming at `now` would wait in the queue."""
        return self._rate.waiting(now)

    def counters(self) -> dict[str, int]:
        """Packets and bytes so far."""
        return {
            "offered_packets": self._rate.received,
            "offered_bytes": self.offered_bytes,
            "queue_dropped_packets": self._rate.dropped,
            "lost_packets": self._loss.dropped,
            "passed_packets": self._loss.passed,
            "passed_bytes_line": self._rate.passed_bytes,
            "largest_queue_bytes": self._rate.largest_queue_bytes,
        }
