"""The deepest queue that a path has shown, and whether to believe that it has one.

What is lost while the queue is short is put down to the path itself. That is right only where a queue can be seen: a
policer drops what exceeds a rate and delays nothing, and ACKs that some host held back look like a queue. On a path of
100 Mbit/s and 50 ms with room for 20 packets one such ACK was believed for good, what overflowed was taken for the
path's own loss and made up for, and 70 % of what was sent was dropped; two and four flows that met several a second
still were three quarters too many at 20 Mbit/s. A queue lasts, what was held up comes at once: only a delay that lasted
is noted (`rounds`). A path whose RTT rises for a while has such a delay without a queue, and what follows tells.

Knows: the longest delay above the RTT without a queue, and how much of what was sent arrived since the queue is short.
Refuses to know: how windows move, and what follows.

    note         O(1)    a round's longest delay that lasted
    depth        O(1)    how deep it was, by the RTT without a queue as it is known now
    is_deep      O(1)    whether the path has shown a queue that can be told from what RTTs waver by, and is believed
    passes       O(1)    whether it has, but that passes for path from now on
    disproves    O(1)    take a round; whether it shows that there is no such queue
    lengthen     O(1)    the path is longer, its queue as before
    take_back    O(1)    what was lost arrived after all
    restart      O(1)    the next rounds can't be compared with those before
    fade         O(1)    believe what was disproved a little sooner

What is sent beyond what arrived before must either arrive or stand in the queue. Where a quarter more is sent in a
round trip, less than four tenths of that arrive, and still there is hardly a queue, it is dropped for being too much: a
path's own losses take the same part of more, and where they begin fewer arrive. Afterwards only a queue twice as deep
is believed, until that has faded.

Source: own.
"""

from __future__ import annotations

from typing import Final

from rudp.congestion.rounds import INFINITY

SHORT: Final = 1 / 8
SHORT_MOST: Final = 0.0015
"""A queue of so small a part of the deepest and of so many seconds is short, too, however little a flow is to hold: of
20 packets at 100 Mbit/s 1.2 ms stand. With the part alone flows took what a link had shown at an eighth of its rate for
no queue as soon as the path's own loss grew by a quarter, and had a hundredth of it left."""
DEEP: Final = 1 / 8
DEEP_GRAIN: Final = 0.003
"""A queue that was 1/8 base RTT and 3 ms deep doesn't overflow at half of that."""
MORE: Final = 0.25
PAID: Final = 0.4
"""Part by which what is sent has to grow to be judged, and part of that which has to arrive."""
FEWER: Final = 0.95
"""What arrives got less though no less is sent: the path loses more than before, and all is compared with that."""
ROUNDS: Final = 4
DOUBT: Final = 0.001
"""So many rounds at least are compared with others before, and so many that chance makes 3 % of what arrives (the
square of that is DOUBT), 4.5 % of the ratio of both: a third of what MORE is beyond what has to be PAID."""
PASSES: Final = 0.5
"""A deep queue passes once no more than this part of it isn't path: one hardly deep is deep no more where a base RTT
wavers by a tenth of it. At 10 Mbit/s and 50 ms with room for a quarter of a BDP 10 ms are just deep, and the path's own
loss, known for twelve seconds, was believed no more: with 10 % a flow had two fifths of the link."""
AGAIN: Final = 2.0
FADED: Final = 0.9
"""Twice as deep a queue is believed again, or one like that when it has faded at seven drains, three seconds apart or
twenty round trips."""


class SeenQueue:
    """Times in seconds, amounts in bytes."""

    # fmt: off
    __slots__ = (
        "_acked", "_acked_least", "_arrived", "_base", "_disproved", "_lost", "_lost_least", "_rounds", "_rounds_least",
        "_sent", "deepest",
    )
    # fmt: on

    deepest: float
    _disproved: float

    def __init__(self) -> None:
        self.deepest, self._disproved, self._base = 0.0, 0, INFINITY
        self.restart()

    @property
    def least(self) -> tuple[int, int, int]:
        """What arrived of some rounds, what was lost and how many, of those that lost the smallest part of all."""
        return self._acked_least, self._lost_least, self._rounds_least

    def restart(self) -> None:
        """Compare nothing that came before with what comes."""
        self._sent = self._arrived = 0
        self._rounds = self._acked = self._lost = 0
        self._acked_least = self._lost_least = self._rounds_least = 0

    def note(self, delay: float, base: float) -> None:
        """A round's longest delay above `base`, the RTT without a queue, of those that lasted."""
        if delay > self.depth(base):
            self.deepest, self._base = delay, base

    def lengthen(self, deepest: float, base: float) -> None:
        """The path has become longer, and has the queue that was seen before."""
        self.deepest, self._base = deepest, base

    def take_back(self, spurious: int) -> None:
        """So much of what was counted as lost arrived after all."""
        spurious = min(spurious, self._lost)
        self._lost -= spurious
        self._acked += spurious

    def fade(self) -> None:
        """Some seconds later what was disproved counts a little less."""
        if self._disproved:  # or each idle controller would hold a float for it
            self._disproved *= FADED

    def depth(self, base: float) -> float:
        """How deep the deepest was above `base`, the RTT without a queue: less than then if that has risen."""
        return self.deepest - base + self._base if base > self._base else self.deepest

    def is_deep(self, base: float) -> bool:
        """Whether the path has shown a queue that can be told; `base`: the RTT without one."""
        return self._tells(self.depth(base), base)

    def passes(self, base: float) -> bool:
        """Whether most of what was deep is path by this base RTT, as others keep it filled; that is said once."""
        if self.depth(base) > PASSES * self.deepest or not self._tells(self.deepest, base) or self.is_deep(base):
            return False
        self.deepest, self._base = max(self.depth(base), 0.0), base
        return True

    def _tells(self, delay: float, base: float) -> bool:
        return delay > max(DEEP * base + DEEP_GRAIN, AGAIN * self._disproved)

    def disproves(self, acked: int, lost: int, packet: int, base: float, queue: float, *, is_short: bool) -> bool:
        """Take a round of the window's; `packet`: bytes of one; `base`: the RTT without a queue; `queue`: what it met
        on average; `is_short`: that is less than half of what a flow is to hold.
        """
        is_short = is_short or queue < min(SHORT * self.depth(base), SHORT_MOST)
        if not (is_short and self.is_deep(base)):
            self.restart()
            return False
        self._rounds += 1
        self._acked += acked
        self._lost += lost
        if self._rounds < ROUNDS or self._lost * packet > DOUBT * (self._acked + self._lost) * self._acked:
            return False
        sent, arrived = (self._acked + self._lost) // self._rounds, self._acked // self._rounds
        if self._lost * self._acked_least <= self._lost_least * self._acked or not self._acked_least:
            self._acked_least, self._lost_least, self._rounds_least = self._acked, self._lost, self._rounds
        self._rounds = self._acked = self._lost = 0
        more = sent / self._sent - 1.0 if self._sent else -1.0
        fewer = arrived <= FEWER * self._arrived
        if 0.0 <= more < MORE and not fewer:
            return False
        in_vain = more >= MORE and not fewer and arrived < (1.0 + PAID * more) * self._arrived
        self._sent, self._arrived = sent, arrived
        if in_vain:
            self._disproved, self.deepest, self._base = self.depth(base), 0.0, base
        return in_vain
