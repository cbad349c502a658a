"""What one round trip's feedback told.

Knows: sums and extremes of the samples since the round began. Refuses to know: when a round begins and what follows
from it. Each call is O(1).
"""

from __future__ import annotations

from typing import Final

from rudp.congestion.controller import AckSample

INFINITY: Final = float("inf")

GRAIN: Final = 0.001
"""Seconds of queue that count as none: a train of a millisecond's worth."""
MANY_PACKETS: Final = 400
MANY_GRAIN: Final = 0.001
"""Seconds more for long trains, and for network cards that hand them over together; from windows of 400 packets on."""
FEW_PACKETS: Final = 32
JITTER_SHARE: Final = 0.2
JITTER_SPREAD: Final = 0.3
"""Where RTTs spread that far for two rounds, in parts of the base, the lowest of both counts."""
JITTER_LEAST: Final = 0.4
JITTER_MOST: Final = 0.5
"""A fifth of the spread of a round's RTTs, and all beyond 0.4 of the base, is put down to the path, half the base
at most: or a queue of our own could make itself room."""
FEW_RTT: Final = 0.5
SMALL_FLIGHT: Final = 4
"""A flight of so small a part of the window makes no queue."""


class Round:
    """Amounts in bytes, times in seconds."""

    __slots__ = ("acked", "is_app_limited", "lost", "marked", "rate", "rtt_max", "rtt_min")

    acked: int
    lost: int
    marked: int
    """Packets with a CE mark."""
    rate: float
    """Highest delivery rate, bytes a second; 0 without a sample."""
    rtt_min: float
    rtt_max: float
    is_app_limited: bool
    """Some of it was sent while the application held back."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin a round."""
        self.acked = self.lost = self.marked = 0
        self.rate = self.rtt_max = 0.0
        self.rtt_min = INFINITY
        self.is_app_limited = False

    def add(self, sample: AckSample, rate: float) -> None:
        """Count one ACK. Where the application held back, only a rate above `rate` is one of the path's."""
        self.acked += sample.acked_bytes
        self.marked += sample.ecn_ce
        self.is_app_limited = self.is_app_limited or sample.is_app_limited
        told = sample.delivery_rate
        if told is not None and (not sample.is_app_limited or told > rate):
            self.rate = max(self.rate, told)
        rtt = sample.latest_rtt
        if rtt is not None:
            self.rtt_min = min(self.rtt_min, rtt)
            self.rtt_max = max(self.rtt_max, rtt)

    def passes_over(self, sample: AckSample, base: float, rate: float, window: int) -> bool:
        """Count only the bytes of an ACK that teaches nothing, as a request's and its answer's; whether it was one.

        The application held back, a small part of the window was in flight, which makes no queue, nothing was lost or
        marked in this round, and neither is the RTT below `base` nor the delivery rate above `rate`.
        """
        rtt, told = sample.latest_rtt, sample.delivery_rate
        if (
            not sample.is_app_limited
            or sample.prior_in_flight * SMALL_FLIGHT > window
            or sample.lost_bytes
            or sample.ecn_ce
            or self.lost
            or self.marked
            or rtt is None
            or rtt < base
            or (told is not None and told > rate)
        ):
            return False
        self.acked += sample.acked_bytes
        self.is_app_limited = True
        return True


def round_trip_noise(told: Round, base: float, packets: float) -> float:
    """Seconds by which a round's lowest RTT exceeds `base`, the RTT without a queue, without one; O(1).

    `packets`: the window.
    """
    # Few packets are acknowledged late and leave in bursts, which adds to all RTTs of a round.
    few = max(1.0 - packets / FEW_PACKETS, 0.0)
    many = 1.0 - min(MANY_PACKETS / packets, 1.0) if packets else 0.0
    # And where delays vary by themselves, the lowest of a round's few samples isn't the lowest of the path.
    spread = told.rtt_max - told.rtt_min
    varies = JITTER_SHARE * spread + max(spread - JITTER_LEAST * base, 0.0)
    return GRAIN + MANY_GRAIN * many + few * base * FEW_RTT + min(varies, JITTER_MOST * base)
