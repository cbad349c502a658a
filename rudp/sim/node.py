"""What can happen to packets on their way: small directional nodes with one interface.

Knows: for each node, what it does to a batch of packets, what it counts, and what it demands of the order.
Refuses to know: hosts, routes, events. A node is called, it never calls.

A batch is a list of (time, datagram) pairs; `process` takes one and returns the one that goes on, and owns
the list it was given. Times are when the packet gets to the node, and on return when it leaves it. Most nodes
are functions of single packets and can therefore work ahead of the clock, a whole train in one call. Those
that remember what went before declare it (`needs_order`, `needs_clock`), and `route` calls them accordingly.

Cost: random decisions with probability p are drawn as the gap to the next hit (a geometric variate), so that
a batch costs O(hits), not O(packets); Delay is one comprehension; Rate is one short loop. Every node counts
`received`, `dropped` and `duplicated` packets; `passed` = received + duplicated - dropped.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from math import inf, isnan, log, log1p
from random import Random
from typing import Final, NamedTuple, TypeAlias

from rudp.errors import ConfigurationError
from rudp.train import Address

__all__ = [
    "IP_UDP_OVERHEAD",
    "Batch",
    "Datagram",
    "HoldingNode",
    "Node",
    "Onward",
    "RandomNode",
    "Released",
    "Trials",
    "Windows",
    "in_bounds",
]

# Bytes of an IPv4 header without options (RFC 791) and a UDP header (RFC 768); IPv6 has 20 more.
IP_UDP_OVERHEAD: Final = 28
# A gap that no run gets to the end of; probabilities below 1e-15 count as 0.
_NEVER: Final = 1 << 62


class Datagram(NamedTuple):
    """One UDP datagram on its way: payload, addresses and ECN codepoint (0..3)."""

    data: bytes
    source: Address
    destination: Address
    ecn: int


Batch: TypeAlias = list[tuple[float, Datagram]]
# Where packets go from a node that several routes share.
Onward: TypeAlias = Callable[[Batch], object]
Released: TypeAlias = list[tuple[float, Datagram, Onward]]


class Node(ABC):
    """One thing that can happen to packets that travel one way."""

    # Batches must come in order of time, over all links that the node is part of.
    needs_order: bool = False
    # Batches must come when the clock is at the packets' time, neither earlier nor later.
    needs_clock: bool = False
    # What the node makes senders look like; packets to there go to the host behind it.
    addresses: Sequence[Address] = ()

    def __init__(self) -> None:
        self.keeps_order = True  # what came in order leaves in order
        self.keeps_time = True  # packets leave at the instant they came
        self.routes = 0  # how often the node occurs in the routes of its network
        self.in_use = False  # packets have passed one of them
        self.comes_and_goes = False  # it is met by what a `During` lets meet it, and part of no route itself
        self.received = 0
        self.dropped = 0
        self.duplicated = 0
        self.random = Random(0)

    @abstractmethod
    def process(self, batch: Batch) -> Batch:
        """What goes on of `batch` (not empty), and when. The list given may be changed and returned."""

    def attach(self, random: Random) -> None:
        """Take the node's own random source; called once, when the node becomes part of a network."""
        self.random = random

    @property
    def passed(self) -> int:
        """Packets that went on, copies included."""
        return self.received + self.duplicated - self.dropped

    def counters(self) -> dict[str, int]:
        """All counters by name, in packets unless the name says bytes."""
        return {
            "received": self.received,
            "passed": self.passed,
            "dropped": self.dropped,
            "duplicated": self.duplicated,
        }

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.counters()}>"


class HoldingNode(Node):
    """A node whose verdict on a packet may hang on what comes after it, so that it keeps some for a while.

    `accept` and `release` return what is decided, in order of time, each packet with the `onward` that it came
    with. `due` is when the clock must be for the next one that is kept (inf: none); then `release` is to be called.
    """

    needs_order = True

    def __init__(self) -> None:
        super().__init__()
        # Who wants to know what was dropped, and when, puts a list here.
        self.drops: Batch | None = None

    @property
    @abstractmethod
    def due(self) -> float:
        """When the clock must be for the next packet that is kept, in seconds."""

    @abstractmethod
    def accept(self, batch: Batch, onward: Onward) -> Released:
        """Take a batch (not empty) and return what is decided now, of it and of earlier ones."""

    @abstractmethod
    def release(self, now: float) -> Released:
        """What is decided because the clock is at `now` and nothing more comes before that."""

    def process(self, batch: Batch) -> Batch:
        """What is decided now, of this batch and of earlier ones."""
        return [(time, datagram) for time, datagram, _ in self.accept(batch, _nowhere)]


def _nowhere(batch: Batch) -> None:
    """Where packets go that nobody has a way for: the caller of `process` gets them."""


class Windows:
    """Spans of time, from `start` up to, not including, `stop`; again every `every` seconds, `times` in all.

    `every` None: once. `times` None: for ever.
    """

    __slots__ = ("every", "length", "start", "times")

    def __init__(
        self,
        start: float,
        stop: float,
        every: float | None = None,
        times: int | None = None,
        *,
        latest_stop: float = inf,
    ) -> None:
        self.start = in_bounds("start", start, -1e9, 1e9)
        self.length = in_bounds("stop", stop, start, latest_stop) - start
        if every is None:
            self.every, self.times = 1.0, 1.0
            if times is not None:
                in_bounds("times without every", times, 1, 1)
        else:
            self.every = in_bounds("every", every, max(self.length, 1e-9), 1e9)
            self.times = inf if times is None else in_bounds("times", times, 1, 1e15)

    def stop_after(self, time: float) -> float | None:
        """The end of the span that `time` is in, or None."""
        index = self._index(time)
        start = self.start + index * self.every
        return start + self.length if index >= 0 and start <= time < start + self.length else None

    def next_start(self, time: float) -> float:
        """When the first span begins that has not begun by `time`; inf: none."""
        index = max(0.0, self._index(time) + 1)
        return self.start + index * self.every if index < self.times else inf

    def _index(self, time: float) -> float:
        """Which span began last, by the time that each begins as reckoned elsewhere; -1: none yet."""
        index = min((time - self.start) // self.every, self.times - 1)
        # The quotient may be one off for a time next to a beginning.
        if index + 1 < self.times and self.start + (index + 1) * self.every <= time:
            return index + 1
        return index - 1 if self.start + index * self.every > time else index


def in_bounds(name: str, value: float, low: float, high: float) -> float:
    """`value`, if it is a number from `low` to `high`; else raises ConfigurationError."""
    if isnan(value) or not low <= value <= high:
        raise ConfigurationError(f"{name} is {value}, but must be from {low} to {high}")
    return value


class Trials:
    """Independent trials of one probability, drawn as gaps between successes."""

    __slots__ = ("_gap", "_random", "_scale", "probability")

    def __init__(self, probability: float) -> None:
        self.probability = probability
        self._scale = 1.0 / log1p(-probability) if 0.0 < probability < 1.0 else 0.0

    def start(self, random: Random) -> None:
        self._random = random
        self._gap = self.draw_gap()

    def draw_gap(self) -> int:
        """How many trials fail before the next that succeeds."""
        if self.probability < 1e-15:
            return _NEVER
        return int(log(1.0 - self._random.random()) * self._scale)

    def hits(self, count: int) -> Sequence[int]:
        """Which of the next `count` trials succeed, ascending."""
        position = self._gap
        if position >= count:
            self._gap = position - count
            return ()
        found = []
        while position < count:
            found.append(position)
            position += 1 + self.draw_gap()
        self._gap = position - count
        return found


class RandomNode(Node):
    """A node that does something to each packet with one probability (0..1)."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self._trials = Trials(in_bounds("probability", probability, 0.0, 1.0))

    def attach(self, random: Random) -> None:
        super().attach(random)
        self._trials.start(random)
