"""A sender against a peer that lies about what arrived, and when: it neither stands still, nor grows, nor works more.

The peer is that of `bench.hostile`. Counted in packets, bytes and objects, never in seconds of a real clock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bench.hostile import Peer
from rudp import wire
from rudp.config import Config
from rudp.congestion.new_reno import NewReno
from rudp.ranges import RangeSet
from rudp.state import State
from rudp.unresolved import NEWEST_RANGES, Unresolved

CONTROLLERS = ("model", "cubic", "new_reno", "bbr")


def acknowledge(peer: Peer, first: int = 0) -> list[bytes]:
    """Acknowledge all that was sent from `first` on, but no number that was skipped; what comes back."""
    recovery = peer.server._recovery
    sent = recovery.next_packet_number
    ranges = recovery._unresolved.skipped.missing(first, sent)
    return peer.send(wire.Ack(ranges[-1][1] - 1, 0.0, tuple(reversed(ranges)), None))


def pass_time(peer: Peer, seconds: float) -> list[bytes]:
    """Let time pass; what the server sends at its end."""
    peer.now += seconds
    peer.endpoint.handle_timeout(peer.now)
    return peer.answers()


@pytest.mark.parametrize("congestion", CONTROLLERS)
def test_who_never_tells_how_long_it_held_an_ack_back_is_sent_to_without_an_rtt(congestion: str) -> None:
    """No ACK gives a sample of the RTT then, and a path without one is no path that is full at any rate."""
    peer = Peer(Config(congestion=congestion, max_datagram_size=1_200, path_mtu_discovery=False))
    recovery = peer.server._recovery
    peer.server.send(0, bytes(8 << 20))
    peer.answers()
    told = recovery.sent_packets.oldest.first
    for _ in range(60):
        pass_time(peer, 0.05)
        # No more than forty packets at a time, so that the path looks full.
        until = min(told + 40, recovery.next_packet_number)
        ranges = recovery._unresolved.skipped.missing(told, until)
        told = until
        peer.send(wire.Ack(ranges[-1][1] - 1, wire.UNKNOWN_ACK_DELAY, tuple(reversed(ranges)), None))
    assert peer.server.state is State.ESTABLISHED
    assert recovery.rtt.min_rtt == 0.0, "the opening's, at an instant"
    assert 0 < recovery.congestion.congestion_window < 4 << 20
    assert 8 << 20 > peer.server.unsent(0) > 0


@pytest.mark.parametrize("congestion", CONTROLLERS)
def test_a_large_probe_acknowledged_after_the_window_fell_leaves_room_for_a_packet(congestion: str) -> None:
    peer = Peer(Config(congestion=congestion, datagram_size_limit=65507))
    server = peer.server
    recovery, mtu = server._recovery, server._paths.mtu
    server.send(0, bytes(40 << 20))
    peer.answers()
    pass_time(peer, 0.001)
    while not (probe := next((t for t in recovery.sent_packets if t.mtu_probe and t.size > 20_000), None)):
        acknowledge(peer)
        pass_time(peer, 0.001)
    # Silence; then the newest packet alone, and all the others, the probe among them, once the window has fallen.
    for _ in range(4):
        due = peer.endpoint.next_timeout()
        assert due is not None
        pass_time(peer, due - peer.now)
    acknowledge(peer, recovery.next_packet_number - 1)
    peer.now += 0.001
    acknowledge(peer, probe.first)
    unsent = server.unsent(0)
    for _ in range(20):
        pass_time(peer, 0.1)
        acknowledge(peer)
        assert recovery.congestion.congestion_window >= mtu.size
    assert server.unsent(0) < unsent - 100_000


@pytest.mark.parametrize("congestion", CONTROLLERS)
def test_acknowledgements_in_no_time_make_no_rate(congestion: str) -> None:
    peer = Peer(Config(congestion=congestion))
    server = peer.server
    server.send(0, bytes(1 << 20))
    peer.answers()
    peer.now = 1e6
    acknowledge(peer)
    for _ in range(50):
        # The least by which a clock of twelve days can differ.
        peer.now += 1.2e-10
        acknowledge(peer)
        window = server._recovery.congestion.congestion_window
        assert window <= 1 << 24
        rate = server._recovery.pacer.rate
        assert rate is None or rate < 1e16


class Boundless(NewReno):
    """A user's own controller that knows no measure."""

    name = "boundless"

    def on_ack(self, sample: object) -> None:
        self.congestion_window = 1 << 80


def test_a_window_of_any_size_can_be_told_to_the_peer() -> None:
    peer = Peer(Config(congestion=Boundless))
    peer.server.send(0, bytes(1 << 20))
    peer.answers()
    pass_time(peer, 0.02)
    acknowledge(peer)
    assert peer.server.unsent(0) == 0


@pytest.mark.parametrize("congestion", ["cubic", "new_reno"])
def test_a_recovery_that_ends_with_larger_packets_leaves_room_for_them(congestion: str) -> None:
    peer = Peer(Config(congestion=congestion))
    recovery = peer.server._recovery
    peer.server.send(0, bytes(1 << 20))
    peer.answers()
    # The window comes down to two packets of 1,200 bytes.
    for _ in range(20):
        pass_time(peer, 0.02)
        acknowledge(peer, recovery.next_packet_number - 1)
    assert recovery.congestion.ssthresh < 4000
    recovery.set_max_datagram_size(9000, peer.now)
    for _ in range(5):
        pass_time(peer, 0.02)
        acknowledge(peer)
        assert recovery.congestion.congestion_window >= 9000


def test_a_peer_that_acknowledges_whatever_is_sent_is_found_out() -> None:
    peer = Peer(Config(congestion="cubic"))
    server = peer.server
    server.send(0, bytes(1 << 24))
    peer.answers()
    for _ in range(100):
        if not peer.endpoint.connections:
            break
        pass_time(peer, 0.02)
        sent = server._recovery.next_packet_number
        peer.send(wire.Ack(sent - 1, 0.0, ((0, sent),), None))
    assert server.state is State.ABORTED
    assert server._recovery.next_packet_number < 8 * 1024


def test_a_peer_that_acknowledges_what_came_is_sent_all_of_it() -> None:
    peer = Peer(Config(congestion="cubic"))
    server = peer.server
    server.send(0, bytes(1 << 24))
    came: list[int] = []
    datagrams = peer.answers()
    while datagrams:
        for data in datagrams:
            came += wire.read_headers(memoryview(data), len(data))[2]
        ranges = RangeSet()
        for number in came[-4096:]:
            ranges.add(number, number + 1)
        newest = tuple(zip(reversed(ranges.starts[-128:]), reversed(ranges.stops[-128:]), strict=True))
        datagrams = peer.send(wire.Ack(ranges.stops[-1] - 1, 0.0, newest, None)) + pass_time(peer, 0.02)
    assert server.send_buffered == 0
    skipped = set(range(came[-1])) - set(came)
    assert len(came) // 1024 - 1 <= len(skipped) <= len(came) // 512


def singles(peer: Peer, newest: int) -> wire.Ack:
    """Every second packet up to `newest` in a range of its own, none of those skipped."""
    skipped = peer.server._recovery._unresolved.skipped
    below = max(0, newest - 2 * wire.MAX_ACK_RANGES)
    ranges = tuple((number, number + 1) for number in range(newest, below, -2) if number not in skipped)
    return wire.Ack(ranges[0][0], 0.0, ranges, None)


def test_ranges_told_in_vain_are_read_no_more_until_something_is_resolved() -> None:
    """Of ACKs of 128 ranges that are never the same the newest 32 are taken; of a receiver with news, all."""
    peer = Peer(Config(congestion="new_reno"))
    recovery = peer.server._recovery
    taken: list[int] = []

    def noted(self: Unresolved, ack: wire.Ack, take: Callable[..., Any] = Unresolved.take) -> Any:
        taken.append(len(ack.ranges))
        return take(self, ack)

    peer.server.send(0, bytes(8 << 20))
    peer.answers()
    while recovery.next_packet_number < 1000:
        acknowledge(peer)
        pass_time(peer, 0.01)
    newest = recovery.next_packet_number - 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Unresolved, "take", noted)
        for turn in range(400):
            peer.arrive(peer.packet(singles(peer, newest - turn % 2)))
        assert taken[0] > NEWEST_RANGES
        assert sum(taken[100:]) == 300 * NEWEST_RANGES
        # A few ACKs that resolve what is outstanding are all it takes.
        for _ in range(20):
            pass_time(peer, 0.01)
            acknowledge(peer)
        peer.send(singles(peer, recovery.next_packet_number - 1))
        assert taken[-1] > NEWEST_RANGES
    assert peer.server.state is State.ESTABLISHED
