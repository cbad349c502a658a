"""When the next train may leave: a token bucket (RFC 9002 section 7.7).

Knows a rate, the bytes it has made due since, and the grain of the timers that will wake us. Refuses to
know windows, packets and clocks: `now` is an argument.

The bucket's depth (`burst`) is what may leave at once after a pause: ten packets, or two milliseconds' worth,
because an event loop's timers have a millisecond's grain and a shallower bucket would lose what a late timer
cost. While packets are in flight it is shallower if the controller says so (`burst_packets`). Between
pauses nothing leaves before a `quantum` is due, one millisecond's worth and at most a full train, so that
pacing doesn't cut trains into crumbs. Every operation costs O(1).
"""

from __future__ import annotations

from typing import Final

from rudp.errors import ConfigurationError

__all__ = ["UNPACED", "Pacer"]

BURST_PACKETS: Final = 10
"""Packets that may leave at once whatever the rate: the initial window (RFC 9002 section 7.7)."""

BURST_TIME: Final = 0.002
"""Seconds' worth of the rate that may leave at once: twice the timer grain."""

QUANTUM_TIME: Final = 0.001
"""Seconds' worth of the rate that is worth waking up for: the timer grain of epoll."""

SLOW_RATE: Final = 150_000
"""Bytes a second from which a quantum is two packets at least (draft-ietf-ccwg-bbr section 5.6.3, send quantum): half
the wake-ups, and an ACK for every second packet loses nothing by it."""

QUANTUM_BYTES: Final = 65_507
"""No quantum is larger than what one train can carry."""

UNPACED: Final = 1 << 62
"""The allowance when there is no rate: more than any window."""

SLACK: Final = 0.01
"""Bytes: at the instant `release_time` names, rounding must not leave the bucket short of a quantum."""

INFINITY: Final = float("inf")

SLACK_TIME: Final = 1e-9
"""Seconds: a wait that a clock reading of some days may not resolve is none (a path without delay has any rate)."""


class Pacer:
    """A token bucket of bytes. It starts full and unpaced."""

    # fmt: off
    __slots__ = (
        "_depth", "_depth_packets", "_full", "_idle", "_max_datagram_size", "_rate", "_tokens", "_updated", "asked",
        "burst", "quantum",
    )
    # fmt: on

    asked: float | None
    """The rate that was asked for last: to ask for it again changes nothing, as long as packets keep their size."""
    burst: float
    """Depth of the bucket while nothing is in flight, bytes."""
    quantum: float
    """Bytes that must be due before anything may leave."""

    def __init__(self, max_datagram_size: int, depth_packets: int = BURST_PACKETS) -> None:
        """`depth_packets` may leave at once while others are in flight."""
        self._depth_packets = depth_packets
        self.asked = None
        self._rate = 0.0
        self._updated = 0.0
        self._max_datagram_size = max_datagram_size
        self._size_bucket()
        self._tokens = self.burst
        self._idle = self._full = True

    @property
    def rate(self) -> float | None:
        """Bytes a second; None: not paced."""
        return self._rate or None

    def set_rate(self, rate: float | None, max_datagram_size: int, now: float) -> None:
        """Pace at `rate` bytes a second from now on; None, zero or infinity: not at all.

        `max_datagram_size` is the size of a full packet in bytes.
        """
        self.asked = rate
        new_rate = 0.0 if rate is None or rate == INFINITY else rate
        if not new_rate >= 0.0:
            raise ConfigurationError(f"a pacing_rate of {rate!r}: a controller's is None, or bytes a second from 0 on")
        if new_rate == self._rate and max_datagram_size == self._max_datagram_size:
            return
        # A full bucket stays full, or the first message after a pause would wait for a rate that has risen since. One
        # that a lower rate has made too small for what is in it isn't full.
        self._refill(now)
        full = self._full
        self._rate = new_rate
        self._max_datagram_size = max_datagram_size
        self._size_bucket()
        self._tokens = self.burst if full else max(min(self._tokens, self.burst), -self.burst)

    def allowance(self, now: float) -> int:
        """Return the bytes that may leave now: 0, or at least a quantum; `UNPACED` without a rate."""
        rate = self._rate
        if not rate:
            return UNPACED
        tokens = self._tokens if now <= self._updated else self._refill(now)
        quantum = self.quantum
        if tokens >= quantum:
            return int(tokens)
        missing = quantum - tokens
        return int(quantum) if missing <= SLACK or missing <= rate * SLACK_TIME else 0

    def on_sent(self, sent_bytes: int, now: float) -> None:
        """Take `sent_bytes` from the bucket. Probes may overdraw it, by no more than it holds when full."""
        if not self._rate:
            return
        self._idle = self._full = False
        tokens = self._tokens if now <= self._updated else self._refill(now)
        left = tokens - sent_bytes
        self._tokens = left if left > -self.burst else -self.burst

    def settle(self, now: float) -> None:
        """Forget what probes overdrew: nothing is in flight any more, so there is nothing to space it from."""
        self._idle = True
        if self._tokens < 0.0:
            self._refill(now)
            self._tokens = max(self._tokens, 0.0)

    def release_time(self, now: float) -> float | None:
        """Return when a quantum will be due, seconds; None if something may leave already."""
        rate = self._rate
        if not rate:
            return None
        missing = self.quantum - (self._tokens if now <= self._updated else self._refill(now))
        return None if missing <= SLACK or missing <= rate * SLACK_TIME else now + missing / rate

    def _refill(self, now: float) -> float:
        """Bytes in the bucket now."""
        elapsed = now - self._updated
        if elapsed > 0.0:
            tokens = self._tokens + elapsed * self._rate
            most = self.burst if self._idle else self._depth
            if tokens < most:
                self._tokens = tokens
            else:
                self._tokens = most
                self._full = self._tokens >= self.burst
            self._updated = now
        return self._tokens

    def _size_bucket(self) -> None:
        # Conditional expressions, as this is for each ACK that changes the rate.
        rate, size = self._rate, float(self._max_datagram_size)
        least, burst, depth = rate * BURST_TIME, BURST_PACKETS * size, self._depth_packets * size
        self.burst = burst if burst > least else least
        self._depth = depth if depth > least else least
        due = rate * QUANTUM_TIME if rate * QUANTUM_TIME < QUANTUM_BYTES else QUANTUM_BYTES
        least = size if rate < SLOW_RATE else 2 * size
        self.quantum = due if due > least else least
