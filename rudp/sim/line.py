"""Lines with a queue: what is sent over them leaves at a rate, or when a frozen link thaws, or finds no room.

Knows: sizes, when the line is free, how much waits, when rates change and links are frozen.
Refuses to know: hosts, routes, events, what packets hold. Queue management by CoDel is in `codel`.

A packet's fate hangs on those that came before it and on the schedule alone, so both nodes work ahead of the clock.
Cost: a loop over packets, a few steps each; a packet during whose sending the rate changes, a step a change.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from math import inf
from typing import Final

from rudp.errors import ConfigurationError
from rudp.sim.node import IP_UDP_OVERHEAD, Batch, Node, Windows, in_bounds

__all__ = ["Freeze", "Rate"]

_FASTEST: Final = 1e15
# Bytes that every packet has which a line is given with more than what it sends (`overhead` below 0): a device's own.
LEAST_PACKET: Final = 20


class Rate(Node):
    """A line of `bytes_per_second` behind a finite first-in, first-out queue that drops what doesn't fit.

    Sizes are those of IP packets: payload plus `overhead` (below 0 if packets come with what isn't sent, 20 bytes at
    most). The queue holds at most `queue_bytes` and `queue_packets` (None: no such limit), the packet on the line
    included until its last bit has left; a packet that finds the queue empty is always taken.

    `changes` are pairs of a time (seconds on the virtual clock, ascending) and the rate from then on, 0 for a
    line that stands still; the last may not be 0. What of a packet has not left yet goes on at the new rate.
    """

    needs_order = True

    def __init__(
        self,
        bytes_per_second: float,
        queue_bytes: int | None = None,
        queue_packets: int | None = None,
        *,
        overhead: int = IP_UDP_OVERHEAD,
        changes: Sequence[tuple[float, float]] = (),
    ) -> None:
        super().__init__()
        self.bytes_per_second = in_bounds("bytes_per_second", bytes_per_second, 1e-3, _FASTEST)
        self.queue_bytes = in_bounds("queue_bytes", inf if queue_bytes is None else queue_bytes, 0, inf)
        self.queue_packets = in_bounds("queue_packets", inf if queue_packets is None else queue_packets, 1, inf)
        self.overhead = int(in_bounds("overhead", overhead, -LEAST_PACKET, 65_535))
        self.keeps_time = False
        self.passed_bytes = 0
        self.largest_queue_bytes = 0
        # Of the packets in the queue, behind some that are known to have left it: when the last bit leaves, and how
        # many bytes had been taken with it. How many those are that have left, and what had been taken with the last.
        self._leaves: list[float] = []
        self._taken: list[int] = []
        self._head = self._gone_bytes = 0
        self._look_up_to(0)
        self._free_at = -inf
        self._pieces = _pieces(bytes_per_second, changes)
        self._piece = 0  # the one in which the line is free
        self._seconds_per_byte = 0.0 if changes else 1.0 / bytes_per_second  # 0: it changes

    def process(self, batch: Batch) -> Batch:
        leaves, taken = self._leaves, self._taken
        passed, free_at, room_up_to = self.passed_bytes, self._free_at, self._room_up_to
        overhead, seconds_per_byte = self.overhead, self._seconds_per_byte
        self.received += len(batch)
        out: Batch = []
        for time, datagram in batch:
            size = len(datagram[0]) + overhead
            if free_at <= time:
                free_at = time
                leaves.clear()
                taken.clear()
                self._head = 0
                room_up_to = self._look_up_to(passed)
            if passed + size > room_up_to:
                if not self._finds_room(time, passed, size):
                    self.dropped += 1
                    continue
                room_up_to = self._room_up_to
            passed += size
            free_at = free_at + size * seconds_per_byte if seconds_per_byte else self._finish(free_at, size)
            leaves.append(free_at)
            taken.append(passed)
            out.append((free_at, datagram))
        self._free_at = free_at
        self.passed_bytes = passed
        return out

    def _look_up_to(self, gone: int) -> float:
        """All that was taken up to `gone` has left the queue: up to where what waits needn't be looked at."""
        self._gone_bytes = gone
        largest, most = self.largest_queue_bytes, self.queue_bytes
        # Up to the largest so far what waits matters to nobody, so what has left is not taken out.
        self._room_up_to = -1 if self.queue_packets < inf else gone + (largest if largest < most else most)
        return self._room_up_to

    def _finds_room(self, time: float, passed: int, size: int) -> bool:
        """Whether the queue takes `size` bytes more at `time`; `passed` were taken so far."""
        leaves, taken, head = self._leaves, self._taken, self._head
        left = bisect_right(leaves, time, head)
        if left > head:
            head, self._gone_bytes = left, taken[left - 1]
            if 2 * head > len(leaves):  # or each packet would move the whole queue
                del leaves[:head], taken[:head]
                head = 0
            self._head = head
        waiting, with_it = len(leaves) - head, passed - self._gone_bytes + size
        taken_in = not waiting or (with_it <= self.queue_bytes and waiting < self.queue_packets)
        if taken_in and with_it > self.largest_queue_bytes:
            self.largest_queue_bytes = with_it
        self._look_up_to(self._gone_bytes)
        return taken_in

    def _finish(self, start: float, size: int) -> float:
        """When the last bit of `size` bytes leaves whose first leaves at `start`, which never goes back."""
        pieces = self._pieces
        while pieces[self._piece + 1][0] <= start:
            self._piece += 1
        index = self._piece
        left: float = size
        while True:
            seconds_per_byte = pieces[index][1]
            stop = pieces[index + 1][0]
            end = start + left * seconds_per_byte
            if end <= stop:
                return end
            left -= (stop - start) / seconds_per_byte
            start = stop
            index += 1

    def waiting(self, now: float) -> float:
        """Seconds for which a packet that comes at `now` waits until its first bit leaves."""
        start = max(now, self._free_at)
        for (_, seconds_per_byte), (stop, _) in pairwise(self._pieces):
            if start < stop:
                if seconds_per_byte < inf:
                    break
                start = stop
        return start - now

    def queued(self, now: float) -> tuple[int, int]:
        """Packets and bytes that are in the queue at `now`, the packet on the line included."""
        left = bisect_right(self._leaves, now, self._head)
        gone = self._taken[left - 1] if left > self._head else self._gone_bytes
        return len(self._leaves) - left, self.passed_bytes - gone

    def counters(self) -> dict[str, int]:
        return {
            **super().counters(),
            "passed_bytes": self.passed_bytes,
            "largest_queue_bytes": self.largest_queue_bytes,
        }


def _pieces(rate: float, changes: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Where each rate begins and its seconds a byte (inf: none moves), then an end that is never reached."""
    pieces = [(-inf, 1.0 / rate)]
    latest = -inf
    for at, value in changes:
        if not latest < at < inf:
            raise ConfigurationError(f"times of changes must ascend, but {at} comes after {latest}")
        latest = at
        seconds_per_byte = 1.0 / in_bounds("a changed rate", value, 1e-3, _FASTEST) if value else inf
        if seconds_per_byte != pieces[-1][1]:
            pieces.append((at, seconds_per_byte))
    if pieces[-1][1] == inf:
        raise ConfigurationError("the last of the changes stops the line for ever; Outage(start, inf) does that")
    return [*pieces, (inf, 0.0)]


class Freeze(Node):
    """A link that stands still from `start` up to, not including, `stop` (seconds on the virtual clock).

    What comes meanwhile waits, at most `queue_bytes` and `queue_packets` of it (None: no such limit), and leaves
    at `stop`, in order and at once; what finds no room is dropped. With `every` that happens again each so many
    seconds, `times` times in all (None: for ever). Sizes are those of IP packets: payload plus `overhead`.
    """

    needs_order = True

    def __init__(
        self,
        start: float,
        stop: float,
        queue_bytes: int | None = None,
        queue_packets: int | None = None,
        *,
        every: float | None = None,
        times: int | None = None,
        overhead: int = IP_UDP_OVERHEAD,
    ) -> None:
        super().__init__()
        self.windows = Windows(start, stop, every, times, latest_stop=1e9)
        self.queue_bytes = in_bounds("queue_bytes", inf if queue_bytes is None else queue_bytes, 0, inf)
        self.queue_packets = in_bounds("queue_packets", inf if queue_packets is None else queue_packets, 0, inf)
        self.overhead = int(in_bounds("overhead", overhead, 0, 65_535))
        self.keeps_time = False
        self.held = 0
        self._until = -inf
        self._waiting_bytes = 0
        self._waiting = 0

    def process(self, batch: Batch) -> Batch:
        self.received += len(batch)
        stop_after = self.windows.stop_after
        if stop_after(batch[0][0]) is None and self.windows.next_start(batch[0][0]) > batch[-1][0]:
            return batch
        out: Batch = []
        for item in batch:
            stop = stop_after(item[0])
            if stop is None:
                out.append(item)
            elif self._finds_room(stop, len(item[1][0]) + self.overhead):
                out.append((stop, item[1]))
        self.dropped += len(batch) - len(out)
        return out

    def _finds_room(self, stop: float, size: int) -> bool:
        if stop != self._until:
            self._until = stop
            self._waiting = self._waiting_bytes = 0
        if self._waiting_bytes + size > self.queue_bytes or self._waiting >= self.queue_packets:
            return False
        self._waiting += 1
        self._waiting_bytes += size
        self.held += 1
        return True

    def counters(self) -> dict[str, int]:
        return {**super().counters(), "held": self.held}
