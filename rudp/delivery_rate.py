"""How fast a path delivers: one sample of bytes a second from an ACK.

Knows: bytes delivered so far and when, of which each train carries a snapshot taken when it was sent.
Refuses to know: which packets an ACK covers and what a controller makes of a sample. Every operation is O(1).

Source: draft-cheng-iccrg-delivery-rate-estimation, with a train in the place of a packet: its packets leave
at one time, so they share one snapshot.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from rudp.sent_packets import PathState, SentTrain

__all__ = ["DeliveryRate"]

# Seconds: less than this passes between two looks at a clock, or is rounding where a clock is coarse.
CLOCK_GRAIN: Final = 1e-6
# The constructor of a named tuple is a Python function, which takes twice as long.
_new_state: Final = partial(tuple.__new__, PathState)


class DeliveryRate:
    """Delivery-rate samples of one path (draft-cheng-iccrg-delivery-rate-estimation section 3)."""

    __slots__ = ("app_limited_until", "delivered", "delivered_time", "first_sent_time", "lost")

    def __init__(self, now: float) -> None:
        self.delivered = 0
        self.lost = 0
        self.delivered_time = now
        self.first_sent_time = now
        # While `delivered` is below this, the application held us back; 0: it doesn't.
        self.app_limited_until = 0

    def on_sent(self, size: int, bytes_in_flight: int, now: float) -> PathState:
        """The snapshot that a train of `size` bytes carries; `bytes_in_flight` is without it."""
        if not bytes_in_flight:
            self.first_sent_time = self.delivered_time = now
        in_flight, is_app_limited = bytes_in_flight + size, self.app_limited_until > 0
        state: PathState = _new_state(
            (self.delivered, self.delivered_time, self.first_sent_time, is_app_limited, self.lost, in_flight)
        )
        return state

    def on_delivered(self, size: int, now: float) -> None:
        self.delivered += size
        self.delivered_time = now
        if self.delivered > self.app_limited_until:
            self.app_limited_until = 0

    def sample(self, newest: SentTrain, min_rtt: float, now: float) -> float | None:
        """Bytes a second over the flight of `newest`, or None if that was too short to tell (section 3.3)."""
        self.first_sent_time = newest.time_sent
        state = newest.path_state
        sent_over, acked_over = newest.time_sent - state.first_sent_time, now - state.delivered_time
        interval = sent_over if sent_over > acked_over else acked_over
        if interval < CLOCK_GRAIN or interval < min_rtt:
            return None
        return (self.delivered - state.delivered) / interval
