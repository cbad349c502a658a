"""Nodes that lose packets and do nothing else: at random, in bursts, by size, by time.

Knows: for each node, which packets of a batch go on.
Refuses to know: hosts, routes, events, what packets hold.
"""

from __future__ import annotations

from math import inf
from random import Random

from rudp.sim.node import IP_UDP_OVERHEAD, Batch, Node, RandomNode, Trials, Windows, in_bounds

__all__ = ["BurstLoss", "GilbertElliott", "Loss", "Mtu", "Outage"]


class Loss(RandomNode):
    """Drop each packet with `probability`, independently."""

    def process(self, batch: Batch) -> Batch:
        self.received += len(batch)
        hits = self._trials.hits(len(batch))
        if hits:
            self.dropped += len(hits)
            if len(hits) == len(batch):
                return []
            for index in reversed(hits):
                del batch[index]
        return batch


class BurstLoss(Node):
    """Drop bursts of 1 to `longest` packets in a row, so that `rate` of all packets is lost on average.

    Burst lengths are uniform and at least one packet passes between two bursts, so `rate` can be at most
    m / (m + 1), where m = (longest + 1) / 2 is the mean burst.
    """

    def __init__(self, rate: float, longest: int) -> None:
        super().__init__()
        self.longest = int(in_bounds("longest", longest, 1, 1 << 30))
        mean = (self.longest + 1) / 2
        in_bounds("rate", rate, 0.0, mean / (mean + 1))
        # Packets between bursts: one, and a geometric number of mean g - 1, where g = m (1 - rate) / rate.
        extra_gap = mean * (1 - rate) / rate - 1 if rate > 0 else inf
        self._starts = Trials(1.0 / (1.0 + max(extra_gap, 0.0)))
        self._burst_left = 0
        self._gap_left = 0

    def attach(self, random: Random) -> None:
        super().attach(random)
        self._starts.start(random)
        self._gap_left = self._starts.draw_gap()

    def process(self, batch: Batch) -> Batch:
        count = len(batch)
        self.received += count
        if self._burst_left == 0 and self._gap_left >= count:
            self._gap_left -= count
            return batch
        kept: Batch = []
        position = 0
        while position < count:
            if self._burst_left:
                step = min(self._burst_left, count - position)
                self._burst_left -= step
                self.dropped += step
                if not self._burst_left:
                    self._gap_left = 1 + self._starts.draw_gap()
            else:
                step = min(self._gap_left, count - position)
                self._gap_left -= step
                kept += batch[position : position + step]
                if not self._gap_left:
                    self._burst_left = self.random.randint(1, self.longest)
            position += step
        return kept


class GilbertElliott(Node):
    """Two states, good and bad, each with its own loss (Gilbert 1960, Elliott 1963).

    Before each packet after the first the state changes with probability `to_bad` or `to_good`; the packet
    is then lost with probability `loss_good` or `loss_bad`. Mean loss with the default losses is
    to_bad / (to_bad + to_good), the mean burst 1 / to_good packets. The first packet meets the good state.
    """

    def __init__(self, to_bad: float, to_good: float, loss_good: float = 0.0, loss_bad: float = 1.0) -> None:
        super().__init__()
        self._leave = (
            Trials(in_bounds("to_bad", to_bad, 0.0, 1.0)),
            Trials(in_bounds("to_good", to_good, 0.0, 1.0)),
        )
        self._loss = (
            in_bounds("loss_good", loss_good, 0.0, 1.0),
            in_bounds("loss_bad", loss_bad, 0.0, 1.0),
        )
        self._state = 0
        self._left = 0

    @classmethod
    def from_mean(cls, loss: float, burst: float) -> GilbertElliott:
        """The model with the mean loss `loss` (0..1) and a mean burst of `burst` packets (1 or more)."""
        in_bounds("burst", burst, 1.0, 1e9)
        in_bounds("loss", loss, 0.0, burst / (burst + 1))
        # Of the largest mean loss, rounding could make more than 1.
        return cls(min(loss / (burst * (1 - loss)), 1.0), 1 / burst)

    def attach(self, random: Random) -> None:
        super().attach(random)
        for trials in self._leave:
            trials.start(random)
        self._left = 1 + self._leave[0].draw_gap()

    def process(self, batch: Batch) -> Batch:
        count = len(batch)
        self.received += count
        if self._left > count and self._loss[self._state] == 0.0:
            self._left -= count
            return batch
        kept: Batch = []
        position = 0
        while position < count:
            step = min(self._left, count - position)
            kept += self._survivors(batch[position : position + step])
            self._left -= step
            position += step
            if not self._left:
                self._state ^= 1
                self._left = 1 + self._leave[self._state].draw_gap()
        self.dropped += count - len(kept)
        return kept

    def _survivors(self, run: Batch) -> Batch:
        loss = self._loss[self._state]
        if loss == 0.0:
            return run
        draw = self.random.random
        return [] if loss == 1.0 else [item for item in run if draw() >= loss]


class Mtu(Node):
    """A black hole: drop, without a word, packets larger than `size` bytes, IP and UDP headers included.

    It is there from `start` up to, not including, `stop` (seconds on the virtual clock).
    """

    def __init__(self, size: int, *, start: float = -inf, stop: float = inf, overhead: int = IP_UDP_OVERHEAD) -> None:
        super().__init__()
        overhead = int(in_bounds("overhead", overhead, 0, 65_535))
        self.size = int(in_bounds("size", size, overhead, 65_535))
        self.start = start
        self.stop = in_bounds("stop", stop, start, inf)
        self._largest_payload = self.size - overhead

    def process(self, batch: Batch) -> Batch:
        largest = self._largest_payload
        for _, datagram in batch:
            if len(datagram[0]) > largest:
                break
        else:
            self.received += len(batch)
            return batch
        start, stop = self.start, self.stop
        kept = [item for item in batch if len(item[1][0]) <= largest or not start <= item[0] < stop]
        self.received += len(batch)
        self.dropped += len(batch) - len(kept)
        return kept


class Outage(Node):
    """Drop all packets that come from `start` up to, not including, `stop` (seconds on the virtual clock).

    With `every` that happens again each so many seconds, `times` times in all (None: for ever), as on a link that
    flaps. `Freeze` keeps the packets in place of that.
    """

    def __init__(self, start: float, stop: float, *, every: float | None = None, times: int | None = None) -> None:
        super().__init__()
        self.start = start
        self.stop = in_bounds("stop", stop, start, inf)
        self.windows = None if every is None else Windows(start, stop, every, times)

    def process(self, batch: Batch) -> Batch:
        if self.windows is None:
            start, stop = self.start, self.stop
            kept = [item for item in batch if not start <= item[0] < stop]
        else:
            stop_after = self.windows.stop_after
            kept = [item for item in batch if stop_after(item[0]) is None]
        self.received += len(batch)
        self.dropped += len(batch) - len(kept)
        return kept
