"""Laws of the parts of the default controller's start: how far a window grows, and what says that a path is full."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rudp.congestion.peak_rate import PeakRate
from rudp.congestion.startup import StartUp
from tests.test_congestion_interface import sample

PACKET = 1_200


def test_a_rate_is_that_of_a_quarter_round_trip_and_pauses_do_not_count() -> None:
    """An RTT of 100 ms, of which the first half brings an ACK of two packets every 5 ms."""
    peak = PeakRate()
    for round_trip in range(4):
        for tick in range(10):
            peak.add(sample(1.0 + 0.1 * round_trip + 0.005 * tick, 2 * PACKET, 0))
    assert peak.rate == pytest.approx(2 * PACKET / 0.005, rel=0.01)


def test_a_first_ack_shows_no_rate() -> None:
    peak = PeakRate()
    peak.add(sample(1.0, 10 * PACKET, 0))
    assert peak.rate == 0.0
    peak.add(sample(1.1, 10 * PACKET, 0))
    assert peak.rate == 0.0, "a whole round trip apart: the sender paused in between"


def test_where_acks_are_lost_the_rate_of_whole_round_trips_is_the_least() -> None:
    """One ACK a round trip makes no span; the bound stood still, and the start with it, for a dozen round trips."""
    peak = PeakRate()
    peak.add(sample(1.0, PACKET, 0, delivery_rate=10.0 * PACKET))
    assert peak.rate == 0.0, "before a span there is no bound"
    for tick in range(1, 20):
        peak.add(sample(1.0 + 0.005 * tick, PACKET, 0, delivery_rate=10.0 * PACKET))
    before = peak.rate
    peak.add(sample(1.5, PACKET, 0, delivery_rate=2 * before))
    assert peak.rate == 2 * before


def test_what_was_lost_does_not_count() -> None:
    """A bound that followed what a queue drops would be none: one of ten packets was flooded."""
    lossless, lossy = PeakRate(), PeakRate()
    for tick in range(20):
        lossless.add(sample(1.0 + 0.005 * tick, PACKET, 0))
        lossy.add(sample(1.0 + 0.005 * tick, PACKET, 0, lost_bytes=99 * PACKET))
    assert lossy.rate == lossless.rate == pytest.approx(PACKET / 0.005)


@pytest.mark.parametrize("held", [0.0, 3e-5])
def test_what_a_card_hands_over_together_came_before_what_follows(held: float) -> None:
    """Four ACKs every 5 ms at one instant; the rate was a seventh too high where but the first were counted with it."""
    peak = PeakRate()
    for tick in range(20):
        for _ in range(4):
            peak.add(sample(1.0 + 0.005 * tick, PACKET, 0, delivery_rate=None), held)
    assert peak.rate == pytest.approx(4 * PACKET / 0.005, rel=0.002)


def test_a_held_ack_begins_a_span_when_what_it_tells_of_had_come() -> None:
    """A packet a millisecond; the first waits 4 ms for a second that is lost, and its ACK comes beside the next."""
    peak = PeakRate()
    fields = {"smoothed_rtt": 0.0123, "min_rtt": 0.01, "delivery_rate": None}
    peak.add(sample(1.004, PACKET, 0, **fields), held=0.004)
    for at in (1.005, 1.0071, 1.009):
        peak.add(sample(at, 2 * PACKET, 0, **fields))
    assert peak.rate == pytest.approx(PACKET / 0.001)


def test_a_peer_that_says_that_it_held_acks_raises_no_rate() -> None:
    honest, other = PeakRate(), PeakRate()
    for tick in range(100):
        honest.add(sample(1.0 + 0.005 * tick, 2 * PACKET, 0, delivery_rate=None))
        other.add(sample(1.0 + 0.005 * tick, 2 * PACKET, 0, delivery_rate=None), held=0.025 * (tick % 3 == 0))
        assert other.rate <= (honest.rate or float("inf"))
    assert other.rate > 0.0


@given(st.floats(0.0, 20.0))
def test_whatever_a_peer_claims_there_is_a_rate(held: float) -> None:
    """Without one nothing bounds a start: who said that it held each ACK for 25 ms got 41 % too many packets."""
    peak = PeakRate()
    for tick in range(20):
        peak.add(sample(1.0 + 0.002 * tick, PACKET, 0, delivery_rate=None, min_rtt=0.01), held)
    assert 0.0 < peak.rate <= PACKET / 0.002 * 1.001


def test_a_burst_between_two_lost_acks_shows_the_rate() -> None:
    """Of a round trip of 11 ms four ACKs come, 1.1 ms apart, and then none."""
    peak = PeakRate()
    for round_trip in range(3):
        for tick in range(4):
            at = 1.0 + 0.011 * round_trip + 0.0011 * tick
            peak.add(sample(at, 10 * PACKET, 0, smoothed_rtt=0.0123, min_rtt=0.011, delivery_rate=None))
    assert peak.rate == pytest.approx(10 * PACKET / 0.0011)


def test_the_window_grows_by_what_left_the_path_and_is_bounded_by_what_it_showed() -> None:
    start = StartUp()
    window = start.grow(10.0 * PACKET, sample(1.0, 2 * PACKET, 0, lost_bytes=PACKET), 0.1, PACKET)
    assert window == 13 * PACKET
    for tick in range(1, 200):
        window = start.grow(window, sample(1.0 + 0.005 * tick, 2 * PACKET, 0), 0.1, PACKET)
    assert window == pytest.approx(2 * 2 * PACKET / 0.005 * 0.1, rel=0.01)
    for tick in range(200, 400):
        window = start.grow(window, sample(1.0 + 0.005 * tick, 2 * PACKET, 0), 0.1, PACKET, background=0.2)
    assert window == pytest.approx(2 * 2 * PACKET / 0.005 * 0.1 / 0.8, rel=0.01)


def test_a_late_sample_makes_the_bound_narrower() -> None:
    start, window = StartUp(), 10.0 * PACKET
    assert not start.sees_queue(0.09 * (1 + 1 / 24) + 0.001 + 1e-6, 0.09, 0.001)
    for tick in range(200):
        window = start.grow(window, sample(1.0 + 0.005 * tick, 2 * PACKET, 0), 0.1, PACKET)
    assert window == pytest.approx(1.5 * 2 * PACKET / 0.005 * 0.1 - PACKET, rel=0.01)


@pytest.mark.parametrize(("base", "late", "bounded"), [(0.0119, 0, 0), (0.0119, 1, 1), (0.012, 0, 1), (0.012, 1, 1)])
def test_a_short_path_has_twice_the_bound_until_something_was_late(base: float, late: bool, bounded: bool) -> None:
    """Its spans of 3 ms lag: starts at 1 Gbit/s x 10 ms with 10 % of ACKs lost took more than 9.7 round trips."""
    start, window = StartUp(), 10.0 * PACKET
    start.sees_queue(base + 0.01 * late, base, 0.001)
    for tick in range(200):
        window = start.grow(window, sample(1.0 + 0.002 * tick, 4 * PACKET, 0, min_rtt=base), base, PACKET)
    most = 4 * PACKET / 0.002 * base
    assert window == pytest.approx(1.5 * most - PACKET if late else 2.0 * most if bounded else 4.0 * most, rel=0.01)


def test_a_late_sample_slows_a_small_window_of_a_short_path_for_good() -> None:
    start = StartUp()
    start.sees_queue(0.1, 0.1, 0.001)
    assert start.pace(10, 0.01) == 2.0
    start.sees_queue(0.09 * (1 + 1 / 24) + 0.001 + 1e-6, 0.09, 0.001)
    start.sees_queue(0.1, 0.1, 0.001)
    assert start.pace(10, 0.01) == start.pace(31, 0.029) == 1.25
    assert start.pace(32, 0.01) == start.pace(10, 0.03) == 2.0


@pytest.mark.parametrize(("base", "late", "counts"), [(0.01, True, True), (0.01, False, False), (0.03, True, False)])
def test_held_acks_count_where_few_packets_fill_a_short_path(base: float, late: bool, counts: bool) -> None:
    """Elsewhere the bound gets too low: a start took a round more where ACKs are lost at 1 Gbit/s, or in others' queue.

    A packet comes a millisecond; after three ACKs of two that of a single one is held for 4 ms.
    """
    start, window = StartUp(), 10.0 * PACKET
    start.sees_queue(base + 0.01 * late, base, 0.001)
    told = [(1.0, 2, 0.0), (1.002, 2, 0.0), (1.004, 2, 0.0), (1.009, 1, 0.004), (1.0098, 2, 0.0), (1.0121, 2, 0.0)]
    for now, packets, held in told:
        acked = sample(now, packets * PACKET, 0, min_rtt=0.01, delivery_rate=None, ack_delay=held)
        window = start.grow(window, acked, base, PACKET)
    assert start._peak is not None
    assert start._peak.rate == pytest.approx(PACKET / 0.001 if counts else 4 * PACKET / 0.0031)


def test_a_small_window_of_a_short_path_is_allowed_no_more_for_what_is_lost() -> None:
    """At 10 Mbit/s x 10 ms with 20 % lost the queue dropped up to a tenth of what came."""
    windows = []
    for background in (0.0, 0.2):
        start, window = StartUp(), 4.0 * PACKET
        start.sees_queue(0.02, 0.01, 0.001)
        for tick in range(200):
            acked = sample(1.0 + 0.005 * tick, 5 * PACKET, 0, min_rtt=0.01, delivery_rate=None)
            window = start.grow(window, acked, 0.01, PACKET, background)
        windows.append(window)
    assert windows == [pytest.approx(1.5 * 10 * PACKET - PACKET)] * 2


def test_the_bound_takes_nothing_away() -> None:
    start = StartUp()
    for tick in range(20):
        start.grow(10.0 * PACKET, sample(1.0 + 0.005 * tick, PACKET, 0), 0.1, PACKET)
    assert start.grow(1_000.0 * PACKET, sample(1.1, PACKET, 0), 0.1, PACKET) == 1_000 * PACKET


def test_three_late_samples_in_a_row_are_a_queue() -> None:
    start = StartUp()
    late = 0.05 * (1 + 1 / 24) + 0.001 + 4 * 0.0001 + 1e-6
    seen = [start.sees_queue(rtt, 0.05, 0.0001) for rtt in (late, late, 0.05, late, late, late)]
    assert seen == [False, False, False, False, False, True]


def test_on_a_long_path_an_eighth_of_the_rtt_is_a_queue() -> None:
    """Others' queue is a small part of it, and who gave way to that came to a tenth of a link that two share."""
    start = StartUp()
    late = 0.2 * (1 + 1 / 8) + 0.001 + 4 * 0.0001
    assert [start.sees_queue(late - 1e-6, 0.2, 0.0001) for _ in range(4)] == [False] * 4
    assert [start.sees_queue(late + 1e-6, 0.2, 0.0001) for _ in range(3)] == [False, False, True]


def test_three_rounds_that_bring_no_quarter_more_fill_the_path() -> None:
    start = StartUp()
    for rate in (100.0, 200.0, 220.0, 240.0):
        start.end_round(rate, is_app_limited=False)
    assert start.is_still
    assert not start.is_full
    start.end_round(240.0, is_app_limited=True)  # the application's doing
    assert not start.is_full
    start.end_round(240.0, is_app_limited=False)
    assert start.is_full


def test_a_round_that_grew_is_one_of_a_quarter_more() -> None:
    start = StartUp()
    assert not start.has_grown_to(100.0), "there was no round before"
    start.end_round(100.0, is_app_limited=False)
    assert start.has_grown_to(125.0)
    assert not start.has_grown_to(124.0)


@pytest.mark.parametrize(("base", "part"), [(0.05, 1 / 24), (0.2, 1 / 8)])
def test_up_to_that_part_of_the_rtt_and_a_millisecond_nothing_is_late(base: float, part: float) -> None:
    start = StartUp()
    limit = base * (1 + part) + 0.001
    assert not any(start.sees_queue(limit - 1e-6, base, 0.0) for _ in range(10))
    window = 10.0 * PACKET
    for tick in range(200):
        window = start.grow(window, sample(1.0 + 0.005 * tick, 2 * PACKET, 0), 0.1, PACKET)
    assert window == pytest.approx(2 * 2 * PACKET / 0.005 * 0.1, rel=0.01), "as of a path that is not late"


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e9])
def test_whatever_rates_are_counted_in_a_quarter_more_is_growth(scale: float) -> None:
    start = StartUp()
    assert not start.is_still
    start.end_round(scale, is_app_limited=False)
    assert not start.is_still
    assert start.has_grown_to(1.26 * scale)
    assert not start.has_grown_to(1.24 * scale)
    start.end_round(1.24 * scale, is_app_limited=False)
    assert start.is_still
    start.end_round(1.26 * scale, is_app_limited=False)
    assert not start.is_still


def test_rounds_that_told_no_rate_yet_do_not_fill_the_path() -> None:
    start = StartUp()
    for _ in range(10):
        start.end_round(0.0, is_app_limited=False)
    assert not start.is_still


def test_who_is_told_that_the_path_is_full_takes_it_for_full() -> None:
    start = StartUp()
    start.end_round(100.0, is_app_limited=False)
    start.stop()
    assert start.is_full
    assert start.is_still
    start.end_round(1_000.0, is_app_limited=False)
    assert start.is_full, "however the rate grows: of sixteen who started together some lost four fifths by going on"
