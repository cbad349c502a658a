"""What one round trip's feedback told.

Knows: sums and extremes of the samples since the round began. Refuses to know: when a round begins and what follows
from it. Each call is O(1).
"""

from __future__ import annotations

from typing import Final

from rudp.congestion.controller import AckSample

INFINITY: Final = float("inf")

LONG_RTT: Final = 0.1
"""Seconds of base RTT from which a path is a long one: a second has few rounds there."""
GRAIN: Final = 0.001
"""Seconds of queue that count as none: a train of a millisecond's worth."""
CALM: Final = 1.05
"""An RTT that is no more than so many times as long, and GRAIN, is the same."""
JITTER: Final = 3.0
JITTER_LEAST: Final = 0.002
JITTER_SHARE: Final = 1 / 20
JITTER_MOST: Final = 0.5
"""Three times what one RTT differs from the next by on average, beyond the 2 ms or twentieth of the base that bursts
make, is put down to the path, but half the base at most: or a queue of our own could make itself room."""
LASTS: Final = 1 / 16
LASTS_LEAST: Final = GRAIN
"""What stands for an eighth of the RTT is a queue, and what is over in a 16th, or in the time for which network cards
gather packets, is none: what a stall of a card or a radio holds up arrives at once."""
MEMORY: Final = 16
"""Samples over which that is averaged."""
HELD_BACK: Final = 0.025
HELD_BACK_SHARE: Final = 1 / 4
"""Seconds, or a part of the RTT, for which a peer may say that it held an ACK back: what ACKs that wait for a timer
come to (RFC 9000 section 18.2, docs/DESIGN.md). Who could say any time at all would hide any queue."""
SMALL_FLIGHT: Final = 4
"""A flight of so small a part of the window makes no queue."""


class Round:
    """Amounts in bytes, times in seconds."""

    # fmt: off
    __slots__ = (
        "_count", "_last", "_level", "_since", "_sum", "acked", "at_once", "is_app_limited", "jitter", "lost",
        "marked", "rate", "rtt_lasting", "rtt_max", "rtt_min",
    )
    # fmt: on

    acked: int
    at_once: int
    """The most that one ACK told of."""
    lost: int
    marked: int
    """Packets with a CE mark."""
    rate: float
    """Highest delivery rate, bytes a second; 0 without a sample."""
    rtt_min: float
    rtt_max: float
    rtt_lasting: float
    """The highest below which no sample was for a while."""
    jitter: float
    """By what one RTT differs from the next on average, over rounds."""
    is_app_limited: bool
    """Some of it was sent while the application held back."""

    def __init__(self) -> None:
        self._last = self._level = self._since = self.jitter = 0.0
        self.clear()

    def clear(self) -> None:
        """Begin a round."""
        self.acked = self.at_once = self.lost = self.marked = 0
        self.rate = self.rtt_max = self.rtt_lasting = 0.0
        self.rtt_min = INFINITY
        self._sum = 0.0
        self._count = 0
        self.is_app_limited = False

    def add(self, sample: AckSample, rtt: float | None, rate: float) -> None:
        """Count one ACK with the RTT that it showed. Where the application held back, only a rate above `rate` is one
        of the path's.
        """
        acked, told, limited = sample.acked_bytes, sample.delivery_rate, sample.is_app_limited
        # Conditional expressions, as this is for each ACK.
        self.acked += acked
        self.at_once = acked if acked > self.at_once else self.at_once
        self.marked += sample.ecn_ce
        if limited:
            self.is_app_limited = True
        if told is not None and told > self.rate and (not limited or told > rate):
            self.rate = told
        if rtt is not None:
            self.rtt_min = rtt if rtt < self.rtt_min else self.rtt_min
            self.rtt_max = rtt if rtt > self.rtt_max else self.rtt_max
            self._sum += rtt
            self._count += 1
            last, self._last = self._last, rtt
            if last:
                self.jitter += (abs(rtt - last) - self.jitter) / MEMORY
            now, lasts = sample.now, LASTS * sample.smoothed_rtt
            level = rtt if rtt < self._level else self._level
            if now - self._since >= (lasts if lasts > LASTS_LEAST else LASTS_LEAST):
                self.rtt_lasting = level if level > self.rtt_lasting else self.rtt_lasting
                self._level, self._since = rtt, now
            else:
                self._level = level

    @property
    def rtt_mean(self) -> float:
        """Infinity without a sample. The mean of a few differs from that of many by chance alone, unlike the lowest."""
        return self._sum / self._count if self._count else INFINITY

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


def network_rtt(sample: AckSample) -> float | None:
    """The RTT that an ACK showed without the time for which the peer held it back, None without one; O(1).

    Few packets are acknowledged by a timer, up to a quarter of an RTT late: a slow flow would see a queue of its own.
    """
    rtt = sample.latest_rtt
    if rtt is None:
        return None
    held = sample.ack_delay
    if held > HELD_BACK:  # hardly ever, and this is for each ACK
        held = min(held, max(HELD_BACK, HELD_BACK_SHARE * rtt))
    shown, least = rtt - held, sample.min_rtt
    least = least if least < rtt else rtt
    return shown if shown > least else least


def round_trip_noise(told: Round, base: float) -> float:
    """Seconds by which a round's mean RTT exceeds `base`, the RTT without a queue, without one; O(1)."""
    jitter = told.jitter - max(JITTER_LEAST, JITTER_SHARE * base)
    return GRAIN + min(JITTER * max(jitter, 0.0), JITTER_MOST * base)
