"""What recovery asks of its parts and tells the controller, where only a number off by one or a time left out shows."""

from __future__ import annotations

from random import Random

import pytest

from rudp.recovery import Recovery
from rudp.sent_packets import SentTrain
from rudp.wire import UNKNOWN_ACK_DELAY
from tests.sender import MAX_ACK_DELAY, RTT, SIZE, Recorder, Sender, settled_sender

sender = pytest.fixture(settled_sender)

PTO = RTT + 4 * RTT / 2 + MAX_ACK_DELAY


def padding(sender: Sender, number: int) -> SentTrain:
    """In flight, and asks for no acknowledgement."""
    train = SentTrain(
        number, 1, sender.now, SIZE, SIZE, False, True, offset=number * 1000, end_offset=(number + 1) * 1000
    )
    sender.recovery.on_train_sent(train, sender.now)
    return train


# Samples and events


def test_a_sample_sums_up_all_trains_of_an_ack(sender: Sender) -> None:
    first = sender.send(2).time_sent
    sender.advance(0.020)
    newest = sender.send(3).time_sent
    sender.advance(RTT)
    sender.ack((0, 6))
    sender.want_acked((1, 6))
    sample = sender.recorder.samples[-1]
    assert (sample.now, sample.acked_bytes, sample.lost_bytes) == (sender.now, 5 * SIZE, 0)
    assert (sample.oldest_time_sent, sample.newest_time_sent) == (first, newest)
    assert sample.min_rtt == sender.recovery.rtt.min_rtt == pytest.approx(RTT)
    assert (sample.prior_delivered, sample.delivered) == (SIZE, 6 * SIZE)


def test_what_a_sample_leaves_open_is_none_and_not_the_last_one_again(sender: Sender) -> None:
    padding(sender, 1)
    sender.advance(RTT)
    sender.ack((0, 2))
    sender.want_acked((1, 2))
    assert sender.recorder.samples[-1].latest_rtt is None
    sender.send(1)
    sender.advance(2 * RTT)
    sender.ack((0, 3), delay=UNKNOWN_ACK_DELAY)
    sender.want_acked((2, 3))
    assert sender.recorder.samples[-1].latest_rtt is None
    assert sender.recovery.rtt.latest_rtt == pytest.approx(RTT)


def test_another_path_s_probe_leaves_the_rtt_open(sender: Sender) -> None:
    sender.send(1)
    probe = SentTrain(2, 1, sender.now, SIZE, SIZE, True, False, offset=2000, end_offset=3000)
    sender.recovery.on_train_sent(probe, sender.now)
    sender.advance(2 * RTT)
    sender.ack((0, 3))
    sender.want_acked((1, 3))
    assert sender.recorder.samples[-1].latest_rtt is None


def test_one_packet_that_asked_is_enough_for_a_sample_of_the_newest(sender: Sender) -> None:
    sender.send(1)
    sender.send(quiet=True)
    sender.advance(0.2)
    sender.ack((0, 3))
    sender.want_acked((1, 3))
    assert sender.recovery.rtt.latest_rtt == pytest.approx(0.2)
    assert sender.recorder.samples[-1].latest_rtt == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("said", "told"), [(0.0, 0.0), (0.010, 0.010), (MAX_ACK_DELAY, MAX_ACK_DELAY), (3600.0, MAX_ACK_DELAY)]
)
def test_a_sample_has_the_delay_that_the_peer_may_have(sender: Sender, said: float, told: float) -> None:
    sender.send(1)
    sender.advance(0.2)
    sender.ack((1, 2), delay=said)
    sender.want_acked((1, 2))
    assert sender.recorder.samples[-1].ack_delay == told


def test_a_loss_counts_what_was_lost_since_its_newest_was_sent_not_before(sender: Sender) -> None:
    sender.send(4)
    sender.advance(RTT)
    sender.ack((4, 5), (0, 1))
    sender.want_acked((4, 5))
    sender.want_lost((1, 2))
    sender.send(4)
    sender.ack((8, 9), (4, 5), (0, 1))
    sender.want_acked((8, 9))
    sender.want_lost((2, 4), (5, 6))
    assert [loss.lost_since_sent for loss in sender.recorder.losses] == [SIZE, 3 * SIZE]


def test_a_number_skipped_between_two_losses_does_not_break_persistent_congestion(sender: Sender) -> None:
    sender.send(1)
    for _ in range(3):
        sender.advance(10.0)
        sender.want_probes()
    sender.send(1, skip=1)
    sender.send(3)
    sender.advance(RTT)
    sender.ack((6, 7), (0, 1))
    sender.want_acked((6, 7))
    sender.want_lost((1, 2), (3, 4))
    assert sender.recorder.others == ["persistent congestion"]


def test_counts_of_an_ack_that_raises_nothing_are_not_judged() -> None:
    sender = Sender(ecn=True)
    sender.send(4)
    sender.advance(RTT)
    sender.ack((3, 4), (0, 1), ecn=(2, 0, 0))
    sender.want_acked((0, 1), (3, 4))
    sender.ack((2, 4), (0, 1))
    sender.want_acked((2, 3))
    assert sender.recovery.ecn.codepoint == 2


def test_a_loss_that_was_none_counts_as_delivered_when_it_is_known(sender: Sender) -> None:
    sender.send(6)
    sender.advance(RTT)
    sender.ack((4, 5), (0, 1))
    sender.want_acked((4, 5))
    sender.want_lost((1, 2))
    sender.now += 0.001
    known = sender.now
    sender.ack((4, 5), (0, 2))
    sender.want_spurious((1, 2))
    train = sender.send(1)
    assert train.path_state[:2] == (3 * SIZE, known)


# Held back by the application


def test_the_application_holds_back_until_something_is_sent_or_resolved(sender: Sender) -> None:
    recovery = sender.recovery
    seen = [recovery.app_limited]

    def hold_back() -> None:
        recovery.on_app_limited(sender.now)
        seen.append(recovery.app_limited)

    hold_back()
    sender.send(2)
    seen.append(recovery.app_limited)
    hold_back()
    sender.ack((0, 2))
    sender.want_acked((1, 2))
    seen.append(recovery.app_limited)
    hold_back()
    recovery.on_path_changed(sender.now, reset=True)
    seen.append(recovery.app_limited)
    assert seen == [False, True, False, True, False, True, False]
    assert Sender().recovery.app_limited is False
    assert all(type(value) is bool for value in seen)


def test_a_full_window_is_not_held_back_by_the_application(sender: Sender) -> None:
    sender.recorder.congestion_window = 5 * SIZE
    sender.send(5)
    sender.recovery.on_app_limited(sender.now)
    assert sender.recorder.others == []
    sender.recorder.congestion_window += 1
    sender.recovery.on_app_limited(sender.now)
    assert sender.recorder.others == ["app limited"]


def test_packets_are_marked_as_held_back_until_all_sent_before_are_delivered(sender: Sender) -> None:
    assert not sender.send(5).path_state.is_app_limited
    sender.recovery.on_app_limited(sender.now)
    assert sender.send(1).path_state.is_app_limited
    sender.ack((0, 6))
    sender.want_acked((1, 6))
    assert sender.send(1).path_state.is_app_limited
    sender.ack((0, 7))
    sender.want_acked((6, 7))
    assert not sender.send(1).path_state.is_app_limited


# What may be sent


def test_the_allowance_is_exact_at_the_edge_of_the_window(sender: Sender) -> None:
    recovery, recorder = sender.recovery, sender.recorder
    sender.send(5)
    for window, room in ((4 * SIZE, 0), (5 * SIZE, 0), (5 * SIZE + 1, 1), (6 * SIZE, SIZE)):
        recorder.congestion_window = window
        assert recovery.send_allowance(sender.now) == room
        assert recovery.limited_by(sender.now) == ("congestion_window" if room < SIZE else None)


def test_an_ack_leaves_the_pace_that_the_controller_wants(sender: Sender) -> None:
    sender.recorder.pacing_rate = 100.0 * SIZE
    sender.send(2)
    sender.recorder.pacing_rate = 50.0 * SIZE
    sender.ack((0, 2))
    sender.want_acked((1, 2))
    assert sender.recovery.pacer.rate == 50 * SIZE


def test_the_oldest_packets_are_as_many_as_asked_for(sender: Sender) -> None:
    for _ in range(3):
        sender.send(2)
    oldest = [
        [(train.first, train.stop) for train in sender.recovery.sent_packets.oldest_unacknowledged(packets)]
        for packets in range(5)
    ]
    assert oldest == [[], [(1, 2)], [(1, 3)], [(1, 3), (3, 4)], [(1, 3), (3, 5)]]


# Pauses, timers and the start


def test_what_was_lost_by_a_timer_leaves_a_pause_behind(sender: Sender) -> None:
    sender.send(3)
    sender.advance(RTT)
    sender.ack((3, 4), (0, 1))
    sender.want_acked((3, 4))
    loss_time = sender.recovery.next_timeout()
    assert loss_time is not None
    sender.now = loss_time
    result = sender.recovery.handle_timeout(sender.now)
    assert ([(train.first, train.stop) for train in result.lost], result.probes) == ([(1, 3)], 0)
    sender.advance(PTO + 0.001)
    sender.send(1)
    assert sender.recorder.idles == [(pytest.approx(PTO + 0.001), 2)]


def test_a_bare_ack_that_is_acknowledged_does_not_end_a_pause(sender: Sender) -> None:
    sender.advance(0.8 * PTO)
    sender.send(quiet=True)
    sender.ack((0, 2))
    sender.want_acked((1, 2))
    sender.advance(0.8 * PTO)
    sender.send(1)
    assert sender.recorder.idles == [(pytest.approx(1.6 * PTO), 1)]


def test_nobody_was_asked_before_anything_was_sent_nor_a_probe_timeout_after() -> None:
    fresh = Sender()
    assert not fresh.recovery.asked_lately(0.0)
    assert not fresh.recovery.ping_due(1e9)
    fresh.send()
    delay = fresh.recovery.rtt.probe_timeout()
    fresh.want_timeout(fresh.now + delay)
    assert fresh.recovery.asked_lately(fresh.now)
    assert fresh.recovery.asked_lately(fresh.now + 0.99 * delay)
    assert not fresh.recovery.asked_lately(fresh.now + 1.01 * delay)


def test_another_path_is_probed_without_the_backoff_of_the_old_one(sender: Sender) -> None:
    sender.send()
    for _ in range(3):
        sender.advance(100.0)
        sender.want_probes()
    sender.recovery.on_path_changed(sender.now, reset=True)
    sender.send()
    sender.want_timeout(sender.now + sender.recovery.rtt.probe_timeout())
    sender.advance(100.0)
    sender.want_probes()
    assert sender.recovery.pto_count == 1


def test_unless_told_otherwise_nothing_is_marked_or_skipped_and_no_delay_allowed_for() -> None:
    recovery = Recovery(SIZE, Recorder)
    assert (recovery.ecn.codepoint, recovery.rtt.max_ack_delay, recovery.largest_acknowledged) == (0, 0.0, -1)
    assert not any(recovery.skips(number) for number in range(5_000))


def test_numbers_are_skipped_as_drawn_and_controllers_draw_from_the_same() -> None:
    random = Random(1)
    recovery = Recovery(SIZE, Recorder, random)
    skipped = [number for number in range(10_000) if recovery.skips(number)]
    gaps = [later - earlier for earlier, later in zip([512, *skipped], skipped, strict=False)]
    assert 9 <= len(gaps) <= 18
    assert all(512 <= gap < 1024 for gap in gaps)
    for _ in range(2):
        assert isinstance(recovery.congestion, Recorder)
        assert recovery.congestion.random is random
        recovery.on_path_changed(1.0, reset=True)


def test_who_draws_no_numbers_to_skip_is_never_asked_to() -> None:
    """And who does is asked from the next drawn on."""
    assert Recovery(SIZE, Recorder).skip_at is None
    random = Random(1)
    recovery = Recovery(SIZE, Recorder, random)
    skipped = [number for number in range(10_000) if number == recovery.skip_at and recovery.skips(number)]
    again = Recovery(SIZE, Recorder, Random(1))
    assert skipped == [number for number in range(10_000) if again.skips(number)]


# The end


def test_nobody_is_told_of_what_ends_it_all(sender: Sender) -> None:
    sender.send(2)
    last = sender.send(1)
    sender.recovery.winding_up = True
    told = len(sender.recorder.samples)
    sender.advance(RTT)
    sender.ack((0, 3))
    sender.want_acked((1, 3))
    assert len(sender.recorder.samples) == told + 1, "one is outstanding, and may have to be sent again"
    sender.advance(RTT)
    sender.ack((0, last.stop))
    sender.want_acked((last.first, last.stop))
    assert len(sender.recorder.samples) == told + 1
    assert sender.recovery.rtt.latest_rtt == pytest.approx(2 * RTT), "for how long its end is remembered"
    assert sender.recovery.next_timeout() is None
    # Should something be sent all the same, it is looked after as ever.
    again = sender.send(1)
    sender.advance(RTT)
    sender.ack((0, again.stop))
    sender.want_acked((again.first, again.stop))
    assert sender.recovery.sent_packets.bytes_in_flight == 0


def test_once_something_was_lost_it_is_not_the_end(sender: Sender) -> None:
    """Or a window that is sent in one go is never told of what arrives, and stays as small as the loss left it."""
    sender.send(6)
    sender.recovery.winding_up = True
    told = len(sender.recorder.samples)
    sender.advance(RTT)
    sender.ack((4, 7), (0, 1))
    sender.want_acked((4, 7))
    sender.want_lost((1, 4))
    assert not sender.recovery.sent_packets.bytes_in_flight
    assert len(sender.recorder.samples) == told + 1
    again = sender.send(2)
    sender.advance(RTT)
    sender.ack((4, again.stop), (0, 1))
    sender.want_acked((again.first, again.stop))
    assert not sender.recovery.sent_packets.bytes_in_flight
    assert len(sender.recorder.samples) == told + 2
