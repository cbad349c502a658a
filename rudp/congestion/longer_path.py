"""Whether the path itself has become longer: the RTT has leapt, and stays though much less is in flight.

A delay law takes what a change of route adds for a queue, and cuts. A queue falls by that; what doesn't is the path. On
50 Mbit/s and 20 ms that became 26 a flow had 18 % of the link in the next five seconds, now 98.

Knows: the window, the RTT and the deepest queue before a leap, the level that rounds' lowest RTTs have kept since, and
how much was in flight when they came to it. Refuses to know: what a leap is, what is lost, and what follows. It lives
while a leap is watched.

    take      O(1)    the next round; whether the path is longer, or the leap over
    window    O(1)    what carries the rate of before

Who goes on has his part of the rate of before, and no more than is sure to be free: others whose path isn't longer have
taken the rest, and who holds ACKs back to have it all would get it at once.

Others may take what a flow gives up, so that the queue stays. Those of our kind give way as well while there is more
queue than they want. CUBIC does that when it comes, at first for a while and unevenly, then quite evenly when we have
next to nothing: so what counts is only what is given up soon after the leap, when it is much of what the link carries.
Where flows of each other's kind fill a queue to the brim it stays, too, and who is new there doesn't know the RTT
without it: its owner watches no leap until drains have agreed on that.

Source: own.
"""

from __future__ import annotations

from typing import Final

FLAT_LEAST: Final = 0.0012
FLAT_SHARE: Final = 1 / 16
"""Seconds, and share of the rise, by which rounds' lowest RTTs may differ: cards gather packets for a millisecond, and
one packet takes as much at 10 Mbit/s. With half a millisecond rises by 10 ms at 100 Mbit/s and 50 ms weren't told."""
LATE: Final = 2.0
SURE: Final = 2
"""Times that by which one may be longer, as a round of a small flight has few. What is longer still counts against the
level, which is given up when it has no two rounds left."""
ROUNDS: Final = 5
LESS: Final = 0.7
"""Rounds for which it stays, and part of the flight that is left meanwhile, from which on it is the path's: a queue of
one's own would be shorter by a third of the RTT."""
SOON: Final = 0.75
"""Part of the window before that must still be in flight when it comes to the level it stays at. Without, five of six
flows at 50 Mbit/s and 40 ms took CUBIC's queue for the path, when they had an eighth of the link left."""
ABOVE: Final = 1.5
"""Times what is wanted that must be queued, or those who have less than their share would be taking, not giving way."""
BEFORE: Final = 3.0
"""Times that, at most, that was queued before the leap: 120 ms of CUBIC's that became 145 were one."""


class LongerPath:
    """Times in seconds, amounts in bytes."""

    __slots__ = ("_flat", "_flight", "_is_new", "_rtt", "_window", "deepest", "level")

    level: float
    """The lowest RTT that was kept; 0 before the first round."""
    deepest: float
    """The deepest queue before the leap."""

    def __init__(self, window: float, rtt: float, deepest: float) -> None:
        """What was before the leap."""
        self._window, self._rtt, self.deepest = window, rtt, deepest
        self._flight, self._flat, self._is_new, self.level = 0, 0, True, 0.0

    def take(self, rtt: float, flight: int, base: float, wanted: float) -> bool | None:
        """A round's lowest RTT and the flight that met it. True: that is the path's, not `base`; None: it isn't.

        `wanted`: the queue that a flow is to hold. The first round's lowest RTT may still be from before the leap.
        """
        is_new, self._is_new = self._is_new, False
        if self._rtt - base > BEFORE * wanted:
            return None
        if rtt - base < ABOVE * wanted:
            return False if is_new else None
        differs = max(FLAT_LEAST, FLAT_SHARE * (self.level - base))
        is_late = rtt > self.level + LATE * differs
        if rtt < self.level - differs or (is_late and self._flat < SURE):
            self.level, self._flight, self._flat = rtt, flight, 0
            return False if flight > SOON * self._window else None
        self.level = min(self.level, rtt)
        self._flat += -1 if is_late else 1
        return self._flat >= ROUNDS and flight <= LESS * self._flight

    def window(self, base: float, flight: float) -> float:
        """What carries the rate of before, with the queue of before, over the path as it is now; `flight`: what met it
        last, of which it is what had to go to be sure at most.
        """
        return min(self._window, flight / LESS) * (1.0 + (self.level - base) / self._rtt)
