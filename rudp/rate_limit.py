"""How often something may happen: a bucket that fills at a rate.

Knows: a rate, a burst, when it was asked last. Refuses to know: what is limited. Every operation is O(1).
"""

from __future__ import annotations

__all__ = ["RateLimit"]


class RateLimit:
    """At most `rate` a second, `burst` at once."""

    __slots__ = ("_burst", "_level", "_rate", "_time")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._level = burst
        self._time: float | None = None

    def allows(self, now: float) -> bool:
        """Take one, if there is one."""
        if self._time is not None:
            self._level = min(self._burst, self._level + (now - self._time) * self._rate)
        self._time = now
        if self._level < 1:
            return False
        self._level -= 1
        return True
