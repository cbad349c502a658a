"""A line whose queue CoDel manages (RFC 8289): it drops, or marks, packets that wait too long for too long.

Knows: CoDel's law, when each packet is taken from the queue, which verdicts are still open.
Refuses to know: hosts, routes, events; where packets go (each carries its `Onward`).

CoDel decides when a packet is taken from the queue. When that is follows from the packets before it: the queue is
first in, first out, and the line's rate is known. How long it has waited then is known as well. One thing that CoDel
asks comes later than the packet itself: whether more than one MTU waits behind it at that instant. In such a queue
what waits behind a packet only grows until it is taken, so the verdict is known as soon as there is more than that,
or the wait is below the target. Only the last few packets of the queue stay open, until something follows them or
the clock is at their turn (`due`). So a batch is decided ahead of the clock, and yet all is exactly as if each
decision was made at its instant; tests hold it against a queue that does that.

Where a packet comes at the very instant at which another is taken, the other is taken first, as `Rate` has it.

Cost: a loop over packets; one event for each time that the queue runs low, at most one for each packet.
Sources: RFC 8289 section 5.5 and 5.6 (pseudocode); RFC 8290 section 4.2 and Linux include/net/codel_impl.h for marking
in place of dropping, where a mark ends the run of drops at one instant.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import inf, sqrt
from typing import Final

from rudp.sim.line import Rate
from rudp.sim.node import IP_UDP_OVERHEAD, Batch, Datagram, HoldingNode, Onward, Released, in_bounds

__all__ = ["CoDel"]

# ECN codepoints (RFC 3168 section 5): 0 is not ECT, 3 is CE.
_NOT_ECT: Final = 0
_CE: Final = 3
# How soon after the last drop dropping goes on where it left off, in intervals (RFC 8289 section 5.5).
_MEMORY: Final = 16


class _Law:
    """The state of RFC 8289 section 5.3, asked once for each packet taken from the queue, in order."""

    __slots__ = (
        "_count",
        "_drop_next",
        "_dropping",
        "_first_above",
        "_in_a_run",
        "_interval",
        "_last_count",
        "_mtu",
        "_target",
    )

    def __init__(self, target: float, interval: float, mtu: int) -> None:
        self._target = target
        self._interval = interval
        self._mtu = mtu
        self._first_above: float | None = None
        self._drop_next = -inf
        self._count = self._last_count = 0
        self._dropping = False
        self._in_a_run = False  # the packet before, taken at the same instant, was dropped while dropping

    def signals(self, now: float, waited: float, behind: int, marks: bool) -> bool:
        """Whether the packet taken at `now` is dropped (or marked, if that is how the packet `marks`)."""
        above = self._is_above(now, waited, behind)
        in_a_run, self._in_a_run = self._in_a_run, False
        if not self._dropping:
            return above and self._enter(now)
        if not above:
            self._dropping = False
            return False
        if in_a_run:
            self._drop_next = self._next(self._drop_next)
        if now < self._drop_next:
            return False
        self._count += 1
        if marks:
            self._drop_next = self._next(self._drop_next)
        self._in_a_run = not marks
        return True

    def _is_above(self, now: float, waited: float, behind: int) -> bool:
        if waited < self._target or behind <= self._mtu:
            self._first_above = None
            return False
        if self._first_above is None:
            self._first_above = now + self._interval
            return False
        return now >= self._first_above

    def _enter(self, now: float) -> bool:
        self._dropping = True
        delta = self._count - self._last_count
        recently = now - self._drop_next < _MEMORY * self._interval
        self._count = self._last_count = delta if delta > 1 and recently else 1
        self._drop_next = self._next(now)
        # The packet that takes the place of one dropped here passes: the next drop is later than now.
        return True

    def _next(self, time: float) -> float:
        return time + self._interval / sqrt(self._count)


class CoDel(Rate, HoldingNode):
    """A `Rate` whose queue is managed by CoDel (RFC 8289).

    Once packets have waited for `target` seconds or more throughout an `interval`, packets are dropped as they
    are taken from the queue, ever more often, until one has waited less than `target` or no more than `mtu`
    bytes wait behind it. With `ecn` packets that are ECT are marked CE in place of that (RFC 3168). What finds
    the queue full is dropped as by `Rate`.
    """

    def __init__(
        self,
        bytes_per_second: float,
        queue_bytes: int | None = None,
        queue_packets: int | None = None,
        *,
        target: float = 0.005,
        interval: float = 0.1,
        ecn: bool = True,
        mtu: int = 1_500,
        overhead: int = IP_UDP_OVERHEAD,
        changes: Sequence[tuple[float, float]] = (),
    ) -> None:
        super().__init__(bytes_per_second, queue_bytes, queue_packets, overhead=overhead, changes=changes)
        self.target = in_bounds("target", target, 0.0, 1e9)
        self.interval = in_bounds("interval", interval, 1e-9, 1e9)
        self.mtu = int(in_bounds("mtu", mtu, 0, 65_535))
        self.ecn = ecn
        self.marked = 0
        self.dropped_by_codel = 0
        self._law = _Law(self.target, self.interval, self.mtu)
        # When the last bit of each packet in the queue leaves whose verdict is known, or it was dropped, and its size.
        self._queue: deque[tuple[float, int]] = deque()
        self._queued_bytes = 0
        # Packets with an open verdict: when they came, size, packet, where it goes. The first is taken at _free_at.
        self._open: deque[tuple[float, int, Datagram, Onward]] = deque()
        self._open_bytes = 0

    @property
    def due(self) -> float:
        return self._free_at if self._open else inf

    def process(self, batch: Batch) -> Batch:
        return HoldingNode.process(self, batch)

    def accept(self, batch: Batch, onward: Onward) -> Released:
        out: Released = []
        queue, waiting = self._queue, self._open
        for time, datagram in batch:
            while waiting and self._free_at <= time:
                self._decide(out)
            while queue and queue[0][0] <= time:
                self._queued_bytes -= queue.popleft()[1]
            size = len(datagram[0]) + self.overhead
            if queue or waiting:
                full = self._queued_bytes + size > self.queue_bytes
                if full or len(queue) + len(waiting) >= self.queue_packets:
                    self._drop(time, datagram)
                    continue
            else:
                self._free_at = time
            waiting.append((time, size, datagram, onward))
            self._open_bytes += size
            self._queued_bytes += size
            self.largest_queue_bytes = max(self.largest_queue_bytes, self._queued_bytes)
            while waiting and self._is_known():
                self._decide(out)
        self.received += len(batch)
        return out

    def release(self, now: float) -> Released:
        out: Released = []
        while self._open and self._free_at <= now:
            self._decide(out)
        return out

    def waiting(self, now: float) -> float:
        """Seconds for which a packet that comes at `now` waits if none before it is dropped any more."""
        free_at = self._free_at
        if self._open:
            self._free_at = self._finish(free_at, self._open_bytes)
        waits = super().waiting(now)
        self._free_at = free_at
        return waits

    def queued(self, now: float) -> tuple[int, int]:
        sizes = [size for left, size in self._queue if left > now]
        return len(sizes) + len(self._open), sum(sizes) + self._open_bytes

    def _is_known(self) -> bool:
        came, size, _, _ = self._open[0]
        return self._free_at - came < self.target or self._open_bytes - size > self.mtu

    def _decide(self, out: Released) -> None:
        """Take the first open packet from the queue: drop it, or send it, marked or not."""
        came, size, datagram, onward = self._open.popleft()
        self._open_bytes -= size
        now = self._free_at
        marks = self.ecn and datagram.ecn != _NOT_ECT
        if self._law.signals(now, now - came, self._open_bytes, marks):
            if not marks:
                self._queue.append((now, size))
                self.dropped_by_codel += 1
                self._drop(now, datagram)
                return
            if datagram.ecn != _CE:
                datagram = datagram._replace(ecn=_CE)
                self.marked += 1
        self._free_at = self._finish(now, size)
        self._queue.append((self._free_at, size))
        self.passed_bytes += size
        out.append((self._free_at, datagram, onward))

    def _drop(self, time: float, datagram: Datagram) -> None:
        self.dropped += 1
        if self.drops is not None:
            self.drops.append((time, datagram))

    @property
    def passed(self) -> int:
        """Packets that went on; those whose verdict is open have not."""
        return super().passed - len(self._open)

    def counters(self) -> dict[str, int]:
        return {**super().counters(), "marked": self.marked, "dropped_by_codel": self.dropped_by_codel}
