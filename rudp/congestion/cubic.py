"""CUBIC, name "cubic": RFC 9438, with HyStart++ (RFC 9406) for its first slow start.

Knows the window of the last congestion event, and how much time of congestion avoidance has passed since; from the
two follows where the window is to be. `loss_based` knows when a congestion event is one. Every operation costs O(1).

In congestion avoidance the window runs along W_cubic(t) = C (t - K)^3 + W_max (section 4.2): fast towards the window
of the last event, flat there, fast beyond. Where a Reno of the same average would be larger, it takes that (section
4.3). A congestion event takes 30 %, and W_max is set below the window when the event before was at a larger one
(fast convergence, section 4.7). Constants are those of section 4, which counts in packets; here all are bytes.

- t counts from the end of the recovery period, and not while nothing is in flight or the application doesn't fill
  the window (sections 4.2 and 5.8).
- The window that is reduced is `congestion_window`, not the flight: section 4.6 permits it to who doesn't grow an
  unused window, as RFC 9002 section 7.8 asks.
- After CE marks the window stays above two packets as after losses (RFC 9002 section 7.2); section 4.6 would go to one.
- W_max of a stage of congestion avoidance that didn't begin with a congestion event (the first one after HyStart++,
  after persistent congestion) is the window it begins with, and K is 0 (sections 4.8 and 4.10). So it is whenever
  W_max is below that window. One after a pause that took the window back goes on towards the W_max that was.
"""

from __future__ import annotations

from typing import ClassVar, Final, NamedTuple

from rudp.congestion.controller import AckSample, RandomBits
from rudp.congestion.hystart import HyStart
from rudp.congestion.loss_based import PACING_GAIN_CONGESTION_AVOIDANCE, LossBased

CUBIC_C: Final = 0.4
"""C, packets per second cubed (RFC 9438 section 5.1)."""

CUBIC_BETA: Final = 0.7
"""What a congestion event leaves of the window (section 4.6)."""

RENO_ALPHA: Final = 3 * (1 - CUBIC_BETA) / (1 + CUBIC_BETA)
"""Packets a round trip by which a Reno that keeps 70 % grows, to have the average window of one that keeps half
(section 4.3)."""

LARGEST_STEP: Final = 1.5
"""Windows that the target of one round trip may be at most (section 4.2)."""


class _Stage(NamedTuple):
    """What section 4.9.2 saves besides window and ssthresh."""

    w_max: float
    cwnd_prior: int
    k: float
    elapsed: float | None
    w_est: float


class Cubic(LossBased):
    """Window growth as a cubic function of the time since the last congestion event."""

    __slots__ = (
        "_cwnd_prior",
        "_elapsed",
        "_fraction",
        "_hystart",
        "_k",
        "_updated",
        "_w_est",
        "_w_max",
    )

    name = "cubic"

    fast_convergence: ClassVar[bool] = True
    """Section 4.7. It makes room for flows that join; a flow that is known to be alone does better without."""

    def __init__(self, max_datagram_size: int, random: RandomBits | None = None) -> None:
        super().__init__(max_datagram_size, random)
        self._hystart = HyStart()
        self._w_max = 0.0
        self._cwnd_prior = 0
        self._k = 0.0
        # Seconds of this stage of congestion avoidance that count (t); None: it has not begun.
        self._elapsed: float | None = None
        self._updated = 0.0
        self._w_est = 0.0
        # Bytes of growth that are not a whole one yet.
        self._fraction = 0.0

    @property
    def pacing_gain(self) -> float:
        """As in congestion avoidance when slow start grows by a quarter a round trip only."""
        if self._in_first_slow_start and self._hystart.is_conservative:
            return PACING_GAIN_CONGESTION_AVOIDANCE
        return super().pacing_gain

    def on_sent(self, sent_bytes: int, bytes_in_flight: int, now: float) -> None:
        """Leave the time out in which nothing was in flight (section 5.8)."""
        super().on_sent(sent_bytes, bytes_in_flight, now)
        if not bytes_in_flight:
            self._updated = now

    def on_idle_restart(self, idle_seconds: float, now: float) -> None:
        """After a pause that took the window back another stage begins, when slow start has come to its end."""
        window = self.congestion_window
        super().on_idle_restart(idle_seconds, now)
        if self.congestion_window < window:
            self._elapsed = None

    @property
    def _in_first_slow_start(self) -> bool:
        return self.ssthresh == float("inf")

    def _reduce(self) -> None:
        window = self.congestion_window
        converges = self.fast_convergence and window < self._w_max
        self._w_max = window * (1 + CUBIC_BETA) / 2 if converges else float(window)
        self._cwnd_prior = window
        self.ssthresh = max(int(window * CUBIC_BETA), self.minimum_window)
        self._elapsed = None

    def _forget(self) -> None:
        self._w_max = 0.0
        self._elapsed = None

    def _remember(self) -> _Stage:
        return _Stage(self._w_max, self._cwnd_prior, self._k, self._elapsed, self._w_est)

    def _restore(self, state: _Stage) -> None:
        self._w_max, self._cwnd_prior, self._k, self._elapsed, self._w_est = state

    def _on_unused(self, sample: AckSample) -> None:
        self._updated = sample.now

    def _grow(self, sample: AckSample) -> None:
        if self._in_first_slow_start:
            self.congestion_window += self._hystart.growth(sample, self.max_datagram_size)
            if self._hystart.is_over:
                self.ssthresh = self.congestion_window
        elif self.in_slow_start:
            self.congestion_window += sample.acked_bytes
        elif self._elapsed is None:
            self._begin_stage(sample.now)
        else:
            self._avoid_congestion(sample, self._elapsed)

    def _begin_stage(self, now: float) -> None:
        window = self.congestion_window
        if self._w_max <= window:
            self._w_max = float(window)
            self._cwnd_prior = window
        self._k = ((self._w_max - window) / (CUBIC_C * self.max_datagram_size)) ** (1 / 3)
        self._w_est = float(window)
        self._elapsed = 0.0
        self._updated = now
        self._fraction = 0.0

    def _avoid_congestion(self, sample: AckSample, elapsed: float) -> None:
        elapsed += sample.now - self._updated
        self._elapsed = elapsed
        self._updated = sample.now
        window = self.congestion_window
        acked_windows = sample.acked_bytes / window
        alpha = RENO_ALPHA if self._w_est < self._cwnd_prior else 1.0
        self._w_est += alpha * self.max_datagram_size * acked_windows
        if self._w_cubic(elapsed) < self._w_est:
            grown = max(self._w_est - window, 0.0)
            self._fraction = 0.0
        else:
            target = self._w_cubic(elapsed + sample.smoothed_rtt)
            target = min(max(target, window), LARGEST_STEP * window)
            grown = (target - window) * acked_windows + self._fraction
            self._fraction = grown - int(grown)
        self.congestion_window = window + int(grown)

    def _w_cubic(self, elapsed: float) -> float:
        return float(CUBIC_C * self.max_datagram_size * (elapsed - self._k) ** 3 + self._w_max)
