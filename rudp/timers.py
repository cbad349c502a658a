"""When each connection of an endpoint must be looked at next: one heap for all of them.

Knows: connections by id, which of its entries are stale. Refuses to know: what is done then, and what time it is.

    schedule    O(log n)
    woken       O(log n) for each entry that is due
    drop        O(entries of the connection), amortised: the heap is made anew when most of it is stale

A connection keeps when its entries are, latest first: few are made, as one that comes too early serves, and is made
anew then. Entries of ended connections are dropped when they come to the top or get to be the most.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Final

from rudp.connection import Connection

__all__ = ["Timers"]

# Stale heap entries left alone, and the most of one connection: a peer can bring deadlines nearer with each packet.
STALE_TIMERS: Final = 64
MAX_TIMERS: Final = 16


class Timers:
    """The wake-ups of the connections in `held`, by id."""

    __slots__ = ("_held", "_stale", "heap")

    heap: list[tuple[float, int]]
    """When, and which connection's id; the earliest first, stale ones included."""

    def __init__(self, held: dict[int, Connection]) -> None:
        self._held = held
        self.heap = []
        self._stale = 0

    def __len__(self) -> int:
        """How many entries there are, stale ones included."""
        return len(self.heap)

    def schedule(self, connection: Connection) -> None:
        """Make an entry for `due`, if none is early enough to serve; so few are made."""
        due, entries = connection.due, connection.timers
        assert due is not None
        if entries and due >= entries[-1]:
            return
        if len(entries) == MAX_TIMERS:
            self.drop(connection)
            entries = ()
        connection.timers = (*entries, due) if entries else (due,)
        heappush(self.heap, (due, connection.id))

    def woken(self, now: float) -> list[Connection]:
        """Take out what is due, and return the connections that it was for.

        Once each: of two timers slept through, the first was never acted on, so the second proves nothing.
        """
        heap, held = self.heap, self._held
        found: list[Connection] = []
        while heap and heap[0][0] <= now:
            when, connection_id = heappop(heap)
            connection = held.get(connection_id)
            if connection is None or not (entries := connection.timers) or entries[-1] != when:
                self._stale -= 1
                continue
            connection.timers = entries[:-1] if len(entries) > 1 else ()
            found.append(connection)
        return found if len(found) <= 1 else list(dict.fromkeys(found))

    def drop(self, connection: Connection) -> None:
        """Leave no wake-ups behind, and not more entries that are stale than others."""
        heap, held = self.heap, self._held
        self._stale += len(connection.timers)
        connection.timers = ()
        if self._stale > max(STALE_TIMERS, len(heap) // 2):
            heap[:] = [(when, key) for when, key in heap if key in held and when in held[key].timers]
            heapify(heap)
            self._stale = 0
        while heap and heap[0][1] not in held:
            heappop(heap)
            self._stale -= 1
