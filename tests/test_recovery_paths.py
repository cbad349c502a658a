"""What recovery lets go, and what becomes of it on another path or without an answer."""

from __future__ import annotations

import pytest

from rudp.sent_packets import SentTrain
from tests.sender import RTT, SIZE, Recorder, Sender, settled_sender

sender = pytest.fixture(settled_sender)


def test_allowance_is_the_room_in_the_window(sender: Sender) -> None:
    sender.recorder.congestion_window = 20 * SIZE
    sender.send(15)
    assert sender.recovery.send_allowance(sender.now) == 5 * SIZE
    assert sender.recovery.limited_by(sender.now) is None
    assert sender.recorder.sent[-1] == (15 * SIZE, 0)


def test_allowance_is_what_the_pacer_lets_go(sender: Sender) -> None:
    sender.recorder.pacing_rate = 100 * SIZE
    sender.send(1)
    allowance = sender.recovery.send_allowance(sender.now)
    assert SIZE <= allowance < 100 * SIZE
    sender.send(allowance // SIZE)
    assert sender.recovery.send_allowance(sender.now) < SIZE
    assert sender.recovery.limited_by(sender.now) == "pacer"
    release = sender.recovery.pacer.release_time(sender.now)
    assert release is not None
    assert sender.now < release <= sender.now + 0.011
    assert sender.recovery.send_allowance(release + 1e-9) >= SIZE
    assert sender.recovery.limited_by(release + 1e-9) is None


def test_a_new_path_starts_anew_and_keeps_track(sender: Sender) -> None:
    sender.send(10)
    old = sender.recorder
    sender.recovery.on_path_changed(sender.now, reset=True)
    assert sender.recorder is not old
    sender.want_in_flight(0)
    assert sender.recovery.rtt.first_sample_time is None
    sender.send(10)
    sender.want_in_flight(10)
    # Old packets, acknowledged and lost, tell the new controller nothing and give no RTT sample.
    sender.advance(0.5)
    sender.ack((5, 11), (0, 1))
    sender.want_acked((5, 11))
    sender.want_lost((1, 5))
    assert (sender.recorder.samples, sender.recorder.losses, sender.recovery.delivered) == ([], [], 0)
    assert sender.recovery.rtt.first_sample_time is None
    sender.ack((5, 11), (2, 3))
    sender.want_spurious((2, 3))
    assert sender.recorder.others == []
    sender.ack((5, 21))
    sender.want_acked((11, 21))
    assert sender.recovery.rtt.latest_rtt == pytest.approx(0.5)
    assert sender.recovery.delivered == 10 * SIZE
    assert [sample.acked_bytes for sample in sender.recorder.samples] == [10 * SIZE]


def test_a_probe_of_another_path_gives_no_rtt_sample(sender: Sender) -> None:
    sender.send(1)
    probe = SentTrain(
        2, 1, sender.now, SIZE, SIZE, ack_eliciting=True, in_flight=False, offset=2000, end_offset=3000
    )
    sender.recovery.on_train_sent(probe, sender.now)
    sender.want_in_flight(1)
    sender.advance(0.2)
    sender.ack((0, 3))
    sender.want_acked((1, 3))
    assert sender.recovery.rtt.latest_rtt == pytest.approx(RTT)


def test_what_was_lost_on_the_old_path_is_not_told_to_the_new_controller(sender: Sender) -> None:
    sender.send(10)
    sender.advance(RTT)
    sender.ack((5, 11), (0, 1))
    sender.want_acked((5, 11))
    sender.want_lost((1, 5))
    sender.recovery.on_path_changed(sender.now, reset=True)
    sender.ack((0, 11))
    sender.want_spurious((1, 5))
    assert (sender.recorder.others, sender.recovery.delivered) == ([], 0)


def test_a_bare_ack_over_the_old_path_gives_no_rtt_sample(sender: Sender) -> None:
    sender.send(1)
    sender.send(quiet=True)
    sender.recovery.on_path_changed(sender.now, reset=True)
    sender.advance(0.2)
    sender.ack((0, 3))
    sender.want_acked((1, 3))
    assert sender.recovery.rtt.first_sample_time is None


def test_a_new_path_is_not_paced_at_the_old_rate(sender: Sender) -> None:
    sender.recorder.pacing_rate = 100 * SIZE
    sender.send(1)
    sender.send(sender.recovery.send_allowance(sender.now) // SIZE)
    assert sender.recovery.limited_by(sender.now) == "pacer"
    sender.recovery.on_path_changed(sender.now, reset=True)
    assert sender.recovery.limited_by(sender.now) is None


class Shy(Recorder):
    """A controller that lets little go at once while packets are in flight."""

    burst_packets = 3


@pytest.mark.parametrize("moved", [False, True])
def test_what_goes_at_once_while_packets_are_in_flight_is_the_controller_s_wish(moved: bool) -> None:
    sender = Sender(Shy)
    if moved:
        sender.recovery.on_path_changed(sender.now, reset=True)
    sender.recorder.pacing_rate = 100.0 * SIZE
    sender.settle()
    sender.send(10)
    sender.now += 1.0  # time for ten times as many
    assert sender.recovery.send_allowance(sender.now) == 3 * SIZE


def test_a_larger_packet_size_reaches_controller_and_pacer(sender: Sender) -> None:
    sender.recorder.pacing_rate = 100.0 * SIZE
    sender.send(1)
    sender.send(sender.recovery.send_allowance(sender.now) // SIZE)
    before = sender.recovery.pacer.release_time(sender.now)
    sender.recovery.set_max_datagram_size(2 * SIZE, sender.now)
    after = sender.recovery.pacer.release_time(sender.now)
    assert before is not None
    assert after == pytest.approx(before + 0.010)
    assert sender.recorder.max_datagram_size == 2 * SIZE


def test_another_port_changes_nothing(sender: Sender) -> None:
    sender.send(10)
    recorder = sender.recorder
    sender.recovery.on_path_changed(sender.now, reset=False)
    assert sender.recorder is recorder
    sender.want_in_flight(10)
    assert sender.recovery.rtt.smoothed_rtt == pytest.approx(RTT)


def test_unacknowledged_since(sender: Sender) -> None:
    recovery = sender.recovery
    assert recovery.unacknowledged_since() is None
    sender.send(quiet=True)
    assert recovery.unacknowledged_since() is None
    sent = sender.now
    sender.send(2)
    sender.advance(0.05)
    sender.send(2)
    assert recovery.unacknowledged_since() == sent
    sender.advance(RTT)
    sender.ack((0, 3))
    sender.want_acked((1, 3))
    progress = sender.now
    assert recovery.unacknowledged_since() == progress
    sender.advance(20.0)
    sender.want_probes()
    sender.send(2)
    assert recovery.unacknowledged_since() == progress
    sender.ack((0, 8))
    sender.want_acked((3, 8))
    assert recovery.unacknowledged_since() is None


def test_a_ping_is_due_once_a_round_trip_of_bare_acks(sender: Sender) -> None:
    recovery = sender.recovery
    sender.advance(RTT)
    for _ in range(4):
        assert not recovery.ping_due(sender.now)
        sender.send(quiet=True)
    assert recovery.ping_due(sender.now)
    sender.send(frames=("ping",))
    assert not recovery.ping_due(sender.now)
    for _ in range(5):
        sender.send(quiet=True)
    sender.advance(RTT / 2)
    sender.ack((0, 7))
    sender.want_acked((1, 7))
    assert not recovery.ping_due(sender.now)
    sender.advance(RTT / 2)
    assert recovery.ping_due(sender.now)
