"""Proportional rate reduction against RFC 9937: its examples, its bound, and where it ends."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rudp.congestion.prr import Prr

PACKET = 1_000


class Recovery:
    """A period of `flight` packets in flight with target `ssthresh`, in packets; sends all that is admitted."""

    def __init__(self, flight: int, ssthresh: int) -> None:
        self.prr = Prr()
        self.prr.begin(flight * PACKET)
        self.in_flight = flight * PACKET
        self.ssthresh = ssthresh * PACKET
        self.sent = 0
        self.delivered = 0

    def step(self, acked: int, lost: int = 0) -> int:
        """One ACK, or a loss timer if it acknowledges nothing; returns the window."""
        self.in_flight -= acked + lost
        self.delivered += acked
        window = self.prr.window(acked, self.in_flight, self.ssthresh, PACKET)
        size = max(0, window - self.in_flight) // PACKET * PACKET
        if size:
            self.prr.on_sent(size)
            self.sent += size
            self.in_flight += size
        return window


def test_one_loss_of_twenty() -> None:
    """RFC 9937 section 8, figure 1 from the third ACK on: the window falls by one for every other ACK, to ssthresh.

    The figure rounds up to packets. Shares are bytes here, so a packet may go an ACK later.
    """
    recovery = Recovery(20, 10)
    windows = [recovery.step(PACKET, lost=PACKET)] + [recovery.step(PACKET) for _ in range(18)]
    figure = [19, 18, 18, 17, 17, 16, 16, 15, 15, 14, 14, 13, 13, 12, 12, 11, 11, 10, 10]
    assert all(packets - 1 <= window / PACKET <= packets for window, packets in zip(windows, figure, strict=True))
    assert recovery.in_flight == 10 * PACKET


def test_a_burst_of_fifteen_losses_of_twenty() -> None:
    """Section 8, figure 2: what is sent follows what is delivered, packet by packet."""
    recovery = Recovery(20, 10)
    assert [recovery.step(PACKET, lost=15 * PACKET), recovery.step(PACKET), recovery.step(PACKET)] == [5 * PACKET] * 3


def test_a_first_packet_goes_at_once() -> None:
    """Section 6.2: retransmission isn't held up by a share that hasn't grown to a packet."""
    recovery = Recovery(100, 10)
    assert recovery.step(0, lost=PACKET) == 100 * PACKET
    assert recovery.step(0, lost=PACKET) < 100 * PACKET - PACKET, "and only one"


def test_a_loss_timer_admits_nothing_in_the_place_of_what_it_took() -> None:
    recovery = Recovery(20, 10)
    recovery.step(2 * PACKET, lost=PACKET)
    before = recovery.sent
    recovery.step(0, lost=9 * PACKET)
    assert recovery.sent <= max(before, recovery.delivered)


def test_what_was_lost_and_arrives_after_all_is_delivered() -> None:
    """Section 6.1: RecoverFS has the lost bytes, since they may be delivered yet."""
    one, other = Recovery(20, 10), Recovery(20, 10)
    one.step(PACKET, lost=4 * PACKET)
    other.step(PACKET, lost=4 * PACKET)
    other.prr.on_delivered(4 * PACKET)
    assert other.step(PACKET) == one.step(PACKET) + 2 * PACKET


STEPS = st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 9_000)), min_size=1, max_size=60)


@given(flight=st.integers(2, 300), share=st.floats(0.01, 1.5), steps=STEPS)
def test_sends_no_more_than_is_delivered(flight: int, share: float, steps: list[tuple[int, int]]) -> None:
    """Section 7, the strong packet conservation bound, with the packet that goes at once on top."""
    recovery = Recovery(flight, max(2, int(flight * share)))
    left = flight * PACKET
    for asked, dropped in steps:
        acked = min(asked, left)
        lost = min(dropped, left - acked)
        left -= acked + lost
        recovery.step(acked, lost)
        assert recovery.sent <= recovery.delivered + PACKET


@given(flight=st.integers(10, 300), share=st.floats(0.3, 0.9), ack=st.integers(1, 20))
def test_ends_with_ssthresh_in_flight(flight: int, share: float, ack: int) -> None:
    """Section 7: with few losses the flight converges to exactly ssthresh (here: within the packet not yet full)."""
    ssthresh = max(2, int(flight * share))
    recovery = Recovery(flight, ssthresh)
    recovery.step(0, lost=PACKET)
    left = (flight - 1) * PACKET
    while left:
        acked = min(ack * PACKET, left)
        left -= acked
        recovery.step(acked)
    assert (ssthresh - 1) * PACKET <= recovery.in_flight <= ssthresh * PACKET


def test_inactive_until_begun_and_after_the_end() -> None:
    prr = Prr()
    assert not prr.active
    prr.begin(0)
    assert prr.active, "also if nothing was in flight"
    prr.end()
    assert not prr.active
