"""Whether to read the socket as soon as something comes, or to let datagrams gather for a millisecond first.

Knows: how much the last wake-ups brought, when, and whether anything was sent for it. Refuses to know: sockets, loops.

Where neither the card nor the kernel merges datagrams, 100 Mbit/s wake the process ten thousand times a second, and a
wake-up costs some twenty times what one more datagram in it does. Cards hold back interrupts for that reason, and the
better ones only in bulk flows (ethtool's adaptive-rx). So here: datagrams gather while they are large, come three times
a millisecond or more often, one or two at a time, and are nothing that we answer. A request that waits for its reply,
or the datagrams that a kernel merges, never are all of that.
"""

from __future__ import annotations

from typing import Final

__all__ = ["GATHER_TIME", "LEAST", "Gathering"]

# Seconds for which datagrams gather: the grain of epoll, and of the pacer at the other end.
GATHER_TIME: Final = 0.001
# Bytes that a wake-up brings in a bulk flow, at least: one full datagram of the least size that paths must carry, less
# some room; and less than at most: with three of them, what a wake-up costs is shared already.
LEAST: Final = 1000
MOST: Final = 3000
# Seconds between two of them, at most: so often that as many gather as make it worth while.
GAP: Final = GATHER_TIME / 3
# Wake-ups in a row that look like it.
WAKEUPS: Final = 8


class Gathering:
    """Judges wake-up by wake-up.

    `silent` wake-ups in a row looked like a bulk flow that nobody answers. A small one that finds neither any of those
    nor datagrams that gather need not be told.
    """

    __slots__ = ("_last", "active", "silent")

    def __init__(self) -> None:
        self.active = False
        self.silent = 0
        self._last = 0.0

    def on_received(self, size: int, now: float) -> bool:
        """A wake-up at `now` (seconds) brought `size` bytes: whether to gather from now on."""
        if self.active:
            self.active = size >= MOST
            self.silent = 0
        elif LEAST <= size < MOST and now - self._last < GAP:
            self.silent += 1
            self.active = self.silent >= WAKEUPS
        else:
            self.silent = 0
        self._last = now
        return self.active

    def stop(self) -> None:
        """Begin again, reading at once."""
        self.active = False
        self.silent = 0

    def on_sent(self) -> None:
        """Something was sent: what came was worth an answer."""
        self.silent = 0
