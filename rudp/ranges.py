"""Sets of integers kept as sorted half-open ranges.

Knows: integers (packet numbers, stream offsets) and how runs of them join, split and overlap.
Refuses to know: what the integers mean; bounds on how many ranges may be held belong to the owner.

Two sorted lists, `starts` and `stops`, of equal length. Ranges in the set are never empty, never overlap and
never touch: starts[0] < stops[0] < starts[1] < stops[1] < ... So every position is found by bisect in C, and
an empty set, of which an idle connection has several, costs no list: all empty ones share `NONE`, which can't be added
to. Who appends to the lists itself does so to a set that isn't empty.

    add        O(log n + joined), O(1) when it extends, repeats or follows the last range (arrival in order)
    extend     O(added) in C
    unite      O(added + ranges between the lowest and the highest added) in C
    remove     O(log n + touched)
    contains, covers  O(log n);  missing, overlap  O(log n + returned)
    first, last, len, bool  O(1);  pop_first, remove_below  O(log n + removed);  total  O(n) in C

Inserting and deleting move the tail of both lists, a memmove of 8 bytes a range.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress
from operator import gt
from typing import Any, Final

__all__ = ["RangeSet"]

# A list to all who read it.
NONE: Final[Any] = ()


class RangeSet:
    """A set of integers as ascending half-open ranges [start, stop) with gaps between them."""

    __slots__ = ("starts", "stops")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self.starts: list[int] = NONE
        self.stops: list[int] = NONE
        for start, stop in ranges:
            self.add(start, stop)

    def add(self, start: int, stop: int) -> None:
        """Put [start, stop) into the set; an empty range changes nothing."""
        assert start <= stop, f"range [{start}, {stop}) runs backwards"
        if start == stop:
            return
        starts, stops = self.starts, self.stops
        if not stops:
            self.starts, self.stops = [start], [stop]
            return
        if start > stops[-1]:
            starts.append(start)
            stops.append(stop)
            return
        if start >= starts[-1]:
            if stop > stops[-1]:  # noqa: PLR1730 (a call of max() is dearer, and this is per run)
                stops[-1] = stop
            return
        # Ranges i..j-1 overlap or touch the new one.
        i = bisect_left(stops, start)
        j = bisect_right(starts, stop)
        if i < j:
            start = min(start, starts[i])
            stop = max(stop, stops[j - 1])
        starts[i:j] = (start,)
        stops[i:j] = (stop,)

    def extend(self, ranges: Sequence[tuple[int, int]]) -> int:
        """Put in ascending ranges that don't touch one another and begin above all that is in; how many integers."""
        starts: list[int]
        stops: list[int]
        starts, stops = map(list, zip(*ranges, strict=True))
        if self.stops and starts[0] <= self.stops[-1]:
            assert starts[0] == self.stops[-1], f"{ranges[0]} is not above the set"
            self.stops[-1] = stops[0]
            self.starts += starts[1:]
            self.stops += stops[1:]
        elif self.stops:
            self.starts += starts
            self.stops += stops
        else:
            self.starts, self.stops = starts, stops
        return sum(stops) - sum(starts)

    def unite(self, starts: list[int], stops: list[int]) -> None:
        """Put in the ranges that begin at `starts` and end at `stops`, in any order; at least one, and none empty."""
        starts, stops = _joined(starts, stops)
        if not self.stops:
            self.starts, self.stops = starts, stops
            return
        # What lies behind all that is in is most of it.
        above = bisect_right(starts, self.stops[-1])
        behind = starts[above:], stops[above:]
        if above:
            low = bisect_left(self.stops, starts[0])
            high = bisect_right(self.starts, stops[above - 1])
            starts, stops = [*self.starts[low:high], *starts[:above]], [*self.stops[low:high], *stops[:above]]
            self.starts[low:high], self.stops[low:high] = _joined(starts, stops)
        self.starts += behind[0]
        self.stops += behind[1]

    def remove(self, start: int, stop: int) -> None:
        """Take [start, stop) out of the set; what is not in the set is ignored."""
        assert start <= stop, f"range [{start}, {stop}) runs backwards"
        starts, stops = self.starts, self.stops
        if start == stop:
            return
        i = bisect_right(stops, start)
        j = bisect_left(starts, stop)
        if i >= j:
            return
        left = (starts[i], start) if starts[i] < start else None
        right = (stop, stops[j - 1]) if stop < stops[j - 1] else None
        rest = [part for part in (left, right) if part]
        starts[i:j] = [part[0] for part in rest]
        stops[i:j] = [part[1] for part in rest]

    def remove_below(self, value: int) -> None:
        """Take everything smaller than `value` out of the set."""
        starts, stops = self.starts, self.stops
        i = bisect_right(stops, value)
        if i == len(stops):
            self.starts = self.stops = NONE
            return
        del starts[:i], stops[:i]
        if starts and starts[0] < value:
            starts[0] = value

    def pop_first(self, max_length: int) -> tuple[int, int]:
        """Remove and return the lowest range, cut to at most `max_length` integers. IndexError when empty."""
        assert max_length > 0, "a range to pop has at least one integer"
        start, stop = self.starts[0], self.stops[0]
        if stop - start > max_length:
            stop = start + max_length
            self.starts[0] = stop
        else:
            del self.starts[0], self.stops[0]
        return start, stop

    def contains(self, value: int) -> bool:
        """Whether `value` is in the set."""
        i = bisect_right(self.starts, value)
        return i > 0 and value < self.stops[i - 1]

    __contains__ = contains

    def covers(self, start: int, stop: int) -> bool:
        """Whether all of [start, stop) is in the set; of an empty range, always."""
        if start >= stop:
            return True
        i = bisect_right(self.starts, start)
        return i > 0 and stop <= self.stops[i - 1]

    def overlap(self, start: int, stop: int) -> list[tuple[int, int]]:
        """The parts of [start, stop) that are in the set, ascending."""
        starts, stops = self.starts, self.stops
        i = bisect_right(stops, start)
        j = bisect_left(starts, stop)
        if start >= stop or i >= j:
            return []
        parts = list(zip(starts[i:j], stops[i:j], strict=True))
        parts[0] = (max(start, parts[0][0]), parts[0][1])
        parts[-1] = (parts[-1][0], min(stop, parts[-1][1]))
        return parts

    def missing(self, start: int, stop: int) -> list[tuple[int, int]]:
        """The parts of [start, stop) that are not in the set, ascending."""
        if start >= stop:
            return []
        starts, stops = self.starts, self.stops
        i = bisect_right(stops, start)
        j = bisect_left(starts, stop)
        if i >= j:
            return [(start, stop)]
        # Gaps lie between one range's stop and the next one's start; the argument's ends close the outer two.
        gaps = zip([start, *stops[i:j]], [*starts[i:j], stop], strict=True)
        return [(low, high) for low, high in gaps if low < high]

    def first(self) -> tuple[int, int]:
        """The lowest range. IndexError when empty."""
        return self.starts[0], self.stops[0]

    def last(self) -> tuple[int, int]:
        """The highest range. IndexError when empty."""
        return self.starts[-1], self.stops[-1]

    def total(self) -> int:
        """How many integers the set holds."""
        return sum(self.stops) - sum(self.starts)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self.starts, self.stops, strict=True)

    def __len__(self) -> int:
        """How many ranges the set holds."""
        return len(self.starts)

    def __bool__(self) -> bool:
        return bool(self.starts)

    def __repr__(self) -> str:
        return f"RangeSet({list(self)})"


def _joined(starts: list[int], stops: list[int]) -> tuple[list[int], list[int]]:
    """The same integers in ascending ranges that don't touch."""
    starts, stops = sorted(starts), sorted(stops)
    # Where a range begins that no other reaches, as many have ended as had begun.
    apart = list(map(gt, starts[1:], stops))
    return [starts[0], *compress(starts[1:], apart)], [*compress(stops, apart), stops[-1]]
