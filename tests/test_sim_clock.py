"""The virtual clock: order of events, ends of a run, runs that would never end."""

from __future__ import annotations

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rudp.sim import Clock, SimulationError, Stalled, TooManyEvents


@given(st.lists(st.floats(0, 100)))
def test_events_come_in_order_of_time_and_of_scheduling(times: list[float]) -> None:
    clock = Clock()
    seen: list[tuple[float, int]] = []
    for index, time in enumerate(times):
        clock.call_at(time, lambda now, index=index: seen.append((now, index)))
    assert clock.run()
    assert seen == sorted((time, index) for index, time in enumerate(times))
    assert clock.events == len(times)
    assert clock.now == max(times, default=0.0)


def test_an_event_in_the_past_happens_now() -> None:
    clock = Clock(5.0)
    seen: list[float] = []
    clock.call_at(1.0, seen.append)
    assert clock.next_event_at() == 5.0
    clock.run()
    assert seen == [5.0]
    assert clock.next_event_at() is None


@pytest.mark.parametrize("time", [inf, nan])
def test_an_event_that_never_comes_is_refused(time: float) -> None:
    with pytest.raises(SimulationError, match="never"):
        Clock().call_at(time, print)


def test_until_moves_the_clock_and_leaves_later_events() -> None:
    clock = Clock()
    seen: list[float] = []
    for time in (1.0, 2.0, 3.0):
        clock.call_at(time, seen.append)
    assert clock.run(until=2.0)
    assert (seen, clock.now) == ([1.0, 2.0], 2.0)
    assert clock.run(until=2.5)
    assert (seen, clock.now) == ([1.0, 2.0], 2.5)
    assert clock.run(until=9.0)
    assert (seen, clock.now) == ([1.0, 2.0, 3.0], 9.0)
    assert clock.run(until=1.0)
    assert clock.now == 9.0


def test_until_the_end_of_time_the_clock_stays_at_the_last_event() -> None:
    clock = Clock()
    clock.call_at(1.0, lambda now: None)
    assert clock.run(until=inf)
    assert clock.now == 1.0


def test_stop_is_asked_before_and_after_each_event() -> None:
    clock = Clock()
    seen: list[float] = []
    for time in (1.0, 2.0, 3.0):
        clock.call_at(time, seen.append)
    assert clock.run(stop=lambda: True)
    assert seen == []
    assert clock.run(stop=lambda: len(seen) == 2)
    assert clock.now == 2.0
    assert not clock.run(until=2.5, stop=lambda: len(seen) == 3)
    assert clock.run(until=3.5, stop=lambda: len(seen) == 3)
    assert clock.now == 3.0


def test_a_goal_that_nothing_can_reach_is_an_error() -> None:
    clock = Clock()
    clock.call_at(1.0, lambda now: None)
    with pytest.raises(Stalled, match="no event is left"):
        clock.run(until=10.0, stop=lambda: False)
    assert clock.now == 1.0


def test_time_that_stands_still_is_an_error() -> None:
    clock = Clock()

    def again(now: float) -> None:
        clock.call_at(now, again)

    clock.call_at(1.0, again)
    with pytest.raises(Stalled, match=r"time stands still at 1\.0 s"):
        clock.run(until=2.0)


def test_a_run_without_end_is_an_error() -> None:
    clock = Clock()

    def again(now: float) -> None:
        clock.call_at(now + 1.0, again)

    clock.call_at(0.0, again)
    with pytest.raises(TooManyEvents, match="50 events"):
        clock.run(max_events=50)
    assert clock.events == 50
