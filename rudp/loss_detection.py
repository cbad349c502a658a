"""Which of the packets outstanding are lost, by what was acknowledged after them.

Knows: whether the path reorders, and how late its packets come. Refuses to know: who is told of a loss, what the
packets carried, and silence (`probe_timeout`).

    detect      O(trains lost)
    the others  O(1)

Two ways, both for packets older than one that was acknowledged:

- Until reordering is seen, those of RFC 9002 section 6.1: a packet is lost when it is `PACKET_THRESHOLD` numbers
  behind the largest acknowledged, or 9/8 of an RTT old.
- From then on time alone counts (RFC 8985 section 6.2): an RTT and a reordering window. It starts at a quarter of
  `min_rtt`, and grows to how late a packet has come. RFC 8985 adds a quarter a round trip as long as receivers
  report duplicates, since TCP can't know more; a packet number is used once, so an acknowledgement that comes late
  says by how much, after a first packet or many. As there, the window is never above `smoothed_rtt`, and forgets:
  what was seen counts for `RECOVERIES_REMEMBERED` recoveries, twice that at most.

Reordering is seen when a packet below the largest acknowledged is newly acknowledged. A TCP has to make sure that it
wasn't retransmitted; here it never is.

Losses are always a prefix of what is outstanding: a train leaves no earlier than those before it and one delay holds
for all, so each threshold that holds for a packet holds for the older ones. Detection cuts the front off, and lost
trains come in order.
"""

from __future__ import annotations

from typing import Final

from rudp.rtt import GRANULARITY, RttEstimator
from rudp.sent_packets import SentPackets, SentTrain

__all__ = ["LossDetection"]

# RFC 9002 section 6.1.1: packets by which a later one must be ahead (kPacketThreshold).
PACKET_THRESHOLD: Final = 3
# RFC 8985 section 6.2 step 4: the first reordering window is this part of min_rtt.
MIN_RTT_PART: Final = 4
# RFC 8985 section 6.2 step 4: recoveries for which a wider window is kept without new reason (reo_wnd_persist).
RECOVERIES_REMEMBERED: Final = 16
# The next packet may come a little later than the latest one so far.
MARGIN: Final = 9 / 8


class LossDetection:
    """Loss detection of one path, times in seconds.

    `loss_time` is when the oldest packet outstanding will be lost by time, None when no later one was acknowledged.
    """

    __slots__ = ("_earlier_lateness", "_lateness", "_recoveries", "loss_time", "reordering_seen")

    def __init__(self) -> None:
        self.loss_time: float | None = None
        self.restart()

    def restart(self) -> None:
        """Another path reorders or doesn't; a time already set for what is outstanding stays."""
        self.reordering_seen = False
        # The widest window needed during the running count of recoveries, and during the one before.
        self._lateness = 0.0
        self._earlier_lateness = 0.0
        self._recoveries = 0

    def delay(self, rtt: RttEstimator) -> float:
        """Seconds after it was sent at which a packet is lost when a later one was acknowledged."""
        if not self.reordering_seen:
            return rtt.loss_delay()
        return max(max(rtt.smoothed_rtt, rtt.latest_rtt) + self.reordering_window(rtt), GRANULARITY)

    def reordering_window(self, rtt: RttEstimator) -> float:
        """Seconds that packets may come late, once they do (RFC 8985 section 6.2 step 4)."""
        window = max(rtt.min_rtt / MIN_RTT_PART, self._lateness, self._earlier_lateness)
        return min(window, rtt.smoothed_rtt)

    def on_reordered(self, time_sent: float, rtt: RttEstimator, now: float) -> None:
        """Learn from a packet acknowledged after a later one; `rtt` is the estimate that held until then."""
        self.reordering_seen = True
        lateness = (now - time_sent - max(rtt.smoothed_rtt, rtt.latest_rtt)) * MARGIN
        self._lateness = max(self._lateness, lateness)

    def on_recovery(self) -> None:
        """A recovery period began (RFC 9002 section 7.3.2): forget what was seen long ago."""
        self._recoveries += 1
        if self._recoveries >= RECOVERIES_REMEMBERED:
            self._recoveries = 0
            self._earlier_lateness, self._lateness = self._lateness, 0.0

    def detect(self, sent: SentPackets, largest_acknowledged: int, rtt: RttEstimator, now: float) -> list[SentTrain]:
        """Remove and return what is lost, ascending; set when the rest would be (RFC 9002 appendix A.10)."""
        self.loss_time = None
        if not sent.trains or (oldest := sent.trains[0]).first > largest_acknowledged:
            return []
        delay = self.delay(rtt)
        lost = []
        if not self.reordering_seen and (stop := largest_acknowledged - PACKET_THRESHOLD + 1) > oldest.first:
            lost = sent.take(oldest.first, stop)
        stop = 0
        for train in sent.trains:
            if train.first > largest_acknowledged:
                break
            if train.time_sent + delay > now:
                # The same sum, or rounding could have the timer fire and find nothing.
                self.loss_time = train.time_sent + delay
                break
            stop = train.stop
        return lost + sent.take(oldest.first, stop) if stop else lost
