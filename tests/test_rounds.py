"""Laws of what one round trip's feedback tells."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rudp.congestion.rounds import INFINITY, Round, network_rtt
from tests.test_congestion_interface import sample

PACKET = 1_200
RTTS = st.lists(st.floats(0.001, 1.0), min_size=1, max_size=30)


def round_of(rtts: list[float]) -> Round:
    told = Round()
    for number, rtt in enumerate(rtts):
        told.add(sample(0.01 * number, PACKET, 0, latest_rtt=rtt), rtt, 0.0)
    return told


def test_without_a_sample_there_is_no_mean() -> None:
    told = round_of([])
    assert told.rtt_mean == told.rtt_min == INFINITY


@given(RTTS)
def test_the_mean_is_that_of_all_samples(rtts: list[float]) -> None:
    """The lower one of two in a row instead hid half of what RTTs waver by: a queue of 1 ms where ACKs are lost."""
    told = round_of(rtts)
    assert told.rtt_mean == pytest.approx(sum(rtts) / len(rtts))
    assert told.rtt_min == min(rtts)
    assert told.rtt_max == max(rtts)


def lasting(samples: list[tuple[float, float]]) -> float:
    """The highest RTT that lasted, in ms, of samples at such times, in ms, of a path of 50 ms."""
    told = Round()
    for at, rtt in [(-20, 50), (-10, 50), *samples]:
        told.add(sample(1.0 + at / 1000, PACKET, 0, latest_rtt=rtt / 1000, min_rtt=0.05), rtt / 1000, 0.0)
    return told.rtt_lasting * 1000


def test_what_one_stall_held_up_comes_at_once_and_did_not_last() -> None:
    stalled = [(0, 50), (40, 85), (40, 75), (40, 65), (40.5, 55), (47, 50), (54, 50)]
    assert lasting(stalled) == pytest.approx(50)
    assert lasting([(0, 50), (7, 62), (14, 50), (21, 63), (28, 50)]) == pytest.approx(50), "one late ACK after another"


def test_a_queue_lasts_an_eighth_of_the_rtt() -> None:
    assert lasting([(0, 50), (7, 70), (14, 72), (21, 50)]) == pytest.approx(70)
    assert lasting([(0, 50), (7, 70), (10, 72), (13.2, 50)]) == pytest.approx(50)
    assert lasting([(0, 50), *[(7 + tick, 60 + tick) for tick in range(8)]]) == pytest.approx(60)


@given(RTTS)
def test_what_lasted_is_between_the_lowest_and_the_highest(rtts: list[float]) -> None:
    told = Round()
    for number, rtt in enumerate(rtts):
        told.add(sample(1.0 + 0.01 * number, PACKET, 0, latest_rtt=rtt, min_rtt=min(rtts)), rtt, 0.0)
    assert told.rtt_lasting == 0.0 or min(rtts) <= told.rtt_lasting <= told.rtt_max
    told.clear()
    assert told.rtt_lasting == 0.0


def test_jitter_goes_on_over_rounds_and_sums_do_not() -> None:
    told = round_of([0.05, 0.07] * 40)
    told.lost = told.marked = 1
    assert told.jitter == pytest.approx(0.02, rel=0.05)
    told.clear()
    assert told.jitter == pytest.approx(0.02, rel=0.05)
    assert told.rtt_mean == INFINITY
    assert [told.acked, told.lost, told.marked, told.rate] == [0, 0, 0, 0.0]


def test_the_time_for_which_an_ack_was_held_back_is_none_of_the_networks() -> None:
    held = sample(1.0, PACKET, 0, latest_rtt=0.08, min_rtt=0.05, ack_delay=0.02)
    assert network_rtt(held) == pytest.approx(0.06)
    assert network_rtt(held._replace(ack_delay=0.0)) == 0.08
    assert network_rtt(held._replace(latest_rtt=None)) is None
    long = held._replace(latest_rtt=0.4, min_rtt=0.2, ack_delay=0.1)
    assert network_rtt(long) == pytest.approx(0.3), "a quarter of a round trip"


def test_a_peer_cannot_hide_a_queue_by_the_delay_that_it_claims() -> None:
    """It may declare that it holds ACKs back for up to 16 s, and could claim any queue as its own doing."""
    for rtt in (0.1, 0.2, 1.0):
        told = network_rtt(sample(1.0, PACKET, 0, latest_rtt=rtt, min_rtt=0.02, ack_delay=16.0))
        assert told is not None
        assert told >= 0.7 * rtt
    least = network_rtt(sample(1.0, PACKET, 0, latest_rtt=0.05, min_rtt=0.04, ack_delay=16.0))
    assert least == 0.04, "no less than the lowest RTT"


def test_an_rtt_below_the_lowest_that_is_known_counts_as_it_is() -> None:
    assert network_rtt(sample(1.0, PACKET, 0, latest_rtt=0.03, min_rtt=0.05, ack_delay=0.01)) == 0.03
