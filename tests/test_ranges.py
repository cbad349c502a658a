"""Laws of `rudp.ranges`: it behaves as a set of ints does, and keeps its ranges apart and in order."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rudp.ranges import RangeSet

UNIVERSE = 48
BOUNDS = st.tuples(st.integers(0, UNIVERSE), st.integers(0, UNIVERSE)).map(
    lambda pair: (min(pair), max(pair))
)


def as_ranges(values: set[int]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for value in sorted(values):
        if found and found[-1][1] == value:
            found[-1] = (found[-1][0], value + 1)
        else:
            found.append((value, value + 1))
    return found


class AgainstASet(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.ranges = RangeSet()
        self.model: set[int] = set()

    @rule(bounds=BOUNDS)
    def add(self, bounds: tuple[int, int]) -> None:
        self.ranges.add(*bounds)
        self.model |= set(range(*bounds))

    @rule(length=st.integers(0, 4), gap=st.integers(0, 2))
    def add_at_the_end(self, length: int, gap: int) -> None:
        start = max(self.model, default=-1) + 1 + gap
        self.ranges.add(start, start + length)
        self.model |= set(range(start, start + length))

    @rule(parts=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3)), min_size=1, max_size=4))
    def extend(self, parts: list[tuple[int, int]]) -> None:
        added = []
        stop = max(self.model, default=-1) + 1
        for number, (gap, length) in enumerate(parts):
            start = stop + gap + (number > 0)
            stop = start + length
            added.append((start, stop))
        assert self.ranges.extend(added) == sum(length for _, length in parts)
        for start, stop in added:
            self.model |= set(range(start, stop))

    @rule(parts=st.lists(st.tuples(st.integers(0, UNIVERSE), st.integers(1, 8)), min_size=1, max_size=6))
    def unite(self, parts: list[tuple[int, int]]) -> None:
        self.ranges.unite([start for start, _ in parts], [start + length for start, length in parts])
        for start, length in parts:
            self.model |= set(range(start, start + length))

    @rule(bounds=BOUNDS)
    def remove(self, bounds: tuple[int, int]) -> None:
        self.ranges.remove(*bounds)
        self.model -= set(range(*bounds))

    @rule(value=st.integers(0, UNIVERSE))
    def remove_below(self, value: int) -> None:
        self.ranges.remove_below(value)
        self.model = {held for held in self.model if held >= value}

    @precondition(lambda self: self.model)
    @rule(max_length=st.integers(1, 8))
    def pop_first(self, max_length: int) -> None:
        start, stop = self.ranges.pop_first(max_length)
        first = as_ranges(self.model)[0]
        assert (start, stop) == (first[0], min(first[1], first[0] + max_length))
        self.model -= set(range(start, stop))

    @rule(bounds=BOUNDS)
    def ask_about_a_range(self, bounds: tuple[int, int]) -> None:
        asked = set(range(*bounds))
        assert self.ranges.missing(*bounds) == as_ranges(asked - self.model)
        assert self.ranges.overlap(*bounds) == as_ranges(asked & self.model)
        assert self.ranges.covers(*bounds) == (asked <= self.model)

    @rule(value=st.integers(-1, UNIVERSE + 1))
    def ask_about_a_value(self, value: int) -> None:
        assert self.ranges.contains(value) == (value in self.model)
        assert (value in self.ranges) == (value in self.model)

    @invariant()
    def holds_the_same_integers(self) -> None:
        expected = as_ranges(self.model)
        assert list(self.ranges) == expected
        assert len(self.ranges) == len(expected)
        assert bool(self.ranges) == bool(expected)
        assert self.ranges.total() == len(self.model)
        if expected:
            assert self.ranges.first() == expected[0]
            assert self.ranges.last() == expected[-1]


TestAgainstASet = AgainstASet.TestCase


def test_touching_ranges_become_one() -> None:
    assert list(RangeSet([(0, 3), (6, 9), (3, 6)])) == [(0, 9)]


def test_one_add_joins_all_ranges_it_spans() -> None:
    ranges = RangeSet((start, start + 1) for start in range(0, 1000, 2))
    assert len(ranges) == 500
    ranges.add(0, 1000)
    assert list(ranges) == [(0, 1000)]


def test_ranges_work_beyond_64_bits() -> None:
    ranges = RangeSet([(2**62, 2**62 + 5), (2**64, 2**64 + 1)])
    assert ranges.missing(2**62, 2**64 + 1) == [(2**62 + 5, 2**64)]


def test_empty_set_has_no_first_range() -> None:
    ranges = RangeSet()
    for ask in (ranges.first, ranges.last, lambda: ranges.pop_first(1)):
        with pytest.raises(IndexError):
            ask()


def test_a_backward_range_is_refused() -> None:
    ranges = RangeSet()
    with pytest.raises(AssertionError):
        ranges.add(2, 1)
    with pytest.raises(AssertionError):
        ranges.remove(2, 1)
    full = RangeSet([(0, 3)])
    with pytest.raises(AssertionError):
        full.pop_first(0)
    assert list(full) == [(0, 3)]


def test_arrival_in_order_holds_one_range() -> None:
    ranges = RangeSet()
    for start in range(0, 100_000, 10):
        ranges.add(start, start + 10)
        assert len(ranges.starts) == 1
    assert ranges.last() == (0, 100_000)


def test_repr_shows_the_ranges() -> None:
    assert repr(RangeSet([(1, 2), (4, 6)])) == "RangeSet([(1, 2), (4, 6)])"


class TestEmpty:
    def test_all_empty_sets_share_what_cant_be_added_to(self) -> None:
        one, other = RangeSet(), RangeSet()
        assert one.starts is one.stops is other.starts is other.stops
        with pytest.raises(AttributeError):
            one.starts.append(1)

    @pytest.mark.parametrize("fill", [lambda held: held.add(3, 5), lambda held: held.extend([(3, 5)])])
    def test_what_was_emptied_is_as_small_again_and_takes_more(self, fill: Callable[[RangeSet], object]) -> None:
        held, other = RangeSet(), RangeSet()
        for _ in range(2):
            fill(held)
            assert list(held) == [(3, 5)]
            assert not other
            held.remove_below(9)
            assert held.starts is other.starts
            held.remove_below(1)
            held.remove(1, 9)
            assert not held
            assert held.missing(1, 2) == [(1, 2)]
            assert held.overlap(1, 2) == []
            assert 3 not in held
