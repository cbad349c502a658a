"""What controllers have in common that take every loss for congestion: NewReno and CUBIC.

Knows: when the recovery period began, what to go back to should its losses turn out to be none, how to reduce
gradually (`prr`), when a window counts as used, what a pause does. Refuses to know: by how much a window is reduced
and how it grows; a subclass says so in four short methods. Every operation costs O(1).

- One reaction a round trip: a packet sent before the recovery period began doesn't start another (RFC 9002
  section 7.3.2). CE marks count as loss (section 7.1). During the period the window is PRR's; it ends when something
  sent in it is acknowledged, with the window at `ssthresh` (RFC 9937 section 6.4).
- The reaction is undone when every packet of it was acknowledged after all (RFC 9438 section 4.9.2, RFC 4015), unless
  there was a CE mark too, or the window has grown back already. Persistent congestion is not undone.
- A window that the application didn't fill doesn't grow (RFC 9002 section 7.8).
- After nothing was in flight for a retransmission timeout (RFC 6298), sending restarts from the initial window, as RFC
  5681 section 4.1 asks: what was learned of the path is that old. `ssthresh` keeps three quarters of the window (RFC
  7661 section 4.4.3), so slow start has most of it back within a few round trips. RFC 7661 would keep the window for
  five minutes; that is an experiment, and it has another reaction to the first loss that goes with it.

One departure from RFC 9002 appendix B: an ACK is taken as a whole, so one that mixes packets sent before the recovery
period began with later ones ends the period, but doesn't grow the window (by the packet, its later part would).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Final

from rudp.congestion.controller import AckSample, CongestionController, LossEvent, RandomBits, initial_window
from rudp.congestion.prr import Prr

__all__ = ["LossBased"]

PACING_GAIN_SLOW_START: Final = 2.0
"""Slow start doubles the window in a round trip, so it needs more room than N of RFC 9002 section 7.7."""

PACING_GAIN_CONGESTION_AVOIDANCE: Final = 1.25
"""N of RFC 9002 section 7.7."""

MINIMUM_TIMEOUT: Final = 1.0
"""Seconds: the shortest retransmission timeout (RFC 6298 section 2.4)."""

TIMEOUT_RTTS: Final = 3
"""RTTs in a retransmission timeout whose rttvar is half the RTT, as after a first sample (RFC 6298 section 2.2)."""

IDLE_SSTHRESH_SHARE: Final = 0.75
"""Of the window that a pause took back, what `ssthresh` keeps (RFC 7661 section 4.4.3)."""


class LossBased(CongestionController):
    """Slow start, recovery, congestion avoidance (RFC 9002 section 7.3), without the rules of growth."""

    __slots__ = ("_prr", "_recovery_start_time", "_smoothed_rtt", "_undo")

    def __init__(self, max_datagram_size: int, random: RandomBits | None = None) -> None:
        super().__init__(max_datagram_size, random)
        self._prr = Prr()
        self._recovery_start_time = float("-inf")
        self._smoothed_rtt = 0.0
        # Window, threshold, start of the recovery period before, and what the subclass keeps; None: nothing to undo.
        self._undo: tuple[int, float, float, Any] | None = None

    @abstractmethod
    def _reduce(self) -> None:
        """Set `ssthresh`: a congestion event was found with the window as it is."""

    @abstractmethod
    def _grow(self, sample: AckSample) -> None:
        """Grow the window by an ACK of packets that were sent outside of recovery and filled the window."""

    @abstractmethod
    def _forget(self) -> None:
        """Persistent congestion was found: `ssthresh` stays, what else the subclass knows of the path is void."""

    def _remember(self) -> Any:
        """Return what `_reduce` is about to overwrite besides `ssthresh`."""
        return None

    def _restore(self, state: Any) -> None:
        """Take back what `_remember` returned."""

    def _on_unused(self, sample: AckSample) -> None:
        """Note an ACK that may not grow the window, since the application doesn't fill it."""

    @property
    def in_slow_start(self) -> bool:
        """Whether the window is below the slow start threshold, and not for having been reduced."""
        return self.congestion_window < self.ssthresh and not self._prr.active

    @property
    def in_recovery(self) -> bool:
        """Whether a recovery period is under way."""
        return self._prr.active

    @property
    def _target(self) -> int:
        """The window to come to by the end of a recovery period. Packets may have become larger since it began."""
        return max(int(self.ssthresh), self.minimum_window)

    @property
    def pacing_gain(self) -> float:
        """Windows a round trip at which packets are let go (RFC 9002 section 7.7)."""
        return PACING_GAIN_SLOW_START if self.in_slow_start else PACING_GAIN_CONGESTION_AVOIDANCE

    def on_sent(self, sent_bytes: int, bytes_in_flight: int, now: float) -> None:  # noqa: ARG002
        """Count what leaves during recovery."""
        self._prr.on_sent(sent_bytes)

    def on_ack(self, sample: AckSample) -> None:
        """Grow the window, or reduce it further during recovery, or react to CE marks (RFC 9002 appendix B.7)."""
        if sample.ecn_ce > 0:
            self._on_congestion_event(sample.newest_time_sent, sample.prior_in_flight, sample.now)
            self._undo = None
        if self._prr.active:
            if sample.newest_time_sent > self._recovery_start_time:
                self._prr.end()
                self.congestion_window = self._target
            else:
                self._reduce_gradually(sample.acked_bytes, sample.bytes_in_flight)
        if sample.oldest_time_sent > self._recovery_start_time:
            if self._is_underutilized(sample):
                self._on_unused(sample)
            else:
                self._grow(sample)
        self._smoothed_rtt = sample.smoothed_rtt
        if sample.smoothed_rtt > 0.0:
            self.pacing_rate = self.pacing_gain * self.congestion_window / sample.smoothed_rtt

    def on_loss(self, event: LossEvent) -> None:
        """Reduce the window once a recovery period (RFC 9002 appendix B.8)."""
        self._on_congestion_event(event.newest_time_sent, event.prior_in_flight, event.now)
        if self._prr.active:
            self._reduce_gradually(0, event.bytes_in_flight)

    def on_persistent_congestion(self, now: float) -> None:  # noqa: ARG002
        """Fall to the minimum window and forget the recovery period (RFC 9002 section 7.6.2, appendix B.8)."""
        self.congestion_window = self.minimum_window
        self._recovery_start_time = float("-inf")
        self._prr.end()
        self._undo = None
        self._forget()

    def on_spurious_loss(self, spurious_bytes: int, now: float) -> None:  # noqa: ARG002
        """Count it as delivered: RecoverFS has what was declared lost for this case (RFC 9937 section 6.1)."""
        self._prr.on_delivered(spurious_bytes)

    def on_loss_undone(self, now: float) -> None:  # noqa: ARG002
        """Go back to before the congestion event, unless the window has grown beyond since."""
        undo, self._undo = self._undo, None
        if undo is None or self.congestion_window >= undo[0]:
            return
        self.congestion_window, self.ssthresh, self._recovery_start_time, state = undo
        self._prr.end()
        self._restore(state)

    def on_idle_restart(self, idle_seconds: float, now: float) -> None:  # noqa: ARG002
        """Restart from the initial window after a pause of a retransmission timeout (RFC 5681 section 4.1)."""
        if idle_seconds <= max(MINIMUM_TIMEOUT, TIMEOUT_RTTS * self._smoothed_rtt):
            return
        window = self.congestion_window
        if self._prr.active:
            self._prr.end()
            window = self._target
        self._undo = None
        restart_window = initial_window(self.max_datagram_size)
        if window > restart_window and self.ssthresh < float("inf"):
            self.ssthresh = max(self.ssthresh, int(IDLE_SSTHRESH_SHARE * window))
        self.congestion_window = min(window, restart_window)
        if self._smoothed_rtt > 0.0:
            self.pacing_rate = self.pacing_gain * self.congestion_window / self._smoothed_rtt

    def _on_congestion_event(self, time_sent: float, recover_flight: int, now: float) -> None:
        if time_sent <= self._recovery_start_time:
            return
        if self._prr.active:
            self._prr.end()
            self.congestion_window = self._target
        self._undo = (self.congestion_window, self.ssthresh, self._recovery_start_time, self._remember())
        self._recovery_start_time = now
        self._reduce()
        self._prr.begin(recover_flight)

    def _reduce_gradually(self, delivered_bytes: int, bytes_in_flight: int) -> None:
        packet = self.max_datagram_size
        window = self._prr.window(delivered_bytes, bytes_in_flight, self._target, packet)
        self.congestion_window = max(window, self.minimum_window)

    def _is_underutilized(self, sample: AckSample) -> bool:
        """RFC 9002 section 7.8: a window that wasn't filled proves nothing. Half of it used is enough for slow
        start, which doubles it in a round trip; a window that only the pacer kept from being filled isn't
        underutilized.
        """
        if not sample.is_app_limited:
            return False
        half = self.congestion_window // 2
        slack = half if self.in_slow_start else min(half, 3 * self.max_datagram_size)
        return sample.prior_in_flight + slack < self.congestion_window
