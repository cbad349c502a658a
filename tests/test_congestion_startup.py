"""Laws of the default controller's start: it doubles while the path has room, and knows when it has none."""

from __future__ import annotations

import pytest

from bench.loss import Cell, Row, goals_missed, measure
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


def test_what_a_card_hands_over_together_came_before_what_follows() -> None:
    """Four ACKs every 5 ms at one instant; the rate was a seventh too high where but the first were counted with it."""
    peak = PeakRate()
    for tick in range(20):
        for _ in range(4):
            peak.add(sample(1.0 + 0.005 * tick, PACKET, 0, delivery_rate=None))
    assert peak.rate == pytest.approx(4 * PACKET / 0.005)


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


def test_a_late_sample_slows_a_small_window_of_a_short_path_for_good() -> None:
    start = StartUp()
    start.sees_queue(0.1, 0.1, 0.001)
    assert start.pace(10, 0.01) == 2.0
    start.sees_queue(0.09 * (1 + 1 / 24) + 0.001 + 1e-6, 0.09, 0.001)
    start.sees_queue(0.1, 0.1, 0.001)
    assert start.pace(10, 0.01) == start.pace(31, 0.029) == 1.25
    assert start.pace(32, 0.01) == start.pace(10, 0.03) == 2.0


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


def start_up_missed(row: Row) -> list[str]:
    """Goals of the start: the goodput of a moment is none."""
    return [text for text in goals_missed(row) if "start-up" in text or "never full" in text]


@pytest.mark.parametrize("loss", [0.0, 10.0])
@pytest.mark.parametrize(("rate", "rtt"), [(10.0, 50.0), (100.0, 10.0), (100.0, 50.0), (20.0, 200.0)])
def test_the_link_is_full_within_three_round_trips_of_doubling(rate: float, rtt: float, loss: float) -> None:
    """As the goals of the loss table ask, spilling at most 2 % of a queue of one BDP meanwhile."""
    row = measure(Cell("model", rate, rtt, loss, 1.0, seconds=4.0, steady_from=3.0))
    assert not start_up_missed(row), row


@pytest.mark.parametrize("loss", [0.1, 1.0, 5.0, 10.0])
def test_a_fast_link_of_a_short_round_trip_is_full_in_time(loss: float) -> None:
    """1 Gbit/s x 10 ms took a third of a round trip too long: rounds came to 1.8 times the last, not to twice."""
    row = measure(Cell("model", 1000.0, 10.0, loss, 1.0, seconds=0.6, steady_from=0.4))
    assert not start_up_missed(row), row


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("loss", "both"), [(1.0, False), (20.0, False), (1.0, True)])
def test_a_queue_of_ten_packets_holds_the_start(seed: int, loss: float, both: bool) -> None:
    """10 Mbit/s x 10 ms: one packet too many of those fifty are 2 %. It was up to 11 %."""
    row = measure(Cell("model", 10.0, 10.0, loss, 1.0, both=both, seed=seed, seconds=4.0, steady_from=3.0))
    assert row.start_up_lost is not None
    assert row.start_up_lost < 0.02, row


@pytest.mark.parametrize(("both", "seed"), [(False, 1), (False, 10), (False, 22), (True, 10)])
def test_a_late_first_ack_floods_no_queue_of_ten_packets(both: bool, seed: int) -> None:
    """What an ACK set free came twice as fast as the link carries: 3 to 5 % were lost."""
    row = measure(Cell("model", 10.0, 10.0, 10.0, 1.0, both=both, seed=seed, seconds=2.0, steady_from=1.0))
    assert row.start_up_lost is not None
    assert row.start_up_lost < 0.02, row


@pytest.mark.parametrize("loss", [0.0, 1.0])
@pytest.mark.parametrize(("rate", "rtt", "queue"), [(10.0, 200.0, 0.06), (10.0, 100.0, 0.12), (100.0, 100.0, 0.06)])
def test_a_queue_too_short_to_be_seen_is_not_flooded(rate: float, rtt: float, queue: float, loss: float) -> None:
    """A policer has next to none. The start sent up to forty times what the link carried, and later 20 to 30 % was
    lost for good, as what had overflowed was taken for the path's own loss.
    """
    row = measure(Cell("model", rate, rtt, loss, queue))
    assert row.start_up_lost is not None
    assert row.start_up_lost < 0.4
    assert row.retransmitted < 0.08
    assert row.share > 0.85
