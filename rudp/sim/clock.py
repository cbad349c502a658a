"""The virtual clock and its heap of events.

Knows: simulated time (float seconds), what is to happen when, and when nothing will ever happen again.
Refuses to know: packets, links, hosts. No wall clock: time moves only by going to the next event.

Operations: `call_at` O(log n); `run` pops events in order of (time, order of scheduling), so that a run
depends on nothing but its inputs. There is no cancel: who scheduled an event that no longer matters ignores
it when it fires.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import Final, NoReturn

from rudp.errors import RudpError

__all__ = ["MAX_EVENTS", "Clock", "SimulationError", "Stalled", "TooManyEvents"]

# Far more than any scenario needs, few enough that a run that never ends fails within minutes.
MAX_EVENTS: Final = 20_000_000
# Events in a row at one instant: thousands of hosts may act at once, but time that stands still is a loop.
MAX_EVENTS_AT_ONE_INSTANT: Final = 100_000


class SimulationError(RudpError):
    """The simulation was set up or used in a way that has no meaning; the message says which."""


class Stalled(SimulationError):
    """The run would never reach its goal: no event is left, or time stands still."""


class TooManyEvents(SimulationError):
    """The run processed `max_events` events without reaching its goal."""


class Clock:
    """Virtual time in seconds and the events to come.

    `heappush(heap, (time, next(sequence), callback))` is `call_at` of a time that is ahead: for who has an event a
    packet.
    """

    __slots__ = ("events", "heap", "now", "sequence")

    def __init__(self, start: float = 0.0) -> None:
        self.now = start
        self.events = 0
        self.heap: list[tuple[float, int, Callable[[float], object]]] = []
        self.sequence = count()

    def call_at(self, time: float, callback: Callable[[float], object]) -> None:
        """Call `callback(time)` when the clock is at `time` (seconds); a time gone by means now."""
        if not time < inf:
            raise SimulationError(f"an event at {time} would never happen")
        now = self.now
        heappush(self.heap, (time if time > now else now, next(self.sequence), callback))

    def next_event_at(self) -> float | None:
        """When the next event is due, or None if there is none."""
        return self.heap[0][0] if self.heap else None

    def run(
        self,
        until: float | None = None,
        stop: Callable[[], bool] | None = None,
        max_events: int = MAX_EVENTS,
    ) -> bool:
        """Process events until `stop()` is true, the clock reaches `until`, or (with neither) none is left.

        Returns whether `stop()` held at the end (True if none was given). `stop` is asked before the first
        event and after each. An `until` of infinity is as none. Raises `Stalled` when `stop` is not met and no event is
        left, or when the clock doesn't move any more; `TooManyEvents` after `max_events` events.
        """
        if stop is not None and stop():
            return True
        heap = self.heap
        limit = inf if until is None else until
        first = self.events + 1
        last = self.events + max_events
        now = self.now
        # A loop with its condition at its head has no unconditional jump back, which is what CPython 3.11 counts before
        # it specialises a function's code: as this one is called once, it would stay as slow as at its start.
        while True:
            if not heap:
                break
            time, number, callback = heappop(heap)
            if time > limit:
                heappush(heap, (time, number, callback))  # for another run
                break
            done = self.events + 1
            if time > now:
                now = self.now = time
                first = done
            elif done - first >= MAX_EVENTS_AT_ONE_INSTANT:
                self._stand_still(callback)
            if done > last:
                raise TooManyEvents(f"{max_events} events processed, at {now:.6f} s the goal isn't met")
            self.events = done
            callback(time)
            if stop is not None and stop():
                return True
        if stop is not None and not heap:
            raise Stalled(f"at {self.now:.6f} s no event is left, so the awaited condition will never be met")
        self.now = limit if self.now < limit < inf else self.now
        return stop is None

    def _stand_still(self, callback: Callable[[float], object]) -> NoReturn:
        owner = getattr(callback, "__self__", callback)
        raise Stalled(
            f"time stands still at {self.now!r} s: {MAX_EVENTS_AT_ONE_INSTANT} events in a row at one "
            f"instant, the last for {owner!r}; does next_timeout() stay in the past after handle_timeout()?"
        )
