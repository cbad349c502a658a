"""What the controller is told beside bytes and times: what was in flight and lost around a sample, and pauses."""

from __future__ import annotations

from typing import ClassVar

import pytest

from rudp import recovery
from rudp.shatter import Shatter
from tests.sender import MAX_ACK_DELAY, RTT, SIZE, Sender, settled_sender

sender = pytest.fixture(settled_sender)

PTO = RTT + 4 * RTT / 2 + MAX_ACK_DELAY


def test_a_sample_tells_what_was_in_flight_with_its_newest_train(sender: Sender) -> None:
    sender.send(5)
    sender.send(3)
    sender.send(2)
    sender.advance(RTT)
    sender.ack((0, 8))
    sender.want_acked((1, 8))
    # The newest of the packets acknowledged is of the second train.
    assert sender.recorder.samples[-1].tx_in_flight == 8 * SIZE
    sender.send(1)
    sender.ack((0, 12))
    sender.want_acked((8, 12))
    assert sender.recorder.samples[-1].tx_in_flight == 4 * SIZE


def test_a_sample_tells_what_was_lost_since_its_newest_packet_was_sent(sender: Sender) -> None:
    sender.send(6)
    sender.send(1)
    sender.advance(RTT)
    sender.ack((6, 7), (0, 1))
    sender.want_acked((6, 7))
    sender.want_lost((1, 4))
    # The losses of the ACK itself count: they are told before it.
    assert sender.recorder.samples[-1].lost_since_sent == 3 * SIZE
    sender.send(1)
    sender.ack((6, 8), (0, 1))
    sender.want_acked((7, 8))
    sender.want_lost((4, 5))
    assert sender.recorder.samples[-1].lost_since_sent == 4 * SIZE
    sender.ack((6, 9), (0, 1))
    sender.want_acked((8, 9))
    sender.want_lost((5, 6))
    # 8 was sent after three were lost.
    assert sender.recorder.samples[-1].lost_since_sent == 2 * SIZE


def test_a_loss_tells_the_same_of_its_newest_packet(sender: Sender) -> None:
    sender.send(4)
    sender.recovery.on_app_limited(sender.now)
    sender.recorder.others.clear()
    sender.send(4)
    sender.advance(RTT)
    sender.ack((7, 8), (0, 1))
    sender.want_acked((7, 8))
    sender.want_lost((1, 5))
    sender.ack((7, 9), (0, 1))
    sender.want_acked((8, 9))
    sender.want_lost((5, 6))
    first, second = sender.recorder.losses
    assert (first.tx_in_flight, first.lost_since_sent, first.is_app_limited) == (4 * SIZE, 4 * SIZE, False)
    assert (second.tx_in_flight, second.lost_since_sent, second.is_app_limited) == (8 * SIZE, 5 * SIZE, True)
    assert (second.bytes_in_flight, second.prior_in_flight) == (SIZE, 3 * SIZE)


def test_what_proportional_rate_reduction_needs_adds_up(sender: Sender) -> None:
    """RFC 9937 section 6: delivered, lost, in flight and sent tell what became of every byte."""
    sender.send(20)
    sender.advance(RTT)
    for stop in (8, 12, 16):
        prior = sender.recovery.sent_packets.bytes_in_flight
        sender.ack((stop - 1, stop), (0, 1))
        sender.events.clear()
        sample = sender.recorder.samples[-1]
        assert sample.prior_in_flight == prior
        assert sample.bytes_in_flight == prior - sample.acked_bytes - sample.lost_bytes
    lost = sum(loss.lost_bytes for loss in sender.recorder.losses)
    sent = sum(size for size, _ in sender.recorder.sent)
    assert sent == sender.recovery.delivered + lost + sender.recovery.sent_packets.bytes_in_flight
    sender.send(3)
    assert sender.recorder.sent[-1] == (3 * SIZE, sender.recorder.samples[-1].bytes_in_flight)


def test_what_a_timer_declares_lost_is_told_as_what_an_ack_does(sender: Sender) -> None:
    sender.send(3)
    sender.advance(RTT)
    sender.ack((3, 4), (0, 1))
    sender.want_acked((3, 4))
    sender.advance(1.0)
    sender.want_lost((1, 3))
    (loss,) = sender.recorder.losses
    assert (loss.now, loss.lost_bytes, loss.lost_since_sent) == (sender.now, 2 * SIZE, 2 * SIZE)
    assert (loss.bytes_in_flight, loss.prior_in_flight, loss.tx_in_flight) == (0, 2 * SIZE, 3 * SIZE)


# Pauses


def test_a_pause_longer_than_a_probe_timeout_is_told_before_what_is_sent(sender: Sender) -> None:
    sender.advance(PTO + 0.001)
    sender.send(2)
    sender.send(2)
    assert sender.recorder.idles == [(pytest.approx(PTO + 0.001), 1)]


def test_a_shorter_one_is_not(sender: Sender) -> None:
    sender.advance(PTO - 0.001)
    sender.send(2)
    assert sender.recorder.idles == []


def test_a_pause_lasts_from_when_nothing_was_in_flight(sender: Sender) -> None:
    sender.send(2)
    sender.send(3)
    sender.now += PTO
    sender.ack((3, 6), (0, 1))
    sender.want_acked((3, 6))
    sender.want_lost((1, 3))
    ended = sender.now
    sender.advance(10.0)
    # What is not in flight is no restart, and no end of the pause.
    sender.send(quiet=True)
    sender.advance(10.0)
    assert sender.recorder.idles == []
    sender.send(1)
    assert sender.recorder.idles == [(pytest.approx(sender.now - ended), 3)]


def test_waiting_for_an_acknowledgement_is_no_pause(sender: Sender) -> None:
    sender.send(2)
    for _ in range(3):
        sender.advance(10.0)
        sender.want_probes()
    sender.send(2)
    assert sender.recorder.idles == []


def test_neither_the_first_train_of_a_connection_nor_of_a_path_ends_a_pause(sender: Sender) -> None:
    fresh = Sender()
    fresh.advance(100.0)
    fresh.send(1)
    assert fresh.recorder.idles == []
    sender.recovery.on_path_changed(sender.now, reset=True)
    sender.advance(100.0)
    sender.send(1)
    assert sender.recorder.idles == []


def test_a_pause_leaves_no_debt(sender: Sender) -> None:
    """Probes may overdraw the pacer; what is sent when they were answered isn't made to wait for that."""
    sender.recorder.pacing_rate = 10.0 * SIZE
    sender.send(1)
    sender.send(30)
    sender.now += 2 * PTO
    sender.ack((0, 32))
    sender.want_acked((1, 32))
    sender.advance(0.100)
    assert sender.recovery.send_allowance(sender.now) >= SIZE


def test_for_a_peer_that_shatters_it_less_than_half_a_window_in_flight_says_nothing_of_the_path(sender: Sender) -> None:
    """The pacer holds such a flow back: neither path nor window does."""
    sender.recovery._shatter = shatter = Shatter()
    shatter.limit = 1e6
    half = sender.recorder.congestion_window // SIZE // 2
    sender.send(half)
    sender.recorder.others.clear()
    sender.send(1)
    assert sender.recorder.others == []
    shatter.limit = None
    sender.recorder.congestion_window = 2 * sender.recovery.sent_packets.bytes_in_flight + 2 * SIZE + 1
    sender.send(1)
    assert sender.recorder.others == [], "nobody else is held back"
    shatter.limit = 1e6
    sender.send(1)
    assert sender.recorder.others == ["app limited"]


@pytest.mark.parametrize("rate", [None, 3e6])
@pytest.mark.parametrize("packets_a_second", [None, 1e3, 1e4])
def test_a_peer_that_shatters_it_is_sent_no_faster_than_it_may_and_no_faster_than_the_controller_says(
    sender: Sender, rate: float | None, packets_a_second: float | None
) -> None:
    sender.recorder.pacing_rate = rate
    sender.recovery._shatter = Shatter()
    sender.recovery._shatter.limit = packets_a_second
    bounds = [rate, packets_a_second and packets_a_second * SIZE]
    assert sender.recovery._pacing_rate() == min((bound for bound in bounds if bound is not None), default=None)


class Judge(Shatter):
    """Writes down how it was made, and what the timer told it."""

    made: ClassVar[list[tuple[int, ...]]] = []
    timed: ClassVar[list[int]] = []

    def __init__(self, *told: int) -> None:
        super().__init__(*told)
        self.made.append(told)

    def on_lost(self, packets: int) -> None:
        super().on_lost(packets)
        self.timed.append(packets)


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> type[Judge]:
    monkeypatch.setattr(recovery, "Shatter", Judge)
    Judge.made.clear()
    Judge.timed.clear()
    return Judge


def test_before_the_first_cut_all_was_acknowledged_whole(sender: Sender, judged: type[Judge]) -> None:
    sender.send(20)
    sender.send(30)
    sender.ack((0, 21))
    sender.want_acked((1, 21))
    assert judged.made == []
    sender.ack((0, 46))
    sender.want_acked((21, 46))
    assert judged.made == [(21, 25)], "of so many before, by ACKs that are about as many as this one"


def test_the_first_ack_may_cut(judged: type[Judge]) -> None:
    sender = Sender()
    sender.send(30)
    sender.ack((0, 25))
    sender.want_acked((0, 25))
    assert judged.made == [(0, 25)]


def test_what_a_timer_declares_lost_counts_against_cuts_once_there_were_any(
    sender: Sender, judged: type[Judge]
) -> None:
    sender.send(1)
    sender.send(1)
    sender.advance(0.001)
    sender.ack((2, 3), (0, 1))
    sender.want_acked((2, 3))
    sender.advance(1.0)
    sender.want_lost((1, 2))
    assert (judged.made, judged.timed) == ([], []), "no train was cut"
    sender.send(2)
    sender.send(2)
    sender.advance(0.001)
    sender.ack((5, 6), (2, 3), (0, 1))
    sender.want_acked((5, 6))
    assert len(judged.made) == 1
    sender.advance(1.0)
    sender.want_lost((3, 5))
    assert judged.timed == [2]
    sender.events.clear()
