"""Loss recovery: acknowledgement, both thresholds, probes, persistent congestion, spurious losses."""

from __future__ import annotations

import pytest

from rudp.congestion.new_reno import NewReno
from rudp.errors import ErrorCode, ProtocolError
from rudp.unresolved import MAX_REMEMBERED, MAX_REMEMBERED_IDLE, MAX_SKIPPED
from tests.sender import MAX_ACK_DELAY, RTT, SIZE, Sender, settled_sender

sender = pytest.fixture(settled_sender)


# PTO once settled: smoothed_rtt + 4 * rttvar + max_ack_delay.
PTO = RTT + 4 * RTT / 2 + MAX_ACK_DELAY
LOSS_DELAY = RTT * 9 / 8


def test_an_ack_takes_a_whole_train(sender: Sender) -> None:
    sender.send(46)
    sender.advance(RTT)
    sender.ack((0, 47))
    sender.want_acked((1, 47))
    sender.want_in_flight(0)
    sender.want_timeout(None)


def test_an_ack_of_the_middle_splits_a_train(sender: Sender) -> None:
    sender.send(10)
    sender.advance(RTT)
    sender.ack((3, 4), (0, 1))
    sender.want_acked((3, 4))
    sender.want_in_flight(9)
    sender.ack((3, 6), (0, 2))
    sender.want_acked((1, 2), (4, 6))
    sender.want_in_flight(6)


def test_reordering_below_the_packet_threshold_loses_nothing_yet(sender: Sender) -> None:
    sender.send(4)
    sender.advance(RTT)
    sender.ack((3, 4), (0, 1))
    sender.want_acked((3, 4))
    # 1 and 2 are lost when 9/8 of the RTT has passed since they were sent.
    sender.want_timeout(1.1 + LOSS_DELAY)
    sender.ack((0, 5))
    sender.want_acked((1, 3), (4, 5))
    sender.want_timeout(None)


def test_the_packet_threshold_splits_a_train(sender: Sender) -> None:
    sender.send(10)
    sender.advance(RTT)
    sender.ack((6, 7), (0, 1))
    sender.want_acked((6, 7))
    sender.want_lost((1, 4))
    sender.want_in_flight(6)
    assert [loss.lost_bytes for loss in sender.recorder.losses] == [3 * SIZE]
    assert sender.recorder.losses[0].prior_in_flight == 10 * SIZE
    assert sender.recorder.losses[0].bytes_in_flight == 6 * SIZE


def test_the_time_threshold_declares_the_rest_lost(sender: Sender) -> None:
    sender.send(3)
    sender.advance(RTT)
    sender.ack((3, 4), (0, 1))
    sender.want_acked((3, 4))
    sender.advance(1.0)
    assert sender.now == pytest.approx(1.1 + LOSS_DELAY)
    sender.want_lost((1, 3))
    sender.want_timeout(None)
    sender.want_in_flight(0)


def test_a_late_ack_applies_the_time_threshold_itself(sender: Sender) -> None:
    sender.send(1)
    sender.advance(0.05)
    sender.send(1)
    sender.advance(0.2)
    sender.ack((2, 3), (0, 1))
    sender.want_acked((2, 3))
    sender.want_lost((1, 2))


def test_a_timeout_called_early_does_nothing(sender: Sender) -> None:
    sender.send(3)
    assert sender.recovery.handle_timeout(sender.now) == ([], 0)
    sender.advance(RTT)
    sender.ack((3, 4), (0, 1))
    sender.want_acked((3, 4))
    assert sender.recovery.handle_timeout(sender.now) == ([], 0)


def test_losing_the_tail_brings_probes_that_double(sender: Sender) -> None:
    sent = sender.now
    sender.send(3)
    for backoff in (1, 2, 4):
        sender.want_timeout(sent + PTO * backoff)
        sender.advance(10.0)
        sender.want_probes()
    assert sender.recovery.pto_count == 3
    sender.want_in_flight(3)
    sent = sender.now
    sender.send(2)
    sender.want_timeout(sent + PTO * 8)
    sender.advance(RTT)
    sender.ack((4, 6), (0, 1))
    sender.want_acked((4, 6))
    sender.want_lost((1, 4))
    assert sender.recovery.pto_count == 0


def test_backoff_is_capped_at_three_seconds(sender: Sender) -> None:
    sender.send()
    for _ in range(100):
        sender.advance(1000.0)
        sender.want_probes()
        sender.send()
    sender.want_timeout(sender.now + 3.0)


def test_the_cap_never_hastens_a_probe(sender: Sender) -> None:
    sent = sender.send()
    sender.now += 20.0
    sender.ack((sent.first, sent.stop))
    sender.want_acked((sent.first, sent.stop))
    sender.send()
    assert sender.recovery.rtt.probe_timeout() > 3.0
    sender.want_timeout(sender.now + sender.recovery.rtt.probe_timeout())


def test_probes_can_repeat_the_oldest_packets(sender: Sender) -> None:
    sender.send(quiet=True)
    sender.send(2)
    sender.send(5)
    oldest = sender.recovery.sent_packets.oldest_unacknowledged(4)
    assert [(train.first, train.stop) for train in oldest] == [(2, 4), (4, 6)]
    sender.want_in_flight(7)


def test_only_ack_eliciting_packets_arm_the_probe_timeout(sender: Sender) -> None:
    sender.send(quiet=True)
    sender.want_timeout(None)
    sender.want_in_flight(0)
    sender.send()
    sender.want_timeout(sender.now + PTO)
    sent = sender.now
    sender.advance(0.01)
    sender.send(quiet=True)
    sender.want_timeout(sent + PTO)


def test_rtt_is_sampled_from_the_largest_acknowledged_alone(sender: Sender) -> None:
    sender.send()
    sender.advance(0.05)
    sender.send()
    sender.advance(0.15)
    sender.ack((2, 3), delay=0.02)
    sender.want_acked((2, 3))
    sender.want_lost((1, 2))
    assert sender.recovery.rtt.latest_rtt == pytest.approx(0.15)
    assert sender.recovery.rtt.smoothed_rtt == pytest.approx(0.1 * 7 / 8 + 0.13 / 8)
    assert sender.recorder.samples[-1].latest_rtt == pytest.approx(0.15)


def test_no_rtt_sample_from_what_was_not_asked_to_be_acknowledged(sender: Sender) -> None:
    sender.send(quiet=True)
    sender.advance(0.3)
    sender.ack((0, 2))
    sender.want_acked((1, 2))
    assert sender.recovery.rtt.latest_rtt == pytest.approx(RTT)


def test_no_rtt_sample_when_the_largest_is_not_newly_acknowledged(sender: Sender) -> None:
    sender.send(3)
    sender.advance(RTT)
    sender.ack((3, 4), (0, 1))
    sender.want_acked((3, 4))
    sender.advance(0.001)
    sender.ack((2, 4), (0, 1))
    sender.want_acked((2, 3))
    assert sender.recovery.rtt.latest_rtt == pytest.approx(RTT)
    assert sender.recorder.samples[-1].latest_rtt is None
    sender.ack((0, 4))
    sender.want_acked((1, 2))


@pytest.mark.parametrize("number", [1, 2, 2**40])
def test_acknowledging_what_was_never_sent_is_a_violation(sender: Sender, number: int) -> None:
    with pytest.raises(ProtocolError, match=f"packet {number}, which was never sent") as caught:
        sender.ack((number, number + 1))
    assert caught.value.code is ErrorCode.PROTOCOL_VIOLATION


def test_acknowledging_a_skipped_number_is_a_violation_and_changes_nothing(sender: Sender) -> None:
    sender.send(5)
    sender.send(5, skip=2)
    sender.advance(RTT)
    with pytest.raises(ProtocolError, match="packet 6, which was never sent"):
        sender.ack((0, 13))
    sender.want_in_flight(10)
    sender.ack((8, 13), (0, 6))
    sender.want_acked((1, 6), (8, 13))


def test_a_skipped_number_is_checked_when_all_before_it_is_resolved(sender: Sender) -> None:
    sender.send(5)
    sender.advance(RTT)
    sender.ack((0, 6))
    sender.want_acked((1, 6))
    sender.send(1, skip=1)
    with pytest.raises(ProtocolError, match="packet 6"):
        sender.ack((0, 7))


def test_a_skipped_number_is_checked_after_acks_around_it(sender: Sender) -> None:
    sender.send(5)
    sender.send(2, skip=1)
    sender.advance(RTT)
    sender.ack((0, 6))
    sender.want_acked((1, 6))
    with pytest.raises(ProtocolError, match="packet 6"):
        sender.ack((0, 7))
    sender.ack((7, 8), (0, 6))
    sender.want_acked((7, 8))


def test_the_newest_runs_of_skipped_numbers_are_checked(sender: Sender) -> None:
    for _ in range(MAX_SKIPPED + 1):
        sender.send(1, skip=1)
    first, last = 1, sender.recovery.next_packet_number - 2
    with pytest.raises(ProtocolError, match=f"packet {last}"):
        sender.ack((last, last + 1))
    sender.ack((first, first + 1))
    with pytest.raises(ProtocolError, match=f"packet {first + 2}"):
        sender.ack((first, first + 3))


def test_repeated_and_older_acks_bring_nothing(sender: Sender) -> None:
    sender.send(10)
    sender.advance(RTT)
    sender.ack((7, 11), (0, 5))
    sender.want_acked((1, 5), (7, 11))
    sender.want_lost((5, 7))
    sender.ack((7, 11), (0, 5))
    sender.ack((7, 9), (0, 5))
    sender.ack((3, 4))
    sender.want_nothing()
    assert len(sender.recorder.samples) == 2


def test_an_ack_after_all_shows_a_loss_was_spurious(sender: Sender) -> None:
    sender.send(10)
    sender.advance(RTT)
    sender.ack((5, 11), (0, 1))
    sender.want_acked((5, 11))
    sender.want_lost((1, 5))
    sender.advance(0.02)
    delivered = sender.recovery.delivered
    sender.ack((5, 11), (2, 4), (0, 1))
    sender.want_spurious((2, 4))
    assert sender.recorder.others == [f"spurious {2 * SIZE}"]
    assert sender.recovery.delivered == delivered + 2 * SIZE
    # Told once, however often it is acknowledged.
    sender.ack((5, 11), (2, 4), (0, 1))
    sender.ack((0, 11))
    sender.want_spurious((1, 2), (4, 5))


def test_only_what_asked_for_an_ack_can_be_lost_spuriously(sender: Sender) -> None:
    sender.send(quiet=True)
    sender.send(1)
    sender.send(4)
    sender.advance(RTT)
    sender.ack((6, 7), (0, 1))
    sender.want_acked((6, 7))
    sender.want_lost((1, 4))
    sender.ack((6, 7), (0, 4))
    sender.want_spurious((2, 4))
    sender.want_in_flight(2)


def test_a_loss_is_remembered_for_three_probe_timeouts(sender: Sender) -> None:
    sender.send(10)
    sender.advance(RTT)
    sender.ack((5, 11), (0, 1))
    sender.want_acked((5, 11))
    sender.want_lost((1, 5))
    sender.advance(3 * sender.recovery.rtt.probe_timeout())
    sender.send()
    sender.advance(RTT)
    sender.ack((5, 12), (0, 1))
    sender.want_acked((11, 12))
    sender.ack((0, 12))
    sender.want_nothing()


@pytest.mark.parametrize(
    ("outstanding", "bound"), [(True, MAX_REMEMBERED), (False, MAX_REMEMBERED_IDLE)], ids=["busy", "idle"]
)
def test_what_is_remembered_is_bounded(sender: Sender, outstanding: bool, bound: int) -> None:
    for _ in range(2 * MAX_REMEMBERED):
        sender.send(2)
    last = sender.recovery.next_packet_number
    sender.advance(RTT)
    evens = tuple((number, number + 1) for number in range(last - 1, 0, -2))
    for index in range(0, len(evens), 100):
        sender.ack(*evens[index : index + 100])
        sender.events.clear()
    if not outstanding:
        sender.ack((last - 2, last))
        sender.want_acked((last - 2, last - 1))
    sender.ack((last - 1, last), (0, last - 2))
    sender.want_spurious(*[(number, number + 1) for number in range(last - 2 - 2 * bound, last - 2, 2)])


def test_persistent_congestion(sender: Sender) -> None:
    sender.send()
    sender.advance(3 * PTO / 2)
    sender.want_probes()
    sender.send(2)
    sender.advance(10.0)
    sender.want_probes()
    sender.send(2)
    sender.advance(10.0)
    sender.want_probes()
    sender.send(4)
    sender.advance(0.2)
    sender.ack((9, 10), (0, 1))
    sender.want_acked((9, 10))
    sender.want_lost((1, 7))
    assert sender.recorder.others == ["persistent congestion"]
    assert sender.recovery.rtt.min_rtt == pytest.approx(0.2)


@pytest.mark.parametrize("breaker", ["acked", "none", "skipped"])
def test_persistent_congestion_needs_an_unbroken_run(sender: Sender, breaker: str) -> None:
    sender.send()
    sender.advance(10.0)
    sender.want_probes()
    sender.send(1, skip=1 if breaker == "skipped" else 0)
    between = sender.recovery.next_packet_number - 1
    sender.advance(10.0)
    sender.want_probes()
    sender.advance(10.0)
    sender.want_probes()
    sender.advance(10.0)
    sender.want_probes()
    sender.send(4)
    sender.advance(RTT)
    last = sender.recovery.next_packet_number
    if breaker == "acked":
        sender.ack((last - 1, last), (between, between + 1))
        sender.want_acked((between, between + 1), (last - 1, last))
        sender.want_lost((1, 2), (between + 1, last - 3))
        assert sender.recorder.others == []
    else:
        sender.ack((last - 1, last))
        sender.want_acked((last - 1, last))
        if breaker == "skipped":
            sender.want_lost((1, 2), (between, last - 3))
        else:
            sender.want_lost((1, last - 3))
        assert sender.recorder.others == ["persistent congestion"]


def test_persistent_congestion_is_not_measured_from_a_bare_ack(sender: Sender) -> None:
    sender.send(quiet=True)
    sender.advance(10.0)
    sender.send(2)
    sender.advance(10.0)
    sender.want_probes()
    sender.send(4)
    sender.advance(RTT)
    sender.ack((7, 8), (0, 1))
    sender.want_acked((7, 8))
    sender.want_lost((1, 5))
    assert sender.recorder.others == []


@pytest.mark.parametrize("spurious", [False, True])
def test_a_spurious_loss_breaks_the_run_of_persistent_congestion(sender: Sender, spurious: bool) -> None:
    sender.send(3)
    for _ in range(3):
        sender.advance(10.0)
        sender.want_probes()
    sender.send(3)
    sender.advance(RTT)
    sender.ack((6, 7), (0, 1))
    sender.want_acked((6, 7))
    sender.want_lost((1, 4))
    if spurious:
        sender.ack((6, 7), (2, 3), (0, 1))
        sender.want_spurious((2, 3))
    sender.recorder.others.clear()
    sender.advance(LOSS_DELAY)
    sender.want_lost((4, 6))
    assert sender.recorder.others == ([] if spurious else ["persistent congestion"])


def test_no_persistent_congestion_before_a_first_rtt_sample() -> None:
    sender = Sender()
    for _ in range(4):
        sender.send()
        sender.advance(100.0)
        sender.want_probes()
    sender.send(4)
    sender.advance(RTT)
    sender.ack((7, 8))
    sender.want_acked((7, 8))
    sender.want_lost((0, 5))
    assert sender.recorder.others == []


def test_packet_numbers_cross_32_bits() -> None:
    sender = Sender()
    sender.settle()
    base = 2**32 - 5
    sender.send(20, skip=base - 1)
    sender.advance(RTT)
    sender.ack((2**32 + 2, 2**32 + 6))
    sender.want_acked((2**32 + 2, 2**32 + 6))
    sender.want_lost((base, 2**32 + 2))
    sender.ack((2**32 + 2, base + 20), (2**32 - 1, 2**32 + 1))
    sender.want_acked((2**32 + 6, base + 20))
    sender.want_spurious((2**32 - 1, 2**32 + 1))


def test_many_ranges_repeated_are_looked_at_once(sender: Sender) -> None:
    """An ACK of 100 old ranges and one new one resolves the new one only; the rest is still right."""
    sender.send(300)
    sender.advance(RTT)
    ranges = tuple((number, number + 2) for number in range(298, 0, -3))
    sender.ack(*ranges)
    sender.want_acked(*reversed(ranges))
    sender.want_lost(*[(number, number + 1) for number in range(3, 297, 3)])
    sender.send(4)
    sender.ack((301, 303), *ranges)
    sender.want_acked((301, 303))
    sender.want_lost((297, 298), (300, 301))
    sender.ack((301, 303), *ranges[:50], (145, 150), *ranges[52:])
    sender.want_spurious((147, 148))


def test_new_reno_halves_once_for_losses_of_one_round_trip() -> None:
    sender = Sender(NewReno)
    sender.settle()
    window = sender.recovery.congestion.congestion_window
    sender.send(10)
    sender.advance(RTT)
    sender.ack((5, 6))
    sender.want_acked((5, 6))
    sender.want_lost((1, 3))
    sender.ack((8, 9), (5, 6))
    sender.want_acked((8, 9))
    sender.want_lost((3, 5))
    assert sender.recovery.congestion.congestion_window == window // 2
