"""The network between the two sides of `test_connection_pair`: what becomes of each packet, told if somebody listens.

Knows: the weather of each side, whether a packet has control frames, which packets arrive whole.
Refuses to know: what the packets do there. O(1) a packet, but for the story.
"""

from __future__ import annotations

from random import Random

from hypothesis.control import current_build_context

from rudp import wire
from rudp.testing import Story, in_words
from tests.core_pair import Datagram

__all__ = ["DELAY", "SIDES", "SKIES", "Network", "Weather"]

SIDES = ("client", "server")
# Seconds one way while nothing else is drawn.
DELAY = 0.01
# What weather there is: the mildest first.
SKIES: list[dict[str, float]] = [
    {},
    {"loss": 0.1},
    {"loss": 0.5},
    {"late": 0.6},
    {"duplicate": 0.3, "late": 0.2},
    {"corrupt": 0.1},
    {"delay": 0.15},
    {"delay": 0.001, "loss": 0.1},
    {"loss": 0.4, "late": 0.6, "duplicate": 0.3},
    {"loss": 0.3, "late": 0.3},
]


class Weather:
    """What the network does to packets of one side: chances, a silence, and how many it loses next."""

    def __init__(
        self,
        *,
        loss: float = 0.0,
        duplicate: float = 0.0,
        corrupt: float = 0.0,
        late: float = 0.0,
        delay: float = DELAY,
    ) -> None:
        self.loss, self.duplicate, self.corrupt, self.late, self.delay = loss, duplicate, corrupt, late, delay
        self.silent = False
        self.lose_next = self.lose_control = 0


class Network:
    """What becomes of datagrams, by a seed of its own."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        # Told only where hypothesis runs its final example, as it takes time.
        self.story = Story() if current_build_context().is_final else None
        self.weather = {side: Weather() for side in SIDES}
        # DATA packets of each side of which a whole copy arrived or will.
        self.whole = {"client": 0, "server": 0}

    def fate(self, datagram: Datagram) -> list[tuple[float, bytes]]:
        """What becomes of a datagram, and a line of the story."""
        found = self.drawn(datagram)
        if datagram.is_data and any(data == datagram.data for _, data in found):
            self.whole[datagram.sender] += 1
        if self.story is not None:
            ways = [
                f"arrives {datagram.time + delay:.6f}{' CORRUPTED' * (data != datagram.data)}" for delay, data in found
            ]
            line = f"{datagram.sender}: {in_words(datagram.data)} ({len(datagram.data)} B)   "
            self.story.note(f"{line}[{'; '.join(ways) or 'LOST'}]", datagram.time)
        return found

    def drawn(self, datagram: Datagram) -> list[tuple[float, bytes]]:
        draw, weather = self.random.random, self.weather[datagram.sender]
        if weather.silent or draw() < weather.loss:
            return []
        if weather.lose_next:
            weather.lose_next -= 1
            return []
        if weather.lose_control and _has_control(datagram):
            weather.lose_control -= 1
            return []
        delay = weather.delay
        if draw() < weather.late:
            delay += draw() * 0.1
        data = datagram.data
        if draw() < weather.corrupt:
            at = self.random.randrange(len(data))
            data = data[:at] + bytes([data[at] ^ (1 << self.random.randrange(8))]) + data[at + 1 :]
        copies = [(delay, data)]
        if draw() < weather.duplicate:
            copies.append((delay + draw() * 0.03, data))
        return copies

    def heal(self) -> None:
        self.weather = {side: Weather() for side in SIDES}

    def tell(self, text: str, time: float) -> None:
        if self.story is not None:
            self.story.note(f"    {text}", time)


def _has_control(datagram: Datagram) -> bool:
    frames = datagram.frames(overhead=4)
    return any(not isinstance(frame, wire.Ack | wire.Stream | wire.Ping) for frame in frames)
