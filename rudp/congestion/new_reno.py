"""NewReno, name "new_reno": RFC 9002 section 7 with the pseudocode of its appendix B.

Knows how the window grows and that a congestion event halves it; `loss_based` knows when. Slow start grows by what is
acknowledged, congestion avoidance by a packet for every window acknowledged. Every operation costs O(1).

Beyond RFC 9002, as it permits: the window is reduced gradually (RFC 9937), and a reaction to losses that were none
is undone. Omitted: the single packet that may be sent early to speed up a recovery period (section 7.3.2, a MAY);
PRR sends one.
"""

from __future__ import annotations

from typing import Final

from rudp.congestion.controller import AckSample, RandomBits
from rudp.congestion.loss_based import LossBased

LOSS_REDUCTION_FACTOR: Final = 0.5
"""kLossReductionFactor, RFC 9002 appendix B.1."""


class NewReno(LossBased):
    """Additive increase by one packet a round trip, multiplicative decrease by half."""

    __slots__ = ("_acked_bytes",)

    name = "new_reno"

    def __init__(self, max_datagram_size: int, random: RandomBits | None = None) -> None:
        super().__init__(max_datagram_size, random)
        self._acked_bytes = 0

    def _reduce(self) -> None:
        self.ssthresh = max(int(self.congestion_window * LOSS_REDUCTION_FACTOR), self.minimum_window)
        self._acked_bytes = 0

    def _forget(self) -> None:
        self._acked_bytes = 0

    def _grow(self, sample: AckSample) -> None:
        if self.in_slow_start:
            self.congestion_window += sample.acked_bytes
            return
        # One packet per window acknowledged; counting bytes (RFC 3465) keeps the fraction B.5's division
        # drops.
        self._acked_bytes += sample.acked_bytes
        if self._acked_bytes >= self.congestion_window:
            self._acked_bytes -= self.congestion_window
            self.congestion_window += self.max_datagram_size
