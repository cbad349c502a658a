"""What a path does to packets, as one value: drawn, printed, made simpler, and built into nodes as often as one likes.

Knows: which nodes of `rudp.sim` stand for which fault, and in which order they come; that all that is random or
broken ends at `until`, so that a protocol can be asked to be done some time after.
Refuses to know: hosts, what is sent, who draws (`strategies` with hypothesis, the swarm from a seed).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import inf
from random import Random

from rudp.errors import ConfigurationError
from rudp.sim.line import Rate
from rudp.sim.loss import GilbertElliott, Loss, Mtu, Outage
from rudp.sim.node import Node
from rudp.sim.nodes import Corrupt, Delay, Duplicate, During, Jitter, Reorder

__all__ = ["Faults"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """One direction of a path. Times in seconds, probabilities 0 to 1.

    delay, jitter: each packet takes `delay`, and up to `jitter` more, overtaking others.
    loss, burst: what share is lost, in bursts of so many packets on average; independently where `burst` is 1 or less.
    reorder, duplicate, corrupt: shares; `late` is how long a packet held back, or a copy, comes after.
    rate: bytes/s behind a queue of `queue` packets (None: unlimited, both).
    mtu: bytes of the largest IP packet (None: all sizes).
    outages: (start, stop) pairs in which nothing passes.
    until: from then on only `delay`, `rate` and `queue` are left, and `mtu`.
    """

    delay: float = 0.01
    jitter: float = 0.0
    loss: float = 0.0
    burst: float = 0.0
    reorder: float = 0.0
    duplicate: float = 0.0
    late: float = 0.02
    corrupt: float = 0.0
    rate: float | None = None
    queue: int | None = None
    mtu: int | None = None
    outages: tuple[tuple[float, float], ...] = ()
    until: float = inf

    def __post_init__(self) -> None:
        for name in ("loss", "reorder", "duplicate", "corrupt"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigurationError(f"{name}={getattr(self, name)!r}: must be from 0 to 1")
        if any(not start <= stop for start, stop in self.outages):
            raise ConfigurationError(f"outages={self.outages!r}: each must start before it stops")

    def nodes(self) -> list[Node]:
        """New nodes that do all this, for `Network.add_link`."""
        for_a_time: list[Node] = []
        if self.loss and self.burst > 1.0:
            for_a_time.append(GilbertElliott.from_mean(min(self.loss, self.burst / (self.burst + 1)), self.burst))
        elif self.loss:
            for_a_time.append(Loss(self.loss))
        if self.corrupt:
            for_a_time.append(Corrupt(self.corrupt))
        if self.duplicate:
            for_a_time.append(Duplicate(self.duplicate, self.late))
        if self.reorder:
            for_a_time.append(Reorder(self.reorder, self.late))
        if self.jitter:
            for_a_time.append(Jitter(self.jitter))
        nodes: list[Node] = []
        if self.rate is not None:
            nodes.append(Rate(self.rate, queue_packets=self.queue))
        if self.mtu is not None:
            nodes.append(Mtu(self.mtu))
        nodes += [Outage(start, min(stop, self.until)) for start, stop in self.outages if start < self.until]
        nodes += for_a_time if self.until == inf else [During(node, 0.0, self.until) for node in for_a_time]
        return [*nodes, Delay(self.delay)]

    def __str__(self) -> str:
        return ", ".join(f"{f.name} {_short(getattr(self, f.name))}" for f in fields(self) if self._says(f.name))

    def _says(self, name: str) -> bool:
        value = getattr(self, name)
        if name == "queue":
            return value is not None and self.rate is not None
        if name in ("late", "burst"):
            return bool(self.reorder or self.duplicate if name == "late" else self.loss)
        return name == "delay" or value not in (0.0, None, (), inf)

    @classmethod
    def draw(cls, random: Random, until: float, *, corrupt: bool = True) -> Faults:
        """Draw one, each fault with a chance of its own to be there at all, so that pairs of them meet alone too."""
        draw = random.random
        delay = 10 ** random.uniform(-3, 0) if draw() < 0.3 else random.choice((0.001, 0.01, 0.03))
        rate = 10 ** random.uniform(4, 7) if draw() < 0.4 else None
        product = (rate or 0.0) * delay * 2 / 1200
        return cls(
            delay=delay,
            jitter=delay * draw() * 2 if draw() < 0.3 else 0.0,
            loss=random.choice((0.01, 0.05, 0.1, 0.3)) * draw() if draw() < 0.5 else 0.0,
            burst=random.choice((0.0, 0.0, 2.0, 8.0)),
            reorder=draw() * 0.5 if draw() < 0.25 else 0.0,
            duplicate=draw() * 0.5 if draw() < 0.25 else 0.0,
            late=delay * random.choice((0.1, 1.0, 5.0)),
            corrupt=draw() * 0.1 if corrupt and draw() < 0.2 else 0.0,
            rate=rate,
            queue=None if rate is None else max(2, int(product * 4 * draw() ** 2)),
            mtu=random.randint(1228, 1500) if draw() < 0.1 else None,
            outages=_draw_outages(random, until) if draw() < 0.15 else (),
            until=until,
        )


def _draw_outages(random: Random, until: float) -> tuple[tuple[float, float], ...]:
    starts = sorted(random.uniform(0.0, until) for _ in range(random.randint(1, 3)))
    return tuple((start, start + 10 ** random.uniform(-2, 1)) for start in starts)


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, tuple):
        return " ".join(f"{start:.6g}..{stop:.6g}" for start, stop in value)
    return str(value)
