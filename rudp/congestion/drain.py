"""A drain: how little is kept in flight, for how long, and what RTTs that met.

Knows: the part of the path that is given up, and the samples since the drain before. Refuses to know: when one is due
(`base_rtt`), what rounds are, and what follows from what was met.

    begin     O(1)    the next one: how many bytes may stay in flight
    reached   O(1)    no more than that is in flight: begin to count
    meet      O(1)    one RTT of what was sent since
    stay      O(1)    not over before that time
    is_over   O(1)    whether it lasted long enough, and met an RTT
    end       O(1)    forget what was met

A queue too short to be seen may lose, and a new one pass for RTT: then half of the flight tells, which is dear on long
paths. At the full window's pace such a drain, too, would overflow it, and what it loses show nothing; nor is a fast one
sent at that. In general a fifth or a tenth less than one's own part of the path is enough, as others drain at the same
time.

The lowest RTT tells what is left of the queue; it counts from drain to drain, as others may have drained in between.
But it is one packet's luck, where cards gather packets for a millisecond: of two flows at 100 Mbit/s and 10 ms, which
met 12.10 ms in the middle at nearly all of their drains, one had 11.4 and one 12.1 for the lowest, and one of them two
thirds of the link. What all agree on is the mean of all samples of a drain, where those are enough for one.

Source: draft-ietf-ccwg-bbr (ProbeRTT); own: how deep.
"""

from __future__ import annotations

from typing import Final

from rudp.congestion.rounds import INFINITY, LONG_RTT

SHARE: Final = 0.8
SHARE_LONG: Final = 0.9
SHARE_DOUBT: Final = 0.5
"""Share of one's own part of the path that a drain keeps in flight; on a long path; where a queue can't be seen."""
SPARE_PACKETS: Final = 2
"""Kept less than that: what is in flight beyond the path in a train of two."""
DOUBTS: Final = 4
"""On a long path every fourth drain is as deep as in doubt."""
TIME: Final = 0.1
TIME_DOUBT: Final = 0.2
"""Seconds for which it lasts, one RTT at least."""
LEAST_RTT: Final = 0.01
"""On shorter paths it takes as many RTTs as on one of 10 ms: on loopback a tenth of a second were hundreds of them, in
which two trains at a time went to and fro."""
SAMPLES: Final = 8
"""That have a mean. With three, as a drain of 5 Mbit/s at 50 ms has, nine of 48 starts at 10 Mbit/s shared unevenly,
for two."""
FAST: Final = 15e6
FAST_RTT: Final = 0.03
"""Who gets so many bytes a second, on a path of less than so many seconds, sends in trains of ten packets and more. At
the pace of the full window those of a drain overtake what it leaves free, and who has most of 1 Gbit/s took half a
millisecond of his own for the path's RTT: of two flows at 10 ms one had three quarters of it. With all drains at their
own pace one of 24 starts of four flows at 100 Mbit/s took others for CUBIC's."""


class Drain:
    """Times in seconds. `lowest` is kept by its owner, for each ACK."""

    __slots__ = ("_count", "_sum", "_until", "is_fast", "lowest", "number", "target")

    number: int
    """How many there were, this one among them."""
    target: float
    """Bytes that may stay in flight."""
    is_fast: bool
    """Its trains would make a queue at the pace of the full window: it is to be sent at its own."""
    lowest: float
    """The lowest RTT since the drain before; infinity without a sample."""

    def __init__(self) -> None:
        self.number = 0
        self.target = 0.0
        self.is_fast = False
        self._until = INFINITY
        self.end()

    def begin(
        self, flight: float, packet: int, least: int, base: float, rate: float, *, seen: bool, is_new: bool
    ) -> None:
        """The next one. `flight`: bytes of our part of the path, without a queue, of which `least` stay in any case;
        `packet`: bytes; `base`: the RTT without a queue, which `is_new` where it isn't sure; `rate`: bytes a second
        that were delivered of late; `seen`: a queue was.
        """
        self.number += 1
        is_long = base >= LONG_RTT
        unseen = not seen and (not is_long or self.number % DOUBTS == 1)
        deep = unseen or (is_long and is_new)
        share = SHARE_DOUBT if deep else SHARE_LONG if is_long else SHARE
        self.target = max(share * flight - SPARE_PACKETS * packet, least)
        self.is_fast = base < FAST_RTT and rate > FAST
        self._until = INFINITY

    @property
    def is_reached(self) -> bool:
        """Whether so little is in flight."""
        return self._until < INFINITY

    def reached(self, now: float, base: float, *, in_doubt: bool) -> None:
        """Count from now on. `in_doubt`: others may keep the queue filled."""
        self._until = now + (TIME_DOUBT if in_doubt else TIME) * min(base / LEAST_RTT, 1.0)
        self._sum, self._count = 0.0, 0

    def stay(self, until: float) -> None:
        """Not over before that time."""
        self._until = max(self._until, until)

    def meet(self, rtt: float) -> None:
        """One RTT of what was sent with so little in flight."""
        self._sum += rtt
        self._count += 1

    def is_over(self, now: float) -> bool:
        """Whether it lasted long enough, and an RTT was met since the one before."""
        return now >= self._until and self.lowest < INFINITY

    @property
    def mean(self) -> float:
        """Of the RTTs that were met; 0 if none was."""
        return self._sum / self._count if self._count else 0.0

    @property
    def is_sure(self) -> bool:
        """Whether those were enough for a mean that another drain would have, too."""
        return self._count >= SAMPLES

    def end(self) -> None:
        """Forget what was met."""
        self.lowest = INFINITY
        self._sum, self._count = 0.0, 0
