"""Probes of the path MTU: packets like any, but their loss is told to who sent them and to nobody else."""

from __future__ import annotations

import pytest

from rudp.congestion import CongestionController
from rudp.congestion.bbr import Bbr
from rudp.congestion.cubic import Cubic
from rudp.congestion.new_reno import NewReno
from tests.sender import MAX_ACK_DELAY, RTT, SIZE, Sender, settled_sender

sender = pytest.fixture(settled_sender)

PTO = RTT + 4 * RTT / 2 + MAX_ACK_DELAY


def test_its_loss_is_handed_back_and_told_to_nobody_else(sender: Sender) -> None:
    """RFC 9000 section 14.4, RFC 8899 section 3."""
    sender.send(1, mtu_probe=True)
    sender.send(5)
    sender.want_in_flight(6)
    sender.advance(RTT)
    sender.ack((2, 7), (0, 1))
    sender.want_acked((2, 7))
    sender.want_lost((1, 2))
    sender.want_in_flight(0)
    assert (sender.recorder.losses, sender.recorder.others) == ([], [])
    sample = sender.recorder.samples[-1]
    assert (sample.lost_bytes, sample.lost_since_sent, sample.acked_bytes) == (0, 0, 5 * SIZE)


def test_what_is_lost_with_it_is_told_without_it(sender: Sender) -> None:
    sender.send(1)
    sender.send(1, mtu_probe=True)
    sender.send(5)
    sender.advance(RTT)
    sender.ack((3, 8), (0, 1))
    sender.want_acked((3, 8))
    sender.want_lost((1, 3))
    assert [(loss.lost_bytes, loss.tx_in_flight) for loss in sender.recorder.losses] == [(SIZE, SIZE)]


def test_its_acknowledgement_counts_as_any(sender: Sender) -> None:
    sender.send(1, mtu_probe=True)
    sender.want_timeout(sender.now + PTO)
    sender.advance(2 * RTT)
    sender.ack((0, 2))
    sender.want_acked((1, 2))
    assert sender.recovery.rtt.latest_rtt == pytest.approx(2 * RTT)
    assert sender.recorder.samples[-1].acked_bytes == SIZE


def test_acknowledged_after_all_it_was_delivered_and_no_loss_was_spurious(sender: Sender) -> None:
    sender.send(1, mtu_probe=True)
    sender.send(5)
    sender.advance(RTT)
    sender.ack((2, 7), (0, 1))
    sender.want_acked((2, 7))
    sender.want_lost((1, 2))
    delivered = sender.recovery.delivered
    sender.ack((0, 7))
    sender.want_spurious((1, 2))
    assert sender.recovery.delivered == delivered + SIZE
    assert sender.recorder.others == []


def test_it_is_never_persistent_congestion(sender: Sender) -> None:
    sender.send(1, mtu_probe=True)
    for _ in range(3):
        sender.advance(10.0)
        sender.want_probes()
    sender.send(1)
    sender.send(1, mtu_probe=True)
    sender.send(4)
    sender.advance(RTT)
    sender.ack((6, 7), (0, 1))
    sender.want_acked((6, 7))
    sender.want_lost((1, 4))
    assert sender.recorder.others == []


def test_it_does_not_break_the_run_of_persistent_congestion(sender: Sender) -> None:
    sender.send(1)
    sender.send(1, mtu_probe=True)
    for _ in range(3):
        sender.advance(10.0)
        sender.want_probes()
    sender.send(5)
    sender.advance(RTT)
    sender.ack((7, 8), (0, 1))
    sender.want_acked((7, 8))
    sender.want_lost((1, 5))
    assert sender.recorder.others == ["persistent congestion"]


def test_probe_timeouts_repeat_what_carries_data_instead(sender: Sender) -> None:
    sender.send(1, mtu_probe=True)
    sender.send(2)
    assert [(train.first, train.stop) for train in sender.recovery.sent_packets.oldest_unacknowledged(2)] == [(2, 4)]


@pytest.mark.parametrize("controller", [NewReno, Cubic, Bbr])
def test_a_larger_packet_fits_the_smallest_window(controller: type[CongestionController]) -> None:
    """RFC 9002 section 7.2 counts the minimum window in packets. With nothing in flight nothing would grow it."""
    sender = Sender(controller)
    congestion = sender.recovery.congestion
    congestion.congestion_window = congestion.minimum_window
    sender.recovery.set_max_datagram_size(10 * SIZE, sender.now)
    assert congestion.congestion_window == congestion.minimum_window
    assert sender.recovery.send_allowance(sender.now) >= 2 * 10 * SIZE
    sender.recovery.set_max_datagram_size(SIZE, sender.now)
    assert congestion.congestion_window >= 2 * 10 * SIZE, "a smaller one takes nothing back"


# -- what this machine refuses


def test_what_was_never_sent_is_handed_back_and_told_to_nobody(sender: Sender) -> None:
    """Packets that passed of the same train stay, and so does what was sent before."""
    sender.send(3)
    sender.send(10)
    sender.send(5)
    samples = len(sender.recorder.samples)
    taken = sender.recovery.take_back([(6, 13), (14, 19)], sender.now)
    assert [(train.first, train.stop) for train in taken] == [(6, 13), (14, 19)]
    assert not sender.recovery.app_limited
    sender.want_in_flight(6)
    assert (sender.recorder.losses, sender.recorder.others) == ([], [])
    sender.advance(RTT)
    sender.ack((13, 14), (0, 6))
    sender.want_acked((1, 6), (13, 14))
    sender.want_in_flight(0)
    assert len(sender.recorder.samples) == samples + 1
    assert sender.recorder.samples[-1].lost_since_sent == 0


def test_nothing_is_awaited_once_all_was_taken_back(sender: Sender) -> None:
    sender.send(3)
    sender.recovery.winding_up = True
    sender.advance(RTT / 2)
    sender.recovery.take_back([(1, 4)], sender.now)
    assert sender.recovery.next_timeout() is None
    assert not sender.recovery.winding_up, "it is to be sent again"
    # Should the peer acknowledge one all the same, nothing comes of it.
    sender.ack((0, 3))
    sender.want_in_flight(0)
    # And the path counts as idle since then.
    assert not sender.recorder.idles
    sender.advance(10.0)
    sender.send()
    assert [seconds for seconds, _ in sender.recorder.idles] == [pytest.approx(10.0)]
    sender.ack((4, 5))
    sender.want_acked((4, 5))
