"""Is the peer still there: idle timeout, keepalive, blocked writers, giving up; each with its figures."""

from __future__ import annotations

import pytest

from rudp import wire
from rudp.config import Config
from rudp.errors import ConnectionReset, ErrorCode, IdleTimeout, PeerUnresponsive
from tests.pair import Packet, Pair


def from_server(packet: Packet) -> bool:
    return packet.sender == "s"


def test_an_idle_connection_ends_on_both_sides_without_a_packet() -> None:
    pair = Pair(config=Config(idle_timeout=30))
    sent = len(pair.log)
    last = pair.log[-1].time
    pair.until(pair.ended, 60)
    assert len(pair.log) == sent
    for name in "cs":
        error = pair.ends(name)[0]
        assert isinstance(error, IdleTimeout)
        assert isinstance(error, TimeoutError)
        assert "30" in str(error)
        assert "keepalive" in str(error)
    assert 29.5 < pair.now - last < 30.5


def test_the_smaller_idle_timeout_counts_and_0_is_none() -> None:
    pair = Pair(client=Config(idle_timeout=0), server=Config(idle_timeout=5))
    pair.until(pair.ended, 60)
    assert 5 < pair.now < 6
    pair = Pair(config=Config(idle_timeout=0))
    pair.run(100_000)
    assert not pair.ends("c") + pair.ends("s")
    assert pair.next_instant() is None


def test_an_idle_connection_wakes_nobody() -> None:
    pair = Pair(config=Config(idle_timeout=1000))
    pair.client.send(0, bytes(100_000))
    pair.run(10)
    before = pair.wakeups
    pair.run(900)
    assert pair.wakeups == before


@pytest.mark.parametrize("side", ["c", "s"])
def test_keepalive_holds_a_connection_open(side: str) -> None:
    live = Config(idle_timeout=10, keepalive=4)
    plain = Config(idle_timeout=10)
    pair = Pair(client=live if side == "c" else plain, server=live if side == "s" else plain)
    sent = len(pair.log)
    pair.run(1000)
    assert not pair.ends("c") + pair.ends("s")
    pings = len([p for p in pair.log[sent:] if p.has(wire.Ping)])
    assert 200 <= pings <= 300, "one every 4 s, and a few by who only acknowledges"
    assert len(pair.log) - sent <= 2 * pings


def test_a_writer_held_back_by_credit_asks_for_signs_of_life() -> None:
    pair = Pair(config=Config(idle_timeout=6, receive_window=8192, initial_receive_window=8192))
    pair.reading["s"] = False
    pair.client.send(0, bytes(50_000))
    pair.run(100)
    assert not pair.ends("c") + pair.ends("s"), "a slow reader is no dead peer"
    assert pair.client.stats(pair.now).limited_by == "flow_control"
    pair.reading["s"] = True
    pair.read("s", pair.server)
    pair.until(lambda: len(pair.received["s", 0]) == 50_000)


def test_a_writer_who_is_held_back_before_anything_leaves_asks_for_signs_of_life_too() -> None:
    """Found by the swarm: the idle timeout was reckoned before there was a writer to wait for, and not again."""
    pair = Pair(
        config=Config(idle_timeout=6, receive_window=8192, initial_receive_window=8192, path_mtu_discovery=False)
    )
    pair.reading["s"] = False
    fills, held_back, later = (pair.client.open_stream() for _ in range(3))
    pair.client.send(fills, bytes(8192))
    pair.client.send(held_back, bytes(100))
    pair.run(1)
    pair.client.reset_stream(held_back, 7)
    pair.run(1)
    pair.client.send(later, bytes(100))
    pair.run(100)
    assert not pair.ends("c") + pair.ends("s"), "a slow reader is no dead peer"
    pair.reading["s"] = True
    pair.read("s", pair.server, fills)
    pair.until(lambda: pair.received.get(("s", later)) == bytes(100))


def test_a_lost_window_update_is_made_good() -> None:
    pair = Pair(config=Config(receive_window=8192, initial_receive_window=8192))
    pair.drop(lambda p: p.has(wire.MaxData, wire.MaxStreamData), times=3)
    pair.client.send(0, bytes(200_000))
    pair.until(lambda: len(pair.received.get(("s", 0), b"")) == 200_000, 60)


def test_giving_up_after_a_time() -> None:
    pair = Pair(config=Config(give_up_timeout=20, idle_timeout=0))
    pair.drop(from_server)
    start = pair.now
    pair.client.send(0, b"anybody?")
    pair.until(lambda: bool(pair.ends("c")), 60)
    error = pair.ends("c")[0]
    assert isinstance(error, PeerUnresponsive)
    assert isinstance(error, TimeoutError)
    assert error.seconds == pytest.approx(20, abs=0.1)
    assert error.probes >= 4
    assert "20.0 s" in str(error)
    assert f"{error.probes} probe timeouts" in str(error)
    assert pair.now - start == pytest.approx(20, abs=0.1)
    pair.rules.clear()
    pair.run(1)
    there = pair.ends("s")[0]
    assert isinstance(there, ConnectionReset), "the other direction works, so the peer is told"
    assert there.code == ErrorCode.UNRESPONSIVE


def test_giving_up_after_probes() -> None:
    pair = Pair(config=Config(give_up_probes=3, idle_timeout=0))
    pair.drop(from_server)
    pair.client.send(0, b"anybody?")
    pair.until(lambda: bool(pair.ends("c")), 60)
    error = pair.ends("c")[0]
    assert isinstance(error, PeerUnresponsive)
    assert error.probes == 3
    assert error.seconds < 5


def test_what_is_acknowledged_at_last_gives_more_time() -> None:
    pair = Pair(config=Config(give_up_timeout=20, idle_timeout=0))
    for _ in range(4):
        rule = pair.drop(from_server)
        pair.client.send(0, b"x")
        pair.run(8)
        pair.rules.remove(rule)
        pair.run(15)
    assert not pair.ends("c")


def test_sending_alone_does_not_hold_an_idle_connection_open() -> None:
    """RFC 9000 section 10.1: only the first packet sent since something arrived restarts the timer."""
    pair = Pair(config=Config(idle_timeout=5, give_up_timeout=1000, keepalive=1))
    last = pair.log[-1].time + pair.delay
    pair.drop(lambda _: True)
    pair.until(lambda: bool(pair.ends("c")), 60)
    error = pair.ends("c")[0]
    assert isinstance(error, IdleTimeout)
    assert "keepalive" not in str(error), "it is set, and would not have helped"
    assert "connect again" in str(error)
    assert pair.now - last < 5 + 1.2


def test_keepalive_leaves_probe_timeouts_alone() -> None:
    """Found by the swarm: each PING put the probe timeout off, so that nothing but PINGs was sent any more."""
    pair = Pair(config=Config(keepalive=0.5, give_up_probes=6))
    pair.client.send(0, b"lost")
    start = pair.now
    pair.drop(lambda _: True)
    pair.until(lambda: bool(pair.ends("c")), 60)
    error = pair.ends("c")[0]
    assert isinstance(error, PeerUnresponsive)
    assert error.probes == 6
    again = [p for p in pair.packets("c", "DATA", wire.Stream) if p.time > start]
    assert len(again) >= 6, "data goes again with each probe timeout"
