"""How a window is spread over time, and what of it waits at the peer and is on no path.

Knows: the RTT to spread a window over, and how much an ACK tells of at once. Refuses to know: how large the window is
to be, and what makes it so.

    end_round   O(1)    note what a round showed
    over        O(1)    the path stood still or was drained: spread over this RTT until a round has shown one
    forget      O(1)    the path may have another RTT
    rate        O(1)    bytes a second of a window
    held        O(1)    bytes of it that wait to be acknowledged

The window is the control; the pacer only spreads it, over the smoothed RTT. Where that is old, as it knows of a queue
that has gone, of late packets, or of the time for which the path stood still, over a round's mean. After a freeze of a
quarter of a second, 100 Mbit/s became 14 by the smoothed one, and what that delivered was taken for the path's rate.

What is in flight counts from sending to acknowledgement. So who is acknowledged rarely may have that much more in
flight when an ACK comes. Where ACKs are lost the next one tells of more, though none of it was asked to wait. Source:
own.
"""

from __future__ import annotations

from typing import Final

from rudp.congestion.rounds import INFINITY, Round

PACE: Final = 1.1
"""Windows in an RTT."""
STALE: Final = 1.25
"""A smoothed RTT so many times a round's mean is old."""
ACKED_AT_ONCE: Final = 2
HELD_MOST: Final = 1 / 16
HELD_MEMORY: Final = 0.75
"""What an ACK tells of more than two packets counts as held at the peer, up to a 16th of the window, half of what one
may tell of; the most of late counts, a quarter less each round. With an eighth it was a queue of 6 ms at 10 Mbit/s and
50 ms where ACKs are lost."""


class Spread:
    """Amounts in bytes, times in seconds."""

    __slots__ = ("_at_once", "_rtt")

    def __init__(self) -> None:
        self._at_once = 0.0
        self._rtt = INFINITY

    def end_round(self, told: Round, smoothed_rtt: float, *, restless: bool) -> None:
        """Note a round; `restless`: the smoothed RTT knows what isn't so any more, however near it is.

        A round without an RTT says nothing of that.
        """
        mean = told.rtt_mean
        if mean < INFINITY:
            self._rtt = mean if restless or smoothed_rtt > STALE * mean else INFINITY
        self._at_once = max(told.at_once, HELD_MEMORY * self._at_once)

    def over(self, rtt: float) -> None:
        """Spread over that RTT until a round has shown another."""
        self._rtt = rtt

    def forget(self) -> None:
        """Spread over the smoothed RTT."""
        self._rtt = INFINITY

    def rate(self, window: float, smoothed_rtt: float) -> float:
        """Bytes a second at which a window is sent."""
        rtt = self._rtt or INFINITY
        return PACE * window / (rtt if rtt < smoothed_rtt else smoothed_rtt)

    def held(self, window: float, packet: int) -> float:
        """Bytes in flight that aren't on the path any more: they wait to be acknowledged when an ACK comes."""
        held = self._at_once - ACKED_AT_ONCE * packet
        return min(held, HELD_MOST * window) if held > 0.0 else 0.0
