"""Nodes that delay, copy, change or show packets; those that only lose them are in `loss`, queues in `line`.

Knows: for each node, what it does to a batch of packets and what it counts.
Refuses to know: hosts, routes, events.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from math import inf
from random import Random

from rudp.errors import ConfigurationError
from rudp.sim.node import Batch, Datagram, HoldingNode, Node, RandomNode, Windows, in_bounds

__all__ = [
    "Corrupt",
    "Delay",
    "Duplicate",
    "During",
    "Filter",
    "Jitter",
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
        late: Batch = []  # a comprehension is a call, which most batches are too small for
        for time, datagram in batch:
            late.append((time + seconds, datagram))
        return late


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


class During(Node):
    """Let packets meet `node` that come from `start` up to, not including, `stop` (seconds on the virtual clock).

    All others pass. With `every` that happens again each so many seconds, `times` times in all (None: for ever).
    The counters of `node` count what met it. A node that keeps packets (CoDel) can't be used so, nor can one that is
    part of a link, or of another During: ConfigurationError.
    """

    def __init__(
        self, node: Node, start: float, stop: float, *, every: float | None = None, times: int | None = None
    ) -> None:
        super().__init__()
        if isinstance(node, HoldingNode):
            raise ConfigurationError(f"{node!r} keeps packets and can't come and go")
        if node.routes:
            raise ConfigurationError(f"{node!r} is part of a link and can't come and go: give During one of its own")
        if node.comes_and_goes:
            raise ConfigurationError(f"{node!r} comes and goes already: share that During, or give this one its own")
        node.comes_and_goes = True
        self.node = node
        self.windows = Windows(start, stop, every, times)
        self.needs_order, self.needs_clock = node.needs_order, node.needs_clock
        # A node that only shifts times keeps order by itself, but not against packets that don't meet it.
        self.keeps_order = node.keeps_order and node.keeps_time
        self.keeps_time = node.keeps_time
        self.addresses = node.addresses

    def attach(self, random: Random) -> None:
        super().attach(random)
        self.node.attach(random)

    def process(self, batch: Batch) -> Batch:
        self.received += len(batch)
        stop_after = self.windows.stop_after
        out: Batch = []
        for meets, items in groupby(batch, lambda item: stop_after(item[0]) is not None):
            run = list(items)
            out += self.node.process(run) if meets else run
        self.dropped, self.duplicated = self.node.dropped, self.node.duplicated
        return out


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
