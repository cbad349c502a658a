"""What is left of closed connections: an id and a reply, for a while (TIME-WAIT and its kin).

Knows: connection ids, the datagram that answers late packets, when each may be forgotten.
Refuses to know: what the datagram says. add and reply are O(1), expire O(forgotten).

Replies thin out (to the 1st, 2nd, 4th, 8th ... late run), so that two such memories can't keep answering each other
(RFC 9000 section 10.2.1).
"""

from __future__ import annotations

from collections import deque
from typing import Final

__all__ = ["Lingering"]

# Closed connections remembered at most; the oldest give way. About 250 bytes each.
MAX_LINGERING: Final = 65536


class Lingering:
    """Ids of closed connections, with their replies."""

    __slots__ = ("_entries", "_expiries")

    def __init__(self) -> None:
        # id -> [reply, packets that came since]
        self._entries: dict[int, list[object]] = {}
        self._expiries: deque[tuple[float, int]] = deque()

    def __contains__(self, connection_id: int) -> bool:
        return connection_id in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, connection_id: int, reply: bytes | None, expires: float) -> None:
        """Remember a closed connection until about `expires`."""
        self._entries[connection_id] = [reply, 0]
        self._expiries.append((expires, connection_id))
        if len(self._expiries) > MAX_LINGERING:
            self._entries.pop(self._expiries.popleft()[1], None)

    def reply(self, connection_id: int) -> bytes | None:
        """The datagram to answer a late run with, if it is to be answered."""
        entry = self._entries[connection_id]
        came = entry[1] = int(entry[1]) + 1  # type: ignore[call-overload]
        reply = entry[0]
        return reply if isinstance(reply, bytes) and came & (came - 1) == 0 else None

    def next_timeout(self) -> float | None:
        """When the oldest may be forgotten."""
        return self._expiries[0][0] if self._expiries else None

    def expire(self, now: float) -> None:
        """Forget what has been kept long enough."""
        while self._expiries and self._expiries[0][0] <= now:
            self._entries.pop(self._expiries.popleft()[1], None)
