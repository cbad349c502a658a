"""The thresholds of loss detection: by numbers until packets come late, then by a window made of how late they come."""

from __future__ import annotations

import pytest

from rudp.loss_detection import MARGIN, RECOVERIES_REMEMBERED, LossDetection
from rudp.rtt import RttEstimator
from rudp.sent_packets import SentPackets, SentTrain
from tests.sender import RTT, SIZE, Sender, settled_sender

sender = pytest.fixture(settled_sender)

# RFC 8985 section 6.2 step 4: until a packet comes later than this, the window is a quarter of min_rtt.
FIRST_WINDOW = RTT / 4


def lose_again(sender: Sender, times: int) -> None:
    """That many recovery periods, each begun by a packet lost long before the next is acknowledged."""
    for _ in range(times):
        sender.advance(0.001)
        first = sender.send(1).first
        sender.now += 1.0
        sender.send(1)
        sender.now += RTT
        sender.ack((first + 1, first + 2))
        sender.want_acked((first + 1, first + 2))
        sender.want_lost((first, first + 1))


@pytest.fixture
def reordered(sender: Sender) -> Sender:
    """Packet 1 came 10 ms after packet 2, which is nothing yet by RFC 9002; the estimate is RTT as before."""
    sender.send(2)
    sender.advance(RTT)
    sender.ack((2, 3), (0, 1))
    sender.want_acked((2, 3))
    sender.advance(0.010)
    sender.ack((0, 3))
    sender.want_acked((1, 2))
    return sender


def test_numbers_count_until_a_packet_comes_late(sender: Sender) -> None:
    sender.send(9)
    sender.advance(RTT)
    sender.ack((5, 6), (0, 1))
    sender.want_acked((5, 6))
    sender.want_lost((1, 3))
    # 4 comes late: numbers tell nothing any more.
    sender.ack((4, 6), (0, 1))
    sender.want_acked((4, 5))
    sender.ack((9, 10), (4, 6), (0, 1))
    sender.want_acked((9, 10))
    sender.want_in_flight(4)
    sender.want_timeout(1.1 + RTT + FIRST_WINDOW)
    sender.advance(1.0)
    sender.want_lost((3, 4), (6, 9))


def test_packets_of_one_ack_say_nothing_of_their_order(sender: Sender) -> None:
    sender.send(9)
    sender.advance(RTT)
    sender.ack((9, 10), (4, 5), (0, 1))
    sender.want_acked((4, 5), (9, 10))
    sender.want_lost((1, 4), (5, 7))
    assert not sender.recovery._detection.reordering_seen


def test_a_packet_without_need_of_an_ack_is_not_late_when_it_is_acknowledged_late(sender: Sender) -> None:
    sender.send(quiet=True)
    sender.send(1)
    sender.advance(RTT)
    sender.ack((2, 3), (0, 1))
    sender.want_acked((2, 3))
    sender.advance(0.010)
    sender.ack((0, 3))
    sender.want_acked((1, 2))
    assert not sender.recovery._detection.reordering_seen


def test_the_first_window_is_a_quarter_of_the_least_rtt(reordered: Sender) -> None:
    sent = reordered.now
    reordered.send(2)
    reordered.advance(RTT)
    reordered.ack((4, 5), (0, 3))
    reordered.want_acked((4, 5))
    reordered.want_timeout(sent + RTT + FIRST_WINDOW)
    reordered.advance(1.0)
    reordered.want_lost((3, 4))


def test_a_loss_that_was_none_widens_the_window_to_how_late_it_came(reordered: Sender) -> None:
    sent = reordered.now
    reordered.send(2)
    reordered.advance(RTT)
    reordered.ack((4, 5), (0, 3))
    reordered.want_acked((4, 5))
    reordered.advance(1.0)
    reordered.want_lost((3, 4))
    reordered.now = sent + RTT + 0.060
    reordered.ack((0, 5))
    reordered.want_spurious((3, 4))
    # Another as late as that isn't lost.
    sent = reordered.now
    reordered.send(2)
    reordered.advance(RTT)
    reordered.ack((6, 7), (0, 5))
    reordered.want_acked((6, 7))
    reordered.want_timeout(sent + RTT + 0.060 * MARGIN)
    reordered.advance(0.060)
    reordered.ack((0, 7))
    reordered.want_acked((5, 6))


def test_the_window_is_never_above_the_smoothed_rtt(reordered: Sender) -> None:
    reordered.send(2)
    reordered.advance(RTT)
    reordered.ack((4, 5), (0, 3))
    reordered.want_acked((4, 5))
    reordered.advance(1.0)
    reordered.want_lost((3, 4))
    reordered.advance(0.800)
    reordered.ack((0, 5))
    reordered.want_spurious((3, 4))
    detection, rtt = reordered.recovery._detection, reordered.recovery.rtt
    assert detection.reordering_window(rtt) == rtt.smoothed_rtt


def test_a_wide_window_is_forgotten_after_enough_recoveries() -> None:
    detection, rtt = LossDetection(), RttEstimator()
    rtt.update(RTT, 0.0, 1.0)
    detection.on_reordered(1.0, rtt, 1.0 + RTT + 0.080)
    for number in range(2 * RECOVERIES_REMEMBERED):
        assert detection.reordering_window(rtt) == pytest.approx(0.080 * MARGIN), number
        detection.on_recovery()
    assert detection.reordering_window(rtt) == pytest.approx(FIRST_WINDOW)
    assert detection.reordering_seen


def test_a_window_that_is_needed_is_kept() -> None:
    detection, rtt = LossDetection(), RttEstimator()
    rtt.update(RTT, 0.0, 1.0)
    for number in range(10 * RECOVERIES_REMEMBERED):
        if number % RECOVERIES_REMEMBERED == 0:
            detection.on_reordered(1.0, rtt, 1.0 + RTT + 0.080)
        detection.on_recovery()
        assert detection.reordering_window(rtt) == pytest.approx(0.080 * MARGIN)


def test_each_congestion_event_is_a_recovery(reordered: Sender) -> None:
    detection = reordered.recovery._detection
    detection.on_reordered(reordered.now - RTT - 0.080, reordered.recovery.rtt, reordered.now)
    widest = detection._lateness
    lose_again(reordered, RECOVERIES_REMEMBERED)
    assert (detection._lateness, detection._earlier_lateness) == (0.0, widest)


def test_another_path_may_keep_the_order(reordered: Sender) -> None:
    reordered.recovery.on_path_changed(reordered.now, reset=True)
    reordered.send(4)
    reordered.advance(RTT)
    reordered.ack((6, 7), (0, 3))
    reordered.want_acked((6, 7))
    reordered.want_lost((3, 4))


def test_what_comes_late_over_the_old_path_tells_nothing_of_the_new_one(sender: Sender) -> None:
    sender.send(2)
    sender.recovery.on_path_changed(sender.now, reset=True)
    sender.send(1)
    sender.advance(RTT)
    sender.ack((3, 4), (0, 1))
    sender.want_acked((3, 4))
    sender.advance(0.010)
    sender.ack((0, 4))
    sender.want_acked((1, 3))
    assert not sender.recovery._detection.reordering_seen


def test_a_timer_grain_is_waited_for_at_least() -> None:
    detection, rtt = LossDetection(), RttEstimator()
    rtt.update(0.0001, 0.0, 1.0)
    detection.on_reordered(1.0, rtt, 1.00015)
    assert detection.delay(rtt) == pytest.approx(0.001)


def test_what_is_lost_is_always_the_front_of_what_is_outstanding() -> None:
    """Whatever the threshold, at every time: the trains that are left follow those that are lost."""
    for reordering in (False, True):
        rtt = RttEstimator()
        rtt.update(RTT, 0.0, 0.0)
        for step in range(40):
            sent = SentPackets()
            for index in range(10):
                sent.add(SentTrain(index * 7, 7, index * 0.02, SIZE, 7 * SIZE))
            sent.take(31, 40)
            detection = LossDetection()
            if reordering:
                detection.on_reordered(0.0, rtt, RTT)
            lost = detection.detect(sent, 60, rtt, step * 0.02)
            if lost and sent.oldest is not None:
                assert lost[-1].stop <= sent.oldest.first
            assert sum(train.count for train in [*lost, *sent]) == 61


def test_the_first_packet_of_all_is_lost_by_no_number_once_packets_come_late() -> None:
    rtt = RttEstimator()
    rtt.update(RTT, 0.0, 0.0)
    sent = SentPackets()
    sent.add(SentTrain(0, 2, 1.0, SIZE, 2 * SIZE))
    detection = LossDetection()
    detection.on_reordered(0.0, rtt, RTT)
    assert detection.detect(sent, 50, rtt, 1.0) == []
    assert detection.loss_time == 1.0 + detection.delay(rtt)
    assert [(train.first, train.stop) for train in sent] == [(0, 2)]
