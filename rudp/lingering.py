"""What is left of closed connections: an id and a reply, for a while (TIME-WAIT and its kin).

Knows: connection ids, the datagram that answers late packets, when each may be forgotten.
Refuses to know: what the datagram says. Every operation is O(1), expire and add O(forgotten).

There are two times. For three probe timeouts (RFC 9000 section 10.2) the id is needed: a driver should not close its
socket before. If there is a reply it is kept for longer, as long as a peer may go on retransmitting: one whose FIN
or whose acknowledgement was lost several times would otherwise learn of a good end by an error. An idle server pays
some 400 bytes for it.

Nothing is woken up for a single one: what has been kept long enough is forgotten when the next one comes, and the last
when all of them are not needed any more, or all of their replies. A timer for each was a third of a server's wake-ups
where connections come and go.

Replies thin out in time, as the peer's own probes do: they come in pairs, a probe timeout apart, then two, four and so
on, so that two such memories answer each other a few times and no more (RFC 9000 section 10.2.1).
"""

from __future__ import annotations

from collections import deque
from typing import Final

__all__ = ["Linger", "Lingering"]

NEEDED_PROBE_TIMEOUTS: Final = 3
# As the default give_up_timeout, and as TIME-WAIT in many a TCP.
KEPT_SECONDS: Final = 60.0
# Half of what a peer waits between two probes at most (probe_timeout.MAX_PROBE_TIMEOUT).
LONGEST_INTERVAL: Final = 1.5
# Probes come in pairs, so that one may be lost; so may one answer.
REPLIES_AT_ONCE: Final = 2
# Closed connections remembered at most; the oldest give way.
MAX_LINGERING: Final = 65536


class Linger:
    """What is to be kept of a closed connection: its pace, and the datagram that answers late packets."""

    __slots__ = ("probe_timeout", "reply")

    def __init__(self, probe_timeout: float, reply: bytes | None) -> None:
        self.probe_timeout = probe_timeout
        self.reply = reply


class _Entry:
    __slots__ = ("credit", "interval", "reply", "reply_after")

    def __init__(self, reply: bytes | None, now: float, interval: float) -> None:
        self.reply = reply
        self.reply_after = now
        self.credit = 0
        self.interval = min(interval, LONGEST_INTERVAL)


class Lingering:
    """Ids of closed connections, with their replies. Times are in seconds."""

    __slots__ = ("_kept", "_needed_until", "_silent", "entries")

    entries: dict[int, _Entry]
    """What is remembered, by id."""

    def __init__(self) -> None:
        self.entries = {}
        # (until when, id) of those with a reply, and of those without.
        self._kept: deque[tuple[float, int]] = deque()
        self._silent: deque[tuple[float, int]] = deque()
        # When the last is needed no more; None when none is.
        self._needed_until: float | None = None

    def __contains__(self, connection_id: int) -> bool:
        return connection_id in self.entries

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def needed(self) -> bool:
        """Whether a connection ended so lately that its peer is likely to ask."""
        return self._needed_until is not None

    def add(self, connection_id: int, linger: Linger, now: float) -> None:
        """Remember a connection that closed at `now`."""
        self.expire(now)
        self.entries[connection_id] = _Entry(linger.reply, now, linger.probe_timeout)
        # A peer that answers late makes probe timeouts as long as it likes; nobody is waited for longer than this.
        needed = now + min(NEEDED_PROBE_TIMEOUTS * linger.probe_timeout, KEPT_SECONDS)
        if self._needed_until is None or needed > self._needed_until:
            self._needed_until = needed
        if linger.reply is None:
            self._silent.append((needed, connection_id))
        else:
            self._kept.append((now + KEPT_SECONDS, connection_id))
        if len(self.entries) > MAX_LINGERING:
            most = self._kept if len(self._kept) >= len(self._silent) else self._silent
            self.entries.pop(most.popleft()[1], None)

    def reply(self, connection_id: int, now: float) -> bytes | None:
        """The datagram to answer a late run with, if it is to be answered."""
        entry = self.entries[connection_id]
        if entry.reply is None:
            return None
        if now >= entry.reply_after:
            entry.credit = REPLIES_AT_ONCE
            entry.reply_after = now + entry.interval
            entry.interval = min(entry.interval * 2, LONGEST_INTERVAL)
        if not entry.credit:
            return None
        entry.credit -= 1
        return entry.reply

    def next_timeout(self) -> float | None:
        """When none is needed any more, or after that none is remembered."""
        if self._needed_until is not None or not self._kept:
            return self._needed_until
        return self._kept[-1][0]

    def expire(self, now: float) -> None:
        """Forget what has been kept long enough."""
        for queue in (self._silent, self._kept):
            while queue and queue[0][0] <= now:
                self.entries.pop(queue.popleft()[1], None)
        if self._needed_until is not None and self._needed_until <= now:
            self._needed_until = None
