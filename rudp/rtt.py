"""Round-trip time of one path: the estimate and the two periods made from it.

Knows: samples (seconds) and the delay the peer says it held each acknowledgement back.
Refuses to know: packets, clocks and what a timer does when it fires.

Sources: RFC 9002 section 5, appendix A.7 and its erratum (rttvar is taken from the smoothed_rtt before the
sample, so it is updated first). Every operation is O(1).
"""

from __future__ import annotations

from typing import Final

__all__ = ["RttEstimator"]

# RFC 9002 section 6.2.2: seconds assumed before the first sample (kInitialRtt).
INITIAL_RTT: Final = 0.333
# RFC 9002 section 6.1.2: the grain of timers, seconds (kGranularity).
GRANULARITY: Final = 0.001
# RFC 9002 section 6.1.2: RTTs after which a packet older than an acknowledged one is lost (kTimeThreshold).
TIME_THRESHOLD: Final = 9 / 8


class RttEstimator:
    """The RTT of a path in seconds, names as in RFC 9002.

    `max_ack_delay` is the peer's (seconds); set it when the peer's parameters or an ACK_FREQUENCY change it.
    `first_sample_time` is when the first sample was taken, None before it.
    """

    __slots__ = ("first_sample_time", "latest_rtt", "max_ack_delay", "min_rtt", "rttvar", "smoothed_rtt")

    latest_rtt: float
    min_rtt: float
    smoothed_rtt: float
    rttvar: float
    first_sample_time: float | None

    def __init__(self, max_ack_delay: float = 0.0) -> None:
        self.max_ack_delay = max_ack_delay
        self.reset()

    def reset(self) -> None:
        """Forget all samples: another path has another RTT (RFC 9000 section 9.4)."""
        self.latest_rtt = 0.0
        self.min_rtt = 0.0
        self.smoothed_rtt = INITIAL_RTT
        self.rttvar = INITIAL_RTT / 2
        self.first_sample_time = None

    def update(self, latest_rtt: float, ack_delay: float, now: float) -> None:
        """Take one sample of `latest_rtt` seconds, `ack_delay` of which the peer says it waited."""
        assert latest_rtt >= 0.0, f"RTT sample of {latest_rtt} s: acknowledged before it was sent"
        assert ack_delay >= 0.0
        self.latest_rtt = latest_rtt
        if self.first_sample_time is None:
            self.first_sample_time = now
            self.min_rtt = latest_rtt
            self.smoothed_rtt = latest_rtt
            self.rttvar = latest_rtt / 2
            return
        self.min_rtt = latest_rtt if latest_rtt < self.min_rtt else self.min_rtt
        ack_delay = ack_delay if ack_delay < self.max_ack_delay else self.max_ack_delay
        adjusted_rtt = latest_rtt
        if latest_rtt >= self.min_rtt + ack_delay:
            adjusted_rtt = latest_rtt - ack_delay
        self.rttvar += (abs(self.smoothed_rtt - adjusted_rtt) - self.rttvar) / 4
        self.smoothed_rtt += (adjusted_rtt - self.smoothed_rtt) / 8

    def refresh_min_rtt(self) -> None:
        """Restart `min_rtt` from the newest sample, after persistent congestion (RFC 9002 section 5.2)."""
        self.min_rtt = self.latest_rtt

    def probe_timeout(self) -> float:
        """Seconds to wait for an acknowledgement before probing, without backoff (RFC 9002 section 6.2.1)."""
        spread = 4.0 * self.rttvar
        return self.smoothed_rtt + (spread if spread > GRANULARITY else GRANULARITY) + self.max_ack_delay

    def loss_delay(self) -> float:
        """Seconds after which a packet is lost when a later one was acknowledged (RFC 9002 section 6.1.2)."""
        rtt = self.smoothed_rtt if self.smoothed_rtt > self.latest_rtt else self.latest_rtt
        delay = TIME_THRESHOLD * rtt
        return delay if delay > GRANULARITY else GRANULARITY
