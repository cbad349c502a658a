"""Nodes that delay, queue, copy, change or show packets; those that only lose them are in `loss`.

Knows: for each node, what it does to a batch of packets and what it counts.
Refuses to know: hosts, routes, events.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from random import Random
from typing import Final

from rudp.sim.node import IP_UDP_OVERHEAD, Batch, Datagram, Node, RandomNode, in_bounds
from rudp.train import Address

__all__ = [
    "Corrupt",
    "Delay",
    "Duplicate",
    "Filter",
    "Jitter",
    "Rate",
    "Rebind",
    "RebindReverse",
    "Reorder",
    "Tap",
]


class Delay(Node):
    """Deliver every packet `seconds` later."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = in_bounds("seconds", seconds, 0.0, 1e9)
        self.keeps_time = False

    def process(self, batch: Batch) -> Batch:
        self.received += len(batch)
        seconds = self.seconds
        return [(time + seconds, datagram) for time, datagram in batch]


class Jitter(Node):
    """Deliver each packet later by 0 to `maximum` seconds, drawn uniformly.

    With `keep_order` no packet leaves before those that came before it; without, they overtake each other.
    """

    def __init__(self, maximum: float, *, keep_order: bool = False) -> None:
        super().__init__()
        self.maximum = in_bounds("maximum", maximum, 0.0, 1e9)
        self.needs_order = self.keeps_order = keep_order
        self.keeps_time = False
        self._latest = -inf

    def process(self, batch: Batch) -> Batch:
        self.received += len(batch)
        maximum = self.maximum
        draw = self.random.random
        late = [(time + maximum * draw(), datagram) for time, datagram in batch]
        if self.keeps_order:
            latest = self._latest
            for index, (time, datagram) in enumerate(late):
                latest = max(latest, time)
                late[index] = (latest, datagram)
            self._latest = latest
        return late


class Reorder(RandomNode):
    """Hold each packet back for `delay` seconds with `probability`, so that later ones overtake it."""

    def __init__(self, probability: float, delay: float) -> None:
        super().__init__(probability)
        self.delay = in_bounds("delay", delay, 0.0, 1e9)
        self.keeps_order = self.keeps_time = False
        self.delayed = 0

    def process(self, batch: Batch) -> Batch:
        self.received += len(batch)
        hits = self._trials.hits(len(batch))
        self.delayed += len(hits)
        for index in hits:
            time, datagram = batch[index]
            batch[index] = (time + self.delay, datagram)
        return batch

    def counters(self) -> dict[str, int]:
        return {**super().counters(), "delayed": self.delayed}


class Duplicate(RandomNode):
    """Send each packet twice with `probability`; the copy follows `delay` seconds later."""

    def __init__(self, probability: float, delay: float = 0.0) -> None:
        super().__init__(probability)
        self.delay = in_bounds("delay", delay, 0.0, 1e9)
        self.keeps_order = self.keeps_time = delay == 0.0

    def process(self, batch: Batch) -> Batch:
        self.received += len(batch)
        hits = self._trials.hits(len(batch))
        self.duplicated += len(hits)
        for index in reversed(hits):
            time, datagram = batch[index]
            batch.insert(index + 1, (time + self.delay, datagram))
        return batch


class Corrupt(RandomNode):
    """With `probability` change 1 to `max_bytes` bytes of a packet, at drawn places, by flipping drawn bits.

    Such packets arrive, as where UDP's checksum is off or collides.
    """

    def __init__(self, probability: float, max_bytes: int = 3) -> None:
        super().__init__(probability)
        self.max_bytes = int(in_bounds("max_bytes", max_bytes, 1, 65_507))
        self.corrupted = 0

    def attach(self, random: Random) -> None:
        super().attach(random)
        # Whom and what to change is drawn apart: the outcome doesn't depend on how packets are batched.
        self.random = Random(random.getrandbits(64))

    def process(self, batch: Batch) -> Batch:
        self.received += len(batch)
        for index in self._trials.hits(len(batch)):
            time, datagram = batch[index]
            if datagram.data:
                self.corrupted += 1
                batch[index] = (time, datagram._replace(data=self._corrupted(datagram.data)))
        return batch

    def _corrupted(self, data: bytes) -> bytes:
        count = self.random.randint(1, min(self.max_bytes, len(data)))
        changed = bytearray(data)
        for position in self.random.sample(range(len(data)), count):
            changed[position] ^= self.random.randint(1, 255)
        return bytes(changed)

    def counters(self) -> dict[str, int]:
        return {**super().counters(), "corrupted": self.corrupted}


class Rate(Node):
    """A line of `bytes_per_second` behind a finite first-in, first-out queue that drops what doesn't fit.

    Sizes are those of IP packets: payload plus `overhead`. The queue holds at most `queue_bytes` and
    `queue_packets` (None: no such limit), the packet on the line included until its last bit has left;
    a packet that finds the queue empty is always taken.
    """

    needs_order = True

    def __init__(
        self,
        bytes_per_second: float,
        queue_bytes: int | None = None,
        queue_packets: int | None = None,
        *,
        overhead: int = IP_UDP_OVERHEAD,
    ) -> None:
        super().__init__()
        self.bytes_per_second = in_bounds("bytes_per_second", bytes_per_second, 1e-3, 1e15)
        self.queue_bytes = in_bounds("queue_bytes", inf if queue_bytes is None else queue_bytes, 0, inf)
        self.queue_packets = in_bounds(
            "queue_packets", inf if queue_packets is None else queue_packets, 1, inf
        )
        self.overhead = overhead
        self.keeps_time = False
        self.passed_bytes = 0
        self.largest_queue_bytes = 0
        self._queue: deque[tuple[float, int]] = deque()  # when the packet's last bit leaves, and its size
        self._queued_bytes = 0
        self._free_at = -inf

    def process(self, batch: Batch) -> Batch:
        queue = self._queue
        queued = self._queued_bytes
        largest = self.largest_queue_bytes
        free_at = self._free_at
        overhead = self.overhead
        seconds_per_byte = 1.0 / self.bytes_per_second
        max_bytes, max_packets = self.queue_bytes, self.queue_packets
        accepted_bytes = 0
        out: Batch = []
        for time, datagram in batch:
            while queue and queue[0][0] <= time:
                queued -= queue.popleft()[1]
            size = len(datagram[0]) + overhead
            if queue:
                if queued + size > max_bytes or len(queue) >= max_packets:
                    continue
            else:
                free_at = time
            free_at += size * seconds_per_byte
            queued += size
            accepted_bytes += size
            if queued > largest:  # noqa: PLR1730 (a call of max() is dearer, and this is per packet)
                largest = queued
            queue.append((free_at, size))
            out.append((free_at, datagram))
        self._free_at = free_at
        self.passed_bytes += accepted_bytes
        self._queued_bytes = queued
        self.largest_queue_bytes = largest
        self.received += len(batch)
        self.dropped += len(batch) - len(out)
        return out

    def waiting(self, now: float) -> float:
        """Seconds for which a packet that comes at `now` waits until its first bit leaves."""
        return max(0.0, self._free_at - now)

    def counters(self) -> dict[str, int]:
        return {
            **super().counters(),
            "passed_bytes": self.passed_bytes,
            "largest_queue_bytes": self.largest_queue_bytes,
        }


class Rebind(Node):
    """A NAT that from `at` (seconds) on shows the sender under another `address`.

    Until `at` it is transparent. Its `reverse` belongs into the way back and undoes the change; after `at`
    packets to the old address find no mapping there and are lost.
    """

    def __init__(self, at: float, address: Address) -> None:
        super().__init__()
        self.at = at
        self.address = address
        self.inside: Address | None = None
        self.rebound = 0
        self.reverse: Final = RebindReverse(self)

    def process(self, batch: Batch) -> Batch:
        self.received += len(batch)
        self.inside = batch[0][1].source
        at, address = self.at, self.address
        if not any(time >= at for time, _ in batch):
            return batch
        self.rebound += sum(time >= at for time, _ in batch)
        return [item if item[0] < at else (item[0], item[1]._replace(source=address)) for item in batch]

    def counters(self) -> dict[str, int]:
        return {**super().counters(), "rebound": self.rebound}


class RebindReverse(Node):
    """The other direction of a `Rebind`: packets to its address go to the host inside."""

    def __init__(self, rebind: Rebind) -> None:
        super().__init__()
        self._rebind = rebind

    def process(self, batch: Batch) -> Batch:
        self.received += len(batch)
        rebind = self._rebind
        kept: Batch = []
        for time, datagram in batch:
            if datagram.destination == rebind.address:
                if rebind.inside is not None and time >= rebind.at:
                    kept.append((time, datagram._replace(destination=rebind.inside)))
            elif time < rebind.at:
                kept.append((time, datagram))
        self.dropped += len(batch) - len(kept)
        return kept


class Filter(Node):
    """Ask `function(time, datagram)` about each packet.

    False drops it, True passes it, a Datagram goes on in its place. The function is asked when the
    clock is at `time`, in order of time.
    """

    needs_order = True
    needs_clock = True

    def __init__(self, function: Callable[[float, Datagram], bool | Datagram]) -> None:
        super().__init__()
        self.function = function

    def process(self, batch: Batch) -> Batch:
        kept: Batch = []
        for time, datagram in batch:
            verdict = self.function(time, datagram)
            if isinstance(verdict, Datagram):
                kept.append((time, verdict))
            elif verdict:
                kept.append((time, datagram))
        self.received += len(batch)
        self.dropped += len(batch) - len(kept)
        return kept


class Tap(Node):
    """Show each packet to `function(time, datagram)` when the clock is at `time`, and pass it on."""

    needs_order = True
    needs_clock = True

    def __init__(self, function: Callable[[float, Datagram], object]) -> None:
        super().__init__()
        self.function = function

    def process(self, batch: Batch) -> Batch:
        self.received += len(batch)
        for time, datagram in batch:
            self.function(time, datagram)
        return batch
