"""The RTT of a path without anyone's queue, and when it should be looked for again.

Knows: the lowest RTT of this epoch and of the one before; an epoch ends with a drain. Refuses to know: how a drain is
made.

    update      O(1)    one RTT sample
    is_due      O(1)    whether it's time for a drain
    want        O(1)    ask for one soon; want_now: at once, if the last is long enough ago
    drained     O(1)    a drain ended

A sample close to the lowest means that the queue is empty, because we or all others drain: it puts off the next
drain. So flows that share a queue come to drain it at the same time, as all see it empty at the same time.

Source: draft-ietf-ccwg-bbr (the min_rtt filter and ProbeRTT, and why flows synchronise); own: epochs.
"""

from __future__ import annotations

from typing import Final

INTERVAL: Final = 3.0
"""Seconds from one drain to the next, at least: two make a newcomer known within ten seconds."""
INTERVAL_ROUNDS: Final = 20
"""And so many RTTs at least: a drain costs about an eighth of one."""
CLOSE: Final = 1.01
CLOSE_GRAIN: Final = 0.0003
"""An RTT within 1 % and 0.3 ms of the lowest is as good."""
EPOCH: Final = 5.0
"""Seconds of an epoch at least: the lowest RTT is that of the last five to twelve."""
EPOCH_IN_DOUBT: Final = 12.0
"""The same while others may fill the queue: it falls to the ground rarely."""
PUT_OFF_MAX: Final = 3.0
"""Intervals without a drain of our own at most."""

SOON: Final = 1.0
"""Seconds from a change to the drain it calls for: what a newcomer piled up has left by then."""

INFINITY: Final = float("inf")


class BaseRtt:
    """All times in seconds."""

    __slots__ = ("_before", "_drained_at", "_epoch_start", "_now", "_seen_at", "_wanted_at", "value")

    value: float
    """Infinity before the first sample."""

    def __init__(self) -> None:
        self.forget()
        self._seen_at = self._drained_at = self._epoch_start = 0.0
        self._wanted_at = INFINITY

    def forget(self) -> None:
        """The path may be another: the next sample is the base."""
        self._now = self._before = self.value = INFINITY

    def update(self, rtt: float, now: float) -> None:
        """Take one sample."""
        if rtt <= self.value * CLOSE + CLOSE_GRAIN:
            self._seen_at = now
        self._now = min(self._now, rtt)
        self.value = min(self.value, rtt)

    def drained(self, lowest: float, now: float, *, in_doubt: bool = False) -> None:
        """Note the end of a drain that met `lowest`; begin the next epoch if this one was long enough.

        `in_doubt`: others may keep the queue filled, so that what this epoch has seen may not be the path's.
        """
        if now - self._epoch_start >= (EPOCH_IN_DOUBT if in_doubt else EPOCH):
            self._before, self._now = self._now, lowest
            self.value = min(self._before, lowest)
            self._epoch_start = now
        self._seen_at = self._drained_at = now
        self._wanted_at = INFINITY

    def is_due(self, now: float) -> bool:
        """Whether it's time to drain the queue."""
        if now >= self._wanted_at:
            return True
        interval = max(INTERVAL, INTERVAL_ROUNDS * self.value) if self.value < INFINITY else INTERVAL
        if now - self._drained_at > PUT_OFF_MAX * interval:
            return True
        return self._wanted_at == INFINITY and now - self._seen_at > interval

    def want(self, now: float, seconds: float = SOON) -> None:
        """Something changed that all who share the queue have seen: drain soon, as they will."""
        self._wanted_at = now + seconds

    def want_now(self, now: float, apart: float) -> None:
        """The same, but what all have seen calls for no waiting; not more often than in any case."""
        if now - self._drained_at > apart:
            self._wanted_at = now
