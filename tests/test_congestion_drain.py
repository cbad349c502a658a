"""Laws of a drain: how deep, how long, and what it tells of the RTTs it met."""

from __future__ import annotations

import pytest

from rudp.congestion.drain import Drain
from rudp.congestion.rounds import INFINITY

PACKET = 1_200
FLIGHT = 1_000 * PACKET
LEAST = 4 * PACKET
SHORT, LONG = 0.05, 0.2
RATE = 12.5e6


def begun(base: float = SHORT, *, seen: bool = True, is_new: bool = False) -> Drain:
    drain = Drain()
    drain.begin(FLIGHT, PACKET, LEAST, base, RATE, seen=seen, is_new=is_new)
    return drain


@pytest.mark.parametrize(
    ("base", "seen", "is_new", "share"),
    [
        (SHORT, True, False, 0.8),
        (SHORT, True, True, 0.8),
        (SHORT, False, False, 0.5),
        (LONG, True, False, 0.9),
        (LONG, True, True, 0.5),
        (LONG, False, False, 0.5),
    ],
)
def test_a_drain_is_as_deep_as_it_has_to_be(base: float, seen: bool, is_new: bool, share: float) -> None:
    """Deep costs most on a long path, and is needed where a queue can't be seen or its RTT isn't known."""
    assert begun(base, seen=seen, is_new=is_new).target == pytest.approx(share * FLIGHT - 2 * PACKET)


def test_a_drain_leaves_enough_for_acks_to_come_back() -> None:
    drain = Drain()
    drain.begin(6.0 * PACKET, PACKET, LEAST, SHORT, RATE, seen=True, is_new=False)
    assert drain.target == LEAST


def test_on_a_long_path_without_a_queue_to_be_seen_each_fourth_is_deep() -> None:
    drain, deep = Drain(), []
    for _ in range(9):
        drain.begin(FLIGHT, PACKET, LEAST, LONG, RATE, seen=False, is_new=False)
        deep.append(drain.target < 0.6 * FLIGHT)
    assert [number for number, is_deep in enumerate(deep, 1) if is_deep] == [1, 5, 9]
    assert drain.number == 9


@pytest.mark.parametrize(
    ("base", "mbit", "fast"), [(0.01, 150, True), (0.01, 100, False), (SHORT, 1_000, False), (0.03, 150, False)]
)
def test_a_drain_is_fast_where_its_trains_would_make_a_queue_on_a_short_path(
    base: float, mbit: int, fast: bool
) -> None:
    """By the rate, whatever start-up left in the window and however large packets are."""
    drain = Drain()
    drain.begin(FLIGHT, PACKET, LEAST, base, mbit * 125_000.0, seen=True, is_new=False)
    assert drain.is_fast is fast


@pytest.mark.parametrize(
    ("base", "in_doubt", "lasts"), [(SHORT, False, 0.1), (SHORT, True, 0.2), (LONG, False, 0.1), (0.001, False, 0.01)]
)
def test_a_drain_lasts_a_tenth_of_a_second_and_less_where_round_trips_are_short(
    base: float, in_doubt: bool, lasts: float
) -> None:
    drain = begun(base)
    drain.lowest = base
    assert not drain.is_reached
    assert not drain.is_over(1e9), "the flight hasn't fallen yet"
    drain.reached(5.0, base, in_doubt=in_doubt)
    assert drain.is_reached
    assert not drain.is_over(5.0 + 0.99 * lasts)
    assert drain.is_over(5.0 + 1.01 * lasts)
    drain.stay(5.0 + 2 * lasts)
    drain.stay(5.0)
    assert not drain.is_over(5.0 + 1.99 * lasts)


def test_a_drain_without_an_rtt_is_not_over() -> None:
    drain = begun()
    drain.reached(0.0, SHORT, in_doubt=False)
    assert not drain.is_over(1e9)
    drain.lowest = SHORT
    assert drain.is_over(1e9)


def test_few_samples_make_no_sure_mean() -> None:
    """And none counts that came before the flight had fallen, or in the drain before."""
    drain = begun()
    for _ in range(20):
        drain.meet(1.0)
    drain.reached(0.0, SHORT, in_doubt=False)
    assert drain.mean == 0.0
    for number in range(8):
        assert not drain.is_sure
        drain.meet(0.05 + number / 1000)
        assert drain.mean == pytest.approx(0.05 + number / 2000)
    assert drain.is_sure
    drain.lowest = 0.05
    drain.end()
    assert drain.mean == 0.0
    assert not drain.is_sure
    assert drain.lowest == INFINITY
