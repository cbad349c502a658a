"""How much a path loses though it isn't full, and whether a round lost more than that explains.

Knows: bytes acknowledged and lost in rounds that could not have overflowed a queue, and by which base RTT that was
said. Refuses to know: which rounds those are, and what to do about the others.

    add         O(1)    count a round that met no congestion
    trust       O(1)    believe more of it
    doubt       O(1)    believe less of it
    check       O(1)    forget what a round disproves
    follow      O(1)    forget what was lost while the base RTT was thought to be longer
    exceeds     O(1)    whether a round lost significantly more than this path does by itself
    adds_up     O(1)    whether some rounds together did, though none of them
    answered    O(1)    that was congestion, and is answered: the next ones anew

The estimate is a mean that forgets; the test is one of a Poisson count against it, so that one rule serves rounds
of ten packets and of ten thousand. Source: own.
"""

from __future__ import annotations

from math import log, sqrt
from typing import Final

from rudp.congestion.rounds import CALM, GRAIN, INFINITY

MEMORY_PACKETS: Final = 4_000
"""Packets over which the loss is averaged: 1 % is known to within a fifth of itself."""
PRIOR_PACKETS: Final = 10
"""Packets assumed not lost before any was counted: a short round doesn't make a background."""
MAXIMUM: Final = 0.6
"""No path is believed to lose more than this by itself."""

UNTRUSTED: Final = 0.1
UNTRUSTED_FEW: Final = 0.02
UNSEEN: Final = 0.25
"""Nor more than these where the queue is too short to be seen: of rounds of more than FEW packets, or half as many if
drains agree on the base RTT; of others (the threshold of draft-ietf-ccwg-bbr); where cuts are in vain. Many flows that
overflow a queue lose as if at random, and what each made up for, all would lose: with 10 % for all, sixteen who came
within two seconds to 100 Mbit/s and 10 ms, and took the full queue for the path's RTT, had 38 % dropped for good."""
FEW: Final = 96
ROUNDS: Final = 8
"""Rounds of so few packets are judged together, too: of 20 each may lose five by chance, but not eight in a row."""
TOLERANCE: Final = 0.01
DEVIATIONS: Final = 4.0
"""Loss above the background that a round may have: 1 %, and what chance does once in ten thousand rounds."""
SPARE_PACKETS: Final = 2
"""Nor do two packets make congestion where nobody competes."""
LUCK: Final = 6.6
"""How little a round may have lost by luck, once in 700 times at most: e to the power of this is Chernoff's bound on a
Poisson count. 67 packets that were to lose 10 % must have lost none; three deviations below seven are less."""
WARY: Final = 2.0
SHORT: Final = 24
"""So many deviations of the loss that is tolerated in a round of less than so many packets, where the background isn't
known yet. Of a path that loses 20 % one round of 19 packets in forty loses eight, and a flow whose start ended there
had a dozen packets under way for seconds. In longer ones a policer's overflow, a third, would be taken for chance."""


class BackgroundLoss:
    """The share of packets a path loses by itself. All amounts in bytes."""

    __slots__ = ("_acked", "_base", "_late_acked", "_late_lost", "_lost", "_most", "_rounds", "share")

    share: float
    """0 to MAXIMUM, or to what is believed without a queue that was seen."""

    def __init__(self) -> None:
        self._acked = self._lost = 0.0
        self._most = UNTRUSTED_FEW
        self._base = INFINITY
        self.share = 0.0
        self.answered()

    def trust(self, most: float = MAXIMUM) -> None:
        """Believe values up to `most`: the path has a queue that can be seen to be empty."""
        self._most = max(self._most, most)

    def doubt(self, packet: int) -> None:
        """Believe no more than of a path without such a queue."""
        self._most = UNTRUSTED_FEW
        self._update(packet)

    def add(self, acked: int, lost: int, packet: int, *, rounds: int = 1) -> None:
        """Count what a round without congestion brought, or so many."""
        if acked + lost > rounds * FEW * packet:
            self.trust(UNTRUSTED)
        self._acked += acked
        self._lost += lost
        self._update(packet)

    def counted(self, packet: int) -> float:
        """The share of what was counted, trusted or not, up to MAXIMUM."""
        return min(self._lost / (self._acked + self._lost + PRIOR_PACKETS * packet), MAXIMUM)

    def take_back(self, spurious: float, packet: int) -> None:
        """Count bytes as received that were counted as lost."""
        self._lost = max(self._lost - spurious, 0.0)
        self._update(packet)

    def check(self, acked: int, lost: int, packet: int) -> None:
        """Forget all if a round with half the flight lost significantly less: what was counted was overflow."""
        expected, few = self.share * (acked + lost) / packet, lost / packet
        if few < expected and expected - few + (few * log(few / expected) if few else 0.0) > LUCK:
            self._acked = self._lost = 0.0

    def follow(self, base: float, packet: int, *, begins: bool) -> None:
        """Where the RTT without a queue, `base` in seconds, is found shorter than while rounds were counted, what they
        lost may have been overflow: they had a queue, and are forgotten. `begins`: counting does now.
        """
        if begins or self._base == INFINITY or base > self._base * CALM + GRAIN:
            self._base = base
        elif self._base > base * CALM + GRAIN:
            self._base, self._most = base, UNTRUSTED_FEW
            self._acked = self._lost = 0.0
            self._update(packet)

    def adds_up(self, acked: int, lost: int, packet: int) -> bool:
        """Take a round that chance explains; True if it is the last of some that it doesn't explain together."""
        self._late_acked += acked
        self._late_lost += lost
        self._rounds += 1
        if self._rounds < ROUNDS:
            return False
        acked, lost = self._late_acked, max(self._late_lost - SPARE_PACKETS * packet, 0)
        self.answered()
        # A window that has fallen had rounds of more, which tell by themselves.
        few = acked + lost <= ROUNDS * FEW * packet
        return few and self.exceeds(acked, lost, packet, tolerance=TOLERANCE, deviations=DEVIATIONS)

    def answered(self) -> None:
        """Judge no rounds together with those until now."""
        self._late_acked = self._late_lost = self._rounds = 0

    def _update(self, packet: int) -> None:
        self.share = min(self.counted(packet), self._most)
        if self._acked + self._lost > MEMORY_PACKETS * packet:
            self._acked /= 2
            self._lost /= 2

    def exceeds(
        self, acked: int, lost: int, packet: int, *, tolerance: float, deviations: float, wary: bool = False
    ) -> bool:
        """Whether a round lost more than the background, `tolerance` (a share) and chance explain.

        The background is uncertain too: its own deviation counts as the round's. `wary`: in a short round what is
        tolerated may be the path's own loss, to which chance adds.
        """
        total = (acked + lost) / packet
        known = (self._acked + self._lost) / packet + PRIOR_PACKETS
        expected = self.share * total
        variance = expected * (1.0 - self.share) * (1.0 + total / known)
        # Small counts are skewed: what chance may do to a mean of nearly none is one packet, at three deviations.
        skew = deviations / 3.0 if variance > 0.0 else 0.0
        luck = WARY * sqrt(tolerance * (1.0 - tolerance) * total) if wary and total < SHORT else 0.0
        return lost / packet > expected + tolerance * total + luck + deviations * sqrt(variance) + skew
