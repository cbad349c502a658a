"""ECN marks: believed as long as the counts can be true."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rudp.ecn import ECT0, TEST_PACKETS, EcnState
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
    assert marker.recovery.ecn.codepoint == ECT0


@pytest.mark.parametrize(
    "counts",
    [
        pytest.param(None, id="counts missing"),
        pytest.param((5, 0, 0), id="fewer than acknowledged"),
        pytest.param((0, 0, 9), id="a count went down"),
        pytest.param((1, 0, 0), id="bleached"),
        pytest.param((1, 7, 0), id="remarked as ECT(1)"),
        pytest.param((7, 1, 0), id="a mark never sent"),
        pytest.param((12, 0, 0), id="more than sent"),
    ],
)
def test_implausible_counts_turn_ecn_off(marker: Sender, counts: tuple[int, int, int] | None) -> None:
    marker.send(10)
    marker.advance(RTT)
    marker.ack((0, 7), ecn=counts)
    marker.events.clear()
    assert marker.recovery.ecn.codepoint == 0
    marker.ack((0, 11), ecn=(0, 0, 11))
    marker.events.clear()
    assert marker.recorder.samples[-1].ecn_ce == 0


def test_a_new_path_is_tried_with_marks_again(marker: Sender) -> None:
    marker.send(1)
    marker.ack((0, 2))
    marker.want_acked((1, 2))
    assert marker.recovery.ecn.codepoint == 0
    marker.recovery.on_path_changed(marker.now, reset=True)
    assert marker.recovery.ecn.codepoint == ECT0
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
    assert marker.recovery.ecn.codepoint == ECT0


def test_counts_of_an_overtaken_ack_are_ignored(marker: Sender) -> None:
    marker.send(10)
    marker.advance(RTT)
    marker.ack((8, 11), (0, 1), ecn=(4, 0, 0))
    marker.want_acked((8, 11))
    marker.want_lost((1, 8))
    marker.send(1)
    marker.ack((0, 8), ecn=(1, 0, 0))
    marker.want_spurious((1, 8))
    assert marker.recovery.ecn.codepoint == ECT0


def leave_out_packet_3(marker: Sender) -> None:
    """An ACK counts it and has no room for it."""
    marker.send(4)
    marker.advance(RTT)
    marker.ack((4, 5), (0, 3), ecn=(5, 0, 0))
    marker.want_acked((1, 3), (4, 5))


def test_an_ack_may_count_what_it_leaves_out(marker: Sender) -> None:
    """Packet 3 was told of by ACKs that are lost, and the next has no room for it: its counts tell of it all the same,
    and those of the ACK that tells of it at last don't do so again.
    """
    leave_out_packet_3(marker)
    marker.send(1)
    marker.ack((0, 6), ecn=(6, 0, 0))
    marker.want_acked((3, 4), (5, 6))
    assert marker.recovery.ecn.codepoint == ECT0


def test_what_was_left_out_vouches_for_nothing_sent_later(marker: Sender) -> None:
    leave_out_packet_3(marker)
    marker.send(2)
    marker.ack((0, 7), ecn=(6, 0, 0))
    marker.want_acked((3, 4), (5, 7))
    assert marker.recovery.ecn.codepoint == 0, "one of the two was bleached"


def test_marked_packets_that_never_arrive_turn_ecn_off() -> None:
    sender = Sender(ecn=True)
    sender.send()
    for wanted in (ECT0, ECT0, 0):
        sender.advance(100.0)
        sender.want_probes()
        assert sender.recovery.ecn.codepoint == wanted
        sender.send()


def test_ecn_is_off_unless_asked_for(sender: Sender) -> None:
    assert sender.recovery.ecn.codepoint == 0
    sender.send()
    sender.advance(RTT)
    sender.ack((0, 2), ecn=(0, 0, 2))
    sender.want_acked((1, 2))
    assert sender.recorder.samples[-1].ecn_ce == 0


def state(sender: Sender) -> EcnState:
    return sender.recovery.ecn.state


@pytest.fixture
def tester() -> Iterator[Sender]:
    """A sender that has sent the marked packets of its test, 0 to 9; nothing was acknowledged yet."""
    sender = Sender(ecn=True)
    sender.send(4)
    assert state(sender) is EcnState.TESTING
    sender.send(TEST_PACKETS - 4)
    yield sender
    sender.want_nothing()


def test_packets_after_the_test_wait_unmarked_for_its_outcome(tester: Sender) -> None:
    assert (state(tester), tester.recovery.ecn.codepoint) == (EcnState.UNKNOWN, 0)
    assert tester.send(5).ecn == 0
    tester.advance(RTT)
    tester.ack((0, 3), ecn=(2, 0, 1))
    tester.want_acked((0, 3))
    assert (state(tester), tester.recovery.ecn.codepoint) == (EcnState.CAPABLE, ECT0)
    assert tester.recorder.samples[-1].ecn_ce == 1


def test_the_acknowledgement_of_unmarked_packets_proves_nothing(tester: Sender) -> None:
    tester.send(1)
    tester.advance(RTT)
    tester.ack((10, 11), ecn=(2, 0, 1))
    tester.want_acked((10, 11))
    tester.want_lost((0, 8))
    assert state(tester) is EcnState.UNKNOWN
    assert tester.recorder.samples[-1].ecn_ce == 0


def test_the_loss_of_all_marked_packets_fails_the_path(tester: Sender) -> None:
    """A network that drops marked packets: what goes unmarked shows it."""
    tester.send(4)
    tester.advance(RTT)
    tester.ack((12, 14))
    tester.want_acked((12, 14))
    tester.want_lost((0, 11))
    assert (state(tester), tester.recovery.ecn.codepoint) == (EcnState.FAILED, 0)
    # Counts that come after all change nothing: the path is off until it changes.
    tester.ack((0, 14), ecn=(10, 0, 0))
    tester.want_acked((11, 12))
    tester.want_spurious((0, 11))
    assert state(tester) is EcnState.FAILED


def test_the_loss_of_most_of_them_is_no_outcome(tester: Sender) -> None:
    tester.send(2)
    tester.advance(RTT)
    tester.ack((11, 12))
    tester.want_acked((11, 12))
    tester.want_lost((0, 9))
    assert state(tester) is EcnState.UNKNOWN
    tester.ack((11, 12), (9, 10))
    tester.want_acked((9, 10))
    # An ACK that doesn't raise the largest acknowledged decides nothing, for or against; the next one does.
    assert state(tester) is EcnState.UNKNOWN
    tester.send(1)
    tester.ack((9, 13), ecn=(1, 0, 0))
    tester.want_acked((10, 11), (12, 13))
    assert state(tester) is EcnState.CAPABLE


def test_a_test_of_few_packets_goes_on() -> None:
    """One packet lost at random at the start is not a network that drops marks."""
    sender = Sender(ecn=True)
    sender.send(1)
    sender.now += 2 * RTT
    sender.send(1)
    sender.now += RTT
    sender.ack((1, 2), ecn=(1, 0, 0))
    sender.want_acked((1, 2))
    sender.want_lost((0, 1))
    assert state(sender) is EcnState.CAPABLE


@pytest.mark.parametrize("dropped", [TEST_PACKETS, TEST_PACKETS - 1])
def test_a_capable_path_that_falls_silent_is_tested_again(marker: Sender, dropped: int) -> None:
    """Three probe timeouts: packets go unmarked until one is acknowledged, then a test shows what marks do."""
    marker.send(TEST_PACKETS)
    for _ in range(2):
        marker.advance(100.0)
        marker.want_probes()
        assert marker.send().ecn == ECT0
    marker.advance(100.0)
    marker.want_probes()
    assert (state(marker), marker.send().ecn) == (EcnState.TESTING, 0)
    marker.advance(RTT)
    last = marker.recovery.next_packet_number
    marker.ack((last - 1, last))
    marker.want_acked((last - 1, last))
    marker.want_lost((1, last - 1))
    # What was marked before is no part of the test.
    assert (state(marker), marker.recovery.ecn.codepoint) == (EcnState.TESTING, ECT0)
    marker.send(TEST_PACKETS)
    marker.send(4)
    marker.advance(RTT)
    newest = last + dropped + 2
    marker.ack((newest, newest + 1))
    marker.want_acked((newest, newest + 1))
    marker.want_lost((last, last + dropped))
    assert state(marker) is (EcnState.FAILED if dropped == TEST_PACKETS else EcnState.UNKNOWN)


def test_an_outage_does_not_cost_a_capable_path_its_marks(marker: Sender) -> None:
    marker.send(5)
    for _ in range(5):
        marker.advance(100.0)
        marker.want_probes()
        marker.send()
    marker.advance(RTT)
    last = marker.recovery.next_packet_number
    marker.ack((last - 2, last), ecn=(1, 0, 0))
    marker.want_acked((last - 2, last))
    marker.want_lost((1, last - 2))
    marker.send(2)
    marker.advance(RTT)
    marker.ack((last, last + 2), ecn=(3, 0, 0))
    marker.events.clear()
    assert (state(marker), marker.recovery.ecn.codepoint) == (EcnState.CAPABLE, ECT0)


def test_what_was_marked_on_the_old_path_is_not_held_against_the_new_one(marker: Sender) -> None:
    marker.send(5)
    marker.recovery.on_path_changed(marker.now, reset=True)
    assert state(marker) is EcnState.TESTING
    marker.send(2)
    marker.advance(RTT)
    # The old path bleached its five.
    marker.ack((0, 8), ecn=(3, 0, 0))
    marker.want_acked((1, 8))
    assert state(marker) is EcnState.CAPABLE


@pytest.fixture
def moved() -> Sender:
    """Five marked packets are outstanding on the old path, the sender is on another."""
    sender = Sender(ecn=True)
    sender.send(5)
    sender.recovery.on_path_changed(sender.now, reset=True)
    sender.advance(0.01)
    return sender


def tell(moved: Sender, old: tuple[int, int, int] | None, new: tuple[int, int, int] | None) -> None:
    """An ACK of the five on the old path counts `old`, one of five more on the new path counts `new`."""
    moved.ack((0, 5), ecn=old)
    moved.want_acked((0, 5))
    moved.send(5)
    moved.advance(0.01)
    moved.ack((0, 10), ecn=new)
    moved.want_acked((5, 10))


def test_marks_on_the_old_path_say_nothing_of_the_new(moved: Sender) -> None:
    tell(moved, (2, 0, 3), (7, 0, 3))
    assert state(moved) is EcnState.CAPABLE
    assert [sample.ecn_ce for sample in moved.recorder.samples] == [0]


@pytest.mark.parametrize("counts", [(5, 0, 0), None])
def test_nor_do_its_counts_vouch_for_it(moved: Sender, counts: tuple[int, int, int] | None) -> None:
    tell(moved, (5, 0, 0), counts)
    assert state(moved) is EcnState.FAILED, "the new path takes the marks away"


def test_an_ack_of_the_old_path_without_counts_changes_nothing(moved: Sender) -> None:
    tell(moved, None, (5, 0, 0))
    assert state(moved) is EcnState.CAPABLE
