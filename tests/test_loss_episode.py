"""A congestion event is undone when every packet lost during it was acknowledged after all, and only then."""

from __future__ import annotations

import pytest

from tests.sender import RTT, SIZE, Sender, settled_sender

sender = pytest.fixture(settled_sender)


@pytest.fixture
def four_lost(sender: Sender) -> Sender:
    """Packets 1 to 4 were declared lost when 5 to 10 came; nothing is outstanding."""
    sender.send(10)
    sender.advance(RTT)
    sender.ack((5, 11), (0, 1))
    sender.want_acked((5, 11))
    sender.want_lost((1, 5))
    return sender


def undone(sender: Sender) -> int:
    return sender.recorder.others.count("undone")


def test_the_last_of_them_undoes_it(four_lost: Sender) -> None:
    four_lost.ack((5, 11), (3, 4))
    four_lost.want_spurious((3, 4))
    four_lost.ack((5, 11), (1, 4))
    four_lost.want_spurious((1, 3))
    assert undone(four_lost) == 0
    four_lost.ack((0, 11))
    four_lost.want_spurious((4, 5))
    assert four_lost.recorder.others == [f"spurious {SIZE}", f"spurious {2 * SIZE}", f"spurious {SIZE}", "undone"]


def test_a_packet_that_stays_lost_keeps_it(four_lost: Sender) -> None:
    four_lost.ack((5, 11), (2, 5))
    four_lost.want_spurious((2, 5))
    four_lost.advance(RTT)
    four_lost.send(1)
    four_lost.advance(RTT)
    four_lost.ack((2, 12))
    four_lost.want_acked((11, 12))
    assert undone(four_lost) == 0


def test_losses_of_the_same_event_count_together(sender: Sender) -> None:
    sender.send(10)
    sender.advance(RTT)
    sender.ack((5, 6), (0, 1))
    sender.want_acked((5, 6))
    sender.want_lost((1, 3))
    sender.ack((9, 10), (5, 6), (0, 1))
    sender.want_acked((9, 10))
    sender.want_lost((3, 5), (6, 7))
    sender.ack((9, 10), (5, 6), (0, 3))
    sender.want_spurious((1, 3))
    assert undone(sender) == 0
    sender.ack((0, 11))
    sender.want_acked((7, 9), (10, 11))
    sender.want_spurious((3, 5), (6, 7))
    assert undone(sender) == 1


def test_a_later_event_is_one_of_its_own(four_lost: Sender) -> None:
    four_lost.send(4)
    four_lost.advance(RTT)
    four_lost.ack((14, 15), (5, 11), (0, 1))
    four_lost.want_acked((14, 15))
    four_lost.want_lost((11, 12))
    # The first event is past: that it was none changes nothing any more.
    four_lost.ack((14, 15), (0, 11))
    four_lost.want_spurious((1, 5))
    assert undone(four_lost) == 0
    four_lost.ack((0, 15))
    four_lost.want_acked((12, 14))
    four_lost.want_spurious((11, 12))
    assert undone(four_lost) == 1


def test_the_ack_that_undoes_an_event_may_begin_the_next(four_lost: Sender) -> None:
    """What comes late is told first, or the loss in the same ACK would end the event before it is undone."""
    four_lost.send(1)
    four_lost.advance(2 * RTT)
    four_lost.send(1)
    four_lost.now += RTT
    four_lost.ack((12, 13), (0, 11))
    four_lost.want_acked((12, 13))
    four_lost.want_lost((11, 12))
    four_lost.want_spurious((1, 5))
    assert undone(four_lost) == 1
    four_lost.ack((0, 13))
    four_lost.want_spurious((11, 12))
    assert undone(four_lost) == 2


def test_a_loss_that_is_forgotten_is_never_undone(four_lost: Sender) -> None:
    four_lost.advance(3 * four_lost.recovery.rtt.probe_timeout())
    four_lost.send(1)
    four_lost.advance(RTT)
    four_lost.ack((5, 12), (0, 1))
    four_lost.want_acked((11, 12))
    four_lost.ack((0, 12))
    assert undone(four_lost) == 0


def test_a_new_path_has_no_event(four_lost: Sender) -> None:
    four_lost.recovery.on_path_changed(four_lost.now, reset=True)
    four_lost.ack((0, 11))
    four_lost.want_spurious((1, 5))
    assert four_lost.recorder.others == []


def test_a_probe_of_the_path_mtu_is_no_part_of_it(sender: Sender) -> None:
    sender.send(1)
    sender.send(1, mtu_probe=True)
    sender.send(5)
    sender.advance(RTT)
    sender.ack((3, 8), (0, 1))
    sender.want_acked((3, 8))
    sender.want_lost((1, 3))
    sender.ack((3, 8), (0, 2))
    sender.want_spurious((1, 2))
    assert undone(sender) == 1
    sender.ack((0, 8))
    sender.want_spurious((2, 3))
    assert undone(sender) == 1


@pytest.mark.parametrize("first", ["mark", "loss"])
def test_a_mark_speaks_for_congestion(first: str) -> None:
    sender = Sender(ecn=True)
    sender.send(1)
    sender.advance(RTT)
    sender.ack((0, 1), ecn=(1, 0, 0))
    sender.want_acked((0, 1))
    sender.send(10)
    sender.advance(RTT)
    if first == "mark":
        sender.ack((1, 2), (0, 1), ecn=(1, 0, 1))
        sender.want_acked((1, 2))
        sender.ack((7, 8), (0, 2), ecn=(2, 0, 1))
        sender.want_acked((7, 8))
        sender.want_lost((2, 5))
    else:
        sender.ack((7, 8), (0, 1), ecn=(2, 0, 0))
        sender.want_acked((7, 8))
        sender.want_lost((1, 5))
        sender.ack((8, 9), (7, 8), (0, 1), ecn=(2, 0, 1))
        sender.want_acked((8, 9))
        sender.want_lost((5, 6))
    sender.ack((0, 11), ecn=(10, 0, 1))
    sender.events.clear()
    assert "undone" not in sender.recorder.others
    # The next event can be undone again.
    sender.advance(0.001)
    sender.send(5)
    sender.now += 2 * RTT
    sender.send(1)
    sender.now += RTT
    sender.ack((16, 17), (0, 11), ecn=(11, 0, 1))
    sender.want_acked((16, 17))
    sender.want_lost((11, 16))
    sender.ack((0, 17))
    sender.want_spurious((11, 16))
    assert undone(sender) == 1


def test_after_persistent_congestion_the_next_loss_begins_an_event(sender: Sender) -> None:
    sender.send(1)
    for _ in range(3):
        sender.advance(10.0)
        sender.want_probes()
    sender.send(1)
    sender.send(8)
    sender.advance(0.2)
    sender.ack((5, 6), (0, 1))
    sender.want_acked((5, 6))
    sender.want_lost((1, 3))
    assert sender.recorder.others == ["persistent congestion"]
    sender.ack((6, 7), (0, 1))
    sender.want_acked((6, 7))
    sender.want_lost((3, 4))
    sender.ack((6, 7), (5, 6), (3, 4), (0, 1))
    sender.want_spurious((3, 4))
    assert undone(sender) == 1
