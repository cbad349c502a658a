"""NewReno, name "new_reno": RFC 9002 section 7 with the pseudocode of its appendix B.

Knows a window, a threshold and when the current recovery period began; everything else comes with each
call. The one departure from the pseudocode: an ACK is taken as a whole, so one that mixes packets sent
before the recovery period began with later ones doesn't grow the window (by the packet, its later part
would).

Omitted: the single packet that may be sent early to speed up a recovery period (section 7.3.2, a MAY).
"""

from __future__ import annotations

from rudp.congestion.controller import AckSample, CongestionController, LossEvent, RandomBits

LOSS_REDUCTION_FACTOR = 0.5
"""kLossReductionFactor, RFC 9002 appendix B.1."""

PACING_GAIN_SLOW_START = 2.0
PACING_GAIN_CONGESTION_AVOIDANCE = 1.25
"""N of RFC 9002 section 7.7; slow start doubles the window in a round trip, so it needs more room."""


class NewReno(CongestionController):
    """Slow start, recovery, congestion avoidance (RFC 9002 section 7.3)."""

    __slots__ = ("_acked_bytes", "_recovery_start_time")

    name = "new_reno"

    def __init__(self, max_datagram_size: int, random: RandomBits | None = None) -> None:
        super().__init__(max_datagram_size, random)
        self._recovery_start_time = float("-inf")
        self._acked_bytes = 0

    def on_ack(self, sample: AckSample) -> None:
        """Grow the window by what was acknowledged (appendix B.5), or react to CE marks (appendix B.7)."""
        if sample.ecn_ce > 0:
            self._on_congestion_event(sample.newest_time_sent, sample.now)
        if sample.oldest_time_sent > self._recovery_start_time and not self._is_underutilized(sample):
            self._grow(sample.acked_bytes)
        if sample.smoothed_rtt > 0.0:
            gain = PACING_GAIN_SLOW_START if self.in_slow_start else PACING_GAIN_CONGESTION_AVOIDANCE
            self.pacing_rate = gain * self.congestion_window / sample.smoothed_rtt

    def on_loss(self, event: LossEvent) -> None:
        """Halve the window once a recovery period (appendix B.8)."""
        self._on_congestion_event(event.newest_time_sent, event.now)

    def on_persistent_congestion(self, now: float) -> None:  # noqa: ARG002
        """Fall to the minimum window and forget the recovery period (section 7.6.2, appendix B.8)."""
        self.congestion_window = self.minimum_window
        self._recovery_start_time = float("-inf")
        self._acked_bytes = 0

    @property
    def in_slow_start(self) -> bool:
        """Whether the window is below the slow start threshold."""
        return self.congestion_window < self.ssthresh

    def _on_congestion_event(self, time_sent: float, now: float) -> None:
        if time_sent <= self._recovery_start_time:
            return
        self._recovery_start_time = now
        self.ssthresh = int(self.congestion_window * LOSS_REDUCTION_FACTOR)
        self.congestion_window = max(int(self.ssthresh), self.minimum_window)
        self._acked_bytes = 0

    def _is_underutilized(self, sample: AckSample) -> bool:
        """Section 7.8: a window that wasn't filled proves nothing. Half of it used is enough for slow
        start, which doubles it in a round trip; a window that only the pacer kept from being filled isn't
        underutilized.
        """
        if not sample.is_app_limited:
            return False
        slack = self.congestion_window // 2 if self.in_slow_start else 3 * self.max_datagram_size
        return sample.prior_in_flight + slack < self.congestion_window

    def _grow(self, acked_bytes: int) -> None:
        if self.in_slow_start:
            self.congestion_window += acked_bytes
            return
        # One packet per window acknowledged; counting bytes (RFC 3465) keeps the fraction B.5's division
        # drops.
        self._acked_bytes += acked_bytes
        if self._acked_bytes >= self.congestion_window:
            self._acked_bytes -= self.congestion_window
            self.congestion_window += self.max_datagram_size
