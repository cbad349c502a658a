"""Laws of a ceiling: how low, for how long, and what it was made for in vain."""

from __future__ import annotations

import pytest

from rudp.congestion.ceiling import ABOVE, CUT, CUT_FEW, EXPLAINED, MUCH, STILL, VAIN, VAIN_LEAST, Ceiling
from rudp.congestion.rounds import INFINITY

LEAST = 4_000
FLIGHT = 1_000_000.0


def cut(*lost: float, flight: float = FLIGHT) -> Ceiling:
    """One that so many cuts have made."""
    ceiling = Ceiling()
    for share in lost:
        ceiling.cut(flight, LEAST, share)
    return ceiling


def test_a_cut_leaves_a_part_of_what_was_in_flight_and_the_next_of_the_ceiling() -> None:
    assert cut(0.05).value == pytest.approx(CUT * FLIGHT)
    assert cut(0.05, 0.05).value == pytest.approx(CUT * CUT * FLIGHT)


def test_no_cut_leaves_less_than_the_least() -> None:
    assert cut(0.05, flight=LEAST + 1.0).value == LEAST


def test_clean_rounds_bring_it_back_in_sixteen() -> None:
    ceiling = cut(0.05)
    rounds = 0
    while ceiling.value < FLIGHT:
        assert ceiling.rise(FLIGHT, 0.0)
        rounds += 1
    assert rounds == 16


@pytest.mark.parametrize(("lost", "left"), [(MUCH, CUT), (1.1 * MUCH, CUT_FEW), (INFINITY, CUT)])
def test_much_lost_of_few_packets_is_cut_as_cubic_does(lost: float, left: float) -> None:
    """Marks, which lose nothing, are no sign of a queue that is always full."""
    ceiling = Ceiling()
    ceiling.cut(FLIGHT, LEAST, lost, few=True)
    assert ceiling.value == pytest.approx(left * FLIGHT)


def test_of_few_packets_it_comes_back_in_twice_as_many_rounds() -> None:
    ceiling = cut(0.05)
    rounds = 0
    while ceiling.value < FLIGHT:
        assert ceiling.rise(FLIGHT, 0.0, few=True)
        rounds += 1
    assert rounds == 32


def test_a_cut_begins_the_rise_anew() -> None:
    ceiling, other = cut(0.05, 0.05), cut(0.05)
    for _ in range(10):
        other.rise(FLIGHT, 0.0)
    other.cut(CUT * FLIGHT, LEAST, 0.05)
    ceiling.rise(FLIGHT, 0.0)
    other.rise(FLIGHT, 0.0)
    assert other.value == pytest.approx(ceiling.value)


def test_it_goes_where_the_loss_that_made_it_is_the_paths_own() -> None:
    assert cut(0.1).rise(FLIGHT, 0.99 * EXPLAINED * 0.1)
    assert not cut(0.1).rise(FLIGHT, EXPLAINED * 0.1)


def test_of_several_cuts_the_least_lost_counts() -> None:
    assert not cut(0.2, 0.05).rise(FLIGHT, EXPLAINED * 0.05)
    assert not cut(0.05, 0.2).rise(FLIGHT, EXPLAINED * 0.05)


def test_marks_are_nobodys_own_loss() -> None:
    assert cut(INFINITY).rise(FLIGHT, 0.6)


def test_one_of_twice_the_window_is_none() -> None:
    ceiling = cut(0.05)
    assert ceiling.rise(FLIGHT, 0.0)
    assert not ceiling.rise(CUT * FLIGHT / ABOVE, 0.0)


def vain(lost: list[float], flight: float = FLIGHT) -> list[bool]:
    """What each of several cuts told."""
    ceiling, told = Ceiling(), []
    for share in lost:
        ceiling.cut(flight, LEAST, share)
        told.append(ceiling.in_vain(LEAST, share))
    return told


def test_cuts_to_less_than_half_that_leave_the_loss_are_in_vain() -> None:
    """0.85 to the power of five is less than VAIN: the sixth cut has left so little of what the first did."""
    assert CUT**5 < VAIN < CUT**4
    assert vain(7 * [0.2]) == [*(5 * [False]), True, True]


def test_they_are_not_where_less_is_lost_by_it() -> None:
    assert True not in vain([0.2, *(7 * [0.99 * STILL * 0.2])])


def test_nor_where_hardly_a_window_is_left() -> None:
    assert True not in vain(9 * [0.2], flight=VAIN_LEAST * LEAST / VAIN)


def test_marks_begin_the_comparison_anew() -> None:
    assert vain([*(3 * [0.2]), INFINITY, *(4 * [0.2])])[:8] == 8 * [False]
