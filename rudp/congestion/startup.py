"""The start of a flow: a window that doubles until the path is full.

Knows: how fast the window may grow, and by what a full path shows. Refuses to know: what follows.

    grow        O(1)    the window after an ACK
    sees_queue  O(1)    whether the last samples of the RTT show a queue
    end_round   O(1)    note the rate that a round came to
    stop        O(1)    take the path for full, as a round lost too much

The window is bounded by the highest rate that the path has shown (`peak_rate`), not by that of the last round trip,
which lags behind a window that doubles and held it to a factor of 1.4. The bound is twice what fills the path at that
rate. As soon as a sample is late, be it the first packets' that a slow link has to queue, it is 1.5 times less a
packet, or a queue of ten packets overflows; nor is more allowed there for what the path loses by itself, as the highest
rate is one of a part that lost nothing. Until then a path whose spans of the rate are more than a quarter of a round
trip has twice the bound: where ACKs are lost such spans lag, too, and starts took half a round trip more. On longer
paths flows that come together share unevenly with that. A queue ends the start at once; without one, three rounds that
bring no quarter more. What follows goes on with the rate of the last whole round trip: a part of one shows more, up to
a third when the path has just become full, but who comes to a queue of others has for himself in a part what over a
round trip is theirs, and sixteen who come together filled a queue of one BDP for good.

Sources: draft-ietf-ccwg-bbr section 4.3.1 (full pipe), RFC 9406 (delay ends slow start). Own: the bound.
"""

from __future__ import annotations

from typing import Final

from rudp.congestion.controller import AckSample
from rudp.congestion.peak_rate import SPAN_LEAST, SPAN_SHARE, PeakRate
from rudp.congestion.rounds import LONG_RTT

PACE: Final = 2.0
"""Windows a round trip: one that doubles is sent in the half of one, so that each round shows twice what it holds.
Faster trains look like a queue: at 2.1 a link of 100 Mbit/s and 50 ms is full a round trip later."""
PACE_LATE: Final = 1.25
PACE_LATE_MOST: Final = 32
PACE_LATE_RTT: Final = 0.03
"""The same from the first late sample on, of a window of few packets on a path of so many seconds: at twice what the
path carries, what an ACK sets free overflows a queue of ten packets where the ACK before was lost. On long paths queues
hold more, and who comes to others' queue is to find the path full soon."""
PEAK: Final = 2.0
PEAK_SHORT: Final = 4.0
PEAK_LATE: Final = 1.5
"""Round trips' worth of the highest rate shown that may be in flight: what a window that doubles comes to; twice that
on a path whose spans are more than a quarter of a round trip; and a packet less than PEAK_LATE from the first late
sample on."""
QUEUE_RTT: Final = 1 + 1 / 24
QUEUE_RTT_LONG: Final = 1 + 1 / 8
QUEUE_GRAIN: Final = 0.001
QUEUE_BURST: Final = 4
QUEUE_SAMPLES: Final = 3
"""A sample above QUEUE_RTT base RTTs and a millisecond is late, QUEUE_RTT_LONG on long paths. So many in a row, by four
packets more, are a queue (after RFC 9406, whose eighth that is). Of long paths others' queue is a small part: who came
second gave way to it with a tenth of the link, and took twenty seconds to get the rest."""
GROWTH: Final = 1.25
FULL_ROUNDS: Final = 3
"""So many rounds that bring no quarter more (draft-ietf-ccwg-bbr section 4.3.1.2)."""


class StartUp:
    """Amounts in bytes, times in seconds, rates in bytes a second."""

    __slots__ = ("_above", "_full_rate", "_late", "_peak", "_still")

    def __init__(self) -> None:
        self._peak: PeakRate | None = None  # or each connection would hold one for good
        self._full_rate = 0.0
        self._late = False
        self._above = self._still = 0

    @property
    def is_full(self) -> bool:
        """Whether the path is taken for full by the rate, or by `stop`."""
        return self._still >= FULL_ROUNDS

    @property
    def is_still(self) -> bool:
        """Whether the last round brought no quarter more."""
        return self._still > 0

    def grow(
        self, window: float, sample: AckSample, least_rtt: float, packet: int, background: float = 0.0
    ) -> float:
        """The window after an ACK, on a path of that RTT that loses a share of `background` by itself."""
        peak = self._peak = self._peak or PeakRate()
        narrow = self._is_narrow(window / packet, least_rtt)
        peak.add(sample, sample.ack_delay if narrow else 0.0)
        # What was lost counts too: it left the path, and without a queue it doesn't say that the path is full.
        grown = window + sample.acked_bytes + sample.lost_bytes
        if peak.rate:
            # Spans that take more of a round trip lag behind a window that doubles.
            is_long = SPAN_SHARE * least_rtt >= SPAN_LEAST
            full = peak.rate * least_rtt
            most = PEAK_LATE * full - packet if self._late else (PEAK if is_long else PEAK_SHORT) * full
            # Of few packets a span that has lost none is the highest soon: what they lose is in it already.
            grown = min(grown, most if narrow else most / (1.0 - background))
        return max(window, grown)

    def pace(self, packets: float, base: float) -> float:
        """Windows to send in a round trip, where that of so many packets takes `base` without a queue."""
        return PACE_LATE if self._is_narrow(packets, base) else PACE

    def _is_narrow(self, packets: float, base: float) -> bool:
        """Whether a short path has shown that few packets fill it."""
        return self._late and packets < PACE_LATE_MOST and base < PACE_LATE_RTT

    def sees_queue(self, rtt: float, base: float, packet_time: float) -> bool:
        """Take a sample of the RTT; `base` is that without a queue, `packet_time` what a packet takes at the rate."""
        limit = base * (QUEUE_RTT_LONG if base >= LONG_RTT else QUEUE_RTT) + QUEUE_GRAIN
        self._late = self._late or rtt > limit
        self._above = self._above + 1 if rtt > limit + QUEUE_BURST * packet_time else 0
        return self._above >= QUEUE_SAMPLES

    def has_grown_to(self, rate: float) -> bool:
        """Whether the rate is a quarter above that of the last round that grew."""
        return 0.0 < self._full_rate * GROWTH <= rate

    def end_round(self, rate: float, *, is_app_limited: bool) -> None:
        """Note the highest rate so far."""
        if self.is_full:
            return
        if rate >= self._full_rate * GROWTH:
            self._full_rate, self._still = rate, 0
        elif not is_app_limited:
            self._still += 1

    def stop(self) -> None:
        """Take the path for full."""
        self._still = FULL_ROUNDS
