"""How fast a path has shown that it delivers, over a part of a round trip: a bound for a window that doubles.

Knows: what ACKs told, and when, over spans of a quarter of the RTT. Refuses to know: windows, and what to do about it.

    add    O(1)    count one ACK
    rate   O(1)    the highest rate of a span so far

A sender that doubles its window each round trip, and sends it twice as fast as the window would have it, fills half of
a round trip. Over the whole, ACKs come as fast as was sent a round trip before; over a quarter of it they show at once
whether the path carries twice as much. So it isn't held back while the path has room, and where the path is full the
bound is the path's rate, before a queue can tell. What was lost doesn't count: where a queue overflows, a bound that
followed what was sent would be none. A span begins when what an ACK tells of had come: from when a held ACK came, the
two packets behind it made a line of 10 Mbit/s look a quarter faster. That is the peer's word, and can only lower a
rate. It counts where few packets fill a short path: elsewhere a lower bound makes starts longer, where ACKs are lost at
1 Gbit/s and in others' queue.

Sources: Hybrid Slow Start (Ha and Rhee 2011: what a train of ACKs tells of the room ahead). Own: to bound the window.
"""

from __future__ import annotations

from typing import Final

from rudp.congestion.controller import AckSample

SPAN_SHARE: Final = 1 / 4
SPAN_LEAST: Final = 0.003
"""A span in round trips and, in seconds, three times what a network card gathers for: ACKs it hands over together would
look faster than they are."""
SPAN_MARKS: Final = 4
"""So many times in a span it is noted where one may begin, so that two fit between two lost ACKs."""
SPAN_MOST: Final = 2.0
"""In so many spans without an ACK the sender paused, which says nothing of the path."""


class PeakRate:
    """Amounts in bytes, times in seconds."""

    __slots__ = ("_acked", "_marked_at", "_marks", "rate")

    rate: float
    """Bytes a second; 0 before the first span."""

    def __init__(self) -> None:
        self.rate = 0.0
        self._acked = 0
        # When, and what was acknowledged by then, oldest first: the last that is a span ago, and those since.
        self._marks: tuple[tuple[float, int], ...] = ()
        self._marked_at = 0.0  # when the ACK came with which the last may begin

    def add(self, sample: AckSample, held: float = 0.0) -> None:
        """Count one ACK; `held`: seconds for which the peer held it back, if a span may not begin with that."""
        now, marks = sample.now, self._marks
        self._acked += sample.acked_bytes
        span = max(SPAN_SHARE * sample.min_rtt, SPAN_LEAST)
        while len(marks) > 1 and now - marks[1][0] >= span:
            marks = marks[1:]
        if marks:
            then, acked = marks[0]
            if span <= now - then <= SPAN_MOST * span:
                self.rate = max(self.rate, (self._acked - acked) / (now - then))
        if self.rate and sample.delivery_rate is not None:
            self.rate = max(self.rate, sample.delivery_rate)  # where ACKs are lost no later span may be whole
        if marks and self._marked_at == now:
            marks = marks[:-1]  # of ACKs that a card handed over together none belongs to what follows
        came = now - min(held, span)
        if not marks or came - marks[-1][0] >= span / SPAN_MARKS:
            marks = (*marks, (came, self._acked))
            self._marked_at = now
        self._marks = marks
