"""ECN marks: believed as long as the counts can be true."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rudp.ecn import ECT0
from tests.sender import RTT, Sender, settled_sender

sender = pytest.fixture(settled_sender)


@pytest.fixture
def marker() -> Iterator[Sender]:
    """A sender that marks ECT(0); packet 0 came through marked."""
    sender = Sender(ecn=True)
    sender.send()
    sender.advance(RTT)
    sender.ack((0, 1), ecn=(1, 0, 0))
    sender.want_acked((0, 1))
    yield sender
    sender.want_nothing()


def test_more_ce_marks_are_told_to_the_controller(marker: Sender) -> None:
    marker.send(10)
    marker.advance(RTT)
    marker.ack((0, 6), ecn=(4, 0, 2))
    marker.want_acked((1, 6))
    marker.ack((0, 11), ecn=(9, 0, 2))
    marker.want_acked((6, 11))
    assert [sample.ecn_ce for sample in marker.recorder.samples] == [0, 2, 0]
    assert marker.recovery.ecn == ECT0


@pytest.mark.parametrize(
    "counts",
    [
        pytest.param(None, id="counts missing"),
        pytest.param((5, 0, 0), id="fewer than acknowledged"),
        pytest.param((0, 0, 9), id="a count went down"),
        pytest.param((7, 1, 0), id="a mark never sent"),
        pytest.param((12, 0, 0), id="more than sent"),
    ],
)
def test_implausible_counts_turn_ecn_off(marker: Sender, counts: tuple[int, int, int] | None) -> None:
    marker.send(10)
    marker.advance(RTT)
    marker.ack((0, 7), ecn=counts)
    marker.events.clear()
    assert marker.recovery.ecn == 0
    marker.ack((0, 11), ecn=(0, 0, 11))
    marker.events.clear()
    assert marker.recorder.samples[-1].ecn_ce == 0


def test_a_new_path_is_tried_with_marks_again(marker: Sender) -> None:
    marker.send(1)
    marker.ack((0, 2))
    marker.want_acked((1, 2))
    assert marker.recovery.ecn == 0
    marker.recovery.on_path_changed(marker.now, reset=True)
    assert marker.recovery.ecn == ECT0
    marker.send(3)
    marker.advance(RTT)
    marker.ack((0, 5), ecn=(3, 0, 1))
    marker.want_acked((2, 5))
    assert marker.recorder.samples[-1].ecn_ce == 1


def test_counts_of_an_overtaken_ack_that_acknowledges_are_ignored(marker: Sender) -> None:
    marker.send(3)
    marker.advance(RTT)
    marker.ack((3, 4), (0, 1), ecn=(2, 0, 0))
    marker.want_acked((3, 4))
    marker.ack((0, 3), ecn=(1, 0, 0))
    marker.want_acked((1, 3))
    assert marker.recovery.ecn == ECT0


def test_counts_of_an_overtaken_ack_are_ignored(marker: Sender) -> None:
    marker.send(10)
    marker.advance(RTT)
    marker.ack((8, 11), (0, 1), ecn=(4, 0, 0))
    marker.want_acked((8, 11))
    marker.want_lost((1, 8))
    marker.send(1)
    marker.ack((0, 8), ecn=(1, 0, 0))
    marker.want_spurious((1, 8))
    assert marker.recovery.ecn == ECT0


def test_marked_packets_that_never_arrive_turn_ecn_off() -> None:
    sender = Sender(ecn=True)
    sender.send()
    for wanted in (ECT0, ECT0, 0):
        sender.advance(100.0)
        sender.want_probes()
        assert sender.recovery.ecn == wanted
        sender.send()


def test_ecn_is_off_unless_asked_for(sender: Sender) -> None:
    assert sender.recovery.ecn == 0
    sender.send()
    sender.advance(RTT)
    sender.ack((0, 2), ecn=(0, 0, 2))
    sender.want_acked((1, 2))
    assert sender.recorder.samples[-1].ecn_ce == 0
