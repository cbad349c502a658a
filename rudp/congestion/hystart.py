"""HyStart++: when slow start should end although nothing was lost yet (RFC 9406).

Knows the smallest RTT of this round trip and of the last. When it has grown by an eighth (4 ms at least, 16 ms at
most), the queue is building: growth goes on at a quarter of the pace (conservative slow start, CSS), and after five
rounds of that slow start is over. An RTT below the one it began with takes it back to slow start.
Refuses to know windows and thresholds: its owner adds what `growth` returns. Every operation costs O(1).

The constants are those of section 4.3 for a paced sender: what one ACK adds is not limited (L is infinity). One is
told apart: a round's smallest RTT counts after 8 samples there. A receiver here acknowledges about eight times a
window, so that would be after all of the round, with the window doubled once more. Those 8 are 16 packets with TCP's
delayed acknowledgements; it is 16 packets here, and two samples at least. With windows of 20 packets that is the same.

A round ends when a packet is acknowledged that was sent after it began, told by `delivered` where RFC 9406 takes
sequence numbers.
"""

from __future__ import annotations

from typing import Final

from rudp.congestion.controller import AckSample

__all__ = ["HyStart"]

MIN_RTT_THRESH: Final = 0.004
MAX_RTT_THRESH: Final = 0.016
"""Seconds by which the RTT must grow, at least and at most (RFC 9406 section 4.3, as all below)."""

MIN_RTT_DIVISOR: Final = 8
"""Share of the RTT by which it must grow, between the two."""

RTT_SAMPLES: Final = 2
RTT_SAMPLE_PACKETS: Final = 16
"""Samples of a round, and packets they stand for, before its smallest RTT counts (in the place of N_RTT_SAMPLE)."""

CSS_GROWTH_DIVISOR: Final = 4
"""Part of what is acknowledged by which the window grows in CSS."""

CSS_ROUNDS: Final = 5
"""Round trips of CSS, the one it begins in included, before slow start is over."""


class HyStart:
    """The state of one slow start. Times in seconds."""

    __slots__ = (
        "_acked_bytes",
        "_baseline",
        "_css_rounds",
        "_last_min_rtt",
        "_round_end",
        "_round_min_rtt",
        "_samples",
    )

    def __init__(self) -> None:
        self._round_end = 0
        self._last_min_rtt = float("inf")
        self._round_min_rtt = float("inf")
        self._samples = 0
        # Acknowledged in this round.
        self._acked_bytes = 0
        # Smallest RTT of the round in which CSS began; None: not in CSS.
        self._baseline: float | None = None
        self._css_rounds = 0

    @property
    def is_conservative(self) -> bool:
        """Whether it is in CSS."""
        return self._baseline is not None

    @property
    def is_over(self) -> bool:
        """Whether CSS has lasted its rounds: congestion avoidance is next (section 4.2)."""
        return self._css_rounds >= CSS_ROUNDS

    def growth(self, sample: AckSample, packet: int) -> int:
        """Take one ACK's sample and return the bytes by which it grows the window; `packet`: a full one's size."""
        if sample.prior_delivered >= self._round_end:
            self._start_round(sample.delivered)
        if sample.latest_rtt is not None:
            self._round_min_rtt = min(self._round_min_rtt, sample.latest_rtt)
            self._samples += 1
        self._acked_bytes += sample.acked_bytes
        grown = sample.acked_bytes // CSS_GROWTH_DIVISOR if self.is_conservative else sample.acked_bytes
        if self._samples >= RTT_SAMPLES and self._acked_bytes >= RTT_SAMPLE_PACKETS * packet:
            self._compare()
        return grown

    def _start_round(self, delivered: int) -> None:
        self._round_end = delivered
        self._last_min_rtt = self._round_min_rtt
        self._round_min_rtt = float("inf")
        self._samples = 0
        self._acked_bytes = 0
        if self.is_conservative:
            self._css_rounds += 1

    def _compare(self) -> None:
        if self._baseline is not None:
            if self._round_min_rtt < self._baseline:
                self._baseline = None
                self._css_rounds = 0
            return
        if self._last_min_rtt == float("inf"):
            return
        threshold = max(MIN_RTT_THRESH, min(self._last_min_rtt / MIN_RTT_DIVISOR, MAX_RTT_THRESH))
        if self._round_min_rtt >= self._last_min_rtt + threshold:
            self._baseline = self._round_min_rtt
