"""Laws of how a window is spread over time, and of what of it waits at the peer."""

from __future__ import annotations

import pytest

from rudp.congestion.rounds import Round
from rudp.congestion.spread import PACE, Spread
from tests.test_congestion_interface import sample

PACKET = 1_200
WINDOW = 100 * PACKET


def told(rtt: float | None, acked: int = PACKET) -> Round:
    """A round of one ACK."""
    found = Round()
    found.add(sample(1.0, acked, acked), rtt, 0.0)
    return found


def over(spread: Spread, smoothed: float) -> float:
    """The RTT that a window is spread over."""
    return PACE * WINDOW / spread.rate(WINDOW, smoothed)


def test_a_window_is_spread_over_the_smoothed_rtt_while_that_is_near_what_rounds_show() -> None:
    spread = Spread()
    assert over(spread, 0.1) == pytest.approx(0.1)
    spread.end_round(told(0.09), 0.1, restless=False)
    assert over(spread, 0.1) == pytest.approx(0.1)


@pytest.mark.parametrize(("smoothed", "restless"), [(0.2, False), (0.1, True)])
def test_over_what_a_round_shows_where_the_smoothed_rtt_is_old(smoothed: float, restless: bool) -> None:
    spread = Spread()
    spread.end_round(told(0.09), smoothed, restless=restless)
    assert over(spread, smoothed) == pytest.approx(0.09)
    assert over(spread, 0.05) == pytest.approx(0.05), "never over more than the smoothed one"
    spread.end_round(told(0.09), 0.1, restless=False)
    assert over(spread, 0.1) == pytest.approx(0.1)


def test_what_a_pause_leaves_is_spread_over_an_rtt_without_it_until_a_round_shows_one() -> None:
    spread = Spread()
    spread.over(0.05)
    spread.end_round(told(None), 0.3, restless=False)
    assert over(spread, 0.3) == pytest.approx(0.05)
    spread.end_round(told(0.06), 0.07, restless=False)
    assert over(spread, 0.07) == pytest.approx(0.07)
    spread.over(0.05)
    spread.forget()
    assert over(spread, 0.3) == pytest.approx(0.3)


def test_what_an_ack_tells_of_at_once_waits_at_the_peer_up_to_a_sixteenth_of_the_window() -> None:
    spread = Spread()
    assert spread.held(WINDOW, PACKET) == 0.0
    for acked, held in ((2, 0), (5, 3), (50, 100 / 16)):
        spread.end_round(told(0.1, acked * PACKET), 0.1, restless=False)
        assert spread.held(WINDOW, PACKET) == pytest.approx(held * PACKET)
    for _ in range(20):
        spread.end_round(told(0.1), 0.1, restless=False)
    assert spread.held(WINDOW, PACKET) == 0.0, "the most of late counts"
