"""How fast a path has shown that it delivers, over a part of a round trip: a bound for a window that doubles.

Knows: what ACKs told, and when, over spans of a quarter of the RTT. Refuses to know: windows, and what to do about it.

    add    O(1)    count one ACK
    rate   O(1)    the highest rate of a span so far

A sender that doubles its window each round trip, and sends it twice as fast as the window would have it, fills half of
a round trip. Over the whole, ACKs come as fast as was sent a round trip before; over a quarter of it they show at once
whether the path carries twice as much. So it isn't held back while the path has room, and where the path is full the
bound is the path's rate, before a queue can tell. What was lost counts, as it left the path, up to what a path may lose
by itself: where a queue is too short to be seen it overflows, and a bound that followed what was sent would be none.

Sources: Hybrid Slow Start (Ha and Rhee 2011: what a train of ACKs tells of the room ahead). Own: to bound the window.
"""

from __future__ import annotations

from typing import Final

from rudp.congestion.controller import AckSample

SPAN_SHARE: Final = 1 / 4
SPAN_LEAST: Final = 0.003
"""A span in round trips and, in seconds, three times what a network card gathers for: ACKs it hands over together would
look faster than they are."""
SPAN_MOST: Final = 2.0
"""In so many spans without an ACK the sender paused, which says nothing of the path."""
LOST_MOST: Final = 2 / 3
"""Lost bytes that count, in parts of those acknowledged: a path that loses 40 % (twice the most rudp is made for)."""


class PeakRate:
    """Amounts in bytes, times in seconds."""

    __slots__ = ("_acked", "_lost", "_new", "_old", "rate")

    rate: float
    """Bytes a second; 0 before the first span."""

    def __init__(self) -> None:
        self.rate = 0.0
        self._acked = self._lost = 0
        # When, and what was acknowledged and lost by then: where the span begins, and where the next will.
        self._old = self._new = (0.0, 0, 0)

    def add(self, sample: AckSample) -> None:
        """Count one ACK."""
        self._acked += sample.acked_bytes
        self._lost += sample.lost_bytes
        then, acked, lost = self._old
        span = max(SPAN_SHARE * sample.smoothed_rtt, SPAN_LEAST)
        elapsed = sample.now - then
        if span <= elapsed <= SPAN_MOST * span:
            acked = self._acked - acked
            self.rate = max(self.rate, (acked + min(self._lost - lost, LOST_MOST * acked)) / elapsed)
        if self.rate and sample.delivery_rate is not None:
            self.rate = max(self.rate, sample.delivery_rate)  # where ACKs are lost no later span may be whole
        if sample.now - self._new[0] >= span / 2:
            self._old, self._new = self._new, (sample.now, self._acked, self._lost)
