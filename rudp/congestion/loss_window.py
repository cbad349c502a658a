"""A window that only losses move: CUBIC's answer to them, one round at a time.

Knows: the window at the last congestion and when that was. Refuses to know: delays, and which losses count.

    start       O(1)    begin from a window, with another as the one to return to
    cut         O(1)    congestion: fall to 0.7, to four packets at least, remember where from (with fast convergence)
    grow        O(1)    a round without: the cubic function of time, or what Reno would have, whichever is more

Source: RFC 9438 sections 4.2 (window function), 4.3 (Reno-friendly region), 4.6 (decrease), 4.7 (fast convergence).
The window moves once a round and not once an ACK.
"""

from __future__ import annotations

from typing import Final

CUBIC_C: Final = 0.4
"""Packets per cubic second (section 5)."""
CUBIC_BETA: Final = 0.7
"""What is left after congestion (section 4.6)."""
RENO_ALPHA: Final = 3.0 * (1.0 - CUBIC_BETA) / (1.0 + CUBIC_BETA)
"""Packets a round by which Reno with that decrease grows (section 4.3)."""
MINIMUM_WINDOW_PACKETS: Final = 4
"""Fewer in flight can't carry an ACK clock past delayed ACKs (draft-ietf-ccwg-bbr section 2.8)."""
GROWTH_MAX: Final = 1.5
"""Growth of a round at most (section 4.2)."""


class LossWindow:
    """A window in packets."""

    __slots__ = ("_level_at", "_maximum", "_reno", "window")

    window: float

    def __init__(self) -> None:
        self.window = self._maximum = self._reno = self._level_at = 0.0

    def start(self, window: float, maximum: float, now: float) -> None:
        """Begin from `window`, with `maximum` as the plateau."""
        self.window = self._reno = window
        self._maximum = max(window, maximum)
        self._begin_epoch(now)

    def cut(self, now: float) -> None:
        """Answer congestion."""
        shrinking = self.window < self._maximum
        self._maximum = self.window * (1.0 + CUBIC_BETA) / 2.0 if shrinking else self.window
        self.window = self._reno = max(self.window * CUBIC_BETA, MINIMUM_WINDOW_PACKETS)
        self._begin_epoch(now)

    def grow(self, now: float, rtt: float) -> None:
        """Take a round of `rtt` seconds without congestion."""
        ahead = now + rtt - self._level_at
        target = CUBIC_C * ahead**3 + self._maximum
        self._reno += RENO_ALPHA if self._reno < self._maximum else 1.0
        self.window = min(max(self.window, target, self._reno), GROWTH_MAX * self.window)

    def _begin_epoch(self, now: float) -> None:
        self._level_at = now + (max(self._maximum - self.window, 0.0) / CUBIC_C) ** (1.0 / 3.0)
