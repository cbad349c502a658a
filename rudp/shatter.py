"""How far a peer's acknowledgements shatter what is sent to it, and how fast it may be sent for that.

Knows: how often trains were cut, for how many packets and ACKs. Refuses to know: windows, contents, what cuts a train.

A train is one entry until an ACK takes a part of it out, and each part costs as much as a small packet. Random loss
cuts a train every second packet at most, whatever its share; a peer that names every packet in a range of its own cuts
behind each. A packet that is said to have come after all, once it was declared lost, is cut out of what is remembered
of that, and was sent again in vain. All beyond what loss does is paid for in time: so many such cuts a second go at any
rate, and where there would be more of them less is sent. Nothing is ignored and nothing is lost by that. A path that
jumbles packets over half a round trip and more does cut more than loss; there, an ACK is about many packets, as nobody
asks for more, and few ACKs leave the time for many cuts.

    on_lost, judge, bound     O(1)

Nothing is to be known of a connection none of whose trains was ever cut, but how many packets that was true of.
"""

from __future__ import annotations

from typing import Final

__all__ = ["Shatter"]

# Cuts a packet by random loss of any share p: 2 p (1 - p) at most.
BY_LOSS: Final = 0.5
# Cuts a second beyond those, some 5 µs each; and how many more for each packet that an ACK is about: with ACKs as
# dear as five cuts, all together stays below half of a core whatever the peer chooses.
CUTS_PER_SECOND: Final = 5000
CUTS_PER_PACKET_OF_AN_ACK: Final = 1500
# Cuts for which one counts of what had been declared lost: it was taken out, queued, sent again and found there, too.
LATE_CUTS: Final = 3
# Packets that are remembered, from half of it on: a few trains; and cuts beyond those by loss that chance makes of
# so many.
REMEMBERED: Final = 512
BY_CHANCE: Final = 64


class Shatter:
    """What one peer's ACKs do. `limit`: packets a second that may be sent; None while nothing but loss is seen."""

    __slots__ = ("_acks", "_cuts", "_packets", "_seen", "limit")

    def __init__(self, whole: int = 0, an_ack: int = 1) -> None:
        """Before the first cut so many packets were acknowledged `whole`; ACKs are taken to have been about `an_ack`.

        What is remembered of those is what would be left of so many ACKs, had they been judged.
        """
        self.limit: float | None = None
        # Small integers until there is much to forget: an idle connection holds none of its own.
        self._packets: float = min(whole, REMEMBERED // 2)
        self._acks: float = self._packets // max(an_ack, 1)
        self._cuts: float = 0
        # Cuts so far, when last told.
        self._seen = 0

    def on_lost(self, packets: int) -> None:
        """So many packets were declared lost by a timer, on whatever path they were sent."""
        self._packets += packets

    def judge(self, cuts: int, packets: int) -> None:
        """An ACK came, by which so many packets outstanding are acknowledged or lost: reckon `limit`.

        `cuts` are all of the connection so far. What is cut of what is outstanding is acknowledged or lost by it, so
        that there is never a cut without a packet. With those lost left out an ACK of 200 packets, half of them lost,
        looked like one of a peer that shatters.
        """
        self._acks += 1
        self._packets += packets
        self._cuts += cuts - self._seen
        self._seen = cuts
        beyond = self._cuts - BY_LOSS * self._packets
        if beyond > BY_CHANCE:
            rate = max(CUTS_PER_SECOND, CUTS_PER_PACKET_OF_AN_ACK * self._packets / self._acks)
            self.limit = rate * self._packets / beyond
        else:
            self.limit = None
        if self._packets > REMEMBERED:
            self._acks /= 2
            self._cuts /= 2
            self._packets /= 2

    def bound(self, rate: float | None, size: int) -> float | None:
        """What is left of a rate, bytes a second (None: any), with full packets of `size` bytes."""
        if self.limit is None:
            return rate
        limit = self.limit * size
        return limit if rate is None or limit < rate else rate
